//! What becomes of a packet's content that the gateway pushed.

use nym_packet::fragment::{Fragment, FragmentId};
use nym_packet::geometry::ACK_CONTENT_LEN;
use nym_packet::keys::PublicKey;
use nym_packet::reassembly::{FragmentDigest, Note, Reassembler, ReassemblyLimits, SlotId};
use nym_packet::reply::{self, KeyDigest, ReplySurb};
use nym_packet::time::Timestamp;
use nym_packet::{cover, message, payload};

use crate::engine::ClientKeys;
use crate::engine::own_cover::OwnCover;
use crate::journal::{Change, Journal, record};
use crate::reply_keys::ReplyKeys;

/// Sorts what is pushed, and puts fragments together.
///
/// None of it is authenticated by the wire (see the crate documentation), so anything that does
/// not make sense is ignored and changes nothing.
#[derive(Debug)]
pub(crate) struct Receiver {
    reassembler: Reassembler,
    own_cover: OwnCover,
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
    Message {
        message: Vec<u8>,
        reply_surb: Option<ReplySurb>,
    },
    /// A piece of a message that is not whole yet.
    Part,
}

impl Receiver {
    pub(crate) fn new(journal: &Journal) -> Self {
        let limits = ReassemblyLimits::default();
        let reassembler = if journal.is_kept() {
            Reassembler::noting(limits)
        } else {
            Reassembler::new(limits)
        };
        Self {
            reassembler,
            own_cover: OwnCover::default(),
        }
    }

    /// Loop cover of ours leaves, and will be pushed with this ephemeral key.
    pub(crate) fn expect_cover(&mut self, ephemeral: PublicKey) {
        self.own_cover.leaves(ephemeral);
    }

    pub(crate) fn handle(
        &mut self,
        now: Timestamp,
        pushed: &[u8],
        keys: &ClientKeys,
        reply_keys: &mut ReplyKeys,
        journal: &mut Journal,
    ) -> Received {
        if pushed.len() == ACK_CONTENT_LEN {
            return match keys.ack_key.open(pushed) {
                Ok(id) => Received::Acknowledgement(id),
                Err(_) => Received::Ignored,
            };
        }
        if self.own_cover.comes_home(pushed) {
            return Received::LoopCover;
        }
        let Some(digest) = KeyDigest::of_reply(pushed) else {
            return Received::Ignored;
        };
        if let Some(reply_key) = reply_keys.take(now, &digest, journal) {
            return match reply::decrypt(&reply_key, pushed) {
                Ok(message) => Received::Message {
                    message,
                    reply_surb: None,
                },
                Err(_) => Received::Ignored,
            };
        }
        self.handle_payload(now, pushed, keys, journal)
    }

    /// Puts back a fragment that was kept.
    pub(crate) fn restore(&mut self, slot: SlotId, since: Timestamp, fragment: Fragment) {
        self.reassembler.restore(slot, since, fragment);
    }

    /// Puts back what was known of a finished message.
    pub(crate) fn restore_finished(
        &mut self,
        number: u64,
        since: Timestamp,
        digests: Vec<FragmentDigest>,
    ) {
        self.reassembler.restore_finished(number, since, digests);
    }

    /// Ends restoring: what there was no room for is forgotten.
    pub(crate) fn restored(&mut self, now: Timestamp, journal: &mut Journal) {
        self.note(now, &[], journal);
    }

    fn handle_payload(
        &mut self,
        now: Timestamp,
        pushed: &[u8],
        keys: &ClientKeys,
        journal: &mut Journal,
    ) -> Received {
        let Ok(content) = payload::decrypt(&keys.encryption, pushed) else {
            return Received::Ignored;
        };
        if cover::is_cover(&content) {
            return Received::LoopCover;
        }
        let Ok(fragment) = Fragment::parse(&content) else {
            return Received::Ignored;
        };
        let inserted = self.reassembler.insert(now, fragment);
        self.note(now, &content, journal);
        match inserted {
            Ok(None) => Received::Part,
            Ok(Some(whole)) => match message::parse(&whole.bytes) {
                Ok((message, reply_surb)) => Received::Message {
                    message,
                    reply_surb,
                },
                Err(_) => Received::Ignored,
            },
            Err(_) => Received::Ignored,
        }
    }

    /// Writes down what changed when `fragment` was inserted.
    fn note(&mut self, now: Timestamp, fragment: &[u8], journal: &mut Journal) {
        for note in self.reassembler.take_notes() {
            journal.note(|| match note {
                Note::Dropped(slot) => Change::remove(record::received_fragment_key(slot)),
                Note::Finished { number, digests } => record::finished(number, now, &digests),
                Note::Forgotten { number } => Change::remove(record::finished_key(number)),
                Note::Kept(slot) => record::received_fragment(slot, now, fragment),
            });
        }
    }
}
