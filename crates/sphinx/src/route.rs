//! Where packets go.

use std::fmt;

use crate::{
    delay::Delay,
    error::RoutingFault,
    keys::PublicKey,
    sizes::{DESTINATION_ADDRESS_LEN, IDENTIFIER_LEN, MAX_HOPS, NODE_ADDRESS_LEN},
};

/// Where to send a packet next: 32 bytes whose meaning the network defines.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NodeAddress(pub [u8; NODE_ADDRESS_LEN]);

/// Whom the last hop hands the payload to.
///
/// `Debug` shows nothing: this is the address of a person.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct Destination {
    /// 32 bytes whose meaning the network defines.
    pub address: [u8; DESTINATION_ADDRESS_LEN],
    /// 16 bytes for the recipient; a SURB's owner knows the SURB again by them.
    pub identifier: [u8; IDENTIFIER_LEN],
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Destination").finish_non_exhaustive()
    }
}

/// One node of a route.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Hop {
    /// How the hop before this one reaches it.
    pub address: NodeAddress,
    /// The key this hop's layer is encrypted for.
    pub public_key: PublicKey,
}

/// How a packet travels: a route, and where it ends.
#[derive(Clone, Copy, Debug)]
pub struct Way<'w> {
    /// One to [`MAX_HOPS`] nodes.
    pub route: &'w [Hop],
    /// How long each node holds the packet; the last one's delay is not sent.
    pub delays: &'w [Delay],
    /// Whom the last node hands the payload to.
    pub destination: &'w Destination,
}

/// Accepts routes a header can hold, with one delay for each hop.
pub(crate) fn check_route(hop_count: usize, delay_count: usize) -> Result<(), RoutingFault> {
    if hop_count == 0 || hop_count > MAX_HOPS {
        return Err(RoutingFault::HopCount {
            found: hop_count,
            maximum: MAX_HOPS,
        });
    }
    if delay_count != hop_count {
        return Err(RoutingFault::DelayCount {
            found: delay_count,
            expected: hop_count,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_have_one_to_five_hops() {
        assert_eq!(
            check_route(0, 0),
            Err(RoutingFault::HopCount {
                found: 0,
                maximum: 5
            })
        );
        for hops in 1..=5 {
            assert_eq!(check_route(hops, hops), Ok(()));
        }
        assert_eq!(
            check_route(6, 6),
            Err(RoutingFault::HopCount {
                found: 6,
                maximum: 5
            })
        );
    }

    #[test]
    fn each_hop_has_exactly_one_delay() {
        assert_eq!(
            check_route(3, 2),
            Err(RoutingFault::DelayCount {
                found: 2,
                expected: 3
            })
        );
        assert_eq!(
            check_route(3, 4),
            Err(RoutingFault::DelayCount {
                found: 4,
                expected: 3
            })
        );
    }

    #[test]
    fn debug_of_a_destination_shows_nothing() {
        let destination = Destination {
            address: [7; 32],
            identifier: [9; 16],
        };
        assert_eq!(format!("{destination:?}"), "Destination { .. }");
    }
}
