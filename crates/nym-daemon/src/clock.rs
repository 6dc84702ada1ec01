//! The time, as the shells see it.
//!
//! Cores get a [`Timestamp`] handed in: nanoseconds since a start that the shell chose. A
//! [`Clock`] makes them from tokio's clock, so that a test which pauses tokio's time pauses the
//! cores as well. Wall-clock time is needed only where two machines must agree (announcements),
//! and comes from [`unix_time`].

use std::time::{Duration, SystemTime};

use nym_packet::time::Timestamp;
use rustix::time::ClockId;
use tokio::time::Instant;

/// Distance of a clock's start from timestamp zero, so that cores can subtract a little from
/// "now" without reaching zero. One hour.
const ORIGIN: Duration = Duration::from_secs(3600);

/// A source of [`Timestamp`]s that never goes backwards.
///
/// Two clocks of one process have different starts: give every part of a program a copy of the
/// same one.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
    /// What it shows at the start.
    origin: Duration,
}

impl Clock {
    /// A clock whose timestamps count from one hour before now.
    #[must_use]
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
            origin: ORIGIN,
        }
    }

    /// A clock whose timestamps count from the beginning of 1970, by the machine's clock as it
    /// stands now: those of several runs of a program can be compared. Whoever keeps them has to
    /// be prepared for a machine's clock that was set back between two runs.
    #[must_use]
    pub fn since_1970() -> Self {
        Self {
            start: Instant::now(),
            origin: unix_time().max(ORIGIN),
        }
    }

    /// The current time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.timestamp(Instant::now())
    }

    /// The timestamp of `instant`; instants before the start of the clock give the start.
    #[must_use]
    pub fn timestamp(&self, instant: Instant) -> Timestamp {
        let shown = instant.saturating_duration_since(self.start) + self.origin;
        // 2^64 ns are 584 years of uptime.
        Timestamp::from_nanos(u64::try_from(shown.as_nanos()).unwrap_or(u64::MAX))
    }

    /// The instant at which this clock shows `timestamp`, for `tokio::time::sleep_until`.
    ///
    /// Timestamps from before the start give the start; those more than thirty years ahead are
    /// cut to that, which tokio's timer can hold.
    #[must_use]
    pub fn instant(&self, timestamp: Timestamp) -> Instant {
        const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
        let since_start = Duration::from_nanos(timestamp.as_nanos()).saturating_sub(self.origin);
        self.start + since_start.min(FAR)
    }
}

/// Time since the beginning of 1970 (UTC), zero when the machine's clock is set before that.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the only place where wall-clock time enters"
)]
pub fn unix_time() -> Duration {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

/// Time that the calling thread has spent on a processor, in user and system mode together. What
/// it cost to do something is the difference, whatever else the machine did meanwhile.
///
/// Reading it is a system call, which takes up to 3 µs on a virtual machine.
#[must_use]
pub fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(ClockId::ThreadCPUTime);
    let part = |value: i64| u64::try_from(value).unwrap_or_default();
    Duration::from_secs(part(time.tv_sec)) + Duration::from_nanos(part(time.tv_nsec))
}

/// Whole seconds since the beginning of 1970 (UTC).
#[must_use]
pub fn unix_time_secs() -> u64 {
    unix_time().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_clock_follows_paused_time() {
        let clock = Clock::start();
        let before = clock.now();
        tokio::time::advance(Duration::from_millis(1500)).await;
        assert_eq!(clock.now().as_nanos() - before.as_nanos(), 1_500_000_000);
    }

    #[tokio::test(start_paused = true)]
    async fn instants_and_timestamps_convert_both_ways() {
        let clock = Clock::start();
        let later = Instant::now() + Duration::from_secs(7);
        assert_eq!(clock.instant(clock.timestamp(later)), later);
        assert_eq!(clock.instant(Timestamp::from_nanos(0)), Instant::now());
        // No overflow at the far end.
        let _ = clock.instant(Timestamp::from_nanos(u64::MAX));
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_since_1970_shows_the_wall_clock_and_follows_paused_time() {
        let clock = Clock::since_1970();
        let before = clock.now();
        assert!(before.as_nanos() > 1_704_067_200_000_000_000);
        tokio::time::advance(Duration::from_secs(5)).await;
        let passed = clock.now().saturating_duration_since(before);
        assert_eq!(passed, Duration::from_secs(5));
        assert_eq!(clock.instant(clock.now()), Instant::now());
    }

    #[test]
    fn a_thread_that_works_uses_time_and_one_that_waits_does_not() {
        let began = thread_time();
        while thread_time() == began {}
        let worked = thread_time();
        let other = std::thread::spawn(|| while thread_time() < Duration::from_millis(20) {});
        other.join().unwrap();
        assert!(thread_time() - worked < Duration::from_millis(20));
    }

    #[test]
    fn wall_clock_time_is_after_2024() {
        assert!(unix_time_secs() > 1_704_067_200);
    }
}
