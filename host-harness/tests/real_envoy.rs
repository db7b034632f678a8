//! The generated configuration and the process that runs it, in real Envoy, with filters small enough to write by hand.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use host_harness::{
    real_envoy::{
        BootstrapOptions, EnvoyError, EnvoyOptions, PolicyRoute, RealEnvoy, Upstream as Target, bootstrap,
        validate,
    },
    servers::{Echo, Upstream, client::Request},
};
use portcullis_filter::config::{
    BundleSource, ClusterTarget, Config, InputConfig, Limits, ManagerConfig, Paths, PolicyConfig, Scheme,
};
use tempfile::TempDir;

/// Generous: a wait ends with its condition.
const BOUND: Duration = Duration::from_secs(60);

/// Does nothing at all.
const IDLE: &str = r#"(module
    (memory (export "memory") 1)
    (func (export "malloc") (param i32) (result i32) (i32.const 1024))
    (func (export "proxy_abi_version_0_2_1")))"#;

/// Sets the filter state of a permit on every request, and counts it as the filter counts.
const PERMIT: &str = r#"(module
    (import "env" "proxy_set_property" (func $set_property (param i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_define_metric" (func $define_metric (param i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_increment_metric" (func $increment_metric (param i32 i64) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "portcullis.permit")
    (data (i32.const 32) "granted")
    (data (i32.const 64) "portcullis_requests.policy.shop.eu/v1.outcome.allow")
    (data (i32.const 128) "portcullis_downloads.bundle.roles.outcome.not_modified")
    (func (export "malloc") (param i32) (result i32) (i32.const 1024))
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "proxy_on_context_create") (param i32 i32))
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (call $set_property (i32.const 0) (i32.const 17) (i32.const 32) (i32.const 7)))
        (drop (call $define_metric (i32.const 0) (i32.const 64) (i32.const 51) (i32.const 256)))
        (drop (call $increment_metric (i32.load (i32.const 256)) (i64.const 1)))
        (drop (call $define_metric (i32.const 0) (i32.const 128) (i32.const 54) (i32.const 256)))
        (drop (call $increment_metric (i32.load (i32.const 256)) (i64.const 2)))
        (i32.const 0)))"#;

/// Configures in the canary and on the main thread, and on no worker: a metric, which all VMs share, tells them apart.
const FAILS_ON_WORKERS: &str = r#"(module
    (import "env" "proxy_define_metric" (func $define_metric (param i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_increment_metric" (func $increment_metric (param i32 i64) (result i32)))
    (import "env" "proxy_get_metric" (func $get_metric (param i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "configured")
    (func (export "malloc") (param i32) (result i32) (i32.const 1024))
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "proxy_on_context_create") (param i32 i32))
    (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (drop (call $define_metric (i32.const 0) (i32.const 0) (i32.const 10) (i32.const 256)))
        (drop (call $increment_metric (i32.load (i32.const 256)) (i64.const 1)))
        (drop (call $get_metric (i32.load (i32.const 256)) (i32.const 264)))
        (i64.le_u (i64.load (i32.const 264)) (i64.const 2))))"#;

/// A self-signed certificate, valid until 2126; nobody has kept its key.
const AUTHORITY: &str = "-----BEGIN CERTIFICATE-----\n\
    MIIBoDCCAUWgAwIBAgIUHVwCyNP75BEOqV/3WM8niodKh70wCgYIKoZIzj0EAwIw\n\
    JDEiMCAGA1UEAwwZUG9ydGN1bGxpcyB0ZXN0IGF1dGhvcml0eTAgFw0yNjExMjEw\n\
    NTE4MThaGA8yMTI2MTAyODA1MTgxOFowJDEiMCAGA1UEAwwZUG9ydGN1bGxpcyB0\n\
    ZXN0IGF1dGhvcml0eTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABImSPfRvJMfb\n\
    Al4LPU2Coy7UGPx7ehFHUtX2ZhtlM/r/HBmwco2Xqfl2hBpUlQASO1FR+yhIH9sn\n\
    nW6DQpBRNX+jUzBRMB0GA1UdDgQWBBTK7SHLmLoYOsJ3T1eB1blsXxxJ+TAfBgNV\n\
    HSMEGDAWgBTK7SHLmLoYOsJ3T1eB1blsXxxJ+TAPBgNVHRMBAf8EBTADAQH/MAoG\n\
    CCqGSM49BAMCA0kAMEYCIQDgRFn5p7VcwFce05jfKdmuZhef40oo6Rt1qlIQhWZn\n\
    FAIhAKI65qp0yFsSm2ixyiPuBC6lx8Lh2nGdwCPKrbakj8fJ\n\
    -----END CERTIFICATE-----\n";

#[test]
fn envoy_takes_every_shape_of_the_configuration() {
    let module = module(IDLE);
    let origin = |scheme, host: &str, port| ClusterTarget::Origin { scheme, host: host.to_owned(), port };
    let shapes = [
        ("an address", origin(Scheme::Http, "10.0.0.1", 80)),
        ("an IPv6 address", origin(Scheme::Http, "::1", 8080)),
        ("a name", origin(Scheme::Http, "bundles.internal", 8080)),
        ("an address over TLS", origin(Scheme::Https, "10.0.0.1", 443)),
        ("a name over TLS", origin(Scheme::Https, "bundles.example", 8443)),
        ("any host", ClusterTarget::AnyHost { scheme: Scheme::Http }),
        ("any host over TLS", ClusterTarget::AnyHost { scheme: Scheme::Https }),
    ];
    let (_authorities, ca_file) = authorities();
    let options = |upstream: &str| BootstrapOptions {
        ca_file: ca_file.clone(),
        ..BootstrapOptions::new(&module.path, "{}", Target { host: upstream.to_owned(), port: 80 })
    };
    for (shape, target) in &shapes {
        let written = bootstrap(&config([("hub", target.clone())], 1 << 20), &options("10.0.0.2"));
        validate(&written).unwrap_or_else(|error| panic!("a cluster for {shape}: {error}"));
    }

    let all = shapes.iter().map(|(shape, target)| (*shape, target.clone()));
    let full = BootstrapOptions {
        listen: "[::1]:0".parse().unwrap(),
        admin: Some(([127, 0, 0, 1], 0).into()),
        concurrency: 16,
        routes: vec![PolicyRoute { prefix: "/shop".to_owned(), policy: "shop".to_owned() }],
        ..options("upstream.internal")
    };
    let written = bootstrap(&config(all, 1 << 30), &full);
    validate(&written).unwrap();
    validate(&bootstrap(&config([], 1), &BootstrapOptions { seal: false, ..options("10.0.0.2") })).unwrap();
}

#[test]
fn a_configuration_that_envoy_refuses_is_refused_in_its_words() {
    let mut written = bootstrap(&config([], 1), &options(&module(IDLE), &Upstream::start().unwrap()));
    written["static_resources"]["listeners"][0]["no_such_field"] = true.into();
    for error in
        [validate(&written).unwrap_err(), RealEnvoy::start(&written, &EnvoyOptions::default()).unwrap_err()]
    {
        let EnvoyError::Ended { log, .. } = &error else { panic!("{error}") };
        assert!(log.contains("no_such_field"), "{log}");
    }
}

#[test]
fn a_request_without_a_permit_passes_only_where_there_is_no_seal() {
    let (module, upstream) = (module(IDLE), Upstream::start().unwrap());
    for (seal, status, arrived) in [(true, 403, 0), (false, 200, 1)] {
        let envoy = start(&BootstrapOptions { seal, ..options(&module, &upstream) });
        assert_eq!(get(&envoy, "/"), status, "seal: {seal}");
        assert_eq!(upstream.count(), arrived);
    }
}

#[test]
fn a_worker_without_its_filter_fails_open_and_the_seal_closes_it() {
    let (module, upstream) = (module(FAILS_ON_WORKERS), Upstream::start().unwrap());
    for (seal, status, arrived) in [(true, 403, 0), (false, 200, 1)] {
        let envoy = start(&BootstrapOptions { seal, ..options(&module, &upstream) });
        assert!(envoy.stats().unwrap()["wasmcustom.configured"] > 2, "the worker has not configured");
        assert_eq!(get(&envoy, "/"), status, "seal: {seal}");
        assert_eq!(upstream.count(), arrived);
    }
}

#[test]
fn a_permit_opens_the_seal_and_counters_become_labels() {
    let (module, upstream) = (module(PERMIT), Upstream::start().unwrap());
    let envoy = start(&options(&module, &upstream));
    let request = Request::get("/a/./x/../b//c%2Fd?q=..").header("x-odd", b"\xff");
    let response = request.send(envoy.listener_addr()).unwrap();
    assert_eq!(response.status, 200, "{}", response.text());

    let echo: Echo = response.json().unwrap();
    assert_eq!(echo.path, "/a/b/c%2Fd?q=..", "dots are resolved, slashes are merged, escapes stay as sent");
    let odd = echo.headers.iter().find(|header| header.name == "x-odd").unwrap();
    assert_eq!(odd.hex.as_deref(), Some("ff"));

    // The filter stands there twice.
    let flushed = envoy.wait_until(BOUND, |envoy| {
        let stats = envoy.admin_get("/stats/prometheus")?;
        Ok(stats.contains("portcullis_requests{policy=\"shop.eu/v1\",outcome=\"allow\"} 2")
            && stats.contains("portcullis_downloads{bundle=\"roles\",outcome=\"not_modified\"} 4"))
    });
    assert!(flushed.unwrap(), "{}", envoy.admin_get("/stats/prometheus?filter=portcullis").unwrap());
}

#[test]
fn slashes_stay_as_sent_with_the_paths_of_opa() {
    let (module, upstream) = (module(PERMIT), Upstream::start().unwrap());
    let config = Config { paths: Paths::Opa, ..config([], 1) };
    let envoy = RealEnvoy::start(&bootstrap(&config, &options(&module, &upstream)), &EnvoyOptions::default());
    let response = Request::get("/a/./b//c%2Fd").send(envoy.unwrap().listener_addr()).unwrap();
    assert_eq!(response.json::<Echo>().unwrap().path, "/a/b//c%2Fd");
}

#[test]
fn a_header_with_an_underscore_is_refused() {
    let (module, upstream) = (module(PERMIT), Upstream::start().unwrap());
    let envoy = start(&options(&module, &upstream));
    let request = Request::get("/").header("x_user", "admin");
    assert_eq!(request.send(envoy.listener_addr()).unwrap().status, 400);
    assert_eq!(upstream.count(), 0);
}

#[test]
fn every_worker_counts_in_the_stats_and_quitting_leaves_the_log() {
    let (module, upstream) = (module(IDLE), Upstream::start().unwrap());
    let written = bootstrap(&config([], 1), &options(&module, &upstream));
    let debug = Some("wasm:debug".to_owned());
    let options = EnvoyOptions { concurrency: 3, component_log_level: debug, ..EnvoyOptions::default() };
    let envoy = RealEnvoy::start(&written, &options).unwrap();
    assert_eq!(envoy.stats().unwrap()["server.concurrency"], 3);
    let error = envoy.admin_get("/no-such-page").unwrap_err();
    assert!(matches!(error, EnvoyError::AdminAnswer { status: 404, .. }), "{error}");
    let log = envoy.quit().unwrap();
    assert!(log.contains("exiting") && log.contains("[debug][wasm]"), "{log}");
}

#[test]
fn envoy_outlives_the_thread_that_started_it_and_ends_with_its_owner() {
    let (module, upstream) = (module(PERMIT), Upstream::start().unwrap());
    let options = options(&module, &upstream);
    let envoy = std::thread::spawn(move || start(&options)).join().unwrap();
    let pid = envoy.pid();
    assert_eq!(get(&envoy, "/"), 200);
    assert!(is_running(pid));
    drop(envoy);
    assert!(!is_running(pid));
}

/// Runs itself a second time, as a process that starts Envoy and is then killed.
#[cfg(target_os = "linux")]
#[test]
fn envoy_ends_when_the_process_that_started_it_is_killed() {
    const CHILD: &str = "PORTCULLIS_TEST_IS_CHILD";
    let name = "envoy_ends_when_the_process_that_started_it_is_killed";
    if std::env::var_os(CHILD).is_some() {
        let envoy = start(&options(&module(IDLE), &Upstream::start().unwrap()));
        println!("\nenvoy {}", envoy.pid());
        loop {
            std::thread::park();
        }
    }
    let files = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, "1")
        // The child has no time to remove its files.
        .env("TMPDIR", files.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let pid = lines
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("envoy ").map(|pid| pid.parse::<u32>().unwrap()))
        .expect("the child says which Envoy it started");
    assert!(is_running(pid));
    child.kill().unwrap();
    child.wait().unwrap();
    let begin = Instant::now();
    while is_running(pid) {
        assert!(begin.elapsed() < BOUND, "envoy {pid} still runs");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A module in a file of its own.
struct Module {
    path: PathBuf,
    _dir: TempDir,
}

fn module(text: &str) -> Module {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("filter.wasm");
    std::fs::write(&path, wat::parse_str(text).unwrap()).unwrap();
    Module { path, _dir: dir }
}

fn options(module: &Module, upstream: &Upstream) -> BootstrapOptions {
    BootstrapOptions::new(&module.path, "{}", upstream.addr().into())
}

fn start(options: &BootstrapOptions) -> RealEnvoy {
    RealEnvoy::start(&bootstrap(&config([], 1), options), &EnvoyOptions::default()).unwrap()
}

fn get(envoy: &RealEnvoy, path: &str) -> u16 {
    let addr: SocketAddr = envoy.listener_addr();
    Request::get(path).send(addr).unwrap().status
}

/// A file of certificate authorities that Envoy can parse, whatever the system has.
fn authorities() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem");
    std::fs::write(&path, AUTHORITY).unwrap();
    (dir, path)
}

fn config<'a>(clusters: impl IntoIterator<Item = (&'a str, ClusterTarget)>, size_limit_bytes: u64) -> Config {
    let bundle = BundleSource {
        cluster: "hub".into(),
        scheme: Scheme::Http,
        authority: "bundles.internal".into(),
        path: "/b.tar.gz".into(),
        headers: Vec::new(),
        timeout: Duration::from_secs(10),
        min_delay: Duration::from_secs(60),
        max_delay: Duration::from_secs(120),
        size_limit_bytes,
    };
    let policy = PolicyConfig { bundles: vec!["b".into()], decision: "p/allow".into() };
    Config {
        bundles: BTreeMap::from([("b".to_owned(), bundle)]),
        policies: BTreeMap::from([("p".to_owned(), policy)]),
        default_policy: Some("p".into()),
        clusters: clusters.into_iter().map(|(name, target)| (name.to_owned(), target)).collect(),
        max_concurrent_downloads: 64,
        limits: Limits::default(),
        staleness: BTreeMap::new(),
        health_path: None,
        health_detail: false,
        input: InputConfig::default(),
        labels: BTreeMap::new(),
        manager: ManagerConfig::default(),
        paths: Paths::default(),
    }
}

/// Whether a process is there and is more than a zombie that waits for its parent.
fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name stands in brackets and may hold anything; the state follows the last one.
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}
