//! Every fault as a raw client meets it.

use std::{io::ErrorKind, thread};

use super::*;
use crate::servers::client::{ClientError, Connection, Request as ClientRequest, Response as ClientResponse};

/// Generous: a wait ends with its condition.
const BOUND: Duration = Duration::from_secs(60);
const PATH: &str = "/bundles/shop.tar.gz";
const ARCHIVE: &[u8] = b"an archive of some bytes";

#[test]
fn an_archive_comes_with_its_etag_and_type() {
    let server = serve();
    let response = get(&server).unwrap();
    assert_eq!((response.status, response.body.as_slice()), (200, ARCHIVE));
    assert_eq!(response.header("content-type"), Some(b"application/gzip".as_slice()));
    assert_eq!(response.header("etag"), Some(Published::new(ARCHIVE).etag.as_bytes()));
    assert_eq!(server.url(PATH), format!("http://{}{PATH}", server.addr()));
}

#[test]
fn a_known_etag_gets_304_without_a_body_and_another_gets_200() {
    let server = serve();
    let etag = Published::new(ARCHIVE).etag;
    for (known, status) in [
        (etag.clone(), 304),
        (format!("W/{etag}"), 304),
        (format!("\"other\", {etag}"), 304),
        ("*".to_owned(), 304),
        ("\"other\"".to_owned(), 200),
    ] {
        let response = ClientRequest::get(PATH).header("if-none-match", &known).send(server.addr()).unwrap();
        assert_eq!(response.status, status, "if-none-match: {known}");
        assert_eq!(response.body.is_empty(), status == 304);
        assert_eq!(response.header("etag"), Some(etag.as_bytes()));
    }
}

#[test]
fn what_is_published_can_be_replaced_and_withdrawn() {
    let server = serve();
    server.publish(PATH, Published { archive: Bytes::from_static(b"two"), etag: "\"2\"".to_owned() });
    let response = get(&server).unwrap();
    assert_eq!(
        (response.body.as_slice(), response.header("etag")),
        (b"two".as_slice(), Some(b"\"2\"".as_slice()))
    );
    server.withdraw(PATH);
    assert_eq!(get(&server).unwrap().status, 404);
}

#[test]
fn a_status_fault_answers_with_that_status() {
    let server = serve();
    for status in [200, 401, 404, 429, 500, 503] {
        server.fault(PATH, Fault::Status(status));
        assert_eq!(get(&server).unwrap().status, status);
    }
    server.clear_fault(PATH);
    assert_eq!(get(&server).unwrap().body, ARCHIVE);
}

#[test]
fn a_redirect_fault_answers_302_with_the_location() {
    let server = serve();
    server.fault(PATH, Fault::Redirect { location: "http://127.0.0.1:1/elsewhere".to_owned() });
    let response = get(&server).unwrap();
    assert_eq!(response.status, 302);
    assert_eq!(response.header("location"), Some(b"http://127.0.0.1:1/elsewhere".as_slice()));
}

#[test]
fn a_truncated_archive_is_a_whole_answer_under_the_same_etag() {
    let server = serve();
    server.fault(PATH, Fault::Truncated { keep_bytes: 5 });
    let response = get(&server).unwrap();
    assert_eq!((response.status, response.body.as_slice()), (200, &ARCHIVE[..5]));
    assert_eq!(response.header("etag"), Some(Published::new(ARCHIVE).etag.as_bytes()));
    server.fault(PATH, Fault::Truncated { keep_bytes: 1000 });
    assert_eq!(get(&server).unwrap().body, ARCHIVE);
}

#[test]
fn arbitrary_bytes_are_a_whole_answer() {
    let server = serve();
    for bytes in [b"<html>".to_vec(), b"\x1f\x8b\xff\0".to_vec(), Vec::new()] {
        server.fault(PATH, Fault::Bytes(bytes.clone()));
        let response = get(&server).unwrap();
        assert_eq!((response.status, response.body), (200, bytes));
    }
}

#[test]
fn a_reset_before_headers_leaves_nothing_but_the_reset() {
    let server = serve();
    server.fault(PATH, Fault::ResetBeforeHeaders);
    let error = get(&server).unwrap_err();
    let ClientError::Receive { received, source } = error else { panic!("{error}") };
    assert_eq!((source.kind(), received.as_slice()), (ErrorKind::ConnectionReset, b"".as_slice()));
    assert_eq!(answers(&server), [Some(Answer::ResetBeforeHeaders)]);
}

#[test]
fn a_reset_in_the_body_leaves_the_headers_and_the_first_bytes() {
    for (after_bytes, arrives) in [(0, 0), (7, 7), (1000, ARCHIVE.len() - 1)] {
        let server = serve();
        server.fault(PATH, Fault::ResetMidBody { after_bytes });
        let error = get(&server).unwrap_err();
        let ClientError::Receive { received, source } = error else { panic!("{error}") };
        assert_eq!(source.kind(), ErrorKind::ConnectionReset);
        let text = String::from_utf8(received).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", ARCHIVE.len())), "{head}");
        assert_eq!(body.as_bytes(), &ARCHIVE[..arrives]);
        assert_eq!(answers(&server), [Some(Answer::ResetMidBody)]);
    }
}

#[test]
fn a_request_that_hangs_is_answered_once_it_is_released() {
    let server = serve();
    server.fault(PATH, Fault::HangUntilReleased);
    thread::scope(|scope| {
        let waiting: Vec<_> = (0..3).map(|_| scope.spawn(|| get(&server))).collect();
        assert!(server.wait_until(BOUND, |traffic| traffic.in_flight == 3));
        assert_eq!(answers(&server), [None; 3]);
        server.release(PATH);
        for answer in waiting {
            assert_eq!(answer.join().unwrap().unwrap().body, ARCHIVE);
        }
    });
    assert!(server.wait_until(BOUND, |traffic| traffic.in_flight == 0));
}

#[test]
fn a_release_does_not_count_for_requests_that_come_later() {
    let server = serve();
    server.fault(PATH, Fault::HangUntilReleased);
    server.release(PATH);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| get(&server));
        assert!(server.wait_until(BOUND, |traffic| traffic.in_flight == 1));
        server.release("/another/path");
        assert_eq!(answers(&server), [None]);
        server.release(PATH);
        assert_eq!(waiting.join().unwrap().unwrap().status, 200);
    });
}

#[test]
fn an_answer_held_back_is_the_one_that_was_right_on_arrival() {
    let server = serve();
    server.fault_next(PATH, 1, Fault::HangUntilReleased);
    thread::scope(|scope| {
        let slow = scope.spawn(|| get(&server));
        assert!(server.wait_until(BOUND, |traffic| traffic.in_flight == 1));
        server.publish(PATH, b"newer".to_vec());
        assert_eq!(get(&server).unwrap().body, b"newer");
        server.release(PATH);
        assert_eq!(slow.join().unwrap().unwrap().body, ARCHIVE);
    });
}

#[test]
fn delays_and_timed_hangs_hold_the_answer_back() {
    let server = serve();
    server.publish("/other", b"other".to_vec());
    server.set_delay(Duration::from_millis(30));
    server.set_path_delay("/other", Duration::from_millis(60));
    let timed = |path| {
        let begin = std::time::Instant::now();
        assert_eq!(ClientRequest::get(path).send(server.addr()).unwrap().status, 200);
        begin.elapsed()
    };
    // Only lower bounds: a slow machine can add to them, and nothing can take away.
    assert!(timed(PATH) >= Duration::from_millis(30));
    assert!(timed("/other") >= Duration::from_millis(60));
    server.fault(PATH, Fault::Hang(Duration::from_millis(20)));
    assert!(timed(PATH) >= Duration::from_millis(50));
}

#[test]
fn a_counted_fault_passes() {
    let server = serve();
    server.fault_next(PATH, 2, Fault::Status(503));
    let statuses: Vec<_> = (0..4).map(|_| get(&server).unwrap().status).collect();
    assert_eq!(statuses, [503, 503, 200, 200]);
    assert_eq!(
        answers(&server),
        [503, 503, 200, 200].map(|status| Some(Answer::Status(status))),
        "the record says what was answered"
    );
}

#[test]
fn requests_are_recorded_as_they_came() {
    let server = serve();
    let request =
        ClientRequest::get(format!("{PATH}?a=1")).header("X-Odd", b"\xff").header("prefer", "wait=1");
    request.send(server.addr()).unwrap();
    let seen = &server.traffic().requests[0];
    assert_eq!((seen.method.as_str(), seen.path.as_str(), seen.query.as_deref()), ("GET", PATH, Some("a=1")));
    assert_eq!(
        (seen.header("x-odd"), seen.header("prefer")),
        (Some(b"\xff".as_slice()), Some(b"wait=1".as_slice()))
    );
    assert_eq!(server.traffic().count(PATH), 1);
}

#[test]
fn the_maximum_in_flight_is_kept_for_ever_and_since_a_reset() {
    let server = serve();
    server.fault_next(PATH, 5, Fault::HangUntilReleased);
    thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(|| get(&server).unwrap());
        }
        assert!(server.wait_until(BOUND, |traffic| traffic.in_flight == 5));
        server.release(PATH);
    });
    assert!(server.wait_until(BOUND, |traffic| traffic.in_flight == 0));
    server.reset_counters();
    get(&server).unwrap();
    let traffic = server.traffic();
    assert_eq!((traffic.max_in_flight, traffic.max_in_flight_ever), (1, 5));
    assert_eq!((traffic.since_reset().len(), traffic.requests.len()), (1, 6));
}

#[test]
fn a_client_that_leaves_is_no_longer_in_flight() {
    let server = serve();
    server.fault(PATH, Fault::HangUntilReleased);
    let mut connection = Connection::open(server.addr()).unwrap();
    connection.send(&ClientRequest::get(PATH)).unwrap();
    assert!(server.wait_until(BOUND, |traffic| traffic.in_flight == 1));
    drop(connection);
    assert!(server.wait_until(BOUND, |traffic| traffic.in_flight == 0));
    assert_eq!(answers(&server), [Some(Answer::Abandoned)]);
}

#[test]
fn one_connection_carries_many_requests() {
    let server = serve();
    let mut connection = Connection::open(server.addr()).unwrap();
    for _ in 0..3 {
        connection.send(&ClientRequest::get(PATH)).unwrap();
    }
    for _ in 0..3 {
        assert_eq!(connection.receive("GET").unwrap().body, ARCHIVE);
    }
}

#[test]
fn a_dropped_server_is_gone_with_its_connections() {
    let server = serve();
    let addr = server.addr();
    server.fault(PATH, Fault::HangUntilReleased);
    let mut connection = Connection::open(addr).unwrap();
    connection.send(&ClientRequest::get(PATH)).unwrap();
    assert!(server.wait_until(BOUND, |traffic| traffic.in_flight == 1));
    drop(server);
    assert!(connection.receive("GET").is_err());
    assert!(matches!(Connection::open(addr), Err(ClientError::Connect { .. })));
}

#[test]
#[should_panic(expected = "cannot answer with status 100")]
fn a_status_that_ends_no_request_is_refused() {
    serve().fault(PATH, Fault::Status(100));
}

fn serve() -> BundleServer {
    let server = BundleServer::start().unwrap();
    server.publish(PATH, ARCHIVE.to_vec());
    server
}

fn get(server: &BundleServer) -> Result<ClientResponse, ClientError> {
    ClientRequest::get(PATH).send(server.addr())
}

/// What became of the requests, once those are recorded whose connections have ended.
fn answers(server: &BundleServer) -> Vec<Option<Answer>> {
    server.traffic().requests.iter().map(|request| request.answer).collect()
}
