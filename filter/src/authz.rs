//! One request: what the policy is told about it, what it answers, and what the client sees.
//!
//! [`authorize`] is the one place where a request's outcome is made; everything a client can receive is listed in
//! [`Outcome`]. Only [`Permit`] lets a request on (INVARIANT closed), and only an allow decision makes one.

mod body;
mod connection;
mod decision;
mod grammar;
mod head;
mod health;
mod input;
mod metadata;
mod multipart;
mod mutation;
mod outcome;
mod paths;
mod remembered;
mod request;
mod route;

use std::{
    collections::BTreeMap,
    rc::Rc,
    time::{Duration, SystemTime},
};

use crate::{
    config::{InputConfig, Paths},
    hooks::{Check, checks},
    manager::{NotReady, SharedData},
    plugin::{Closed, Plugin},
    policy::{self, EvaluationError, InputFields, Moment, Policy, Value},
};
use body::Body;
use input::Reading;
use remembered::Remembered;

pub(crate) use health::HealthQuery;
pub(crate) use route::Mark;

pub use body::{AwaitsBody, BodyLimits, Progress};
pub use connection::Properties;
pub use decision::{DecisionError, Permit, SEAL_KEY, SEAL_VALUE};
pub use head::RequestHead;
pub use metadata::MetadataError;
pub use mutation::HeaderChange;
pub use outcome::{LocalResponse, Outcome};
pub use request::{
    Asked, Connection, PEER_ADDRESS_KEY, PEER_CERTIFICATE_KEY, Request, RequestError, SocketAddress,
    Unavailable,
};
pub use route::{NoBytes, Property, named_policy};

/// What the decisions of one plugin share.
#[derive(Debug)]
pub(crate) struct Decider {
    paths: Paths,
    input: Rc<InputConfig>,
    /// What `opa.runtime()` answers.
    runtime: Value,
    /// What policies get for chance.
    chance: fastrand::Rng,
    remembered: Remembered,
}

/// What became of a request, and how.
#[derive(Debug)]
pub(crate) struct Authorized {
    pub(crate) outcome: Outcome,
    /// Whether the policy had answered the same before.
    pub(crate) is_remembered: bool,
}

/// Decides one request.
///
/// Shape: `policy` is the name that the route chose, if it chose one. Units: `now` as in [`Plugin::handle`]. The outcome says all that the host must do.
/// Errors: none escape; every fault is an outcome of its own. None where the policy has to wait for the request's body.
pub(crate) fn authorize(
    plugin: &mut Plugin,
    policy: Option<&str>,
    head: &RequestHead,
    request: &dyn Request,
    now: Duration,
    shared: &dyn SharedData,
) -> Result<Authorized, AwaitsBody> {
    let outcome = match plugin.begin_request(policy, now, shared) {
        Ok((policy, task)) => {
            #[cfg(feature = "hooks")]
            crate::hooks::switched::end_at_request(head);
            let authorized = plugin.decider().decide(&policy, head, request);
            shared.end(&task);
            return authorized;
        }
        Err(Closed::Configuration) => Outcome::ConfigurationRefused,
        Err(Closed::NoPolicyNamed) => Outcome::NoPolicyNamed,
        Err(Closed::NotReady(why @ NotReady::Unknown { .. })) => Outcome::UnknownPolicy(why),
        Err(Closed::NotReady(why @ (NotReady::Quarantined { .. } | NotReady::Closed { .. }))) => {
            Outcome::Quarantined(why)
        }
        Err(Closed::NotReady(why)) => Outcome::NotReady(why),
    };
    Ok(Authorized::evaluated(outcome))
}

/// What a policy is asked about a request and its body: opa-envoy-plugin's `input`, whole.
///
/// Errors: [`RequestError`], for a request that cannot be put to a policy.
pub fn input(
    head: &RequestHead,
    body: Vec<u8>,
    connection: Connection,
    paths: Paths,
    config: &InputConfig,
) -> Result<Value, RequestError> {
    let fields = InputFields::all();
    reading(head, &Asked { fields: &fields, config }, Body::whole(body), paths, || connection)?.input()
}

/// A request as far as a policy reads it.
fn reading<'a>(
    head: &'a RequestHead,
    asked: &Asked<'a>,
    body: Body,
    paths: Paths,
    connection: impl FnOnce() -> Connection,
) -> Result<Reading<'a>, RequestError> {
    if paths == Paths::Strict && checks(Check::Path) && !paths::has_one_reading(head) {
        return Err(RequestError::AmbiguousPath);
    }
    Reading::new(head, asked, body, connection)
}

/// What becomes of a request by a policy's answer to it.
pub fn outcome(answer: Result<Option<Value>, EvaluationError>, head: &RequestHead, paths: Paths) -> Outcome {
    match answer {
        Ok(Some(value)) => decision::read(&value, head, paths),
        Ok(None) => Outcome::Undefined,
        Err(error) => Outcome::EvaluationFailed(error),
    }
}

/// Where Envoy does not say when the request began.
fn host_time() -> i64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since_epoch.ok().and_then(|time| i64::try_from(time.as_nanos()).ok()).unwrap_or_default()
}

/// What becomes of a request that another policy's decision has sent to a route of this one: it is not sent on, because
/// nobody would ask about where that leads.
pub(crate) fn not_sent_on(outcome: Outcome, sent_by: &str, head: &RequestHead) -> Outcome {
    match outcome {
        Outcome::Allow(permit) if checks(Check::SentOnce) && permit.changes(head) => {
            Outcome::MalformedDecision(DecisionError::SentOn { sent_by: sent_by.to_owned() })
        }
        outcome => outcome,
    }
}

// === impl Decider ===

impl Decider {
    /// `seed` is what chance is made of; `remembered_bytes` what is kept of decisions.
    pub(crate) fn new(paths: Paths, seed: u64, remembered_bytes: usize) -> Self {
        Self {
            paths,
            input: Rc::default(),
            runtime: policy::object([]),
            chance: fastrand::Rng::with_seed(seed),
            remembered: Remembered::new(remembered_bytes),
        }
    }

    /// The same with what `input` and `opa.runtime()` have by the configuration.
    pub(crate) fn with(self, input: InputConfig, labels: BTreeMap<String, String>) -> Self {
        let labels = policy::object([("labels", policy::string_map(labels))]);
        Self { input: Rc::new(input), runtime: policy::object([("config", labels)]), ..self }
    }

    /// What a policy answers to a request, asked or remembered; none where it has to wait for the body.
    pub(crate) fn decide(
        &mut self,
        policy: &Policy,
        head: &RequestHead,
        request: &dyn Request,
    ) -> Result<Authorized, AwaitsBody> {
        let config = Rc::clone(&self.input);
        let asked = Asked { fields: policy.fields(), config: &config };
        let body = Body::of(&asked, head, request.progress(), |most| request.body(most))?;
        let reading =
            body.and_then(|body| reading(head, &asked, body, self.paths, || request.connection(&asked)));
        Ok(match reading {
            Ok(reading) => self.answer(policy, head, &asked, reading),
            Err(error) => Authorized::evaluated(Outcome::BadRequest(error)),
        })
    }

    fn answer(
        &mut self,
        policy: &Policy,
        head: &RequestHead,
        asked: &Asked<'_>,
        mut reading: Reading<'_>,
    ) -> Authorized {
        let may_recur = asked.fields.may_recur() && !asked.tells_decision_id();
        let decision_id = asked.tells_decision_id().then(|| self.decision_id());
        if let Some(id) = &decision_id {
            reading.identify(id.clone());
        }
        let key = (!self.remembered.is_off() && may_recur).then(|| reading.key()).flatten();
        let known = key.as_ref().and_then(|key| self.remembered.get(policy.id(), key));
        if let Some(answer) = known {
            let outcome = outcome(Ok(answer.cloned()), head, self.paths);
            return Authorized { outcome: self.identified(outcome, None), is_remembered: true };
        }
        let answer = match reading.input() {
            Ok(input) => policy.evaluate(input, self.moment(&reading)),
            Err(error) => return Authorized::evaluated(Outcome::BadRequest(error)),
        };
        // An error may be one of time, and what has ended an evaluation once may not the next time.
        if let (Some(key), Ok(answer)) = (key, &answer) {
            self.remembered.put(policy.id(), key, answer.clone());
        }
        let outcome = outcome(answer, head, self.paths);
        Authorized::evaluated(self.identified(outcome, decision_id))
    }

    /// Puts the decision's id, which is made where there is none yet, to what it tells of itself.
    fn identified(&mut self, outcome: Outcome, decision_id: Option<String>) -> Outcome {
        match outcome {
            Outcome::Allow(mut permit) if permit.has_dynamic_metadata() => {
                permit.identify(&decision_id.unwrap_or_else(|| self.decision_id()));
                Outcome::Allow(permit)
            }
            outcome => outcome,
        }
    }

    /// A random UUID, as OPA has them.
    fn decision_id(&mut self) -> String {
        let id = (self.chance.u128(..) & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
        let text = format!("{id:032x}");
        let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
        [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
    }

    fn moment(&mut self, reading: &Reading<'_>) -> Moment {
        let now_ns = reading.time_ns().and_then(|time_ns| i64::try_from(time_ns).ok());
        Moment {
            now_ns: now_ns.unwrap_or_else(host_time),
            seed: [self.chance.u64(..), self.chance.u64(..)],
            runtime: self.runtime.clone(),
        }
    }
}

// === impl Authorized ===

impl Authorized {
    fn evaluated(outcome: Outcome) -> Self {
        Self { outcome, is_remembered: false }
    }
}

#[cfg(test)]
mod tests;
