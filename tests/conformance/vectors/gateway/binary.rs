//! Data frames in both directions.

use std::sync::Arc;

use nym_packet::{
    geometry::PacketSize, keys::IdentityKeyPair, mix_packet::MixPacket, time::Timestamp,
};
use nym_protocol::{
    gateway::{
        Action, Admission, AuthenticateRequest, ClientLogin, ClientSession, GatewaySession, Lookup,
        PushKind, SharedKeys,
        client_session::Event,
        control::{ClientControl, ServerControl},
    },
    ws::WsMessage,
};
use serde_json::Value;

use super::{Case, Given, VectorFile, shared_keys};

pub(super) fn run(file: &mut VectorFile) {
    file.each("requests", request);
    file.each("pushes", push);
    file.each("routing_by_length", routing);
    let sizes = file.member("sizes");
    file.case("sizes", || check_sizes(&sizes));
    let errors = file.member("request_errors");
    let cases = errors["cases"].as_array().expect("`cases` is a list");
    assert!(!cases.is_empty(), "`request_errors` has no case");
    for case in cases {
        let name = case["name"].as_str().expect("a case has a name");
        file.case(name, || request_error(&errors["keys"], case));
    }
}

fn request(value: &Value) {
    let case = Case::new(value);
    let keys = Arc::new(shared_keys(case.field("keys")));
    let (plaintext, frame) = (case.bytes("plaintext"), case.bytes("frame"));
    let packet = MixPacket::from_bytes(&plaintext).unwrap();
    assert_eq!(u64::from(packet.mode().code()), case.u64("packet_mode"));
    assert_eq!(
        packet.first_hop().socket_addr().to_string(),
        case.text("next_hop")
    );
    let size = match case.text("packet_size") {
        "ack" => PacketSize::Ack,
        "regular" => PacketSize::Regular,
        "extended" => PacketSize::Extended,
        other => panic!("unknown size `{other}`"),
    };
    assert_eq!(packet.size(), size);
    assert_eq!(plaintext[case.len("sphinx_offset")..], *packet.packet());

    let sealed = client(&keys).seal_packet(&packet);
    assert_eq!(sealed, Some(WsMessage::Binary(frame.clone())));
    let answers = answers(&mut gateway(&keys), frame);
    assert!(matches!(&answers[0], Action::Forward(forwarded) if *forwarded == packet));
    let confirmation = ServerControl::Send { status: true }.to_text();
    assert!(matches!(&answers[1], Action::Send(WsMessage::Text(text)) if *text == confirmation));
    assert_eq!(answers.len(), 2);
    case.finish();
}

fn request_error(keys: &Value, value: &Value) {
    let case = Case::new(value);
    let _ = case.text("name");
    let mut gateway = gateway(&Arc::new(shared_keys(keys)));
    let answers = answers(&mut gateway, case.bytes("frame"));
    let [Action::Send(WsMessage::Text(text))] = &answers[..] else {
        panic!("answered with {answers:?}")
    };
    let Some(ServerControl::Error { message }) = ServerControl::parse(text) else {
        panic!("answered with {text}")
    };
    let result = Case::new(case.field("result"));
    match result.get("error") {
        Some(error) => assert_eq!(*error, message),
        None => assert_eq!(*result.field("reference_panics"), true),
    }
    assert!(gateway.client().is_some());
    result.finish();
    case.finish();
}

fn push(value: &Value) {
    let case = Case::new(value);
    let keys = Arc::new(shared_keys(case.field("keys")));
    let (plaintext, frame) = (case.bytes("plaintext"), case.bytes("frame"));
    let kind = PushKind::of(plaintext.len());
    match case.text("kind") {
        "ack" => assert_eq!(kind, PushKind::Ack),
        "regular" | "extended" | "other" => assert_eq!(kind, PushKind::Message),
        other => panic!("unknown kind `{other}`"),
    }
    let sealed = gateway(&keys).seal_push(&plaintext).unwrap();
    assert_eq!(sealed, WsMessage::Binary(frame.clone()));
    let mut client = client(&keys);
    client.handle_message(WsMessage::Binary(frame));
    assert!(matches!(client.poll_event(), Some(Event::Push(push)) if push == plaintext));
    case.finish();
}

fn routing(value: &Value) {
    let case = Case::new(value);
    let kind = PushKind::of(case.len("plaintext_len"));
    assert_eq!(*case.field("to_ack_queue"), kind == PushKind::Ack);
    assert_eq!(*case.field("to_message_queue"), kind == PushKind::Message);
    case.finish();
}

fn check_sizes(value: &Value) {
    let case = Case::new(value);
    for (name, size) in [
        ("ack", PacketSize::Ack),
        ("regular", PacketSize::Regular),
        ("extended", PacketSize::Extended),
    ] {
        assert_eq!(case.len(name), size.packet_len());
        assert_eq!(case.len(&format!("{name}_plaintext")), size.plaintext_len());
    }
    assert_eq!(
        case.len("mac"),
        nym_protocol::gateway::shared_keys::FRAME_OVERHEAD
    );
    case.finish();
}

fn identity() -> Arc<IdentityKeyPair> {
    Arc::new(IdentityKeyPair::from_seed(&[1; 32]))
}

/// A client that has logged in with these keys.
fn client(keys: &Arc<SharedKeys>) -> ClientSession {
    let login = ClientLogin::Authentication {
        client: identity().public_key(),
        keys: Arc::clone(keys),
    };
    let mut session = ClientSession::new(login, Timestamp::ZERO, &mut Given([7; 16].into()));
    let granted = ServerControl::Authenticate { status: true }.to_text();
    session.handle_message(WsMessage::Text(granted));
    assert!(matches!(session.poll_event(), Some(Event::Ready { .. })));
    session
}

/// A gateway at which a client has logged in with these keys.
fn gateway(keys: &SharedKeys) -> GatewaySession {
    let mut session = GatewaySession::new(identity(), Timestamp::ZERO);
    let client = identity().public_key().into();
    let request = AuthenticateRequest::with_iv(client, keys, [7; 16]).to_credentials();
    let text = ClientControl::Authenticate(request).to_text();
    let mut nothing = Given([].into());
    session.handle_message(Timestamp::ZERO, WsMessage::Text(text), &mut nothing);
    session.handle_lookup(Lookup::Known(SharedKeys::from_bytes(&keys.to_bytes())));
    session.handle_admission(Admission::Online);
    while session.poll_action().is_some() {}
    assert_eq!(session.client(), Some(client));
    session
}

fn answers(session: &mut GatewaySession, frame: Vec<u8>) -> Vec<Action> {
    session.handle_message(
        Timestamp::ZERO,
        WsMessage::Binary(frame),
        &mut Given([].into()),
    );
    std::iter::from_fn(|| session.poll_action()).collect()
}
