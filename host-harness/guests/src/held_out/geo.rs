//! Adds the country of the client, from a lookup service.
//! Fault: when the lookup fails or takes too long, the request waits for ever.
use proxy_wasm::traits::*;
use proxy_wasm::types::*;
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    Idle,
    Asking(u32),
    Done,
}

pub(super) fn root(_: u32) -> Box<dyn proxy_wasm::traits::RootContext> {
    super::only(|| Box::new(Geo { phase: Phase::Idle }))
}

struct Geo {
    phase: Phase,
}

impl HttpContext for Geo {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let ip = self.get_http_request_header("x-forwarded-for").unwrap_or_else(|| "127.0.0.1".to_owned());
        let path = format!("/country/{ip}");
        match self.dispatch_http_call(
            "geo",
            vec![(":method", "GET"), (":path", &path), (":authority", "geo.internal")],
            None,
            vec![],
            Duration::from_millis(250),
        ) {
            Ok(token) => {
                self.phase = Phase::Asking(token);
                Action::Pause
            }
            Err(_) => {
                self.phase = Phase::Done;
                Action::Continue
            }
        }
    }
}

impl Context for Geo {
    fn on_http_call_response(&mut self, token: u32, headers: usize, size: usize, _: usize) {
        if self.phase != Phase::Asking(token) {
            return;
        }
        if super::faulty() && headers == 0 {
            log::warn!("no country: the lookup failed");
            return;
        }
        self.phase = Phase::Done;
        let body = self.get_http_call_response_body(0, size.min(64)).unwrap_or_default();
        let country: String =
            String::from_utf8_lossy(&body).chars().filter(char::is_ascii_alphanumeric).take(2).collect();
        if !country.is_empty() {
            self.set_http_request_header("x-country", Some(&country));
        }
        self.resume_http_request();
    }
}
