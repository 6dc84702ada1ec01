//! The first start of a mix node: keys and a configuration file.

use nym_daemon::config;
use nym_daemon::home::{Home, Kind};
use nym_node::cli::InitArgs;
use nym_node::http::Description;
use nym_node::keys::KeyPaths;
use nym_node::setup;

use crate::config::{Config, FileConfig, Overrides};
use crate::description;

pub use nym_node::setup::InitError;

/// A node that was set up.
pub type Initialised = setup::Initialised<Config>;

/// Makes keys unless there are some, and writes the configuration file anew.
///
/// # Errors
/// [`InitError`]; nothing is written when a value is not allowed.
pub fn init(home: &Home, args: &InitArgs<Overrides>) -> Result<Initialised, InitError> {
    let files = home.program(Kind::Mixnode, &args.id);
    let paths = KeyPaths::in_directory(&files.data_dir());
    let root = home.of_kind(Kind::Mixnode);
    let mut file = FileConfig::new(args.id.as_str(), args.host, paths, &root);
    file.apply(None, &args.overrides);
    let (config_file, text) = (files.config_file(), file.render()?);
    let config = Config::from_file(config::parse(&config_file, &text)?, Description::default())?;

    let node = Initialised::write(&files, config, &text)?;
    let description = description::path(&files);
    if !description.exists() {
        config::save(&description, &Description::default())?;
    }
    Ok(node)
}
