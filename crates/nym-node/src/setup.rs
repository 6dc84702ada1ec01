//! The first start of a node, and every later `init`: keys, and a configuration file.

use std::path::{Path, PathBuf};

use nym_daemon::config::{self, ConfigError};
use nym_daemon::entropy;
use nym_daemon::exit::{ExitCode, Failure};
use nym_daemon::home::{HomeError, ProgramHome};
use nym_daemon::keys::KeyFileError;
use nym_packet::keys::{IdentityPublicKey, PublicKey, public_key_to_base58};

use crate::keys::{KeyPaths, NodeKeys};

/// A node that was set up; `C` is its configuration.
#[derive(Clone, Debug)]
pub struct Initialised<C> {
    /// What the written file says.
    pub config: C,
    /// Where it is.
    pub config_file: PathBuf,
    /// Where the file is that was there before, if it said something else.
    pub previous_file: Option<PathBuf>,
    /// Whether there were no keys before.
    pub keys_are_new: bool,
    /// Who the node is.
    pub identity: IdentityPublicKey,
    /// The key that packets to it are built with.
    pub sphinx_key: PublicKey,
}

impl<C> Initialised<C> {
    /// Makes keys in the node's data directory unless there are some, and writes its configuration
    /// file, whose text says `config`. A file that said something else is kept beside it.
    ///
    /// # Errors
    ///
    /// [`InitError`].
    pub fn write(files: &ProgramHome, config: C, text: &str) -> Result<Self, InitError> {
        files.create()?;
        let paths = KeyPaths::in_directory(&files.data_dir());
        let keys_are_new = !paths.exist();
        let keys = NodeKeys::load_or_create(&paths, &mut entropy())?;
        let config_file = files.config_file();
        let previous_file = keep_previous(&config_file, text)?;
        config::save_text(&config_file, text)?;
        Ok(Self {
            config,
            config_file,
            previous_file,
            keys_are_new,
            identity: keys.identity.public_key(),
            sphinx_key: keys.sphinx.public_key(),
        })
    }

    /// What was done, in lines for the person who asked for it.
    #[must_use]
    pub fn report(&self) -> String {
        let mut report = format!("Configuration written: {}\n", self.config_file.display());
        if let Some(previous) = &self.previous_file {
            report += &format!("Configuration before: {}\n", previous.display());
        }
        let keys = if self.keys_are_new { "new" } else { "kept" };
        report += &format!(
            "Keys: {keys}\nIdentity key: {}\nSphinx key: {}\n",
            self.identity,
            public_key_to_base58(&self.sphinx_key)
        );
        report
    }
}

/// Copies a configuration that says something else than `text` to a file beside it.
fn keep_previous(config_file: &Path, text: &str) -> Result<Option<PathBuf>, ConfigError> {
    let failed = |source| ConfigError::Read {
        path: config_file.to_owned(),
        source,
    };
    if !config_file.try_exists().map_err(failed)? {
        return Ok(None);
    }
    let before = std::fs::read_to_string(config_file).map_err(failed)?;
    if before == text {
        return Ok(None);
    }
    let previous = config_file.with_extension("toml.before");
    config::save_text(&previous, &before)?;
    Ok(Some(previous))
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

impl InitError {
    /// What to show to the person who typed it.
    #[must_use]
    pub fn explain(&self) -> Failure {
        let failure = Failure::from_error(self);
        match self {
            Self::Config(_) => failure.with_code(ExitCode::Usage),
            Self::Home(_) => failure.advice("choose a directory with --home"),
            Self::Keys(error) => failure.advise(error.advice()),
        }
    }
}

#[cfg(test)]
mod tests {
    use nym_daemon::home::{Home, Kind};

    use super::*;

    #[test]
    fn second_init_keeps_the_keys_and_the_file_that_said_something_else() {
        let directory = tempfile::tempdir().unwrap();
        let files = Home::at(directory.path()).program(Kind::Mixnode, &"one".parse().unwrap());
        let first = Initialised::write(&files, (), "a = 1\n").unwrap();
        assert!(first.keys_are_new);
        assert_eq!(first.previous_file, None);
        let same = Initialised::write(&files, (), "a = 1\n").unwrap();
        assert!(!same.keys_are_new);
        assert_eq!(same.previous_file, None);
        let other = Initialised::write(&files, (), "a = 2\n").unwrap();
        assert_eq!(other.identity, first.identity);
        let previous = other.previous_file.clone().unwrap();
        assert_eq!(std::fs::read_to_string(&previous).unwrap(), "a = 1\n");
        let report = other.report();
        let name = previous.display();
        assert!(
            report.contains(&format!("Configuration before: {name}\nKeys: kept\n")),
            "{report}"
        );
    }

    #[test]
    fn key_that_cannot_be_read_stops_it_and_nothing_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let files = Home::at(directory.path()).program(Kind::Mixnode, &"one".parse().unwrap());
        Initialised::write(&files, (), "a = 1\n").unwrap();
        let paths = KeyPaths::in_directory(&files.data_dir());
        std::fs::write(&paths.private_sphinx, "x").unwrap();
        let error = Initialised::write(&files, (), "a = 2\n").unwrap_err();
        let shown = error.explain().to_string();
        assert!(
            shown.contains("is not valid") && shown.contains("what to do: restore it from a copy"),
            "{shown}"
        );
        let text = std::fs::read_to_string(files.config_file()).unwrap();
        assert_eq!(text, "a = 1\n");
    }
}
