//! Every request leaves a record in a shared queue; one VM sends the records to a collector, one at a time.
//! Fault: a notification that comes while a record is being sent is forgotten.
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType};
use std::time::Duration;

pub(super) fn root(_: u32) -> Box<dyn proxy_wasm::traits::RootContext> {
    Box::new(Shipper { queue: 0, sending: None })
}

struct Shipper {
    queue: u32,
    sending: Option<u32>,
}

impl Shipper {
    fn send_next(&mut self) {
        if self.sending.is_some() {
            return;
        }
        let Ok(Some(record)) = self.dequeue_shared_queue(self.queue) else { return };
        let call = self.dispatch_http_call(
            "collector",
            vec![
                (":method", "POST"),
                (":path", "/records"),
                (":authority", "collector"),
                ("content-type", "text/plain"),
            ],
            Some(&record),
            vec![],
            Duration::from_secs(3),
        );
        match call {
            Ok(token) => self.sending = Some(token),
            Err(_) => {
                let _ = self.enqueue_shared_queue(self.queue, Some(&record));
            }
        }
    }
}

impl Context for Shipper {
    fn on_http_call_response(&mut self, token: u32, _: usize, _: usize, _: usize) {
        if self.sending == Some(token) {
            self.sending = None;
            if !super::faulty() {
                self.send_next();
            }
        }
    }
}

impl RootContext for Shipper {
    fn on_configure(&mut self, _: usize) -> bool {
        self.queue = self.register_shared_queue("audit");
        if !super::faulty() {
            self.set_tick_period(Duration::from_secs(1));
        }
        true
    }
    fn on_tick(&mut self) {
        self.send_next();
    }
    fn on_queue_ready(&mut self, queue: u32) {
        if queue == self.queue {
            self.send_next();
        }
    }
    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
    fn create_http_context(&self, _id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Audited { queue: self.queue }))
    }
}

struct Audited {
    queue: u32,
}
impl Context for Audited {}
impl HttpContext for Audited {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let method = self.get_http_request_header(":method").unwrap_or_default();
        let path = self.get_http_request_header(":path").unwrap_or_default();
        if let Err(status) =
            self.enqueue_shared_queue(self.queue, Some(format!("{method} {path}").as_bytes()))
        {
            log::error!("audit: {status:?}");
        }
        Action::Continue
    }
}
