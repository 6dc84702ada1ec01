//! Group commit against one write to the medium for each message, and both against a client that
//! is online: `cargo bench -p nym-gateway`.
//!
//! A whole gateway runs in this process, with its database in the temporary directory (`TMPDIR`;
//! it must be on a real disk). Packets come over a TCP link, and what is timed ends where the
//! acknowledgement arrives at its first hop. The variants take turns in every round, so that other
//! work on the machine meets all of them.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark reads the clock and prints what it saw"
)]

#[expect(
    dead_code,
    clippy::panic,
    clippy::unwrap_used,
    reason = "it belongs to the tests, which use more of it"
)]
#[path = "../tests/gateway/network.rs"]
mod network;

use std::io::Write as _;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use network::{ACK_LEN, Client, LastMixNode, MESSAGE_LEN, NextHop, Running};

const ROUNDS: usize = 3;

/// Messages sent as fast as the link takes them.
const FLOOD: u32 = 1_000;

/// Messages sent at a steady pace, for each rate.
const PACED: u32 = 300;

/// Messages in a second.
const RATES: [u32; 3] = [50, 200, 1_000];

#[derive(Clone, Copy)]
enum Variant {
    Grouped,
    Single,
    Online,
}

const VARIANTS: [(Variant, &str); 3] = [
    (Variant::Grouped, "offline, group commit"),
    (Variant::Single, "offline, one fsync per message"),
    (Variant::Online, "online, no disk"),
];

/// What one variant did, over all rounds.
#[derive(Default)]
struct Seen {
    per_second: Vec<f64>,
    /// For each rate.
    latencies: [Vec<Duration>; RATES.len()],
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("the operating system has threads");
    println!(
        "one fsync of 4 KiB appended to a file, microseconds: {}",
        fsync()
    );
    let mut seen: [Seen; VARIANTS.len()] = Default::default();
    for round in 0..ROUNDS {
        for (seen, (variant, _)) in seen.iter_mut().zip(VARIANTS) {
            runtime.block_on(run(variant, seen));
        }
        println!("round {} of {ROUNDS} done", round + 1);
    }
    print(&mut seen);
}

async fn run(variant: Variant, seen: &mut Seen) {
    let per_commit = match variant {
        Variant::Single => NonZeroUsize::MIN,
        Variant::Grouped | Variant::Online => nym_gateway::config::MESSAGES_PER_COMMIT_DEFAULT,
    };
    let gateway = Running::start_with(|config| {
        config.messages_per_commit = per_commit;
        // Room for all acknowledgements at once: one that is dropped would be waited for in vain.
        config.connections.queue_len = 2 * FLOOD as usize;
    })
    .await;
    let mut acks = NextHop::start().await;
    let mix = LastMixNode::new(gateway.contact, acks.address());
    let mut alice = Client::new();
    let mut session = alice.log_in(&gateway.contact).await.expect("a login");
    match variant {
        Variant::Online => {
            let reader = async { while session.next_push().await.is_some() {} };
            tokio::select! {
                () = reader => panic!("the connection ended"),
                () = measure(&mix, &alice, &mut acks, seen) => {}
            }
        }
        Variant::Grouped | Variant::Single => {
            drop(session);
            measure(&mix, &alice, &mut acks, seen).await;
        }
    }
}

async fn measure(mix: &LastMixNode, alice: &Client, acks: &mut NextHop, seen: &mut Seen) {
    // The link and the way of the acknowledgements are made before anything is timed.
    send(mix, alice, 0);
    ack(acks).await;
    for (rate, latencies) in RATES.into_iter().zip(&mut seen.latencies) {
        pace(mix, alice, acks, rate, latencies).await;
    }
    let frames: Vec<_> = (0..FLOOD)
        .map(|number| prepare(mix, alice, number))
        .collect();
    let start = Instant::now();
    let flood = async {
        for frame in frames {
            mix.forward(frame).await;
        }
    };
    let answered = async {
        for _ in 0..FLOOD {
            ack(acks).await;
        }
    };
    tokio::join!(flood, answered);
    seen.per_second
        .push(f64::from(FLOOD) / start.elapsed().as_secs_f64());
}

/// Sends at a steady rate, and notes how long each acknowledgement took.
async fn pace(
    mix: &LastMixNode,
    alice: &Client,
    acks: &mut NextHop,
    rate: u32,
    latencies: &mut Vec<Duration>,
) {
    let frames: Vec<_> = (0..PACED)
        .map(|number| prepare(mix, alice, number))
        .collect();
    let start = tokio::time::Instant::now();
    let due = |number: u32| start + Duration::from_secs(1) * number / rate;
    let sending = async {
        for (number, frame) in (0..).zip(frames) {
            tokio::time::sleep_until(due(number)).await;
            mix.forward(frame).await;
        }
    };
    let answered = async {
        for _ in 0..PACED {
            let number = ack(acks).await;
            latencies.push(due(number).elapsed());
        }
    };
    tokio::join!(sending, answered);
}

fn bytes<const LEN: usize>(number: u32) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    bytes
}

fn prepare(mix: &LastMixNode, alice: &Client, number: u32) -> nym_packet::frame::Frame {
    mix.frame(
        alice,
        &bytes::<ACK_LEN>(number),
        &bytes::<MESSAGE_LEN>(number),
    )
}

fn send(mix: &LastMixNode, alice: &Client, number: u32) {
    mix.send_bytes(alice, &bytes(number), &bytes::<MESSAGE_LEN>(number))
        .expect("an idle link has room");
}

async fn ack(acks: &mut NextHop) -> u32 {
    let frame = acks.frame().await;
    let packet = frame.packet();
    u32::from_be_bytes([packet[0], packet[1], packet[2], packet[3]])
}

/// The value below which the given share of all lies.
fn quantile<T: Copy + PartialOrd>(values: &mut [T], share: f64) -> T {
    values.sort_by(|left, right| left.partial_cmp(right).expect("no value is NaN"));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of a small count"
    )]
    let index = ((values.len() - 1) as f64 * share) as usize;
    values[index]
}

fn print(seen: &mut [Seen]) {
    println!();
    print!("| | acknowledged per second, best / median |");
    for rate in RATES {
        print!(" ack after, ms, at {rate}/s: 10 % / median / 99 % |");
    }
    println!("\n|---|---:|{}", "---:|".repeat(RATES.len()));
    for (seen, (_, name)) in seen.iter_mut().zip(VARIANTS) {
        let best = quantile(&mut seen.per_second, 1.0);
        let median = quantile(&mut seen.per_second, 0.5);
        print!("| {name} | {best:.0} / {median:.0} |");
        for latencies in &mut seen.latencies {
            let mut millis = |share| quantile(latencies, share).as_secs_f64() * 1e3;
            let (low, median, high) = (millis(0.1), millis(0.5), millis(0.99));
            print!(" {low:.2} / {median:.2} / {high:.2} |");
        }
        println!();
    }
}

/// Minimum and median of what a write to the medium costs here.
fn fsync() -> String {
    let mut file = tempfile::tempfile().expect("a temporary file");
    let mut micros: Vec<u128> = (0..200)
        .map(|_| {
            let start = Instant::now();
            file.write_all(&[1; 4096]).expect("room for a page");
            file.sync_data().expect("a file that can be synced");
            start.elapsed().as_micros()
        })
        .collect();
    let (low, median) = (quantile(&mut micros, 0.0), quantile(&mut micros, 0.5));
    format!("minimum {low}, median {median}")
}
