//! What scenario files say: answers by method, bodies of bytes, rules between two answers, limits, gRPC answers.

use std::sync::Arc;

use host_harness::{
    abi::Module,
    race::{self, Options, Report, scenario::Scenario},
};

use super::{bounded, common};

/// A filter that lets everything go.
pub(super) const BLIND: &str =
    r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 0))"#;

pub(super) fn guest(body: &str) -> Module {
    common::guest(body)
}

/// The scenario with these keys.
pub(super) fn scenario(rest: &str) -> Arc<Scenario> {
    let text = format!("scenario: language\nmodule: guest.wasm\n{rest}\n");
    let read = Scenario::parse_kept(&text, "language.yaml");
    Arc::new(read.unwrap_or_else(|error| panic!("{error}\n{text}")).remove(0))
}

pub(super) fn explored(body: &str, rest: &str, options: &Options) -> Report {
    race::explore(&guest(body), &scenario(rest), options).unwrap_or_else(|error| panic!("{error}"))
}

/// Explored without preemptions, once with a cache of states and once every schedule: both must say the same, and the
/// certificate must count what was run.
pub(super) fn covered(body: &str, rest: &str) -> Report {
    let (module, scenario) = (guest(body), scenario(rest));
    let cached = race::explore(&module, &scenario, &bounded(0)).unwrap();
    let plain = race::explore(&module, &scenario, &Options { cache: false, ..bounded(0) }).unwrap();
    assert_eq!(cached.is_clean(), plain.is_clean(), "{cached}\n{plain}");
    let certificate = cached.phases[0].certificate.as_ref().unwrap_or_else(|| panic!("{cached}"));
    assert_eq!(certificate.paths, plain.schedules.to_string(), "{cached}\n{plain}");
    cached
}

fn said(report: &Report) -> &str {
    &report.first.as_ref().unwrap_or_else(|| panic!("{report}")).message
}

// === Answers by method ===

#[test]
fn a_path_answers_each_method_in_its_own_way() {
    let text = "
clusters: {upstream: {paths: {/a: {GET: [{status: 200}], POST: [{status: 201}, {status: 409}]}}}}
events:
  - {at: 0s, request: get, path: /a}
  - {at: 0s, request: first, path: /a, method: POST}
  - {after: first, request: second, path: /a, method: POST}
  - {after: second, cluster: upstream, path: /a, method: POST, answers: [{status: 410}]}
  - {at: 60ms, request: third, path: /a, method: POST}
bounds: {until: 100ms, slack: 1ms}
must:
  always:
    - {request: get, answer: {status: 200}}
    - {request: first, answer: {status: 201}}
    - {request: second, answer: {status: 409}}
    - {request: third, answer: {status: 410}}
";
    covered(BLIND, text).assert_clean();
    assert!(
        !covered(BLIND, &text.replace("third, answer: {status: 410", "third, answer: {status: 409"))
            .is_clean()
    );
    let limit = |calls: usize| {
        format!("{text}  at_most: [{{cluster: upstream, path: /a, method: POST, calls: {calls}}}]\n")
    };
    covered(BLIND, &limit(3)).assert_clean();
    let broken = covered(BLIND, &limit(2));
    assert_eq!(said(&broken), "cluster `upstream` is called for `POST /a` more than 2 times: this is call 3");
}

// === Bodies of bytes ===

#[test]
fn bodies_of_bytes_are_sent_answered_and_compared() {
    let echo = r#"
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 1))
      (func (export "proxy_on_request_body") (param i32) (param $size i32) (param $end i32) (result i32)
        (drop (call $get_buffer (i32.const 0) (i32.const 0) (local.get $size) (i32.const 16) (i32.const 20)))
        (if (local.get $end)
          (then (call $answer (i32.const 200) (i32.load (i32.const 16)) (i32.load (i32.const 20)))))
        (i32.const 1))"#;
    let text = |expected: &str| {
        format!(
            "workers: 1\nallow_on_headers_stop_iteration: true\n\
             events: [{{at: 0s, request: A, method: POST, protocol: http2, body: {{hex: 00 ff 80}}}}]\n\
             must: {{always: [{{answer: {{body: {expected}}}}}]}}"
        )
    };
    explored(echo, &text("{base64: AP+A}"), &bounded(0)).assert_clean();
    let broken = explored(echo, &text("{hex: 00ff81}"), &bounded(0));
    assert_eq!(
        said(&broken),
        "request `A` is answered 200 hex 00ff80 (3 bytes), and not any status hex 00ff81 (3 bytes)"
    );
    let answered = "
clusters: {upstream: {answers: [{body: {hex: fffe}}]}}
events: [{at: 0s, request: A}]
must: {always: [{answer: {contains: {hex: fe}}}, {never: {contains: {hex: '00'}}}]}";
    explored(BLIND, answered, &bounded(0)).assert_clean();
}

// === Rules between two answers ===

/// Whichever of the two is answered first.
fn between(session: &str, me: &str, rule: &str) -> String {
    format!(
        "
clusters:
  upstream:
    paths:
      /login: [{{headers: {{x-session: {session}}}, body: {session}}}]
      /me: [{{body: {me}, headers: {{x-of: {session}}}}}]
events:
  - {{at: 0s, request: login, worker: 0, path: /login}}
  - {{at: 0s, request: me, worker: 1, path: /me}}
bounds: {{until: 40ms, slack: 10ms}}
must: {{always: [{{request: me, {rule}}}]}}"
    )
}

#[test]
fn an_answer_holds_a_part_of_another_whichever_comes_first() {
    for part in ["{of: login}", "{of: login, header: X-Session}"] {
        let rule = format!("answer: {{contains: {part}}}");
        covered(BLIND, &between("s1", "hello-s1", &rule)).assert_clean();
        let broken = covered(BLIND, &between("s1", "hello-s2", &rule));
        assert_eq!(
            said(&broken),
            "request `me` is answered 200 \"hello-s2\", and not any status with \"s1\" in its body, as request `login` was answered"
        );
        assert_eq!(broken.failing, broken.schedules, "it is broken in every order");
        let never = format!("never: {{contains: {part}}}");
        assert!(!covered(BLIND, &between("s1", "hello-s1", &never)).is_clean());
        covered(BLIND, &between("s1", "hello-s2", &never)).assert_clean();
    }
    covered(BLIND, &between("s1", "s1", "answer: {body: {of: login}}")).assert_clean();
    assert!(!covered(BLIND, &between("s1", "s1x", "answer: {body: {of: login}}")).is_clean());
    covered(BLIND, &between("s1", "x", "answer: {headers: {x-of: {of: login}}}")).assert_clean();
}

#[test]
fn a_part_that_is_not_there_says_nothing() {
    for rule in [
        "answer: {contains: {of: login, header: x-other}}",
        "never: {contains: {of: login, header: x-other}}",
    ] {
        covered(BLIND, &between("s1", "x", rule)).assert_clean();
    }
    covered(BLIND, &between("''", "x", "never: {contains: {of: login}}")).assert_clean();
}

#[test]
fn what_is_asked_in_the_end_may_be_what_another_was_answered() {
    let rule = |part: &str| {
        let text = between("s1", "x", "answer: {status: 200}")
            .replace("must: {", "must: {eventually: [EVENTUALLY], ");
        text.replace("EVENTUALLY", &format!("{{request: {{path: /login}}, answer: {{body: {part}}}}}"))
    };
    explored(BLIND, &rule("{of: login}"), &bounded(0)).assert_clean();
    let broken = explored(BLIND, &rule("{of: me}"), &bounded(0));
    assert!(
        said(&broken).starts_with(
            "in the end `GET /login` must be answered any status \"x\", as request `me` was answered, and w0"
        ),
        "{broken}"
    );
    // Nothing is asked when there was no answer to compare with.
    let left =
        rule("{of: me}").replace("request: me, worker: 1,", "request: me, worker: 1, leaves_after: 0s,");
    let left = left.replace("body: x, headers", "after: 1s, body: x, headers");
    explored(BLIND, &left, &bounded(0)).assert_clean();
}

#[test]
fn requests_with_one_label_are_answered_the_same() {
    let text = |answers: &str, rule: &str| {
        format!(
            "
clusters: {{upstream: {{answers: [{answers}]}}}}
events:
  - {{at: 0s, request: A, worker: 0, label: alice}}
  - {{at: 0s, request: B, worker: 1, label: alice}}
bounds: {{until: 40ms, slack: 10ms}}
must: {{same: [{rule}]}}"
        )
    };
    covered(BLIND, &text("{body: a}", "{label: alice}")).assert_clean();
    let two = "{body: a, headers: {x-bucket: '1'}}, {body: b, headers: {x-bucket: '1'}}";
    let broken = covered(BLIND, &text(two, "{label: alice}"));
    let first =
        "requests `A` and `B` must be answered the same, for both have the label `alice`, and are answered";
    assert!(said(&broken).starts_with(first), "{broken}");
    assert_eq!(broken.first.as_ref().map(|found| found.oracle.as_str()), Some("same"));
    assert!(!covered(BLIND, &text(two, "{label: '*', parts: [body]}")).is_clean());
    covered(BLIND, &text(two, "{label: alice, headers: [x-bucket]}")).assert_clean();
    covered(
        BLIND,
        &text(two, "{label: alice}, {label: alice, parts: [status]}").replace("{label: alice}, ", ""),
    )
    .assert_clean();
    let plain = text(two, "{requests: [A, B]}").replace(", label: alice", "");
    assert!(
        said(&covered(BLIND, &plain)).starts_with("requests `A` and `B` must be answered the same, and are")
    );
}

// === Limits ===

#[test]
fn ticks_items_and_calls_have_limits() {
    let busy = r#"
      (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (drop (call $register_queue @"updates" (i32.const 28)))
        (drop (call $set_tick (i32.const 10))) (i32.const 1))
      (func (export "proxy_on_tick") (param i32)
        (drop (call $enqueue (i32.load (i32.const 28)) @"item"))
        (drop (call $dequeue (i32.load (i32.const 28)) (i32.const 16) (i32.const 20)))
        (call $fetch @"hub" @pairs(":method: GET; :path: /; :authority: hub") (i32.const 1000)))"#;
    // Three ticks each on the main thread and on the worker, at 10, 20 and 30 ms.
    let text = |rule: &str| {
        format!(
            "workers: 1\nclusters: {{hub: {{}}}}\nbounds: {{until: 1ms, settle: 34ms}}\nmust: {{at_most: [{rule}]}}"
        )
    };
    let one = Options { schedules: 1, ..bounded(0) };
    for (exact, low, message) in [
        ("{ticks: 6}", "{ticks: 5}", "VMs tick more than 5 times: this is tick 6"),
        (
            "{ticks: 3, thread: w0}",
            "{ticks: 2, thread: w0}",
            "the VM of w0 ticks more than 2 times: this is tick 3",
        ),
        ("{items: 6}", "{items: 5}", "items are put into queues more than 5 times: this is item 6"),
        (
            "{items: 0, queue: other}",
            "{items: 5, queue: updates}",
            "items are put into queue `updates` more than 5 times: this is item 6",
        ),
        ("{calls: 6}", "{calls: 5}", "filters call clusters more than 5 times: this is call 6"),
    ] {
        explored(busy, &text(exact), &one).assert_clean();
        let broken = explored(busy, &text(low), &one);
        assert_eq!(said(&broken), message);
        assert_eq!(broken.first.as_ref().map(|found| found.oracle.as_str()), Some("at-most"));
    }
}

#[test]
fn requests_that_are_sent_upstream_are_no_calls_of_filters() {
    let text = "events: [{at: 0s, request: A}]\nbounds: {until: 10ms}\nmust: {at_most: [{calls: 0}]}";
    explored(BLIND, text, &bounded(0)).assert_clean();
}

// === gRPC ===

/// Calls `svc.S/Ask` for each request but `/got`, and keeps the last message, or the status, for all VMs; `/got` is
/// answered with it.
const ASKS: &str = r#"
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (drop (call $get_header (i32.const 0) @":path" (i32.const 16) (i32.const 20)))
    (if (i32.eq (i32.load (i32.const 20)) (i32.const 4))
      (then
        (i64.store (i32.const 16) (i64.const 0))
        (drop (call $get_shared @"got" (i32.const 16) (i32.const 20) (i32.const 24)))
        (call $answer (i32.const 200) (i32.load (i32.const 16)) (i32.load (i32.const 20))))
      (else (CALL)))
    (i32.const 0))
  (func (export "proxy_on_grpc_receive") (param i32 i32) (param $size i32)
    (drop (call $get_buffer (i32.const 5) (i32.const 0) (local.get $size) (i32.const 16) (i32.const 20)))
    (drop (call $set_shared @"got" (i32.load (i32.const 16)) (i32.load (i32.const 20)) (i32.const 0))))
  (func (export "proxy_on_grpc_receive_trailing_metadata") (param i32 i32 i32)
    (if (i32.eqz (call $get_header (i32.const 5) @"x-reason" (i32.const 16) (i32.const 20)))
      (then (drop (call $set_shared @"got" (i32.load (i32.const 16)) (i32.load (i32.const 20)) (i32.const 0))))))
  (func (export "proxy_on_grpc_close") (param i32 i32) (param $status i32)
    (if (i32.eq (local.get $status) (i32.const 7)) (then (drop (call $set_shared @"got" @"denied" (i32.const 0))))))"#;

fn calls() -> String {
    let call = r#"drop (call $grpc_call @"hub" @"svc.S" @"Ask" (i32.const 0) (i32.const 0) @"m" (i32.const 1000) (i32.const 24))"#;
    ASKS.replace("CALL", call)
}

fn streams(sends: u32) -> String {
    let open =
        r#"drop (call $grpc_stream @"hub" @"svc.S" @"Ask" (i32.const 0) (i32.const 0) (i32.const 24))"#;
    let sent = r#") (drop (call $grpc_send (i32.load (i32.const 24)) @"m" (i32.const 0))"#;
    ASKS.replace("CALL", &format!("{open}{}", (0..sends).map(|_| sent).collect::<String>()))
}

/// One request asks, and a later one says what came.
fn grpc(answers: &str, got: &str) -> String {
    format!(
        "
workers: 1
clusters: {{hub: {{grpc: {{svc.S/Ask: [{answers}]}}}}}}
events:
  - {{at: 0s, request: A}}
  - {{at: 100ms, request: B, path: /got}}
bounds: {{until: 50ms, slack: 1ms}}
must: {{always: [{{request: B, answer: {{body: '{got}'}}}}]}}"
    )
}

#[test]
fn a_grpc_call_is_answered_as_the_scenario_says() {
    for (answers, got) in [
        ("{messages: [yes]}", "yes"),
        ("{messages: [{hex: '796573'}], headers: {x-a: '1'}}", "yes"),
        ("{messages: [late], after: 99ms}", "late"),
        ("{status: 7, status_message: not you}", "denied"),
        ("{http_status: 403}", "denied"),
        ("{to: end, messages: [at the end]}", "at the end"),
        ("{to: message, messages: [for it]}", "for it"),
        ("never", ""),
        ("refused", ""),
        ("{outcome: reset, messages: [x]}", ""),
        ("{messages: [too late], after: 200ms}", ""),
    ] {
        explored(&calls(), &grpc(answers, got), &bounded(0)).assert_clean();
    }
    let any = grpc("{messages: [any]}", "any").replace("svc.S/Ask", "'*'");
    explored(&calls(), &any, &bounded(0)).assert_clean();
    let unknown = grpc("{messages: [any]}", "").replace("svc.S/Ask", "svc.S/Other");
    explored(&calls(), &unknown, &bounded(0)).assert_clean();
}

#[test]
fn a_grpc_stream_is_told_messages_and_trailers_as_they_come() {
    for (sends, answers, got) in [
        (0, "{messages: [one, two]}", "two"),
        (0, "{outcome: open, messages: [one, two], every: 60ms}", "two"),
        (0, "{outcome: open, messages: [one, two], every: 200ms}", "one"),
        (0, "{messages: [one], trailers: {x-reason: because}}", "because"),
        (0, "{outcome: reset, messages: [one]}", "one"),
        (0, "{to: message, messages: [each]}", ""),
        (1, "{to: message, messages: [each]}", "each"),
        (2, "{to: message, messages: [each]}", "each"),
        (1, "{to: end, messages: [end]}", ""),
    ] {
        let mut text = grpc(answers, got);
        text += "\ntolerate: [call-leak, growth]";
        explored(&streams(sends), &text, &bounded(0)).assert_clean();
    }
}

#[test]
fn states_in_which_grpc_answers_were_given_otherwise_are_not_the_same() {
    let text = |rule: &str| {
        format!(
            "
clusters:
  upstream: {{answers: [{{after: 20ms}}]}}
  hub: {{grpc: {{svc.S/Ask: [{{messages: [one], after: 10ms}}, {{messages: [two], after: 10ms}}]}}}}
events:
  - {{at: 0s, request: A, worker: 0}}
  - {{at: 0s, request: B, worker: 1}}
  - {{after: {{request: B, has: begun}}, cluster: hub, grpc: svc.S/Ask, answers: [{{messages: [three], after: 10ms}}]}}
  - {{at: 60ms, request: C, worker: 0, path: /got}}
bounds: {{until: 80ms, slack: 1ms}}
must: {{always: [{{request: C, {rule}}}]}}"
        )
    };
    let clean = |rule: &str| covered(&calls(), &text(rule)).is_clean();
    assert!(clean("one_of: [{body: one}, {body: two}, {body: three}]"));
    for body in ["one", "two", "three"] {
        assert!(!clean(&format!("never: {{body: {body}}}")), "{body}");
    }
}

#[test]
fn grpc_calls_are_counted_and_what_they_carry_is_followed() {
    let text = |rule: &str| {
        format!(
            "{}\n  at_most: [{rule}]",
            grpc("{messages: [yes]}", "yes")
                .replace("must: {always: [{request: B, answer: {body: 'yes'}}]}", "must:")
        )
    };
    explored(&calls(), &text("{cluster: hub, path: /svc.S/Ask, method: POST, calls: 1}"), &bounded(0))
        .assert_clean();
    let broken = explored(&calls(), &text("{calls: 0}"), &bounded(0));
    assert_eq!(said(&broken), "filters call clusters more than 0 times: this is call 1");
    // What the request before has brought goes out with the next one.
    let stale = r#"
      (global $size (mut i32) (i32.const 0))
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (call $grpc_call @"hub" @"svc.S" @"Ask" (i32.const 0) (i32.const 0) (i32.const 200) (global.get $size)
          (i32.const 1000) (i32.const 24)))
        (drop (call $get_header (i32.const 0) @"x-portcullis-nonce" (i32.const 16) (i32.const 20)))
        (global.set $size (i32.load (i32.const 20)))
        (memory.copy (i32.const 200) (i32.load (i32.const 16)) (global.get $size))
        (i32.const 0))"#;
    let two = "workers: 1\nclusters: {hub: {}}\nevents:\n  - {at: 0s, request: A}\n  - {after: A, request: B}\nbounds: {until: 20ms}";
    let broken = explored(stale, two, &bounded(0));
    assert!(said(&broken).contains("the call to cluster `hub` (body) on behalf of request `B`"), "{broken}");
}

// === What is out of scope ===

const NETWORK: &str = r#"(func (export "proxy_on_new_connection") (param i32) (result i32) (i32.const 0))"#;
const PANICS: &str =
    r#"(drop (call $log (i32.const 5) @"panicked at dispatcher.rs:1: invalid context_id")) unreachable"#;

#[test]
fn a_network_filter_is_said_to_be_none_for_here() {
    let http = |body: &str| {
        format!(
            r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) {body} (i32.const 0))"#
        )
    };
    let network = |body: &str| {
        format!(r#"(func (export "proxy_on_new_connection") (param i32) (result i32) {body} (i32.const 0))"#)
    };
    let refused = |body: &str| {
        let scenario = scenario("events: [{at: 0s, request: A}]\nbounds: {until: 10ms}");
        race::explore(&guest(body), &scenario, &bounded(0)).err().map(|error| error.to_string())
    };
    let said = "module `guest.wasm` is a network (TCP) filter, and races are explored of HTTP filters: \
                it gets connections and fails on requests";
    assert_eq!(refused(NETWORK).as_deref(), Some(said));
    assert_eq!(refused(&[network(""), http(PANICS)].concat()).as_deref(), Some(said));
    // Those of HTTP, of both kinds, of neither, and those that only fail.
    for body in [
        [network(PANICS), http("")].concat(),
        [network(""), http("")].concat(),
        [network(PANICS), http(PANICS)].concat(),
        [network(""), http("unreachable")].concat(),
        String::new(),
    ] {
        assert_eq!(refused(&body), None, "{body}");
    }
}
