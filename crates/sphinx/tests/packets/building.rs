//! Packets built side by side against the same packets built one by one.

use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
use sphinx::{
    Backend, Builder, Delay, Destination, Error, HEADER_LEN, Hop, MIN_PAYLOAD_LEN, PayloadFault,
    PrivateKey, PublicKey, RoutingFault, Version, Way, build_into,
};

use crate::network::Network;

const VERSIONS: [Version; 3] = [Version::NYM_0_11, Version::V258, Version::V260];
/// Payloads of an acknowledgement, a regular and an extended packet, and odd ones.
const PAYLOAD_LENS: [usize; 5] = [38, 2_065, 32_785, 33, 100];

/// The seed of what is drawn for a packet.
fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(5)
}

/// Ways of one to five hops, some with the same nodes.
fn ways(network: &Network, count: usize) -> Vec<Way<'_>> {
    (0..count)
        .map(|number| {
            let hops = [4, 4, 1, 5, 3, 2][number % 6];
            Way {
                route: &network.route[..hops],
                delays: &network.delays[..hops],
                destination: &network.destination,
            }
        })
        .collect()
}

fn buffers(count: usize) -> Vec<Vec<u8>> {
    (0..count)
        .map(|number| vec![0xee; HEADER_LEN + PAYLOAD_LENS[number % PAYLOAD_LENS.len()]])
        .collect()
}

fn message(number: usize) -> &'static [u8] {
    &b"sixteen bytes...."[..number % 17]
}

#[test]
fn batches_of_every_size_are_what_packets_are_one_by_one() {
    let network = Network::new(5, 1);
    let ways = ways(&network, 64);
    for version in VERSIONS {
        let mut expected = buffers(64);
        let mut draws = rng();
        for (number, (way, packet)) in ways.iter().zip(&mut expected).enumerate() {
            let (route, delays, to) = (way.route, way.delays, way.destination);
            build_into(
                version,
                route,
                delays,
                to,
                message(number),
                packet,
                &mut draws,
            )
            .unwrap();
        }
        for backend in Backend::available() {
            let mut builder = Builder::with_backend(backend);
            for count in [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 17, 33, 64] {
                let mut packets = buffers(count);
                let mut contents: Vec<(&[u8], &mut [u8])> = (0..)
                    .zip(&mut packets)
                    .map(|(number, packet)| (message(number), &mut packet[..]))
                    .collect();
                builder
                    .build_batch(version, &ways[..count], &mut contents, &mut rng())
                    .unwrap();
                assert!(packets == expected[..count], "{count} with {backend}");
            }
            let mut packet = buffers(1);
            builder
                .build_into(version, ways[0], message(0), &mut packet[0], &mut rng())
                .unwrap();
            assert!(packet == expected[..1], "alone with {backend}");
        }
    }
}

#[test]
fn batch_with_an_unusable_route_is_refused() {
    let network = Network::new(5, 1);
    let version = Version::NYM_0_11;
    let way = ways(&network, 3)[2];
    let nowhere = Way { route: &[], ..way };
    let refused = Builder::new().address(version, &[way, nowhere], &mut rng());
    let fault = RoutingFault::HopCount {
        found: 0,
        maximum: 5,
    };
    assert_eq!(refused.err(), Some(Error::InvalidRouting(fault)));
}

#[test]
fn letter_that_does_not_fit_is_refused() {
    let network = Network::new(5, 1);
    let version = Version::NYM_0_11;
    let way = ways(&network, 3)[2];
    let mut builder = Builder::new();
    let envelopes = builder.address(version, &[way; 3], &mut rng()).unwrap();
    let refusal = |len: usize, message_len: usize| {
        let (mut good, mut bad) = (vec![0; 500], vec![0; len]);
        let message = vec![1; message_len];
        let mut letters = [
            envelopes[0].with(b"fits", &mut good),
            envelopes[1].with(&message, &mut bad),
        ];
        builder.seal(&mut letters).err()
    };
    let too_short = |found| PayloadFault::TooShort {
        found,
        minimum: MIN_PAYLOAD_LEN,
    };
    let too_long = PayloadFault::MessageTooLong {
        found: 17,
        maximum: 16,
    };
    assert_eq!(refusal(0, 0), Some(Error::InvalidPayload(too_short(0))));
    assert_eq!(refusal(380, 0), Some(Error::InvalidPayload(too_short(32))));
    assert_eq!(refusal(381, 17), Some(Error::InvalidPayload(too_long)));
    assert_eq!(refusal(381, 16), None);
}

#[test]
fn weak_and_twisted_public_keys_give_the_packets_that_ladders_give() {
    let mut network = Network::new(1, 1);
    // 0 and 1 have low order; 2 is on the twist; all ones is not canonical.
    for number in 0..4 {
        let mut bytes = [if number == 3 { 0xff } else { 0 }; 32];
        bytes[0] |= number;
        network.route.push(Hop {
            public_key: PublicKey::from_bytes(bytes),
            ..network.route[0]
        });
    }
    network.delays = vec![Delay::ZERO; 5];
    let ways = [Way {
        route: &network.route,
        delays: &network.delays,
        destination: &Destination {
            address: [1; 32],
            identifier: [2; 16],
        },
    }; 5];
    let built = |backend| {
        let mut packets = buffers(5);
        let mut contents: Vec<(&[u8], &mut [u8])> = packets
            .iter_mut()
            .map(|packet| (&b""[..], &mut packet[..]))
            .collect();
        Builder::with_backend(backend)
            .build_batch(Version::NYM_0_11, &ways, &mut contents, &mut rng())
            .unwrap();
        packets
    };
    let expected = built(Backend::by_name("portable").unwrap());
    for backend in Backend::available() {
        assert!(built(backend) == expected, "{backend}");
    }
}

#[test]
fn agreements_side_by_side_are_those_one_by_one() {
    let mut draws = rng();
    let own: Vec<_> = (0..20).map(|_| PrivateKey::generate(&mut draws)).collect();
    let theirs: Vec<_> = (0..20_u8)
        .map(|number| match number {
            // Of low order, on the twist, and met again.
            3 => PublicKey::from_bytes([0; 32]),
            9 => PublicKey::from_bytes([2; 32]),
            10.. if number % 2 == 0 => own[0].public_key(),
            _ => PrivateKey::from_bytes([number; 32]).public_key(),
        })
        .collect();
    let pairs: Vec<_> = own.iter().zip(&theirs).collect();
    for backend in Backend::available() {
        let mut builder = Builder::with_backend(backend);
        for count in [0, 1, 2, 3, 7, 8, 9, 20, 20] {
            let agreed = builder.agree(&pairs[..count]);
            assert_eq!(agreed.len(), count);
            for ((own, their), (public_key, secret)) in pairs.iter().zip(agreed) {
                assert_eq!(public_key, own.public_key(), "{count} with {backend}");
                let expected = own.diffie_hellman(their);
                assert_eq!(
                    secret.as_bytes(),
                    expected.as_bytes(),
                    "{count} with {backend}"
                );
            }
        }
    }
}
