//! A route of nodes whose private keys the test knows, and somebody at the end of it.

use proptest::prelude::*;
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng},
};
use sphinx::{
    Delay, Destination, Hop, MAX_HOPS, MIN_PAYLOAD_LEN, NodeAddress, PAYLOAD_OVERHEAD, Peeled,
    PrivateKey, Version, build,
};

pub(crate) struct Network {
    pub(crate) keys: Vec<PrivateKey>,
    pub(crate) route: Vec<Hop>,
    pub(crate) delays: Vec<Delay>,
    pub(crate) destination: Destination,
    pub(crate) rng: ChaCha20Rng,
}

impl Network {
    pub(crate) fn new(hop_count: usize, seed: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let keys: Vec<_> = (0..hop_count)
            .map(|_| PrivateKey::generate(&mut rng))
            .collect();
        let route = keys
            .iter()
            .map(|key| Hop {
                address: NodeAddress(random(&mut rng)),
                public_key: key.public_key(),
            })
            .collect();
        let delays = keys
            .iter()
            .map(|_| Delay::from_nanos(rng.next_u64()))
            .collect();
        let destination = Destination {
            address: random(&mut rng),
            identifier: random(&mut rng),
        };
        Self {
            keys,
            route,
            delays,
            destination,
            rng,
        }
    }

    pub(crate) fn packet(
        &mut self,
        version: Version,
        message: &[u8],
        payload_len: usize,
    ) -> Vec<u8> {
        let (route, delays, destination) = (&self.route, &self.delays, &self.destination);
        build(
            version,
            route,
            delays,
            destination,
            message,
            payload_len,
            &mut self.rng,
        )
        .unwrap()
    }

    /// What the hop of this index must find in a packet along the route.
    pub(crate) fn expected(&self, index: usize) -> Peeled {
        match self.route.get(index + 1) {
            Some(next) => Peeled::Forward {
                next_hop: next.address,
                delay: self.delays[index],
            },
            None => Peeled::Final {
                destination: self.destination,
            },
        }
    }
}

/// Networks of each length, a message and the length of a payload that it fits into.
pub(crate) fn networks() -> impl Strategy<Value = (Network, Vec<u8>, usize)> {
    let message = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..100),
        prop::collection::vec(any::<u8>(), 2048),
    ];
    (1..=MAX_HOPS, any::<u64>(), message, 0_usize..64).prop_map(
        |(hop_count, seed, message, room)| {
            let payload_len = (message.len() + PAYLOAD_OVERHEAD + room).max(MIN_PAYLOAD_LEN);
            (Network::new(hop_count, seed), message, payload_len)
        },
    )
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a network of {} hops", self.route.len())
    }
}

fn random<const LEN: usize>(rng: &mut ChaCha20Rng) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    rng.fill_bytes(&mut bytes);
    bytes
}
