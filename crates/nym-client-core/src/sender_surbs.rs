//! The reply SURBs of anonymous peers, kept under a tag each, and the envelope that brings more.
//!
//! A message holds one SURB. Whoever attaches more sends them in follow-up messages:
//!
//! ```text
//! magic (16) | peer (32) | SURB (1164) | SURB (1164) | …        1 to 10 SURBs
//! ```
//!
//! `peer` is a hash of the whole SURB inside the first message, secret key included, so only the
//! sender and the recipient can name it: nobody else can put SURBs of their own under the tag.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use nym_packet::reply::{REPLY_SURB_LEN, ReplySurb};
use nym_packet::time::Timestamp;
use nym_protocol::app::{SENDER_TAG_LEN, SenderTag};
use rand_core::CryptoRng;
use sha2::{Digest as _, Sha256};

use crate::journal::{Change, Journal, record};

/// What a follow-up message starts with.
const MAGIC: &[u8; 16] = b"nym reply surbs\x01";

/// SURBs in one follow-up message: 11,688 bytes, which are eight fragments.
pub(crate) const ENVELOPE_SURBS_MAX: usize = 10;

/// Names an anonymous peer between the two clients: 32 bytes.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct PeerName([u8; 32]);

impl PeerName {
    /// The peer that attached this SURB to a message.
    pub(crate) fn of(surb: &ReplySurb) -> Self {
        let hash = Sha256::new()
            .chain_update(MAGIC)
            .chain_update(surb.to_bytes());
        Self(hash.finalize().into())
    }

    pub(crate) const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Writes a follow-up message.
pub(crate) fn encode_envelope(peer: PeerName, surbs: &[ReplySurb]) -> Vec<u8> {
    let mut envelope = Vec::with_capacity(MAGIC.len() + 32 + surbs.len() * REPLY_SURB_LEN);
    envelope.extend_from_slice(MAGIC);
    envelope.extend_from_slice(&peer.0);
    for surb in surbs {
        envelope.extend_from_slice(&surb.to_bytes());
    }
    envelope
}

/// Reads a follow-up message; `None` for any other message, broken envelopes included.
pub(crate) fn parse_envelope(message: &[u8]) -> Option<(PeerName, Vec<ReplySurb>)> {
    let rest = message.strip_prefix(MAGIC)?;
    let (peer, surbs) = rest.split_first_chunk::<32>()?;
    let count = surbs.len() / REPLY_SURB_LEN;
    if !(1..=ENVELOPE_SURBS_MAX).contains(&count) || surbs.len() % REPLY_SURB_LEN != 0 {
        return None;
    }
    let surbs = surbs
        .chunks_exact(REPLY_SURB_LEN)
        .map(|surb| ReplySurb::from_bytes(surb).ok())
        .collect::<Option<_>>()?;
    Some((PeerName(*peer), surbs))
}

/// What is left to answer an anonymous peer with.
#[derive(Debug)]
struct Peer {
    tag: SenderTag,
    /// By number; the lowest is used first.
    surbs: BTreeMap<u64, ReplySurb>,
    last_number: u64,
}

/// Anonymous peers by tag, with the SURBs to answer them.
///
/// Bounded by the number of SURBs and by age: the peer first heard of goes first. A peer without
/// SURBs counts as one, so that its tag still tells "none left" from "never heard of".
#[derive(Debug)]
pub(crate) struct SenderSurbs {
    peers: BTreeMap<PeerName, Peer>,
    names: BTreeMap<SenderTag, PeerName>,
    by_age: VecDeque<(Timestamp, PeerName)>,
    cost: usize,
    count_max: usize,
    age_max: Duration,
}

impl SenderSurbs {
    /// SURBs kept for one peer; further ones are dropped.
    const PEER_SURBS_MAX: usize = 256;

    pub(crate) fn new(count_max: usize, age_max: Duration) -> Self {
        Self {
            peers: BTreeMap::new(),
            names: BTreeMap::new(),
            by_age: VecDeque::new(),
            cost: 0,
            count_max,
            age_max,
        }
    }

    /// Keeps SURBs of a peer and gives the peer's tag, a new one if it was never heard of.
    ///
    /// The pieces of what a peer sent arrive in any order, so any of them may be the first.
    pub(crate) fn insert<R: CryptoRng + ?Sized>(
        &mut self,
        now: Timestamp,
        name: PeerName,
        surbs: impl IntoIterator<Item = ReplySurb>,
        rng: &mut R,
        journal: &mut Journal,
    ) -> SenderTag {
        self.expire(now, journal);
        if !self.peers.contains_key(&name) {
            let mut tag = [0; SENDER_TAG_LEN];
            rng.fill_bytes(&mut tag);
            let tag = SenderTag::from_bytes(tag);
            journal.note(|| record::peer(&name, now, tag));
            self.restore_peer(name, now, tag);
        }
        let peer = self.peers.get_mut(&name).expect("it was put in just now");
        let tag = peer.tag;
        let room = Self::PEER_SURBS_MAX.saturating_sub(peer.surbs.len());
        for surb in surbs.into_iter().take(room) {
            peer.last_number += 1;
            let number = peer.last_number;
            journal.note(|| record::peer_surb(&name, number, &surb));
            peer.surbs.insert(number, surb);
            self.cost += 1;
        }
        // The newest peer stays, whatever the bound is.
        while self.cost > self.count_max && self.by_age.len() > 1 {
            self.drop_oldest(journal);
        }
        tag
    }

    /// Whether the tag names a peer, and how many SURBs are left to answer it.
    pub(crate) fn count(
        &mut self,
        now: Timestamp,
        tag: SenderTag,
        journal: &mut Journal,
    ) -> Option<usize> {
        self.expire(now, journal);
        let peer = self.peers.get(self.names.get(&tag)?)?;
        Some(peer.surbs.len())
    }

    /// Takes the next SURB of a peer out.
    pub(crate) fn take(&mut self, tag: SenderTag, journal: &mut Journal) -> Option<ReplySurb> {
        let name = self.names.get(&tag)?;
        let peer = self.peers.get_mut(name)?;
        let (number, surb) = peer.surbs.pop_first()?;
        journal.note(|| Change::remove(record::peer_surb_key(name, number)));
        self.cost -= 1;
        Some(surb)
    }

    /// Gives back a SURB that was taken and not used.
    pub(crate) fn give_back(&mut self, tag: SenderTag, surb: ReplySurb, journal: &mut Journal) {
        let Some(name) = self.names.get(&tag) else {
            return;
        };
        if let Some(peer) = self.peers.get_mut(name) {
            let number = peer.last_number + 1;
            peer.last_number = number;
            journal.note(|| record::peer_surb(name, number, &surb));
            peer.surbs.insert(number, surb);
            self.cost += 1;
        }
    }

    /// Puts back a peer that was kept, in any order.
    pub(crate) fn restore_peer(&mut self, name: PeerName, since: Timestamp, tag: SenderTag) {
        let surbs = BTreeMap::new();
        let last_number = 0;
        let peer = Peer {
            tag,
            surbs,
            last_number,
        };
        if self.peers.insert(name, peer).is_none() {
            self.names.insert(tag, name);
            self.by_age.push_back((since, name));
            self.cost += 1;
        }
    }

    /// Puts back a SURB of a peer that was put back before.
    pub(crate) fn restore_surb(&mut self, name: &PeerName, number: u64, surb: ReplySurb) {
        if let Some(peer) = self.peers.get_mut(name) {
            peer.last_number = peer.last_number.max(number);
            if peer.surbs.insert(number, surb).is_none() {
                self.cost += 1;
            }
        }
    }

    /// Ends restoring.
    pub(crate) fn restored(&mut self) {
        self.by_age.make_contiguous().sort_unstable();
    }

    fn expire(&mut self, now: Timestamp, journal: &mut Journal) {
        while let Some((heard, _)) = self.by_age.front()
            && now.saturating_duration_since(*heard) > self.age_max
        {
            self.drop_oldest(journal);
        }
    }

    fn drop_oldest(&mut self, journal: &mut Journal) {
        if let Some((_, name)) = self.by_age.pop_front()
            && let Some(peer) = self.peers.remove(&name)
        {
            self.names.remove(&peer.tag);
            self.cost -= 1 + peer.surbs.len();
            journal.note(|| Change::remove(record::peer_key(&name)));
            for number in peer.surbs.keys() {
                journal.note(|| Change::remove(record::peer_surb_key(&name, *number)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng as _;

    use super::*;

    const AGE_MAX: Duration = Duration::from_secs(10);

    fn surb(byte: u8) -> ReplySurb {
        let mut bytes = [byte; REPLY_SURB_LEN];
        bytes[0] = byte;
        ReplySurb::from_bytes(&bytes).unwrap()
    }

    fn store(count_max: usize) -> (SenderSurbs, ChaCha20Rng) {
        (
            SenderSurbs::new(count_max, AGE_MAX),
            ChaCha20Rng::seed_from_u64(1),
        )
    }

    #[test]
    fn an_envelope_survives_a_round_trip_and_is_bounded() {
        let peer = PeerName::of(&surb(1));
        for (count, fits) in [(0, false), (1, true), (10, true), (11, false)] {
            let surbs: Vec<_> = (0..count).map(surb).collect();
            let envelope = encode_envelope(peer, &surbs);
            let parsed = parse_envelope(&envelope);
            assert_eq!(parsed.is_some(), fits, "{count} SURBs");
            if let Some((found, parsed)) = parsed {
                assert_eq!(found, peer);
                assert_eq!(encode_envelope(found, &parsed), envelope);
                assert!(parse_envelope(&envelope[..envelope.len() - 1]).is_none());
            }
        }
    }

    #[test]
    fn surbs_are_taken_in_order_whichever_piece_came_first() {
        let (mut store, mut rng) = store(100);
        let name = PeerName::of(&surb(1));
        let tag = store.insert(
            Timestamp::ZERO,
            name,
            [surb(2)],
            &mut rng,
            &mut Journal::volatile(),
        );
        assert_eq!(
            store.insert(
                Timestamp::ZERO,
                name,
                [surb(1)],
                &mut rng,
                &mut Journal::volatile()
            ),
            tag
        );
        assert_eq!(
            store
                .take(tag, &mut Journal::volatile())
                .unwrap()
                .to_bytes(),
            surb(2).to_bytes()
        );
        assert_eq!(
            store
                .take(tag, &mut Journal::volatile())
                .unwrap()
                .to_bytes(),
            surb(1).to_bytes()
        );
        assert_eq!(
            store.count(Timestamp::ZERO, tag, &mut Journal::volatile()),
            Some(0)
        );
        assert!(store.take(tag, &mut Journal::volatile()).is_none());
    }

    #[test]
    fn a_peer_is_forgotten_after_its_age_and_not_before() {
        let (mut store, mut rng) = store(100);
        let name = PeerName::of(&surb(1));
        let tag = store.insert(
            Timestamp::ZERO,
            name,
            [surb(1)],
            &mut rng,
            &mut Journal::volatile(),
        );
        let limit = Timestamp::ZERO + AGE_MAX;
        assert_eq!(store.count(limit, tag, &mut Journal::volatile()), Some(1));
        assert_eq!(
            store.count(
                limit + Duration::from_nanos(1),
                tag,
                &mut Journal::volatile()
            ),
            None
        );
    }

    #[test]
    fn the_oldest_peer_goes_when_there_are_too_many_surbs() {
        let (mut store, mut rng) = store(4);
        let [first, second, third] = [1, 2, 3].map(|byte| {
            let name = PeerName::of(&surb(byte));
            store.insert(
                Timestamp::ZERO,
                name,
                [surb(byte)],
                &mut rng,
                &mut Journal::volatile(),
            )
        });
        assert_eq!(
            store.count(Timestamp::ZERO, first, &mut Journal::volatile()),
            None
        );
        assert_eq!(
            store.count(Timestamp::ZERO, second, &mut Journal::volatile()),
            Some(1)
        );
        assert_eq!(
            store.count(Timestamp::ZERO, third, &mut Journal::volatile()),
            Some(1)
        );
    }

    proptest! {
        #[test]
        fn any_message_is_an_envelope_or_not(
            magic in any::<bool>(),
            body in prop::collection::vec(any::<u8>(), 0..2_400),
        ) {
            let magic = if magic { &MAGIC[..] } else { &[] };
            let _ = parse_envelope(&[magic, &body].concat());
        }

        #[test]
        fn the_store_stays_within_its_bound(
            inserts in prop::collection::vec((0_u8..20, 0_usize..5), 0..60),
        ) {
            let (mut store, mut rng) = store(16);
            for (byte, count) in inserts {
                let name = PeerName::of(&surb(byte));
                let surbs = std::iter::repeat_with(|| surb(byte)).take(count);
                let tag = store.insert(Timestamp::ZERO, name, surbs, &mut rng, &mut Journal::volatile());
                store.take(tag, &mut Journal::volatile());
                let kept: usize = store.peers.values().map(|peer| 1 + peer.surbs.len()).sum();
                prop_assert_eq!(kept, store.cost);
                prop_assert!(store.cost <= 16 || store.peers.len() == 1);
                prop_assert_eq!(store.names.len(), store.peers.len());
                prop_assert_eq!(store.by_age.len(), store.peers.len());
            }
        }
    }
}
