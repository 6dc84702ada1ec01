//! The packets that wait, and the thread that sends each at its moment.
//!
//! The delay queue is shared: a worker puts in what a turn gave with one lock, and the scheduler
//! takes out what is due with another. Both hold it for some microseconds.
//!
//! The scheduler is a thread of its own and no task. Tokio's timers are a millisecond coarse, and a
//! task waits behind whatever its thread does, here batches of cryptography; the operating system
//! wakes a thread that has slept at once, to some 50 µs.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nym_daemon::clock::Clock;
use nym_packet::address::HopAddress;
use nym_packet::frame::Frame;
use nym_packet::time::Timestamp;

use super::{DRAIN, Exit};
use crate::delay_queue::{DelayQueue, QueueLimits};

/// Packets sent between two locks: a queue that is emptied does not keep the workers out.
const SENT_AT_ONCE: usize = 64;

/// Time between two rounds at least: at 20,000 packets a second ten packets share a round, and the
/// system call that writes them. It is all that the scheduler adds to a delay.
const ROUND: Duration = Duration::from_micros(500);

/// A packet that waits for its moment.
pub(super) struct Delayed {
    pub(super) deadline: Timestamp,
    pub(super) next_hop: HopAddress,
    pub(super) frame: Frame,
}

/// The packets that wait, shared by workers and scheduler.
pub(super) struct Waiting {
    state: Mutex<State>,
    /// An earlier deadline came, or the workers are gone.
    changed: Condvar,
}

struct State {
    queue: DelayQueue,
    /// When the scheduler wakes by itself; `None` while it works or sleeps without a deadline.
    wakes_at: Option<Timestamp>,
    /// When the scheduler ends although packets wait.
    ends_at: Option<Timestamp>,
}

impl Waiting {
    pub(super) fn new(limits: QueueLimits) -> Self {
        Self {
            state: Mutex::new(State {
                queue: DelayQueue::new(limits),
                wakes_at: None,
                ends_at: None,
            }),
            changed: Condvar::new(),
        }
    }

    /// Lets packets wait, and counts those that are dropped for want of room.
    pub(super) fn hold(&self, packets: &mut Vec<Delayed>, exit: &Exit) {
        let Some(earliest) = packets.iter().map(|packet| packet.deadline).min() else {
            return;
        };
        let mut state = self.lock();
        let mut spares = exit.buffers.lock();
        for Delayed {
            deadline,
            next_hop,
            frame,
        } in packets.drain(..)
        {
            state.queue.insert(deadline, next_hop, &frame, |next_hop| {
                exit.counters.record_overflowed(next_hop.socket_addr());
            });
            spares.give(frame);
        }
        drop(spares);
        exit.counters.record_waiting(state.queue.len());
        let is_earlier = state.wakes_at.is_none_or(|wakes_at| earliest < wakes_at);
        drop(state);
        if is_earlier {
            self.changed.notify_one();
        }
    }

    /// Ends the scheduler when nothing waits any more, and at `ends_at` in any case.
    pub(super) fn close(&self, ends_at: Timestamp) {
        self.lock().ends_at = Some(ends_at);
        self.changed.notify_one();
    }

    /// Waits until packets are due, and takes some of them. False when it is time to end.
    fn take_due(
        &self,
        clock: Clock,
        not_before: Timestamp,
        exit: &Exit,
        due: &mut VecDeque<(SocketAddr, Frame)>,
    ) -> bool {
        let mut state = self.lock();
        loop {
            let now = clock.now();
            if state
                .ends_at
                .is_some_and(|ends_at| state.queue.is_empty() || ends_at <= now)
            {
                return false;
            }
            if not_before <= now {
                let mut spares = exit.buffers.lock();
                while due.len() < SENT_AT_ONCE
                    && let Some((next_hop, frame)) =
                        state.queue.pop_due(now, |size| spares.take(size))
                {
                    due.push_back((next_hop.socket_addr(), frame));
                }
                drop(spares);
                if !due.is_empty() {
                    exit.counters.record_waiting(state.queue.len());
                    return true;
                }
            }
            state.wakes_at = state.queue.next_turn().map(|turn| turn.max(not_before));
            let until = [state.wakes_at, state.ends_at].into_iter().flatten().min();
            state = match until {
                None => self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let pause = until.saturating_duration_since(now);
                    let woken = self.changed.wait_timeout(state, pause);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
            state.wakes_at = None;
        }
    }

    /// A panic while it is held would leave a queue that may have lost packets, and ends the node.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes the queue when the last worker is gone, however it went.
pub(super) struct CloseOnDrop {
    pub(super) waiting: Arc<Waiting>,
    pub(super) clock: Clock,
}

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.waiting.close(self.clock.now() + DRAIN);
    }
}

/// Sends packets at their deadlines until the queue is closed. Blocks its thread.
///
/// What waits then for longer than [`DRAIN`] is lost, as if this node had been cut off; senders
/// retransmit.
pub(super) fn run(waiting: &Waiting, exit: &Exit, clock: Clock) {
    let mut due = VecDeque::with_capacity(SENT_AT_ONCE);
    let mut outcomes = Vec::with_capacity(SENT_AT_ONCE);
    let mut not_before = Timestamp::ZERO;
    while waiting.take_due(clock, not_before, exit, &mut due) {
        let is_all = due.len() < SENT_AT_ONCE;
        exit.send(&mut due, &mut outcomes);
        if is_all {
            not_before = clock.now() + ROUND;
        }
    }
}
