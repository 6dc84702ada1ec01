//! What a client can be told: [`ClientConfig`], and the file it is read from.

mod check;
mod file;
mod overrides;
mod render;
mod token;

use std::time::Duration;

use nym_client_core::{EngineConfig, Journey};
use nym_packet::keys::IdentityPublicKey;
use nym_protocol::app::DialectChoice;
use nym_transport::directory::Validators;
use nym_transport::legacy::LegacyPeers;
use tokio::sync::mpsc;

pub use self::check::{parse_validators, validators};
pub use self::file::FileConfig;
pub use self::overrides::{ENVIRONMENT_PREFIX, Overrides, load_layered};
pub use self::render::render;
pub use self::token::AppToken;
use crate::keys::KeyFiles;
use crate::store::StoreConfig;

/// The port of the app socket when nothing else is said.
pub const APP_PORT_DEFAULT: u16 = 1977;

/// The validator that is asked when none is named: one on this machine. There is no public one.
pub const VALIDATOR_DEFAULT: &str = "http://127.0.0.1:1317";

/// The contract that validators are asked about when none is named. Ours answer for any.
pub const MIXNET_CONTRACT_DEFAULT: &str = "nym-mixnet";

/// The largest message that an app may send in one frame, in bytes: 32 MiB.
pub const MESSAGE_LEN_MAX_DEFAULT: usize = 32 << 20;

/// Bytes of messages that wait for an app: 64 MiB, two of the largest ones.
pub const UNDELIVERED_BYTES_MAX_DEFAULT: usize = 64 << 20;

/// How long a gateway may take to open a connection, in addition to the time of the login.
pub const GATEWAY_RESPONSE_TIMEOUT_DEFAULT: Duration = Duration::from_millis(1_500);

/// How often the topology is fetched.
pub const TOPOLOGY_REFRESH_RATE_DEFAULT: Duration = Duration::from_secs(300);

/// Everything a client needs to run.
#[derive(Debug)]
pub struct ClientConfig {
    /// Its name in logs.
    pub id: String,
    /// Where its keys are.
    pub key_files: KeyFiles,
    /// Where messages and keys survive the end of the process; `None` keeps all in memory.
    pub store: Option<StoreConfig>,
    /// The gateway that registered it.
    pub gateway: IdentityPublicKey,
    /// Where that gateway takes clients, `ws://host:port`. When nobody is there, the address in
    /// the topology is tried.
    pub gateway_listener: String,
    /// Who is asked for the topology; one at least.
    pub validators: Validators,
    /// The contract that they are asked about.
    pub mixnet_contract: String,
    /// The socket for apps; `None` for a client without one.
    pub apps: Option<AppsConfig>,
    /// The traffic pattern and the bounds of the engine.
    pub engine: EngineConfig,
    /// How long a gateway may take to open a connection.
    pub gateway_response_timeout: Duration,
    /// How often the topology is fetched.
    pub topology_refresh_rate: Duration,
    /// Whether the link to the gateway may be plain, and nodes without TLS may be used.
    pub legacy_peers: LegacyPeers,
    /// Gets the way of every packet that carries a message, for the person at the client. When
    /// nobody takes them out, they are dropped.
    pub journeys: Option<mpsc::Sender<Journey>>,
}

impl ClientConfig {
    /// A client with the defaults of the network and an app socket on the default port.
    #[must_use]
    pub fn new(
        id: impl Into<String>,
        key_files: KeyFiles,
        gateway: IdentityPublicKey,
        gateway_listener: impl Into<String>,
        validators: impl Into<Validators>,
    ) -> Self {
        Self {
            id: id.into(),
            store: Some(StoreConfig::beside(&key_files)),
            key_files,
            gateway,
            gateway_listener: gateway_listener.into(),
            validators: validators.into(),
            mixnet_contract: MIXNET_CONTRACT_DEFAULT.to_owned(),
            apps: Some(AppsConfig::default()),
            engine: EngineConfig::default(),
            gateway_response_timeout: GATEWAY_RESPONSE_TIMEOUT_DEFAULT,
            topology_refresh_rate: TOPOLOGY_REFRESH_RATE_DEFAULT,
            legacy_peers: LegacyPeers::default(),
            journeys: None,
        }
    }
}

/// Which apps get the messages that arrive, of those that want them.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum PushMode {
    /// Every one.
    Broadcast,
    /// The newest.
    #[default]
    Single,
}

/// The socket for apps. It listens on 127.0.0.1 only: who reaches it is the client.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AppsConfig {
    /// The port; 0 takes a free one.
    pub port: u16,
    /// What an app speaks that does not choose by path.
    pub dialect: DialectChoice,
    /// Which apps get the messages that arrive.
    pub push_mode: PushMode,
    /// Web origins whose pages may connect, beside those of this machine.
    pub allowed_origins: Vec<String>,
    /// Whether pages without an origin may connect: local files, and sandboxed frames of any page.
    pub allow_null_origin: bool,
    /// Names under which this machine may be asked for, beside `localhost` and its loopback
    /// addresses; with a port, under that port alone.
    pub allowed_hosts: Vec<String>,
    /// What apps have to show; `None` serves everybody on this machine.
    pub token: Option<AppToken>,
    /// The largest frame of an app, in bytes.
    pub message_len_max: usize,
    /// Bytes of messages that wait while no app is there.
    pub undelivered_bytes_max: usize,
}

impl Default for AppsConfig {
    fn default() -> Self {
        Self {
            port: APP_PORT_DEFAULT,
            dialect: DialectChoice::Auto,
            push_mode: PushMode::Single,
            allowed_origins: Vec::new(),
            allow_null_origin: true,
            allowed_hosts: Vec::new(),
            token: None,
            message_len_max: MESSAGE_LEN_MAX_DEFAULT,
            undelivered_bytes_max: UNDELIVERED_BYTES_MAX_DEFAULT,
        }
    }
}

#[cfg(test)]
mod tests;
