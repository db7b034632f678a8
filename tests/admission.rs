//! The two places of the filter in a chain, natively: what the first leaves for the second, and what the second makes of it.

use portcullis_filter::plugin::Pass;
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

#[test]
fn the_second_place_seals_what_goes_to_a_route_of_the_policy_that_permitted_it() {
    let mut native = Native::load(&Table::read("decisions"));
    let allowed = request("true");
    let Ok(Pass::Permitted { mark, permit }) = native.admit(None, Some(&allowed), None) else {
        panic!("denied")
    };
    assert_eq!(permit.request_changes(), []);
    for policy in [None, Some("asked")] {
        // Without a look at the request: the policy has been asked.
        assert_eq!(
            native.admit(Some(mark.as_bytes()), None, policy),
            Ok(Pass::Sealed { permit: None }),
            "{policy:?}"
        );
    }
    let refused = native.admit(Some(mark.as_bytes()), None, Some("sets")).unwrap_err();
    assert_eq!(refused.status, 500, "another policy's route, and the host gives no headers");
}

#[test]
fn another_policys_route_is_decided_by_that_policy_which_may_not_send_it_on() {
    let mut native = Native::load(&Table::read("decisions"));
    let Ok(Pass::Permitted { mark, .. }) = native.admit(None, Some(&request("true")), Some("computed"))
    else {
        panic!("denied")
    };
    let mark = mark.as_bytes();
    assert!(matches!(
        native.admit(Some(mark), Some(&request("true")), None),
        Ok(Pass::Sealed { permit: Some(_) })
    ));
    assert_eq!(native.admit(Some(mark), Some(&request("false")), None).unwrap_err().status, 403);
    let sends_on = request("{\"allowed\": true, \"headers\": {\"x-tier\": \"gold\"}}");
    let refused = native.admit(Some(mark), Some(&sends_on), None).unwrap_err();
    assert_eq!(
        (refused.status, refused.headers.last().map(|(_, reason)| reason.as_str())),
        (500, Some("malformed_decision"))
    );
    let mut there_already = sends_on;
    there_already.headers.push(("x-tier".to_owned(), Text::Text("gold".to_owned())));
    assert!(matches!(native.admit(Some(mark), Some(&there_already), None), Ok(Pass::Sealed { .. })));
    assert_eq!(native.admit(Some(mark), Some(&request("true")), Some("nobody")).unwrap_err().status, 503);
}

#[test]
fn what_another_configuration_has_marked_is_decided_again_and_what_is_no_mark_is_decided() {
    let mut native = Native::load(&Table::read("decisions"));
    let foreign = b"permitted 0000000000000001 asked";
    assert!(matches!(
        native.admit(Some(foreign), Some(&request("true")), None),
        Ok(Pass::Sealed { permit: Some(_) })
    ));
    assert_eq!(native.admit(Some(foreign), Some(&request("false")), None).unwrap_err().status, 403);
    for state in [&b"granted"[..], b"", b"permitted", b"\xff"] {
        assert!(
            matches!(native.admit(Some(state), Some(&request("true")), None), Ok(Pass::Permitted { .. })),
            "{state:?}"
        );
    }
    assert_eq!(native.admit(None, None, None).unwrap_err().status, 500);
}
