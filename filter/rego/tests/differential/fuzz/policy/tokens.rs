//! Damage to a text, token by token: what is refused must be refused on both sides.

use super::super::random::Random;
use super::super::tree::{Node, list, text};

fn split(line: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        let mut token = String::from(c);
        if c == '"' {
            while let Some(d) = chars.next() {
                token.push(d);
                if d == '\\' {
                    token.extend(chars.next());
                } else if d == '"' {
                    break;
                }
            }
        } else if c.is_alphanumeric() || c == '_' {
            while let Some(d) = chars.next_if(|d| d.is_alphanumeric() || *d == '_') {
                token.push(d);
            }
        } else if c == ' ' {
            while chars.next_if(|d| *d == ' ').is_some() {
                token.push(' ');
            }
        } else if ":=!<>".contains(c) && chars.peek() == Some(&'=') {
            token.extend(chars.next());
        }
        out.push(token);
    }
    out
}

const WORDS: &[&str] = &[
    "not",
    "some",
    "every",
    "in",
    "if",
    "contains",
    "else",
    "default",
    "with",
    "as",
    "true",
    "null",
    "input",
    "data",
    "x",
    "y",
    "_",
    "p",
    "q",
    "f",
    "1",
    "\"a\"",
    "-",
    "+",
    "|",
    "&",
    "==",
    ":=",
    "=",
    "!=",
    "<",
    ",",
    ".",
    ":",
    ";",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "set()",
    "import",
    "package",
    " ",
    "\n",
    "#",
    "`a`",
    "$\"{x}\"",
    "1.0",
    "0",
    "input.roles",
    "[_]",
    "[x]",
    ".a",
    "{}",
    "[]",
];

/// The text with a few tokens taken out, doubled, changed for one another or replaced.
pub fn mutated(r: &Random, module: &str) -> Node {
    let mut lines: Vec<Vec<String>> = module.lines().map(split).collect();
    for _ in 0..1 + r.below(2) {
        // Line 0 says which package it is.
        if lines.len() < 2 {
            break;
        }
        let at = 1 + r.below(lines.len() - 1);
        match r.below(12) {
            0 => {
                let line = lines[at].clone();
                lines.insert(at, line);
                continue;
            }
            1 => {
                lines.remove(at);
                continue;
            }
            _ => {}
        }
        let line = &mut lines[at];
        if line.is_empty() {
            continue;
        }
        let i = r.below(line.len());
        match r.below(6) {
            0 | 1 => {
                line.remove(i);
            }
            2 => {
                let j = r.below(line.len());
                line.swap(i, j);
            }
            3 => line.insert(i, r.word(WORDS).to_string()),
            4 => {
                let token = line[i].clone();
                line.insert(i, token);
            }
            _ => line[i] = r.word(WORDS).to_string(),
        }
    }
    list(lines.into_iter().map(|l| list(l.into_iter().map(text).collect(), "", 0)).collect(), "\n", 0)
}

/// The same tokens in another layout: line breaks, comments and spaces where they may or may not stand.
pub fn laid_out(r: &Random, module: &str) -> Node {
    let mut lines: Vec<Vec<String>> = module.lines().map(split).collect();
    let ends = if r.chance(15) { "\r\n" } else { "\n" };
    for _ in 0..1 + r.below(6) {
        if lines.len() < 2 {
            break;
        }
        let at = 1 + r.below(lines.len() - 1);
        let line = &mut lines[at];
        if line.is_empty() {
            continue;
        }
        let i = r.below(line.len() + 1);
        let what = r.word(&[
            "\n", "\n", " ", "\t", "\n\n", " # c\n", "\n\t", ";", ",", "\r\n", "\u{c}", "\n\n\n", " \n ",
            "()",
        ]);
        line.insert(i, what.to_string());
    }
    list(lines.into_iter().map(|l| list(l.into_iter().map(text).collect(), "", 0)).collect(), ends, 0)
}
