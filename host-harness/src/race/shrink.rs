//! From a schedule that fails to the least that fails in the same way.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use super::{
    replay::Replay,
    scenario::is_built_in,
    schedule::{Schedule, Segment, class_of},
    search::{Choice, Follow, Found, Options, minimal},
    stage::{Ran, Stage},
    trace::{Finding, Step, Trace, TurnName, Verb},
};
use crate::envoy::schedule::Scheduler;

/// Most runs that one shrinking takes.
const RUNS: usize = 4000;
/// How far back the two turns are looked for that raced, in steps.
const RACED_WITHIN: usize = 2000;
/// Most findings of a run that are reported.
const FINDINGS: usize = 50;
/// Characters of a finding's identity.
const ID_DIGITS: usize = 8;

/// Records the run of some choices.
pub(super) fn record_choices(stage: &mut Stage, choices: &[Choice]) -> (Ran, Trace) {
    record(stage, Box::new(Follow::new(choices.to_vec())))
}

/// Records a run.
pub(super) fn record(stage: &mut Stage, scheduler: Box<dyn Scheduler>) -> (Ran, Trace) {
    let ran = stage.run(scheduler, true);
    let trace = trace_of(stage, &ran);
    (ran, trace)
}

/// Records the run of a schedule.
pub(super) fn record_schedule(stage: &mut Stage, schedule: &Schedule, lenient: bool) -> (Ran, Trace) {
    record(stage, Box::new(Replay::new(schedule, lenient)))
}

fn trace_of(stage: &Stage, ran: &Ran) -> Trace {
    let scenario = stage.scenario();
    let mut oracles = BTreeSet::new();
    let findings = ran
        .violations
        .iter()
        .take(FINDINGS)
        .map(|broken| Finding {
            oracle: broken.violation.oracle.to_owned(),
            class: ran.class,
            message: broken.violation.message.clone(),
            step: broken.step,
            // What follows from the first of a kind raced no more.
            raced: oracles.insert(broken.violation.oracle).then(|| raced(&ran.trace, broken.step)).flatten(),
            inevitable_after: None,
        })
        .collect();
    Trace {
        scenario: scenario.name.clone(),
        variant: scenario.variant.clone(),
        module_sha256: stage.module_sha256().to_owned(),
        threads: stage.threads(),
        steps: ran.trace.clone(),
        findings,
        excerpt: None,
    }
}

/// The two turns that raced: one that was held and one that came between, or else the last two on different threads that
/// touched the same thing, one of them changing it. Where there are none, it was no race of two.
fn raced(steps: &[Step], before: usize) -> Option<(TurnName, TurnName)> {
    let steps = steps.get(..before.min(steps.len())).unwrap_or_default();
    for held in steps.iter().rev().take(RACED_WITHIN).filter(|step| step.held) {
        let after = steps.get(held.number..).unwrap_or_default();
        let resumed = after.iter().position(|step| step.turn == held.turn).unwrap_or(after.len());
        let (between, rest) = after.split_at(resumed);
        let rest: Vec<&Step> = rest.iter().filter(|step| step.turn == held.turn).collect();
        let conflicting = between.iter().rev().find(|step| rest.iter().any(|other| conflict(step, other)));
        if let Some(step) = conflicting.or(between.last()) {
            return Some((held.turn.clone(), step.turn.clone()));
        }
    }
    for (index, later) in steps.iter().enumerate().rev().take(RACED_WITHIN) {
        let earlier = steps.get(index.saturating_sub(RACED_WITHIN)..index).unwrap_or_default();
        let apart = |step: &Step| step.turn.thread != later.turn.thread && conflict(step, later);
        let other = earlier.iter().rev().find(|step| apart(step));
        if let Some(other) = other {
            return Some((other.turn.clone(), later.turn.clone()));
        }
    }
    None
}

/// Whether the order of two steps can matter to anyone.
fn conflict(one: &Step, other: &Step) -> bool {
    let changes = |step: &Step| {
        matches!(step.verb, Verb::Set | Verb::Push | Verb::Dequeue | Verb::Register | Verb::ChangeMetric)
    };
    let shared = |step: &Step| {
        changes(step) || matches!(step.verb, Verb::Get | Verb::Post | Verb::Resolve | Verb::Metric)
    };
    shared(one) && shared(other) && one.object == other.object && (changes(one) || changes(other))
}

/// The least schedule that fails by the same oracle, with its whole trace.
pub(super) fn shrink(stage: &mut Stage, found: &Found, options: &Options) -> (Schedule, Trace) {
    stage.stop(options.stop());
    // The bounded search tries few preemptions first, so it often knows a shorter way than a random schedule.
    let least = minimal(stage, found, options);
    let choices = least.as_deref().unwrap_or(&found.choices);
    let (_, trace) = unhurried(stage, options, |stage| record_choices(stage, choices));
    let mut schedule = Schedule::of(&trace, Vec::new());
    let mut runs = 0;
    let mut fails = |stage: &mut Stage, segments: &[Segment]| {
        runs += 1;
        let schedule = Schedule { segments: segments.to_vec(), ..Schedule::default() };
        let ran = stage.run(Box::new(Replay::new(&schedule, true)), false);
        runs <= RUNS
            && !stage.is_stopped()
            && ran.violations.iter().any(|broken| broken.violation.oracle == found.oracle)
    };
    if fails(stage, &schedule.segments) {
        schedule.segments = without_holds(stage, schedule.segments, &mut fails);
        schedule.segments = fewest(stage, schedule.segments, &mut fails);
    }
    // What was left out comes in order of time, and is written down again up to the last turn that does not.
    let (_, trace) = unhurried(stage, options, |stage| record_schedule(stage, &schedule, true));
    let whole = Schedule::of(&trace, Vec::new());
    let segments = without_tail(stage, whole.segments, &mut fails);
    let scenario = stage.scenario().source.as_deref().map(str::to_owned);
    let mut shrunk = Schedule { header: Vec::new(), segments, scenario };
    let (_, mut trace) = unhurried(stage, options, |stage| record_schedule(stage, &shrunk, false));
    trace.findings.retain(|finding| finding.oracle == found.oracle);
    trace.findings.truncate(1);
    shrunk.header = header(&shrunk, &trace, found, &stage.scenario().module);
    (shrunk, trace)
}

/// One run with as much time as everything else had: what was found is written down whole also when that is over.
fn unhurried<T>(stage: &mut Stage, options: &Options, run: impl FnOnce(&mut Stage) -> T) -> T {
    let stop = stage.stop(options.stop());
    let ran = run(stage);
    stage.stop(stop);
    ran
}

fn header(schedule: &Schedule, trace: &Trace, found: &Found, module: &str) -> Vec<(String, String)> {
    // From wherever the file is read; a built-in module has no path.
    let file = if is_built_in(module) { None } else { std::path::absolute(module).ok() };
    let message = trace.findings.first().map_or(&found.message, |finding| &finding.message);
    // What a scenario plans happens by itself and is in no schedule.
    let seen = trace.findings.iter().map(|finding| finding.class);
    let class = seen.fold(class_of(schedule), Ord::max);
    [
        ("scenario", trace.scenario.clone()),
        ("variant", trace.variant.clone()),
        ("module", format!("sha256:{}", trace.module_sha256)),
        ("module-file", file.map(|file| file.display().to_string()).unwrap_or_default()),
        ("id", identity(trace, found)),
        ("oracle", found.oracle.clone()),
        ("class", format!("{class:?}")),
        ("found-by", found.phase.clone()),
        ("finding", message.clone()),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}

/// A name for a mistake: the same for whatever schedule shows it, on whichever threads. It is made of the oracle and of what
/// kind of turns raced. Where none did, of what must hold, and of the cause of a trap.
fn identity(trace: &Trace, found: &Found) -> String {
    let finding = trace.findings.first();
    let message = finding.map_or(found.message.as_str(), |finding| finding.message.as_str());
    let mistake = match finding.and_then(|finding| finding.raced.as_ref()) {
        Some((one, other)) => {
            let mut turns = [kind_of(one), kind_of(other)];
            turns.sort_unstable();
            turns.join("\n")
        }
        None if found.oracle == "trap" => without_digits(message),
        // Behind it stands what came instead, which differs from run to run.
        None => without_digits(message.split_once(", and ").map_or(message, |(must, _)| must)),
    };
    let digest: String = Sha256::digest(mistake).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}", found.oracle, digest.get(..ID_DIGITS).unwrap_or(&digest))
}

/// What began the turn, with the queue or the plugin that it is about. Which thread, which time and whose request differ from
/// run to run.
fn kind_of(turn: &TurnName) -> String {
    let has_lasting_subject = matches!(turn.event.as_str(), "ready" | "configure");
    let subject = if has_lasting_subject { without_digits(&turn.subject) } else { String::new() };
    format!("{} {subject}", turn.event)
}

/// The text with `#` in place of every number.
fn without_digits(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        match character.is_ascii_digit() {
            true if plain.ends_with('#') => {}
            true => plain.push('#'),
            false => plain.push(character),
        }
    }
    plain
}

type Fails<'a> = &'a mut dyn FnMut(&mut Stage, &[Segment]) -> bool;

/// Runs held turns to their end, one by one, where it fails all the same.
fn without_holds(stage: &mut Stage, mut segments: Vec<Segment>, fails: Fails<'_>) -> Vec<Segment> {
    let mut index = 0;
    while index < segments.len() {
        if segments.get(index).is_some_and(|segment| segment.hold.is_some()) {
            let mut candidate = segments.clone();
            let turn = candidate.get(index).map(|segment| segment.turn.clone());
            if let Some(segment) = candidate.get_mut(index) {
                segment.hold = None;
            }
            let rest =
                candidate.iter().skip(index + 1).position(|segment| Some(&segment.turn) == turn.as_ref());
            let rest = rest.map(|rest| candidate.remove(index + 1 + rest));
            if let (Some(segment), Some(rest)) = (candidate.get_mut(index), rest) {
                segment.hold = rest.hold;
            }
            if fails(stage, &candidate) {
                segments = candidate;
                continue;
            }
        }
        index += 1;
    }
    segments
}

/// Leaves out as many segments as possible: halves first, then single ones (Zeller's delta debugging).
fn fewest(stage: &mut Stage, mut segments: Vec<Segment>, fails: Fails<'_>) -> Vec<Segment> {
    let mut size = segments.len().div_ceil(2);
    while size > 0 {
        let mut start = 0;
        let mut smaller = false;
        while start < segments.len() {
            let mut candidate = segments.clone();
            candidate.drain(start..(start + size).min(candidate.len()));
            if fails(stage, &candidate) {
                segments = candidate;
                smaller = true;
            } else {
                start += size;
            }
        }
        if !smaller || size > segments.len() {
            size /= 2;
        }
    }
    segments
}

/// Leaves the end away as far as it happens by itself.
fn without_tail(stage: &mut Stage, mut segments: Vec<Segment>, fails: Fails<'_>) -> Vec<Segment> {
    while !segments.is_empty() && fails(stage, segments.get(..segments.len() - 1).unwrap_or_default()) {
        segments.pop();
    }
    segments
}
