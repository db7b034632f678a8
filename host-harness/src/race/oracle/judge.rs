//! A scenario's own rules, judged as its answers and calls happen, and in the end over the answers to its probes.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use super::{
    Violation,
    between::Between,
    convergence::{self, Ignored},
    counts::Seen,
    found,
    probes::{PROBE_TIME, Probe, Time, in_other_pieces},
};
use crate::{
    envoy::{Exchange, Request},
    race::scenario::{Answer, EventKind, Like, Rule, Scenario},
};

/// Judges one run of a scenario. A clone goes on alone from where it was made.
///
/// Shape: any number of [`Judge::answered`], [`Judge::called`], [`Judge::ticked`], [`Judge::queued`] and
/// [`Judge::trapped`], each of which gives what is broken by it; then every one of [`Judge::probes`] is asked and told to
/// [`Judge::probed`], once more after [`Judge::retry_after`], and then every one of [`Judge::second_probes`]; then [`Judge::finish`] gives what the end breaks.
#[derive(Debug, Clone)]
pub struct Judge {
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

// === impl Judge ===

impl Judge {
    /// A judge of a run that has not begun.
    #[must_use]
    pub fn new(scenario: &Scenario) -> Judge {
        Judge {
            rules: scenario.rules.clone().into(),
            workers: scenario.workers,
            seen: vec![Seen::default(); scenario.rules.len()],
            between: Between::of(&scenario.rules),
            probed: BTreeMap::new(),
            calls: BTreeMap::new(),
            leaving: Arc::new(leaving(scenario)),
        }
    }

    /// Hears the end of a request by its name; gives what is broken by it. A request whose client saw no answer, for
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
            match judge_answer(rule, name, exchange, &self.between) {
                Judged::Later => self.between.wait(number, name, exchange),
                Judged::Holds => {}
                Judged::Broken(violation) => violations.push(violation),
            }
        }
        for (number, name, exchange) in self.between.take_waiting(name) {
            let Some(rule) = self.rules.get(number) else { continue };
            match judge_answer(rule, &name, &exchange, &self.between) {
                Judged::Later => self.between.wait(number, &name, &exchange),
                Judged::Holds => {}
                Judged::Broken(violation) => violations.push(violation),
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
        let told = of_agreement.filter_map(|(_, exchange)| {
            let headers = &exchange.as_ref()?.headers;
            let (_, value) = headers.iter().find(|(name, _)| name == b"retry-after")?;
            std::str::from_utf8(value).ok()?.trim().parse().ok().map(Duration::from_secs)
        });
        told.filter(|after| *after <= LONGEST_RETRY_AFTER).max()
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

    /// What is asked once more, when the answers to all of [`Judge::probes`] are there. Workers that do not agree are asked
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

    /// Hears what was answered to a probe, `None` when it was not answered in all the time that there was, and how many calls
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

    /// Hashes all of the past that decides what is broken in the future. Judges of one scenario that hash the same
    /// judge the same future the same.
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

/// What must have been answered to which request for a rule to hold at all.
fn condition(rule: &Rule) -> Option<&(String, Answer)> {
    match rule {
        Rule::Never { when, .. } | Rule::Always { when, .. } | Rule::Eventually { when, .. } => when.as_ref(),
        _ => None,
    }
}

/// What a rule says to an answer.
enum Judged {
    Holds,
    /// It depends on an answer that is not there yet.
    Later,
    Broken(Violation),
}

fn judge_answer(rule: &Rule, name: &str, exchange: &Exchange, between: &Between) -> Judged {
    let (requests, answers) = match rule {
        Rule::Never { requests, answer, .. } => (requests, std::slice::from_ref(answer)),
        Rule::Always { requests, answers, .. } => (requests, answers.as_slice()),
        _ => return Judged::Holds,
    };
    if !requests.is_empty() && !requests.iter().any(|request| request == name) {
        return Judged::Holds;
    }
    // An answer that is compared with itself says nothing.
    if answers.iter().any(|answer| answer.like.iter().any(|like| like.request == name)) {
        return Judged::Holds;
    }
    let mut resolved = Vec::new();
    for answer in answers {
        match between.resolve(answer) {
            None => return Judged::Later,
            Some(None) => return Judged::Holds,
            Some(Some(answer)) => resolved.push(answer),
        }
    }
    let holds = resolved.iter().any(|answer| answer.matches(exchange));
    if holds != matches!(rule, Rule::Never { .. }) {
        return Judged::Holds;
    }
    let found = found(exchange, &resolved);
    let told: Vec<String> = resolved.iter().map(Answer::to_string).collect();
    let told = format!("{}{}", told.join(", or "), sources(answers.iter().flat_map(|answer| &answer.like)));
    Judged::Broken(if holds {
        let message = format!("request `{name}` is answered {found}, which it must never be ({told})");
        Violation::new("never", message)
    } else {
        Violation::new("always", format!("request `{name}` is answered {found}, and not {told}"))
    })
}

/// `, as request `A` was answered`
fn sources<'a>(likes: impl Iterator<Item = &'a Like>) -> String {
    let named: BTreeSet<&str> = likes.map(|like| like.request.as_str()).collect();
    let named: Vec<String> = named.into_iter().map(|name| format!("`{name}`")).collect();
    match named.as_slice() {
        [] => String::new(),
        [one] => format!(", as request {one} was answered"),
        several => format!(", as requests {} were answered", several.join(" and ")),
    }
}

/// One sentence for all workers that answer something else.
fn unmet(
    asked: &str,
    when: Option<&(String, Answer)>,
    (answer, likes): (&Answer, &[Like]),
    seen: &[(usize, Option<&Exchange>)],
) -> Option<Violation> {
    let wrong =
        seen.iter().filter(|(_, exchange)| !exchange.is_some_and(|exchange| answer.matches(exchange)));
    let wrong: Vec<String> = wrong
        .map(|(worker, exchange)| {
            let found = exchange
                .map_or("nothing".to_owned(), |exchange| found(exchange, std::slice::from_ref(answer)));
            format!("w{worker} answers {found}")
        })
        .collect();
    if wrong.is_empty() {
        return None;
    }
    let because = match when {
        Some((name, answer)) if *answer == Answer::default() => {
            format!(", since request `{name}` was answered")
        }
        Some((name, answer)) => format!(", since request `{name}` was answered {answer}"),
        None => String::new(),
    };
    let like = sources(likes.iter());
    let message =
        format!("in the end {asked} must be answered {answer}{like}{because}, and {}", wrong.join(", "));
    Some(Violation::new("eventually", message))
}

#[cfg(test)]
mod tests {
    use std::hash::DefaultHasher;

    use bytes::Bytes;

    use super::{super::testing::exchange, *};
    use crate::{
        envoy::StreamId,
        world::{Call, CallId, Origin},
    };

    const RULES: &str = "
scenario: a
module: m
clusters: {feed: {}}
events:
  - {at: 0s, request: A}
  - {at: 0s, request: B}
must:
  always:
    - {request: A, never: {status: 200}}
    - {requests: [A, B], answer: {status: 503}}
    - {one_of: [{status: 200}, {status: 503, body: wait}]}
  eventually:
    - {when: {request: A, status: 503}, request: {path: /state}, workers: [1], answer: {status: 200, body: READY}}
    - {request: {method: POST, path: /x}, answer: {status: 204}}
    - {agree: {path: /state}}
  at_most:
    - {cluster: feed, path: /b, calls: 1}
    - {cluster: feed, calls: 2}
    - {traps: 1}
";

    #[test]
    fn a_forbidden_answer_and_one_that_is_none_of_the_allowed_are_told_at_once() {
        let mut judge = judge();
        assert_eq!(
            told(judge.answered("A", &exchange(200, "hi", &[]))),
            [
                r#"never: request `A` is answered 200 "hi", which it must never be (200)"#,
                r#"always: request `A` is answered 200 "hi", and not 503"#,
            ]
        );
        assert_eq!(
            told(judge.answered("B", &exchange(503, "", &[]))),
            [r#"always: request `B` is answered 503 "", and not 200, or 503 "wait""#]
        );
        assert_eq!(told(judge.answered("A", &exchange(503, "wait", &[]))), [""; 0]);
        // A rule that names requests says nothing of others: no `always: … and not 503`.
        assert_eq!(told(judge.answered("C", &exchange(200, "", &[]))), [""; 0]);
    }

    #[test]
    fn a_rule_with_a_condition_holds_from_when_that_was_answered() {
        let rules = "
scenario: a
module: m
events:
  - {at: 0s, request: A}
  - {at: 0s, request: B}
must:
  always:
    - {when: {request: A, body: new}, request: B, never: {body: old}}
";
        let scenario = Scenario::parse(rules, "a").unwrap_or_else(|error| panic!("{error}")).remove(0);
        let mut judge = Judge::new(&scenario);
        let (new, old) = (exchange(200, "new", &[]), exchange(200, "old", &[]));
        assert_eq!(told(judge.answered("B", &old)), [""; 0]);
        assert_eq!(told(judge.answered("A", &old)), [""; 0]);
        assert_eq!(told(judge.answered("B", &old)), [""; 0]);
        assert_eq!(told(judge.answered("A", &new)), [""; 0]);
        assert_eq!(told(judge.answered("B", &new)), [""; 0]);
        assert_eq!(told(judge.answered("B", &old)).len(), 1);
    }

    #[test]
    fn a_client_that_left_has_no_answer_to_judge() {
        assert_eq!(told(judge().answered("A", &exchange(0, "", &[]))), [""; 0]);
    }

    #[test]
    fn one_call_too_many_is_told_once() {
        let mut judge = judge();
        for _ in 0..3 {
            assert_eq!(told(judge.called(&call("upstream", "/b"))), [""; 0]);
        }
        let told = ["/b", "/c", "/b", "/b"].map(|path| told(judge.called(&call("feed", path))));
        assert_eq!(told[0], [""; 0]);
        assert_eq!(told[1], [""; 0]);
        assert_eq!(
            told[2],
            [
                "at-most: cluster `feed` is called for `/b` more than 1 time: this is call 2",
                "at-most: cluster `feed` is called more than 2 times: this is call 3",
            ]
        );
        assert_eq!(told[3], [""; 0]);
    }

    #[test]
    fn one_trap_too_many_is_told_once() {
        let mut judge = judge();
        let told = ["a", "b", "c"].map(|cause| told(judge.trapped(cause)));
        assert_eq!(told[0], [""; 0]);
        assert_eq!(told[1], ["at-most: VMs fail more than 1 time: this is failure 2, b"]);
        assert_eq!(told[2], [""; 0]);
    }

    #[test]
    fn what_is_asked_in_the_end_depends_on_what_was_answered() {
        let mut judge = judge();
        let probes = |judge: &Judge| -> Vec<(usize, usize, String)> {
            let each = judge.probes().into_iter();
            each.map(|(probe, request)| (probe.rule, probe.worker, convergence::question(&request))).collect()
        };
        let post = || "`POST /x`".to_owned();
        let get = || "`GET /state`".to_owned();
        let always = [(4, 0, post()), (4, 1, post()), (5, 0, get()), (5, 1, get())];
        assert_eq!(probes(&judge), always);
        judge.answered("A", &exchange(503, "", &[]));
        let mut all = vec![(3, 1, get())];
        all.extend(always.clone());
        assert_eq!(probes(&judge), all);
        judge.answered("A", &exchange(200, "", &[]));
        assert_eq!(probes(&judge), always);
    }

    #[test]
    fn the_end_is_judged_over_every_worker_that_was_asked() {
        let mut judge = judge();
        judge.answered("A", &exchange(503, "wait", &[]));
        let good = |probe: Probe| match probe.rule {
            4 => exchange(204, "", &[]),
            _ => exchange(200, "READY", &[]),
        };
        for (probe, _) in judge.probes() {
            judge.probed(probe, Some(&good(probe)), 0);
        }
        assert_eq!(told(judge.finish()), [""; 0]);
        judge.probed(first(3, 1), Some(&exchange(200, "NOT_READY", &[])), 0);
        judge.probed(first(4, 0), None, 0);
        judge.probed(first(5, 1), Some(&exchange(503, "", &[])), 0);
        assert_eq!(
            told(judge.finish()),
            [
                r#"eventually: in the end `GET /state` must be answered 200 "READY", since request `A` was answered 503, and w1 answers 200 "NOT_READY""#,
                "eventually: in the end `POST /x` must be answered 204, and w0 answers nothing",
                r#"agreement: workers answer `GET /state` differently: w0 200 "READY"; w1 503 """#,
            ]
        );
    }

    #[test]
    fn a_header_that_differs_whenever_it_is_asked_for_breaks_no_agreement() {
        assert_eq!(agreement([&[("n", "1")], &[("n", "2")]], Some([&[("n", "3")], &[("n", "4")]])), None);
        // What a worker says both times is what it means.
        assert_eq!(
            agreement(
                [&[("v", "1"), ("n", "1")], &[("v", "2"), ("n", "2")]],
                Some([&[("v", "1")], &[("v", "2")]])
            ),
            Some("w0 200 \"\" with v: 1; w1 200 \"\" with v: 2".to_owned())
        );
        // The first question may change the answer for all who are asked after it.
        assert_eq!(agreement([&[("v", "1")], &[("v", "2")]], Some([&[("v", "2")], &[("v", "2")]])), None);
        // Nobody asked again.
        assert!(agreement([&[("n", "1")], &[("n", "2")]], None).is_some());
    }

    /// What is said when two workers answer with these headers, and with those when they are asked again.
    fn agreement(headers: [&[(&str, &str)]; 2], again: Option<[&[(&str, &str)]; 2]>) -> Option<String> {
        let text = "{scenario: a, module: m, must: {eventually: [{agree: {}}]}}";
        let mut judge = Judge::new(&Scenario::parse(text, "rules.yaml").expect("it is read").remove(0));
        for (probe, _) in judge.probes() {
            judge.probed(probe, Some(&exchange(200, "", headers[probe.worker])), 0);
        }
        let asked = judge.second_probes();
        assert_eq!(
            asked.iter().map(|(probe, _)| (probe.worker, probe.time)).collect::<Vec<_>>(),
            [(0, Time::Again), (1, Time::Again)]
        );
        for (probe, _) in asked {
            if let Some(again) = again {
                judge.probed(probe, Some(&exchange(200, "", again[probe.worker])), 0);
            }
        }
        let said = judge.finish().pop()?.message;
        Some(said.trim_start_matches("workers answer `GET /` differently: ").to_owned())
    }

    #[test]
    fn workers_are_asked_again_where_they_differ_and_are_then_judged_by_what_they_say_last() {
        let asked_again = |status: u16, tag: &str, again: u16| {
            let mut judge = judge();
            for (probe, _) in judge.probes() {
                let answer = match (probe.rule, probe.worker) {
                    (4, _) => exchange(204, "", &[]),
                    (_, 0) => exchange(200, "", &[("v", "1")]),
                    _ => exchange(status, "", &[("v", tag)]),
                };
                judge.probed(probe, Some(&answer), 0);
            }
            let asked = judge.second_probes();
            for (probe, _) in &asked {
                let status = if probe.worker == 0 { 200 } else { again };
                judge.probed(*probe, Some(&exchange(status, "", &[("v", "1")])), 0);
            }
            (asked.len(), told(judge.finish()).len())
        };
        assert_eq!(asked_again(200, "1", 200), (0, 0));
        assert_eq!(asked_again(503, "1", 200), (2, 0));
        assert_eq!(asked_again(503, "1", 503), (2, 1));
    }

    #[test]
    fn a_probe_that_nobody_asked_is_not_answered() {
        assert_eq!(
            told(judge().finish()),
            [
                "eventually: in the end `POST /x` must be answered 204, and w0 answers nothing, w1 answers nothing",
                "agreement: no worker answers `GET /state`",
            ]
        );
    }

    #[test]
    fn a_clone_of_a_judge_goes_on_alone() {
        let mut judge = judge();
        judge.called(&call("feed", "/b"));
        let mut clone = judge.clone();
        assert_eq!(told(judge.called(&call("feed", "/b"))).len(), 1);
        assert_eq!(told(clone.called(&call("feed", "/b"))).len(), 1);
    }

    #[test]
    fn pasts_hash_the_same_when_nothing_in_the_future_can_tell_them_apart() {
        let past = |judge: &Judge| {
            let mut hasher = DefaultHasher::new();
            judge.hash_past(&mut hasher);
            hasher.finish()
        };
        let (mut a, mut b) = (judge(), judge());
        a.answered("B", &exchange(503, "wait", &[]));
        assert_eq!(past(&a), past(&b), "no rule depends on how B was answered");
        a.answered("A", &exchange(503, "wait", &[]));
        assert_ne!(past(&a), past(&b));
        b.answered("A", &exchange(503, "", &[]));
        assert_eq!(past(&a), past(&b));
        a.called(&call("feed", "/b"));
        assert_ne!(past(&a), past(&b));
        for _ in 0..3 {
            b.called(&call("feed", "/b"));
            a.called(&call("feed", "/b"));
        }
        assert_eq!(past(&a), past(&b), "both are over every limit of calls");
        a.trapped("");
        assert_ne!(past(&a), past(&b));
    }

    fn first(rule: usize, worker: usize) -> Probe {
        Probe { rule, worker, time: Time::First }
    }

    fn judge() -> Judge {
        Judge::new(&Scenario::parse(RULES, "rules.yaml").unwrap_or_else(|error| panic!("{error}")).remove(0))
    }

    fn told(violations: Vec<Violation>) -> Vec<String> {
        violations.iter().map(Violation::to_string).collect()
    }

    fn call(cluster: &str, path: &str) -> Call {
        Call {
            id: CallId(1),
            origin: Origin::Router { stream: StreamId(1) },
            cluster: cluster.to_owned(),
            headers: vec![(b":path".to_vec(), path.as_bytes().to_vec())],
            body: Bytes::new(),
            trailers: Vec::new(),
            timeout: None,
        }
    }
}
