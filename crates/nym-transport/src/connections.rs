//! The writing side of links between nodes: one connection per next hop.
//!
//! A node that has a frame for a socket address it has not talked to dials it, and keeps the
//! connection, on which it only writes. [`Connections::send`] never waits: the frame goes into a
//! bounded queue, or it is dropped and the caller is told why. Each next hop has a task that owns
//! its connection:
//!
//! ```text
//!             first frame          dialled
//!   (nothing) ───────────► dialling ──────► connected ── silent for long ──► (nothing)
//!                          ▲      │             │
//!                   waited │      │ failed      │ peer closed, write failed or stuck
//!                          │      ▼             ▼
//!                         backing off ◄─────────┘     nothing queued ──► (nothing)
//! ```
//!
//! A frame that comes alone needs no task: while the task waits for frames, and nothing else was
//! written of late, whoever sends one writes it to the connection. The task is woken only if it has
//! to be finished.
//!
//! Frames stay queued while the task dials and backs off, so a next hop that restarts receives
//! what was meant for it. They are given up only after
//! [`give_up_after`](ConnectionsConfig::give_up_after) of failures without a success. A frame
//! that was handed to the operating system when the connection broke may be lost; the sender's
//! retransmission recovers it. To lose as few as possible the task also reads from its
//! connection, where a healthy peer never writes: it learns of a close before the next write.
//!
//! **Back-off.** After every kind of failure (refused, timed out, unreachable, closed too early)
//! the task waits for a random time between half of `d` and `d`, where `d` is the initial
//! back-off doubled for each failure in a row, at most the maximum. A connection that lasted for
//! [`stable_after`](ConnectionsConfig::stable_after) ends the row, and when it is lost the task
//! dials again at once.

mod address_policy;
mod backoff;
mod counts;
mod idle_writer;
mod link;
mod postponed;

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nym_packet::frame::Frame;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::buffers::Buffers;
use crate::connections::counts::{Counters, add};
use crate::connections::idle_writer::{IdleWriter, Lone};
use crate::connections::link::LinkTask;
use crate::tls::LinkRefusal;

pub use crate::connections::address_policy::AddressPolicy;
pub use crate::connections::counts::ConnectionCounts;
pub use crate::connections::postponed::{Postponed, Unsent};

/// A silent peer is asked whether it still lives after so long.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// How long [`Connections::send_patiently`] waits for room.
pub const PATIENCE: Duration = Duration::from_millis(20);

/// How long nobody waits again for a next hop that somebody waited for in vain.
pub const IMPATIENCE: Duration = Duration::from_secs(1);

/// How long may be waited for room in each second, over all next hops together: a tenth. Next hops
/// are chosen by whoever sends packets, so slow ones, however many, must not hold up the rest.
pub const PATIENCE_PER_SECOND: Duration = Duration::from_millis(100);

/// A connection to which nothing was written for so long is quiet: a frame alone is written by its
/// sender. Frames that follow each other faster, 5,000 a second, are queued, so that its task can
/// write those together that came while it wrote.
pub const QUIET: Duration = Duration::from_micros(200);

/// Next hops at a time that the [dialer](Dial::knows) does not know. They wait until it learns who
/// they are, and must not take the places of others: whoever sends packets can name any number.
pub const STRANGERS_MAX: usize = 64;

/// Bounds and times of a node's outgoing connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionsConfig {
    /// Which next hops may be dialled at all.
    pub address_policy: AddressPolicy,
    /// A dial that takes longer has failed.
    pub connect_timeout: Duration,
    /// Queued frames are dropped when all dials for so long have failed.
    pub give_up_after: Duration,
    /// A connection without a frame for so long is closed.
    pub idle_timeout: Duration,
    /// Back-off after the first failure in a row.
    pub initial_backoff: Duration,
    /// Next hops at a time; frames for more are dropped. Each costs a socket and about 10 KiB.
    pub max_connections: usize,
    /// Bytes of frames queued for all next hops together; 64 MiB are 27,000 regular frames. Without
    /// it, queues full of extended packets could take 4,096 × 1,024 × 33 KiB = 139 GB.
    pub max_queued_bytes: usize,
    /// The longest back-off.
    pub maximum_backoff: Duration,
    /// Frames queued for one next hop; more are dropped. 1,024 regular frames are 2.5 MB, and what
    /// 20,000 packets a second are in 50 ms: so long may a writer be kept from its processor.
    pub queue_len: usize,
    /// A connection that lasted for so long was no failure.
    pub stable_after: Duration,
    /// A write that makes no progress for so long has failed.
    pub write_timeout: Duration,
}

impl Default for ConnectionsConfig {
    fn default() -> Self {
        Self {
            address_policy: AddressPolicy::Any,
            connect_timeout: Duration::from_millis(1500),
            give_up_after: Duration::from_secs(120),
            idle_timeout: Duration::from_secs(600),
            initial_backoff: Duration::from_millis(500),
            max_connections: 4096,
            max_queued_bytes: 64 << 20,
            maximum_backoff: Duration::from_secs(60),
            queue_len: 1024,
            stable_after: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
        }
    }
}

/// Why a frame was dropped instead of queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The address policy forbids the next hop.
    #[error("the next hop's address must not be dialled")]
    AddressRefused,
    /// All queues together are full.
    #[error("too many bytes are queued for all next hops together")]
    MemoryFull,
    /// The next hop's queue is full.
    #[error("the next hop's queue is full")]
    QueueFull,
    /// The connections have been closed.
    #[error("the connections have been closed")]
    Stopped,
    /// There are too many next hops already.
    #[error("there are connections to too many next hops")]
    TooManyConnections,
}

/// All outgoing connections of a node; clones are handles to the same connections.
///
/// When the last handle is dropped all connections are cut. [`Connections::close`] is the polite
/// way.
#[derive(Debug, Clone)]
pub struct Connections {
    shared: Arc<Shared>,
    tasks: TaskTracker,
    _cut_on_drop: Arc<DropGuard>,
}

impl Connections {
    /// No connections yet; they will be plain ones, as in the 0.11 network. `rng` feeds the jitter
    /// of back-offs, nothing else.
    #[must_use]
    pub fn new(config: ConnectionsConfig, rng: StdRng) -> Self {
        Self::with_dialer(config, rng, PlainDialer)
    }

    /// No connections yet; `dialer` makes them, and `rng` feeds the jitter of back-offs.
    #[must_use]
    pub fn with_dialer(config: ConnectionsConfig, rng: StdRng, dialer: impl Dial) -> Self {
        let cut = CancellationToken::new();
        let shared = Arc::new(Shared {
            buffers: Buffers::default(),
            config,
            counters: Counters::default(),
            cut: cut.clone(),
            dialer: Box::new(dialer),
            links: Mutex::new(Links {
                is_closed: false,
                queues: HashMap::new(),
                patience: Patience::default(),
                rng,
                strangers: 0,
            }),
            queued_bytes: Arc::default(),
            stop: CancellationToken::new(),
        });
        Self {
            shared,
            tasks: TaskTracker::new(),
            _cut_on_drop: Arc::new(cut.drop_guard()),
        }
    }

    /// Queues a frame for a next hop, dialling it if there is no connection yet. Never waits.
    ///
    /// # Errors
    ///
    /// [`SendError`]: the frame was dropped, and counted by its reason.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn send(&self, next_hop: SocketAddr, frame: Frame) -> Result<(), SendError> {
        let outcome = self.queue(next_hop, frame).map_err(SendError::from);
        self.shared.counters.count_queued(outcome);
        outcome
    }

    /// Like [`send`](Self::send), but writes the frame itself to a connection that was
    /// [quiet](QUIET), and gives a frame back that finds its next hop's queue full: whoever can wait
    /// without holding up anything else calls [`Postponed::send_within`].
    ///
    /// # Errors
    ///
    /// [`Unsent`].
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn try_send(&self, next_hop: SocketAddr, frame: Frame) -> Result<(), Unsent> {
        let Err(frame) = self.write_lone(next_hop, frame, QUIET) else {
            return Ok(());
        };
        let outcome = match self.queue(next_hop, frame) {
            Err(Unqueued::Full { queue, frame, .. }) => {
                return Err(Unsent::Postponed(Postponed {
                    next_hop,
                    frame: Some(frame),
                    queue,
                    shared: Arc::clone(&self.shared),
                }));
            }
            outcome => outcome.map_err(SendError::from),
        };
        self.shared.counters.count_queued(outcome);
        outcome.map_err(Unsent::Dropped)
    }

    /// Like [`send`](Self::send), but writes the frame itself to a connection that was
    /// [quiet](QUIET), and waits while the next hop's queue is full, for at most [`PATIENCE`]; who
    /// gives nothing more to do meanwhile is held back too.
    ///
    /// After a wait in vain, nobody waits for that next hop again within [`IMPATIENCE`], and all
    /// waits together take no more than [`PATIENCE_PER_SECOND`]: next hops that are slow, stuck or
    /// down delay the packets for others by a tenth of the time at most.
    ///
    /// Not cancel-safe: the frame is lost when the future is dropped.
    ///
    /// # Errors
    ///
    /// [`SendError`]: the frame was dropped, and counted by its reason.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub async fn send_patiently(
        &self,
        next_hop: SocketAddr,
        frame: Frame,
    ) -> Result<(), SendError> {
        let Err(frame) = self.write_lone(next_hop, frame, QUIET) else {
            return Ok(());
        };
        let outcome = match self.queue(next_hop, frame) {
            Err(Unqueued::Full {
                queue,
                frame,
                is_awaited: true,
            }) => {
                let began = Instant::now();
                let outcome = queue.send_timeout(frame, PATIENCE).await;
                let mut links = self.shared.lock_links();
                links.patience.spend(began);
                if outcome.is_err()
                    && let Some(queue) = links.queues.get_mut(&next_hop)
                {
                    queue.given_up_at = Some(Instant::now());
                }
                outcome.map_err(|_| SendError::QueueFull)
            }
            outcome => outcome.map_err(SendError::from),
        };
        self.shared.counters.count_queued(outcome);
        outcome
    }

    /// [`send`](Self::send) for each of `frames`, with one lock for all. Takes them out up to the
    /// first for whose next hop somebody should [wait](Self::send_patiently), and tells `done` what
    /// became of each.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn send_ready(
        &self,
        frames: &mut VecDeque<(SocketAddr, Frame)>,
        mut done: impl FnMut(SocketAddr, Result<(), SendError>),
    ) {
        let mut links = self.shared.lock_links();
        while let Some((next_hop, frame)) = frames.pop_front() {
            let outcome = match self.queue_in(&mut links, next_hop, frame) {
                Err(Unqueued::Full {
                    frame,
                    is_awaited: true,
                    ..
                }) => return frames.push_front((next_hop, frame.frame)),
                outcome => outcome.map_err(SendError::from),
            };
            self.shared.counters.count_queued(outcome);
            done(next_hop, outcome);
        }
    }

    /// Like [`send`](Self::send), but writes the frame itself if its next hop's connection has
    /// nothing else to write: on a thread that woke for this frame, as when its delay is over, that
    /// is cheaper than to wake another one. Takes as long as encrypting a frame and a system call.
    ///
    /// # Errors
    ///
    /// [`SendError`]: the frame was dropped, and counted by its reason.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn send_lone(&self, next_hop: SocketAddr, frame: Frame) -> Result<(), SendError> {
        match self.write_lone(next_hop, frame, Duration::ZERO) {
            Ok(()) => Ok(()),
            Err(frame) => self.send(next_hop, frame),
        }
    }

    /// Writes a frame to a connection that has nothing else to write, and had not for some time.
    /// Gives it back if there is none.
    fn write_lone(
        &self,
        next_hop: SocketAddr,
        frame: Frame,
        quiet_for: Duration,
    ) -> Result<(), Frame> {
        let Some(idle) = self.shared.lock_links().idle_writer(next_hop) else {
            return Err(frame);
        };
        let counters = &self.shared.counters;
        match idle.write(QueuedFrame::reserve(&self.shared, frame)?, quiet_for) {
            Lone::Begun => counters.count_queued(Ok(())),
            Lone::Busy(frame) => return Err(frame),
            Lone::Written(frame) => {
                counters.count_queued(Ok(()));
                add(&counters.written, 1);
                self.shared.buffers.lock().give(frame);
            }
        }
        Ok(())
    }

    /// Where frames leave their buffers when they are written.
    #[must_use]
    pub fn buffers(&self) -> Buffers {
        self.shared.buffers.clone()
    }

    fn queue(&self, next_hop: SocketAddr, frame: Frame) -> Result<(), Unqueued> {
        self.queue_in(&mut self.shared.lock_links(), next_hop, frame)
    }

    fn queue_in(
        &self,
        links: &mut Links,
        next_hop: SocketAddr,
        frame: Frame,
    ) -> Result<(), Unqueued> {
        let config = &self.shared.config;
        if !config.address_policy.allows(next_hop) {
            return Err(SendError::AddressRefused.into());
        }
        let Ok(mut queued) = QueuedFrame::reserve(&self.shared, frame) else {
            return Err(SendError::MemoryFull.into());
        };
        if links.is_closed {
            return Err(SendError::Stopped.into());
        }
        let is_patient = links.patience.is_left();
        if let Some(queue) = links.queues.get(&next_hop) {
            match queue.sender.try_send(queued) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(frame)) => {
                    return Err(Unqueued::Full {
                        queue: queue.sender.clone(),
                        frame,
                        is_awaited: is_patient
                            && queue
                                .given_up_at
                                .is_none_or(|at| at.elapsed() >= IMPATIENCE),
                    });
                }
                // Its task failed by a defect; a new one takes its place.
                Err(TrySendError::Closed(frame)) => queued = frame,
            }
        } else if links.queues.len() >= config.max_connections {
            return Err(SendError::TooManyConnections.into());
        }
        let is_stranger = !self.shared.dialer.knows(next_hop);
        if is_stranger && links.strangers >= STRANGERS_MAX {
            return Err(SendError::AddressRefused.into());
        }
        links.strangers += usize::from(is_stranger);
        let (sender, receiver) = mpsc::channel(config.queue_len.max(1));
        sender
            .try_send(queued)
            .expect("the queue was made in the line above and has room for one");
        let rng = StdRng::from_rng(&mut links.rng);
        let idle = Arc::<IdleWriter>::default();
        let queue = Queue {
            sender,
            idle: Arc::clone(&idle),
            given_up_at: None,
            is_stranger,
        };
        links.insert(next_hop, queue);
        let task = LinkTask::new(Arc::clone(&self.shared), next_hop, receiver, idle, rng);
        let cut = self.shared.cut.clone();
        self.tasks.spawn(async move {
            cut.run_until_cancelled(task.run()).await;
        });
        Ok(())
    }

    /// Takes no more frames, writes those that can be written within `patience`, and ends all
    /// connections.
    pub async fn close(&self, patience: Duration) {
        self.shared.lock_links().is_closed = true;
        self.tasks.close();
        self.shared.stop.cancel();
        if timeout(patience, self.tasks.wait()).await.is_err() {
            self.shared.cut.cancel();
            self.tasks.wait().await;
        }
    }

    /// What has happened to frames and connections so far.
    #[must_use]
    pub fn counts(&self) -> ConnectionCounts {
        self.shared.counters.snapshot()
    }

    /// Next hops that have a queue now, connected or not.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.shared.lock_links().queues.len()
    }

    /// Bytes of frames queued now, for all next hops together.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.shared.queued_bytes.load(Ordering::Relaxed)
    }
}

/// What the handles and the tasks share.
struct Shared {
    buffers: Buffers,
    config: ConnectionsConfig,
    counters: Counters,
    /// Cancelled to end all tasks at once.
    cut: CancellationToken,
    dialer: Box<dyn Dial>,
    links: Mutex<Links>,
    queued_bytes: Arc<AtomicUsize>,
    /// Cancelled to make all tasks write what they have and end.
    stop: CancellationToken,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// The lock is held for a few lines without waiting, and what it guards is never half
    /// changed, so a panic elsewhere does no harm to it.
    fn lock_links(&self) -> MutexGuard<'_, Links> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Links {
    is_closed: bool,
    queues: HashMap<SocketAddr, Queue>,
    patience: Patience,
    rng: StdRng,
    /// How many of the queues are for strangers.
    strangers: usize,
}

impl Links {
    fn insert(&mut self, next_hop: SocketAddr, queue: Queue) {
        if let Some(old) = self.queues.insert(next_hop, queue) {
            self.strangers -= usize::from(old.is_stranger);
        }
    }

    fn remove(&mut self, next_hop: SocketAddr) {
        if let Some(old) = self.queues.remove(&next_hop) {
            self.strangers -= usize::from(old.is_stranger);
        }
    }

    /// Where the writer may lie for a next hop to which nothing is queued.
    fn idle_writer(&self, next_hop: SocketAddr) -> Option<Arc<IdleWriter>> {
        let queue = self.queues.get(&next_hop)?;
        let is_empty = queue.sender.capacity() == queue.sender.max_capacity();
        (is_empty && !self.is_closed).then(|| Arc::clone(&queue.idle))
    }

    /// The next hop was dialled, so it is no stranger any more.
    fn introduce(&mut self, next_hop: SocketAddr) {
        if let Some(queue) = self.queues.get_mut(&next_hop) {
            self.strangers -= usize::from(std::mem::take(&mut queue.is_stranger));
        }
    }
}

/// How long was waited for room within the current second.
#[derive(Default)]
struct Patience {
    second: Option<Instant>,
    spent: Duration,
}

impl Patience {
    fn is_left(&self) -> bool {
        let is_over = |second: Instant| second.elapsed() >= Duration::from_secs(1);
        self.spent < PATIENCE_PER_SECOND || self.second.is_none_or(is_over)
    }

    /// Counts a wait that began at `began` and has just ended.
    fn spend(&mut self, began: Instant) {
        let is_over = |second: Instant| second.elapsed() >= Duration::from_secs(1);
        if self.second.is_none_or(is_over) {
            self.second = Some(began);
            self.spent = Duration::ZERO;
        }
        self.spent += began.elapsed();
    }
}

/// The way to the task of a next hop.
struct Queue {
    sender: mpsc::Sender<QueuedFrame>,
    /// Where its task lays the writer down.
    idle: Arc<IdleWriter>,
    /// When somebody last waited for room in vain.
    given_up_at: Option<Instant>,
    /// The dialer did not know the next hop when it was first needed.
    is_stranger: bool,
}

/// Why a frame is in no queue.
enum Unqueued {
    /// The queue had no room; here is the frame back.
    Full {
        queue: mpsc::Sender<QueuedFrame>,
        frame: QueuedFrame,
        /// Nobody has waited for this queue in vain lately.
        is_awaited: bool,
    },
    /// It was dropped.
    Refused(SendError),
}

impl From<SendError> for Unqueued {
    fn from(error: SendError) -> Self {
        Self::Refused(error)
    }
}

impl From<Unqueued> for SendError {
    fn from(unqueued: Unqueued) -> Self {
        match unqueued {
            Unqueued::Full { .. } => Self::QueueFull,
            Unqueued::Refused(error) => error,
        }
    }
}

/// A frame in a queue.
struct QueuedFrame {
    frame: Frame,
    _reserved: Reserved,
}

/// The place of a frame among the bytes queued, until it is dropped.
struct Reserved {
    len: usize,
    queued_bytes: Arc<AtomicUsize>,
}

impl QueuedFrame {
    /// Gives the frame back when there is no room.
    fn reserve(shared: &Shared, frame: Frame) -> Result<Self, Frame> {
        let len = frame.size().frame_len();
        let max = shared.config.max_queued_bytes;
        let reserved =
            shared
                .queued_bytes
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |queued| {
                    queued.checked_add(len).filter(|&sum| sum <= max)
                });
        if reserved.is_err() {
            return Err(frame);
        }
        Ok(Self {
            frame,
            _reserved: Reserved {
                len,
                queued_bytes: Arc::clone(&shared.queued_bytes),
            },
        })
    }

    fn len(&self) -> usize {
        self.frame.size().frame_len()
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.queued_bytes.fetch_sub(self.len, Ordering::Relaxed);
    }
}

/// Makes connections to next hops.
pub trait Dial: Send + Sync + 'static {
    /// Whether it can tell who is at this address, without waiting. A next hop that is not known is
    /// dialled all the same, but only few of them at a time.
    fn knows(&self, next_hop: SocketAddr) -> bool;

    /// Dials a next hop, once.
    fn dial(&self, next_hop: SocketAddr) -> Dialling;
}

/// A connection to be.
pub type Dialling = Pin<Box<dyn Future<Output = Result<Box<dyn Link>, DialFailure>> + Send>>;

/// A connection to a next hop: encrypted or plain in programs, memory in tests under paused time.
pub trait Link: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Link for T {}

/// Why a next hop was not reached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialFailure {
    /// It failed, and may be tried again.
    #[error(transparent)]
    Failed(#[from] io::Error),
    /// There will be no connection; what waits for it is dropped.
    #[error(transparent)]
    Refused(LinkRefusal),
}

/// Makes plain connections to whoever is there.
struct PlainDialer;

impl Dial for PlainDialer {
    fn knows(&self, _: SocketAddr) -> bool {
        true
    }

    fn dial(&self, next_hop: SocketAddr) -> Dialling {
        Box::pin(async move { Ok(Box::new(dial_tcp(next_hop).await?) as Box<dyn Link>) })
    }
}

/// A TCP connection with the options of a link.
pub(crate) async fn dial_tcp(next_hop: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(next_hop).await?;
    // A packet must not wait for the next one to fill a segment.
    stream.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE);
    socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok(stream)
}

#[cfg(test)]
mod tests;
