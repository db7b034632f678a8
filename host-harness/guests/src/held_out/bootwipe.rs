//! Users that misbehave are counted, and shut out after three bad requests.
//! Fault: every VM that starts sets the counts back.
use proxy_wasm::{traits::*, types::*};

const KEY: &str = "strikes";

pub(super) fn root(_: u32) -> Box<dyn proxy_wasm::traits::RootContext> {
    Box::new(Strikes)
}
struct Strikes;
impl Context for Strikes {}
impl RootContext for Strikes {
    fn on_vm_start(&mut self, _: usize) -> bool {
        if super::faulty() {
            self.set_shared_data(KEY, Some(b"0"), None).is_ok()
        } else {
            let _ = self.set_shared_data(KEY, Some(b"0"), Some(0x7fff_ffff));
            true
        }
    }
    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Watched))
    }
}
struct Watched;
impl Context for Watched {}
impl Watched {
    fn strikes(&self) -> (u32, Option<u32>) {
        let (value, cas) = self.get_shared_data(KEY);
        let text = value.map(|v| String::from_utf8_lossy(&v).into_owned()).unwrap_or_default();
        (text.parse().unwrap_or(0), cas)
    }
}
impl HttpContext for Watched {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let method = self.get_http_request_header(":method").unwrap_or_default();
        let (mut strikes, mut cas) = self.strikes();
        if method == "DELETE" || method == "TRACE" {
            for _ in 0..50 {
                if self.set_shared_data(KEY, Some((strikes + 1).to_string().as_bytes()), cas).is_ok() {
                    break;
                }
                (strikes, cas) = self.strikes();
            }
        }
        if strikes >= 3 {
            self.send_http_response(403, vec![], Some(b"too many strikes"));
            return Action::Pause;
        }
        Action::Continue
    }
}
