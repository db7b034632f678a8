//! `multipart/form-data`, as Go's `mime` and `mime/multipart` read it. What is not plain, or coded, is refused instead of read in
//! one of several ways.

/// Of one body. What has more is refused.
const MAX_PARTS: usize = 1_000;
/// Of one part.
const MAX_HEADERS: usize = 100;
/// Of one header. Each is compared with those before it.
const MAX_PARAMETERS: usize = 32;

/// A media type, or a disposition: a word and its parameters.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MediaType {
    kind: String,
    parameters: Vec<(String, String)>,
}

/// One part of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part<'a> {
    headers: Vec<(String, &'a str)>,
    pub(super) content: &'a [u8],
}

/// The parts between boundaries. None: it is no such body.
pub(super) fn parts<'a>(body: &'a [u8], boundary: &[u8]) -> Option<Vec<Part<'a>>> {
    if boundary.is_empty() {
        return None;
    }
    let delimiter = [b"--", boundary].concat();
    let mut rest = body;
    // What comes before the first boundary is for readers who know no parts.
    loop {
        let last = (!rest.is_empty()).then_some((rest, &b""[..]));
        let (line, after) = line(rest).or(last)?;
        match line.strip_prefix(delimiter.as_slice()).map(trimmed) {
            Some(b"") => {
                rest = after;
                break;
            }
            Some(b"--") => return Some(Vec::new()),
            _ => rest = after,
        }
    }
    let between = [b"\r\n", delimiter.as_slice()].concat();
    let mut parts = Vec::new();
    loop {
        let mut headers = Vec::new();
        loop {
            let (line, after) = line(rest)?;
            rest = after;
            if line.is_empty() {
                break;
            }
            let (name, value) = std::str::from_utf8(line).ok()?.split_once(':')?;
            let is_name = !name.is_empty() && name.bytes().all(is_token);
            if !is_name || headers.len() >= MAX_HEADERS {
                return None;
            }
            headers.push((name.to_ascii_lowercase(), value.trim_matches([' ', '\t'])));
        }
        // A part without content ends with the line of its last header.
        let content_end = match rest.strip_prefix(delimiter.as_slice()) {
            Some(_) => 0,
            None => find(rest, &between)?,
        };
        let content = rest.get(..content_end)?;
        rest = rest.get(content_end..)?;
        rest = rest.strip_prefix(between.as_slice()).or_else(|| rest.strip_prefix(delimiter.as_slice()))?;
        let is_coded = |(name, value): &(String, &str)| {
            name == "content-transfer-encoding"
                && !["7bit", "8bit", "binary"].iter().any(|plain| value.eq_ignore_ascii_case(plain))
        };
        if headers.iter().any(is_coded) || parts.len() >= MAX_PARTS {
            return None;
        }
        parts.push(Part { headers, content });
        let (end, after) = line(rest).unwrap_or((rest, b""));
        match trimmed(end) {
            b"" => rest = after,
            b"--" => return Some(parts),
            _ => return None,
        }
    }
}

// === impl Part ===

impl Part<'_> {
    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    pub(super) fn content_type(&self) -> &str {
        self.header("content-type")
    }

    /// The name of the field; none if it is no field. None outside: its disposition has no one reading.
    pub(super) fn form_name(&self) -> Option<Option<String>> {
        let disposition = self.header("content-disposition");
        if disposition.is_empty() {
            return Some(None);
        }
        let disposition = MediaType::parse(disposition)?;
        let name = disposition.parameter("name").filter(|name| !name.is_empty());
        Some(name.filter(|_| disposition.kind == "form-data").map(str::to_owned))
    }
}

// === impl MediaType ===

impl MediaType {
    /// Reads `kind; name=value; name="value"`. A parameter that comes twice, or in pieces (`name*0`), has no one reading.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (kind, mut rest) = text.split_at(text.find(';').unwrap_or(text.len()));
        let kind = kind.trim().to_ascii_lowercase();
        let mut parameters: Vec<(String, String)> = Vec::new();
        loop {
            rest = rest.trim_start();
            let Some(after) = rest.strip_prefix(';') else { break };
            rest = after.trim_start();
            if rest.is_empty() {
                break;
            }
            let (name, after) = rest.split_once('=')?;
            let name = name.trim_end().to_ascii_lowercase();
            if name.is_empty() || !name.bytes().all(is_token) || name.contains('*') {
                return None;
            }
            let (value, after) = parameter_value(after.trim_start())?;
            if parameters.len() >= MAX_PARAMETERS || parameters.iter().any(|(known, _)| *known == name) {
                return None;
            }
            parameters.push((name, value));
            rest = after;
        }
        rest.is_empty().then_some(Self { kind, parameters })
    }

    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// A token or a quoted string, and what follows. A backslash stands for itself but before one of the special characters:
/// browsers that are long gone sent paths of Windows.
fn parameter_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.bytes().position(|byte| !is_token(byte)).unwrap_or(text.len());
        return (end > 0).then_some((text.get(..end)?.to_owned(), text.get(end..)?));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, quoted.get(at + 1..)?)),
            '\\' => match characters.next_if(|(_, next)| is_special(*next)) {
                Some((_, next)) => value.push(next),
                None => value.push('\\'),
            },
            '\r' | '\n' => return None,
            character => value.push(character),
        }
    }
    None
}

/// Source: RFC 2045, `tspecials`.
fn is_special(character: char) -> bool {
    "()<>@,;:\\\"/[]?=".contains(character)
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_graphic() && !is_special(char::from(byte))
}

/// A line without its end, and what follows.
fn line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = find(text, b"\r\n")?;
    Some((text.get(..end)?, text.get(end + 2..)?))
}

fn trimmed(line: &[u8]) -> &[u8] {
    let end = line.iter().rposition(|byte| !matches!(byte, b' ' | b'\t')).map_or(0, |last| last + 1);
    line.get(..end).unwrap_or_default()
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_chooses_neither_how_many_parameters_nor_headers_nor_parts_are_compared() {
        let parameters = |count: usize| {
            let all: Vec<String> = (0..count).map(|index| format!("; a{index}=1")).collect();
            MediaType::parse(&format!("form-data{}", all.concat()))
        };
        assert!(parameters(MAX_PARAMETERS).is_some() && parameters(MAX_PARAMETERS + 1).is_none());
        let headers = |count: usize| {
            let body = format!("--X\r\n{}\r\n--X--", "a: b\r\n".repeat(count));
            parts(body.as_bytes(), b"X").is_some()
        };
        assert!(headers(MAX_HEADERS) && !headers(MAX_HEADERS + 1));
        let count = |count: usize| {
            let body = format!("{}--X--", "--X\r\n\r\n\r\n".repeat(count));
            parts(body.as_bytes(), b"X").is_some()
        };
        assert!(count(MAX_PARTS) && !count(MAX_PARTS + 1));
    }
}
