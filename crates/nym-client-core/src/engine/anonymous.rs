//! Answers to people without an address: giving SURBs out, and using those of others.

use nym_packet::fragment::{self, Fragment, FragmentId, SetId};
use nym_packet::geometry::PacketSize;
use nym_packet::message;
use nym_packet::reply::{REPLY_SURB_LEN, ReplySurb};
use nym_packet::time::Timestamp;
use nym_protocol::app::SenderTag;
use rand_core::CryptoRng;

use super::sending::QueuedReply;
use super::{Engine, GEOMETRY, Lane, SendError};
use crate::event::MessageId;
use crate::sender_surbs::{ENVELOPE_SURBS_MAX, PeerName, encode_envelope, parse_envelope};

impl<R: CryptoRng> Engine<R> {
    /// The most SURBs that one message brings: 116,400 bytes.
    pub const SURBS_MAX: u32 = 100;

    /// Takes over an answer to an anonymous peer; it uses the next SURB of the peer.
    ///
    /// # Errors
    /// [`SendError`] says what is missing; no SURB was used then.
    pub fn reply_to_tag(
        &mut self,
        now: Timestamp,
        tag: SenderTag,
        message: Vec<u8>,
    ) -> Result<MessageId, SendError> {
        self.check_reply(&message)?;
        self.sender_surbs
            .count(now, tag, &mut self.journal)
            .ok_or(SendError::UnknownSenderTag)?;
        loop {
            let surb = self
                .sender_surbs
                .take(tag, &mut self.journal)
                .ok_or(SendError::OutOfSurbs)?;
            // An app may have answered with the SURB itself, which every app is given.
            let journal = &mut self.journal;
            if self.spent_surbs.spend(surb.key_digest(), journal) {
                return Ok(self.accept_reply(now, surb, Some(tag), message));
            }
        }
    }

    /// Takes over a reply whose SURB was marked as spent.
    pub(super) fn accept_reply(
        &mut self,
        now: Timestamp,
        surb: ReplySurb,
        tag: Option<SenderTag>,
        message: Vec<u8>,
    ) -> MessageId {
        let ack_id = loop {
            let id = FragmentId::reply(SetId::random(&mut self.rng));
            if !self.unacknowledged.is_known(id) {
                break id;
            }
        };
        let reply = QueuedReply {
            surb,
            tag,
            ack_id,
            message,
        };
        let journal = &mut self.journal;
        let message = self.unacknowledged.accept_reply(now, reply, journal);
        self.taken_over(message);
        message
    }

    /// Counts a message that was taken over to a lane.
    pub fn put_in_lane(&mut self, message: MessageId, lane: Lane) {
        self.unacknowledged.put_in_lane(message, lane);
    }

    /// How many packets of the lane were taken over and are not acknowledged yet.
    #[must_use]
    pub fn lane_queue_length(&self, lane: Lane) -> u64 {
        self.unacknowledged.lane_len(lane) as u64
    }

    /// Bytes of that many SURBs.
    pub(super) fn surbs_len(count: u32) -> Result<usize, SendError> {
        let max = Self::SURBS_MAX;
        match usize::try_from(count) {
            Ok(len) if count <= max => Ok(len * REPLY_SURB_LEN),
            _ => Err(SendError::TooManySurbs { asked: count, max }),
        }
    }

    /// Whether a reply can be taken over.
    pub(super) fn check_reply(&self, message: &[u8]) -> Result<(), SendError> {
        let max = PacketSize::Regular.reply_len_max();
        let len = message.len();
        if len > max {
            return Err(SendError::ReplyTooLong { len, max });
        }
        self.check_capacity(len)?;
        let topology = self.topology.as_ref().ok_or(SendError::NoTopology)?;
        topology
            .gateway(&self.keys.recipient.gateway)
            .ok_or(SendError::OwnGatewayUnknown)?;
        Ok(())
    }

    /// Cuts a message and its follow-ups into fragments.
    pub(super) fn cut_with_surbs(
        &mut self,
        now: Timestamp,
        message: &[u8],
        surb_count: u32,
    ) -> Result<Vec<Fragment>, SendError> {
        let surbs = (0..surb_count)
            .map(|_| self.new_reply_surb(now))
            .collect::<Result<Vec<_>, _>>()?;
        let Some((first, further)) = surbs.split_first() else {
            return Ok(self.cut(message, None, &[]));
        };
        let peer = PeerName::of(first);
        let mut fragments = self.cut(message, Some(first), &[]);
        for surbs in further.chunks(ENVELOPE_SURBS_MAX) {
            let follow_up = self.cut(&encode_envelope(peer, surbs), None, &fragments);
            fragments.extend(follow_up);
        }
        Ok(fragments)
    }

    /// Reports a message that arrived, unless it is a follow-up that brings SURBs.
    pub(super) fn take_in_message(
        &mut self,
        now: Timestamp,
        message: Vec<u8>,
        reply_surb: Option<ReplySurb>,
    ) {
        let (rng, journal) = (&mut self.rng, &mut self.journal);
        if let Some((peer, surbs)) = parse_envelope(&message) {
            self.sender_surbs.insert(now, peer, surbs, rng, journal);
            return;
        }
        let sender_tag = reply_surb.as_ref().and_then(|surb| {
            let kept = ReplySurb::from_bytes(&surb.to_bytes()).ok()?;
            let peer = PeerName::of(surb);
            Some(self.sender_surbs.insert(now, peer, [kept], rng, journal))
        });
        self.stats.messages_received += 1;
        self.hand_over(now, message, reply_surb, sender_tag);
    }

    fn cut(
        &mut self,
        message: &[u8],
        surb: Option<&ReplySurb>,
        others: &[Fragment],
    ) -> Vec<Fragment> {
        let padded = message::prepare(message, surb, GEOMETRY)
            .expect("a SURB over a route of the topology has the length that a message holds");
        loop {
            let fragments = fragment::split(&padded, GEOMETRY, &mut self.rng);
            // Set ids are drawn from 2^31 - 1; one that is still in flight must not be reused.
            let is_taken = |id| {
                self.unacknowledged.is_known(id) || others.iter().any(|other| other.id() == id)
            };
            if !fragments.iter().any(|fragment| is_taken(fragment.id())) {
                return fragments;
            }
        }
    }
}
