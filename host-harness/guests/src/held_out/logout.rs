//! Sessions are looked up once and remembered; DELETE ends a session.
//! Fault: only the worker that saw the end forgets the session.
use proxy_wasm::{traits::*, types::*};
use std::{cell::RefCell, collections::HashMap, rc::Rc, time::Duration};

type Sessions = Rc<RefCell<HashMap<String, Vec<u8>>>>;

pub(super) fn root(_: u32) -> Box<dyn proxy_wasm::traits::RootContext> {
    Box::new(SessionRoot(Sessions::default()))
}
struct SessionRoot(Sessions);
impl Context for SessionRoot {}
impl RootContext for SessionRoot {
    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Session { known: self.0.clone(), user: String::new(), epoch: vec![] }))
    }
}
struct Session {
    known: Sessions,
    user: String,
    epoch: Vec<u8>,
}
impl Session {
    fn key(&self) -> String {
        format!("logout/{}", self.user)
    }
}
impl HttpContext for Session {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let Some(user) = self.get_http_request_header("x-user") else { return Action::Continue };
        self.user = user;
        self.epoch = self.get_shared_data(&self.key()).0.unwrap_or_default();
        if self.get_http_request_header(":method").as_deref() == Some("DELETE") {
            self.known.borrow_mut().remove(&self.user);
            if !super::faulty() {
                loop {
                    let (epoch, cas) = self.get_shared_data(&self.key());
                    let next = epoch.map_or(1, |e| e.len() as u64 + 1);
                    let value = vec![b'.'; (next % 64) as usize];
                    if self.set_shared_data(&self.key(), Some(&value), cas.or(Some(u32::MAX))).is_ok() {
                        break;
                    }
                }
            }
            self.send_http_response(204, vec![], None);
            return Action::Pause;
        }
        let is_known = match self.known.borrow().get(&self.user) {
            Some(_) if super::faulty() => true,
            Some(epoch) => *epoch == self.epoch,
            None => false,
        };
        if is_known {
            return Action::Continue;
        }
        let path = format!("/sessions/{}", self.user);
        let head = vec![(":method", "GET"), (":path", path.as_str()), (":authority", "sessions")];
        if self.dispatch_http_call("sessions", head, None, vec![], Duration::from_secs(1)).is_err() {
            self.send_http_response(503, vec![], None);
        }
        Action::Pause
    }
}
impl Context for Session {
    fn on_http_call_response(&mut self, _: u32, headers: usize, _: usize, _: usize) {
        if (headers > 0).then(|| self.get_http_call_response_header(":status")).flatten().as_deref()
            == Some("200")
        {
            self.known.borrow_mut().insert(self.user.clone(), self.epoch.clone());
            self.resume_http_request();
        } else {
            self.send_http_response(401, vec![], None);
        }
    }
}
