//! What a mix node can be told: [`Config`], and the file it is read from.

pub mod file;
mod render;

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use nym_node::config::{STATS_LOG_EVERY_DEFAULT, STATS_UPDATE_EVERY_DEFAULT, processors};
use nym_node::delay_queue::QueueLimits;
use nym_node::http::Description;
use nym_node::keys::KeyPaths;
use nym_node::links::LinkConfig;
use nym_node::processor::MAX_DELAY;
use nym_node::replay::ReplayLimits;
use nym_protocol::validator::ValidatorUrl;
use nym_transport::connections::ConnectionsConfig;
use nym_transport::directory::Validators;
use nym_transport::listener::ListenerLimits;

pub use self::file::{FileConfig, Overrides};

/// Where round-trip times are measured unless told otherwise.
pub const VERLOC_PORT_DEFAULT: u16 = 1790;

/// Where the node's pages are unless told otherwise.
pub const HTTP_API_PORT_DEFAULT: u16 = 8000;

/// The contract that validators are asked about when none is named. Ours answer for any.
pub const MIXNET_CONTRACT_DEFAULT: &str = "nym-mixnet";

/// Everything a mix node needs to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The host that others reach this node by.
    pub announce_host: String,
    /// Bounds and times of outgoing connections.
    pub connections: ConnectionsConfig,
    /// What the operator says about the node.
    pub description: Description,
    /// Port of the node's pages; 0 takes a free one.
    pub http_api_port: u16,
    /// Name of the node on this machine.
    pub id: String,
    /// Where the keys are.
    pub keys: KeyPaths,
    /// With whom the node has links, and whether they may be plain.
    pub link_config: LinkConfig,
    /// Incoming links at a time.
    pub links: usize,
    /// Where to listen.
    pub listening_ip: IpAddr,
    /// Packets that ask to wait for longer are dropped.
    pub max_delay: Duration,
    /// Port for packets; 0 takes a free one.
    pub mix_port: u16,
    /// Bounds of the delay queue.
    pub queue: QueueLimits,
    /// How much the replay filter remembers.
    pub replay: ReplayLimits,
    /// How often the figures are logged.
    pub stats_log_every: Duration,
    /// How often the published figures change.
    pub stats_update_every: Duration,
    /// Whom to announce the node to; one at least.
    pub validators: Validators,
    /// Port of round-trip measurements, which is announced; nothing listens there yet.
    pub verloc_port: u16,
    /// Tasks that do cryptography at a time.
    pub workers: NonZeroUsize,
}

impl Config {
    /// A node for tests and private networks: on 127.0.0.1 at free ports, keys in `data`,
    /// a directory that must exist.
    #[must_use]
    pub fn on_loopback(id: &str, data: &Path, validators: Vec<ValidatorUrl>) -> Self {
        Self {
            announce_host: Ipv4Addr::LOCALHOST.to_string(),
            connections: ConnectionsConfig::default(),
            description: Description::default(),
            http_api_port: 0,
            id: id.to_owned(),
            keys: KeyPaths::in_directory(data),
            link_config: LinkConfig::default(),
            links: ListenerLimits::default().connections,
            listening_ip: Ipv4Addr::LOCALHOST.into(),
            max_delay: MAX_DELAY,
            mix_port: 0,
            queue: QueueLimits::default(),
            replay: ReplayLimits::default(),
            stats_log_every: STATS_LOG_EVERY_DEFAULT,
            stats_update_every: STATS_UPDATE_EVERY_DEFAULT,
            validators: validators.into(),
            verloc_port: 0,
            workers: processors(),
        }
    }
}
