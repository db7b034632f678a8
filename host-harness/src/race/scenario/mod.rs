//! What is run: VMs, what each cluster answers and when, requests, the faults allowed, and what must hold.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;

use crate::{
    envoy::{FailurePolicy, Request},
    world::Reply,
};

/// A scenario, ready to run.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// A short name in kebab case.
    pub name: String,
    /// What it is about, in one or two sentences.
    pub about: String,
    /// The module, as the file names it: a path, or `portcullis:filter`, or `portcullis:guests`.
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
    /// The plugins, in the order of the filter chain.
    pub plugins: Vec<Plugin>,
    /// Clusters by name, beside `upstream`, which answers an empty 200 unless it is here.
    pub clusters: BTreeMap<String, Cluster>,
    /// What happens outside, by time.
    pub events: Vec<Event>,
    /// Faults that a schedule may add.
    pub faults: Faults,
    /// How far it is explored.
    pub bounds: Bounds,
    /// What must hold.
    pub rules: Vec<Rule>,
}

/// What a variant is there to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
#[derive(Debug, Clone, Default)]
pub struct Cluster {
    /// Answers to the first calls, in order; the last one repeats. Empty answers 200 without a body.
    pub answers: Vec<Reply>,
    /// Answers for single paths (with the query), which win over the ones above.
    pub paths: BTreeMap<String, Vec<Reply>>,
}

/// Something that happens outside.
#[derive(Debug, Clone)]
pub struct Event {
    /// When, at the earliest.
    pub at: Duration,
    /// What.
    pub kind: EventKind,
}

/// What happens outside.
#[derive(Debug, Clone)]
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
        /// From now on; as in [`Cluster::answers`].
        answers: Vec<Reply>,
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
}

/// What must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// In every step of every run: an answer to one of these requests is never like this.
    Never {
        /// Names of requests; empty is every request.
        requests: Vec<String>,
        /// What the answer must not be.
        answer: Answer,
    },
    /// Every answer to one of these requests is like one of these.
    Always {
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
    /// Once it is quiet, every worker answers this request the same.
    Agreement {
        /// What is asked.
        request: Box<Request>,
    },
    /// A cluster is called at most so often in the whole run.
    AtMost {
        /// The cluster.
        cluster: String,
        /// The path with its query; `None` is every path.
        path: Option<String>,
        /// How often.
        calls: usize,
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
}
