//! What VMs believe of shared state: in the end they must believe the same, and a version never goes back.

use std::collections::{BTreeMap, BTreeSet};

use super::Violation;

/// What a VM reported that it believes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The VM, by a name that a VM which takes its place does not have: a new VM may begin anew.
    pub vm: String,
    /// What it is a view of.
    pub name: String,
    /// The version of what is believed, where it has one.
    pub version: Option<u64>,
    /// What is believed.
    pub value: String,
    /// The step at which it was reported.
    pub step: usize,
}

/// Says so for each view that VMs believe differently in the end. Only those in `alive` count, and only those that
/// reported that view at all.
#[must_use]
pub fn check_end(views: &[View], alive: &BTreeSet<String>) -> Vec<Violation> {
    let mut last: BTreeMap<&str, BTreeMap<&str, &View>> = BTreeMap::new();
    for view in in_order(views).into_iter().filter(|view| alive.contains(&view.vm)) {
        last.entry(&view.name).or_default().insert(&view.vm, view);
    }
    let differ = last.iter().filter_map(|(name, by_vm)| {
        let mut by_value: BTreeMap<(Option<u64>, &str), Vec<&str>> = BTreeMap::new();
        for (vm, view) in by_vm {
            by_value.entry((view.version, &view.value)).or_default().push(vm);
        }
        if by_value.len() < 2 {
            return None;
        }
        let reported = by_value.iter().map(|((version, value), vms)| {
            let version = version.map(|version| format!(" (version {version})")).unwrap_or_default();
            format!("{} {value:?}{version}", vms.join(" and "))
        });
        let reported: Vec<String> = reported.collect();
        let message = format!(
            "in the end every VM must believe the same of `{name}`, and they believe: {}",
            reported.join("; ")
        );
        Some(Violation::new("views", message))
    });
    differ.collect()
}

/// Says so for each version that is older than one which the same VM reported before, with the step.
#[must_use]
pub fn check_versions(views: &[View]) -> Vec<(usize, Violation)> {
    let mut newest: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let mut violations = Vec::new();
    for view in in_order(views) {
        // A belief without a version leaves the newest one as it was.
        let Some(version) = view.version else { continue };
        let newest = newest.entry((&view.vm, &view.name)).or_insert(version);
        if version < *newest {
            let message = format!(
                "{} has seen version {newest} of `{}`, so an older one must not take its place, and {version} does",
                view.vm, view.name
            );
            violations.push((view.step, Violation::new("views", message)));
        }
        *newest = version.max(*newest);
    }
    violations
}

fn in_order(views: &[View]) -> Vec<&View> {
    let mut ordered: Vec<&View> = views.iter().collect();
    ordered.sort_by_key(|view| view.step);
    ordered
}

// === impl View ===

impl View {
    /// What a VM reports to believe of `name`: `version:value`, or the value alone. What stands before the colon and is no
    /// number belongs to the value.
    #[must_use]
    pub fn new(vm: &str, name: &str, belief: &str, step: usize) -> View {
        let versioned =
            belief.split_once(':').and_then(|(version, value)| Some((version.parse().ok()?, value)));
        let (version, value) = versioned.map_or((None, belief), |(version, value)| (Some(version), value));
        View { vm: vm.to_owned(), name: name.to_owned(), version, value: value.to_owned(), step }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vms_that_believe_the_same_in_the_end_agree_however_they_came_there() {
        let views = [view("w0", "READY", 1), view("w1", "NOT_READY", 2), view("w1", "READY", 3)];
        assert_eq!(check_end(&views, &alive(&["w0", "w1", "w2"])), []);
    }

    #[test]
    fn the_last_belief_counts_and_not_the_last_in_the_list() {
        let views = [view("w1", "READY", 9), view("w1", "NOT_READY", 2), view("w0", "READY", 1)];
        assert_eq!(check_end(&views, &alive(&["w0", "w1"])), []);
    }

    #[test]
    fn a_stale_belief_is_told_with_who_has_it() {
        let views = [
            view("w0", "2:READY", 1),
            view("w1", "2:READY", 2),
            view("w2", "1:NOT_READY", 3),
            View { name: "other".to_owned(), ..view("w2", "x", 4) },
        ];
        let message = "in the end every VM must believe the same of `status`, and they believe: \
                       w2 \"NOT_READY\" (version 1); w0 and w1 \"READY\" (version 2)";
        assert_eq!(check_end(&views, &alive(&["w0", "w1", "w2"])), [Violation::new("views", message)]);
        assert_eq!(check_end(&views, &alive(&["w0", "w1"])), [], "a VM that is gone believes nothing");
    }

    #[test]
    fn the_version_alone_or_the_value_alone_makes_a_difference() {
        for other in ["3:READY", "2:NOT_READY", "READY"] {
            let views = [view("w0", "2:READY", 1), view("w1", other, 2)];
            assert_eq!(check_end(&views, &alive(&["w0", "w1"])).len(), 1, "{other}");
        }
    }

    #[test]
    fn a_version_that_goes_back_is_told_at_its_step() {
        let views = [view("w0", "3:a", 1), view("w0", "4:b", 2), view("w0", "2:c", 3), view("w0", "3:d", 4)];
        let message = |version| {
            let text = format!(
                "w0 has seen version 4 of `status`, so an older one must not take its place, and {version} does"
            );
            Violation::new("views", text)
        };
        assert_eq!(check_versions(&views), [(3, message(2)), (4, message(3))]);
    }

    #[test]
    fn versions_of_other_vms_and_of_other_views_do_not_count() {
        let views = [
            view("w0", "9:", 1),
            view("w1", "3:", 2),
            View { name: "other".to_owned(), ..view("w0", "1:", 3) },
            view("w0", "9:", 4),
            view("w0", "10:", 5),
        ];
        assert_eq!(check_versions(&views), []);
    }

    #[test]
    fn a_belief_without_a_version_hides_none() {
        let views = [view("w0", "5:", 1), view("w0", "none", 2), view("w0", "4:", 3)];
        assert_eq!(check_versions(&views).len(), 1);
    }

    #[test]
    fn a_belief_is_a_version_and_a_value() {
        let read = |belief: &str| {
            let view = view("w0", belief, 7);
            (view.version, view.value)
        };
        assert_eq!(read("12:READY"), (Some(12), "READY".to_owned()));
        assert_eq!(read("12:a:b"), (Some(12), "a:b".to_owned()));
        assert_eq!(read(":READY"), (None, ":READY".to_owned()));
        assert_eq!(read("v1:READY"), (None, "v1:READY".to_owned()));
        assert_eq!(read("12"), (None, "12".to_owned()));
        assert_eq!(read(""), (None, String::new()));
    }

    fn view(vm: &str, value: &str, step: usize) -> View {
        View::new(vm, "status", value, step)
    }

    fn alive(vms: &[&str]) -> BTreeSet<String> {
        vms.iter().map(|vm| (*vm).to_owned()).collect()
    }
}
