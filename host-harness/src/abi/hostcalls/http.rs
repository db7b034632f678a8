//! Hostcalls for HTTP: header maps, buffers, the life of a stream, local responses and HTTP calls.

use wasmtime::Linker;

use super::{ENV, Guest, Refused, Reply, VmState, hostcall, length};
use crate::abi::{LocalResponse, OutgoingHttpCall, StreamType, pairs};

/// Adds the functions to the linker.
pub(super) fn link(linker: &mut Linker<VmState>) -> wasmtime::Result<()> {
    link_header_reads(linker)?;
    link_header_writes(linker)?;
    link_buffers(linker)?;
    link_streams(linker)?;
    link_calls(linker)
}

fn link_header_reads(linker: &mut Linker<VmState>) -> wasmtime::Result<()> {
    linker.func_wrap(
        ENV,
        "proxy_get_header_map_value",
        |mut guest: Guest<'_>, map: u32, name: u32, name_size: u32, pointer_at: u32, size_at: u32| {
            hostcall(&mut guest, "proxy_get_header_map_value", move |border| -> Result<Reply, Refused> {
                let map = map.try_into()?;
                let name = border.read(name, name_size)?;
                Ok(Reply::given(border.host.header(border.vm, map, name)?, pointer_at, size_at))
            })
        },
    )?;
    linker.func_wrap(
        ENV,
        "proxy_get_header_map_pairs",
        |mut guest: Guest<'_>, map: u32, pointer_at: u32, size_at: u32| {
            hostcall(&mut guest, "proxy_get_header_map_pairs", move |border| -> Result<Reply, Refused> {
                let headers = border.host.headers(border.vm, map.try_into()?)?;
                // An empty map has no bytes at all, not even a count.
                let bytes = if headers.is_empty() { Vec::new() } else { pairs::to_bytes(&headers) };
                Ok(Reply::given(bytes, pointer_at, size_at))
            })
        },
    )?;
    linker.func_wrap(ENV, "proxy_get_header_map_size", |mut guest: Guest<'_>, map: u32, size_at: u32| {
        hostcall(&mut guest, "proxy_get_header_map_size", move |border| {
            let size = border.host.headers_size(border.vm, map.try_into()?)?;
            Ok::<_, Refused>(Reply::word(size_at, size))
        })
    })?;
    Ok(())
}

fn link_header_writes(linker: &mut Linker<VmState>) -> wasmtime::Result<()> {
    linker.func_wrap(
        ENV,
        "proxy_set_header_map_pairs",
        |mut guest: Guest<'_>, map: u32, pairs: u32, pairs_size: u32| {
            hostcall(&mut guest, "proxy_set_header_map_pairs", move |border| {
                let map = map.try_into()?;
                let headers = pairs::from_bytes(border.read(pairs, pairs_size)?);
                border.host.set_headers(border.vm, map, headers)
            })
        },
    )?;
    linker.func_wrap(
        ENV,
        "proxy_add_header_map_value",
        |mut guest: Guest<'_>, map: u32, name: u32, name_size: u32, value: u32, value_size: u32| {
            hostcall(&mut guest, "proxy_add_header_map_value", move |border| {
                let map = map.try_into()?;
                let name = border.read(name, name_size)?;
                let value = border.read(value, value_size)?;
                border.host.add_header(border.vm, map, name, value)
            })
        },
    )?;
    linker.func_wrap(
        ENV,
        "proxy_replace_header_map_value",
        |mut guest: Guest<'_>, map: u32, name: u32, name_size: u32, value: u32, value_size: u32| {
            hostcall(&mut guest, "proxy_replace_header_map_value", move |border| {
                let map = map.try_into()?;
                let name = border.read(name, name_size)?;
                let value = border.read(value, value_size)?;
                border.host.replace_header(border.vm, map, name, value)
            })
        },
    )?;
    linker.func_wrap(
        ENV,
        "proxy_remove_header_map_value",
        |mut guest: Guest<'_>, map: u32, name: u32, name_size: u32| {
            hostcall(&mut guest, "proxy_remove_header_map_value", move |border| {
                let map = map.try_into()?;
                border.host.remove_header(border.vm, map, border.read(name, name_size)?)
            })
        },
    )?;
    Ok(())
}

fn link_buffers(linker: &mut Linker<VmState>) -> wasmtime::Result<()> {
    linker.func_wrap(
        ENV,
        "proxy_get_buffer_bytes",
        |mut guest: Guest<'_>, buffer: u32, start: u32, size: u32, pointer_at: u32, size_at: u32| {
            hostcall(&mut guest, "proxy_get_buffer_bytes", move |border| -> Result<Reply, Refused> {
                let buffer = buffer.try_into()?;
                let bytes = border.host.buffer(border.vm, buffer, start as usize, size as usize)?;
                Ok(Reply::given(bytes, pointer_at, size_at))
            })
        },
    )?;
    linker.func_wrap(
        ENV,
        "proxy_get_buffer_status",
        |mut guest: Guest<'_>, buffer: u32, length_at: u32, flags_at: u32| {
            hostcall(&mut guest, "proxy_get_buffer_status", move |border| {
                let bytes = border.host.buffer_length(border.vm, buffer.try_into()?)?;
                Ok::<_, Refused>(Reply::word(length_at, length(bytes)).and_word(flags_at, 0))
            })
        },
    )?;
    linker.func_wrap(
        ENV,
        "proxy_set_buffer_bytes",
        |mut guest: Guest<'_>, buffer: u32, start: u32, size: u32, value: u32, value_size: u32| {
            hostcall(&mut guest, "proxy_set_buffer_bytes", move |border| {
                let buffer = buffer.try_into()?;
                let value = border.read(value, value_size)?;
                border.host.set_buffer(border.vm, buffer, start as usize, size as usize, value)
            })
        },
    )?;
    Ok(())
}

fn link_streams(linker: &mut Linker<VmState>) -> wasmtime::Result<()> {
    linker.func_wrap(
        ENV,
        "proxy_send_local_response",
        |mut guest: Guest<'_>,
         status: u32,
         details: u32,
         details_size: u32,
         body: u32,
         body_size: u32,
         headers: u32,
         headers_size: u32,
         grpc_status: i32| {
            hostcall(&mut guest, "proxy_send_local_response", move |border| {
                let response = LocalResponse {
                    status,
                    details: border.read(details, details_size)?.to_vec(),
                    body: border.read(body, body_size)?.to_vec(),
                    headers: pairs::from_bytes(border.read(headers, headers_size)?),
                    grpc_status,
                };
                border.host.send_local_response(border.vm, response)
            })
        },
    )?;
    linker.func_wrap(ENV, "proxy_continue_stream", |mut guest: Guest<'_>, stream: u32| {
        hostcall(&mut guest, "proxy_continue_stream", move |border| {
            border.host.continue_stream(border.vm, stream.try_into()?)
        })
    })?;
    linker.func_wrap(ENV, "proxy_close_stream", |mut guest: Guest<'_>, stream: u32| {
        hostcall(&mut guest, "proxy_close_stream", move |border| {
            border.host.close_stream(border.vm, stream.try_into()?)
        })
    })?;
    // ABI 0.1.0 has a function for each direction, and one for a cache that later ABIs clear by themselves.
    linker.func_wrap(ENV, "proxy_continue_request", |mut guest: Guest<'_>| {
        hostcall(&mut guest, "proxy_continue_request", move |border| {
            border.host.continue_stream(border.vm, StreamType::Request)
        })
    })?;
    linker.func_wrap(ENV, "proxy_continue_response", |mut guest: Guest<'_>| {
        hostcall(&mut guest, "proxy_continue_response", move |border| {
            border.host.continue_stream(border.vm, StreamType::Response)
        })
    })?;
    linker.func_wrap(ENV, "proxy_clear_route_cache", |mut guest: Guest<'_>| {
        hostcall(&mut guest, "proxy_clear_route_cache", move |_border| Ok::<_, Refused>(()))
    })?;
    Ok(())
}

fn link_calls(linker: &mut Linker<VmState>) -> wasmtime::Result<()> {
    linker.func_wrap(
        ENV,
        "proxy_http_call",
        |mut guest: Guest<'_>,
         upstream: u32,
         upstream_size: u32,
         headers: u32,
         headers_size: u32,
         body: u32,
         body_size: u32,
         trailers: u32,
         trailers_size: u32,
         timeout_ms: i32,
         token_at: u32| {
            hostcall(&mut guest, "proxy_http_call", move |border| -> Result<Reply, Refused> {
                let call = OutgoingHttpCall {
                    upstream: border.read(upstream, upstream_size)?.to_vec(),
                    headers: pairs::from_bytes(border.read(headers, headers_size)?),
                    body: border.read(body, body_size)?.to_vec(),
                    trailers: pairs::from_bytes(border.read(trailers, trailers_size)?),
                    timeout_ms,
                };
                // The place of the token is proven before anything is sent.
                border.read(token_at, 4)?;
                Ok(Reply::word(token_at, border.host.http_call(border.vm, call)?))
            })
        },
    )?;
    Ok(())
}
