//! What a gateway keeps for its clients, and the order in which it may let go of it.
//!
//! A gateway owes two things to everybody who sends: what it acknowledged is not lost, and what
//! is lost is not acknowledged. The types here make the second a matter of compiling: a
//! [`HeldAck`] gives up its packet only against a [`Proof`], and a proof comes only from a
//! commit ([`deposit`]) or from a push that was written ([`PushFrame::written`]). A stored
//! message, in turn, is removed only against the [`Written`] of its push.

use nym_packet::mix_packet::MixPacket;
use nym_packet::symmetric::IV_LEN;
use thiserror::Error;

use super::auth::ClientAddress;
use super::shared_keys::SharedKeys;
use crate::ws::WsMessage;

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

    /// Adds a message at the end. It need not be durable before [`commit`](Self::commit).
    ///
    /// # Errors
    ///
    /// Nothing was stored: see [`DepositError`].
    fn append(
        &mut self,
        client: &ClientAddress,
        message: &[u8],
    ) -> Result<(), DepositError<Self::Error>>;

    /// Makes everything durable that was appended before.
    ///
    /// # Errors
    ///
    /// None of it may be taken for stored.
    fn commit(&mut self) -> Result<(), Self::Error>;

    /// The oldest messages of a client after the given one, at most `count_max`.
    ///
    /// # Errors
    ///
    /// The storage could not be read.
    fn read(
        &mut self,
        client: &ClientAddress,
        after: Option<MessageId>,
        count_max: usize,
    ) -> Result<Vec<StoredMessage>, Self::Error>;

    /// Removes messages whose pushes were written.
    ///
    /// # Errors
    ///
    /// The storage could not be written; the messages will be pushed once more.
    fn remove(
        &mut self,
        client: &ClientAddress,
        written: Vec<(MessageId, Written)>,
    ) -> Result<(), Self::Error>;
}

/// Where a stored message stands: later messages have greater numbers.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct MessageId(pub u64);

/// A message that waits in an inbox.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoredMessage {
    /// Its place.
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

/// Stores messages with one commit and returns the proof, or the reason, for each.
///
/// # Errors
///
/// The commit failed: no message of the batch may be taken for stored.
pub fn deposit<'a, I, B>(inbox: &mut I, batch: B) -> Result<Deposits<I::Error>, I::Error>
where
    I: Inbox,
    B: IntoIterator<Item = (ClientAddress, &'a [u8])>,
{
    let appended: Vec<_> = batch
        .into_iter()
        .map(|(client, message)| inbox.append(&client, message))
        .collect();
    inbox.commit()?;
    Ok(appended
        .into_iter()
        .map(|outcome| outcome.map(|()| Committed(())))
        .collect())
}

/// What became of each message of a batch, in its order.
pub type Deposits<E> = Vec<Result<Committed, DepositError<E>>>;

/// Proof that a message is in the inbox to stay. Only [`deposit`] makes it.
#[derive(Debug)]
pub struct Committed(());

/// Proof that a push was written to the client's socket. Only [`PushFrame::written`] makes it.
#[derive(Debug)]
pub struct Written(());

/// A sealed push on its way to the socket.
#[derive(Debug)]
pub struct PushFrame(WsMessage);

impl PushFrame {
    pub(super) const fn new(frame: Vec<u8>) -> Self {
        Self(WsMessage::Binary(frame))
    }

    /// What to write.
    #[must_use]
    pub const fn message(&self) -> &WsMessage {
        &self.0
    }

    /// Takes the message out, to write it, and leaves the claim on a proof.
    pub fn into_parts(self) -> (WsMessage, UnwrittenPush) {
        (self.0, UnwrittenPush(()))
    }

    /// States that the frame was written and flushed.
    #[must_use]
    pub fn written(self) -> Written {
        self.into_parts().1.written()
    }
}

/// The claim on a proof for a push whose bytes were handed to the socket.
#[derive(Debug)]
#[must_use = "a push without a proof is stored and pushed again"]
pub struct UnwrittenPush(());

impl UnwrittenPush {
    /// States that the frame was written and flushed.
    #[must_use]
    pub const fn written(self) -> Written {
        Written(())
    }
}

/// Why an acknowledgement may leave.
#[derive(Debug)]
pub enum Proof {
    /// The message is in the inbox.
    Committed(Committed),
    /// The client's socket has the message.
    Written(Written),
}

impl From<Committed> for Proof {
    fn from(proof: Committed) -> Self {
        Self::Committed(proof)
    }
}

impl From<Written> for Proof {
    fn from(proof: Written) -> Self {
        Self::Written(proof)
    }
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

    /// Gives the packet to send, if there is one.
    #[must_use]
    pub fn release(self, _proof: &Proof) -> Option<MixPacket> {
        self.0
    }
}
