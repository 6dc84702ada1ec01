//! The way of a packet: which nodes it crosses and how long it waits at each.

use core::time::Duration;

use rand_core::CryptoRng;
use sphinx::{Delay, Hop, MAX_HOPS};
use thiserror::Error;

use crate::address::HopAddress;
use crate::keys::PublicKey;

/// One node on a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteHop {
    /// Where the node listens for packets.
    pub address: HopAddress,
    /// The key that opens the node's layer of a packet.
    pub sphinx_key: PublicKey,
}

/// One to five nodes in the order a packet crosses them; the last is the recipient's gateway.
///
/// Normally there are four: a mix node of each of the three layers, then the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route(Vec<RouteHop>);

impl Route {
    /// A route over these nodes.
    ///
    /// # Errors
    ///
    /// [`RouteError`] for no hop or more than the five that a Sphinx header has room for.
    pub fn new(hops: Vec<RouteHop>) -> Result<Self, RouteError> {
        if hops.is_empty() || hops.len() > MAX_HOPS {
            return Err(RouteError { found: hops.len() });
        }
        Ok(Self(hops))
    }

    /// The nodes in order, one to five.
    #[must_use]
    pub fn hops(&self) -> &[RouteHop] {
        &self.0
    }

    /// Where the packet is sent first.
    #[must_use]
    pub fn first_hop(&self) -> HopAddress {
        self.0
            .first()
            .expect("a route has at least one hop")
            .address
    }

    /// The nodes as Sphinx wants them.
    #[must_use]
    pub fn to_sphinx(&self) -> Vec<Hop> {
        self.0
            .iter()
            .map(|hop| Hop {
                address: hop.address.to_node_address(),
                public_key: hop.sphinx_key,
            })
            .collect()
    }

    /// Draws the time a packet waits at each hop: independent exponentials (Loopix, Piotrowska
    /// et al. 2017, section 4.1) with this mean. One per hop, although the last hop, the
    /// gateway, does not wait.
    pub fn sample_delays<R: CryptoRng + ?Sized>(&self, mean: Duration, rng: &mut R) -> Vec<Delay> {
        self.0
            .iter()
            .map(|_| Delay::sample_exponential(mean, rng))
            .collect()
    }
}

/// The time a packet spends waiting at mix nodes: all delays but the last, which the gateway at
/// the end of the route ignores.
#[must_use]
pub fn total_delay(delays: &[Delay]) -> Duration {
    let nanos = delays
        .split_last()
        .map_or(&[][..], |(_, waited)| waited)
        .iter()
        .fold(0_u64, |sum, delay| sum.saturating_add(delay.as_nanos()));
    Duration::from_nanos(nanos)
}

/// A route has no hop, or more than five.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a route has 1 to 5 hops, found {found}")]
pub struct RouteError {
    /// Hops given.
    pub found: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hops(count: usize) -> Vec<RouteHop> {
        let hop = RouteHop {
            address: "127.0.0.1:1789".parse().unwrap(),
            sphinx_key: PublicKey::from_bytes([9; 32]),
        };
        vec![hop; count]
    }

    #[test]
    fn a_route_has_one_to_five_hops() {
        assert_eq!(Route::new(hops(0)), Err(RouteError { found: 0 }));
        assert!(Route::new(hops(1)).is_ok());
        assert!(Route::new(hops(5)).is_ok());
        assert_eq!(Route::new(hops(6)), Err(RouteError { found: 6 }));
    }

    #[test]
    fn last_delay_does_not_count() {
        let delays = [1, 2, 4, 1000].map(Delay::from_nanos);
        assert_eq!(total_delay(&delays), Duration::from_nanos(7));
        assert_eq!(total_delay(&delays[..1]), Duration::ZERO);
        assert_eq!(total_delay(&[]), Duration::ZERO);
    }

    #[test]
    fn total_saturates() {
        let delays = [u64::MAX, u64::MAX, 0].map(Delay::from_nanos);
        assert_eq!(total_delay(&delays), Duration::from_nanos(u64::MAX));
    }
}
