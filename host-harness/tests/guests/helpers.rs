//! How guests are started and asked.

use super::*;

pub(super) fn options(configuration: &str, workers: usize, failure_policy: FailurePolicy) -> EnvoyOptions {
    let configuration = configuration.as_bytes().to_vec();
    let plugin = PluginOptions { configuration, failure_policy, ..PluginOptions::default() };
    EnvoyOptions { concurrency: workers, plugin, ..EnvoyOptions::default() }
}

pub(super) fn configuration_of(scenario: &str, role: &str, fixed: bool) -> String {
    format!(r#"{{"scenario": "{scenario}", "role": "{role}", "fixed": {fixed}}}"#)
}

pub(super) fn plugin(name: &str, configuration: &str) -> PluginOptions {
    PluginOptions {
        name: name.to_owned(),
        root_id: name.to_owned(),
        configuration: configuration.as_bytes().to_vec(),
        failure_policy: FailurePolicy::FailClosed,
        ..PluginOptions::default()
    }
}

pub(super) fn start(scenario: &str, fixed: bool, workers: usize, world: Scripted) -> Envoy<Scripted> {
    let configuration = format!(r#"{{"scenario": "{scenario}", "fixed": {fixed}}}"#);
    start_with(&configuration, workers, FailurePolicy::FailClosed, world)
}

pub(super) fn start_with(
    configuration: &str,
    workers: usize,
    failure_policy: FailurePolicy,
    world: Scripted,
) -> Envoy<Scripted> {
    Envoy::start(&MODULE, options(configuration, workers, failure_policy), world)
        .expect("the canary comes up")
}

/// A world whose `feed` answers with these bodies, and then with the last one again.
pub(super) fn answers<const N: usize>(bodies: [&'static str; N]) -> Scripted {
    let mut calls = 0;
    Scripted::new().script("feed", move |_, _| {
        calls += 1;
        Reply::body(bodies[N.min(calls) - 1])
    })
}

/// A world whose `feed` allows alice and denies bob.
pub(super) fn directory(delay: Duration) -> Scripted {
    Scripted::new().reply("feed", "/alice", Reply::body("allow").after(delay)).reply(
        "feed",
        "/bob",
        Reply::body("deny").after(delay),
    )
}

/// Answers with these statuses, and then with the last one again.
pub(super) fn polls(
    statuses: &[u16],
) -> impl FnMut(&host_harness::world::Call, Duration) -> Reply + Clone + Send + 'static {
    let statuses = statuses.to_vec();
    let mut calls = 0;
    move |_, _| {
        calls += 1;
        Reply::status(statuses[statuses.len().min(calls) - 1])
    }
}

pub(super) fn of_user(user: &str) -> Request {
    Request::get("/").header("x-user", user)
}

pub(super) fn status_of(envoy: &mut Envoy<Scripted>, user: &str) -> u16 {
    envoy.exchange(0, of_user(user)).status
}

pub(super) fn get(envoy: &mut Envoy<Scripted>, worker: usize, path: &str) -> (u16, String) {
    let exchange = envoy.exchange(worker, Request::get(path));
    (exchange.status, exchange.text())
}

pub(super) fn finish(envoy: &mut Envoy<Scripted>, id: StreamId) -> (u16, String) {
    loop {
        if let Some(exchange) = envoy.take(id) {
            return (exchange.status, exchange.text());
        }
        assert!(envoy.step(Duration::MAX), "the stream stands still for ever");
    }
}

/// How often this path was called.
pub(super) fn calls(envoy: &Envoy<Scripted>, path: &str) -> usize {
    envoy.world().seen().iter().filter(|seen| seen.call.path() == path).count()
}
