//! A load generator for any mix node, ours or a 0.11.0 one: it needs the node's keys and address,
//! nothing else. The module [`crowd`] does the like for gateways: thousands of clients.
//!
//! ```text
//!            ┌──────────┐   n connections    ┌──────────┐   1 connection   ┌──────────┐
//!  packets ─►│ senders  │───────────────────►│ mix node │─────────────────►│   sink   │─► report
//!            └──────────┘  paced or flat out └──────────┘                  └──────────┘
//! ```
//!
//! Every packet is valid, built before the clock starts, and used once, so a replay filter has
//! nothing to drop. Its second and last hop is the sink, which is this program. While packets flow
//! the sink only counts them, notes when they came and keeps a sample; the sample is opened
//! afterwards to find out which packets they were, so that the generator's own cryptography does
//! not compete with the node for the processor.
//!
//! Links are those of the node: encrypted, or plain for a 0.11 node. The sink is in no topology, so a
//! node of ours must be an open relay for the time of the measurement, and prove its key to nobody
//! it knows: `open_relay_for_tests` in its `[links]`.
//!
//! It is not a client: there are no fragments, acknowledgements or cover packets, and the delay of
//! the node is drawn here.
//!
//! The main types: [`Load`] says what to send where, [`run`] does it, [`Report`] is what came out.

pub mod cli;
pub mod crowd;
mod node_pages;
mod packets;
mod process_status;
mod report;
mod sender;
mod sink;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use nym_packet::frame::PacketMode;
use nym_packet::geometry::PacketSize;
use nym_packet::keys::{IdentityKeyPair, IdentityPublicKey, PublicKey};
use nym_transport::tls::{LinkRefusal, TlsIdentity};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use crate::node_pages::PagesError;
pub use crate::process_status::{ProcessError, processor_time, resident_bytes};
pub use crate::report::{Latency, Memory, Report};

use crate::node_pages::Work;
use crate::packets::Packets;
use crate::report::NodeUse;
use crate::sender::Pace;

/// How long the packets wait that only fill the node's delay queue: longer than a run takes, and
/// less than the hour that nodes permit.
pub const WAIT: Duration = Duration::from_secs(50 * 60);

/// What to send where.
#[derive(Clone, Debug)]
pub struct Load {
    /// Where the node listens for packets.
    pub node: SocketAddr,
    /// The key that opens the node's layer.
    pub sphinx_key: PublicKey,
    /// Who the node is; `None` for plain links.
    pub identity_key: Option<IdentityPublicKey>,
    /// Where the node reaches the sink; port 0 takes a free one.
    pub sink: SocketAddr,
    /// Connections to the node.
    pub connections: NonZeroU32,
    /// Packets to send in all.
    pub packets: NonZeroU32,
    /// Packets per second over all connections; as fast as the node takes them if not given.
    pub rate: Option<NonZeroU32>,
    /// Mean of the exponential delay at the node; zero asks for none.
    pub mean_delay: Duration,
    /// Packets that are sent first and wait at the node all the time, for [`WAIT`].
    pub waiting: u32,
    /// Size of the packets.
    pub size: PacketSize,
    /// Mode of the frames.
    pub mode: PacketMode,
    /// The node's process, whose use of the processor is measured.
    pub pid: Option<u32>,
    /// Where the node's pages are, if it is one of ours: they tell how much of its time is Sphinx.
    pub pages: Option<SocketAddr>,
    /// How long nothing may arrive, beyond the longest delay drawn, before the rest counts as lost.
    pub patience: Duration,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The sink's address cannot be bound.
    #[error("cannot bind the sink to {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system answered.
        source: std::io::Error,
    },
    /// The node cannot be reached.
    #[error("cannot connect to the node at {address}: {source}")]
    Connect {
        /// The address.
        address: SocketAddr,
        /// What the system answered.
        source: std::io::Error,
    },
    /// There is no encrypted link with the node.
    #[error("no link with the node at {address}: {refusal}")]
    Link {
        /// The address.
        address: SocketAddr,
        /// Why.
        refusal: LinkRefusal,
    },
    /// The node's pages tell nothing.
    #[error(transparent)]
    Pages(#[from] PagesError),
    /// The node's process cannot be observed.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The node closed a connection before it had taken the packets that are to wait.
    #[error("the node does not take the packets that are to wait: {source}")]
    Waiting {
        /// What the system answered.
        source: std::io::Error,
    },
}

/// Builds the packets, sends them, and reports what came out of the node.
///
/// A node that closes connections or swallows packets is not an error: the report says how many
/// were lost.
///
/// # Errors
/// [`LoadError`] when the measurement cannot even begin.
pub async fn run(load: &Load) -> Result<Report, LoadError> {
    let listener = TcpListener::bind(load.sink)
        .await
        .map_err(|source| LoadError::Bind {
            address: load.sink,
            source,
        })?;
    let sink_address = listener.local_addr().map_err(|source| LoadError::Bind {
        address: load.sink,
        source,
    })?;
    let own = TlsIdentity::new(&IdentityKeyPair::generate(&mut nym_daemon::entropy()));
    let mut connections = sender::connect(load, &own).await?;
    let resident = || load.pid.map(resident_bytes).transpose();
    let resident_before = resident()?;
    sender::send_waiting(load, sink_address, &mut connections).await?;
    // Takes a while, in which the node can do what it has read.
    let packets = Packets::build(load, sink_address);
    let memory = resident_before
        .zip(resident()?)
        .map(|(before, with_waiting)| Memory {
            waiting: load.waiting,
            before,
            with_waiting,
        });

    let expected = u64::from(load.packets.get());
    let silence = load.patience + packets.longest_delay();
    let mut sink = JoinSet::new();
    sink.spawn(sink::receive(listener, own, expected, silence));

    let work_before = match load.pages {
        Some(pages) => Some((pages, Work::read(pages).await?)),
        None => None,
    };
    let used_before = load.pid.map(processor_time).transpose()?;
    let start = Instant::now();
    let stop = CancellationToken::new();
    let pace = load
        .rate
        .map_or(Pace::FlatOut, |rate| Pace::PerSecond(rate.get()));
    let pace = pace.share(load.connections);
    let mut senders = JoinSet::new();
    for (connection, share) in connections
        .into_iter()
        .zip(packets.shares(load.connections))
    {
        senders.spawn(sender::send(connection, share, pace, start, stop.clone()));
    }
    let arrivals = sink
        .join_next()
        .await
        .and_then(Result::ok)
        .expect("the sink is spawned above, and neither cancelled nor panicking");
    stop.cancel();
    let sent: Vec<_> = senders.join_all().await.into_iter().flatten().collect();
    let used_after = load.pid.map(processor_time).transpose()?;
    let used = used_before
        .zip(used_after)
        .map(|(before, after)| after.saturating_sub(before));
    let work = match work_before {
        Some((pages, before)) => Some(before.done_since(pages, arrivals.count).await?),
        None => None,
    };
    let node = NodeUse {
        memory,
        processor_time: used,
        work,
    };
    Ok(Report::new(&packets, &sent, &arrivals, &node))
}
