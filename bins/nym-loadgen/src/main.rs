//! A load generator for any mix node.

use std::process::ExitCode;

fn main() -> ExitCode {
    nym_loadgen::cli::main()
}
