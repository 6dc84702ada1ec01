//! What a packet costs, here and in `sphinx-packet` 0.8.0: `cargo bench -p sphinx`
//!
//! All contenders take turns in one process, so that a slow moment of the machine hits each alike.
//! The minimum says what the code needs, the 10th percentile what one mostly gets; the ratios are
//! of the 10th percentiles. The packet is Nym's regular one: 2,413 bytes, a route of four hops.
#![expect(clippy::print_stdout, reason = "the report is the purpose")]

use std::{hint::black_box, time::Duration};

use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
use sphinx::{
    Backend, Batch, Delay, Destination, HEADER_LEN, Hop, NodeAddress, PrivateKey, Version,
    build_into, process,
};
use sphinx_packet as peer;

const ROUNDS: usize = 2_000;
const HOPS: usize = 4;
const PAYLOAD_LEN: usize = 2_065;
const MESSAGE: &[u8] = &[7; 2_048];

fn main() {
    // `cargo test --benches` runs this too, to see that it works.
    let rounds = if std::env::args().any(|argument| argument == "--bench") {
        ROUNDS
    } else {
        1
    };
    let fixture = Fixture::new();
    let backend = Backend::current().map_or_else(|error| error.to_string(), |b| b.to_string());
    println!("scalar multiplication: {backend}");
    println!("{PAYLOAD_LEN}-byte payload, {HOPS} hops, {rounds} rounds; times in microseconds");
    report("unwrap, forward hop", rounds, unwrap(&fixture, 0));
    report("unwrap, last hop", rounds, unwrap(&fixture, HOPS - 1));
    for count in [1, 2, 4, 8, 32] {
        let title = format!("unwrap, forward hop, {count} together");
        report(&title, rounds / 2 + 1, batches(&fixture, count));
    }
    report("build", rounds, builders(&fixture));
    report("key agreement alone", rounds, key_agreement(&fixture));
}

/// Somebody who does a piece of work and says how long it took, without what prepared it.
type Contender<'a> = (&'static str, Box<dyn FnMut() -> Duration + 'a>);

/// Lets the contenders, of whom the first is the peer, take turns and prints how they did.
fn report(title: &str, rounds: usize, mut contenders: Vec<Contender>) {
    let mut times = vec![Vec::with_capacity(rounds); contenders.len()];
    for _ in 0..rounds {
        for ((_, run), times) in contenders.iter_mut().zip(&mut times) {
            times.push(run());
        }
    }
    println!(
        "\n{title:<36} {:>9} {:>9} {:>12}",
        "minimum", "10th pct", "of the peer"
    );
    let mut peer = None;
    for ((name, _), times) in contenders.iter().zip(&mut times) {
        times.sort_unstable();
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        let tenth = micros(times[times.len() / 10]);
        let ratio = *peer.get_or_insert(tenth) / tenth;
        println!(
            "  {name:<34} {:>9.1} {tenth:>9.1} {:>12}",
            micros(times[0]),
            format!("1/{ratio:.2}")
        );
    }
}

fn unwrap(fixture: &Fixture, hop: usize) -> Vec<Contender<'_>> {
    let theirs = fixture.packet_at(Version::V260, hop);
    let their_key = peer::crypto::PrivateKey::from(*fixture.keys[hop].to_bytes());
    let mut contenders: Vec<Contender> = vec![(
        "sphinx-packet, 260",
        Box::new(move || {
            let packet = peer::SphinxPacket::from_bytes(&theirs).expect("it is long enough");
            time(|| packet.process(&their_key))
        }),
    )];
    for (name, version) in OURS {
        let packet = fixture.packet_at(version, hop);
        let mut buffer = packet.clone();
        contenders.push((
            name,
            Box::new(move || {
                buffer.copy_from_slice(&packet);
                time(|| process(version, &fixture.keys[hop], &mut buffer))
            }),
        ));
    }
    contenders
}

/// Every backend with this many packets in a batch; the time is that of each packet.
fn batches(fixture: &Fixture, count: u32) -> Vec<Contender<'_>> {
    let mut contenders = unwrap(fixture, 0);
    contenders.truncate(1);
    let version = Version::NYM_0_11;
    for backend in Backend::available() {
        let packets = vec![fixture.packet_at(version, 0); count as usize];
        let mut buffers = packets.clone();
        let mut batch = Batch::with_backend(backend);
        contenders.push((
            backend.name(),
            Box::new(move || {
                buffers.clone_from(&packets);
                time(|| {
                    let results = batch.process(version, &fixture.keys[0], &mut buffers);
                    assert!(results.iter().all(Result::is_ok));
                }) / count
            }),
        ));
    }
    contenders
}

fn builders(fixture: &Fixture) -> Vec<Contender<'_>> {
    let route: Vec<_> = fixture
        .route
        .iter()
        .map(|hop| {
            peer::route::Node::new(
                peer::route::NodeAddressBytes::from_bytes(hop.address.0),
                peer::crypto::PublicKey::from(*hop.public_key.as_bytes()),
            )
        })
        .collect();
    let destination = peer::route::Destination::new(
        peer::route::DestinationAddressBytes::from_bytes(fixture.destination.address),
        fixture.destination.identifier,
    );
    let delays = vec![peer::header::delays::Delay::from_bytes([0; 8]); HOPS];
    let mut contenders: Vec<Contender> = vec![(
        "sphinx-packet, 260",
        Box::new(move || {
            let builder = peer::SphinxPacketBuilder::new().with_payload_size(PAYLOAD_LEN);
            time(|| builder.build_packet(MESSAGE, &route, &destination, &delays))
        }),
    )];
    for (name, version) in OURS {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let mut buffer = vec![0; HEADER_LEN + PAYLOAD_LEN];
        contenders.push((
            name,
            Box::new(move || {
                let Fixture {
                    route,
                    delays,
                    destination,
                    ..
                } = fixture;
                time(|| {
                    build_into(
                        version,
                        route,
                        delays,
                        destination,
                        MESSAGE,
                        &mut buffer,
                        &mut rng,
                    )
                })
            }),
        ));
    }
    contenders
}

fn key_agreement(fixture: &Fixture) -> Vec<Contender<'_>> {
    let [key, other, ..] = &fixture.keys[..] else {
        return Vec::new();
    };
    let public_key = other.public_key();
    let their_key = peer::crypto::PrivateKey::from(*key.to_bytes());
    let their_public_key = peer::crypto::PublicKey::from(*public_key.as_bytes());
    vec![
        (
            "x25519-dalek",
            Box::new(move || time(|| their_key.diffie_hellman(black_box(&their_public_key)))),
        ),
        (
            "sphinx",
            Box::new(move || time(|| key.diffie_hellman(black_box(&public_key)))),
        ),
    ]
}

const OURS: [(&str, Version); 2] = [
    ("sphinx, NYM_0_11", Version::NYM_0_11),
    ("sphinx, V260", Version::V260),
];

struct Fixture {
    keys: Vec<PrivateKey>,
    route: Vec<Hop>,
    delays: Vec<Delay>,
    destination: Destination,
}

impl Fixture {
    fn new() -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let keys: Vec<_> = (0..HOPS).map(|_| PrivateKey::generate(&mut rng)).collect();
        let hop = |key: &PrivateKey| Hop {
            address: NodeAddress([7; 32]),
            public_key: key.public_key(),
        };
        Self {
            route: keys.iter().map(hop).collect(),
            keys,
            delays: vec![Delay::ZERO; HOPS],
            destination: Destination {
                address: [8; 32],
                identifier: [9; 16],
            },
        }
    }

    /// A packet as the hop of this index receives it.
    fn packet_at(&self, version: Version, hop: usize) -> Vec<u8> {
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let mut packet = vec![0; HEADER_LEN + PAYLOAD_LEN];
        let Self {
            route,
            delays,
            destination,
            ..
        } = self;
        build_into(
            version,
            route,
            delays,
            destination,
            MESSAGE,
            &mut packet,
            &mut rng,
        )
        .expect("the route is usable and the message fits");
        for key in &self.keys[..hop] {
            process(version, key, &mut packet).expect("the packet was just built for this key");
        }
        packet
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn time<T>(work: impl FnOnce() -> T) -> Duration {
    let start = std::time::Instant::now();
    black_box(work());
    start.elapsed()
}
