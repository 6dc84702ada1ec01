//! How a returning client shows that it knows the shared keys.
//!
//! The proof is one message: the client's identity key in clear and encrypted. Nothing ties it to
//! a connection and nothing authenticates it, so whoever reads it can repeat it, and whoever
//! knows the keystream of one IV (the all-zero IV of every data frame, for example) can forge
//! it. A gateway therefore refuses the all-zero IV and every IV that it has seen from this client
//! ([`Ledger::use_iv`](super::Ledger::use_iv)), and the link runs inside TLS where both sides can.

use std::fmt;

use nym_packet::keys::IdentityPublicKey;
use nym_packet::symmetric::{IV_LEN, ZERO_IV};
use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use thiserror::Error;

use super::control::Credentials;
use super::shared_keys::SharedKeys;

/// The name of a client at its gateway: the 32 bytes of its identity key.
///
/// It is what the final header of a packet carries. It need not be a valid key: a destination is
/// compared, never computed with.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ClientAddress([u8; Self::LEN]);

impl ClientAddress {
    /// Length in bytes.
    pub const LEN: usize = 32;

    /// Takes the 32 bytes as they are.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl From<IdentityPublicKey> for ClientAddress {
    fn from(key: IdentityPublicKey) -> Self {
        Self(*key.as_bytes())
    }
}

impl fmt::Debug for ClientAddress {
    /// Who talks to whom is what this network hides, so no log may show it by accident.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ClientAddress")
            .finish_non_exhaustive()
    }
}

/// A parsed `authenticate` request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuthenticateRequest {
    client: ClientAddress,
    encrypted: [u8; ClientAddress::LEN],
    iv: [u8; IV_LEN],
}

impl AuthenticateRequest {
    /// Makes a request with a fresh random IV.
    #[must_use]
    pub fn new<R>(client: ClientAddress, keys: &SharedKeys, rng: &mut R) -> Self
    where
        R: CryptoRng + ?Sized,
    {
        let mut iv = ZERO_IV;
        rng.fill_bytes(&mut iv);
        Self::with_iv(client, keys, iv)
    }

    /// Makes a request with the given IV, which must not have been used before.
    #[must_use]
    pub fn with_iv(client: ClientAddress, keys: &SharedKeys, iv: [u8; IV_LEN]) -> Self {
        let mut encrypted = *client.as_bytes();
        keys.apply_keystream(&iv, &mut encrypted);
        Self {
            client,
            encrypted,
            iv,
        }
    }

    /// Decodes the members of a request.
    ///
    /// # Errors
    ///
    /// The first member, in the order address, encrypted address, IV, that is not base58 of the
    /// right number of bytes (32, 32 and 16).
    pub fn from_credentials(credentials: &Credentials) -> Result<Self, CredentialsError> {
        let client = decode(&credentials.address).ok_or(CredentialsError::Address)?;
        let encrypted =
            decode(&credentials.enc_address).ok_or(CredentialsError::EncryptedAddress)?;
        let iv = decode(&credentials.iv).ok_or(CredentialsError::Iv)?;
        Ok(Self {
            client: ClientAddress(client),
            encrypted,
            iv,
        })
    }

    /// The members to send. Leading zero bytes become leading `1` characters.
    #[must_use]
    pub fn to_credentials(&self) -> Credentials {
        Credentials {
            address: bs58::encode(self.client.0).into_string(),
            enc_address: bs58::encode(self.encrypted).into_string(),
            iv: bs58::encode(self.iv).into_string(),
        }
    }

    /// Whether the sender knew `keys`, compared in constant time.
    #[must_use]
    pub fn verify(&self, keys: &SharedKeys) -> bool {
        Self::with_iv(self.client, keys, self.iv)
            .encrypted
            .ct_eq(&self.encrypted)
            .into()
    }

    /// Who the sender claims to be.
    #[must_use]
    pub const fn client(&self) -> ClientAddress {
        self.client
    }

    /// The IV of the encryption, 16 bytes.
    #[must_use]
    pub const fn iv(&self) -> &[u8; IV_LEN] {
        &self.iv
    }
}

/// Which member of an `authenticate` request is malformed. The texts go over the wire.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum CredentialsError {
    /// `address`.
    #[error("malformed destination address")]
    Address,
    /// `enc_address`.
    #[error("malformed encrypted address")]
    EncryptedAddress,
    /// `iv`.
    #[error("malformed iv")]
    Iv,
}

/// Decodes base58 of exactly `N` bytes.
///
/// Decoding takes quadratic time, so a text longer than any encoding of `N` bytes is not decoded.
fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() > 2 * N {
        return None;
    }
    bs58::decode(text).into_vec().ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(client: [u8; 32], iv: [u8; 16]) -> AuthenticateRequest {
        AuthenticateRequest::with_iv(ClientAddress(client), &SharedKeys::from_bytes(&[3; 32]), iv)
    }

    #[test]
    fn first_malformed_member_is_named() {
        let mut credentials = request([1; 32], [2; 16]).to_credentials();
        credentials.iv = "1".repeat(15);
        let error = |credentials: &_| AuthenticateRequest::from_credentials(credentials).err();
        assert_eq!(error(&credentials), Some(CredentialsError::Iv));
        credentials.enc_address = "1".repeat(33);
        assert_eq!(
            error(&credentials),
            Some(CredentialsError::EncryptedAddress)
        );
        credentials.address = "0".into();
        assert_eq!(error(&credentials), Some(CredentialsError::Address));
    }

    #[test]
    fn leading_zero_bytes_are_leading_ones() {
        let credentials = request([0; 32], [0; 16]).to_credentials();
        assert_eq!(credentials.address, "1".repeat(32));
        assert_eq!(credentials.iv, "1".repeat(16));
    }

    #[test]
    fn request_verifies_only_under_its_keys() {
        let request = request([1; 32], [2; 16]);
        assert!(request.verify(&SharedKeys::from_bytes(&[3; 32])));
        assert!(!request.verify(&SharedKeys::from_bytes(&[4; 32])));
    }

    proptest! {
        #[test]
        fn requests_survive_a_round_trip(client: [u8; 32], iv: [u8; 16]) {
            let request = request(client, iv);
            prop_assert_eq!(
                AuthenticateRequest::from_credentials(&request.to_credentials()),
                Ok(request)
            );
        }

        #[test]
        fn any_members_parse_or_are_refused(address in ".{0,80}", rest in "[1-9A-Za-z]{0,80}") {
            let credentials = Credentials { address, enc_address: rest.clone(), iv: rest };
            let _ = AuthenticateRequest::from_credentials(&credentials);
        }
    }
}
