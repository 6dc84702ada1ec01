//! The lanes against the crates that do the same one by one.

use blake2b_simd::Params;
use chacha20::{
    ChaCha20Legacy,
    cipher::{KeyIvInit, StreamCipher},
};
use proptest::prelude::*;

use crate::{
    hop_keys::{HopKeys, expand, mac_key},
    keys::SharedSecret,
    simd::Avx512,
};

const LANES: usize = Avx512::LANES;

/// Distinct bytes of any length.
fn bytes<const LEN: usize>(seed: u8) -> [u8; LEN] {
    std::array::from_fn(|i| seed.wrapping_mul(31) ^ i.to_le_bytes()[0].wrapping_mul(7))
}

#[test]
fn keystream_of_every_length_is_that_of_chacha20() {
    let Some(lanes) = Avx512::new() else { return };
    let key = bytes(1);
    let mut expected = vec![0x5a; 5_000];
    let mut data = expected.clone();
    ChaCha20Legacy::new(&key.into(), &[0; 8].into()).apply_keystream(&mut expected);
    for len in (0..1_100).chain(2_000..2_100).chain([4_096, 5_000]) {
        data.fill(0x5a);
        lanes.chacha20(&key, &mut data[..len]);
        assert!(data[..len] == expected[..len], "{len} bytes");
        assert!(data[len..].iter().all(|&byte| byte == 0x5a), "{len} bytes");
    }
}

#[test]
fn digests_of_every_length_are_those_of_blake2b() {
    let Some(lanes) = Avx512::new() else { return };
    let message: [u8; 1_200] = bytes(3);
    let keys: [[u8; 64]; LANES] = std::array::from_fn(|lane| bytes(lane.to_le_bytes()[0]));
    for len in 0..=300 {
        // Lanes end in different blocks, some of them before the longest begins its last one.
        let messages = [0, 1, 2, 3, 128, 256, 300, 900].map(|more| &message[..len + more]);
        let digests = lanes.blake2b(&keys.each_ref(), &messages);
        for ((key, message), digest) in keys.iter().zip(messages).zip(digests) {
            let expected = Params::new().hash_length(32).key(key).hash(message);
            assert_eq!(digest, expected.as_bytes(), "{} bytes", message.len());
        }
    }
}

proptest! {
    #[test]
    fn keys_and_macs_are_those_of_one_packet(
        secrets: [[u8; 32]; LANES], seeds: [u8; LANES],
    ) {
        let Some(lanes) = Avx512::new() else { return Ok(()) };
        let blocks = lanes.key_blocks(&secrets.each_ref());
        let routing_infos = seeds.map(bytes::<300>);
        let macs = lanes.header_macs(&blocks.each_ref().map(mac_key), &routing_infos.each_ref());
        for lane in 0..LANES {
            let secret = SharedSecret::from_point(secrets[lane]);
            prop_assert_eq!(&blocks[lane], &*expand(&secret));
            prop_assert_eq!(macs[lane], HopKeys::from_block(&blocks[lane]).header_mac(&routing_infos[lane]));
        }
    }
}
