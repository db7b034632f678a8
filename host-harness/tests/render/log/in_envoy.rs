//! The log of real Envoy: what this reader takes for granted of its lines.

use std::time::Duration;

use host_harness::{
    envoy::PluginOptions,
    race::log::{Clock, What},
    real_envoy::{EnvoyOptions, RealEnvoy},
    servers::client,
};

use super::*;
use crate::common::{
    options,
    real::{bootstrap, module_file},
};

/// Logs as the filter does, under a name by chance, and fails on a request.
fn guest() -> String {
    const JOINED: &str = "transition scope=vm vm=00000000 on=start#1 member=1 from=absent to=joined";
    const SERVES: &str = "transition scope=vm vm=00000000 on=start#1 bundle=shop from=none to=serving generation=3 epoch=2 cause=7f";
    // Texts lie one behind the other from 1024 on.
    let name = 1024 + JOINED.find("0000").unwrap();
    format!(
        r#"
  (func (export "proxy_on_context_create") (param i32 i32))
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (local $at i32)
    (drop (call $random_get (i32.const {name}) (i32.const 8)))
    (loop $letter
      (i32.store8 offset={name} (local.get $at)
        (i32.add (i32.const 97) (i32.and (i32.const 7) (i32.load8_u offset={name} (local.get $at)))))
      (i32.store8 offset={second} (local.get $at) (i32.load8_u offset={name} (local.get $at)))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $letter (i32.lt_u (local.get $at) (i32.const 8))))
    (call $tell @"{JOINED}")
    (call $tell @"{SERVES}")
    (i32.const 1))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (call $tell @"transition scope=vm vm=aaaaaaaa on=request#1 policy=checkout from=pending to=serving")
    (unreachable))
"#,
        second = name + JOINED.len()
    )
}

#[test]
fn its_lines_have_the_thread_the_plugin_the_main_loop_and_failures() {
    let folder = tempfile::tempdir().unwrap();
    let module = module_file(&guest(), folder.path());
    let plugin = PluginOptions { configuration: b"1".to_vec(), ..options().plugin };
    let bootstrap = bootstrap(&[plugin], false, &module, folder.path(), &[]);
    let envoy = RealEnvoy::start(&bootstrap, &EnvoyOptions::default()).unwrap();
    let wait = |what: &str, count: usize| {
        let came =
            envoy.wait_until(Duration::from_secs(60), |envoy| Ok(envoy.log().matches(what).count() >= count));
        assert!(came.unwrap(), "no {count} of {what:?} in {}", envoy.log());
    };
    wait("to=serving generation", 3);
    client::Request::get("/").send(envoy.listener_addr()).unwrap();
    wait("Function: proxy_on_request_headers failed: ", 1);
    let pid = envoy.pid();
    let text = envoy.quit().unwrap();

    let log = read(&text);
    assert_eq!(log.clock, Clock::Time, "{text}");
    assert_eq!(warnings(&log), [""; 0], "{text}");
    // The one in which the configuration was tried, that of the main thread, and that of the worker; the last one has
    // another name in its request, which is told with the plugin's name.
    let [canary, main, worker, named] = log.vms.as_slice() else { panic!("{:?}\n{text}", log.vms) };
    let pid = Some(u64::from(pid));
    for vm in [canary, main] {
        assert_eq!((vm.main, vm.thread, vm.whole), (true, pid, true), "{text}");
    }
    assert_eq!((worker.main, worker.whole), (false, true), "{text}");
    assert!(worker.thread > main.thread && worker.thread == named.thread, "{text}");
    assert_eq!((&*worker.plugin, &*named.plugin), ("gate_root gate_vm", "gate_root gate_vm"), "{text}");
    assert!(text.contains("wasm log gate gate_root gate_vm: "), "{text}");
    assert_eq!(log.bundles.iter().map(|bundle| &*bundle.vm_id).collect::<Vec<_>>(), ["gate_vm"], "{text}");
    let served: Vec<_> = log.transitions.iter().filter(|t| t.what == What::Bundle(0)).collect();
    assert!(served.iter().all(|t| (t.generation, &*t.cause) == (Some(3), "7f")), "{served:?}");
    let failed: Vec<_> = log.transitions.iter().filter(|t| t.what == What::Failed).collect();
    assert_eq!(failed.len(), 1, "{text}");
    assert_eq!((failed[0].vm, &*failed[0].on.object), (3, "proxy_on_request_headers"), "{text}");
    let ends: Vec<bool> = log.vms.iter().map(|vm| vm.ends.is_some()).collect();
    assert_eq!(ends, [true, false, true, true], "{text}");
}
