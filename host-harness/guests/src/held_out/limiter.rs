//! At most so many requests of a user in a minute, over all workers.
//! Fault: the counter is written without a comparison.
use proxy_wasm::traits::*;
use proxy_wasm::types::*;
use std::time::{Duration, UNIX_EPOCH};

const PER_MINUTE: u32 = 2;

pub(super) fn root(_: u32) -> Box<dyn proxy_wasm::traits::RootContext> {
    super::only(|| Box::new(Limiter))
}

struct Window {
    minute: u64,
    used: u32,
}
impl Window {
    fn read(bytes: Option<Vec<u8>>, minute: u64) -> Window {
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
        let used = text.split_once(':').filter(|(of, _)| *of == minute.to_string());
        Window { minute, used: used.and_then(|(_, used)| used.parse().ok()).unwrap_or(0) }
    }
    fn text(&self) -> String {
        format!("{}:{}", self.minute, self.used)
    }
}

struct Limiter;
impl Context for Limiter {}
impl Limiter {
    fn minute(&self) -> u64 {
        self.get_current_time().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs() / 60
    }
    fn admit(&self, user: &str) -> bool {
        let key = format!("rl/{user}");
        let minute = self.minute();
        for _ in 0..32 {
            let (bytes, cas) = self.get_shared_data(&key);
            let cas = match (cas, super::faulty()) {
                (_, true) => None,
                // There is no way to compare with nothing: any number but the next makes the first writer win.
                (None, false) => {
                    let _ = self.set_shared_data(&key, Some(b"0:0"), Some(u32::MAX));
                    continue;
                }
                (some, false) => some,
            };
            let mut window = Window::read(bytes, minute);
            if window.used >= PER_MINUTE {
                return false;
            }
            window.used += 1;
            if self.set_shared_data(&key, Some(window.text().as_bytes()), cas).is_ok() {
                return true;
            }
        }
        false
    }
}
impl HttpContext for Limiter {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let user = self.get_http_request_header("x-user").unwrap_or_else(|| "-".into());
        if self.admit(&user) {
            return Action::Continue;
        }
        self.send_http_response(429, vec![("retry-after", "60")], Some(b"slow down"));
        Action::Pause
    }
}
