//! The inner workings, for test vectors and research. **Hazardous:** nothing here is needed to build
//! or process packets, and all of it hands out key material as bare bytes.

use zeroize::Zeroizing;

use crate::{
    error::Error,
    header::{Filler, Keystreams, SenderSecrets},
    hop_keys::{HopKeys, LATER_KEY_BLOCK_LEN, expand, payload_key_from_seed},
    keys::{PrivateKey, PublicKey, SharedSecret},
    lioness,
    route::check_route,
    scalar_mult::{Backend, Comb, Combs, Point, backend, clamp, reduce},
    sizes::{PAYLOAD_KEY_LEN, PAYLOAD_KEY_SEED_LEN},
    version::Version,
};

/// A hop's derived keys, taken apart.
pub struct KeyBlock {
    /// All 288 bytes; the 0.11 rules use the first 256.
    pub bytes: Zeroizing<[u8; LATER_KEY_BLOCK_LEN]>,
    /// b modulo ℓ.
    pub reduced_blinding_scalar: Zeroizing<[u8; 32]>,
}

impl KeyBlock {
    /// What is derived from the 32 bytes of a shared secret.
    pub fn derive(shared_secret: [u8; 32]) -> Self {
        let secret = SharedSecret::from_point(shared_secret);
        let bytes = expand::<LATER_KEY_BLOCK_LEN>(&secret);
        let factor = bytes[224..256].try_into().expect("a factor has 32 bytes");
        Self {
            reduced_blinding_scalar: Zeroizing::new(reduce(factor)),
            bytes,
        }
    }

    /// ρ, 16 bytes: the stream cipher's key.
    pub fn stream_cipher_key(&self) -> &[u8] {
        &self.bytes[..16]
    }

    /// μ, 16 bytes: the header MAC's key.
    pub fn header_mac_key(&self) -> &[u8] {
        &self.bytes[16..32]
    }

    /// π, 192 bytes: the payload key, of which later versions use the first 16 bytes as a seed.
    pub fn payload_key(&self) -> &[u8] {
        &self.bytes[32..224]
    }

    /// b, 32 bytes, as derived.
    pub fn blinding_factor(&self) -> &[u8] {
        &self.bytes[224..256]
    }

    /// The replay tag of later versions, 32 bytes.
    pub fn replay_tag(&self) -> &[u8] {
        &self.bytes[256..]
    }
}

/// What the sender computes for one hop of a route.
pub struct RouteStep {
    /// The product of the initial secret and all blinding scalars before this hop. `None` where the
    /// rules have no such integer ([`Version::later`]).
    pub accumulator: Option<[u8; 32]>,
    /// α as this hop sees it.
    pub alpha: [u8; 32],
    /// What the sender shares with this hop.
    pub shared_secret: SharedSecret,
}

/// The sender's key agreements along a route, and the filler φ that the last hop will see.
///
/// # Errors
///
/// [`Error::InvalidRouting`] if there are no keys or more than [`MAX_HOPS`](crate::MAX_HOPS).
pub fn route_steps(
    version: Version,
    initial_secret: &[u8; 32],
    public_keys: &[PublicKey],
) -> Result<(Vec<RouteStep>, Vec<u8>), Error> {
    check_route(public_keys.len(), public_keys.len()).map_err(Error::InvalidRouting)?;
    let mut secrets = SenderSecrets::new(version.blinding(), initial_secret);
    let mut hop_keys = Vec::new();
    let steps = public_keys
        .iter()
        .map(|public_key| {
            let accumulator = secrets.accumulator().copied();
            let alpha = secrets.apply(&BASE_POINT);
            let (shared_secret, keys) = secrets.next_hop(public_key);
            hop_keys.push(keys);
            RouteStep {
                accumulator,
                alpha,
                shared_secret,
            }
        })
        .collect();
    let keystreams = Keystreams::new(&hop_keys);
    Ok((steps, Filler::new(keystreams.hops()).bytes().to_vec()))
}

/// The initial secret as it is used: clamped.
pub fn clamp_secret(bytes: [u8; 32]) -> [u8; 32] {
    clamp(bytes)
}

/// α that a node sends on, given the secret it shares with the sender.
pub fn next_alpha(version: Version, shared_secret: &SharedSecret, alpha: &[u8; 32]) -> [u8; 32] {
    let scalar = HopKeys::derive(shared_secret).blinding_scalar(version.blinding());
    backend().mul(&scalar, alpha)
}

/// The payload key of later versions, from the seed in the key block.
pub fn payload_key(seed: &[u8; PAYLOAD_KEY_SEED_LEN]) -> Zeroizing<[u8; PAYLOAD_KEY_LEN]> {
    payload_key_from_seed(seed)
}

/// Encrypts one LIONESS block in place.
///
/// # Errors
///
/// [`Error::InvalidPayload`] if it has fewer than
/// [`MIN_PAYLOAD_LEN`](crate::MIN_PAYLOAD_LEN) bytes.
pub fn lioness_encrypt(key: &[u8; PAYLOAD_KEY_LEN], block: &mut [u8]) -> Result<(), Error> {
    lioness::encrypt(backend(), key, block).map_err(Error::InvalidPayload)
}

/// Decrypts one LIONESS block in place.
///
/// # Errors
///
/// [`Error::InvalidPayload`] if it has fewer than
/// [`MIN_PAYLOAD_LEN`](crate::MIN_PAYLOAD_LEN) bytes.
pub fn lioness_decrypt(key: &[u8; PAYLOAD_KEY_LEN], block: &mut [u8]) -> Result<(), Error> {
    lioness::decrypt(backend(), key, block).map_err(Error::InvalidPayload)
}

/// The version number that a packet's routing record states, at a node of the later family; at one
/// of [`Version::NYM_0_11`] always 256.
///
/// # Errors
///
/// Those of [`process`](crate::process()).
pub fn record_version(version: Version, key: &PrivateKey, packet: &[u8]) -> Result<u16, Error> {
    Ok(crate::verify(version, key, packet)?
        .record_version(packet)?
        .number())
}

/// The product of each integer below 2^255 and the u-coordinate of the same index, as a batch computes
/// them. Constant time.
pub fn products(backend: Backend, integers: &[[u8; 32]], points: &[[u8; 32]]) -> Vec<[u8; 32]> {
    let mut products = vec![[0; 32]; integers.len().min(points.len())];
    backend.mul_many(integers, points, &mut products);
    products
}

/// A public point of which several products are computed one by one.
pub struct Multiples(Comb);

impl Multiples {
    /// Prepares for multiplying the point with this u-coordinate.
    pub fn of(backend: Backend, point: &[u8; 32]) -> Self {
        Self(backend.comb(point))
    }

    /// The product with an integer below 2^255. Constant time.
    pub fn product(&self, integer: &[u8; 32]) -> [u8; 32] {
        self.0.mul(integer)
    }
}

impl std::fmt::Debug for Multiples {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Multiples").finish_non_exhaustive()
    }
}

/// Public points of which several products are computed side by side.
pub struct MultiplesTogether {
    combs: Combs,
    count: usize,
}

impl MultiplesTogether {
    /// Prepares for multiplying the points with these u-coordinates.
    ///
    /// `None` if the backend has no lanes for so many points or a point is on the curve's quadratic
    /// twist: then [`products`] is what a batch uses.
    pub fn of(backend: Backend, points: &[[u8; 32]]) -> Option<Self> {
        let mut combs = backend.combs()?;
        let count = points.len();
        combs.prepare(points).then_some(Self { combs, count })
    }

    /// The products with the integers below 2^255 of the same indices. Constant time.
    pub fn products(&self, integers: &[[u8; 32]]) -> Vec<[u8; 32]> {
        let mut products = vec![[0; 32]; self.count.min(integers.len())];
        self.combs.mul(integers, &mut products);
        products
    }
}

impl std::fmt::Debug for MultiplesTogether {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MultiplesTogether").finish_non_exhaustive()
    }
}

const BASE_POINT: Point = {
    let mut point = [0; 32];
    point[0] = 9;
    point
};
