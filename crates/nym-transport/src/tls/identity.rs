//! Identity keys in the shape that TLS knows: RFC 7250 raw public keys.

use std::sync::Arc;

use nym_packet::keys::{IdentityKeyPair, IdentityPublicKey};
use rustls::crypto::aws_lc_rs::sign::any_eddsa_type;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

/// Length of an Ed25519 key in bytes, private or public.
const KEY_LEN: usize = 32;

/// What stands before the 32 bytes of an Ed25519 public key (RFC 8410, section 4): a
/// `SubjectPublicKeyInfo` with the algorithm 1.3.101.112 and a bit string.
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// What stands before the 32 bytes of an Ed25519 seed (RFC 8410, section 7): a `OneAsymmetricKey`
/// of version 0 with the same algorithm and the seed in two octet strings.
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// Length of a raw public key in bytes.
const SPKI_LEN: usize = SPKI_PREFIX.len() + KEY_LEN;

/// Length of a private key in bytes.
const PKCS8_LEN: usize = PKCS8_PREFIX.len() + KEY_LEN;

const _: () = assert!(SPKI_LEN == 44 && PKCS8_LEN == 48);
// The second byte of a DER sequence is the length of the rest.
const _: () = assert!(SPKI_PREFIX[1] as usize == SPKI_LEN - 2);
const _: () = assert!(PKCS8_PREFIX[1] as usize == PKCS8_LEN - 2);

/// What a node proves who it is with; clones are handles to the same key.
#[derive(Clone)]
pub struct TlsIdentity {
    public: IdentityPublicKey,
    key: Arc<CertifiedKey>,
}

impl TlsIdentity {
    /// The identity key, ready to sign handshakes.
    #[must_use]
    pub fn new(identity: &IdentityKeyPair) -> Self {
        let mut der = Zeroizing::new([0; PKCS8_LEN]);
        let (prefix, seed) = der.split_at_mut(PKCS8_PREFIX.len());
        prefix.copy_from_slice(&PKCS8_PREFIX);
        seed.copy_from_slice(&*identity.seed());
        let signer = any_eddsa_type(&PrivatePkcs8KeyDer::from(der.as_slice()))
            .expect("32 bytes behind the prefix of RFC 8410 are an Ed25519 key");
        let public = identity.public_key();
        let raw = CertificateDer::from(to_spki(&public).to_vec());
        Self {
            public,
            key: Arc::new(CertifiedKey::new(vec![raw], signer)),
        }
    }

    /// The key that others know this node by.
    #[must_use]
    pub const fn public_key(&self) -> &IdentityPublicKey {
        &self.public
    }

    pub(super) fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.key)
    }
}

impl std::fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsIdentity").finish_non_exhaustive()
    }
}

/// The raw public key of an identity.
fn to_spki(identity: &IdentityPublicKey) -> [u8; SPKI_LEN] {
    let mut der = [0; SPKI_LEN];
    let (prefix, key) = der.split_at_mut(SPKI_PREFIX.len());
    prefix.copy_from_slice(&SPKI_PREFIX);
    key.copy_from_slice(identity.as_bytes());
    der
}

/// The identity in a raw public key, if it is an Ed25519 key and a valid point.
pub(super) fn from_spki(der: &[u8]) -> Option<IdentityPublicKey> {
    let key = der.strip_prefix(&SPKI_PREFIX)?;
    IdentityPublicKey::from_bytes(key).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_raw_key_is_that_of_the_signing_key() {
        let pair = IdentityKeyPair::from_seed(&[7; 32]);
        let identity = TlsIdentity::new(&pair);
        let spki = identity.key.key.public_key().unwrap();
        assert_eq!(spki.as_ref(), to_spki(&pair.public_key()));
        assert_eq!(from_spki(spki.as_ref()), Some(pair.public_key()));
        assert_eq!(*identity.public_key(), pair.public_key());
    }

    #[test]
    fn debug_output_has_no_key() {
        let identity = TlsIdentity::new(&IdentityKeyPair::from_seed(&[7; 32]));
        assert_eq!(format!("{identity:?}"), "TlsIdentity { .. }");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_key_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = from_spki(&bytes);
            let _ = from_spki(&[&SPKI_PREFIX[..], &bytes].concat());
        }
    }
}
