//! What is asked once it is quiet, and in how many ways.

use std::time::Duration;

use crate::envoy::{Protocol, Request};

/// A request that is asked in the end, for a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Probe {
    /// Number of the rule, in the scenario.
    pub rule: usize,
    /// The worker that is asked.
    pub worker: usize,
    /// Which time it is asked.
    pub time: Time,
}

/// Which time a worker is asked the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Time {
    /// The first.
    First,
    /// Once more, to see what differs by itself.
    Again,
    /// Once more, with the body in pieces, whose end comes alone.
    InPieces,
    /// Once more, with the body in one piece that is its end as well.
    AtOnce,
    /// Once more, where the last of the filter's calls is answered first.
    LastFirst,
    /// At last, while every call of the filter fails.
    Down,
}

/// How long one question may take.
pub(in crate::race) const PROBE_TIME: Duration = Duration::from_secs(60);
/// Most bytes of a piece. A body that is shorter comes in two.
const PIECE_BYTES: usize = 7;
/// Time between two pieces.
const PIECE_INTERVAL: Duration = Duration::from_millis(1);

// === impl Time ===

impl Time {
    /// How a body came then, in words.
    pub(super) fn of_a_body(self) -> &'static str {
        match self {
            Time::First | Time::Again | Time::LastFirst | Time::Down => "whole",
            Time::InPieces => "in pieces",
            Time::AtOnce => "with its end in the same piece",
        }
    }
}

/// The request with its body in other pieces, where it has enough of one.
pub(super) fn in_other_pieces(request: &Request) -> Vec<(Time, Request)> {
    let length = request.body.as_ref().map_or(0, Vec::len);
    if length < 2 {
        return Vec::new();
    }
    let pieces = Request {
        protocol: Protocol::Http1,
        chunk_size_bytes: PIECE_BYTES.min(length / 2),
        chunk_interval: PIECE_INTERVAL,
        ..request.clone()
    };
    let at_once = Request { protocol: Protocol::Http2, chunk_size_bytes: length, ..request.clone() };
    vec![(Time::InPieces, pieces), (Time::AtOnce, at_once)]
}
