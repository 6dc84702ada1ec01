//! Building a packet.

use rand_core::CryptoRng;

use crate::{
    delay::Delay,
    error::{Error, PayloadFault},
    header::{self, RouteKeys},
    lioness, payload,
    route::{Destination, Hop, check_route},
    scalar_mult::backend,
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
    check_route(route.len(), delays.len()).map_err(Error::InvalidRouting)?;
    let Some((header, payload)) = out.split_first_chunk_mut::<HEADER_LEN>() else {
        return Err(Error::InvalidPayload(PayloadFault::TooShort {
            found: 0,
            minimum: MIN_PAYLOAD_LEN,
        }));
    };
    payload::write_plaintext(message, payload).map_err(Error::InvalidPayload)?;
    let keys = header::build(version, route, delays, destination, rng, header)
        .map_err(Error::InvalidRouting)?;
    encrypt_payload(version, &keys, payload).map_err(Error::InvalidPayload)
}

fn encrypt_payload(
    version: Version,
    keys: &RouteKeys,
    payload: &mut [u8],
) -> Result<(), PayloadFault> {
    for hop in keys.hops().iter().rev() {
        lioness::encrypt(backend(), &hop.payload_key(version), payload)?;
    }
    Ok(())
}
