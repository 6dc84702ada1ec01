//! The first start of a gateway: keys and a configuration file.

use std::net::IpAddr;
use std::path::PathBuf;

use nym_daemon::config::{self, ConfigError};
use nym_daemon::entropy;
use nym_daemon::home::{Home, HomeError, Id, Kind};
use nym_daemon::keys::KeyFileError;
use nym_node::keys::{KeyPaths, NodeKeys};
use nym_packet::keys::{IdentityPublicKey, PublicKey};

use crate::config::{Config, FileConfig, Overrides};

/// A gateway to set up.
#[derive(Clone, Debug)]
pub struct InitOptions {
    /// Where the files of all programs are.
    pub home: Home,
    /// Name of the gateway.
    pub id: Id,
    /// Where it listens.
    pub host: IpAddr,
    /// What else the command line says.
    pub overrides: Overrides,
}

/// A gateway that was set up.
#[derive(Clone, Debug)]
pub struct Initialised {
    /// What the written file says.
    pub config: Config,
    /// Where it is.
    pub config_file: PathBuf,
    /// Who the gateway is.
    pub identity: IdentityPublicKey,
    /// The key that packets to it are built with.
    pub sphinx_key: PublicKey,
}

/// Why a gateway could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// A value is not allowed, or the file cannot be written.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A directory cannot be made.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// A key file is wrong or cannot be written.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
}

/// Makes keys unless there are some, and writes the configuration file anew. The database of an
/// existing gateway is left alone.
///
/// # Errors
///
/// [`InitError`]; nothing is written when a value is not allowed.
pub fn init(options: &InitOptions) -> Result<Initialised, InitError> {
    let files = options.home.program(Kind::Gateway, &options.id);
    let data = files.data_dir();
    let mut file = FileConfig::new(options.id.as_str(), options.host, &data);
    file.gateway.nym_root_directory = Some(options.home.of_kind(Kind::Gateway));
    file.apply(&options.overrides);
    if options.overrides.announce_host.is_none() {
        file.gateway.announce_address = Some(file.gateway.listening_address.to_string());
    }
    let (config_file, text) = (files.config_file(), file.render());
    let config = Config::from_file(config::parse(&config_file, &text)?)?;

    files.create()?;
    let keys = NodeKeys::load_or_create(&KeyPaths::in_directory(&data), &mut entropy())?;
    config::save_text(&config_file, &text)?;
    Ok(Initialised {
        config,
        config_file,
        identity: keys.identity.public_key(),
        sphinx_key: keys.sphinx.public_key(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_init_keeps_the_keys_and_rewrites_the_configuration() {
        let directory = tempfile::tempdir().unwrap();
        let mut options = InitOptions {
            home: Home::at(directory.path()),
            id: "one".parse().unwrap(),
            host: "127.0.0.1".parse().unwrap(),
            overrides: Overrides::default(),
        };
        let first = init(&options).unwrap();
        options.overrides.clients_port = Some(9001);
        let second = init(&options).unwrap();
        assert_eq!(first.identity, second.identity);
        assert_eq!(first.sphinx_key.as_bytes(), second.sphinx_key.as_bytes());
        let loaded = config::load(&second.config_file).unwrap();
        assert_eq!(Config::from_file(loaded).unwrap().clients_port, 9001);
    }

    #[test]
    fn nothing_is_written_when_a_value_is_not_allowed() {
        let directory = tempfile::tempdir().unwrap();
        let options = InitOptions {
            home: Home::at(directory.path()),
            id: "one".parse().unwrap(),
            host: "127.0.0.1".parse().unwrap(),
            overrides: Overrides {
                validators: Some(vec!["nowhere".into()]),
                ..Overrides::default()
            },
        };
        assert!(matches!(init(&options), Err(InitError::Config(_))));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
