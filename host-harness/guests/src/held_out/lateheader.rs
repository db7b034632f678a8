//! Exchanges a session cookie for a token, which goes to the upstream.
//! Fault: the request is let go before the token stands in it.
use proxy_wasm::traits::*;
use proxy_wasm::types::*;
use std::time::Duration;

pub(super) fn root(_: u32) -> Box<dyn proxy_wasm::traits::RootContext> {
    Box::new(SessionRoot { cluster: "sessions".into() })
}

struct SessionRoot {
    cluster: String,
}
impl Context for SessionRoot {}
impl RootContext for SessionRoot {
    fn on_configure(&mut self, _: usize) -> bool {
        if let Some(bytes) = self.get_plugin_configuration()
            && let Ok(text) = String::from_utf8(bytes)
            && !text.trim().is_empty()
            && !text.contains('{')
        {
            self.cluster = text.trim().to_string();
        }
        true
    }
    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Session { cluster: self.cluster.clone() }))
    }
    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

struct Session {
    cluster: String,
}
impl HttpContext for Session {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let session = self.get_http_request_header("cookie").unwrap_or_default();
        self.set_http_request_header("x-session-token", None);
        let head = vec![
            (":method", "POST"),
            (":path", "/exchange"),
            (":authority", "sessions"),
            ("cookie", session.as_str()),
        ];
        match self.dispatch_http_call(&self.cluster, head, None, vec![], Duration::from_secs(1)) {
            Ok(_) => Action::Pause,
            Err(_) => {
                self.send_http_response(503, vec![], None);
                Action::Pause
            }
        }
    }
}
impl Context for Session {
    fn on_http_call_response(&mut self, _: u32, headers: usize, size: usize, _: usize) {
        if (headers > 0).then(|| self.get_http_call_response_header(":status")).flatten().as_deref()
            != Some("200")
        {
            self.send_http_response(401, vec![], None);
            return;
        }
        let token = self.get_http_call_response_body(0, size).unwrap_or_default();
        let token: String =
            token.iter().filter(|b| b.is_ascii_alphanumeric()).map(|b| *b as char).take(64).collect();
        if super::faulty() {
            self.resume_http_request();
            self.set_http_request_header("x-session-token", Some(&token));
        } else {
            self.set_http_request_header("x-session-token", Some(&token));
            self.resume_http_request();
        }
    }
}
