//! Messages to clients, and the acknowledgements that wait for them.
//!
//! The mix side brings messages ([`Deliver`]); a client's connection or the inbox takes them. An
//! acknowledgement leaves from one of two places, each with a proof in hand: [`Mailroom::taken`]
//! after the client has answered the ping behind the push, and the store's thread after its
//! commit.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nym_daemon::clock::Clock;
use nym_daemon::metrics::Histogram;
use nym_node::counters::Counters;
use nym_node::pipeline::Deliver;
use nym_node::processor::Delivery;
use nym_packet::mix_packet::MixPacket;
use nym_packet::time::Timestamp;
use nym_protocol::gateway::mailbox::{
    Deposit, HeldAck, MailboxLimits, MessageId, Proof, Reading, Taken,
};
use nym_protocol::gateway::{ClientAddress, ConnectionId};
use nym_transport::connections::{Connections, Unsent};
use serde::Serialize;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::late_acks::LateAcks;
use crate::rate::{Buckets, Rate};
use crate::roster::{Arrival, Roster};
use crate::store::{Figures, OnEvent, StoreClosed, StoreError, StoreEvent, StoreHandle, Stored};

/// Clients whose logins are counted at a time: 6 MB. Only one that proved itself is counted.
const LOGINS_REMEMBERED_MAX: usize = 100_000;

/// Upper bounds of the classes of commits, in seconds: from a disk with a battery to a broken one.
const COMMIT_SECONDS: [f64; 10] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5,
];

/// Clients to whom many stored messages are written at a time, each of at most 256 KiB: 64 MiB.
/// Further ones get theirs one by one, so that 12,000 clients that do not read take 20 MB more.
const GENEROUS_READS: usize = 256;

/// How often is looked at what is stored, which takes a millisecond for 100,000 clients.
const FIGURES_EVERY: Duration = Duration::from_secs(2);

/// Takes messages for clients.
#[derive(Clone, Debug)]
pub(crate) struct Mailroom {
    pub(crate) clock: Clock,
    pub(crate) desk: Arc<Desk>,
    pub(crate) store: StoreHandle,
}

/// What the mailroom shares with the thread of the store.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) roster: Roster,
    pub(crate) tally: Tally,
    exit: Exit,
    logins: Mutex<Buckets<ClientAddress>>,
    commits: Histogram,
    figures: Mutex<Figures>,
    /// Whoever has a permit may read many messages at once out of an inbox.
    pub(crate) generous_reads: Arc<Semaphore>,
}

impl Mailroom {
    /// Stores messages that the roster has given out, in their order.
    pub(crate) async fn store_all(&self, client: ClientAddress, deposits: Vec<Deposit>) {
        for deposit in deposits {
            let id = deposit.id;
            if self.store.deposit(client, deposit).await.is_err() {
                self.desk.stored(client, id, Stored::Failed);
            }
        }
    }

    /// Stores what has been held for too long. Gives when to ask again.
    pub(crate) async fn store_overdue(&self, client: ClientAddress) -> Option<Timestamp> {
        let (overdue, next) = self.desk.roster.overdue(self.clock.now(), client);
        self.store_all(client, overdue).await;
        next
    }

    /// A pong came: acknowledges what the client has, and removes it from the inbox.
    pub(crate) async fn taken(
        &self,
        client: ClientAddress,
        connection: ConnectionId,
        ping: u64,
    ) -> Result<(), StoreClosed> {
        let Some(taken) = self.desk.roster.pong(client, connection, ping) else {
            return Ok(());
        };
        let Taken {
            acks,
            proof,
            is_stored,
        } = taken;
        add_many(&self.desk.tally.messages_taken, acks.len());
        for ack in acks {
            self.desk.release(ack, Proof::Answered(&proof));
        }
        if is_stored {
            self.store.remove(client, proof).await?;
        }
        Ok(())
    }

    /// Reads a part of an inbox, for a connection that is to push it. Gives the messages and the
    /// number of the ping behind them; nothing is pushed without one.
    pub(crate) async fn read(
        &self,
        client: ClientAddress,
        connection: ConnectionId,
        part: Reading,
        count_max: usize,
    ) -> Result<Option<(Vec<Vec<u8>>, u64)>, StoreClosed> {
        let stored = match self.store.read(client, part, count_max).await? {
            Ok(stored) => stored,
            Err(error) => {
                tracing::error!(%error, "an inbox cannot be read");
                return Err(StoreClosed);
            }
        };
        let last = stored.last().map(|stored| stored.id);
        let ping = self.desk.roster.read(client, connection, part, last);
        let messages = stored.into_iter().map(|stored| stored.message).collect();
        Ok(ping.map(|ping| (messages, ping)))
    }
}

impl Deliver for Mailroom {
    async fn deliver(&self, delivery: Delivery) {
        let client = ClientAddress::from_bytes(delivery.destination);
        let arrival = Arrival {
            message: delivery.message,
            ack: HeldAck::new(delivery.surb_ack),
        };
        let given = self.desk.roster.arrive(self.clock.now(), client, arrival);
        self.store_all(client, Vec::from_iter(given)).await;
    }
}

impl Desk {
    /// `last_id` is the greatest number in the store; messages that are held take no more memory
    /// than `held_memory_max`.
    pub(crate) fn new(exit: Exit, held_memory_max: usize, last_id: MessageId) -> Arc<Self> {
        Arc::new(Self {
            roster: Roster::new(MailboxLimits::default(), held_memory_max, last_id),
            tally: Tally::default(),
            exit,
            logins: Mutex::new(Buckets::new(LOGINS_REMEMBERED_MAX)),
            commits: Histogram::new(COMMIT_SECONDS),
            figures: Mutex::default(),
            generous_reads: Arc::new(Semaphore::new(GENEROUS_READS)),
        })
    }

    /// How long commits took.
    pub(crate) const fn commits(&self) -> &Histogram {
        &self.commits
    }

    /// What was stored when somebody last looked.
    pub(crate) fn figures(&self) -> Figures {
        *self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at what is stored from time to time, until `stop` is cancelled.
    pub(crate) async fn watch_store(self: Arc<Self>, store: StoreHandle, stop: CancellationToken) {
        let mut ticks = interval(FIGURES_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let Ok(Ok(figures)) = store.figures().await else {
                return;
            };
            *self.figures.lock().unwrap_or_else(PoisonError::into_inner) = figures;
        }
    }

    /// Whether a client that proved itself may log in once more now.
    pub(crate) fn may_log_in(&self, client: ClientAddress, rate: Rate, now: Timestamp) -> bool {
        self.lock_logins().may_take(client, rate, now)
    }

    /// A client that proved itself, by something that nobody can repeat, logs in.
    pub(crate) fn count_login(&self, client: ClientAddress, rate: Rate, now: Timestamp) {
        self.lock_logins().take(client, rate, now);
    }

    /// Held for a few lines without waiting; what it guards is never half changed.
    fn lock_logins(&self) -> MutexGuard<'_, Buckets<ClientAddress>> {
        self.logins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the store calls when it is done with a message; damage is passed on, once. Must be
    /// made inside the runtime.
    pub(crate) fn on_event(self: &Arc<Self>, damage: mpsc::Sender<StoreError>) -> OnEvent {
        let (desk, runtime) = (Arc::clone(self), tokio::runtime::Handle::current());
        Box::new(move |event| match event {
            StoreEvent::Stored(client, id, stored) => {
                // A connection to the first hop of the acknowledgement may have to be made.
                let _entered = runtime.enter();
                desk.stored(client, id, stored);
            }
            StoreEvent::Committed(took) => desk.commits.observe(took.as_secs_f64()),
            StoreEvent::Lost(losses) => {
                let tally = &desk.tally;
                add_many(&tally.messages_displaced, losses.displaced_count);
                add_many(&tally.messages_expired, losses.expired_count);
            }
            StoreEvent::Removed(client) => desk.roster.dismiss(client),
            // Further damage is that of a gateway that is stopping already.
            StoreEvent::Damaged(error) => drop(damage.try_send(error)),
        })
    }

    fn stored(&self, client: ClientAddress, id: MessageId, stored: Stored) {
        let tally = &self.tally;
        match stored {
            Stored::Committed(ack, proof) => {
                add(&tally.messages_stored);
                self.release(ack, Proof::Committed(&proof));
            }
            Stored::Full => add(&tally.messages_refused_full),
            Stored::Failed => add(&tally.messages_failed),
            Stored::UnknownClient => add(&tally.messages_refused_unknown),
        }
        self.roster.stored(client, id);
    }

    fn release(&self, ack: HeldAck, proof: Proof<'_>) {
        if let Some(packet) = ack.release(proof) {
            add(&self.tally.acks_released);
            self.exit.send_ack(packet);
        }
    }

    /// Sends a packet of a client to its first hop. While the queue to that is full the client
    /// waits, for a moment.
    pub(crate) async fn forward(&self, packet: MixPacket) {
        add(&self.tally.packets_from_clients);
        let (first_hop, frame) = packet.into_parts();
        let first_hop = first_hop.socket_addr();
        let sent = self.exit.connections.send_patiently(first_hop, frame).await;
        self.exit.counters.record_outcome(first_hop, sent.is_ok());
    }
}

/// Where packets leave.
#[derive(Debug)]
pub(crate) struct Exit {
    pub(crate) connections: Connections,
    pub(crate) counters: Counters,
    pub(crate) late_acks: LateAcks,
}

impl Exit {
    /// Sends an acknowledgement without waiting: neither the store nor a client that has answered
    /// is held up by the next hop of some sender's choice.
    fn send_ack(&self, packet: MixPacket) {
        let (first_hop, frame) = packet.into_parts();
        let first_hop = first_hop.socket_addr();
        let is_sent = match self.connections.try_send(first_hop, frame) {
            Ok(()) => true,
            Err(Unsent::Postponed(late)) => match self.late_acks.take(late) {
                // It is counted when it is sent or given up.
                Ok(()) => return,
                Err(_) => false,
            },
            Err(_) => false,
        };
        self.counters.record_outcome(first_hop, is_sent);
    }
}

/// What happened since the gateway started, in numbers.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    acks_released: AtomicU64,
    pub(crate) clients_pinged: AtomicU64,
    pub(crate) clients_silent: AtomicU64,
    pub(crate) connections_accepted: AtomicU64,
    pub(crate) connections_ended: AtomicU64,
    pub(crate) connections_refused: AtomicU64,
    pub(crate) logins: AtomicU64,
    pub(crate) logins_denied: AtomicU64,
    pub(crate) logins_refused: AtomicU64,
    pub(crate) logins_replayed: AtomicU64,
    pub(crate) logins_throttled: AtomicU64,
    messages_displaced: AtomicU64,
    messages_expired: AtomicU64,
    messages_failed: AtomicU64,
    pub(crate) messages_pushed: AtomicU64,
    messages_refused_full: AtomicU64,
    messages_refused_unknown: AtomicU64,
    messages_stored: AtomicU64,
    messages_taken: AtomicU64,
    packets_from_clients: AtomicU64,
    pub(crate) reads_held_back: AtomicU64,
}

/// Adds one.
pub(crate) fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Adds a count of things.
pub(crate) fn add_many<N: TryInto<u64>>(counter: &AtomicU64, count: N) {
    // A count that does not fit cannot be reached by counting.
    counter.fetch_add(count.try_into().unwrap_or(0), Ordering::Relaxed);
}

/// What happened to clients and their messages since the gateway started.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct GatewayCounts {
    /// Acknowledgements sent because their message was stored or taken.
    pub acks_released: u64,
    /// Connections of clients now, logged in or not.
    pub clients_connected: u64,
    /// Clients online now.
    pub clients_online: usize,
    /// Times that a client was asked for a sign of life.
    pub clients_pinged: u64,
    /// Connections closed because the client gave no sign of life.
    pub clients_silent: u64,
    /// TCP connections accepted from clients.
    pub connections_accepted: u64,
    /// TCP connections closed at once because there were too many from their address.
    pub connections_refused: u64,
    /// Registrations and authentications that were granted.
    pub logins: u64,
    /// Authentications without a valid proof.
    pub logins_denied: u64,
    /// Registrations of clients that are online already, and logins that could not be recorded.
    pub logins_refused: u64,
    /// Authentications whose proof was valid and had been used before.
    pub logins_replayed: u64,
    /// Registrations and authentications refused because there were too many of late.
    pub logins_throttled: u64,
    /// Messages that were acknowledged and dropped, as the settings say, because newer ones needed
    /// their room.
    pub messages_displaced: u64,
    /// Messages that were acknowledged and dropped, as the settings say, because nobody fetched
    /// them in time.
    pub messages_expired: u64,
    /// Messages lost, and not acknowledged, because the database failed.
    pub messages_failed: u64,
    /// Pushes written to clients' sockets.
    pub messages_pushed: u64,
    /// Messages refused, and not acknowledged, because an inbox was full.
    pub messages_refused_full: u64,
    /// Messages refused, and not acknowledged, because nobody has registered their destination.
    pub messages_refused_unknown: u64,
    /// Messages stored in an inbox.
    pub messages_stored: u64,
    /// Messages that a client has taken without their having been stored.
    pub messages_taken: u64,
    /// Packets taken from clients.
    pub packets_from_clients: u64,
    /// Times that a client, or its address, sent more than its limit and had to wait.
    pub reads_held_back: u64,
}

impl Desk {
    /// The numbers now.
    pub(crate) fn counts(&self) -> GatewayCounts {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let tally = &self.tally;
        GatewayCounts {
            acks_released: value(&tally.acks_released),
            clients_connected: value(&tally.connections_accepted)
                .saturating_sub(value(&tally.connections_ended)),
            clients_online: self.roster.online_count(),
            clients_pinged: value(&tally.clients_pinged),
            clients_silent: value(&tally.clients_silent),
            connections_accepted: value(&tally.connections_accepted),
            connections_refused: value(&tally.connections_refused),
            logins: value(&tally.logins),
            logins_denied: value(&tally.logins_denied),
            logins_refused: value(&tally.logins_refused),
            logins_replayed: value(&tally.logins_replayed),
            logins_throttled: value(&tally.logins_throttled),
            messages_displaced: value(&tally.messages_displaced),
            messages_expired: value(&tally.messages_expired),
            messages_failed: value(&tally.messages_failed),
            messages_pushed: value(&tally.messages_pushed),
            messages_refused_full: value(&tally.messages_refused_full),
            messages_refused_unknown: value(&tally.messages_refused_unknown),
            messages_stored: value(&tally.messages_stored),
            messages_taken: value(&tally.messages_taken),
            packets_from_clients: value(&tally.packets_from_clients),
            reads_held_back: value(&tally.reads_held_back),
        }
    }
}
