//! A scenario's own rules, checked as its answers and calls happen, and in the end over the answers to its probes.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use super::{
    Violation,
    answers::{Checked, check_answer, condition, unmet},
    between::Between,
    convergence::{self, Ignored},
    counts::Seen,
    probes::{PROBE_TIME, Probe, Time, in_other_pieces},
};
use crate::{
    envoy::{Exchange, Request},
    race::scenario::{EventKind, Rule, Scenario},
};

/// Checks one run of a scenario. A clone goes on alone from where it was made.
///
/// Shape: any number of [`Checker::answered`], [`Checker::called`], [`Checker::ticked`], [`Checker::queued`] and
/// [`Checker::trapped`], each of which gives what is broken by it; then every one of [`Checker::probes`] is asked and its answer given to
/// [`Checker::probed`], once more after [`Checker::retry_after`], and then every one of [`Checker::second_probes`]; then [`Checker::finish`] gives what the end breaks.
#[derive(Debug, Clone)]
pub struct Checker {
    pub(super) rules: Arc<[Rule]>,
    workers: usize,
    /// What was seen, for each rule.
    pub(super) seen: Vec<Seen>,
    between: Between,
    /// What was answered to each probe.
    probed: BTreeMap<Probe, Option<Exchange>>,
    /// How many calls the filter has made for the probe of a rule, where it has made any.
    calls: BTreeMap<usize, usize>,
    /// Requests whose clients leave.
    leaving: Arc<BTreeSet<String>>,
}

/// The longest time after which workers are asked once more.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);

// === impl Checker ===

impl Checker {
    /// A checker of a run that has not begun.
    #[must_use]
    pub fn new(scenario: &Scenario) -> Checker {
        Checker {
            rules: scenario.rules.clone().into(),
            workers: scenario.workers,
            seen: vec![Seen::default(); scenario.rules.len()],
            between: Between::of(&scenario.rules),
            probed: BTreeMap::new(),
            calls: BTreeMap::new(),
            leaving: Arc::new(leaving(scenario)),
        }
    }

    /// Notes the end of a request by its name; gives what is broken by it. A request whose client saw no answer, for
    /// example because it left, breaks no rule.
    pub fn answered(&mut self, name: &str, exchange: &Exchange) -> Vec<Violation> {
        if !super::is_answered(exchange) {
            return Vec::new();
        }
        for (rule, seen) in self.rules.iter().zip(&mut self.seen) {
            if let Some((request, answer)) = condition(rule)
                && request == name
            {
                seen.when = answer.matches(exchange);
            }
        }
        self.between.keep(name, exchange);
        let mut violations = Vec::new();
        for (number, (rule, seen)) in self.rules.iter().zip(&self.seen).enumerate() {
            if condition(rule).is_some() && !seen.when {
                continue;
            }
            if let Rule::Same { .. } = rule {
                violations.extend(self.between.compare(number, rule, name, exchange));
                continue;
            }
            match check_answer(rule, name, exchange, &self.between) {
                Checked::Later => self.between.wait(number, name, exchange),
                Checked::Holds => {}
                Checked::Broken(violation) => violations.push(violation),
            }
        }
        for (number, name, exchange) in self.between.take_waiting(name) {
            let Some(rule) = self.rules.get(number) else { continue };
            match check_answer(rule, &name, &exchange, &self.between) {
                Checked::Later => self.between.wait(number, &name, &exchange),
                Checked::Holds => {}
                Checked::Broken(violation) => violations.push(violation),
            }
        }
        violations
    }

    /// Whether the client of a request leaves, so that it may have no answer.
    pub(in crate::race) fn leaves(&self, request: &str) -> bool {
        self.leaving.contains(request)
    }

    /// When to ask once more in place of the first time: every worker may have a state of its own that passes, as a circuit
    /// breaker has, and says so in `retry-after`.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let of_agreement = self.probed.iter().filter(|(probe, _)| self.is_of_agreement(probe.rule));
        let reported = of_agreement.filter_map(|(_, exchange)| {
            let headers = &exchange.as_ref()?.headers;
            let (_, value) = headers.iter().find(|(name, _)| name == b"retry-after")?;
            std::str::from_utf8(value).ok()?.trim().parse().ok().map(Duration::from_secs)
        });
        reported.filter(|after| *after <= LONGEST_RETRY_AFTER).max()
    }

    fn calls_twice(&self, rule: usize) -> bool {
        self.calls.get(&rule).is_some_and(|calls| *calls > 1)
    }

    fn is_of_agreement(&self, rule: usize) -> bool {
        matches!(self.rules.get(rule), Some(Rule::Agreement { .. }))
    }

    /// What is asked in the end, in the order of the rules and of the workers.
    #[must_use]
    pub fn probes(&self) -> Vec<(Probe, Request)> {
        let mut probes = Vec::new();
        for (index, (rule, seen)) in self.rules.iter().zip(&self.seen).enumerate() {
            let (asked, request) = match rule {
                // What is not known is not asked for.
                Rule::Eventually { when, workers, request, answer }
                    if (when.is_none() || seen.when) && self.between.resolve(answer).flatten().is_some() =>
                {
                    (workers, request)
                }
                Rule::Agreement { request, .. } => (&Vec::new(), request),
                _ => continue,
            };
            let every: Vec<usize> = (0..self.workers).collect();
            for worker in if asked.is_empty() { &every } else { asked } {
                let probe = Probe { rule: index, worker: *worker, time: Time::First };
                probes.push((probe, Request::clone(request)));
            }
        }
        probes
    }

    /// What is asked once more, when the answers to all of [`Checker::probes`] are there. Workers that do not agree are asked
    /// again: a header that differs whenever it is asked for (a clock, a counter, chance) does not count, and what the first
    /// question has changed for all is no disagreement. And a
    /// request with a body is asked with the body in pieces, one that makes the filter call twice with the last call answered first, and at last one while calls fail.
    #[must_use]
    pub fn second_probes(&self) -> Vec<(Probe, Request)> {
        let first = self.probes();
        let differ = |rule: usize, headers: bool| {
            let of_rule = first.iter().map(|(probe, _)| probe).filter(|probe| probe.rule == rule);
            let answers: Vec<_> = of_rule.map(|probe| (probe.worker, self.answer(*probe))).collect();
            let ignored = if headers { Ignored::These(BTreeSet::new()) } else { Ignored::Every };
            convergence::disagreement("agreement", "", &answers, &ignored).is_some()
        };
        let rules = self.rules.iter().enumerate();
        let rules = rules.filter(
            |(index, rule)| matches!(rule, Rule::Agreement { headers, .. } if differ(*index, *headers)),
        );
        let rules: BTreeSet<usize> = rules.map(|(index, _)| index).collect();
        let pieced = first.iter().filter(|(probe, _)| probe.worker == 0 && self.is_of_agreement(probe.rule));
        let pieced: Vec<(Probe, Request)> = pieced
            .flat_map(|(probe, request)| {
                let others = in_other_pieces(request).into_iter();
                others.map(|(time, request)| (Probe { time, ..*probe }, request))
            })
            .collect();
        let has_pieces = |rule: usize| pieced.iter().any(|(probe, _)| probe.rule == rule);
        let again = first.iter().filter(|(probe, _)| {
            let is_asked_otherwise = has_pieces(probe.rule) || self.calls_twice(probe.rule);
            rules.contains(&probe.rule) || probe.worker == 0 && is_asked_otherwise
        });
        let again = again.map(|(probe, request)| (Probe { time: Time::Again, ..*probe }, request.clone()));
        let last_first = first
            .iter()
            .filter(|(probe, _)| probe.worker == 0 && self.calls_twice(probe.rule))
            .map(|(probe, request)| (Probe { time: Time::LastFirst, ..*probe }, request.clone()));
        let down = self.calls.keys().next().copied();
        let down = first.iter().find(|(probe, _)| probe.worker == 0 && Some(probe.rule) == down);
        let down = down.map(|(probe, request)| (Probe { time: Time::Down, ..*probe }, request.clone()));
        again.chain(pieced.iter().cloned()).chain(last_first).chain(down).collect()
    }

    /// Notes what was answered to a probe, `None` when it was not answered in all the time that there was, and how many calls
    /// the filter made on that worker meanwhile.
    pub fn probed(&mut self, probe: Probe, exchange: Option<&Exchange>, calls: usize) {
        if calls > 0 && (probe.worker, probe.time) == (0, Time::First) && self.is_of_agreement(probe.rule) {
            self.calls.insert(probe.rule, calls);
        }
        self.probed.insert(probe, exchange.cloned());
    }

    /// What the end breaks. A probe that nobody asked counts as one that was not answered.
    #[must_use]
    pub fn finish(&self) -> Vec<Violation> {
        let probes = self.probes();
        let mut violations = Vec::new();
        for (index, rule) in self.rules.iter().enumerate() {
            let of_rule = probes.iter().filter(|(probe, _)| probe.rule == index);
            let seen = of_rule.map(|(probe, _)| (probe.worker, self.answer(*probe)));
            let seen: Vec<(usize, Option<&Exchange>)> = seen.collect();
            match rule {
                Rule::Eventually { when, request, answer, .. } => {
                    let asked = convergence::question(request);
                    let Some(Some(resolved)) = self.between.resolve(answer) else { continue };
                    violations.extend(unmet(&asked, when.as_ref(), (&resolved, &answer.like), &seen));
                }
                Rule::Agreement { request, headers } => {
                    let asked = convergence::question(request);
                    let at = |worker, time| self.answer(Probe { rule: index, worker, time });
                    let again = |worker| at(worker, Time::Again);
                    let pairs = seen.iter().map(|(worker, first)| Some(((*first)?, again(*worker)?)));
                    let pairs: Option<Vec<(&Exchange, &Exchange)>> = pairs.collect();
                    let ignored = |pairs: &[(&Exchange, &Exchange)]| match headers {
                        true => Ignored::These(convergence::varying_headers(pairs)),
                        false => Ignored::Every,
                    };
                    let of_workers = ignored(&pairs.unwrap_or_default());
                    // What the question itself has changed, as where each is answered once, is the same for all who are asked
                    // again.
                    let later: Vec<_> = seen.iter().map(|(worker, _)| (*worker, again(*worker))).collect();
                    let persists = later.iter().any(|(_, again)| again.is_none())
                        || convergence::disagreement("agreement", &asked, &later, &of_workers).is_some();
                    let disagreement = convergence::disagreement("agreement", &asked, &seen, &of_workers);
                    violations.extend(disagreement.filter(|_| persists));
                    let down = Probe { rule: index, worker: 0, time: Time::Down };
                    if self
                        .probed
                        .get(&down)
                        .is_some_and(|answer| !answer.as_ref().is_some_and(super::is_answered))
                    {
                        let message = format!(
                            "{asked} must be answered also while every call of the filter fails, and is not within {PROBE_TIME:?}"
                        );
                        violations.push(Violation::new("down", message));
                    }
                    if let (Some(first), Some(again)) = (at(0, Time::First), again(0))
                        && self.calls_twice(index)
                    {
                        let ignored = Ignored::These(convergence::varying_headers(&[(first, again)]));
                        violations.extend(convergence::order(
                            &asked,
                            first,
                            at(0, Time::LastFirst),
                            &ignored,
                        ));
                    }
                    if let (Some(whole), Some(again)) = (at(0, Time::First), again(0)) {
                        let ignored = ignored(&[(whole, again)]);
                        let others = in_other_pieces(request).into_iter();
                        let mut others = others.map(|(time, _)| (time.of_a_body(), at(0, time)));
                        violations.extend(others.find_map(|(how, other)| {
                            convergence::pieces(&asked, whole, (how, other), &ignored)
                        }));
                    }
                }
                _ => {}
            }
        }
        violations
    }

    fn answer(&self, probe: Probe) -> Option<&Exchange> {
        self.probed.get(&probe)?.as_ref().filter(|exchange| super::is_answered(exchange))
    }

    /// Hashes all of the past that decides what is broken in the future. Checkers of one scenario that hash the same
    /// check the same future alike.
    pub fn hash_past(&self, hasher: &mut impl Hasher) {
        self.seen.hash(hasher);
        self.between.hash_past(hasher);
    }
}

fn leaving(scenario: &Scenario) -> BTreeSet<String> {
    let names = scenario.events.iter().filter_map(|event| match &event.kind {
        EventKind::Request { name, leaves_after: Some(_), .. } => Some(name.clone()),
        _ => None,
    });
    names.collect()
}

#[cfg(test)]
mod tests;
