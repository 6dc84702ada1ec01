//! What becomes of a packet's content that the gateway pushed.

use nym_packet::fragment::{Fragment, FragmentId};
use nym_packet::geometry::ACK_CONTENT_LEN;
use nym_packet::reassembly::{Reassembler, ReassemblyLimits};
use nym_packet::reply::{self, KeyDigest};
use nym_packet::time::Timestamp;
use nym_packet::{cover, message, payload};

use crate::engine::ClientKeys;
use crate::event::ReceivedMessage;
use crate::reply_keys::ReplyKeys;

/// Sorts what is pushed, and puts fragments together.
///
/// None of it is authenticated by the wire (see the crate documentation), so anything that does
/// not make sense is ignored and changes nothing.
#[derive(Debug)]
pub(crate) struct Receiver {
    reassembler: Reassembler,
}

/// What a push turned out to be.
#[derive(Debug)]
pub(crate) enum Received {
    /// Somebody has what this identifier names.
    Acknowledgement(FragmentId),
    /// Garbage, a repetition, or not for us.
    Ignored,
    /// One of our own loop cover packets, back home.
    LoopCover,
    /// The last piece of a message, or a reply.
    Message(ReceivedMessage),
    /// A piece of a message that is not whole yet.
    Part,
}

impl Receiver {
    pub(crate) fn new() -> Self {
        Self {
            reassembler: Reassembler::new(ReassemblyLimits::default()),
        }
    }

    pub(crate) fn handle(
        &mut self,
        now: Timestamp,
        pushed: &[u8],
        keys: &ClientKeys,
        reply_keys: &mut ReplyKeys,
    ) -> Received {
        if pushed.len() == ACK_CONTENT_LEN {
            return match keys.ack_key.open(pushed) {
                Ok(id) => Received::Acknowledgement(id),
                Err(_) => Received::Ignored,
            };
        }
        let Some(digest) = KeyDigest::of_reply(pushed) else {
            return Received::Ignored;
        };
        if let Some(reply_key) = reply_keys.take(now, &digest) {
            return match reply::decrypt(&reply_key, pushed) {
                Ok(message) => Received::Message(ReceivedMessage {
                    message,
                    reply_surb: None,
                    sender_tag: None,
                }),
                Err(_) => Received::Ignored,
            };
        }
        self.handle_payload(now, pushed, keys)
    }

    fn handle_payload(&mut self, now: Timestamp, pushed: &[u8], keys: &ClientKeys) -> Received {
        let Ok(content) = payload::decrypt(&keys.encryption, pushed) else {
            return Received::Ignored;
        };
        if cover::is_cover(&content) {
            return Received::LoopCover;
        }
        let Ok(fragment) = Fragment::parse(&content) else {
            return Received::Ignored;
        };
        match self.reassembler.insert(now, fragment) {
            Ok(None) => Received::Part,
            Ok(Some(whole)) => match message::parse(&whole.bytes) {
                Ok((message, reply_surb)) => Received::Message(ReceivedMessage {
                    message,
                    reply_surb,
                    sender_tag: None,
                }),
                Err(_) => Received::Ignored,
            },
            Err(_) => Received::Ignored,
        }
    }
}
