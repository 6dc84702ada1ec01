//! Where a validator keeps the nodes of its network.
//!
//! A node gets in by its own word, an announcement, and stays as long as it repeats that. The
//! programs of the 0.11 network cannot announce themselves; their operator *bonds* them, and they
//! stay until they are unbonded.
//!
//! | A node that is | announces itself | is bonded | is unbonded | is silent |
//! |---|---|---|---|---|
//! | not listed | announced | bonded | | |
//! | announced | announced | bonded, if that replaces | | not listed |
//! | bonded | bonded and announced | bonded | not listed | bonded |
//! | bonded and announced | the same | bonded, if that replaces | announced | the same |
//!
//! Listed is what was said last.
//!
//! An address for packets belongs to one node: to the first that claims it, for as long as that one
//! is kept. So nobody can take the address of a node that announces itself, or is bonded.

use nym_packet::keys::IdentityPublicKey;
use thiserror::Error;

use super::announcement::{AnnouncedNode, VerifiedAnnouncement};
use super::bond::{GatewayBond, Layer, MixNodeBond};
use super::checked_node::{CheckedNode, MixAddress};
use super::query::LayerDistribution;

/// The nodes of a network.
///
/// A mix node gets the [least filled layer](LayerDistribution::least_filled_layer) when it first
/// comes, unless its operator chooses another, and keeps it; nobody moves while packets are under
/// way to it.
pub trait Registry {
    /// What can go wrong in the storage.
    type Error: std::error::Error;

    /// Adds a node, or takes over what it says now in place of what it or its operator said before.
    /// Durable when it returns.
    ///
    /// # Errors
    ///
    /// [`RegistryError::AddressTaken`], [`RegistryError::Full`], [`RegistryError::HostTaken`],
    /// [`RegistryError::Outdated`] or [`RegistryError::Storage`].
    fn announce(
        &mut self,
        announcement: VerifiedAnnouncement,
    ) -> Result<Announced, RegistryError<Self::Error>>;

    /// Lists a node on its operator's word, in place of what the operator said before. Durable when
    /// it returns.
    ///
    /// # Errors
    ///
    /// [`RegistryError::AddressTaken`], [`RegistryError::AnnouncesItself`],
    /// [`RegistryError::Full`], [`RegistryError::HostTaken`] or [`RegistryError::Storage`].
    fn bond(&mut self, bonding: Bonding) -> Result<Bonded, RegistryError<Self::Error>>;

    /// Takes back what the operator said about a node; `None` if the operator said nothing. Durable
    /// when it returns.
    ///
    /// # Errors
    ///
    /// The storage could not be written.
    fn unbond(&mut self, identity: &IdentityPublicKey) -> Result<Option<Unbonded>, Self::Error>;

    /// What operators have bonded, sorted by the text of the identity key.
    ///
    /// # Errors
    ///
    /// The storage could not be read.
    fn bonds(&self) -> Result<Vec<StandingBond>, Self::Error>;

    /// Removes the nodes whose last announcement is older, in seconds since 1970, and that are not
    /// bonded. Tells how many.
    ///
    /// # Errors
    ///
    /// The storage could not be written.
    fn remove_silent_since(&mut self, timestamp: u64) -> Result<usize, Self::Error>;

    /// All mix nodes, sorted by the text of their identity key.
    ///
    /// # Errors
    ///
    /// The storage could not be read.
    fn mixnodes(&self) -> Result<Vec<MixNodeBond>, Self::Error>;

    /// All gateways, sorted by the text of their identity key.
    ///
    /// # Errors
    ///
    /// The storage could not be read.
    fn gateways(&self) -> Result<Vec<GatewayBond>, Self::Error>;

    /// How many nodes of each kind there are.
    ///
    /// # Errors
    ///
    /// The storage could not be read.
    fn layer_distribution(&self) -> Result<LayerDistribution, Self::Error>;
}

/// What an announcement changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Announced {
    /// The node was not known.
    New,
    /// The node was known; what it says may have changed.
    Renewed,
}

/// What an operator says about a node that cannot speak for itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Bonding {
    /// The node.
    pub node: CheckedNode,
    /// The layer of a mix node; `None` lets the registry choose. Means nothing for a gateway.
    pub layer: Option<Layer>,
    /// What to do with what is in the way.
    pub on_conflict: OnConflict,
}

/// What a bond does with what is in its way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnConflict {
    /// It is refused.
    Refuse,
    /// It takes the place of the node's own announcement, and of another node at its address.
    Replace,
}

/// What a bond changed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Bonded {
    /// The layer of a mix node.
    pub layer: Option<Layer>,
    /// Whether the node was listed before.
    pub was_known: bool,
    /// The identity key of another node that had the address and is not listed any more.
    pub displaced: Option<String>,
}

/// What taking back a bond changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unbonded {
    /// The node announces itself as well: it stays until it is silent.
    Announced,
    /// The node is not listed any more.
    Removed,
}

/// A bond that stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StandingBond {
    /// The node, as it is listed.
    pub node: AnnouncedNode,
    /// The layer of a mix node.
    pub layer: Option<Layer>,
    /// Whether the node has announced itself since, so that its own word is listed.
    pub announces_itself: bool,
}

/// Why an announcement or bond was not taken over.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum RegistryError<E: std::error::Error> {
    /// Another node takes packets there.
    #[error("node {holder} has the address {address}")]
    AddressTaken {
        /// Where.
        address: MixAddress,
        /// Its identity key.
        holder: String,
    },
    /// The node speaks for itself and needs no bond.
    #[error("node {identity} announces itself")]
    AnnouncesItself {
        /// Its identity key.
        identity: String,
    },
    /// There are as many nodes as this validator keeps.
    #[error("the registry is full")]
    Full,
    /// Another node of this kind has the host, at whatever port, and one of the two is bonded as a
    /// 0.11 program. Those do not start when a list has another node at their host (gateway.md,
    /// section 7.2).
    #[error("node {holder} has the host {host}, and a 0.11 program does not share its host")]
    HostTaken {
        /// The host.
        host: String,
        /// Its identity key.
        holder: String,
    },
    /// The node has said something later, or at the same time: this is a replay.
    #[error("a later announcement of this node is known")]
    Outdated,
    /// The storage failed.
    #[error("the storage failed")]
    Storage(#[source] E),
}
