//! Our packets through our nodes.

use proptest::prelude::*;
use sphinx::{
    Delay, Error, HEADER_LEN, MIN_PACKET_LEN, PAYLOAD_KEY_LEN, PayloadFault, RoutingFault, Surb,
    SurbFault, SurbRecovery, Version, build, build_into, process, recover_plaintext,
};

use crate::network::{Network, networks};

fn versions() -> impl Strategy<Value = Version> {
    prop_oneof![
        Just(Version::NYM_0_11),
        Just(Version::V257),
        Just(Version::V258),
        Just(Version::V259),
        Just(Version::V260),
        any::<u16>().prop_map(Version::later),
    ]
}

proptest! {
    #[test]
    fn packet_shows_each_hop_its_record_and_the_last_the_message(
        version in versions(),
        (mut network, message, payload_len) in networks(),
    ) {
        let mut packet = network.packet(version, &message, payload_len);
        prop_assert_eq!(packet.len(), HEADER_LEN + payload_len);
        for (index, key) in network.keys.iter().enumerate() {
            let peeled = process(version, key, &mut packet).unwrap();
            prop_assert_eq!(peeled, network.expected(index));
        }
        prop_assert_eq!(recover_plaintext(&packet[HEADER_LEN..]).unwrap(), message);
    }

    #[test]
    fn nodes_of_any_later_version_understand_all_later_versions(
        built in any::<u16>(),
        node in any::<u16>(),
        (mut network, message, payload_len) in networks(),
    ) {
        let mut packet = network.packet(Version::later(built), &message, payload_len);
        for key in &network.keys {
            process(Version::later(node), key, &mut packet).unwrap();
        }
        prop_assert_eq!(recover_plaintext(&packet[HEADER_LEN..]).unwrap(), message);
    }

    #[test]
    fn reply_reaches_the_owner_of_the_surb(
        version in prop_oneof![Just(Version::NYM_0_11), Just(Version::V259)],
        (mut network, message, payload_len) in networks(),
    ) {
        let (route, delays, destination) = (&network.route, &network.delays, &network.destination);
        let surb = Surb::build(version, route, delays, destination, &mut network.rng).unwrap();
        prop_assert_eq!(surb.payload_key_count(), route.len());
        let surb = Surb::from_bytes(version, &surb.to_bytes()).unwrap();
        prop_assert_eq!(surb.first_hop(), route[0].address);

        let mut packet = surb.use_surb(&message, payload_len).unwrap();
        for (index, key) in network.keys.iter().enumerate() {
            let peeled = process(version, key, &mut packet).unwrap();
            prop_assert_eq!(peeled, network.expected(index));
        }
        prop_assert_eq!(recover_plaintext(&packet[HEADER_LEN..]).unwrap(), message);
    }

    #[test]
    fn reply_of_version_260_is_noise_to_all_but_the_owner(
        (mut network, message, payload_len) in networks(),
    ) {
        let version = Version::V260;
        let (route, delays, destination) = (&network.route, &network.delays, &network.destination);
        let (surb, recovery) =
            Surb::build_recoverable(version, route, delays, destination, &mut network.rng).unwrap();
        prop_assert_eq!(surb.payload_key_count(), 1);
        let surb = Surb::from_bytes(version, &surb.to_bytes()).unwrap();
        let recovery = SurbRecovery::from_bytes(&recovery.to_bytes()).unwrap();
        prop_assert_eq!(*recovery.identifier(), destination.identifier);

        let mut packet = surb.use_surb(&message, payload_len).unwrap();
        for (index, key) in network.keys.iter().enumerate() {
            let peeled = process(version, key, &mut packet).unwrap();
            prop_assert_eq!(peeled, network.expected(index));
        }
        let payload = &mut packet[HEADER_LEN..];
        // On a route of one hop that hop is the replier's only layer.
        prop_assert_eq!(recover_plaintext(payload).is_ok(), route.len() == 1);
        prop_assert_eq!(recovery.recover_plaintext(payload).unwrap(), message);
    }

    #[test]
    fn any_bytes_are_a_packet_or_an_error(mut bytes in prop::collection::vec(any::<u8>(), 0..800)) {
        let network = Network::new(1, 1);
        let expected = if bytes.len() < MIN_PACKET_LEN {
            Error::InvalidPacket { found: bytes.len(), minimum: MIN_PACKET_LEN }
        } else {
            Error::InvalidHeader
        };
        prop_assert_eq!(process(Version::NYM_0_11, &network.keys[0], &mut bytes), Err(expected));
    }

    #[test]
    fn any_bytes_are_a_surb_or_an_error(
        version in versions(),
        bytes in prop::collection::vec(any::<u8>(), 0..800),
        payload_len in 0_usize..100,
    ) {
        if let Ok(surb) = Surb::from_bytes(version, &bytes) {
            prop_assert_eq!(surb.to_bytes().to_vec(), bytes);
            let _ = surb.first_hop();
            prop_assert_eq!(surb.use_surb(b"", payload_len).is_ok(), payload_len >= 33);
        }
    }

    #[test]
    fn any_bytes_are_recovery_material_or_an_error(
        bytes in prop::collection::vec(any::<u8>(), 0..130),
        mut payload in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        if let Ok(recovery) = SurbRecovery::from_bytes(&bytes) {
            prop_assert_eq!(recovery.to_bytes().to_vec(), bytes);
            prop_assert!(recovery.recover_plaintext(&mut payload).is_err());
        }
    }
}

#[test]
fn building_into_a_used_buffer_gives_the_same_packet() {
    let mut network = Network::new(3, 1);
    let mut same = Network::new(3, 1);
    let expected = network.packet(Version::NYM_0_11, b"hello", 100);
    let mut buffer = vec![0xee; HEADER_LEN + 100];
    let (route, delays) = (&same.route, &same.delays);
    let version = Version::NYM_0_11;
    build_into(
        version,
        route,
        delays,
        &same.destination,
        b"hello",
        &mut buffer,
        &mut same.rng,
    )
    .unwrap();
    assert_eq!(buffer, expected);
}

#[test]
fn equal_inputs_give_different_packets() {
    let mut network = Network::new(3, 1);
    let first = network.packet(Version::NYM_0_11, b"hello", 100);
    assert_ne!(first, network.packet(Version::NYM_0_11, b"hello", 100));
}

#[test]
fn message_may_have_17_bytes_less_than_the_payload() {
    let mut network = Network::new(2, 1);
    let Network {
        route,
        delays,
        destination,
        rng,
        ..
    } = &mut network;
    let version = Version::NYM_0_11;
    assert!(build(version, route, delays, destination, &[1; 83], 100, rng).is_ok());
    assert_eq!(
        build(version, route, delays, destination, &[1; 84], 100, rng),
        Err(Error::InvalidPayload(PayloadFault::MessageTooLong {
            found: 84,
            maximum: 83
        }))
    );
    assert_eq!(
        build(version, route, delays, destination, &[], 32, rng),
        Err(Error::InvalidPayload(PayloadFault::TooShort {
            found: 32,
            minimum: 33
        }))
    );
    assert!(build(version, route, delays, destination, &[], 33, rng).is_ok());
}

#[test]
fn buffer_without_room_for_a_payload_is_refused() {
    let mut network = Network::new(2, 1);
    let Network {
        route,
        delays,
        destination,
        rng,
        ..
    } = &mut network;
    for len in 0..HEADER_LEN + 33 {
        let mut buffer = vec![0; len];
        let built = build_into(
            Version::V260,
            route,
            delays,
            destination,
            &[],
            &mut buffer,
            rng,
        );
        assert!(
            matches!(
                built,
                Err(Error::InvalidPayload(PayloadFault::TooShort { .. }))
            ),
            "{len} bytes: {built:?}"
        );
    }
}

#[test]
fn unusable_routes_are_refused_by_all_builders() {
    let version = Version::NYM_0_11;
    let faults = [
        (
            0,
            0,
            RoutingFault::HopCount {
                found: 0,
                maximum: 5,
            },
        ),
        (
            6,
            6,
            RoutingFault::HopCount {
                found: 6,
                maximum: 5,
            },
        ),
        (
            3,
            2,
            RoutingFault::DelayCount {
                found: 2,
                expected: 3,
            },
        ),
        (
            3,
            4,
            RoutingFault::DelayCount {
                found: 4,
                expected: 3,
            },
        ),
    ];
    for (hops, delays, fault) in faults {
        let mut network = Network::new(hops, 1);
        network.delays = vec![Delay::ZERO; delays];
        let Network {
            route,
            delays,
            destination,
            rng,
            ..
        } = &mut network;
        assert_eq!(
            build(version, route, delays, destination, b"", 100, rng),
            Err(Error::InvalidRouting(fault))
        );
        assert_eq!(
            build_into(version, route, delays, destination, b"", &mut [0; 448], rng),
            Err(Error::InvalidRouting(fault))
        );
        let fault = Error::InvalidSurb(SurbFault::Route(fault));
        let surb = Surb::build(version, route, delays, destination, rng);
        assert_eq!(surb.unwrap_err(), fault);
        let surb = Surb::build_recoverable(Version::V260, route, delays, destination, rng);
        assert_eq!(surb.unwrap_err(), fault);
    }
}

#[test]
fn surbs_exist_in_three_versions_only() {
    let mut network = Network::new(3, 1);
    let Network {
        route,
        delays,
        destination,
        rng,
        ..
    } = &mut network;
    let mut build = |version| Surb::build(version, route, delays, destination, rng).map(drop);
    for number in [257, 258, 261, 1, 256] {
        let fault = Err(Error::InvalidSurb(SurbFault::Version { version: number }));
        let version = Version::later(number);
        assert_eq!(build(version), fault);
        assert_eq!(Surb::from_bytes(version, &[0; 396]).map(drop), fault);
    }
    let needs_recovery = Err(Error::InvalidSurb(SurbFault::NeedsRecovery {
        version: 260,
    }));
    assert_eq!(build(Version::V260), needs_recovery);

    for version in [Version::NYM_0_11, Version::V259] {
        let fault = Error::InvalidSurb(SurbFault::Version {
            version: version.number(),
        });
        let built = Surb::build_recoverable(version, route, delays, destination, rng);
        assert_eq!(built.unwrap_err(), fault);
    }
}

#[test]
fn identifier_of_a_recoverable_surb_is_not_zero() {
    let mut network = Network::new(3, 1);
    network.destination.identifier = [0; 16];
    let Network {
        route,
        delays,
        destination,
        rng,
        ..
    } = &mut network;
    let fault = Error::InvalidSurb(SurbFault::ZeroIdentifier);
    let built = Surb::build_recoverable(Version::V260, route, delays, destination, rng);
    assert_eq!(built.unwrap_err(), fault);
    assert_eq!(SurbRecovery::from_bytes(&[0; 32]).unwrap_err(), fault);
}

#[test]
fn surb_has_a_whole_number_of_keys() {
    let parses = |version, len| Surb::from_bytes(version, &vec![1; len]).is_ok();
    for len in (0..2000).filter(|&len| parses(Version::NYM_0_11, len)) {
        assert!(len > 380 && (len - 380) % PAYLOAD_KEY_LEN == 0, "{len}");
    }
    assert!(parses(Version::NYM_0_11, 572));
    assert!(parses(Version::NYM_0_11, 380 + 6 * PAYLOAD_KEY_LEN));
    for version in [Version::V259, Version::V260] {
        let lengths: Vec<_> = (0..2000).filter(|&len| parses(version, len)).collect();
        assert_eq!(lengths, [396, 412, 428, 444, 460]);
    }
    let recovery: Vec<_> = (0..200)
        .filter(|&len| SurbRecovery::from_bytes(&vec![1; len]).is_ok())
        .collect();
    assert_eq!(recovery, [32, 48, 64, 80, 96]);
}

#[test]
fn reply_that_does_not_fit_is_refused() {
    let mut network = Network::new(3, 1);
    let Network {
        route,
        delays,
        destination,
        rng,
        ..
    } = &mut network;
    let mut surb = || Surb::build(Version::NYM_0_11, route, delays, destination, rng).unwrap();
    assert!(surb().use_surb(&[1; 83], 100).is_ok());
    assert_eq!(
        surb().use_surb(&[1; 84], 100),
        Err(Error::InvalidPayload(PayloadFault::MessageTooLong {
            found: 84,
            maximum: 83
        }))
    );
    assert_eq!(
        surb().use_surb(&[], 32),
        Err(Error::InvalidPayload(PayloadFault::TooShort {
            found: 32,
            minimum: 33
        }))
    );
}

#[test]
fn debug_of_what_holds_keys_shows_nothing() {
    let mut network = Network::new(2, 1);
    let packet = network.packet(Version::V260, b"", 100);
    let Network {
        keys,
        route,
        delays,
        destination,
        rng,
        ..
    } = &mut network;
    let verified = sphinx::verify(Version::V260, &keys[0], &packet).unwrap();
    assert_eq!(format!("{verified:?}"), "VerifiedHeader { .. }");
    let (surb, recovery) =
        Surb::build_recoverable(Version::V260, route, delays, destination, rng).unwrap();
    assert_eq!(format!("{surb:?}"), "Surb { .. }");
    assert_eq!(format!("{recovery:?}"), "SurbRecovery { .. }");
}
