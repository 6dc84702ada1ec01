//! How fast one client, or all behind one address, may go.
//!
//! A [`Bucket`] empties by what is taken and fills at a steady [`Rate`] (the generic cell rate
//! algorithm: one number, no timer). Bucket and rate are apart, so that a rate may change while
//! buckets are in use.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use nym_packet::time::Timestamp;

/// How fast a bucket fills, and how much it holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rate {
    interval: Duration,
    tolerance: Duration,
}

impl Rate {
    /// `count` in every `period`, of which `burst` may come at once after a pause. Both counts are
    /// at least 1.
    #[must_use]
    pub fn new(count: u32, period: Duration, burst: u32) -> Self {
        let interval = period / count.max(1);
        Self {
            interval,
            tolerance: interval * (burst.max(1) - 1),
        }
    }

    /// `count` in a second, and five seconds' worth at once.
    #[must_use]
    pub fn per_second(count: u32) -> Self {
        Self::new(count, Duration::from_secs(1), count.saturating_mul(5))
    }

    /// `count` in a minute, all of which may come at once.
    #[must_use]
    pub fn per_minute(count: u32) -> Self {
        Self::new(count, Duration::from_secs(60), count)
    }
}

/// How much has been taken of late.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bucket {
    /// When the bucket would be full again.
    full_at: Option<Timestamp>,
}

impl Bucket {
    /// When something may be taken, if not now.
    pub(crate) fn blocked_until(&self, rate: Rate, now: Timestamp) -> Option<Timestamp> {
        let ahead = self.full_at?.saturating_duration_since(now);
        let wait = ahead.saturating_sub(rate.tolerance);
        (!wait.is_zero()).then(|| now + wait)
    }

    /// Takes `count` out of the bucket, which may be more than is in it: who takes too much waits
    /// the longer afterwards.
    pub(crate) fn take(&mut self, rate: Rate, now: Timestamp, count: u32) {
        let from = self.full_at.map_or(now, |full_at| full_at.max(now));
        self.full_at = Some(from + rate.interval.saturating_mul(count));
    }

    /// Takes one if it may be taken now. Tells whether it did.
    pub(crate) fn try_take(&mut self, rate: Rate, now: Timestamp) -> bool {
        let is_free = self.blocked_until(rate, now).is_none();
        if is_free {
            self.take(rate, now, 1);
        }
        is_free
    }

    /// Whether it is as if nothing had ever been taken.
    pub(crate) fn is_full(&self, now: Timestamp) -> bool {
        self.full_at.is_none_or(|full_at| full_at <= now)
    }
}

/// A bucket for each key that has taken something of late.
#[derive(Debug)]
pub(crate) struct Buckets<K> {
    buckets: HashMap<K, Bucket>,
    count_max: usize,
}

impl<K: Copy + Eq + Hash> Buckets<K> {
    /// Remembers at most `count_max` keys. When there are more it forgets all: for a moment nobody
    /// is limited, which is better than a memory without bound, or nobody being let in.
    pub(crate) fn new(count_max: usize) -> Self {
        Self {
            buckets: HashMap::new(),
            count_max,
        }
    }

    /// Whether one may be taken now out of the bucket of `key`.
    pub(crate) fn may_take(&self, key: K, rate: Rate, now: Timestamp) -> bool {
        let bucket = self.buckets.get(&key);
        bucket.is_none_or(|bucket| bucket.blocked_until(rate, now).is_none())
    }

    /// Takes one out of the bucket of `key`, whether it may be taken or not.
    pub(crate) fn take(&mut self, key: K, rate: Rate, now: Timestamp) {
        if self.buckets.len() >= self.count_max && !self.buckets.contains_key(&key) {
            self.buckets.retain(|_, bucket| !bucket.is_full(now));
            if self.buckets.len() >= self.count_max {
                self.buckets.clear();
            }
        }
        self.buckets.entry(key).or_default().take(rate, now, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_nanos(1_000);

    fn before(at: Timestamp) -> Timestamp {
        Timestamp::from_nanos(at.as_nanos() - 1)
    }

    #[test]
    fn burst_passes_and_one_more_waits_for_its_interval() {
        let rate = Rate::new(10, Duration::from_secs(1), 3);
        let mut bucket = Bucket::default();
        for _ in 0..3 {
            assert!(bucket.try_take(rate, NOW));
        }
        assert!(!bucket.try_take(rate, NOW));
        let next = NOW + Duration::from_millis(100);
        assert_eq!(bucket.blocked_until(rate, NOW), Some(next));
        assert_eq!(bucket.blocked_until(rate, before(next)), Some(next));
        assert_eq!(bucket.blocked_until(rate, next), None);
    }

    #[test]
    fn who_takes_more_than_there_is_waits_the_longer() {
        let rate = Rate::per_second(100);
        let mut bucket = Bucket::default();
        bucket.take(rate, NOW, 700);
        // 500 are the burst, and the first of those comes without a wait.
        let free = NOW + Duration::from_millis(2_010);
        assert_eq!(bucket.blocked_until(rate, NOW), Some(free));
        assert_eq!(bucket.blocked_until(rate, free), None);
    }

    #[test]
    fn rate_may_change_while_the_bucket_is_in_use() {
        let mut bucket = Bucket::default();
        let strict = Rate::per_minute(1);
        assert!(bucket.try_take(strict, NOW));
        assert!(!bucket.try_take(strict, NOW));
        assert!(bucket.try_take(Rate::per_minute(3), NOW + Duration::from_secs(20)));
    }

    #[test]
    fn keys_are_limited_apart_and_forgotten_when_there_are_too_many() {
        let rate = Rate::per_minute(1);
        let mut buckets = Buckets::new(2);
        let try_take = |buckets: &mut Buckets<char>, key, now| {
            let is_free = buckets.may_take(key, rate, now);
            if is_free {
                buckets.take(key, rate, now);
            }
            is_free
        };
        assert!(try_take(&mut buckets, 'a', NOW));
        assert!(try_take(&mut buckets, 'b', NOW));
        assert!(!try_take(&mut buckets, 'a', NOW));
        // Neither bucket is full again, so both are forgotten.
        assert!(try_take(&mut buckets, 'c', NOW));
        assert!(!try_take(&mut buckets, 'c', NOW));
        assert!(try_take(&mut buckets, 'a', NOW));
        assert_eq!(buckets.buckets.len(), 2);
        // A minute later those that are full again make room.
        let later = NOW + Duration::from_secs(60);
        assert!(try_take(&mut buckets, 'd', later));
        assert_eq!(buckets.buckets.len(), 1);
    }
}
