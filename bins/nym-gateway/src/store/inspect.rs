//! What the operator's commands see of the database, beside a running gateway or without one.

use std::path::Path;

use nym_protocol::gateway::ClientAddress;
use rusqlite::{Connection, TransactionBehavior};
use serde::Serialize;

use super::StoreError;
use super::file;

/// A client and what waits for it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct ClientInbox {
    /// The client's identity key in base58.
    pub address: String,
    /// Messages that wait for it.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Seconds of the gateway's service for which the oldest has waited; by the minute.
    pub oldest_secs: Option<u64>,
}

/// All inboxes in numbers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct InboxStats {
    /// Registered clients.
    pub clients: u64,
    /// Clients for which something waits.
    pub clients_with_messages: u64,
    /// Messages that wait.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Seconds of the gateway's service for which the oldest has waited; by the minute.
    pub oldest_secs: Option<u64>,
}

/// A second door to the database of a gateway.
#[derive(Debug)]
pub struct Inspector(Connection);

impl Inspector {
    /// Opens the database of a gateway, which may be running.
    ///
    /// # Errors
    ///
    /// [`StoreError::Missing`] when there is none yet; others when it cannot be read.
    pub fn open(database: &Path) -> Result<Self, StoreError> {
        file::open_existing(database).map(Self)
    }

    /// All clients, in the order of their registration.
    ///
    /// # Errors
    ///
    /// [`StoreError::Sqlite`].
    pub fn clients(&self) -> Result<Vec<ClientInbox>, StoreError> {
        let mut query = self.0.prepare(
            "SELECT address, COUNT(messages.id), COALESCE(SUM(LENGTH(message)), 0),
                    MAX(0, seconds - MIN(stored_at))
             FROM service_time, clients LEFT JOIN messages ON client = clients.id
             GROUP BY clients.id ORDER BY clients.id",
        )?;
        let rows = query.query_map([], |row| {
            Ok(ClientInbox {
                address: bs58::encode(row.get::<_, [u8; 32]>(0)?).into_string(),
                messages: row.get(1)?,
                bytes: row.get(2)?,
                oldest_secs: row.get(3)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// All inboxes in numbers.
    ///
    /// # Errors
    ///
    /// [`StoreError::Sqlite`].
    pub fn stats(&self) -> Result<InboxStats, StoreError> {
        let mut stats = InboxStats::default();
        for client in self.clients()? {
            stats.clients += 1;
            stats.clients_with_messages += u64::from(client.messages > 0);
            stats.messages += client.messages;
            stats.bytes += client.bytes;
            stats.oldest_secs = stats.oldest_secs.max(client.oldest_secs);
        }
        Ok(stats)
    }

    /// Removes a client and all that waits for it. Tells how many messages waited, if there was
    /// such a client. A gateway that is running takes note with its next change.
    ///
    /// # Errors
    ///
    /// [`StoreError::Sqlite`]; then nothing is removed.
    pub fn remove(&mut self, client: &ClientAddress) -> Result<Option<usize>, StoreError> {
        let change = self
            .0
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let of_client = "client = (SELECT id FROM clients WHERE address = ?1)";
        let address = [client.as_bytes()];
        let message_count =
            change.execute(&format!("DELETE FROM messages WHERE {of_client}"), address)?;
        change.execute(&format!("DELETE FROM used_ivs WHERE {of_client}"), address)?;
        let removed = change.execute("DELETE FROM clients WHERE address = ?1", address)?;
        change.commit()?;
        Ok((removed > 0).then_some(message_count))
    }
}
