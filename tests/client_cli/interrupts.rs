//! Ctrl-C while a command waits for somebody who does not answer.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

use nym_tests::PATIENCE;
use tokio_tungstenite::tungstenite;

use super::files::{ADDRESS, OldClient};
use super::*;

/// Somebody who lets others connect and says nothing.
struct Mute {
    address: SocketAddr,
    came: Receiver<TcpStream>,
}

impl Mute {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, came) = channel();
        // Ends with the test's process; nothing waits for it.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let _ = sender.send(stream);
            }
        });
        Self { address, came }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until somebody connects.
    fn wait(&self) -> TcpStream {
        self.came.recv_timeout(PATIENCE).unwrap()
    }
}

/// The claim to a client whose apps connect to `address`, as a process that runs it has it.
fn claim(client: &OldClient, address: SocketAddr) -> File {
    let mut file = File::create(client.path("data/running.json")).unwrap();
    file.try_lock().unwrap();
    write!(file, "{{\"pid\":1,\"apps\":\"{address}\"}}").unwrap();
    file
}

fn is_interrupted(running: Running) {
    assert_eq!(running.interrupt().code(), Some(130));
}

#[test]
fn what_waits_for_a_validator_is_interrupted_and_leaves_nothing_behind() {
    let (home, mute) = (Home::new(), Mute::new());
    for words in [
        &["init", "--id", "alice"][..],
        &["init", "--id", "alice", "--gateway", "fastest"],
        &["gateways"],
        &["topology"],
    ] {
        let url = mute.url();
        let words = [words, &["--validators", &url]].concat();
        let running = home.start(&words);
        let _unanswered = mute.wait();
        is_interrupted(running);
    }
    assert!(
        !home
            .path()
            .join("clients/alice/config/config.toml")
            .exists()
    );
}

#[test]
fn what_waits_for_a_running_client_is_interrupted() {
    let (client, mute) = (OldClient::new(), Mute::new());
    let claimed = claim(&client, mute.address);
    for words in [
        &["status", "--id", "alice"][..],
        &["listen", "--id", "alice"],
        &["send", "--id", "alice", "--to", ADDRESS, "hello"],
    ] {
        let running = client.home.start(words);
        let _unanswered = mute.wait();
        is_interrupted(running);
    }
    // Let in, but never told that the message was delivered.
    for words in [
        &["listen", "--id", "alice"][..],
        &["send", "--id", "alice", "--to", ADDRESS, "hello"],
    ] {
        let running = client.home.start(words);
        let mut app = tungstenite::accept(mute.wait()).unwrap();
        if words[0] == "send" {
            assert!(app.read().unwrap().is_text());
        }
        is_interrupted(running);
    }
    drop(claimed);
}

#[test]
fn what_waits_for_a_client_that_it_started_is_interrupted_and_stops_it() {
    let (client, mute) = (OldClient::new(), Mute::new());
    let config = client
        .config()
        .replace("ws://127.0.0.1:9", &format!("ws://{}", mute.address));
    fs::write(client.path("config/config.toml"), config).unwrap();
    for words in [
        &["listen", "--id", "alice"][..],
        &["send", "--id", "alice", "--to", ADDRESS, "hello"],
    ] {
        let running = client.home.start(words);
        let _unanswered = mute.wait();
        is_interrupted(running);
        // It is free for the next.
        claim(&client, mute.address);
    }
}
