//! Encryption from client to client, inside the packet.
//!
//! ```text
//! ephemeral public key (32) ‖ AES-128-CTR(key, 0, fragment)
//! key = HKDF-BLAKE3(X25519(ephemeral key, encryption key of the recipient)), 16 bytes
//! ```
//!
//! The ephemeral key is fresh for each packet, also when a fragment is sent again. There is no
//! MAC: inside the mix network the packet protects it, but the recipient's gateway can flip bits
//! unnoticed. What decrypts is noise until it parses.

use rand_core::CryptoRng;
use sphinx::SharedSecret;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::geometry::PAYLOAD_PREFIX_LEN;
use crate::keys::{PrivateKey, PublicKey};
use crate::symmetric::{AES_KEY_LEN, ZERO_IV, aes128_ctr, hkdf_blake3};

/// Encrypts `plaintext` to the owner of `recipient`; gives 32 bytes more than it has. Draws the
/// ephemeral key, 32 bytes.
///
/// # Errors
///
/// [`PayloadError::WeakKey`] if the recipient's key has low order: anybody could read it.
pub fn encrypt<R: CryptoRng + ?Sized>(
    plaintext: &[u8],
    recipient: &PublicKey,
    rng: &mut R,
) -> Result<Vec<u8>, PayloadError> {
    let ephemeral = PrivateKey::generate(rng);
    let secret = ephemeral.diffie_hellman(recipient);
    encrypt_with(plaintext, &ephemeral.public_key(), &secret)
}

/// [`encrypt`], with an ephemeral key and what it agrees on with the recipient's.
pub(crate) fn encrypt_with(
    plaintext: &[u8],
    ephemeral: &PublicKey,
    secret: &SharedSecret,
) -> Result<Vec<u8>, PayloadError> {
    let key = payload_key(secret)?;
    let mut message = Vec::with_capacity(PAYLOAD_PREFIX_LEN + plaintext.len());
    message.extend_from_slice(ephemeral.as_bytes());
    message.extend_from_slice(plaintext);
    if let Some(encrypted) = message.get_mut(PAYLOAD_PREFIX_LEN..) {
        aes128_ctr(&key, &ZERO_IV, encrypted);
    }
    Ok(message)
}

/// Decrypts what was encrypted to `own_key`, and perhaps changed on its way.
///
/// # Errors
///
/// [`PayloadError::TooShort`] below 32 bytes, [`PayloadError::WeakKey`] if the sender's key has
/// low order, so that the secret is known to everybody.
pub fn decrypt(own_key: &PrivateKey, message: &[u8]) -> Result<Vec<u8>, PayloadError> {
    let (ephemeral, encrypted) =
        message
            .split_first_chunk::<PAYLOAD_PREFIX_LEN>()
            .ok_or(PayloadError::TooShort {
                found: message.len(),
            })?;
    let key = payload_key(&own_key.diffie_hellman(&PublicKey::from_bytes(*ephemeral)))?;
    let mut plaintext = encrypted.to_vec();
    aes128_ctr(&key, &ZERO_IV, &mut plaintext);
    Ok(plaintext)
}

/// Why something cannot be encrypted or decrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PayloadError {
    /// The bytes end inside the ephemeral key.
    #[error("an encrypted payload starts with a key of 32 bytes, found {found}")]
    TooShort {
        /// Bytes given.
        found: usize,
    },
    /// The other side's key has low order, which makes the shared secret zero.
    #[error("encryption key of low order")]
    WeakKey,
}

fn payload_key(secret: &SharedSecret) -> Result<Zeroizing<[u8; AES_KEY_LEN]>, PayloadError> {
    if !secret.is_contributory() {
        return Err(PayloadError::WeakKey);
    }
    let mut key = Zeroizing::new([0; AES_KEY_LEN]);
    hkdf_blake3(secret.as_bytes(), key.as_mut_slice());
    Ok(key)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    #[test]
    fn only_the_recipient_reads_it() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let bob = PrivateKey::generate(&mut rng);
        let eve = PrivateKey::generate(&mut rng);
        let message = encrypt(b"hello", &bob.public_key(), &mut rng).unwrap();
        assert_eq!(decrypt(&bob, &message).unwrap(), b"hello");
        assert_ne!(decrypt(&eve, &message).unwrap(), b"hello");
    }

    #[test]
    fn message_without_key_is_refused() {
        let bob = PrivateKey::from_bytes([1; 32]);
        assert_eq!(
            decrypt(&bob, &[9; 31]),
            Err(PayloadError::TooShort { found: 31 })
        );
        assert_eq!(decrypt(&bob, &[9; 32]), Ok(vec![]));
    }

    #[test]
    fn keys_of_low_order_are_refused_on_both_sides() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let zero = PublicKey::from_bytes([0; 32]);
        assert_eq!(
            encrypt(b"hello", &zero, &mut rng),
            Err(PayloadError::WeakKey)
        );
        let bob = PrivateKey::from_bytes([1; 32]);
        assert_eq!(decrypt(&bob, &[0; 40]), Err(PayloadError::WeakKey));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn payloads_round_trip(plaintext in prop::collection::vec(any::<u8>(), 0..2000), seed: u64) {
            let mut rng = ChaCha20Rng::seed_from_u64(seed);
            let bob = PrivateKey::generate(&mut rng);
            let message = encrypt(&plaintext, &bob.public_key(), &mut rng)?;
            prop_assert_eq!(message.len(), plaintext.len() + 32);
            prop_assert_eq!(decrypt(&bob, &message), Ok(plaintext));
        }

        #[test]
        fn any_bytes_decrypt_or_give_an_error(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = decrypt(&PrivateKey::from_bytes([1; 32]), &bytes);
        }
    }
}
