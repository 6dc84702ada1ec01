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
        let peeled = self.header.peel(packet)?;
        interpret(peeled, self.mode, self.size, packet, max_delay)
    }
}

/// What is to be done with a packet that was peeled by other means than [`VerifiedPacket::peel`],
/// as in a [`sphinx::Batch`]; `packet` is what peeling left.
///
/// # Errors
///
/// Those of [`VerifiedPacket::peel`].
pub fn interpret(
    peeled: Peeled,
    mode: PacketMode,
    size: PacketSize,
    packet: &[u8],
    max_delay: Duration,
) -> Result<Outcome<'_>, NodeError> {
    match peeled {
        Peeled::Forward { next_hop, delay } => {
            let next_hop = HopAddress::decode(&next_hop.0).map_err(NodeError::NextHop)?;
            let delay = match mode {
                PacketMode::Mix => Some(bounded_delay(delay, max_delay)?),
                PacketMode::Vpn => None,
            };
            Ok(Outcome::Forward { next_hop, delay })
        }
        Peeled::Final { destination } => {
            let payload = packet.get(HEADER_LEN..).unwrap_or_default();
            let plaintext = sphinx::recover_plaintext(payload)?;
            let (surb_ack, message) = match size {
                PacketSize::Ack => (None, plaintext),
                PacketSize::Regular | PacketSize::Extended => split_surb_ack(plaintext)?,
            };
            let forward_ack = surb_ack.map(|ack| ack.into_mix_packet(mode));
            Ok(Outcome::Final {
                destination: destination.address,
                message,
                forward_ack,
            })
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;
    use sphinx::{Destination, Hop, NodeAddress};

    use super::*;
    use crate::testing::Network;

    const DESTINATION: Destination = Destination {
        address: [7; 32],
        identifier: [0; 16],
    };

    /// A packet over the first `hops` nodes, to be opened by the first.
    fn packet(size: PacketSize, hops: usize, delay: Duration, plaintext: &[u8]) -> Vec<u8> {
        let route: Vec<Hop> = Network::new()
            .route
            .to_sphinx()
            .into_iter()
            .take(hops)
            .collect();
        packet_over(&route, size, delay, plaintext)
    }

    fn packet_over(route: &[Hop], size: PacketSize, delay: Duration, plaintext: &[u8]) -> Vec<u8> {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let delays = vec![delay.into(); route.len()];
        let len = size.payload_len();
        sphinx::build(
            Version::NYM_0_11,
            route,
            &delays,
            &DESTINATION,
            plaintext,
            len,
            &mut rng,
        )
        .unwrap()
    }

    fn open(
        mode: PacketMode,
        packet: &mut [u8],
        max_delay: Duration,
    ) -> Result<Outcome<'_>, NodeError> {
        verify(&Network::new().node_keys[0], mode, packet)?.peel(packet, max_delay)
    }

    #[test]
    fn delay_at_the_limit_is_honoured_and_above_it_dropped() {
        let max = Duration::from_secs(5);
        for (delay, dropped) in [(max, false), (max + Duration::from_nanos(1), true)] {
            let mut packet = packet(PacketSize::Ack, 2, delay, b"");
            let outcome = open(PacketMode::Mix, &mut packet, max);
            match outcome {
                Ok(Outcome::Forward { delay: found, .. }) if !dropped => {
                    assert_eq!(found, Some(delay));
                }
                outcome => {
                    assert_eq!(outcome, Err(NodeError::DelayTooLong { delay, max }));
                    assert!(dropped);
                }
            }
        }
    }

    #[test]
    fn longest_delay_there_is_does_not_panic() {
        let longest = Duration::from_nanos(u64::MAX);
        let mut packet = packet(PacketSize::Ack, 2, longest, b"");
        let outcome = open(PacketMode::Mix, &mut packet, MAX_DELAY);
        let too_long = NodeError::DelayTooLong {
            delay: longest,
            max: MAX_DELAY,
        };
        assert_eq!(outcome, Err(too_long));
    }

    #[test]
    fn vpn_mode_ignores_the_delay_however_long() {
        let mut packet = packet(PacketSize::Ack, 2, Duration::from_nanos(u64::MAX), b"");
        let outcome = open(PacketMode::Vpn, &mut packet, MAX_DELAY);
        let next_hop = Network::new().route.hops()[1].address;
        assert_eq!(
            outcome,
            Ok(Outcome::Forward {
                next_hop,
                delay: None
            })
        );
    }

    #[test]
    fn data_packet_needs_room_for_a_surb_ack() {
        let mut short = packet(
            PacketSize::Regular,
            1,
            Duration::ZERO,
            &[4; SURB_ACK_LEN - 1],
        );
        let outcome = open(PacketMode::Mix, &mut short, MAX_DELAY);
        assert_eq!(
            outcome,
            Err(NodeError::MissingSurbAck {
                found: SURB_ACK_LEN - 1
            })
        );

        let mut exact = packet(PacketSize::Regular, 1, Duration::ZERO, &[4; SURB_ACK_LEN]);
        let outcome = open(PacketMode::Mix, &mut exact, MAX_DELAY);
        assert!(
            matches!(
                outcome,
                Ok(Outcome::Final {
                    message: [],
                    forward_ack: Some(_),
                    ..
                })
            ),
            "{outcome:?}"
        );
    }

    #[test]
    fn acknowledgement_takes_the_mode_of_its_packet() {
        for mode in [PacketMode::Mix, PacketMode::Vpn] {
            let mut packet = packet(PacketSize::Regular, 1, Duration::ZERO, &[4; SURB_ACK_LEN]);
            let outcome = open(mode, &mut packet, MAX_DELAY).unwrap();
            let Outcome::Final {
                forward_ack: Some(ack),
                ..
            } = outcome
            else {
                panic!("{outcome:?}")
            };
            assert_eq!(ack.mode(), mode);
        }
    }

    #[test]
    fn next_hop_that_is_no_address_is_refused() {
        let mut route = Network::new().route.to_sphinx();
        route[1].address = NodeAddress([9; 32]);
        let mut packet = packet_over(&route, PacketSize::Ack, Duration::ZERO, b"");
        let outcome = open(PacketMode::Mix, &mut packet, MAX_DELAY);
        assert_eq!(
            outcome,
            Err(NodeError::NextHop(AddressError::UnknownType { found: 9 }))
        );
    }

    #[test]
    fn changed_payload_is_noticed_where_it_is_read() {
        let mut packet = packet(PacketSize::Ack, 1, Duration::ZERO, b"ack");
        *packet.last_mut().unwrap() ^= 1;
        let outcome = open(PacketMode::Mix, &mut packet, MAX_DELAY);
        assert!(matches!(outcome, Err(NodeError::Sphinx(_))), "{outcome:?}");
    }

    #[test]
    fn packet_for_another_node_is_refused() {
        let packet = packet(PacketSize::Ack, 2, Duration::ZERO, b"");
        let error = verify(&PrivateKey::from_bytes([1; 32]), PacketMode::Mix, &packet).err();
        assert_eq!(error, Some(NodeError::Sphinx(sphinx::Error::InvalidHeader)));
    }

    #[test]
    fn replay_tag_does_not_depend_on_how_the_group_element_is_written() {
        let key = &Network::new().node_keys[0];
        let mut packet = packet(PacketSize::Ack, 2, Duration::ZERO, b"");
        let tag = *verify(key, PacketMode::Mix, &packet).unwrap().mac();
        packet[31] ^= 0x80; // bit 255 is ignored by the key agreement
        assert_eq!(*verify(key, PacketMode::Mix, &packet).unwrap().mac(), tag);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_packet_is_opened_or_refused(
            mut bytes in prop::collection::vec(any::<u8>(), 386),
            cut in 0..387_usize,
            mode in prop::sample::select(&[PacketMode::Mix, PacketMode::Vpn][..]),
        ) {
            bytes.truncate(if cut % 2 == 0 { 386 } else { cut });
            let _ = open(mode, &mut bytes, MAX_DELAY);
        }

        #[test]
        fn any_plaintext_under_a_good_header_is_delivered_or_refused(
            plaintext in prop::collection::vec(0..8_u8, 0..2049),
        ) {
            let mut packet = packet(PacketSize::Regular, 1, Duration::ZERO, &plaintext);
            if let Ok(Outcome::Final { message, forward_ack, .. }) =
                open(PacketMode::Mix, &mut packet, MAX_DELAY)
            {
                prop_assert_eq!(message, &plaintext[SURB_ACK_LEN..]);
                prop_assert!(forward_ack.is_some());
            }
        }
    }
}
