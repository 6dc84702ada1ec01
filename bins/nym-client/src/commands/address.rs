//! `nym-client address`.

use nym_daemon::exit::{ExitCode, Failure, print_text};
use nym_daemon::home::Home;

use super::client_config;
use crate::cli::AddressArgs;
use crate::config::Overrides;
use crate::error::ClientError;
use crate::keys::OwnKeys;

pub(crate) fn execute(args: &AddressArgs, home: &Home) -> Result<ExitCode, Failure> {
    let config = client_config(home, &args.id, &Overrides::default())?;
    let keys = OwnKeys::load(&config.key_files).map_err(ClientError::from)?;
    print_text(&format!("{}\n", keys.recipient(config.gateway)))
}
