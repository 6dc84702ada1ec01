//! Being asked to read the configuration again: SIGHUP, as `systemctl reload` sends it.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Failure;

/// The watch over SIGHUP. From its start on the signal does not end the process any more.
#[derive(Debug)]
pub struct ReloadRequests(Signal);

/// How much of a configuration was taken over that was read again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reloaded {
    /// All that is different from the one that the program was started with.
    Entirely,
    /// The rest needs a restart.
    InPart,
}

impl Reloaded {
    /// `is_same` tells whether what cannot be taken over is as it was.
    #[must_use]
    pub const fn when_the_rest_is_same(is_same: bool) -> Self {
        if is_same {
            Self::Entirely
        } else {
            Self::InPart
        }
    }
}

impl ReloadRequests {
    /// Starts watching.
    ///
    /// # Errors
    ///
    /// When the operating system refuses to install the signal handler.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn on_signal() -> io::Result<Self> {
        Ok(Self(signal(SignalKind::hangup())?))
    }

    /// Waits until somebody asks. Several signals before that count as one.
    ///
    /// Cancel-safe.
    pub async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            // The runtime watches signals for as long as it lives.
            std::future::pending::<()>().await;
        }
    }

    /// Calls `reload` whenever somebody asks, for ever, and tells in the log what came of it. One
    /// that fails must leave everything as it was.
    ///
    /// Cancel-safe, because `reload` does not wait.
    pub async fn serve(mut self, mut reload: impl FnMut() -> Result<Reloaded, Failure>) {
        loop {
            self.next().await;
            match reload() {
                Ok(Reloaded::Entirely) => tracing::info!("configuration reloaded"),
                Ok(Reloaded::InPart) => tracing::warn!(
                    "configuration reloaded; some of what has changed needs a restart"
                ),
                Err(failure) => tracing::error!(
                    error = failure.what(),
                    "configuration not reloaded, the old one stays in use"
                ),
            }
        }
    }
}
