//! `opa run --server` with the same bundles, as its own interface tells when it is ready.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use host_harness::servers::client::Request;
use serde_json::{Value, json};

use super::startup::Scene;

/// How long it may take until all that comes is there.
const BOUND: Duration = Duration::from_secs(300);
/// How long OPA gets to become healthy after that.
const HEALTH_BOUND: Duration = Duration::from_secs(5);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(5);

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
    std::fs::write(&config, configuration(scene).to_string()).context("OPA's configuration")?;
    let addr = free_addr()?;
    let began = Instant::now();
    let mut process = Opa(Command::new(opa)
        .args(["run", "--server", "--disable-telemetry", "--log-level", "error", "--addr", &addr.to_string()])
        .arg("--config-file")
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("{} could not be started", opa.display()))?);
    let (mut from_start, mut healthy) = (None, None);
    loop {
        let elapsed = began.elapsed();
        if healthy.is_none()
            && Request::get("/health?bundles").send(addr).is_ok_and(|seen| seen.status == 200)
        {
            healthy = Some(began.elapsed());
        }
        if from_start.is_none() && decisions(addr) == scene.coming {
            from_start = Some(began.elapsed());
        }
        let bound = from_start.map_or(BOUND, |time| time + HEALTH_BOUND);
        if (from_start.is_some() && healthy.is_some()) || elapsed > bound {
            return Ok(StartUp { from_start, healthy });
        }
        if let Some(status) = process.0.try_wait()? {
            ensure!(false, "{} ended with {status}; does it run with `run --server`?", opa.display());
        }
        thread::sleep(PAUSE);
    }
}

/// How many of the storm's packages have a decision: an asking of them all costs OPA one evaluation.
fn decisions(addr: SocketAddr) -> usize {
    let answer = Request::get("/v1/data/storm").send(addr).ok();
    let answer: Option<Value> = answer.and_then(|answer| answer.json().ok());
    let packages = answer.as_ref().and_then(|answer| answer["result"].as_object());
    packages.map_or(0, |packages| {
        packages.values().filter(|package| package.get("allow").is_some_and(Value::is_boolean)).count()
    })
}

/// OPA knows no clusters and no policies of ours.
fn configuration(scene: &Scene) -> Value {
    let mut services = scene.document["services"].clone();
    for service in services.as_object_mut().into_iter().flat_map(|services| services.values_mut()) {
        service.as_object_mut().map(|service| service.remove("cluster"));
    }
    json!({ "services": services, "bundles": scene.document["bundles"] })
}

/// OPA does not tell which port it has been given, so that one is looked for.
fn free_addr() -> Result<SocketAddr> {
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
