//! Any fragments in any order, against a model and against the bounds.

use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use super::*;
use crate::fragment::split;

/// The set id and total of a set, and its contents by position.
type ModelSet = ((SetId, u8), BTreeMap<u8, Vec<u8>>);

/// What a reassembler does with fragments without links, written down naively.
#[derive(Default)]
struct Model {
    /// Longest untouched first.
    sets: Vec<ModelSet>,
    finished: Vec<Fragment>,
}

impl Model {
    fn insert(&mut self, inserted: &Fragment) -> Result<Option<Vec<u8>>, ()> {
        let header = *inserted.header();
        let key = (header.set_id(), header.total());
        let position = header.position();
        let content = inserted.content().to_vec();
        let known = |(other, set): &ModelSet| *other == key && set.get(&position) == Some(&content);
        if self.finished.contains(inserted) || self.sets.iter().any(known) {
            return Err(());
        }
        let fits = |(other, set): &ModelSet| *other == key && !set.contains_key(&position);
        let mut set = match self.sets.iter().rposition(fits) {
            Some(index) => self.sets.remove(index).1,
            None => BTreeMap::new(),
        };
        set.insert(position, content);
        if set.len() < usize::from(header.total()) {
            self.sets.push((key, set));
            return Ok(None);
        }
        for (position, content) in &set {
            let number = u8::try_from(header.set_id().get()).unwrap();
            self.finished
                .push(fragment(number, header.total(), *position, content));
        }
        Ok(Some(set.into_values().flatten().collect()))
    }
}

fn any_unlinked() -> impl Strategy<Value = Fragment> {
    (1..4_u8, 1..4_u8, 1..4_u8, 0..3_u8).prop_map(|(set, total, position, content)| {
        fragment(
            set,
            total,
            position.min(total),
            &vec![content; content.into()],
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn hostile_fragments_are_treated_as_the_model_does(
        fragments in prop::collection::vec(any_unlinked(), 0..60),
    ) {
        let mut reassembler = reassembler();
        let mut model = Model::default();
        for fragment in fragments {
            let expected = model.insert(&fragment);
            let found = reassembler.insert(NOW, fragment);
            check(&reassembler);
            prop_assert_eq!(found.map(|whole| whole.map(|whole| whole.bytes)).map_err(drop), expected);
        }
    }

    #[test]
    fn any_bytes_leave_the_reassembler_within_its_bounds(
        inputs in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..40), 0..20_u64), 0..40),
        memory in 0..3000_usize,
    ) {
        let mut reassembler = Reassembler::new(ReassemblyLimits { memory, ..limits() });
        let mut now = NOW;
        for (mut bytes, seconds) in inputs {
            now += Duration::from_secs(seconds);
            if let [first, _, _, _, _, position, link, ..] = bytes.as_mut_slice() {
                *first |= 0x80;
                *position = 1;
                *link &= 0x80;
            }
            if let Ok(fragment) = Fragment::parse(&bytes) {
                let _ = reassembler.insert(now, fragment);
                check(&reassembler);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn messages_arrive_once_in_any_order_unless_a_fragment_is_missing(
        lens in prop::collection::vec(1..3500_usize, 1..4),
        seed: u64,
        copies in prop::collection::vec(0..30_u8, 64),
        order in prop::collection::vec(any::<u32>(), 64),
    ) {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let messages: Vec<Vec<u8>> = lens.into_iter().map(bytes).collect();
        let mut expected = Vec::new();
        let mut arriving = Vec::new();
        for (number, message) in messages.into_iter().enumerate() {
            let mut lost = false;
            for (index, fragment) in split(&message, tiny(), &mut rng).into_iter().enumerate() {
                // One in thirty comes twice; of the first message, one in thirty never.
                let count = match copies[index % 64] {
                    0 if number == 0 && index % 64 == 7 => 0,
                    1 => 2,
                    _ => 1,
                };
                lost |= count == 0;
                for copy in 0..count {
                    let place = order[(index * 31 + number + copy) % 64].wrapping_mul(
                        u32::try_from(index * 2 + copy + 1).unwrap().wrapping_mul(0x9e37_79b1),
                    );
                    arriving.push((place, fragment.clone()));
                }
            }
            if !lost {
                expected.push(message);
            }
        }
        arriving.sort_by_key(|(place, _)| *place);
        let mut reassembler = reassembler();
        let mut arrived = Vec::new();
        for (_, fragment) in arriving {
            match reassembler.insert(NOW, fragment) {
                Ok(None) | Err(ReassemblyError::Repeated { .. }) => {}
                Ok(Some(whole)) => arrived.push(whole.bytes),
                Err(error) => return Err(TestCaseError::fail(error.to_string())),
            }
        }
        check(&reassembler);
        arrived.sort();
        expected.sort();
        prop_assert!(arrived == expected, "{} of {} messages", arrived.len(), expected.len());
    }
}
