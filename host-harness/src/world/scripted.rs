//! A world in virtual time: every answer is computed when the call is made, and time passes only when nothing is due.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use super::{
    Call, CallId, GrpcAnswer, GrpcAsked, GrpcCall, GrpcReply, GrpcSeen, GrpcWorld, Origin, Outcome, Refusal,
    Reply, Sent, World, grpc::Servers, reply::Kind,
};

/// 2026-01-01T00:00:00Z, where every scripted world begins.
const EPOCH: Duration = Duration::from_secs(1_767_225_600);

/// Name of a cluster that stands for every one that was not added.
pub const ANY_CLUSTER: &str = "*";

/// How many calls are answered before those that were made earlier, and how much later each is.
const LAST_FIRST_CALLS: u32 = 16;
const LAST_FIRST_STEP: Duration = Duration::from_millis(1);

/// Clusters that answer from tables and closures. Calls to a cluster that was not added are refused as unknown, unless
/// [`ANY_CLUSTER`] was.
///
/// A call is answered by the first of: a reply that was queued for its cluster, the answers for its cluster, path and
/// method, those for its path, the cluster's own answers, the cluster's closure, an empty 200. Answers are given in order, and the last one repeats.
///
/// A clone goes on alone from where it was made; only what a closure shares, both still share.
#[derive(Clone, Default)]
pub struct Scripted {
    now: Duration,
    clusters: BTreeMap<String, Cluster>,
    seen: Vec<Seen>,
    grpc: Servers,
    /// How many calls of filters are still answered before those that were made earlier.
    last_first: u32,
    /// Whether no call of a filter finds a connection.
    is_down: bool,
}

/// A call as the script saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// When it was made.
    pub at: Duration,
    /// The call.
    pub call: Call,
    /// Whether Envoy lost interest in it before an answer.
    pub cancelled: bool,
}

/// The calls that have answers of their own: those for a path (with its query), of one method or of each.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    /// `:path`
    pub path: String,
    /// `:method`; `None` is every one that has no answers of its own.
    pub method: Option<String>,
}

/// A closure that can be cloned with all that it holds.
trait Script: FnMut(&Call, Duration) -> Reply + Send {
    fn cloned(&self) -> Box<dyn Script>;
}

#[derive(Clone, Default)]
struct Cluster {
    queued: VecDeque<Reply>,
    answers: Answers,
    routes: BTreeMap<Route, Answers>,
    /// Answers to calls that carry a text.
    carrying: BTreeMap<String, Answers>,
    script: Option<Box<dyn Script>>,
}

/// Replies in order, the last of which repeats.
#[derive(Clone, Default)]
struct Answers {
    replies: Vec<Reply>,
    given: usize,
    /// What distinguishes these replies from others in a fingerprint.
    digest: u64,
}

// === impl Route ===

impl Route {
    /// Every method of a path.
    #[must_use]
    pub fn of(path: &str) -> Route {
        Route { path: path.to_owned(), method: None }
    }
}

// === impl Scripted ===

impl Scripted {
    /// A world with one cluster, `upstream`, which answers an empty 200.
    #[must_use]
    pub fn new() -> Scripted {
        Scripted::default().cluster("upstream")
    }

    /// Adds a cluster that answers an empty 200.
    #[must_use]
    pub fn cluster(mut self, name: &str) -> Scripted {
        self.declare(name);
        self
    }

    /// Adds a cluster that answers by a closure, which is given the call and the time. It is cloned with the world.
    #[must_use]
    pub fn script(
        mut self,
        name: &str,
        script: impl FnMut(&Call, Duration) -> Reply + Clone + Send + 'static,
    ) -> Scripted {
        self.declare(name).script = Some(Box::new(script));
        self
    }

    /// Adds a reply for one path (with its query) of a cluster, which is added if need be.
    #[must_use]
    pub fn reply(mut self, cluster: &str, path: &str, reply: Reply) -> Scripted {
        self.set_reply(cluster, path, reply);
        self
    }

    /// Changes the reply for one path of a cluster, which is added if need be.
    pub fn set_reply(&mut self, cluster: &str, path: &str, reply: Reply) {
        self.set_path_answers(cluster, path, vec![reply]);
    }

    /// Changes the answers for one path (with its query) of a cluster, which is added if need be. The next call gets
    /// the first of them; with none the path has no answers of its own. Those for single methods are forgotten.
    pub fn set_path_answers(&mut self, cluster: &str, path: &str, replies: Vec<Reply>) {
        self.declare(cluster).routes.retain(|route, _| route.path != path);
        self.set_route_answers(cluster, Route::of(path), replies);
    }

    /// Changes the answers for one path of a cluster, and for one method if the route names one. The cluster is added
    /// if need be.
    pub fn set_route_answers(&mut self, cluster: &str, route: Route, replies: Vec<Reply>) {
        self.declare(cluster).routes.insert(route, Answers::new(replies));
    }

    /// Changes the answers to calls that carry this text in a header, in their path or in their body. They win over those
    /// for paths. The cluster is added if need be.
    pub fn set_answers_to_carrying(&mut self, cluster: &str, text: &str, replies: Vec<Reply>) {
        self.declare(cluster).carrying.insert(text.to_owned(), Answers::new(replies));
    }

    /// Changes the answers for every path of a cluster that has none of its own. The cluster is added if need be.
    pub fn set_answers(&mut self, cluster: &str, replies: Vec<Reply>) {
        self.declare(cluster).answers = Answers::new(replies);
    }

    /// Changes the answers of a whole cluster: those for single paths are forgotten. The cluster is added if need be.
    pub fn replace_answers(&mut self, cluster: &str, replies: Vec<Reply>) {
        let cluster = self.declare(cluster);
        cluster.routes.clear();
        cluster.carrying.clear();
        cluster.answers = Answers::new(replies);
    }

    /// Queues a reply for the next call to a cluster, which is added if need be.
    pub fn queue(&mut self, cluster: &str, reply: Reply) {
        self.declare(cluster).queued.push_back(reply);
    }

    /// From now on, of calls that filters make at the same time the last one is answered first; or in order again.
    pub fn answer_last_first(&mut self, does: bool) {
        self.last_first = if does { LAST_FIRST_CALLS } else { 0 };
    }

    /// From now on no call of a filter finds a connection; or each does again.
    pub fn fail_calls_of_filters(&mut self, does: bool) {
        self.is_down = does;
    }

    /// Takes a cluster away: calls to it are refused as unknown.
    pub fn remove_cluster(&mut self, name: &str) {
        self.clusters.remove(name);
        self.grpc.remove(name);
    }

    /// A cluster, which is added if it is not there. Envoy knows one by its name alone, whatever is spoken there.
    fn declare(&mut self, name: &str) -> &mut Cluster {
        self.grpc.declare(name);
        self.clusters.entry(name.to_owned()).or_default()
    }

    /// Adds a gRPC method (`package.Service/Method`) to a cluster, which is added if need be.
    ///
    /// The script is asked when an exchange begins and for each message of the client; its answers add up. It is cloned
    /// with the world.
    #[must_use]
    pub fn grpc(
        mut self,
        cluster: &str,
        method: &str,
        script: impl FnMut(&GrpcCall, GrpcAsked<'_>) -> GrpcReply + Clone + Send + 'static,
    ) -> Scripted {
        self.declare(cluster);
        self.grpc.add(cluster, method, script);
        self
    }

    /// Adds a gRPC method that says the same in every exchange, from its beginning on.
    #[must_use]
    pub fn grpc_reply(self, cluster: &str, method: &str, reply: GrpcReply) -> Scripted {
        self.grpc(cluster, method, move |_, asked| match asked {
            GrpcAsked::Opened => reply.clone(),
            GrpcAsked::Sent { .. } => GrpcReply::silence(),
        })
    }

    /// Changes the answers of a gRPC method (`package.Service/Method`, or `*` for every one that has none of its own) of a
    /// cluster, which is added if need be. The next exchange gets the first of them; with none the method is unknown.
    pub fn set_grpc_answers(&mut self, cluster: &str, method: &str, answers: Vec<GrpcAnswer>) {
        self.declare(cluster);
        self.grpc.set_answers(cluster, method, answers);
    }

    /// Every gRPC exchange so far, in order; those that were refused are not among them.
    #[must_use]
    pub fn grpc_seen(&self) -> &[GrpcSeen] {
        self.grpc.seen()
    }

    /// Every call so far, in order; calls that were refused are not among them.
    #[must_use]
    pub fn seen(&self) -> &[Seen] {
        &self.seen
    }
}

impl World for Scripted {
    fn now(&self) -> Duration {
        self.now
    }

    fn epoch(&self) -> Duration {
        EPOCH
    }

    fn send(&mut self, call: &Call) -> Result<Sent, Refusal> {
        let known = self.clusters.contains_key(&call.cluster);
        let name = if known { call.cluster.as_str() } else { ANY_CLUSTER };
        let cluster = self.clusters.get_mut(name).ok_or(Refusal::UnknownCluster)?;
        let reply = cluster.reply(call, self.now).to(call);
        let is_of_filter = matches!(call.origin, Origin::HttpCall { .. });
        let sent = match reply.kind {
            _ if self.is_down && is_of_filter => Sent::After(reply.delay, Outcome::ConnectFailure),
            Kind::Refused => return Err(Refusal::NoHost),
            Kind::Never => Sent::Never,
            Kind::Outcome(outcome) => {
                let later = if is_of_filter { LAST_FIRST_STEP * self.last_first } else { Duration::ZERO };
                self.last_first = self.last_first.saturating_sub(u32::from(is_of_filter));
                Sent::After(reply.delay.saturating_add(later), outcome)
            }
        };
        self.seen.push(Seen { at: self.now, call: call.clone(), cancelled: false });
        Ok(sent)
    }

    fn cancel(&mut self, call: CallId) {
        if let Some(seen) = self.seen.iter_mut().rev().find(|seen| seen.call.id == call) {
            seen.cancelled = true;
        }
    }

    fn wait(&mut self, until: Duration) -> Option<(CallId, Outcome)> {
        self.now = self.now.max(until);
        None
    }

    fn is_pending(&self) -> bool {
        false
    }

    fn grpc(&mut self) -> Option<&mut dyn GrpcWorld> {
        self.grpc.now = self.now;
        Some(&mut self.grpc)
    }

    fn fingerprint(&self) -> u64 {
        let given = |answers: &Answers| (answers.given.min(answers.replies.len()), answers.digest);
        let mut hasher = DefaultHasher::new();
        for (name, cluster) in &self.clusters {
            (name, cluster.queued.len(), given(&cluster.answers)).hash(&mut hasher);
            for (route, answers) in &cluster.routes {
                (route, given(answers)).hash(&mut hasher);
            }
            for (text, answers) in &cluster.carrying {
                (text, given(answers)).hash(&mut hasher);
            }
        }
        self.grpc.hash_state(&mut hasher);
        hasher.finish()
    }

    fn fork(&self) -> Option<Box<dyn World>> {
        Some(Box::new(self.clone()))
    }
}

// === impl Script ===

impl<F: FnMut(&Call, Duration) -> Reply + Clone + Send + 'static> Script for F {
    fn cloned(&self) -> Box<dyn Script> {
        Box::new(self.clone())
    }
}

impl Clone for Box<dyn Script> {
    fn clone(&self) -> Self {
        (**self).cloned()
    }
}

impl fmt::Debug for Scripted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clusters: Vec<&String> = self.clusters.keys().collect();
        formatter
            .debug_struct("Scripted")
            .field("now", &self.now)
            .field("clusters", &clusters)
            .field("seen", &self.seen.len())
            .finish()
    }
}

// === impl Cluster ===

impl Cluster {
    fn reply(&mut self, call: &Call, now: Duration) -> Reply {
        if let Some(reply) = self.queued.pop_front() {
            return reply;
        }
        let carried = self.carrying.iter_mut().find(|(text, _)| call.carries(text.as_bytes()));
        if let Some(reply) = carried.and_then(|(_, answers)| answers.next()) {
            return reply;
        }
        if let Some(reply) = self.routed(call) {
            return reply;
        }
        if let Some(reply) = self.answers.next() {
            return reply;
        }
        match &mut self.script {
            Some(script) => script(call, now),
            None => Reply::status(200),
        }
    }

    /// The answer for its path and method, or for its path.
    fn routed(&mut self, call: &Call) -> Option<Reply> {
        if self.routes.is_empty() {
            return None;
        }
        let method = String::from_utf8_lossy(call.header(":method").unwrap_or_default()).into_owned();
        let mut route = Route { path: call.path(), method: Some(method) };
        if let Some(reply) = self.routes.get_mut(&route).and_then(Answers::next) {
            return Some(reply);
        }
        route.method = None;
        self.routes.get_mut(&route).and_then(Answers::next)
    }
}

// === impl Answers ===

impl Answers {
    fn new(replies: Vec<Reply>) -> Answers {
        let mut hasher = DefaultHasher::new();
        format!("{replies:?}").hash(&mut hasher);
        Answers { replies, given: 0, digest: hasher.finish() }
    }

    fn next(&mut self) -> Option<Reply> {
        let reply = self.replies.get(self.given).or(self.replies.last())?.clone();
        self.given += 1;
        Some(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{envoy::StreamId, world::Origin};
    use bytes::Bytes;

    #[test]
    fn a_queued_reply_comes_before_a_path_and_a_path_before_the_script() {
        let mut world =
            Scripted::new().script("hub", |_, _| Reply::status(503)).reply("hub", "/a", Reply::status(404));
        world.queue("hub", Reply::status(201).after(Duration::from_secs(1)));
        assert_eq!(status(&mut world, "/a"), Ok((Duration::from_secs(1), 201)));
        assert_eq!(status(&mut world, "/a"), Ok((Duration::ZERO, 404)));
        assert_eq!(status(&mut world, "/b"), Ok((Duration::ZERO, 503)));
        assert_eq!(world.seen().len(), 3);
    }

    #[test]
    fn a_cluster_that_nobody_added_is_unknown_and_a_refusal_is_not_seen() {
        let mut world = Scripted::new();
        assert_eq!(status(&mut world, "/"), Err(Refusal::UnknownCluster));
        world.queue("hub", Reply::refused());
        assert_eq!(status(&mut world, "/"), Err(Refusal::NoHost));
        assert!(world.seen().is_empty());
    }

    #[test]
    fn answers_are_given_in_order_and_the_last_one_repeats() {
        let mut world = Scripted::new();
        world.set_answers("hub", vec![Reply::status(201), Reply::status(202)]);
        world.set_path_answers("hub", "/a", vec![Reply::status(404), Reply::status(200)]);
        assert_eq!(
            statuses(&mut world, &["/", "/a", "/b", "/a", "/c", "/a"]),
            [201, 404, 202, 200, 202, 200]
        );
        world.set_path_answers("hub", "/a", Vec::new());
        assert_eq!(statuses(&mut world, &["/a"]), [202]);
        world.set_path_answers("hub", "/a", vec![Reply::status(404)]);
        world.replace_answers("hub", vec![Reply::status(203)]);
        assert_eq!(statuses(&mut world, &["/a", "/"]), [203, 203]);
    }

    #[test]
    fn what_a_call_carries_wins_and_the_last_call_may_be_answered_first_or_none() {
        let mut world = Scripted::new();
        world.set_answers("hub", vec![Reply::status(200)]);
        world.set_reply("hub", "/a", Reply::status(404));
        world.set_answers_to_carrying("hub", "eve", vec![Reply::status(403)]);
        let mut of_eve = call("/a");
        of_eve.headers.push((b"x-user".to_vec(), b"eve".to_vec()));
        let answer = |world: &mut Scripted, call: &Call| match world.send(call) {
            Ok(Sent::After(after, Outcome::Response(response))) => (after, response.status),
            other => panic!("{other:?}"),
        };
        assert_eq!(answer(&mut world, &of_eve), (Duration::ZERO, 403));
        assert_eq!(answer(&mut world, &call("/a")), (Duration::ZERO, 404));
        of_eve.origin = Origin::HttpCall { vm: crate::envoy::VmRole::Main, token: 4 };
        world.answer_last_first(true);
        let (first, second) = (answer(&mut world, &of_eve).0, answer(&mut world, &of_eve).0);
        assert!(first > second, "{first:?}, {second:?}");
        world.answer_last_first(false);
        world.fail_calls_of_filters(true);
        assert_eq!(world.send(&of_eve), Ok(Sent::After(Duration::ZERO, Outcome::ConnectFailure)));
        assert_eq!(answer(&mut world, &call("/a")), (Duration::ZERO, 404), "it is none of a filter");
    }

    #[test]
    fn a_methods_answers_win_over_those_of_its_path_and_are_counted_apart() {
        let mut world = Scripted::new();
        let route = |method: Option<&str>| Route { path: "/a".to_owned(), method: method.map(str::to_owned) };
        world.set_answers("hub", vec![Reply::status(205)]);
        world.set_route_answers("hub", route(Some("POST")), vec![Reply::status(201), Reply::status(409)]);
        let ask = |world: &mut Scripted, method: &str| {
            let mut call = call("/a");
            call.headers.push((b":method".to_vec(), method.as_bytes().to_vec()));
            match world.send(&call) {
                Ok(Sent::After(_, Outcome::Response(response))) => response.status,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(
            ["GET", "POST", "GET", "POST"].map(|method| ask(&mut world, method)),
            [205, 201, 205, 409]
        );
        world.set_route_answers("hub", route(None), vec![Reply::status(202)]);
        assert_eq!(["GET", "POST"].map(|method| ask(&mut world, method)), [202, 409]);
        let before = world.fingerprint();
        world.set_route_answers("hub", route(Some("POST")), vec![Reply::status(204)]);
        assert_ne!(world.fingerprint(), before);
        world.set_path_answers("hub", "/a", vec![Reply::status(203)]);
        assert_eq!(["GET", "POST"].map(|method| ask(&mut world, method)), [203, 203]);
    }

    #[test]
    fn any_cluster_answers_where_no_other_does() {
        let mut world = Scripted::new();
        assert_eq!(status(&mut world, "/"), Err(Refusal::UnknownCluster));
        world.set_answers(ANY_CLUSTER, vec![Reply::status(201)]);
        assert_eq!(statuses(&mut world, &["/"]), [201]);
        world.set_answers("hub", vec![Reply::status(202)]);
        assert_eq!(statuses(&mut world, &["/"]), [202]);
    }

    #[test]
    fn a_fingerprint_tells_answers_apart_that_were_set_in_another_order() {
        let world = |statuses: [u16; 2]| {
            let mut world = Scripted::new();
            for status in statuses {
                world.set_path_answers("hub", "/a", vec![Reply::status(status)]);
            }
            world.fingerprint()
        };
        assert_eq!(world([201, 202]), world([203, 202]));
        assert_ne!(world([201, 202]), world([202, 201]));
    }

    #[test]
    fn a_fork_goes_on_alone_from_where_it_was_made() {
        let mut calls = 0;
        let script = move |_: &Call, _| {
            calls += 1;
            Reply::status(500 + calls)
        };
        let mut world = Scripted::new().script("hub", script);
        world.set_path_answers("hub", "/a", vec![Reply::status(201), Reply::status(202), Reply::status(203)]);
        assert_eq!(statuses(&mut world, &["/a", "/"]), [201, 501]);
        let mut fork = world.clone();
        assert_eq!(statuses(&mut world, &["/a", "/a", "/"]), [202, 203, 502]);
        world.wait(Duration::from_secs(1));
        assert_eq!(statuses(&mut fork, &["/a", "/"]), [202, 502]);
        assert_eq!((fork.seen().len(), world.seen().len()), (4, 5));
        let forked = World::fork(&fork).expect("a scripted world forks");
        assert_eq!(forked.now(), Duration::ZERO);
    }

    #[test]
    fn a_reply_unless_matched_is_a_304_without_a_body_to_a_call_that_names_its_etag() {
        let reply = Reply::body("whole").with_header("etag", "\"2\"").unless_matched();
        let mut world = Scripted::new().reply("hub", "/a", reply);
        let mut ask = |tags: Option<&str>| {
            let mut call = call("/a");
            call.headers.extend(tags.map(|tags| (b"if-none-match".to_vec(), tags.as_bytes().to_vec())));
            match world.send(&call) {
                Ok(Sent::After(_, Outcome::Response(response))) => (response.status, response.body.len()),
                other => panic!("{other:?}"),
            }
        };
        for other in [None, Some("\"1\""), Some("2"), Some("")] {
            assert_eq!(ask(other), (200, 5), "{other:?}");
        }
        for same in ["\"2\"", "W/\"2\"", "\"1\", \"2\"", "*"] {
            assert_eq!(ask(Some(same)), (304, 0), "{same}");
        }
    }

    #[test]
    fn time_never_goes_back() {
        let mut world = Scripted::new();
        world.wait(Duration::from_secs(2));
        world.wait(Duration::from_secs(1));
        assert_eq!(world.now(), Duration::from_secs(2));
    }

    fn statuses(world: &mut Scripted, paths: &[&str]) -> Vec<u16> {
        paths.iter().map(|path| status(world, path).expect("the call is sent").1).collect()
    }

    fn call(path: &str) -> Call {
        Call {
            id: CallId(1),
            origin: Origin::Router { stream: StreamId(1) },
            cluster: "hub".to_owned(),
            headers: vec![(b":path".to_vec(), path.as_bytes().to_vec())],
            body: Bytes::new(),
            trailers: Vec::new(),
            timeout: None,
        }
    }

    fn status(world: &mut Scripted, path: &str) -> Result<(Duration, u16), Refusal> {
        match world.send(&call(path))? {
            Sent::After(delay, Outcome::Response(response)) => Ok((delay, response.status)),
            other => panic!("{other:?}"),
        }
    }
}
