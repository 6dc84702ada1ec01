//! The writer of a connection that has nothing to write.
//!
//! While the task of a next hop waits for frames, it lays its writer down here. Whoever brings a
//! frame then may write it: on a node with little to do a packet is sent by the thread that woke
//! for it, and not by another one that has to be woken in turn.
//!
//! ```text
//!            laid down                  begun, not finished
//!  with the ─────────► idle ──────────────────────────────┐
//!  task     ◄───────── │  ▲                               │
//!     ▲     taken up   └──┘ written by a sender           ▼
//!     └───────────────────────────────────── the task finishes the frame
//! ```

use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use nym_packet::frame::Frame;
use tokio::io::{AsyncWrite as _, WriteHalf};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::connections::{Link, QueuedFrame};

/// What writes to a connection.
pub(super) type Writer = WriteHalf<Box<dyn Link>>;

/// Where the task of a next hop lays its writer down.
#[derive(Default)]
pub(super) struct IdleWriter {
    state: Mutex<State>,
    /// A frame was begun, which the task has to finish.
    begun: Notify,
}

#[derive(Default)]
struct State {
    /// `None` while the task has it, or there is no connection.
    writer: Option<Writer>,
    begun: Option<Begun>,
    /// When something was written last.
    written_at: Option<Instant>,
    /// Room to encode a frame in, kept from frame to frame.
    bytes: Vec<u8>,
}

/// A frame that the connection did not take as a whole.
pub(super) struct Begun {
    pub(super) frame: QueuedFrame,
    /// Bytes of it that were written; all of them when they only have to be flushed.
    pub(super) written_len: usize,
}

/// What became of a frame.
pub(super) enum Lone {
    /// Its task finishes it.
    Begun,
    /// The writer does not lie here, or somebody else has it; the frame has to be queued.
    Busy(Frame),
    /// The operating system has it; its buffer is free.
    Written(Frame),
}

impl IdleWriter {
    pub(super) fn lay_down(&self, writer: Writer) {
        let mut state = self.lock();
        state.writer = Some(writer);
        state.written_at = Some(Instant::now());
    }

    /// Takes the writer up again, and the frame that has to be finished first.
    pub(super) fn take_up(&self) -> (Option<Writer>, Option<Begun>) {
        let mut state = self.lock();
        (state.writer.take(), state.begun.take())
    }

    /// Waits until a sender has begun a frame that it could not finish. Now and then it returns
    /// although there is none.
    ///
    /// Cancel-safe.
    pub(super) async fn begun(&self) {
        self.begun.notified().await;
    }

    /// When something was written last.
    pub(super) fn written_at(&self) -> Option<Instant> {
        self.lock().written_at
    }

    /// Writes a frame if the writer lies here, and nothing was written for some time. Never waits,
    /// neither for the connection nor for another sender; takes as long as encrypting a frame and a
    /// system call.
    pub(super) fn write(&self, frame: QueuedFrame, quiet_for: Duration) -> Lone {
        let Ok(mut state) = self.state.try_lock() else {
            return Lone::Busy(frame.frame);
        };
        let State {
            writer,
            begun,
            written_at,
            bytes,
        } = &mut *state;
        let is_quiet = written_at.is_none_or(|at| at.elapsed() >= quiet_for);
        let (Some(writer), None, true) = (writer, &begun, is_quiet) else {
            return Lone::Busy(frame.frame);
        };
        bytes.clear();
        frame.frame.encode_into(bytes);
        // The task is told by other means, and polls with its own waker then.
        let mut context = Context::from_waker(Waker::noop());
        // An error is met again by the task, which knows what to do about it.
        let written_len = match Pin::new(&mut *writer).poll_write(&mut context, bytes) {
            Poll::Ready(Ok(len)) => len,
            Poll::Ready(Err(_)) | Poll::Pending => 0,
        };
        *written_at = Some(Instant::now());
        if written_len == bytes.len()
            && let Poll::Ready(Ok(())) = Pin::new(writer).poll_flush(&mut context)
        {
            return Lone::Written(frame.frame);
        }
        *begun = Some(Begun { frame, written_len });
        drop(state);
        self.begun.notify_one();
        Lone::Begun
    }

    /// Held for a few lines without waiting. A panic while a connection is written to leaves a
    /// frame that may have been cut off; the next write finds out that the peer does not take it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
