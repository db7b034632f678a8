//! The AssemblyScript SDK, `@solo-io/proxy-runtime`: ABI 0.2.0, `malloc`, and a start section that registers the plugin.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::Duration,
};

use host_harness::{
    abi::{AbiVersion, Module},
    envoy::{AnsweredBy, Envoy, EnvoyOptions, Exchange, Request, VmState},
    world::{Reply, Scripted},
};

use crate::{
    common::{options, worker_said},
    toolchain::{built, load, run, sources},
    tools::Tool,
};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_filter_in_assembly_script() {
    let Some(path) = build() else { return };
    let module = load(&path);
    assert_eq!(module.abi_version(), AbiVersion::V0_2_0);
    headers_and_bodies(&module);
    local_responses_and_calls(&module);
    ticks_properties_and_metrics(&module);
    an_abort_ends_the_vm_with_its_message(&module);
    let mut refusing = options();
    refusing.plugin.configuration = b"refuse".to_vec();
    let refused = Envoy::start(&module, refusing, Scripted::new()).err().unwrap();
    assert!(refused.to_string().contains("`proxy_on_configure` returned false"), "{refused}");
}

/// Installs what the lock file names into a copy in the target folder, and compiles there, once in this process; `None` where
/// there is no npm, and need be none.
pub(crate) fn build() -> Option<PathBuf> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let npm = Tool::Npm.find()?;
    Some(BUILT.get_or_init(|| build_with(&npm)).clone())
}

fn build_with(npm: &Path) -> PathBuf {
    let (from, to) = (sources().join("assemblyscript"), built("assemblyscript"));
    std::fs::create_dir_all(to.join("assembly")).unwrap();
    for file in ["package.json", "package-lock.json", "assembly/index.ts"] {
        std::fs::copy(from.join(file), to.join(file)).unwrap();
    }
    for arguments in [&["ci", "--ignore-scripts", "--no-audit", "--no-fund"][..], &["run", "build"]] {
        run(Command::new(npm).args(arguments).current_dir(&to));
    }
    to.join("build/filter.wasm")
}

fn headers_and_bodies(module: &Module) {
    let mut envoy = start(module, Scripted::new());
    let request = Request::get("/headers").header("x-secret", "s").header("x-replaced", "old");
    let exchange = envoy.exchange(0, request);
    assert_eq!(exchange.header("x-greeting"), Some(&b"hello"[..]));
    let upstream = exchange.upstream_request.unwrap();
    assert_eq!(upstream.header("x-replaced"), Some(&b"new"[..]));
    assert_eq!(upstream.header("x-secret"), None);
    assert!(upstream.header("x-count").is_some());

    let request = Request { chunk_size_bytes: 5, ..Request::new("POST", "/body").with_body("put together") };
    let upstream = envoy.exchange(0, request).upstream_request.unwrap();
    assert_eq!(upstream.body, b"put together");
    assert_eq!(worker_said(&envoy), ["over: /headers", "body: put together", "over: /body"]);
}

fn local_responses_and_calls(module: &Module) {
    let answers = [
        (Reply::body("pass"), 200, "", AnsweredBy::Upstream),
        (Reply::body("not you").after(SECOND), 403, "not you", AnsweredBy::LocalResponse),
        // The answer to a call that timed out is Envoy's own 504, with its text.
        (Reply::never(), 403, "upstream request timeout", AnsweredBy::LocalResponse),
    ];
    for (reply, status, text, by) in answers {
        let mut envoy = start(module, Scripted::new().reply("side", "/ask", reply));
        let exchange = envoy.exchange(0, Request::get("/call"));
        assert_eq!(
            (exchange.status, exchange.text().as_str(), exchange.answered_by),
            (status, text, Some(by))
        );
        let call = &envoy.world().seen()[0].call;
        assert_eq!((call.header(":method"), &call.body[..]), (Some(&b"POST"[..]), &b"question"[..]));
        if let Some(upstream) = exchange.upstream_request {
            assert_eq!(upstream.header("x-side"), Some(&b"200"[..]));
        }
    }
    let mut envoy = start(module, Scripted::new());
    let exchange: Exchange = envoy.exchange(0, Request::get("/local"));
    assert_eq!((exchange.status, exchange.text().as_str()), (418, "short and stout"));
    assert_eq!(exchange.header("x-local"), Some(&b"yes"[..]));
    let refused = envoy.exchange(0, Request::get("/call"));
    assert_eq!((refused.status, refused.text().as_str()), (500, "the call was refused"));
}

fn ticks_properties_and_metrics(module: &Module) {
    let mut envoy = start(module, Scripted::new());
    envoy.run_for(SECOND * 3);
    assert_eq!(worker_said(&envoy), ["tick 1", "tick 2", "tick 3"]);
    let exchange = envoy.exchange(0, Request::get("/properties"));
    assert_eq!(exchange.text(), format!("gate GET {}", 1_767_225_600 + 3));
    assert_eq!(exchange.filter_state["wasm.mine"], b"set");
    assert_eq!(envoy.metric("as_counter"), Some(3));
}

fn an_abort_ends_the_vm_with_its_message(module: &Module) {
    let mut envoy = start(module, Scripted::new());
    assert_eq!(envoy.exchange(0, Request::get("/abort")).status, 503);
    assert_eq!(envoy.vms()[1].state, VmState::Failed);
    let lines: Vec<&str> = envoy.logs().iter().map(|line| line.message.as_str()).collect();
    // `proc_exit` logs and returns in Envoy, and the compiler puts a trap behind it.
    for words in ["as it was asked to at: assembly/index.ts", "`proc_exit(255)` was called", "unreachable"] {
        assert!(lines.iter().any(|line| line.contains(words)), "{words}: {lines:?}");
    }
    envoy.run_for(SECOND * 5);
    assert_eq!(envoy.exchange(0, Request::get("/local")).status, 418);
}

fn start(module: &Module, world: Scripted) -> Envoy<Scripted> {
    let mut options: EnvoyOptions = options();
    options.plugin.configuration = b"hello".to_vec();
    Envoy::start(module, options, world).expect("the canary comes up")
}
