//! Why a local network did not come up, or ended.

use std::path::PathBuf;

use nym_daemon::keys::KeyFileError;

use crate::network::READY_TIMEOUT;

/// Why a local network did not come up, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalnetError {
    /// The app port of a client is taken.
    #[error("port {port} for {client}'s apps is not free: {source}")]
    AppPort {
        /// Whose port.
        client: &'static str,
        /// The port.
        port: u16,
        /// What the system answered.
        source: std::io::Error,
    },
    /// A client did not come up.
    #[error("client {name}: {source}")]
    Client {
        /// Which.
        name: &'static str,
        /// What failed.
        source: nym_client::ClientError,
    },
    /// The data directory cannot be used.
    #[error("cannot keep anything in {}: {reason}", dir.display())]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// What failed.
        reason: String,
    },
    /// A program that should run until it is stopped has ended.
    #[error("{name} ended: {reason}")]
    Ended {
        /// Which.
        name: String,
        /// Why.
        reason: String,
    },
    /// A gateway did not come up.
    #[error("gateway {name}: {source}")]
    Gateway {
        /// Which.
        name: String,
        /// What failed.
        source: nym_gateway::GatewayError,
    },
    /// A mix node did not come up.
    #[error("mix node {name}: {source}")]
    Mixnode {
        /// Which.
        name: String,
        /// What failed.
        source: nym_mixnode::NodeError,
    },
    /// A node's keys cannot be used.
    #[error("{name}: {source}")]
    NodeKeys {
        /// Whose.
        name: String,
        /// What failed.
        source: KeyFileError,
    },
    /// The parts did not find each other.
    #[error("the network was not complete within {} s: {missing}", READY_TIMEOUT.as_secs())]
    NotReady {
        /// What was missing.
        missing: String,
    },
    /// A link cannot be recorded.
    #[error("cannot record the links of {name}: {source}")]
    Tap {
        /// Whose links.
        name: String,
        /// What the system answered.
        source: std::io::Error,
    },
    /// There are more clients than ports from the first one on.
    #[error("there is no port for {client}: ports end at 65535")]
    PortRange {
        /// The first client without one.
        client: &'static str,
    },
    /// The validator did not come up.
    #[error("validator: {0}")]
    Validator(#[from] nym_validator::ValidatorError),
}
