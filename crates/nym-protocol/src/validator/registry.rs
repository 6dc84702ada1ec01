//! Where a validator keeps the nodes that announced themselves.

use thiserror::Error;

use super::announcement::VerifiedAnnouncement;
use super::bond::{GatewayBond, MixNodeBond};
use super::query::LayerDistribution;

/// The nodes of a network.
///
/// A mix node gets the [least filled layer](LayerDistribution::least_filled_layer) when it first
/// comes and keeps it; nobody moves while packets are under way to it.
pub trait Registry {
    /// What can go wrong in the storage.
    type Error: std::error::Error;

    /// Adds a node, or takes over what it says now in place of what it said before. Durable when
    /// it returns.
    ///
    /// # Errors
    ///
    /// See [`RegistryError`].
    fn announce(
        &mut self,
        announcement: VerifiedAnnouncement,
    ) -> Result<Announced, RegistryError<Self::Error>>;

    /// Removes the nodes whose last announcement is older, in seconds since 1970. Tells how many.
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

/// Why an announcement was not taken over.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum RegistryError<E: std::error::Error> {
    /// The node has said something later, or at the same time: this is a replay.
    #[error("a later announcement of this node is known")]
    Outdated,
    /// There are as many nodes as this validator keeps.
    #[error("the registry is full")]
    Full,
    /// The storage failed.
    #[error("the storage failed")]
    Storage(#[source] E),
}
