//! What a gateway can be told: [`Config`], and the file it is read from.

pub mod file;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nym_node::config::{STATS_LOG_EVERY_DEFAULT, STATS_UPDATE_EVERY_DEFAULT, processors};
use nym_node::keys::KeyPaths;
use nym_node::links::LinkConfig;
use nym_node::replay::ReplayLimits;
use nym_protocol::validator::ValidatorUrl;
use nym_transport::connections::ConnectionsConfig;
use nym_transport::directory::Validators;
use nym_transport::listener::ListenerLimits;

use crate::control::Reloadable;
use crate::limits::ClientLimits;
use crate::store::Quotas;

pub use self::file::{FileConfig, Overrides};

/// Where clients are taken unless told otherwise.
pub const CLIENTS_PORT_DEFAULT: u16 = 9000;

/// Where the operator's pages are unless told otherwise: on this machine only, because they show
/// what happens at the moment it happens.
pub const HTTP_ADDRESS_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8001);

/// What is announced about the location when nothing is said.
pub const LOCATION_DEFAULT: &str = "unknown";

/// Connections of clients at a time. An idle one was measured to take 24 kB, so 12,000 take
/// 288 MB. Each is a file descriptor as well: raise the limit of the process (`ulimit -n`).
pub const CLIENT_CONNECTIONS_DEFAULT: usize = 12_000;

/// Bytes of memory for messages that wait for their clients' answers: 31,000 regular messages. Each
/// waits for a round trip, so at 20,000 messages a second and 100 ms there are 2,000 of them, or
/// 4 MB. Without it, 12,000 clients that do not answer would take 2 GB.
pub const HELD_MEMORY_MAX_DEFAULT: usize = 64 << 20;

/// Messages in a commit at most. A commit of 256 regular messages writes 420 kB, a few
/// milliseconds on any disk.
pub const MESSAGES_PER_COMMIT_DEFAULT: NonZeroUsize = NonZeroUsize::MIN.saturating_add(255);

/// Everything that a gateway needs to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The host that others reach this gateway by: an IP address or DNS name without a port.
    pub announce_host: String,
    /// Connections of clients at a time; more wait.
    pub client_connections: usize,
    /// Bounds of each client's connection.
    pub client_limits: ClientLimits,
    /// Port for clients; 0 takes a free one.
    pub clients_port: u16,
    /// Bounds and times of outgoing connections.
    pub connections: ConnectionsConfig,
    /// The file of the database.
    pub database: PathBuf,
    /// How long the gateway still takes connections after it has said that it stops.
    pub drain_delay: Duration,
    /// Bytes of memory for messages that wait for their clients' answers, of all clients together.
    /// Further messages go to the disk at once.
    pub held_memory_max: usize,
    /// Where the operator's pages are, if anywhere; port 0 takes a free one.
    pub http_address: Option<SocketAddr>,
    /// Name of the gateway on this machine.
    pub id: String,
    /// Where the keys are.
    pub keys: KeyPaths,
    /// With whom the gateway has links, and whether they may be plain.
    pub link_config: LinkConfig,
    /// Incoming links at a time.
    pub links: usize,
    /// Where to listen, for packets and clients.
    pub listening_ip: IpAddr,
    /// Where the gateway stands, in the operator's words.
    pub location: String,
    /// Messages, and other changes, that one commit to the database holds at most. What waits is
    /// committed together; nothing waits for more to come.
    pub messages_per_commit: NonZeroUsize,
    /// Port for packets; 0 takes a free one.
    pub mix_port: u16,
    /// How much the gateway keeps for clients.
    pub quotas: Quotas,
    /// How much the replay filter remembers.
    pub replay: ReplayLimits,
    /// How often the figures are logged.
    pub stats_log_every: Duration,
    /// How often the published figures change.
    pub stats_update_every: Duration,
    /// Whom to announce the gateway to; nobody, if there is none.
    pub validators: Validators,
    /// PEM files of a certificate with its chain and of its private key, for browsers.
    pub web_certificate: Option<(PathBuf, PathBuf)>,
    /// Tasks that do cryptography at a time.
    pub workers: NonZeroUsize,
}

impl Config {
    /// The same with something else that can change while the gateway runs.
    #[must_use]
    pub fn with(self, reloadable: Reloadable) -> Self {
        let Reloadable {
            client_limits,
            held_memory_max,
            link_config,
            quotas,
        } = reloadable;
        Self {
            client_limits,
            held_memory_max,
            link_config: self.link_config.with_policy_of(link_config),
            quotas,
            ..self
        }
    }

    /// What can change while the gateway runs.
    #[must_use]
    pub const fn reloadable(&self) -> Reloadable {
        Reloadable {
            client_limits: self.client_limits,
            held_memory_max: self.held_memory_max,
            link_config: self.link_config,
            quotas: self.quotas,
        }
    }

    /// A gateway for tests and private networks: on 127.0.0.1 at free ports, keys and database
    /// in `data`, a directory that must exist.
    #[must_use]
    pub fn on_loopback(id: &str, data: &Path, validators: Vec<ValidatorUrl>) -> Self {
        Self {
            announce_host: Ipv4Addr::LOCALHOST.to_string(),
            client_connections: CLIENT_CONNECTIONS_DEFAULT,
            client_limits: ClientLimits::default(),
            clients_port: 0,
            connections: ConnectionsConfig::default(),
            database: data.join(file::DATABASE),
            drain_delay: Duration::ZERO,
            held_memory_max: HELD_MEMORY_MAX_DEFAULT,
            http_address: Some(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0)),
            id: id.to_owned(),
            keys: KeyPaths::in_directory(data),
            link_config: LinkConfig::default(),
            links: ListenerLimits::default().connections,
            listening_ip: Ipv4Addr::LOCALHOST.into(),
            location: LOCATION_DEFAULT.to_owned(),
            messages_per_commit: MESSAGES_PER_COMMIT_DEFAULT,
            mix_port: 0,
            quotas: Quotas::default(),
            replay: ReplayLimits::default(),
            stats_log_every: STATS_LOG_EVERY_DEFAULT,
            stats_update_every: STATS_UPDATE_EVERY_DEFAULT,
            validators: validators.into(),
            web_certificate: None,
            workers: processors(),
        }
    }
}
