//! Addresses and frames.

use nym_packet::address::{AddressError, HopAddress, Recipient, RecipientError};
use nym_packet::frame::{Frame, FrameDecoder, FrameError, PacketMode};
use nym_packet::geometry::PacketSize;
use nym_packet::keys::{IdentityKeyPair, PrivateKey};
use nym_packet::mix_packet::{MixPacket, MixPacketError};
use serde_json::Value;

use super::assert_bytes;
use crate::vectors::case::Case;
use crate::vectors::hex;

pub(super) fn node_address(value: &Value) {
    let case = Case::new(value);
    let address = socket(&case, "socket");
    let unpadded = case.bytes("unpadded");
    assert_bytes("unpadded", address.to_unpadded().as_ref(), &unpadded);
    assert_eq!(address.unpadded_len(), unpadded.len());
    assert_bytes(
        "padded to 19",
        &address.to_padded19(),
        &case.bytes("padded19"),
    );
    assert_bytes(
        "padded to 32",
        &address.to_node_address().0,
        &case.bytes("padded32"),
    );
    for form in ["unpadded", "padded19", "padded32"] {
        assert_eq!(HopAddress::decode(&case.bytes(form)), Ok(address), "{form}");
    }
    case.finish();
}

pub(super) fn node_address_decode(value: &Value) {
    let case = Case::new(value);
    let decoded = HopAddress::decode(&case.bytes("bytes"));
    match case.get("error") {
        None => assert_eq!(decoded, Ok(socket(&case, "socket"))),
        Some(error) => assert_eq!(address_error(decoded.unwrap_err()), error),
    }
    case.finish();
}

pub(super) fn recipient(value: &Value) {
    let case = Case::new(value);
    let identity = IdentityKeyPair::from_seed(&case.array("identity_seed"));
    let encryption = PrivateKey::from_bytes(case.array("encryption_private_key"));
    let gateway = IdentityKeyPair::from_seed(&case.array("gateway_identity_seed"));
    let recipient = Recipient {
        identity: identity.public_key(),
        encryption: encryption.public_key(),
        gateway: gateway.public_key(),
    };
    assert_bytes(
        "identity",
        recipient.identity.as_bytes(),
        &case.bytes("identity_key"),
    );
    assert_bytes(
        "encryption",
        recipient.encryption.as_bytes(),
        &case.bytes("encryption_key"),
    );
    assert_bytes(
        "gateway",
        recipient.gateway.as_bytes(),
        &case.bytes("gateway_key"),
    );
    assert_bytes("bytes", &recipient.to_bytes(), &case.bytes("bytes"));
    assert_eq!(recipient.to_string(), case.text("string"));
    assert_eq!(Recipient::from_bytes(&case.bytes("bytes")), Ok(recipient));
    assert_eq!(case.text("string").parse(), Ok(recipient));
    let destination = recipient.sphinx_destination();
    assert_bytes(
        "destination",
        &destination.address,
        &case.bytes("sphinx_destination"),
    );
    assert_bytes(
        "identifier",
        &destination.identifier,
        &case.bytes("surb_identifier"),
    );
    case.finish();
}

pub(super) fn recipient_bytes(value: &Value) {
    let case = Case::new(value);
    let parsed = Recipient::from_bytes(&case.bytes("bytes"));
    match case.get("error") {
        None => assert_eq!(parsed.unwrap().to_string(), case.text("string")),
        Some(error) => assert_eq!(recipient_error(&parsed.unwrap_err()), error),
    }
    case.finish();
}

pub(super) fn recipient_string(value: &Value) {
    let case = Case::new(value);
    let parsed = case.text("string").parse::<Recipient>();
    match case.get("error") {
        None => assert_bytes("bytes", &parsed.unwrap().to_bytes(), &case.bytes("bytes")),
        Some(error) => assert_eq!(recipient_error(&parsed.unwrap_err()), error),
    }
    case.finish();
}

pub(super) fn encode_frame(value: &Value) {
    let case = Case::new(value);
    let frame = Frame::new(mode(&case), case.bytes("sphinx_packet")).unwrap();
    assert_eq!(frame.size(), size(&case));
    let mut encoded = Vec::new();
    frame.encode_into(&mut encoded);
    assert_bytes("frame", &encoded, &case.bytes("frame"));
    case.finish();
}

pub(super) fn decode_frames(value: &Value) {
    let case = Case::new(value);
    let mut events = case.list("events").iter();
    let mut decoder = FrameDecoder::new();
    for (index, read) in case.list("reads").iter().enumerate() {
        decoder.push(&hex(read));
        loop {
            let result = decoder.next_frame();
            if result == Ok(None) {
                break;
            }
            let event = Case::new(events.next().expect("no event was expected"));
            assert_eq!(event.len("after_read"), index);
            let end = result.is_err();
            decoded(&event, result);
            event.finish();
            if end {
                break;
            }
        }
    }
    assert_eq!(events.next(), None, "further events were expected");
    if case.get("bytes_left").is_some() {
        assert_eq!(decoder.pending_len(), case.len("bytes_left"));
    }
    case.finish();
}

fn decoded(event: &Case, result: Result<Option<Frame>, FrameError>) {
    match result {
        Ok(frame) => {
            let frame = frame.expect("the loop ends without a frame");
            assert_eq!(event.text("event"), "frame");
            assert_eq!((frame.size(), frame.mode()), (size(event), mode(event)));
            assert_bytes("packet", frame.packet(), &event.bytes("sphinx_packet"));
        }
        Err(error) => {
            assert_eq!(event.text("event"), "error");
            let name = match error {
                FrameError::UnknownSize { .. } => "InvalidPacketSize",
                FrameError::UnknownMode { .. } => "InvalidPacketMode",
                error => panic!("{error}"),
            };
            assert_eq!(name, event.text("error"));
        }
    }
}

pub(super) fn mix_packet(value: &Value) {
    let case = Case::new(value);
    let packet = case.bytes("sphinx_packet");
    let packet = MixPacket::new(mode(&case), socket(&case, "next_hop"), packet).unwrap();
    assert_bytes("bytes", &packet.to_bytes(), &case.bytes("bytes"));
    assert_eq!(MixPacket::from_bytes(&case.bytes("bytes")), Ok(packet));
    case.finish();
}

pub(super) fn mix_packet_decode(value: &Value) {
    let case = Case::new(value);
    let name = match MixPacket::from_bytes(&case.bytes("bytes")).unwrap_err() {
        MixPacketError::Address(_) => "InvalidAddress",
        MixPacketError::Empty => "TooFewBytesProvided",
        MixPacketError::Length(_) => "InvalidPacketSize",
        MixPacketError::UnknownMode { .. } => "InvalidPacketMode",
        error => panic!("{error}"),
    };
    assert_eq!(name, case.text("error"));
    case.get("reference_panics");
    case.finish();
}

/// The socket address in a member.
pub(super) fn socket(case: &Case, member: &str) -> HopAddress {
    case.text(member).parse().unwrap()
}

/// The member `packet_mode`.
pub(super) fn mode(case: &Case) -> PacketMode {
    match case.text("packet_mode") {
        "mix" => PacketMode::Mix,
        "vpn" => PacketMode::Vpn,
        other => panic!("unknown packet mode `{other}`"),
    }
}

/// The member `packet_size`.
pub(super) fn size(case: &Case) -> PacketSize {
    match case.text("packet_size") {
        "regular" => PacketSize::Regular,
        "ack" => PacketSize::Ack,
        "extended" => PacketSize::Extended,
        other => panic!("unknown packet size `{other}`"),
    }
}

fn address_error(error: AddressError) -> &'static str {
    match error {
        AddressError::TooShort { .. } => "InsufficientNumberOfBytesAvailableError",
        AddressError::UnknownType { .. } => "InvalidIpVersion",
        error => panic!("{error}"),
    }
}

fn recipient_error(error: &RecipientError) -> &'static str {
    match error {
        RecipientError::Encryption(_) => "MalformedEncryptionKeyError",
        RecipientError::Gateway(_) => "MalformedGatewayError",
        RecipientError::Identity(_) => "MalformedIdentityError",
        RecipientError::Length { .. } | RecipientError::Shape => "MalformedRecipientError",
        error => panic!("{error}"),
    }
}
