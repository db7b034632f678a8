//! Header maps as Envoy keeps them: names in lower case, in order, duplicates apart.
//!
//! Source: Envoy `source/common/http/header_map_impl.cc`. `host` is another name of `:authority`, and replacing a header
//! removes every one of its name and appends the new one.

use crate::abi::Headers;

/// What can be done with a header map; all names are compared in lower case.
pub(super) trait HeaderMap {
    /// First value of a header.
    fn first(&self, name: &[u8]) -> Option<&[u8]>;
    /// All values of a header, joined by commas; `None` when there is none.
    fn joined(&self, name: &[u8]) -> Option<Vec<u8>>;
    /// Adds a header at the end.
    fn add(&mut self, name: &[u8], value: &[u8]);
    /// Replaces every header of this name by one at the end.
    fn replace(&mut self, name: &[u8], value: &[u8]);
    /// Removes every header of this name.
    fn remove_all(&mut self, name: &[u8]);
    /// Bytes of all names and values.
    fn byte_size(&self) -> usize;
}

impl HeaderMap for Headers {
    fn first(&self, name: &[u8]) -> Option<&[u8]> {
        let name = canonical(name);
        self.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_slice())
    }

    fn joined(&self, name: &[u8]) -> Option<Vec<u8>> {
        let name = canonical(name);
        let values: Vec<&[u8]> =
            self.iter().filter(|(key, _)| *key == name).map(|(_, value)| value.as_slice()).collect();
        (!values.is_empty()).then(|| values.join(&b','))
    }

    fn add(&mut self, name: &[u8], value: &[u8]) {
        self.push((canonical(name), value.to_vec()));
    }

    fn replace(&mut self, name: &[u8], value: &[u8]) {
        self.remove_all(name);
        self.add(name, value);
    }

    fn remove_all(&mut self, name: &[u8]) {
        let name = canonical(name);
        self.retain(|(key, _)| *key != name);
    }

    fn byte_size(&self) -> usize {
        self.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

/// The name that the map knows the header by.
fn canonical(name: &[u8]) -> Vec<u8> {
    let name = name.to_ascii_lowercase();
    if name == b"host" { b":authority".to_vec() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_case_and_the_first_duplicate_is_found() {
        let mut headers = Headers::new();
        headers.add(b"X-A", b"1");
        headers.add(b"x-a", b"2");
        assert_eq!(headers.first(b"X-a"), Some(b"1".as_slice()));
        assert_eq!(headers.joined(b"x-a"), Some(b"1,2".to_vec()));
        assert_eq!(headers.len(), 2);
        assert_eq!(headers.byte_size(), 8);
    }

    #[test]
    fn host_is_the_authority() {
        let mut headers = Headers::new();
        headers.add(b":authority", b"a.example");
        assert_eq!(headers.first(b"Host"), Some(b"a.example".as_slice()));
        headers.replace(b"host", b"b.example");
        assert_eq!(headers, vec![(b":authority".to_vec(), b"b.example".to_vec())]);
    }

    #[test]
    fn replacing_leaves_one_of_the_name_at_the_end() {
        let mut headers = Headers::new();
        for (name, value) in [("a", "1"), ("b", "2"), ("a", "3")] {
            headers.add(name.as_bytes(), value.as_bytes());
        }
        headers.replace(b"a", b"4");
        assert_eq!(headers, vec![(b"b".to_vec(), b"2".to_vec()), (b"a".to_vec(), b"4".to_vec())]);
        headers.remove_all(b"B");
        assert_eq!(headers.len(), 1);
    }
}
