//! The keys that name and protect participants.
//!
//! | Key | Curve | Whose |
//! |---|---|---|
//! | identity | Ed25519 | every client, mix node and gateway: its name |
//! | Sphinx key | X25519 | every node: opens its layer of a packet |
//! | encryption key | X25519 | every client: opens what is sent to it |
//!
//! Every public key is 32 bytes; its text form is base58 (Bitcoin alphabet, no checksum).

use core::fmt;
use core::str::FromStr;

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use rand_core::CryptoRng;
use thiserror::Error;
use zeroize::Zeroizing;

pub use sphinx::{PrivateKey, PublicKey};

/// Length in bytes of every public and private key.
pub const KEY_LEN: usize = 32;

/// Length in bytes of an Ed25519 signature.
pub const SIGNATURE_LEN: usize = 64;

/// The public half of an identity: an Ed25519 key (RFC 8032), 32 bytes.
///
/// The bytes are kept as they were given. They are known to decompress to a point of the curve,
/// and nothing else: small-order points and non-canonical encodings are accepted as *names*,
/// while [`verify`](Self::verify) accepts no signature under a small-order key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdentityPublicKey([u8; KEY_LEN]);

impl IdentityPublicKey {
    /// Takes exactly 32 bytes that decompress to a point of the curve.
    ///
    /// # Errors
    ///
    /// [`KeyError::Length`] for another number of bytes, [`KeyError::NotAPoint`] if they are not
    /// the encoding of a point.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let bytes = key_array(bytes)?;
        VerifyingKey::from_bytes(&bytes).map_err(|_| KeyError::NotAPoint)?;
        Ok(Self(bytes))
    }

    /// The 32 bytes, as given.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// Checks that the owner of this identity signed `message`.
    ///
    /// Follows RFC 8032 without cofactor and, on top of it, refuses small-order keys and
    /// commitments, under which one signature would fit many messages.
    ///
    /// # Errors
    ///
    /// [`InvalidSignature`], which does not tell why.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), InvalidSignature> {
        let key = VerifyingKey::from_bytes(&self.0).map_err(|_| InvalidSignature)?;
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        key.verify_strict(message, &signature)
            .map_err(|_| InvalidSignature)
    }
}

impl fmt::Display for IdentityPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bs58::encode(self.0).into_string())
    }
}

impl fmt::Debug for IdentityPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdentityPublicKey({self})")
    }
}

impl FromStr for IdentityPublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::from_bytes(&key_bytes_from_base58(text)?)
    }
}

/// An identity: an Ed25519 key pair. Wiped from memory when dropped.
pub struct IdentityKeyPair(SigningKey);

impl IdentityKeyPair {
    /// Draws a fresh identity.
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut seed = Zeroizing::new([0; KEY_LEN]);
        rng.fill_bytes(seed.as_mut_slice());
        Self::from_seed(&seed)
    }

    /// The identity that belongs to a 32-byte seed (RFC 8032's private key).
    #[must_use]
    pub fn from_seed(seed: &[u8; KEY_LEN]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The 32-byte seed, for a key file.
    #[must_use]
    pub fn seed(&self) -> Zeroizing<[u8; KEY_LEN]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> IdentityPublicKey {
        IdentityPublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs `message` (deterministic, as RFC 8032).
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.0.sign(message).to_bytes())
    }
}

impl fmt::Debug for IdentityKeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentityKeyPair")
            .field("public_key", &self.public_key())
            .finish_non_exhaustive()
    }
}

/// An Ed25519 signature, 64 bytes; any 64 bytes can be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature(pub [u8; SIGNATURE_LEN]);

impl Signature {
    /// Takes exactly 64 bytes.
    ///
    /// # Errors
    ///
    /// [`KeyError::Length`] for another number of bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let bytes = bytes.try_into().map_err(|_| KeyError::Length {
            expected: SIGNATURE_LEN,
            found: bytes.len(),
        })?;
        Ok(Self(bytes))
    }

    /// The 64 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; SIGNATURE_LEN] {
        &self.0
    }
}

impl fmt::Display for Signature {
    /// Base58, as all key material in text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bs58::encode(self.0).into_string())
    }
}

impl FromStr for Signature {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Ok(Self(array_from_base58(text)?))
    }
}

/// The base58 text of an X25519 public key.
#[must_use]
pub fn public_key_to_base58(key: &PublicKey) -> String {
    bs58::encode(key.as_bytes()).into_string()
}

/// Reads an X25519 public key from base58. Every 32 bytes are a key.
///
/// # Errors
///
/// [`KeyError::Base58`] for a character outside the alphabet, [`KeyError::Length`] if the text
/// does not stand for exactly 32 bytes.
pub fn public_key_from_base58(text: &str) -> Result<PublicKey, KeyError> {
    Ok(PublicKey::from_bytes(key_bytes_from_base58(text)?))
}

/// Takes an X25519 public key from exactly 32 bytes.
///
/// # Errors
///
/// [`KeyError::Length`] for another number of bytes.
pub fn public_key_from_slice(bytes: &[u8]) -> Result<PublicKey, KeyError> {
    Ok(PublicKey::from_bytes(key_array(bytes)?))
}

/// Why bytes or text are not a key or signature.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The text has a character that base58 does not use, or is far too long.
    #[error("not base58")]
    Base58,
    /// The number of bytes is not that of this kind of key.
    #[error("expected {expected} bytes, found {found}")]
    Length {
        /// Bytes of this kind of key.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// The bytes do not encode a point of the curve.
    #[error("not a point of the curve")]
    NotAPoint,
}

/// A signature does not verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("invalid signature")]
pub struct InvalidSignature;

fn key_array(bytes: &[u8]) -> Result<[u8; KEY_LEN], KeyError> {
    bytes.try_into().map_err(|_| KeyError::Length {
        expected: KEY_LEN,
        found: bytes.len(),
    })
}

fn key_bytes_from_base58(text: &str) -> Result<[u8; KEY_LEN], KeyError> {
    array_from_base58(text)
}

/// Decoding is quadratic in the length, so text that cannot fit is refused before it is decoded.
fn array_from_base58<const N: usize>(text: &str) -> Result<[u8; N], KeyError> {
    if text.len() > 2 * N {
        return Err(KeyError::Base58);
    }
    let bytes = bs58::decode(text)
        .into_vec()
        .map_err(|_| KeyError::Base58)?;
    let found = bytes.len();
    bytes
        .try_into()
        .map_err(|_| KeyError::Length { expected: N, found })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    fn identity() -> IdentityKeyPair {
        IdentityKeyPair::generate(&mut ChaCha20Rng::seed_from_u64(1))
    }

    #[test]
    fn signature_verifies_only_for_its_message_and_key() {
        let signer = identity();
        let signature = signer.sign(b"hello");
        let key = signer.public_key();
        assert_eq!(key.verify(b"hello", &signature), Ok(()));
        assert_eq!(key.verify(b"hellp", &signature), Err(InvalidSignature));
        let other = IdentityKeyPair::from_seed(&[3; 32]).public_key();
        assert_eq!(other.verify(b"hello", &signature), Err(InvalidSignature));
    }

    #[test]
    fn seed_restores_the_identity() {
        let original = identity();
        let restored = IdentityKeyPair::from_seed(&original.seed());
        assert_eq!(original.public_key(), restored.public_key());
    }

    #[test]
    fn debug_of_a_key_pair_shows_the_public_half_only() {
        let pair = identity();
        let shown = format!("{pair:?}");
        assert_eq!(
            shown,
            format!(
                "IdentityKeyPair {{ public_key: {:?}, .. }}",
                pair.public_key()
            )
        );
    }

    #[test]
    fn small_order_key_is_a_name_but_verifies_nothing() {
        let weak = IdentityPublicKey::from_bytes(&[0; 32]).unwrap();
        let mut forged = [0; 64];
        forged[..32].copy_from_slice(weak.as_bytes());
        assert_eq!(
            weak.verify(b"anything", &Signature(forged)),
            Err(InvalidSignature)
        );
    }

    #[test]
    fn bytes_that_are_no_point_are_refused() {
        let mut bytes = [0; 32];
        bytes[0] = 2;
        assert_eq!(
            IdentityPublicKey::from_bytes(&bytes),
            Err(KeyError::NotAPoint)
        );
    }

    #[test]
    fn lengths_beside_32_are_refused() {
        for found in [0, 31, 33] {
            let bytes = vec![0; found];
            let error = KeyError::Length {
                expected: 32,
                found,
            };
            assert_eq!(IdentityPublicKey::from_bytes(&bytes), Err(error.clone()));
            assert_eq!(public_key_from_slice(&bytes).err(), Some(error.clone()));
            let text = bs58::encode(&bytes).into_string();
            assert_eq!(public_key_from_base58(&text).err(), Some(error));
        }
    }

    #[test]
    fn overlong_text_is_refused_without_decoding() {
        assert_eq!(
            public_key_from_base58(&"2".repeat(65)).err(),
            Some(KeyError::Base58)
        );
    }

    proptest! {
        #[test]
        fn x25519_text_round_trips(bytes: [u8; 32]) {
            let key = PublicKey::from_bytes(bytes);
            let text = public_key_to_base58(&key);
            prop_assert_eq!(public_key_from_base58(&text), Ok(key));
        }

        #[test]
        fn identity_text_round_trips(seed: [u8; 32]) {
            let key = IdentityKeyPair::from_seed(&seed).public_key();
            prop_assert_eq!(key.to_string().parse::<IdentityPublicKey>(), Ok(key));
            prop_assert_eq!(IdentityPublicKey::from_bytes(key.as_bytes()), Ok(key));
        }

        #[test]
        fn signature_text_round_trips(bytes: [u8; 32], more: [u8; 32]) {
            let mut both = [0; 64];
            both[..32].copy_from_slice(&bytes);
            both[32..].copy_from_slice(&more);
            let signature = Signature(both);
            prop_assert_eq!(signature.to_string().parse::<Signature>(), Ok(signature));
        }

        #[test]
        fn any_text_is_a_key_or_an_error(text: String) {
            let _ = text.parse::<IdentityPublicKey>();
            let _ = text.parse::<Signature>();
            let _ = public_key_from_base58(&text);
        }
    }
}
