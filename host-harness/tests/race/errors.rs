//! Texts that are no schedule: the line, what is wrong with it, and the cure.

use host_harness::race::schedule::Schedule;

#[test]
fn every_mistake_is_told_with_its_line_and_its_cure() {
    let no_turn = "write it as `w0 tick#1` or `w1 ready#2(queue)`: thread, event, its number, its subject";
    let no_fault =
        "write it as `fault reset at call 1`; others are refusal, timeout, connect_failure, duplicate";
    let no_step = "write it as `get status = ready c2`, or leave it out: steps are only compared";
    let no_place = "write it as `hold before push status`, with `#2` for the second time";
    let cases = [
        ("", 1, "this is no schedule", "its first line must be `race/1`"),
        ("scenario: a\n", 1, "this is no schedule", "its first line must be `race/1`"),
        ("race/2\n", 1, "version `race/2` is not known here", "this program reads `race/1`"),
        ("race/1.1\n", 1, "version `race/1.1` is not known here", "this program reads `race/1`"),
        (
            "race/1\n  get a = b\n",
            2,
            "`get a = b` belongs to no turn",
            "write a turn such as `w0 tick#1` above it, not indented",
        ),
        ("race/1\nw0 tick\n", 2, "`w0 tick` is no turn", no_turn),
        ("race/1\nw0 tick#x\n", 2, "`w0 tick#x` is no turn", no_turn),
        ("race/1\nw0 ready#1(a\n", 2, "`w0 ready#1(a` is no turn", no_turn),
        ("race/1\n\nw0 tick#1\nid: late\n", 4, "`id: late` is no turn", no_turn),
        ("race/1\nw0 tick#1\n  jump a\n", 3, "`jump a` is no step", no_step),
        ("race/1\nw0 tick#1\n  hold before jump a\n", 3, "`jump a` is no place to hold", no_place),
        ("race/1\nw0 tick#1\n  fault reset\n", 3, "`reset` is no fault", no_fault),
        ("race/1\nw0 tick#1\n  fault flood at call 1\n", 3, "`flood at call 1` is no fault", no_fault),
        ("race/1\nw0 tick#1\n  fault reset at call one\n", 3, "`reset at call one` is no fault", no_fault),
        (
            "race/1\nw0 tick#1\n  hold before get a\n  get a = b\n",
            4,
            "`get a = b` comes after a hold, which ends the segment",
            "name the turn again where it goes on, and put the line there",
        ),
    ];
    for (text, line, what, cure) in cases {
        let error = Schedule::parse(text, "my.race").unwrap_err().to_string();
        assert_eq!(error, format!("my.race:{line}: {what}; {cure}"), "{text:?}");
    }
}

#[test]
fn comments_and_empty_lines_say_nothing() {
    let plain = "race/1\nscenario: a\n\nw0 tick#1\n  get a = b\n";
    let reported = "race/1 # a version\n# about\nscenario: a\n\n\nw0 tick#1 # first\n\n  get a = b # was c\n";
    assert_eq!(Schedule::parse(reported, "").unwrap(), Schedule::parse(plain, "").unwrap());
}

#[test]
fn line_endings_of_windows_are_line_endings() {
    let plain = "race/1\nscenario: a\n\nw0 tick#1\n  get a = b\n  hold before set a #2\n";
    assert_eq!(Schedule::parse(&plain.replace('\n', "\r\n"), ""), Schedule::parse(plain, ""));
}
