//! One run of a scenario, step by step, in names that people know. It is what replay compares and what is drawn.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::log::Clock;
pub use crate::steps::{FaultClass, Step, TurnName, Verb};

/// One run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Trace {
    /// The scenario's name.
    pub scenario: String,
    /// The scenario's variant; empty when it has none.
    pub variant: String,
    /// SHA-256 of the module, in hex.
    pub module_sha256: String,
    /// Envoy's threads that have a VM, in the order in which they are drawn: `main`, `w0`, `w1` and so on.
    pub threads: Vec<String>,
    /// What happened, in order.
    pub steps: Vec<Step>,
    /// What did not hold.
    pub findings: Vec<Finding>,
    /// Where the run is from, when it is none of the harness.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excerpt: Option<Excerpt>,
}

/// What a run has that was read from a log of production. Its steps' times are since [`Excerpt::began`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Excerpt {
    /// How the log reports its times.
    pub clock: Clock,
    /// The log's time of the first step.
    pub began: Duration,
    /// For each of the trace's threads, what else there is to say about it.
    pub about: Vec<String>,
    /// Threads whose VM was gone, with the number of the step from which on it was.
    pub gone: Vec<(String, usize)>,
    /// Where a VM departed from the registry for too long: its thread, the bundle, the step from which on it did.
    pub departed: Vec<(String, String, usize)>,
    /// What is said when nothing was found.
    pub quiet: String,
    /// What there is to know about the first finding, one sentence each.
    pub sentences: Vec<String>,
    /// What each VM served when.
    pub served: Vec<ServedRow>,
    /// What the picture leaves out.
    pub notes: Vec<String>,
}

/// One generation of a bundle, as long as a VM served it, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServedRow {
    /// The VM, with its thread.
    pub vm: String,
    /// The bundle.
    pub bundle: String,
    /// The generation, or `none`.
    pub generation: String,
    /// From when.
    pub from: String,
    /// Until when.
    pub until: String,
    /// For how long.
    pub lasted: String,
    /// What was wrong with it; empty when nothing was.
    pub wrong: String,
    /// Whether that was found, and not only the moment that it takes to adopt.
    pub found: bool,
}

/// Something that did not hold in a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Which oracle says so: `trap`, `crossing`, `convergence`, `always`, `eventually`, `at-most` and so on.
    pub oracle: String,
    /// How far from plain interleaving the run had to go.
    pub class: FaultClass,
    /// One sentence for people.
    pub message: String,
    /// The step at which it showed; the last one for what showed only in the end.
    pub step: usize,
    /// The two turns that raced, the one that was held back first, where they are known.
    pub raced: Option<(TurnName, TurnName)>,
    /// The step after which every way to go on fails, where it is known.
    pub inevitable_after: Option<usize>,
}
