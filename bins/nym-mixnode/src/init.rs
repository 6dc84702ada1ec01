//! The first start of a mix node: keys and a configuration file.

use nym_daemon::config;
use nym_daemon::home::Kind;
use nym_node::http::Description;
use nym_node::keys::KeyPaths;
use nym_node::setup;

use crate::config::{Config, FileConfig, Overrides};
use crate::description;

pub use nym_node::setup::InitError;

/// A node to set up.
pub type InitOptions = setup::InitOptions<Overrides>;

/// A node that was set up.
pub type Initialised = setup::Initialised<Config>;

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

    let node = Initialised::write(&files, config, &text)?;
    let description = description::path(&files);
    if !description.exists() {
        config::save(&description, &Description::default())?;
    }
    Ok(node)
}
