//! Envoy as a child process on free loopback ports, which ends with its owner.
//!
//! Linux kills the child even when this process is killed (PR_SET_PDEATHSIG). That signal follows the thread that
//! spawned, not the process, and a test's thread may end before the Envoy that it handed on: so one thread that
//! never ends spawns them all.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        OnceLock,
        mpsc::{Sender, SyncSender, channel, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::binary::{self, BinaryError};
use super::yaml;
use crate::servers::client::{ClientError, Request};

/// V8 compiles a module of 5 MB for seconds, and several Envoys may share two cores.
const READY_WITHIN: Duration = Duration::from_secs(180);
/// Between two questions to a starting or ending Envoy.
const POLL_PAUSE: Duration = Duration::from_millis(20);
/// How many lines of its log an error shows.
const LOG_TAIL_LINES: usize = 40;

/// A running Envoy that has said it is ready. Dropping it kills it.
#[derive(Debug)]
pub struct RealEnvoy {
    process: Process,
    admin: SocketAddr,
    listener: SocketAddr,
}

/// How Envoy is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvoyOptions {
    /// Number of workers (`--concurrency`).
    pub concurrency: u32,
    /// Log levels of components, as `wasm:debug,http:debug` (`--component-log-level`); all others are `info`.
    pub component_log_level: Option<String>,
    /// How long listeners that were replaced are drained, in seconds (`--drain-time-s`); Envoy's own time by default.
    pub drain_seconds: Option<u32>,
    /// Whether the configuration is handed over as YAML, as people get it from us, and not as JSON. Envoy reads a fraction in
    /// YAML as text where any value may stand.
    pub yaml: bool,
}

/// Why Envoy does not run, or did not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnvoyError {
    /// There is no binary.
    #[error(transparent)]
    Binary(#[from] BinaryError),
    /// A file could not be written or the process not be started.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Envoy ended while it started, or refused the configuration.
    #[error("envoy ended with {status}; the end of its log:\n{log}")]
    Ended {
        /// How it ended.
        status: ExitStatus,
        /// The last lines of its log.
        log: String,
    },
    /// Envoy runs, but was not ready in time.
    #[error("envoy was not ready within {} s; the end of its log:\n{log}", READY_WITHIN.as_secs())]
    NotReady {
        /// The last lines of its log.
        log: String,
    },
    /// The admin interface did not answer.
    #[error("envoy's admin interface did not answer `{path}`: {source}; the end of its log:\n{log}")]
    Admin {
        /// Path asked for.
        path: String,
        /// What went wrong.
        source: ClientError,
        /// The last lines of its log.
        log: String,
    },
    /// The admin interface answered something else than expected.
    #[error("envoy's admin interface answered `{path}` with status {status}: {body}")]
    AdminAnswer {
        /// Path asked for.
        path: String,
        /// Status of the answer.
        status: u16,
        /// Its body.
        body: String,
    },
}

/// The child with the folder of its files; killed and reaped when dropped.
#[derive(Debug)]
struct Process {
    child: Child,
    dir: TempDir,
}

// === impl EnvoyOptions ===

impl Default for EnvoyOptions {
    fn default() -> Self {
        Self { concurrency: 1, component_log_level: None, drain_seconds: None, yaml: false }
    }
}

// === impl RealEnvoy ===

impl RealEnvoy {
    /// Starts Envoy with a bootstrap configuration and waits until it is ready.
    ///
    /// An admin interface on a free loopback port is added where there is none. The first listener is the one of
    /// [`Self::listener_addr`], and may ask for port 0.
    ///
    /// Errors: [`EnvoyError`], with the end of Envoy's log.
    pub fn start(bootstrap: &Value, options: &EnvoyOptions) -> Result<Self, EnvoyError> {
        let mut bootstrap = bootstrap.clone();
        if bootstrap.get("admin").is_none() {
            bootstrap["admin"] =
                json!({ "address": { "socket_address": { "address": "127.0.0.1", "port_value": 0 } } });
        }
        let text = if options.yaml { yaml::write(&bootstrap) } else { bootstrap.to_string() };
        let mut process = Process::spawn(&text, |command, dir| {
            command.args(["--concurrency", &options.concurrency.to_string()]);
            command.arg("--admin-address-path").arg(dir.join("admin-address"));
            if let Some(levels) = &options.component_log_level {
                command.args(["--component-log-level", levels]);
            }
            if let Some(seconds) = options.drain_seconds {
                command.args(["--drain-time-s", &seconds.to_string()]);
            }
        })?;
        let (admin, listener) = process.wait_until_ready()?;
        Ok(Self { process, admin, listener })
    }

    /// Where the first listener takes connections.
    pub fn listener_addr(&self) -> SocketAddr {
        self.listener
    }

    /// Where the admin interface listens.
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin
    }

    /// Envoy's process id.
    pub fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// Everything that Envoy has logged so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Asks the admin interface, as `/stats/prometheus`, for its text.
    ///
    /// Errors: [`EnvoyError::Admin`], and [`EnvoyError::AdminAnswer`] for any status but 200.
    pub fn admin_get(&self, path: &str) -> Result<String, EnvoyError> {
        self.admin("GET", path)
    }

    /// Tells the admin interface to do something, as `/drain_listeners`.
    ///
    /// Errors: as [`Self::admin_get`].
    pub fn admin_post(&self, path: &str) -> Result<String, EnvoyError> {
        self.admin("POST", path)
    }

    /// Every counter and gauge by its full name, as `http.ingress.downstream_rq_total`.
    ///
    /// Errors: as [`Self::admin_get`].
    pub fn stats(&self) -> Result<BTreeMap<String, u64>, EnvoyError> {
        let path = "/stats?format=json";
        let body = self.admin_get(path)?;
        let parsed: Option<Value> = serde_json::from_str(&body).ok();
        let Some(stats) = parsed.as_ref().and_then(|stats| stats["stats"].as_array()) else {
            return Err(EnvoyError::AdminAnswer { path: path.to_owned(), status: 200, body });
        };
        // Histograms stand in the same list, without a name and a value.
        Ok(stats
            .iter()
            .filter_map(|stat| Some((stat["name"].as_str()?.to_owned(), stat["value"].as_u64()?)))
            .collect())
    }

    /// Waits until a condition holds; false if it did not within `bound`.
    ///
    /// Errors: what the condition answers.
    pub fn wait_until(
        &self,
        bound: Duration,
        mut condition: impl FnMut(&Self) -> Result<bool, EnvoyError>,
    ) -> Result<bool, EnvoyError> {
        let begin = Instant::now();
        loop {
            if condition(self)? {
                return Ok(true);
            }
            if begin.elapsed() > bound {
                return Ok(false);
            }
            thread::sleep(POLL_PAUSE);
        }
    }

    /// Lets Envoy end by itself, which gives filters their `proxy_on_done`, and returns its whole log.
    ///
    /// Errors: as [`Self::admin_get`]; [`EnvoyError::NotReady`] if Envoy does not end.
    pub fn quit(mut self) -> Result<String, EnvoyError> {
        self.admin_post("/quitquitquit")?;
        let begin = Instant::now();
        while self.process.exit_status()?.is_none() {
            if begin.elapsed() > READY_WITHIN {
                return Err(EnvoyError::NotReady { log: self.process.log_tail() });
            }
            thread::sleep(POLL_PAUSE);
        }
        Ok(self.log())
    }

    fn admin(&self, method: &str, path: &str) -> Result<String, EnvoyError> {
        let response = Request::new(method, path).send(self.admin).map_err(|source| EnvoyError::Admin {
            path: path.to_owned(),
            source,
            log: self.process.log_tail(),
        })?;
        match response.status {
            200 => Ok(response.text()),
            status => Err(EnvoyError::AdminAnswer { path: path.to_owned(), status, body: response.text() }),
        }
    }
}

/// Lets Envoy checker a bootstrap configuration without running it (`--mode validate`).
///
/// Errors: [`EnvoyError::Ended`] with Envoy's words if it refuses, and what keeps it from starting.
pub fn validate(bootstrap: &Value) -> Result<(), EnvoyError> {
    let mut process = Process::spawn(&yaml::write(bootstrap), |command, _| {
        command.args(["--mode", "validate"]);
    })?;
    let waited = process.child.wait();
    let status = waited.map_err(|source| EnvoyError::Io { what: "envoy could not be waited for", source })?;
    if status.success() { Ok(()) } else { Err(EnvoyError::Ended { status, log: process.log_tail() }) }
}

// === impl Process ===

impl Process {
    /// Starts Envoy with a configuration, YAML or JSON.
    fn spawn(bootstrap: &str, arguments: impl FnOnce(&mut Command, &Path)) -> Result<Self, EnvoyError> {
        let binary = binary::find()?;
        let failed = |what| move |source| EnvoyError::Io { what, source };
        let dir = tempfile::Builder::new()
            .prefix("portcullis-envoy-")
            .tempdir()
            .map_err(failed("no temporary folder"))?;
        let is_json = bootstrap.starts_with('{');
        let config_path = dir.path().join(if is_json { "bootstrap.json" } else { "bootstrap.yaml" });
        fs::write(&config_path, bootstrap).map_err(failed("the bootstrap could not be written"))?;
        let log = File::create(log_path(dir.path())).map_err(failed("the log could not be created"))?;
        let log_too = log.try_clone().map_err(failed("the log could not be opened"))?;

        let mut command = Command::new(binary);
        command.arg("--config-path").arg(&config_path);
        // Hot restart shares memory between Envoys of one base id: several at once must not.
        command.arg("--disable-hot-restart").args(["--log-level", "info"]);
        arguments(&mut command, dir.path());
        command.stdin(Stdio::null()).stdout(log).stderr(log_too);
        let child = spawn_for_life(command).map_err(failed("envoy could not be started"))?;
        Ok(Self { child, dir })
    }

    /// Waits until the admin interface says LIVE; gives its address and that of the first listener.
    fn wait_until_ready(&mut self) -> Result<(SocketAddr, SocketAddr), EnvoyError> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.exit_status()? {
                return Err(EnvoyError::Ended { status, log: self.log_tail() });
            }
            if let Some(ready) = self.ready_addrs() {
                return Ok(ready);
            }
            if begin.elapsed() > READY_WITHIN {
                return Err(EnvoyError::NotReady { log: self.log_tail() });
            }
            thread::sleep(POLL_PAUSE);
        }
    }

    fn ready_addrs(&self) -> Option<(SocketAddr, SocketAddr)> {
        let admin: SocketAddr =
            fs::read_to_string(self.dir.path().join("admin-address")).ok()?.trim().parse().ok()?;
        let ready = Request::get("/ready").send(admin).ok()?;
        if ready.status != 200 || ready.text().trim() != "LIVE" {
            return None;
        }
        let listeners: Value = Request::get("/listeners?format=json").send(admin).ok()?.json().ok()?;
        let local = &listeners["listener_statuses"][0]["local_address"]["socket_address"];
        let port = local["port_value"]
            .as_u64()
            .and_then(|port| u16::try_from(port).ok())
            .filter(|port| *port != 0)?;
        let listener = SocketAddr::new(local["address"].as_str()?.parse().ok()?, port);
        Some((admin, listener))
    }

    fn exit_status(&mut self) -> Result<Option<ExitStatus>, EnvoyError> {
        self.child
            .try_wait()
            .map_err(|source| EnvoyError::Io { what: "envoy could not be waited for", source })
    }

    fn log(&self) -> String {
        let bytes = fs::read(log_path(self.dir.path())).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if it has ended and been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn log_path(dir: &Path) -> std::path::PathBuf {
    dir.join("envoy.log")
}

/// Spawns from the one thread that never ends, with the signal that ends the child with this process.
///
/// Errors: what spawning answered.
pub fn spawn_for_life(mut command: Command) -> io::Result<Child> {
    type Job = (Command, SyncSender<io::Result<Child>>);
    static SPAWNER: OnceLock<Sender<Job>> = OnceLock::new();

    #[cfg(target_os = "linux")]
    {
        use std::os::unix::process::CommandExt;
        let die_with_parent = || {
            let kill = rustix::process::Signal::KILL;
            rustix::process::set_parent_process_death_signal(Some(kill)).map_err(io::Error::from)
        };
        // SAFETY: between fork and exec only async-signal-safe calls are allowed, and prctl(2) is all this makes.
        unsafe { command.pre_exec(die_with_parent) };
    }
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, queue) = channel::<Job>();
        thread::spawn(move || {
            for (mut command, reply) in queue {
                // The asker waits for the reply, so it is there to take it.
                let _ = reply.send(command.spawn());
            }
        });
        jobs
    });
    let (reply, spawned) = sync_channel(1);
    let gone = |_| io::Error::other("the thread that spawns has ended");
    spawner.send((command, reply)).map_err(|_| gone(()))?;
    spawned.recv().map_err(|_| gone(()))?
}
