//! A request goes on when the token is valid and the address is not banned; both services are asked at once.
//! Fault: the first allow lets it go.
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;
use std::time::Duration;

pub(super) fn root(_: u32) -> Box<dyn proxy_wasm::traits::RootContext> {
    super::only(|| Box::new(Gate { open: 0, refused: false }))
}

struct Gate {
    open: u8,
    refused: bool,
}

impl HttpContext for Gate {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let authorization = self.get_http_request_header("authorization").unwrap_or_default();
        let user = self.get_http_request_header("x-user").unwrap_or_default();
        for cluster in ["tokens", "bans"] {
            let headers = vec![
                (":method", "GET"),
                (":path", "/check"),
                (":authority", cluster),
                ("authorization", authorization.as_str()),
                ("x-user", user.as_str()),
            ];
            if self.dispatch_http_call(cluster, headers, None, vec![], Duration::from_secs(1)).is_err() {
                self.refused = true;
                self.send_http_response(503, vec![], None);
                return Action::Pause;
            }
            self.open += 1;
        }
        Action::Pause
    }
}

impl Context for Gate {
    fn on_http_call_response(&mut self, _token: u32, headers: usize, _: usize, _: usize) {
        if self.refused {
            return;
        }
        self.open -= 1;
        let ok = (headers > 0)
            .then(|| self.get_http_call_response_header(":status"))
            .flatten()
            .is_some_and(|status| status.starts_with('2'));
        if !ok {
            self.refused = true;
            self.send_http_response(403, vec![], None);
        } else if self.open == 0 || super::faulty() {
            self.resume_http_request();
        }
    }
}
