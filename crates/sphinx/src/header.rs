//! The header: built for a whole route at once, from the last hop to the first, and for several routes
//! side by side.

use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{
    delay::Delay,
    error::RoutingFault,
    hop_keys::HopKeys,
    keys::{PublicKey, SharedSecret},
    lioness::TOGETHER,
    multiplier::Multiplier,
    route::{Destination, NodeAddress, Way, check_route},
    scalar_mult::{Backend, Integer, Point, backend, clamp, mul_mod_order},
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

/// A header in the making: the secrets of its route and what is written so far.
pub(crate) struct Draft {
    secrets: SenderSecrets,
    keys: RouteKeys,
    keystreams: Keystreams,
    header: [u8; HEADER_LEN],
}

impl Draft {
    /// Draws 32 bytes from `rng` for the initial secret, then the padding of the final record.
    pub(crate) fn new<R: CryptoRng + ?Sized>(
        version: Version,
        way: &Way<'_>,
        rng: &mut R,
    ) -> Result<Self, RoutingFault> {
        check_route(way.route.len(), way.delays.len())?;
        let mut initial_secret = Zeroizing::new([0; 32]);
        rng.fill_bytes(initial_secret.as_mut_slice());
        let mut header = [0; HEADER_LEN];
        let (record, padding) = header[ROUTING_INFO_OFFSET..HEADER_LEN - filler_len(way)]
            .split_at_mut(FINAL_RECORD_LEN);
        record.copy_from_slice(&final_record(version, way.destination));
        // Random, because zeros here would show the last hop how long the route was (Kuhn et al.,
        // "Breaking and (Partially) Fixing Provably Secure Onion Routing", 2020).
        rng.fill_bytes(padding);
        Ok(Self {
            secrets: SenderSecrets::new(version.blinding(), &initial_secret),
            keys: RouteKeys::new(),
            keystreams: Keystreams::none(),
            header,
        })
    }

    /// The header and the keys of the route's hops.
    pub(crate) fn into_parts(self) -> ([u8; HEADER_LEN], RouteKeys) {
        (self.header, self.keys)
    }

    /// Prepares what all layers need, when the keys are there.
    fn begin_sealing(&mut self, way: &Way<'_>) {
        self.keystreams.fill(self.keys.hops());
        let filler = Filler::new(self.keystreams.hops());
        self.header[HEADER_LEN - filler_len(way)..].copy_from_slice(filler.bytes());
    }

    /// Encrypts the record of hop `index`, in front of what the hops behind it get.
    fn add_layer(&mut self, version: Version, way: &Way<'_>, index: usize) {
        let (head, routing_info) = self.header.split_at_mut(ROUTING_INFO_OFFSET);
        let covered = match way.route.get(index + 1) {
            None => ROUTING_INFO_LEN - filler_len(way),
            Some(next) => {
                routing_info.copy_within(..ROUTING_INFO_LEN - STEP_LEN, STEP_LEN);
                let (record, rest) = routing_info.split_at_mut(FORWARD_RECORD_LEN);
                let delay = way.delays[index];
                record.copy_from_slice(&forward_record(version, &next.address, delay));
                rest[..MAC_LEN].copy_from_slice(&head[GROUP_ELEMENT_LEN..]);
                ROUTING_INFO_LEN
            }
        };
        xor(&mut routing_info[..covered], &self.keystreams.hops()[index]);
    }

    /// What γ of hop `index` is computed from.
    fn sealed(&self, index: usize) -> (&HopKeys, &[u8; ROUTING_INFO_LEN]) {
        let routing_info = self.header[ROUTING_INFO_OFFSET..].first_chunk();
        (
            &self.keys.hops()[index],
            routing_info.expect("a header is α, γ and β"),
        )
    }
}

/// Completes the headers of as many drafts as ways, side by side where the backend has lanes.
pub(crate) fn complete(
    version: Version,
    ways: &[Way<'_>],
    drafts: &mut [Draft],
    multiplier: &mut Multiplier<'_>,
) {
    for (ways, drafts) in ways.chunks(TOGETHER).zip(drafts.chunks_mut(TOGETHER)) {
        agree_on_keys(version, ways, drafts, multiplier);
        seal_routing_infos(version, ways, drafts, multiplier.backend());
    }
}

/// Computes α of the first hop and the keys of all hops.
fn agree_on_keys(
    version: Version,
    ways: &[Way<'_>],
    drafts: &mut [Draft],
    multiplier: &mut Multiplier<'_>,
) {
    let mut integers = Zeroizing::new([[0; 32]; TOGETHER]);
    let mut points = [[0; 32]; TOGETHER];
    let mut products = Zeroizing::new([[0; 32]; TOGETHER]);
    for (integer, draft) in integers.iter_mut().zip(&*drafts) {
        *integer = draft.secrets.factors[0];
    }
    multiplier.mul_base(drafts.len(), &integers, &mut products);
    for (draft, alpha) in drafts.iter_mut().zip(&*products) {
        draft.header[..GROUP_ELEMENT_LEN].copy_from_slice(alpha);
    }
    for index in 0..MAX_HOPS {
        let mut places = [0; TOGETHER];
        let mut count = 0;
        for (place, (way, draft)) in ways.iter().zip(&*drafts).enumerate() {
            if let Some(hop) = way.route.get(index) {
                places[count] = place;
                points[count] = *hop.public_key.as_bytes();
                integers[count] = draft.secrets.factors[0];
                count += 1;
            }
        }
        multiplier.mul_public(&points[..count], &integers, &mut products);
        for (product, &place) in products.iter_mut().zip(&places[..count]) {
            *product = drafts[place].secrets.apply_later_factors(product);
        }
        let mut places = places[..count].iter();
        let backend = multiplier.backend();
        HopKeys::derive_together(backend, &products[..count], |keys| {
            if let Some(&place) = places.next() {
                drafts[place].secrets.pass(&keys);
                drafts[place].keys.push(keys);
            }
        });
    }
    debug_assert!(
        drafts
            .iter()
            .all(|draft| draft.secrets.blinding == version.blinding())
    );
}

/// Encrypts the routing records into β of the first hop, and computes its γ.
fn seal_routing_infos(version: Version, ways: &[Way<'_>], drafts: &mut [Draft], backend: Backend) {
    for (way, draft) in ways.iter().zip(&mut *drafts) {
        draft.begin_sealing(way);
    }
    for index in (0..MAX_HOPS).rev() {
        let mut macs = [None; TOGETHER];
        let mut count = 0;
        for (way, draft) in ways.iter().zip(&mut *drafts) {
            if index < way.route.len() {
                draft.add_layer(version, way, index);
                count += 1;
            }
        }
        let has_hop = |(way, _): &(&Way<'_>, _)| index < way.route.len();
        {
            let mut sealed = ways.iter().zip(&*drafts).filter(has_hop);
            let Some((_, first)) = sealed.next() else {
                continue;
            };
            let mut inputs = [first.sealed(index); TOGETHER];
            for (input, (_, draft)) in inputs[1..].iter_mut().zip(sealed) {
                *input = draft.sealed(index);
            }
            let mut macs = macs.iter_mut();
            HopKeys::header_macs_together(backend, &inputs[..count], |mac| {
                if let Some(place) = macs.next() {
                    *place = Some(mac);
                }
            });
        }
        let drafts = ways.iter().zip(&mut *drafts);
        let drafts = drafts.filter(|(way, _)| index < way.route.len());
        for ((_, draft), mac) in drafts.zip(macs.iter().flatten()) {
            draft.header[GROUP_ELEMENT_LEN..ROUTING_INFO_OFFSET].copy_from_slice(mac);
        }
    }
}

/// Where β begins.
const ROUTING_INFO_OFFSET: usize = GROUP_ELEMENT_LEN + MAC_LEN;

/// What the hops before the last append: a step each.
fn filler_len(way: &Way<'_>) -> usize {
    (way.route.len() - 1) * STEP_LEN
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

    /// The point of the current hop: `point` times all factors so far.
    pub(crate) fn apply(&self, point: &Point) -> Point {
        self.apply_later_factors(&backend().mul(&self.factors[0], point))
    }

    /// The same of a point that was multiplied with the first factor already.
    fn apply_later_factors(&self, point: &Point) -> Point {
        self.factors[1..self.factor_count]
            .iter()
            .fold(*point, |point, factor| backend().mul(factor, &point))
    }

    /// The secret and keys of the current hop; then moves on to the next.
    ///
    /// Call it at most [`MAX_HOPS`] times.
    pub(crate) fn next_hop(&mut self, public_key: &PublicKey) -> (SharedSecret, HopKeys) {
        let secret = SharedSecret::from_point(self.apply(public_key.as_bytes()));
        let keys = HopKeys::derive(&secret);
        self.pass(&keys);
        (secret, keys)
    }

    /// Moves on to the next hop, behind the one with these keys.
    fn pass(&mut self, keys: &HopKeys) {
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
        let mut keystreams = Self::none();
        keystreams.fill(keys);
        keystreams
    }

    const fn none() -> Self {
        Self {
            streams: [[0; PADDED_ROUTING_INFO_LEN]; MAX_HOPS],
            count: 0,
        }
    }

    /// Puts the keystreams where there are none yet.
    fn fill(&mut self, keys: &[HopKeys]) {
        for (stream, keys) in self.streams.iter_mut().zip(keys) {
            keys.apply_keystream(stream);
        }
        self.count = keys.len();
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
