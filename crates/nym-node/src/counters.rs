//! The counters of a running node, shared by its tasks.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nym_daemon::clock::unix_time;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::processor::RejectCounts;
use crate::stats::{NodeStats, Totals};

/// A handle to a node's counters; clones count together.
#[derive(Clone, Debug)]
pub struct Counters(Arc<Mutex<Counted>>);

#[derive(Debug)]
struct Counted {
    stats: NodeStats,
    rejected: RejectCounts,
    work: Work,
}

/// What the packets of a node were to its processors and its memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Batches that were opened, each in one go.
    pub batches: u64,
    /// Packets dropped because too many waited for their moment.
    pub overflowed: u64,
    /// Time on processors inside of Sphinx: opening packets, nothing else.
    pub sphinx: Duration,
    /// How long packets were remembered against replays at least, when something was forgotten
    /// for the last time.
    pub replay_window: Option<Duration>,
    /// Packets that wait for their moment now.
    pub waiting: usize,
}

impl Counters {
    /// All zero, for a node that starts now.
    #[must_use]
    pub fn start() -> Self {
        let stats = NodeStats::new(unix_time());
        Self(Arc::new(Mutex::new(Counted {
            stats,
            rejected: RejectCounts::default(),
            work: Work::default(),
        })))
    }

    /// `count` frames were received.
    pub fn record_received(&self, count: usize) {
        self.lock()
            .stats
            .record_received(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// Packets were queued for a next hop, or dropped because a queue was full.
    pub fn record_outcomes(&self, outcomes: impl Iterator<Item = (SocketAddr, bool)>) {
        let mut counted = self.lock();
        for (next_hop, is_sent) in outcomes {
            if is_sent {
                counted.stats.record_sent(next_hop);
            } else {
                counted.stats.record_dropped(next_hop);
            }
        }
    }

    /// A packet was queued for a next hop, or dropped because a queue was full.
    pub fn record_outcome(&self, next_hop: SocketAddr, is_sent: bool) {
        self.record_outcomes(std::iter::once((next_hop, is_sent)));
    }

    /// A batch was opened, which took `sphinx` on a processor.
    pub fn record_batch(&self, sphinx: Duration) {
        let work = &mut self.lock().work;
        work.batches += 1;
        work.sphinx += sphinx;
    }

    /// A packet for `next_hop` was dropped because too many wait for their moment.
    pub fn record_overflowed(&self, next_hop: SocketAddr) {
        let mut counted = self.lock();
        counted.stats.record_dropped(next_hop);
        counted.work.overflowed += 1;
    }

    /// So many packets wait for their moment now.
    pub fn record_waiting(&self, count: usize) {
        self.lock().work.waiting = count;
    }

    /// The replay filter has forgotten something, and remembers packets for `window` at least.
    pub fn record_replay_window(&self, window: Duration) {
        self.lock().work.replay_window = Some(window);
        tracing::info!(
            remembered_secs = window.as_secs(),
            "the replay filter begins anew; what passed before its last generation is forgotten"
        );
    }

    /// Packets were rejected by the processor.
    pub fn record_rejected(&self, counts: &RejectCounts) {
        self.lock().rejected.add(counts);
    }

    /// Packets rejected so far, by reason.
    #[must_use]
    pub fn rejected(&self) -> RejectCounts {
        self.lock().rejected
    }

    /// What packets were to processors and memory so far.
    #[must_use]
    pub fn work(&self) -> Work {
        self.lock().work
    }

    /// What was counted so far, over all next hops.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.lock().stats.totals()
    }

    /// The published figures as JSON, see [`NodeStats::to_json`].
    #[must_use]
    pub fn to_json(&self, debug: bool) -> String {
        self.lock().stats.to_json(debug)
    }

    /// Publishes every `update_every` and logs the sums every `log_every`, until `shutdown`.
    ///
    /// # Panics
    /// When a period is zero.
    pub async fn run(
        self,
        update_every: Duration,
        log_every: Duration,
        shutdown: CancellationToken,
    ) {
        let periodically = |period| {
            let mut ticks = interval(period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks.reset();
            ticks
        };
        let mut update = periodically(update_every);
        let mut log = periodically(log_every);
        loop {
            // All branches are cancel-safe.
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = update.tick() => self.lock().stats.update(unix_time()),
                _ = log.tick() => self.log(),
            }
        }
    }

    fn log(&self) {
        let counted = self.lock();
        let (totals, rejected) = (counted.stats.totals(), counted.rejected);
        drop(counted);
        tracing::info!(
            received = totals.received,
            sent = totals.sent,
            dropped = totals.dropped,
            rejected = rejected.total(),
            replayed = rejected.replayed,
            "packets since start"
        );
    }

    /// The lock is held for a few additions, and a panic between them would leave counters that
    /// are still counters.
    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;
    use tokio::time::sleep;

    use super::*;

    fn received(counters: &Counters) -> u64 {
        let page: serde_json::Value = serde_json::from_str(&counters.to_json(false)).unwrap();
        page["packets_received_since_startup"].as_u64().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn figures_are_published_at_the_period_and_not_before() {
        let counters = Counters::start();
        let shutdown = CancellationToken::new();
        let period = Duration::from_secs(30);
        let mut tasks = JoinSet::new();
        tasks.spawn(counters.clone().run(period, period * 2, shutdown.clone()));
        tokio::task::yield_now().await;
        counters.record_received(3);
        sleep(period - Duration::from_millis(1)).await;
        assert_eq!(received(&counters), 0);
        sleep(Duration::from_millis(2)).await;
        assert_eq!(received(&counters), 3);
        shutdown.cancel();
        tasks.join_all().await;
    }
}
