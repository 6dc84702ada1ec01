//! What happened to frames and connections, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::connections::SendError;

/// Numbers since the start. Every frame given to [`send`](super::Connections::send) is counted
/// once as `queued` or as dropped; every queued one, later, as `written`, `dropped_unreachable`,
/// `dropped_stopped` or, when its next hop turned out to be one that must not be dialled,
/// `dropped_address_refused`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectionCounts {
    /// Connections made.
    pub connected: u64,
    /// Dials that failed, for whatever reason.
    pub dials_failed: u64,
    /// Frames dropped because the next hop must not be dialled: the address policy forbids it, it is
    /// not in the topology, or it does not speak TLS.
    pub dropped_address_refused: u64,
    /// Frames dropped because all queues together were full.
    pub dropped_memory_full: u64,
    /// Frames dropped because the next hop's queue was full.
    pub dropped_queue_full: u64,
    /// Frames dropped because the connections were closed before they were written.
    pub dropped_stopped: u64,
    /// Frames dropped because there were too many next hops.
    pub dropped_too_many_connections: u64,
    /// Frames dropped after their next hop could not be reached for too long.
    pub dropped_unreachable: u64,
    /// Connections that broke: the peer closed, or a write failed or got stuck.
    pub lost: u64,
    /// Frames queued.
    pub queued: u64,
    /// Frames handed to the operating system.
    pub written: u64,
}

impl ConnectionCounts {
    /// Frames dropped for any reason.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped_address_refused
            + self.dropped_memory_full
            + self.dropped_queue_full
            + self.dropped_stopped
            + self.dropped_too_many_connections
            + self.dropped_unreachable
    }
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) connected: AtomicU64,
    pub(super) dials_failed: AtomicU64,
    pub(super) dropped_address_refused: AtomicU64,
    dropped_memory_full: AtomicU64,
    dropped_queue_full: AtomicU64,
    pub(super) dropped_stopped: AtomicU64,
    dropped_too_many_connections: AtomicU64,
    pub(super) dropped_unreachable: AtomicU64,
    pub(super) lost: AtomicU64,
    queued: AtomicU64,
    pub(super) written: AtomicU64,
}

impl Counters {
    pub(super) fn count_queued(&self, outcome: Result<(), SendError>) {
        let counter = match outcome {
            Ok(()) => &self.queued,
            Err(SendError::AddressRefused) => &self.dropped_address_refused,
            Err(SendError::MemoryFull) => &self.dropped_memory_full,
            Err(SendError::QueueFull) => &self.dropped_queue_full,
            Err(SendError::Stopped) => &self.dropped_stopped,
            Err(SendError::TooManyConnections) => &self.dropped_too_many_connections,
        };
        add(counter, 1);
    }

    pub(super) fn snapshot(&self) -> ConnectionCounts {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ConnectionCounts {
            connected: value(&self.connected),
            dials_failed: value(&self.dials_failed),
            dropped_address_refused: value(&self.dropped_address_refused),
            dropped_memory_full: value(&self.dropped_memory_full),
            dropped_queue_full: value(&self.dropped_queue_full),
            dropped_stopped: value(&self.dropped_stopped),
            dropped_too_many_connections: value(&self.dropped_too_many_connections),
            dropped_unreachable: value(&self.dropped_unreachable),
            lost: value(&self.lost),
            queued: value(&self.queued),
            written: value(&self.written),
        }
    }
}

/// Adds to a counter that nobody reads together with another.
pub(super) fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Ordering::Relaxed);
}
