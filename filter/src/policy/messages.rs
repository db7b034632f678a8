//! What the engine says about an evaluation that failed, without what it says about values: those are the request's.

use super::module;

/// Beginnings of the engine's messages that have nothing of a value in them. Of others only the place is told.
const PHRASES: &[&str] = &[
    "complete rules should not produce multiple outputs",
    "could not convert numeric value of `ns` to int64",
    "could not convert to int32",
    "could not deserialize json",
    "could not deserialize yaml",
    "could not evaluate expression",
    "could not parse number",
    "could not parse string as number",
    "collection must be array, object or set",
    "decode fail",
    "delimiters must be single character",
    "divide by zero",
    "duplicated definition of local variable",
    "function produced multiple outputs",
    "functions must not produce multiple outputs for same inputs",
    "incorrect number of parameters supplied to extension",
    "index is not a scalar value",
    "internal error",
    "invalid glob",
    "invalid regex",
    "invalid semver",
    "modulo by zero",
    "modulo on floating-point number",
    "n must be an integer",
    "negative offset",
    "not a valid url",
    "operand must be integer",
    "previous value is not a set",
    "previous value is not an object",
    "recursion detected when evaluating rule",
    "rules must not produce multiple outputs",
    "rules should not produce multiple outputs",
    "`some .. in collection` expects array/set/object",
    "time outside of valid range",
    "undefined rule",
    "undefined var",
    "walk expected array result",
];
/// What follows the name of a builtin in messages about its arguments.
const ABOUT_ARGUMENTS: &[&str] = &["expects ", "requires ", "is not called: "];

/// The engine's message on one line, up to where a value could begin.
pub(super) fn without_values(error: &str) -> String {
    let line = module::one_line(error);
    let (place, message) = match line.split_once(" error: ") {
        Some((place, message)) if is_place(place) => (place, message),
        _ => ("", line.strip_prefix("error: ").unwrap_or(&line)),
    };
    let known =
        PHRASES.iter().find(|phrase| message.starts_with(**phrase)).map(|phrase| (*phrase).to_owned());
    let known = known.or_else(|| about_arguments(message));
    let message = known.unwrap_or_else(|| "the engine could not evaluate it".to_owned());
    if place.is_empty() { message } else { format!("{place}: {message}") }
}

/// `FILE:LINE:COLUMN`.
fn is_place(text: &str) -> bool {
    let mut parts = text.rsplitn(3, ':');
    let mut is_number = || {
        parts.next().is_some_and(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    is_number() && is_number() && !text.contains(char::is_whitespace)
}

/// `` `NAME` expects string argument ``, of which the name is one of the engine's.
fn about_arguments(message: &str) -> Option<String> {
    let (name, rest) = message.strip_prefix('`')?.split_once("` ")?;
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'));
    let about = ABOUT_ARGUMENTS.iter().find(|about| rest.starts_with(**about))?;
    let (said, _) = rest.split_once(". Got ").unwrap_or((rest, ""));
    let said = said.trim_end_matches('.');
    // The engine's sentences have no quotes; a value that is text has.
    let has_value = said.strip_prefix(*about).is_some_and(|what| what.contains(['"', '`', '{', '[']));
    (is_name && !has_value).then(|| format!("`{name}` {said}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_up_to_where_a_value_begins() {
        let cases = [
            (
                "\n--> a.rego:3:5\n  |\n3 | \tx\n  | ^\nerror: `startswith` expects string argument. Got `{\"S3CRET\"}` instead",
                "a.rego:3:5: `startswith` expects string argument",
            ),
            (
                "--> a.rego:1:1 error: function produced multiple outputs String(\"S3CRET\")",
                "function produced multiple outputs",
            ),
            ("error: Error parsing S3CRET: no", "the engine could not evaluate it"),
            ("expected composite type, found value: \"S3CRET\"", "the engine could not evaluate it"),
            ("found value: \"S3CRET error: divide by zero\"", "the engine could not evaluate it"),
            ("S3CRET:1:2 x error: divide by zero", "the engine could not evaluate it"),
            ("error: `S3CRET x` expects y", "the engine could not evaluate it"),
            ("error: `f` expects \"S3CRET\"", "the engine could not evaluate it"),
            (
                "error: `json.patch` is not called: a text or the result would be larger than 4 bytes",
                "is not called: a text",
            ),
        ];
        for (error, expected) in cases {
            let said = without_values(error);
            assert!(said.contains(expected) && !said.contains("S3CRET"), "{error}: {said}");
        }
    }
}
