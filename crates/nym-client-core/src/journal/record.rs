//! The records, one kind after the other: how each is named and written.
//!
//! | Kind | Key | Value |
//! |---|---|---|
//! | 1 counter | which (1) | number (8) |
//! | 2 message | message (8) | accepted (8) ‖ recipient (96) ‖ bytes (8) |
//! | 3 fragment | message (8) ‖ fragment (5) | the fragment |
//! | 4 reply | message (8) | accepted (8) ‖ ack set (4) ‖ tag (0, or 1 ‖ 16) ‖ SURB ‖ message |
//! | 5 receipt | message (8) | since (8) ‖ state ‖ id |
//! | 6 reply key | digest (32) | since (8) ‖ key (16) |
//! | 7 peer | name (32) | since (8) ‖ tag (16) |
//! | 8 SURB of a peer | name (32) ‖ number (8) | SURB |
//! | 9 spent SURB | number (8) | digest (32) |
//! | 10 received fragment | set (8) ‖ position (1) | since (8) ‖ the fragment |
//! | 11 finished message | number (8) | since (8) ‖ digests (16 each) |
//! | 12 arrived message | number (8) | since (8) ‖ tag ‖ SURB ‖ message |
//!
//! Numbers are big-endian, so records come back in the order of their numbers; times are
//! nanoseconds of the clock that the engine is told the time by; what varies in length stands
//! behind its length in four bytes, unless it is the last field.

use std::time::Duration;

use nym_packet::address::Recipient;
use nym_packet::fragment::{Fragment, FragmentId, SetId};
use nym_packet::reassembly::{FragmentDigest, SlotId};
use nym_packet::reply::{KeyDigest, ReplyKey, ReplySurb};
use nym_packet::time::Timestamp;
use nym_protocol::app::{Outcome, RequestId, SenderTag};
use zeroize::Zeroizing;

use super::codec::{Malformed, Reader, put_bytes};
use super::{Change, RecordKey};
use crate::engine::QueuedReply;
use crate::event::{MessageId, MessageNumber, ReceivedMessage};
use crate::sender_surbs::PeerName;

/// The kinds of records; their order is the order in which an engine is restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Counter = 1,
    Message = 2,
    Fragment = 3,
    Reply = 4,
    Receipt = 5,
    ReplyKey = 6,
    Peer = 7,
    PeerSurb = 8,
    SpentSurb = 9,
    ReceivedFragment = 10,
    Finished = 11,
    Arrived = 12,
}

/// Numbers that must not be given twice, whatever else is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Counter {
    /// The last [`MessageId`].
    Accepted = 1,
    /// The last [`MessageNumber`].
    Arrived = 2,
}

/// A record as it was read back.
#[derive(Debug)]
pub(crate) enum Record {
    Counter(Counter, u64),
    Message {
        id: MessageId,
        accepted_at: Timestamp,
        recipient: Recipient,
        bytes: usize,
    },
    Fragment {
        message: MessageId,
        fragment: Fragment,
    },
    Reply {
        id: MessageId,
        accepted_at: Timestamp,
        reply: QueuedReply,
    },
    Receipt {
        message: MessageId,
        since: Timestamp,
        id: RequestId,
        outcome: Option<Outcome>,
    },
    ReplyKey {
        since: Timestamp,
        key: ReplyKey,
    },
    Peer {
        name: PeerName,
        since: Timestamp,
        tag: SenderTag,
    },
    PeerSurb {
        name: PeerName,
        number: u64,
        surb: ReplySurb,
    },
    SpentSurb {
        number: u64,
        digest: KeyDigest,
    },
    ReceivedFragment {
        slot: SlotId,
        since: Timestamp,
        fragment: Fragment,
    },
    Finished {
        number: u64,
        since: Timestamp,
        digests: Vec<FragmentDigest>,
    },
    Arrived {
        since: Timestamp,
        received: ReceivedMessage,
    },
}

pub(crate) fn counter(which: Counter, number: u64) -> Change {
    let key = RecordKey::new(Kind::Counter, &[&[which as u8]]);
    Change::put(key, number.to_be_bytes().to_vec())
}

pub(crate) fn message(
    id: MessageId,
    accepted_at: Timestamp,
    recipient: &Recipient,
    bytes: usize,
) -> Change {
    let mut value = since(accepted_at);
    value.extend_from_slice(&recipient.to_bytes());
    value.extend_from_slice(&(bytes as u64).to_be_bytes());
    Change::put(message_key(id), value)
}

pub(crate) fn message_key(id: MessageId) -> RecordKey {
    RecordKey::new(Kind::Message, &[&id.0.to_be_bytes()])
}

pub(crate) fn fragment(message: MessageId, fragment: &Fragment) -> Change {
    Change::put(fragment_key(message, fragment.id()), fragment.to_bytes())
}

pub(crate) fn fragment_key(message: MessageId, id: FragmentId) -> RecordKey {
    RecordKey::new(Kind::Fragment, &[&message.0.to_be_bytes(), &id.to_bytes()])
}

pub(crate) fn reply(id: MessageId, accepted_at: Timestamp, reply: &QueuedReply) -> Change {
    let mut value = since(accepted_at);
    value.extend_from_slice(&reply.ack_id.set_number().to_be_bytes());
    put_tag(&mut value, reply.tag);
    put_bytes(&mut value, &reply.surb.to_bytes());
    value.extend_from_slice(&reply.message);
    Change::put(reply_key_of(id), value)
}

pub(crate) fn reply_key_of(id: MessageId) -> RecordKey {
    RecordKey::new(Kind::Reply, &[&id.0.to_be_bytes()])
}

pub(crate) fn receipt(
    message: MessageId,
    at: Timestamp,
    id: &RequestId,
    outcome: Option<&Outcome>,
) -> Change {
    let mut value = since(at);
    match outcome {
        None => value.push(0),
        Some(Outcome::Delivered { latency }) => {
            value.push(1);
            let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
            value.extend_from_slice(&nanos.to_be_bytes());
        }
        Some(Outcome::Failed { reason }) => {
            value.push(2);
            put_bytes(&mut value, reason.as_bytes());
        }
    }
    value.extend_from_slice(id.as_json().as_bytes());
    Change::put(receipt_key(message), value)
}

pub(crate) fn receipt_key(message: MessageId) -> RecordKey {
    RecordKey::new(Kind::Receipt, &[&message.0.to_be_bytes()])
}

pub(crate) fn reply_key(at: Timestamp, digest: &KeyDigest, key: &ReplyKey) -> Change {
    let mut value = since(at);
    value.extend_from_slice(&key.to_bytes()[..]);
    Change::put(reply_key_key(digest), value)
}

pub(crate) fn reply_key_key(digest: &KeyDigest) -> RecordKey {
    RecordKey::new(Kind::ReplyKey, &[digest.as_bytes()])
}

pub(crate) fn peer(name: &PeerName, at: Timestamp, tag: SenderTag) -> Change {
    let mut value = since(at);
    value.extend_from_slice(tag.as_bytes());
    Change::put(peer_key(name), value)
}

pub(crate) fn peer_key(name: &PeerName) -> RecordKey {
    RecordKey::new(Kind::Peer, &[name.as_bytes()])
}

pub(crate) fn peer_surb(name: &PeerName, number: u64, surb: &ReplySurb) -> Change {
    Change::put(peer_surb_key(name, number), surb.to_bytes().to_vec())
}

pub(crate) fn peer_surb_key(name: &PeerName, number: u64) -> RecordKey {
    RecordKey::new(Kind::PeerSurb, &[name.as_bytes(), &number.to_be_bytes()])
}

pub(crate) fn spent_surb(number: u64, digest: &KeyDigest) -> Change {
    Change::put(spent_surb_key(number), digest.as_bytes().to_vec())
}

pub(crate) fn spent_surb_key(number: u64) -> RecordKey {
    RecordKey::new(Kind::SpentSurb, &[&number.to_be_bytes()])
}

pub(crate) fn received_fragment(slot: SlotId, at: Timestamp, fragment: &[u8]) -> Change {
    let mut value = since(at);
    value.extend_from_slice(fragment);
    Change::put(received_fragment_key(slot), value)
}

pub(crate) fn received_fragment_key(slot: SlotId) -> RecordKey {
    RecordKey::new(
        Kind::ReceivedFragment,
        &[&slot.set.to_be_bytes(), &[slot.position]],
    )
}

pub(crate) fn finished(number: u64, at: Timestamp, digests: &[FragmentDigest]) -> Change {
    let mut value = since(at);
    for digest in digests {
        value.extend_from_slice(digest.as_bytes());
    }
    Change::put(finished_key(number), value)
}

pub(crate) fn finished_key(number: u64) -> RecordKey {
    RecordKey::new(Kind::Finished, &[&number.to_be_bytes()])
}

pub(crate) fn arrived(at: Timestamp, received: &ReceivedMessage) -> Change {
    let mut value = since(at);
    put_tag(&mut value, received.sender_tag);
    let surb = received.reply_surb.as_ref().map(ReplySurb::to_bytes);
    put_bytes(
        &mut value,
        surb.as_ref().map_or(&[], |surb| surb.as_slice()),
    );
    value.extend_from_slice(&received.message);
    Change::put(arrived_key(received.number), value)
}

pub(crate) fn arrived_key(number: MessageNumber) -> RecordKey {
    RecordKey::new(Kind::Arrived, &[&number.get().to_be_bytes()])
}

impl Record {
    /// Reads a record back.
    pub(crate) fn parse(key: &RecordKey, value: &[u8]) -> Result<Self, Malformed> {
        let mut name = Reader::new(key.as_bytes());
        let mut fields = Reader::new(value);
        let record = Self::parse_kind(&mut name, &mut fields)?;
        name.finish()?;
        fields.finish()?;
        Ok(record)
    }

    fn parse_kind(name: &mut Reader<'_>, fields: &mut Reader<'_>) -> Result<Self, Malformed> {
        match name.byte()? {
            1 => Self::parse_counter(name.byte()?, fields),
            2 => Ok(Self::Message {
                id: MessageId(name.u64()?),
                accepted_at: take_since(fields)?,
                recipient: Recipient::from_bytes(&fields.array::<{ Recipient::LEN }>()?)
                    .map_err(|_| Malformed)?,
                bytes: usize::try_from(fields.u64()?).map_err(|_| Malformed)?,
            }),
            3 => {
                let message = MessageId(name.u64()?);
                let id = name.array()?;
                let fragment = Fragment::parse(fields.rest()).map_err(|_| Malformed)?;
                if fragment.id().to_bytes() != id {
                    return Err(Malformed);
                }
                Ok(Self::Fragment { message, fragment })
            }
            4 => Self::parse_reply(MessageId(name.u64()?), fields),
            5 => Self::parse_receipt(MessageId(name.u64()?), fields),
            6 => {
                let digest = KeyDigest::from_bytes(name.array()?);
                let since = take_since(fields)?;
                let key = ReplyKey::from_bytes(*Zeroizing::new(fields.array()?));
                if key.digest() != digest {
                    return Err(Malformed);
                }
                Ok(Self::ReplyKey { since, key })
            }
            7 => Ok(Self::Peer {
                name: PeerName::from_bytes(name.array()?),
                since: take_since(fields)?,
                tag: SenderTag::from_bytes(fields.array()?),
            }),
            8 => Ok(Self::PeerSurb {
                name: PeerName::from_bytes(name.array()?),
                number: name.u64()?,
                surb: ReplySurb::from_bytes(fields.rest()).map_err(|_| Malformed)?,
            }),
            9 => Ok(Self::SpentSurb {
                number: name.u64()?,
                digest: KeyDigest::from_bytes(fields.array()?),
            }),
            10 => Ok(Self::ReceivedFragment {
                slot: SlotId {
                    set: name.u64()?,
                    position: name.byte()?,
                },
                since: take_since(fields)?,
                fragment: Fragment::parse(fields.rest()).map_err(|_| Malformed)?,
            }),
            11 => Self::parse_finished(name.u64()?, fields),
            12 => Self::parse_arrived(MessageNumber::new(name.u64()?), fields),
            _ => Err(Malformed),
        }
    }

    fn parse_counter(which: u8, fields: &mut Reader<'_>) -> Result<Self, Malformed> {
        let which = match which {
            1 => Counter::Accepted,
            2 => Counter::Arrived,
            _ => return Err(Malformed),
        };
        Ok(Self::Counter(which, fields.u64()?))
    }

    fn parse_reply(id: MessageId, fields: &mut Reader<'_>) -> Result<Self, Malformed> {
        let accepted_at = take_since(fields)?;
        let ack_set = SetId::new(fields.u32()?).ok_or(Malformed)?;
        let reply = QueuedReply {
            ack_id: FragmentId::reply(ack_set),
            tag: take_tag(fields)?,
            surb: ReplySurb::from_bytes(fields.bytes()?).map_err(|_| Malformed)?,
            message: fields.rest().to_vec(),
        };
        Ok(Self::Reply {
            id,
            accepted_at,
            reply,
        })
    }

    fn parse_finished(number: u64, fields: &mut Reader<'_>) -> Result<Self, Malformed> {
        let since = take_since(fields)?;
        let (digests, []) = fields.rest().as_chunks() else {
            return Err(Malformed);
        };
        let digests = digests.iter().copied().map(FragmentDigest::from_bytes);
        Ok(Self::Finished {
            number,
            since,
            digests: digests.collect(),
        })
    }

    fn parse_receipt(message: MessageId, fields: &mut Reader<'_>) -> Result<Self, Malformed> {
        let since = take_since(fields)?;
        let outcome = match fields.byte()? {
            0 => None,
            1 => Some(Outcome::Delivered {
                latency: Duration::from_nanos(fields.u64()?),
            }),
            2 => Some(Outcome::Failed {
                reason: text(fields.bytes()?)?.to_owned(),
            }),
            _ => return Err(Malformed),
        };
        let id = text(fields.rest())?.parse().map_err(|_| Malformed)?;
        Ok(Self::Receipt {
            message,
            since,
            id,
            outcome,
        })
    }

    fn parse_arrived(number: MessageNumber, fields: &mut Reader<'_>) -> Result<Self, Malformed> {
        let since = take_since(fields)?;
        let tag = take_tag(fields)?;
        let surb = match fields.bytes()? {
            [] => None,
            surb => Some(ReplySurb::from_bytes(surb).map_err(|_| Malformed)?),
        };
        Ok(Self::Arrived {
            since,
            received: ReceivedMessage {
                number,
                message: fields.rest().to_vec(),
                reply_surb: surb,
                sender_tag: tag,
            },
        })
    }
}

fn since(at: Timestamp) -> Vec<u8> {
    at.as_nanos().to_be_bytes().to_vec()
}

fn take_since(fields: &mut Reader<'_>) -> Result<Timestamp, Malformed> {
    fields.u64().map(Timestamp::from_nanos)
}

fn put_tag(value: &mut Vec<u8>, tag: Option<SenderTag>) {
    value.push(u8::from(tag.is_some()));
    if let Some(tag) = tag {
        value.extend_from_slice(tag.as_bytes());
    }
}

fn take_tag(fields: &mut Reader<'_>) -> Result<Option<SenderTag>, Malformed> {
    match fields.byte()? {
        0 => Ok(None),
        1 => Ok(Some(SenderTag::from_bytes(fields.array()?))),
        _ => Err(Malformed),
    }
}

fn text(bytes: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(bytes).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests;
