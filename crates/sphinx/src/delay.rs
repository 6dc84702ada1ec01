//! How long a hop keeps a packet.

use std::time::Duration;

use rand_core::CryptoRng;
use rand_distr::{Distribution, Exp1};

/// How long a hop holds a packet before it sends it on, in whole nanoseconds.
///
/// On the wire it is a `u64`, so a hostile sender can ask for 584 years: a relay bounds what it
/// honours.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Delay(u64);

impl Delay {
    /// No delay.
    pub const ZERO: Self = Self(0);

    /// A delay of this many nanoseconds.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Draws from the exponential distribution with this mean, rounded to the nearest nanosecond.
    ///
    /// Exponential delays are memoryless: that a packet has waited says nothing about how long it
    /// still will, which is why a continuous-time mix uses them (Danezis 2004; Piotrowska et al.,
    /// "The Loopix Anonymity System", 2017). A mean of zero gives zero.
    pub fn sample_exponential<R: CryptoRng + ?Sized>(mean: Duration, rng: &mut R) -> Self {
        let unit: f64 = Exp1.sample(rng);
        let nanos = unit * mean.as_secs_f64() * 1e9;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "never negative; a float cast saturates, which is what a huge mean asks for"
        )]
        Self(nanos.round() as u64)
    }

    /// The delay in nanoseconds.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The sum, or the longest delay if that is less.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl From<Duration> for Delay {
    /// The same time; durations above 2^64 − 1 ns become the longest delay.
    fn from(duration: Duration) -> Self {
        Self(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl From<Delay> for Duration {
    fn from(delay: Delay) -> Self {
        Self::from_nanos(delay.0)
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    use super::*;

    #[test]
    fn durations_beyond_the_range_saturate() {
        assert_eq!(
            Delay::from(Duration::from_nanos(u64::MAX)).as_nanos(),
            u64::MAX
        );
        assert_eq!(Delay::from(Duration::MAX).as_nanos(), u64::MAX);
        assert_eq!(
            Delay::from(Duration::from_millis(50)).as_nanos(),
            50_000_000
        );
    }

    #[test]
    fn mean_of_zero_gives_zero() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        assert_eq!(
            Delay::sample_exponential(Duration::ZERO, &mut rng),
            Delay::ZERO
        );
    }

    #[test]
    fn samples_follow_the_exponential_distribution() {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let mean = Duration::from_millis(50);
        let count = 20_000_u32;
        let samples: Vec<f64> = (0..count)
            .map(|_| Duration::from(Delay::sample_exponential(mean, &mut rng)).as_secs_f64())
            .collect();
        let average = samples.iter().sum::<f64>() / f64::from(count);
        assert!((0.048..0.052).contains(&average), "average {average}");
        // The median of an exponential distribution is ln 2 of its mean.
        let below = samples
            .iter()
            .filter(|&&s| s < 0.05 * std::f64::consts::LN_2)
            .count();
        assert!(
            (9_600..10_400).contains(&below),
            "{below} of {count} below the median"
        );
    }

    #[test]
    fn longest_mean_does_not_overflow() {
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        for _ in 0..100 {
            Delay::sample_exponential(Duration::MAX, &mut rng);
        }
    }
}
