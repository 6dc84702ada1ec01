//! The thread that owns the database.

use std::thread;
use std::time::Duration;

use nym_protocol::gateway::mailbox::{
    Answered, Batch, Committed, Deposit, DepositError, Deposits, HeldAck, MessageId, Reading,
    StoredMessage,
};
use nym_protocol::gateway::{ClientAddress, Inbox as _, Ledger as _, SharedKeys};
use tokio::sync::{mpsc, oneshot};

use super::{Figures, Losses, Quotas, Store, StoreError};

/// Commands that wait at most; who has one more waits. Deposits of regular messages are 1.7 MB.
const COMMANDS_QUEUED: usize = 1_024;

/// What became of a message that should be stored.
#[derive(Debug)]
pub(crate) enum Stored {
    /// It is in the inbox; the acknowledgement may leave.
    Committed(HeldAck, Committed),
    /// There is no room for it.
    Full,
    /// The database failed.
    Failed,
    /// Its destination is not registered here.
    UnknownClient,
}

/// What the thread has to tell.
#[derive(Debug)]
pub(crate) enum StoreEvent {
    /// A commit was made, which took so long.
    Committed(Duration),
    /// The database is damaged; the gateway cannot go on.
    Damaged(StoreError),
    /// Acknowledged messages were dropped, as the operator's settings say.
    Lost(Losses),
    /// The operator has removed a client.
    Removed(ClientAddress),
    /// A deposit was done with.
    Stored(ClientAddress, MessageId, Stored),
}

/// Who is told; called on the thread of the store.
pub(crate) type OnEvent = Box<dyn FnMut(StoreEvent) + Send>;

/// The store has been closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the store has been closed")]
pub(crate) struct StoreClosed;

enum Command {
    Deposit {
        client: ClientAddress,
        deposit: Deposit,
    },
    Figures {
        reply: Reply<Figures>,
    },
    LookUp {
        client: ClientAddress,
        reply: Reply<Option<SharedKeys>>,
    },
    Read {
        client: ClientAddress,
        part: Reading,
        count_max: usize,
        reply: Reply<Vec<StoredMessage>>,
    },
    Remove {
        client: ClientAddress,
        answered: Answered,
    },
    SetQuotas(Quotas),
    StoreKeys {
        client: ClientAddress,
        keys: SharedKeys,
        reply: Reply<()>,
    },
    UseIv {
        client: ClientAddress,
        iv: [u8; 16],
        reply: Reply<bool>,
    },
}

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// The thread; joined when the store is closed.
#[derive(Debug)]
pub(crate) struct StoreThread(thread::JoinHandle<()>);

/// A way to the thread. It ends when the last handle is dropped and all commands are done.
#[derive(Clone, Debug)]
pub(crate) struct StoreHandle(mpsc::Sender<Command>);

impl StoreThread {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// The operating system has no thread left.
    pub(crate) fn start(
        store: Store,
        commands_per_commit: usize,
        on_event: OnEvent,
    ) -> std::io::Result<(Self, StoreHandle)> {
        let (sender, commands) = mpsc::channel(COMMANDS_QUEUED);
        let thread = thread::Builder::new()
            .name("gateway-store".to_owned())
            .spawn(move || {
                Worker {
                    store,
                    commands_per_commit,
                    on_event,
                    failures: 0,
                }
                .run(commands);
            })?;
        Ok((Self(thread), StoreHandle(sender)))
    }

    /// Waits for the thread to finish what it was told, after the last handle was dropped.
    pub(crate) async fn join(self) {
        let joined = tokio::task::spawn_blocking(|| self.0.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!("the store ended by a defect in this program: please report it");
        }
    }
}

impl StoreHandle {
    /// Stores a message; what becomes of it is told to the [`OnEvent`]. Waits for room in the
    /// queue only.
    pub(crate) async fn deposit(
        &self,
        client: ClientAddress,
        deposit: Deposit,
    ) -> Result<(), StoreClosed> {
        let command = Command::Deposit { client, deposit };
        self.0.send(command).await.map_err(|_| StoreClosed)
    }

    /// What is stored.
    pub(crate) async fn figures(&self) -> Result<Result<Figures, StoreError>, StoreClosed> {
        self.ask(|reply| Command::Figures { reply }).await
    }

    /// Changes how much is kept from here on. What is stored already stays.
    pub(crate) async fn set_quotas(&self, quotas: Quotas) -> Result<(), StoreClosed> {
        let command = Command::SetQuotas(quotas);
        self.0.send(command).await.map_err(|_| StoreClosed)
    }

    /// See [`Ledger::shared_keys`](nym_protocol::gateway::Ledger::shared_keys).
    pub(crate) async fn look_up(
        &self,
        client: ClientAddress,
    ) -> Result<Result<Option<SharedKeys>, StoreError>, StoreClosed> {
        self.ask(|reply| Command::LookUp { client, reply }).await
    }

    /// See [`Inbox::read`](nym_protocol::gateway::Inbox::read).
    pub(crate) async fn read(
        &self,
        client: ClientAddress,
        part: Reading,
        count_max: usize,
    ) -> Result<Result<Vec<StoredMessage>, StoreError>, StoreClosed> {
        self.ask(|reply| Command::Read {
            client,
            part,
            count_max,
            reply,
        })
        .await
    }

    /// See [`Inbox::remove`](nym_protocol::gateway::Inbox::remove). Reads that are asked for
    /// later do not find the messages any more.
    pub(crate) async fn remove(
        &self,
        client: ClientAddress,
        answered: Answered,
    ) -> Result<(), StoreClosed> {
        self.0
            .send(Command::Remove { client, answered })
            .await
            .map_err(|_| StoreClosed)
    }

    /// See [`Ledger::store_keys`](nym_protocol::gateway::Ledger::store_keys).
    pub(crate) async fn store_keys(
        &self,
        client: ClientAddress,
        keys: &SharedKeys,
    ) -> Result<Result<(), StoreError>, StoreClosed> {
        let keys = SharedKeys::from_bytes(&keys.to_bytes());
        self.ask(|reply| Command::StoreKeys {
            client,
            keys,
            reply,
        })
        .await
    }

    /// See [`Ledger::use_iv`](nym_protocol::gateway::Ledger::use_iv).
    pub(crate) async fn use_iv(
        &self,
        client: ClientAddress,
        iv: [u8; 16],
    ) -> Result<Result<bool, StoreError>, StoreClosed> {
        self.ask(|reply| Command::UseIv { client, iv, reply }).await
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<Result<T, StoreError>, StoreClosed> {
        let (reply, answer) = oneshot::channel();
        self.0.send(command(reply)).await.map_err(|_| StoreClosed)?;
        answer.await.map_err(|_| StoreClosed)
    }
}

/// What the thread works with.
struct Worker {
    store: Store,
    commands_per_commit: usize,
    on_event: OnEvent,
    /// Commits that failed since the last one that did not.
    failures: u64,
}

/// What can be answered only after the commit.
#[derive(Default)]
struct Pending {
    /// In the order of the batch.
    deposits: Vec<(ClientAddress, MessageId, HeldAck)>,
    /// Answers about IVs that are true then.
    logins: Vec<(Reply<bool>, bool)>,
    registrations: Vec<Reply<()>>,
    /// Removals need no answer, but a commit.
    removals: usize,
    /// What was found out by reading.
    damage: Option<StoreError>,
}

impl Pending {
    /// Commands are done in their order; those that only read find what is not committed yet.
    fn execute(&mut self, batch: &mut Batch<'_, Store>, command: Command) {
        // Who asked may be gone; then nobody wants the answer. A reply that is dropped ends the
        // login that waits for it; the commit tells why.
        match command {
            Command::Deposit { client, deposit } => {
                let Deposit { id, message, ack } = deposit;
                batch.append(&client, id, &message);
                self.deposits.push((client, id, ack));
            }
            Command::Figures { reply } => {
                let figures = batch.inbox().figures();
                self.answer(reply, figures);
            }
            Command::SetQuotas(quotas) => batch.inbox().set_quotas(quotas),
            Command::LookUp { client, reply } => {
                let found = batch.inbox().shared_keys(&client);
                self.answer(reply, found);
            }
            Command::Read {
                client,
                part,
                count_max,
                reply,
            } => {
                let found = batch.inbox().read(&client, part, count_max);
                self.answer(reply, found);
            }
            Command::Remove { client, answered } => {
                self.removals += 1;
                let _ = batch.inbox().remove(&client, &answered);
            }
            Command::StoreKeys {
                client,
                keys,
                reply,
            } => match batch.inbox().record_keys(&client, &keys) {
                Ok(()) => self.registrations.push(reply),
                Err(error) => self.answer(reply, Err(error)),
            },
            Command::UseIv { client, iv, reply } => match batch.inbox().record_iv(&client, &iv) {
                Ok(is_new) => self.logins.push((reply, is_new)),
                Err(error) => self.answer(reply, Err(error)),
            },
        }
    }

    /// Answers a question at once, unless the answer is that the database is damaged.
    fn answer<T>(&mut self, reply: Reply<T>, answer: Result<T, StoreError>) {
        match answer {
            Err(error) if error.is_damage() => self.damage = Some(error),
            answer => drop(reply.send(answer)),
        }
    }

    fn is_empty(&self) -> bool {
        self.deposits.is_empty()
            && self.logins.is_empty()
            && self.registrations.is_empty()
            && self.removals == 0
    }
}

impl Worker {
    fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut taken = Vec::with_capacity(self.commands_per_commit);
        while commands.blocking_recv_many(&mut taken, self.commands_per_commit) > 0 {
            let mut pending = Pending::default();
            let mut batch = Batch::open(&mut self.store);
            for command in taken.drain(..) {
                pending.execute(&mut batch, command);
            }
            if !pending.is_empty() {
                // What fails here is told by the commit.
                let _ = batch.inbox().expire();
            }
            let began = batch.inbox().now();
            let outcomes = batch.commit();
            if outcomes.is_ok() && !pending.is_empty() {
                let took = self.store.now().saturating_duration_since(began);
                (self.on_event)(StoreEvent::Committed(took));
            }
            self.finish(pending, outcomes);
        }
    }

    /// Tells what became of each command that waited for the commit.
    fn finish(&mut self, pending: Pending, outcomes: Result<Deposits<StoreError>, StoreError>) {
        match outcomes {
            Ok(outcomes) => {
                if !pending.is_empty() {
                    self.note_success();
                }
                for (reply, is_new) in pending.logins {
                    let _ = reply.send(Ok(is_new));
                }
                for reply in pending.registrations {
                    let _ = reply.send(Ok(()));
                }
                for ((client, id, ack), outcome) in pending.deposits.into_iter().zip(outcomes) {
                    let stored = match outcome {
                        Ok(proof) => Stored::Committed(ack, proof),
                        Err(DepositError::Full) => Stored::Full,
                        Err(DepositError::UnknownClient) => Stored::UnknownClient,
                        Err(_) => Stored::Failed,
                    };
                    (self.on_event)(StoreEvent::Stored(client, id, stored));
                }
            }
            Err(error) => {
                for (client, id, _) in pending.deposits {
                    (self.on_event)(StoreEvent::Stored(client, id, Stored::Failed));
                }
                self.note_failure(error);
            }
        }
        if let Some(error) = pending.damage {
            (self.on_event)(StoreEvent::Damaged(error));
        }
        for client in self.store.take_removed() {
            (self.on_event)(StoreEvent::Removed(client));
        }
        let losses = self.store.take_losses();
        if losses != Losses::default() {
            (self.on_event)(StoreEvent::Lost(losses));
        }
    }

    /// Failures come in rows, so the first is told, and the end of the row.
    fn note_failure(&mut self, error: StoreError) {
        self.failures += 1;
        if error.is_damage() {
            (self.on_event)(StoreEvent::Damaged(error));
        } else if self.failures == 1 {
            tracing::error!(
                %error,
                "messages cannot be stored: they are not acknowledged, and nobody can log in, until they can"
            );
        }
    }

    fn note_success(&mut self) {
        let failures = std::mem::take(&mut self.failures);
        if failures > 0 {
            tracing::warn!(failures, "messages can be stored again");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::super::Quotas;
    use super::*;

    const ALICE: ClientAddress = ClientAddress::from_bytes([1; 32]);
    const STRANGER: ClientAddress = ClientAddress::from_bytes([2; 32]);

    #[tokio::test]
    async fn commands_are_done_in_their_order_and_every_message_is_accounted_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gateway.sqlite");
        let store = Store::open(&path, Quotas::default()).unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = Arc::clone(&told);
        let on_event = move |event| {
            if let StoreEvent::Stored(client, id, stored) = event {
                let is_committed = matches!(stored, Stored::Committed(..));
                tell.lock().unwrap().push((client, id.0, is_committed));
            }
        };
        let (thread, handle) = StoreThread::start(store, 256, Box::new(on_event)).unwrap();
        let keys = SharedKeys::from_bytes(&[3; 32]);
        handle.store_keys(ALICE, &keys).await.unwrap().unwrap();
        for (client, id, message) in [(ALICE, 1, "a"), (STRANGER, 2, "b"), (ALICE, 3, "c")] {
            let deposit = Deposit {
                id: MessageId(id),
                message: message.into(),
                ack: HeldAck::new(None),
            };
            handle.deposit(client, deposit).await.unwrap();
        }
        let part = Reading {
            after: MessageId(0),
            before: MessageId::MAX,
        };
        let stored = handle.read(ALICE, part, 10).await.unwrap().unwrap();
        let stored: Vec<_> = stored.into_iter().map(|stored| stored.message).collect();
        assert_eq!(stored, [b"a", b"c"]);
        let logins = tokio::join!(handle.use_iv(ALICE, [7; 16]), handle.use_iv(ALICE, [7; 16]));
        assert!(
            matches!(logins, (Ok(Ok(true)), Ok(Ok(false)))),
            "{logins:?}"
        );
        drop(handle);
        thread.join().await;
        assert_eq!(
            *told.lock().unwrap(),
            [(ALICE, 1, true), (STRANGER, 2, false), (ALICE, 3, true)]
        );

        let mut store = Store::open(&path, Quotas::default()).unwrap();
        assert!(!store.use_iv(&ALICE, &[7; 16]).unwrap());
    }
}
