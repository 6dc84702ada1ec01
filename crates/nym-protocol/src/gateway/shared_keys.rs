//! The keys that a client and its gateway share, and the frames sealed with them.

use std::fmt;

use nym_packet::symmetric::{self, IV_LEN, ZERO_IV};
use sphinx::SharedSecret;
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::{ZeroizeOnDrop, Zeroizing};

/// Length of either key in bytes.
const KEY_LEN: usize = 16;

/// Bytes that [`SharedKeys::seal`] adds to a plaintext: the MAC, HMAC over BLAKE3.
pub const FRAME_OVERHEAD: usize = 32;

/// What registration agrees on: an AES-128 key and a MAC key, 32 bytes together.
///
/// # Security
///
/// Every data frame of both directions, and both handshake signatures, are encrypted in counter
/// mode under the *same* key and the *same* all-zero IV. An observer who knows one plaintext
/// reads all the others. The network fixed this layout, so it is kept; frames travel inside TLS
/// between our own programs, and nothing else may ever be encrypted with these keys. The MAC is
/// sound.
#[derive(ZeroizeOnDrop)]
pub struct SharedKeys {
    encryption: [u8; KEY_LEN],
    mac: [u8; KEY_LEN],
}

impl SharedKeys {
    /// Length in bytes of both keys together, as they are stored.
    pub const LEN: usize = 2 * KEY_LEN;

    /// Takes stored keys: 16 bytes for encryption, then 16 for the MAC.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Self {
        let mut keys = Self {
            encryption: [0; KEY_LEN],
            mac: [0; KEY_LEN],
        };
        let (encryption, mac) = bytes.split_at(KEY_LEN);
        keys.encryption.copy_from_slice(encryption);
        keys.mac.copy_from_slice(mac);
        keys
    }

    /// Expands the X25519 secret of a handshake.
    pub(super) fn derive(secret: &SharedSecret) -> Self {
        let mut expanded = Zeroizing::new([0; Self::LEN]);
        symmetric::hkdf_blake3(secret.as_bytes(), expanded.as_mut_slice());
        Self::from_bytes(&expanded)
    }

    /// The 32 bytes to store: encryption key, then MAC key.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; Self::LEN]> {
        let mut bytes = Zeroizing::new([0; Self::LEN]);
        let (encryption, mac) = bytes.split_at_mut(KEY_LEN);
        encryption.copy_from_slice(&self.encryption);
        mac.copy_from_slice(&self.mac);
        bytes
    }

    /// Seals a data frame: MAC (32 bytes), then the ciphertext, as long as `plaintext`.
    #[must_use]
    pub fn seal(&self, plaintext: &[u8]) -> Vec<u8> {
        let mut frame = Vec::with_capacity(FRAME_OVERHEAD + plaintext.len());
        frame.resize(FRAME_OVERHEAD, 0);
        frame.extend_from_slice(plaintext);
        let (mac, ciphertext) = frame.split_at_mut(FRAME_OVERHEAD);
        self.apply_keystream(&ZERO_IV, ciphertext);
        mac.copy_from_slice(&symmetric::hmac_blake3(&self.mac, &[ciphertext]));
        frame
    }

    /// Opens a data frame and returns its plaintext.
    ///
    /// # Errors
    ///
    /// [`FrameError::TooShort`] for fewer than 32 bytes, [`FrameError::InvalidMac`] when the MAC
    /// (compared in constant time) does not fit.
    pub fn open(&self, frame: &[u8]) -> Result<Vec<u8>, FrameError> {
        let (mac, ciphertext) = frame
            .split_first_chunk::<FRAME_OVERHEAD>()
            .ok_or(FrameError::TooShort)?;
        if !bool::from(symmetric::hmac_blake3(&self.mac, &[ciphertext]).ct_eq(mac)) {
            return Err(FrameError::InvalidMac);
        }
        let mut plaintext = ciphertext.to_vec();
        self.apply_keystream(&ZERO_IV, &mut plaintext);
        Ok(plaintext)
    }

    /// Encrypts or decrypts in place with AES-128 in counter mode.
    ///
    /// The counter is the low half of the block, big-endian, and wraps without a carry.
    pub(super) fn apply_keystream(&self, iv: &[u8; IV_LEN], bytes: &mut [u8]) {
        symmetric::aes128_ctr(&self.encryption, iv, bytes);
    }
}

impl fmt::Debug for SharedKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SharedKeys").finish_non_exhaustive()
    }
}

/// Why a data frame was not opened. The texts are those that go over the wire.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum FrameError {
    /// The frame has no room for a MAC.
    #[error("the request is too short")]
    TooShort,
    /// The frame was not sealed with these keys, or it was changed.
    #[error("provided MAC is invalid")]
    InvalidMac,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys() -> SharedKeys {
        SharedKeys::from_bytes(&[7; SharedKeys::LEN])
    }

    #[test]
    fn frame_of_31_bytes_is_too_short_and_of_32_has_a_wrong_mac() {
        assert_eq!(keys().open(&[0; 31]), Err(FrameError::TooShort));
        assert_eq!(keys().open(&[0; 32]), Err(FrameError::InvalidMac));
    }

    #[test]
    fn debug_output_shows_no_key() {
        assert_eq!(format!("{:?}", keys()), "SharedKeys { .. }");
    }

    proptest! {
        #[test]
        fn sealed_frame_opens_and_a_changed_one_does_not(
            plaintext in prop::collection::vec(any::<u8>(), 0..300),
            at in any::<prop::sample::Index>(),
            bit in 0_u32..8,
        ) {
            let mut frame = keys().seal(&plaintext);
            prop_assert_eq!(keys().open(&frame), Ok(plaintext));
            let at = at.index(frame.len());
            frame[at] ^= 1_u8 << bit;
            prop_assert_eq!(keys().open(&frame), Err(FrameError::InvalidMac));
        }

        #[test]
        fn any_bytes_are_refused(frame in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(keys().open(&frame).is_err());
        }
    }
}
