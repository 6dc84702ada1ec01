//! Building packets.

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::{
    delay::Delay,
    error::{Error, PayloadFault},
    header::{self, Draft, RouteKeys},
    keys::{PrivateKey, PublicKey, SharedSecret},
    lioness::{Encrypted, TOGETHER, encrypt_together},
    multiplier::{Multiplier, Tables},
    payload,
    route::{Destination, Hop, Way, check_route},
    scalar_mult::{Backend, backend},
    sizes::{HEADER_LEN, MIN_PAYLOAD_LEN},
    version::Version,
};

/// Builds a packet of [`HEADER_LEN`] + `payload_len` bytes for `route`.
///
/// Send it to the address of the first hop; that address is not in the packet. `delays` has one
/// value for each hop; the last hop's is not sent, as it hands the payload over at once. The message
/// may have up to `payload_len` − [`PAYLOAD_OVERHEAD`](crate::PAYLOAD_OVERHEAD) bytes.
///
/// `rng` gives the initial secret (32 bytes) and then the padding of the last routing record (248
/// bytes less 60 for each hop after the first), so two packets of equal inputs differ.
///
/// # Errors
///
/// [`Error::InvalidRouting`] if the route has no hop or more than [`MAX_HOPS`](crate::MAX_HOPS), or
/// not as many delays as hops. [`Error::InvalidPayload`] if `payload_len` is below
/// [`MIN_PAYLOAD_LEN`] or the message does not fit.
pub fn build<R: CryptoRng + ?Sized>(
    version: Version,
    route: &[Hop],
    delays: &[Delay],
    destination: &Destination,
    message: &[u8],
    payload_len: usize,
    rng: &mut R,
) -> Result<Vec<u8>, Error> {
    // Refused here already, so that a nonsensical length is not allocated first.
    check_route(route.len(), delays.len()).map_err(Error::InvalidRouting)?;
    payload::check_capacity(message.len(), payload_len).map_err(Error::InvalidPayload)?;
    let mut packet = vec![0; HEADER_LEN + payload_len];
    build_into(
        version,
        route,
        delays,
        destination,
        message,
        &mut packet,
        rng,
    )?;
    Ok(packet)
}

/// Builds a packet that fills `out`, without allocating; otherwise like [`build`](crate::build()).
///
/// What is in `out` before does not matter. After an error its content is unspecified.
///
/// # Errors
///
/// As [`build`](crate::build()); a buffer below [`HEADER_LEN`] + [`MIN_PAYLOAD_LEN`] bytes is
/// [`Error::InvalidPayload`].
pub fn build_into<R: CryptoRng + ?Sized>(
    version: Version,
    route: &[Hop],
    delays: &[Delay],
    destination: &Destination,
    message: &[u8],
    out: &mut [u8],
    rng: &mut R,
) -> Result<(), Error> {
    let way = Way {
        route,
        delays,
        destination,
    };
    build_one(
        version,
        way,
        message,
        out,
        rng,
        Multiplier::Plain(backend()),
    )
}

/// Builds packets faster: several side by side, and with tables of the public keys that it met
/// before.
///
/// For a sender, who builds many packets for few nodes: with the tables at hand, a product costs less
/// than half. They take 5.5 KB for each of up to 512 public keys and are not secret. The packets are,
/// byte for byte, those that [`build_into`] makes one after the other with the same generator.
///
/// ```
/// use sphinx::{Builder, Delay, Destination, Envelope, HEADER_LEN, Version, Way, process};
/// # use sphinx::{Hop, NodeAddress, PrivateKey};
/// # use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
/// # let mut rng = ChaCha20Rng::seed_from_u64(1);
/// # let key = PrivateKey::generate(&mut rng);
/// # let route = [Hop { address: NodeAddress([7; 32]), public_key: key.public_key() }];
/// # let destination = Destination { address: [8; 32], identifier: [9; 16] };
///
/// let mut builder = Builder::new(); // keep it, for its tables
/// let way = Way { route: &route, delays: &[Delay::ZERO], destination: &destination };
/// let envelopes = builder.address(Version::NYM_0_11, &[way; 8], &mut rng)?;
///
/// let mut packets = vec![[0; HEADER_LEN + 100]; 8];
/// let mut letters: Vec<_> = (envelopes.iter().zip(&mut packets))
///     .map(|(envelope, packet)| envelope.with(b"hello", packet))
///     .collect();
/// builder.seal(&mut letters)?;
/// # drop(letters);
/// # for mut packet in packets { process(Version::NYM_0_11, &key, &mut packet)?; }
/// # Ok::<(), sphinx::Error>(())
/// ```
pub struct Builder {
    backend: Backend,
    tables: Tables,
}

impl Builder {
    /// Without any tables yet.
    pub fn new() -> Self {
        Self::with_backend(backend())
    }

    /// The same with a certain implementation of scalar multiplication.
    pub fn with_backend(backend: Backend) -> Self {
        Self {
            backend,
            tables: Tables::new(backend),
        }
    }

    /// [`build_into`] of one packet, with the tables.
    ///
    /// # Errors
    ///
    /// As [`build_into`].
    pub fn build_into<R: CryptoRng + ?Sized>(
        &mut self,
        version: Version,
        way: Way<'_>,
        message: &[u8],
        out: &mut [u8],
        rng: &mut R,
    ) -> Result<(), Error> {
        let multiplier = Multiplier::Tables(&mut self.tables);
        build_one(version, way, message, out, rng, multiplier)
    }

    /// Makes the headers of any number of packets, side by side.
    ///
    /// Draws from `rng` for one after the other what [`build`](crate::build()) draws.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidRouting`] if a route has no hop or more than [`MAX_HOPS`](crate::MAX_HOPS), or
    /// not as many delays as hops.
    pub fn address<R: CryptoRng + ?Sized>(
        &mut self,
        version: Version,
        ways: &[Way<'_>],
        rng: &mut R,
    ) -> Result<Vec<Envelope>, Error> {
        // Sized at once: growing would leave copies of the secrets behind.
        let mut drafts = Vec::with_capacity(ways.len());
        for way in ways {
            drafts.push(Draft::new(version, way, rng).map_err(Error::InvalidRouting)?);
        }
        let multiplier = &mut Multiplier::Tables(&mut self.tables);
        header::complete(version, ways, &mut drafts, multiplier);
        let envelope = |draft: Draft| {
            let (header, keys) = draft.into_parts();
            Envelope {
                version,
                header,
                keys,
            }
        };
        Ok(drafts.into_iter().map(envelope).collect())
    }

    /// For each pair the public key of the first, which is fresh, and what it agrees on with the
    /// second: [`PrivateKey::public_key`] and [`PrivateKey::diffie_hellman`], side by side.
    pub fn agree(&mut self, pairs: &[(&PrivateKey, &PublicKey)]) -> Vec<(PublicKey, SharedSecret)> {
        let mut multiplier = Multiplier::Tables(&mut self.tables);
        let mut integers = Zeroizing::new([[0; 32]; TOGETHER]);
        let mut points = [[0; 32]; TOGETHER];
        let mut secrets = Zeroizing::new([[0; 32]; TOGETHER]);
        // Sized at once: growing would leave copies of the secrets behind.
        let mut agreed = Vec::with_capacity(pairs.len());
        for pairs in pairs.chunks(TOGETHER) {
            for ((integer, point), (own, their)) in integers.iter_mut().zip(&mut points).zip(pairs)
            {
                *integer = *own.integer();
                *point = *their.as_bytes();
            }
            let mut fresh = [[0; 32]; TOGETHER];
            multiplier.mul_base(pairs.len(), &integers, &mut fresh);
            multiplier.mul_public(&points[..pairs.len()], &integers, &mut secrets);
            let both = fresh.iter().zip(&*secrets).take(pairs.len());
            agreed.extend(both.map(|(fresh, secret)| {
                (
                    PublicKey::from_bytes(*fresh),
                    SharedSecret::from_point(*secret),
                )
            }));
        }
        agreed
    }

    /// Writes the packets of any number of letters, the payloads encrypted side by side.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidPayload`] if a packet's buffer is below [`HEADER_LEN`] + [`MIN_PAYLOAD_LEN`]
    /// bytes or a message does not fit; then the content of all buffers is unspecified.
    pub fn seal(&self, letters: &mut [Letter<'_>]) -> Result<(), Error> {
        for letter in letters.iter_mut() {
            let (header, payload) = split(letter.packet)?;
            *header = letter.envelope.header;
            payload::write_plaintext(letter.message, payload).map_err(Error::InvalidPayload)?;
        }
        // Side by side with payloads of their own length, so that none waits for a longer one.
        let mut order: Vec<&mut Letter<'_>> = letters.iter_mut().collect();
        order.sort_unstable_by_key(|letter| letter.packet.len());
        for letters in order.chunks_mut(TOGETHER) {
            let mut payloads = [const { None }; TOGETHER];
            for (payload, letter) in payloads.iter_mut().zip(letters) {
                let Envelope { version, keys, .. } = letter.envelope;
                *payload = Some((*version, keys, &mut letter.packet[HEADER_LEN..]));
            }
            encrypt_payloads(self.backend, &mut payloads);
        }
        Ok(())
    }

    /// Builds any number of packets, each filling its `out`: [`address`](Self::address) and
    /// [`seal`](Self::seal) at once.
    ///
    /// # Errors
    ///
    /// Those of both; then the content of all buffers is unspecified.
    pub fn build_batch<R: CryptoRng + ?Sized>(
        &mut self,
        version: Version,
        ways: &[Way<'_>],
        contents: &mut [(&[u8], &mut [u8])],
        rng: &mut R,
    ) -> Result<(), Error> {
        let envelopes = self.address(version, ways, rng)?;
        let mut letters: Vec<_> = (envelopes.iter().zip(contents))
            .map(|(envelope, (message, out))| envelope.with(message, out))
            .collect();
        self.seal(&mut letters)
    }
}

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder").finish_non_exhaustive()
    }
}

/// A header whose payload is still to come, with the keys of its hops, wiped when dropped.
///
/// Use one for a single packet only: two with the same header can be linked, and a node with a
/// replay filter drops the second.
pub struct Envelope {
    version: Version,
    header: [u8; HEADER_LEN],
    keys: RouteKeys,
}

impl Envelope {
    /// What is to become a packet that fills `packet`.
    pub fn with<'l>(&'l self, message: &'l [u8], packet: &'l mut [u8]) -> Letter<'l> {
        Letter {
            envelope: self,
            message,
            packet,
        }
    }
}

impl std::fmt::Debug for Envelope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Envelope").finish_non_exhaustive()
    }
}

/// A message in an [`Envelope`], to be [sealed](Builder::seal).
pub struct Letter<'l> {
    envelope: &'l Envelope,
    message: &'l [u8],
    packet: &'l mut [u8],
}

impl std::fmt::Debug for Letter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Letter").finish_non_exhaustive()
    }
}

fn build_one<R: CryptoRng + ?Sized>(
    version: Version,
    way: Way<'_>,
    message: &[u8],
    out: &mut [u8],
    rng: &mut R,
    mut multiplier: Multiplier<'_>,
) -> Result<(), Error> {
    check_route(way.route.len(), way.delays.len()).map_err(Error::InvalidRouting)?;
    let (header, payload) = split(out)?;
    payload::write_plaintext(message, payload).map_err(Error::InvalidPayload)?;
    let mut drafts = [Draft::new(version, &way, rng).map_err(Error::InvalidRouting)?];
    header::complete(version, &[way], &mut drafts, &mut multiplier);
    let [draft] = drafts;
    let (built, keys) = draft.into_parts();
    *header = built;
    let mut payloads = [const { None }; TOGETHER];
    payloads[0] = Some((version, &keys, payload));
    encrypt_payloads(multiplier.backend(), &mut payloads);
    Ok(())
}

fn split(packet: &mut [u8]) -> Result<(&mut [u8; HEADER_LEN], &mut [u8]), Error> {
    packet
        .split_first_chunk_mut()
        .ok_or(Error::InvalidPayload(PayloadFault::TooShort {
            found: 0,
            minimum: MIN_PAYLOAD_LEN,
        }))
}

/// Encrypts payloads that can hold a message, for the last hop first.
fn encrypt_payloads(
    backend: Backend,
    payloads: &mut [Option<(Version, &RouteKeys, &mut [u8])>; TOGETHER],
) {
    let longest = payloads
        .iter()
        .flatten()
        .map(|(_, keys, _)| keys.hops().len());
    for passed in 0..longest.max().unwrap_or(0) {
        let mut together = [const { None }; TOGETHER];
        for (encrypted, payload) in together.iter_mut().zip(&mut *payloads) {
            if let Some((version, keys, block)) = payload
                && let Some(hop) = keys.hops().iter().rev().nth(passed)
            {
                let key: Zeroizing<_> = hop.payload_key(*version);
                *encrypted = Some(Encrypted { key, block });
            }
        }
        encrypt_together(backend, &mut together);
    }
}
