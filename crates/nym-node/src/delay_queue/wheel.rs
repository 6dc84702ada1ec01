//! A hierarchical timer wheel (Varghese and Lauck 1987, scheme 7) that never stops to turn over a
//! whole slot.
//!
//! ```text
//!  level  slots    one slot is     a ring is
//!    0    65,536   2¹⁷ ns, 131 µs  8.6 s      ◄── where packets become due
//!    1       256   4.3 s           18 min     ◄── moves down during the 4.3 s before
//!    2       256   9 min           39 h       ◄── moves down during the 9 min before
//! ```
//!
//! Each ring begins at the present and reaches two slots of the next level far. A packet goes
//! where it fits first, so at usual delays it is touched once when it comes and once when it
//! leaves. A slot of a higher level moves down a few packets at a time while the slot before it
//! passes, so a hundred thousand packets in it cost nobody a pause. What waits for longer than
//! 39 hours is put into the last slot, and again when that has come.

use nym_packet::time::Timestamp;

use super::occupancy::Occupancy;
use super::slots::{SlotId, Slots};

/// Nanoseconds of a tick, as a power of two: 131 µs.
const TICK_SHIFT: u32 = 17;

/// Ticks of a slot, as a power of two, and slots, for each level.
const LEVELS: [(u32, usize); 3] = [(0, 1 << 16), (15, 1 << 8), (22, 1 << 8)];

// Each ring reaches two slots of the next level far, which `Wheel::move_down_some` needs.
const _: () = assert!(LEVELS[0].1 == 2 << LEVELS[1].0);
const _: () = assert!(LEVELS[1].1 << LEVELS[1].0 == 2 << LEVELS[2].0);

/// Packets moved down at a time: in 4.3 s, with two thousand turns a second, half a million.
const MOVED_AT_ONCE: usize = 64;

/// Packets of a tick that are looked at to tell the earliest.
const LOOKED_AT: usize = 8;

/// Packets by the tick of their deadline.
pub(super) struct Wheel {
    /// The present tick. Nothing in the wheel is due at it or before.
    present: u64,
    levels: [Level; LEVELS.len()],
}

impl Wheel {
    pub(super) fn new() -> Self {
        Self {
            present: 0,
            levels: LEVELS.map(|(shift, count)| Level::new(shift, count)),
        }
    }

    /// Puts a packet in. False when its tick has come: the wheel does not take it then.
    pub(super) fn insert(&mut self, slots: &mut Slots, id: SlotId) -> bool {
        let tick = tick_of(slots.entry(id).deadline);
        if tick <= self.present {
            return false;
        }
        let (level, slot) = self.place(tick);
        self.levels[level].push(slots, slot, id);
        true
    }

    /// Turns to `now`; gives each packet whose tick has come.
    pub(super) fn turn(
        &mut self,
        slots: &mut Slots,
        now: Timestamp,
        mut due: impl FnMut(&Slots, SlotId),
    ) {
        let now = tick_of(now);
        while let Some((level, slot)) = self.first()
            && self.levels[level].start_of(slot, self.present) <= now
        {
            let start = self.levels[level].start_of(slot, self.present);
            self.present = self.present.max(start);
            while let Some(id) = self.levels[level].pop(slots, slot) {
                if !self.insert(slots, id) {
                    due(slots, id);
                }
            }
        }
        self.present = self.present.max(now);
        self.move_down_some(slots);
    }

    /// A moment before which nothing in the wheel is due, and something may be soon after: the
    /// earliest deadline itself if that is near and few packets share its tick, so that whoever
    /// sleeps until then wakes once for it.
    pub(super) fn next_turn(&self, slots: &Slots) -> Option<Timestamp> {
        let (index, slot) = self.first()?;
        let level = &self.levels[index];
        let earliest = (index == 0).then(|| level.earliest(slots, slot)).flatten();
        Some(earliest.unwrap_or_else(|| {
            Timestamp::from_nanos(level.start_of(slot, self.present) << TICK_SHIFT)
        }))
    }

    /// Takes out a packet of the last slot, if that begins after `deadline`.
    pub(super) fn take_later(&mut self, slots: &mut Slots, deadline: Timestamp) -> Option<SlotId> {
        let present = self.present;
        let lasts = self.levels.iter_mut().filter_map(|level| {
            let slot = level.last(present)?;
            Some((level.start_of(slot, present), slot, level))
        });
        let (start, slot, level) = lasts.max_by_key(|(start, ..)| *start)?;
        if start <= tick_of(deadline) {
            return None;
        }
        level.pop(slots, slot)
    }

    /// The level and slot with the earliest packets.
    fn first(&self) -> Option<(usize, usize)> {
        let firsts = self.levels.iter().enumerate().filter_map(|(index, level)| {
            let slot = level.first(self.present)?;
            // Where slots of two levels begin together, the upper one moves down first.
            let key = (level.start_of(slot, self.present), LEVELS.len() - index);
            Some((key, (index, slot)))
        });
        firsts.min_by_key(|(key, _)| *key).map(|(_, place)| place)
    }

    /// Where a packet of a later tick goes.
    fn place(&self, tick: u64) -> (usize, usize) {
        let [lower @ .., last] = &self.levels;
        for (index, level) in lower.iter().enumerate() {
            if level.distance(tick, self.present) < level.count() {
                return (index, level.slot_of(tick));
            }
        }
        let reach = (last.count() - 1) << last.shift;
        let tick = tick.min(self.present.saturating_add(reach));
        (lower.len(), last.slot_of(tick))
    }

    /// Moves a few packets of the slots that come next down to where they fit now.
    fn move_down_some(&mut self, slots: &mut Slots) {
        for index in 1..LEVELS.len() {
            let next = self.present + (1 << self.levels[index].shift);
            let slot = self.levels[index].slot_of(next);
            for _ in 0..MOVED_AT_ONCE {
                let Some(id) = self.levels[index].pop(slots, slot) else {
                    break;
                };
                let (level, slot) = self.place(tick_of(slots.entry(id).deadline));
                self.levels[level].push(slots, slot, id);
            }
        }
    }
}

/// The tick in which a moment lies.
const fn tick_of(moment: Timestamp) -> u64 {
    moment.as_nanos() >> TICK_SHIFT
}

/// A ring of slots, each a list of packets linked through their entries.
struct Level {
    shift: u32,
    /// The first packet of each occupied slot.
    heads: Vec<SlotId>,
    occupied: Occupancy,
}

impl Level {
    fn new(shift: u32, count: usize) -> Self {
        Self {
            shift,
            heads: vec![SlotId::NONE; count],
            occupied: Occupancy::new(count),
        }
    }

    fn count(&self) -> u64 {
        self.heads.len() as u64
    }

    /// How many slots after that of `present` the one of `tick` is.
    const fn distance(&self, tick: u64, present: u64) -> u64 {
        (tick >> self.shift) - (present >> self.shift)
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the remainder is less than the number of slots, a usize"
    )]
    fn slot_of(&self, tick: u64) -> usize {
        ((tick >> self.shift) % self.count()) as usize
    }

    /// The first tick of a slot, at its next pass from `present` on.
    fn start_of(&self, slot: usize, present: u64) -> u64 {
        let current = present >> self.shift;
        let ahead = (slot as u64 + self.count() - current % self.count()) % self.count();
        (current + ahead) << self.shift
    }

    fn first(&self, present: u64) -> Option<usize> {
        self.occupied.first_from(self.slot_of(present))
    }

    fn last(&self, present: u64) -> Option<usize> {
        self.occupied.last_from(self.slot_of(present))
    }

    /// The earliest deadline in a slot, unless that holds none or more than a few packets.
    fn earliest(&self, slots: &Slots, slot: usize) -> Option<Timestamp> {
        let mut next = self.heads[slot];
        let mut earliest: Option<Timestamp> = None;
        for _ in 0..LOOKED_AT {
            if next == SlotId::NONE {
                return earliest;
            }
            let entry = slots.entry(next);
            earliest = Some(earliest.map_or(entry.deadline, |other| other.min(entry.deadline)));
            next = entry.next;
        }
        None
    }

    fn push(&mut self, slots: &mut Slots, slot: usize, id: SlotId) {
        slots.entry_mut(id).next = self.heads[slot];
        self.heads[slot] = id;
        self.occupied.set(slot);
    }

    fn pop(&mut self, slots: &mut Slots, slot: usize) -> Option<SlotId> {
        if !self.occupied.contains(slot) {
            return None;
        }
        let id = self.heads[slot];
        self.heads[slot] = slots.entry(id).next;
        if self.heads[slot] == SlotId::NONE {
            self.occupied.clear(slot);
        }
        Some(id)
    }
}
