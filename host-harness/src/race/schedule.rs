//! `race/1`: a schedule as a text that people read, edit and keep beside their code.
//!
//! ```text
//! race/1
//! scenario: stale-after-preempt
//! variant: naive
//! oracle: eventually
//!
//! w0 response#1
//!   get status = not found
//!   set status 1:NOT_READY = ok c1
//!   hold before push status
//! w1 response#1
//!   ...
//! w0 response#1
//! ```
//!
//! A line that is not indented is a turn, by name: it begins, or goes on where it was held. Below it, `hold before …` and
//! `fault …` are decisions; every other line is what was seen, and is compared when the schedule is run again. What
//! is seen may be left out. After the last turn everything comes in order of time.
//!
//! What comes below a line `=== scenario` is the scenario, where that is none that is built in: a file stands alone.

use std::fmt;

use super::trace::{FaultClass, Step, Trace, TurnName, Verb};
use crate::{
    envoy::schedule::{Fault, TurnKind},
    steps::trap_cause,
};

const MAGIC: &str = "race/1";
/// The line above a scenario.
const SCENARIO: &str = "=== scenario";

/// A schedule.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Schedule {
    /// What is known about it, in order: `scenario`, `variant`, `module`, `module-file`, `id`, `oracle`, `class`, `found-by`,
    /// `finding`.
    pub header: Vec<(String, String)>,
    /// What happens, in order.
    pub segments: Vec<Segment>,
    /// The text of the scenario, with all of its variants; `None` for one that is built in.
    pub scenario: Option<String>,
}

/// A turn, or the part of a turn between two places where it is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Which turn.
    pub turn: TurnName,
    /// Where it is held; `None` runs it to its end.
    pub hold: Option<Hold>,
    /// Faults that its calls meet: which call of the segment, from 1, and the fault's name.
    pub faults: Vec<(usize, String)>,
    /// What was seen.
    pub seen: Vec<Seen>,
}

/// Where a turn is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Before what it would do.
    pub verb: Verb,
    /// And to what.
    pub object: String,
    /// Which time that it would do so in this segment, from 1.
    pub time: usize,
}

/// Something that a turn did and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What was done.
    pub verb: Verb,
    /// To what, and with what.
    pub what: String,
    /// What came back.
    pub observed: String,
}

/// Why a text is no schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {what}; {cure}")]
pub struct ScheduleError {
    file: String,
    line: usize,
    what: String,
    cure: &'static str,
}

// === impl Schedule ===

impl Schedule {
    /// The value of a header line.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.header.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// What a recorded run did, up to the last turn that did not come by itself.
    #[must_use]
    pub fn of(trace: &Trace, header: Vec<(String, String)>) -> Schedule {
        let mut segments: Vec<Segment> = Vec::new();
        for step in &trace.steps {
            let continues = segments.last().is_some_and(|last| last.turn == step.turn && last.hold.is_none());
            if !continues {
                segments.push(Segment::new(step.turn.clone()));
            }
            let Some(segment) = segments.last_mut() else { continue };
            if let Some(kind) = fault_of(step) {
                let call = segment.seen.iter().filter(|seen| seen.verb == Verb::Call).count() + 1;
                segment.faults.push((call, kind.to_owned()));
            }
            segment.seen.extend(Seen::of(step));
            if step.held {
                segment.hold = next_of(trace, step);
            }
        }
        Schedule { header, segments, scenario: None }
    }

    /// Reads a schedule; `file` stands for it in errors.
    ///
    /// Errors: the first line that cannot be read, and what it must look like.
    pub fn parse(text: &str, file: &str) -> Result<Schedule, ScheduleError> {
        let error =
            |line: usize, what: String, cure| ScheduleError { file: file.to_owned(), line, what, cure };
        let (text, scenario) = match text.split_once(&format!("\n{SCENARIO}\n")) {
            Some((schedule, scenario)) => (schedule, Some(scenario.to_owned())),
            None => (text, None),
        };
        let mut lines = text.lines().enumerate().map(|(number, line)| (number + 1, without_comment(line)));
        match lines.next() {
            Some((_, MAGIC)) => {}
            Some((number, line)) if line.starts_with("race/") => {
                let what = format!("version `{line}` is not known here");
                return Err(error(number, what, "this program reads `race/1`"));
            }
            other => {
                let what = "this is no schedule".to_owned();
                return Err(error(
                    other.map_or(1, |(number, _)| number),
                    what,
                    "its first line must be `race/1`",
                ));
            }
        }
        let mut schedule = Schedule { scenario, ..Schedule::default() };
        for (number, line) in lines {
            if line.trim().is_empty() {
                continue;
            }
            let indented = line.starts_with(char::is_whitespace);
            match (indented, schedule.segments.last_mut()) {
                (true, None) => {
                    let what = format!("`{}` belongs to no turn", line.trim());
                    return Err(error(
                        number,
                        what,
                        "write a turn such as `w0 tick#1` above it, not indented",
                    ));
                }
                (true, Some(segment)) => {
                    segment.read(line.trim()).map_err(|(what, cure)| error(number, what, cure))?
                }
                (false, _) => match (line.split_once(": "), TurnName::parse(line.trim())) {
                    (_, Some(turn)) => schedule.segments.push(Segment::new(turn)),
                    (Some((key, value)), None) if schedule.segments.is_empty() => {
                        schedule.header.push((key.trim().to_owned(), value.trim().to_owned()));
                    }
                    _ => {
                        let what = format!("`{}` is no turn", line.trim());
                        let cure = "write it as `w0 tick#1` or `w1 ready#2(queue)`: thread, event, its number, its subject";
                        return Err(error(number, what, cure));
                    }
                },
            }
        }
        Ok(schedule)
    }

    /// How many times a turn is held.
    #[must_use]
    pub fn preemptions(&self) -> usize {
        self.segments.iter().filter(|segment| segment.hold.is_some()).count()
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{MAGIC}")?;
        for (key, value) in &self.header {
            writeln!(formatter, "{key}: {}", one_line(value))?;
        }
        writeln!(formatter)?;
        for segment in &self.segments {
            writeln!(formatter, "{}", segment.turn)?;
            let mut calls = 0;
            for seen in &segment.seen {
                writeln!(formatter, "  {seen}")?;
                if seen.verb == Verb::Call {
                    calls += 1;
                    for (_, fault) in segment.faults.iter().filter(|(call, _)| *call == calls) {
                        writeln!(formatter, "  fault {fault} at call {calls}")?;
                    }
                }
            }
            for (call, fault) in segment.faults.iter().filter(|(call, _)| *call > calls) {
                writeln!(formatter, "  fault {fault} at call {call}")?;
            }
            if let Some(hold) = &segment.hold {
                writeln!(formatter, "  {hold}")?;
            }
        }
        if let Some(scenario) = &self.scenario {
            write!(formatter, "\n{SCENARIO}\n{scenario}")?;
        }
        Ok(())
    }
}

// === impl Segment ===

impl Segment {
    fn new(turn: TurnName) -> Segment {
        Segment { turn, hold: None, faults: Vec::new(), seen: Vec::new() }
    }

    fn read(&mut self, line: &str) -> Result<(), (String, &'static str)> {
        if self.hold.is_some() {
            let what = format!("`{line}` comes after a hold, which ends the segment");
            return Err((what, "name the turn again where it goes on, and put the line there"));
        }
        if let Some(place) = line.strip_prefix("hold before ") {
            let hold = Hold::parse(place).ok_or_else(|| {
                (
                    format!("`{place}` is no place to hold"),
                    "write it as `hold before push status`, with `#2` for the second time",
                )
            })?;
            self.hold = Some(hold);
            return Ok(());
        }
        if let Some(fault) = line.strip_prefix("fault ") {
            let read = fault.split_once(" at call ").and_then(|(name, call)| {
                Fault::parse(name)?;
                Some((call.parse().ok()?, name.to_owned()))
            });
            let fault = read.ok_or_else(|| {
                (format!("`{fault}` is no fault"), "write it as `fault reset at call 1`; others are refusal, timeout, connect_failure, duplicate")
            })?;
            self.faults.push(fault);
            return Ok(());
        }
        let seen = Seen::parse(line).ok_or_else(|| {
            (
                format!("`{line}` is no step"),
                "write it as `get status = ready c2`, or leave it out: steps are only compared",
            )
        })?;
        self.seen.push(seen);
        Ok(())
    }
}

// === impl Hold ===

impl Hold {
    fn parse(text: &str) -> Option<Hold> {
        let (place, time) = match text.rsplit_once(" #") {
            Some((place, time)) if time.parse::<usize>().is_ok() => (place, time.parse().ok()?),
            _ => (text, 1),
        };
        let (verb, object) = place.split_once(' ').unwrap_or((place, ""));
        Some(Hold { verb: Verb::parse(verb)?, object: object.to_owned(), time })
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "hold before {} {}", self.verb, self.object)?;
        if self.time > 1 { write!(formatter, " #{}", self.time) } else { Ok(()) }
    }
}

// === impl Seen ===

impl Seen {
    /// A step as it is compared; entering and leaving callbacks goes without saying, and so does a turn without any.
    pub(super) fn of(step: &Step) -> Option<Seen> {
        if matches!(step.verb, Verb::Enter | Verb::Return | Verb::Change | Verb::Log) {
            return None;
        }
        let mut what = step.object.clone();
        if !step.argument.is_empty() {
            what = format!("{what} {}", step.argument);
        }
        // Where in the guest it was differs with every build.
        let observed = if step.verb == Verb::Trap { trap_cause(&step.observed) } else { &step.observed };
        Some(Seen { verb: step.verb, what: one_line(&what), observed: one_line(observed) })
    }

    fn parse(line: &str) -> Option<Seen> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (what, observed) = rest.split_once(" = ").unwrap_or((rest.trim_end_matches(" ="), ""));
        Some(Seen { verb: Verb::parse(verb)?, what: what.to_owned(), observed: observed.to_owned() })
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.verb, self.what)?;
        if self.observed.is_empty() { Ok(()) } else { write!(formatter, " = {}", self.observed) }
    }
}

/// A line of a file has no line breaks in it, and `#` begins a comment only after white space.
fn one_line(text: &str) -> String {
    text.split('\n').map(str::trim_end).collect::<Vec<_>>().join("\\n").replace(" # ", " \\# ")
}

fn without_comment(line: &str) -> &str {
    let line = line.split_once(" # ").map_or(line, |(line, _)| line);
    if line.starts_with('#') { "" } else { line.trim_end() }
}

/// The place where a turn was held; where that is not known, what it does when it goes on.
fn next_of(trace: &Trace, step: &Step) -> Option<Hold> {
    let next = || {
        let later = trace.steps.iter().skip(step.number).find(|later| later.turn == step.turn)?;
        Some((later.verb, later.object.clone()))
    };
    let (verb, object) = step.held_before.clone().or_else(next)?;
    let begin = segment_begin(trace, step);
    let same = |other: &&Step| other.turn == step.turn && other.verb == verb && other.object == object;
    let time = trace.steps.get(begin..step.number).unwrap_or_default().iter().filter(same).count() + 1;
    Some(Hold { verb, object, time })
}

/// Index of the first step of the segment that this step is in.
fn segment_begin(trace: &Trace, step: &Step) -> usize {
    let before = trace.steps.get(..step.number.saturating_sub(1)).unwrap_or_default();
    let apart = before.iter().rposition(|other| other.turn != step.turn || other.held);
    apart.map_or(0, |index| index + 1)
}

fn fault_of(step: &Step) -> Option<&'static str> {
    if step.verb != Verb::Call {
        return None;
    }
    let (_, fault) = step.observed.split_once(" fault ")?;
    Fault::parse(fault).map(Fault::as_str)
}

/// The class that a schedule's faults have.
pub(super) fn class_of(schedule: &Schedule) -> FaultClass {
    let faults = schedule.segments.iter().flat_map(|segment| &segment.faults);
    let faults = faults.filter_map(|(_, name)| Fault::parse(name)).map(Fault::class);
    let traps = schedule.segments.iter().filter(|segment| segment.turn.event == TurnKind::Trap.as_str());
    faults.chain(traps.map(|_| FaultClass::L1)).max().unwrap_or(FaultClass::L0)
}
