//! Asks an auth service about each request and remembers the answers.
//! Fault: the answer is remembered for the path alone, and not for who asked.
use proxy_wasm::traits::*;
use proxy_wasm::types::*;
use std::{cell::RefCell, collections::HashMap, rc::Rc, time::Duration};

type Cache = Rc<RefCell<HashMap<String, bool>>>;

pub(super) fn root(_: u32) -> Box<dyn proxy_wasm::traits::RootContext> {
    Box::new(AuthRoot::default())
}

#[derive(Default)]
struct AuthRoot {
    cache: Cache,
}
impl Context for AuthRoot {}
impl RootContext for AuthRoot {
    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(AuthFilter { cache: self.cache.clone(), key: String::new() }))
    }
}

struct AuthFilter {
    cache: Cache,
    key: String,
}

impl AuthFilter {
    fn deny(&self) {
        self.send_http_response(403, vec![("x-auth", "denied")], Some(b"forbidden"));
    }
}

impl HttpContext for AuthFilter {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let path = self.get_http_request_header(":path").unwrap_or_default();
        let credential = self.get_http_request_header("authorization").unwrap_or_default();
        self.key = if super::faulty() { path.clone() } else { format!("{path}\n{credential}") };
        match self.cache.borrow().get(&self.key) {
            Some(true) => return Action::Continue,
            Some(false) => {
                self.deny();
                return Action::Pause;
            }
            None => {}
        }
        let sent = self.dispatch_http_call(
            "authz",
            vec![
                (":method", "GET"),
                (":path", &path),
                (":authority", "authz"),
                ("authorization", &credential),
            ],
            None,
            vec![],
            Duration::from_secs(1),
        );
        if sent.is_err() {
            self.send_http_response(503, vec![], None);
        }
        Action::Pause
    }
}
impl Context for AuthFilter {
    fn on_http_call_response(&mut self, _: u32, headers: usize, _: usize, _: usize) {
        match (headers > 0).then(|| self.get_http_call_response_header(":status")).flatten().as_deref() {
            Some("200") => {
                self.cache.borrow_mut().insert(self.key.clone(), true);
                self.resume_http_request();
            }
            Some("401") | Some("403") => {
                self.cache.borrow_mut().insert(self.key.clone(), false);
                self.deny();
            }
            _ => self.send_http_response(503, vec![], None),
        }
    }
}
