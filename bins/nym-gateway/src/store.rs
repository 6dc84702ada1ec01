//! What the gateway keeps: a SQLite database with the keys of its clients and their inboxes.
//!
//! One thread owns the connection ([`StoreThread`]); everybody else sends it commands. It takes
//! all commands that wait, up to a bound, and commits the messages among them together, because a
//! commit costs a write to the medium however many messages it holds. An acknowledgement is
//! released by that thread after that commit.
//!
//! ```text
//! clients  (id, address 32 bytes, keys 32 bytes)
//! used_ivs (id, client, iv 16 bytes)           at most 1,000 for a client
//! messages (id, client, message)               ids grow in the order of arrival
//! ```
//!
//! Write-ahead log, `synchronous = FULL`: what was committed survives the machine losing power.

mod thread;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nym_packet::symmetric::IV_LEN;
use nym_protocol::gateway::mailbox::{
    DepositError, MessageId, StoredMessage, USED_IVS_MAX, Written,
};
use nym_protocol::gateway::{ClientAddress, Inbox, Ledger, SharedKeys};
use rusqlite::{Connection, OptionalExtension as _, params};
use zeroize::Zeroizing;

pub(crate) use self::thread::{OnStored, StoreClosed, StoreHandle, StoreThread, Stored};

/// Version of the tables, kept in the database.
const SCHEMA_VERSION: i64 = 1;

const SCHEMA: &str = "
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
        id      INTEGER PRIMARY KEY AUTOINCREMENT,
        client  INTEGER NOT NULL,
        message BLOB NOT NULL
    ) STRICT;
    CREATE INDEX messages_of_client ON messages (client, id);
    PRAGMA user_version = 1;
";

/// How much a gateway keeps. What does not fit is refused, and so never acknowledged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Quotas {
    /// Registered clients. Each takes about 200 bytes on disk and 100 in memory.
    pub clients_max: usize,
    /// Messages that wait for one client.
    pub messages_per_client_max: u64,
    /// Bytes of the messages that wait for one client.
    pub bytes_per_client_max: u64,
    /// Bytes of the messages that wait for all clients.
    pub bytes_max: u64,
}

impl Default for Quotas {
    /// 100,000 clients; 20,000 messages and 32 MiB for each (a client that is offline for a whole
    /// day may be sent a 10 MB message twice); 8 GiB for all.
    fn default() -> Self {
        Self {
            clients_max: 100_000,
            messages_per_client_max: 20_000,
            bytes_per_client_max: 32 << 20,
            bytes_max: 8 << 30,
        }
    }
}

/// Why the database could not be opened, or did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There are as many clients as the quota allows.
    #[error("the ledger is full")]
    LedgerFull,
    /// The database cannot be opened.
    #[error("cannot open the database {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// The database was written by a newer program.
    #[error("the database {} has version {found}, this program knows {SCHEMA_VERSION}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
    },
    /// SQLite took back a change that was not committed yet.
    #[error("the database took back a change")]
    RolledBack,
    /// SQLite failed.
    #[error("the database failed: {0}")]
    Sqlite(#[from] rusqlite::Error),
}

/// The database, in the hands of one thread.
pub(crate) struct Store {
    database: Connection,
    quotas: Quotas,
    clients: HashMap<ClientAddress, Client>,
    bytes: u64,
    in_transaction: bool,
}

/// What is known of a client without asking the database.
#[derive(Clone, Copy)]
struct Client {
    id: i64,
    message_count: u64,
    message_bytes: u64,
}

impl Store {
    /// Opens the database, or makes it.
    pub(crate) fn open(path: &Path, quotas: Quotas) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Open {
            path: path.to_owned(),
            source,
        };
        let database = Connection::open(path).map_err(failed)?;
        // Nobody else uses the database, so there is nothing to wait for.
        database.busy_timeout(Duration::ZERO).map_err(failed)?;
        // Exclusive: two gateways on one database would hand out each message twice.
        database
            .execute_batch(
                "PRAGMA locking_mode = EXCLUSIVE;
                 PRAGMA journal_mode = WAL;
                 PRAGMA synchronous = FULL;",
            )
            .map_err(failed)?;
        let found: i64 = database
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .map_err(failed)?;
        match found {
            0 => database.execute_batch(SCHEMA).map_err(failed)?,
            SCHEMA_VERSION => {}
            _ => {
                return Err(StoreError::Newer {
                    path: path.to_owned(),
                    found,
                });
            }
        }
        let mut store = Self {
            database,
            quotas,
            clients: HashMap::new(),
            bytes: 0,
            in_transaction: false,
        };
        store.recount().map_err(failed)?;
        Ok(store)
    }

    /// Counts what is in the inboxes.
    fn recount(&mut self) -> Result<(), rusqlite::Error> {
        let mut query = self.database.prepare(
            "SELECT address, clients.id, COUNT(messages.id), COALESCE(SUM(LENGTH(message)), 0)
             FROM clients LEFT JOIN messages ON client = clients.id GROUP BY clients.id",
        )?;
        let mut rows = query.query([])?;
        let mut clients = HashMap::new();
        let mut bytes = 0;
        while let Some(row) = rows.next()? {
            let client = Client {
                id: row.get(1)?,
                message_count: row.get(2)?,
                message_bytes: row.get(3)?,
            };
            bytes += client.message_bytes;
            clients.insert(ClientAddress::from_bytes(row.get(0)?), client);
        }
        (self.clients, self.bytes) = (clients, bytes);
        Ok(())
    }

    /// Opens a transaction unless one is open.
    fn begin(&mut self) -> Result<(), StoreError> {
        if !self.in_transaction {
            self.database.execute_batch("BEGIN IMMEDIATE")?;
            self.in_transaction = true;
        } else if self.database.is_autocommit() {
            return Err(StoreError::RolledBack);
        }
        Ok(())
    }

    /// Commits the open transaction, if there is one.
    ///
    /// After some failures, a full disk for example, SQLite rolls a transaction back by itself.
    /// Then what it held is lost, although every statement after the failed one succeeds.
    fn end(&mut self) -> Result<(), StoreError> {
        if !self.in_transaction {
            return Ok(());
        }
        let committed = if self.database.is_autocommit() {
            Err(StoreError::RolledBack)
        } else {
            self.database.execute_batch("COMMIT").map_err(Into::into)
        };
        match committed {
            Ok(()) => self.in_transaction = false,
            Err(_) => self.undo(),
        }
        committed
    }

    /// As [`Ledger::use_iv`], but durable only after the next commit.
    fn record_iv(&mut self, client: &ClientAddress, iv: &[u8; IV_LEN]) -> Result<bool, StoreError> {
        let Some(&Client { id, .. }) = self.clients.get(client) else {
            return Ok(false);
        };
        self.begin()?;
        let insert = "INSERT OR IGNORE INTO used_ivs (client, iv) VALUES (?1, ?2)";
        let inserted_count = self
            .database
            .prepare_cached(insert)?
            .execute(params![id, iv])?;
        let delete = "DELETE FROM used_ivs WHERE client = ?1 AND id <= (
                          SELECT id FROM used_ivs WHERE client = ?1
                          ORDER BY id DESC LIMIT 1 OFFSET ?2)";
        self.database
            .prepare_cached(delete)?
            .execute(params![id, USED_IVS_MAX])?;
        Ok(inserted_count == 1)
    }

    /// Gives up the open transaction, and with it what the counts have learned from it.
    fn undo(&mut self) {
        self.in_transaction = false;
        let rolled_back = match self.database.is_autocommit() {
            true => Ok(()),
            false => self.database.execute_batch("ROLLBACK"),
        };
        let undone = rolled_back.and_then(|()| self.recount());
        if let Err(error) = undone {
            tracing::error!(%error, "the database does not take back a failed change");
        }
    }

    /// Runs statements as a change of its own, durable when it returns.
    fn change<T>(
        &mut self,
        statements: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.end()?;
        self.begin()?;
        match statements(self) {
            Ok(value) => {
                self.end()?;
                Ok(value)
            }
            Err(error) => {
                self.undo();
                Err(error)
            }
        }
    }
}

impl Ledger for Store {
    type Error = StoreError;

    fn shared_keys(&mut self, client: &ClientAddress) -> Result<Option<SharedKeys>, StoreError> {
        let Some(client) = self.clients.get(client) else {
            return Ok(None);
        };
        let mut query = self
            .database
            .prepare_cached("SELECT keys FROM clients WHERE id = ?1")?;
        let keys: Option<[u8; SharedKeys::LEN]> =
            query.query_row([client.id], |row| row.get(0)).optional()?;
        Ok(keys
            .map(Zeroizing::new)
            .map(|keys| SharedKeys::from_bytes(&keys)))
    }

    fn store_keys(&mut self, client: &ClientAddress, keys: &SharedKeys) -> Result<(), StoreError> {
        if !self.clients.contains_key(client) && self.clients.len() >= self.quotas.clients_max {
            return Err(StoreError::LedgerFull);
        }
        let id = self.change(|store| {
            let id: i64 = store
                .database
                .prepare_cached(
                    "INSERT INTO clients (address, keys) VALUES (?1, ?2)
                     ON CONFLICT (address) DO UPDATE SET keys = excluded.keys RETURNING id",
                )?
                .query_row(params![client.as_bytes(), *keys.to_bytes()], |row| {
                    row.get(0)
                })?;
            store
                .database
                .prepare_cached("DELETE FROM used_ivs WHERE client = ?1")?
                .execute([id])?;
            Ok(id)
        })?;
        let new = Client {
            id,
            message_count: 0,
            message_bytes: 0,
        };
        self.clients.entry(*client).or_insert(new);
        Ok(())
    }

    fn use_iv(&mut self, client: &ClientAddress, iv: &[u8; IV_LEN]) -> Result<bool, StoreError> {
        let is_new = self.record_iv(client, iv)?;
        self.end()?;
        Ok(is_new)
    }
}

impl Inbox for Store {
    type Error = StoreError;

    fn append(
        &mut self,
        client: &ClientAddress,
        message: &[u8],
    ) -> Result<(), DepositError<StoreError>> {
        let quotas = self.quotas;
        let len = message.len() as u64;
        let known = self
            .clients
            .get(client)
            .ok_or(DepositError::UnknownClient)?;
        if known.message_count >= quotas.messages_per_client_max
            || known.message_bytes + len > quotas.bytes_per_client_max
            || self.bytes + len > quotas.bytes_max
        {
            return Err(DepositError::Full);
        }
        self.begin().map_err(DepositError::Storage)?;
        let Some(client) = self.clients.get_mut(client) else {
            return Err(DepositError::UnknownClient);
        };
        self.database
            .prepare_cached("INSERT INTO messages (client, message) VALUES (?1, ?2)")
            .and_then(|mut insert| insert.execute(params![client.id, message]))
            .map_err(|error| DepositError::Storage(error.into()))?;
        client.message_count += 1;
        client.message_bytes += len;
        self.bytes += len;
        Ok(())
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.end()
    }

    fn read(
        &mut self,
        client: &ClientAddress,
        after: Option<MessageId>,
        count_max: usize,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        let Some(client) = self.clients.get(client) else {
            return Ok(Vec::new());
        };
        let mut query = self.database.prepare_cached(
            "SELECT id, message FROM messages WHERE client = ?1 AND id > ?2 ORDER BY id LIMIT ?3",
        )?;
        let after = after.map_or(0, |after| after.0);
        let rows = query.query_map(params![client.id, after, count_max], |row| {
            Ok(StoredMessage {
                id: MessageId(row.get(0)?),
                message: row.get(1)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Does not wait for the medium: a removal that is lost costs a second push, no message.
    fn remove(
        &mut self,
        client: &ClientAddress,
        written: Vec<(MessageId, Written)>,
    ) -> Result<(), StoreError> {
        self.begin()?;
        let Some(client) = self.clients.get_mut(client) else {
            return Ok(());
        };
        let mut delete = self.database.prepare_cached(
            "DELETE FROM messages WHERE id = ?1 AND client = ?2 RETURNING LENGTH(message)",
        )?;
        for (id, _) in written {
            let len: Option<u64> = delete
                .query_row(params![id.0, client.id], |row| row.get(0))
                .optional()?;
            if let Some(len) = len {
                client.message_count = client.message_count.saturating_sub(1);
                client.message_bytes = client.message_bytes.saturating_sub(len);
                self.bytes = self.bytes.saturating_sub(len);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
