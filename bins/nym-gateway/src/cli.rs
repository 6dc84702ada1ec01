//! The command line.

mod operator;
mod reload;

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use nym_daemon::exit::{ExitCode, Failure, cannot, say};
use nym_daemon::home::{Home, Id, Kind, ProgramHome};
use nym_daemon::logging::{self, LogControl, LogFormat};
use nym_daemon::manual::{self, CompletionsArgs, ManArgs};
use nym_daemon::raise_open_files;
use nym_daemon::reload::ReloadRequests;
use nym_daemon::shutdown::Shutdown;
use nym_packet::keys::public_key_to_base58;
use nym_protocol::PROTOCOL_VERSION;

use crate::config::{Config, Overrides};
use crate::init::{InitOptions, init};
use crate::store::StoreError;
use crate::{Gateway, GatewayError};

use self::reload::Reloader;

pub use self::operator::{ClientsCommand, InboxCommand, RemoveArgs, ViewArgs};

/// Files that a gateway needs besides its connections: database, pages, validators.
const OTHER_FILES: usize = 300;

/// A mailbox for the clients of a mixnet
///
/// Clients send their packets through it, and it keeps what arrives for them until they come for
/// it. Mix nodes hand it the packets at the end of their way.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "nym-gateway",
    version = nym_daemon::version!(),
    after_help = "Examples:\n  \
        nym-gateway init --id one --host 203.0.113.7 --validators http://198.51.100.1:1317\n  \
        nym-gateway run --id one --log-format json\n  \
        nym-gateway config check --id one\n  \
        nym-gateway inbox stats --id one\n\n\
        Exit status: 0 success, 1 failure, 2 usage or configuration, 130 interrupted"
)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,

    /// Log filter, as in RUST_LOG
    #[arg(long, value_name = "FILTER", global = true, display_order = 100)]
    pub log: Option<String>,

    /// How log lines look: text or json
    #[arg(
        long,
        value_name = "FORMAT",
        global = true,
        display_order = 100,
        default_value = "text"
    )]
    pub log_format: LogFormat,

    /// Directory of all files, instead of NYM_HOME or ~/.nym
    #[arg(long, value_name = "DIR", global = true, display_order = 100)]
    pub home: Option<PathBuf>,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Make keys and write a configuration; of an existing gateway, keep keys and messages
    Init(InitArgs),
    /// Serve clients until interrupted
    ///
    /// What is given here wins over the configuration file for this run; the defaults below are
    /// those of `init`.
    Run(RunArgs),
    /// See whether the configuration makes sense
    #[command(subcommand)]
    Config(ConfigCommand),
    /// See or remove registered clients, beside a running gateway or without one
    #[command(subcommand)]
    Clients(ClientsCommand),
    /// See what waits for clients, beside a running gateway or without one
    #[command(subcommand)]
    Inbox(InboxCommand),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  \
        nym-gateway completions bash > /etc/bash_completion.d/nym-gateway")]
    Completions(CompletionsArgs),
    /// Print or write the man pages
    #[command(after_help = "Example:\n  \
        nym-gateway man --dir /usr/local/share/man/man1 && man nym-gateway-run")]
    Man(ManArgs),
}

/// `config`.
#[derive(Clone, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Read the configuration as `run` does, and tell what is wrong with it
    Check(CheckArgs),
}

/// `config check`.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// Name of the gateway
    #[arg(long, value_name = "ID")]
    pub id: Id,
}

/// `init`.
#[derive(Args, Clone, Debug)]
pub struct InitArgs {
    /// Name of the gateway
    #[arg(long, value_name = "ID")]
    pub id: Id,

    /// IP address to listen on
    #[arg(long, value_name = "IP")]
    pub host: IpAddr,

    /// What else is written down
    #[command(flatten)]
    pub common: CommonArgs,
}

/// `run`. What is given here wins over the configuration file.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Name of the gateway
    #[arg(long, value_name = "ID")]
    pub id: Id,

    /// IP address to listen on
    #[arg(long, value_name = "IP")]
    pub host: Option<IpAddr>,

    /// What else is changed for this run
    #[command(flatten)]
    pub common: CommonArgs,
}

/// What `init` writes down and `run` changes for one run.
#[derive(Args, Clone, Debug)]
pub struct CommonArgs {
    /// Host that others reach this gateway by [default: the IP address it listens on]
    #[arg(long, value_name = "HOST")]
    pub announce_host: Option<String>,

    /// Port for packets [default: 1789]
    #[arg(long, value_name = "PORT")]
    pub mix_port: Option<u16>,

    /// Port for clients [default: 9000]
    #[arg(long, value_name = "PORT")]
    pub clients_port: Option<u16>,

    /// Address of the operator's pages, empty for none [default: 127.0.0.1:8001]
    #[arg(long, value_name = "ADDRESS")]
    pub http_api: Option<String>,

    /// Where the gateway stands, in your words
    #[arg(long, value_name = "TEXT")]
    pub location: Option<String>,

    /// Database with clients' keys and messages [default: in the gateway's directory]
    #[arg(long, value_name = "FILE")]
    pub clients_ledger: Option<PathBuf>,

    /// Without effect: messages are in the database
    #[arg(long, value_name = "DIR", hide = true)]
    pub inboxes: Option<PathBuf>,

    /// Validators that the gateway announces itself to [default: http://127.0.0.1:1317]
    #[arg(long, value_name = "URL,…", value_delimiter = ',')]
    pub validators: Option<Vec<String>>,

    /// Contract that validators are asked about [default: nym-mixnet]
    #[arg(long, value_name = "ADDRESS")]
    pub mixnet_contract: Option<String>,
}

impl CommonArgs {
    fn into_overrides(self, host: Option<IpAddr>) -> Overrides {
        Overrides {
            host,
            announce_host: self.announce_host,
            mix_port: self.mix_port,
            clients_port: self.clients_port,
            http_api: self.http_api,
            location: self.location,
            clients_ledger: self.clients_ledger,
            validators: self.validators,
            mixnet_contract: self.mixnet_contract,
        }
    }
}

/// Does what the command line says.
///
/// # Errors
///
/// A [`Failure`] to show to the person who typed it.
pub async fn execute(cli: Cli) -> Result<ExitCode, Failure> {
    let logs = logging::start(cli.log.as_deref(), cli.log_format).map_err(Failure::usage)?;
    let home = Home::locate(cli.home.as_deref()).map_err(Failure::usage)?;
    match cli.command {
        Command::Init(args) => set_up(args, home),
        Command::Run(args) => serve(args, &home, logs).await,
        Command::Config(ConfigCommand::Check(args)) => check(&args, &home),
        Command::Clients(command) => operator::clients(command, &home),
        Command::Inbox(InboxCommand::Stats(args)) => operator::inbox_stats(&args, &home),
        Command::Completions(args) => manual::completions(Cli::command(), &args),
        Command::Man(args) => manual::man(Cli::command(), &args),
    }
}

fn set_up(args: InitArgs, home: Home) -> Result<ExitCode, Failure> {
    let overrides = args.common.into_overrides(None);
    let options = InitOptions {
        home,
        id: args.id,
        host: args.host,
        overrides,
    };
    let gateway = init(&options).map_err(|error| error.explain())?;
    let config = &gateway.config;
    let host = &config.announce_host;
    if host.parse().is_ok_and(|ip: IpAddr| ip.is_unspecified()) {
        tracing::warn!(%host, "nobody can reach the announced host; set it with --announce-host");
    }
    say(&format!(
        "{}Host: {host}\n\
         Mix port: {}\n\
         Clients port: {}\n\
         Location: {}\n\
         Version: {PROTOCOL_VERSION}\n",
        gateway.report(),
        config.mix_port,
        config.clients_port,
        config.location,
    ));
    Ok(ExitCode::Success)
}

fn check(args: &CheckArgs, home: &Home) -> Result<ExitCode, Failure> {
    let file = existing(home, &args.id)?.config_file();
    reload::read(&file, &Overrides::default())?;
    say(&format!("{} makes sense\n", file.display()));
    Ok(ExitCode::Success)
}

async fn serve(args: RunArgs, home: &Home, logs: LogControl) -> Result<ExitCode, Failure> {
    let file = existing(home, &args.id)?.config_file();
    let overrides = args.common.into_overrides(args.host);
    let (config, filter) = reload::read(&file, &overrides)?;
    logs.set_filter(&filter).map_err(Failure::usage)?;
    if !config.keys.exist() {
        let path = config.keys.private_identity.display();
        return Err(Failure::usage(format!("there is no key file {path}"))
            .advice("restore it, or make a new gateway with `nym-gateway init`"));
    }

    warn_of_few_files(&config);
    let shutdown = Shutdown::on_signals().map_err(cannot("watch for signals"))?;
    let reload_requests = ReloadRequests::on_signal().map_err(cannot("watch for signals"))?;
    let gateway = Gateway::bind(config.clone())
        .await
        .map_err(|error| explain(&error))?;
    let addresses = gateway.addresses();
    let pages = addresses
        .http
        .map(|address| format!("Pages: http://{address}/health\n"));
    say(&format!(
        "Identity key: {}\n\
         Sphinx key: {}\n\
         Packets: {}\n\
         Clients: ws://{}\n\
         {}",
        gateway.identity(),
        public_key_to_base58(&gateway.sphinx_key()),
        addresses.mix,
        addresses.clients,
        pages.unwrap_or_default(),
    ));
    let reloader = Reloader {
        file,
        overrides,
        started_with: config,
        control: gateway.control(),
        logs,
    };
    // Reloading takes something over at once or not at all, so it can be dropped at any time.
    tokio::select! {
        ended = gateway.run(shutdown.token()) => ended.map_err(|error| explain(&error))?,
        () = reload_requests.serve(|| reloader.reload()) => {}
    }
    Ok(shutdown.exit_code())
}

/// Tells if the limit on open files is less than what may be needed.
fn warn_of_few_files(config: &Config) {
    let links = config.links + config.connections.max_connections;
    let needed = config.client_connections + links + OTHER_FILES;
    match raise_open_files() {
        Some(limit) if limit < u64::try_from(needed).unwrap_or(u64::MAX) => tracing::warn!(
            limit,
            needed,
            "fewer open files are allowed than connections: raise LimitNOFILE or ulimit -Hn, or \
             lower client_connections and incoming_links"
        ),
        _ => {}
    }
}

fn explain(error: &GatewayError) -> Failure {
    let failure = Failure::from_error(error);
    match error {
        GatewayError::AddressTaken { .. } => failure.advice(
            "announce another host or port, or wait until the validator has forgotten the other",
        ),
        GatewayError::Bind { .. } => {
            failure.advice("choose others with --host, --mix-port, --clients-port and --http-api")
        }
        GatewayError::Keys(error) => failure.advise(error.advice()),
        GatewayError::ReplayJournal(error) => failure.advice(error.advice()),
        GatewayError::WebCertificate(_) => {
            failure.advice("check `certificate_file` and `private_key_file` in `[web]`")
        }
        GatewayError::Store(error) => explain_store(failure, error),
        _ => failure,
    }
}

fn explain_store(failure: Failure, error: &StoreError) -> Failure {
    if error.is_damage() {
        return failure.advice(
            "restore the file from a copy; or move it away, which loses its clients' messages, and \
             save what can be read with `sqlite3 FILE .recover`",
        );
    }
    match error {
        StoreError::Newer { .. } => failure.advice("run the program that wrote it, or a newer one"),
        StoreError::Missing { .. } => failure.advice("start the gateway once; it makes the file"),
        _ => failure.advice(
            "choose another file with --clients-ledger, or end the program that uses this one",
        ),
    }
}

/// The files of a gateway that was initialised.
fn existing(home: &Home, id: &Id) -> Result<ProgramHome, Failure> {
    home.existing(Kind::Gateway, id).map_err(|error| {
        let advice = format!("make it with `nym-gateway init --id {id} --host <IP>`");
        Failure::usage(error).advice(advice)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definition_of_the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn bad_flag_is_refused_before_anything_starts() {
        for line in [
            &["nym-gateway"][..],
            &["nym-gateway", "init", "--id", "a"],
            &["nym-gateway", "init", "--id", "a/b", "--host", "127.0.0.1"],
            &["nym-gateway", "init", "--id", "a", "--host", "localhost"],
            &["nym-gateway", "run", "--id", "a", "--clients-port", "65536"],
        ] {
            assert!(Cli::try_parse_from(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn gateway_that_was_not_initialised_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let failure = existing(&Home::at(directory.path()), &"one".parse().unwrap()).unwrap_err();
        assert_eq!(failure.exit_code(), ExitCode::Usage);
        assert!(
            failure.to_string().contains("nym-gateway init --id one"),
            "{failure}"
        );
    }
}
