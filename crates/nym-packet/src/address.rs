//! Where packets go: the socket address of a hop, and the address of a client.

mod recipient;

use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::str::FromStr;

use sphinx::NodeAddress;
use thiserror::Error;

pub use self::recipient::{Recipient, RecipientError};

/// First byte of an encoded IPv4 address.
const TYPE_V4: u8 = 4;

/// First byte of an encoded IPv6 address.
const TYPE_V6: u8 = 6;

/// The socket address at which the next hop of a packet listens.
///
/// ```text
/// type (1): 4 or 6 ‖ port (2, big-endian) ‖ octets (4 or 16)      7 or 19 bytes
/// ```
///
/// It travels in three forms, which differ in the zeros behind it only: bare (7 or 19 bytes),
/// padded to 19 (in a SURB-ACK) and padded to 32 (a Sphinx node address). An IPv6 scope and flow
/// label cannot be carried and are dropped; an IPv4 address mapped into IPv6 stays IPv6. Any
/// address and port can be named, loopback and port 0 too: whether to dial it is the policy of
/// whoever dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HopAddress(SocketAddr);

impl HopAddress {
    /// Bytes of the longest bare form, and of the form in a SURB-ACK.
    pub const MAX_LEN: usize = 19;

    /// Bytes of the bare form of an IPv4 address.
    pub const V4_LEN: usize = 7;

    /// Names a socket address, without IPv6 scope and flow label.
    #[must_use]
    pub const fn new(address: SocketAddr) -> Self {
        Self(SocketAddr::new(address.ip(), address.port()))
    }

    /// The address to dial.
    #[must_use]
    pub const fn socket_addr(self) -> SocketAddr {
        self.0
    }

    /// Bytes of the bare form: 7 or 19.
    #[must_use]
    pub const fn unpadded_len(self) -> usize {
        match self.0 {
            SocketAddr::V4(_) => Self::V4_LEN,
            SocketAddr::V6(_) => Self::MAX_LEN,
        }
    }

    /// The bare form, 7 or 19 bytes.
    #[must_use]
    pub fn to_unpadded(self) -> UnpaddedHopAddress {
        UnpaddedHopAddress {
            bytes: self.to_padded19(),
            len: self.unpadded_len(),
        }
    }

    /// The form in a SURB-ACK: padded with zeros to 19 bytes.
    #[must_use]
    pub fn to_padded19(self) -> [u8; Self::MAX_LEN] {
        let mut bytes = [0; Self::MAX_LEN];
        self.write(&mut bytes);
        bytes
    }

    /// The form in a Sphinx header: padded with zeros to 32 bytes.
    #[must_use]
    pub fn to_node_address(self) -> NodeAddress {
        let mut bytes = [0; 32];
        self.write(&mut bytes);
        NodeAddress(bytes)
    }

    /// Reads an address from the start of `bytes`, whatever follows it.
    ///
    /// # Errors
    ///
    /// [`AddressError::TooShort`] below the bytes that the type asks for (7 before the type is
    /// even looked at), [`AddressError::UnknownType`] if the first byte is neither 4 nor 6.
    pub fn decode(bytes: &[u8]) -> Result<Self, AddressError> {
        Self::decode_prefix(bytes).map(|(address, _)| address)
    }

    /// Like [`decode`](Self::decode), and gives the bytes behind the address too.
    ///
    /// # Errors
    ///
    /// As [`decode`](Self::decode).
    pub fn decode_prefix(bytes: &[u8]) -> Result<(Self, &[u8]), AddressError> {
        let too_short = |needed| AddressError::TooShort {
            needed,
            found: bytes.len(),
        };
        let (&[kind, port_high, port_low, a, b, c, d], after_v4) = bytes
            .split_first_chunk()
            .ok_or_else(|| too_short(Self::V4_LEN))?;
        let port = u16::from_be_bytes([port_high, port_low]);
        match kind {
            TYPE_V4 => Ok((
                Self(SocketAddr::new(IpAddr::from([a, b, c, d]), port)),
                after_v4,
            )),
            TYPE_V6 => {
                let (&[_, _, _, octets @ ..], after_v6) = bytes
                    .split_first_chunk::<{ Self::MAX_LEN }>()
                    .ok_or_else(|| too_short(Self::MAX_LEN))?;
                Ok((Self(SocketAddr::new(IpAddr::from(octets), port)), after_v6))
            }
            found => Err(AddressError::UnknownType { found }),
        }
    }

    /// Writes the bare form to the start of `bytes`, which holds at least 19.
    fn write(self, bytes: &mut [u8]) {
        let [port_high, port_low] = self.0.port().to_be_bytes();
        let mut put = |kind, octets: &[u8]| {
            let head = [kind, port_high, port_low];
            for (byte, value) in bytes.iter_mut().zip(head.iter().chain(octets)) {
                *byte = *value;
            }
        };
        match self.0.ip() {
            IpAddr::V4(ip) => put(TYPE_V4, &ip.octets()),
            IpAddr::V6(ip) => put(TYPE_V6, &ip.octets()),
        }
    }
}

impl From<SocketAddr> for HopAddress {
    fn from(address: SocketAddr) -> Self {
        Self::new(address)
    }
}

impl From<HopAddress> for SocketAddr {
    fn from(address: HopAddress) -> Self {
        address.0
    }
}

impl fmt::Display for HopAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for HopAddress {
    type Err = core::net::AddrParseError;

    /// Reads `a.b.c.d:port` or `[v6]:port`; host names are resolved elsewhere.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self::new)
    }
}

/// The bare bytes of a [`HopAddress`], 7 or 19; made by [`HopAddress::to_unpadded`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnpaddedHopAddress {
    bytes: [u8; HopAddress::MAX_LEN],
    len: usize,
}

impl AsRef<[u8]> for UnpaddedHopAddress {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&self.bytes)
    }
}

/// Why bytes are not the address of a hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AddressError {
    /// The bytes end inside the address.
    #[error("hop address needs {needed} bytes, found {found}")]
    TooShort {
        /// Bytes of the shortest address that could stand here.
        needed: usize,
        /// Bytes given.
        found: usize,
    },
    /// The first byte is neither 4 (IPv4) nor 6 (IPv6).
    #[error("unknown hop address type {found}")]
    UnknownType {
        /// The first byte.
        found: u8,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn v4_takes_seven_bytes() {
        let address: HopAddress = "1.2.3.4:1789".parse().unwrap();
        assert_eq!(address.to_unpadded().as_ref(), [4, 6, 253, 1, 2, 3, 4]);
        assert_eq!(address.to_padded19()[..7], [4, 6, 253, 1, 2, 3, 4]);
        assert_eq!(address.to_padded19()[7..], [0; 12]);
    }

    #[test]
    fn length_is_checked_before_the_type() {
        let short = AddressError::TooShort {
            needed: 7,
            found: 6,
        };
        assert_eq!(HopAddress::decode(&[9; 6]), Err(short));
        assert_eq!(
            HopAddress::decode(&[9; 7]),
            Err(AddressError::UnknownType { found: 9 })
        );
        assert_eq!(
            HopAddress::decode(&[6; 18]),
            Err(AddressError::TooShort {
                needed: 19,
                found: 18
            })
        );
        assert!(HopAddress::decode(&[6; 19]).is_ok());
    }

    #[test]
    fn mapped_v4_stays_v6() {
        let address: HopAddress = "[::ffff:1.2.3.4]:1".parse().unwrap();
        assert_eq!(address.unpadded_len(), 19);
        assert_eq!(
            HopAddress::decode(address.to_unpadded().as_ref()),
            Ok(address)
        );
    }

    #[test]
    fn scope_is_dropped() {
        let scoped: SocketAddr = "[fe80::1%3]:5".parse().unwrap();
        assert_eq!(HopAddress::new(scoped).to_string(), "[fe80::1]:5");
    }

    proptest! {
        #[test]
        fn every_form_decodes_to_the_address(address: SocketAddr, behind: [u8; 3]) {
            let address = HopAddress::new(address);
            prop_assert_eq!(HopAddress::decode(&address.to_padded19()), Ok(address));
            prop_assert_eq!(HopAddress::decode(&address.to_node_address().0), Ok(address));
            let mut bytes = address.to_unpadded().as_ref().to_vec();
            bytes.extend(behind);
            prop_assert_eq!(HopAddress::decode_prefix(&bytes), Ok((address, &behind[..])));
        }

        #[test]
        fn any_bytes_are_an_address_or_an_error(bytes: Vec<u8>) {
            if let Ok((address, rest)) = HopAddress::decode_prefix(&bytes) {
                let used = &bytes[..bytes.len() - rest.len()];
                let unpadded = address.to_unpadded();
                prop_assert_eq!(unpadded.as_ref(), used);
            }
        }
    }
}
