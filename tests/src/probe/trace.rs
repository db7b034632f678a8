//! What a probe told, and how what two hosts told are compared.

use std::fmt;

use host_harness::abi::pairs;

use super::Phase;

/// One line of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// A callback, by the number of its [`Phase`], with up to three of its arguments.
    Called(u32, [u32; 3]),
    /// What a hostcall returned.
    Returned(Returned),
}

/// What one hostcall returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Returned {
    /// The status.
    pub status: u32,
    /// How many bytes it gave.
    pub size: u32,
    /// The bytes; of many only the first.
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
const OWN_HEADERS: [&[u8]; 3] = [b"x-request-id", b"x-forwarded-for", b"x-envoy-upstream-service-time"];

// === impl Line ===

impl Line {
    /// The result of a hostcall.
    pub fn returned(&self) -> Option<&Returned> {
        match self {
            Line::Called(..) => None,
            Line::Returned(returned) => Some(returned),
        }
    }

    /// Whether it is a callback of this kind.
    pub fn is(&self, phase: Phase) -> bool {
        matches!(self, Line::Called(number, _) if *number == phase as u32)
    }

    fn under(&self, rule: Rule) -> Line {
        match self {
            Line::Called(..) => self.clone(),
            Line::Returned(returned) => Line::Returned(returned.under(rule)),
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Line::Called(phase, arguments) => write!(formatter, "callback {phase} {arguments:?}"),
            Line::Returned(returned) => returned.fmt(formatter),
        }
    }
}

// === impl Returned ===

impl fmt::Display for Returned {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "status {}", self.status)?;
        if !self.bytes.is_empty() {
            write!(formatter, " {} bytes \"{}\"", self.size, self.bytes.escape_ascii())?;
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
                same.size = 0;
            }
            Rule::Pairs => {
                let mut headers = pairs::from_bytes(&self.bytes);
                // A single value is no map, and compared as it is.
                if headers.is_empty() {
                    return same;
                }
                for (name, value) in &mut headers {
                    if OWN_HEADERS.contains(&name.as_slice()) {
                        value.clear();
                    }
                }
                headers.sort();
                same.bytes = pairs::to_bytes(&headers);
                same.size = 0;
            }
        }
        same
    }
}

/// Reads a trace as the guest writes it.
///
/// Errors: the text, when it is none.
pub fn parse(text: &[u8]) -> Result<Vec<Line>, String> {
    let text = String::from_utf8_lossy(text);
    text.split_terminator(';')
        .map(|entry| line(entry).ok_or_else(|| format!("not a trace: `{text}`")))
        .collect()
}

/// The trace up to and with the last call in the callback that ends a story; `None` while that has not come.
pub fn until(trace: &[Line], (phase, count): (Phase, usize)) -> Option<&[Line]> {
    let mut ends = trace.iter().enumerate().filter(|(_, line)| line.is(phase)).map(|(at, _)| at);
    let begin = ends.nth(count.checked_sub(1)?)?;
    let calls = trace[begin + 1..].iter().take_while(|line| line.returned().is_some()).count();
    trace.get(..=begin + calls)
}

/// What differs between two traces; empty when nothing does.
pub fn differences(envoy: &[Line], harness: &[Line], rule: Rule) -> Vec<String> {
    let mut found = Vec::new();
    for (index, (real, ours)) in envoy.iter().zip(harness).enumerate() {
        if real.under(rule) != ours.under(rule) {
            found.push(format!("line {index}: Envoy {real}, the harness {ours}"));
        }
    }
    let common = envoy.len().min(harness.len());
    found.extend(envoy[common..].iter().map(|line| format!("only in Envoy: {line}")));
    found.extend(harness[common..].iter().map(|line| format!("only in the harness: {line}")));
    found
}

fn line(entry: &str) -> Option<Line> {
    let (kind, fields) = entry.split_once(':')?;
    let fields: Vec<Vec<u8>> = fields.split(':').map(unhex).collect::<Option<_>>()?;
    let word = |at: usize| Some(u32::from_le_bytes(fields.get(at)?.as_slice().try_into().ok()?));
    if kind == "@" {
        return Some(Line::Called(word(0)?, [word(1)?, word(2)?, word(3)?]));
    }
    let number = u64::from_le_bytes(fields.get(4)?.as_slice().try_into().ok()?);
    let (status, size, word) = (word(0)?, word(1)?, word(3)?);
    Some(Line::Returned(Returned { status, size, bytes: fields.get(2)?.clone(), word, number }))
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
            let size = 8 + u8::try_from(port.len()).unwrap();
            parse(format!(":01000000:{size:02x}000000:{bytes}:02000000:0300000000000000;").as_bytes())
                .unwrap()
        };
        let [one, other] = [trace("81"), trace("99")];
        let first = one[0].returned().unwrap();
        assert_eq!((first.status, first.size, first.word, first.number), (1, 10, 2, 3));
        assert_eq!(differences(&one, &other, Rule::Exact).len(), 1);
        assert_eq!(differences(&one, &other, Rule::Address), Vec::<String>::new());
        assert_eq!(differences(&one, &other, Rule::Length), Vec::<String>::new());
        assert_eq!(differences(&one, &trace("999"), Rule::Length).len(), 1);
        assert_eq!(differences(&one, &[], Rule::Exact).len(), 1);
        assert!(parse(b":0:").is_err());
    }

    #[test]
    fn a_story_ends_with_the_calls_of_its_last_callback() {
        let text = b"@:09000000:00000000:00000000:00000000;:00000000:00000000::00000000:0000000000000000;";
        let trace = parse(&text.repeat(3)).unwrap();
        assert_eq!(until(&trace, (Phase::Tick, 2)), Some(&trace[..4]));
        assert_eq!(until(&trace, (Phase::Tick, 4)), None);
    }

    #[test]
    fn pairs_are_compared_in_any_order_without_what_envoy_makes_up() {
        let trace = |headers: &[(&str, &str)]| {
            let bytes = pairs::to_bytes(headers);
            vec![Line::Returned(Returned { status: 0, size: 0, bytes, word: 0, number: 0 })]
        };
        let real = trace(&[("a", "1"), ("x-request-id", "u")]);
        let ours = trace(&[("x-request-id", "v"), ("a", "1")]);
        assert_eq!(differences(&real, &ours, Rule::Pairs), Vec::<String>::new());
        assert_eq!(differences(&real, &trace(&[("a", "1")]), Rule::Pairs).len(), 1);
    }
}
