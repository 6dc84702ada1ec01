//! The command line.

use std::fmt::Display;
use std::net::SocketAddr;
use std::num::{NonZeroU8, NonZeroU32};
use std::process::ExitCode as ProcessExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use nym_daemon::exit::{self, ExitCode, Failure};
use nym_packet::frame::PacketMode;
use nym_packet::geometry::PacketSize;
use nym_packet::keys::{IdentityPublicKey, PublicKey, public_key_from_base58};
use serde::Serialize;

use crate::crowd::{self, Crowd, CrowdError};
use crate::packets::{parse_mode, parse_size};
use crate::{Load, LoadError, PagesError};

/// Sends valid packets through a mix node and measures what comes out
///
/// The node may be any that speaks the 0.11 network. It must be able to reach this program's sink,
/// to which it forwards the packets: a node of ours needs `open_relay_for_tests = true` in its
/// `[links]`, because the sink is in no topology. `nym-loadgen gateway` measures a gateway instead.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "nym-loadgen",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:\n  \
        nym-loadgen --node 127.0.0.1:1789 --sphinx-key 8uM… --identity-key 3Xd…\n  \
        nym-loadgen --node 127.0.0.1:1789 --sphinx-key 8uM… --plain  (a 0.11 node)\n  \
        nym-loadgen … --rate 1000 --mean-delay 50ms --pid 4711\n  \
        nym-loadgen … --waiting 1000000 --rate 20000 --mean-delay 50ms\n  \
        nym-loadgen gateway --clients-at 127.0.0.1:9000 --identity-key 6Xq… \\\n      \
        --packets-at 127.0.0.1:1789 --sphinx-key 8uM… --pid 4712\n\n\
        Exit status: 0 measured, 1 failure, 2 usage"
)]
pub struct Cli {
    /// What to measure, if not a mix node
    #[command(subcommand)]
    pub command: Option<Command>,

    /// The mix node and its load
    #[command(flatten)]
    pub node: Option<NodeArgs>,
}

/// What to measure, if not a mix node.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Connect many clients to a gateway and push messages to them
    Gateway(GatewayArgs),
}

/// A mix node and its load.
#[derive(Args, Clone, Debug)]
pub struct NodeArgs {
    /// Address at which the node listens for packets
    #[arg(long, value_name = "IP:PORT")]
    pub node: SocketAddr,

    /// The node's sphinx key, in base58
    #[arg(long, value_name = "KEY", value_parser = public_key_from_base58)]
    pub sphinx_key: PublicKey,

    /// The node's identity key, in base58
    #[arg(long, value_name = "KEY", required_unless_present = "plain")]
    pub identity_key: Option<IdentityPublicKey>,

    /// Plain links, for a 0.11 node or one with `legacy_peers = "allow"`
    #[arg(long, conflicts_with = "identity_key")]
    pub plain: bool,

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

    /// Packets sent before the measurement that wait at the node for 50 minutes, beside those measured
    #[arg(long, value_name = "N", default_value = "0")]
    pub waiting: u32,

    /// Size of the packets: regular, ack or extended
    #[arg(long, value_name = "SIZE", default_value = "regular", value_parser = parse_size)]
    pub size: PacketSize,

    /// Mode of the frames: mix or vpn
    #[arg(long, value_name = "MODE", default_value = "mix", value_parser = parse_mode)]
    pub mode: PacketMode,

    /// Process of the node, to measure its use of processor and memory
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,

    /// Address of the pages of a node of ours, to learn how much of its time is Sphinx; set its
    /// `node_stats_updating_delay` to some milliseconds
    #[arg(long, value_name = "IP:PORT")]
    pub pages: Option<SocketAddr>,

    /// How long nothing may arrive, beyond the longest delay, before the rest counts as lost
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = humantime::parse_duration)]
    pub patience: Duration,

    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

/// A gateway and its crowd.
#[derive(Args, Clone, Debug)]
pub struct GatewayArgs {
    /// Address at which the gateway takes clients
    #[arg(long, value_name = "IP:PORT")]
    pub clients_at: SocketAddr,

    /// The gateway's identity key, in base58
    #[arg(long, value_name = "KEY")]
    pub identity_key: IdentityPublicKey,

    /// Address at which the gateway takes packets
    #[arg(long, value_name = "IP:PORT")]
    pub packets_at: SocketAddr,

    /// The gateway's sphinx key, in base58
    #[arg(long, value_name = "KEY", value_parser = public_key_from_base58)]
    pub sphinx_key: PublicKey,

    /// Clients to connect
    #[arg(long, value_name = "N", default_value = "10000")]
    pub clients: NonZeroU32,

    /// Addresses that they come from: 127.1.0.1, 127.1.1.1 and so on
    #[arg(long, value_name = "N", default_value = "100")]
    pub sources: NonZeroU8,

    /// Clients that connect at the same time
    #[arg(long, value_name = "N", default_value = "64")]
    pub at_once: NonZeroU32,

    /// Messages to send, to one client after the other
    #[arg(long, value_name = "N", default_value = "20000")]
    pub messages: NonZeroU32,

    /// Messages per second
    #[arg(long, value_name = "N", default_value = "1000")]
    pub rate: NonZeroU32,

    /// How long all are idle before the gateway's memory is read
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    pub idle: Duration,

    /// How long nothing may arrive before the rest counts as lost
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    pub patience: Duration,

    /// Process of the gateway, to measure its memory and use of the processor
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,

    /// Speak without TLS, to a gateway of 0.11 or one that allows it
    #[arg(long)]
    pub plain: bool,

    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

impl From<GatewayArgs> for Crowd {
    fn from(args: GatewayArgs) -> Self {
        Self {
            clients_at: args.clients_at,
            identity: args.identity_key,
            packets_at: args.packets_at,
            sphinx_key: args.sphinx_key,
            clients: args.clients,
            sources: args.sources,
            at_once: args.at_once,
            messages: args.messages,
            rate: args.rate,
            idle: args.idle,
            patience: args.patience,
            pid: args.pid,
            plain: args.plain,
        }
    }
}

impl From<NodeArgs> for Load {
    fn from(cli: NodeArgs) -> Self {
        Self {
            node: cli.node,
            sphinx_key: cli.sphinx_key,
            identity_key: cli.identity_key,
            sink: cli.sink,
            connections: cli.connections,
            packets: cli.packets,
            rate: cli.rate,
            mean_delay: cli.mean_delay,
            waiting: cli.waiting,
            size: cli.size,
            mode: cli.mode,
            pid: cli.pid,
            pages: cli.pages,
            patience: cli.patience,
        }
    }
}

/// The program: reads the command line, runs the load, prints the report.
#[must_use]
pub fn main() -> ProcessExitCode {
    exit::report(measure(Cli::parse()))
}

fn measure(cli: Cli) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Failure::from_error(&error).advice("raise the limit on threads"))?;
    match (cli.command, cli.node) {
        (Some(Command::Gateway(args)), _) => {
            let json = args.json;
            let measured = runtime.block_on(crowd::run(&args.into()));
            print(&measured.map_err(|error| explain_crowd(&error))?, json)
        }
        (None, Some(args)) => {
            let json = args.json;
            let measured = runtime.block_on(crate::run(&args.into()));
            print(&measured.map_err(|error| explain(&error))?, json)
        }
        (None, None) => Err(Failure::usage("there is nothing to measure")
            .advice("name a mix node with --node, or a gateway: see nym-loadgen --help")),
    }
}

fn print<R: Display + Serialize>(report: &R, json: bool) -> Result<ExitCode, Failure> {
    if json {
        let json = serde_json::to_string(report).map_err(|error| Failure::from_error(&error))?;
        exit::say(&format!("{json}\n"));
    } else {
        exit::say(&format!("{report}\n"));
    }
    Ok(ExitCode::Success)
}

/// The same error with what to do about it.
fn explain(error: &LoadError) -> Failure {
    let advice = match error {
        LoadError::Bind { .. } => "choose an address of this machine with --sink",
        LoadError::Connect { .. } => "check that the node runs, and --node",
        LoadError::Link { .. } => "check --identity-key, or give --plain for a node without TLS",
        LoadError::Pages(PagesError::Stale { .. }) => {
            "set node_stats_updating_delay in the node's [debug] to \"20ms\" for the measurement"
        }
        LoadError::Pages(_) => "check --pages: only nodes of ours have such a page",
        LoadError::Process(_) => "check --pid",
        LoadError::Waiting { .. } => "check that the node still runs",
    };
    Failure::from_error(error).advice(advice)
}

fn explain_crowd(error: &CrowdError) -> Failure {
    let advice = match error {
        CrowdError::Client { .. } => {
            "check --clients-at and --identity-key, and what the gateway allows one address: more \
             --sources"
        }
        CrowdError::Connect { .. } => "check that the gateway runs, and --packets-at",
        CrowdError::Link(_) => "check --identity-key; a gateway without TLS needs --plain",
        CrowdError::OpenFiles { .. } => {
            "raise the hard limit (ulimit -Hn), or take fewer --clients"
        }
        CrowdError::Process(_) => "check --pid",
    };
    Failure::from_error(error).advice(advice)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use nym_packet::keys::IdentityKeyPair;

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
            "--plain",
        ];
        let load = Load::from(Cli::try_parse_from(cli).unwrap().node.unwrap());
        assert_eq!(load.sphinx_key, PublicKey::from_bytes([0; 32]));
        assert_eq!(load.identity_key, None);
        assert_eq!(load.rate, None);
        assert_eq!(load.size, PacketSize::Regular);
    }

    #[test]
    fn gateway_needs_its_keys_and_addresses() {
        let key = IdentityKeyPair::from_seed(&[1; 32])
            .public_key()
            .to_string();
        let mut line = vec!["nym-loadgen", "gateway", "--clients-at", "127.0.0.1:9000"];
        line.extend(["--packets-at", "127.0.0.1:1789", "--identity-key", &key]);
        assert!(Cli::try_parse_from(&line).is_err());
        line.extend(["--sphinx-key", "11111111111111111111111111111111"]);
        let Some(Command::Gateway(args)) = Cli::try_parse_from(&line).unwrap().command else {
            panic!("that was `gateway`");
        };
        assert_eq!(Crowd::from(args).clients.get(), 10_000);
        assert!(Cli::try_parse_from(["nym-loadgen"]).is_err());
    }

    #[test]
    fn wrong_values_are_usage_errors() {
        let fine = [
            "nym-loadgen",
            "--node",
            "127.0.0.1:1",
            "--sphinx-key",
            "1111",
            "--plain",
        ];
        assert!(Cli::try_parse_from(fine).is_err());
        assert!(parse_size("huge").is_err());
        assert!(parse_mode("fast").is_err());
    }
}
