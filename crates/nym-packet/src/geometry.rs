//! Every length of the packet layer, derived once.
//!
//! ```text
//! frame   = type (1) ‖ mode (1) ‖ packet
//! packet  = Sphinx header (348) ‖ payload
//! payload = 17 bytes of Sphinx overhead + plaintext
//! plaintext of a data packet = SURB-ACK (405) ‖ ephemeral key (32) ‖ encrypted fragment
//! ```

use core::fmt;

use sphinx::{HEADER_LEN, PAYLOAD_OVERHEAD};

/// Length in bytes of a fragment identifier: set id (4) ‖ position (1).
pub const FRAGMENT_ID_LEN: usize = 5;

/// Length in bytes of an acknowledgement's content: IV (16) ‖ encrypted fragment identifier.
pub const ACK_CONTENT_LEN: usize = 16 + FRAGMENT_ID_LEN;

/// Length in bytes of a SURB-ACK: first hop (19) ‖ ack packet (386).
pub const SURB_ACK_LEN: usize = 19 + PacketSize::Ack.packet_len();

/// Length in bytes of the ephemeral key (or reply-key digest) before an encrypted payload.
pub const PAYLOAD_PREFIX_LEN: usize = 32;

/// Mix layers a packet crosses before it reaches a gateway.
pub const MIX_LAYERS: usize = 3;

/// Hops of a normal route: one mix node per layer, then the gateway.
pub const ROUTE_HOPS: usize = MIX_LAYERS + 1;

/// Fragments that one set can have.
pub const MAX_FRAGMENTS_PER_SET: usize = 255;

/// Length in bytes of the header of a fragment without a link to another set.
pub const UNLINKED_HEADER_LEN: usize = 7;

/// Length in bytes of the header of a fragment that is linked to another set.
pub const LINKED_HEADER_LEN: usize = 10;

const _: () = assert!(ACK_CONTENT_LEN == 21);
const _: () = assert!(SURB_ACK_LEN == 405);
const _: () = assert!(PacketSize::Regular.packet_len() == 2413);
const _: () = assert!(PacketSize::Ack.packet_len() == 386);
const _: () = assert!(PacketSize::Extended.packet_len() == 33_133);
const _: () = assert!(PacketSize::Regular.fragment_len() == 1611);
const _: () = assert!(PacketSize::Extended.fragment_len() == 32_331);

/// The three sizes that packets come in, so that length tells nothing else.
///
/// | | code | plaintext | payload | packet | frame |
/// |---|---|---|---|---|---|
/// | regular | 1 | 2,048 | 2,065 | 2,413 | 2,415 |
/// | ack | 2 | 21 | 38 | 386 | 388 |
/// | extended | 3 | 32,768 | 32,785 | 33,133 | 33,135 |
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PacketSize {
    /// Carries a fragment, a reply or cover; the default.
    Regular,
    /// Carries one acknowledgement.
    Ack,
    /// Carries a large fragment; understood everywhere, sent by nobody by default.
    Extended,
}

impl PacketSize {
    /// All sizes, in the order of their codes.
    pub const ALL: [Self; 3] = [Self::Regular, Self::Ack, Self::Extended];

    /// The code in a frame's first byte.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Regular => 1,
            Self::Ack => 2,
            Self::Extended => 3,
        }
    }

    /// The size with this code, if there is one.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Regular),
            2 => Some(Self::Ack),
            3 => Some(Self::Extended),
            _ => None,
        }
    }

    /// Bytes of plaintext that the sender hands to Sphinx.
    #[must_use]
    pub const fn plaintext_len(self) -> usize {
        match self {
            Self::Regular => 2048,
            Self::Ack => ACK_CONTENT_LEN,
            Self::Extended => 32_768,
        }
    }

    /// Bytes of Sphinx payload: plaintext and 17 bytes of overhead.
    #[must_use]
    pub const fn payload_len(self) -> usize {
        self.plaintext_len() + PAYLOAD_OVERHEAD
    }

    /// Bytes of the whole Sphinx packet.
    #[must_use]
    pub const fn packet_len(self) -> usize {
        HEADER_LEN + self.payload_len()
    }

    /// Bytes of the packet with its two-byte frame header.
    #[must_use]
    pub const fn frame_len(self) -> usize {
        crate::frame::FrameHeader::LEN + self.packet_len()
    }

    /// The size whose packets are `len` bytes long, if there is one.
    #[must_use]
    pub fn from_packet_len(len: usize) -> Option<Self> {
        Self::ALL.into_iter().find(|size| size.packet_len() == len)
    }

    /// Bytes of a fragment, header included, or of padded reply or cover content: the plaintext
    /// without SURB-ACK and ephemeral key. Zero for acks, which carry none.
    #[must_use]
    pub const fn fragment_len(self) -> usize {
        self.plaintext_len()
            .saturating_sub(SURB_ACK_LEN + PAYLOAD_PREFIX_LEN)
    }

    /// The longest message that a reply in such a packet can carry, in bytes: 1,610 in a regular
    /// one. Replies are never cut into fragments.
    #[must_use]
    pub const fn reply_len_max(self) -> usize {
        self.fragment_len().saturating_sub(1)
    }
}

impl fmt::Display for PacketSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Regular => "regular",
            Self::Ack => "ack",
            Self::Extended => "extended",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_and_packet_length_lead_back_to_the_size() {
        for size in PacketSize::ALL {
            assert_eq!(PacketSize::from_code(size.code()), Some(size));
            assert_eq!(PacketSize::from_packet_len(size.packet_len()), Some(size));
            assert_eq!(PacketSize::from_packet_len(size.packet_len() + 1), None);
            assert_eq!(PacketSize::from_packet_len(size.packet_len() - 1), None);
            assert_eq!(size.frame_len(), size.packet_len() + 2);
        }
        assert_eq!(PacketSize::from_code(0), None);
        assert_eq!(PacketSize::from_code(4), None);
    }

    #[test]
    fn acks_carry_no_fragment() {
        assert_eq!(PacketSize::Ack.fragment_len(), 0);
    }
}
