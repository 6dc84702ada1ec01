//! `cargo xtask miri`: the unit tests of `sphinx` in Miri, which finds undefined behaviour.
//!
//! Miri runs no vector instructions, so it sees what every machine runs: the portable ladder and the
//! scalar one, and the dependencies' portable code. It is some thousand times slower than a CPU: tests
//! of hundreds of products or of long payloads are left out, and properties get one case.

use std::path::Path;

use crate::process;

/// The backends that Miri can run.
const BACKENDS: [&str; 2] = ["portable", "scalar"];

/// What would take hours.
const LEFT_OUT: [&str; 7] = [
    "batches_of_any_size_are_what_dalek_computes",
    "blocks_together_are_what_they_are_alone",
    "combs_of_any_number_of_points_on_the_curve",
    "lanes_do_not_touch_each_other",
    "peculiar_inputs_in_every_lane",
    "samples_follow_the_exponential_distribution",
    "tables_unused_for_the_longest_time",
];

/// Runs them, once for each backend.
///
/// # Errors
/// That Miri is not there or found something.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    for backend in BACKENDS {
        let mut miri = process::nightly();
        miri.current_dir(root)
            .args(["miri", "test", "--package", "sphinx", "--lib", "--"])
            .args(LEFT_OUT.map(|name| ["--skip", name]).as_flattened())
            .env("SPHINX_BACKEND", backend)
            .env("PROPTEST_CASES", "1")
            // Properties look for the failures of earlier runs in files.
            .env("MIRIFLAGS", "-Zmiri-disable-isolation");
        process::run(&mut miri)?;
    }
    Ok(())
}
