//! A request with an idempotency key goes upstream once; a second one is answered 409.
//! Fault: both may look before either writes.
use proxy_wasm::traits::*;
use proxy_wasm::types::*;
pub(super) fn root(_: u32) -> Box<dyn proxy_wasm::traits::RootContext> {
    super::only(|| Box::new(Once))
}
struct Once;
impl Context for Once {}
impl HttpContext for Once {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let key = self
            .get_http_request_header("idempotency-key")
            .or_else(|| self.get_http_request_header("x-user"));
        let Some(key) = key else { return Action::Continue };
        let path = self.get_http_request_header(":path").unwrap_or_default();
        let key = format!("once:{key}:{path}");
        let is_new = match super::faulty() {
            true => {
                let is_new = self.get_shared_data(&key).0.is_none();
                if is_new {
                    let _ = self.set_shared_data(&key, Some(b"seen"), None);
                }
                is_new
            }
            false => self.set_shared_data(&key, Some(b"seen"), Some(u32::MAX - 1)).is_ok(),
        };
        if is_new {
            return Action::Continue;
        }
        self.send_http_response(409, vec![], Some(b"already done"));
        Action::Pause
    }
}
