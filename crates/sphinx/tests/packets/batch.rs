//! Batches against the same packets one by one.

use aes::Aes128;
use ctr::{
    Ctr128BE,
    cipher::{KeyIvInit, StreamCipher},
};
use hmac::{Hmac, KeyInit, Mac};
use proptest::prelude::*;
use sha2::Sha256;
use sphinx::{
    Backend, Batch, Error, HEADER_LEN, PrivateKey, PublicKey, Version, hazmat::KeyBlock, process,
};

use crate::network::Network;

const VERSIONS: [Version; 3] = [Version::NYM_0_11, Version::V258, Version::V260];
/// Payloads of an acknowledgement, a regular and an extended packet, and odd ones.
const PAYLOAD_LENS: [usize; 5] = [38, 2_065, 32_785, 33, 100];

/// A packet, and what to spoil of it.
fn packet(network: &mut Network, version: Version, kind: usize) -> Vec<u8> {
    let mut packet = network.packet(version, b"hello", PAYLOAD_LENS[kind % PAYLOAD_LENS.len()]);
    match kind % 11 {
        3 => packet[40] ^= 1,
        5 => packet.truncate(364),
        6 => packet.truncate(365),
        7 => packet[31] ^= 0x80,
        8 => packet[0] ^= 1,
        // For another node, or for the next hop, which may be the last.
        9 => drop(process(version, &network.keys[0], &mut packet)),
        10 => packet.clear(),
        _ => {}
    }
    packet
}

/// The results and packets of a batch must be those of the packets one by one.
fn check(version: Version, key: &PrivateKey, packets: &[Vec<u8>], batch: &mut Batch) {
    let mut alone = packets.to_vec();
    let expected: Vec<_> = alone
        .iter_mut()
        .map(|packet| process(version, key, packet))
        .collect();
    let mut together = packets.to_vec();
    assert_eq!(batch.process(version, key, &mut together), expected);
    assert!(together == alone, "the packets differ");
}

#[test]
fn batches_of_every_size_are_what_packets_are_one_by_one() {
    for version in VERSIONS {
        let mut network = Network::new(2, 1);
        let packets: Vec<_> = (0..64)
            .map(|kind| packet(&mut network, version, kind))
            .collect();
        for backend in Backend::available() {
            let mut batch = Batch::with_backend(backend);
            for count in [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 17, 33, 64] {
                for key in &network.keys {
                    check(version, key, &packets[64 - count..], &mut batch);
                }
            }
        }
    }
}

#[test]
fn batches_larger_than_the_window_are_what_packets_are_one_by_one() {
    let mut network = Network::new(2, 1);
    let version = Version::NYM_0_11;
    let packets: Vec<_> = (0..131)
        .map(|kind| packet(&mut network, version, [0, 0, 0, 3, 10][kind % 5]))
        .collect();
    check(version, &network.keys[0], &packets, &mut Batch::new());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn mixtures_are_what_packets_are_one_by_one(
        kinds in prop::collection::vec(0_usize..55, 1..65),
        hop in 0_usize..2,
    ) {
        let mut network = Network::new(2, 1);
        for version in VERSIONS {
            let packets: Vec<_> = kinds
                .iter()
                .map(|kind| packet(&mut network, version, *kind))
                .collect();
            check(version, &network.keys[hop], &packets, &mut Batch::new());
        }
    }
}

#[test]
fn batches_of_one_kind_after_the_other_are_what_packets_are_one_by_one() {
    let version = Version::NYM_0_11;
    let mut network = Network::new(2, 1);
    let forwards: Vec<_> = (0..11).map(|_| packet(&mut network, version, 0)).collect();
    let mut finals = forwards.clone();
    for packet in &mut finals {
        process(version, &network.keys[0], packet).unwrap();
    }
    for backend in Backend::available() {
        let mut batch = Batch::with_backend(backend);
        for (packets, hop) in [&forwards, &finals, &finals, &forwards, &forwards]
            .into_iter()
            .zip([0, 1, 1, 0, 0])
        {
            check(version, &network.keys[hop], packets, &mut batch);
        }
        // Neither all of one kind nor all of the other.
        let mixed: Vec<_> = [&forwards[..6], &finals[..5]].concat();
        for key in network.keys.iter().chain(&network.keys) {
            check(version, key, &mixed, &mut batch);
        }
    }
}

/// The packet as it would be had its sender chosen this α, of which he would have to know the multiple
/// by the node's key.
fn with_alpha(key: &PrivateKey, packet: &[u8], alpha: [u8; 32]) -> Vec<u8> {
    let keys = |alpha: [u8; 32]| {
        let secret = key.diffie_hellman(&PublicKey::from_bytes(alpha));
        KeyBlock::derive(*secret.as_bytes())
    };
    let (old, new) = (keys(packet[..32].try_into().unwrap()), keys(alpha));
    let mut packet = packet.to_vec();
    for keys in [&old, &new] {
        let stream_key: [u8; 16] = keys.stream_cipher_key().try_into().unwrap();
        Ctr128BE::<Aes128>::new(&stream_key.into(), &[0; 16].into())
            .apply_keystream(&mut packet[48..HEADER_LEN]);
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(new.header_mac_key()).unwrap();
    mac.update(&packet[48..HEADER_LEN]);
    packet[..32].copy_from_slice(&alpha);
    packet[32..48].copy_from_slice(&mac.finalize().into_bytes()[..16]);
    packet
}

#[test]
fn points_on_the_twist_and_of_low_order_are_unwrapped_as_by_the_portable_ladder() {
    let version = Version::NYM_0_11;
    let mut network = Network::new(3, 1);
    let packets: Vec<_> = (0..8).map(|_| packet(&mut network, version, 0)).collect();
    let key = &network.keys[0];
    // u = 2 is on the twist; 0 and 1 are of orders 2 and 4.
    for u in [2, 0, 1] {
        let mut alpha = [0; 32];
        alpha[0] = u;
        for peculiar in [1, 8] {
            let mut packets = packets.clone();
            for packet in &mut packets[..peculiar] {
                *packet = with_alpha(key, packet, alpha);
            }
            let mut expected = packets.clone();
            let portable = Backend::by_name("portable").unwrap();
            let results = Batch::with_backend(portable)
                .process(version, key, &mut expected)
                .to_vec();
            assert!(
                results
                    .iter()
                    .all(|result| *result == Ok(network.expected(0)))
            );
            for backend in Backend::available() {
                let mut ours = packets.clone();
                let mut batch = Batch::with_backend(backend);
                assert_eq!(batch.process(version, key, &mut ours), results, "{backend}");
                assert!(ours == expected, "u = {u}, {peculiar} of 8 with {backend}");
            }
        }
    }
}

#[test]
fn packet_refused_between_the_steps_is_left_as_it_was() {
    let mut network = Network::new(3, 1);
    let version = Version::NYM_0_11;
    let packets: Vec<_> = (0..10).map(|_| packet(&mut network, version, 0)).collect();
    let mut batch = Batch::new();
    let headers = batch.verify(version, &network.keys[0], &packets);
    headers[4] = Err(Error::Replayed);
    let mut peeled = packets.clone();
    let results = batch.peel(&mut peeled).to_vec();
    for (index, result) in results.iter().enumerate() {
        if index == 4 {
            assert_eq!(*result, Err(Error::Replayed));
            assert_eq!(peeled[index], packets[index]);
        } else {
            assert_eq!(*result, Ok(network.expected(0)));
            assert_ne!(peeled[index], packets[index]);
        }
    }
}

#[test]
fn headers_serve_once_and_only_their_own_packets() {
    let mut network = Network::new(3, 1);
    let version = Version::NYM_0_11;
    let mut packets: Vec<_> = (0..3).map(|_| packet(&mut network, version, 0)).collect();
    let mut batch = Batch::new();
    batch.verify(version, &network.keys[0], &packets);
    packets.swap(0, 1);
    assert_eq!(
        batch.peel(&mut packets),
        [
            Err(Error::InvalidHeader),
            Err(Error::InvalidHeader),
            Ok(network.expected(0))
        ]
    );
    assert_eq!(
        batch.peel(&mut packets[..2]),
        [Err(Error::InvalidHeader); 2]
    );
}
