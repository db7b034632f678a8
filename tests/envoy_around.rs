//! Ways around a policy, in real Envoy over HTTP/1 and HTTP/2: none leads to an upstream.
//!
//! Each way names the check that stops it (`filter/src/hooks.rs`), or the part of Envoy's configuration. It is tried twice:
//! with everything in place, and without that one thing, where it must have another end.

mod around {
    pub(crate) mod decisions;
    pub(crate) mod metadata;
    pub(crate) mod paths;
    pub(crate) mod routes;
    pub(crate) mod way;
}

use std::collections::BTreeSet;

use around::{decisions, metadata, paths, routes, way};

/// All of them together, so that one Envoy serves for all that need the same configuration.
#[test]
fn no_way_leads_around_a_policy_and_each_would_without_what_stops_it() {
    let ways: Vec<way::Way> = [routes::ways(), paths::ways(), metadata::ways(), decisions::ways()].concat();
    assert!(ways.len() >= 60, "{} ways", ways.len());
    way::try_all(&ways);
}

#[test]
fn every_check_has_a_way_that_it_stops_and_a_line_about_it() {
    let hooks = include_str!("../filter/src/hooks.rs");
    let (_, checks) = hooks.split_once("pub(crate) enum Check {").expect("the checks are there");
    let (checks, _) = checks.split_once('}').expect("they have an end");
    let names = checks.lines().filter_map(|line| line.trim().strip_suffix(','));
    let names: BTreeSet<&str> = names.filter(|name| !name.starts_with("//")).collect();
    let ways = [routes::ways(), paths::ways(), metadata::ways(), decisions::ways()].concat();
    // Answers that run into each other are looked at on one connection; bodies have tests of their own (`envoy_bodies.rs`).
    let elsewhere = ["Body", "BodyEnd", "BodyLength", "Tunnel"];
    let stops: BTreeSet<&str> = ways.iter().map(|way| way.stops).chain(elsewhere).collect();
    let told = include_str!("MUTATIONS.md");
    for name in names {
        assert!(stops.contains(name), "no way is stopped by {name}");
        assert!(told.contains(&format!("- `{name}`: ")), "MUTATIONS.md has nothing of {name}");
    }
}

#[test]
fn what_is_permitted_still_gets_through() {
    way::permitted();
}

#[test]
fn an_answer_without_a_body_ends_with_its_headers() {
    decisions::answers_do_not_run_into_each_other();
}

#[test]
fn route_policy_and_upstream_read_a_path_in_one_way() {
    paths::one_reading(100_000);
}
