//! Cutting a message into fragments.

use rand_core::CryptoRng;
use thiserror::Error;

use super::{FULL_SET, Fragment, FragmentHeader, SetId, SetLink};
use crate::geometry::{LINKED_HEADER_LEN, MAX_FRAGMENTS_PER_SET, PacketSize, UNLINKED_HEADER_LEN};

/// How much of a message fits into fragments of one length.
///
/// With fragments of P bytes, an unlinked one holds U = P − 7 bytes of the message and a linked
/// one K = P − 10. So a single set holds up to 255·U, the first and the last of several up to
/// E = 254·U + K, one in the middle exactly M = 253·U + 2·K.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentGeometry {
    fragment_len: usize,
}

impl FragmentGeometry {
    /// For fragments that fill regular packets: P = 1,611.
    pub const REGULAR: Self = Self {
        fragment_len: PacketSize::Regular.fragment_len(),
    };

    /// For fragments that fill extended packets: P = 32,331.
    pub const EXTENDED: Self = Self {
        fragment_len: PacketSize::Extended.fragment_len(),
    };

    /// For fragments of this many bytes, header included; `None` below the 11 that leave room
    /// for a byte of the message behind every header, and above 2^20, which no packet has.
    #[must_use]
    pub const fn new(fragment_len: usize) -> Option<Self> {
        if fragment_len <= LINKED_HEADER_LEN || fragment_len > 1 << 20 {
            return None;
        }
        Some(Self { fragment_len })
    }

    /// Bytes of a full fragment with header: P.
    #[must_use]
    pub const fn fragment_len(self) -> usize {
        self.fragment_len
    }

    /// Bytes of the message in a full fragment without link: U.
    #[must_use]
    pub const fn unlinked_len(self) -> usize {
        self.fragment_len - UNLINKED_HEADER_LEN
    }

    /// Bytes of the message in a full fragment with link: K.
    #[must_use]
    pub const fn linked_len(self) -> usize {
        self.fragment_len - LINKED_HEADER_LEN
    }

    /// Bytes of the message in a set that stands alone.
    const fn lone_set_len(self) -> usize {
        MAX_FRAGMENTS_PER_SET * self.unlinked_len()
    }

    /// Bytes of the message in the first (exactly) and last (at most) of several sets: E.
    const fn edge_set_len(self) -> usize {
        self.lone_set_len() - (LINKED_HEADER_LEN - UNLINKED_HEADER_LEN)
    }

    /// Bytes of the message in a set between two others: M.
    const fn middle_set_len(self) -> usize {
        self.edge_set_len() - (LINKED_HEADER_LEN - UNLINKED_HEADER_LEN)
    }

    /// Counts the sets and fragments of a message of `message_len` bytes.
    #[must_use]
    pub const fn plan(self, message_len: usize) -> SplitPlan {
        let unlinked = self.unlinked_len();
        if message_len <= self.lone_set_len() {
            let fragments = message_len.div_ceil(unlinked);
            let room = fragments * unlinked - message_len;
            return SplitPlan {
                sets: 1,
                fragments,
                room,
            };
        }
        let edge = self.edge_set_len();
        let middle_sets = message_len
            .saturating_sub(2 * edge)
            .div_ceil(self.middle_set_len());
        let full_sets = 1 + middle_sets;
        let last_set = message_len - edge - middle_sets * self.middle_set_len();
        let behind_first = last_set.saturating_sub(self.linked_len());
        let last_fragments = 1 + behind_first.div_ceil(unlinked);
        let room = if behind_first == 0 {
            self.linked_len() - last_set
        } else {
            (last_fragments - 1) * unlinked - behind_first
        };
        SplitPlan {
            sets: full_sets + 1,
            fragments: full_sets * MAX_FRAGMENTS_PER_SET + last_fragments,
            room,
        }
    }
}

/// What a message of some length is cut into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SplitPlan {
    /// Sets, at least 1.
    pub sets: usize,
    /// Fragments in all sets; zero for an empty message only.
    pub fragments: usize,
    /// Bytes that the last fragment has room for behind the message.
    pub room: usize,
}

/// Cuts a message into fragments under freshly drawn set ids, all different.
///
/// The last fragment is shorter than the others unless the message was padded to fill it. An
/// empty message gives no fragment.
pub fn split<R: CryptoRng + ?Sized>(
    message: &[u8],
    geometry: FragmentGeometry,
    rng: &mut R,
) -> Vec<Fragment> {
    let mut set_ids: Vec<SetId> = Vec::new();
    for _ in 0..geometry.plan(message.len()).sets {
        // A link must not lead to a set of the same name.
        let mut id = SetId::random(rng);
        while set_ids.contains(&id) {
            id = SetId::random(rng);
        }
        set_ids.push(id);
    }
    split_with_set_ids(message, geometry, &set_ids)
        .expect("as many distinct ids were drawn as the plan asks for")
}

/// Cuts a message into fragments under given set ids, one per set and all different.
///
/// # Errors
///
/// [`SplitError`] if there are more or fewer ids than sets, or one twice.
pub fn split_with_set_ids(
    message: &[u8],
    geometry: FragmentGeometry,
    set_ids: &[SetId],
) -> Result<Vec<Fragment>, SplitError> {
    let plan = geometry.plan(message.len());
    if set_ids.len() != plan.sets {
        return Err(SplitError::SetIdCount {
            expected: plan.sets,
            found: set_ids.len(),
        });
    }
    let mut sorted = set_ids.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    if sorted.len() != set_ids.len() {
        return Err(SplitError::RepeatedSetId);
    }

    let mut fragments = Vec::with_capacity(plan.fragments);
    let mut rest = message;
    let mut previous = None;
    let mut ids = set_ids.iter().copied().peekable();
    while let Some(set_id) = ids.next() {
        let next = ids.peek().copied();
        // Only the last set can have fewer than 255 fragments.
        let left = plan.fragments - fragments.len();
        let total = if next.is_some() {
            FULL_SET
        } else {
            u8::try_from(left).unwrap_or(FULL_SET)
        };
        for position in 1..=total {
            let link = match position {
                1 => previous.map(SetLink::Previous),
                FULL_SET => next.map(SetLink::Next),
                _ => None,
            };
            let header = FragmentHeader {
                set_id,
                total,
                position,
                link,
            };
            let room = geometry.fragment_len() - header.encoded_len();
            let (content, behind) = rest.split_at(room.min(rest.len()));
            rest = behind;
            fragments.push(Fragment {
                header,
                content: content.to_vec(),
            });
        }
        previous = Some(set_id);
    }
    Ok(fragments)
}

/// Given set ids do not suit the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SplitError {
    /// There is not one id per set.
    #[error("the message makes {expected} sets, but {found} set ids were given")]
    SetIdCount {
        /// Sets of the message.
        expected: usize,
        /// Ids given.
        found: usize,
    },
    /// An id was given twice.
    #[error("a set id was given twice")]
    RepeatedSetId,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    /// The smallest geometry: one byte of message per linked fragment, four per unlinked one.
    fn tiny() -> FragmentGeometry {
        FragmentGeometry::new(11).unwrap()
    }

    #[test]
    fn fragments_need_room_behind_the_longer_header() {
        assert_eq!(FragmentGeometry::new(10), None);
        assert!(FragmentGeometry::new(11).is_some());
        assert!(FragmentGeometry::new(1 << 20).is_some());
        assert_eq!(FragmentGeometry::new((1 << 20) + 1), None);
        assert_eq!(FragmentGeometry::new(PacketSize::Ack.fragment_len()), None);
        assert_eq!(FragmentGeometry::new(1611), Some(FragmentGeometry::REGULAR));
        assert_eq!(
            FragmentGeometry::new(32_331),
            Some(FragmentGeometry::EXTENDED)
        );
    }

    #[test]
    fn capacities_are_those_of_regular_packets() {
        assert_eq!(FragmentGeometry::REGULAR.unlinked_len(), 1604);
        assert_eq!(FragmentGeometry::REGULAR.linked_len(), 1601);
        assert_eq!(FragmentGeometry::REGULAR.lone_set_len(), 409_020);
        assert_eq!(FragmentGeometry::REGULAR.edge_set_len(), 409_017);
        assert_eq!(FragmentGeometry::REGULAR.middle_set_len(), 409_014);
    }

    #[test]
    fn number_of_sets_changes_exactly_at_the_capacities() {
        let sets = |len| FragmentGeometry::REGULAR.plan(len).sets;
        assert_eq!((sets(0), sets(409_020), sets(409_021)), (1, 1, 2));
        assert_eq!((sets(2 * 409_017), sets(2 * 409_017 + 1)), (2, 3));
        let three = 2 * 409_017 + 409_014;
        assert_eq!((sets(three), sets(three + 1)), (3, 4));
    }

    #[test]
    fn no_length_overflows_the_plan() {
        for geometry in [tiny(), FragmentGeometry::new(1 << 20).unwrap()] {
            assert!(geometry.plan(usize::MAX).fragments > 4000);
        }
    }

    #[test]
    fn last_set_may_hold_a_single_linked_fragment() {
        let plan = FragmentGeometry::REGULAR.plan(409_021);
        assert_eq!(
            plan,
            SplitPlan {
                sets: 2,
                fragments: 256,
                room: 1601 - 4
            }
        );
    }

    #[test]
    fn empty_message_has_no_fragment() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        assert_eq!(split(&[], FragmentGeometry::REGULAR, &mut rng), []);
    }

    #[test]
    fn unsuitable_set_ids_are_refused() {
        let [a, b] = [1, 2].map(|id| SetId::new(id).unwrap());
        let two_sets = vec![0; tiny().lone_set_len() + 1];
        let refused = |ids: &[SetId]| split_with_set_ids(&two_sets, tiny(), ids).err();
        assert_eq!(
            refused(&[a]),
            Some(SplitError::SetIdCount {
                expected: 2,
                found: 1
            })
        );
        assert_eq!(
            refused(&[a, b, a]),
            Some(SplitError::SetIdCount {
                expected: 2,
                found: 3
            })
        );
        assert_eq!(refused(&[a, a]), Some(SplitError::RepeatedSetId));
        assert_eq!(refused(&[a, b]), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn fragments_hold_the_message_as_planned(
            fragment_len in 11..40_usize,
            per_mille in 0..4000_usize,
            seed: u64,
        ) {
            let geometry = FragmentGeometry::new(fragment_len).unwrap();
            let message_len = geometry.lone_set_len() * per_mille / 1000;
            let message: Vec<u8> = (0_u8..=255).cycle().take(message_len).collect();
            let plan = geometry.plan(message_len);
            let fragments = split(&message, geometry, &mut ChaCha20Rng::seed_from_u64(seed));

            prop_assert_eq!(fragments.len(), plan.fragments);
            let joined: Vec<u8> = fragments.iter().flat_map(|f| f.content().to_vec()).collect();
            prop_assert_eq!(joined, message);
            for (index, fragment) in fragments.iter().enumerate() {
                let room = if index + 1 == fragments.len() { plan.room } else { 0 };
                prop_assert_eq!(fragment.encoded_len(), fragment_len - room);
                let bytes = fragment.to_bytes();
                let parsed = Fragment::parse(&bytes);
                prop_assert_eq!(parsed.as_ref(), Ok(fragment));
            }
            let linked = fragments.iter().filter(|f| f.header().link().is_some()).count();
            prop_assert_eq!(linked, 2 * (plan.sets - 1));
        }
    }
}
