//! Hostcalls for what VMs share: data and queues. Other VMs can see them, so each is a point where another turn may go
//! first.

use wasmtime::Linker;

use super::{ENV, Guest, Point, Refused, Reply, VmState, answer, hostcall};

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
            hostcall(&mut guest, "proxy_get_shared_data", move |border| -> Result<Reply, Refused> {
                let key = border.read(key, key_size)?;
                border.pass(Point::Get { key })?;
                let (value, cas) = border.host.shared_data(border.vm, key)?;
                Ok(Reply::given(value, pointer_at, size_at).and_word(cas_at, cas))
            })
        },
    )?;
    linker.func_wrap(
        ENV,
        "proxy_set_shared_data",
        |mut guest: Guest<'_>, key: u32, key_size: u32, value: u32, value_size: u32, cas: u32| {
            hostcall(&mut guest, "proxy_set_shared_data", move |border| -> Result<(), Refused> {
                let key = border.read(key, key_size)?;
                let value = border.read(value, value_size)?;
                border.pass(Point::Set { key, value, cas })?;
                Ok(border.host.set_shared_data(border.vm, key, value, cas)?)
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
            hostcall(&mut guest, "proxy_register_shared_queue", move |border| -> Result<Reply, Refused> {
                let name = border.read(name, name_size)?;
                border.pass(Point::Register { queue: name })?;
                Ok(Reply::word(token_at, border.host.register_queue(border.vm, name)?))
            })
        },
    )?;
    linker.func_wrap(
        ENV,
        "proxy_resolve_shared_queue",
        |mut guest: Guest<'_>, vm_id: u32, vm_id_size: u32, name: u32, name_size: u32, token_at: u32| {
            hostcall(&mut guest, "proxy_resolve_shared_queue", move |border| -> Result<Reply, Refused> {
                let vm_id = border.read(vm_id, vm_id_size)?;
                let name = border.read(name, name_size)?;
                border.pass(Point::Resolve { queue: name })?;
                Ok(Reply::word(token_at, border.host.resolve_queue(border.vm, vm_id, name)?))
            })
        },
    )?;
    linker.func_wrap(
        ENV,
        "proxy_dequeue_shared_queue",
        |mut guest: Guest<'_>, token: u32, pointer_at: u32, size_at: u32| {
            hostcall(&mut guest, "proxy_dequeue_shared_queue", move |border| -> Result<Reply, Refused> {
                border.pass(Point::Dequeue { token })?;
                Ok(Reply::given(border.host.dequeue(border.vm, token)?, pointer_at, size_at))
            })
        },
    )?;
    linker.func_wrap(
        ENV,
        "proxy_enqueue_shared_queue",
        |mut guest: Guest<'_>, token: u32, item: u32, item_size: u32| {
            // Envoy puts the item in, gives up the lock, and only then posts the notice: another thread may come between.
            // Source: proxy-wasm-cpp-host `src/shared_queue.cc` `SharedQueue::enqueue`.
            let pushed =
                answer(&mut guest, "proxy_enqueue_shared_queue", move |border| -> Result<(), Refused> {
                    let item = border.read(item, item_size)?;
                    border.pass(Point::Push { token, item })?;
                    Ok(border.host.push(border.vm, token, item)?)
                })?;
            if let Err(code) = pushed {
                return Ok(code);
            }
            hostcall(&mut guest, "proxy_enqueue_shared_queue", move |border| -> Result<(), Refused> {
                border.pass(Point::Post { token })?;
                border.host.post(border.vm);
                Ok(())
            })
        },
    )?;
    Ok(())
}
