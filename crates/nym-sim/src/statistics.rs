//! Telling samples apart.

/// The outcome of a Kolmogorov–Smirnov test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KolmogorovSmirnov {
    /// The largest distance between the two distribution functions, from 0 to 1.
    pub distance: f64,
    /// How likely samples of one and the same distribution are at least so far apart. Below 0.01
    /// one does not believe that they are.
    pub p: f64,
}

/// Compares two samples: are they of the same distribution?
///
/// The probability is the asymptotic one of Kolmogorov with the correction of Stephens (1970),
/// good from a dozen values on. Equal values count as equal, so a coarse clock does no harm. An
/// empty sample tells nothing: distance 0, p 1.
#[must_use]
pub fn kolmogorov_smirnov(a: &[f64], b: &[f64]) -> KolmogorovSmirnov {
    let (mut a, mut b) = (a.to_vec(), b.to_vec());
    a.sort_by(f64::total_cmp);
    b.sort_by(f64::total_cmp);
    let (len_a, len_b) = (as_f64(a.len()), as_f64(b.len()));
    if a.is_empty() || b.is_empty() {
        return KolmogorovSmirnov {
            distance: 0.0,
            p: 1.0,
        };
    }
    let mut distance = 0.0_f64;
    let (mut below_a, mut below_b) = (0, 0);
    while let (Some(next_a), Some(next_b)) = (a.get(below_a), b.get(below_b)) {
        let value = next_a.min(*next_b);
        below_a += run_of(&a, below_a, value);
        below_b += run_of(&b, below_b, value);
        distance = distance.max((as_f64(below_a) / len_a - as_f64(below_b) / len_b).abs());
    }
    let effective = (len_a * len_b / (len_a + len_b)).sqrt();
    KolmogorovSmirnov {
        distance,
        p: tail((effective + 0.12 + 0.11 / effective) * distance),
    }
}

/// How many values from `start` on are `value` at most; the sample is sorted.
fn run_of(sorted: &[f64], start: usize, value: f64) -> usize {
    let rest = sorted.get(start..).unwrap_or_default();
    rest.iter().take_while(|other| **other <= value).count()
}

/// The probability that Kolmogorov's statistic is above `x`: 2 Σ (−1)^(k−1) exp(−2 k² x²).
fn tail(x: f64) -> f64 {
    // Below, the series converges slowly towards 1.
    if x < 0.2 {
        return 1.0;
    }
    let terms = (1..=100).map(|k| {
        let sign = if k % 2 == 1 { 1.0 } else { -1.0 };
        let k = f64::from(k);
        sign * (-2.0 * k * k * x * x).exp()
    });
    (2.0 * terms.sum::<f64>()).clamp(0.0, 1.0)
}

fn as_f64(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

    use super::*;

    /// Exponentially distributed values.
    fn exponential(seed: u64, mean: f64, count: usize) -> Vec<f64> {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut unit = || (f64::from(rng.next_u32()) + 0.5) / 4_294_967_296.0;
        (0..count).map(|_| -mean * unit().ln()).collect()
    }

    #[test]
    fn distances_are_those_of_the_definition() {
        let of = |a: &[f64], b: &[f64]| kolmogorov_smirnov(a, b).distance;
        assert_eq!(of(&[1.0, 2.0], &[1.0, 2.0]), 0.0);
        assert_eq!(of(&[1.0, 2.0], &[3.0, 4.0]), 1.0);
        assert_eq!(of(&[1.0, 2.0, 3.0, 4.0], &[3.0, 3.0, 3.0, 3.0]), 0.5);
        assert_eq!(of(&[], &[1.0]), 0.0);
    }

    #[test]
    fn the_tail_is_that_of_the_tables() {
        // Critical values of Kolmogorov's distribution.
        for (x, p) in [
            (1.2238, 0.10),
            (1.3581, 0.05),
            (1.6276, 0.01),
            (1.9495, 0.001),
        ] {
            assert!((tail(x) - p).abs() < 1e-4, "{x}: {}", tail(x));
        }
        assert_eq!(tail(0.0), 1.0);
    }

    #[test]
    fn samples_of_one_distribution_pass_as_often_as_they_should() {
        let rejected = (0..1_000)
            .filter(|seed| {
                let (a, b) = (2 * seed, 2 * seed + 1);
                kolmogorov_smirnov(&exponential(a, 1.0, 300), &exponential(b, 1.0, 400)).p < 0.05
            })
            .count();
        // 50 are expected; four standard deviations are 28.
        assert!((22..78).contains(&rejected), "{rejected} of 1,000");
    }

    #[test]
    fn a_rate_that_differs_by_a_fifth_is_noticed_in_a_minute_of_packets() {
        let idle = exponential(1, 1.0 / 55.0, 3_300);
        let busy = exponential(2, 1.0 / 66.0, 3_960);
        let found = kolmogorov_smirnov(&idle, &busy);
        assert!(found.p < 1e-6, "{found:?}");
    }
}
