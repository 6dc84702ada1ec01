//! The configuration file: every key with its default and a comment.
//!
//! The sections `mixnode`, `debug` and `verloc` hold the keys that 0.11 programs know, so such a
//! file is read as it is. Keys of our own stand in `limits` and `links`.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use nym_daemon::config::{ConfigError, HumanDuration, Loaded, OneOrMany, Source};
use nym_daemon::logging::LoggingSection;
use nym_node::cli::NodeOverrides;
use nym_node::config::{
    self as node, STATS_LOG_EVERY_DEFAULT, STATS_UPDATE_EVERY_DEFAULT, processors,
};
use nym_node::delay_queue::QueueLimits;
use nym_node::http::Description;
use nym_node::keys::KeyPaths;
use nym_node::links::LinksSection;
use nym_node::processor::MAX_DELAY;
use nym_node::replay::{CAPACITY_MAX, ReplayLimits};
use nym_transport::connections::ConnectionsConfig;
use nym_transport::listener::ListenerLimits;
use serde::{Deserialize, Serialize};

use super::{Config, HTTP_API_PORT_DEFAULT, MIXNET_CONTRACT_DEFAULT, VERLOC_PORT_DEFAULT};

/// What the file says, before it is checked.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// Who this node is and where it listens.
    pub mixnode: MixnodeSection,
    /// What is logged.
    #[serde(default)]
    pub logging: LoggingSection,
    /// Times and bounds that 0.11 programs know.
    #[serde(default)]
    pub debug: DebugSection,
    /// Bounds of our own.
    #[serde(default)]
    pub limits: LimitsSection,
    /// With whom the node has links, and whether they may be plain.
    #[serde(default)]
    pub links: LinksSection,
    /// Round-trip measurements, which this program does not make yet.
    #[serde(default)]
    pub verloc: VerlocSection,
}

/// Section `mixnode`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "`COMMENTS` documents the keys, for the file and for readers"
)]
pub struct MixnodeSection {
    #[serde(default = "node::version")]
    pub version: String,
    pub id: String,
    pub listening_address: String,
    #[serde(default)]
    pub announce_address: Option<String>,
    #[serde(default = "node::mix_port")]
    pub mix_port: u16,
    #[serde(default = "verloc_port")]
    pub verloc_port: u16,
    #[serde(default = "http_api_port")]
    pub http_api_port: u16,
    pub private_identity_key_file: PathBuf,
    pub public_identity_key_file: PathBuf,
    pub private_sphinx_key_file: PathBuf,
    pub public_sphinx_key_file: PathBuf,
    #[serde(default = "node::validators", alias = "validator_rest_url")]
    pub validator_rest_urls: OneOrMany,
    #[serde(default)]
    pub validator_ca_file: PathBuf,
    #[serde(default = "mixnet_contract_address")]
    pub mixnet_contract_address: String,
    #[serde(default)]
    pub nym_root_directory: PathBuf,
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
    pub cache_entry_ttl: HumanDuration,
    pub node_stats_logging_delay: HumanDuration,
    pub node_stats_updating_delay: HumanDuration,
}

impl Default for DebugSection {
    fn default() -> Self {
        let connections = ConnectionsConfig::default();
        Self {
            packet_forwarding_initial_backoff: connections.initial_backoff.into(),
            packet_forwarding_maximum_backoff: connections.maximum_backoff.into(),
            initial_connection_timeout: connections.connect_timeout.into(),
            maximum_connection_buffer_size: connections.queue_len,
            cache_entry_ttl: HumanDuration::from_secs(30),
            node_stats_logging_delay: STATS_LOG_EVERY_DEFAULT.into(),
            node_stats_updating_delay: STATS_UPDATE_EVERY_DEFAULT.into(),
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
    pub max_delay: HumanDuration,
    pub delay_queue_packets: usize,
    pub delay_queue_bytes: usize,
    pub replay_packets: usize,
    pub replay_age: HumanDuration,
}

impl Default for LimitsSection {
    fn default() -> Self {
        let (queue, replay) = (QueueLimits::default(), ReplayLimits::default());
        Self {
            workers: 0,
            incoming_links: ListenerLimits::default().connections,
            max_delay: MAX_DELAY.into(),
            delay_queue_packets: queue.count,
            delay_queue_bytes: queue.bytes,
            replay_packets: replay.capacity.get(),
            replay_age: replay.age.into(),
        }
    }
}

/// Section `verloc`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
#[expect(
    missing_docs,
    reason = "`COMMENTS` documents the keys, for the file and for readers"
)]
pub struct VerlocSection {
    pub packets_per_node: usize,
    pub connection_timeout: HumanDuration,
    pub packet_timeout: HumanDuration,
    pub delay_between_packets: HumanDuration,
    pub tested_nodes_batch_size: usize,
    pub testing_interval: HumanDuration,
    pub retry_timeout: HumanDuration,
}

impl Default for VerlocSection {
    fn default() -> Self {
        Self {
            packets_per_node: 100,
            connection_timeout: HumanDuration::from_secs(5),
            packet_timeout: HumanDuration::from_millis(1500),
            delay_between_packets: HumanDuration::from_millis(50),
            tested_nodes_batch_size: 50,
            testing_interval: HumanDuration::from_secs(12 * 3600),
            retry_timeout: HumanDuration::from_secs(30 * 60),
        }
    }
}

const fn verloc_port() -> u16 {
    VERLOC_PORT_DEFAULT
}

const fn http_api_port() -> u16 {
    HTTP_API_PORT_DEFAULT
}

fn mixnet_contract_address() -> String {
    MIXNET_CONTRACT_DEFAULT.to_owned()
}

/// What the command line says in place of the file.
#[derive(Args, Clone, Debug, Default)]
pub struct Overrides {
    /// What it says about any node
    #[command(flatten)]
    pub node: NodeOverrides,

    /// Port for round-trip measurements [default: 1790]
    #[arg(long, value_name = "PORT")]
    pub verloc_port: Option<u16>,

    /// Port of the node's pages [default: 8000]
    #[arg(long, value_name = "PORT")]
    pub http_api_port: Option<u16>,
}

impl FileConfig {
    /// The defaults for a new node.
    #[must_use]
    pub fn new(id: &str, host: IpAddr, keys: KeyPaths, root: &Path) -> Self {
        Self {
            mixnode: MixnodeSection {
                version: node::version(),
                id: id.to_owned(),
                listening_address: host.to_string(),
                announce_address: Some(host.to_string()),
                mix_port: node::mix_port(),
                verloc_port: verloc_port(),
                http_api_port: http_api_port(),
                private_identity_key_file: keys.private_identity,
                public_identity_key_file: keys.public_identity,
                private_sphinx_key_file: keys.private_sphinx,
                public_sphinx_key_file: keys.public_sphinx,
                validator_rest_urls: node::validators(),
                validator_ca_file: PathBuf::new(),
                mixnet_contract_address: mixnet_contract_address(),
                nym_root_directory: root.to_owned(),
            },
            logging: LoggingSection::default(),
            debug: DebugSection::default(),
            limits: LimitsSection::default(),
            links: LinksSection::default(),
            verloc: VerlocSection::default(),
        }
    }

    /// Takes over what the command line says; `host` is another IP address to listen on, which is
    /// announced too, unless another host is.
    pub fn apply(&mut self, host: Option<IpAddr>, overrides: &Overrides) {
        let (node, given) = (&mut self.mixnode, &overrides.node);
        if let Some(host) = host {
            node.listening_address = host.to_string();
            node.announce_address = Some(host.to_string());
        }
        if let host @ Some(_) = &given.announce_host {
            node.announce_address.clone_from(host);
        }
        for (port, given) in [
            (&mut node.mix_port, given.mix_port),
            (&mut node.verloc_port, overrides.verloc_port),
            (&mut node.http_api_port, overrides.http_api_port),
        ] {
            *port = given.unwrap_or(*port);
        }
        if let Some(validators) = &given.validators {
            node.validator_rest_urls = OneOrMany(validators.clone());
        }
        if let Some(ca_file) = &given.validator_ca {
            node.validator_ca_file.clone_from(ca_file);
        }
        if let Some(contract) = &given.mixnet_contract {
            node.mixnet_contract_address.clone_from(contract);
        }
    }

    /// Where the keys are.
    #[must_use]
    pub fn key_paths(&self) -> KeyPaths {
        KeyPaths {
            private_identity: self.mixnode.private_identity_key_file.clone(),
            public_identity: self.mixnode.public_identity_key_file.clone(),
            private_sphinx: self.mixnode.private_sphinx_key_file.clone(),
            public_sphinx: self.mixnode.public_sphinx_key_file.clone(),
        }
    }

    /// The host that others reach this node by; without one, the address it listens on.
    fn announce_host(&self, listening: IpAddr) -> String {
        self.mixnode
            .announce_address
            .clone()
            .unwrap_or_else(|| listening.to_string())
    }

    fn connections(&self) -> ConnectionsConfig {
        ConnectionsConfig {
            connect_timeout: self.debug.initial_connection_timeout.get(),
            initial_backoff: self.debug.packet_forwarding_initial_backoff.get(),
            maximum_backoff: self.debug.packet_forwarding_maximum_backoff.get(),
            queue_len: self.debug.maximum_connection_buffer_size,
            ..ConnectionsConfig::default()
        }
    }
}

impl Config {
    /// Checks what a file says, after the command line was applied to it.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] naming line and key of the first value that is not allowed.
    pub fn from_file(
        loaded: Loaded<FileConfig>,
        description: Description,
    ) -> Result<Self, ConfigError> {
        let Loaded {
            value: file,
            source,
        } = loaded;
        let node = &file.mixnode;
        node::check_version(&source, "mixnode.version", &node.version)?;
        let listening_ip = listening_ip(&node.listening_address).ok_or_else(|| {
            let found = format!("{:?}", node.listening_address);
            source.invalid("mixnode.listening_address", &found, "an IP address")
        })?;
        let urls_key = "mixnode.validator_rest_urls";
        let validators = node::check_validators(
            &source,
            urls_key,
            &node.validator_rest_urls,
            &node.validator_ca_file,
        )?;
        if validators.urls.is_empty() {
            return Err(source.at_key(urls_key, format!("`{urls_key}` names no validator")));
        }
        check_positive(&file, &source)?;
        let limits = &file.limits;
        if limits.replay_packets > CAPACITY_MAX {
            let found = limits.replay_packets.to_string();
            let allowed = format!("at most {CAPACITY_MAX}");
            return Err(source.invalid("limits.replay_packets", &found, &allowed));
        }
        Ok(Self {
            announce_host: file.announce_host(listening_ip),
            connections: file.connections(),
            description,
            http_api_port: node.http_api_port,
            id: node.id.clone(),
            keys: file.key_paths(),
            link_config: file.links.check(&source)?,
            links: limits.incoming_links,
            listening_ip,
            max_delay: limits.max_delay.get(),
            mix_port: node.mix_port,
            queue: QueueLimits {
                count: limits.delay_queue_packets,
                bytes: limits.delay_queue_bytes,
            },
            replay: ReplayLimits {
                capacity: NonZeroUsize::new(limits.replay_packets).unwrap_or(NonZeroUsize::MIN),
                age: limits.replay_age.get(),
            },
            stats_log_every: file.debug.node_stats_logging_delay.get(),
            stats_update_every: file.debug.node_stats_updating_delay.get(),
            validators,
            verloc_port: node.verloc_port,
            workers: NonZeroUsize::new(limits.workers).unwrap_or_else(processors),
        })
    }
}

/// An IP address; the port that may follow it, as some 0.11 files have it, is dropped.
fn listening_ip(text: &str) -> Option<IpAddr> {
    text.parse()
        .ok()
        .or_else(|| text.parse().ok().map(|address: SocketAddr| address.ip()))
}

/// Numbers and times that mean nothing at zero.
fn check_positive(file: &FileConfig, source: &Source) -> Result<(), ConfigError> {
    let (debug, limits) = (&file.debug, &file.limits);
    let counts = [
        (
            "debug.maximum_connection_buffer_size",
            debug.maximum_connection_buffer_size,
        ),
        ("limits.incoming_links", limits.incoming_links),
        ("limits.delay_queue_packets", limits.delay_queue_packets),
        ("limits.delay_queue_bytes", limits.delay_queue_bytes),
        ("limits.replay_packets", limits.replay_packets),
    ];
    let times = [
        (
            "debug.initial_connection_timeout",
            debug.initial_connection_timeout,
        ),
        (
            "debug.node_stats_logging_delay",
            debug.node_stats_logging_delay,
        ),
        (
            "debug.node_stats_updating_delay",
            debug.node_stats_updating_delay,
        ),
        ("limits.replay_age", limits.replay_age),
    ];
    if let Some((key, _)) = counts.iter().find(|(_, count)| *count == 0) {
        return Err(source.invalid(key, "0", "a number from 1"));
    }
    if let Some((key, _)) = times.iter().find(|(_, time)| time.get() == Duration::ZERO) {
        return Err(source.invalid(key, "0", "a time above zero"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use nym_daemon::config::parse;

    use super::*;

    fn new() -> FileConfig {
        let keys = KeyPaths::in_directory(Path::new("/nym/mixnodes/one \"two\"/data"));
        FileConfig::new(
            "one",
            "0.0.0.0".parse().unwrap(),
            keys,
            Path::new("/nym/mixnodes"),
        )
    }

    fn load(text: &str) -> Result<Config, ConfigError> {
        Config::from_file(parse("c.toml".as_ref(), text)?, Description::default())
    }

    /// The error for the default file with one line replaced.
    fn error_with(key: &str, value: &str) -> String {
        let text = new().render().unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{key} =")))
            .unwrap();
        load(&text.replace(line, &format!("{key} = {value}")))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_short_file_gets_the_defaults() {
        let text = "[mixnode]\nid = \"a\"\nlistening_address = \"10.0.0.1:1789\"\n\
                    private_identity_key_file = \"a\"\npublic_identity_key_file = \"b\"\n\
                    private_sphinx_key_file = \"c\"\npublic_sphinx_key_file = \"d\"\n\
                    validator_rest_url = \"http://10.0.0.9:1317\"\n\n\
                    [verloc]\ntesting_interval = { secs = 1, nanos = 0 }\n";
        let config = load(text).unwrap();
        assert_eq!(config.listening_ip.to_string(), "10.0.0.1");
        assert_eq!(config.announce_host, "10.0.0.1");
        assert_eq!((config.mix_port, config.http_api_port), (1789, 8000));
        assert_eq!(config.replay, ReplayLimits::default());
        assert_eq!(config.connections, ConnectionsConfig::default());
    }

    #[test]
    fn g15_values_that_make_no_sense_are_named_with_their_line() {
        let wrong = [
            ("version", "\"0.10.0\""),
            ("listening_address", "\"localhost\""),
            ("validator_rest_urls", "[]"),
            ("validator_rest_urls", "[\"ftp\"]"),
            ("maximum_connection_buffer_size", "0"),
            ("node_stats_updating_delay", "0"),
            ("replay_packets", "0"),
            ("replay_packets", "2147483649"),
            ("legacy_peers", "\"yes\""),
            ("mix_port", "65536"),
        ];
        for (key, value) in wrong {
            let error = error_with(key, value);
            assert!(
                error.starts_with("c.toml line ") && error.contains(key),
                "{error}"
            );
        }
    }

    #[test]
    fn flags_win_over_the_file_and_the_host_is_announced() {
        let mut file = new();
        let mut overrides = Overrides::default();
        overrides.node.mix_port = Some(5);
        overrides.node.validators = Some(vec!["http://v:1".to_owned()]);
        file.apply(Some("10.0.0.2".parse().unwrap()), &overrides);
        let config = load(&file.render().unwrap()).unwrap();
        assert_eq!(
            (config.announce_host.as_str(), config.mix_port),
            ("10.0.0.2", 5)
        );
        assert_eq!(config.http_api_port, 8000);
        overrides.node.announce_host = Some("a.b".to_owned());
        file.apply(None, &overrides);
        assert_eq!(load(&file.render().unwrap()).unwrap().announce_host, "a.b");
    }
}
