//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use nym_daemon::exit::{ExitCode, Failure, say};
use nym_daemon::home::{Home, Id, Kind};
use nym_daemon::logging;
use nym_daemon::shutdown::{Shutdown, Signal};
use nym_packet::keys::IdentityPublicKey;
use nym_protocol::PROTOCOL_VERSION;

use crate::client::Client;
use crate::config::{ClientConfig, Overrides, load_layered};
use crate::error::ClientError;
use crate::init::{InitOptions, init};

/// Send and receive messages that nobody can trace
///
/// An app on this machine connects by websocket; the client sends what it says through the
/// mixnet, among cover traffic, and hands it what arrives.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "nym-client",
    version,
    arg_required_else_help = false,
    after_help = "Examples:\n  \
        nym-client init --id alice --validators http://127.0.0.1:1317\n  \
        nym-client run --id alice --port 1977\n\n\
        Exit status: 0 success, 1 failure, 2 usage or configuration, 130 interrupted"
)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Log filter, as in RUST_LOG
    #[arg(long, value_name = "FILTER", global = true)]
    pub log: Option<String>,

    /// Directory of all files, instead of NYM_HOME or ~/.nym
    #[arg(long, value_name = "DIR", global = true)]
    pub home: Option<PathBuf>,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Make keys, register at a gateway, write a configuration
    Init(InitArgs),
    /// Connect and serve apps until interrupted
    Run(RunArgs),
}

/// `init`.
#[derive(Args, Clone, Debug)]
pub struct InitArgs {
    /// What both commands take
    #[command(flatten)]
    pub common: CommonArgs,

    /// Short delays and little cover traffic, for trying things out
    #[arg(long, hide = true)]
    pub fastmode: bool,
}

/// `run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// What both commands take
    #[command(flatten)]
    pub common: CommonArgs,
}

/// What `init` writes down and `run` changes for one run.
#[derive(Args, Clone, Debug)]
pub struct CommonArgs {
    /// Name of the client
    #[arg(long, value_name = "ID")]
    pub id: Id,

    /// Identity of the gateway; `init` takes a random one without it
    #[arg(long, value_name = "IDENTITY")]
    pub gateway: Option<IdentityPublicKey>,

    /// Who tells the topology
    #[arg(long, value_name = "URL,…", value_delimiter = ',')]
    pub validators: Option<Vec<String>>,

    /// Contract that validators are asked about
    #[arg(long, value_name = "ADDRESS")]
    pub mixnet_contract: Option<String>,

    /// Port for apps, on 127.0.0.1
    #[arg(short, long, value_name = "PORT")]
    pub port: Option<u16>,

    /// No socket for apps
    #[arg(long)]
    pub disable_socket: bool,

    /// No cover traffic and no delays. UNSAFE: shows who talks to whom
    #[arg(long)]
    pub vpn_mode: bool,
}

impl CommonArgs {
    fn overrides(&self) -> Overrides {
        Overrides {
            gateway: self.gateway,
            validators: self.validators.clone(),
            mixnet_contract: self.mixnet_contract.clone(),
            port: self.port,
            disable_socket: self.disable_socket,
            vpn_mode: self.vpn_mode,
        }
    }
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
    logging::init(cli.log.as_deref()).map_err(Failure::usage)?;
    let home = Home::locate(cli.home.as_deref()).map_err(ClientError::from)?;
    match command {
        Command::Init(args) => set_up(args, home).await,
        Command::Run(args) => serve(args, &home).await,
    }
}

/// What the program says without a command: its name, version and how to learn more.
#[must_use]
pub fn banner() -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
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
         \n\
         \x20 init  make keys, register at a gateway, write a configuration\n\
         \x20 run   connect and serve apps until interrupted\n\
         \n\
         --help shows all options.\n"
    )
}

async fn set_up(args: InitArgs, home: Home) -> Result<ExitCode, Failure> {
    let options = InitOptions {
        home,
        id: args.common.id.clone(),
        overrides: args.common.overrides(),
        fast_mode: args.fastmode,
    };
    let client = init(options).await?;
    let file = client.config_file.display();
    if client.existed {
        say(&format!(
            "Keys and gateway were kept, settings updated: {file}\n"
        ));
    } else {
        say(&format!("Configuration written: {file}\n"));
    }
    say(&format!(
        "The address of this client is: {}\n",
        client.recipient
    ));
    Ok(ExitCode::Success)
}

async fn serve(args: RunArgs, home: &Home) -> Result<ExitCode, Failure> {
    let id = &args.common.id;
    let config_file = home.program(Kind::Client, id).config_file();
    if !config_file.exists() {
        return Err(ClientError::NotInitialised {
            id: id.to_string(),
            config_file,
        }
        .into());
    }
    let config = load_layered(&config_file, environment(), &args.common.overrides())
        .and_then(ClientConfig::from_file)
        .map_err(ClientError::from)?;

    let shutdown = Shutdown::on_signals()
        .map_err(|error| Failure::new(format!("cannot watch for signals: {error}")))?;
    let client = Client::bind(config).await?;
    let addresses = client.addresses();
    say(&format!(
        "The address of this client is: {}\n",
        addresses.recipient
    ));
    if let Some(address) = addresses.apps {
        say(&format!("Apps connect to: ws://{address}\n"));
    }
    client.run(shutdown.token()).await?;
    match shutdown.signal() {
        Some(Signal::Interrupt) => Ok(ExitCode::Interrupted),
        _ => Ok(ExitCode::Success),
    }
}

/// The environment as far as it is text; no key has a name or value that is not.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_banner_names_the_program_its_version_and_the_protocol() {
        let banner = banner();
        let version = env!("CARGO_PKG_VERSION");
        for said in [
            "client",
            version,
            "protocol 0.11.0",
            "usage: nym-client",
            "--help",
        ] {
            assert!(banner.contains(said), "{banner}");
        }
        assert!(
            Cli::try_parse_from(["nym-client"])
                .unwrap()
                .command
                .is_none()
        );
    }

    #[test]
    fn validators_are_a_comma_separated_list() {
        let cli = [
            "nym-client",
            "run",
            "--id",
            "a",
            "--validators",
            "http://a,http://b",
            "-p",
            "5",
        ];
        let Some(Command::Run(args)) = Cli::try_parse_from(cli).unwrap().command else {
            panic!("`run` is a command");
        };
        let overrides = args.common.overrides();
        assert_eq!(overrides.validators.unwrap(), ["http://a", "http://b"]);
        assert_eq!(overrides.port, Some(5));
    }

    #[test]
    fn wrong_ids_gateways_and_flags_are_refused() {
        for wrong in [
            &["run"][..],
            &["run", "--id", "../a"],
            &["run", "--id", "a", "--gateway", "0"],
            &["run", "--id", "a", "--port", "65536"],
            &["run", "--id", "a", "--fastmode"],
            &["fly"],
        ] {
            let line = [&["nym-client"][..], wrong].concat();
            assert!(Cli::try_parse_from(line).is_err(), "{wrong:?}");
        }
    }
}
