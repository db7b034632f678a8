//! Fetches the block list once per tick; requests of who stands on it are refused.
//! Fault: a tick starts a fetch while one is under way, and the older answer may come last.
use proxy_wasm::{hostcalls, traits::*, types::*};
use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

#[derive(Default)]
struct BlockList {
    entries: Vec<String>,
    fetched: bool,
    of_fetch: u64,
}

pub(super) fn root(_: u32) -> Box<dyn proxy_wasm::traits::RootContext> {
    Box::new(Refresher { list: Rc::default(), under_way: BTreeMap::new(), fetches: 0 })
}

struct Refresher {
    list: Rc<RefCell<BlockList>>,
    under_way: BTreeMap<u32, u64>,
    fetches: u64,
}

impl RootContext for Refresher {
    fn on_configure(&mut self, _: usize) -> bool {
        self.set_tick_period(Duration::from_millis(500));
        true
    }
    fn on_tick(&mut self) {
        if !super::faulty() && !self.under_way.is_empty() {
            return;
        }
        self.fetches += 1;
        let headers = vec![(":method", "GET"), (":path", "/blocklist"), (":authority", "lists")];
        match self.dispatch_http_call("lists", headers, None, vec![], Duration::from_secs(5)) {
            Ok(token) => {
                self.under_way.insert(token, self.fetches);
            }
            Err(status) => {
                let _ = hostcalls::log(LogLevel::Error, &format!("fetch: {status:?}"));
            }
        }
    }
    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Blocker { list: Rc::clone(&self.list) }))
    }
}

impl Context for Refresher {
    fn on_http_call_response(&mut self, token: u32, headers: usize, size: usize, _: usize) {
        let Some(fetch) = self.under_way.remove(&token) else { return };
        if (headers > 0).then(|| self.get_http_call_response_header(":status")).flatten().as_deref()
            != Some("200")
        {
            return;
        }
        let body = self.get_http_call_response_body(0, size).unwrap_or_default();
        let mut list = self.list.borrow_mut();
        list.entries = String::from_utf8_lossy(&body).lines().map(str::to_owned).collect();
        list.fetched = true;
        list.of_fetch = fetch;
    }
}

struct Blocker {
    list: Rc<RefCell<BlockList>>,
}
impl Context for Blocker {}
impl HttpContext for Blocker {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let list = self.list.borrow();
        if !list.fetched {
            self.send_http_response(503, vec![("retry-after", "1")], Some(b"no list yet"));
            return Action::Pause;
        }
        let user = self.get_http_request_header("x-user").unwrap_or_default();
        if list.entries.contains(&user) {
            self.send_http_response(403, vec![], Some(b"blocked"));
            return Action::Pause;
        }
        Action::Continue
    }
}
