//! What operators see: counters by outcome, and log lines that a flood of requests cannot turn into a flood of lines.

use std::{fmt, time::Duration};

/// Lines about single requests that may be written at once, and per second.
const LINES_PER_SECOND: u32 = 10;

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
    /// A log line about a request was left out.
    LogSuppressed,
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

/// Bounds the lines that requests can cause (INVARIANT bounded): a bucket that refills with time.
#[derive(Debug, Default)]
pub struct LogLimiter {
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
            Self::Download { bundle, outcome } => {
                write!(f, "portcullis_downloads.bundle.{bundle}.outcome.{outcome}")
            }
            Self::PolicyCompiled => f.write_str("portcullis_policies_compiled"),
            Self::PolicyRejected => f.write_str("portcullis_policies_rejected"),
            Self::LogSuppressed => f.write_str("portcullis_log_lines_suppressed"),
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

// === impl LogLimiter ===

impl LogLimiter {
    /// Whether one more line about a request may be written now.
    pub fn admit(&mut self, now: Duration) -> bool {
        if now.saturating_sub(self.window_start) >= Duration::from_secs(1) {
            self.window_start = now;
            self.written = 0;
        }
        self.written = self.written.saturating_add(1);
        self.written <= LINES_PER_SECOND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_lines_is_cut_to_the_limit_of_each_second() {
        let mut limiter = LogLimiter::default();
        let admitted = |limiter: &mut LogLimiter, at| (0..1000).filter(|_| limiter.admit(at)).count();
        assert_eq!(admitted(&mut limiter, Duration::from_millis(100)), 10);
        assert_eq!(admitted(&mut limiter, Duration::from_millis(900)), 0);
        assert_eq!(admitted(&mut limiter, Duration::from_millis(1100)), 10);
    }
}
