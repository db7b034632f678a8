//! What a probe's hostcalls returned, and how two traces of the same calls are compared.

use std::fmt;

use host_harness::abi::pairs;

/// What one hostcall returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Returned {
    /// The status.
    pub status: u32,
    /// Bytes that it gave.
    pub bytes: Vec<u8>,
    /// The word that it gave; 0 when it gave none.
    pub word: u32,
    /// The number of 64 bits that it gave; 0 when it gave none.
    pub number: u64,
}

/// What must be the same of two calls' results; statuses always must.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Everything.
    Exact,
    /// The length of the bytes, and whether there is a number: for times, ports and ids.
    Length,
    /// The bytes before the last colon: for addresses with an ephemeral port.
    Address,
    /// The pairs that the bytes are, in any order, without the values of [`OWN_HEADERS`].
    Pairs,
}

/// Headers whose values are the request's own, or the machine's address.
const OWN_HEADERS: [&[u8]; 2] = [b"x-request-id", b"x-forwarded-for"];

// === impl Returned ===

impl fmt::Display for Returned {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "status {}", self.status)?;
        if !self.bytes.is_empty() {
            write!(formatter, " bytes \"{}\"", self.bytes.escape_ascii())?;
        }
        if self.word != 0 {
            write!(formatter, " word {}", self.word)?;
        }
        if self.number != 0 {
            write!(formatter, " number {}", self.number)?;
        }
        Ok(())
    }
}

impl Returned {
    fn under(&self, rule: Rule) -> Self {
        let mut same = self.clone();
        match rule {
            Rule::Exact => {}
            Rule::Length => {
                same.bytes.fill(0);
                same.number = self.number.min(1);
            }
            Rule::Address => {
                let colon = self.bytes.iter().rposition(|byte| *byte == b':');
                same.bytes.truncate(colon.unwrap_or(self.bytes.len()));
            }
            Rule::Pairs => {
                let mut headers = pairs::from_bytes(&self.bytes);
                for (name, value) in &mut headers {
                    if OWN_HEADERS.contains(&name.as_slice()) {
                        value.clear();
                    }
                }
                headers.sort();
                same.bytes = pairs::to_bytes(&headers);
            }
        }
        same
    }
}

/// Reads a trace as the guest writes it.
///
/// Errors: the text, when it is none.
pub fn parse(text: &[u8]) -> Result<Vec<Returned>, String> {
    let text = String::from_utf8_lossy(text);
    let failed = || format!("not a trace: `{text}`");
    let lines = text.split_terminator(';');
    lines.map(|line| returned(line).ok_or_else(failed)).collect()
}

/// What differs between two traces; empty when nothing does.
pub fn differences(envoy: &[Returned], harness: &[Returned], rule: Rule) -> Vec<String> {
    let mut found = Vec::new();
    if envoy.len() != harness.len() {
        found.push(format!("{} calls in Envoy, {} in the harness", envoy.len(), harness.len()));
    }
    for (index, (real, ours)) in envoy.iter().zip(harness).enumerate() {
        if real.under(rule) != ours.under(rule) {
            found.push(format!("call {index}: Envoy {real}, the harness {ours}"));
        }
    }
    found
}

fn returned(line: &str) -> Option<Returned> {
    let fields: Vec<Vec<u8>> = line.split(':').map(unhex).collect::<Option<_>>()?;
    let [status, bytes, word, number] = <[Vec<u8>; 4]>::try_from(fields).ok()?;
    Some(Returned {
        status: u32::from_le_bytes(status.try_into().ok()?),
        bytes,
        word: u32::from_le_bytes(word.try_into().ok()?),
        number: u64::from_le_bytes(number.try_into().ok()?),
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if text.len() % 2 == 1 {
        return None;
    }
    (0..text.len() / 2).map(|at| u8::from_str_radix(text.get(at * 2..at * 2 + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_read_back_and_compared_by_its_rule() {
        let trace = |port: &str| {
            let bytes: String = format!("1.2.3.4:{port}").bytes().map(|byte| format!("{byte:02x}")).collect();
            parse(format!("01000000:{bytes}:02000000:0300000000000000;").as_bytes()).unwrap()
        };
        let [one, other] = [trace("81"), trace("99")];
        assert_eq!((one[0].status, one[0].word, one[0].number), (1, 2, 3));
        assert_eq!(differences(&one, &other, Rule::Exact).len(), 1);
        assert_eq!(differences(&one, &other, Rule::Address), Vec::<String>::new());
        assert_eq!(differences(&one, &other, Rule::Length), Vec::<String>::new());
        assert_eq!(differences(&one, &trace("999"), Rule::Length).len(), 1);
        assert_eq!(differences(&one, &[], Rule::Exact).len(), 1);
        assert!(parse(b"0:").is_err());
    }

    #[test]
    fn pairs_are_compared_in_any_order_without_what_envoy_makes_up() {
        let trace = |headers: &[(&str, &str)]| {
            let bytes = pairs::to_bytes(headers);
            vec![Returned { status: 0, bytes, word: 0, number: 0 }]
        };
        let real = trace(&[("a", "1"), ("x-request-id", "u")]);
        let ours = trace(&[("x-request-id", "v"), ("a", "1")]);
        assert_eq!(differences(&real, &ours, Rule::Pairs), Vec::<String>::new());
        assert_eq!(differences(&real, &trace(&[("a", "1")]), Rule::Pairs).len(), 1);
    }
}
