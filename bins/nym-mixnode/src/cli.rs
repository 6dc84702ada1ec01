//! The command line.

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use nym_daemon::cli::DaemonArgs;
use nym_daemon::config;
use nym_daemon::exit::{ExitCode, Failure, cannot, print_text, say};
use nym_daemon::home::{Home, Id, Kind, ProgramHome};
use nym_daemon::logging::LogControl;
use nym_daemon::manual::{self, CompletionsArgs, ManArgs};
use nym_daemon::reload::{ReloadRequests, Reloaded};
use nym_daemon::shutdown::Shutdown;
use nym_node::cli::{IdArgs, InitArgs, RunArgs, require_keys, warn_of_unreachable};
use nym_node::keys::NodeKeys;
use nym_packet::keys::public_key_to_base58;
use nym_protocol::PROTOCOL_VERSION;

use crate::config::{Config, FileConfig, Overrides};
use crate::init::init;
use crate::{Mixnode, NodeError, description};

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

    /// What is logged, and where all files are
    #[command(flatten)]
    pub daemon: DaemonArgs,
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
    Init(InitArgs<Overrides>),
    /// Mix until interrupted
    ///
    /// What is given here wins over the configuration file for this run; the defaults below are
    /// those of `init`.
    Run(RunArgs<Overrides>),
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

/// `sign`.
#[derive(Args, Clone, Debug)]
pub struct SignArgs {
    /// Whose key signs
    #[command(flatten)]
    pub node: IdArgs,

    /// What to sign
    #[arg(long, value_name = "TEXT")]
    pub text: String,
}

/// Does what the command line says.
///
/// # Errors
/// A [`Failure`] to show to the person who typed it.
pub async fn execute(cli: Cli) -> Result<ExitCode, Failure> {
    let logs = cli.daemon.start_logs()?;
    let home = cli.daemon.locate_home()?;
    match cli.command {
        Command::Describe(args) => describe(&args, &home),
        Command::Init(args) => set_up(&args, &home),
        Command::Run(args) => serve(&args, &home, &logs).await,
        Command::Config(ConfigCommand::Check(args)) => check(&args, &home),
        Command::Sign(args) => sign(&args, &home),
        Command::Completions(args) => manual::completions(Cli::command(), &args),
        Command::Man(args) => manual::man(Cli::command(), &args),
    }
}

fn set_up(args: &InitArgs<Overrides>, home: &Home) -> Result<ExitCode, Failure> {
    let node = init(home, args).map_err(|error| error.explain())?;
    let config = &node.config;
    warn_of_unreachable(&config.announce_host);
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

fn check(args: &IdArgs, home: &Home) -> Result<ExitCode, Failure> {
    let files = existing(home, &args.id)?;
    read(&files, None)?;
    say(&format!("{} makes sense\n", files.config_file().display()));
    Ok(ExitCode::Success)
}

/// What the files say and the command line changes: the configuration, and what is logged.
fn read(
    files: &ProgramHome,
    args: Option<&RunArgs<Overrides>>,
) -> Result<(Config, String), Failure> {
    let mut loaded = config::load::<FileConfig>(&files.config_file()).map_err(Failure::usage)?;
    if let Some(args) = args {
        loaded.value.apply(args.host, &args.overrides);
    }
    let filter = loaded.value.logging.filter.clone();
    let description = description::load(&description::path(files)).map_err(Failure::usage)?;
    let config = Config::from_file(loaded, description).map_err(Failure::usage)?;
    Ok((config, filter))
}

async fn serve(
    args: &RunArgs<Overrides>,
    home: &Home,
    logs: &LogControl,
) -> Result<ExitCode, Failure> {
    let files = existing(home, &args.id)?;
    let (config, filter) = read(&files, Some(args))?;
    logs.set_filter(&filter).map_err(Failure::usage)?;
    require_keys(Kind::Mixnode, &config.keys)?;

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
        let (changed, filter) = read(&files, Some(args))?;
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

fn explain(error: &NodeError) -> Failure {
    error.explain("--host, --mix-port and --http-api-port")
}

fn sign(args: &SignArgs, home: &Home) -> Result<ExitCode, Failure> {
    let files = existing(home, &args.node.id)?;
    let loaded = config::load::<FileConfig>(&files.config_file()).map_err(Failure::usage)?;
    let keys = NodeKeys::load(&loaded.value.key_paths()).map_err(Failure::new)?;
    let signature = keys.identity.sign(args.text.as_bytes());
    print_text(&format!(
        "{}\n",
        bs58::encode(signature.as_bytes()).into_string()
    ))
}

fn describe(args: &IdArgs, home: &Home) -> Result<ExitCode, Failure> {
    let path = description::path(&existing(home, &args.id)?);
    let mut description = description::load(&path).map_err(Failure::usage)?;
    description::ask_at_terminal(&mut description).map_err(cannot("read the answers"))?;
    config::save(&path, &description).map_err(Failure::new)?;
    say(&format!(
        "Description written: {}\nA node that runs shows it after a restart\n",
        path.display()
    ));
    Ok(ExitCode::Success)
}

/// The files of a mix node that was initialised.
fn existing(home: &Home, id: &Id) -> Result<ProgramHome, Failure> {
    nym_node::cli::existing(home, Kind::Mixnode, id)
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
}
