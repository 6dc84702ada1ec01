//! What a client keeps: the records of its engine, encrypted, in a SQLite database.
//!
//! ```text
//! meta    (name, value)    `check`: a known text, to recognise the key by
//! records (key, value)     nonce (24) ‖ XChaCha20-Poly1305 of the value ‖ tag (16)
//! ```
//!
//! The associated data of a value is its record's key, so that values cannot be exchanged. Who
//! reads the file without the key sees how many records there are, their sizes and when they
//! change; who can write it can put back an older state as a whole. The key is in a file of mode
//! 0600 beside the database: that protects a copy of the database alone, such as a backup without
//! key files, and not against whoever may read everything the user may.
//!
//! Write-ahead log, `synchronous = FULL`: what was committed survives the machine losing power.
//! One thread owns the database ([`StoreThread`]) and writes one batch at a time; whatever the
//! engine notes meanwhile is the next, so the busier the client the more changes share a commit.

mod cipher;
mod thread;

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nym_client_core::{Batch, RecordKey, RestoreError};
use nym_daemon::keys::{self as pem, KeyFileError};
use rand::CryptoRng;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, params};
use zeroize::Zeroizing;

use self::cipher::Cipher;
pub(crate) use self::thread::{StoreHandle, StoreThread, Written};
use crate::keys::KeyFiles;

/// Tag of the key file, 32 bytes.
const STORE_KEY: &str = "XCHACHA20-POLY1305 STORE KEY";

/// Version of the tables, kept in the database.
const SCHEMA_VERSION: i64 = 1;

/// `records` has its own row ids: rows are mostly fragments of 1.6 kB, which an index of 4 KiB
/// pages holds badly.
const SCHEMA: &str = "
    CREATE TABLE meta (
        name  TEXT PRIMARY KEY,
        value BLOB NOT NULL
    ) STRICT;
    CREATE TABLE records (
        id    INTEGER PRIMARY KEY,
        key   BLOB NOT NULL UNIQUE,
        value BLOB NOT NULL
    ) STRICT;
    PRAGMA user_version = 1;
";

/// What the row `check` says when the key is right.
const CHECK: &[u8] = b"nym-client store";

/// Bytes of a page of the database.
const PAGE_LEN: u64 = 4_096;

/// The largest a store may grow when nothing else is said, in bytes: 1 GiB. The bounds of the engine
/// and of the messages that wait for apps add up to a third of that.
pub(crate) const STORE_BYTES_MAX_DEFAULT: u64 = 1 << 30;

/// The smallest bound of a store, in bytes: 1 MiB.
pub(crate) const STORE_BYTES_MIN: u64 = 1 << 20;

/// Where a client keeps its records, and how much.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoreConfig {
    /// The database.
    pub database: PathBuf,
    /// The file of the key it is encrypted with.
    pub key_file: PathBuf,
    /// The largest the database may grow, in bytes.
    pub bytes_max: u64,
}

impl StoreConfig {
    /// Beside the other files of a client, under the usual names.
    #[must_use]
    pub fn beside(key_files: &KeyFiles) -> Self {
        let dir = key_files.private_identity.parent();
        let dir = dir.unwrap_or_else(|| Path::new(""));
        Self {
            database: dir.join("store.sqlite"),
            key_file: dir.join("store_key.pem"),
            bytes_max: STORE_BYTES_MAX_DEFAULT,
        }
    }
}

/// Why the store cannot be opened, or did not take a batch.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// What is in the database cannot be read.
    #[error("the store {} is damaged: {problem}", path.display())]
    Damaged {
        /// The database.
        path: PathBuf,
        /// How that shows.
        problem: String,
    },
    /// Another program has it open.
    #[error("the store {} is in use by another nym-client", path.display())]
    InUse {
        /// The database.
        path: PathBuf,
    },
    /// The key file cannot be read or written.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// There is a database and no key for it.
    #[error("the key of the store {} is missing: there is no {}", path.display(), key_file.display())]
    KeyMissing {
        /// The database.
        path: PathBuf,
        /// Where its key should be.
        key_file: PathBuf,
    },
    /// The database was written by a newer program.
    #[error("the store {} has version {found}, this program knows {SCHEMA_VERSION}", path.display())]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i64,
    },
    /// The database cannot be opened or written: no permission, no space, no such directory.
    #[error("cannot use the store {}: {problem}", path.display())]
    Unusable {
        /// The database.
        path: PathBuf,
        /// What SQLite or the file system answered.
        problem: String,
    },
    /// The database was encrypted with another key.
    #[error("the key in {} is not the one of the store {}", key_file.display(), path.display())]
    WrongKey {
        /// The database.
        path: PathBuf,
        /// The key file.
        key_file: PathBuf,
    },
}

impl StoreError {
    /// Sorts what SQLite says by what it means.
    fn new(path: &Path, error: &rusqlite::Error) -> Self {
        let path = path.to_owned();
        let problem = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::InUse { path },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Damaged { path, problem }
            }
            _ => Self::Unusable { path, problem },
        }
    }

    /// The system refuses what the store needs.
    pub(crate) fn unusable(path: &Path, error: &io::Error) -> Self {
        Self::Unusable {
            path: path.to_owned(),
            problem: error.to_string(),
        }
    }

    /// The engine does not know its records.
    pub(crate) fn unreadable(path: &Path, error: &RestoreError) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            problem: error.to_string(),
        }
    }
}

/// A record as it was kept.
pub(crate) type Kept = (RecordKey, Zeroizing<Vec<u8>>);

/// The database, in the hands of one thread.
pub(crate) struct Store {
    database: Connection,
    path: PathBuf,
    cipher: Cipher,
}

impl Store {
    /// Opens the database, or makes it with a new key. Nothing that is there is replaced.
    pub(crate) fn open<R: CryptoRng>(
        config: &StoreConfig,
        rng: &mut R,
    ) -> Result<Self, StoreError> {
        let StoreConfig {
            database: path,
            key_file,
            bytes_max,
        } = config;
        let is_new = std::fs::metadata(path).map_or(true, |file| file.len() == 0);
        if !pem::exists(key_file) {
            if !is_new {
                return Err(StoreError::KeyMissing {
                    path: path.clone(),
                    key_file: key_file.clone(),
                });
            }
            let mut key = Zeroizing::new([0; cipher::KEY_LEN]);
            rng.fill_bytes(&mut key[..]);
            pem::save(key_file, STORE_KEY, &key[..])?;
        }
        let key = pem::load_secret(key_file, STORE_KEY)?;
        let cipher = Cipher::new(&key, rng);
        create_private(path).map_err(|error| StoreError::unusable(path, &error))?;
        let database = connect(path, *bytes_max).map_err(|error| StoreError::new(path, &error))?;
        let mut store = Self {
            database,
            path: path.clone(),
            cipher,
        };
        store.check_version()?;
        store.check_key(key_file)?;
        Ok(store)
    }

    /// All records in the order of their keys.
    pub(crate) fn records(&self) -> Result<Vec<Kept>, StoreError> {
        let mut records = Vec::new();
        let mut problem = None;
        let mut read = || -> Result<(), rusqlite::Error> {
            let mut query = self
                .database
                .prepare("SELECT key, value FROM records ORDER BY key")?;
            let mut rows = query.query([])?;
            while let Some(row) = rows.next()? {
                let key = RecordKey::from_bytes(row.get(0)?);
                let sealed: Vec<u8> = row.get(1)?;
                let Some(value) = self.cipher.open(key.as_bytes(), &sealed) else {
                    problem = Some("a record is not what was written");
                    return Ok(());
                };
                records.push((key, value));
            }
            Ok(())
        };
        read().map_err(|error| self.failed(&error))?;
        match problem {
            None => Ok(records),
            Some(problem) => Err(StoreError::Damaged {
                path: self.path.clone(),
                problem: problem.to_owned(),
            }),
        }
    }

    /// Applies a batch; durable when it returns, and not at all if it fails.
    pub(crate) fn write(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let path = &self.path;
        let failed = |error: rusqlite::Error| StoreError::new(path, &error);
        let transaction = self.database.transaction().map_err(failed)?;
        for change in batch.changes() {
            let key = change.key().as_bytes();
            let applied = match change.value() {
                Some(value) => {
                    let sealed = self.cipher.seal(key, value);
                    transaction
                        .prepare_cached(
                            "INSERT INTO records (key, value) VALUES (?1, ?2)
                             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                        )
                        .and_then(|mut put| put.execute(params![key, sealed]))
                }
                None => transaction
                    .prepare_cached("DELETE FROM records WHERE key = ?1")
                    .and_then(|mut delete| delete.execute([key])),
            };
            applied.map_err(failed)?;
        }
        // After some failures, a full disk for example, SQLite rolls back by itself; a statement
        // after that would have been a transaction of its own.
        transaction.commit().map_err(failed)
    }

    fn failed(&self, error: &rusqlite::Error) -> StoreError {
        StoreError::new(&self.path, error)
    }

    fn check_version(&self) -> Result<(), StoreError> {
        let found: i64 = self
            .database
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .map_err(|error| self.failed(&error))?;
        match found {
            0 => self.create(),
            SCHEMA_VERSION => self.check_pages(),
            _ => Err(StoreError::Newer {
                path: self.path.clone(),
                found,
            }),
        }
    }

    /// Makes the tables, all or none, so that a start which is cut short is made up for.
    fn create(&self) -> Result<(), StoreError> {
        self.database
            .execute_batch(&format!("BEGIN IMMEDIATE; {SCHEMA} COMMIT;"))
            .map_err(|error| self.failed(&error))
    }

    fn check_pages(&self) -> Result<(), StoreError> {
        let found: String = self
            .database
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
            .map_err(|error| self.failed(&error))?;
        if found == "ok" {
            return Ok(());
        }
        Err(StoreError::Damaged {
            path: self.path.clone(),
            problem: found,
        })
    }

    /// Compares the key with the one the database was made with. That row is written each time,
    /// so a database that cannot be written to is found out now.
    fn check_key(&mut self, key_file: &Path) -> Result<(), StoreError> {
        let found: Option<Vec<u8>> = self
            .database
            .query_row("SELECT value FROM meta WHERE name = 'check'", [], |row| {
                row.get(0)
            })
            .optional()
            .map_err(|error| self.failed(&error))?;
        let is_right = found.is_none_or(|sealed| {
            let opened = self.cipher.open(b"check", &sealed);
            opened.is_some_and(|text| text.as_slice() == CHECK)
        });
        if !is_right {
            return Err(StoreError::WrongKey {
                path: self.path.clone(),
                key_file: key_file.to_owned(),
            });
        }
        let sealed = self.cipher.seal(b"check", CHECK);
        self.database
            .execute(
                "INSERT INTO meta (name, value) VALUES ('check', ?1)
                 ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                [sealed],
            )
            .map_err(|error| self.failed(&error))?;
        Ok(())
    }
}

/// Makes the file if there is none, for its owner alone; SQLite gives its other files the same
/// mode.
fn create_private(path: &Path) -> io::Result<()> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map(drop)
}

fn connect(path: &Path, bytes_max: u64) -> Result<Connection, rusqlite::Error> {
    let database = Connection::open(path)?;
    // Nobody else uses the database, so there is nothing to wait for.
    database.busy_timeout(Duration::ZERO)?;
    // Exclusive: two clients on one store would send each message twice.
    database.execute_batch(&format!(
        "PRAGMA page_size = {PAGE_LEN};
         PRAGMA locking_mode = EXCLUSIVE;
         PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA journal_size_limit = 16777216;
         PRAGMA max_page_count = {};",
        bytes_max / PAGE_LEN
    ))?;
    Ok(database)
}

#[cfg(test)]
mod tests;
