//! Local replies: answers that are made in Envoy and not by the upstream.
//!
//! Source: Envoy `source/common/http/filter_manager.cc` (`sendLocalReply`) and `utility.cc` (`prepareLocalReply`). Before
//! there are response headers, a reply goes through the plugin like any response; after, it goes straight to the client
//! in place of them; once they are out, it can only cut the connection.

use super::{
    core::Core,
    exchange::{AnsweredBy, StreamId},
    headers::HeaderMap,
    schedule::TurnKind,
    stream::{Direction, Stream},
    turn::{Boxed, Turn},
    vms::AfterCall,
};
use crate::abi::{Headers, LocalResponse, VmIndex};

const MAX_GRPC_STATUS: i32 = 16;

/// An answer that is made here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    status: u32,
    body: Vec<u8>,
    headers: Headers,
    grpc_status: Option<i32>,
    details: String,
    by: AnsweredBy,
}

// === impl Reply ===

impl Reply {
    /// An answer of Envoy's own.
    pub(super) fn envoy(status: u32, body: &str, details: &str) -> Reply {
        Reply {
            status,
            body: body.as_bytes().to_vec(),
            headers: Headers::new(),
            grpc_status: None,
            details: details.to_owned(),
            by: AnsweredBy::Envoy,
        }
    }

    fn guest(response: LocalResponse, details: &[u8]) -> Reply {
        Reply {
            status: response.status,
            body: response.body,
            headers: response.headers,
            grpc_status: (0..=MAX_GRPC_STATUS)
                .contains(&response.grpc_status)
                .then_some(response.grpc_status),
            details: String::from_utf8_lossy(details).replace(char::is_whitespace, "_"),
            by: AnsweredBy::LocalResponse,
        }
    }

    /// Headers and body as they go to the client. A gRPC request gets its status in headers, and no body.
    fn into_response(self, to_grpc: bool) -> (Headers, Vec<u8>) {
        let mut headers = Headers::new();
        if to_grpc {
            let grpc_status = self.grpc_status.unwrap_or_else(|| grpc_status_of(self.status));
            headers.add(b":status", b"200");
            headers.add(b"content-type", b"application/grpc");
            headers.add(b"grpc-status", grpc_status.to_string().as_bytes());
            if !self.body.is_empty() {
                headers.add(b"grpc-message", &percent_encoded(&self.body));
            }
            for (name, value) in &self.headers {
                headers.add(name, value);
            }
            return (headers, Vec::new());
        }
        headers.add(b":status", self.status.to_string().as_bytes());
        // The status is set again at the end, whatever the other headers say.
        for (name, value) in self.headers.iter().filter(|(name, _)| name != b":status") {
            headers.add(name, value);
        }
        if !self.body.is_empty() {
            headers.replace(b"content-length", self.body.len().to_string().as_bytes());
            if headers.first(b"content-type").is_none() {
                headers.add(b"content-type", b"text/plain");
            }
        }
        (headers, self.body)
    }
}

/// Source: Envoy `source/common/grpc/status.cc` `httpToGrpcStatus`.
pub(super) fn grpc_status_of(http_status: u32) -> i32 {
    match http_status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    }
}

/// Source: Envoy `source/common/http/utility.cc` `PercentEncoding::encode`: what is not visible ASCII, and `%`.
fn percent_encoded(text: &[u8]) -> Vec<u8> {
    let encode = |byte: &u8| match byte {
        b'%' | 0..b' ' | 0x7f.. => format!("%{byte:02X}").into_bytes(),
        _ => vec![*byte],
    };
    text.iter().flat_map(encode).collect()
}

impl Core {
    /// Says so where an answer that a filter waits for refuses a request which the same filter has let go for another answer:
    /// the upstream has got it.
    fn check_for_late_refusal(&mut self, id: StreamId, status: u32) {
        let Some(turn) = self.exploration.as_ref().and_then(|exploration| exploration.running) else {
            return;
        };
        let answers = matches!(turn.kind, TurnKind::Response | TurnKind::Timeout | TurnKind::Grpc);
        let is_gone =
            |stream: &&Stream| stream.let_go && stream.upstream_call.is_some() && !stream.response.begun;
        if !answers || !self.streams.get(&id).is_some_and(|stream| is_gone(&stream)) {
            return;
        }
        let request = self.stream_names.get(&id.0).cloned().unwrap_or_default();
        let message = format!(
            "what a filter has let go it must not refuse, and `{request}` is answered {status} for the answer to a call when the \
             upstream has it already: wait for all answers that decide"
        );
        self.violations.push(("late-refusal", message));
    }
}

impl Turn {
    /// Answers a stream because its plugin asked for it.
    pub(super) async fn guest_reply(&mut self, vm: VmIndex, id: StreamId, response: LocalResponse) {
        self.core_mut().check_for_late_refusal(id, response.status);
        // Of several replies in a callback of the request the first is sent, but the last one's details are logged.
        // Elsewhere each is sent at once, the second in the callbacks of the first and in place of it.
        // Source: Envoy `source/common/http/filter_manager.cc` (`sendLocalReply`, `IsDecodingMask`).
        if !self.core().streams.get(&id).is_some_and(|stream| stream.deciding) {
            let details = response.details.clone();
            return self.reply(id, Reply::guest(response, &details)).await;
        }
        let later = self.core().vms[vm].after_call.iter().rev().find_map(|action| match action {
            AfterCall::LocalResponse { stream, response } if *stream == id => Some(response.details.clone()),
            _ => None,
        });
        let details = later.unwrap_or_else(|| response.details.clone());
        // Reported of the first, the guest must not find the others still to be sent.
        self.core_mut().vms[vm]
            .after_call
            .retain(|after| !matches!(after, AfterCall::LocalResponse { stream, .. } if *stream == id));
        self.reply(id, Reply::guest(response, &details)).await;
    }

    /// Answers a stream from here.
    pub(super) fn reply(&mut self, id: StreamId, reply: Reply) -> Boxed<'_> {
        Box::pin(async move {
            let Some(stream) = self.core_mut().streams.get_mut(&id).filter(|stream| !stream.finished) else {
                return;
            };
            stream.details.clone_from(&reply.details);
            if stream.response.headers_passed {
                return self.finish(id, true).await;
            }
            stream.answered_by = Some(reply.by);
            let content_type = stream.request.headers.first(b"content-type").unwrap_or_default();
            let to_grpc = content_type.starts_with(b"application/grpc");
            let (headers, body) = reply.into_response(to_grpc);
            let direct = stream.response.begun;
            stream.replying = true;
            stream.response.restart(headers);
            if let Some(call) = stream.upstream_call.take() {
                self.core_mut().abandon(call);
            }
            if direct {
                self.headers_out(id, Direction::Response, body.is_empty()).await;
                if !body.is_empty() {
                    self.data_out(id, Direction::Response, body, true).await;
                }
            } else {
                self.on_headers(id, Direction::Response, body.is_empty()).await;
                if !body.is_empty() {
                    self.on_data(id, Direction::Response, body, true).await;
                }
            }
        })
    }

    /// Answers 503 because a filter's VM failed under this stream.
    pub(super) async fn fail_filter(&mut self, id: StreamId, at: usize) {
        let stream = self.core_mut().streams.get_mut(&id);
        let Some(filter) = stream.and_then(|stream| stream.filters.get_mut(at)) else {
            return;
        };
        if !std::mem::replace(&mut filter.failed, true) {
            self.reply(id, Reply::envoy(503, "", "wasm_fail_stream")).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_has_a_length_and_is_plain_text_unless_it_says_otherwise() {
        let (headers, body) = Reply::envoy(403, "no", "").into_response(false);
        assert_eq!(body, b"no");
        assert_eq!(headers.first(b"content-type"), Some(b"text/plain".as_slice()));
        assert_eq!(headers.first(b"content-length"), Some(b"2".as_slice()));
        let (headers, _) = guest(&[("Content-Type", "application/json")]).into_response(false);
        assert_eq!(headers.joined(b"content-type"), Some(b"application/json".to_vec()));
    }

    #[test]
    fn a_grpc_request_gets_200_and_its_status_in_headers() {
        let (headers, body) = Reply::envoy(403, "no", "").into_response(true);
        assert!(body.is_empty());
        assert_eq!(headers.first(b":status"), Some(b"200".as_slice()));
        assert_eq!(headers.first(b"grpc-status"), Some(b"7".as_slice()));
        assert_eq!(headers.first(b"grpc-message"), Some(b"no".as_slice()));
    }

    #[test]
    fn a_grpc_message_is_percent_encoded() {
        let (headers, _) = Reply::envoy(403, "a b%\n\u{e9}", "").into_response(true);
        assert_eq!(headers.first(b"grpc-message"), Some(b"a b%25%0A%C3%A9".as_slice()));
    }

    #[test]
    fn white_space_in_details_becomes_underscores() {
        assert_eq!(Reply::guest(response(&[]), b"not ready\nyet").details, "not_ready_yet");
    }

    fn guest(headers: &[(&str, &str)]) -> Reply {
        Reply::guest(response(headers), b"")
    }

    fn response(headers: &[(&str, &str)]) -> LocalResponse {
        LocalResponse {
            status: 403,
            details: Vec::new(),
            body: b"{}".to_vec(),
            headers: headers.iter().map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec())).collect(),
            grpc_status: -1,
        }
    }
}
