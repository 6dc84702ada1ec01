//! What every program of the network needs around its protocol: a configuration file, key files,
//! logs, a clock, signals and exit codes.
//!
//! This crate is a shell, not a core: it touches files, the clock, the process and sockets. It
//! knows nothing of packets, routes or sessions; those live in the cores below it and in
//! `nym-transport` beside it.
//!
//! | Module | Answers |
//! |---|---|
//! | [`config`] | what does the file say, and where exactly is it wrong? |
//! | [`keys`] | read and write PEM key files that nobody else may read |
//! | [`home`] | where do the files of program `kind` with id `id` live? |
//! | [`logging`] | how much is logged, to where, how precisely dated? |
//! | [`clock`] | what time is it? (the only place that asks the operating system) |
//! | [`entropy`] | a fresh generator seeded by the operating system |
//! | [`shutdown`] | has somebody asked this process to stop? |
//! | [`exit`] | what does the process tell its caller? |
//! | [`http`] | a small bounded HTTP server for a node's own pages |
//! | [`pages`] | is the program ready, and what does it count? |
//! | [`metrics`] | how do numbers become a page that Prometheus reads? |
//! | [`cli`] | what is logged, and where are all files, by flags? |
//! | [`manual`] | how is the program used, in a shell and on a man page? |
//! | [`reload`] | has somebody asked to read the configuration again? |
//! | [`raise_open_files`] | how many sockets may this process have? |
//!
//! # Example
//!
//! ```
//! use nym_daemon::config;
//!
//! #[derive(Debug, serde::Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Raw {
//!     id: String,
//!     average_packet_delay: config::HumanDuration,
//! }
//!
//! let text = "id = \"alice\"\naverage_packet_dely = \"50ms\"\n";
//! let error = config::parse::<Raw>("config.toml".as_ref(), text).unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "config.toml line 2: unknown key `average_packet_dely`; did you mean \
//!      `average_packet_delay`? allowed here: `id`, `average_packet_delay`"
//! );
//! ```
//!
//! # Invariants
//!
//! * Every file is written beside its final name and renamed over it: a crash leaves the old file
//!   or the new one, never half of one.
//! * A private key file has mode 0600, and one that others may read is refused.
//! * No other crate reads a clock or asks the operating system for randomness.
//! * Nothing here prints to standard output, and nothing logs a key.

pub mod cli;
pub mod clock;
pub mod config;
pub mod exit;
pub mod home;
pub mod http;
pub mod keys;
pub mod logging;
pub mod manual;
pub mod metrics;
pub mod pages;
pub mod reload;
pub mod shutdown;

mod atomic_file;
mod open_files;
mod rng;

pub use crate::atomic_file::write_atomically;
pub use crate::open_files::raise_open_files;
pub use crate::rng::entropy;

/// The text that `--version` prints after a program's name: the version of the calling crate and
/// that of the network's protocol.
///
/// ```
/// let version = nym_daemon::version!();
/// assert!(version.ends_with(" (protocol 0.11.0)"));
/// ```
#[macro_export]
macro_rules! version {
    () => {
        concat!(env!("CARGO_PKG_VERSION"), " (protocol 0.11.0)")
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_version_names_the_protocol_that_is_spoken() {
        let protocol = format!("(protocol {})", nym_protocol::PROTOCOL_VERSION);
        assert!(version!().ends_with(&protocol));
    }
}
