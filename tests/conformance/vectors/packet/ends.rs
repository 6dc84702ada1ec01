//! What the two ends encrypt and read.

use std::time::Duration;

use nym_packet::ack::{AckError, AckKey, SurbAck, SurbAckError};
use nym_packet::fragment::FragmentId;
use nym_packet::frame::PacketMode;
use nym_packet::keys::{PrivateKey, PublicKey};
use nym_packet::payload::{PayloadError, decrypt, encrypt};
use nym_packet::reply::{ReplyError, ReplyKey, ReplySurb};
use nym_packet::route::total_delay;
use nym_packet::symmetric::{self, hkdf_blake3, hmac_blake3};
use serde_json::Value;
use sphinx::{Builder, Delay, Destination};

use super::journeys::{Nodes, delays};
use super::{assert_bytes, links};
use crate::vectors::case::Case;
use crate::vectors::hex;
use crate::vectors::sphinx::inputs::Scripted;

pub(super) fn ack_content(value: &Value) {
    let case = Case::new(value);
    let key = AckKey::from_bytes(case.array("ack_key"));
    let content = case.bytes("content");
    let opened = key.open(&content);
    let id = case.get("fragment_id").map(hex);
    match case.get("error") {
        None => {
            let id = FragmentId::from_bytes(id.unwrap().try_into().unwrap()).unwrap();
            assert_eq!(opened, Ok(id));
            let sealed = key.seal(id, &mut Scripted::new(case.bytes("iv")));
            assert_bytes("content", &sealed, &content);
        }
        Some(error) => {
            let name = match opened.unwrap_err() {
                AckError::FragmentId(_) => "MalformedFragmentIdentifier",
                AckError::Length { .. } => "invalid length",
                error => panic!("{error}"),
            };
            assert_eq!(error, name);
            if let (Some(id), Some(iv)) = (id, case.get("iv")) {
                let mut decrypted = content[16..].to_vec();
                assert_bytes("iv", &content[..16], &hex(iv));
                let iv = content[..16].try_into().unwrap();
                symmetric::aes128_ctr(&case.array("ack_key"), iv, &mut decrypted);
                assert_bytes("identifier", &decrypted, &id);
            }
        }
    }
    case.finish();
}

pub(super) fn surb_ack(value: &Value) {
    let case = Case::new(value);
    let nodes = Nodes::read(&case, "route");
    let mut delays = delays(&case, "delays_ns");
    delays.push(Delay::from_nanos(123));
    let key = AckKey::from_bytes(case.array("ack_key"));
    let id = FragmentId::from_bytes(case.array("fragment_id")).unwrap();
    let content = key.seal(id, &mut Scripted::new(case.bytes("ack_iv")));
    assert_bytes("content", &content, &case.bytes("ack_content"));

    let owner = Destination {
        address: case.array("destination"),
        identifier: [0; 16],
    };
    let random = [case.bytes("initial_secret"), case.bytes("final_padding")].concat();
    let mut rng = Scripted::new(random);
    let builder = &mut Builder::new();
    let route = nodes.route();
    let ack = SurbAck::build(&route, &delays, &owner, &content, builder, &mut rng).unwrap();
    rng.assert_spent();
    assert_bytes("SURB-ACK", &ack.to_bytes(), &case.bytes("surb_ack"));
    assert_bytes("packet", ack.packet(), &case.bytes("ack_packet"));
    assert_eq!(ack.first_hop(), links::socket(&case, "first_hop"));
    assert_eq!(
        SurbAck::from_bytes(&case.bytes("surb_ack")),
        Ok(ack.clone())
    );
    assert_eq!(
        total_delay(&delays),
        Duration::from_nanos(case.u64("total_delay_ns"))
    );

    let arrived = nodes.carry(ack.into_mix_packet(PacketMode::Mix));
    assert_eq!(arrived.destination, owner.address);
    assert_bytes("delivered", &arrived.message, &content);
    assert_eq!(arrived.delays, delays[..3]);
    case.finish();
}

pub(super) fn surb_ack_decode(value: &Value) {
    let case = Case::new(value);
    let error = SurbAck::from_bytes(&case.bytes("surb_ack")).unwrap_err();
    let name = match error {
        SurbAckError::Address(_) => "InvalidAddress",
        SurbAckError::Length { .. } => "InvalidPacketSize",
        error => panic!("{error}"),
    };
    assert_eq!(name, case.text("error"));
    case.finish();
}

pub(super) fn aes128_ctr(value: &Value) {
    let case = Case::new(value);
    let mut data = case.bytes("plaintext");
    symmetric::aes128_ctr(&case.array("key"), &case.array("iv"), &mut data);
    assert_bytes("ciphertext", &data, &case.bytes("ciphertext"));
    case.finish();
}

pub(super) fn payload(value: &Value) {
    let case = Case::new(value);
    let own_key = PrivateKey::from_bytes(case.array("recipient_private_key"));
    let message = case.bytes("message");
    let may_reject = case.get("may_reject").is_some_and(|may| may == true);
    match (decrypt(&own_key, &message), case.get("error")) {
        (Ok(plaintext), None) => {
            assert_bytes("plaintext", &plaintext, &case.bytes("plaintext"));
        }
        (Err(PayloadError::WeakKey), None) => {
            assert!(may_reject, "it was refused");
            case.get("plaintext");
        }
        (Err(PayloadError::TooShort { .. }), Some(error)) => assert_eq!(error, "too short"),
        (found, expected) => panic!("found {found:?}, expected error {expected:?}"),
    }
    if case.get("ephemeral_private_key").is_some() {
        payload_keys(&case, &own_key, &message);
    }
    case.get("reference_panics");
    case.finish();
}

/// The sender's side, and all that is derived on the way.
fn payload_keys(case: &Case, own_key: &PrivateKey, message: &[u8]) {
    let ephemeral = PrivateKey::from_bytes(case.array("ephemeral_private_key"));
    let ephemeral_public = case.array("ephemeral_public_key");
    assert_bytes(
        "ephemeral key",
        ephemeral.public_key().as_bytes(),
        &ephemeral_public,
    );
    let recipient = PublicKey::from_bytes(case.array("recipient_public_key"));
    assert_eq!(own_key.public_key(), recipient);
    let secret = own_key.diffie_hellman(&PublicKey::from_bytes(ephemeral_public));
    assert_bytes("dh", secret.as_bytes(), &case.bytes("dh"));
    let extracted = hmac_blake3(&[], &[secret.as_bytes()]);
    assert_bytes("HKDF's extracted key", &extracted, &case.bytes("hkdf_prk"));
    let mut key = [0; 16];
    hkdf_blake3(secret.as_bytes(), &mut key);
    assert_bytes("AES key", &key, &case.bytes("aes_key"));

    let mut rng = Scripted::new(case.bytes("ephemeral_private_key"));
    let plaintext = case.bytes("plaintext");
    let encrypted = encrypt(&plaintext, &recipient, &mut rng).unwrap();
    assert_bytes("message", &encrypted, message);
}

pub(super) fn key_digest(value: &Value) {
    let case = Case::new(value);
    let digest = ReplyKey::from_bytes(case.array("reply_key")).digest();
    assert_bytes("digest", digest.as_bytes(), &case.bytes("key_digest"));
    case.finish();
}

pub(super) fn reply_surb_parse(value: &Value) {
    let case = Case::new(value);
    match (
        ReplySurb::from_bytes(&case.bytes("bytes")),
        case.get("error"),
    ) {
        (Ok(_), None) => assert_eq!(case.field("ok"), true),
        (Err(ReplyError::Sphinx(_)), Some(error)) => assert_eq!(error, "RecoveryError"),
        (Err(ReplyError::KeyLength { .. }), Some(error)) => {
            assert_eq!(error, "InvalidEncryptionKeyData");
        }
        (found, expected) => panic!("found {found:?}, expected error {expected:?}"),
    }
    case.get("reference_panics");
    case.finish();
}

pub(super) fn reply_surb_apply(value: &Value) {
    let case = Case::new(value);
    let surb = ReplySurb::from_bytes(&case.bytes("reply_surb")).unwrap();
    let plaintext = vec![1; case.len("message_len")];
    let applied = surb.apply(&plaintext, links::size(&case), PacketMode::Mix);
    assert_eq!(case.text("error"), "UnpaddedMessageError");
    assert!(
        matches!(applied, Err(ReplyError::Unpadded { .. })),
        "found {applied:?}"
    );
    case.finish();
}

pub(super) fn reply_limit(value: &Value) {
    let case = Case::new(value);
    let key = ReplyKey::from_bytes([1; 16]);
    let (len, size) = (case.len("message_len"), links::size(&case));
    assert_eq!(case.text("error"), "TooLongReplyMessageError");
    let max = size.reply_len_max();
    assert_eq!(
        key.encrypt(&vec![1; len], size),
        Err(ReplyError::TooLong { found: len, max })
    );
    case.finish();
}

pub(super) fn is_cover(value: &Value) {
    let case = Case::new(value);
    let content = case.bytes("content");
    assert_eq!(
        case.field("is_cover"),
        nym_packet::cover::is_cover(&content)
    );
    case.finish();
}
