//! What guests and the host logged.

use std::time::Duration;

use super::vms::VmRole;

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Which VM it is about.
    pub vm: VmRole,
    /// Who wrote it.
    pub source: LogSource,
    /// Its level; Envoy's `critical` is an error here.
    pub level: log::Level,
    /// What was written, with replacement characters where it was no text.
    pub message: String,
    /// When.
    pub at: Duration,
}

/// Who wrote a line of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogSource {
    /// The guest, by `proxy_log` or by printing.
    Guest,
    /// The host: a trap, a callback that said no, a function that is not here.
    Host,
}

/// Envoy's numbers of levels, from trace = 0 to critical = 5.
pub(super) fn level_from_number(number: u32) -> log::Level {
    match number {
        0 => log::Level::Trace,
        1 => log::Level::Debug,
        2 => log::Level::Info,
        3 => log::Level::Warn,
        _ => log::Level::Error,
    }
}

/// The number of a level.
pub(super) fn level_to_number(level: log::Level) -> u32 {
    match level {
        log::Level::Trace => 0,
        log::Level::Debug => 1,
        log::Level::Info => 2,
        log::Level::Warn => 3,
        log::Level::Error => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_envoys_numbers() {
        for number in 0..=4 {
            assert_eq!(level_to_number(level_from_number(number)), number);
        }
        assert_eq!(level_from_number(5), log::Level::Error);
    }
}
