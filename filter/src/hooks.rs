//! What tests take away, to see that it is missed: each protection of the manager, and each check of a request, can be
//! switched off by name.
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
    /// A payload is only taken for the content that it should be.
    PayloadDigest,
    /// A dead owner's bundles are taken over.
    Takeover,
    /// Records are compared on ticks, with or without a notice.
    Reconcile,
    /// A place is renewed before it counts as dead.
    Renewal,
    /// What the one before has checked is not fetched again.
    Resume,
    /// Only one answer counts for each attempt to fetch.
    Attempt,
    /// What is published is tried by one VM before others take it over.
    Trial,
    /// What has ended a VM is not tried again.
    Conviction,
    /// Payloads stay as long as somebody may need them.
    Retention,
    /// The bundles of a policy are taken over as the set that was tried.
    Set,
    /// The place of a VM that ended, or that does nothing any more, is given up.
    Place,
    /// A policy whose requests end VMs is closed.
    Closing,
}

/// Something without which a request would get around a policy, or a decision would break a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Check {
    /// The route to which a decision has sent a request is of the policy that was asked.
    Route,
    /// Who has been sent here by another policy's decision is not sent on.
    SentOnce,
    /// What names no policy names none.
    Metadata,
    /// A path has one reading.
    Path,
    /// A status without a body has none.
    Body,
    /// A decision's pseudo-headers are what HTTP allows.
    PseudoHeader,
    /// A decision's header names and values are what HTTP allows.
    Header,
    /// A policy that reads the body is asked when that has come to its end.
    BodyEnd,
    /// A body that is cut off is not taken for a whole one.
    BodyLength,
    /// A request for another protocol brings no body.
    Tunnel,
}

/// Whether a protection is there.
#[cfg(not(feature = "hooks"))]
pub(crate) const fn guards(_: Protection) -> bool {
    true
}

/// Whether a check is made.
#[cfg(not(feature = "hooks"))]
pub(crate) const fn checks(_: Check) -> bool {
    true
}

#[cfg(feature = "hooks")]
pub(crate) use switched::{checks, guards};

#[cfg(feature = "hooks")]
#[expect(clippy::panic, reason = "ending the VM is what this is for")]
pub(crate) mod switched {
    use std::cell::RefCell;

    use super::{Check, Protection};
    use crate::{authz::RequestHead, policy::Module};

    thread_local! {
        static WITHOUT: RefCell<String> = const { RefCell::new(String::new()) };
    }

    /// Switches one protection off, by the name of its variant; the empty name switches all on.
    pub(crate) fn without(name: &str) {
        WITHOUT.with_borrow_mut(|without| name.clone_into(without));
    }

    /// Ends the VM where a policy is compiled of files that say so: `# hook: end-compile`; `end-compile-on-start`, for a
    /// VM that begins; `end-pair`, if two files do.
    pub(crate) fn end_at_compile<'a>(modules: impl Iterator<Item = &'a Module>, is_start: bool) {
        let mut pairs = 0;
        for module in modules {
            let says =
                |what: &str| module.text().lines().any(|line| line.trim() == format!("# hook: {what}"));
            pairs += usize::from(says("end-pair"));
            if says("end-compile") || is_start && says("end-compile-on-start") || pairs > 1 {
                panic!("ended by {}", module.name);
            }
        }
    }

    /// Ends the VM where a request says so.
    pub(crate) fn end_at_request(head: &RequestHead) {
        if head.header(b"x-portcullis-trap").is_some() {
            panic!("ended by a request");
        }
    }

    /// Ends the VM where a file is read that says so: `# hook: end-read`.
    pub(crate) fn end_at_read(text: &str) {
        if text.lines().any(|line| line.trim() == "# hook: end-read") {
            panic!("ended by a file that is read");
        }
    }

    pub(crate) fn guards(protection: Protection) -> bool {
        is_on(&format!("{protection:?}"))
    }

    pub(crate) fn checks(check: Check) -> bool {
        is_on(&format!("{check:?}"))
    }

    fn is_on(name: &str) -> bool {
        WITHOUT.with_borrow(|without| without != name)
    }
}
