//! The engine's side of the store: one batch at a time, and who waits for it.

use std::collections::VecDeque;
use std::time::Duration;

use nym_client_core::{Batch, Engine, Position};
use rand::rngs::StdRng;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use crate::store::{StoreError, StoreHandle, Written};

/// How long after a failure a batch is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How long a client that stops waits for its last changes to be written.
const LAST_WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Keeps what an engine wants kept.
///
/// ```text
///            write_next                Committed
///   at rest ────────────► writing ─────────────────► at rest
///                            │ Failed
///                            ▼
///                      waiting to retry ──1 s──► writing, with all changes since
/// ```
#[derive(Debug)]
pub(super) struct Keeping {
    /// `None`: everything stays in memory.
    store: Option<StoreHandle>,
    is_writing: bool,
    failed: Option<Batch>,
    retry_at: Option<Instant>,
    failures_count: u64,
    /// What happens when a position is safe, in order.
    waiting: VecDeque<(Position, Waiting)>,
}

/// Something that waits until what was pushed is safe.
#[derive(Debug)]
enum Waiting {
    /// The answer to a gateway that asks for it.
    Answer(oneshot::Sender<()>),
    /// The room that a push takes.
    Room(OwnedSemaphorePermit),
}

/// Something that happened to the store.
#[derive(Debug)]
pub(super) enum Progress {
    /// A batch was written, or not.
    Written(Written),
    /// It is time to try again.
    Retry,
    /// There is no store any more.
    Ended,
}

impl Keeping {
    pub(super) const fn new(store: Option<StoreHandle>) -> Self {
        Self {
            store,
            is_writing: false,
            failed: None,
            retry_at: None,
            failures_count: 0,
            waiting: VecDeque::new(),
        }
    }

    /// Waits until something happens. Cancel-safe.
    pub(super) async fn progress(&mut self) -> Progress {
        if let Some(at) = self.retry_at {
            sleep_until(at).await;
            return Progress::Retry;
        }
        match &mut self.store {
            Some(store) if self.is_writing => match store.written().await {
                Some(written) => Progress::Written(written),
                None => Progress::Ended,
            },
            _ => std::future::pending().await,
        }
    }

    /// Tells the engine, and whoever waits.
    pub(super) fn take_in(&mut self, progress: Progress, engine: &mut Engine<StdRng>) {
        match progress {
            Progress::Ended => {}
            Progress::Retry => self.retry_at = None,
            Progress::Written(Written::Committed(position)) => {
                self.is_writing = false;
                if self.failures_count > 0 {
                    self.failures_count = 0;
                    tracing::info!("the store takes messages again");
                }
                engine.handle_committed(position);
                while let Some((needed, _)) = self.waiting.front()
                    && *needed <= position
                    && let Some((_, waiting)) = self.waiting.pop_front()
                {
                    match waiting {
                        Waiting::Answer(safe) => tell(safe),
                        Waiting::Room(room) => drop(room),
                    }
                }
            }
            Progress::Written(Written::Failed(batch, error)) => {
                self.is_writing = false;
                self.fail(&error);
                engine.handle_commit_failed();
                self.failed = Some(batch);
                self.retry_at = Some(Instant::now() + RETRY_AFTER);
            }
        }
    }

    /// Frees the room of a push when the position is safe.
    pub(super) fn free_when_safe(&mut self, position: Position, room: OwnedSemaphorePermit) {
        self.waiting.push_back((position, Waiting::Room(room)));
    }

    /// Answers when all pushes so far are safe. Those that are not have their room.
    pub(super) fn answer_when_safe(&mut self, safe: oneshot::Sender<()>) {
        match self.waiting.back() {
            None => tell(safe),
            Some((position, _)) => self.waiting.push_back((*position, Waiting::Answer(safe))),
        }
    }

    /// Writes what the engine has noted, unless a batch is under way.
    pub(super) fn write_next(&mut self, engine: &mut Engine<StdRng>) {
        let Some(store) = &self.store else {
            return;
        };
        if self.is_writing || self.retry_at.is_some() {
            return;
        }
        let batch = match (self.failed.take(), engine.poll_batch()) {
            (Some(mut failed), Some(later)) => {
                failed.append(later);
                failed
            }
            (Some(batch), None) | (None, Some(batch)) => batch,
            (None, None) => return,
        };
        store.write(batch);
        self.is_writing = true;
    }

    /// Writes everything there is. A store that does not take it is left alone: what it has is
    /// enough to go on from.
    pub(super) async fn finish(mut self, engine: &mut Engine<StdRng>) {
        let writing = async {
            self.write_next(engine);
            while self.is_writing && self.failed.is_none() {
                let progress = self.progress().await;
                if matches!(progress, Progress::Ended) {
                    return;
                }
                self.take_in(progress, engine);
                self.write_next(engine);
            }
        };
        if timeout(LAST_WRITE_TIMEOUT, writing).await.is_err() {
            tracing::warn!("stopping before the last changes were written");
        }
    }

    fn fail(&mut self, error: &StoreError) {
        self.failures_count += 1;
        // One line per doubling: the store is tried again every second.
        if self.failures_count.is_power_of_two() {
            let failures = self.failures_count;
            tracing::error!(failures, %error, "nothing can be stored, so no message is accepted");
        }
    }
}

fn tell(safe: oneshot::Sender<()>) {
    // The link may be down.
    let _ = safe.send(());
}
