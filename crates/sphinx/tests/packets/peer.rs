//! Our bytes against those of `sphinx-packet` 0.8.0, an implementation by other people.

use proptest::prelude::*;
use sphinx::{
    Backend, Batch, Delay, Destination, Error, HEADER_LEN, Hop, NodeAddress, Peeled, PrivateKey,
    Surb, SurbRecovery, Version, process, recover_plaintext,
};
use sphinx_packet as peer;

use crate::network::{Network, networks};

fn shared_versions() -> impl Strategy<Value = Version> {
    prop::sample::select(vec![
        Version::V257,
        Version::V258,
        Version::V259,
        Version::V260,
    ])
}

#[test]
fn batches_of_every_size_with_every_backend_are_what_the_peer_makes_of_the_packets() {
    for version in [Version::V257, Version::V258, Version::V259, Version::V260] {
        let mut network = Network::new(3, 1);
        // Of a regular packet, an acknowledgement, and something between.
        let packets: Vec<_> = (0..64)
            .map(|number| network.packet(version, b"hi", [2_065, 38, 500][number % 3]))
            .collect();
        let their_key = peer::crypto::PrivateKey::from(*network.keys[0].to_bytes());
        let expected: Vec<_> = packets
            .iter()
            .map(|packet| {
                let packet = peer::SphinxPacket::from_bytes(packet).unwrap();
                match packet.process(&their_key).unwrap().data {
                    peer::ProcessedPacketData::ForwardHop {
                        next_hop_packet, ..
                    } => next_hop_packet.to_bytes(),
                    peer::ProcessedPacketData::FinalHop { .. } => panic!("there are three hops"),
                }
            })
            .collect();
        for backend in Backend::available() {
            let mut batch = Batch::with_backend(backend);
            for count in 1..=64 {
                let mut ours = packets[64 - count..].to_vec();
                let results = batch.process(version, &network.keys[0], &mut ours);
                assert!(results.iter().all(Result::is_ok), "{count} with {backend}");
                assert!(ours == expected[64 - count..], "{count} with {backend}");
            }
        }
    }
}

proptest! {
    #[test]
    fn peers_nodes_unwrap_our_packets_as_ours_do(
        version in shared_versions(),
        (mut network, message, payload_len) in networks(),
    ) {
        let packet = network.packet(version, &message, payload_len);
        let payload = walk_both(version, &network, packet)?;
        prop_assert_eq!(recover_plaintext(&payload).unwrap(), message);
    }

    #[test]
    fn our_nodes_unwrap_the_peers_packets(
        version in shared_versions(),
        (network, message, payload_len) in networks(),
    ) {
        let packet = peer::SphinxPacketBuilder::new()
            .with_version(peer_version(version))
            .with_payload_size(payload_len)
            .build_packet(
                &message,
                &peer_route(&network.route),
                &peer_destination(&network.destination),
                &peer_delays(&network.delays),
            )
            .unwrap();
        let payload = walk_both(version, &network, packet.to_bytes())?;
        prop_assert_eq!(recover_plaintext(&payload).unwrap(), message);
    }

    #[test]
    fn peer_replies_by_our_surb(
        version in prop::sample::select(vec![Version::V259, Version::V260]),
        (mut network, message, payload_len) in networks(),
    ) {
        let Network { route, delays, destination, rng, .. } = &mut network;
        let (surb, recovery) = if version == Version::V260 {
            let (surb, recovery) =
                Surb::build_recoverable(version, route, delays, destination, rng).unwrap();
            (surb, Some(recovery))
        } else {
            (Surb::build(version, route, delays, destination, rng).unwrap(), None)
        };

        let surb = peer::SURB::from_bytes(&surb.to_bytes()).unwrap();
        let (packet, first_hop) = surb.use_surb(&message, payload_len).unwrap();
        prop_assert_eq!(first_hop.to_bytes(), network.route[0].address.0);

        let mut payload = walk_both(version, &network, packet.to_bytes())?;
        if let Some(recovery) = recovery {
            let theirs = peer::SurbReplyRecovery::from_bytes(&recovery.to_bytes()).unwrap();
            let sealed = peer::payload::Payload::from_bytes(&payload).unwrap();
            prop_assert_eq!(theirs.recover_plaintext(sealed).unwrap(), message.clone());
            prop_assert_eq!(recovery.recover_plaintext(&mut payload).unwrap(), message);
        } else {
            prop_assert_eq!(recover_plaintext(&payload).unwrap(), message);
        }
    }

    #[test]
    fn we_reply_by_the_peers_surb(
        version in prop::sample::select(vec![Version::V259, Version::V260]),
        (network, message, payload_len) in networks(),
    ) {
        let material = peer::SURBMaterial::new(
            peer_route(&network.route),
            peer_delays(&network.delays),
            peer_destination(&network.destination),
            peer_version(version),
        );
        let (surb, recovery) = if version == Version::V260 {
            let (surb, recovery) = material.construct_recoverable_SURB().unwrap();
            (surb, Some(recovery))
        } else {
            (material.construct_SURB().unwrap(), None)
        };

        let surb = Surb::from_bytes(version, &surb.to_bytes()).unwrap();
        prop_assert_eq!(surb.first_hop(), network.route[0].address);
        let packet = surb.use_surb(&message, payload_len).unwrap();

        let mut payload = walk_both(version, &network, packet)?;
        if let Some(recovery) = recovery {
            let ours = SurbRecovery::from_bytes(&recovery.to_bytes()).unwrap();
            prop_assert_eq!(ours.recover_plaintext(&mut payload).unwrap(), message);
        } else {
            prop_assert_eq!(recover_plaintext(&payload).unwrap(), message);
        }
    }

    #[test]
    fn both_refuse_a_damaged_packet_alike(
        version in shared_versions(),
        (mut network, message, payload_len) in networks(),
        position in any::<prop::sample::Index>(),
        change in 1..=u8::MAX,
        len in any::<prop::sample::Index>(),
        truncate in any::<bool>(),
    ) {
        let mut packet = network.packet(version, &message, payload_len);
        if truncate {
            packet.truncate(len.index(packet.len()));
        } else {
            let position = position.index(packet.len());
            packet[position] ^= change;
        }
        let theirs = peer_process(&network.keys[0], &packet);
        let ours = process(version, &network.keys[0], &mut packet);
        prop_assert_eq!(ours.map_err(kind), theirs.map(|(peeled, _)| peeled));
    }
}

/// Walks a packet along the whole route, each node once ours and once the peer's; returns the last
/// payload.
fn walk_both(
    version: Version,
    network: &Network,
    mut packet: Vec<u8>,
) -> Result<Vec<u8>, TestCaseError> {
    for (index, key) in network.keys.iter().enumerate() {
        let (theirs, their_bytes) = peer_process(key, &packet).unwrap();
        let ours = process(version, key, &mut packet).unwrap();
        prop_assert_eq!(ours, theirs);
        prop_assert_eq!(ours, network.expected(index));
        let from = if matches!(ours, Peeled::Final { .. }) {
            HEADER_LEN
        } else {
            0
        };
        prop_assert_eq!(&packet[from..], their_bytes);
    }
    Ok(packet.split_off(HEADER_LEN))
}

/// What the peer's node makes of a packet: where it goes, and the next packet or the payload.
fn peer_process(key: &PrivateKey, packet: &[u8]) -> Result<(Peeled, Vec<u8>), peer::ErrorKind> {
    let key = peer::crypto::PrivateKey::from(*key.to_bytes());
    let packet = peer::SphinxPacket::from_bytes(packet).map_err(|error| error.kind())?;
    match packet.process(&key).map_err(|error| error.kind())?.data {
        peer::ProcessedPacketData::ForwardHop {
            next_hop_packet,
            next_hop_address,
            delay,
        } => {
            let peeled = Peeled::Forward {
                next_hop: NodeAddress(next_hop_address.to_bytes()),
                delay: Delay::from_nanos(delay.to_nanos()),
            };
            Ok((peeled, next_hop_packet.to_bytes()))
        }
        peer::ProcessedPacketData::FinalHop {
            destination,
            identifier,
            payload,
        } => {
            let destination = Destination {
                address: destination.as_bytes(),
                identifier,
            };
            Ok((Peeled::Final { destination }, payload.into_bytes()))
        }
    }
}

fn kind(error: Error) -> peer::ErrorKind {
    match error {
        Error::InvalidPacket { .. } => peer::ErrorKind::InvalidPacket,
        Error::InvalidHeader => peer::ErrorKind::InvalidHeader,
        Error::InvalidRouting(_) => peer::ErrorKind::InvalidRouting,
        Error::InvalidPayload(_) => peer::ErrorKind::InvalidPayload,
        Error::InvalidSurb(_) => peer::ErrorKind::InvalidSURB,
        _ => panic!("no category of the peer's fits: {error}"),
    }
}

fn peer_version(version: Version) -> peer::version::Version {
    peer::version::Version::new(version.number())
}

fn peer_route(route: &[Hop]) -> Vec<peer::route::Node> {
    route
        .iter()
        .map(|hop| {
            peer::route::Node::new(
                peer::route::NodeAddressBytes::from_bytes(hop.address.0),
                peer::crypto::PublicKey::from(*hop.public_key.as_bytes()),
            )
        })
        .collect()
}

fn peer_destination(destination: &Destination) -> peer::route::Destination {
    peer::route::Destination::new(
        peer::route::DestinationAddressBytes::from_bytes(destination.address),
        destination.identifier,
    )
}

fn peer_delays(delays: &[Delay]) -> Vec<peer::header::delays::Delay> {
    delays
        .iter()
        .map(|delay| peer::header::delays::Delay::from_bytes(delay.as_nanos().to_be_bytes()))
        .collect()
}
