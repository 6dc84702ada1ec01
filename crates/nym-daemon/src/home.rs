//! Where a program's files live: `<root>/<kind>/<id>/{config,data}`.
//!
//! The root is what a flag says, else the environment variable `NYM_HOME`, else `~/.nym`. Several
//! nodes of one kind live side by side under different ids.

use std::fmt;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The environment variable that names the root directory.
pub const ROOT_VARIABLE: &str = "NYM_HOME";

/// The name of a program's configuration file.
pub const CONFIG_FILE: &str = "config.toml";

/// The longest id, in bytes.
pub const MAX_ID_LEN: usize = 64;

/// Mode of the directories that hold keys and stored data: the owner alone.
const DATA_DIRECTORY_MODE: u32 = 0o700;

/// Why a directory could not be determined or made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HomeError {
    /// A directory could not be created or its mode not be set.
    #[error("cannot create directory {}: {source}", path.display())]
    Create {
        /// The directory.
        path: PathBuf,
        /// What the file system answered.
        source: io::Error,
    },
    /// The program was never set up.
    #[error("there is no {kind} `{id}`: {} is missing", config_file.display())]
    NotSetUp {
        /// What it would be.
        kind: Kind,
        /// Its name.
        id: Id,
        /// The configuration that is missing.
        config_file: PathBuf,
    },
    /// Neither a flag nor `NYM_HOME` nor `HOME` is set.
    #[error("no home directory is known: set {ROOT_VARIABLE} or HOME")]
    Unknown,
}

/// Why a text is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// The text has no characters.
    #[error("an id must not be empty")]
    Empty,
    /// A character is not allowed there.
    #[error(
        "character {character:?} is not allowed in an id: use letters, digits, `-`, `_` and `.`, \
         and begin with a letter, a digit or `_`"
    )]
    Character {
        /// The first one that is not allowed.
        character: char,
    },
    /// The text is too long.
    #[error("an id has at most {MAX_ID_LEN} characters, this one has {len}")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
}

/// The name of one node or client among others of its kind; also a directory name.
///
/// One to 64 ASCII letters, digits, `-`, `_` or `.`, beginning with a letter, a digit or `_`, so
/// that no id leads out of its directory, hides itself or looks like a flag.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(String);

impl Id {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Id {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let first = text.chars().next().ok_or(IdError::Empty)?;
        if text.len() > MAX_ID_LEN {
            return Err(IdError::TooLong { len: text.len() });
        }
        if matches!(first, '-' | '.') {
            return Err(IdError::Character { character: first });
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        match text.chars().find(|&c| !allowed(c)) {
            Some(character) => Err(IdError::Character { character }),
            None => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The kinds of programs that keep files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `clients/`
    Client,
    /// `gateways/`
    Gateway,
    /// `mixnodes/`
    Mixnode,
    /// `validators/`
    Validator,
}

impl Kind {
    /// The name of the directory that holds all programs of this kind.
    #[must_use]
    pub const fn directory(self) -> &'static str {
        match self {
            Self::Client => "clients",
            Self::Gateway => "gateways",
            Self::Mixnode => "mixnodes",
            Self::Validator => "validators",
        }
    }

    /// The program that it is.
    #[must_use]
    pub const fn program(self) -> &'static str {
        match self {
            Self::Client => "nym-client",
            Self::Gateway => "nym-gateway",
            Self::Mixnode => "nym-mixnode",
            Self::Validator => "nym-validator",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Gateway => "gateway",
            Self::Mixnode => "mix node",
            Self::Validator => "validator",
        })
    }
}

/// The root directory of all programs of one person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    root: PathBuf,
}

impl Home {
    /// A home at a given directory.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The home that a flag names, else `NYM_HOME`, else `~/.nym`.
    ///
    /// # Errors
    ///
    /// [`HomeError::Unknown`] when none of the three is known.
    pub fn locate(flag: Option<&Path>) -> Result<Self, HomeError> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        Self::choose(
            flag,
            variable(ROOT_VARIABLE).map(PathBuf::from),
            variable("HOME").map(PathBuf::from),
        )
    }

    fn choose(
        flag: Option<&Path>,
        root: Option<PathBuf>,
        home: Option<PathBuf>,
    ) -> Result<Self, HomeError> {
        flag.map(Path::to_path_buf)
            .or(root)
            .or_else(|| home.map(|home| home.join(".nym")))
            .map(Self::at)
            .ok_or(HomeError::Unknown)
    }

    /// The root directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory that holds all programs of one kind.
    #[must_use]
    pub fn of_kind(&self, kind: Kind) -> PathBuf {
        self.root.join(kind.directory())
    }

    /// The directories of one program that was set up before.
    ///
    /// # Errors
    ///
    /// [`HomeError::NotSetUp`] when it has no configuration file.
    pub fn existing(&self, kind: Kind, id: &Id) -> Result<ProgramHome, HomeError> {
        let files = self.program(kind, id);
        let config_file = files.config_file();
        if config_file.exists() {
            return Ok(files);
        }
        Err(HomeError::NotSetUp {
            kind,
            id: id.clone(),
            config_file,
        })
    }

    /// The directories of one program. Nothing is created yet.
    #[must_use]
    pub fn program(&self, kind: Kind, id: &Id) -> ProgramHome {
        ProgramHome {
            root: self.of_kind(kind).join(id.as_str()),
        }
    }
}

/// The directories of one program: `config/` and `data/` below its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramHome {
    root: PathBuf,
}

impl ProgramHome {
    /// The directories below `root`, wherever that is.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The directory that holds both.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of configuration files.
    #[must_use]
    pub fn config_dir(&self) -> PathBuf {
        self.root.join("config")
    }

    /// The directory of keys and stored data.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.root.join("data")
    }

    /// `config/config.toml`.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.config_dir().join(CONFIG_FILE)
    }

    /// Creates both directories; `data/` is for the owner alone (mode 0700).
    ///
    /// # Errors
    ///
    /// [`HomeError::Create`] with the directory that could not be made.
    pub fn create(&self) -> Result<(), HomeError> {
        let config = self.config_dir();
        fs::create_dir_all(&config).map_err(|source| HomeError::Create {
            path: config,
            source,
        })?;
        create_private_dir(&self.data_dir())
    }
}

/// Creates a directory, and those above it, for the owner alone (mode 0700).
///
/// A directory that exists already is narrowed to that mode.
///
/// # Errors
///
/// [`HomeError::Create`] when the directory cannot be made or narrowed.
pub fn create_private_dir(path: &Path) -> Result<(), HomeError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(DATA_DIRECTORY_MODE)
        .create(path)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(DATA_DIRECTORY_MODE)))
        .map_err(|source| HomeError::Create {
            path: path.to_path_buf(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_flag_wins_over_the_environment_and_that_over_the_home_directory() {
        let flag = Path::new("/flag");
        let root = || Some(PathBuf::from("/root-variable"));
        let home = || Some(PathBuf::from("/home/u"));
        assert_eq!(
            Home::choose(Some(flag), root(), home()).unwrap().root(),
            flag
        );
        assert_eq!(
            Home::choose(None, root(), home()).unwrap().root(),
            Path::new("/root-variable")
        );
        assert_eq!(
            Home::choose(None, None, home()).unwrap().root(),
            Path::new("/home/u/.nym")
        );
        assert!(matches!(
            Home::choose(None, None, None),
            Err(HomeError::Unknown)
        ));
    }

    #[test]
    fn a_program_has_a_configuration_and_a_data_directory() {
        let dir = tempfile::tempdir().unwrap();
        let alice = Home::at(dir.path()).program(Kind::Client, &"alice".parse().unwrap());
        alice.create().unwrap();
        alice.create().unwrap();
        assert_eq!(
            alice.config_file(),
            dir.path().join("clients/alice/config/config.toml")
        );
        assert!(alice.config_dir().is_dir());
        let mode = fs::metadata(alice.data_dir()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn ids_that_would_leave_the_directory_are_refused() {
        for bad in [
            "", ".", "..", "../x", "a/b", "-rf", ".hidden", "a b", "é", "a\0", "a\nb",
        ] {
            assert!(bad.parse::<Id>().is_err(), "{bad:?} was accepted");
        }
        for good in ["alice", "mix-1", "a.b_c", "0", "_x"] {
            assert_eq!(good.parse::<Id>().unwrap().as_str(), good);
        }
    }

    #[test]
    fn ids_have_at_most_64_characters() {
        assert!("x".repeat(64).parse::<Id>().is_ok());
        assert_eq!(
            "x".repeat(65).parse::<Id>(),
            Err(IdError::TooLong { len: 65 })
        );
    }

    proptest! {
        #[test]
        fn every_accepted_id_is_one_path_component(text in ".{0,70}") {
            if let Ok(id) = text.parse::<Id>() {
                let path = Path::new("root").join(id.as_str());
                prop_assert_eq!(path.parent(), Some(Path::new("root")));
            }
        }
    }
}
