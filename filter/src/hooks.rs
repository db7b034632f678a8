//! What tests take away, to see that it is missed: each protection of the manager can be switched off by name.
//!
//! Only a module built with the feature `hooks` can; everywhere else a protection is a constant `true`. The same
//! feature makes a request with the header `x-portcullis-trap` end its VM, and an answer to a download that is `trap`.

/// Something without which a race would be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protection {
    /// A write replaces only what was read.
    #[cfg_attr(not(target_arch = "wasm32"), expect(dead_code, reason = "the shell's"))]
    Cas,
    /// What an earlier owner writes is refused.
    Epoch,
    /// A generation that a VM serves never goes back.
    Monotone,
    /// A payload is only taken for the generation that it says it is.
    PayloadGeneration,
    /// A dead owner's bundles are taken over.
    Takeover,
    /// Records are compared on ticks, whatever was told.
    Comparison,
    /// A place is renewed before it counts as dead.
    Renewal,
    /// What the one before has checked is not fetched again.
    Resume,
    /// Only one answer counts for each attempt to fetch.
    Attempt,
}

/// Whether a protection is there.
#[cfg(not(feature = "hooks"))]
pub(crate) const fn guards(_: Protection) -> bool {
    true
}

#[cfg(feature = "hooks")]
pub(crate) use switched::guards;

#[cfg(feature = "hooks")]
pub(crate) mod switched {
    use std::cell::RefCell;

    use super::Protection;

    thread_local! {
        static WITHOUT: RefCell<String> = const { RefCell::new(String::new()) };
    }

    /// Switches one protection off, by the name of its variant; the empty name switches all on.
    pub(crate) fn without(name: &str) {
        WITHOUT.with_borrow_mut(|without| name.clone_into(without));
    }

    pub(crate) fn guards(protection: Protection) -> bool {
        WITHOUT.with_borrow(|without| *without != format!("{protection:?}"))
    }
}
