//! Runs of production, read from Envoy's log: what is read, what is checked, and what is drawn.
//!
//! `tests/logs/healthy.log` is written as Envoy 1.40 writes it, with three VMs and two bundles; in `phantom.log` one VM
//! does not adopt the last publication.

mod checking;
mod command;
mod drawing;
mod in_envoy;
mod reading;

use std::time::Duration;

use host_harness::race::log::{Checked, Log};

pub(crate) const HEALTHY: &str = include_str!("../../logs/healthy.log");
pub(crate) const PHANTOM: &str = include_str!("../../logs/phantom.log");

const PATIENCE: Duration = Duration::from_secs(5);
const MAIN: (u64, &str) = (4700, "51aa7e10");
const W0: (u64, &str) = (4711, "9f3c01aa");
const W1: (u64, &str) = (4712, "c7d20b35");

/// A log that is written line by line; times are seconds after 10:50:00.
#[derive(Default)]
struct Writer {
    text: String,
}

impl Writer {
    /// A line of Envoy's in its default format.
    fn line(&mut self, at: f64, thread: u64, text: &str) -> &mut Self {
        let millis = (at * 1000.0).round() as u64;
        let (minutes, seconds, millis) = (50 + millis / 60_000, millis / 1000 % 60, millis % 1000);
        let (hour, minute) = (10 + minutes / 60, minutes % 60);
        self.text.push_str(&format!(
            "[2026-11-21 {hour:02}:{minute:02}:{seconds:02}.{millis:03}][{thread}][info][wasm] [source/extensions/common/wasm/context.cc:1195] {text}\n"
        ));
        self
    }

    fn transition(&mut self, at: f64, thread: u64, fields: &str) -> &mut Self {
        self.line(at, thread, &format!("wasm log portcullis portcullis: transition {fields}"))
    }

    /// The registry has a generation of the bundle `shop`.
    fn current(&mut self, at: f64, vm: (u64, &str), generation: u64) -> &mut Self {
        self.registry(at, vm, &format!("bundle=shop from=claimed to=current generation={generation} epoch=1"))
    }

    fn registry(&mut self, at: f64, (thread, vm): (u64, &str), rest: &str) -> &mut Self {
        self.transition(at, thread, &format!("scope=registry vm={vm} on=response#1 {rest}"))
    }

    /// A VM serves a generation of the bundle `shop`.
    fn serves(&mut self, at: f64, vm: (u64, &str), generation: u64) -> &mut Self {
        self.vm(at, vm, &format!("bundle=shop from= to=serving generation={generation} epoch=1"))
    }

    fn vm(&mut self, at: f64, (thread, vm): (u64, &str), rest: &str) -> &mut Self {
        self.transition(at, thread, &format!("scope=vm vm={vm} on=tick#1 {rest}"))
    }

    /// The last line of the log, of no VM.
    fn end(&mut self, at: f64) -> &mut Self {
        self.line(at, MAIN.0, "flushing stats")
    }

    fn read(&self) -> Log {
        read(&self.text)
    }

    /// What was found, as sentences, the worst first.
    fn found(&self) -> Vec<String> {
        let log = self.read();
        let checked = log.check(PATIENCE);
        found(&log, &checked)
    }
}

fn read(text: &str) -> Log {
    Log::read(text.as_bytes(), "envoy.log").unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn found(log: &Log, checked: &Checked) -> Vec<String> {
    checked
        .departures
        .iter()
        .filter(|departure| departure.found)
        .map(|departure| departure.shown(log))
        .collect()
}

fn warnings(log: &Log) -> Vec<String> {
    log.warnings.iter().map(ToString::to_string).collect()
}
