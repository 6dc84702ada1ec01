//! Many packets at once, for a node under load.
//!
//! Scalar products, key derivations and payload hashes are done side by side in the lanes of vector
//! registers, so eight packets together take less than half of the time that they take one by one
//! (Zen 4 with AVX-512 IFMA), with the same bytes and the same errors. Wait for no packet to fill a
//! batch: take what is there.
//!
//! A forward hop multiplies α twice: by the node's key, and by a factor derived from that product. So
//! where packets are mostly forwarded, tables of every α are made first ([`Combs`]), 2.7 KB for each
//! packet, and kept from [`Batch::verify`] to [`Batch::peel`].

use std::{array, ops::Range};

use zeroize::{Zeroize, Zeroizing};

use crate::{
    error::Error,
    keys::PrivateKey,
    lioness::{TOGETHER, decrypt_together},
    process::{Parts, Peeled, VerifiedHeader},
    scalar_mult::{Backend, Comb, Combs, Integer, Point, backend},
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
    alphas: Alphas,
    peeled: Vec<Result<Peeled, Error>>,
    /// Whether most packets of the last batch had a next hop, for which α is multiplied a second
    /// time. Of a node's packets either nearly all have one or nearly none.
    forwards: bool,
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
            alphas: Alphas::default(),
            peeled: Vec::new(),
            forwards: true,
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
            if self.forwards {
                products.compute_and_keep(self.backend, first, &mut self.alphas);
            } else {
                products.compute(self.backend);
            }
            let (places, secrets) = products.computed();
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
        let (mut products, mut by_tables) = (Products::new(), Products::new());
        let mut headers = &self.headers[..];
        for window in packets.chunks_mut(WINDOW) {
            let first = self.peeled.len();
            let (verified, rest) = headers.split_at(window.len().min(headers.len()));
            headers = rest;
            products.clear();
            by_tables.clear();
            let alphas = self.alphas.of_window(first);
            let mut tables = alphas.places().peekable();
            let mut versions = [Version::NYM_0_11; WINDOW];
            for (index, packet) in window.iter_mut().enumerate() {
                let has_tables = tables.next_if_eq(&index).is_some();
                let result = match verified.get(index) {
                    Some(Ok(header)) => {
                        let products = if has_tables {
                            &mut by_tables
                        } else {
                            &mut products
                        };
                        take_record(header, packet.as_mut(), index, products).map(
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
            products.compute(self.backend);
            by_tables.compute_by(&alphas);
            for products in [&products, &by_tables] {
                let (places, alphas) = products.computed();
                for (&index, alpha) in places.iter().zip(alphas) {
                    window[index].as_mut()[..GROUP_ELEMENT_LEN].copy_from_slice(alpha);
                }
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
        self.alphas.clear();
        self.remember_kind();
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

    /// Whether the packets that were just peeled are mostly to be forwarded. As before if there are
    /// none.
    fn remember_kind(&mut self) {
        let (mut forwards, mut finals) = (0, 0);
        for peeled in &self.peeled {
            match peeled {
                Ok(Peeled::Forward { .. }) => forwards += 1,
                Ok(Peeled::Final { .. }) => finals += 1,
                Err(_) => {}
            }
        }
        if forwards != finals {
            self.forwards = forwards > finals;
        }
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

/// Takes the routing record off a packet. If there is a next hop, its α is left to the products.
fn take_record(
    header: &VerifiedHeader,
    packet: &mut [u8],
    index: usize,
    products: &mut Products,
) -> Result<(Peeled, Version), Error> {
    let alpha = *Parts::of(packet)?.alpha;
    let (peeled, version) = header.take_record(packet)?;
    if let Peeled::Forward { .. } = peeled {
        products.push(index, &header.blinding_scalar(), &alpha);
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

/// Tables of the packets' α, made when they were verified, by the windows' first packets and the places
/// in there.
#[derive(Default)]
struct Alphas {
    /// The first `used` hold tables, the others are room for some.
    many: Vec<Many>,
    used: usize,
    few: Vec<Few>,
}

/// Tables of several α side by side.
struct Many {
    window: usize,
    places: [Option<usize>; TOGETHER],
    combs: Combs,
}

/// Tables of one.
struct Few {
    window: usize,
    place: usize,
    comb: Comb,
}

/// Those of one window.
struct WindowAlphas<'a> {
    many: &'a [Many],
    few: &'a [Few],
}

impl Alphas {
    fn clear(&mut self) {
        self.used = 0;
        self.few.clear();
    }

    /// Makes and keeps tables of points side by side, unless one of them is on the twist.
    fn prepare(
        &mut self,
        backend: Backend,
        window: usize,
        places: &[usize],
        points: &[Point],
    ) -> Option<&Combs> {
        if self.used == self.many.len() {
            self.many.push(Many {
                window,
                places: [None; TOGETHER],
                combs: backend.combs()?,
            });
        }
        let many = &mut self.many[self.used];
        if !many.combs.prepare(points) {
            return None;
        }
        many.window = window;
        many.places = array::from_fn(|lane| places.get(lane).copied());
        self.used += 1;
        Some(&many.combs)
    }

    /// Those of the window that starts with this packet.
    fn of_window(&self, window: usize) -> WindowAlphas<'_> {
        let (many, few) = (&self.many[..self.used], &self.few[..]);
        let many = &many[many.partition_point(|many| many.window < window)..];
        let few = &few[few.partition_point(|few| few.window < window)..];
        WindowAlphas {
            many: &many[..many.partition_point(|many| many.window == window)],
            few: &few[..few.partition_point(|few| few.window == window)],
        }
    }
}

impl WindowAlphas<'_> {
    /// The packets' places in the window, in their order.
    fn places(&self) -> impl Iterator<Item = usize> {
        let many = self.many.iter().flat_map(|many| many.places).flatten();
        many.chain(self.few.iter().map(|few| few.place))
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

    /// At most once for each packet of a window, in their order.
    fn push(&mut self, place: usize, integer: &Integer, point: &Point) {
        self.places[self.count] = place;
        self.integers[self.count] = *integer;
        self.points[self.count] = *point;
        self.count += 1;
        self.used = self.used.max(self.count);
    }

    /// What was computed, and beside each product the place it was pushed with.
    fn computed(&self) -> (&[usize], &[Point]) {
        (&self.places[..self.count], &self.products[..self.count])
    }

    fn compute(&mut self, backend: Backend) {
        self.compute_range(backend, 0..self.count);
    }

    fn compute_range(&mut self, backend: Backend, range: Range<usize>) {
        backend.mul_many(
            &self.integers[range.clone()],
            &self.points[range.clone()],
            &mut self.products[range],
        );
    }

    /// The same, with tables of the points where that makes a second product of them cheaper, which
    /// are kept for the window that starts with this packet.
    fn compute_and_keep(&mut self, backend: Backend, window: usize, alphas: &mut Alphas) {
        let mut start = 0;
        while let Some(together) = backend.combs_together()
            && self.count - start >= *together.start()
        {
            let end = self.count.min(start + together.end());
            let places = &self.places[start..end];
            if let Some(combs) = alphas.prepare(backend, window, places, &self.points[start..end]) {
                combs.mul(&self.integers[start..end], &mut self.products[start..end]);
            } else {
                self.compute_range(backend, start..end);
            }
            start = end;
        }
        let in_lanes = self.count - backend.left_over(self.count - start);
        self.compute_range(backend, start..in_lanes);
        for i in in_lanes..self.count {
            let comb = backend.comb(&self.points[i]);
            self.products[i] = comb.mul(&self.integers[i]);
            let place = self.places[i];
            alphas.few.push(Few {
                window,
                place,
                comb,
            });
        }
    }

    /// The same by the tables that were kept.
    fn compute_by(&mut self, alphas: &WindowAlphas<'_>) {
        for many in alphas.many {
            let positions = many.places.map(|place| self.position(place?));
            if positions.iter().all(Option::is_none) {
                continue;
            }
            let mut integers = Zeroizing::new([[0; 32]; TOGETHER]);
            for (integer, position) in integers.iter_mut().zip(positions) {
                *integer = position.map_or([0; 32], |position| self.integers[position]);
            }
            let mut products = Zeroizing::new([[0; 32]; TOGETHER]);
            many.combs.mul(&*integers, &mut *products);
            for (product, position) in products.iter().zip(positions) {
                if let Some(position) = position {
                    self.products[position] = *product;
                }
            }
        }
        for few in alphas.few {
            if let Some(position) = self.position(few.place) {
                self.products[position] = few.comb.mul(&self.integers[position]);
            }
        }
    }

    /// Where the product is that was pushed with this place.
    fn position(&self, place: usize) -> Option<usize> {
        self.places[..self.count].binary_search(&place).ok()
    }
}

impl Drop for Products {
    fn drop(&mut self) {
        self.integers[..self.used].as_flattened_mut().zeroize();
        self.products[..self.used].as_flattened_mut().zeroize();
    }
}
