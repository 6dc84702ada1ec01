//! Bringing the configuration of an older client up to date.

use std::fs;
use std::path::{Path, PathBuf};

use nym_daemon::config::{self, ConfigError, keys};
use nym_protocol::PROTOCOL_VERSION;
use semver::Version;
use toml::Value;

use crate::config::{FileConfig, render};
use crate::error::ClientError;

/// The oldest configuration that is understood.
const OLDEST: Version = Version::new(0, 8, 0);

/// The name under which 0.11 programs read the validators as well.
const VALIDATORS_ALIAS: &str = "client.validator_rest_url";

/// Keys that nobody but `init` can give a value.
const OF_INIT: [&str; 2] = ["client.gateway_id", "client.gateway_listener"];

/// What was done to a configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Upgraded {
    /// The version that had written it.
    pub from: String,
    /// Keys of that version that mean nothing any more.
    pub dropped: Vec<String>,
    /// Where the file as it was is kept; `None` when nothing changed.
    pub backup: Option<PathBuf>,
}

/// Rewrites a configuration for this version: every value that it sets stays, every key that is
/// new gets its default and a comment. `new` is the configuration of a new client of that name.
///
/// `version` names the writer where the file does not, as before 0.9.0.
///
/// # Errors
///
/// [`ClientError::Config`] when the file cannot be read, understood or written, and
/// [`ClientError::Upgrade`] when its version is unknown or not one to upgrade from. The file is
/// unchanged then.
pub fn upgrade(
    path: &Path,
    new: &FileConfig,
    version: Option<&str>,
) -> Result<Upgraded, ClientError> {
    let text = fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_path_buf(),
        source,
    })?;
    let mut table = config::parse::<toml::Table>(path, &text)?.value;
    let from = writer(&table, version)?;
    let dropped = drop_unknown(&mut table)?;
    fill_in(&mut table, new)?;
    set(&mut table, "client.version", PROTOCOL_VERSION.into());

    let merged = toml::to_string(&table).map_err(|error| ConfigError::Unwritable {
        path: path.to_path_buf(),
        problem: error.to_string(),
    })?;
    // Lines of the merged text are not those of the file.
    let upgraded = config::parse::<FileConfig>(path, &merged).map_err(|error| match error {
        ConfigError::Invalid { path, problem, .. } => ConfigError::Invalid {
            path,
            line: None,
            problem,
        },
        other => other,
    })?;
    let rendered = render(&upgraded.value);
    let backup = if rendered == text {
        None
    } else {
        let backup = path.with_extension(format!("toml.{from}"));
        config::save_private_text(&backup, &text)?;
        config::save_private_text(path, &rendered)?;
        Some(backup)
    };
    Ok(Upgraded {
        from,
        dropped,
        backup,
    })
}

/// The version that wrote the file, if it is one to upgrade from.
fn writer(table: &toml::Table, flag: Option<&str>) -> Result<String, ClientError> {
    let problem = |problem: String| ClientError::Upgrade { problem };
    let in_file = table
        .get("client")
        .and_then(|client| client.get("version"))
        .and_then(Value::as_str);
    let text = in_file.or(flag).ok_or_else(|| {
        problem(
            "the file does not say which version wrote it; say it with --current-version".into(),
        )
    })?;
    let version: Version = text
        .parse()
        .map_err(|error| problem(format!("`{text}` is no version: {error}")))?;
    let current: Version = PROTOCOL_VERSION
        .parse()
        .map_err(|error| problem(format!("`{PROTOCOL_VERSION}` is no version: {error}")))?;
    if version < OLDEST {
        let what = format!("{version} is too old: {OLDEST} is the oldest that is understood");
        return Err(problem(what));
    }
    if (version.major, version.minor) > (current.major, current.minor) {
        let what = format!("{version} is newer than this program, which is for {current}");
        return Err(problem(what));
    }
    Ok(version.to_string())
}

/// Takes out what no key of today reads, and names it.
fn drop_unknown(table: &mut toml::Table) -> Result<Vec<String>, ConfigError> {
    let mut known: Vec<String> = keys(&FileConfig::complete())?
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    known.push(VALIDATORS_ALIAS.to_owned());
    let is_section = |name: &str| {
        name == "logging" || known.iter().any(|key| key.starts_with(&format!("{name}.")))
    };
    let mut dropped: Vec<String> = Vec::new();
    table.retain(|section, content| {
        let Value::Table(content) = content else {
            dropped.push(section.to_owned());
            return false;
        };
        if !is_section(section) {
            dropped.push(section.to_owned());
            return false;
        }
        content.retain(|key, _| {
            let key = format!("{section}.{key}");
            let stays = known.contains(&key);
            if !stays {
                dropped.push(key);
            }
            stays
        });
        true
    });
    Ok(dropped)
}

/// Sets the keys of a new client that the file lacks and that have no default of their own.
fn fill_in(table: &mut toml::Table, new: &FileConfig) -> Result<(), ConfigError> {
    let has = |table: &toml::Table, key: &str| {
        let (section, name) = key.split_once('.').unwrap_or(("", key));
        table
            .get(section)
            .and_then(Value::as_table)
            .is_some_and(|content| content.contains_key(name))
    };
    let has_alias = has(table, VALIDATORS_ALIAS);
    for (key, value) in keys(new)? {
        let stands_under_alias = has_alias && key == "client.validator_rest_urls";
        if key.starts_with("client.")
            && !OF_INIT.contains(&key.as_str())
            && !stands_under_alias
            && !has(table, &key)
        {
            set(table, &key, value);
        }
    }
    Ok(())
}

fn set(table: &mut toml::Table, key: &str, value: Value) {
    if let Some((section, name)) = key.split_once('.')
        && let Value::Table(content) = table
            .entry(section)
            .or_insert_with(|| Value::Table(toml::Table::new()))
    {
        content.insert(name.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use crate::config::ClientConfig;
    use crate::keys::KeyFiles;

    use super::*;

    const GATEWAY: &str = "65SkPxGjnPjm4VUXNZohzMuSAc9JKQzbuqwDWE5odCkm";

    /// What 0.10 wrote, with values that its user had changed.
    fn old_file(version: &str) -> String {
        format!(
            "[client]\n{version}\nid = 'alice'\nvalidator_rest_urls = ['http://mine:1317']\n\
             mixnet_contract_address = 'mine'\nvpn_mode = false\nprivate_identity_key_file = 'a'\n\
             public_identity_key_file = 'b'\nprivate_encryption_key_file = 'c'\n\
             public_encryption_key_file = 'd'\ngateway_shared_key_file = 'e'\nack_key_file = 'f'\n\
             gateway_id = '{GATEWAY}'\ngateway_listener = 'ws://1.2.3.4:9000'\n\
             directory_server = 'https://gone.example'\n\
             [socket]\nsocket_type = 'WebSocket'\nlistening_port = 2222\n[logging]\n\
             [debug]\naverage_packet_delay = 100\npresence_sending_delay = 5\n[rest]\na = 1\n"
        )
    }

    struct Files {
        _dir: tempfile::TempDir,
        path: PathBuf,
    }

    impl Files {
        fn with(text: &str) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("config.toml");
            fs::write(&path, text).unwrap();
            Self { _dir: dir, path }
        }

        fn upgrade(&self, version: Option<&str>) -> Result<Upgraded, ClientError> {
            let data = Path::new("/data");
            let new = FileConfig::new("alice", &KeyFiles::in_dir(data), data, Path::new("/"));
            upgrade(&self.path, &new, version)
        }

        fn config(&self) -> ClientConfig {
            ClientConfig::from_file(config::load(&self.path).unwrap()).unwrap()
        }
    }

    #[test]
    fn custom_values_are_kept_and_what_means_nothing_is_named() {
        let text = old_file("version = '0.10.1'");
        let files = Files::with(&text);
        let upgraded = files.upgrade(None).unwrap();
        assert_eq!(upgraded.from, "0.10.1");
        assert_eq!(
            upgraded.dropped,
            [
                "client.directory_server",
                "debug.presence_sending_delay",
                "rest"
            ]
        );
        let config = files.config();
        assert_eq!(config.validators.urls[0].to_string(), "http://mine:1317/");
        assert_eq!(config.mixnet_contract, "mine");
        assert_eq!(config.gateway.to_string(), GATEWAY);
        assert_eq!(config.gateway_listener, "ws://1.2.3.4:9000");
        assert_eq!(config.apps.unwrap().port, 2222);
        assert_eq!(config.engine.average_packet_delay.as_millis(), 100);
        assert_eq!(config.key_files.ack, Path::new("f"));
        assert_eq!(fs::read_to_string(upgraded.backup.unwrap()).unwrap(), text);
    }

    #[test]
    fn validators_under_their_other_name_are_kept() {
        let text = old_file("version = '0.10.1'").replace(
            "validator_rest_urls = ['http://mine:1317']",
            "validator_rest_url = 'http://mine:1317'",
        );
        let files = Files::with(&text);
        files.upgrade(None).unwrap();
        let validators = files.config().validators.urls;
        let named: Vec<_> = validators.iter().map(ToString::to_string).collect();
        assert_eq!(named, ["http://mine:1317/"]);
    }

    #[test]
    fn a_second_upgrade_changes_nothing() {
        let files = Files::with(&old_file("version = '0.11.0'"));
        files.upgrade(None).unwrap();
        let once = fs::read_to_string(&files.path).unwrap();
        let again = files.upgrade(None).unwrap();
        assert_eq!((again.backup, again.dropped), (None, Vec::new()));
        assert_eq!(fs::read_to_string(&files.path).unwrap(), once);
    }

    #[test]
    fn a_file_without_a_version_needs_the_flag() {
        let files = Files::with(&old_file(""));
        let error = files.upgrade(None).unwrap_err().to_string();
        assert!(error.contains("--current-version"), "{error}");
        assert_eq!(files.upgrade(Some("0.8.0")).unwrap().from, "0.8.0");
        files.config();
    }

    #[test]
    fn a_version_that_is_no_ancestor_is_refused_and_the_file_stays() {
        for (version, said) in [
            ("0.7.9", "too old"),
            ("0.12.0", "newer"),
            ("1.1.0", "newer"),
            ("new", "no version"),
        ] {
            let text = old_file(&format!("version = '{version}'"));
            let files = Files::with(&text);
            let error = files.upgrade(None).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
            assert_eq!(fs::read_to_string(&files.path).unwrap(), text);
        }
        Files::with(&old_file("version = '0.11.9'"))
            .upgrade(None)
            .unwrap();
    }

    #[test]
    fn a_file_that_lacks_its_gateway_or_is_no_toml_is_refused() {
        for (text, said) in [
            ("[client]\nversion = '0.10.0'\nid = 'a'\n", "gateway_id"),
            ("[client\n", "config.toml line 1"),
        ] {
            let files = Files::with(text);
            let error = files.upgrade(None).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
            assert_eq!(fs::read_to_string(&files.path).unwrap(), text);
        }
    }
}
