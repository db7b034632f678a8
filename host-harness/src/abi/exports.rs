//! The callbacks that a module exports, and how each is called.

use wasmtime::{Instance, Store, TypedFunc, WasmParams, WasmResults};

use super::{Callback, vm::VmState};

/// The callbacks that a module exports.
pub(super) struct Exports {
    context_create: Option<TypedFunc<(u32, u32), ()>>,
    vm_start: Option<TypedFunc<(u32, u32), u32>>,
    configure: Option<TypedFunc<(u32, u32), u32>>,
    tick: Option<TypedFunc<u32, ()>>,
    queue_ready: Option<TypedFunc<(u32, u32), ()>>,
    http_call_response: Option<TypedFunc<HttpCallArguments, ()>>,
    grpc_receive_initial_metadata: Option<TypedFunc<(u32, u32, u32), ()>>,
    grpc_receive: Option<TypedFunc<(u32, u32, u32), ()>>,
    grpc_receive_trailing_metadata: Option<TypedFunc<(u32, u32, u32), ()>>,
    grpc_close: Option<TypedFunc<(u32, u32, u32), ()>>,
    new_connection: Option<TypedFunc<u32, u32>>,
    request_headers: Option<HeadersExport>,
    request_body: Option<TypedFunc<(u32, u32, u32), u32>>,
    request_trailers: Option<TypedFunc<(u32, u32), u32>>,
    response_headers: Option<HeadersExport>,
    response_body: Option<TypedFunc<(u32, u32, u32), u32>>,
    response_trailers: Option<TypedFunc<(u32, u32), u32>>,
    log: Option<TypedFunc<u32, ()>>,
    done: Option<TypedFunc<u32, u32>>,
    delete: Option<TypedFunc<u32, ()>>,
}

/// Root context, token, headers, bytes of body, trailers.
type HttpCallArguments = (u32, u32, u32, u32, u32);

enum HeadersExport {
    Abi01(TypedFunc<(u32, u32), u32>),
    Abi02(TypedFunc<(u32, u32, u32), u32>),
}

// === impl Exports ===

impl Exports {
    pub(super) fn of(instance: &Instance, store: &mut Store<VmState>) -> Exports {
        Exports {
            context_create: find(instance, store, "proxy_on_context_create"),
            vm_start: find(instance, store, "proxy_on_vm_start"),
            configure: find(instance, store, "proxy_on_configure"),
            tick: find(instance, store, "proxy_on_tick"),
            queue_ready: find(instance, store, "proxy_on_queue_ready"),
            http_call_response: find(instance, store, "proxy_on_http_call_response"),
            grpc_receive_initial_metadata: find(instance, store, "proxy_on_grpc_receive_initial_metadata"),
            grpc_receive: find(instance, store, "proxy_on_grpc_receive"),
            grpc_receive_trailing_metadata: find(instance, store, "proxy_on_grpc_receive_trailing_metadata"),
            grpc_close: find(instance, store, "proxy_on_grpc_close"),
            new_connection: find(instance, store, "proxy_on_new_connection"),
            request_headers: find_headers(instance, store, "proxy_on_request_headers"),
            request_body: find(instance, store, "proxy_on_request_body"),
            request_trailers: find(instance, store, "proxy_on_request_trailers"),
            response_headers: find_headers(instance, store, "proxy_on_response_headers"),
            response_body: find(instance, store, "proxy_on_response_body"),
            response_trailers: find(instance, store, "proxy_on_response_trailers"),
            log: find(instance, store, "proxy_on_log"),
            done: find(instance, store, "proxy_on_done"),
            delete: find(instance, store, "proxy_on_delete"),
        }
    }

    /// Whether there is this one.
    pub(super) fn has(&self, callback: &Callback) -> bool {
        match callback {
            Callback::ContextCreate { .. } => self.context_create.is_some(),
            Callback::VmStart { .. } => self.vm_start.is_some(),
            Callback::Configure { .. } => self.configure.is_some(),
            Callback::Tick { .. } => self.tick.is_some(),
            Callback::QueueReady { .. } => self.queue_ready.is_some(),
            Callback::HttpCallResponse { .. } => self.http_call_response.is_some(),
            Callback::GrpcReceiveInitialMetadata { .. } => self.grpc_receive_initial_metadata.is_some(),
            Callback::GrpcReceive { .. } => self.grpc_receive.is_some(),
            Callback::GrpcReceiveTrailingMetadata { .. } => self.grpc_receive_trailing_metadata.is_some(),
            Callback::GrpcClose { .. } => self.grpc_close.is_some(),
            Callback::NewConnection { .. } => self.new_connection.is_some(),
            Callback::RequestHeaders { .. } => self.request_headers.is_some(),
            Callback::RequestBody { .. } => self.request_body.is_some(),
            Callback::RequestTrailers { .. } => self.request_trailers.is_some(),
            Callback::ResponseHeaders { .. } => self.response_headers.is_some(),
            Callback::ResponseBody { .. } => self.response_body.is_some(),
            Callback::ResponseTrailers { .. } => self.response_trailers.is_some(),
            Callback::Log { .. } => self.log.is_some(),
            Callback::Done { .. } => self.done.is_some(),
            Callback::Delete { .. } => self.delete.is_some(),
        }
    }

    /// Calls one: what the guest returned, 0 where the callback returns nothing, `None` where there is none.
    pub(super) fn call(
        &self,
        store: &mut Store<VmState>,
        callback: Callback,
    ) -> wasmtime::Result<Option<u32>> {
        match callback {
            Callback::ContextCreate { context_id, parent_id } => {
                run(store, &self.context_create, (context_id, parent_id)).map(|done| done.map(|()| 0))
            }
            Callback::VmStart { root_id, configuration_size } => {
                run(store, &self.vm_start, (root_id, configuration_size))
            }
            Callback::Configure { root_id, configuration_size } => {
                run(store, &self.configure, (root_id, configuration_size))
            }
            Callback::Tick { root_id } => run(store, &self.tick, root_id).map(|done| done.map(|()| 0)),
            Callback::QueueReady { root_id, token } => {
                run(store, &self.queue_ready, (root_id, token)).map(|done| done.map(|()| 0))
            }
            Callback::HttpCallResponse { root_id, token, headers, body_size, trailers } => {
                run(store, &self.http_call_response, (root_id, token, headers, body_size, trailers))
                    .map(|done| done.map(|()| 0))
            }
            Callback::GrpcReceiveInitialMetadata { root_id, token, headers } => {
                run(store, &self.grpc_receive_initial_metadata, (root_id, token, headers))
                    .map(|done| done.map(|()| 0))
            }
            Callback::GrpcReceive { root_id, token, message_size } => {
                run(store, &self.grpc_receive, (root_id, token, message_size)).map(|done| done.map(|()| 0))
            }
            Callback::GrpcReceiveTrailingMetadata { root_id, token, trailers } => {
                run(store, &self.grpc_receive_trailing_metadata, (root_id, token, trailers))
                    .map(|done| done.map(|()| 0))
            }
            Callback::GrpcClose { root_id, token, status_code } => {
                run(store, &self.grpc_close, (root_id, token, status_code)).map(|done| done.map(|()| 0))
            }
            Callback::NewConnection { context_id } => run(store, &self.new_connection, context_id),
            Callback::RequestHeaders { context_id, headers, end_of_stream } => {
                run_headers(store, self.request_headers.as_ref(), context_id, headers, end_of_stream)
            }
            Callback::ResponseHeaders { context_id, headers, end_of_stream } => {
                run_headers(store, self.response_headers.as_ref(), context_id, headers, end_of_stream)
            }
            Callback::RequestBody { context_id, body_size, end_of_stream } => {
                run(store, &self.request_body, (context_id, body_size, u32::from(end_of_stream)))
            }
            Callback::ResponseBody { context_id, body_size, end_of_stream } => {
                run(store, &self.response_body, (context_id, body_size, u32::from(end_of_stream)))
            }
            Callback::RequestTrailers { context_id, trailers } => {
                run(store, &self.request_trailers, (context_id, trailers))
            }
            Callback::ResponseTrailers { context_id, trailers } => {
                run(store, &self.response_trailers, (context_id, trailers))
            }
            Callback::Log { context_id } => run(store, &self.log, context_id).map(|done| done.map(|()| 0)),
            Callback::Done { context_id } => run(store, &self.done, context_id),
            Callback::Delete { context_id } => {
                run(store, &self.delete, context_id).map(|done| done.map(|()| 0))
            }
        }
    }
}

fn find<P: WasmParams, R: WasmResults>(
    instance: &Instance,
    store: &mut Store<VmState>,
    name: &str,
) -> Option<TypedFunc<P, R>> {
    instance.get_typed_func(store, name).ok()
}

fn find_headers(instance: &Instance, store: &mut Store<VmState>, name: &str) -> Option<HeadersExport> {
    find(instance, store, name)
        .map(HeadersExport::Abi02)
        .or_else(|| find(instance, store, name).map(HeadersExport::Abi01))
}

fn run<P: WasmParams, R: WasmResults>(
    store: &mut Store<VmState>,
    export: &Option<TypedFunc<P, R>>,
    arguments: P,
) -> wasmtime::Result<Option<R>> {
    export.as_ref().map(|export| export.call(store, arguments)).transpose()
}

fn run_headers(
    store: &mut Store<VmState>,
    export: Option<&HeadersExport>,
    context_id: u32,
    headers: u32,
    end_of_stream: bool,
) -> wasmtime::Result<Option<u32>> {
    match export {
        None => Ok(None),
        Some(HeadersExport::Abi01(export)) => export.call(store, (context_id, headers)).map(Some),
        Some(HeadersExport::Abi02(export)) => {
            export.call(store, (context_id, headers, u32::from(end_of_stream))).map(Some)
        }
    }
}
