//! Requests wait for a verdict; who has waited too long is answered 504 by a timer.
//! Fault: who has been answered stays on the timer's list.
use proxy_wasm::{hostcalls, traits::*, types::*};
use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, SystemTime},
};

type Waiting = Rc<RefCell<Vec<(u32, SystemTime)>>>;

pub(super) fn root(id: u32) -> Box<dyn proxy_wasm::traits::RootContext> {
    Box::new(Timer { id, waiting: Waiting::default() })
}

struct Timer {
    id: u32,
    waiting: Waiting,
}
impl Context for Timer {}
impl RootContext for Timer {
    fn on_configure(&mut self, _: usize) -> bool {
        self.set_tick_period(Duration::from_millis(50));
        true
    }
    fn on_tick(&mut self) {
        let now = self.get_current_time();
        let late: Vec<u32> = {
            let mut waiting = self.waiting.borrow_mut();
            let late = waiting.iter().filter(|(_, until)| *until <= now).map(|(id, _)| *id).collect();
            waiting.retain(|(_, until)| *until > now);
            late
        };
        for id in late {
            hostcalls::set_effective_context(id).unwrap();
            hostcalls::send_http_response(504, vec![], Some(b"no verdict in time")).unwrap();
        }
        let _ = hostcalls::set_effective_context(self.id);
    }
    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Pending { id, waiting: self.waiting.clone() }))
    }
}
struct Pending {
    id: u32,
    waiting: Waiting,
}
impl Pending {
    fn forget(&self) {
        self.waiting.borrow_mut().retain(|(id, _)| *id != self.id)
    }
}
impl HttpContext for Pending {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let head = vec![(":method", "GET"), (":path", "/verdict"), (":authority", "judge")];
        if self.dispatch_http_call("judge", head, None, vec![], Duration::from_secs(10)).is_err() {
            return Action::Continue;
        }
        let until = self.get_current_time() + Duration::from_millis(300);
        self.waiting.borrow_mut().push((self.id, until));
        Action::Pause
    }
}
impl Context for Pending {
    fn on_http_call_response(&mut self, _: u32, headers: usize, _: usize, _: usize) {
        if !super::faulty() {
            self.forget()
        }
        match (headers > 0).then(|| self.get_http_call_response_header(":status")).flatten().as_deref() {
            Some("200") => self.resume_http_request(),
            _ => self.send_http_response(403, vec![], None),
        }
    }
    fn on_done(&mut self) -> bool {
        if !super::faulty() {
            self.forget()
        }
        true
    }
}
