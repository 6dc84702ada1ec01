//! Nodes that work at once.

use std::time::Duration;

use nym_client_core::{ClientKeys, Engine, EngineConfig, Event};
use nym_packet::ack::AckKey;
use nym_packet::address::{HopAddress, Recipient};
use nym_packet::keys::{IdentityKeyPair, IdentityPublicKey};
use nym_packet::mix_packet::MixPacket;
use nym_packet::node::{self, Outcome};
use nym_packet::time::Timestamp;
use nym_protocol::validator::topology::{GatewayDescriptor, MixnodeDescriptor, Topology};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use sphinx::PrivateKey;

/// How often engines may have something to do at one instant.
const TURNS_MAX: usize = 1_000;

/// Three mix nodes and a gateway, and the time.
pub(crate) struct Net {
    pub(crate) nodes: Vec<(HopAddress, PrivateKey)>,
    pub(crate) topology: Topology,
    pub(crate) gateway: IdentityPublicKey,
    pub(crate) now: Timestamp,
    pub(crate) rng: ChaCha20Rng,
    /// Packets so far that did not survive and were no cover.
    pub(crate) lost: u64,
}

/// What one packet turns into at the gateway.
pub(crate) struct Arrival {
    pub(crate) destination: [u8; 32],
    pub(crate) message: Vec<u8>,
    pub(crate) ack: Option<MixPacket>,
}

impl Net {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let nodes: Vec<_> = (0..4_u16)
            .map(|index| {
                let socket = ([127, 0, 0, 1], 1_000 + index).into();
                (HopAddress::new(socket), PrivateKey::generate(&mut rng))
            })
            .collect();
        let gateway = IdentityKeyPair::generate(&mut rng).public_key();
        let mixnode = |layer: u8| {
            let (address, key) = &nodes[usize::from(layer) - 1];
            vec![MixnodeDescriptor {
                identity: gateway,
                sphinx_key: key.public_key(),
                mix_address: address.socket_addr(),
                layer,
                speaks_tls: true,
            }]
        };
        let topology = Topology {
            layers: [mixnode(1), mixnode(2), mixnode(3)],
            gateways: vec![GatewayDescriptor {
                identity: gateway,
                sphinx_key: nodes[3].1.public_key(),
                mix_address: nodes[3].0.socket_addr(),
                client_address: "ws://127.0.0.1:9000".to_owned(),
                speaks_tls: true,
            }],
        };
        Self {
            nodes,
            topology,
            gateway,
            now: Timestamp::ZERO,
            rng,
            lost: 0,
        }
    }

    /// The keys of a new client.
    pub(crate) fn keys(&mut self) -> ClientKeys {
        let identity = IdentityKeyPair::generate(&mut self.rng).public_key();
        let encryption = PrivateKey::generate(&mut self.rng);
        let recipient = Recipient {
            identity,
            encryption: encryption.public_key(),
            gateway: self.gateway,
        };
        let ack_key = AckKey::generate(&mut self.rng);
        ClientKeys {
            recipient,
            encryption,
            ack_key,
        }
    }

    pub(crate) fn engine(&mut self, config: EngineConfig) -> Engine<ChaCha20Rng> {
        let keys = self.keys();
        let engine_rng = ChaCha20Rng::from_rng(&mut self.rng);
        let mut engine = Engine::new(keys, config, engine_rng);
        assert!(engine.set_topology(self.topology.clone()));
        engine.set_link_up(self.now, true);
        engine
    }

    /// Carries a packet to its gateway at once.
    pub(crate) fn carry(&self, packet: MixPacket) -> Arrival {
        let (mut at, frame) = packet.into_parts();
        let mode = frame.mode();
        let mut bytes = frame.into_packet();
        loop {
            let (_, key) = self
                .nodes
                .iter()
                .find(|(address, _)| *address == at)
                .unwrap();
            let verified = node::verify(key, mode, &bytes).unwrap();
            match verified.peel(&mut bytes, node::MAX_DELAY).unwrap() {
                Outcome::Forward { next_hop, .. } => at = next_hop,
                Outcome::Final {
                    destination,
                    message,
                    forward_ack,
                } => {
                    let message = message.to_vec();
                    return Arrival {
                        destination,
                        message,
                        ack: forward_ack,
                    };
                }
            }
        }
    }

    /// Lets `engines` run for `span`; `keep` decides which packets survive.
    pub(crate) fn run(
        &mut self,
        engines: &mut [&mut Engine<ChaCha20Rng>],
        span: Duration,
        mut keep: impl FnMut(usize) -> bool,
    ) -> Vec<(usize, Event)> {
        let end = self.now + span;
        let mut events = Vec::new();
        let (mut count, mut turns) = (0, 0);
        loop {
            for index in 0..engines.len() {
                engines[index].handle_timeout(self.now);
                while let Some(packet) = engines[index].poll_transmit() {
                    count += 1;
                    if keep(count) {
                        self.deliver(engines, packet);
                    } else {
                        let sender = *engines[index].recipient().identity.as_bytes();
                        self.lost += u64::from(self.carry(packet).destination != sender);
                    }
                }
            }
            for (index, engine) in engines.iter_mut().enumerate() {
                let told = std::iter::from_fn(|| engine.poll_event());
                // Every send is accepted at once: nothing of these engines is kept.
                let told = told.filter(|event| !matches!(event, Event::Accepted { .. }));
                events.extend(told.map(|event| (index, event)));
            }
            let next = engines
                .iter()
                .filter_map(|engine| engine.poll_timeout(self.now))
                .min();
            match next {
                Some(next) if next <= end => {
                    turns = if next > self.now { 0 } else { turns + 1 };
                    assert!(turns < TURNS_MAX, "nothing gets an engine to rest");
                    self.now = next;
                }
                _ => break,
            }
        }
        self.now = end;
        events
    }

    fn deliver(&self, engines: &mut [&mut Engine<ChaCha20Rng>], packet: MixPacket) {
        let arrival = self.carry(packet);
        self.push(engines, arrival.destination, &arrival.message);
        if let Some(ack) = arrival.ack {
            let arrival = self.carry(ack);
            self.push(engines, arrival.destination, &arrival.message);
        }
    }

    pub(crate) fn push(
        &self,
        engines: &mut [&mut Engine<ChaCha20Rng>],
        to: [u8; 32],
        message: &[u8],
    ) {
        for engine in engines {
            if *engine.recipient().identity.as_bytes() == to {
                engine.handle_push(self.now, message);
            }
        }
    }
}
