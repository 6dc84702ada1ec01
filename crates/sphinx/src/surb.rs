//! Single-use reply blocks: a header somebody else may send a message with, without learning where
//! it goes.

use std::fmt;

use rand_core::CryptoRng;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::{
    delay::Delay,
    error::{Error, RoutingFault, SurbFault},
    header::{self, Draft, RouteKeys},
    hop_keys::payload_key_from_seed,
    lioness,
    multiplier::Multiplier,
    payload::{self, recover_plaintext},
    route::{Destination, Hop, NodeAddress, Way, check_route},
    scalar_mult::backend,
    sizes::{
        HEADER_LEN, IDENTIFIER_LEN, MAX_HOPS, NODE_ADDRESS_LEN, PAYLOAD_KEY_LEN,
        PAYLOAD_KEY_SEED_LEN,
    },
    version::{SurbKeys, Version},
};

/// A single-use reply block.
///
/// ```text
/// 0        348          380
/// │ header │ first hop  │ NYM_0_11: a 192-byte payload key for each hop, first hop first
/// │        │ (address)  │ V259: a 16-byte seed for each hop; V260: the last hop's seed
/// ```
///
/// Using one twice sends two packets with the same header, which a network with a replay filter
/// drops and any observer can link; so [`use_surb`](Self::use_surb) consumes it. Whoever holds it
/// knows the payload keys of its route and could recognise the reply at each hop: hand it to the
/// replier only.
#[derive(ZeroizeOnDrop)]
pub struct Surb {
    bytes: Vec<u8>,
    #[zeroize(skip)]
    keys: SurbKeys,
}

impl Surb {
    /// Makes a SURB whose replies reach `destination` along `route`.
    ///
    /// The route ends at the destination's gateway. Draws from `rng` as
    /// [`build`](crate::build()) does.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSurb`] if the route or the number of delays is unusable, if the version has
    /// no SURBs, or if it is 260, whose replies are unreadable without recovery material.
    pub fn build<R: CryptoRng + ?Sized>(
        version: Version,
        route: &[Hop],
        delays: &[Delay],
        destination: &Destination,
        rng: &mut R,
    ) -> Result<Self, Error> {
        if version.surb_keys() == Some(SurbKeys::LastSeed) {
            let version = version.number();
            return Err(Error::InvalidSurb(SurbFault::NeedsRecovery { version }));
        }
        Ok(Self::build_with_keys(version, route, delays, destination, rng)?.0)
    }

    /// Makes a SURB of version 260 and what its owner needs to read the reply.
    ///
    /// The destination's identifier is how the owner finds the recovery material again.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSurb`] if the route or the number of delays is unusable, if the identifier is
    /// zero, or if the version is another one.
    pub fn build_recoverable<R: CryptoRng + ?Sized>(
        version: Version,
        route: &[Hop],
        delays: &[Delay],
        destination: &Destination,
        rng: &mut R,
    ) -> Result<(Self, SurbRecovery), Error> {
        if version.surb_keys() != Some(SurbKeys::LastSeed) {
            let version = version.number();
            return Err(Error::InvalidSurb(SurbFault::Version { version }));
        }
        if destination.identifier == [0; IDENTIFIER_LEN] {
            return Err(Error::InvalidSurb(SurbFault::ZeroIdentifier));
        }
        let (surb, keys) = Self::build_with_keys(version, route, delays, destination, rng)?;
        let mut bytes = Vec::with_capacity(IDENTIFIER_LEN + route.len() * PAYLOAD_KEY_SEED_LEN);
        bytes.extend_from_slice(&destination.identifier);
        for hop in keys.hops() {
            bytes.extend_from_slice(hop.payload_key_seed());
        }
        Ok((surb, SurbRecovery { bytes }))
    }

    /// Reads a SURB from its bytes.
    ///
    /// Only the length can be checked: whether the header is any good shows at the hops, and the
    /// number of keys need not fit it.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSurb`] if the version has no SURBs, or the bytes behind header and address
    /// are not a whole number of keys, at least one; versions 259 and 260 have at most five.
    pub fn from_bytes(version: Version, bytes: &[u8]) -> Result<Self, Error> {
        let keys = version.surb_keys().ok_or_else(|| {
            let version = version.number();
            Error::InvalidSurb(SurbFault::Version { version })
        })?;
        let wrong_len = Error::InvalidSurb(SurbFault::Length { found: bytes.len() });
        let material = bytes.get(KEYS_OFFSET..).ok_or(wrong_len)?;
        let count = material.len() / keys.len();
        let whole = material.len() % keys.len() == 0;
        if !whole || count == 0 || keys.max_count().is_some_and(|max| count > max) {
            return Err(wrong_len);
        }
        Ok(Self {
            bytes: bytes.to_vec(),
            keys,
        })
    }

    /// The SURB's bytes, to hand to the replier.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.bytes.clone())
    }

    /// Where to send the packet that [`use_surb`](Self::use_surb) makes.
    pub fn first_hop(&self) -> NodeAddress {
        let address = self
            .bytes
            .get(HEADER_LEN..)
            .and_then(|rest| rest.first_chunk());
        NodeAddress(*address.expect("both constructors make header, address and keys"))
    }

    /// Payload keys, or seeds of them, in this SURB.
    pub fn payload_key_count(&self) -> usize {
        self.key_material().len() / self.keys.len()
    }

    /// Makes a packet of [`HEADER_LEN`] + `payload_len` bytes that carries `message` to the owner.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidPayload`] if `payload_len` is below
    /// [`MIN_PAYLOAD_LEN`](crate::MIN_PAYLOAD_LEN) or the message does not fit.
    pub fn use_surb(self, message: &[u8], payload_len: usize) -> Result<Vec<u8>, Error> {
        payload::check_capacity(message.len(), payload_len).map_err(Error::InvalidPayload)?;
        let mut packet = vec![0; HEADER_LEN + payload_len];
        let (header, payload) = packet.split_at_mut(HEADER_LEN);
        header.copy_from_slice(
            self.bytes
                .get(..HEADER_LEN)
                .expect("a SURB starts with a header"),
        );
        payload::write_plaintext(message, payload).map_err(Error::InvalidPayload)?;
        for key in self.key_material().rchunks_exact(self.keys.len()) {
            let key = match self.keys {
                SurbKeys::Whole => Zeroizing::new(*key.first_chunk().expect(CHUNK)),
                SurbKeys::SeedPerHop | SurbKeys::LastSeed => {
                    payload_key_from_seed(key.first_chunk().expect(CHUNK))
                }
            };
            lioness::encrypt(backend(), &key, payload).map_err(Error::InvalidPayload)?;
        }
        Ok(packet)
    }

    fn build_with_keys<R: CryptoRng + ?Sized>(
        version: Version,
        route: &[Hop],
        delays: &[Delay],
        destination: &Destination,
        rng: &mut R,
    ) -> Result<(Self, RouteKeys), Error> {
        let surb_keys = version.surb_keys().ok_or_else(|| {
            let version = version.number();
            Error::InvalidSurb(SurbFault::Version { version })
        })?;
        let route_fault = |fault: RoutingFault| Error::InvalidSurb(SurbFault::Route(fault));
        check_route(route.len(), delays.len()).map_err(route_fault)?;
        let first_hop = route.first().expect("an empty route was refused");

        // Sized at once: growing would leave copies of the keys behind.
        let mut bytes = Vec::with_capacity(KEYS_OFFSET + route.len() * PAYLOAD_KEY_LEN);
        let way = Way {
            route,
            delays,
            destination,
        };
        let mut drafts = [Draft::new(version, &way, rng).map_err(route_fault)?];
        header::complete(
            version,
            &[way],
            &mut drafts,
            &mut Multiplier::Plain(backend()),
        );
        let [draft] = drafts;
        let (header, keys) = draft.into_parts();
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(&first_hop.address.0);
        match surb_keys {
            SurbKeys::Whole => {
                for hop in keys.hops() {
                    bytes.extend_from_slice(hop.payload_key(version).as_slice());
                }
            }
            SurbKeys::SeedPerHop => {
                for hop in keys.hops() {
                    bytes.extend_from_slice(hop.payload_key_seed());
                }
            }
            SurbKeys::LastSeed => {
                let last = keys.hops().last().expect("an empty route was refused");
                bytes.extend_from_slice(last.payload_key_seed());
            }
        }
        Ok((
            Self {
                bytes,
                keys: surb_keys,
            },
            keys,
        ))
    }

    fn key_material(&self) -> &[u8] {
        self.bytes.get(KEYS_OFFSET..).unwrap_or_default()
    }
}

impl fmt::Debug for Surb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surb").finish_non_exhaustive()
    }
}

/// What the owner of a version 260 SURB keeps, to read the reply when it comes.
///
/// ```text
/// │ identifier (16) │ a 16-byte seed for each hop, first hop first │
/// ```
///
/// Each hop of the reply *decrypts* with its key what was never encrypted for it; the owner, who
/// alone has all seeds, puts those layers back on and then takes off the replier's.
#[derive(ZeroizeOnDrop)]
pub struct SurbRecovery {
    bytes: Vec<u8>,
}

impl SurbRecovery {
    /// Reads the material from its bytes.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSurb`] if there are not an identifier and one to five whole seeds, or the
    /// identifier is zero.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let wrong_len = Error::InvalidSurb(SurbFault::Length { found: bytes.len() });
        let (identifier, seeds) = bytes
            .split_first_chunk::<IDENTIFIER_LEN>()
            .ok_or(wrong_len)?;
        let count = seeds.len() / PAYLOAD_KEY_SEED_LEN;
        if seeds.len() % PAYLOAD_KEY_SEED_LEN != 0 || !(1..=MAX_HOPS).contains(&count) {
            return Err(wrong_len);
        }
        if *identifier == [0; IDENTIFIER_LEN] {
            return Err(Error::InvalidSurb(SurbFault::ZeroIdentifier));
        }
        Ok(Self {
            bytes: bytes.to_vec(),
        })
    }

    /// The material's bytes, for storing it.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.bytes.clone())
    }

    /// The identifier that the last hop reads from the reply's header.
    pub fn identifier(&self) -> &[u8; IDENTIFIER_LEN] {
        self.bytes
            .first_chunk()
            .expect("both constructors begin with an identifier")
    }

    /// Decrypts, in place, the payload that the last hop handed over, and returns the message in it.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidPayload`] if it is too short, or was not made with the SURB that this
    /// material belongs to.
    pub fn recover_plaintext<'p>(&self, payload: &'p mut [u8]) -> Result<&'p [u8], Error> {
        let seeds = self.bytes.get(IDENTIFIER_LEN..).unwrap_or_default();
        let keys = |seed: &[u8]| payload_key_from_seed(seed.first_chunk().expect(CHUNK));
        let mut last_key = None;
        for seed in seeds.rchunks_exact(PAYLOAD_KEY_SEED_LEN) {
            let key = keys(seed);
            lioness::encrypt(backend(), &key, payload).map_err(Error::InvalidPayload)?;
            last_key.get_or_insert(key);
        }
        let last_key = last_key.expect("both constructors make one seed or more");
        lioness::decrypt(backend(), &last_key, payload).map_err(Error::InvalidPayload)?;
        recover_plaintext(payload)
    }
}

impl fmt::Debug for SurbRecovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SurbRecovery").finish_non_exhaustive()
    }
}

impl SurbKeys {
    /// Bytes of one key or seed.
    const fn len(self) -> usize {
        match self {
            Self::Whole => PAYLOAD_KEY_LEN,
            Self::SeedPerHop | Self::LastSeed => PAYLOAD_KEY_SEED_LEN,
        }
    }

    /// Most keys a SURB may have, where that is limited.
    const fn max_count(self) -> Option<usize> {
        match self {
            Self::Whole => None,
            Self::SeedPerHop | Self::LastSeed => Some(MAX_HOPS),
        }
    }
}

/// Where the keys of a SURB begin.
const KEYS_OFFSET: usize = HEADER_LEN + NODE_ADDRESS_LEN;

const CHUNK: &str = "chunks are as long as a key";

const _: () = assert!(KEYS_OFFSET == 380);
