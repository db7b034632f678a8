//! Regular expressions with the meaning that they have in Go, whose RE2 syntax OPA's policies are written in.
//!
//! There `\d`, `\w`, `\s` and `\b` know ASCII alone, while the engine's library takes them for all of Unicode, or, built
//! without those tables, refuses them; a policy would then find its pattern undefined. So a pattern is rewritten
//! before it is compiled. Cost: `with` cannot replace these functions in a test.

/// Rewrites the classes that Go reads as ASCII; everything else stays as it is.
///
/// Source: Go's regexp/syntax, "Perl character classes (all ASCII-only)" and `\b`, "at ASCII word boundary".
pub(super) fn as_in_go(pattern: &str) -> String {
    let mut rewritten = String::with_capacity(pattern.len());
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            rewritten.push(character);
            continue;
        }
        match characters.next() {
            // A class may stand in brackets: nested brackets are a union here.
            Some('d') => rewritten.push_str("[0-9]"),
            Some('D') => rewritten.push_str("[^0-9]"),
            Some('w') => rewritten.push_str("[0-9A-Za-z_]"),
            Some('W') => rewritten.push_str("[^0-9A-Za-z_]"),
            Some('s') => rewritten.push_str(r"[\t\n\f\r ]"),
            Some('S') => rewritten.push_str(r"[^\t\n\f\r ]"),
            Some('b') => rewritten.push_str(r"(?-u:\b)"),
            Some('B') => rewritten.push_str(r"(?-u:\B)"),
            Some(escaped) => rewritten.extend(['\\', escaped]),
            None => rewritten.push('\\'),
        }
    }
    rewritten
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ascii_classes_are_written_out_and_other_escapes_stay() {
        assert_eq!(as_in_go(r"^\d+\.\w$"), r"^[0-9]+\.[0-9A-Za-z_]$");
        assert_eq!(as_in_go(r"[\d.]"), r"[[0-9].]");
        assert_eq!(as_in_go(r"\\d\pL\"), r"\\d\pL\");
        assert_eq!(as_in_go("ä"), "ä");
    }
}
