//! Who is online, and which way a message for a client goes.
//!
//! Every message that arrives gets its number here, under the lock that orders all arrivals. What
//! then happens to it, the client's [`Mailbox`] decides: it is held for the connection, or it
//! goes to the inbox. See the diagrams there.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nym_packet::time::Timestamp;
use nym_protocol::gateway::mailbox::{
    Deposit, HELD_OVERHEAD, HeldAck, Mailbox, MailboxLimits, MessageId, Reading, Taken, Work,
};
use nym_protocol::gateway::{ClientAddress, ConnectionId};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// A message for a client and what its sender waits for.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) message: Vec<u8>,
    pub(crate) ack: HeldAck,
}

/// What the roster needs of a connection.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) connection: ConnectionId,
    /// Notified when the mailbox may have work for the connection.
    pub(crate) wake: Arc<Notify>,
    /// Cancelled when the operator has removed the client.
    pub(crate) removed: CancellationToken,
    /// Cancelled when a newer connection takes the client over.
    pub(crate) replaced: CancellationToken,
}

/// All clients that are online or that a message is being stored for.
#[derive(Debug)]
pub(crate) struct Roster {
    limits: MailboxLimits,
    /// Bytes of memory that the messages held for all clients take at most; more are stored.
    held_memory_max: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    clients: HashMap<ClientAddress, Entry>,
    /// Of all mailboxes together.
    held_memory: usize,
    /// The number of the newest message.
    last_id: MessageId,
}

#[derive(Debug, Default)]
struct Entry {
    mailbox: Mailbox,
    line: Option<Line>,
}

impl Entry {
    fn wake(&self) {
        if let Some(line) = &self.line {
            line.wake.notify_one();
        }
    }
}

impl State {
    /// Does something to a client's entry, and forgets it if it may be forgotten.
    fn change<T>(&mut self, client: ClientAddress, act: impl FnOnce(&mut Entry) -> T) -> T {
        let entry = self.clients.entry(client).or_default();
        let before = entry.mailbox.held_memory();
        let done = act(entry);
        let after = entry.mailbox.held_memory();
        self.held_memory = self.held_memory - before + after;
        if entry.line.is_none() && entry.mailbox.is_idle() {
            self.clients.remove(&client);
        }
        done
    }
}

impl Roster {
    /// Nobody is online; `last_id` is the greatest number in the store.
    pub(crate) fn new(limits: MailboxLimits, held_memory_max: usize, last_id: MessageId) -> Self {
        Self {
            limits,
            held_memory_max: AtomicUsize::new(held_memory_max),
            state: Mutex::new(State {
                clients: HashMap::new(),
                held_memory: 0,
                last_id,
            }),
        }
    }

    /// From here on this is the bound of the memory for all that is held. What is held stays.
    pub(crate) fn set_held_memory_max(&self, to: usize) {
        self.held_memory_max.store(to, Ordering::Relaxed);
    }

    /// Bytes of memory that the messages held for all clients take.
    pub(crate) fn held_memory(&self) -> usize {
        self.lock().held_memory
    }

    /// A message arrived. It is held for the client's connection, or given back to be stored;
    /// then [`stored`](Self::stored) must be called once, whatever becomes of it.
    pub(crate) fn arrive(
        &self,
        now: Timestamp,
        client: ClientAddress,
        arrival: Arrival,
    ) -> Option<Deposit> {
        let mut state = self.lock();
        state.last_id = state.last_id.next();
        let Arrival { message, ack } = arrival;
        let id = state.last_id;
        let mut limits = self.limits;
        let held_memory = state.held_memory + message.len() + HELD_OVERHEAD;
        if held_memory > self.held_memory_max.load(Ordering::Relaxed) {
            // Too many clients do not answer: the disk has more room than the memory.
            limits.held_count_max = 0;
        }
        let arrived = Deposit { id, message, ack };
        state.change(client, |entry| {
            let given = entry.mailbox.handle_arrival(now, &limits, arrived);
            if given.is_none() {
                entry.wake();
            }
            given
        })
    }

    /// A message that was given out to be stored is in the inbox, or lost.
    pub(crate) fn stored(&self, client: ClientAddress, id: MessageId) {
        self.lock().change(client, |entry| {
            entry.mailbox.handle_stored(id);
            entry.wake();
        });
    }

    /// Makes a client online unless it is already. Tells whether it did.
    pub(crate) fn claim(&self, client: ClientAddress, line: Line) -> bool {
        self.lock().change(client, |entry| {
            if entry.line.is_some() {
                return false;
            }
            // An offline client's mailbox holds nothing.
            let given = entry.mailbox.handle_login(line.connection);
            debug_assert!(given.is_empty(), "held without a connection");
            entry.line = Some(line);
            true
        })
    }

    /// Makes a client online; an older connection is told to end. Gives what has to be stored,
    /// as [`arrive`](Self::arrive) does.
    pub(crate) fn take_over(&self, client: ClientAddress, line: Line) -> Vec<Deposit> {
        self.lock().change(client, |entry| {
            let given = entry.mailbox.handle_login(line.connection);
            if let Some(older) = entry.line.replace(line) {
                older.replaced.cancel();
            }
            given
        })
    }

    /// The operator has removed a client: its connection is told to end.
    pub(crate) fn dismiss(&self, client: ClientAddress) {
        self.lock().change(client, |entry| {
            if let Some(line) = &entry.line {
                line.removed.cancel();
            }
        });
    }

    /// Makes a client offline unless another connection has taken it over. Gives what has to be
    /// stored, as [`arrive`](Self::arrive) does.
    pub(crate) fn release(&self, client: ClientAddress, connection: ConnectionId) -> Vec<Deposit> {
        self.lock().change(client, |entry| {
            let given = entry.mailbox.handle_break(connection);
            entry.line.take_if(|line| line.connection == connection);
            given
        })
    }

    /// What a connection has to do; see [`Mailbox::poll_work`].
    pub(crate) fn poll_work(&self, client: ClientAddress, connection: ConnectionId) -> Work {
        self.lock().change(client, |entry| {
            entry.mailbox.poll_work(connection, &self.limits)
        })
    }

    /// See [`Mailbox::handle_read`].
    pub(crate) fn read(
        &self,
        client: ClientAddress,
        connection: ConnectionId,
        part: Reading,
        last: Option<MessageId>,
    ) -> Option<u64> {
        self.lock().change(client, |entry| {
            entry.mailbox.handle_read(connection, part, last)
        })
    }

    /// See [`Mailbox::handle_pong`].
    pub(crate) fn pong(
        &self,
        client: ClientAddress,
        connection: ConnectionId,
        ping: u64,
    ) -> Option<Taken> {
        self.lock()
            .change(client, |entry| entry.mailbox.handle_pong(connection, ping))
    }

    /// Gives what was held for too long, to be stored as [`arrive`](Self::arrive) does, and when
    /// to ask again.
    pub(crate) fn overdue(
        &self,
        now: Timestamp,
        client: ClientAddress,
    ) -> (Vec<Deposit>, Option<Timestamp>) {
        self.lock().change(client, |entry| {
            let given = entry.mailbox.handle_timeout(now, &self.limits);
            (given, entry.mailbox.poll_timeout(&self.limits))
        })
    }

    /// How long a message is held.
    pub(crate) const fn patience(&self) -> std::time::Duration {
        self.limits.patience
    }

    /// Clients that are online.
    pub(crate) fn online_count(&self) -> usize {
        self.lock()
            .clients
            .values()
            .filter(|entry| entry.line.is_some())
            .count()
    }

    /// Held for a few lines without waiting; what it guards is never half changed.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: ClientAddress = ClientAddress::from_bytes([1; 32]);

    fn roster() -> Roster {
        Roster::new(MailboxLimits::default(), usize::MAX, MessageId(41))
    }

    fn line(connection: u64) -> Line {
        Line {
            connection: ConnectionId(connection),
            wake: Arc::default(),
            removed: CancellationToken::new(),
            replaced: CancellationToken::new(),
        }
    }

    fn arrive(roster: &Roster) -> Option<Deposit> {
        let arrival = Arrival {
            message: vec![1],
            ack: HeldAck::new(None),
        };
        roster.arrive(Timestamp::ZERO, ALICE, arrival)
    }

    #[test]
    fn numbers_go_on_where_the_store_ended() {
        let roster = roster();
        let ids: Vec<_> = (0..2)
            .filter_map(|_| arrive(&roster))
            .map(|given| given.id)
            .collect();
        assert_eq!(ids, [MessageId(42), MessageId(43)]);
    }

    #[test]
    fn client_that_is_offline_is_forgotten_when_its_messages_are_stored() {
        let roster = roster();
        let given = arrive(&roster).unwrap();
        assert_eq!(roster.lock().clients.len(), 1);
        roster.stored(ALICE, given.id);
        assert!(roster.lock().clients.is_empty());
    }

    #[test]
    fn arrival_and_commit_wake_the_connection() {
        use futures_util::FutureExt as _;
        let roster = roster();
        let line = line(1);
        let wake = Arc::clone(&line.wake);
        assert!(roster.claim(ALICE, line));
        let given = arrive(&roster).unwrap();
        roster.stored(ALICE, given.id);
        assert!(wake.notified().now_or_never().is_some());
        let Work::Read(part) = roster.poll_work(ALICE, ConnectionId(1)) else {
            panic!("a login reads the inbox");
        };
        assert_eq!(roster.read(ALICE, ConnectionId(1), part, None), None);
        assert!(arrive(&roster).is_none(), "held for a live connection");
        assert!(wake.notified().now_or_never().is_some());
    }

    #[test]
    fn newer_connection_replaces_the_older_which_cannot_release_it() {
        let roster = roster();
        let older = line(1);
        let replaced = older.replaced.clone();
        roster.take_over(ALICE, older);
        assert!(!roster.claim(ALICE, line(3)));
        roster.take_over(ALICE, line(2));
        assert!(replaced.is_cancelled());
        roster.release(ALICE, ConnectionId(1));
        assert_eq!(roster.online_count(), 1);
        roster.release(ALICE, ConnectionId(2));
        assert!(roster.lock().clients.is_empty());
    }

    /// A client that is online and whose inbox was found empty.
    fn live(roster: &Roster, client: ClientAddress, connection: u64) {
        assert!(roster.claim(client, line(connection)));
        let connection = ConnectionId(connection);
        let Work::Read(part) = roster.poll_work(client, connection) else {
            panic!("a login reads the inbox");
        };
        assert_eq!(roster.read(client, connection, part, None), None);
    }

    #[test]
    fn what_is_held_for_all_clients_together_is_bounded_and_the_rest_is_stored() {
        let roster = roster();
        let bob = ClientAddress::from_bytes([2; 32]);
        live(&roster, ALICE, 1);
        live(&roster, bob, 2);
        assert!(arrive(&roster).is_none());
        let one = roster.held_memory();
        assert!(one > HELD_OVERHEAD);
        roster.set_held_memory_max(2 * one);
        let to_bob = || {
            let arrival = Arrival {
                message: b"x".to_vec(),
                ack: HeldAck::new(None),
            };
            roster.arrive(Timestamp::ZERO, bob, arrival)
        };
        assert!(to_bob().is_none());
        let given = to_bob().unwrap();
        assert!(arrive(&roster).is_some(), "it is the sum that counts");
        assert_eq!(roster.held_memory(), 2 * one);
        // What is taken or given back makes room again.
        let Work::Push { ping, .. } = roster.poll_work(ALICE, ConnectionId(1)) else {
            panic!("what is held is pushed");
        };
        assert_eq!(roster.release(bob, ConnectionId(2)).len(), 1);
        assert_eq!(roster.held_memory(), one);
        if let Some(ping) = ping {
            assert!(roster.pong(ALICE, ConnectionId(1), ping).is_some());
        }
        roster.release(ALICE, ConnectionId(1));
        assert_eq!(roster.held_memory(), 0);
        roster.stored(bob, given.id);
    }

    #[test]
    fn connection_of_a_removed_client_is_told_to_end() {
        let roster = roster();
        let line = line(1);
        let removed = line.removed.clone();
        roster.dismiss(ALICE);
        assert!(roster.claim(ALICE, line));
        assert!(!removed.is_cancelled());
        roster.dismiss(ALICE);
        assert!(removed.is_cancelled());
    }
}
