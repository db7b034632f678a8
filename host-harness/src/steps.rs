//! What happened in a run, step by step, in names that people know: what Envoy writes down and races are read from.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// One thing that happened. `callback` steps of one turn on one thread are never interleaved with another turn of
/// the same thread, but for faults of it (`trap`, `stall`); between them, turns of other threads may run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Its number, from 1.
    pub number: usize,
    /// Virtual time since the world began.
    pub at: Duration,
    /// What it is a part of.
    pub turn: TurnName,
    /// What was done.
    pub verb: Verb,
    /// What it was done to: a shared key, a queue, a cluster, a callback's export, the name of a request or of a view.
    pub object: String,
    /// What was given: a value that was written, a message, a request line. Empty when nothing was.
    pub argument: String,
    /// What came back, as text: `none`, `READY c2`, `ok c3`, `CasMismatch`, `503`. Empty when nothing did.
    pub observed: String,
    /// Whether the turn was held back right after this step, while another turn went on.
    pub held: bool,
    /// Before which hostcall it was held: what it was done to. Nothing where it was not, or where there is only a log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_before: Option<(Verb, String)>,
    /// Earlier steps that this one is the consequence of: the post of a notice, the sending of a call.
    pub causes: Vec<usize>,
}

/// A turn of one of Envoy's threads: one event, with every callback that it leads to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TurnName {
    /// `main`, `w0`, `w1` and so on.
    pub thread: String,
    /// What began it: `tick`, `ready`, `response`, `request`, `body`, `leave`, `timeout`, `configure`, `trap`, `stall`.
    pub event: String,
    /// Which one of its kind on this thread, from 1.
    pub ordinal: usize,
    /// What it is about: a queue, a cluster, a request's name; empty for a tick.
    pub subject: String,
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// A callback was entered; the object is its export.
    Enter,
    /// A callback returned; observed is its value.
    Return,
    /// A callback failed, and with it its VM; observed is why.
    Trap,
    /// Shared data was read.
    Get,
    /// Shared data was written.
    Set,
    /// A queue was registered.
    Register,
    /// A queue was looked up.
    Resolve,
    /// An item was put into a queue, without the notice.
    Push,
    /// The notice of an item was posted to the thread of the queue's consumer; observed is the thread, or `lost`.
    Post,
    /// An item was taken out of a queue.
    Dequeue,
    /// A metric was read.
    Metric,
    /// A metric was changed.
    ChangeMetric,
    /// An HTTP or gRPC call was sent, or refused.
    Call,
    /// The outcome of a call came.
    Response,
    /// A request came from a client; the object is its name.
    Request,
    /// A client got its answer; the object is the request's name, observed is the status.
    Answer,
    /// The guest logged something; the object is the level, the argument the message.
    Log,
    /// The guest reported what it believes; the object is the view's name, the argument is what is believed.
    View,
    /// Something outside changed: a cluster's answers, the configuration.
    Change,
    /// A log says what is registered; the object is a bundle, the argument its generation, or `none`, and its state.
    Registry,
    /// A log says what a VM serves; the object is a bundle, the argument its generation, or `none`, and its state.
    Serves,
    /// A log says what state something of a VM is in; the object is a policy or the VM's membership.
    State,
    /// A log leaves lines out; the argument is how many.
    Gap,
}

/// How far from plain interleaving a run had to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FaultClass {
    /// Order and delay alone.
    L0,
    /// What Envoy may legally do: a reset, a 503 or 504, a trap and reload, a lost notice, shared data that vanishes.
    L1,
    /// What the ABI permits and other hosts do.
    L2,
    /// What no host may do.
    L3,
}

impl FaultClass {
    /// What the class means, in a few words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            FaultClass::L0 => "order and delay alone",
            FaultClass::L1 => "with a fault that Envoy may have",
            FaultClass::L2 => "only on hosts other than Envoy",
            FaultClass::L3 => "with a fault that no host may have",
        }
    }
}

/// Why a callback failed, without the guest's stack, which follows.
#[must_use]
pub fn trap_cause(reason: &str) -> &str {
    let line = reason.lines().next().unwrap_or_default();
    line.strip_suffix(": error while executing at wasm backtrace:").unwrap_or(line)
}

// === impl TurnName ===

impl fmt::Display for TurnName {
    /// `w0 tick#1`, `w2 ready#1(status)`
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}#{}", self.thread, self.event, self.ordinal)?;
        if self.subject.is_empty() { Ok(()) } else { write!(formatter, "({})", self.subject) }
    }
}

impl TurnName {
    /// Reads what [`TurnName`] prints.
    #[must_use]
    pub fn parse(text: &str) -> Option<TurnName> {
        let (thread, rest) = text.split_once(' ')?;
        let (event, rest) = rest.split_once('#')?;
        let (ordinal, subject) = match rest.split_once('(') {
            Some((ordinal, subject)) => (ordinal, subject.strip_suffix(')')?),
            None => (rest, ""),
        };
        let is_word = |word: &str| !word.is_empty() && word.chars().all(char::is_alphanumeric);
        (is_word(thread) && is_word(event)).then_some(())?;
        Some(TurnName {
            thread: thread.to_owned(),
            event: event.to_owned(),
            ordinal: ordinal.parse().ok()?,
            subject: subject.to_owned(),
        })
    }
}

// === impl Verb ===

impl Verb {
    /// Every verb with the word for it.
    const WORDS: [(Verb, &str); 23] = [
        (Verb::Enter, "enter"),
        (Verb::Return, "return"),
        (Verb::Log, "log"),
        (Verb::Trap, "trap"),
        (Verb::Get, "get"),
        (Verb::Set, "set"),
        (Verb::Register, "register"),
        (Verb::Resolve, "resolve"),
        (Verb::Push, "push"),
        (Verb::Post, "post"),
        (Verb::Dequeue, "dequeue"),
        (Verb::Metric, "metric"),
        (Verb::ChangeMetric, "change_metric"),
        (Verb::Call, "call"),
        (Verb::Response, "response"),
        (Verb::Request, "request"),
        (Verb::Answer, "answer"),
        (Verb::View, "view"),
        (Verb::Change, "change"),
        (Verb::Registry, "registry"),
        (Verb::Serves, "serves"),
        (Verb::State, "state"),
        (Verb::Gap, "gap"),
    ];

    /// Reads what a verb prints.
    #[must_use]
    pub fn parse(word: &str) -> Option<Verb> {
        Verb::WORDS.iter().find(|(_, text)| *text == word).map(|(verb, _)| *verb)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = Verb::WORDS.iter().find(|(verb, _)| verb == self).map_or("", |(_, word)| word);
        formatter.write_str(word)
    }
}
