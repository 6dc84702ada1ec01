//! A real engine; the test is the apps, the gateway link and the validators.

use std::net::SocketAddr;
use std::time::Duration;

use nym_client_core::{EngineConfig, FailureReason, Lane, MessageId, SendError};
use nym_daemon::entropy;
use nym_packet::address::Recipient;
use nym_packet::fragment::{FragmentGeometry, split};
use nym_packet::keys::{IdentityKeyPair, IdentityPublicKey, PublicKey};
use nym_packet::{message, payload};
use nym_protocol::validator::topology::{GatewayDescriptor, MixnodeDescriptor};
use sphinx::PrivateKey;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::orders::Done;
use super::*;
use crate::deliveries::{AppId, MessageName};
use crate::keys::{KeyFiles, OwnKeys};
use crate::store::{Store, StoreConfig, StoreThread};

const BYTES_MAX: usize = 10_000;

/// Room for two messages of a few bytes.
const UNTAKEN_BYTES_MAX: usize = 512;

const LANE: Lane = Lane {
    app: 1,
    connection: 7,
};

struct Fixture {
    recipient: Recipient,
    inputs: mpsc::Sender<EngineInput>,
    orders: mpsc::Sender<AppOrder>,
    taken: mpsc::Sender<MessageNumber>,
    packets: mpsc::Receiver<MixPacket>,
    news: mpsc::Receiver<News>,
    journeys: mpsc::Receiver<Journey>,
    topology: Topology,
    _tasks: JoinSet<()>,
}

impl Fixture {
    fn start() -> Self {
        Self::start_with(BYTES_MAX, None)
    }

    /// With room for so many bytes of messages, and a store.
    fn start_with(bytes_max: usize, store: Option<Store>) -> Self {
        let topology = topology();
        let gateway = topology.gateways[0].identity;
        let keys = OwnKeys::generate(&mut entropy());
        let recipient = keys.recipient(gateway);
        let config = EngineConfig {
            unacknowledged_bytes_max: bytes_max,
            trace_journeys: true,
            ..EngineConfig::default()
        };
        let (clock, keys) = (Clock::start(), keys.into_engine_keys(gateway));
        let (engine, store) = match store {
            None => (Engine::new(keys, config, entropy()), None),
            Some(store) => {
                let (now, records) = (clock.now(), store.records().unwrap());
                let engine = Engine::restore(keys, config, entropy(), now, records).unwrap();
                // The thread ends with its handle.
                (engine, Some(StoreThread::start(store).unwrap().1))
            }
        };
        let (inputs_in, inputs) = mpsc::channel(16);
        let (orders_in, orders) = mpsc::channel(ORDER_QUEUE);
        let (packets_in, packets) = mpsc::channel(PACKET_QUEUE);
        let (news_in, news) = mpsc::channel(16);
        let (journeys_in, journeys) = mpsc::channel(16);
        let (taken_in, taken) = mpsc::channel(TAKEN_QUEUE);
        let queues = EngineQueues {
            inputs,
            orders,
            taken,
            store,
            packets: packets_in,
            news: news_in,
            journeys: Some(journeys_in),
            status: Arc::default(),
        };
        let bounds = Bounds {
            unacknowledged_bytes_max: bytes_max,
            untaken_bytes_max: UNTAKEN_BYTES_MAX,
        };
        let task = EngineTask::new(engine, clock, bounds, queues);
        let mut tasks = JoinSet::new();
        tasks.spawn(task.run(CancellationToken::new()));
        Self {
            recipient,
            inputs: inputs_in,
            orders: orders_in,
            taken: taken_in,
            packets,
            news,
            journeys,
            topology,
            _tasks: tasks,
        }
    }

    async fn tell(&self, input: EngineInput) {
        self.inputs.send(input).await.unwrap();
        // The task has taken the input in when the queue is empty again.
        while self.inputs.capacity() < self.inputs.max_capacity() {
            tokio::task::yield_now().await;
        }
    }

    async fn connect(&self) {
        self.tell(EngineInput::Topology(Box::new(self.topology.clone())))
            .await;
        self.tell(EngineInput::LinkUp).await;
    }

    /// The gateway pushes what a packet with this message brings, and asks whether it was read.
    async fn push(&self, text: &str) -> oneshot::Receiver<()> {
        let padded = message::prepare(text.as_bytes(), None, FragmentGeometry::REGULAR).unwrap();
        let fragments = split(&padded, FragmentGeometry::REGULAR, &mut entropy());
        let content = fragments[0].to_bytes();
        let content = payload::encrypt(&content, &self.recipient.encryption, &mut entropy());
        let room = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let push = Push {
            content: content.unwrap(),
            room: Some(room),
        };
        self.tell(EngineInput::Push(push)).await;
        let (safe, is_safe) = oneshot::channel();
        self.tell(EngineInput::Question(safe)).await;
        is_safe
    }

    /// The next message for apps.
    async fn arrived(&mut self) -> (MessageNumber, String) {
        let Some(News::Received(number, received)) = self.news.recv().await else {
            panic!("only messages arrive");
        };
        (number, String::from_utf8(received.message).unwrap())
    }

    async fn send(&self, len: usize) -> oneshot::Receiver<Result<Done, SendError>> {
        let (answer, answered) = oneshot::channel();
        let order = Order::Send {
            recipient: Box::new(self.recipient),
            message: vec![0; len],
            reply_surbs: 0,
        };
        let lane = Some(LANE);
        let author = Author {
            app: AppId(1),
            name: MessageName::Description("a message".to_owned()),
        };
        let order = AppOrder {
            order,
            author,
            lane,
            answer,
        };
        self.orders.send(order).await.unwrap();
        answered
    }
}

pub(crate) fn topology() -> Topology {
    let identity = || IdentityKeyPair::generate(&mut entropy()).public_key();
    let sphinx_key = || PrivateKey::generate(&mut entropy()).public_key();
    let mix_address = SocketAddr::from(([10, 0, 0, 1], 1789));
    let layer = |layer| {
        let identity: IdentityPublicKey = identity();
        vec![MixnodeDescriptor {
            identity,
            sphinx_key: sphinx_key(),
            mix_address,
            layer,
            speaks_tls: true,
        }]
    };
    Topology {
        layers: [layer(1), layer(2), layer(3)],
        gateways: vec![GatewayDescriptor {
            identity: identity(),
            sphinx_key: sphinx_key(),
            mix_address,
            client_address: "ws://10.0.0.1:9000".to_owned(),
            speaks_tls: true,
        }],
    }
}

#[tokio::test(start_paused = true)]
async fn packets_flow_while_the_link_is_up_and_rest_while_it_is_down() {
    let mut fixture = Fixture::start();
    assert!(
        timeout(Duration::from_secs(5), fixture.packets.recv())
            .await
            .is_err()
    );
    fixture.connect().await;
    for _ in 0..20 {
        fixture.packets.recv().await.unwrap();
    }
    fixture.tell(EngineInput::LinkDown).await;
    while fixture.packets.try_recv().is_ok() {}
    assert!(
        timeout(Duration::from_secs(5), fixture.packets.recv())
            .await
            .is_err()
    );
}

#[tokio::test(start_paused = true)]
async fn the_way_of_a_message_is_told_to_who_wants_to_know() {
    let mut fixture = Fixture::start();
    fixture.connect().await;
    let message = fixture.send(10).await.await.unwrap().unwrap();
    let journey = fixture.journeys.recv().await.unwrap();
    assert_eq!(message.lane_queue_length, 1);
    assert_eq!((journey.message, journey.hops.len()), (MessageId::FIRST, 4));
}

#[tokio::test]
async fn a_message_without_a_topology_is_refused() {
    let fixture = Fixture::start();
    assert_eq!(
        fixture.send(1).await.await.unwrap(),
        Err(SendError::NoTopology)
    );
}

#[tokio::test]
async fn a_message_that_can_never_fit_is_refused_and_one_that_fits_exactly_is_not() {
    let fixture = Fixture::start();
    fixture.connect().await;
    let refused = fixture.send(BYTES_MAX + 1).await.await.unwrap();
    assert!(
        matches!(refused, Err(SendError::QueueFull { .. })),
        "{refused:?}"
    );
    fixture.send(BYTES_MAX).await.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_app_waits_for_room_and_is_refused_when_the_link_goes_down() {
    let fixture = Fixture::start();
    fixture.connect().await;
    fixture.send(BYTES_MAX).await.await.unwrap().unwrap();
    let mut waiting = fixture.send(1).await;
    let patience = Duration::from_millis(50);
    assert!(
        timeout(patience, &mut waiting).await.is_err(),
        "there is no room"
    );
    fixture.tell(EngineInput::LinkDown).await;
    let refused = waiting.await.unwrap();
    assert!(
        matches!(refused, Err(SendError::QueueFull { .. })),
        "{refused:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_given_up_is_told_with_the_reason() {
    let mut fixture = Fixture::start();
    fixture.connect().await;
    // Nothing can be encrypted to this key.
    fixture.recipient.encryption = PublicKey::from_bytes([0; 32]);
    let done = fixture.send(10).await.await.unwrap().unwrap();
    let accepted = fixture.news.recv().await;
    assert!(
        matches!(accepted, Some(News::Accepted(message, _)) if Some(message) == done.message),
        "{accepted:?}"
    );
    let ended = timeout(Duration::from_secs(60), fixture.news.recv()).await;
    let Ok(Some(News::Ended(message, Outcome::Failed { reason }))) = ended else {
        panic!("{ended:?} is no failure");
    };
    let expected = FailureReason::UnusableRecipient.to_string();
    assert_eq!((Some(message), reason), (done.message, expected));
}

#[tokio::test(start_paused = true)]
async fn a_full_store_refuses_what_does_not_fit_and_takes_messages_again() {
    let home = tempfile::tempdir().unwrap();
    let config = StoreConfig {
        bytes_max: 200_000,
        ..StoreConfig::beside(&KeyFiles::in_dir(home.path()))
    };
    let store = Store::open(&config, &mut entropy()).unwrap();
    let fixture = Fixture::start_with(1_000_000, Some(store));
    fixture.connect().await;
    fixture.send(10).await.await.unwrap().unwrap();
    let refused = fixture.send(500_000).await.await.unwrap();
    assert_eq!(refused, Err(SendError::StoreDown));
    let refused = fixture.send(10).await.await.unwrap();
    assert_eq!(refused, Err(SendError::StoreDown), "not before a commit");
    let mut taken = Err(SendError::StoreDown);
    // The store's thread works in its own time.
    while taken == Err(SendError::StoreDown) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        taken = fixture.send(10).await.await.unwrap();
    }
    taken.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_apps_leave_no_room_for_stays_with_the_gateway_and_acknowledgements_go_past_it() {
    let mut fixture = Fixture::start();
    fixture.connect().await;
    let patience = Duration::from_secs(60);
    for text in ["1", "2"] {
        let is_safe = fixture.push(text).await;
        assert_eq!(is_safe.await, Ok(()));
    }
    let mut third = fixture.push("3").await;
    let mut fourth = fixture.push("4").await;
    assert!(timeout(patience, &mut third).await.is_err(), "no room");
    // Cover and messages leave, and what acknowledges them comes in.
    while fixture.packets.try_recv().is_ok() {}
    fixture.packets.recv().await.unwrap();
    let acknowledgement = Push {
        content: vec![0; 21],
        room: None,
    };
    fixture.tell(EngineInput::Push(acknowledgement)).await;

    let (first, text) = fixture.arrived().await;
    assert_eq!(text, "1");
    assert_eq!(fixture.arrived().await.1, "2");
    assert!(fixture.news.try_recv().is_err(), "the third is held");
    fixture.taken.send(first).await.unwrap();
    let (number, text) = fixture.arrived().await;
    assert_eq!(text, "3");
    assert_eq!(third.await, Ok(()));
    assert!(timeout(patience, &mut fourth).await.is_err(), "no room");
    fixture.taken.send(number).await.unwrap();
    assert_eq!(fixture.arrived().await.1, "4");
    assert_eq!(fourth.await, Ok(()));
}
