//! Taking one layer off a packet at a node.
//!
//! ```text
//!            verify                       peel
//!  packet ───────────► VerifiedHeader ───────────► Peeled::Forward  packet now holds the next one
//!     │ too short         │                └─────► Peeled::Final    packet now ends in the payload
//!     │ wrong MAC         └ mac(): ask the replay filter here
//!     ▼
//!   Error
//! ```

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{
    delay::Delay,
    error::{Error, RoutingFault},
    header::{FINAL_FLAG, FORWARD_FLAG},
    hop_keys::{self, HopKeys},
    keys::{PrivateKey, PublicKey, SharedSecret},
    lioness::{self, Encrypted, TOGETHER},
    route::{Destination, NodeAddress},
    scalar_mult::{Backend, Integer, Point, backend},
    sizes::{
        GROUP_ELEMENT_LEN, HEADER_LEN, MAC_LEN, MIN_PACKET_LEN, PADDED_ROUTING_INFO_LEN,
        ROUTING_INFO_LEN, VERSION_LEN,
    },
    version::Version,
};

/// Proof that a packet's header is authentic for this node's key, and the keys to peel it with.
///
/// Only [`verify`] makes one. Between the two steps belongs the replay filter: peeling is only for
/// packets whose [`mac`](Self::mac) has not been seen.
pub struct VerifiedHeader {
    version: Version,
    keys: HopKeys,
    mac: [u8; MAC_LEN],
}

/// Where a peeled packet goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Peeled {
    /// The buffer holds the packet for the next hop, as long as the one that came.
    Forward {
        /// Where to send it.
        next_hop: NodeAddress,
        /// How long to hold it first. The sender's wish, unbounded: bound it.
        delay: Delay,
    },
    /// This was the last hop. The buffer holds the payload from [`HEADER_LEN`] on; read it with
    /// [`recover_plaintext`](crate::recover_plaintext).
    Final {
        /// Whom the payload is for.
        destination: Destination,
    },
}

/// Checks that a packet's header is authentic for the owner of `key`.
///
/// The header alone is covered: a changed payload is noticed at the last hop only, where the
/// plaintext is recovered. One key agreement; no allocation; the MAC is compared in constant time.
///
/// # Errors
///
/// [`Error::InvalidPacket`] if there are fewer than [`MIN_PACKET_LEN`] bytes,
/// [`Error::InvalidHeader`] if the MAC is wrong.
pub fn verify(version: Version, key: &PrivateKey, packet: &[u8]) -> Result<VerifiedHeader, Error> {
    let parts = Parts::of(packet)?;
    let secret = key.diffie_hellman(&PublicKey::from_bytes(*parts.alpha));
    VerifiedHeader::check(version, &secret, &parts)
}

/// [`verify`] and [`VerifiedHeader::peel`] at once, for those who have no replay filter.
///
/// # Errors
///
/// Those of both.
pub fn process(version: Version, key: &PrivateKey, packet: &mut [u8]) -> Result<Peeled, Error> {
    let parts = Parts::of(packet)?;
    // Both products of a forward hop are multiples of α.
    let alpha = backend().comb(parts.alpha);
    let secret = SharedSecret::from_point(alpha.mul(key.integer()));
    VerifiedHeader::check(version, &secret, &parts)?.peel_with(packet, |scalar| alpha.mul(scalar))
}

impl VerifiedHeader {
    /// γ of the packet that came: what a replay filter remembers.
    ///
    /// α would not do, for there are several encodings of the same secret; γ is what was verified.
    pub fn mac(&self) -> &[u8; MAC_LEN] {
        &self.mac
    }

    /// Takes this hop's layer off the packet that was verified, in place.
    ///
    /// No allocation. After an error the packet is as it was.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidRouting`] if the routing record has an unknown flag;
    /// [`Error::InvalidPayload`] if the payload has fewer than
    /// [`MIN_PAYLOAD_LEN`](crate::MIN_PAYLOAD_LEN) bytes. If `packet` is not the one that was
    /// verified: [`Error::InvalidPacket`] or [`Error::InvalidHeader`].
    pub fn peel(self, packet: &mut [u8]) -> Result<Peeled, Error> {
        let alpha = *Parts::of(packet)?.alpha;
        self.peel_with(packet, |scalar| backend().mul(scalar, &alpha))
    }

    /// The same, with the means to multiply α.
    fn peel_with(
        self,
        packet: &mut [u8],
        mul_alpha: impl FnOnce(&Integer) -> Point,
    ) -> Result<Peeled, Error> {
        let (peeled, version) = self.take_record(packet)?;
        if let Peeled::Forward { .. } = peeled {
            let next_alpha = mul_alpha(&self.blinding_scalar());
            packet[..GROUP_ELEMENT_LEN].copy_from_slice(&next_alpha);
        }
        let Encrypted { key, block } = self.encrypted_payload(version, packet);
        lioness::decrypt(backend(), &key, block)
            .expect("the length was checked when the record was taken");
        Ok(peeled)
    }

    /// Derives the keys from the secret and checks the MAC.
    pub(crate) fn check(
        version: Version,
        secret: &SharedSecret,
        parts: &Parts<'_>,
    ) -> Result<Self, Error> {
        let keys = HopKeys::derive(secret);
        let mac = keys.header_mac(parts.routing_info);
        Self::compare(version, keys, &mac, parts)
    }

    /// [`check`](Self::check) of up to [`TOGETHER`] packets, side by side.
    #[cfg_attr(
        not(target_arch = "x86_64"),
        expect(unused_variables, reason = "no lanes")
    )]
    pub(crate) fn check_together(
        backend: Backend,
        version: Version,
        secrets: &[Point],
        parts: &[Option<Parts<'_>>],
    ) -> [Option<Result<Self, Error>>; TOGETHER] {
        let mut results = [const { None }; TOGETHER];
        // One call for all lanes costs as much as the keys of three packets alone.
        #[cfg(target_arch = "x86_64")]
        if let Some(lanes) = backend.avx512()
            && secrets.len() >= 4
            && let Some(first) = parts[0]
        {
            // Lanes without a packet do what the first one does.
            let secret = |lane| secrets.get(lane).unwrap_or(&secrets[0]);
            let parts = std::array::from_fn(|lane| match parts.get(lane) {
                Some(&Some(parts)) => parts,
                _ => first,
            });
            let blocks = lanes.key_blocks(&std::array::from_fn(secret));
            let macs = lanes.header_macs(
                &blocks.each_ref().map(hop_keys::mac_key),
                &parts.map(|parts: Parts<'_>| parts.routing_info),
            );
            let lanes = blocks.iter().zip(macs).zip(&parts).take(secrets.len());
            for (result, ((block, mac), parts)) in results.iter_mut().zip(lanes) {
                *result = Some(Self::compare(
                    version,
                    HopKeys::from_block(block),
                    &mac,
                    parts,
                ));
            }
            return results;
        }
        for (result, (secret, parts)) in results.iter_mut().zip(secrets.iter().zip(parts)) {
            *result = parts
                .as_ref()
                .map(|parts| Self::check(version, &SharedSecret::from_point(*secret), parts));
        }
        results
    }

    fn compare(
        version: Version,
        keys: HopKeys,
        mac: &[u8; MAC_LEN],
        parts: &Parts<'_>,
    ) -> Result<Self, Error> {
        if !bool::from(mac.ct_eq(parts.mac)) {
            return Err(Error::InvalidHeader);
        }
        Ok(Self {
            version,
            keys,
            mac: *parts.mac,
        })
    }

    /// Takes the routing record off β. At a forward hop γ and β become those for the next. Returns
    /// where the packet goes and the version whose rules its payload follows.
    ///
    /// All that can be wrong is found here; after an error the packet is as it was. What remains is
    /// to blind α by the [`blinding_scalar`](Self::blinding_scalar) at a forward hop and to
    /// decrypt the [payload](Self::encrypted_payload).
    pub(crate) fn take_record(&self, packet: &mut [u8]) -> Result<(Peeled, Version), Error> {
        let parts = Parts::of(packet)?;
        if *parts.mac != self.mac {
            return Err(Error::InvalidHeader);
        }
        let mut padded = [0; PADDED_ROUTING_INFO_LEN];
        let routing = Routing::decrypt(&self.keys, parts.routing_info, &mut padded)?;
        lioness::check_len(packet.len() - HEADER_LEN).map_err(Error::InvalidPayload)?;
        if let Some(next_header) = routing.next_header {
            packet[GROUP_ELEMENT_LEN..HEADER_LEN].copy_from_slice(next_header);
        }
        Ok((routing.peeled, self.version.of_record(routing.version)))
    }

    /// The integer that α is multiplied by for the next hop.
    pub(crate) fn blinding_scalar(&self) -> Zeroizing<Integer> {
        self.keys.blinding_scalar(self.version.blinding())
    }

    /// The payload of a packet whose record was taken, and the key of its outermost layer.
    pub(crate) fn encrypted_payload<'p>(
        &self,
        version: Version,
        packet: &'p mut [u8],
    ) -> Encrypted<'p> {
        Encrypted {
            key: self.keys.payload_key(version),
            block: &mut packet[HEADER_LEN..],
        }
    }

    /// The version bytes of the packet's routing record.
    pub(crate) fn record_version(&self, packet: &[u8]) -> Result<Version, Error> {
        let mut padded = [0; PADDED_ROUTING_INFO_LEN];
        let routing = Routing::decrypt(&self.keys, Parts::of(packet)?.routing_info, &mut padded)?;
        Ok(self.version.of_record(routing.version))
    }
}

impl std::fmt::Debug for VerifiedHeader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerifiedHeader").finish_non_exhaustive()
    }
}

/// A packet taken apart.
#[derive(Clone, Copy)]
pub(crate) struct Parts<'p> {
    pub(crate) alpha: &'p [u8; GROUP_ELEMENT_LEN],
    mac: &'p [u8; MAC_LEN],
    routing_info: &'p [u8; ROUTING_INFO_LEN],
}

impl<'p> Parts<'p> {
    pub(crate) fn of(packet: &'p [u8]) -> Result<Self, Error> {
        let too_short = Error::InvalidPacket {
            found: packet.len(),
            minimum: MIN_PACKET_LEN,
        };
        if packet.len() < MIN_PACKET_LEN {
            return Err(too_short);
        }
        let (alpha, rest) = packet.split_first_chunk().ok_or(too_short)?;
        let (mac, rest) = rest.split_first_chunk().ok_or(too_short)?;
        let routing_info = rest.first_chunk().ok_or(too_short)?;
        Ok(Self {
            alpha,
            mac,
            routing_info,
        })
    }
}

/// A decrypted routing record.
struct Routing<'r> {
    version: [u8; VERSION_LEN],
    peeled: Peeled,
    /// γ' and β', at a forward hop.
    next_header: Option<&'r [u8]>,
}

impl<'r> Routing<'r> {
    /// Decrypts β with its appended zeros into `padded` and reads the record at its start.
    fn decrypt(
        keys: &HopKeys,
        routing_info: &[u8; ROUTING_INFO_LEN],
        padded: &'r mut [u8; PADDED_ROUTING_INFO_LEN],
    ) -> Result<Self, Error> {
        const ENOUGH: &str = "a decrypted record has 360 bytes, more than all its fields";
        let (own, appended) = padded.split_at_mut(ROUTING_INFO_LEN);
        own.copy_from_slice(routing_info);
        appended.fill(0);
        keys.apply_keystream(padded);

        let (&[flag], rest) = padded.split_first_chunk().expect(ENOUGH);
        let (version, rest) = rest.split_first_chunk().expect(ENOUGH);
        let (address, rest) = rest.split_first_chunk().expect(ENOUGH);
        match flag {
            FORWARD_FLAG => {
                let (delay, next_header) = rest.split_first_chunk().expect(ENOUGH);
                Ok(Self {
                    version: *version,
                    peeled: Peeled::Forward {
                        next_hop: NodeAddress(*address),
                        delay: Delay::from_nanos(u64::from_be_bytes(*delay)),
                    },
                    next_header: Some(next_header),
                })
            }
            FINAL_FLAG => {
                let identifier = *rest.first_chunk().expect(ENOUGH);
                Ok(Self {
                    version: *version,
                    peeled: Peeled::Final {
                        destination: Destination {
                            address: *address,
                            identifier,
                        },
                    },
                    next_header: None,
                })
            }
            flag => Err(Error::InvalidRouting(RoutingFault::UnknownFlag { flag })),
        }
    }
}
