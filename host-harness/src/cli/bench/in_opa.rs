//! `opa run --server` with the same bundles, as its own interface reports when it is ready.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use host_harness::servers::client::{Request, Response};
use serde_json::{Value, json};

use super::startup::Scene;

/// How long it may take until all that comes is there.
const BOUND: Duration = Duration::from_secs(300);
/// How long OPA gets to become healthy after that.
const HEALTH_BOUND: Duration = Duration::from_secs(5);
/// Between two questions that were answered with no: more would be felt, with all that OPA has to do.
const PAUSE: Duration = Duration::from_millis(20);

/// From the start of the process; none where it did not come about.
pub(super) struct StartUp {
    /// Until every policy whose bundle comes has a decision.
    pub(super) from_start: Option<Duration>,
    /// Until `/health?bundles` is 200: every bundle has been activated.
    pub(super) healthy: Option<Duration>,
}

/// Ends with its owner.
struct Opa(Child);

pub(super) fn start_up(scene: &Scene, opa: &Path) -> Result<StartUp> {
    let folder = tempfile::tempdir().context("no temporary folder could be made")?;
    let config = folder.path().join("config.json");
    std::fs::write(&config, configuration(&scene.document).to_string()).context("OPA's configuration")?;
    let addr = free_addr()?;
    let began = Instant::now();
    let mut process = Opa(Command::new(opa)
        .args([
            "run",
            "--server",
            "--skip-version-check",
            "--log-level",
            "error",
            "--addr",
            &addr.to_string(),
        ])
        .arg("--config-file")
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("{} could not be started", opa.display()))?);
    let (mut decided, mut healthy) = (0, None);
    let mut from_start = None;
    loop {
        if healthy.is_none() && is_ok(addr, "/health?bundles").is_some() {
            healthy = Some(began.elapsed());
        }
        if healthy.is_some() {
            // All that was activated decides.
            let from_start = from_start.or(healthy);
            return Ok(StartUp { from_start, healthy });
        }
        // Bundle after bundle, each until it decides: where one never comes, nothing else reports the others.
        while scene.one_hangs && scene.decisions.get(decided).is_some_and(|decision| decides(addr, decision))
        {
            decided += 1;
        }
        if decided == scene.decisions.len() {
            from_start.get_or_insert_with(|| began.elapsed());
        }
        if began.elapsed() > from_start.map_or(BOUND, |time| time + HEALTH_BOUND) {
            return Ok(StartUp { from_start, healthy });
        }
        if let Some(status) = process.0.try_wait()? {
            bail!("{} ended with {status}; does it run with `run --server`?", opa.display());
        }
        thread::sleep(PAUSE);
    }
}

fn decides(addr: SocketAddr, decision: &str) -> bool {
    let answer = is_ok(addr, &format!("/v1/data/{decision}"));
    answer.and_then(|answer| answer.json::<Value>().ok()).is_some_and(|answer| answer["result"].is_boolean())
}

fn is_ok(addr: SocketAddr, path: &str) -> Option<Response> {
    Request::get(path).send(addr).ok().filter(|response| response.status == 200)
}

/// OPA knows no clusters and no policies of ours.
pub(super) fn configuration(document: &Value) -> Value {
    let mut services = document["services"].clone();
    for service in services.as_object_mut().into_iter().flat_map(|services| services.values_mut()) {
        service.as_object_mut().map(|service| service.remove("cluster"));
    }
    json!({ "services": services, "bundles": document["bundles"] })
}

/// OPA does not say which port it has been given, so that one is looked for.
pub(super) fn free_addr() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?)
}

impl Drop for Opa {
    fn drop(&mut self) {
        // Both fail only if it has ended and been waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
