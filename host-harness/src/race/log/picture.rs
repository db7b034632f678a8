//! A log as a [`Trace`], which is drawn like any other run: a thread for each VM, what is registered as truth, and what
//! each VM serves as its view of it.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use super::{Checked, Clock, Departure, Kind, Log, Moment, Transition, What, head, lasting};
use crate::race::trace::{Excerpt, FaultClass, Finding, ServedRow, Step, Trace, TurnName, Verb};

/// More steps than this, and only what the first finding is about is drawn, unless something was chosen.
const STEPS: usize = 150;
/// More bundles than this have no room, either.
const BUNDLES: usize = 6;
/// Most findings that are reported.
const FINDINGS: usize = 20;

/// What of a log is drawn. Everything is checked, and everything that is about other bundles and VMs is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cut {
    /// These bundles alone; all when empty.
    pub bundles: Vec<String>,
    /// These VMs alone, by the beginning of their names or by their threads; all when empty.
    pub vms: Vec<String>,
    /// What happened before is left out, but for the state in which it left everything.
    pub from: Option<Moment>,
    /// What happened after is left out.
    pub until: Option<Moment>,
}

/// A name of a bundle or VM, or a time, that the log does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{log}: {what}; {cure}")]
pub struct CutError {
    log: String,
    what: String,
    cure: String,
}

/// What was chosen, as places.
struct Chosen {
    bundles: Option<BTreeSet<usize>>,
    vms: Option<BTreeSet<usize>>,
    from: Moment,
    until: Moment,
    notes: Vec<String>,
}

// === impl Log ===

impl Log {
    /// Reads a time as the log shows it, such as `10:51:00.123`, with a date or without one.
    ///
    /// Errors: it is no time, or the log has none.
    pub fn moment(&self, text: &str) -> Result<Moment, CutError> {
        let error =
            |what: String, cure: &str| CutError { log: self.name.clone(), what, cure: cure.to_owned() };
        let first = self.transitions.first().map_or(self.end, |transition| transition.at);
        if self.clock == Clock::Lines {
            let line = text.trim_start_matches("line ").parse().ok().map(Duration::from_secs);
            return line
                .ok_or_else(|| error("its lines have no times".to_owned(), "give the number of a line"));
        }
        head::moment(text, first).ok_or_else(|| {
            error(format!("`{text}` is no time"), "write it as `10:51:00.123` or `2026-11-21 10:51:00`")
        })
    }

    /// The run as a picture needs it; its first finding is the worst departure.
    ///
    /// Errors: the cut names what the log does not have.
    pub fn trace(&self, checked: &Checked, cut: &Cut) -> Result<Trace, CutError> {
        let mut chosen = self.chosen(cut)?;
        let found: Vec<&Departure> = checked
            .departures
            .iter()
            .filter(|departure| departure.found && chosen.has(self, departure))
            .collect();
        let mut kept = chosen.places(self);
        if *cut == Cut::default() && (kept.len() > STEPS || self.bundles.len() > BUNDLES) {
            self.narrow(&mut chosen, found.first().copied(), &mut kept);
        }
        let threads = self.names();
        let mut trace = Trace { scenario: self.name.clone(), ..Trace::default() };
        let began = kept.iter().filter_map(|&place| self.transitions.get(place)).map(|t| t.at).min();
        let began = began.unwrap_or_default();
        let steps = self.steps(&kept, &threads, checked, began, &mut trace);
        let used: BTreeSet<usize> =
            kept.iter().filter_map(|&place| self.transitions.get(place)).map(|t| t.vm).collect();
        trace.threads = used.iter().filter_map(|&vm| threads.get(vm)).cloned().collect();
        let about = used.iter().filter_map(|&vm| self.vms.get(vm));
        let about = about.map(|vm| match (vm.thread, vm.main) {
            (Some(thread), true) => format!("thread {thread}, main"),
            (Some(thread), false) => format!("thread {thread}"),
            (None, _) => String::new(),
        });
        let shows = |departure: &Departure| {
            let after = kept.partition_point(|&place| place < departure.from);
            let place = kept.get(after).or(kept.last()).copied().unwrap_or_default();
            steps.get(&place).copied().unwrap_or_default()
        };
        trace.findings = found
            .iter()
            .take(FINDINGS)
            .map(|departure| Finding {
                oracle: match departure.kind {
                    Kind::WentBack | Kind::RegistryWentBack => "monotone".to_owned(),
                    _ => "departure".to_owned(),
                },
                class: FaultClass::L0,
                message: departure.shown(self),
                step: shows(departure),
                raced: None,
                inevitable_after: None,
            })
            .collect();
        let departed = found.iter().filter_map(|departure| {
            let bundle = self.bundles.get(departure.bundle)?.label.clone();
            Some((threads.get(departure.vm)?.clone(), bundle, shows(departure)))
        });
        if found.len() > FINDINGS {
            chosen.notes.push(format!("{} more departures are not listed", found.len() - FINDINGS));
        }
        let gone = used.iter().filter_map(|&vm| {
            let at = self.vms.get(vm)?.ends?;
            let step = kept.get(kept.partition_point(|&place| place < at))?;
            Some((threads.get(vm)?.clone(), *steps.get(step)?))
        });
        trace.excerpt = Some(Excerpt {
            clock: self.clock,
            began,
            about: about.collect(),
            gone: gone.collect(),
            departed: departed.collect(),
            quiet: self.quiet(checked),
            sentences: found.first().map(|worst| self.sentences(worst, &steps)).unwrap_or_default(),
            served: self.rows(checked, &chosen),
            notes: chosen.notes,
        });
        Ok(trace)
    }

    fn chosen(&self, cut: &Cut) -> Result<Chosen, CutError> {
        let error = |what: String, cure: String| CutError { log: self.name.clone(), what, cure };
        let listed = |names: Vec<String>| {
            let mut names: Vec<String> = names.into_iter().take(12).collect();
            names.dedup();
            format!("it has {}", names.join(", "))
        };
        let mut bundles = BTreeSet::new();
        for name in &cut.bundles {
            let all = self.bundles.iter().enumerate();
            let known: Vec<usize> =
                all.filter(|(_, b)| *b.name == **name || b.label == *name).map(|(place, _)| place).collect();
            if known.is_empty() {
                let names = self.bundles.iter().map(|bundle| format!("`{}`", bundle.label)).collect();
                return Err(error(format!("there is no bundle `{name}` in it"), listed(names)));
            }
            bundles.extend(known);
        }
        let mut vms = BTreeSet::new();
        for name in &cut.vms {
            let is_meant = |vm: &super::Vm| {
                !name.is_empty() && vm.name.starts_with(name.as_str())
                    || vm.thread.is_some_and(|thread| thread.to_string() == *name)
            };
            let all = self.vms.iter().enumerate();
            let known: Vec<usize> = all.filter(|(_, vm)| is_meant(vm)).map(|(place, _)| place).collect();
            if known.is_empty() {
                let names = self.vms.iter().map(super::Vm::shown).collect();
                return Err(error(format!("there is no VM and no thread `{name}` in it"), listed(names)));
            }
            vms.extend(known);
        }
        Ok(Chosen {
            bundles: (!cut.bundles.is_empty()).then_some(bundles),
            vms: (!cut.vms.is_empty()).then_some(vms),
            from: cut.from.unwrap_or_default(),
            until: cut.until.unwrap_or(Duration::MAX),
            notes: Vec::new(),
        })
    }

    /// Leaves what the worst departure is not about.
    fn narrow(&self, chosen: &mut Chosen, worst: Option<&Departure>, kept: &mut Vec<usize>) {
        let Some(worst) = worst else { return };
        let all = kept.len();
        chosen.bundles = Some(BTreeSet::from([worst.bundle]));
        *kept = chosen.places(self);
        if let Some(bundle) = self.bundles.get(worst.bundle) {
            chosen.notes.push(format!(
                "{} of {all} transitions are drawn: those of `{}`; `--bundle`, `--vm`, `--from` and `--to` choose others",
                kept.len(),
                bundle.label
            ));
        }
    }

    /// A name for each VM, which no other one has.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for vm in &self.vms {
            let mut name = vm.name.to_string();
            if names.contains(&name) {
                name = format!("{name}-{}", names.len() + 1);
            }
            names.push(name);
        }
        names
    }

    /// Writes the steps; for each place that is kept, the number of its step.
    fn steps(
        &self,
        kept: &[usize],
        threads: &[String],
        checked: &Checked,
        began: Moment,
        trace: &mut Trace,
    ) -> HashMap<usize, usize> {
        let mut numbers = HashMap::new();
        let mut published: HashMap<(usize, u64), (usize, usize)> = HashMap::new();
        for &place in kept {
            let Some(transition) = self.transitions.get(place) else { continue };
            let turn = TurnName {
                thread: threads.get(transition.vm).cloned().unwrap_or_default(),
                event: transition.on.event.to_string(),
                ordinal: transition.on.ordinal,
                subject: String::new(),
            };
            let mut push =
                |verb: Verb, object: &str, argument: String, observed: &str, causes: Vec<usize>| {
                    let number = trace.steps.len() + 1;
                    trace.steps.push(Step {
                        number,
                        at: transition.at.saturating_sub(began),
                        turn: turn.clone(),
                        verb,
                        object: object.to_owned(),
                        argument,
                        observed: observed.to_owned(),
                        held: false,
                        held_before: None,
                        causes,
                    });
                    number
                };
            if transition.left_out > 0 {
                push(Verb::Gap, "lines", transition.left_out.to_string(), "", Vec::new());
            }
            let label = |bundle: usize| self.bundles.get(bundle).map_or("", |bundle| bundle.label.as_str());
            let (cause, value) = (&transition.cause, checked.values.get(place).copied().flatten());
            let number = match transition.what {
                What::Registry(bundle) => {
                    let number =
                        push(Verb::Registry, label(bundle), registered(transition, value), cause, Vec::new());
                    if let Some(generation) = transition.generation.filter(|_| &*transition.to == "current") {
                        published.entry((bundle, generation)).or_insert((number, transition.vm));
                    }
                    if &*transition.to == "absent" {
                        published.retain(|(other, _), _| *other != bundle);
                    }
                    number
                }
                What::Bundle(bundle) => {
                    let cause_of = transition.generation.filter(|_| &*transition.to == "serving");
                    let by = cause_of.and_then(|generation| published.get(&(bundle, generation)));
                    // What a VM has published itself needs no arrow.
                    let by = by.filter(|(_, vm)| *vm != transition.vm).map(|(number, _)| *number);
                    push(
                        Verb::Serves,
                        label(bundle),
                        serving(transition, value),
                        cause,
                        by.into_iter().collect(),
                    )
                }
                What::Policy | What::Member => {
                    let generation = transition.generation.map(|generation| format!(" {generation}"));
                    let argument = format!("{}{}", transition.to, generation.unwrap_or_default());
                    push(Verb::State, &transition.on.object, argument, cause, Vec::new())
                }
                What::Failed => push(Verb::Trap, &transition.on.object, String::new(), cause, Vec::new()),
            };
            numbers.insert(place, number);
        }
        numbers
    }

    fn quiet(&self, checked: &Checked) -> String {
        let counted =
            |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
        let longest = checked.departures.iter().map(|departure| departure.lasted).max().unwrap_or_default();
        format!(
            "Every VM followed the registry, {} at most behind it: {}, {}, {}",
            lasting(longest),
            counted(self.transitions.len(), "transition"),
            counted(self.vms.len(), "VM"),
            counted(self.bundles.len(), "bundle")
        )
    }

    /// What led to the worst departure and what came of it.
    fn sentences(&self, worst: &Departure, steps: &HashMap<usize, usize>) -> Vec<String> {
        let mut sentences = Vec::new();
        let step = |place: usize| steps.get(&place).map(|step| format!(" (step {step})")).unwrap_or_default();
        let name = |vm: usize| self.vms.get(vm).map(super::Vm::shown).unwrap_or_default();
        let published = self.transitions.iter().enumerate().rev().find(|(_, transition)| {
            transition.what == What::Registry(worst.bundle)
                && transition.generation == Some(worst.current)
                && &*transition.to == "current"
                && transition.at <= self.end
        });
        if let Some((place, transition)) = published {
            sentences.push(format!(
                "Generation {} was made current by {} at {}{}.",
                worst.current,
                name(transition.vm),
                self.clock.shown(transition.at),
                step(place)
            ));
        }
        if worst.until.is_none() {
            sentences.push(format!(
                "The two differ for {}, from {}{} until the log ends at {}.",
                lasting(worst.lasted),
                self.clock.shown(self.at(worst.from)),
                step(worst.from),
                self.clock.shown(self.end)
            ));
        }
        let last = self.transitions.iter().enumerate().rev().find(|(_, t)| t.vm == worst.vm);
        if let (Some((place, transition)), None) = (last, worst.until) {
            sentences.push(format!(
                "The last that this VM said was in {}#{} at {}{}.",
                transition.on.event,
                transition.on.ordinal,
                self.clock.shown(transition.at),
                step(place)
            ));
        }
        if worst.left_out > 0 {
            sentences.push(format!(
                "{} of its lines were left out meanwhile by the rate limit, so it may be wrong.",
                worst.left_out
            ));
        }
        sentences
    }

    fn rows(&self, checked: &Checked, chosen: &Chosen) -> Vec<ServedRow> {
        let mut departures: HashMap<(usize, usize), Vec<&Departure>> = HashMap::new();
        for departure in &checked.departures {
            departures.entry((departure.vm, departure.bundle)).or_default().push(departure);
        }
        let at = |place: usize| self.transitions.get(place).map_or(self.end, |transition| transition.at);
        let mut rows = Vec::new();
        for served in &checked.served {
            let (from, until) = (at(served.since), served.until.map_or(self.end, at));
            if !chosen.has_bundle(served.bundle)
                || !chosen.has_vm(served.vm)
                || until < chosen.from
                || from > chosen.until
            {
                continue;
            }
            let own = departures.get(&(served.vm, served.bundle)).into_iter().flatten();
            let own = own.filter(|departure| {
                !departure.kind.is_of_registry()
                    && departure.from >= served.since
                    && served.until.is_none_or(|until| departure.from < until)
            });
            let own: Vec<&&Departure> = own.collect();
            let wrong: Vec<String> = own.iter().map(|departure| departure.brief()).collect();
            let until_told = match served.until {
                Some(until) => self.clock.shown(at(until)),
                None => "end of the log".to_owned(),
            };
            rows.push(ServedRow {
                vm: self.vms.get(served.vm).map(super::Vm::shown).unwrap_or_default(),
                bundle: self
                    .bundles
                    .get(served.bundle)
                    .map(|bundle| bundle.label.clone())
                    .unwrap_or_default(),
                generation: generation(Some(served.generation)),
                from: self.clock.shown(from),
                until: until_told,
                lasted: lasting(until.saturating_sub(from)),
                wrong: wrong.join("; "),
                found: own.iter().any(|departure| departure.found),
            });
        }
        rows
    }
}

// === impl Chosen ===

impl Chosen {
    fn has_bundle(&self, bundle: usize) -> bool {
        self.bundles.as_ref().is_none_or(|chosen| chosen.contains(&bundle))
    }

    fn has_vm(&self, vm: usize) -> bool {
        self.vms.as_ref().is_none_or(|chosen| chosen.contains(&vm))
    }

    fn has(&self, log: &Log, departure: &Departure) -> bool {
        let until = departure.until.map_or(log.end, |until| log.at(until));
        self.has_bundle(departure.bundle)
            && (self.has_vm(departure.vm) || departure.kind.is_of_registry())
            && until >= self.from
            && log.at(departure.from) <= self.until
    }

    /// The transitions that are drawn: those within, and before them the last of each thing, which says how it was.
    fn places(&self, log: &Log) -> Vec<usize> {
        let mut before: HashMap<(Option<usize>, What, &str), usize> = HashMap::new();
        let mut places = Vec::new();
        for (place, transition) in log.transitions.iter().enumerate() {
            let (bundle, registry) = match transition.what {
                What::Registry(bundle) => (Some(bundle), true),
                What::Bundle(bundle) => (Some(bundle), false),
                What::Policy | What::Member | What::Failed => (None, false),
            };
            let wanted = match bundle {
                // Policies are about bundles that the log does not name.
                None => {
                    self.has_vm(transition.vm) && (self.bundles.is_none() || transition.what != What::Policy)
                }
                Some(bundle) => self.has_bundle(bundle) && (registry || self.has_vm(transition.vm)),
            };
            if !wanted || transition.at > self.until {
                continue;
            }
            if transition.at < self.from {
                let vm = (!registry).then_some(transition.vm);
                before.insert((vm, transition.what, &transition.on.object), place);
            } else {
                places.push(place);
            }
        }
        places.extend(before.into_values());
        places.sort_unstable();
        places
    }
}

// === impl Departure ===

impl Departure {
    /// In a few words, for a row about what was served.
    fn brief(&self) -> String {
        let lasted = lasting(self.lasted);
        let gap =
            if self.left_out > 0 { format!(" ({} lines left out)", self.left_out) } else { String::new() };
        match self.kind {
            Kind::WentBack => format!("went back from {}", self.current),
            Kind::Ahead => format!("ahead of {} for {lasted}{gap}", self.current),
            _ if self.refused => format!("refused {}, behind for {lasted}{gap}", self.current),
            _ => format!("behind {} for {lasted}{gap}", self.current),
        }
    }
}

fn generation(generation: Option<u64>) -> String {
    match generation {
        None => "?".to_owned(),
        Some(0) => "none".to_owned(),
        Some(generation) => generation.to_string(),
    }
}

/// `4 epoch 2`, `3 failing epoch 2`, `none absent`
fn registered(transition: &Transition, value: Option<u64>) -> String {
    let state = if &*transition.to == "current" { String::new() } else { format!(" {}", transition.to) };
    let epoch = transition.epoch.map(|epoch| format!(" epoch {epoch}")).unwrap_or_default();
    format!("{}{state}{epoch}", generation(value))
}

/// `4`, `3 refused`, `none`
fn serving(transition: &Transition, value: Option<u64>) -> String {
    let refused = if &*transition.to == "refused" { " refused" } else { "" };
    format!("{}{refused}", generation(value))
}
