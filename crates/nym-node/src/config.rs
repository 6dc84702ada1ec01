//! What the configuration files of a mix node and a gateway have in common.

use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use nym_daemon::config::{ConfigError, OneOrMany, Source};
use nym_protocol::PROTOCOL_VERSION;
use nym_protocol::validator::version::is_compatible;
use nym_transport::directory::Validators;

/// Where packets are taken unless told otherwise.
pub const MIX_PORT_DEFAULT: u16 = 1789;

/// The validator when none is named: one on this machine. There is no public one.
pub const VALIDATOR_DEFAULT: &str = "http://127.0.0.1:1317";

/// How often the published figures change.
pub const STATS_UPDATE_EVERY_DEFAULT: Duration = Duration::from_secs(30);

/// How often the figures are logged.
pub const STATS_LOG_EVERY_DEFAULT: Duration = Duration::from_secs(60);

/// The version of the protocol that a file is for which does not say.
#[must_use]
pub fn version() -> String {
    PROTOCOL_VERSION.to_owned()
}

/// The port for packets of a file that names none.
#[must_use]
pub const fn mix_port() -> u16 {
    MIX_PORT_DEFAULT
}

/// The validators of a file that names none.
#[must_use]
pub fn validators() -> OneOrMany {
    OneOrMany(vec![VALIDATOR_DEFAULT.to_owned()])
}

/// Processors of this machine, as far as they can be counted.
#[must_use]
pub fn processors() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// Checks the version that a file says at `key`.
///
/// # Errors
/// [`ConfigError::Invalid`] naming the line.
pub fn check_version(source: &Source, key: &str, version: &str) -> Result<(), ConfigError> {
    if is_compatible(version, PROTOCOL_VERSION) {
        return Ok(());
    }
    let allowed = format!("a version compatible with {PROTOCOL_VERSION}");
    Err(source.invalid(key, version, &allowed))
}

/// Checks the validators that a file names at `key`, and takes over who may vouch for them.
///
/// # Errors
/// [`ConfigError::Invalid`] naming the line, for the first that is no URL of a validator.
pub fn check_validators(
    source: &Source,
    key: &str,
    urls: &OneOrMany,
    ca_file: &Path,
) -> Result<Validators, ConfigError> {
    let check = |url: &String| {
        url.trim()
            .parse()
            .map_err(|error| source.at_key(key, format!("`{key}`: {error}")))
    };
    let urls = urls.0.iter().map(check).collect::<Result<_, _>>()?;
    Ok(Validators::new(urls, ca_file))
}
