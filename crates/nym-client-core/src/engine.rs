//! The engine: what an app hands over goes in, paced packets come out, and the other way round.

mod anonymous;
mod arrived;
mod durability;
mod fair_queue;
mod own_cover;
mod pacing;
mod receiving;
mod sending;
mod transmitting;

use std::collections::VecDeque;
use std::time::Duration;

use nym_packet::ack::AckKey;
use nym_packet::address::Recipient;
use nym_packet::fragment::FragmentGeometry;
use nym_packet::mix_packet::MixPacket;
use nym_packet::reply::ReplySurb;
use nym_packet::time::Timestamp;
use nym_protocol::validator::topology::Topology;
use rand_core::CryptoRng;
use sphinx::{Builder, PrivateKey};

use self::arrived::Arrived;
pub use self::durability::RestoreError;
use self::pacing::PoissonStream;
use self::receiving::Receiver;
pub(crate) use self::sending::QueuedReply;
use self::sending::Unacknowledged;
use self::transmitting::Due;
use crate::config::EngineConfig;
use crate::event::{Event, MessageId};
use crate::journal::{Journal, Position};
use crate::receipts::Receipts;
use crate::reply_keys::{ReplyKeys, SpentSurbs};
use crate::sender_surbs::SenderSurbs;

/// How messages are cut: clients send regular packets.
const GEOMETRY: FragmentGeometry = FragmentGeometry::REGULAR;

/// The client's long-lived secrets and its address.
#[derive(Debug)]
pub struct ClientKeys {
    /// The address others send to; its gateway part is where this client picks up its messages.
    pub recipient: Recipient,
    /// Opens what is encrypted to the address.
    pub encryption: PrivateKey,
    /// Recognises the acknowledgements of packets sent.
    pub ack_key: AckKey,
}

/// Why the engine does not take a message; every refusal is one the app can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// There is no usable topology.
    #[error("the network's topology is not known yet; try again in a moment")]
    NoTopology,
    /// The client's own gateway is not in the topology, so nothing could be acknowledged.
    #[error("this client's own gateway is not in the network's topology")]
    OwnGatewayUnknown,
    /// The recipient's gateway is not in the topology.
    #[error("the recipient's gateway is not in the network's topology")]
    RecipientGatewayUnknown,
    /// Too much waits for acknowledgement already.
    #[error("{waiting} bytes wait for acknowledgement already, at most {max} may")]
    QueueFull {
        /// Bytes that wait.
        waiting: usize,
        /// The bound.
        max: usize,
    },
    /// A reply is one packet.
    #[error(
        "too long message to put inside a reply SURB. Received: {len} bytes and maximum is {max} bytes"
    )]
    ReplyTooLong {
        /// Length of the reply in bytes.
        len: usize,
        /// The longest a reply can be.
        max: usize,
    },
    /// All SURBs of the peer were used.
    #[error("no reply SURB of this sender tag is left; its sender has to write again")]
    OutOfSurbs,
    /// The tag names nobody, or its peer was forgotten.
    #[error("this sender tag is unknown, or too old")]
    UnknownSenderTag,
    /// A message comes with a limited number of SURBs.
    #[error("{asked} reply SURBs were asked for, a message carries at most {max}")]
    TooManySurbs {
        /// How many were asked for.
        asked: u32,
        /// The bound.
        max: u32,
    },
    /// A SURB answers once.
    #[error("this reply SURB was used before; each answers once")]
    SpentSurb,
    /// What is taken over could not be made safe at the moment.
    #[error("this client cannot store messages at the moment (is its disk full?); try again later")]
    StoreDown,
}

/// Names a conversation of one app, whose waiting packets are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane {
    /// Tells apps apart.
    pub app: u64,
    /// Tells the conversations of an app apart.
    pub connection: u64,
}

/// Counts of what the engine did since it began. They only ever grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Packets handed to the gateway, of every kind.
    pub packets_sent: u64,
    /// Of these, loop cover.
    pub cover_packets_sent: u64,
    /// Of these, fragments sent again because no acknowledgement came in time.
    pub retransmissions: u64,
    /// Acknowledgements that ended the wait of a fragment or reply.
    pub acknowledgements_received: u64,
    /// Loop cover packets that came back.
    pub cover_packets_received: u64,
    /// Messages that arrived whole.
    pub messages_received: u64,
    /// Pushed packets that were not for us, broken, or repeated.
    pub packets_ignored: u64,
}

/// The traffic engine of one client, as a state machine without I/O.
///
/// The caller feeds what happens — [`send`](Self::send) and [`reply`](Self::reply) from apps,
/// [`handle_push`](Self::handle_push) from the gateway, [`set_topology`](Self::set_topology),
/// [`set_link_up`](Self::set_link_up) — and the time through
/// [`handle_timeout`](Self::handle_timeout). After each it drains
/// [`poll_transmit`](Self::poll_transmit), then [`poll_event`](Self::poll_event), and sleeps until
/// [`poll_timeout`](Self::poll_timeout).
///
/// An engine from [`restore`](Self::restore) survives its process: the caller also drains
/// [`poll_batch`](Self::poll_batch), writes what it gives, and says so with
/// [`handle_committed`](Self::handle_committed).
///
/// The same inputs at the same times with the same generator give the same outputs.
#[derive(Debug)]
pub struct Engine<R> {
    keys: ClientKeys,
    config: EngineConfig,
    topology: Option<Topology>,
    link_up: bool,
    main_stream: PoissonStream,
    loop_cover_stream: PoissonStream,
    unacknowledged: Unacknowledged,
    receiver: Receiver,
    reply_keys: ReplyKeys,
    spent_surbs: SpentSurbs,
    sender_surbs: SenderSurbs,
    receipts: Receipts,
    journal: Journal,
    /// The store takes what the journal gives.
    store_up: bool,
    /// Messages that were taken over, until they are safe.
    unsafe_messages: VecDeque<(Position, MessageId)>,
    arrived: Arrived,
    /// What slots of now carry, until it is built, all at once.
    due: Vec<Due>,
    builder: Builder,
    transmits: VecDeque<MixPacket>,
    journeys: VecDeque<Event>,
    /// Each may be told when its position is committed.
    events: VecDeque<(Position, Event)>,
    stats: EngineStats,
    rng: R,
}

impl<R: CryptoRng> Engine<R> {
    /// How long a reply may stay unacknowledged before its sender is told.
    ///
    /// The delays inside a SURB are known to its owner only, so there is no expected round trip.
    const REPLY_WAIT: Duration = Duration::from_secs(60);

    /// In vpn mode, packets built per [`Self::handle_timeout`]: bounds the time one call takes.
    const VPN_BATCH: usize = 64;

    /// An engine that keeps everything in memory, and sends nothing until it has a topology and a
    /// link.
    #[must_use]
    pub fn new(keys: ClientKeys, config: EngineConfig, rng: R) -> Self {
        Self::with_journal(keys, config, rng, Journal::volatile())
    }

    fn with_journal(keys: ClientKeys, config: EngineConfig, rng: R, journal: Journal) -> Self {
        Self {
            main_stream: PoissonStream::new(config.message_sending_average_delay),
            loop_cover_stream: PoissonStream::new(config.loop_cover_traffic_average_delay),
            unacknowledged: Unacknowledged::new(),
            receiver: Receiver::new(&journal),
            reply_keys: ReplyKeys::new(config.reply_keys_max, config.reply_key_age_max),
            spent_surbs: SpentSurbs::default(),
            sender_surbs: SenderSurbs::new(config.sender_surbs_max, config.sender_surb_age_max),
            receipts: Receipts::new(config.receipts_max, config.receipt_age_max),
            journal,
            store_up: true,
            unsafe_messages: VecDeque::new(),
            arrived: Arrived::default(),
            due: Vec::new(),
            builder: Builder::new(),
            transmits: VecDeque::new(),
            journeys: VecDeque::new(),
            events: VecDeque::new(),
            stats: EngineStats::default(),
            topology: None,
            link_up: false,
            keys,
            config,
            rng,
        }
    }

    /// Replaces the topology that routes are drawn from. One that is not routable is not taken,
    /// so the last good one stays in use; returns whether it was taken.
    pub fn set_topology(&mut self, topology: Topology) -> bool {
        let routable = topology.is_routable();
        if routable {
            self.topology = Some(topology);
        }
        routable
    }

    /// Tells whether the gateway takes packets. While it does not, both streams rest; they start
    /// with a fresh gap, so that a reconnection shows no burst.
    pub fn set_link_up(&mut self, now: Timestamp, up: bool) {
        if up && !self.link_up && !self.config.vpn_mode {
            self.main_stream.start(now, &mut self.rng);
            self.loop_cover_stream.start(now, &mut self.rng);
        }
        if !up {
            self.main_stream.stop();
            self.loop_cover_stream.stop();
            self.transmits.clear();
        }
        self.link_up = up;
    }

    /// Takes over a message of any length, and hands it to the recipient's client whole.
    ///
    /// # Errors
    /// [`SendError`] says what is missing; nothing was taken over then.
    pub fn send(
        &mut self,
        now: Timestamp,
        recipient: &Recipient,
        message: &[u8],
        with_reply_surb: bool,
    ) -> Result<MessageId, SendError> {
        self.send_anonymous(now, recipient, message, u32::from(with_reply_surb))
    }

    /// As [`Self::send`], with the means to answer `surb_count` times, at most
    /// [`Self::SURBS_MAX`].
    ///
    /// SURBs after the first travel in follow-up messages. They belong to the message: it counts
    /// as delivered when they are.
    ///
    /// # Errors
    /// [`SendError`] says what is missing; nothing was taken over then.
    pub fn send_anonymous(
        &mut self,
        now: Timestamp,
        recipient: &Recipient,
        message: &[u8],
        surb_count: u32,
    ) -> Result<MessageId, SendError> {
        let surbs_len = Self::surbs_len(surb_count)?;
        self.check_capacity(message.len().saturating_add(surbs_len))?;
        let topology = self.topology.as_ref().ok_or(SendError::NoTopology)?;
        let own_gateway = &self.keys.recipient.gateway;
        topology
            .gateway(own_gateway)
            .ok_or(SendError::OwnGatewayUnknown)?;
        topology
            .gateway(&recipient.gateway)
            .ok_or(SendError::RecipientGatewayUnknown)?;

        let fragments = self.cut_with_surbs(now, message, surb_count)?;
        let journal = &mut self.journal;
        let message = self
            .unacknowledged
            .accept_message(now, recipient, fragments, journal);
        self.taken_over(message);
        Ok(message)
    }

    /// Takes over an answer to whoever attached `surb`.
    ///
    /// # Errors
    /// [`SendError`] says what is missing; the SURB is spent only when the reply was taken over.
    pub fn reply(
        &mut self,
        now: Timestamp,
        surb: ReplySurb,
        message: Vec<u8>,
    ) -> Result<MessageId, SendError> {
        self.check_reply(&message)?;
        if !self.spent_surbs.spend(surb.key_digest(), &mut self.journal) {
            return Err(SendError::SpentSurb);
        }
        Ok(self.accept_reply(now, surb, None, message))
    }

    /// Takes what the gateway pushed: 21 bytes are an acknowledgement, anything else a packet's
    /// content. What is broken, repeated or not for us is counted and dropped.
    ///
    /// Gives the position that must be committed before the gateway may be told that the push was
    /// read; `None` if it may be told at once. Losing an acknowledgement costs a retransmission,
    /// losing cover nothing.
    pub fn handle_push(&mut self, now: Timestamp, pushed: &[u8]) -> Option<Position> {
        let journal = &mut self.journal;
        let received = self
            .receiver
            .handle(now, pushed, &self.keys, &mut self.reply_keys, journal);
        match received {
            receiving::Received::Acknowledgement(id) => {
                let known = self.unacknowledged.is_known(id);
                self.stats.acknowledgements_received += u64::from(known);
                let ended = self.unacknowledged.acknowledge(now, id, &mut self.journal);
                self.conclude(now, ended);
                return None;
            }
            receiving::Received::LoopCover => {
                self.stats.cover_packets_received += 1;
                return None;
            }
            receiving::Received::Part => {}
            receiving::Received::Message {
                message,
                reply_surb,
            } => self.take_in_message(now, message, reply_surb),
            receiving::Received::Ignored => self.stats.packets_ignored += 1,
        }
        // What is ignored may be the repetition of something that is not safe yet.
        let position = self.journal.position();
        (!self.journal.is_committed(position)).then_some(position)
    }

    /// Does what is due at `now`: slots of both streams, retransmissions, giving up.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        let expired = self.unacknowledged.expire(
            now,
            self.config.fragment_attempts_max,
            self.config.message_age_max,
            &mut self.journal,
        );
        self.conclude(now, expired);
        if !self.link_up {
            return;
        }
        if self.config.vpn_mode {
            for _ in 0..Self::VPN_BATCH {
                if !self.transmit_waiting(now) {
                    break;
                }
            }
            self.build_due(now);
            return;
        }
        while self.main_stream.slot(now, &mut self.rng) {
            if !self.transmit_waiting(now) {
                self.transmit_loop_cover();
            }
        }
        while self.loop_cover_stream.slot(now, &mut self.rng) {
            self.transmit_loop_cover();
        }
        self.build_due(now);
    }

    /// The next packet to hand to the gateway, in order.
    pub fn poll_transmit(&mut self) -> Option<MixPacket> {
        self.transmits.pop_front()
    }

    /// The next thing to tell.
    pub fn poll_event(&mut self) -> Option<Event> {
        if let Some(journey) = self.journeys.pop_front() {
            return Some(journey);
        }
        let (position, _) = self.events.front()?;
        if !self.journal.is_committed(*position) {
            return None;
        }
        self.events.pop_front().map(|(_, event)| event)
    }

    /// When [`Self::handle_timeout`] is to be called next; `None`: only after another input.
    #[must_use]
    pub fn poll_timeout(&self, now: Timestamp) -> Option<Timestamp> {
        let waiting = self.config.vpn_mode && self.link_up && self.unacknowledged.is_waiting();
        [
            waiting.then_some(now).filter(|_| self.topology.is_some()),
            self.main_stream.next(),
            self.loop_cover_stream.next(),
            self.unacknowledged.next_timer(self.config.message_age_max),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Bytes of messages that were taken over and are not acknowledged yet.
    #[must_use]
    pub fn unacknowledged_bytes(&self) -> usize {
        self.unacknowledged.bytes()
    }

    /// Messages that were taken over and are not acknowledged yet.
    #[must_use]
    pub fn unacknowledged_messages(&self) -> usize {
        self.unacknowledged.message_count()
    }

    /// Messages that arrived and were not [taken](Self::handle_taken).
    #[must_use]
    pub fn untaken_messages(&self) -> usize {
        self.arrived.count()
    }

    /// Bytes of messages that arrived and were not [taken](Self::handle_taken), with 256 more for
    /// each.
    ///
    /// The engine takes whatever it is given. Who wants to bound this hands in no push but
    /// acknowledgements, which are 21 bytes long, while there is too much.
    #[must_use]
    pub const fn untaken_bytes(&self) -> usize {
        self.arrived.bytes()
    }

    /// Counts since the engine began.
    #[must_use]
    pub fn stats(&self) -> EngineStats {
        self.stats
    }

    /// The client's own address.
    #[must_use]
    pub fn recipient(&self) -> &Recipient {
        &self.keys.recipient
    }

    /// The topology in use.
    #[must_use]
    pub fn topology(&self) -> Option<&Topology> {
        self.topology.as_ref()
    }

    fn check_capacity(&self, len: usize) -> Result<(), SendError> {
        let waiting = self.unacknowledged.bytes();
        let max = self.config.unacknowledged_bytes_max;
        if waiting.saturating_add(len) > max {
            return Err(SendError::QueueFull { waiting, max });
        }
        if !self.store_up {
            return Err(SendError::StoreDown);
        }
        Ok(())
    }
}
