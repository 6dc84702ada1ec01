//! Reading the configuration, at the start and again while the gateway runs.

use std::path::{Path, PathBuf};

use nym_daemon::config;
use nym_daemon::exit::Failure;
use nym_daemon::logging::LogControl;
use nym_daemon::reload::ReloadRequests;

use crate::GatewayControl;
use crate::config::{Config, FileConfig, Overrides};

/// What the file says and the command line changes: the configuration, and what is logged.
pub(super) fn read(file: &Path, overrides: &Overrides) -> Result<(Config, String), Failure> {
    let mut loaded = config::load::<FileConfig>(file).map_err(Failure::usage)?;
    loaded.value.apply(overrides);
    let filter = loaded.value.logging.filter.clone();
    let config = Config::from_file(loaded).map_err(Failure::usage)?;
    Ok((config, filter))
}

/// Takes over a changed configuration when somebody asks for it.
pub(super) struct Reloader {
    pub(super) file: PathBuf,
    pub(super) overrides: Overrides,
    /// What the gateway was started with.
    pub(super) started_with: Config,
    pub(super) control: GatewayControl,
    pub(super) logs: LogControl,
}

impl Reloader {
    /// Does so for ever.
    pub(super) async fn run(self, mut requests: ReloadRequests) {
        loop {
            requests.next().await;
            match self.reload() {
                Ok(config) if self.needs_restart(&config) => tracing::warn!(
                    "configuration reloaded; some of what has changed needs a restart"
                ),
                Ok(_) => tracing::info!("configuration reloaded"),
                Err(failure) => tracing::error!(
                    error = failure.what(),
                    "configuration not reloaded, the old one stays in use"
                ),
            }
        }
    }

    fn reload(&self) -> Result<Config, Failure> {
        let (config, filter) = read(&self.file, &self.overrides)?;
        self.logs.set_filter(&filter).map_err(Failure::usage)?;
        self.control.reload(config.reloadable());
        Ok(config)
    }

    /// Whether anything has changed that cannot be taken over.
    fn needs_restart(&self, config: &Config) -> bool {
        let Config {
            client_limits,
            held_memory_max,
            quotas,
            ..
        } = self.started_with;
        let unchanged = Config {
            client_limits,
            held_memory_max,
            quotas,
            ..config.clone()
        };
        unchanged != self.started_with
    }
}
