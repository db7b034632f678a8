//! The same guests in real Envoy: what a client sees there is what it sees of the harness.

use std::{path::Path, time::Duration};

use host_harness::{
    envoy::{AnsweredBy, Envoy, Request},
    servers::{Upstream, client},
    world::{Reply, Scripted},
};

use crate::{
    assembly_script, common, go, rust_sdk,
    toolchain::{load, start_envoy},
};

const TICK: Duration = Duration::from_secs(1);
/// Far beyond what a tick takes to come.
const BOUND: Duration = Duration::from_secs(60);

/// What a client asks for; the last one kills the VM.
type Paths = &'static [&'static str];

#[test]
fn a_filter_on_each_version_of_the_rust_sdk() {
    let paths: Paths = &[
        "/",
        "/headers",
        "/local",
        "/call",
        "/resume",
        "/shared",
        "/metrics",
        "/properties",
        "/log",
        "/panic",
    ];
    for version in ["0.1.4", "0.2.1", "0.2.5"] {
        compare(&rust_sdk::build(version), paths);
    }
}

#[test]
fn a_filter_in_assembly_script() {
    if let Some(module) = assembly_script::build() {
        compare(&module, &["/", "/headers", "/local", "/call", "/abort"]);
    }
}

#[test]
fn a_filter_in_go() {
    if let Some(module) = go::build() {
        compare(&module, &["/", "/local", "/call", "/ticks", "/goroutines", "/garbage", "/panic"]);
    }
}

/// One request for each path, in both.
fn compare(module: &Path, paths: Paths) {
    let upstream = Upstream::start().unwrap();
    let real = start_envoy(module, "hello", &upstream).unwrap();
    let mut options = common::options();
    // The names that the generated configuration of the real one gives a plugin.
    for name in [&mut options.plugin.name, &mut options.plugin.root_id, &mut options.plugin.vm_id] {
        "portcullis".clone_into(name);
    }
    options.plugin.configuration = b"hello".to_vec();
    let world = Scripted::new().reply("side", "/ask", Reply::body("{}"));
    let mut envoy = Envoy::start(&load(module), options, world).unwrap();
    for path in paths {
        // The one tick of a filter that counts them comes a second after it began.
        if *path == "/ticks" {
            envoy.run_for(TICK);
        }
        let here = envoy.exchange(0, Request::get(path));
        let ask = || client::Request::get(path).send(real.listener_addr()).unwrap();
        if *path == "/ticks" {
            let ticked = real.wait_until(BOUND, |_| Ok(ask().text() == here.text())).unwrap();
            assert!(ticked, "{}", real.log());
        }
        let there = ask();
        assert_eq!(here.status, there.status, "{path} of {}: {}", module.display(), there.text());
        for header in ["x-greeting", "x-local", "x-side", "content-type"] {
            // The upstreams are not the same, and what they say of their bodies is theirs.
            if header != "content-type" || here.header("x-local").is_some() {
                assert_eq!(
                    here.header(header),
                    there.header(header),
                    "{header} of {path} of {}",
                    module.display()
                );
            }
        }
        // So is what the other service answers, which some filters pass on.
        let own = here.answered_by == Some(AnsweredBy::LocalResponse) && *path != "/call";
        if own {
            assert_eq!(here.text(), there.text(), "{path} of {}", module.display());
        }
    }
}
