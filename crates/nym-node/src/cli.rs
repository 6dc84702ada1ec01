//! What the command lines of a mix node and a gateway have in common.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use nym_daemon::config::absolute_path;
use nym_daemon::exit::Failure;
use nym_daemon::home::{Home, Id, Kind, ProgramHome};

use crate::keys::KeyPaths;

/// Which node.
#[derive(Args, Clone, Debug)]
pub struct IdArgs {
    /// Name of the node
    #[arg(long, value_name = "ID")]
    pub id: Id,
}

/// `init`; `O` is what else is written down.
#[derive(Args, Clone, Debug)]
pub struct InitArgs<O: Args> {
    /// Name of the node
    #[arg(long, value_name = "ID")]
    pub id: Id,

    /// IP address to listen on
    #[arg(long, value_name = "IP")]
    pub host: IpAddr,

    /// What else is written down
    #[command(flatten)]
    pub overrides: O,
}

/// `run`; `O` is what else wins over the configuration file for this run.
#[derive(Args, Clone, Debug)]
pub struct RunArgs<O: Args> {
    /// Name of the node
    #[arg(long, value_name = "ID")]
    pub id: Id,

    /// IP address to listen on
    #[arg(long, value_name = "IP")]
    pub host: Option<IpAddr>,

    /// What else is changed for this run
    #[command(flatten)]
    pub overrides: O,
}

/// What the command line may say about any node in place of its file.
#[derive(Args, Clone, Debug, Default)]
pub struct NodeOverrides {
    /// Host that others reach this node by [default: the IP address it listens on]
    #[arg(long, value_name = "HOST")]
    pub announce_host: Option<String>,

    /// Port for packets [default: 1789]
    #[arg(long, value_name = "PORT")]
    pub mix_port: Option<u16>,

    /// Validators that the node announces itself to [default: http://127.0.0.1:1317]
    #[arg(long, value_name = "URL,…", value_delimiter = ',')]
    pub validators: Option<Vec<String>>,

    /// Certificates (PEM) of who may vouch for https validators [default: the system's]
    #[arg(long, value_name = "FILE", value_parser = absolute_path)]
    pub validator_ca: Option<PathBuf>,

    /// Contract that validators are asked about [default: nym-mixnet]
    #[arg(long, value_name = "ADDRESS")]
    pub mixnet_contract: Option<String>,
}

/// The files of a node that was initialised.
///
/// # Errors
/// A [`Failure`] that tells how to make the node.
pub fn existing(home: &Home, kind: Kind, id: &Id) -> Result<ProgramHome, Failure> {
    home.existing(kind, id).map_err(|error| {
        let program = kind.program();
        let advice = format!("make it with `{program} init --id {id} --host <IP>`");
        Failure::usage(error).advice(advice)
    })
}

/// Refuses to start a node whose keys are gone: it would start as another one.
///
/// # Errors
/// A [`Failure`] that names the missing file.
pub fn require_keys(kind: Kind, keys: &KeyPaths) -> Result<(), Failure> {
    if keys.exist() {
        return Ok(());
    }
    let (path, program) = (keys.private_identity.display(), kind.program());
    let advice = format!("restore it, or make a new {kind} with `{program} init`");
    Err(Failure::usage(format!("there is no key file {path}")).advice(advice))
}

/// Tells if nobody can reach the host that is announced.
pub fn warn_of_unreachable(host: &str) {
    if host.parse().is_ok_and(|ip: IpAddr| ip.is_unspecified()) {
        tracing::warn!(%host, "nobody can reach the announced host; set it with --announce-host");
    }
}

#[cfg(test)]
mod tests {
    use nym_daemon::exit::ExitCode;

    use super::*;

    #[test]
    fn node_that_was_not_initialised_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let (home, id) = (Home::at(directory.path()), "one".parse().unwrap());
        let failure = existing(&home, Kind::Gateway, &id).unwrap_err();
        assert_eq!(failure.exit_code(), ExitCode::Usage);
        let advice = failure.what_to_do().unwrap();
        assert!(advice.contains("nym-gateway init --id one"), "{advice}");
    }

    #[test]
    fn key_file_that_is_missing_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let keys = KeyPaths::in_directory(directory.path());
        let failure = require_keys(Kind::Mixnode, &keys).unwrap_err();
        assert_eq!(failure.exit_code(), ExitCode::Usage);
        assert!(
            failure.what().ends_with("private_identity.pem"),
            "{failure}"
        );
    }
}
