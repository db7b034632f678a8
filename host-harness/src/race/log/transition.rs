//! One line of the log as a transition.

use std::sync::Arc;

use super::{head::Moment, logfmt::fields};

/// Most characters of a cause that are kept.
const CAUSE: usize = 300;
/// Most characters of a name.
const NAME: usize = 200;

/// One thing that changed, as a VM reported it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// The line that reports it.
    pub line: u64,
    /// When.
    pub at: Moment,
    /// Which VM reported it: its place in [`Log::vms`](super::Log::vms).
    pub vm: usize,
    /// In which callback.
    pub on: On,
    /// What changed.
    pub what: What,
    /// The state before, as the line has it.
    pub from: Arc<str>,
    /// The state after.
    pub to: Arc<str>,
    /// The bundle's generation, where the line has one.
    pub generation: Option<u64>,
    /// The loader's epoch, where the line has one.
    pub epoch: Option<u64>,
    /// Why; empty when the line does not say it.
    pub cause: Arc<str>,
    /// How many lines of this VM were left out before, because there were too many.
    pub left_out: u64,
}

/// What a transition is about. Bundles are places in [`Log::bundles`](super::Log::bundles).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum What {
    /// What is true of a bundle for all VMs: `absent`, `claimed`, `trial`, `current`, `refused`, `quarantined`, `failing`.
    Registry(usize),
    /// What the VM does with a bundle: `none`, `serving`, `refused`.
    Bundle(usize),
    /// What the VM does with a policy, which [`On::object`] names: `pending`, `trial`, `serving`, `refused`,
    /// `quarantined`.
    Policy,
    /// Whether the VM is a member, whose number [`On::object`] is: `absent`, `joined`, `lost`, `left`.
    Member,
    /// A callback of the VM failed; Envoy says so.
    Failed,
}

/// The callback in which something happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct On {
    /// `tick`, `ready`, `response` and so on.
    pub event: Arc<str>,
    /// Which one of its kind on this VM, from 1.
    pub ordinal: usize,
    /// What changed in it: a bundle, `policy checkout`, `member 3`, a function.
    pub object: Arc<str>,
}

/// A line's fields, before it is known whose they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reported {
    pub(super) scope: Scope,
    pub(super) vm: String,
    pub(super) event: String,
    pub(super) ordinal: usize,
    /// The bundle's, the policy's or the member's name.
    pub(super) name: String,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) generation: Option<u64>,
    pub(super) epoch: Option<u64>,
    pub(super) cause: String,
    pub(super) left_out: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Registry,
    Bundle,
    Policy,
    Member,
}

impl Reported {
    /// Reads what stands behind `transition`.
    ///
    /// Errors: what is missing, or is not known here.
    pub(super) fn read(text: &str) -> Result<Reported, String> {
        let fields = fields(text)?;
        let value = |name: &str| fields.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str());
        let needed = |name: &str| {
            let value = value(name).filter(|value| !value.is_empty());
            value.ok_or_else(|| format!("it has no `{name}=`"))
        };
        let number = |name: &str| match value(name) {
            None | Some("") => Ok(None),
            Some(text) => {
                text.parse().map(Some).map_err(|_| format!("`{name}={}` is no number", short(text, 40)))
            }
        };
        let (scope, name) = match (needed("scope")?, value("bundle"), value("policy"), value("member")) {
            ("registry", Some(bundle), _, _) => (Scope::Registry, bundle),
            ("registry", None, _, _) => return Err("it has no `bundle=`".to_owned()),
            ("vm", Some(bundle), _, _) => (Scope::Bundle, bundle),
            ("vm", None, Some(policy), _) => (Scope::Policy, policy),
            ("vm", None, None, Some(member)) => (Scope::Member, member),
            ("vm", None, None, None) => return Err("it has no `bundle=`, `policy=` or `member=`".to_owned()),
            (other, ..) => return Err(format!("`scope={}` is not known here", short(other, 40))),
        };
        let to = needed("to")?;
        let known: &[&str] = match scope {
            Scope::Registry => {
                &["absent", "claimed", "trial", "current", "refused", "quarantined", "failing"]
            }
            Scope::Bundle => &["none", "serving", "refused"],
            Scope::Policy => &["pending", "trial", "serving", "refused", "quarantined"],
            Scope::Member => &["absent", "joined", "lost", "left"],
        };
        if !known.contains(&to) {
            return Err(format!("`to={}` is not one of {}", short(to, 40), known.join(", ")));
        }
        let generation = number("generation")?;
        if generation.is_none() && scope == Scope::Registry && ["trial", "current"].contains(&to)
            || generation.is_none() && (scope, to) == (Scope::Bundle, "serving")
        {
            return Err(format!("it says `to={to}` and has no `generation=`"));
        }
        let on = needed("on")?;
        let (event, ordinal) = on
            .split_once('#')
            .filter(|(event, _)| !event.is_empty() && event.chars().all(char::is_alphanumeric))
            .and_then(|(event, ordinal)| Some((event, ordinal.parse().ok()?)))
            .ok_or_else(|| format!("`on={}` is no callback such as `tick#12`", short(on, 40)))?;
        Ok(Reported {
            scope,
            vm: short(needed("vm")?, 40),
            event: short(event, 40),
            ordinal,
            name: short(name, NAME),
            from: short(value("from").unwrap_or_default(), 40),
            to: to.to_owned(),
            generation,
            epoch: number("epoch")?,
            cause: short(value("cause").unwrap_or_default(), CAUSE),
            left_out: number("suppressed")?.unwrap_or(0),
        })
    }
}

fn short(text: &str, limit: usize) -> String {
    let mut short: String = text.chars().take(limit).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "scope=vm vm=9f3c01aa on=tick#12 bundle=shop from=none to=serving generation=3 epoch=2 cause=\"revision `7f`\"";

    #[test]
    fn every_field_is_read_and_others_are_passed_over() {
        let reported = Reported::read(&format!("{LINE} suppressed=4 colour=blue")).unwrap();
        assert_eq!(
            (reported.scope, reported.vm.as_str(), reported.name.as_str()),
            (Scope::Bundle, "9f3c01aa", "shop")
        );
        assert_eq!((reported.event.as_str(), reported.ordinal), ("tick", 12));
        assert_eq!((reported.from.as_str(), reported.to.as_str()), ("none", "serving"));
        assert_eq!((reported.generation, reported.epoch, reported.left_out), (Some(3), Some(2), 4));
        assert_eq!(reported.cause, "revision `7f`");
    }

    #[test]
    fn what_is_missing_or_not_known_is_named() {
        let cases = [
            ("scope=vm ", "", "it has no `scope=`"),
            ("scope=vm", "scope=moon", "`scope=moon` is not known here"),
            (
                "scope=vm",
                "scope=registry",
                "`to=serving` is not one of absent, claimed, trial, current, refused, quarantined, failing",
            ),
            (" bundle=shop", "", "it has no `bundle=`, `policy=` or `member=`"),
            ("vm=9f3c01aa ", "", "it has no `vm=`"),
            ("to=serving", "to=sleeping", "`to=sleeping` is not one of none, serving, refused"),
            (" generation=3", "", "it says `to=serving` and has no `generation=`"),
            ("generation=3", "generation=-3", "`generation=-3` is no number"),
            (
                "generation=3",
                "generation=99999999999999999999",
                "`generation=99999999999999999999` is no number",
            ),
            ("tick#12", "tick", "`on=tick` is no callback such as `tick#12`"),
            ("tick#12", "t(k#12", "`on=t(k#12` is no callback such as `tick#12`"),
            ("7f`\"", "7f`", "a quote is open at its end"),
        ];
        for (part, other, expected) in cases {
            assert_ne!(LINE.replace(part, other), LINE);
            assert_eq!(Reported::read(&LINE.replace(part, other)), Err(expected.to_owned()));
        }
    }
}
