//! The keys of reply SURBs that were handed out, and the SURBs of others that were used.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use nym_packet::reply::{KeyDigest, ReplyKey};
use nym_packet::time::Timestamp;

/// Reply keys under the digest that a reply starts with; each opens one reply.
///
/// Bounded by number and age: the oldest key goes first, and a reply that arrives later cannot
/// be read any more.
#[derive(Debug)]
pub(crate) struct ReplyKeys {
    keys: BTreeMap<KeyDigest, ReplyKey>,
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

    pub(crate) fn insert(&mut self, now: Timestamp, key: ReplyKey) {
        self.expire(now);
        while self.by_age.len() >= self.count_max {
            let Some((_, oldest)) = self.by_age.pop_front() else {
                break;
            };
            self.keys.remove(&oldest);
        }
        let digest = key.digest();
        self.keys.insert(digest, key);
        self.by_age.push_back((now, digest));
    }

    /// Takes the key out: a SURB answers once.
    pub(crate) fn take(&mut self, now: Timestamp, digest: &KeyDigest) -> Option<ReplyKey> {
        self.expire(now);
        self.keys.remove(digest)
    }

    fn expire(&mut self, now: Timestamp) {
        while let Some((inserted, digest)) = self.by_age.front().copied() {
            let expired = now.saturating_duration_since(inserted) > self.age_max;
            if !expired && self.keys.contains_key(&digest) {
                break;
            }
            self.by_age.pop_front();
            self.keys.remove(&digest);
        }
    }
}

/// Digests of the SURBs this client has answered with, so that using one again is an error
/// instead of a reply that nobody can read.
///
/// Remembers the newest [`SpentSurbs::COUNT_MAX`]: 10,000 digests of 32 bytes, twice, are 640 kB.
#[derive(Debug, Default)]
pub(crate) struct SpentSurbs {
    digests: BTreeSet<KeyDigest>,
    by_age: VecDeque<KeyDigest>,
}

impl SpentSurbs {
    const COUNT_MAX: usize = 10_000;

    /// Marks a SURB as used; `false` if it already was.
    pub(crate) fn spend(&mut self, digest: KeyDigest) -> bool {
        if !self.digests.insert(digest) {
            return false;
        }
        self.by_age.push_back(digest);
        if self.by_age.len() > Self::COUNT_MAX
            && let Some(oldest) = self.by_age.pop_front()
        {
            self.digests.remove(&oldest);
        }
        true
    }
}
