//! The vectors of `tests/vectors/gateway`.

mod binary;
mod handshake;
mod sessions;

use std::{collections::VecDeque, convert::Infallible};

use nym_daemon::keys as files;
use nym_protocol::gateway::{
    AuthenticateRequest, ClientAddress, SharedKeys,
    control::{ClientControl, Credentials, HandshakeMessage, ServerControl},
};
use rand_core::{TryCryptoRng, TryRng};
use serde_json::Value;

use super::{VectorFile, case::Case, hex, hex_array};

super::vector_files! {
    "gateway":
    auth => "auth.json", |file| file.each("cases", authenticate);
    binary => "binary.json", binary::run;
    control => "control.json", |file| {
        file.each("parse", parse_control);
        file.each("serialise", serialise_control);
    };
    handshake => "handshake.json", handshake::run;
    keyfiles => "keyfiles.json", |file| file.each("files", key_file);
    sessions => "sessions.json", |file| file.each("sessions", sessions::replay);
}

fn authenticate(value: &Value) {
    let case = Case::new(value);
    let keys = shared_keys(case.field("keys"));
    let client: [u8; 32] = case.array("client_identity_public");
    let client = ClientAddress::from_bytes(client);
    let made = AuthenticateRequest::with_iv(client, &keys, case.array("iv"));
    let credentials = made.to_credentials();
    assert_eq!(credentials.address, case.text("address_base58"));
    assert_eq!(credentials.enc_address, case.text("enc_address_base58"));
    assert_eq!(credentials.iv, case.text("iv_base58"));
    assert_eq!(base58(&credentials.enc_address), case.bytes("enc_address"));
    let request = ClientControl::Authenticate(credentials);
    assert_eq!(request.to_text(), case.text("request_text"));

    let Some(ClientControl::Authenticate(mut read)) =
        ClientControl::parse(case.text("request_text"))
    else {
        panic!("the request is not understood")
    };
    let verify = |credentials: &Credentials| {
        AuthenticateRequest::from_credentials(credentials).is_ok_and(|read| read.verify(&keys))
    };
    assert_eq!(verify(&read), *case.field("accept"));
    read.enc_address = to_base58(&case.bytes("tampered_enc_address"));
    assert_eq!(verify(&read), *case.field("tampered_accept"));
    case.finish();
}

fn parse_control(value: &Value) {
    let case = Case::new(value);
    let text = case.text("text");
    let request = Case::new(case.field("as_initial_request"));
    match ClientControl::parse(text) {
        None => {
            assert_eq!(*request.field("rejected"), true);
            // The parser's words are informative.
            let _ = request.get("serde_error");
        }
        Some(ClientControl::Register { data }) => assert_eq!(data, request.bytes("register")),
        Some(ClientControl::Authenticate(credentials)) => {
            let expected = Case::new(request.field("authenticate"));
            assert_eq!(credentials.address, expected.text("address"));
            assert_eq!(credentials.enc_address, expected.text("enc_address"));
            assert_eq!(credentials.iv, expected.text("iv"));
            expected.finish();
        }
    }
    request.finish();
    let message = Case::new(case.field("as_handshake_message"));
    match HandshakeMessage::parse(text) {
        None => assert_eq!(*message.field("ignored"), true),
        Some(HandshakeMessage::HandshakePayload { data }) => {
            assert_eq!(data, message.bytes("payload"));
        }
        Some(HandshakeMessage::HandshakeError { message: error }) => {
            assert_eq!(error, message.text("error"));
        }
    }
    message.finish();
    case.finish();
}

fn serialise_control(value: &Value) {
    let case = Case::new(value);
    let members = case
        .field("value")
        .as_object()
        .expect("a value is an object");
    let (kind, content) = members.iter().next().expect("a value has one member");
    let flag = || content.as_bool().expect("a status is a flag");
    let text = || content.as_str().expect("a reason is a string").to_owned();
    let written = match kind.as_str() {
        "authenticate" => ServerControl::Authenticate { status: flag() }.to_text(),
        "error" => ServerControl::error(text()).to_text(),
        "handshake_error" => HandshakeMessage::HandshakeError { message: text() }.to_text(),
        "handshake_payload" => {
            let data = hex(content);
            HandshakeMessage::HandshakePayload { data }.to_text()
        }
        "register" => ServerControl::Register { status: flag() }.to_text(),
        "send" => ServerControl::Send { status: flag() }.to_text(),
        other => panic!("unknown kind of message `{other}`"),
    };
    assert_eq!(written, case.text("text"));
    case.finish();
}

fn key_file(value: &Value) {
    let case = Case::new(value);
    let tag = match case.text("kind") {
        "identity-private" => files::ED25519_PRIVATE_KEY,
        "identity-public" => files::ED25519_PUBLIC_KEY,
        "encryption-private" => files::X25519_PRIVATE_KEY,
        "encryption-public" => files::X25519_PUBLIC_KEY,
        "gateway-shared-keys" => files::GATEWAY_SHARED_KEYS,
        "ack-key" => files::ACK_KEY,
        other => panic!("unknown kind of key `{other}`"),
    };
    assert_eq!(tag, case.text("tag"));
    let (raw, text) = (case.bytes("raw"), case.text("file_text"));
    assert_eq!(files::encode_pem(tag, &raw), text);
    assert_eq!(*files::parse_pem(tag, text).unwrap(), raw);
    case.finish();
}

/// The keys that a case gives in four ways.
fn shared_keys(value: &Value) -> SharedKeys {
    let case = Case::new(value);
    let bytes: [u8; 32] = case.array("shared_keys");
    let halves = [case.bytes("encryption_key"), case.bytes("mac_key")].concat();
    assert_eq!(bytes.as_slice(), halves);
    assert_eq!(base58(case.text("shared_keys_base58")), bytes);
    case.finish();
    let keys = SharedKeys::from_bytes(&bytes);
    assert_eq!(*keys.to_bytes(), bytes);
    keys
}

fn base58(text: &str) -> Vec<u8> {
    bs58::decode(text).into_vec().unwrap()
}

fn to_base58(bytes: &[u8]) -> String {
    bs58::encode(bytes).into_string()
}

/// A generator that draws the given bytes and no others.
struct Given(VecDeque<u8>);

impl Given {
    fn new(value: &Value) -> Self {
        let bytes: [u8; 32] = hex_array(value);
        Self(VecDeque::from(bytes))
    }

    fn draw<const LEN: usize>(&mut self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes.fill_with(|| self.0.pop_front().expect("more bytes are drawn than given"));
        bytes
    }
}

impl TryRng for Given {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(self.draw()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(self.draw()))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for byte in bytes {
            [*byte] = self.draw();
        }
        Ok(())
    }
}

impl TryCryptoRng for Given {}
