//! The vectors of Nym's use of packets, in `tests/vectors/packet`: addresses, frames, fragments,
//! acknowledgements, payloads, replies, cover, and whole messages from end to end.
//!
//! Errors are compared by category: the names in the vectors are those of the program they were
//! recorded from, and each is mapped to ours next to the check.

mod ends;
mod journeys;
mod links;
mod pieces;

use serde_json::Value;

use super::VectorFile;

super::vector_files! {
    "packet":
    acks => "acks.json", |file| each_of_type(file, &[
        ("ack_content", ends::ack_content),
        ("surb_ack", ends::surb_ack),
        ("surb_ack_decode", ends::surb_ack_decode),
    ]);
    addressing => "addressing.json", |file| each_of_type(file, &[
        ("node_address", links::node_address),
        ("node_address_decode", links::node_address_decode),
        ("recipient", links::recipient),
        ("recipient_bytes", links::recipient_bytes),
        ("recipient_string", links::recipient_string),
    ]);
    cover => "cover.json", |file| each_of_type(file, &[
        ("cover", journeys::cover),
        ("is_cover", ends::is_cover),
    ]);
    end_to_end => "end_to_end.json", |file| file.each("vectors", journeys::end_to_end);
    fragments => "fragments.json", |file| each_of_type(file, &[
        ("fragment_identifier", pieces::fragment_identifier),
        ("parse", pieces::parse_fragment),
        ("reconstruct", pieces::reconstruct),
        ("required_fragments", pieces::required_fragments),
        ("split", pieces::split_message),
    ]);
    framing => "framing.json", |file| each_of_type(file, &[
        ("decode", links::decode_frames),
        ("encode", links::encode_frame),
        ("mix_packet", links::mix_packet),
        ("mix_packet_decode", links::mix_packet_decode),
    ]);
    message => "message.json", |file| each_of_type(file, &[
        ("parse", pieces::parse_message),
        ("prepare", pieces::prepare_message),
    ]);
    node_processing => "node_processing.json", |file| file.each("vectors", journeys::process);
    payload_encryption => "payload_encryption.json", |file| each_of_type(file, &[
        ("aes128ctr", ends::aes128_ctr),
        ("payload", ends::payload),
    ]);
    reply => "reply.json", |file| each_of_type(file, &[
        ("key_digest", ends::key_digest),
        ("reply", journeys::reply),
        ("reply_limit", ends::reply_limit),
        ("reply_surb_apply", ends::reply_surb_apply),
        ("reply_surb_parse", ends::reply_surb_parse),
    ]);
}

/// Checks one case; panics where it differs.
type Check = fn(&Value);

/// Runs each case by the function for its `type`.
fn each_of_type(file: &mut VectorFile, checks: &[(&str, Check)]) {
    file.each("vectors", |case| {
        let kind = case["type"].as_str().expect("a case has a type");
        let check = checks.iter().find(|(name, _)| *name == kind);
        let (_, check) = check.unwrap_or_else(|| panic!("unknown type `{kind}`"));
        check(case);
    });
}

#[track_caller]
fn assert_bytes(what: &str, found: &[u8], expected: &[u8]) {
    assert!(
        found == expected,
        "{what}:\n   found {}\nexpected {}",
        hex::encode(found),
        hex::encode(expected)
    );
}
