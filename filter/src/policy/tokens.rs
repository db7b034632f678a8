//! What is counted on the tokens of a file before the parser sees them.
//!
//! The parser goes back at every bracket and begins again, so its time doubles with each level; it calls itself for
//! brackets and signs; and what it builds of operators and references are chains that everything behind it walks by
//! calling itself. The stack of a VM is short, and to run out of it ends the VM. So all three are bounded here.

use std::{borrow::Cow, num::NonZeroU32};

use regorus::{
    Source,
    unstable::{Lexer, Token, TokenKind},
};

use super::module::{ModuleError, RegoVersion};

/// The engine's default of 1,024 columns refuses a key set or a PEM on one line.
pub(super) const MAX_COLUMNS: NonZeroU32 = NonZeroU32::new(1 << 16).unwrap();
/// Sum over all opening brackets of two to the power of their depth: about half a microsecond of parsing each.
const NESTING_BUDGET: u64 = 1 << 18;
/// What the parser makes a message of, and then goes back, costs so many columns of the line as one bracket.
const COLUMNS_PER_BRACKET: u64 = 512;
/// Brackets and signs that are open at once, each with some two kilobytes of the parser's stack.
const MAX_OPEN: usize = 128;
/// Operators, calls and parts of references that stand one upon the other.
const MAX_CHAIN: usize = 200;
/// Each import is compared with all before it.
const MAX_IMPORTS: usize = 256;
/// The lexer looks behind `set(` whether it is the empty set, and calls itself for that.
const MAX_SETS: usize = 32;

/// The lexer computes every number: one with a longer exponent would be as large as all memory.
const MAX_EXPONENT_DIGITS: usize = 4;

/// Finds out whether the parser can be given a file. Errors: [`ModuleError::Nesting`], [`ModuleError::Limit`].
pub(super) fn check(name: &str, text: &str, version: RegoVersion) -> Result<(), ModuleError> {
    let nesting = |line| ModuleError::Nesting { name: name.to_owned(), line };
    if let Some(line) = line_of_sets(text) {
        return Err(nesting(line));
    }
    let (harmless, exponents) = without_long_exponents(text);
    // What the lexer refuses, the parser will refuse too, with the better message.
    let Ok(source) = Source::from_contents(name.to_owned(), harmless.into_owned()) else {
        return Ok(());
    };
    let widths: Vec<usize> = text.split('\n').map(str::len).collect();
    let mut lexer = Lexer::new(&source);
    lexer.set_max_col(MAX_COLUMNS);
    let mut counts = Counts { version, levels: vec![Level::default()], ..Counts::default() };
    while let Ok(token) = lexer.next_token() {
        if matches!(token.0, TokenKind::Eof) {
            break;
        }
        let line = token.1.line;
        let width = (line as usize).checked_sub(1).and_then(|line| widths.get(line)).copied().unwrap_or(0);
        let next = exponents.partition_point(|at| *at < token.1.start as usize);
        let is_long = exponents.get(next).is_some_and(|at| *at < token.1.end as usize);
        if is_long && matches!(token.0, TokenKind::Number) {
            let (what, cure) = ("digits in an exponent", "write a smaller number");
            return Err(ModuleError::Limit {
                name: name.to_owned(),
                line,
                what,
                limit: MAX_EXPONENT_DIGITS,
                cure,
            });
        }
        counts.token(&token, width as u64);
        if counts.cost > NESTING_BUDGET || counts.open() > MAX_OPEN {
            return Err(nesting(line));
        }
        if counts.chain() > MAX_CHAIN {
            let limit =
                |what, cure| ModuleError::Limit { name: name.to_owned(), line, what, limit: MAX_CHAIN, cure };
            return Err(limit(
                "operators and references in one chain",
                "give parts of it rules of their own",
            ));
        }
        if counts.imports > MAX_IMPORTS {
            let limit = |what, cure| ModuleError::Limit {
                name: name.to_owned(),
                line,
                what,
                limit: MAX_IMPORTS,
                cure,
            };
            return Err(limit("imports in one file", "split the file"));
        }
    }
    Ok(())
}

/// How far the brackets that are open at a token have come.
#[derive(Default)]
struct Counts {
    version: RegoVersion,
    /// The file itself, and the brackets that are open.
    levels: Vec<Level>,
    square_or_curly: u32,
    cost: u64,
    imports: usize,
    /// Whether the token before ends an operand, and where.
    after_operand: bool,
    after_dot: bool,
    end: u32,
}

/// What stands between two brackets, piece by piece: a piece is one expression.
#[derive(Default, Clone, Copy)]
struct Level {
    is_square_or_curly: bool,
    /// Operators and parts of references in the piece at hand.
    links: usize,
    /// Signs in the piece at hand: what follows a sign is the sign's.
    signs: usize,
    /// The longest chain within brackets of the piece at hand.
    inner: usize,
    /// The longest chain of the pieces before.
    longest: usize,
}

// === impl Counts ===

impl Counts {
    fn token(&mut self, Token(kind, span): &Token, width: u64) {
        let text = span.text();
        let after_operand = std::mem::replace(&mut self.after_operand, true);
        let after_dot = std::mem::replace(&mut self.after_dot, false);
        let adjacent = self.end == span.start;
        self.end = span.end;
        match (kind, text) {
            (TokenKind::Symbol, "[" | "{" | "(") | (TokenKind::Ident, "set(") => {
                let is_call_or_index = after_operand && (text == "(" || (text == "[" && adjacent));
                if after_operand && !is_call_or_index {
                    self.next_piece();
                }
                self.link();
                self.open_bracket(matches!(text, "[" | "{"));
                self.after_operand = false;
            }
            (TokenKind::Symbol, "]" | "}" | ")") => self.close_bracket(),
            (TokenKind::Symbol, "," | ";" | ":" | ":=" | "=") => {
                self.next_piece();
                self.after_operand = false;
            }
            (TokenKind::Symbol, ".") => {
                self.link();
                self.after_dot = true;
                self.after_operand = false;
            }
            (TokenKind::Symbol, _) => {
                self.link();
                if !after_operand && let Some(level) = self.levels.last_mut() {
                    level.signs += 1;
                }
                if text == "|" {
                    self.go_back(width);
                }
                self.after_operand = false;
            }
            // `1 -2` is a difference.
            (TokenKind::Number, _) if after_operand && text.starts_with('-') => self.link(),
            (TokenKind::Ident, _) if after_dot => {}
            (TokenKind::Ident, "in") => {
                self.link();
                self.warn(width);
                self.after_operand = false;
            }
            _ => {
                if after_operand {
                    self.next_piece();
                }
                match (kind, text) {
                    (TokenKind::Ident, "import") => self.imports += 1,
                    (TokenKind::Ident, "if" | "every") => self.warn(width),
                    _ => {}
                }
            }
        }
    }

    fn link(&mut self) {
        if let Some(level) = self.levels.last_mut() {
            level.links += 1;
        }
    }

    fn next_piece(&mut self) {
        if let Some(level) = self.levels.last_mut() {
            level.longest = level.longest();
            (level.links, level.signs, level.inner) = (0, 0, 0);
        }
    }

    fn open_bracket(&mut self, is_square_or_curly: bool) {
        if is_square_or_curly {
            self.square_or_curly = self.square_or_curly.saturating_add(1);
            self.cost = self.cost.saturating_add(self.attempts());
        }
        self.levels.push(Level { is_square_or_curly, ..Level::default() });
    }

    fn close_bracket(&mut self) {
        // A bracket that closes nothing is the parser's to refuse.
        if self.levels.len() < 2 {
            return;
        }
        if let Some(closed) = self.levels.pop() {
            self.square_or_curly -= u32::from(closed.is_square_or_curly);
            if let Some(level) = self.levels.last_mut() {
                level.inner = level.inner.max(closed.longest());
            }
        }
    }

    /// How often the parser comes by what stands here.
    fn attempts(&self) -> u64 {
        1_u64.checked_shl(self.square_or_curly).unwrap_or(u64::MAX)
    }

    /// Here the parser may have written a message about the line before it goes back.
    fn go_back(&mut self, width: u64) {
        self.cost = self.cost.saturating_add(self.attempts().saturating_mul(width / COLUMNS_PER_BRACKET));
    }

    /// Here the engine may write a warning about the line to the log.
    fn warn(&mut self, width: u64) {
        if self.version == RegoVersion::V0 {
            self.go_back(width);
        }
    }

    /// Levels that the parser is in.
    fn open(&self) -> usize {
        self.levels.iter().map(|level| 1 + level.signs).sum()
    }

    fn chain(&self) -> usize {
        self.levels.last().map_or(0, Level::longest)
    }
}

// === impl Level ===

impl Level {
    fn longest(&self) -> usize {
        self.longest.max(self.links + self.inner)
    }
}

/// The text with zeros for exponents that are too long, in numbers and in anything that looks like one, and where these
/// begin.
fn without_long_exponents(text: &str) -> (Cow<'_, str>, Vec<usize>) {
    let mut bytes = Cow::Borrowed(text.as_bytes());
    let mut found = Vec::new();
    let mut before = b' ';
    for (at, byte) in text.bytes().enumerate() {
        let is_exponent = matches!(byte, b'e' | b'E') && before.is_ascii_digit();
        before = byte;
        let Some(behind) = text.as_bytes().get(at + 1..).filter(|_| is_exponent) else { continue };
        let sign = usize::from(matches!(behind.first(), Some(b'+' | b'-')));
        let digits = behind.iter().skip(sign).take_while(|byte| byte.is_ascii_digit());
        if digits.clone().skip_while(|byte| **byte == b'0').count() > MAX_EXPONENT_DIGITS {
            let from = at + 1 + sign;
            let exponent = bytes.to_mut().get_mut(from..from + digits.count());
            exponent.into_iter().for_each(|exponent| exponent.fill(b'0'));
            found.push(at);
        }
    }
    let text = match bytes {
        Cow::Borrowed(_) => Cow::Borrowed(text),
        // Digits for digits.
        Cow::Owned(bytes) => String::from_utf8(bytes).map_or(Cow::Borrowed(text), Cow::Owned),
    };
    (text, found)
}

/// The line where too many `set(` stand within each other.
fn line_of_sets(text: &str) -> Option<u32> {
    let mut run = 0;
    let mut rest = text;
    while let Some(found) = rest.find("set(") {
        let (before, from) = rest.split_at(found);
        // Nothing but space and comments lies between two that the lexer takes together.
        let between = before.lines().map(|line| line.split('#').next().unwrap_or_default());
        run = if between.clone().all(|line| line.trim().is_empty()) { run + 1 } else { 1 };
        rest = from.get("set(".len()..).unwrap_or_default();
        if run > MAX_SETS {
            let line = text.len().saturating_sub(rest.len());
            return Some(text.as_bytes().iter().take(line).filter(|byte| **byte == b'\n').count() as u32 + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<(), ModuleError> {
        check("test.rego", &format!("package a\n\n{text}\n"), RegoVersion::V1)
    }

    fn is_nesting(text: &str) -> bool {
        matches!(checked(text), Err(ModuleError::Nesting { .. }))
    }

    fn is_limit(text: &str) -> bool {
        matches!(checked(text), Err(ModuleError::Limit { .. }))
    }

    #[test]
    fn deep_brackets_are_refused_wherever_they_stand_on_their_line() {
        let nested = format!("{}1{}", "[".repeat(31), "]".repeat(31));
        assert!(is_nesting(&format!("x := {nested}")));
        assert!(is_nesting(&format!("x := [\"{}\", {nested}]", "wide".repeat(1000))), "beyond 1,024 columns");
        assert!(is_nesting(&"x contains [[[[[[[[[[1]]]]]]]]]]\n".repeat(400)));
        for (open, close) in
            [("abs(", ")"), ("(", ")"), ("f(\n", "\n)"), ("- ", ""), ("1 - - ", ""), ("-(", ")")]
        {
            let text = |depth: usize| format!("x := {}1{}", open.repeat(depth), close.repeat(depth));
            assert!(checked(&text(MAX_OPEN)).is_err(), "{open}");
            assert!(checked(&text(25)).is_ok(), "{open}");
        }
    }

    #[test]
    fn the_lexers_look_behind_set_is_bounded() {
        for between in ["", " ", "\n", "# comment\n\t", " #\n#\n"] {
            assert!(is_nesting(&format!("x := {}", format!("set({between}").repeat(1000))), "{between:?}");
        }
        assert!(checked(&"x := set()\ny := offset(1)\n".repeat(1000)).is_ok());
    }

    #[test]
    fn chains_are_refused_with_and_without_line_breaks() {
        for link in [
            ".a", "[\"a\"]", "[0]", "+1", "\n+ 1", " -1", "|{1}", " in [1]", " == 1", "\n* 2", " & {1}",
            "[x]",
        ] {
            let text = |length: usize| format!("x := y{}", link.repeat(length));
            assert!(is_limit(&text(MAX_CHAIN + 1)), "{link:?}");
            assert!(checked(&text(MAX_CHAIN / 2)).is_ok(), "{link:?}");
        }
    }

    #[test]
    fn chains_within_brackets_of_chains_add_up() {
        let chain = "+1".repeat(MAX_CHAIN / 4);
        let nested = (0..5).fold("1".to_owned(), |inner, _| format!("({inner}){chain}"));
        assert!(is_limit(&format!("x := {nested}")));
        let behind = (0..5).fold("1".to_owned(), |inner, _| format!("1{chain}+({inner})"));
        assert!(is_limit(&format!("x := {behind}")));
    }

    #[test]
    fn what_stands_side_by_side_is_no_chain() {
        let statements =
            "\tx.y[0] == input.a.b + 1\n\tf(x)\n\t[a, b] := g(x)\n\tnot x.y\n\t\"a\" in input.xs\n"
                .repeat(200);
        let items = "{\"a\": 1 + 2, \"b\": [x.y]},\n".repeat(1000);
        let rules = "r[x] if { x := 1 }\ns contains input.a.b if input.c.d\nt := 1 if { 1 < 2 } else := 2\n"
            .repeat(500);
        for text in [
            format!("x if {{\n{statements}}}"),
            format!("x := [{items}]"),
            rules,
            "x if { y := 1; z := y + 1; z > 1 } ".repeat(300),
            "import data.a.b.c as d\n".repeat(MAX_IMPORTS),
        ] {
            assert_eq!(checked(&text), Ok(()));
        }
    }

    #[test]
    fn very_many_imports_are_refused() {
        assert!(is_limit(&"import data.a.b.c as d\n".repeat(MAX_IMPORTS + 1)));
        assert!(checked(&"x := input.import\n".repeat(MAX_IMPORTS + 1)).is_ok(), "a field may be called so");
    }

    #[test]
    fn wide_lines_that_the_parser_goes_back_on_are_refused() {
        let sets = |line: usize| format!("[{}]", vec!["[1|{1}]"; line].join(","));
        assert!(is_nesting(&format!("x := {}", sets(8000))));
        assert!(checked(&format!("x := [\n{}]", format!("{},\n", sets(40)).repeat(200))).is_ok());
        let every = format!("package a\n\nx {{ {} }}\n", "every; ".repeat(9000));
        assert!(matches!(check("test.rego", &every, RegoVersion::V0), Err(ModuleError::Nesting { .. })));
    }

    #[test]
    fn numbers_beyond_all_memory_are_refused_and_not_computed() {
        for number in ["1e2000000000", "-1E+99999", "0.1e-2000000000", "1e00012345", "[2, 1e99999]"] {
            assert!(is_limit(&format!("x := {number}")), "{number}");
        }
        for text in
            ["x := 1e400", "x := \"1e2000000000\"", "# 1e2000000000\n", "x := y1e20000", "x := 1e00009"]
        {
            assert_eq!(checked(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn brackets_in_strings_and_comments_do_not_count() {
        assert_eq!(checked(&format!("# {0}\nx := \"{0}\"\ny := `{0}`\n", "[".repeat(400))), Ok(()));
    }
}
