//! The symmetric primitives that Nym uses above Sphinx: AES-128 in counter mode, and HMAC and
//! HKDF over BLAKE3.
//!
//! None of it authenticates by itself except [`hmac_blake3`]; the wire format leaves payloads,
//! acknowledgements and replies without a MAC, so a caller must treat what it decrypts as noise
//! until it parses.

use aes::Aes128;
use ctr::Ctr64BE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use zeroize::{Zeroize, Zeroizing};

/// Length in bytes of an AES-128 key.
pub const AES_KEY_LEN: usize = 16;

/// Length in bytes of a counter block.
pub const IV_LEN: usize = 16;

/// The all-zero counter block that keys used once start with.
pub const ZERO_IV: [u8; IV_LEN] = [0; IV_LEN];

/// Block length in bytes that HMAC pads keys to when it runs over BLAKE3.
const HMAC_BLOCK_LEN: usize = 64;

/// Encrypts or decrypts `data` in place with AES-128 in counter mode (NIST SP 800-38A).
///
/// Only the *low 64 bits* of the counter block count, big-endian; they wrap without a carry into
/// the high half. With a random counter block that differs from the 128-bit counter once in
/// 2^64 / blocks messages, and then it matters.
///
/// # Panics
///
/// If `data` is longer than the 2^64 blocks of one key stream, which no memory can hold.
pub fn aes128_ctr(key: &[u8; AES_KEY_LEN], iv: &[u8; IV_LEN], data: &mut [u8]) {
    Ctr64BE::<Aes128>::new(key.into(), iv.into()).apply_keystream(data);
}

/// HMAC (RFC 2104) over plain, unkeyed BLAKE3, of the concatenation of `parts`: 32 bytes.
///
/// This is not BLAKE3's own keyed mode. Keys longer than 64 bytes are hashed first.
#[must_use]
pub fn hmac_blake3(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut block = Zeroizing::new([0_u8; HMAC_BLOCK_LEN]);
    let digest;
    let key = if key.len() > HMAC_BLOCK_LEN {
        digest = Zeroizing::new(*blake3::hash(key).as_bytes());
        digest.as_slice()
    } else {
        key
    };
    for (byte, key_byte) in block.iter_mut().zip(key) {
        *byte = *key_byte;
    }

    let mut inner = blake3::Hasher::new();
    inner.update(&*Zeroizing::new(block.map(|byte| byte ^ 0x36)));
    for part in parts {
        inner.update(part);
    }
    let mut outer = blake3::Hasher::new();
    outer.update(&*Zeroizing::new(block.map(|byte| byte ^ 0x5c)));
    outer.update(inner.finalize().as_bytes());
    *outer.finalize().as_bytes()
}

/// HKDF (RFC 5869) over [`hmac_blake3`], without salt and with empty info; fills `output`.
///
/// # Panics
///
/// If `output` is longer than the 8,160 bytes (255 blocks) that HKDF can give. Every caller
/// asks for a constant 16 or 32.
pub fn hkdf_blake3(input_key: &[u8], output: &mut [u8]) {
    assert!(output.len() <= 255 * 32, "HKDF gives at most 255 blocks");
    let extracted = Zeroizing::new(hmac_blake3(&[], &[input_key]));
    let mut previous = Zeroizing::new([0_u8; 32]);
    for (index, chunk) in (1_u8..).zip(output.chunks_mut(32)) {
        let seen: &[u8] = if index == 1 { &[] } else { previous.as_slice() };
        let mut block = hmac_blake3(extracted.as_slice(), &[seen, &[index]]);
        for (byte, block_byte) in chunk.iter_mut().zip(block) {
            *byte = block_byte;
        }
        *previous = block;
        block.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counter_wraps_within_its_low_half() {
        let key = [7; 16];
        let mut high_half = [0x11; IV_LEN];
        high_half[8..].fill(0xff);
        let mut two_blocks = [0; 32];
        aes128_ctr(&key, &high_half, &mut two_blocks);

        let mut wrapped = [0x11; IV_LEN];
        wrapped[8..].fill(0);
        let mut second_block = [0; 16];
        aes128_ctr(&key, &wrapped, &mut second_block);
        assert_eq!(two_blocks[16..], second_block);
    }

    #[test]
    fn hmac_takes_parts_as_one_concatenation() {
        let whole = hmac_blake3(b"key", &[b"hello world"]);
        assert_eq!(whole, hmac_blake3(b"key", &[b"hello", b"", b" world"]));
        assert_ne!(whole, hmac_blake3(b"kez", &[b"hello world"]));
    }

    #[test]
    fn hmac_hashes_keys_longer_than_a_block() {
        let exact = [9; HMAC_BLOCK_LEN];
        let long = [9; HMAC_BLOCK_LEN + 1];
        assert_eq!(
            hmac_blake3(&long, &[b"m"]),
            hmac_blake3(blake3::hash(&long).as_bytes(), &[b"m"])
        );
        assert_ne!(
            hmac_blake3(&exact, &[b"m"]),
            hmac_blake3(blake3::hash(&exact).as_bytes(), &[b"m"])
        );
    }

    #[test]
    fn shorter_hkdf_output_is_a_prefix_of_longer() {
        let mut long = [0; 100];
        hkdf_blake3(b"secret", &mut long);
        for len in [0, 16, 32, 33, 64, 99] {
            let mut short = vec![0; len];
            hkdf_blake3(b"secret", &mut short);
            assert_eq!(short, long[..len], "{len} bytes");
        }
    }
}
