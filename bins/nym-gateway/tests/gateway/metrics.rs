//! Every number of the page `/metrics` moves when what it counts happens. Those that other tests of
//! this folder wait for, by [`Running::count`], are not here again.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use nym_gateway::{Config, WhenFull};
use nym_packet::address::HopAddress;
use nym_packet::frame::{Frame, PacketMode};
use nym_packet::geometry::PacketSize;
use nym_packet::mix_packet::MixPacket;
use nym_transport::legacy::LegacyPeers;
use nym_validator::Validator;
use rusqlite::Connection;
use sphinx::{Delay, Destination, Hop, NodeAddress, Version};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::network::{COUNTS, Client, LastMixNode, NextHop, Running, Session, message, soon};
use super::wire::Wire;

#[tokio::test]
async fn both_pages_tell_the_same_about_clients() {
    let gateway = Running::start().await;
    let mut acks = NextHop::start().await;
    let mix = LastMixNode::new(gateway.contact, acks.address());
    let alice = Client::registered(&gateway.contact).await;
    gateway.until("clients_online", |count| count == 0).await;
    mix.send(&alice, 1);
    assert_eq!(acks.ack().await, 1);
    let (_, text) = gateway.page("/clients").await;
    let page: serde_json::Value = serde_json::from_str(&text).unwrap();
    for (member, metric) in COUNTS {
        let found = gateway.metric(metric).await;
        assert_eq!(page[member].as_u64(), Some(found), "{member}, {metric}");
    }
    assert_eq!(page.as_object().unwrap().len(), COUNTS.len());
}

#[tokio::test]
async fn every_fate_of_a_message_is_counted() {
    let gateway = Running::start_with(|config| config.quotas.messages_per_client_max = 1).await;
    let mut acks = NextHop::start().await;
    let mix = LastMixNode::new(gateway.contact, acks.address());
    let mut alice = Client::registered(&gateway.contact).await;
    gateway.until("clients_online", |count| count == 0).await;
    mix.send(&alice, 1);
    assert_eq!(acks.ack().await, 1);
    mix.send(&alice, 2);
    gateway
        .until("messages_refused_full", |count| count == 1)
        .await;
    let mut displacing = gateway.reloadable;
    displacing.quotas.when_full = WhenFull::DropOldest;
    gateway.control.reload(displacing);
    let displaced = async {
        for number in (3..100).cycle() {
            mix.send(&alice, number);
            // Until the change has reached the store, it is refused.
            while gateway.count("messages_refused_full").await
                + gateway.count("messages_displaced").await
                < u64::from(number) - 1
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            if gateway.count("messages_displaced").await > 0 {
                return;
            }
        }
    };
    soon("the oldest makes room", displaced).await;
    assert_eq!(gateway.count("messages_pushed").await, 0);

    let database = Connection::open(gateway.database()).unwrap();
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    mix.send(&alice, 100);
    gateway.until("messages_failed", |count| count == 1).await;
    database.execute_batch("ROLLBACK").unwrap();
    drop(database);

    // As many seconds of service as nobody has: what was stored before is too old.
    let gateway = gateway
        .restart_after(|database| {
            let database = Connection::open(database).unwrap();
            let changed = database.execute("UPDATE service_time SET seconds = seconds + 1e8", []);
            assert_eq!(changed, Ok(1));
        })
        .await;
    let mut session = alice.log_in(&gateway.contact).await.unwrap();
    gateway.until("messages_expired", |count| count == 1).await;
    let mix = LastMixNode::new(gateway.contact, acks.address());
    mix.send(&alice, 101);
    assert_eq!(session.push().await, message(101));
    // Those of the messages before are still under way.
    while session.reading(acks.ack()).await != 101 {}
    assert_eq!(gateway.count("messages_pushed").await, 1);
}

#[tokio::test]
async fn memory_of_messages_that_wait_for_an_answer_is_shown() {
    let gateway = Running::start().await;
    let mut acks = NextHop::start().await;
    let mix = LastMixNode::new(gateway.contact, acks.address());
    // Nothing waits for longer than a second; then it is stored. Ten times should be enough to see
    // it on a machine that is busy with other things.
    for attempt in 0..10 {
        let mut alice = Client::new();
        let mut session = alice.log_in(&gateway.contact).await.unwrap();
        let taken = gateway.count("messages_taken").await;
        while gateway.count("messages_taken").await == taken {
            mix.send(&alice, attempt);
            session.push().await;
            session.reading(acks.ack()).await;
        }
        assert_eq!(gateway.metric("nym_gateway_held_bytes").await, 0);
        let pushed = gateway.count("messages_pushed").await;
        mix.send(&alice, attempt);
        gateway
            .until("messages_pushed", |count| count > pushed)
            .await;
        // It reads nothing, and so answers nothing.
        let shown = gateway.metric("nym_gateway_held_bytes").await;
        if usize::try_from(shown).unwrap() > message(0).len() {
            return;
        }
        session.push().await;
        session.reading(acks.ack()).await;
    }
    panic!("messages that wait for an answer take no memory");
}

/// A packet over hops, each with the gateway's key, that ask for the same delay.
fn packet(gateway: &Running, hops: &[NodeAddress], delay: Duration) -> Vec<u8> {
    let hop = |address: &NodeAddress| Hop {
        address: *address,
        public_key: gateway.contact.sphinx_key,
    };
    let hops: Vec<_> = hops.iter().map(hop).collect();
    sphinx::build(
        Version::NYM_0_11,
        &hops,
        &vec![Delay::from(delay); hops.len()],
        &Destination {
            address: [9; 32],
            identifier: [0; 16],
        },
        b"x",
        PacketSize::Ack.payload_len(),
        &mut nym_daemon::entropy(),
    )
    .unwrap()
}

#[tokio::test]
async fn every_reason_to_reject_a_packet_is_counted() {
    let gateway = Running::start().await;
    let mix = LastMixNode::new(gateway.contact, gateway.contact.addresses.mix);
    let mix_address = HopAddress::new(gateway.contact.addresses.mix).to_node_address();
    let two = [mix_address; 2];
    let replayed = packet(&gateway, &[mix_address], Duration::ZERO);
    let mut broken = packet(&gateway, &[mix_address], Duration::ZERO);
    *broken.last_mut().unwrap() ^= 1;
    // No kind of address begins with such a byte.
    let nowhere = [mix_address, NodeAddress([0xee; 32])];
    for packet in [
        replayed.clone(),
        replayed,
        vec![1; 386],
        broken,
        packet(&gateway, &two, Duration::ZERO),
        packet(&gateway, &two, Duration::from_secs(1_000_000)),
        packet(&gateway, &nowhere, Duration::ZERO),
    ] {
        mix.send_packet(packet).await;
    }
    let received = "nym_node_packets_received_total";
    gateway.until_metric(received, |count| count == 7).await;
    for reason in [
        "replayed",
        "invalid_header",
        "invalid_payload",
        "misdirected",
        "delay_too_long",
        "invalid_routing",
    ] {
        let metric = format!("nym_node_packets_rejected_total{{reason=\"{reason}\"}}");
        gateway.until_metric(&metric, |count| count == 1).await;
    }
}

#[tokio::test]
async fn packet_that_cannot_be_recorded_is_counted() {
    let few = |config: &mut Config| {
        config.replay.capacity = NonZeroUsize::MIN;
        // Where the next journal is begun, there is something else.
        let journal = config.keys.replay_journal();
        let next = format!("{}.next", journal.display());
        std::fs::create_dir(next).unwrap();
    };
    let gateway = Running::start_with(few).await;
    let mix = LastMixNode::new(gateway.contact, gateway.contact.addresses.mix);
    let address = HopAddress::new(gateway.contact.addresses.mix).to_node_address();
    for _ in 0..4 {
        mix.send_packet(packet(&gateway, &[address], Duration::ZERO))
            .await;
    }
    let unrecorded = "nym_node_packets_rejected_total{reason=\"unrecorded\"}";
    gateway.until_metric(unrecorded, |count| count > 0).await;
}

/// A gateway, and a client's packets on their way to next hops.
async fn send_to(change: impl FnOnce(&mut Config), next_hops: &[SocketAddr]) -> (Running, Session) {
    let gateway = Running::start_with(change).await;
    let mut session = Client::new().log_in(&gateway.contact).await.unwrap();
    for next_hop in next_hops {
        let packet = MixPacket::new(PacketMode::Mix, HopAddress::new(*next_hop), vec![5; 2413]);
        session.send(&packet.unwrap()).await;
    }
    (gateway, session)
}

fn dropped(reason: &str) -> String {
    format!("nym_node_frames_dropped_total{{reason=\"{reason}\"}}")
}

#[tokio::test]
async fn every_reason_to_drop_a_packet_is_counted() {
    // Nobody listens on ports 1 and 2 of this machine.
    let [nobody, either] = [1, 2].map(|port| ([127, 0, 0, 1], port).into());
    let short = |config: &mut Config| config.connections.queue_len = 1;
    let (gateway, _session) = send_to(short, &[nobody; 3]).await;
    let full = dropped("queue_full");
    gateway.until_metric(&full, |count| count == 2).await;
    assert_eq!(gateway.metric("nym_node_frames_queued_total").await, 1);
    assert_eq!(gateway.metric("nym_node_next_hops").await, 1);

    let single = |config: &mut Config| config.connections.max_connections = 1;
    let (gateway, _session) = send_to(single, &[nobody, either]).await;
    let too_many = dropped("too_many_connections");
    gateway.until_metric(&too_many, |count| count == 1).await;

    let small = |config: &mut Config| config.connections.max_queued_bytes = 1_000;
    let (gateway, _session) = send_to(small, &[nobody]).await;
    let memory = dropped("memory_full");
    gateway.until_metric(&memory, |count| count == 1).await;

    let impatient = |config: &mut Config| config.connections.give_up_after = Duration::ZERO;
    let (gateway, _session) = send_to(impatient, &[nobody]).await;
    let unreachable = dropped("unreachable");
    gateway.until_metric(&unreachable, |count| count == 1).await;
    let failed = "nym_node_links_total{event=\"dial_failed\"}";
    assert!(gateway.metric(failed).await >= 1);
}

#[tokio::test]
async fn links_to_next_hops_are_counted_as_they_come_and_go() {
    let mut next_hop = NextHop::start().await;
    let (gateway, _session) = send_to(|_| (), &[next_hop.address()]).await;
    let frame: Frame = next_hop.frame().await;
    assert_eq!(frame.packet(), [5; 2413]);
    gateway
        .until_metric("nym_node_frames_written_total", |count| count == 1)
        .await;
    assert_eq!(gateway.count("packets_from_clients").await, 1);
    let links = |event: &str| format!("nym_node_links_total{{event=\"{event}\"}}");
    assert_eq!(gateway.metric(&links("connected")).await, 1);
    assert_eq!(gateway.metric(&links("lost")).await, 0);
    let plain = "nym_node_handshakes_dialled_total{result=\"plain\"}";
    assert_eq!(gateway.metric(plain).await, 1);
    drop(next_hop);
    let lost = links("lost");
    gateway.until_metric(&lost, |count| count == 1).await;
}

#[tokio::test]
async fn announcement_that_a_validator_took_is_shown() {
    let directory = tempfile::tempdir().unwrap();
    let config = nym_validator::Config {
        rest_port: 0,
        api_port: 0,
        ..nym_validator::Config::new(directory.path())
    };
    let validator = Validator::bind(config).await.unwrap();
    let url = format!("http://{}", validator.addresses().rest);
    let announced = |config: &mut Config| config.validators.urls = vec![url.parse().unwrap()];
    let gateway = Running::start_with(announced).await;
    assert_eq!(gateway.metric("nym_node_announced").await, 0);
    let shutdown = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(validator.run(shutdown.clone()));
    gateway
        .until_metric("nym_node_announced", |is_known| is_known == 1)
        .await;
    shutdown.cancel();
    tasks.join_next().await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn links_of_peers_are_counted_by_what_became_of_them() {
    let expired = |config: &mut Config| {
        config.link_config.legacy_peers = "allow until 2020-01-01".parse().unwrap();
        assert_ne!(config.link_config.legacy_peers, LegacyPeers::Deny);
    };
    let gateway = Running::start_with(expired).await;
    let clients = gateway.contact.addresses.clients;
    for junk in [&b"GET "[..], b"x", b"\x16\x03\x01\x00\x05hello", b""] {
        let mut stream = TcpStream::connect(clients).await.unwrap();
        stream.write_all(junk).await.unwrap();
        stream.shutdown().await.unwrap();
    }
    for result in ["legacy_expired", "other_protocol", "failed", "closed"] {
        let metric = format!("nym_node_handshakes_accepted_total{{result=\"{result}\"}}");
        gateway.until_metric(&metric, |count| count == 1).await;
    }

    let gateway = Running::start().await;
    let _plain = Wire::open(&gateway.contact).await;
    let plain = "nym_node_handshakes_accepted_total{result=\"plain\"}";
    assert_eq!(gateway.metric(plain).await, 1);
}
