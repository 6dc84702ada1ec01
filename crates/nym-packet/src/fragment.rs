//! Messages in pieces that fit a packet.
//!
//! A message is cut into *sets* of up to 255 *fragments*. A fragment that begins a set points
//! back to the set before, one that ends a full set points on to the set behind:
//!
//! ```text
//!   set A: 1 2 3 … 255 ──next──► set B: 1 2 3 … 255 ──next──► set C: 1 2
//!                      ◄──previous──                ◄──previous──
//!
//!  0        4       5          6                  7        10
//!  ├────────┼───────┼──────────┼──────────────────┼─────────┤
//!  │ 1‖set  │ total │ position │ 0                │ content …             not linked
//!  │ 1‖set  │ total │ position │ 1‖linked set (4)           │ content …   linked
//! ```
//!
//! Identifiers of sets have 31 bits; the top bit of their four bytes is always 1. That bit also
//! tells a fragment from cover, whose first byte has it clear.

mod split;

use core::fmt;

use rand_core::CryptoRng;
use thiserror::Error;

use crate::geometry::{FRAGMENT_ID_LEN, LINKED_HEADER_LEN, UNLINKED_HEADER_LEN};

pub use self::split::{FragmentGeometry, SplitError, SplitPlan, split, split_with_set_ids};

/// The top bit of an encoded set id.
const SET_FLAG: u32 = 1 << 31;

/// The number of fragments of a full set, and the last position in it.
const FULL_SET: u8 = u8::MAX;

/// Names a set of fragments: 1 to 2^31 − 1, drawn at random by the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetId(u32);

impl SetId {
    /// The identifier with this number, if it is within 1 to 2^31 − 1.
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        if number == 0 || number >= SET_FLAG {
            None
        } else {
            Some(Self(number))
        }
    }

    /// Draws an identifier uniformly.
    pub fn random<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        loop {
            // Dropping a bit keeps it uniform; zero is drawn again.
            if let Some(id) = Self::new(rng.next_u32() >> 1) {
                return id;
            }
        }
    }

    /// The number, 1 to 2^31 − 1.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Reads the four bytes of a header; `None` if the top bit is clear or the rest is zero.
    fn decode(bytes: [u8; 4]) -> Option<Self> {
        let number = u32::from_be_bytes(bytes);
        (number & SET_FLAG != 0)
            .then_some(number & !SET_FLAG)
            .and_then(Self::new)
    }

    const fn encode(self) -> [u8; 4] {
        (self.0 | SET_FLAG).to_be_bytes()
    }
}

impl fmt::Display for SetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The link of a fragment to the neighbouring set of a longer message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SetLink {
    /// This set comes after that one; only at position 1.
    Previous(SetId),
    /// This set comes before that one; only at position 255 of 255.
    Next(SetId),
}

impl SetLink {
    /// The set at the other end.
    #[must_use]
    pub const fn set_id(self) -> SetId {
        match self {
            Self::Previous(id) | Self::Next(id) => id,
        }
    }
}

/// Where a fragment belongs; well formed by construction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FragmentHeader {
    set_id: SetId,
    total: u8,
    position: u8,
    link: Option<SetLink>,
}

impl FragmentHeader {
    /// The set this fragment belongs to.
    #[must_use]
    pub const fn set_id(&self) -> SetId {
        self.set_id
    }

    /// Fragments in the set, 1 to 255.
    #[must_use]
    pub const fn total(&self) -> u8 {
        self.total
    }

    /// The place in the set, 1 to [`total`](Self::total).
    #[must_use]
    pub const fn position(&self) -> u8 {
        self.position
    }

    /// The link to a neighbouring set.
    #[must_use]
    pub const fn link(&self) -> Option<SetLink> {
        self.link
    }

    /// Length in bytes: 7, or 10 with a link.
    #[must_use]
    pub const fn encoded_len(&self) -> usize {
        if self.link.is_some() {
            LINKED_HEADER_LEN
        } else {
            UNLINKED_HEADER_LEN
        }
    }

    /// Reads a header from the start of `bytes` and gives what is behind it.
    ///
    /// # Errors
    ///
    /// [`FragmentError::TooShort`] below 7 bytes, or 10 with a link;
    /// [`FragmentError::MalformedHeader`] if a field is out of its range.
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), FragmentError> {
        let malformed = |field| FragmentError::MalformedHeader { field };
        let too_short = |needed| FragmentError::TooShort {
            needed,
            found: bytes.len(),
        };
        let (&[a, b, c, d, total, position, link_flag], content) = bytes
            .split_first_chunk()
            .ok_or_else(|| too_short(UNLINKED_HEADER_LEN))?;
        let set_id = SetId::decode([a, b, c, d]).ok_or_else(|| malformed(HeaderField::SetId))?;
        if total == 0 {
            return Err(malformed(HeaderField::Total));
        }
        if position == 0 || position > total {
            return Err(malformed(HeaderField::Position));
        }
        if link_flag == 0 {
            return Ok((
                Self {
                    set_id,
                    total,
                    position,
                    link: None,
                },
                content,
            ));
        }
        let (&[_, _, _, _, _, _, e, f, g, h], content) = bytes
            .split_first_chunk::<LINKED_HEADER_LEN>()
            .ok_or_else(|| too_short(LINKED_HEADER_LEN))?;
        let linked = SetId::decode([e, f, g, h])
            .filter(|linked| *linked != set_id)
            .ok_or_else(|| malformed(HeaderField::Link))?;
        let link = match (position, total) {
            (1, _) => SetLink::Previous(linked),
            (FULL_SET, FULL_SET) => SetLink::Next(linked),
            _ => return Err(malformed(HeaderField::Link)),
        };
        Ok((
            Self {
                set_id,
                total,
                position,
                link: Some(link),
            },
            content,
        ))
    }

    fn encode_into(&self, buffer: &mut Vec<u8>) {
        buffer.extend_from_slice(&self.set_id.encode());
        buffer.extend_from_slice(&[self.total, self.position]);
        match self.link {
            None => buffer.push(0),
            Some(link) => buffer.extend_from_slice(&link.set_id().encode()),
        }
    }
}

/// A piece of a message.
///
/// Only its id is shown by `Debug`: the content is somebody's message.
#[derive(Clone, PartialEq, Eq)]
pub struct Fragment {
    header: FragmentHeader,
    content: Vec<u8>,
}

impl Fragment {
    /// Reads a fragment. Content may be empty.
    ///
    /// # Errors
    ///
    /// As [`FragmentHeader::parse`].
    pub fn parse(bytes: &[u8]) -> Result<Self, FragmentError> {
        let (header, content) = FragmentHeader::parse(bytes)?;
        Ok(Self {
            header,
            content: content.to_vec(),
        })
    }

    /// Where the fragment belongs.
    #[must_use]
    pub const fn header(&self) -> &FragmentHeader {
        &self.header
    }

    /// The piece of the message.
    #[must_use]
    pub fn content(&self) -> &[u8] {
        &self.content
    }

    /// The name that an acknowledgement carries.
    #[must_use]
    pub const fn id(&self) -> FragmentId {
        FragmentId::fragment(self.header.set_id, self.header.position)
    }

    /// Length in bytes with header.
    #[must_use]
    pub const fn encoded_len(&self) -> usize {
        self.header.encoded_len() + self.content.len()
    }

    /// Header and content.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.encoded_len());
        self.header.encode_into(&mut bytes);
        bytes.extend_from_slice(&self.content);
        bytes
    }

    pub(crate) fn into_content(self) -> Vec<u8> {
        self.content
    }
}

impl fmt::Debug for Fragment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fragment")
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

/// What an acknowledgement names, in 5 bytes: set id (4, top bit clear) ‖ position (1).
///
/// | set id | position | names |
/// |---|---|---|
/// | 0 | 0 | a loop cover packet |
/// | above 0 | 0 | a reply; the id is drawn at random |
/// | above 0 | above 0 | a fragment of a message |
///
/// The fourth combination names nothing; it can be read, and no packet ever has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FragmentId {
    set_number: u32,
    position: u8,
}

impl FragmentId {
    /// The name that all loop cover packets share.
    pub const COVER: Self = Self {
        set_number: 0,
        position: 0,
    };

    /// The name of a fragment of a message.
    #[must_use]
    pub const fn fragment(set_id: SetId, position: u8) -> Self {
        Self {
            set_number: set_id.0,
            position,
        }
    }

    /// The name of a reply.
    #[must_use]
    pub const fn reply(set_id: SetId) -> Self {
        Self {
            set_number: set_id.0,
            position: 0,
        }
    }

    /// The number of the set, 0 to 2^31 − 1.
    #[must_use]
    pub const fn set_number(self) -> u32 {
        self.set_number
    }

    /// The position in the set.
    #[must_use]
    pub const fn position(self) -> u8 {
        self.position
    }

    /// Whether this names loop cover packets.
    #[must_use]
    pub const fn is_cover(self) -> bool {
        self.set_number == 0 && self.position == 0
    }

    /// Whether this names a reply.
    #[must_use]
    pub const fn is_reply(self) -> bool {
        self.set_number != 0 && self.position == 0
    }

    /// The 5 bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; FRAGMENT_ID_LEN] {
        let [a, b, c, d] = self.set_number.to_be_bytes();
        [a, b, c, d, self.position]
    }

    /// Reads the 5 bytes.
    ///
    /// # Errors
    ///
    /// [`FragmentIdError`] if the top bit is set.
    pub fn from_bytes(
        [a, b, c, d, position]: [u8; FRAGMENT_ID_LEN],
    ) -> Result<Self, FragmentIdError> {
        let set_number = u32::from_be_bytes([a, b, c, d]);
        if set_number >= SET_FLAG {
            return Err(FragmentIdError);
        }
        Ok(Self {
            set_number,
            position,
        })
    }
}

/// Why bytes are not a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FragmentError {
    /// The bytes end inside the header.
    #[error("fragment header needs {needed} bytes, found {found}")]
    TooShort {
        /// Length of the header that begins here.
        needed: usize,
        /// Bytes given.
        found: usize,
    },
    /// A field of the header is out of its range.
    #[error("malformed {field} in a fragment header")]
    MalformedHeader {
        /// The first such field.
        field: HeaderField,
    },
}

/// A field of a fragment header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderField {
    /// Bytes 0 to 3: top bit set, rest not zero.
    SetId,
    /// Byte 4: not zero.
    Total,
    /// Byte 5: not zero, at most the total.
    Position,
    /// Bytes 6 to 9: top bit set, rest neither zero nor the fragment's own set; only at position
    /// 1 or at position 255 of 255.
    Link,
}

impl fmt::Display for HeaderField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SetId => "set id",
            Self::Total => "total",
            Self::Position => "position",
            Self::Link => "link",
        })
    }
}

/// The set id of a fragment identifier has its top bit set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("malformed fragment identifier")]
pub struct FragmentIdError;

#[cfg(test)]
mod tests {
    use core::convert::Infallible;

    use proptest::prelude::*;
    use rand_core::{TryCryptoRng, TryRng};

    use super::*;

    fn malformed(field: HeaderField) -> FragmentError {
        FragmentError::MalformedHeader { field }
    }

    fn parse(bytes: &[u8]) -> Result<FragmentHeader, FragmentError> {
        FragmentHeader::parse(bytes).map(|(header, _)| header)
    }

    #[test]
    fn set_ids_have_31_bits_and_are_not_zero() {
        assert_eq!(SetId::new(0), None);
        assert_eq!(SetId::new(1).map(SetId::get), Some(1));
        assert_eq!(SetId::new(0x7fff_ffff).map(SetId::get), Some(0x7fff_ffff));
        assert_eq!(SetId::new(0x8000_0000), None);
    }

    /// Gives these numbers, in their order.
    struct Given(std::vec::IntoIter<u32>);

    impl TryRng for Given {
        type Error = Infallible;

        fn try_next_u32(&mut self) -> Result<u32, Infallible> {
            Ok(self.0.next().expect("more numbers were drawn than given"))
        }

        fn try_next_u64(&mut self) -> Result<u64, Infallible> {
            unreachable!("an id has 31 bits")
        }

        fn try_fill_bytes(&mut self, _: &mut [u8]) -> Result<(), Infallible> {
            unreachable!("an id is one number")
        }
    }

    impl TryCryptoRng for Given {}

    #[test]
    fn any_number_drawn_gives_an_id_and_each_id_two_numbers_do() {
        // The smallest signed number has no absolute value; 0 and 1 give no id.
        let drawn = vec![0, 1, 2, 3, 0x7fff_ffff, 0x8000_0000, 0x8000_0001, u32::MAX];
        let mut rng = Given(drawn.into_iter());
        let ids: Vec<_> = (0..6).map(|_| SetId::random(&mut rng).get()).collect();
        let expected = [1, 1, 0x3fff_ffff, 0x4000_0000, 0x4000_0000, 0x7fff_ffff];
        assert_eq!(ids, expected);
    }

    #[test]
    fn link_is_previous_at_the_start_and_next_at_the_end_of_a_full_set() {
        let header = parse(&[0x80, 0, 0, 1, 255, 1, 0x80, 0, 0, 2]).unwrap();
        assert_eq!(header.link(), SetId::new(2).map(SetLink::Previous));
        let header = parse(&[0x80, 0, 0, 1, 255, 255, 0x80, 0, 0, 2]).unwrap();
        assert_eq!(header.link(), SetId::new(2).map(SetLink::Next));
        let elsewhere = parse(&[0x80, 0, 0, 1, 255, 254, 0x80, 0, 0, 2]);
        assert_eq!(elsewhere, Err(malformed(HeaderField::Link)));
        let end_of_short_set = parse(&[0x80, 0, 0, 1, 254, 254, 0x80, 0, 0, 2]);
        assert_eq!(end_of_short_set, Err(malformed(HeaderField::Link)));
    }

    #[test]
    fn ids_of_zero_and_links_to_the_own_set_are_refused() {
        assert_eq!(
            parse(&[0x80, 0, 0, 0, 1, 1, 0]),
            Err(malformed(HeaderField::SetId))
        );
        for linked in [0, 1] {
            let header = parse(&[0x80, 0, 0, 1, 1, 1, 0x80, 0, 0, linked]);
            assert_eq!(header, Err(malformed(HeaderField::Link)));
        }
    }

    #[test]
    fn positions_outside_of_their_set_are_refused() {
        for (total, position, field) in [
            (0, 0, Some(HeaderField::Total)),
            (0, 1, Some(HeaderField::Total)),
            (3, 0, Some(HeaderField::Position)),
            (3, 1, None),
            (3, 3, None),
            (3, 4, Some(HeaderField::Position)),
            (3, 255, Some(HeaderField::Position)),
        ] {
            let refused = parse(&[0x80, 0, 0, 1, total, position, 0]).err();
            assert_eq!(refused, field.map(malformed), "{position} of {total}");
        }
    }

    #[test]
    fn short_headers_are_refused_at_either_length() {
        let bytes = [0x80, 0, 0, 1, 1, 1, 0x80, 0, 0, 2];
        let error = |needed, found| Err(FragmentError::TooShort { needed, found });
        assert_eq!(parse(&bytes[..6]), error(7, 6));
        assert_eq!(parse(&bytes[..9]), error(10, 9));
        assert!(parse(&bytes).is_ok());
        assert!(parse(&[0x80, 0, 0, 1, 1, 1, 0]).is_ok());
    }

    #[test]
    fn debug_of_a_fragment_hides_its_content() {
        let fragment = Fragment::parse(&[0x80, 0, 0, 1, 1, 1, 0, 211, 212]).unwrap();
        let shown = format!("{fragment:?}");
        assert!(!shown.contains("211"), "{shown}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_fragment_or_an_error(
            mut bytes in prop::collection::vec(any::<u8>(), 0..20),
            small in 0..4_u8,
        ) {
            // Half of all inputs get past the first checks.
            if small > 1 && bytes.len() > 6 {
                bytes[0] |= 0x80;
                bytes[4] = bytes[4].max(small);
                bytes[5] = 1;
                bytes[6] &= 0x80;
            }
            if let Ok(fragment) = Fragment::parse(&bytes) {
                prop_assert_eq!(fragment.encoded_len(), bytes.len());
                prop_assert_eq!(fragment.to_bytes(), bytes);
            }
        }

        #[test]
        fn identifiers_round_trip(bytes: [u8; 5]) {
            match FragmentId::from_bytes(bytes) {
                Ok(id) => prop_assert_eq!(id.to_bytes(), bytes),
                Err(FragmentIdError) => prop_assert!(bytes[0] >= 0x80),
            }
        }
    }
}
