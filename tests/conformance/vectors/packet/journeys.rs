//! Packets on their way: what each node does with them, and what the ends find in them.

use nym_packet::ack::{AckKey, SurbAck, SurbAckError};
use nym_packet::address::{AddressError, Recipient};
use nym_packet::fragment::{Fragment, FragmentGeometry, FragmentId, split_with_set_ids};
use nym_packet::frame::PacketMode;
use nym_packet::geometry::{PacketSize, SURB_ACK_LEN};
use nym_packet::keys::{IdentityKeyPair, PrivateKey, PublicKey};
use nym_packet::mix_packet::MixPacket;
use nym_packet::node::{MAX_DELAY, NodeError, Outcome, verify};
use nym_packet::reassembly::{Reassembler, ReassemblyLimits};
use nym_packet::reply::{KeyDigest, ReplySurb};
use nym_packet::route::{Route, RouteHop};
use nym_packet::time::Timestamp;
use nym_packet::{message, payload as end_to_end_encryption, reply as replies, symmetric};
use serde_json::Value;
use sphinx::Delay;

use super::{assert_bytes, links};
use crate::vectors::case::Case;

pub(super) fn process(value: &Value) {
    let case = Case::new(value);
    let key = PrivateKey::from_bytes(case.array("node_private_key"));
    let mode = links::mode(&case);
    let mut packet = case.bytes("packet");
    assert_eq!(
        PacketSize::from_packet_len(packet.len()),
        Some(links::size(&case))
    );
    let expected = Case::new(case.field("expected"));

    let tag = packet[32..48].to_vec();
    let outcome = verify(&key, mode, &packet).and_then(|verified| {
        assert_bytes("replay tag", verified.mac(), &tag);
        verified.peel(&mut packet, MAX_DELAY)
    });
    match outcome {
        Ok(Outcome::Forward { next_hop, delay }) => {
            assert_eq!(expected.text("kind"), "forward");
            assert_eq!(next_hop, links::socket(&expected, "next_hop"));
            assert_eq!(mode, links::mode(&expected));
            let delay_ns = delay.map(|delay| u64::try_from(delay.as_nanos()).unwrap());
            assert_eq!(&Value::from(delay_ns), expected.field("delay_ns"));
            assert_bytes("packet", &packet, &expected.bytes("packet"));
        }
        Ok(Outcome::Final {
            destination,
            message,
            forward_ack,
        }) => {
            assert_eq!(expected.text("kind"), "final");
            assert_bytes("destination", &destination, &expected.bytes("destination"));
            assert_bytes("message", message, &expected.bytes("message"));
            let Some(ack) = forward_ack else {
                assert_eq!(expected.field("forward_ack"), &Value::Null);
                return expected.finish();
            };
            let expected_ack = Case::new(expected.field("forward_ack"));
            assert_eq!(ack.first_hop(), links::socket(&expected_ack, "next_hop"));
            assert_eq!(ack.mode(), links::mode(&expected_ack));
            assert_bytes("ack packet", ack.packet(), &expected_ack.bytes("packet"));
            expected_ack.finish();
        }
        Err(error) => {
            assert_eq!(expected.text("kind"), "error");
            let (name, cause) = match error {
                NodeError::MissingSurbAck { .. } => ("NoSurbAckInFinalHop", ""),
                NodeError::NextHop(AddressError::UnknownType { .. }) => {
                    ("InvalidHopAddress", "InvalidIpVersion")
                }
                NodeError::SurbAck(SurbAckError::Address(_)) => {
                    ("MalformedSurbAck", "InvalidAddress")
                }
                error => panic!("{error}"),
            };
            assert_eq!(
                (expected.text("error"), expected.text("cause")),
                (name, cause)
            );
        }
    }
    expected.finish();
    case.finish();
}

pub(super) fn reply(value: &Value) {
    let case = Case::new(value);
    let nodes = Nodes::read(&case, "nodes");
    let surb = ReplySurb::from_bytes(&case.bytes("reply_surb")).unwrap();
    assert_eq!(surb.to_string(), case.text("reply_surb_base58"));
    let from_text: ReplySurb = case.text("reply_surb_base58").parse().unwrap();
    assert_eq!(from_text.to_bytes(), surb.to_bytes());
    let key = surb.reply_key();
    assert_bytes(
        "reply key",
        key.to_bytes().as_slice(),
        &case.bytes("reply_key"),
    );
    assert_bytes(
        "digest",
        surb.key_digest().as_bytes(),
        &case.bytes("key_digest"),
    );
    let first_hop = links::socket(&case, "first_hop");
    assert_eq!(surb.first_hop(), Ok(first_hop));
    let node_address = case.bytes("surb_first_hop_address");
    assert_bytes(
        "node address",
        &first_hop.to_node_address().0,
        &node_address,
    );

    let size = PacketSize::Regular;
    let text = case.bytes("message");
    let plaintext = case.bytes("sphinx_plaintext");
    let (surb_ack, behind) = plaintext.split_at(SURB_ACK_LEN);
    let delivered = case.bytes("delivered_to_client");
    assert_bytes(
        "encrypted reply",
        &surb.encrypt(&text, size).unwrap(),
        behind,
    );
    assert_bytes("delivery", &delivered, behind);
    let mut content = delivered[32..].to_vec();
    symmetric::aes128_ctr(&case.array("reply_key"), &[0; 16], &mut content);
    assert_bytes("content", &content, &case.bytes("reply_content_plain"));

    let packet = surb.apply(&plaintext, size, PacketMode::Mix).unwrap();
    assert_eq!(packet.first_hop(), first_hop);
    assert_bytes("packet", packet.packet(), &case.bytes("packet"));
    let arrived = nodes.carry(packet);
    assert_bytes(
        "destination",
        &arrived.destination,
        &case.bytes("surb_owner_destination"),
    );
    assert_bytes("delivered", &arrived.message, &delivered);
    assert_eq!(KeyDigest::of_reply(&delivered), Some(key.digest()));
    assert_bytes(
        "message",
        &replies::decrypt(&key, &delivered).unwrap(),
        &text,
    );

    let ack = arrived.forward_ack.unwrap();
    let expected = SurbAck::from_bytes(surb_ack)
        .unwrap()
        .into_mix_packet(PacketMode::Mix);
    assert_eq!(ack, expected);
    let ack_key = AckKey::from_bytes(case.array("replier_ack_key"));
    let id = ack_key.open(&nodes.carry(ack).message).unwrap();
    assert!(id.is_reply());
    assert_bytes(
        "acknowledged",
        &id.to_bytes(),
        &case.bytes("reply_fragment_id"),
    );
    case.finish();
}

pub(super) fn cover(value: &Value) {
    let case = Case::new(value);
    let nodes = Nodes::read(&case, "nodes");
    let first_hop = links::socket(&case, "first_hop");
    let packet = MixPacket::new(links::mode(&case), first_hop, case.bytes("packet")).unwrap();
    let arrived = nodes.carry(packet);
    assert_bytes(
        "destination",
        &arrived.destination,
        &case.bytes("client_identity_key"),
    );
    assert_eq!(arrived.delays, delays(&case, "delays_ns"));
    let plaintext = case.bytes("sphinx_plaintext");
    let (surb_ack, delivered) = plaintext.split_at(SURB_ACK_LEN);
    assert_bytes("delivered", &arrived.message, delivered);

    let own_key = PrivateKey::from_bytes(case.array("client_encryption_private_key"));
    let content = end_to_end_encryption::decrypt(&own_key, delivered).unwrap();
    assert_bytes("content", &content, &case.bytes("decrypted_content"));
    assert_bytes(
        "our content",
        &nym_packet::cover::content(PacketSize::Regular),
        &content,
    );
    assert!(nym_packet::cover::is_cover(&content));

    let ack = arrived.forward_ack.unwrap();
    assert_bytes(
        "ack packet",
        ack.packet(),
        SurbAck::from_bytes(surb_ack).unwrap().packet(),
    );
    assert_eq!(ack.first_hop(), links::socket(&case, "ack_first_hop"));
    let content = nodes.carry(ack).message;
    assert_bytes("ack content", &content, &case.bytes("ack_content"));
    let id = AckKey::from_bytes(case.array("ack_key"))
        .open(&content)
        .unwrap();
    assert_bytes(
        "acknowledged",
        &id.to_bytes(),
        &case.bytes("ack_fragment_id"),
    );
    assert_eq!(id, FragmentId::COVER);
    case.finish();
}

pub(super) fn end_to_end(value: &Value) {
    let case = Case::new(value);
    let journey = Journey::read(&case);
    let mut fragments = Vec::new();
    for packet in case.list("packets").iter().map(Case::new) {
        fragments.push(journey.packet(&packet));
        packet.finish();
    }

    let mut reassembler = Reassembler::new(ReassemblyLimits::default());
    let mut wholes = fragments.iter().filter_map(|fragment| {
        reassembler
            .insert(Timestamp::ZERO, fragment.clone())
            .unwrap()
    });
    let whole = wholes.next().expect("the message is whole");
    let (text, surb) = message::parse(&whole.bytes).unwrap();
    assert_bytes("message", &text, &case.bytes("message"));
    let surb_hex = surb
        .as_ref()
        .map(|surb| hex::encode(surb.to_bytes().as_slice()));
    assert_eq!(&Value::from(surb_hex), case.field("reply_surb"));
    let key = surb
        .as_ref()
        .map(|surb| hex::encode(*surb.reply_key().to_bytes()));
    assert_eq!(&Value::from(key), case.field("reply_key"));

    let padded = message::prepare(&text, surb.as_ref(), FragmentGeometry::REGULAR).unwrap();
    let again = split_with_set_ids(&padded, FragmentGeometry::REGULAR, &whole.set_ids).unwrap();
    assert_eq!(again, fragments);
    case.finish();
}

/// Who takes part in a message from end to end.
struct Journey {
    nodes: Nodes,
    mode: PacketMode,
    sender: IdentityKeyPair,
    ack_key: AckKey,
    recipient: Recipient,
    recipient_key: PrivateKey,
}

impl Journey {
    fn read(case: &Case) -> Self {
        let gateway = IdentityKeyPair::from_seed(&case.array("gateway_identity_seed"));
        let sender = Case::new(case.field("sender"));
        // Nothing in these packets is encrypted to the sender.
        sender.get("encryption_private_key");
        let recipient_case = Case::new(case.field("recipient"));
        let identity = IdentityKeyPair::from_seed(&recipient_case.array("identity_seed"));
        let recipient_key = PrivateKey::from_bytes(recipient_case.array("encryption_private_key"));
        let recipient = Recipient {
            identity: identity.public_key(),
            encryption: recipient_key.public_key(),
            gateway: gateway.public_key(),
        };
        assert_eq!(recipient.to_string(), recipient_case.text("address"));
        let journey = Self {
            nodes: Nodes::read(case, "nodes"),
            mode: links::mode(case),
            sender: IdentityKeyPair::from_seed(&sender.array("identity_seed")),
            ack_key: AckKey::from_bytes(sender.array("ack_key")),
            recipient,
            recipient_key,
        };
        sender.finish();
        recipient_case.finish();
        journey
    }

    /// Follows a packet to the recipient and its acknowledgement back; gives the fragment in it.
    fn packet(&self, case: &Case) -> Fragment {
        let mix_packet = MixPacket::from_bytes(&case.bytes("mix_packet")).unwrap();
        assert_bytes(
            "mix packet",
            &mix_packet.to_bytes(),
            &case.bytes("mix_packet"),
        );
        assert_eq!(mix_packet.mode(), self.mode);
        assert_eq!(mix_packet.first_hop(), links::socket(case, "first_hop"));
        let arrived = self.nodes.carry(mix_packet);
        assert_eq!(&arrived.destination, self.recipient.identity.as_bytes());
        assert_bytes(
            "delivered",
            &arrived.message,
            &case.bytes("delivered_to_client"),
        );
        let content = end_to_end_encryption::decrypt(&self.recipient_key, &arrived.message);
        let content = content.unwrap();
        assert_bytes("fragment", &content, &case.bytes("fragment"));
        assert!(!nym_packet::cover::is_cover(&content));
        let fragment = Fragment::parse(&content).unwrap();

        let ack = arrived.forward_ack.unwrap();
        assert_eq!(ack.first_hop(), links::socket(case, "ack_first_hop"));
        assert_bytes("ack packet", ack.packet(), &case.bytes("ack_packet"));
        assert_eq!(ack.mode(), self.mode);
        let ack = self.nodes.carry(ack);
        assert_eq!(&ack.destination, self.sender.public_key().as_bytes());
        assert_bytes("ack content", &ack.message, &case.bytes("ack_content"));
        let id = self.ack_key.open(&ack.message).unwrap();
        assert_bytes(
            "acknowledged",
            &id.to_bytes(),
            &case.bytes("ack_fragment_id"),
        );
        assert_eq!(id, fragment.id());

        let (there, back) = (delays(case, "delays_ns"), delays(case, "ack_delays_ns"));
        assert_eq!((&arrived.delays, &ack.delays), (&there, &back));
        let total: u64 = there
            .iter()
            .chain(&back)
            .map(|delay| delay.as_nanos())
            .sum();
        assert_eq!(total, case.u64("total_delay_ns"));
        fragment
    }
}

/// The nodes of a route with their keys, in the order a packet crosses them.
pub(super) struct Nodes(Vec<(RouteHop, PrivateKey)>);

/// What the last node of a route got.
pub(super) struct Arrived {
    pub(super) destination: [u8; 32],
    pub(super) message: Vec<u8>,
    pub(super) forward_ack: Option<MixPacket>,
    /// What the nodes before the last were asked to wait; zero in vpn mode.
    pub(super) delays: Vec<Delay>,
}

impl Nodes {
    pub(super) fn read(case: &Case, member: &str) -> Self {
        let mut nodes = Vec::new();
        for node in case.list(member).iter().map(Case::new) {
            let key = PrivateKey::from_bytes(node.array("private_key"));
            let sphinx_key = PublicKey::from_bytes(node.array("public_key"));
            assert_eq!(key.public_key(), sphinx_key);
            let address = links::socket(&node, "socket");
            assert_bytes(
                "address",
                &address.to_node_address().0,
                &node.bytes("address"),
            );
            nodes.push((
                RouteHop {
                    address,
                    sphinx_key,
                },
                key,
            ));
            node.finish();
        }
        Self(nodes)
    }

    pub(super) fn route(&self) -> Route {
        Route::new(self.0.iter().map(|(hop, _)| *hop).collect()).unwrap()
    }

    /// Lets each node open the packet that the one before hands it.
    #[track_caller]
    pub(super) fn carry(&self, packet: MixPacket) -> Arrived {
        let mode = packet.mode();
        let (mut at, frame) = packet.into_parts();
        let mut packet = frame.into_packet();
        let mut delays = Vec::new();
        for (hop, key) in &self.0 {
            assert_eq!(at, hop.address, "the packet takes another way");
            let verified = verify(key, mode, &packet).unwrap();
            match verified.peel(&mut packet, MAX_DELAY).unwrap() {
                Outcome::Forward { next_hop, delay } => {
                    delays.push(delay.unwrap_or_default().into());
                    at = next_hop;
                }
                Outcome::Final {
                    destination,
                    message,
                    forward_ack,
                } => {
                    let message = message.to_vec();
                    return Arrived {
                        destination,
                        message,
                        forward_ack,
                        delays,
                    };
                }
            }
        }
        panic!("the packet wants to go on to {at}");
    }
}

/// The delays in a member, in nanoseconds.
pub(super) fn delays(case: &Case, member: &str) -> Vec<Delay> {
    let delays = case.list(member).iter();
    delays
        .map(|delay| Delay::from_nanos(delay.as_u64().unwrap()))
        .collect()
}
