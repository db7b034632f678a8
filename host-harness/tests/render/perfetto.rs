//! The file for trace viewers.

use std::collections::BTreeMap;

use host_harness::race::render::{Format, render, render_explained};
use serde_json::Value;

use crate::{explained, traces};

fn events(text: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(text).unwrap();
    file["traceEvents"].as_array().unwrap().clone()
}

fn track(event: &Value) -> (u64, u64) {
    (event["pid"].as_u64().unwrap(), event["tid"].as_u64().unwrap())
}

/// Name, beginning and end.
type Slice = (String, u64, u64);

/// The slices of each track, in order.
fn slices(events: &[Value]) -> BTreeMap<(u64, u64), Vec<Slice>> {
    let mut slices: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for event in events.iter().filter(|event| event["ph"] == "X") {
        let from = event["ts"].as_u64().unwrap();
        let to = from + event["dur"].as_u64().unwrap();
        slices.entry(track(event)).or_default().push((event["name"].as_str().unwrap().to_owned(), from, to));
    }
    slices
}

/// How many flows there are, each of which has both its ends in slices and goes forward.
pub(crate) fn check(name: &str, text: &str) -> usize {
    let events = events(text);
    let slices = slices(&events);
    let mut flows: BTreeMap<u64, [Vec<&Value>; 2]> = BTreeMap::new();
    for event in &events {
        let Some(end) = ["s", "f"].iter().position(|phase| event["ph"] == *phase) else { continue };
        flows.entry(event["id"].as_u64().unwrap()).or_default()[end].push(event);
        let at = event["ts"].as_u64().unwrap();
        let within = slices[&track(event)].iter().any(|(_, from, to)| *from <= at && at < *to);
        assert!(within, "{name}: {event} is in no slice");
    }
    for (id, [starts, ends]) in &flows {
        let ([start], [end]) = (starts.as_slice(), ends.as_slice()) else {
            panic!("{name}: flow {id} has {} starts and {} ends", starts.len(), ends.len());
        };
        assert!(start["ts"].as_u64() < end["ts"].as_u64(), "{name}: {start} {end}");
        assert_eq!(start["name"], end["name"], "a viewer joins ends by name, too");
    }
    flows.len()
}

#[test]
fn every_flow_has_both_ends() {
    let traces = traces();
    let flows: usize = traces.iter().map(|(name, trace)| check(name, &render(trace, Format::Perfetto))).sum();
    assert!(flows > 8, "{flows} flows in all traces");
}

#[test]
fn slices_of_a_track_nest() {
    for (name, trace) in traces() {
        let events = events(&render(&trace, Format::Perfetto));
        for (track, mut slices) in slices(&events) {
            slices.sort_by_key(|(_, from, to)| (*from, std::cmp::Reverse(*to)));
            let mut open: Vec<u64> = Vec::new();
            for (slice, from, to) in slices {
                open.retain(|end| *end > from);
                assert!(
                    open.iter().all(|end| to <= *end),
                    "{name}: {slice} of {track:?} outlasts what it is in"
                );
                open.push(to);
            }
        }
    }
}

#[test]
fn turns_callbacks_holds_and_hostcalls_are_on_the_tracks_of_their_threads() {
    let events = events(&render(&explained().trace, Format::Perfetto));
    let named = |name: &str| {
        events
            .iter()
            .find(|event| event["name"] == "thread_name" && event["args"]["name"] == name)
            .map(track)
            .unwrap_or_else(|| panic!("no track {name}"))
    };
    let slices = slices(&events);
    let on =
        |name: &str| -> Vec<&str> { slices[&named(name)].iter().map(|(name, ..)| name.as_str()).collect() };
    assert_eq!(
        on("w0"),
        ["tick#1", "proxy_on_tick", "[A] response#1(bundles)", "proxy_on_http_call_response", "held"]
    );
    assert_eq!(on("w1")[2..], ["[B] response#1(bundles)", "proxy_on_http_call_response"]);
    assert_eq!(on("shared data status"), ["none", "NOT_READY c1", "READY c2"]);

    let instants: Vec<&Value> =
        events.iter().filter(|e| e["ph"] == "i" && track(e) == named("w0") && e["s"] == "t").collect();
    let names: Vec<&str> = instants.iter().map(|event| event["name"].as_str().unwrap()).collect();
    let hostcalls =
        ["call bundles", "response bundles", "get status", "set status", "push notices", "post notices"];
    assert_eq!(names, hostcalls);
    assert_eq!(instants[3]["args"]["argument"], "NOT_READY");
    assert_eq!(instants[3]["args"]["virtual_time_us"], 5000);
    assert_eq!(instants[3]["args"]["held"], true);
}

#[test]
fn counters_tell_what_each_vm_believes_and_how_many_differ() {
    let events = events(&render_explained(&explained(), Format::Perfetto));
    let counter = |name: &str, unit: &str| -> Vec<u64> {
        let named = events.iter().filter(|event| event["ph"] == "C" && event["name"] == name);
        named.map(|event| event["args"][unit].as_u64().unwrap()).collect()
    };
    assert_eq!(counter("w2 believes status", "value"), [0, 1, 2], "none, READY, NOT_READY");
    assert_eq!(counter("views that differ from status", "views"), [1, 0, 1], "until the end of the run");
    assert_eq!(counter("queue notices", "items"), [1, 0, 1, 0]);
    assert_eq!(counter("chance to fail", "percent"), [10, 25, 0, 50, 100]);
}
