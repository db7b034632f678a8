//! HTTP calls that Envoy sends again because their filter asked for it.
//!
//! What is expected here was seen in Envoy 1.40 with the same calls.

mod common;

use std::time::Duration;

use common::{
    options,
    real::{await_lines, bootstrap, cluster, harness_lines, module_file, threads},
    start_in, worker_said,
};
use host_harness::{
    envoy::{Envoy, EnvoyOptions, Request},
    real_envoy::{self, RealEnvoy},
    servers::{BundleServer, Fault, Published, client},
    world::{Reply, Scripted},
};

const SECOND: Duration = Duration::from_secs(1);

/// Makes calls in a request and lets everything happen that follows; calls are `path|retry headers|time limit in ms`.
fn call(calls: &[&str], world: Scripted) -> Envoy<Scripted> {
    call_with(calls, world, options())
}

fn call_with(calls: &[&str], world: Scripted, options: EnvoyOptions) -> Envoy<Scripted> {
    let calls: String = calls
        .iter()
        .map(|call| {
            let parts: Vec<&str> = call.split('|').collect();
            format!(
                r#"(call $fetch @"hub" @pairs(":method: GET; :path: {}; :authority: hub.test; {}") (i32.const {}))"#,
                parts[0], parts[1], parts[2]
            )
        })
        .collect();
    let body = r#"
      (func (export "proxy_on_http_call_response") (param $root i32) (param $token i32) (param i32 i32 i32)
        (call $say (local.get $token)) (call $tell_header (i32.const 6) @":status") (call $tell_buffer (i32.const 4)))
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) CALLS (i32.const 0))
    "#
    .replace("CALLS", &calls);
    let mut envoy = start_in(&body, options, world);
    envoy.exchange(0, Request::get("/"));
    envoy.run_for(SECOND * 60);
    envoy
}

/// Paths that the cluster saw, in order.
fn seen(envoy: &Envoy<Scripted>) -> Vec<String> {
    envoy
        .world()
        .seen()
        .iter()
        .filter(|seen| seen.call.cluster == "hub")
        .map(|seen| seen.call.path())
        .collect()
}

fn statuses(statuses: &[u16]) -> Scripted {
    let mut world = Scripted::new();
    let replies = statuses.iter().map(|status| Reply::status(*status).with_body(status.to_string()));
    world.set_answers("hub", replies.collect());
    world
}

#[test]
fn a_call_is_sent_again_until_it_succeeds() {
    let envoy =
        call(&["/a|x-envoy-retry-on: 5xx,reset; x-envoy-max-retries: 3|0"], statuses(&[503, 500, 200]));
    assert_eq!(worker_said(&envoy), ["0", "4", "200", "200"]);
    let attempts: Vec<_> = envoy.world().seen().iter().filter(|seen| seen.call.cluster == "hub").collect();
    assert_eq!(attempts.len(), 3);
    for attempt in &attempts {
        assert_eq!(attempt.call.header("x-envoy-retry-on"), None);
        assert_eq!(attempt.call.header("x-envoy-max-retries"), None);
        assert_eq!(attempt.call.header("x-envoy-internal"), Some(b"true".as_slice()));
    }
    // The first wait is below 25 ms, the second one below 50 ms.
    let wait = |n: usize| attempts[n].at.saturating_sub(attempts[n - 1].at);
    assert!(wait(1) < SECOND / 40 && wait(2) < SECOND / 20, "{:?} {:?}", wait(1), wait(2));
    assert_ne!(attempts[2].at, attempts[0].at);
}

#[test]
fn one_retry_is_the_default_and_without_a_condition_there_is_none() {
    for (headers, attempts) in [
        ("x-envoy-retry-on: 5xx", 2),
        ("x-envoy-retry-on: 5xx; x-envoy-max-retries: 2", 3),
        ("x-envoy-retry-on: 5xx; x-envoy-max-retries: 0", 1),
        ("x-envoy-max-retries: 2", 1),
        ("x-envoy-retry-on: bogus; x-envoy-max-retries: 2", 1),
        ("x-envoy-retry-on: reset; x-envoy-max-retries: 2", 1),
    ] {
        let envoy = call(&[&format!("/a|{headers}|0")], statuses(&[503]));
        assert_eq!(seen(&envoy).len(), attempts, "{headers}");
        assert_eq!(worker_said(&envoy), ["0", "4", "503", "503"]);
    }
}

#[test]
fn failures_of_the_connection_are_retried_and_told_in_other_words() {
    for (reply, reason) in [
        (Reply::connect_failure(), "remote connection failure"),
        (Reply::reset_before_headers(), "connection termination"),
    ] {
        let mut world = Scripted::new();
        world.set_answers("hub", vec![reply.clone()]);
        let envoy = call(&["/a|x-envoy-retry-on: reset; x-envoy-max-retries: 3|0"], world);
        assert_eq!(seen(&envoy).len(), 4);
        let text = format!(
            "upstream connect error or disconnect/reset before headers. retried and the latest reset reason: {reason}"
        );
        assert_eq!(worker_said(&envoy), ["0", "4", "503", text.as_str()]);
        let mut world = Scripted::new();
        world.set_answers("hub", vec![reply, Reply::body("fine")]);
        assert_eq!(worker_said(&call(&["/a|x-envoy-retry-on: 5xx|0"], world)), ["0", "4", "200", "fine"]);
    }
}

#[test]
fn the_time_limit_bounds_all_attempts_and_the_waits_between_them() {
    let headers = "x-envoy-retry-on: 5xx; x-envoy-max-retries: 1000";
    let envoy = call(&[&format!("/a|{headers}|300")], statuses(&[503]));
    assert_eq!(worker_said(&envoy), ["0", "4", "504", "upstream request timeout"]);
    let attempts: Vec<_> = envoy.world().seen().iter().filter(|seen| seen.call.cluster == "hub").collect();
    assert!(attempts.len() > 2 && attempts.len() < 100, "{}", attempts.len());
    let began = attempts[0].at;
    for attempt in &attempts {
        let left = Duration::from_millis(300) - (attempt.at - began);
        let reported = attempt.call.header("x-envoy-expected-rq-timeout-ms").unwrap();
        assert_eq!(reported, left.as_millis().to_string().as_bytes());
        assert_eq!(attempt.call.timeout, Some(left));
    }
    // An attempt that is never answered is not sent again, for there is no limit for one alone.
    let mut world = Scripted::new();
    world.set_answers("hub", vec![Reply::never()]);
    let envoy = call(&[&format!("/a|{headers}|300")], world);
    assert_eq!((seen(&envoy).len(), worker_said(&envoy)[2].as_str()), (1, "504"));
}

#[test]
fn a_cluster_takes_three_retries_at_once_and_the_others_have_their_failure() {
    let calls: Vec<String> =
        (0..6).map(|n| format!("/{n}|x-envoy-retry-on: 5xx; x-envoy-max-retries: 2|0")).collect();
    let calls: Vec<&str> = calls.iter().map(String::as_str).collect();
    let envoy = call(&calls, statuses(&[503]));
    let attempts = |path: &str| seen(&envoy).iter().filter(|seen| *seen == path).count();
    assert_eq!(["/0", "/1", "/2", "/3", "/4", "/5"].map(attempts), [3, 3, 3, 1, 1, 1]);

    let more = EnvoyOptions { max_retries: 100, ..options() };
    let envoy = call_with(&calls, statuses(&[503]), more);
    assert_eq!(seen(&envoy).len(), 18);
}

#[test]
fn a_retry_that_finds_no_host_is_a_503_of_envoys_own() {
    let mut world = Scripted::new();
    world.set_answers("hub", vec![Reply::status(503), Reply::refused()]);
    let envoy = call(&["/a|x-envoy-retry-on: 5xx|0"], world);
    assert_eq!(worker_said(&envoy), ["0", "4", "503", "no healthy upstream"]);
}

#[test]
fn waits_depend_on_the_seed_alone() {
    let times = |seed| {
        let options = EnvoyOptions { seed, ..options() };
        let calls = &["/a|x-envoy-retry-on: 5xx; x-envoy-max-retries: 5|0"];
        let envoy = call_with(calls, statuses(&[503]), options);
        envoy.world().seen().iter().map(|seen| seen.at).collect::<Vec<_>>()
    };
    assert_eq!(times(1), times(1));
    assert_ne!(times(1), times(2));
}

#[test]
fn a_vm_that_fails_while_a_retry_waits_is_not_told_and_nothing_is_sent() {
    let body = r#"
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (call $fetch @"hub" @pairs(":method: GET; :path: /; :authority: a; x-envoy-retry-on: 5xx") (i32.const 0))
        (call $tell_property @"request\0path") (i32.const 1))
      (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32) unreachable)
    "#;
    let mut envoy = start_in(body, options(), statuses(&[503]));
    let mut request = Request::post("/", "body");
    request.chunk_interval = Duration::from_nanos(1);
    envoy.exchange(0, request);
    envoy.run_for(SECOND);
    assert_eq!(seen(&envoy).len(), 1);
    assert_eq!(worker_said(&envoy), ["0", "/"]);
}

/// What a server does on every request of a path, or on the first ones, and what a call to it asks for.
const CASES: [(&str, Fault, Option<usize>, &str); 8] = [
    ("/two", Fault::Status(503), Some(2), "x-envoy-retry-on: 5xx; x-envoy-max-retries: 3"),
    ("/once", Fault::Status(503), None, "x-envoy-retry-on: 5xx"),
    ("/gateway", Fault::Status(502), None, "x-envoy-retry-on: gateway-error; x-envoy-max-retries: 2"),
    ("/not-gateway", Fault::Status(500), None, "x-envoy-retry-on: gateway-error"),
    ("/not-reset", Fault::Status(503), None, "x-envoy-retry-on: reset; x-envoy-max-retries: 2"),
    (
        "/codes",
        Fault::Status(429),
        None,
        "x-envoy-retry-on: retriable-status-codes; x-envoy-retriable-status-codes: 429",
    ),
    ("/reset", Fault::ResetBeforeHeaders, None, "x-envoy-retry-on: reset; x-envoy-max-retries: 2"),
    ("/not-connect", Fault::ResetBeforeHeaders, None, "x-envoy-retry-on: connect-failure"),
];

#[test]
fn calls_are_sent_again_as_often_as_by_real_envoy() {
    // A request for `/0` makes the call of the first case, and so on.
    let calls: String = CASES
        .iter()
        .enumerate()
        .map(|(number, (path, _, _, headers))| {
            format!(
                r#"(if (i32.eq (local.get $case) (i32.const {number})) (then
                  (call $fetch @"hub" @pairs(":method: GET; :path: {path}; :authority: hub.test; {headers}") (i32.const 0))))"#
            )
        })
        .collect();
    let body = r#"
      (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32)
        (call $say (local.get 1)) (call $tell_header (i32.const 6) @":status"))
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (local $case i32)
        (call $clear) (drop (call $get_header (i32.const 0) @":path" (i32.const 16) (i32.const 20)))
        (local.set $case (i32.sub (i32.load8_u (i32.add (i32.const 1) (i32.load (i32.const 16)))) (i32.const 48)))
        CALLS (i32.const 0))
    "#
    .replace("CALLS", &calls);

    let mut world = Scripted::new();
    for (path, fault, times, _) in &CASES {
        let bad = match fault {
            Fault::Status(status) => Reply::status(*status),
            _ => Reply::reset_before_headers(),
        };
        let mut replies = vec![bad; times.unwrap_or(1)];
        replies.extend(times.map(|_| Reply::body("fine")));
        world.set_path_answers("hub", path, replies);
    }
    let mut envoy = start_in(&body, options(), world);
    for number in 0..CASES.len() {
        envoy.exchange(0, Request::get(&format!("/{number}")));
        envoy.run_for(SECOND * 10);
    }
    let [_, in_harness] = harness_lines(&envoy);

    let server = BundleServer::start().unwrap();
    for (path, fault, times, _) in CASES {
        server.publish(path, Published::new("fine"));
        match times {
            Some(times) => server.fault_next(path, times, fault),
            None => server.fault(path, fault),
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let module = module_file(&body, folder.path());
    let clusters = [cluster("hub", Some(server.addr()), false)];
    let written = bootstrap(&[options().plugin], false, &module, folder.path(), &clusters);
    let real = RealEnvoy::start(&written, &real_envoy::EnvoyOptions::default()).unwrap();
    for number in 0..CASES.len() {
        client::Request::get(format!("/{number}")).send(real.listener_addr()).unwrap();
        // The hostcall's status, the token, the response's status.
        await_lines(&real, (number + 1) * 3);
    }
    let [_, in_envoy] = threads_of_worker(&real.quit().unwrap());

    assert_eq!(in_envoy, in_harness, "first what real Envoy did");
    for (path, ..) in CASES {
        let in_harness = seen(&envoy).iter().filter(|seen| *seen == path).count();
        assert_eq!(server.traffic().count(path), in_harness, "{path}");
    }
}

/// The main thread says nothing here, so the only thread that does is the worker.
fn threads_of_worker(log: &str) -> [Vec<String>; 2] {
    let [worker, none] = threads(log);
    assert!(none.is_empty());
    [none, worker]
}
