//! What a validator can be told: defaults, then the file, then flags.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use nym_daemon::config::{ConfigError, HumanDuration, Loaded, load as load_file};
use nym_daemon::home::ProgramHome;
use nym_daemon::logging::DEFAULT_FILTER;
use nym_daemon::metrics::PUBLIC_REFRESH;
use serde::Deserialize;

/// Where a validator listens unless told otherwise: this machine alone.
pub const LISTEN_DEFAULT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The port that nodes and clients are configured with.
pub const REST_PORT_DEFAULT: u16 = 1317;

/// The port where 0.11 programs look for the complete lists, whatever they are configured with.
pub const API_PORT_DEFAULT: u16 = 8080;

/// Nodes announce themselves every minute, so this is ten announcements lost in a row.
pub const BOND_TTL_DEFAULT: Duration = Duration::from_secs(600);

/// A shorter time would remove nodes that lost a single announcement.
pub const BOND_TTL_MIN: Duration = Duration::from_secs(120);

/// Nodes kept. A bond takes about 500 bytes in each list: 10 MB at this number.
pub const NODE_COUNT_MAX_DEFAULT: u32 = 20_000;

/// A configuration file with every key at its default.
pub const EXAMPLE: &str = "\
# Configuration of nym-validator. Every key is optional and shown at its default.

# Address to listen on. 127.0.0.1 serves this machine alone, 0.0.0.0 everybody.
#listen = \"127.0.0.1\"

# Port that nodes and clients are configured with. 0 takes a free one.
#rest_port = 1317

# Port where 0.11 programs look for the lists, whatever port they are configured with. Both ports
# serve everything.
#api_port = 8080

# Certificate with its chain, and its private key, in PEM files. With them both ports serve https.
# They are read again when they change, and on SIGHUP. Empty for plain HTTP, which whoever is on the
# way can forge.
#certificate_file = \"\"
#private_key_file = \"\"

# Whether plain HTTP is answered beside https, at the same ports: as long as somebody is configured
# with it.
#plain_http = false

# Directory of the stored nodes. Without it, the validator's own below ~/.nym or NYM_HOME.
#data_dir = \"~/.nym/validators/default/data\"

# Nodes that did not announce themselves for so long are removed. At least \"2m\", for nodes
# announce themselves every minute.
#bond_ttl = \"10m\"

# Nodes kept at most; further ones are refused.
#node_count_max = 20000

# What is logged: \"info\", or \"warn,nym_validator=debug\". --log and RUST_LOG win.
#log_filter = \"info\"
";

/// What a validator needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Address to listen on.
    pub listen: IpAddr,
    /// Port that nodes and clients are configured with; 0 takes a free one.
    pub rest_port: u16,
    /// Port where 0.11 programs look for the complete lists; 0 takes a free one. It may be the
    /// same as `rest_port`.
    pub api_port: u16,
    /// PEM files of a certificate with its chain and of its private key, to serve https; without
    /// them, plain HTTP.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Whether plain HTTP is answered beside https.
    pub plain_http: bool,
    /// Directory of the stored nodes; made if it is not there.
    pub data_dir: PathBuf,
    /// Nodes that were silent for so long are removed.
    pub bond_ttl: Duration,
    /// What is logged, unless a flag or the environment says otherwise.
    pub log_filter: String,
    /// Nodes kept at most.
    pub node_count_max: u32,
    /// For so long the page `/metrics` shows the same numbers.
    pub metrics_refresh: Duration,
}

impl Config {
    /// What can change while the validator runs.
    #[must_use]
    pub const fn reloadable(&self) -> Reloadable {
        Reloadable {
            bond_ttl: self.bond_ttl,
            node_count_max: self.node_count_max,
            plain_http: self.plain_http,
        }
    }

    /// The defaults, with the nodes stored in `data_dir`.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            listen: LISTEN_DEFAULT,
            rest_port: REST_PORT_DEFAULT,
            api_port: API_PORT_DEFAULT,
            certificate: None,
            plain_http: false,
            data_dir: data_dir.into(),
            bond_ttl: BOND_TTL_DEFAULT,
            log_filter: DEFAULT_FILTER.to_owned(),
            node_count_max: NODE_COUNT_MAX_DEFAULT,
            metrics_refresh: PUBLIC_REFRESH,
        }
    }
}

/// The part of a [`Config`] that can change while the validator runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reloadable {
    /// Nodes that were silent for so long are removed.
    pub bond_ttl: Duration,
    /// Nodes kept at most. Those that are listed stay.
    pub node_count_max: u32,
    /// Whether plain HTTP is answered beside https. Connections that are open stay.
    pub plain_http: bool,
}

/// What flags say; each wins over the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Address to listen on.
    pub listen: Option<IpAddr>,
    /// Port that nodes and clients are configured with.
    pub rest_port: Option<u16>,
    /// Port where 0.11 programs look for the complete lists.
    pub api_port: Option<u16>,
    /// PEM files of a certificate with its chain and of its private key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Directory of the stored nodes.
    pub data_dir: Option<PathBuf>,
    /// Nodes that were silent for so long are removed.
    pub bond_ttl: Option<Duration>,
}

/// What the file says.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    listen: Option<IpAddr>,
    rest_port: Option<u16>,
    api_port: Option<u16>,
    #[serde(default)]
    certificate_file: PathBuf,
    #[serde(default)]
    private_key_file: PathBuf,
    plain_http: Option<bool>,
    data_dir: Option<PathBuf>,
    bond_ttl: Option<HumanDuration>,
    node_count_max: Option<u32>,
    log_filter: Option<String>,
}

/// The configuration of the validator that lives in `files`. A missing file says nothing.
///
/// # Errors
///
/// [`ConfigError`] when the file cannot be read or says something that is not allowed.
pub fn load(files: &ProgramHome, overrides: Overrides) -> Result<Config, ConfigError> {
    let path = files.config_file();
    let mut config = Config::new(files.data_dir());
    if path.exists() {
        apply(&mut config, load_file(&path)?)?;
    }
    let Overrides {
        listen,
        rest_port,
        api_port,
        certificate,
        data_dir,
        bond_ttl,
    } = overrides;
    replace(&mut config.listen, listen);
    replace(&mut config.rest_port, rest_port);
    replace(&mut config.api_port, api_port);
    config.certificate = certificate.or(config.certificate);
    replace(&mut config.data_dir, data_dir);
    replace(&mut config.bond_ttl, bond_ttl);
    Ok(config)
}

fn apply(config: &mut Config, file: Loaded<Raw>) -> Result<(), ConfigError> {
    let Raw {
        listen,
        rest_port,
        api_port,
        certificate_file,
        private_key_file,
        plain_http,
        data_dir,
        bond_ttl,
        node_count_max,
        log_filter,
    } = file.value;
    let is_given = |path: &PathBuf| !path.as_os_str().is_empty();
    config.certificate = match (is_given(&certificate_file), is_given(&private_key_file)) {
        (true, true) => Some((certificate_file, private_key_file)),
        (false, false) => None,
        _ => {
            let problem = "`certificate_file` and `private_key_file` need each other";
            return Err(file.source.at_key("certificate_file", problem));
        }
    };
    if let Some(ttl) = bond_ttl.filter(|ttl| ttl.get() < BOND_TTL_MIN) {
        let allowed = format!("{} or more", HumanDuration(BOND_TTL_MIN));
        return Err(file.source.invalid("bond_ttl", &ttl.to_string(), &allowed));
    }
    if node_count_max == Some(0) {
        return Err(file.source.invalid("node_count_max", "0", "1 or more"));
    }
    replace(&mut config.listen, listen);
    replace(&mut config.rest_port, rest_port);
    replace(&mut config.api_port, api_port);
    replace(&mut config.plain_http, plain_http);
    replace(&mut config.data_dir, data_dir);
    replace(&mut config.bond_ttl, bond_ttl.map(HumanDuration::get));
    replace(&mut config.node_count_max, node_count_max);
    replace(&mut config.log_filter, log_filter);
    Ok(())
}

fn replace<T>(value: &mut T, other: Option<T>) {
    if let Some(other) = other {
        *value = other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_text(text: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let files = ProgramHome::at(dir.path());
        files.create().unwrap();
        std::fs::write(files.config_file(), text).unwrap();
        load(&files, Overrides::default()).map_err(|error| {
            error
                .to_string()
                .replace(&files.config_file().display().to_string(), "config.toml")
        })
    }

    #[test]
    fn without_a_file_everything_is_at_its_default() {
        let files = ProgramHome::at("/nowhere");
        let config = load(&files, Overrides::default()).unwrap();
        assert_eq!(config, Config::new("/nowhere/data"));
    }

    #[test]
    fn the_example_says_nothing_and_uncommented_it_says_the_defaults() {
        let data_dir = "~/.nym/validators/default/data";
        assert!(load_text(EXAMPLE).is_ok());
        let mut uncommented = String::new();
        for line in EXAMPLE.lines().filter(|line| !line.starts_with("# ")) {
            uncommented.push_str(line.trim_start_matches('#'));
            uncommented.push('\n');
        }
        assert_eq!(uncommented.matches(" = ").count(), 10, "a key is missing");
        assert_eq!(load_text(&uncommented).unwrap(), Config::new(data_dir));
    }

    #[test]
    fn values_that_mean_nothing_sensible_are_refused_with_their_line() {
        for (text, error) in [
            (
                "rest_prot = 1",
                "config.toml line 1: unknown key `rest_prot`; did you mean `rest_port`? allowed \
                 here: `listen`, `rest_port`, `api_port`, `certificate_file`, `private_key_file`, \
                 `plain_http`, `data_dir`, `bond_ttl`, `node_count_max`, `log_filter`",
            ),
            (
                "certificate_file = \"a.pem\"",
                "config.toml line 1: `certificate_file` and `private_key_file` need each other",
            ),
            (
                "\nbond_ttl = \"119s\"",
                "config.toml line 2: `bond_ttl` is 1m 59s, allowed is 2m or more",
            ),
            (
                "node_count_max = 0",
                "config.toml line 1: `node_count_max` is 0, allowed is 1 or more",
            ),
        ] {
            assert_eq!(load_text(text).unwrap_err(), error);
        }
        assert!(load_text("bond_ttl = \"2m\"\nnode_count_max = 1").is_ok());
    }
}
