//! A real Chromium without a window, driven over a pipe.
//!
//! The protocol is Chrome's DevTools protocol: messages in JSON, each ended by a zero byte, on file descriptors 3 and 4
//! (`--remote-debugging-pipe`). Waiting is for messages, never for time.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde_json::{Value, json};

use crate::tools::Tool;

/// What the browser says, in its folder.
const LOG: &str = "log";

/// A browser; it ends with this value.
pub(crate) struct Browser {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    directory: tempfile::TempDir,
    session: String,
    last_id: u64,
    /// What happened since the page was opened, besides answers.
    events: Vec<Value>,
}

/// The page that is open.
pub(crate) struct Page<'b> {
    browser: &'b mut Browser,
}

// === impl Browser ===

impl Browser {
    /// `None` where there is none, and need be none.
    pub(crate) fn start() -> Option<Self> {
        let program = Tool::Browser.find()?;
        let directory = tempfile::tempdir().unwrap();
        let log = File::create(directory.path().join(LOG)).unwrap();
        let mut child = Command::new("sh")
            .args(["-c", r#"exec "$@" 3<&0 4>&1 0</dev/null 1>&2"#, "sh"])
            .arg(&program)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
            ])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            // No name resolves, so nothing can be reached.
            .arg("--host-resolver-rules=MAP * ~NOTFOUND")
            .args(["--window-size=1280,800", "--remote-debugging-pipe"])
            .arg(format!("--user-data-dir={}", directory.path().join("profile").display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", program.display()));
        let to = child.stdin.take().unwrap();
        let from = BufReader::new(child.stdout.take().unwrap());
        let mut browser =
            Self { child, to, from, directory, session: String::new(), last_id: 0, events: Vec::new() };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}))["targetId"].clone();
        let attached = browser.call("Target.attachToTarget", json!({"targetId": target, "flatten": true}));
        browser.session = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Runtime", "Network", "Log", "Accessibility"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    /// Writes a file and opens it.
    pub(crate) fn open(&mut self, name: &str, content: &str, fragment: &str) -> Page<'_> {
        let path = self.directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        // Where only the fragment differs, a browser would not load anew.
        self.navigate("about:blank");
        self.events.clear();
        self.navigate(&format!("file://{}{fragment}", path.display()));
        Page { browser: self }
    }

    fn navigate(&mut self, url: &str) {
        self.events.retain(|event| event["method"] != "Page.loadEventFired");
        let answer = self.call("Page.navigate", json!({"url": url}));
        assert_eq!(answer["errorText"], Value::Null, "{url}");
        while !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let event = self.read();
            self.events.push(event);
        }
    }

    /// Asks for something and waits for the answer.
    fn call(&mut self, method: &str, params: Value) -> Value {
        self.last_id += 1;
        let id = self.last_id;
        let mut message = json!({"id": id, "method": method, "params": params});
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        // If it has ended, who reads finds that out, and why.
        let _ = self.to.write_all(message.to_string().as_bytes()).and_then(|()| self.to.write_all(&[0]));
        loop {
            let answer = self.read();
            if answer["id"] == id {
                assert_eq!(answer["error"], Value::Null, "{method}");
                return answer["result"].clone();
            }
            self.events.push(answer);
        }
    }

    fn read(&mut self) -> Value {
        let mut message = Vec::new();
        self.from.read_until(0, &mut message).unwrap();
        if message.pop() != Some(0) {
            let log = std::fs::read_to_string(self.directory.path().join(LOG)).unwrap_or_default();
            panic!("the browser has ended: {:?}\n{log}", self.child.wait());
        }
        serde_json::from_slice(&message).unwrap()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It ends by itself, with all its processes, when it is asked; if it is gone already, there is nothing to do.
        let close = json!({"id": self.last_id + 1, "method": "Browser.close"}).to_string();
        let _ = self.to.write_all(close.as_bytes()).and_then(|()| self.to.write_all(&[0]));
        let mut rest = Vec::new();
        let _ = std::io::Read::read_to_end(&mut self.from, &mut rest);
        let _ = self.child.wait();
    }
}

// === impl Page ===

impl Page<'_> {
    /// What an expression is, in the page.
    pub(crate) fn evaluate(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true});
        let answer = self.browser.call("Runtime.evaluate", params);
        assert_eq!(answer["exceptionDetails"], Value::Null, "{expression}");
        answer["result"]["value"].clone()
    }

    /// The text of the one element that a selector names.
    pub(crate) fn text(&mut self, selector: &str) -> String {
        let selector = json!(selector);
        let found =
            self.evaluate(&format!("[...document.querySelectorAll({selector})].map((e) => e.textContent)"));
        let found = found.as_array().unwrap();
        assert_eq!(found.len(), 1, "{selector} names {found:?}");
        found[0].as_str().unwrap().to_owned()
    }

    /// Presses a key and lets it go.
    pub(crate) fn press(&mut self, key: &str) {
        for kind in ["rawKeyDown", "keyUp"] {
            self.browser.call("Input.dispatchKeyEvent", json!({"type": kind, "key": key, "code": key}));
        }
    }

    /// `mouseMoved`, `mousePressed` or `mouseReleased` at a place.
    pub(crate) fn point(&mut self, kind: &str, x: f64, y: f64) {
        let button = if kind == "mouseMoved" { "none" } else { "left" };
        let params = json!({"type": kind, "x": x, "y": y, "button": button, "clickCount": 1});
        self.browser.call("Input.dispatchMouseEvent", params);
    }

    /// What the reader's system says of light and dark.
    pub(crate) fn prefer(&mut self, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.browser.call("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    /// What a screen reader is given.
    pub(crate) fn accessibility(&mut self) -> Vec<Value> {
        self.browser.call("Accessibility.getFullAXTree", json!({}))["nodes"].as_array().unwrap().clone()
    }

    /// Nothing but files was asked for, no script failed, nothing was refused and no dialog opened.
    pub(crate) fn finish(mut self) {
        // Events come before the answer to what is asked after them.
        self.evaluate("0");
        let events = &self.browser.events;
        let of = |method: &'static str| events.iter().filter(move |event| event["method"] == method);
        let asked: BTreeSet<&str> =
            of("Network.requestWillBeSent").filter_map(|e| e["params"]["request"]["url"].as_str()).collect();
        assert!(!asked.is_empty(), "the page itself was asked for");
        assert!(asked.iter().all(|url| url.starts_with("file:///")), "{asked:?}");
        for method in ["Runtime.exceptionThrown", "Log.entryAdded", "Page.javascriptDialogOpening"] {
            assert_eq!(of(method).next(), None);
        }
    }
}
