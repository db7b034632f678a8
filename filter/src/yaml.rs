//! A bound on YAML text before its parser sees it.
//!
//! The scanner looks at every open bracket for every token, so brackets that nest as deep as the text is long take
//! minutes for a megabyte, and the parser's own recursion limit only comes after the scanner.

/// The parser refuses more than 128 levels; brackets in quoted text count here too, hence the margin.
const MAX_OPEN_BRACKETS: usize = 256;

/// Brackets that are opened and not closed exceed what any document needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: more than {MAX_OPEN_BRACKETS} brackets are open at once")]
pub(crate) struct TooDeep {
    /// Line of the first bracket too many, from 1.
    pub(crate) line: usize,
}

/// Refuses text that would keep the parser busy for long.
pub(crate) fn check_depth(text: &str) -> Result<(), TooDeep> {
    let mut open = 0_usize;
    for (index, line) in text.lines().enumerate() {
        for byte in line.bytes() {
            match byte {
                b'[' | b'{' => open += 1,
                b']' | b'}' => open = open.saturating_sub(1),
                _ => {}
            }
            if open > MAX_OPEN_BRACKETS {
                return Err(TooDeep { line: index + 1 });
            }
        }
    }
    Ok(())
}
