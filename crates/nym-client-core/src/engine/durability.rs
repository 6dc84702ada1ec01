//! What survives the process: the engine from its records, and what waits for a commit.

use std::collections::BTreeMap;

use nym_packet::reply::ReplySurb;
use nym_packet::time::Timestamp;
use nym_protocol::app::{Outcome, RequestId, SenderTag};
use rand_core::CryptoRng;

use super::sending::Ended;
use super::{ClientKeys, Engine};
use crate::config::EngineConfig;
use crate::event::{Event, MessageId, MessageNumber, Receipt, ReceivedMessage};
use crate::journal::record::{self, Counter, Record};
use crate::journal::{Batch, Change, Journal, Position, RecordKey};

/// The records are not those of an engine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a record of kind {kind} cannot be read: it was written by another program, or is damaged")]
pub struct RestoreError {
    /// The first byte of its key; 0 if it has none.
    pub kind: u8,
}

impl<R: CryptoRng> Engine<R> {
    /// The engine that wrote these records, or a new one if there are none. It sends nothing until
    /// it has a topology and a link; what it had not finished goes on from there at the usual pace.
    ///
    /// The records come in the order of their keys. Messages that no app has taken are given once
    /// more by [`poll_event`](Self::poll_event), oldest first, unless they are too old.
    ///
    /// # Errors
    ///
    /// [`RestoreError`] if a record cannot be read.
    pub fn restore<V: AsRef<[u8]>>(
        keys: ClientKeys,
        config: EngineConfig,
        rng: R,
        now: Timestamp,
        records: impl IntoIterator<Item = (RecordKey, V)>,
    ) -> Result<Self, RestoreError> {
        let mut engine = Self::with_journal(keys, config, rng, Journal::kept());
        let mut recipients = BTreeMap::new();
        for (key, value) in records {
            let record = Record::parse(&key, value.as_ref()).map_err(|_| RestoreError {
                kind: key.as_bytes().first().copied().unwrap_or_default(),
            })?;
            match record {
                Record::Arrived { since, .. }
                    if now.saturating_duration_since(since) > engine.config.arrived_age_max =>
                {
                    engine.journal.note(|| Change::remove(key));
                }
                Record::Message { id, recipient, .. } => {
                    recipients.insert(id, recipient);
                    engine.take_back(record);
                }
                Record::Fragment { message, fragment } => {
                    let restored = recipients.get(&message).is_some_and(|recipient| {
                        engine
                            .unacknowledged
                            .restore_fragment(message, fragment, recipient)
                    });
                    if !restored {
                        engine.journal.note(|| Change::remove(key));
                    }
                }
                _ => engine.take_back(record),
            }
        }
        engine.reply_keys.restored();
        engine.sender_surbs.restored();
        engine.receipts.restored();
        engine.receiver.restored(now, &mut engine.journal);
        for message in engine.unacknowledged.ids() {
            engine.unacknowledged.release(message);
        }
        Ok(engine)
    }

    fn take_back(&mut self, record: Record) {
        match record {
            Record::Counter(Counter::Accepted, last) => self.unacknowledged.restore_last_id(last),
            Record::Counter(Counter::Arrived, last) => self.arrived.restore_last(last),
            Record::Message {
                id,
                accepted_at,
                bytes,
                ..
            } => self.unacknowledged.restore_message(id, accepted_at, bytes),
            Record::Fragment { .. } => {}
            Record::Reply {
                id,
                accepted_at,
                reply,
            } => self.unacknowledged.restore_reply(id, accepted_at, reply),
            Record::Receipt {
                message,
                since,
                id,
                outcome,
            } => self.receipts.restore(since, message, id, outcome),
            Record::ReplyKey { since, key } => self.reply_keys.restore(since, key),
            Record::Peer { name, since, tag } => self.sender_surbs.restore_peer(name, since, tag),
            Record::PeerSurb { name, number, surb } => {
                self.sender_surbs.restore_surb(&name, number, surb);
            }
            Record::SpentSurb { number, digest } => self.spent_surbs.restore(number, digest),
            Record::ReceivedFragment {
                slot,
                since,
                fragment,
            } => self.receiver.restore(slot, since, fragment),
            Record::Finished {
                number,
                since,
                digests,
            } => self.receiver.restore_finished(number, since, digests),
            Record::Arrived { received, .. } => {
                self.arrived
                    .restore(received.number, received.message.len());
                let safe = Position::default();
                self.events.push_back((safe, Event::Received(received)));
            }
        }
    }

    /// Everything that changed since the last call and has to survive, to be written in one
    /// transaction; `None` if nothing did. Batches take effect in order.
    pub fn poll_batch(&mut self) -> Option<Batch> {
        self.journal.take()
    }

    /// All batches up to this position are safe.
    pub fn handle_committed(&mut self, up_to: Position) {
        self.journal.commit(up_to);
        self.store_up = true;
        while let Some((position, message)) = self.unsafe_messages.front().copied()
            && self.journal.is_committed(position)
        {
            self.unsafe_messages.pop_front();
            self.unacknowledged.release(message);
        }
    }

    /// A batch could not be written, and will be tried again, together with the next one.
    ///
    /// Messages that wait for it are forgotten, and their apps told; new ones are refused until a
    /// batch was committed. What was promised before goes on.
    pub fn handle_commit_failed(&mut self) {
        self.store_up = false;
        for (_, message) in std::mem::take(&mut self.unsafe_messages) {
            let reply = self.unacknowledged.cancel(message, &mut self.journal);
            if let Some(reply) = reply {
                let digest = reply.surb.key_digest();
                self.spent_surbs.take_back(&digest, &mut self.journal);
                if let Some(tag) = reply.tag {
                    self.sender_surbs
                        .give_back(tag, reply.surb, &mut self.journal);
                }
            }
            self.receipts.remove(message, &mut self.journal);
            // Nothing has to be safe for a refusal.
            self.events.retain(|(_, event)| {
                !matches!(event, Event::Accepted { message: other } if *other == message)
            });
            let refused = (Position::default(), Event::Refused { message });
            self.events.push_front(refused);
        }
    }

    /// Remembers what an app calls a message that was just taken over, so that it may ask what
    /// became of it.
    pub fn ask_receipt(&mut self, now: Timestamp, message: MessageId, id: RequestId) {
        self.receipts.ask(now, message, id, &mut self.journal);
    }

    /// What became of the messages whose apps want to know, oldest first: those on their way, and
    /// those that have ended not too long ago.
    pub fn receipts(&self) -> impl Iterator<Item = Receipt> {
        self.receipts.all()
    }

    /// An app has a message that arrived, or it was given up: it will not be given again.
    pub fn handle_taken(&mut self, number: MessageNumber) {
        self.arrived.take(number);
        self.journal
            .note(|| Change::remove(record::arrived_key(number)));
    }

    /// Tells an app of a message that arrived.
    pub(super) fn hand_over(
        &mut self,
        now: Timestamp,
        message: Vec<u8>,
        reply_surb: Option<ReplySurb>,
        sender_tag: Option<SenderTag>,
    ) {
        let number = self.arrived.add(message.len());
        let received = ReceivedMessage {
            number,
            message,
            reply_surb,
            sender_tag,
        };
        let last = number.get();
        self.journal
            .note(|| record::counter(Counter::Arrived, last));
        self.journal.note(|| record::arrived(now, &received));
        self.tell(Event::Received(received));
    }

    /// A message was taken over; it is on its way when it is safe.
    pub(super) fn taken_over(&mut self, message: MessageId) {
        let position = self.journal.position();
        self.tell(Event::Accepted { message });
        if self.journal.is_committed(position) {
            self.unacknowledged.release(message);
        } else {
            self.unsafe_messages.push_back((position, message));
        }
    }

    /// Tells how messages ended.
    pub(super) fn conclude(&mut self, now: Timestamp, ended: impl IntoIterator<Item = Ended>) {
        for Ended { message, outcome } in ended {
            let kept = match outcome {
                Ok(latency) => Outcome::Delivered { latency },
                Err(reason) => Outcome::Failed {
                    reason: reason.to_string(),
                },
            };
            let receipt = self.receipts.end(now, message, kept, &mut self.journal);
            self.tell(match outcome {
                Ok(latency) => Event::Delivered {
                    message,
                    latency,
                    receipt,
                },
                Err(reason) => Event::Failed {
                    message,
                    reason,
                    receipt,
                },
            });
        }
    }

    /// An event that may be told when all changes so far are safe.
    fn tell(&mut self, event: Event) {
        let position = self.journal.position();
        self.events.push_back((position, event));
    }
}
