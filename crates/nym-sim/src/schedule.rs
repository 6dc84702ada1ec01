//! What happens next.

use std::collections::BTreeMap;

use nym_packet::time::Timestamp;

/// Events in the order of their time, and of their scheduling where times are equal.
#[derive(Debug)]
pub(crate) struct Schedule<E> {
    events: BTreeMap<(Timestamp, u64), E>,
    sequence: u64,
}

impl<E> Schedule<E> {
    pub(crate) const fn new() -> Self {
        Self {
            events: BTreeMap::new(),
            sequence: 0,
        }
    }

    pub(crate) fn insert(&mut self, at: Timestamp, event: E) {
        self.events.insert((at, self.sequence), event);
        self.sequence += 1;
    }

    /// Takes the next event unless it is after `end`.
    pub(crate) fn pop_until(&mut self, end: Timestamp) -> Option<(Timestamp, E)> {
        let entry = self.events.first_entry()?;
        let (at, _) = *entry.key();
        (at <= end).then(|| (at, entry.remove()))
    }
}
