//! What is read of a log, however it was written and whatever else is in it.

use host_harness::race::{
    log::{Clock, Cut, What},
    render::{Format, render},
};
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};

use super::*;

const TRANSITION: &str = "wasm log portcullis portcullis portcullis: transition scope=vm vm=9f3c01aa on=tick#12 bundle=shop from=none to=serving generation=3 epoch=2 cause=\"revision `7f`\"";

/// The transitions of one log, whatever the lines are.
fn same(log: &Log, other: &Log) {
    let reported = |log: &Log| -> Vec<_> {
        let transition = |transition: &host_harness::race::log::Transition| {
            let vm = &log.vms[transition.vm];
            (
                vm.name.clone(),
                transition.what,
                transition.to.clone(),
                transition.generation,
                transition.cause.clone(),
            )
        };
        log.transitions.iter().map(transition).collect()
    };
    assert_eq!(reported(log), reported(other));
}

#[test]
fn a_line_is_read_with_its_thread_its_time_and_every_field() {
    let log = read(&format!(
        "[2026-11-21 10:51:00.123][4711][info][wasm] [source/extensions/common/wasm/context.cc:1195] {TRANSITION}\n"
    ));
    let (transition, vm) = (&log.transitions[0], &log.vms[0]);
    assert_eq!((transition.line, log.clock.shown(transition.at).as_str()), (1, "10:51:00.123"));
    assert_eq!((vm.shown().as_str(), &*vm.plugin), ("vm 9f3c01aa (thread 4711)", "portcullis portcullis"));
    assert_eq!((transition.what, &*transition.on.object), (What::Bundle(0), "shop"));
    assert_eq!((&*transition.on.event, transition.on.ordinal), ("tick", 12));
    assert_eq!((&*transition.from, &*transition.to), ("none", "serving"));
    assert_eq!(
        (transition.generation, transition.epoch, &*transition.cause),
        (Some(3), Some(2), "revision `7f`")
    );
    assert_eq!(warnings(&log), [""; 0]);
}

#[test]
fn carriage_returns_and_bytes_that_are_no_text_change_nothing() {
    let crlf = PHANTOM.replace('\n', "\r\n");
    same(&read(&crlf), &read(PHANTOM));
    let mut bytes = Vec::new();
    for line in PHANTOM.lines() {
        bytes.extend_from_slice(b"\xff\xfe\x00\x1b[2J transition scope= \xc3\n\n");
        bytes.extend_from_slice(line.as_bytes());
        bytes.push(b'\n');
    }
    same(&Log::read(&bytes[..], "envoy.log").unwrap(), &read(PHANTOM));
}

#[test]
fn what_container_runtimes_put_around_lines_is_passed_over() {
    let around =
        |line: &dyn Fn(&str) -> String| PHANTOM.lines().map(line).collect::<Vec<_>>().join("\n") + "\n";
    let kubernetes = around(&|line| format!("2026-11-21T10:51:00.123456789Z stderr F {line}"));
    let docker = around(&|line| {
        serde_json::json!({"log": format!("{line}\n"), "stream": "stderr", "time": "2026-11-21T10:51:00.9Z"})
            .to_string()
    });
    let prefixed = around(&|line| format!("[pod/envoy-7d9/envoy] {line}"));
    for text in [kubernetes, docker, prefixed] {
        let log = read(&text);
        same(&log, &read(PHANTOM));
        assert_eq!(
            found(&log, &log.check(PATIENCE)),
            found(&read(PHANTOM), &read(PHANTOM).check(PATIENCE)),
            "{text}"
        );
    }
}

#[test]
fn other_formats_give_the_times_and_threads_that_they_have() {
    let json = serde_json::json!({"Timestamp": "2026-11-21T10:51:00.123456", "ThreadId": "4711", "Level": "info", "Message": TRANSITION});
    for (line, time, vm) in [
        (
            format!("2026-11-21T10:51:00.123Z info [4711] {TRANSITION}"),
            "10:51:00.123",
            "vm 9f3c01aa (thread 4711)",
        ),
        (format!("10:51:00.123 {TRANSITION}"), "10:51:00.123", "vm 9f3c01aa"),
        (
            format!("I1121 10:51:00.123456 4711 context.cc:1195] {TRANSITION}"),
            "10:51:00.123",
            "vm 9f3c01aa (thread 4711)",
        ),
        (format!("1795258260.123 {TRANSITION}"), "10:51:00.123", "vm 9f3c01aa"),
        (json.to_string(), "10:51:00.123", "vm 9f3c01aa (thread 4711)"),
        (TRANSITION.to_owned(), "line 2", "vm 9f3c01aa"),
    ] {
        let log = read(&format!("hello\n{line}\n"));
        assert_eq!(log.clock.shown(log.transitions[0].at), time, "{line}");
        assert_eq!(log.vms[0].shown(), vm, "{line}");
        assert_eq!(&*log.transitions[0].cause, "revision `7f`", "{line}");
    }
}

#[test]
fn without_times_the_order_is_that_of_the_lines() {
    let bare: Vec<&str> =
        PHANTOM.lines().filter_map(|line| line.find("wasm log").map(|at| &line[at..])).collect();
    let log = read(&(bare.join("\n") + "\n"));
    assert_eq!(log.clock, Clock::Lines);
    same(&log, &read(PHANTOM));
    let reported = found(&log, &log.check(Duration::ZERO));
    assert!(reported[0].starts_with("vm 9f3c01aa serves generation 3 of `shop` since line "), "{reported:?}");
}

#[test]
fn a_log_over_midnight_tells_days() {
    let mut log = Writer::default();
    log.current(0.0, MAIN, 1);
    log.text.push_str(&log.text.replace("2026-11-21", "2026-11-22").replace("generation=1", "generation=2"));
    let log = log.read();
    assert_eq!(log.clock.shown(log.transitions[1].at), "11-22 10:50:00.000");
    // The same without dates.
    let transition = |generation| TRANSITION.replace("generation=3", &format!("generation={generation}"));
    let log = read(&format!("23:59:59.9 {}\n00:00:00.1 {}\n", transition(3), transition(4)));
    assert_eq!(log.transitions[1].at - log.transitions[0].at, Duration::from_millis(200));
}

#[test]
fn a_thread_that_writes_late_is_put_in_order_and_a_clock_that_is_set_back_is_not() {
    let mut log = Writer::default();
    log.current(0.0, MAIN, 1).serves(0.1, W0, 1).serves(1.3, W0, 2).current(1.2, MAIN, 2).end(60.0);
    let read = log.read();
    assert_eq!(read.transitions.iter().map(|t| t.line).collect::<Vec<_>>(), [1, 2, 4, 3]);
    assert_eq!(warnings(&read), [""; 0]);
    // One thread writes its own lines in order, whatever their times are.
    let mut log = Writer::default();
    log.serves(1.0, W0, 1).serves(0.5, W0, 2);
    assert_eq!(log.read().transitions.iter().map(|t| t.line).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(log.found(), [""; 0]);

    let mut log = Writer::default();
    log.current(3000.0, MAIN, 1).serves(3000.1, W0, 1).current(1.2, MAIN, 2).serves(1.3, W0, 2);
    let read = log.read();
    assert_eq!(read.transitions.iter().map(|t| t.line).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(
        warnings(&read),
        ["envoy.log:3: the time goes back here; from here on the order is that of the lines"]
    );
    assert_eq!(log.found(), [""; 0]);
}

#[test]
fn what_looks_like_a_transition_and_is_none_is_told_with_its_line() {
    let mut log = Writer::default();
    log.current(0.0, MAIN, 1);
    log.vm(0.1, W0, "bundle=shop to=sleeping").vm(
        0.2,
        W0,
        "bundle=shop to=serving generation=1 cause=\"open",
    );
    assert_eq!(
        warnings(&log.read()),
        [
            "envoy.log:2: it is no transition, because `to=sleeping` is not one of none, serving, refused; passed over",
            "envoy.log:3: it is no transition, because a quote is open at its end; passed over",
        ]
    );
}

#[test]
fn a_last_line_that_is_cut_off_is_not_believed() {
    let mut log = Writer::default();
    log.current(0.0, MAIN, 12).serves(0.1, W0, 12);
    let whole = log.text.trim_end().to_owned();
    let cut = whole.strip_suffix("2 epoch=1").unwrap();
    let log = read(cut);
    assert_eq!(log.transitions.len(), 1, "generation 1 is not what the VM serves");
    assert_eq!(warnings(&log), ["envoy.log:2: the line is not whole; passed over"]);
    // A quote that is closed shows that all before it is there.
    assert_eq!(read(&format!("{whole} cause=\"a b\"")).transitions.len(), 2);
}

#[test]
fn what_others_write_into_the_log_is_no_transition() {
    let mut log = Writer::default();
    log.current(0.0, MAIN, 1).serves(0.1, W0, 1);
    log.line(0.2, W0.0, &format!("wasm log portcullis: a request of \"{TRANSITION}\""));
    log.line(0.3, W0.0, &format!("http: \"{TRANSITION}\""));
    let before = log.text.clone();
    log.text.push_str(&format!("[2026-11-21T10:50:01.000Z] \"GET /\" 200 {TRANSITION}\n"));
    assert_eq!(log.read().transitions.len(), 2, "{before}");
    assert_eq!(
        warnings(&log.read()),
        ["envoy.log:5: it looks like a transition, but is not written as the ones before; passed over"]
    );
    // What a value says is a value.
    let mut log = Writer::default();
    log.registry(
        0.0,
        MAIN,
        "bundle=\"shop to=absent generation=9 \\\" \" from=claimed to=current generation=1",
    );
    let log = log.read();
    assert_eq!(
        (&*log.bundles[0].name, log.transitions[0].generation),
        ("shop to=absent generation=9 \" ", Some(1))
    );
}

#[test]
fn lines_that_are_missing_are_told() {
    let without: String =
        HEALTHY.lines().filter(|line| !line.contains("to=lost")).map(|line| format!("{line}\n")).collect();
    assert_eq!(
        warnings(&read(&without)),
        [
            "envoy.log:31: `member 1` of vm 51aa7e10 was `lost` before and is `joined` in the log: lines are missing"
        ]
    );
}

#[test]
fn the_main_thread_is_known_from_what_envoy_says_as_it_begins() {
    let log = read(HEALTHY);
    let reported: Vec<String> = log.vms.iter().map(|vm| vm.shown()).collect();
    assert_eq!(
        reported,
        ["vm 51aa7e10 (main thread, 4700)", "vm 9f3c01aa (thread 4711)", "vm c7d20b35 (thread 4712)"]
    );
    let without: String =
        HEALTHY.lines().filter(|line| !line.contains("[main]")).map(|line| format!("{line}\n")).collect();
    assert!(read(&without).vms.iter().all(|vm| !vm.main));
}

#[test]
fn several_envoys_in_one_log_have_registries_of_their_own() {
    // Two pods, the second of which is behind the first, but not behind itself.
    let pod = |name: &str, text: &str| -> Vec<String> {
        text.lines().map(|line| format!("[pod/{name}] {line}\n")).collect()
    };
    let first = pod("a", HEALTHY);
    let second = pod(
        "b",
        &HEALTHY
            .replace("51aa7e10", "aaaaaaa1")
            .replace("9f3c01aa", "aaaaaaa2")
            .replace("c7d20b35", "aaaaaaa3"),
    );
    let kept = second.iter().position(|line| line.contains("generation=4")).unwrap();
    let mut both = String::new();
    for (at, line) in first.iter().enumerate() {
        both.push_str(line);
        both.push_str(second.get(at).filter(|_| at < kept).map_or("", |line| line));
    }
    let log = read(&both);
    assert_eq!(log.vms.iter().map(|vm| vm.process).max(), Some(1));
    let mut labels: Vec<&str> = log.bundles.iter().map(|bundle| bundle.label.as_str()).collect();
    labels.sort_unstable();
    assert_eq!(labels, ["data #1", "data #2", "shop #1", "shop #2"]);
    assert_eq!(found(&log, &log.check(PATIENCE)), [""; 0]);

    // A hot restart: the second Envoy of the pod begins while the first one runs, and its threads have higher numbers.
    let mut log = Writer::default();
    log.line(0.0, MAIN.0, "initializing epoch 0 (base id=0, hot restart version=11.104)");
    log.current(1.0, MAIN, 7).serves(1.1, W0, 7);
    log.line(2.0, 5000, "initializing epoch 1 (base id=0, hot restart version=11.104)");
    log.current(3.0, (5000, "bbbbbbb1"), 1)
        .serves(3.1, (5001, "bbbbbbb2"), 1)
        .current(4.0, MAIN, 8)
        .serves(4.1, W0, 8);
    log.end(60.0);
    assert_eq!(log.found(), [""; 0]);
    assert_eq!(log.read().bundles.len(), 2);

    // A restart: the same numbers again, and the VMs before are gone.
    let mut log = Writer::default();
    for (at, vms) in [(0.0, ["c0", "c1"]), (20.0, ["c2", "c3"])] {
        log.line(at, 1, "initializing epoch 0 (base id=0, hot restart version=11.104)");
        log.current(at + 1.0, (1, vms[0]), 5).serves(at + 1.1, (15, vms[1]), 5).current(
            at + 2.0,
            (1, vms[0]),
            6,
        );
        log.serves(at + 2.1, (1, vms[0]), 6);
        if at > 0.0 {
            log.serves(at + 2.1, (15, vms[1]), 6);
        }
    }
    log.line(100.0, 1, "flushing stats");
    assert_eq!(
        log.found(),
        [
            "vm c1 (thread 15) served generation 5 of `shop #1` for 19.0 s, from 10:50:02.000 to 10:50:21.000, although 6 was current"
        ]
    );
}

#[test]
fn two_envoys_that_cannot_be_told_apart_are_told() {
    let mut log = Writer::default();
    log.registry(0.0, MAIN, "bundle=shop from=absent to=claimed epoch=1");
    log.registry(0.1, (9000, "eeeeeeee"), "bundle=shop from=absent to=claimed epoch=1");
    assert_eq!(
        warnings(&log.read()),
        [
            "envoy.log:2: epoch 1 of `shop` is claimed a second time: if the log is of several Envoys, cut it into one for each"
        ]
    );
}

#[test]
fn vms_of_another_vm_id_have_a_registry_of_their_own() {
    let mut log = Writer::default();
    log.current(0.0, MAIN, 4).serves(0.1, W0, 4);
    log.line(0.2, W1.0, "wasm log root other: transition scope=vm vm=dddddddd on=tick#1 bundle=shop from=none to=serving generation=1").end(60.0);
    assert_eq!(log.found(), [""; 0]);
    let read = log.read();
    assert_eq!(
        read.bundles.iter().map(|b| b.label.as_str()).collect::<Vec<_>>(),
        ["shop of portcullis", "shop of other"]
    );
}

#[test]
fn a_log_without_transitions_says_what_to_look_for() {
    let error = |text: &str| Log::read(text.as_bytes(), "envoy.log").unwrap_err().to_string();
    assert_eq!(
        error("a\nb\n"),
        "envoy.log: none of its 2 lines is a transition; look for `transition scope=` (`grep -c`): the filter logs it at level info, so Envoy must run with `--component-log-level wasm:info` or a lower level"
    );
    assert!(error("").starts_with("envoy.log: none of its 0 lines"));
    let broken = "wasm log a: transition scope=vm vm=1 on=tick#1 bundle=shop\n";
    assert!(error(broken).contains("(line 1 looks like one, but it has no `to=`)"), "{}", error(broken));
}

#[test]
fn a_log_of_more_vms_than_any_envoy_has_is_refused() {
    let text: String =
        (0..5_002).map(|vm| format!("{}\n", TRANSITION.replace("9f3c01aa", &format!("{vm:08x}")))).collect();
    let error = Log::read(text.as_bytes(), "envoy.log").unwrap_err().to_string();
    assert!(
        error.starts_with("envoy.log:5001: there are more than 5000 VMs; cut the log by time first"),
        "{error}"
    );
    let most: String = text.lines().take(5_000).map(|line| format!("{line}\n")).collect();
    let log = read(&most);
    assert_eq!(log.vms.len(), 5_000);
    log.trace(&log.check(PATIENCE), &Cut::default()).unwrap();
}

#[test]
fn whatever_is_in_a_log_it_is_read_checked_and_drawn_or_refused() {
    let bytes = PHANTOM.as_bytes();
    let mut read = 0;
    for seed in 0..300 {
        let random = &mut ChaCha8Rng::seed_from_u64(seed);
        let mut text = bytes.to_vec();
        for _ in 0..random.random_range(1..40) {
            let at = random.random_range(0..text.len());
            match random.random_range(0..5) {
                0 => text[at] = random.random(),
                1 => drop(text.drain(at..(at + 30).min(text.len()))),
                2 => text.insert(at, [b'\n', b'"', b' ', b'=', b'\\'][random.random_range(0..5)]),
                // A part of it once more, somewhere else.
                3 => {
                    let part = text[at..(at + 200).min(text.len())].to_vec();
                    let to = random.random_range(0..text.len());
                    text.splice(to..to, part);
                }
                _ => text.truncate(text.len() - random.random_range(0..20)),
            }
        }
        let Ok(log) = Log::read(&text[..], "envoy.log") else { continue };
        read += 1;
        let checked = log.check(Duration::from_millis(random.random_range(0..5000)));
        let cut = if seed % 3 == 0 {
            let first = log.transitions[log.transitions.len() / 2].at;
            Cut { from: Some(first), until: Some(first + Duration::from_secs(9)), ..Cut::default() }
        } else {
            Cut::default()
        };
        let trace = log.trace(&checked, &cut).unwrap();
        for format in [Format::Html, Format::Svg, Format::Text, Format::Perfetto] {
            assert!(!render(&trace, format).is_empty());
        }
        let schedule = log.schedule(&trace).to_string();
        host_harness::race::schedule::Schedule::parse(&schedule, "a.race")
            .unwrap_or_else(|error| panic!("seed {seed}: {error}\n{schedule}"));
    }
    assert!(read > 250, "{read}");
}
