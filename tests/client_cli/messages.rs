//! Commands that need a network: one of `nym-localnet`, with short delays.

use std::fs;

use nym_tests::{Running, program};
use serde_json::Value;

use super::*;

/// A network, and clients that are set up in it.
struct Network {
    home: Home,
    validator: String,
    _localnet: Running,
}

impl Network {
    fn with(clients: &[&str]) -> Self {
        let localnet =
            Running::start(Command::new(program("nym-localnet")).args(["--port", "0", "--fast"]));
        let validator = localnet.wait_for("the validator", |line| {
            let url = line.trim().strip_prefix("validator")?;
            Some(url.trim().to_owned())
        });
        // All nodes have announced themselves when its clients are connected.
        localnet.wait_for("a client", |line| {
            line.trim().starts_with("alice").then_some(())
        });
        let network = Self {
            home: Home::new(),
            validator,
            _localnet: localnet,
        };
        for id in clients {
            network.init(id, &[]);
        }
        network
    }

    fn init(&self, id: &str, more: &[&str]) -> String {
        let words = ["init", "--id", id, "--fastmode", "--validators"];
        let words = [&words[..], &[&self.validator], more].concat();
        self.home.data(&words)
    }

    fn address(&self, id: &str) -> String {
        let line = self.home.data(&["address", "--id", id]);
        line.trim_end().to_owned()
    }

    /// A client that stays up, on a free port.
    fn up(&self, id: &str) -> Running {
        let running = self.home.start(&["run", "--id", id, "--port", "0"]);
        running.wait_for("where apps connect", |line| {
            line.starts_with("Apps connect to: ws://").then_some(())
        });
        running.wait_for("the connection", |line| {
            line.contains("connected to the gateway").then_some(())
        });
        running
    }
}

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[test]
fn a_message_goes_from_one_command_to_another_without_a_running_client() {
    let network = Network::with(&["alice", "bob"]);
    let bob = network.address("bob");
    let sent = network
        .home
        .run(&["send", "--id", "alice", "--to", &bob, "Hello Nym!"]);
    assert_eq!(sent.code, Some(0), "{sent:?}");
    assert_eq!(sent.stdout, "");
    assert!(sent.stderr.starts_with("delivered in "), "{sent:?}");
    // The gateway kept it: bob was away.
    let heard = network
        .home
        .data(&["listen", "--id", "bob", "--count", "1"]);
    assert_eq!(heard, "Hello Nym!\n");
}

#[test]
fn a_file_and_standard_input_arrive_byte_for_byte_through_running_clients() {
    let network = Network::with(&["alice", "bob"]);
    let (_alice, _bob) = (network.up("alice"), network.up("bob"));
    let bob = network.address("bob");
    let file = network.home.path().join("file");
    let bytes: Vec<u8> = (0..20_000_u32)
        .map(|i| i.to_le_bytes()[i as usize % 4])
        .collect();
    fs::write(&file, &bytes).unwrap();
    let words = ["send", "--id", "alice", "--to", &bob, "--json", "--file"];
    let sent = network
        .home
        .data(&[&words[..], &[file.to_str().unwrap()]].concat());
    let sent = json(&sent);
    assert_eq!(sent["version"], 1);
    assert_eq!(sent["status"], "delivered");
    assert_eq!(sent["bytes"], 20_000);
    assert!(sent["packets"].as_u64().unwrap() > 10, "{sent}");

    let listen = ["listen", "--id", "bob", "--count", "1"];
    let heard = output_of(&mut network.home.client(&listen));
    assert_eq!(heard.stdout, [&bytes[..], b"\n"].concat());

    let mut send = network
        .home
        .client(&["send", "--id", "alice", "--to", &bob, "-"]);
    let input = fs::File::open(&file).unwrap();
    let sent = send.stdin(input).status().unwrap();
    assert_eq!(sent.code(), Some(0));
    let heard = network.home.data(&[&listen[..], &["--json"]].concat());
    let heard = json(&heard);
    assert_eq!(heard["version"], 1);
    assert!(
        heard["base64"].is_string() && heard.get("message").is_none(),
        "{heard}"
    );
    assert_eq!(heard["senderTag"], Value::Null);
}

#[test]
fn a_command_gets_each_message_and_can_answer_an_anonymous_one_by_its_tag() {
    let network = Network::with(&["alice", "bob"]);
    let (_alice, _bob) = (network.up("alice"), network.up("bob"));
    let out = network.home.path().join("out");
    let exec = format!(
        "{} send --home {} --id bob --to \"$NYM_SENDER_TAG\" \"you said $(cat)\" && echo ok > {}",
        program("nym-client").display(),
        network.home.path().display(),
        out.display()
    );
    let listener = network
        .home
        .start(&["listen", "--id", "bob", "--count", "1", "--exec", &exec]);
    let bob = network.address("bob");
    let words = [
        "send",
        "--id",
        "alice",
        "--to",
        &bob,
        "--reply-surbs",
        "1",
        "hello",
    ];
    network.home.data(&words);
    let heard = network
        .home
        .data(&["listen", "--id", "alice", "--count", "1"]);
    assert_eq!(heard, "you said hello\n", "{}", listener.output());
    let ended = listener.ended();
    assert_eq!(ended.code(), Some(0));
    assert_eq!(fs::read_to_string(out).unwrap(), "ok\n");

    let listener = network
        .home
        .start(&["listen", "--id", "bob", "--exec", "exit 7"]);
    network
        .home
        .data(&["send", "--id", "alice", "--to", &bob, "hello"]);
    listener.wait_for("why it ended", |line| {
        line.contains("`exit 7`: it failed, exit status: 7")
            .then_some(())
    });
}

#[test]
fn sending_takes_no_message_away_from_an_app_that_listens() {
    let network = Network::with(&["alice"]);
    let _alice = network.up("alice");
    let alice = network.address("alice");
    let listener = network.home.start(&["listen", "--id", "alice", "--json"]);
    for number in ["1", "2", "3"] {
        network
            .home
            .data(&["send", "--id", "alice", "--to", &alice, number]);
        listener.wait_for("the message", |line| {
            (json(line)["message"] == number).then_some(())
        });
    }
    assert_eq!(listener.interrupt().code(), Some(130));
}

#[test]
fn the_status_tells_how_a_running_client_does() {
    let network = Network::with(&["alice"]);
    let away = network.home.run(&["status", "--id", "alice", "--json"]);
    assert_eq!(
        (away.code, away.stdout.as_str()),
        (Some(1), "{\"version\":1,\"running\":false}\n")
    );
    let away = network.home.run(&["status", "--id", "alice"]);
    assert_eq!(
        (away.code, away.stdout.as_str()),
        (Some(1), "client `alice` is not running\n")
    );

    let running = network.up("alice");
    let alice = network.address("alice");
    network
        .home
        .data(&["send", "--id", "alice", "--to", &alice, "hello"]);
    let status = json(&network.home.data(&["status", "--id", "alice", "--json"]));
    assert_eq!(status["version"], 1);
    assert_eq!(status["running"], true);
    assert_eq!(status["connected"], true);
    assert_eq!(status["routable"], true);
    assert_eq!(status["address"], alice);
    assert_eq!(status["unacknowledgedMessages"], 0);
    assert!(status["topologyAgeSecs"].is_u64(), "{status}");
    assert!(status["packetsSent"].as_u64() > Some(0), "{status}");
    assert!(
        status["acknowledgementsReceived"].as_u64() > Some(0),
        "{status}"
    );
    assert!(
        status["packetsSentPerSecond"].as_f64() > Some(0.0),
        "{status}"
    );
    let shown = network.home.data(&["status", "--id", "alice"]);
    for said in [
        "alice is running",
        &alice,
        "connected          yes",
        "unacknowledged",
    ] {
        assert!(shown.contains(said), "no `{said}` in {shown}");
    }

    // Two processes with the same keys would take each other's messages.
    network
        .home
        .run(&["run", "--id", "alice", "--port", "0"])
        .is_one_clear_error(
            1,
            &format!("is running already (process {})", running.pid()),
        );
}

#[test]
fn exit_statuses_are_the_documented_ones() {
    let network = Network::with(&["alice", "bob"]);
    let bob = network.address("bob");
    let send = ["send", "--id", "alice", "--to", &bob];
    let run = |more: &[&str]| network.home.run(&[&send[..], more].concat());
    run(&["hello", "--no-wait"]).is_one_clear_error(2, "does not run");
    run(&["hello", "--timeout", "0s"]).is_one_clear_error(3, "not delivered within");
    run(&["--file", "/nowhere/file"]).is_one_clear_error(1, "/nowhere/file");

    let running = network.up("alice");
    let accepted = run(&["hello", "--no-wait", "--json"]);
    assert_eq!(json(&accepted.stdout)["status"], "accepted");
    let (keys, _) = bob.split_once('@').unwrap();
    let elsewhere = format!("{keys}@2e7GA1nn1QtDQDbYVRNgGSFDVkEmdnjaFvaE8gL2CVXj");
    network
        .home
        .run(&["send", "--id", "alice", "--to", &elsewhere, "hello"])
        .is_one_clear_error(1, "recipient's gateway is not in the network");
    assert_eq!(running.interrupt().code(), Some(130));
}

#[test]
fn the_network_is_listed_and_the_fastest_gateway_taken() {
    let network = Network::with(&[]);
    let validators = ["--validators", &network.validator];
    let list = |command: &str, more: &[&str]| {
        network
            .home
            .data(&[&[command][..], &validators, more].concat())
    };
    let topology = json(&list("topology", &["--json"]));
    assert_eq!(topology["version"], 1);
    assert_eq!(topology["layers"].as_array().unwrap().len(), 3);
    let gateways = json(&list("gateways", &["--json"]));
    let gateways = gateways["gateways"].as_array().unwrap();
    assert_eq!(gateways.len(), 2);
    let latencies: Vec<_> = gateways
        .iter()
        .map(|gateway| gateway["latencyMillis"].as_f64().unwrap())
        .collect();
    assert!(latencies.is_sorted(), "{latencies:?}");

    let made = network.init("alice", &["--gateway", "fastest"]);
    assert!(
        gateways.iter().any(|gateway| {
            made.contains(&format!("@{}", gateway["identity"].as_str().unwrap()))
        }),
        "{made}"
    );
    let (shown, gateways) = (list("topology", &[]), list("gateways", &[]));
    for said in ["mix layer 1 (2)", "mix layer 3 (2)", "gateways (2)"] {
        assert!(shown.contains(said), "{shown}");
    }
    assert!(gateways.contains(" ms  ws://127.0.0.1:"), "{gateways}");

    // A second `init` for another gateway says that it stays.
    let other = "2e7GA1nn1QtDQDbYVRNgGSFDVkEmdnjaFvaE8gL2CVXj";
    let again = network
        .home
        .run(&["init", "--id", "alice", "--gateway", other]);
    assert_eq!(again.code, Some(0), "{again:?}");
    assert!(again.stderr.contains("stays at its gateway"), "{again:?}");
    assert!(made.ends_with(again.stdout.lines().last().unwrap()) || made.contains("address"));
}
