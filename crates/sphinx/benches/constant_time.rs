//! Whether the time of a scalar multiplication depends on the secret: `cargo bench -p sphinx --bench
//! constant_time`
//!
//! A statistical test after dudect (Reparaz, Balasch & Verbauwhede, "Dude, is my code constant time?",
//! 2017): the same point is multiplied by one fixed integer or by random ones, in random order, and
//! Welch's t-test asks whether the two sets of times have the same mean. The fixed integers are those
//! that would betray a branch: 0, 1, few bits, all bits. The slowest measurements are cut off at
//! several percentiles, for other work on the machine; the largest |t| counts. Above 10 the times
//! differ; below 4.5 nothing is to be seen with this many measurements.
#![expect(clippy::print_stdout, reason = "the report is the purpose")]

use std::{hint::black_box, time::Duration};

use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng},
};
use sphinx::{
    Backend,
    hazmat::{Multiples, MultiplesTogether, products},
};

const MEASUREMENTS: usize = 160_000;

fn main() {
    // `cargo test --benches` runs this too, to see that it works.
    let measurements = if std::env::args().any(|argument| argument == "--bench") {
        MEASUREMENTS
    } else {
        20
    };
    println!("{measurements} measurements for each line; largest |t|, alarming above 10");
    for backend in Backend::available() {
        for (name, integer) in FIXED {
            let times = |what, multiply: &dyn Fn(&[u8; 32])| {
                let t = largest_t(measurements, &integer, multiply);
                println!(
                    "{:<10} {what:<15} fixed {name:<12} {t:>7.2}",
                    backend.name()
                );
            };
            times("alone", &|integer| {
                black_box(products(backend, &[*integer], &[POINT]));
            });
            if matches!(backend.name(), "avx2x4" | "ifma8") {
                times("in lanes", &|integer| {
                    black_box(products(backend, &[*integer; 8], &[POINT; 8]));
                });
                let multiples = Multiples::of(backend, &POINT);
                times("tables", &|integer| {
                    black_box(multiples.product(integer));
                });
            }
            let points = [POINT; 8];
            let together = [&points[..], &points[..4]];
            if let Some(multiples) = together
                .into_iter()
                .find_map(|points| MultiplesTogether::of(backend, points))
            {
                times("tables in lanes", &|integer| {
                    black_box(multiples.products(&[*integer; 8]));
                });
            }
        }
    }
}

/// The base point.
const POINT: [u8; 32] = {
    let mut point = [0; 32];
    point[0] = 9;
    point
};

const FIXED: [(&str, [u8; 32]); 3] = [
    ("zero", [0; 32]),
    ("sparse", {
        let mut integer = [0; 32];
        integer[31] = 0x40;
        integer
    }),
    ("dense", {
        let mut integer = [0xff; 32];
        integer[31] = 0x7f;
        integer
    }),
];

/// The largest |t| over all percentiles at which the slowest measurements are cut off.
fn largest_t(measurements: usize, fixed: &[u8; 32], multiply: &dyn Fn(&[u8; 32])) -> f64 {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut times: Vec<(bool, f64)> = (0..measurements)
        .map(|_| {
            let is_fixed = rng.next_u32() & 1 == 1;
            let mut integer = [0; 32];
            rng.fill_bytes(&mut integer);
            integer[31] &= 0x7f;
            // Both kinds are copied to the same place, so that memory makes no difference.
            let chosen = if is_fixed { *fixed } else { integer };
            let input = black_box(chosen);
            (is_fixed, time(|| multiply(&input)).as_secs_f64())
        })
        .collect();
    times.sort_unstable_by(|(_, a), (_, b)| a.total_cmp(b));
    [50, 75, 90, 95, 99]
        .map(|percent| welch(&times[..times.len() * percent / 100]).abs())
        .into_iter()
        .fold(0.0, f64::max)
}

/// Welch's t of the two kinds of measurements.
fn welch(times: &[(bool, f64)]) -> f64 {
    let [fixed, random] = [true, false].map(|kind| {
        let times = times.iter().filter(|(is_fixed, _)| *is_fixed == kind);
        let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
        for (_, time) in times {
            count += 1.0;
            let difference = time - mean;
            mean += difference / count;
            squares += difference * (time - mean);
        }
        (mean, squares / (count - 1.0) / count)
    });
    (fixed.0 - random.0) / (fixed.1 + random.1).sqrt()
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn time(work: impl FnOnce()) -> Duration {
    let start = std::time::Instant::now();
    work();
    start.elapsed()
}
