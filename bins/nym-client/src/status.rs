//! What others may know of a running client.

mod rates;
mod report;

use std::time::Duration;

use nym_client_core::EngineStats;
use tokio::time::Instant;

pub(crate) use self::rates::RateMeter;
pub use self::rates::Rates;
pub use self::report::StatusReport;

/// A glance at a running client, kept up to date by its tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ClientStatus {
    /// Whether the gateway takes packets.
    pub connected: bool,
    /// Whether there is a topology that packets can be routed over.
    pub routable: bool,
    /// When the topology in use was fetched.
    pub topology_fetched_at: Option<Instant>,
    /// What the traffic engine has done so far.
    pub engine: EngineStats,
    /// Messages that were taken over and are not acknowledged yet.
    pub unacknowledged_messages: usize,
    /// Their bytes.
    pub unacknowledged_bytes: usize,
    /// Messages that arrived and that no app has taken.
    pub untaken_messages: usize,
    /// Their bytes, with 256 more for each.
    pub untaken_bytes: usize,
    /// How fast the engine works lately.
    pub rates: Rates,
}

impl ClientStatus {
    /// Whether a message handed over now would leave at once.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        self.connected && self.routable
    }

    /// How old the topology in use is.
    #[must_use]
    pub fn topology_age(&self) -> Option<Duration> {
        self.topology_fetched_at.map(|at| at.elapsed())
    }
}
