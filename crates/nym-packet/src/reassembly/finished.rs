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
pub(super) struct FragmentDigest([u8; 16]);

impl FragmentDigest {
    pub(super) fn of(fragment: &Fragment) -> Self {
        let digest = blake3::hash(&fragment.to_bytes());
        let (first, _) = digest
            .as_bytes()
            .split_first_chunk()
            .expect("a BLAKE3 digest has 32 bytes");
        Self(*first)
    }
}

/// A bounded memory of fragments of finished messages, oldest first out.
#[derive(Debug, Default)]
pub(super) struct FinishedFragments {
    digests: BTreeSet<FragmentDigest>,
    by_age: VecDeque<(Timestamp, FragmentDigest)>,
}

impl FinishedFragments {
    pub(super) fn contains(&self, digest: &FragmentDigest) -> bool {
        self.digests.contains(digest)
    }

    /// Remembers a fragment, and forgets the oldest above `limit`.
    pub(super) fn remember(&mut self, now: Timestamp, digest: FragmentDigest, limit: usize) {
        if self.digests.insert(digest) {
            self.by_age.push_back((now, digest));
        }
        while self.by_age.len() > limit {
            self.forget_oldest();
        }
    }

    pub(super) fn forget_older_than(&mut self, now: Timestamp, age: Duration) {
        while self
            .by_age
            .front()
            .is_some_and(|(since, _)| *since + age <= now)
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, digest)) = self.by_age.pop_front() {
            self.digests.remove(&digest);
        }
    }
}
