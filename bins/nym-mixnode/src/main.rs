//! A relay that peels one layer, waits, and forwards.

use std::process::ExitCode;

use clap::Parser as _;
use nym_daemon::exit;
use nym_mixnode::cli::{Cli, execute};

#[tokio::main]
async fn main() -> ExitCode {
    exit::report(execute(Cli::parse()).await)
}
