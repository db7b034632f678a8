//! Cases about the time before requests: on_vm_start and on_configure, and what comes of them later.

use super::{
    Argument::{self, GivesBytes, GivesNumber, GivesWord, Int, LastWord, Long},
    Call, Case,
    Phase::{self, Configure, HttpCallResponse, Tick, VmStart},
    call_cases::call,
    cases::{add, buffer, get, get_pairs, property, set_property, size, text},
    context_cases::tick,
    sides::CLUSTER,
};

/// All of them. What comes later is told to the last one.
pub fn all() -> Vec<Case> {
    let mut cases: Vec<Case> = [(VmStart, "vm start"), (Configure, "configure")]
        .iter()
        .flat_map(|(phase, name)| at(*phase, name))
        .collect();
    cases.push(
        Case::story("on configure: calls and ticks")
            .at(Configure, [call(CLUSTER, "never", 700), tick(1)])
            .step(Tick, 0, 0, [tick(0), get(6, ":status"), call(CLUSTER, "plain", 0)])
            .at(HttpCallResponse, [get(6, ":status"), buffer(4, 0, 99)])
            .until(HttpCallResponse, 2),
    );
    cases
}

fn at(phase: Phase, name: &str) -> Vec<Case> {
    let case = |what: &str, calls: Vec<Call>| Case::story(format!("on {name}: {what}")).at(phase, calls);
    let define = |kind| Call::new("proxy_define_metric", [Int(kind), text("at_boot"), GivesWord]);
    let plain = |function, arguments: Vec<Argument>| Call::new(function, arguments);
    vec![
        case("configurations", vec![buffer(6, 0, 99), buffer(7, 0, 99), buffer(7, 4, 13), buffer(7, 99, 1)]),
        case("other buffers", [0, 1, 2, 3, 4, 5, 8].map(|number| buffer(number, 0, 9)).to_vec()),
        case("the plugin", ["plugin_name", "plugin_root_id", "plugin_vm_id"].map(property).to_vec()),
        case(
            "no request",
            ["request.path", "request", "response", "connection", "filter_state", "source"]
                .map(property)
                .to_vec(),
        ),
        case(
            "header maps",
            vec![get(0, "a"), get_pairs(0), size(0), add(0, "a", "1"), get(6, ":status"), size(6)],
        ),
        case("filter state", vec![set_property("a", "1"), property("a")]),
        case(
            "streams",
            vec![
                plain("proxy_continue_stream", vec![Int(0)]),
                plain("proxy_close_stream", vec![Int(0)]),
                plain("proxy_send_local_response", vec![Int(403), text(""), text(""), text(""), Int(0)]),
            ],
        ),
        case(
            "contexts",
            vec![
                plain("proxy_set_effective_context", vec![Int(0)]),
                plain("proxy_set_effective_context", vec![Int(1)]),
                plain("proxy_set_effective_context", vec![Int(2)]),
                plain("proxy_done", vec![]),
            ],
        ),
        case(
            "shared data",
            vec![
                plain("proxy_set_shared_data", vec![text(name), text("1"), Int(0)]),
                plain("proxy_get_shared_data", vec![text(name), GivesBytes, GivesWord]),
            ],
        ),
        case(
            "a shared queue",
            vec![
                plain("proxy_register_shared_queue", vec![text("boot"), GivesWord]),
                plain("proxy_dequeue_shared_queue", vec![LastWord, GivesBytes]),
            ],
        ),
        case(
            "metrics",
            vec![
                define(0),
                plain("proxy_increment_metric", vec![LastWord, Long(1)]),
                plain("proxy_get_metric", vec![LastWord, GivesNumber]),
                define(1),
                define(2),
            ],
        ),
        case("calls that are refused", vec![call("nowhere", "plain", 1), call(CLUSTER, "plain", u32::MAX)]),
        case(
            "status and log level",
            vec![
                plain("proxy_get_status", vec![GivesWord, GivesBytes]),
                plain("proxy_get_log_level", vec![GivesWord]),
            ],
        ),
    ]
}
