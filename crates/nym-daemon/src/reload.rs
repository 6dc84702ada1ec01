//! Being asked to read the configuration again: SIGHUP, as `systemctl reload` sends it.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The watch over SIGHUP. From its start on the signal does not end the process any more.
#[derive(Debug)]
pub struct ReloadRequests(Signal);

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
}
