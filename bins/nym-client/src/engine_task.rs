//! The task that owns the traffic engine.
//!
//! It feeds the engine what apps, the gateway and the validators give, drains what the engine
//! wants sent and told, and sleeps until the engine's next deadline. It waits for nobody who
//! could be waiting for it: packets go into a queue that is checked for room before they are
//! made, arrivals to a task that never waits for anybody.

use std::collections::BTreeMap;
use std::sync::Arc;

use nym_client_core::{
    Engine, Event, Journey, Lane, MessageId, MessageNumber, ReceivedMessage, SendError,
};
use nym_daemon::clock::Clock;
use nym_packet::address::Recipient;
use nym_packet::mix_packet::MixPacket;
use nym_packet::reply::{REPLY_SURB_LEN, ReplySurb};
use nym_protocol::app::{Outcome, Received, SenderTag};
use nym_protocol::validator::Topology;
use rand::rngs::StdRng;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use self::keeping::{Keeping, Progress};
use crate::deliveries::{AppId, Author, MessageName, News};
use crate::status::{ClientStatus, RateMeter};
use crate::store::StoreHandle;

mod keeping;

/// Packets on their way to the gateway: 256 of at most 33 KiB, usually 2.4 KiB, are 8 MiB at
/// worst. At the default pace that is four seconds of a link that has stalled.
pub(crate) const PACKET_QUEUE: usize = 256;

/// The engine is not asked for packets unless the queue has room for so many: more than it makes
/// at one time.
const PACKETS_AT_ONCE: usize = 128;

/// Pushes and other news on their way to the engine: 256 of at most 33 KiB are 8 MiB at worst.
pub(crate) const INPUT_QUEUE: usize = 256;

/// Orders on their way to the engine. Each app has one at a time, which its limit on messages
/// bounds in bytes.
pub(crate) const ORDER_QUEUE: usize = 4;

/// Numbers of messages that apps have taken, on their way to the engine.
pub(crate) const TAKEN_QUEUE: usize = 256;

/// News for the engine.
#[derive(Debug)]
pub(crate) enum EngineInput {
    /// The gateway takes packets no more.
    LinkDown,
    /// The gateway takes packets.
    LinkUp,
    /// The gateway delivered something. The sender is answered when nothing of it can be lost
    /// any more.
    Push(Vec<u8>, oneshot::Sender<()>),
    /// The network looks like this now.
    Topology(Box<Topology>),
}

/// What an app wants the engine to do; the answer says whether it was taken over, which means that
/// it is safe.
#[derive(Debug)]
pub(crate) struct AppOrder {
    pub(crate) order: Order,
    /// Who sends a message.
    pub(crate) author: Author,
    /// Where what is taken over is counted.
    pub(crate) lane: Option<Lane>,
    pub(crate) answer: oneshot::Sender<Result<Done, SendError>>,
}

/// An order was obeyed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Done {
    /// Unacknowledged packets of the order's lane, 0 without one.
    pub(crate) lane_queue_length: u64,
    /// The message that was taken over, if the order was to send one.
    pub(crate) message: Option<MessageId>,
}

/// What an app wants the engine to do.
#[derive(Debug)]
pub(crate) enum Order {
    /// Tell how many packets wait in the lane.
    CountLane,
    /// Answer whoever made this SURB.
    Reply {
        surb: Box<ReplySurb>,
        message: Vec<u8>,
    },
    /// Answer the anonymous peer of this name.
    ReplyToTag { tag: SenderTag, message: Vec<u8> },
    /// Send to an address.
    Send {
        recipient: Box<Recipient>,
        message: Vec<u8>,
        reply_surbs: u32,
    },
}

impl Order {
    /// Bytes that would wait for acknowledgement.
    fn len(&self) -> usize {
        match self {
            Self::CountLane => 0,
            Self::Reply { message, .. } | Self::ReplyToTag { message, .. } => message.len(),
            Self::Send {
                message,
                reply_surbs,
                ..
            } => usize::try_from(*reply_surbs)
                .unwrap_or(usize::MAX)
                .saturating_mul(REPLY_SURB_LEN)
                .saturating_add(message.len()),
        }
    }
}

/// The task and its queues.
#[derive(Debug)]
pub(crate) struct EngineTask {
    pub(crate) engine: Engine<StdRng>,
    pub(crate) clock: Clock,
    pub(crate) inputs: mpsc::Receiver<EngineInput>,
    pub(crate) orders: mpsc::Receiver<AppOrder>,
    pub(crate) taken: mpsc::Receiver<MessageNumber>,
    pub(crate) packets: mpsc::Sender<MixPacket>,
    pub(crate) news: mpsc::Sender<News>,
    pub(crate) journeys: Option<mpsc::Sender<Journey>>,
    pub(crate) unacknowledged_bytes_max: usize,
    status: Arc<watch::Sender<ClientStatus>>,
    keeping: Keeping,
    state: State,
}

/// What the task knows beside the engine.
#[derive(Debug, Default)]
struct State {
    link_up: bool,
    /// An order that has to wait until earlier messages are acknowledged.
    waiting: Option<AppOrder>,
    /// Orders that were obeyed and wait until that is safe: at most one of each app.
    obeyed: BTreeMap<MessageId, Obeyed>,
    packets_dropped_count: u64,
    messages_failed_count: u64,
    meter: RateMeter,
}

/// Who is to be told that a message was accepted.
#[derive(Debug)]
struct Obeyed {
    author: Author,
    lane: Option<Lane>,
    answer: oneshot::Sender<Result<Done, SendError>>,
}

/// The queues that lead to and from the task, and the way to the store, if there is one.
pub(crate) struct EngineQueues {
    pub(crate) inputs: mpsc::Receiver<EngineInput>,
    pub(crate) orders: mpsc::Receiver<AppOrder>,
    /// Messages that arrived and need not be kept any more.
    pub(crate) taken: mpsc::Receiver<MessageNumber>,
    pub(crate) store: Option<StoreHandle>,
    pub(crate) packets: mpsc::Sender<MixPacket>,
    pub(crate) news: mpsc::Sender<News>,
    pub(crate) journeys: Option<mpsc::Sender<Journey>>,
    pub(crate) status: Arc<watch::Sender<ClientStatus>>,
}

impl EngineTask {
    pub(crate) fn new(
        engine: Engine<StdRng>,
        clock: Clock,
        unacknowledged_bytes_max: usize,
        queues: EngineQueues,
    ) -> Self {
        let EngineQueues {
            inputs,
            orders,
            taken,
            store,
            packets,
            news,
            journeys,
            status,
        } = queues;
        Self {
            engine,
            clock,
            inputs,
            orders,
            taken,
            packets,
            news,
            journeys,
            unacknowledged_bytes_max,
            status,
            keeping: Keeping::new(store),
            state: State::default(),
        }
    }

    /// Runs until `shutdown` is cancelled.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        self.tell_receipts().await;
        self.drain().await;
        while self.turn(&shutdown).await {
            self.drain().await;
            self.note_status();
        }
        let Self {
            mut engine,
            keeping,
            ..
        } = self;
        keeping.finish(&mut engine).await;
    }

    /// Waits for the next thing to do, and does it; `false` when it is time to end.
    async fn turn(&mut self, shutdown: &CancellationToken) -> bool {
        let deadline = self.engine.poll_timeout(self.clock.now());
        let deadline = deadline.map(|deadline| self.clock.instant(deadline));
        let has_room = self.packets.capacity() >= PACKETS_AT_ONCE;
        // All branches are cancel-safe.
        tokio::select! {
            () = shutdown.cancelled() => return false,
            progress = self.keeping.progress() => {
                if matches!(progress, Progress::Ended) {
                    return false;
                }
                self.keeping.take_in(progress, &mut self.engine);
            }
            Some(input) = self.inputs.recv() => self.take_in(input),
            Some(number) = self.taken.recv() => self.engine.handle_taken(number),
            Some(order) = self.orders.recv(), if self.state.waiting.is_none() => {
                self.obey(order);
            }
            () = sleep_until(deadline.unwrap_or_else(tokio::time::Instant::now)),
                if deadline.is_some() && has_room =>
            {
                self.engine.handle_timeout(self.clock.now());
            }
            true = has_room_again(&self.packets), if !has_room => {}
        }
        true
    }

    /// Tells of the messages of an earlier run whose apps want to know what became of them.
    async fn tell_receipts(&mut self) {
        let receipts: Vec<_> = self.engine.receipts().collect();
        for receipt in receipts {
            let author = Author {
                app: AppId::EARLIER,
                name: MessageName::Id(receipt.id),
            };
            self.say(News::Accepted(receipt.message, author)).await;
            if let Some(outcome) = receipt.outcome {
                self.say(News::Ended(receipt.message, outcome)).await;
            }
        }
    }

    /// Tells how the engine does. Nobody is woken for it: whoever is asked looks.
    fn note_status(&mut self) {
        let (engine, stats) = (&self.engine, self.engine.stats());
        let rates = self.state.meter.measure(self.clock.now(), stats);
        self.status.send_if_modified(|status| {
            status.engine = stats;
            status.unacknowledged_messages = engine.unacknowledged_messages();
            status.unacknowledged_bytes = engine.unacknowledged_bytes();
            status.rates = rates;
            false
        });
    }

    fn take_in(&mut self, input: EngineInput) {
        let now = self.clock.now();
        match input {
            EngineInput::LinkDown => {
                self.state.link_up = false;
                self.engine.set_link_up(now, false);
            }
            EngineInput::LinkUp => {
                self.state.link_up = true;
                self.engine.set_link_up(now, true);
            }
            EngineInput::Push(push, reader) => {
                let position = self.engine.handle_push(now, &push);
                self.keeping.wait(position, reader);
            }
            EngineInput::Topology(topology) => {
                self.engine.set_topology(*topology);
            }
        }
    }

    /// Hands an order to the engine. When too much waits for acknowledgement and the network is
    /// there, the order waits, and with it all apps that want to send more.
    fn obey(&mut self, order: AppOrder) {
        let len = order.order.len();
        let max = self.unacknowledged_bytes_max;
        let has_room = self.engine.unacknowledged_bytes().saturating_add(len) <= max;
        if !has_room && len <= max && self.state.link_up {
            self.state.waiting = Some(order);
            return;
        }
        let AppOrder {
            order,
            author,
            lane,
            answer,
        } = order;
        let now = self.clock.now();
        let outcome = match order {
            Order::CountLane => Ok(None),
            Order::Reply { surb, message } => self.engine.reply(now, *surb, message).map(Some),
            Order::ReplyToTag { tag, message } => {
                self.engine.reply_to_tag(now, tag, message).map(Some)
            }
            Order::Send {
                recipient,
                message,
                reply_surbs,
            } => self
                .engine
                .send_anonymous(now, &recipient, &message, reply_surbs)
                .map(Some),
        };
        // The app may be gone; what was taken over is sent all the same.
        match outcome {
            Err(refusal) => {
                let _ = answer.send(Err(refusal));
            }
            Ok(None) => {
                let lane_queue_length = self.lane_queue_length(lane);
                let _ = answer.send(Ok(Done {
                    lane_queue_length,
                    message: None,
                }));
            }
            Ok(Some(message)) => {
                if let Some(lane) = lane {
                    self.engine.put_in_lane(message, lane);
                }
                if let MessageName::Id(id) = &author.name {
                    self.engine.ask_receipt(now, message, id.clone());
                }
                let obeyed = Obeyed {
                    author,
                    lane,
                    answer,
                };
                self.state.obeyed.insert(message, obeyed);
            }
        }
    }

    /// A message that an app handed over is safe.
    async fn accept(&mut self, message: MessageId) {
        let Some(obeyed) = self.state.obeyed.remove(&message) else {
            return;
        };
        let done = Done {
            lane_queue_length: self.lane_queue_length(obeyed.lane),
            message: Some(message),
        };
        self.say(News::Accepted(message, obeyed.author)).await;
        let _ = obeyed.answer.send(Ok(done));
    }

    fn lane_queue_length(&self, lane: Option<Lane>) -> u64 {
        lane.map_or(0, |lane| self.engine.lane_queue_length(lane))
    }

    async fn drain(&mut self) {
        if let Some(order) = self.state.waiting.take() {
            self.obey(order);
        }
        self.keeping.write_next(&mut self.engine);
        while let Some(packet) = self.engine.poll_transmit() {
            if self.packets.try_send(packet).is_err() {
                self.state.packets_dropped_count += 1;
                if self.state.packets_dropped_count.is_power_of_two() {
                    let dropped = self.state.packets_dropped_count;
                    tracing::warn!(dropped, "the link to the gateway is full: packets are lost");
                }
            }
        }
        while let Some(event) = self.engine.poll_event() {
            self.tell(event).await;
        }
    }

    async fn tell(&mut self, event: Event) {
        match event {
            Event::Accepted { message } => self.accept(message).await,
            Event::Refused { message } => {
                if let Some(obeyed) = self.state.obeyed.remove(&message) {
                    let _ = obeyed.answer.send(Err(SendError::StoreDown));
                }
            }
            Event::Received(ReceivedMessage {
                number,
                message,
                reply_surb,
                sender_tag,
                ..
            }) => {
                let mut received = Received::new(message);
                if let Some(surb) = reply_surb {
                    received = received.with_reply_surb(surb);
                }
                if let Some(tag) = sender_tag {
                    received = received.with_sender_tag(tag);
                }
                self.say(News::Received(number, received)).await;
            }
            Event::Delivered {
                message, latency, ..
            } => {
                let outcome = Outcome::Delivered { latency };
                self.say(News::Ended(message, outcome)).await;
            }
            Event::Failed {
                message, reason, ..
            } => {
                let outcome = Outcome::Failed {
                    reason: reason.to_string(),
                };
                self.say(News::Ended(message, outcome)).await;
                self.state.messages_failed_count += 1;
                if self.state.messages_failed_count.is_power_of_two() {
                    let failed = self.state.messages_failed_count;
                    tracing::warn!(failed, %reason, "a message was given up");
                }
            }
            Event::Sent(journey) => {
                if let Some(journeys) = &self.journeys {
                    // Whoever watches may be slow or gone; sending goes on.
                    let _ = journeys.try_send(journey);
                }
            }
            _ => {}
        }
    }

    async fn say(&self, news: News) {
        // The receiving task ends only when this one does.
        let _ = self.news.send(news).await;
    }
}

/// Waits until the queue has room for what the engine makes at one time; `false` when there is
/// nobody left who takes packets out.
async fn has_room_again(packets: &mpsc::Sender<MixPacket>) -> bool {
    packets.reserve_many(PACKETS_AT_ONCE).await.is_ok()
}

#[cfg(test)]
pub(crate) mod tests;
