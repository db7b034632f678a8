//! At most two requests of a worker are under way at once.
//! Fault: a request whose client leaves early is never counted out.
use proxy_wasm::traits::*;
use proxy_wasm::types::*;
use std::{cell::Cell, rc::Rc};

pub(super) fn root(_: u32) -> Box<dyn proxy_wasm::traits::RootContext> {
    Box::new(Root { busy: Rc::new(Cell::new(0)) })
}
struct Root {
    busy: Rc<Cell<u32>>,
}
impl Context for Root {}
impl RootContext for Root {
    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Counted { busy: Rc::clone(&self.busy), is_in: false }))
    }
}
struct Counted {
    busy: Rc<Cell<u32>>,
    is_in: bool,
}
impl Counted {
    fn leave(&mut self) {
        if std::mem::take(&mut self.is_in) {
            self.busy.set(self.busy.get() - 1)
        }
    }
}
impl Context for Counted {
    fn on_done(&mut self) -> bool {
        if !super::faulty() {
            self.leave()
        }
        true
    }
}
impl HttpContext for Counted {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let limit = 2;
        if self.busy.get() >= limit {
            self.send_http_response(503, vec![("retry-after", "1")], Some(b"busy"));
            return Action::Pause;
        }
        self.busy.set(self.busy.get() + 1);
        self.is_in = true;
        Action::Continue
    }
    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        self.leave();
        Action::Continue
    }
}
