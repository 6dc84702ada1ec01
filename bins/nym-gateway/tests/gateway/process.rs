//! The program itself: its command line, and what survives when it is killed.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use nym_gateway::Addresses;
use nym_packet::keys::public_key_from_base58;
use tempfile::TempDir;

use super::network::{Client, Contact, LastMixNode, NextHop, message};

fn gateway(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nym-gateway"));
    command.arg("--home").arg(home).args(arguments);
    command
}

fn output(home: &Path, arguments: &[&str]) -> Output {
    gateway(home, arguments).output().unwrap()
}

fn init(home: &Path) {
    let line = [
        "init",
        "--id",
        "one",
        "--host",
        "127.0.0.1",
        "--mix-port",
        "0",
    ];
    let more = [
        "--clients-port",
        "0",
        "--http-api",
        "127.0.0.1:0",
        "--validators",
        "",
    ];
    let output = output(home, &[&line[..], &more].concat());
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A gateway in a process of its own, killed in the end.
struct Process {
    child: Child,
    contact: Contact,
}

impl Process {
    fn start(home: &Path) -> Self {
        let mut command = gateway(home, &["run", "--id", "one"]);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut value = |name: &str| {
            let line = lines
                .next()
                .unwrap_or_else(|| panic!("no line for {name}"))
                .unwrap();
            let found = line
                .strip_prefix(name)
                .unwrap_or_else(|| panic!("{line}: not {name}"));
            found.to_owned()
        };
        let identity = value("Identity key: ").parse().unwrap();
        let sphinx_key = public_key_from_base58(&value("Sphinx key: ")).unwrap();
        let mix: SocketAddr = value("Packets: ").parse().unwrap();
        let clients = value("Clients: ws://").parse().unwrap();
        let addresses = Addresses {
            mix,
            clients,
            http: None,
        };
        Self {
            child,
            contact: Contact {
                addresses,
                identity,
                sphinx_key,
            },
        }
    }

    /// As `kill -9` does.
    fn kill(self) {
        drop(self);
    }
}

impl Drop for Process {
    /// A test that fails leaves no process behind.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn acknowledged_message_survives_being_killed() {
    let home = TempDir::new().unwrap();
    init(home.path());
    let mut acks = NextHop::start().await;
    let gateway = Process::start(home.path());
    let mix = LastMixNode::new(gateway.contact, acks.address());
    let mut alice = Client::registered(&gateway.contact).await;
    for number in 0..20 {
        mix.send(&alice, number);
    }
    // Several workers process packets, so their order is not told.
    let mut acknowledged = BTreeSet::new();
    while acknowledged.len() < 20 {
        acknowledged.insert(acks.ack().await);
    }
    gateway.kill();

    let gateway = Process::start(home.path());
    let mut session = alice.log_in(&gateway.contact).await.unwrap();
    let mut received = BTreeSet::new();
    for _ in 0..20 {
        received.insert(session.push().await);
    }
    assert_eq!(received, (0..20).map(message).collect());
}

#[test]
fn second_gateway_on_the_same_files_says_so_and_fails() {
    let home = TempDir::new().unwrap();
    init(home.path());
    let first = Process::start(home.path());
    let second = output(home.path(), &["run", "--id", "one"]);
    first.kill();
    let stderr = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("error: cannot open the database "),
        "{stderr}"
    );
    assert!(
        stderr.contains("what to do: choose another file with --clients-ledger"),
        "{stderr}"
    );
}

#[test]
fn gateway_that_does_not_exist_is_a_usage_error() {
    let home = TempDir::new().unwrap();
    let output = output(home.path(), &["run", "--id", "one"]);
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("error: there is no gateway `one`"),
        "{stderr}"
    );
}

#[test]
fn init_prints_what_an_operator_needs() {
    let home = TempDir::new().unwrap();
    let output = output(home.path(), &["init", "--id", "one", "--host", "127.0.0.1"]);
    assert!(output.status.success());
    let stdout = String::from_utf8(output.stdout).unwrap();
    for line in [
        "Identity key: ",
        "Sphinx key: ",
        "Host: 127.0.0.1",
        "Mix port: 1789",
        "Clients port: 9000",
    ] {
        assert!(
            stdout.lines().any(|found| found.starts_with(line)),
            "{line} in {stdout}"
        );
    }
}
