//! The address of a client, as people copy it.

use core::fmt;
use core::str::FromStr;

use sphinx::Destination;
use thiserror::Error;

use crate::keys::{
    IdentityPublicKey, KEY_LEN, KeyError, PublicKey, public_key_from_base58, public_key_from_slice,
    public_key_to_base58,
};

/// The address of a client: who it is, what to encrypt to, and the gateway that keeps its inbox.
///
/// ```text
/// bytes  identity key (32) ‖ encryption key (32) ‖ gateway identity key (32)      96 bytes
/// text   base58(identity) "." base58(encryption) "@" base58(gateway)
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Recipient {
    /// The client's Ed25519 identity; its gateway files messages under it.
    pub identity: IdentityPublicKey,
    /// The client's X25519 key, which fragments are encrypted to.
    pub encryption: PublicKey,
    /// The Ed25519 identity of the client's gateway, where the route ends.
    pub gateway: IdentityPublicKey,
}

impl Recipient {
    /// Length in bytes of the binary form.
    pub const LEN: usize = 3 * KEY_LEN;

    /// The binary form, 96 bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let parts = [
            self.identity.as_bytes(),
            self.encryption.as_bytes(),
            self.gateway.as_bytes(),
        ];
        for (byte, value) in bytes.iter_mut().zip(parts.into_iter().flatten()) {
            *byte = *value;
        }
        bytes
    }

    /// Reads the binary form.
    ///
    /// # Errors
    ///
    /// [`RecipientError::Length`] unless there are exactly 96 bytes, then the first of the three
    /// keys that is malformed. Every encryption key is well formed.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RecipientError> {
        let keys: &[u8; Self::LEN] = bytes
            .try_into()
            .map_err(|_| RecipientError::Length { found: bytes.len() })?;
        let (identity, rest) = keys.split_at(KEY_LEN);
        let (encryption, gateway) = rest.split_at(KEY_LEN);
        Ok(Self {
            identity: IdentityPublicKey::from_bytes(identity).map_err(RecipientError::Identity)?,
            encryption: public_key_from_slice(encryption).map_err(RecipientError::Encryption)?,
            gateway: IdentityPublicKey::from_bytes(gateway).map_err(RecipientError::Gateway)?,
        })
    }

    /// Where the last hop of a packet to this client delivers: its identity key and an all-zero
    /// SURB identifier.
    #[must_use]
    pub const fn sphinx_destination(&self) -> Destination {
        Destination {
            address: *self.identity.as_bytes(),
            identifier: [0; 16],
        }
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encryption = public_key_to_base58(&self.encryption);
        write!(f, "{}.{encryption}@{}", self.identity, self.gateway)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient({self})")
    }
}

impl FromStr for Recipient {
    type Err = RecipientError;

    /// Reads the text form; nothing is trimmed.
    fn from_str(text: &str) -> Result<Self, RecipientError> {
        let (client, gateway) = split_once_only(text, '@').ok_or(RecipientError::Shape)?;
        let (identity, encryption) = split_once_only(client, '.').ok_or(RecipientError::Shape)?;
        Ok(Self {
            identity: identity.parse().map_err(RecipientError::Identity)?,
            encryption: public_key_from_base58(encryption).map_err(RecipientError::Encryption)?,
            gateway: gateway.parse().map_err(RecipientError::Gateway)?,
        })
    }
}

/// Why text or bytes are not the address of a client.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecipientError {
    /// The binary form has another length than 96 bytes.
    #[error("a recipient has 96 bytes, found {found}")]
    Length {
        /// Bytes given.
        found: usize,
    },
    /// The text is not two keys joined by `.` and a third behind `@`.
    #[error("a recipient is written identity.encryption@gateway")]
    Shape,
    /// The first key is not an identity key.
    #[error("the identity key of the recipient is malformed")]
    Identity(#[source] KeyError),
    /// The second key is not an encryption key.
    #[error("the encryption key of the recipient is malformed")]
    Encryption(#[source] KeyError),
    /// The third key is not an identity key.
    #[error("the gateway key of the recipient is malformed")]
    Gateway(#[source] KeyError),
}

/// The two sides of the only `separator` in `text`.
fn split_once_only(text: &str, separator: char) -> Option<(&str, &str)> {
    text.split_once(separator)
        .filter(|(_, right)| !right.contains(separator))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::keys::IdentityKeyPair;

    fn recipient(seed: u8) -> Recipient {
        Recipient {
            identity: IdentityKeyPair::from_seed(&[seed; 32]).public_key(),
            encryption: PublicKey::from_bytes([seed.wrapping_add(1); 32]),
            gateway: IdentityKeyPair::from_seed(&[seed.wrapping_add(2); 32]).public_key(),
        }
    }

    #[test]
    fn destination_is_the_identity_without_identifier() {
        let recipient = recipient(1);
        let destination = recipient.sphinx_destination();
        assert_eq!(&destination.address, recipient.identity.as_bytes());
        assert_eq!(destination.identifier, [0; 16]);
    }

    #[test]
    fn separators_must_appear_exactly_once() {
        let text = recipient(1).to_string();
        for wrong in [
            text.replace('@', ""),
            text.replace('.', ""),
            text.replace('@', "@@"),
            text.replace('.', ".."),
        ] {
            assert_eq!(
                wrong.parse::<Recipient>(),
                Err(RecipientError::Shape),
                "{wrong}"
            );
        }
    }

    #[test]
    fn whitespace_is_not_trimmed() {
        let text = format!("{} ", recipient(1));
        assert_eq!(
            text.parse::<Recipient>(),
            Err(RecipientError::Gateway(KeyError::Base58))
        );
    }

    #[test]
    fn lengths_beside_96_are_refused() {
        let bytes = recipient(1).to_bytes();
        for found in [0, 95] {
            let error = RecipientError::Length { found };
            assert_eq!(Recipient::from_bytes(&bytes[..found]), Err(error));
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(
            Recipient::from_bytes(&longer),
            Err(RecipientError::Length { found: 97 })
        );
    }

    proptest! {
        #[test]
        fn both_forms_round_trip(seed: u8) {
            let recipient = recipient(seed);
            prop_assert_eq!(Recipient::from_bytes(&recipient.to_bytes()), Ok(recipient));
            prop_assert_eq!(recipient.to_string().parse(), Ok(recipient));
        }

        #[test]
        fn any_text_and_bytes_are_a_recipient_or_an_error(
            text in ".*(@.*)?",
            bytes in prop::collection::vec(any::<u8>(), 90..100),
        ) {
            let _ = text.parse::<Recipient>();
            let _ = Recipient::from_bytes(&bytes);
        }
    }
}
