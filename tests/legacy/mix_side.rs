//! What a mix node and a gateway of 0.11 have in common (packet.md, section 4): frames in clear from
//! anybody, one connection in clear to each next hop, written to and never read.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nym_daemon::entropy;
use nym_packet::frame::{Frame, FrameDecoder};
use nym_packet::keys::{IdentityKeyPair, IdentityPublicKey, PrivateKey, public_key_to_base58};
use nym_packet::node::{self, MAX_DELAY, Outcome};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::mpsc;

use crate::directory::LegacyDirectory;

pub(crate) const MIX_PORT: u16 = 1789;

/// Packets that wait for one next hop.
const QUEUE: usize = 128;

/// The keys of a node, as `init` makes them.
pub(crate) struct Keys {
    pub(crate) identity: Arc<IdentityKeyPair>,
    pub(crate) sphinx: PrivateKey,
}

impl Keys {
    pub(crate) fn generate() -> Self {
        let mut rng = entropy();
        Self {
            identity: Arc::new(IdentityKeyPair::generate(&mut rng)),
            sphinx: PrivateKey::generate(&mut rng),
        }
    }

    pub(crate) fn identity_key(&self) -> IdentityPublicKey {
        self.identity.public_key()
    }

    /// What `init` prints.
    pub(crate) fn printed(&self) -> (String, String) {
        let sphinx_key = public_key_to_base58(&self.sphinx.public_key());
        (self.identity_key().to_string(), sphinx_key)
    }
}

/// A node that has its keys, and does not run yet.
pub(crate) struct LegacyNode {
    pub(crate) host: String,
    pub(crate) directory: LegacyDirectory,
    pub(crate) keys: Keys,
}

impl LegacyNode {
    pub(crate) fn init(host: &str, directory: LegacyDirectory) -> Self {
        Self {
            host: host.to_owned(),
            directory,
            keys: Keys::generate(),
        }
    }

    /// The identity key and the Sphinx key that `init` prints.
    pub(crate) fn keys(&self) -> (String, String) {
        self.keys.printed()
    }

    /// Refuses to start if one of these, hosts and identity keys, has our host, and names it.
    pub(crate) fn check_host(
        &self,
        mut listed: impl Iterator<Item = (String, String)>,
    ) -> Result<(), String> {
        let own = self.keys.identity_key().to_string();
        match listed.find(|(host, identity)| *host == self.host && *identity != own) {
            Some((_, rival)) => Err(format!("{rival} has our host")),
            None => Ok(()),
        }
    }

    pub(crate) fn bind(&self, runtime: &Runtime, port: u16) -> TcpListener {
        let address = SocketAddr::new(self.host.parse().unwrap(), port);
        runtime.block_on(TcpListener::bind(address)).unwrap()
    }
}

/// What a node does with packets.
pub(crate) trait Role: Send + Sync + 'static {
    /// A packet is to be sent on after a delay.
    fn forward(self: Arc<Self>, to: SocketAddr, delay: Duration, frame: Frame);

    /// A packet is for a client, and this acknowledges it.
    fn deliver(self: Arc<Self>, client: [u8; 32], message: &[u8], ack: Option<(SocketAddr, Frame)>);

    /// Somebody sent what is no frame, as a TLS hello.
    fn strange_link(&self);
}

/// Takes connections of other nodes for ever.
pub(crate) async fn listen<R: Role>(listener: TcpListener, key: PrivateKey, role: Arc<R>) {
    let key = Arc::new(key);
    while let Ok((stream, _)) = listener.accept().await {
        Handle::current().spawn(read(stream, Arc::clone(&key), Arc::clone(&role)));
    }
}

async fn read<R: Role>(mut stream: TcpStream, key: Arc<PrivateKey>, role: Arc<R>) {
    let (mut decoder, mut buffer) = (FrameDecoder::new(), vec![0; 1 << 16]);
    while let Ok(len @ 1..) = stream.read(&mut buffer).await {
        decoder.push(&buffer[..len]);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => take(frame, &key, &role),
                Ok(None) => break,
                Err(_) => return role.strange_link(),
            }
        }
    }
}

/// What is not for this node is dropped.
fn take<R: Role>(frame: Frame, key: &PrivateKey, role: &Arc<R>) {
    let mode = frame.mode();
    let mut packet = frame.into_packet();
    let Ok(verified) = node::verify(key, mode, &packet) else {
        return;
    };
    let (to, delay) = match verified.peel(&mut packet, MAX_DELAY) {
        Ok(Outcome::Forward { next_hop, delay }) => {
            (next_hop.socket_addr(), delay.unwrap_or_default())
        }
        Ok(Outcome::Final {
            destination,
            message,
            forward_ack,
        }) => {
            let ack = forward_ack.map(|ack| {
                let (hop, frame) = ack.into_parts();
                (hop.socket_addr(), frame)
            });
            return Arc::clone(role).deliver(destination, message, ack);
        }
        Err(_) => return,
    };
    let frame = Frame::new(mode, packet).expect("a peeled packet has the length it had");
    Arc::clone(role).forward(to, delay, frame);
}

/// The connections to next hops.
#[derive(Default)]
pub(crate) struct Links {
    queues: Mutex<HashMap<SocketAddr, mpsc::Sender<Frame>>>,
    sent: AtomicUsize,
}

impl Links {
    /// Queues a packet; one that finds no room, or a connection that has ended, is lost.
    pub(crate) fn send(&self, to: SocketAddr, frame: Frame) {
        let mut queues = self.queues.lock().unwrap();
        let queue = queues.entry(to).or_insert_with(|| {
            let (queue, frames) = mpsc::channel(QUEUE);
            Handle::current().spawn(write(to, frames));
            queue
        });
        if queue.try_send(frame).is_err() {
            queues.remove(&to);
        } else {
            self.sent.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }
}

async fn write(to: SocketAddr, mut frames: mpsc::Receiver<Frame>) {
    let Ok(mut stream) = TcpStream::connect(to).await else {
        return;
    };
    while let Some(frame) = frames.recv().await {
        let mut bytes = Vec::new();
        frame.encode_into(&mut bytes);
        if stream.write_all(&bytes).await.is_err() {
            return;
        }
    }
}
