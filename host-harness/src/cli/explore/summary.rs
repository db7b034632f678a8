//! What was found, for people: a line for each variant in 80 columns, and below it what does not fit there.

use std::sync::Arc;

use host_harness::race::{
    render::visible,
    scenario::{Expectation, Scenario},
    search::Report,
};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::inputs::module_name;

const COLUMNS: usize = 80;
/// Of all columns but the first and `found`: what is expected, the time, and the gaps.
const OTHERS: usize = 8 + 9 + 3 * 2;
/// `found` is cut no shorter than this: it holds `clean so far (1000000 schedules)`.
const FOUND: usize = 32;
/// A race that was missed with a higher probability may well be there.
const MOST_MISSED: f64 = 0.1;
const INSET: &str = "  ";

/// Every variant with what was expected and found, and how many are as expected.
pub(super) fn summary(scenarios: &[Arc<Scenario>], reports: &[Report]) -> String {
    let rows: Vec<Row> = scenarios
        .iter()
        .zip(reports)
        .map(|(scenario, report)| Row::of(scenario, scenarios, report))
        .collect();
    let found = widest(rows.iter().map(|row| &row.found), "found").min(FOUND);
    let name = widest(rows.iter().map(|row| &row.name), "scenario").min(COLUMNS - OTHERS - found);
    let head = Row {
        name: "scenario".to_owned(),
        expected: "expected",
        found: "found".to_owned(),
        time: "time".to_owned(),
        details: Vec::new(),
    };
    let mut text = head.lines(name, found);
    text += &format!("{}\n", "─".repeat(name + found + OTHERS));
    for row in &rows {
        text += &row.lines(name, found);
    }
    let as_expected = reports.iter().filter(|report| report.is_as_expected()).count();
    text + &format!("{as_expected} of {} as expected\n", reports.len())
}

fn widest<'a>(texts: impl Iterator<Item = &'a String>, head: &str) -> usize {
    texts.map(|text| text.width()).max().unwrap_or(0).max(head.len())
}

struct Row {
    name: String,
    expected: &'static str,
    found: String,
    time: String,
    details: Vec<String>,
}

// === impl Row ===

impl Row {
    fn of(scenario: &Scenario, scenarios: &[Arc<Scenario>], report: &Report) -> Row {
        let parts = [Some(scenario.name.as_str()), Some(scenario.variant.as_str())];
        let parts = parts.into_iter().chain([module_name(scenario, scenarios)]).flatten();
        let name = parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
        let found = report.headline();
        let surprising = report.not_run.is_none() && !report.is_as_expected();
        Row {
            name: visible(&name).into_owned(),
            expected: match report.expect {
                Some(Expectation::Broken) => "broken",
                Some(Expectation::Clean) | None => "clean",
            },
            found: if surprising && report.first.is_some() {
                found.replacen("broken", "BROKEN", 1)
            } else {
                found
            },
            time: format!("{:.2} s", report.seconds),
            details: details(report, surprising),
        }
    }

    fn lines(&self, name: usize, found: usize) -> String {
        let rest = format!("{}  {}  {:>9}", padded(self.expected, 8), padded(&self.found, found), self.time);
        // A long name has a line of its own.
        let mut text = if self.name.width() > name {
            format!("{}\n{}  {rest}\n", self.name, " ".repeat(name))
        } else {
            format!("{}  {rest}\n", padded(&self.name, name))
        };
        for detail in &self.details {
            for line in wrapped(detail, COLUMNS - INSET.len()) {
                text += &format!("{INSET}{line}\n");
            }
        }
        text
    }
}

/// What a variant's line has no room for.
fn details(report: &Report, surprising: bool) -> Vec<String> {
    if let Some(reason) = &report.not_run {
        return vec![reason.clone()];
    }
    let mut details = Vec::new();
    if let Some(found) = &report.first {
        if surprising {
            details.push(found.message.clone());
        }
        details.push(format!(
            "{}, schedule {} of {}; {:?}, {}",
            found.phase,
            found.schedule,
            report.schedules,
            found.class,
            found.class.words()
        ));
    } else if surprising && report.expect == Some(Expectation::Broken) {
        details.push("it is expected to break, and nothing broke it".to_owned());
    }
    if report.not_repeatable > 0 {
        details.push(format!(
            "{} schedules came out differently when they were run again: this is a fault of the harness",
            report.not_repeatable
        ));
    }
    if report.first.is_some() {
        return details;
    }
    if let Some(phase) = report.proof()
        && let Some(covered) = &phase.certificate
    {
        let what = if phase.name == "exhaustive" { "every schedule" } else { &phase.name };
        details.push(format!("{what}: {} paths through {} states", covered.paths, covered.states));
    }
    // Where nothing is proved, the number stands above.
    if report.proof().is_some() {
        details.push(format!("{} schedules run", report.schedules));
    }
    details.extend(report.cut_off_words());
    details.extend(report.not_reached());
    let missed =
        report.phases.iter().find_map(|phase| phase.missed_depth_2).filter(|missed| *missed < MOST_MISSED);
    details.extend(missed.filter(|_| !report.not_reached().is_empty()).map(|missed| {
        format!("two steps in the wrong order were missed with a probability of at most {missed:.1e}")
    }));
    details
}

fn padded(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(text.width())))
}

/// The text in lines; a word that is longer than a line is broken.
pub(in crate::cli) fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in visible(text).split(' ').filter(|word| !word.is_empty()) {
        let mut word = word.to_owned();
        while let Some(line) = lines.last_mut() {
            let gap = usize::from(!line.is_empty());
            if line.width() + gap + word.width() <= columns {
                line.push_str(if gap > 0 { " " } else { "" });
                line.push_str(&word);
                break;
            }
            if line.is_empty() {
                let at = cut(&word, columns);
                let rest = word.split_off(at);
                line.push_str(&word);
                word = rest;
            }
            lines.push(String::new());
        }
    }
    lines
}

/// Where so many columns of a text end, behind its first character at least.
fn cut(text: &str, columns: usize) -> usize {
    let mut used = 0;
    for (at, character) in text.char_indices() {
        used += character.width().unwrap_or(0);
        if used > columns && at > 0 {
            return at;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_wrapped_at_words_and_within_words_that_are_too_long() {
        assert_eq!(wrapped("one two three", 8), ["one two", "three"]);
        assert_eq!(wrapped("a abcdefghijkl b", 5), ["a", "abcde", "fghij", "kl b"]);
        assert_eq!(wrapped("漢漢漢", 4), ["漢漢", "漢"]);
        assert_eq!(wrapped("a\u{1b}[2Jb", 20), ["a\\u{1b}[2Jb"]);
        assert_eq!(wrapped("", 5), [""]);
    }
}
