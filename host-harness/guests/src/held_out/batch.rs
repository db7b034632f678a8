//! Collects the requests of a short while and asks about all of them in one call.
//! Fault: a slot is used again for another request while the answer for the first is still to come.
use proxy_wasm::hostcalls;
use proxy_wasm::traits::*;
use proxy_wasm::types::*;
use std::{cell::RefCell, collections::HashMap, rc::Rc, time::Duration};

#[derive(Clone, Default)]
struct Slot {
    context: Option<u32>,
    user: String,
    asked: bool,
    uses: u64,
}
type Slots = Rc<RefCell<Vec<Slot>>>;

pub(super) fn root(id: u32) -> Box<dyn proxy_wasm::traits::RootContext> {
    Box::new(Batcher { id, slots: Slots::default(), calls: HashMap::new() })
}

struct Batcher {
    id: u32,
    slots: Slots,
    calls: HashMap<u32, Vec<(usize, u64)>>,
}

impl RootContext for Batcher {
    fn on_vm_start(&mut self, _: usize) -> bool {
        self.set_tick_period(Duration::from_millis(100));
        true
    }
    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
    fn create_http_context(&self, context: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Waiting { context, slots: self.slots.clone(), slot: None }))
    }
    fn on_tick(&mut self) {
        let mut asked = vec![];
        let mut users = String::new();
        for (number, slot) in self.slots.borrow_mut().iter_mut().enumerate() {
            if slot.context.is_some() && !slot.asked {
                slot.asked = true;
                asked.push((number, slot.uses));
                users.push_str(&slot.user);
                users.push('\n');
            }
        }
        if asked.is_empty() {
            return;
        }
        let head = vec![(":method", "POST"), (":path", "/batch"), (":authority", "authz")];
        match self.dispatch_http_call("authz", head, Some(users.as_bytes()), vec![], Duration::from_secs(2)) {
            Ok(token) => {
                self.calls.insert(token, asked);
            }
            Err(_) => self.finish(asked, false),
        }
    }
}

impl Batcher {
    fn finish(&self, asked: Vec<(usize, u64)>, allowed: bool) {
        for (number, uses) in asked {
            let context = {
                let mut slots = self.slots.borrow_mut();
                let slot = &mut slots[number];
                if !super::faulty() && slot.uses != uses {
                    continue;
                }
                slot.context.take()
            };
            let Some(context) = context else { continue };
            if hostcalls::set_effective_context(context).is_err() {
                continue;
            }
            if allowed {
                let _ = hostcalls::resume_http_request();
            } else {
                let _ = hostcalls::send_http_response(403, vec![], Some(b"not allowed"));
            }
        }
        let _ = hostcalls::set_effective_context(self.id);
    }
}

impl Context for Batcher {
    fn on_http_call_response(&mut self, token: u32, headers: usize, _: usize, _: usize) {
        let allowed =
            (headers > 0).then(|| self.get_http_call_response_header(":status")).flatten().as_deref()
                == Some("200");
        if let Some(asked) = self.calls.remove(&token) {
            self.finish(asked, allowed)
        }
    }
}

struct Waiting {
    context: u32,
    slots: Slots,
    slot: Option<usize>,
}
impl HttpContext for Waiting {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let user = self.get_http_request_header("x-user").unwrap_or_default();
        let mut slots = self.slots.borrow_mut();
        let free = slots.iter().position(|slot| slot.context.is_none());
        let number = free.unwrap_or_else(|| {
            slots.push(Slot::default());
            slots.len() - 1
        });
        let uses = slots[number].uses + 1;
        slots[number] = Slot { context: Some(self.context), user, asked: false, uses };
        self.slot = Some(number);
        Action::Pause
    }
}
impl Context for Waiting {
    fn on_done(&mut self) -> bool {
        if let Some(number) = self.slot {
            let slot = &mut self.slots.borrow_mut()[number];
            if slot.context == Some(self.context) {
                slot.context = None
            }
        }
        true
    }
}
