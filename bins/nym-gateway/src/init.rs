//! The first start of a gateway: keys and a configuration file.

use nym_daemon::config;
use nym_daemon::home::{Home, Kind};
use nym_node::cli::InitArgs;
use nym_node::setup;

use crate::config::{Config, FileConfig, Overrides};

pub use nym_node::setup::InitError;

/// A gateway that was set up.
pub type Initialised = setup::Initialised<Config>;

/// Makes keys unless there are some, and writes the configuration file anew. The database of an
/// existing gateway is left alone.
///
/// # Errors
///
/// [`InitError`]; nothing is written when a value is not allowed.
pub fn init(home: &Home, args: &InitArgs<Overrides>) -> Result<Initialised, InitError> {
    let files = home.program(Kind::Gateway, &args.id);
    let mut file = FileConfig::new(args.id.as_str(), args.host, &files.data_dir());
    file.gateway.nym_root_directory = Some(home.of_kind(Kind::Gateway));
    file.apply(None, &args.overrides);
    let (config_file, text) = (files.config_file(), file.render()?);
    let config = Config::from_file(config::parse(&config_file, &text)?)?;

    Initialised::write(&files, config, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> InitArgs<Overrides> {
        InitArgs {
            id: "one".parse().unwrap(),
            host: "127.0.0.1".parse().unwrap(),
            overrides: Overrides::default(),
        }
    }

    #[test]
    fn second_init_keeps_the_keys_and_rewrites_the_configuration() {
        let directory = tempfile::tempdir().unwrap();
        let (home, mut args) = (Home::at(directory.path()), args());
        let first = init(&home, &args).unwrap();
        args.overrides.clients_port = Some(9001);
        let second = init(&home, &args).unwrap();
        assert_eq!(first.identity, second.identity);
        assert_eq!(first.sphinx_key.as_bytes(), second.sphinx_key.as_bytes());
        let loaded = config::load(&second.config_file).unwrap();
        assert_eq!(Config::from_file(loaded).unwrap().clients_port, 9001);
    }

    #[test]
    fn nothing_is_written_when_a_value_is_not_allowed() {
        let directory = tempfile::tempdir().unwrap();
        let (home, mut args) = (Home::at(directory.path()), args());
        args.overrides.node.validators = Some(vec!["nowhere".into()]);
        assert!(matches!(init(&home, &args), Err(InitError::Config(_))));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
