//! `cargo xtask bench-mixnode`: a mix node under load, as a table for `docs/benchmarks.md`.
//!
//! It builds `nym-mixnode` and `nym-loadgen`, starts the node on free ports in a temporary
//! directory, and runs the generator against it, which also is the next hop. All share the
//! machine: repeat it when nothing else runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::Program;
use crate::{process, target_dir};

/// Packets of a run flat out.
const PACKETS: u32 = 60_000;

/// Packets that wait while others flow.
const WAITING: u32 = 1_000_000;

/// Bytes that the node's delay queue may take: a million regular packets, and some.
const QUEUE_BYTES: &str = "2600000000";

/// Runs all and prints the table.
///
/// # Errors
/// A line that says what failed.
pub(crate) fn bench(root: &Path) -> Result<(), String> {
    let mut build = process::cargo();
    build.args([
        "build",
        "--release",
        "-p",
        "nym-mixnode",
        "-p",
        "nym-loadgen",
    ]);
    process::run(build.current_dir(root))?;
    let bench = Bench::new(&target_dir(root))?;

    println!(
        "| run | offered | sent | out | lost | CPU per packet | beyond the delay: median, 99 % |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|");
    let mut maximum: f64 = 0.0;
    let node = bench.start(&[])?;
    for connections in [1, 2, 4, 8] {
        let flags = ["--connections", &connections.to_string()];
        let name = format!("flat out, {connections} connections");
        let report = bench.load(&node, &name, PACKETS, None, &flags)?;
        maximum = maximum.max(number(&report, "received_per_second")?);
    }
    for connections in [1, 2, 4, 8] {
        let flags = ["--connections", &connections.to_string()];
        let name = format!("twice the maximum, {connections} connections");
        bench.load(&node, &name, 2 * PACKETS, Some(2.0 * maximum), &flags)?;
    }
    for connections in [1, 8] {
        let flags = ["--connections", &connections.to_string()];
        let name = format!("0.9 of the maximum, {connections} connections");
        bench.load(&node, &name, PACKETS, Some(0.9 * maximum), &flags)?;
    }
    let delayed = ["--connections", "4", "--mean-delay", "50ms"];
    bench.load(&node, "mean delay 50 ms", 200_000, Some(20_000.0), &delayed)?;
    let count = WAITING.to_string();
    let waiting = [&delayed[..], &["--waiting", &count]].concat();
    let report = bench.load(
        &node,
        "the same, a million waiting",
        200_000,
        Some(20_000.0),
        &waiting,
    )?;
    let each = (number(&report, "with_waiting")? - number(&report, "before")?) / f64::from(WAITING);
    drop(node);
    let node = bench.start(&[("SPHINX_BACKEND", "portable")])?;
    let flags = ["--connections", "8"];
    bench.load(&node, "flat out, portable backend", PACKETS, None, &flags)?;
    println!("\nA waiting packet of 2,413 bytes takes {each:.0} bytes of the node's memory.");
    Ok(())
}

/// Where the programs and the node's files are.
struct Bench {
    programs: PathBuf,
    home: PathBuf,
}

impl Bench {
    fn new(target: &Path) -> Result<Self, String> {
        let bench = Self {
            programs: target.join("release"),
            home: target.join(format!("bench-mixnode-{}", std::process::id())),
        };
        let mut init = bench.mixnode("init");
        init.args([
            "--host",
            "127.0.0.1",
            "--mix-port",
            "0",
            "--http-api-port",
            "0",
        ]);
        process::output(&mut init)?;
        let config = bench.home.join("mixnodes/bench/config/config.toml");
        let failed = |error| format!("{}: {error}", config.display());
        let text = fs::read_to_string(&config).map_err(failed)?;
        let lines = text.lines().map(|line| match line.split_once(" = ") {
            Some((key @ "delay_queue_bytes", _)) => format!("{key} = {QUEUE_BYTES}\n"),
            Some((key @ "delay_queue_packets", _)) => format!("{key} = {}\n", 2 * WAITING),
            // The generator's sink is in no topology.
            Some((key @ "open_relay_for_tests", _)) => format!("{key} = true\n"),
            _ => format!("{line}\n"),
        });
        fs::write(&config, lines.collect::<String>()).map_err(failed)?;
        Ok(bench)
    }

    fn mixnode(&self, command: &str) -> Command {
        let mut mixnode = Command::new(self.programs.join("nym-mixnode"));
        mixnode
            .args([command, "--id", "bench", "--home"])
            .arg(&self.home);
        mixnode
    }

    fn start(&self, environment: &[(&str, &str)]) -> Result<Program, String> {
        let mut run = self.mixnode("run");
        Program::start(run.envs(environment.iter().copied()), "Packets: ")
    }

    /// Runs the generator, prints a row and gives the report.
    fn load(
        &self,
        node: &Program,
        name: &str,
        packets: u32,
        rate: Option<f64>,
        flags: &[&str],
    ) -> Result<String, String> {
        let mut load = Command::new(self.programs.join("nym-loadgen"));
        load.args([
            "--node",
            node.said("Packets: ")?,
            "--sphinx-key",
            node.said("Sphinx key: ")?,
            "--identity-key",
            node.said("Identity key: ")?,
            "--json",
        ]);
        load.args([
            "--packets",
            &packets.to_string(),
            "--pid",
            &node.pid().to_string(),
        ]);
        load.args(flags);
        if let Some(rate) = rate {
            load.args(["--rate", &format!("{rate:.0}")]);
        }
        let report = process::output(&mut load)?;
        let value = |member| number(&report, member);
        let beyond = report
            .split("latency_beyond_delay")
            .nth(1)
            .unwrap_or_default();
        println!(
            "| {name} | {} | {:.0} | {:.0} | {:.0} | {:.1} µs | {:.2} ms, {:.2} ms |",
            rate.map_or_else(|| "flat out".to_owned(), |rate| format!("{rate:.0}")),
            value("sent_per_second")?,
            value("received_per_second")?,
            value("lost")?,
            value("processor_micros_per_packet")?,
            number(beyond, "p50_millis")?,
            number(beyond, "p99_millis")?,
        );
        Ok(report)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // What cannot be removed lies in the target directory, where it is in nobody's way.
        let _ = fs::remove_dir_all(&self.home);
    }
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
}
