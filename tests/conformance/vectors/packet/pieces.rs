//! Messages and the fragments they are cut into.

use nym_packet::fragment::{
    Fragment, FragmentError, FragmentGeometry, FragmentId, SetId, SetLink, split_with_set_ids,
};
use nym_packet::message::{parse, prepare};
use nym_packet::reassembly::{Reassembler, ReassemblyLimits};
use nym_packet::reply::ReplySurb;
use nym_packet::time::Timestamp;
use serde_json::Value;

use super::{assert_bytes, links};
use crate::vectors::case::Case;
use crate::vectors::{hex, hex_array};

pub(super) fn split_message(value: &Value) {
    let case = Case::new(value);
    let geometry = FragmentGeometry::new(case.len("plaintext_per_fragment")).unwrap();
    let fragments = split_with_set_ids(&case.bytes("message"), geometry, &set_ids(&case)).unwrap();
    assert_eq!(fragments.len(), case.len("fragment_count"));
    assert_fragments(&fragments, case.list("fragments"));
    case.finish();
}

pub(super) fn required_fragments(value: &Value) {
    let case = Case::new(value);
    let columns = [
        "plaintext_per_fragment",
        "message_len",
        "fragments",
        "space_left_in_last",
    ];
    assert_eq!(case.list("columns"), columns);
    let rows = case.list("rows");
    assert!(!rows.is_empty());
    for row in rows {
        let number = |column: usize| usize::try_from(row[column].as_u64().unwrap()).unwrap();
        let plan = FragmentGeometry::new(number(0)).unwrap().plan(number(1));
        assert_eq!((plan.fragments, plan.room), (number(2), number(3)), "{row}");
    }
    case.finish();
}

pub(super) fn parse_fragment(value: &Value) {
    let case = Case::new(value);
    let bytes = case.bytes("bytes");
    match (Fragment::parse(&bytes), case.get("error")) {
        (Ok(fragment), None) => {
            let expected = Case::new(case.field("fragment"));
            let header = fragment.header();
            assert_eq!(u64::from(header.set_id().get()), expected.u64("set_id"));
            assert_eq!(u64::from(header.total()), expected.u64("total_fragments"));
            assert_eq!(
                u64::from(header.position()),
                expected.u64("current_fragment")
            );
            let (previous, next) = match header.link() {
                None => (None, None),
                Some(SetLink::Previous(id)) => (Some(id.get()), None),
                Some(SetLink::Next(id)) => (None, Some(id.get())),
            };
            assert_eq!(expected.field("previous_set_id"), &Value::from(previous));
            assert_eq!(expected.field("next_set_id"), &Value::from(next));
            assert_eq!(header.encoded_len(), expected.len("header_len"));
            assert_bytes("content", fragment.content(), &expected.bytes("payload"));
            assert_bytes("bytes", &fragment.to_bytes(), &bytes);
            expected.finish();
        }
        (Err(FragmentError::TooShort { .. }), Some(error)) => {
            assert_eq!(error, "TooShortFragmentData");
        }
        (Err(FragmentError::MalformedHeader { .. }), Some(error)) => {
            assert_eq!(error, "MalformedHeaderError");
        }
        (found, expected) => panic!("found {found:?}, expected error {expected:?}"),
    }
    case.finish();
}

pub(super) fn fragment_identifier(value: &Value) {
    let case = Case::new(value);
    let bytes = case.array("bytes");
    match (FragmentId::from_bytes(bytes), case.get("error")) {
        (Ok(id), None) => {
            assert_eq!(u64::from(id.set_number()), case.u64("set_id"));
            assert_eq!(u64::from(id.position()), case.u64("position"));
            assert_eq!(case.field("is_reply"), id.is_reply());
            assert_eq!(case.field("is_cover"), id.is_cover());
            assert_eq!(id.to_bytes(), bytes);
        }
        (Err(_), Some(error)) => assert_eq!(error, "MalformedFragmentIdentifier"),
        (found, expected) => panic!("found {found:?}, expected error {expected:?}"),
    }
    case.finish();
}

pub(super) fn reconstruct(value: &Value) {
    let case = Case::new(value);
    let mut results = case.list("results").iter();
    let mut reassembler = Reassembler::new(ReassemblyLimits::default());
    for (index, bytes) in case.list("fragments").iter().enumerate() {
        let fragment = Fragment::parse(&hex(bytes)).unwrap();
        // An error is how a fragment is ignored that must be.
        let Ok(Some(whole)) = reassembler.insert(Timestamp::ZERO, fragment) else {
            continue;
        };
        let expected = Case::new(results.next().expect("no result was expected"));
        assert_eq!(index, expected.len("after_fragment"));
        assert_bytes("message", &whole.bytes, &expected.bytes("message"));
        assert_eq!(whole.set_ids, set_ids(&expected));
        expected.finish();
    }
    assert_eq!(results.next(), None, "further results were expected");
    case.get("reference_panics");
    case.finish();
}

pub(super) fn prepare_message(value: &Value) {
    let case = Case::new(value);
    let geometry = FragmentGeometry::new(links::size(&case).fragment_len()).unwrap();
    let surb = case
        .get("reply_surb")
        .map(|surb| ReplySurb::from_bytes(&hex(surb)).unwrap());
    if let Some(key) = case.get("reply_key") {
        let surb = surb.as_ref().expect("a reply key belongs to a reply SURB");
        assert_eq!(*surb.reply_key().to_bytes(), hex_array(key));
    }
    let message = case.bytes("message");
    let padded = prepare(&message, surb.as_ref(), geometry).unwrap();
    let fragments = split_with_set_ids(&padded, geometry, &set_ids(&case)).unwrap();
    assert_fragments(&fragments, case.list("fragments"));
    case.finish();
}

pub(super) fn parse_message(value: &Value) {
    let case = Case::new(value);
    let parsed = parse(&case.bytes("reassembled"));
    if let Some(error) = case.get("error") {
        assert_eq!(error, "MalformedReconstructedMessage");
        assert!(parsed.is_err(), "it was accepted");
    } else {
        let (message, surb) = parsed.unwrap();
        assert_bytes("message", &message, &case.bytes("message"));
        let surb = surb.map(|surb| hex::encode(surb.to_bytes().as_slice()));
        assert_eq!(&Value::from(surb), case.field("reply_surb"));
    }
    case.get("reference_panics");
    case.finish();
}

/// The member `set_ids`.
pub(super) fn set_ids(case: &Case) -> Vec<SetId> {
    let ids = case.list("set_ids").iter();
    ids.map(|id| SetId::new(u32::try_from(id.as_u64().unwrap()).unwrap()).unwrap())
        .collect()
}

#[track_caller]
fn assert_fragments(fragments: &[Fragment], expected: &[Value]) {
    assert_eq!(fragments.len(), expected.len(), "number of fragments");
    for (fragment, expected) in fragments.iter().zip(expected) {
        assert_bytes("fragment", &fragment.to_bytes(), &hex(expected));
    }
}
