//! Names in certificates. Source: Go's `crypto/x509`, parser.go, `domainNameValid`; verify.go, `parseRFC2821Mailbox`.

/// Whether Go takes it for the name of a domain.
pub(in crate::builtins::crypto) fn domain_is_valid(name: &[u8], is_constraint: bool) -> bool {
    if name.is_empty() {
        return true;
    }
    if name.ends_with(b".") {
        return false;
    }
    let name = name.strip_prefix(b".").filter(|_| is_constraint).unwrap_or(name);
    name.iter().all(|byte| (33..=126).contains(byte))
        && name.split(|byte| *byte == b'.').all(|label| !label.is_empty())
}

/// Labels from the last to the first; none if one is empty or not printable. Source: `domainToReverseLabels`.
pub(in crate::builtins::crypto) fn labels(domain: &[u8]) -> Option<Vec<&[u8]>> {
    if domain.is_empty() {
        return Some(Vec::new());
    }
    let labels: Vec<&[u8]> = domain.rsplit(|byte| *byte == b'.').collect();
    let good = |label: &&[u8]| !label.is_empty() && label.iter().all(|byte| (33..=126).contains(byte));
    labels.iter().all(good).then_some(labels)
}

/// The domain of a mailbox; none if it is no mailbox.
pub(in crate::builtins::crypto) fn mailbox_domain(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut local = Vec::new();
    let mut rest = text;
    if let Some(quoted) = rest.strip_prefix(b"\"") {
        rest = quoted;
        loop {
            let (byte, more) = rest.split_first()?;
            rest = more;
            match byte {
                b'"' => break,
                b'\\' => {
                    let (byte, more) = rest.split_first()?;
                    if !matches!(byte, 1..=9 | 11 | 12 | 14..=127) {
                        return None;
                    }
                    local.push(*byte);
                    rest = more;
                }
                1..=8 | 11 | 12 | 14..=33 | 35..=91 | 93..=127 => local.push(*byte),
                _ => return None,
            }
        }
    } else {
        while let Some((byte, more)) = rest.split_first() {
            match byte {
                b'\\' => {
                    let (byte, more) = more.split_first()?;
                    local.push(*byte);
                    rest = more;
                }
                byte if byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(byte) => {
                    local.push(*byte);
                    rest = more;
                }
                _ => break,
            }
        }
        let doubled = local.windows(2).any(|two| two == b"..");
        if local.is_empty() || local.starts_with(b".") || local.ends_with(b".") || doubled {
            return None;
        }
    }
    let domain = rest.strip_prefix(b"@")?;
    labels(domain)?;
    Some((local, domain))
}
