//! A packet between a client and its gateway, which still needs to be told the first hop.

use thiserror::Error;

use crate::address::{AddressError, HopAddress};
use crate::frame::{Frame, PacketLengthError, PacketMode};
use crate::geometry::PacketSize;

/// A Sphinx packet with the address it starts at.
///
/// ```text
/// mode (1) ‖ first hop, bare (7 or 19) ‖ Sphinx packet (2413, 386 or 33133)
/// ```
///
/// A gateway takes it from a client and sends the packet to the first hop; a node makes one of
/// the acknowledgement it found in a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MixPacket {
    first_hop: HopAddress,
    frame: Frame,
}

impl MixPacket {
    /// Addresses a packet.
    ///
    /// # Errors
    ///
    /// [`PacketLengthError`] if no packet size has this length.
    pub fn new(
        mode: PacketMode,
        first_hop: HopAddress,
        packet: Vec<u8>,
    ) -> Result<Self, PacketLengthError> {
        Ok(Self {
            first_hop,
            frame: Frame::new(mode, packet)?,
        })
    }

    /// How the packet wants to be treated.
    #[must_use]
    pub const fn mode(&self) -> PacketMode {
        self.frame.mode()
    }

    /// Which of the three sizes the packet has.
    #[must_use]
    pub const fn size(&self) -> PacketSize {
        self.frame.size()
    }

    /// The node that gets the packet first.
    #[must_use]
    pub const fn first_hop(&self) -> HopAddress {
        self.first_hop
    }

    /// The Sphinx packet.
    #[must_use]
    pub fn packet(&self) -> &[u8] {
        self.frame.packet()
    }

    /// What goes on the link to [`first_hop`](Self::first_hop).
    #[must_use]
    pub const fn frame(&self) -> &Frame {
        &self.frame
    }

    /// The first hop, and what goes on the link to it.
    #[must_use]
    pub fn into_parts(self) -> (HopAddress, Frame) {
        (self.first_hop, self.frame)
    }

    /// The binary form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let address = self.first_hop.to_unpadded();
        [&[self.mode().code()], address.as_ref(), self.packet()].concat()
    }

    /// Reads the binary form.
    ///
    /// # Errors
    ///
    /// In this order: [`MixPacketError::Empty`], [`MixPacketError::UnknownMode`],
    /// [`MixPacketError::Address`], [`MixPacketError::Length`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MixPacketError> {
        let (&code, rest) = bytes.split_first().ok_or(MixPacketError::Empty)?;
        let mode = PacketMode::from_code(code).ok_or(MixPacketError::UnknownMode { code })?;
        let (first_hop, packet) = HopAddress::decode_prefix(rest)?;
        // Checked before the copy: its length is the sender's choice.
        if PacketSize::from_packet_len(packet.len()).is_none() {
            return Err(PacketLengthError {
                found: packet.len(),
            }
            .into());
        }
        Ok(Self::new(mode, first_hop, packet.to_vec())?)
    }
}

/// Why bytes are not a packet with its first hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MixPacketError {
    /// There are no bytes.
    #[error("empty mix packet")]
    Empty,
    /// The first byte is neither 0 nor 1.
    #[error("unknown packet mode {code}")]
    UnknownMode {
        /// The byte found.
        code: u8,
    },
    /// The address of the first hop is malformed.
    #[error("malformed first hop in a mix packet")]
    Address(#[from] AddressError),
    /// What follows the address has none of the three lengths of packets.
    #[error("wrong packet length in a mix packet")]
    Length(#[from] PacketLengthError),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_is_not_a_packet() {
        assert_eq!(MixPacket::from_bytes(&[]), Err(MixPacketError::Empty));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn bytes_round_trip(
            address: core::net::SocketAddr,
            size in prop::sample::select(&PacketSize::ALL[..]),
            mode in prop::sample::select(&[PacketMode::Mix, PacketMode::Vpn][..]),
            fill: u8,
        ) {
            let packet = vec![fill; size.packet_len()];
            let packet = MixPacket::new(mode, HopAddress::new(address), packet)?;
            let bytes = packet.to_bytes();
            prop_assert_eq!(MixPacket::from_bytes(&bytes), Ok(packet));
            let short = MixPacket::from_bytes(&bytes[..bytes.len() - 1]);
            prop_assert!(matches!(short, Err(MixPacketError::Length(_))));
        }

        #[test]
        fn any_bytes_are_a_packet_or_an_error(
            mut bytes in prop::collection::vec(0..8_u8, 0..500),
            exact: bool,
        ) {
            if exact {
                bytes.resize(1 + 7 + 386, 0);
            }
            if let Ok(packet) = MixPacket::from_bytes(&bytes) {
                prop_assert_eq!(packet.to_bytes(), bytes);
            }
        }
    }
}
