//! The directory: nodes announce themselves, everybody reads the topology.

use std::process::ExitCode;

use clap::Parser as _;
use nym_daemon::exit;
use nym_validator::cli::{Cli, execute};

#[tokio::main]
async fn main() -> ExitCode {
    exit::report(execute(Cli::parse()).await)
}
