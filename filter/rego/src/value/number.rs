//! Numbers: text until arithmetic, compared by what they are worth.

use std::cmp::Ordering;
use std::rc::Rc;

/// A number of Rego: an `i64` in place when its text is that integer's plain text, else the text itself.
///
/// Source: `v1/ast/term.go` (`Number` is `json.Number`), `v1/ast/compare.go` (`NumberCompare`).
#[derive(Clone, Debug)]
pub struct Number(Form);

#[derive(Clone, Debug)]
enum Form {
    Int(i64),
    Text(Rc<str>),
}

impl Number {
    /// The number that this text is, by JSON's grammar; the text is kept.
    pub fn parse(text: &str) -> Option<Number> {
        is_json_number(text.as_bytes()).then(|| Number::from_text(text))
    }

    /// A number of text that is known to be one (also of `to_number`'s wider grammar).
    pub(crate) fn from_text(text: &str) -> Number {
        match text.parse::<i64>() {
            Ok(value) if is_plain(text) => Number(Form::Int(value)),
            _ => Number(Form::Text(Rc::from(text))),
        }
    }

    /// The integer, if OPA takes the number as one: at most 19 characters of sign and digits, and after a dot
    /// nothing but zeros. Source: `v1/util/performance.go`, `Atoi64`.
    pub fn to_i64(&self) -> Option<i64> {
        match &self.0 {
            Form::Int(value) => Some(*value),
            Form::Text(text) => {
                let (whole, zeros) = text.split_once('.').unwrap_or((text, ""));
                (zeros.bytes().all(|b| b == b'0')).then(|| whole.parse().ok()).flatten()
            }
        }
    }

    /// The integer, if it is held in place.
    pub fn as_small(&self) -> Option<i64> {
        match &self.0 {
            Form::Int(value) => Some(*value),
            Form::Text(_) => None,
        }
    }

    /// The text, as it was written or computed.
    pub fn to_text(&self) -> String {
        match &self.0 {
            Form::Int(value) => value.to_string(),
            Form::Text(text) => text.to_string(),
        }
    }
}

fn is_plain(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    text == "0" || (digits.starts_with(|c: char| c.is_ascii_digit() && c != '0'))
}

fn is_json_number(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let digits = |text: &[u8]| text.iter().take_while(|b| b.is_ascii_digit()).count();
    let whole = digits(text);
    if whole == 0 || (whole > 1 && text.first() == Some(&b'0')) {
        return false;
    }
    let mut rest = text.get(whole..).unwrap_or_default();
    if let Some(fraction) = rest.strip_prefix(b".") {
        let n = digits(fraction);
        if n == 0 {
            return false;
        }
        rest = fraction.get(n..).unwrap_or_default();
    }
    if let Some(exponent) = rest.strip_prefix(b"e").or_else(|| rest.strip_prefix(b"E")) {
        let exponent = exponent.strip_prefix(b"+").or_else(|| exponent.strip_prefix(b"-")).unwrap_or(exponent);
        let n = digits(exponent);
        return n > 0 && n == exponent.len();
    }
    rest.is_empty()
}

impl From<i64> for Number {
    fn from(value: i64) -> Number {
        Number(Form::Int(value))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Number) -> Ordering {
        match (&self.0, &other.0) {
            (Form::Int(a), Form::Int(b)) => a.cmp(b),
            _ => {
                let float = |n: &Number| n.to_text().parse::<f64>().unwrap_or(0.0);
                float(self).total_cmp(&float(other))
            }
        }
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Number) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Number) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Number {}
