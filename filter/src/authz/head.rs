//! The headers of a request, in the one buffer in which the host hands them over.

use std::ops::Range;

/// Headers of one request, in the order received, pseudo-headers included, names in lower case. Bytes, because HTTP allows any.
#[derive(Debug, Clone, Default)]
pub struct RequestHead {
    bytes: Vec<u8>,
    headers: Vec<Header>,
}

/// Where a header stands in the buffer.
#[derive(Debug, Clone)]
struct Header {
    name: Range<usize>,
    value: Range<usize>,
}

// === impl RequestHead ===

impl RequestHead {
    /// Reads what `proxy_get_header_map_pairs` gives; none if it is no header map.
    ///
    /// Source: proxy-wasm's ABI 0.2.1: how many pairs, the lengths of each name and value, then names and values, each with a
    /// NUL behind it; numbers are 32 bits, little-endian.
    pub fn from_pairs(bytes: Vec<u8>) -> Option<Self> {
        const NUMBER: usize = size_of::<u32>();
        let number = |at: usize| -> Option<usize> {
            let bytes = bytes.get(at..at.checked_add(NUMBER)?)?;
            usize::try_from(u32::from_le_bytes(bytes.try_into().ok()?)).ok()
        };
        if bytes.is_empty() {
            return Some(Self::default());
        }
        let count = number(0)?;
        let first = count.checked_mul(2 * NUMBER)?.checked_add(NUMBER)?;
        if first > bytes.len() {
            return None;
        }
        let mut headers = Vec::with_capacity(count);
        let mut at = first;
        let mut next = |length: usize| {
            let text = at..at.checked_add(length)?;
            bytes.get(text.clone())?;
            at = text.end.checked_add(1)?;
            Some(text)
        };
        for lengths in (NUMBER..first).step_by(2 * NUMBER) {
            let name = next(number(lengths)?)?;
            let value = next(number(lengths + NUMBER)?)?;
            headers.push(Header { name, value });
        }
        Some(Self { bytes, headers })
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let text = |place: &Range<usize>| self.bytes.get(place.clone()).unwrap_or_default();
        self.headers.iter().map(move |header| (text(&header.name), text(&header.value)))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.headers.len()
    }

    /// The first value of a header, by its name in lower case.
    pub fn header(&self, name: &[u8]) -> Option<&[u8]> {
        let (_, value) = self.iter().find(|(known, _)| *known == name)?;
        Some(value)
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, V)> for RequestHead {
    fn from_iter<T: IntoIterator<Item = (N, V)>>(pairs: T) -> Self {
        let mut head = Self::default();
        for (name, value) in pairs {
            let mut put = |text: &[u8]| {
                let start = head.bytes.len();
                head.bytes.extend_from_slice(text);
                start..head.bytes.len()
            };
            let (name, value) = (put(name.as_ref()), put(value.as_ref()));
            head.headers.push(Header { name, value });
        }
        head
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<u8> {
        let number = |number: usize| u32::try_from(number).unwrap().to_le_bytes();
        let mut bytes = number(pairs.len()).to_vec();
        for (name, value) in pairs {
            bytes.extend(number(name.len()));
            bytes.extend(number(value.len()));
        }
        for (name, value) in pairs {
            bytes.extend(format!("{name}\0{value}\0").into_bytes());
        }
        bytes
    }

    #[test]
    fn a_header_map_is_read_in_place() {
        let all = [(":path", "/"), ("a", ""), ("", "b"), ("a", "c")];
        let head = RequestHead::from_pairs(pairs(&all)).unwrap();
        let read: Vec<_> = head.iter().collect();
        assert_eq!(read, all.map(|(name, value)| (name.as_bytes(), value.as_bytes())));
        assert_eq!(head.header(b"a"), Some(&b""[..]));
        assert_eq!(head.header(b"b"), None);
        assert_eq!(RequestHead::from_pairs(Vec::new()).unwrap().count(), 0);
        assert_eq!(RequestHead::from_pairs(pairs(&[])).unwrap().count(), 0);
    }

    #[test]
    fn what_is_no_header_map_is_none() {
        let whole = pairs(&[(":path", "/"), ("name", "value")]);
        // The NUL behind the last value may be missing.
        for length in 1..whole.len() - 1 {
            assert!(RequestHead::from_pairs(whole[..length].to_vec()).is_none(), "{length}");
        }
        for at in (0..20).step_by(4) {
            let mut wrong = whole.clone();
            wrong[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
            assert!(RequestHead::from_pairs(wrong).is_none(), "{at}");
        }
    }
}
