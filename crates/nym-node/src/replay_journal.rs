//! The replay filter of a node that may be killed: what passed is on file before it goes on.
//!
//! The filter of a node that starts is empty, so whoever recorded a packet could send it once more
//! after every restart, for as long as the node keeps its Sphinx key. So the tags are kept beside
//! that key, in two files that match the [filter](crate::replay)'s two generations:
//!
//! ```text
//! replay.journal, replay.journal.previous
//! magic (16): "nym-replay-v1" and zeros ‖ Sphinx public key (32) ‖ tag (16) ‖ tag (16) ‖ …
//! ```
//!
//! # What is promised
//!
//! * *The node is killed* (or ends in any other way, while the machine goes on): no packet that was
//!   sent on is taken a second time, as far as the filter remembers. The tags of a batch are handed
//!   to the operating system before anything of the batch is decrypted.
//! * *The machine loses power*: the tags are forced to the disk every [`SYNC_EVERY`], so at most the
//!   packets of that last time can be replayed, each once.
//! * *The file cannot be written*: packets that cannot be recorded are dropped and counted, until
//!   it can be written again.
//! * *The file is damaged*: the node does not start. A file that ends within a tag is not damaged,
//!   the rest is that of a batch of which nothing was sent on.
//!
//! The tags are those that links carry in clear anyway, and the files are for their owner alone. At
//! the default limits they take 117 MB at most. One write for each batch adds 1 to 5 µs to it.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufReader, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nym_packet::keys::PublicKey;
use nym_packet::time::Timestamp;
use rand_core::CryptoRng;
use sphinx::VerifiedHeader;

use crate::replay::{Freshness, ReplayFilter, ReplayLimits, TAG_LEN};

/// How often the tags are forced to the disk.
pub const SYNC_EVERY: Duration = Duration::from_secs(1);

const MAGIC: [u8; 16] = *b"nym-replay-v1\0\0\0";

const HEADER_LEN: usize = MAGIC.len() + 32;

const _: () = assert!(HEADER_LEN.is_multiple_of(TAG_LEN));

/// The owner alone reads it.
const MODE: u32 = 0o600;

/// Why a node's replay journal cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayJournalError {
    /// The file is no replay journal.
    #[error("{path} is not a replay journal")]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// Another process has it.
    #[error("the replay journal {path} is in use by another process")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file system refused something.
    #[error("cannot use the replay journal {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
}

impl ReplayJournalError {
    /// What an operator can do about it.
    #[must_use]
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Damaged { .. } => {
                "move it away to start nevertheless; what passed before can then be replayed"
            }
            Self::InUse { .. } => "end the process that runs this node already",
            Self::Io { .. } => "check that the data directory is writable and has room",
        }
    }
}

/// A replay filter and its journal.
pub struct ReplayMemory {
    filter: ReplayFilter,
    journal: Journal,
    /// Tags of the present batch, before they are written.
    fresh: Vec<u8>,
    /// The filter's generation that `fresh` belongs to.
    generation: u64,
    /// Of the last generation that ended, until somebody asks.
    window: Option<Duration>,
    is_failing: bool,
}

impl ReplayMemory {
    /// Remembers what the journal at `path` holds for the owner of `key`, and goes on with it. Makes
    /// the file if there is none. Its directory must exist.
    ///
    /// Blocks while it reads: three seconds for the 117 MB of the default limits.
    ///
    /// # Errors
    /// [`ReplayJournalError`].
    pub fn open<R: CryptoRng + ?Sized>(
        path: &Path,
        key: &PublicKey,
        limits: ReplayLimits,
        now: Timestamp,
        rng: &mut R,
    ) -> Result<Self, ReplayJournalError> {
        let mut filter = ReplayFilter::new(limits, now, rng);
        let remember = |filter: &mut ReplayFilter, tag: &[u8; TAG_LEN]| {
            // Known ones, as of a file that was copied, are not remembered again.
            let _ = filter.check(now, tag);
        };
        let journal = Journal::open(path, key, |event| match event {
            Recorded::Tag(tag) => remember(&mut filter, tag),
            Recorded::EndOfPrevious => filter.begin_generation(now),
        })?;
        Ok(Self {
            generation: filter.generation(),
            filter,
            journal,
            fresh: Vec::new(),
            window: None,
            is_failing: false,
        })
    }

    /// Asks the filter about each header that was verified, in their order, and records those that
    /// are new. [`sphinx::Error::Replayed`] takes the place of a header that was seen before, or
    /// that could not be recorded; gives the number of the latter.
    pub fn check_headers(
        &mut self,
        now: Timestamp,
        headers: &mut [Result<VerifiedHeader, sphinx::Error>],
    ) -> u64 {
        let outcome = self.record(now, headers);
        self.fresh.clear();
        if let Err(error) = &outcome
            && !self.is_failing
        {
            tracing::error!(%error, "packets cannot be recorded against replays and are dropped");
        }
        self.is_failing = outcome.is_err();
        if outcome.is_ok() {
            return 0;
        }
        let mut count = 0;
        for header in headers.iter_mut().filter(|header| header.is_ok()) {
            *header = Err(sphinx::Error::Replayed);
            count += 1;
        }
        count
    }

    /// If a generation has ended since the last call: how long packets are remembered at least, as
    /// [`ReplayFilter::window`] has it.
    pub const fn take_window(&mut self) -> Option<Duration> {
        self.window.take()
    }

    /// Forces what is recorded to the disk, from another thread.
    #[must_use]
    pub fn syncer(&self) -> ReplaySyncer {
        ReplaySyncer(Arc::clone(&self.journal.unsynced))
    }

    fn record(
        &mut self,
        now: Timestamp,
        headers: &mut [Result<VerifiedHeader, sphinx::Error>],
    ) -> Result<(), ReplayJournalError> {
        for header in headers {
            let Ok(verified) = header else { continue };
            if self.filter.check(now, verified.mac()) == Freshness::Replayed {
                *header = Err(sphinx::Error::Replayed);
                continue;
            }
            if self.filter.generation() != self.generation {
                self.journal.append(&self.fresh)?;
                self.fresh.clear();
                self.journal.is_full = true;
                self.generation = self.filter.generation();
                self.window = Some(self.filter.window());
            }
            self.fresh.extend_from_slice(verified.mac());
        }
        self.journal.append(&self.fresh)
    }
}

/// Forces the tags of a [`ReplayMemory`] to the disk.
#[derive(Clone)]
pub struct ReplaySyncer(Arc<Mutex<Vec<Arc<File>>>>);

impl ReplaySyncer {
    /// Blocks until everything that was recorded before is on the disk.
    ///
    /// # Errors
    /// What the file system answers; what was to be synchronised is tried again the next time.
    pub fn sync(&self) -> io::Result<()> {
        let files = std::mem::take(&mut *lock(&self.0));
        for (index, file) in files.iter().enumerate() {
            if let Err(error) = file.sync_data() {
                lock(&self.0).extend(files.into_iter().skip(index));
                return Err(error);
            }
        }
        Ok(())
    }
}

/// Held for a few moves.
fn lock(files: &Mutex<Vec<Arc<File>>>) -> MutexGuard<'_, Vec<Arc<File>>> {
    files.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the files hold, in the order in which it happened.
enum Recorded<'a> {
    Tag(&'a [u8; TAG_LEN]),
    EndOfPrevious,
}

/// The two files.
struct Journal {
    path: PathBuf,
    key: [u8; 32],
    current: Arc<File>,
    /// Whole tags end here; behind it may be what a failed write left.
    end: u64,
    /// The next tags belong to a new file.
    is_full: bool,
    /// Files with something that is not on the disk yet.
    unsynced: Arc<Mutex<Vec<Arc<File>>>>,
}

impl Journal {
    fn open(
        path: &Path,
        key: &PublicKey,
        mut recorded: impl FnMut(Recorded<'_>),
    ) -> Result<Self, ReplayJournalError> {
        let previous = previous_of(path);
        match File::open(&previous) {
            Ok(file) => {
                read(&file, &previous, key.as_bytes(), &mut recorded)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(failed(&previous)(source)),
        }
        recorded(Recorded::EndOfPrevious);
        let current = create(path)?;
        let end = read(&current, path, key.as_bytes(), &mut recorded)?;
        if end.is_none() {
            begin(&current, key.as_bytes()).map_err(failed(path))?;
        }
        let journal = Self {
            path: path.to_owned(),
            key: *key.as_bytes(),
            current: Arc::new(current),
            end: end.unwrap_or(HEADER_LEN as u64),
            is_full: false,
            unsynced: Arc::default(),
        };
        journal.is_unsynced();
        Ok(journal)
    }

    /// Hands tags to the operating system.
    fn append(&mut self, tags: &[u8]) -> Result<(), ReplayJournalError> {
        if tags.is_empty() {
            return Ok(());
        }
        if self.is_full {
            self.rotate()?;
        }
        // Behind the last whole tag, over whatever a failed write left there.
        let written = self.current.write_all_at(tags, self.end);
        written.map_err(failed(&self.path))?;
        self.end += tags.len() as u64;
        self.is_unsynced();
        Ok(())
    }

    /// Makes the current file the previous one, and begins a new one. After a failure in any step
    /// it can be called again, and a start finds all tags.
    fn rotate(&mut self) -> Result<(), ReplayJournalError> {
        let (path, previous) = (&self.path, previous_of(&self.path));
        let next_path = with_suffix(path, ".next");
        let next = create(&next_path)?;
        begin(&next, &self.key).map_err(failed(&next_path))?;
        match fs::rename(path, &previous) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed(path)(error));
            }
            // Not found: an earlier attempt came so far.
            Ok(()) | Err(_) => {}
        }
        fs::rename(&next_path, path).map_err(failed(path))?;
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let directory = File::open(directory).map_err(failed(path))?;
        lock(&self.unsynced).push(Arc::new(directory));
        self.current = Arc::new(next);
        self.end = HEADER_LEN as u64;
        self.is_full = false;
        Ok(())
    }

    fn is_unsynced(&self) {
        let mut unsynced = lock(&self.unsynced);
        if !unsynced.iter().any(|file| Arc::ptr_eq(file, &self.current)) {
            unsynced.push(Arc::clone(&self.current));
        }
    }
}

/// Empties a file and writes its header.
fn begin(mut file: &File, key: &[u8; 32]) -> io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&MAGIC)?;
    file.write_all(key)
}

fn previous_of(path: &Path) -> PathBuf {
    with_suffix(path, ".previous")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Opens the file for this process alone, making it if there is none.
fn create(path: &Path) -> Result<File, ReplayJournalError> {
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(MODE)
        .open(path)
        .map_err(failed(path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(ReplayJournalError::InUse {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(failed(path)(source)),
    }
}

/// Gives the tags of a file, and where the last whole one ends; `None` when the file has not even
/// a header or belongs to another key, whose tags mean nothing.
fn read(
    file: &File,
    path: &Path,
    key: &[u8; 32],
    recorded: &mut impl FnMut(Recorded<'_>),
) -> Result<Option<u64>, ReplayJournalError> {
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let Some(magic) = next(&mut reader).map_err(failed(path))? else {
        return Ok(None);
    };
    if magic != MAGIC {
        return Err(ReplayJournalError::Damaged {
            path: path.to_owned(),
        });
    }
    let Some(found) = next::<32>(&mut reader).map_err(failed(path))? else {
        return Ok(None);
    };
    if found != *key {
        return Ok(None);
    }
    let mut end = HEADER_LEN as u64;
    while let Some(tag) = next(&mut reader).map_err(failed(path))? {
        recorded(Recorded::Tag(&tag));
        end += TAG_LEN as u64;
    }
    Ok(Some(end))
}

/// The next bytes, `None` when there are not so many.
fn next<const LEN: usize>(reader: &mut impl io::Read) -> io::Result<Option<[u8; LEN]>> {
    let mut bytes = [0; LEN];
    match reader.read_exact(&mut bytes) {
        Ok(()) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> ReplayJournalError {
    let path = path.to_owned();
    move |source| ReplayJournalError::Io { path, source }
}

#[cfg(test)]
mod tests;
