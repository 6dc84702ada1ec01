//! The replay filter: a packet passes a node once.
//!
//! An observer who sends a recorded packet a second time sees which output appears twice, and so
//! follows it through the mix (Danezis & Goldberg 2009, section 3.6). The filter remembers the
//! header MAC γ of each packet *after* it was verified. Nothing else would do: the group element α
//! can be altered without invalidating the MAC (its bit 255 is ignored, and a point of order eight
//! added to it changes nothing), so a tag made of α is evaded at will; and a γ that was not
//! verified is whatever the peer wrote, so remembering it would let anybody fill the filter and
//! block packets that they have seen elsewhere.
//!
//! # Memory and exactness
//!
//! Tags live in two generations, *current* and *previous*. When the current one is full or old, it
//! becomes the previous one, and what was previous is forgotten. So, with capacity `c` and age `a`:
//!
//! * a tag is recognised for as long as fewer than `c` fresh tags followed it and less than `a`
//!   passed, and at most until `2c` followed it;
//! * a fresh packet is taken for a replay, and lost, with a probability of `2c / 2^64`, since 64
//!   bits of a tag are kept: 4 in 10^13 by default, below 1 in 10^9 at every capacity allowed;
//! * a generation holds `b` slots of 9 bytes (what is kept, and a byte of the table), `b` being the
//!   power of two at or above `8/7 · c`: by default 2²² slots for 3,670,016 tags, 37.7 MB, and
//!   75.5 MB for both. A generation takes its memory at once, so no packet waits while a table
//!   grows, but the system provides pages only as they fill.
//!
//! So by default a node that forwards 40 packets per second remembers a day, one that forwards 1,000
//! an hour at least, and one that forwards 40,000, what two cores can do, a minute and a half. An
//! older replay passes, once; [`ReplayFilter::window`] tells how old.
//!
//! # Keyed
//!
//! Whoever builds packets can try keys until γ has any bits they like, and could so fill one chain
//! of a plain hash table, or a packet that is taken for another one. The filter encrypts γ with
//! AES-128 under a key of its own, and keeps the first half: bits that nobody can steer, which serve
//! as the hash, too.

use core::hash::{BuildHasherDefault, Hasher};
use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::time::Duration;

use aes::Aes128;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use nym_packet::time::Timestamp;
use rand_core::CryptoRng;

/// Length of a tag, γ of a Sphinx header, in bytes.
pub const TAG_LEN: usize = 16;

/// What the filter says about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a replayed packet must be dropped"]
pub enum Freshness {
    /// Not seen as far as the filter remembers; it is remembered now.
    Fresh,
    /// Seen before.
    Replayed,
}

/// How much a filter remembers; see the [module](self) for the arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayLimits {
    /// Tags in a generation, at most [`CAPACITY_MAX`].
    pub capacity: NonZeroUsize,
    /// Age at which a generation ends although it is not full.
    pub age: Duration,
}

impl Default for ReplayLimits {
    /// 3,670,016 tags (7/8 of 2²² slots) and a day.
    fn default() -> Self {
        Self {
            capacity: NonZeroUsize::new((1 << 22) / 8 * 7).expect("the product is positive"),
            age: Duration::from_secs(24 * 3600),
        }
    }
}

/// Tags in a generation at most; two such take 77 GB.
pub const CAPACITY_MAX: usize = 1 << 31;

// False positives stay below 1 in 10^9.
const _: () = assert!(2 * CAPACITY_MAX as u128 * 1_000_000_000 <= 1 << 64);

/// Remembers the verified header MACs of packets in two rotating generations.
pub struct ReplayFilter {
    limits: ReplayLimits,
    permutation: Aes128,
    current: Generation,
    previous: Generation,
    current_since: Timestamp,
    /// Generations that have begun since the first.
    generation: u64,
    window: Duration,
}

/// Halves of tags under the permutation. Their bits are already uniform, so they are their own hash.
type Generation = HashSet<u64, BuildHasherDefault<OwnHash>>;

impl ReplayFilter {
    /// An empty filter whose first generation starts at `now`; `rng` gives its secret key.
    pub fn new<R: CryptoRng + ?Sized>(limits: ReplayLimits, now: Timestamp, rng: &mut R) -> Self {
        let mut key = [0; 16];
        rng.fill_bytes(&mut key);
        Self {
            limits,
            permutation: Aes128::new(&key.into()),
            current: Generation::with_capacity_and_hasher(
                limits.capacity.get(),
                BuildHasherDefault::default(),
            ),
            // Takes its memory when the first generation ends; many nodes never get there.
            previous: Generation::default(),
            current_since: now,
            generation: 0,
            window: limits.age,
        }
    }

    /// Tells whether the tag is new, and remembers it if so.
    ///
    /// `tag` must come from a header whose MAC was verified. A replay is not remembered again, so
    /// nobody can fill the filter by repeating one packet.
    pub fn check(&mut self, now: Timestamp, tag: &[u8; TAG_LEN]) -> Freshness {
        let mut block = (*tag).into();
        self.permutation.encrypt_block(&mut block);
        let slot = first_half(&block.into());
        if now.saturating_duration_since(self.current_since) >= self.limits.age {
            self.end_generation(now);
        }
        if self.current.contains(&slot) || self.previous.contains(&slot) {
            return Freshness::Replayed;
        }
        if self.current.len() >= self.limits.capacity.get() {
            self.end_generation(now);
        }
        self.current.insert(slot);
        Freshness::Fresh
    }

    /// Tags remembered at present, at most twice the capacity.
    #[must_use]
    pub fn len(&self) -> usize {
        self.current.len() + self.previous.len()
    }

    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends the current generation before its time, as when it is read from a file.
    pub fn begin_generation(&mut self, now: Timestamp) {
        if !self.current.is_empty() {
            self.rotate(now);
        }
    }

    /// The number of the current generation, which grows when it ends.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// How long a packet is remembered at least, by the length of the last generation that ended:
    /// the configured age, or less if it was full before. The configured age before one ended.
    #[must_use]
    pub const fn window(&self) -> Duration {
        self.window
    }

    fn end_generation(&mut self, now: Timestamp) {
        let lasted = now.saturating_duration_since(self.current_since);
        self.window = lasted.min(self.limits.age);
        self.rotate(now);
    }

    fn rotate(&mut self, now: Timestamp) {
        std::mem::swap(&mut self.current, &mut self.previous);
        self.current.clear();
        self.current.reserve(self.limits.capacity.get());
        self.current_since = now;
        self.generation += 1;
    }
}

/// The first eight bytes of a block, as a number.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the low half is what is wanted"
)]
const fn first_half(block: &[u8; 16]) -> u64 {
    u128::from_le_bytes(*block) as u64
}

/// The hash of a number that is random already: itself.
#[derive(Default)]
struct OwnHash(u64);

impl Hasher for OwnHash {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(bytes) = bytes.first_chunk() {
            self.0 = u64::from_ne_bytes(*bytes);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    const AGE: Duration = Duration::from_secs(10);

    fn filter(capacity: usize) -> ReplayFilter {
        let limits = ReplayLimits {
            capacity: NonZeroUsize::new(capacity).unwrap(),
            age: AGE,
        };
        ReplayFilter::new(limits, Timestamp::ZERO, &mut ChaCha20Rng::seed_from_u64(1))
    }

    fn tag(number: u64) -> [u8; TAG_LEN] {
        u128::from(number).to_be_bytes()
    }

    fn at(elapsed: Duration) -> Timestamp {
        Timestamp::ZERO + elapsed
    }

    #[test]
    fn the_second_time_is_a_replay() {
        let mut filter = filter(4);
        assert_eq!(filter.check(Timestamp::ZERO, &tag(0)), Freshness::Fresh);
        assert_eq!(filter.check(Timestamp::ZERO, &tag(1)), Freshness::Fresh);
        assert_eq!(filter.check(Timestamp::ZERO, &tag(0)), Freshness::Replayed);
        assert_eq!(filter.check(Timestamp::ZERO, &tag(1)), Freshness::Replayed);
        assert_eq!(filter.len(), 2);
    }

    #[test]
    fn a_tag_is_recognised_while_fewer_than_the_capacity_followed() {
        let mut filter = filter(4);
        // The worst case: the tag is the last of its generation.
        for number in 0..4 {
            assert_eq!(
                filter.check(Timestamp::ZERO, &tag(number)),
                Freshness::Fresh
            );
        }
        for number in 4..8 {
            assert_eq!(
                filter.check(Timestamp::ZERO, &tag(number)),
                Freshness::Fresh
            );
        }
        assert_eq!(filter.check(Timestamp::ZERO, &tag(3)), Freshness::Replayed);
        assert_eq!(filter.len(), 8);
        assert_eq!(filter.check(Timestamp::ZERO, &tag(8)), Freshness::Fresh);
        assert_eq!(filter.len(), 5);
        assert_eq!(filter.check(Timestamp::ZERO, &tag(3)), Freshness::Fresh);
    }

    #[test]
    fn replays_do_not_push_anything_out() {
        let mut filter = filter(2);
        assert_eq!(filter.check(Timestamp::ZERO, &tag(0)), Freshness::Fresh);
        for _ in 0..100 {
            assert_eq!(filter.check(Timestamp::ZERO, &tag(0)), Freshness::Replayed);
        }
        assert_eq!(filter.len(), 1);
    }

    #[test]
    fn a_generation_ends_at_its_age_and_not_before() {
        let mut filter = filter(100);
        assert_eq!(filter.check(Timestamp::ZERO, &tag(0)), Freshness::Fresh);
        let nanosecond = Duration::from_nanos(1);
        // One rotation keeps the tag, the next forgets it.
        assert_eq!(filter.check(at(AGE), &tag(1)), Freshness::Fresh);
        assert_eq!(
            filter.check(at(AGE * 2 - nanosecond), &tag(0)),
            Freshness::Replayed
        );
        assert_eq!(filter.check(at(AGE * 2), &tag(0)), Freshness::Fresh);
    }

    #[test]
    fn the_window_is_the_age_or_how_fast_a_generation_was_full() {
        let mut filter = filter(2);
        assert_eq!(filter.window(), AGE);
        let seconds = |count| at(Duration::from_secs(count));
        for number in 0..2 {
            assert_eq!(filter.check(seconds(0), &tag(number)), Freshness::Fresh);
        }
        assert_eq!(filter.check(seconds(3), &tag(2)), Freshness::Fresh);
        assert_eq!((filter.generation(), filter.window()), (1, AGE * 3 / 10));
        // Idle for long.
        assert_eq!(filter.check(seconds(100), &tag(3)), Freshness::Fresh);
        assert_eq!((filter.generation(), filter.window()), (2, AGE));
    }

    #[test]
    fn tags_are_told_apart_by_every_byte() {
        let mut filter = filter(1000);
        for bit in 0..128 {
            let tag = (1_u128 << bit).to_be_bytes();
            assert_eq!(filter.check(Timestamp::ZERO, &tag), Freshness::Fresh);
        }
        assert_eq!(filter.len(), 128);
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_is_harmless() {
        let mut filter = filter(2);
        assert_eq!(filter.check(at(AGE * 3), &tag(0)), Freshness::Fresh);
        assert_eq!(filter.check(Timestamp::ZERO, &tag(0)), Freshness::Replayed);
    }

    #[test]
    fn filling_a_generation_does_not_reallocate() {
        let mut filter = filter(1000);
        for number in 0..5000 {
            assert_eq!(
                filter.check(Timestamp::ZERO, &tag(number)),
                Freshness::Fresh
            );
            assert!(filter.current.capacity() < 2048);
        }
    }

    proptest! {
        /// The filter agrees with a list that remembers everything, as far as it promises.
        #[test]
        fn the_filter_agrees_with_a_model(
            capacity in 1_usize..8,
            tags in prop::collection::vec(0_u64..24, 0..200),
        ) {
            let mut filter = filter(capacity);
            let mut fresh_tags = VecDeque::new();
            for number in tags {
                let seen = fresh_tags.iter().position(|seen| *seen == number);
                match filter.check(Timestamp::ZERO, &tag(number)) {
                    Freshness::Fresh => {
                        prop_assert!(seen.is_none_or(|age| age >= capacity));
                        fresh_tags.push_front(number);
                    }
                    Freshness::Replayed => {
                        prop_assert!(seen.is_some_and(|age| age < 2 * capacity));
                    }
                }
            }
        }
    }
}
