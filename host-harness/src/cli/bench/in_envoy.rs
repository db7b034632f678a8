//! Real Envoy's start, read from its log: each VM reports when it joins, on its first tick, and when a policy can decide.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use host_harness::{
    FILTER_MODULE,
    real_envoy::{BootstrapOptions, EnvoyOptions, RealEnvoy, bootstrap},
    servers::Upstream,
};
use portcullis_filter::config::Config;

use super::startup::Scene;

/// Far beyond what loading takes; only a hang meets it.
const BOUND: Duration = Duration::from_secs(300);
/// Envoy writes local time, and every offset of local time is a multiple of this.
const ZONE_STEP_MS: i64 = 15 * 60 * 1000;

/// When the slowest VM could decide by every policy whose bundle comes.
pub(super) struct StartUp {
    pub(super) from_start: Duration,
    pub(super) from_first_tick: Duration,
}

/// What one VM has reported, in milliseconds of the day.
#[derive(Debug, Default)]
struct Vm {
    joined: Option<i64>,
    last: i64,
}

pub(super) fn start_up(scene: &Scene, concurrency: u32) -> Result<StartUp> {
    let document = scene.document.to_string();
    let folder = tempfile::tempdir().context("no temporary folder could be made")?;
    let module = folder.path().join("portcullis.wasm");
    std::fs::write(&module, FILTER_MODULE).with_context(|| module.display().to_string())?;
    let upstream = Upstream::start().context("the upstream did not start")?;
    let config = Config::parse(document.as_bytes())?;
    let mut options = BootstrapOptions::new(&module, document, upstream.addr().into());
    options.concurrency = concurrency;
    let bootstrap = bootstrap(&config, &options);

    let began = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock stands before 1970")?;
    let began_ms = i64::try_from(began.as_millis())?;
    let envoy = RealEnvoy::start(&bootstrap, &EnvoyOptions { concurrency, ..EnvoyOptions::default() })?;
    // Envoy's main thread has a VM of its own.
    let to_compile = scene.decisions.len() * (concurrency as usize + 1);
    let mut compiled = 0;
    // The counter alone is asked for while Envoy is at work: all its counters, or its log, would be felt.
    let all = envoy.wait_until(BOUND, |envoy| {
        let answer = envoy.admin_get("/stats?filter=portcullis_policies_compiled")?;
        compiled = answer.rsplit_once(": ").and_then(|(_, count)| count.trim().parse().ok()).unwrap_or(0);
        Ok(compiled >= to_compile)
    })?;
    ensure!(
        all,
        "{compiled} of {to_compile} policies are compiled after {} s; Envoy says:\n{}",
        BOUND.as_secs(),
        envoy.log()
    );
    let vms = read(&envoy.log());
    // Both differences are less than a quarter of an hour, whatever day or zone it is.
    let since =
        |from: i64, to: i64| Duration::from_millis((to - from).rem_euclid(ZONE_STEP_MS).unsigned_abs());
    let slowest = |time: &dyn Fn(&Vm) -> Duration| vms.values().map(time).max().unwrap_or_default();
    Ok(StartUp {
        from_start: slowest(&|vm| since(began_ms, vm.last)),
        from_first_tick: slowest(&|vm| since(vm.joined.unwrap_or(vm.last), vm.last)),
    })
}

/// Reads lines as `[2026-01-31 09:30:00.123][77][info][wasm] [context.cc:1] wasm log …: transition scope=vm vm=…`.
fn read(log: &str) -> BTreeMap<String, Vm> {
    let mut vms: BTreeMap<String, Vm> = BTreeMap::new();
    for line in log.lines() {
        let reported = || {
            let (head, fields) = line.split_once(" transition scope=vm ")?;
            let time = millis_of_day(head.get(12..24)?)?;
            let field = |name: &str| fields.split(' ').find_map(|field| field.strip_prefix(name));
            Some((time, field("vm=")?, field("member="), field("policy="), field("to=")?))
        };
        match reported() {
            Some((time, vm, Some(_), _, "joined")) => {
                vms.entry(vm.to_owned()).or_default().joined = Some(time);
            }
            Some((time, vm, _, Some(_), "serving")) => vms.entry(vm.to_owned()).or_default().last = time,
            _ => {}
        }
    }
    vms
}

/// `09:30:00.123` in milliseconds.
fn millis_of_day(text: &str) -> Option<i64> {
    let (clock, millis) = text.split_once('.')?;
    let mut parts = clock.split(':').map(|part| part.parse::<i64>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    Some(((hours * 60 + minutes) * 60 + seconds) * 1000 + millis.parse::<i64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vm_is_as_ready_as_its_last_policy() {
        let line = |time: &str, rest: &str| {
            format!(
                "[2026-01-31 {time}][7][info][wasm] [c.cc:1] wasm log portcullis: transition {rest} cause=x\n"
            )
        };
        let log = line("09:30:00.123", "scope=vm vm=a on=tick#1 member=0 from=absent to=joined")
            + "[2026-01-31 09:30:00.130][7][info][main] [c.cc:1] nothing of ours\n"
            + &line("09:30:00.150", "scope=registry vm=a on=tick#1 bundle=p from=absent to=claimed")
            + &line("09:30:01.000", "scope=vm vm=a on=tick#2 policy=p from=pending to=serving")
            + &line("09:30:02.000", "scope=vm vm=b on=tick#2 policy=p from=pending to=refused");
        let vms = read(&log);
        assert_eq!(vms.keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(vms["a"].last - vms["a"].joined.unwrap(), 877);
    }
}
