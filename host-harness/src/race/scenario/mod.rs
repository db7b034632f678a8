//! What is run: VMs, what each cluster answers and when, requests, the faults allowed, and what must hold.
//!
//! A scenario is read from a file, whose format is in `SCENARIOS.md`. Here are the resolved types; `document` has the
//! shape of the file; `resolve`, with `bounds`, `events`, `replies`, `rules` and `parts`,
//! makes the one of the other.

mod bounds;
mod document;
mod error;
mod events;
mod parts;
mod read;
mod replies;
mod requests;
mod resolve;
mod rules;

use std::{collections::BTreeMap, fmt, fs, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;

use self::error::Problem;
pub use self::error::ScenarioError;
use serde::{Deserialize, Serialize};

use crate::{
    envoy::{FailurePolicy, Request},
    world::{GrpcAnswer, Reply, Route, Scripted},
};

/// What is run when nobody says what: requests on two workers, and agreement of all workers.
const DEFAULT: &str = include_str!("default.yaml");

/// A scenario, ready to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// A short name in kebab case.
    pub name: String,
    /// What it is about, in one or two sentences.
    pub about: String,
    /// The module: `portcullis:filter`, `portcullis:guests`, or a path. A path is the file's own until
    /// [`Scenario::load`] has made it one from here.
    pub module: String,
    /// Which variant of the file this is; empty when it has none.
    pub variant: String,
    /// Whether this variant is meant to hold; `None` when the file does not say.
    pub expect: Option<Expectation>,
    /// Count of workers.
    pub workers: usize,
    /// `vm_id` of the plugins.
    pub vm_id: String,
    /// What guests see as chance comes from this.
    pub seed: u64,
    /// What happens to requests on a worker whose VM has failed.
    pub failure_policy: FailurePolicy,
    /// Whether a filter that pauses at the headers gets the body all the same, as Envoy's plugin configuration says.
    pub allow_on_headers_stop_iteration: bool,
    /// The plugins, in the order of the filter chain.
    pub plugins: Vec<Plugin>,
    /// Clusters by name, beside `upstream`, which answers an empty 200 unless it is here. `*` is every other one.
    pub clusters: BTreeMap<String, Cluster>,
    /// What happens outside, by time.
    pub events: Vec<Event>,
    /// Faults that a schedule may add.
    pub faults: Faults,
    /// How far it is explored.
    pub bounds: Bounds,
    /// What must hold.
    pub rules: Vec<Rule>,
    /// Whether callbacks that overlap must leave in shared data what some order of whole ones leaves.
    pub serializable: bool,
    /// Names of the oracles that are asked in every scenario and not in this one.
    pub tolerate: Vec<&'static str>,
    /// The text that it was read from, where it is none that is built in.
    pub source: Option<Arc<str>>,
}

/// What is known of a module that has no scenario.
#[derive(Debug, Clone, Copy, Default)]
pub struct Additions<'a> {
    /// Requests that are sent as well, with the name that stands for them in errors: lines `METHOD PATH` with headers
    /// indented below, or an access log.
    pub requests: Option<(&'a str, &'a str)>,
    /// The plugin configuration.
    pub configuration: Option<&'a str>,
}

/// What a variant is there to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expectation {
    /// Some schedule breaks it.
    Broken,
    /// No schedule breaks it.
    Clean,
}

/// A plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plugin {
    /// `name`, and `root_id`.
    pub name: String,
    /// `configuration`
    pub configuration: Vec<u8>,
    /// Whether it is a singleton service of the main thread and not a filter.
    pub singleton: bool,
}

/// A cluster's answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cluster {
    /// Answers to the first calls, in order; the last one repeats. Empty answers 200 without a body.
    pub answers: Vec<Reply>,
    /// Answers to calls that carry a text in a header, in their path or in their body, which win over all others.
    pub carrying: BTreeMap<String, Vec<Reply>>,
    /// Answers for single paths (with the query), which win over the ones above.
    pub paths: BTreeMap<Route, Vec<Reply>>,
    /// Answers of gRPC methods, as `package.Service/Method`; `*` is every other one.
    pub grpc: BTreeMap<String, Vec<GrpcAnswer>>,
}

/// Something that happens outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When, at the earliest.
    pub due: Due,
    /// What.
    pub kind: EventKind,
}

/// When something happens, at the earliest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// At this time.
    At(Duration),
    /// So long after a request has begun, or has ended: its client has the answer, is cut off, or has left.
    After {
        /// The request's name.
        request: String,
        /// Its beginning and not its end.
        begun: bool,
        /// How long after.
        delay: Duration,
    },
}

/// What happens outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// A client sends a request.
    Request {
        /// Its name, unique in the scenario.
        name: String,
        /// The worker that takes it.
        worker: usize,
        /// The request.
        request: Box<Request>,
        /// After what time its client leaves without an answer.
        leaves_after: Option<Duration>,
    },
    /// A cluster answers differently from now on; a path alone, or the whole cluster.
    Answers {
        /// The cluster.
        cluster: String,
        /// The path with its query; `None` is every path.
        path: Option<String>,
        /// The method; `None` is every method.
        method: Option<String>,
        /// From now on; as in [`Cluster::answers`].
        answers: Vec<Reply>,
    },
    /// A gRPC method of a cluster answers differently from now on.
    GrpcAnswers {
        /// The cluster.
        cluster: String,
        /// The method, as in [`Cluster::grpc`].
        method: String,
        /// From now on; as in [`Cluster::grpc`].
        answers: Vec<GrpcAnswer>,
    },
    /// The control plane gives a plugin another configuration.
    Configure {
        /// The plugin's name.
        plugin: String,
        /// Its new configuration.
        configuration: Vec<u8>,
    },
    /// The control plane takes a plugin away.
    Remove {
        /// The plugin's name.
        plugin: String,
    },
    /// The VM of a thread fails: in its next callback, or in the middle of the one that is held.
    Trap {
        /// Whose VM.
        thread: Thread,
    },
    /// A thread takes no turns for a while, in the middle of one if that is held.
    Stall {
        /// Which.
        thread: Thread,
        /// For how long.
        span: Duration,
    },
}

/// A thread of Envoy's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thread {
    /// The main thread.
    Main,
    /// A worker, counted from 0.
    Worker(usize),
}

/// How many of each fault a schedule may add to the calls of filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    /// The answer is cut off after its headers, which a filter sees as zero headers.
    pub resets: u32,
    /// The call is refused where it is made.
    pub refusals: u32,
    /// No answer comes in time: a synthesized 504.
    pub timeouts: u32,
    /// No connection is made: a synthesized 503.
    pub connect_failures: u32,
    /// An answer is delivered twice, which no host may do.
    pub duplicates: u32,
}

/// How far a scenario is explored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Until when schedules differ; after it everything runs in order of time until it is quiet.
    pub until: Duration,
    /// How long the quiet end lasts before what must hold in the end is asked.
    pub settle: Duration,
    /// How much later than something else that is due an event may happen.
    pub slack: Duration,
    /// Most steps of one run; a run that takes more is a livelock.
    pub steps: usize,
    /// How much later it is for a VM each time that it asks for the time, so that work in slices of time comes to their
    /// ends. Elsewhere a callback takes none.
    pub clock_step: Duration,
}

/// What must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// In every step of every run: an answer to one of these requests is never like this.
    Never {
        /// Only after this request (by name) was answered like this.
        when: Option<(String, Answer)>,
        /// Names of requests; empty is every request.
        requests: Vec<String>,
        /// What the answer must not be.
        answer: Answer,
    },
    /// Every answer to one of these requests is like one of these.
    Always {
        /// Only after this request (by name) was answered like this.
        when: Option<(String, Answer)>,
        /// Names of requests; empty is every request.
        requests: Vec<String>,
        /// What the answer must be, one of them.
        answers: Vec<Answer>,
    },
    /// Once it is quiet, this request is answered so.
    Eventually {
        /// Only if the answer to this request (by name) was like this.
        when: Option<(String, Answer)>,
        /// Workers that are asked; empty is every worker.
        workers: Vec<usize>,
        /// What is asked.
        request: Box<Request>,
        /// What the answer must be.
        answer: Answer,
    },
    /// Once it is quiet, every worker answers this request the same, and sends the same upstream.
    Agreement {
        /// What is asked.
        request: Box<Request>,
        /// Whether headers count.
        headers: bool,
    },
    /// A cluster is called at most so often in the whole run.
    AtMost {
        /// The cluster.
        cluster: String,
        /// The path with its query; `None` is every path.
        path: Option<String>,
        /// The method; `None` is every method.
        method: Option<String>,
        /// How often.
        calls: usize,
    },
    /// Filters make at most so many calls in the whole run, to all clusters together.
    AtMostCalls {
        /// How many.
        calls: usize,
    },
    /// At most so many ticks come in the whole run.
    AtMostTicks {
        /// The thread; `None` is all of them together.
        thread: Option<Thread>,
        /// How many.
        ticks: usize,
    },
    /// At most so many items are put into queues in the whole run.
    AtMostItems {
        /// The queue; `None` is all of them together.
        queue: Option<String>,
        /// How many.
        items: usize,
    },
    /// The answers to these requests are the same in these parts.
    Same {
        /// What the requests have in common, where that is a label.
        label: Option<String>,
        /// Names of requests.
        requests: Vec<String>,
        /// Whether the status is a part.
        status: bool,
        /// Whether the body is a part.
        body: bool,
        /// Headers that are parts, all values of each.
        headers: Vec<String>,
    },
    /// VMs fail at most so often in the whole run, beside those that the scenario itself makes fail.
    AtMostTraps {
        /// How often.
        traps: usize,
    },
}

/// What an answer is like; what is `None` or empty is not looked at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// HTTP status.
    pub status: Option<u16>,
    /// The whole body.
    pub body: Option<Bytes>,
    /// A part of the body.
    pub contains: Option<Bytes>,
    /// Headers that must be there, with their values.
    pub headers: BTreeMap<String, String>,
    /// What must be as in the answers to other requests.
    pub like: Vec<Like>,
}

/// A part of an answer that is taken from the answer to another request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Like {
    /// Which part.
    pub place: Place,
    /// The name of the other request.
    pub request: String,
    /// The header of its answer; `None` is the body.
    pub header: Option<String>,
}

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The whole body.
    Body,
    /// A part of the body.
    Contains,
    /// The header of this name.
    Header(String),
}

// === impl Scenario ===

impl Scenario {
    /// Reads a file: one scenario for each of its variants, one when it has none. A module's path, which is relative
    /// to the file, becomes one from here.
    ///
    /// Errors: the first thing that is wrong, with its place in the file and the cure.
    pub fn load(path: impl AsRef<Path>) -> Result<Vec<Scenario>, ScenarioError> {
        let path = path.as_ref();
        let file = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|error| {
            Problem::new(
                "",
                format!("it cannot be read: {error}"),
                "check the path, and that it is UTF-8 text",
            )
            .of(&file)
        })?;
        let mut scenarios = Scenario::parse_kept(&text, &file)?;
        for scenario in &mut scenarios {
            scenario.module = module_from(path, &scenario.module);
        }
        Ok(scenarios)
    }

    /// The same for a text that is at hand, which goes into every schedule that is found.
    ///
    /// Errors: as [`Scenario::load`].
    pub fn parse_kept(text: &str, name: &str) -> Result<Vec<Scenario>, ScenarioError> {
        let mut scenarios = Scenario::parse(text, name)?;
        let source: Arc<str> = text.into();
        for scenario in &mut scenarios {
            scenario.source = Some(Arc::clone(&source));
        }
        Ok(scenarios)
    }

    /// The same for a text that is at hand; `name` stands for the file in errors.
    ///
    /// Errors: as [`Scenario::load`].
    pub fn parse(text: &str, name: &str) -> Result<Vec<Scenario>, ScenarioError> {
        let read = || {
            let document: document::Document = read::part("", read::tree(text)?)?;
            resolve::scenarios(&document)
        };
        read().map_err(|problem: Problem| problem.of(name))
    }

    /// The scenario of a module for which none was written.
    #[must_use]
    pub fn default_for(module: &str) -> Scenario {
        let scenario = Scenario::default_with(module, &Additions::default());
        scenario.expect("the file is a part of this program, and a test reads it")
    }

    /// The same with what is known of the module.
    ///
    /// Errors: a line of the requests in which there is none, or one that no client can send.
    pub fn default_with(module: &str, additions: &Additions<'_>) -> Result<Scenario, ScenarioError> {
        let mut text = DEFAULT.to_owned();
        let mut name = "default.yaml";
        if let Some((requests, file)) = additions.requests {
            let events = requests::events(requests).map_err(|problem| problem.of(file))?;
            text = text.replace("\nfaults:", &format!("\n{events}faults:"));
            name = file;
        }
        // Into the text and not into what was read of it: a schedule that is found carries the text.
        if let Some(configuration) = additions.configuration {
            text += &format!("configuration: {}\n", serde_json::Value::from(configuration));
        }
        if !resolve::is_ours(module) {
            text += "allow_on_headers_stop_iteration: false\n";
        }
        let mut scenario = Scenario::parse_kept(&text, name)?.swap_remove(0);
        scenario.module = module.to_owned();
        Ok(scenario)
    }

    /// The world in which it begins.
    #[must_use]
    pub fn world(&self) -> Scripted {
        let mut world = Scripted::new();
        for (name, cluster) in &self.clusters {
            world.set_answers(name, cluster.answers.clone());
            for (text, answers) in &cluster.carrying {
                world.set_answers_to_carrying(name, text, answers.clone());
            }
            for (route, answers) in &cluster.paths {
                world.set_route_answers(name, route.clone(), answers.clone());
            }
            for (method, answers) in &cluster.grpc {
                world.set_grpc_answers(name, method, answers.clone());
            }
        }
        world
    }
}

pub(super) use resolve::is_built_in;

/// A path in a file is relative to the file.
fn module_from(file: &Path, module: &str) -> String {
    if resolve::is_built_in(module) {
        return module.to_owned();
    }
    file.parent().unwrap_or(Path::new("")).join(module).display().to_string()
}

impl fmt::Display for Thread {
    /// `main`, `w0`
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Thread::Main => formatter.write_str("main"),
            Thread::Worker(worker) => write!(formatter, "w{worker}"),
        }
    }
}

// === impl EventKind ===

impl EventKind {
    /// Changes a scripted world's answers; whether this was an event of that kind.
    pub fn change_answers(&self, world: &mut Scripted) -> bool {
        match self {
            EventKind::Answers { cluster, path: None, answers, .. } => {
                world.replace_answers(cluster, answers.clone());
            }
            EventKind::Answers { cluster, path: Some(path), method: None, answers } => {
                world.set_path_answers(cluster, path, answers.clone());
            }
            EventKind::Answers { cluster, path: Some(path), method, answers } => {
                let route = Route { path: path.clone(), method: method.clone() };
                world.set_route_answers(cluster, route, answers.clone());
            }
            EventKind::GrpcAnswers { cluster, method, answers } => {
                world.set_grpc_answers(cluster, method, answers.clone());
            }
            _ => return false,
        }
        true
    }
}

// === impl Bounds ===

impl Default for Bounds {
    fn default() -> Self {
        Bounds {
            until: Duration::from_secs(2),
            settle: Duration::from_secs(5),
            slack: Duration::from_millis(100),
            steps: 2000,
            clock_step: Duration::ZERO,
        }
    }
}
