//! How a value is encrypted.

use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use rand::rngs::StdRng;
use rand::{CryptoRng, Rng as _, SeedableRng as _};
use zeroize::Zeroizing;

/// Bytes of the key.
pub(super) const KEY_LEN: usize = 32;

/// Bytes of a nonce; with so many, random ones do not repeat.
const NONCE_LEN: usize = 24;

/// XChaCha20-Poly1305 with a random nonce for each value.
pub(super) struct Cipher {
    cipher: XChaCha20Poly1305,
    rng: StdRng,
}

impl Cipher {
    pub(super) fn new<R: CryptoRng>(key: &[u8; KEY_LEN], rng: &mut R) -> Self {
        Self {
            cipher: XChaCha20Poly1305::new(key.into()),
            rng: StdRng::from_rng(rng),
        }
    }

    /// Encrypts a value for the record of this name.
    pub(super) fn seal(&mut self, name: &[u8], value: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        self.rng.fill_bytes(&mut nonce);
        let payload = Payload {
            msg: value,
            aad: name,
        };
        let sealed = self
            .cipher
            .encrypt(&XNonce::from(nonce), payload)
            .expect("no value has the 256 GiB that are too long");
        [&nonce[..], &sealed].concat()
    }

    /// Decrypts a value; `None` unless it was encrypted with this key for the record of this name.
    pub(super) fn open(&self, name: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let payload = Payload {
            msg: sealed,
            aad: name,
        };
        let value = self.cipher.decrypt(&XNonce::from(*nonce), payload);
        value.ok().map(Zeroizing::new)
    }
}

#[cfg(test)]
mod tests {
    use nym_daemon::entropy;

    use super::*;

    #[test]
    fn a_value_opens_with_its_key_and_name_and_nothing_else() {
        let mut cipher = Cipher::new(&[1; KEY_LEN], &mut entropy());
        let sealed = cipher.seal(b"name", b"value");
        assert_eq!(cipher.open(b"name", &sealed).unwrap().as_slice(), b"value");
        assert!(cipher.open(b"other name", &sealed).is_none());
        let other = Cipher::new(&[2; KEY_LEN], &mut entropy());
        assert!(other.open(b"name", &sealed).is_none());
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert!(cipher.open(b"name", &changed).is_none(), "byte {index}");
            assert!(cipher.open(b"name", &sealed[..index]).is_none());
        }
        assert_ne!(cipher.seal(b"name", b"value"), sealed, "a nonce of its own");
    }
}
