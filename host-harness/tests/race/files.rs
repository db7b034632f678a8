//! The schedule files in `races/`: they fail as they say, fail no more in the twin without the mistake, and are least.

use super::*;

#[test]
fn every_file_breaks_the_filter_with_the_mistake_as_it_says() {
    for (name, text) in FILES {
        let schedule = parse(text);
        let replayed = replay(text, "naive", false);
        assert_eq!(divergences(&replayed), [""; 0], "{name}");
        let findings: Vec<_> = replayed
            .trace
            .findings
            .iter()
            .map(|found| (found.oracle.as_str(), found.message.as_str()))
            .collect();
        let said = (schedule.header("oracle").unwrap(), schedule.header("finding").unwrap());
        assert!(findings.contains(&said), "{name}: {findings:?}");
        assert_eq!(
            format!("{:?}", replayed.trace.findings[0].class),
            schedule.header("class").unwrap(),
            "{name}"
        );
    }
}

#[test]
fn no_file_breaks_the_filter_without_the_mistake() {
    for (name, text) in FILES {
        let replayed = replay(text, "fixed", true);
        assert_eq!(replayed.trace.findings, [], "{name}");
    }
}

#[test]
fn every_file_shrinks_to_itself() {
    for (name, text) in FILES {
        let shrunk =
            race::shrink_schedule(&GUESTS, &scenario(name, "naive"), &parse(text), &Options::default());
        let (schedule, trace) = shrunk.unwrap().expect("the file fails");
        // A file that stays is not one of a build, so it names no module.
        let lines = |text: &str| -> Vec<String> {
            text.lines().filter(|line| !line.starts_with("module: ")).map(str::to_owned).collect()
        };
        assert_eq!(lines(&schedule.to_string()), lines(text), "{name}");
        assert_eq!(trace.findings.len(), 1, "{name}");
    }
}

#[test]
fn every_segment_and_every_hold_of_a_file_is_needed() {
    for (name, text) in FILES {
        let schedule = parse(text);
        let oracle = schedule.header("oracle").unwrap();
        let fails = |schedule: &Schedule| {
            let replayed = race::replay(&GUESTS, &scenario(name, "naive"), schedule, true).unwrap();
            replayed.trace.findings.iter().any(|finding| finding.oracle == oracle)
        };
        assert!(fails(&schedule), "{name}");
        let mut shorter = schedule.clone();
        shorter.segments.pop();
        assert!(!fails(&shorter), "{name}: its last segment comes by itself");
        for (index, segment) in
            schedule.segments.iter().enumerate().filter(|(_, segment)| segment.hold.is_some())
        {
            let mut whole = schedule.clone();
            whole.segments[index].hold = None;
            assert!(!fails(&whole), "{name}: `{}` need not be held", segment.turn);
        }
    }
}

#[test]
fn a_file_is_read_as_it_was_written() {
    for (name, text) in FILES {
        assert_eq!(parse(text).to_string(), text, "{name}");
    }
}

#[test]
fn the_listener_believes_what_was_told_last_and_not_what_was_learnt_last() {
    let naive = replay(STALE, "naive", false);
    assert_eq!(naive.trace.findings.len(), 1);
    assert_eq!(
        naive.trace.findings[0].message,
        r#"in the end `GET /state` must be answered 200 "2:READY", and w0 answers 200 "1:NOT_READY""#
    );
    let (held, other) = naive.trace.findings[0].raced.clone().unwrap();
    assert_eq!((held.to_string().as_str(), other.to_string().as_str()), ("main response#1", "w0 response#1"));
    let held: Vec<String> = naive
        .trace
        .steps
        .iter()
        .filter(|step| step.held)
        .map(|step| format!("{} {}", step.turn, step.verb))
        .collect();
    assert_eq!(held, ["main response#1 set"]);

    // The same order of things; the twin looks at the shared data and not at the message.
    let fixed = replay(STALE, "fixed", true);
    assert_eq!(fixed.trace.findings, []);
    let held = fixed.trace.steps.iter().filter(|step| step.held).count();
    assert_eq!(held, 1, "the twin is held in the same place");
}

#[test]
fn an_explanation_says_after_which_step_it_could_not_end_well() {
    let explanation =
        race::explain(&GUESTS, &scenario("stale-after-preempt", "naive"), &parse(STALE)).unwrap().unwrap();
    let finding = &explanation.trace.findings[0];
    let inevitable = finding.inevitable_after.expect("there is such a step");
    assert!(inevitable <= finding.step, "{inevitable} is after {}", finding.step);
    assert!(
        explanation.risk.first().unwrap().1 < 1.0,
        "in the beginning all is open: {:?}",
        explanation.risk
    );
    assert_eq!(explanation.risk.last().unwrap().1, 1.0);

    let fixed = race::explain(&GUESTS, &scenario("stale-after-preempt", "fixed"), &parse(STALE)).unwrap();
    assert_eq!(fixed, None, "what does not fail has no explanation");
}
