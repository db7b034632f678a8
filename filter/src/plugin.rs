//! The plugin context: one configuration, or the refusal of one, with the manager that serves it.

use std::{
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    rc::Rc,
    time::Duration,
};

use log::Level;

use crate::{
    authz::{
        self, Asked, Authorized, AwaitsBody, BodyLimits, Connection, Decider, HealthQuery, LocalResponse,
        Mark, Outcome, Permit, Progress, Request, RequestHead, SEAL_VALUE,
    },
    config::{Config, ConfigError, Paths},
    hooks::{Check, checks},
    manager::{self, Effect, Event, Manager, NotReady, SharedCache, SharedData, Task},
    policy::{self, EvaluationLimits, Policy},
    telemetry::{Counter, LogLimiter, REQUEST_LINES_PER_SECOND},
};

/// What one plugin configuration became.
#[derive(Debug)]
pub struct Plugin {
    state: State,
    limiter: LogLimiter,
    /// The same for every context with the same configuration: a word.
    id: String,
    decider: Decider,
    bodies: Bodies,
}

/// What the requests of this VM hold of their bodies while they wait.
#[derive(Debug, Default)]
struct Bodies {
    limits: BodyLimits,
    in_flight: usize,
}

#[derive(Debug)]
enum State {
    Serving {
        manager: Box<Manager>,
        default_policy: Option<String>,
        health: Option<HealthPath>,
    },
    /// Nothing is let through, and nothing is fetched, until a new configuration comes.
    Refused,
}

/// The path that is answered with the state of the manager.
#[derive(Debug)]
struct HealthPath {
    path: String,
    tells_detail: bool,
}

/// Why no policy decides a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closed {
    /// The configuration was refused.
    Configuration,
    /// The route names none and there is no default.
    NoPolicyNamed,
    /// The policy named cannot decide.
    NotReady(NotReady),
}

/// What lets a request on, from one place of the filter.
///
/// INVARIANT (closed): made in [`Plugin::admit`] alone, from a permit or from the mark of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    permit: Option<Permit>,
    state: String,
}

/// Whether a request goes on from one place of the filter, or the response in its place.
#[derive(Debug)]
pub struct Admitted {
    /// What must be done with the request.
    pub verdict: Verdict,
    /// Log lines and counters.
    pub effects: Vec<Effect>,
}

/// What must be done with a request.
#[derive(Debug)]
pub enum Verdict {
    /// It goes on.
    Pass(Pass),
    /// It ends with this response.
    Respond(LocalResponse),
    /// It is held until more of its body has come; then it is asked about again.
    AwaitBody,
}

/// A request's outcome, with log lines and counters.
struct Decided {
    outcome: Outcome,
    effects: Vec<Effect>,
}

// === impl Plugin ===

impl Plugin {
    /// Takes a configuration. Never fails: a configuration that is refused becomes a gate that stays down, because
    /// Envoy lets requests past a filter that could not be configured. [`Plugin::may_be_refused`] says where it does not.
    ///
    /// Shape: `document` is the plugin configuration as Envoy delivers it; `seed` names this VM and spreads
    /// polls and retries; `cache` is the one of the VM, for all its plugins.
    pub fn configure(document: &[u8], seed: u64, cache: SharedCache) -> (Self, Vec<Effect>) {
        let mut decider = Decider::new(Paths::default(), seed, 0);
        let mut bodies = Bodies::default();
        let (state, message) = match Config::parse(document) {
            Ok(config) => {
                let manager = Box::new(Manager::new(&config, seed, cache));
                let message = format!("{} bundles, {} policies", config.bundles.len(), config.policies.len());
                let Config {
                    default_policy, health_path, health_detail, paths, limits, input, labels, ..
                } = config;
                bodies = Bodies { limits: input.body.unwrap_or_default(), in_flight: 0 };
                decider = Decider::new(paths, seed, limits.remembered_bytes).with(input, labels);
                let health = health_path.map(|path| HealthPath { path, tells_detail: health_detail });
                (State::Serving { manager, default_policy, health }, (Level::Info, message))
            }
            Err(error) => (State::Refused, (Level::Error, refusal(&error))),
        };
        let id = format!("{:016x}", BuildHasherDefault::<DefaultHasher>::default().hash_one(document));
        let limiter = LogLimiter::new(REQUEST_LINES_PER_SECOND);
        let plugin = Self { state, limiter, id, decider, bodies };
        (plugin, vec![Effect::Log(message.0, format!("configuration: {}", message.1))])
    }

    /// Whether Envoy may hear that this configuration is refused, so that it keeps the one before. Says so in the
    /// log. Units: as [`Manager::handle`].
    pub fn may_be_refused(
        &self,
        document: &[u8],
        cache: &SharedCache,
        now: Duration,
        shared: &dyn SharedData,
    ) -> Option<Effect> {
        let is_refused =
            matches!(self.state, State::Refused) && manager::may_refuse(document, cache, now, shared);
        let message = "configuration: Envoy keeps the one before, which goes on deciding";
        is_refused.then(|| Effect::Log(Level::Warn, message.to_owned()))
    }

    /// Feeds one event in and returns what the host must do, in order. Units: as [`Manager::handle`].
    pub fn handle(&mut self, event: Event, now: Duration, shared: &dyn SharedData) -> Vec<Effect> {
        match &mut self.state {
            State::Serving { manager, .. } => manager.handle(event, now, shared),
            State::Refused => Vec::new(),
        }
    }

    /// Whether [`Event::Work`] would find something to do.
    pub fn has_work(&self) -> bool {
        self.slice().is_some()
    }

    /// How long one callback may last, with the [`Event::Work`] that is repeated in it; none if there is nothing to do.
    pub fn slice(&self) -> Option<Duration> {
        match &self.state {
            State::Serving { manager, .. } if manager.has_work() => Some(manager.slice()),
            _ => None,
        }
    }

    /// Whether a body of so many bytes may be taken over from the host as the answer to a download.
    pub fn has_room(&self, bytes: u64) -> bool {
        matches!(&self.state, State::Serving { manager, .. } if manager.has_room(bytes))
    }

    /// Whether every policy can decide now.
    pub fn is_ready(&self, now: Duration) -> bool {
        matches!(&self.state, State::Serving { manager, .. } if manager.is_ready(now))
    }

    /// How long the host should wait until the next [`Event::Tick`]; none if there is nothing to wait for.
    pub fn tick_period(&self) -> Option<Duration> {
        match &self.state {
            State::Serving { manager, .. } => Some(manager.tick_period()),
            State::Refused => None,
        }
    }

    /// The policy for a request whose route names `named`, or nothing.
    pub fn policy(&self, named: Option<&str>, now: Duration) -> Result<&Rc<Policy>, Closed> {
        let State::Serving { manager, default_policy, .. } = &self.state else {
            return Err(Closed::Configuration);
        };
        let name = named.or(default_policy.as_deref()).ok_or(Closed::NoPolicyNamed)?;
        manager.policy(name, now).map_err(Closed::NotReady)
    }

    /// The same, with the task that the decision is: what ends a VM is known afterwards. Give it to
    /// [`SharedData::end`] when the decision is made.
    pub(crate) fn begin_request(
        &mut self,
        named: Option<&str>,
        now: Duration,
        shared: &dyn SharedData,
    ) -> Result<(Rc<Policy>, Task), Closed> {
        let State::Serving { manager, default_policy, .. } = &mut self.state else {
            return Err(Closed::Configuration);
        };
        let name = named.or(default_policy.as_deref()).ok_or(Closed::NoPolicyNamed)?;
        manager.begin_request(name, now, shared).map_err(Closed::NotReady)
    }

    pub(crate) fn decider(&mut self) -> &mut Decider {
        &mut self.decider
    }

    /// The policy for a request whose route names `named`, or nothing; none if there is none.
    fn policy_name<'a>(&'a self, named: Option<&'a str>) -> Option<&'a str> {
        match &self.state {
            State::Serving { default_policy, .. } => named.or(default_policy.as_deref()),
            State::Refused => named,
        }
    }

    /// Whether a request that `policy` has permitted may go to a route that names `named`, or nothing, without being decided
    /// again.
    fn is_still_permitted(&self, policy: &str, named: Option<&str>) -> bool {
        !checks(Check::Route) || self.policy_name(named) == Some(policy)
    }

    /// Whether a request may go on from here. The first time that it comes, its route's policy decides. The second time it
    /// has been permitted: then it goes on if its route is still one of that policy, and is decided again if not.
    ///
    /// Shape: `state` is the filter state of [`SEAL_KEY`](authz::SEAL_KEY). Units: `now` as in [`Plugin::handle`].
    pub fn admit(
        &mut self,
        state: Option<&[u8]>,
        named: Option<&str>,
        request: &dyn Request,
        now: Duration,
        shared: &dyn SharedData,
    ) -> Admitted {
        let before = state.and_then(Mark::read);
        if before.is_some_and(|mark| mark.plugin == self.id && self.is_still_permitted(mark.policy, named)) {
            return Admitted { verdict: Verdict::Pass(Pass::sealed(None)), effects: Vec::new() };
        }
        // Decided without its headers, a request could be allowed for what it does not carry.
        let Some(head) = request.head() else {
            return Admitted::respond(LocalResponse::host_failed());
        };
        let decided = match before {
            None => self.decide(named, &head, request, now, shared),
            // Another configuration has marked it while Envoy replaces that in one place of the chain, and not yet in the
            // other.
            Some(mark) => {
                let authorized = authz::authorize(self, named, &head, request, now, shared);
                authorized.map(|Authorized { outcome, is_remembered }| {
                    let outcome = authz::not_sent_on(outcome, mark.policy, &head);
                    self.reported(named, Authorized { outcome, is_remembered }, now)
                })
            }
        };
        let Decided { outcome, effects } = match decided {
            Ok(decided) => decided,
            Err(AwaitsBody) => return Admitted { verdict: Verdict::AwaitBody, effects: Vec::new() },
        };
        let verdict = match (outcome.into_permit(), before) {
            (Err(response), _) => Verdict::Respond(response),
            (Ok(permit), Some(_)) => Verdict::Pass(Pass::sealed(Some(permit))),
            (Ok(permit), None) => {
                let policy = self.policy_name(named).unwrap_or_default();
                Verdict::Pass(Pass { permit: Some(permit), state: Mark { plugin: &self.id, policy }.text() })
            }
        };
        Admitted { verdict, effects }
    }

    /// How far a body has come of which so many bytes are there, and `held` were before. Every byte that is held is given up
    /// with [`Plugin::release_body`].
    pub fn hold_body(&mut self, held: &mut usize, bytes: usize, is_end: bool) -> Progress {
        if bytes > self.bodies.limits.max_bytes {
            return Progress::TooLong;
        }
        if !self.bodies.grow(held, bytes) {
            return Progress::NoRoom;
        }
        if is_end { Progress::Ended } else { Progress::Awaited }
    }

    /// Gives up what a request holds of its body.
    pub fn release_body(&mut self, held: &mut usize) {
        self.bodies.in_flight = self.bodies.in_flight.saturating_sub(std::mem::take(held));
    }

    /// Decides one request, and says what to count and log of it.
    fn decide(
        &mut self,
        named: Option<&str>,
        head: &RequestHead,
        request: &dyn Request,
        now: Duration,
        shared: &dyn SharedData,
    ) -> Result<Decided, AwaitsBody> {
        if let Some(answer) = self.health(head, now, shared) {
            return Ok(Decided { outcome: Outcome::Health(answer), effects: Vec::new() });
        }
        let authorized = authz::authorize(self, named, head, request, now, shared)?;
        Ok(self.reported(named, authorized, now))
    }

    fn reported(&mut self, named: Option<&str>, authorized: Authorized, now: Duration) -> Decided {
        let Authorized { outcome, is_remembered } = authorized;
        let policy = match outcome {
            Outcome::UnknownPolicy(_) | Outcome::NoPolicyNamed | Outcome::ConfigurationRefused => None,
            _ => self.policy_name(named),
        };
        let policy = policy.unwrap_or("unknown");
        let counter = Counter::Request { policy: policy.to_owned(), reason: outcome.reason() };
        let mut effects = vec![Effect::Count(counter)];
        if is_remembered {
            effects.push(Effect::Count(Counter::Remembered { policy: policy.to_owned() }));
        }
        if let Some(trouble) = outcome.trouble() {
            effects.push(if self.limiter.admit(now) {
                Effect::Log(Level::Warn, format!("request answered `{}`: {trouble}", outcome.reason()))
            } else {
                Effect::Count(Counter::LogSuppressed)
            });
        }
        Decided { outcome, effects }
    }

    /// The answer to a request for the state of everything, if it is one.
    fn health(&self, head: &RequestHead, now: Duration, shared: &dyn SharedData) -> Option<LocalResponse> {
        let State::Serving { manager, health: Some(HealthPath { path, tells_detail }), .. } = &self.state
        else {
            return None;
        };
        let query = HealthQuery::read(path, *tells_detail, head)?;
        Some(query.answer(&manager.health(now, shared)))
    }
}

// === impl Bodies ===

impl Bodies {
    /// Whether a request that holds so many bytes may hold so many.
    fn grow(&mut self, held: &mut usize, bytes: usize) -> bool {
        let in_flight = self.in_flight.saturating_sub(*held).saturating_add(bytes);
        let has_room = in_flight <= self.limits.in_flight_bytes;
        if has_room {
            self.in_flight = in_flight;
            *held = bytes;
        }
        has_room
    }
}

// === impl Admitted ===

impl Admitted {
    fn respond(response: LocalResponse) -> Self {
        Self { verdict: Verdict::Respond(response), effects: Vec::new() }
    }
}

// === impl Pass ===

impl Pass {
    /// The filter state that the request carries from here: the mark of a policy, or what the seal asks for.
    pub fn state(&self) -> &str {
        &self.state
    }

    /// What the decision that was made here wants changed; none where no decision was needed.
    pub fn permit(&self) -> Option<&Permit> {
        self.permit.as_ref()
    }

    /// The same, to keep for the response.
    pub fn into_permit(self) -> Option<Permit> {
        self.permit
    }

    fn sealed(permit: Option<Permit>) -> Self {
        Self { permit, state: SEAL_VALUE.to_owned() }
    }
}

/// The sentence that `portcullis check` prints and that the filter logs.
pub fn refusal(error: &ConfigError) -> String {
    format!("refused, every request is answered 503: {error}")
}

/// Evaluates something once, so that the code which every request needs has run before the first one comes.
///
/// V8 in Envoy compiles each function on its first call, and optimises it then: the first evaluation in a process
/// costs hundreds of milliseconds.
pub fn warm_up() {
    let text = r#"package warm
import rego.v1
default allow := false
allow if {
	some rule in [{"path": "/a/*", "method": "GET"}]
	glob.match(rule.path, ["/"], input.attributes.request.http.path)
	regex.match(`^[a-z]+$`, lower(input.attributes.request.http.method))
	count(input.parsed_path) > 0
	startswith(sprintf("%s", [input.parsed_path[0]]), "a")
}
"#;
    let Ok(module) = policy::Module::parse("warm.rego".to_owned(), text.to_owned(), policy::RegoVersion::V1)
    else {
        return;
    };
    let part =
        policy::Part { bundle: "warm", roots: &[Vec::new()], modules: &[module], data: &policy::object([]) };
    let limits = EvaluationLimits { time: Duration::from_secs(1), ..EvaluationLimits::default() };
    let Ok(compiled) = Policy::compile("warm/allow", &[part], limits) else {
        return;
    };
    let mut decider = Decider::new(Paths::default(), 0, 1 << 10);
    for _ in 0..2 {
        let request = WarmUp;
        if let Some(head) = request.head() {
            let _ =
                decider.decide(&compiled, &head, &request).map(|authorized| authorized.outcome.into_permit());
        }
    }
}

/// The request with which code is run once.
struct WarmUp;

impl Request for WarmUp {
    fn head(&self) -> Option<RequestHead> {
        Some([(":path", "/a/b?c=d"), (":method", "GET"), (":authority", "a")].into_iter().collect())
    }

    fn connection(&self, _: &Asked<'_>) -> Connection {
        Connection::default()
    }
}
