//! `nym-client` as people type it: real processes, their output and exit status.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what a test needs and cannot have fails the test"
)]

mod files;
mod interrupts;
mod messages;

use std::path::Path;
use std::process::{Command, Output};

use nym_tests::{Running, output_of, program, texts};
use tempfile::TempDir;

/// Files of clients in a temporary directory.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// A command, without what the environment of the test says.
    fn client(&self, words: &[&str]) -> Command {
        let mut command = Command::new(program("nym-client"));
        command.args(words).arg("--home").arg(self.path());
        command.env_remove("RUST_LOG").env_remove("NYM_HOME");
        command
    }

    /// Runs a command to its end, without the warnings that a slow machine deserves.
    fn run(&self, words: &[&str]) -> Ended {
        Ended::of(&output_of(self.client(words).env("RUST_LOG", "error")))
    }

    /// Runs a command that has to succeed, and gives its standard output.
    fn data(&self, words: &[&str]) -> String {
        let ended = self.run(words);
        assert_eq!(ended.code, Some(0), "{words:?}: {ended:?}");
        ended.stdout
    }

    fn start(&self, words: &[&str]) -> Running {
        Running::start(&mut self.client(words))
    }
}

/// How a command ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ended {
    fn of(output: &Output) -> Self {
        let (stdout, stderr) = texts(output);
        Self {
            code: output.status.code(),
            stdout,
            stderr,
        }
    }

    /// Nothing but one line with the error, and perhaps one with what to do.
    fn is_one_clear_error(&self, code: i32, said: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        assert!(self.stderr.starts_with("error: "), "{self:?}");
        assert!(self.stderr.contains(said), "no `{said}` in {self:?}");
        assert!(self.stderr.lines().count() <= 2, "{self:?}");
    }

    /// What the parser of the command line says.
    fn is_usage_error(&self, said: &str) {
        assert_eq!(self.code, Some(2), "{self:?}");
        assert!(self.stderr.starts_with("error: "), "{self:?}");
        assert!(self.stderr.contains(said), "no `{said}` in {self:?}");
    }
}
