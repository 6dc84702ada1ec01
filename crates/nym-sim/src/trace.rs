//! A fingerprint of a run.

use std::hash::{DefaultHasher, Hash, Hasher};

use nym_packet::time::Timestamp;

/// Everything that happened so far, as a number: equal traces mean equal runs.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    events: u64,
    hasher: DefaultHasher,
}

impl Trace {
    pub(crate) fn record(&mut self, at: Timestamp, what: impl Hash) {
        self.events += 1;
        at.as_nanos().hash(&mut self.hasher);
        what.hash(&mut self.hasher);
    }

    /// Events recorded.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Changes with every event, its time and its content.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.hasher.finish()
    }
}

impl PartialEq for Trace {
    fn eq(&self, other: &Self) -> bool {
        (self.events, self.fingerprint()) == (other.events, other.fingerprint())
    }
}
