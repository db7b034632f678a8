//! What each VM served when, and where that departed from the registry.
//!
//! Every VM is behind for a moment after a publication: it adopts on its next tick. So a departure is only something
//! found when it lasts longer than patience; what is never allowed, that a generation goes back, needs no time.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use super::{Log, Moment, Transition, What, lasting};

/// A log, checked.
#[derive(Debug, Clone)]
pub struct Checked {
    /// What each VM served of each bundle, by VM, bundle and time.
    pub served: Vec<Served>,
    /// Where a VM departed from the registry, the worst first.
    pub departures: Vec<Departure>,
    /// For each transition about a bundle, the generation that is current or served after it; 0 is none.
    pub values: Vec<Option<u64>>,
}

/// One generation of a bundle, as long as a VM served it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// The VM.
    pub vm: usize,
    /// The bundle.
    pub bundle: usize,
    /// The generation; 0 is none.
    pub generation: u64,
    /// The transition that began it.
    pub since: usize,
    /// The transition that ended it; nothing when it lasts to the end of the log.
    pub until: Option<usize>,
    /// Whether the VM refused something newer meanwhile.
    pub refused: bool,
}

/// A time in which what a VM served was not what the registry had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departure {
    /// In which way.
    pub kind: Kind,
    /// The VM; the one that reported it, where it is about the registry.
    pub vm: usize,
    /// The bundle.
    pub bundle: usize,
    /// The generation that the VM served; 0 is none.
    pub serves: u64,
    /// The generation that was current, the latest of them; 0 is none.
    pub current: u64,
    /// Since when the VM served what it served.
    pub since: Moment,
    /// The transition from which on the two differed.
    pub from: usize,
    /// The transition that ended it; nothing when it lasts to the end of the log.
    pub until: Option<usize>,
    /// For how long.
    pub lasted: Duration,
    /// Whether the VM refused what it does not serve.
    pub refused: bool,
    /// How many lines of this VM were left out meanwhile.
    pub left_out: u64,
    /// Whether it is something found: it is never allowed, or it lasted longer than patience.
    pub found: bool,
}

/// How a VM departed from the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A VM served an older generation after a newer one.
    WentBack,
    /// The registry had an older generation after a newer one.
    RegistryWentBack,
    /// The VM served an older generation than was current, or none.
    Behind,
    /// The VM served a generation that the log does not show as published.
    Ahead,
    /// What was offered was refused before it could become a generation, and nothing else came.
    NotFollowed,
    /// The VM never said anything about a bundle that others of its plugin serve.
    Silent,
}

/// What is known while the log is walked through.
struct Checker<'a> {
    log: &'a Log,
    patience: Duration,
    /// For each bundle, the current generation.
    current: Vec<Option<u64>>,
    /// Whether the registry says so; until it does, the newest generation that a VM serves must have been current.
    reported: Vec<bool>,
    highest: Vec<u64>,
    /// For each bundle, the departure that says that it is not followed.
    not_followed: Vec<Option<usize>>,
    views: BTreeMap<(usize, usize), View>,
    served: Vec<Served>,
    departures: Vec<Departure>,
}

/// What a VM serves of a bundle.
struct View {
    served: usize,
    generation: u64,
    since: Moment,
    refused: bool,
    highest: u64,
    open: Option<usize>,
    over: bool,
}

// === impl Log ===

impl Log {
    /// Checks the log. A VM may be behind for as long as `patience` before it counts.
    #[must_use]
    pub fn check(&self, patience: Duration) -> Checked {
        let mut checker = Checker {
            log: self,
            patience,
            current: vec![None; self.bundles.len()],
            reported: vec![false; self.bundles.len()],
            highest: vec![0; self.bundles.len()],
            not_followed: vec![None; self.bundles.len()],
            views: BTreeMap::new(),
            served: Vec::new(),
            departures: Vec::new(),
        };
        let mut ends: HashMap<usize, Vec<usize>> = HashMap::new();
        for (vm, end) in self.vms.iter().enumerate().filter_map(|(vm, state)| Some((vm, state.ends?))) {
            ends.entry(end).or_default().push(vm);
        }
        let mut values = Vec::with_capacity(self.transitions.len());
        for (place, transition) in self.transitions.iter().enumerate() {
            checker.step(place, transition);
            values.push(checker.value(transition));
            for &vm in ends.get(&place).into_iter().flatten() {
                checker.gone(place, vm);
            }
        }
        checker.finish(values)
    }

    pub(super) fn at(&self, place: usize) -> Moment {
        self.transitions.get(place).map_or(self.end, |transition| transition.at)
    }
}

// === impl Checker ===

impl Checker<'_> {
    fn step(&mut self, place: usize, transition: &Transition) {
        if transition.left_out > 0 {
            let own = self.views.iter().filter(|((_, vm), _)| *vm == transition.vm);
            for open in own.filter_map(|(_, view)| view.open) {
                if let Some(departure) = self.departures.get_mut(open) {
                    departure.left_out += transition.left_out;
                }
            }
        }
        let given = transition.generation;
        if let What::Registry(bundle) = transition.what {
            self.follow(place, transition, bundle);
        }
        match (transition.what, &*transition.to) {
            (What::Registry(bundle), "absent") => {
                self.publish(place, transition, bundle, 0);
                // Where nothing is registered any more, generations begin anew.
                self.forget(bundle);
            }
            // Who takes a bundle over leaves what is published as it is.
            (What::Registry(bundle), "claimed") => {
                let known = self.current.get(bundle).copied().flatten();
                if let Some(generation) = known.or(given) {
                    self.publish(place, transition, bundle, generation);
                }
            }
            (What::Registry(bundle), _) => {
                if let Some(generation) = given {
                    self.publish(place, transition, bundle, generation);
                }
            }
            (What::Bundle(bundle), "none") => self.serve(place, transition, bundle, 0, false),
            (What::Bundle(bundle), "refused") => {
                // What is served stays; the line's generation may be that of the refused one.
                let known = self.views.get(&(bundle, transition.vm)).map(|view| view.generation);
                let current = self.current.get(bundle).copied().flatten();
                let serves = known.or(given.filter(|given| current.is_none_or(|current| *given < current)));
                self.serve(place, transition, bundle, serves.unwrap_or(0), true);
            }
            (What::Bundle(bundle), _) => self.serve(place, transition, bundle, given.unwrap_or(0), false),
            _ => {}
        }
    }

    /// Notes whether the registry takes what is offered. What was on trial is a generation, and each VM is checked by it.
    fn follow(&mut self, place: usize, transition: &Transition, bundle: usize) {
        let Some(open) = self.not_followed.get_mut(bundle) else { return };
        match (&*transition.to, *open) {
            ("refused" | "quarantined", None) if &*transition.from != "trial" => {
                let keeps = transition.generation.unwrap_or(0);
                *open = Some(self.departures.len());
                self.departures.push(Departure {
                    kind: Kind::NotFollowed,
                    vm: transition.vm,
                    bundle,
                    serves: keeps,
                    current: keeps,
                    since: transition.at,
                    from: place,
                    until: None,
                    lasted: Duration::ZERO,
                    refused: true,
                    left_out: 0,
                    found: false,
                });
            }
            ("trial" | "current" | "absent", Some(departure)) => {
                *open = None;
                if let Some(departure) = self.departures.get_mut(departure) {
                    departure.until = Some(place);
                }
            }
            _ => {}
        }
    }

    /// What the registry or the VM has after its transition.
    fn value(&self, transition: &Transition) -> Option<u64> {
        match transition.what {
            What::Registry(bundle) => self.current.get(bundle).copied().flatten(),
            What::Bundle(bundle) => self.views.get(&(bundle, transition.vm)).map(|view| view.generation),
            What::Policy | What::Member | What::Failed => None,
        }
    }

    fn publish(&mut self, place: usize, transition: &Transition, bundle: usize, generation: u64) {
        let (Some(current), Some(highest)) = (self.current.get_mut(bundle), self.highest.get_mut(bundle))
        else {
            return;
        };
        let before = current.replace(generation);
        if let Some(reported) = self.reported.get_mut(bundle) {
            *reported = true;
        }
        let back = &*transition.to != "absent" && generation < *highest;
        let from = *highest;
        *highest = generation.max(*highest);
        if before == Some(generation) {
            return;
        }
        if back {
            *highest = generation;
            self.departures.push(Departure {
                kind: Kind::RegistryWentBack,
                vm: transition.vm,
                bundle,
                serves: from,
                current: generation,
                since: transition.at,
                from: place,
                until: Some(place),
                lasted: Duration::ZERO,
                refused: false,
                left_out: 0,
                found: true,
            });
        }
        self.compare_all(place, bundle);
    }

    fn compare_all(&mut self, place: usize, bundle: usize) {
        let views = self.views.range((bundle, 0)..=(bundle, usize::MAX));
        let vms: Vec<usize> = views.map(|((_, vm), _)| *vm).collect();
        for vm in vms {
            self.compare(place, bundle, vm);
        }
    }

    fn forget(&mut self, bundle: usize) {
        if let Some(highest) = self.highest.get_mut(bundle) {
            *highest = 0;
        }
        for (_, view) in self.views.range_mut((bundle, 0)..=(bundle, usize::MAX)) {
            view.highest = 0;
        }
    }

    fn serve(
        &mut self,
        place: usize,
        transition: &Transition,
        bundle: usize,
        generation: u64,
        refused: bool,
    ) {
        let (vm, at) = (transition.vm, transition.at);
        let known = self.views.get(&(bundle, vm));
        if let Some(view) = known.filter(|view| view.generation == generation && !view.over) {
            // The same again; only that something was refused is new.
            let served = view.served;
            if let Some(served) = self.served.get_mut(served) {
                served.refused |= refused;
            }
            if let Some(view) = self.views.get_mut(&(bundle, vm)) {
                view.refused = refused;
                let open = view.open;
                if let Some(open) = open.and_then(|open| self.departures.get_mut(open)) {
                    open.refused |= refused;
                }
            }
            return;
        }
        let highest = known.map_or(0, |view| view.highest);
        if let Some(before) = known.map(|view| view.served).and_then(|served| self.served.get_mut(served)) {
            before.until.get_or_insert(place);
        }
        self.close(place, bundle, vm);
        self.served.push(Served { vm, bundle, generation, since: place, until: None, refused });
        if generation > 0 && generation < highest {
            self.departures.push(Departure {
                kind: Kind::WentBack,
                vm,
                bundle,
                serves: generation,
                current: highest,
                since: at,
                from: place,
                until: Some(place),
                lasted: Duration::ZERO,
                refused: false,
                left_out: 0,
                found: true,
            });
        }
        let served = self.served.len() - 1;
        let highest = highest.max(generation);
        let view = View { served, generation, since: at, refused, highest, open: None, over: false };
        self.views.insert((bundle, vm), view);
        let reported = self.reported.get(bundle).copied().unwrap_or(true);
        match self.current.get_mut(bundle).filter(|current| !reported && current.unwrap_or(0) < generation) {
            Some(current) => {
                *current = Some(generation);
                self.compare_all(place, bundle);
            }
            None => self.compare(place, bundle, vm),
        }
    }

    /// Opens, goes on with or closes the departure of a VM from what is current.
    fn compare(&mut self, place: usize, bundle: usize, vm: usize) {
        let current = self.current.get(bundle).copied().flatten();
        let (Some(view), Some(current)) = (self.views.get_mut(&(bundle, vm)), current) else { return };
        if view.over {
            return;
        }
        // A VM goes on serving what is absent from the registry until something else is there.
        if view.generation == current || current == 0 {
            self.close(place, bundle, vm);
            return;
        }
        let kind = if view.generation < current { Kind::Behind } else { Kind::Ahead };
        let open = view.open.and_then(|open| self.departures.get_mut(open));
        if let Some(open) = open.filter(|open| open.kind == kind) {
            open.current = current;
            return;
        }
        let (serves, since, refused) = (view.generation, view.since, view.refused);
        self.close(place, bundle, vm);
        self.departures.push(Departure {
            kind,
            vm,
            bundle,
            serves,
            current,
            since,
            from: place,
            until: None,
            lasted: Duration::ZERO,
            refused,
            left_out: 0,
            found: false,
        });
        let open = self.departures.len() - 1;
        if let Some(view) = self.views.get_mut(&(bundle, vm)) {
            view.open = Some(open);
        }
    }

    fn close(&mut self, place: usize, bundle: usize, vm: usize) {
        let open = self.views.get_mut(&(bundle, vm)).and_then(|view| view.open.take());
        if let Some(departure) = open.and_then(|open| self.departures.get_mut(open)) {
            departure.until = Some(place);
        }
    }

    fn gone(&mut self, place: usize, vm: usize) {
        let bundles: Vec<usize> =
            self.views.keys().filter(|(_, other)| *other == vm).map(|(bundle, _)| *bundle).collect();
        for bundle in bundles {
            self.close(place, bundle, vm);
            let Some(view) = self.views.get_mut(&(bundle, vm)) else { continue };
            view.over = true;
            let served = view.served;
            if let Some(served) = self.served.get_mut(served) {
                served.until.get_or_insert(place);
            }
        }
    }

    fn finish(mut self, values: Vec<Option<u64>>) -> Checked {
        self.silent();
        for departure in &mut self.departures {
            if matches!(departure.kind, Kind::WentBack | Kind::RegistryWentBack) {
                continue;
            }
            let until = departure.until.map_or(self.log.end, |until| self.log.at(until));
            departure.lasted = until.saturating_sub(self.log.at(departure.from));
            departure.found = departure.lasted > self.patience;
        }
        self.departures.sort_by_key(|departure| {
            let rank = match (departure.kind, departure.until) {
                (Kind::WentBack, _) => 0,
                (Kind::RegistryWentBack, _) => 1,
                (Kind::Silent, _) => 3,
                (_, None) => 2,
                (_, Some(_)) => 4,
            };
            (!departure.found, rank, Reverse(departure.lasted), departure.from)
        });
        self.served.sort_by_key(|served| (served.vm, served.bundle, served.since));
        Checked { served: self.served, departures: self.departures, values }
    }

    /// VMs whose beginning is in the log, which never said anything about what their like serve.
    fn silent(&mut self) {
        let log = self.log;
        for (vm, state) in log.vms.iter().enumerate().filter(|(_, state)| state.whole && state.ends.is_none())
        {
            for (bundle, registered) in log.bundles.iter().enumerate() {
                let current = self.current.get(bundle).copied().flatten().filter(|current| *current > 0);
                let Some(current) = current.filter(|_| !self.views.contains_key(&(bundle, vm))) else {
                    continue;
                };
                let like = |other: usize| {
                    let other = log.vms.get(other);
                    other.is_some_and(|other| other.process == state.process && other.plugin == state.plugin)
                };
                let serving = self.views.range((bundle, 0)..=(bundle, usize::MAX));
                if registered.process != state.process
                    || !serving.into_iter().any(|((_, other), view)| view.generation > 0 && like(*other))
                {
                    continue;
                }
                let first = log.transitions.iter().position(|transition| transition.vm == vm).unwrap_or(0);
                let published = log.transitions.iter().position(|transition| {
                    transition.what == What::Registry(bundle) && transition.generation.is_some_and(|g| g > 0)
                });
                let from = first.max(published.unwrap_or(first));
                self.departures.push(Departure {
                    kind: Kind::Silent,
                    vm,
                    bundle,
                    serves: 0,
                    current,
                    since: log.at(from),
                    from,
                    until: None,
                    lasted: Duration::ZERO,
                    refused: false,
                    left_out: 0,
                    found: false,
                });
            }
        }
    }
}

// === impl Kind ===

impl Kind {
    /// Whether it is about what is published, whichever VM reported it.
    pub(super) fn is_of_registry(self) -> bool {
        matches!(self, Self::RegistryWentBack | Self::NotFollowed)
    }
}

// === impl Departure ===

impl Departure {
    /// In one sentence, without its end.
    #[must_use]
    pub fn shown(&self, log: &Log) -> String {
        let vm = log.vms.get(self.vm).map(super::Vm::shown).unwrap_or_default();
        let bundle = log.bundles.get(self.bundle).map_or("", |bundle| &bundle.label).replace('`', "'");
        let (since, serves, current) = (log.clock.shown(self.since), self.serves, self.current);
        let lasted = lasting(self.lasted);
        match (self.kind, self.until) {
            (Kind::WentBack, _) => {
                format!(
                    "{vm} went back to generation {serves} of `{bundle}` at {since} after it had served {current}"
                )
            }
            (Kind::RegistryWentBack, _) => {
                format!(
                    "the registry went back from generation {serves} of `{bundle}` to {current} at {since}, as {vm} says"
                )
            }
            (Kind::NotFollowed, None) => {
                format!(
                    "the registry refuses what is offered of `{bundle}` since {since}, and keeps generation {serves}"
                )
            }
            (Kind::NotFollowed, Some(until)) => {
                let until = log.clock.shown(log.at(until));
                format!(
                    "the registry refused what was offered of `{bundle}` for {lasted}, from {since} to {until}"
                )
            }
            (Kind::Silent, _) => format!(
                "{vm} has said nothing of `{bundle}` since {since} although {current} is current and others of its plugin serve it"
            ),
            (_, None) => {
                let refused = if self.refused { ", which it refused" } else { "" };
                match serves {
                    0 => format!(
                        "{vm} serves nothing of `{bundle}` since {since} although {current} is current{refused}"
                    ),
                    _ => format!(
                        "{vm} serves generation {serves} of `{bundle}` since {since} although {current} is current{refused}"
                    ),
                }
            }
            (_, Some(until)) => {
                let (from, until) = (log.clock.shown(log.at(self.from)), log.clock.shown(log.at(until)));
                let what = if serves == 0 { "nothing".to_owned() } else { format!("generation {serves}") };
                format!(
                    "{vm} served {what} of `{bundle}` for {lasted}, from {from} to {until}, although {current} was current"
                )
            }
        }
    }
}
