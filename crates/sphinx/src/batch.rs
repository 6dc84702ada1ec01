//! Many packets at once, for a node under load.
//!
//! Scalar products, key derivations and payload hashes are done side by side in the lanes of vector
//! registers, so eight packets together take less than half of the time that they take one by one
//! (Zen 4 with AVX-512 IFMA), with the same bytes and the same errors. Wait for no packet to fill a batch: take what is there.

use zeroize::Zeroize;

use crate::{
    error::Error,
    keys::PrivateKey,
    lioness::{TOGETHER, decrypt_together},
    process::{Parts, Peeled, VerifiedHeader},
    scalar_mult::{Backend, Comb, Integer, Point, backend},
    sizes::GROUP_ELEMENT_LEN,
    version::Version,
};

/// Unwraps any number of packets together, in the same two steps as one.
///
/// ```
/// use sphinx::{Batch, Error, PrivateKey, Version};
/// # use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
/// # let key = PrivateKey::generate(&mut ChaCha20Rng::seed_from_u64(1));
/// # let seen_before = |_mac: &[u8; 16]| false;
/// # let mut packets = vec![vec![0; 2413]; 5];
///
/// let mut batch = Batch::new(); // keep it: later batches allocate nothing
/// for header in batch.verify(Version::NYM_0_11, &key, &packets) {
///     if header.as_ref().is_ok_and(|header| seen_before(header.mac())) {
///         *header = Err(Error::Replayed);
///     }
/// }
/// for result in batch.peel(&mut packets) {
///     assert_eq!(*result, Err(Error::InvalidHeader)); // zeros are no packets
/// }
/// ```
pub struct Batch {
    backend: Backend,
    headers: Vec<Result<VerifiedHeader, Error>>,
    /// Of the packets, by their index, whose secrets were not computed in lanes.
    alphas: Vec<(usize, Comb)>,
    peeled: Vec<Result<Peeled, Error>>,
}

impl Batch {
    /// Room for batches, which grows to the size of the largest.
    pub fn new() -> Self {
        Self::with_backend(backend())
    }

    /// The same with a certain implementation of scalar multiplication.
    pub fn with_backend(backend: Backend) -> Self {
        Self {
            backend,
            headers: Vec::new(),
            alphas: Vec::new(),
            peeled: Vec::new(),
        }
    }

    /// [`verify`](crate::verify) of each packet, in their order.
    ///
    /// A replay filter may go through the results and put [`Error::Replayed`] in the place of those
    /// that it knows, before [`peel`](Self::peel).
    pub fn verify<P: AsRef<[u8]>>(
        &mut self,
        version: Version,
        key: &PrivateKey,
        packets: &[P],
    ) -> &mut [Result<VerifiedHeader, Error>] {
        self.headers.clear();
        self.alphas.clear();
        let mut products = Products::new();
        for window in packets.chunks(WINDOW) {
            let first = self.headers.len();
            products.clear();
            // In the order of the products.
            let mut parts = [const { None }; WINDOW];
            for (index, packet) in window.iter().enumerate() {
                match Parts::of(packet.as_ref()) {
                    Ok(own) => {
                        parts[products.count] = Some(own);
                        products.push(index, key.integer(), own.alpha);
                        self.headers.push(Err(Error::InvalidHeader));
                    }
                    Err(error) => self.headers.push(Err(error)),
                }
            }
            let keep = |place, alpha| self.alphas.push((first + place, alpha));
            let (places, secrets) = products.compute_and_keep(self.backend, keep);
            let secrets = secrets.chunks(TOGETHER).zip(parts.chunks(TOGETHER));
            for (places, (secrets, parts)) in places.chunks(TOGETHER).zip(secrets) {
                let results = VerifiedHeader::check_together(self.backend, version, secrets, parts);
                for (place, result) in places.iter().zip(results.into_iter().flatten()) {
                    self.headers[first + place] = result;
                }
            }
        }
        &mut self.headers
    }

    /// [`VerifiedHeader::peel`] of each packet whose header was verified, with their order
    /// unchanged since; the others keep the error that they have.
    ///
    /// Uses the headers up: a packet without one, as every packet when called a second time, is an
    /// [`Error::InvalidHeader`]. A packet with an error is as it was.
    pub fn peel<P: AsMut<[u8]>>(&mut self, packets: &mut [P]) -> &[Result<Peeled, Error>] {
        self.peeled.clear();
        let mut products = Products::new();
        let mut headers = &self.headers[..];
        let mut alphas = self.alphas.drain(..).peekable();
        for window in packets.chunks_mut(WINDOW) {
            let first = self.peeled.len();
            let (verified, rest) = headers.split_at(window.len().min(headers.len()));
            headers = rest;
            products.clear();
            let mut versions = [Version::NYM_0_11; WINDOW];
            for (index, packet) in window.iter_mut().enumerate() {
                let alpha = alphas.next_if(|(of, _)| *of == first + index);
                let result = match verified.get(index) {
                    Some(Ok(header)) => {
                        let alpha = alpha.as_ref().map(|(_, alpha)| alpha);
                        take_record(header, packet.as_mut(), alpha, index, &mut products).map(
                            |(peeled, version)| {
                                versions[index] = version;
                                peeled
                            },
                        )
                    }
                    Some(Err(error)) => Err(*error),
                    None => Err(Error::InvalidHeader),
                };
                self.peeled.push(result);
            }
            let (places, alphas) = products.compute(self.backend);
            for (&index, alpha) in places.iter().zip(alphas) {
                window[index].as_mut()[..GROUP_ELEMENT_LEN].copy_from_slice(alpha);
            }
            decrypt_payloads(
                self.backend,
                window,
                verified,
                &self.peeled[first..],
                &versions,
            );
        }
        self.headers.clear();
        &self.peeled
    }

    /// [`verify`](Self::verify) and [`peel`](Self::peel) at once, for those who have no replay
    /// filter.
    pub fn process<P: AsRef<[u8]> + AsMut<[u8]>>(
        &mut self,
        version: Version,
        key: &PrivateKey,
        packets: &mut [P],
    ) -> &[Result<Peeled, Error>] {
        self.verify(version, key, packets);
        self.peel(packets)
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch").finish_non_exhaustive()
    }
}

/// Takes the routing record off a packet. If there is a next hop, its α is left to the products,
/// unless there are tables for it.
fn take_record(
    header: &VerifiedHeader,
    packet: &mut [u8],
    tables: Option<&Comb>,
    index: usize,
    products: &mut Products,
) -> Result<(Peeled, Version), Error> {
    let alpha = *Parts::of(packet)?.alpha;
    let (peeled, version) = header.take_record(packet)?;
    if let Peeled::Forward { .. } = peeled {
        let scalar = header.blinding_scalar();
        match tables {
            Some(tables) => packet[..GROUP_ELEMENT_LEN].copy_from_slice(&tables.mul(&scalar)),
            None => products.push(index, &scalar, &alpha),
        }
    }
    Ok((peeled, version))
}

/// Takes one layer of encryption off the payloads of the packets whose record was taken.
fn decrypt_payloads<P: AsMut<[u8]>>(
    backend: Backend,
    window: &mut [P],
    headers: &[Result<VerifiedHeader, Error>],
    peeled: &[Result<Peeled, Error>],
    versions: &[Version; WINDOW],
) {
    let mut payloads = [const { None }; WINDOW];
    let mut lens = [(0, 0); WINDOW];
    let mut count = 0;
    for (index, packet) in window.iter_mut().enumerate() {
        if let (Some(Ok(header)), Some(Ok(_))) = (headers.get(index), peeled.get(index)) {
            let packet = packet.as_mut();
            lens[count] = (packet.len(), count);
            payloads[count] = Some((header, versions[index], packet));
            count += 1;
        }
    }
    // Side by side with payloads of their own length, so that none waits for a longer one.
    let lens = &mut lens[..count];
    lens.sort_unstable();
    for lens in lens.chunks(TOGETHER) {
        let mut together = [const { None }; TOGETHER];
        for (encrypted, &(_, index)) in together.iter_mut().zip(lens) {
            *encrypted = payloads[index]
                .take()
                .map(|(header, version, packet)| header.encrypted_payload(version, packet));
        }
        decrypt_together(backend, &mut together);
    }
}

/// Packets that are handled together at most: what is needed of each waits on the stack. Several
/// times the lanes there are, so that few lanes stay empty at the end.
const WINDOW: usize = 64;

/// Scalar products to be done together, each for a packet of the window. Wiped when dropped.
struct Products {
    count: usize,
    /// The largest `count` so far: what is to be wiped.
    used: usize,
    places: [usize; WINDOW],
    integers: [Integer; WINDOW],
    points: [Point; WINDOW],
    products: [Point; WINDOW],
}

impl Products {
    fn new() -> Self {
        Self {
            count: 0,
            used: 0,
            places: [0; WINDOW],
            integers: [[0; 32]; WINDOW],
            points: [[0; 32]; WINDOW],
            products: [[0; 32]; WINDOW],
        }
    }

    fn clear(&mut self) {
        self.count = 0;
    }

    /// At most once for each packet of a window.
    fn push(&mut self, place: usize, integer: &Integer, point: &Point) {
        self.places[self.count] = place;
        self.integers[self.count] = *integer;
        self.points[self.count] = *point;
        self.count += 1;
        self.used = self.used.max(self.count);
    }

    /// The products, and beside each the place it was pushed with.
    fn compute(&mut self, backend: Backend) -> (&[usize], &[Point]) {
        let products = &mut self.products[..self.count];
        backend.mul_many(
            &self.integers[..self.count],
            &self.points[..self.count],
            products,
        );
        (&self.places[..self.count], products)
    }

    /// The same; the points that are not multiplied in lanes get tables, which `keep` is given with
    /// the place.
    fn compute_and_keep(
        &mut self,
        backend: Backend,
        mut keep: impl FnMut(usize, Comb),
    ) -> (&[usize], &[Point]) {
        let in_lanes = self.count - backend.left_over(self.count);
        backend.mul_many(
            &self.integers[..in_lanes],
            &self.points[..in_lanes],
            &mut self.products[..in_lanes],
        );
        for i in in_lanes..self.count {
            let tables = backend.comb(&self.points[i]);
            self.products[i] = tables.mul(&self.integers[i]);
            keep(self.places[i], tables);
        }
        (&self.places[..self.count], &self.products[..self.count])
    }
}

impl Drop for Products {
    fn drop(&mut self) {
        self.integers[..self.used].as_flattened_mut().zeroize();
        self.products[..self.used].as_flattened_mut().zeroize();
    }
}
