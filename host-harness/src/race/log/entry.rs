//! A line in its two parts: what stands before the text, and the text, whatever Envoy and others have put around them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::head::Head;

pub(super) const TRANSITION: &str = "transition scope=";
/// Envoy's `source/server/server.cc`, on its main thread.
pub(super) const BEGINS: &str = "initializing epoch ";
pub(super) const MAIN_LOOP: &str = "starting main dispatch loop";
/// proxy-wasm-cpp-host's `src/v8/v8.cc`.
pub(super) const FAILED: &str = "Function: proxy_on_";
pub(super) const WANTED: [&str; 4] = [TRANSITION, BEGINS, MAIN_LOOP, FAILED];

/// How Envoy has written a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Default,
    Json,
    Other,
}

/// A line's text and what stands before it.
pub(super) struct Entry {
    pub(super) form: Form,
    pub(super) head: Head,
    pub(super) text: String,
}

/// The plugin, as its root id and its vm_id, and what stands behind `transition`.
///
/// Source: `Context::log` in Envoy's `source/extensions/common/wasm/context.cc` writes `wasm log`, then the root id and the
/// vm_id; in callbacks of streams the plugin's name stands before them (proxy-wasm-cpp-host's `src/context.cc`,
/// `makeRootLogPrefix` and `makeLogPrefix`). Each may be empty.
pub(super) fn transition(text: &str) -> Option<(String, &str)> {
    let (plugin, message) = text.strip_prefix("wasm log")?.split_once(": ")?;
    let fields = message.strip_prefix("transition ")?;
    let words: Vec<&str> = plugin.split_whitespace().collect();
    let words = words.get(words.len().saturating_sub(2)..).unwrap_or_default();
    fields.starts_with("scope=").then(|| (words.join(" "), fields))
}

// === impl Entry ===

impl Entry {
    pub(super) fn read(line: &[u8]) -> Option<Entry> {
        match line.iter().position(|byte| !byte.is_ascii_whitespace()) {
            Some(at) if line.get(at) == Some(&b'{') => Entry::json(line).or_else(|| Some(Entry::plain(line))),
            _ => Some(Entry::plain(line)),
        }
    }

    fn plain(line: &[u8]) -> Entry {
        let text = |from: usize| String::from_utf8_lossy(line.get(from..).unwrap_or_default()).into_owned();
        let head = Head::read(line);
        if let Some(end) = head.end {
            return Entry { form: Form::Default, text: text(end), head };
        }
        let find = |part: &str| line.windows(part.len()).position(|window| window == part.as_bytes());
        let at = find("wasm log").or_else(|| find(FAILED)).unwrap_or(line.len());
        let head = Head::read(line.get(..at).unwrap_or_default());
        Entry { form: Form::Other, text: text(at), head }
    }

    /// Envoy's log in JSON, or a container runtime's JSON with Envoy's lines in it.
    fn json(line: &[u8]) -> Option<Entry> {
        let fields: BTreeMap<String, Value> = serde_json::from_slice(line).ok()?;
        let texts = || fields.values().filter_map(Value::as_str);
        let wanted = texts().find(|text| WANTED.iter().any(|wanted| text.contains(wanted)))?;
        let mut entry = Entry::plain(wanted.trim_end().as_bytes());
        if entry.form != Form::Default {
            entry.form = Form::Json;
            if !entry.text.starts_with("wasm log") {
                entry.text = wanted.to_owned();
            }
        }
        let mut times =
            texts().filter(|text| *text != wanted).filter_map(|text| Head::read(text.as_bytes()).time);
        entry.head.time = entry.head.time.or_else(|| times.next());
        let named = fields.iter().find(|(key, _)| {
            ["thread", "threadid", "thread_id", "tid", "t"].contains(&key.to_ascii_lowercase().as_str())
        });
        let thread = named.and_then(|(_, value)| value.as_u64().or_else(|| value.as_str()?.parse().ok()));
        entry.head.thread = entry.head.thread.or(thread);
        Some(entry)
    }
}
