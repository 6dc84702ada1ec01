//! What was accepted from an app and is not yet acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nym_packet::address::Recipient;
use nym_packet::fragment::{Fragment, FragmentId};
use nym_packet::reply::ReplySurb;
use nym_packet::time::Timestamp;

use crate::engine::Lane;
use crate::engine::fair_queue::FairQueue;
use crate::event::{Event, FailureReason, MessageId};

/// Every unacknowledged message, down to its fragments.
///
/// ```text
///                   pop, build, sent(timer)                acknowledged
///   accept ──► queued ───────────────────────► in flight ──────────────► gone
///                ▲                                 │
///                └────────── timer expires ────────┘   (given up after too many attempts)
/// ```
///
/// A fragment keeps its identifier over all attempts, so an acknowledgement of any of them counts.
#[derive(Debug)]
pub(crate) struct Unacknowledged {
    messages: BTreeMap<MessageId, Outgoing>,
    fragments: BTreeMap<FragmentId, Pending>,
    queue: FairQueue<MessageId, Queued>,
    timers: BTreeSet<(Timestamp, FragmentId)>,
    bytes: usize,
    last_id: u64,
}

/// One accepted message.
#[derive(Debug)]
struct Outgoing {
    accepted_at: Timestamp,
    remaining: usize,
    bytes: usize,
    fragments: Vec<FragmentId>,
    lane: Option<Lane>,
}

/// One packet's worth of it.
#[derive(Debug)]
struct Pending {
    message: MessageId,
    content: Content,
    attempts: u32,
    timer: Option<Timestamp>,
}

/// What an acknowledgement is awaited for.
#[derive(Debug)]
enum Content {
    Fragment {
        fragment: Box<Fragment>,
        recipient: Box<Recipient>,
    },
    /// A reply that has left: its SURB is spent, so there is nothing left to send again.
    SentReply,
}

/// What waits for a slot.
#[derive(Debug)]
enum Queued {
    Fragment(FragmentId),
    Reply(Box<QueuedReply>),
}

/// A reply that waits for its slot.
#[derive(Debug)]
pub(crate) struct QueuedReply {
    pub(crate) surb: ReplySurb,
    pub(crate) message: Vec<u8>,
}

/// What the next slot carries.
#[derive(Debug)]
pub(crate) enum Next<'a> {
    Fragment {
        id: FragmentId,
        message: MessageId,
        attempt: u32,
        fragment: &'a Fragment,
        recipient: &'a Recipient,
    },
    Reply {
        message: MessageId,
        reply: Box<QueuedReply>,
    },
}

impl Unacknowledged {
    pub(crate) fn new() -> Self {
        Self {
            messages: BTreeMap::new(),
            fragments: BTreeMap::new(),
            queue: FairQueue::new(),
            timers: BTreeSet::new(),
            bytes: 0,
            last_id: 0,
        }
    }

    /// Bytes of messages that wait for acknowledgement.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Messages that wait for acknowledgement.
    pub(crate) fn message_count(&self) -> usize {
        self.messages.len()
    }

    /// Counts a message to a lane.
    pub(crate) fn put_in_lane(&mut self, message: MessageId, lane: Lane) {
        if let Some(outgoing) = self.messages.get_mut(&message) {
            outgoing.lane = Some(lane);
        }
    }

    /// Unacknowledged packets of all messages in a lane.
    pub(crate) fn lane_len(&self, lane: Lane) -> usize {
        self.messages
            .values()
            .filter(|outgoing| outgoing.lane == Some(lane))
            .map(|outgoing| outgoing.remaining)
            .sum()
    }

    /// Whether a packet waits for a slot.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Whether one of these identifiers is in use by an unacknowledged fragment.
    pub(crate) fn is_known(&self, id: FragmentId) -> bool {
        self.fragments.contains_key(&id)
    }

    /// Takes over a message that was cut into `fragments`.
    pub(crate) fn accept_message(
        &mut self,
        now: Timestamp,
        recipient: &Recipient,
        fragments: Vec<Fragment>,
    ) -> MessageId {
        let ids: Vec<FragmentId> = fragments.iter().map(Fragment::id).collect();
        let bytes = fragments
            .iter()
            .map(|fragment| fragment.content().len())
            .sum();
        let message = self.insert(now, bytes, ids.clone());
        for (id, fragment) in ids.into_iter().zip(fragments) {
            let content = Content::Fragment {
                fragment: Box::new(fragment),
                recipient: Box::new(*recipient),
            };
            self.fragments.insert(
                id,
                Pending {
                    message,
                    content,
                    attempts: 0,
                    timer: None,
                },
            );
            self.queue.push(message, Queued::Fragment(id));
        }
        message
    }

    /// Takes over a reply.
    pub(crate) fn accept_reply(&mut self, now: Timestamp, reply: QueuedReply) -> MessageId {
        let message = self.insert(now, reply.message.len(), Vec::new());
        self.queue.push(message, Queued::Reply(Box::new(reply)));
        message
    }

    fn insert(&mut self, now: Timestamp, bytes: usize, fragments: Vec<FragmentId>) -> MessageId {
        self.last_id += 1;
        let id = MessageId(self.last_id);
        let remaining = fragments.len().max(1);
        self.messages.insert(
            id,
            Outgoing {
                accepted_at: now,
                remaining,
                bytes,
                fragments,
                lane: None,
            },
        );
        self.bytes += bytes;
        id
    }

    /// Takes what the next slot carries. A fragment that was acknowledged while it waited is
    /// passed over.
    pub(crate) fn pop(&mut self) -> Option<Next<'_>> {
        let (message, id) = loop {
            match self.queue.pop()? {
                (message, Queued::Reply(reply)) => return Some(Next::Reply { message, reply }),
                (message, Queued::Fragment(id)) if self.fragments.contains_key(&id) => {
                    break (message, id);
                }
                (_, Queued::Fragment(_)) => {}
            }
        };
        let pending = self.fragments.get_mut(&id)?;
        pending.attempts = pending.attempts.saturating_add(1);
        match &pending.content {
            Content::Fragment {
                fragment,
                recipient,
            } => Some(Next::Fragment {
                id,
                message,
                attempt: pending.attempts,
                fragment,
                recipient,
            }),
            Content::SentReply => None,
        }
    }

    /// Starts the timer of a fragment whose packet has just been handed to the gateway.
    pub(crate) fn sent(&mut self, id: FragmentId, timer: Timestamp) {
        if let Some(pending) = self.fragments.get_mut(&id) {
            if let Some(old) = pending.timer.replace(timer) {
                self.timers.remove(&(old, id));
            }
            self.timers.insert((timer, id));
        }
    }

    /// Awaits the acknowledgement of a reply that has just been handed to the gateway.
    pub(crate) fn sent_reply(&mut self, message: MessageId, id: FragmentId, timer: Timestamp) {
        let Some(outgoing) = self.messages.get_mut(&message) else {
            return;
        };
        outgoing.fragments.push(id);
        let content = Content::SentReply;
        self.fragments.insert(
            id,
            Pending {
                message,
                content,
                attempts: 1,
                timer: Some(timer),
            },
        );
        self.timers.insert((timer, id));
    }

    /// Puts a fragment back whose packet could not be built.
    pub(crate) fn requeue(&mut self, id: FragmentId) {
        if let Some(pending) = self.fragments.get_mut(&id) {
            pending.attempts = pending.attempts.saturating_sub(1);
            let message = pending.message;
            self.queue.push(message, Queued::Fragment(id));
        }
    }

    /// Removes an acknowledged fragment; tells when its message is complete by that.
    pub(crate) fn acknowledge(&mut self, now: Timestamp, id: FragmentId) -> Option<Event> {
        let pending = self.fragments.remove(&id)?;
        if let Some(timer) = pending.timer {
            self.timers.remove(&(timer, id));
        }
        let outgoing = self.messages.get_mut(&pending.message)?;
        outgoing.remaining = outgoing.remaining.saturating_sub(1);
        if outgoing.remaining > 0 {
            return None;
        }
        let outgoing = self.messages.remove(&pending.message)?;
        self.bytes -= outgoing.bytes;
        let latency = now.saturating_duration_since(outgoing.accepted_at);
        Some(Event::Delivered {
            message: pending.message,
            latency,
        })
    }

    /// When [`Self::expire`] has something to do.
    pub(crate) fn next_timer(&self, age_max: Duration) -> Option<Timestamp> {
        let oldest = self.messages.first_key_value();
        let too_old = oldest.map(|(_, message)| message.accepted_at + age_max);
        let timer = self.timers.first().map(|(timer, _)| *timer);
        [too_old, timer].into_iter().flatten().min()
    }

    /// Queues each fragment again whose timer has expired, and gives up messages that have had
    /// their attempts or their time.
    pub(crate) fn expire(
        &mut self,
        now: Timestamp,
        attempts_max: u32,
        age_max: Duration,
    ) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some((&message, outgoing)) = self.messages.first_key_value()
            && outgoing.accepted_at + age_max <= now
        {
            events.extend(self.give_up(message, FailureReason::TooOld { age_max }));
        }
        while let Some(&(timer, id)) = self.timers.first()
            && timer <= now
        {
            self.timers.pop_first();
            let Some(pending) = self.fragments.get_mut(&id) else {
                continue;
            };
            pending.timer = None;
            let message = pending.message;
            let attempts = pending.attempts;
            match pending.content {
                Content::SentReply => {
                    events.extend(self.give_up(message, FailureReason::ReplyUnacknowledged));
                }
                Content::Fragment { .. } if attempts >= attempts_max => {
                    events.extend(self.give_up(message, FailureReason::Attempts { attempts }));
                }
                Content::Fragment { .. } => self.queue.push(message, Queued::Fragment(id)),
            }
        }
        events
    }

    /// Forgets a message and all its fragments.
    pub(crate) fn give_up(&mut self, message: MessageId, reason: FailureReason) -> Option<Event> {
        let outgoing = self.messages.remove(&message)?;
        self.bytes -= outgoing.bytes;
        self.queue.remove(message);
        for id in outgoing.fragments {
            if let Some(timer) = self.fragments.remove(&id).and_then(|pending| pending.timer) {
                self.timers.remove(&(timer, id));
            }
        }
        Some(Event::Failed { message, reason })
    }
}
