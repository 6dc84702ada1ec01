//! Why a client cannot start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use nym_daemon::config::ConfigError;
use nym_daemon::exit::Failure;
use nym_daemon::home::HomeError;
use nym_daemon::keys::KeyFileError;
use nym_packet::keys::IdentityPublicKey;
use nym_protocol::gateway::Refusal;
use nym_transport::directory::DirectoryError;
use nym_transport::legacy::LegacyDenied;

use crate::store::StoreError;

/// Why a client cannot start, or be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The app socket cannot be opened.
    #[error("cannot listen for apps on {address}: {source}")]
    AppSocket {
        /// The address.
        address: SocketAddr,
        /// What the operating system answered.
        source: io::Error,
    },
    /// The configuration is not usable.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The gateway cannot be reached.
    #[error("cannot reach the gateway at {url}: {reason}")]
    GatewayUnreachable {
        /// Where it should be.
        url: String,
        /// Why not.
        reason: String,
    },
    /// The data directory cannot be written to.
    #[error("cannot write to the data directory {}: {source}", path.display())]
    DataDirectory {
        /// The directory.
        path: PathBuf,
        /// What the operating system answered.
        source: io::Error,
    },
    /// A directory cannot be made.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// A key file cannot be read or written.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    /// There is no gateway to register at.
    #[error("the network has no gateway to register at")]
    NoGateway,
    /// No validator answers with a list of nodes, or none can be asked.
    #[error("cannot learn the topology: {0}")]
    NoTopology(#[from] DirectoryError),
    /// The thread that sends and receives packets cannot be started.
    #[error("cannot start the thread that sends packets: {0}")]
    NoThread(#[source] io::Error),
    /// The client was never set up.
    #[error("there is no client `{id}`: {} does not exist", config_file.display())]
    NotInitialised {
        /// Its name.
        id: String,
        /// The configuration that is missing.
        config_file: PathBuf,
    },
    /// The gateway that was asked for knows no TLS.
    #[error("gateway {gateway} speaks no TLS, and {denied}")]
    PlainGateway {
        /// Its identity.
        gateway: IdentityPublicKey,
        /// Why that is not allowed.
        denied: LegacyDenied,
    },
    /// The gateway does not register the client.
    #[error("registration at the gateway failed: {0}")]
    Refused(#[source] Refusal),
    /// What the client keeps cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another process runs this client.
    #[error("this client is running already{}", by(*pid))]
    Running {
        /// The process, if it told.
        pid: Option<u32>,
    },
    /// The gateway that was asked for is not in the topology.
    #[error("gateway {gateway} is not in the network's topology")]
    UnknownGateway {
        /// Its identity.
        gateway: IdentityPublicKey,
    },
    /// The configuration is not one that can be brought up to date.
    #[error("cannot upgrade: {problem}")]
    Upgrade {
        /// Why not.
        problem: String,
    },
}

fn by(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let failure = Self::from_error(&error);
        match error {
            ClientError::AppSocket { .. } => {
                failure.advice("stop the program that has the port, or choose another: --port N")
            }
            ClientError::Config(ConfigError::Read { .. }) => {
                failure.advice("restore the file from a copy, or make it readable for this user")
            }
            ClientError::Config(ConfigError::Write { .. }) | ClientError::DataDirectory { .. } => {
                failure.advice("make room, or make the directory writable for this user")
            }
            ClientError::Config(ConfigError::Override { .. }) => {
                failure.with_code(nym_daemon::exit::ExitCode::Usage)
            }
            ClientError::Config(_) => failure
                .with_code(nym_daemon::exit::ExitCode::Usage)
                .advice("correct the configuration file"),
            ClientError::GatewayUnreachable { .. } | ClientError::Refused(_) => {
                failure.advice("try again later, or choose another gateway: --gateway IDENTITY")
            }
            ClientError::Home(_) => failure,
            ClientError::Keys(KeyFileError::Read { .. }) => failure.advice(
                "restore the file from a copy; without it, make another client: nym-client init",
            ),
            ClientError::Keys(error) => failure.advise(error.advice()),
            ClientError::NoGateway => failure.advice(
                "wait until a gateway has announced itself: `nym-client gateways` lists them",
            ),
            ClientError::NoTopology(error) => explain_topology(failure, &error),
            ClientError::NoThread(_) => failure.advice(
                "raise this user's limits on processes and open files: ulimit -u, ulimit -n",
            ),
            ClientError::NotInitialised { id, .. } => failure
                .with_code(nym_daemon::exit::ExitCode::Usage)
                .advice(format!("set it up first: nym-client init --id {id}")),
            ClientError::Store(error) => {
                let advice = match error {
                    StoreError::Damaged { path, .. } => format!(
                        "restore it from a backup, or go on without what it holds: \
                         mv {0} {0}.damaged",
                        path.display()
                    ),
                    StoreError::InUse { .. } => "stop the other one first".to_owned(),
                    StoreError::Key(_) => return failure,
                    StoreError::KeyMissing { path, .. } | StoreError::WrongKey { path, .. } => {
                        format!(
                            "put the right key file back, or go on without what the store holds: \
                             mv {0} {0}.old",
                            path.display()
                        )
                    }
                    StoreError::Newer { .. } => "run the newer nym-client".to_owned(),
                    StoreError::Unusable { .. } => {
                        "check that the disk has room and the directory may be written to"
                            .to_owned()
                    }
                };
                failure.advice(advice)
            }
            ClientError::PlainGateway { .. } => failure.advice(
                "choose another one, or allow plain links, which others can read: --legacy-peers allow",
            ),
            ClientError::Running { .. } => failure.advice("use that one, or stop it first"),
            ClientError::Upgrade { .. } => failure.with_code(nym_daemon::exit::ExitCode::Usage),
            ClientError::UnknownGateway { .. } => {
                failure.advice("leave --gateway away to take a random one")
            }
        }
    }
}

fn explain_topology(failure: Failure, error: &DirectoryError) -> Failure {
    if error.is_of_configuration() {
        return failure
            .with_code(nym_daemon::exit::ExitCode::Usage)
            .advise(error.advice());
    }
    failure.advice("check that a validator runs at the address: --validators URL")
}
