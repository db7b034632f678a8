//! Telling a network filter, which is not for here, from an HTTP filter.
//!
//! Exports alone do not tell: the SDKs of Rust and Go export the callbacks of both kinds, and panic in those of the kind
//! that the plugin is not. So the module is tried, in an Envoy of its own.

use super::{
    Envoy, EnvoyOptions, LogSource, Request,
    delivery::Job,
    turn::{Called, Turn},
    vms::VmSlot,
};
use crate::{
    abi::{Callback, Module},
    world::Scripted,
};

/// What an HTTP filter is notified of.
const HTTP: [&str; 6] = [
    "proxy_on_request_headers",
    "proxy_on_request_body",
    "proxy_on_request_trailers",
    "proxy_on_response_headers",
    "proxy_on_response_body",
    "proxy_on_response_trailers",
];
/// What a network filter is notified of.
const NETWORK: [&str; 5] = [
    NEW_CONNECTION,
    "proxy_on_downstream_data",
    "proxy_on_downstream_connection_close",
    "proxy_on_upstream_data",
    "proxy_on_upstream_connection_close",
];
const NEW_CONNECTION: &str = "proxy_on_new_connection";
/// What the SDKs of Rust and Go say when they panic over a context of another kind.
const OTHER_KIND: &str = "invalid context";
/// A context that no plugin has.
const CONTEXT: u32 = 1 << 20;

/// Whether a module is a network filter and no HTTP filter: it has only the callbacks of one, or has no context for a
/// request and one for a connection. One that does not even start is neither.
pub(crate) fn is_network_filter(module: &Module, options: &EnvoyOptions, world: &Scripted) -> bool {
    let has = |names: &[&str]| names.iter().any(|name| module.exports(name));
    if !has(&NETWORK) {
        return false;
    }
    if !has(&HTTP) {
        return true;
    }
    let start = || {
        let options = EnvoyOptions { concurrency: 1, ..options.clone() };
        Envoy::start(module, options, world.clone()).ok()
    };
    let has_no_context = || {
        let mut envoy = start()?;
        envoy.begin(0, Request::get("/"));
        let said = envoy
            .logs()
            .iter()
            .any(|line| line.source == LogSource::Guest && line.message.contains(OTHER_KIND));
        Some(said && !envoy.proxy().core().traps.is_empty())
    };
    let takes_connections = || {
        let mut envoy = start()?;
        envoy.perform(Job::Connect { worker: 0 });
        Some(envoy.proxy().core().traps.is_empty())
    };
    module.exports(NEW_CONNECTION) && has_no_context() == Some(true) && takes_connections() == Some(true)
}

impl Turn {
    /// Tells the first filter of a worker of a connection.
    pub(super) async fn connect(&mut self, worker: usize) {
        let thread = self.thread(VmSlot::Worker(worker));
        let handle = thread.chain.first().and_then(|plugin| thread.handles.get(plugin));
        let Some((vm, root_id)) = handle.map(|handle| (handle.vm, handle.root_id)) else { return };
        let create = Callback::ContextCreate { context_id: CONTEXT, parent_id: root_id };
        if self.enter(vm, create).await != Called::Failed {
            self.enter(vm, Callback::NewConnection { context_id: CONTEXT }).await;
        }
    }
}
