//! What others may know of a running client.

use std::time::Duration;

/// A glance at a running client, kept up to date by its tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientStatus {
    /// Whether the gateway takes packets.
    pub connected: bool,
    /// Whether there is a topology that packets can be routed over.
    pub routable: bool,
    /// How long ago the topology in use was fetched, as of the last attempt to fetch one.
    pub topology_age: Option<Duration>,
}

impl ClientStatus {
    /// Whether a message handed over now would leave at once.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        self.connected && self.routable
    }
}
