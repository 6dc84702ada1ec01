//! A network for the tests of this crate: three mix nodes, one gateway, two clients.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::address::{HopAddress, Recipient};
use crate::build::Routes;
use crate::keys::{IdentityKeyPair, PrivateKey};
use crate::route::{Route, RouteHop};

/// Everybody in the network, with their keys.
pub(crate) struct Network {
    /// Three mix nodes, then the gateway.
    pub(crate) node_keys: Vec<PrivateKey>,
    pub(crate) route: Route,
    pub(crate) alice: Recipient,
    pub(crate) alice_key: PrivateKey,
    pub(crate) bob: Recipient,
    pub(crate) bob_key: PrivateKey,
}

impl Network {
    pub(crate) fn new() -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let node_keys: Vec<_> = (0..4).map(|_| PrivateKey::generate(&mut rng)).collect();
        let hops = (1..).zip(&node_keys).map(|(id, key)| RouteHop {
            address: HopAddress::new(([127, 0, 0, id], 1789).into()),
            sphinx_key: key.public_key(),
        });
        let route = Route::new(hops.collect()).unwrap();
        let gateway = IdentityKeyPair::generate(&mut rng).public_key();
        let mut client = || {
            let key = PrivateKey::generate(&mut rng);
            let identity = IdentityKeyPair::generate(&mut rng).public_key();
            (
                Recipient {
                    identity,
                    encryption: key.public_key(),
                    gateway,
                },
                key,
            )
        };
        let ((alice, alice_key), (bob, bob_key)) = (client(), client());
        Self {
            node_keys,
            route,
            alice,
            alice_key,
            bob,
            bob_key,
        }
    }

    pub(crate) fn routes(&self) -> Routes<'_> {
        Routes {
            packet: &self.route,
            ack: &self.route,
        }
    }
}
