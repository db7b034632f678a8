//! What only a whole log reports: which VMs were gone when, which lines are missing, and whether it is of one Envoy.

use std::{collections::HashMap, sync::Arc};

use super::{Registered, Transition, Vm, What, read::Reader};

impl Reader<'_> {
    /// By process and thread, the main thread first; VMs of one thread as they came.
    pub(super) fn sort_vms(&mut self, transitions: &mut [Transition]) {
        for vm in &mut self.vms {
            let main = self.processes.get(vm.process).and_then(|process| process.main);
            vm.main = vm.thread.is_some() && vm.thread == main;
        }
        let mut order: Vec<usize> = (0..self.vms.len()).collect();
        order.sort_by_key(|&vm| self.vms.get(vm).map(|vm| (vm.process, !vm.main, vm.thread)));
        let mut places = vec![0; order.len()];
        for (place, &vm) in order.iter().enumerate() {
            if let Some(slot) = places.get_mut(vm) {
                *slot = place;
            }
        }
        self.vms = order.iter().filter_map(|&vm| self.vms.get(vm)).cloned().collect();
        for transition in transitions {
            transition.vm = places.get(transition.vm).copied().unwrap_or_default();
        }
    }

    /// With which transition each VM was gone.
    pub(super) fn ends(&mut self, transitions: &[Transition]) {
        let mut first: Vec<Option<usize>> = vec![None; self.vms.len()];
        let mut last: Vec<usize> = vec![0; self.vms.len()];
        for (place, transition) in transitions.iter().enumerate() {
            if let (Some(first), Some(last)) = (first.get_mut(transition.vm), last.get_mut(transition.vm)) {
                first.get_or_insert(place);
                *last = place;
            }
            let gone = transition.what == What::Failed
                || transition.what == What::Member && &*transition.to == "left";
            if let Some(vm) = self.vms.get_mut(transition.vm) {
                // A VM that says something afterwards was not gone.
                vm.ends = gone.then_some(place);
            }
        }
        let ends: Vec<Option<usize>> = self
            .vms
            .iter()
            .zip(&last)
            .map(|(vm, last)| {
                let successors = self.vms.iter().zip(&first).filter(|(other, _)| {
                    let same_place =
                        other.thread.is_some() && other.thread == vm.thread && other.plugin == vm.plugin;
                    let restarted =
                        other.process > vm.process && other.main && other.thread == self.main_of(vm);
                    same_place || restarted && self.source_of(other) == self.source_of(vm)
                });
                let replaced = successors.filter_map(|(_, first)| first.filter(|first| first > last)).min();
                vm.ends.or(replaced)
            })
            .collect();
        for (vm, ends) in self.vms.iter_mut().zip(ends) {
            vm.ends = ends;
        }
    }

    fn main_of(&self, vm: &Vm) -> Option<u64> {
        self.processes.get(vm.process).and_then(|process| process.main)
    }

    fn source_of(&self, vm: &Vm) -> Option<&str> {
        self.processes.get(vm.process).map(|process| process.source.as_str())
    }

    /// Each line reports the state before; where that is not what the line before has left, lines are missing.
    pub(super) fn missing(&mut self, transitions: &[Transition]) {
        let mut states: HashMap<(usize, u8, Arc<str>), Arc<str>> = HashMap::new();
        for transition in transitions {
            let kind = match transition.what {
                // Several VMs report on the registry, and not in the order in which they have changed it.
                What::Registry(_) | What::Failed => continue,
                What::Bundle(_) => 0,
                What::Policy => 1,
                What::Member => 2,
            };
            let key = (transition.vm, kind, transition.on.object.clone());
            let known = states.insert(key, transition.to.clone());
            let known = known.filter(|known| *known != transition.from && transition.left_out == 0);
            if let Some(known) = known.filter(|_| !transition.from.is_empty()) {
                let what = format!(
                    "`{}` of vm {} was `{}` before and is `{known}` in the log: lines are missing",
                    transition.on.object,
                    self.vms.get(transition.vm).map_or("", |vm| &vm.name),
                    transition.from
                );
                self.warn(transition.line, what);
            }
        }
    }

    /// An epoch is given to one VM alone; if two have it, their registries are not one.
    pub(super) fn mixed(&mut self, transitions: &[Transition]) {
        let mut claims: HashMap<(usize, u64), usize> = HashMap::new();
        for transition in transitions {
            let What::Registry(bundle) = transition.what else { continue };
            if &*transition.to == "absent" {
                claims.retain(|(claimed, _), _| *claimed != bundle);
            }
            let Some(epoch) = transition.epoch.filter(|_| &*transition.to == "claimed") else { continue };
            let first = *claims.entry((bundle, epoch)).or_insert(transition.vm);
            if first != transition.vm {
                let what = format!(
                    "epoch {epoch} of `{}` is claimed a second time: if the log is of several Envoys, cut it into one for each",
                    transition.on.object
                );
                self.warn(transition.line, what);
                return;
            }
        }
    }

    pub(super) fn label(&mut self) {
        let first = self.bundles.first().cloned();
        let several = |differs: fn(&Registered, &Registered) -> bool| {
            first.as_ref().is_some_and(|first| self.bundles.iter().any(|bundle| differs(first, bundle)))
        };
        let processes = several(|one, other| one.process != other.process);
        let ids = several(|one, other| one.vm_id != other.vm_id);
        for bundle in &mut self.bundles {
            if ids {
                bundle.label = format!("{} of {}", bundle.label, bundle.vm_id);
            }
            if processes {
                bundle.label = format!("{} #{}", bundle.label, bundle.process + 1);
            }
        }
    }
}
