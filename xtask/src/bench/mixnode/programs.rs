//! The programs of the benchmark: a node, and the generator that loads it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::WAITING;
use crate::process;
use crate::program::Program;

/// Bytes that the node's delay queue may take: a million regular packets, and some.
const QUEUE_BYTES: &str = "2600000000";

/// How old the node's page may be that is read right after a run.
const PAGES_EVERY: &str = "20ms";

/// Where the programs run.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Placement {
    /// The node on the first processor alone, the generator on all others.
    Apart,
    /// All on all processors.
    Together,
}

impl Placement {
    /// The command that starts `program` where it belongs; `processors` as `taskset` counts them.
    fn command(self, program: &Path, processors: &str) -> Command {
        match self {
            Self::Together => Command::new(program),
            Self::Apart => {
                let mut command = Command::new("taskset");
                command.args(["--cpu-list", processors]).arg(program);
                command
            }
        }
    }
}

/// Where the programs and the node's files are.
pub(super) struct Programs {
    folder: PathBuf,
    home: PathBuf,
    processors: usize,
}

impl Programs {
    /// Makes the files of a node.
    pub(super) fn new(target: &Path) -> Result<Self, String> {
        let processors = std::thread::available_parallelism().map_or(1, Into::into);
        if processors < 2 {
            return Err("node and generator need a processor each".to_owned());
        }
        let programs = Self {
            folder: target.join("release"),
            home: target.join(format!("bench-mixnode-{}", std::process::id())),
            processors,
        };
        let mut init = Command::new(programs.folder.join("nym-mixnode"));
        init.args(["init", "--id", "bench", "--host", "127.0.0.1"])
            .args(["--mix-port", "0", "--http-api-port", "0", "--home"])
            .arg(&programs.home);
        process::output(&mut init)?;
        let config = programs.home.join("mixnodes/bench/config/config.toml");
        let failed = |error| format!("{}: {error}", config.display());
        let text = fs::read_to_string(&config).map_err(failed)?;
        let lines = text.lines().map(|line| match line.split_once(" = ") {
            Some((key @ "delay_queue_bytes", _)) => format!("{key} = {QUEUE_BYTES}\n"),
            Some((key @ "delay_queue_packets", _)) => format!("{key} = {}\n", 2 * WAITING),
            Some((key @ "node_stats_updating_delay", _)) => {
                format!("{key} = \"{PAGES_EVERY}\"\n")
            }
            // The generator's sink is in no topology.
            Some((key @ "open_relay_for_tests", _)) => format!("{key} = true\n"),
            _ => format!("{line}\n"),
        });
        fs::write(&config, lines.collect::<String>()).map_err(failed)?;
        Ok(programs)
    }

    /// Starts the node.
    pub(super) fn start(
        &self,
        placement: Placement,
        environment: &[(&str, &str)],
    ) -> Result<Node, String> {
        let mut run = placement.command(&self.folder.join("nym-mixnode"), "0");
        run.args(["run", "--id", "bench", "--home"])
            .arg(&self.home)
            .envs(environment.iter().copied());
        Ok(Node {
            placement,
            program: Program::start(&mut run, "Pages: ")?,
        })
    }

    /// Runs the generator against the node; gives its report.
    pub(super) fn load(
        &self,
        node: &Node,
        packets: u32,
        rate: Option<f64>,
        flags: &[&str],
    ) -> Result<String, String> {
        let others = format!("1-{}", self.processors - 1);
        let program = self.folder.join("nym-loadgen");
        let mut load = node.placement.command(&program, &others);
        let node = &node.program;
        let pages = node.said("Pages: http://")?;
        let pages = pages.strip_suffix("/stats").unwrap_or(pages);
        load.args(["--node", node.said("Packets: ")?, "--pages", pages])
            .args(["--sphinx-key", node.said("Sphinx key: ")?])
            .args(["--identity-key", node.said("Identity key: ")?])
            .args(["--pid", &node.pid().to_string()])
            .args(["--packets", &packets.to_string(), "--json"])
            .args(flags);
        if let Some(rate) = rate {
            load.args(["--rate", &format!("{rate:.0}")]);
        }
        process::output(&mut load)
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        // What cannot be removed lies in the target directory, where it is in nobody's way.
        let _ = fs::remove_dir_all(&self.home);
    }
}

/// A running node, and where it runs.
pub(super) struct Node {
    placement: Placement,
    program: Program,
}
