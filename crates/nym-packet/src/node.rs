//! What a mix node or gateway does with a packet that came in.
//!
//! ```text
//!  packet ──verify──► VerifiedPacket ──peel──► Forward  hold for the delay, send to the next hop
//!            │          │ mac(): ask             └────► Final    deliver, then send the SURB-ACK
//!            ▼          ▼ the replay filter
//!          drop        drop
//! ```
//!
//! Every error drops the packet silently; the connection it came on stays open. A mix node drops
//! what is [`Final`](Outcome::Final), a gateway what is to be forwarded.

use core::time::Duration;

use sphinx::{Delay, HEADER_LEN, MAC_LEN, Peeled, PrivateKey, VerifiedHeader, Version};
use thiserror::Error;

use crate::ack::{SurbAck, SurbAckError};
use crate::address::{AddressError, HopAddress};
use crate::frame::PacketMode;
use crate::geometry::{PacketSize, SURB_ACK_LEN};
use crate::mix_packet::MixPacket;

/// The longest delay that a node should honour unless it is told otherwise: an hour, which an
/// exponential of the usual 50 ms exceeds with probability e^−72000.
pub const MAX_DELAY: Duration = Duration::from_secs(3600);

/// Checks that a packet is meant for the owner of `key`. One scalar multiplication; the packet is
/// not changed.
///
/// # Errors
///
/// [`NodeError::PacketLength`] if no packet size has this length, [`NodeError::Sphinx`] if the
/// MAC is wrong.
pub fn verify(
    key: &PrivateKey,
    mode: PacketMode,
    packet: &[u8],
) -> Result<VerifiedPacket, NodeError> {
    let size = PacketSize::from_packet_len(packet.len()).ok_or(NodeError::PacketLength {
        found: packet.len(),
    })?;
    let header = sphinx::verify(Version::NYM_0_11, key, packet)?;
    Ok(VerifiedPacket { header, mode, size })
}

/// Proof that a packet is meant for this node, and the way to open it; only [`verify`] makes it.
#[derive(Debug)]
pub struct VerifiedPacket {
    header: VerifiedHeader,
    mode: PacketMode,
    size: PacketSize,
}

impl VerifiedPacket {
    /// The MAC (γ) of the packet that came: the tag that a replay filter keeps.
    ///
    /// The group element (α) would not do: it can be changed without changing what it means.
    #[must_use]
    pub fn mac(&self) -> &[u8; MAC_LEN] {
        self.header.mac()
    }

    /// Takes this node's layer off the packet that was verified, in place.
    ///
    /// A forward packet is not copied; of a final one only its SURB-ACK is.
    ///
    /// # Errors
    ///
    /// [`NodeError`] by what is wrong; the packet is to be dropped then, and its bytes mean
    /// nothing any more. A delay above `max_delay` is such an error, except in vpn mode, where
    /// delays are ignored.
    pub fn peel(self, packet: &mut [u8], max_delay: Duration) -> Result<Outcome<'_>, NodeError> {
        match self.header.peel(packet)? {
            Peeled::Forward { next_hop, delay } => {
                let next_hop = HopAddress::decode(&next_hop.0).map_err(NodeError::NextHop)?;
                let delay = match self.mode {
                    PacketMode::Mix => Some(bounded_delay(delay, max_delay)?),
                    PacketMode::Vpn => None,
                };
                Ok(Outcome::Forward { next_hop, delay })
            }
            Peeled::Final { destination } => {
                let payload = packet.get(HEADER_LEN..).unwrap_or_default();
                let plaintext = sphinx::recover_plaintext(payload)?;
                let (surb_ack, message) = match self.size {
                    PacketSize::Ack => (None, plaintext),
                    PacketSize::Regular | PacketSize::Extended => split_surb_ack(plaintext)?,
                };
                let forward_ack = surb_ack.map(|ack| ack.into_mix_packet(self.mode));
                Ok(Outcome::Final {
                    destination: destination.address,
                    message,
                    forward_ack,
                })
            }
        }
    }
}

/// What is to be done with a packet.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// The buffer holds the packet for the next node, in the mode and size it came in.
    Forward {
        /// Where it goes.
        next_hop: HopAddress,
        /// How long to hold it, from now; `None` in vpn mode: not at all.
        delay: Option<Duration>,
    },
    /// The packet is for a client of this gateway.
    Final {
        /// The client's identity key.
        destination: [u8; 32],
        /// What the client gets: 21 bytes from an ack packet, normally 1,643 from a regular one.
        message: &'a [u8],
        /// The acknowledgement, to be sent once the message was delivered or stored; an ack
        /// packet has none.
        forward_ack: Option<MixPacket>,
    },
}

/// Why a packet is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The packet asks to be held longer than this node does.
    #[error("delay of {} s exceeds {} s", delay.as_secs(), max.as_secs())]
    DelayTooLong {
        /// What the packet asks for.
        delay: Duration,
        /// The most this node allows.
        max: Duration,
    },
    /// A data packet is too short for the SURB-ACK it must carry.
    #[error("no room for a SURB-ACK in {found} bytes of plaintext")]
    MissingSurbAck {
        /// Bytes of plaintext.
        found: usize,
    },
    /// The address of the next hop is malformed.
    #[error("malformed address of the next hop")]
    NextHop(#[source] AddressError),
    /// The packet has none of the three lengths.
    #[error("no packet size has {found} bytes")]
    PacketLength {
        /// Bytes of the packet.
        found: usize,
    },
    /// The packet is not for this node, or was changed on its way.
    #[error("malformed packet")]
    Sphinx(#[from] sphinx::Error),
    /// The SURB-ACK is malformed; the data it came with is dropped too.
    #[error("malformed SURB-ACK")]
    SurbAck(#[from] SurbAckError),
}

fn bounded_delay(delay: Delay, max: Duration) -> Result<Duration, NodeError> {
    let delay = Duration::from_nanos(delay.as_nanos());
    if delay > max {
        Err(NodeError::DelayTooLong { delay, max })
    } else {
        Ok(delay)
    }
}

fn split_surb_ack(plaintext: &[u8]) -> Result<(Option<SurbAck>, &[u8]), NodeError> {
    let (surb_ack, message) =
        plaintext
            .split_at_checked(SURB_ACK_LEN)
            .ok_or(NodeError::MissingSurbAck {
                found: plaintext.len(),
            })?;
    Ok((Some(SurbAck::from_bytes(surb_ack)?), message))
}
