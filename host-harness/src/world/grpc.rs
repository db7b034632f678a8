//! gRPC servers: what of a gRPC exchange can be seen on the wire, and servers that answer from a script.
//!
//! As in [`super`], what Envoy makes of it (which status a reset is, what a time limit answers) is decided in
//! [`crate::envoy`].

use std::{
    collections::BTreeMap,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use bytes::Bytes;

use super::{ANY_CLUSTER, CallId, Origin, Refusal};
use crate::abi::Headers;

/// Stands for every method that has no answers of its own.
const ANY_METHOD: &str = "*";

/// A gRPC exchange that a filter begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrpcCall {
    /// Its number, from the same count as those of HTTP exchanges.
    pub id: CallId,
    /// Who begins it.
    pub origin: Origin,
    /// Name of the cluster.
    pub cluster: String,
    /// Name of the service, with its package.
    pub service: String,
    /// Name of the method.
    pub method: String,
    /// Headers with their pseudo headers; the metadata is among them.
    pub headers: Headers,
    /// Whether it is a stream and not a single message each way.
    pub streaming: bool,
}

/// Something that comes from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrpcEvent {
    /// The response's headers, here only the metadata that they carry.
    Headers(Headers),
    /// A message.
    Message(Bytes),
    /// The end, with a status; without headers before it, it is what gRPC calls trailers-only.
    Status {
        /// The status; `None` for a server that forgets it.
        code: Option<u32>,
        /// `grpc-message`; empty is none.
        message: String,
        /// Trailing metadata.
        metadata: Headers,
    },
    /// An HTTP response without gRPC, as of a wrong path or an overloaded proxy.
    HttpStatus(u16),
    /// No connection was made.
    ConnectFailure,
    /// The connection ended.
    Reset,
}

/// What will come of one step of an exchange: each event with the time from now until it happens.
pub type GrpcEvents = Vec<(Duration, GrpcEvent)>;

/// The gRPC part of a [`super::World`].
pub trait GrpcWorld {
    /// Begins an exchange.
    ///
    /// Errors: a [`Refusal`], when it is not begun.
    fn open(&mut self, call: &GrpcCall) -> Result<GrpcEvents, Refusal>;
    /// Takes a message for the server, or only the end of what the client sends.
    fn send(&mut self, call: CallId, message: Option<&Bytes>, end: bool) -> GrpcEvents;
    /// Forgets an exchange: the client has reset it.
    fn cancel(&mut self, call: CallId);
}

/// What a script is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrpcAsked<'a> {
    /// The exchange begins.
    Opened,
    /// The client sent this; `None` with `end` is the end alone.
    Sent {
        /// A message.
        message: Option<&'a Bytes>,
        /// Whether it was the last thing that the client sends.
        end: bool,
    },
}

/// What a server says, step by step. Times add up: each one counts from the step before it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GrpcReply {
    at: Duration,
    events: GrpcEvents,
    refused: bool,
}

/// What a server says in one whole exchange.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GrpcAnswer {
    /// From its beginning on.
    pub opened: GrpcReply,
    /// To each message of the client.
    pub message: GrpcReply,
    /// When the client sends no more.
    pub ended: GrpcReply,
}

/// An exchange as the script saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrpcSeen {
    /// When it began.
    pub at: Duration,
    /// The exchange.
    pub call: GrpcCall,
    /// Messages of the client.
    pub messages: Vec<Bytes>,
    /// Whether the client has said that it sends no more.
    pub ended: bool,
    /// Whether the client has reset it.
    pub cancelled: bool,
}

/// A closure that can be cloned with all that it holds.
trait Script: FnMut(&GrpcCall, GrpcAsked<'_>) -> GrpcReply + Send {
    fn cloned(&self) -> Box<dyn Script>;
}

/// The scripted servers: clusters by name, each with its methods as `service/method`.
#[derive(Clone, Default)]
pub(super) struct Servers {
    pub(super) now: Duration,
    clusters: BTreeMap<String, BTreeMap<String, Box<dyn Script>>>,
    /// Answers by cluster and method.
    answers: BTreeMap<(String, String), Answers>,
    /// What goes on being said in exchanges that have begun.
    open: BTreeMap<CallId, Open>,
    seen: Vec<GrpcSeen>,
}

/// Answers in order, the last of which repeats.
#[derive(Clone)]
struct Answers {
    answers: Vec<GrpcAnswer>,
    given: usize,
    /// What distinguishes these answers from others in a fingerprint.
    digest: u64,
}

/// An exchange to which more may be said.
#[derive(Clone)]
struct Open {
    answer: GrpcAnswer,
    /// Whose exchange it is, and which answer it was given.
    digest: u64,
}

// === impl GrpcReply ===

impl GrpcReply {
    /// A server that says nothing.
    #[must_use]
    pub fn silence() -> GrpcReply {
        GrpcReply::default()
    }

    /// No healthy host, or no room. Only for the beginning of an exchange.
    #[must_use]
    pub fn refused() -> GrpcReply {
        GrpcReply { refused: true, ..GrpcReply::default() }
    }

    /// The whole of a unary answer: headers, this message, status 0.
    #[must_use]
    pub fn unary(message: impl Into<Bytes>) -> GrpcReply {
        GrpcReply::silence().headers(&[]).message(message).status(0, "")
    }

    /// Whatever follows comes this much later.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> GrpcReply {
        self.at += delay;
        self
    }

    /// Then headers with this metadata.
    #[must_use]
    pub fn headers(self, metadata: &[(&str, &str)]) -> GrpcReply {
        self.then(GrpcEvent::Headers(to_headers(metadata)))
    }

    /// Then a message.
    #[must_use]
    pub fn message(self, message: impl Into<Bytes>) -> GrpcReply {
        self.then(GrpcEvent::Message(message.into()))
    }

    /// Then the end with a status and a text.
    #[must_use]
    pub fn status(self, code: u32, message: &str) -> GrpcReply {
        self.status_with(code, message, &[])
    }

    /// Then the end with a status, a text and trailing metadata.
    #[must_use]
    pub fn status_with(self, code: u32, message: &str, metadata: &[(&str, &str)]) -> GrpcReply {
        let metadata = to_headers(metadata);
        self.then(GrpcEvent::Status { code: Some(code), message: message.to_owned(), metadata })
    }

    /// Then anything.
    #[must_use]
    pub fn then(mut self, event: GrpcEvent) -> GrpcReply {
        self.events.push((self.at, event));
        self
    }
}

fn to_headers(pairs: &[(&str, &str)]) -> Headers {
    pairs
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase().into_bytes(), value.as_bytes().to_vec()))
        .collect()
}

impl GrpcReply {
    /// Then what another one says.
    fn followed_by(mut self, other: GrpcReply) -> GrpcReply {
        let at = self.at;
        self.events.extend(other.events.into_iter().map(|(delay, event)| (at.saturating_add(delay), event)));
        self
    }
}

// === impl Answers ===

impl Answers {
    fn new(answers: Vec<GrpcAnswer>) -> Answers {
        let digest = digest(&format!("{answers:?}"));
        Answers { answers, given: 0, digest }
    }

    fn next(&mut self) -> Option<GrpcAnswer> {
        let answer = self.answers.get(self.given).or(self.answers.last())?.clone();
        self.given += 1;
        Some(answer)
    }
}

fn digest(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

// === impl Servers ===

impl Servers {
    /// A cluster that is there; a method that nobody adds is unknown to it.
    pub(super) fn declare(&mut self, cluster: &str) {
        if !self.clusters.contains_key(cluster) {
            self.clusters.insert(cluster.to_owned(), BTreeMap::new());
        }
    }

    pub(super) fn remove(&mut self, cluster: &str) {
        self.clusters.remove(cluster);
        self.answers.retain(|(of, _), _| of != cluster);
    }

    pub(super) fn set_answers(&mut self, cluster: &str, method: &str, answers: Vec<GrpcAnswer>) {
        self.answers.insert((cluster.to_owned(), method.to_owned()), Answers::new(answers));
    }

    pub(super) fn add(
        &mut self,
        cluster: &str,
        method: &str,
        script: impl FnMut(&GrpcCall, GrpcAsked<'_>) -> GrpcReply + Clone + Send + 'static,
    ) {
        self.clusters.entry(cluster.to_owned()).or_default().insert(method.to_owned(), Box::new(script));
    }

    pub(super) fn seen(&self) -> &[GrpcSeen] {
        &self.seen
    }

    /// How far scripts and answers have come, and what is still to be said in exchanges that have begun.
    pub(super) fn hash_state(&self, hasher: &mut impl Hasher) {
        let said: usize = self.seen.iter().map(|seen| seen.messages.len() + usize::from(seen.ended)).sum();
        (self.seen.len(), said).hash(hasher);
        for (of, answers) in &self.answers {
            (of, answers.given.min(answers.answers.len()), answers.digest).hash(hasher);
        }
        // Their numbers depend on the order in which they were begun.
        let mut open: Vec<u64> = self.open.values().map(|open| open.digest).collect();
        open.sort_unstable();
        open.hash(hasher);
    }

    /// The answer to an exchange that begins: of its method, or of every method, in its cluster or in every cluster.
    fn answer(&mut self, call: &GrpcCall) -> Option<GrpcAnswer> {
        if self.answers.is_empty() {
            return None;
        }
        let method = format!("{}/{}", call.service, call.method);
        let known = self.clusters.contains_key(&call.cluster);
        let cluster = if known { call.cluster.as_str() } else { ANY_CLUSTER };
        let mut of = |method: &str| {
            self.answers.get_mut(&(cluster.to_owned(), method.to_owned())).and_then(Answers::next)
        };
        of(&method).or_else(|| of(ANY_METHOD))
    }

    /// What the script of an exchange says; a method that nobody added is `Unimplemented` (12).
    fn ask(&mut self, call: &GrpcCall, asked: GrpcAsked<'_>) -> GrpcReply {
        let methods = self.clusters.get_mut(&call.cluster);
        match methods.and_then(|methods| methods.get_mut(&format!("{}/{}", call.service, call.method))) {
            Some(script) => script(call, asked),
            None if asked == GrpcAsked::Opened => GrpcReply::silence().status(12, "unknown method"),
            None => GrpcReply::silence(),
        }
    }
}

impl GrpcWorld for Servers {
    fn open(&mut self, call: &GrpcCall) -> Result<GrpcEvents, Refusal> {
        if !self.clusters.contains_key(&call.cluster) && !self.clusters.contains_key(ANY_CLUSTER) {
            return Err(Refusal::UnknownCluster);
        }
        let reply = match self.answer(call) {
            None => self.ask(call, GrpcAsked::Opened),
            Some(answer) => {
                if !answer.message.events.is_empty() || !answer.ended.events.is_empty() {
                    let digest = digest(&format!("{:?} {answer:?}", call.origin));
                    self.open.insert(call.id, Open { answer: answer.clone(), digest });
                }
                answer.opened
            }
        };
        if reply.refused {
            return Err(Refusal::NoHost);
        }
        self.seen.push(GrpcSeen {
            at: self.now,
            call: call.clone(),
            messages: Vec::new(),
            ended: false,
            cancelled: false,
        });
        Ok(reply.events)
    }

    fn send(&mut self, call: CallId, message: Option<&Bytes>, end: bool) -> GrpcEvents {
        let Some(seen) = self.seen.iter_mut().rev().find(|seen| seen.call.id == call) else {
            return GrpcEvents::new();
        };
        seen.messages.extend(message.cloned());
        seen.ended |= end;
        if let Some(open) = self.open.get(&call) {
            let GrpcAnswer { message: each, ended, .. } = open.answer.clone();
            let said = if message.is_some() { each } else { GrpcReply::silence() };
            if !end {
                return said.events;
            }
            self.open.remove(&call);
            return said.followed_by(ended).events;
        }
        let call = seen.call.clone();
        self.ask(&call, GrpcAsked::Sent { message, end }).events
    }

    fn cancel(&mut self, call: CallId) {
        self.open.remove(&call);
        if let Some(seen) = self.seen.iter_mut().rev().find(|seen| seen.call.id == call) {
            seen.cancelled = true;
        }
    }
}

// === impl Script ===

impl<F: FnMut(&GrpcCall, GrpcAsked<'_>) -> GrpcReply + Clone + Send + 'static> Script for F {
    fn cloned(&self) -> Box<dyn Script> {
        Box::new(self.clone())
    }
}

impl Clone for Box<dyn Script> {
    fn clone(&self) -> Self {
        (**self).cloned()
    }
}

impl fmt::Debug for Servers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clusters: Vec<&String> = self.clusters.keys().collect();
        formatter
            .debug_struct("Servers")
            .field("clusters", &clusters)
            .field("seen", &self.seen.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envoy::VmRole;

    #[test]
    fn times_of_a_reply_add_up() {
        let second = Duration::from_secs(1);
        let reply =
            GrpcReply::silence().headers(&[]).after(second).message("a").after(second).status(0, "done");
        let times: Vec<Duration> = reply.events.iter().map(|(at, _)| *at).collect();
        assert_eq!(times, [Duration::ZERO, second, second * 2]);
    }

    #[test]
    fn a_script_is_asked_at_the_beginning_and_for_each_message() {
        let mut servers = Servers::default();
        servers.add("hub", "s/echo", |_, asked| match asked {
            GrpcAsked::Opened => GrpcReply::silence().headers(&[("A", "1")]),
            GrpcAsked::Sent { message: Some(message), .. } => GrpcReply::silence().message(message.clone()),
            GrpcAsked::Sent { message: None, .. } => GrpcReply::silence().status(0, ""),
        });
        let call = call("hub", "echo");
        let headers = GrpcEvent::Headers(vec![(b"a".to_vec(), b"1".to_vec())]);
        assert_eq!(servers.open(&call), Ok(vec![(Duration::ZERO, headers)]));
        let message = Bytes::from("x");
        assert_eq!(
            servers.send(call.id, Some(&message), false),
            [(Duration::ZERO, GrpcEvent::Message(message.clone()))]
        );
        assert_eq!(servers.send(call.id, None, true).len(), 1);
        servers.cancel(call.id);
        let seen = &servers.seen()[0];
        assert_eq!((&seen.messages[..], seen.ended, seen.cancelled), (&[message][..], true, true));
    }

    #[test]
    fn answers_are_given_in_order_by_method_and_go_on_with_the_client() {
        let mut servers = Servers::default();
        servers.declare("hub");
        let echo = GrpcAnswer {
            message: GrpcReply::silence().message("each"),
            ended: GrpcReply::silence().status(0, ""),
            ..GrpcAnswer::default()
        };
        let once = GrpcAnswer { opened: GrpcReply::unary("first"), ..GrpcAnswer::default() };
        servers.set_answers("hub", "s/echo", vec![once.clone(), echo]);
        let fingerprint = |servers: &Servers| {
            let mut hasher = DefaultHasher::new();
            servers.hash_state(&mut hasher);
            hasher.finish()
        };
        let before = fingerprint(&servers);
        let numbered = |number| GrpcCall { id: CallId(number), ..call("hub", "echo") };
        assert_eq!(servers.open(&numbered(1)), Ok(once.opened.events));
        assert_ne!(fingerprint(&servers), before);
        // A script, or nobody, is asked of a method without answers.
        assert_eq!(
            servers.open(&GrpcCall { method: "other".to_owned(), ..numbered(2) }).map(|said| said.len()),
            Ok(1)
        );
        for number in 3..5 {
            assert_eq!(servers.open(&numbered(number)), Ok(Vec::new()));
            let message = Bytes::from("x");
            assert_eq!(servers.send(CallId(number), Some(&message), false).len(), 1);
            assert_eq!(servers.send(CallId(number), Some(&message), true).len(), 2);
        }
        servers.set_answers("hub", "*", vec![GrpcAnswer::default()]);
        assert_eq!(servers.open(&GrpcCall { method: "other".to_owned(), ..numbered(6) }), Ok(Vec::new()));
    }

    #[test]
    fn an_unknown_cluster_is_refused_and_an_unknown_method_answered() {
        let mut servers = Servers::default();
        servers.add("hub", "s/full", |_, _| GrpcReply::refused());
        assert_eq!(servers.open(&call("nowhere", "full")), Err(Refusal::UnknownCluster));
        assert_eq!(servers.open(&call("hub", "full")), Err(Refusal::NoHost));
        assert!(servers.seen().is_empty());
        let answer = servers.open(&call("hub", "none")).unwrap();
        assert!(matches!(answer[..], [(_, GrpcEvent::Status { code: Some(12), .. })]), "{answer:?}");
    }

    fn call(cluster: &str, method: &str) -> GrpcCall {
        GrpcCall {
            id: CallId(1),
            origin: Origin::GrpcCall { vm: VmRole::Main, token: 5 },
            cluster: cluster.to_owned(),
            service: "s".to_owned(),
            method: method.to_owned(),
            headers: Headers::new(),
            streaming: true,
        }
    }
}
