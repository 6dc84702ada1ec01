//! Stopping a process when somebody asks for it.
//!
//! The first SIGINT or SIGTERM cancels a token, and the program stops taking work, flushes and
//! ends. A second signal ends the process at once: whoever presses Ctrl-C twice means it.

use std::io;
use std::process;
use std::sync::{Arc, OnceLock};

use tokio::signal::unix::{Signal as SignalStream, SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::exit::ExitCode;

/// Exit status after a second SIGTERM: 128 + 15, as shells report a process ended by it.
const TERMINATED_STATUS: i32 = 143;

/// The signals that ask a process to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT: Ctrl-C in a terminal.
    Interrupt,
    /// SIGTERM: what `kill` and service supervisors send.
    Terminate,
}

impl Signal {
    fn status(self) -> i32 {
        match self {
            Self::Interrupt => i32::from(ExitCode::Interrupted.status()),
            Self::Terminate => TERMINATED_STATUS,
        }
    }
}

/// The watch over a process's signals; dropping it stops watching.
#[derive(Debug)]
pub struct Shutdown {
    token: CancellationToken,
    received: Arc<OnceLock<Signal>>,
    _watch: JoinSet<()>,
}

impl Shutdown {
    /// Starts watching for SIGINT and SIGTERM.
    ///
    /// # Errors
    ///
    /// When the operating system refuses to install the signal handlers.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn on_signals() -> io::Result<Self> {
        let interrupt = signal(SignalKind::interrupt())?;
        let terminate = signal(SignalKind::terminate())?;
        let token = CancellationToken::new();
        let received = Arc::new(OnceLock::new());
        let mut watch = JoinSet::new();
        watch.spawn(watch_signals(
            interrupt,
            terminate,
            token.clone(),
            Arc::clone(&received),
        ));
        Ok(Self {
            token,
            received,
            _watch: watch,
        })
    }

    /// The token that the first signal cancels; hand clones of it to everything that runs.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// The signal that asked the process to stop, if one did.
    #[must_use]
    pub fn signal(&self) -> Option<Signal> {
        self.received.get().copied()
    }

    /// How a program ends that runs until it is told to stop: [`ExitCode::Interrupted`] after
    /// SIGINT, which a person sends, otherwise [`ExitCode::Success`], as supervisors expect it.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self.signal() {
            Some(Signal::Interrupt) => ExitCode::Interrupted,
            Some(Signal::Terminate) | None => ExitCode::Success,
        }
    }
}

async fn watch_signals(
    mut interrupt: SignalStream,
    mut terminate: SignalStream,
    token: CancellationToken,
    received: Arc<OnceLock<Signal>>,
) {
    loop {
        // Both branches are cancel-safe: a signal not taken here is taken next time.
        let signal = tokio::select! {
            _ = interrupt.recv() => Signal::Interrupt,
            _ = terminate.recv() => Signal::Terminate,
        };
        if received.set(signal).is_err() {
            tracing::warn!("second signal: stopping at once");
            process::exit(signal.status());
        }
        tracing::info!("stopping; a second signal stops at once");
        token.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_signals_end_with_the_status_shells_expect() {
        assert_eq!(Signal::Interrupt.status(), 130);
        assert_eq!(Signal::Terminate.status(), 143);
    }

    #[tokio::test]
    async fn nothing_is_cancelled_without_a_signal() {
        let shutdown = Shutdown::on_signals().unwrap();
        assert!(!shutdown.token().is_cancelled());
        assert_eq!(shutdown.signal(), None);
        assert_eq!(shutdown.exit_code(), ExitCode::Success);
    }
}
