//! Counts what was seen by all workers, and reports it in a header of each response.
//! Fault: a compare-and-swap that was refused is not done again.
use proxy_wasm::traits::*;
use proxy_wasm::types::*;

const TOTAL: &str = "stats.total";

pub(super) fn root(_: u32) -> Box<dyn proxy_wasm::traits::RootContext> {
    Box::new(Stats)
}

struct Stats;
impl Context for Stats {}
impl RootContext for Stats {
    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Seen))
    }
}

struct Seen;
impl Context for Seen {}

fn add_one(context: &Seen) {
    let attempts = if super::faulty() { 1 } else { 100 };
    for _ in 0..attempts {
        let (bytes, cas) = context.get_shared_data(TOTAL);
        let total = bytes.and_then(|b| b.try_into().ok()).map(u64::from_le_bytes).unwrap_or(0);
        match context.set_shared_data(TOTAL, Some(&(total + 1).to_le_bytes()), cas) {
            Ok(()) => return,
            Err(_) => continue,
        }
    }
}

impl HttpContext for Seen {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        // An absent key is made first, so that there is a number to compare with.
        if self.get_shared_data(TOTAL).0.is_none() {
            let _ = self.set_shared_data(TOTAL, Some(&0u64.to_le_bytes()), Some(u32::MAX));
        }
        add_one(self);
        Action::Continue
    }
}
