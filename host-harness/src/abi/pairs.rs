//! The ABI's byte form of header maps: `u32 n`, n × (`u32` key length, `u32` value length), then `key\0value\0` each.
//!
//! Reading is strict, as in proxy-wasm-cpp-host `src/pairs_util.cc`: any fault gives an empty map, never an error,
//! so that a filter which builds pairs wrongly is seen to send no headers here just as in Envoy.

use super::Headers;

/// The most bytes that a guest may pass as pairs. Source: proxy-wasm-cpp-host `include/proxy-wasm/limits.h`.
pub const MAX_BYTES: usize = 1024 * 1024;
/// The most entries that a guest may pass as pairs. Source: proxy-wasm-cpp-host `include/proxy-wasm/limits.h`.
pub const MAX_COUNT: usize = 1024;

/// Writes pairs; all integers little-endian, every name and value followed by a NUL.
#[must_use]
pub fn to_bytes<K: AsRef<[u8]>, V: AsRef<[u8]>>(pairs: &[(K, V)]) -> Vec<u8> {
    let content: usize = pairs.iter().map(|(k, v)| k.as_ref().len() + v.as_ref().len() + 10).sum();
    let mut bytes = Vec::with_capacity(4 + content);
    put_length(&mut bytes, pairs.len());
    for (key, value) in pairs {
        put_length(&mut bytes, key.as_ref().len());
        put_length(&mut bytes, value.as_ref().len());
    }
    for (key, value) in pairs {
        bytes.extend_from_slice(key.as_ref());
        bytes.push(0);
        bytes.extend_from_slice(value.as_ref());
        bytes.push(0);
    }
    bytes
}

/// Reads pairs that a guest made: anything malformed, over [`MAX_BYTES`] or over [`MAX_COUNT`] is an empty map.
#[must_use]
pub fn from_bytes(bytes: &[u8]) -> Headers {
    if bytes.len() > MAX_BYTES {
        return Headers::new();
    }
    parse(bytes).unwrap_or_default()
}

fn parse(bytes: &[u8]) -> Option<Headers> {
    let (count, mut sizes) = take_length(bytes)?;
    if count > MAX_COUNT {
        return None;
    }
    let mut content = sizes.get(count * 8..)?;
    let mut pairs = Headers::with_capacity(count);
    for _ in 0..count {
        let (key_length, rest) = take_length(sizes)?;
        let (value_length, rest) = take_length(rest)?;
        sizes = rest;
        let key = take_terminated(&mut content, key_length)?;
        let value = take_terminated(&mut content, value_length)?;
        pairs.push((key, value));
    }
    content.is_empty().then_some(pairs)
}

fn take_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    Some((usize::try_from(u32::from_le_bytes(*length)).ok()?, rest))
}

fn take_terminated(content: &mut &[u8], length: usize) -> Option<Vec<u8>> {
    let value = content.get(..length)?;
    if *content.get(length)? != 0 {
        return None;
    }
    *content = &content[length + 1..];
    Some(value.to_vec())
}

fn put_length(bytes: &mut Vec<u8>, length: usize) {
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&length.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read_back_as_written_with_duplicates_and_any_bytes() {
        let pairs = headers(&[("a", "1"), ("a", "2"), ("", ""), ("x", "\0\u{ff}")]);
        assert_eq!(from_bytes(&to_bytes(&pairs)), pairs);
    }

    #[test]
    fn the_byte_form_is_that_of_the_abi() {
        let expected = b"\x01\0\0\0\x02\0\0\0\x01\0\0\0ab\0c\0";
        assert_eq!(to_bytes(&[("ab", "c")]), expected);
    }

    #[test]
    fn every_truncation_and_every_extra_byte_gives_an_empty_map() {
        let good = to_bytes(&headers(&[("ab", "c"), ("d", "")]));
        for length in 0..good.len() {
            assert!(from_bytes(&good[..length]).is_empty(), "cut to {length}");
        }
        let mut long = good.clone();
        long.push(0);
        assert!(from_bytes(&long).is_empty());
    }

    #[test]
    fn a_missing_terminator_gives_an_empty_map() {
        let mut bytes = to_bytes(&headers(&[("ab", "c")]));
        let last = bytes.len() - 1;
        bytes[last] = b'!';
        assert!(from_bytes(&bytes).is_empty());
    }

    #[test]
    fn lengths_that_do_not_fit_give_an_empty_map() {
        let mut bytes = to_bytes(&headers(&[("ab", "c")]));
        bytes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(from_bytes(&bytes).is_empty());
        bytes[0..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(from_bytes(&bytes).is_empty());
    }

    #[test]
    fn more_entries_or_bytes_than_the_host_allows_give_an_empty_map() {
        let many = vec![(b"k".to_vec(), b"v".to_vec()); MAX_COUNT + 1];
        assert!(from_bytes(&to_bytes(&many)).is_empty());
        assert_eq!(from_bytes(&to_bytes(&many[1..])).len(), MAX_COUNT);
        let big = vec![(b"k".to_vec(), vec![b'v'; MAX_BYTES])];
        assert!(from_bytes(&to_bytes(&big)).is_empty());
    }

    fn headers(pairs: &[(&str, &str)]) -> Headers {
        pairs.iter().map(|(k, v)| (k.as_bytes().to_vec(), v.as_bytes().to_vec())).collect()
    }
}
