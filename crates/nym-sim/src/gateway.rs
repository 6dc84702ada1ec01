//! A gateway: sessions, presence and processor that ship, over the store in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use nym_node::processor::{Delivery, MAX_DELAY, Processed, Processor};
use nym_node::replay::{ReplayFilter, ReplayLimits};
use nym_packet::address::HopAddress;
use nym_packet::frame::Frame;
use nym_packet::keys::IdentityKeyPair;
use nym_packet::mix_packet::MixPacket;
use nym_packet::time::Timestamp;
use nym_protocol::gateway::mailbox::{self, HeldAck, Proof};
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
            self.push_stored(connection);
        }
    }

    /// Takes a frame of the mixnet.
    pub(crate) fn handle_frame(&mut self, now: Timestamp, frame: Frame) {
        let replay = &mut self.replay;
        match self.processor.process(frame, |tag| replay.check(now, tag)) {
            Ok(Processed::Final(delivery)) => self.deliver(delivery),
            Ok(Processed::Forward(_)) | Err(_) => self.rejected += 1,
        }
    }

    /// Pushes or stores, and only then lets the acknowledgement go.
    fn deliver(&mut self, delivery: Delivery) {
        let client = ClientAddress::from_bytes(delivery.destination);
        let ack = HeldAck::new(delivery.surb_ack);
        let connection = self.presence.connection(&client);
        let push = connection
            .and_then(|connection| Some((connection, self.sessions.get(&connection)?)))
            .and_then(|(connection, session)| {
                Some((connection, session.seal_push(&delivery.message)?))
            });
        let proof: Proof = match push {
            Some((connection, push)) => {
                let (message, unwritten) = push.into_parts();
                self.messages.push((connection, message));
                unwritten.written().into()
            }
            None => {
                let batch = [(client, delivery.message.as_slice())];
                let Ok(mut outcomes) = mailbox::deposit(&mut self.store, batch);
                match outcomes.pop() {
                    Some(Ok(committed)) => committed.into(),
                    _ => {
                        self.rejected += 1;
                        return;
                    }
                }
            }
        };
        self.frames
            .extend(ack.release(&proof).map(MixPacket::into_parts));
    }

    /// Hands an inbox to the connection that has just logged in.
    fn push_stored(&mut self, connection: ConnectionId) {
        let Some(session) = self.sessions.get(&connection) else {
            return;
        };
        let Some(client) = session.client() else {
            return;
        };
        let Ok(stored) = self.store.read(&client, None, usize::MAX);
        let mut written = Vec::new();
        for message in stored {
            let Some(push) = session.seal_push(&message.message) else {
                break;
            };
            let (frame, unwritten) = push.into_parts();
            self.messages.push((connection, frame));
            written.push((message.id, unwritten.written()));
        }
        let Ok(()) = self.store.remove(&client, written);
    }
}
