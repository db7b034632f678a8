//! Text becomes a document, and what is wrong with it becomes a sentence with its place and its cure.

use serde::de::DeserializeOwned;
use yaml_serde::Value;

use super::error::{Problem, did_you_mean};

/// What serde calls a kind of value, and what we call it.
const KINDS: [(&str, &str); 13] = [
    ("usize", "a whole number"),
    ("u16", "a whole number"),
    ("u32", "a whole number"),
    ("u64", "a whole number"),
    ("a boolean", "`true` or `false`"),
    ("a sequence", "a list"),
    ("unit value", "nothing"),
    ("sequence", "a list"),
    ("map", "a mapping"),
    ("string", "the text"),
    ("integer", "the number"),
    ("floating point", "the number"),
    ("boolean", "the value"),
];

/// The parser takes time with the square of this, before it refuses what nests deeper than some hundred.
const MOST_BRACKETS: usize = 1000;

/// Reads the text as a tree without checking its keys.
pub(super) fn tree(text: &str) -> Result<Value, Problem> {
    if let Some(line) = nests_too_deep(text) {
        let message = format!("more than {MOST_BRACKETS} brackets are open in line {line}");
        return Err(Problem::new(
            "",
            message,
            "close them, or put a text that has them in quotes, on one line",
        ));
    }
    let read: Result<Value, _> = serde_path_to_error::deserialize(yaml_serde::Deserializer::from_str(text));
    let mut tree = read.map_err(|error| {
        let path = place("", error.path());
        let message = error.into_inner().to_string();
        let message = without_place(&message, &path);
        match message.strip_prefix("duplicate entry with key ") {
            Some(rest) => {
                // What follows the key is the line of the whole mapping, which would mislead.
                let key = rest.split_once(" at line ").map_or(rest, |(key, _)| key).trim_matches('"');
                Problem::new(path, format!("the key `{key}` comes twice"), "keep one of the two")
            }
            None => Problem::new(path, message, "give well-formed YAML"),
        }
    })?;
    if tree.is_null() {
        return Err(Problem::new("", "it is empty", "give at least `scenario` and `module`"));
    }
    tree.apply_merge().map_err(|error| {
        Problem::new("", format!("a merge key (`<<`) is wrong: {error}"), "merge mappings alone")
    })?;
    Ok(tree)
}

/// The line in which too many brackets are open, but for those in quotes that end on their line.
fn nests_too_deep(text: &str) -> Option<usize> {
    let mut open: usize = 0;
    for (line, text) in text.lines().enumerate() {
        let mut rest = text;
        while let Some(at) = rest.find(['[', '{', ']', '}', '"', '\'']) {
            let (found, behind) = rest.split_at(at).1.split_at(1);
            rest = behind;
            match found {
                "[" | "{" => open += 1,
                "]" | "}" => open = open.saturating_sub(1),
                quote => rest = behind.split_once(quote).map_or(behind, |(_, behind)| behind),
            }
            if open > MOST_BRACKETS {
                return Some(line + 1);
            }
        }
    }
    None
}

/// Reads a part of the tree, which stands at `path`, as one of the types of `document`.
pub(super) fn part<T: DeserializeOwned>(path: &str, tree: Value) -> Result<T, Problem> {
    serde_path_to_error::deserialize(tree).map_err(|error| {
        let path = place(path, error.path());
        explain(&path, &error.into_inner().to_string())
    })
}

/// Turns what serde says into our words.
fn explain(path: &str, said: &str) -> Problem {
    let mut quoted = said.split('`').skip(1).step_by(2);
    if said.starts_with("unknown field") {
        let key = quoted.next().unwrap_or_default();
        // The path ends in the key itself.
        let parent = path.strip_suffix(key).map_or(path, |parent| parent.trim_end_matches('.'));
        return Problem::new(parent, format!("there is no key `{key}`"), did_you_mean(key, quoted));
    }
    if said.starts_with("unknown variant") {
        let word = quoted.next().unwrap_or_default();
        return Problem::new(path, format!("`{word}` is not known here"), did_you_mean(word, quoted));
    }
    if said.starts_with("missing field") {
        let key = quoted.next().unwrap_or_default();
        return Problem::new(path, format!("the key `{key}` is missing"), format!("give `{key}`"));
    }
    let unfit = said.strip_prefix("invalid type: ").or(said.strip_prefix("invalid value: "));
    match unfit.and_then(|unfit| unfit.rsplit_once(", expected ")) {
        Some((found, expected)) => wrong_kind(path, found, expected),
        None => Problem::new(path, said, "give a value that fits"),
    }
}

/// `found` is a kind of serde's, and often the value behind it: ``integer `3` ``.
fn wrong_kind(path: &str, found: &str, expected: &str) -> Problem {
    let ours = |theirs: &str| KINDS.iter().find(|(kind, _)| *kind == theirs).map(|(_, ours)| *ours);
    let expected = ours(expected).unwrap_or(expected);
    let (kind, value) = match found.find(['`', '"']) {
        Some(at) => found.split_at(at),
        None => (found, ""),
    };
    let kind = ours(kind.trim_end()).unwrap_or(kind.trim_end());
    let cure = if kind == "nothing" {
        "give one, or remove the key"
    } else if expected.contains("duration") {
        "write it with its unit"
    } else if expected.starts_with("a string") && !value.is_empty() {
        "put it in quotes"
    } else {
        "give a value of that kind"
    };
    let found = format!("{kind} {value}");
    Problem::new(path, format!("{} stands where {expected} belongs", found.trim_end()), cure)
}

/// The path below `parent`, as `events[2].worker`.
fn place(parent: &str, below: &serde_path_to_error::Path) -> String {
    let below = below.to_string();
    // A part that is not known is a question mark, and nothing is a dot.
    let below = below.trim_end_matches('?').trim_end_matches('.');
    match (parent, below) {
        (_, "") => parent.to_owned(),
        ("", _) => below.to_owned(),
        (_, index) if index.starts_with('[') => format!("{parent}{below}"),
        _ => format!("{parent}.{below}"),
    }
}

/// The parser begins some of its sentences with the path, which is reported beside them.
fn without_place<'a>(message: &'a str, path: &str) -> &'a str {
    message.strip_prefix(path).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(message)
}
