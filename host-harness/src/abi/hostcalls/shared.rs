//! Hostcalls for what VMs share: data and queues.

use wasmtime::Linker;

use super::{ENV, Guest, VmState, at_border, code, give, give_answer, hostcall, read, write_u32};

/// Adds the functions to the linker.
pub(super) fn link(linker: &mut Linker<VmState>) -> wasmtime::Result<()> {
    link_data(linker)?;
    link_queues(linker)
}

fn link_data(linker: &mut Linker<VmState>) -> wasmtime::Result<()> {
    linker.func_wrap(
        ENV,
        "proxy_get_shared_data",
        |mut guest: Guest<'_>, key: u32, key_size: u32, pointer_at: u32, size_at: u32, cas_at: u32| {
            let answer = at_border(&mut guest, "proxy_get_shared_data", |border| {
                border.host.shared_data(border.vm, read(border.memory, key, key_size)?)
            })?;
            let (value, cas) = match answer {
                Ok(found) => found,
                Err(status) => return Ok(status.code()),
            };
            if let Err(status) = give(&mut guest, &value, pointer_at, size_at)? {
                return Ok(status.code());
            }
            at_border(&mut guest, "proxy_get_shared_data", |border| write_u32(border.memory, cas_at, cas))
                .map(code)
        },
    )?;
    linker.func_wrap(
        ENV,
        "proxy_set_shared_data",
        |mut guest: Guest<'_>, key: u32, key_size: u32, value: u32, value_size: u32, cas: u32| {
            hostcall(&mut guest, "proxy_set_shared_data", |border| {
                let key = read(border.memory, key, key_size)?;
                let value = read(border.memory, value, value_size)?;
                border.host.set_shared_data(border.vm, key, value, cas)
            })
        },
    )?;
    Ok(())
}

fn link_queues(linker: &mut Linker<VmState>) -> wasmtime::Result<()> {
    linker.func_wrap(
        ENV,
        "proxy_register_shared_queue",
        |mut guest: Guest<'_>, name: u32, name_size: u32, token_at: u32| {
            hostcall(&mut guest, "proxy_register_shared_queue", |border| {
                let token = border.host.register_queue(border.vm, read(border.memory, name, name_size)?)?;
                write_u32(border.memory, token_at, token)
            })
        },
    )?;
    linker.func_wrap(
        ENV,
        "proxy_resolve_shared_queue",
        |mut guest: Guest<'_>, vm_id: u32, vm_id_size: u32, name: u32, name_size: u32, token_at: u32| {
            hostcall(&mut guest, "proxy_resolve_shared_queue", |border| {
                let vm_id = read(border.memory, vm_id, vm_id_size)?;
                let name = read(border.memory, name, name_size)?;
                let token = border.host.resolve_queue(border.vm, vm_id, name)?;
                write_u32(border.memory, token_at, token)
            })
        },
    )?;
    linker.func_wrap(
        ENV,
        "proxy_dequeue_shared_queue",
        |mut guest: Guest<'_>, token: u32, pointer_at: u32, size_at: u32| {
            let answer = at_border(&mut guest, "proxy_dequeue_shared_queue", |border| {
                border.host.dequeue(border.vm, token)
            })?;
            give_answer(&mut guest, answer, pointer_at, size_at)
        },
    )?;
    linker.func_wrap(
        ENV,
        "proxy_enqueue_shared_queue",
        |mut guest: Guest<'_>, token: u32, item: u32, item_size: u32| {
            hostcall(&mut guest, "proxy_enqueue_shared_queue", |border| {
                border.host.enqueue(border.vm, token, read(border.memory, item, item_size)?)
            })
        },
    )?;
    Ok(())
}
