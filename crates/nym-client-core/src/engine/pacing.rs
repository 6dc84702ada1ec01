//! When packets leave: Poisson streams without catch-up bursts.

use std::time::Duration;

use nym_packet::time::Timestamp;
use rand_core::CryptoRng;
use sphinx::Delay;

/// A Poisson process: slots with exponentially distributed gaps.
///
/// ```text
///            start(now)                      slot(now) is true
///   stopped ───────────► waiting for `next` ───────────────────► waiting for the one after
///      ▲                       │
///      └────────stop───────────┘
/// ```
///
/// The next slot is counted from the previous one, so that a timer that fires a little late does
/// not lower the rate. A slot that is more than one mean gap late is counted from now instead:
/// whatever held the client up (a suspended laptop, a lost link), it must not be followed by a
/// burst, which an observer could tell from ordinary traffic.
#[derive(Debug)]
pub(crate) struct PoissonStream {
    mean: Duration,
    next: Option<Timestamp>,
}

impl PoissonStream {
    pub(crate) fn new(mean: Duration) -> Self {
        Self { mean, next: None }
    }

    /// Begins with a fresh gap. The process is memoryless, so a stream that starts anew looks
    /// like one that never stopped.
    pub(crate) fn start<R: CryptoRng + ?Sized>(&mut self, now: Timestamp, rng: &mut R) {
        self.next = Some(now + self.gap(rng));
    }

    pub(crate) fn stop(&mut self) {
        self.next = None;
    }

    /// Takes the slot that is due at `now`, if there is one, and draws the next.
    pub(crate) fn slot<R: CryptoRng + ?Sized>(&mut self, now: Timestamp, rng: &mut R) -> bool {
        let Some(due) = self.next.filter(|due| *due <= now) else {
            return false;
        };
        let late = now.saturating_duration_since(due);
        let base = if late > self.mean { now } else { due };
        self.next = Some(base + self.gap(rng));
        true
    }

    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.next
    }

    fn gap<R: CryptoRng + ?Sized>(&self, rng: &mut R) -> Duration {
        Duration::from_nanos(Delay::sample_exponential(self.mean, rng).as_nanos())
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    const MEAN: Duration = Duration::from_millis(20);

    #[test]
    fn a_stream_keeps_its_rate_when_the_timer_is_a_little_late() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let mut stream = PoissonStream::new(MEAN);
        stream.start(Timestamp::from_nanos(0), &mut rng);
        let mut slots = 0_u32;
        // A timer that only wakes once a millisecond, for 100 s: 5,000 slots expected.
        for millis in 0..100_000_u64 {
            let now = Timestamp::from_nanos(millis * 1_000_000);
            while stream.slot(now, &mut rng) {
                slots += 1;
            }
        }
        assert!((4_700..5_300).contains(&slots), "{slots} slots");
    }

    #[test]
    fn a_stall_is_not_followed_by_a_burst() {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let mut stream = PoissonStream::new(MEAN);
        stream.start(Timestamp::from_nanos(0), &mut rng);
        let after_stall = Timestamp::from_nanos(3_600_000_000_000);
        assert!(stream.slot(after_stall, &mut rng));
        assert!(
            stream.next().unwrap() > after_stall,
            "only one slot is due after an hour"
        );
    }

    #[test]
    fn lateness_up_to_one_mean_gap_is_made_up_and_beyond_it_is_not() {
        for (late, made_up) in [(MEAN, true), (MEAN + Duration::from_nanos(1), false)] {
            let mut rng = ChaCha20Rng::seed_from_u64(3);
            let mut stream = PoissonStream::new(MEAN);
            stream.start(Timestamp::from_nanos(0), &mut rng);
            let due = stream.next().unwrap();
            let mut same_draw = rng.clone();
            let gap = stream.gap(&mut same_draw);
            let now = due + late;
            assert!(stream.slot(now, &mut rng));
            let base = if made_up { due } else { now };
            assert_eq!(stream.next(), Some(base + gap));
        }
    }

    #[test]
    fn a_stopped_stream_has_no_slots() {
        let mut rng = ChaCha20Rng::seed_from_u64(4);
        let mut stream = PoissonStream::new(MEAN);
        stream.start(Timestamp::from_nanos(0), &mut rng);
        stream.stop();
        assert!(!stream.slot(Timestamp::from_nanos(u64::MAX), &mut rng));
        assert_eq!(stream.next(), None);
    }
}
