//! The promise of the whole: what was accepted arrives, once, whatever the links do.

use std::collections::BTreeMap;
use std::time::Duration;

use nym_client_core::EngineConfig;
use nym_protocol::app::Outcome;
use nym_sim::{Faults, Network, SimConfig};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

/// The seed of a run; `NYM_SIM_SEED` replays another. Every failure text tells it.
fn seed(default: u64) -> u64 {
    match std::env::var("NYM_SIM_SEED") {
        Ok(seed) => seed.parse().expect("NYM_SIM_SEED is a number"),
        Err(_) => default,
    }
}

fn connect_all(network: &mut Network, clients: usize) {
    for client in 0..clients {
        network.connect(client);
    }
    network.run_for(Duration::from_secs(1));
}

fn random_message(len: usize, rng: &mut ChaCha20Rng) -> Vec<u8> {
    let mut message = vec![0; len];
    rng.fill_bytes(&mut message);
    message
}

/// Up to a million bytes, and as people write: the longer, the rarer.
fn length(rng: &mut ChaCha20Rng) -> usize {
    let bits = rng.random_range(0..=20_u32).min(rng.random_range(0..=20));
    rng.random_range(0..=1_usize << bits).min(1_000_000)
}

#[test]
fn a_thousand_messages_arrive_exactly_once_over_bad_links() {
    const CLIENTS: usize = 8;
    const MESSAGES: usize = 1_000;
    let seed = seed(1);
    let config = SimConfig {
        seed,
        clients: CLIENTS,
        faults: Faults::EVERY_FIFTH,
        ..SimConfig::default()
    };
    let mut network = Network::new(config);
    connect_all(&mut network, CLIENTS);

    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut expected: BTreeMap<(usize, Vec<u8>), usize> = BTreeMap::new();
    for index in 0..MESSAGES {
        // Both ends of the range, and in between mostly short ones, as people write.
        let len = match index {
            0 => 0,
            1 => 1_000_000,
            _ => length(&mut rng),
        };
        let message = random_message(len, &mut rng);
        let (from, to) = (index % CLIENTS, rng.random_range(0..CLIENTS));
        network.send(from, to, &message).unwrap();
        *expected.entry((to, message)).or_default() += 1;
    }
    let all_reported = |network: &Network| {
        (0..CLIENTS)
            .map(|client| network.reports(client).0)
            .sum::<usize>()
            == MESSAGES
    };
    assert!(
        network.run_until(Duration::from_secs(3_600), all_reported),
        "seed {seed}: not all acknowledged within an hour: {:?}",
        (0..CLIENTS)
            .map(|client| network.reports(client))
            .collect::<Vec<_>>()
    );
    // Late copies are still on their way; none of them may count again.
    network.run_for(Duration::from_secs(60));

    let mut arrived: BTreeMap<(usize, Vec<u8>), usize> = BTreeMap::new();
    for client in 0..CLIENTS {
        for received in network.take_received(client) {
            *arrived.entry((client, received.message)).or_default() += 1;
        }
    }
    let missing = expected
        .iter()
        .filter(|(key, count)| arrived.get(key) != Some(count))
        .count();
    assert_eq!(missing, 0, "seed {seed}: messages lost or repeated");
    assert_eq!(
        arrived.len(),
        expected.len(),
        "seed {seed}: messages that nobody sent"
    );

    let links = network.link_counts();
    let bad = links.dropped + links.duplicated + links.reordered;
    let share = bad as f64 / links.sent as f64;
    assert!(
        (0.19..0.21).contains(&share),
        "{share} of {} frames were disturbed",
        links.sent
    );
    assert!(
        network.rejected() > 0,
        "duplicated frames are stopped by the replay filters"
    );
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_seed_another() {
    let run = |seed| {
        let faults = Faults::EVERY_FIFTH;
        let mut network = Network::new(SimConfig {
            seed,
            faults,
            ..SimConfig::default()
        });
        connect_all(&mut network, 2);
        network.send(0, 1, &vec![7; 20_000]).unwrap();
        network.send(1, 0, b"hello").unwrap();
        network.run_for(Duration::from_secs(20));
        (network.trace().clone(), network.link_counts())
    };
    let seed = seed(2);
    let (first, counts) = run(seed);
    assert!(
        first.events() > 1_000,
        "something happens: {} events",
        first.events()
    );
    assert_eq!(run(seed), (first.clone(), counts));
    assert_ne!(run(seed + 1).0.fingerprint(), first.fingerprint());
}

#[test]
fn a_client_that_was_away_finds_its_messages_in_order() {
    let mut network = Network::new(SimConfig {
        seed: seed(3),
        ..SimConfig::default()
    });
    connect_all(&mut network, 2);
    network.disconnect(1);
    for number in 0..5_u8 {
        network.send(0, 1, &[number]).unwrap();
        network.run_for(Duration::from_secs(5));
    }
    assert_eq!(
        network.reports(0),
        (5, 0),
        "the mailbox has acknowledged all"
    );
    assert!(network.take_received(1).is_empty());

    network.connect(1);
    network.run_for(Duration::from_secs(2));
    let arrived: Vec<_> = network
        .take_received(1)
        .into_iter()
        .map(|received| received.message)
        .collect();
    assert_eq!(arrived, [[0], [1], [2], [3], [4]]);
}

#[test]
fn a_message_accepted_while_offline_leaves_after_reconnecting() {
    let mut network = Network::new(SimConfig {
        seed: seed(4),
        ..SimConfig::default()
    });
    connect_all(&mut network, 2);
    network.disconnect(0);
    network.send(0, 1, b"written on a train").unwrap();
    network.run_for(Duration::from_secs(60));
    assert!(network.take_received(1).is_empty());
    network.connect(0);
    network.run_for(Duration::from_secs(5));
    assert_eq!(network.take_received(1)[0].message, b"written on a train");
    assert_eq!(network.reports(0), (1, 0));
}

#[test]
fn an_idle_client_sends_55_packets_a_second() {
    let mut network = Network::new(SimConfig {
        seed: seed(5),
        ..SimConfig::default()
    });
    connect_all(&mut network, 2);
    let before = network.engine(0).stats().packets_sent;
    network.run_for(Duration::from_secs(60));
    let rate = (network.engine(0).stats().packets_sent - before) as f64 / 60.0;
    // 3,300 packets are expected; four standard deviations are 230.
    assert!((51.0..59.0).contains(&rate), "{rate} packets a second");
}

#[test]
fn each_of_a_thousand_sends_ends_once_and_delivered_is_never_a_lie() {
    const MESSAGES: usize = 1_000;
    let seed = seed(6);
    let mut network = Network::new(SimConfig {
        seed,
        // Few attempts, so that some messages do fail.
        engine: EngineConfig {
            fragment_attempts_max: 8,
            ..EngineConfig::default().with_fast_mode()
        },
        faults: Faults {
            dropped: 0.2,
            ..Faults::NONE
        },
        ..SimConfig::default()
    });
    connect_all(&mut network, 2);
    for index in 0..MESSAGES {
        let id = index.to_string().parse().unwrap();
        let (from, text) = (index % 2, index.to_string());
        network
            .send_asking(from, 1 - from, text.as_bytes(), id)
            .unwrap();
    }
    let all_ended = |network: &Network| {
        let ended = |client| {
            let (delivered, failed) = network.reports(client);
            delivered + failed
        };
        ended(0) + ended(1) == MESSAGES
    };
    assert!(
        network.run_until(Duration::from_secs(600), all_ended),
        "seed {seed}: a send has no end"
    );
    // Nothing more is told, however late copies arrive.
    network.run_for(Duration::from_secs(10));

    let mut arrived: BTreeMap<String, usize> = BTreeMap::new();
    let mut delivered = 0;
    for client in 0..2 {
        for received in network.take_received(client) {
            let text = String::from_utf8(received.message).unwrap();
            *arrived.entry(text).or_default() += 1;
        }
    }
    let mut ended: BTreeMap<String, usize> = BTreeMap::new();
    for (id, outcome) in (0..2).flat_map(|client| network.take_receipts(client)) {
        *ended.entry(id.to_string()).or_default() += 1;
        if let Outcome::Delivered { .. } = outcome {
            delivered += 1;
            let count = arrived.get(id.as_json()).copied();
            assert_eq!(count, Some(1), "seed {seed}: {id} was called delivered");
        }
    }
    assert_eq!(ended.len(), MESSAGES, "seed {seed}");
    assert!(
        ended.values().all(|count| *count == 1),
        "seed {seed}: two ends of one send"
    );
    assert!(
        (1..MESSAGES).contains(&delivered),
        "seed {seed}: both ends occur, {delivered} were delivered"
    );
    assert!(arrived.values().all(|count| *count == 1), "seed {seed}");
}

/// How long lines take that are handed over one after the other; the mean.
fn line_latency(network: &mut Network, lines: u32) -> Duration {
    let mut sum = Duration::ZERO;
    for number in 0..lines {
        let line = format!("line {number}");
        let sent_at = network.now();
        let accepted = network.send(0, 1, line.as_bytes());
        assert_eq!(accepted, Ok(()));
        let mut arrived = false;
        while !arrived {
            network.run_for(Duration::from_millis(1));
            let received = network.take_received(1);
            arrived = received
                .iter()
                .any(|received| received.message == line.as_bytes());
        }
        sum += network.now().saturating_duration_since(sent_at);
    }
    sum / lines
}

#[test]
fn a_line_arrives_within_three_times_its_idle_latency_beside_a_file_of_10_mb() {
    let seed = seed(7);
    let mut network = Network::new(SimConfig {
        seed,
        ..SimConfig::default()
    });
    connect_all(&mut network, 2);
    let idle = line_latency(&mut network, 20);
    network.send(0, 1, &vec![7; 10_000_000]).unwrap();
    let beside_the_file = line_latency(&mut network, 20);
    let left = network.engine(0).unacknowledged_bytes();
    assert!(left > 9_000_000, "the file is on its way: {left} bytes");
    assert!(
        beside_the_file <= idle * 3,
        "seed {seed}: {beside_the_file:?} beside a file, {idle:?} without"
    );
}
