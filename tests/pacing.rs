//! A client under observation: real processes, with a [`Tap`] on the link to the gateway.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use nym_sim::statistics::{KolmogorovSmirnov, kolmogorov_smirnov};
use tempfile::TempDir;

use crate::wire::Tap;
use crate::{Running, output_of, program, texts};

/// A message that takes two minutes at the default pace.
const LONG_MESSAGE: usize = 10_000_000;

/// Until the streams have started, and until the first acknowledgements of a message are back.
const SETTLING: Duration = Duration::from_secs(3);

/// What an observer saw.
#[derive(Clone, Debug)]
pub struct Observed {
    /// Seconds between packets while no app sent anything.
    pub idle: Vec<f64>,
    /// Seconds between packets while a large message was sent.
    pub busy: Vec<f64>,
    /// Whether they can be told apart.
    pub test: KolmogorovSmirnov,
}

/// A client of a network of its own, observed.
#[derive(Debug)]
pub struct Watched {
    home: TempDir,
    address: String,
    tap: Tap,
    client: Running,
    _localnet: Running,
}

impl Watched {
    /// Starts the network and the client, with the default traffic pattern.
    ///
    /// # Panics
    /// When a program does not start.
    #[must_use]
    pub fn start() -> Self {
        let home = tempfile::tempdir().expect("a temporary directory can be made");
        let localnet = Running::start(Command::new(program("nym-localnet")).args(["--port", "0"]));
        let validator = localnet.wait_for("the validator", |line| {
            let url = line.trim().strip_prefix("validator")?;
            Some(url.trim().to_owned())
        });
        localnet.wait_for("a client", |line| {
            line.trim().starts_with("alice").then_some(())
        });
        let client = |words: &[&str]| {
            let mut command = Command::new(program("nym-client"));
            command.args(words).args(["--id", "watched", "--home"]);
            command.arg(home.path()).env_remove("RUST_LOG");
            command
        };
        let data = |words: &[&str]| {
            let output = output_of(&mut client(words));
            let (stdout, stderr) = texts(&output);
            assert!(output.status.success(), "{words:?}: {stderr}");
            stdout
        };
        data(&["init", "--validators", &validator]);
        let address = data(&["address"]).trim().to_owned();
        let gateway = data(&["config", "show"])
            .lines()
            .find_map(|line| line.strip_prefix("gateway_listener = \"ws://"))
            .and_then(|rest| rest.split('"').next()?.parse::<SocketAddr>().ok())
            .expect("the configuration names the gateway");
        let tap = Tap::open(gateway).expect("a port is free");
        let mut running = client(&["run", "--port", "0"]);
        running.env(
            "NYM_CLIENT_CLIENT_GATEWAY_LISTENER",
            format!("ws://{}", tap.address()),
        );
        let running = Running::start(&mut running);
        running.wait_for("the connection", |line| {
            line.contains("connected to the gateway").then_some(())
        });
        Self {
            home,
            address,
            tap,
            client: running,
            _localnet: localnet,
        }
    }

    /// Watches for `span` while nothing is sent, and for `span` while a large message is.
    ///
    /// # Panics
    /// When the message cannot be sent, or was through before the time was over.
    #[must_use]
    pub fn compare(self, span: Duration) -> Observed {
        let _ = self.tap.watch(SETTLING);
        let idle = self.tap.watch(span);
        let file = self.home.path().join("message");
        std::fs::write(&file, vec![7; LONG_MESSAGE]).expect("there is room for the message");
        let client = |words: &[&str]| {
            let mut command = Command::new(program("nym-client"));
            command.args(words).args(["--id", "watched", "--home"]);
            command.arg(self.home.path());
            let output = output_of(&mut command);
            let (stdout, stderr) = texts(&output);
            assert!(output.status.success(), "{words:?}: {stderr}");
            stdout
        };
        let file = file.display().to_string();
        client(&["send", "--to", &self.address, "--no-wait", "--file", &file]);
        let _ = self.tap.watch(SETTLING);
        let busy = self.tap.watch(span);
        let status = client(&["status", "--json"]);
        assert!(
            status.contains("\"unacknowledgedMessages\":1"),
            "the message is still under way: {status}"
        );
        let test = kolmogorov_smirnov(&idle, &busy);
        let _ = self.client.interrupt();
        self.tap.close();
        Observed { idle, busy, test }
    }
}
