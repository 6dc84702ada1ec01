//! Whole conversations with a gateway, replayed without a socket.
//!
//! Where the record allows a deviation (`deviation_allowed` names the defect of the reference
//! that we do not repeat), ours may leave the connection in another state than the recorded one,
//! logged in or not. The answers that follow are then compared again as soon as the states agree.

use std::sync::Arc;

use nym_packet::{keys::IdentityKeyPair, time::Timestamp};
use nym_protocol::{
    gateway::{
        Action, AuthenticateRequest, ClientAddress, ConnectionId, GatewaySession, Ledger, Lookup,
        MemoryStore, Presence, SharedKeys,
        control::{ClientControl, HandshakeMessage, ServerControl},
        handshake::{ClientHandshake, Progress},
    },
    ws::WsMessage,
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
use serde_json::{Value, json};

use super::{Case, hex};

const NOW: Timestamp = Timestamp::ZERO;

pub(super) fn replay(value: &Value) {
    let case = Case::new(value);
    let _ = case.text("name");
    let mut conversation = Conversation::new();
    if *case.field("client_registered_beforehand") == true {
        let answers = conversation.register("ok");
        let last = answers.last().expect("a registration is answered");
        assert_eq!(
            last["text"],
            ServerControl::Register { status: true }.to_text()
        );
        conversation.connect(false);
    }
    let mut recorded_logged_in = false;
    for (index, step) in case.list("steps").iter().enumerate() {
        let step = Case::new(step);
        let deviates_already = conversation.is_logged_in() != recorded_logged_in;
        let answers = conversation.take(&step);
        let expected = step.list("expect");
        let may_deviate = match step.get("deviation_allowed") {
            None => false,
            Some(defect) if ["G2", "G3", "G4"].map(Value::from).contains(defect) => true,
            Some(other) => panic!("step {index}: no deviation is known for {other}"),
        };
        if !may_deviate && !deviates_already {
            assert_eq!(answers, expected, "step {index}");
        }
        assert!(
            answers.iter().all(|answer| answer.get("close").is_none()),
            "step {index} closes"
        );
        if step.text("do") == "new-connection" {
            recorded_logged_in = false;
        }
        recorded_logged_in |= expected.iter().any(|answer| {
            let logins = [
                ServerControl::Register { status: true },
                ServerControl::Authenticate { status: true },
            ];
            logins.iter().any(|login| answer["text"] == login.to_text())
        });
        step.finish();
    }
    case.finish();
}

/// One client, its connections, and the gateway.
struct Conversation {
    gateway: Arc<IdentityKeyPair>,
    client: Arc<IdentityKeyPair>,
    keys: Option<Arc<SharedKeys>>,
    older_keys: Option<Arc<SharedKeys>>,
    last_authenticate: Option<String>,
    session: GatewaySession,
    connection: ConnectionId,
    older_sessions: Vec<(ConnectionId, GatewaySession)>,
    store: MemoryStore,
    presence: Presence,
    rng: ChaCha20Rng,
}

impl Conversation {
    fn new() -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(42);
        let gateway = Arc::new(IdentityKeyPair::generate(&mut rng));
        Self {
            session: GatewaySession::new(Arc::clone(&gateway), NOW),
            gateway,
            client: Arc::new(IdentityKeyPair::generate(&mut rng)),
            keys: None,
            older_keys: None,
            last_authenticate: None,
            connection: ConnectionId(0),
            older_sessions: Vec::new(),
            store: MemoryStore::new(1_000),
            presence: Presence::new(),
            rng,
        }
    }

    fn address(&self) -> ClientAddress {
        self.client.public_key().into()
    }

    fn is_logged_in(&self) -> bool {
        self.session.client().is_some()
    }

    fn take(&mut self, step: &Case<'_>) -> Vec<Value> {
        match step.text("do") {
            "text" => self.send(WsMessage::Text(step.text("text").to_owned())),
            "binary" => self.send(WsMessage::Binary(step.bytes("hex"))),
            "sealed" => {
                let frame = self.seal(&step.bytes("plaintext"));
                self.send(WsMessage::Binary(frame))
            }
            "sealed-corrupt" => {
                let mut frame = self.seal(&step.bytes("plaintext"));
                frame[step.len("at")] ^= 1;
                self.send(WsMessage::Binary(frame))
            }
            // The websocket layer answers by itself, whatever the state of the session.
            "ping" => vec![json!({ "pong": hex::encode(hex(step.field("hex"))) })],
            "new-connection" => {
                self.connect(*step.field("keep_old") == true);
                Vec::new()
            }
            "close-others" => {
                for (connection, _) in std::mem::take(&mut self.older_sessions) {
                    self.presence.release(&self.address(), connection);
                }
                Vec::new()
            }
            "authenticate" => self.authenticate(step.text("how")),
            "register" => self.register(step.text("how")),
            other => panic!("unknown step `{other}`"),
        }
    }

    fn seal(&self, plaintext: &[u8]) -> Vec<u8> {
        self.keys
            .as_ref()
            .expect("the client has registered")
            .seal(plaintext)
    }

    fn connect(&mut self, keep_old: bool) {
        let next = ConnectionId(self.connection.0 + 1);
        let connection = std::mem::replace(&mut self.connection, next);
        let session = GatewaySession::new(Arc::clone(&self.gateway), NOW);
        let older = std::mem::replace(&mut self.session, session);
        if keep_old {
            self.older_sessions.push((connection, older));
        } else {
            self.presence.release(&self.address(), connection);
        }
    }

    fn authenticate(&mut self, how: &str) -> Vec<Value> {
        let request = |conversation: &mut Self, client, keys: &SharedKeys| {
            AuthenticateRequest::new(client, keys, &mut conversation.rng)
        };
        let known = self.keys.clone().unwrap_or_else(|| Arc::new(random_keys()));
        let client = self.address();
        let request = match how {
            "ok" => request(self, client, &known),
            "wrong-key" => request(self, client, &random_keys()),
            "unknown-client" => request(self, ClientAddress::from_bytes([7; 32]), &known),
            "zero-iv" => AuthenticateRequest::with_iv(client, &known, [0; 16]),
            "old-key" => {
                let older = self
                    .older_keys
                    .clone()
                    .expect("the client has registered twice");
                request(self, client, &older)
            }
            "replay" => {
                let text = self
                    .last_authenticate
                    .clone()
                    .expect("there is one to replay");
                return self.send(WsMessage::Text(text));
            }
            other => panic!("unknown way to authenticate `{other}`"),
        };
        let text = ClientControl::Authenticate(request.to_credentials()).to_text();
        self.last_authenticate = Some(text.clone());
        self.send(WsMessage::Text(text))
    }

    /// Registers; the answers are those after message 2.
    fn register(&mut self, how: &str) -> Vec<Value> {
        let identity = match how {
            "other-identity" => Arc::new(IdentityKeyPair::from_seed(&[99; 32])),
            _ => Arc::clone(&self.client),
        };
        let gateway = self.gateway.public_key();
        let (mut handshake, first) = ClientHandshake::start(identity, gateway, &mut self.rng);
        let HandshakeMessage::HandshakePayload { mut data } = first else {
            panic!("message 1 carries keys")
        };
        // A client that signs with another key than the one it names.
        data[..32].copy_from_slice(self.client.public_key().as_bytes());
        let first = HandshakeMessage::HandshakePayload { data: data.clone() };
        let mut answers = self.send(WsMessage::Text(first.to_text()));
        let second = answers.remove(0);
        let second = second["text"]
            .as_str()
            .expect("message 2 is text")
            .to_owned();
        let Some(HandshakeMessage::HandshakePayload { data: material }) =
            HandshakeMessage::parse(&second)
        else {
            panic!("message 1 is answered with {second}")
        };
        let Progress::Send(HandshakeMessage::HandshakePayload { data: honest }) =
            handshake.handle_text(&second)
        else {
            panic!("message 2 is refused")
        };
        let signature = |transcript: [&[u8]; 2]| self.client.sign(&transcript.concat());
        let (x, y) = (&data[32..], &material[..32]);
        let third = match how {
            "ok" | "junk-first" | "other-identity" => honest.clone(),
            "wrong-order" => {
                // The key stream is the difference between the honest signature and its cipher.
                let (honest_signature, swapped) = (signature([x, y]), signature([y, x]));
                let keystream = xor(&honest, honest_signature.as_bytes());
                xor(&keystream, swapped.as_bytes())
            }
            "unencrypted" => signature([x, y]).as_bytes().to_vec(),
            "truncated" => honest[..63].to_vec(),
            "abort" => Vec::new(),
            other => panic!("unknown way to register `{other}`"),
        };
        if how == "junk-first" {
            let junk = r#"{"type":"authenticate","address":"a","enc_address":"b","iv":"c"}"#;
            answers.extend(self.send(WsMessage::Text(junk.into())));
            answers.extend(self.send(WsMessage::Binary(vec![1, 2, 3])));
        }
        let third = match how {
            "abort" => HandshakeMessage::HandshakeError {
                message: "client gave up".into(),
            },
            _ => HandshakeMessage::HandshakePayload { data: third },
        };
        answers.extend(self.send(WsMessage::Text(third.to_text())));
        if self.is_logged_in() {
            let stored = self.store.shared_keys(&self.address()).unwrap();
            let stored = Arc::new(stored.expect("a registered client has keys"));
            self.older_keys = self.keys.replace(stored);
        }
        answers
    }

    /// Hands a message to the gateway and collects what it answers.
    fn send(&mut self, message: WsMessage) -> Vec<Value> {
        self.session.handle_message(NOW, message, &mut self.rng);
        let mut answers = Vec::new();
        while let Some(action) = self.session.poll_action() {
            match action {
                Action::LookUpKeys(client) => {
                    let keys = self.store.shared_keys(&client).unwrap();
                    self.session
                        .handle_lookup(keys.map_or(Lookup::Unknown, Lookup::Known));
                }
                Action::Admit(login) => {
                    let (admission, replaced) =
                        self.presence
                            .admit(&mut self.store, self.connection, &login);
                    for (connection, session) in &mut self.older_sessions {
                        if Some(*connection) == replaced {
                            session.handle_replaced();
                        }
                    }
                    self.session.handle_admission(admission);
                }
                Action::Forward(_) => {}
                Action::Send(WsMessage::Text(text)) => answers.push(json!({ "text": text })),
                Action::Send(WsMessage::Binary(_)) => panic!("nothing was pushed"),
                Action::Close(reason) => answers.push(json!({ "close": format!("{reason:?}") })),
            }
        }
        answers
    }
}

fn random_keys() -> SharedKeys {
    SharedKeys::from_bytes(&[0xa7; 32])
}

fn xor(a: &[u8], b: &[u8]) -> Vec<u8> {
    a.iter().zip(b).map(|(a, b)| a ^ b).collect()
}
