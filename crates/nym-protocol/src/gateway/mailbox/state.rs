//! One client's messages between their arrival and the moment they are safe.
//!
//! Every message that arrives gets a number ([`MessageId`]), greater than those before it. It is
//! then in one of three places:
//!
//! ```text
//!                              no room, or older ones are stored
//!              ┌──────────────────────────────────────────────────────────┐
//!   arrival ───┤ client live                                              ▼
//!              └────────────► held ──── connection broke, or patience ──► storing ── commit ─► inbox
//!                              │                is over                      (acknowledged)      │
//!                              │ push                                                            │ push
//!                              ▼                                                                 ▼
//!                            held, pushed ─────────────── pong ──────────────► taken ◄── pong ── inbox, pushed
//!                                                    (acknowledged)      (removed from the inbox)
//! ```
//!
//! A push is no proof of anything: the client, or the link, may be gone before it was read. So a
//! *burst* of pushes ends with a numbered ping. A websocket peer answers pings in its turn, behind
//! everything that came before, so the pong proves that the client has read the burst. Only then
//! are the acknowledgements released and the messages removed from the inbox.
//!
//! And one client's connection is in one of two states:
//!
//! ```text
//!               login                 inbox empty, nothing on its way there
//!   offline ─────────────► draining ─────────────────────────────────────► live
//!      ▲                      │ ▲           no room for one more              │
//!      │                      │ └─────────────────────────────────────────────┤
//!      └──────────────────────┴──────────── connection ended ─────────────────┘
//! ```
//!
//! # Order
//!
//! Pushes on one connection have growing numbers. The inbox is read in the order of the numbers,
//! and only below the smallest number that is still on its way there. What is held and not yet
//! pushed is older than everything in the inbox that was not pushed yet.
//!
//! Acknowledgements of the client's own packets are no part of that order. When one would have to
//! wait, because the client is reading its inbox or does not answer, it goes past: it is pushed at
//! once, without a ping, and not stored. One that is lost with its connection costs its client a
//! packet that it sends again.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use nym_packet::time::Timestamp;

use super::{Answered, HeldAck, MessageId};
use crate::gateway::{ConnectionId, PushKind};

/// How much one mailbox holds in memory, and for how long.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MailboxLimits {
    /// Bursts whose pongs are awaited at most; no more is pushed until one comes.
    pub bursts_max: usize,
    /// Bytes of the messages held at most; the first message is taken whatever its length.
    pub held_bytes_max: usize,
    /// Messages held at most; none are with 0, so that each is stored.
    pub held_count_max: usize,
    /// How long a message is held; then it is stored, although its connection lives.
    pub patience: Duration,
}

/// Acknowledgements that go past at a time, with 21 bytes each; more are stored.
const PASSING_MAX: usize = 64;

/// Bytes that a held message takes besides its own: its acknowledgement's packet, 386, and the
/// places in which both are kept.
pub const HELD_OVERHEAD: usize = 512;

impl Default for MailboxLimits {
    /// 8 bursts, 64 messages of together 128 KiB (78 regular ones, or 4 extended), for 1 s: the
    /// time that a 0.11 sender adds to the expected delay before it sends again is 1.5 s.
    fn default() -> Self {
        Self {
            bursts_max: 8,
            held_bytes_max: 128 << 10,
            held_count_max: 64,
            patience: Duration::from_secs(1),
        }
    }
}

/// A message to be stored.
#[derive(Debug)]
pub struct Deposit {
    /// Its number.
    pub id: MessageId,
    /// What to push when the client comes.
    pub message: Vec<u8>,
    /// What its sender waits for.
    pub ack: HeldAck,
}

impl Deposit {
    /// Whether it is an acknowledgement of one of the client's own packets.
    fn is_acknowledgement(&self) -> bool {
        PushKind::of(self.message.len()) == PushKind::Ack && !self.ack.is_awaited()
    }
}

/// What a connection has to do for its client.
#[derive(Debug)]
pub enum Work {
    /// Write these messages, and behind them a ping with the number, if there is one.
    Push {
        /// What to push, oldest first.
        messages: Vec<Vec<u8>>,
        /// The ping behind them. None if nobody waits to hear of these messages.
        ping: Option<u64>,
    },
    /// Read the inbox and answer with [`Mailbox::handle_read`].
    Read(Reading),
    /// Nothing, until something happens to the mailbox.
    Wait,
}

/// A part of an inbox.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Reading {
    /// Only messages with greater numbers.
    pub after: MessageId,
    /// Only messages with smaller numbers.
    pub before: MessageId,
}

/// What a pong says.
#[derive(Debug)]
pub struct Taken {
    /// The acknowledgements that may leave.
    pub acks: Vec<HeldAck>,
    /// The proof for them, and for [`Inbox::remove`](super::Inbox::remove).
    pub proof: Answered,
    /// Whether some of the messages are in the inbox, or on their way there.
    pub is_stored: bool,
}

/// The state of one client's mailbox.
#[derive(Debug, Default)]
pub struct Mailbox {
    /// In the order of their numbers; empty while the client is offline.
    held: VecDeque<Held>,
    held_bytes: usize,
    /// Acknowledgements that go past the messages; empty while the client is offline.
    passing: Vec<Vec<u8>>,
    /// Numbers of the messages that are on their way to the inbox.
    storing: BTreeSet<MessageId>,
    line: Option<Line>,
}

#[derive(Debug)]
struct Held {
    id: MessageId,
    message: Vec<u8>,
    ack: HeldAck,
    since: Timestamp,
}

/// What is known of the client's connection.
#[derive(Debug)]
struct Line {
    connection: ConnectionId,
    /// Everything up to this number has been pushed on this connection.
    cursor: MessageId,
    /// The bursts whose pongs are awaited, oldest first.
    bursts: VecDeque<Burst>,
    next_ping: u64,
    is_draining: bool,
    /// While draining: whether the inbox may hold something that was not pushed yet.
    read_due: bool,
}

#[derive(Debug)]
struct Burst {
    ping: u64,
    through: MessageId,
    is_stored: bool,
}

impl Line {
    const fn new(connection: ConnectionId) -> Self {
        Self {
            connection,
            cursor: MessageId(0),
            bursts: VecDeque::new(),
            next_ping: 1,
            is_draining: true,
            read_due: true,
        }
    }

    /// Notes that everything up to `cursor` is pushed, with a ping behind it.
    fn burst(&mut self, is_stored: bool) -> u64 {
        let ping = self.next_ping;
        self.next_ping += 1;
        self.bursts.push_back(Burst {
            ping,
            through: self.cursor,
            is_stored,
        });
        ping
    }
}

impl Mailbox {
    /// A message arrived, with a number greater than all before. It is held, and the client's
    /// connection has [work](Self::poll_work), or it is given back to be stored; then
    /// [`handle_stored`](Self::handle_stored) must be called once, whatever becomes of it.
    pub fn handle_arrival(
        &mut self,
        now: Timestamp,
        limits: &MailboxLimits,
        arrived: Deposit,
    ) -> Option<Deposit> {
        let has_room = self.held.len() < limits.held_count_max
            && (self.held.is_empty()
                || self.held_bytes + arrived.message.len() <= limits.held_bytes_max);
        let may_pass = arrived.is_acknowledgement() && self.passing.len() < PASSING_MAX;
        let must_wait =
            |line: &Line| line.is_draining || !has_room || line.bursts.len() >= limits.bursts_max;
        match &mut self.line {
            Some(line) if may_pass && must_wait(line) => {
                self.passing.push(arrived.message);
                None
            }
            Some(line) if !line.is_draining && has_room => {
                let Deposit { id, message, ack } = arrived;
                self.held_bytes += message.len();
                self.held.push_back(Held {
                    id,
                    message,
                    ack,
                    since: now,
                });
                None
            }
            line => {
                if let Some(line) = line {
                    line.is_draining = true;
                }
                self.storing.insert(arrived.id);
                Some(arrived)
            }
        }
    }

    /// A message that was given out to be stored is in the inbox, or was refused.
    pub fn handle_stored(&mut self, id: MessageId) {
        self.storing.remove(&id);
        if let Some(line) = &mut self.line
            && id > line.cursor
        {
            line.is_draining = true;
            line.read_due = true;
        }
    }

    /// The client comes online with this connection; an older one counts no more. Gives what has
    /// to be stored, oldest first, as [`handle_arrival`](Self::handle_arrival) does.
    pub fn handle_login(&mut self, connection: ConnectionId) -> Vec<Deposit> {
        self.line = Some(Line::new(connection));
        self.give_out(self.held.len())
    }

    /// A connection ended. Unless a newer one has replaced it, the client is offline. Gives what
    /// has to be stored, oldest first, as [`handle_arrival`](Self::handle_arrival) does.
    pub fn handle_break(&mut self, connection: ConnectionId) -> Vec<Deposit> {
        if self.line_of(connection).is_none() {
            return Vec::new();
        }
        self.line = None;
        self.passing.clear();
        self.give_out(self.held.len())
    }

    /// Gives what has been held for too long, oldest first, to be stored as
    /// [`handle_arrival`](Self::handle_arrival) does. What was pushed and nobody waits for is
    /// let go.
    pub fn handle_timeout(&mut self, now: Timestamp, limits: &MailboxLimits) -> Vec<Deposit> {
        let is_overdue = |held: &&Held| now >= held.since + limits.patience;
        let mut count = self.held.iter().take_while(is_overdue).count();
        let Some(line) = &mut self.line else {
            return Vec::new();
        };
        let Some(last) = count.checked_sub(1).and_then(|index| self.held.get(index)) else {
            return Vec::new();
        };
        if last.id > line.cursor {
            // What is held must not be pushed before something older that is stored.
            count = self.held.len();
            line.is_draining = true;
        }
        for burst in &mut line.bursts {
            burst.is_stored = true;
        }
        let cursor = line.cursor;
        let mut given = self.give_out(count);
        given.retain(|deposit| {
            let is_wanted = deposit.id > cursor || deposit.ack.is_awaited();
            if !is_wanted {
                self.storing.remove(&deposit.id);
            }
            is_wanted
        });
        given
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    #[must_use]
    pub fn poll_timeout(&self, limits: &MailboxLimits) -> Option<Timestamp> {
        self.held.front().map(|held| held.since + limits.patience)
    }

    /// What the connection has to do now.
    pub fn poll_work(&mut self, connection: ConnectionId, limits: &MailboxLimits) -> Work {
        let held = &self.held;
        let storing = &self.storing;
        let Some(line) = line_of(&mut self.line, connection) else {
            return Work::Wait;
        };
        if !self.passing.is_empty() {
            let messages = std::mem::take(&mut self.passing);
            return Work::Push {
                messages,
                ping: None,
            };
        }
        if line.bursts.len() >= limits.bursts_max {
            return Work::Wait;
        }
        let unpushed = || held.iter().filter(|held| held.id > line.cursor);
        if let Some(last) = held.back().filter(|held| held.id > line.cursor) {
            // Acknowledgements of the client's own packets are many, and nobody waits to hear of
            // them; the ping behind some other message frees them.
            let is_asked = unpushed().any(|held| held.ack.is_awaited())
                || held.len() * 4 > limits.held_count_max;
            let messages = unpushed().map(|held| held.message.clone()).collect();
            line.cursor = last.id;
            let ping = is_asked.then(|| line.burst(false));
            return Work::Push { messages, ping };
        }
        if line.is_draining && line.read_due {
            line.read_due = false;
            let after = line.cursor;
            return Work::Read(Reading {
                after,
                before: first_after(storing, after),
            });
        }
        Work::Wait
    }

    /// The inbox was read; `last` is the greatest number found. Gives the number of the ping to
    /// write behind the pushes of what was found; nothing is to be pushed without one.
    pub fn handle_read(
        &mut self,
        connection: ConnectionId,
        reading: Reading,
        last: Option<MessageId>,
    ) -> Option<u64> {
        let storing = &self.storing;
        let line = line_of(&mut self.line, connection)?;
        match last {
            Some(last) => {
                line.cursor = line.cursor.max(last);
                line.read_due = true;
                Some(line.burst(true))
            }
            None => {
                // Nothing was on its way when the reading began, nor is now, nor has arrived
                // meanwhile: the inbox is empty.
                let is_settled = reading.before == MessageId::MAX
                    && first_after(storing, line.cursor) == MessageId::MAX
                    && !line.read_due;
                line.is_draining = !is_settled;
                None
            }
        }
    }

    /// A pong with a number came on a connection. Gives what became safe by it, if anything.
    pub fn handle_pong(&mut self, connection: ConnectionId, ping: u64) -> Option<Taken> {
        let line = line_of(&mut self.line, connection)?;
        let (mut through, mut is_stored) = (None, false);
        while let Some(burst) = line.bursts.front()
            && burst.ping <= ping
        {
            through = Some(burst.through);
            is_stored |= burst.is_stored;
            line.bursts.pop_front();
        }
        let through = through?;
        let mut acks = Vec::new();
        while let Some(held) = self.held.front()
            && held.id <= through
            && let Some(held) = self.held.pop_front()
        {
            self.held_bytes -= held.message.len();
            acks.push(held.ack);
        }
        Some(Taken {
            acks,
            proof: Answered { through },
            is_stored,
        })
    }

    /// Bytes of memory that the held messages take: their own, and [`HELD_OVERHEAD`] for each.
    #[must_use]
    pub fn held_memory(&self) -> usize {
        self.held_bytes + self.held.len() * HELD_OVERHEAD
    }

    /// The connection with which the client is online.
    #[must_use]
    pub fn connection(&self) -> Option<ConnectionId> {
        self.line.as_ref().map(|line| line.connection)
    }

    /// Whether nothing is lost by forgetting this mailbox.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.line.is_none() && self.storing.is_empty()
    }

    /// Takes the oldest messages that are held, to be stored.
    fn give_out(&mut self, count: usize) -> Vec<Deposit> {
        let mut given = Vec::with_capacity(count);
        for Held {
            id, message, ack, ..
        } in self.held.drain(..count)
        {
            self.held_bytes -= message.len();
            self.storing.insert(id);
            given.push(Deposit { id, message, ack });
        }
        given
    }

    fn line_of(&mut self, connection: ConnectionId) -> Option<&mut Line> {
        line_of(&mut self.line, connection)
    }
}

/// The line, if it is that of this connection.
fn line_of(line: &mut Option<Line>, connection: ConnectionId) -> Option<&mut Line> {
    line.as_mut().filter(|line| line.connection == connection)
}

/// The smallest number above `after`; [`MessageId::MAX`] if there is none.
fn first_after(numbers: &BTreeSet<MessageId>, after: MessageId) -> MessageId {
    let above = (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded);
    numbers
        .range(above)
        .next()
        .copied()
        .unwrap_or(MessageId::MAX)
}

#[cfg(test)]
mod tests;
