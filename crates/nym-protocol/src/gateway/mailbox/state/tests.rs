use std::collections::BTreeMap;

use nym_packet::address::HopAddress;
use nym_packet::frame::PacketMode;
use nym_packet::geometry::PacketSize;
use nym_packet::mix_packet::MixPacket;
use proptest::prelude::*;

use super::super::{Committed, Proof};
use super::*;

const LIMITS: MailboxLimits = MailboxLimits {
    bursts_max: 2,
    held_bytes_max: 1 << 20,
    held_count_max: 4,
    patience: Duration::from_secs(1),
};

const FIRST: ConnectionId = ConnectionId(1);

/// An acknowledgement that carries the number of its message.
fn ack(id: u64) -> HeldAck {
    let mut packet = vec![0; PacketSize::Ack.packet_len()];
    packet[..8].copy_from_slice(&id.to_be_bytes());
    let hop = HopAddress::new("127.0.0.1:1".parse().unwrap());
    HeldAck::new(Some(MixPacket::new(PacketMode::Mix, hop, packet).unwrap()))
}

fn number(packet: &MixPacket) -> u64 {
    u64::from_be_bytes(packet.frame().packet()[..8].try_into().unwrap())
}

fn message(id: u64) -> Deposit {
    Deposit {
        id: MessageId(id),
        message: id.to_be_bytes().to_vec(),
        ack: ack(id),
    }
}

fn ids(deposits: &[Deposit]) -> Vec<u64> {
    deposits.iter().map(|deposit| deposit.id.0).collect()
}

/// A mailbox whose client is online and whose inbox is empty.
fn live() -> Mailbox {
    let mut mailbox = Mailbox::default();
    assert!(mailbox.handle_login(FIRST).is_empty());
    let Work::Read(reading) = mailbox.poll_work(FIRST, &LIMITS) else {
        panic!("a login reads the inbox");
    };
    assert_eq!(mailbox.handle_read(FIRST, reading, None), None);
    mailbox
}

fn arrive(mailbox: &mut Mailbox, id: u64) -> Option<Deposit> {
    mailbox.handle_arrival(Timestamp::ZERO, &LIMITS, message(id))
}

/// Pushes what there is to push.
fn push(mailbox: &mut Mailbox) -> (Vec<Vec<u8>>, Option<u64>) {
    match mailbox.poll_work(FIRST, &LIMITS) {
        Work::Push { messages, ping } => (messages, ping),
        other => panic!("{other:?} instead of a push"),
    }
}

#[test]
fn push_is_acknowledged_by_its_pong_and_not_before() {
    let mut mailbox = live();
    assert!(arrive(&mut mailbox, 1).is_none());
    assert!(arrive(&mut mailbox, 2).is_none());
    let (messages, ping) = push(&mut mailbox);
    assert_eq!(messages.len(), 2);
    assert!(mailbox.handle_pong(FIRST, ping.unwrap() - 1).is_none());
    assert!(
        mailbox
            .handle_pong(ConnectionId(2), ping.unwrap())
            .is_none()
    );
    let taken = mailbox.handle_pong(FIRST, ping.unwrap()).unwrap();
    assert_eq!(taken.acks.len(), 2);
    assert!(!taken.is_stored);
    assert_eq!(taken.proof.through(), MessageId(2));
    assert!(mailbox.handle_pong(FIRST, ping.unwrap()).is_none());
    assert_eq!(mailbox.poll_timeout(&LIMITS), None);
}

#[test]
fn acknowledgements_go_past_messages_that_the_client_does_not_answer() {
    let mut mailbox = live();
    let acknowledgement = |id| Deposit {
        id: MessageId(id),
        message: vec![9; 21],
        ack: HeldAck::new(None),
    };
    let arrive_ack = |mailbox: &mut Mailbox, id| {
        let given = mailbox.handle_arrival(Timestamp::ZERO, &LIMITS, acknowledgement(id));
        assert!(given.is_none(), "an acknowledgement is not stored");
    };
    for id in 1..=2 {
        arrive(&mut mailbox, id);
        assert!(push(&mut mailbox).1.is_some());
    }
    // The pushes are not answered; two more messages are held, and for a fifth there is no room.
    arrive(&mut mailbox, 3);
    arrive(&mut mailbox, 4);
    assert!(matches!(mailbox.poll_work(FIRST, &LIMITS), Work::Wait));
    arrive_ack(&mut mailbox, 5);
    assert_eq!(push(&mut mailbox), (vec![vec![9; 21]], None));
    assert_eq!(ids(&Vec::from_iter(arrive(&mut mailbox, 6))), [6]);
    for id in 7..7 + PASSING_MAX as u64 {
        arrive_ack(&mut mailbox, id);
    }
    let many = mailbox.handle_arrival(Timestamp::ZERO, &LIMITS, acknowledgement(100));
    assert_eq!(
        ids(&Vec::from_iter(many)),
        [100],
        "above the bound it is stored"
    );
    assert_eq!(push(&mut mailbox).0.len(), PASSING_MAX);
    assert!(matches!(mailbox.poll_work(FIRST, &LIMITS), Work::Wait));
    arrive_ack(&mut mailbox, 101);
    assert_eq!(ids(&mailbox.handle_break(FIRST)), [1, 2, 3, 4]);
    assert!(matches!(mailbox.poll_work(FIRST, &LIMITS), Work::Wait));
}

#[test]
fn broken_connection_gives_back_what_was_pushed_before_what_comes_later() {
    let mut mailbox = live();
    arrive(&mut mailbox, 1);
    push(&mut mailbox);
    arrive(&mut mailbox, 2);
    assert_eq!(ids(&mailbox.handle_break(FIRST)), [1, 2]);
    assert_eq!(ids(&Vec::from_iter(arrive(&mut mailbox, 3))), [3]);
    mailbox.handle_stored(MessageId(3));

    let second = ConnectionId(2);
    mailbox.handle_login(second);
    let Work::Read(reading) = mailbox.poll_work(second, &LIMITS) else {
        panic!("a login reads the inbox");
    };
    assert_eq!(
        reading.before,
        MessageId(1),
        "3 must wait for 1 and 2, which are not in the inbox yet"
    );
    assert_eq!(mailbox.handle_read(second, reading, None), None);
    assert!(matches!(mailbox.poll_work(second, &LIMITS), Work::Wait));
    mailbox.handle_stored(MessageId(1));
    assert!(matches!(mailbox.poll_work(second, &LIMITS), Work::Read(_)));
    mailbox.handle_stored(MessageId(2));
    mailbox.handle_break(second);
    assert!(mailbox.is_idle());
}

#[test]
fn message_is_stored_at_the_end_of_the_patience_and_not_before() {
    let mut mailbox = live();
    arrive(&mut mailbox, 1);
    let due = mailbox.poll_timeout(&LIMITS).unwrap();
    assert_eq!(due, Timestamp::ZERO + LIMITS.patience);
    let (_, ping) = push(&mut mailbox);
    let early = Timestamp::from_nanos(due.as_nanos() - 1);
    assert!(mailbox.handle_timeout(early, &LIMITS).is_empty());
    assert_eq!(ids(&mailbox.handle_timeout(due, &LIMITS)), [1]);
    let taken = mailbox.handle_pong(FIRST, ping.unwrap()).unwrap();
    assert!(taken.is_stored, "the late pong removes it");
    assert!(
        taken.acks.is_empty(),
        "its acknowledgement waits for the commit"
    );
    mailbox.handle_stored(MessageId(1));
    assert!(
        arrive(&mut mailbox, 2).is_none(),
        "the connection stays live"
    );
}

#[test]
fn acknowledgements_of_the_client_are_let_go_without_a_ping_or_the_store() {
    let mut mailbox = live();
    let arrived = Deposit {
        ack: HeldAck::new(None),
        ..message(1)
    };
    assert!(
        mailbox
            .handle_arrival(Timestamp::ZERO, &LIMITS, arrived)
            .is_none()
    );
    let (messages, ping) = push(&mut mailbox);
    assert_eq!((messages.len(), ping), (1, None));
    let due = mailbox.poll_timeout(&LIMITS).unwrap();
    assert!(mailbox.handle_timeout(due, &LIMITS).is_empty());
    mailbox.handle_break(FIRST);
    assert!(mailbox.is_idle());
}

#[test]
fn held_messages_are_bounded_in_number_and_in_bytes() {
    let mut mailbox = live();
    for id in 1..=4 {
        assert!(arrive(&mut mailbox, id).is_none());
    }
    assert!(arrive(&mut mailbox, 5).is_some());
    let limits = MailboxLimits {
        held_bytes_max: 15,
        ..LIMITS
    };
    let mut mailbox = live();
    assert!(
        mailbox
            .handle_arrival(Timestamp::ZERO, &limits, message(1))
            .is_none()
    );
    assert!(
        mailbox
            .handle_arrival(Timestamp::ZERO, &limits, message(2))
            .is_some()
    );
}

#[test]
fn without_a_place_in_memory_every_message_is_stored_and_pushed_from_there() {
    let mut mailbox = live();
    let none = MailboxLimits {
        held_count_max: 0,
        ..LIMITS
    };
    let given = mailbox.handle_arrival(Timestamp::ZERO, &none, message(1));
    assert!(given.is_some());
    assert_eq!(mailbox.held_memory(), 0);
    mailbox.handle_stored(MessageId(1));
    assert!(matches!(mailbox.poll_work(FIRST, &LIMITS), Work::Read(_)));
    let mut mailbox = live();
    assert!(arrive(&mut mailbox, 1).is_none());
    assert!(mailbox.held_memory() > HELD_OVERHEAD);
}

#[test]
fn nothing_is_pushed_while_too_many_bursts_are_unanswered() {
    let mut mailbox = live();
    let mut last = None;
    for id in 1..=2 {
        arrive(&mut mailbox, id);
        last = push(&mut mailbox).1;
    }
    arrive(&mut mailbox, 3);
    assert!(matches!(mailbox.poll_work(FIRST, &LIMITS), Work::Wait));
    assert_eq!(
        mailbox
            .handle_pong(FIRST, last.unwrap())
            .unwrap()
            .acks
            .len(),
        2
    );
    assert_eq!(push(&mut mailbox).0.len(), 1);
}

/// What goes over the link to the client.
#[derive(Debug)]
enum Wire {
    Push(u64),
    Ping(u64),
}

/// A mailbox, its inbox and its client, with everything that can be under way between them.
#[derive(Default)]
struct World {
    now: Timestamp,
    mailbox: Mailbox,
    next_id: u64,
    next_connection: u64,
    /// Given out to be stored, committed in any order.
    under_way: Vec<Deposit>,
    inbox: BTreeMap<MessageId, u64>,
    /// Removals that were not executed yet.
    removals: Vec<MessageId>,
    /// A reading that was asked for, and what was found at that time.
    reading: Option<(ConnectionId, Reading, Vec<u64>)>,
    wire: VecDeque<Wire>,
    pongs: VecDeque<(ConnectionId, u64)>,
    acked: Vec<u64>,
    /// What the client has, in the order in which it got it first.
    received: Vec<u64>,
    /// The last push of this connection.
    last_push: u64,
    refused: Vec<u64>,
}

impl World {
    fn connection(&self) -> ConnectionId {
        ConnectionId(self.next_connection)
    }

    fn arrive(&mut self) {
        self.next_id += 1;
        let given = self
            .mailbox
            .handle_arrival(self.now, &LIMITS, message(self.next_id));
        self.under_way.extend(given);
    }

    fn commit(&mut self, index: usize, refuse: bool) {
        if self.under_way.is_empty() {
            return;
        }
        let Deposit { id, ack, .. } = self.under_way.remove(index % self.under_way.len());
        if refuse {
            self.refused.push(id.0);
        } else {
            self.inbox.insert(id, id.0);
            let proof = Committed(());
            let packet = ack.release(Proof::Committed(&proof)).unwrap();
            self.acked.push(number(&packet));
        }
        self.mailbox.handle_stored(id);
    }

    fn work(&mut self) {
        let connection = self.connection();
        if self.reading.is_some() {
            return;
        }
        match self.mailbox.poll_work(connection, &LIMITS) {
            Work::Wait => {}
            Work::Push { messages, ping } => {
                let ids = messages
                    .iter()
                    .map(|message| u64::from_be_bytes(message[..].try_into().unwrap()));
                self.wire.extend(ids.map(Wire::Push));
                self.wire.extend(ping.map(Wire::Ping));
            }
            Work::Read(reading) => {
                let part = self.inbox.range(reading.after.next()..reading.before);
                let found = part.map(|(_, id)| *id).take(3).collect();
                self.reading = Some((connection, reading, found));
            }
        }
    }

    fn finish_reading(&mut self) {
        if let Some((connection, reading, found)) = self.reading.take() {
            let last = found.last().copied().map(MessageId);
            if let Some(ping) = self.mailbox.handle_read(connection, reading, last) {
                self.wire.extend(found.into_iter().map(Wire::Push));
                self.wire.push_back(Wire::Ping(ping));
            }
        }
    }

    fn client_reads(&mut self) -> Result<(), TestCaseError> {
        match self.wire.pop_front() {
            None => {}
            Some(Wire::Ping(ping)) => self.pongs.push_back((self.connection(), ping)),
            Some(Wire::Push(id)) => {
                prop_assert!(id > self.last_push, "{id} behind {}", self.last_push);
                self.last_push = id;
                if !self.received.contains(&id) {
                    if let Some(last) = self.received.last() {
                        prop_assert!(id > *last, "{id} is new behind {last}");
                    }
                    self.received.push(id);
                }
            }
        }
        Ok(())
    }

    fn pong(&mut self) {
        let Some((connection, ping)) = self.pongs.pop_front() else {
            return;
        };
        if let Some(taken) = self.mailbox.handle_pong(connection, ping) {
            let proof = Proof::Answered(&taken.proof);
            let packets = taken.acks.into_iter().filter_map(|ack| ack.release(proof));
            self.acked.extend(packets.map(|packet| number(&packet)));
            if taken.is_stored {
                self.removals.push(taken.proof.through());
            }
        }
    }

    fn remove(&mut self) {
        if let Some(through) = self.removals.pop() {
            self.inbox.retain(|id, _| *id > through);
        }
    }

    /// What is under way on the connection is lost; the mailbox does not hear of it.
    fn cut(&mut self) {
        self.wire.clear();
        self.last_push = 0;
    }

    fn log_in(&mut self) {
        self.cut();
        self.next_connection += 1;
        let given = self.mailbox.handle_login(self.connection());
        self.under_way.extend(given);
    }

    fn hang_up(&mut self) {
        self.cut();
        let given = self.mailbox.handle_break(self.connection());
        self.under_way.extend(given);
    }

    fn wait(&mut self) {
        self.now += LIMITS.patience / 2;
        let given = self.mailbox.handle_timeout(self.now, &LIMITS);
        self.under_way.extend(given);
    }

    /// `kill -9`: only what was committed is left.
    fn crash(&mut self) {
        self.cut();
        self.pongs.clear();
        self.removals.clear();
        self.under_way.clear();
        self.reading = None;
        self.mailbox = Mailbox::default();
    }

    fn step(&mut self, step: u8, index: usize) -> Result<(), TestCaseError> {
        match step {
            0..=4 => self.arrive(),
            5..=7 => self.commit(index, false),
            8 => self.commit(index, true),
            9..=13 => self.work(),
            14..=17 => self.finish_reading(),
            18..=23 => self.client_reads()?,
            24..=26 => self.pong(),
            27..=28 => self.remove(),
            29 => self.log_in(),
            30 => self.hang_up(),
            31..=32 => self.wait(),
            _ => self.crash(),
        }
        Ok(())
    }

    /// Everything works from now on.
    fn settle(&mut self) -> Result<(), TestCaseError> {
        self.reading = None;
        self.log_in();
        for _ in 0..4 * self.next_id + 20 {
            self.commit(0, false);
            self.work();
            self.finish_reading();
            for _ in 0..8 {
                self.client_reads()?;
            }
            self.pong();
            self.remove();
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// For any interleaving of arrivals, commits, refusals, pushes, pongs, breaks, logins,
    /// takeovers, timeouts and crashes.
    #[test]
    fn what_is_acknowledged_is_delivered_in_order(
        steps in prop::collection::vec((0_u8..34, 0_usize..8), 0..300),
    ) {
        let mut world = World::default();
        for (step, index) in steps {
            world.step(step, index)?;
        }
        world.settle()?;
        for id in &world.acked {
            prop_assert!(world.received.contains(id), "{id} is acknowledged and lost");
            prop_assert!(!world.refused.contains(id), "{id} is acknowledged and refused");
        }
        prop_assert!(world.inbox.is_empty(), "{:?} is never removed", world.inbox);
        // The connection is live in the end: the next message is pushed and acknowledged at once.
        world.arrive();
        world.work();
        while !world.wire.is_empty() {
            world.client_reads()?;
        }
        world.pong();
        prop_assert!(world.under_way.is_empty());
        prop_assert_eq!(world.acked.last(), Some(&world.next_id));
        let mut once = world.acked.clone();
        once.sort_unstable();
        once.dedup();
        prop_assert_eq!(once.len(), world.acked.len(), "acknowledged twice");
    }
}
