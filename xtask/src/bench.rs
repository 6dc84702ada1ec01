//! `cargo xtask bench`: every figure of `docs/benchmarks.md`, measured anew.
//!
//! A part is a benchmark of a crate, a program that measures, or a module here that starts what is
//! measured. All take release builds; nothing else should run meanwhile.

mod gateway;
mod idle;
mod mixnode;

use std::path::Path;
use std::process::Command;

use crate::{process, target_dir};

/// A part: its name, what it measures, and how.
struct Part {
    name: &'static str,
    what: &'static str,
    run: fn(&Path) -> Result<(), String>,
}

/// All parts, as `docs/benchmarks.md` has them. The last takes 20 minutes, all others together 20.
const PARTS: [Part; 9] = [
    Part {
        name: "message",
        what: "a message, end to end",
        run: message,
    },
    Part {
        name: "large",
        what: "a large message, with the default traffic pattern and that of `init --fastmode`",
        run: large,
    },
    Part {
        name: "sphinx",
        what: "packets, against the published peer",
        run: |root| cargo_bench(root, "sphinx", "against_peer"),
    },
    Part {
        name: "constant-time",
        what: "whether the time of a product tells its scalar",
        run: |root| cargo_bench(root, "sphinx", "constant_time"),
    },
    Part {
        name: "mixnode",
        what: "a mix node under load",
        run: mixnode::bench,
    },
    Part {
        name: "gateway",
        what: "a gateway with 10,000 clients",
        run: gateway::bench,
    },
    Part {
        name: "mailbox",
        what: "a gateway's mailbox, against one fsync for each message",
        run: |root| cargo_bench(root, "nym-gateway", "mailbox"),
    },
    Part {
        name: "idle",
        what: "programs of which nobody wants anything",
        run: idle::bench,
    },
    Part {
        name: "pacing",
        what: "the pace of a busy client against that of an idle one",
        run: pacing,
    },
];

/// Measures the parts of these names in the order they are given, or all.
///
/// # Errors
/// What is wrong with a name, or the first part that failed.
pub(crate) fn run(root: &Path, names: &[&str]) -> Result<(), String> {
    let parts = select(names)?;
    for part in parts {
        println!("\n## {}: {}\n", part.name, part.what);
        (part.run)(root)?;
    }
    Ok(())
}

fn select(names: &[&str]) -> Result<Vec<&'static Part>, String> {
    if names.is_empty() {
        return Ok(PARTS.iter().collect());
    }
    let find = |name: &&str| {
        let part = PARTS.iter().find(|part| part.name == *name);
        part.ok_or_else(|| {
            let names = PARTS.each_ref().map(|part| part.name).join("|");
            format!("usage: cargo xtask bench [{names}]…, all of them by default")
        })
    };
    names.iter().map(find).collect()
}

fn message(root: &Path) -> Result<(), String> {
    build(root, &["nym-localnet"])?;
    let mut localnet = Command::new(target_dir(root).join("release/nym-localnet"));
    process::run(localnet.args(["--once", "--port", "0", "--messages", "50"]))
}

fn large(root: &Path) -> Result<(), String> {
    build_clients(root)?;
    for pattern in [&["--fastmode"][..], &[]] {
        process::run(measuring(root, "throughput").args(pattern))?;
    }
    Ok(())
}

fn pacing(root: &Path) -> Result<(), String> {
    build_clients(root)?;
    let gaps = target_dir(root).join("pacing.csv");
    let mut pacing = measuring(root, "pacing");
    pacing.args(["--secs", "60", "--runs", "10", "--csv"]);
    process::run(pacing.arg(&gaps))?;
    println!("the gaps are in {}", gaps.display());
    Ok(())
}

/// Builds the tests' measuring programs, and what they start.
fn build_clients(root: &Path) -> Result<(), String> {
    build(root, &["nym-client", "nym-localnet", "nym-tests"])
}

/// A measuring program of the tests.
fn measuring(root: &Path, name: &str) -> Command {
    Command::new(target_dir(root).join("release").join(name))
}

/// Builds the programs of packages.
fn build(root: &Path, packages: &[&str]) -> Result<(), String> {
    let mut build = process::cargo();
    build.current_dir(root);
    build.args(["build", "--quiet", "--release", "--bins"]);
    for package in packages {
        build.args(["--package", package]);
    }
    process::run(&mut build)
}

fn cargo_bench(root: &Path, package: &str, name: &str) -> Result<(), String> {
    let mut bench = process::cargo();
    bench.current_dir(root);
    bench.args(["bench", "--quiet", "--package", package, "--bench", name]);
    // What is measured with a disk must not lie in memory, as temporary directories may.
    process::run(bench.env("TMPDIR", target_dir(root)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found_by_name_and_are_all_parts_by_default() {
        let names = |parts: Vec<&Part>| parts.iter().map(|part| part.name).collect::<Vec<_>>();
        let all = select(&[]).map(names);
        assert_eq!(all, Ok(PARTS.each_ref().map(|part| part.name).to_vec()));
        let some = select(&["idle", "sphinx"]).map(names);
        assert_eq!(some, Ok(vec!["idle", "sphinx"]));
        let unknown = select(&["sun"]).map(names);
        assert!(unknown.is_err_and(|error| error.contains("message|large|sphinx")));
    }
}
