//! Both ends of a connection, wired to each other without a socket.

use std::sync::Arc;
use std::time::Duration;

use nym_packet::address::HopAddress;
use nym_packet::frame::PacketMode;
use nym_packet::keys::IdentityKeyPair;
use nym_packet::mix_packet::MixPacket;
use nym_packet::time::Timestamp;
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use super::client_session::{AUTHENTICATION_TIMEOUT, Event, REGISTRATION_TIMEOUT};
use super::control::{ClientControl, Credentials, HandshakeMessage};
use super::gateway_session::{HANDSHAKE_TIMEOUT, LOGIN_TIMEOUT, MESSAGE_LEN_MAX, REFUSALS_MAX};
use super::*;
use crate::ws::WsMessage;

const START: Timestamp = Timestamp::from_nanos(1_000);

/// A gateway with one connection that tests drive.
struct Gateway {
    identity: Arc<IdentityKeyPair>,
    session: GatewaySession,
    connection: ConnectionId,
    store: MemoryStore,
    presence: Presence,
    rng: ChaCha20Rng,
    sent: Vec<WsMessage>,
    forwarded: Vec<MixPacket>,
    closed: Option<CloseReason>,
    replaced: Option<ConnectionId>,
}

impl Gateway {
    fn new() -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(21);
        let identity = Arc::new(IdentityKeyPair::generate(&mut rng));
        Self {
            session: GatewaySession::new(Arc::clone(&identity), START),
            identity,
            connection: ConnectionId(0),
            store: MemoryStore::new(100),
            presence: Presence::new(),
            rng,
            sent: Vec::new(),
            forwarded: Vec::new(),
            closed: None,
            replaced: None,
        }
    }

    /// Leaves the older connection as it is and opens another.
    fn reconnect(&mut self) -> GatewaySession {
        self.connection = ConnectionId(self.connection.0 + 1);
        self.closed = None;
        std::mem::replace(
            &mut self.session,
            GatewaySession::new(Arc::clone(&self.identity), START),
        )
    }

    fn handle(&mut self, message: WsMessage) {
        self.handle_at(START, message);
    }

    fn handle_at(&mut self, now: Timestamp, message: WsMessage) {
        self.session.handle_message(now, message, &mut self.rng);
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
                    self.replaced = replaced;
                    self.session.handle_admission(admission);
                }
                Action::Forward(packet) => self.forwarded.push(packet),
                Action::Send(message) => self.sent.push(message),
                Action::Close(reason) => self.closed = Some(reason),
            }
        }
    }

    fn answers(&mut self, text: &str) -> Vec<String> {
        self.handle(WsMessage::Text(text.into()));
        self.sent
            .drain(..)
            .map(|message| match message {
                WsMessage::Text(text) => text,
                WsMessage::Binary(_) => panic!("an answer is text"),
            })
            .collect()
    }

    /// Carries messages until both sides have nothing more to say.
    fn converse(&mut self, client: &mut ClientSession) -> Vec<Event> {
        loop {
            while let Some(message) = client.poll_transmit() {
                self.handle(message);
            }
            if self.sent.is_empty() {
                break;
            }
            for message in self.sent.drain(..) {
                client.handle_message(message);
            }
        }
        std::iter::from_fn(|| client.poll_event()).collect()
    }

    fn register(&mut self, identity: &Arc<IdentityKeyPair>) -> (ClientSession, Arc<SharedKeys>) {
        let login = ClientLogin::Registration {
            identity: Arc::clone(identity),
            gateway: self.identity.public_key(),
        };
        let mut client = ClientSession::new(login, START, &mut self.rng);
        let mut events = self.converse(&mut client);
        match (events.pop(), events.is_empty()) {
            (Some(Event::Ready { shared_keys }), true) => (client, shared_keys),
            (event, _) => panic!("registration ends with {event:?}"),
        }
    }

    fn authenticate(
        &mut self,
        identity: &IdentityKeyPair,
        keys: &Arc<SharedKeys>,
    ) -> (ClientSession, Vec<Event>) {
        let client = identity.public_key();
        let login = ClientLogin::Authentication {
            client,
            keys: Arc::clone(keys),
        };
        let mut client = ClientSession::new(login, START, &mut self.rng);
        let events = self.converse(&mut client);
        (client, events)
    }
}

fn alice() -> Arc<IdentityKeyPair> {
    Arc::new(IdentityKeyPair::from_seed(&[5; 32]))
}

fn packet() -> MixPacket {
    let first_hop = HopAddress::new("127.0.0.1:1789".parse().unwrap());
    MixPacket::new(PacketMode::Mix, first_hop, vec![7; 386]).unwrap()
}

#[test]
fn registered_client_comes_back_sends_and_receives() {
    let mut gateway = Gateway::new();
    let (_, keys) = gateway.register(&alice());
    let address = ClientAddress::from(alice().public_key());
    assert_eq!(gateway.session.client(), Some(address));
    gateway.presence.release(&address, gateway.connection);
    gateway.reconnect();
    let (mut client, events) = gateway.authenticate(&alice(), &keys);
    assert!(matches!(events[..], [Event::Ready { .. }]));

    gateway.handle(client.seal_packet(&packet()).unwrap());
    assert_eq!(gateway.forwarded, [packet()]);
    assert_eq!(
        gateway.sent,
        [WsMessage::Text(r#"{"type":"send","status":true}"#.into())]
    );

    let push = gateway.session.seal_push(b"hello").unwrap();
    client.handle_message(push);
    assert!(matches!(client.poll_event(), Some(Event::Push(push)) if push == b"hello"));
}

#[test]
fn g11_client_learns_that_a_completed_handshake_was_not_a_registration() {
    let mut gateway = Gateway::new();
    gateway.register(&alice());
    gateway.reconnect();
    let login = ClientLogin::Registration {
        identity: alice(),
        gateway: gateway.identity.public_key(),
    };
    let mut client = ClientSession::new(login, START, &mut gateway.rng);
    let events = gateway.converse(&mut client);
    let message = "Registration failure - duplicate connection detected".to_owned();
    assert!(
        matches!(&events[..], [Event::Refused(refusal)] if *refusal == Refusal::Gateway { message })
    );
}

#[test]
fn client_does_not_register_at_an_impostor() {
    let mut gateway = Gateway::new();
    let gateway_key = IdentityKeyPair::from_seed(&[8; 32]).public_key();
    let login = ClientLogin::Registration {
        identity: alice(),
        gateway: gateway_key,
    };
    let mut client = ClientSession::new(login, START, &mut gateway.rng);
    let events = gateway.converse(&mut client);
    let refusal = Refusal::Handshake(handshake::HandshakeError::InvalidSignature);
    assert!(matches!(&events[..], [Event::Refused(found)] if *found == refusal));
    assert_eq!(gateway.session.client(), None);
}

#[test]
fn repeated_login_and_login_with_the_zero_iv_are_denied() {
    let mut gateway = Gateway::new();
    let (_, keys) = gateway.register(&alice());
    let request = |iv| {
        let request = AuthenticateRequest::with_iv(alice().public_key().into(), &keys, iv);
        ClientControl::Authenticate(request.to_credentials()).to_text()
    };
    let (granted, denied) = (
        r#"{"type":"authenticate","status":true}"#,
        r#"{"type":"authenticate","status":false}"#,
    );
    gateway.reconnect();
    assert_eq!(gateway.answers(&request([1; 16])), [granted]);
    gateway.reconnect();
    assert_eq!(gateway.answers(&request([1; 16])), [denied]);
    assert_eq!(gateway.answers(&request([0; 16])), [denied]);
    assert_eq!(gateway.answers(&request([2; 16])), [granted]);
}

#[test]
fn proof_is_checked_before_presence_and_a_valid_one_replaces_the_older_connection() {
    let mut gateway = Gateway::new();
    let (_, keys) = gateway.register(&alice());
    let mut older = gateway.reconnect();
    let wrong = Arc::new(SharedKeys::from_bytes(&[9; 32]));
    let (_, events) = gateway.authenticate(&alice(), &wrong);
    assert!(matches!(
        events[..],
        [Event::Refused(Refusal::NotRecognised)]
    ));
    assert_eq!(gateway.replaced, None);

    let (_, events) = gateway.authenticate(&alice(), &keys);
    assert!(matches!(events[..], [Event::Ready { .. }]));
    assert_eq!(gateway.replaced, Some(ConnectionId(0)));
    older.handle_replaced();
    assert!(matches!(
        older.poll_action(),
        Some(Action::Close(CloseReason::Replaced))
    ));
    assert!(older.seal_push(b"x").is_none());
}

#[test]
fn handshake_may_take_ten_seconds_and_no_more() {
    for (late, authenticated) in [(true, false), (false, true)] {
        let mut gateway = Gateway::new();
        let login = ClientLogin::Registration {
            identity: alice(),
            gateway: gateway.identity.public_key(),
        };
        let mut client = ClientSession::new(login, START, &mut gateway.rng);
        gateway.handle(client.poll_transmit().unwrap());
        client.handle_message(gateway.sent.remove(0));
        let deadline = START + HANDSHAKE_TIMEOUT;
        assert_eq!(gateway.session.poll_timeout(), Some(deadline));
        let early = Timestamp::from_nanos(deadline.as_nanos() - 1);
        let now = if late { deadline } else { early };
        gateway.session.handle_timeout(now);
        gateway.handle_at(now, client.poll_transmit().unwrap());
        assert_eq!(gateway.session.client().is_some(), authenticated);
        assert_eq!(
            gateway.closed,
            (!authenticated).then_some(CloseReason::TimedOut)
        );
    }
}

#[test]
fn connection_without_a_login_ends_after_a_minute() {
    let mut gateway = Gateway::new();
    let deadline = START + LOGIN_TIMEOUT;
    assert_eq!(gateway.session.poll_timeout(), Some(deadline));
    gateway
        .session
        .handle_timeout(Timestamp::from_nanos(deadline.as_nanos() - 1));
    assert!(!gateway.session.is_closed());
    gateway.session.handle_timeout(deadline);
    assert!(gateway.session.is_closed());
    assert_eq!(gateway.session.poll_timeout(), None);
}

#[test]
fn silent_gateway_is_given_up_in_time() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let authentication = ClientLogin::Authentication {
        client: alice().public_key(),
        keys: Arc::new(SharedKeys::from_bytes(&[1; 32])),
    };
    let registration = ClientLogin::Registration {
        identity: alice(),
        gateway: alice().public_key(),
    };
    let cases = [
        (authentication, AUTHENTICATION_TIMEOUT),
        (registration, REGISTRATION_TIMEOUT),
    ];
    for (login, timeout) in cases {
        let mut client = ClientSession::new(login, START, &mut rng);
        let deadline = START + timeout;
        client.handle_timeout(Timestamp::from_nanos(deadline.as_nanos() - 1));
        assert!(client.poll_event().is_none());
        client.handle_timeout(deadline);
        assert!(matches!(
            client.poll_event(),
            Some(Event::Refused(Refusal::TimedOut))
        ));
    }
}

#[test]
fn message_of_a_mebibyte_is_answered_and_a_longer_one_closes() {
    let mut gateway = Gateway::new();
    gateway.handle(WsMessage::Binary(vec![0; MESSAGE_LEN_MAX]));
    assert_eq!((gateway.sent.len(), gateway.closed), (1, None));
    gateway.handle(WsMessage::Binary(vec![0; MESSAGE_LEN_MAX + 1]));
    assert_eq!(
        (gateway.sent.len(), gateway.closed),
        (1, Some(CloseReason::MessageTooLong))
    );
}

#[test]
fn guessing_ends_after_a_bounded_number_of_refusals() {
    let mut gateway = Gateway::new();
    for _ in 0..REFUSALS_MAX {
        gateway.handle(WsMessage::Text("x".into()));
    }
    assert_eq!(gateway.closed, None);
    gateway.handle(WsMessage::Text("x".into()));
    assert_eq!(gateway.closed, Some(CloseReason::TooManyRefusals));
}

#[test]
fn attempts_are_told_apart_and_a_throttled_one_is_refused_and_counted() {
    let mut gateway = Gateway::new();
    let register = ClientControl::Register { data: vec![1] }.to_text();
    let credentials = Credentials {
        address: "1".into(),
        enc_address: "1".into(),
        iv: "1".into(),
    };
    let authenticate = ClientControl::Authenticate(credentials).to_text();
    let attempt = |gateway: &Gateway, text: &str| gateway.session.attempt(&text.to_owned().into());
    assert_eq!(attempt(&gateway, "x"), None);
    let binary = WsMessage::Binary(register.clone().into());
    assert_eq!(gateway.session.attempt(&binary), None);
    let mut answers = Vec::new();
    for (text, expected) in [
        (&register, Attempt::Registration),
        (&authenticate, Attempt::Authentication),
    ] {
        assert_eq!(attempt(&gateway, text), Some(expected));
        gateway.session.handle_throttled(expected);
        while let Some(action) = gateway.session.poll_action() {
            match action {
                Action::Send(WsMessage::Text(text)) => answers.push(text),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(
        answers,
        [
            r#"{"type":"handshakeError","message":"too many registrations of late, try again later"}"#,
            r#"{"type":"error","message":"failed to perform the handshake - too many registrations of late, try again later"}"#,
            r#"{"type":"error","message":"Authentication failure - too many of late, try again later"}"#,
        ]
    );
    for _ in 2..REFUSALS_MAX {
        gateway.session.handle_throttled(Attempt::Authentication);
    }
    assert!(!gateway.session.is_closed());
    gateway.session.handle_throttled(Attempt::Authentication);
    assert!(gateway.session.is_closed());

    // A handshake's later messages look like its first, and are no attempts.
    let mut gateway = Gateway::new();
    let login = ClientLogin::Registration {
        identity: alice(),
        gateway: gateway.identity.public_key(),
    };
    let mut client = ClientSession::new(login, START, &mut gateway.rng);
    gateway.handle(client.poll_transmit().unwrap());
    client.handle_message(gateway.sent.remove(0));
    let proof = client.poll_transmit().unwrap();
    assert_eq!(gateway.session.attempt(&proof), None);
    gateway.handle(proof);
    assert_eq!(attempt(&gateway, &register), None);
}

#[test]
fn message_while_an_answer_is_due_closes() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut session = GatewaySession::new(alice(), START);
    let keys = SharedKeys::from_bytes(&[1; 32]);
    let request = AuthenticateRequest::with_iv(alice().public_key().into(), &keys, [1; 16]);
    let text = ClientControl::Authenticate(request.to_credentials()).to_text();
    session.handle_message(START, WsMessage::Text(text), &mut rng);
    assert!(matches!(session.poll_action(), Some(Action::LookUpKeys(_))));
    session.handle_message(START, WsMessage::Binary(Vec::new()), &mut rng);
    session.handle_lookup(Lookup::Known(keys));
    let closed = session.poll_action();
    assert!(matches!(
        closed,
        Some(Action::Close(CloseReason::UnexpectedMessage))
    ));
    assert!(session.poll_action().is_none());
}

#[test]
fn debug_output_shows_only_the_state() {
    let gateway = Gateway::new();
    assert_eq!(
        format!("{:?}", gateway.session),
        r#"GatewaySession { state: "Unauthenticated", .. }"#
    );
}

/// What somebody without a key may try.
#[derive(Clone, Debug)]
enum Hostile {
    Text(String),
    Binary(Vec<u8>),
    Payload(Vec<u8>),
    PayloadInTheNameOfAlice([u8; 32]),
    GiveUp,
    ForgedLogin { proof: [u8; 32], iv: [u8; 16] },
    ReplayedLogin,
    LoginWithKeystreamOfFrames,
    Wait(u32),
    Reconnect,
}

fn hostile() -> impl Strategy<Value = Hostile> {
    prop_oneof![
        ".{0,60}".prop_map(Hostile::Text),
        prop::collection::vec(any::<u8>(), 0..80).prop_map(Hostile::Binary),
        prop::collection::vec(any::<u8>(), 0..100).prop_map(Hostile::Payload),
        any::<[u8; 32]>().prop_map(Hostile::PayloadInTheNameOfAlice),
        Just(Hostile::GiveUp),
        any::<([u8; 32], [u8; 16])>().prop_map(|(proof, iv)| Hostile::ForgedLogin { proof, iv }),
        Just(Hostile::ReplayedLogin),
        Just(Hostile::LoginWithKeystreamOfFrames),
        any::<u32>().prop_map(Hostile::Wait),
        Just(Hostile::Reconnect),
    ]
}

/// Every answer of a gateway that lets nobody in who logs in for the second time.
fn any_answer() -> impl Strategy<Value = control::ServerControl> {
    use control::ServerControl::{Authenticate, Error, Register, Send};
    prop_oneof![
        Just(Authenticate { status: false }),
        ".{0,20}".prop_map(|message| Error { message }),
        any::<bool>().prop_map(|status| Register { status }),
        any::<bool>().prop_map(|status| Send { status }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn nobody_becomes_alice_without_her_keys(attack in prop::collection::vec(hostile(), 1..40)) {
        let mut gateway = Gateway::new();
        let (_, keys) = gateway.register(&alice());
        let victim = ClientAddress::from(alice().public_key());
        let recorded = AuthenticateRequest::with_iv(victim, &keys, [1; 16]).to_credentials();
        let recorded = ClientControl::Authenticate(recorded).to_text();
        let zero_iv = AuthenticateRequest::with_iv(victim, &keys, [0; 16]).to_credentials();
        gateway.reconnect();
        gateway.handle(WsMessage::Text(recorded.clone()));
        prop_assert_eq!(gateway.session.client(), Some(victim));
        gateway.reconnect();

        let mut now = START;
        for step in attack {
            let text = match step {
                Hostile::Text(text) => text,
                Hostile::Binary(bytes) => {
                    gateway.handle_at(now, WsMessage::Binary(bytes));
                    continue;
                }
                Hostile::Payload(data) => HandshakeMessage::HandshakePayload { data }.to_text(),
                Hostile::PayloadInTheNameOfAlice(key) => {
                    let data = [*victim.as_bytes(), key].concat();
                    HandshakeMessage::HandshakePayload { data }.to_text()
                }
                Hostile::GiveUp => {
                    HandshakeMessage::HandshakeError { message: "never mind".into() }.to_text()
                }
                Hostile::ForgedLogin { proof, iv } => ClientControl::Authenticate(Credentials {
                    address: alice().public_key().to_string(),
                    enc_address: bs58::encode(proof).into_string(),
                    iv: bs58::encode(iv).into_string(),
                })
                .to_text(),
                Hostile::ReplayedLogin => recorded.clone(),
                Hostile::LoginWithKeystreamOfFrames => {
                    ClientControl::Authenticate(zero_iv.clone()).to_text()
                }
                Hostile::Wait(nanos) => {
                    now += Duration::from_nanos(u64::from(nanos) * 5);
                    gateway.session.handle_timeout(now);
                    continue;
                }
                Hostile::Reconnect => {
                    gateway.reconnect();
                    continue;
                }
            };
            gateway.handle_at(now, WsMessage::Text(text));
            prop_assert_eq!(gateway.session.client(), None);
            prop_assert!(gateway.forwarded.is_empty());
        }
    }

    #[test]
    fn client_survives_any_gateway(
        messages in prop::collection::vec(
            prop_oneof![
                ".{0,60}".prop_map(WsMessage::Text),
                prop::collection::vec(any::<u8>(), 0..80).prop_map(WsMessage::Binary),
                prop::collection::vec(any::<u8>(), 0..100)
                    .prop_map(|data| HandshakeMessage::HandshakePayload { data }.to_text().into()),
                any_answer().prop_map(|answer| answer.to_text().into()),
            ],
            0..20,
        ),
    ) {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let gateway = IdentityKeyPair::from_seed(&[8; 32]).public_key();
        let registration = ClientLogin::Registration { identity: alice(), gateway };
        let authentication = ClientLogin::Authentication {
            client: alice().public_key(),
            keys: Arc::new(SharedKeys::from_bytes(&[1; 32])),
        };
        for login in [registration, authentication] {
            let mut client = ClientSession::new(login, START, &mut rng);
            for message in &messages {
                client.handle_message(message.clone());
                prop_assert!(!client.is_ready());
            }
            client.handle_closed();
        }
    }
}
