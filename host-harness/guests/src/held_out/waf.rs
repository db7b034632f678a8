//! Refuses bodies that contain a script.
//! Fault: each piece is looked at for itself, so a word that two pieces share is not seen.
use proxy_wasm::traits::*;
use proxy_wasm::types::*;

const WORDS: [&[u8]; 3] = [b"script", b"union select", b"value"];

pub(super) fn root(_: u32) -> Box<dyn proxy_wasm::traits::RootContext> {
    super::only(|| Box::new(Waf { seen: 0 }))
}
struct Waf {
    seen: usize,
}
impl Context for Waf {}
impl Waf {
    fn is_bad(&self, bytes: &[u8]) -> bool {
        WORDS.iter().any(|word| bytes.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word)))
    }
}
impl HttpContext for Waf {
    fn on_http_request_body(&mut self, size: usize, end: bool) -> Action {
        if super::faulty() {
            // What was buffered already has been looked at.
            let piece = self.get_http_request_body(self.seen, size - self.seen.min(size)).unwrap_or_default();
            self.seen = size;
            if self.is_bad(&piece) {
                self.send_http_response(400, vec![("x-waf", "body")], None);
                return Action::Pause;
            }
            return if end { Action::Continue } else { Action::Pause };
        }
        if !end {
            return Action::Pause;
        }
        let body = self.get_http_request_body(0, size).unwrap_or_default();
        if self.is_bad(&body) {
            self.send_http_response(400, vec![("x-waf", "body")], None);
            return Action::Pause;
        }
        Action::Continue
    }
}
