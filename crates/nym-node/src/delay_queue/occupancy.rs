//! Which slots of a ring hold something: one bit each, and one bit for each 64 of these bits.

/// Slots that one word tells about.
const WORD: usize = 64;

/// The occupied slots of a ring.
pub(super) struct Occupancy {
    words: Vec<u64>,
    /// Which words are not zero.
    summary: Vec<u64>,
}

impl Occupancy {
    /// A ring of `count` empty slots.
    pub(super) fn new(count: usize) -> Self {
        let words = count.div_ceil(WORD);
        Self {
            words: vec![0; words],
            summary: vec![0; words.div_ceil(WORD)],
        }
    }

    pub(super) fn set(&mut self, slot: usize) {
        set(&mut self.words, slot);
        set(&mut self.summary, slot / WORD);
    }

    pub(super) fn clear(&mut self, slot: usize) {
        self.words[slot / WORD] &= !(1 << (slot % WORD));
        if self.words[slot / WORD] == 0 {
            let word = slot / WORD;
            self.summary[word / WORD] &= !(1 << (word % WORD));
        }
    }

    pub(super) fn contains(&self, slot: usize) -> bool {
        self.words[slot / WORD] & (1 << (slot % WORD)) != 0
    }

    /// The first occupied slot when the ring is walked forwards from `start`, which counts.
    pub(super) fn first_from(&self, start: usize) -> Option<usize> {
        self.first_at_or_after(start)
            .or_else(|| self.first_at_or_after(0))
    }

    /// The last occupied slot when the ring is walked forwards from `start`, which counts.
    pub(super) fn last_from(&self, start: usize) -> Option<usize> {
        let before = start.checked_sub(1);
        before
            .and_then(|before| self.last_at_or_before(before))
            .or_else(|| self.last_at_or_before(self.words.len() * WORD - 1))
    }

    fn first_at_or_after(&self, start: usize) -> Option<usize> {
        let word = start / WORD;
        if let Some(slot) = lowest(self.words[word] & (u64::MAX << (start % WORD))) {
            return Some(word * WORD + slot);
        }
        let word = first_bit_after(&self.summary, word)?;
        lowest(self.words[word]).map(|slot| word * WORD + slot)
    }

    fn last_at_or_before(&self, end: usize) -> Option<usize> {
        let word = end / WORD;
        if let Some(slot) = highest(self.words[word] & (u64::MAX >> (WORD - 1 - end % WORD))) {
            return Some(word * WORD + slot);
        }
        let word = last_bit_before(&self.summary, word)?;
        highest(self.words[word]).map(|slot| word * WORD + slot)
    }
}

fn set(words: &mut [u64], bit: usize) {
    words[bit / WORD] |= 1 << (bit % WORD);
}

fn lowest(word: u64) -> Option<usize> {
    (word != 0).then(|| word.trailing_zeros() as usize)
}

fn highest(word: u64) -> Option<usize> {
    (word != 0).then(|| WORD - 1 - word.leading_zeros() as usize)
}

/// The first set bit above `bit`.
fn first_bit_after(words: &[u64], bit: usize) -> Option<usize> {
    let start = bit + 1;
    let word = start / WORD;
    let rest = words.get(word)? & (u64::MAX << (start % WORD));
    if let Some(found) = lowest(rest) {
        return Some(word * WORD + found);
    }
    let (index, rest) = words
        .iter()
        .enumerate()
        .skip(word + 1)
        .find(|(_, word)| **word != 0)?;
    lowest(*rest).map(|found| index * WORD + found)
}

/// The last set bit below `bit`.
fn last_bit_before(words: &[u64], bit: usize) -> Option<usize> {
    let end = bit.checked_sub(1)?;
    let word = end / WORD;
    let rest = words[word] & (u64::MAX >> (WORD - 1 - end % WORD));
    if let Some(found) = highest(rest) {
        return Some(word * WORD + found);
    }
    let (index, rest) = words[..word]
        .iter()
        .enumerate()
        .rev()
        .find(|(_, word)| **word != 0)?;
    highest(*rest).map(|found| index * WORD + found)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_ring_is_walked_as_a_set_would_be(
            count in prop::sample::select(&[64_usize, 256, 65_536][..]),
            slots in prop::collection::vec((any::<u16>(), any::<bool>()), 0..60),
            start: u16,
        ) {
            let (mut occupancy, mut model) = (Occupancy::new(count), BTreeSet::new());
            let start = usize::from(start) % count;
            for (slot, is_set) in slots {
                let slot = usize::from(slot) % count;
                if is_set {
                    occupancy.set(slot);
                    model.insert(slot);
                } else {
                    occupancy.clear(slot);
                    model.remove(&slot);
                }
                prop_assert_eq!(occupancy.contains(slot), is_set);
            }
            let first = model.range(start..).next().or_else(|| model.first());
            let last = model.range(..start).next_back().or_else(|| model.last());
            prop_assert_eq!(occupancy.first_from(start), first.copied());
            prop_assert_eq!(occupancy.last_from(start), last.copied());
        }
    }
}
