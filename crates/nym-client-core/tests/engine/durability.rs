//! Two engines that are killed at any boundary of what they keep, and go on from it.
//!
//! The shells of this test apply a batch one step after they were given it, so every state
//! between a change and its commit is seen. The gateway between them works as the real one: what
//! it pushed and no answer covers is pushed again after a crash, and the acknowledgement leaves
//! with the answer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use nym_client_core::{
    Batch, ClientKeys, Engine, EngineConfig, Event, MessageId, MessageNumber, Position,
    ReceivedMessage, RecordKey, SendError,
};
use nym_packet::ack::AckKey;
use nym_packet::address::Recipient;
use nym_packet::mix_packet::MixPacket;
use nym_packet::reply::ReplySurb;
use nym_packet::time::Timestamp;
use nym_protocol::app::{Outcome, SenderTag};
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use sphinx::PrivateKey;

use crate::net::Net;

/// Long enough for every retransmission.
const SPAN: Duration = Duration::from_secs(120);

/// When a client is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kill {
    /// Just before its n-th batch is on the medium.
    Before(usize),
    /// Just after, before the engine is told.
    After(usize),
}

/// A client: its engine, what is on its medium, and its app.
struct Peer {
    keys: [Vec<u8>; 2],
    recipient: Recipient,
    engine: Engine<ChaCha20Rng>,
    restarts: u64,
    medium: BTreeMap<RecordKey, Vec<u8>>,
    /// Given by the engine, not on the medium yet.
    batch: Option<Batch>,
    batches_count: usize,
    kills: BTreeSet<Kill>,
    /// What its gateway has for it, with the acknowledgements.
    inbox: VecDeque<(Vec<u8>, Option<MixPacket>)>,
    /// The first of these was pushed; it is answered when the position is committed.
    pushed: Option<Position>,
    app: App,
}

/// What an app knows.
#[derive(Default)]
struct App {
    /// What it will send next.
    to_send: VecDeque<Sending>,
    asked: BTreeMap<MessageId, Vec<u8>>,
    accepted: BTreeMap<MessageId, Vec<u8>>,
    /// Messages whose answer was lost in a crash.
    doubtful: Vec<Vec<u8>>,
    told: BTreeMap<MessageId, usize>,
    seen: BTreeSet<MessageNumber>,
    arrived: Vec<Vec<u8>>,
}

#[derive(Clone)]
enum Sending {
    Message { content: Vec<u8>, surbs: u32 },
    Reply { tag: SenderTag, content: Vec<u8> },
    ReplyBySurb { surb: String, content: Vec<u8> },
}

fn config() -> EngineConfig {
    // Without cover, so that only what matters costs time.
    EngineConfig {
        vpn_mode: true,
        ..EngineConfig::default()
    }
}

impl Peer {
    fn new(net: &mut Net, to_send: Vec<Sending>, kills: BTreeSet<Kill>) -> Self {
        let keys = net.keys();
        let recipient = keys.recipient;
        let keys = [
            keys.encryption.to_bytes().to_vec(),
            keys.ack_key.to_bytes().to_vec(),
        ];
        let medium = BTreeMap::new();
        let engine = restore(&keys, recipient, &medium, net, 0);
        let app = App {
            to_send: to_send.into(),
            ..App::default()
        };
        Self {
            keys,
            recipient,
            engine,
            restarts: 0,
            medium,
            batch: None,
            batches_count: 0,
            kills,
            inbox: VecDeque::new(),
            pushed: None,
            app,
        }
    }

    fn restart(&mut self, net: &Net) {
        self.restarts += 1;
        self.batch = None;
        self.pushed = None;
        self.engine = restore(&self.keys, self.recipient, &self.medium, net, self.restarts);
        let asked = std::mem::take(&mut self.app.asked);
        self.app.doubtful.extend(asked.into_values());
    }

    /// Puts the batch that waits on the medium; tells whether there was one.
    fn commit(&mut self, net: &Net) -> bool {
        let Some(batch) = self.batch.take() else {
            return false;
        };
        let index = self.batches_count;
        self.batches_count += 1;
        if self.kills.contains(&Kill::Before(index)) {
            self.restart(net);
            return true;
        }
        for change in batch.changes() {
            match change.value() {
                Some(value) => {
                    self.medium.insert(change.key().clone(), value.to_vec());
                }
                None => {
                    self.medium.remove(change.key());
                }
            }
        }
        if self.kills.contains(&Kill::After(index)) {
            self.restart(net);
            return true;
        }
        self.engine.handle_committed(batch.position());
        true
    }

    /// Writes what is to be kept, and gives the packet that leaves then.
    fn leaving(&mut self, net: &Net) -> MixPacket {
        self.batch = self.engine.poll_batch();
        self.commit(net);
        self.engine.handle_timeout(net.now);
        self.engine.poll_transmit().unwrap()
    }

    /// Writes what is to be kept, and gives the message that the app gets then.
    fn arrived(&mut self, net: &Net) -> ReceivedMessage {
        self.batch = self.engine.poll_batch();
        self.commit(net);
        let mut events = std::iter::from_fn(|| self.engine.poll_event());
        let received = events.find_map(|event| match event {
            Event::Received(received) => Some(received),
            _ => None,
        });
        received.unwrap()
    }

    /// Answers the push whose content is safe, and takes the next; gives an acknowledgement that
    /// leaves.
    fn read(&mut self, now: Timestamp, committed: Option<Position>) -> Option<MixPacket> {
        if let Some(needed) = self.pushed {
            if committed.is_none_or(|committed| committed < needed) {
                return None;
            }
            self.pushed = None;
            return self.inbox.pop_front().and_then(|(_, ack)| ack);
        }
        let (content, _) = self.inbox.front()?;
        self.pushed = self.engine.handle_push(now, content);
        if self.pushed.is_some() {
            return None;
        }
        self.inbox.pop_front().and_then(|(_, ack)| ack)
    }

    fn send_next(&mut self, now: Timestamp, to: &Recipient) {
        if !self.app.asked.is_empty() {
            return;
        }
        let Some(sending) = self.app.to_send.pop_front() else {
            return;
        };
        let (outcome, content) = match sending {
            Sending::Message { content, surbs } => (
                self.engine.send_anonymous(now, to, &content, surbs),
                content,
            ),
            Sending::Reply { tag, content } => {
                (self.engine.reply_to_tag(now, tag, content.clone()), content)
            }
            Sending::ReplyBySurb { surb, content } => {
                let surb: ReplySurb = surb.parse().unwrap();
                (self.engine.reply(now, surb, content.clone()), content)
            }
        };
        match outcome {
            Ok(message) => {
                let id = message.to_string().parse().unwrap();
                self.engine.ask_receipt(now, message, id);
                self.app.asked.insert(message, content);
            }
            // Its SURB went with a reply whose answer was lost.
            Err(SendError::SpentSurb | SendError::OutOfSurbs) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn listen(&mut self) {
        while let Some(event) = self.engine.poll_event() {
            match event {
                Event::Accepted { message } => {
                    let content = self.app.asked.remove(&message).unwrap();
                    self.app.accepted.insert(message, content);
                }
                Event::Delivered { message, .. } | Event::Failed { message, .. } => {
                    *self.app.told.entry(message).or_default() += 1;
                }
                Event::Received(received) => {
                    if self.app.seen.insert(received.number) {
                        let start = &received.message[..received.message.len().min(20)];
                        let answer = |text: &[u8]| [text, start].concat();
                        if let Some(surb) = &received.reply_surb {
                            self.app.to_send.push_back(Sending::ReplyBySurb {
                                surb: surb.to_string(),
                                content: answer(b"first answer to "),
                            });
                        }
                        if let Some(tag) = received.sender_tag {
                            self.app.to_send.push_back(Sending::Reply {
                                tag,
                                content: answer(b"second answer to "),
                            });
                        }
                        self.app.arrived.push(received.message);
                    }
                    self.engine.handle_taken(received.number);
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

fn restore(
    keys: &[Vec<u8>; 2],
    recipient: Recipient,
    medium: &BTreeMap<RecordKey, Vec<u8>>,
    net: &Net,
    seed: u64,
) -> Engine<ChaCha20Rng> {
    let [encryption, ack] = keys;
    let keys = ClientKeys {
        recipient,
        encryption: PrivateKey::from_bytes(encryption.as_slice().try_into().unwrap()),
        ack_key: AckKey::from_bytes(ack.as_slice().try_into().unwrap()),
    };
    let rng = ChaCha20Rng::seed_from_u64(seed + 100);
    let records = medium.iter().map(|(key, value)| (key.clone(), value));
    let mut engine = Engine::restore(keys, config(), rng, net.now, records).unwrap();
    assert!(engine.set_topology(net.topology.clone()));
    engine.set_link_up(net.now, true);
    engine
}

/// Runs a conversation with these kills; gives how many batches each wrote.
fn converse(kills: [BTreeSet<Kill>; 2]) -> [usize; 2] {
    let mut net = Net::new(1);
    let message = |len: usize, fill: u8, surbs| Sending::Message {
        content: vec![fill; len],
        surbs,
    };
    let told = format!("{kills:?}");
    let [of_alice, of_bob] = kills;
    let from_alice = vec![message(10, 1, 0), message(5_000, 2, 0), message(20, 3, 3)];
    let from_bob = vec![message(3_000, 4, 1), message(1, 5, 0)];
    let mut peers = [
        Peer::new(&mut net, from_alice, of_alice),
        Peer::new(&mut net, from_bob, of_bob),
    ];
    let end = net.now + SPAN;
    let mut packets_count = 0;
    while net.now <= end {
        let mut is_busy = true;
        while is_busy {
            let both = [0, 1].map(|index| step(&net, &mut peers, index, &mut packets_count));
            is_busy = both.contains(&true);
        }
        let now = net.now;
        let next = peers
            .iter()
            .filter_map(|peer| peer.engine.poll_timeout(now));
        let Some(next) = next.min() else { break };
        net.now = next.max(now + Duration::from_millis(1));
    }
    let [alice, bob] = &peers;
    check(alice, bob, &told);
    check(bob, alice, &told);
    peers.map(|peer| peer.batches_count)
}

/// Does all that is due of one client; `false` when nothing was.
fn step(net: &Net, peers: &mut [Peer; 2], index: usize, packets_count: &mut usize) -> bool {
    let to = peers[1 - index].recipient;
    let peer = &mut peers[index];
    let committed = peer.batch.as_ref().map(Batch::position);
    let was_killed = {
        let before = peer.restarts;
        let wrote = peer.commit(net);
        wrote && peer.restarts > before
    };
    let mut leaving = Vec::new();
    if !was_killed {
        leaving.extend(peer.read(net.now, committed));
    }
    peer.engine.handle_timeout(net.now);
    leaving.extend(std::iter::from_fn(|| peer.engine.poll_transmit()));
    peer.listen();
    peer.send_next(net.now, &to);
    if peer.batch.is_none() {
        peer.batch = peer.engine.poll_batch();
    }
    let is_busy = peer.batch.is_some() || !leaving.is_empty() || !peer.inbox.is_empty();
    for packet in leaving {
        *packets_count += 1;
        // Some are lost.
        if *packets_count % 7 == 3 {
            continue;
        }
        let arrival = net.carry(packet);
        let home = peers
            .iter_mut()
            .find(|peer| *peer.recipient.identity.as_bytes() == arrival.destination);
        let inbox = &mut home.unwrap().inbox;
        inbox.push_back((arrival.message, arrival.ack));
    }
    is_busy
}

/// Everything `from` was promised has come to `to` once.
fn check(from: &Peer, to: &Peer, kills: &str) {
    let count = |content: &Vec<u8>| {
        to.app
            .arrived
            .iter()
            .filter(|other| *other == content)
            .count()
    };
    let receipts: Vec<_> = from.engine.receipts().collect();
    for (message, content) in &from.app.accepted {
        let text = String::from_utf8_lossy(&content[..content.len().min(40)]);
        let receipt = receipts.iter().find(|receipt| receipt.message == *message);
        let outcome = receipt.and_then(|receipt| receipt.outcome.as_ref());
        match outcome {
            Some(Outcome::Delivered { .. }) => {
                assert_eq!(count(content), 1, "{text:?} was delivered; {kills}");
            }
            // A reply cannot be sent twice, so a lost one fails; a lost acknowledgement as well.
            Some(Outcome::Failed { reason }) => {
                assert!(reason.contains("reply"), "{text:?}: {reason}; {kills}");
                assert!(count(content) <= 1, "{text:?} is repeated; {kills}");
            }
            None => panic!("{text:?} has no end; {kills}"),
        }
        let told = from.app.told.get(message).copied().unwrap_or_default();
        assert!(
            told <= 1,
            "{text:?}: the end was told {told} times; {kills}"
        );
    }
    for content in &from.app.doubtful {
        assert!(
            count(content) <= 1,
            "an unconfirmed message is repeated; {kills}"
        );
    }
    assert_eq!(
        to.app.arrived.len(),
        to.app.arrived.iter().collect::<BTreeSet<_>>().len(),
        "a message is repeated; {kills}"
    );
    assert_eq!(from.engine.unacknowledged_messages(), 0, "{kills}");
}

#[test]
fn a_kill_at_any_boundary_of_what_is_kept_loses_and_repeats_nothing() {
    let none = || [BTreeSet::new(), BTreeSet::new()];
    let counts = converse(none());
    assert!(counts.iter().all(|count| *count > 10), "{counts:?}");
    for (client, count) in counts.into_iter().enumerate() {
        for index in 0..count {
            for kill in [Kill::Before(index), Kill::After(index)] {
                let mut kills = none();
                kills[client].insert(kill);
                converse(kills);
            }
        }
    }
}

fn any_kills() -> impl Strategy<Value = BTreeSet<Kill>> {
    let kill = (0..80_usize, any::<bool>()).prop_map(|(index, before)| match before {
        true => Kill::Before(index),
        false => Kill::After(index),
    });
    prop::collection::btree_set(kill, 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn many_kills_lose_and_repeat_nothing(of_alice in any_kills(), of_bob in any_kills()) {
        converse([of_alice, of_bob]);
    }
}

#[test]
fn a_store_that_fails_refuses_what_waits_and_what_comes_and_keeps_what_it_promised() {
    let mut net = Net::new(2);
    let mut peer = Peer::new(&mut net, Vec::new(), BTreeSet::new());
    let to = peer.recipient;
    let kept = peer.engine.send(net.now, &to, b"kept", false).unwrap();
    peer.batch = peer.engine.poll_batch();
    peer.commit(&net);
    assert!(
        matches!(peer.engine.poll_event(), Some(Event::Accepted { message }) if message == kept)
    );
    let waiting = peer.engine.send(net.now, &to, b"waits", true).unwrap();
    assert!(peer.engine.poll_event().is_none(), "it is not safe");
    let mut failed = peer.engine.poll_batch().unwrap();
    peer.engine.handle_commit_failed();
    assert!(
        matches!(peer.engine.poll_event(), Some(Event::Refused { message }) if message == waiting)
    );
    let refused = peer.engine.send(net.now, &to, b"comes", false);
    assert_eq!(refused, Err(SendError::StoreDown));
    assert_eq!(peer.engine.unacknowledged_messages(), 1);
    failed.append(peer.engine.poll_batch().unwrap());
    peer.batch = Some(failed);
    peer.commit(&net);
    peer.engine.send(net.now, &to, b"comes", false).unwrap();
    peer.restart(&net);
    assert_eq!(peer.engine.unacknowledged_messages(), 1, "the first alone");
}

#[test]
fn nothing_of_a_message_leaves_before_it_is_safe() {
    let mut net = Net::new(3);
    let mut peer = Peer::new(&mut net, Vec::new(), BTreeSet::new());
    let to = peer.recipient;
    peer.engine.send(net.now, &to, b"secret", false).unwrap();
    peer.engine.handle_timeout(net.now);
    assert!(peer.engine.poll_transmit().is_none());
    peer.batch = peer.engine.poll_batch();
    peer.commit(&net);
    peer.engine.handle_timeout(net.now);
    assert!(peer.engine.poll_transmit().is_some());
}

/// 0.11.0 looks on its disk whenever something arrives.
#[test]
fn a_reply_is_recognised_after_a_restart_while_nobody_reads_the_store() {
    let mut net = Net::new(4);
    let [mut alice, mut bob] = [(); 2].map(|()| Peer::new(&mut net, Vec::new(), BTreeSet::new()));
    let to = bob.recipient;
    alice.engine.send(net.now, &to, b"?", true).unwrap();
    let question = alice.leaving(&net);
    bob.engine
        .handle_push(net.now, &net.carry(question).message);
    let surb = bob.arrived(&net).reply_surb.unwrap();
    bob.engine.reply(net.now, surb, b"!".to_vec()).unwrap();
    let answer = bob.leaving(&net);

    alice.restart(&net);
    alice.medium.clear();
    alice
        .engine
        .handle_push(net.now, &net.carry(answer).message);
    assert_eq!(alice.arrived(&net).message, b"!");
}
