//! Acknowledgements whose first hop has a full queue.
//!
//! One that is lost costs its sender a retransmission of the whole packet, so it may wait for room:
//! beside the work of everybody else, and no longer than it is of use.

use std::time::Duration;

use nym_node::counters::Counters;
use nym_transport::connections::Postponed;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long an acknowledgement waits. A 0.11 sender adds 1.5 s to the expected delay before it sends
/// again; one that comes later than that is of no use.
const PATIENCE: Duration = Duration::from_secs(1);

/// Acknowledgements that wait at a time; further ones are dropped. With about 1 kB for each, and the
/// task that waits with it, 4 MB.
const COUNT_MAX: usize = 4_096;

/// Acknowledgements on their way to the task that waits with them.
const HANDED_OVER_MAX: usize = 256;

/// Takes acknowledgements that shall wait.
#[derive(Clone, Debug)]
pub(crate) struct LateAcks(mpsc::Sender<Postponed>);

/// Waits with them.
#[derive(Debug)]
pub(crate) struct LateAcksTask {
    late: mpsc::Receiver<Postponed>,
    counters: Counters,
}

/// Too many wait already, or the gateway stops; the acknowledgement is dropped, and counted.
#[derive(Debug)]
pub(crate) struct TooMany;

impl LateAcks {
    pub(crate) fn new(counters: Counters) -> (Self, LateAcksTask) {
        let (sender, late) = mpsc::channel(HANDED_OVER_MAX);
        (Self(sender), LateAcksTask { late, counters })
    }

    /// Never waits.
    pub(crate) fn take(&self, late: Postponed) -> Result<(), TooMany> {
        self.0.try_send(late).map_err(|_| TooMany)
    }
}

impl LateAcksTask {
    /// Runs until `stop` is cancelled; what waits then is dropped.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut waiting = JoinSet::new();
        loop {
            // All branches are cancel-safe.
            tokio::select! {
                () = stop.cancelled() => return,
                Some(_) = waiting.join_next() => {}
                Some(late) = self.late.recv(), if waiting.len() < COUNT_MAX => {
                    let counters = self.counters.clone();
                    waiting.spawn(async move {
                        let first_hop = late.next_hop();
                        let sent = late.send_within(PATIENCE).await;
                        counters.record_outcome(first_hop, sent.is_ok());
                    });
                }
            }
        }
    }
}
