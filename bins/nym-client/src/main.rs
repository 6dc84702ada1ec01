//! The program an app talks to: a websocket in front of the mixnet.

use std::process::ExitCode;

use clap::Parser as _;
use nym_client::cli::{Cli, execute};
use nym_daemon::exit;

/// One thread, which serves apps; packets have another one. More would only wake each other.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    exit::report(execute(Cli::parse()).await)
}
