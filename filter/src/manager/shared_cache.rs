//! What the plugin contexts of one VM share: bundles and policies that are alive, and which contexts there are.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::{Rc, Weak},
};

use crate::{bundle::Bundle, policy::Policy};

/// The bundles and policies of one VM, each held once; it keeps none alive.
#[derive(Debug, Clone, Default)]
pub struct SharedCache(Rc<RefCell<Contents>>);

#[derive(Debug, Default)]
struct Contents {
    /// By name and digest.
    bundles: BTreeMap<(String, String), Weak<Bundle>>,
    policies: BTreeMap<PolicyName, Weak<Policy>>,
    /// The keys of everything that each context loads and decides, in the order in which they were configured.
    contexts: Vec<(u64, BTreeSet<String>)>,
    /// Counts the contexts that there have been.
    begun: u64,
    /// What distinguishes this VM from others.
    instance: u32,
}

/// What makes a compiled policy the same: key of its record, and digests by bundle.
type PolicyName = (String, BTreeMap<String, String>);

// === impl SharedCache ===

impl SharedCache {
    /// The bundle with this content, if one is alive.
    pub(super) fn find(&self, name: &str, digest: &str) -> Option<Rc<Bundle>> {
        self.0.borrow().bundles.get(&(name.to_owned(), digest.to_owned()))?.upgrade()
    }

    /// The bundle itself, or an equal one that was there before.
    pub(super) fn keep(&self, bundle: Bundle) -> Rc<Bundle> {
        if let Some(equal) = self.find(&bundle.name, &bundle.digest) {
            return equal;
        }
        let bundles = &mut self.0.borrow_mut().bundles;
        bundles.retain(|_, bundle| bundle.strong_count() > 0);
        let bundle = Rc::new(bundle);
        bundles.insert((bundle.name.clone(), bundle.digest.clone()), Rc::downgrade(&bundle));
        bundle
    }

    /// The policy of this name, if one is alive: this VM need not compile it.
    pub(super) fn find_policy(&self, name: &PolicyName) -> Option<Rc<Policy>> {
        self.0.borrow().policies.get(name)?.upgrade()
    }

    pub(super) fn keep_policy(&self, name: PolicyName, policy: &Rc<Policy>) {
        let policies = &mut self.0.borrow_mut().policies;
        policies.retain(|_, policy| policy.strong_count() > 0);
        policies.insert(name, Rc::downgrade(policy));
    }

    /// A context begins. What names it from now on, and whether it is the first one of this VM; the VM then has the
    /// number that it has drawn.
    pub(super) fn begin(&self, keys: BTreeSet<String>, drawn: u32) -> (u64, bool) {
        let contents = &mut *self.0.borrow_mut();
        contents.begun += 1;
        contents.contexts.push((contents.begun, keys));
        if contents.begun == 1 {
            contents.instance = drawn;
        }
        (contents.begun, contents.begun == 1)
    }

    /// Whether nothing has been configured in this VM yet.
    pub(super) fn is_unused(&self) -> bool {
        self.0.borrow().begun == 0
    }

    /// The number of this VM.
    pub(super) fn instance(&self) -> u32 {
        self.0.borrow().instance
    }

    pub(super) fn end(&self, context: u64) {
        self.0.borrow_mut().contexts.retain(|(number, _)| *number != context);
    }

    /// Whether a later context loads and decides all that this one does: Envoy drains this one.
    pub(super) fn is_superseded(&self, context: u64) -> bool {
        let contents = self.0.borrow();
        let Some((_, mine)) = contents.contexts.iter().find(|(number, _)| *number == context) else {
            return false;
        };
        contents.contexts.iter().any(|(number, keys)| *number > context && mine.is_subset(keys))
    }

    /// Whether another context has something with this key.
    pub(super) fn is_shared(&self, context: u64, key: &str) -> bool {
        self.0.borrow().contexts.iter().any(|(number, keys)| *number != context && keys.contains(key))
    }
}
