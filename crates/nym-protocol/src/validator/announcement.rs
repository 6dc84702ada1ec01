//! How a node gets into the lists: it posts what it says about itself, signed.
//!
//! ```json
//! {"mix_node": {…}, "timestamp": 1700000000, "signature": "<base58>"}
//! ```
//!
//! with `gateway` in place of `mix_node` for a gateway; both have the members of a bond. The
//! signature is that of the identity key named inside, over these bytes:
//!
//! ```text
//! field(b"nym mix node announcement v1" | b"nym gateway announcement v1")
//! field(host) field(mix_port) field(verloc_port, http_api_port | clients_port)
//! field(location, gateways only) field(sphinx_key) field(identity_key) field(version)
//! field(timestamp) [field(tls)]
//!
//! field(x) = length of x in bytes (4, big-endian) ‖ x
//! ```
//!
//! Texts are signed as they stand in JSON, ports as 2 bytes and the timestamp, in seconds since
//! 1970, as 8 bytes, big-endian. A node that speaks TLS signs the number of its member `tls` as
//! well, 4 bytes, so nobody on the way can make it look like a plain one. Every field has a length,
//! so no two announcements share their bytes.

use nym_packet::keys::{IdentityKeyPair, IdentityPublicKey, Signature};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::bond::{Gateway, MixNode};
use super::checked_node::{CheckedNode, InvalidNode, MixAddress};

/// A node's signed statement about itself, not verified yet.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Announcement {
    /// What it says.
    #[serde(flatten)]
    pub node: AnnouncedNode,
    /// When it says it, in seconds since 1970.
    pub timestamp: u64,
    /// Base58 of the Ed25519 signature, 64 bytes.
    pub signature: String,
}

/// A node of either kind.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum AnnouncedNode {
    /// A mix node.
    #[serde(rename = "mix_node")]
    MixNode(MixNode),
    /// A gateway.
    #[serde(rename = "gateway")]
    Gateway(Gateway),
}

impl AnnouncedNode {
    /// Base58 of its identity key.
    #[must_use]
    pub fn identity_key(&self) -> &str {
        match self {
            Self::MixNode(node) => &node.identity_key,
            Self::Gateway(node) => &node.identity_key,
        }
    }

    /// Where it takes packets.
    #[must_use]
    pub fn mix_address(&self) -> MixAddress {
        match self {
            Self::MixNode(node) => MixAddress::new(&node.host, node.mix_port),
            Self::Gateway(node) => MixAddress::new(&node.host, node.mix_port),
        }
    }
}

impl Announcement {
    /// Signs a statement made at `timestamp` (seconds since 1970).
    ///
    /// The identity key that the node names should be that of `identity`, or nobody will believe
    /// it.
    #[must_use]
    pub fn sign(node: AnnouncedNode, timestamp: u64, identity: &IdentityKeyPair) -> Self {
        let signature = identity
            .sign(&canonical_bytes(&node, timestamp))
            .to_string();
        Self {
            node,
            timestamp,
            signature,
        }
    }

    /// Parses the JSON form.
    ///
    /// # Errors
    ///
    /// [`AnnouncementError::Json`].
    pub fn parse(text: &str) -> Result<Self, AnnouncementError> {
        serde_json::from_str(text).map_err(|error| AnnouncementError::Json {
            reason: error.to_string(),
        })
    }

    /// The JSON form.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers and strings always have a JSON form")
    }

    /// Checks the statement and its signature.
    ///
    /// `now` and `skew_max` are in seconds; the timestamp may be that far off in either
    /// direction.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, see [`AnnouncementError`].
    pub fn verify(
        self,
        now: u64,
        skew_max: u64,
    ) -> Result<VerifiedAnnouncement, AnnouncementError> {
        let node = CheckedNode::new(self.node)?;
        if now.abs_diff(self.timestamp) > skew_max {
            return Err(AnnouncementError::Timestamp { skew_max });
        }
        let signature: Signature = self
            .signature
            .parse()
            .map_err(|_| AnnouncementError::Signature)?;
        node.identity()
            .verify(&canonical_bytes(node.node(), self.timestamp), &signature)
            .map_err(|_| AnnouncementError::Signature)?;
        Ok(VerifiedAnnouncement {
            node,
            timestamp: self.timestamp,
        })
    }
}

/// A statement that its node has signed. Only [`Announcement::verify`] makes it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VerifiedAnnouncement {
    node: CheckedNode,
    timestamp: u64,
}

impl VerifiedAnnouncement {
    /// What the node says.
    #[must_use]
    pub const fn node(&self) -> &CheckedNode {
        &self.node
    }

    /// Who says it.
    #[must_use]
    pub const fn identity(&self) -> &IdentityPublicKey {
        self.node.identity()
    }

    /// When it was said, in seconds since 1970.
    #[must_use]
    pub const fn timestamp(&self) -> u64 {
        self.timestamp
    }
}

/// Why an announcement is not believed.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum AnnouncementError {
    /// The body is not an announcement.
    #[error("the body is not an announcement: {reason}")]
    Json {
        /// What the parser says.
        reason: String,
    },
    /// What it says is not fit to be listed.
    #[error(transparent)]
    Node(#[from] InvalidNode),
    /// The statement is too old, or comes from the future.
    #[error("the timestamp is more than {skew_max} s off")]
    Timestamp {
        /// How far off it may be, in seconds.
        skew_max: u64,
    },
    /// The node has not signed this.
    #[error("the signature does not verify")]
    Signature,
}

/// What is signed; the module documentation gives the layout.
fn canonical_bytes(node: &AnnouncedNode, timestamp: u64) -> Vec<u8> {
    let timestamp = timestamp.to_be_bytes();
    let (mut bytes, tls) = match node {
        AnnouncedNode::MixNode(node) => (
            join(&[
                b"nym mix node announcement v1",
                node.host.as_bytes(),
                &node.mix_port.to_be_bytes(),
                &node.verloc_port.to_be_bytes(),
                &node.http_api_port.to_be_bytes(),
                node.sphinx_key.as_bytes(),
                node.identity_key.as_bytes(),
                node.version.as_bytes(),
                &timestamp,
            ]),
            node.tls,
        ),
        AnnouncedNode::Gateway(node) => (
            join(&[
                b"nym gateway announcement v1",
                node.host.as_bytes(),
                &node.mix_port.to_be_bytes(),
                &node.clients_port.to_be_bytes(),
                node.location.as_bytes(),
                node.sphinx_key.as_bytes(),
                node.identity_key.as_bytes(),
                node.version.as_bytes(),
                &timestamp,
            ]),
            node.tls,
        ),
    };
    if let Some(tls) = tls {
        bytes.extend(join(&[&tls.to_be_bytes()]));
    }
    bytes
}

/// The fields one after the other, each behind its length.
fn join(fields: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in fields {
        let len = u32::try_from(field.len()).expect("a field of a document fits in 4 GiB");
        bytes.extend_from_slice(&len.to_be_bytes());
        bytes.extend_from_slice(field);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn identity() -> IdentityKeyPair {
        IdentityKeyPair::from_seed(&[1; 32])
    }

    fn gateway() -> Gateway {
        Gateway {
            host: "10.0.0.1".into(),
            mix_port: 1789,
            clients_port: 9000,
            location: "here".into(),
            sphinx_key: bs58::encode([2; 32]).into_string(),
            identity_key: identity().public_key().to_string(),
            version: "0.11.0".into(),
            tls: Some(1),
        }
    }

    fn mixnode() -> MixNode {
        MixNode {
            host: "mix.example".into(),
            mix_port: 1789,
            verloc_port: 0,
            http_api_port: 8000,
            sphinx_key: bs58::encode([2; 32]).into_string(),
            identity_key: identity().public_key().to_string(),
            version: "0.11.0".into(),
            tls: None,
        }
    }

    fn verify(node: AnnouncedNode) -> Result<VerifiedAnnouncement, AnnouncementError> {
        Announcement::sign(node, NOW, &identity()).verify(NOW, 60)
    }

    #[test]
    fn signed_statement_is_believed_after_a_round_trip() {
        for node in [
            AnnouncedNode::Gateway(gateway()),
            AnnouncedNode::MixNode(mixnode()),
        ] {
            let signed = Announcement::sign(node.clone(), NOW, &identity());
            let read = Announcement::parse(&signed.to_json()).unwrap();
            assert_eq!(read, signed);
            let verified = read.verify(NOW, 60).unwrap();
            assert_eq!(verified.node().node(), &node);
            assert_eq!(verified.identity(), &identity().public_key());
        }
    }

    #[test]
    fn timestamp_may_be_a_minute_off_and_no_more() {
        let signed = Announcement::sign(AnnouncedNode::Gateway(gateway()), NOW, &identity());
        for (now, believed) in [
            (NOW - 61, false),
            (NOW - 60, true),
            (NOW + 60, true),
            (NOW + 61, false),
        ] {
            assert_eq!(signed.clone().verify(now, 60).is_ok(), believed, "{now}");
        }
    }

    #[test]
    fn changed_statement_is_not_believed() {
        let signed = Announcement::sign(AnnouncedNode::Gateway(gateway()), NOW, &identity());
        let changes: [fn(&mut Gateway); 6] = [
            |gateway| gateway.host = "10.0.0.2".into(),
            |gateway| gateway.clients_port = 9001,
            |gateway| gateway.location = "there".into(),
            |gateway| gateway.sphinx_key = bs58::encode([3; 32]).into_string(),
            |gateway| gateway.tls = None,
            |gateway| gateway.tls = Some(2),
        ];
        for change in changes {
            let mut gateway = gateway();
            change(&mut gateway);
            let mut changed = signed.clone();
            changed.node = AnnouncedNode::Gateway(gateway);
            assert_eq!(changed.verify(NOW, 60), Err(AnnouncementError::Signature));
        }
        let mut later = signed;
        later.timestamp += 1;
        assert_eq!(later.verify(NOW, 60), Err(AnnouncementError::Signature));
    }

    #[test]
    fn bytes_cannot_move_between_fields() {
        let shifted = Gateway {
            host: "10.0.0.11".into(),
            ..gateway()
        };
        let signed = Announcement::sign(AnnouncedNode::Gateway(shifted), NOW, &identity());
        let forged = Announcement {
            node: AnnouncedNode::Gateway(gateway()),
            ..signed
        };
        assert_eq!(forged.verify(NOW, 60), Err(AnnouncementError::Signature));
    }

    #[test]
    fn nobody_can_announce_another_identity() {
        let other = IdentityKeyPair::from_seed(&[9; 32]);
        let signed = Announcement::sign(AnnouncedNode::Gateway(gateway()), NOW, &other);
        assert_eq!(signed.verify(NOW, 60), Err(AnnouncementError::Signature));
    }

    #[test]
    fn unusable_statement_is_refused_though_it_is_signed() {
        let nowhere = Gateway {
            host: "0.0.0.0".into(),
            ..gateway()
        };
        let refused = AnnouncementError::Node(InvalidNode::UnspecifiedHost);
        assert_eq!(verify(AnnouncedNode::Gateway(nowhere)), Err(refused));
    }

    proptest! {
        #[test]
        fn any_text_is_an_announcement_or_an_error(text in ".{0,200}") {
            let _ = Announcement::parse(&text);
        }

        #[test]
        fn any_statement_is_believed_or_refused(
            host in ".{0,20}", version in ".{0,20}", key in "[1-9A-Za-z]{0,50}", timestamp: u64,
        ) {
            let node = MixNode { host, version, identity_key: key, ..mixnode() };
            let signed =
                Announcement::sign(AnnouncedNode::MixNode(node), timestamp, &identity());
            let _ = signed.verify(NOW, 60);
        }
    }
}
