//! A run of production, read from Envoy's log: the filter logs every transition once, as one structured line.
//!
//! ```text
//! [2026-11-21 10:51:00.123][4711][info][wasm] [source/extensions/common/wasm/context.cc:1195] wasm log portcullis
//! portcullis: transition scope=vm vm=9f3c01aa on=tick#12 bundle=shop from=none to=serving generation=3
//! ```
//!
//! | part | what it is |
//! |---|---|
//! | `lines`, `entry`, `head`, `logfmt` | a line of a log: its bounds, its text, what stands before that, and its fields |
//! | `transition` | one line as a [`Transition`] |
//! | `read`, `whole` | a log: which processes and VMs there are, and the order of what they say |
//! | `checker` | what each VM served when, and where that departed from the registry |
//! | `picture`, `schedule` | the same as a [`Trace`](super::trace::Trace) and as a `race/1` file |

mod checker;
mod entry;
mod head;
mod lines;
mod logfmt;
mod picture;
mod read;
mod schedule;
mod transition;
mod whole;

use std::{sync::Arc, time::Duration};

pub use checker::{Checked, Departure, Kind, Served};
pub use head::{Clock, Moment};
pub use picture::Cut;
pub use transition::{On, Transition, What};

/// A log as it was read.
#[derive(Debug, Clone)]
pub struct Log {
    /// What it is called: its file's name.
    pub name: String,
    /// How its times are reported.
    pub clock: Clock,
    /// What happened, in order.
    pub transitions: Vec<Transition>,
    /// Who logged, by process, thread and first appearance, the main thread first where it is known.
    pub vms: Vec<Vm>,
    /// What is registered.
    pub bundles: Vec<Registered>,
    /// When the log ends.
    pub end: Moment,
    /// What could not be read, and what to know about the rest.
    pub warnings: Vec<Warning>,
}

/// A VM that has logged something: one plugin context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vm {
    /// The random name of its plugin context.
    pub name: Arc<str>,
    /// Its thread, as the operating system counts it; nothing where the log's format leaves it out.
    pub thread: Option<u64>,
    /// Whether that is Envoy's main thread; `false` also where the log does not say.
    pub main: bool,
    /// Which Envoy it is a part of, from 0.
    pub process: usize,
    /// Its plugin: the root id and the vm_id.
    pub plugin: Arc<str>,
    /// Whether the log has its beginning.
    pub whole: bool,
    /// The transition with which it was gone: it left, it failed, or another one of its plugin took its thread.
    pub ends: Option<usize>,
}

/// A bundle in one registry. VMs of one process with one vm_id share a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// The bundle's name.
    pub name: Arc<str>,
    /// Its name in pictures: with the registry, where there are several.
    pub label: String,
    /// Which Envoy.
    pub process: usize,
    /// Which vm_id.
    pub vm_id: Arc<str>,
}

/// Something about a line that a reader should know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {what}")]
pub struct Warning {
    /// The log.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    /// What it is.
    pub what: String,
}

/// Why there is no run in a log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file cannot be read.
    #[error("{file}: {error}")]
    Io {
        /// The log.
        file: String,
        /// Why.
        error: std::io::Error,
    },
    /// Nothing of what is looked for is in it.
    #[error(
        "{file}: none of its {lines} lines is a transition{unreadable}; look for `transition scope=` (`grep -c`): the filter logs it at level info, so Envoy must run with `--component-log-level wasm:info` or a lower level"
    )]
    NoTransitions {
        /// The log.
        file: String,
        /// How many lines it has.
        lines: u64,
        /// The first line that looks like one and is none.
        unreadable: String,
    },
    /// There is more than fits in memory.
    #[error(
        "{file}:{line}: there are more than {most} {what}; cut the log by time first, for example with `sed -n '/10:51:/,/10:55:/p'`"
    )]
    TooMany {
        /// The log.
        file: String,
        /// The first line that is too much.
        line: u64,
        /// How many there may be.
        most: usize,
        /// Of what.
        what: &'static str,
    },
}

// === impl Vm ===

impl Vm {
    /// `vm 9f3c01aa (thread 4711)`
    #[must_use]
    pub fn shown(&self) -> String {
        match (self.thread, self.main) {
            (Some(thread), true) => format!("vm {} (main thread, {thread})", self.name),
            (Some(thread), false) => format!("vm {} (thread {thread})", self.name),
            (None, _) => format!("vm {}", self.name),
        }
    }
}

/// `34.2 s`, as a person would say it.
pub(super) fn lasting(duration: Duration) -> String {
    let millis = duration.as_millis();
    match millis {
        0..1000 => format!("{millis} ms"),
        1000..120_000 => format!("{}.{} s", millis / 1000, millis % 1000 / 100),
        120_000..7_200_000 => format!("{} min", millis / 60_000),
        _ => format!("{} h", millis / 3_600_000),
    }
}
