//! The configuration file: every key with its default and a comment.
//!
//! The sections `client`, `socket`, `logging` and `debug` hold the keys that 0.11 programs know,
//! so such a file is read as it is. Keys of our own stand in `apps` and `limits`, which those
//! programs pass over.

use std::fmt::{self, Write as _};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use nym_client_core::EngineConfig;
use nym_daemon::config::{ConfigError, HumanDuration, Loaded, OneOrMany, Source};
use nym_packet::keys::IdentityPublicKey;
use nym_protocol::PROTOCOL_VERSION;
use nym_protocol::app::DialectChoice;
use nym_protocol::validator::ValidatorUrl;
use nym_protocol::validator::version::is_compatible;
use serde::{Deserialize, Serialize};

use super::{
    APP_PORT_DEFAULT, AppToken, AppsConfig, ClientConfig, GATEWAY_RESPONSE_TIMEOUT_DEFAULT,
    MESSAGE_LEN_MAX_DEFAULT, MIXNET_CONTRACT_DEFAULT, TOPOLOGY_REFRESH_RATE_DEFAULT,
    UNDELIVERED_BYTES_MAX_DEFAULT, VALIDATOR_DEFAULT,
};
use crate::keys::KeyFiles;

const WEB_SOCKET: &str = "WebSocket";
const NO_SOCKET: &str = "None";

const DIALECTS: [(&str, DialectChoice); 4] = [
    ("auto", DialectChoice::Auto),
    ("seed", DialectChoice::Seed),
    ("v0.11", DialectChoice::V0_11),
    ("v1", DialectChoice::SenderTags),
];

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
    /// Bounds of tables in memory.
    #[serde(default)]
    pub(crate) limits: LimitsSection,
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
    pub(crate) allowed_origins: Vec<String>,
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
            allowed_origins: Vec::new(),
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
        }
    }
}

/// What the command line says in place of the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// Another gateway. Its address stays that of the file.
    pub gateway: Option<IdentityPublicKey>,
    /// Other validators.
    pub validators: Option<Vec<String>>,
    /// Another contract.
    pub mixnet_contract: Option<String>,
    /// Another port for apps.
    pub port: Option<u16>,
    /// No socket for apps.
    pub disable_socket: bool,
    /// vpn mode.
    pub vpn_mode: bool,
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
        }
    }

    /// Takes over what the command line says.
    pub fn apply(&mut self, overrides: &Overrides) {
        if let Some(gateway) = overrides.gateway {
            self.client.gateway_id = gateway.to_string();
        }
        if let Some(validators) = &overrides.validators {
            self.client.validator_rest_urls = OneOrMany(validators.clone());
        }
        if let Some(contract) = &overrides.mixnet_contract {
            self.client.mixnet_contract_address.clone_from(contract);
        }
        if let Some(port) = overrides.port {
            self.socket.listening_port = port;
        }
        if overrides.disable_socket {
            NO_SOCKET.clone_into(&mut self.socket.socket_type);
        }
        self.client.vpn_mode |= overrides.vpn_mode;
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

    fn engine(&self) -> EngineConfig {
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
            ..EngineConfig::default()
        }
    }
}

impl ClientConfig {
    /// Checks what a file says, after the command line was applied to it.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Invalid`] naming line and key of the first value that is not allowed.
    pub fn from_file(loaded: Loaded<FileConfig>) -> Result<Self, ConfigError> {
        let Loaded {
            value: file,
            source,
        } = loaded;
        check_numbers(&file, &source)?;
        let client = &file.client;
        if !is_compatible(&client.version, PROTOCOL_VERSION) {
            let allowed = format!("a version compatible with {PROTOCOL_VERSION}");
            return Err(source.invalid("client.version", &client.version, &allowed));
        }
        let urls = &client.validator_rest_urls.0;
        let validators = parse_validators(urls)
            .map_err(|problem| source.at_key("client.validator_rest_urls", problem))?;
        let gateway = client.gateway_id.parse().map_err(|_| {
            let allowed = "the base58 identity of a gateway; `nym-client init` chooses one";
            source.invalid("client.gateway_id", &quoted(&client.gateway_id), allowed)
        })?;
        let listener = &client.gateway_listener;
        if !["ws://", "wss://"]
            .iter()
            .any(|scheme| listener.starts_with(scheme))
        {
            let allowed = "a URL such as \"ws://gateway.example:9000\"";
            return Err(source.invalid("client.gateway_listener", &quoted(listener), allowed));
        }
        Ok(Self {
            id: client.id.clone(),
            key_files: file.key_files(),
            gateway,
            gateway_listener: listener.clone(),
            validators,
            mixnet_contract: client.mixnet_contract_address.clone(),
            apps: apps(&file, &source)?,
            engine: file.engine(),
            gateway_response_timeout: file.debug.gateway_response_timeout.get(),
            topology_refresh_rate: file.debug.topology_refresh_rate.get(),
            journeys: None,
        })
    }
}

/// Reads the URLs of validators, of which there must be one at least.
///
/// # Errors
///
/// A text that says which URL is wrong.
pub fn parse_validators(urls: &[String]) -> Result<Vec<ValidatorUrl>, String> {
    if urls.is_empty() {
        return Err("there is no validator".to_owned());
    }
    let parse = |url: &String| url.trim().parse().map_err(|error| format!("{error}"));
    urls.iter().map(parse).collect()
}

fn apps(file: &FileConfig, source: &Source) -> Result<Option<AppsConfig>, ConfigError> {
    let socket_type = &file.socket.socket_type;
    if socket_type == NO_SOCKET {
        return Ok(None);
    }
    if socket_type != WEB_SOCKET {
        let allowed = format!("\"{WEB_SOCKET}\" or \"{NO_SOCKET}\"");
        return Err(source.invalid("socket.socket_type", &quoted(socket_type), &allowed));
    }
    let apps = &file.apps;
    let dialect = DIALECTS
        .iter()
        .find(|(name, _)| *name == apps.dialect)
        .ok_or_else(|| {
            let names = DIALECTS.map(|(name, _)| format!("\"{name}\"")).join(", ");
            source.invalid(
                "apps.dialect",
                &quoted(&apps.dialect),
                &format!("one of {names}"),
            )
        })?;
    let token = AppToken::new(&apps.token);
    if token.is_none() && !apps.token.is_empty() {
        let allowed = "a text of letters, digits and `-._~`, or \"\" for none";
        return Err(source.invalid("apps.token", "this text", allowed));
    }
    if token.is_some() && others_may_read(source.path()) {
        let file = source.path().display();
        let problem = format!("others may read the token; run `chmod 600 {file}`");
        return Err(source.at_key("apps.token", problem));
    }
    Ok(Some(AppsConfig {
        port: file.socket.listening_port,
        dialect: dialect.1,
        allowed_origins: apps.allowed_origins.clone(),
        allowed_hosts: apps.allowed_hosts.clone(),
        token,
        message_len_max: apps.message_len_max,
        undelivered_bytes_max: apps.undelivered_bytes_max,
    }))
}

/// Whether the file is there and anybody but its owner may read it.
fn others_may_read(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o044 != 0)
}

/// Numbers that would stop a stream or fill a processor.
fn check_numbers(file: &FileConfig, source: &Source) -> Result<(), ConfigError> {
    let debug = &file.debug;
    let above_zero = [
        (
            "loop_cover_traffic_average_delay",
            debug.loop_cover_traffic_average_delay,
        ),
        (
            "message_sending_average_delay",
            debug.message_sending_average_delay,
        ),
        ("gateway_response_timeout", debug.gateway_response_timeout),
        ("topology_refresh_rate", debug.topology_refresh_rate),
    ];
    for (key, duration) in above_zero {
        if duration.get().as_millis() == 0 {
            let key = format!("debug.{key}");
            let found = quoted(&duration.to_string());
            return Err(source.invalid(&key, &found, "a duration of at least 1ms"));
        }
    }
    let multiplier = debug.ack_wait_multiplier;
    if !(0.0..=1_000.0).contains(&multiplier) {
        let key = "debug.ack_wait_multiplier";
        return Err(source.invalid(key, &multiplier.to_string(), "a number from 0 to 1000"));
    }
    let sizes = [
        ("apps.message_len_max", file.apps.message_len_max),
        (
            "limits.unacknowledged_bytes_max",
            file.limits.unacknowledged_bytes_max,
        ),
        ("limits.reply_keys_max", file.limits.reply_keys_max),
    ];
    for (key, size) in sizes {
        if size == 0 {
            return Err(source.invalid(key, "0", "a number above zero"));
        }
    }
    if file.limits.fragment_attempts_max == 0 {
        return Err(source.invalid("limits.fragment_attempts_max", "0", "a number above zero"));
    }
    Ok(())
}

/// The text of a configuration file, a comment above every key.
#[must_use]
pub fn render(file: &FileConfig) -> String {
    let mut text = String::from(
        "# The configuration of a nym-client. Durations are texts such as \"20ms\" or \"1m 30s\",\n\
         # or whole milliseconds. Flags of `nym-client run` override it for one run.\n",
    );
    let mut section = |name: &str, entries: &[(&str, &str, Option<toml::Value>)]| {
        let _ = writeln!(text, "\n[{name}]");
        for (comment, key, value) in entries {
            for line in comment.lines() {
                let _ = writeln!(text, "# {line}");
            }
            let _ = match value {
                Some(value) => writeln!(text, "{key} = {value}"),
                None => writeln!(text, "# {key} ="),
            };
        }
    };
    section("client", &client_entries(&file.client));
    section("socket", &socket_entries(&file.socket));
    section("apps", &apps_entries(&file.apps));
    section("logging", &[]);
    section("debug", &debug_entries(&file.debug));
    section("limits", &limits_entries(&file.limits));
    text
}

type Entry<'a> = (&'a str, &'a str, Option<toml::Value>);

/// A value as TOML.
fn value(value: impl Serialize) -> Option<toml::Value> {
    toml::Value::try_from(value).ok()
}

fn client_entries(client: &ClientSection) -> Vec<Entry<'static>> {
    vec![
        (
            "The protocol that this file was written for.",
            "version",
            value(&client.version),
        ),
        ("The name of this client.", "id", value(&client.id)),
        (
            "Who tells the topology of the network; all are tried.",
            "validator_rest_urls",
            value(&client.validator_rest_urls),
        ),
        (
            "The contract that validators are asked about.",
            "mixnet_contract_address",
            value(&client.mixnet_contract_address),
        ),
        (
            "Send at once, without cover traffic and delays. UNSAFE: whoever watches the network\n\
             sees who talks to whom.",
            "vpn_mode",
            value(client.vpn_mode),
        ),
        (
            "Key files. All are PEM, readable by you alone. Keep copies: they are the address.",
            "private_identity_key_file",
            value(&client.private_identity_key_file),
        ),
        (
            "",
            "public_identity_key_file",
            value(&client.public_identity_key_file),
        ),
        (
            "",
            "private_encryption_key_file",
            value(&client.private_encryption_key_file),
        ),
        (
            "",
            "public_encryption_key_file",
            value(&client.public_encryption_key_file),
        ),
        (
            "",
            "gateway_shared_key_file",
            value(&client.gateway_shared_key_file),
        ),
        ("", "ack_key_file", value(&client.ack_key_file)),
        (
            "Where 0.11 programs keep the keys of replies they wait for. Ours keeps them in memory.",
            "reply_encryption_key_store_path",
            value(&client.reply_encryption_key_store_path),
        ),
        (
            "The gateway that keeps our messages while we are away.",
            "gateway_id",
            value(&client.gateway_id),
        ),
        (
            "Where it takes clients.",
            "gateway_listener",
            value(&client.gateway_listener),
        ),
        (
            "Where the files of all clients are.",
            "nym_root_directory",
            value(&client.nym_root_directory),
        ),
    ]
}

fn socket_entries(socket: &SocketSection) -> Vec<Entry<'static>> {
    vec![
        (
            "\"WebSocket\", or \"None\" for a client without a socket for apps.",
            "socket_type",
            value(&socket.socket_type),
        ),
        (
            "Where apps connect, on 127.0.0.1.",
            "listening_port",
            value(socket.listening_port),
        ),
    ]
}

fn apps_entries(apps: &AppsSection) -> Vec<Entry<'static>> {
    vec![
        (
            "What an app speaks on the path `/`: \"auto\", \"seed\" or \"v0.11\".",
            "dialect",
            value(&apps.dialect),
        ),
        (
            "Web pages that may connect beside those of this machine, as \"https://chat.example\".",
            "allowed_origins",
            value(&apps.allowed_origins),
        ),
        (
            "Names under which this machine may be asked for beside localhost, as \"box.example\".",
            "allowed_hosts",
            value(&apps.allowed_hosts),
        ),
        (
            "What apps have to show, as `Authorization: Bearer <token>` or `?token=<token>`: letters,\n\
             digits and `-._~`. Without one (\"\") every program on this machine may be an app.",
            "token",
            value(&apps.token),
        ),
        (
            "The largest frame that an app may send, in bytes.",
            "message_len_max",
            value(apps.message_len_max),
        ),
        (
            "Bytes of messages that wait while no app is there; beyond it the oldest go.",
            "undelivered_bytes_max",
            value(apps.undelivered_bytes_max),
        ),
    ]
}

fn debug_entries(debug: &DebugSection) -> Vec<Entry<'static>> {
    vec![
        (
            "The traffic pattern. Everybody on a network should keep the same values: a client that\n\
             differs can be told apart.\n\
             Mean delay of a packet at each mix node.",
            "average_packet_delay",
            value(debug.average_packet_delay),
        ),
        (
            "Mean delay of an acknowledgement at each mix node.",
            "average_ack_delay",
            value(debug.average_ack_delay),
        ),
        (
            "Mean gap between the packets of the loop cover stream.",
            "loop_cover_traffic_average_delay",
            value(debug.loop_cover_traffic_average_delay),
        ),
        (
            "Mean gap between the packets of the main stream: the next real one, else cover.",
            "message_sending_average_delay",
            value(debug.message_sending_average_delay),
        ),
        (
            "An acknowledgement is waited for this often the expected time …",
            "ack_wait_multiplier",
            value(debug.ack_wait_multiplier),
        ),
        (
            "… and so long in addition.",
            "ack_wait_addition",
            value(debug.ack_wait_addition),
        ),
        (
            "How long the gateway may take to open a connection.",
            "gateway_response_timeout",
            value(debug.gateway_response_timeout),
        ),
        (
            "How often the topology is fetched.",
            "topology_refresh_rate",
            value(debug.topology_refresh_rate),
        ),
        (
            "Without effect, as in 0.11 programs.",
            "topology_resolution_timeout",
            value(debug.topology_resolution_timeout),
        ),
        (
            "Without effect: no secret is ever used for two packets.",
            "vpn_key_reuse_limit",
            debug.vpn_key_reuse_limit.and_then(value),
        ),
    ]
}

fn limits_entries(limits: &LimitsSection) -> Vec<Entry<'static>> {
    vec![
        (
            "How often a packet is sent before its message is given up.",
            "fragment_attempts_max",
            value(limits.fragment_attempts_max),
        ),
        (
            "How long a message may stay unacknowledged before it is given up.",
            "message_age_max",
            value(limits.message_age_max),
        ),
        (
            "Bytes of messages that may wait for acknowledgement; beyond it apps have to wait.",
            "unacknowledged_bytes_max",
            value(limits.unacknowledged_bytes_max),
        ),
        (
            "How many replies can be waited for; beyond it the oldest can arrive no more.",
            "reply_keys_max",
            value(limits.reply_keys_max),
        ),
        (
            "How long a reply is waited for.",
            "reply_key_age_max",
            value(limits.reply_key_age_max),
        ),
    ]
}

fn quoted(text: &str) -> String {
    format!("\"{text}\"")
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

#[cfg(test)]
mod tests {
    use nym_daemon::config;

    use super::*;

    const GATEWAY: &str = "65SkPxGjnPjm4VUXNZohzMuSAc9JKQzbuqwDWE5odCkm";

    fn complete() -> FileConfig {
        let data = Path::new("/home/a/.nym/clients/alice/data");
        let root = Path::new("/home/a/.nym/clients");
        let mut file = FileConfig::new("alice", &KeyFiles::in_dir(data), data, root);
        file.client.gateway_id = GATEWAY.to_owned();
        file.client.gateway_listener = "ws://127.0.0.1:9000".to_owned();
        file
    }

    fn load(text: &str) -> Result<ClientConfig, ConfigError> {
        ClientConfig::from_file(config::parse("config.toml".as_ref(), text)?)
    }

    fn error(text: &str) -> String {
        load(text).unwrap_err().to_string()
    }

    #[test]
    fn what_is_written_is_read_and_has_every_key_with_a_comment_and_its_default() {
        let mut file = complete();
        let text = render(&file);
        let read = config::parse::<FileConfig>("config.toml".as_ref(), &text)
            .unwrap()
            .value;
        assert_eq!(read, file);

        file.debug.vpn_key_reuse_limit = Some(1);
        let written: toml::Table = render(&file).parse().unwrap();
        assert_eq!(written, toml::Table::try_from(&file).unwrap());

        let config = load(&text).unwrap();
        assert_eq!(config.engine, EngineConfig::default());
        assert_eq!(config.apps, Some(AppsConfig::default()));
    }

    #[test]
    fn a_file_of_a_0_11_client_is_read() {
        let text = format!(
            "[client]\nversion = '0.11.0'\nid = 'alice'\nvalidator_rest_url = 'http://a:1317'\n\
             mixnet_contract_address = 'x'\nvpn_mode = false\nprivate_identity_key_file = 'a'\n\
             public_identity_key_file = 'b'\nprivate_encryption_key_file = 'c'\n\
             public_encryption_key_file = 'd'\ngateway_shared_key_file = 'e'\nack_key_file = 'f'\n\
             reply_encryption_key_store_path = 'g'\ngateway_id = '{GATEWAY}'\n\
             gateway_listener = 'ws://1.2.3.4:9000'\nnym_root_directory = 'h'\n\
             [socket]\nsocket_type = 'None'\nlistening_port = 1977\n[logging]\n\
             [debug]\naverage_packet_delay = 100\naverage_ack_delay = '10ms'\n\
             loop_cover_traffic_average_delay = '1s'\nmessage_sending_average_delay = 20\n"
        );
        let config = load(&text).unwrap();
        assert_eq!(config.apps, None);
        assert_eq!(config.engine.average_packet_delay.as_millis(), 100);
        assert_eq!(config.engine.ack_wait_multiplier, 1.5);
        assert_eq!(config.validators.len(), 1);
    }

    #[test]
    fn a_value_that_is_not_allowed_is_named_with_its_line() {
        let text = render(&complete());
        let with = |key: &str, value: &str| {
            let line = text
                .lines()
                .find(|line| line.starts_with(&format!("{key} =")))
                .unwrap();
            error(&text.replace(line, &format!("{key} = {value}")))
        };
        for (key, value, said) in [
            ("version", "\"0.10.0\"", "a version compatible with 0.11.0"),
            ("gateway_id", "\"\"", "`nym-client init` chooses one"),
            ("gateway_listener", "\"http://a\"", "a URL such as"),
            ("validator_rest_urls", "[]", "there is no validator"),
            ("socket_type", "\"UnixSocket\"", "\"WebSocket\" or \"None\""),
            (
                "dialect",
                "\"v2\"",
                "one of \"auto\", \"seed\", \"v0.11\", \"v1\"",
            ),
            (
                "message_sending_average_delay",
                "0",
                "a duration of at least 1ms",
            ),
            ("ack_wait_multiplier", "nan", "a number from 0 to 1000"),
            ("token", "\"a b\"", "a text of letters, digits"),
            ("fragment_attempts_max", "0", "a number above zero"),
        ] {
            let error = with(key, value);
            assert!(error.starts_with("config.toml line "), "{error}");
            assert!(
                error.contains(key) || key == "validator_rest_urls",
                "{error}"
            );
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn a_key_that_is_not_known_is_an_error_with_the_nearest_one() {
        let text = render(&complete()).replace("listening_port =", "listenning_port =");
        assert!(error(&text).contains("did you mean `listening_port`?"));
    }

    #[test]
    fn a_token_that_others_may_read_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        let mut file = complete();
        let loaded = |path: &Path| ClientConfig::from_file(config::load(path).unwrap());
        for (token, mode, fits) in [
            ("s3cret", 0o600, true),
            ("s3cret", 0o640, false),
            ("s3cret", 0o604, false),
            ("", 0o644, true),
        ] {
            token.clone_into(&mut file.apps.token);
            config::save_private_text(&path, &render(&file)).unwrap();
            let saved = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(saved & 0o777, 0o600);
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let read = loaded(&path);
            assert_eq!(read.is_ok(), fits, "{token:?} {mode:o}");
            if let Err(error) = read {
                let said = error.to_string();
                assert!(said.contains("run `chmod 600 "), "{said}");
                assert!(!said.contains("s3cret"), "{said}");
            }
        }
    }

    #[test]
    fn flags_replace_what_the_file_says() {
        let mut file = complete();
        file.apply(&Overrides {
            validators: Some(vec!["http://b:1".to_owned()]),
            port: Some(2000),
            vpn_mode: true,
            ..Overrides::default()
        });
        let config = load(&render(&file)).unwrap();
        assert_eq!(config.apps.unwrap().port, 2000);
        assert_eq!(config.validators[0].to_string(), "http://b:1/");
        assert!(config.engine.vpn_mode);
    }

    #[test]
    fn fast_mode_changes_three_values() {
        let mut file = complete();
        file.set_fast_mode();
        let config = load(&render(&file)).unwrap();
        assert_eq!(config.engine, EngineConfig::default().with_fast_mode());
        assert!(render(&file).contains("loop_cover_traffic_average_delay = \"33m 20s\""));
    }
}
