//! The program itself: its command line, and what survives when it is killed.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use nym_gateway::Addresses;
use nym_packet::keys::public_key_from_base58;
use tempfile::TempDir;

use super::network::{Client, Contact, LastMixNode, NextHop, message, soon};

pub(crate) fn gateway(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nym-gateway"));
    command.arg("--home").arg(home).args(arguments);
    command
}

pub(crate) fn output(home: &Path, arguments: &[&str]) -> Output {
    gateway(home, arguments).output().unwrap()
}

pub(crate) fn init(home: &Path) {
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
    // These tests speak as 0.11 programs do, and their mix nodes are in no topology.
    let file = home.join("gateways/one/config/config.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text
        .replace("legacy_peers = \"deny\"", "legacy_peers = \"allow\"")
        .replace(
            "open_relay_for_tests = false",
            "open_relay_for_tests = true",
        );
    std::fs::write(&file, text).unwrap();
}

/// A gateway in a process of its own, killed in the end.
pub(crate) struct Process {
    child: Child,
    pub(crate) contact: Contact,
}

impl Process {
    pub(crate) fn start(home: &Path) -> Self {
        let mut command = gateway(home, &["run", "--id", "one"]);
        command.stderr(Stdio::null());
        Self::spawn(command)
    }

    /// Starts the program with whatever else the command says.
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
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

    /// Waits until the program has ended by itself.
    pub(crate) async fn status(mut self) -> Option<i32> {
        let ended = async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status.code();
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        soon("the program ends", ended).await
    }

    /// As `kill -9` does.
    pub(crate) fn kill(self) {
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

#[tokio::test]
async fn operator_lists_and_removes_clients_beside_a_running_gateway() {
    let home = TempDir::new().unwrap();
    init(home.path());
    let mut acks = NextHop::start().await;
    let gateway = Process::start(home.path());
    let mix = LastMixNode::new(gateway.contact, acks.address());
    let mut alice = Client::registered(&gateway.contact).await;
    let name = alice.identity.public_key().to_string();
    mix.send(&alice, 1);
    acks.ack().await;
    let answer = |line: &[&str]| {
        let output = output(home.path(), line);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let (code, list, error) = answer(&["clients", "list", "--id", "one"]);
    assert_eq!(code, Some(0), "{error}");
    assert!(list.contains(&name), "{list}");
    let (_, list, _) = answer(&["clients", "list", "--id", "one", "--json"]);
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list[0]["address"], name);
    assert_eq!(
        (&list[0]["messages"], &list[0]["bytes"]),
        (&1.into(), &1643.into())
    );
    let (_, stats, _) = answer(&["inbox", "stats", "--id", "one", "--json"]);
    assert_eq!(
        stats.trim(),
        r#"{"clients":1,"clients_with_messages":1,"messages":1,"bytes":1643,"oldest_secs":0}"#
    );

    // It reads no further, so the message stays.
    let mut session = alice.log_in(&gateway.contact).await.unwrap();
    let (code, said, _) = answer(&["clients", "remove", "--id", "one", &name]);
    assert_eq!(
        (code, said),
        (Some(0), format!("Removed {name}, and 1 messages\n"))
    );
    let (code, _, error) = answer(&["clients", "remove", "--id", "one", &name]);
    assert_eq!(code, Some(1), "{error}");
    assert!(
        error.contains(&format!("error: there is no client {name}")),
        "{error}"
    );
    // The running gateway takes note, and knows the client no more.
    assert_eq!(session.next_push().await, Some(message(1)));
    session.closed().await;
    assert!(alice.log_in(&gateway.contact).await.is_err());
    gateway.kill();
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
