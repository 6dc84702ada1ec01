//! The header: built for a whole route at once, from the last hop to the first.

use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{
    delay::Delay,
    error::RoutingFault,
    hop_keys::HopKeys,
    keys::{PublicKey, SharedSecret},
    route::{Destination, Hop, NodeAddress, check_route},
    scalar_mult::{Integer, Point, backend, clamp, mul_mod_order},
    sizes::{
        FINAL_RECORD_LEN, FORWARD_RECORD_LEN, GROUP_ELEMENT_LEN, HEADER_LEN, MAC_LEN,
        MAX_FILLER_LEN, MAX_HOPS, PADDED_ROUTING_INFO_LEN, ROUTING_INFO_LEN, STEP_LEN,
    },
    version::{Blinding, Version},
};

/// First byte of a routing record whose reader is not the last hop.
pub(crate) const FORWARD_FLAG: u8 = 1;
/// First byte of the last hop's routing record.
pub(crate) const FINAL_FLAG: u8 = 2;

/// Writes a header to `header` and returns the keys of the route's hops.
///
/// Draws 32 bytes from `rng` for the initial secret, then the padding of the final record.
pub(crate) fn build<R: CryptoRng + ?Sized>(
    version: Version,
    route: &[Hop],
    delays: &[Delay],
    destination: &Destination,
    rng: &mut R,
    header: &mut [u8; HEADER_LEN],
) -> Result<RouteKeys, RoutingFault> {
    check_route(route.len(), delays.len())?;
    let mut initial_secret = Zeroizing::new([0; 32]);
    rng.fill_bytes(initial_secret.as_mut_slice());
    let mut keys = RouteKeys::new();
    let mut secrets = SenderSecrets::new(version.blinding(), &initial_secret);
    let alpha = secrets.first_alpha();
    for hop in route {
        keys.push(secrets.next_hop(&hop.public_key).1);
    }

    let (alpha_out, rest) = header.split_at_mut(GROUP_ELEMENT_LEN);
    alpha_out.copy_from_slice(&alpha);
    let (mac_out, routing_info) = rest.split_at_mut(MAC_LEN);
    let mac = seal_routing_info(
        version,
        route,
        delays,
        destination,
        rng,
        &keys,
        routing_info
            .first_chunk_mut()
            .expect("a header is α, γ and β"),
    );
    mac_out.copy_from_slice(&mac);
    Ok(keys)
}

/// Encrypts the routing records into β of the first hop and returns its γ.
fn seal_routing_info<R: CryptoRng + ?Sized>(
    version: Version,
    route: &[Hop],
    delays: &[Delay],
    destination: &Destination,
    rng: &mut R,
    keys: &RouteKeys,
    routing_info: &mut [u8; ROUTING_INFO_LEN],
) -> [u8; MAC_LEN] {
    let keystreams = Keystreams::new(keys.hops());
    let filler = Filler::new(keystreams.hops());
    let (own, tail) = routing_info.split_at_mut(ROUTING_INFO_LEN - filler.bytes().len());
    let (record, padding) = own.split_at_mut(FINAL_RECORD_LEN);
    record.copy_from_slice(&final_record(version, destination));
    // Random, because zeros here would show the last hop how long the route was (Kuhn et al.,
    // "Breaking and (Partially) Fixing Provably Secure Onion Routing", 2020).
    rng.fill_bytes(padding);
    tail.copy_from_slice(filler.bytes());

    let mut mac = [0; MAC_LEN];
    let mut next_hop: Option<&Hop> = None;
    let layers = route
        .iter()
        .zip(delays)
        .zip(keys.hops().iter().zip(keystreams.hops()));
    for ((hop, delay), (keys, keystream)) in layers.rev() {
        let covered = match next_hop {
            None => ROUTING_INFO_LEN - filler.bytes().len(),
            Some(next) => {
                routing_info.copy_within(..ROUTING_INFO_LEN - STEP_LEN, STEP_LEN);
                let (record, rest) = routing_info.split_at_mut(FORWARD_RECORD_LEN);
                record.copy_from_slice(&forward_record(version, &next.address, *delay));
                rest[..MAC_LEN].copy_from_slice(&mac);
                ROUTING_INFO_LEN
            }
        };
        xor(&mut routing_info[..covered], keystream);
        mac = keys.header_mac(routing_info);
        next_hop = Some(hop);
    }
    mac
}

fn final_record(version: Version, destination: &Destination) -> [u8; FINAL_RECORD_LEN] {
    let mut record = [0; FINAL_RECORD_LEN];
    record[0] = FINAL_FLAG;
    record[1..4].copy_from_slice(&version.to_bytes());
    record[4..36].copy_from_slice(&destination.address);
    record[36..52].copy_from_slice(&destination.identifier);
    record
}

fn forward_record(
    version: Version,
    next_hop: &NodeAddress,
    delay: Delay,
) -> [u8; FORWARD_RECORD_LEN] {
    let mut record = [0; FORWARD_RECORD_LEN];
    record[0] = FORWARD_FLAG;
    record[1..4].copy_from_slice(&version.to_bytes());
    record[4..36].copy_from_slice(&next_hop.0);
    record[36..44].copy_from_slice(&delay.as_nanos().to_be_bytes());
    record
}

fn xor(to: &mut [u8], from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to ^= from;
    }
}

/// The sender's side of the key agreements along a route.
///
/// With the initial secret x and the blinding scalars b₁, b₂, … of the hops passed, the secret of
/// hop i with public key Y is (x·b₁⋯bᵢ₋₁)·Y. Where the scalars are reduced modulo ℓ, the product is
/// one integer, the *accumulator*. Where they are clamped they are not: a product modulo ℓ would
/// forget that each is a multiple of 8, so the factors are applied one by one, as each hop does.
#[derive(ZeroizeOnDrop)]
pub(crate) struct SenderSecrets {
    #[zeroize(skip)]
    blinding: Blinding,
    factors: [Integer; MAX_HOPS],
    #[zeroize(skip)]
    factor_count: usize,
}

impl SenderSecrets {
    pub(crate) fn new(blinding: Blinding, initial_secret: &[u8; 32]) -> Self {
        let mut factors = [[0; 32]; MAX_HOPS];
        factors[0] = clamp(*initial_secret);
        Self {
            blinding,
            factors,
            factor_count: 1,
        }
    }

    /// α of the first hop. Only right before the first [`Self::next_hop`].
    fn first_alpha(&self) -> Point {
        backend().mul_base_clamped(&self.factors[0])
    }

    /// The point of the current hop: `point` times all factors so far.
    pub(crate) fn apply(&self, point: &Point) -> Point {
        self.factors[..self.factor_count]
            .iter()
            .fold(*point, |point, factor| backend().mul(factor, &point))
    }

    /// The secret and keys of the current hop; then moves on to the next.
    ///
    /// Call it at most [`MAX_HOPS`] times.
    pub(crate) fn next_hop(&mut self, public_key: &PublicKey) -> (SharedSecret, HopKeys) {
        let secret = SharedSecret::from_point(self.apply(public_key.as_bytes()));
        let keys = HopKeys::derive(&secret);
        let scalar = keys.blinding_scalar(self.blinding);
        match self.blinding {
            Blinding::Reduced => self.factors[0] = mul_mod_order(&self.factors[0], &scalar),
            // After the last possible hop there is no next one to keep the factor for.
            Blinding::Clamped => {
                if let Some(factor) = self.factors.get_mut(self.factor_count) {
                    *factor = *scalar;
                    self.factor_count += 1;
                }
            }
        }
        (secret, keys)
    }

    /// The product of all factors so far, where it is one integer.
    pub(crate) fn accumulator(&self) -> Option<&Integer> {
        (self.blinding == Blinding::Reduced).then_some(&self.factors[0])
    }
}

/// The keys of a route's hops, first hop first, without allocation.
pub(crate) struct RouteKeys {
    keys: [HopKeys; MAX_HOPS],
    count: usize,
}

impl RouteKeys {
    const fn new() -> Self {
        Self {
            keys: [const { HopKeys::zero() }; MAX_HOPS],
            count: 0,
        }
    }

    fn push(&mut self, keys: HopKeys) {
        self.keys[self.count] = keys;
        self.count += 1;
    }

    pub(crate) fn hops(&self) -> &[HopKeys] {
        &self.keys[..self.count]
    }
}

/// The keystream of each hop, long enough for β and the zeros the hop appends.
pub(crate) struct Keystreams {
    streams: [[u8; PADDED_ROUTING_INFO_LEN]; MAX_HOPS],
    count: usize,
}

impl Keystreams {
    pub(crate) fn new(keys: &[HopKeys]) -> Self {
        let mut streams = [[0; PADDED_ROUTING_INFO_LEN]; MAX_HOPS];
        for (stream, keys) in streams.iter_mut().zip(keys) {
            keys.apply_keystream(stream);
        }
        Self {
            streams,
            count: keys.len(),
        }
    }

    pub(crate) fn hops(&self) -> &[[u8; PADDED_ROUTING_INFO_LEN]] {
        &self.streams[..self.count]
    }
}

impl Drop for Keystreams {
    fn drop(&mut self) {
        self.streams.zeroize();
    }
}

/// φ: what the zeros that the hops before the last append have become when they reach the last.
///
/// The sender must know them, because the last hop's MAC covers them.
pub(crate) struct Filler {
    bytes: [u8; MAX_FILLER_LEN],
    len: usize,
}

impl Filler {
    pub(crate) fn new(keystreams: &[[u8; PADDED_ROUTING_INFO_LEN]]) -> Self {
        let mut filler = Self {
            bytes: [0; MAX_FILLER_LEN],
            len: 0,
        };
        for keystream in keystreams.iter().rev().skip(1).rev() {
            filler.len += STEP_LEN;
            xor(
                &mut filler.bytes[..filler.len],
                &keystream[PADDED_ROUTING_INFO_LEN - filler.len..],
            );
        }
        filler
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_laid_out_flag_version_address_rest() {
        let destination = Destination {
            address: [7; 32],
            identifier: [9; 16],
        };
        let record = final_record(Version::V260, &destination);
        assert_eq!(record[..4], [2, 0, 1, 4]);
        assert_eq!(record[4..36], [7; 32]);
        assert_eq!(record[36..], [9; 16]);

        let delay = Delay::from_nanos(0x0102_0304_0506_0708);
        let record = forward_record(Version::NYM_0_11, &NodeAddress([5; 32]), delay);
        assert_eq!(record[..4], [1, 0, 1, 0]);
        assert_eq!(record[4..36], [5; 32]);
        assert_eq!(record[36..], [1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn filler_grows_by_one_step_for_each_hop_but_the_last() {
        let keys = [const { HopKeys::zero() }; MAX_HOPS];
        for hops in 1..=MAX_HOPS {
            let keystreams = Keystreams::new(&keys[..hops]);
            assert_eq!(
                Filler::new(keystreams.hops()).bytes().len(),
                (hops - 1) * STEP_LEN
            );
        }
    }
}
