//! What a process tells its caller: an exit status and, on failure, two lines.
//!
//! The statuses are a contract that scripts rely on, the same for every program:
//!
//! | Status | Meaning |
//! |---:|---|
//! | 0 | success |
//! | 1 | failure |
//! | 2 | wrong usage or configuration |
//! | 3 | a message was not delivered in time |
//! | 130 | interrupted by a signal before the work was done |

use std::fmt;
use std::io::{ErrorKind, Write};
use std::process;

/// The exit statuses of all programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Everything asked for was done.
    Success = 0,
    /// Something went wrong that neither flags nor configuration explain.
    Failure = 1,
    /// The command line or the configuration file is wrong.
    Usage = 2,
    /// A message did not arrive within the time allowed.
    NotDelivered = 3,
    /// A signal ended the program before its work was done.
    Interrupted = 130,
}

impl ExitCode {
    /// The number the caller sees.
    #[must_use]
    pub const fn status(self) -> u8 {
        self as u8
    }
}

impl From<ExitCode> for process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.status())
    }
}

impl process::Termination for ExitCode {
    fn report(self) -> process::ExitCode {
        self.into()
    }
}

/// Why a program ends without success: what happened, and what to do about it.
///
/// ```
/// use nym_daemon::exit::{ExitCode, Failure};
///
/// let failure = Failure::usage("port 1977 is in use").advice("choose another one with --port");
/// assert_eq!(failure.exit_code(), ExitCode::Usage);
/// assert_eq!(
///     failure.to_string(),
///     "error: port 1977 is in use\nwhat to do: choose another one with --port"
/// );
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    what: String,
    what_to_do: Option<String>,
    code: ExitCode,
}

impl Failure {
    /// A failure with status 1. `what` names the thing and what happened to it, in one line.
    pub fn new(what: impl fmt::Display) -> Self {
        Self {
            what: what.to_string(),
            what_to_do: None,
            code: ExitCode::Failure,
        }
    }

    /// A failure with status 2: the command line or the configuration is wrong.
    pub fn usage(what: impl fmt::Display) -> Self {
        Self::new(what).with_code(ExitCode::Usage)
    }

    /// A failure with the text of an error and of all its causes, separated by colons.
    pub fn from_error(error: &(dyn std::error::Error + 'static)) -> Self {
        Self::new(chain(error))
    }

    /// Adds the second line: what the reader can do now.
    #[must_use]
    pub fn advice(mut self, what_to_do: impl fmt::Display) -> Self {
        self.what_to_do = Some(what_to_do.to_string());
        self
    }

    /// [`advice`](Self::advice), if there is some.
    #[must_use]
    pub fn advise(self, what_to_do: Option<&str>) -> Self {
        match what_to_do {
            Some(what_to_do) => self.advice(what_to_do),
            None => self,
        }
    }

    /// The same failure with another exit status.
    #[must_use]
    pub fn with_code(mut self, code: ExitCode) -> Self {
        self.code = code;
        self
    }

    /// What happened.
    #[must_use]
    pub fn what(&self) -> &str {
        &self.what
    }

    /// What to do about it, if anything is known to help.
    #[must_use]
    pub fn what_to_do(&self) -> Option<&str> {
        self.what_to_do.as_deref()
    }

    /// The status the process should end with.
    #[must_use]
    pub const fn exit_code(&self) -> ExitCode {
        self.code
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        match &self.what_to_do {
            Some(advice) => write!(f, "\nwhat to do: {advice}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

/// The text of `error` and of all its causes, separated by colons; a cause whose text the outer
/// error already contains is not repeated.
#[must_use]
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let line = inner.to_string();
        if !text.contains(&line) {
            text.push_str(": ");
            text.push_str(&line);
        }
        cause = inner.source();
    }
    text
}

/// What became of what was printed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Printed {
    /// All of it was written.
    All,
    /// Standard output is closed: whoever read there has read enough.
    NobodyReads,
}

/// Writes data that somebody asked for to standard output.
///
/// # Errors
///
/// A [`Failure`] when it cannot be written, unless nobody reads it any more.
pub fn print(bytes: &[u8]) -> Result<Printed, Failure> {
    print_to(&mut std::io::stdout().lock(), bytes)
}

fn print_to(out: &mut impl Write, bytes: &[u8]) -> Result<Printed, Failure> {
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(Printed::All),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Printed::NobodyReads),
        Err(error) => Err(cannot("write to standard output")(error)),
    }
}

/// [`print()`] for a command that ends in success with it.
///
/// # Errors
///
/// As [`print()`].
pub fn print_text(text: &str) -> Result<ExitCode, Failure> {
    print(text.as_bytes()).map(|_| ExitCode::Success)
}

/// Tells what is going on on standard output; whether anybody reads it does not matter. What
/// somebody asked for goes through [`print()`].
pub fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Makes a [`Failure`] of whatever went wrong: `map_err(cannot("watch for signals"))`.
pub fn cannot<E: fmt::Display>(what: &str) -> impl FnOnce(E) -> Failure {
    move |error| Failure::new(format!("cannot {what}: {error}"))
}

/// Ends a `main`: prints a failure to standard error and gives the process its status.
///
/// ```no_run
/// use nym_daemon::exit::{self, ExitCode, Failure};
///
/// fn main() -> std::process::ExitCode {
///     exit::report(run())
/// }
///
/// fn run() -> Result<ExitCode, Failure> {
///     Err(Failure::new("the gateway is gone").advice("start it again"))
/// }
/// ```
pub fn report(outcome: Result<ExitCode, Failure>) -> process::ExitCode {
    match outcome {
        Ok(code) => code.into(),
        Err(failure) => {
            // A closed standard error leaves nobody to tell; the status still says it.
            let _ = writeln!(std::io::stderr(), "{failure}");
            failure.exit_code().into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_the_documented_ones() {
        let all = [
            (ExitCode::Success, 0),
            (ExitCode::Failure, 1),
            (ExitCode::Usage, 2),
            (ExitCode::NotDelivered, 3),
            (ExitCode::Interrupted, 130),
        ];
        for (code, status) in all {
            assert_eq!(code.status(), status);
        }
    }

    #[test]
    fn a_failure_without_advice_is_one_line() {
        assert_eq!(Failure::new("it broke").to_string(), "error: it broke");
    }

    #[test]
    fn data_that_nobody_reads_is_no_failure_and_data_that_is_lost_is_one() {
        struct Out(ErrorKind);
        impl Write for Out {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(self.0.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let print = |kind| print_to(&mut Out(kind), b"data");
        assert_eq!(print(ErrorKind::BrokenPipe), Ok(Printed::NobodyReads));
        let failure = print(ErrorKind::StorageFull).unwrap_err();
        assert_eq!(failure.exit_code(), ExitCode::Failure);
        assert!(
            failure
                .what()
                .starts_with("cannot write to standard output: "),
            "{failure}"
        );
    }

    #[test]
    fn causes_are_appended_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot read the file")]
        struct Outer(#[source] std::io::Error);
        #[derive(Debug, thiserror::Error)]
        #[error("cannot read the file: {0}")]
        struct Repeating(#[source] std::io::Error);

        let cause = || std::io::Error::other("disk on fire");
        assert_eq!(chain(&Outer(cause())), "cannot read the file: disk on fire");
        assert_eq!(
            chain(&Repeating(cause())),
            "cannot read the file: disk on fire"
        );
    }
}
