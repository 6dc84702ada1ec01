//! The file of the database: who may use it, what tables are in it, and what can be wrong with it.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};

/// How long the gateway waits for another process that is writing to the database.
const BUSY_PATIENCE: Duration = Duration::from_secs(2);

/// Version of the tables, kept in the database.
const SCHEMA_VERSION: i64 = 2;

const SCHEMA: &str = "
    BEGIN IMMEDIATE;
    CREATE TABLE clients (
        id      INTEGER PRIMARY KEY,
        address BLOB NOT NULL UNIQUE,
        keys    BLOB NOT NULL
    ) STRICT;
    CREATE TABLE used_ivs (
        id     INTEGER PRIMARY KEY,
        client INTEGER NOT NULL,
        iv     BLOB NOT NULL,
        UNIQUE (client, iv)
    ) STRICT;
    CREATE TABLE messages (
        id        INTEGER PRIMARY KEY,
        client    INTEGER NOT NULL,
        stored_at INTEGER NOT NULL,
        message   BLOB NOT NULL
    ) STRICT;
    CREATE INDEX messages_of_client ON messages (client, id);
    CREATE TABLE service_time (seconds INTEGER NOT NULL) STRICT;
    INSERT INTO service_time VALUES (0);
    PRAGMA user_version = 2;
    COMMIT;
";

/// From version 1, whose messages had no age.
const UPGRADE: &str = "
    BEGIN IMMEDIATE;
    ALTER TABLE messages RENAME TO messages_1;
    DROP INDEX messages_of_client;
    CREATE TABLE messages (
        id        INTEGER PRIMARY KEY,
        client    INTEGER NOT NULL,
        stored_at INTEGER NOT NULL,
        message   BLOB NOT NULL
    ) STRICT;
    INSERT INTO messages SELECT id, client, 0, message FROM messages_1;
    DROP TABLE messages_1;
    CREATE INDEX messages_of_client ON messages (client, id);
    CREATE TABLE service_time (seconds INTEGER NOT NULL) STRICT;
    INSERT INTO service_time VALUES (0);
    PRAGMA user_version = 2;
    COMMIT;
";

/// Why the database could not be opened, or did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file is not a database, or not a sound one any more.
    #[error("the database {} is damaged: {source}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// Another gateway uses the database.
    #[error("cannot open the database {}: another gateway uses it", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// There are as many clients as the quota allows.
    #[error("the ledger is full")]
    LedgerFull,
    /// The lock file cannot be made.
    #[error("cannot lock the database {}: {source}", path.display())]
    Lock {
        /// The file of the database.
        path: PathBuf,
        /// What the system answered.
        source: std::io::Error,
    },
    /// There is no database.
    #[error("there is no database {}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The database was written by a newer program.
    #[error("the database {} has version {found}, this program knows {SCHEMA_VERSION}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
    },
    /// The database cannot be opened.
    #[error("cannot open the database {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// SQLite took back a change that was not committed yet.
    #[error("the database took back a change")]
    RolledBack,
    /// SQLite failed.
    #[error("the database failed: {0}")]
    Sqlite(#[from] rusqlite::Error),
}

impl StoreError {
    /// The same error; of damage it tells which file is damaged.
    pub(crate) fn in_file(self, path: &Path) -> Self {
        match self {
            Self::Sqlite(source) if is_damage(&source) => cannot_open(path, source),
            other => other,
        }
    }

    /// Whether the file itself is damaged, so that trying again is of no use.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { .. } => true,
            Self::Sqlite(error) => is_damage(error),
            _ => false,
        }
    }
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}

/// Says which file it is.
pub(super) fn cannot_open(path: &Path, source: rusqlite::Error) -> StoreError {
    let path = path.to_owned();
    if is_damage(&source) {
        StoreError::Damaged { path, source }
    } else {
        StoreError::Open { path, source }
    }
}

/// The right to be the only gateway on a database, as long as it lives.
///
/// A file of its own, because SQLite's locks on the database would be lost when the process
/// closed any other handle to it.
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    pub(super) fn take(database: &Path) -> Result<Self, StoreError> {
        let mut name = database.as_os_str().to_owned();
        name.push(".lock");
        let path = || database.to_owned();
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(name)
            .map_err(|source| StoreError::Lock {
                path: path(),
                source,
            })?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: path() }),
            Err(TryLockError::Error(source)) => Err(StoreError::Lock {
                path: path(),
                source,
            }),
        }
    }
}

/// Opens a database, or makes it, and brings its tables up to date.
pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    let failed = |source| cannot_open(path, source);
    let database = Connection::open(path).map_err(failed)?;
    database.busy_timeout(BUSY_PATIENCE).map_err(failed)?;
    database
        .execute_batch(
            "PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             PRAGMA journal_size_limit = 67108864;",
        )
        .map_err(failed)?;
    match version(&database).map_err(failed)? {
        0 => database.execute_batch(SCHEMA).map_err(failed)?,
        1 => database.execute_batch(UPGRADE).map_err(failed)?,
        SCHEMA_VERSION => {}
        found => {
            let path = path.to_owned();
            return Err(StoreError::Newer { path, found });
        }
    }
    Ok(database)
}

/// Opens a database that a gateway has made, for a command of the operator.
pub(super) fn open_existing(path: &Path) -> Result<Connection, StoreError> {
    if !path.exists() {
        let path = path.to_owned();
        return Err(StoreError::Missing { path });
    }
    open(path)
}

fn version(database: &Connection) -> Result<i64, rusqlite::Error> {
    database.query_row("PRAGMA user_version", [], |row| row.get(0))
}
