//! What operators see: counters by outcome, and log lines that a flood of requests cannot turn into a flood of lines.

use std::{fmt, time::Duration};

/// Lines about single requests that may be written in a second.
pub const REQUEST_LINES_PER_SECOND: u32 = 10;
/// Transitions that one VM may report in a second: a start with hundreds of bundles, and no endless to and fro.
pub const TRANSITIONS_PER_SECOND: u32 = 2000;

/// One thing to count. Its text is the metric's name; Envoy puts `wasmcustom.` before it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counter {
    /// One answered request.
    Request {
        /// The policy asked, `unknown` where none could be.
        policy: String,
        /// Why the request was answered as it was.
        reason: &'static str,
    },
    /// One request that was answered as the same request before it, without asking the policy again.
    Remembered {
        /// The policy.
        policy: String,
    },
    /// One attempt to fetch a bundle.
    Download {
        /// The bundle.
        bundle: String,
        /// What became of it.
        outcome: DownloadOutcome,
    },
    /// A policy was compiled and made active.
    PolicyCompiled,
    /// Bundles did not make a policy.
    PolicyRejected,
    /// Bundles, or requests of a policy, have ended a VM and are not tried again.
    Quarantined,
    /// A log line about a request was left out.
    LogSuppressed,
}

/// One figure of the whole process. Its text is the metric's name; Envoy puts `wasmcustom.` before it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gauge {
    /// 1 if nothing is stuck.
    Healthy,
    /// 1 if every policy can decide in every VM that is alive.
    Ready,
    /// VMs that give signs of life.
    VmsAlive,
    /// VMs that have stopped to.
    VmsLost,
    /// The generation of a bundle that is published.
    BundleGeneration(String),
    /// 1 if the last attempt to fetch or check a bundle has failed.
    BundleFailing(String),
    /// Seconds since a bundle's server has last said that it is the newest.
    BundleAgeSeconds(String),
    /// The number of the set of bundles by which a policy decides in every VM that is alive; 0 while it cannot in some.
    PolicyGeneration(String),
    /// 1 if the newest bundles of a policy do not compile.
    PolicyRefused(String),
    /// 1 if the newest bundles of a policy, or its requests, have ended VMs and are not tried.
    PolicyQuarantined(String),
}

/// What became of one attempt to fetch a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DownloadOutcome {
    /// New content is active.
    Activated,
    /// The server has nothing new.
    NotModified,
    /// It came and was refused.
    Rejected,
    /// It did not come.
    Failed,
}

/// One change of state, reported once: a line of `key=value` pairs in this order, which `portcullis render --log` reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition<'a> {
    /// Whether it is about what is published for all VMs or about this VM.
    pub scope: Scope,
    /// Name of the VM that reports it.
    pub vm: &'a str,
    /// The callback in which it happened, with its number: `tick#12`.
    pub on: &'a str,
    /// What changed.
    pub subject: Subject<'a>,
    /// The state before.
    pub from: &'a str,
    /// The state after.
    pub to: &'a str,
    /// Generation of the bundle.
    pub generation: Option<u64>,
    /// Epoch of the bundle's owner.
    pub epoch: Option<u64>,
    /// Why.
    pub cause: &'a str,
    /// Lines that were left out before this one.
    pub suppressed: u64,
}

/// Whose state a transition is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// What is published, for all VMs.
    Registry,
    /// What this VM does.
    Vm,
}

/// What a transition is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject<'a> {
    /// A bundle, by name.
    Bundle(&'a str),
    /// A policy, by name.
    Policy(&'a str),
    /// The VM's own place among the members.
    Member(usize),
}

/// Bounds the lines that something can cause (INVARIANT bounded).
#[derive(Debug)]
pub struct LogLimiter {
    lines_per_second: u32,
    written: u32,
    window_start: Duration,
}

// === impl Counter ===

impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request { policy, reason } => {
                write!(f, "portcullis_requests.policy.{policy}.outcome.{reason}")
            }
            Self::Remembered { policy } => write!(f, "portcullis_remembered.policy.{policy}"),
            Self::Download { bundle, outcome } => {
                write!(f, "portcullis_downloads.bundle.{bundle}.outcome.{outcome}")
            }
            Self::PolicyCompiled => f.write_str("portcullis_policies_compiled"),
            Self::PolicyRejected => f.write_str("portcullis_policies_rejected"),
            Self::Quarantined => f.write_str("portcullis_quarantines"),
            Self::LogSuppressed => f.write_str("portcullis_log_lines_suppressed"),
        }
    }
}

impl fmt::Display for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Healthy => f.write_str("portcullis_healthy"),
            Self::Ready => f.write_str("portcullis_ready"),
            Self::VmsAlive => f.write_str("portcullis_vms_alive"),
            Self::VmsLost => f.write_str("portcullis_vms_lost"),
            Self::BundleGeneration(bundle) => write!(f, "portcullis_bundle_generation.bundle.{bundle}"),
            Self::BundleFailing(bundle) => write!(f, "portcullis_bundle_failing.bundle.{bundle}"),
            Self::BundleAgeSeconds(bundle) => write!(f, "portcullis_bundle_age_seconds.bundle.{bundle}"),
            Self::PolicyGeneration(policy) => write!(f, "portcullis_policy_generation.policy.{policy}"),
            Self::PolicyRefused(policy) => write!(f, "portcullis_policy_refused.policy.{policy}"),
            Self::PolicyQuarantined(policy) => write!(f, "portcullis_policy_quarantined.policy.{policy}"),
        }
    }
}

impl fmt::Display for DownloadOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Activated => "activated",
            Self::NotModified => "not_modified",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
        })
    }
}

// === impl Transition ===

impl fmt::Display for Transition<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scope = match self.scope {
            Scope::Registry => "registry",
            Scope::Vm => "vm",
        };
        write!(f, "transition scope={scope} vm={} on={}", self.vm, self.on)?;
        match self.subject {
            Subject::Bundle(name) => write!(f, " bundle={}", Quoted(name))?,
            Subject::Policy(name) => write!(f, " policy={}", Quoted(name))?,
            Subject::Member(number) => write!(f, " member={number}")?,
        }
        write!(f, " from={} to={}", self.from, self.to)?;
        if let Some(generation) = self.generation {
            write!(f, " generation={generation}")?;
        }
        if let Some(epoch) = self.epoch {
            write!(f, " epoch={epoch}")?;
        }
        write!(f, " cause={}", Quoted(self.cause))?;
        if self.suppressed > 0 {
            write!(f, " suppressed={}", self.suppressed)?;
        }
        Ok(())
    }
}

/// A value as logfmt has it: in quotes where it is not one plain word.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_word = |byte: u8| byte.is_ascii_graphic() && !b"\"=\\".contains(&byte);
        if !self.0.is_empty() && self.0.bytes().all(is_word) {
            return f.write_str(self.0);
        }
        f.write_str("\"")?;
        for character in self.0.chars() {
            match character {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                other if other.is_control() => write!(f, "\\u{:04x}", u32::from(other))?,
                other => write!(f, "{other}")?,
            }
        }
        f.write_str("\"")
    }
}

// === impl LogLimiter ===

impl LogLimiter {
    /// A limiter that has let nothing through yet.
    pub fn new(lines_per_second: u32) -> Self {
        Self { lines_per_second, written: 0, window_start: Duration::ZERO }
    }

    /// Whether one more line may be written now.
    pub fn admit(&mut self, now: Duration) -> bool {
        if now.saturating_sub(self.window_start) >= Duration::from_secs(1) {
            self.window_start = now;
            self.written = 0;
        }
        self.written = self.written.saturating_add(1);
        self.written <= self.lines_per_second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_lines_is_cut_to_the_limit_of_each_second() {
        let mut limiter = LogLimiter::new(10);
        let admitted = |limiter: &mut LogLimiter, at| (0..1000).filter(|_| limiter.admit(at)).count();
        assert_eq!(admitted(&mut limiter, Duration::from_millis(100)), 10);
        assert_eq!(admitted(&mut limiter, Duration::from_millis(900)), 0);
        assert_eq!(admitted(&mut limiter, Duration::from_millis(1100)), 10);
    }
}
