//! What a process uses, as Linux counts it: time on the processor, and memory.

use std::fs;
use std::time::Duration;

/// Ticks per second in which `/proc` counts, the same on every Linux that Rust runs on.
const TICKS_PER_SECOND: u32 = 100;

/// Position of user and system time among the fields after the program's name.
const USER_TIME_INDEX: usize = 11;

/// Why a process cannot be observed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// There is no such process, or it belongs to somebody else.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file of the process.
        path: String,
        /// What the system answered.
        source: std::io::Error,
    },
    /// The file does not look as expected.
    #[error("{path} does not hold what is looked for")]
    Unreadable {
        /// The file of the process.
        path: String,
    },
}

/// Time that all threads of a process have spent on a processor, user and system together, in
/// steps of 10 ms.
///
/// # Errors
/// [`ProcessError`] when the process is gone or its file cannot be read.
pub fn processor_time(pid: u32) -> Result<Duration, ProcessError> {
    let path = format!("/proc/{pid}/stat");
    match fs::read_to_string(&path) {
        Ok(line) => parse(&line).ok_or(ProcessError::Unreadable { path }),
        Err(source) => Err(ProcessError::Read { path, source }),
    }
}

/// Memory of a process that is in the machine's memory now, in bytes.
///
/// # Errors
/// [`ProcessError`] when the process is gone or its file cannot be read.
pub fn resident_bytes(pid: u32) -> Result<u64, ProcessError> {
    let path = format!("/proc/{pid}/status");
    match fs::read_to_string(&path) {
        Ok(text) => parse_resident(&text).ok_or(ProcessError::Unreadable { path }),
        Err(source) => Err(ProcessError::Read { path, source }),
    }
}

/// The bytes in the line `VmRSS:   1234 kB`.
fn parse_resident(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// The time in a line of `/proc/<pid>/stat`: `pid (name) state …`, where the name may hold anything,
/// closing parentheses too.
fn parse(line: &str) -> Option<Duration> {
    let (_, fields) = line.rsplit_once(')')?;
    let mut times = fields.split_ascii_whitespace().skip(USER_TIME_INDEX);
    let user: u32 = times.next()?.parse().ok()?;
    let system: u32 = times.next()?.parse().ok()?;
    Some(Duration::from_secs(1) * user.checked_add(system)? / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_added_whatever_the_name() {
        let line = "42 (a) b) S 1 42 42 0 -1 4194304 100 0 0 0 150 25 0 0 20 0 1 0 5 6 7";
        assert_eq!(parse(line), Some(Duration::from_millis(1750)));
    }

    #[test]
    fn anything_else_gives_nothing() {
        for line in ["", "42 (a) S 1", "42 (a) S 1 2 3 4 5 6 7 8 9 10 x y", ")"] {
            assert_eq!(parse(line), None, "{line}");
        }
    }

    #[test]
    fn resident_memory_is_told_in_bytes() {
        let status = "Name:\ta\nVmHWM:\t  99 kB\nVmRSS:\t    7 kB\nThreads:\t1\n";
        assert_eq!(parse_resident(status), Some(7 * 1024));
        assert_eq!(parse_resident("Name:\ta\n"), None);
        assert!(resident_bytes(std::process::id()).is_ok_and(|bytes| bytes > 0));
        assert!(resident_bytes(u32::MAX).is_err());
    }

    #[test]
    fn this_process_can_be_observed_and_a_missing_one_cannot() {
        assert!(processor_time(std::process::id()).is_ok());
        assert!(matches!(
            processor_time(u32::MAX),
            Err(ProcessError::Read { .. })
        ));
    }
}
