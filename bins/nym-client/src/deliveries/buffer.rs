//! Messages that not every app has yet that should.

use std::collections::VecDeque;
use std::sync::Arc;

use nym_client_core::MessageNumber;
use nym_protocol::app::Received;

use super::{App, AppId, Offer, Parting, Pushes};
use crate::config::PushMode;

/// Messages on their way to apps, oldest first.
#[derive(Debug)]
pub(super) struct Buffer {
    mode: PushMode,
    entries: VecDeque<Entry>,
    bytes: usize,
    bytes_max: usize,
    newest_app: AppId,
    missed_count: u64,
    /// Messages that some app has, and of which the engine was not told.
    gone: VecDeque<MessageNumber>,
}

#[derive(Debug)]
struct Entry {
    number: MessageNumber,
    received: Arc<Received>,
    /// Apps that were offered the message and have not confirmed it.
    offered: Vec<Offered>,
    /// The newest app there was when the first one had it: those that come later do not get it.
    had_before: Option<AppId>,
}

#[derive(Debug)]
struct Offered {
    app: AppId,
    is_written: bool,
}

impl Buffer {
    /// What an entry takes beside its message, so that empty messages are bounded as well.
    const ENTRY_COST: usize = 256;

    pub(super) const fn new(mode: PushMode, bytes_max: usize) -> Self {
        Self {
            mode,
            entries: VecDeque::new(),
            bytes: 0,
            bytes_max,
            newest_app: AppId::EARLIER,
            missed_count: 0,
            gone: VecDeque::new(),
        }
    }

    /// Messages that no app has.
    pub(super) fn waiting_count(&self) -> usize {
        let waiting = |entry: &&Entry| entry.had_before.is_none();
        self.entries.iter().filter(waiting).count()
    }

    /// Whether the engine has to be told of messages that it need not keep any more.
    pub(super) fn has_gone(&self) -> bool {
        !self.gone.is_empty()
    }

    /// The next of these messages.
    pub(super) fn take_gone(&mut self) -> Option<MessageNumber> {
        self.gone.pop_front()
    }

    /// A message was written to an app.
    pub(super) fn written(&mut self, app: AppId, message: MessageNumber) {
        if let Some(entry) = self.find(message).and_then(|i| self.entries.get_mut(i)) {
            for offered in entry.offered.iter_mut().filter(|other| other.app == app) {
                offered.is_written = true;
            }
        }
    }

    /// An app has these messages.
    pub(super) fn confirmed(&mut self, app: AppId, messages: &[MessageNumber]) {
        for message in messages {
            if let Some(index) = self.find(*message) {
                self.had(app, index);
            }
        }
    }

    /// An app has left. What it does not have may be offered to others.
    pub(super) fn left(&mut self, app: AppId, parting: Parting) {
        // From behind, so that what is removed moves nothing that is still to be looked at.
        for index in (0..self.entries.len()).rev() {
            let Some(entry) = self.entries.get_mut(index) else {
                continue;
            };
            let offered = entry.offered.iter().find(|other| other.app == app);
            let has_it = parting == Parting::Goodbye;
            match offered.map(|offered| offered.is_written && has_it) {
                Some(true) => self.had(app, index),
                Some(false) => entry.offered.retain(|other| other.app != app),
                None => {}
            }
        }
    }

    /// Takes a message in. When there is no room, messages go that some app has, oldest first: a
    /// slow one misses them. What no app has stays; the engine lets no more come than there may be.
    pub(super) fn add(&mut self, number: MessageNumber, received: Received) {
        self.bytes += Self::cost(&received);
        self.entries.push_back(Entry {
            number,
            received: Arc::new(received),
            offered: Vec::new(),
            had_before: None,
        });
        while self.bytes > self.bytes_max {
            let is_had = |entry: &Entry| entry.had_before.is_some();
            let Some(oldest) = self.entries.iter().position(is_had) else {
                break;
            };
            self.remove(oldest);
            self.missed_count += 1;
            // One line per doubling: a flood of messages is no flood of log lines.
            if self.missed_count.is_power_of_two() {
                tracing::warn!(
                    missed = self.missed_count,
                    "an app is too slow for the messages that others take, and misses some"
                );
            }
        }
    }

    /// Offers what apps have room for, oldest first. The newest app is the last one.
    pub(super) fn offer(&mut self, apps: &mut [App]) {
        let newest = apps.iter().map(|app| app.id).max();
        self.newest_app = newest.map_or(self.newest_app, |app| app.max(self.newest_app));
        let mut claiming = apps.iter_mut().filter(|app| app.pushes == Pushes::Claimed);
        match self.mode {
            PushMode::Single => {
                if let Some(newest) = claiming.next_back() {
                    self.offer_to_newest(newest);
                }
            }
            PushMode::Broadcast => {
                // Messages before this one were offered to every app.
                let mut offered_to_all = MessageNumber::new(u64::MAX);
                for app in claiming {
                    self.offer_to_one_of_all(app);
                    offered_to_all = offered_to_all.min(app.next);
                }
                self.remove_what_all_have(offered_to_all);
            }
        }
    }

    fn offer_to_newest(&mut self, app: &App) {
        let waiting = |entry: &&mut Entry| entry.offered.is_empty();
        for entry in self.entries.iter_mut().filter(waiting) {
            if !entry.offer_to(app) {
                return;
            }
        }
    }

    fn offer_to_one_of_all(&mut self, app: &mut App) {
        let start = self
            .entries
            .partition_point(|entry| entry.number < app.next);
        for entry in self.entries.range_mut(start..) {
            let came_too_late = entry.had_before.is_some_and(|newest| newest < app.id);
            if !came_too_late && !entry.offer_to(app) {
                return;
            }
            app.next = MessageNumber::new(entry.number.get() + 1);
        }
    }

    fn remove_what_all_have(&mut self, offered_to_all: MessageNumber) {
        let all_have = |entry: &Entry| {
            let is_had = entry.had_before.is_some() && entry.offered.is_empty();
            is_had && entry.number < offered_to_all
        };
        while let Some(index) = self.entries.iter().position(all_have) {
            self.remove(index);
        }
    }

    /// An app has a message. It may have left, and another one been offered the message since:
    /// then it stays that one's.
    fn had(&mut self, app: AppId, index: usize) {
        let newest_app = self.newest_app;
        let Some(entry) = self.entries.get_mut(index) else {
            return;
        };
        let count = entry.offered.len();
        entry.offered.retain(|other| other.app != app);
        if entry.offered.len() == count {
            return;
        }
        if entry.had_before.is_none() {
            entry.had_before = Some(newest_app);
            self.gone.push_back(entry.number);
        }
        if self.mode == PushMode::Single {
            self.remove(index);
        }
    }

    fn find(&self, message: MessageNumber) -> Option<usize> {
        self.entries
            .binary_search_by_key(&message, |entry| entry.number)
            .ok()
    }

    fn remove(&mut self, index: usize) {
        if let Some(entry) = self.entries.remove(index) {
            self.bytes = self.bytes.saturating_sub(Self::cost(&entry.received));
        }
    }

    fn cost(received: &Received) -> usize {
        received.message.len() + Self::ENTRY_COST
    }
}

impl Entry {
    /// Puts the message into the queue of an app; `false` when that is full, or the app gone and
    /// about to report it.
    fn offer_to(&mut self, app: &App) -> bool {
        let offer = Offer::Message(Arc::clone(&self.received), self.number);
        let is_offered = app.sender.try_send(offer).is_ok();
        if is_offered {
            self.offered.push(Offered {
                app: app.id,
                is_written: false,
            });
        }
        is_offered
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    const ROOMY: usize = 1 << 20;

    /// Apps with room for two messages each, and the buffer that offers them.
    struct Fixture {
        buffer: Buffer,
        apps: Vec<App>,
        queues: Vec<(AppId, mpsc::Receiver<Offer>)>,
        arrived_count: u64,
    }

    impl Fixture {
        const fn new(mode: PushMode, bytes_max: usize) -> Self {
            Self {
                buffer: Buffer::new(mode, bytes_max),
                apps: Vec::new(),
                queues: Vec::new(),
                arrived_count: 0,
            }
        }

        fn join(&mut self) -> AppId {
            let (sender, queue) = mpsc::channel(2);
            let id = AppId(self.queues.len() as u64 + 1);
            self.apps.push(App {
                id,
                pushes: Pushes::Claimed,
                next: MessageNumber::new(0),
                sender,
            });
            self.queues.push((id, queue));
            self.buffer.offer(&mut self.apps);
            id
        }

        fn leave(&mut self, app: AppId, parting: Parting) {
            self.apps.retain(|other| other.id != app);
            self.buffer.left(app, parting);
            self.buffer.offer(&mut self.apps);
        }

        fn arrive(&mut self, messages: &[u8]) {
            for message in messages {
                self.arrived_count += 1;
                let number = MessageNumber::new(self.arrived_count);
                self.buffer.add(number, Received::new(vec![*message]));
                self.buffer.offer(&mut self.apps);
            }
        }

        /// What an app was offered since it was last looked at; it confirms all of it.
        fn take(&mut self, app: AppId) -> Vec<u8> {
            let mut had = Vec::new();
            while let Some((number, message)) = self.next(app) {
                had.extend(message);
                self.buffer.confirmed(app, &[number]);
                self.buffer.offer(&mut self.apps);
            }
            had
        }

        fn next(&mut self, app: AppId) -> Option<(MessageNumber, Vec<u8>)> {
            let (_, queue) = self.queues.iter_mut().find(|(other, _)| *other == app)?;
            let Ok(Offer::Message(received, number)) = queue.try_recv() else {
                return None;
            };
            self.buffer.written(app, number);
            Some((number, received.message.clone()))
        }

        fn left_in(&self) -> Vec<u8> {
            let entries = self.buffer.entries.iter();
            entries.flat_map(|e| e.received.message.clone()).collect()
        }

        fn gone(&mut self) -> Vec<u64> {
            let gone = std::iter::from_fn(|| self.buffer.take_gone());
            gone.map(MessageNumber::get).collect()
        }
    }

    #[test]
    fn in_broadcast_every_app_gets_every_message_once_in_order() {
        let mut fixture = Fixture::new(PushMode::Broadcast, ROOMY);
        let (slow, fast) = (fixture.join(), fixture.join());
        fixture.arrive(b"1234");
        assert_eq!(fixture.take(fast), b"1234");
        assert_eq!(fixture.left_in(), b"1234");
        assert_eq!(fixture.gone(), [1, 2, 3, 4], "one app is enough");
        assert_eq!(fixture.take(slow), b"1234");
        assert_eq!((fixture.left_in(), fixture.buffer.bytes), (vec![], 0));
        assert_eq!(fixture.gone(), Vec::<u64>::new());
    }

    #[test]
    fn in_broadcast_an_app_that_comes_later_gets_what_nobody_had() {
        let mut fixture = Fixture::new(PushMode::Broadcast, ROOMY);
        let (slow, fast) = (fixture.join(), fixture.join());
        fixture.arrive(b"1");
        assert_eq!(fixture.take(fast), b"1");
        fixture.arrive(b"2");
        let late = fixture.join();
        assert_eq!(fixture.take(late), b"2");
        assert_eq!(fixture.take(slow), b"12");
        assert_eq!(fixture.take(fast), b"2");
        assert_eq!(fixture.left_in(), b"");
    }

    #[test]
    fn in_broadcast_what_no_app_had_goes_to_the_next() {
        for (parting, expected) in [(Parting::Lost, &b"12"[..]), (Parting::Goodbye, b"2")] {
            let mut fixture = Fixture::new(PushMode::Broadcast, ROOMY);
            let gone = fixture.join();
            fixture.arrive(b"12");
            assert!(fixture.next(gone).is_some(), "the first is written");
            fixture.leave(gone, parting);
            let next = fixture.join();
            assert_eq!(fixture.take(next), expected);
            assert_eq!((fixture.left_in(), fixture.gone()), (vec![], vec![1, 2]));
        }
    }

    #[test]
    fn a_slow_app_misses_what_others_have_when_there_is_no_room() {
        let room_for_two = 2 * (1 + Buffer::ENTRY_COST);
        let mut fixture = Fixture::new(PushMode::Broadcast, room_for_two);
        let (slow, fast) = (fixture.join(), fixture.join());
        for message in b"123456" {
            fixture.arrive(&[*message]);
            assert_eq!(fixture.take(fast), [*message]);
        }
        assert_eq!(fixture.left_in(), b"56");
        assert_eq!(fixture.take(slow), b"1256");
        assert_eq!(fixture.gone(), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn what_no_app_has_stays_when_there_is_no_room() {
        for mode in [PushMode::Single, PushMode::Broadcast] {
            let room_for_two = 2 * (1 + Buffer::ENTRY_COST);
            let mut fixture = Fixture::new(mode, room_for_two);
            fixture.arrive(b"123");
            assert_eq!(
                (fixture.left_in(), fixture.gone()),
                (b"123".to_vec(), vec![])
            );
            let app = fixture.join();
            assert_eq!(fixture.take(app), b"123");
        }
    }
}
