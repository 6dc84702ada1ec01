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
//! one more, for the packet and for its acknowledgement, and two for the payload. So several packets,
//! and each with its acknowledgement, are built side by side by a [`Builder`], which also keeps tables
//! of the nodes' keys.

use core::time::Duration;

use rand_core::CryptoRng;
use sphinx::{Builder, Delay, Destination, HEADER_LEN, Hop, Version, Way};
use thiserror::Error;

use crate::ack::{ACK_CONTENT_LEN, AckKey, SurbAck};
use crate::address::Recipient;
use crate::cover;
use crate::fragment::{Fragment, FragmentId};
use crate::frame::PacketMode;
use crate::geometry::PacketSize;
use crate::keys::{PrivateKey, PublicKey};
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

/// What a packet carries.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// A fragment of a message.
    Fragment {
        /// The fragment.
        fragment: &'a Fragment,
        /// Whom it is for.
        recipient: &'a Recipient,
    },
    /// Nothing: the packet comes back to the sender.
    LoopCover,
}

/// A packet to be made.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// What it carries.
    pub content: Content<'a>,
    /// Where it and its acknowledgement go.
    pub routes: Routes<'a>,
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
    /// The ephemeral key that begins what is pushed to the recipient; none for a reply.
    pub ephemeral: Option<PublicKey>,
    /// The time that packet and acknowledgement will spend waiting at mix nodes, together. Of a
    /// reply only the acknowledgement's part is known; whoever made the SURB drew the rest.
    pub total_delay: Duration,
    /// The delays of the packet, one per hop, the last (the gateway's) unused; empty for a reply.
    pub packet_delays: Vec<Delay>,
    /// The delays of the acknowledgement, one per hop, the last unused.
    pub ack_delays: Vec<Delay>,
}

impl Sender<'_> {
    /// Makes any number of packets side by side: for each its packet, or why there is none.
    ///
    /// An error of one is no error of the others: [`BuildError::Unpadded`] unless a fragment fills a
    /// regular or extended packet exactly (see [`message::prepare`](crate::message::prepare)),
    /// [`BuildError::Payload`] if the recipient's encryption key is weak.
    pub fn prepare_all<R: CryptoRng + ?Sized>(
        &self,
        orders: &[Order<'_>],
        builder: &mut Builder,
        rng: &mut R,
    ) -> Vec<Result<Prepared, BuildError>> {
        let drawn = orders.iter().map(|order| self.draw(order, rng));
        let drafts = encrypt(drawn.collect(), builder);
        match self.assemble(drafts.iter().flatten(), builder, rng) {
            Ok(built) => {
                let mut built = built.into_iter();
                drafts
                    .into_iter()
                    .filter_map(|draft| match draft {
                        Ok(_) => built.next().map(Ok),
                        Err(error) => Some(Err(error)),
                    })
                    .collect()
            }
            // Not to be expected: a route has one to five hops, and a delay was drawn for each.
            Err(error) => orders.iter().map(|_| Err(error.into())).collect(),
        }
    }

    /// [`prepare_all`](Self::prepare_all) of one packet.
    ///
    /// # Errors
    ///
    /// As told there.
    pub fn prepare<R: CryptoRng + ?Sized>(
        &self,
        order: Order<'_>,
        builder: &mut Builder,
        rng: &mut R,
    ) -> Result<Prepared, BuildError> {
        self.prepare_all(&[order], builder, rng)
            .pop()
            .expect("there is one result for each order")
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
        builder: &mut Builder,
        rng: &mut R,
    ) -> Result<Prepared, BuildError> {
        let size = PacketSize::Regular;
        let encrypted = surb.encrypt(message, size)?;
        let content = self.ack_key.seal(ack_id, rng);
        let ack_delays = ack_route.sample_delays(self.delays.ack, rng);
        let owner = self.own.sphinx_destination();
        let ack = SurbAck::build(ack_route, &ack_delays, &owner, &content, builder, rng)?;
        let plaintext = [ack.to_bytes(), encrypted].concat();
        Ok(Prepared {
            mix_packet: surb.apply(&plaintext, size, self.mode)?,
            ack_id,
            ephemeral: None,
            total_delay: total_delay(&ack_delays),
            packet_delays: Vec::new(),
            ack_delays,
        })
    }

    /// Draws what a packet consists of.
    fn draw<'o, R: CryptoRng + ?Sized>(
        &self,
        order: &Order<'o>,
        rng: &mut R,
    ) -> Result<Drawn<'o>, BuildError> {
        let (content, size, ack_id, recipient) = match order.content {
            Content::Fragment {
                fragment,
                recipient,
            } => {
                let size = size_of_content(fragment.encoded_len())?;
                (fragment.to_bytes(), size, fragment.id(), recipient)
            }
            Content::LoopCover => {
                let size = PacketSize::Regular;
                (cover::content(size), size, FragmentId::COVER, self.own)
            }
        };
        let routes = order.routes;
        Ok(Drawn {
            routes,
            size,
            ack_id,
            ack_content: self.ack_key.seal(ack_id, rng),
            ack_delays: routes.ack.sample_delays(self.delays.ack, rng),
            ack_hops: routes.ack.to_sphinx(),
            content,
            recipient: recipient.encryption,
            ephemeral: PrivateKey::generate(rng),
            destination: recipient.sphinx_destination(),
            packet_delays: routes.packet.sample_delays(self.delays.packet, rng),
            packet_hops: routes.packet.to_sphinx(),
        })
    }

    /// Builds the acknowledgements, and around them the packets.
    fn assemble<'d, R: CryptoRng + ?Sized>(
        &self,
        drafts: impl Iterator<Item = &'d Draft<'d>> + Clone,
        builder: &mut Builder,
        rng: &mut R,
    ) -> Result<Vec<Prepared>, sphinx::Error> {
        let own = self.own.sphinx_destination();
        let ways: Vec<Way<'_>> = drafts
            .clone()
            .flat_map(|draft| [draft.drawn.ack_way(&own), draft.drawn.packet_way()])
            .collect();
        let envelopes = builder.address(Version::NYM_0_11, &ways, rng)?;
        let (envelopes, _) = envelopes.as_chunks::<2>();

        let ack_len = HEADER_LEN + PacketSize::Ack.payload_len();
        let mut acks = vec![vec![0; ack_len]; envelopes.len()];
        let mut letters: Vec<_> = drafts
            .clone()
            .zip(envelopes.iter().zip(&mut acks))
            .map(|(draft, ([envelope, _], ack))| envelope.with(&draft.drawn.ack_content, ack))
            .collect();
        builder.seal(&mut letters)?;
        drop(letters);

        let mut packets: Vec<_> = drafts
            .clone()
            .map(|draft| vec![0; HEADER_LEN + draft.drawn.size.payload_len()])
            .collect();
        let plaintexts: Vec<_> = drafts
            .clone()
            .zip(acks)
            .map(|(draft, ack)| {
                let ack = SurbAck::from_packet(draft.drawn.routes.ack, ack);
                [&ack.to_bytes(), &draft.encrypted[..]].concat()
            })
            .collect();
        let mut letters: Vec<_> = plaintexts
            .iter()
            .zip(envelopes.iter().zip(&mut packets))
            .map(|(plaintext, ([_, envelope], packet))| envelope.with(plaintext, packet))
            .collect();
        builder.seal(&mut letters)?;
        drop(letters);
        let prepared = drafts.zip(packets);
        Ok(prepared
            .map(|(draft, packet)| draft.prepared(self.mode, packet))
            .collect())
    }
}

/// What a packet consists of, drawn at random or given.
struct Drawn<'o> {
    routes: Routes<'o>,
    size: PacketSize,
    ack_id: FragmentId,
    ack_content: [u8; ACK_CONTENT_LEN],
    ack_delays: Vec<Delay>,
    ack_hops: Vec<Hop>,
    content: Vec<u8>,
    recipient: PublicKey,
    ephemeral: PrivateKey,
    destination: Destination,
    packet_delays: Vec<Delay>,
    packet_hops: Vec<Hop>,
}

impl Drawn<'_> {
    fn ack_way<'w>(&'w self, own: &'w Destination) -> Way<'w> {
        Way {
            route: &self.ack_hops,
            delays: &self.ack_delays,
            destination: own,
        }
    }

    fn packet_way(&self) -> Way<'_> {
        Way {
            route: &self.packet_hops,
            delays: &self.packet_delays,
            destination: &self.destination,
        }
    }
}

/// What is drawn, with its content encrypted to the recipient.
struct Draft<'o> {
    drawn: Drawn<'o>,
    ephemeral: PublicKey,
    encrypted: Vec<u8>,
}

impl Draft<'_> {
    fn prepared(&self, mode: PacketMode, packet: Vec<u8>) -> Prepared {
        let drawn = &self.drawn;
        let waiting = [&drawn.packet_delays, &drawn.ack_delays].map(|delays| total_delay(delays));
        Prepared {
            mix_packet: MixPacket::new(mode, drawn.routes.packet.first_hop(), packet)
                .expect("the packet was made with the payload length of its size"),
            ack_id: drawn.ack_id,
            ephemeral: Some(self.ephemeral),
            total_delay: waiting[0].saturating_add(waiting[1]),
            packet_delays: drawn.packet_delays.clone(),
            ack_delays: drawn.ack_delays.clone(),
        }
    }
}

/// Encrypts all contents to their recipients, side by side.
fn encrypt<'o>(
    drawn: Vec<Result<Drawn<'o>, BuildError>>,
    builder: &mut Builder,
) -> Vec<Result<Draft<'o>, BuildError>> {
    let pairs = drawn.iter().flatten();
    let pairs = pairs.map(|drawn| (&drawn.ephemeral, &drawn.recipient));
    let mut agreed = builder.agree(&pairs.collect::<Vec<_>>()).into_iter();
    let drafts = drawn.into_iter().map(|drawn| {
        let drawn = drawn?;
        let (ephemeral, secret) = agreed.next().expect("there is one for each pair");
        let encrypted = payload::encrypt_with(&drawn.content, &ephemeral, &secret)?;
        Ok(Draft {
            drawn,
            ephemeral,
            encrypted,
        })
    });
    drafts.collect()
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

    fn order<'a>(
        fragment: &'a Fragment,
        recipient: &'a Recipient,
        routes: Routes<'a>,
    ) -> Order<'a> {
        let content = Content::Fragment {
            fragment,
            recipient,
        };
        Order { content, routes }
    }

    fn cover(routes: Routes<'_>) -> Order<'_> {
        let content = Content::LoopCover;
        Order { content, routes }
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
            .prepare(
                order(&fragment, &network.bob, network.routes()),
                &mut Builder::new(),
                &mut rng(),
            )
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
            let prepared = sender.prepare(
                order(&fragment, &network.bob, routes),
                &mut Builder::new(),
                &mut rng,
            );
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
    fn each_of_many_orders_gets_its_own_packet_or_error() {
        let (network, ack_key) = (Network::new(), AckKey::generate(&mut rng()));
        let weak = Recipient {
            encryption: PublicKey::from_bytes([0; 32]),
            ..network.bob
        };
        let padded = message::prepare(&[7; 10_000], None, FragmentGeometry::REGULAR).unwrap();
        let fragments = split(&padded, FragmentGeometry::REGULAR, &mut rng());
        let short = split(b"short", FragmentGeometry::REGULAR, &mut rng()).remove(0);
        let padded = message::prepare(b"hello", None, FragmentGeometry::EXTENDED).unwrap();
        let extended = split(&padded, FragmentGeometry::EXTENDED, &mut rng()).remove(0);
        let routes = network.routes();
        let mut orders: Vec<_> = [&fragments[0], &short, &extended]
            .map(|fragment| order(fragment, &network.bob, routes))
            .to_vec();
        orders.push(order(&fragments[1], &weak, routes));
        orders.push(cover(routes));
        // More than are built side by side at once.
        let rest = &fragments[2..];
        let rest = rest
            .iter()
            .map(|fragment| order(fragment, &network.bob, routes));
        orders.extend(rest);
        assert!(orders.len() > 8);

        let mut builder = Builder::new();
        let results = sender(&network, &ack_key).prepare_all(&orders, &mut builder, &mut rng());
        assert_eq!(results.len(), orders.len());
        for (index, (order, result)) in orders.iter().zip(results).enumerate() {
            let expected = match index {
                1 => Err(BuildError::Unpadded { found: 7 + 5 }),
                3 => Err(BuildError::Payload(PayloadError::WeakKey)),
                _ => Ok(()),
            };
            assert_eq!(result.as_ref().map(|_| ()), expected.as_ref().copied());
            let Ok(prepared) = result else { continue };
            let (there, delivered, ack) = carry(&network, prepared.mix_packet);
            let (back, acknowledged, _) = carry(&network, ack.unwrap());
            assert_eq!(there + back, prepared.total_delay, "order {index}");
            assert_eq!(ack_key.open(&acknowledged), Ok(prepared.ack_id));
            if let Content::Fragment { fragment, .. } = order.content {
                assert_eq!(prepared.ack_id, fragment.id(), "order {index}");
                let content = payload::decrypt(&network.bob_key, &delivered).unwrap();
                assert_eq!(content, fragment.to_bytes(), "order {index}");
            } else {
                assert_eq!(prepared.ack_id, FragmentId::COVER);
            }
        }
    }

    #[test]
    fn loop_cover_comes_back_as_cover() {
        let (network, ack_key) = (Network::new(), AckKey::generate(&mut rng()));
        let sender = sender(&network, &ack_key);
        let prepared = sender
            .prepare(cover(network.routes()), &mut Builder::new(), &mut rng())
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
            .prepare_reply(
                surb,
                ack_id,
                b"answer",
                &network.route,
                &mut Builder::new(),
                &mut rng(),
            )
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
        let refused = sender.prepare(
            order(&short, &network.bob, network.routes()),
            &mut Builder::new(),
            &mut rng(),
        );
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
        let refused = sender.prepare(
            order(&fragment, &weak, network.routes()),
            &mut Builder::new(),
            &mut rng(),
        );
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
            .prepare(
                order(&fragment, &network.bob, network.routes()),
                &mut Builder::new(),
                &mut rng(),
            )
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
                .prepare(cover(network.routes()), &mut Builder::new(), &mut rng())
                .unwrap()
                .mix_packet
        };
        assert_eq!(make(), make());
        let key = PrivateKey::from_bytes([1; 32]);
        assert!(crate::node::verify(&key, PacketMode::Mix, make().packet()).is_err());
    }
}
