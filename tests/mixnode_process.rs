//! A mix node in a process of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Running, output_of, program, texts};

/// Says which implementation of scalar multiplication a program uses.
const BACKEND: &str = "SPHINX_BACKEND";

/// A running node, and what it said about itself.
#[derive(Debug)]
pub struct MixnodeProcess {
    /// The process; it ends with this value.
    pub process: Running,
    /// Base58 of the identity key.
    pub identity: String,
    /// Base58 of the Sphinx key.
    pub sphinx_key: String,
    /// Where it takes packets.
    pub packets: SocketAddr,
    /// Where its pages are.
    pub pages: SocketAddr,
}

impl MixnodeProcess {
    /// Makes the files of a node with free ports, and gives its data directory. `settings` are keys
    /// of its configuration with other values, as TOML writes them.
    ///
    /// # Panics
    /// When the node cannot be made, or has no such key.
    #[must_use]
    pub fn init(home: &Path, settings: &[(&str, &str)]) -> PathBuf {
        let mut init = Command::new(program("nym-mixnode"));
        init.args(["init", "--id", "one", "--host", "127.0.0.1"])
            .args(["--mix-port", "0", "--http-api-port", "0", "--home"])
            .arg(home);
        let output = output_of(&mut init);
        assert!(output.status.success(), "{:?}", texts(&output));
        let node = home.join("mixnodes/one");
        let config = node.join("config/config.toml");
        let mut text = std::fs::read_to_string(&config).expect("`init` writes it");
        for (key, value) in settings {
            let start = format!("{key} = ");
            let line = text.lines().find(|line| line.starts_with(&start));
            let line = line.unwrap_or_else(|| panic!("no {key} in {text}"));
            text = text.replace(line, &format!("{start}{value}"));
        }
        std::fs::write(&config, text).expect("it can be changed");
        node.join("data")
    }

    /// Starts the node that was made there, with this implementation of scalar multiplication, or
    /// the best that there is.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(home: &Path, backend: Option<&str>) -> Self {
        let mut run = Command::new(program("nym-mixnode"));
        run.args(["run", "--id", "one", "--home"]).arg(home);
        match backend {
            Some(backend) => run.env(BACKEND, backend),
            None => run.env_remove(BACKEND),
        };
        let process = Running::start(&mut run);
        let told =
            |name: &str| process.wait_for(name, |line| line.strip_prefix(name).map(str::to_owned));
        let address = |text: &str| text.parse().expect("it prints an address");
        // In the order in which it says so.
        let (identity, sphinx_key) = (told("Identity key: "), told("Sphinx key: "));
        let packets = address(&told("Packets: "));
        let pages = address(told("Pages: http://").trim_end_matches("/stats"));
        Self {
            process,
            identity,
            sphinx_key,
            packets,
            pages,
        }
    }
}
