//! The hot paths allocate nothing.

use allocation_counter::measure;
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
use sphinx::{
    Batch, Delay, Destination, HEADER_LEN, Hop, NodeAddress, PrivateKey, Version, build_into,
    process, recover_plaintext, verify,
};

const VERSIONS: [Version; 3] = [Version::NYM_0_11, Version::V258, Version::V260];
const PAYLOAD_LEN: usize = 2065;

struct Fixture {
    keys: Vec<PrivateKey>,
    route: Vec<Hop>,
    delays: Vec<Delay>,
    destination: Destination,
    rng: ChaCha20Rng,
    buffer: Vec<u8>,
}

impl Fixture {
    fn new() -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let keys: Vec<_> = (0..4).map(|_| PrivateKey::generate(&mut rng)).collect();
        let hop = |key: &PrivateKey| Hop {
            address: NodeAddress([7; 32]),
            public_key: key.public_key(),
        };
        Self {
            route: keys.iter().map(hop).collect(),
            keys,
            delays: vec![Delay::from_nanos(1); 4],
            destination: Destination {
                address: [8; 32],
                identifier: [9; 16],
            },
            rng,
            buffer: vec![0; HEADER_LEN + PAYLOAD_LEN],
        }
    }

    fn build(&mut self, version: Version) {
        let (route, delays, destination) = (&self.route, &self.delays, &self.destination);
        build_into(
            version,
            route,
            delays,
            destination,
            b"hi",
            &mut self.buffer,
            &mut self.rng,
        )
        .expect("the route is usable and the message fits");
    }
}

#[test]
fn building_allocates_nothing() {
    let mut fixture = Fixture::new();
    for version in VERSIONS {
        let allocations = measure(|| fixture.build(version));
        assert_eq!(allocations.count_total, 0, "{version:?}");
    }
}

#[test]
fn processing_allocates_nothing() {
    let mut fixture = Fixture::new();
    for version in VERSIONS {
        fixture.build(version);
        let Fixture { keys, buffer, .. } = &mut fixture;
        let allocations = measure(|| {
            for key in keys.iter() {
                process(version, key, buffer).unwrap();
            }
            recover_plaintext(&buffer[HEADER_LEN..]).unwrap();
        });
        assert_eq!(allocations.count_total, 0, "{version:?}");
    }
}

#[test]
fn batches_after_the_first_allocate_nothing() {
    let mut fixture = Fixture::new();
    let mut batch = Batch::new();
    for version in VERSIONS {
        fixture.build(version);
        let mut packets = vec![fixture.buffer.clone(); 20];
        let mut unwrap = |packets: &mut [Vec<u8>]| {
            let results = batch.process(version, &fixture.keys[0], packets);
            assert!(results.iter().all(Result::is_ok));
        };
        unwrap(&mut packets.clone());
        let allocations = measure(|| unwrap(&mut packets));
        assert_eq!(allocations.count_total, 0, "{version:?}");
    }
}

#[test]
fn refusing_allocates_nothing() {
    let mut fixture = Fixture::new();
    fixture.build(Version::NYM_0_11);
    let allocations = measure(|| {
        verify(Version::NYM_0_11, &fixture.keys[1], &fixture.buffer).unwrap_err();
        verify(Version::NYM_0_11, &fixture.keys[0], &fixture.buffer[..364]).unwrap_err();
    });
    assert_eq!(allocations.count_total, 0);
}
