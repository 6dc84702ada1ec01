//! Which fragments have already become part of a message.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use crate::fragment::Fragment;
use crate::time::Timestamp;

/// The first 16 bytes of BLAKE3 over a fragment with its header.
///
/// A sender repeats a fragment byte for byte, and nobody can make another fragment with the same
/// digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FragmentDigest([u8; Self::LEN]);

impl FragmentDigest {
    /// Length in bytes.
    pub const LEN: usize = 16;

    /// A digest as [`as_bytes`](Self::as_bytes) gave it.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    pub(super) fn of(fragment: &Fragment) -> Self {
        let digest = blake3::hash(&fragment.to_bytes());
        let (first, _) = digest
            .as_bytes()
            .split_first_chunk()
            .expect("a BLAKE3 digest has 32 bytes");
        Self(*first)
    }
}

/// A bounded memory of the fragments of finished messages, oldest message first out.
#[derive(Debug, Default)]
pub(super) struct FinishedFragments {
    digests: BTreeSet<FragmentDigest>,
    by_age: VecDeque<Finished>,
    next_number: u64,
    forgotten: Vec<u64>,
}

#[derive(Debug)]
struct Finished {
    number: u64,
    since: Timestamp,
    digests: Vec<FragmentDigest>,
}

impl FinishedFragments {
    pub(super) fn contains(&self, digest: &FragmentDigest) -> bool {
        self.digests.contains(digest)
    }

    /// The number that the next message gets.
    pub(super) const fn next_number(&self) -> u64 {
        self.next_number
    }

    /// Remembers the fragments of a message, at most `limit`, and forgets the oldest messages while
    /// there are more in all.
    pub(super) fn remember(&mut self, now: Timestamp, digests: Vec<FragmentDigest>, limit: usize) {
        self.restore(self.next_number, now, digests);
        while self.digests.len() > limit && !self.by_age.is_empty() {
            self.forget_oldest();
        }
    }

    pub(super) fn restore(&mut self, number: u64, since: Timestamp, digests: Vec<FragmentDigest>) {
        self.next_number = self.next_number.max(number.saturating_add(1));
        self.digests.extend(&digests);
        self.by_age.push_back(Finished {
            number,
            since,
            digests,
        });
    }

    pub(super) fn forget_older_than(&mut self, now: Timestamp, age: Duration) {
        while self
            .by_age
            .front()
            .is_some_and(|oldest| oldest.since + age <= now)
        {
            self.forget_oldest();
        }
    }

    /// The messages forgotten since the last call.
    pub(super) fn take_forgotten(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.forgotten)
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.by_age.pop_front() {
            for digest in &oldest.digests {
                self.digests.remove(digest);
            }
            self.forgotten.push(oldest.number);
        }
    }
}
