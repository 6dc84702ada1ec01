//! A mix node of 0.11 (gateway.md, section 7).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nym_packet::frame::Frame;
use tokio::runtime::{Handle, Runtime};

use crate::mix_side::{LegacyNode, Links, MIX_PORT, Role, listen};

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

impl LegacyNode {
    /// Starts a mix node, unless the list names another one at its host; then the error names that.
    pub(crate) fn run_mixnode(self) -> Result<RunningMixnode, String> {
        let listed = self.directory.mixnodes().into_iter();
        self.check_host(listed.map(|bond| (bond.mix_node.host, bond.mix_node.identity_key)))?;
        let runtime = Runtime::new().unwrap();
        let listener = self.bind(&runtime, MIX_PORT);
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
