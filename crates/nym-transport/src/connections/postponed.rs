//! Frames that found their next hop's queue full.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::connections::{QueuedFrame, SendError, Shared};

/// Why [`Connections::try_send`](super::Connections::try_send) did not queue a frame.
#[derive(Debug)]
#[non_exhaustive]
pub enum Unsent {
    /// It was dropped, and counted by its reason.
    Dropped(SendError),
    /// The next hop's queue is full; the frame may wait for room.
    Postponed(Postponed),
}

/// A frame that may wait for room in its next hop's queue. Its bytes count as queued meanwhile.
///
/// One that is dropped, unsent, counts as dropped because its queue was full.
#[must_use = "a frame that nobody waits with is lost"]
pub struct Postponed {
    pub(super) next_hop: SocketAddr,
    /// None once it is queued.
    pub(super) frame: Option<QueuedFrame>,
    pub(super) queue: mpsc::Sender<QueuedFrame>,
    pub(super) shared: Arc<Shared>,
}

impl Postponed {
    /// Where it should go.
    #[must_use]
    pub const fn next_hop(&self) -> SocketAddr {
        self.next_hop
    }

    /// Waits for room, for at most `patience`. Frames for one next hop are queued in the order in
    /// which they began to wait.
    ///
    /// Not cancel-safe: the frame is lost, and counted, when the future is dropped.
    ///
    /// # Errors
    ///
    /// [`SendError::QueueFull`]: it was dropped, and counted.
    pub async fn send_within(mut self, patience: Duration) -> Result<(), SendError> {
        match timeout(patience, self.queue.reserve()).await {
            Ok(Ok(room)) => {
                if let Some(frame) = self.frame.take() {
                    room.send(frame);
                    self.shared.counters.count_queued(Ok(()));
                }
                Ok(())
            }
            // It took too long, or the task of the next hop has ended.
            Ok(Err(_)) | Err(_) => Err(SendError::QueueFull),
        }
    }
}

impl Drop for Postponed {
    fn drop(&mut self) {
        if self.frame.is_some() {
            self.shared.counters.count_queued(Err(SendError::QueueFull));
        }
    }
}

impl fmt::Debug for Postponed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postponed").finish_non_exhaustive()
    }
}
