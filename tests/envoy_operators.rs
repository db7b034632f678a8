//! What an operator of real Envoy sees: health, figures, and a timeline of the log.

#[path = "../host-harness/tests/render/browser.rs"]
#[allow(dead_code, reason = "the browser does more for the tests that it was made for")]
mod browser;
#[path = "../host-harness/tests/common/tools.rs"]
mod tools;

use std::collections::BTreeSet;

use host_harness::{
    archive::Archive,
    race::{
        log::{Cut, Log},
        render::{self, Format},
    },
    servers::{
        BundleServer, Fault, Published,
        client::{Connection, Request},
    },
};
use portcullis_tests::{
    envoy::{BOUND, EVALUATION_MS, Gate, GateOptions, bundle_server},
    fleet::{HOOKS_MODULE, a_connection_to_each_worker, ask, ask_and_trap},
};
use serde_json::{Value, json};

const HEALTH: &str = "/-/health";

#[test]
fn health_and_figures_follow_the_truth() {
    let server = bundle_server([]);
    publish(&server, "main", 1);
    server.fault("/main.tar.gz", Fault::HangUntilReleased);
    let gate = start(&server, &["main"], 2);
    let mut workers = a_connection_to_each_worker(&gate, 2);
    let mut health = |query: &str| health(&mut workers[0], query);

    assert_eq!(health(""), (200, json!({})), "nothing is stuck");
    assert_eq!(health("?bundles"), (500, json!({ "error": "one or more bundles are not activated" })));
    assert_eq!(health("?plugins").0, 500);

    server.clear_fault("/main.tar.gz");
    server.release("/main.tar.gz");
    wait_until(&gate, "every VM has the bundle", || health("?bundles&plugins").0 == 200);
    let (_, detail) = health("?detail");
    let vms = detail["vms"].as_array().expect("a list");
    assert_eq!(vms.len(), 3, "two workers and the main thread: {detail}");
    assert!(vms.iter().all(|vm| vm["alive"] == true && vm["serving"]["main"] == 1), "{detail}");
    assert_eq!(detail["bundles"]["main"]["revision"], "1");

    publish(&server, "main", 2);
    wait_until(&gate, "the next generation", || {
        let (_, detail) = health("?detail");
        let vms = detail["vms"]
            .as_array()
            .map_or(0, |vms| vms.iter().filter(|vm| vm["serving"]["main"] == 2).count());
        detail["bundles"]["main"]["generation"] == 2 && vms == 3
    });

    server.fault("/main.tar.gz", Fault::Status(500));
    wait_until(&gate, "the fault", || health("?detail").1["bundles"]["main"]["state"] == "failing");
    assert_eq!(health("?bundles&plugins").0, 200, "behind a last good one, that is no illness");
    wait_for_figures(&gate, &[("portcullis_bundle_failing.bundle.main", 1), ("portcullis_healthy", 1)]);
    wait_for_figures(&gate, &[("portcullis_vms_alive", 3), ("portcullis_bundle_generation.bundle.main", 2)]);
    let figures =
        gate.envoy.admin_get("/stats/prometheus?usedonly").unwrap_or_else(|error| panic!("{error}"));
    assert!(figures.contains("portcullis_bundle_generation{bundle=\"main\"} 2\n"), "{figures}");
    assert!(figures.contains("portcullis_downloads{bundle=\"main\",outcome=\"activated\"} 2\n"), "{figures}");
    server.clear_fault("/main.tar.gz");

    let [asked, trapped] = &mut workers[..] else { unreachable!("two workers") };
    assert_eq!(ask_and_trap(trapped, "main", "GET", "/").status, 503);
    // It has said so itself, so nobody waits for it; Envoy makes it anew for the next request that comes to its worker.
    wait_for_figures(
        &gate,
        &[("portcullis_vms_alive", 2), ("portcullis_vms_lost", 0), ("portcullis_healthy", 1)],
    );
    assert_eq!(self::health(asked, ""), (200, json!({})));
    wait_until(&gate, "the VM is back", || ask(trapped, "main", "GET", "/").status == 200);
    wait_for_figures(
        &gate,
        &[("portcullis_vms_alive", 3), ("portcullis_vms_lost", 0), ("portcullis_healthy", 1)],
    );
    assert_eq!(self::health(asked, "").0, 200);
}

#[test]
fn the_timeline_of_a_log_names_what_every_worker_served() {
    const WORKERS: usize = 8;
    let bundles = ["one", "two"];
    let server = bundle_server([]);
    for bundle in bundles {
        publish(&server, bundle, 1);
    }
    let gate = start(&server, &bundles, u32::try_from(WORKERS).expect("a few"));
    let mut workers = a_connection_to_each_worker(&gate, WORKERS);
    for generation in 2..=4 {
        wait_until_all_serve(&gate, &mut workers, generation - 1);
        if generation == 3 {
            assert_eq!(ask_and_trap(&mut workers[3], "one", "GET", "/").status, 503);
        }
        for bundle in bundles {
            publish(&server, bundle, generation);
        }
    }
    wait_until_all_serve(&gate, &mut workers, 4);

    let text = gate.envoy.log();
    let log = Log::read(text.as_bytes(), "envoy.log").unwrap_or_else(|error| panic!("{error}"));
    let checked = log.check(BOUND);
    let found: Vec<_> = checked.departures.iter().filter(|departure| departure.found).collect();
    assert_eq!(found.len(), 0, "{found:?}\n{text}");
    // The canary serves nothing; the VM that trapped served the first ones, and the one after it the others.
    for bundle in 0..log.bundles.len() {
        let generations = |vm: usize| -> BTreeSet<u64> {
            let of = checked.served.iter().filter(|served| served.vm == vm && served.bundle == bundle);
            of.map(|served| served.generation).filter(|generation| *generation > 0).collect()
        };
        let all = (0..log.vms.len()).map(generations).filter(|served| !served.is_empty());
        let mut counts = [0, 0, 0];
        for served in all {
            counts[match served.iter().copied().collect::<Vec<_>>()[..] {
                [1, 2, 3, 4] => 0,
                [1, 2] => 1,
                [2 | 3, ..] => 2,
                _ => panic!("{served:?}\n{text}"),
            }] += 1;
        }
        assert_eq!(
            counts,
            [WORKERS, 1, 1],
            "{}: seven workers and the main thread, and the two\n{text}",
            log.bundles[bundle].label
        );
    }

    let trace = log.trace(&checked, &Cut::default()).unwrap_or_else(|error| panic!("{error}"));
    let page = render::render(&trace, Format::Html);
    let Some(mut browser) = browser::Browser::start() else { return };
    let mut page = browser.open("log.html", &page, "");
    let shown = page.evaluate("document.body.innerText");
    let shown = shown.as_str().expect("text");
    for vm in
        log.vms.iter().enumerate().filter(|(vm, _)| checked.served.iter().any(|served| served.vm == *vm))
    {
        assert!(shown.contains(&*vm.1.name), "{} is not on the page:\n{shown}", vm.1.name);
    }
}

/// Policies and bundles of these names; each bundle is asked for every second.
fn start(server: &BundleServer, names: &[&str], workers: u32) -> Gate {
    let bundle = |name: &&str| {
        let polling = json!({ "min_delay_seconds": 1, "max_delay_seconds": 1 });
        ((*name).to_owned(), json!({ "resource": format!("{name}.tar.gz"), "polling": polling }))
    };
    let policy = |name: &&str| {
        ((*name).to_owned(), json!({ "bundles": [name], "decision": format!("{name}/decision") }))
    };
    let document = json!({
        "services": { "hub": { "url": server.url("").trim_end_matches('/'), "cluster": "hub" } },
        "bundles": names.iter().map(bundle).collect::<serde_json::Map<_, _>>(),
        "portcullis": {
            "policies": names.iter().map(policy).collect::<serde_json::Map<_, _>>(),
            "health": { "path": HEALTH, "detail": true },
            "limits": { "vm_failures": 100, "evaluation_ms": EVALUATION_MS },
        },
    });
    let options = GateOptions {
        concurrency: workers,
        module: Some(HOOKS_MODULE.to_vec()),
        policies: names.iter().map(|name| (*name).to_owned()).collect(),
        ..GateOptions::default()
    };
    Gate::start(&document.to_string(), &options)
}

/// A bundle whose decision allows everything and says which generation it is.
fn publish(server: &BundleServer, name: &str, generation: u64) {
    let manifest = json!({ "roots": [name], "revision": generation.to_string() });
    let rego = format!(
        "package {name}\n\ndecision := {{\"allowed\": true, \"response_headers_to_add\": {{\"x-generation\": \"{generation}\"}}}}\n"
    );
    let archive = Archive::new().file(".manifest", manifest.to_string()).file("main.rego", rego);
    server.publish(&format!("/{name}.tar.gz"), Published::new(archive.build()));
}

fn health(connection: &mut Connection, query: &str) -> (u16, Value) {
    connection.send(&Request::new("GET", format!("{HEALTH}{query}"))).expect("Envoy reads");
    let response = connection.receive("GET").expect("Envoy answers");
    (response.status, serde_json::from_slice(&response.body).expect("an answer in JSON"))
}

fn wait_until_all_serve(gate: &Gate, workers: &mut [Connection], generation: u64) {
    let wanted = generation.to_string();
    wait_until(gate, &format!("generation {generation}"), || {
        workers.iter_mut().all(|worker| {
            ["one", "two"].iter().all(|bundle| {
                ask(worker, bundle, "GET", "/").header("x-generation") == Some(wanted.as_bytes())
            })
        })
    });
}

fn wait_for_figures(gate: &Gate, figures: &[(&str, u64)]) {
    for (name, value) in figures {
        wait_until(gate, name, || gate.counter(name) == *value);
    }
}

fn wait_until(gate: &Gate, what: &str, mut condition: impl FnMut() -> bool) {
    let came = gate.envoy.wait_until(BOUND, |_| Ok(condition()));
    assert!(came.unwrap_or(false), "{what}: never\n{}", gate.envoy.log());
}

#[test]
fn secrets_are_in_no_log_and_where_envoy_adds_them_in_no_configuration() {
    const SECRET: &str = "S3cr3t-hunter2";
    // What the engine says about it has both values in it.
    let policy = "package main\n\nf(x) := x\n\nf(x) := [x]\n\nallow if f(input.attributes.request.http.headers.authorization)\n";
    let archive = Archive::new().file("main.rego", policy).build();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("bundle_token.yaml");
    let secret = json!({ "resources": [{
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": "bundle_token",
        "generic_secret": { "secret": { "inline_string": format!("Bearer {SECRET}") } },
    }] });
    std::fs::write(&file, secret.to_string()).expect("the folder can be written");
    for is_added in [false, true] {
        let server = bundle_server([("main", archive.clone())]);
        let mut service = json!({ "url": server.url("").trim_end_matches('/'), "cluster": "hub" });
        if !is_added {
            service["credentials"] = json!({ "bearer": { "token": SECRET } });
        }
        let document = json!({
            "services": { "hub": service },
            "bundles": { "main": { "resource": "main.tar.gz" } },
            "portcullis": {
                "policies": { "main": { "bundles": ["main"], "decision": "main/allow" } },
                "limits": { "evaluation_ms": EVALUATION_MS },
            },
        });
        let path = file.display().to_string();
        let amend = move |bootstrap: &mut Value| {
            if is_added {
                let readme = marked("injector");
                let added: Value =
                    yaml_serde::from_str(&readme.replace("/etc/envoy/bundle_token.yaml", &path))
                        .expect("the README has YAML there");
                let mut clusters =
                    bootstrap["static_resources"]["clusters"].as_array_mut().into_iter().flatten();
                let hub = clusters.find(|cluster| cluster["name"] == "hub").expect("the cluster is there");
                hub["typed_extension_protocol_options"] = added["typed_extension_protocol_options"].clone();
                bootstrap["node"] = json!({ "id": "injected", "cluster": "injected" });
            }
        };
        let gate = Gate::start(
            &document.to_string(),
            &GateOptions { amend: Some(Box::new(amend)), ..GateOptions::default() },
        );
        gate.wait_for_counter("portcullis_policies_compiled", 2);
        let seen = server.traffic().requests.iter().all(|request| {
            let sent = request.headers.iter().find(|(name, _)| name == "authorization");
            sent.is_some_and(|(_, value)| value == format!("Bearer {SECRET}").as_bytes())
        });
        assert!(seen, "the bundle server was asked without the token");
        let response = gate.send(&Request::get("/").header("authorization", SECRET));
        assert_eq!(response.status, 500, "{response:?}\n{}", gate.envoy.log());
        let log = gate.envoy.log();
        assert!(log.contains("two different values") && !log.contains(SECRET), "{log}");
        let dump = gate.envoy.admin_get("/config_dump").unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(dump.contains(SECRET), !is_added, "what Envoy shows of its configuration");
    }
}

/// What the README shows under a mark.
fn marked(name: &str) -> String {
    let readme = include_str!("../README.md");
    let (_, rest) = readme.split_once(&format!("<!-- {name} -->")).expect("the mark begins");
    let (shown, _) = rest.split_once(&format!("<!-- /{name} -->")).expect("the mark ends");
    shown.lines().filter(|line| !line.starts_with("```")).map(|line| format!("{line}\n")).collect()
}
