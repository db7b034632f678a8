//! The two places of the filter in a chain, natively: what the first leaves for the second, and what the second makes of it.

use portcullis_filter::{
    authz::{LocalResponse, SEAL_VALUE},
    plugin::Pass,
};
use portcullis_tests::{
    native::Native,
    table::{CaseRequest, Table, Text},
};

fn request(decision: &str) -> CaseRequest {
    CaseRequest {
        headers: vec![("x-decision".to_owned(), Text::Text(decision.to_owned()))],
        ..CaseRequest::default()
    }
}

/// What came of a request: its status; whether the seal opens; whether a decision was made for it here.
fn came_of(admitted: Result<Pass, LocalResponse>) -> (u16, bool, bool) {
    match admitted {
        Ok(pass) => (200, pass.state() == SEAL_VALUE, pass.permit().is_some()),
        Err(response) => (response.status, false, true),
    }
}

#[test]
fn the_second_place_seals_what_goes_to_a_route_of_the_policy_that_permitted_it() {
    let mut native = Native::load(&Table::read("decisions"));
    let pass = native.admit(None, Some(&request("true")), None).unwrap();
    let mark = Some(pass.state().as_bytes());
    assert_eq!(came_of(Ok(pass.clone())), (200, false, true));
    for policy in [None, Some("asked")] {
        // Without a look at the request: the policy has been asked.
        assert_eq!(came_of(native.admit(mark, None, policy)), (200, true, false), "{policy:?}");
    }
    let refused = native.admit(mark, None, Some("sets"));
    assert_eq!(came_of(refused).0, 500, "another policy's route, and the host gives no headers");
}

#[test]
fn another_policys_route_is_decided_by_that_policy_which_may_not_send_it_on() {
    let mut native = Native::load(&Table::read("decisions"));
    let pass = native.admit(None, Some(&request("true")), Some("computed")).unwrap();
    let mark = Some(pass.state().as_bytes());
    assert_eq!(came_of(native.admit(mark, Some(&request("true")), None)), (200, true, true));
    assert_eq!(came_of(native.admit(mark, Some(&request("false")), None)).0, 403);
    let sends_on = request("{\"allowed\": true, \"headers\": {\"x-tier\": \"gold\"}}");
    let refused = native.admit(mark, Some(&sends_on), None).unwrap_err();
    assert_eq!(refused.headers.last().map(|(_, reason)| reason.as_str()), Some("malformed_decision"));
    let mut there_already = sends_on;
    there_already.headers.push(("x-tier".to_owned(), Text::Text("gold".to_owned())));
    assert_eq!(came_of(native.admit(mark, Some(&there_already), None)), (200, true, true));
    assert_eq!(came_of(native.admit(mark, Some(&request("true")), Some("nobody"))).0, 503);
}

#[test]
fn what_another_configuration_has_marked_is_decided_again_and_what_is_no_mark_is_decided() {
    let mut native = Native::load(&Table::read("decisions"));
    let foreign = Some(&b"permitted 0000000000000001 asked"[..]);
    assert_eq!(came_of(native.admit(foreign, Some(&request("true")), None)), (200, true, true));
    assert_eq!(came_of(native.admit(foreign, Some(&request("false")), None)).0, 403);
    for state in [&b"granted"[..], b"", b"permitted", b"\xff"] {
        let admitted = native.admit(Some(state), Some(&request("true")), None);
        assert_eq!(came_of(admitted), (200, false, true), "{state:?}");
    }
    assert_eq!(came_of(native.admit(None, None, None)).0, 500);
}
