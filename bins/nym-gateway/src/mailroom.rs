//! Messages to clients, and the acknowledgements that wait for them.
//!
//! The mix side brings messages ([`Deliver`]); a client's connection or the inbox takes them. An
//! acknowledgement leaves from one of two places, each with a proof in hand: [`Mailroom::pushed`]
//! after the socket has the message, and the store's thread after its commit.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nym_node::counters::Counters;
use nym_node::pipeline::Deliver;
use nym_node::processor::Delivery;
use nym_packet::mix_packet::MixPacket;
use nym_packet::time::Timestamp;
use nym_protocol::gateway::ClientAddress;
use nym_protocol::gateway::mailbox::{HeldAck, Proof, Written};
use nym_transport::connections::Connections;
use serde::Serialize;

use crate::rate::{Buckets, Rate};
use crate::roster::{Push, Roster};
use crate::store::{OnStored, StoreHandle, Stored};

/// Clients whose logins are counted at a time: 6 MB. Only one that proved itself is counted.
const LOGINS_REMEMBERED_MAX: usize = 100_000;

/// Takes messages for clients.
#[derive(Clone, Debug)]
pub(crate) struct Mailroom {
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
}

impl Mailroom {
    /// Delivers a message: to the client's connection, or else to its inbox.
    pub(crate) async fn accept(&self, client: ClientAddress, push: Push) {
        let Some(Push { message, ack }) = self.desk.roster.route(client, push) else {
            return;
        };
        if self.store.deposit(client, message, ack).await.is_err() {
            self.desk.stored(client, Stored::Failed);
        }
    }

    /// A message was written to its client's socket.
    pub(crate) fn pushed(&self, ack: HeldAck, proof: Written) {
        add(&self.desk.tally.messages_pushed);
        self.desk.release(ack, &proof.into());
    }
}

impl Deliver for Mailroom {
    async fn deliver(&self, delivery: Delivery) {
        let client = ClientAddress::from_bytes(delivery.destination);
        let ack = HeldAck::new(delivery.surb_ack);
        self.accept(
            client,
            Push {
                message: delivery.message,
                ack,
            },
        )
        .await;
    }
}

impl Desk {
    pub(crate) fn new(exit: Exit) -> Arc<Self> {
        Arc::new(Self {
            roster: Roster::default(),
            tally: Tally::default(),
            exit,
            logins: Mutex::new(Buckets::new(LOGINS_REMEMBERED_MAX)),
        })
    }

    /// Whether a client that proved itself may log in once more now; then it counts.
    pub(crate) fn may_log_in(&self, client: ClientAddress, rate: Rate, now: Timestamp) -> bool {
        // Held for a few lines without waiting; what it guards is never half changed.
        let mut logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        logins.try_take(client, rate, now)
    }

    /// What the store calls when it is done with a message. Must be made inside the runtime.
    pub(crate) fn on_stored(self: &Arc<Self>) -> OnStored {
        let (desk, runtime) = (Arc::clone(self), tokio::runtime::Handle::current());
        Box::new(move |client, stored| {
            // A connection to the first hop of the acknowledgement may have to be made.
            let _entered = runtime.enter();
            desk.stored(client, stored);
        })
    }

    fn stored(&self, client: ClientAddress, stored: Stored) {
        let tally = &self.tally;
        match stored {
            Stored::Committed(ack, proof) => {
                add(&tally.messages_stored);
                self.release(ack, &proof.into());
            }
            Stored::Full => add(&tally.messages_refused_full),
            Stored::Failed => add(&tally.messages_failed),
            Stored::UnknownClient => add(&tally.messages_refused_unknown),
        }
        self.roster.stored(client);
    }

    fn release(&self, ack: HeldAck, proof: &Proof) {
        if let Some(packet) = ack.release(proof) {
            add(&self.tally.acks_released);
            self.exit.send(packet);
        }
    }

    /// Sends a packet of a client to its first hop.
    pub(crate) fn forward(&self, packet: MixPacket) {
        add(&self.tally.packets_from_clients);
        self.exit.send(packet);
    }
}

/// Where packets leave.
#[derive(Debug)]
pub(crate) struct Exit {
    pub(crate) connections: Connections,
    pub(crate) counters: Counters,
}

impl Exit {
    fn send(&self, packet: MixPacket) {
        let (first_hop, frame) = packet.into_parts();
        let first_hop = first_hop.socket_addr();
        match self.connections.send(first_hop, frame) {
            Ok(()) => self.counters.record_sent(first_hop),
            Err(_) => self.counters.record_dropped(first_hop),
        }
    }
}

/// What happened since the gateway started, in numbers.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    acks_released: AtomicU64,
    pub(crate) clients_pinged: AtomicU64,
    pub(crate) clients_silent: AtomicU64,
    pub(crate) connections_accepted: AtomicU64,
    pub(crate) connections_refused: AtomicU64,
    pub(crate) logins: AtomicU64,
    pub(crate) logins_denied: AtomicU64,
    pub(crate) logins_refused: AtomicU64,
    pub(crate) logins_replayed: AtomicU64,
    pub(crate) logins_throttled: AtomicU64,
    messages_failed: AtomicU64,
    messages_pushed: AtomicU64,
    messages_refused_full: AtomicU64,
    messages_refused_unknown: AtomicU64,
    messages_stored: AtomicU64,
    packets_from_clients: AtomicU64,
    pub(crate) reads_held_back: AtomicU64,
}

/// Adds one.
pub(crate) fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// What happened to clients and their messages since the gateway started.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct GatewayCounts {
    /// Acknowledgements sent because their message was stored or written.
    pub acks_released: u64,
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
    /// Messages lost, and not acknowledged, because the database failed.
    pub messages_failed: u64,
    /// Messages written to a client's socket that had come while it was online.
    pub messages_pushed: u64,
    /// Messages refused, and not acknowledged, because an inbox was full.
    pub messages_refused_full: u64,
    /// Messages refused, and not acknowledged, because nobody has registered their destination.
    pub messages_refused_unknown: u64,
    /// Messages stored in an inbox.
    pub messages_stored: u64,
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
            messages_failed: value(&tally.messages_failed),
            messages_pushed: value(&tally.messages_pushed),
            messages_refused_full: value(&tally.messages_refused_full),
            messages_refused_unknown: value(&tally.messages_refused_unknown),
            messages_stored: value(&tally.messages_stored),
            packets_from_clients: value(&tally.packets_from_clients),
            reads_held_back: value(&tally.reads_held_back),
        }
    }
}
