//! What was accepted from an app and is not yet acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nym_packet::address::Recipient;
use nym_packet::fragment::{Fragment, FragmentId};
use nym_packet::reply::ReplySurb;
use nym_packet::time::Timestamp;
use nym_protocol::app::SenderTag;

use crate::engine::Lane;
use crate::engine::fair_queue::FairQueue;
use crate::event::{FailureReason, MessageId};
use crate::journal::record::{self, Counter};
use crate::journal::{Change, Journal};

/// Every unacknowledged message, down to its packets.
///
/// ```text
///            committed        pop, build, sent(timer)                acknowledged
///   accept ────────► queued ───────────────────────► in flight ──────────────► gone
///                      ▲                                 │
///                      └────────── timer expires ────────┘   (given up after too many attempts)
/// ```
///
/// A fragment keeps its identifier over all attempts, restarts included, so an acknowledgement of
/// any of them counts.
#[derive(Debug)]
pub(crate) struct Unacknowledged {
    messages: BTreeMap<MessageId, Outgoing>,
    packets: BTreeMap<FragmentId, Pending>,
    queue: FairQueue<MessageId, FragmentId>,
    timers: BTreeSet<(Timestamp, FragmentId)>,
    bytes: usize,
    last_id: u64,
}

/// One accepted message.
#[derive(Debug)]
struct Outgoing {
    accepted_at: Timestamp,
    kind: MessageKind,
    remaining: usize,
    bytes: usize,
    packets: Vec<FragmentId>,
    lane: Option<Lane>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MessageKind {
    Fragments,
    Reply,
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
    /// A reply that waits for its slot.
    Reply(Box<QueuedReply>),
    /// A reply that has left: its SURB is spent, so there is nothing left to send again.
    SentReply,
}

/// A reply that was taken over.
#[derive(Debug)]
pub(crate) struct QueuedReply {
    pub(crate) surb: ReplySurb,
    /// The peer whose SURB it is, if it was named by tag.
    pub(crate) tag: Option<SenderTag>,
    /// The name that its acknowledgement will carry. It is drawn before the reply is kept, so
    /// that the acknowledgement of a reply that left before a crash is known after it.
    pub(crate) ack_id: FragmentId,
    pub(crate) message: Vec<u8>,
}

/// What the next slot carries.
#[derive(Debug)]
pub(crate) enum Next<'a> {
    Fragment {
        id: FragmentId,
        message: MessageId,
        attempt: u32,
        recipient: &'a Recipient,
    },
    Reply {
        message: MessageId,
        reply: Box<QueuedReply>,
    },
}

/// A message that has come to its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) message: MessageId,
    /// The time it took to be delivered.
    pub(crate) outcome: Result<Duration, FailureReason>,
}

impl Unacknowledged {
    pub(crate) fn new() -> Self {
        Self {
            messages: BTreeMap::new(),
            packets: BTreeMap::new(),
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

    /// Whether this identifier is in use by an unacknowledged packet.
    pub(crate) fn is_known(&self, id: FragmentId) -> bool {
        self.packets.contains_key(&id)
    }

    /// Takes over a message in fragments; nothing of it leaves before [`Self::release`].
    pub(crate) fn accept_message(
        &mut self,
        now: Timestamp,
        recipient: &Recipient,
        fragments: Vec<Fragment>,
        journal: &mut Journal,
    ) -> MessageId {
        let message = self.next_id(journal);
        let bytes = fragments
            .iter()
            .map(|fragment| fragment.content().len())
            .sum();
        journal.note(|| record::message(message, now, recipient, bytes));
        for fragment in &fragments {
            journal.note(|| record::fragment(message, fragment));
        }
        self.restore_message(message, now, bytes);
        for fragment in fragments {
            self.restore_fragment(message, fragment, recipient);
        }
        message
    }

    /// Takes over a reply; it does not leave before [`Self::release`].
    pub(crate) fn accept_reply(
        &mut self,
        now: Timestamp,
        reply: QueuedReply,
        journal: &mut Journal,
    ) -> MessageId {
        let message = self.next_id(journal);
        journal.note(|| record::reply(message, now, &reply));
        self.restore_reply(message, now, reply);
        message
    }

    /// Sends a message on its way.
    pub(crate) fn release(&mut self, message: MessageId) {
        if let Some(outgoing) = self.messages.get(&message) {
            for id in &outgoing.packets {
                self.queue.push(message, *id);
            }
        }
    }

    /// Puts back a message that was kept, without its packets.
    pub(crate) fn restore_message(&mut self, id: MessageId, accepted_at: Timestamp, bytes: usize) {
        self.insert(id, accepted_at, MessageKind::Fragments, bytes);
    }

    /// Puts back a fragment of a message that was put back before; `false` if there is none.
    pub(crate) fn restore_fragment(
        &mut self,
        message: MessageId,
        fragment: Fragment,
        recipient: &Recipient,
    ) -> bool {
        let id = fragment.id();
        let content = Content::Fragment {
            fragment: Box::new(fragment),
            recipient: Box::new(*recipient),
        };
        self.expect(message, id, content)
    }

    /// Puts back a reply that was kept.
    pub(crate) fn restore_reply(
        &mut self,
        id: MessageId,
        accepted_at: Timestamp,
        reply: QueuedReply,
    ) {
        self.insert(id, accepted_at, MessageKind::Reply, reply.message.len());
        self.expect(id, reply.ack_id, Content::Reply(Box::new(reply)));
    }

    /// Puts back the last number given.
    pub(crate) fn restore_last_id(&mut self, last_id: u64) {
        self.last_id = self.last_id.max(last_id);
    }

    /// All messages there are.
    pub(crate) fn ids(&self) -> Vec<MessageId> {
        self.messages.keys().copied().collect()
    }

    fn next_id(&mut self, journal: &mut Journal) -> MessageId {
        self.last_id += 1;
        journal.note(|| record::counter(Counter::Accepted, self.last_id));
        MessageId(self.last_id)
    }

    fn insert(&mut self, id: MessageId, accepted_at: Timestamp, kind: MessageKind, bytes: usize) {
        self.restore_last_id(id.0);
        let outgoing = Outgoing {
            accepted_at,
            kind,
            remaining: 0,
            bytes,
            packets: Vec::new(),
            lane: None,
        };
        self.messages.insert(id, outgoing);
        self.bytes += bytes;
    }

    fn expect(&mut self, message: MessageId, id: FragmentId, content: Content) -> bool {
        let Some(outgoing) = self.messages.get_mut(&message) else {
            return false;
        };
        outgoing.remaining += 1;
        outgoing.packets.push(id);
        let pending = Pending {
            message,
            content,
            attempts: 0,
            timer: None,
        };
        self.packets.insert(id, pending);
        true
    }

    /// Takes what the next slot carries. A fragment that was acknowledged while it waited is
    /// passed over.
    pub(crate) fn pop(&mut self) -> Option<Next<'_>> {
        let (message, id) = loop {
            let (message, id) = self.queue.pop()?;
            if self.packets.contains_key(&id) {
                break (message, id);
            }
        };
        let pending = self.packets.get_mut(&id)?;
        pending.attempts = pending.attempts.saturating_add(1);
        if matches!(pending.content, Content::Reply(_))
            && let Content::Reply(reply) =
                std::mem::replace(&mut pending.content, Content::SentReply)
        {
            return Some(Next::Reply { message, reply });
        }
        match &pending.content {
            Content::Fragment { recipient, .. } => Some(Next::Fragment {
                id,
                message,
                attempt: pending.attempts,
                recipient,
            }),
            Content::Reply(_) | Content::SentReply => None,
        }
    }

    /// The fragment that this packet carries, and for whom.
    pub(crate) fn fragment(&self, id: FragmentId) -> Option<(&Fragment, &Recipient)> {
        match &self.packets.get(&id)?.content {
            Content::Fragment {
                fragment,
                recipient,
            } => Some((fragment, recipient)),
            Content::Reply(_) | Content::SentReply => None,
        }
    }

    /// Starts the timer of a packet that has just been handed to the gateway.
    pub(crate) fn sent(&mut self, id: FragmentId, timer: Timestamp) {
        if let Some(pending) = self.packets.get_mut(&id) {
            if let Some(old) = pending.timer.replace(timer) {
                self.timers.remove(&(old, id));
            }
            self.timers.insert((timer, id));
        }
    }

    /// Puts a fragment back whose packet could not be built.
    pub(crate) fn requeue(&mut self, id: FragmentId) {
        if let Some(pending) = self.packets.get_mut(&id) {
            pending.attempts = pending.attempts.saturating_sub(1);
            let message = pending.message;
            self.queue.push(message, id);
        }
    }

    /// Removes an acknowledged packet; tells when its message is complete by that.
    pub(crate) fn acknowledge(
        &mut self,
        now: Timestamp,
        id: FragmentId,
        journal: &mut Journal,
    ) -> Option<Ended> {
        let pending = self.packets.remove(&id)?;
        let message = pending.message;
        if let Some(timer) = pending.timer {
            self.timers.remove(&(timer, id));
        }
        let outgoing = self.messages.get_mut(&message)?;
        outgoing.remaining = outgoing.remaining.saturating_sub(1);
        if outgoing.kind == MessageKind::Fragments {
            journal.note(|| Change::remove(record::fragment_key(message, id)));
        }
        if outgoing.remaining > 0 {
            return None;
        }
        let outgoing = self.forget(message, journal)?;
        Some(Ended {
            message,
            outcome: Ok(now.saturating_duration_since(outgoing.accepted_at)),
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
        journal: &mut Journal,
    ) -> Vec<Ended> {
        let mut ended = Vec::new();
        while let Some((&message, outgoing)) = self.messages.first_key_value()
            && outgoing.accepted_at + age_max <= now
        {
            let reason = FailureReason::TooOld { age_max };
            ended.extend(self.give_up(message, reason, journal));
        }
        while let Some(&(timer, id)) = self.timers.first()
            && timer <= now
        {
            self.timers.pop_first();
            let Some(pending) = self.packets.get_mut(&id) else {
                continue;
            };
            pending.timer = None;
            let message = pending.message;
            let attempts = pending.attempts;
            match pending.content {
                Content::Reply(_) | Content::SentReply => {
                    let reason = FailureReason::ReplyUnacknowledged;
                    ended.extend(self.give_up(message, reason, journal));
                }
                Content::Fragment { .. } if attempts >= attempts_max => {
                    let reason = FailureReason::Attempts { attempts };
                    ended.extend(self.give_up(message, reason, journal));
                }
                Content::Fragment { .. } => self.queue.push(message, id),
            }
        }
        ended
    }

    /// Ends a message without success.
    pub(crate) fn give_up(
        &mut self,
        message: MessageId,
        reason: FailureReason,
        journal: &mut Journal,
    ) -> Option<Ended> {
        self.forget(message, journal)?;
        Some(Ended {
            message,
            outcome: Err(reason),
        })
    }

    /// Forgets a message that was never released; gives back the reply that it was.
    pub(crate) fn cancel(
        &mut self,
        message: MessageId,
        journal: &mut Journal,
    ) -> Option<Box<QueuedReply>> {
        let ids = self.messages.get(&message)?.packets.clone();
        let reply = ids.first().and_then(|id| self.packets.remove(id));
        if let Some(pending) = &reply
            && matches!(pending.content, Content::Fragment { .. })
            && let Some(id) = ids.first()
        {
            journal.note(|| Change::remove(record::fragment_key(message, *id)));
        }
        self.forget(message, journal);
        match reply?.content {
            Content::Reply(reply) => Some(reply),
            Content::Fragment { .. } | Content::SentReply => None,
        }
    }

    /// Forgets a message and all its packets.
    fn forget(&mut self, message: MessageId, journal: &mut Journal) -> Option<Outgoing> {
        let outgoing = self.messages.remove(&message)?;
        self.bytes -= outgoing.bytes;
        self.queue.remove(message);
        for id in &outgoing.packets {
            let Some(pending) = self.packets.remove(id) else {
                continue;
            };
            if let Some(timer) = pending.timer {
                self.timers.remove(&(timer, *id));
            }
            if outgoing.kind == MessageKind::Fragments {
                journal.note(|| Change::remove(record::fragment_key(message, *id)));
            }
        }
        journal.note(|| {
            Change::remove(match outgoing.kind {
                MessageKind::Fragments => record::message_key(message),
                MessageKind::Reply => record::reply_key_of(message),
            })
        });
        Some(outgoing)
    }
}
