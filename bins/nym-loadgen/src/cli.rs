//! The command line.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::process::ExitCode as ProcessExitCode;
use std::time::Duration;

use clap::Parser;
use nym_daemon::exit::{self, ExitCode, Failure};
use nym_packet::frame::PacketMode;
use nym_packet::geometry::PacketSize;
use nym_packet::keys::{PublicKey, public_key_from_base58};

use crate::packets::{parse_mode, parse_size};
use crate::{Load, LoadError};

/// Sends valid packets through a mix node and measures what comes out
///
/// The node may be any that speaks the 0.11 network. It must be able to reach this program's sink,
/// to which it forwards the packets.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "nym-loadgen",
    version,
    after_help = "Examples:\n  \
        nym-loadgen --node 127.0.0.1:1789 --sphinx-key 8uM…            as fast as the node takes them\n  \
        nym-loadgen --node 127.0.0.1:1789 --sphinx-key 8uM… --rate 1000 --mean-delay 50ms --pid 4711\n\n\
        Exit status: 0 measured, 1 failure, 2 usage"
)]
pub struct Cli {
    /// Address at which the node listens for packets
    #[arg(long, value_name = "IP:PORT")]
    pub node: SocketAddr,

    /// The node's sphinx key, in base58
    #[arg(long, value_name = "KEY", value_parser = public_key_from_base58)]
    pub sphinx_key: PublicKey,

    /// Address of the sink, as the node reaches it; port 0 takes a free one
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
    pub sink: SocketAddr,

    /// Connections to the node
    #[arg(long, value_name = "N", default_value = "1")]
    pub connections: NonZeroU32,

    /// Packets to send
    #[arg(long, value_name = "N", default_value = "20000")]
    pub packets: NonZeroU32,

    /// Packets per second over all connections [default: as fast as the node takes them]
    #[arg(long, value_name = "N")]
    pub rate: Option<NonZeroU32>,

    /// Mean of the exponential delay at the node
    #[arg(long, value_name = "TIME", default_value = "0ms", value_parser = humantime::parse_duration)]
    pub mean_delay: Duration,

    /// Size of the packets: regular, ack or extended
    #[arg(long, value_name = "SIZE", default_value = "regular", value_parser = parse_size)]
    pub size: PacketSize,

    /// Mode of the frames: mix or vpn
    #[arg(long, value_name = "MODE", default_value = "mix", value_parser = parse_mode)]
    pub mode: PacketMode,

    /// Process of the node, to measure its use of the processor
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,

    /// How long nothing may arrive, beyond the longest delay, before the rest counts as lost
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = humantime::parse_duration)]
    pub patience: Duration,

    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

impl From<Cli> for Load {
    fn from(cli: Cli) -> Self {
        Self {
            node: cli.node,
            sphinx_key: cli.sphinx_key,
            sink: cli.sink,
            connections: cli.connections,
            packets: cli.packets,
            rate: cli.rate,
            mean_delay: cli.mean_delay,
            size: cli.size,
            mode: cli.mode,
            pid: cli.pid,
            patience: cli.patience,
        }
    }
}

/// The program: reads the command line, runs the load, prints the report.
#[must_use]
pub fn main() -> ProcessExitCode {
    exit::report(measure(Cli::parse()))
}

#[expect(clippy::print_stdout, reason = "the report is this program's output")]
fn measure(cli: Cli) -> Result<ExitCode, Failure> {
    let json = cli.json;
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Failure::from_error(&error).advice("raise the limit on threads"))?;
    let report = runtime
        .block_on(crate::run(&cli.into()))
        .map_err(|error| explain(&error))?;
    if json {
        let json = serde_json::to_string(&report).map_err(|error| Failure::from_error(&error))?;
        println!("{json}");
    } else {
        println!("{report}");
    }
    Ok(ExitCode::Success)
}

/// The same error with what to do about it.
fn explain(error: &LoadError) -> Failure {
    let advice = match error {
        LoadError::Bind { .. } => "choose an address of this machine with --sink",
        LoadError::Connect { .. } => "check that the node runs, and --node",
        LoadError::Process(_) => "check --pid",
    };
    Failure::from_error(error).advice(advice)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn node_and_key_are_enough() {
        let key = "11111111111111111111111111111111";
        let cli = [
            "nym-loadgen",
            "--node",
            "127.0.0.1:1789",
            "--sphinx-key",
            key,
        ];
        let load = Load::from(Cli::try_parse_from(cli).unwrap());
        assert_eq!(load.sphinx_key, PublicKey::from_bytes([0; 32]));
        assert_eq!(load.rate, None);
        assert_eq!(load.size, PacketSize::Regular);
    }

    #[test]
    fn wrong_values_are_usage_errors() {
        let fine = [
            "nym-loadgen",
            "--node",
            "127.0.0.1:1",
            "--sphinx-key",
            "1111",
        ];
        assert!(Cli::try_parse_from(fine).is_err());
        assert!(parse_size("huge").is_err());
        assert!(parse_mode("fast").is_err());
    }
}
