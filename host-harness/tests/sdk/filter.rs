//! A filter that answers each path with another part of the Rust SDK. It is compiled against several versions of the SDK,
//! which differ in a few signatures; the feature `abi_0_1_0` is for the one that speaks ABI 0.1.0.

use std::time::{Duration, UNIX_EPOCH};

use proxy_wasm::{hostcalls, traits::*, types::*};

/// The plugin: what it was configured with, and the queue that it consumes.
struct Root {
    greeting: String,
    queue: Option<u32>,
}

/// One stream.
struct Http {
    greeting: String,
    path: String,
}

#[cfg(feature = "abi_0_1_0")]
#[no_mangle]
pub extern "C" fn _start() {
    start();
}

#[cfg(not(feature = "abi_0_1_0"))]
proxy_wasm::main! {{ start(); }}

fn start() {
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::new(Root { greeting: String::new(), queue: None }));
}

impl Context for Root {
    fn on_done(&mut self) -> bool {
        log::info!("the plugin is done");
        true
    }
}

impl RootContext for Root {
    fn on_vm_start(&mut self, _: usize) -> bool {
        self.set_tick_period(Duration::from_secs(1));
        self.queue = Some(self.register_shared_queue("events"));
        true
    }

    fn on_configure(&mut self, size: usize) -> bool {
        #[cfg(feature = "abi_0_1_0")]
        let configuration = self.get_configuration();
        #[cfg(not(feature = "abi_0_1_0"))]
        let configuration = self.get_plugin_configuration();
        let configuration = configuration.unwrap_or_default();
        self.greeting = String::from_utf8_lossy(&configuration).into_owned();
        configuration.len() == size && !configuration.is_empty()
    }

    fn on_tick(&mut self) {
        count(self, "ticks");
    }

    fn on_queue_ready(&mut self, queue: u32) {
        assert_eq!(Some(queue), self.queue);
        while let Ok(Some(item)) = self.dequeue_shared_queue(queue) {
            self.set_shared_data("last item", Some(&item), None).unwrap();
        }
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Http { greeting: self.greeting.clone(), path: String::new() }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

impl Http {
    fn request_headers(&mut self) -> Action {
        self.path = self.get_http_request_header(":path").unwrap_or_default();
        match self.path.as_str() {
            "/headers" => {
                let before = self.get_http_request_headers().len();
                self.add_http_request_header("x-count", &before.to_string());
                self.set_http_request_header("x-replaced", Some("new"));
                self.set_http_request_header("x-secret", None);
                return Action::Continue;
            }
            "/all-headers" => {
                let mut headers = self.get_http_request_headers_bytes();
                headers.push(("x-raw".to_owned(), b"\xff\x00\x01".to_vec()));
                let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
                self.set_http_request_headers_bytes(headers);
                return Action::Continue;
            }
            "/local" => self.respond(418, &[("x-local", "yes")], "short and stout"),
            "/call" | "/resume" => self.call(),
            "/grpc" => self.grpc(),
            "/shared" => {
                let count = count(self, "requests");
                let stale = self.set_shared_data("requests", Some(b"0"), Some(u32::MAX));
                self.respond(200, &[], &format!("{count} {:?} {:?}", stale, self.get_shared_data("nothing")));
            }
            "/queue" => {
                let queue = self.resolve_shared_queue("", "events").unwrap();
                for item in ["first", "second"] {
                    self.enqueue_shared_queue(queue, Some(item.as_bytes())).unwrap();
                }
                let unknown = self.resolve_shared_queue("elsewhere", "events");
                self.respond(200, &[], &format!("{unknown:?}"));
            }
            "/state" => {
                let text = |key| String::from_utf8(self.get_shared_data(key).0.unwrap_or_default()).unwrap();
                self.respond(200, &[], &format!("{} ticks, {}", text("ticks"), text("last item")));
            }
            "/metrics" => {
                let counter = hostcalls::define_metric(MetricType::Counter, "sdk_counter").unwrap();
                let gauge = hostcalls::define_metric(MetricType::Gauge, "sdk_gauge").unwrap();
                let histogram = hostcalls::define_metric(MetricType::Histogram, "sdk_histogram").unwrap();
                hostcalls::increment_metric(counter, 3).unwrap();
                hostcalls::record_metric(gauge, 7).unwrap();
                hostcalls::increment_metric(gauge, -2).unwrap();
                hostcalls::record_metric(histogram, 11).unwrap();
                let read = |metric| hostcalls::get_metric(metric);
                self.respond(200, &[], &format!("{:?} {:?}", read(counter), read(gauge)));
            }
            "/properties" => {
                let text = |path: &[&str]| {
                    self.get_property(path.to_vec()).map(|value| String::from_utf8_lossy(&value).into_owned())
                };
                self.set_property(vec!["mine"], Some(b"set"));
                let values = [
                    text(&["plugin_name"]),
                    text(&["request", "method"]),
                    text(&["wasm", "mine"]).or(text(&["mine"])),
                    text(&["no", "such"]),
                ];
                self.respond(200, &[], &format!("{values:?}"));
            }
            "/time" => {
                let now = self.get_current_time().duration_since(UNIX_EPOCH).unwrap();
                self.respond(200, &[], &now.as_secs().to_string());
            }
            "/log" => {
                log::trace!("too low");
                log::error!("an error of {}", self.greeting);
                println!("standard output");
                eprintln!("standard error");
                return Action::Continue;
            }
            "/panic" => panic!("as it was asked to"),
            _ => return Action::Continue,
        }
        Action::Pause
    }

    fn response_headers(&mut self) -> Action {
        self.add_http_response_header("x-greeting", &self.greeting);
        if self.path == "/body" {
            self.set_http_response_header("content-length", None);
        }
        Action::Continue
    }

    fn respond(&self, status: u32, headers: &[(&str, &str)], body: &str) {
        self.send_http_response(status, headers.to_vec(), Some(body.as_bytes()));
    }

    fn call(&self) {
        let headers =
            vec![(":method", "POST"), (":path", "/ask"), (":authority", "side.test"), ("x-from", "sdk")];
        let sent = self.dispatch_http_call(
            "side",
            headers,
            Some(b"question"),
            vec![("x-trailer", "end")],
            Duration::from_secs(2),
        );
        sent.unwrap();
        let refused = self.dispatch_http_call("no-such", vec![], None, vec![], Duration::from_secs(1));
        assert!(refused.is_err());
    }

    fn grpc(&self) {
        let sent = self.dispatch_grpc_call(
            "side",
            "portcullis.Test",
            "Ask",
            vec![("x-from", b"sdk")],
            Some(b"question"),
            Duration::from_secs(2),
        );
        sent.unwrap();
    }
}

impl Context for Http {
    fn on_http_call_response(&mut self, _: u32, headers: usize, body_size: usize, trailers: usize) {
        if headers == 0 {
            self.respond(504, &[], "no answer");
            return;
        }
        let status = self.get_http_call_response_header(":status").unwrap();
        assert_eq!(self.get_http_call_response_headers().len(), headers);
        assert_eq!(self.get_http_call_response_trailers().len(), trailers);
        let body = self.get_http_call_response_body(0, body_size).unwrap_or_default();
        if self.path == "/resume" {
            self.set_http_request_header("x-side", Some(&status));
            self.resume_http_request();
        } else {
            self.respond(200, &[("x-side", &status)], &String::from_utf8_lossy(&body));
        }
    }

    fn on_grpc_call_response(&mut self, _: u32, status: u32, size: usize) {
        let message = self.get_grpc_call_response_body(0, size).unwrap_or_default();
        let text = format!("{status} {}", String::from_utf8_lossy(&message));
        self.respond(200, &[], &text);
    }
}

impl HttpContext for Http {
    #[cfg(feature = "abi_0_1_0")]
    fn on_http_request_headers(&mut self, _: usize) -> Action {
        self.request_headers()
    }

    #[cfg(not(feature = "abi_0_1_0"))]
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        self.request_headers()
    }

    fn on_http_request_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        if self.path != "/body" {
            return Action::Continue;
        }
        if !end_of_stream {
            return Action::Pause;
        }
        let body = self.get_http_request_body(0, size).unwrap_or_default();
        self.set_http_request_body(0, size, &body.to_ascii_uppercase());
        Action::Continue
    }

    fn on_http_request_trailers(&mut self, _: usize) -> Action {
        if let Some(value) = self.get_http_request_trailer("x-trailer") {
            self.add_http_request_trailer("x-seen", &value);
        }
        Action::Continue
    }

    #[cfg(feature = "abi_0_1_0")]
    fn on_http_response_headers(&mut self, _: usize) -> Action {
        self.response_headers()
    }

    #[cfg(not(feature = "abi_0_1_0"))]
    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        self.response_headers()
    }

    fn on_http_response_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        if self.path != "/body" {
            return Action::Continue;
        }
        if !end_of_stream {
            return Action::Pause;
        }
        let body = self.get_http_response_body(0, size).unwrap_or_default();
        let answer = [b"<", body.as_slice(), b">"].concat();
        self.set_http_response_body(0, size, &answer);
        Action::Continue
    }

    fn on_log(&mut self) {
        if self.path == "/log" {
            log::info!("the stream is over");
        }
    }
}

/// Adds one to a shared counter, as many times as it takes, and gives it.
fn count(context: &dyn Context, key: &str) -> u32 {
    loop {
        let (value, cas) = context.get_shared_data(key);
        let value = value.map_or(0, |value| String::from_utf8(value).unwrap().parse::<u32>().unwrap());
        let next = (value + 1).to_string();
        if context.set_shared_data(key, Some(next.as_bytes()), cas).is_ok() {
            return value + 1;
        }
    }
}
