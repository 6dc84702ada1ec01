//! Putting fragments together again, whoever sends them and in whatever order they come.
//!
//! ```text
//!                    ┌────────────── forgotten: idle too long, or oldest when memory is full
//!                    │
//!  insert ──► set being filled ──all positions──► set complete ──all linked sets──► message
//!    │                                                                                │
//!    └──► repeated: dropped ◄──────────── digests of its fragments, for a while ◄─────┘
//! ```
//!
//! Fragments name no sender, and everything in them is the sender's claim. So there are bounds on
//! all that is kept ([`ReassemblyLimits`]), nothing is allocated by a stated number, links count
//! only if both sets agree on them, and links in a ring are refused.
//!
//! Two senders may draw the same set id, and nothing on the wire names them. What separates them
//! here is the total, and that a position holds one content: a fragment that does not fit into a
//! set, because its position is taken, begins a set of its own under the same id, so that
//! it cannot destroy another's message. A fragment that fits into several goes to the one that
//! grew last, since the fragments of one message come close together. Only when two messages with
//! the same id *and* total arrive fragment by fragment in turn, halves of both may be joined; with
//! random ids two messages under way have the same id once in 2^31 pairs. A finished message is
//! remembered by the *content* of its fragments, not by its set ids: a late repetition is dropped,
//! a new message under an old id is not.
//!
//! A reassembler that must survive its process tells what it keeps ([`Reassembler::noting`]) and is
//! built up again from that.

mod finished;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use thiserror::Error;

use self::finished::FinishedFragments;
pub use self::finished::FragmentDigest;
use crate::fragment::{Fragment, SetId, SetLink};
use crate::geometry::MAX_FRAGMENTS_PER_SET;
use crate::time::Timestamp;

/// What a set costs beside its fragments, in bytes: entries in two maps, and the first node of the
/// map of its fragments, which has room for eleven of them (11 × 41 bytes). Rounded up.
const SET_COST: usize = 768;

/// What a fragment costs beside its content, in bytes: its entry in a map, rounded up.
const FRAGMENT_COST: usize = 96;

/// How much a [`Reassembler`] keeps, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReassemblyLimits {
    /// Bytes of fragments of unfinished messages, with what it costs to keep them. When it is
    /// full, the set that waits longest for its next fragment is forgotten. This also bounds the
    /// length of a message.
    pub memory: usize,
    /// A set that has got no new fragment for this long is forgotten.
    pub idle: Duration,
    /// Fragments of finished messages that are remembered, so that late repetitions are known;
    /// the oldest is forgotten for a new one.
    pub finished_fragments: usize,
    /// A fragment of a finished message is forgotten after this time.
    pub finished_age: Duration,
}

impl Default for ReassemblyLimits {
    /// 64 MiB and a day for unfinished messages; 65,536 fragments (about 100 MB of messages in
    /// regular packets, remembered in at most 6 MiB) and a day for finished ones. Senders repeat
    /// within seconds; the day is for recipients that were offline.
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self {
            memory: 64 << 20,
            idle: DAY,
            finished_fragments: 65_536,
            finished_age: DAY,
        }
    }
}

/// Collects fragments and gives back whole messages.
///
/// ```
/// use nym_packet::fragment::{FragmentGeometry, split};
/// use nym_packet::reassembly::{Reassembler, ReassemblyLimits};
/// use nym_packet::time::Timestamp;
/// # use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
/// # let mut rng = ChaCha20Rng::seed_from_u64(1);
///
/// let fragments = split(&[7; 4000], FragmentGeometry::REGULAR, &mut rng);
/// let mut reassembler = Reassembler::new(ReassemblyLimits::default());
/// let mut whole = None;
/// for fragment in fragments.into_iter().rev() {
///     whole = reassembler.insert(Timestamp::ZERO, fragment)?;
/// }
/// assert_eq!(whole.unwrap().bytes, [7; 4000]);
/// # Ok::<(), nym_packet::reassembly::ReassemblyError>(())
/// ```
#[derive(Debug)]
pub struct Reassembler {
    limits: ReassemblyLimits,
    sets: BTreeMap<SetKey, SetBuffer>,
    /// The keys of `sets`, longest untouched first.
    by_age: BTreeMap<Touch, SetKey>,
    /// The sum of `memory` of all sets.
    memory: usize,
    finished: FinishedFragments,
    /// The latest time seen and the number of touches so far.
    last_touch: Touch,
    last_set: u64,
    forgotten_sets: u64,
    notes: Option<Vec<Note>>,
}

/// Names a fragment that a [`Reassembler`] keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId {
    /// The set, by a number that this reassembler gave it.
    pub set: u64,
    /// The position in it.
    pub position: u8,
}

/// What changed in what a [`Reassembler`] keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// The fragment is no longer kept: it became part of a message, or was forgotten.
    Dropped(SlotId),
    /// The fragments of a message are known from now on.
    Finished {
        /// Names the entry.
        number: u64,
        /// Of all fragments of the message.
        digests: Vec<FragmentDigest>,
    },
    /// That entry is forgotten.
    Forgotten {
        /// Names the entry.
        number: u64,
    },
    /// The fragment that was just inserted is kept.
    Kept(SlotId),
}

/// A message put together; [`message::parse`](crate::message::parse) reads it.
#[derive(Clone, PartialEq, Eq)]
pub struct Reassembled {
    /// The contents of all fragments in order.
    pub bytes: Vec<u8>,
    /// The sets it came in, in order.
    pub set_ids: Vec<SetId>,
}

impl std::fmt::Debug for Reassembled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reassembled")
            .field("set_ids", &self.set_ids)
            .finish_non_exhaustive()
    }
}

/// What makes fragments belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct SetKey {
    set_id: SetId,
    total: u8,
    /// Tells sets of different senders apart; counts up.
    number: u64,
}

/// When a set got its last new fragment: the time, and a number that makes it unique.
type Touch = (Timestamp, u64);

/// A set that is being filled, or complete and waiting for its neighbours.
#[derive(Debug)]
struct SetBuffer {
    slots: BTreeMap<u8, Slot>,
    previous: Option<SetId>,
    next: Option<SetId>,
    memory: usize,
    touched: Touch,
}

struct Slot {
    content: Vec<u8>,
    digest: FragmentDigest,
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slot").finish_non_exhaustive()
    }
}

impl Reassembler {
    /// An empty reassembler.
    #[must_use]
    pub fn new(limits: ReassemblyLimits) -> Self {
        Self {
            limits,
            sets: BTreeMap::new(),
            by_age: BTreeMap::new(),
            memory: 0,
            finished: FinishedFragments::default(),
            last_touch: (Timestamp::ZERO, 0),
            last_set: 0,
            forgotten_sets: 0,
            notes: None,
        }
    }

    /// As [`new`](Self::new); every change of what is kept is noted until
    /// [`take_notes`](Self::take_notes) takes it.
    #[must_use]
    pub fn noting(limits: ReassemblyLimits) -> Self {
        Self {
            notes: Some(Vec::new()),
            ..Self::new(limits)
        }
    }

    /// What changed since the last call, in order; at most one [`Note::Kept`] for each
    /// [`insert`](Self::insert).
    pub fn take_notes(&mut self) -> Vec<Note> {
        self.notes.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Puts back a fragment that was [kept](Note::Kept) at that time. It completes nothing: a set
    /// that was whole would not be kept, unless it waits for its neighbours.
    pub fn restore(&mut self, slot: SlotId, kept_at: Timestamp, fragment: Fragment) {
        let digest = FragmentDigest::of(&fragment);
        let header = *fragment.header();
        if header.position() != slot.position {
            return;
        }
        let key = SetKey {
            set_id: header.set_id(),
            total: header.total(),
            number: slot.set,
        };
        self.last_set = self.last_set.max(slot.set);
        self.last_touch.0 = self.last_touch.0.max(kept_at);
        let needed = fragment.content().len() + FRAGMENT_COST + SET_COST;
        if self.make_room(key, needed).is_ok() {
            self.place(key, kept_at, fragment, digest);
        }
    }

    /// Puts back what was known of a message that was [finished](Note::Finished) at that time, in
    /// the order of the numbers.
    pub fn restore_finished(
        &mut self,
        number: u64,
        finished_at: Timestamp,
        digests: Vec<FragmentDigest>,
    ) {
        self.finished.restore(number, finished_at, digests);
    }

    /// Takes a fragment, and gives the message that it completes.
    ///
    /// At a position whose content is another one, it begins a set of its own. Sets that are due to
    /// be forgotten are forgotten first.
    ///
    /// # Errors
    ///
    /// The fragment changed nothing if it is [`Repeated`](ReassemblyError::Repeated). The sets it
    /// belongs to are gone if their links make a ring
    /// ([`LinkCycle`](ReassemblyError::LinkCycle)) or alone exceed the memory there is
    /// ([`TooLarge`](ReassemblyError::TooLarge)).
    pub fn insert(
        &mut self,
        now: Timestamp,
        fragment: Fragment,
    ) -> Result<Option<Reassembled>, ReassemblyError> {
        self.handle_timeout(now);
        let header = *fragment.header();
        let set_id = header.set_id();
        let digest = FragmentDigest::of(&fragment);
        if self.finished.contains(&digest) {
            return Err(ReassemblyError::Repeated { set_id });
        }
        let Some(key) = self.choose(&fragment, digest) else {
            return Err(ReassemblyError::Repeated { set_id });
        };
        self.make_room(key, fragment.content().len() + FRAGMENT_COST + SET_COST)?;
        self.place(key, self.last_touch.0, fragment, digest);
        if self.sets.get(&key).is_some_and(|set| set.is_complete(key)) {
            let finished = self.finish(now, key);
            if !matches!(finished, Ok(None)) {
                return finished;
            }
        }
        self.note(|| {
            Note::Kept(SlotId {
                set: key.number,
                position: header.position(),
            })
        });
        Ok(None)
    }

    /// The set that a fragment goes to: of those with a place for it the one that grew last, else a
    /// new one. `None` if one has it already.
    fn choose(&mut self, fragment: &Fragment, digest: FragmentDigest) -> Option<SetKey> {
        let header = fragment.header();
        let (set_id, total) = (header.set_id(), header.total());
        let key = |number| SetKey {
            set_id,
            total,
            number,
        };
        let mut chosen: Option<(Touch, SetKey)> = None;
        for (key, set) in self.sets.range(key(0)..=key(u64::MAX)) {
            match set.slots.get(&header.position()) {
                Some(slot) if slot.digest == digest => return None,
                Some(_) => {}
                None if chosen.is_none_or(|(touched, _)| touched < set.touched) => {
                    chosen = Some((set.touched, *key));
                }
                None => {}
            }
        }
        Some(chosen.map_or_else(
            || {
                self.last_set += 1;
                key(self.last_set)
            },
            |(_, key)| key,
        ))
    }

    fn note(&mut self, note: impl FnOnce() -> Note) {
        if let Some(notes) = &mut self.notes {
            notes.push(note());
        }
    }

    /// Forgets what waited or was remembered too long by `now`.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.last_touch.0 = self.last_touch.0.max(now);
        while let Some((&(touched, _), &key)) = self.by_age.first_key_value() {
            if now < touched + self.limits.idle {
                break;
            }
            self.forget(key);
        }
        self.finished
            .forget_older_than(now, self.limits.finished_age);
        self.note_forgotten();
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to forget; it may be called
    /// later, since [`insert`](Self::insert) does the same.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.by_age
            .first_key_value()
            .map(|(&(touched, _), _)| touched + self.limits.idle)
    }

    /// Bytes of memory in use for unfinished messages; never above the limit.
    #[must_use]
    pub const fn memory(&self) -> usize {
        self.memory
    }

    /// Sets under way.
    #[must_use]
    pub fn pending_sets(&self) -> usize {
        self.sets.len()
    }

    /// Sets that were forgotten before their message was whole, since the start: idle, evicted,
    /// too large or in a ring. Each may have been somebody's message.
    #[must_use]
    pub const fn forgotten_sets(&self) -> u64 {
        self.forgotten_sets
    }

    /// Forgets other sets, longest idle first, until `needed` more bytes fit.
    fn make_room(&mut self, key: SetKey, needed: usize) -> Result<(), ReassemblyError> {
        while self.memory + needed > self.limits.memory {
            let oldest = self.by_age.values().copied().find(|other| *other != key);
            let Some(oldest) = oldest else {
                self.forget(key);
                return Err(ReassemblyError::TooLarge {
                    set_id: key.set_id,
                    limit: self.limits.memory,
                });
            };
            self.forget(oldest);
        }
        Ok(())
    }

    fn place(&mut self, key: SetKey, at: Timestamp, fragment: Fragment, digest: FragmentDigest) {
        self.last_touch.0 = self.last_touch.0.max(at);
        self.last_touch.1 += 1;
        // A restored fragment may be older than the last one of its set.
        let known = self.sets.get(&key).map_or(at, |set| set.touched.0.max(at));
        let touch = (known, self.last_touch.1);
        let set = self.sets.entry(key).or_insert_with(|| {
            self.memory += SET_COST;
            SetBuffer::new(touch)
        });
        self.by_age.remove(&set.touched);
        self.by_age.insert(touch, key);
        set.touched = touch;
        self.memory -= set.memory;
        set.place(fragment, digest);
        self.memory += set.memory;
    }

    /// Drops a set that will not be finished.
    fn forget(&mut self, key: SetKey) {
        if self.remove(key).is_some() {
            self.forgotten_sets += 1;
        }
    }

    fn remove(&mut self, key: SetKey) -> Option<SetBuffer> {
        let set = self.sets.remove(&key)?;
        self.by_age.remove(&set.touched);
        self.memory -= set.memory;
        if let Some(notes) = &mut self.notes {
            notes.extend(set.slots.keys().map(|position| {
                Note::Dropped(SlotId {
                    set: key.number,
                    position: *position,
                })
            }));
        }
        Some(set)
    }

    fn note_forgotten(&mut self) {
        for number in self.finished.take_forgotten() {
            self.note(|| Note::Forgotten { number });
        }
    }

    /// Gives the message that the complete set `key` is part of, if all its sets are complete.
    fn finish(
        &mut self,
        now: Timestamp,
        key: SetKey,
    ) -> Result<Option<Reassembled>, ReassemblyError> {
        let chain = match self.chain(key) {
            Chain::Whole(chain) => chain,
            Chain::Broken => return Ok(None),
            Chain::Ring(sets) => {
                for key in sets {
                    self.forget(key);
                }
                return Err(ReassemblyError::LinkCycle { set_id: key.set_id });
            }
        };
        let sets: Vec<SetBuffer> = chain.iter().filter_map(|key| self.remove(*key)).collect();
        let slots = || sets.iter().flat_map(|set| set.slots.values());
        let mut bytes = Vec::with_capacity(slots().map(|slot| slot.content.len()).sum());
        for slot in slots() {
            bytes.extend_from_slice(&slot.content);
        }
        // A message of more fragments than are remembered is known by its first ones.
        let limit = self.limits.finished_fragments;
        let digests: Vec<_> = slots().map(|slot| slot.digest).take(limit).collect();
        if let Some(notes) = &mut self.notes {
            let number = self.finished.next_number();
            let digests = digests.clone();
            notes.push(Note::Finished { number, digests });
        }
        self.finished.remember(now, digests, limit);
        self.note_forgotten();
        Ok(Some(Reassembled {
            bytes,
            set_ids: chain.iter().map(|key| key.set_id).collect(),
        }))
    }

    /// Follows the links from a complete set to both ends, over complete sets that link back.
    fn chain(&self, key: SetKey) -> Chain {
        let mut seen = BTreeSet::from([key]);
        let mut backward = Vec::new();
        let mut at = key;
        while let Some(previous) = self.sets.get(&at).and_then(|set| set.previous) {
            let Some(before) = self.linked_before(at, previous) else {
                return Chain::Broken;
            };
            if !seen.insert(before) {
                return Chain::Ring(seen);
            }
            backward.push(before);
            at = before;
        }
        let mut chain = backward;
        chain.reverse();
        chain.push(key);
        at = key;
        while let Some(next) = self.sets.get(&at).and_then(|set| set.next) {
            let Some(behind) = self.linked_behind(at, next) else {
                return Chain::Broken;
            };
            if !seen.insert(behind) {
                return Chain::Ring(seen);
            }
            chain.push(behind);
            at = behind;
        }
        Chain::Whole(chain)
    }

    /// The complete set `previous` that links on to `key`. Only a full set can.
    fn linked_before(&self, key: SetKey, previous: SetId) -> Option<SetKey> {
        let candidate = |number| SetKey {
            set_id: previous,
            total: u8::MAX,
            number,
        };
        self.sets
            .range(candidate(0)..=candidate(u64::MAX))
            .filter(|(before, set)| set.is_complete(**before) && set.next == Some(key.set_id))
            .max_by_key(|(_, set)| set.touched)
            .map(|(before, _)| *before)
    }

    /// The complete set `next`, of whatever total, that links back to `key`.
    fn linked_behind(&self, key: SetKey, next: SetId) -> Option<SetKey> {
        let candidate = |total, number| SetKey {
            set_id: next,
            total,
            number,
        };
        self.sets
            .range(candidate(1, 0)..=candidate(u8::MAX, u64::MAX))
            .filter(|(behind, set)| set.is_complete(**behind) && set.previous == Some(key.set_id))
            .max_by_key(|(_, set)| set.touched)
            .map(|(behind, _)| *behind)
    }
}

/// Where the links of a complete set lead.
enum Chain {
    /// To a set that is not there, not complete, or does not link back.
    Broken,
    /// Back to one of these sets.
    Ring(BTreeSet<SetKey>),
    /// To both ends: the sets of a message in order.
    Whole(Vec<SetKey>),
}

impl SetBuffer {
    const fn new(touched: Touch) -> Self {
        Self {
            slots: BTreeMap::new(),
            previous: None,
            next: None,
            memory: SET_COST,
            touched,
        }
    }

    fn is_complete(&self, key: SetKey) -> bool {
        self.slots.len() == usize::from(key.total)
    }

    fn place(&mut self, fragment: Fragment, digest: FragmentDigest) {
        let header = *fragment.header();
        let link = |link: Option<SetLink>| link.map(SetLink::set_id);
        if header.position() == 1 {
            self.previous = link(header.link());
        }
        if usize::from(header.position()) == MAX_FRAGMENTS_PER_SET {
            self.next = link(header.link());
        }
        let slot = Slot {
            content: fragment.into_content(),
            digest,
        };
        self.memory += slot.cost();
        // Only a store that was tampered with restores a position twice.
        if let Some(replaced) = self.slots.insert(header.position(), slot) {
            self.memory -= replaced.cost();
        }
    }
}

impl Slot {
    fn cost(&self) -> usize {
        self.content.len() + FRAGMENT_COST
    }
}

/// Why a fragment led to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReassemblyError {
    /// The links of its set lead in a ring; those sets were dropped.
    #[error("the links of set {set_id} make a ring")]
    LinkCycle {
        /// The set of the fragment.
        set_id: SetId,
    },
    /// The message it belongs to is finished, or its set complete.
    #[error("repeated fragment of set {set_id}")]
    Repeated {
        /// The set of the fragment.
        set_id: SetId,
    },
    /// Its set alone needs more memory than there is; the set was dropped.
    #[error("set {set_id} needs more than {limit} bytes of memory")]
    TooLarge {
        /// The set of the fragment.
        set_id: SetId,
        /// Bytes for all unfinished messages together.
        limit: usize,
    },
}

#[cfg(test)]
mod tests;
