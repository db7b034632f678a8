//! What guests and the host logged.

use std::{fmt::Write, time::Duration};

use super::{core::Core, vms::VmRole};
use crate::{
    abi::{Status, Trap},
    steps::trap_cause,
};

/// Most characters of a guest's message that a sentence repeats.
const MESSAGE_CHARACTERS: usize = 300;

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Which VM it is about.
    pub vm: VmRole,
    /// Who wrote it.
    pub source: LogSource,
    /// Its level; Envoy's `critical` is an error here.
    pub level: log::Level,
    /// What was written, with replacement characters where it was no text.
    pub message: String,
    /// When.
    pub at: Duration,
}

/// Who wrote a line of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogSource {
    /// The guest, by `proxy_log` or by printing.
    Guest,
    /// The host: a trap, a callback that said no, a function that is not here.
    Host,
}

/// Envoy's numbers of levels, from trace = 0 to critical = 5.
pub(super) fn level_from_number(number: u32) -> log::Level {
    match number {
        0 => log::Level::Trace,
        1 => log::Level::Debug,
        2 => log::Level::Info,
        3 => log::Level::Warn,
        _ => log::Level::Error,
    }
}

/// The number of a level.
pub(super) fn level_to_number(level: log::Level) -> u32 {
    match level {
        log::Level::Trace => 0,
        log::Level::Debug => 1,
        log::Level::Info => 2,
        log::Level::Warn => 3,
        log::Level::Error => 4,
    }
}

// === impl Core ===

impl Core {
    /// Why a VM failed, in one line: what wasmtime says, what the guest logged itself, as it does when it panics, and which
    /// hostcall was refused right before.
    pub(super) fn trap_in_words(&self, role: VmRole, trap: &Trap) -> String {
        let whole = trap.to_string();
        // The frames follow in the trace.
        let line = trap_cause(&whole);
        // No time passes within a callback, so what was logged earlier was said of something else.
        let now = self.now();
        let said = |line: &&LogLine| {
            let of_guest = line.vm == role && line.source == LogSource::Guest;
            // Rust says how to get a backtrace after it has said why it panicked.
            let is_hint = line.message.starts_with("note: run with");
            of_guest && line.level == log::Level::Error && line.at == now && !is_hint
        };
        let mut words = format!("{line} on {}", role.slot());
        if let Some(said) = self.logs.iter().rev().find(said) {
            _ = write!(words, "; it logged `{}`", on_one_line(&said.message));
        }
        if let Some((function, code)) = trap.refused {
            let status =
                Status::try_from(code).map_or_else(|_| code.to_string(), |status| status.to_string());
            _ = write!(words, "; right before, `{function}` was answered: {status}");
        }
        words
    }
}

/// The message without line breaks: Rust says where it panicked in the first line, and why in the second. Of a crate's file
/// stands the path within the registry.
fn on_one_line(message: &str) -> String {
    let lines: Vec<&str> = message.lines().map(str::trim).collect();
    let mut line = lines.join(" ");
    if let Some((before, after)) = line.split_once("/registry/src/")
        && let Some((_, within)) = after.split_once('/')
    {
        let before = before.rsplit_once(' ').map_or("", |(before, _)| before);
        line = format!("{before} {within}");
    }
    match line.char_indices().nth(MESSAGE_CHARACTERS) {
        None => line,
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_envoys_numbers() {
        for number in 0..=4 {
            assert_eq!(level_to_number(level_from_number(number)), number);
        }
        assert_eq!(level_from_number(5), log::Level::Error);
    }

    #[test]
    fn a_panic_of_rust_is_one_line_without_the_registry() {
        let said = "panicked at /root/.cargo/registry/src/index.crates.io-1949cf8c/proxy-wasm-0.2.5/src/hostcalls.rs:267:23:\nunexpected status: 2";
        assert_eq!(
            on_one_line(said),
            "panicked at proxy-wasm-0.2.5/src/hostcalls.rs:267:23: unexpected status: 2"
        );
        assert_eq!(on_one_line("panicked at src/lib.rs:1:2:\nno"), "panicked at src/lib.rs:1:2: no");
        assert_eq!(on_one_line(&"x".repeat(400)).chars().count(), MESSAGE_CHARACTERS + 1);
    }
}
