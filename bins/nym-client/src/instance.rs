//! Who runs a client's keys: one process at a time, which others can find.
//!
//! ```text
//!  data/running.json   locked while the client runs   {"pid":4711,"apps":"127.0.0.1:1977"}
//! ```
//!
//! The lock is the operating system's, so it ends with the process however that ends. What the
//! file says counts only while it is locked.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use crate::error::ClientError;

/// The file's name in the data directory.
const FILE: &str = "running.json";

/// Only the owner may know where the client listens.
const MODE: u32 = 0o600;

/// The longest content: a process id and an address.
const CONTENT_LEN_MAX: u64 = 1024;

/// Whoever looks for a running client locks the file for a moment; claims are repeated, so that
/// they do not fail by it.
const CLAIM_ATTEMPTS: u32 = 5;
const CLAIM_PAUSE: Duration = Duration::from_millis(20);

/// The claim of this process to a client, as long as it lives.
#[derive(Debug)]
pub(crate) struct Instance {
    file: File,
}

/// A client that runs in some process.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct RunningClient {
    /// Its process.
    pub(crate) pid: u32,
    /// Where apps connect; `None` without a socket for apps.
    pub(crate) apps: Option<SocketAddr>,
}

/// What is known of the process that has the claim.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Claimed {
    /// Nobody has it.
    Free,
    /// Somebody who is not, or not yet, to be found by others.
    Hidden,
    /// Somebody who serves others.
    Running(RunningClient),
}

impl Instance {
    /// Claims the client whose keys are in `dir`.
    ///
    /// # Errors
    ///
    /// * [`ClientError::Running`] when another process has it
    /// * [`ClientError::DataDirectory`] when the directory cannot be written to
    pub(crate) async fn claim(dir: &Path) -> Result<Self, ClientError> {
        let unwritable = |source| ClientError::DataDirectory {
            path: dir.to_path_buf(),
            source,
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(MODE)
            .open(dir.join(FILE))
            .map_err(unwritable)?;
        let mut attempts = 0;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error)) => return Err(unwritable(error)),
                Err(TryLockError::WouldBlock) if attempts < CLAIM_ATTEMPTS => {
                    attempts += 1;
                    sleep(CLAIM_PAUSE).await;
                }
                Err(TryLockError::WouldBlock) => {
                    let pid = read(&file).map(|running| running.pid);
                    return Err(ClientError::Running { pid });
                }
            }
        }
        // What a process that is gone has left.
        file.set_len(0).map_err(unwritable)?;
        Ok(Self { file })
    }

    /// Lets other programs of this machine find the client.
    pub(crate) fn publish(&mut self, apps: Option<SocketAddr>) -> io::Result<()> {
        let pid = std::process::id();
        let text = serde_json::to_string(&RunningClient { pid, apps }).map_err(io::Error::other)?;
        self.file.rewind()?;
        self.file.write_all(text.as_bytes())?;
        self.file.flush()
    }
}

/// Looks who has the client whose keys are in `dir`.
///
/// # Errors
///
/// When the file is there and cannot be opened or locked.
pub(crate) fn look(dir: &Path) -> io::Result<Claimed> {
    let file = match File::open(dir.join(FILE)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Claimed::Free),
        Err(error) => return Err(error),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(Claimed::Free),
        Err(TryLockError::WouldBlock) => Ok(read(&file).map_or(Claimed::Hidden, Claimed::Running)),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn read(mut file: &File) -> Option<RunningClient> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(CONTENT_LEN_MAX).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_has_one_process_at_a_time_and_is_found_while_it_runs() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(look(dir.path()).unwrap(), Claimed::Free);
        let mut instance = Instance::claim(dir.path()).await.unwrap();
        assert_eq!(look(dir.path()).unwrap(), Claimed::Hidden);
        let apps = Some("127.0.0.1:1977".parse().unwrap());
        instance.publish(apps).unwrap();
        let pid = std::process::id();
        let found = RunningClient { pid, apps };
        assert_eq!(look(dir.path()).unwrap(), Claimed::Running(found));

        let refused = Instance::claim(dir.path()).await.unwrap_err();
        assert!(matches!(refused, ClientError::Running { pid: Some(by) } if by == pid));
        assert_eq!(look(dir.path()).unwrap(), Claimed::Running(found));

        drop(instance);
        assert_eq!(look(dir.path()).unwrap(), Claimed::Free);
        let _next = Instance::claim(dir.path()).await.unwrap();
        assert_eq!(look(dir.path()).unwrap(), Claimed::Hidden);
    }

    #[tokio::test]
    async fn a_directory_that_cannot_be_written_to_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Instance::claim(file.path()).await.unwrap_err();
        let said = error.to_string();
        assert!(said.contains(file.path().to_str().unwrap()), "{said}");
    }

    #[test]
    fn what_is_no_content_is_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        for content in ["", "{", "{\"pid\":-1}", "\u{fffd}"] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(read(&File::open(&path).unwrap()), None, "{content}");
        }
    }
}
