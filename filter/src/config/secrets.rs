//! What of a document may be repeated in a message: no value, and no key where a secret may stand in its place.
//!
//! A slip of the pen makes a key of a secret: `{token:s3cret}` is a mapping with one key in YAML.

/// Longest key that is shown.
const MAX_KEY_CHARS: usize = 64;
/// A longer number is no index in a list; it may be a key, and a secret.
const MAX_INDEX_DIGITS: usize = 4;
/// Parts of a service that hold secrets.
const SECRET_PARTS: &[&str] = &["credentials", "headers"];

/// A path as it is written in messages, with `…` for a key that may be a secret.
pub(super) fn shown_path<'a>(path: impl Iterator<Item = &'a str>) -> String {
    let path: Vec<&str> = path.filter(|segment| *segment != ".").collect();
    let mut shown = String::new();
    for (index, segment) in path.iter().enumerate() {
        let before = path.get(..index).unwrap_or_default();
        let is_index = segment.len() <= MAX_INDEX_DIGITS && segment.bytes().all(|byte| byte.is_ascii_digit());
        if is_index && !before.is_empty() {
            shown += &format!("[{segment}]");
            continue;
        }
        if segment.starts_with('[') {
            shown += segment;
            continue;
        }
        if !shown.is_empty() {
            shown.push('.');
        }
        shown += if is_shown(before, segment) { segment } else { "…" };
    }
    shown
}

/// A key in a message about what holds secrets.
pub(super) fn shown_key(key: &str) -> String {
    if is_word(key) { format!("`{key}`") } else { "one".to_owned() }
}

/// What serde says about a value of the wrong kind, without the value; and the cure.
pub(super) fn without_values(path: &[String], message: &str) -> (String, &'static str) {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let (message, _) = message.rsplit_once(" at line ").unwrap_or((message, ""));
    let (found, expected) = message.rsplit_once(", expected ").unwrap_or((message, ""));
    if let Some(field) = found.strip_prefix("unknown field `") {
        let field = field.trim_end_matches('`');
        // The path may lead to the field or to what it stands in.
        let path = path.strip_suffix(&[field]).unwrap_or(&path);
        let field = if is_shown(path, field) {
            format!("unknown field `{field}`")
        } else {
            "an unknown field".to_owned()
        };
        let expected = if expected.is_empty() { "there are no fields here" } else { expected };
        return (format!("{field}, expected {expected}"), "check the spelling, or remove it");
    }
    if found.starts_with("unknown variant ") {
        return (format!("it is something else than {expected}"), "give one of them");
    }
    if let Some(kind) = found.strip_prefix("invalid type: ").or(found.strip_prefix("invalid value: ")) {
        // The kind comes first; a value follows in quotes.
        let kind: Vec<&str> =
            kind.split(' ').take_while(|word| word.bytes().all(|byte| byte.is_ascii_lowercase())).collect();
        return (
            format!("it is of kind {}, expected {expected}", kind.join(" ")),
            "give a value of that kind",
        );
    }
    if found.starts_with("missing field") || found.starts_with("duplicate field") {
        return (found.to_owned(), "give it once");
    }
    ("it has another form than expected".to_owned(), "give a value as the README lists it")
}

fn is_shown(before: &[&str], key: &str) -> bool {
    let is_short =
        !key.is_empty() && key.chars().count() <= MAX_KEY_CHARS && !key.chars().any(char::is_control);
    match before {
        // The name of a service is shown; what stands in its place is not.
        ["services"] => is_short && !key.contains([':', '@', ' ']),
        ["services", _] => is_word(key),
        ["services", _, part, ..] if SECRET_PARTS.contains(part) => is_word(key),
        _ => is_short,
    }
}

/// Whether a key looks like one of a document, or like a header's name, and not like a secret.
fn is_word(key: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || matches!(byte, b'_' | b'-');
    !key.is_empty() && key.len() <= MAX_KEY_CHARS / 2 && key.bytes().all(is_word)
}
