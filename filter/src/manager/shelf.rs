//! Bundles that are alive in this VM, whichever plugin has read them: equal content is read and held once.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    rc::{Rc, Weak},
};

use crate::bundle::Bundle;

type Bundles = BTreeMap<(String, String), Weak<Bundle>>;

/// The bundles of one VM, by name and digest; it keeps none alive.
#[derive(Debug, Clone, Default)]
pub struct Shelf(Rc<RefCell<Bundles>>);

// === impl Shelf ===

impl Shelf {
    /// The bundle with this content, if one is alive.
    pub(super) fn find(&self, name: &str, digest: &str) -> Option<Rc<Bundle>> {
        self.0.borrow().get(&(name.to_owned(), digest.to_owned()))?.upgrade()
    }

    /// The bundle itself, or an equal one that was there before.
    pub(super) fn keep(&self, bundle: Bundle) -> Rc<Bundle> {
        if let Some(equal) = self.find(&bundle.name, &bundle.digest) {
            return equal;
        }
        let mut bundles = self.0.borrow_mut();
        bundles.retain(|_, bundle| bundle.strong_count() > 0);
        let bundle = Rc::new(bundle);
        bundles.insert((bundle.name.clone(), bundle.digest.clone()), Rc::downgrade(&bundle));
        bundle
    }
}
