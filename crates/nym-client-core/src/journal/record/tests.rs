use nym_packet::fragment::{FragmentGeometry, split};
use nym_packet::keys::IdentityKeyPair;
use nym_packet::reply::REPLY_SURB_LEN;
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use sphinx::PrivateKey;

use super::*;

const AT: Timestamp = Timestamp::from_nanos(1_700_000_000_000_000_007);

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(1)
}

fn surb(byte: u8) -> ReplySurb {
    ReplySurb::from_bytes(&[byte; REPLY_SURB_LEN]).unwrap()
}

fn a_fragment() -> Fragment {
    split(&[7; 100], FragmentGeometry::REGULAR, &mut rng()).remove(0)
}

fn queued_reply(tag: Option<SenderTag>) -> QueuedReply {
    QueuedReply {
        surb: surb(3),
        tag,
        ack_id: FragmentId::reply(SetId::random(&mut rng())),
        message: b"answer".to_vec(),
    }
}

fn received(reply_surb: Option<ReplySurb>, sender_tag: Option<SenderTag>) -> ReceivedMessage {
    ReceivedMessage {
        number: MessageNumber::new(9),
        message: b"hello".to_vec(),
        reply_surb,
        sender_tag,
    }
}

/// One of each kind, and of each form where a kind has several.
fn examples() -> Vec<Change> {
    let identity = IdentityKeyPair::generate(&mut rng()).public_key();
    let recipient = Recipient {
        identity,
        encryption: PrivateKey::generate(&mut rng()).public_key(),
        gateway: identity,
    };
    let name = PeerName::of(&surb(1));
    let tag = SenderTag::from_bytes([5; 16]);
    let key = ReplyKey::generate(&mut rng());
    let id = "\"my id\"".parse().unwrap();
    let latency = Duration::from_millis(70);
    let reason = "lost".to_owned();
    let slot = SlotId {
        set: 3,
        position: 1,
    };
    let digests = [
        FragmentDigest::from_bytes([1; 16]),
        FragmentDigest::from_bytes([2; 16]),
    ];
    vec![
        counter(Counter::Accepted, 7),
        counter(Counter::Arrived, u64::MAX),
        message(MessageId(1), AT, &recipient, 12_345),
        fragment(MessageId(1), &a_fragment()),
        reply(MessageId(2), AT, &queued_reply(None)),
        reply(MessageId(3), AT, &queued_reply(Some(tag))),
        receipt(MessageId(1), AT, &id, None),
        receipt(MessageId(2), AT, &id, Some(&Outcome::Delivered { latency })),
        receipt(MessageId(3), AT, &id, Some(&Outcome::Failed { reason })),
        reply_key(AT, &key.digest(), &key),
        peer(&name, AT, tag),
        peer_surb(&name, 4, &surb(1)),
        spent_surb(5, &key.digest()),
        received_fragment(slot, AT, &a_fragment().to_bytes()),
        finished(6, AT, &digests),
        finished(7, AT, &[]),
        arrived(AT, &received(None, None)),
        arrived(AT, &received(Some(surb(8)), Some(tag))),
    ]
}

/// Writes a record that was read.
fn write(record: &Record) -> Change {
    match record {
        Record::Counter(which, number) => counter(*which, *number),
        Record::Message {
            id,
            accepted_at,
            recipient,
            bytes,
        } => message(*id, *accepted_at, recipient, *bytes),
        Record::Fragment {
            message,
            fragment: kept,
        } => fragment(*message, kept),
        Record::Reply {
            id,
            accepted_at,
            reply: kept,
        } => reply(*id, *accepted_at, kept),
        Record::Receipt {
            message,
            since,
            id,
            outcome,
        } => receipt(*message, *since, id, outcome.as_ref()),
        Record::ReplyKey { since, key } => reply_key(*since, &key.digest(), key),
        Record::Peer { name, since, tag } => peer(name, *since, *tag),
        Record::PeerSurb { name, number, surb } => peer_surb(name, *number, surb),
        Record::SpentSurb { number, digest } => spent_surb(*number, digest),
        Record::ReceivedFragment {
            slot,
            since,
            fragment: kept,
        } => received_fragment(*slot, *since, &kept.to_bytes()),
        Record::Finished {
            number,
            since,
            digests,
        } => finished(*number, *since, digests),
        Record::Arrived {
            since,
            received: kept,
        } => arrived(*since, kept),
    }
}

#[test]
fn every_kind_of_record_survives_a_round_trip() {
    for change in examples() {
        let record = Record::parse(change.key(), change.value().unwrap()).unwrap();
        let again = write(&record);
        assert_eq!(again.key(), change.key());
        assert_eq!(again.value(), change.value(), "{:?}", change.key());
    }
}

#[test]
fn a_record_cut_short_is_refused_or_another_record_but_never_a_panic() {
    for change in examples() {
        let value = change.value().unwrap();
        for len in 0..value.len() {
            let cut = &value[..len];
            if let Ok(record) = Record::parse(change.key(), cut) {
                assert_eq!(write(&record).value(), Some(cut));
            }
        }
        let key = change.key().as_bytes();
        for len in 0..key.len() {
            let cut = RecordKey::from_bytes(key[..len].to_vec());
            assert!(Record::parse(&cut, value).is_err(), "{cut:?}");
        }
    }
}

#[test]
fn keys_are_within_their_bound() {
    for change in examples() {
        assert!(change.key().as_bytes().len() <= RecordKey::LEN_MAX);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_record_or_an_error(
        kind in 0..14_u8,
        key in prop::collection::vec(any::<u8>(), 0..42),
        value in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let key = RecordKey::from_bytes([&[kind], key.as_slice()].concat());
        let _ = Record::parse(&key, &value);
    }
}
