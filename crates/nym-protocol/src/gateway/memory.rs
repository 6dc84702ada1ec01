//! A [`Ledger`] and [`Inbox`] in memory, for simulations and tests.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;

use nym_packet::symmetric::IV_LEN;
use zeroize::Zeroizing;

use super::auth::ClientAddress;
use super::mailbox::{
    Answered, DepositError, Inbox, Ledger, MessageId, Reading, StoredMessage, USED_IVS_MAX,
};
use super::shared_keys::SharedKeys;

/// Everything that a gateway keeps, gone when it is dropped.
#[derive(Debug)]
pub struct MemoryStore {
    clients: BTreeMap<ClientAddress, Client>,
    messages_per_client_max: usize,
}

#[derive(Debug)]
struct Client {
    keys: Zeroizing<[u8; SharedKeys::LEN]>,
    used_ivs: VecDeque<[u8; IV_LEN]>,
    messages: BTreeMap<MessageId, Vec<u8>>,
}

impl MemoryStore {
    /// An empty store whose inboxes hold the given number of messages each.
    #[must_use]
    pub const fn new(messages_per_client_max: usize) -> Self {
        Self {
            clients: BTreeMap::new(),
            messages_per_client_max,
        }
    }
}

impl Ledger for MemoryStore {
    type Error = Infallible;

    fn shared_keys(&mut self, client: &ClientAddress) -> Result<Option<SharedKeys>, Infallible> {
        Ok(self
            .clients
            .get(client)
            .map(|client| SharedKeys::from_bytes(&client.keys)))
    }

    fn store_keys(&mut self, client: &ClientAddress, keys: &SharedKeys) -> Result<(), Infallible> {
        let messages = self
            .clients
            .remove(client)
            .map(|client| client.messages)
            .unwrap_or_default();
        let keys = keys.to_bytes();
        self.clients.insert(
            *client,
            Client {
                keys,
                used_ivs: VecDeque::new(),
                messages,
            },
        );
        Ok(())
    }

    fn use_iv(&mut self, client: &ClientAddress, iv: &[u8; IV_LEN]) -> Result<bool, Infallible> {
        let Some(client) = self.clients.get_mut(client) else {
            return Ok(false);
        };
        if client.used_ivs.contains(iv) {
            return Ok(false);
        }
        if client.used_ivs.len() >= USED_IVS_MAX {
            client.used_ivs.pop_front();
        }
        client.used_ivs.push_back(*iv);
        Ok(true)
    }
}

impl Inbox for MemoryStore {
    type Error = Infallible;

    fn append(
        &mut self,
        client: &ClientAddress,
        id: MessageId,
        message: &[u8],
    ) -> Result<(), DepositError<Infallible>> {
        let client = self
            .clients
            .get_mut(client)
            .ok_or(DepositError::UnknownClient)?;
        if client.messages.len() >= self.messages_per_client_max {
            return Err(DepositError::Full);
        }
        client.messages.insert(id, message.to_vec());
        Ok(())
    }

    fn commit(&mut self) -> Result<(), Infallible> {
        Ok(())
    }

    fn read(
        &mut self,
        client: &ClientAddress,
        part: Reading,
        count_max: usize,
    ) -> Result<Vec<StoredMessage>, Infallible> {
        let waiting = self
            .clients
            .get(client)
            .into_iter()
            .flat_map(|client| client.messages.range(part.after.next()..part.before));
        Ok(waiting
            .take(count_max)
            .map(|(id, message)| StoredMessage {
                id: *id,
                message: message.clone(),
            })
            .collect())
    }

    fn remove(&mut self, client: &ClientAddress, answered: &Answered) -> Result<(), Infallible> {
        if let Some(client) = self.clients.get_mut(client) {
            client.messages.retain(|id, _| *id > answered.through());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::mailbox::{Batch, Deposits, Mailbox, MailboxLimits, Work};
    use super::*;
    use crate::gateway::ConnectionId;

    const CLIENT: ClientAddress = ClientAddress::from_bytes([1; 32]);

    fn store() -> MemoryStore {
        let mut store = MemoryStore::new(2);
        store
            .store_keys(&CLIENT, &SharedKeys::from_bytes(&[2; 32]))
            .unwrap();
        store
    }

    fn put(store: &mut MemoryStore, messages: &[(u64, &[u8])]) -> Deposits<Infallible> {
        let mut batch = Batch::open(store);
        for (id, message) in messages {
            batch.append(&CLIENT, MessageId(*id), message);
        }
        batch.commit().unwrap()
    }

    /// The client's answer to a push of everything that is stored.
    fn answer(store: &mut MemoryStore, count_max: usize) -> Answered {
        let (connection, limits) = (ConnectionId(1), MailboxLimits::default());
        let mut mailbox = Mailbox::default();
        mailbox.handle_login(connection);
        let Work::Read(reading) = mailbox.poll_work(connection, &limits) else {
            panic!("a login reads the inbox");
        };
        let read = store.read(&CLIENT, reading, count_max).unwrap();
        let last = read.last().map(|stored| stored.id);
        let ping = mailbox.handle_read(connection, reading, last).unwrap();
        mailbox.handle_pong(connection, ping).unwrap().proof
    }

    fn texts(store: &mut MemoryStore, after: u64) -> Vec<Vec<u8>> {
        let part = Reading {
            after: MessageId(after),
            before: MessageId::MAX,
        };
        store
            .read(&CLIENT, part, 10)
            .unwrap()
            .into_iter()
            .map(|stored| stored.message)
            .collect()
    }

    #[test]
    fn messages_keep_their_order_until_the_client_has_them() {
        let mut store = store();
        let outcomes = put(&mut store, &[(2, b"b"), (1, b"a"), (3, b"c")]);
        assert!(matches!(
            outcomes[..],
            [Ok(_), Ok(_), Err(DepositError::Full)]
        ));
        assert_eq!(texts(&mut store, 1), [b"b"]);
        let answered = answer(&mut store, 1);
        store.remove(&CLIENT, &answered).unwrap();
        assert_eq!(texts(&mut store, 0), [b"b"]);
    }

    #[test]
    fn stranger_has_no_inbox() {
        let stranger = ClientAddress::from_bytes([9; 32]);
        assert_eq!(
            store().append(&stranger, MessageId(1), b"x"),
            Err(DepositError::UnknownClient)
        );
    }

    #[test]
    fn new_keys_keep_the_messages_and_forget_the_ivs() {
        let mut store = store();
        put(&mut store, &[(1, b"a")]);
        assert_eq!(store.use_iv(&CLIENT, &[1; 16]), Ok(true));
        assert_eq!(store.use_iv(&CLIENT, &[1; 16]), Ok(false));
        store
            .store_keys(&CLIENT, &SharedKeys::from_bytes(&[3; 32]))
            .unwrap();
        assert_eq!(store.use_iv(&CLIENT, &[1; 16]), Ok(true));
        assert_eq!(texts(&mut store, 0), [b"a"]);
    }

    #[test]
    fn oldest_iv_is_forgotten_beyond_the_bound() {
        let mut store = store();
        let iv = |number: usize| (number as u128).to_be_bytes();
        for number in 0..USED_IVS_MAX {
            assert_eq!(store.use_iv(&CLIENT, &iv(number)), Ok(true));
        }
        assert_eq!(store.use_iv(&CLIENT, &iv(0)), Ok(false));
        assert_eq!(store.use_iv(&CLIENT, &iv(USED_IVS_MAX)), Ok(true));
        assert_eq!(store.use_iv(&CLIENT, &iv(0)), Ok(true));
    }
}
