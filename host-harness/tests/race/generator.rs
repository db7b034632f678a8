//! Scenario files and filters that nobody would write.

use rand::{RngExt, rngs::ChaCha8Rng};

/// In a scenario with so many steps no run comes to its end in any time.
pub(crate) const MANY_STEPS: &str = "1000000";

/// What a filter may do, wherever it is called.
const ACTIONS: [&str; 14] = [
    r#"(drop (call $set_tick (i32.const 0)))"#,
    r#"(drop (call $set_tick (i32.const 1)))"#,
    r#"(drop (call $set_tick (i32.const 70)))"#,
    r#"(drop (call $set_tick (i32.const 5000)))"#,
    r#"(drop (call $register_queue @"q" (i32.const 28)))"#,
    r#"(drop (call $enqueue (i32.load (i32.const 28)) @"item"))"#,
    r#"(drop (call $dequeue (i32.load (i32.const 28)) (i32.const 16) (i32.const 20)))"#,
    r#"(drop (call $set_shared @"key" @"value" (i32.const 0)))"#,
    r#"(drop (call $get_shared @"key" (i32.const 16) (i32.const 20) (i32.const 24)))"#,
    r#"(drop (call $http_call @"feed" @pairs(":method: GET; :path: /; :authority: feed") (i32.const 0) (i32.const 0)
        (i32.const 0) (i32.const 0) (i32.const 30) (i32.const 24)))"#,
    r#"(drop (call $http_call @"feed" @pairs(":method: GET; :path: /b; :authority: feed") @"body" (i32.const 0)
        (i32.const 0) (i32.const 100000) (i32.const 24)))"#,
    r#"(drop (call $grpc_call @"feed" @"s.S" @"M" (i32.const 0) (i32.const 0) @"m" (i32.const 50) (i32.const 24)))"#,
    r#"(drop (memory.grow (i32.const 1)))"#,
    r#"(drop (call $continue (i32.const 0)))"#,
];

/// The same for a stream.
const STREAM_ACTIONS: [&str; 3] = [
    r#"(drop (call $respond (i32.const 403) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
        (i32.const 0) (i32.const -1)))"#,
    r#"(drop (call $get_header (i32.const 0) @"x-portcullis-nonce" (i32.const 16) (i32.const 20)))
       (drop (call $replace_header (i32.const 0) @"x-seen" (i32.load (i32.const 16)) (i32.load (i32.const 20))))"#,
    "unreachable",
];

pub(crate) fn one_of<'a>(random: &mut ChaCha8Rng, of: &[&'a str]) -> &'a str {
    of[random.random_range(0..of.len())]
}

/// One of these, and seldom one of those that are refused.
fn mostly<'a>(random: &mut ChaCha8Rng, of: &[&'a str], bad: &[&'a str]) -> &'a str {
    let of = if random.random_range(0..40) == 0 { bad } else { of };
    one_of(random, of)
}

/// The body of a filter.
pub(crate) fn guest(random: &mut ChaCha8Rng) -> String {
    let actions = |random: &mut ChaCha8Rng, of_stream: bool| {
        let mut text = String::new();
        for _ in 0..random.random_range(0..4) {
            let stream = of_stream && random.random_range(0..4) == 0;
            text += one_of(random, if stream { &STREAM_ACTIONS } else { &ACTIONS });
            text += "\n";
        }
        text
    };
    let mut guest = format!(
        r#"(func (export "proxy_on_configure") (param i32 i32) (result i32) {} (i32.const 1))"#,
        actions(random, false)
    );
    for (export, parameters, of_stream, result) in [
        ("proxy_on_tick", "i32", false, ""),
        ("proxy_on_queue_ready", "i32 i32", false, ""),
        ("proxy_on_http_call_response", "i32 i32 i32 i32 i32", false, ""),
        ("proxy_on_grpc_close", "i32 i32 i32", false, ""),
        ("proxy_on_request_headers", "i32 i32 i32", true, "(result i32)"),
        ("proxy_on_request_body", "i32 i32 i32", true, "(result i32)"),
        ("proxy_on_response_headers", "i32 i32 i32", true, "(result i32)"),
        ("proxy_on_log", "i32", false, ""),
    ] {
        if random.random_range(0..3) == 0 {
            continue;
        }
        let value = if result.is_empty() {
            ""
        } else {
            one_of(random, &["(i32.const 0)", "(i32.const 0)", "(i32.const 1)"])
        };
        let body = actions(random, of_stream);
        guest += &format!(r#"(func (export "{export}") (param {parameters}) {result} {body} {value})"#);
    }
    guest
}

/// A scenario file, seldom one that is refused.
pub(crate) fn scenario(random: &mut ChaCha8Rng) -> String {
    let mut text = "scenario: random\nmodule: random.wasm\n".to_owned();
    if random.random() {
        text += &format!(
            "workers: {}\n",
            mostly(random, &["1", "1", "2", "2", "3", "4", "16"], &["0", "65", "two"])
        );
    }
    if random.random() {
        text += &format!(
            "failure_policy: {}\n",
            mostly(random, &["fail_closed", "fail_open", "fail_reload"], &["fail"])
        );
    }
    if random.random_range(0..4) > 0 {
        text += "clusters:\n  feed:\n    answers: [";
        for _ in 0..random.random_range(0..4) {
            let reply = [
                "never",
                "refused",
                "reset",
                "connect_failure",
                "{status: 200, after: 7ms}",
                "{status: 503}",
                "{status: 200, body: a, after: 10h}",
            ];
            text += &format!("{}, ", mostly(random, &reply, &["{status: 99}", "sometimes"]));
        }
        text += "]\n";
        if random.random() {
            text += "    paths: {/b: {POST: [{body: {hex: 00ff}}], '*': [{status: 204}]}}\n";
        }
        if random.random() {
            let reply = [
                "never",
                "refused",
                "{messages: [a, b], every: 5ms}",
                "{to: message, messages: [c]}",
                "{status: 7}",
            ];
            text += &format!("    grpc: {{s.S/M: [{}]}}\n", mostly(random, &reply, &["{status: 70}", "x"]));
        }
    }
    let time = ["0s", "0s", "0s", "1ms", "5ms", "10ms", "100ms", "1s"];
    let bad_time = ["10h", "-1s", "soon"];
    let events = random.random_range(0..8);
    if events > 0 {
        text += "events:\n";
    }
    for number in 0..events {
        let at = mostly(random, &time, &bad_time);
        // The last request before it.
        let mut earlier = (0..number).rev().map(|number| format!("r{number}"));
        let earlier = earlier.find(|name| text.contains(&format!("request: {name},")));
        let earlier = earlier.unwrap_or_default();
        let delayed = format!("{{request: {earlier}, has: begun, delay: {at}}}");
        let has_requests = text.contains("request: ");
        let at = match random.random_range(0..6) {
            0 if has_requests => format!("after: {earlier}"),
            1 if has_requests => format!("after: {delayed}"),
            _ => format!("at: {at}"),
        };
        let span = mostly(random, &time, &bad_time);
        text += &match random.random_range(0..12) {
            0 => format!("  - {{{at}, cluster: feed, answers: [{{status: 200}}]}}\n"),
            1 => format!("  - {{{at}, configure: plugin, configuration: {{a: {number}}}}}\n"),
            2 => format!("  - {{{at}, trap: w0}}\n"),
            3 => format!("  - {{{at}, stall: w0, for: {span}}}\n"),
            4 => format!("  - {{{at}, remove: plugin}}\n"),
            5 => format!(
                "  - {{{at}, request: r{number}, worker: 0, method: POST, body: abcdefgh, chunk_size: 3, leaves_after: {span}}}\n"
            ),
            _ => {
                format!("  - {{{at}, request: r{number}, worker: {}, path: /x}}\n", random.random_range(0..2))
            }
        };
    }
    if random.random() {
        text += "faults: {";
        for fault in ["resets", "refusals", "timeouts", "connect_failures", "duplicates"] {
            if random.random() {
                text +=
                    &format!("{fault}: {}, ", mostly(random, &["0", "1", "2", "50"], &["4294967295", "-1"]));
            }
        }
        text += "}\n";
    }
    text += "bounds: {";
    for (bound, values) in [
        ("until", &["0s", "1ms", "100ms", "2s", "10s", "1000h"][..]),
        ("settle", &["0s", "1ms", "1s", "5s", "1000h"]),
        ("slack", &["0s", "1ms", "20ms", "1s", "1000h"]),
        ("steps", &["1", "10", "300", "2000", MANY_STEPS]),
        ("clock_step", &["0s", "1ms", "1h"]),
    ] {
        if random.random_range(0..3) == 0 {
            text += &format!("{bound}: {}, ", one_of(random, values));
        }
    }
    text += "}\n";
    if random.random_range(0..3) == 0 {
        text += one_of(
            random,
            &[
                "must: {eventually: [{agree: {path: /}}]}\n",
                "must: {at_most: [{cluster: feed, calls: 3}]}\n",
                "must: {always: [{never: {status: 503}}]}\n",
                "must: {at_most: [{ticks: 40}, {items: 9}, {calls: 3}]}\n",
                "must: {same: [{requests: [r0, r1], parts: [status]}]}\n",
                "must: {always: [{request: r1, answer: {body: {of: r0}}}]}\n",
                "tolerate: [trap, growth]\n",
            ],
        );
    }
    text
}
