//! A mix node: takes packets, peels one layer off each, keeps it for as long as its header says,
//! and sends it to the next hop.
//!
//! It is the least trusted program of the network: it knows where a packet came from and where it
//! goes next, and must not tell anybody. What it does with packets is `nym-node`'s; this crate adds
//! what only a mix node has: its files, its command line, and what it says about itself.
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
//! What holds for every node is in [`nym_node::node`].

pub mod cli;
pub mod config;
mod description;
mod init;

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use nym_node::counters::Counters;
use nym_node::links::Links;
use nym_node::node::{CLOSE_PATIENCE, Node, NodePlaces, Tasks, Work};
use nym_node::pipeline::Role;
use nym_packet::keys::{IdentityPublicKey, PublicKey, public_key_to_base58};
use nym_protocol::PROTOCOL_VERSION;
use nym_protocol::validator::MixNode;
use nym_protocol::validator::announcement::AnnouncedNode;
use nym_transport::peers::Peers;
use tokio_util::sync::CancellationToken;

pub use nym_node::node::NodeError;

pub use crate::config::Config;
pub use crate::init::{InitError, Initialised, init};

/// What the first page says.
const WELCOME: &str = "This is nym-mixnode, a relay of a mixnet.\n\n\
    /description says who runs it, /stats counts packets, /health tells whether it is announced.\n\
    /ready and /metrics are for its operator.\n";

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
    config: Config,
    node: Node,
}

/// Binds a node and runs it until `shutdown` is cancelled.
///
/// # Errors
/// [`NodeError`].
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), NodeError> {
    Mixnode::bind(config).await?.run(shutdown).await
}

impl Mixnode {
    /// Reads the keys, making them if there are none, and the replay journal, and binds the ports.
    ///
    /// # Errors
    /// Those of [`Node::bind`].
    pub async fn bind(config: Config) -> Result<Self, NodeError> {
        let places = NodePlaces {
            keys: &config.keys,
            link_config: config.link_config,
            links: config.links,
            mix: SocketAddr::new(config.listening_ip, config.mix_port),
            pages: Some(SocketAddr::new(config.listening_ip, config.http_api_port)),
            replay: config.replay,
            validators: &config.validators,
        };
        let node = Node::bind(places).await?;
        Ok(Self { config, node })
    }

    /// A handle to the rules by which the node makes links, which may change while it runs.
    #[must_use]
    pub fn links(&self) -> Links {
        self.node.links().clone()
    }

    /// Where the node listens.
    ///
    /// # Panics
    /// Never: a mix node has pages.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        Addresses {
            mix: self.node.mix_address(),
            http: self.node.pages_address().expect("a mix node has pages"),
        }
    }

    /// Who the node is.
    #[must_use]
    pub fn identity(&self) -> IdentityPublicKey {
        self.node.identity()
    }

    /// Who else is a node, as far as this one knows. It finds out by itself; who starts a whole
    /// network at once can tell it sooner.
    #[must_use]
    pub fn peers(&self) -> Peers {
        self.node.links().peers()
    }

    /// The key that packets to this node are built with.
    #[must_use]
    pub fn sphinx_key(&self) -> PublicKey {
        self.node.sphinx_key()
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
    /// [`NodeError::AddressTaken`] when a validator knows another node in this place;
    /// [`NodeError::Http`] and [`NodeError::Pipeline`] when a part of the node failed.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), NodeError> {
        let announced_as = AnnouncedNode::MixNode(self.announced_as());
        let Self { config, node } = self;
        let connections = node.links().connections(config.connections);
        let work = Work {
            announced_as,
            connections: connections.clone(),
            counters: Counters::start(),
            description: config.description,
            max_delay: config.max_delay,
            metrics: Vec::new(),
            // Anybody may read this page, so it tells no more than what happened in half a minute.
            metrics_refresh: config.stats_update_every,
            pages: Router::new(),
            queue_limits: config.queue,
            role: Role::mix_node(),
            stats_log_every: config.stats_log_every,
            stats_update_every: config.stats_update_every,
            welcome: WELCOME,
            workers: config.workers,
        };
        let mut tasks = Tasks::until(shutdown, Duration::ZERO);
        node.start(work, &mut tasks);
        let outcome = tasks.ended().await;
        connections.close(CLOSE_PATIENCE).await;
        outcome
    }
}

#[cfg(test)]
mod tests;
