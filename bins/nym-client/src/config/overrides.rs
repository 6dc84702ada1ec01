//! What wins over the file: the environment, and over that the command line.

use std::path::{Path, PathBuf};

use nym_daemon::config::{self, ConfigError, Loaded, Override};
use nym_packet::keys::IdentityPublicKey;

use super::file::{FileConfig, NO_SOCKET};

/// What the names of environment variables begin with.
pub const ENVIRONMENT_PREFIX: &str = "NYM_CLIENT";

/// What the command line says in place of the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// Another gateway. Its address stays that of the file.
    pub gateway: Option<IdentityPublicKey>,
    /// Other validators.
    pub validators: Option<Vec<String>>,
    /// Others who may vouch for validators.
    pub validator_ca: Option<PathBuf>,
    /// Another contract.
    pub mixnet_contract: Option<String>,
    /// Another port for apps.
    pub port: Option<u16>,
    /// Another setting of the legacy switch.
    pub legacy_peers: Option<String>,
    /// No socket for apps.
    pub disable_socket: bool,
    /// vpn mode.
    pub vpn_mode: bool,
}

impl Overrides {
    /// The same as values of keys.
    #[must_use]
    pub fn layer(&self) -> Vec<Override> {
        let gateway = self.gateway.map(|gateway| gateway.to_string());
        let validators = self.validators.clone();
        let validator_ca = self.validator_ca.as_ref();
        let validator_ca = validator_ca.map(|file| file.display().to_string());
        let contract = self.mixnet_contract.clone();
        let legacy_peers = self.legacy_peers.clone();
        [
            gateway.map(|it| Override::flag("--gateway", "client.gateway_id", it)),
            validators.map(|it| Override::flag("--validators", "client.validator_rest_urls", it)),
            validator_ca.map(|it| Override::flag("--validator-ca", "client.validator_ca_file", it)),
            contract.map(|it| {
                Override::flag("--mixnet-contract", "client.mixnet_contract_address", it)
            }),
            legacy_peers.map(|it| Override::flag("--legacy-peers", "links.legacy_peers", it)),
            self.port
                .map(|it| Override::flag("--port", "socket.listening_port", i64::from(it))),
            self.disable_socket
                .then(|| Override::flag("--disable-socket", "socket.socket_type", NO_SOCKET)),
            self.vpn_mode
                .then(|| Override::flag("--vpn-mode", "client.vpn_mode", true)),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// Reads a configuration file, and what the environment and the command line say in its place.
///
/// # Errors
///
/// [`ConfigError`] naming the file and line, the variable or the flag that is wrong.
pub fn load_layered(
    path: &Path,
    environment: impl IntoIterator<Item = (String, String)>,
    overrides: &Overrides,
) -> Result<Loaded<FileConfig>, ConfigError> {
    let complete = FileConfig::complete();
    let mut layers = config::from_environment(ENVIRONMENT_PREFIX, &complete, environment)?;
    layers.extend(overrides.layer());
    config::load::<FileConfig>(path)?.layer(&layers)
}
