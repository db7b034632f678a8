//! Asks a feature service, again when that fails.
//! Fault: for ever, and at once.
use proxy_wasm::traits::*;
use proxy_wasm::types::*;
use std::time::Duration;

pub(super) fn root(_: u32) -> Box<dyn proxy_wasm::traits::RootContext> {
    super::only(|| Box::new(Feature { tries: 0 }))
}
struct Feature {
    tries: u32,
}
impl Feature {
    fn ask(&mut self) -> bool {
        self.tries += 1;
        let head = vec![(":method", "GET"), (":path", "/features"), (":authority", "features")];
        self.dispatch_http_call("features", head, None, vec![], Duration::from_millis(200)).is_ok()
    }
}
impl HttpContext for Feature {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        if self.ask() { Action::Pause } else { Action::Continue }
    }
}
impl Context for Feature {
    fn on_http_call_response(&mut self, _: u32, headers: usize, size: usize, _: usize) {
        let ok = (headers > 0).then(|| self.get_http_call_response_header(":status")).flatten().as_deref()
            == Some("200");
        let again = !ok && (super::faulty() || self.tries < 3);
        if again && self.ask() {
            return;
        }
        if ok {
            let _ = self.get_http_call_response_body(0, size);
            self.set_http_request_header("x-features", Some("known"));
        }
        self.resume_http_request();
    }
}
