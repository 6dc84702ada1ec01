//! The task that owns the traffic engine.
//!
//! It feeds the engine what apps, the gateway and the validators give, drains what the engine
//! wants sent and told, and sleeps until the engine's next deadline. It waits for nobody who
//! could be waiting for it: packets go into a queue that is checked for room before they are
//! made, arrivals to a task that never waits for anybody.

use std::collections::BTreeMap;
use std::sync::Arc;

use nym_client_core::{Engine, Event, Journey, MessageId, MessageNumber, ReceivedMessage};
use nym_daemon::clock::Clock;
use nym_packet::mix_packet::MixPacket;
use nym_protocol::app::{Outcome, Received};
use nym_protocol::validator::Topology;
use rand::rngs::StdRng;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use self::intake::Intake;
pub(crate) use self::intake::Push;
use self::keeping::{Keeping, Progress};
use self::orders::Obeyed;
pub(crate) use self::orders::{AppOrder, Order};
use crate::deliveries::{AppId, Author, MessageName, News};
use crate::status::{ClientStatus, RateMeter};
use crate::store::StoreHandle;

mod intake;
mod keeping;
pub(crate) mod orders;

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
    /// The gateway delivered something.
    Push(Push),
    /// The gateway asks whether everything that it delivered so far was read. The answer is given
    /// when nothing of that can be lost any more.
    Question(oneshot::Sender<()>),
    /// The network looks like this now.
    Topology(Box<Topology>),
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
    unacknowledged_bytes_max: usize,
    status: Arc<watch::Sender<ClientStatus>>,
    intake: Intake,
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

/// How much may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Bytes of messages that are not acknowledged: above it, orders wait.
    pub(crate) unacknowledged_bytes_max: usize,
    /// Bytes of messages that no app has taken: from there on, pushes wait.
    pub(crate) untaken_bytes_max: usize,
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
        bounds: Bounds,
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
            unacknowledged_bytes_max: bounds.unacknowledged_bytes_max,
            status,
            intake: Intake::new(bounds.untaken_bytes_max),
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
            status.untaken_messages = engine.untaken_messages();
            status.untaken_bytes = engine.untaken_bytes();
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
                self.intake.forget_closed();
            }
            EngineInput::LinkUp => {
                self.state.link_up = true;
                self.engine.set_link_up(now, true);
            }
            EngineInput::Push(push) => self.take_push(push),
            EngineInput::Question(safe) => self.take_question(safe),
            EngineInput::Topology(topology) => {
                self.engine.set_topology(*topology);
            }
        }
    }

    async fn drain(&mut self) {
        if let Some(order) = self.state.waiting.take() {
            self.obey(order);
        }
        self.take_held();
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
            Event::Refused { message } => self.refuse(message),
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
