//! Cases about hostcalls in general: logs, clocks, foreign functions, WASI, and pointers that lead nowhere.

use host_harness::abi::pairs;

use super::{
    Argument::{self, Bytes, GivesBytes, GivesNumber, GivesWord, Int, LastWord, Long, Outside, OutsideBytes},
    Call, Case,
    Rule::Length,
    body_cases, boot_cases, call_cases, context_cases, header_cases, phase_cases, property_cases,
    queue_cases, reply_cases, shared_cases,
    sides::CLUSTER,
    tick_cases,
};

pub(super) const REQUEST_HEADERS: u32 = 0;

/// All cases, in the order in which they must run: shared data and ids are told apart by what ran before.
pub fn all() -> Vec<Case> {
    [
        boot_cases::all(),
        header_cases::all(),
        property_cases::all(),
        shared_cases::all(),
        body_cases::all(),
        call_cases::all(),
        general(),
        grpc(),
        wasi(),
        bad_places(),
        bad_bytes(),
        context_cases::all(),
        phase_cases::all(),
        tick_cases::all(),
        queue_cases::all(),
        reply_cases::all(),
    ]
    .concat()
}

pub(super) fn text(text: &str) -> Argument {
    Bytes(text.as_bytes().to_vec())
}

pub(super) fn get(map: u32, name: &str) -> Call {
    Call::new("proxy_get_header_map_value", [Int(map), text(name), GivesBytes])
}

pub(super) fn get_pairs(map: u32) -> Call {
    Call::new("proxy_get_header_map_pairs", [Int(map), GivesBytes])
}

pub(super) fn size(map: u32) -> Call {
    Call::new("proxy_get_header_map_size", [Int(map), GivesWord])
}

pub(super) fn write(function: &'static str, map: u32, name: &str, value: &str) -> Call {
    Call::new(function, [Int(map), text(name), text(value)])
}

pub(super) fn add(map: u32, name: &str, value: &str) -> Call {
    write("proxy_add_header_map_value", map, name, value)
}

pub(super) fn replace(map: u32, name: &str, value: &str) -> Call {
    write("proxy_replace_header_map_value", map, name, value)
}

pub(super) fn remove(map: u32, name: &str) -> Call {
    Call::new("proxy_remove_header_map_value", [Int(map), text(name)])
}

pub(super) fn set_pairs(map: u32, headers: &[(&str, &str)]) -> Call {
    Call::new("proxy_set_header_map_pairs", [Int(map), Bytes(pairs::to_bytes(headers))])
}

pub(super) fn property(path: &str) -> Call {
    Call::new("proxy_get_property", [text(&path.replace('.', "\0")), GivesBytes])
}

pub(super) fn set_property(path: &str, value: &str) -> Call {
    Call::new("proxy_set_property", [text(path), text(value)])
}

pub(super) fn buffer(buffer: u32, start: u32, length: u32) -> Call {
    Call::new("proxy_get_buffer_bytes", [Int(buffer), Int(start), Int(length), GivesBytes])
}

pub(super) fn set_buffer(buffer: u32, start: u32, length: u32, value: &str) -> Call {
    Call::new("proxy_set_buffer_bytes", [Int(buffer), Int(start), Int(length), text(value)])
}

fn general() -> Vec<Case> {
    let log = |level| Call::new("proxy_log", [Int(level), text("probe")]);
    vec![
        Case::new(
            "log: levels and beyond",
            [log(0), log(2), log(3), log(5), log(6), log(255), log(u32::MAX)],
        ),
        Case::new("log: the level that is on", [Call::new("proxy_get_log_level", [GivesWord])]),
        Case::new("time: it is told", [Call::new("proxy_get_current_time_nanoseconds", [GivesNumber])])
            .by(Length),
        Case::new(
            "foreign function: absent",
            [
                Call::new("proxy_call_foreign_function", [text("no_such"), text("x"), GivesBytes]),
                Call::new("proxy_call_foreign_function", [text(""), text(""), GivesBytes]),
            ],
        ),
        Case::new(
            "foreign function: those of Envoy",
            [
                "compress",
                "uncompress",
                "declare_property",
                "set_envoy_filter_state",
                "verify_signature",
                "sign",
                "expr_create",
            ]
            .map(|name| Call::new("proxy_call_foreign_function", [text(name), text("x"), GivesBytes])),
        ),
        Case::new(
            "foreign function: clear_route_cache",
            [Call::new("proxy_call_foreign_function", [text("clear_route_cache"), text(""), GivesBytes])],
        ),
        Case::new(
            "tick: a period is set and unset on a stream",
            [
                Call::new("proxy_set_tick_period_milliseconds", [Int(3_600_000)]),
                Call::new("proxy_set_tick_period_milliseconds", [Int(0)]),
            ],
        ),
    ]
}

/// Every place of a result outside of memory, where there is a result to give.
fn bad_places() -> Vec<Case> {
    let two = || vec![Outside, Outside];
    let with = |mut before: Vec<Argument>, after: Vec<Argument>| {
        before.extend(after);
        before
    };
    let calls = vec![
        ("proxy_get_log_level", vec![Outside]),
        ("proxy_get_status", with(vec![Outside], vec![GivesBytes])),
        ("proxy_get_status", with(vec![GivesWord], two())),
        ("proxy_get_property", with(vec![text("plugin_name")], two())),
        ("proxy_get_property", with(vec![text("no_such_thing")], two())),
        ("proxy_get_current_time_nanoseconds", vec![Outside]),
        ("proxy_get_header_map_value", with(vec![Int(0), text("x-one")], two())),
        ("proxy_get_header_map_value", with(vec![Int(0), text("x-absent")], two())),
        ("proxy_get_header_map_value", with(vec![Int(0), text("x-empty")], two())),
        ("proxy_get_header_map_pairs", with(vec![Int(0)], two())),
        ("proxy_get_header_map_pairs", with(vec![Int(1)], two())),
        ("proxy_get_header_map_pairs", with(vec![Int(9)], two())),
        ("proxy_get_header_map_size", vec![Int(0), Outside]),
        ("proxy_get_header_map_size", vec![Int(1), Outside]),
        ("proxy_get_buffer_bytes", with(vec![Int(0), Int(0), Int(9)], two())),
        ("proxy_get_buffer_bytes", with(vec![Int(9), Int(0), Int(9)], two())),
        ("proxy_get_buffer_status", vec![Int(0), Outside, Outside]),
        ("proxy_get_shared_data", with(vec![text("kept")], with(two(), vec![GivesWord]))),
        ("proxy_get_shared_data", vec![text("kept"), GivesBytes, Outside]),
        ("proxy_get_shared_data", with(vec![text("absent")], with(two(), vec![Outside]))),
        ("proxy_register_shared_queue", vec![text("bad places"), Outside]),
        ("proxy_resolve_shared_queue", vec![text(""), text("bad places"), Outside]),
        ("proxy_resolve_shared_queue", vec![text(""), text("absent"), Outside]),
        ("proxy_dequeue_shared_queue", with(vec![Int(9999)], two())),
        ("proxy_define_metric", vec![Int(0), text("bad_places"), Outside]),
        ("proxy_define_metric", vec![Int(9), text("bad_places"), Outside]),
        ("proxy_get_metric", vec![Int(9999), Outside]),
        ("proxy_call_foreign_function", with(vec![text("no_such"), text("")], two())),
    ];
    let case = |(index, (function, arguments)): (usize, (&'static str, Vec<Argument>))| {
        Case::new(format!("bad place {index}: {function}"), [Call::new(function, arguments)])
    };
    calls.into_iter().enumerate().map(case).collect()
}

/// Every argument of bytes outside of memory.
fn bad_bytes() -> Vec<Case> {
    let calls = vec![
        ("proxy_log", vec![Int(2), OutsideBytes]),
        ("proxy_log", vec![Int(9), OutsideBytes]),
        ("proxy_get_property", vec![OutsideBytes, GivesBytes]),
        ("proxy_set_property", vec![OutsideBytes, text("1")]),
        ("proxy_set_property", vec![text("a"), OutsideBytes]),
        ("proxy_get_shared_data", vec![OutsideBytes, GivesBytes, GivesWord]),
        ("proxy_set_shared_data", vec![OutsideBytes, text("1"), Int(0)]),
        ("proxy_set_shared_data", vec![text("a"), OutsideBytes, Int(0)]),
        ("proxy_register_shared_queue", vec![OutsideBytes, GivesWord]),
        ("proxy_resolve_shared_queue", vec![OutsideBytes, text("q"), GivesWord]),
        ("proxy_resolve_shared_queue", vec![text(""), OutsideBytes, GivesWord]),
        ("proxy_enqueue_shared_queue", vec![Int(9999), OutsideBytes]),
        ("proxy_get_header_map_value", vec![Int(0), OutsideBytes, GivesBytes]),
        ("proxy_get_header_map_value", vec![Int(9), OutsideBytes, GivesBytes]),
        ("proxy_set_header_map_pairs", vec![Int(0), OutsideBytes]),
        ("proxy_set_header_map_pairs", vec![Int(9), OutsideBytes]),
        ("proxy_add_header_map_value", vec![Int(0), OutsideBytes, text("1")]),
        ("proxy_add_header_map_value", vec![Int(1), text("a"), OutsideBytes]),
        ("proxy_replace_header_map_value", vec![Int(0), text("a"), OutsideBytes]),
        ("proxy_remove_header_map_value", vec![Int(0), OutsideBytes]),
        ("proxy_set_buffer_bytes", vec![Int(0), Int(0), Int(0), OutsideBytes]),
        ("proxy_set_buffer_bytes", vec![Int(9), Int(0), Int(0), OutsideBytes]),
        ("proxy_send_local_response", vec![Int(200), OutsideBytes, text(""), text(""), Int(0)]),
        ("proxy_send_local_response", vec![Int(200), text(""), OutsideBytes, text(""), Int(0)]),
        ("proxy_send_local_response", vec![Int(200), text(""), text(""), OutsideBytes, Int(0)]),
        ("proxy_http_call", vec![OutsideBytes, text(""), text(""), text(""), Int(9), GivesWord]),
        ("proxy_http_call", vec![text(CLUSTER), OutsideBytes, text(""), text(""), Int(9), GivesWord]),
        ("proxy_http_call", vec![text(CLUSTER), text(""), OutsideBytes, text(""), Int(9), GivesWord]),
        ("proxy_http_call", vec![text(CLUSTER), text(""), text(""), OutsideBytes, Int(9), GivesWord]),
        ("proxy_define_metric", vec![Int(0), OutsideBytes, GivesWord]),
        ("proxy_define_metric", vec![Int(9), OutsideBytes, GivesWord]),
        ("proxy_call_foreign_function", vec![OutsideBytes, text(""), GivesBytes]),
        ("proxy_call_foreign_function", vec![text("clear_route_cache"), OutsideBytes, GivesBytes]),
        ("proxy_increment_metric", vec![LastWord, Long(1)]),
    ];
    let case = |(index, (function, arguments)): (usize, (&'static str, Vec<Argument>))| {
        Case::new(format!("bad bytes {index}: {function}"), [Call::new(function, arguments)])
    };
    calls.into_iter().enumerate().map(case).collect()
}

/// gRPC that fails at once.
fn grpc() -> Vec<Case> {
    let start = |function, service: &str| {
        let mut arguments =
            vec![text(service), text("a.S"), text("M"), Bytes(pairs::to_bytes::<&str, &str>(&[]))];
        if function == "proxy_grpc_call" {
            arguments.extend([text(""), Int(100)]);
        }
        arguments.push(GivesWord);
        Call::new(function, arguments)
    };
    let one = |function, token| Call::new(function, [Int(token)]);
    let send = |token, end| Call::new("proxy_grpc_send", [Int(token), text("x"), Int(end)]);
    let tokens = [0, 1, 2, 3, 9998, 9999, u32::MAX];
    vec![
        Case::new(
            "grpc: a service that cannot be read",
            [start("proxy_grpc_call", "\u{1}junk"), start("proxy_grpc_stream", "\u{1}junk")],
        ),
        Case::new(
            "grpc: tokens that never were are not cancelled",
            tokens.map(|token| one("proxy_grpc_cancel", token)),
        ),
        Case::new(
            "grpc: tokens that never were are not closed",
            tokens.map(|token| one("proxy_grpc_close", token)),
        ),
        Case::new("grpc: tokens that never were are not sent to", tokens.map(|token| send(token, 0))),
        Case::new("grpc: nor with the end", tokens.map(|token| send(token, 1))),
        Case::new(
            "grpc: bytes outside of memory",
            [
                Call::new("proxy_grpc_send", [Int(1), OutsideBytes, Int(0)]),
                Call::new("proxy_grpc_send", [Int(2), OutsideBytes, Int(0)]),
                Call::new(
                    "proxy_grpc_call",
                    [OutsideBytes, text("a.S"), text("M"), text(""), text(""), Int(100), GivesWord],
                ),
                Call::new("proxy_grpc_stream", [OutsideBytes, text("a.S"), text("M"), text(""), GivesWord]),
            ],
        ),
        Case::new(
            "grpc: metadata in header maps outside of any",
            [get(4, "a"), get(5, "a"), get_pairs(4), size(5)],
        ),
    ]
}

fn wasi() -> Vec<Case> {
    let outside = || vec![Outside, Outside];
    vec![
        Case::new(
            "wasi: arguments and environment",
            [
                Call::new("args_sizes_get", [Int(24), Int(32)]),
                Call::new("environ_sizes_get", [Int(24), Int(32)]),
            ],
        ),
        Case::new(
            "wasi: arguments and environment nowhere",
            [Call::new("args_sizes_get", outside()), Call::new("environ_sizes_get", outside())],
        ),
        Case::new(
            "wasi: clocks tell a time",
            [
                Call::new("clock_time_get", [Int(0), Long(0), GivesNumber]),
                Call::new("clock_time_get", [Int(1), Long(0), GivesNumber]),
            ],
        )
        .by(Length),
        Case::new(
            "wasi: clocks that are none",
            [
                Call::new("clock_time_get", [Int(2), Long(0), GivesNumber]),
                Call::new("clock_time_get", [Int(u32::MAX), Long(0), GivesNumber]),
                Call::new("clock_time_get", [Int(0), Long(0), Outside]),
                Call::new("clock_time_get", [Int(2), Long(0), Outside]),
            ],
        ),
        Case::new(
            "wasi: files are not there",
            [
                Call::new("fd_close", [Int(3)]),
                Call::new("fd_prestat_get", [Int(3), Int(16)]),
                Call::new("fd_read", [Int(0), Int(16), Int(1), Int(24)]),
                Call::new(
                    "path_open",
                    [Int(3), Int(0), text("a"), Int(0), Long(0), Long(0), Int(0), Int(24)],
                ),
            ],
        ),
        Case::new(
            "wasi: what a file is",
            [
                Call::new("fd_fdstat_get", [Int(0), Int(2048)]),
                Call::new("fd_fdstat_get", [Int(1), Int(2048)]),
                Call::new("fd_fdstat_get", [Int(2), Int(2048)]),
                Call::new("fd_fdstat_get", [Int(3), Int(2048)]),
                Call::new("fd_fdstat_get", [Int(1), Outside]),
            ],
        ),
        Case::new(
            "wasi: writes to files that are none",
            [
                Call::new("fd_write", [Int(0), Int(2048), Int(0), GivesWord]),
                Call::new("fd_write", [Int(3), Int(2048), Int(0), GivesWord]),
                Call::new("fd_write", [Int(1), Int(2048), Int(0), GivesWord]),
                Call::new("fd_write", [Int(1), Outside, Int(1), GivesWord]),
                Call::new("fd_write", [Int(1), Int(2048), Int(0), Outside]),
            ],
        ),
        Case::new(
            "wasi: nothing is polled",
            [Call::new("poll_oneoff", [Int(2048), Int(2048), Int(0), GivesWord])],
        ),
        Case::new(
            "wasi: random bytes",
            [
                Call::new("random_get", [Int(2048), Int(8)]),
                Call::new("random_get", [Int(2048), Int(0)]),
                Call::new("random_get", [Outside, Int(8)]),
                Call::new("random_get", [Int(2_097_152), Int(65_536)]),
                Call::new("random_get", [Int(2_097_152), Int(65_537)]),
            ],
        ),
    ]
}
