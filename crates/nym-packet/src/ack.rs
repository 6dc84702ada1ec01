//! Acknowledgements: how a sender learns that a packet reached the recipient's gateway.
//!
//! Every data packet carries, for the recipient's gateway only, a second packet that the sender
//! made: the SURB-ACK. The gateway sends it off when it has delivered or stored the data, and it
//! finds its way through the mix network back to the sender. Nobody on either way can tell which
//! packet it acknowledges: its 21 bytes are encrypted under a key that only the sender has.
//!
//! ```text
//! SURB-ACK      first hop, padded (19) ‖ ack packet (386)                  405 bytes
//! ack content   IV (16) ‖ AES-128-CTR(ack key, IV, fragment id (5))         21 bytes
//! ```
//!
//! Nothing protects the content against forgery, so an acknowledgement may name anything; what
//! was not sent must be ignored.

use core::fmt;

use rand_core::CryptoRng;
use sphinx::{Builder, Delay, Destination, HEADER_LEN, Version, Way};
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::address::{AddressError, HopAddress};
use crate::fragment::{FragmentId, FragmentIdError};
use crate::frame::PacketMode;
use crate::geometry::{FRAGMENT_ID_LEN, PacketSize};
use crate::mix_packet::MixPacket;
use crate::route::Route;
use crate::symmetric::{AES_KEY_LEN, IV_LEN, aes128_ctr};

pub use crate::geometry::{ACK_CONTENT_LEN, SURB_ACK_LEN};

/// The AES-128 key that a client encrypts its acknowledgements under, for years and for itself.
///
/// Wiped when dropped.
#[derive(ZeroizeOnDrop)]
pub struct AckKey([u8; AES_KEY_LEN]);

impl AckKey {
    /// Length in bytes.
    pub const LEN: usize = AES_KEY_LEN;

    /// Draws a key.
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut bytes = [0; AES_KEY_LEN];
        rng.fill_bytes(&mut bytes);
        Self::from_bytes(bytes)
    }

    /// The key with these 16 bytes, which are wiped here; the caller's copy is not.
    #[must_use]
    pub fn from_bytes(mut bytes: [u8; AES_KEY_LEN]) -> Self {
        let key = Self(bytes);
        bytes.zeroize();
        key
    }

    /// The 16 bytes, for a key file.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; AES_KEY_LEN]> {
        Zeroizing::new(self.0)
    }

    /// Makes the 21 bytes that acknowledge `id`. Draws the IV, 16 bytes.
    pub fn seal<R: CryptoRng + ?Sized>(
        &self,
        id: FragmentId,
        rng: &mut R,
    ) -> [u8; ACK_CONTENT_LEN] {
        let mut iv = [0; IV_LEN];
        rng.fill_bytes(&mut iv);
        let mut encrypted = id.to_bytes();
        aes128_ctr(&self.0, &iv, &mut encrypted);
        let mut content = [0; ACK_CONTENT_LEN];
        for (byte, value) in content.iter_mut().zip(iv.iter().chain(&encrypted)) {
            *byte = *value;
        }
        content
    }

    /// Reads what 21 bytes acknowledge.
    ///
    /// # Errors
    ///
    /// [`AckError::Length`] for another number of bytes, [`AckError::FragmentId`] if they decrypt
    /// to what is no identifier.
    pub fn open(&self, content: &[u8]) -> Result<FragmentId, AckError> {
        let length = AckError::Length {
            found: content.len(),
        };
        let (iv, encrypted) = content.split_first_chunk().ok_or(length)?;
        let mut id: [u8; FRAGMENT_ID_LEN] = encrypted.try_into().map_err(|_| length)?;
        aes128_ctr(&self.0, iv, &mut id);
        Ok(FragmentId::from_bytes(id)?)
    }
}

impl fmt::Debug for AckKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AckKey").finish_non_exhaustive()
    }
}

/// A ready-made acknowledgement, and the node it starts at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SurbAck {
    first_hop: HopAddress,
    packet: Vec<u8>,
}

impl SurbAck {
    /// Makes the acknowledgement that brings `content` along `route` to `owner`, the one who is
    /// sending. The route ends at the owner's gateway. Draws what [`sphinx::build()`] draws.
    /// Many packets with their acknowledgements are cheaper by
    /// [`Sender::prepare_all`](crate::build::Sender::prepare_all).
    ///
    /// # Errors
    ///
    /// [`sphinx::Error::InvalidRouting`] if there is not one delay per hop.
    pub fn build<R: CryptoRng + ?Sized>(
        route: &Route,
        delays: &[Delay],
        owner: &Destination,
        content: &[u8; ACK_CONTENT_LEN],
        builder: &mut Builder,
        rng: &mut R,
    ) -> Result<Self, sphinx::Error> {
        let way = Way {
            route: &route.to_sphinx(),
            delays,
            destination: owner,
        };
        let mut packet = vec![0; HEADER_LEN + PacketSize::Ack.payload_len()];
        builder.build_into(Version::NYM_0_11, way, content, &mut packet, rng)?;
        Ok(Self::from_packet(route, packet))
    }

    /// A packet that was built for this route, with the payload length of an acknowledgement.
    pub(crate) fn from_packet(route: &Route, packet: Vec<u8>) -> Self {
        debug_assert_eq!(packet.len(), HEADER_LEN + PacketSize::Ack.payload_len());
        Self {
            first_hop: route.first_hop(),
            packet,
        }
    }

    /// The node that gets the ack packet first.
    #[must_use]
    pub const fn first_hop(&self) -> HopAddress {
        self.first_hop
    }

    /// The ack packet, 386 bytes.
    #[must_use]
    pub fn packet(&self) -> &[u8] {
        &self.packet
    }

    /// The packet to send off, in the mode of the packet that carried it.
    #[must_use]
    pub fn into_mix_packet(self, mode: PacketMode) -> MixPacket {
        MixPacket::new(mode, self.first_hop, self.packet)
            .expect("both constructors make ack packets of their length")
    }

    /// The 405 bytes that stand first in a data packet.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.first_hop.to_padded19(), self.packet.as_slice()].concat()
    }

    /// Reads the 405 bytes. The packet itself is opaque and not looked at.
    ///
    /// # Errors
    ///
    /// [`SurbAckError::Length`] for another number of bytes, [`SurbAckError::Address`] if the
    /// first hop is malformed.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SurbAckError> {
        if bytes.len() != SURB_ACK_LEN {
            return Err(SurbAckError::Length { found: bytes.len() });
        }
        let (address, packet) = bytes.split_at(HopAddress::MAX_LEN);
        Ok(Self {
            first_hop: HopAddress::decode(address)?,
            packet: packet.to_vec(),
        })
    }
}

/// Why bytes acknowledge nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AckError {
    /// They decrypt to what is no fragment identifier: forged, or under another key.
    #[error("an acknowledgement names no fragment")]
    FragmentId(#[from] FragmentIdError),
    /// There are not 21 of them.
    #[error("an acknowledgement has 21 bytes, found {found}")]
    Length {
        /// Bytes given.
        found: usize,
    },
}

/// Why bytes are not a SURB-ACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SurbAckError {
    /// The first hop is malformed.
    #[error("malformed first hop in a SURB-ACK")]
    Address(#[from] AddressError),
    /// There are not 405 bytes.
    #[error("a SURB-ACK has 405 bytes, found {found}")]
    Length {
        /// Bytes given.
        found: usize,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;
    use crate::fragment::SetId;

    #[test]
    fn lengths_beside_21_are_refused() {
        let key = AckKey::from_bytes([1; 16]);
        for found in [0, 16, 20, 22] {
            assert_eq!(key.open(&vec![0; found]), Err(AckError::Length { found }));
        }
    }

    #[test]
    fn lengths_beside_405_are_refused() {
        let mut bytes = vec![0; 406];
        bytes[0] = 4;
        assert_eq!(
            SurbAck::from_bytes(&bytes),
            Err(SurbAckError::Length { found: 406 })
        );
        assert_eq!(
            SurbAck::from_bytes(&bytes[..404]),
            Err(SurbAckError::Length { found: 404 })
        );
        assert!(SurbAck::from_bytes(&bytes[..405]).is_ok());
    }

    #[test]
    fn debug_of_the_key_shows_nothing() {
        assert_eq!(
            format!("{:?}", AckKey::from_bytes([1; 16])),
            "AckKey { .. }"
        );
    }

    proptest! {
        #[test]
        fn sealed_identifiers_open(number in 1..0x8000_0000_u32, position: u8, seed: u64) {
            let mut rng = ChaCha20Rng::seed_from_u64(seed);
            let key = AckKey::generate(&mut rng);
            let id = FragmentId::fragment(SetId::new(number).unwrap(), position);
            prop_assert_eq!(key.open(&key.seal(id, &mut rng)), Ok(id));
        }

        #[test]
        fn any_bytes_are_an_acknowledgement_or_an_error(
            content in prop::collection::vec(any::<u8>(), 18..24),
            surb_ack in prop::collection::vec(0..8_u8, 403..408),
        ) {
            let _ = AckKey::from_bytes([3; 16]).open(&content);
            if let Ok(parsed) = SurbAck::from_bytes(&surb_ack) {
                prop_assert_eq!(SurbAck::from_bytes(&parsed.to_bytes()), Ok(parsed));
            }
        }
    }
}
