//! Logs: to standard error, dated to the second, as text or as one JSON object a line.
//!
//! Timestamps are coarse on purpose. A precise log of a relay or client is a traffic-analysis
//! aid for whoever gets hold of it; a second is all that an operator needs.

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, reload};

use crate::clock;

/// What is logged when neither a flag nor the environment says otherwise.
pub const DEFAULT_FILTER: &str = "info";

/// The environment variable that sets the filter.
pub const FILTER_VARIABLE: &str = "RUST_LOG";

const DATE: &[BorrowedFormatItem<'static>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");

/// Section `logging` of a configuration file.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoggingSection {
    /// What is logged, unless `--log` or `RUST_LOG` names something else.
    pub filter: String,
}

impl LoggingSection {
    /// What its key means, for the file.
    pub const COMMENT: &'static str =
        "What is logged: \"info\", or \"warn,nym_transport=debug\". --log and RUST_LOG win.";
}

impl Default for LoggingSection {
    fn default() -> Self {
        Self {
            filter: DEFAULT_FILTER.to_owned(),
        }
    }
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoggingError {
    /// A subscriber is already installed in this process.
    #[error("logging is already set up in this process")]
    AlreadySetUp,
    /// The filter text does not parse.
    #[error("log filter `{filter}` is not valid: {problem}")]
    InvalidFilter {
        /// The text as given.
        filter: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs: an object with the members `timestamp`, `level`, `target`, `fields` and
    /// those of the spans.
    Json,
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            _ => Err("a log format is text or json"),
        }
    }
}

/// Changes the filter of a running process.
#[derive(Clone, Debug)]
pub struct LogControl {
    handle: reload::Handle<EnvFilter, Registry>,
    is_fixed: bool,
}

impl LogControl {
    /// Sets the filter that a configuration file names, unless the flag or `RUST_LOG` has named
    /// one: those win over the file.
    ///
    /// # Errors
    ///
    /// [`LoggingError::InvalidFilter`]; the filter is as it was.
    pub fn set_filter(&self, filter: &str) -> Result<(), LoggingError> {
        let filter = parse_filter(filter)?;
        if !self.is_fixed {
            // Fails only when there is no subscriber any more, and so nothing to filter.
            let _ = self.handle.reload(filter);
        }
        Ok(())
    }
}

/// Starts logging to standard error for the whole process, as text.
///
/// As [`start`], for a program that never changes its filter.
///
/// # Errors
///
/// As [`start`].
pub fn init(flag: Option<&str>) -> Result<(), LoggingError> {
    start(flag, LogFormat::Text).map(drop)
}

/// [`init`] for a program that is quieter, or louder, when nobody says otherwise.
///
/// # Errors
///
/// As [`start`].
pub fn init_with_default(flag: Option<&str>, default: &str) -> Result<(), LoggingError> {
    start_with_default(flag, default, LogFormat::Text).map(drop)
}

/// Starts logging to standard error for the whole process.
///
/// The filter is that of the flag if given, else that of `RUST_LOG`, else [`DEFAULT_FILTER`]. Its
/// syntax is `info` or `warn,nym_transport=debug`. Colours appear only on a terminal and only
/// without `NO_COLOR`.
///
/// # Errors
///
/// * [`LoggingError::InvalidFilter`] when the filter does not parse
/// * [`LoggingError::AlreadySetUp`] when this process logs already
pub fn start(flag: Option<&str>, format: LogFormat) -> Result<LogControl, LoggingError> {
    start_with_default(flag, DEFAULT_FILTER, format)
}

fn start_with_default(
    flag: Option<&str>,
    default: &str,
    format: LogFormat,
) -> Result<LogControl, LoggingError> {
    let environment = std::env::var(FILTER_VARIABLE)
        .ok()
        .filter(|filter| !filter.is_empty());
    let named = flag.or(environment.as_deref());
    let filter = parse_filter(named.unwrap_or(default))?;
    let colours = io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let (filter, handle) = reload::Layer::new(filter);
    let lines = tracing_subscriber::fmt::layer()
        .with_timer(WholeSeconds)
        .with_ansi(colours)
        .with_writer(io::stderr);
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.with_ansi(false).json().boxed(),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init()
        .map_err(|_| LoggingError::AlreadySetUp)?;
    Ok(LogControl {
        handle,
        is_fixed: named.is_some(),
    })
}

fn parse_filter(filter: &str) -> Result<EnvFilter, LoggingError> {
    EnvFilter::try_new(filter).map_err(|error| LoggingError::InvalidFilter {
        filter: filter.to_owned(),
        problem: error.to_string(),
    })
}

/// Timestamps in UTC without fractions of a second.
struct WholeSeconds;

impl FormatTime for WholeSeconds {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        writer.write_str(&utc_date(clock::unix_time_secs()))
    }
}

/// `2026-07-01T12:34:56Z` for seconds since 1970.
fn utc_date(unix_secs: u64) -> String {
    i64::try_from(unix_secs)
        .ok()
        .and_then(|secs| OffsetDateTime::from_unix_timestamp(secs).ok())
        .and_then(|date| date.format(DATE).ok())
        .unwrap_or_else(|| format!("@{unix_secs}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_have_no_fraction_of_a_second() {
        assert_eq!(utc_date(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc_date(1_751_373_296), "2025-07-01T12:34:56Z");
        assert_eq!(utc_date(u64::MAX), format!("@{}", u64::MAX));
    }

    #[test]
    fn a_filter_that_does_not_parse_is_named() {
        parse_filter("warn,nym_transport=debug").unwrap();
        let error = parse_filter("nym=loud").unwrap_err().to_string();
        assert!(
            error.starts_with("log filter `nym=loud` is not valid: "),
            "{error}"
        );
    }
}
