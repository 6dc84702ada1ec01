//! Values that win over those of a file: from the environment and from flags.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::config::locate::nearest;
use crate::config::{ConfigError, Loaded, plainly};

/// Where the value of a key comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// An environment variable.
    Environment {
        /// Its name.
        variable: String,
    },
    /// The file.
    File {
        /// Line number, counted from 1.
        line: usize,
    },
    /// The command line.
    Flag {
        /// The flag with its dashes.
        name: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Environment { variable } => write!(f, "environment variable {variable}"),
            Self::File { line } => write!(f, "file, line {line}"),
            Self::Flag { name } => write!(f, "flag {name}"),
        }
    }
}

/// A value that wins over the file's.
#[derive(Clone, Debug)]
pub struct Override {
    key: String,
    /// What a text may mean; the first that the key takes is used. Not empty.
    candidates: Vec<Value>,
    origin: Origin,
}

impl Override {
    /// What the flag `name` (with its dashes) says about the dotted `key`.
    #[must_use]
    pub fn flag(name: &str, key: &str, value: impl Into<Value>) -> Self {
        Self {
            key: key.to_owned(),
            candidates: vec![value.into()],
            origin: Origin::Flag {
                name: name.to_owned(),
            },
        }
    }

    /// The dotted key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }
}

/// The environment variable that sets the dotted `key`: `NYM_CLIENT_SOCKET_LISTENING_PORT` for the
/// prefix `NYM_CLIENT` and `socket.listening_port`.
#[must_use]
pub fn variable_name(prefix: &str, key: &str) -> String {
    format!("{prefix}_{}", key.replace('.', "_").to_ascii_uppercase())
}

/// What the environment says about the keys of a file: one variable for each key, named by
/// [`variable_name`]. `complete` is a value in which every key is present.
///
/// A variable is read as its key's value in the file: texts without quotation marks, arrays of
/// texts as in the file or separated by commas. An empty variable counts as not set.
///
/// # Errors
///
/// * [`ConfigError::Override`] for a variable that begins with the prefix and names no key, with
///   the nearest one that does
/// * [`ConfigError::Unwritable`] when `complete` cannot be written as TOML
pub fn from_environment<T: Serialize>(
    prefix: &str,
    complete: &T,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Vec<Override>, ConfigError> {
    let known: BTreeMap<String, (String, Value)> = keys(complete)?
        .into_iter()
        .map(|(key, value)| (variable_name(prefix, &key), (key, value)))
        .collect();
    let start = format!("{prefix}_");
    let mut found = Vec::new();
    for (variable, text) in variables {
        if !variable.starts_with(&start) || text.is_empty() {
            continue;
        }
        let Some((key, default)) = known.get(&variable) else {
            let names: Vec<String> = known.keys().cloned().collect();
            let problem = match nearest(&variable, &names) {
                Some(nearest) => format!("it sets no key; did you mean {nearest}?"),
                None => "it sets no key of the configuration".to_owned(),
            };
            let origin = Origin::Environment { variable };
            return Err(ConfigError::Override { origin, problem });
        };
        found.push(Override {
            key: key.clone(),
            candidates: meanings(&text, default),
            origin: Origin::Environment { variable },
        });
    }
    found.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(found)
}

/// All dotted keys of a value with their values, in the order of the sections.
///
/// # Errors
///
/// [`ConfigError::Unwritable`] when the value cannot be written as TOML.
pub fn keys<T: Serialize>(value: &T) -> Result<Vec<(String, Value)>, ConfigError> {
    let mut found = Vec::new();
    for (section, content) in table_of(value)? {
        match content {
            Value::Table(content) => found.extend(
                content
                    .into_iter()
                    .map(|(key, value)| (format!("{section}.{key}"), value)),
            ),
            value => found.push((section, value)),
        }
    }
    Ok(found)
}

impl<T: DeserializeOwned + Serialize> Loaded<T> {
    /// The same configuration with values that win over those of the file; later ones win over
    /// earlier ones.
    ///
    /// # Errors
    ///
    /// * [`ConfigError::Override`] when a key does not take its value
    /// * [`ConfigError::Unwritable`] when the configuration cannot be written as TOML
    pub fn layer(mut self, overrides: &[Override]) -> Result<Self, ConfigError> {
        let mut table = table_of(&self.value)?;
        for Override {
            key,
            candidates,
            origin,
        } in overrides
        {
            let mut problem = None;
            let taken = candidates.iter().find_map(|candidate| {
                let mut changed = table.clone();
                set(&mut changed, key, candidate.clone());
                match changed.clone().try_into::<T>() {
                    Ok(value) => Some((changed, value)),
                    Err(error) => {
                        problem.get_or_insert_with(|| plainly(error.message()));
                        None
                    }
                }
            });
            let Some((changed, value)) = taken else {
                let problem = problem.unwrap_or_default();
                return Err(ConfigError::Override {
                    origin: origin.clone(),
                    problem: format!("key `{key}`: {problem}"),
                });
            };
            (table, self.value) = (changed, value);
            self.source.note_override(key, origin.clone());
        }
        Ok(self)
    }
}

fn table_of<T: Serialize>(value: &T) -> Result<Table, ConfigError> {
    Table::try_from(value).map_err(|error| ConfigError::Unwritable {
        path: "the configuration".into(),
        problem: error.to_string(),
    })
}

fn set(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        Some((section, rest)) => {
            let content = table
                .entry(section)
                .or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(content) = content {
                set(content, rest, value);
            }
        }
        None => {
            table.insert(key.to_owned(), value);
        }
    }
}

/// What a text may mean for a key with this default, the likeliest first.
fn meanings(text: &str, default: &Value) -> Vec<Value> {
    let parsed = format!("value = {text}")
        .parse::<Table>()
        .ok()
        .and_then(|mut table| table.remove("value"));
    let plain = Value::String(text.to_owned());
    let list = || {
        let parts = text.split(',').map(|part| part.trim().into()).collect();
        Value::Array(parts)
    };
    match default {
        Value::String(_) => [Some(plain), parsed].into_iter().flatten().collect(),
        Value::Array(_) => [parsed.filter(Value::is_array), Some(list())]
            .into_iter()
            .flatten()
            .collect(),
        _ => [parsed, Some(plain)].into_iter().flatten().collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use serde::Deserialize;

    use super::*;
    use crate::config::{HumanDuration, OneOrMany, parse};

    #[derive(Debug, Default, Deserialize, PartialEq, Serialize)]
    #[serde(deny_unknown_fields, default)]
    struct Raw {
        socket: Socket,
        debug: Debug,
    }

    #[derive(Debug, Default, Deserialize, PartialEq, Serialize)]
    #[serde(deny_unknown_fields, default)]
    struct Socket {
        port: u16,
        open: bool,
        name: String,
        hosts: OneOrMany,
    }

    #[derive(Debug, Default, Deserialize, PartialEq, Serialize)]
    #[serde(deny_unknown_fields, default)]
    struct Debug {
        delay: HumanDuration,
    }

    fn file(text: &str) -> Loaded<Raw> {
        parse(Path::new("c.toml"), text).unwrap()
    }

    fn environment(variables: &[(&str, &str)]) -> Result<Vec<Override>, ConfigError> {
        let owned = variables
            .iter()
            .map(|&(name, text)| (name.to_owned(), text.to_owned()));
        from_environment("NYM", &Raw::default(), owned)
    }

    #[test]
    fn a_variable_wins_over_the_file_and_a_flag_over_both() {
        let mut overrides = environment(&[
            ("NYM_SOCKET_PORT", "2"),
            ("NYM_SOCKET_OPEN", "true"),
            ("PATH", "/bin"),
        ])
        .unwrap();
        overrides.push(Override::flag("--port", "socket.port", 3_i64));
        let loaded = file("[socket]\nport = 1\nname = \"a\"\n")
            .layer(&overrides)
            .unwrap();
        assert_eq!(loaded.value.socket.port, 3);
        assert!(loaded.value.socket.open);
        let origin = |key| loaded.source.origin(key).to_string();
        assert_eq!(origin("socket.port"), "flag --port");
        assert_eq!(
            origin("socket.open"),
            "environment variable NYM_SOCKET_OPEN"
        );
        assert_eq!(origin("socket.name"), "file, line 3");
        assert_eq!(origin("debug.delay"), "default");
    }

    #[test]
    fn texts_durations_and_lists_need_no_quotation_marks() {
        let overrides = environment(&[
            ("NYM_SOCKET_NAME", "12"),
            ("NYM_SOCKET_HOSTS", "a, b"),
            ("NYM_DEBUG_DELAY", "20ms"),
        ])
        .unwrap();
        let value = file("").layer(&overrides).unwrap().value;
        assert_eq!(value.socket.name, "12");
        assert_eq!(value.socket.hosts.0, ["a", "b"]);
        assert_eq!(value.debug.delay.get(), Duration::from_millis(20));

        let overrides = environment(&[
            ("NYM_SOCKET_HOSTS", "[\"a,b\"]"),
            ("NYM_DEBUG_DELAY", "30"),
            ("NYM_SOCKET_NAME", ""),
        ])
        .unwrap();
        let value = file("").layer(&overrides).unwrap().value;
        assert_eq!(value.socket.hosts.0, ["a,b"]);
        assert_eq!(value.debug.delay.get(), Duration::from_millis(30));
    }

    #[test]
    fn a_value_that_its_key_does_not_take_names_the_variable_and_the_key() {
        for (variable, text, said) in [
            (
                "NYM_SOCKET_PORT",
                "x",
                "environment variable NYM_SOCKET_PORT: key `socket.port`: invalid type: string \
                 \"x\", expected a whole number from 0 to 65535",
            ),
            (
                "NYM_DEBUG_DELAY",
                "soon",
                "environment variable NYM_DEBUG_DELAY: key `debug.delay`: invalid value: string \
                 \"soon\", expected a duration such as \"1m 30s\" or \"20ms\", or a whole number \
                 of milliseconds",
            ),
        ] {
            let overrides = environment(&[(variable, text)]).unwrap();
            let error = file("").layer(&overrides).unwrap_err();
            assert_eq!(error.to_string(), said);
        }
    }

    #[test]
    fn a_variable_that_sets_no_key_names_the_nearest_one() {
        assert_eq!(
            environment(&[("NYM_SOCKET_PROT", "1")])
                .unwrap_err()
                .to_string(),
            "environment variable NYM_SOCKET_PROT: it sets no key; did you mean NYM_SOCKET_PORT?"
        );
    }

    #[test]
    fn an_error_found_later_names_who_said_it() {
        let overrides = environment(&[("NYM_SOCKET_PORT", "7")]).unwrap();
        let loaded = file("[socket]\nport = 1\n").layer(&overrides).unwrap();
        assert_eq!(
            loaded
                .source
                .invalid("socket.port", "7", "a port above 1023")
                .to_string(),
            "environment variable NYM_SOCKET_PORT: `socket.port` is 7, allowed is a port above 1023"
        );
    }
}
