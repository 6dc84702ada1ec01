//! The thread that owns the database.

use std::thread;

use nym_protocol::gateway::mailbox::{
    Committed, DepositError, HeldAck, MessageId, StoredMessage, Written, deposit,
};
use nym_protocol::gateway::{ClientAddress, Inbox as _, Ledger as _, SharedKeys};
use tokio::sync::{mpsc, oneshot};

use super::{Store, StoreError};

/// Commands that wait at most; who has one more waits. Deposits of regular messages are 1.7 MB.
const COMMANDS_QUEUED: usize = 1_024;

/// Commands taken at a time, and so messages in a commit at most. A commit of 256 regular
/// messages writes 420 kB, a few milliseconds on any disk.
const COMMANDS_PER_COMMIT: usize = 256;

/// What became of a message that should be stored.
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

/// What to do with a message that was stored, or not; called on the thread of the store.
pub(crate) type OnStored = Box<dyn FnMut(ClientAddress, Stored) + Send>;

/// The store has been closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the store has been closed")]
pub(crate) struct StoreClosed;

enum Command {
    Deposit {
        client: ClientAddress,
        message: Vec<u8>,
        ack: HeldAck,
    },
    LookUp {
        client: ClientAddress,
        reply: Reply<Option<SharedKeys>>,
    },
    Read {
        client: ClientAddress,
        count_max: usize,
        reply: Reply<Vec<StoredMessage>>,
    },
    Remove {
        client: ClientAddress,
        written: Vec<(MessageId, Written)>,
    },
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
    pub(crate) fn start(store: Store, on_stored: OnStored) -> std::io::Result<(Self, StoreHandle)> {
        let (sender, commands) = mpsc::channel(COMMANDS_QUEUED);
        let thread = thread::Builder::new()
            .name("gateway-store".to_owned())
            .spawn(move || {
                Worker {
                    store,
                    on_stored,
                    deposits: Vec::new(),
                    logins: Vec::new(),
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
    /// Stores a message; what becomes of it is told to the [`OnStored`]. Waits for room in the
    /// queue only.
    pub(crate) async fn deposit(
        &self,
        client: ClientAddress,
        message: Vec<u8>,
        ack: HeldAck,
    ) -> Result<(), StoreClosed> {
        let command = Command::Deposit {
            client,
            message,
            ack,
        };
        self.0.send(command).await.map_err(|_| StoreClosed)
    }

    /// See [`Ledger::shared_keys`](nym_protocol::gateway::Ledger::shared_keys).
    pub(crate) async fn look_up(
        &self,
        client: ClientAddress,
    ) -> Result<Result<Option<SharedKeys>, StoreError>, StoreClosed> {
        self.ask(|reply| Command::LookUp { client, reply }).await
    }

    /// The oldest messages of a client.
    pub(crate) async fn read(
        &self,
        client: ClientAddress,
        count_max: usize,
    ) -> Result<Result<Vec<StoredMessage>, StoreError>, StoreClosed> {
        self.ask(|reply| Command::Read {
            client,
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
        written: Vec<(MessageId, Written)>,
    ) -> Result<(), StoreClosed> {
        self.0
            .send(Command::Remove { client, written })
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
    on_stored: OnStored,
    /// Messages that wait for the next commit.
    deposits: Vec<(ClientAddress, Vec<u8>, HeldAck)>,
    /// Answers about IVs that are true after the next commit.
    logins: Vec<(Reply<bool>, bool)>,
}

impl Worker {
    fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut taken = Vec::with_capacity(COMMANDS_PER_COMMIT);
        while commands.blocking_recv_many(&mut taken, COMMANDS_PER_COMMIT) > 0 {
            for command in taken.drain(..) {
                self.execute(command);
            }
            self.commit();
        }
    }

    /// Commands are done in their order: everything but a deposit finds all earlier ones done.
    fn execute(&mut self, command: Command) {
        if let Command::Deposit {
            client,
            message,
            ack,
        } = command
        {
            self.deposits.push((client, message, ack));
            return;
        }
        if !self.deposits.is_empty() {
            self.commit();
        }
        // Who asked may be gone; then nobody wants the answer.
        match command {
            Command::Deposit { .. } => {}
            Command::LookUp { client, reply } => {
                let _ = reply.send(self.store.shared_keys(&client));
            }
            Command::Read {
                client,
                count_max,
                reply,
            } => {
                let _ = reply.send(self.store.read(&client, None, count_max));
            }
            Command::Remove { client, written } => {
                if let Err(error) = self.store.remove(&client, written) {
                    tracing::error!(%error, "pushed messages cannot be removed");
                }
            }
            Command::StoreKeys {
                client,
                keys,
                reply,
            } => {
                // It commits by itself, so what waits for a commit must not be open any more.
                self.commit();
                let _ = reply.send(self.store.store_keys(&client, &keys));
            }
            Command::UseIv { client, iv, reply } => match self.store.record_iv(&client, &iv) {
                Ok(is_new) => self.logins.push((reply, is_new)),
                Err(error) => {
                    let _ = reply.send(Err(error));
                }
            },
        }
    }

    /// Commits what is open, and tells what became of each message.
    fn commit(&mut self) {
        let deposits = std::mem::take(&mut self.deposits);
        let logins = std::mem::take(&mut self.logins);
        let batch = deposits
            .iter()
            .map(|(client, message, _)| (*client, message.as_slice()));
        match deposit(&mut self.store, batch) {
            Ok(outcomes) => {
                for (reply, is_new) in logins {
                    let _ = reply.send(Ok(is_new));
                }
                for ((client, _, ack), outcome) in deposits.into_iter().zip(outcomes) {
                    let stored = match outcome {
                        Ok(proof) => Stored::Committed(ack, proof),
                        Err(DepositError::Full) => Stored::Full,
                        Err(DepositError::UnknownClient) => Stored::UnknownClient,
                        Err(error) => {
                            tracing::error!(%error, "a message cannot be stored");
                            Stored::Failed
                        }
                    };
                    (self.on_stored)(client, stored);
                }
            }
            Err(error) => {
                // Replies that are dropped end the logins they are for.
                tracing::error!(%error, count = deposits.len(), "messages cannot be stored");
                for (client, _, _) in deposits {
                    (self.on_stored)(client, Stored::Failed);
                }
            }
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
        let on_stored = move |client, stored| {
            tell.lock()
                .unwrap()
                .push((client, matches!(stored, Stored::Committed(..))));
        };
        let (thread, handle) = StoreThread::start(store, Box::new(on_stored)).unwrap();
        let keys = SharedKeys::from_bytes(&[3; 32]);
        handle.store_keys(ALICE, &keys).await.unwrap().unwrap();
        for (client, message) in [(ALICE, "a"), (STRANGER, "b"), (ALICE, "c")] {
            handle
                .deposit(client, message.into(), HeldAck::new(None))
                .await
                .unwrap();
        }
        let stored = handle.read(ALICE, 10).await.unwrap().unwrap();
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
            [(ALICE, true), (STRANGER, false), (ALICE, true)]
        );

        let mut store = Store::open(&path, Quotas::default()).unwrap();
        assert!(!store.use_iv(&ALICE, &[7; 16]).unwrap());
    }
}
