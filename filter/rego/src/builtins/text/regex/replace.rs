//! `regex.replace`, and the templates that it takes.

use super::super::{args, rune, unicode};
use super::{Regex, group, search::Slots};
use crate::builtins::{Budget, Call, Fault};
use crate::value::Value;

pub(super) fn replace_with(regex: &Regex, call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let text = args::bytes(args, 0)?;
    let template = args::bytes(args, 2)?;
    let found = regex.find_all(text, usize::MAX, call.budget)?;
    if found.is_empty() {
        return Ok(args.first().cloned().unwrap_or_default());
    }
    let parts = read(template, regex);
    let mut out = Vec::new();
    let mut last = 0;
    for slots in &found {
        let slot = |at: usize| slots.get(at).copied().flatten().unwrap_or(0);
        add(&mut out, rune::cut(text, last, slot(0)), call.budget)?;
        for part in &parts {
            let part = match part {
                Part::Text(text) => text,
                Part::Groups(numbers) => taking_part(text, slots, numbers),
            };
            call.budget.step(1)?;
            add(&mut out, part, call.budget)?;
        }
        last = slot(1);
    }
    add(&mut out, rune::from(text, last), call.budget)?;
    Ok(out.into())
}

fn add(out: &mut Vec<u8>, bytes: &[u8], budget: &mut Budget) -> Result<(), Fault> {
    budget.bytes(bytes.len() as u64)?;
    out.extend_from_slice(bytes);
    Ok(())
}

/// The first of these groups that took part in the match.
fn taking_part<'a>(text: &'a [u8], slots: &Slots, numbers: &[usize]) -> &'a [u8] {
    let number = numbers.iter().find(|number| slots.get(2 * **number).copied().flatten().is_some());
    number.map_or(&[], |number| group(text, slots, *number))
}

/// A part of a template.
enum Part<'a> {
    Text(&'a [u8]),
    /// A number, or all groups of one name.
    Groups(Vec<usize>),
}

/// Reads a template. Source: `go:regexp`, `expand` and `extract`.
fn read<'a>(template: &'a [u8], regex: &Regex) -> Vec<Part<'a>> {
    let mut parts = Vec::new();
    let mut rest = template;
    while let Some(at) = memchr::memchr(b'$', rest) {
        parts.push(Part::Text(rune::cut(rest, 0, at)));
        let dollar = rune::cut(rest, at, at + 1);
        rest = rune::from(rest, at + 1);
        if rest.first() == Some(&b'$') {
            parts.push(Part::Text(dollar));
            rest = rune::from(rest, 1);
            continue;
        }
        match name(rest) {
            Some((name, after)) => {
                parts.push(Part::Groups(groups(name, regex)));
                rest = after;
            }
            None => parts.push(Part::Text(dollar)),
        }
    }
    parts.push(Part::Text(rest));
    parts
}

/// The name after a `$`, in braces or not, and what follows.
fn name(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (inside, braces) = match text.strip_prefix(b"{") {
        Some(inside) => (inside, true),
        None => (text, false),
    };
    let end = rune::runes(inside)
        .find(|(_, c)| *c != '_' && !unicode::is_alphanumeric(*c))
        .map_or(inside.len(), |(at, _)| at);
    if end == 0 {
        return None;
    }
    let after = rune::from(inside, end);
    let after = if braces { after.strip_prefix(b"}")? } else { after };
    Some((rune::cut(inside, 0, end), after))
}

/// The groups of a name: a number without leading zeros is one.
fn groups(name: &[u8], regex: &Regex) -> Vec<usize> {
    let digits = name.iter().all(u8::is_ascii_digit) && (name.len() == 1 || !name.starts_with(b"0"));
    // Nine digits and less: as far as Go reads one.
    if digits && name.len() <= 9 {
        let number = name.iter().fold(0, |sum: usize, digit| sum * 10 + usize::from(digit - b'0'));
        return vec![number];
    }
    let named = regex.names().iter().enumerate();
    named
        .filter(|(_, have)| have.as_deref().is_some_and(|have| have.as_bytes() == name))
        .map(|(at, _)| at)
        .collect()
}
