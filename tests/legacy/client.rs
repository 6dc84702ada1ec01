//! A client of 0.11 (client.md): websockets in clear, registration by `init`, authentication by
//! `run`. Without its streams of cover traffic; each packet leaves as soon as it is made.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::{SinkExt as _, StreamExt as _};
use nym_daemon::entropy;
use nym_packet::ack::AckKey;
use nym_packet::address::Recipient;
use nym_packet::build::{Content, DelayMeans, Order, Routes, Sender};
use nym_packet::fragment::{Fragment, FragmentGeometry, FragmentId, split};
use nym_packet::frame::PacketMode;
use nym_packet::keys::{IdentityKeyPair, IdentityPublicKey, PrivateKey};
use nym_packet::reassembly::{Reassembler, ReassemblyLimits};
use nym_packet::time::Timestamp;
use nym_packet::{cover, message, payload};
use nym_protocol::gateway::client_session::Event;
use nym_protocol::gateway::{ClientLogin, ClientSession, PushKind, SharedKeys};
use nym_protocol::validator::Topology;
use nym_protocol::ws::WsMessage;
use nym_tests::PATIENCE;
use sphinx::Builder;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::directory::LegacyDirectory;

/// One that has registered.
pub(crate) struct LegacyClient {
    directory: LegacyDirectory,
    gateway: IdentityPublicKey,
    identity: Arc<IdentityKeyPair>,
    encryption: PrivateKey,
    ack_key: AckKey,
    shared_keys: Arc<SharedKeys>,
    runtime: Runtime,
}

/// One that is connected.
pub(crate) struct ConnectedClient {
    topology: Topology,
    recipient: Recipient,
    keys: LegacyClient,
    link: Link,
    reassembler: Reassembler,
    acknowledged: BTreeSet<[u8; 5]>,
    messages: Vec<Vec<u8>>,
}

struct Link {
    socket: WebSocketStream<TcpStream>,
    session: ClientSession,
}

impl LegacyClient {
    /// Registers at a gateway of the list.
    pub(crate) fn init(gateway: &str, directory: LegacyDirectory) -> Self {
        let mut rng = entropy();
        let gateway = gateway.parse().unwrap();
        let identity = Arc::new(IdentityKeyPair::generate(&mut rng));
        let login = ClientLogin::Registration {
            identity: Arc::clone(&identity),
            gateway,
        };
        let runtime = Runtime::new().unwrap();
        let topology = directory.topology();
        let url = &topology.gateway(&gateway).unwrap().client_address;
        let (_, shared_keys) = runtime.block_on(log_in(url, login));
        Self {
            directory,
            gateway,
            identity,
            encryption: PrivateKey::generate(&mut rng),
            ack_key: AckKey::generate(&mut rng),
            shared_keys,
            runtime,
        }
    }

    /// Authenticates on a new connection. Of the mix nodes in the layer of `mixnode` it knows that
    /// one alone.
    pub(crate) fn run(self, mixnode: &str) -> ConnectedClient {
        let mixnode: IdentityPublicKey = mixnode.parse().unwrap();
        let mut topology = self.directory.topology();
        for layer in &mut topology.layers {
            if layer.iter().any(|node| node.identity == mixnode) {
                layer.retain(|node| node.identity == mixnode);
            }
        }
        let client = self.identity.public_key();
        let login = ClientLogin::Authentication {
            client,
            keys: Arc::clone(&self.shared_keys),
        };
        let url = &topology.gateway(&self.gateway).unwrap().client_address;
        let (link, _) = self.runtime.block_on(log_in(url, login));
        ConnectedClient {
            recipient: Recipient {
                identity: client,
                encryption: self.encryption.public_key(),
                gateway: self.gateway,
            },
            topology,
            keys: self,
            link,
            reassembler: Reassembler::new(ReassemblyLimits::default()),
            acknowledged: BTreeSet::new(),
            messages: Vec::new(),
        }
    }
}

impl ConnectedClient {
    pub(crate) fn address(&self) -> String {
        self.recipient.to_string()
    }

    /// Sends a message and waits until all of it is acknowledged.
    pub(crate) fn send(&mut self, to: &str, text: &str) {
        let mut rng = entropy();
        let to: Recipient = to.parse().unwrap();
        let sender = Sender {
            own: &self.recipient,
            ack_key: &self.keys.ack_key,
            delays: DelayMeans::default(),
            mode: PacketMode::Mix,
        };
        let geometry = FragmentGeometry::REGULAR;
        let padded = message::prepare(text.as_bytes(), None, geometry).unwrap();
        let mut waiting = BTreeSet::new();
        let mut frames = Vec::new();
        for fragment in &split(&padded, geometry, &mut rng) {
            let route = |gateway, rng: &mut _| self.topology.random_route(rng, gateway).unwrap();
            let there = route(&to.gateway, &mut rng);
            let back = route(&self.keys.gateway, &mut rng);
            let order = Order {
                content: Content::Fragment {
                    fragment,
                    recipient: &to,
                },
                routes: Routes {
                    packet: &there,
                    ack: &back,
                },
            };
            let prepared = sender
                .prepare(order, &mut Builder::new(), &mut rng)
                .unwrap();
            waiting.insert(prepared.ack_id.to_bytes());
            frames.push(self.link.session.seal_packet(&prepared.mix_packet).unwrap());
        }
        for frame in frames {
            self.keys.runtime.block_on(self.link.send(frame));
        }
        while !waiting.is_subset(&self.acknowledged) {
            self.take_push();
        }
    }

    /// The next message.
    pub(crate) fn receive(&mut self) -> Vec<u8> {
        while self.messages.is_empty() {
            self.take_push();
        }
        self.messages.remove(0)
    }

    fn take_push(&mut self) {
        let push = self.keys.runtime.block_on(self.link.push());
        if PushKind::of(push.len()) == PushKind::Ack {
            let id: FragmentId = self.keys.ack_key.open(&push).unwrap();
            self.acknowledged.insert(id.to_bytes());
            return;
        }
        let content = payload::decrypt(&self.keys.encryption, &push).unwrap();
        assert!(!cover::is_cover(&content), "this client sends no cover");
        let fragment = Fragment::parse(&content).unwrap();
        let whole = self.reassembler.insert(Timestamp::ZERO, fragment);
        // A fragment comes again if its acknowledgement was late.
        if let Ok(Some(whole)) = whole {
            self.messages.push(message::parse(&whole.bytes).unwrap().0);
        }
    }
}

impl Link {
    async fn send(&mut self, message: WsMessage) {
        let message = match message {
            WsMessage::Text(text) => Message::text(text),
            WsMessage::Binary(bytes) => Message::binary(bytes),
        };
        self.socket.send(message).await.unwrap();
    }

    /// Takes one message of the gateway.
    async fn take(&mut self) {
        let message = timeout(PATIENCE, self.socket.next()).await;
        match message
            .expect("the gateway says something")
            .unwrap()
            .unwrap()
        {
            Message::Text(text) => {
                let text = WsMessage::Text(text.as_str().to_owned());
                self.session.handle_message(text);
            }
            Message::Binary(bytes) => {
                let binary = WsMessage::Binary(bytes.to_vec());
                self.session.handle_message(binary);
            }
            _ => {}
        }
    }

    async fn push(&mut self) -> Vec<u8> {
        loop {
            if let Some(Event::Push(push)) = self.session.poll_event() {
                return push;
            }
            self.take().await;
        }
    }
}

/// Dials the address of the list as it stands and logs in.
async fn log_in(url: &str, login: ClientLogin) -> (Link, Arc<SharedKeys>) {
    let address: SocketAddr = url.strip_prefix("ws://").unwrap().parse().unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let (socket, _) = client_async(url, stream).await.unwrap();
    let session = ClientSession::new(login, Timestamp::ZERO, &mut entropy());
    let mut link = Link { socket, session };
    loop {
        while let Some(message) = link.session.poll_transmit() {
            link.send(message).await;
        }
        match link.session.poll_event() {
            Some(Event::Ready { shared_keys }) => return (link, shared_keys),
            Some(Event::Refused(refusal)) => panic!("{refusal}"),
            Some(Event::Push(_)) | None => link.take().await,
        }
    }
}
