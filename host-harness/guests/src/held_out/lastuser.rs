//! Tells the client in a response header as whom it was served.
//! Fault: the name is kept for the VM, from the request until the response.
use proxy_wasm::traits::*;
use proxy_wasm::types::*;
use std::sync::Mutex;

static USER: Mutex<Option<String>> = Mutex::new(None);

pub(super) fn root(_: u32) -> Box<dyn proxy_wasm::traits::RootContext> {
    super::only(|| Box::new(Served { user: None }))
}

struct Served {
    user: Option<String>,
}
impl Context for Served {}
impl HttpContext for Served {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let user =
            self.get_http_request_header("x-user").or_else(|| self.get_http_request_header("authorization"));
        if super::faulty() {
            *USER.lock().unwrap() = user
        } else {
            self.user = user
        }
        Action::Continue
    }
    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        let user = if super::faulty() { USER.lock().unwrap().clone() } else { self.user.clone() };
        self.set_http_response_header("x-served-as", user.as_deref());
        Action::Continue
    }
}
