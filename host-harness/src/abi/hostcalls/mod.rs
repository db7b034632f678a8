//! The functions that a guest imports from `env`: bytes are taken out of the guest, the host is asked, bytes are given back.
//!
//! The order of checks is Envoy's (proxy-wasm-cpp-host `src/exports.cc`): first the type numbers, then the pointers,
//! then the meaning. A guest that passes several wrong arguments sees the same status there and here.

mod grpc;
mod http;
mod shared;

use wasmtime::Linker;

use super::{
    Point, Status,
    border::{Guest, Refused, Reply, answer, hostcall},
    memory::length,
    vm::VmState,
};

const ENV: &str = "env";
/// Level of `critical`, the highest that a guest may log with.
const MAX_LOG_LEVEL: u32 = 5;

/// Adds every function of `env`, of ABI 0.2.1 and the few more of 0.1.0.
///
/// Errors: none in practice; a name that is defined twice.
pub(super) fn link(linker: &mut Linker<VmState>) -> wasmtime::Result<()> {
    link_general(linker)?;
    link_properties(linker)?;
    link_metrics(linker)?;
    link_others(linker)?;
    shared::link(linker)?;
    http::link(linker)?;
    grpc::link(linker)
}

fn link_general(linker: &mut Linker<VmState>) -> wasmtime::Result<()> {
    linker.func_wrap(ENV, "proxy_log", |mut guest: Guest<'_>, level: u32, pointer: u32, size: u32| {
        hostcall(&mut guest, "proxy_log", move |border| {
            if level > MAX_LOG_LEVEL {
                return Err(Status::BadArgument);
            }
            border.host.log(border.vm, level, border.read(pointer, size)?)
        })
    })?;
    linker.func_wrap(ENV, "proxy_get_log_level", |mut guest: Guest<'_>, level_at: u32| {
        hostcall(&mut guest, "proxy_get_log_level", move |border| {
            Ok::<_, Refused>(Reply::word(level_at, border.host.log_level(border.vm)))
        })
    })?;
    linker.func_wrap(
        ENV,
        "proxy_get_status",
        |mut guest: Guest<'_>, code_at: u32, pointer_at: u32, size_at: u32| {
            hostcall(&mut guest, "proxy_get_status", move |border| -> Result<Reply, Refused> {
                let (code, message) = border.host.call_status(border.vm);
                Ok(Reply::word(code_at, code).and_given(message, pointer_at, size_at))
            })
        },
    )?;
    linker.func_wrap(ENV, "proxy_set_tick_period_milliseconds", |mut guest: Guest<'_>, period_ms: u32| {
        hostcall(&mut guest, "proxy_set_tick_period_milliseconds", move |border| {
            border.host.set_tick_period(border.vm, period_ms)
        })
    })?;
    linker.func_wrap(ENV, "proxy_get_current_time_nanoseconds", |mut guest: Guest<'_>, time_at: u32| {
        hostcall(&mut guest, "proxy_get_current_time_nanoseconds", move |border| {
            Ok::<_, Refused>(Reply::long(time_at, border.host.wall_time_ns(border.vm)))
        })
    })?;
    linker.func_wrap(ENV, "proxy_set_effective_context", |mut guest: Guest<'_>, context_id: u32| {
        hostcall(&mut guest, "proxy_set_effective_context", move |border| {
            border.host.set_effective_context(border.vm, context_id)
        })
    })?;
    linker.func_wrap(ENV, "proxy_done", |mut guest: Guest<'_>| {
        hostcall(&mut guest, "proxy_done", move |border| border.host.done(border.vm))
    })?;
    Ok(())
}

fn link_properties(linker: &mut Linker<VmState>) -> wasmtime::Result<()> {
    linker.func_wrap(
        ENV,
        "proxy_get_property",
        |mut guest: Guest<'_>, path: u32, path_size: u32, pointer_at: u32, size_at: u32| {
            hostcall(&mut guest, "proxy_get_property", move |border| -> Result<Reply, Refused> {
                let path = border.read(path, path_size)?;
                Ok(Reply::given(border.host.property(border.vm, path)?, pointer_at, size_at))
            })
        },
    )?;
    linker.func_wrap(
        ENV,
        "proxy_set_property",
        |mut guest: Guest<'_>, path: u32, path_size: u32, value: u32, value_size: u32| {
            hostcall(&mut guest, "proxy_set_property", move |border| {
                let path = border.read(path, path_size)?;
                let value = border.read(value, value_size)?;
                border.host.set_property(border.vm, path, value)
            })
        },
    )?;
    linker.func_wrap(
        ENV,
        "proxy_call_foreign_function",
        |mut guest: Guest<'_>,
         name: u32,
         name_size: u32,
         argument: u32,
         argument_size: u32,
         pointer_at: u32,
         size_at: u32| {
            hostcall(&mut guest, "proxy_call_foreign_function", move |border| -> Result<Reply, Refused> {
                let name = border.read(name, name_size)?;
                let argument = border.read(argument, argument_size)?;
                let result = border.host.call_foreign_function(border.vm, name, argument)?;
                // A caller that passes no place for the result does not want it.
                let wanted = pointer_at != 0 || size_at != 0;
                Ok(if wanted { Reply::given(result, pointer_at, size_at) } else { Reply::default() })
            })
        },
    )?;
    Ok(())
}

fn link_metrics(linker: &mut Linker<VmState>) -> wasmtime::Result<()> {
    linker.func_wrap(
        ENV,
        "proxy_define_metric",
        |mut guest: Guest<'_>, kind: u32, name: u32, name_size: u32, id_at: u32| {
            hostcall(&mut guest, "proxy_define_metric", move |border| {
                let name = border.read(name, name_size)?;
                let id = border.host.define_metric(border.vm, kind.try_into()?, name)?;
                Ok::<_, Refused>(Reply::word(id_at, id))
            })
        },
    )?;
    linker.func_wrap(ENV, "proxy_increment_metric", |mut guest: Guest<'_>, id: u32, offset: i64| {
        hostcall(&mut guest, "proxy_increment_metric", move |border| -> Result<(), Refused> {
            border.pass(Point::ChangeMetric { id })?;
            Ok(border.host.increment_metric(border.vm, id, offset)?)
        })
    })?;
    linker.func_wrap(ENV, "proxy_record_metric", |mut guest: Guest<'_>, id: u32, value: u64| {
        hostcall(&mut guest, "proxy_record_metric", move |border| -> Result<(), Refused> {
            border.pass(Point::ChangeMetric { id })?;
            Ok(border.host.record_metric(border.vm, id, value)?)
        })
    })?;
    linker.func_wrap(ENV, "proxy_get_metric", |mut guest: Guest<'_>, id: u32, value_at: u32| {
        hostcall(&mut guest, "proxy_get_metric", move |border| -> Result<Reply, Refused> {
            border.pass(Point::ReadMetric { id })?;
            Ok(Reply::long(value_at, border.host.metric(border.vm, id)?))
        })
    })?;
    Ok(())
}

/// What belongs to no group: leftovers of ABI 0.1.0, what Emscripten asks for, and the functions that are not here.
fn link_others(linker: &mut Linker<VmState>) -> wasmtime::Result<()> {
    linker.func_wrap(
        ENV,
        "proxy_get_configuration",
        |mut guest: Guest<'_>, pointer_at: u32, size_at: u32| {
            hostcall(&mut guest, "proxy_get_configuration", move |border| {
                Ok::<_, Refused>(Reply::given(border.host.configuration(border.vm), pointer_at, size_at))
            })
        },
    )?;
    linker.func_wrap(ENV, "pthread_equal", |mut guest: Guest<'_>, left: u32, right: u32| {
        // Its number is a truth value and not a status.
        let equal = Refused::Code(u32::from(left == right));
        answer(&mut guest, "pthread_equal", move |_| Err::<(), _>(equal))
            .map(|kept| kept.err().unwrap_or_default())
    })?;
    linker.func_wrap(ENV, "emscripten_notify_memory_growth", |mut guest: Guest<'_>, _memory: u32| {
        answer(&mut guest, "emscripten_notify_memory_growth", move |_| Ok::<_, Refused>(())).map(|_| ())
    })?;
    for (name, parameters) in UNIMPLEMENTED {
        link_unimplemented(linker, name, *parameters)?;
    }
    Ok(())
}

/// Functions of the ABI that answer [`Status::Unimplemented`], with their counts of `i32` parameters.
const UNIMPLEMENTED: &[(&str, usize)] = &[("envoy_resolve_dns", 3)];

fn link_unimplemented(
    linker: &mut Linker<VmState>,
    name: &'static str,
    parameters: usize,
) -> wasmtime::Result<()> {
    let word = wasmtime::ValType::I32;
    let parameters = std::iter::repeat_n(word.clone(), parameters);
    let ty = wasmtime::FuncType::new(linker.engine(), parameters, [word]);
    linker.func_new(ENV, name, ty, move |mut guest, _arguments, results| {
        let code = hostcall(&mut guest, name, move |border| {
            border.host.unimplemented(border.vm, name);
            Err::<(), _>(Status::Unimplemented)
        })?;
        results[0] = wasmtime::Val::I32(code.cast_signed());
        Ok(())
    })?;
    Ok(())
}
