//! How a route takes every spelling of the paths that it is for: servers may not tell letters by their case, send who leaves
//! out the last slash to the path with it, and decode what is escaped.

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

/// Envoy's `RouteMatch` for paths that begin so, as [`super::PolicyRoute::prefix`] says. The filter refuses the spellings that
/// are left, with strict paths.
pub(super) fn matcher(prefix: &str) -> Value {
    let decoded: Vec<u8> = percent_decode_str(prefix).collect();
    if !decoded.iter().all(|byte| *byte == b'/' || has_one_spelling(*byte)) {
        return json!({ "safe_regex": { "regex": pattern(&decoded) } });
    }
    let decoded = String::from_utf8_lossy(&decoded).into_owned();
    match decoded.strip_suffix('/') {
        Some(segments) if !segments.is_empty() => {
            json!({ "path_separated_prefix": segments, "case_sensitive": false })
        }
        _ => json!({ "prefix": decoded, "case_sensitive": false }),
    }
}

/// Whether a character is never escaped. Source: RFC 3986, 2.3.
pub(super) fn has_one_spelling(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// A regular expression of RE2 over the whole path, in which a character that may be escaped has both its spellings.
fn pattern(prefix: &[u8]) -> String {
    let (prefix, rest) = match prefix.split_last() {
        Some((b'/', segments)) => (segments, "(?:/.*)?"),
        _ => (prefix, ".*"),
    };
    let spellings = prefix.iter().map(|byte| match byte {
        byte if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'_' | b'~') => {
            char::from(*byte).to_string()
        }
        byte if has_one_spelling(*byte) => format!("\\{}", char::from(*byte)),
        byte if byte.is_ascii_graphic() => format!("(?:\\x{byte:02x}|%{byte:02x})"),
        byte => format!("%{byte:02x}"),
    });
    format!("(?is){}{rest}", spellings.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_takes_every_spelling() {
        let insensitive = |mut matcher: Value| {
            matcher["case_sensitive"] = json!(false);
            matcher
        };
        assert_eq!(matcher("/t/"), insensitive(json!({ "path_separated_prefix": "/t" })));
        assert_eq!(matcher("/a%2Db/"), insensitive(json!({ "path_separated_prefix": "/a-b" })));
        assert_eq!(matcher("/t"), insensitive(json!({ "prefix": "/t" })));
        assert_eq!(matcher("/"), insensitive(json!({ "prefix": "/" })));
        for (prefix, taken, left) in [
            ("/v1:do/", &["/v1:do", "/v1%3ado/x", "/V1%3ADO/x"][..], &["/v1:dox", "/v1"][..]),
            ("/é/", &["/%c3%a9/x", "/%C3%A9"], &["/e/"]),
            ("/a.b@", &["/a.b@", "/A.b%40c"], &["/axb@"]),
            ("/a b", &["/a%20b"], &["/a b", "/ab"]),
        ] {
            let matcher = matcher(prefix);
            let pattern = matcher["safe_regex"]["regex"].as_str().unwrap();
            let pattern = regex::Regex::new(&format!("^(?:{pattern})$")).unwrap();
            for path in taken {
                assert!(pattern.is_match(path), "{prefix} {path}");
            }
            for path in left {
                assert!(!pattern.is_match(path), "{prefix} {path}");
            }
        }
    }
}
