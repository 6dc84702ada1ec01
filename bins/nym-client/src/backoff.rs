//! Growing, jittered pauses between attempts.

use std::time::Duration;

use rand::{Rng, RngExt as _};

/// The first pause.
const FIRST: Duration = Duration::from_secs(1);

/// No pause is longer.
const LONGEST: Duration = Duration::from_secs(60);

/// Pauses that double from one second to sixty, each shortened by a random part of up to half so
/// that the clients of a gateway that comes back do not all knock at once.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(crate) const fn new() -> Self {
        Self { next: FIRST }
    }

    /// The pause before the next attempt.
    pub(crate) fn pause<R: Rng>(&mut self, rng: &mut R) -> Duration {
        let full = self.next;
        self.next = (2 * full).min(LONGEST);
        full.mul_f64(rng.random_range(0.5..=1.0))
    }

    /// It worked: the next failure begins with a short pause again.
    pub(crate) fn reset(&mut self) {
        self.next = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute_and_start_over_after_a_success() {
        let mut rng = nym_daemon::entropy();
        let mut backoff = Backoff::new();
        for full in [1, 2, 4, 8, 16, 32, 60, 60] {
            let full = Duration::from_secs(full);
            let pause = backoff.pause(&mut rng);
            assert!((full / 2..=full).contains(&pause), "{pause:?} of {full:?}");
        }
        backoff.reset();
        assert!(backoff.pause(&mut rng) <= FIRST);
    }
}
