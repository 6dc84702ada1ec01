//! Two kinds of tests: real TCP sockets for what the operating system does, and connections in
//! memory under paused time for everything that waits.

mod lone;

use super::*;
use crate::frames::{FrameReader, ReadTimeouts};
use nym_packet::frame::PacketMode;
use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};
use tokio::net::TcpListener;
use tokio::time::{Instant, advance, sleep};

fn frame(fill: u8) -> Frame {
    Frame::new(PacketMode::Mix, vec![fill; 386]).unwrap()
}

const FRAME_LEN: usize = 388;

/// Frames that a queue holds in the tests about full queues.
const QUEUE_LEN: usize = 128;

fn short_queues() -> ConnectionsConfig {
    ConnectionsConfig {
        queue_len: QUEUE_LEN,
        ..ConnectionsConfig::default()
    }
}

fn rng() -> StdRng {
    StdRng::seed_from_u64(7)
}

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// The frames that arrive on the next connection, until it ends or `count` have come.
async fn read(listener: &TcpListener, count: usize) -> (Vec<Frame>, TcpStream) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut reader = FrameReader::new(&mut stream, ReadTimeouts::default());
    let mut frames = Vec::new();
    while frames.len() < count
        && let Some(frame) = reader.next_frame().await.unwrap()
    {
        frames.push(frame);
    }
    (frames, stream)
}

/// Waits until a condition on the counts holds; a test that waits in vain is ended by its runner.
async fn until(connections: &Connections, condition: impl Fn(ConnectionCounts) -> bool) {
    while !condition(connections.counts()) {
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn frames_to_one_next_hop_share_one_connection_in_order() {
    let listener = TcpListener::bind(any_port()).await.unwrap();
    let next_hop = listener.local_addr().unwrap();
    let connections = Connections::new(ConnectionsConfig::default(), rng());
    let sent: Vec<Frame> = (0..100).map(frame).collect();
    for frame in &sent {
        connections.send(next_hop, frame.clone()).unwrap();
    }
    let (received, _stream) = read(&listener, 100).await;
    assert_eq!(received, sent);
    until(&connections, |counts| counts.written == 100).await;
    let counts = connections.counts();
    assert_eq!(
        (counts.connected, counts.queued, counts.dropped()),
        (1, 100, 0)
    );
    assert_eq!(connections.queued_bytes(), 0);
}

#[tokio::test]
async fn frames_queued_while_the_next_hop_refuses_arrive_when_it_comes_up() {
    // A port that was free a moment ago refuses connections.
    let next_hop = TcpListener::bind(any_port())
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let config = ConnectionsConfig {
        initial_backoff: Duration::from_millis(10),
        ..ConnectionsConfig::default()
    };
    let connections = Connections::new(config, rng());
    connections.send(next_hop, frame(1)).unwrap();
    until(&connections, |counts| counts.dials_failed > 0).await;
    connections.send(next_hop, frame(2)).unwrap();

    let listener = TcpListener::bind(next_hop).await.unwrap();
    let (received, _stream) = read(&listener, 2).await;
    assert_eq!(received, [frame(1), frame(2)]);
}

#[tokio::test]
async fn a_restarted_next_hop_is_dialled_again() {
    let listener = TcpListener::bind(any_port()).await.unwrap();
    let next_hop = listener.local_addr().unwrap();
    let config = ConnectionsConfig {
        initial_backoff: Duration::from_millis(10),
        ..ConnectionsConfig::default()
    };
    let connections = Connections::new(config, rng());
    connections.send(next_hop, frame(1)).unwrap();
    let (received, stream) = read(&listener, 1).await;
    assert_eq!(received, [frame(1)]);

    drop((stream, listener));
    until(&connections, |counts| counts.lost == 1).await;
    connections.send(next_hop, frame(2)).unwrap();
    let listener = TcpListener::bind(next_hop).await.unwrap();
    let (received, _stream) = read(&listener, 1).await;
    assert_eq!(
        received,
        [frame(2)],
        "the close was noticed before the write"
    );
}

/// A frame that shows its number.
fn numbered(number: u32) -> Frame {
    let mut packet = vec![0; 386];
    packet[..4].copy_from_slice(&number.to_be_bytes());
    Frame::new(PacketMode::Mix, packet).unwrap()
}

fn number_of(frame: &Frame) -> u32 {
    u32::from_be_bytes(*frame.packet().first_chunk().unwrap())
}

#[tokio::test]
async fn a_next_hop_that_restarts_under_load_loses_what_the_kernel_had_taken_and_no_more() {
    const COUNT: u32 = 1000;
    let listener = TcpListener::bind(any_port()).await.unwrap();
    let next_hop = listener.local_addr().unwrap();
    let config = ConnectionsConfig {
        initial_backoff: Duration::from_millis(10),
        ..ConnectionsConfig::default()
    };
    let connections = Connections::new(config, rng());
    let mut load = tokio::task::JoinSet::new();
    let sending = connections.clone();
    load.spawn(async move {
        for number in 0..COUNT {
            sending.send(next_hop, numbered(number)).unwrap();
            // The load goes on while the next hop is down: the queue would hold all of it.
            if number % 20 == 0 {
                sleep(Duration::from_millis(1)).await;
            }
        }
    });
    let (first, stream) = read(&listener, 100).await;
    drop((stream, listener));
    until(&connections, |counts| counts.lost == 1).await;
    let taken_by_kernel = connections.counts().written;

    let listener = TcpListener::bind(next_hop).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let mut reader = FrameReader::new(stream, ReadTimeouts::default());
    let mut second = Vec::new();
    while second.last() != Some(&(COUNT - 1)) {
        second.push(number_of(&reader.next_frame().await.unwrap().unwrap()));
    }
    load.join_all().await;
    let first: Vec<u32> = first.iter().map(number_of).collect();
    assert_eq!(first, (0..100).collect::<Vec<_>>());
    // Everything that the kernel had not taken arrives, in order and once.
    let begin = u32::try_from(taken_by_kernel).unwrap();
    assert_eq!(second, (begin..COUNT).collect::<Vec<_>>());
    until(&connections, |counts| counts.written == u64::from(COUNT)).await;
    assert_eq!(connections.counts().dropped(), 0);
}

#[tokio::test]
async fn closing_writes_what_is_queued_and_takes_no_more() {
    let listener = TcpListener::bind(any_port()).await.unwrap();
    let next_hop = listener.local_addr().unwrap();
    let connections = Connections::new(ConnectionsConfig::default(), rng());
    let sent: Vec<Frame> = (0..50).map(frame).collect();
    for frame in &sent {
        connections.send(next_hop, frame.clone()).unwrap();
    }
    let (received, ()) = tokio::join!(
        read(&listener, usize::MAX),
        connections.close(Duration::from_secs(5))
    );
    assert_eq!(received.0, sent);
    assert_eq!(
        connections.send(next_hop, frame(0)),
        Err(SendError::Stopped)
    );
    assert_eq!(connections.counts().dropped_stopped, 1);
}

#[tokio::test]
async fn dropping_the_last_handle_cuts_the_connections() {
    let listener = TcpListener::bind(any_port()).await.unwrap();
    let connections = Connections::new(ConnectionsConfig::default(), rng());
    let other_handle = connections.clone();
    connections
        .send(listener.local_addr().unwrap(), frame(1))
        .unwrap();
    let (_, stream) = read(&listener, 1).await;
    drop(connections);
    let mut reader = FrameReader::new(stream, ReadTimeouts::default());
    let still_open = timeout(Duration::from_millis(50), reader.next_frame()).await;
    assert!(still_open.is_err());
    drop(other_handle);
    assert_eq!(reader.next_frame().await.unwrap(), None);
}

#[tokio::test]
async fn addresses_that_the_policy_forbids_are_not_dialled() {
    let listener = TcpListener::bind(any_port()).await.unwrap();
    let config = ConnectionsConfig {
        address_policy: AddressPolicy::Public,
        ..ConnectionsConfig::default()
    };
    let connections = Connections::new(config, rng());
    assert_eq!(
        connections.send(listener.local_addr().unwrap(), frame(1)),
        Err(SendError::AddressRefused)
    );
    assert_eq!(connections.counts().dropped_address_refused, 1);
    assert_eq!(connections.open_count(), 0);
}

// ---- in memory, under paused time ----

/// A next hop in memory: a dial gives what `answer` gives for its number, counted from 0.
fn connections_to(
    config: ConnectionsConfig,
    answer: impl Fn(usize) -> io::Result<DuplexStream> + Send + Sync + 'static,
) -> Connections {
    let dials = AtomicUsize::new(0);
    let dial = move |_| -> Dialling {
        let answer = answer(dials.fetch_add(1, Ordering::Relaxed));
        Box::pin(async move { Ok(Box::new(answer?) as Box<dyn Link>) })
    };
    Connections::with_dialer(config, rng(), Dialer { known: true, dial })
}

/// Dials by a function, and knows everybody or nobody.
struct Dialer<F> {
    known: bool,
    dial: F,
}

impl<F: Fn(SocketAddr) -> Dialling + Send + Sync + 'static> Dial for Dialer<F> {
    fn knows(&self, _: SocketAddr) -> bool {
        self.known
    }

    fn dial(&self, next_hop: SocketAddr) -> Dialling {
        (self.dial)(next_hop)
    }
}

/// More than there are in 100 s with pauses.
const DIALS_MAX: usize = 1_000;

fn refused<T>() -> io::Result<T> {
    Err(io::ErrorKind::ConnectionRefused.into())
}

fn next_hop() -> SocketAddr {
    "10.0.0.1:1789".parse().unwrap()
}

fn other_hop() -> SocketAddr {
    "10.0.0.2:1789".parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_drops_and_counts() {
    let connections = connections_to(short_queues(), |_| refused());
    for fill in 0..128 {
        connections.send(next_hop(), frame(fill)).unwrap();
    }
    assert_eq!(
        connections.send(next_hop(), frame(0)),
        Err(SendError::QueueFull)
    );
    let counts = connections.counts();
    assert_eq!((counts.queued, counts.dropped_queue_full), (128, 1));
    assert_eq!(connections.queued_bytes(), QUEUE_LEN * FRAME_LEN);
}

#[tokio::test(start_paused = true)]
async fn a_patient_sender_waits_for_room_in_a_full_queue() {
    let (link, mut next) = duplex(FRAME_LEN);
    let link = Mutex::new(Some(link));
    let connections = connections_to(short_queues(), move |_| {
        Ok(link.lock().unwrap().take().unwrap())
    });
    let mut reading = tokio::task::JoinSet::new();
    reading.spawn(async move {
        let mut reader = FrameReader::new(&mut next, ReadTimeouts::default());
        for number in 0..300 {
            // A batch of 32 frames leaves the queue in less than the patience of 20 ms.
            if number % 4 == 0 {
                sleep(Duration::from_millis(1)).await;
            }
            assert!(
                reader.next_frame().await.unwrap().is_some(),
                "frame {number}"
            );
        }
    });
    for _ in 0..300 {
        connections
            .send_patiently(next_hop(), frame(1))
            .await
            .unwrap();
    }
    reading.join_all().await;
    assert_eq!(connections.counts().dropped(), 0);
}

/// A frame given back by the full queue of the next hop.
fn postponed(connections: &Connections, fill: u8) -> Postponed {
    match connections.try_send(next_hop(), frame(fill)) {
        Err(Unsent::Postponed(postponed)) => postponed,
        other => panic!("{other:?} although the queue is full"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_postponed_frame_waits_for_room_and_holds_up_nobody() {
    let patience = Duration::from_secs(1);
    let connections = connections_to(short_queues(), |_| refused::<DuplexStream>());
    while connections.send(next_hop(), frame(0)).is_ok() {}
    let dropped = connections.counts().dropped_queue_full;
    let (early, late) = (postponed(&connections, 1), postponed(&connections, 2));
    assert_eq!(early.next_hop(), next_hop());
    let began = Instant::now();
    let (early, late, other) = tokio::join!(
        early.send_within(patience),
        late.send_within(Duration::MAX),
        async {
            connections.try_send(other_hop(), frame(3)).unwrap();
            began.elapsed()
        }
    );
    assert_eq!(other, Duration::ZERO, "another next hop takes its frame");
    assert_eq!(
        early,
        Err(SendError::QueueFull),
        "nothing makes room in time"
    );
    assert_eq!(connections.counts().dropped_queue_full, dropped + 1);
    // The queue was given up for unreachable in the end, and so had room.
    assert_eq!(late, Ok(()));
    while connections.send(next_hop(), frame(4)).is_ok() {}
    let dropped = connections.counts().dropped_queue_full;
    drop(postponed(&connections, 5));
    assert_eq!(connections.counts().dropped_queue_full, dropped + 1);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_soon_again_for_a_next_hop_that_is_stuck() {
    let connections = connections_to(short_queues(), |_| refused());
    for fill in 0..128 {
        connections.send(next_hop(), frame(fill)).unwrap();
    }
    for (pause, waits) in [
        (Duration::ZERO, true),
        (IMPATIENCE - Duration::from_millis(1), false),
        (Duration::from_millis(1), true),
    ] {
        advance(pause).await;
        let start = Instant::now();
        assert_eq!(
            connections.send_patiently(next_hop(), frame(0)).await,
            Err(SendError::QueueFull)
        );
        let waited = start.elapsed();
        assert_eq!(
            waited,
            if waits { PATIENCE } else { Duration::ZERO },
            "after {pause:?}"
        );
    }
    assert_eq!(connections.counts().dropped_queue_full, 3);
    assert_eq!(connections.queued_bytes(), QUEUE_LEN * FRAME_LEN);
}

#[tokio::test(start_paused = true)]
async fn many_stuck_next_hops_hold_the_others_up_for_a_tenth_of_the_time() {
    let connections = connections_to(short_queues(), |_| refused());
    let hops: Vec<SocketAddr> = (1..=50).map(|port| ([127, 0, 0, 2], port).into()).collect();
    for hop in &hops {
        for fill in 0..128 {
            connections.send(*hop, frame(fill)).unwrap();
        }
    }
    let start = Instant::now();
    for hop in &hops {
        let refused = connections.send_patiently(*hop, frame(0)).await;
        assert_eq!(refused, Err(SendError::QueueFull));
    }
    assert_eq!(start.elapsed(), PATIENCE_PER_SECOND);
    advance(Duration::from_secs(1)).await;
    let start = Instant::now();
    let refused = connections.send_patiently(hops[0], frame(0)).await;
    assert_eq!(refused, Err(SendError::QueueFull));
    assert_eq!(start.elapsed(), PATIENCE, "patience comes back");
}

#[tokio::test(start_paused = true)]
async fn the_memory_of_all_queues_together_is_bounded() {
    let config = ConnectionsConfig {
        max_queued_bytes: 2 * FRAME_LEN,
        ..ConnectionsConfig::default()
    };
    let connections = connections_to(config, |_| refused());
    connections.send(next_hop(), frame(1)).unwrap();
    connections.send(other_hop(), frame(2)).unwrap();
    assert_eq!(
        connections.send(next_hop(), frame(3)),
        Err(SendError::MemoryFull)
    );
    assert_eq!(connections.counts().dropped_memory_full, 1);
    assert_eq!(connections.queued_bytes(), 2 * FRAME_LEN);
}

#[tokio::test(start_paused = true)]
async fn the_number_of_next_hops_is_bounded() {
    let config = ConnectionsConfig {
        max_connections: 1,
        ..ConnectionsConfig::default()
    };
    let connections = connections_to(config, |_| refused());
    connections.send(next_hop(), frame(1)).unwrap();
    assert_eq!(
        connections.send(other_hop(), frame(2)),
        Err(SendError::TooManyConnections)
    );
    connections.send(next_hop(), frame(3)).unwrap();
    assert_eq!(
        connections.queued_bytes(),
        2 * FRAME_LEN,
        "a dropped frame frees its bytes"
    );
}

#[tokio::test(start_paused = true)]
async fn g14_every_kind_of_failure_backs_off() {
    let kinds = [
        io::ErrorKind::ConnectionRefused,
        io::ErrorKind::HostUnreachable,
        io::ErrorKind::TimedOut,
    ];
    for kind in kinds {
        let connections = connections_to(ConnectionsConfig::default(), move |number| {
            // Without a pause, paused time would stand still for ever.
            assert!(number < DIALS_MAX, "no pause after {kind}");
            Err(kind.into())
        });
        connections.send(next_hop(), frame(1)).unwrap();
        sleep(Duration::from_secs(100)).await;
        // 0.5 + 1 + 2 + … + 60 s, each shortened by at most half.
        let dials = connections.counts().dials_failed;
        assert!(
            (7..=10).contains(&dials),
            "{dials} dials in 100 s after {kind}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_accepts_and_closes_is_backed_off_as_well() {
    let connections = connections_to(ConnectionsConfig::default(), |number| {
        assert!(
            number < DIALS_MAX,
            "no pause after a connection that is closed"
        );
        Ok(duplex(64).0)
    });
    connections.send(next_hop(), frame(1)).unwrap();
    sleep(Duration::from_secs(100)).await;
    let counts = connections.counts();
    assert!(
        (7..=10).contains(&counts.lost),
        "{} connections in 100 s",
        counts.lost
    );
    assert_eq!(counts.written, 0, "what was not written as a whole is kept");
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_hangs_fails_after_the_connect_timeout() {
    let dial = |_| -> Dialling { Box::pin(std::future::pending()) };
    let dialer = Dialer { known: true, dial };
    let connections = Connections::with_dialer(ConnectionsConfig::default(), rng(), dialer);
    connections.send(next_hop(), frame(1)).unwrap();
    sleep(Duration::from_millis(1499)).await;
    assert_eq!(connections.counts().dials_failed, 0);
    sleep(Duration::from_millis(2)).await;
    assert_eq!(connections.counts().dials_failed, 1);
}

#[tokio::test(start_paused = true)]
async fn frames_for_an_unreachable_next_hop_are_given_up_and_its_place_is_freed() {
    let connections = connections_to(ConnectionsConfig::default(), |_| refused());
    connections.send(next_hop(), frame(1)).unwrap();
    connections.send(next_hop(), frame(2)).unwrap();
    sleep(Duration::from_secs(119)).await;
    assert_eq!(connections.counts().dropped_unreachable, 0);
    sleep(Duration::from_secs(120)).await;
    assert_eq!(connections.counts().dropped_unreachable, 2);
    assert_eq!(connections.open_count(), 0);
    assert_eq!(connections.queued_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stable_connection_is_replaced_at_once() {
    let (server, client) = std::sync::mpsc::channel();
    let connections = connections_to(ConnectionsConfig::default(), move |_| {
        let (own, peer) = duplex(4096);
        server.send((peer, Instant::now())).unwrap();
        Ok(own)
    });
    connections.send(next_hop(), frame(1)).unwrap();
    sleep(Duration::from_secs(11)).await;
    let (first, _) = client.try_recv().unwrap();
    drop(first);
    connections.send(next_hop(), frame(2)).unwrap();
    sleep(Duration::from_millis(1)).await;
    let (second, _) = client.try_recv().unwrap();
    let mut reader = FrameReader::new(second, ReadTimeouts::default());
    assert_eq!(reader.next_frame().await.unwrap(), Some(frame(2)));
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_frames_is_closed_after_the_idle_timeout() {
    let (server, client) = std::sync::mpsc::channel();
    let connections = connections_to(ConnectionsConfig::default(), move |_| {
        let (own, peer) = duplex(4096);
        server.send(peer).unwrap();
        Ok(own)
    });
    connections.send(next_hop(), frame(1)).unwrap();
    sleep(Duration::from_secs(599)).await;
    assert_eq!(connections.open_count(), 1);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(connections.open_count(), 0);
    assert_eq!(connections.counts().lost, 0);
    let mut reader = FrameReader::new(client.try_recv().unwrap(), ReadTimeouts::default());
    assert_eq!(reader.next_frame().await.unwrap(), Some(frame(1)));
    assert_eq!(reader.next_frame().await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stops_reading_loses_its_connection_but_no_frame() {
    let (server, client) = std::sync::mpsc::channel();
    let connections = connections_to(ConnectionsConfig::default(), move |number| {
        // The first peer takes a frame and a half.
        let (own, peer) = duplex(if number == 0 {
            FRAME_LEN * 3 / 2
        } else {
            1 << 20
        });
        server.send(peer).unwrap();
        Ok(own)
    });
    let sent: Vec<Frame> = (0..5).map(frame).collect();
    for frame in &sent {
        connections.send(next_hop(), frame.clone()).unwrap();
    }
    sleep(Duration::from_secs(29)).await;
    let first = client.try_recv().unwrap();
    assert_eq!(connections.counts().lost, 0);
    sleep(Duration::from_secs(3)).await;
    assert_eq!(connections.counts().lost, 1);
    let mut received = Vec::new();
    for peer in [first, client.try_recv().unwrap()] {
        let mut reader = FrameReader::new(peer, ReadTimeouts::default());
        while received.len() < 5
            && let Some(frame) = reader.next_frame().await.unwrap()
        {
            received.push(frame);
        }
    }
    assert_eq!(received, sent);
}

#[tokio::test(start_paused = true)]
async fn what_a_peer_says_on_such_a_link_is_ignored() {
    let (server, client) = std::sync::mpsc::channel();
    let connections = connections_to(ConnectionsConfig::default(), move |_| {
        let (own, peer) = duplex(4096);
        server.send(peer).unwrap();
        Ok(own)
    });
    connections.send(next_hop(), frame(1)).unwrap();
    advance(Duration::from_millis(1)).await;
    sleep(Duration::from_millis(1)).await;
    let mut peer = client.try_recv().unwrap();
    peer.write_all(b"HTTP/1.1 400 Bad Request").await.unwrap();
    connections.send(next_hop(), frame(2)).unwrap();
    let mut reader = FrameReader::new(peer, ReadTimeouts::default());
    assert_eq!(reader.next_frame().await.unwrap(), Some(frame(1)));
    assert_eq!(reader.next_frame().await.unwrap(), Some(frame(2)));
    assert_eq!(connections.counts().connected, 1);
}

#[tokio::test(start_paused = true)]
async fn closing_gives_up_on_a_next_hop_that_cannot_be_reached() {
    let connections = connections_to(ConnectionsConfig::default(), |_| refused());
    connections.send(next_hop(), frame(1)).unwrap();
    sleep(Duration::from_millis(1)).await;
    connections.close(Duration::from_secs(1)).await;
    let counts = connections.counts();
    assert_eq!((counts.dropped_stopped, connections.queued_bytes()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn frames_for_a_next_hop_that_is_refused_are_dropped_at_once() {
    let dial = |_| -> Dialling {
        Box::pin(async { Err(DialFailure::Refused(LinkRefusal::NotInTopology)) })
    };
    let dialer = Dialer { known: false, dial };
    let connections = Connections::with_dialer(ConnectionsConfig::default(), rng(), dialer);
    for fill in 0..3 {
        connections.send(next_hop(), frame(fill)).unwrap();
    }
    until(&connections, |counts| counts.dropped_address_refused == 3).await;
    while connections.open_count() > 0 {
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(connections.counts().dials_failed, 0);
}

#[tokio::test(start_paused = true)]
async fn strangers_take_few_places_and_only_until_they_are_known() {
    let dial = |_| -> Dialling { Box::pin(std::future::pending()) };
    let dialer = Dialer { known: false, dial };
    let connections = Connections::with_dialer(ConnectionsConfig::default(), rng(), dialer);
    let hop = |port| SocketAddr::from(([10, 0, 0, 1], port));
    let count = u16::try_from(STRANGERS_MAX).unwrap();
    for port in 1..=count {
        connections.send(hop(port), frame(1)).unwrap();
    }
    assert_eq!(
        connections.send(hop(count + 1), frame(1)),
        Err(SendError::AddressRefused)
    );
    connections.send(hop(1), frame(2)).unwrap();

    // All that can be dialled are strangers no longer.
    let dial =
        |_| -> Dialling { Box::pin(async { Ok(Box::new(duplex(1 << 16).0) as Box<dyn Link>) }) };
    let dialer = Dialer { known: false, dial };
    let connections = Connections::with_dialer(ConnectionsConfig::default(), rng(), dialer);
    for port in 1..=2 * count {
        connections.send(hop(port), frame(1)).unwrap();
        until(&connections, |counts| counts.connected == u64::from(port)).await;
    }
}
