//! The task of one next hop: dial, write, back off.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, split};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::connections::backoff::Backoff;
use crate::connections::counts::add;
use crate::connections::idle_writer::{IdleWriter, Writer};
use crate::connections::{DialFailure, Link, QueuedFrame, Shared};

/// Frames written with one system call: 32 regular frames are 77 KB.
const BATCH_COUNT: usize = 32;

/// How a connection ended.
enum End {
    /// It carried nothing for the idle timeout.
    Idle,
    /// The peer closed it, or a write failed or got stuck.
    Lost(io::Error),
    /// All is written and no more will come.
    Stopped,
}

pub(super) struct LinkTask {
    shared: Arc<Shared>,
    next_hop: SocketAddr,
    queue: mpsc::Receiver<QueuedFrame>,
    /// Taken from the queue and not yet written as a whole; survives a lost connection. At most
    /// [`BATCH_COUNT`].
    pending: VecDeque<QueuedFrame>,
    /// Bytes of the first pending frame that are written on the present connection.
    begun_len: usize,
    /// Where the writer lies while nothing is pending.
    idle: Arc<IdleWriter>,
    backoff: Backoff,
    /// Since when every dial has failed.
    failing_since: Option<Instant>,
    rng: StdRng,
}

impl LinkTask {
    pub(super) fn new(
        shared: Arc<Shared>,
        next_hop: SocketAddr,
        queue: mpsc::Receiver<QueuedFrame>,
        idle: Arc<IdleWriter>,
        rng: StdRng,
    ) -> Self {
        let config = &shared.config;
        Self {
            backoff: Backoff::new(config.initial_backoff, config.maximum_backoff),
            shared,
            next_hop,
            queue,
            pending: VecDeque::new(),
            begun_len: 0,
            idle,
            failing_since: None,
            rng,
        }
    }

    /// Runs until there is nothing left to do: no frames and no connection, or the stop signal.
    pub(super) async fn run(mut self) {
        loop {
            let wait = match self.dial().await {
                Ok(link) => {
                    add(&self.shared.counters.connected, 1);
                    self.shared.lock_links().introduce(self.next_hop);
                    self.failing_since = None;
                    let since = Instant::now();
                    match self.write(link).await {
                        End::Idle => Duration::ZERO,
                        End::Lost(error) => self.lost(since, &error),
                        End::Stopped => return,
                    }
                }
                Err(DialFailure::Failed(error)) => self.dial_failed(&error),
                Err(DialFailure::Refused(refusal)) => {
                    tracing::debug!(next_hop = %self.next_hop, %refusal, "not dialled");
                    let count = self.drop_waiting();
                    add(&self.shared.counters.dropped_address_refused, count);
                    Duration::ZERO
                }
            };
            // When the program stops there is no time for another attempt.
            if self
                .shared
                .stop
                .run_until_cancelled(sleep(wait))
                .await
                .is_none()
                || self.leave()
            {
                return;
            }
        }
    }

    async fn dial(&self) -> Result<Box<dyn Link>, DialFailure> {
        let dialling = self.shared.dialer.dial(self.next_hop);
        match timeout(self.shared.config.connect_timeout, dialling).await {
            Ok(outcome) => outcome,
            Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
        }
    }

    /// Gives up whatever waits; tells how many frames.
    fn drop_waiting(&mut self) -> usize {
        let mut count = self.pending.len();
        self.pending.clear();
        while self.queue.try_recv().is_ok() {
            count += 1;
        }
        count
    }

    /// Counts a lost connection; gives the time until the next dial.
    fn lost(&mut self, since: Instant, error: &io::Error) -> Duration {
        add(&self.shared.counters.lost, 1);
        tracing::debug!(next_hop = %self.next_hop, %error, "connection lost");
        if since.elapsed() >= self.shared.config.stable_after {
            self.backoff.succeeded();
            return Duration::ZERO;
        }
        self.backoff.failed(&mut self.rng)
    }

    /// Counts a failed dial and gives frames up that waited for too long; gives the time until
    /// the next dial.
    fn dial_failed(&mut self, error: &io::Error) -> Duration {
        add(&self.shared.counters.dials_failed, 1);
        tracing::debug!(next_hop = %self.next_hop, %error, "cannot connect");
        let since = *self.failing_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= self.shared.config.give_up_after {
            let count = self.drop_waiting();
            add(&self.shared.counters.dropped_unreachable, count);
        }
        self.backoff.failed(&mut self.rng)
    }

    /// Takes this next hop out of the table if no frame waits for it. Under the table's lock, so
    /// that no frame can slip into a queue that nobody reads any more.
    fn leave(&self) -> bool {
        let mut links = self.shared.lock_links();
        // Besides the table, only who waits for room holds a sender.
        let nobody_waits = self.queue.sender_strong_count() <= 1;
        let nothing_waits = self.pending.is_empty() && self.queue.is_empty() && nobody_waits;
        if nothing_waits {
            links.remove(self.next_hop);
        }
        nothing_waits
    }

    /// Writes frames as they come, until the connection ends.
    async fn write(&mut self, link: Box<dyn Link>) -> End {
        let (mut reader, mut writer) = split(link);
        self.begun_len = 0;
        loop {
            if self.pending.is_empty() {
                self.idle.lay_down(writer);
                let waited = self.wait_for_frame(&mut reader).await;
                let (taken_up, begun) = self.idle.take_up();
                writer = taken_up.expect("nobody but this task takes the writer up");
                if let Some(begun) = begun {
                    self.pending.push_front(begun.frame);
                    self.begun_len = begun.written_len;
                }
                // A frame that was begun meanwhile is finished, unless the connection is lost.
                let is_over = |end: &End| self.pending.is_empty() || matches!(end, End::Lost(_));
                if let Err(end) = waited
                    && is_over(&end)
                {
                    let _ = timeout(self.shared.config.write_timeout, writer.shutdown()).await;
                    return end;
                }
                if self.pending.is_empty() {
                    continue;
                }
            }
            while self.pending.len() < BATCH_COUNT
                && let Ok(frame) = self.queue.try_recv()
            {
                self.pending.push_back(frame);
            }
            if let Err(error) = self.write_pending(&mut writer).await {
                return End::Lost(error);
            }
        }
    }

    /// Waits for a frame, or for one that a sender has begun, while watching the connection; takes
    /// it as pending.
    async fn wait_for_frame(&mut self, reader: &mut ReadHalf<Box<dyn Link>>) -> Result<(), End> {
        let idle_timeout = self.shared.config.idle_timeout;
        let mut idle_at = Instant::now() + idle_timeout;
        let mut ignored = [0; 256];
        loop {
            // All branches are cancel-safe. The connection comes first, so that no frame is
            // written to one that is known to be closed; frames come before the stop signal, so
            // that what is queued is still written.
            tokio::select! {
                biased;
                read = reader.read(&mut ignored) => match read {
                    Ok(0) => return Err(End::Lost(io::ErrorKind::UnexpectedEof.into())),
                    // Nothing is ever answered on such a link; whatever it is, it is ignored.
                    Ok(_) => {}
                    Err(error) => return Err(End::Lost(error)),
                },
                Some(frame) = self.queue.recv() => {
                    self.pending.push_back(frame);
                    return Ok(());
                }
                () = self.idle.begun() => return Ok(()),
                () = self.shared.stop.cancelled() => return Err(End::Stopped),
                () = sleep_until(idle_at) => {
                    // Senders may have written meanwhile.
                    match self.idle.written_at().map(|at| at + idle_timeout) {
                        Some(later) if later > idle_at => idle_at = later,
                        _ => return Err(End::Idle),
                    }
                }
            }
        }
    }

    /// Writes the pending frames as one batch. After an error those that were not written as a
    /// whole are still pending: the peer drops an unfinished frame at the end of its connection.
    /// An encrypted link that breaks does not tell how far it came since the last flush; what is
    /// written again then is a replay at worst, which the peer's filter drops.
    async fn write_pending(&mut self, writer: &mut Writer) -> io::Result<()> {
        let mut batch = Vec::with_capacity(self.pending.iter().map(QueuedFrame::len).sum());
        for queued in &self.pending {
            queued.frame.encode_into(&mut batch);
        }
        let begun_len = std::mem::take(&mut self.begun_len);
        let mut rest = batch.get(begun_len..).unwrap_or_default();
        let mut outcome = Ok(());
        loop {
            match timeout(self.shared.config.write_timeout, write_some(writer, rest)).await {
                Ok(Ok(0)) if !rest.is_empty() => outcome = Err(io::ErrorKind::WriteZero.into()),
                Ok(Ok(len)) => rest = rest.get(len..).unwrap_or_default(),
                Ok(Err(error)) => outcome = Err(error),
                Err(_) => outcome = Err(io::ErrorKind::TimedOut.into()),
            }
            if outcome.is_err() || rest.is_empty() {
                break;
            }
        }
        self.forget_written(batch.len() - rest.len());
        outcome
    }

    /// Drops the pending frames that lie within the first `len` bytes written.
    fn forget_written(&mut self, mut len: usize) {
        let mut spares = self.shared.buffers.lock();
        let mut count = 0;
        while self.pending.front().is_some_and(|first| first.len() <= len)
            && let Some(first) = self.pending.pop_front()
        {
            len -= first.len();
            spares.give(first.frame);
            count += 1;
        }
        drop(spares);
        add(&self.shared.counters.written, count);
    }
}

/// Writes a part and waits until the operating system has all of it, and of what was written before.
async fn write_some(writer: &mut Writer, bytes: &[u8]) -> io::Result<usize> {
    let len = match bytes {
        [] => 0,
        bytes => writer.write(bytes).await?,
    };
    writer.flush().await?;
    Ok(len)
}

impl Drop for LinkTask {
    /// Closes the connection, and counts what was still waiting, when the task was cut.
    fn drop(&mut self) {
        let (_, begun) = self.idle.take_up();
        add(
            &self.shared.counters.dropped_stopped,
            usize::from(begun.is_some()) + self.pending.len() + self.queue.len(),
        );
    }
}
