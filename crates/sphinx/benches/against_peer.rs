//! What a packet costs, here and in `sphinx-packet` 0.8.0: `cargo bench -p sphinx --bench against_peer`
//!
//! All contenders take turns in one process, so that a slow moment of the machine hits each alike.
//! The minimum says what the code needs, the 10th percentile what one mostly gets; the ratios are
//! of the 10th percentiles. The packet is Nym's regular one: 2,413 bytes, a route of four hops. The
//! last table has what the project promises.
#![expect(clippy::print_stdout, reason = "the report is the purpose")]

use std::{hint::black_box, time::Duration};

use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
use sphinx::{
    Backend, Batch, Builder, Delay, Destination, HEADER_LEN, Hop, NodeAddress, PrivateKey, Version,
    Way, build_into, process,
};
use sphinx_packet as peer;

const ROUNDS: usize = 2_000;
const HOPS: usize = 4;
const PAYLOAD_LEN: usize = 2_065;
const ACK_PAYLOAD_LEN: usize = 38;
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
    println!("backend: {backend}");
    println!("{PAYLOAD_LEN}-byte payload, {HOPS} hops, {rounds} rounds; times in microseconds");
    report("unwrap, forward hop", rounds, unwrap(&fixture, 0));
    report("unwrap, last hop", rounds, unwrap(&fixture, HOPS - 1));
    let [alone, _, _, eight, many] = [1, 2, 4, 8, 32].map(|count| {
        let title = format!("unwrap, forward hop, {count} together");
        report(&title, rounds / 2 + 1, batches(&fixture, count))
    });
    let one = report("build, one packet", rounds / 2 + 1, builders(&fixture));
    let pairs = report(
        "build, 4 packets with their acks, each",
        rounds / 4 + 1,
        pair_builders(&fixture),
    );
    report("key agreement alone", rounds, key_agreement(&fixture));

    println!("\npromised (times as fast as the peer)                    bar   measured");
    let promise = |what: &str, bar: f64, ratios: &[(&str, f64)], name: &str| {
        if let Some((_, ratio)) = ratios.iter().find(|(contender, _)| *contender == name) {
            println!("  {what:<50} {bar:>6.1} {ratio:>10.2}");
        }
    };
    promise("unwrap, 8 together, AVX-512", 7.7, &eight, "ifma8");
    promise("unwrap, 32 together, AVX-512", 7.7, &many, "ifma8");
    promise("unwrap, 8 together, AVX2", 2.5, &eight, "avx2x4");
    promise("unwrap, alone, AVX-512", 3.0, &alone, "ifma8");
    promise("unwrap, alone, AVX2", 2.0, &alone, "avx2x4");
    promise("build, one packet, AVX-512", 5.0, &one, "ifma8");
    promise(
        "build, 4 packets with their acks, AVX-512",
        13.0,
        &pairs,
        "ifma8",
    );
}

/// Somebody who does a piece of work and says how long it took, without what prepared it.
type Contender<'a> = (&'static str, Box<dyn FnMut() -> Duration + 'a>);

/// Lets the contenders, of whom the first is the peer, take turns and prints how they did. Returns
/// how many times as fast as the peer each is.
fn report(
    title: &str,
    rounds: usize,
    mut contenders: Vec<Contender<'_>>,
) -> Vec<(&'static str, f64)> {
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
    let mut ratios = Vec::new();
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
        ratios.push((*name, ratio));
    }
    ratios
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

/// The peer's builder, for payloads of the lengths, one after the other; the time is of each packet.
fn peers_builder(fixture: &Fixture, lens: &'static [usize]) -> Contender<'static> {
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
    (
        "sphinx-packet, 260",
        Box::new(move || {
            time(|| {
                for &len in lens {
                    let builder = peer::SphinxPacketBuilder::new().with_payload_size(len);
                    let message = &MESSAGE[..len - sphinx::PAYLOAD_OVERHEAD];
                    black_box(
                        builder
                            .build_packet(message, &route, &destination, &delays)
                            .is_ok(),
                    );
                }
            }) / u32::try_from(lens.len()).expect("a handful")
        }),
    )
}

fn builders(fixture: &Fixture) -> Vec<Contender<'_>> {
    let mut contenders = vec![peers_builder(fixture, &[PAYLOAD_LEN])];
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
    for backend in Backend::available() {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let mut buffer = vec![0; HEADER_LEN + PAYLOAD_LEN];
        let mut builder = Builder::with_backend(backend);
        contenders.push((
            backend.name(),
            Box::new(move || {
                let way = fixture.way();
                time(|| builder.build_into(Version::NYM_0_11, way, MESSAGE, &mut buffer, &mut rng))
            }),
        ));
    }
    contenders
}

/// Four regular packets and four acknowledgements at once; the time is of each of the eight.
fn pair_builders(fixture: &Fixture) -> Vec<Contender<'_>> {
    const LENS: [usize; 8] = {
        let (long, short) = (PAYLOAD_LEN, ACK_PAYLOAD_LEN);
        [long, short, long, short, long, short, long, short]
    };
    // The peer gains nothing by a batch, so one pair says what it takes, in a shorter measurement.
    let mut contenders = vec![peers_builder(fixture, &[PAYLOAD_LEN, ACK_PAYLOAD_LEN])];
    for backend in Backend::available() {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let mut buffers = LENS.map(|len| vec![0; HEADER_LEN + len]);
        let mut builder = Builder::with_backend(backend);
        contenders.push((
            backend.name(),
            Box::new(move || {
                let ways = [fixture.way(); 8];
                let mut contents = buffers.each_mut().map(|buffer| {
                    let len = buffer.len() - HEADER_LEN - sphinx::PAYLOAD_OVERHEAD;
                    (&MESSAGE[..len], &mut buffer[..])
                });
                time(|| builder.build_batch(Version::NYM_0_11, &ways, &mut contents, &mut rng)) / 8
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

    fn way(&self) -> Way<'_> {
        Way {
            route: &self.route,
            delays: &self.delays,
            destination: &self.destination,
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
