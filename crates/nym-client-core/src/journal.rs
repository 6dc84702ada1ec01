//! What must survive the end of the process, as a stream of changes.
//!
//! The engine keeps everything in memory. Whatever of it somebody was promised it also writes
//! down: as [`Change`]s to a table of [`RecordKey`]s and values, in order, a [`Batch`] at a time.
//! The shell applies each batch completely or not at all, and says when it is safe:
//!
//! ```text
//!             poll_batch                      one transaction
//!   engine ───────────────► shell ─────────────────────────────► medium
//!      ▲                      │                                     │
//!      └── handle_committed ◄─┴─────────────────────────────────────┘
//! ```
//!
//! Until then nothing is said that depends on it: a message is not accepted, not sent and not
//! handed to an app, and a push counts as not yet read ([`Engine::handle_push`]). After a crash
//! the table as it stands gives the engine back ([`Engine::restore`]).
//!
//! [`Engine::handle_push`]: crate::Engine::handle_push
//! [`Engine::restore`]: crate::Engine::restore

pub(crate) mod codec;
pub(crate) mod record;

use std::collections::BTreeSet;
use std::fmt;

use zeroize::Zeroizing;

use self::record::Kind;

/// A point in the stream of changes. All changes up to a position are safe once it is committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(u64);

/// Names a record: one byte for its kind, then what tells it from others of the kind, together at
/// most [`RecordKey::LEN_MAX`] bytes.
///
/// Keys say no more than a message's number, a fragment's name, or a hash; the secrets are in the
/// values.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey(Vec<u8>);

impl RecordKey {
    /// The longest key in bytes: kind, peer (32), number (8).
    pub const LEN_MAX: usize = 1 + 32 + 8;

    pub(crate) fn new(kind: Kind, parts: &[&[u8]]) -> Self {
        let mut bytes = vec![kind as u8];
        for part in parts {
            bytes.extend_from_slice(part);
        }
        debug_assert!(bytes.len() <= Self::LEN_MAX);
        Self(bytes)
    }

    /// A key as [`Self::as_bytes`] gave it.
    #[must_use]
    pub const fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Its bytes. Records are restored in the order of these.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A record that is to be written, or removed.
pub struct Change {
    key: RecordKey,
    value: Option<Zeroizing<Vec<u8>>>,
}

impl Change {
    pub(crate) fn put(key: RecordKey, value: Vec<u8>) -> Self {
        let value = Some(Zeroizing::new(value));
        Self { key, value }
    }

    pub(crate) const fn remove(key: RecordKey) -> Self {
        Self { key, value: None }
    }

    /// The record.
    #[must_use]
    pub const fn key(&self) -> &RecordKey {
        &self.key
    }

    /// Its value from now on, replacing any other; `None`: it is gone.
    #[must_use]
    pub fn value(&self) -> Option<&[u8]> {
        self.value.as_ref().map(|value| value.as_slice())
    }
}

/// Without the value, which holds messages and keys.
impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Change")
            .field("key", &self.key)
            .field("len", &self.value.as_ref().map(|value| value.len()))
            .finish_non_exhaustive()
    }
}

/// Changes that take effect together.
#[derive(Debug)]
pub struct Batch {
    position: Position,
    changes: Vec<Change>,
}

impl Batch {
    /// What [`Engine::handle_committed`](crate::Engine::handle_committed) is told when they have.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.position
    }

    /// The changes in order; a later one of the same record replaces an earlier one.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Adds a later batch, so that both take effect together. What the later one replaces is left
    /// out: a message that did not fit and was taken back must not be written first.
    pub fn append(&mut self, later: Self) {
        self.position = later.position;
        let replaced: BTreeSet<_> = later.changes.iter().map(Change::key).collect();
        self.changes
            .retain(|change| !replaced.contains(change.key()));
        self.changes.extend(later.changes);
    }
}

/// Collects changes for the next batch, or throws them away in an engine that keeps nothing.
#[derive(Debug)]
pub(crate) struct Journal {
    is_kept: bool,
    changes: Vec<Change>,
    taken: Position,
    committed: Position,
}

impl Journal {
    /// A journal that nobody keeps: everything counts as safe at once.
    pub(crate) const fn volatile() -> Self {
        Self {
            is_kept: false,
            changes: Vec::new(),
            taken: Position(0),
            committed: Position(0),
        }
    }

    pub(crate) fn kept() -> Self {
        Self {
            is_kept: true,
            ..Self::volatile()
        }
    }

    pub(crate) const fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// Adds a change; it is only made if somebody keeps it.
    pub(crate) fn note(&mut self, change: impl FnOnce() -> Change) {
        if self.is_kept {
            self.changes.push(change());
        }
    }

    /// What has to be committed so that all changes so far are safe.
    pub(crate) const fn position(&self) -> Position {
        if self.changes.is_empty() {
            self.taken
        } else {
            Position(self.taken.0 + 1)
        }
    }

    pub(crate) fn is_committed(&self, position: Position) -> bool {
        position <= self.committed
    }

    /// All changes since the last call.
    pub(crate) fn take(&mut self) -> Option<Batch> {
        if self.changes.is_empty() {
            return None;
        }
        self.taken = self.position();
        Some(Batch {
            position: self.taken,
            changes: std::mem::take(&mut self.changes),
        })
    }

    pub(crate) fn commit(&mut self, up_to: Position) {
        self.committed = self.committed.max(up_to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change() -> Change {
        Change::remove(RecordKey::new(Kind::Counter, &[]))
    }

    #[test]
    fn a_change_is_safe_when_its_batch_is_committed_and_not_before() {
        let mut journal = Journal::kept();
        assert!(journal.is_committed(journal.position()), "nothing to keep");
        journal.note(change);
        let first = journal.position();
        assert!(!journal.is_committed(first));
        let batch = journal.take().unwrap();
        assert_eq!(batch.position(), first);
        journal.note(change);
        let second = journal.position();
        journal.commit(first);
        assert!(journal.is_committed(first) && !journal.is_committed(second));
    }

    #[test]
    fn a_volatile_journal_holds_nothing_and_holds_nobody_up() {
        let mut journal = Journal::volatile();
        journal.note(|| unreachable!("nobody keeps it"));
        assert!(journal.is_committed(journal.position()));
        assert!(journal.take().is_none());
    }
}
