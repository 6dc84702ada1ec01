//! How long to wait after a failure.

use std::time::Duration;

use rand::{Rng, RngExt as _};

/// The row of failures of one next hop.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    initial: Duration,
    maximum: Duration,
    failures: u32,
}

impl Backoff {
    pub(super) fn new(initial: Duration, maximum: Duration) -> Self {
        Self {
            initial,
            maximum,
            failures: 0,
        }
    }

    /// Counts a failure and gives the time to wait: between half of `initial · 2^(failures before
    /// this one)` and all of it, at most the maximum. Saturates, however long the row.
    pub(super) fn failed<R: Rng + ?Sized>(&mut self, rng: &mut R) -> Duration {
        let factor = 2u32.saturating_pow(self.failures);
        let full = self.initial.saturating_mul(factor).min(self.maximum);
        self.failures = self.failures.saturating_add(1);
        let half = full / 2;
        half + (full - half).mul_f64(rng.random_range(0.0..=1.0))
    }

    /// Ends the row.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    const MILLIS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn each_failure_doubles_the_wait_up_to_the_maximum() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut backoff = Backoff::new(MILLIS(100), MILLIS(1000));
        for full in [100, 200, 400, 800, 1000, 1000] {
            let wait = backoff.failed(&mut rng);
            assert!(
                wait >= MILLIS(full) / 2 && wait <= MILLIS(full),
                "{wait:?} of {full} ms"
            );
        }
        backoff.succeeded();
        assert!(backoff.failed(&mut rng) <= MILLIS(100));
    }

    #[test]
    fn g14_the_wait_never_wraps() {
        let mut rng = StdRng::seed_from_u64(2);
        for maximum in [Duration::from_secs(300), Duration::MAX / 4] {
            let mut backoff = Backoff::new(Duration::from_secs(10), maximum);
            let mut longest = Duration::ZERO;
            for _ in 0..200 {
                let wait = backoff.failed(&mut rng);
                assert!(wait >= longest / 2, "{wait:?} after {longest:?}");
                longest = longest.max(wait);
            }
        }
        let mut worn = Backoff {
            failures: u32::MAX,
            ..Backoff::new(MILLIS(1), MILLIS(8))
        };
        assert!(worn.failed(&mut rng) >= MILLIS(4));
    }

    #[test]
    fn waits_differ() {
        let mut rng = StdRng::seed_from_u64(3);
        let mut wait = || Backoff::new(MILLIS(1000), MILLIS(1000)).failed(&mut rng);
        assert_ne!(wait(), wait());
    }

    proptest! {
        #[test]
        fn waits_stay_within_their_bounds(
            initial in 0u64..100_000,
            maximum in 0u64..1_000_000,
            failures in 0u32..100,
            seed: u64,
        ) {
            let mut backoff = Backoff { failures, ..Backoff::new(MILLIS(initial), MILLIS(maximum)) };
            let wait = backoff.failed(&mut StdRng::seed_from_u64(seed));
            prop_assert!(wait <= MILLIS(maximum));
            prop_assert!(wait * 2 >= MILLIS(initial).min(MILLIS(maximum)));
        }
    }
}
