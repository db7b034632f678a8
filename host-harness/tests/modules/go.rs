//! Go's own WebAssembly target: a reactor with a garbage collector and goroutines, whose allocator is Go code that the host
//! calls while Go waits for a hostcall.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::Duration,
};

use host_harness::{
    abi::AbiVersion,
    envoy::{AnsweredBy, Envoy, Request, VmState},
    world::{Reply, Scripted},
};

use crate::{
    common::{options, worker_said},
    toolchain::{built, load, run, sources},
    tools::Tool,
};

#[test]
fn a_filter_in_go() {
    let Some(path) = build() else { return };
    let module = load(&path);
    assert_eq!(module.abi_version(), AbiVersion::V0_2_1);
    let mut options = options();
    options.plugin.configuration = b"hello".to_vec();
    options.environment.insert("GREETING".to_owned(), "good day".to_owned());
    let world = Scripted::new().reply("side", "/ask", Reply::body("pass").after(Duration::from_secs(1)));
    let mut envoy = Envoy::start(&module, options, world).unwrap();
    assert_eq!(worker_said(&envoy), ["the module starts"]);

    let exchange = envoy.exchange(0, Request::get("/"));
    assert_eq!((exchange.status, exchange.header("x-greeting")), (200, Some(&b"hello"[..])));
    let exchange = envoy.exchange(0, Request::get("/call"));
    assert_eq!(exchange.answered_by, Some(AnsweredBy::Upstream));
    envoy.world_mut().set_reply("side", "/ask", Reply::body("not you"));
    for (path, status, text) in [
        ("/local", 418, "short and stout"),
        ("/call", 403, "not you"),
        ("/ticks", 200, "1"),
        ("/time", 200, "1767225601"),
        ("/environment", 200, "good day"),
        ("/goroutines", 200, "012"),
    ] {
        let exchange = envoy.exchange(0, Request::get(path));
        assert_eq!((exchange.status, exchange.text().as_str()), (status, text), "{path}");
        assert_eq!(exchange.header("x-local"), Some(&b"yes"[..]));
    }

    // 14 MB of garbage in each request, and the collector keeps up.
    let mut sizes = Vec::new();
    for _ in 0..10 {
        assert_eq!(envoy.exchange(0, Request::get("/garbage")).text(), "14041965");
        sizes.push(envoy.vms()[1].memory_bytes);
    }
    assert!(sizes[9] < 64 * 1024 * 1024, "{sizes:?}");

    assert_eq!(envoy.exchange(0, Request::get("/panic")).status, 503);
    assert_eq!(envoy.vms()[1].state, VmState::Failed);
    let said = worker_said(&envoy);
    // Go prints a panic in pieces, and each is a line of the log.
    assert!(said.iter().any(|line| line == "as it was asked to"), "{said:?}");
    envoy.run_for(Duration::from_secs(5));
    assert_eq!(envoy.exchange(0, Request::get("/local")).status, 418);
}

/// Builds the filter, once in this process; `None` where there is no Go, and need be none.
pub(crate) fn build() -> Option<PathBuf> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let go = Tool::Go.find()?;
    Some(BUILT.get_or_init(|| build_with(&go)).clone())
}

fn build_with(go: &Path) -> PathBuf {
    let module = built("go").join("filter.wasm");
    run(Command::new(go)
        .args(["build", "-buildmode=c-shared", "-o"])
        .arg(&module)
        .arg(".")
        .current_dir(sources().join("go"))
        .env("GOOS", "wasip1")
        .env("GOARCH", "wasm"));
    module
}
