//! What comes from the gateway, and waits here while apps take no messages.
//!
//! ```text
//!               room for messages, and nothing held             committed
//!  push ────────────────────────────────────────────► engine ──────────────► its room is free
//!    │ no room                                          ▲                    answers are given
//!    ▼                                                  │
//!   held ──── apps have taken messages ─────────────────┘
//! ```
//!
//! Acknowledgements go past what is held: they bring no message. A gateway that asks whether
//! something was read gets no answer before everything in front of the question is safe, so it
//! keeps what is held here. Nothing is dropped: a gateway of release 0.11 does not ask, and counts
//! as read what it has written.

use std::collections::VecDeque;

use nym_protocol::gateway::PushKind;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::EngineTask;

/// Something that the gateway delivered.
#[derive(Debug)]
pub(crate) struct Push {
    pub(crate) content: Vec<u8>,
    /// The room it takes until it is safe; none for acknowledgements, which need not be safe.
    pub(crate) room: Option<OwnedSemaphorePermit>,
}

/// Something of the gateway's that has to wait, in its order.
#[derive(Debug)]
enum Held {
    Push(Push),
    /// The question whether everything before it is safe.
    Question(oneshot::Sender<()>),
}

/// What waits. Its length is bounded by the [`room`](Push::room) that a link gives to pushes, and
/// by the questions that it lets wait.
#[derive(Debug)]
pub(super) struct Intake {
    /// Bytes of messages that may wait for apps before nothing more is taken in.
    untaken_bytes_max: usize,
    held: VecDeque<Held>,
    /// How often it has begun to hold.
    holds_count: u64,
}

impl Intake {
    pub(super) const fn new(untaken_bytes_max: usize) -> Self {
        Self {
            untaken_bytes_max,
            held: VecDeque::new(),
            holds_count: 0,
        }
    }

    fn hold(&mut self, held: Held) {
        if self.held.is_empty() {
            self.holds_count += 1;
            // One line per doubling: a flood of messages is no flood of log lines.
            if self.holds_count.is_power_of_two() {
                tracing::warn!(
                    times = self.holds_count,
                    max = self.untaken_bytes_max,
                    "apps do not take their messages, and no more may wait here: until one does, \
                     the gateway keeps what comes"
                );
            }
        }
        self.held.push_back(held);
    }

    /// Forgets the questions of a link that is gone.
    pub(super) fn forget_closed(&mut self) {
        self.held.retain(|held| match held {
            Held::Push(_) => true,
            Held::Question(safe) => !safe.is_closed(),
        });
    }
}

impl EngineTask {
    /// Takes a push in, or holds it.
    pub(super) fn take_push(&mut self, push: Push) {
        let is_message = PushKind::of(push.content.len()) == PushKind::Message;
        if is_message && (!self.intake.held.is_empty() || self.is_full()) {
            self.intake.hold(Held::Push(push));
        } else {
            self.hand_in(push);
        }
    }

    /// Answers when everything that was pushed before is safe.
    pub(super) fn take_question(&mut self, safe: oneshot::Sender<()>) {
        if self.intake.held.is_empty() {
            self.keeping.answer_when_safe(safe);
        } else {
            self.intake.hold(Held::Question(safe));
        }
    }

    /// Takes in what was held, as far as there is room for it now.
    pub(super) fn take_held(&mut self) {
        while let Some(held) = self.intake.held.pop_front() {
            match held {
                Held::Push(_) if self.is_full() => {
                    self.intake.held.push_front(held);
                    return;
                }
                Held::Push(push) => self.hand_in(push),
                Held::Question(safe) => self.keeping.answer_when_safe(safe),
            }
        }
    }

    fn hand_in(&mut self, push: Push) {
        let position = self.engine.handle_push(self.clock.now(), &push.content);
        if let (Some(position), Some(room)) = (position, push.room) {
            self.keeping.free_when_safe(position, room);
        }
    }

    /// Whether apps have left so much that no more messages may come.
    const fn is_full(&self) -> bool {
        self.engine.untaken_bytes() >= self.intake.untaken_bytes_max
    }
}
