//! What a node must be like to be listed.
//!
//! 0.11 programs read a list as a whole: one bond with a member that is missing or of another kind
//! costs them all of it (validator.md, section 3.3). So nothing gets into a registry but a
//! [`CheckedNode`], whoever speaks for the node: itself, by an announcement, or its operator.

use std::fmt;
use std::net::IpAddr;

use nym_packet::keys::{IdentityPublicKey, KeyError, public_key_from_base58};
use thiserror::Error;

use super::announcement::AnnouncedNode;
use super::version::is_version;

/// Longest host name in bytes (RFC 1035).
pub const HOST_LEN_MAX: usize = 253;

/// Longest description of a location in bytes.
pub const LOCATION_LEN_MAX: usize = 100;

/// Longest version in bytes.
pub const VERSION_LEN_MAX: usize = 64;

/// A node that every program can read and that can be reached in principle. Only
/// [`CheckedNode::new`] makes it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CheckedNode {
    node: AnnouncedNode,
    identity: IdentityPublicKey,
}

impl CheckedNode {
    /// Checks what is said about a node.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, see [`InvalidNode`].
    pub fn new(node: AnnouncedNode) -> Result<Self, InvalidNode> {
        let identity = check(&node)?;
        Ok(Self { node, identity })
    }

    /// What is said.
    #[must_use]
    pub const fn node(&self) -> &AnnouncedNode {
        &self.node
    }

    /// Whom it is said about.
    #[must_use]
    pub const fn identity(&self) -> &IdentityPublicKey {
        &self.identity
    }

    /// Where the node takes packets.
    #[must_use]
    pub fn mix_address(&self) -> MixAddress {
        self.node.mix_address()
    }

    /// Takes the statement out.
    #[must_use]
    pub fn into_node(self) -> AnnouncedNode {
        self.node
    }
}

/// Where a node takes packets, in a form that can be compared: IP addresses as the standard library
/// writes them, IPv4 in IPv6 as IPv4; names in lower case, without the dot at the end.
///
/// Two names of one machine stay two: nothing is resolved.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct MixAddress {
    /// IP address or DNS name.
    pub host: String,
    /// TCP port for packets.
    pub port: u16,
}

impl MixAddress {
    /// The address of a host as documents write it.
    #[must_use]
    pub fn new(host: &str, port: u16) -> Self {
        let host = match host.parse::<IpAddr>() {
            Ok(ip) => ip.to_canonical().to_string(),
            Err(_) => host.trim_end_matches('.').to_ascii_lowercase(),
        };
        Self { host, port }
    }
}

impl fmt::Display for MixAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') {
            write!(formatter, "[{host}]:{port}")
        } else {
            write!(formatter, "{host}:{port}")
        }
    }
}

/// Why a node is not listed.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum InvalidNode {
    /// The host is empty, too long, or has characters that no host has.
    #[error("the host is not an IP address or DNS name")]
    Host,
    /// The identity key is malformed.
    #[error("the identity key is malformed: {0}")]
    IdentityKey(#[source] KeyError),
    /// The location is too long or has control characters.
    #[error("the location has control characters or more than {LOCATION_LEN_MAX} bytes")]
    Location,
    /// A port is 0.
    #[error("port 0 cannot be reached")]
    Port,
    /// The Sphinx key is malformed.
    #[error("the Sphinx key is malformed: {0}")]
    SphinxKey(#[source] KeyError),
    /// `0.0.0.0` and `::` are where a node listens, never where it is.
    #[error("the host means no address in particular: announce one that others can reach")]
    UnspecifiedHost,
    /// The version is not a semantic version.
    #[error("the version is not a semantic version")]
    Version,
}

fn check(node: &AnnouncedNode) -> Result<IdentityPublicKey, InvalidNode> {
    let (host, ports, sphinx_key, identity_key, version, location) = match node {
        AnnouncedNode::MixNode(node) => (
            &node.host,
            // The optional services of a mix node may be switched off.
            [node.mix_port, node.mix_port],
            &node.sphinx_key,
            &node.identity_key,
            &node.version,
            "",
        ),
        AnnouncedNode::Gateway(node) => (
            &node.host,
            [node.mix_port, node.clients_port],
            &node.sphinx_key,
            &node.identity_key,
            &node.version,
            node.location.as_str(),
        ),
    };
    check_host(host)?;
    if ports.contains(&0) {
        return Err(InvalidNode::Port);
    }
    public_key_from_base58(sphinx_key).map_err(InvalidNode::SphinxKey)?;
    if version.len() > VERSION_LEN_MAX || !is_version(version) {
        return Err(InvalidNode::Version);
    }
    if location.len() > LOCATION_LEN_MAX || location.chars().any(char::is_control) {
        return Err(InvalidNode::Location);
    }
    identity_key.parse().map_err(InvalidNode::IdentityKey)
}

/// A host that ends in a number and is no IP address is refused as URLs refuse it: resolvers read
/// `010.0.0.1` and `167772161` as addresses, and each in its own way.
fn check_host(host: &str) -> Result<(), InvalidNode> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return if ip.to_canonical().is_unspecified() {
            Err(InvalidNode::UnspecifiedHost)
        } else {
            Ok(())
        };
    }
    let is_name_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let name = host.trim_end_matches('.');
    let last_label = name.rsplit('.').next().unwrap_or_default();
    let is_name = !name.is_empty() && host.len() <= HOST_LEN_MAX && host.chars().all(is_name_char);
    if is_name && !is_number(last_label) {
        Ok(())
    } else {
        Err(InvalidNode::Host)
    }
}

/// Whether a label is a decimal or hexadecimal number.
fn is_number(label: &str) -> bool {
    let hexadecimal = label
        .strip_prefix("0x")
        .or_else(|| label.strip_prefix("0X"));
    match hexadecimal {
        Some(digits) => digits.bytes().all(|digit| digit.is_ascii_hexdigit()),
        None => label.bytes().all(|digit| digit.is_ascii_digit()),
    }
}

#[cfg(test)]
mod tests {
    use nym_packet::keys::IdentityKeyPair;
    use proptest::prelude::*;

    use super::super::bond::{Gateway, MixNode};
    use super::*;

    fn gateway() -> Gateway {
        Gateway {
            host: "10.0.0.1".into(),
            mix_port: 1789,
            clients_port: 9000,
            location: "here".into(),
            sphinx_key: bs58::encode([2; 32]).into_string(),
            identity_key: IdentityKeyPair::from_seed(&[1; 32])
                .public_key()
                .to_string(),
            version: "0.11.0".into(),
            tls: Some(1),
        }
    }

    fn with(change: impl FnOnce(&mut Gateway)) -> Result<CheckedNode, InvalidNode> {
        let mut gateway = gateway();
        change(&mut gateway);
        CheckedNode::new(AnnouncedNode::Gateway(gateway))
    }

    #[test]
    fn what_is_wrong_with_a_node_is_named() {
        let error = |change: fn(&mut Gateway)| with(change).unwrap_err();
        assert_eq!(error(|node| node.clients_port = 0), InvalidNode::Port);
        assert_eq!(
            error(|node| node.version = "v1".into()),
            InvalidNode::Version
        );
        assert_eq!(
            error(|node| node.location = "a\nb".into()),
            InvalidNode::Location
        );
        let sphinx_key = error(|node| node.sphinx_key = "x".into());
        assert!(matches!(sphinx_key, InvalidNode::SphinxKey(_)));
        let identity_key = error(|node| node.identity_key = "x".into());
        assert!(matches!(identity_key, InvalidNode::IdentityKey(_)));
    }

    #[test]
    fn hosts_are_addresses_or_names_and_nothing_in_between() {
        let host = |host: &str| with(|node| node.host = host.to_owned()).map(|_| ());
        for good in [
            "10.0.0.1",
            "::1",
            "mix.example",
            "localhost",
            "a-b_c.example.",
            "7f3e2b",
        ] {
            assert_eq!(host(good), Ok(()), "{good}");
        }
        let too_long = "a".repeat(HOST_LEN_MAX + 1);
        for bad in [
            "",
            ".",
            "a b",
            "10.0.0.1:80",
            "[::1]",
            "010.0.0.1",
            "10.0.1",
            "167772161",
            "0x0a.0.0.1",
            "1.2.3.0x4",
            "é.example",
            &too_long,
        ] {
            assert_eq!(host(bad), Err(InvalidNode::Host), "{bad}");
        }
        for nowhere in ["0.0.0.0", "::", "::ffff:0.0.0.0"] {
            assert_eq!(
                host(nowhere),
                Err(InvalidNode::UnspecifiedHost),
                "{nowhere}"
            );
        }
    }

    #[test]
    fn an_address_that_is_written_in_another_way_is_the_same() {
        for [one, other] in [
            ["::ffff:10.0.0.1", "10.0.0.1"],
            ["2001:DB8:0::1", "2001:db8::1"],
            ["Mix.Example.", "mix.example"],
        ] {
            assert_eq!(MixAddress::new(one, 1), MixAddress::new(other, 1));
        }
        assert_ne!(MixAddress::new("a", 1), MixAddress::new("a", 2));
        assert_eq!(MixAddress::new("::1", 7).to_string(), "[::1]:7");
        assert_eq!(MixAddress::new("a", 7).to_string(), "a:7");
    }

    proptest! {
        #[test]
        fn any_statement_is_listed_or_refused(
            host in ".{0,20}", version in ".{0,20}", key in "[1-9A-Za-z]{0,50}", port: u16,
        ) {
            let node = MixNode {
                host, version, mix_port: port, verloc_port: port, http_api_port: port,
                sphinx_key: key.clone(), identity_key: key, tls: None,
            };
            let _ = CheckedNode::new(AnnouncedNode::MixNode(node));
        }
    }
}
