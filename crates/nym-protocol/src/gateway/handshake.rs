//! Registration: a station-to-station key exchange over the websocket.
//!
//! ```text
//!  client (C, c)                                            gateway (G, g)
//!    | 1  C ‖ X                                      64 bytes  |
//!    |------------------------------------------------------->|
//!    | 2  Y ‖ CTR(ek, Sign(g, Y ‖ X))                96 bytes  |
//!    |<-------------------------------------------------------|
//!    | 3  CTR(ek, Sign(c, X ‖ Y))                    64 bytes  |
//!    |------------------------------------------------------->|
//!    | 4  1 for success                               1 byte   |
//!    |<-------------------------------------------------------|
//! ```
//!
//! C and G are Ed25519 identity keys, X and Y fresh X25519 keys. The X25519 secret expands to
//! the [`SharedKeys`], whose encryption key already hides the two signatures. Each side signs its
//! own fresh key first. The client must know G beforehand.
//!
//! Both sides skip everything that is not a [`HandshakeMessage`] while they wait, and a side that
//! fails tells the other why, unless it was the other that failed.
//!
//! An X or Y of low order would make the secret 32 zero bytes whatever the other key is, so that
//! everybody knew the keys. Both sides refuse it, although the 0.11 programs do not; those never
//! send one.

use std::fmt;
use std::sync::Arc;

use nym_packet::keys::{IdentityKeyPair, IdentityPublicKey, PrivateKey, PublicKey, Signature};
use nym_packet::symmetric::ZERO_IV;
use rand_core::CryptoRng;
use thiserror::Error;

use super::control::HandshakeMessage;
use super::shared_keys::SharedKeys;

/// Length in bytes of a public key of either kind.
const KEY_LEN: usize = 32;

/// Length in bytes of a signature.
const SIGNATURE_LEN: usize = 64;

/// The byte of message 4 that says that the handshake is complete.
const SUCCESS: u8 = 1;

/// What a handshake wants after it was given a message.
#[derive(Debug)]
pub enum Progress {
    /// Wait for the next message; this one was skipped.
    Waiting,
    /// Send this and wait for the next message.
    Send(HandshakeMessage),
    /// The keys are agreed on; send the message, if there is one, first.
    Done {
        /// The last message of the gateway; nothing for a client.
        send: Option<HandshakeMessage>,
        /// What was agreed on.
        keys: SharedKeys,
    },
    /// The handshake has failed; send the message, if there is one, and forget it.
    Failed {
        /// What to tell the other side.
        send: Option<HandshakeMessage>,
        /// What went wrong.
        error: HandshakeError,
    },
}

impl Progress {
    fn failed(error: HandshakeError) -> Self {
        let send = error.to_message();
        Self::Failed { send, error }
    }
}

/// Why a handshake ended without keys. The texts go over the wire.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The websocket was closed while a message was due.
    #[error("the stream was closed before completing handshake")]
    Closed,
    /// Message 3 is not 64 bytes.
    #[error("received key material of invalid length - {len}. Expected: 64")]
    InvalidMaterial {
        /// Length in bytes of what was received.
        len: usize,
    },
    /// The signature of the other side does not verify: it does not own the identity it claims,
    /// or somebody stands between.
    #[error("received invalid signature")]
    InvalidSignature,
    /// Message 1 is not an identity key and an ephemeral key.
    #[error("sent request was malformed")]
    MalformedRequest,
    /// Message 2 is not 96 bytes, or message 4 not the byte 0 or 1.
    #[error("received response was malformed:")]
    MalformedResponse,
    /// The sender, or all who share its address, have registered too often of late.
    #[error("too many registrations of late, try again later")]
    Throttled,
    /// The gateway reported a failure without a reason (message 4 is 0).
    #[error("unknown handshake failure")]
    Unknown,
    /// The other side's ephemeral key has low order, which makes the shared secret zero. Our own
    /// text: the network has no word for it.
    #[error("received ephemeral key of low order")]
    WeakKey,
    /// The other side gave up.
    #[error("error on the remote: {message}")]
    Remote {
        /// Its reason, as received.
        message: String,
    },
}

impl HandshakeError {
    /// What to tell the other side; nothing if it knows already.
    pub(super) fn to_message(&self) -> Option<HandshakeMessage> {
        match self {
            Self::Closed | Self::Remote { .. } => None,
            error => Some(HandshakeMessage::HandshakeError {
                message: error.to_string(),
            }),
        }
    }
}

/// The client's side of a registration.
pub struct ClientHandshake {
    identity: Arc<IdentityKeyPair>,
    gateway: IdentityPublicKey,
    ephemeral: PrivateKey,
    /// Set once message 3 is out and message 4 is due.
    keys: Option<SharedKeys>,
}

impl ClientHandshake {
    /// Starts a registration with the gateway of the given identity; returns message 1 as well.
    pub fn start<R>(
        identity: Arc<IdentityKeyPair>,
        gateway: IdentityPublicKey,
        rng: &mut R,
    ) -> (Self, HandshakeMessage)
    where
        R: CryptoRng + ?Sized,
    {
        let ephemeral = PrivateKey::generate(rng);
        let mut data = identity.public_key().as_bytes().to_vec();
        data.extend_from_slice(ephemeral.public_key().as_bytes());
        let handshake = Self {
            identity,
            gateway,
            ephemeral,
            keys: None,
        };
        (handshake, HandshakeMessage::HandshakePayload { data })
    }

    /// Takes a text message. After [`Progress::Done`] and [`Progress::Failed`] the handshake is
    /// over and must be dropped.
    pub fn handle_text(&mut self, text: &str) -> Progress {
        match HandshakeMessage::parse(text) {
            None => Progress::Waiting,
            Some(HandshakeMessage::HandshakeError { message }) => {
                Progress::failed(HandshakeError::Remote { message })
            }
            Some(HandshakeMessage::HandshakePayload { data }) => match self.keys.take() {
                None => self.handle_material(&data).unwrap_or_else(Progress::failed),
                Some(keys) => finish(&data, keys).unwrap_or_else(Progress::failed),
            },
        }
    }

    /// Message 2: derives the keys, checks the gateway, answers with message 3.
    fn handle_material(&mut self, data: &[u8]) -> Result<Progress, HandshakeError> {
        let (theirs, material) = data
            .split_first_chunk::<KEY_LEN>()
            .ok_or(HandshakeError::MalformedResponse)?;
        let material: &[u8; SIGNATURE_LEN] = material
            .try_into()
            .map_err(|_| HandshakeError::MalformedResponse)?;
        let theirs = PublicKey::from_bytes(*theirs);
        let keys = agree(&self.ephemeral, &theirs)?;
        let ours = self.ephemeral.public_key();
        verify_material(&keys, &self.gateway, &theirs, &ours, material)?;
        let data = sign_material(&keys, &self.identity, &ours, &theirs);
        self.keys = Some(keys);
        Ok(Progress::Send(HandshakeMessage::HandshakePayload { data }))
    }
}

impl fmt::Debug for ClientHandshake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ClientHandshake")
            .finish_non_exhaustive()
    }
}

/// Message 4, at the client.
fn finish(data: &[u8], keys: SharedKeys) -> Result<Progress, HandshakeError> {
    match data {
        [SUCCESS] => Ok(Progress::Done { send: None, keys }),
        [0] => Err(HandshakeError::Unknown),
        _ => Err(HandshakeError::MalformedResponse),
    }
}

/// The gateway's side of a registration, waiting for message 3.
pub struct GatewayHandshake {
    client: IdentityPublicKey,
    theirs: PublicKey,
    ours: PublicKey,
    keys: Option<SharedKeys>,
}

impl GatewayHandshake {
    /// Takes message 1 of a client; returns message 2 as well.
    ///
    /// # Errors
    ///
    /// [`HandshakeError::MalformedRequest`] unless `data` is a valid identity key (32 bytes) and
    /// an ephemeral key (32 bytes); [`HandshakeError::WeakKey`] if the latter has low order.
    pub fn accept<R>(
        identity: &IdentityKeyPair,
        data: &[u8],
        rng: &mut R,
    ) -> Result<(Self, HandshakeMessage), HandshakeError>
    where
        R: CryptoRng + ?Sized,
    {
        let (client, theirs) = data
            .split_at_checked(KEY_LEN)
            .ok_or(HandshakeError::MalformedRequest)?;
        let client =
            IdentityPublicKey::from_bytes(client).map_err(|_| HandshakeError::MalformedRequest)?;
        let theirs: [u8; KEY_LEN] = theirs
            .try_into()
            .map_err(|_| HandshakeError::MalformedRequest)?;
        let theirs = PublicKey::from_bytes(theirs);
        let ephemeral = PrivateKey::generate(rng);
        let ours = ephemeral.public_key();
        let keys = agree(&ephemeral, &theirs)?;
        let mut data = ours.as_bytes().to_vec();
        data.extend_from_slice(&sign_material(&keys, identity, &ours, &theirs));
        let handshake = Self {
            client,
            theirs,
            ours,
            keys: Some(keys),
        };
        Ok((handshake, HandshakeMessage::HandshakePayload { data }))
    }

    /// Who claims to register. Proven only by [`Progress::Done`].
    #[must_use]
    pub const fn client(&self) -> IdentityPublicKey {
        self.client
    }

    /// Takes a text message. After [`Progress::Done`] and [`Progress::Failed`] the handshake is
    /// over and must be dropped.
    pub fn handle_text(&mut self, text: &str) -> Progress {
        match HandshakeMessage::parse(text) {
            None => Progress::Waiting,
            Some(HandshakeMessage::HandshakeError { message }) => {
                Progress::failed(HandshakeError::Remote { message })
            }
            Some(HandshakeMessage::HandshakePayload { data }) => {
                self.handle_material(&data).unwrap_or_else(Progress::failed)
            }
        }
    }

    /// Message 3: checks the client, answers with message 4.
    fn handle_material(&mut self, data: &[u8]) -> Result<Progress, HandshakeError> {
        let material: &[u8; SIGNATURE_LEN] = data
            .try_into()
            .map_err(|_| HandshakeError::InvalidMaterial { len: data.len() })?;
        let keys = self.keys.take().ok_or(HandshakeError::Unknown)?;
        verify_material(&keys, &self.client, &self.theirs, &self.ours, material)?;
        let send = Some(HandshakeMessage::HandshakePayload {
            data: vec![SUCCESS],
        });
        Ok(Progress::Done { send, keys })
    }
}

impl fmt::Debug for GatewayHandshake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("GatewayHandshake")
            .finish_non_exhaustive()
    }
}

/// The keys of both sides. Whether the secret is zero is asked in constant time.
fn agree(own: &PrivateKey, theirs: &PublicKey) -> Result<SharedKeys, HandshakeError> {
    let secret = own.diffie_hellman(theirs);
    if !secret.is_contributory() {
        return Err(HandshakeError::WeakKey);
    }
    Ok(SharedKeys::derive(&secret))
}

/// The encrypted signature of one side over both ephemeral keys, its own first: 64 bytes.
fn sign_material(
    keys: &SharedKeys,
    identity: &IdentityKeyPair,
    own: &PublicKey,
    other: &PublicKey,
) -> Vec<u8> {
    let signature = identity.sign(&transcript(own, other));
    let mut material = signature.as_bytes().to_vec();
    keys.apply_keystream(&ZERO_IV, &mut material);
    material
}

/// Checks what [`sign_material`] made on the side that owns `signer` and `own`.
fn verify_material(
    keys: &SharedKeys,
    signer: &IdentityPublicKey,
    own: &PublicKey,
    other: &PublicKey,
    material: &[u8; SIGNATURE_LEN],
) -> Result<(), HandshakeError> {
    let mut signature = *material;
    keys.apply_keystream(&ZERO_IV, &mut signature);
    signer
        .verify(&transcript(own, other), &Signature(signature))
        .map_err(|_| HandshakeError::InvalidSignature)
}

fn transcript(first: &PublicKey, second: &PublicKey) -> [u8; 2 * KEY_LEN] {
    let mut bytes = [0; 2 * KEY_LEN];
    let (head, tail) = bytes.split_at_mut(KEY_LEN);
    head.copy_from_slice(first.as_bytes());
    tail.copy_from_slice(second.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    struct Parties {
        client: ClientHandshake,
        gateway: IdentityKeyPair,
        first: Vec<u8>,
        rng: ChaCha20Rng,
    }

    fn parties() -> Parties {
        let mut rng = ChaCha20Rng::seed_from_u64(11);
        let identity = Arc::new(IdentityKeyPair::generate(&mut rng));
        let gateway = IdentityKeyPair::generate(&mut rng);
        let (client, first) = ClientHandshake::start(identity, gateway.public_key(), &mut rng);
        let HandshakeMessage::HandshakePayload { data: first } = first else {
            panic!("message 1 carries keys")
        };
        Parties {
            client,
            gateway,
            first,
            rng,
        }
    }

    #[test]
    fn both_sides_agree_on_the_keys() {
        let Parties {
            mut client,
            gateway,
            first,
            mut rng,
        } = parties();
        let (mut server, second) = GatewayHandshake::accept(&gateway, &first, &mut rng).unwrap();
        let Progress::Send(third) = client.handle_text(&second.to_text()) else {
            panic!("message 3 is due")
        };
        let Progress::Done {
            send: Some(fourth),
            keys,
        } = server.handle_text(&third.to_text())
        else {
            panic!("the gateway has everything")
        };
        let Progress::Done {
            send: None,
            keys: client_keys,
        } = client.handle_text(&fourth.to_text())
        else {
            panic!("the client has everything")
        };
        assert_eq!(*keys.to_bytes(), *client_keys.to_bytes());
    }

    #[test]
    fn second_third_message_finds_no_keys() {
        let Parties {
            mut client,
            gateway,
            first,
            mut rng,
        } = parties();
        let (mut server, second) = GatewayHandshake::accept(&gateway, &first, &mut rng).unwrap();
        let Progress::Send(third) = client.handle_text(&second.to_text()) else {
            panic!("message 3 is due")
        };
        let third = third.to_text();
        assert!(matches!(server.handle_text(&third), Progress::Done { .. }));
        assert!(matches!(
            server.handle_text(&third),
            Progress::Failed { .. }
        ));
    }

    /// The encodings of points of small order on the curve and its twist: 0, 1, two of order 8,
    /// p - 1, and those of 0 and 1 that are not reduced (Curve25519 as RFC 7748, section 5, reads
    /// it, which ignores the top bit).
    const LOW_ORDER: [&str; 7] = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    ];

    #[test]
    fn g12_key_that_makes_the_secret_zero_is_refused_by_both_sides() {
        for point in LOW_ORDER {
            let point = hex::decode(point).unwrap();
            let Parties {
                mut client,
                gateway,
                first,
                mut rng,
            } = parties();
            let forged = [&first[..KEY_LEN], &point].concat();
            let refused = GatewayHandshake::accept(&gateway, &forged, &mut rng).err();
            assert_eq!(refused, Some(HandshakeError::WeakKey), "{point:?}");

            // An impostor without the gateway's key could do no better than this.
            let data = [&point[..], &[7; SIGNATURE_LEN]].concat();
            let second = HandshakeMessage::HandshakePayload { data };
            let Progress::Failed {
                send: Some(told),
                error,
            } = client.handle_text(&second.to_text())
            else {
                panic!("{point:?} is a key")
            };
            assert_eq!(error, HandshakeError::WeakKey, "{point:?}");
            let message = "received ephemeral key of low order".to_owned();
            assert_eq!(told, HandshakeMessage::HandshakeError { message });
        }
    }

    #[test]
    fn first_message_of_63_or_65_bytes_is_malformed() {
        let Parties {
            gateway,
            mut first,
            mut rng,
            ..
        } = parties();
        let accept = |data: &[u8], rng: &mut ChaCha20Rng| {
            GatewayHandshake::accept(&gateway, data, rng).err()
        };
        assert_eq!(accept(&first, &mut rng), None);
        assert_eq!(
            accept(&first[..63], &mut rng),
            Some(HandshakeError::MalformedRequest)
        );
        first.push(0);
        assert_eq!(
            accept(&first, &mut rng),
            Some(HandshakeError::MalformedRequest)
        );
    }

    proptest! {
        #[test]
        fn any_payload_is_answered_without_a_panic(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..130), 1..4),
        ) {
            let Parties { mut client, gateway, first, mut rng } = parties();
            let (mut server, _) = GatewayHandshake::accept(&gateway, &first, &mut rng).unwrap();
            for data in payloads {
                let _ = GatewayHandshake::accept(&gateway, &data, &mut rng);
                let text = HandshakeMessage::HandshakePayload { data }.to_text();
                for progress in [server.handle_text(&text), client.handle_text(&text)] {
                    let failed = matches!(progress, Progress::Failed { .. });
                    prop_assert!(failed);
                }
            }
        }
    }
}
