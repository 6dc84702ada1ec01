//! A relay between real sockets.

use std::net::SocketAddr;

use nym_packet::frame::PacketMode;
use nym_packet::geometry::PacketSize;
use nym_packet::keys::{IdentityKeyPair, PrivateKey};
use nym_packet::route::{Route, RouteHop};
use nym_packet::time::Timestamp;
use nym_transport::connections::ConnectionsConfig;
use nym_transport::legacy::LegacyPeers;
use nym_transport::listener::ListenerLimits;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use sphinx::{Delay, Destination, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

use super::*;
use crate::links::{LinkConfig, Links};
use crate::processor::MAX_DELAY;
use crate::replay::ReplayLimits;

/// A relay, the link to it, and the place where it sends packets.
struct Bench {
    counters: Counters,
    /// Where the replay journal is.
    home: tempfile::TempDir,
    link: TcpStream,
    next_hop: TcpListener,
    node: SocketAddr,
    rng: ChaCha20Rng,
    shutdown: CancellationToken,
    tasks: JoinSet<Result<(), PipelineError>>,
}

fn node_key() -> PrivateKey {
    PrivateKey::from_bytes([7; 32])
}

impl Bench {
    async fn start<D: Deliver>(role: Role<D>) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), role).await
    }

    async fn start_in<D: Deliver>(home: tempfile::TempDir, role: Role<D>) -> Self {
        let any_port = "127.0.0.1:0".parse().unwrap();
        let listener = Listener::bind(any_port, ListenerLimits::default())
            .await
            .unwrap();
        let (clock, counters) = (Clock::start(), Counters::start());
        let mut rng = ChaCha20Rng::seed_from_u64(5);
        let journal = home.path().join("replay.journal");
        let replay = ReplayMemory::open(
            &journal,
            &node_key().public_key(),
            ReplayLimits::default(),
            clock.now(),
            &mut rng,
        )
        .unwrap();
        let config = LinkConfig {
            legacy_peers: LegacyPeers::Allow,
            ..LinkConfig::default()
        };
        let links = Links::new(&IdentityKeyPair::from_seed(&[1; 32]), config);
        let parts = Parts {
            acceptor: links.node_acceptor(),
            clock,
            connections: Connections::new(ConnectionsConfig::default(), nym_daemon::entropy()),
            counters: counters.clone(),
            processor: Processor::new(node_key(), MAX_DELAY),
            queue_limits: QueueLimits::default(),
            read_timeouts: ReadTimeouts::default(),
            replay,
            role,
            workers: NonZeroUsize::new(2).unwrap(),
        };
        let (node, shutdown) = (listener.address(), CancellationToken::new());
        let mut tasks = JoinSet::new();
        tasks.spawn(run(parts, listener, shutdown.clone()));
        Self {
            counters,
            home,
            link: TcpStream::connect(node).await.unwrap(),
            next_hop: TcpListener::bind(any_port).await.unwrap(),
            node,
            rng,
            shutdown,
            tasks,
        }
    }

    /// A frame over the relay, and over the next hop too unless `is_last`.
    fn frame(&mut self, size: PacketSize, delay: Duration, is_last: bool) -> Frame {
        let sphinx_key = node_key().public_key();
        let next_hop = self.next_hop.local_addr().unwrap();
        let mut hops = vec![RouteHop {
            address: self.node.into(),
            sphinx_key,
        }];
        if !is_last {
            hops.push(RouteHop {
                address: next_hop.into(),
                sphinx_key,
            });
        }
        let route = Route::new(hops).unwrap().to_sphinx();
        let packet = sphinx::build(
            Version::NYM_0_11,
            &route,
            &vec![Delay::from(delay); route.len()],
            &Destination {
                address: [9; 32],
                identifier: [0; 16],
            },
            b"hello",
            size.payload_len(),
            &mut self.rng,
        )
        .unwrap();
        Frame::new(PacketMode::Mix, packet).unwrap()
    }

    async fn send(&mut self, frames: &[Frame]) {
        let mut bytes = Vec::new();
        for frame in frames {
            frame.encode_into(&mut bytes);
        }
        self.link.write_all(&bytes).await.unwrap();
    }

    /// What the relay sends to the next hop.
    async fn receive(&mut self, count: usize) -> Vec<Frame> {
        let (stream, _) = self.next_hop.accept().await.unwrap();
        let mut reader = FrameReader::new(stream, ReadTimeouts::default());
        let mut frames = Vec::new();
        while frames.len() < count {
            assert_ne!(
                reader.next_frames(&mut frames).await.unwrap(),
                0,
                "the relay hung up"
            );
        }
        frames
    }

    /// Gives the directory that the node leaves.
    async fn stop(mut self) -> tempfile::TempDir {
        self.shutdown.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            assert_eq!(ended.unwrap(), Ok(()));
        }
        self.home
    }
}

/// Collects what a gateway delivers.
struct Collect(mpsc::Sender<Delivery>);

impl Deliver for Collect {
    async fn deliver(&self, delivery: Delivery) {
        self.0.send(delivery).await.unwrap();
    }
}

/// Everything that is logged on this thread while the guard lives.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn listen(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(tracing::Level::TRACE)
            .with_writer(move || log.clone());
        tracing::subscriber::set_default(subscriber.finish())
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_line_of_the_log_tells_where_a_packet_goes_or_whom_it_is_for() {
    let log = Log::default();
    let _listening = log.listen();
    tracing::trace!("heard");
    let mut bench = Bench::start(Role::mix_node()).await;
    let next_hop = bench.next_hop.local_addr().unwrap().to_string();
    let frame = bench.frame(PacketSize::Ack, Duration::ZERO, false);
    let waits = bench.frame(PacketSize::Ack, Duration::from_millis(5), false);
    let last = bench.frame(PacketSize::Ack, Duration::ZERO, true);
    let broken = Frame::new(PacketMode::Mix, vec![1; 386]).unwrap();
    bench
        .send(&[frame.clone(), frame, last, broken, waits])
        .await;
    assert_eq!(bench.receive(2).await.len(), 2);
    bench.stop().await;

    let (sender, mut deliveries) = mpsc::channel(1);
    let mut bench = Bench::start(Role::Gateway(Collect(sender))).await;
    let last = bench.frame(PacketSize::Ack, Duration::ZERO, true);
    bench.send(&[last]).await;
    let destination = deliveries.recv().await.unwrap().destination;
    bench.stop().await;
    let text = log.text();
    assert!(text.contains("heard"), "{text}");
    // That a link was lost tells of no packet.
    let of_links = |line: &&str| line.contains("connection lost next_hop=");
    for line in text.lines().filter(|line| !of_links(line)) {
        for told in [&next_hop, &format!("{destination:?}")] {
            assert!(!line.contains(told), "{line}");
        }
    }
}

#[tokio::test]
async fn packets_of_every_size_cross_a_mix_node() {
    let mut bench = Bench::start(Role::mix_node()).await;
    let mut frames = Vec::new();
    for size in PacketSize::ALL.repeat(20) {
        frames.push(bench.frame(size, Duration::ZERO, false));
    }
    bench.send(&frames).await;
    let received = bench.receive(frames.len()).await;
    let count_of = |size| received.iter().filter(|frame| frame.size() == size).count();
    assert_eq!(PacketSize::ALL.map(count_of), [20; 3]);
    let work = bench.counters.work();
    assert!(
        (1..=60).contains(&work.batches) && work.sphinx > Duration::ZERO,
        "{work:?}"
    );
    for frame in received {
        // The next hop has the same key, and is the last.
        let mut packet = frame.into_packet();
        let peeled = sphinx::process(Version::NYM_0_11, &node_key(), &mut packet).unwrap();
        assert!(matches!(peeled, sphinx::Peeled::Final { .. }));
    }
    bench.stop().await;
}

#[tokio::test]
async fn a_packet_leaves_after_its_delay_and_shorter_ones_overtake_it() {
    let mut bench = Bench::start(Role::mix_node()).await;
    let long = Duration::from_millis(300);
    let slow = bench.frame(PacketSize::Regular, long, false);
    let fast = bench.frame(PacketSize::Ack, Duration::from_millis(10), false);
    let start = Instant::now();
    bench.send(&[slow, fast]).await;
    let received = bench.receive(2).await;
    assert!(start.elapsed() >= long);
    let sizes: Vec<_> = received.iter().map(Frame::size).collect();
    assert_eq!(sizes, [PacketSize::Ack, PacketSize::Regular]);
    bench.stop().await;
}

#[tokio::test]
async fn replayed_and_broken_packets_vanish_and_the_link_stays() {
    let mut bench = Bench::start(Role::mix_node()).await;
    let frame = bench.frame(PacketSize::Ack, Duration::ZERO, false);
    let last = bench.frame(PacketSize::Ack, Duration::ZERO, true);
    let broken = Frame::new(PacketMode::Mix, vec![1; 386]).unwrap();
    let other = bench.frame(PacketSize::Regular, Duration::from_millis(50), false);
    bench
        .send(&[frame.clone(), broken, last, frame, other])
        .await;
    let received = bench.receive(2).await;
    let sizes: Vec<_> = received.iter().map(Frame::size).collect();
    assert_eq!(sizes, [PacketSize::Ack, PacketSize::Regular]);
    let counters = bench.counters.clone();
    bench.stop().await;
    let expected = RejectCounts {
        invalid_header: 1,
        misdirected: 1,
        replayed: 1,
        ..RejectCounts::default()
    };
    assert_eq!(counters.rejected(), expected);
}

#[tokio::test]
async fn a_bad_frame_ends_its_link_and_no_other() {
    let mut bench = Bench::start(Role::mix_node()).await;
    let good = bench.frame(PacketSize::Ack, Duration::ZERO, false);
    let mut bad_link = TcpStream::connect(bench.node).await.unwrap();
    let mut bytes = Vec::new();
    good.encode_into(&mut bytes);
    bytes.extend([9, 9, 9]);
    bad_link.write_all(&bytes).await.unwrap();
    assert_eq!(bench.receive(1).await.len(), 1);
    // Closed, or reset when the node had not read all of it.
    let end = timeout(Duration::from_secs(20), bad_link.read(&mut [0])).await;
    assert_eq!(end.expect("the link ends").unwrap_or(0), 0);
    let good = bench.frame(PacketSize::Ack, Duration::ZERO, false);
    bench.send(&[good]).await;
    assert_eq!(bench.receive(1).await.len(), 1);
    bench.stop().await;
}

#[tokio::test]
async fn a_gateway_delivers_and_does_not_forward() {
    let (sender, mut deliveries) = mpsc::channel(1);
    let mut bench = Bench::start(Role::Gateway(Collect(sender))).await;
    let forward = bench.frame(PacketSize::Ack, Duration::ZERO, false);
    let last = bench.frame(PacketSize::Ack, Duration::ZERO, true);
    bench.send(&[forward, last]).await;
    let delivery = deliveries.recv().await.unwrap();
    assert_eq!(delivery.message, b"hello");
    assert_eq!(delivery.destination, [9; 32]);
    let counters = bench.counters.clone();
    bench.stop().await;
    assert_eq!(counters.rejected().misdirected, 1);
}

#[tokio::test]
async fn a_slow_delivery_holds_the_link_back_and_loses_nothing() {
    let (sender, mut deliveries) = mpsc::channel(1);
    let mut bench = Bench::start(Role::Gateway(Collect(sender))).await;
    // More than what the link, the queues of both workers and their turns hold.
    let count = 2 * (430 + PACKETS_QUEUED + PACKETS_PER_TURN) + 500;
    let mut bytes = Vec::with_capacity(count * PacketSize::Ack.frame_len());
    for _ in 0..count {
        bench
            .frame(PacketSize::Ack, Duration::ZERO, true)
            .encode_into(&mut bytes);
    }
    let mut link = TcpStream::connect(bench.node).await.unwrap();
    let mut writing = JoinSet::new();
    writing.spawn(async move { link.write_all(&bytes).await.map(|()| link) });
    for _ in 0..count {
        assert_eq!(deliveries.recv().await.unwrap().message, b"hello");
    }
    assert_eq!(bench.counters.rejected(), RejectCounts::default());
    bench.stop().await;
}

#[tokio::test]
async fn packets_that_wait_are_sent_before_stopping() {
    let mut bench = Bench::start(Role::mix_node()).await;
    let frame = bench.frame(PacketSize::Ack, Duration::from_millis(100), false);
    bench.send(&[frame]).await;
    // The relay has taken the packet once it has read this second one.
    let second = bench.frame(PacketSize::Ack, Duration::ZERO, false);
    bench.send(&[second]).await;
    let (stream, _) = bench.next_hop.accept().await.unwrap();
    let mut reader = FrameReader::new(stream, ReadTimeouts::default());
    assert!(reader.next_frame().await.unwrap().is_some());
    bench.shutdown.cancel();
    assert!(reader.next_frame().await.unwrap().is_some());
    bench.stop().await;
}

#[tokio::test]
async fn a_burst_that_falls_due_at_once_fits_into_the_queue_of_a_next_hop() {
    let next_hop = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connections = Connections::new(ConnectionsConfig::default(), nym_daemon::entropy());
    let exit = Exit::new(connections.clone(), Counters::start());
    let clock = Clock::start();
    let delayed = |_| Delayed {
        deadline: clock.now(),
        next_hop: next_hop.local_addr().unwrap().into(),
        frame: Frame::new(PacketMode::Mix, vec![0; 386]).unwrap(),
    };
    let waiting = Waiting::new(QueueLimits::default());
    waiting.hold(&mut (0..1000).map(delayed).collect(), &exit);
    waiting.close(clock.now() + DRAIN);
    // The task that writes does not run meanwhile: it has the same thread.
    schedule::run(&waiting, &exit, clock);
    let counts = connections.counts();
    assert_eq!((counts.queued, counts.dropped()), (1000, 0));
}

#[tokio::test]
async fn what_finds_the_delay_queue_full_is_counted() {
    let connections = Connections::new(ConnectionsConfig::default(), nym_daemon::entropy());
    let exit = Exit::new(connections, Counters::start());
    let delayed = |number: u64| Delayed {
        deadline: Timestamp::from_nanos(number),
        next_hop: "127.0.0.1:1".parse().unwrap(),
        frame: Frame::new(PacketMode::Mix, vec![0; 386]).unwrap(),
    };
    let limits = QueueLimits {
        count: 10,
        ..QueueLimits::default()
    };
    let waiting = Waiting::new(limits);
    waiting.hold(&mut (1..=15).map(delayed).collect(), &exit);
    let work = exit.counters.work();
    assert_eq!((work.waiting, work.overflowed), (10, 5));
    assert_eq!(exit.counters.totals().dropped, 5);
}

#[test]
fn what_leaves_lanes_empty_waits_for_the_turn_after_full_ones() {
    let cases = [
        (1, 1),
        (7, 7),
        (8, 8),
        (9, 8),
        (15, 8),
        (16, 16),
        (31, 24),
        (32, 32),
        (99, 32),
    ];
    for (count, opened) in cases {
        assert_eq!(turn_count(count), opened, "of {count}");
    }
}

#[test]
fn small_turns_are_timed_now_and_then_and_count_for_all() {
    let mut sample = Sample::default();
    assert_eq!(sample.weight(LANES), 1);
    let weights: Vec<_> = (0..2 * TIMED_EVERY).map(|_| sample.weight(1)).collect();
    assert_eq!(weights.iter().sum::<u32>(), 2 * TIMED_EVERY);
    assert_eq!(weights.iter().filter(|weight| **weight > 0).count(), 2);
    assert_eq!(sample.weight(32), 1);
}

#[tokio::test]
async fn the_scheduler_sleeps_again_when_an_earlier_packet_comes() {
    let mut bench = Bench::start(Role::mix_node()).await;
    let hour = bench.frame(PacketSize::Ack, Duration::from_secs(3600), false);
    let soon = bench.frame(PacketSize::Regular, Duration::from_millis(20), false);
    bench.send(&[hour]).await;
    bench.send(&[soon]).await;
    let received = bench.receive(1).await;
    assert_eq!(received[0].size(), PacketSize::Regular);
    bench.stop().await;
}

#[tokio::test]
async fn a_packet_from_before_a_restart_is_a_replay() {
    let mut bench = Bench::start(Role::mix_node()).await;
    let frame = bench.frame(PacketSize::Ack, Duration::ZERO, false);
    bench.send(std::slice::from_ref(&frame)).await;
    assert_eq!(bench.receive(1).await.len(), 1);
    let home = bench.stop().await;
    let mut bench = Bench::start_in(home, Role::mix_node()).await;
    let other = bench.frame(PacketSize::Regular, Duration::ZERO, false);
    bench.send(&[frame, other]).await;
    assert_eq!(bench.receive(1).await[0].size(), PacketSize::Regular);
    let counters = bench.counters.clone();
    bench.stop().await;
    assert_eq!(counters.rejected().replayed, 1);
}
