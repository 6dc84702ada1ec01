//! The way of packets through a relay.
//!
//! ```text
//!  link ─► reader ─┐                ┌─► no delay, or after it ─► connections ─► link
//!  link ─► reader ─┼─► workers ─────┤                 ▲
//!  link ─► reader ─┘   process      ├─► delay queue ──┘
//!                      frames       │   scheduler, a thread
//!                                   └─► delivery to a client (gateway only)
//! ```
//!
//! * A *reader* owns an incoming connection. It hands over whatever has arrived, as one batch, to
//!   the first worker with room; when no worker has room it waits, and so, by TCP, does the peer.
//!   Work that cannot be done is thus not even read.
//! * A *worker* does the cryptography of whatever has arrived, over all links, as one batch; a
//!   batch is never held back to be filled. There is a worker for each processor; after
//!   32 packets each lets the other tasks of its thread run. When a next hop's
//!   queue is full, the worker waits for a moment, and so, in the end, do the peers: see
//!   [`Connections::send_patiently`].
//! * The *scheduler* takes packets out of the [delay queue](crate::delay_queue) as they fall due.
//!   The delay of a packet counts from the moment its processing ended. A few packets it writes
//!   itself, many it leaves to the tasks of the connections.
//!
//! Nothing is kept in order; a mix gives none.
//!
//! A node with little to do wakes twice for a packet: the thread that finds it has arrived also
//! opens it, and the scheduler, at its deadline, also writes it.
//!
//! Under load no packet that goes on costs an allocation or a lock of its own: it travels in a
//! [buffer](nym_transport::buffers) that an earlier one left, and readers, workers, scheduler and
//! writers take each lock once for a batch.
//!
//! # Memory
//!
//! [`PACKETS_QUEUED`] packets wait for each worker; regular ones have 232 kB. A link that waits for
//! room holds one batch, at most 160 KiB. The delay queue and the connections have their own bounds.
//!
//! # Stopping
//!
//! When the shutdown is requested, no more is read; what was read is processed; packets that still
//! wait are sent as they fall due, but for no longer than [`DRAIN`].

mod schedule;

use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nym_daemon::clock::{Clock, thread_time};
use nym_packet::frame::Frame;
use nym_transport::buffers::Buffers;
use nym_transport::connections::Connections;
use nym_transport::frames::{FrameReader, ReadTimeouts};
use nym_transport::listener::Listener;
use nym_transport::stream::Stream;
use nym_transport::tls::Acceptor;
use sphinx::VerifiedHeader;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{JoinSet, spawn_blocking, yield_now};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use self::schedule::{CloseOnDrop, Delayed, Waiting};
use crate::counters::Counters;
use crate::delay_queue::QueueLimits;
use crate::processor::{
    BatchRoom, Delivery, Forward, Processed, Processor, RejectCounts, Rejection,
};
use crate::replay_journal::{ReplayMemory, ReplaySyncer, SYNC_EVERY};

/// Packets that wait for one worker at most, unless a single batch has more: three turns, so that
/// two batches of a busy link fit. More would only wait, and push each other out of the processor's
/// cache before they are opened.
pub const PACKETS_QUEUED: usize = 3 * PACKETS_PER_TURN;

/// How long packets that wait for their moment are still sent after the shutdown was requested.
pub const DRAIN: Duration = Duration::from_millis(500);

/// Packets that a worker opens together before other tasks of its thread may run: between one and
/// two milliseconds of cryptography, and four times as many as fill the widest lanes, so that few
/// lanes stay empty.
const PACKETS_PER_TURN: usize = 32;

/// Packets that fill the widest lanes.
const LANES: usize = 8;

/// So few packets that are due together are written by the scheduler, with a system call for each.
/// More are left to the tasks of the connections, where those for one next hop share a system call.
const LONE: usize = 4;

/// Of turns that do not fill lanes, one in so many is timed.
const TIMED_EVERY: u32 = 16;

/// What a relay does with packets that it has opened.
#[derive(Debug)]
pub enum Role<D> {
    /// It delivers what is for its clients, and drops what should go on.
    Gateway(D),
    /// It sends on what should go on, and drops what is for a client.
    MixNode,
}

impl Role<NoDelivery> {
    /// The role of a mix node, which delivers nothing.
    #[must_use]
    pub const fn mix_node() -> Self {
        Self::MixNode
    }
}

/// A gateway's way to its clients.
pub trait Deliver: Send + Sync + 'static {
    /// Delivers or stores a message, and then sends its acknowledgement.
    ///
    /// The worker waits for it, and so does what comes behind: take no longer than it takes to
    /// hand the message over to a queue that is bounded.
    fn deliver(&self, delivery: Delivery) -> impl Future<Output = ()> + Send;
}

/// The delivery of a node without clients; there is no value of it.
#[derive(Clone, Copy, Debug)]
pub enum NoDelivery {}

impl Deliver for NoDelivery {
    async fn deliver(&self, _: Delivery) {
        match *self {}
    }
}

/// What a pipeline is made of.
pub struct Parts<D> {
    /// What makes links of incoming connections.
    pub acceptor: Acceptor,
    /// The clock of the node.
    pub clock: Clock,
    /// Where packets leave. The pipeline does not close it, since others may use it as well.
    pub connections: Connections,
    /// Where everything is counted.
    pub counters: Counters,
    /// What opens packets.
    pub processor: Processor,
    /// Bounds of the delay queue.
    pub queue_limits: QueueLimits,
    /// How long a link may be silent.
    pub read_timeouts: ReadTimeouts,
    /// What remembers packets.
    pub replay: ReplayMemory,
    /// What is done with opened packets.
    pub role: Role<D>,
    /// Tasks that do cryptography at a time.
    pub workers: NonZeroUsize,
}

/// A task of the pipeline ended by a defect in this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("packet processing ended by a defect in this program: please report it")]
pub struct PipelineError;

/// Runs a relay's packets from `listener` to the connections until `shutdown` is cancelled and
/// what was read is done.
///
/// # Errors
/// [`PipelineError`] when a task panicked; the node cannot go on then.
pub async fn run<D: Deliver>(
    parts: Parts<D>,
    listener: Listener,
    shutdown: CancellationToken,
) -> Result<(), PipelineError> {
    let Parts {
        acceptor,
        clock,
        connections,
        counters,
        queue_limits,
        read_timeouts,
        workers,
        ..
    } = parts;
    let exit = Exit::new(connections, counters.clone());
    let buffers = exit.buffers.clone();
    let waiting = Arc::new(Waiting::new(queue_limits));
    let mut tasks = JoinSet::new();
    tasks.spawn_blocking({
        let (waiting, exit) = (Arc::clone(&waiting), exit.clone());
        move || schedule::run(&waiting, &exit, clock)
    });

    let syncer = parts.replay.syncer();
    let mut upkeep = JoinSet::new();
    upkeep.spawn(sync_regularly(syncer.clone()));
    let workshop = Workshop {
        clock,
        exit,
        processor: parts.processor,
        replay: Mutex::new(parts.replay),
        role: parts.role,
        waiting: CloseOnDrop { waiting, clock },
    };
    // The workers hold the only handles then: the scheduler ends soon after the last of them.
    let intake = Arc::new(Intake::start(workers, workshop, &mut tasks));
    let stop = shutdown.child_token();
    let accept = listener.run(stop.clone(), {
        let stop = stop.clone();
        move |stream, _peer| {
            let acceptor = acceptor.clone();
            let (intake, counters, stop) = (Arc::clone(&intake), counters.clone(), stop.clone());
            let buffers = buffers.clone();
            async move {
                // Who is refused has been counted, and told to the operator.
                if let Some(Ok(link)) = stop.run_until_cancelled(acceptor.accept(stream)).await {
                    let reader = FrameReader::new(link, read_timeouts).with_buffers(buffers);
                    read(reader, intake, counters, stop).await;
                }
            }
        }
    });
    {
        let mut accept = pin!(accept);
        // No task of the pipeline ends before the intake is gone, unless by panicking. Both
        // branches are cancel-safe: the accepting future is pinned and taken up again.
        tokio::select! {
            () = &mut accept => {}
            _ = tasks.join_next() => {
                stop.cancel();
                accept.await;
                return Err(PipelineError);
            }
        }
    }
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|_| PipelineError)?;
    }
    upkeep.shutdown().await;
    sync(syncer).await;
    Ok(())
}

async fn sync_regularly(syncer: ReplaySyncer) {
    loop {
        sleep(SYNC_EVERY).await;
        sync(syncer.clone()).await;
    }
}

/// Forces what is recorded to the disk. A disk that fails is told about; what it holds will do
/// unless the machine loses power.
async fn sync(syncer: ReplaySyncer) {
    match spawn_blocking(move || syncer.sync()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "cannot synchronise the replay journal"),
        Err(error) => tracing::error!(%error, "synchronising the replay journal failed"),
    }
}

/// Hands what one connection sends to the workers, until it ends or `stop` is cancelled.
async fn read(
    mut reader: FrameReader<Stream>,
    intake: Arc<Intake>,
    counters: Counters,
    stop: CancellationToken,
) {
    let mut stopped = pin!(stop.cancelled());
    loop {
        let mut batch = Vec::new();
        // Both branches are cancel-safe: the stop is pinned and taken up again.
        let read = tokio::select! {
            biased;
            () = &mut stopped => return,
            read = reader.next_frames(&mut batch) => read,
        };
        match read {
            Ok(1..) => {
                counters.record_received(batch.len());
                intake.push(batch).await;
            }
            // The peer closed the connection.
            Ok(0) => return,
            Err(error) => {
                tracing::debug!(%error, "an incoming link ended");
                return;
            }
        }
    }
}

/// The queues of the workers.
struct Intake {
    inputs: Vec<Input>,
    /// Where the next batch is tried first.
    next: AtomicUsize,
}

/// The queue of one worker.
struct Input {
    batches: mpsc::Sender<Batch>,
    /// A permit for each packet that may still wait.
    room: Arc<Semaphore>,
}

/// What one link handed over.
struct Batch {
    frames: Vec<Frame>,
    /// Given back when a worker takes the batch.
    _room: OwnedSemaphorePermit,
}

impl Intake {
    /// Starts so many workers, which share the workshop.
    fn start<D: Deliver>(
        workers: NonZeroUsize,
        workshop: Workshop<D>,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let workshop = Arc::new(workshop);
        let mut inputs = Vec::with_capacity(workers.get());
        for _ in 0..workers.get() {
            // Each batch has a packet at least, so the channel is never full.
            let (batches_in, batches) = mpsc::channel(PACKETS_QUEUED);
            inputs.push(Input {
                batches: batches_in,
                room: Arc::new(Semaphore::new(PACKETS_QUEUED)),
            });
            tasks.spawn(Arc::clone(&workshop).work(batches));
        }
        Self {
            inputs,
            next: AtomicUsize::new(0),
        }
    }

    /// Gives a batch to the first worker with room, in turn; waits when none has.
    async fn push(&self, frames: Vec<Frame>) {
        let count = u32::try_from(frames.len().min(PACKETS_QUEUED)).unwrap_or(u32::MAX);
        let first = self.next.fetch_add(1, Ordering::Relaxed) % self.inputs.len();
        let (before, from_first) = self.inputs.split_at(first);
        for input in from_first.iter().chain(before) {
            if let Ok(room) = Arc::clone(&input.room).try_acquire_many_owned(count) {
                return input.push(frames, room);
            }
        }
        if let Some(input) = from_first.first()
            && let Ok(room) = Arc::clone(&input.room).acquire_many_owned(count).await
        {
            input.push(frames, room);
        }
    }
}

impl Input {
    fn push(&self, frames: Vec<Frame>, room: OwnedSemaphorePermit) {
        let batch = Batch {
            frames,
            _room: room,
        };
        // Closed only after a panic, on which the whole pipeline ends.
        let _ = self.batches.try_send(batch);
    }
}

/// What the workers share.
struct Workshop<D> {
    clock: Clock,
    exit: Exit,
    processor: Processor,
    replay: Mutex<ReplayMemory>,
    role: Role<D>,
    waiting: CloseOnDrop,
}

impl<D: Deliver> Workshop<D> {
    async fn work(self: Arc<Self>, mut batches: mpsc::Receiver<Batch>) {
        let mut room = BatchRoom::default();
        let mut frames = Vec::new();
        let mut turn = Turn::default();
        let mut opened = 0;
        let mut sample = Sample::default();
        while take_arrived(&mut batches, &mut frames).await {
            let count = turn_count(frames.len());
            let mut unrecorded = 0;
            let mut checking = Duration::ZERO;
            let weight = sample.weight(count);
            let time = || {
                if weight > 0 {
                    thread_time()
                } else {
                    Duration::ZERO
                }
            };
            let began = time();
            self.processor.process_batch(
                &mut room,
                frames.drain(..count),
                |headers| {
                    let began = time();
                    unrecorded = self.check(headers);
                    checking = time().saturating_sub(began);
                },
                &mut turn.done,
            );
            let sphinx = time().saturating_sub(began + checking);
            self.exit.counters.record_batch(sphinx * weight);
            self.finish(&mut turn, unrecorded).await;
            // A lone packet does not pay for it.
            opened += count;
            if opened >= PACKETS_PER_TURN {
                opened = 0;
                yield_now().await;
            }
        }
    }

    /// Asks the replay memory; gives how many could not be recorded.
    fn check(&self, headers: &mut [Result<VerifiedHeader, sphinx::Error>]) -> u64 {
        let mut replay = self.lock_replay();
        let unrecorded = replay.check_headers(self.clock.now(), headers);
        let window = replay.take_window();
        drop(replay);
        if let Some(window) = window {
            self.exit.counters.record_replay_window(window);
        }
        unrecorded
    }

    /// Held for a few lookups and one write to a file, which the operating system buffers; a panic in it would leave a set that is still a set.
    fn lock_replay(&self) -> MutexGuard<'_, ReplayMemory> {
        self.replay.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes on what became of a batch. Of the packets that seem replayed, some may just not have
    /// been recorded.
    async fn finish(&self, turn: &mut Turn, unrecorded: u64) {
        let now = self.clock.now();
        let mut rejected = RejectCounts::default();
        for processed in turn.done.drain(..) {
            match (processed, &self.role) {
                (Ok(Processed::Forward(forward)), Role::MixNode) => {
                    let Forward {
                        next_hop,
                        delay,
                        frame,
                    } = forward;
                    if delay.is_zero() {
                        turn.at_once.push_back((next_hop.socket_addr(), frame));
                    } else {
                        turn.delayed.push(Delayed {
                            deadline: now + delay,
                            next_hop,
                            frame,
                        });
                    }
                }
                (Ok(Processed::Final(delivery)), Role::Gateway(to)) => to.deliver(delivery).await,
                (Ok(_), _) => rejected.misdirected += 1,
                (Err(rejection), _) => rejected.record(&rejection),
            }
        }
        self.waiting.waiting.hold(&mut turn.delayed, &self.exit);
        self.exit
            .send_patiently(&mut turn.at_once, &mut turn.outcomes)
            .await;
        rejected.replayed = rejected.replayed.saturating_sub(unrecorded);
        rejected.unrecorded += unrecorded;
        if rejected.total() > 0 {
            self.exit.counters.record_rejected(&rejected);
        }
    }
}

/// Adds to `frames` what has been handed over, enough for a turn; waits only if there is nothing
/// at all. False when there will be no more.
async fn take_arrived(batches: &mut mpsc::Receiver<Batch>, frames: &mut Vec<Frame>) -> bool {
    if frames.is_empty() {
        match batches.recv().await {
            Some(batch) => frames.extend(batch.frames),
            None => return false,
        }
    }
    // Whatever other links have handed over meanwhile shares the lanes.
    while frames.len() < PACKETS_PER_TURN
        && let Ok(batch) = batches.try_recv()
    {
        frames.extend(batch.frames);
    }
    true
}

/// How many of `count` packets the next turn opens. Those that would leave lanes empty beside full
/// ones have the next turn, at once, which newcomers may share.
const fn turn_count(count: usize) -> usize {
    if count >= PACKETS_PER_TURN {
        PACKETS_PER_TURN
    } else if count > LANES {
        count - count % LANES
    } else {
        count
    }
}

/// Which turns are timed. Reading a thread's clock takes up to 3 µs on a virtual machine, four times a
/// turn: little for many packets, a tenth for a lone one.
#[derive(Default)]
struct Sample {
    small_turns: u32,
}

impl Sample {
    /// For how many turns like the next one its time counts; zero if it is not timed.
    const fn weight(&mut self, count: usize) -> u32 {
        if count >= LANES {
            return 1;
        }
        let is_timed = self.small_turns.is_multiple_of(TIMED_EVERY);
        self.small_turns = self.small_turns.wrapping_add(1);
        if is_timed { TIMED_EVERY } else { 0 }
    }
}

/// What became of the packets of one turn, sorted; room that is kept from turn to turn.
#[derive(Default)]
struct Turn {
    done: Vec<Result<Processed, Rejection>>,
    at_once: VecDeque<(SocketAddr, Frame)>,
    delayed: Vec<Delayed>,
    outcomes: Vec<(SocketAddr, bool)>,
}

/// Where packets leave, and are counted.
#[derive(Clone)]
struct Exit {
    buffers: Buffers,
    connections: Connections,
    counters: Counters,
}

impl Exit {
    fn new(connections: Connections, counters: Counters) -> Self {
        Self {
            buffers: connections.buffers(),
            connections,
            counters,
        }
    }

    /// Sends without waiting; writes a few frames itself, instead of waking others for them.
    /// `outcomes` is room, empty before and after.
    fn send(
        &self,
        frames: &mut VecDeque<(SocketAddr, Frame)>,
        outcomes: &mut Vec<(SocketAddr, bool)>,
    ) {
        let connections = &self.connections;
        if frames.len() <= LONE {
            let sent = |(hop, frame)| (hop, connections.send_lone(hop, frame).is_ok());
            outcomes.extend(frames.drain(..).map(sent));
        }
        while !frames.is_empty() {
            connections.send_ready(frames, |hop, outcome| outcomes.push((hop, outcome.is_ok())));
            if let Some((hop, frame)) = frames.pop_front() {
                outcomes.push((hop, connections.send(hop, frame).is_ok()));
            }
        }
        self.counters.record_outcomes(outcomes.drain(..));
    }

    /// While a next hop's queue is full for a moment, the worker waits, and reads no more.
    async fn send_patiently(
        &self,
        frames: &mut VecDeque<(SocketAddr, Frame)>,
        outcomes: &mut Vec<(SocketAddr, bool)>,
    ) {
        let connections = &self.connections;
        while !frames.is_empty() {
            connections.send_ready(frames, |hop, outcome| outcomes.push((hop, outcome.is_ok())));
            if let Some((hop, frame)) = frames.pop_front() {
                let outcome = connections.send_patiently(hop, frame).await;
                outcomes.push((hop, outcome.is_ok()));
            }
        }
        self.counters.record_outcomes(outcomes.drain(..));
    }
}

#[cfg(test)]
mod tests;
