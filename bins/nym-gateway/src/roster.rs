//! Who is online, and which way a message for a client goes.
//!
//! A message for a client that is online goes to the task of its connection, by a short queue. A
//! message for anybody else goes to the inbox. In between, right after a login or when the queue
//! was full, the connection *drains*: new messages go to the inbox, where older ones wait, and
//! the connection reads it until it is empty.
//!
//! ```text
//!               login                 inbox empty, nothing on its way there
//!   offline ─────────────► draining ─────────────────────────────────────► live
//!      ▲                      │ ▲      queue full, or a message got stored     │
//!      │                      │ └─────────────────────────────────────────────┤
//!      └──────────────────────┴──────────── connection ended ─────────────────┘
//! ```
//!
//! So a client gets its messages in the order of their arrival. Only messages that were in the
//! queue of a connection that then broke are stored behind what came meanwhile.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nym_protocol::gateway::mailbox::HeldAck;
use nym_protocol::gateway::{ClientAddress, ConnectionId};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

/// Messages in the queue of one connection: 53 kB of regular ones.
pub(crate) const PUSHES_QUEUED: usize = 32;

/// A message for a client and what its sender waits for.
#[derive(Debug)]
pub(crate) struct Push {
    pub(crate) message: Vec<u8>,
    pub(crate) ack: HeldAck,
}

/// The end of a connection's queue that the roster keeps.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) connection: ConnectionId,
    pub(crate) pushes: mpsc::Sender<Push>,
    /// Notified when the connection has to drain.
    pub(crate) wake: Arc<Notify>,
    /// Cancelled when a newer connection takes the client over.
    pub(crate) replaced: CancellationToken,
}

/// All clients that are online or that a message is being stored for.
#[derive(Debug, Default)]
pub(crate) struct Roster(Mutex<HashMap<ClientAddress, Entry>>);

#[derive(Debug, Default)]
struct Entry {
    /// Messages on their way to the inbox.
    storing_count: usize,
    /// Messages whose way to the inbox has ended.
    stored_count: u64,
    line: Option<(Line, Mode)>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mode {
    Draining,
    Live,
}

impl Roster {
    /// Hands a message to the client's connection, or gives it back to be stored; then
    /// [`stored`](Self::stored) must be called once, whatever becomes of it.
    pub(crate) fn route(&self, client: ClientAddress, push: Push) -> Option<Push> {
        let mut clients = self.lock();
        let entry = clients.entry(client).or_default();
        let mut push = push;
        if let Some((line, mode)) = &mut entry.line
            && *mode == Mode::Live
        {
            match line.pushes.try_send(push) {
                Ok(()) => return None,
                Err(error) => {
                    *mode = Mode::Draining;
                    line.wake.notify_one();
                    push = error.into_inner();
                }
            }
        }
        entry.storing_count += 1;
        Some(push)
    }

    /// A message that [`route`](Self::route) gave back is in the inbox, or lost.
    pub(crate) fn stored(&self, client: ClientAddress) {
        let mut clients = self.lock();
        let Some(entry) = clients.get_mut(&client) else {
            return;
        };
        entry.storing_count = entry.storing_count.saturating_sub(1);
        entry.stored_count += 1;
        if let Some((line, mode)) = &mut entry.line {
            *mode = Mode::Draining;
            line.wake.notify_one();
        }
        forget_idle(&mut clients, client);
    }

    /// Makes a client online unless it is already. Tells whether it did.
    pub(crate) fn claim(&self, client: ClientAddress, line: Line) -> bool {
        let mut clients = self.lock();
        let entry = clients.entry(client).or_default();
        let is_free = entry.line.is_none();
        if is_free {
            entry.line = Some((line, Mode::Draining));
        }
        is_free
    }

    /// Makes a client online; an older connection is told to end.
    pub(crate) fn take_over(&self, client: ClientAddress, line: Line) {
        let mut clients = self.lock();
        let older = clients
            .entry(client)
            .or_default()
            .line
            .replace((line, Mode::Draining));
        if let Some((older, _)) = older {
            older.replaced.cancel();
        }
    }

    /// Makes a client offline unless another connection has taken it over.
    pub(crate) fn release(&self, client: ClientAddress, connection: ConnectionId) {
        let mut clients = self.lock();
        if let Some(entry) = clients.get_mut(&client)
            && entry
                .line
                .as_ref()
                .is_some_and(|(line, _)| line.connection == connection)
        {
            entry.line = None;
        }
        forget_idle(&mut clients, client);
    }

    /// How many messages have been stored for a client, for [`go_live`](Self::go_live).
    pub(crate) fn stored_count(&self, client: ClientAddress) -> u64 {
        self.lock()
            .get(&client)
            .map_or(0, |entry| entry.stored_count)
    }

    /// Ends the draining of a connection that found the inbox empty, provided that nothing is on
    /// its way there and nothing has arrived there since `stored_count` was asked for, before
    /// the reading. Tells whether it did.
    pub(crate) fn go_live(
        &self,
        client: ClientAddress,
        connection: ConnectionId,
        stored_count: u64,
    ) -> bool {
        let mut clients = self.lock();
        let Some(entry) = clients.get_mut(&client) else {
            return false;
        };
        let is_settled = entry.storing_count == 0 && entry.stored_count == stored_count;
        match &mut entry.line {
            Some((line, mode)) if line.connection == connection && is_settled => {
                *mode = Mode::Live;
                true
            }
            _ => false,
        }
    }

    /// Clients that are online.
    pub(crate) fn online_count(&self) -> usize {
        self.lock()
            .values()
            .filter(|entry| entry.line.is_some())
            .count()
    }

    /// Held for a few lines without waiting; what it guards is never half changed.
    fn lock(&self) -> MutexGuard<'_, HashMap<ClientAddress, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn forget_idle(clients: &mut HashMap<ClientAddress, Entry>, client: ClientAddress) {
    if clients
        .get(&client)
        .is_some_and(|entry| entry.line.is_none() && entry.storing_count == 0)
    {
        clients.remove(&client);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    const ALICE: ClientAddress = ClientAddress::from_bytes([1; 32]);

    fn line(connection: u64) -> (Line, mpsc::Receiver<Push>) {
        let (pushes, receiver) = mpsc::channel(2);
        let line = Line {
            connection: ConnectionId(connection),
            pushes,
            wake: Arc::default(),
            replaced: CancellationToken::new(),
        };
        (line, receiver)
    }

    fn route(roster: &Roster, message: &[u8]) -> bool {
        let push = Push {
            message: message.to_vec(),
            ack: HeldAck::new(None),
        };
        roster.route(ALICE, push).is_none()
    }

    fn live(roster: &Roster) -> mpsc::Receiver<Push> {
        let (line, receiver) = line(1);
        assert!(roster.claim(ALICE, line));
        assert!(roster.go_live(ALICE, ConnectionId(1), roster.stored_count(ALICE)));
        receiver
    }

    #[test]
    fn messages_go_to_the_inbox_until_the_connection_is_live() {
        let roster = Roster::default();
        assert!(!route(&roster, b"offline"));
        roster.stored(ALICE);
        let (line, mut receiver) = line(1);
        assert!(roster.claim(ALICE, line));
        assert!(!route(&roster, b"draining"));
        let stored_count = roster.stored_count(ALICE);
        assert!(
            !roster.go_live(ALICE, ConnectionId(1), stored_count),
            "one is on its way"
        );
        roster.stored(ALICE);
        assert!(
            !roster.go_live(ALICE, ConnectionId(1), stored_count),
            "one has arrived"
        );
        assert!(roster.go_live(ALICE, ConnectionId(1), roster.stored_count(ALICE)));
        assert!(route(&roster, b"live"));
        assert_eq!(receiver.try_recv().unwrap().message, b"live");
    }

    #[test]
    fn full_queue_makes_the_connection_drain() {
        let roster = Roster::default();
        let mut receiver = live(&roster);
        assert!(route(&roster, b"1"));
        assert!(route(&roster, b"2"));
        assert!(!route(&roster, b"3"));
        assert!(receiver.try_recv().is_ok());
        assert!(!route(&roster, b"4"), "behind one in the inbox");
    }

    #[test]
    fn message_stored_late_makes_a_live_connection_drain() {
        let roster = Roster::default();
        let _receiver = live(&roster);
        roster.stored(ALICE);
        assert!(!route(&roster, b"behind it"));
    }

    #[test]
    fn newer_connection_replaces_the_older_which_cannot_release_it() {
        let roster = Roster::default();
        let (older, _older_receiver) = line(1);
        let replaced = older.replaced.clone();
        roster.take_over(ALICE, older);
        let (newer, _receiver) = line(2);
        assert!(!roster.claim(ALICE, line(3).0));
        roster.take_over(ALICE, newer);
        assert!(replaced.is_cancelled());
        roster.release(ALICE, ConnectionId(1));
        assert_eq!(roster.online_count(), 1);
        roster.release(ALICE, ConnectionId(2));
        assert!(roster.lock().is_empty());
    }

    /// A client's connection and inbox, as `client_connection` and `store` run them.
    struct Model {
        roster: Roster,
        queue: mpsc::Receiver<Push>,
        wake: Arc<Notify>,
        is_draining: bool,
        on_the_way: VecDeque<Vec<u8>>,
        inbox: VecDeque<Vec<u8>>,
        received: Vec<Vec<u8>>,
    }

    impl Model {
        fn online() -> Self {
            let (line, queue) = line(1);
            let (roster, wake) = (Roster::default(), Arc::clone(&line.wake));
            assert!(roster.claim(ALICE, line));
            Self {
                roster,
                queue,
                wake,
                is_draining: true,
                on_the_way: VecDeque::new(),
                inbox: VecDeque::new(),
                received: Vec::new(),
            }
        }

        fn arrive(&mut self, number: u8) {
            let push = Push {
                message: vec![number],
                ack: HeldAck::new(None),
            };
            let stored = self.roster.route(ALICE, push);
            self.on_the_way.extend(stored.map(|push| push.message));
        }

        fn commit(&mut self) {
            if let Some(message) = self.on_the_way.pop_front() {
                self.inbox.push_back(message);
                self.roster.stored(ALICE);
            }
        }

        fn take_from_queue(&mut self) {
            self.received
                .extend(self.queue.try_recv().map(|push| push.message));
        }

        fn drain(&mut self) {
            use futures_util::FutureExt as _;
            self.is_draining |= self.wake.notified().now_or_never().is_some();
            if !self.is_draining {
                return;
            }
            while let Ok(push) = self.queue.try_recv() {
                self.received.push(push.message);
            }
            let stored_count = self.roster.stored_count(ALICE);
            match self.inbox.pop_front() {
                Some(message) => self.received.push(message),
                None => {
                    self.roster.go_live(ALICE, ConnectionId(1), stored_count);
                    self.is_draining = false;
                }
            }
        }
    }

    proptest! {
        #[test]
        fn messages_are_received_once_in_the_order_of_their_arrival(
            steps in prop::collection::vec(0..4, 0..200),
        ) {
            let mut model = Model::online();
            let mut arrived = Vec::new();
            for step in steps {
                match step {
                    0 => {
                        let number = u8::try_from(arrived.len()).unwrap();
                        arrived.push(vec![number]);
                        model.arrive(number);
                    }
                    1 => model.commit(),
                    2 => model.take_from_queue(),
                    _ => model.drain(),
                }
            }
            for _ in 0..=arrived.len() {
                model.commit();
                model.drain();
                model.take_from_queue();
            }
            for _ in 0..=arrived.len() {
                model.drain();
                model.take_from_queue();
            }
            prop_assert_eq!(model.received, arrived);
        }
    }
}
