//! A mix node of 0.11 (gateway.md, section 7).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nym_packet::frame::Frame;
use tokio::net::TcpListener;
use tokio::runtime::{Handle, Runtime};

use crate::directory::LegacyDirectory;
use crate::mix_side::{Keys, Links, Role, listen};

const MIX_PORT: u16 = 1789;

/// One that has its keys.
pub(crate) struct LegacyMixnode {
    host: String,
    directory: LegacyDirectory,
    keys: Keys,
}

/// One that runs; it ends when dropped.
pub(crate) struct RunningMixnode {
    mixer: Arc<Mixer>,
    _runtime: Runtime,
}

#[derive(Default)]
struct Mixer {
    links: Links,
    strange_links: AtomicUsize,
}

impl LegacyMixnode {
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

    /// Starts, unless the list names another node at its host; then the error names that.
    pub(crate) fn run(self) -> Result<RunningMixnode, String> {
        let own = self.keys.identity_key().to_string();
        let mixnodes = self.directory.mixnodes().into_iter();
        let mut rivals = mixnodes
            .map(|bond| bond.mix_node)
            .filter(|node| node.host == self.host && node.identity_key != own);
        if let Some(rival) = rivals.next() {
            return Err(format!("{} has our host", rival.identity_key));
        }
        let runtime = Runtime::new().unwrap();
        let address = SocketAddr::new(self.host.parse().unwrap(), MIX_PORT);
        let listener = runtime.block_on(TcpListener::bind(address)).unwrap();
        let mixer = Arc::new(Mixer::default());
        runtime.spawn(listen(listener, self.keys.sphinx, Arc::clone(&mixer)));
        Ok(RunningMixnode {
            mixer,
            _runtime: runtime,
        })
    }
}

impl RunningMixnode {
    /// Packets it has sent on.
    pub(crate) fn forwarded(&self) -> usize {
        self.mixer.links.sent()
    }

    /// Links on which no frames of 0.11 came.
    pub(crate) fn strange_links(&self) -> usize {
        self.mixer.strange_links.load(Ordering::Relaxed)
    }
}

impl Role for Mixer {
    fn forward(self: Arc<Self>, to: SocketAddr, delay: Duration, frame: Frame) {
        Handle::current().spawn(async move {
            tokio::time::sleep(delay).await;
            self.links.send(to, frame);
        });
    }

    /// A mix node drops what is for clients.
    fn deliver(self: Arc<Self>, _: [u8; 32], _: &[u8], _: Option<(SocketAddr, Frame)>) {}

    fn strange_link(&self) {
        self.strange_links.fetch_add(1, Ordering::Relaxed);
    }
}
