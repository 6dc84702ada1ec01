//! Measures how long a large message takes from one client to another.
//!
//! ```text
//! throughput [--bytes N] [--runs N] [--fastmode]
//! ```
//!
//! A network of real processes, and two clients of their own with the default traffic pattern or
//! that of `init --fastmode`. One app sends a message of 10 MB, another one receives it; the time
//! counts from the first byte of the request.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::panic,
    reason = "a measuring tool has a real clock, talks to its user on the terminal, and ends when it \
              cannot measure"
)]

use std::net::TcpStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nym_tests::{clients, output_of, texts};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::stream::MaybeTlsStream;
use tokio_tungstenite::tungstenite::{Message, WebSocket, connect};

fn main() -> ExitCode {
    let (mut bytes, mut runs, mut is_fast) = (10_000_000, 1, false);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = |place: &mut usize| {
            let parsed = words.next().and_then(|text| text.parse().ok());
            parsed.map(|number| *place = number).is_some()
        };
        let is_known = match word.as_str() {
            "--bytes" => number(&mut bytes),
            "--runs" => number(&mut runs),
            "--fastmode" => {
                is_fast = true;
                true
            }
            _ => false,
        };
        if !is_known {
            eprintln!("usage: throughput [--bytes N] [--runs N] [--fastmode]");
            return ExitCode::from(2);
        }
    }
    for run in 1..=runs {
        let measured = measure(bytes, is_fast);
        println!("run {run}: {measured}");
    }
    ExitCode::SUCCESS
}

/// Sends one message over a network of its own, and tells how that went.
fn measure(bytes: usize, is_fast: bool) -> String {
    let home = tempfile::tempdir().expect("a temporary directory can be made");
    let (_localnet, validator) = clients::localnet(&[]);
    let pattern: &[&str] = if is_fast { &["--fastmode"] } else { &[] };
    let client = || clients::client(home.path());
    let [_, recipient] =
        ["sender", "recipient"].map(|name| clients::init(client(), name, &validator, pattern));
    let (_sender, sender_url) = clients::run_until_ready(client(), "sender");
    let (_recipient, recipient_url) = clients::run_until_ready(client(), "recipient");
    let (mut sender, mut receiver) = (app(&sender_url), app(&recipient_url));
    let before = status(home.path());

    let message = "m".repeat(bytes);
    let request = json!({"type": "send", "message": message, "recipient": recipient, "id": 1});
    let start = Instant::now();
    sender
        .send(Message::text(request.to_string()))
        .expect("the client takes the message");
    let said = |socket: &mut App| {
        let text = read(socket);
        let said: Value = serde_json::from_str(&text).unwrap_or_default();
        let kind = said["type"].as_str().unwrap_or_default().to_owned();
        (kind, start.elapsed(), text)
    };
    let (kind, accepted, text) = said(&mut sender);
    assert_eq!(kind, "send", "{text}");
    let arrival = std::thread::spawn(move || (read(&mut receiver), start.elapsed()));
    let (kind, delivered, text) = said(&mut sender);
    assert_eq!(kind, "delivered", "{text}");
    let (arrived, arrived_after) = arrival.join().expect("reading does not panic");
    assert_eq!(arrived.len(), bytes, "the whole message arrives");

    let after = status(home.path());
    let count = |name: &str| {
        let count = |status: &Value| status[name].as_u64().unwrap_or_default();
        count(&after) - count(&before)
    };
    let (packets, cover) = (count("packetsSent"), count("coverPacketsSent"));
    let again = count("retransmissions");
    format!(
        "{bytes} bytes: accepted after {}, arrived after {} ({} bytes/s), delivered after {}; \
         {packets} packets ({} a second), of these {cover} cover and {again} sent again",
        secs(accepted),
        secs(arrived_after),
        per_second(bytes as u64, arrived_after),
        secs(delivered),
        per_second(packets, delivered),
    )
}

fn secs(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a rate for people has fewer digits than that"
)]
fn per_second(count: u64, time: Duration) -> String {
    format!("{:.0}", count as f64 / time.as_secs_f64())
}

type App = WebSocket<MaybeTlsStream<TcpStream>>;

fn app(url: &str) -> App {
    let (socket, _) = connect(format!("{url}/seed")).expect("the client takes apps");
    socket
}

fn read(socket: &mut App) -> String {
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => return text.as_str().to_owned(),
            Ok(_) => {}
            Err(error) => panic!("nothing comes any more: {error}"),
        }
    }
}

/// How the sender does.
fn status(home: &Path) -> Value {
    let mut status = clients::client(home);
    let output = output_of(status.args(["status", "--id", "sender", "--json"]));
    let (stdout, stderr) = texts(&output);
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}"))
}
