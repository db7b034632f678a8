//! A log as a `race/1` schedule: the order in which the VMs' turns came, as far as the log reports it.
//!
//! The names are those that the harness gives: threads in order of their numbers, a plugin's second VM on a thread with
//! a number. What the log does not say is left out: holds, and what requests and queues are called.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Log, Vm};
use crate::race::{
    schedule::{Schedule, Seen, Segment},
    trace::{Trace, TurnName},
};

/// A VM as the harness calls it.
struct Name {
    thread: String,
    /// What its ticks are about.
    subject: String,
    /// Whether it was not the first of its plugin on its thread.
    later: bool,
}

// === impl Log ===

impl Log {
    /// The schedule of a trace of this log: the turns of one Envoy, that of the first finding.
    #[must_use]
    pub fn schedule(&self, trace: &Trace) -> Schedule {
        let by_thread: HashMap<String, &Vm> = self.names().into_iter().zip(&self.vms).collect();
        let shown = trace.findings.first().and_then(|finding| trace.steps.get(finding.step.checked_sub(1)?));
        let first = shown.or(trace.steps.first()).and_then(|step| by_thread.get(&step.turn.thread));
        let process = first.map_or(0, |vm| vm.process);
        let names = self.harness_names(process);
        let mut schedule = Schedule { header: self.header(process, trace, &names), ..Schedule::default() };
        let named: HashMap<String, &Name> = self
            .names()
            .into_iter()
            .zip(&names)
            .filter_map(|(name, harness)| Some((name, harness.as_ref()?)))
            .collect();
        for step in &trace.steps {
            let Some(turn) = named.get(&step.turn.thread).and_then(|name| name.turn(&step.turn)) else {
                continue;
            };
            if schedule.segments.last().is_none_or(|last| last.turn != turn) {
                schedule.segments.push(Segment { turn, hold: None, faults: Vec::new(), seen: Vec::new() });
            }
            if let Some(segment) = schedule.segments.last_mut() {
                segment.seen.extend(Seen::of(step));
            }
        }
        schedule
    }

    fn header(&self, process: usize, trace: &Trace, names: &[Option<Name>]) -> Vec<(String, String)> {
        let mut header = vec![("log".to_owned(), self.name.clone())];
        let mut threads: BTreeMap<&str, Vec<&Vm>> = BTreeMap::new();
        for (vm, name) in self.vms.iter().zip(names) {
            if let Some(name) = name {
                threads.entry(&name.thread).or_default().push(vm);
            }
        }
        for (thread, vms) in threads {
            let number = vms.iter().find_map(|vm| vm.thread);
            let number = number.map_or("thread unknown".to_owned(), |number| format!("thread {number}"));
            let vms: Vec<&str> = vms.iter().map(|vm| &*vm.name).collect();
            header.push((thread.to_owned(), format!("{number}, vm {}", vms.join(", then "))));
        }
        if self.vms.iter().any(|vm| vm.process != process) {
            header.push(("left-out".to_owned(), "the turns of another Envoy in the same log".to_owned()));
        }
        if let Some(finding) = trace.findings.first() {
            header.push(("finding".to_owned(), finding.message.clone()));
        }
        header
    }

    /// For each VM of a process, what the harness calls it.
    fn harness_names(&self, process: usize) -> Vec<Option<Name>> {
        let own = || self.vms.iter().filter(|vm| vm.process == process);
        let numbers: BTreeSet<u64> = own().filter(|vm| !vm.main).filter_map(|vm| vm.thread).collect();
        let numbers: Vec<u64> = numbers.into_iter().collect();
        let plugins: BTreeSet<&str> = own().map(plugin).collect();
        let canaries = self.canaries();
        let mut unknown = numbers.len();
        let mut counts: HashMap<(String, &str), usize> = HashMap::new();
        let mut name = |vm: &Vm| {
            let worker = |number: usize| format!("w{number}");
            match vm.thread {
                _ if vm.main => "main".to_owned(),
                Some(thread) => worker(numbers.binary_search(&thread).unwrap_or_default()),
                None => {
                    unknown += 1;
                    worker(unknown - 1)
                }
            }
        };
        let mut names = Vec::with_capacity(self.vms.len());
        for vm in &self.vms {
            if vm.process != process || canaries.contains(&names.len()) {
                names.push(None);
                continue;
            }
            let (thread, plugin) = (name(vm), plugin(vm));
            let count = counts.entry((thread.clone(), plugin)).or_default();
            *count += 1;
            let subject = match (*count, plugins.len()) {
                (1, 1) => String::new(),
                (1, _) => plugin.to_owned(),
                (count, _) => format!("{plugin} {count}"),
            };
            names.push(Some(Name { thread, subject, later: *count > 1 }));
        }
        names
    }

    /// VMs that did nothing but start before another one took their place: Envoy tries each configuration in a VM of its
    /// own, which has no turns.
    fn canaries(&self) -> BTreeSet<usize> {
        let mut canaries: BTreeSet<usize> = (0..self.vms.len()).collect();
        canaries.retain(|&vm| self.vms.get(vm).is_some_and(|vm| vm.ends.is_some()));
        for transition in self.transitions.iter().filter(|transition| &*transition.on.event != "start") {
            canaries.remove(&transition.vm);
        }
        canaries
    }
}

/// The plugin's root id, which stands for its name: Envoy writes that only in callbacks of streams.
fn plugin(vm: &Vm) -> &str {
    vm.plugin.split_whitespace().next().unwrap_or_default()
}

// === impl Name ===

impl Name {
    /// A turn of the log as the harness calls it; nothing for what is no turn there.
    fn turn(&self, turn: &TurnName) -> Option<TurnName> {
        let (event, subject) = match turn.event.as_str() {
            // The harness has started its first VMs when a schedule begins.
            "start" if !self.later => return None,
            "failure" => return None,
            "start" => ("configure", self.subject.clone()),
            "done" => ("release", self.subject.clone()),
            "tick" => ("tick", self.subject.clone()),
            other => (other, String::new()),
        };
        Some(TurnName {
            thread: self.thread.clone(),
            event: event.to_owned(),
            ordinal: turn.ordinal,
            subject,
        })
    }
}
