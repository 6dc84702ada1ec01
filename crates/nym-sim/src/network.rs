//! The network between the parts, and the clock.

use std::collections::BTreeMap;
use std::time::Duration;

use nym_client_core::{Engine, ReceivedMessage, SendError};
use nym_packet::address::{HopAddress, Recipient};
use nym_packet::frame::Frame;
use nym_packet::keys::IdentityKeyPair;
use nym_packet::time::Timestamp;
use nym_protocol::app::{Outcome, RequestId};
use nym_protocol::gateway::ConnectionId;
use nym_protocol::validator::{GatewayDescriptor, MixnodeDescriptor, Topology};
use nym_protocol::ws::WsMessage;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use sphinx::PrivateKey;

use crate::client::SimClient;
use crate::config::SimConfig;
use crate::gateway::SimGateway;
use crate::mixnode::SimMixnode;
use crate::schedule::Schedule;
use crate::trace::Trace;

/// A mixnet in virtual time.
///
/// Clients are numbered from 0. Nothing happens until [`run_for`](Self::run_for) lets time pass.
pub struct Network {
    config: SimConfig,
    now: Timestamp,
    schedule: Schedule<Event>,
    clients: Vec<SimClient>,
    connections: BTreeMap<usize, Link>,
    gateways: Vec<(HopAddress, SimGateway)>,
    mixnodes: BTreeMap<HopAddress, SimMixnode>,
    next_connection: u64,
    counts: LinkCounts,
    trace: Trace,
    rng: ChaCha20Rng,
}

/// What became of the frames that nodes sent to each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounts {
    /// Frames sent.
    pub sent: u64,
    /// Of these, lost.
    pub dropped: u64,
    /// Of these, delivered twice.
    pub duplicated: u64,
    /// Of these, held back so that others overtook them.
    pub reordered: u64,
}

/// A client's connection: it delivers in order, so each direction remembers its latest arrival.
struct Link {
    connection: ConnectionId,
    to_gateway: Timestamp,
    to_client: Timestamp,
}

#[derive(Debug)]
enum Event {
    ClientTimer(usize),
    FrameArrives(HopAddress, Frame),
    MixnodeTimer(HopAddress),
    ToClient(usize, ConnectionId, WsMessage),
    ToGateway(usize, ConnectionId, WsMessage),
}

impl Network {
    /// A network whose nodes are up and whose clients are offline.
    #[must_use]
    pub fn new(config: SimConfig) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(config.seed);
        let mut topology = Topology::default();
        let mut mixnodes = BTreeMap::new();
        let mut address = addresses();
        for layer in 1..=3_u8 {
            for _ in 0..config.mixnodes_per_layer {
                let (hop, key) = (address(), PrivateKey::generate(&mut rng));
                topology.layers[usize::from(layer) - 1].push(MixnodeDescriptor {
                    identity: IdentityKeyPair::generate(&mut rng).public_key(),
                    sphinx_key: key.public_key(),
                    mix_address: hop.socket_addr(),
                    layer,
                    speaks_tls: true,
                });
                mixnodes.insert(hop, SimMixnode::new(key, &mut rng));
            }
        }
        let mut gateways = Vec::new();
        for _ in 0..config.gateways {
            let (hop, key) = (address(), PrivateKey::generate(&mut rng));
            let identity = IdentityKeyPair::generate(&mut rng);
            topology.gateways.push(GatewayDescriptor {
                identity: identity.public_key(),
                sphinx_key: key.public_key(),
                mix_address: hop.socket_addr(),
                client_address: format!("ws://{}:9000", hop.socket_addr().ip()),
                speaks_tls: true,
            });
            let gateway = SimGateway::new(identity, key, config.inbox_messages_max, &mut rng);
            gateways.push((hop, gateway));
        }
        let clients = (0..config.clients)
            .map(|index| {
                let home = &topology.gateways[index % config.gateways];
                let engine = config.engine.clone();
                SimClient::new(home.identity, topology.clone(), engine, &mut rng)
            })
            .collect();
        Self {
            config,
            now: Timestamp::ZERO,
            schedule: Schedule::new(),
            clients,
            connections: BTreeMap::new(),
            gateways,
            mixnodes,
            next_connection: 0,
            counts: LinkCounts::default(),
            trace: Trace::default(),
            rng,
        }
    }

    /// The time in the network.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// A client's address.
    #[must_use]
    pub fn address(&self, client: usize) -> Recipient {
        *self.clients[client].engine.recipient()
    }

    /// A client's engine: its counts and queues.
    #[must_use]
    pub fn engine(&self, client: usize) -> &Engine<ChaCha20Rng> {
        &self.clients[client].engine
    }

    /// Brings a client online: it registers the first time and authenticates later.
    pub fn connect(&mut self, client: usize) {
        self.disconnect(client);
        self.next_connection += 1;
        let connection = ConnectionId(self.next_connection);
        let home = self.home(client);
        self.gateways[home].1.open(self.now, connection);
        let (to_gateway, to_client) = (self.now, self.now);
        self.connections.insert(
            client,
            Link {
                connection,
                to_gateway,
                to_client,
            },
        );
        self.clients[client].connect(self.now);
        self.drain_client(client);
    }

    /// Cuts a client's connection; what was on the way is lost, as on a real one.
    pub fn disconnect(&mut self, client: usize) {
        if let Some(link) = self.connections.remove(&client) {
            let home = self.home(client);
            self.gateways[home].1.close(link.connection);
            self.clients[client].disconnect(self.now);
        }
    }

    /// Hands a message to a client, as an app does.
    ///
    /// # Errors
    /// What the engine refuses.
    pub fn send(&mut self, from: usize, to: usize, message: &[u8]) -> Result<(), SendError> {
        let recipient = self.address(to);
        self.clients[from]
            .engine
            .send(self.now, &recipient, message, false)?;
        self.drain_client(from);
        Ok(())
    }

    /// When packets of a client left for its gateway since this was last asked: all that an
    /// observer of its link sees.
    pub fn take_packet_times(&mut self, client: usize) -> Vec<Timestamp> {
        std::mem::take(&mut self.clients[client].packet_times)
    }

    /// As [`send`](Self::send), for an app that wants to know what becomes of the message.
    ///
    /// # Errors
    /// What the engine refuses.
    pub fn send_asking(
        &mut self,
        from: usize,
        to: usize,
        message: &[u8],
        id: RequestId,
    ) -> Result<(), SendError> {
        let recipient = self.address(to);
        let engine = &mut self.clients[from].engine;
        let message = engine.send(self.now, &recipient, message, false)?;
        engine.ask_receipt(self.now, message, id);
        self.drain_client(from);
        Ok(())
    }

    /// Takes what a client has told of the messages whose apps want to know, in order.
    pub fn take_receipts(&mut self, client: usize) -> Vec<(RequestId, Outcome)> {
        std::mem::take(&mut self.clients[client].receipts)
    }

    /// Takes the messages that a client has received, in the order of their arrival.
    pub fn take_received(&mut self, client: usize) -> Vec<ReceivedMessage> {
        std::mem::take(&mut self.clients[client].received)
    }

    /// Messages of a client that were reported delivered, and given up.
    #[must_use]
    pub fn reports(&self, client: usize) -> (usize, usize) {
        (self.clients[client].delivered, self.clients[client].failed)
    }

    /// What became of the frames between nodes.
    #[must_use]
    pub fn link_counts(&self) -> LinkCounts {
        self.counts
    }

    /// Packets that nodes did not accept: replays, mostly.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        let at_mixnodes: u64 = self.mixnodes.values().map(|node| node.rejected).sum();
        let at_gateways: u64 = self
            .gateways
            .iter()
            .map(|(_, gateway)| gateway.rejected)
            .sum();
        at_mixnodes + at_gateways
    }

    /// The fingerprint of all that has happened.
    #[must_use]
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Lets `span` pass.
    pub fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some((at, event)) = self.schedule.pop_until(end) {
            self.now = at;
            self.handle(event);
        }
        self.now = end;
    }

    /// Lets time pass until `done`, in steps of a tenth of a second, at most `span`; tells whether
    /// it came to that.
    pub fn run_until(&mut self, span: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now + span;
        while !done(self) {
            if self.now >= end {
                return false;
            }
            self.run_for(Duration::from_millis(100));
        }
        true
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::ClientTimer(index) => {
                let client = &mut self.clients[index];
                if client.armed != Some(self.now) {
                    return;
                }
                client.armed = None;
                client.engine.handle_timeout(self.now);
                self.drain_client(index);
            }
            Event::FrameArrives(to, frame) => {
                self.trace
                    .record(self.now, ("frame", to.socket_addr(), frame.packet()));
                if let Some(mixnode) = self.mixnodes.get_mut(&to) {
                    mixnode.handle_frame(self.now, frame);
                    self.drain_mixnode(to);
                } else if let Some(index) = self.gateways.iter().position(|(hop, _)| *hop == to) {
                    self.gateways[index].1.handle_frame(self.now, frame);
                    self.drain_gateway(index);
                }
            }
            Event::MixnodeTimer(hop) => {
                if let Some(mixnode) = self.mixnodes.get_mut(&hop)
                    && mixnode.armed == Some(self.now)
                {
                    mixnode.armed = None;
                    self.drain_mixnode(hop);
                }
            }
            Event::ToClient(index, connection, message) => {
                if self.is_connected(index, connection) {
                    self.trace.record(self.now, ("push", index, message.len()));
                    self.clients[index].handle_message(self.now, message);
                    self.drain_client(index);
                }
            }
            Event::ToGateway(index, connection, message) => {
                if self.is_connected(index, connection) {
                    self.trace
                        .record(self.now, ("request", index, message.len()));
                    let home = self.home(index);
                    self.gateways[home]
                        .1
                        .handle_message(self.now, connection, message);
                    self.drain_gateway(home);
                }
            }
        }
    }

    fn drain_client(&mut self, index: usize) {
        let messages = self.clients[index].drain(self.now);
        for message in messages {
            let at = self.now + self.latency();
            if let Some(link) = self.connections.get_mut(&index) {
                link.to_gateway = link.to_gateway.max(at);
                let event = Event::ToGateway(index, link.connection, message);
                self.schedule.insert(link.to_gateway, event);
            }
        }
        let client = &mut self.clients[index];
        if let Some(at) = client.engine.poll_timeout(self.now)
            && client.armed.is_none_or(|armed| at < armed)
        {
            client.armed = Some(at);
            self.schedule.insert(at, Event::ClientTimer(index));
        }
    }

    fn drain_gateway(&mut self, index: usize) {
        let gateway = &mut self.gateways[index].1;
        let frames = std::mem::take(&mut gateway.frames);
        let messages = std::mem::take(&mut gateway.messages);
        for (to, frame) in frames {
            self.transmit(to, frame);
        }
        for (connection, message) in messages {
            let at = self.now + self.latency();
            let link = self
                .connections
                .iter_mut()
                .find(|(_, link)| link.connection == connection);
            if let Some((&client, link)) = link {
                link.to_client = link.to_client.max(at);
                let event = Event::ToClient(client, connection, message);
                self.schedule.insert(link.to_client, event);
            }
        }
    }

    fn drain_mixnode(&mut self, hop: HopAddress) {
        while let Some((to, frame)) = self
            .mixnodes
            .get_mut(&hop)
            .and_then(|mixnode| mixnode.poll_transmit(self.now))
        {
            self.transmit(to, frame);
        }
        let Some(mixnode) = self.mixnodes.get_mut(&hop) else {
            return;
        };
        if let Some(at) = mixnode.poll_timeout()
            && mixnode.armed.is_none_or(|armed| at < armed)
        {
            mixnode.armed = Some(at);
            self.schedule.insert(at, Event::MixnodeTimer(hop));
        }
    }

    /// Puts a frame on the link to `to`, with whatever goes wrong there.
    fn transmit(&mut self, to: HopAddress, frame: Frame) {
        self.counts.sent += 1;
        let faults = self.config.faults;
        let fate: f64 = self.rng.random();
        let at = self.now + self.latency();
        if fate < faults.dropped {
            self.counts.dropped += 1;
            return;
        }
        if fate < faults.dropped + faults.duplicated {
            self.counts.duplicated += 1;
            let again = self.now + self.latency();
            self.schedule
                .insert(again, Event::FrameArrives(to, frame.clone()));
        } else if fate < faults.dropped + faults.duplicated + faults.reordered {
            self.counts.reordered += 1;
            let late = at + faults.reorder_delay_max.mul_f64(self.rng.random());
            self.schedule.insert(late, Event::FrameArrives(to, frame));
            return;
        }
        self.schedule.insert(at, Event::FrameArrives(to, frame));
    }

    fn latency(&mut self) -> Duration {
        let SimConfig {
            latency_min,
            latency_max,
            ..
        } = self.config;
        latency_min
            + latency_max
                .saturating_sub(latency_min)
                .mul_f64(self.rng.random())
    }

    fn home(&self, client: usize) -> usize {
        client % self.gateways.len()
    }

    fn is_connected(&self, client: usize, connection: ConnectionId) -> bool {
        self.connections
            .get(&client)
            .is_some_and(|link| link.connection == connection)
    }
}

/// A generator of its own for one part of the network, so that parts do not disturb each other.
pub(crate) fn child_rng(rng: &mut ChaCha20Rng) -> ChaCha20Rng {
    let mut seed = [0; 32];
    rng.fill_bytes(&mut seed);
    ChaCha20Rng::from_seed(seed)
}

/// Addresses 10.0.0.1, 10.0.0.2 and so on, with the usual port.
fn addresses() -> impl FnMut() -> HopAddress {
    let mut last = u32::from(std::net::Ipv4Addr::new(10, 0, 0, 0));
    move || {
        last += 1;
        HopAddress::new((std::net::Ipv4Addr::from(last), 1789).into())
    }
}
