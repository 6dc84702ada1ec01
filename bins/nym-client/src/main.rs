//! The program an app talks to: a websocket in front of the mixnet.

use std::process::ExitCode;

use clap::Parser as _;
use nym_client::cli::{Cli, execute};
use nym_daemon::exit;

/// Two threads, so that a large request of an app does not hold up the packets; more would only
/// wake each other, and take memory on a machine with many processors.
#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    exit::report(execute(Cli::parse()).await)
}
