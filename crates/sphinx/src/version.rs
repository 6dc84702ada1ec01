//! Which rules a packet follows.

use crate::sizes::VERSION_LEN;

/// The rules a packet is built and processed by, chosen by the caller.
///
/// There are two incompatible families. They differ in how α is blinded from hop to hop, so a packet
/// of one family dies at the second hop of the other:
///
/// | | blinding scalar | payload key of a hop | made by |
/// |---|---|---|---|
/// | [`Version::NYM_0_11`] | reduced modulo ℓ | 192 derived bytes | Nym 0.11.0 |
/// | [`Version::later`] | clamped (RFC 7748) | depends on the number | `sphinx-packet` 0.8.0 |
///
/// The packet carries its version number as well (three bytes inside each routing record), but only
/// after the key agreement can it be read, and it does not determine the family. So the family is
/// configuration. *Within* the later family a node follows the number in the record, as the peer
/// does: any later version given to [`process`](crate::process()) handles packets of all of them.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Version {
    number: u16,
    blinding: Blinding,
}

impl Version {
    /// What the network of Nym 0.11.0 speaks: number 256, on the wire `00 01 00`.
    pub const NYM_0_11: Self = Self {
        number: 256,
        blinding: Blinding::Reduced,
    };
    /// Later rules, whole payload keys, no SURBs: `00 01 01`.
    pub const V257: Self = Self::later(257);
    /// Later rules, whole payload keys, no SURBs: `00 01 02`.
    pub const V258: Self = Self::later(258);
    /// Later rules, payload keys from seeds, SURBs with a seed for each hop: `00 01 03`.
    pub const V259: Self = Self::later(259);
    /// Later rules, payload keys from seeds, SURBs with the last hop's seed: `00 01 04`.
    pub const V260: Self = Self::later(260);

    /// A version of the later family by its number. Unknown numbers are treated like 259, without
    /// SURBs.
    pub const fn later(number: u16) -> Self {
        Self {
            number,
            blinding: Blinding::Clamped,
        }
    }

    /// The number in the routing records of packets built by this version.
    pub const fn number(self) -> u16 {
        self.number
    }

    /// The three version bytes of a routing record.
    pub(crate) fn to_bytes(self) -> [u8; VERSION_LEN] {
        let [high, low] = self.number.to_be_bytes();
        [0, high, low]
    }

    /// The version whose rules hold for a record with these version bytes, at a node configured for
    /// `self`. Their first byte never matters.
    pub(crate) fn of_record(self, bytes: [u8; VERSION_LEN]) -> Self {
        match self.blinding {
            Blinding::Reduced => self,
            Blinding::Clamped => {
                let [_, high, low] = bytes;
                Self::later(u16::from_be_bytes([high, low]))
            }
        }
    }

    pub(crate) fn blinding(self) -> Blinding {
        self.blinding
    }

    pub(crate) fn payload_keys(self) -> PayloadKeys {
        match (self.blinding, self.number) {
            (Blinding::Reduced, _) | (Blinding::Clamped, 1 | 257 | 258) => PayloadKeys::Whole,
            (Blinding::Clamped, _) => PayloadKeys::FromSeed,
        }
    }

    pub(crate) fn surb_keys(self) -> Option<SurbKeys> {
        match (self.blinding, self.number) {
            (Blinding::Reduced, _) => Some(SurbKeys::Whole),
            (Blinding::Clamped, 259) => Some(SurbKeys::SeedPerHop),
            (Blinding::Clamped, 260) => Some(SurbKeys::LastSeed),
            (Blinding::Clamped, _) => None,
        }
    }
}

/// How the 32 blinding bytes b become the scalar that turns α into α'.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Blinding {
    /// b modulo the group order ℓ, not clamped.
    Reduced,
    /// b clamped as a private key is.
    Clamped,
}

/// Where a hop's payload key comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum PayloadKeys {
    /// The key is part of the hop's derived key block.
    Whole,
    /// The first 16 bytes of that part are a seed, which is expanded once more.
    FromSeed,
}

/// What a SURB holds of the payload keys along its route.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum SurbKeys {
    /// Each hop's key.
    Whole,
    /// Each hop's seed.
    SeedPerHop,
    /// The last hop's seed; the owner keeps the others.
    LastSeed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_bytes_are_a_zero_and_the_number() {
        assert_eq!(Version::NYM_0_11.to_bytes(), [0, 1, 0]);
        assert_eq!(Version::V257.to_bytes(), [0, 1, 1]);
        assert_eq!(Version::V260.to_bytes(), [0, 1, 4]);
        assert_eq!(Version::later(1).to_bytes(), [0, 0, 1]);
    }

    #[test]
    fn nym_0_11_and_later_256_share_a_number_and_are_different_rules() {
        assert_eq!(Version::NYM_0_11.number(), Version::later(256).number());
        assert_ne!(Version::NYM_0_11, Version::later(256));
    }

    #[test]
    fn record_decides_only_within_the_later_family() {
        assert_eq!(Version::NYM_0_11.of_record([9, 1, 4]), Version::NYM_0_11);
        assert_eq!(Version::V260.of_record([9, 1, 1]), Version::V257);
        assert_eq!(Version::V257.of_record([0, 1, 0]), Version::later(256));
    }

    #[test]
    fn whole_payload_keys_end_with_258() {
        for number in [1, 257, 258] {
            assert_eq!(
                Version::later(number).payload_keys(),
                PayloadKeys::Whole,
                "{number}"
            );
        }
        for number in [0, 2, 256, 259, 260, 261, u16::MAX] {
            assert_eq!(
                Version::later(number).payload_keys(),
                PayloadKeys::FromSeed,
                "{number}"
            );
        }
        assert_eq!(Version::NYM_0_11.payload_keys(), PayloadKeys::Whole);
    }
}
