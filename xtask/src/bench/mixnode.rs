//! `cargo xtask bench mixnode`: a mix node under load, as tables for `docs/benchmarks.md`.
//!
//! It builds `nym-mixnode` and `nym-loadgen`, starts the node on free ports in a temporary
//! directory, and runs the generator against it, which also is the next hop.
//!
//! Runs that are compared are made in turn, round by round, and the median over the rounds is
//! printed: a machine has moods that last for seconds.

mod programs;

use std::path::Path;

use self::programs::{Placement, Programs};
use crate::target_dir;

/// Rounds in which every run of a table is made once.
const ROUNDS: usize = 5;

/// Packets of a run flat out.
const PACKETS: u32 = 60_000;

/// Packets that wait while others flow.
const WAITING: u32 = 1_000_000;

/// Prints the tables: all programs share the processors, the node has one of its own, and few packets
/// and many that wait.
///
/// # Errors
/// A line that says what failed.
pub(crate) fn bench(root: &Path) -> Result<(), String> {
    super::build(root, &["nym-mixnode", "nym-loadgen"])?;
    let programs = Programs::new(&target_dir(root))?;
    println!("Node, generator and sink share all processors; {ROUNDS} rounds.");
    overload(&programs, Placement::Together)?;
    println!("The node on one processor, generator and sink on the others; {ROUNDS} rounds.");
    overload(&programs, Placement::Apart)?;
    println!(
        "Few packets, and many that wait; {ROUNDS} rounds at 20,000 a second, and one of the others."
    );
    waiting(&programs)
}

/// Gives the node something to do now and then, and much to keep.
fn waiting(programs: &Programs) -> Result<(), String> {
    let node = programs.start(Placement::Together, &[])?;
    let delayed = ["--connections", "4", "--mean-delay", "50ms"];
    let count = WAITING.to_string();
    let crowded = [&delayed[..], &["--waiting", &count]].concat();
    let mut table = Table::default();
    let mut load = |name, packets, rate, flags: &[&str]| {
        let report = programs.load(&node, packets, Some(rate), flags)?;
        table.add(name, Some(rate), &report)?;
        Ok::<_, String>(report)
    };
    load("200 a second, mean delay 50 ms", 3000, 200.0, &delayed)?;
    for _ in 0..ROUNDS {
        let name = "20,000 a second, mean delay 50 ms";
        load(name, 200_000, 20_000.0, &delayed)?;
    }
    let name = "the same beside a million that wait";
    let report = load(name, 200_000, 20_000.0, &crowded)?;
    // Those of the first round wait for longer than all rounds take.
    for _ in 1..ROUNDS {
        load(name, 200_000, 20_000.0, &delayed)?;
    }
    let taken = number(&report, "with_waiting")? - number(&report, "before")?;
    table.waiting_len = Some(taken / f64::from(WAITING));
    drop(node);
    let node = programs.start(Placement::Together, &[("SPHINX_BACKEND", "portable")])?;
    let report = programs.load(&node, PACKETS, None, &["--connections", "8"])?;
    table.add("flat out, `SPHINX_BACKEND=portable`", None, &report)?;
    table.print();
    Ok(())
}

/// Offers the node what it takes, twice as much, and a tenth less, over few and many connections.
fn overload(programs: &Programs, placement: Placement) -> Result<(), String> {
    let node = programs.start(placement, &[])?;
    let mut table = Table::default();
    let mut maximum: f64 = 0.0;
    for _ in 0..ROUNDS {
        for (name, share) in [("flat out", None), ("twice", Some(2.0)), ("0.9", Some(0.9))] {
            let rate = share.map(|share| share * maximum);
            for connections in ["1", "2", "4", "8"] {
                let flags = ["--connections", connections];
                let report = programs.load(&node, PACKETS, rate, &flags)?;
                if rate.is_none() {
                    maximum = maximum.max(number(&report, "received_per_second")?);
                }
                table.add(&format!("{name}, {connections} connections"), rate, &report)?;
            }
        }
    }
    table.print();
    let is_full = |row: &&Row| !row.name.starts_with("0.9");
    let medians = table
        .rows
        .iter()
        .filter(is_full)
        .map(|row| median(&row.out));
    let (least, most) = medians.fold((f64::INFINITY, 0.0_f64), |(least, most), out| {
        (least.min(out), most.max(out))
    });
    let share = 100.0 * least / most;
    println!("\nWhatever is offered, {share:.0} % of the maximum come out at least.\n");
    Ok(())
}

/// What was measured, row by row.
#[derive(Default)]
struct Table {
    rows: Vec<Row>,
    /// Bytes of the node's memory for each packet that waits.
    waiting_len: Option<f64>,
}

/// One kind of run, and what each of its rounds gave.
#[derive(Default)]
struct Row {
    name: String,
    offered: Vec<f64>,
    out: Vec<f64>,
    lost: Vec<f64>,
    processor: Vec<f64>,
    sphinx: Vec<f64>,
    together: Vec<f64>,
    median: Vec<f64>,
    percentile: Vec<f64>,
}

impl Table {
    /// Adds a report to the row of this name.
    fn add(&mut self, name: &str, offered: Option<f64>, report: &str) -> Result<(), String> {
        let index = match self.rows.iter().position(|row| row.name == name) {
            Some(index) => index,
            None => {
                self.rows.push(Row {
                    name: name.to_owned(),
                    ..Row::default()
                });
                self.rows.len() - 1
            }
        };
        let Some(row) = self.rows.get_mut(index) else {
            return Ok(());
        };
        let beyond = report.split("latency_beyond_delay").nth(1);
        let beyond = beyond.unwrap_or_default();
        row.offered.extend(offered);
        row.out.push(number(report, "received_per_second")?);
        row.lost.push(number(report, "lost")?);
        row.processor
            .push(number(report, "processor_micros_per_packet")?);
        row.sphinx.push(number(report, "sphinx_micros_per_packet")?);
        row.together.push(number(report, "packets_per_batch")?);
        row.median.push(number(beyond, "p50_millis")?);
        row.percentile.push(number(beyond, "p99_millis")?);
        Ok(())
    }

    fn print(&self) {
        println!(
            "\n| | offered | out per second: median (all rounds) | lost | CPU per packet | \
             in Sphinx | outside | together | beyond the delay: median, 99 % |"
        );
        println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|");
        for row in &self.rows {
            let (processor, sphinx) = (median(&row.processor), median(&row.sphinx));
            let offered = match row.offered.as_slice() {
                [] => String::new(),
                rates => format!("{:.0}", median(rates)),
            };
            println!(
                "| {} | {offered} | {:.0} ({:.0}–{:.0}) | {:.0} | {processor:.1} µs | \
                 {sphinx:.1} µs | {:.1} µs | {:.1} | {:.2} ms, {:.2} ms |",
                row.name,
                median(&row.out),
                row.out.iter().copied().fold(f64::INFINITY, f64::min),
                row.out.iter().copied().fold(0.0, f64::max),
                row.lost.iter().sum::<f64>(),
                processor - sphinx,
                median(&row.together),
                median(&row.median),
                median(&row.percentile),
            );
        }
        if let Some(len) = self.waiting_len {
            println!(
                "\nA waiting packet of 2,413 bytes takes {len:.0} bytes of the node's memory."
            );
        }
    }
}

/// The one in the middle, the lower of two; zero of none.
fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len().saturating_sub(1) / 2;
    sorted.get(middle).copied().unwrap_or_default()
}

/// The number of the first member of this name in a JSON text.
fn number(json: &str, member: &str) -> Result<f64, String> {
    let missing = || format!("the report has no number `{member}`");
    let (_, rest) = json
        .split_once(&format!("\"{member}\":"))
        .ok_or_else(missing)?;
    let end = rest.find([',', '}']).ok_or_else(missing)?;
    let (text, _) = rest.split_at(end);
    text.trim().parse().map_err(|_| missing())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_their_name() {
        let json = r#"{"form":1,"lost":0,"latency":{"p50_millis":1.5},"memory":null}"#;
        assert_eq!(number(json, "lost"), Ok(0.0));
        assert_eq!(number(json, "p50_millis"), Ok(1.5));
        assert!(number(json, "memory").is_err());
        assert!(number(json, "sent").is_err());
    }

    #[test]
    fn the_median_is_in_the_middle_of_the_sorted() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(&[4.0, 3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!(median(&[]).abs() < 1e-9);
    }

    #[test]
    fn a_row_takes_all_runs_of_its_name() {
        let report = r#"{"lost":1,"received_per_second":2,"processor_micros_per_packet":9,
            "sphinx_micros_per_packet":7,"packets_per_batch":4,
            "latency_beyond_delay":{"p50_millis":1.5,"p99_millis":2.5}}"#;
        let mut table = Table::default();
        table.add("a", None, report).unwrap();
        table.add("b", Some(5.0), report).unwrap();
        table.add("a", None, report).unwrap();
        let counts: Vec<_> = table.rows.iter().map(|row| row.out.len()).collect();
        assert_eq!(counts, [2, 1]);
        assert!(table.add("a", None, "{}").is_err());
    }
}
