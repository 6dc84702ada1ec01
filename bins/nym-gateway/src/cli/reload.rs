//! Reading the configuration, at the start and again while the gateway runs.

use std::path::{Path, PathBuf};

use nym_daemon::config;
use nym_daemon::exit::Failure;
use nym_daemon::logging::LogControl;
use nym_daemon::reload::Reloaded;
use nym_node::cli::RunArgs;

use crate::GatewayControl;
use crate::config::{Config, FileConfig, Overrides};

/// What the file says and the command line changes: the configuration, and what is logged.
pub(super) fn read(
    file: &Path,
    args: Option<&RunArgs<Overrides>>,
) -> Result<(Config, String), Failure> {
    let mut loaded = config::load::<FileConfig>(file).map_err(Failure::usage)?;
    if let Some(args) = args {
        loaded.value.apply(args.host, &args.overrides);
    }
    let filter = loaded.value.logging.filter.clone();
    let config = Config::from_file(loaded).map_err(Failure::usage)?;
    Ok((config, filter))
}

/// Takes over a changed configuration.
pub(super) struct Reloader {
    pub(super) file: PathBuf,
    pub(super) args: RunArgs<Overrides>,
    /// What the gateway was started with.
    pub(super) started_with: Config,
    pub(super) control: GatewayControl,
    pub(super) logs: LogControl,
}

impl Reloader {
    pub(super) fn reload(&self) -> Result<Reloaded, Failure> {
        let (config, filter) = read(&self.file, Some(&self.args))?;
        self.logs.set_filter(&filter).map_err(Failure::usage)?;
        let reloadable = config.reloadable();
        self.control.reload(reloadable);
        let rest = config.with(self.started_with.reloadable());
        let is_same = rest == self.started_with;
        Ok(Reloaded::when_the_rest_is_same(is_same))
    }
}
