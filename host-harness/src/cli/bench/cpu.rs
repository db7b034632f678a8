//! CPU time of another process, as Linux's scheduler counts it.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};

/// User and system time of all threads of a process that live.
///
/// `utime` and `stime` in `/proc/PID/stat` come in steps of 10 ms, which is as much as hundreds of requests take; `schedstat`
/// counts the same in nanoseconds.
pub(super) fn of_process(pid: u32) -> Result<Duration> {
    of_threads(Path::new(&format!("/proc/{pid}/task")))
}

fn of_threads(tasks: &Path) -> Result<Duration> {
    let unreadable = || format!("{}: CPU time is taken from Linux's /proc", tasks.display());
    let mut time = Duration::ZERO;
    for task in fs::read_dir(tasks).with_context(unreadable)? {
        // A thread may end between the two.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        time += on_cpu(&text).with_context(|| format!("schedstat is `{}`", text.trim()))?;
    }
    ensure!(!time.is_zero(), "{}: no thread has CPU time: this kernel does not count it", tasks.display());
    Ok(time)
}

/// Of `473637 203433 1`: nanoseconds on a CPU, nanoseconds waiting for one, how often.
fn on_cpu(schedstat: &str) -> Option<Duration> {
    schedstat.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Instant};

    use super::*;

    #[test]
    fn cpu_time_is_that_of_all_threads() {
        assert_eq!(on_cpu("473637 203433 1\n"), Some(Duration::from_nanos(473_637)));
        assert_eq!(on_cpu("x"), None);
        assert!(of_process(u32::MAX).is_err());

        let own = std::process::id();
        let enough = of_process(own).unwrap() + Duration::from_millis(50);
        let began = Instant::now();
        let busy = move || {
            while began.elapsed() < Duration::from_secs(60) {
                if of_process(own).unwrap() >= enough {
                    return true;
                }
            }
            false
        };
        assert!(thread::spawn(busy).join().unwrap());
    }
}
