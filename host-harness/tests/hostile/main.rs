//! Modules that mean harm or are broken: each gets an error or a trap that names the cause, and the host serves others.

#[path = "../common/mod.rs"]
mod common;

mod allocators;
mod callbacks;
mod files;
mod floods;

mod pointers;

use std::time::Duration;

use host_harness::{
    abi::{Module, VmLimits},
    envoy::{Envoy, EnvoyOptions, LogSource, Request, VmState},
    world::{GrpcReply, Reply, Scripted},
};

/// A module from whole text, with the prelude's guest around it being of no use where the prelude itself is what is wrong.
fn load(text: &str) -> Module {
    Module::load(common::runtime(), text.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Two workers with little fuel and memory; `side` is a cluster beside the upstream, which answers with all parts.
fn start(module: &Module) -> Envoy<Scripted> {
    let limits = VmLimits { callback_fuel: Some(50_000_000), memory_bytes: 32 * 1024 * 1024 };
    let options = EnvoyOptions { concurrency: 2, limits, ..common::options() };
    let whole = Reply::body("answer").with_trailer("t", "1");
    let world = Scripted::new().reply("upstream", "/evil", whole);
    let reported =
        GrpcReply::silence().after(Duration::from_millis(20)).headers(&[]).message("m").status(0, "");
    let world = world.grpc_reply("hub", "svc.S/Ask", reported);
    let world = world.reply("side", "/", Reply::status(200).after(Duration::from_millis(10)));
    Envoy::start(module, options, world).expect("the canary comes up")
}

/// A request that has every part; to `/evil` it turns the guest of its VM hostile.
fn whole_request(path: &str) -> Request {
    Request::new("POST", path).with_body("question").trailer("t", "1")
}

/// What worker 0's host said at the end.
fn last_words(envoy: &Envoy<Scripted>) -> String {
    let lines = envoy.logs().iter().filter(|line| line.source == LogSource::Host);
    let mut of_worker = lines.filter(|line| line.vm.to_string() == "worker 0");
    of_worker.next_back().map(|line| line.message.clone()).unwrap_or_default()
}

/// The other worker of the same Envoy goes on serving, and so does a new Envoy.
fn assert_host_serves(envoy: &mut Envoy<Scripted>, what: &str) {
    assert_eq!(envoy.vms()[2].state, VmState::Running, "{what}");
    assert_eq!(envoy.exchange(1, Request::get("/")).status, 200, "{what}");
    let mut other = common::start(common::WITNESS);
    assert_eq!(other.exchange(0, whole_request("/")).status, 200, "{what}");
}
