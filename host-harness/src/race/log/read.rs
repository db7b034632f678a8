//! A log as a whole: its lines in a stream, which processes and VMs there are, and the order of what they say.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io::BufRead,
    sync::Arc,
    time::Duration,
};

use super::{
    Clock, Log, LogError, Moment, On, Registered, Transition, Vm, Warning, What,
    entry::{BEGINS, Entry, FAILED, Form, MAIN_LOOP, WANTED, transition},
    head::{Head, Stamp},
    lines::{Line, Lines},
    transition::{Reported, Scope},
};
use aho_corasick::AhoCorasick;

/// Most transitions of a log, about 200 bytes each.
const MOST: usize = 1_000_000;
/// Most VMs, and most bundles. An Envoy has some for each thread.
const MOST_NAMES: usize = 5_000;
/// Most warnings that are kept.
const WARNINGS: usize = 100;
/// A thread writes its line a little after the time in it. What is further back is a clock that was set, or a file put
/// behind another one.
const JITTER: Duration = Duration::from_secs(2);

/// One Envoy.
pub(super) struct Process {
    pub(super) source: String,
    pub(super) main: Option<u64>,
}

pub(super) struct Reader<'a> {
    file: &'a str,
    warnings: Vec<Warning>,
    hidden: usize,
    form: Option<Form>,
    transitions: Vec<Transition>,
    /// For every transition, by what it is sorted.
    order: Vec<Duration>,
    pub(super) vms: Vec<Vm>,
    /// For every VM, by what its last transition is sorted; nothing before its first one.
    reported: Vec<Option<Duration>>,
    by_name: HashMap<(String, Option<u64>, Arc<str>), usize>,
    pub(super) bundles: Vec<Registered>,
    by_bundle: HashMap<(usize, Arc<str>, Arc<str>), usize>,
    pub(super) processes: Vec<Process>,
    names: HashSet<Arc<str>>,
    /// The latest moment, and by how much the days of a log without dates are on.
    now: Option<Moment>,
    days: Duration,
    timed: bool,
    /// By how much each source's clock was put forward again.
    offsets: BTreeMap<String, Duration>,
    latest: BTreeMap<String, Duration>,
    unreadable: Option<String>,
}

impl Log {
    /// Reads a log; `file` stands for it in messages. Lines that are no transitions are passed over.
    ///
    /// Errors: it cannot be read, no line is a transition, or too many are.
    pub fn read(from: impl BufRead, file: &str) -> Result<Log, LogError> {
        let io = |error| LogError::Io { file: file.to_owned(), error };
        let wanted = AhoCorasick::new(WANTED).map_err(|error| io(std::io::Error::other(error)))?;
        let mut reader = Reader::new(file);
        let mut lines = Lines::new(from);
        let mut last: Vec<u8> = Vec::new();
        let mut count = 0;
        while let Some(line) = lines.next().map_err(io)? {
            count = line.number;
            if wanted.is_match(line.bytes) {
                reader.line(&line)?;
            }
            // The end of the log is the last time in it, as Envoy writes times; access logs have a clock of their own.
            let head = line.bytes.get(..120).unwrap_or(line.bytes);
            let plain = reader.form != Some(Form::Default);
            if plain && head.iter().any(u8::is_ascii_digit) || head.windows(2).any(|two| two == b"][") {
                last.clear();
                last.extend_from_slice(head);
            }
        }
        reader.finish(&last, count)
    }
}

// === impl Reader ===

impl<'a> Reader<'a> {
    fn new(file: &'a str) -> Self {
        Self {
            file,
            warnings: Vec::new(),
            hidden: 0,
            form: None,
            transitions: Vec::new(),
            order: Vec::new(),
            vms: Vec::new(),
            reported: Vec::new(),
            by_name: HashMap::new(),
            bundles: Vec::new(),
            by_bundle: HashMap::new(),
            processes: Vec::new(),
            names: HashSet::new(),
            now: None,
            days: Duration::ZERO,
            timed: false,
            offsets: BTreeMap::new(),
            latest: BTreeMap::new(),
            unreadable: None,
        }
    }

    pub(super) fn warn(&mut self, line: u64, what: String) {
        if self.warnings.len() < WARNINGS {
            self.warnings.push(Warning { file: self.file.to_owned(), line, what });
        } else {
            self.hidden += 1;
        }
    }

    fn name(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.names.get(text) {
            return known.clone();
        }
        let name: Arc<str> = text.into();
        self.names.insert(name.clone());
        name
    }

    fn line(&mut self, line: &Line<'_>) -> Result<(), LogError> {
        let Some(entry) = Entry::read(line.bytes) else { return Ok(()) };
        let text = entry.text.as_str();
        if let Some((plugin, fields)) = transition(text) {
            if self.form.is_some_and(|form| form != entry.form) {
                let what = "it looks like a transition, but is not written as the ones before; passed over";
                self.warn(line.number, what.to_owned());
                return Ok(());
            }
            let cut = line.cut || !line.ended && !fields.ends_with('"');
            match Reported::read(fields) {
                Ok(_) if cut => {
                    self.warn(line.number, "the line is not whole; passed over".to_owned());
                }
                Ok(reported) => {
                    self.form = Some(entry.form);
                    let plugin = self.name(&plugin);
                    self.transition(line.number, &entry.head, plugin, reported)?;
                }
                Err(why) => {
                    self.unreadable
                        .get_or_insert(format!(" (line {} looks like one, but {why})", line.number));
                    self.warn(line.number, format!("it is no transition, because {why}; passed over"));
                }
            }
            return Ok(());
        }
        let (Form::Default, Some(thread)) = (entry.form, entry.head.thread) else { return Ok(()) };
        if text.starts_with(BEGINS) {
            self.begins(entry.head.source, thread);
        } else if text.starts_with(MAIN_LOOP) {
            let process = self.process(&entry.head.source, thread);
            if let Some(process) = self.processes.get_mut(process) {
                process.main.get_or_insert(thread);
            }
        } else if text.starts_with(FAILED) && text.contains(" failed: ") {
            self.failed(line.number, &entry.head, thread, text)?;
        }
        Ok(())
    }

    fn transition(
        &mut self,
        line: u64,
        head: &Head,
        plugin: Arc<str>,
        reported: Reported,
    ) -> Result<(), LogError> {
        let at = self.moment(head, line);
        let vm = self.vm(head, &reported.vm, plugin.clone());
        let (process, plugin) = self.vms.get(vm).map_or((0, plugin), |vm| (vm.process, vm.plugin.clone()));
        let (what, object) = match reported.scope {
            Scope::Registry => (What::Registry(self.bundle(process, &plugin, &reported.name)), reported.name),
            Scope::Bundle => (What::Bundle(self.bundle(process, &plugin, &reported.name)), reported.name),
            Scope::Policy => (What::Policy, format!("policy {}", reported.name)),
            Scope::Member => (What::Member, format!("member {}", reported.name)),
        };
        let begins = reported.event == "start" || what == What::Member && reported.to == "joined";
        let is_new = self.reported.get(vm).is_some_and(Option::is_none);
        if let Some(vm) = self.vms.get_mut(vm).filter(|_| begins && is_new) {
            vm.whole = true;
        }
        let on =
            On { event: self.name(&reported.event), ordinal: reported.ordinal, object: self.name(&object) };
        let transition = Transition {
            line,
            at,
            vm,
            on,
            what,
            from: self.name(&reported.from),
            to: self.name(&reported.to),
            generation: reported.generation,
            epoch: reported.epoch,
            cause: self.name(&reported.cause),
            left_out: reported.left_out,
        };
        self.push(transition, &head.source)
    }

    /// A callback failed on a thread; it is the VM's of this thread, if there is one alone.
    fn failed(&mut self, line: u64, head: &Head, thread: u64, text: &str) -> Result<(), LogError> {
        let process = self.process(&head.source, thread);
        let on_thread = |vm: &&usize| {
            self.vms.get(**vm).is_some_and(|vm| vm.process == process && vm.thread == Some(thread))
        };
        let all: Vec<usize> = (0..self.vms.len()).collect();
        let latest: Vec<usize> = all.iter().filter(on_thread).copied().collect();
        let Some(&vm) = latest.last() else { return Ok(()) };
        let mut plugins = latest.iter().filter_map(|&vm| self.vms.get(vm)).map(|vm| &vm.plugin);
        let first = plugins.next();
        if plugins.any(|plugin| Some(plugin) != first) {
            let what =
                "a callback failed, and the thread has VMs of several plugins; none is taken as failed";
            self.warn(line, what.to_owned());
            return Ok(());
        }
        let at = self.moment(head, line);
        let (function, why) =
            text.trim_start_matches("Function: ").split_once(" failed: ").unwrap_or((text, ""));
        let on = On {
            event: self.name("failure"),
            ordinal: usize::try_from(line).unwrap_or(0),
            object: self.name(function),
        };
        let why: String = why.lines().next().unwrap_or_default().chars().take(200).collect();
        let (from, to, cause) = (self.name(""), self.name("failed"), self.name(&why));
        let (what, generation, epoch, left_out) = (What::Failed, None, None, 0);
        let failed = Transition { line, at, vm, on, what, from, to, generation, epoch, cause, left_out };
        self.push(failed, &head.source)
    }

    fn push(&mut self, transition: Transition, source: &str) -> Result<(), LogError> {
        let all = [
            (self.transitions.len(), MOST, "transitions"),
            (self.vms.len(), MOST_NAMES, "VMs"),
            (self.bundles.len(), MOST_NAMES, "bundles"),
        ];
        if let Some(&(_, most, what)) = all.iter().find(|(count, most, _)| count > most) {
            return Err(LogError::TooMany { file: self.file.to_owned(), line: transition.line, most, what });
        }
        let offset = self.offsets.get(source).copied().unwrap_or_default();
        let latest = self.latest.get(source).copied().unwrap_or_default();
        let mut order = transition.at.saturating_add(offset);
        if order.saturating_add(JITTER) < latest {
            self.offsets.insert(source.to_owned(), latest.saturating_sub(transition.at));
            order = latest;
            let what = "the time goes back here; from here on the order is that of the lines".to_owned();
            self.warn(transition.line, what);
        }
        // What one VM reports, it reports in order.
        if let Some(reported) = self.reported.get_mut(transition.vm) {
            order = reported.map_or(order, |reported| order.max(reported));
            *reported = Some(order);
        }
        self.latest.insert(source.to_owned(), latest.max(order));
        self.order.push(order);
        self.transitions.push(transition);
        Ok(())
    }

    /// When the line was written; as the line before, if it has no time.
    fn moment(&mut self, head: &Head, line: u64) -> Moment {
        let at = match head.time {
            Some(Stamp::Full(at)) => at,
            Some(Stamp::OfDay(of_day)) => {
                // Past midnight.
                let half = Duration::from_secs(12 * 3600);
                if self.now.is_some_and(|now| now > of_day.saturating_add(self.days).saturating_add(half)) {
                    self.days += Duration::from_secs(24 * 3600);
                }
                of_day + self.days
            }
            None if self.timed => self.now.unwrap_or_default(),
            None => Duration::from_secs(line),
        };
        self.timed |= head.time.is_some();
        self.now = Some(at);
        at
    }

    // --- who is who

    fn begins(&mut self, source: String, main: u64) {
        self.processes.push(Process { source, main: Some(main) });
    }

    /// The process of a thread: threads are numbered after the main thread of their process. Of two whose main threads
    /// have one number, as in a container that was restarted, it is the later one.
    fn process(&mut self, source: &str, thread: u64) -> usize {
        let all = self.processes.iter().enumerate().filter(|(_, process)| process.source == source);
        let known = all.clone().filter(|(_, process)| process.main.is_some_and(|main| main <= thread));
        let known = known.max_by_key(|(_, process)| process.main);
        let unknown = || all.clone().find(|(_, process)| process.main.is_none());
        if let Some((found, _)) = known.or_else(unknown) {
            return found;
        }
        self.processes.push(Process { source: source.to_owned(), main: None });
        self.processes.len() - 1
    }

    fn vm(&mut self, head: &Head, name: &str, plugin: Arc<str>) -> usize {
        let name = self.name(name);
        let key = (head.source.clone(), head.thread, name.clone());
        if let Some(&known) = self.by_name.get(&key) {
            return known;
        }
        let process = self.process(&head.source, head.thread.unwrap_or_default());
        let vm = Vm { name, thread: head.thread, main: false, process, plugin, whole: false, ends: None };
        self.vms.push(vm);
        self.reported.push(None);
        self.by_name.insert(key, self.vms.len() - 1);
        self.vms.len() - 1
    }

    fn bundle(&mut self, process: usize, plugin: &str, name: &str) -> usize {
        let vm_id = self.name(vm_id(plugin));
        let name = self.name(name);
        let key = (process, vm_id.clone(), name.clone());
        if let Some(&known) = self.by_bundle.get(&key) {
            return known;
        }
        self.bundles.push(Registered { label: name.to_string(), name, process, vm_id });
        self.by_bundle.insert(key, self.bundles.len() - 1);
        self.bundles.len() - 1
    }

    // --- the end

    fn finish(mut self, last: &[u8], lines: u64) -> Result<Log, LogError> {
        if self.transitions.is_empty() {
            let unreadable = self.unreadable.take().unwrap_or_default();
            return Err(LogError::NoTransitions { file: self.file.to_owned(), lines, unreadable });
        }
        let latest = self.transitions.iter().map(|transition| transition.at).max().unwrap_or_default();
        let entry = Entry::read(last).filter(|entry| entry.head.time.is_some());
        let head = entry.filter(|entry| Some(entry.form) == self.form).map(|entry| entry.head);
        let end = match head {
            _ if !self.timed => Duration::from_secs(lines),
            Some(head) => self.moment(&head, lines).max(latest),
            None => latest,
        };
        let mut order: Vec<usize> = (0..self.transitions.len()).collect();
        order.sort_by_key(|&place| self.order.get(place).copied());
        let mut transitions: Vec<Transition> =
            order.iter().filter_map(|&place| self.transitions.get(place)).cloned().collect();
        self.sort_vms(&mut transitions);
        self.ends(&transitions);
        self.missing(&transitions);
        self.mixed(&transitions);
        self.label();
        if self.hidden > 0 {
            let what = format!("and {} warnings more", self.hidden);
            self.warnings.push(Warning { file: self.file.to_owned(), line: lines, what });
        }
        let first = transitions.iter().map(|transition| transition.at).min().unwrap_or_default();
        let clock = match (self.timed, first.as_secs() / 86_400 == end.as_secs() / 86_400) {
            (false, _) => Clock::Lines,
            (true, true) => Clock::Time,
            (true, false) => Clock::Date,
        };
        Ok(Log {
            name: self.file.rsplit('/').next().unwrap_or(self.file).to_owned(),
            clock,
            transitions,
            vms: self.vms,
            bundles: self.bundles,
            end,
            warnings: self.warnings,
        })
    }
}

/// VMs with one vm_id share their data. It stands behind the root id.
fn vm_id(plugin: &str) -> &str {
    plugin.split_once(' ').map(|(_, vm_id)| vm_id).unwrap_or_default()
}
