//! The thread that owns the database.

use std::thread;

use nym_client_core::{Batch, Position};
use tokio::sync::mpsc;

use super::{Store, StoreError};

/// What became of a batch.
#[derive(Debug)]
pub(crate) enum Written {
    /// It is durable.
    Committed(Position),
    /// Nothing of it was written.
    Failed(Batch, StoreError),
}

/// The thread; joined when the client stops.
#[derive(Debug)]
pub(crate) struct StoreThread(thread::JoinHandle<()>);

/// The way to the thread and back. The thread ends when this is dropped.
#[derive(Debug)]
pub(crate) struct StoreHandle {
    batches: mpsc::Sender<Batch>,
    written: mpsc::Receiver<Written>,
}

impl StoreThread {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// The operating system has no thread left.
    pub(crate) fn start(mut store: Store) -> std::io::Result<(Self, StoreHandle)> {
        // One batch at a time is under way, so neither queue is ever full.
        let (batches, mut waiting) = mpsc::channel::<Batch>(1);
        let (told, written) = mpsc::channel(1);
        let thread = thread::Builder::new()
            .name("client-store".to_owned())
            .spawn(move || {
                while let Some(batch) = waiting.blocking_recv() {
                    let outcome = match store.write(&batch) {
                        Ok(()) => Written::Committed(batch.position()),
                        Err(error) => Written::Failed(batch, error),
                    };
                    if told.blocking_send(outcome).is_err() {
                        break;
                    }
                }
            })?;
        Ok((Self(thread), StoreHandle { batches, written }))
    }

    /// Waits for the thread to end, after its handle was dropped.
    pub(crate) async fn join(self) {
        let joined = tokio::task::spawn_blocking(|| self.0.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!("the store ended by a defect in this program: please report it");
        }
    }
}

impl StoreHandle {
    /// Gives the thread a batch to write. The one before has to be told of first.
    pub(crate) fn write(&self, batch: Batch) {
        let taken = self.batches.try_send(batch);
        debug_assert!(taken.is_ok(), "one batch at a time");
    }

    /// What became of the batch; `None` when the thread has failed. Cancel-safe.
    pub(crate) async fn written(&mut self) -> Option<Written> {
        self.written.recv().await
    }
}
