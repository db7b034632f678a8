//! Cases about ticks: when they come, and when they come no more.

use super::{
    Case,
    Phase::{Delete, Done, HttpCallResponse, Log, RequestHeaders, ResponseHeaders, Tick},
    call_cases::{call, resume},
    cases::get,
    context_cases::tick,
    sides::CLUSTER,
};

/// All of them.
pub fn all() -> Vec<Case> {
    let silence = |timeout_ms| call(CLUSTER, "never", timeout_ms);
    let end = || [vec![tick(0)], resume(0)].concat();
    vec![
        Case::story("tick: one comes and none after it").stop(RequestHeaders, 1, [tick(1)]).step(
            Tick,
            0,
            0,
            end(),
        ),
        Case::story("tick: they come until they are stopped").stop(RequestHeaders, 1, [tick(1)]).step(
            Tick,
            3,
            0,
            end(),
        ),
        Case::story("tick: stopped before the first")
            .stop(RequestHeaders, 1, [tick(1), tick(0), silence(50)])
            .at(HttpCallResponse, end()),
        Case::story("tick: a longer period takes the place of a shorter one")
            .stop(RequestHeaders, 1, [tick(1), tick(60_000), silence(50)])
            .at(HttpCallResponse, end()),
        Case::story("tick: a shorter period takes the place of a longer one")
            .stop(RequestHeaders, 1, [tick(60_000), tick(1)])
            .step(Tick, 0, 0, end()),
        Case::story("tick: the longest period")
            .stop(RequestHeaders, 1, [tick(u32::MAX), silence(50)])
            .at(HttpCallResponse, end()),
        Case::story("tick: the period is changed in one")
            .stop(RequestHeaders, 1, [tick(1)])
            .step(Tick, 0, 0, [tick(60_000), silence(50)])
            .at(HttpCallResponse, end()),
        Case::story("tick: stopped and started in one")
            .stop(RequestHeaders, 1, [tick(1)])
            .step(Tick, 0, 0, [tick(0), tick(2)])
            .step(Tick, 1, 0, end()),
        Case::story("tick: stopped in one, started by an answer")
            .stop(RequestHeaders, 1, [tick(1)])
            .step(Tick, 0, 0, [tick(0), silence(30)])
            .step(HttpCallResponse, 0, 0, [tick(1)])
            .step(Tick, 1, 0, end()),
        Case::story("tick: set on a response").stop(ResponseHeaders, 4, [tick(1)]).step(
            Tick,
            0,
            0,
            [vec![tick(0)], resume(1)].concat(),
        ),
        Case::story("tick: set on log").at(Log, [tick(1)]).at(Tick, [tick(0)]).until(Tick, 1),
        Case::story("tick: set on done").at(Done, [tick(1)]).at(Tick, [tick(0)]).until(Tick, 1),
        Case::story("tick: a call's answer comes between two")
            .stop(RequestHeaders, 1, [tick(1)])
            .step(Tick, 0, 0, [tick(0), call(CLUSTER, "plain", 0)])
            .step(HttpCallResponse, 0, 0, [get(6, ":status"), tick(1)])
            .step(Tick, 1, 0, end()),
        Case::story("tick: they stop with nobody waiting")
            .at(Delete, [tick(1)])
            .step(Tick, 1, 0, [tick(0)])
            .until(Tick, 2),
    ]
}
