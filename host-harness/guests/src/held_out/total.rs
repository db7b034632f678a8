//! The number of requests of all workers, kept in shared data for a status page.
//! Fault: each worker writes its own number over those of the others.
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::*;
use std::cell::Cell;
use std::rc::Rc;

pub(super) fn root(_: u32) -> Box<dyn proxy_wasm::traits::RootContext> {
    Box::new(Totals(Rc::default()))
}
struct Totals(Rc<Cell<u64>>);
impl Context for Totals {}
impl RootContext for Totals {
    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(One(self.0.clone())))
    }
}
struct One(Rc<Cell<u64>>);
impl Context for One {}
impl HttpContext for One {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        if self.get_http_request_header(":path").as_deref() == Some("/status") {
            let total = self.get_shared_data("requests").0.unwrap_or_default();
            self.send_http_response(200, vec![], Some(&total));
            return Action::Pause;
        }
        self.0.set(self.0.get() + 1);
        if super::faulty() {
            let _ = self.set_shared_data("requests", Some(self.0.get().to_string().as_bytes()), None);
            return Action::Continue;
        }
        let mut cas = Some(u32::MAX);
        let mut total = 0u64;
        while self.set_shared_data("requests", Some((total + 1).to_string().as_bytes()), cas).is_err() {
            let (text, number) = self.get_shared_data("requests");
            total = text.and_then(|t| String::from_utf8(t).ok()).and_then(|t| t.parse().ok()).unwrap_or(0);
            cas = number;
        }
        Action::Continue
    }
}
