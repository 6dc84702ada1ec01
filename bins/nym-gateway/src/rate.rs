//! How fast one client may talk.

use std::time::Duration;

use nym_packet::time::Timestamp;

/// A bucket that fills at a steady rate up to a burst (the generic cell rate algorithm: one
/// number, no timer).
#[derive(Clone, Copy, Debug)]
pub(crate) struct RateLimit {
    interval: Duration,
    tolerance: Duration,
    /// When the bucket would be full again.
    full_at: Timestamp,
}

impl RateLimit {
    /// A full bucket. `per_second` is at least 1; so is `burst`.
    pub(crate) fn new(per_second: u32, burst: u32) -> Self {
        let interval = Duration::from_secs(1) / per_second.max(1);
        Self {
            interval,
            tolerance: interval * (burst.max(1) - 1),
            full_at: Timestamp::ZERO,
        }
    }

    /// When one more message may be taken, if not now.
    pub(crate) fn blocked_until(&self, now: Timestamp) -> Option<Timestamp> {
        let ahead = self.full_at.saturating_duration_since(now);
        let wait = ahead.saturating_sub(self.tolerance);
        (!wait.is_zero()).then(|| now + wait)
    }

    /// Takes one message out of the bucket.
    pub(crate) fn take(&mut self, now: Timestamp) {
        self.full_at = self.full_at.max(now) + self.interval;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_passes_and_one_more_waits_for_its_interval() {
        let now = Timestamp::from_nanos(1_000);
        let mut limit = RateLimit::new(10, 3);
        for _ in 0..3 {
            assert_eq!(limit.blocked_until(now), None);
            limit.take(now);
        }
        let next = now + Duration::from_millis(100);
        assert_eq!(limit.blocked_until(now), Some(next));
        assert_eq!(
            limit.blocked_until(Timestamp::from_nanos(next.as_nanos() - 1)),
            Some(next)
        );
        assert_eq!(limit.blocked_until(next), None);
    }
}
