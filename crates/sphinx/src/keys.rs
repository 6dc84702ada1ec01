//! X25519 keys and the secrets they agree on (RFC 7748).

use std::fmt;

use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::scalar_mult::{Integer, backend, clamp};

/// An X25519 public key: 32 bytes, any value is one.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// The key with these bytes (a u-coordinate, little-endian, bit 255 ignored).
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key's 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublicKey(")?;
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        f.write_str(")")
    }
}

/// An X25519 private key, wiped when dropped.
///
/// It is not `Clone` and prints nothing. A move may leave a copy of the bytes on the stack, which
/// wiping does not reach; keep a long-lived key in one place, behind a reference or an `Arc`.
#[derive(ZeroizeOnDrop)]
pub struct PrivateKey([u8; 32]);

impl PrivateKey {
    /// The key made of these 32 bytes, which are clamped first.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(clamp(bytes))
    }

    /// A fresh key; draws 32 bytes.
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.fill_bytes(bytes.as_mut_slice());
        Self::from_bytes(*bytes)
    }

    /// The key's 32 bytes, clamped, for storing it.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0)
    }

    /// The integer that the key is, for multiplying in a batch.
    pub(crate) fn integer(&self) -> &Integer {
        &self.0
    }

    /// The public key that belongs to this one.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(backend().mul_base_clamped(&self.0))
    }

    /// The secret shared with the owner of `their_key`: X25519.
    ///
    /// A key of low order gives 32 zero bytes; ask [`SharedSecret::is_contributory`] where that
    /// matters.
    pub fn diffie_hellman(&self, their_key: &PublicKey) -> SharedSecret {
        SharedSecret(backend().mul(&self.0, &their_key.0))
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateKey").finish_non_exhaustive()
    }
}

/// What two keys agree on: 32 bytes, wiped when dropped.
///
/// It is a point, not a key: derive keys from it.
#[derive(ZeroizeOnDrop)]
pub struct SharedSecret([u8; 32]);

impl SharedSecret {
    pub(crate) const fn from_point(point: [u8; 32]) -> Self {
        Self(point)
    }

    /// The secret's 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// False if the other side's public key had low order, so that the secret is 32 zero bytes
    /// whatever our key is.
    pub fn is_contributory(&self) -> bool {
        !bool::from(self.0.ct_eq(&[0; 32]))
    }
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedSecret").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    use super::*;

    #[test]
    fn both_sides_agree() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (a, b) = (
            PrivateKey::generate(&mut rng),
            PrivateKey::generate(&mut rng),
        );
        let (ab, ba) = (
            a.diffie_hellman(&b.public_key()),
            b.diffie_hellman(&a.public_key()),
        );
        assert_eq!(ab.as_bytes(), ba.as_bytes());
        assert!(ab.is_contributory());
    }

    #[test]
    fn stored_keys_are_clamped() {
        let key = PrivateKey::from_bytes([0xff; 32]);
        assert_eq!(key.to_bytes()[0], 0xf8);
        assert_eq!(key.to_bytes()[31], 0x7f);
        assert_eq!(PrivateKey::from_bytes([0; 32]).to_bytes()[31], 0x40);
        assert_eq!(
            PrivateKey::from_bytes(*key.to_bytes()).public_key(),
            key.public_key()
        );
    }

    #[test]
    fn key_of_low_order_is_told() {
        let key = PrivateKey::from_bytes([3; 32]);
        let secret = key.diffie_hellman(&PublicKey::from_bytes([0; 32]));
        assert!(!secret.is_contributory());
    }

    #[test]
    fn debug_of_secrets_shows_nothing() {
        let key = PrivateKey::from_bytes([3; 32]);
        assert_eq!(format!("{key:?}"), "PrivateKey { .. }");
        let secret = key.diffie_hellman(&key.public_key());
        assert_eq!(format!("{secret:?}"), "SharedSecret { .. }");
    }

    #[test]
    fn debug_of_a_public_key_is_hexadecimal() {
        let text = format!("{:?}", PublicKey::from_bytes([0xab; 32]));
        assert_eq!(text, format!("PublicKey({})", "ab".repeat(32)));
    }
}
