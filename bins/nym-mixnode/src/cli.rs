//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use nym_daemon::config;
use nym_daemon::exit::{ExitCode, Failure, cannot, print_text, say};
use nym_daemon::home::{Home, Id, Kind, ProgramHome};
use nym_daemon::logging::{self, LogControl, LogFormat};
use nym_daemon::manual::{self, CompletionsArgs, ManArgs};
use nym_daemon::reload::{ReloadRequests, Reloaded};
use nym_daemon::shutdown::Shutdown;
use nym_node::keys::NodeKeys;
use nym_packet::keys::public_key_to_base58;
use nym_protocol::PROTOCOL_VERSION;

use crate::config::{Config, FileConfig, Overrides};
use crate::init::{InitOptions, init};
use crate::{Mixnode, MixnodeError, description};

/// Mix packets for a mixnet
///
/// Takes packets, peels one layer of encryption off each, keeps it for a random time that its
/// sender chose, and sends it to the next hop.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "nym-mixnode",
    version = nym_daemon::version!(),
    after_help = "Examples:\n  \
        nym-mixnode init --id one --host 203.0.113.7 --validators http://198.51.100.1:1317\n  \
        nym-mixnode run --id one --log-format json\n  \
        nym-mixnode config check --id one\n\n\
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
    /// See whether the configuration makes sense
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Set what the node's page says about it, asking for each part
    Describe(IdArgs),
    /// Make keys and write a configuration; on an existing node, keep the keys
    Init(InitArgs),
    /// Mix until interrupted
    ///
    /// What is given here wins over the configuration file for this run; the defaults below are
    /// those of `init`.
    Run(RunArgs),
    /// Print the signature of a text by the node's identity key, in base58
    Sign(SignArgs),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  \
        nym-mixnode completions bash > /etc/bash_completion.d/nym-mixnode")]
    Completions(CompletionsArgs),
    /// Print or write the man pages
    #[command(after_help = "Example:\n  \
        nym-mixnode man --dir /usr/local/share/man/man1 && man nym-mixnode-run")]
    Man(ManArgs),
}

/// `config`.
#[derive(Clone, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Read the configuration as `run` does, and tell what is wrong with it
    Check(IdArgs),
}

/// A node.
#[derive(Args, Clone, Debug)]
pub struct IdArgs {
    /// Name of the node
    #[arg(long, value_name = "ID")]
    pub id: Id,
}

/// `init`.
#[derive(Args, Clone, Debug)]
pub struct InitArgs {
    /// Name of the node
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
    /// Name of the node
    #[arg(long, value_name = "ID")]
    pub id: Id,

    /// IP address to listen on
    #[arg(long, value_name = "IP")]
    pub host: Option<IpAddr>,

    /// What else is changed for this run
    #[command(flatten)]
    pub common: CommonArgs,
}

/// `sign`.
#[derive(Args, Clone, Debug)]
pub struct SignArgs {
    /// Name of the node
    #[arg(long, value_name = "ID")]
    pub id: Id,

    /// What to sign
    #[arg(long, value_name = "TEXT")]
    pub text: String,
}

/// What `init` writes down and `run` changes for one run.
#[derive(Args, Clone, Debug)]
pub struct CommonArgs {
    /// Host that others reach this node by [default: the IP address it listens on]
    #[arg(long, value_name = "HOST")]
    pub announce_host: Option<String>,

    /// Port for packets [default: 1789]
    #[arg(long, value_name = "PORT")]
    pub mix_port: Option<u16>,

    /// Port for round-trip measurements [default: 1790]
    #[arg(long, value_name = "PORT")]
    pub verloc_port: Option<u16>,

    /// Port of the node's pages [default: 8000]
    #[arg(long, value_name = "PORT")]
    pub http_api_port: Option<u16>,

    /// Validators that the node announces itself to [default: http://127.0.0.1:1317]
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
            verloc_port: self.verloc_port,
            http_api_port: self.http_api_port,
            validators: self.validators,
            mixnet_contract: self.mixnet_contract,
        }
    }
}

/// Does what the command line says.
///
/// # Errors
/// A [`Failure`] to show to the person who typed it.
pub async fn execute(cli: Cli) -> Result<ExitCode, Failure> {
    let logs = logging::start(cli.log.as_deref(), cli.log_format).map_err(Failure::usage)?;
    let home = Home::locate(cli.home.as_deref()).map_err(Failure::usage)?;
    match cli.command {
        Command::Describe(args) => describe(&home, &args.id),
        Command::Init(args) => set_up(args, home),
        Command::Run(args) => serve(args, &home, logs).await,
        Command::Config(ConfigCommand::Check(args)) => check(&home, &args.id),
        Command::Sign(args) => sign(&home, &args),
        Command::Completions(args) => manual::completions(Cli::command(), &args),
        Command::Man(args) => manual::man(Cli::command(), &args),
    }
}

fn set_up(args: InitArgs, home: Home) -> Result<ExitCode, Failure> {
    let overrides = args.common.into_overrides(None);
    let node = init(&InitOptions {
        home,
        id: args.id,
        host: args.host,
        overrides,
    })
    .map_err(|error| error.explain())?;
    let config = &node.config;
    let host = &config.announce_host;
    if host.parse().is_ok_and(|ip: IpAddr| ip.is_unspecified()) {
        tracing::warn!(%host, "nobody can reach the announced host; set it with --announce-host");
    }
    say(&format!(
        "{}Host: {}\n\
         Mix port: {}\n\
         Verloc port: {}\n\
         HTTP API port: {}\n\
         Version: {PROTOCOL_VERSION}\n",
        node.report(),
        config.announce_host,
        config.mix_port,
        config.verloc_port,
        config.http_api_port,
    ));
    Ok(ExitCode::Success)
}

fn check(home: &Home, id: &Id) -> Result<ExitCode, Failure> {
    let files = existing(home, id)?;
    read(&files, &Overrides::default())?;
    say(&format!("{} makes sense\n", files.config_file().display()));
    Ok(ExitCode::Success)
}

/// What the files say and the command line changes: the configuration, and what is logged.
fn read(files: &ProgramHome, overrides: &Overrides) -> Result<(Config, String), Failure> {
    let mut loaded = config::load::<FileConfig>(&files.config_file()).map_err(Failure::usage)?;
    loaded.value.apply(overrides);
    let filter = loaded.value.logging.filter.clone();
    let description = description::load(&description::path(files)).map_err(Failure::usage)?;
    let config = Config::from_file(loaded, description).map_err(Failure::usage)?;
    Ok((config, filter))
}

async fn serve(args: RunArgs, home: &Home, logs: LogControl) -> Result<ExitCode, Failure> {
    let files = existing(home, &args.id)?;
    let overrides = args.common.into_overrides(args.host);
    let (config, filter) = read(&files, &overrides)?;
    logs.set_filter(&filter).map_err(Failure::usage)?;
    if !config.keys.exist() {
        let path = config.keys.private_identity.display();
        return Err(Failure::usage(format!("there is no key file {path}"))
            .advice("restore it, or make a new node with `nym-mixnode init`"));
    }

    let shutdown = Shutdown::on_signals().map_err(cannot("watch for signals"))?;
    let reload_requests = ReloadRequests::on_signal().map_err(cannot("watch for signals"))?;
    let node = Mixnode::bind(config.clone())
        .await
        .map_err(|error| explain(&error))?;
    let addresses = node.addresses();
    say(&format!(
        "Identity key: {}\n\
         Sphinx key: {}\n\
         Packets: {}\n\
         Pages: http://{}/stats\n",
        node.identity(),
        public_key_to_base58(&node.sphinx_key()),
        addresses.mix,
        addresses.http,
    ));
    let links = node.links();
    let reload = || {
        let (changed, filter) = read(&files, &overrides)?;
        logs.set_filter(&filter).map_err(Failure::usage)?;
        links.reload(changed.link_config);
        let rest = Config {
            link_config: changed.link_config.with_policy_of(config.link_config),
            ..changed
        };
        Ok(Reloaded::when_the_rest_is_same(rest == config))
    };
    // Reloading takes something over at once or not at all, so it can be dropped at any time.
    tokio::select! {
        ended = node.run(shutdown.token()) => ended.map_err(|error| explain(&error))?,
        () = reload_requests.serve(reload) => {}
    }
    Ok(shutdown.exit_code())
}

fn explain(error: &MixnodeError) -> Failure {
    let failure = Failure::from_error(error);
    match error {
        MixnodeError::AddressTaken { .. } => failure.advice(
            "announce another host or port, or wait until the validator has forgotten the other",
        ),
        MixnodeError::Bind { .. } => {
            failure.advice("choose others with --host, --mix-port and --http-api-port")
        }
        MixnodeError::Keys(error) => failure.advise(error.advice()),
        MixnodeError::ReplayJournal(error) => failure.advice(error.advice()),
        _ => failure,
    }
}

fn sign(home: &Home, args: &SignArgs) -> Result<ExitCode, Failure> {
    let files = existing(home, &args.id)?;
    let loaded = config::load::<FileConfig>(&files.config_file()).map_err(Failure::usage)?;
    let keys = NodeKeys::load(&loaded.value.key_paths()).map_err(Failure::new)?;
    let signature = keys.identity.sign(args.text.as_bytes());
    print_text(&format!(
        "{}\n",
        bs58::encode(signature.as_bytes()).into_string()
    ))
}

fn describe(home: &Home, id: &Id) -> Result<ExitCode, Failure> {
    let path = description::path(&existing(home, id)?);
    let mut description = description::load(&path).map_err(Failure::usage)?;
    description::ask_at_terminal(&mut description).map_err(cannot("read the answers"))?;
    config::save(&path, &description).map_err(Failure::new)?;
    say(&format!(
        "Description written: {}\nA node that runs shows it after a restart\n",
        path.display()
    ));
    Ok(ExitCode::Success)
}

/// The files of a node that was initialised.
fn existing(home: &Home, id: &Id) -> Result<ProgramHome, Failure> {
    home.existing(Kind::Mixnode, id).map_err(|error| {
        let advice = format!("make it with `nym-mixnode init --id {id} --host <IP>`");
        Failure::usage(error).advice(advice)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_bad_flag_is_refused_before_anything_starts() {
        for line in [
            &["nym-mixnode"][..],
            &["nym-mixnode", "init", "--id", "a"],
            &["nym-mixnode", "init", "--id", "a/b", "--host", "127.0.0.1"],
            &["nym-mixnode", "init", "--id", "a", "--host", "localhost"],
            &["nym-mixnode", "run", "--id", "a", "--mix-port", "65536"],
        ] {
            assert!(Cli::try_parse_from(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn a_node_that_was_not_initialised_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let id = "one".parse().unwrap();
        let failure = existing(&Home::at(dir.path()), &id).unwrap_err();
        assert_eq!(failure.exit_code(), ExitCode::Usage);
        assert!(
            failure.to_string().contains("nym-mixnode init --id one"),
            "{failure}"
        );
    }
}
