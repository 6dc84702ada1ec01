//! Configuration files: TOML in, errors that a person can act on out.
//!
//! A program reads its file in two stages. First [`load`] turns the text into a *raw* struct that
//! mirrors the file (`#[serde(deny_unknown_fields)]`, never `#[serde(flatten)]`, which would
//! destroy line numbers and key names). Then the program turns the raw struct into one whose
//! fields cannot be wrong, and reports what does not fit with [`Source::invalid`], which finds
//! the line again:
//!
//! ```
//! use nym_daemon::config;
//!
//! #[derive(serde::Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Raw {
//!     mixnode: Mixnode,
//! }
//! #[derive(serde::Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Mixnode {
//!     mix_port: u16,
//! }
//!
//! let loaded = config::parse::<Raw>("c.toml".as_ref(), "[mixnode]\nmix_port = 0\n")?;
//! assert_eq!(loaded.value.mixnode.mix_port, 0);
//! let error = loaded.source.invalid("mixnode.mix_port", "0", "a port from 1 to 65535");
//! assert_eq!(
//!     error.to_string(),
//!     "c.toml line 2: `mixnode.mix_port` is 0, allowed is a port from 1 to 65535"
//! );
//! # Ok::<(), config::ConfigError>(())
//! ```
//!
//! Environment and flags win over the file: [`from_environment`] and [`Override::flag`] make what
//! [`Loaded::layer`] applies; [`Source::origin`] tells afterwards who said what.

mod commented;
mod layers;
mod locate;
mod values;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::atomic_file::write_atomically;
use crate::config::locate::{KeyProblem, key_of_line, line_of_key, line_of_offset};

pub use crate::config::commented::{Comments, commented};
pub use crate::config::layers::{Origin, Override, from_environment, keys, variable_name};
pub use crate::config::values::{HumanDuration, NoDuration, OneOrMany, absolute_path};

/// Mode of a configuration file: readable by all, as it holds no secret.
const CONFIG_FILE_MODE: u32 = 0o644;

/// Mode of a configuration file that may hold a secret.
const PRIVATE_CONFIG_FILE_MODE: u32 = 0o600;

/// Why a configuration could not be read, understood or saved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A value, or the text itself, is not what is allowed there.
    #[error("{}: {problem}", place(path, *line))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Line number, counted from 1; `None` when the problem has no place, as a missing key.
        line: Option<usize>,
        /// What is wrong with which key, and what is allowed.
        problem: String,
    },
    /// A value from outside the file is not what is allowed there.
    #[error("{origin}: {problem}")]
    Override {
        /// Who says it.
        origin: Origin,
        /// What is wrong with which key, and what is allowed.
        problem: String,
    },
    /// The file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the file system answered.
        source: io::Error,
    },
    /// The file could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the file system answered.
        source: io::Error,
    },
    /// The value cannot be written as TOML.
    #[error("cannot write {} as TOML: {problem}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the value holds that TOML has no form for.
        problem: String,
    },
}

fn place(path: &Path, line: Option<usize>) -> String {
    match line {
        Some(line) => format!("{} line {line}", path.display()),
        None => path.display().to_string(),
    }
}

/// What a file says, and the text it says it with.
#[derive(Debug)]
pub struct Loaded<T> {
    /// The deserialised content.
    pub value: T,
    /// The text, for errors found later.
    pub source: Source,
}

impl<T> Loaded<T> {
    /// A configuration that is to be written to `path`, and is not yet.
    pub fn unwritten(value: T, path: &Path) -> Self {
        let source = Source {
            path: path.to_path_buf(),
            text: String::new(),
            overridden: BTreeMap::new(),
        };
        Self { value, source }
    }
}

/// The text of a configuration file and where it came from.
#[derive(Debug, Clone)]
pub struct Source {
    path: PathBuf,
    text: String,
    /// Keys whose value is not the file's.
    overridden: BTreeMap<String, Origin>,
}

impl Source {
    /// The error for a key whose value passed as TOML but means nothing sensible.
    ///
    /// `key` is dotted (`debug.average_packet_delay`), `value` is what the file says, `allowed`
    /// completes "allowed is …".
    #[must_use]
    pub fn invalid(&self, key: &str, value: &str, allowed: &str) -> ConfigError {
        self.at_key(key, format!("`{key}` is {value}, allowed is {allowed}"))
    }

    /// An error in free words about a dotted key; it names the line if the file has the key, or
    /// whoever won over the file.
    #[must_use]
    pub fn at_key(&self, key: &str, problem: impl Into<String>) -> ConfigError {
        let problem = problem.into();
        if let Some(origin) = self.overridden.get(key).cloned() {
            return ConfigError::Override { origin, problem };
        }
        ConfigError::Invalid {
            path: self.path.clone(),
            line: line_of_key(&self.text, key),
            problem,
        }
    }

    /// Where the value of a dotted key comes from.
    #[must_use]
    pub fn origin(&self, key: &str) -> Origin {
        let in_file = || line_of_key(&self.text, key).map(|line| Origin::File { line });
        let overridden = self.overridden.get(key).cloned();
        overridden.or_else(in_file).unwrap_or(Origin::Default)
    }

    fn note_override(&mut self, key: &str, origin: Origin) {
        self.overridden.insert(key.to_owned(), origin);
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Reads a configuration file.
///
/// # Errors
///
/// * [`ConfigError::Read`] when the file cannot be read
/// * [`ConfigError::Invalid`] as [`parse`]
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<Loaded<T>, ConfigError> {
    let text = fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_path_buf(),
        source,
    })?;
    parse(path, &text)
}

/// Reads a configuration from a text that came from `path`.
///
/// # Errors
///
/// [`ConfigError::Invalid`] naming line, key, what is allowed there and, for a key that is not
/// known, the nearest one that is.
pub fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<Loaded<T>, ConfigError> {
    match toml::from_str(text) {
        Ok(value) => Ok(Loaded {
            value,
            source: Source {
                path: path.to_path_buf(),
                text: text.to_owned(),
                overridden: BTreeMap::new(),
            },
        }),
        Err(error) => Err(explain(path, text, error.message(), error.span())),
    }
}

/// Turns the deserialiser's message and place into ours.
fn explain(path: &Path, text: &str, message: &str, span: Option<Range<usize>>) -> ConfigError {
    let path = path.to_path_buf();
    let message = plainly(message);
    match KeyProblem::from_message(&message) {
        KeyProblem::Missing => {
            // The place of a missing key is its table: the line of its header, or no line when
            // that is the whole file.
            let line = span
                .filter(|span| text.get(span.clone()).is_some_and(|t| t.starts_with('[')))
                .filter(|span| span.len() < text.len())
                .map(|span| line_of_offset(text, span.start));
            let problem = message.replacen("missing field", "missing key", 1);
            ConfigError::Invalid {
                path,
                line,
                problem,
            }
        }
        KeyProblem::Unknown { key, allowed } => {
            let line = span.map(|span| line_of_offset(text, span.start));
            ConfigError::Invalid {
                path,
                line,
                problem: locate::describe_unknown(&key, &allowed),
            }
        }
        KeyProblem::Other => {
            let line = span.map(|span| line_of_offset(text, span.start));
            let key = line.and_then(|line| key_of_line(text, line));
            let problem = match key {
                Some(key) => format!("key `{key}`: {message}"),
                None => message,
            };
            ConfigError::Invalid {
                path,
                line,
                problem,
            }
        }
    }
}

/// A message of the deserialiser in one line, without the names of Rust's types.
fn plainly(message: &str) -> String {
    let message = message.trim().replace('\n', ", ");
    let Some((found, expected)) = message.rsplit_once("expected ") else {
        return message;
    };
    let expected = match expected {
        "a boolean" => "true or false",
        "f32" | "f64" => "a number",
        "u16" => "a whole number from 0 to 65535",
        "u32" | "u64" | "usize" => "a whole number from 0 on",
        _ => return message,
    };
    format!("{found}expected {expected}")
}

/// Writes a value as TOML to `path`, at once or not at all.
///
/// # Errors
///
/// * [`ConfigError::Unwritable`] when TOML has no form for the value
/// * [`ConfigError::Write`] when the file cannot be written
pub fn save<T: Serialize>(path: &Path, value: &T) -> Result<(), ConfigError> {
    let text = toml::to_string_pretty(value).map_err(|error| ConfigError::Unwritable {
        path: path.to_path_buf(),
        problem: error.to_string(),
    })?;
    save_text(path, &text)
}

/// Writes a configuration's text to `path`, at once or not at all; comments survive.
///
/// # Errors
///
/// [`ConfigError::Write`] when the file cannot be written.
pub fn save_text(path: &Path, text: &str) -> Result<(), ConfigError> {
    save_with_mode(path, text, CONFIG_FILE_MODE)
}

/// [`save_text`] for a configuration that may hold a secret: only its owner may read the file.
///
/// # Errors
///
/// [`ConfigError::Write`] when the file cannot be written.
pub fn save_private_text(path: &Path, text: &str) -> Result<(), ConfigError> {
    save_with_mode(path, text, PRIVATE_CONFIG_FILE_MODE)
}

fn save_with_mode(path: &Path, text: &str, mode: u32) -> Result<(), ConfigError> {
    write_atomically(path, text.as_bytes(), mode).map_err(|source| ConfigError::Write {
        path: path.to_path_buf(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use std::time::Duration;

    #[derive(Debug, Serialize, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Raw {
        client: Client,
        #[serde(default)]
        debug: Debug,
    }

    #[derive(Debug, Serialize, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Client {
        id: String,
        #[serde(default, alias = "validator_rest_url")]
        validator_rest_urls: OneOrMany,
        #[serde(default)]
        port: u16,
    }

    #[derive(Debug, Default, Serialize, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Debug {
        #[serde(default)]
        average_packet_delay: HumanDuration,
        #[serde(default)]
        average_ack_delay: HumanDuration,
    }

    fn error_of(text: &str) -> String {
        parse::<Raw>(Path::new("c.toml"), text)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_file_is_replaced_whole_and_never_written_in_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        for save in [save_text, save_private_text] {
            save(&path, "old").unwrap();
            let mut opened = fs::File::open(&path).unwrap();
            save(&path, "new").unwrap();
            // What a crash in between would have left is what was there before.
            assert_eq!(io::read_to_string(&mut opened).unwrap(), "old");
            assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        }
    }

    #[test]
    fn an_unknown_key_names_line_nearest_and_allowed() {
        assert_eq!(
            error_of("[client]\nid = \"a\"\n\n[debug]\naverage_packet_dely = 1\n"),
            "c.toml line 5: unknown key `average_packet_dely`; did you mean \
             `average_packet_delay`? allowed here: `average_packet_delay`, `average_ack_delay`"
        );
    }

    #[test]
    fn a_key_unlike_any_other_gets_no_guess() {
        assert_eq!(
            error_of("[client]\nid = \"a\"\n[zzz]\n"),
            "c.toml line 3: unknown key `zzz`; allowed here: `client`, `debug`"
        );
    }

    #[test]
    fn a_wrong_type_names_line_and_key() {
        assert_eq!(
            error_of("[client]\nid = \"a\"\nport = \"x\"\n"),
            "c.toml line 3: key `client.port`: invalid type: string \"x\", expected a \
             whole number from 0 to 65535"
        );
        assert_eq!(
            error_of("[client]\nid = \"a\"\nport = 65536\n"),
            "c.toml line 3: key `client.port`: invalid value: integer `65536`, expected a \
             whole number from 0 to 65535"
        );
    }

    #[test]
    fn a_wrong_duration_says_what_one_looks_like() {
        assert_eq!(
            error_of("[client]\nid = \"a\"\n[debug]\naverage_ack_delay = \"5 parsecs\"\n"),
            "c.toml line 4: key `debug.average_ack_delay`: invalid value: string \"5 parsecs\", \
             expected a duration such as \"1m 30s\" or \"20ms\", or a whole number of milliseconds"
        );
    }

    #[test]
    fn a_missing_key_is_named() {
        assert_eq!(
            error_of("[client]\nport = 1\n"),
            "c.toml line 1: missing key `id`"
        );
        assert_eq!(error_of(""), "c.toml: missing key `client`");
    }

    #[test]
    fn broken_syntax_names_the_line() {
        let error = error_of("[client]\nid = \"a\nport = 1\n");
        assert!(error.starts_with("c.toml line 2: "), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = load::<Raw>(Path::new("/nowhere/c.toml"))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("cannot read /nowhere/c.toml: "),
            "{error}"
        );
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        let value = Raw {
            client: Client {
                id: "alice".into(),
                validator_rest_urls: OneOrMany(vec!["http://a".into(), "http://b".into()]),
                port: 1977,
            },
            debug: Debug {
                average_packet_delay: Duration::from_millis(50).into(),
                average_ack_delay: Duration::from_secs(90).into(),
            },
        };
        save(&path, &value).unwrap();
        assert_eq!(load::<Raw>(&path).unwrap().value, value);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("average_ack_delay = \"1m 30s\""), "{text}");
    }

    #[test]
    fn an_error_after_validation_finds_the_line() {
        let text = "[client]\nid = \"a\"\n[debug]\naverage_packet_delay = 0\n";
        let source = parse::<Raw>(Path::new("c.toml"), text).unwrap().source;
        assert_eq!(
            source
                .invalid("debug.average_packet_delay", "0s", "a delay above zero")
                .to_string(),
            "c.toml line 4: `debug.average_packet_delay` is 0s, allowed is a delay above zero"
        );
        assert_eq!(
            source.at_key("client.port", "no port").to_string(),
            "c.toml: no port",
            "a key that is not in the file has no line"
        );
    }
}
