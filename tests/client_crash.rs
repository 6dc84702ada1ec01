//! A client that is killed loses no message that it accepted and repeats none.
//!
//! Two clients in processes of their own, on a localnet, send each other a numbered stream. At
//! random instants one of them is killed with SIGKILL and started again on the same files. A
//! message counts as owed when its app got the confirmation; one whose confirmation was lost with
//! the connection may arrive once or not at all. The receiving app tells a push that is repeated
//! after a crash by the number in the ping that follows it, as `docs/durability.md` says.
//!
//! `cargo xtask soak client` runs the same with more instants and any seed.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "what a test needs and cannot have fails the test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nym_tests::{PATIENCE, Running, clients};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use tokio_tungstenite::tungstenite::stream::MaybeTlsStream;
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket, connect};

/// Messages in each direction.
const MESSAGES: usize = 2_000;

/// Kills in the test command.
const INSTANTS: usize = 20;

/// How long nothing may arrive before late repetitions count as over: several times what a client
/// with these settings waits for an acknowledgement.
const QUIET: Duration = Duration::from_secs(3);

/// How long an app waits for the next thing to read before it looks whether it is to stop.
const PATIENCE_OF_APPS: Duration = Duration::from_millis(50);

const NAMES: [&str; 2] = ["alice", "bob"];

#[test]
fn a_client_killed_at_random_instants_loses_and_repeats_nothing() {
    let seed = number("NYM_SOAK_SEED", 1);
    let instants = usize::try_from(number("NYM_SOAK_INSTANTS", INSTANTS as u64)).unwrap();
    let again = format!("repeat it: cargo xtask soak client --seed {seed} --instants {instants}");
    println!("{again}");
    let mut rng = ChaCha20Rng::seed_from_u64(seed);

    let home = tempfile::tempdir().unwrap();
    let (_localnet, validator) = clients::localnet(&["--fast"]);
    let fast = &["--fastmode"];
    let addresses = NAMES.map(|name| clients::init(client(home.path()), name, &validator, fast));
    let mut clients = NAMES.map(|name| Client::start(home.path(), name));
    let (told, tellings) = channel();
    let stop = Arc::new(AtomicBool::new(false));
    let apps: Vec<_> = (0..2)
        .map(|index| {
            let app = App::new(NAMES[index], addresses[1 - index].clone());
            let (told, stop) = (told.clone(), Arc::clone(&stop));
            let door = Arc::clone(&clients[index].door);
            std::thread::spawn(move || app.run(&door, &told, &stop))
        })
        .collect();

    let total = 2 * MESSAGES;
    let mut due: Vec<usize> = (0..instants).map(|_| below(&mut rng, total)).collect();
    due.sort_unstable();
    let mut tally = Tally::default();
    for due in due {
        tally.wait(&tellings, &again, |tally| tally.accepted >= due);
        // Not always right after a confirmation.
        let more = below(&mut rng, 5);
        let seen = tally.all;
        tally.wait(&tellings, &again, |tally| {
            tally.all >= seen + more || tally.accepted == total
        });
        clients[below(&mut rng, 2)].restart();
    }
    tally.wait(&tellings, &again, |tally| tally.accepted == total);
    tally.wait(&tellings, &again, |tally| tally.owed.is_empty());
    while tellings.recv_timeout(QUIET).is_ok() {}
    stop.store(true, Ordering::Relaxed);
    let [alice, bob] = <[JoinHandle<App>; 2]>::try_from(apps)
        .unwrap()
        .map(|app| app.join().unwrap());
    println!(
        "{instants} kills; alice and bob: {} and {} messages without confirmation, \
         {} and {} pushes again after a crash",
        alice.doubtful.len(),
        bob.doubtful.len(),
        alice.pushed_again,
        bob.pushed_again
    );
    check(&alice, &bob, &again);
    check(&bob, &alice, &again);
}

/// Everything that `from` was promised has come to `to` once, and nothing else.
fn check(from: &App, to: &App, again: &str) {
    let name = from.name;
    let missing: Vec<_> = from
        .confirmed
        .iter()
        .filter(|message| !to.arrived.contains_key(*message))
        .collect();
    assert!(missing.is_empty(), "lost of {name}: {missing:?}; {again}");
    let repeated: Vec<_> = to.arrived.iter().filter(|(_, count)| **count > 1).collect();
    assert!(
        repeated.is_empty(),
        "repeated of {name}: {repeated:?}; {again}"
    );
    let strange: Vec<_> = to
        .arrived
        .keys()
        .filter(|message| !from.confirmed.contains(*message) && !from.doubtful.contains(*message))
        .collect();
    assert!(
        strange.is_empty(),
        "nobody sent to {}: {strange:?}; {again}",
        to.name
    );
}

/// What an app tells the test.
#[derive(Debug)]
enum Told {
    Accepted(String),
    Arrived(String),
}

#[derive(Debug, Default)]
struct Tally {
    /// All that was told.
    all: usize,
    accepted: usize,
    /// Messages that were accepted and have not arrived.
    owed: BTreeSet<String>,
    /// Messages that have arrived and were not accepted: so far, or as far as their app knows.
    early: BTreeSet<String>,
}

impl Tally {
    fn wait(&mut self, tellings: &Receiver<Told>, again: &str, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            match tellings.recv_timeout(PATIENCE) {
                Ok(told) => {
                    self.all += 1;
                    match told {
                        Told::Accepted(message) => {
                            self.accepted += 1;
                            if !self.early.remove(&message) {
                                self.owed.insert(message);
                            }
                        }
                        Told::Arrived(message) => {
                            if !self.owed.remove(&message) {
                                self.early.insert(message);
                            }
                        }
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    let (accepted, owed) = (self.accepted, &self.owed);
                    panic!("nothing happens any more: {accepted} accepted, owed: {owed:?}; {again}")
                }
            }
        }
    }
}

/// Where the app port of a client is now.
#[derive(Debug, Default)]
struct Door {
    /// The URL, and how often it has changed.
    state: Mutex<(String, u64)>,
    changed: Condvar,
}

impl Door {
    fn set(&self, url: String) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = (url, state.1 + 1);
        self.changed.notify_all();
    }

    /// The URL, after it was once more changed than `version`; or the same after a while.
    fn after(&self, version: u64) -> (String, u64) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (state, _) = self
            .changed
            .wait_timeout_while(state, PATIENCE_OF_APPS, |(_, found)| *found <= version)
            .unwrap_or_else(PoisonError::into_inner);
        state.clone()
    }
}

/// A client in a process of its own.
struct Client<'a> {
    home: &'a Path,
    name: &'static str,
    process: Option<Running>,
    door: Arc<Door>,
}

impl<'a> Client<'a> {
    fn start(home: &'a Path, name: &'static str) -> Self {
        let door = Arc::default();
        let mut client = Self {
            home,
            name,
            process: None,
            door,
        };
        client.run();
        client
    }

    /// Kills it, and starts it again on the same files.
    fn restart(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill();
        }
        self.run();
    }

    fn run(&mut self) {
        let (process, url) = clients::run(client(self.home), self.name);
        self.door.set(format!("{url}/seed"));
        self.process = Some(process);
    }
}

/// A program that sends a numbered stream to the other client's app and notes what comes from it.
struct App {
    name: &'static str,
    peer: String,
    /// Messages whose acceptance was confirmed.
    confirmed: BTreeSet<String>,
    /// Messages whose confirmation was lost with a connection.
    doubtful: BTreeSet<String>,
    /// The message that waits for its confirmation.
    asked: Option<String>,
    next: usize,
    arrived: BTreeMap<String, usize>,
    /// The message that was read and whose ping was not.
    read: Option<String>,
    /// Numbers of the messages that arrived.
    seen: BTreeSet<[u8; 8]>,
    pushed_again: usize,
}

impl App {
    fn new(name: &'static str, peer: String) -> Self {
        Self {
            name,
            peer,
            confirmed: BTreeSet::new(),
            doubtful: BTreeSet::new(),
            asked: None,
            next: 0,
            arrived: BTreeMap::new(),
            read: None,
            seen: BTreeSet::new(),
            pushed_again: 0,
        }
    }

    fn run(mut self, door: &Door, told: &Sender<Told>, stop: &AtomicBool) -> Self {
        let mut version = 0;
        while !stop.load(Ordering::Relaxed) {
            let (url, found) = door.after(version);
            let Ok((mut socket, _)) = connect(&url) else {
                // It was killed; the next one will have another port.
                version = found;
                continue;
            };
            version = found;
            if let MaybeTlsStream::Plain(stream) = socket.get_ref() {
                stream.set_read_timeout(Some(PATIENCE_OF_APPS)).unwrap();
            }
            while self.turn(&mut socket, told).is_ok() && !stop.load(Ordering::Relaxed) {}
            // Whether the client has it nobody knows: the next attempt is another message.
            self.doubtful.extend(self.asked.take());
            self.read = None;
        }
        self
    }

    /// Sends the next message when the one before is confirmed, and reads one frame.
    fn turn(
        &mut self,
        socket: &mut WebSocket<MaybeTlsStream<TcpStream>>,
        told: &Sender<Told>,
    ) -> Result<(), ()> {
        if self.asked.is_none() && self.confirmed.len() < MESSAGES {
            self.next += 1;
            let message = format!("{} {}", self.name, self.next);
            let request = serde_json::json!({
                "type": "send",
                "message": message,
                "recipient": self.peer,
                "id": self.next,
            });
            self.asked = Some(message);
            socket
                .send(Message::text(request.to_string()))
                .map_err(drop)?;
        }
        match socket.read() {
            Ok(Message::Text(text)) if text.starts_with('{') => self.take_answer(&text, told),
            Ok(Message::Text(text)) => self.read = Some(text.as_str().to_owned()),
            Ok(Message::Ping(ping)) => {
                if let (Some(message), Ok(number)) = (self.read.take(), ping.as_ref().try_into()) {
                    self.take_message(message, number, told);
                }
            }
            Ok(Message::Close(_)) => return Err(()),
            Ok(_) => {}
            Err(Error::Io(error)) if is_timeout(&error) => {}
            Err(_) => return Err(()),
        }
        Ok(())
    }

    fn take_answer(&mut self, answer: &str, told: &Sender<Told>) {
        let answer: serde_json::Value = serde_json::from_str(answer).unwrap();
        match answer["type"].as_str() {
            Some("send") => {
                assert_eq!(answer["id"], self.next, "{answer}");
                let message = self.asked.take().expect("it was asked for");
                told.send(Told::Accepted(message.clone())).unwrap();
                self.confirmed.insert(message);
            }
            // The client has just been started and does not know the network yet.
            Some("error") => self.asked = None,
            _ => assert_eq!(answer["type"], "delivered", "{answer}"),
        }
    }

    fn take_message(&mut self, message: String, number: [u8; 8], told: &Sender<Told>) {
        if !self.seen.insert(number) {
            self.pushed_again += 1;
            return;
        }
        *self.arrived.entry(message.clone()).or_default() += 1;
        told.send(Told::Arrived(message)).unwrap();
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    matches!(error.kind(), TimedOut | WouldBlock)
}

/// A client's program with short waits: what is lost in a crash is soon sent again.
fn client(home: &Path) -> Command {
    let mut command = clients::client(home);
    command.env("NYM_CLIENT_DEBUG_ACK_WAIT_ADDITION", "500ms");
    command
}

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().expect("the variable is a number"),
        Err(_) => default,
    }
}

fn below(rng: &mut ChaCha20Rng, bound: usize) -> usize {
    usize::try_from(rng.next_u64() % bound as u64).expect("it is below a usize")
}
