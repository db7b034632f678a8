//! Every hostcall with every bad pointer. The list of cases is compared with the functions that the host has, so a new
//! hostcall is a case or a failed test.

use std::collections::BTreeSet;

use bytes::Bytes as Value;
use host_harness::{
    abi::{HostFunction, Module, pairs},
    envoy::{Envoy, EnvoyOptions, ForeignFunction, Request, VmState},
    world::{GrpcReply, Scripted},
};

use crate::{assert_host_serves, common, last_words};

/// Bytes of the guest's memory.
const END: u32 = 2 * 65536;
/// `InvalidMemoryAccess` of the ABI.
const ABI_FAULT: u32 = 6;
/// `EFAULT` of WASI.
const WASI_FAULT: u32 = 21;

/// What stands for one or two parameters of a hostcall.
#[derive(Clone, Copy)]
enum Argument {
    /// A number, which is good.
    Number(i64),
    /// Pointer and length of bytes that the host reads.
    Bytes(&'static str),
    /// Pointer and length of a header map.
    Pairs(&'static [(&'static str, &'static str)]),
    /// Pointer to so many bytes that the host reads or writes.
    Place(u32),
    /// A pointer or length that this host does not look at.
    Unused,
}

use Argument::{Bytes, Number, Pairs, Place, Unused};

const CALL: Argument = Pairs(&[(":method", "GET"), (":path", "/"), (":authority", "a")]);
const NONE: Argument = Bytes("");

/// What a case is about: the name, the arguments, and what the hostcall returns for the good ones in a request's headers.
type Case = (&'static str, &'static [Argument], u32);

const ENV: &[Case] = &[
    ("proxy_log", &[Number(2), Bytes("text")], 0),
    ("proxy_get_log_level", &[Place(4)], 0),
    ("proxy_get_status", &[Place(4), Place(4), Place(4)], 0),
    ("proxy_set_tick_period_milliseconds", &[Number(0)], 0),
    ("proxy_get_current_time_nanoseconds", &[Place(8)], 0),
    ("proxy_set_effective_context", &[Number(0)], 0),
    ("proxy_done", &[], 1),
    ("proxy_get_property", &[Bytes("plugin_name"), Place(4), Place(4)], 0),
    ("proxy_set_property", &[Bytes("path"), Bytes("value")], 0),
    ("proxy_call_foreign_function", &[Bytes("echo"), Bytes("argument"), Place(4), Place(4)], 0),
    ("proxy_define_metric", &[Number(0), Bytes("metric"), Place(4)], 0),
    ("proxy_increment_metric", &[Number(4), Number(1)], 0),
    ("proxy_record_metric", &[Number(4), Number(1)], 0),
    ("proxy_get_metric", &[Number(4), Place(8)], 0),
    ("proxy_set_shared_data", &[Bytes("key"), Bytes("value"), Number(0)], 0),
    ("proxy_get_shared_data", &[Bytes("known"), Place(4), Place(4), Place(4)], 0),
    ("proxy_register_shared_queue", &[Bytes("queue"), Place(4)], 0),
    ("proxy_resolve_shared_queue", &[NONE, Bytes("known"), Place(4)], 0),
    ("proxy_dequeue_shared_queue", &[Number(1), Place(4), Place(4)], 0),
    ("proxy_enqueue_shared_queue", &[Number(1), Bytes("item")], 0),
    ("proxy_get_header_map_value", &[Number(0), Bytes(":path"), Place(4), Place(4)], 0),
    ("proxy_get_header_map_pairs", &[Number(0), Place(4), Place(4)], 0),
    ("proxy_get_header_map_size", &[Number(0), Place(4)], 0),
    ("proxy_set_header_map_pairs", &[Number(0), CALL], 0),
    ("proxy_add_header_map_value", &[Number(0), Bytes("name"), Bytes("value")], 0),
    ("proxy_replace_header_map_value", &[Number(0), Bytes("name"), Bytes("value")], 0),
    ("proxy_remove_header_map_value", &[Number(0), Bytes("name")], 0),
    ("proxy_get_buffer_bytes", &[Number(6), Number(0), Number(9), Place(4), Place(4)], 0),
    ("proxy_get_buffer_status", &[Number(6), Place(4), Place(4)], 0),
    // The request's body, which is not there yet.
    ("proxy_set_buffer_bytes", &[Number(0), Number(0), Number(0), Bytes("body")], 2),
    (
        "proxy_send_local_response",
        &[Number(403), Bytes("details"), Bytes("body"), Pairs(&[("a", "b")]), Number(-1)],
        0,
    ),
    ("proxy_continue_stream", &[Number(0)], 0),
    ("proxy_close_stream", &[Number(0)], 0),
    (
        "proxy_http_call",
        &[Bytes("side"), CALL, Bytes("body"), Pairs(&[("t", "1")]), Number(1000), Place(4)],
        0,
    ),
    (
        "proxy_grpc_call",
        &[
            Bytes("hub"),
            Bytes("svc.S"),
            Bytes("Ask"),
            Pairs(&[("a", "b")]),
            Bytes("message"),
            Number(1000),
            Place(4),
        ],
        0,
    ),
    ("proxy_grpc_stream", &[Bytes("hub"), Bytes("svc.S"), Bytes("Ask"), Pairs(&[("a", "b")]), Place(4)], 0),
    // There is no call or stream with this token.
    ("proxy_grpc_send", &[Number(6), Bytes("message"), Number(0)], 1),
    ("proxy_grpc_cancel", &[Number(6)], 1),
    ("proxy_grpc_close", &[Number(6)], 1),
    ("proxy_get_configuration", &[Place(4), Place(4)], 0),
    ("proxy_continue_request", &[], 0),
    ("proxy_continue_response", &[], 0),
    ("proxy_clear_route_cache", &[], 0),
    ("pthread_equal", &[Number(7), Number(8)], 0),
    ("emscripten_notify_memory_growth", &[Number(0)], 0),
    ("envoy_resolve_dns", &[Unused, Unused, Unused], 12),
];

const WASI: &[Case] = &[
    ("args_get", &[Unused, Unused], 0),
    ("args_sizes_get", &[Place(4), Place(4)], 0),
    ("environ_get", &[Place(4), Place(4)], 0),
    ("environ_sizes_get", &[Place(4), Place(4)], 0),
    ("clock_res_get", &[Number(0), Unused], 52),
    ("clock_time_get", &[Number(0), Number(0), Place(8)], 0),
    ("random_get", &[Place(8), Number(8)], 0),
    ("proc_exit", &[Number(3)], 0),
    ("poll_oneoff", &[Unused, Unused, Number(0), Place(4)], 0),
    ("sched_yield", &[], 0),
    ("fd_write", &[Number(1), Place(8), Number(1), Place(4)], 0),
    ("fd_fdstat_get", &[Number(1), Place(24)], 0),
    ("fd_prestat_get", &[Number(3), Unused], 8),
    ("fd_prestat_dir_name", &[Number(3), Unused, Unused], 8),
    ("fd_close", &[Number(1)], 0),
    ("fd_seek", &[Number(1), Number(0), Number(0), Unused], 0),
    ("fd_advise", &[Number(1), Number(0), Number(0), Number(0)], 52),
    ("fd_allocate", &[Number(1), Number(0), Number(0)], 52),
    ("fd_datasync", &[Number(1)], 52),
    ("fd_fdstat_set_flags", &[Number(1), Number(0)], 52),
    ("fd_fdstat_set_rights", &[Number(1), Number(0), Number(0)], 52),
    ("fd_filestat_get", &[Number(1), Unused], 52),
    ("fd_filestat_set_size", &[Number(1), Number(0)], 52),
    ("fd_filestat_set_times", &[Number(1), Number(0), Number(0), Number(0)], 52),
    ("fd_pread", &[Number(1), Unused, Unused, Number(0), Unused], 52),
    ("fd_pwrite", &[Number(1), Unused, Unused, Number(0), Unused], 52),
    ("fd_read", &[Number(0), Unused, Unused, Unused], 52),
    ("fd_readdir", &[Number(3), Unused, Unused, Number(0), Unused], 52),
    ("fd_renumber", &[Number(1), Number(2)], 52),
    ("fd_sync", &[Number(1)], 52),
    ("fd_tell", &[Number(1), Unused], 52),
    ("path_create_directory", &[Number(3), Unused, Unused], 52),
    ("path_filestat_get", &[Number(3), Number(0), Unused, Unused, Unused], 52),
    ("path_filestat_set_times", &[Number(3), Number(0), Unused, Unused, Number(0), Number(0), Number(0)], 52),
    (
        "path_open",
        &[Number(3), Number(0), Unused, Unused, Number(0), Number(0), Number(0), Number(0), Unused],
        44,
    ),
    ("path_readlink", &[Number(3), Unused, Unused, Unused, Unused, Unused], 52),
    ("path_remove_directory", &[Number(3), Unused, Unused], 52),
    ("path_rename", &[Number(3), Unused, Unused, Number(3), Unused, Unused], 52),
    ("path_unlink_file", &[Number(3), Unused, Unused], 52),
    ("sock_accept", &[Number(3), Number(0), Unused], 52),
    ("sock_recv", &[Number(3), Unused, Unused, Number(0), Unused, Unused], 52),
    ("sock_send", &[Number(3), Unused, Unused, Number(0), Unused], 52),
    ("sock_shutdown", &[Number(3), Number(0)], 52),
];

#[test]
fn every_function_of_the_host_is_a_case() {
    let functions = common::runtime().functions();
    let names = |module: &str| -> BTreeSet<String> {
        functions.iter().filter(|function| function.module == module).map(|f| f.name.clone()).collect()
    };
    let cases = |cases: &[Case]| cases.iter().map(|case| case.0.to_owned()).collect::<BTreeSet<String>>();
    assert_eq!(names("env"), cases(ENV));
    assert_eq!(names("wasi_snapshot_preview1"), cases(WASI));
    assert_eq!(names("wasi_unstable"), cases(WASI));
    assert_eq!(functions.len(), ENV.len() + 2 * WASI.len());
}

#[test]
fn every_bad_pointer_to_every_hostcall_is_a_status_and_good_ones_still_work() {
    let mut count = 0;
    for (module, cases, fault) in [
        ("env", ENV, ABI_FAULT),
        ("wasi_snapshot_preview1", WASI, WASI_FAULT),
        ("wasi_unstable", WASI, WASI_FAULT),
    ] {
        for (name, arguments, good) in cases {
            let mut calls = bad_calls(arguments);
            // Envoy does not look whether this one could be written.
            let fault = if *name == "fd_fdstat_get" { 0 } else { fault };
            let mut expected = vec![fault; calls.len()];
            calls.push(good_call(arguments));
            expected.push(*good);
            count += calls.len();
            let function = function(module, name);
            let mut envoy = run(&function, &statuses_of(&function, &calls));
            let said: Vec<String> = expected.iter().map(u32::to_string).collect();
            let heard: Vec<String> =
                common::worker_said(&envoy).into_iter().filter(|line| line.parse::<u32>().is_ok()).collect();
            if function.results.is_empty() {
                assert_eq!(heard, Vec::<String>::new(), "{module}.{name}");
            } else {
                assert_eq!(heard, said, "{module}.{name} {calls:?}");
            }
            assert_eq!(envoy.vms()[1].state, VmState::Running, "{module}.{name}");
            assert_host_serves(&mut envoy, name);
        }
    }
    assert!(count > 500, "{count} calls");
}

/// Numbers that a guest may pass for anything: small, around its memory's end, around the signs, and the largest.
const EDGES: [u32; 12] = [0, 1, 4, 7, 64, END - 4, END - 1, END, END + 1, 0x7fff_ffff, 0x8000_0000, u32::MAX];

#[test]
fn no_combination_of_numbers_brings_the_host_down() {
    for function in common::runtime().functions() {
        // 2000 combinations of the edges, by a generator that is the same in every run.
        let edges = function.parameters.iter().map(|ty| match ty.as_str() {
            "i64" => "(i64.extend_i32_s (call $edge))",
            _ => "(call $edge)",
        });
        let call = format!("(call $tested {})", edges.collect::<String>());
        let call = if function.results.is_empty() { call } else { format!("(drop {call})") };
        let body = format!(
            "(local $left i32) (local.set $left (i32.const 2000))
             (loop $again {call} (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))"
        );
        let mut envoy = run(&function, &body);
        assert_eq!(envoy.vms()[1].state, VmState::Running, "{function:?}: {}", last_words(&envoy));
        assert_host_serves(&mut envoy, &function.name);
    }
}

#[test]
fn what_a_guest_prints_may_lie_anywhere_inside_and_nowhere_outside() {
    // One pair of pointer and length, at 256, and what `fd_write` answers.
    let vectors = [
        (64, 4, 0),
        (END - 4, 4, 0),
        (END - 3, 4, 21),
        (u32::MAX, 1, 21),
        (0, u32::MAX, 21),
        (u32::MAX, 0, 21),
    ];
    for (pointer, length, errno) in vectors {
        let function = function("wasi_snapshot_preview1", "fd_write");
        let setup = format!(
            "(i32.store (i32.const 256) (i32.const {})) (i32.store (i32.const 260) (i32.const {}))",
            pointer.cast_signed(),
            length.cast_signed()
        );
        let call = vec![1, 256, 1, 320];
        let envoy = run(&function, &(setup + &statuses_of(&function, &[call])));
        let said = common::worker_said(&envoy);
        assert_eq!(said.last().unwrap(), &errno.to_string(), "{pointer}+{length}: {said:?}");
    }
    // As many pairs as there can be: they leave the memory before they end.
    let function = function("wasi_snapshot_preview1", "fd_write");
    let envoy = run(&function, &statuses_of(&function, &[vec![1, 0, i64::from(u32::MAX), 320]]));
    assert_eq!(common::worker_said(&envoy).last().unwrap(), "21");
}

/// The good call with each pointer and length bad in turn.
fn bad_calls(arguments: &[Argument]) -> Vec<Vec<i64>> {
    let mut calls = Vec::new();
    let mut at = 0;
    for argument in arguments {
        let good = good_call(arguments);
        let variants: Vec<Vec<u32>> = match argument {
            Bytes("") => {
                vec![vec![u32::MAX, 0], vec![END + 1, 0], vec![0, u32::MAX], vec![u32::MAX, u32::MAX]]
            }
            Bytes(_) | Pairs(_) => {
                let (pointer, length) = (good[at] as u32, good[at + 1] as u32);
                vec![
                    vec![u32::MAX, length],
                    vec![0x7fff_ffff, length],
                    vec![0x8000_0000, length],
                    vec![END, length],
                    vec![END - length + 1, length],
                    vec![pointer, u32::MAX],
                    vec![pointer, 0x8000_0000],
                    vec![pointer, END - pointer + 1],
                    // The sum wraps around to somewhere inside.
                    vec![u32::MAX - 3, 8],
                    vec![0x8000_0000, 0x8000_0010],
                    vec![u32::MAX, u32::MAX],
                ]
            }
            Place(bytes) => {
                let places = [u32::MAX, u32::MAX - bytes + 1, 0x7fff_ffff, 0x8000_0000, END, END - bytes + 1];
                places.map(|place| vec![place]).to_vec()
            }
            Number(_) | Unused => Vec::new(),
        };
        for variant in variants {
            let mut call = good.clone();
            for (offset, value) in variant.into_iter().enumerate() {
                call[at + offset] = i64::from(value);
            }
            calls.push(call);
        }
        at += width(argument);
    }
    calls
}

fn good_call(arguments: &[Argument]) -> Vec<i64> {
    let mut texts_at = 4096;
    let mut places_at = 256;
    let mut call = Vec::new();
    for argument in arguments {
        match argument {
            Number(number) => call.push(*number),
            Unused => call.push(i64::from(u32::MAX)),
            Place(_) => {
                call.push(places_at);
                places_at += 64;
            }
            Bytes(_) | Pairs(_) => {
                call.extend([texts_at, bytes_of(argument).len() as i64]);
                texts_at += 256;
            }
        }
    }
    call
}

fn width(argument: &Argument) -> usize {
    if matches!(argument, Bytes(_) | Pairs(_)) { 2 } else { 1 }
}

fn bytes_of(argument: &Argument) -> Vec<u8> {
    match argument {
        Bytes(text) => text.as_bytes().to_vec(),
        Pairs(entries) => pairs::to_bytes(entries),
        _ => Vec::new(),
    }
}

fn function(module: &str, name: &str) -> HostFunction {
    let mut functions = common::runtime().functions().into_iter();
    functions.find(|function| (function.module.as_str(), function.name.as_str()) == (module, name)).unwrap()
}

/// Calls the function and says what it returns, once for each list of arguments.
fn statuses_of(function: &HostFunction, calls: &[Vec<i64>]) -> String {
    let mut body = String::new();
    for call in calls {
        assert_eq!(
            call.len(),
            function.parameters.len(),
            "the case of {} has other parameters",
            function.name
        );
        let arguments: String = function
            .parameters
            .iter()
            .zip(call)
            .map(|(ty, value)| match ty.as_str() {
                "i64" => format!("(i64.const {value})"),
                _ => format!("(i32.const {})", *value as i32),
            })
            .collect();
        let call = format!("(call $tested {arguments})");
        body += &if function.results.is_empty() { call } else { format!("(call $say {call})") };
    }
    body
}

/// Runs instructions in the headers of a request to worker 0, in a guest that imports the function as `$tested`.
fn run(function: &HostFunction, body: &str) -> Envoy<Scripted> {
    let module = Module::load(common::runtime(), guest(function, body).as_bytes());
    let module = module.unwrap_or_else(|error| panic!("{}: {error}", function.name));
    let echo = ForeignFunction::new(|_, argument| Ok(Value::copy_from_slice(argument)));
    let world = Scripted::new().cluster("side").grpc_reply("hub", "svc.S/Ask", GrpcReply::unary("answer"));
    let mut options = EnvoyOptions { concurrency: 2, ..common::options() };
    options.plugin.vm_configuration = b"vm config".to_vec();
    options.environment.insert("A".to_owned(), "b".to_owned());
    options.foreign_functions.insert("echo".to_owned(), echo);
    let mut envoy = Envoy::start(&module, options, world).unwrap();
    envoy.exchange(0, Request::get("/evil"));
    envoy
}

/// The guest has data and a queue under the name `known`, and a counter with the id 4.
fn guest(function: &HostFunction, body: &str) -> String {
    let (module, name) = (&function.module, &function.name);
    let old = [
        "proxy_get_configuration",
        "proxy_continue_request",
        "proxy_continue_response",
        "proxy_clear_route_cache",
    ];
    let (abi, end) = if old.contains(&name.as_str()) { ("0_1_0", "") } else { ("0_2_1", "i32") };
    let parameters = function.parameters.join(" ");
    let result = if function.results.is_empty() {
        String::new()
    } else {
        format!("(result {})", function.results.join(" "))
    };
    let case = [ENV, WASI].concat().into_iter().find(|case| case.0 == name);
    let data: String = case
        .iter()
        .flat_map(|case| case.1.iter().filter(|argument| width(argument) == 2).enumerate())
        .map(|(index, argument)| {
            let bytes: String = bytes_of(argument).iter().map(|byte| format!("\\{byte:02x}")).collect();
            format!(r#"(data (i32.const {}) "{bytes}")"#, 4096 + 256 * index)
        })
        .collect();
    let edges: String =
        EDGES.iter().flat_map(|edge| edge.to_le_bytes()).map(|byte| format!("\\{byte:02x}")).collect();
    let count = EDGES.len();
    format!(
        r#"(module
  (import "{module}" "{name}" (func $tested (param {parameters}) {result}))
  (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
  (import "env" "proxy_set_shared_data" (func $set_shared (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_register_shared_queue" (func $register_queue (param i32 i32 i32) (result i32)))
  (import "env" "proxy_enqueue_shared_queue" (func $enqueue (param i32 i32 i32) (result i32)))
  (import "env" "proxy_define_metric" (func $define_metric (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_header_map_value" (func $get_header (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2 2)
  (data (i32.const 128) "known") (data (i32.const 136) ":path") (data (i32.const 2048) "{edges}")
  {data}
  (func (export "proxy_abi_version_{abi}"))
  (func (export "malloc") (param i32) (result i32) (i32.const 1024))
  (global $seed (mut i32) (i32.const 1))
  (func $edge (result i32)
    (global.set $seed (i32.add (i32.mul (global.get $seed) (i32.const 1103515245)) (i32.const 12345)))
    (i32.load (i32.add (i32.const 2048)
      (i32.shl (i32.rem_u (i32.shr_u (global.get $seed) (i32.const 16)) (i32.const {count})) (i32.const 2)))))
  (func $say (param $number i32)
    (local $at i32) (local.set $at (i32.const 64))
    (loop $digit
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (i32.store8 (local.get $at) (i32.add (i32.const 48) (i32.rem_u (local.get $number) (i32.const 10))))
      (local.set $number (i32.div_u (local.get $number) (i32.const 10)))
      (br_if $digit (local.get $number)))
    (drop (call $log (i32.const 2) (local.get $at) (i32.sub (i32.const 64) (local.get $at)))))
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (local $items i32) (local.set $items (i32.const 64))
    (drop (call $set_shared (i32.const 128) (i32.const 5) (i32.const 128) (i32.const 5) (i32.const 0)))
    (drop (call $register_queue (i32.const 128) (i32.const 5) (i32.const 24)))
    (loop $item
      (drop (call $enqueue (i32.load (i32.const 24)) (i32.const 128) (i32.const 5)))
      (br_if $item (local.tee $items (i32.sub (local.get $items) (i32.const 1)))))
    (drop (call $define_metric (i32.const 0) (i32.const 128) (i32.const 5) (i32.const 24)))
    (i32.const 1))
  (func $evil {body})
  (func (export "proxy_on_request_headers") (param i32 i32 {end}) (result i32)
    (drop (call $get_header (i32.const 0) (i32.const 136) (i32.const 5) (i32.const 16) (i32.const 20)))
    (if (i32.gt_u (i32.load (i32.const 20)) (i32.const 1)) (then (call $evil)))
    (i32.const 0)))"#
    )
}
