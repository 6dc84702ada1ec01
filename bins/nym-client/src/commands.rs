//! What each command does. Every `execute` ends with the exit code of the process, or with a
//! failure that says what to do.

pub(crate) mod address;
pub(crate) mod config;
pub(crate) mod init;
pub(crate) mod listen;
pub(crate) mod network;
pub(crate) mod run;
pub(crate) mod send;
pub(crate) mod status;
pub(crate) mod upgrade;

mod local_app;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use indicatif::ProgressBar;
use nym_daemon::exit::{ExitCode, Failure, Printed, cannot, print};
use nym_daemon::home::{Home, Id, Kind};
use nym_daemon::shutdown::Shutdown;
use serde::Serialize;

use crate::config::{ClientConfig, Overrides, load_layered};
use crate::error::ClientError;

/// The version of everything that is printed as JSON. A member may be added within a version; one
/// that is renamed or means something else makes a new one.
const JSON_VERSION: u32 = 1;

/// Does work that can be dropped at any time, until it is done or a signal ends it.
pub(crate) async fn until_interrupted(
    work: impl Future<Output = Result<ExitCode, Failure>>,
) -> Result<ExitCode, Failure> {
    let shutdown = Shutdown::on_signals().map_err(cannot("watch for signals"))?;
    let stopped = shutdown.token();
    tokio::select! {
        outcome = work => outcome,
        () = stopped.cancelled() => Ok(ExitCode::Interrupted),
    }
}

/// The configuration file of a client that was set up.
fn config_file(home: &Home, id: &Id) -> Result<PathBuf, ClientError> {
    let config_file = home.program(Kind::Client, id).config_file();
    if config_file.exists() {
        return Ok(config_file);
    }
    Err(ClientError::NotInitialised {
        id: id.to_string(),
        config_file,
    })
}

/// The configuration of a client, with what the environment and flags say.
fn client_config(home: &Home, id: &Id, overrides: &Overrides) -> Result<ClientConfig, ClientError> {
    let config_file = config_file(home, id)?;
    let loaded = load_layered(&config_file, environment(), overrides)?;
    Ok(ClientConfig::from_file(loaded)?)
}

/// The environment as far as it is text; no key has a name or value that is not.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Writes one line of JSON to standard output.
fn print_json(value: &impl Serialize) -> Result<Printed, Failure> {
    let mut line = serde_json::to_vec(value)
        .map_err(|error| Failure::new(format!("cannot write JSON: {error}")))?;
    line.push(b'\n');
    print(&line)
}

/// Says on a terminal what is waited for, until this is dropped.
fn waiting_for(what: &'static str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(format!("waiting for {what}"));
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}

/// Says something to the person at the terminal, beside the data.
fn note(text: &str) {
    // A closed standard error leaves nobody to tell.
    let _ = writeln!(io::stderr(), "{text}");
}
