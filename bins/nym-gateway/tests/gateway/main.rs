//! A gateway with real sockets around it: what it promises to clients and to senders.

#![cfg(test)]

mod attacks;
mod faults;
mod kill;
mod metrics;
mod network;
mod operator;
mod process;
mod wire;

use std::net::SocketAddr;
use std::time::Duration;

use nym_packet::address::HopAddress;
use nym_packet::frame::PacketMode;
use nym_packet::mix_packet::MixPacket;
use nym_protocol::gateway::Refusal;
use nym_protocol::gateway::control::{ClientControl, ServerControl};
use nym_protocol::ws::WsMessage;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use network::{Client, LastMixNode, NextHop, Running, message, soon};
use wire::{Answer, BINARY, Wire, login};

#[tokio::test]
async fn message_for_an_online_client_is_pushed_and_acknowledged() {
    let gateway = Running::start().await;
    let mut acks = NextHop::start().await;
    let mix = LastMixNode::new(gateway.contact, acks.address());
    let mut alice = Client::new();
    let mut session = alice.log_in(&gateway.contact).await.unwrap();
    // Right after a login the connection drains the inbox, and a message may take that way.
    for number in 0..100 {
        mix.send(&alice, number);
        assert_eq!(session.push().await, message(number));
        // The client answers the ping behind the push because it goes on reading.
        assert_eq!(session.reading(acks.ack()).await, number);
        if gateway.count("messages_taken").await > 0 {
            return;
        }
    }
    panic!("every message is stored");
}

#[tokio::test]
async fn message_whose_ping_is_not_answered_is_stored_and_pushed_again() {
    let gateway = Running::start().await;
    let mut acks = NextHop::start().await;
    let mix = LastMixNode::new(gateway.contact, acks.address());
    let mut alice = Client::registered(&gateway.contact).await;
    let mut wire = Wire::log_in(&gateway.contact, &alice, [1; 16]).await;
    for number in 0..3 {
        mix.send(&alice, number);
    }
    // The client reads what is pushed, and is gone before it has answered a ping.
    let mut pushes = 0;
    while pushes < 3 {
        let answer = wire.next().await;
        assert_ne!(answer, Answer::Gone);
        pushes += u32::from(answer == Answer::Other(BINARY));
    }
    drop(wire);
    for number in 0..3 {
        assert_eq!(acks.ack().await, number);
    }
    mix.send(&alice, 3);
    assert_eq!(acks.ack().await, 3);
    assert_eq!(gateway.count("messages_stored").await, 4);
    let mut session = alice.log_in(&gateway.contact).await.unwrap();
    for number in 0..4 {
        assert_eq!(session.push().await, message(number));
    }
}

#[tokio::test]
async fn message_for_a_client_that_reads_nothing_is_stored_and_acknowledged_after_the_patience() {
    let gateway = Running::start().await;
    let mut acks = NextHop::start().await;
    let mix = LastMixNode::new(gateway.contact, acks.address());
    let mut alice = Client::new();
    let mut session = alice.log_in(&gateway.contact).await.unwrap();
    mix.send(&alice, 1);
    assert_eq!(acks.ack().await, 1);
    assert_eq!(gateway.count("messages_taken").await, 0);
    assert_eq!(gateway.count("messages_stored").await, 1);
    // The connection lives on: nothing is pushed twice on it, and the late pong removes it.
    mix.send(&alice, 2);
    assert_eq!(session.push().await, message(1));
    assert_eq!(session.push().await, message(2));
    assert_eq!(session.reading(acks.ack()).await, 2);
    session.reading(gateway.stored(0)).await;
    drop(session);
    let mut session = alice.log_in(&gateway.contact).await.unwrap();
    mix.send(&alice, 3);
    assert_eq!(session.push().await, message(3));
}

#[tokio::test]
async fn messages_that_would_take_too_much_memory_are_stored_although_their_client_is_online() {
    let gateway = Running::start_with(|config| config.held_memory_max = 0).await;
    let mut acks = NextHop::start().await;
    let mix = LastMixNode::new(gateway.contact, acks.address());
    let mut alice = Client::new();
    let mut session = alice.log_in(&gateway.contact).await.unwrap();
    for number in 0..20 {
        mix.send(&alice, number);
        assert_eq!(session.push().await, message(number));
        assert_eq!(session.reading(acks.ack()).await, number);
        session.reading(gateway.stored(0)).await;
    }
    assert_eq!(gateway.count("messages_stored").await, 20);
    assert_eq!(gateway.count("messages_taken").await, 0);
    // With room for them, they need no disk.
    let mut changed = gateway.reloadable;
    changed.held_memory_max = 1 << 20;
    gateway.control.reload(changed);
    let mut number = 20;
    while gateway.count("messages_taken").await == 0 {
        mix.send(&alice, number);
        assert_eq!(session.push().await, message(number));
        assert_eq!(session.reading(acks.ack()).await, number);
        number += 1;
    }
}

/// An address at which nobody listens, and somebody may.
async fn free_address() -> SocketAddr {
    NextHop::start().await.address()
}

#[tokio::test]
async fn acknowledgement_waits_for_room_in_the_queue_to_its_first_hop() {
    // It waits for a second. On a machine that is busy with other things that may be too short; not
    // ten times.
    for attempt in 1..=10 {
        let gateway = Running::start_with(|config| {
            config.connections.queue_len = 1;
            config.connections.initial_backoff = Duration::from_millis(20);
            config.connections.maximum_backoff = Duration::from_millis(20);
        })
        .await;
        let alice = Client::registered(&gateway.contact).await;
        gateway.until("clients_online", |count| count == 0).await;
        let address = free_address().await;
        let mix = LastMixNode::new(gateway.contact, address);
        for number in 0..3 {
            mix.send(&alice, number);
        }
        gateway.until("acks_released", |count| count == 3).await;
        let mut acks = NextHop::start_at(address).await;
        let dropped = "nym_node_frames_dropped_total{reason=\"queue_full\"}";
        let written = "nym_node_frames_written_total";
        let done = async {
            while gateway.metric(dropped).await + gateway.metric(written).await < 3 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::join!(soon("each is sent or given up", done), acks.ack());
        if gateway.metric(dropped).await == 0 {
            for _ in 0..2 {
                acks.ack().await;
            }
            return;
        }
        println!("attempt {attempt} took too long");
    }
    panic!("acknowledgements are dropped although room comes soon");
}

#[tokio::test]
async fn messages_for_an_offline_client_are_acknowledged_and_pushed_once_in_order() {
    let gateway = Running::start().await;
    let mut acks = NextHop::start().await;
    let mix = LastMixNode::new(gateway.contact, acks.address());
    let mut alice = Client::registered(&gateway.contact).await;
    for number in 0..100 {
        mix.send(&alice, number);
    }
    for number in 0..100 {
        assert_eq!(acks.ack().await, number);
    }
    let gateway = gateway.restart().await;
    let mut session = alice.log_in(&gateway.contact).await.unwrap();
    for number in 0..100 {
        assert_eq!(session.push().await, message(number));
    }
    session.reading(gateway.stored(0)).await;
    drop(session);

    let mix = LastMixNode::new(gateway.contact, acks.address());
    let mut session = alice.log_in(&gateway.contact).await.unwrap();
    mix.send(&alice, 200);
    assert_eq!(
        session.push().await,
        message(200),
        "the older messages were removed"
    );
}

#[tokio::test]
async fn order_of_arrival_is_kept_when_a_client_reads_slowly() {
    let gateway = Running::start().await;
    let mut acks = NextHop::start().await;
    let mix = LastMixNode::new(gateway.contact, acks.address());
    let mut alice = Client::new();
    let mut session = alice.log_in(&gateway.contact).await.unwrap();
    for round in 0..3 {
        for number in 0..100 {
            mix.send(&alice, number);
        }
        // Reads nothing until all are acknowledged: some are in buffers, the others stored.
        let mut acked: Vec<u8> = Vec::new();
        while acked.len() < 100 {
            acked.push(acks.ack().await);
        }
        acked.sort_unstable();
        assert_eq!(acked, (0..100).collect::<Vec<u8>>());
        for number in 0..100 {
            assert_eq!(session.push().await, message(number), "round {round}");
        }
    }
}

#[tokio::test]
async fn packet_of_a_client_reaches_its_first_hop() {
    let gateway = Running::start().await;
    let mut first_hop = NextHop::start().await;
    let mut session = Client::new().log_in(&gateway.contact).await.unwrap();
    let address = HopAddress::new(first_hop.address());
    let packet = MixPacket::new(PacketMode::Mix, address, vec![5; 2413]).unwrap();
    let confirmation = session.send(&packet).await;
    assert_eq!(
        confirmation,
        WsMessage::Text(r#"{"type":"send","status":true}"#.into())
    );
    assert_eq!(first_hop.frame().await, *packet.frame());
}

/// The table of connection states in the protocol's description, row by row; the rows of pushes
/// and ends are tests of their own.
#[tokio::test]
async fn each_state_of_a_connection_answers_as_the_protocol_says() {
    let gateway = Running::start().await;
    let alice = Client::registered(&gateway.contact).await;
    let error = |message: &str| Answer::Text(ServerControl::error(message).to_text());
    let mut wire = Wire::open(&gateway.contact).await;
    // Unauthenticated.
    for text in [
        "x",
        "{}",
        r#"{"type":"send"}"#,
        r#"{"type":"authenticate"}"#,
    ] {
        assert_eq!(wire.ask(text).await, error("malformed request"), "{text}");
    }
    wire.send_binary(b"x").await;
    let early = error("binary request without prior authentication");
    assert_eq!(wire.next().await, early);
    for name in ["handshakePayload", "registerHandshakeInitRequest"] {
        let key = *Client::new().identity.public_key().as_bytes();
        let data = [key, [9; 32]].concat();
        let register = ClientControl::Register { data }.to_text();
        let begin = register.replace("handshakePayload", name);
        let Answer::Text(answer) = wire.ask(&begin).await else {
            panic!("{name} begins a handshake");
        };
        assert!(
            answer.starts_with(r#"{"type":"handshakePayload""#),
            "{answer}"
        );
        // The client gives up, and the connection is as before.
        let give_up = r#"{"type":"handshakeError","message":"no"}"#;
        let failed = error("failed to perform the handshake - error on the remote: no");
        assert_eq!(wire.ask(give_up).await, failed);
    }
    let granted = Answer::Text(r#"{"type":"authenticate","status":true}"#.into());
    assert_eq!(wire.ask(&login(&alice, [1; 16])).await, granted);
    // Authenticated.
    for text in ["x", &login(&alice, [2; 16])] {
        assert_eq!(wire.ask(text).await, error("invalid request"), "{text}");
    }
    wire.send_binary(b"x").await;
    assert_eq!(wire.next().await, error("the request is too short"));
}

#[tokio::test]
async fn client_can_register_again_only_when_it_is_offline() {
    let gateway = Running::start().await;
    let mut alice = Client::new();
    let session = alice.log_in(&gateway.contact).await.unwrap();
    let mut again = Client {
        identity: alice.identity.clone(),
        keys: None,
    };
    let refusal = again.log_in(&gateway.contact).await.err();
    let message = "Registration failure - duplicate connection detected".to_owned();
    assert_eq!(refusal, Some(Refusal::Gateway { message }));
    assert_eq!(gateway.count("logins_refused").await, 1);
    drop(session);
    // The gateway notices the end in its own time; the older keys must work until then.
    alice.log_in(&gateway.contact).await.unwrap();
}

#[tokio::test]
async fn whatever_else_connects_to_the_client_port_is_let_go() {
    let gateway = Running::start().await;
    for junk in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        b"\x16\x03\x01",
        b"",
    ] {
        let mut stream = TcpStream::connect(gateway.contact.addresses.clients)
            .await
            .unwrap();
        stream.write_all(junk).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        let _ = soon("the gateway hangs up", stream.read_to_end(&mut rest)).await;
    }
    Client::new().log_in(&gateway.contact).await.unwrap();
}

#[tokio::test]
async fn operator_sees_the_node_is_up() {
    let gateway = Running::start().await;
    let url = format!("http://{}/health", gateway.contact.addresses.http.unwrap());
    let text = reqwest::get(url).await.unwrap().text().await.unwrap();
    assert_eq!(text, r#"{"status":"up","announced":false}"#);
}
