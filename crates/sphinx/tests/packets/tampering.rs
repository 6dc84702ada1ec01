//! Packets that somebody changed on their way.

use sphinx::{
    Error, HEADER_LEN, MAC_LEN, MIN_PACKET_LEN, MIN_PAYLOAD_LEN, PayloadFault, PrivateKey, Version,
    process, recover_plaintext, verify,
};

use crate::network::Network;

const VERSIONS: [Version; 3] = [Version::NYM_0_11, Version::V258, Version::V260];
/// Bit 255 of α, which carries nothing.
const TOP_BIT_OF_ALPHA: (usize, u8) = (31, 0x80);

#[test]
fn any_changed_bit_of_the_header_is_an_invalid_header() {
    for version in VERSIONS {
        let mut network = Network::new(3, 1);
        let packet = network.packet(version, b"hello", 64);
        for byte in 0..HEADER_LEN {
            for bit in (0..8).map(|shift| 1 << shift) {
                let mut changed = packet.clone();
                changed[byte] ^= bit;
                let result = process(version, &network.keys[0], &mut changed);
                if (byte, bit) == TOP_BIT_OF_ALPHA {
                    assert_eq!(result, Ok(network.expected(0)));
                } else {
                    assert_eq!(
                        result,
                        Err(Error::InvalidHeader),
                        "byte {byte}, bit {bit:#x}"
                    );
                }
            }
        }
    }
}

#[test]
fn replay_tag_does_not_change_with_the_bit_of_alpha_that_carries_nothing() {
    let mut network = Network::new(3, 1);
    let mut packet = network.packet(Version::NYM_0_11, b"hello", 64);
    let tag = *verify(Version::NYM_0_11, &network.keys[0], &packet)
        .unwrap()
        .mac();
    let (byte, bit) = TOP_BIT_OF_ALPHA;
    packet[byte] ^= bit;
    assert_eq!(
        *verify(Version::NYM_0_11, &network.keys[0], &packet)
            .unwrap()
            .mac(),
        tag
    );
}

#[test]
fn changed_payload_is_noticed_at_the_last_hop_only() {
    for version in VERSIONS {
        let mut network = Network::new(3, 1);
        let packet = network.packet(version, b"hello", 64);
        for byte in HEADER_LEN..packet.len() {
            let mut changed = packet.clone();
            changed[byte] ^= 1;
            for (index, key) in network.keys.iter().enumerate() {
                assert_eq!(
                    process(version, key, &mut changed),
                    Ok(network.expected(index))
                );
            }
            assert_eq!(
                recover_plaintext(&changed[HEADER_LEN..]),
                Err(Error::InvalidPayload(PayloadFault::NonZeroPrefix))
            );
        }
    }
}

#[test]
fn truncated_packet_is_refused_by_what_is_missing() {
    let mut network = Network::new(2, 1);
    let packet = network.packet(Version::NYM_0_11, b"hello", 64);
    for len in 0..packet.len() {
        let mut short = packet[..len].to_vec();
        let result = process(Version::NYM_0_11, &network.keys[0], &mut short);
        let expected = if len < MIN_PACKET_LEN {
            Err(Error::InvalidPacket {
                found: len,
                minimum: MIN_PACKET_LEN,
            })
        } else if len < HEADER_LEN + MIN_PAYLOAD_LEN {
            let found = len - HEADER_LEN;
            Err(Error::InvalidPayload(PayloadFault::TooShort {
                found,
                minimum: MIN_PAYLOAD_LEN,
            }))
        } else {
            Ok(network.expected(0))
        };
        assert_eq!(result, expected, "{len} bytes");
        if result.is_err() {
            assert_eq!(short, packet[..len], "a refused packet is left as it was");
        }
    }
}

#[test]
fn packet_for_another_node_is_an_invalid_header() {
    let mut network = Network::new(2, 1);
    let packet = network.packet(Version::NYM_0_11, b"hello", 64);
    for key in [&network.keys[1], &PrivateKey::from_bytes([1; 32])] {
        assert_eq!(
            process(Version::NYM_0_11, key, &mut packet.clone()),
            Err(Error::InvalidHeader)
        );
    }
}

#[test]
fn families_do_not_mix_beyond_the_first_hop() {
    let families = [
        (Version::NYM_0_11, Version::V257),
        (Version::V257, Version::NYM_0_11),
    ];
    for (built, processed) in families {
        let mut network = Network::new(3, 1);
        let mut packet = network.packet(built, b"hello", 64);
        assert_eq!(
            process(processed, &network.keys[0], &mut packet),
            Ok(network.expected(0))
        );
        assert_eq!(
            process(processed, &network.keys[1], &mut packet),
            Err(Error::InvalidHeader)
        );
    }
}

#[test]
fn verified_header_peels_no_other_packet() {
    let mut network = Network::new(2, 1);
    let packet = network.packet(Version::NYM_0_11, b"hello", 64);
    let mut other = network.packet(Version::NYM_0_11, b"hello", 64);
    let verified = |packet: &[u8]| verify(Version::NYM_0_11, &network.keys[0], packet).unwrap();
    assert_eq!(verified(&packet).mac()[..], packet[32..32 + MAC_LEN]);
    assert_eq!(
        verified(&packet).peel(&mut other),
        Err(Error::InvalidHeader)
    );
    assert_eq!(
        verified(&packet).peel(&mut packet.clone()[..364]),
        Err(Error::InvalidPacket {
            found: 364,
            minimum: 365
        })
    );
    assert_eq!(
        verified(&packet).peel(&mut packet.clone()),
        Ok(network.expected(0))
    );
}
