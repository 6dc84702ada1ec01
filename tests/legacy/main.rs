//! Programs of the 0.11 network in a network of ours, at every position.
//!
//! The stand-ins are made of our protocol cores with the envelope of 0.11: TCP and websockets in
//! clear, bonds without TLS, HTTP requests byte for byte, lists read as strictly as 0.11 reads them,
//! and the checks it makes at its start. What a person has to do is taken from what `nym-localnet
//! --legacy` prints, and nothing else is known to them.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what a test needs and cannot have fails the test"
)]

mod client;
mod directory;
mod gateway;
mod mix_side;
mod mixnode;

use std::path::Path;
use std::process::Command;

use nym_tests::{Running, isolated_again, output_of, program, texts};

use crate::client::LegacyClient;
use crate::directory::LegacyDirectory;
use crate::mix_side::LegacyNode;

/// A network, and what it told about joining it.
struct Network {
    localnet: Running,
    /// The commands it printed.
    commands: Vec<String>,
    /// The address of its client alice.
    alice: String,
}

impl Network {
    fn start() -> Self {
        let mut command = Command::new(program("nym-localnet"));
        command.args(["--legacy", "--fast", "--port", "0"]);
        let localnet = Running::start(command.args(["--mixnodes-per-layer", "1"]));
        let alice = localnet.wait_for("alice's address", |line| {
            line.contains('@').then(|| line.trim().to_owned())
        });
        localnet.wait_for("the last line", |line| {
            line.starts_with("Ctrl-C").then_some(())
        });
        let commands = localnet.output();
        let commands = commands.lines().map(str::trim);
        let is_command = |line: &&str| line.starts_with("nym-") || line.starts_with("curl ");
        let commands = commands.filter(is_command).map(str::to_owned).collect();
        Self {
            localnet,
            commands,
            alice,
        }
    }

    /// The words of the printed command that begins like this.
    fn command(&self, beginning: &str) -> Vec<String> {
        let line = self.commands.iter().find(|it| it.starts_with(beginning));
        let line = line.unwrap_or_else(|| panic!("no {beginning} in {:?}", self.commands));
        line.split(' ').map(str::to_owned).collect()
    }

    /// What the printed command says after a flag.
    fn value(&self, beginning: &str, flag: &str) -> String {
        let words = self.command(beginning);
        let mut words = words.iter().skip_while(|word| *word != flag);
        words.nth(1).unwrap().clone()
    }

    /// Where the validator is, as 0.11 programs are told.
    fn directory(&self, program: &str) -> LegacyDirectory {
        let init = format!("{program} init");
        LegacyDirectory::new(
            &self.value(&init, "--validators"),
            &self.value(&init, "--mixnet-contract"),
        )
    }

    /// Runs the printed bond command with the keys that the node's `init` showed, and with other
    /// values of these flags.
    fn bond(&self, kind: &str, keys: (&str, &str), flags: &[(&str, &str)]) -> Ended {
        let mut words = self.command(&format!("nym-validator bond {kind}"));
        let mut keys = [keys.0, keys.1].into_iter();
        for word in words.iter_mut().filter(|word| *word == "KEY") {
            keys.next().unwrap().clone_into(word);
        }
        for (flag, value) in flags {
            match words.iter().position(|word| word == flag) {
                Some(at) => (*value).clone_into(&mut words[at + 1]),
                None => words.extend([(*flag).to_owned(), (*value).to_owned()]),
            }
        }
        run(&words)
    }

    fn validator(&self, words: &[&str]) -> Ended {
        let data_dir = self.value("nym-validator bond mixnode", "--data-dir");
        let all = [&["nym-validator"], words, &["--data-dir", &data_dir]].concat();
        run(&all.iter().map(|&word| word.to_owned()).collect::<Vec<_>>())
    }
}

/// How a command ended.
#[derive(Debug)]
struct Ended {
    succeeded: bool,
    stdout: String,
    stderr: String,
}

fn run(words: &[String]) -> Ended {
    let (name, arguments) = words.split_first().unwrap();
    let output = output_of(Command::new(program(name)).args(arguments));
    let (stdout, stderr) = texts(&output);
    Ended {
        succeeded: output.status.success(),
        stdout,
        stderr,
    }
}

/// Runs a client of ours that allows plain links.
fn our_client(home: &Path, words: &[&str]) -> Ended {
    let mut command = Command::new(program("nym-client"));
    command.args(words).arg("--home").arg(home);
    let output = output_of(command.env("RUST_LOG", "error").env_remove("NYM_HOME"));
    let (stdout, stderr) = texts(&output);
    let succeeded = output.status.success();
    assert!(succeeded, "{words:?}: {stdout}{stderr}");
    Ended {
        succeeded,
        stdout,
        stderr,
    }
}

#[test]
fn programs_of_0_11_join_at_every_position_and_messages_pass_through_each() {
    if isolated_again("programs_of_0_11_join_at_every_position_and_messages_pass_through_each") {
        return;
    }
    let network = Network::start();

    // A mix node: keys by its `init`, the bond by its operator, then its `run`.
    let host = network.value("nym-mixnode init", "--host");
    let mixnode = LegacyNode::init(&host, network.directory("nym-mixnode"));
    let (identity, sphinx_key) = mixnode.keys();
    let bonded = network.bond("mixnode", (&identity, &sphinx_key), &[("--layer", "2")]);
    assert!(bonded.succeeded, "{bonded:?}");
    let mixnode = mixnode.run_mixnode().unwrap();

    // A gateway, and a client of ours that registers there.
    let host = network.value("nym-gateway init", "--host");
    let gateway = LegacyNode::init(&host, network.directory("nym-gateway"));
    let (gateway_identity, sphinx_key) = gateway.keys();
    let bonded = network.bond("gateway", (&gateway_identity, &sphinx_key), &[]);
    assert!(bonded.succeeded, "{bonded:?}");
    let gateway = gateway.run_gateway().unwrap();
    let validators = network.value("nym-client init", "--validators");
    let home = tempfile::tempdir().unwrap();
    let carol = |words: &[&str]| our_client(home.path(), words);
    let allow = ["--legacy-peers", "allow"];
    let init = [
        "init",
        "--id",
        "carol",
        "--fastmode",
        "--validators",
        &validators,
    ];
    carol(&[&init[..], &["--gateway", &gateway_identity], &allow].concat());
    let carols_address = carol(&["address", "--id", "carol"]).stdout;
    let carols_address = carols_address.trim();
    assert!(carols_address.ends_with(&gateway_identity));

    // A client at our gateway; it comes back before it sends, as after a restart.
    let door = network.value("nym-client init", "--gateway");
    let client = LegacyClient::init(&door, network.directory("nym-client"));
    let mut client = client.run(&identity);
    client.send(carols_address, "through a mix node and a gateway of 0.11");
    assert!(mixnode.forwarded() > 0, "its only way was over that node");
    let heard = carol(&["listen", "--id", "carol", "--count", "1"]);
    assert_eq!(heard.stdout, "through a mix node and a gateway of 0.11\n");

    // The way back. That it was delivered, our client learns by an acknowledgement which the
    // other gateway pushed.
    let to = client.address();
    let sent = carol(&["send", "--id", "carol", "--to", &to, "to a client of 0.11"]);
    assert!(sent.stderr.contains("delivered in "), "{sent:?}");
    assert_eq!(client.receive(), b"to a client of 0.11");
    client.send(&network.alice, "to a client of ours at ours");

    // No node tried to speak TLS with them.
    assert_eq!((mixnode.strange_links(), gateway.strange_links()), (0, 0));
    assert!(gateway.pushed() > 0);

    let bonds = network.validator(&["bonds"]).stdout;
    assert_eq!(bonds.lines().count(), 3, "{bonds}");
    for node in [&identity, &gateway_identity] {
        assert!(bonds.contains(node.as_str()), "{bonds}");
        let unbonded = network.validator(&["unbond", node]);
        assert!(unbonded.succeeded, "{unbonded:?}");
    }
    let directory = network.directory("nym-client");
    let topology = directory.topology();
    assert!(
        topology
            .gateway(&gateway_identity.parse().unwrap())
            .is_none()
    );
    assert_eq!(topology.layers[1].len(), 1);
    assert_eq!(network.localnet.interrupt().code(), Some(0));
}

#[test]
fn a_0_11_node_is_never_listed_beside_another_at_its_host() {
    if isolated_again("a_0_11_node_is_never_listed_beside_another_at_its_host") {
        return;
    }
    let network = Network::start();
    let host = network.value("nym-mixnode init", "--host");
    let node = LegacyNode::init(&host, network.directory("nym-mixnode"));
    let (identity, sphinx_key) = node.keys();
    let bonded = network.bond("mixnode", (&identity, &sphinx_key), &[]);
    assert!(bonded.succeeded, "{bonded:?}");
    let other = LegacyNode::init(&host, network.directory("nym-mixnode"));
    let (rival, sphinx_key) = other.keys();

    let refused = network.bond("mixnode", (&rival, &sphinx_key), &[]);
    assert_eq!(
        refused.stderr,
        format!(
            "error: node {identity} has the address {host}:1789\n\
             what to do: give the node another address, or stop or unbond the other one; \
             --replace takes its place\n"
        )
    );
    let refused = network.bond("mixnode", (&rival, &sphinx_key), &[("--mix-port", "2000")]);
    assert_eq!(
        refused.stderr,
        format!(
            "error: node {identity} has the host {host}, and a 0.11 program does not share its \
             host\nwhat to do: give the node an IP address or name of its own\n"
        )
    );
    // So the first one starts; one that was not bonded does not.
    let reason = other.run_mixnode().map(drop).unwrap_err();
    assert!(reason.contains(&identity), "{reason}");
    drop(node.run_mixnode().unwrap());
}
