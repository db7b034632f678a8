//! Steps in words. Everything that a guest or a scenario has chosen passes through here before it is drawn.

use std::{borrow::Cow, time::Duration};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::{
    race::trace::{FaultClass, Step, TurnName, Verb},
    steps::trap_cause,
};

/// The text with nothing in it that a terminal or a browser would obey: control characters, and those that turn the
/// direction of text or cannot be seen, become escapes. XML forbids most of them anyhow.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_hidden(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    Cow::Owned(out)
}

fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
        || matches!(c, '\u{fff9}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}')
}

/// The text in at most so many columns of a fixed-width font; what is cut off leaves `…`.
pub(super) fn fit(text: &str, columns: usize) -> String {
    // A character can become ten columns but never less than none, so what is far behind the end cannot show.
    let head: String = text.chars().take(columns.saturating_mul(2) + 8).collect();
    let clean = visible(&head);
    if clean.width() <= columns && head.len() == text.len() {
        return clean.into_owned();
    }
    let mut out = String::new();
    let mut used = 1;
    for c in clean.chars() {
        used += c.width().unwrap_or(0);
        if used > columns {
            break;
        }
        out.push(c);
    }
    if columns > 0 {
        out.push('…');
    }
    out
}

/// [`fit`], filled up with spaces to exactly so many columns.
pub(super) fn padded(text: &str, columns: usize) -> String {
    let mut out = fit(text, columns);
    let width = out.width();
    out.extend(std::iter::repeat_n(' ', columns.saturating_sub(width)));
    out
}

/// Why something failed, in one line whose end is left to the sentence that it is put into.
pub(super) fn reason(text: &str, limit: usize) -> String {
    shortened(trap_cause(text).trim_end_matches(['.', ':', ' ']), limit)
}

/// How many columns of a fixed-width font the text takes.
pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// The whole text if it is short; else its beginning and its size.
pub(super) fn shortened(text: &str, limit: usize) -> String {
    if text.chars().nth(limit).is_none() {
        return visible(text).into_owned();
    }
    let head: String = text.chars().take(limit.saturating_sub(16)).collect();
    format!("{}… ({} bytes)", visible(&head), text.len())
}

/// A callback without the prefix that all of them have: `on_tick`.
pub(super) fn callback(export: &str) -> &str {
    export.strip_prefix("proxy_").unwrap_or(export)
}

/// `w0 response#1`, which is unique: what it is about is left out.
pub(super) fn turn(name: &TurnName) -> String {
    visible(&format!("{} {}#{}", thread(&name.thread), name.event, name.ordinal)).into_owned()
}

/// `response#1(bundles)`: a turn on its own thread's lane.
pub(super) fn turn_on_lane(name: &TurnName) -> String {
    let mut text = format!("{}#{}", name.event, name.ordinal);
    if !name.subject.is_empty() {
        text.push_str(&format!("({})", shortened(&name.subject, 40)));
    }
    visible(&text).into_owned()
}

/// A thread's name; what belongs to none happened outside of Envoy.
pub(super) fn thread(name: &str) -> &str {
    if name.is_empty() { "outside" } else { name }
}

/// Words as code in a sentence.
pub(super) fn code(text: &str) -> String {
    format!("`{}`", text.replace('`', "'"))
}

/// `push status`: what a step did, in two words.
pub(super) fn brief(step: &Step) -> String {
    format!("{} {}", step.verb, shortened(&step.object, 48))
}

/// `set status = READY`: what a step did, with what was given.
pub(super) fn what(step: &Step, limit: usize) -> String {
    let object = shortened(&step.object, limit);
    let argument = shortened(&step.argument, limit);
    let verb = step.verb;
    match step.verb {
        Verb::Return => format!("return from {object}"),
        Verb::Trap => format!("trap in {object}"),
        Verb::Response => format!("response from {object}"),
        Verb::Answer => format!("answer to {object}"),
        Verb::State => format!("{object} is {argument}"),
        Verb::Gap => format!("{argument} lines left out"),
        Verb::Set | Verb::Push | Verb::View if argument.is_empty() => format!("{verb} {object} = \"\""),
        _ if argument.is_empty() => format!("{verb} {object}"),
        Verb::Push => format!("push {object} ← {argument}"),
        Verb::Set | Verb::View | Verb::Registry | Verb::Serves => format!("{verb} {object} = {argument}"),
        _ => format!("{verb} {object}: {argument}"),
    }
}

/// What came back from a step, in words where the recorder wrote a number down.
pub(super) fn outcome(step: &Step) -> Cow<'_, str> {
    let observed = step.observed.as_str();
    match step.verb {
        Verb::Return => Cow::Borrowed(returned(step)),
        Verb::Trap => Cow::Borrowed(trap_cause(observed)),
        // An empty value, with its version.
        Verb::Get if observed.starts_with(' ') => Cow::Owned(format!("\"\"{observed}")),
        _ => Cow::Borrowed(observed),
    }
}

fn returned(step: &Step) -> &str {
    let observed = step.observed.as_str();
    let export = callback(&step.object);
    let acts = ["on_request_", "on_response_", "on_new_connection", "on_downstream_data", "on_upstream_data"];
    match (observed, export) {
        ("0", export) if acts.iter().any(|prefix| export.starts_with(prefix)) => "Continue",
        ("1", export) if acts.iter().any(|prefix| export.starts_with(prefix)) => "Pause",
        ("0", "on_vm_start" | "on_configure" | "on_done") => "false",
        ("1", "on_vm_start" | "on_configure" | "on_done") => "true",
        ("0", _) => "",
        _ => observed,
    }
}

/// `get status → none`: what a step did, as code in a sentence, with what was read or why it failed.
pub(super) fn deed(step: &Step, limit: usize) -> String {
    let reads = matches!(step.verb, Verb::Get | Verb::Dequeue | Verb::Resolve);
    let refused = matches!(step.verb, Verb::Set | Verb::Push | Verb::Call) && !succeeded(step);
    match (reads || refused) && !step.observed.is_empty() {
        true => code(&format!("{} → {}", what(step, limit), shortened(&outcome(step), limit))),
        false => code(&what(step, limit)),
    }
}

/// `READY if c1` and `READY if absent` → `READY`: what was written, without the condition.
pub(super) fn written(argument: &str) -> &str {
    let is_condition = |condition: &str| {
        let cas = condition.strip_prefix('c').map(str::parse::<u32>);
        condition == "absent" || cas.is_some_and(|cas| cas.is_ok())
    };
    match argument.rsplit_once(" if ") {
        Some((value, condition)) if is_condition(condition) => value,
        _ => argument,
    }
}

/// The one thing about a step that matters most, for the second line under its tick.
pub(super) fn gist(step: &Step) -> Cow<'_, str> {
    match step.verb {
        Verb::Enter | Verb::Request => Cow::Borrowed(&step.object),
        Verb::Set | Verb::Push if succeeded(step) && written(&step.argument).is_empty() => {
            Cow::Borrowed("\"\"")
        }
        Verb::Set if succeeded(step) => Cow::Borrowed(written(&step.argument)),
        Verb::Push if succeeded(step) => Cow::Borrowed(&step.argument),
        Verb::View | Verb::Change | Verb::Registry | Verb::Serves | Verb::State | Verb::Gap => {
            Cow::Borrowed(&step.argument)
        }
        Verb::Register | Verb::Resolve if step.observed.is_empty() => Cow::Borrowed(&step.object),
        Verb::Call if succeeded(step) => Cow::Borrowed(&step.object),
        Verb::Post => Cow::Owned(format!("→ {}", step.observed)),
        _ => outcome(step),
    }
}

/// Whether a step that can fail did not.
pub(super) fn succeeded(step: &Step) -> bool {
    matches!(step.observed.as_str(), "" | "sent")
        || step.observed.strip_prefix("ok").is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

/// `0 ms`, `1.4 s`
pub(super) fn time(at: Duration) -> String {
    match at.as_micros() {
        0 => "0 ms".to_owned(),
        micros if micros % 1000 != 0 && micros < 1_000_000 => format!("{} ms", micros as f64 / 1000.0),
        micros if micros < 1_000_000 => format!("{} ms", micros / 1000),
        _ => format!("{} s", (at.as_secs_f64() * 1000.0).round() / 1000.0),
    }
}

/// `31 %`; only what is certain is 100 %, and only what was never seen is 0 %.
pub(super) fn percent(share: f64) -> String {
    match (share * 100.0).round() {
        rounded if rounded >= 100.0 && share < 1.0 => "99 %".to_owned(),
        rounded if rounded <= 0.0 && share > 0.0 => "1 %".to_owned(),
        rounded => format!("{} %", rounded.clamp(0.0, 100.0)),
    }
}

/// What a class of faults means.
pub(super) fn class(class: FaultClass) -> (&'static str, &'static str) {
    let name = match class {
        FaultClass::L0 => "L0",
        FaultClass::L1 => "L1",
        FaultClass::L2 => "L2",
        FaultClass::L3 => "L3",
    };
    (name, class.words())
}

/// `1 step`, `2 steps`
pub(super) fn count(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_becomes_an_escape() {
        assert_eq!(visible("a\u{1b}[2J\u{202e}b\n"), "a\\u{1b}[2J\\u{202e}b\\n");
        assert_eq!(visible("é 日本"), "é 日本");
    }

    #[test]
    fn text_is_cut_by_columns_and_never_inside_a_character() {
        assert_eq!(fit("READY", 5), "READY");
        assert_eq!(fit("NOT_READY", 5), "NOT_…");
        assert_eq!(fit("日本語", 4), "日…");
        assert_eq!(padded("日本語", 4), "日… ");
        assert_eq!(fit("x", 0), "");
    }

    #[test]
    fn a_number_that_a_callback_returned_is_told_by_its_name() {
        let returned = |export: &str, observed: &str| {
            let turn =
                TurnName { thread: "w0".into(), event: "tick".into(), ordinal: 1, subject: String::new() };
            let step = Step {
                number: 1,
                at: Duration::ZERO,
                turn,
                verb: Verb::Return,
                object: export.into(),
                argument: String::new(),
                observed: observed.into(),
                held: false,
                held_before: None,
                causes: Vec::new(),
            };
            outcome(&step).into_owned()
        };
        assert_eq!(returned("proxy_on_request_headers", "1"), "Pause");
        assert_eq!(returned("proxy_on_request_headers", "0"), "Continue");
        assert_eq!(returned("proxy_on_configure", "0"), "false");
        assert_eq!(returned("proxy_on_tick", "0"), "", "it returns nothing");
        assert_eq!(returned("proxy_on_tick", "7"), "7");
    }

    #[test]
    fn a_chance_is_certain_only_when_it_is() {
        assert_eq!([0.0, 0.001, 0.315, 0.999, 1.0].map(percent), ["0 %", "1 %", "32 %", "99 %", "100 %"]);
    }

    #[test]
    fn conditions_are_told_from_values() {
        assert_eq!(written("READY if c1"), "READY");
        assert_eq!(written("now if absent"), "now");
        assert_eq!(written("only if clear"), "only if clear");
    }

    #[test]
    fn a_long_value_says_how_long_it_is() {
        assert_eq!(shortened(&"x".repeat(10_240), 20), "xxxx… (10240 bytes)");
        assert_eq!(shortened("short", 20), "short");
    }
}
