//! What somebody may try against a gateway of 0.11 with success. The names begin with the number
//! of the weakness in the table of defects of the protocol's description.

use std::time::Duration;

use nym_gateway::{Config, Rate};
use nym_node::links::LinkConfig;
use nym_packet::address::HopAddress;
use nym_packet::frame::PacketMode;
use nym_packet::mix_packet::MixPacket;
use nym_protocol::gateway::control::{ClientControl, HandshakeMessage};
use nym_protocol::gateway::gateway_session::MESSAGE_LEN_MAX;
use nym_protocol::validator::Topology;
use nym_transport::websocket::{DialError, WebSocket, WebSocketLimits};
use rusqlite::Connection;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval};

use super::network::{Client, LastMixNode, NextHop, Running, Session, message, soon};
use super::wire::{Answer, BINARY, Wire, header, login};

/// RFC 6455, section 7.4.1: what the peer does is not allowed.
const POLICY: u16 = 1008;
/// A message is too long.
const TOO_LONG: u16 = 1009;

fn granted() -> Answer {
    Answer::Text(r#"{"type":"authenticate","status":true}"#.into())
}

fn denied() -> Answer {
    Answer::Text(r#"{"type":"authenticate","status":false}"#.into())
}

fn error(message: &str) -> Answer {
    Answer::Text(format!(r#"{{"type":"error","message":"{message}"}}"#))
}

/// A count in an hour, so that no pause of a busy machine fills the bucket again.
fn hourly(count: u32) -> Rate {
    Rate::new(count, Duration::from_secs(3600), count)
}

#[tokio::test]
async fn g1_client_link_is_encrypted_unless_the_legacy_switch_is_on() {
    let secure = |config: &mut Config| config.link_config = LinkConfig::default();
    let gateway = Running::start_with(secure).await;
    let url = format!("ws://{}", gateway.contact.addresses.clients);
    let plain = WebSocket::dial(&url, WebSocketLimits::default()).await;
    assert!(matches!(plain, Err(DialError::Handshake { .. })));
    let accepted = "nym_node_handshakes_accepted_total";
    let refused = format!("{accepted}{{result=\"legacy_denied\"}}");
    gateway.until_metric(&refused, |count| count == 1).await;

    let identity = gateway.contact.identity;
    let socket = WebSocket::dial_tls(&url, identity, WebSocketLimits::default()).await;
    let mut alice = Client::new();
    let session = alice.log_in_over(socket.unwrap(), &gateway.contact).await;
    assert!(session.is_ok());
    let encrypted = format!("{accepted}{{result=\"tls\"}}");
    assert_eq!(gateway.metric(&encrypted).await, 1);
    let plain = format!("{accepted}{{result=\"plain\"}}");
    assert_eq!(gateway.metric(&plain).await, 0);
}

#[tokio::test]
async fn g2_replayed_iv_is_refused() {
    let gateway = Running::start().await;
    let alice = Client::registered(&gateway.contact).await;
    let mut session = Wire::log_in(&gateway.contact, &alice, [7; 16]).await;
    assert_eq!(session.next().await, granted());

    let mut replay = Wire::log_in(&gateway.contact, &alice, [7; 16]).await;
    assert_eq!(replay.next().await, denied());
    assert_eq!(gateway.count("logins_replayed").await, 1);
    // Neither the one who is there nor a restart makes a difference.
    assert_eq!(session.ask("x").await, error("invalid request"));
    let gateway = gateway.restart().await;
    let mut replay = Wire::log_in(&gateway.contact, &alice, [7; 16]).await;
    assert_eq!(replay.next().await, denied());
    assert_eq!(replay.ask(&login(&alice, [8; 16])).await, granted());
}

#[tokio::test]
async fn g2_zero_iv_is_refused() {
    let gateway = Running::start().await;
    let alice = Client::registered(&gateway.contact).await;
    let mut wire = Wire::log_in(&gateway.contact, &alice, [0; 16]).await;
    assert_eq!(wire.next().await, denied());
    assert_eq!(gateway.count("logins_denied").await, 1);
    assert_eq!(wire.ask(&login(&alice, [1; 16])).await, granted());
}

#[tokio::test]
async fn g2_authentications_are_limited_for_an_address_and_for_a_client() {
    let limits = |config: &mut Config| config.client_limits.address.authentications = hourly(2);
    let gateway = Running::start_with(limits).await;
    let alice = Client::registered(&gateway.contact).await;
    let too_often = error("Authentication failure - too many of late, try again later");
    let mut wire = Wire::log_in(&gateway.contact, &alice, [0; 16]).await;
    assert_eq!(wire.next().await, denied());
    assert_eq!(wire.ask(&login(&alice, [0; 16])).await, denied());
    let right = login(&alice, [1; 16]);
    assert_eq!(wire.ask(&right).await, too_often);
    let mut another = Wire::open(&gateway.contact).await;
    assert_eq!(another.ask(&right).await, too_often);
    assert_eq!(gateway.count("logins_throttled").await, 2);

    let limits = |config: &mut Config| config.client_limits.logins = hourly(3);
    let gateway = Running::start_with(limits).await;
    // The registration is the first login.
    let alice = Client::registered(&gateway.contact).await;
    let bob = Client::registered(&gateway.contact).await;
    for (number, answer) in [(1, granted()), (2, granted()), (3, too_often)] {
        // What proves nothing does not count: nobody can lock a client out.
        let mut wire = Wire::log_in(&gateway.contact, &alice, [0; 16]).await;
        assert_eq!(wire.next().await, denied());
        assert_eq!(wire.ask(&login(&alice, [number; 16])).await, answer);
    }
    let mut wire = Wire::log_in(&gateway.contact, &bob, [1; 16]).await;
    assert_eq!(wire.next().await, granted());
}

#[tokio::test]
async fn g2_logins_that_are_replayed_use_up_none_of_their_client() {
    let limits = |config: &mut Config| config.client_limits.logins = hourly(3);
    let gateway = Running::start_with(limits).await;
    // The registration is the first login, and this the second.
    let alice = Client::registered(&gateway.contact).await;
    let mut session = Wire::log_in(&gateway.contact, &alice, [7; 16]).await;
    assert_eq!(session.next().await, granted());
    let mut replay = Wire::open(&gateway.contact).await;
    for _ in 0..5 {
        assert_eq!(replay.ask(&login(&alice, [7; 16])).await, denied());
    }
    let mut session = Wire::log_in(&gateway.contact, &alice, [8; 16]).await;
    assert_eq!(session.next().await, granted());
}

#[tokio::test]
async fn g3_who_has_no_key_does_not_learn_who_is_online() {
    let gateway = Running::start().await;
    let alice = Client::registered(&gateway.contact).await;
    let bob = Client::registered(&gateway.contact).await;
    let forged = Client {
        identity: alice.identity.clone(),
        keys: bob.keys.clone(),
    };
    gateway.until("clients_online", |count| count == 0).await;
    let mut wire = Wire::open(&gateway.contact).await;
    let offline = wire.ask(&login(&forged, [1; 16])).await;
    let mut session = Wire::log_in(&gateway.contact, &alice, [2; 16]).await;
    assert_eq!(session.next().await, granted());
    let online = wire.ask(&login(&forged, [3; 16])).await;
    assert_eq!((offline, online), (denied(), denied()));
}

#[tokio::test]
async fn g4_second_login_replaces_the_first_and_gets_the_messages() {
    let gateway = Running::start().await;
    let mut acks = NextHop::start().await;
    let mix = LastMixNode::new(gateway.contact, acks.address());
    let mut alice = Client::registered(&gateway.contact).await;
    let mut older = Wire::log_in(&gateway.contact, &alice, [1; 16]).await;
    assert_eq!(older.next().await, granted());
    let mut newer = alice.log_in(&gateway.contact).await.unwrap();
    assert_eq!(older.next().await, Answer::Close(POLICY));
    mix.send(&alice, 9);
    assert_eq!(newer.push().await, message(9));
    assert_eq!(acks.ack().await, 9);
    assert_eq!(gateway.count("clients_online").await, 1);
}

#[tokio::test]
async fn g4_half_open_connection_is_found_out_and_its_messages_are_kept() {
    let limits = |config: &mut Config| {
        config.client_limits.ping_after = Duration::from_millis(100);
        config.client_limits.dead_after = Duration::from_millis(400);
    };
    let gateway = Running::start_with(limits).await;
    let mut alice = Client::registered(&gateway.contact).await;
    let mut dead = Wire::log_in(&gateway.contact, &alice, [1; 16]).await;
    assert_eq!(dead.next().await, granted());
    assert_eq!(dead.next().await, Answer::Other(0x89), "a ping");
    // It says nothing more, and its end is never heard of.
    gateway.until("clients_online", |count| count == 0).await;
    assert_eq!(gateway.count("clients_silent").await, 1);
    assert_eq!(dead.next().await, Answer::Close(POLICY));

    let mut acks = NextHop::start().await;
    let mix = LastMixNode::new(gateway.contact, acks.address());
    mix.send(&alice, 5);
    assert_eq!(acks.ack().await, 5);
    let mut session = alice.log_in(&gateway.contact).await.unwrap();
    assert_eq!(session.push().await, message(5));
}

#[tokio::test]
async fn g4_client_that_answers_pings_stays() {
    let limits = |config: &mut Config| {
        config.client_limits.ping_after = Duration::from_millis(50);
        config.client_limits.dead_after = Duration::from_secs(15);
    };
    let gateway = Running::start_with(limits).await;
    let mut session = Client::new().log_in(&gateway.contact).await.unwrap();
    tokio::select! {
        () = session.closed() => panic!("the connection was closed"),
        () = gateway.until("clients_pinged", |count| count >= 5) => {}
    }
    assert_eq!(gateway.count("clients_online").await, 1);
}

#[tokio::test]
async fn g5_login_that_is_cut_off_leaves_nobody_online() {
    let gateway = Running::start().await;
    let mut alice = Client::registered(&gateway.contact).await;
    for number in 1..=10 {
        let wire = Wire::log_in(&gateway.contact, &alice, [number; 16]).await;
        // Without a linger the end is a reset, and the answer cannot be written.
        wire.stream.set_zero_linger().unwrap();
        drop(wire);
    }
    gateway.until("clients_online", |count| count == 0).await;
    alice.log_in(&gateway.contact).await.unwrap();
}

#[tokio::test]
async fn g5_login_that_is_granted_and_whose_answer_cannot_be_written_leaves_nobody_online() {
    let gateway = Running::start().await;
    let mut alice = Client::registered(&gateway.contact).await;
    let database = Connection::open(gateway.database()).unwrap();
    for attempt in 1..=10 {
        gateway.until("clients_connected", |count| count == 0).await;
        let granted = gateway.count("logins").await;
        // The login is read, and waits for the database until its client is gone.
        database.execute_batch("BEGIN IMMEDIATE").unwrap();
        let wire = Wire::log_in(&gateway.contact, &alice, [attempt; 16]).await;
        tokio::time::sleep(Duration::from_millis(50) * u32::from(attempt)).await;
        wire.stream.set_zero_linger().unwrap();
        drop(wire);
        database.execute_batch("ROLLBACK").unwrap();
        gateway.until("clients_connected", |count| count == 0).await;
        // On a machine that is busy with other things it may be gone before it is read.
        if gateway.count("logins").await > granted {
            gateway.until("clients_online", |count| count == 0).await;
            alice.log_in(&gateway.contact).await.unwrap();
            return;
        }
    }
    panic!("no login was read before its client was gone");
}

#[tokio::test]
async fn g6_messages_outlive_a_login_that_breaks() {
    let gateway = Running::start().await;
    let mut acks = NextHop::start().await;
    let mix = LastMixNode::new(gateway.contact, acks.address());
    let mut alice = Client::registered(&gateway.contact).await;
    gateway.until("clients_online", |count| count == 0).await;
    for number in 0..3 {
        mix.send(&alice, number);
        assert_eq!(acks.ack().await, number);
    }
    for number in 1..=5 {
        let mut wire = Wire::log_in(&gateway.contact, &alice, [number; 16]).await;
        if number > 2 {
            // It hears that it is logged in, and reads a push as well, but answers no ping.
            assert_eq!(wire.next().await, granted());
        }
        if number > 4 {
            assert_eq!(wire.next().await, Answer::Other(BINARY));
        }
        wire.stream.set_zero_linger().unwrap();
        drop(wire);
    }
    gateway.until("clients_online", |count| count == 0).await;
    let mut session = alice.log_in(&gateway.contact).await.unwrap();
    for number in 0..3 {
        assert_eq!(session.push().await, message(number));
    }
    session.reading(gateway.stored(0)).await;
}

#[tokio::test]
async fn g7_empty_plaintext_frame_is_answered_and_the_connection_goes_on() {
    let gateway = Running::start().await;
    let alice = Client::registered(&gateway.contact).await;
    let mut wire = Wire::log_in(&gateway.contact, &alice, [1; 16]).await;
    assert_eq!(wire.next().await, granted());
    let frame = alice.keys.as_ref().unwrap().seal(&[]);
    assert_eq!(frame.len(), 32);
    wire.send_binary(&frame).await;
    let malformed =
        "provided mix packet was malformed - Too few bytes provided to recover from bytes";
    assert_eq!(wire.next().await, error(malformed));
    assert_eq!(wire.ask("x").await, error("invalid request"));
}

#[tokio::test]
async fn g7_frame_of_32_bytes_is_answered_before_and_after_the_login() {
    let gateway = Running::start().await;
    let alice = Client::registered(&gateway.contact).await;
    let mut wire = Wire::open(&gateway.contact).await;
    wire.send_binary(&[0; 32]).await;
    let early = error("binary request without prior authentication");
    assert_eq!(wire.next().await, early);
    assert_eq!(wire.ask(&login(&alice, [1; 16])).await, granted());
    wire.send_binary(&[0; 32]).await;
    assert_eq!(wire.next().await, error("provided MAC is invalid"));
    wire.send_binary(&[0; 31]).await;
    assert_eq!(wire.next().await, error("the request is too short"));
    wire.send_binary(&[]).await;
    assert_eq!(wire.next().await, error("the request is too short"));
}

#[tokio::test]
async fn g8_message_that_nobody_has_is_not_acknowledged() {
    let gateway = Running::start_with(|config| config.quotas.messages_per_client_max = 1).await;
    let mut acks = NextHop::start().await;
    let mix = LastMixNode::new(gateway.contact, acks.address());
    let alice = Client::registered(&gateway.contact).await;
    let bob = Client::registered(&gateway.contact).await;
    gateway.until("clients_online", |count| count == 0).await;
    // Of a stranger; of a client whose inbox is empty, and then full.
    mix.send(&Client::new(), 1);
    mix.send(&alice, 2);
    mix.send(&alice, 3);
    mix.send(&bob, 4);
    assert_eq!(acks.ack().await, 2);
    assert_eq!(acks.ack().await, 4);
    assert_eq!(gateway.count("messages_refused_unknown").await, 1);
    assert_eq!(gateway.count("messages_refused_full").await, 1);
    assert_eq!(gateway.count("acks_released").await, 2);
}

#[tokio::test]
async fn g9_slowloris_upgrade_is_cut_off() {
    let limits = |config: &mut Config| {
        config.client_limits.websocket.handshake_timeout = Duration::from_millis(300);
    };
    let gateway = Running::start_with(limits).await;
    let clients = gateway.contact.addresses.clients;
    let mut silent = TcpStream::connect(clients).await.unwrap();
    silent.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let mut slow = TcpStream::connect(clients).await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nX: ").await.unwrap();
    soon("the slow one is cut off", trickle(&mut slow)).await;
    let end = soon("the silent one is cut off", silent.read(&mut [0])).await;
    assert_eq!(end.unwrap_or(0), 0);
}

/// Sends a byte at a time until the connection ends.
async fn trickle(stream: &mut TcpStream) {
    let (mut reader, mut writer) = stream.split();
    let mut ticks = interval(Duration::from_millis(20));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let write = async {
        while writer.write_all(b"x").await.is_ok() {
            ticks.tick().await;
        }
    };
    let mut rest = Vec::new();
    tokio::select! {
        () = write => {}
        _ = reader.read_to_end(&mut rest) => {}
    }
}

#[tokio::test]
async fn g9_slowloris_frame_is_cut_off() {
    let limits = |config: &mut Config| {
        config.client_limits.ping_after = Duration::from_millis(100);
        config.client_limits.dead_after = Duration::from_millis(300);
    };
    let gateway = Running::start_with(limits).await;
    let alice = Client::registered(&gateway.contact).await;
    let mut wire = Wire::log_in(&gateway.contact, &alice, [1; 16]).await;
    assert_eq!(wire.next().await, granted());
    // A frame that never ends is no sign of life.
    wire.stream.write_all(&header(0x82, 1 << 19)).await.unwrap();
    soon("the slow one is cut off", trickle(&mut wire.stream)).await;
    gateway.until("clients_silent", |count| count == 1).await;
}

#[tokio::test]
async fn g9_connection_that_does_not_log_in_is_closed() {
    let limits = |config: &mut Config| {
        config.client_limits.session.login_timeout = Duration::from_millis(300);
    };
    let gateway = Running::start_with(limits).await;
    let mut wire = Wire::open(&gateway.contact).await;
    assert_eq!(wire.next().await, Answer::Close(POLICY));
}

#[tokio::test]
async fn g9_handshake_that_is_not_completed_is_closed() {
    let limits = |config: &mut Config| {
        config.client_limits.session.handshake_timeout = Duration::from_millis(300);
    };
    let gateway = Running::start_with(limits).await;
    let mut wire = Wire::open(&gateway.contact).await;
    assert!(matches!(wire.ask(&register()).await, Answer::Text(_)));
    // What is skipped does not prolong it.
    assert_eq!(wire.ask("x").await, Answer::Close(POLICY));
}

/// The first message of somebody's registration.
fn register() -> String {
    let identity = Client::new().identity.public_key();
    let data = [*identity.as_bytes(), [9; 32]].concat();
    ClientControl::Register { data }.to_text()
}

#[tokio::test]
async fn g9_registrations_from_one_address_are_limited() {
    let limits = |config: &mut Config| config.client_limits.address.registrations = hourly(1);
    let gateway = Running::start_with(limits).await;
    let mut wire = Wire::open(&gateway.contact).await;
    assert!(matches!(wire.ask(&register()).await, Answer::Text(_)));
    let message = "too many registrations of late, try again later".to_owned();
    let give_up = HandshakeMessage::HandshakeError {
        message: message.clone(),
    };
    let mut another = Wire::open(&gateway.contact).await;
    let answer = another.ask(&register()).await;
    assert_eq!(answer, Answer::Text(give_up.to_text()));
    let failed = format!("failed to perform the handshake - {message}");
    assert_eq!(another.next().await, error(&failed));
    assert_eq!(gateway.count("logins_throttled").await, 1);
}

#[tokio::test]
async fn g9_connections_from_one_address_are_bounded() {
    let limits = |config: &mut Config| config.client_limits.address.connections = 1;
    let gateway = Running::start_with(limits).await;
    let mut first = Wire::open(&gateway.contact).await;
    let mut second = TcpStream::connect(gateway.contact.addresses.clients)
        .await
        .unwrap();
    let end = soon("one more is closed", second.read(&mut [0])).await;
    assert_eq!(end.unwrap_or(0), 0);
    assert_eq!(gateway.count("connections_refused").await, 1);
    assert_eq!(first.ask("x").await, error("malformed request"));
}

#[tokio::test]
async fn g9_who_sends_more_than_the_limit_waits() {
    for (messages, bytes) in [(hourly(1), hourly(1 << 20)), (hourly(1 << 20), hourly(1))] {
        let limits = |config: &mut Config| {
            config.client_limits.messages = messages;
            config.client_limits.bytes = bytes;
        };
        let gateway = Running::start_with(limits).await;
        let mut wire = Wire::open(&gateway.contact).await;
        assert_eq!(wire.ask("first").await, error("malformed request"));
        wire.say("second").await;
        gateway.until("reads_held_back", |count| count == 1).await;
    }
}

#[tokio::test]
async fn g9_message_of_a_mebibyte_is_answered_and_a_longer_one_ends_the_connection() {
    let gateway = Running::start().await;
    let mut wire = Wire::open(&gateway.contact).await;
    wire.send_binary(&vec![0; MESSAGE_LEN_MAX]).await;
    let early = error("binary request without prior authentication");
    assert_eq!(wire.next().await, early);
    // The announced length is enough.
    let header = header(0x82, MESSAGE_LEN_MAX + 1);
    wire.stream.write_all(&header).await.unwrap();
    assert_eq!(wire.next().await, Answer::Close(TOO_LONG));
}

/// Sends messages to a client that is online until one of them was not stored.
async fn until_live(gateway: &Running, mix: &LastMixNode, acks: &mut NextHop, to: Online<'_>) {
    let Online(client, session) = to;
    let taken = gateway.count("messages_taken").await;
    while gateway.count("messages_taken").await == taken {
        deliver(mix, acks, Online(client, session), 0).await;
    }
}

/// A client and its connection.
struct Online<'a>(&'a Client, &'a mut Session);

/// Sends a message, and waits until it is pushed and acknowledged.
async fn deliver(mix: &LastMixNode, acks: &mut NextHop, to: Online<'_>, number: u8) {
    let Online(client, session) = to;
    mix.send(client, number);
    assert_eq!(session.push().await, message(number));
    while session.reading(acks.ack()).await != number {}
}

#[tokio::test]
async fn g10_login_that_takes_long_holds_up_no_delivery() {
    let gateway = Running::start().await;
    let mut acks = NextHop::start().await;
    let mix = LastMixNode::new(gateway.contact, acks.address());
    let bob = Client::registered(&gateway.contact).await;
    let database = Connection::open(gateway.database()).unwrap();
    // The login gives up after two seconds. On a machine that is busy with other things that may
    // be too short for the messages; not ten times.
    for attempt in 1..=10 {
        let mut alice = Client::new();
        let mut session = alice.log_in(&gateway.contact).await.unwrap();
        until_live(&gateway, &mix, &mut acks, Online(&alice, &mut session)).await;
        database.execute_batch("BEGIN IMMEDIATE").unwrap();
        let mut slow = Wire::log_in(&gateway.contact, &bob, [attempt; 16]).await;
        let delivered = async {
            for number in 1..=20 {
                let number = attempt * 20 + number;
                deliver(&mix, &mut acks, Online(&alice, &mut session), number).await;
            }
        };
        let is_delivered = tokio::select! {
            () = delivered => true,
            _ = slow.next() => false,
        };
        database.execute_batch("ROLLBACK").unwrap();
        if is_delivered {
            return;
        }
    }
    panic!("messages waited for a login, time and again");
}

#[tokio::test]
async fn g13_next_hop_that_is_in_no_topology_is_not_dialled() {
    let closed = |config: &mut Config| config.link_config.open_relay_for_tests = false;
    let gateway = Running::start_with(closed).await;
    let mut stranger = NextHop::start().await;
    let mut session = Client::new().log_in(&gateway.contact).await.unwrap();
    let address = HopAddress::new(stranger.address());
    let packet = MixPacket::new(PacketMode::Mix, address, vec![5; 2413]).unwrap();
    // That it took the packet is confirmed, as on the wire of 0.11, before it knows more.
    session.send(&packet).await;
    let refused = "nym_node_frames_dropped_total{reason=\"address_refused\"} 1";
    let counted = async {
        while !gateway.page("/metrics").await.1.contains(refused) {
            // The packet waits for a topology that names its next hop; none does.
            gateway.peers.update(&Topology::default());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        () = soon("the packet is dropped and counted", counted) => {}
        frame = stranger.next_frame() => panic!("{frame:?} reached a stranger"),
    }
    let refused = "nym_node_handshakes_dialled_total{result=\"not_in_topology\"}";
    assert_eq!(gateway.metric(refused).await, 1);
}

#[tokio::test]
async fn g15_gateway_starts_without_its_validator() {
    // Nobody listens there, nor on the second port that is tried.
    let nowhere = |config: &mut Config| {
        config.validators.urls = vec!["http://127.0.0.9:1".parse().unwrap()];
    };
    let gateway = Running::start_with(nowhere).await;
    Client::new().log_in(&gateway.contact).await.unwrap();
}

#[tokio::test]
async fn g16_client_is_online_as_soon_as_its_login_is_answered() {
    let gateway = Running::start().await;
    let mut acks = NextHop::start().await;
    let mix = LastMixNode::new(gateway.contact, acks.address());
    for number in 0..10 {
        // Whether it registers or returns, and with nothing stored for it ever.
        let mut alice = Client::new();
        for _ in 0..2 {
            let mut session = alice.log_in(&gateway.contact).await.unwrap();
            assert_eq!(gateway.count("clients_online").await, 1);
            deliver(&mix, &mut acks, Online(&alice, &mut session), number).await;
            session.reading(gateway.stored(0)).await;
            drop(session);
            gateway.until("clients_online", |count| count == 0).await;
        }
    }
    assert_eq!(gateway.count("messages_refused_unknown").await, 0);
}
