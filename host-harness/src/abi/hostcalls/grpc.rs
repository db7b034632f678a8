//! Hostcalls for gRPC: calls with one message each way, and streams.

use wasmtime::Linker;

use super::{ENV, Guest, Refused, Reply, VmState, hostcall};
use crate::abi::{Answer, OutgoingGrpc, border::Border, pairs};

/// Pointer and size.
type Slice = (u32, u32);

/// Adds the functions to the linker.
pub(super) fn link(linker: &mut Linker<VmState>) -> wasmtime::Result<()> {
    linker.func_wrap(
        ENV,
        "proxy_grpc_call",
        |mut guest: Guest<'_>,
         upstream: u32,
         upstream_size: u32,
         service: u32,
         service_size: u32,
         method: u32,
         method_size: u32,
         metadata: u32,
         metadata_size: u32,
         message: u32,
         message_size: u32,
         timeout_ms: u32,
         token_at: u32| {
            hostcall(&mut guest, "proxy_grpc_call", move |border| -> Result<Reply, Refused> {
                let service = (service, service_size);
                let method = (method, method_size);
                let call =
                    outgoing(border, (upstream, upstream_size), service, method, (metadata, metadata_size))?;
                let message = border.read(message, message_size)?.to_vec();
                // The place of the token is proven before anything is sent.
                border.read(token_at, 4)?;
                let token = border.host.grpc_call(border.vm, call, &message, timeout_ms)?;
                Ok(Reply::word(token_at, token))
            })
        },
    )?;
    linker.func_wrap(
        ENV,
        "proxy_grpc_stream",
        |mut guest: Guest<'_>,
         upstream: u32,
         upstream_size: u32,
         service: u32,
         service_size: u32,
         method: u32,
         method_size: u32,
         metadata: u32,
         metadata_size: u32,
         token_at: u32| {
            hostcall(&mut guest, "proxy_grpc_stream", move |border| -> Result<Reply, Refused> {
                let service = (service, service_size);
                let method = (method, method_size);
                let stream =
                    outgoing(border, (upstream, upstream_size), service, method, (metadata, metadata_size))?;
                border.read(token_at, 4)?;
                let token = border.host.grpc_stream(border.vm, stream)?;
                Ok(Reply::word(token_at, token))
            })
        },
    )?;
    linker.func_wrap(
        ENV,
        "proxy_grpc_send",
        |mut guest: Guest<'_>, token: u32, message: u32, message_size: u32, end: u32| {
            hostcall(&mut guest, "proxy_grpc_send", move |border| {
                let message = border.read(message, message_size)?;
                border.host.grpc_send(border.vm, token, message, end != 0)
            })
        },
    )?;
    linker.func_wrap(ENV, "proxy_grpc_cancel", |mut guest: Guest<'_>, token: u32| {
        hostcall(&mut guest, "proxy_grpc_cancel", move |border| border.host.grpc_cancel(border.vm, token))
    })?;
    linker.func_wrap(ENV, "proxy_grpc_close", |mut guest: Guest<'_>, token: u32| {
        hostcall(&mut guest, "proxy_grpc_close", move |border| border.host.grpc_close(border.vm, token))
    })?;
    Ok(())
}

fn outgoing(
    border: &Border<'_>,
    upstream: Slice,
    service: Slice,
    method: Slice,
    metadata: Slice,
) -> Answer<OutgoingGrpc> {
    let slice = |(pointer, size)| border.read(pointer, size);
    Ok(OutgoingGrpc {
        upstream: slice(upstream)?.to_vec(),
        service: slice(service)?.to_vec(),
        method: slice(method)?.to_vec(),
        initial_metadata: pairs::from_bytes(slice(metadata)?),
    })
}
