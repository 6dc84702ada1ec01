//! Measures on the wire whether a client that sends a large file can be told from an idle one.
//!
//! ```text
//! pacing [--secs N] [--runs N] [--csv FILE]
//! ```
//!
//! A network of real processes; a client whose link to its gateway goes through a relay that notes
//! the time of every packet; the gaps between them while the client is idle and while it sends
//! 10 MB, compared by the test of Kolmogorov and Smirnov. `docs/img/pacing.py` draws the file that
//! `--csv` writes.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a measuring tool talks to its user on the terminal"
)]

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use nym_tests::pacing::Watched;

/// The outcome below which idle and busy can be told apart.
const P_MIN: f64 = 0.01;

fn main() -> ExitCode {
    let (mut secs, mut runs, mut csv) = (60, 1, None);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next();
        let parsed = match (word.as_str(), &value) {
            ("--secs", Some(text)) => text.parse().map(|number| secs = number).is_ok(),
            ("--runs", Some(text)) => text.parse().map(|number| runs = number).is_ok(),
            ("--csv", Some(text)) => {
                csv = Some(text.clone());
                true
            }
            _ => false,
        };
        if !parsed {
            eprintln!("usage: pacing [--secs N] [--runs N] [--csv FILE]");
            return ExitCode::from(2);
        }
    }
    let span = Duration::from_secs(secs);
    let mut alike = 0_u32;
    let mut table = String::from("run,state,gap_secs\n");
    for run in 1..=runs {
        let outcome = Watched::start().compare(span);
        let (idle, busy) = (outcome.idle.len(), outcome.busy.len());
        println!(
            "run {run}: {:.1} packets/s idle, {:.1} busy; distance {:.4}, p = {:.3}",
            f64::from(u32::try_from(idle).unwrap_or(u32::MAX)) / span.as_secs_f64(),
            f64::from(u32::try_from(busy).unwrap_or(u32::MAX)) / span.as_secs_f64(),
            outcome.test.distance,
            outcome.test.p
        );
        alike += u32::from(outcome.test.p > P_MIN);
        for (state, gaps) in [("idle", &outcome.idle), ("busy", &outcome.busy)] {
            for gap in gaps {
                let _ = writeln!(table, "{run},{state},{gap:.6}");
            }
        }
    }
    println!("{alike} of {runs} with p > {P_MIN}");
    if let Some(file) = csv
        && let Err(error) = std::fs::write(&file, table)
    {
        eprintln!("{file}: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
