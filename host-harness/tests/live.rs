//! The live world: the same plugin against real servers on loopback, and against none.

mod common;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use common::{options, start_in, worker_said};
use host_harness::{
    envoy::{AnsweredBy, Envoy, Request},
    world::{Live, World},
};

/// Far more than loopback ever needs; the tests end as soon as what they wait for is there.
const PATIENCE: Duration = Duration::from_secs(60);

/// Calls `/a` of `hub` from on_configure of the worker, and tells what comes of it.
fn caller(timeout_ms: u32) -> String {
    r#"
      (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (if (i32.eq (call $count) (i32.const 3)) (then
          (call $fetch @"hub" @pairs(":method: GET; :path: /a?b; :authority: hub.test; x-a: 1") (i32.const TIMEOUT))))
        (i32.const 1))
      (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32)
        (call $say (local.get 1))
        (call $tell_header (i32.const 6) @":status")
        (call $tell_header (i32.const 6) @"etag")
        (call $tell_buffer (i32.const 4))
        (drop (call $get_status (i32.const 24) (i32.const 16) (i32.const 20)))
        (call $say (i32.load (i32.const 24))))
    "#
    .replace("TIMEOUT", &timeout_ms.to_string())
}

#[test]
fn a_real_server_is_called_and_its_answer_comes_back() {
    let (address, requests) = serve("HTTP/1.1 200 OK\r\nETag: \"7\"\r\nContent-Length: 6\r\n\r\nbundle");
    let envoy = answered(&caller(0), live("hub", address));
    assert!(!envoy.world().is_pending());
    assert_eq!(worker_said(&envoy), ["0", "4", "200", "\"7\"", "bundle", "0"]);
    let request = requests.join().unwrap();
    assert!(request.starts_with("GET /a?b HTTP/1.1\r\n"), "{request}");
    for header in ["host: hub.test\r\n", "x-a: 1\r\n", "x-envoy-internal: true\r\n"] {
        assert!(request.contains(header), "{request}");
    }
}

#[test]
fn a_port_that_nobody_listens_on_is_envoys_503() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let envoy = answered(&caller(0), live("hub", address));
    let said = worker_said(&envoy);
    assert_eq!(said[..4], ["0", "4", "503", "1"]);
    assert!(said[4].contains("remote connection failure"), "{said:?}");
}

#[test]
fn a_server_that_hangs_up_before_its_headers_is_envoys_503() {
    let (address, _requests) = serve("");
    let envoy = answered(&caller(0), live("hub", address));
    let said = worker_said(&envoy);
    assert_eq!(said[..4], ["0", "4", "503", "1"]);
    assert!(said[4].contains("connection termination"), "{said:?}");
}

#[test]
fn a_server_that_hangs_up_in_its_body_is_a_reset() {
    let (address, _requests) = serve("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nbun");
    let envoy = answered(&caller(0), live("hub", address));
    assert_eq!(worker_said(&envoy), ["0", "4", "2", "2", "1", "11"]);
}

#[test]
fn a_server_that_is_silent_is_envoys_504_after_the_time_limit() {
    // Connections are taken by the system and never by anyone else.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let envoy = answered(&caller(50), live("hub", listener.local_addr().unwrap()));
    assert_eq!(worker_said(&envoy), ["0", "4", "504", "1", "upstream request timeout", "0"]);
    assert!(!envoy.world().is_pending());
}

#[test]
fn a_header_that_cannot_be_written_is_a_failure_and_no_fault() {
    let (address, _requests) = serve("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let body = caller(0).replace("x-a: 1", "x-a: 1\r\nx-b: 2");
    let said = worker_said(&answered(&body, live("hub", address)));
    assert_eq!(said[2], "503");
}

#[test]
fn an_unknown_cluster_is_refused_inline() {
    let mut envoy = start_in(&caller(0), options(), Live::new().unwrap());
    envoy.run_for(Duration::from_millis(10));
    assert_eq!(worker_said(&envoy), ["2"]);
}

#[test]
fn a_request_reaches_a_real_upstream_with_its_body() {
    let (address, requests) = serve("HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok");
    let mut envoy = start_in("", options(), live("upstream", address));
    let exchange = envoy.exchange(0, Request::post("/p", "body"));
    assert_eq!((exchange.status, exchange.text().as_str()), (201, "ok"));
    assert_eq!(exchange.answered_by, Some(AnsweredBy::Upstream));
    assert!(requests.join().unwrap().ends_with("\r\n\r\nbody"));
}

#[test]
fn timers_run_on_the_real_clock() {
    let body = r#"
      (func (export "proxy_on_configure") (param i32 i32) (result i32) (drop (call $set_tick (i32.const 5))) (i32.const 1))
      (func (export "proxy_on_tick") (param i32) (call $tell @"tick"))
    "#;
    let mut envoy = start_in(body, options(), Live::new().unwrap());
    assert!(envoy.run_until(PATIENCE, |envoy| worker_said(envoy).len() >= 3));
    assert!(envoy.now() >= Duration::from_millis(15));
}

fn live(cluster: &str, address: SocketAddr) -> Live {
    Live::new().unwrap().cluster(cluster, address)
}

/// Starts and waits for the answer of the one call.
fn answered(body: &str, world: Live) -> Envoy<Live> {
    let mut envoy = start_in(body, options(), world);
    assert!(envoy.run_until(PATIENCE, |envoy| {
        let callbacks = &envoy.vms()[1].callbacks;
        callbacks.contains_key("proxy_on_http_call_response")
    }));
    envoy
}

/// A server that answers one request with these bytes and hangs up; gives the request that it saw.
fn serve(answer: &'static str) -> (SocketAddr, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let request = read_request(&stream);
        (&stream).write_all(answer.as_bytes()).unwrap();
        request
    });
    (address, server)
}

fn read_request(stream: &TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    let mut length = 0;
    loop {
        let start = request.len();
        reader.read_line(&mut request).unwrap();
        let line = request[start..].to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    request + &String::from_utf8_lossy(&body)
}
