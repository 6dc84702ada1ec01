//! What apps have to be told: messages that arrived, and what became of those they sent.
//!
//! ```text
//!  engine ──► waiting ──► offered to the newest app ──► written ──► confirmed: gone
//!                ▲                    │                     │
//!                └────── app left ────┴─────────────────────┘ (gone if it said goodbye)
//! ```
//!
//! In the mode *broadcast* a message is offered to all apps, and gone when all of them have it.
//!
//! An app confirms a message by its answer to the websocket ping that follows it. Without that a
//! message that was written may be lost in the buffers of a socket whose reader is gone.
//!
//! One task owns the buffer and the book of receipts. It never waits for an app: what an app's
//! queue has no room for stays until the app has written something. How much may wait is for the
//! engine's task to see to: it takes nothing more from the gateway while apps leave too much.

use std::sync::Arc;

use nym_client_core::{MessageId, MessageNumber};
use nym_protocol::app::{Outcome, Received};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::buffer::Buffer;
use self::desk::Report;
pub(crate) use self::desk::{DeliveryDesk, Subscription};
use self::receipts::ReceiptBook;
pub(crate) use self::receipts::{Author, Found, MessageName, Notice};
use crate::config::PushMode;

mod buffer;
mod desk;
mod receipts;

/// Messages and notices offered to one app at a time: enough to keep its socket busy, and few
/// enough that little has to be offered again when it leaves. Their bytes are those of the buffer.
const OFFERED_MAX: usize = 16;

/// Reports that wait for the buffer's task: at most what all apps can have been offered.
pub(crate) const REPORT_QUEUE: usize = 256;

/// News of the engine that wait for the task, beside what it keeps.
pub(crate) const NEWS_QUEUE: usize = 16;

/// Names one app connection.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct AppId(pub(crate) u64);

impl AppId {
    /// Whichever app it was, it was connected before this client was started.
    pub(crate) const EARLIER: Self = Self(0);
}

/// Whether an app wants the messages that arrive.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Pushes {
    /// It does.
    Claimed,
    /// It only sends, and leaves them to other apps.
    Left,
}

/// What the engine has to tell.
#[derive(Debug)]
pub(crate) enum News {
    /// A message of an app was taken over.
    Accepted(MessageId, Author),
    /// It was delivered, or given up.
    Ended(MessageId, Outcome),
    /// A message arrived; the numbers grow.
    Received(MessageNumber, Received),
}

/// Something to write to an app, which reports when it has.
#[derive(Clone, Debug)]
pub(crate) enum Offer {
    /// A message.
    Message(Arc<Received>, MessageNumber),
    /// What became of one that it sent.
    Notice(Notice),
}

/// How the connection of an app ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Parting {
    /// The app said goodbye, behind all that was written to it.
    Goodbye,
    /// It broke, or this client ended it: what was written may never have been read.
    Lost,
}

/// An app that is connected.
#[derive(Debug)]
struct App {
    id: AppId,
    pushes: Pushes,
    /// In the mode *broadcast*, the first message that was not offered to it.
    next: MessageNumber,
    sender: mpsc::Sender<Offer>,
}

/// The task that owns the buffer and the receipts.
#[derive(Debug)]
pub(crate) struct Deliveries {
    buffer: Buffer,
    receipts: ReceiptBook,
    /// The newest last.
    apps: Vec<App>,
    news: mpsc::Receiver<News>,
    reports: mpsc::Receiver<Report>,
    /// Tells the engine which messages need not be kept any more.
    taken: mpsc::Sender<MessageNumber>,
}

impl Deliveries {
    /// The task, the queue into it, and the desk where apps subscribe. `taken` is told which
    /// messages an app has; above `bytes_max` bytes they wait no longer for slower apps.
    pub(crate) fn new(
        mode: PushMode,
        bytes_max: usize,
        taken: mpsc::Sender<MessageNumber>,
    ) -> (Self, mpsc::Sender<News>, DeliveryDesk) {
        let (tell, news) = mpsc::channel(NEWS_QUEUE);
        let (report, reports) = mpsc::channel(REPORT_QUEUE);
        let task = Self {
            buffer: Buffer::new(mode, bytes_max),
            receipts: ReceiptBook::default(),
            apps: Vec::new(),
            news,
            reports,
            taken,
        };
        (task, tell, DeliveryDesk::new(report))
    }

    /// Runs until `shutdown` is cancelled.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let taken = self.taken.clone();
        loop {
            // All branches are cancel-safe. Reports go first: they make room.
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(report) = self.reports.recv() => self.take_report(report),
                Some(news) = self.news.recv() => self.take_news(news),
                // The engine may be waiting for this task, so this task never waits for it.
                Ok(permit) = taken.reserve(), if self.buffer.has_gone() => {
                    if let Some(number) = self.buffer.take_gone() {
                        permit.send(number);
                    }
                }
                else => break,
            }
            // An app that left without a word, because its task ended early, has nothing more
            // to report once all reports are read.
            if self.reports.is_empty() {
                self.forget_vanished_apps();
            }
            self.tell_notices();
            self.buffer.offer(&mut self.apps);
        }
        let left = self.buffer.waiting_count();
        if left > 0 {
            tracing::info!(left, "stopping with messages that no app has taken");
        }
    }

    fn take_news(&mut self, news: News) {
        match news {
            News::Accepted(message, author) => self.receipts.accepted(message, author),
            News::Ended(message, outcome) => self.receipts.ended(message, outcome),
            News::Received(number, received) => self.buffer.add(number, received),
        }
    }

    fn take_report(&mut self, report: Report) {
        match report {
            Report::Asked(app, ids, answer) => {
                self.catch_up();
                let found = ids.iter().map(|id| self.receipts.look_up(app, id));
                // The app may have left.
                let _ = answer.send(found.collect());
            }
            Report::Joined(app) => self.apps.push(app),
            Report::Confirmed(app, messages) => self.buffer.confirmed(app, &messages),
            Report::Left(app, parting) => self.forget(app, parting),
            Report::Written(_, None) => {}
            Report::Written(app, Some(message)) => self.buffer.written(app, message),
            Report::Watching(app, messages) => {
                self.catch_up();
                if self.apps.iter().any(|other| other.id == app) {
                    self.receipts.watch(app, &messages);
                }
            }
        }
    }

    /// Reads all news: apps may know already what waits here.
    fn catch_up(&mut self) {
        while let Ok(news) = self.news.try_recv() {
            self.take_news(news);
        }
    }

    fn forget(&mut self, app: AppId, parting: Parting) {
        self.apps.retain(|other| other.id != app);
        self.buffer.left(app, parting);
        self.receipts.left(app);
    }

    fn forget_vanished_apps(&mut self) {
        while let Some(app) = self.apps.iter().find(|app| app.sender.is_closed()) {
            self.forget(app.id, Parting::Lost);
        }
    }

    /// Offers to each app the notices that it has room for.
    fn tell_notices(&mut self) {
        for app in &self.apps {
            while let Some(notice) = self.receipts.next_due(app.id)
                && app.sender.try_send(Offer::Notice(notice)).is_ok()
            {
                self.receipts.told(app.id);
            }
        }
    }
}

#[cfg(test)]
mod tests;
