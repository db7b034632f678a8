//! Requests of one's own for the default scenario: lines as people write them, or an access log.

use std::{fmt::Write, sync::LazyLock};

use regex::Regex;
use serde_json::json;

use super::error::Problem;

/// A request line anywhere in a line of an access log, in quotes; or a whole line.
static REQUEST_LINE: LazyLock<Regex> = LazyLock::new(|| {
    let line = r#"(?:^|")([A-Z]{2,20}) ([/*][^\s"]*)(?: HTTP/[0-9.]+)?(?:"|\s*$)"#;
    Regex::new(line).expect("a test reads it")
});

/// More requests than this are more than a search comes to.
const MOST_REQUESTS: usize = 24;
/// When the first of them comes, and how long after it the next one, in milliseconds.
const FIRST_MS: usize = 500;
const NEXT_MS: usize = 10;

/// One request as it is written or logged.
#[derive(PartialEq)]
struct Given {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
}

/// The events of these requests, as lines of a scenario file. Each different request is sent once, two at a time to each
/// worker by turns; indented lines below one are its headers.
pub(super) fn events(text: &str) -> Result<String, Problem> {
    let mut requests: Vec<Given> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        if line.starts_with([' ', '\t']) {
            let header = line.trim().split_once(": ");
            match (header, requests.last_mut()) {
                (Some((name, value)), Some(given)) => {
                    given.headers.push((name.to_ascii_lowercase(), value.to_owned()));
                }
                _ => return Err(unreadable(number, line)),
            }
            continue;
        }
        let found = REQUEST_LINE.captures(line).ok_or_else(|| unreadable(number, line))?;
        let (method, path) = (found[1].to_owned(), found[2].to_owned());
        requests.push(Given { method, path, headers: Vec::new() });
    }
    let requests = different(requests);
    if requests.is_empty() {
        let cure = "write one as `METHOD PATH`, or give an access log";
        return Err(Problem::new("requests", "there is no request in it", cure));
    }
    let mut lines = String::new();
    for (index, Given { method, path, headers }) in requests.into_iter().enumerate() {
        let headers: serde_json::Map<_, _> =
            headers.into_iter().map(|(name, value)| (name, json!(value))).collect();
        let event = json!({
            "at": format!("{}ms", FIRST_MS + index / 2 * NEXT_MS),
            "request": format!("given-{}", index + 1),
            "worker": index / 2 % 2,
            "method": method,
            "path": path,
            "headers": headers,
        });
        _ = writeln!(lines, "  - {event}");
    }
    Ok(lines)
}

/// The first ones, each once.
fn different(requests: Vec<Given>) -> Vec<Given> {
    let mut different: Vec<Given> = Vec::new();
    for request in requests {
        if different.len() < MOST_REQUESTS && !different.contains(&request) {
            different.push(request);
        }
    }
    different
}

fn unreadable(number: usize, line: &str) -> Problem {
    let line: String = line.chars().take(80).collect();
    let cure = "write `METHOD PATH`, with headers in indented lines below, or give an access log with request lines in quotes";
    Problem::new(format!("line {}", number + 1), format!("`{line}` has no request"), cure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_logs_are_read_and_each_request_comes_once() {
        let text = "# mine\nGET /a?b=1\n  X-User: ada: lovelace\nPOST /c\n\
            127.0.0.1 - - [10/Oct/2026:13:55:36 +0000] \"GET /log HTTP/1.1\" 200 23 \"-\" \"curl\"\n\
            [2026-10-10T13:55:36.000Z] \"DELETE /d HTTP/2\" 200 - 0 0 1 - \"-\"\nGET /a?b=1\n  x-user: bob\n";
        let read = events(text).unwrap_or_else(|problem| panic!("{}", problem.of("requests")));
        let wanted = [
            r#"{"at":"500ms","headers":{"x-user":"ada: lovelace"},"method":"GET","path":"/a?b=1","request":"given-1","worker":0}"#,
            r#"{"at":"500ms","headers":{},"method":"POST","path":"/c","request":"given-2","worker":0}"#,
            r#"{"at":"510ms","headers":{},"method":"GET","path":"/log","request":"given-3","worker":1}"#,
            r#"{"at":"510ms","headers":{},"method":"DELETE","path":"/d","request":"given-4","worker":1}"#,
            r#"{"at":"520ms","headers":{"x-user":"bob"},"method":"GET","path":"/a?b=1","request":"given-5","worker":0}"#,
        ];
        assert_eq!(read.lines().map(|line| line.trim_start_matches("  - ")).collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn a_line_without_a_request_is_told() {
        for text in ["hello", "  x: y", "GET /a\n  no header", "get /a", "GET a"] {
            let problem = events(text).expect_err(text).of("requests").to_string();
            assert!(problem.contains("has no request"), "{problem}");
        }
        let problem = events("# nothing\n").expect_err("it is empty").of("requests").to_string();
        assert!(problem.contains("there is no request in it"), "{problem}");
    }

    #[test]
    fn a_long_log_gives_as_many_as_a_search_comes_to() {
        let mut text = String::new();
        for number in 0..1000 {
            writeln!(text, "GET /{number}\n  n: {number}").unwrap();
        }
        assert_eq!(events(&text).unwrap_or_default().lines().count(), MOST_REQUESTS);
    }
}
