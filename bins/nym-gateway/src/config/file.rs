//! The configuration file.
//!
//! The sections `gateway`, `clients_endpoint` and `debug` hold the keys that 0.11 gateways know,
//! so such a file is read as it is. Keys of our own stand in `limits`, `links` and `web`, apart from
//! three in `gateway` that have defaults.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;
use nym_daemon::config::{
    Comments, ConfigError, HumanDuration, Loaded, OneOrMany, Source, commented,
};
use nym_daemon::logging::LoggingSection;
use nym_node::cli::NodeOverrides;
use nym_node::config::{
    self as node, STATS_LOG_EVERY_DEFAULT, STATS_UPDATE_EVERY_DEFAULT, processors,
};
use nym_node::keys::KeyPaths;
use nym_node::links::LinksSection;
use nym_node::replay::ReplayLimits;
use nym_protocol::gateway::SessionLimits;
use nym_protocol::gateway::gateway_session::{HANDSHAKE_TIMEOUT, LOGIN_TIMEOUT};
use nym_transport::connections::{AddressPolicy, ConnectionsConfig};
use nym_transport::directory::{CA_FILE_COMMENT, CA_FILE_KEY};
use nym_transport::listener::ListenerLimits;
use nym_transport::websocket::WebSocketLimits;
use serde::{Deserialize, Serialize};

use super::{
    CLIENT_CONNECTIONS_DEFAULT, CLIENTS_PORT_DEFAULT, Config, HELD_MEMORY_MAX_DEFAULT,
    HTTP_ADDRESS_DEFAULT, LOCATION_DEFAULT, MESSAGES_PER_COMMIT_DEFAULT,
};
use crate::limits::{
    ADDRESS_AUTHENTICATIONS_PER_MINUTE_DEFAULT, ADDRESS_BYTES_PER_SECOND_DEFAULT,
    ADDRESS_CONNECTIONS_DEFAULT, ADDRESS_MESSAGES_PER_SECOND_DEFAULT,
    ADDRESS_REGISTRATIONS_PER_MINUTE_DEFAULT, AddressLimits, CLIENT_BYTES_PER_SECOND_DEFAULT,
    CLIENT_LOGINS_PER_MINUTE_DEFAULT, CLIENT_MESSAGES_PER_SECOND_DEFAULT, ClientLimits,
    DEAD_AFTER_DEFAULT, PING_AFTER_DEFAULT,
};
use crate::rate::Rate;
use crate::store::{Quotas, WhenFull};

/// Name of the database in the data directory.
pub(crate) const DATABASE: &str = "gateway.sqlite";

/// What the file says, before it is checked.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// Who this gateway is and where it listens.
    pub gateway: GatewaySection,
    /// What it keeps for clients, and where.
    pub clients_endpoint: ClientsSection,
    /// What is logged.
    #[serde(default)]
    pub logging: LoggingSection,
    /// Times and bounds that 0.11 gateways know.
    #[serde(default)]
    pub debug: DebugSection,
    /// Bounds of our own.
    #[serde(default)]
    pub limits: LimitsSection,
    /// With whom the gateway has links, and whether they may be plain.
    #[serde(default)]
    pub links: LinksSection,
    /// What browsers need.
    #[serde(default)]
    pub web: WebSection,
}

/// Section `gateway`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "`COMMENTS` documents the keys, for the file and for readers"
)]
pub struct GatewaySection {
    #[serde(default = "node::version")]
    pub version: String,
    pub id: String,
    pub listening_address: IpAddr,
    #[serde(default)]
    pub announce_address: Option<String>,
    #[serde(default = "node::mix_port")]
    pub mix_port: u16,
    #[serde(default = "clients_port")]
    pub clients_port: u16,
    #[serde(default = "http_api_address")]
    pub http_api_address: String,
    #[serde(default = "location")]
    pub location: String,
    pub private_identity_key_file: PathBuf,
    pub public_identity_key_file: PathBuf,
    pub private_sphinx_key_file: PathBuf,
    pub public_sphinx_key_file: PathBuf,
    #[serde(default = "node::validators", alias = "validator_rest_url")]
    pub validator_rest_urls: OneOrMany,
    #[serde(default)]
    pub validator_ca_file: PathBuf,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mixnet_contract_address: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nym_root_directory: Option<PathBuf>,
}

/// Section `clients_endpoint`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "`COMMENTS` documents the keys, for the file and for readers"
)]
pub struct ClientsSection {
    pub ledger_path: PathBuf,
    #[serde(default, skip_serializing)]
    pub inboxes_directory: Option<PathBuf>,
}

/// Section `web`. Both keys are given, or none.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
#[expect(
    missing_docs,
    reason = "`COMMENTS` documents the keys, for the file and for readers"
)]
pub struct WebSection {
    pub certificate_file: PathBuf,
    pub private_key_file: PathBuf,
}

/// Section `debug`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
#[expect(
    missing_docs,
    reason = "`COMMENTS` documents the keys, for the file and for readers"
)]
pub struct DebugSection {
    pub packet_forwarding_initial_backoff: HumanDuration,
    pub packet_forwarding_maximum_backoff: HumanDuration,
    pub initial_connection_timeout: HumanDuration,
    pub maximum_connection_buffer_size: usize,
    // Without effect here; 0.11 gateways know them.
    #[serde(skip_serializing)]
    pub cache_entry_ttl: Option<HumanDuration>,
    #[serde(skip_serializing)]
    pub presence_sending_delay: Option<HumanDuration>,
    #[serde(skip_serializing)]
    pub stored_messages_filename_length: Option<u16>,
    #[serde(skip_serializing)]
    pub message_retrieval_limit: Option<u16>,
}

impl Default for DebugSection {
    fn default() -> Self {
        let connections = ConnectionsConfig::default();
        Self {
            packet_forwarding_initial_backoff: connections.initial_backoff.into(),
            packet_forwarding_maximum_backoff: connections.maximum_backoff.into(),
            initial_connection_timeout: connections.connect_timeout.into(),
            maximum_connection_buffer_size: connections.queue_len,
            cache_entry_ttl: None,
            presence_sending_delay: None,
            stored_messages_filename_length: None,
            message_retrieval_limit: None,
        }
    }
}

/// Section `limits`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
#[expect(
    missing_docs,
    reason = "`COMMENTS` documents the keys, for the file and for readers"
)]
pub struct LimitsSection {
    pub workers: usize,
    pub incoming_links: usize,
    pub client_connections: usize,
    pub client_messages_per_second: u32,
    pub client_bytes_per_second: u32,
    pub client_logins_per_minute: u32,
    pub address_connections: usize,
    pub address_messages_per_second: u32,
    pub address_bytes_per_second: u32,
    pub address_registrations_per_minute: u32,
    pub address_authentications_per_minute: u32,
    pub handshake_timeout: HumanDuration,
    pub login_timeout: HumanDuration,
    pub ping_after: HumanDuration,
    pub silent_after: HumanDuration,
    pub drain_delay: HumanDuration,
    pub clients: usize,
    pub held_bytes: usize,
    pub inbox_messages: u64,
    pub inbox_bytes: u64,
    pub inboxes_bytes: u64,
    pub inbox_age: HumanDuration,
    pub inbox_when_full: InboxWhenFull,
    pub messages_per_commit: NonZeroUsize,
    pub public_next_hops_only: bool,
}

/// What becomes of a message for a client whose inbox is full.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum InboxWhenFull {
    /// It is not acknowledged.
    #[default]
    Refuse,
    /// It takes the place of the client's oldest messages.
    OldestFirst,
}

impl Default for LimitsSection {
    fn default() -> Self {
        let quotas = Quotas::default();
        Self {
            workers: 0,
            incoming_links: ListenerLimits::default().connections,
            client_connections: CLIENT_CONNECTIONS_DEFAULT,
            client_messages_per_second: CLIENT_MESSAGES_PER_SECOND_DEFAULT,
            client_bytes_per_second: CLIENT_BYTES_PER_SECOND_DEFAULT,
            client_logins_per_minute: CLIENT_LOGINS_PER_MINUTE_DEFAULT,
            address_connections: ADDRESS_CONNECTIONS_DEFAULT,
            address_messages_per_second: ADDRESS_MESSAGES_PER_SECOND_DEFAULT,
            address_bytes_per_second: ADDRESS_BYTES_PER_SECOND_DEFAULT,
            address_registrations_per_minute: ADDRESS_REGISTRATIONS_PER_MINUTE_DEFAULT,
            address_authentications_per_minute: ADDRESS_AUTHENTICATIONS_PER_MINUTE_DEFAULT,
            handshake_timeout: HANDSHAKE_TIMEOUT.into(),
            login_timeout: LOGIN_TIMEOUT.into(),
            ping_after: PING_AFTER_DEFAULT.into(),
            silent_after: DEAD_AFTER_DEFAULT.into(),
            drain_delay: HumanDuration::from_secs(0),
            clients: quotas.clients_max,
            held_bytes: HELD_MEMORY_MAX_DEFAULT,
            inbox_messages: quotas.messages_per_client_max,
            inbox_bytes: quotas.bytes_per_client_max,
            inboxes_bytes: quotas.bytes_max,
            inbox_age: quotas.age_max.unwrap_or_default().into(),
            inbox_when_full: InboxWhenFull::Refuse,
            messages_per_commit: MESSAGES_PER_COMMIT_DEFAULT,
            public_next_hops_only: false,
        }
    }
}

const fn clients_port() -> u16 {
    CLIENTS_PORT_DEFAULT
}

fn http_api_address() -> String {
    HTTP_ADDRESS_DEFAULT.to_string()
}

fn location() -> String {
    LOCATION_DEFAULT.to_owned()
}

/// What the command line says in place of the file.
#[derive(Args, Clone, Debug, Default)]
pub struct Overrides {
    /// What it says about any node
    #[command(flatten)]
    pub node: NodeOverrides,

    /// Port for clients [default: 9000]
    #[arg(long, value_name = "PORT")]
    pub clients_port: Option<u16>,

    /// Address of the operator's pages, empty for none [default: 127.0.0.1:8001]
    #[arg(long, value_name = "ADDRESS")]
    pub http_api: Option<String>,

    /// Where the gateway stands, in your words
    #[arg(long, value_name = "TEXT")]
    pub location: Option<String>,

    /// Database with clients' keys and messages [default: in the gateway's directory]
    #[arg(long, value_name = "FILE")]
    pub clients_ledger: Option<PathBuf>,

    /// Without effect: messages are in the database
    #[arg(long, value_name = "DIR", hide = true)]
    pub inboxes: Option<PathBuf>,
}

impl FileConfig {
    /// The file of a new gateway.
    #[must_use]
    pub fn new(id: &str, host: IpAddr, data: &Path) -> Self {
        let keys = KeyPaths::in_directory(data);
        Self {
            gateway: GatewaySection {
                version: node::version(),
                id: id.to_owned(),
                listening_address: host,
                announce_address: Some(host.to_string()),
                mix_port: node::mix_port(),
                clients_port: clients_port(),
                http_api_address: http_api_address(),
                location: location(),
                private_identity_key_file: keys.private_identity,
                public_identity_key_file: keys.public_identity,
                private_sphinx_key_file: keys.private_sphinx,
                public_sphinx_key_file: keys.public_sphinx,
                validator_rest_urls: node::validators(),
                validator_ca_file: PathBuf::new(),
                mixnet_contract_address: None,
                nym_root_directory: None,
            },
            clients_endpoint: ClientsSection {
                ledger_path: data.join(DATABASE),
                inboxes_directory: None,
            },
            logging: LoggingSection::default(),
            debug: DebugSection::default(),
            limits: LimitsSection::default(),
            links: LinksSection::default(),
            web: WebSection::default(),
        }
    }

    /// Takes over what the command line says; `host` is another IP address to listen on.
    pub fn apply(&mut self, host: Option<IpAddr>, overrides: &Overrides) {
        fn set<T: Clone>(value: &mut T, other: Option<&T>) {
            if let Some(other) = other {
                value.clone_from(other);
            }
        }
        let (gateway, node) = (&mut self.gateway, &overrides.node);
        set(&mut gateway.listening_address, host.as_ref());
        set(&mut gateway.mix_port, node.mix_port.as_ref());
        set(&mut gateway.clients_port, overrides.clients_port.as_ref());
        set(&mut gateway.http_api_address, overrides.http_api.as_ref());
        set(&mut gateway.location, overrides.location.as_ref());
        let ledger = &mut self.clients_endpoint.ledger_path;
        set(ledger, overrides.clients_ledger.as_ref());
        if let Some(urls) = &node.validators {
            // `--validators ""` names none.
            let named = urls.iter().filter(|url| !url.is_empty());
            gateway.validator_rest_urls.0 = named.cloned().collect();
        }
        set(&mut gateway.validator_ca_file, node.validator_ca.as_ref());
        if let host @ Some(_) = &node.announce_host {
            gateway.announce_address.clone_from(host);
        }
        if let contract @ Some(_) = &node.mixnet_contract {
            gateway.mixnet_contract_address.clone_from(contract);
        }
    }

    /// Where the keys are.
    #[must_use]
    pub fn key_paths(&self) -> KeyPaths {
        KeyPaths {
            private_identity: self.gateway.private_identity_key_file.clone(),
            public_identity: self.gateway.public_identity_key_file.clone(),
            private_sphinx: self.gateway.private_sphinx_key_file.clone(),
            public_sphinx: self.gateway.public_sphinx_key_file.clone(),
        }
    }

    /// The text of a file with these values and a comment for every key.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Unwritable`] if a path is not UTF-8.
    pub fn render(&self) -> Result<String, ConfigError> {
        let head = format!(
            "Configuration of a gateway. `nym-gateway run --id {}` reads it.\n\
             Times are texts such as \"1m 30s\" or \"20ms\", or numbers of milliseconds.",
            self.gateway.id
        );
        commented(&head, self, &[COMMENTS, LinksSection::COMMENTS])
    }
}

/// What each key means.
const COMMENTS: Comments = &[
    ("version", "Version of the protocol that this file is for."),
    ("id", "Name of the gateway on this machine."),
    (
        "listening_address",
        "IP address to listen on, for packets and clients.",
    ),
    (
        "announce_address",
        "Host that others reach this gateway by: an IP address or a name, no port.",
    ),
    ("mix_port", "Port for packets."),
    ("clients_port", "Port for clients."),
    (
        "http_api_address",
        "Address of the operator's pages; empty for none. They show what happens now: keep them private.",
    ),
    ("location", "Where the gateway stands, in your words."),
    (
        "private_identity_key_file",
        "Ed25519 key that names the gateway.",
    ),
    ("public_identity_key_file", "Its public half."),
    ("private_sphinx_key_file", "X25519 key that opens packets."),
    ("public_sphinx_key_file", "Its public half."),
    (
        "validator_rest_urls",
        "Validators that the gateway announces itself to; none if empty.",
    ),
    (CA_FILE_KEY, CA_FILE_COMMENT),
    (
        "mixnet_contract_address",
        "Contract of the network; not used.",
    ),
    ("nym_root_directory", "Not used."),
    (
        "ledger_path",
        "Database with the keys of clients and their messages.",
    ),
    (
        "packet_forwarding_initial_backoff",
        "Pause after the first failure to reach a next hop; doubles with each further one.",
    ),
    ("packet_forwarding_maximum_backoff", "Longest such pause."),
    (
        "initial_connection_timeout",
        "Longest wait for a connection to a next hop.",
    ),
    (
        "maximum_connection_buffer_size",
        "Packets that wait for one next hop at most.",
    ),
    (
        "workers",
        "Tasks that open packets; 0 for one per processor.",
    ),
    ("incoming_links", "Connections of mix nodes at a time."),
    ("client_connections", "Connections of clients at a time."),
    (
        "client_messages_per_second",
        "Messages read from one client per second; it sends 55 on average. More waits.",
    ),
    (
        "client_bytes_per_second",
        "Bytes read from one client per second. More waits.",
    ),
    (
        "client_logins_per_minute",
        "Logins of one client per minute. More are refused.",
    ),
    (
        "address_connections",
        "Connections from one address at a time (IPv6: one /64 network). More are closed.",
    ),
    (
        "address_messages_per_second",
        "Messages read from one address per second. More waits.",
    ),
    (
        "address_bytes_per_second",
        "Bytes read from one address per second. More waits.",
    ),
    (
        "address_registrations_per_minute",
        "Registrations tried from one address per minute. More are refused.",
    ),
    (
        "address_authentications_per_minute",
        "Authentications tried from one address per minute. More are refused.",
    ),
    (
        "handshake_timeout",
        "How long a connection may take to become a websocket, and a registration to complete.",
    ),
    (
        "login_timeout",
        "How long a connection may stay open without a login.",
    ),
    (
        "ping_after",
        "Silence after which a client is asked for a sign of life.",
    ),
    (
        "silent_after",
        "Silence after which a connection is closed; longer than ping_after.",
    ),
    (
        "drain_delay",
        "Time between the first word of a stop, on the page /ready, and the stop itself.",
    ),
    ("filter", LoggingSection::COMMENT),
    ("clients", "Registered clients at most."),
    (
        "held_bytes",
        "Bytes of memory for messages that wait for clients' answers; further ones go to the disk at once.",
    ),
    (
        "inbox_messages",
        "Messages that wait for one client at most; more are not acknowledged.",
    ),
    (
        "inbox_bytes",
        "Bytes of messages that wait for one client at most.",
    ),
    (
        "inboxes_bytes",
        "Bytes of messages that wait for all clients at most.",
    ),
    (
        "inbox_age",
        "Time of service after which a message is dropped that its client has not fetched; 0 for never.",
    ),
    (
        "inbox_when_full",
        "\"refuse\": new messages are not acknowledged; \"oldest-first\": they displace the client's oldest, acknowledged or not.",
    ),
    (
        "messages_per_commit",
        "Messages written to the disk together at most; nothing waits for more to come.",
    ),
    (
        "public_next_hops_only",
        "Send packets to public addresses only.",
    ),
    (
        "certificate_file",
        "Certificate for browsers with its chain (PEM), read again when it changes; empty for none.",
    ),
    ("private_key_file", "Its private key (PEM)."),
];

impl Config {
    /// Checks what a file says.
    ///
    /// # Errors
    ///
    /// The first value that makes no sense, with its line.
    pub fn from_file(loaded: Loaded<FileConfig>) -> Result<Self, ConfigError> {
        let Loaded {
            value: file,
            source,
        } = loaded;
        let keys = file.key_paths();
        let FileConfig {
            gateway,
            clients_endpoint,
            debug,
            limits,
            links,
            web,
            ..
        } = file;
        node::check_version(&source, "gateway.version", &gateway.version)?;
        let urls_key = "gateway.validator_rest_urls";
        let validators = node::check_validators(
            &source,
            urls_key,
            &gateway.validator_rest_urls,
            &gateway.validator_ca_file,
        )?;
        if limits.silent_after.get() <= limits.ping_after.get() {
            let allowed = "longer than `limits.ping_after`";
            let silent_after = limits.silent_after.to_string();
            return Err(source.invalid("limits.silent_after", &silent_after, allowed));
        }
        let address_policy = if limits.public_next_hops_only {
            AddressPolicy::Public
        } else {
            AddressPolicy::Any
        };
        Ok(Self {
            announce_host: gateway
                .announce_address
                .unwrap_or_else(|| gateway.listening_address.to_string()),
            client_connections: limits.client_connections,
            client_limits: limits.client_limits(),
            clients_port: gateway.clients_port,
            connections: ConnectionsConfig {
                address_policy,
                connect_timeout: debug.initial_connection_timeout.get(),
                initial_backoff: debug.packet_forwarding_initial_backoff.get(),
                maximum_backoff: debug.packet_forwarding_maximum_backoff.get(),
                queue_len: debug.maximum_connection_buffer_size,
                ..ConnectionsConfig::default()
            },
            database: clients_endpoint.ledger_path,
            drain_delay: limits.drain_delay.get(),
            held_memory_max: limits.held_bytes,
            http_address: http_address(&gateway.http_api_address, &source)?,
            id: gateway.id,
            keys,
            link_config: links.check(&source)?,
            links: limits.incoming_links,
            listening_ip: gateway.listening_address,
            location: gateway.location,
            messages_per_commit: limits.messages_per_commit,
            mix_port: gateway.mix_port,
            quotas: limits.quotas(),
            replay: ReplayLimits::default(),
            stats_log_every: STATS_LOG_EVERY_DEFAULT,
            stats_update_every: STATS_UPDATE_EVERY_DEFAULT,
            validators,
            web_certificate: web_certificate(web, &source)?,
            workers: NonZeroUsize::new(limits.workers).unwrap_or_else(processors),
        })
    }
}

impl LimitsSection {
    fn quotas(&self) -> Quotas {
        Quotas {
            clients_max: self.clients,
            messages_per_client_max: self.inbox_messages,
            bytes_per_client_max: self.inbox_bytes,
            bytes_max: self.inboxes_bytes,
            age_max: Some(self.inbox_age.get()).filter(|age| !age.is_zero()),
            when_full: match self.inbox_when_full {
                InboxWhenFull::OldestFirst => WhenFull::DropOldest,
                InboxWhenFull::Refuse => WhenFull::Refuse,
            },
        }
    }

    fn client_limits(&self) -> ClientLimits {
        let defaults = ClientLimits::default();
        ClientLimits {
            bytes: Rate::per_second(self.client_bytes_per_second),
            logins: Rate::per_minute(self.client_logins_per_minute),
            messages: Rate::per_second(self.client_messages_per_second),
            address: AddressLimits {
                authentications: Rate::per_minute(self.address_authentications_per_minute),
                bytes: Rate::per_second(self.address_bytes_per_second),
                connections: self.address_connections,
                messages: Rate::per_second(self.address_messages_per_second),
                registrations: Rate::per_minute(self.address_registrations_per_minute),
            },
            ping_after: self.ping_after.get(),
            dead_after: self.silent_after.get(),
            session: SessionLimits {
                handshake_timeout: self.handshake_timeout.get(),
                login_timeout: self.login_timeout.get(),
                ..defaults.session
            },
            websocket: WebSocketLimits {
                handshake_timeout: self.handshake_timeout.get(),
                ..defaults.websocket
            },
        }
    }
}

fn web_certificate(
    web: WebSection,
    source: &Source,
) -> Result<Option<(PathBuf, PathBuf)>, ConfigError> {
    let is_given = |path: &Path| !path.as_os_str().is_empty();
    match (
        is_given(&web.certificate_file),
        is_given(&web.private_key_file),
    ) {
        (true, true) => Ok(Some((web.certificate_file, web.private_key_file))),
        (false, false) => Ok(None),
        _ => {
            let problem = "`web.certificate_file` and `web.private_key_file` need each other";
            Err(source.at_key("web.certificate_file", problem.to_owned()))
        }
    }
}

fn http_address(text: &str, source: &Source) -> Result<Option<SocketAddr>, ConfigError> {
    if text.is_empty() {
        return Ok(None);
    }
    let allowed = "an IP address with a port, such as 127.0.0.1:8001, or nothing";
    let invalid = |_| source.invalid("gateway.http_api_address", text, allowed);
    text.parse().map(Some).map_err(invalid)
}

#[cfg(test)]
mod tests {
    use nym_daemon::config;
    use nym_node::config::{MIX_PORT_DEFAULT, VALIDATOR_DEFAULT};
    use nym_transport::directory::Validators;

    use super::*;

    fn file() -> FileConfig {
        FileConfig::new("one", "10.0.0.1".parse().unwrap(), Path::new("/data"))
    }

    fn load(text: &str) -> Result<Config, ConfigError> {
        Config::from_file(config::parse("c.toml".as_ref(), text)?)
    }

    #[test]
    fn rendered_file_means_what_it_was_made_of_and_comments_every_key() {
        let mut file = file();
        file.gateway.mixnet_contract_address = Some("contract".into());
        file.gateway.nym_root_directory = Some("/root".into());
        let text = file.render().unwrap();
        let loaded = config::parse::<FileConfig>("c.toml".as_ref(), &text).unwrap();
        assert_eq!(loaded.value, file);
        let mut previous = "";
        for line in text.lines() {
            let is_key = line.contains(" = ") && !line.starts_with('#');
            assert!(!is_key || previous.starts_with("# "), "no comment: {line}");
            previous = line;
        }
        for (key, _) in COMMENTS.iter().chain(LinksSection::COMMENTS) {
            assert!(
                text.contains(&format!("\n{key} = ")),
                "no key for the comment on {key}"
            );
        }
    }

    #[test]
    fn defaults_of_the_file_are_those_of_the_code() {
        let config = load(&file().render().unwrap()).unwrap();
        let code = Config::on_loopback("one", Path::new("/data"), Vec::new());
        assert_eq!(config.quotas, code.quotas);
        assert_eq!(config.client_limits, code.client_limits);
        assert_eq!(config.held_memory_max, code.held_memory_max);
        assert_eq!(config.connections, code.connections);
        assert_eq!(config.http_address, Some(HTTP_ADDRESS_DEFAULT));
        assert_eq!(config.keys, code.keys);
        assert_eq!(config.database, code.database);
    }

    #[test]
    fn file_of_a_0_11_gateway_is_read() {
        let text = r#"
            [gateway]
            version = "0.11.0"
            id = "old"
            listening_address = "0.0.0.0"
            announce_address = "gw.example"
            mix_port = 1789
            clients_port = 9000
            private_identity_key_file = "/d/private_identity.pem"
            public_identity_key_file = "/d/public_identity.pem"
            private_sphinx_key_file = "/d/private_sphinx.pem"
            public_sphinx_key_file = "/d/public_sphinx.pem"
            validator_rest_urls = [ "http://a:1317", "http://b:1317" ]
            mixnet_contract_address = "contract"
            nym_root_directory = "/root"
            [clients_endpoint]
            inboxes_directory = "/d/inboxes"
            ledger_path = "/d/client_ledger.sled"
            [logging]
            [debug]
            presence_sending_delay = 10000
            stored_messages_filename_length = 16
            message_retrieval_limit = 5
            cache_entry_ttl = "30s"
        "#;
        let config = load(text).unwrap();
        assert_eq!(config.announce_host, "gw.example");
        assert_eq!(config.validators.urls.len(), 2);
    }

    #[test]
    fn g15_values_without_sense_are_named_with_their_line() {
        let text = file().render().unwrap();
        for (from, to, problem) in [
            ("\"0.11.0\"", "\"0.12.0\"", "`gateway.version` is 0.12.0"),
            (
                "127.0.0.1:8001",
                "localhost",
                "`gateway.http_api_address` is localhost",
            ),
            (VALIDATOR_DEFAULT, "validator", "`validator` is not"),
            (
                "legacy_peers = \"deny\"",
                "legacy_peers = \"no\"",
                "`links.legacy_peers` is \"no\"",
            ),
            (
                "private_key_file = \"\"",
                "private_key_file = \"key.pem\"",
                "need each other",
            ),
            (
                "clients_port = 9000",
                "clients_prt = 9000",
                "did you mean `clients_port`?",
            ),
        ] {
            let error = load(&text.replace(from, to)).unwrap_err().to_string();
            assert!(
                error.starts_with("c.toml line ") && error.contains(problem),
                "{error}"
            );
        }
    }

    #[test]
    fn command_line_wins_over_the_file() {
        let mut file = file();
        let overrides = Overrides {
            node: NodeOverrides {
                announce_host: Some("gw.example".into()),
                validators: Some(vec![String::new()]),
                validator_ca: Some("ca.pem".into()),
                ..NodeOverrides::default()
            },
            clients_port: Some(1),
            http_api: Some(String::new()),
            ..Overrides::default()
        };
        file.apply(None, &overrides);
        let config = load(&file.render().unwrap()).unwrap();
        assert_eq!(
            (config.announce_host.as_str(), config.clients_port),
            ("gw.example", 1)
        );
        let nobody = Validators::new(Vec::new(), Path::new("ca.pem"));
        assert_eq!((config.http_address, config.validators), (None, nobody));
        assert_eq!(config.mix_port, MIX_PORT_DEFAULT);
    }
}
