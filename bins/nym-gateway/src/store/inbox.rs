//! The inboxes: what goes in, what comes out, and what has to make room.

use nym_protocol::gateway::mailbox::{Answered, DepositError, MessageId, Reading, StoredMessage};
use nym_protocol::gateway::{ClientAddress, Inbox};
use rusqlite::params;

use super::{Client, SERVICE_TIME_STEP_SECS, Store, StoreError, WhenFull};

/// Messages whose age is looked at in one commit.
const AGED_AT_ONCE: usize = 1_024;

/// Bytes of messages read at a time; one message is always read.
const READ_BYTES_MAX: usize = 256 << 10;

impl Store {
    /// Drops messages that have waited for too long, oldest first, a bounded number of them.
    pub(crate) fn expire(&mut self) -> Result<(), StoreError> {
        let Some(age_max) = self.quotas.age_max else {
            return Ok(());
        };
        let now = self.service.now_secs();
        let Some(cutoff) = now.checked_sub(age_max.as_secs()) else {
            return Ok(());
        };
        if now < self.service.expire_at_secs {
            return Ok(());
        }
        let expired = {
            // Ids and times grow together, so the first that is young enough ends the search.
            let mut query = self.database.prepare_cached(
                "SELECT messages.id, address, stored_at FROM messages
                 JOIN clients ON clients.id = client ORDER BY messages.id LIMIT ?1",
            )?;
            let mut rows = query.query([AGED_AT_ONCE])?;
            let mut expired = Vec::new();
            while let Some(row) = rows.next()?
                && row.get::<_, u64>(2)? < cutoff
            {
                let address = ClientAddress::from_bytes(row.get(1)?);
                expired.push((MessageId(row.get(0)?), address));
            }
            expired
        };
        if expired.len() < AGED_AT_ONCE {
            self.service.expire_at_secs = now + SERVICE_TIME_STEP_SECS;
        }
        for (id, client) in expired {
            self.change(|store| store.delete(&client, id))?;
            self.losses.expired_count += 1;
        }
        Ok(())
    }

    /// Deletes one message of a client, and counts it out.
    fn delete(&mut self, client: &ClientAddress, id: MessageId) -> Result<(), StoreError> {
        let len = self
            .database
            .prepare_cached("DELETE FROM messages WHERE id = ?1 RETURNING LENGTH(message)")?
            .query_row([id.0], |row| row.get(0))?;
        self.bytes = self.bytes.saturating_sub(len);
        if let Some(client) = self.clients.get_mut(client) {
            client.forget(len);
        }
        Ok(())
    }

    /// Whether a message of `len` bytes for a client fits.
    fn has_room(&self, client: Client, len: u64) -> bool {
        client.message_count < self.quotas.messages_per_client_max
            && client.message_bytes + len <= self.quotas.bytes_per_client_max
            && self.bytes + len <= self.quotas.bytes_max
    }

    /// Makes room for a message of `len` bytes, if the policy allows it. Gives the client's id.
    fn make_room(
        &mut self,
        address: &ClientAddress,
        len: u64,
    ) -> Result<i64, DepositError<StoreError>> {
        loop {
            let client = *self
                .clients
                .get(address)
                .ok_or(DepositError::UnknownClient)?;
            if self.has_room(client, len) {
                return Ok(client.id);
            }
            let is_hopeless = client.message_count == 0 || len > self.quotas.bytes_per_client_max;
            if self.quotas.when_full == WhenFull::Refuse || is_hopeless {
                return Err(DepositError::Full);
            }
            self.change(|store| {
                let oldest = "SELECT MIN(id) FROM messages WHERE client = ?1";
                let oldest = store
                    .database
                    .prepare_cached(oldest)?
                    .query_row([client.id], |row| row.get(0))?;
                store.delete(address, MessageId(oldest))
            })
            .map_err(DepositError::Storage)?;
            self.losses.displaced_count += 1;
        }
    }
}

impl Inbox for Store {
    type Error = StoreError;

    fn append(
        &mut self,
        client: &ClientAddress,
        id: MessageId,
        message: &[u8],
    ) -> Result<(), DepositError<StoreError>> {
        let len = message.len() as u64;
        // First, because the counts may turn out to be stale.
        self.begin().map_err(DepositError::Storage)?;
        let client_id = self.make_room(client, len)?;
        let stored_at = self.service.now_secs();
        self.change(|store| {
            let insert =
                "INSERT INTO messages (id, client, stored_at, message) VALUES (?1, ?2, ?3, ?4)";
            store
                .database
                .prepare_cached(insert)?
                .execute(params![id.0, client_id, stored_at, message])?;
            Ok(())
        })
        .map_err(DepositError::Storage)?;
        if let Some(client) = self.clients.get_mut(client) {
            client.message_count += 1;
            client.message_bytes += len;
        }
        self.bytes += len;
        Ok(())
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.end()
    }

    fn read(
        &mut self,
        client: &ClientAddress,
        part: Reading,
        count_max: usize,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        let Some(client) = self.clients.get(client) else {
            return Ok(Vec::new());
        };
        let mut query = self.database.prepare_cached(
            "SELECT id, message FROM messages WHERE client = ?1 AND id > ?2 AND id < ?3
             ORDER BY id LIMIT ?4",
        )?;
        let part = params![client.id, part.after.0, part.before.0, count_max];
        let mut rows = query.query(part)?;
        let (mut found, mut len) = (Vec::new(), 0);
        while len < READ_BYTES_MAX
            && let Some(row) = rows.next()?
        {
            let message: Vec<u8> = row.get(1)?;
            len += message.len();
            let id = MessageId(row.get(0)?);
            found.push(StoredMessage { id, message });
        }
        Ok(found)
    }

    /// Does not wait for the medium: a removal that is lost costs a second push, no message.
    fn remove(&mut self, client: &ClientAddress, answered: &Answered) -> Result<(), StoreError> {
        self.change(|store| {
            let Some(client) = store.clients.get_mut(client) else {
                return Ok(());
            };
            let mut delete = store.database.prepare_cached(
                "DELETE FROM messages WHERE client = ?1 AND id <= ?2 RETURNING LENGTH(message)",
            )?;
            let mut rows = delete.query(params![client.id, answered.through().0])?;
            while let Some(row) = rows.next()? {
                let len = row.get(0)?;
                client.forget(len);
                store.bytes = store.bytes.saturating_sub(len);
            }
            Ok(())
        })
    }
}
