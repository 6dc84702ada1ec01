//! The command line.

mod operator;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use nym_daemon::cli::DaemonArgs;
use nym_daemon::exit::{ExitCode, Failure, cannot, print_text, say};
use nym_daemon::home::{Home, Id, Kind};
use nym_daemon::logging::LogControl;
use nym_daemon::manual::{self, CompletionsArgs, ManArgs};
use nym_daemon::reload::{ReloadRequests, Reloaded};
use nym_daemon::shutdown::Shutdown;

use crate::config::{self, BOND_TTL_MIN, Config, EXAMPLE, Overrides};
use crate::{Validator, ValidatorError};

pub use self::operator::{
    BondCommand, BondGatewayArgs, BondMixnodeArgs, BondedNodeArgs, BondsArgs, RegistryArgs,
    UnbondArgs,
};

/// Tell a mixnet who is in it
///
/// Nodes announce themselves here, signed with their identity key; everybody else reads the
/// lists of nodes.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "nym-validator",
    version = nym_daemon::version!(),
    after_help = "Examples:\n  \
        nym-validator run        on 127.0.0.1, ports 1317 and 8080\n  \
        nym-validator run --id two --rest-port 1318 --api-port 8081\n  \
        nym-validator run --listen 0.0.0.0 --certificate-file fullchain.pem --private-key-file key.pem\n  \
        nym-validator config > ~/.nym/validators/default/config/config.toml\n\n\
        A node of Nym 0.11 cannot announce itself; list it with the keys that its `init` printed:\n  \
        nym-validator bond mixnode --host 203.0.113.9 --identity-key KEY --sphinx-key KEY\n\n\
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
    /// List a node that cannot announce itself, as those of Nym 0.11, until it is unbonded
    #[command(subcommand)]
    Bond(BondCommand),
    /// Print the nodes that are bonded
    Bonds(BondsArgs),
    /// Print a configuration file with every key at its default
    Config,
    /// Serve until interrupted
    Run(RunArgs),
    /// Take a bonded node off the list
    Unbond(UnbondArgs),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  \
        nym-validator completions bash > /etc/bash_completion.d/nym-validator")]
    Completions(CompletionsArgs),
    /// Print or write the man pages
    #[command(after_help = "Example:\n  \
        nym-validator man --dir /usr/local/share/man/man1 && man nym-validator-run")]
    Man(ManArgs),
}

/// `run`. What is given here wins over the configuration file.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Name of the validator
    #[arg(long, value_name = "ID", default_value = "default")]
    pub id: Id,

    /// Address to listen on [default: 127.0.0.1]
    #[arg(long, value_name = "IP")]
    pub listen: Option<IpAddr>,

    /// Port that nodes and clients are configured with [default: 1317]
    #[arg(long, value_name = "PORT")]
    pub rest_port: Option<u16>,

    /// Port where 0.11 programs look for the lists [default: 8080]
    #[arg(long, value_name = "PORT")]
    pub api_port: Option<u16>,

    /// Certificate with its chain (PEM), to serve https
    #[arg(long, value_name = "FILE", requires = "private_key_file")]
    pub certificate_file: Option<PathBuf>,

    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", requires = "certificate_file")]
    pub private_key_file: Option<PathBuf>,

    /// Directory of the stored nodes, instead of the validator's own
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Nodes that were silent for so long are removed [default: 10m]
    #[arg(long, value_name = "TIME", value_parser = parse_bond_ttl)]
    pub bond_ttl: Option<Duration>,
}

impl RunArgs {
    fn config(&self, home: &Home) -> Result<Config, Failure> {
        let files = home.program(Kind::Validator, &self.id);
        let overrides = Overrides {
            listen: self.listen,
            rest_port: self.rest_port,
            api_port: self.api_port,
            certificate: self
                .certificate_file
                .clone()
                .zip(self.private_key_file.clone()),
            data_dir: self.data_dir.clone(),
            bond_ttl: self.bond_ttl,
        };
        config::load(&files, overrides).map_err(Failure::usage)
    }
}

/// Does what the command line says.
///
/// # Errors
///
/// A [`Failure`] to show to the person who typed it.
pub async fn execute(cli: Cli) -> Result<ExitCode, Failure> {
    let home = || cli.daemon.locate_home();
    match cli.command {
        Command::Bond(command) => operator::bond(&command, &home()?),
        Command::Bonds(args) => operator::bonds(&args, &home()?),
        Command::Config => print_text(EXAMPLE),
        Command::Run(args) => {
            let logs = cli.daemon.start_logs()?;
            serve(&args, &home()?, &logs).await
        }
        Command::Unbond(args) => operator::unbond(&args, &home()?),
        Command::Completions(args) => manual::completions(Cli::command(), &args),
        Command::Man(args) => manual::man(Cli::command(), &args),
    }
}

async fn serve(args: &RunArgs, home: &Home, logs: &LogControl) -> Result<ExitCode, Failure> {
    let config = args.config(home)?;
    logs.set_filter(&config.log_filter)
        .map_err(Failure::usage)?;
    let shutdown = Shutdown::on_signals().map_err(cannot("watch for signals"))?;
    let reload_requests = ReloadRequests::on_signal().map_err(cannot("watch for signals"))?;
    let validator = Validator::bind(config.clone())
        .await
        .map_err(|error| failure(&error))?;
    let addresses = validator.addresses();
    let scheme = if config.certificate.is_some() {
        "https"
    } else {
        "http"
    };
    say(&format!(
        "validator of the nodes and clients configured with {scheme}://{}\nlists for 0.11 programs \
         at {scheme}://{}\n",
        addresses.rest, addresses.api
    ));
    let control = validator.control();
    let reload = || {
        let changed = args.config(home)?;
        control.reload_certificate().map_err(Failure::usage)?;
        logs.set_filter(&changed.log_filter)
            .map_err(Failure::usage)?;
        control.reload(changed.reloadable());
        let rest = Config {
            bond_ttl: config.bond_ttl,
            log_filter: config.log_filter.clone(),
            node_count_max: config.node_count_max,
            plain_http: config.plain_http,
            ..changed
        };
        Ok(Reloaded::when_the_rest_is_same(rest == config))
    };
    // Reloading takes something over at once or not at all, so it can be dropped at any time.
    tokio::select! {
        ended = validator.run(shutdown.token()) => ended.map_err(|error| failure(&error))?,
        () = reload_requests.serve(reload) => {}
    }
    Ok(shutdown.exit_code())
}

/// Adds what to do about an error.
fn failure(error: &ValidatorError) -> Failure {
    let failure = Failure::from_error(error);
    match error {
        ValidatorError::Bind { .. } => failure
            .advice("choose other addresses with --listen, --rest-port and --api-port")
            .with_code(ExitCode::Usage),
        ValidatorError::Certificate(_) => failure
            .advice("check `certificate_file` and `private_key_file`")
            .with_code(ExitCode::Usage),
        ValidatorError::DataDirectory(_) | ValidatorError::Registry { .. } => {
            failure.advice("choose another directory with --data-dir")
        }
        ValidatorError::Serve(_) => failure,
    }
}

fn parse_bond_ttl(text: &str) -> Result<Duration, String> {
    let ttl = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if ttl < BOND_TTL_MIN {
        return Err(format!(
            "allowed is {} or more",
            humantime::format_duration(BOND_TTL_MIN)
        ));
    }
    Ok(ttl)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_win_over_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        let files = home.program(Kind::Validator, &"two".parse().unwrap());
        files.create().unwrap();
        std::fs::write(files.config_file(), "rest_port = 5\napi_port = 6\n").unwrap();
        let cli = Cli::parse_from(["nym-validator", "run", "--id", "two", "--rest-port", "7"]);
        let Command::Run(args) = cli.command else {
            panic!("that was `run`")
        };
        let config = args.config(&home).unwrap();
        assert_eq!((config.rest_port, config.api_port), (7, 6));
        assert_eq!(config.data_dir, files.data_dir());
    }

    #[test]
    fn a_node_is_bonded_with_what_its_init_printed_and_the_usual_ports() {
        let line = "nym-validator bond gateway --identity-key A --sphinx-key B --host 10.0.0.1";
        let cli = Cli::parse_from(line.split(' '));
        let Command::Bond(BondCommand::Gateway(args)) = cli.command else {
            panic!("that was `bond gateway`")
        };
        assert_eq!((args.node.mix_port, args.clients_port), (1789, 9000));
        assert_eq!(args.node.version, nym_protocol::PROTOCOL_VERSION);
        assert!(!args.node.replace);
    }

    #[test]
    fn without_a_registry_nothing_is_bonded_and_no_file_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let cli = Cli::parse_from(["nym-validator", "bonds"]);
        let Command::Bonds(args) = cli.command else {
            panic!("that was `bonds`")
        };
        let failure = operator::bonds(&args, &Home::at(dir.path())).unwrap_err();
        assert_eq!(failure.exit_code(), ExitCode::Usage);
        assert!(failure.to_string().contains("start the validator once"));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_bad_flag_is_refused_before_anything_starts() {
        for flags in [
            ["--rest-port", "65536"],
            ["--listen", "localhost"],
            ["--bond-ttl", "119s"],
            ["--certificate-file", "cert.pem"],
            ["--private-key-file", "key.pem"],
        ] {
            let line = ["nym-validator", "run"].into_iter().chain(flags);
            assert!(Cli::try_parse_from(line).is_err(), "{flags:?}");
        }
    }
}
