//! What surrounds the gateway under test: clients, a mix node before it, a mix node behind it.

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nym_gateway::{
    Addresses, Config, Gateway, GatewayControl, GatewayError, Inspector, Reloadable,
};
use nym_node::links::LinkConfig;
use nym_packet::address::HopAddress;
use nym_packet::frame::{Frame, PacketMode};
use nym_packet::geometry::PacketSize;
use nym_packet::keys::{IdentityKeyPair, IdentityPublicKey, PublicKey};
use nym_packet::mix_packet::MixPacket;
use nym_packet::time::Timestamp;
use nym_protocol::gateway::client_session::Event;
use nym_protocol::gateway::{ClientLogin, ClientSession, Refusal, SharedKeys};
use nym_protocol::ws::WsMessage;
use nym_transport::connections::{Connections, ConnectionsConfig, SendError};
use nym_transport::frames::{FrameReader, ReadTimeouts};
use nym_transport::legacy::LegacyPeers;
use nym_transport::peers::Peers;
use nym_transport::websocket::{Incoming, WebSocket, WebSocketLimits};
use sphinx::{Delay, Destination, Hop, Version};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Nothing here takes as long unless it never happens.
const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes of a message in a regular packet.
pub(crate) const MESSAGE_LEN: usize = 1643;

/// Bytes of an acknowledgement packet.
pub(crate) const ACK_LEN: usize = 386;

/// Members of the page `/clients`, and the numbers of the page `/metrics` that tell the same.
pub(crate) const COUNTS: [(&str, &str); 22] = [
    ("acks_released", "nym_gateway_acks_total"),
    ("clients_connected", "nym_gateway_clients_connected"),
    ("clients_online", "nym_gateway_clients_online"),
    ("clients_pinged", "nym_gateway_pings_total"),
    ("clients_silent", "nym_gateway_silent_clients_total"),
    (
        "connections_accepted",
        "nym_gateway_connections_total{result=\"accepted\"}",
    ),
    (
        "connections_refused",
        "nym_gateway_connections_total{result=\"refused\"}",
    ),
    ("logins", "nym_gateway_logins_total{result=\"granted\"}"),
    (
        "logins_denied",
        "nym_gateway_logins_total{result=\"denied\"}",
    ),
    (
        "logins_refused",
        "nym_gateway_logins_total{result=\"refused\"}",
    ),
    (
        "logins_replayed",
        "nym_gateway_logins_total{result=\"replayed\"}",
    ),
    (
        "logins_throttled",
        "nym_gateway_logins_total{result=\"throttled\"}",
    ),
    (
        "messages_displaced",
        "nym_gateway_messages_total{outcome=\"displaced\"}",
    ),
    (
        "messages_expired",
        "nym_gateway_messages_total{outcome=\"expired\"}",
    ),
    (
        "messages_failed",
        "nym_gateway_messages_total{outcome=\"failed\"}",
    ),
    (
        "messages_pushed",
        "nym_gateway_messages_total{outcome=\"pushed\"}",
    ),
    (
        "messages_refused_full",
        "nym_gateway_messages_total{outcome=\"refused_full\"}",
    ),
    (
        "messages_refused_unknown",
        "nym_gateway_messages_total{outcome=\"refused_unknown\"}",
    ),
    (
        "messages_stored",
        "nym_gateway_messages_total{outcome=\"stored\"}",
    ),
    (
        "messages_taken",
        "nym_gateway_messages_total{outcome=\"taken\"}",
    ),
    ("packets_from_clients", "nym_gateway_packets_total"),
    ("reads_held_back", "nym_gateway_reads_held_back_total"),
];

pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("{what}: not in time"))
}

/// How to reach a gateway.
#[derive(Clone, Copy)]
pub(crate) struct Contact {
    pub(crate) addresses: Addresses,
    pub(crate) identity: IdentityPublicKey,
    pub(crate) sphinx_key: PublicKey,
}

/// A gateway in this process, with its directory.
pub(crate) struct Running {
    pub(crate) contact: Contact,
    pub(crate) control: GatewayControl,
    pub(crate) reloadable: Reloadable,
    /// The nodes that the gateway knows.
    pub(crate) peers: Peers,
    shutdown: CancellationToken,
    task: JoinSet<Result<(), GatewayError>>,
    directory: TempDir,
}

impl Running {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    /// A gateway with another configuration.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), change).await
    }

    async fn start_in(directory: TempDir, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::on_loopback("one", directory.path(), Vec::new());
        // With one worker, packets of one link are processed in their order.
        config.workers = std::num::NonZeroUsize::MIN;
        // These tests speak as 0.11 programs do, and their mix nodes are in no topology.
        config.link_config = LinkConfig {
            legacy_peers: LegacyPeers::Allow,
            open_relay_for_tests: true,
            ..LinkConfig::default()
        };
        change(&mut config);
        let reloadable = config.reloadable();
        let gateway = Gateway::bind(config).await.unwrap();
        let contact = Contact {
            addresses: gateway.addresses(),
            identity: gateway.identity(),
            sphinx_key: gateway.sphinx_key(),
        };
        let control = gateway.control();
        let peers = gateway.peers();
        let shutdown = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(gateway.run(shutdown.clone()));
        Self {
            contact,
            control,
            reloadable,
            peers,
            shutdown,
            task,
            directory,
        }
    }

    /// As SIGTERM does.
    pub(crate) fn ask_to_stop(&self) {
        self.shutdown.cancel();
    }

    /// Status and text of one of the operator's pages.
    pub(crate) async fn page(&self, path: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.contact.addresses.http.unwrap());
        let answer = reqwest::get(url).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Stops the gateway and starts another one with its files.
    pub(crate) async fn restart(self) -> Self {
        self.restart_after(|_| ()).await
    }

    /// The same, and does something to the database meanwhile.
    pub(crate) async fn restart_after(self, change: impl FnOnce(&Path)) -> Self {
        let database = self.database();
        let Self {
            shutdown,
            mut task,
            directory,
            ..
        } = self;
        shutdown.cancel();
        let ended = soon("the gateway stops", task.join_next()).await;
        ended.unwrap().unwrap().unwrap();
        change(&database);
        Self::start_in(directory, |_| ()).await
    }

    /// The file that another process may look into.
    pub(crate) fn database(&self) -> PathBuf {
        self.directory.path().join("gateway.sqlite")
    }

    /// Waits until so many messages are stored.
    pub(crate) async fn stored(&self, count: u64) {
        let inspector = Inspector::open(&self.database()).unwrap();
        let reached = async {
            while inspector.stats().unwrap().messages != count {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        soon("the inboxes hold so many messages", reached).await;
    }

    /// A number of the page `/metrics`.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let (_, page) = self.page("/metrics").await;
        let mut lines = page.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let value = value.unwrap_or_else(|| panic!("no {name} in {page}"));
        value.parse().unwrap()
    }

    /// Waits until a number of the page `/metrics` is as wanted.
    pub(crate) async fn until_metric(&self, name: &str, is_wanted: impl Fn(u64) -> bool) {
        let reached = async {
            while !is_wanted(self.metric(name).await) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        soon(name, reached).await;
    }

    /// The number of the page `/metrics` that tells the same as a member of the page `/clients`.
    pub(crate) async fn count(&self, name: &str) -> u64 {
        let (_, metric) = COUNTS.iter().find(|(member, _)| *member == name).unwrap();
        self.metric(metric).await
    }

    /// Waits until such a number is as wanted.
    pub(crate) async fn until(&self, name: &str, is_wanted: impl Fn(u64) -> bool) {
        let reached = async {
            while !is_wanted(self.count(name).await) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        soon(name, reached).await;
    }
}

/// A client of a gateway.
pub(crate) struct Client {
    pub(crate) identity: Arc<IdentityKeyPair>,
    pub(crate) keys: Option<Arc<SharedKeys>>,
}

impl Client {
    pub(crate) fn new() -> Self {
        let identity = Arc::new(IdentityKeyPair::generate(&mut nym_daemon::entropy()));
        Self {
            identity,
            keys: None,
        }
    }

    /// The same client once more.
    pub(crate) fn same(&self) -> Self {
        Self {
            identity: Arc::clone(&self.identity),
            keys: self.keys.clone(),
        }
    }

    /// A client that has registered and left again.
    pub(crate) async fn registered(gateway: &Contact) -> Self {
        let mut client = Self::new();
        client.log_in(gateway).await.unwrap();
        client
    }

    /// Registers the first time and authenticates from then on.
    pub(crate) async fn log_in(&mut self, gateway: &Contact) -> Result<Session, Refusal> {
        let url = format!("ws://{}", gateway.addresses.clients);
        let socket = WebSocket::dial(&url, WebSocketLimits::default()).await;
        self.log_in_over(socket.unwrap(), gateway).await
    }

    /// The same over a connection that has been made.
    pub(crate) async fn log_in_over(
        &mut self,
        socket: WebSocket,
        gateway: &Contact,
    ) -> Result<Session, Refusal> {
        let login = match &self.keys {
            None => ClientLogin::Registration {
                identity: Arc::clone(&self.identity),
                gateway: gateway.identity,
            },
            Some(keys) => ClientLogin::Authentication {
                client: self.identity.public_key(),
                keys: Arc::clone(keys),
            },
        };
        let session = ClientSession::new(login, Timestamp::ZERO, &mut nym_daemon::entropy());
        let mut session = Session { socket, session };
        match session.event("the login is answered").await {
            Some(Event::Ready { shared_keys }) => {
                self.keys = Some(shared_keys);
                Ok(session)
            }
            Some(Event::Refused(refusal)) => Err(refusal),
            other => panic!("a login leads to {other:?}"),
        }
    }
}

/// A client's connection.
pub(crate) struct Session {
    pub(crate) socket: WebSocket,
    session: ClientSession,
}

impl Session {
    /// The next event; `None` when the gateway has closed the connection.
    async fn event(&mut self, what: &str) -> Option<Event> {
        loop {
            while let Some(message) = self.session.poll_transmit() {
                self.socket.send(message).await.unwrap();
            }
            if let Some(event) = self.session.poll_event() {
                return Some(event);
            }
            match soon(what, self.socket.receive()).await {
                Ok(Some(Incoming::Message(message))) => self.session.handle_message(message),
                Ok(Some(Incoming::Pong(_))) => {}
                Ok(None) | Err(_) => return None,
            }
        }
    }

    /// The next push.
    pub(crate) async fn push(&mut self) -> Vec<u8> {
        match self.event("a message is pushed").await {
            Some(Event::Push(push)) => push,
            other => panic!("{other:?} instead of a push"),
        }
    }

    /// The next push; `None` when the connection has ended.
    pub(crate) async fn next_push(&mut self) -> Option<Vec<u8>> {
        match self.event("a push, or the end").await? {
            Event::Push(push) => Some(push),
            other => panic!("{other:?} instead of a push"),
        }
    }

    /// Goes on reading, and so answering pings, until something else has happened; no push may
    /// come meanwhile.
    pub(crate) async fn reading<T>(&mut self, other: impl Future<Output = T>) -> T {
        tokio::select! {
            event = self.event("the gateway keeps the connection") => {
                panic!("{event:?} while reading")
            }
            outcome = other => outcome,
        }
    }

    /// Waits until the gateway closes the connection; nothing may come before that.
    pub(crate) async fn closed(&mut self) {
        let event = self.event("the connection is closed").await;
        assert!(event.is_none(), "{event:?} instead of the end");
    }

    /// Sends a packet by way of the gateway, which confirms it.
    pub(crate) async fn send(&mut self, packet: &MixPacket) -> WsMessage {
        let message = self.session.seal_packet(packet).unwrap();
        self.socket.send(message).await.unwrap();
        match soon("the packet is confirmed", self.socket.receive()).await {
            Ok(Some(Incoming::Message(message))) => message,
            other => panic!("{other:?} instead of a confirmation"),
        }
    }
}

/// A mix node that the gateway sends to.
pub(crate) struct NextHop {
    listener: TcpListener,
    reader: Option<FrameReader<TcpStream>>,
}

impl NextHop {
    pub(crate) async fn start() -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into()).await
    }

    /// At an address of choice.
    pub(crate) async fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        Self {
            listener,
            reader: None,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    pub(crate) async fn frame(&mut self) -> Frame {
        soon("a packet arrives", self.next_frame()).await
    }

    /// The next packet, however long that takes, over this or a later connection of the gateway.
    pub(crate) async fn next_frame(&mut self) -> Frame {
        loop {
            let reader = match &mut self.reader {
                Some(reader) => reader,
                None => {
                    let (stream, _) = self.listener.accept().await.unwrap();
                    self.reader
                        .insert(FrameReader::new(stream, ReadTimeouts::default()))
                }
            };
            match reader.next_frame().await {
                Ok(Some(frame)) => return frame,
                Ok(None) | Err(_) => self.reader = None,
            }
        }
    }

    /// The number of the acknowledgement that arrives next.
    pub(crate) async fn ack(&mut self) -> u8 {
        let frame = self.frame().await;
        assert_eq!(frame.size(), PacketSize::Ack);
        frame.packet()[0]
    }
}

/// A mix node that sends to the gateway.
pub(crate) struct LastMixNode {
    links: Connections,
    gateway: Contact,
    acks_to: SocketAddr,
}

impl LastMixNode {
    pub(crate) fn new(gateway: Contact, acks_to: SocketAddr) -> Self {
        let links = Connections::new(ConnectionsConfig::default(), nym_daemon::entropy());
        Self {
            links,
            gateway,
            acks_to,
        }
    }

    /// Sends a message with the given number, in it and in its acknowledgement.
    pub(crate) fn send(&self, recipient: &Client, number: u8) {
        let sent = self.send_bytes(recipient, &[number; ACK_LEN], &message(number));
        sent.unwrap();
    }

    /// Sends a message, unless the link cannot take it.
    pub(crate) fn send_bytes(
        &self,
        recipient: &Client,
        ack: &[u8; ACK_LEN],
        message: &[u8],
    ) -> Result<(), SendError> {
        let frame = self.frame(recipient, ack, message);
        self.links.send(self.gateway.addresses.mix, frame)
    }

    /// Sends a packet, whatever it is, once the link has room for it.
    pub(crate) async fn send_packet(&self, packet: Vec<u8>) {
        let frame = Frame::new(PacketMode::Mix, packet).unwrap();
        self.forward(frame).await;
    }

    /// Sends a frame, once the link has room for it.
    pub(crate) async fn forward(&self, frame: Frame) {
        let gateway = self.gateway.addresses.mix;
        while self.links.send(gateway, frame.clone()).is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    pub(crate) fn frame(&self, recipient: &Client, ack: &[u8; ACK_LEN], message: &[u8]) -> Frame {
        let destination = *recipient.identity.public_key().as_bytes();
        let packet = self.packet(destination, ack, message);
        Frame::new(PacketMode::Mix, packet).unwrap()
    }

    fn packet(&self, destination: [u8; 32], ack: &[u8; ACK_LEN], message: &[u8]) -> Vec<u8> {
        let hop = HopAddress::new(self.gateway.addresses.mix);
        let ack_hop = HopAddress::new(self.acks_to).to_padded19();
        let plaintext = [&ack_hop[..], ack, message].concat();
        sphinx::build(
            Version::NYM_0_11,
            &[Hop {
                address: hop.to_node_address(),
                public_key: self.gateway.sphinx_key,
            }],
            &[Delay::from_nanos(0)],
            &Destination {
                address: destination,
                identifier: [0; 16],
            },
            &plaintext,
            PacketSize::Regular.payload_len(),
            &mut nym_daemon::entropy(),
        )
        .unwrap()
    }
}

/// The message with a number.
pub(crate) fn message(number: u8) -> Vec<u8> {
    vec![number; MESSAGE_LEN]
}
