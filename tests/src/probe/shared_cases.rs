//! Cases about what VMs share: shared data, shared queues, metrics.

use super::{
    Argument::{Bytes, GivesBytes, GivesNumber, GivesWord, Int, LastWord, Long},
    Call, Case,
    cases::text,
};

/// All of them, in the order in which they must run.
pub fn all() -> Vec<Case> {
    let mut cases = data();
    cases.extend(queues());
    cases.extend(metrics());
    cases
}

fn read(key: &str) -> Call {
    Call::new("proxy_get_shared_data", [text(key), GivesBytes, GivesWord])
}

fn write(key: &str, value: &str, cas: u32) -> Call {
    Call::new("proxy_set_shared_data", [text(key), text(value), Int(cas)])
}

fn write_at_last(key: &str, value: &str) -> Call {
    Call::new("proxy_set_shared_data", [text(key), text(value), LastWord])
}

fn register(name: &str) -> Call {
    Call::new("proxy_register_shared_queue", [text(name), GivesWord])
}

fn resolve(vm_id: &str, name: &str) -> Call {
    Call::new("proxy_resolve_shared_queue", [text(vm_id), text(name), GivesWord])
}

fn enqueue(item: &str) -> Call {
    Call::new("proxy_enqueue_shared_queue", [LastWord, text(item)])
}

fn dequeue() -> Call {
    Call::new("proxy_dequeue_shared_queue", [LastWord, GivesBytes])
}

fn define(kind: u32, name: &str) -> Call {
    Call::new("proxy_define_metric", [Int(kind), text(name), GivesWord])
}

fn increment(offset: i64) -> Call {
    Call::new("proxy_increment_metric", [LastWord, Long(offset)])
}

fn record(value: i64) -> Call {
    Call::new("proxy_record_metric", [LastWord, Long(value)])
}

fn metric() -> Call {
    Call::new("proxy_get_metric", [LastWord, GivesNumber])
}

fn data() -> Vec<Case> {
    vec![
        Case::new("shared data: absent", [read("absent"), read("")]),
        Case::new(
            "shared data: written with CAS 0 and read",
            [write("kept", "1", 0), read("kept"), write("kept", "22", 0), read("kept")],
        ),
        Case::new("shared data: the request after reads it", [read("kept")]),
        Case::new(
            "shared data: a fresh CAS writes and a stale one does not",
            [read("kept"), write_at_last("kept", "3"), write_at_last("kept", "4"), read("kept")],
        ),
        Case::new("shared data: a CAS that never was", [write("kept", "5", 99_999), read("kept")]),
        Case::new(
            "shared data: the highest CAS creates and does not replace",
            [write("once", "1", u32::MAX), read("once"), write("once", "2", u32::MAX), read("once")],
        ),
        Case::new("shared data: a CAS on what is absent", [write("fresh", "1", 7), read("fresh")]),
        Case::new(
            "shared data: an empty value",
            [write("empty", "", 0), read("empty"), write_at_last("empty", ""), read("empty")],
        ),
        Case::new("shared data: an empty key", [write("", "v", 0), read("")]),
        Case::new(
            "shared data: the CAS of another key",
            [read("kept"), write_at_last("once", "9"), read("once")],
        ),
        Case::new(
            "shared data: the highest CAS on a key that is there",
            [write("kept", "6", u32::MAX), read("kept"), write("kept", "7", u32::MAX - 1), read("kept")],
        ),
        Case::new(
            "shared data: emptied and written again",
            [write("kept", "", 0), read("kept"), write_at_last("kept", "8"), read("kept")],
        ),
        Case::new(
            "shared data: a large value",
            [
                Call::new("proxy_set_shared_data", [text("large"), Bytes(vec![b'a'; 70_000]), Int(0)]),
                read("large"),
            ],
        ),
        Case::new("shared data: what was written at boot", [read("vm start"), read("configure")]),
        Case::new("shared data: NUL in a key", [write("a\0b", "v", 0), read("a\0b"), read("a")]),
    ]
}

fn queues() -> Vec<Case> {
    let direct = |token, item: &str| {
        [
            Call::new("proxy_enqueue_shared_queue", [Int(token), text(item)]),
            Call::new("proxy_dequeue_shared_queue", [Int(token), GivesBytes]),
        ]
    };
    vec![
        Case::new("shared queue: none resolved", [resolve("", "none"), resolve("other", "none")]),
        Case::new("shared queue: a token that never was", direct(9999, "x")),
        Case::new("shared queue: token 0", direct(0, "x")),
        Case::new("shared queue: registered, again, another", [register("q"), register("q"), register("r")]),
        Case::new(
            "shared queue: resolved by every vm_id",
            [resolve("", "q"), resolve("portcullis", "q"), resolve("other", "q"), resolve("", "")],
        ),
        Case::new(
            "shared queue: first in, first out, then empty",
            [
                resolve("portcullis", "q"),
                dequeue(),
                enqueue("one"),
                enqueue("two"),
                dequeue(),
                dequeue(),
                dequeue(),
            ],
        ),
        Case::new(
            "shared queue: an empty item",
            [resolve("portcullis", "q"), enqueue(""), dequeue(), dequeue()],
        ),
        Case::new("shared queue: no name", [register(""), resolve("portcullis", "")]),
    ]
}

fn metrics() -> Vec<Case> {
    vec![
        Case::new(
            "metric: a counter",
            [
                define(0, "probe_counter"),
                metric(),
                increment(2),
                metric(),
                record(5),
                metric(),
                increment(0),
                metric(),
            ],
        ),
        Case::new("metric: a counter is not lowered", [define(0, "probe_counter"), increment(-1), metric()]),
        Case::new(
            "metric: a gauge",
            [define(1, "probe_gauge"), metric(), increment(5), increment(-2), metric(), record(40), metric()],
        ),
        Case::new("metric: a gauge below zero", [define(1, "probe_low"), record(1), increment(-3), metric()]),
        Case::new("metric: a gauge of a negative value", [define(1, "probe_low"), record(-1), metric()]),
        Case::new("metric: a histogram", [define(2, "probe_histogram"), record(3), increment(1), metric()]),
        Case::new("metric: types that are none", [define(3, "probe_bad"), define(9, "probe_bad")]),
        Case::new(
            "metric: the same name gives a new id",
            [define(0, "probe_twice"), define(0, "probe_twice"), define(1, "probe_twice")],
        ),
        Case::new(
            "metric: a gauge at its bounds",
            [
                define(1, "probe_bounds"),
                record(i64::MAX),
                metric(),
                increment(1),
                metric(),
                record(-1),
                increment(1),
                metric(),
                increment(i64::MIN),
                metric(),
            ],
        ),
        Case::new(
            "metric: a counter at its bounds",
            [
                define(0, "probe_counter_bounds"),
                increment(i64::MAX),
                metric(),
                increment(i64::MIN),
                record(-1),
                metric(),
            ],
        ),
        Case::new(
            "metric: a value is that of its name",
            [
                define(0, "probe_same"),
                increment(1),
                define(0, "probe_same"),
                metric(),
                increment(1),
                metric(),
            ],
        ),
        Case::new(
            "metric: a counter and a gauge of one name",
            [
                define(0, "probe_kinds"),
                increment(5),
                define(1, "probe_kinds"),
                metric(),
                define(2, "probe_kinds"),
                metric(),
            ],
        ),
        Case::new(
            "metric: odd names",
            [define(0, "a b"), define(0, "a..b"), define(1, "\u{e9}"), increment(1), metric()],
        ),
        Case::new("metric: what was counted at boot", [define(0, "at_boot"), metric()]),
        Case::new("metric: no name", [define(0, "")]),
        Case::new("metric: ids that never were", unknown_ids()),
    ]
}

fn unknown_ids() -> Vec<Call> {
    let one = |id| {
        [
            Call::new("proxy_increment_metric", [Int(id), Long(1)]),
            Call::new("proxy_record_metric", [Int(id), Long(1)]),
            Call::new("proxy_get_metric", [Int(id), GivesNumber]),
        ]
    };
    // The low two bits are the type, and 3 is none.
    [9996, 9997, 9998, 9999, 3, 0].into_iter().flat_map(one).collect()
}
