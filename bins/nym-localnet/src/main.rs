//! A complete private mixnet in one process.

use std::process::ExitCode;

use clap::Parser as _;
use nym_daemon::exit;
use nym_localnet::cli::{Cli, execute};

#[tokio::main]
async fn main() -> ExitCode {
    exit::report(execute(Cli::parse()).await)
}
