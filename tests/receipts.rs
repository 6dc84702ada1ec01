//! Every send with an id ends in one receipt, and *delivered* is true, while packets are lost.
//!
//! The loss is that of a real network. A layer has five mix nodes, and one of them is killed after
//! clients have learned of it: every packet whose sender chose it, a fifth of all messages and a
//! fifth of all acknowledgements, is gone. Some messages go to a client whose gateway was killed as
//! well; nothing of those can arrive. A packet is sent four times at most, so that messages of both
//! kinds are given up.
//!
//! The recipient has no app while the messages come, and room for a few of them; its gateway keeps
//! the rest. It can send all the same, and hears of it. When all have ended its client is killed and started again, and only then an app takes
//! what there is: what was delivered has to be there.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "what a test needs and cannot have fails the test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use nym_tests::{PATIENCE, Running, clients, output_of, program, texts};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::stream::MaybeTlsStream;
use tokio_tungstenite::tungstenite::{Message, WebSocket, connect};

/// Messages in all.
const SENDS: usize = 1_000;

/// One message in so many goes to the client whose gateway is gone.
const IN_VAIN: usize = 25;

/// Room of the recipient for messages that no app takes.
const UNTAKEN_BYTES_MAX: u64 = 20_000;

/// Requests that wait for their confirmation.
const ASKED_MAX: usize = 32;

#[test]
fn a_send_ends_in_one_receipt_and_delivered_is_true_while_a_fifth_of_all_packets_is_lost() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let (_localnet, validator) =
        clients::localnet(&["--mixnodes-per-layer", "4", "--gateways", "1"]);
    let gateways = told(&validator, "topology")["gateways"].clone();
    let near = gateways[0]["identity"].as_str().unwrap();
    let mix_node = node(home, "nym-mixnode", &["--http-api-port", "0"], &validator);
    let far = node(
        home,
        "nym-gateway",
        &["--clients-port", "0", "--http-api", ""],
        &validator,
    );
    let init = |name, gateway: &str| {
        let arguments = &["--fastmode", "--gateway", gateway];
        clients::init(client(home), name, &validator, arguments)
    };
    let [alice, bob] = ["alice", "bob"].map(|name| init(name, near));
    let carol = init("carol", &far.identity);

    let (_alice, alice_url) = clients::run_until_ready(client(home), "alice");
    let (bob_process, bob_url) = clients::run(client_of_bob(home), "bob");
    let topology = told(&validator, "topology");
    let layers = topology["layers"].as_array().unwrap();
    let layer = layers.iter().find(|layer| is_in(&mix_node.identity, layer));
    assert_eq!(layer.unwrap().as_array().unwrap().len(), 5, "{topology}");
    mix_node.process.kill();
    far.process.kill();

    let mut app = App::connect(&alice_url, "");
    let ends = app.send_all(|index| if is_in_vain(index) { &carol } else { &bob });
    assert_eq!(app.receipts(), ends, "what was told is what is remembered");
    let (delivered, failed): (BTreeSet<_>, BTreeSet<_>) = ends.keys().partition(|index| {
        let end = ends[*index].as_str();
        end == "delivered"
    });
    let left = status(home, "bob")["untakenBytes"].clone();
    assert!(left.as_u64() >= Some(UNTAKEN_BYTES_MAX), "{left} are few");
    App::connect(&bob_url, "?pushes=no").send_until_delivered(&alice);
    bob_process.kill();
    let (_bob, bob_url) = clients::run(client_of_bob(home), "bob");
    let arrived = App::connect(&bob_url, "").take_until(|arrived| {
        let has_arrived = |index: &&usize| arrived.contains_key(&message(**index));
        delivered.iter().all(has_arrived)
    });

    let status = status(home, "alice");
    println!(
        "{} delivered, {} failed, {} of these arrived; {} packets sent again",
        delivered.len(),
        failed.len(),
        arrived.len() - delivered.len(),
        status["retransmissions"]
    );
    for (message, count) in &arrived {
        assert_eq!(*count, 1, "{message} was pushed so often");
    }
    let in_vain: BTreeSet<_> = (0..SENDS).filter(|index| is_in_vain(*index)).collect();
    assert!(in_vain.iter().all(|index| failed.contains(index)));
    assert!(
        failed.len() > in_vain.len(),
        "loss alone lets messages fail"
    );
    assert!(!delivered.is_empty());
    let lost_at_least = u64::try_from(SENDS / 10).unwrap();
    assert!(status["retransmissions"].as_u64().unwrap() > lost_at_least);
}

const fn is_in_vain(index: usize) -> bool {
    index.is_multiple_of(IN_VAIN)
}

fn message(index: usize) -> String {
    format!("message {index}")
}

/// A client's program with short waits and few attempts.
fn client(home: &Path) -> Command {
    let mut command = clients::client(home);
    command
        .env("NYM_CLIENT_DEBUG_ACK_WAIT_ADDITION", "1s")
        .env("NYM_CLIENT_DEBUG_AVERAGE_ACK_DELAY", "10ms")
        .env("NYM_CLIENT_LIMITS_FRAGMENT_ATTEMPTS_MAX", "4");
    command
}

/// How a running client does.
fn status(home: &Path, name: &str) -> Value {
    let output = output_of(client(home).args(["status", "--id", name, "--json"]));
    serde_json::from_str(&texts(&output).0).unwrap()
}

/// The recipient's: with room for some 70 messages, and so little cover traffic that it does not fill
/// the inbox.
fn client_of_bob(home: &Path) -> Command {
    let mut command = client(home);
    command
        .env(
            "NYM_CLIENT_APPS_UNDELIVERED_BYTES_MAX",
            UNTAKEN_BYTES_MAX.to_string(),
        )
        .env("NYM_CLIENT_DEBUG_MESSAGE_SENDING_AVERAGE_DELAY", "1s")
        .env("NYM_CLIENT_DEBUG_LOOP_COVER_TRAFFIC_AVERAGE_DELAY", "1m");
    command
}

/// What a validator tells, by a command of the client.
fn told(validator: &str, what: &str) -> Value {
    let mut command = Command::new(program("nym-client"));
    let output = output_of(command.args([what, "--json", "--validators", validator]));
    let (stdout, stderr) = texts(&output);
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}"))
}

fn is_in(identity: &str, layer: &Value) -> bool {
    let nodes = layer.as_array().unwrap();
    nodes.iter().any(|node| node["identity"] == identity)
}

/// A node in a process of its own, that the validator lists.
struct Node {
    process: Running,
    identity: String,
}

fn node(home: &Path, name: &str, arguments: &[&str], validator: &str) -> Node {
    let command = |word: &str| {
        let mut command = Command::new(program(name));
        command.env_remove("RUST_LOG").env_remove("NYM_HOME");
        command.args([word, "--id", "mortal", "--home"]).arg(home);
        command
    };
    let mut init = command("init");
    init.args(["--host", "127.0.0.1", "--mix-port", "0", "--validators"]);
    let output = output_of(init.arg(validator).args(arguments));
    let (stdout, stderr) = texts(&output);
    let identity = stdout
        .lines()
        .find_map(|line| line.strip_prefix("Identity key: "))
        .unwrap_or_else(|| panic!("{stdout}{stderr}"))
        .to_owned();
    let process = Running::start(&mut command("run"));
    process.wait_for("that it is announced", |line| {
        line.contains("announced validators").then_some(())
    });
    Node { process, identity }
}

/// An app at the websocket of a client, in the dialect *seed*.
struct App(WebSocket<MaybeTlsStream<TcpStream>>);

impl App {
    fn connect(url: &str, query: &str) -> Self {
        let (socket, _) = connect(format!("{url}/seed{query}")).unwrap();
        if let MaybeTlsStream::Plain(stream) = socket.get_ref() {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        Self(socket)
    }

    fn ask(&mut self, request: &Value) {
        self.0.send(Message::text(request.to_string())).unwrap();
    }

    fn read(&mut self) -> String {
        loop {
            match self.0.read() {
                Ok(Message::Text(text)) => return text.as_str().to_owned(),
                Ok(_) => {}
                Err(error) => panic!("nothing comes any more: {error}"),
            }
        }
    }

    fn read_json(&mut self) -> Value {
        serde_json::from_str(&self.read()).unwrap()
    }

    /// Sends all messages, each with its index as id, and gives how each ended.
    fn send_all<'a>(&mut self, to: impl Fn(usize) -> &'a str) -> BTreeMap<usize, String> {
        let mut confirmed = BTreeSet::new();
        let mut ends = BTreeMap::new();
        let mut next = 0;
        while ends.len() < SENDS {
            while next < SENDS && next < confirmed.len() + ASKED_MAX {
                let (message, recipient) = (message(next), to(next));
                self.ask(&json!({
                    "type": "send", "message": message, "recipient": recipient, "id": next,
                }));
                next += 1;
            }
            let said = self.read_json();
            let index = usize::try_from(said["id"].as_u64().unwrap()).unwrap();
            match said["type"].as_str().unwrap() {
                "send" => assert!(confirmed.insert(index), "confirmed twice: {said}"),
                end @ ("delivered" | "failed") => {
                    assert!(confirmed.contains(&index), "not confirmed before: {said}");
                    let earlier = ends.insert(index, end.to_owned());
                    assert_eq!(earlier, None, "ended twice: {said}");
                }
                _ => panic!("{said}"),
            }
        }
        ends
    }

    /// Sends messages, one after the other, until one is delivered. Of one packet that is sent four
    /// times, one in sixty is lost.
    fn send_until_delivered(mut self, to: &str) {
        for id in 0..10 {
            self.ask(&json!({"type": "send", "message": "m", "recipient": to, "id": id}));
            assert_eq!(self.read_json()["type"], "send");
            if self.read_json()["type"] == "delivered" {
                return;
            }
        }
        panic!("whoever takes no messages hears of none that it sends");
    }

    /// How each message ended, as the client remembers it. Nothing else is told any more.
    fn receipts(&mut self) -> BTreeMap<usize, String> {
        let ids: Vec<_> = (0..SENDS).collect();
        self.ask(&json!({"type": "receipts", "ids": ids}));
        let said = self.read_json();
        let receipts = said["receipts"].as_array();
        let receipts = receipts.unwrap_or_else(|| panic!("told once more: {said}"));
        let entry = |receipt: &Value| {
            let index = usize::try_from(receipt["id"].as_u64().unwrap()).unwrap();
            (index, receipt["status"].as_str().unwrap().to_owned())
        };
        receipts.iter().map(entry).collect()
    }

    /// Takes messages until that is enough, and gives how often each came.
    fn take_until(
        mut self,
        is_enough: impl Fn(&BTreeMap<String, usize>) -> bool,
    ) -> BTreeMap<String, usize> {
        let mut arrived = BTreeMap::new();
        while !is_enough(&arrived) {
            *arrived.entry(self.read()).or_default() += 1;
        }
        arrived
    }
}
