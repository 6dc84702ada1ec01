//! `cargo xtask bench idle`: what each program uses when nobody sends anything, as a table for
//! `docs/benchmarks.md`.
//!
//! It starts the README's network by hand — a validator, three mix nodes, a gateway, two clients —
//! on free ports in a temporary directory, waits until the clients are connected, and looks at
//! every process before and after some time.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::program::Program;
use crate::{process, target_dir};

/// How long the programs are watched.
const WATCHED_FOR: Duration = Duration::from_secs(60);

/// How long connected clients are left alone first.
const SETTLE: Duration = Duration::from_secs(10);

/// How long nodes may take to announce themselves, and clients to connect.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often is looked whether they have.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Ticks per second in which `/proc` counts, the same on every Linux that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Runs all and prints the table.
///
/// # Errors
/// A line that says what failed.
pub(crate) fn bench(root: &Path) -> Result<(), String> {
    super::build(
        root,
        &["nym-client", "nym-gateway", "nym-mixnode", "nym-validator"],
    )?;
    let target = target_dir(root);
    let home = target.join(format!("bench-idle-{}", std::process::id()));
    let watched = watch(&Files {
        programs: target.join("release"),
        home: &home,
    });
    // What cannot be removed lies in the target directory, where it is in nobody's way.
    let _ = fs::remove_dir_all(&home);
    watched
}

/// Where the programs and their files are.
struct Files<'a> {
    programs: PathBuf,
    home: &'a Path,
}

impl Files<'_> {
    fn command(&self, program: &str, words: &[&str]) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.args(words).arg("--home").arg(self.home);
        command.env_remove("RUST_LOG").env_remove("NYM_HOME");
        command
    }

    fn start(&self, program: &str, words: &[&str], last: &str) -> Result<Program, String> {
        Program::start(&mut self.command(program, words), last)
    }
}

/// A program that is watched.
struct Watched {
    name: &'static str,
    program: Program,
    /// A page with counters of its packets, and the names of those counters.
    packets: Option<(String, &'static [&'static str])>,
}

/// The whole network, ready and idle.
fn network(files: &Files<'_>) -> Result<Vec<Watched>, String> {
    let ports = ["--rest-port", "0", "--api-port", "0"];
    let validator = files.start(
        "nym-validator",
        &[&["run"][..], &ports].concat(),
        "lists for 0.11",
    )?;
    let url = validator.said("configured with ")?.to_owned();
    let mut network = vec![Watched {
        name: "nym-validator",
        program: validator,
        packets: None,
    }];

    let node = [
        "--host",
        "127.0.0.1",
        "--mix-port",
        "0",
        "--validators",
        &url,
    ];
    for id in ["mix1", "mix2", "mix3"] {
        let init = [&["init", "--id", id, "--http-api-port", "0"][..], &node].concat();
        process::output(&mut files.command("nym-mixnode", &init))?;
        let program = files.start("nym-mixnode", &["run", "--id", id], "Pages: ")?;
        let page = program.said("Pages: ")?.replace("/stats", "/metrics");
        network.push(Watched {
            name: "nym-mixnode",
            program,
            packets: Some((page, &["nym_node_packets_received_total"])),
        });
    }
    let pages = ["--clients-port", "0", "--http-api", "127.0.0.1:0"];
    let init = [&["init", "--id", "door"][..], &node, &pages].concat();
    process::output(&mut files.command("nym-gateway", &init))?;
    let program = files.start("nym-gateway", &["run", "--id", "door"], "Pages: ")?;
    let page = program.said("Pages: ")?.replace("/health", "/metrics");
    let counters = &[
        "nym_node_packets_received_total",
        "nym_gateway_packets_total",
    ];
    network.push(Watched {
        name: "nym-gateway",
        program,
        packets: Some((page, counters)),
    });

    for id in ["alice", "bob"] {
        let init = ["init", "--id", id, "--port", "0", "--validators", &url];
        // Fails until all nodes have announced themselves.
        patiently(|| process::output(&mut files.command("nym-client", &init)))?;
        let program = files.start("nym-client", &["run", "--id", id], "Apps connect to: ")?;
        let base = program
            .said("Apps connect to: ")?
            .replace("ws://", "http://");
        patiently(|| match get(&format!("{base}/health"))? {
            page if page.contains("\"connected\":true,\"routable\":true") => Ok(()),
            page => Err(format!("client {id} is not connected: {page}")),
        })?;
        network.push(Watched {
            name: "nym-client",
            program,
            packets: Some((format!("{base}/status"), &["\"packetsSent\""])),
        });
    }
    Ok(network)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a chore measures the time that really passes, and has nothing else to do"
)]
fn watch(files: &Files<'_>) -> Result<(), String> {
    let network = network(files)?;
    sleep(SETTLE);
    let start = Instant::now();
    let before = samples(&network)?;
    sleep(WATCHED_FOR);
    let after = samples(&network)?;
    let passed = start.elapsed().as_secs_f64();

    println!("| {passed:.0} s idle | resident | CPU | wake-ups/s | packets/s | CPU per packet |");
    println!("|---|---:|---:|---:|---:|---:|");
    for ((watched, before), after) in network.iter().zip(&before).zip(&after) {
        let cpu_secs = (after.ticks - before.ticks) / TICKS_PER_SECOND;
        let packets = after.packets - before.packets;
        let each = |value: f64| {
            let per_packet = value / packets;
            if packets > 0.0 {
                format!("{:.0} | {per_packet:.0} µs", packets / passed)
            } else {
                " | ".to_owned()
            }
        };
        println!(
            "| `{}` | {:.1} MiB | {:.2} % | {:.0} | {} |",
            watched.name,
            after.resident_kib / 1024.0,
            100.0 * cpu_secs / passed,
            (after.wakeups - before.wakeups) / passed,
            each(1e6 * cpu_secs),
        );
    }
    Ok(())
}

/// Tries something until it succeeds, or fails as it failed last.
#[expect(
    clippy::disallowed_methods,
    reason = "a chore waits for programs that say nothing when they are ready"
)]
fn patiently<T>(mut attempt: impl FnMut() -> Result<T, String>) -> Result<T, String> {
    let start = Instant::now();
    loop {
        match attempt() {
            Err(_) if start.elapsed() < PATIENCE => sleep(LOOK_AGAIN_AFTER),
            outcome => return outcome,
        }
    }
}

/// What a program has used so far.
struct Sample {
    /// User and system time.
    ticks: f64,
    /// How often its threads have waited for something.
    wakeups: f64,
    resident_kib: f64,
    packets: f64,
}

fn samples(network: &[Watched]) -> Result<Vec<Sample>, String> {
    network.iter().map(sample).collect()
}

fn sample(watched: &Watched) -> Result<Sample, String> {
    let process = format!("/proc/{}", watched.program.pid());
    let packets = match &watched.packets {
        Some((page, names)) => sum(&get(page)?, names),
        None => 0.0,
    };
    let stat = read(&format!("{process}/stat"))?;
    // Times are the 12th and 13th field after the program's name.
    let (_, fields) = stat.rsplit_once(')').unwrap_or_default();
    let times = fields.split_whitespace().skip(11).take(2);
    let mut wakeups = 0.0;
    let tasks = fs::read_dir(format!("{process}/task")).map_err(|error| error.to_string())?;
    for task in tasks.map_while(Result::ok) {
        let status = read(&format!("{}/status", task.path().display()))?;
        wakeups += sum(&status, &["\nvoluntary_ctxt_switches"]);
    }
    Ok(Sample {
        ticks: times.filter_map(|time| time.parse::<f64>().ok()).sum(),
        wakeups,
        resident_kib: sum(&read(&format!("{process}/status"))?, &["VmRSS"]),
        packets,
    })
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))
}

/// The page at a URL of this machine, headers included.
fn get(url: &str) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("{url}: {error}");
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut stream = TcpStream::connect(host).map_err(failed)?;
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut page = String::new();
    stream.read_to_string(&mut page).map_err(failed)?;
    Ok(page)
}

/// The sum of the numbers behind these names in a page: `name 1`, `name{label="x"} 1`,
/// `name: 1 kB` or `"name":1`.
fn sum(page: &str, names: &[&str]) -> f64 {
    let numbers = names.iter().flat_map(|name| page.split(name).skip(1));
    let number = |rest: &str| -> Option<f64> {
        let rest = match rest.strip_prefix('{') {
            Some(labelled) => labelled.split_once('}')?.1,
            None => rest,
        };
        let rest = rest.strip_prefix(':').unwrap_or(rest).trim_start();
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        rest.get(..end)?.parse().ok()
    };
    numbers.filter_map(number).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_wherever_they_stand() {
        let page = "# HELP packets_total Packets\n# TYPE packets_total counter\npackets_total 7\n\
                    sent_total{to=\"a\"} 1\nsent_total{to=\"b\"} 2\nVmRSS:\t  12 kB\n{\"packetsSent\":5,";
        for (name, found) in [
            ("packets_total", 7.0),
            ("sent_total", 3.0),
            ("VmRSS", 12.0),
            ("\"packetsSent\"", 5.0),
            ("nothing", 0.0),
        ] {
            assert_eq!(sum(page, &[name]), found, "{name}");
        }
    }
}
