//! The keys of reply SURBs that were handed out, and the SURBs of others that were used.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use nym_packet::reply::{KeyDigest, ReplyKey};
use nym_packet::time::Timestamp;

use crate::journal::{Change, Journal, record};

/// Reply keys under the digest that a reply starts with; each opens one reply.
///
/// Bounded by number and age: the oldest key goes first, and a reply that arrives later cannot
/// be read any more. Keys whose reply has come do not count.
#[derive(Debug)]
pub(crate) struct ReplyKeys {
    keys: BTreeMap<KeyDigest, ReplyKey>,
    /// All keys, the oldest first, among others that were taken: twice `count_max` at most.
    by_age: VecDeque<(Timestamp, KeyDigest)>,
    count_max: usize,
    age_max: Duration,
}

impl ReplyKeys {
    pub(crate) fn new(count_max: usize, age_max: Duration) -> Self {
        Self {
            keys: BTreeMap::new(),
            by_age: VecDeque::new(),
            count_max,
            age_max,
        }
    }

    pub(crate) fn insert(&mut self, now: Timestamp, key: ReplyKey, journal: &mut Journal) {
        self.expire(now, journal);
        if self.by_age.len() >= self.count_max.saturating_mul(2) {
            let keys = &self.keys;
            self.by_age.retain(|(_, digest)| keys.contains_key(digest));
        }
        while self.keys.len() >= self.count_max {
            let Some((_, oldest)) = self.by_age.pop_front() else {
                break;
            };
            self.remove(&oldest, journal);
        }
        let digest = key.digest();
        journal.note(|| record::reply_key(now, &digest, &key));
        self.keys.insert(digest, key);
        self.by_age.push_back((now, digest));
    }

    /// Takes the key out: a SURB answers once.
    pub(crate) fn take(
        &mut self,
        now: Timestamp,
        digest: &KeyDigest,
        journal: &mut Journal,
    ) -> Option<ReplyKey> {
        self.expire(now, journal);
        self.remove(digest, journal)
    }

    /// Puts back a key that was kept, in any order.
    pub(crate) fn restore(&mut self, since: Timestamp, key: ReplyKey) {
        let digest = key.digest();
        self.keys.insert(digest, key);
        self.by_age.push_back((since, digest));
    }

    /// Ends restoring.
    pub(crate) fn restored(&mut self) {
        self.by_age.make_contiguous().sort_unstable();
    }

    fn remove(&mut self, digest: &KeyDigest, journal: &mut Journal) -> Option<ReplyKey> {
        let key = self.keys.remove(digest)?;
        journal.note(|| Change::remove(record::reply_key_key(digest)));
        Some(key)
    }

    fn expire(&mut self, now: Timestamp, journal: &mut Journal) {
        while let Some((inserted, digest)) = self.by_age.front().copied() {
            let expired = now.saturating_duration_since(inserted) > self.age_max;
            if !expired && self.keys.contains_key(&digest) {
                break;
            }
            self.by_age.pop_front();
            self.remove(&digest, journal);
        }
    }
}

/// Digests of the SURBs this client has answered with, so that using one again is an error
/// instead of a reply that nobody can read.
///
/// Remembers the newest [`SpentSurbs::COUNT_MAX`]: 10,000 digests of 32 bytes, twice, are 640 kB.
#[derive(Debug, Default)]
pub(crate) struct SpentSurbs {
    numbers: BTreeMap<KeyDigest, u64>,
    by_age: BTreeMap<u64, KeyDigest>,
    last_number: u64,
}

impl SpentSurbs {
    const COUNT_MAX: usize = 10_000;

    /// Marks a SURB as used; `false` if it already was.
    pub(crate) fn spend(&mut self, digest: KeyDigest, journal: &mut Journal) -> bool {
        if self.numbers.contains_key(&digest) {
            return false;
        }
        let number = self.last_number + 1;
        journal.note(|| record::spent_surb(number, &digest));
        self.restore(number, digest);
        if self.by_age.len() > Self::COUNT_MAX
            && let Some((oldest, digest)) = self.by_age.pop_first()
        {
            self.numbers.remove(&digest);
            journal.note(|| Change::remove(record::spent_surb_key(oldest)));
        }
        true
    }

    /// Takes a mark back: the SURB was not used after all.
    pub(crate) fn take_back(&mut self, digest: &KeyDigest, journal: &mut Journal) {
        if let Some(number) = self.numbers.remove(digest) {
            self.by_age.remove(&number);
            journal.note(|| Change::remove(record::spent_surb_key(number)));
        }
    }

    pub(crate) fn restore(&mut self, number: u64, digest: KeyDigest) {
        self.last_number = self.last_number.max(number);
        self.numbers.insert(digest, number);
        self.by_age.insert(number, digest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE_MAX: Duration = Duration::from_secs(60);

    fn key(number: u8) -> ReplyKey {
        ReplyKey::from_bytes([number; ReplyKey::LEN])
    }

    fn is_taken(keys: &mut ReplyKeys, now: Timestamp, number: u8) -> bool {
        let taken = keys.take(now, &key(number).digest(), &mut Journal::volatile());
        taken.is_some()
    }

    #[test]
    fn a_key_is_taken_once_and_the_oldest_goes_for_a_new_one() {
        let mut keys = ReplyKeys::new(2, AGE_MAX);
        for number in 1..=3 {
            keys.insert(Timestamp::ZERO, key(number), &mut Journal::volatile());
        }
        let taken = [1, 2, 3, 3].map(|number| is_taken(&mut keys, Timestamp::ZERO, number));
        assert_eq!(taken, [false, true, true, false]);
    }

    #[test]
    fn keys_of_replies_that_have_come_take_no_room() {
        let mut keys = ReplyKeys::new(2, AGE_MAX);
        keys.insert(Timestamp::ZERO, key(0), &mut Journal::volatile());
        for number in 1..=20 {
            keys.insert(Timestamp::ZERO, key(number), &mut Journal::volatile());
            assert!(is_taken(&mut keys, Timestamp::ZERO, number));
            assert!(keys.by_age.len() <= 4, "{} keys", keys.by_age.len());
        }
        assert!(
            is_taken(&mut keys, Timestamp::ZERO, 0),
            "there was always room"
        );
    }

    #[test]
    fn a_key_opens_a_reply_up_to_its_age_and_is_forgotten_beyond_it() {
        let at_its_age = Timestamp::ZERO + AGE_MAX;
        for (now, known) in [
            (at_its_age, true),
            (at_its_age + Duration::from_nanos(1), false),
        ] {
            let mut keys = ReplyKeys::new(2, AGE_MAX);
            keys.insert(Timestamp::ZERO, key(1), &mut Journal::volatile());
            assert_eq!(is_taken(&mut keys, now, 1), known);
        }
    }

    #[test]
    fn a_surb_is_spent_once_and_its_mark_is_forgotten_above_the_limit() {
        let digest = |number: usize| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
            KeyDigest::from_bytes(bytes)
        };
        let mut spent = SpentSurbs::default();
        let mut spend = |number| spent.spend(digest(number), &mut Journal::volatile());
        assert!((0..=SpentSurbs::COUNT_MAX).all(&mut spend));
        assert!(!spend(1), "the oldest that is remembered");
        assert!(spend(0), "forgotten for the last one");
    }
}
