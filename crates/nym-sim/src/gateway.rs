//! A gateway: sessions, presence, mailboxes and processor that ship, over the store in memory.
//!
//! A simulated connection loses nothing, so what was sent on it counts as answered at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use nym_node::processor::{Delivery, MAX_DELAY, Processed, Processor};
use nym_node::replay::{ReplayFilter, ReplayLimits};
use nym_packet::address::HopAddress;
use nym_packet::frame::Frame;
use nym_packet::keys::IdentityKeyPair;
use nym_packet::mix_packet::MixPacket;
use nym_packet::time::Timestamp;
use nym_protocol::gateway::mailbox::{
    Batch, Deposit, HeldAck, Mailbox, MailboxLimits, MessageId, Proof, Taken, Work,
};
use nym_protocol::gateway::{
    Action, Admission, ClientAddress, ConnectionId, GatewaySession, Inbox, Ledger, Lookup,
    MemoryStore, Presence,
};
use nym_protocol::ws::WsMessage;
use rand_chacha::ChaCha20Rng;
use sphinx::PrivateKey;

use crate::network::child_rng;

pub(crate) struct SimGateway {
    identity: Arc<IdentityKeyPair>,
    processor: Processor,
    replay: ReplayFilter,
    presence: Presence,
    store: MemoryStore,
    mailboxes: BTreeMap<ClientAddress, Mailbox>,
    last_id: MessageId,
    sessions: BTreeMap<ConnectionId, GatewaySession>,
    rng: ChaCha20Rng,
    /// Frames for the mixnet.
    pub(crate) frames: Vec<(HopAddress, Frame)>,
    /// Messages for clients, by connection.
    pub(crate) messages: Vec<(ConnectionId, WsMessage)>,
    pub(crate) rejected: u64,
}

impl SimGateway {
    pub(crate) fn new(
        identity: IdentityKeyPair,
        key: PrivateKey,
        inbox_messages_max: usize,
        rng: &mut ChaCha20Rng,
    ) -> Self {
        Self {
            identity: Arc::new(identity),
            processor: Processor::new(key, MAX_DELAY),
            replay: ReplayFilter::new(ReplayLimits::default(), Timestamp::ZERO, rng),
            presence: Presence::new(),
            store: MemoryStore::new(inbox_messages_max),
            mailboxes: BTreeMap::new(),
            last_id: MessageId(0),
            sessions: BTreeMap::new(),
            rng: child_rng(rng),
            frames: Vec::new(),
            messages: Vec::new(),
            rejected: 0,
        }
    }

    pub(crate) fn open(&mut self, now: Timestamp, connection: ConnectionId) {
        let session = GatewaySession::new(Arc::clone(&self.identity), now);
        self.sessions.insert(connection, session);
    }

    pub(crate) fn close(&mut self, connection: ConnectionId) {
        let session = self.sessions.remove(&connection);
        if let Some(client) = session.and_then(|session| session.client()) {
            self.presence.release(&client, connection);
            let given = self.mailbox(client).handle_break(connection);
            self.store_all(client, given);
        }
    }

    /// Takes a message of a client and does all that it asks for.
    pub(crate) fn handle_message(
        &mut self,
        now: Timestamp,
        connection: ConnectionId,
        message: WsMessage,
    ) {
        let Some(session) = self.sessions.get_mut(&connection) else {
            return;
        };
        session.handle_message(now, message, &mut self.rng);
        let mut admitted = None;
        while let Some(action) = session.poll_action() {
            match action {
                Action::LookUpKeys(client) => {
                    let Ok(keys) = self.store.shared_keys(&client);
                    session.handle_lookup(keys.map_or(Lookup::Unknown, Lookup::Known));
                }
                Action::Admit(login) => {
                    let (admission, replaced) =
                        self.presence.admit(&mut self.store, connection, &login);
                    session.handle_admission(admission);
                    if admission == Admission::Online {
                        admitted = Some(replaced);
                    }
                }
                Action::Forward(packet) => self.frames.push(packet.into_parts()),
                Action::Send(message) => self.messages.push((connection, message)),
                Action::Close(_) => break,
            }
        }
        if let Some(replaced) = admitted {
            if let Some(older) = replaced {
                self.sessions.remove(&older);
            }
            if let Some(client) = self
                .sessions
                .get(&connection)
                .and_then(GatewaySession::client)
            {
                let given = self.mailbox(client).handle_login(connection);
                self.store_all(client, given);
                self.push_all(client, connection);
            }
        }
    }

    /// Takes a frame of the mixnet.
    pub(crate) fn handle_frame(&mut self, now: Timestamp, frame: Frame) {
        let replay = &mut self.replay;
        match self.processor.process(frame, |tag| replay.check(now, tag)) {
            Ok(Processed::Final(delivery)) => self.deliver(now, delivery),
            Ok(Processed::Forward(_)) | Err(_) => self.rejected += 1,
        }
    }

    /// Pushes or stores, and only then lets the acknowledgement go.
    fn deliver(&mut self, now: Timestamp, delivery: Delivery) {
        let client = ClientAddress::from_bytes(delivery.destination);
        self.last_id = self.last_id.next();
        let arrived = Deposit {
            id: self.last_id,
            message: delivery.message,
            ack: HeldAck::new(delivery.surb_ack),
        };
        let given = self
            .mailbox(client)
            .handle_arrival(now, &MailboxLimits::default(), arrived);
        self.store_all(client, Vec::from_iter(given));
        if let Some(connection) = self.presence.connection(&client) {
            self.push_all(client, connection);
        }
    }

    fn mailbox(&mut self, client: ClientAddress) -> &mut Mailbox {
        self.mailboxes.entry(client).or_default()
    }

    fn store_all(&mut self, client: ClientAddress, deposits: Vec<Deposit>) {
        for Deposit { id, message, ack } in deposits {
            let mut batch = Batch::open(&mut self.store);
            batch.append(&client, id, &message);
            let Ok(mut outcomes) = batch.commit();
            match outcomes.pop() {
                Some(Ok(committed)) => self.release(ack, Proof::Committed(&committed)),
                _ => self.rejected += 1,
            }
            self.mailbox(client).handle_stored(id);
        }
    }

    fn release(&mut self, ack: HeldAck, proof: Proof<'_>) {
        self.frames
            .extend(ack.release(proof).map(MixPacket::into_parts));
    }

    /// Does what the mailbox of a client that is online says, until it waits.
    fn push_all(&mut self, client: ClientAddress, connection: ConnectionId) {
        loop {
            let limits = MailboxLimits::default();
            let (messages, ping) = match self.mailbox(client).poll_work(connection, &limits) {
                Work::Wait => return,
                Work::Push { messages, ping } => (messages, ping),
                Work::Read(part) => {
                    let Ok(stored) = self.store.read(&client, part, usize::MAX);
                    let last = stored.last().map(|stored| stored.id);
                    let ping = self.mailbox(client).handle_read(connection, part, last);
                    let messages = stored.into_iter().map(|stored| stored.message);
                    (messages.collect(), ping)
                }
            };
            if let Some(session) = self.sessions.get(&connection) {
                let sealed = messages
                    .iter()
                    .filter_map(|message| session.seal_push(message));
                self.messages
                    .extend(sealed.map(|message| (connection, message)));
            }
            if let Some(ping) = ping {
                self.answer(client, connection, ping);
            }
        }
    }

    /// What the client's pong does.
    fn answer(&mut self, client: ClientAddress, connection: ConnectionId, ping: u64) {
        let Some(taken) = self.mailbox(client).handle_pong(connection, ping) else {
            return;
        };
        let Taken { acks, proof, .. } = taken;
        for ack in acks {
            self.release(ack, Proof::Answered(&proof));
        }
        let Ok(()) = self.store.remove(&client, &proof);
    }
}
