//! What the gateway keeps: a SQLite database with the keys of its clients and their inboxes.
//!
//! One thread owns the connection ([`StoreThread`]); everybody else sends it commands. It takes
//! all commands that wait, up to a bound, and commits what they change together, because a
//! commit costs a write to the medium however much it holds. An acknowledgement is released by
//! that thread after that commit.
//!
//! ```text
//! clients      (id, address 32 bytes, keys 32 bytes)
//! used_ivs     (id, client, iv 16 bytes)             at most 1,000 for a client
//! messages     (id, client, stored_at, message)      ids grow in the order of arrival
//! service_time (seconds)                             one row
//! ```
//!
//! Write-ahead log, `synchronous = FULL`: what was committed survives the machine losing power.
//!
//! # Other processes
//!
//! `gateway.sqlite.lock` is locked by the one gateway that may use the database. Beside it, the
//! operator's commands may read and even change it: SQLite keeps the transactions of processes
//! apart, and the gateway counts again when it finds that somebody else has committed.
//!
//! # Time
//!
//! The age of a message is measured in *service time*: the seconds for which gateways have run on
//! this database, by a clock that only moves forward. A wall clock that is set to another year
//! makes no message old, nor does a gateway that was switched off, since nobody could fetch it
//! meanwhile.

mod file;
mod inbox;
mod inspect;
mod thread;

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use nym_daemon::clock::Clock;
use nym_packet::symmetric::IV_LEN;
use nym_packet::time::Timestamp;
use nym_protocol::gateway::mailbox::{MessageId, USED_IVS_MAX};
use nym_protocol::gateway::{ClientAddress, Ledger, SharedKeys};
use rusqlite::{Connection, OptionalExtension as _, params};
use zeroize::Zeroizing;

use self::file::Lock;

pub use self::file::StoreError;
pub use self::inspect::{ClientInbox, InboxStats, Inspector};
pub(crate) use self::thread::{OnEvent, StoreClosed, StoreEvent, StoreHandle, StoreThread, Stored};

/// How often the service time is written down, and old messages are looked for, in seconds.
const SERVICE_TIME_STEP_SECS: u64 = 60;

/// What becomes of a message for a client whose inbox is full.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum WhenFull {
    /// It is refused, and so not acknowledged: its sender keeps it.
    #[default]
    Refuse,
    /// The oldest messages of the client make room for it, although they were acknowledged.
    DropOldest,
}

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
    /// Time of service after which a message is dropped that nobody has fetched.
    pub age_max: Option<Duration>,
    /// What becomes of a message that does not fit.
    pub when_full: WhenFull,
}

impl Default for Quotas {
    /// 100,000 clients; 20,000 messages and 32 MiB for each (a client that is offline for a whole
    /// day may be sent a 10 MB message twice); 8 GiB for all; 30 days; refuse.
    fn default() -> Self {
        Self {
            clients_max: 100_000,
            messages_per_client_max: 20_000,
            bytes_per_client_max: 32 << 20,
            bytes_max: 8 << 30,
            age_max: Some(Duration::from_secs(30 * 24 * 3600)),
            when_full: WhenFull::Refuse,
        }
    }
}

/// The database, in the hands of one thread.
pub(crate) struct Store {
    database: Connection,
    quotas: Quotas,
    clients: HashMap<ClientAddress, Client>,
    bytes: u64,
    in_transaction: bool,
    /// What failed since the last commit, or in beginning anew: nothing may be committed.
    spoilt_by: Option<StoreError>,
    /// Moves when another process commits.
    data_version: i64,
    service: ServiceTime,
    losses: Losses,
    /// Clients that another process has removed.
    removed: Vec<ClientAddress>,
    _lock: Lock,
}

/// What is known of a client without asking the database.
#[derive(Clone, Copy)]
struct Client {
    id: i64,
    message_count: u64,
    message_bytes: u64,
}

impl Client {
    fn forget(&mut self, len: u64) {
        self.message_count = self.message_count.saturating_sub(1);
        self.message_bytes = self.message_bytes.saturating_sub(len);
    }
}

/// Seconds of service: those of earlier gateways, and of this one.
struct ServiceTime {
    clock: Clock,
    started: Timestamp,
    earlier_secs: u64,
    /// What the database knows.
    saved_secs: u64,
    /// When old messages are looked for again.
    expire_at_secs: u64,
}

impl ServiceTime {
    fn now_secs(&self) -> u64 {
        let now = self.clock.now();
        self.earlier_secs + now.saturating_duration_since(self.started).as_secs()
    }
}

/// What is stored, in numbers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Figures {
    /// Clients that are registered.
    pub(crate) clients: u64,
    /// Messages in all inboxes.
    pub(crate) messages: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
}

/// Acknowledged messages that the operator's settings had dropped.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Losses {
    /// Because they were too old.
    pub(crate) expired_count: u64,
    /// Because newer ones needed their room.
    pub(crate) displaced_count: u64,
}

impl Store {
    /// Opens the database, or makes it.
    pub(crate) fn open(path: &Path, quotas: Quotas) -> Result<Self, StoreError> {
        let lock = Lock::take(path)?;
        let database = file::open(path)?;
        let clock = Clock::start();
        let mut store = Self {
            database,
            quotas,
            clients: HashMap::new(),
            bytes: 0,
            in_transaction: false,
            spoilt_by: None,
            data_version: 0,
            service: ServiceTime {
                clock,
                started: clock.now(),
                earlier_secs: 0,
                saved_secs: 0,
                expire_at_secs: 0,
            },
            losses: Losses::default(),
            removed: Vec::new(),
            _lock: lock,
        };
        store
            .notice_others()
            .map_err(|source| file::cannot_open(path, source))?;
        let service = &mut store.service;
        service.earlier_secs = store
            .database
            .query_row("SELECT seconds FROM service_time", [], |row| row.get(0))
            .map_err(|source| file::cannot_open(path, source))?;
        service.saved_secs = service.earlier_secs;
        Ok(store)
    }

    /// The number of the newest message that is stored.
    pub(crate) fn last_id(&self) -> Result<MessageId, StoreError> {
        let query = "SELECT COALESCE(MAX(id), 0) FROM messages";
        let last = self.database.query_row(query, [], |row| row.get(0))?;
        Ok(MessageId(last))
    }

    /// From here on these are the quotas.
    pub(crate) const fn set_quotas(&mut self, quotas: Quotas) {
        self.quotas = quotas;
    }

    /// What is stored now, also by others. Takes a look at every client.
    pub(crate) fn figures(&mut self) -> Result<Figures, StoreError> {
        self.notice_others()?;
        Ok(Figures {
            clients: u64::try_from(self.clients.len()).unwrap_or(u64::MAX),
            messages: self
                .clients
                .values()
                .map(|client| client.message_count)
                .sum(),
            bytes: self.bytes,
        })
    }

    /// The clients that another process has removed, as far as was found out since the last call.
    pub(crate) fn take_removed(&mut self) -> Vec<ClientAddress> {
        std::mem::take(&mut self.removed)
    }

    /// The time now, for measuring how long something takes.
    fn now(&self) -> Timestamp {
        self.service.clock.now()
    }

    /// What was lost by the operator's settings since the last call.
    pub(crate) fn take_losses(&mut self) -> Losses {
        std::mem::take(&mut self.losses)
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

    /// Opens a transaction unless one is open. Once anything has failed, everything fails until
    /// [`end`](Self::end) has told why.
    fn begin(&mut self) -> Result<(), StoreError> {
        if self.spoilt_by.is_some() || self.in_transaction && self.database.is_autocommit() {
            return Err(StoreError::RolledBack);
        }
        if self.in_transaction {
            return Ok(());
        }
        let begun = self.database.execute_batch("BEGIN IMMEDIATE");
        self.in_transaction = begun.is_ok();
        let begun = begun.and_then(|()| self.notice_others());
        self.spoil(begun.map_err(Into::into))
    }

    /// Keeps an error for the commit to report.
    fn spoil<T>(&mut self, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        outcome.map_err(|error| {
            self.spoilt_by.get_or_insert(error);
            StoreError::RolledBack
        })
    }

    /// Counts again when another process has committed: the operator's commands, for example.
    fn notice_others(&mut self) -> Result<(), rusqlite::Error> {
        let version = self
            .database
            .prepare_cached("PRAGMA data_version")?
            .query_row([], |row| row.get(0))?;
        if version != self.data_version {
            let known: Vec<_> = self.clients.keys().copied().collect();
            self.recount()?;
            let clients = &self.clients;
            let is_gone = |client: &ClientAddress| !clients.contains_key(client);
            self.removed.extend(known.into_iter().filter(is_gone));
            self.data_version = version;
        }
        Ok(())
    }

    /// Commits the open transaction, if there is one.
    ///
    /// After some failures, a full disk for example, SQLite rolls a transaction back by itself.
    /// Then what it held is lost, although every statement after the failed one succeeds.
    fn end(&mut self) -> Result<(), StoreError> {
        let committed = match self.spoilt_by.take() {
            Some(error) => Err(error),
            None if !self.in_transaction => return Ok(()),
            None if self.database.is_autocommit() => Err(StoreError::RolledBack),
            None => self
                .save_service_time()
                .and_then(|()| Ok(self.database.execute_batch("COMMIT")?)),
        };
        match committed {
            Ok(()) => self.in_transaction = false,
            Err(_) => self.undo(),
        }
        committed
    }

    /// Gives up the open transaction, and with it what the counts have learned from it.
    fn undo(&mut self) {
        self.losses = Losses::default();
        if !std::mem::take(&mut self.in_transaction) {
            return;
        }
        let rolled_back = match self.database.is_autocommit() {
            true => Ok(()),
            false => self.database.execute_batch("ROLLBACK"),
        };
        let undone = rolled_back.and_then(|()| self.recount());
        if let Err(error) = undone {
            tracing::error!(%error, "the database does not take back a failed change");
        }
    }

    /// Runs statements in the open transaction; when they fail, it will not be committed.
    fn change<T>(
        &mut self,
        statements: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.begin()?;
        let changed = statements(self);
        self.spoil(changed)
    }

    fn save_service_time(&mut self) -> Result<(), StoreError> {
        let now = self.service.now_secs();
        if now >= self.service.saved_secs + SERVICE_TIME_STEP_SECS {
            self.database
                .prepare_cached("UPDATE service_time SET seconds = ?1")?
                .execute([now])?;
            self.service.saved_secs = now;
        }
        Ok(())
    }

    /// As [`Ledger::use_iv`], but durable only after the next commit.
    fn record_iv(&mut self, client: &ClientAddress, iv: &[u8; IV_LEN]) -> Result<bool, StoreError> {
        let Some(&Client { id, .. }) = self.clients.get(client) else {
            return Ok(false);
        };
        self.change(|store| {
            let insert = "INSERT OR IGNORE INTO used_ivs (client, iv) VALUES (?1, ?2)";
            let inserted_count = store
                .database
                .prepare_cached(insert)?
                .execute(params![id, iv])?;
            let delete = "DELETE FROM used_ivs WHERE client = ?1 AND id <= (
                              SELECT id FROM used_ivs WHERE client = ?1
                              ORDER BY id DESC LIMIT 1 OFFSET ?2)";
            store
                .database
                .prepare_cached(delete)?
                .execute(params![id, USED_IVS_MAX])?;
            Ok(inserted_count == 1)
        })
    }

    /// As [`Ledger::store_keys`], but durable only after the next commit.
    fn record_keys(&mut self, client: &ClientAddress, keys: &SharedKeys) -> Result<(), StoreError> {
        if !self.clients.contains_key(client) && self.clients.len() >= self.quotas.clients_max {
            return Err(StoreError::LedgerFull);
        }
        self.change(|store| {
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
            store.clients.entry(*client).or_insert(Client {
                id,
                message_count: 0,
                message_bytes: 0,
            });
            Ok(())
        })
    }
}

impl Ledger for Store {
    type Error = StoreError;

    fn shared_keys(&mut self, client: &ClientAddress) -> Result<Option<SharedKeys>, StoreError> {
        let mut query = self
            .database
            .prepare_cached("SELECT keys FROM clients WHERE address = ?1")?;
        let keys: Option<[u8; SharedKeys::LEN]> = query
            .query_row([client.as_bytes()], |row| row.get(0))
            .optional()?;
        Ok(keys
            .map(Zeroizing::new)
            .map(|keys| SharedKeys::from_bytes(&keys)))
    }

    fn store_keys(&mut self, client: &ClientAddress, keys: &SharedKeys) -> Result<(), StoreError> {
        let recorded = self.record_keys(client, keys);
        self.end()?;
        recorded
    }

    fn use_iv(&mut self, client: &ClientAddress, iv: &[u8; IV_LEN]) -> Result<bool, StoreError> {
        let is_new = self.record_iv(client, iv);
        self.end()?;
        is_new
    }
}

#[cfg(test)]
mod tests;
