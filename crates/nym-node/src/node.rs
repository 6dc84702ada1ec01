//! What a mix node and a gateway have in common, from binding their ports to closing them.
//!
//! [`Node::bind`] takes the ports and reads the files, [`Node::start`] begins the work, and
//! [`Tasks::ended`] waits until it is over. Either kind of node adds its own between these.
//!
//! # Invariants
//!
//! * A node starts, and works, without a validator: it warns, and announces itself later.
//! * It never takes the place of another: if a validator knows another identity at the same host
//!   and port, it stops.

mod tasks;

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use nym_daemon::clock::Clock;
use nym_daemon::entropy;
use nym_daemon::exit::{ExitCode, Failure};
use nym_daemon::http::{HttpLimits, HttpServer};
use nym_daemon::keys::KeyFileError;
use nym_daemon::metrics::{Component, Metrics};
use nym_packet::keys::{IdentityKeyPair, IdentityPublicKey, PrivateKey, PublicKey};
use nym_protocol::validator::announcement::AnnouncedNode;
use nym_transport::connections::Connections;
use nym_transport::directory::{Directory, DirectoryError, DirectoryLimits, Validators};
use nym_transport::frames::ReadTimeouts;
use nym_transport::listener::{Listener, ListenerLimits};
use tokio_util::sync::CancellationToken;

use crate::announce::{Announced, Announcer};
use crate::counters::Counters;
use crate::delay_queue::QueueLimits;
use crate::http::{Description, router};
use crate::keys::{KeyPaths, NodeKeys};
use crate::links::{LinkConfig, Links};
use crate::metrics::NodeMetrics;
use crate::pipeline::{self, Deliver, Parts, PipelineError, Role};
use crate::processor::Processor;
use crate::replay::ReplayLimits;
use crate::replay_journal::{ReplayJournalError, ReplayMemory};

pub use self::tasks::Tasks;

/// How long packets that are on their way out may take when a node stops.
pub const CLOSE_PATIENCE: Duration = Duration::from_millis(500);

/// Why a node did not start, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// A validator knows another node at this host and port.
    #[error("the validator knows another node at {address}, with identity {identity}")]
    AddressTaken {
        /// What this node announces.
        address: String,
        /// The other node.
        identity: String,
    },
    /// A port could not be bound.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// What the system answered.
        source: io::Error,
    },
    /// The conversation with the validators could not be set up.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The HTTP server failed.
    #[error("the HTTP server failed: {0}")]
    Http(#[source] io::Error),
    /// A key file is missing or wrong.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    /// Packet processing ended by a defect.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// The replay journal cannot be used.
    #[error(transparent)]
    ReplayJournal(#[from] ReplayJournalError),
}

impl NodeError {
    /// What to show to the person who started the node; `flags` choose where it listens.
    #[must_use]
    pub fn explain(&self, flags: &str) -> Failure {
        let failure = Failure::from_error(self);
        match self {
            Self::AddressTaken { .. } => failure.advice(
                "announce another host or port, or wait until the validator has forgotten the other",
            ),
            Self::Bind { .. } => failure.advice(format!("choose others with {flags}")),
            Self::Directory(error) => failure.advise(error.advice()).with_code(ExitCode::Usage),
            Self::Keys(error) => failure.advise(error.advice()),
            Self::ReplayJournal(error) => failure.advice(error.advice()),
            _ => failure,
        }
    }
}

/// What a node has to know before it binds its ports.
#[derive(Clone, Copy, Debug)]
pub struct NodePlaces<'a> {
    /// Where the keys are; the replay journal is beside them.
    pub keys: &'a KeyPaths,
    /// With whom the node has links, and whether they may be plain.
    pub link_config: LinkConfig,
    /// Incoming links at a time.
    pub links: usize,
    /// Where packets are taken; port 0 takes a free one.
    pub mix: SocketAddr,
    /// Where the node's pages are, if anywhere; port 0 takes a free one.
    pub pages: Option<SocketAddr>,
    /// How much the replay filter remembers.
    pub replay: ReplayLimits,
    /// Whom to announce the node to; nobody, if there is none.
    pub validators: &'a Validators,
}

/// A node whose ports are bound and which has not begun to work.
pub struct Node {
    clock: Clock,
    directory: Option<Directory>,
    identity: Arc<IdentityKeyPair>,
    links: Links,
    listener: Listener,
    pages: Option<HttpServer>,
    replay: ReplayMemory,
    sphinx: PrivateKey,
}

impl Node {
    /// Reads the keys, making them if there are none, and the replay journal, and binds the ports.
    ///
    /// # Errors
    /// [`NodeError::Keys`], [`NodeError::Bind`], [`NodeError::Directory`] or
    /// [`NodeError::ReplayJournal`].
    pub async fn bind(places: NodePlaces<'_>) -> Result<Self, NodeError> {
        let keys = NodeKeys::load_or_create(places.keys, &mut entropy())?;
        let directory = if places.validators.urls.is_empty() {
            None
        } else {
            let validators = places.validators.clone();
            Some(Directory::new(validators, DirectoryLimits::default())?)
        };
        let listener = listen(places.mix, places.links).await?;
        let pages = match places.pages {
            Some(address) => Some(
                HttpServer::bind(address, HttpLimits::default())
                    .await
                    .map_err(|source| NodeError::Bind { address, source })?,
            ),
            None => None,
        };
        let clock = Clock::start();
        let replay = ReplayMemory::open(
            &places.keys.replay_journal(),
            &keys.sphinx.public_key(),
            places.replay,
            clock.now(),
            &mut entropy(),
        )?;
        Ok(Self {
            clock,
            directory,
            links: Links::new(&keys.identity, places.link_config),
            identity: Arc::new(keys.identity),
            listener,
            pages,
            replay,
            sphinx: keys.sphinx,
        })
    }

    /// Where packets are taken.
    #[must_use]
    pub const fn mix_address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// Where the node's pages are.
    #[must_use]
    pub fn pages_address(&self) -> Option<SocketAddr> {
        self.pages.as_ref().map(HttpServer::address)
    }

    /// The clock of all that the node does.
    #[must_use]
    pub const fn clock(&self) -> Clock {
        self.clock
    }

    /// The key that names the node.
    #[must_use]
    pub const fn identity_key_pair(&self) -> &Arc<IdentityKeyPair> {
        &self.identity
    }

    /// Who the node is.
    #[must_use]
    pub fn identity(&self) -> IdentityPublicKey {
        self.identity.public_key()
    }

    /// The key that packets to this node are built with.
    #[must_use]
    pub fn sphinx_key(&self) -> PublicKey {
        self.sphinx.public_key()
    }

    /// The rules by which the node makes links, and whom it knows.
    #[must_use]
    pub const fn links(&self) -> &Links {
        &self.links
    }

    /// Begins to take packets, to announce the node and to serve its pages, in `tasks`.
    pub fn start<D, E>(self, work: Work<D>, tasks: &mut Tasks<E>)
    where
        D: Deliver,
        E: From<NodeError> + Send + 'static,
    {
        let Work {
            announced_as,
            connections,
            counters,
            ..
        } = work;
        let announced = match self.directory {
            Some(directory) => {
                let neighbours = self.links.neighbours(directory.clone());
                tasks.spawn_endless(|stop| neighbours.run(entropy(), stop));
                let identity = Arc::clone(&self.identity);
                let announcer = Announcer::new(directory.clone(), announced_as.clone(), identity);
                let announced = announcer.announced();
                tasks.spawn(|stop| announce(announcer, directory, announced_as, stop));
                announced
            }
            None => Announced::default(),
        };
        if let Some(server) = self.pages {
            let mut components = work.metrics;
            components.push(Box::new(NodeMetrics {
                counters: counters.clone(),
                connections: connections.clone(),
                announced: announced.clone(),
            }));
            components.push(Box::new(self.links.clone()));
            let metrics = Metrics::refreshed_every(work.metrics_refresh, components);
            let pages = router(counters.clone(), work.description, announced).merge(work.pages);
            tasks.spawn_pages(server, pages, work.welcome, metrics);
        }
        let parts = Parts {
            acceptor: self.links.node_acceptor(),
            clock: self.clock,
            connections,
            counters: counters.clone(),
            processor: Processor::new(self.sphinx, work.max_delay),
            queue_limits: work.queue_limits,
            read_timeouts: ReadTimeouts::default(),
            replay: self.replay,
            role: work.role,
            workers: work.workers,
        };
        let listener = self.listener;
        tasks.spawn(|stop| async {
            let ended = pipeline::run(parts, listener, stop).await;
            ended.map_err(|error| NodeError::from(error).into())
        });
        let (update_every, log_every) = (work.stats_update_every, work.stats_log_every);
        tasks.spawn_endless(|stop| counters.run(update_every, log_every, stop));
    }
}

/// What a node does, beside what all do.
pub struct Work<D> {
    /// What the node tells the validators.
    pub announced_as: AnnouncedNode,
    /// Where packets leave. Who made them closes them, after all tasks have ended.
    pub connections: Connections,
    /// Where everything is counted.
    pub counters: Counters,
    /// What the operator says about the node.
    pub description: Description,
    /// Packets that ask to wait for longer are dropped.
    pub max_delay: Duration,
    /// What else is on the page of metrics.
    pub metrics: Vec<Box<dyn Component>>,
    /// For so long that page shows the same numbers.
    pub metrics_refresh: Duration,
    /// What other pages there are.
    pub pages: Router,
    /// Bounds of the delay queue.
    pub queue_limits: QueueLimits,
    /// What is done with opened packets.
    pub role: Role<D>,
    /// How often the figures are logged.
    pub stats_log_every: Duration,
    /// How often the published figures change.
    pub stats_update_every: Duration,
    /// What the first page says.
    pub welcome: &'static str,
    /// Tasks that do cryptography at a time.
    pub workers: NonZeroUsize,
}

/// Binds a port for so many connections at a time.
///
/// # Errors
/// [`NodeError::Bind`].
pub async fn listen(address: SocketAddr, connections: usize) -> Result<Listener, NodeError> {
    let limits = ListenerLimits {
        connections,
        ..ListenerLimits::default()
    };
    Listener::bind(address, limits)
        .await
        .map_err(|source| NodeError::Bind { address, source })
}

/// Announces a node until `stop` is cancelled, unless another one has its place.
async fn announce<E: From<NodeError>>(
    announcer: Announcer,
    directory: Directory,
    own: AnnouncedNode,
    stop: CancellationToken,
) -> Result<(), E> {
    let check = check_place(&directory, &own);
    if let Some(checked) = stop.run_until_cancelled(check).await {
        checked?;
        announcer.run(entropy(), stop).await;
    }
    Ok(())
}

/// Asks a validator whether another node has this one's host and port. A node with the same host
/// and another port is a neighbour. When no validator answers, the node goes on.
async fn check_place(directory: &Directory, own: &AnnouncedNode) -> Result<(), NodeError> {
    let rng = &mut entropy();
    let listed: Result<Vec<_>, _> = match own {
        AnnouncedNode::Gateway(_) => directory.gateways(rng).await.map(|list| {
            let gateways = list.bonds.into_iter().map(|bond| bond.gateway);
            gateways.map(AnnouncedNode::Gateway).collect()
        }),
        AnnouncedNode::MixNode(_) => directory.mixnodes(rng).await.map(|list| {
            let mix_nodes = list.bonds.into_iter().map(|bond| bond.mix_node);
            mix_nodes.map(AnnouncedNode::MixNode).collect()
        }),
    };
    match listed {
        Ok(nodes) => match rival(&nodes, own) {
            None => Ok(()),
            Some(rival) => Err(NodeError::AddressTaken {
                address: rival.mix_address().to_string(),
                identity: rival.identity_key().to_owned(),
            }),
        },
        Err(error) => {
            tracing::warn!(%error, "cannot check whether another node has this address");
            Ok(())
        }
    }
}

/// The node in our place that is not us.
fn rival<'a>(listed: &'a [AnnouncedNode], own: &AnnouncedNode) -> Option<&'a AnnouncedNode> {
    listed.iter().find(|other| {
        other.mix_address() == own.mix_address() && other.identity_key() != own.identity_key()
    })
}

#[cfg(test)]
mod tests {
    use nym_protocol::PROTOCOL_VERSION;
    use nym_protocol::validator::Gateway;

    use super::*;

    fn gateway(host: &str, mix_port: u16, identity_key: &str) -> AnnouncedNode {
        AnnouncedNode::Gateway(Gateway {
            host: host.to_owned(),
            mix_port,
            clients_port: 0,
            location: String::new(),
            sphinx_key: String::new(),
            identity_key: identity_key.to_owned(),
            version: PROTOCOL_VERSION.to_owned(),
            tls: None,
        })
    }

    #[test]
    fn only_another_identity_at_the_same_host_and_port_is_a_rival() {
        let own = gateway("127.0.0.1", 1789, "us");
        let others = [
            gateway("127.0.0.1", 1789, "us"),
            gateway("127.0.0.1", 1790, "them"),
            gateway("127.0.0.2", 1789, "them"),
        ];
        assert_eq!(rival(&others, &own), None);
        let same_place = [gateway("127.0.0.1", 1789, "them")];
        assert_eq!(rival(&same_place, &own), same_place.first());
    }
}
