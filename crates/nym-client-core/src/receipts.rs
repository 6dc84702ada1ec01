//! What became of messages whose apps want to know, until they know.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use nym_packet::time::Timestamp;
use nym_protocol::app::{Outcome, RequestId};

use crate::event::{MessageId, Receipt};
use crate::journal::{Change, Journal, record};

/// Receipts under their messages. Those of messages on their way are bounded by the messages;
/// those of ended ones by number and age, the oldest first out.
#[derive(Debug)]
pub(crate) struct Receipts {
    receipts: BTreeMap<MessageId, Entry>,
    /// Ended messages; some may have been taken meanwhile.
    ended: VecDeque<(Timestamp, MessageId)>,
    count_max: usize,
    age_max: Duration,
}

#[derive(Debug)]
struct Entry {
    id: RequestId,
    outcome: Option<Outcome>,
}

impl Receipts {
    pub(crate) fn new(count_max: usize, age_max: Duration) -> Self {
        Self {
            receipts: BTreeMap::new(),
            ended: VecDeque::new(),
            count_max,
            age_max,
        }
    }

    /// The app wants to know what becomes of a message.
    pub(crate) fn ask(
        &mut self,
        now: Timestamp,
        message: MessageId,
        id: RequestId,
        journal: &mut Journal,
    ) {
        journal.note(|| record::receipt(message, now, &id, None));
        self.restore(now, message, id, None);
    }

    /// A message has ended; gives what its app calls it.
    pub(crate) fn end(
        &mut self,
        now: Timestamp,
        message: MessageId,
        outcome: Outcome,
        journal: &mut Journal,
    ) -> Option<RequestId> {
        self.expire(now, journal);
        let entry = self.receipts.get_mut(&message)?;
        journal.note(|| record::receipt(message, now, &entry.id, Some(&outcome)));
        entry.outcome = Some(outcome);
        let id = entry.id.clone();
        self.ended.push_back((now, message));
        if self.ended.len() > self.count_max
            && let Some((_, oldest)) = self.ended.pop_front()
        {
            self.remove(oldest, journal);
        }
        Some(id)
    }

    /// The message never began, or the receipt is too old.
    pub(crate) fn remove(&mut self, message: MessageId, journal: &mut Journal) {
        if self.receipts.remove(&message).is_some() {
            journal.note(|| Change::remove(record::receipt_key(message)));
        }
    }

    /// All receipts, in the order of their messages.
    pub(crate) fn all(&self) -> impl Iterator<Item = Receipt> {
        self.receipts.iter().map(|(message, entry)| Receipt {
            message: *message,
            id: entry.id.clone(),
            outcome: entry.outcome.clone(),
        })
    }

    /// Puts back a receipt that was kept, in any order.
    pub(crate) fn restore(
        &mut self,
        since: Timestamp,
        message: MessageId,
        id: RequestId,
        outcome: Option<Outcome>,
    ) {
        if outcome.is_some() {
            self.ended.push_back((since, message));
        }
        self.receipts.insert(message, Entry { id, outcome });
    }

    /// Ends restoring.
    pub(crate) fn restored(&mut self) {
        self.ended.make_contiguous().sort_unstable();
    }

    fn expire(&mut self, now: Timestamp, journal: &mut Journal) {
        while let Some(&(since, message)) = self.ended.front() {
            let expired = now.saturating_duration_since(since) > self.age_max;
            if !expired && self.receipts.contains_key(&message) {
                break;
            }
            self.ended.pop_front();
            self.remove(message, journal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE_MAX: Duration = Duration::from_secs(10);

    fn delivered() -> Outcome {
        Outcome::Delivered {
            latency: Duration::from_millis(7),
        }
    }

    fn ended(count: u64) -> Receipts {
        let mut receipts = Receipts::new(2, AGE_MAX);
        let mut journal = Journal::volatile();
        for number in 1..=count {
            let id = number.to_string().parse().unwrap();
            let (now, message) = (Timestamp::ZERO, MessageId(number));
            receipts.ask(now, message, id, &mut journal);
            receipts
                .end(now, message, delivered(), &mut journal)
                .unwrap();
        }
        receipts
    }

    fn count(receipts: &Receipts, name: &str) -> usize {
        let id: RequestId = name.parse().unwrap();
        receipts.all().filter(|receipt| receipt.id == id).count()
    }

    #[test]
    fn the_oldest_ended_receipt_goes_for_one_too_many() {
        let receipts = ended(3);
        let counts = ["1", "2", "3"].map(|name| count(&receipts, name));
        assert_eq!(counts, [0, 1, 1]);
    }

    #[test]
    fn an_ended_receipt_goes_after_its_age_and_one_on_its_way_stays() {
        for (late, left) in [(Duration::ZERO, 1), (Duration::from_nanos(1), 0)] {
            let mut receipts = ended(1);
            let mut journal = Journal::volatile();
            let now = Timestamp::ZERO + AGE_MAX + late;
            let id = "\"on its way\"".parse().unwrap();
            receipts.ask(Timestamp::ZERO, MessageId(9), id, &mut journal);
            receipts.expire(now, &mut journal);
            assert_eq!(count(&receipts, "1"), left);
            assert_eq!(count(&receipts, "\"on its way\""), 1);
        }
    }
}
