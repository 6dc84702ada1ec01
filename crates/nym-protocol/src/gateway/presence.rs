//! Who is online, and who may come online.

use std::collections::BTreeMap;

use super::auth::ClientAddress;
use super::gateway_session::{Admission, Login};
use super::mailbox::Ledger;

/// A number that tells the connections of one gateway apart; never given twice.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ConnectionId(pub u64);

/// Which connection each client that is online has.
#[derive(Debug, Default)]
pub struct Presence {
    online: BTreeMap<ClientAddress, ConnectionId>,
}

impl Presence {
    /// Nobody is online.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            online: BTreeMap::new(),
        }
    }

    /// Makes a client online unless it is already. Tells whether it did.
    pub fn claim(&mut self, client: ClientAddress, connection: ConnectionId) -> bool {
        let holder = *self.online.entry(client).or_insert(connection);
        holder == connection
    }

    /// Makes a client online and returns the older connection that it replaces.
    pub fn take_over(
        &mut self,
        client: ClientAddress,
        connection: ConnectionId,
    ) -> Option<ConnectionId> {
        self.online
            .insert(client, connection)
            .filter(|older| *older != connection)
    }

    /// Makes a client offline, unless a newer connection has replaced the given one. Call it on
    /// every way out of a connection.
    pub fn release(&mut self, client: &ClientAddress, connection: ConnectionId) {
        if self.online.get(client) == Some(&connection) {
            self.online.remove(client);
        }
    }

    /// The connection of a client that is online.
    #[must_use]
    pub fn connection(&self, client: &ClientAddress) -> Option<ConnectionId> {
        self.online.get(client).copied()
    }

    /// How many clients are online.
    #[must_use]
    pub fn count(&self) -> usize {
        self.online.len()
    }

    /// Decides a login in one step, where nothing else can happen meanwhile.
    ///
    /// A registration is refused while the client is online. A valid authentication replaces the
    /// older connection, which the caller must close: a client behind a half-open connection
    /// would otherwise be locked out for hours.
    pub fn admit<L: Ledger>(
        &mut self,
        ledger: &mut L,
        connection: ConnectionId,
        login: &Login,
    ) -> (Admission, Option<ConnectionId>) {
        match login {
            Login::Authentication { client, iv } => match ledger.use_iv(client, iv) {
                Ok(true) => (Admission::Online, self.take_over(*client, connection)),
                Ok(false) => (Admission::IvUsed, None),
                Err(_) => (Admission::Failed, None),
            },
            Login::Registration { client, keys } => {
                if !self.claim(*client, connection) {
                    return (Admission::Duplicate, None);
                }
                if ledger.store_keys(client, keys).is_err() {
                    self.release(client, connection);
                    return (Admission::Failed, None);
                }
                (Admission::Online, None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: ClientAddress = ClientAddress::from_bytes([1; 32]);

    #[test]
    fn replaced_connection_cannot_take_its_successor_offline() {
        let mut presence = Presence::new();
        assert!(presence.claim(CLIENT, ConnectionId(1)));
        assert!(!presence.claim(CLIENT, ConnectionId(2)));
        assert_eq!(
            presence.take_over(CLIENT, ConnectionId(2)),
            Some(ConnectionId(1))
        );
        presence.release(&CLIENT, ConnectionId(1));
        assert_eq!(presence.connection(&CLIENT), Some(ConnectionId(2)));
        presence.release(&CLIENT, ConnectionId(2));
        assert_eq!(presence.count(), 0);
    }
}
