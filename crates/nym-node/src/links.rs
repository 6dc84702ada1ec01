//! A node's end of every link: who it is, whom it talks to, and with what envelope.
//!
//! [`LinksSection`] is what a configuration file says about it, [`LinkConfig`] what was understood,
//! and [`Links`] what the parts of a running node are made with.

use std::fmt;

use nym_daemon::clock::unix_time_secs;
use nym_daemon::config::{Comments, ConfigError, Source};
use nym_daemon::entropy;
use nym_daemon::metrics::{Component, Sheet};
use nym_packet::keys::IdentityKeyPair;
use nym_protocol::validator::bond::TLS_PROFILE;
use nym_transport::connections::{Connections, ConnectionsConfig};
use nym_transport::directory::Directory;
use nym_transport::legacy::LegacyPeers;
use nym_transport::peers::{KnownPeersOnly, Peers};
use nym_transport::tls::{
    Acceptor, Handshakes, LinkPolicy, NodeDialer, Side, TlsIdentity, WebCertificate,
};
use serde::{Deserialize, Serialize};

use crate::neighbours::Neighbours;

/// With whom a node has links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkConfig {
    /// Whether links with 0.11 programs, which are plain, are allowed.
    pub legacy_peers: LegacyPeers,
    /// Whether the bond says that the node speaks TLS. Without it nobody dials it with TLS, so all
    /// its links are those of the 0.11 network: to see what that is like.
    pub announce_tls: bool,
    /// Whether nodes that are not in the topology are refused.
    pub known_peers_only: bool,
    /// Whether packets go to addresses that are not in the topology, too: for measurements only.
    pub open_relay_for_tests: bool,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            legacy_peers: LegacyPeers::Deny,
            announce_tls: true,
            known_peers_only: false,
            open_relay_for_tests: false,
        }
    }
}

impl LinkConfig {
    /// The same with the rules of `other` by which links are made: what can change while a node
    /// runs.
    #[must_use]
    pub const fn with_policy_of(self, other: Self) -> Self {
        Self {
            legacy_peers: other.legacy_peers,
            known_peers_only: other.known_peers_only,
            ..self
        }
    }

    /// What a bond says about TLS.
    #[must_use]
    pub fn tls_profile(&self) -> Option<u32> {
        self.announce_tls.then_some(TLS_PROFILE)
    }
}

/// Section `links` of a node's configuration file.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "`COMMENTS` documents the keys")]
pub struct LinksSection {
    pub legacy_peers: String,
    pub known_peers_only: bool,
    pub open_relay_for_tests: bool,
}

impl Default for LinksSection {
    fn default() -> Self {
        let config = LinkConfig::default();
        Self {
            legacy_peers: config.legacy_peers.to_string(),
            known_peers_only: config.known_peers_only,
            open_relay_for_tests: config.open_relay_for_tests,
        }
    }
}

impl LinksSection {
    /// What each key means, for the file and its readers.
    pub const COMMENTS: Comments = &[
        (
            "legacy_peers",
            "Plain links with 0.11 programs: \"deny\", \"allow\" or \"allow until 2027-01-01\".",
        ),
        (
            "known_peers_only",
            "Take packets only from nodes of the topology.",
        ),
        (
            "open_relay_for_tests",
            "Send packets to any address, not only to nodes of the topology: for measurements.",
        ),
    ];

    /// Checks what the section says.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] naming the line.
    pub fn check(&self, source: &Source) -> Result<LinkConfig, ConfigError> {
        let legacy_peers = self.legacy_peers.parse().map_err(|_| {
            let found = format!("{:?}", self.legacy_peers);
            let allowed = "\"deny\", \"allow\" or \"allow until YYYY-MM-DD\"";
            source.invalid("links.legacy_peers", &found, allowed)
        })?;
        Ok(LinkConfig {
            legacy_peers,
            known_peers_only: self.known_peers_only,
            open_relay_for_tests: self.open_relay_for_tests,
            ..LinkConfig::default()
        })
    }
}

/// What the links of one node have in common; clones share it.
#[derive(Clone, Debug)]
pub struct Links {
    config: LinkConfig,
    identity: TlsIdentity,
    known_peers_only: KnownPeersOnly,
    peers: Peers,
    policy: LinkPolicy,
}

impl Links {
    /// The links of the node with this identity.
    #[must_use]
    pub fn new(identity: &IdentityKeyPair, config: LinkConfig) -> Self {
        warn_of_plain_links(config.legacy_peers);
        let peers = Peers::default();
        Self {
            config,
            identity: TlsIdentity::new(identity),
            known_peers_only: KnownPeersOnly::new(peers.clone(), config.known_peers_only),
            peers,
            policy: LinkPolicy {
                legacy: config.legacy_peers.into(),
                unix_secs: unix_time_secs,
                handshakes: Handshakes::default(),
            },
        }
    }

    /// Takes over with whom there may be links from here on, and whether they may be plain: what
    /// [`LinkConfig::with_policy_of`] does. Links that are open stay.
    pub fn reload(&self, config: LinkConfig) {
        if config.legacy_peers != self.policy.legacy.now() {
            warn_of_plain_links(config.legacy_peers);
        }
        self.policy.legacy.set(config.legacy_peers);
        self.known_peers_only.set(config.known_peers_only);
    }

    /// What makes links at the port for packets.
    #[must_use]
    pub fn node_acceptor(&self) -> Acceptor {
        let known = Some(self.known_peers_only.clone());
        Acceptor::for_nodes(&self.identity, self.policy.clone(), known)
    }

    /// What makes links at the port for clients.
    #[must_use]
    pub fn client_acceptor(&self, web_certificate: Option<WebCertificate>) -> Acceptor {
        Acceptor::for_clients(&self.identity, self.policy.clone(), web_certificate)
    }

    /// The links to next hops.
    #[must_use]
    pub fn connections(&self, config: ConnectionsConfig) -> Connections {
        let dialer = NodeDialer {
            identity: self.identity.clone(),
            peers: self.peers.clone(),
            policy: self.policy.clone(),
            open_relay_for_tests: self.config.open_relay_for_tests,
        };
        Connections::with_dialer(config, entropy(), dialer)
    }

    /// Who else is a node, as far as this one knows.
    #[must_use]
    pub fn peers(&self) -> Peers {
        self.peers.clone()
    }

    /// What keeps up with who else is a node; run it.
    #[must_use]
    pub fn neighbours(&self, directory: Directory) -> Neighbours {
        Neighbours::new(directory, self.peers.clone())
    }
}

fn warn_of_plain_links(switch: LegacyPeers) {
    if switch.check(unix_time_secs()).is_ok() {
        tracing::warn!(
            legacy_peers = %switch,
            "links with 0.11 programs are in clear: whoever watches them can read them"
        );
    }
}

impl Component for Links {
    fn write(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        sheet.counters(
            "nym_node_handshakes_accepted",
            "Handshakes that a peer began, by result",
            "result",
            &self.policy.handshakes.counts(Side::Accepted),
        )?;
        sheet.counters(
            "nym_node_handshakes_dialled",
            "Handshakes that this node began, by result",
            "result",
            &self.policy.handshakes.counts(Side::Dialled),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use nym_daemon::config::parse;
    use nym_daemon::metrics::Metrics;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct File {
        #[serde(default)]
        links: LinksSection,
    }

    fn check(text: &str) -> Result<LinkConfig, ConfigError> {
        let loaded = parse::<File>(Path::new("c.toml"), text)?;
        loaded.value.links.check(&loaded.source)
    }

    #[test]
    fn links_are_encrypted_unless_the_file_says_otherwise() {
        assert_eq!(check("").unwrap(), LinkConfig::default());
        assert_eq!(LinkConfig::default().legacy_peers, LegacyPeers::Deny);
        let config = check("[links]\nlegacy_peers = \"allow\"").unwrap();
        assert_eq!(config.legacy_peers, LegacyPeers::Allow);
    }

    #[test]
    fn a_switch_that_nobody_understands_is_named_with_its_line() {
        let error = check("[links]\nlegacy_peers = \"yes\"").unwrap_err();
        let error = error.to_string();
        assert!(
            error.starts_with("c.toml line 2") && error.contains("\"allow until YYYY-MM-DD\""),
            "{error}"
        );
    }

    #[test]
    fn every_key_of_the_section_has_a_comment() {
        let text = serde_json::to_value(LinksSection::default()).unwrap();
        let mut keys: Vec<_> = text.as_object().unwrap().keys().cloned().collect();
        let mut commented: Vec<_> = LinksSection::COMMENTS.iter().map(|(key, _)| *key).collect();
        keys.sort();
        commented.sort();
        assert_eq!(keys, commented);
    }

    #[test]
    fn every_result_of_a_handshake_is_on_the_page() {
        let links = Links::new(&IdentityKeyPair::from_seed(&[1; 32]), LinkConfig::default());
        let text = Metrics::new(vec![Box::new(links)]).render();
        for line in [
            "nym_node_handshakes_accepted_total{result=\"tls\"} 0",
            "nym_node_handshakes_accepted_total{result=\"legacy_expired\"} 0",
            "nym_node_handshakes_dialled_total{result=\"wrong_key\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }
}
