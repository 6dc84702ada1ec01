//! What a gateway tells its operator, and takes from him while it runs.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nym_gateway::Config;
use nym_transport::legacy::LegacyPeers;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::network::{Client, LastMixNode, NextHop, Running, message, soon};
use super::process::{gateway, init};
use super::wire::{Answer, Wire, login};

/// RFC 6455, section 7.4.1: the server goes down.
const GOING_AWAY: u16 = 1001;

#[tokio::test]
async fn every_number_is_on_the_page() {
    let limits = |config: &mut Config| config.client_limits.address.connections = 3;
    let gateway = Running::start_with(limits).await;
    let mut acks = NextHop::start().await;
    let mix = LastMixNode::new(gateway.contact, acks.address());
    let alice = Client::registered(&gateway.contact).await;
    let bob = Client::registered(&gateway.contact).await;
    gateway.until("clients_online", |count| count == 0).await;
    let mut online = Wire::log_in(&gateway.contact, &bob, [1; 16]).await;
    assert!(matches!(online.next().await, Answer::Text(_)));
    let mut idle = Wire::open(&gateway.contact).await;
    // A replay, a proof that proves nothing, and one connection too many.
    idle.ask(&login(&bob, [1; 16])).await;
    idle.ask(&login(&bob, [0; 16])).await;
    let _third = Wire::open(&gateway.contact).await;
    let _refused = TcpStream::connect(gateway.contact.addresses.clients).await;
    // Two messages are stored, and one is for nobody.
    mix.send(&Client::new(), 0);
    for number in 1..=2 {
        mix.send(&alice, number);
        assert_eq!(acks.ack().await, number);
    }
    gateway
        .until("connections_refused", |count| count == 1)
        .await;

    let bytes = 2 * message(1).len();
    for line in [
        "nym_gateway_clients_connected 3".to_owned(),
        "nym_gateway_clients_online 1".to_owned(),
        "nym_gateway_clients_registered 2".to_owned(),
        "nym_gateway_inbox_messages 2".to_owned(),
        format!("nym_gateway_inbox_bytes {bytes}"),
        "nym_gateway_connections_total{result=\"accepted\"} 5".to_owned(),
        "nym_gateway_connections_total{result=\"refused\"} 1".to_owned(),
        "nym_gateway_logins_total{result=\"granted\"} 3".to_owned(),
        "nym_gateway_logins_total{result=\"denied\"} 1".to_owned(),
        "nym_gateway_logins_total{result=\"replayed\"} 1".to_owned(),
        "nym_gateway_logins_total{result=\"refused\"} 0".to_owned(),
        "nym_gateway_logins_total{result=\"throttled\"} 0".to_owned(),
        "nym_gateway_messages_total{outcome=\"stored\"} 2".to_owned(),
        "nym_gateway_messages_total{outcome=\"refused_unknown\"} 1".to_owned(),
        "nym_gateway_messages_total{outcome=\"failed\"} 0".to_owned(),
        "nym_gateway_acks_total 2".to_owned(),
        "nym_gateway_packets_total 0".to_owned(),
        "nym_gateway_pings_total 0".to_owned(),
        "nym_gateway_silent_clients_total 0".to_owned(),
        "nym_gateway_reads_held_back_total 0".to_owned(),
        "nym_node_announced 0".to_owned(),
    ] {
        // What is stored is looked at every two seconds.
        let shown = async {
            while !gateway
                .page("/metrics")
                .await
                .1
                .lines()
                .any(|found| found == line)
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        soon(&line, shown).await;
    }
    let page = gateway.page("/metrics").await.1;
    let commits = page
        .lines()
        .find_map(|line| line.strip_prefix("nym_gateway_commit_duration_seconds_count "));
    assert!(commits.unwrap().parse::<u64>().unwrap() >= 4, "{page}");
    assert!(!page.contains("127.0.0.1"), "{page}");
}

#[tokio::test]
async fn stop_is_told_before_it_begins_and_clients_are_told_to_come_back() {
    let patient = |config: &mut Config| config.drain_delay = Duration::from_secs(3600);
    let gateway = Running::start_with(patient).await;
    assert_eq!(
        gateway.page("/ready").await,
        (200, "{\"ready\":true}\n".to_owned())
    );
    let (status, welcome) = gateway.page("/").await;
    assert!(status == 200 && welcome.contains("/clients"), "{welcome}");
    gateway.ask_to_stop();
    let told = async {
        while gateway.page("/ready").await.0 != 503 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon("the stop is told", told).await;
    let (_, reason) = gateway.page("/ready").await;
    assert_eq!(reason, "{\"ready\":false,\"reason\":\"stopping\"}\n");
    // It has not begun yet.
    Client::new().log_in(&gateway.contact).await.unwrap();

    let gateway = Running::start().await;
    let mut wire = Wire::open(&gateway.contact).await;
    gateway.ask_to_stop();
    assert_eq!(wire.next().await, Answer::Close(GOING_AWAY));
}

/// A gateway in a process of its own, and what it logs.
struct Logging {
    child: Child,
    lines: tokio::sync::mpsc::Receiver<String>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Logging {
    fn start(home: &TempDir) -> Self {
        let mut command = gateway(home.path(), &["run", "--id", "one", "--log-format", "json"]);
        command.env_remove("RUST_LOG");
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = tokio::sync::mpsc::channel(1000);
        let reader = std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = sender.blocking_send(line);
            }
        });
        Self {
            child,
            lines,
            reader: Some(reader),
        }
    }

    /// The message of the next line of at least that level that contains `text`.
    async fn wait_for(&mut self, text: &str) -> String {
        let found = async {
            loop {
                let line = self.lines.recv().await.expect("the gateway runs");
                let line: serde_json::Value = serde_json::from_str(&line).unwrap();
                let fields = line["fields"].to_string();
                if fields.contains(text) {
                    return fields;
                }
            }
        };
        soon(text, found).await
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([name, &pid])
                .status()
                .unwrap()
                .success()
        );
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = self.reader.take().map(std::thread::JoinHandle::join);
    }
}

#[tokio::test]
async fn configuration_is_reloaded_and_one_with_an_error_is_not() {
    let home = TempDir::new().unwrap();
    init(home.path());
    let file = home.path().join("gateways/one/config/config.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let mut process = Logging::start(&home);
    process.wait_for("serving").await;

    let debug = text.replace("filter = \"info\"", "filter = \"info,nym_gateway=debug\"");
    assert_ne!(debug, text);
    std::fs::write(&file, debug.replace("clients = ", "clients = 1")).unwrap();
    process.signal("-HUP");
    process.wait_for("configuration reloaded\"").await;

    std::fs::write(
        &file,
        text.replace("ping_after = \"1m\"", "ping_after = \"1h\""),
    )
    .unwrap();
    process.signal("-HUP");
    let refused = process.wait_for("not reloaded").await;
    assert!(refused.contains("limits.silent_after"), "{refused}");

    std::fs::write(
        &file,
        text.replace("location = \"unknown\"", "location = \"here\""),
    )
    .unwrap();
    process.signal("-HUP");
    process.wait_for("needs a restart").await;

    let check = gateway(home.path(), &["config", "check", "--id", "one"]);
    let checked = { check }.output().unwrap();
    assert!(checked.status.success());
    std::fs::write(&file, text.replace("clients = ", "clints = ")).unwrap();
    let checked = gateway(home.path(), &["config", "check", "--id", "one"])
        .output()
        .unwrap();
    assert_eq!(checked.status.code(), Some(2));
    let stderr = String::from_utf8(checked.stderr).unwrap();
    assert!(stderr.contains("did you mean `clients`"), "{stderr}");

    process.signal("-TERM");
    process.wait_for("stopping").await;
}

#[tokio::test]
async fn rules_of_links_change_while_links_stay() {
    let gateway = Running::start().await;
    let mut stays = Wire::open(&gateway.contact).await;
    let mut changed = gateway.reloadable;
    changed.link_config.legacy_peers = LegacyPeers::Deny;
    gateway.control.reload(changed);
    let refused = "nym_node_handshakes_accepted_total{result=\"legacy_denied\"}";
    let is_refused = async {
        while gateway.metric(refused).await == 0 {
            let mut plain = TcpStream::connect(gateway.contact.addresses.clients)
                .await
                .unwrap();
            let _ = plain.write_all(b"GET ").await;
        }
    };
    soon("plain links are refused", is_refused).await;
    let malformed = Answer::Text("{\"type\":\"error\",\"message\":\"malformed request\"}".into());
    assert_eq!(stays.ask("x").await, malformed);
}

#[tokio::test]
async fn limits_change_while_connections_stay() {
    let gateway = Running::start().await;
    let mut stays = Wire::open(&gateway.contact).await;
    let mut changed = gateway.reloadable;
    changed.client_limits.address.connections = 1;
    changed.quotas.clients_max = 0;
    gateway.control.reload(changed);
    let refused = async {
        while gateway.count("connections_refused").await == 0 {
            let _ = TcpStream::connect(gateway.contact.addresses.clients).await;
        }
    };
    soon("one more is refused", refused).await;
    let malformed = Answer::Text("{\"type\":\"error\",\"message\":\"malformed request\"}".into());
    assert_eq!(stays.ask("x").await, malformed);
    drop(stays);
    changed.client_limits.address.connections = 100;
    gateway.control.reload(changed);
    gateway.until("clients_connected", |count| count == 0).await;
    // The ledger has no room any more.
    let refusal = Client::new().log_in(&gateway.contact).await.err().unwrap();
    assert!(
        refusal.to_string().contains("failed to complete issuing"),
        "{refusal}"
    );
}
