//! Whole packets, ready for the gateway: what a client calls for each packet it sends.
//!
//! ```text
//! plaintext (2,048)   SURB-ACK (405) ‖ ephemeral key (32) ‖ encrypted fragment or cover (1,611)
//!                     SURB-ACK (405) ‖ key digest (32)    ‖ encrypted reply (1,611)
//! ```
//!
//! All three kinds have the same length, the same number of hops and an acknowledgement of their
//! own, so that nobody but the two ends can tell them apart. Every call draws fresh delays, a
//! fresh ephemeral key and a fresh acknowledgement: a fragment that is sent again gives a packet
//! that has nothing in common with the first.
//!
//! Nearly all of the cost is scalar multiplication. Over four hops there are 12: one per hop and
//! one more, for the packet and for its acknowledgement, and two for the payload.

use core::time::Duration;

use rand_core::CryptoRng;
use sphinx::{Delay, Version};
use thiserror::Error;

use crate::ack::{AckKey, SurbAck};
use crate::address::Recipient;
use crate::cover;
use crate::fragment::{Fragment, FragmentId};
use crate::frame::PacketMode;
use crate::geometry::PacketSize;
use crate::mix_packet::MixPacket;
use crate::payload::{self, PayloadError};
use crate::reply::{ReplyError, ReplySurb};
use crate::route::{Route, total_delay};

/// How long packets wait at each mix node, on average.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DelayMeans {
    /// For data, reply and cover packets.
    pub packet: Duration,
    /// For acknowledgements.
    pub ack: Duration,
}

impl Default for DelayMeans {
    /// 50 milliseconds for both.
    fn default() -> Self {
        Self {
            packet: Duration::from_millis(50),
            ack: Duration::from_millis(50),
        }
    }
}

/// The ways of a packet and of its acknowledgement; drawn anew for every packet.
#[derive(Clone, Copy, Debug)]
pub struct Routes<'a> {
    /// Ends at the gateway of whoever gets the packet.
    pub packet: &'a Route,
    /// Ends at the sender's own gateway.
    pub ack: &'a Route,
}

/// Who sends: what is the same for all packets of a client.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'a> {
    /// The sender's own address; acknowledgements and loop cover come back to it.
    pub own: &'a Recipient,
    /// Encrypts the acknowledgements.
    pub ack_key: &'a AckKey,
    /// How long packets wait.
    pub delays: DelayMeans,
    /// How packets want to be treated.
    pub mode: PacketMode,
}

/// A packet for the gateway, and what the sender may expect of it.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// What the gateway gets.
    pub mix_packet: MixPacket,
    /// What the acknowledgement will name.
    pub ack_id: FragmentId,
    /// The time that packet and acknowledgement will spend waiting at mix nodes, together. Of a
    /// reply only the acknowledgement's part is known; whoever made the SURB drew the rest.
    pub total_delay: Duration,
    /// The delays of the packet, one per hop, the last (the gateway's) unused; empty for a reply.
    pub packet_delays: Vec<Delay>,
    /// The delays of the acknowledgement, one per hop, the last unused.
    pub ack_delays: Vec<Delay>,
}

impl Sender<'_> {
    /// Makes the packet that carries a fragment of a message to `recipient`.
    ///
    /// # Errors
    ///
    /// [`BuildError::Unpadded`] unless the fragment fills a regular or extended packet exactly
    /// (see [`message::prepare`](crate::message::prepare)), [`BuildError::Payload`] if the
    /// recipient's encryption key is weak.
    pub fn prepare_fragment<R: CryptoRng + ?Sized>(
        &self,
        fragment: &Fragment,
        recipient: &Recipient,
        routes: Routes<'_>,
        rng: &mut R,
    ) -> Result<Prepared, BuildError> {
        let size = size_of_content(fragment.encoded_len())?;
        self.prepare(
            &fragment.to_bytes(),
            size,
            fragment.id(),
            recipient,
            routes,
            rng,
        )
    }

    /// Makes a packet that comes back to the sender and means nothing.
    ///
    /// # Errors
    ///
    /// [`BuildError::Payload`] if the sender's own encryption key is weak.
    pub fn prepare_loop_cover<R: CryptoRng + ?Sized>(
        &self,
        routes: Routes<'_>,
        rng: &mut R,
    ) -> Result<Prepared, BuildError> {
        let size = PacketSize::Regular;
        self.prepare(
            &cover::content(size),
            size,
            FragmentId::COVER,
            self.own,
            routes,
            rng,
        )
    }

    /// Makes the packet that carries an answer to whoever made `surb`, and spends the SURB. Its
    /// acknowledgement will carry `ack_id`.
    ///
    /// # Errors
    ///
    /// [`BuildError::Reply`] if the message is longer than
    /// [`PacketSize::reply_len_max`] of a regular packet (1,610 bytes), or the SURB names no
    /// first hop.
    pub fn prepare_reply<R: CryptoRng + ?Sized>(
        &self,
        surb: ReplySurb,
        ack_id: FragmentId,
        message: &[u8],
        ack_route: &Route,
        rng: &mut R,
    ) -> Result<Prepared, BuildError> {
        let size = PacketSize::Regular;
        let encrypted = surb.encrypt(message, size)?;
        let (ack, ack_delays) = self.build_ack(ack_id, ack_route, rng)?;
        let plaintext = [ack.to_bytes(), encrypted].concat();
        Ok(Prepared {
            mix_packet: surb.apply(&plaintext, size, self.mode)?,
            ack_id,
            total_delay: total_delay(&ack_delays),
            packet_delays: Vec::new(),
            ack_delays,
        })
    }

    fn prepare<R: CryptoRng + ?Sized>(
        &self,
        content: &[u8],
        size: PacketSize,
        ack_id: FragmentId,
        recipient: &Recipient,
        routes: Routes<'_>,
        rng: &mut R,
    ) -> Result<Prepared, BuildError> {
        let (ack, ack_delays) = self.build_ack(ack_id, routes.ack, rng)?;
        let encrypted = payload::encrypt(content, &recipient.encryption, rng)?;
        let plaintext = [ack.to_bytes(), encrypted].concat();

        let packet_delays = routes.packet.sample_delays(self.delays.packet, rng);
        let packet = sphinx::build(
            Version::NYM_0_11,
            &routes.packet.to_sphinx(),
            &packet_delays,
            &recipient.sphinx_destination(),
            &plaintext,
            size.payload_len(),
            rng,
        )?;
        let mix_packet = MixPacket::new(self.mode, routes.packet.first_hop(), packet)
            .expect("the packet was made with the payload length of its size");
        Ok(Prepared {
            mix_packet,
            ack_id,
            total_delay: total_delay(&packet_delays).saturating_add(total_delay(&ack_delays)),
            packet_delays,
            ack_delays,
        })
    }

    fn build_ack<R: CryptoRng + ?Sized>(
        &self,
        id: FragmentId,
        route: &Route,
        rng: &mut R,
    ) -> Result<(SurbAck, Vec<Delay>), BuildError> {
        let content = self.ack_key.seal(id, rng);
        let delays = route.sample_delays(self.delays.ack, rng);
        let ack = SurbAck::build(
            route,
            &delays,
            &self.own.sphinx_destination(),
            &content,
            rng,
        )?;
        Ok((ack, delays))
    }
}

/// Why a packet cannot be made; the caller is to blame, or the recipient's address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The content cannot be encrypted to the recipient.
    #[error("cannot encrypt to the recipient")]
    Payload(#[from] PayloadError),
    /// The reply does not fit, or its SURB is malformed.
    #[error("cannot make a reply")]
    Reply(#[from] ReplyError),
    /// Sphinx refused the route.
    #[error("cannot build the packet")]
    Sphinx(#[from] sphinx::Error),
    /// The fragment does not fill a packet.
    #[error("a fragment of {found} bytes fills no packet")]
    Unpadded {
        /// Bytes of the fragment.
        found: usize,
    },
}

fn size_of_content(len: usize) -> Result<PacketSize, BuildError> {
    [PacketSize::Regular, PacketSize::Extended]
        .into_iter()
        .find(|size| size.fragment_len() == len)
        .ok_or(BuildError::Unpadded { found: len })
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;
    use crate::fragment::{FragmentGeometry, SetId, split};
    use crate::geometry::PacketSize;
    use crate::keys::{PrivateKey, PublicKey};
    use crate::message;
    use crate::node::{MAX_DELAY, Outcome};
    use crate::reply;
    use crate::testing::Network;

    fn rng() -> ChaCha20Rng {
        ChaCha20Rng::seed_from_u64(7)
    }

    fn sender<'a>(network: &'a Network, ack_key: &'a AckKey) -> Sender<'a> {
        let delays = DelayMeans::default();
        Sender {
            own: &network.alice,
            ack_key,
            delays,
            mode: PacketMode::Mix,
        }
    }

    /// Delays that mix nodes see, and what the gateway delivers.
    fn carry(network: &Network, packet: MixPacket) -> (Duration, Vec<u8>, Option<MixPacket>) {
        let mode = packet.mode();
        let mut packet = packet.into_parts().1.into_packet();
        let mut waited = Duration::ZERO;
        for key in &network.node_keys {
            let verified = crate::node::verify(key, mode, &packet).unwrap();
            match verified.peel(&mut packet, MAX_DELAY).unwrap() {
                Outcome::Forward { delay, .. } => waited += delay.unwrap(),
                Outcome::Final {
                    message,
                    forward_ack,
                    ..
                } => {
                    return (waited, message.to_vec(), forward_ack);
                }
            }
        }
        panic!("the packet did not end at the gateway")
    }

    #[test]
    fn total_delay_is_what_the_nodes_see_of_packet_and_acknowledgement() {
        let (network, ack_key) = (Network::new(), AckKey::generate(&mut rng()));
        let padded = message::prepare(b"hello", None, FragmentGeometry::REGULAR).unwrap();
        let fragment = split(&padded, FragmentGeometry::REGULAR, &mut rng()).remove(0);
        let sender = sender(&network, &ack_key);
        let prepared = sender
            .prepare_fragment(&fragment, &network.bob, network.routes(), &mut rng())
            .unwrap();
        assert_eq!(
            (prepared.packet_delays.len(), prepared.ack_delays.len()),
            (4, 4)
        );

        let (there, delivered, ack) = carry(&network, prepared.mix_packet);
        let (back, acknowledged, none) = carry(&network, ack.unwrap());
        assert_eq!(there + back, prepared.total_delay);
        assert_eq!(none, None);
        assert_eq!(ack_key.open(&acknowledged), Ok(fragment.id()));
        assert_eq!(prepared.ack_id, fragment.id());
        let content = payload::decrypt(&network.bob_key, &delivered).unwrap();
        assert_eq!(content, fragment.to_bytes());
    }

    #[test]
    fn packets_of_one_fragment_have_nothing_in_common() {
        let (network, ack_key) = (Network::new(), AckKey::generate(&mut rng()));
        let padded = message::prepare(b"hello", None, FragmentGeometry::REGULAR).unwrap();
        let fragment = split(&padded, FragmentGeometry::REGULAR, &mut rng()).remove(0);
        let (sender, mut rng) = (sender(&network, &ack_key), rng());
        let mut packet = || {
            let routes = network.routes();
            let prepared = sender.prepare_fragment(&fragment, &network.bob, routes, &mut rng);
            carry(&network, prepared.unwrap().mix_packet)
        };
        let ((_, first, first_ack), (_, second, second_ack)) = (packet(), packet());
        assert!(
            first
                .chunks(16)
                .zip(second.chunks(16))
                .all(|(first, second)| first != second)
        );
        assert_ne!(first_ack, second_ack);
    }

    #[test]
    fn loop_cover_comes_back_as_cover() {
        let (network, ack_key) = (Network::new(), AckKey::generate(&mut rng()));
        let sender = sender(&network, &ack_key);
        let prepared = sender
            .prepare_loop_cover(network.routes(), &mut rng())
            .unwrap();
        assert_eq!(prepared.mix_packet.size(), PacketSize::Regular);
        let (_, delivered, ack) = carry(&network, prepared.mix_packet);
        let content = payload::decrypt(&network.alice_key, &delivered).unwrap();
        assert!(cover::is_cover(&content));
        let (_, acknowledged, _) = carry(&network, ack.unwrap());
        assert_eq!(ack_key.open(&acknowledged), Ok(FragmentId::COVER));
    }

    #[test]
    fn reply_reaches_the_owner_of_the_surb() {
        let (network, ack_key) = (Network::new(), AckKey::generate(&mut rng()));
        let owner = network.bob.sphinx_destination();
        let delays = network
            .route
            .sample_delays(Duration::from_millis(5), &mut rng());
        let surb = ReplySurb::build(&network.route, &delays, &owner, &mut rng()).unwrap();
        let key = surb.reply_key();
        let ack_id = FragmentId::reply(SetId::random(&mut rng()));
        let sender = sender(&network, &ack_key);
        let prepared = sender
            .prepare_reply(surb, ack_id, b"answer", &network.route, &mut rng())
            .unwrap();
        assert_eq!(prepared.total_delay, total_delay(&prepared.ack_delays));
        let (waited, delivered, ack) = carry(&network, prepared.mix_packet);
        assert_eq!(waited, total_delay(&delays));
        assert_eq!(reply::decrypt(&key, &delivered).unwrap(), b"answer");
        let (_, acknowledged, _) = carry(&network, ack.unwrap());
        let acknowledged = ack_key.open(&acknowledged).unwrap();
        assert!(acknowledged.is_reply());
        assert_eq!(acknowledged, prepared.ack_id);
    }

    #[test]
    fn fragment_that_fills_no_packet_is_refused() {
        let (network, ack_key) = (Network::new(), AckKey::generate(&mut rng()));
        let short = split(b"short", FragmentGeometry::REGULAR, &mut rng()).remove(0);
        let sender = sender(&network, &ack_key);
        let refused = sender.prepare_fragment(&short, &network.bob, network.routes(), &mut rng());
        assert_eq!(refused.err(), Some(BuildError::Unpadded { found: 7 + 5 }));
    }

    #[test]
    fn recipient_with_a_weak_key_is_refused() {
        let (network, ack_key) = (Network::new(), AckKey::generate(&mut rng()));
        let sender = sender(&network, &ack_key);
        let weak = Recipient {
            encryption: PublicKey::from_bytes([0; 32]),
            ..network.bob
        };
        let padded = message::prepare(b"hello", None, FragmentGeometry::REGULAR).unwrap();
        let fragment = split(&padded, FragmentGeometry::REGULAR, &mut rng()).remove(0);
        let refused = sender.prepare_fragment(&fragment, &weak, network.routes(), &mut rng());
        assert_eq!(
            refused.err(),
            Some(BuildError::Payload(PayloadError::WeakKey))
        );
    }

    #[test]
    fn extended_fragments_make_extended_packets() {
        let (network, ack_key) = (Network::new(), AckKey::generate(&mut rng()));
        let padded = message::prepare(b"hello", None, FragmentGeometry::EXTENDED).unwrap();
        let fragment = split(&padded, FragmentGeometry::EXTENDED, &mut rng()).remove(0);
        let sender = sender(&network, &ack_key);
        let prepared = sender
            .prepare_fragment(&fragment, &network.bob, network.routes(), &mut rng())
            .unwrap();
        assert_eq!(prepared.mix_packet.size(), PacketSize::Extended);
        let (_, delivered, _) = carry(&network, prepared.mix_packet);
        assert_eq!(
            payload::decrypt(&network.bob_key, &delivered).unwrap(),
            fragment.to_bytes()
        );
    }

    #[test]
    fn same_seed_makes_the_same_packet() {
        let (network, ack_key) = (Network::new(), AckKey::generate(&mut rng()));
        let sender = sender(&network, &ack_key);
        let make = || {
            sender
                .prepare_loop_cover(network.routes(), &mut rng())
                .unwrap()
                .mix_packet
        };
        assert_eq!(make(), make());
        let key = PrivateKey::from_bytes([1; 32]);
        assert!(crate::node::verify(&key, PacketMode::Mix, make().packet()).is_err());
    }
}
