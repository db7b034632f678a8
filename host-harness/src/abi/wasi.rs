//! The part of WASI that Envoy offers to a module, under both names of preview 1.
//!
//! There are no files, arguments, sockets or sleep; clocks and randomness come from the host, so that nothing a guest
//! can observe comes from this machine. Source: proxy-wasm-cpp-host `src/exports.cc` and `include/proxy-wasm/exports.h`.

use wasmtime::{FuncType, Linker, Val, ValType};

use super::{
    Answer, Status,
    border::{Border, Guest, Refused, Reply, answer, deliver},
    memory::length,
    vm::VmState,
};

const MODULES: [&str; 2] = ["wasi_snapshot_preview1", "wasi_unstable"];

const SUCCESS: u32 = 0;
const BAD_FILE: u32 = 8;
const FAULT: u32 = 21;
const INVALID: u32 = 28;
const NO_ENTRY: u32 = 44;
const NO_SYSTEM: u32 = 52;
const NOT_SUPPORTED: u32 = 58;

const STDOUT: u32 = 1;
const STDERR: u32 = 2;
/// Log levels of standard output and standard error.
const INFO: u32 = 2;
const ERROR: u32 = 4;
const REALTIME: u32 = 0;
const MONOTONIC: u32 = 1;
/// Most bytes that one `random_get` gives. Source: proxy-wasm-cpp-host `include/proxy-wasm/limits.h`.
const RANDOM_BYTES: u32 = 64 * 1024;
const IOVEC_BYTES: u32 = 8;
/// `__WASI_RIGHTS_FD_WRITE`
const RIGHT_TO_WRITE: u64 = 64;

/// Functions that always answer the same error, with their parameters: `i` is 32 bits, `I` is 64.
///
/// Preview 1 without `path_link` and `path_symlink`, which Envoy declares with a parameter too few, so that a module that
/// imports them fails to link there, and without `proc_raise`, which Envoy does not have.
const REFUSED: &[(&str, &str, u32)] = &[
    ("clock_res_get", "ii", NO_SYSTEM),
    ("fd_advise", "iIIi", NO_SYSTEM),
    ("fd_allocate", "iII", NO_SYSTEM),
    ("fd_datasync", "i", NO_SYSTEM),
    ("fd_fdstat_set_flags", "ii", NO_SYSTEM),
    ("fd_fdstat_set_rights", "iII", NO_SYSTEM),
    ("fd_filestat_get", "ii", NO_SYSTEM),
    ("fd_filestat_set_size", "iI", NO_SYSTEM),
    ("fd_filestat_set_times", "iIIi", NO_SYSTEM),
    ("fd_pread", "iiiIi", NO_SYSTEM),
    ("fd_pwrite", "iiiIi", NO_SYSTEM),
    ("fd_read", "iiii", NO_SYSTEM),
    ("fd_readdir", "iiiIi", NO_SYSTEM),
    ("fd_renumber", "ii", NO_SYSTEM),
    ("fd_sync", "i", NO_SYSTEM),
    ("fd_tell", "ii", NO_SYSTEM),
    ("path_create_directory", "iii", NO_SYSTEM),
    ("path_filestat_get", "iiiii", NO_SYSTEM),
    ("path_filestat_set_times", "iiiiIIi", NO_SYSTEM),
    ("path_open", "iiiiiIIii", NO_ENTRY),
    ("path_readlink", "iiiiii", NO_SYSTEM),
    ("path_remove_directory", "iii", NO_SYSTEM),
    ("path_rename", "iiiiii", NO_SYSTEM),
    ("path_unlink_file", "iii", NO_SYSTEM),
    ("sock_accept", "iii", NO_SYSTEM),
    ("sock_recv", "iiiiii", NO_SYSTEM),
    ("sock_send", "iiiii", NO_SYSTEM),
    ("sock_shutdown", "ii", NO_SYSTEM),
];

/// Functions that a runtime calls by habit and that succeed without doing anything.
const IGNORED: &[(&str, &str)] =
    &[("args_get", "ii"), ("fd_close", "i"), ("fd_seek", "iIii"), ("sched_yield", "")];

/// Adds every function under both module names.
///
/// Errors: none in practice; a name that is defined twice.
pub(super) fn link(linker: &mut Linker<VmState>) -> wasmtime::Result<()> {
    for module in MODULES {
        link_environment(linker, module)?;
        link_files(linker, module)?;
        link_clocks(linker, module)?;
        for (name, parameters, errno) in REFUSED {
            link_constant(linker, module, name, parameters, *errno)?;
        }
        for (name, parameters) in IGNORED {
            link_constant(linker, module, name, parameters, SUCCESS)?;
        }
    }
    Ok(())
}

fn wasi<R: Into<Reply>>(
    guest: &mut Guest<'_>,
    function: &'static str,
    action: impl Fn(&mut Border<'_>) -> Result<R, u32> + Send + Sync + 'static,
) -> wasmtime::Result<u32> {
    match answer(guest, function, move |border| action(border).map_err(Refused::Code))? {
        Ok(reply) => deliver(guest, reply, FAULT),
        Err(errno) => Ok(errno),
    }
}

/// A bad pointer is `EFAULT` to WASI.
fn faulty<T>(answer: Answer<T>) -> Result<T, u32> {
    answer.map_err(|_status: Status| FAULT)
}

fn link_environment(linker: &mut Linker<VmState>, module: &str) -> wasmtime::Result<()> {
    linker.func_wrap(module, "environ_sizes_get", |mut guest: Guest<'_>, count_at: u32, size_at: u32| {
        wasi(&mut guest, "environ_sizes_get", move |border| {
            let entries = environment(border);
            let size: usize = entries.iter().map(Vec::len).sum();
            Ok(Reply::word(count_at, length(entries.len())).and_word(size_at, length(size)))
        })
    })?;
    linker.func_wrap(module, "environ_get", |mut guest: Guest<'_>, list_at: u32, bytes_at: u32| {
        wasi(&mut guest, "environ_get", move |border| {
            let (mut list_at, mut bytes_at) = (list_at, bytes_at);
            let mut reply = Reply::default();
            for entry in environment(border) {
                reply = reply.and_word(list_at, bytes_at).and_placed(bytes_at, &entry);
                list_at = list_at.checked_add(4).ok_or(FAULT)?;
                bytes_at = bytes_at.checked_add(length(entry.len())).ok_or(FAULT)?;
            }
            Ok(reply)
        })
    })?;
    linker.func_wrap(module, "args_sizes_get", |mut guest: Guest<'_>, count_at: u32, size_at: u32| {
        wasi(&mut guest, "args_sizes_get", move |_border| Ok(Reply::word(count_at, 0).and_word(size_at, 0)))
    })?;
    linker.func_wrap(module, "proc_exit", |mut guest: Guest<'_>, exit_code: u32| {
        wasi(&mut guest, "proc_exit", move |border| {
            border.host.exit(border.vm, exit_code);
            Ok(())
        })
        .map(|_success| ())
    })?;
    linker.func_wrap(module, "random_get", |mut guest: Guest<'_>, pointer: u32, size: u32| {
        wasi(&mut guest, "random_get", move |border| {
            if size > RANDOM_BYTES {
                return Err(INVALID);
            }
            // A bad place must not use up random numbers.
            let mut bytes = vec![0; faulty(border.read(pointer, size))?.len()];
            border.host.random(border.vm, &mut bytes);
            Ok(Reply::default().and_placed(pointer, &bytes))
        })
    })?;
    Ok(())
}

fn link_files(linker: &mut Linker<VmState>, module: &str) -> wasmtime::Result<()> {
    linker.func_wrap(
        module,
        "fd_write",
        |mut guest: Guest<'_>, file: u32, iovecs: u32, count: u32, written_at: u32| {
            wasi(&mut guest, "fd_write", move |border| write_log(border, file, iovecs, count, written_at))
        },
    )?;
    linker.func_wrap(module, "fd_fdstat_get", |mut guest: Guest<'_>, file: u32, stat_at: u32| {
        wasi(&mut guest, "fd_fdstat_get", move |border| {
            if file != STDOUT && file != STDERR {
                return Err(BAD_FILE);
            }
            let mut stat = [0; 24];
            stat[8..16].copy_from_slice(&RIGHT_TO_WRITE.to_le_bytes());
            // Envoy does not look whether it could be written.
            let inside = border.read(stat_at, length(stat.len())).is_ok();
            Ok(if inside { Reply::default().and_placed(stat_at, &stat) } else { Reply::default() })
        })
    })?;
    // These two are asked for before `main`, so they are restricted like the rest and not constants.
    linker.func_wrap(module, "fd_prestat_get", |mut guest: Guest<'_>, _file: u32, _stat_at: u32| {
        wasi(&mut guest, "fd_prestat_get", move |_border| Err::<(), _>(BAD_FILE))
    })?;
    linker.func_wrap(
        module,
        "fd_prestat_dir_name",
        |mut guest: Guest<'_>, _file: u32, _path: u32, _size: u32| {
            wasi(&mut guest, "fd_prestat_dir_name", move |_border| Err::<(), _>(BAD_FILE))
        },
    )?;
    Ok(())
}

fn link_clocks(linker: &mut Linker<VmState>, module: &str) -> wasmtime::Result<()> {
    linker.func_wrap(
        module,
        "clock_time_get",
        |mut guest: Guest<'_>, clock: u32, _precision: u64, time_at: u32| {
            wasi(&mut guest, "clock_time_get", move |border| {
                let time_ns = match clock {
                    REALTIME => border.host.wall_time_ns(border.vm),
                    MONOTONIC => border.host.monotonic_time_ns(border.vm),
                    _ => return Err(NOT_SUPPORTED),
                };
                Ok(Reply::long(time_at, time_ns))
            })
        },
    )?;
    linker.func_wrap(
        module,
        "poll_oneoff",
        |mut guest: Guest<'_>, _subscriptions: u32, _events: u32, _count: u32, events_at: u32| {
            wasi(&mut guest, "poll_oneoff", move |_border| Ok(Reply::word(events_at, 0)))
        },
    )?;
    Ok(())
}

fn link_constant(
    linker: &mut Linker<VmState>,
    module: &str,
    name: &'static str,
    parameters: &str,
    errno: u32,
) -> wasmtime::Result<()> {
    let parameters = parameters.chars().map(|kind| if kind == 'I' { ValType::I64 } else { ValType::I32 });
    let ty = FuncType::new(linker.engine(), parameters, [ValType::I32]);
    linker.func_new(module, name, ty, move |mut guest, _arguments, results| {
        let code = wasi(&mut guest, name, move |border| {
            if errno == NO_SYSTEM {
                border.host.unimplemented(border.vm, name);
            }
            if errno == SUCCESS { Ok(()) } else { Err(errno) }
        })?;
        results[0] = Val::I32(code.cast_signed());
        Ok(())
    })?;
    Ok(())
}

/// Writes what a guest prints to the log, without its last newline.
fn write_log(
    border: &mut Border<'_>,
    file: u32,
    iovecs: u32,
    count: u32,
    written_at: u32,
) -> Result<Reply, u32> {
    let level = match file {
        STDOUT => INFO,
        STDERR => ERROR,
        _ => return Err(BAD_FILE),
    };
    let mut text = Vec::new();
    for index in 0..count {
        let at = index.checked_mul(IOVEC_BYTES).and_then(|offset| iovecs.checked_add(offset)).ok_or(FAULT)?;
        let iovec = faulty(border.read(at, IOVEC_BYTES))?;
        let (pointer, size) = (word(&iovec[..4]), word(&iovec[4..]));
        text.extend_from_slice(faulty(border.read(pointer, size))?);
        // A guest may name the same bytes many times; the host's memory has a limit as well.
        if text.len() > border.memory_bytes() {
            return Err(FAULT);
        }
    }
    let written = length(text.len());
    if written > 0 {
        let line = text.strip_suffix(b"\n").unwrap_or(&text);
        border.host.log(border.vm, level, line).map_err(|_status| BAD_FILE)?;
    }
    Ok(Reply::word(written_at, written))
}

fn word(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte))
}

fn environment(border: &mut Border<'_>) -> Vec<Vec<u8>> {
    let variables = border.host.environment(border.vm);
    variables.into_iter().map(|(name, value)| format!("{name}={value}\0").into_bytes()).collect()
}
