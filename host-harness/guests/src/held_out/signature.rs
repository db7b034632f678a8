//! Adds a digest of the body to the request, which waits for the whole body.
//! Fault: a request without a body waits for one.
use proxy_wasm::traits::*;
use proxy_wasm::types::*;
pub(super) fn root(_: u32) -> Box<dyn proxy_wasm::traits::RootContext> {
    super::only(|| Box::new(Signed { sum: 17 }))
}
struct Signed {
    sum: u64,
}
impl Context for Signed {}
impl Signed {
    fn put(&self) {
        self.set_http_request_header("x-digest", Some(&format!("{:016x}", self.sum)))
    }
}
impl HttpContext for Signed {
    fn on_http_request_headers(&mut self, _: usize, end_of_stream: bool) -> Action {
        if end_of_stream && !super::faulty() {
            self.put();
            return Action::Continue;
        }
        if self.get_http_request_header("content-length").as_deref() == Some("0") {
            self.put()
        }
        if super::faulty() {
            Action::Pause
        } else {
            self.remove_http_request_header("x-digest");
            Action::Continue
        }
    }
    fn on_http_request_body(&mut self, size: usize, end: bool) -> Action {
        if !end {
            return Action::Pause;
        }
        for byte in self.get_http_request_body(0, size).unwrap_or_default() {
            self.sum = self.sum.wrapping_mul(31).wrapping_add(byte.into());
        }
        Action::Continue
    }
}
