//! Decisions that would break a message.

use host_harness::servers::client::{Connection, Request};
use serde_json::{Value, json};

use super::way::{self, Way};

pub(crate) fn ways() -> Vec<Way> {
    let malformed = |stops, name: &str, value: Value| {
        Way::new(stops, name).allow_with("headers", &value).ends(500, "malformed_decision")
    };
    let pseudo =
        |name: &str, header: &str, value: &str| malformed("PseudoHeader", name, json!({ header: value }));
    let mut ways = vec![
        pseudo("a request line in the method", ":method", "GET /admin HTTP/1.1"),
        pseudo("a blank in the method", ":method", "GET "),
        pseudo("a line in the method", ":method", "GET / HTTP/1.1\r\nx: y\r\n\r\nGET"),
        pseudo("a tunnel", ":method", "CONNECT"),
        pseudo("a request line in the path", ":path", "/x HTTP/1.1"),
        pseudo("a line in the path", ":path", "/x HTTP/1.1\r\nx: y\r\n\r\nGET /y"),
        pseudo("a blank in the path", ":path", "/a b"),
        pseudo("a zero in the path", ":path", "/a\0b"),
        pseudo("a fragment in the path", ":path", "/a#b"),
        pseudo("a path of the whole URL", ":path", "http://strict.test/t/x"),
        pseudo("a path without a slash", ":path", "t/x"),
        pseudo("a path of nothing", ":path", ""),
        pseudo("half an escape in the path", ":path", "/a%4"),
        pseudo("a blank in the authority", ":authority", "a b"),
        pseudo("a user in the authority", ":authority", "u:p@strict.test"),
        pseudo("a path in the authority", ":authority", "a/b"),
        pseudo("a line in the authority", ":authority", "a\r\nx: y"),
        pseudo("no authority", ":authority", ""),
        pseudo("a blank in the host", "host", "a b"),
        pseudo("a line in the host", "Host", "a\r\nx: y"),
        pseudo("a scheme that is none", ":scheme", "ftp"),
        pseudo("a blank in the scheme", ":scheme", "http "),
    ];
    let path = |name: &str, value: &str| malformed("Path", name, json!({ ":path": value }));
    ways.extend([
        path("a decision's path with two slashes", "//t/x"),
        path("a decision's path with an escaped slash", "/t%2Fx"),
        path("a decision's path with a parameter", "/t;a/x"),
        path("a decision's path with dots", "/a/../t/x"),
        path("a decision's path with escaped dots", "/a/%2e%2e/t/x"),
    ]);
    let header = |name: &str, header: &str, value: &str| malformed("Header", name, json!({ header: value }));
    ways.extend([
        header("a length", "content-length", "3"),
        header("a length in capitals", "Content-Length", "3"),
        header("an encoding", "transfer-encoding", "chunked"),
        header("a connection", "connection", "close"),
        header("an upgrade", "upgrade", "websocket"),
        header("a header that is kept alive", "keep-alive", "timeout=5"),
        header("a name with a blank", "x y", "z"),
        header("a name with a colon", "x:y", "z"),
        header("a name with a line", "x\r\ny", "z"),
        header("no name", "", "z"),
        header("a name beyond ASCII", "x-é", "z"),
        header("a line in a value", "x-a", "b\r\nx-c: d"),
        header("a line feed in a value", "x-a", "b\nx-c: d"),
        header("a zero in a value", "x-a", "b\0"),
    ]);
    // Envoy itself does not take these from a filter.
    let envoys_own = ["no name"];
    for way in &mut ways {
        if envoys_own.contains(&way.name.as_str()) {
            way.stops = "";
        }
    }
    ways
}

/// On one connection, what follows an answer is the answer to the next request.
pub(crate) fn answers_do_not_run_into_each_other() {
    let hidden = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhidden";
    for (without, is_split) in [(None, false), (Some("Body"), true)] {
        let gate = way::start(without);
        let mut split = 0;
        for status in [204, 205, 304] {
            let decision = json!({ "allowed": false, "http_status": status, "body": hidden });
            let mut connection = Connection::open(gate.addr()).expect("a connection");
            let request = |decision: &Value| Request::get("/").header("x-decision", decision.to_string());
            connection.send(&request(&decision)).expect("it is sent");
            let first = connection.receive("GET").expect("an answer");
            assert_eq!(first.status, status);
            // To some clients this one has a body, if it comes with one.
            split += usize::from(!first.body.is_empty());
            assert_eq!(first.header("x-portcullis-reason"), Some(&b"denied"[..]), "{status}");
            connection.send(&request(&json!({ "allowed": false, "http_status": 418 }))).expect("it is sent");
            // What is no status that Envoy answers with is malformed: 500.
            let second = connection.receive("GET").map(|answer| answer.status);
            split += usize::from(!matches!(second, Ok(500)));
        }
        assert_eq!(split > 0, is_split, "without {without:?}: {split}");
    }
    let gate = way::start(None);
    let mut connection = Connection::open(gate.addr()).expect("a connection");
    let decision = json!({ "allowed": false, "http_status": 401, "body": hidden }).to_string();
    connection.send(&Request::new("HEAD", "/").header("x-decision", &decision)).expect("it is sent");
    assert_eq!(connection.receive("HEAD").expect("an answer").status, 401);
    connection.send(&Request::get("/").header("x-decision", &decision)).expect("it is sent");
    let second = connection.receive("GET").expect("an answer");
    assert_eq!((second.status, second.text().as_str()), (401, hidden), "an answer to HEAD has no body");
}
