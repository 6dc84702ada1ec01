//! `kill -9` at random instants under load: what the gateway acknowledged, its clients get, in
//! order, and what they have settled with it they do not get again.
//!
//! The program runs as a process of its own. What is an acknowledgement is observed at its first
//! hop, by [`Acks`]. A seed decides when what happens. `NYM_SOAK_INSTANTS` and `NYM_SOAK_SEED` in
//! the environment run the same for longer, or with another seed.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nym_gateway::Inspector;
use nym_transport::frames::{FrameReader, ReadTimeouts};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::network::{ACK_LEN, Client, Contact, LastMixNode, MESSAGE_LEN, Session};
use super::process::{Process, init};

/// Longer than any phase takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

const INSTANTS_DEFAULT: u64 = 20;

/// Every so many instants all inboxes are emptied before the gateway is killed.
const SETTLE_EVERY: u64 = 7;

/// Who the messages are for: always online, coming and going, offline most of the time, never
/// online before the end.
const CLIENTS: usize = 4;
const ALWAYS: usize = 0;
const COMING_AND_GOING: usize = 1;
const SELDOM: usize = 2;

fn from_environment(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name}={text}: not a number")),
        Err(_) => default,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_messages_survive_kills_at_random_instants() {
    let seed = from_environment("NYM_SOAK_SEED", 1);
    let instants = from_environment("NYM_SOAK_INSTANTS", INSTANTS_DEFAULT);
    println!("seed {seed}, {instants} instants");
    let mut world = World::new(seed).await;
    for instant in 0..instants {
        world.run_and_kill(instant).await;
    }
    world.finish().await;
    world.check();
}

/// All acknowledgements that have left the gateway, as their first hop sees them.
#[derive(Clone, Default)]
struct Acks(Arc<Mutex<BTreeSet<(usize, u32)>>>);

impl Acks {
    /// Listens for as long as `tasks` lives.
    async fn listen(&self, tasks: &mut JoinSet<()>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acks = self.clone();
        tasks.spawn(async move {
            let mut links = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let acks = acks.clone();
                links.spawn(async move {
                    let mut frames = FrameReader::new(stream, ReadTimeouts::default());
                    while let Ok(Some(frame)) = frames.next_frame().await {
                        acks.0.lock().unwrap().insert(name(frame.packet()));
                    }
                });
            }
        });
        address
    }
}

/// The client and the number that a message, or an acknowledgement, begins with.
fn name(bytes: &[u8]) -> (usize, u32) {
    let number = u32::from_be_bytes(bytes[1..5].try_into().unwrap());
    (usize::from(bytes[0]), number)
}

fn named<const LEN: usize>(client: usize, number: u32) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    bytes[0] = u8::try_from(client).unwrap();
    bytes[1..5].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// What one client has received.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Received>>);

#[derive(Default)]
struct Received {
    /// One for each connection.
    sessions: Vec<Vec<u32>>,
    /// How many of the sessions have ended with an empty inbox.
    settled: usize,
}

struct World {
    rng: StdRng,
    seed: u64,
    home: TempDir,
    tasks: JoinSet<()>,
    acks: Acks,
    acks_to: SocketAddr,
    clients: Vec<Client>,
    logs: Vec<Log>,
    readers: Vec<Option<AbortHandle>>,
    next: Arc<Mutex<[u32; CLIENTS]>>,
}

impl World {
    async fn new(seed: u64) -> Self {
        let home = TempDir::new().unwrap();
        init(home.path());
        keep_links_in_order(home.path());
        let gateway = Process::start(home.path());
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            clients.push(Client::registered(&gateway.contact).await);
        }
        gateway.kill();
        let (mut tasks, acks) = (JoinSet::new(), Acks::default());
        let acks_to = acks.listen(&mut tasks).await;
        Self {
            rng: StdRng::seed_from_u64(seed),
            seed,
            home,
            tasks,
            acks,
            acks_to,
            clients,
            logs: (0..CLIENTS).map(|_| Log::default()).collect(),
            readers: (0..CLIENTS).map(|_| None).collect(),
            next: Arc::default(),
        }
    }

    fn database(&self) -> PathBuf {
        self.home.path().join("gateways/one/data/gateway.sqlite")
    }

    /// Runs the gateway under load for a while, and kills it.
    async fn run_and_kill(&mut self, instant: u64) {
        let gateway = Process::start(self.home.path());
        let contact = gateway.contact;
        let load = self.start_load(contact);
        self.log_in(ALWAYS, &contact).await;
        let is_drained = self.rng.random_ratio(1, 3);
        let mut millis_left: u64 = self.rng.random_range(10..300);
        while millis_left > 0 {
            let pause = self.rng.random_range(1..=100).min(millis_left);
            sleep(Duration::from_millis(pause)).await;
            millis_left -= pause;
            if is_drained && self.readers[SELDOM].is_none() {
                self.log_in(SELDOM, &contact).await;
            }
            match self.readers[COMING_AND_GOING].take() {
                // As a cable that is pulled: the gateway learns of it in its own time.
                Some(reader) => end(reader).await,
                None => self.log_in(COMING_AND_GOING, &contact).await,
            }
        }
        if instant % SETTLE_EVERY == SETTLE_EVERY - 1 {
            load.abort();
            self.settle(&contact).await;
        }
        gateway.kill();
        load.abort();
        self.hang_up().await;
    }

    /// Sends numbered messages to all clients, in bursts.
    fn start_load(&mut self, contact: Contact) -> AbortHandle {
        let mix = LastMixNode::new(contact, self.acks_to);
        let recipients: Vec<_> = self.clients.iter().map(Client::same).collect();
        let (next, mut rng) = (
            Arc::clone(&self.next),
            StdRng::seed_from_u64(self.rng.random()),
        );
        self.tasks.spawn(async move {
            loop {
                for _ in 0..rng.random_range(1..40) {
                    let client = rng.random_range(0..CLIENTS);
                    let number = {
                        let mut next = next.lock().unwrap();
                        next[client] += 1;
                        next[client]
                    };
                    let ack = named::<ACK_LEN>(client, number);
                    let message = named::<MESSAGE_LEN>(client, number);
                    // A full queue drops it; then it is never acknowledged.
                    let _ = mix.send_bytes(&recipients[client], &ack, &message);
                }
                sleep(Duration::from_millis(rng.random_range(0..20))).await;
            }
        })
    }

    async fn log_in(&mut self, client: usize, contact: &Contact) {
        let session = self.clients[client].log_in(contact).await.unwrap();
        let log = self.logs[client].clone();
        self.readers[client] = Some(self.tasks.spawn(read(session, log, client)));
    }

    async fn hang_up(&mut self) {
        for reader in &mut self.readers {
            if let Some(reader) = reader.take() {
                end(reader).await;
            }
        }
        while let Some(ended) = self.tasks.try_join_next() {
            if let Err(error) = ended
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }

    /// Brings all clients online and waits until nothing is stored.
    async fn settle(&mut self, contact: &Contact) {
        for client in 0..CLIENTS {
            if self.readers[client].is_none() {
                self.log_in(client, contact).await;
            }
        }
        let inspector = Inspector::open(&self.database()).unwrap();
        let emptied = async {
            // Twice, with time for what the gateway has in hand between.
            let mut empty = 0;
            while empty < 2 {
                sleep(Duration::from_millis(1_200)).await;
                let is_empty = inspector.stats().unwrap().messages == 0;
                empty = if is_empty { empty + 1 } else { 0 };
            }
        };
        timeout(PATIENCE, emptied)
            .await
            .expect("the inboxes become empty");
        for log in &self.logs {
            let mut received = log.0.lock().unwrap();
            received.settled = received.sessions.len();
        }
    }

    async fn finish(&mut self) {
        let gateway = Process::start(self.home.path());
        self.settle(&gateway.contact).await;
        gateway.kill();
        self.hang_up().await;
    }

    fn check(&self) {
        let seed = self.seed;
        let acks = self.acks.0.lock().unwrap();
        for (client, log) in self.logs.iter().enumerate() {
            let received = log.0.lock().unwrap();
            let mut seen = BTreeSet::new();
            let mut repeated_count = 0;
            for (index, session) in received.sessions.iter().enumerate() {
                assert!(
                    session.is_sorted_by(|left, right| left < right),
                    "seed {seed}: client {client}, connection {index}: not in order: {session:?}"
                );
                for number in session {
                    let newest = seen.last().copied().unwrap_or(0);
                    let is_new = seen.insert(*number);
                    repeated_count += usize::from(!is_new);
                    assert!(
                        !is_new || *number > newest,
                        "seed {seed}: client {client}: {number} is new behind {newest}"
                    );
                }
            }
            let acked: BTreeSet<u32> = acks
                .iter()
                .filter(|(acked, _)| *acked == client)
                .map(|(_, number)| *number)
                .collect();
            let lost: Vec<_> = acked.difference(&seen).collect();
            assert!(
                lost.is_empty(),
                "seed {seed}: client {client}: lost {lost:?}"
            );
            assert!(!acked.is_empty(), "seed {seed}: client {client}: no load");
            println!(
                "client {client}: {} acknowledged, {} received, {repeated_count} of them pushed again",
                acked.len(),
                seen.len()
            );
        }
    }
}

/// Ends a task and waits until it records nothing more.
async fn end(task: AbortHandle) {
    task.abort();
    while !task.is_finished() {
        sleep(Duration::from_millis(1)).await;
    }
}

/// Records what is pushed. A client that reads on answers the pings behind the pushes.
async fn read(mut session: Session, log: Log, client: usize) {
    let index = {
        let mut received = log.0.lock().unwrap();
        received.sessions.push(Vec::new());
        received.sessions.len() - 1
    };
    while let Some(push) = session.next_push().await {
        let (to, number) = name(&push);
        assert_eq!(to, client, "a message of somebody else");
        let mut received = log.0.lock().unwrap();
        let settled = &received.sessions[..received.settled];
        assert!(
            !settled.iter().flatten().any(|old| *old == number),
            "client {client}: {number} is pushed again after its inbox was empty"
        );
        received.sessions[index].push(number);
    }
}

/// With one worker, packets of one link are processed in their order.
fn keep_links_in_order(home: &Path) {
    let file = home.join("gateways/one/config/config.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("\nworkers = 0\n"), "{text}");
    std::fs::write(&file, text.replace("\nworkers = 0\n", "\nworkers = 1\n")).unwrap();
}
