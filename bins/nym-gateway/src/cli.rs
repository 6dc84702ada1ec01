//! The command line.

mod operator;
mod reload;

use clap::{CommandFactory as _, Parser, Subcommand};
use nym_daemon::cli::DaemonArgs;
use nym_daemon::exit::{ExitCode, Failure, cannot, say};
use nym_daemon::home::{Home, Id, Kind, ProgramHome};
use nym_daemon::logging::LogControl;
use nym_daemon::manual::{self, CompletionsArgs, ManArgs};
use nym_daemon::raise_open_files;
use nym_daemon::reload::ReloadRequests;
use nym_daemon::shutdown::Shutdown;
use nym_node::cli::{IdArgs, InitArgs, RunArgs, require_keys, warn_of_unreachable};
use nym_packet::keys::public_key_to_base58;
use nym_protocol::PROTOCOL_VERSION;

use crate::config::{Config, Overrides};
use crate::init::init;
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

    /// What is logged, and where all files are
    #[command(flatten)]
    pub daemon: DaemonArgs,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Make keys and write a configuration; of an existing gateway, keep keys and messages
    Init(InitArgs<Overrides>),
    /// Serve clients until interrupted
    ///
    /// What is given here wins over the configuration file for this run; the defaults below are
    /// those of `init`.
    Run(RunArgs<Overrides>),
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
    Check(IdArgs),
}

/// Does what the command line says.
///
/// # Errors
///
/// A [`Failure`] to show to the person who typed it.
pub async fn execute(cli: Cli) -> Result<ExitCode, Failure> {
    let logs = cli.daemon.start_logs()?;
    let home = cli.daemon.locate_home()?;
    match cli.command {
        Command::Init(args) => set_up(&args, &home),
        Command::Run(args) => serve(args, &home, logs).await,
        Command::Config(ConfigCommand::Check(args)) => check(&args, &home),
        Command::Clients(command) => operator::clients(command, &home),
        Command::Inbox(InboxCommand::Stats(args)) => operator::inbox_stats(&args, &home),
        Command::Completions(args) => manual::completions(Cli::command(), &args),
        Command::Man(args) => manual::man(Cli::command(), &args),
    }
}

fn set_up(args: &InitArgs<Overrides>, home: &Home) -> Result<ExitCode, Failure> {
    let gateway = init(home, args).map_err(|error| error.explain())?;
    let config = &gateway.config;
    let host = &config.announce_host;
    warn_of_unreachable(host);
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

fn check(args: &IdArgs, home: &Home) -> Result<ExitCode, Failure> {
    let file = existing(home, &args.id)?.config_file();
    reload::read(&file, None)?;
    say(&format!("{} makes sense\n", file.display()));
    Ok(ExitCode::Success)
}

async fn serve(
    args: RunArgs<Overrides>,
    home: &Home,
    logs: LogControl,
) -> Result<ExitCode, Failure> {
    let file = existing(home, &args.id)?.config_file();
    let (config, filter) = reload::read(&file, Some(&args))?;
    logs.set_filter(&filter).map_err(Failure::usage)?;
    require_keys(Kind::Gateway, &config.keys)?;

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
        args,
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
        GatewayError::Node(error) => {
            error.explain("--host, --mix-port, --clients-port and --http-api")
        }
        GatewayError::WebCertificate(_) => {
            failure.advice("check `certificate_file` and `private_key_file` in `[web]`")
        }
        GatewayError::Store(error) => explain_store(failure, error),
        GatewayError::Thread(_) => failure,
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
    nym_node::cli::existing(home, Kind::Gateway, id)
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
}
