//! The keys of one hop, all derived from the secret it shares with the sender.
//!
//! Budget: 37 SHA-256 compressions for the key block, 2 µs, in a batch with AVX-512 0.5 µs; later
//! versions expand the payload key's seed for 1.4 µs more.

use ctr::cipher::{KeyIvInit, StreamCipher};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::{
    keys::SharedSecret,
    lioness::TOGETHER,
    scalar_mult::{Backend, Integer, Point, clamp, reduce},
    sizes::{
        BLINDING_FACTOR_LEN, MAC_KEY_LEN, MAC_LEN, PAYLOAD_KEY_LEN, PAYLOAD_KEY_SEED_LEN,
        ROUTING_INFO_LEN, STREAM_CIPHER_KEY_LEN,
    },
    version::{Blinding, PayloadKeys, Version},
};

/// Bytes that HKDF makes of a shared secret.
pub(crate) const KEY_BLOCK_LEN: usize =
    STREAM_CIPHER_KEY_LEN + MAC_KEY_LEN + PAYLOAD_KEY_LEN + BLINDING_FACTOR_LEN;

/// The later versions' key block: the same, followed by a 32-byte replay tag that nothing uses.
pub(crate) const LATER_KEY_BLOCK_LEN: usize = KEY_BLOCK_LEN + 32;

/// The keys of one hop: ρ, μ, π and b of the paper, 256 bytes, wiped when dropped.
///
/// ```text
/// 0        16       32                    224             256
/// │ ρ      │ μ      │ π                   │ b             │
/// │ stream │ header │ payload             │ blinding      │
/// │ cipher │ MAC    │ (or its first 16    │ factor        │
/// │        │        │ bytes: a seed)      │               │
/// ```
#[derive(ZeroizeOnDrop)]
pub(crate) struct HopKeys {
    stream_cipher: [u8; STREAM_CIPHER_KEY_LEN],
    mac: [u8; MAC_KEY_LEN],
    payload: [u8; PAYLOAD_KEY_LEN],
    blinding_factor: [u8; BLINDING_FACTOR_LEN],
}

impl HopKeys {
    pub(crate) fn derive(secret: &SharedSecret) -> Self {
        Self::from_block(&expand(secret))
    }

    /// The keys that a key block consists of.
    pub(crate) fn from_block(block: &[u8; KEY_BLOCK_LEN]) -> Self {
        let mut keys = Self::zero();
        let (stream_cipher, rest) = block.split_at(STREAM_CIPHER_KEY_LEN);
        let (mac, rest) = rest.split_at(MAC_KEY_LEN);
        let (payload, blinding_factor) = rest.split_at(PAYLOAD_KEY_LEN);
        keys.stream_cipher.copy_from_slice(stream_cipher);
        keys.mac.copy_from_slice(mac);
        keys.payload.copy_from_slice(payload);
        keys.blinding_factor.copy_from_slice(blinding_factor);
        keys
    }

    /// The keys of each secret, at most [`TOGETHER`], side by side.
    pub(crate) fn derive_together(backend: Backend, secrets: &[Point], mut each: impl FnMut(Self)) {
        // One call for all lanes costs as much as the keys of three packets alone.
        #[cfg(target_arch = "x86_64")]
        if let Some(lanes) = backend.avx512()
            && (4..=TOGETHER).contains(&secrets.len())
        {
            let in_lanes = std::array::from_fn(|lane| secrets.get(lane).unwrap_or(&secrets[0]));
            let blocks = lanes.key_blocks(&in_lanes);
            blocks
                .iter()
                .take(secrets.len())
                .for_each(|block| each(Self::from_block(block)));
            return;
        }
        for secret in secrets {
            each(Self::derive(&SharedSecret::from_point(*secret)));
        }
    }

    /// [`header_mac`](Self::header_mac) of each β, at most [`TOGETHER`], side by side.
    pub(crate) fn header_macs_together(
        backend: Backend,
        sealed: &[(&Self, &[u8; ROUTING_INFO_LEN])],
        mut each: impl FnMut([u8; MAC_LEN]),
    ) {
        #[cfg(target_arch = "x86_64")]
        if let Some(lanes) = backend.avx512()
            && (4..=TOGETHER).contains(&sealed.len())
        {
            let in_lanes: [_; TOGETHER] =
                std::array::from_fn(|lane| sealed.get(lane).unwrap_or(&sealed[0]));
            let macs = lanes.header_macs(
                &in_lanes.map(|(keys, _)| &keys.mac),
                &in_lanes.map(|(_, routing_info)| *routing_info),
            );
            macs.into_iter().take(sealed.len()).for_each(each);
            return;
        }
        for (keys, routing_info) in sealed {
            each(keys.header_mac(routing_info.as_slice()));
        }
    }

    /// A place for keys, not yet any keys.
    pub(crate) const fn zero() -> Self {
        Self {
            stream_cipher: [0; STREAM_CIPHER_KEY_LEN],
            mac: [0; MAC_KEY_LEN],
            payload: [0; PAYLOAD_KEY_LEN],
            blinding_factor: [0; BLINDING_FACTOR_LEN],
        }
    }

    /// XORs the hop's AES-128-CTR keystream, from its start, onto `data`.
    pub(crate) fn apply_keystream(&self, data: &mut [u8]) {
        ctr::Ctr128BE::<aes::Aes128>::new(&self.stream_cipher.into(), &[0; 16].into())
            .apply_keystream(data);
    }

    /// γ: the first 16 bytes of HMAC-SHA256 over β.
    pub(crate) fn header_mac(&self, routing_info: &[u8]) -> [u8; MAC_LEN] {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.mac).expect("HMAC takes keys of any length");
        mac.update(routing_info);
        let digest: [u8; 32] = mac.finalize().into_bytes().into();
        *digest.first_chunk().expect("a digest has 32 bytes")
    }

    /// The scalar by which this hop blinds α.
    pub(crate) fn blinding_scalar(&self, blinding: Blinding) -> Zeroizing<Integer> {
        Zeroizing::new(match blinding {
            Blinding::Reduced => reduce(&self.blinding_factor),
            Blinding::Clamped => clamp(self.blinding_factor),
        })
    }

    /// The hop's LIONESS key by the rules of `version`.
    pub(crate) fn payload_key(&self, version: Version) -> Zeroizing<[u8; PAYLOAD_KEY_LEN]> {
        match version.payload_keys() {
            PayloadKeys::Whole => Zeroizing::new(self.payload),
            PayloadKeys::FromSeed => payload_key_from_seed(self.payload_key_seed()),
        }
    }

    pub(crate) fn payload_key_seed(&self) -> &[u8; PAYLOAD_KEY_SEED_LEN] {
        self.payload
            .first_chunk()
            .expect("a payload key is longer than a seed")
    }

    #[cfg(test)]
    pub(crate) fn blinding_factor(&self) -> &[u8; BLINDING_FACTOR_LEN] {
        &self.blinding_factor
    }
}

/// μ in a key block.
#[cfg(target_arch = "x86_64")]
pub(crate) fn mac_key(block: &[u8; KEY_BLOCK_LEN]) -> &[u8; MAC_KEY_LEN] {
    block[STREAM_CIPHER_KEY_LEN..]
        .first_chunk()
        .expect("a key block is longer than its first two keys")
}

/// HKDF-SHA256 of a shared secret, without salt.
pub(crate) fn expand<const LEN: usize>(secret: &SharedSecret) -> Zeroizing<[u8; LEN]> {
    let mut block = Zeroizing::new([0; LEN]);
    Hkdf::<Sha256>::new(None, secret.as_bytes())
        .expand(KEY_BLOCK_INFO, block.as_mut_slice())
        .expect("a key block is far below the limit of 8,160 bytes");
    block
}

/// The LIONESS key of a hop whose key block only holds a seed.
pub(crate) fn payload_key_from_seed(
    seed: &[u8; PAYLOAD_KEY_SEED_LEN],
) -> Zeroizing<[u8; PAYLOAD_KEY_LEN]> {
    let mut key = Zeroizing::new([0; PAYLOAD_KEY_LEN]);
    Hkdf::<Sha256>::new(Some(PAYLOAD_KEY_SALT), seed)
        .expand(PAYLOAD_KEY_INFO, key.as_mut_slice())
        .expect("a payload key is far below the limit of 8,160 bytes");
    key
}

/// Transliterated Greek for Archimedes' "Give me a place to stand, and I shall move the earth."
pub(crate) const KEY_BLOCK_INFO: &[u8; 97] =
    b"Dwste mou enan moxlo arketa makru kai ena upomoxlio \
    gia na ton topothetisw kai tha kinisw thn gh.";
const PAYLOAD_KEY_SALT: &[u8] = b"sphinx-payload-key-V01-CS01-HKDF:SHA256-SALT";
const PAYLOAD_KEY_INFO: &[u8] = b"sphinx-payload-key-V01-CS01-HKDF:SHA256-INFO";

const _: () = {
    assert!(KEY_BLOCK_LEN == 256);
    assert!(LATER_KEY_BLOCK_LEN == 288);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_key_block_begins_with_the_earlier_one() {
        let secret = SharedSecret::from_point([5; 32]);
        let long = expand::<LATER_KEY_BLOCK_LEN>(&secret);
        assert_eq!(long[..KEY_BLOCK_LEN], *expand::<KEY_BLOCK_LEN>(&secret));
    }

    #[test]
    fn scalar_is_clamped_only_in_later_versions() {
        let keys = HopKeys::derive(&SharedSecret::from_point([5; 32]));
        let clamped = keys.blinding_scalar(Blinding::Clamped);
        assert_eq!(clamped[0] & 7, 0);
        assert_eq!(*clamped, clamp(*keys.blinding_factor()));
        assert_eq!(
            *keys.blinding_scalar(Blinding::Reduced),
            reduce(keys.blinding_factor())
        );
    }
}
