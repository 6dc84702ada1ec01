//! The first start of a mix node: keys and a configuration file.

use std::net::IpAddr;
use std::path::PathBuf;

use nym_daemon::config::{self, ConfigError};
use nym_daemon::entropy;
use nym_daemon::home::{Home, HomeError, Id, Kind};
use nym_daemon::keys::KeyFileError;
use nym_node::http::Description;
use nym_node::keys::{KeyPaths, NodeKeys};
use nym_packet::keys::{IdentityPublicKey, PublicKey};

use crate::config::{Config, FileConfig, Overrides};
use crate::description;

/// A node to set up.
#[derive(Clone, Debug)]
pub struct InitOptions {
    /// Where the files of all programs are.
    pub home: Home,
    /// Name of the node.
    pub id: Id,
    /// Where it listens.
    pub host: IpAddr,
    /// What else the command line says.
    pub overrides: Overrides,
}

/// A node that was set up.
#[derive(Clone, Debug)]
pub struct Initialised {
    /// What the written file says.
    pub config: Config,
    /// Where it is.
    pub config_file: PathBuf,
    /// Who the node is.
    pub identity: IdentityPublicKey,
    /// The key that packets to it are built with.
    pub sphinx_key: PublicKey,
}

/// Why a node could not be set up.
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

/// Makes keys unless there are some, and writes the configuration file anew.
///
/// # Errors
/// [`InitError`]; nothing is written when a value is not allowed.
pub fn init(options: &InitOptions) -> Result<Initialised, InitError> {
    let files = options.home.program(Kind::Mixnode, &options.id);
    let paths = KeyPaths::in_directory(&files.data_dir());
    let root = options.home.of_kind(Kind::Mixnode);
    let mut file = FileConfig::new(options.id.as_str(), options.host, &paths, &root);
    file.apply(&options.overrides);
    let (config_file, text) = (files.config_file(), file.render());
    let config = Config::from_file(config::parse(&config_file, &text)?, Description::default())?;

    files.create()?;
    let keys = NodeKeys::load_or_create(&paths, &mut entropy())?;
    config::save_text(&config_file, &text)?;
    let description = description::path(&files);
    if !description.exists() {
        config::save(&description, &Description::default())?;
    }
    Ok(Initialised {
        config,
        config_file,
        identity: keys.identity.public_key(),
        sphinx_key: keys.sphinx.public_key(),
    })
}
