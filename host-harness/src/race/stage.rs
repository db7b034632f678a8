//! A scenario that is set up once and run many times.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    oracle::{
        Violation,
        checker::Checker,
        crossing::{self, Crossing},
        growth::{self, Sizes},
        probes::{PROBE_TIME, Probe, Time},
        serial::{Left, Serial},
        views,
    },
    scenario::{Bounds, Due, EventKind, Scenario, Thread},
    search::whole::Whole,
    trace::{FaultClass, Step},
    watched::Watched,
};
use crate::{
    abi::Module,
    envoy::{
        Envoy, EnvoyOptions, Exchange, PluginKind, PluginOptions, Request, StartError,
        events::{After, When},
        explore::Run,
        network::is_network_filter,
        schedule::{Exploration, Fault, Limits, Scheduler},
        vms::VmSlot,
    },
    world::{Origin, Scripted},
};

/// The header in which every request of a scenario carries its nonce.
const NONCE_HEADER: &str = "x-portcullis-nonce";
/// What stands for it elsewhere in a request.
const NONCE: &[u8] = b"${nonce}";
/// When so many events led to one another without a timer in between, a run does not become quiet by itself; in a run of
/// few steps it is one for every [`STEPS_A_LINK`].
const ENDLESS_CHAIN: usize = 100;
/// Steps that one event of a chain may take, with what goes on beside it.
const STEPS_A_LINK: usize = 16;
/// In how many orders of whole callbacks a value must end alike to be one that does not depend on it.
const WHOLE_RUNS: u64 = 32;
/// How many things happen between two looks at whether the run is to end.
const LOOK_EVERY: usize = 64;
/// How many events a run may have for each of its steps, as most events are none: there is nothing to decide.
const EVENTS_A_STEP: usize = 16;
/// What a run remembers of its events, and of its steps where they are recorded, must fit into memory.
const MOST_EVENTS: usize = 2_000_000;
const MOST_RECORDED: usize = 200_000;

/// A scenario, set up.
pub(crate) struct Stage {
    envoy: Envoy<Scripted>,
    checker: Checker,
    crossing: Option<Crossing>,
    scenario: Arc<Scenario>,
    module_sha256: String,
    /// Requests for which something planned has waited in vain in every run.
    in_vain: BTreeSet<String>,
    /// What runs leave in which no callback is held, once that is asked.
    serial: Option<Serial>,
    stop: Stop,
}

/// When work is to end, whatever it has come to.
#[derive(Clone, Default)]
pub(crate) struct Stop {
    at: Option<Instant>,
    asked: Option<Arc<AtomicBool>>,
}

/// What came of a run.
pub(crate) struct Ran {
    pub(crate) scheduler: Box<dyn Scheduler>,
    pub(crate) violations: Vec<Broken>,
    pub(crate) class: FaultClass,
    /// Hostcalls and decisions.
    pub(crate) steps: usize,
    /// Whether it was ended before it came to its end, so that it says nothing of what comes in the end.
    pub(crate) cut: Option<Cut>,
    /// Whether a callback was held in it.
    has_held: bool,
    /// Shared data in the end, where they are compared.
    left: Left,
    /// What happened, where it was recorded.
    pub(crate) trace: Vec<Step>,
}

/// Why a run was ended before it came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cut {
    /// From here on everything is known already.
    Known,
    /// Its steps are used up.
    Steps,
    /// The search's time is over, or somebody ended it.
    Stopped,
    /// A cluster is called that the scenario has not.
    UnknownCluster(String),
}

/// A violation and when it showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) violation: Violation,
    /// Number of the step, where steps were recorded.
    pub(crate) step: usize,
}

/// Why a scenario cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// A plugin does not come up.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The module is of a kind that is not for here.
    #[error(
        "module `{module}` is a network (TCP) filter, and races are explored of HTTP filters: it gets connections \
         and fails on requests"
    )]
    NetworkFilter {
        /// The module, as the scenario names it.
        module: String,
    },
}

// === impl Stop ===

impl Stop {
    /// At this time at the latest.
    #[must_use]
    pub(crate) fn at(self, at: Instant) -> Stop {
        Stop { at: Some(at), ..self }
    }

    /// When this is true.
    #[must_use]
    pub(crate) fn when(self, asked: &Arc<AtomicBool>) -> Stop {
        Stop { asked: Some(Arc::clone(asked)), ..self }
    }

    /// Whether it is time.
    #[must_use]
    fn is_now(&self) -> bool {
        self.is_asked() || self.at.is_some_and(|at| Instant::now() >= at)
    }

    /// Whether somebody wants it.
    #[must_use]
    fn is_asked(&self) -> bool {
        self.asked.as_ref().is_some_and(|asked| asked.load(Ordering::Relaxed))
    }
}

// === impl Stage ===

impl Stage {
    /// Starts the scenario's Envoy and makes that the beginning of every run.
    ///
    /// Errors: a plugin does not come up, or is no HTTP filter.
    pub(crate) fn new(module: &Module, scenario: &Arc<Scenario>) -> Result<Stage, StageError> {
        let plugins = scenario.plugins.iter().map(|plugin| PluginOptions {
            name: plugin.name.clone(),
            root_id: plugin.name.clone(),
            vm_id: scenario.vm_id.clone(),
            configuration: plugin.configuration.clone(),
            failure_policy: scenario.failure_policy,
            allow_on_headers_stop_iteration: scenario.allow_on_headers_stop_iteration,
            kind: if plugin.singleton { PluginKind::SingletonService } else { PluginKind::Filter },
            ..PluginOptions::default()
        });
        let options = EnvoyOptions {
            concurrency: scenario.workers,
            plugins: plugins.collect(),
            seed: scenario.seed,
            ..EnvoyOptions::default()
        };
        let world = scenario.world();
        if is_network_filter(module, &options, &world) {
            return Err(StageError::NetworkFilter { module: scenario.module.clone() });
        }
        let mut envoy = Envoy::start(module, options, world)?;
        let mut nonces = Vec::new();
        for event in &scenario.events {
            let when = match &event.due {
                Due::At(at) => When::At(*at),
                Due::After { request, begun, delay } => {
                    When::After(After { request: request.clone(), begun: *begun, delay: *delay })
                }
            };
            match &event.kind {
                EventKind::Request { name, worker, request, leaves_after } => {
                    let nonce = crossing::nonce(name);
                    let mut request = with_nonce(request.as_ref().clone(), nonce.as_bytes());
                    request.headers.push((NONCE_HEADER.as_bytes().to_vec(), nonce.clone().into_bytes()));
                    nonces.push((name.clone(), nonce.into_bytes()));
                    envoy.plan_request(when, name, *worker, request, *leaves_after);
                }
                EventKind::Answers { .. } | EventKind::GrpcAnswers { .. } => {
                    let kind = event.kind.clone();
                    envoy.plan_change(when, move |world| {
                        let world: &mut dyn std::any::Any = world;
                        if let Some(world) = world.downcast_mut() {
                            kind.change_answers(world);
                        }
                    });
                }
                EventKind::Configure { plugin, configuration } => {
                    envoy.plan_update(when, plugin, Some(configuration.clone()));
                }
                EventKind::Remove { plugin } => envoy.plan_update(when, plugin, None),
                EventKind::Trap { thread } => envoy.plan_trap(when, slot(*thread)),
                EventKind::Stall { thread, span } => envoy.plan_stall(when, slot(*thread), *span),
            }
        }
        envoy.freeze();
        let crossing = if nonces.is_empty() { None } else { Crossing::new(&nonces).ok() };
        Ok(Stage {
            envoy,
            checker: Checker::new(scenario),
            crossing,
            scenario: Arc::clone(scenario),
            module_sha256: module.sha256().to_owned(),
            in_vain: awaited(scenario),
            serial: None,
            stop: Stop::default(),
        })
    }

    /// Every run from here on is ended when it is time. Gives what was said before.
    pub(crate) fn stop(&mut self, stop: Stop) -> Stop {
        std::mem::replace(&mut self.stop, stop)
    }

    /// Whether runs are ended now.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.is_now()
    }

    /// A request for which something planned has waited in vain in every run.
    pub(crate) fn waits_in_vain(&self) -> Option<&str> {
        self.in_vain.first().map(String::as_str)
    }

    pub(crate) fn scenario(&self) -> &Arc<Scenario> {
        &self.scenario
    }

    pub(crate) fn module_sha256(&self) -> &str {
        &self.module_sha256
    }

    /// Threads in the order in which they are drawn.
    pub(crate) fn threads(&self) -> Vec<String> {
        self.envoy.vms().iter().map(|vm| vm.role.slot().to_string()).collect()
    }

    /// Runs the scenario once.
    pub(crate) fn run(&mut self, scheduler: Box<dyn Scheduler>, recorded: bool) -> Ran {
        let mut ran = self.perform(scheduler, recorded);
        self.compare_with_whole(&mut ran);
        ran.violations.retain(|broken| !self.scenario.tolerate.contains(&broken.violation.oracle));
        ran
    }

    /// Compares what a run has left with what whole callbacks leave. Faults leave something else by themselves.
    fn compare_with_whole(&mut self, ran: &mut Ran) {
        let says =
            ran.has_held && ran.cut.is_none() && ran.class == FaultClass::L0 && ran.violations.is_empty();
        if !self.scenario.serializable || !says {
            return;
        }
        if self.serial.is_none() {
            let mut serial = Serial::default();
            for seed in 0..WHOLE_RUNS {
                let whole = self.perform(Box::new(Whole::new(seed)), false);
                if whole.cut.is_some() {
                    return;
                }
                serial.add(&whole.left);
            }
            self.serial = Some(serial);
        }
        let violation = self.serial.as_ref().and_then(|serial| serial.check(&ran.left));
        let step = ran.trace.len();
        ran.violations.extend(violation.map(|violation| Broken { violation, step }));
    }

    fn perform(&mut self, scheduler: Box<dyn Scheduler>, recorded: bool) -> Ran {
        let bounds = self.scenario.bounds;
        let limits = Limits {
            until: bounds.until,
            horizon: part_of(bounds, 1),
            slack: bounds.slack,
            steps: bounds.steps,
            clock_step: bounds.clock_step,
        };
        let exploration = Exploration::new(scheduler, limits, faults(&self.scenario));
        let mut checker = self.checker.clone();
        let crossing = self.crossing.as_ref();
        let mut broken = Vec::new();
        let mut run = self.envoy.run(exploration, recorded);
        let mut rounds = Vec::new();
        let mut watched = Watched::default();
        let mut out_of_steps = false;
        let mut happened = 0;
        let most_events = bounds.steps.saturating_mul(EVENTS_A_STEP).min(MOST_EVENTS);
        'rounds: for round in 1..=growth::LEAST_SAMPLES + growth::ROUNDS_TO_CONFIRM {
            let confirms = round > growth::LEAST_SAMPLES;
            if confirms && !grows(&rounds) {
                break;
            }
            while run.advance(part_of(bounds, round)) {
                watched.look(&mut run, &mut checker, crossing, &mut broken);
                // What the rules will say depends on it as on the state of a VM.
                run.set_outside(|hasher| checker.hash_past(hasher));
                if run.is_abandoned() {
                    return end(run, broken, Some(Cut::Known));
                }
                happened += 1;
                if run.is_out_of_steps() || happened > most_events || run.last_step() > MOST_RECORDED {
                    out_of_steps = !confirms;
                    break 'rounds;
                }
                if happened.is_multiple_of(LOOK_EVERY) && self.stop.is_now() {
                    return end(run, broken, Some(Cut::Stopped));
                }
            }
            rounds.push(run.sizes());
        }
        if !self.in_vain.is_empty() {
            let awaited = run.awaited();
            self.in_vain.retain(|request| awaited.contains(request));
        }
        if let Some(cluster) = run.unknown_cluster() {
            return end(run, broken, Some(Cut::UnknownCluster(cluster)));
        }
        // Timers alone use up any number of steps, when they are fast and many.
        let endless = ENDLESS_CHAIN.min(bounds.steps / STEPS_A_LINK);
        if out_of_steps && usize::try_from(run.longest_chain()).unwrap_or(usize::MAX) < endless {
            return end(run, broken, Some(Cut::Steps));
        }
        if out_of_steps {
            broken.push(Broken {
                violation: Violation {
                    oracle: "livelock",
                    message: format!(
                        "the run must become quiet, and it does not in {} steps: {} is still busy at {:?}",
                        bounds.steps,
                        run.busy(),
                        run.core().now(),
                    ),
                },
                step: run.last_step(),
            });
            return end(run, broken, None);
        }
        watched.at_end(&run, bounds.until, &mut broken);
        let last = run.last_step();
        if grows(&rounds) {
            let rounds = named(&run, &rounds);
            broken
                .extend(growth::check(&rounds).into_iter().map(|violation| Broken { violation, step: last }));
        }
        if !watched.views.is_empty() {
            let violations = views::check_end(&watched.views, &run.alive());
            broken.extend(violations.into_iter().map(|violation| Broken { violation, step: last }));
        }
        for (step, violation) in views::check_versions(&watched.views) {
            broken.push(Broken { violation, step });
        }
        let data = if self.scenario.serializable { run.shared_data() } else { BTreeMap::new() };
        let left = Left { data, statuses: watched.statuses };
        let ran = Ran { left, ..end(run, broken, None) };
        self.ask(checker, ran, last)
    }

    /// Asks what must hold in the end, of an Envoy that nobody disturbs any more.
    fn ask(&mut self, mut checker: Checker, mut ran: Ran, step: usize) -> Ran {
        let probes = checker.probes();
        self.ask_all(&mut checker, probes.clone());
        if let Some(after) = checker.retry_after() {
            self.pass(after);
            self.ask_all(&mut checker, probes);
        }
        let probes = checker.second_probes();
        self.ask_all(&mut checker, probes);
        if self.is_stopped() {
            ran.cut = Some(Cut::Stopped);
            return ran;
        }
        ran.violations.extend(checker.finish().into_iter().map(|violation| Broken { violation, step }));
        ran
    }

    fn ask_all(&mut self, checker: &mut Checker, probes: Vec<(Probe, Request)>) {
        for (probe, request) in probes {
            self.envoy.world_mut().answer_last_first(probe.time == Time::LastFirst);
            self.envoy.world_mut().fail_calls_of_filters(probe.time == Time::Down);
            let before = self.envoy.world().seen().len();
            let exchange = self.probe(probe.worker, request);
            let calls = self.calls_since(before, probe.worker);
            checker.probed(probe, exchange.as_ref(), calls);
        }
        self.envoy.world_mut().answer_last_first(false);
        self.envoy.world_mut().fail_calls_of_filters(false);
    }

    /// How many calls the filter has made on a worker, after so many calls of everybody.
    fn calls_since(&self, before: usize, worker: usize) -> usize {
        let made_there = |origin: &Origin| match origin {
            Origin::HttpCall { vm, .. } => vm.slot() == VmSlot::Worker(worker),
            _ => false,
        };
        let seen = self.envoy.world().seen().get(before..).unwrap_or_default();
        seen.iter().filter(|seen| made_there(&seen.call.origin)).count()
    }

    fn probe(&mut self, worker: usize, request: Request) -> Option<Exchange> {
        let id = self.envoy.begin(worker, request);
        let mut exchange = None;
        self.run_for(PROBE_TIME, |envoy| {
            exchange = exchange.take().or_else(|| envoy.take(id));
            exchange.is_some()
        });
        exchange
    }

    fn pass(&mut self, time: Duration) {
        self.run_for(time, |_envoy| false);
    }

    fn run_for(&mut self, time: Duration, mut is_done: impl FnMut(&mut Envoy<Scripted>) -> bool) {
        let limit = self.envoy.now() + time;
        // A guest that makes events for this same moment for ever would keep it from ending.
        let mut left = self.scenario.bounds.steps.saturating_mul(EVENTS_A_STEP);
        let stop = self.stop.clone();
        self.envoy.run_until(limit, |envoy| {
            left = left.saturating_sub(1);
            is_done(envoy) || left == 0 || left.is_multiple_of(LOOK_EVERY) && stop.is_now()
        });
    }
}

/// Requests for which something planned waits.
fn awaited(scenario: &Scenario) -> BTreeSet<String> {
    let awaited = scenario.events.iter().filter_map(|event| match &event.due {
        Due::At(_) => None,
        Due::After { request, .. } => Some(request.clone()),
    });
    awaited.collect()
}

/// The request with its nonce wherever it says so.
fn with_nonce(mut request: Request, nonce: &[u8]) -> Request {
    let headers = request.headers.iter_mut().chain(&mut request.trailers).map(|(_, value)| value);
    for bytes in headers.chain(&mut request.body).chain([&mut request.path]) {
        while let Some(at) = bytes.windows(NONCE.len()).position(|part| part == NONCE) {
            bytes.splice(at..at + NONCE.len(), nonce.iter().copied());
        }
    }
    request
}

/// When the time in which a run must settle has come so many parts far.
fn part_of(bounds: Bounds, parts: usize) -> Duration {
    let parts = u32::try_from(parts).unwrap_or(u32::MAX);
    let all = u32::try_from(growth::LEAST_SAMPLES).unwrap_or(1);
    bounds.until.saturating_add(bounds.settle.saturating_mul(parts) / all)
}

fn slot(thread: Thread) -> VmSlot {
    match thread {
        Thread::Main => VmSlot::Main,
        Thread::Worker(worker) => VmSlot::Worker(worker),
    }
}

pub(super) fn thread(slot: VmSlot) -> Thread {
    match slot {
        VmSlot::Main => Thread::Main,
        VmSlot::Worker(worker) => Thread::Worker(worker),
    }
}

/// Whether any size grew in every round.
fn grows(rounds: &[Vec<u64>]) -> bool {
    let sizes = rounds.last().map_or(0, Vec::len);
    (0..sizes).any(|index| {
        rounds.windows(2).all(|pair| matches!(pair, [before, after] if after.get(index) > before.get(index)))
    })
}

/// The sizes of each round by their names.
fn named(run: &Run<'_>, rounds: &[Vec<u64>]) -> Vec<Sizes> {
    let names = run.size_names();
    rounds.iter().map(|sizes| names.iter().cloned().zip(sizes.iter().copied()).collect()).collect()
}

fn end(run: Run<'_>, violations: Vec<Broken>, cut: Option<Cut>) -> Ran {
    let steps = run.steps();
    let (exploration, trace) = run.end();
    let exploration = exploration.expect("the exploration was put in when the run began");
    let (class, has_held) = (exploration.class, exploration.has_held);
    let scheduler = exploration.into_scheduler().expect("nobody asks the scheduler after the run");
    Ran { scheduler, violations, class, steps, cut, has_held, left: Left::default(), trace }
}

/// Every fault that a run may add, each as often as it may.
fn faults(scenario: &Scenario) -> Vec<Fault> {
    let faults = &scenario.faults;
    let kinds = [
        (Fault::Reset, faults.resets),
        (Fault::Refusal, faults.refusals),
        (Fault::Timeout, faults.timeouts),
        (Fault::ConnectFailure, faults.connect_failures),
        (Fault::Duplicate, faults.duplicates),
    ];
    kinds
        .into_iter()
        .flat_map(|(fault, count)| std::iter::repeat_n(fault, usize::try_from(count).unwrap_or(usize::MAX)))
        .collect()
}
