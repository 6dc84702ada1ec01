//! The first start of a gateway: keys and a configuration file.

use nym_daemon::config;
use nym_daemon::home::Kind;
use nym_node::setup;

use crate::config::{Config, FileConfig, Overrides};

pub use nym_node::setup::InitError;

/// A gateway to set up.
pub type InitOptions = setup::InitOptions<Overrides>;

/// A gateway that was set up.
pub type Initialised = setup::Initialised<Config>;

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

    Initialised::write(&files, config, &text)
}

#[cfg(test)]
mod tests {
    use nym_daemon::home::Home;

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
