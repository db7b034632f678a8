//! Cases about shared queues and their consumer: how often it is called, when, and what it finds.

use super::{
    Argument::{Bytes, GivesBytes, GivesWord, Int, LastWord},
    Call, Case,
    Phase::{Delete, Log, QueueReady, RequestHeaders, ResponseHeaders},
    call_cases::resume,
    cases::text,
};

fn register(name: &str) -> Call {
    Call::new("proxy_register_shared_queue", [text(name), GivesWord])
}

fn resolve(name: &str) -> Call {
    Call::new("proxy_resolve_shared_queue", [text("portcullis"), text(name), GivesWord])
}

fn enqueue(item: &str) -> Call {
    Call::new("proxy_enqueue_shared_queue", [LastWord, text(item)])
}

fn dequeue() -> Call {
    Call::new("proxy_dequeue_shared_queue", [LastWord, GivesBytes])
}

/// A story whose request waits for ever, so that nothing else comes between.
fn waiting(name: &str) -> Case {
    Case::story(name).unseen()
}

/// All of them.
pub fn all() -> Vec<Case> {
    let drain = || vec![dequeue(), dequeue(), dequeue(), dequeue()];
    vec![
        Case::story("queue ready: one item, one call")
            .stop(RequestHeaders, 1, [register("ready"), enqueue("1")])
            .at(QueueReady, [vec![dequeue(), dequeue()], resume(0)].concat()),
        waiting("queue ready: a call for each item, and the first takes all")
            .stop(RequestHeaders, 1, [resolve("ready"), enqueue("1"), enqueue("2"), enqueue("3")])
            .at(QueueReady, drain())
            .until(QueueReady, 3),
        waiting("queue ready: a call for each item, and each takes one")
            .stop(RequestHeaders, 1, [resolve("ready"), enqueue("1"), enqueue("2"), enqueue("3")])
            .at(QueueReady, [dequeue()])
            .until(QueueReady, 3),
        waiting("queue ready: the item is taken before the call")
            .stop(RequestHeaders, 1, [resolve("ready"), enqueue("1"), dequeue()])
            .at(QueueReady, [dequeue()])
            .until(QueueReady, 1),
        waiting("queue ready: an item is put in by the consumer")
            .stop(RequestHeaders, 1, [resolve("ready"), enqueue("1")])
            .step(QueueReady, 0, 0, [dequeue(), enqueue("2"), enqueue("3")])
            .at(QueueReady, drain())
            .until(QueueReady, 3),
        waiting("queue ready: two queues, in the order of their items")
            .stop(
                RequestHeaders,
                1,
                [register("first"), register("second"), enqueue("1"), resolve("first"), enqueue("2")],
            )
            .at(QueueReady, [dequeue()])
            .until(QueueReady, 2),
        waiting("queue ready: an item from before it was registered")
            .stop(RequestHeaders, 1, [resolve("ready"), enqueue("1"), register("ready"), enqueue("2")])
            .at(QueueReady, drain())
            .until(QueueReady, 2),
        waiting("queue ready: registered at boot, and the last one is told")
            .stop(RequestHeaders, 1, [resolve("boot"), enqueue("1")])
            .at(QueueReady, drain())
            .until(QueueReady, 1),
        Case::story("queue ready: an item from on log")
            .at(Log, [resolve("ready"), enqueue("1")])
            .at(QueueReady, drain())
            .until(QueueReady, 1),
        Case::story("queue ready: an item from on delete")
            .at(Delete, [resolve("ready"), enqueue("1")])
            .at(QueueReady, drain())
            .until(QueueReady, 1),
        waiting("queue ready: an empty item is an item")
            .stop(RequestHeaders, 1, [resolve("ready"), enqueue("")])
            .at(QueueReady, [dequeue(), dequeue()])
            .until(QueueReady, 1),
        waiting("queue ready: a large item")
            .stop(
                RequestHeaders,
                1,
                [
                    resolve("ready"),
                    Call::new("proxy_enqueue_shared_queue", [LastWord, Bytes(vec![b'a'; 70_000])]),
                ],
            )
            .at(QueueReady, [dequeue(), dequeue()])
            .until(QueueReady, 1),
        Case::story("queue ready: not before the callback is over")
            .stop(
                RequestHeaders,
                1,
                [resolve("ready"), enqueue("1"), Call::new("proxy_get_log_level", [GivesWord])],
            )
            .at(QueueReady, [vec![dequeue()], resume(0)].concat()),
        Case::story("queue ready: while the response is held")
            .stop(ResponseHeaders, 4, [resolve("ready"), enqueue("1")])
            .at(QueueReady, [vec![dequeue()], resume(1)].concat()),
        waiting("queue ready: a token that never was is not told")
            .stop(
                RequestHeaders,
                1,
                [
                    Call::new("proxy_enqueue_shared_queue", [Int(9999), text("x")]),
                    resolve("ready"),
                    enqueue("1"),
                ],
            )
            .at(QueueReady, [dequeue()])
            .until(QueueReady, 1),
    ]
}
