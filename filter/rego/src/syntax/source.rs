//! A text and where its expressions are: for who shows them.

use super::Pos;

/// Where an expression stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Where it begins.
    pub from: Pos,
    /// Where what follows it begins.
    pub to: Pos,
    /// Its bytes in the text.
    pub start: u32,
    /// Where they end.
    pub end: u32,
}

/// A text, and its expressions.
#[derive(Clone, Debug, Default)]
pub struct Source {
    text: String,
    /// Outer before inner.
    spans: Vec<Span>,
}

impl Source {
    pub(crate) fn new(text: String, mut spans: Vec<Span>) -> Source {
        spans.sort_by_key(|span| (span.start, std::cmp::Reverse(span.end)));
        // What was read twice stands there twice.
        spans.dedup();
        Source { text, spans }
    }

    /// The innermost expression around a place.
    pub fn expression(&self, place: Pos) -> Option<Span> {
        let end = self.spans.partition_point(|span| span.from <= place);
        let before = self.spans.get(..end).unwrap_or_default();
        before.iter().rev().find(|span| place < span.to).copied()
    }

    /// The text of a line.
    pub fn line(&self, line: u32) -> &str {
        let lines = (line as usize).checked_sub(1);
        lines.and_then(|before| self.text.lines().nth(before)).unwrap_or_default().trim()
    }

    /// The text of an expression, on one line.
    pub fn text(&self, span: Span) -> String {
        let text = self.text.get(span.start as usize..span.end as usize).unwrap_or_default();
        let lines = text.lines().map(|line| line.split(" #").next().unwrap_or_default());
        lines.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
    }
}
