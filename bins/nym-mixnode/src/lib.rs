//! A mix node: takes packets, peels one layer off each, keeps it for as long as its header says,
//! and sends it to the next hop.
//!
//! It is the least trusted program of the network: it knows where a packet came from and where it
//! goes next, and must not tell anybody. What it does with packets is `nym-node`'s; this crate adds
//! what only a mix node has: its files, its command line, and the start.
//!
//! * [`Config`] is everything a node can be told; [`config::FileConfig`] is what its file says.
//! * [`Mixnode`] is a node whose ports are bound; [`run`] binds and runs in one step.
//! * [`cli`] is the program.
//!
//! ```
//! use nym_mixnode::{Config, Mixnode};
//! use tokio_util::sync::CancellationToken;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = std::env::temp_dir().join(format!("nym-mixnode-doc-{}", std::process::id()));
//! # std::fs::create_dir_all(&directory)?;
//! # let data = directory.as_path();
//! let validators = vec!["http://127.0.0.1:1317".parse()?];
//! let node = Mixnode::bind(Config::on_loopback("one", data, validators)).await?;
//! assert_ne!(node.addresses().mix.port(), 0);
//! let shutdown = CancellationToken::new();
//! shutdown.cancel();
//! node.run(shutdown).await?;
//! # std::fs::remove_dir_all(&directory)?;
//! # Ok(())
//! # }
//! ```
//!
//! # Invariants
//!
//! * A node starts, and mixes, without a validator: it warns, and announces itself later.
//! * It never takes the place of another: if a validator knows another identity at the same host
//!   and port, it stops.

pub mod cli;
pub mod config;
mod description;
mod init;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use nym_daemon::clock::Clock;
use nym_daemon::entropy;
use nym_daemon::http::{HttpLimits, HttpServer};
use nym_daemon::keys::KeyFileError;
use nym_daemon::metrics::Metrics;
use nym_daemon::pages::{self, Readiness};
use nym_node::announce::Announcer;
use nym_node::counters::Counters;
use nym_node::http::router;
use nym_node::keys::NodeKeys;
use nym_node::links::Links;
use nym_node::metrics::NodeMetrics;
use nym_node::pipeline::{self, Parts, PipelineError, Role};
use nym_node::processor::Processor;
use nym_node::replay_journal::{ReplayJournalError, ReplayMemory};
use nym_packet::keys::{IdentityPublicKey, PublicKey, public_key_to_base58};
use nym_protocol::PROTOCOL_VERSION;
use nym_protocol::validator::announcement::AnnouncedNode;
use nym_protocol::validator::{MixNode, MixNodeBond};
use nym_transport::directory::{Directory, DirectoryError, DirectoryLimits};
use nym_transport::frames::ReadTimeouts;
use nym_transport::listener::{Listener, ListenerLimits};
use nym_transport::peers::Peers;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use crate::config::Config;
pub use crate::init::{InitError, InitOptions, Initialised, init};

/// What the first page says.
const WELCOME: &str = "This is nym-mixnode, a relay of a mixnet.\n\n\
    /description says who runs it, /stats counts packets, /health tells whether it is announced.\n\
    /ready and /metrics are for its operator.\n";

/// How long packets that are already on their way out may take when the node stops.
const CLOSE_PATIENCE: Duration = Duration::from_millis(500);

/// Why a mix node did not start, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MixnodeError {
    /// A validator knows another node at this host and port.
    #[error("the validator knows another node at {host}:{mix_port}, with identity {identity}")]
    AddressTaken {
        /// The host that this node announces.
        host: String,
        /// The port that this node announces.
        mix_port: u16,
        /// The other node.
        identity: String,
    },
    /// A port could not be bound.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// What the system answered.
        source: std::io::Error,
    },
    /// The conversation with the validators could not be set up.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The HTTP server failed.
    #[error("the HTTP server failed: {0}")]
    Http(#[source] std::io::Error),
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

/// Where a node listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// For packets.
    pub mix: SocketAddr,
    /// For its pages.
    pub http: SocketAddr,
}

/// A mix node whose ports are bound and which has not begun to work.
pub struct Mixnode {
    clock: Clock,
    config: Config,
    directory: Directory,
    http: HttpServer,
    keys: NodeKeys,
    links: Links,
    listener: Listener,
    replay: ReplayMemory,
}

/// Binds a node and runs it until `shutdown` is cancelled.
///
/// # Errors
/// [`MixnodeError`].
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), MixnodeError> {
    Mixnode::bind(config).await?.run(shutdown).await
}

impl Mixnode {
    /// Reads the keys, making them if there are none, and the replay journal, and binds the ports.
    ///
    /// # Errors
    /// [`MixnodeError::Keys`], [`MixnodeError::Bind`], [`MixnodeError::Directory`] or
    /// [`MixnodeError::ReplayJournal`].
    pub async fn bind(config: Config) -> Result<Self, MixnodeError> {
        let keys = NodeKeys::load_or_create(&config.keys, &mut entropy())?;
        let directory = Directory::new(config.validators.clone(), DirectoryLimits::default())?;
        let failed = |address| move |source| MixnodeError::Bind { address, source };
        let mix = SocketAddr::new(config.listening_ip, config.mix_port);
        let limits = ListenerLimits {
            connections: config.links,
            ..ListenerLimits::default()
        };
        let listener = Listener::bind(mix, limits).await.map_err(failed(mix))?;
        let pages = SocketAddr::new(config.listening_ip, config.http_api_port);
        let http = HttpServer::bind(pages, HttpLimits::default())
            .await
            .map_err(failed(pages))?;
        let clock = Clock::start();
        let replay = ReplayMemory::open(
            &config.keys.replay_journal(),
            &keys.sphinx.public_key(),
            config.replay,
            clock.now(),
            &mut entropy(),
        )?;
        let links = Links::new(&keys.identity, config.link_config);
        Ok(Self {
            clock,
            config,
            directory,
            http,
            links,
            keys,
            listener,
            replay,
        })
    }

    /// A handle to the rules by which the node makes links, which may change while it runs.
    #[must_use]
    pub fn links(&self) -> Links {
        self.links.clone()
    }

    /// Where the node listens.
    #[must_use]
    pub const fn addresses(&self) -> Addresses {
        Addresses {
            mix: self.listener.address(),
            http: self.http.address(),
        }
    }

    /// Who the node is.
    #[must_use]
    pub fn identity(&self) -> IdentityPublicKey {
        self.keys.identity.public_key()
    }

    /// Who else is a node, as far as this one knows. It finds out by itself; who starts a whole
    /// network at once can tell it sooner.
    #[must_use]
    pub fn peers(&self) -> Peers {
        self.links.peers()
    }

    /// The key that packets to this node are built with.
    #[must_use]
    pub fn sphinx_key(&self) -> PublicKey {
        self.keys.sphinx.public_key()
    }

    /// What the node tells the validators: its host, and the ports that are bound.
    #[must_use]
    pub fn announced_as(&self) -> MixNode {
        let Addresses { mix, http } = self.addresses();
        MixNode {
            host: self.config.announce_host.clone(),
            mix_port: mix.port(),
            verloc_port: self.config.verloc_port,
            http_api_port: http.port(),
            sphinx_key: public_key_to_base58(&self.sphinx_key()),
            identity_key: self.identity().to_string(),
            version: PROTOCOL_VERSION.to_owned(),
            tls: self.config.link_config.tls_profile(),
        }
    }

    /// Mixes until `shutdown` is cancelled; what was received until then is still sent on if it is
    /// due soon.
    ///
    /// # Errors
    /// [`MixnodeError::AddressTaken`] when a validator knows another node in this place;
    /// [`MixnodeError::Http`] and [`MixnodeError::Pipeline`] when a part of the node failed.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), MixnodeError> {
        let own = self.announced_as();
        let Self {
            clock,
            config,
            directory,
            http,
            keys,
            links,
            listener,
            replay,
        } = self;
        let counters = Counters::start();
        let connections = links.connections(config.connections);
        let neighbours = links.neighbours(directory.clone());
        let announced = AnnouncedNode::MixNode(own.clone());
        let announcer = Announcer::new(directory.clone(), announced, Arc::new(keys.identity));
        let readiness = Readiness::default();
        let node = NodeMetrics {
            counters: counters.clone(),
            connections: connections.clone(),
            announced: announcer.announced(),
        };
        // Anybody may read these pages, so they tell no more than what happened in half a minute.
        let metrics = Metrics::refreshed_every(
            config.stats_update_every,
            vec![Box::new(node), Box::new(links.clone())],
        );
        let pages = router(counters.clone(), config.description, announcer.announced())
            .merge(pages::router(WELCOME, readiness.clone(), metrics));
        let parts = Parts {
            acceptor: links.node_acceptor(),
            clock,
            connections: connections.clone(),
            counters: counters.clone(),
            processor: Processor::new(keys.sphinx, config.max_delay),
            queue_limits: config.queue,
            read_timeouts: ReadTimeouts::default(),
            replay,
            role: Role::mix_node(),
            workers: config.workers,
        };

        // Whatever ends first, by the shutdown or by an error, ends the others; the pages are the
        // last, so that they tell of the stop until it is over.
        let (stop, close_pages) = (CancellationToken::new(), CancellationToken::new());
        let mut tasks = JoinSet::new();
        let drain = readiness
            .clone()
            .drain(shutdown, Duration::ZERO, stop.clone());
        tasks.spawn(async move {
            drain.await;
            Ok(())
        });
        let token = stop.clone();
        tasks.spawn(async move { Ok(pipeline::run(parts, listener, token).await?) });
        let token = close_pages.clone();
        tasks.spawn(async move { http.run(pages, token).await.map_err(MixnodeError::Http) });
        let token = stop.clone();
        let (update_every, log_every) = (config.stats_update_every, config.stats_log_every);
        tasks.spawn(async move {
            counters.run(update_every, log_every, token).await;
            Ok(())
        });
        let token = stop.clone();
        tasks.spawn(async move {
            neighbours.run(entropy(), token).await;
            Ok(())
        });
        let token = stop.clone();
        tasks.spawn(async move {
            let check = check_place(&directory, &own);
            if let Some(checked) = token.run_until_cancelled(check).await {
                checked?;
                announcer.run(entropy(), token).await;
            }
            Ok(())
        });

        readiness.set_ready();
        let mut outcome = Ok(());
        while let Some(ended) = tasks.join_next().await {
            stop.cancel();
            if tasks.len() == 1 {
                close_pages.cancel();
            }
            // A task that panicked has told so; the node does not go on without it.
            let ended = ended.unwrap_or(Err(MixnodeError::Pipeline(PipelineError)));
            outcome = outcome.and(ended);
        }
        connections.close(CLOSE_PATIENCE).await;
        outcome
    }
}

/// Asks a validator whether another node has this one's host and port. A node with the same host
/// and another port is a neighbour. When no validator answers, the node goes on.
async fn check_place(directory: &Directory, own: &MixNode) -> Result<(), MixnodeError> {
    match directory.mixnodes(&mut entropy()).await {
        Ok(list) => match rival(&list.bonds, own) {
            None => Ok(()),
            Some(rival) => Err(MixnodeError::AddressTaken {
                host: rival.host.clone(),
                mix_port: rival.mix_port,
                identity: rival.identity_key.clone(),
            }),
        },
        Err(error) => {
            tracing::warn!(%error, "cannot check whether another node has this address");
            Ok(())
        }
    }
}

/// The node in our place that is not us.
fn rival<'a>(bonds: &'a [MixNodeBond], own: &MixNode) -> Option<&'a MixNode> {
    bonds.iter().map(|bond| &bond.mix_node).find(|other| {
        (&other.host, other.mix_port) == (&own.host, own.mix_port)
            && other.identity_key != own.identity_key
    })
}

#[cfg(test)]
mod tests;
