//! Looks up the tenant of a user in a directory service and passes it on in a header.
//! Fault: who is being looked up stands in one place for the whole VM.
use log::warn;
use proxy_wasm::{
    traits::{Context, HttpContext},
    types::Action,
};
use std::{cell::RefCell, time::Duration};

thread_local! { static LOOKED_UP: RefCell<String> = const { RefCell::new(String::new()) }; }

pub(super) fn root(_: u32) -> Box<dyn proxy_wasm::traits::RootContext> {
    super::only(|| Box::new(Tenant { user: String::new() }))
}

struct Tenant {
    user: String,
}

impl HttpContext for Tenant {
    fn on_http_request_headers(&mut self, _n: usize, _eos: bool) -> Action {
        let Some(user) = self.get_http_request_header("x-user") else { return Action::Continue };
        self.user = user.clone();
        LOOKED_UP.with_borrow_mut(|place| *place = user.clone());
        let path = format!("/directory/{user}");
        let head = vec![(":method", "GET"), (":path", path.as_str()), (":authority", "directory")];
        match self.dispatch_http_call("directory", head, None, vec![], Duration::from_millis(800)) {
            Ok(_) => Action::Pause,
            Err(status) => {
                warn!("directory: {status:?}");
                Action::Continue
            }
        }
    }
}

impl Context for Tenant {
    fn on_http_call_response(&mut self, _token: u32, headers: usize, body_size: usize, _trailers: usize) {
        let known = (headers > 0)
            .then(|| self.get_http_call_response_header(":status"))
            .flatten()
            .is_some_and(|status| status == "200");
        if known {
            let user = if super::faulty() { LOOKED_UP.with_borrow(String::clone) } else { self.user.clone() };
            self.set_http_request_header("x-verified-user", Some(&user));
            self.set_http_request_header("x-directory-bytes", Some(&body_size.to_string()));
        }
        self.resume_http_request();
    }
}
