//! Answers to somebody whose address one does not know.
//!
//! Alice puts a [`ReplySurb`] into her message: a ready-made header that leads to her gateway, and
//! a key. Bob encrypts his answer under that key and sends it with that header; he learns nothing
//! about her but the first node. What reaches Alice starts with the digest of the key, by which
//! she finds it again.
//!
//! ```text
//! ReplySurb  reply key (16) ‖ Sphinx header (348) ‖ first hop (32) ‖ payload key (192) per hop
//! content    message ‖ 1 ‖ 0 …             1,611 bytes in a regular packet
//! delivered  digest (32) ‖ AES-128-CTR(reply key, 0, content)
//! ```

use core::fmt;
use core::str::FromStr;

use rand_core::CryptoRng;
use sphinx::{Delay, Destination, HEADER_LEN, NODE_ADDRESS_LEN, PAYLOAD_KEY_LEN, Surb, Version};
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::address::{AddressError, HopAddress};
use crate::frame::PacketMode;
use crate::geometry::{PAYLOAD_PREFIX_LEN, PacketSize, ROUTE_HOPS};
use crate::message::{pad, strip_padding};
use crate::mix_packet::MixPacket;
use crate::route::Route;
use crate::symmetric::{AES_KEY_LEN, ZERO_IV, aes128_ctr};

/// Length in bytes of a reply SURB over the normal route of four hops; the only one that can
/// stand in a message.
pub const REPLY_SURB_LEN: usize = AES_KEY_LEN + SURB_FIXED_LEN + ROUTE_HOPS * PAYLOAD_KEY_LEN;

/// Bytes of a Sphinx SURB before the payload keys: header and first hop.
const SURB_FIXED_LEN: usize = HEADER_LEN + NODE_ADDRESS_LEN;

/// The longest text that is decoded, in bytes: far more than the 1,590 or so of a SURB over four
/// hops. Decoding base58 takes time quadratic in the length.
const MAX_TEXT_LEN: usize = 4096;

const _: () = assert!(REPLY_SURB_LEN == 1164);

/// Decrypts a delivered reply, digest included, and cuts off its padding.
///
/// There is no integrity check: whoever could change the packet at the gateway changes the same
/// bits of the message.
///
/// # Errors
///
/// [`ReplyError::DigestLength`] below the 32 bytes of the digest, [`ReplyError::MissingEnd`] if no
/// byte 1 marks the end of the message.
pub fn decrypt(key: &ReplyKey, delivered: &[u8]) -> Result<Vec<u8>, ReplyError> {
    let (_, encrypted) =
        delivered
            .split_first_chunk::<PAYLOAD_PREFIX_LEN>()
            .ok_or(ReplyError::DigestLength {
                found: delivered.len(),
            })?;
    let mut content = encrypted.to_vec();
    aes128_ctr(&key.0, &ZERO_IV, &mut content);
    let len = strip_padding(&content).ok_or(ReplyError::MissingEnd)?.len();
    content.truncate(len);
    Ok(content)
}

/// The AES-128 key of one reply. Both ends have it, and each should use it once.
///
/// Wiped when dropped; comparison takes the same time whatever differs.
#[derive(ZeroizeOnDrop)]
pub struct ReplyKey([u8; AES_KEY_LEN]);

impl ReplyKey {
    /// Length in bytes.
    pub const LEN: usize = AES_KEY_LEN;

    /// Draws a key.
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut bytes = [0; AES_KEY_LEN];
        rng.fill_bytes(&mut bytes);
        Self::from_bytes(bytes)
    }

    /// The key with these 16 bytes, which are wiped here; the caller's copy is not.
    #[must_use]
    pub fn from_bytes(mut bytes: [u8; AES_KEY_LEN]) -> Self {
        let key = Self(bytes);
        bytes.zeroize();
        key
    }

    /// The 16 bytes, for the store that waits for the reply.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; AES_KEY_LEN]> {
        Zeroizing::new(self.0)
    }

    /// What a reply under this key is recognised by: BLAKE3 of the 16 bytes.
    #[must_use]
    pub fn digest(&self) -> KeyDigest {
        KeyDigest(*blake3::hash(&self.0).as_bytes())
    }

    /// Encrypts a reply as it will be delivered: digest, then the padded and encrypted message.
    ///
    /// # Errors
    ///
    /// [`ReplyError::TooLong`] if the message does not fit a packet of this size.
    pub fn encrypt(&self, message: &[u8], size: PacketSize) -> Result<Vec<u8>, ReplyError> {
        let max = size.reply_len_max();
        if message.len() > max {
            return Err(ReplyError::TooLong {
                found: message.len(),
                max,
            });
        }
        let mut content = pad(message, size.fragment_len());
        aes128_ctr(&self.0, &ZERO_IV, &mut content);
        Ok([self.digest().as_bytes(), content.as_slice()].concat())
    }

    fn duplicate(&self) -> Self {
        Self(self.0)
    }
}

impl ConstantTimeEq for ReplyKey {
    fn ct_eq(&self, other: &Self) -> subtle::Choice {
        self.0.ct_eq(&other.0)
    }
}

impl fmt::Debug for ReplyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplyKey").finish_non_exhaustive()
    }
}

/// The digest of a reply key, 32 bytes: public, and the key of the table of awaited replies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyDigest([u8; PAYLOAD_PREFIX_LEN]);

impl KeyDigest {
    /// The digest with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; PAYLOAD_PREFIX_LEN]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; PAYLOAD_PREFIX_LEN] {
        &self.0
    }

    /// The digest that something delivered starts with, if it is a reply; `None` below 32 bytes.
    ///
    /// If no reply with this digest is awaited, the delivery is an ordinary one.
    #[must_use]
    pub fn of_reply(delivered: &[u8]) -> Option<Self> {
        delivered.first_chunk().map(|digest| Self(*digest))
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyDigest({})", bs58::encode(self.0).into_string())
    }
}

/// A single-use permission to answer, made by the one who wants the answer.
///
/// Whoever holds it can read the reply and recognise it at every hop, so it goes only to the
/// replier, inside an encrypted message. Applications get it as base58 text. Using it twice would
/// send two packets with one header, so [`apply`](Self::apply) consumes it.
pub struct ReplySurb {
    key: ReplyKey,
    surb: Surb,
}

impl ReplySurb {
    /// Makes a reply SURB that leads along `route` to `owner`, whose gateway ends the route.
    ///
    /// Draws the reply key (16 bytes), then what [`Surb::build`] draws.
    ///
    /// # Errors
    ///
    /// [`ReplyError::Sphinx`] if there is not one delay per hop.
    pub fn build<R: CryptoRng + ?Sized>(
        route: &Route,
        delays: &[Delay],
        owner: &Destination,
        rng: &mut R,
    ) -> Result<Self, ReplyError> {
        let key = ReplyKey::generate(rng);
        let surb = Surb::build(Version::NYM_0_11, &route.to_sphinx(), delays, owner, rng)?;
        Ok(Self { key, surb })
    }

    /// A second copy of the key, which the maker keeps until the reply comes.
    #[must_use]
    pub fn reply_key(&self) -> ReplyKey {
        self.key.duplicate()
    }

    /// What the reply will be recognised by.
    #[must_use]
    pub fn key_digest(&self) -> KeyDigest {
        self.key.digest()
    }

    /// The node that a reply is sent to first.
    ///
    /// # Errors
    ///
    /// [`ReplyError::FirstHop`] if the SURB names none; whoever made it is to blame.
    pub fn first_hop(&self) -> Result<HopAddress, ReplyError> {
        Ok(HopAddress::decode(&self.surb.first_hop().0)?)
    }

    /// The bytes: 1,164 for a route of four hops.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new([self.key.0.as_slice(), self.surb.to_bytes().as_slice()].concat())
    }

    /// Reads a reply SURB over any number of hops, at least one.
    ///
    /// # Errors
    ///
    /// [`ReplyError::KeyLength`] below the 16 bytes of the key, [`ReplyError::Sphinx`] if what
    /// follows is not a header, a first hop and a whole number of payload keys.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ReplyError> {
        let (key, surb) = bytes
            .split_first_chunk()
            .ok_or(ReplyError::KeyLength { found: bytes.len() })?;
        let surb = Surb::from_bytes(Version::NYM_0_11, surb)?;
        Ok(Self {
            key: ReplyKey(*key),
            surb,
        })
    }

    /// Encrypts a reply to whoever made this SURB, as [`ReplyKey::encrypt`].
    ///
    /// # Errors
    ///
    /// [`ReplyError::TooLong`] if the message does not fit a packet of this size.
    pub fn encrypt(&self, message: &[u8], size: PacketSize) -> Result<Vec<u8>, ReplyError> {
        self.key.encrypt(message, size)
    }

    /// Makes the packet that carries `plaintext`, SURB-ACK and encrypted reply, to the owner.
    ///
    /// # Errors
    ///
    /// [`ReplyError::Unpadded`] unless the plaintext fills the packet exactly,
    /// [`ReplyError::FirstHop`] if the SURB names no node to send it to.
    pub fn apply(
        self,
        plaintext: &[u8],
        size: PacketSize,
        mode: PacketMode,
    ) -> Result<MixPacket, ReplyError> {
        if plaintext.len() != size.plaintext_len() {
            return Err(ReplyError::Unpadded {
                expected: size.plaintext_len(),
                found: plaintext.len(),
            });
        }
        let first_hop = self.first_hop()?;
        let packet = self.surb.use_surb(plaintext, size.payload_len())?;
        Ok(MixPacket::new(mode, first_hop, packet)
            .expect("the packet was made with the payload length of its size"))
    }
}

impl fmt::Display for ReplySurb {
    /// The base58 text that applications pass around. It is as secret as the SURB.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = Zeroizing::new(bs58::encode(self.to_bytes().as_slice()).into_string());
        f.write_str(&text)
    }
}

impl fmt::Debug for ReplySurb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplySurb").finish_non_exhaustive()
    }
}

impl FromStr for ReplySurb {
    type Err = ReplyError;

    fn from_str(text: &str) -> Result<Self, ReplyError> {
        if text.len() > MAX_TEXT_LEN {
            return Err(ReplyError::Base58);
        }
        let bytes = bs58::decode(text)
            .into_vec()
            .map_err(|_| ReplyError::Base58)?;
        Self::from_bytes(&Zeroizing::new(bytes))
    }
}

/// Why a reply SURB or a reply cannot be made or read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// The text is not base58, or longer than any reply SURB.
    #[error("a reply SURB is not base58 text")]
    Base58,
    /// The delivery ends inside the digest of the reply key.
    #[error("a reply starts with 32 bytes of digest, found {found}")]
    DigestLength {
        /// Bytes given.
        found: usize,
    },
    /// The first hop in the SURB is malformed.
    #[error("the first hop of a reply SURB is malformed")]
    FirstHop(#[from] AddressError),
    /// The bytes end inside the reply key.
    #[error("a reply key has 16 bytes, found {found}")]
    KeyLength {
        /// Bytes given.
        found: usize,
    },
    /// No byte 1 marks the end of the reply.
    #[error("the end of a reply is not marked")]
    MissingEnd,
    /// Sphinx refused the SURB or the packet.
    #[error("malformed reply SURB")]
    Sphinx(#[from] sphinx::Error),
    /// The reply does not fit into one packet.
    #[error("a reply has at most {max} bytes, found {found}")]
    TooLong {
        /// Bytes of the reply.
        found: usize,
        /// Most bytes for this packet size.
        max: usize,
    },
    /// The plaintext does not fill its packet.
    #[error("a reply fills {expected} bytes, found {found}")]
    Unpadded {
        /// Bytes of plaintext of this packet size.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;
    use crate::keys::PrivateKey;
    use crate::route::RouteHop;

    fn reply_surb(hops: u8) -> ReplySurb {
        let mut rng = ChaCha20Rng::seed_from_u64(hops.into());
        let hops = (1..=hops)
            .map(|id| RouteHop {
                address: HopAddress::new(([127, 0, 0, id], 1789).into()),
                sphinx_key: PrivateKey::from_bytes([id; 32]).public_key(),
            })
            .collect();
        let route = Route::new(hops).unwrap();
        let delays = vec![Delay::ZERO; route.hops().len()];
        let owner = Destination {
            address: [7; 32],
            identifier: [0; 16],
        };
        ReplySurb::build(&route, &delays, &owner, &mut rng).unwrap()
    }

    #[test]
    fn text_and_bytes_round_trip() {
        for hops in 1..=5 {
            let surb = reply_surb(hops);
            let bytes = surb.to_bytes();
            assert_eq!(bytes.len(), 396 + 192 * usize::from(hops));
            assert_eq!(ReplySurb::from_bytes(&bytes).unwrap().to_bytes(), bytes);
            let text = surb.to_string();
            assert_eq!(text.parse::<ReplySurb>().unwrap().to_bytes(), bytes);
        }
    }

    #[test]
    fn bytes_below_a_reply_key_are_refused() {
        let error = ReplySurb::from_bytes(&[1; 15]).err();
        assert_eq!(error, Some(ReplyError::KeyLength { found: 15 }));
        let error = ReplySurb::from_bytes(&[1; 16]).err();
        assert!(matches!(error, Some(ReplyError::Sphinx(_))));
    }

    #[test]
    fn overlong_text_is_refused_without_decoding() {
        let text = "1".repeat(MAX_TEXT_LEN + 1);
        assert_eq!(text.parse::<ReplySurb>().err(), Some(ReplyError::Base58));
    }

    #[test]
    fn longest_reply_fits_and_one_byte_more_does_not() {
        let surb = reply_surb(4);
        let longest = vec![1; PacketSize::Regular.reply_len_max()];
        let delivered = surb.encrypt(&longest, PacketSize::Regular).unwrap();
        assert_eq!(delivered.len(), 1643);
        assert_eq!(KeyDigest::of_reply(&delivered), Some(surb.key_digest()));
        assert_eq!(decrypt(&surb.reply_key(), &delivered), Ok(longest));

        let too_long = surb.encrypt(&[1; 1611], PacketSize::Regular);
        assert_eq!(
            too_long,
            Err(ReplyError::TooLong {
                found: 1611,
                max: 1610
            })
        );
    }

    #[test]
    fn first_hop_must_be_an_address() {
        let mut bytes = reply_surb(4).to_bytes();
        bytes[16 + 348] = 9;
        let surb = ReplySurb::from_bytes(&bytes).unwrap();
        let applied = surb.apply(&[0; 2048], PacketSize::Regular, PacketMode::Mix);
        let unknown = AddressError::UnknownType { found: 9 };
        assert_eq!(applied, Err(ReplyError::FirstHop(unknown)));
    }

    #[test]
    fn debug_of_secrets_shows_nothing() {
        let surb = reply_surb(1);
        assert_eq!(
            format!("{surb:?} {:?}", surb.reply_key()),
            "ReplySurb { .. } ReplyKey { .. }"
        );
    }

    proptest! {
        #[test]
        fn replies_round_trip(message in prop::collection::vec(any::<u8>(), 0..1611)) {
            let key = ReplyKey::from_bytes([5; 16]);
            let delivered = key.encrypt(&message, PacketSize::Regular)?;
            prop_assert_eq!(delivered.len(), 1643);
            prop_assert_eq!(decrypt(&key, &delivered), Ok(message));
        }

        #[test]
        fn any_bytes_and_text_are_a_reply_surb_or_an_error(
            bytes in prop::collection::vec(any::<u8>(), 0..1400),
            text: String,
        ) {
            if let Ok(surb) = ReplySurb::from_bytes(&bytes) {
                let encoded = surb.to_bytes();
                prop_assert_eq!(encoded.as_slice(), bytes.as_slice());
            }
            let _ = text.parse::<ReplySurb>();
            let _ = decrypt(&ReplyKey::from_bytes([1; 16]), &bytes);
        }
    }
}
