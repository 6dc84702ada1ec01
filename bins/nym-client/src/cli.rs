//! The command line: what can be typed, and what its words mean.

mod arguments;

use std::path::PathBuf;

use clap::{CommandFactory as _, Parser, Subcommand};
use nym_daemon::exit::{ExitCode, Failure, say};
use nym_daemon::home::Home;
use nym_daemon::logging;
use nym_daemon::manual::{self, CompletionsArgs, ManArgs};
use nym_protocol::PROTOCOL_VERSION;

pub use self::arguments::{
    AddressArgs, CommonArgs, ConfigArgs, ConfigCommand, Destination, GatewaysArgs, InitArgs,
    ListenArgs, NetworkArgs, RunArgs, SendArgs, ShowArgs, StatusArgs, TopologyArgs, UpgradeArgs,
};
use crate::commands::{self, until_interrupted};
use crate::error::ClientError;

/// What is logged by commands that do one thing and end, when nobody says otherwise.
const QUIET_FILTER: &str = "warn";

/// Send and receive messages that nobody can trace
///
/// An app on this machine connects by websocket; the client sends what it says through the
/// mixnet, among cover traffic, and hands it what arrives. `send` and `listen` do the same from
/// the command line.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "nym-client",
    version = nym_daemon::version!(),
    arg_required_else_help = false,
    after_help = "Examples:\n  \
        nym-client init --id alice --validators http://127.0.0.1:1317\n  \
        nym-client run --id alice --port 1977\n  \
        nym-client send --id alice --to \"$(nym-client address --id bob)\" 'Hello Nym!'\n  \
        nym-client listen --id bob --json\n\n\
        Every key of the configuration can be set for one call by an environment variable, \
        NYM_CLIENT_<SECTION>_<KEY>. Data goes to standard output, all else to standard error.\n\n\
        Exit status: 0 success, 1 failure, 2 usage or configuration, 3 not delivered in time, \
        130 interrupted"
)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Log filter, as in RUST_LOG
    #[arg(long, value_name = "FILTER", global = true, display_order = 100)]
    pub log: Option<String>,

    /// Directory of all files, instead of NYM_HOME or ~/.nym
    #[arg(long, value_name = "DIR", global = true, display_order = 100)]
    pub home: Option<PathBuf>,
}

/// What to do, in the order in which people need it.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Make keys, register at a gateway, write a configuration
    Init(InitArgs),
    /// Connect and serve apps until interrupted
    ///
    /// What is given here wins over the environment, and that over the configuration file, for
    /// this run; the defaults below are those of `init`.
    Run(RunArgs),
    /// Print the address under which others reach a client
    Address(AddressArgs),
    /// Send a message and wait until it is delivered
    Send(SendArgs),
    /// Print the messages that arrive
    Listen(ListenArgs),
    /// Tell how a running client does
    Status(StatusArgs),
    /// List the gateways of the network, the nearest first
    Gateways(GatewaysArgs),
    /// List the nodes that packets are routed over
    Topology(TopologyArgs),
    /// Check or show the configuration of a client
    Config(ConfigArgs),
    /// Bring the configuration of an older client up to date
    Upgrade(UpgradeArgs),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  \
        nym-client completions bash > ~/.local/share/bash-completion/completions/nym-client")]
    Completions(CompletionsArgs),
    /// Print or write the man pages
    #[command(after_help = "Example:\n  \
        nym-client man --dir ~/.local/share/man/man1 && man nym-client-send")]
    Man(ManArgs),
}

/// Does what the command line says.
///
/// # Errors
///
/// A [`Failure`] to show to the person who typed it.
pub async fn execute(cli: Cli) -> Result<ExitCode, Failure> {
    let Some(command) = cli.command else {
        say(&banner());
        return Ok(ExitCode::Success);
    };
    let log = cli.log.as_deref();
    let logging = match &command {
        Command::Init(_) | Command::Run(_) => logging::init(log),
        _ => logging::init_with_default(log, QUIET_FILTER),
    };
    logging.map_err(Failure::usage)?;
    let home = || Home::locate(cli.home.as_deref()).map_err(ClientError::from);
    match command {
        Command::Init(args) => until_interrupted(commands::init::execute(args, home()?)).await,
        Command::Run(args) => commands::run::execute(&args, &home()?).await,
        Command::Address(args) => commands::address::execute(&args, &home()?),
        Command::Send(args) => commands::send::execute(&args, &home()?).await,
        Command::Listen(args) => commands::listen::execute(&args, &home()?).await,
        Command::Status(args) => {
            until_interrupted(commands::status::execute(&args, &home()?)).await
        }
        Command::Gateways(args) => {
            until_interrupted(commands::network::gateways(&args, &home()?)).await
        }
        Command::Topology(args) => {
            until_interrupted(commands::network::topology(&args, &home()?)).await
        }
        Command::Config(args) => commands::config::execute(&args, &home()?),
        Command::Upgrade(args) => commands::upgrade::execute(&args, &home()?),
        Command::Completions(args) => manual::completions(Cli::command(), &args),
        Command::Man(args) => manual::man(Cli::command(), &args),
    }
}

/// What the program says without a command: its name, version and how to learn more.
#[must_use]
pub fn banner() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut text = format!(
        "\n\
         \x20   _ __  _   _ _ __ ___\n\
         \x20  | '_ \\| | | | '_ ` _ \\\n\
         \x20  | | | | |_| | | | | | |\n\
         \x20  |_| |_|\\__, |_| |_| |_|\n\
         \x20         |___/\n\
         \n\
         \x20   (client - version {version}, protocol {PROTOCOL_VERSION})\n\
         \n\
         usage: nym-client <COMMAND>\n\
         \n"
    );
    for command in Cli::command().get_subcommands() {
        let about = command.get_about().map(ToString::to_string);
        let about = about.unwrap_or_default();
        text.push_str(&format!("  {:<12} {about}\n", command.get_name()));
    }
    text.push_str("\n--help shows all options.\n");
    text
}

#[cfg(test)]
mod tests;
