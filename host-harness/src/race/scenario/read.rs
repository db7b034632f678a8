//! Text becomes a document, and what is wrong with it becomes a sentence with its place and its cure.

use serde::de::DeserializeOwned;
use yaml_serde::Value;

use super::error::{Problem, did_you_mean};

/// What serde calls a type, and what we call it.
const TYPES: [(&str, &str); 6] = [
    ("usize", "a whole number"),
    ("u16", "a whole number"),
    ("u32", "a whole number"),
    ("u64", "a whole number"),
    ("a boolean", "`true` or `false`"),
    ("a sequence", "a list"),
];

/// Reads the text as a tree without judging its keys.
pub(super) fn tree(text: &str) -> Result<Value, Problem> {
    // serde_path_to_error knows where a key comes twice; the parser knows the line.
    let read: Result<Value, _> = serde_path_to_error::deserialize(yaml_serde::Deserializer::from_str(text));
    let mut tree = read.map_err(|error| {
        let path = place("", error.path());
        let message = error.into_inner().to_string();
        let message = without_place(&message, &path);
        if let Some(duplicate) = message.strip_prefix("duplicate entry with key ") {
            let (key, line) = duplicate.split_once(" at ").unwrap_or((duplicate, ""));
            let key = key.trim_matches('"');
            let whereabouts = if line.is_empty() { String::new() } else { format!(" ({line})") };
            let message = format!("the key `{key}` comes twice{whereabouts}");
            Problem::new(path, message, "keep one of the two")
        } else {
            Problem::new(path, message, "give well-formed YAML")
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
        // The path may or may not end in the key itself.
        let parent = path.strip_suffix(key).map_or(path, |parent| parent.trim_end_matches('.'));
        let parent = if path == key { "" } else { parent };
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
    if let Some((found, expected)) = split_expected(said) {
        let expected =
            TYPES.iter().find(|(theirs, _)| *theirs == expected).map_or(expected, |(_, ours)| ours);
        let cure = match expected {
            "a string" | "a string or a list of strings" if !found.contains("map") => "put it in quotes",
            expected if expected.contains("duration") => "write it with its unit",
            _ => "give a value of that kind",
        };
        return Problem::new(path, format!("{found} stands where {expected} belongs"), cure);
    }
    Problem::new(path, said, "give a value that fits")
}

/// `invalid type: integer `3`, expected a string` → `integer `3``, `a string`
fn split_expected(said: &str) -> Option<(&str, &str)> {
    let rest = said.strip_prefix("invalid type: ").or(said.strip_prefix("invalid value: "))?;
    let (found, expected) = rest.rsplit_once(", expected ")?;
    Some((if found == "unit value" { "nothing" } else { found }, expected))
}

/// The path below `parent`, as `events[2].worker`.
fn place(parent: &str, below: &serde_path_to_error::Path) -> String {
    let below = below.to_string();
    match (parent, below.as_str()) {
        (_, ".") => parent.to_owned(),
        ("", _) => below,
        (_, index) if index.starts_with('[') => format!("{parent}{below}"),
        _ => format!("{parent}.{below}"),
    }
}

/// The parser begins some of its sentences with the path, which is told beside them.
fn without_place<'a>(message: &'a str, path: &str) -> &'a str {
    message.strip_prefix(path).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(message)
}
