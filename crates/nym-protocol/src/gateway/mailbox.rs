//! What a gateway keeps for its clients, and the order in which it may let go of it.
//!
//! A gateway owes two things to everybody who sends: what it acknowledged is not lost, and what
//! is lost is not acknowledged. The types here make the second a matter of compiling: a
//! [`HeldAck`] gives up its packet only against a [`Proof`], and a proof comes only from a
//! commit ([`Batch::commit`]) or from the client's answer to the ping behind a push
//! ([`Mailbox::handle_pong`]). A stored message, in turn, is removed only against such an answer.
//!
//! [`Mailbox`] is the state of one client's messages between their arrival and that moment.

mod state;

use nym_packet::mix_packet::MixPacket;
use nym_packet::symmetric::IV_LEN;
use thiserror::Error;

use super::auth::ClientAddress;
use super::shared_keys::SharedKeys;

pub use state::{Deposit, HELD_OVERHEAD, Mailbox, MailboxLimits, Reading, Taken, Work};

/// How many used IVs a ledger remembers for each client. The oldest go first.
///
/// 1,000 × (16 + about 40 bytes of row) are 56 kB for the busiest client; a client that
/// reconnects every minute can have a login of the previous 16 hours replayed not at all, and
/// registration starts a new list, because it changes the key.
pub const USED_IVS_MAX: usize = 1_000;

/// The keys of every registered client.
pub trait Ledger {
    /// What can go wrong in the storage.
    type Error: std::error::Error;

    /// The keys of a client, if it is registered.
    ///
    /// # Errors
    ///
    /// The storage could not be read.
    fn shared_keys(&mut self, client: &ClientAddress) -> Result<Option<SharedKeys>, Self::Error>;

    /// Stores the keys of a client, in place of older ones, and forgets the IVs used with those.
    /// Durable when it returns.
    ///
    /// # Errors
    ///
    /// The storage could not be written, and the older keys are still in force.
    fn store_keys(&mut self, client: &ClientAddress, keys: &SharedKeys) -> Result<(), Self::Error>;

    /// Remembers that a client proved itself with this IV, durably. Tells whether the IV is new:
    /// false means that the login is a replay.
    ///
    /// Call it only once the proof is verified. Otherwise anybody can push the IVs of a client
    /// out of the bounded memory ([`USED_IVS_MAX`]).
    ///
    /// # Errors
    ///
    /// The storage could not be written; the login must be refused.
    fn use_iv(&mut self, client: &ClientAddress, iv: &[u8; IV_LEN]) -> Result<bool, Self::Error>;
}

/// The messages that wait for a client, in the order of their arrival.
pub trait Inbox {
    /// What can go wrong in the storage.
    type Error: std::error::Error;

    /// Adds a message. It need not be durable before [`commit`](Self::commit).
    ///
    /// # Errors
    ///
    /// Nothing was stored: see [`DepositError`].
    fn append(
        &mut self,
        client: &ClientAddress,
        id: MessageId,
        message: &[u8],
    ) -> Result<(), DepositError<Self::Error>>;

    /// Makes everything durable that was appended before.
    ///
    /// # Errors
    ///
    /// None of it may be taken for stored.
    fn commit(&mut self) -> Result<(), Self::Error>;

    /// The oldest messages of a client in a part of its inbox, at most `count_max`.
    ///
    /// # Errors
    ///
    /// The storage could not be read.
    fn read(
        &mut self,
        client: &ClientAddress,
        part: Reading,
        count_max: usize,
    ) -> Result<Vec<StoredMessage>, Self::Error>;

    /// Removes the messages that the client has, by its answer.
    ///
    /// # Errors
    ///
    /// The storage could not be written; the messages will be pushed once more.
    fn remove(&mut self, client: &ClientAddress, answered: &Answered) -> Result<(), Self::Error>;
}

/// When a message arrived: later messages have greater numbers. The first is 1.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct MessageId(pub u64);

impl MessageId {
    /// Greater than that of any message.
    pub const MAX: Self = Self(i64::MAX as u64);

    /// That of the message which arrives next.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A message that waits in an inbox.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoredMessage {
    /// Its number.
    pub id: MessageId,
    /// What to push.
    pub message: Vec<u8>,
}

/// Why a message was not stored, and is therefore not acknowledged.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum DepositError<E: std::error::Error> {
    /// The inbox holds as much as one client may leave waiting.
    #[error("the inbox is full")]
    Full,
    /// The storage failed.
    #[error("the storage failed")]
    Storage(#[source] E),
    /// Nobody with this address has registered here.
    #[error("the destination is not a client of this gateway")]
    UnknownClient,
}

/// Messages that are stored with one commit, for one proof each.
#[derive(Debug)]
#[must_use = "what is not committed is not stored"]
pub struct Batch<'a, I: Inbox> {
    inbox: &'a mut I,
    outcomes: Deposits<I::Error>,
}

/// What became of each message of a batch, in its order.
pub type Deposits<E> = Vec<Result<Committed, DepositError<E>>>;

impl<'a, I: Inbox> Batch<'a, I> {
    /// An empty batch.
    pub const fn open(inbox: &'a mut I) -> Self {
        let outcomes = Vec::new();
        Self { inbox, outcomes }
    }

    /// Adds a message.
    pub fn append(&mut self, client: &ClientAddress, id: MessageId, message: &[u8]) {
        let appended = self.inbox.append(client, id, message);
        // Nobody gets hold of the proof before the commit.
        self.outcomes.push(appended.map(|()| Committed(())));
    }

    /// The storage, to do something else between two messages.
    pub const fn inbox(&mut self) -> &mut I {
        self.inbox
    }

    /// Commits, and returns the proof, or the reason, for each message.
    ///
    /// # Errors
    ///
    /// The commit failed: no message of the batch may be taken for stored.
    pub fn commit(self) -> Result<Deposits<I::Error>, I::Error> {
        self.inbox.commit()?;
        Ok(self.outcomes)
    }
}

/// Proof that a message is in the inbox to stay. Only [`Batch::commit`] gives it.
#[derive(Debug)]
pub struct Committed(());

/// Proof that a client has read everything up to some message. Only [`Mailbox::handle_pong`]
/// gives it.
#[derive(Debug)]
pub struct Answered {
    through: MessageId,
}

impl Answered {
    /// The last of the messages that the client has read. All stored messages with smaller
    /// numbers have been pushed on the same connection.
    #[must_use]
    pub const fn through(&self) -> MessageId {
        self.through
    }
}

/// Why an acknowledgement may leave.
#[derive(Clone, Copy, Debug)]
pub enum Proof<'a> {
    /// The client has the message.
    Answered(&'a Answered),
    /// The message is in the inbox.
    Committed(&'a Committed),
}

/// The acknowledgement that came with a message (its SURB-ACK), under lock until the message is
/// safe. Dropping it means that the sender will send again.
#[derive(Debug)]
pub struct HeldAck(Option<MixPacket>);

impl HeldAck {
    /// Locks the acknowledgement of a message. Acknowledgements themselves carry none.
    #[must_use]
    pub const fn new(packet: Option<MixPacket>) -> Self {
        Self(packet)
    }

    /// Whether somebody waits for it.
    #[must_use]
    pub const fn is_awaited(&self) -> bool {
        self.0.is_some()
    }

    /// Gives the packet to send, if there is one.
    #[must_use]
    pub fn release(self, _proof: Proof<'_>) -> Option<MixPacket> {
        self.0
    }
}
