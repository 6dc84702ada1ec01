//! What packets and SURBs of the vectors are built from.

use std::convert::Infallible;

use rand_core::{TryCryptoRng, TryRng};
use sphinx::{
    Backend, Builder, Delay, Destination, HEADER_LEN, Hop, MAX_HOPS, NodeAddress, PrivateKey,
    PublicKey, Version, Way, build,
};

use super::super::case::Case;

/// What a packet or SURB of the vectors is built from.
pub(crate) struct Inputs {
    pub(crate) initial_secret: [u8; 32],
    pub(crate) final_padding: Vec<u8>,
    pub(crate) route: Vec<Hop>,
    pub(crate) private_keys: Vec<[u8; 32]>,
    pub(crate) delays: Vec<Delay>,
    pub(crate) destination: Destination,
    pub(crate) message: Vec<u8>,
    pub(crate) payload_len: usize,
}

impl Inputs {
    pub(crate) fn read(case: &Case) -> Self {
        let mut route = Vec::new();
        let mut private_keys = Vec::new();
        for hop in case.list("route").iter().map(Case::new) {
            let private_key = hop.array("private_key");
            let public_key = PublicKey::from_bytes(hop.array("public_key"));
            assert_eq!(PrivateKey::from_bytes(private_key).public_key(), public_key);
            route.push(Hop {
                address: NodeAddress(hop.array("address")),
                public_key,
            });
            private_keys.push(private_key);
            // The same address as text, of which this layer knows nothing.
            hop.get("socket");
            hop.finish();
        }
        assert!((1..=MAX_HOPS).contains(&route.len()));
        let delays = case
            .list("delays_ns")
            .iter()
            .map(|delay| delay.as_u64().unwrap());
        Self {
            initial_secret: case.array("initial_secret"),
            final_padding: case.bytes("final_padding"),
            route,
            private_keys,
            delays: delays.map(Delay::from_nanos).collect(),
            destination: Destination {
                address: case.array("destination"),
                identifier: case.array("surb_identifier"),
            },
            message: case.bytes("message"),
            payload_len: case.len("payload_size"),
        }
    }

    pub(crate) fn build(&self, version: Version) -> Vec<u8> {
        let mut rng = self.rng();
        let packet = build(
            version,
            &self.route,
            &self.delays,
            &self.destination,
            &self.message,
            self.payload_len,
            &mut rng,
        );
        rng.assert_spent();
        let packet = packet.unwrap();
        for backend in Backend::available() {
            assert_eq!(
                self.build_together(version, backend),
                vec![packet.clone(); 5]
            );
        }
        packet
    }

    /// The packet five times.
    fn build_together(&self, version: Version, backend: Backend) -> Vec<Vec<u8>> {
        let way = Way {
            route: &self.route,
            delays: &self.delays,
            destination: &self.destination,
        };
        let mut packets = vec![vec![0; HEADER_LEN + self.payload_len]; 5];
        let mut contents: Vec<(&[u8], &mut [u8])> = packets
            .iter_mut()
            .map(|packet| (&self.message[..], &mut packet[..]))
            .collect();
        let draws = [&self.initial_secret[..], &self.final_padding].concat();
        let mut rng = Scripted::new(draws.repeat(5));
        Builder::with_backend(backend)
            .build_batch(version, &[way; 5], &mut contents, &mut rng)
            .unwrap();
        rng.assert_spent();
        packets
    }

    pub(crate) fn rng(&self) -> Scripted {
        Scripted::new([&self.initial_secret[..], &self.final_padding].concat())
    }
}

/// A generator that yields the bytes it was made with.
pub(crate) struct Scripted {
    bytes: Vec<u8>,
    position: usize,
}

impl Scripted {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, position: 0 }
    }

    #[track_caller]
    pub(crate) fn assert_spent(&self) {
        assert_eq!(self.position, self.bytes.len(), "bytes drawn");
    }
}

impl TryRng for Scripted {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        panic!("building draws bytes only");
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        panic!("building draws bytes only");
    }

    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Infallible> {
        let rest = &self.bytes[self.position..];
        assert!(
            to.len() <= rest.len(),
            "{} bytes drawn where {} are left",
            to.len(),
            rest.len()
        );
        to.copy_from_slice(&rest[..to.len()]);
        self.position += to.len();
        Ok(())
    }
}

impl TryCryptoRng for Scripted {}
