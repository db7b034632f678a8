//! One worker of the process announces it to a registry, once.
//! Fault: who finds no announcer becomes it, without looking whether somebody was quicker.
use proxy_wasm::traits::*;
use proxy_wasm::types::*;
use std::time::Duration;

pub(super) fn root(_: u32) -> Box<dyn proxy_wasm::traits::RootContext> {
    Box::new(Announcer { is_leader: false, asked: false })
}

struct Announcer {
    is_leader: bool,
    asked: bool,
}
impl Announcer {
    fn elect(&self) -> bool {
        let (holder, _) = self.get_shared_data("announcer");
        if holder.is_some() {
            return false;
        }
        let me = format!("{:?}", self.get_current_time());
        let cas = if super::faulty() { None } else { Some(u32::MAX) };
        self.set_shared_data("announcer", Some(me.as_bytes()), cas).is_ok()
    }
}
impl RootContext for Announcer {
    fn on_configure(&mut self, _: usize) -> bool {
        self.set_tick_period(Duration::from_millis(200));
        true
    }
    fn on_tick(&mut self) {
        if !self.asked {
            self.asked = true;
            self.is_leader = self.elect();
        }
        if self.is_leader {
            let head = vec![(":method", "PUT"), (":path", "/instances/self"), (":authority", "registry")];
            if self.dispatch_http_call("registry", head, Some(b"up"), vec![], Duration::from_secs(1)).is_ok()
            {
                self.is_leader = false;
            }
        }
    }
    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Pass))
    }
}
impl Context for Announcer {}
struct Pass;
impl Context for Pass {}
impl HttpContext for Pass {}
