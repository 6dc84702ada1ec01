//! A client: the engine that ships, and its side of the gateway session.

use std::sync::Arc;

use nym_client_core::{ClientKeys, Engine, EngineConfig, Event, ReceivedMessage};
use nym_packet::ack::AckKey;
use nym_packet::address::Recipient;
use nym_packet::keys::{IdentityKeyPair, IdentityPublicKey};
use nym_packet::time::Timestamp;
use nym_protocol::app::{Outcome, RequestId};
use nym_protocol::gateway::client_session::Event as SessionEvent;
use nym_protocol::gateway::{ClientLogin, ClientSession, SharedKeys};
use nym_protocol::validator::topology::Topology;
use nym_protocol::ws::WsMessage;
use rand_chacha::ChaCha20Rng;
use sphinx::PrivateKey;

use crate::network::child_rng;

pub(crate) struct SimClient {
    pub(crate) engine: Engine<ChaCha20Rng>,
    identity: Arc<IdentityKeyPair>,
    shared_keys: Option<Arc<SharedKeys>>,
    session: Option<ClientSession>,
    rng: ChaCha20Rng,
    /// The moment for which a timer is already scheduled.
    pub(crate) armed: Option<Timestamp>,
    pub(crate) received: Vec<ReceivedMessage>,
    /// When packets left, as far as nobody has asked for it.
    pub(crate) packet_times: Vec<Timestamp>,
    pub(crate) delivered: usize,
    pub(crate) failed: usize,
    /// How messages ended whose app wants to know.
    pub(crate) receipts: Vec<(RequestId, Outcome)>,
}

impl SimClient {
    pub(crate) fn new(
        gateway: IdentityPublicKey,
        topology: Topology,
        config: EngineConfig,
        rng: &mut ChaCha20Rng,
    ) -> Self {
        let identity = IdentityKeyPair::generate(rng);
        let encryption = PrivateKey::generate(rng);
        let keys = ClientKeys {
            recipient: Recipient {
                identity: identity.public_key(),
                encryption: encryption.public_key(),
                gateway,
            },
            encryption,
            ack_key: AckKey::generate(rng),
        };
        let mut engine = Engine::new(keys, config, child_rng(rng));
        engine.set_topology(topology);
        Self {
            engine,
            identity: Arc::new(identity),
            shared_keys: None,
            session: None,
            rng: child_rng(rng),
            armed: None,
            received: Vec::new(),
            packet_times: Vec::new(),
            delivered: 0,
            failed: 0,
            receipts: Vec::new(),
        }
    }

    /// Opens a connection: registers the first time, authenticates later.
    pub(crate) fn connect(&mut self, now: Timestamp) {
        let recipient = self.engine.recipient();
        let login = match &self.shared_keys {
            None => ClientLogin::Registration {
                identity: Arc::clone(&self.identity),
                gateway: recipient.gateway,
            },
            Some(keys) => ClientLogin::Authentication {
                client: recipient.identity,
                keys: Arc::clone(keys),
            },
        };
        self.session = Some(ClientSession::new(login, now, &mut self.rng));
    }

    pub(crate) fn disconnect(&mut self, now: Timestamp) {
        self.session = None;
        self.engine.set_link_up(now, false);
    }

    /// Takes a message of the gateway.
    pub(crate) fn handle_message(&mut self, now: Timestamp, message: WsMessage) {
        let Some(session) = &mut self.session else {
            return;
        };
        session.handle_message(message);
        while let Some(event) = session.poll_event() {
            match event {
                SessionEvent::Ready { shared_keys } => {
                    self.shared_keys = Some(shared_keys);
                    self.engine.set_link_up(now, true);
                }
                SessionEvent::Push(push) => {
                    let unsafe_until = self.engine.handle_push(now, &push);
                    debug_assert_eq!(unsafe_until, None, "the engine keeps nothing");
                }
                SessionEvent::Refused(refusal) => {
                    unreachable!("a simulated gateway knows its clients: {refusal}")
                }
            }
        }
    }

    /// Collects what leaves for the gateway, and keeps what is to be told.
    pub(crate) fn drain(&mut self, now: Timestamp) -> Vec<WsMessage> {
        let mut messages = Vec::new();
        if let Some(session) = &mut self.session {
            messages.extend(std::iter::from_fn(|| session.poll_transmit()));
            while let Some(packet) = self.engine.poll_transmit() {
                messages.extend(session.seal_packet(&packet));
                self.packet_times.push(now);
            }
        }
        while let Some(event) = self.engine.poll_event() {
            match event {
                Event::Received(message) => self.received.push(message),
                Event::Delivered {
                    latency, receipt, ..
                } => {
                    self.delivered += 1;
                    let outcome = Outcome::Delivered { latency };
                    self.receipts.extend(receipt.map(|id| (id, outcome)));
                }
                Event::Failed {
                    reason, receipt, ..
                } => {
                    self.failed += 1;
                    let reason = reason.to_string();
                    let outcome = Outcome::Failed { reason };
                    self.receipts.extend(receipt.map(|id| (id, outcome)));
                }
                _ => {}
            }
        }
        messages
    }
}
