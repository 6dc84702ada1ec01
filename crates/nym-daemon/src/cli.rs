//! Flags that stand anywhere on the command lines of daemons.

use std::path::PathBuf;

use clap::Args;

use crate::exit::Failure;
use crate::home::Home;
use crate::logging::{self, LogControl, LogFormat};

/// What is logged, and where all files are. Flatten it into a program's arguments.
#[derive(Args, Clone, Debug)]
pub struct DaemonArgs {
    /// Log filter, as in RUST_LOG
    #[arg(long, value_name = "FILTER", global = true, display_order = 100)]
    pub log: Option<String>,

    /// How log lines look: text or json
    #[arg(
        long,
        value_name = "FORMAT",
        global = true,
        display_order = 100,
        default_value = "text"
    )]
    pub log_format: LogFormat,

    /// Directory of all files, instead of NYM_HOME or ~/.nym
    #[arg(long, value_name = "DIR", global = true, display_order = 100)]
    pub home: Option<PathBuf>,
}

impl DaemonArgs {
    /// Begins to log.
    ///
    /// # Errors
    ///
    /// A [`Failure`] when the filter does not parse.
    pub fn start_logs(&self) -> Result<LogControl, Failure> {
        logging::start(self.log.as_deref(), self.log_format).map_err(Failure::usage)
    }

    /// Where all files are.
    ///
    /// # Errors
    ///
    /// A [`Failure`] when nothing tells where that is.
    pub fn locate_home(&self) -> Result<Home, Failure> {
        Home::locate(self.home.as_deref()).map_err(Failure::usage)
    }
}
