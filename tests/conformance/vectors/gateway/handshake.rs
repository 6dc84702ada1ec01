//! Registration handshakes: whole ones, and one party against a script.

use std::sync::Arc;

use nym_packet::keys::{IdentityKeyPair, IdentityPublicKey, PrivateKey};
use nym_protocol::gateway::{
    SharedKeys,
    control::{ClientControl, HandshakeMessage},
    handshake::{ClientHandshake, GatewayHandshake, HandshakeError, Progress},
};
use serde_json::Value;

use super::{Case, Given, VectorFile, base58, shared_keys};

pub(super) fn run(file: &mut VectorFile) {
    file.each("cases", whole);
    let scripted = file.member("scripted");
    let runs = scripted["runs"].as_array().expect("`runs` is a list");
    assert!(!runs.is_empty(), "`runs` has no case");
    for run in runs {
        let name = run["name"].as_str().expect("a run has a name");
        file.case(name, || against_script(&scripted, run));
    }
}

fn whole(value: &Value) {
    let case = Case::new(value);
    let _ = case.text("name");
    let client = identity(case.field("client_identity"));
    let gateway = identity(case.field("gateway_identity"));
    let client_ephemeral = ephemeral(case.field("client_ephemeral"));
    let gateway_ephemeral = ephemeral(case.field("gateway_ephemeral"));
    let secret = client_ephemeral.diffie_hellman(&gateway_ephemeral.public_key());
    assert_eq!(*secret.as_bytes(), case.array("dh"));
    let keys = shared_keys(case.field("keys"));
    assert_eq!(*keys.to_bytes(), case.array("okm"));

    let mut client_rng = Given::new(&case.field("client_ephemeral")["secret"]);
    let mut gateway_rng = Given::new(&case.field("gateway_ephemeral")["secret"]);
    let client_key = client_ephemeral.public_key();
    let gateway_key = gateway_ephemeral.public_key();
    let (x, y) = (client_key.as_bytes(), gateway_key.as_bytes());
    let signed = gateway.sign(&[*y, *x].concat());
    assert_eq!(
        signed.as_bytes().as_slice(),
        case.bytes("gateway_signature")
    );
    let signed = client.sign(&[*x, *y].concat());
    assert_eq!(signed.as_bytes().as_slice(), case.bytes("client_signature"));

    let (mut at_client, first) =
        ClientHandshake::start(Arc::new(client), gateway.public_key(), &mut client_rng);
    let init = payload(&first);
    assert_eq!(init, case.bytes("init_payload"));
    let Some(ClientControl::Register { data }) = ClientControl::parse(&first.to_text()) else {
        panic!("message 1 is not understood")
    };
    let (mut at_gateway, second) =
        GatewayHandshake::accept(&gateway, &data, &mut gateway_rng).unwrap();
    assert_eq!(payload(&second)[32..], case.bytes("gateway_material"));
    let Progress::Send(third) = at_client.handle_text(&second.to_text()) else {
        panic!("message 2 is not answered")
    };
    assert_eq!(payload(&third), case.bytes("client_material"));
    let Progress::Done {
        send: Some(fourth),
        keys: gateway_keys,
    } = at_gateway.handle_text(&third.to_text())
    else {
        panic!("message 3 is not answered")
    };
    let Progress::Done {
        send: None,
        keys: client_keys,
    } = at_client.handle_text(&fourth.to_text())
    else {
        panic!("message 4 is not understood")
    };
    assert_eq!(*gateway_keys.to_bytes(), *keys.to_bytes());
    assert_eq!(*client_keys.to_bytes(), *keys.to_bytes());

    let messages = case.list("messages");
    let made = [first, second, third, fourth];
    assert_eq!(messages.len(), made.len());
    for ((message, made), from) in messages
        .iter()
        .zip(made)
        .zip(["client", "gateway"].repeat(2))
    {
        assert_eq!(message["from"], from);
        assert_eq!(message["text"], made.to_text());
    }
    case.finish();
}

/// One party of either kind.
enum Party {
    Client(ClientHandshake),
    Gateway(GatewayHandshake),
}

fn against_script(scripted: &Value, run: &Value) {
    let case = Case::new(run);
    let _ = case.text("name");
    let mut outputs = Vec::new();
    let mut outcome = None;
    let mut party = match case.text("party") {
        "client" => {
            let mut rng = Given::new(&scripted["client_ephemeral"]["secret"]);
            let client = Arc::new(identity(&scripted["client_identity"]));
            let gateway = IdentityPublicKey::from_bytes(&case.bytes("expected_gateway_identity"));
            let (handshake, first) = ClientHandshake::start(client, gateway.unwrap(), &mut rng);
            outputs.push(first.to_text());
            Some(Party::Client(handshake))
        }
        "gateway" => {
            let mut rng = Given::new(&scripted["gateway_ephemeral"]["secret"]);
            let gateway = identity(&scripted["gateway_identity"]);
            let init = case.bytes("init_payload");
            match GatewayHandshake::accept(&gateway, &init, &mut rng) {
                Ok((handshake, second)) => {
                    outputs.push(second.to_text());
                    Some(Party::Gateway(handshake))
                }
                Err(error) => {
                    let message = error.to_string();
                    outputs.push(HandshakeMessage::HandshakeError { message }.to_text());
                    outcome = Some(Err(error));
                    None
                }
            }
        }
        other => panic!("unknown party `{other}`"),
    };
    for input in case.list("inputs") {
        let Some(text) = text_input(input) else {
            continue;
        };
        let progress = match &mut party {
            Some(Party::Client(handshake)) => handshake.handle_text(text),
            Some(Party::Gateway(handshake)) => handshake.handle_text(text),
            None => break,
        };
        let (send, end) = match progress {
            Progress::Waiting => (None, None),
            Progress::Send(message) => (Some(message), None),
            Progress::Done { send, keys } => (send, Some(Ok(keys))),
            Progress::Failed { send, error } => (send, Some(Err(error))),
        };
        outputs.extend(send.map(|message| message.to_text()));
        if end.is_some() {
            outcome = end;
            party = None;
        }
    }
    let expected: Vec<_> = case
        .list("outputs")
        .iter()
        .map(|text| text.as_str().unwrap().to_owned())
        .collect();
    assert_eq!(outputs, expected);
    check_result(
        case.field("result"),
        outcome.unwrap_or(Err(HandshakeError::Closed)),
    );
    case.finish();
}

fn check_result(expected: &Value, outcome: Result<SharedKeys, HandshakeError>) {
    let expected = Case::new(expected);
    match outcome {
        Ok(keys) => assert_eq!(*keys.to_bytes(), expected.array("shared_keys")),
        Err(error) => assert_eq!(error.to_string(), expected.text("error")),
    }
    expected.finish();
}

/// The text of an input; binary messages and pings never reach a handshake.
fn text_input(input: &Value) -> Option<&str> {
    let members = input.as_object().expect("an input is an object");
    match members
        .iter()
        .next()
        .map(|(kind, content)| (kind.as_str(), content))
    {
        Some(("text", text)) => Some(text.as_str().expect("a text is a string")),
        Some(("binary" | "ping", _)) => None,
        other => panic!("unknown input {other:?}"),
    }
}

fn payload(message: &HandshakeMessage) -> Vec<u8> {
    match message {
        HandshakeMessage::HandshakePayload { data } => data.clone(),
        HandshakeMessage::HandshakeError { message } => panic!("gave up: {message}"),
    }
}

fn identity(value: &Value) -> IdentityKeyPair {
    let case = Case::new(value);
    let pair = IdentityKeyPair::from_seed(&case.array("secret"));
    assert_eq!(*pair.public_key().as_bytes(), case.array("public"));
    assert_eq!(
        pair.public_key().as_bytes().as_slice(),
        base58(case.text("public_base58"))
    );
    case.finish();
    pair
}

fn ephemeral(value: &Value) -> PrivateKey {
    let case = Case::new(value);
    let key = PrivateKey::from_bytes(case.array("secret"));
    assert_eq!(*key.public_key().as_bytes(), case.array("public"));
    case.finish();
    key
}
