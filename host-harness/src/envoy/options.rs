//! How an Envoy is set up: its plugin, its limits, what is known beside the requests.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;

use super::{
    log::{LogLine, LogSource},
    vms::VmRole,
};
use crate::abi::{Answer, Trap, VmLimits};

/// What an [`super::Envoy`] is started with.
#[derive(Debug, Clone)]
pub struct EnvoyOptions {
    /// Count of workers, and so of worker VMs.
    pub concurrency: usize,
    /// The plugin, where there is one.
    pub plugin: PluginOptions,
    /// The plugins in the order of the filter chain, with services among them; empty is [`EnvoyOptions::plugin`] alone.
    pub plugins: Vec<PluginOptions>,
    /// All randomness that guests see comes from this.
    pub seed: u64,
    /// Messages below this level are dropped, as with Envoy's `wasm` logger.
    pub log_level: log::Level,
    /// Environment variables of every VM.
    pub environment: BTreeMap<String, String>,
    /// Properties that do not come from a request, such as `xds.node.id`: dotted path to raw bytes.
    pub properties: BTreeMap<String, Vec<u8>>,
    /// The cluster that requests are routed to.
    pub upstream_cluster: String,
    /// Time limit of the upstream's answer; Envoy's default is 15 s.
    pub route_timeout: Duration,
    /// How long a stream may stand still; Envoy's default is 5 min.
    pub stream_idle_timeout: Duration,
    /// Most bytes of a body that are buffered for a filter; Envoy's default is 1 MiB.
    pub per_connection_buffer_limit_bytes: usize,
    /// Most retries to one cluster at once, over all threads; Envoy's default circuit breaker allows 3.
    pub max_retries: usize,
    /// Most bytes of an HTTP call's response; Envoy's default is 32 MiB.
    pub call_response_limit_bytes: usize,
    /// What bounds every VM.
    pub limits: VmLimits,
    /// Filter state that a request must carry to pass the RBAC filter behind the plugin: the key with its `wasm.`
    /// prefix, and the value. Without it the answer is 403 `RBAC: access denied`, also where the plugin is bypassed.
    pub seal: Option<(String, Vec<u8>)>,
    /// Foreign functions by name. Envoy's own are not here, except `clear_route_cache`, which succeeds.
    pub foreign_functions: BTreeMap<String, ForeignFunction>,
}

/// A plugin, as in Envoy's `PluginConfig`.
///
/// Plugins of one `vm_id` and `vm_configuration` share the VM of each thread, each with a root context of its own there.
/// Of two plugins that are alike in name, root id and configuration, too, there is one root context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginOptions {
    /// `name`
    pub name: String,
    /// `root_id`
    pub root_id: String,
    /// `vm_config.vm_id`, which shared data and queues are keyed by.
    pub vm_id: String,
    /// `configuration`
    pub configuration: Vec<u8>,
    /// `vm_config.configuration`
    pub vm_configuration: Vec<u8>,
    /// `failure_policy`
    pub failure_policy: FailurePolicy,
    /// `reload_config.backoff.base_interval`; as in Envoy, each wait is up to half of it longer, by chance.
    pub reload_backoff: Duration,
    /// Where it runs.
    pub kind: PluginKind,
    /// `allow_on_headers_stop_iteration`
    pub allow_on_headers_stop_iteration: bool,
}

/// What a plugin is for, which decides on which threads it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PluginKind {
    /// An HTTP filter: on the main thread and on every worker, where it sees requests.
    Filter,
    /// A `WasmService` of the bootstrap configuration: on the main thread and on every worker, without requests.
    Service,
    /// A `WasmService` with `singleton: true`: on the main thread alone.
    SingletonService,
}

/// What happens to requests on a worker whose VM has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailurePolicy {
    /// They get 503 for ever.
    FailClosed,
    /// They pass the filter by.
    FailOpen,
    /// They get 503 until the backoff has passed; then a request makes a fresh VM.
    FailReload,
}

type Hook = dyn FnMut(VmRole, &[u8]) -> Answer<Bytes> + Send;

/// A function that the host offers beside the ABI. Clones are the same function.
#[derive(Clone)]
pub struct ForeignFunction(Arc<Mutex<Box<Hook>>>);

/// Why an Envoy does not start.
#[derive(Debug, thiserror::Error)]
#[error("the plugin cannot be started on the {role} VM: {reason}{}", last_error(logs))]
pub struct StartError {
    /// Which VM.
    pub role: VmRole,
    /// What went wrong.
    pub reason: LoadFailure,
    /// What was logged until then.
    pub logs: Vec<LogLine>,
}

/// Why a VM did not come up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadFailure {
    /// A callback, or the module's own start function, trapped.
    #[error(transparent)]
    Trap(#[from] Trap),
    /// A thread refused a plugin that its canary had taken; Envoy takes no other one of that VM until all are gone.
    #[error(
        "a thread has refused a plugin of this VM that its canary took, and Envoy takes no other after that"
    )]
    Spoiled,
    /// A callback said no.
    #[error("`{callback}` returned false")]
    Refused {
        /// The export.
        callback: &'static str,
    },
}

// === impl EnvoyOptions ===

impl EnvoyOptions {
    /// Every plugin: the filters in the order of their chain, then the services, which Envoy starts after them.
    pub(super) fn all_plugins(&self) -> Vec<PluginOptions> {
        let mut plugins =
            if self.plugins.is_empty() { vec![self.plugin.clone()] } else { self.plugins.clone() };
        plugins.sort_by_key(|plugin| plugin.kind != PluginKind::Filter);
        plugins
    }
}

impl Default for EnvoyOptions {
    fn default() -> Self {
        EnvoyOptions {
            concurrency: 1,
            plugin: PluginOptions::default(),
            plugins: Vec::new(),
            seed: 0,
            log_level: log::Level::Info,
            environment: BTreeMap::new(),
            properties: BTreeMap::new(),
            upstream_cluster: "upstream".to_owned(),
            route_timeout: Duration::from_secs(15),
            stream_idle_timeout: Duration::from_secs(300),
            per_connection_buffer_limit_bytes: 1024 * 1024,
            max_retries: 3,
            call_response_limit_bytes: 32 * 1024 * 1024,
            limits: VmLimits::default(),
            seal: None,
            foreign_functions: BTreeMap::new(),
        }
    }
}

// === impl StartError ===

/// What the guest itself said last about an error, for it knows why it refuses.
fn last_error(logs: &[LogLine]) -> String {
    let said = |line: &&LogLine| line.source == LogSource::Guest && line.level == log::Level::Error;
    logs.iter().rev().find(said).map(|line| format!(": {}", line.message)).unwrap_or_default()
}

// === impl PluginOptions ===

impl Default for PluginOptions {
    fn default() -> Self {
        PluginOptions {
            name: "plugin".to_owned(),
            root_id: String::new(),
            vm_id: String::new(),
            configuration: Vec::new(),
            vm_configuration: Vec::new(),
            failure_policy: FailurePolicy::FailReload,
            reload_backoff: Duration::from_secs(1),
            kind: PluginKind::Filter,
            allow_on_headers_stop_iteration: true,
        }
    }
}

// === impl ForeignFunction ===

impl ForeignFunction {
    /// A function that is given the calling VM and the argument.
    ///
    /// Errors: the status that the closure returns is what the guest sees.
    pub fn new(hook: impl FnMut(VmRole, &[u8]) -> Answer<Bytes> + Send + 'static) -> ForeignFunction {
        ForeignFunction(Arc::new(Mutex::new(Box::new(hook))))
    }

    pub(super) fn call(&self, vm: VmRole, argument: &[u8]) -> Answer<Bytes> {
        (self.0.lock().unwrap_or_else(PoisonError::into_inner))(vm, argument)
    }
}

impl fmt::Debug for ForeignFunction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ForeignFunction")
    }
}
