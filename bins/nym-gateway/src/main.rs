//! A mailbox for clients and their door to the mixnet.

use std::process::ExitCode;

use clap::Parser as _;
use nym_daemon::exit;
use nym_gateway::cli::{Cli, execute};

#[tokio::main]
async fn main() -> ExitCode {
    exit::report(execute(Cli::parse()).await)
}
