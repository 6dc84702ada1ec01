//! The configuration file: every key with its default and a comment.
//!
//! The sections `client`, `socket`, `logging` and `debug` hold the keys that 0.11 programs know,
//! so such a file is read as it is. Keys of our own stand in `apps`, `limits`, `store` and `links`,
//! which those programs pass over, as they do with the one in `client`.

use std::fmt;
use std::path::Path;

use nym_client_core::EngineConfig;
use nym_daemon::config::{HumanDuration, OneOrMany};
use nym_protocol::PROTOCOL_VERSION;
use nym_transport::legacy::LegacyPeers;
use serde::{Deserialize, Serialize};

use super::{
    APP_PORT_DEFAULT, GATEWAY_RESPONSE_TIMEOUT_DEFAULT, MESSAGE_LEN_MAX_DEFAULT,
    MIXNET_CONTRACT_DEFAULT, TOPOLOGY_REFRESH_RATE_DEFAULT, UNDELIVERED_BYTES_MAX_DEFAULT,
    VALIDATOR_DEFAULT,
};
use crate::keys::KeyFiles;
use crate::store::STORE_BYTES_MAX_DEFAULT;

pub(super) const WEB_SOCKET: &str = "WebSocket";
pub(super) const NO_SOCKET: &str = "None";

/// What 0.11 programs take in vpn mode when the key is not set.
const VPN_KEY_REUSE_LIMIT: u64 = 1_000;

/// What the file says, before it is checked.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// Who this client is and whom it talks to.
    pub(crate) client: ClientSection,
    /// Whether and where apps may connect.
    #[serde(default)]
    pub(crate) socket: SocketSection,
    /// Nothing so far.
    #[serde(default)]
    pub(crate) logging: LoggingSection,
    /// The traffic pattern.
    #[serde(default)]
    pub(crate) debug: DebugSection,
    /// What apps may do.
    #[serde(default)]
    pub(crate) apps: AppsSection,
    /// Bounds of what is kept.
    #[serde(default)]
    pub(crate) limits: LimitsSection,
    /// What survives the end of the process.
    #[serde(default)]
    pub(crate) store: StoreSection,
    /// Whether links may be plain.
    #[serde(default)]
    pub(crate) links: LinksSection,
}

/// Section `client`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClientSection {
    #[serde(default = "version")]
    pub(crate) version: String,
    pub(crate) id: String,
    #[serde(default = "validators", alias = "validator_rest_url")]
    pub(crate) validator_rest_urls: OneOrMany,
    #[serde(default)]
    pub(crate) validator_ca_file: String,
    #[serde(default = "mixnet_contract_address")]
    pub(crate) mixnet_contract_address: String,
    #[serde(default)]
    pub(crate) vpn_mode: bool,
    pub(crate) private_identity_key_file: String,
    pub(crate) public_identity_key_file: String,
    pub(crate) private_encryption_key_file: String,
    pub(crate) public_encryption_key_file: String,
    pub(crate) gateway_shared_key_file: String,
    pub(crate) ack_key_file: String,
    #[serde(default)]
    pub(crate) reply_encryption_key_store_path: String,
    pub(crate) gateway_id: String,
    pub(crate) gateway_listener: String,
    #[serde(default)]
    pub(crate) nym_root_directory: String,
}

/// Section `socket`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SocketSection {
    pub(crate) socket_type: String,
    pub(crate) listening_port: u16,
}

impl Default for SocketSection {
    fn default() -> Self {
        Self {
            socket_type: WEB_SOCKET.to_owned(),
            listening_port: APP_PORT_DEFAULT,
        }
    }
}

/// Section `logging`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoggingSection {}

/// Section `debug`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DebugSection {
    pub(crate) average_packet_delay: HumanDuration,
    pub(crate) average_ack_delay: HumanDuration,
    pub(crate) loop_cover_traffic_average_delay: HumanDuration,
    pub(crate) message_sending_average_delay: HumanDuration,
    pub(crate) ack_wait_multiplier: f64,
    pub(crate) ack_wait_addition: HumanDuration,
    pub(crate) gateway_response_timeout: HumanDuration,
    pub(crate) topology_refresh_rate: HumanDuration,
    pub(crate) topology_resolution_timeout: HumanDuration,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) vpn_key_reuse_limit: Option<u64>,
}

impl DebugSection {
    fn of_engine(engine: &EngineConfig) -> Self {
        Self {
            average_packet_delay: engine.average_packet_delay.into(),
            average_ack_delay: engine.average_ack_delay.into(),
            loop_cover_traffic_average_delay: engine.loop_cover_traffic_average_delay.into(),
            message_sending_average_delay: engine.message_sending_average_delay.into(),
            ack_wait_multiplier: engine.ack_wait_multiplier,
            ack_wait_addition: engine.ack_wait_addition.into(),
            gateway_response_timeout: GATEWAY_RESPONSE_TIMEOUT_DEFAULT.into(),
            topology_refresh_rate: TOPOLOGY_REFRESH_RATE_DEFAULT.into(),
            topology_resolution_timeout: HumanDuration::from_secs(5),
            vpn_key_reuse_limit: None,
        }
    }
}

impl Default for DebugSection {
    fn default() -> Self {
        Self::of_engine(&EngineConfig::default())
    }
}

/// Section `apps`.
#[derive(Clone, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AppsSection {
    pub(crate) dialect: String,
    pub(crate) pushes: String,
    pub(crate) allowed_origins: Vec<String>,
    pub(crate) allow_null_origin: bool,
    pub(crate) allowed_hosts: Vec<String>,
    pub(crate) token: String,
    pub(crate) message_len_max: usize,
    pub(crate) undelivered_bytes_max: usize,
}

/// Without the token.
impl fmt::Debug for AppsSection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("AppsSection")
            .field("dialect", &self.dialect)
            .finish_non_exhaustive()
    }
}

impl Default for AppsSection {
    fn default() -> Self {
        Self {
            dialect: "auto".to_owned(),
            pushes: "single".to_owned(),
            allowed_origins: Vec::new(),
            allow_null_origin: true,
            allowed_hosts: Vec::new(),
            token: String::new(),
            message_len_max: MESSAGE_LEN_MAX_DEFAULT,
            undelivered_bytes_max: UNDELIVERED_BYTES_MAX_DEFAULT,
        }
    }
}

/// Section `limits`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LimitsSection {
    pub(crate) fragment_attempts_max: u32,
    pub(crate) message_age_max: HumanDuration,
    pub(crate) unacknowledged_bytes_max: usize,
    pub(crate) reply_keys_max: usize,
    pub(crate) reply_key_age_max: HumanDuration,
    pub(crate) sender_surbs_max: usize,
    pub(crate) sender_surb_age_max: HumanDuration,
    pub(crate) arrived_age_max: HumanDuration,
    pub(crate) receipts_max: usize,
    pub(crate) receipt_age_max: HumanDuration,
}

impl Default for LimitsSection {
    fn default() -> Self {
        let engine = EngineConfig::default();
        Self {
            fragment_attempts_max: engine.fragment_attempts_max,
            message_age_max: engine.message_age_max.into(),
            unacknowledged_bytes_max: engine.unacknowledged_bytes_max,
            reply_keys_max: engine.reply_keys_max,
            reply_key_age_max: engine.reply_key_age_max.into(),
            sender_surbs_max: engine.sender_surbs_max,
            sender_surb_age_max: engine.sender_surb_age_max.into(),
            arrived_age_max: engine.arrived_age_max.into(),
            receipts_max: engine.receipts_max,
            receipt_age_max: engine.receipt_age_max.into(),
        }
    }
}

/// Section `store`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct StoreSection {
    pub(crate) durable: bool,
    pub(crate) bytes_max: u64,
}

impl Default for StoreSection {
    fn default() -> Self {
        Self {
            durable: true,
            bytes_max: STORE_BYTES_MAX_DEFAULT,
        }
    }
}

/// Section `links`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LinksSection {
    pub(crate) legacy_peers: String,
}

impl Default for LinksSection {
    fn default() -> Self {
        Self {
            legacy_peers: LegacyPeers::default().to_string(),
        }
    }
}

impl FileConfig {
    /// The defaults for a new client; the gateway is still missing.
    #[must_use]
    pub fn new(id: &str, key_files: &KeyFiles, data_dir: &Path, root: &Path) -> Self {
        let text = |path: &Path| path.display().to_string();
        Self {
            client: ClientSection {
                version: version(),
                id: id.to_owned(),
                validator_rest_urls: validators(),
                validator_ca_file: String::new(),
                mixnet_contract_address: mixnet_contract_address(),
                vpn_mode: false,
                private_identity_key_file: text(&key_files.private_identity),
                public_identity_key_file: text(&key_files.public_identity),
                private_encryption_key_file: text(&key_files.private_encryption),
                public_encryption_key_file: text(&key_files.public_encryption),
                gateway_shared_key_file: text(&key_files.gateway_shared),
                ack_key_file: text(&key_files.ack),
                reply_encryption_key_store_path: text(&data_dir.join("reply_key_store")),
                gateway_id: String::new(),
                gateway_listener: String::new(),
                nym_root_directory: text(root),
            },
            socket: SocketSection::default(),
            logging: LoggingSection::default(),
            debug: DebugSection::default(),
            apps: AppsSection::default(),
            limits: LimitsSection::default(),
            store: StoreSection::default(),
            links: LinksSection::default(),
        }
    }

    /// A file in which every key has a value, those included that are left away by default.
    #[must_use]
    pub fn complete() -> Self {
        let data_dir = Path::new("~/.nym/clients/<id>/data");
        let key_files = KeyFiles::in_dir(data_dir);
        let mut file = Self::new("<id>", &key_files, data_dir, Path::new("~/.nym/clients"));
        file.debug.vpn_key_reuse_limit = Some(VPN_KEY_REUSE_LIMIT);
        file
    }

    /// The traffic pattern of `init --fastmode`.
    pub fn set_fast_mode(&mut self) {
        let fast = DebugSection::of_engine(&EngineConfig::default().with_fast_mode());
        self.debug.average_packet_delay = fast.average_packet_delay;
        self.debug.loop_cover_traffic_average_delay = fast.loop_cover_traffic_average_delay;
        self.debug.message_sending_average_delay = fast.message_sending_average_delay;
    }

    /// Where the keys are.
    #[must_use]
    pub fn key_files(&self) -> KeyFiles {
        let client = &self.client;
        KeyFiles {
            private_identity: (&client.private_identity_key_file).into(),
            public_identity: (&client.public_identity_key_file).into(),
            private_encryption: (&client.private_encryption_key_file).into(),
            public_encryption: (&client.public_encryption_key_file).into(),
            ack: (&client.ack_key_file).into(),
            gateway_shared: (&client.gateway_shared_key_file).into(),
        }
    }

    pub(super) fn engine(&self) -> EngineConfig {
        let (debug, limits) = (&self.debug, &self.limits);
        EngineConfig {
            average_packet_delay: debug.average_packet_delay.get(),
            average_ack_delay: debug.average_ack_delay.get(),
            loop_cover_traffic_average_delay: debug.loop_cover_traffic_average_delay.get(),
            message_sending_average_delay: debug.message_sending_average_delay.get(),
            ack_wait_multiplier: debug.ack_wait_multiplier,
            ack_wait_addition: debug.ack_wait_addition.get(),
            vpn_mode: self.client.vpn_mode,
            fragment_attempts_max: limits.fragment_attempts_max,
            message_age_max: limits.message_age_max.get(),
            unacknowledged_bytes_max: limits.unacknowledged_bytes_max,
            reply_keys_max: limits.reply_keys_max,
            reply_key_age_max: limits.reply_key_age_max.get(),
            sender_surbs_max: limits.sender_surbs_max,
            sender_surb_age_max: limits.sender_surb_age_max.get(),
            arrived_age_max: limits.arrived_age_max.get(),
            receipts_max: limits.receipts_max,
            receipt_age_max: limits.receipt_age_max.get(),
            trace_journeys: false,
        }
    }
}

fn version() -> String {
    PROTOCOL_VERSION.to_owned()
}

fn validators() -> OneOrMany {
    OneOrMany(vec![VALIDATOR_DEFAULT.to_owned()])
}

fn mixnet_contract_address() -> String {
    MIXNET_CONTRACT_DEFAULT.to_owned()
}
