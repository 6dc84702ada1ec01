//! What became of the messages that apps sent.
//!
//! ```text
//!             ended                         forgotten: the oldest of too many
//!  pending ──────────► ended, in the book ──────────────────────────────────► unknown
//!                        │
//!                        └──► due to every app that watches the message
//! ```
//!
//! An app watches what it sent once it has been told that it was accepted, and what it asked
//! about once it has been told that it is pending. So nobody hears of an end before the beginning.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use nym_client_core::MessageId;
use nym_protocol::app::{Outcome, ReceiptStatus, RequestId};

use super::AppId;

/// Ended messages in the book: 10,000 with ids and texts of a few hundred bytes are 5 MB.
const ENDED_MAX: usize = 10_000;

/// How an app knows a message that it sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum MessageName {
    /// It gave none: an error has to describe it.
    Description(String),
    /// It gave it a name, to be told what becomes of it.
    Id(RequestId),
}

/// The app that sent a message, and how it knows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Author {
    pub(crate) app: AppId,
    pub(crate) name: MessageName,
}

/// How a message ended, for an app that watches it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Notice {
    pub(crate) name: MessageName,
    pub(crate) outcome: Outcome,
}

/// What is known about an id.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Found {
    /// The message, if it may be worth watching.
    pub(crate) pending: Option<MessageId>,
    pub(crate) status: ReceiptStatus,
}

/// Every message that is pending or has ended not long ago.
#[derive(Debug, Default)]
pub(super) struct ReceiptBook {
    messages: BTreeMap<MessageId, Entry>,
    /// Messages of each id, the newest last.
    ids: BTreeMap<RequestId, Vec<MessageId>>,
    /// Ended messages, the first that ended first.
    ended: VecDeque<MessageId>,
    /// What each app has to be told, in this order.
    due: BTreeMap<AppId, VecDeque<MessageId>>,
}

#[derive(Debug)]
struct Entry {
    author: Author,
    outcome: Option<Outcome>,
    watchers: BTreeSet<AppId>,
}

impl ReceiptBook {
    /// A message was taken over.
    pub(super) fn accepted(&mut self, message: MessageId, author: Author) {
        if let MessageName::Id(id) = &author.name {
            self.ids.entry(id.clone()).or_default().push(message);
        }
        let entry = Entry {
            author,
            outcome: None,
            watchers: BTreeSet::new(),
        };
        self.messages.insert(message, entry);
    }

    /// A message has ended.
    pub(super) fn ended(&mut self, message: MessageId, outcome: Outcome) {
        let Some(entry) = self.messages.get_mut(&message) else {
            return;
        };
        // Without a name there is nothing to say about success.
        let is_silent = matches!(entry.author.name, MessageName::Description(_))
            && matches!(outcome, Outcome::Delivered { .. });
        if is_silent {
            self.forget(message);
            return;
        }
        entry.outcome = Some(outcome);
        for &app in &entry.watchers {
            self.due.entry(app).or_default().push_back(message);
        }
        self.ended.push_back(message);
        while self.ended.len() > ENDED_MAX
            && let Some(oldest) = self.ended.pop_front()
        {
            self.forget(oldest);
        }
    }

    /// An app is to be told how these messages end, or have ended.
    pub(super) fn watch(&mut self, app: AppId, messages: &[MessageId]) {
        for &message in messages {
            if let Some(entry) = self.messages.get_mut(&message)
                && entry.watchers.insert(app)
                && entry.outcome.is_some()
            {
                self.due.entry(app).or_default().push_back(message);
            }
        }
    }

    /// What is known of the newest message of this id: one of the app that asks, if it sent one.
    pub(super) fn look_up(&self, app: AppId, id: &RequestId) -> Found {
        let unknown = Found {
            pending: None,
            status: ReceiptStatus::Unknown,
        };
        let messages = self.ids.get(id).map_or(&[][..], Vec::as_slice);
        let newest = |is_its_own: bool| {
            messages.iter().rev().find_map(|message| {
                let entry = self.messages.get(message)?;
                (!is_its_own || entry.author.app == app).then_some((*message, entry))
            })
        };
        let Some((message, entry)) = newest(true).or_else(|| newest(false)) else {
            return unknown;
        };
        match &entry.outcome {
            None => Found {
                pending: Some(message),
                status: ReceiptStatus::Pending,
            },
            Some(outcome) => Found {
                pending: None,
                status: ReceiptStatus::Ended(outcome.clone()),
            },
        }
    }

    /// What an app has to be told next.
    pub(super) fn next_due(&self, app: AppId) -> Option<Notice> {
        let message = self.due.get(&app)?.front()?;
        let entry = self.messages.get(message)?;
        Some(Notice {
            name: entry.author.name.clone(),
            outcome: entry.outcome.clone()?,
        })
    }

    /// The app is being told of the first that is due.
    pub(super) fn told(&mut self, app: AppId) {
        let Some(message) = self.due.get_mut(&app).and_then(VecDeque::pop_front) else {
            return;
        };
        // Nobody can ask about a message without a name.
        let is_unnamed = self
            .messages
            .get(&message)
            .is_some_and(|entry| matches!(entry.author.name, MessageName::Description(_)));
        if is_unnamed {
            self.ended.retain(|ended| *ended != message);
            self.forget(message);
        }
    }

    /// An app has left. What became of the messages it named stays in the book.
    pub(super) fn left(&mut self, app: AppId) {
        self.due.remove(&app);
        let mut unnamed = BTreeSet::new();
        for (message, entry) in &mut self.messages {
            entry.watchers.remove(&app);
            let is_its_own = entry.author.app == app;
            if is_its_own && matches!(entry.author.name, MessageName::Description(_)) {
                unnamed.insert(*message);
            }
        }
        self.ended.retain(|message| !unnamed.contains(message));
        for message in unnamed {
            self.forget(message);
        }
    }

    fn forget(&mut self, message: MessageId) {
        let Some(entry) = self.messages.remove(&message) else {
            return;
        };
        for app in entry.watchers {
            if let Some(due) = self.due.get_mut(&app) {
                due.retain(|other| *other != message);
            }
        }
        if let MessageName::Id(id) = entry.author.name
            && let Some(messages) = self.ids.get_mut(&id)
        {
            messages.retain(|other| *other != message);
            if messages.is_empty() {
                self.ids.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const APP: AppId = AppId(1);

    fn delivered() -> Outcome {
        let latency = Duration::from_millis(7);
        Outcome::Delivered { latency }
    }

    fn failed() -> Outcome {
        let reason = "a reason".to_owned();
        Outcome::Failed { reason }
    }

    fn id(number: u64) -> RequestId {
        number.to_string().parse().unwrap()
    }

    fn author(name: MessageName) -> Author {
        Author { app: APP, name }
    }

    #[test]
    fn the_first_to_end_is_forgotten_when_too_many_have() {
        let mut book = ReceiptBook::default();
        let count = ENDED_MAX as u64 + 1;
        for number in 1..=count {
            let message = MessageId::new(number);
            book.accepted(message, author(MessageName::Id(id(number))));
            book.watch(APP, &[message]);
            book.ended(message, delivered());
        }
        assert_eq!(book.look_up(APP, &id(1)).status, ReceiptStatus::Unknown);
        let second = book.look_up(APP, &id(2)).status;
        assert_eq!(second, ReceiptStatus::Ended(delivered()));
        let first_due = book.next_due(APP).map(|notice| notice.name);
        assert_eq!(first_due, Some(MessageName::Id(id(2))));
    }

    #[test]
    fn nothing_is_kept_of_messages_without_an_id() {
        let mut book = ReceiptBook::default();
        let unnamed = || author(MessageName::Description("a message".to_owned()));
        for (number, outcome) in [(1, delivered()), (2, failed()), (3, failed())] {
            let message = MessageId::new(number);
            book.accepted(message, unnamed());
            if number == 2 {
                book.watch(APP, &[message]);
            }
            book.ended(message, outcome);
        }
        assert!(book.next_due(APP).is_some());
        book.told(APP);
        assert_eq!(book.next_due(APP), None);
        book.accepted(MessageId::new(4), unnamed());
        book.left(APP);
        assert!(book.messages.is_empty() && book.ended.is_empty() && book.due.is_empty());
    }

    #[test]
    fn the_newest_message_of_an_id_answers_for_it() {
        let mut book = ReceiptBook::default();
        for number in [1, 2] {
            book.accepted(MessageId::new(number), author(MessageName::Id(id(9))));
        }
        book.ended(MessageId::new(1), failed());
        let found = book.look_up(APP, &id(9));
        assert_eq!(found.pending, Some(MessageId::new(2)));
        book.ended(MessageId::new(2), delivered());
        let found = book.look_up(AppId(2), &id(9));
        assert_eq!(found.status, ReceiptStatus::Ended(delivered()));
    }
}
