//! What HTTP allows to stand in a request line, in a pseudo-header and in a header.
//!
//! Source: RFC 9110 (5.5, 5.6.2, 7.2, 9.1), RFC 3986 (3.2, 3.3, 3.4), RFC 9113 (8.2.1, 8.3.1). Envoy's HTTP/1 codec writes
//! what a filter has set as it is, so that a space in a path makes another request line.

use std::net::Ipv6Addr;

use crate::config::is_token;

/// A header's value as it is sent: without blanks at its ends, which are not part of it. None if it cannot be sent.
pub(super) fn field_value(value: &str) -> Option<&str> {
    let value = value.trim_matches([' ', '\t']);
    value.bytes().all(|byte| byte == b'\t' || !byte.is_ascii_control()).then_some(value)
}

/// A method that leaves a request what it is: `CONNECT` would make a tunnel of it.
pub(super) fn is_method(text: &str) -> bool {
    is_token(text) && text != "CONNECT"
}

/// What Envoy can send upstream.
pub(super) fn is_scheme(text: &str) -> bool {
    matches!(text, "http" | "https")
}

/// Path and query, from the first slash on.
pub(super) fn is_origin_form(text: &str) -> bool {
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    path.starts_with('/') && is_made_of(path, b"/") && is_made_of(query, b"/?")
}

/// A host with or without a port; user information does not belong there.
pub(super) fn is_authority(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok() && !port.starts_with('+'));
    let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    is_port
        && match literal {
            Some(address) => address.parse::<Ipv6Addr>().is_ok(),
            None => !host.is_empty() && !host.contains([':', '@']) && is_made_of(host, b""),
        }
}

/// Whether a text has only characters of a path's segment, well-formed escapes, and what is allowed beside them.
fn is_made_of(text: &str, also: &[u8]) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let is_allowed = match byte {
            b'%' => {
                [bytes.next(), bytes.next()].iter().flatten().filter(|b| b.is_ascii_hexdigit()).count() == 2
            }
            byte => {
                byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte) || also.contains(&byte)
            }
        };
        if !is_allowed {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_no_second_reading_of_the_request_line() {
        for path in ["/", "/a/b", "/a?b", "/a?b=c/d?e", "/%20", "/a:b@c;d=e,f", "/?"] {
            assert!(is_origin_form(path), "{path}");
        }
        for path in [
            "",
            "a",
            "*",
            "?a",
            "/ ",
            "/a b",
            "/x HTTP/1.1",
            "/a\r\nb: c",
            "/a\t",
            "/\0",
            "/é",
            "/a#b",
            "/%",
            "/%4",
            "/%zz",
            "/a\"b",
            "/a|b",
            "/a\\b",
            "http://h/a",
            "/a?b c",
            "/a?b#c",
            "/\u{7f}",
        ] {
            assert!(!is_origin_form(path), "{path:?}");
        }
    }

    #[test]
    fn authorities_are_hosts() {
        for authority in ["a", "a.b:80", "127.0.0.1:1", "[::1]", "[::1]:443", "a-b_c", "%41.b", "a:65535"] {
            assert!(is_authority(authority), "{authority}");
        }
        for authority in [
            "", ":80", "a b", "a:b", "a:65536", "a:+1", "a:", "u@a", "u:p@a", "a/b", "a?b", "a#b", "[::1",
            "::1", "[a]", "a\r\n", "é", "a:1:2", "[::1]x", "[::1]:x", "a,b ", "a\0",
        ] {
            assert!(!is_authority(authority), "{authority:?}");
        }
    }

    #[test]
    fn methods_schemes_and_values() {
        assert!(["GET", "M-SEARCH", "get"].into_iter().all(is_method));
        for method in ["", "GET ", "GET /admin HTTP/1.1", "G\r\n", "CONNECT", "É", "A:B"] {
            assert!(!is_method(method), "{method:?}");
        }
        assert!(["http", "https"].into_iter().all(is_scheme));
        assert!(!["", "HTTP", "ftp", "http ", "http:"].into_iter().any(is_scheme));
        assert_eq!(field_value(" a\tb  "), Some("a\tb"));
        assert_eq!(field_value("é"), Some("é"));
        assert_eq!(field_value(" \t"), Some(""));
        for value in ["a\r\nb: c", "a\n", "\0", "\u{7f}", "\u{1}"] {
            assert_eq!(field_value(value), None, "{value:?}");
        }
    }
}
