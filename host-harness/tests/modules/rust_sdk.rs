//! The Rust SDK: one filter against each version that changed the ABI or its use, and the examples that come with it.
//!
//! 0.1.4 is the last that speaks ABI 0.1.0; 0.2.1 and 0.2.5 speak 0.2.1.

use std::{path::PathBuf, sync::Arc, time::Duration};

use host_harness::{
    abi::{AbiVersion, Module},
    envoy::{AnsweredBy, Envoy, EnvoyOptions, Exchange, LogSource, Request, VmRole, VmState},
    race::{self, scenario::Scenario},
    world::{GrpcReply, Reply, Scripted},
};

use crate::{
    common::{host_said, options, worker_said},
    toolchain::{build_crate, cargo, load, run, sources},
};

const SECOND: Duration = Duration::from_secs(1);

/// Folder with the examples of an SDK checkout, each a crate of its own, to be run as they are.
const EXAMPLES: &str = "PORTCULLIS_SDK_EXAMPLES";

#[test]
fn a_filter_on_sdk_0_1_4() {
    a_filter_on("0.1.4", AbiVersion::V0_1_0);
}

#[test]
fn a_filter_on_sdk_0_2_1() {
    a_filter_on("0.2.1", AbiVersion::V0_2_1);
}

#[test]
fn a_filter_on_sdk_0_2_5() {
    a_filter_on("0.2.5", AbiVersion::V0_2_1);
}

#[test]
fn the_examples_published_with_sdk_0_1_4_run_as_they_are() {
    let guest = sources().join("rust-0.1.4/Cargo.toml");
    let metadata = run(cargo("metadata", &guest).args(["--locked", "--format-version", "1"]));
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let sdk = packages.iter().find(|package| package["name"] == "proxy-wasm").unwrap();
    let manifest = PathBuf::from(sdk["manifest_path"].as_str().unwrap());
    let folder = build_crate(&manifest, "published-0.1.4", "--examples");
    for (name, behaves) in BEHAVIOURS {
        let module = load(&folder.join(format!("{name}.wasm")));
        behaves(&module);
        // `hello_world` is a service: it has no streams, and fails where it is a filter.
        if name != "hello_world" {
            let scenario = Arc::new(Scenario::default_for(name));
            let options = race::Options { schedules: 300, time: Duration::MAX, ..race::Options::default() };
            race::explore(&module, &scenario, &options).expect("it comes up").assert_clean();
        }
    }
}

#[test]
fn the_examples_of_a_checkout_run_as_they_are() {
    let Some(examples) = std::env::var_os(EXAMPLES).map(PathBuf::from) else {
        println!(
            "skipped: let {EXAMPLES} name the `examples` folder of a checkout of the Rust SDK from 0.2.0 on"
        );
        return;
    };
    let mut ran = 0;
    for (name, behaves) in BEHAVIOURS.into_iter().chain(LATER_BEHAVIOURS) {
        let manifest = examples.join(name).join("Cargo.toml");
        if !manifest.is_file() {
            println!("skipped: there is no {}", manifest.display());
            continue;
        }
        // The crates of a checkout have no lock file.
        run(cargo("generate-lockfile", &manifest).arg("--quiet"));
        let folder = build_crate(&manifest, &format!("checkout-{name}"), "--lib");
        let files = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path());
        let modules: Vec<PathBuf> =
            files.filter(|path| path.extension().is_some_and(|kind| kind == "wasm")).collect();
        let [module] = &modules[..] else { panic!("{name} is one module and not {modules:?}") };
        behaves(&load(module));
        ran += 1;
    }
    assert!(ran > 0, "none of the examples is in {}", examples.display());
}

/// An example by name, and what it is documented to do.
type Behaviour = (&'static str, fn(&Module));

/// The examples that every version has.
const BEHAVIOURS: [Behaviour; 5] = [
    ("hello_world", hello_world),
    ("http_auth_random", http_auth_random),
    ("http_body", http_body),
    ("http_config", http_config),
    ("http_headers", http_headers),
];

/// Examples that came with later versions.
const LATER_BEHAVIOURS: [Behaviour; 1] = [("grpc_auth_random", grpc_auth_random)];

/// Says hello when the VM starts, and a random number every five seconds. It is a service and has no stream contexts.
fn hello_world(module: &Module) {
    let mut envoy = start(module, b"", Scripted::new());
    envoy.run_for(SECOND * 11);
    let said = worker_said(&envoy);
    assert_eq!(said.len(), 3, "{said:?}");
    assert_eq!(said[0], "Hello, World!");
    assert!(said[1].starts_with("It's 2026-01-01 00:00:05"), "{said:?}");
    assert!(said[2].starts_with("It's 2026-01-01 00:00:10"), "{said:?}");
    assert_ne!(said[1].rsplit_once("lucky number"), said[2].rsplit_once("lucky number"));
}

/// Asks a service for a random byte, and lets a request pass when it is even.
fn http_auth_random(module: &Module) {
    for (byte, status, text) in [(2_u8, 200, ""), (3, 403, "Access forbidden.\n")] {
        let world = Scripted::new().reply("httpbin", "/bytes/1", Reply::body(vec![byte]).after(SECOND));
        let mut envoy = start(module, b"", world);
        let exchange = envoy.exchange(0, Request::get("/"));
        assert_eq!((exchange.status, exchange.text().as_str()), (status, text));
        assert_eq!(exchange.header("powered-by"), Some(&b"proxy-wasm"[..]));
        let calls = envoy.world().seen().iter().filter(|seen| seen.call.cluster == "httpbin");
        assert_eq!(calls.count(), 1);
    }
    let nobody = start(module, b"", Scripted::new().reply("httpbin", "/bytes/1", Reply::never()))
        .exchange(0, Request::get("/"));
    assert_eq!(
        nobody.status, 403,
        "the answer to a call that timed out has the body of Envoy's 504, not a byte"
    );
}

/// Replaces a response that holds a secret, whole or in parts.
fn http_body(module: &Module) {
    for (body, expected) in [
        ("nothing to see", "nothing to see".to_owned()),
        ("a secret!", "Original message body (9 bytes) redacted.".to_owned()),
    ] {
        let reply = Reply::body(body).with_header("content-length", body.len().to_string());
        let mut envoy = start(module, b"", Scripted::new().reply("upstream", "/", reply));
        let exchange = envoy.exchange(0, Request::get("/"));
        assert_eq!((exchange.status, exchange.text()), (200, expected));
        assert_ne!(exchange.header("content-length"), Some(body.len().to_string().as_bytes()));
    }
}

/// Adds its configuration to every response.
fn http_config(module: &Module) {
    let mut envoy = start(module, b"configured", Scripted::new());
    let exchange = envoy.exchange(0, Request::get("/"));
    assert_eq!(exchange.header("custom-header"), Some(&b"configured"[..]));
}

/// Logs all headers, and answers one path itself.
fn http_headers(module: &Module) {
    let mut options = options();
    options.log_level = log::Level::Trace;
    let mut envoy = Envoy::start(module, options, Scripted::new()).unwrap();
    let exchange = envoy.exchange(0, Request::get("/hello"));
    assert_eq!((exchange.status, exchange.text().as_str()), (200, "Hello, World!\n"));
    assert_eq!(exchange.header("hello"), Some(&b"World"[..]));
    assert_eq!(exchange.answered_by, Some(AnsweredBy::LocalResponse));
    let passed = envoy.exchange(0, Request::get("/other").header("x-own", "1"));
    assert_eq!(passed.answered_by, Some(AnsweredBy::Upstream));
    let said = worker_said(&envoy);
    for line in
        ["#2 -> :path: /hello", "#2 completed.", "#3 -> x-own: 1", "#3 <- :status: 200", "#3 completed."]
    {
        assert!(said.iter().any(|said| said == line), "{line}: {said:?}");
    }
}

/// Asks a service for a random gRPC status, and lets a gRPC request pass when it is even.
fn grpc_auth_random(module: &Module) {
    for (code, passes) in [(10, true), (11, false)] {
        let reply = GrpcReply::silence().status(code, "");
        let mut envoy =
            start(module, b"", Scripted::new().grpc_reply("grpcbin", "grpcbin.GRPCBin/RandomError", reply));
        let exchange =
            envoy.exchange(0, Request::new("POST", "/s/M").header("content-type", "application/grpc"));
        assert_eq!(exchange.answered_by == Some(AnsweredBy::Upstream), passes, "{exchange:?}");
        assert_eq!(exchange.header("powered-by"), Some(&b"proxy-wasm"[..]));
        let status = exchange.header("grpc-status");
        assert_eq!(status, if passes { None } else { Some(&b"10"[..]) });
        let plain = envoy.exchange(0, Request::get("/"));
        assert_eq!(
            (plain.status, plain.text().as_str()),
            (503, "Service accessible only to gRPC clients.\n")
        );
    }
}

fn a_filter_on(version: &str, abi: AbiVersion) {
    let module = load(&build(version));
    assert_eq!(module.abi_version(), abi);
    headers_and_bodies(&module);
    local_responses_and_calls(&module);
    what_vms_share(&module);
    metrics_properties_and_time(&module);
    grpc(&module);
    messages_and_the_end(&module);
    let refused = Envoy::start(&module, options(), Scripted::new()).err().unwrap();
    assert!(refused.to_string().contains("`proxy_on_configure` returned false"), "{refused}");
}

/// Builds the filter against a version of the SDK.
pub(crate) fn build(version: &str) -> PathBuf {
    let guest = format!("rust-{version}");
    let folder = build_crate(&sources().join(&guest).join("Cargo.toml"), &guest, "--lib");
    folder.join("sdk_filter.wasm")
}

fn headers_and_bodies(module: &Module) {
    let reply = Reply::body("answer").with_header("content-length", "6");
    let mut envoy = start(module, b"hello", Scripted::new().reply("upstream", "/body", reply));
    let request = Request::get("/headers").header("x-secret", "s").header("x-replaced", "old");
    let exchange = envoy.exchange(0, request);
    assert_eq!(exchange.header("x-greeting"), Some(&b"hello"[..]));
    let upstream = exchange.upstream_request.unwrap();
    assert_eq!(upstream.header("x-replaced"), Some(&b"new"[..]));
    assert_eq!(upstream.header("x-secret"), None);
    let count = String::from_utf8(upstream.header("x-count").unwrap().to_vec()).unwrap();
    assert!(count.parse::<usize>().unwrap() >= 6, "{count}");

    let request = Request::get("/all-headers").header("x-twice", "1").header("x-twice", b"\xfe");
    let upstream = envoy.exchange(0, request).upstream_request.unwrap();
    assert_eq!(upstream.header("x-raw"), Some(&b"\xff\0\x01"[..]));
    let twice: Vec<&[u8]> = upstream
        .headers
        .iter()
        .filter(|(name, _)| name == b"x-twice")
        .map(|(_, value)| value.as_slice())
        .collect();
    assert_eq!(twice, [&b"1"[..], b"\xfe"]);

    let request = Request { chunk_size_bytes: 7, ..Request::new("POST", "/body").with_body("put together") };
    let exchange = envoy.exchange(0, request);
    assert_eq!((exchange.status, exchange.text().as_str()), (200, "<answer>"));
    assert_eq!(exchange.upstream_request.unwrap().body, b"PUT TOGETHER");
    let exchange = envoy.exchange(0, Request::new("POST", "/").with_body("body").trailer("x-trailer", "t"));
    let trailers = exchange.upstream_request.unwrap().trailers;
    assert_eq!(trailers.iter().find(|(name, _)| name == b"x-seen").unwrap().1, b"t");
}

fn local_responses_and_calls(module: &Module) {
    let reply = Reply::status(201).with_body("42").with_trailer("t", "1").after(SECOND);
    let mut envoy = start(module, b"hello", Scripted::new().reply("side", "/ask", reply));
    let exchange = envoy.exchange(0, Request::get("/local"));
    assert_eq!((exchange.status, exchange.text().as_str()), (418, "short and stout"));
    assert_eq!(exchange.header("x-local"), Some(&b"yes"[..]));

    let exchange = envoy.exchange(0, Request::get("/call"));
    assert_eq!((exchange.status, exchange.text().as_str()), (200, "42"));
    assert_eq!(exchange.header("x-side"), Some(&b"201"[..]));
    let call = &envoy.world().seen()[0].call;
    assert_eq!((call.header(":method"), call.header("x-from")), (Some(&b"POST"[..]), Some(&b"sdk"[..])));
    assert_eq!(call.body, "question");
    assert_eq!(call.trailers, [(b"x-trailer".to_vec(), b"end".to_vec())]);

    // Two streams of one VM wait at once, and each gets its own answer.
    let (first, second) = (envoy.begin(0, Request::get("/resume")), envoy.begin(0, Request::get("/call")));
    envoy.run_for(SECOND * 2);
    let (first, second) = (envoy.take(first).unwrap(), envoy.take(second).unwrap());
    assert_eq!(first.upstream_request.unwrap().header("x-side"), Some(&b"201"[..]));
    assert_eq!((second.status, second.text().as_str()), (200, "42"));

    envoy.world_mut().set_reply("side", "/ask", Reply::reset_before_headers());
    let answers: [Exchange; 2] = ["/call", "/resume"].map(|path| envoy.exchange(0, Request::get(path)));
    for answer in answers {
        // Envoy makes a 503 of a reset that comes before the headers.
        assert!([200, 504].contains(&answer.status), "{answer:?}");
    }
}

fn what_vms_share(module: &Module) {
    let options = EnvoyOptions { concurrency: 2, ..configured(b"hello") };
    let mut envoy = Envoy::start(module, options, Scripted::new()).unwrap();
    let texts = [0, 1, 0].map(|worker| envoy.exchange(worker, Request::get("/shared")).text());
    assert_eq!(texts, ["1", "2", "3"].map(|count| format!("{count} Err(CasMismatch) (None, None)")));

    assert_eq!(envoy.exchange(0, Request::get("/queue")).text(), "None");
    envoy.run_for(SECOND * 3);
    // Three VMs tick: the main thread's and two workers'.
    assert_eq!(envoy.exchange(1, Request::get("/state")).text(), "9 ticks, second");
    let woken: Vec<VmRole> = envoy
        .vms()
        .iter()
        .filter(|vm| vm.callbacks.contains_key("proxy_on_queue_ready"))
        .map(|vm| vm.role)
        .collect();
    assert_eq!(woken, [VmRole::Worker(1)], "the last that registered");
}

fn metrics_properties_and_time(module: &Module) {
    let mut envoy = start(module, b"hello", Scripted::new());
    assert_eq!(envoy.exchange(0, Request::get("/metrics")).text(), "Ok(3) Ok(5)");
    assert_eq!(envoy.exchange(0, Request::get("/metrics")).text(), "Ok(6) Ok(5)");
    assert_eq!((envoy.metric("sdk_counter"), envoy.metric("sdk_gauge")), (Some(6), Some(5)));
    assert_eq!(envoy.histogram("sdk_histogram").unwrap().count, 2);

    let properties = envoy.exchange(0, Request::post("/properties", ""));
    assert_eq!(properties.text(), r#"[Some("gate"), Some("POST"), Some("set"), None]"#);
    assert_eq!(properties.filter_state["wasm.mine"], b"set");

    envoy.run_for(SECOND * 100);
    assert_eq!(envoy.exchange(0, Request::get("/time")).text(), (1_767_225_600 + 100).to_string());
}

fn grpc(module: &Module) {
    for (reply, expected) in [
        (GrpcReply::unary("answer").after(SECOND), "0 answer"),
        (GrpcReply::silence().status(7, "not you"), "7 "),
        // Envoy ends a call that takes too long with its own 504, which is UNAVAILABLE to gRPC.
        (GrpcReply::silence(), "14 "),
    ] {
        let world = Scripted::new().grpc_reply("side", "portcullis.Test/Ask", reply);
        let mut envoy = start(module, b"hello", world);
        assert_eq!(envoy.exchange(0, Request::get("/grpc")).text(), expected);
        let seen = &envoy.world().grpc_seen()[0];
        assert_eq!(seen.messages, ["question"]);
        assert!(
            seen.call.headers.contains(&(b"x-from".to_vec(), b"sdk".to_vec())),
            "{:?}",
            seen.call.headers
        );
    }
}

fn messages_and_the_end(module: &Module) {
    let mut envoy = start(module, b"hello", Scripted::new());
    envoy.exchange(0, Request::get("/log"));
    let lines = ["an error of hello", "standard output", "standard error", "the stream is over"];
    assert_eq!(worker_said(&envoy), lines);
    let levels: Vec<log::Level> =
        envoy.logs().iter().filter(|line| line.source == LogSource::Guest).map(|line| line.level).collect();
    use log::Level::{Error, Info};
    assert_eq!(levels, [Error, Info, Error, Info]);

    assert_eq!(envoy.exchange(0, Request::get("/panic")).status, 503);
    assert_eq!(envoy.vms()[1].state, VmState::Failed);
    assert!(
        worker_said(&envoy).iter().any(|line| line.contains("as it was asked to")),
        "{:?}",
        worker_said(&envoy)
    );
    let words = host_said(&envoy);
    assert!(words.iter().any(|line| line.contains("`proxy_on_request_headers` failed: ")), "{words:?}");
    envoy.run_for(SECOND * 5);
    assert_eq!(envoy.exchange(0, Request::get("/local")).status, 418);
    envoy.shut_down();
    assert!(worker_said(&envoy).iter().any(|line| line == "the plugin is done"));
}

fn start(module: &Module, configuration: &[u8], world: Scripted) -> Envoy<Scripted> {
    Envoy::start(module, configured(configuration), world).expect("the canary comes up")
}

fn configured(configuration: &[u8]) -> EnvoyOptions {
    let mut options = options();
    options.plugin.configuration = configuration.to_vec();
    options
}
