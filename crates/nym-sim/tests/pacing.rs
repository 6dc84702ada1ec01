//! What an observer of a client's link sees: the same Poisson stream, whatever the client sends.

use std::time::Duration;

use nym_packet::time::Timestamp;
use nym_sim::statistics::kolmogorov_smirnov;
use nym_sim::{Network, SimConfig};

const SPAN: Duration = Duration::from_secs(60);

/// A message that takes longer than the span to send.
const LONG_MESSAGE: usize = 10_000_000;

/// Packets per second of both streams together.
const RATE: f64 = 55.0;

/// The seconds between the packets of one client, alone in its network, over [`SPAN`].
fn gaps(seed: u64, message: Option<usize>) -> Vec<f64> {
    let mut network = Network::new(SimConfig {
        seed,
        mixnodes_per_layer: 1,
        gateways: 1,
        clients: 1,
        ..SimConfig::default()
    });
    network.connect(0);
    network.run_for(Duration::from_secs(1));
    if let Some(len) = message {
        let sent = network.send(0, 0, &vec![7; len]);
        assert_eq!(sent, Ok(()));
        // The first acknowledgements and retransmissions are under way.
        network.run_for(Duration::from_secs(5));
    }
    let _ = network.take_packet_times(0);
    network.run_for(SPAN);
    let times: Vec<Timestamp> = network.take_packet_times(0);
    if message.is_some() {
        let waiting = network.engine(0).unacknowledged_messages();
        assert_eq!(waiting, 1, "the message is still under way");
    }
    times
        .windows(2)
        .map(|pair| pair[1].saturating_duration_since(pair[0]).as_secs_f64())
        .collect()
}

/// The quantiles of the exponential distribution that a Poisson stream's gaps have.
fn exponential(count: u32) -> Vec<f64> {
    let quantile = |index| -(1.0 - (f64::from(index) + 0.5) / f64::from(count)).ln() / RATE;
    (0..count).map(quantile).collect()
}

#[test]
fn an_observer_cannot_tell_a_busy_client_from_an_idle_one() {
    let seeds: Vec<u64> = (1..=10).collect();
    let judged: Vec<(u64, f64, f64)> = std::thread::scope(|scope| {
        let runs: Vec<_> = seeds
            .iter()
            .map(|&seed| {
                scope.spawn(move || {
                    let idle = gaps(seed, None);
                    let busy = gaps(seed + 1_000, Some(LONG_MESSAGE));
                    let told_apart = kolmogorov_smirnov(&idle, &busy);
                    let poisson = kolmogorov_smirnov(&busy, &exponential(100_000));
                    (seed, told_apart.p, poisson.p)
                })
            })
            .collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    // The seeds are fixed, so this does not depend on luck; of ten fair comparisons one in ten
    // such tests would have one below 0.01.
    let alike = judged.iter().filter(|(_, p, _)| *p > 0.01).count();
    let poisson = judged.iter().filter(|(_, _, p)| *p > 0.01).count();
    assert!(alike >= 9, "idle against busy: {judged:?}");
    assert!(poisson >= 9, "busy against a Poisson stream: {judged:?}");
}
