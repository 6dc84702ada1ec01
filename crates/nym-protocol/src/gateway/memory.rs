//! A [`Ledger`] and [`Inbox`] in memory, for simulations and tests.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;

use nym_packet::symmetric::IV_LEN;
use zeroize::Zeroizing;

use super::auth::ClientAddress;
use super::mailbox::{
    DepositError, Inbox, Ledger, MessageId, StoredMessage, USED_IVS_MAX, Written,
};
use super::shared_keys::SharedKeys;

/// Everything that a gateway keeps, gone when it is dropped.
#[derive(Debug)]
pub struct MemoryStore {
    clients: BTreeMap<ClientAddress, Client>,
    messages_per_client_max: usize,
    next_id: u64,
}

#[derive(Debug)]
struct Client {
    keys: Zeroizing<[u8; SharedKeys::LEN]>,
    used_ivs: VecDeque<[u8; IV_LEN]>,
    messages: VecDeque<StoredMessage>,
}

impl MemoryStore {
    /// An empty store whose inboxes hold the given number of messages each.
    #[must_use]
    pub const fn new(messages_per_client_max: usize) -> Self {
        Self {
            clients: BTreeMap::new(),
            messages_per_client_max,
            next_id: 0,
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
        message: &[u8],
    ) -> Result<(), DepositError<Infallible>> {
        let client = self
            .clients
            .get_mut(client)
            .ok_or(DepositError::UnknownClient)?;
        if client.messages.len() >= self.messages_per_client_max {
            return Err(DepositError::Full);
        }
        self.next_id += 1;
        let id = MessageId(self.next_id);
        client.messages.push_back(StoredMessage {
            id,
            message: message.to_vec(),
        });
        Ok(())
    }

    fn commit(&mut self) -> Result<(), Infallible> {
        Ok(())
    }

    fn read(
        &mut self,
        client: &ClientAddress,
        after: Option<MessageId>,
        count_max: usize,
    ) -> Result<Vec<StoredMessage>, Infallible> {
        let waiting = self
            .clients
            .get(client)
            .into_iter()
            .flat_map(|client| &client.messages);
        Ok(waiting
            .filter(|stored| after.is_none_or(|after| stored.id > after))
            .take(count_max)
            .cloned()
            .collect())
    }

    fn remove(
        &mut self,
        client: &ClientAddress,
        written: Vec<(MessageId, Written)>,
    ) -> Result<(), Infallible> {
        if let Some(client) = self.clients.get_mut(client) {
            client
                .messages
                .retain(|stored| !written.iter().any(|(id, _)| *id == stored.id));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::mailbox::{PushFrame, deposit};
    use super::*;

    const CLIENT: ClientAddress = ClientAddress::from_bytes([1; 32]);

    fn store() -> MemoryStore {
        let mut store = MemoryStore::new(2);
        store
            .store_keys(&CLIENT, &SharedKeys::from_bytes(&[2; 32]))
            .unwrap();
        store
    }

    fn texts(store: &mut MemoryStore, after: Option<MessageId>) -> Vec<Vec<u8>> {
        store
            .read(&CLIENT, after, 10)
            .unwrap()
            .into_iter()
            .map(|stored| stored.message)
            .collect()
    }

    #[test]
    fn messages_keep_their_order_until_their_pushes_are_written() {
        let mut store = store();
        let batch: [(_, &[u8]); 3] = [(CLIENT, b"a"), (CLIENT, b"b"), (CLIENT, b"c")];
        let outcomes = deposit(&mut store, batch).unwrap();
        assert!(matches!(
            outcomes[..],
            [Ok(_), Ok(_), Err(DepositError::Full)]
        ));
        let stored = store.read(&CLIENT, None, 1).unwrap().remove(0);
        assert_eq!(texts(&mut store, Some(stored.id)), [b"b"]);
        let written = PushFrame::new(stored.message).written();
        store.remove(&CLIENT, vec![(stored.id, written)]).unwrap();
        assert_eq!(texts(&mut store, None), [b"b"]);
    }

    #[test]
    fn stranger_has_no_inbox() {
        let stranger = ClientAddress::from_bytes([9; 32]);
        assert_eq!(
            store().append(&stranger, b"x"),
            Err(DepositError::UnknownClient)
        );
    }

    #[test]
    fn new_keys_keep_the_messages_and_forget_the_ivs() {
        let mut store = store();
        deposit(&mut store, [(CLIENT, b"a".as_slice())]).unwrap();
        assert_eq!(store.use_iv(&CLIENT, &[1; 16]), Ok(true));
        assert_eq!(store.use_iv(&CLIENT, &[1; 16]), Ok(false));
        store
            .store_keys(&CLIENT, &SharedKeys::from_bytes(&[3; 32]))
            .unwrap();
        assert_eq!(store.use_iv(&CLIENT, &[1; 16]), Ok(true));
        assert_eq!(texts(&mut store, None), [b"a"]);
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
