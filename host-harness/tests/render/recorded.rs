//! A run that nobody wrote: a built-in scenario is explored in wasmtime, what was found is shrunk, explained and drawn.

use std::{sync::Arc, time::Duration};

use host_harness::{
    abi::{Module, Runtime},
    race::{
        self, Explanation, builtin,
        render::{Format, render_explained},
        search::{self, Options},
    },
};

fn explained(name: &str, variant: &str) -> Explanation {
    let scenarios = builtin::scenarios().unwrap();
    let wanted = |scenario: &race::scenario::Scenario| scenario.name == name && scenario.variant == variant;
    let scenario = Arc::new(scenarios.into_iter().find(wanted).unwrap());
    let bytes = builtin::module(&scenario.module).unwrap();
    let module = Module::load(&Runtime::new().unwrap(), &bytes).unwrap();
    let options =
        Options { preemptions: 1, random: 0, exhaustive: false, time: Duration::MAX, ..Options::default() };
    let report = search::explore(&module, &scenario, &options, &mut |_, _| {}).unwrap();
    let found = report.first.expect("the scenario is there to be broken");
    let (schedule, _) = race::shrink(&module, &scenario, &found, &options).unwrap();
    race::explain(&module, &scenario, &schedule).unwrap().expect("what was shrunk fails still")
}

#[test]
fn a_newcomer_is_shown_which_callbacks_raced_and_what_came_of_it() {
    let explanation = explained("stale-after-preempt", "naive");
    let text = render_explained(&explanation, Format::Text);
    let reported = text.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    for part in [
        " went on while ",
        " was held before `push status`: ",
        // Which worker it is depends on which has registered the queue last.
        " believes 1:NOT_READY, shared data says 2:READY",
        " stood still between `set status = 1:NOT_READY",
        "`set status = 2:READY",
        ", every way to go on fails; before it, ",
    ] {
        assert!(reported.contains(part), "no {part:?} in\n{text}");
    }
    let cards = text.lines().filter(|line| line.starts_with("  A  ") || line.starts_with("  B  "));
    assert_eq!(cards.filter(|card| card.ends_with("  proxy_on_http_call_response")).count(), 2, "{text}");

    let svg = render_explained(&explanation, Format::Svg);
    assert_eq!(svg.matches(r#"<rect class="held a""#).count(), 1, "{svg}");
    assert_eq!(svg.matches(r#"<rect class="differs lasting""#).count(), 1, "{svg}");
    assert!(svg.matches(r#"class="arrow notice""#).count() >= 2, "{svg}");
    assert!(svg.matches(r#"class="arrow call""#).count() >= 2, "{svg}");
}
