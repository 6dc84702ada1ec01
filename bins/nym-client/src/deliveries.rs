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
//! queue has no room for stays until the app has written something.

use std::sync::Arc;

use nym_client_core::{MessageId, MessageNumber};
use nym_protocol::app::{Outcome, Received, RequestId};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use self::buffer::Buffer;
use self::receipts::ReceiptBook;
pub(crate) use self::receipts::{Author, Found, MessageName, Notice};
use crate::config::PushMode;

mod buffer;
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

/// What an app connection tells about its deliveries.
#[derive(Debug)]
enum Report {
    Asked(AppId, Vec<RequestId>, oneshot::Sender<Vec<Found>>),
    Confirmed(AppId, Vec<MessageNumber>),
    Joined(App),
    Left(AppId, Parting),
    /// A message was written; or else a notice, which makes room for the next.
    Written(AppId, Option<MessageNumber>),
    Watching(AppId, Vec<MessageId>),
}

/// The way of app connections to their deliveries.
#[derive(Clone, Debug)]
pub(crate) struct DeliveryDesk {
    reports: mpsc::Sender<Report>,
}

/// The deliveries of one app; as long as this lives, messages may be offered to it.
#[derive(Debug)]
pub(crate) struct Subscription {
    app: AppId,
    offers: mpsc::Receiver<Offer>,
    reports: mpsc::Sender<Report>,
}

impl DeliveryDesk {
    /// Claims the deliveries for a new app; `None` when the client is stopping.
    pub(crate) async fn subscribe(&self, id: AppId, pushes: Pushes) -> Option<Subscription> {
        let (sender, offers) = mpsc::channel(OFFERED_MAX);
        let app = App {
            id,
            pushes,
            next: MessageNumber::new(0),
            sender,
        };
        self.reports.send(Report::Joined(app)).await.ok()?;
        Some(Subscription {
            app: id,
            offers,
            reports: self.reports.clone(),
        })
    }

    /// What is known of these ids, in their order; `None` when the client is stopping.
    pub(crate) async fn look_up(&self, app: AppId, ids: Vec<RequestId>) -> Option<Vec<Found>> {
        let (answer, answered) = oneshot::channel();
        let asked = Report::Asked(app, ids, answer);
        self.reports.send(asked).await.ok()?;
        answered.await.ok()
    }

    /// The app has these messages.
    pub(crate) async fn confirm(&self, app: AppId, messages: Vec<MessageNumber>) {
        // Without the task there is no buffer left to take the messages from.
        let _ = self.reports.send(Report::Confirmed(app, messages)).await;
    }

    /// From now on the app may be told how these messages end.
    pub(crate) async fn watch(&self, app: AppId, messages: Vec<MessageId>) {
        // Without the task there is nobody who would tell it.
        let _ = self.reports.send(Report::Watching(app, messages)).await;
    }
}

impl Subscription {
    /// The next message to write. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Offer> {
        self.offers.recv().await
    }

    /// The offer was written to the socket.
    pub(crate) async fn written(&self, offer: &Offer) {
        let message = match offer {
            Offer::Message(_, number) => Some(*number),
            Offer::Notice(_) => None,
        };
        // Without the task there is no buffer left to take the message from.
        let _ = self.reports.send(Report::Written(self.app, message)).await;
    }

    /// The app is gone: what it does not have goes to another one.
    pub(crate) async fn leave(self, parting: Parting) {
        let _ = self.reports.send(Report::Left(self.app, parting)).await;
    }
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
    /// The task, the queue into it, and the desk where apps subscribe. Messages of up to
    /// `bytes_max` bytes wait; `taken` is told which are gone from the buffer.
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
        (task, tell, DeliveryDesk { reports: report })
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
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use nym_protocol::app::ReceiptStatus;
    use tokio::task::JoinSet;

    use super::*;

    struct Desk {
        news: mpsc::Sender<News>,
        desk: DeliveryDesk,
        taken: mpsc::Receiver<MessageNumber>,
        arrived_count: AtomicU64,
        shutdown: CancellationToken,
        _task: JoinSet<()>,
    }

    impl Desk {
        fn open(bytes_max: usize) -> Self {
            let (taken_in, taken) = mpsc::channel(16);
            let (task, news, desk) = Deliveries::new(PushMode::Single, bytes_max, taken_in);
            let shutdown = CancellationToken::new();
            let mut tasks = JoinSet::new();
            tasks.spawn(task.run(shutdown.clone()));
            Self {
                news,
                desk,
                taken,
                arrived_count: AtomicU64::new(0),
                shutdown,
                _task: tasks,
            }
        }

        async fn arrive(&self, message: &str) {
            let received = Received::new(message.into());
            let number = MessageNumber::new(self.arrived_count.fetch_add(1, Ordering::Relaxed));
            let news = News::Received(number, received);
            self.news.send(news).await.unwrap();
        }

        async fn join(&self, app: u64) -> Subscription {
            self.desk
                .subscribe(AppId(app), Pushes::Claimed)
                .await
                .unwrap()
        }

        /// An app sends a message with this id, or without one.
        async fn accept(&self, message: u64, app: u64, id: Option<&str>) {
            let name = id.map_or_else(
                || MessageName::Description("a message".to_owned()),
                |id| MessageName::Id(self::id(id)),
            );
            let app = AppId(app);
            let accepted = News::Accepted(MessageId::new(message), Author { app, name });
            self.news.send(accepted).await.unwrap();
        }

        async fn end(&self, message: u64, outcome: Outcome) {
            let ended = News::Ended(MessageId::new(message), outcome);
            self.news.send(ended).await.unwrap();
        }

        async fn watch(&self, app: u64, message: u64) {
            let messages = vec![MessageId::new(message)];
            self.desk.watch(AppId(app), messages).await;
        }

        async fn status(&self, app: u64, id: &str) -> ReceiptStatus {
            let ids = vec![self::id(id)];
            let found = self.desk.look_up(AppId(app), ids).await.unwrap();
            found.into_iter().next().unwrap().status
        }
    }

    impl Drop for Desk {
        fn drop(&mut self) {
            self.shutdown.cancel();
        }
    }

    fn id(json: &str) -> RequestId {
        json.parse().unwrap()
    }

    fn text(offer: &Offer) -> &str {
        let Offer::Message(received, _) = offer else {
            panic!("{offer:?} is no message");
        };
        std::str::from_utf8(&received.message).unwrap()
    }

    fn notice(offer: Option<Offer>) -> (MessageName, Outcome) {
        let Some(Offer::Notice(Notice { name, outcome })) = offer else {
            panic!("{offer:?} is no notice");
        };
        (name, outcome)
    }

    fn delivered() -> Outcome {
        let latency = Duration::from_millis(7);
        Outcome::Delivered { latency }
    }

    fn failed() -> Outcome {
        let reason = "a reason".to_owned();
        Outcome::Failed { reason }
    }

    #[tokio::test]
    async fn messages_wait_for_the_first_app_oldest_first() {
        let desk = Desk::open(1 << 20);
        desk.arrive("1").await;
        desk.arrive("2").await;
        let mut app = desk.join(1).await;
        assert_eq!(text(&app.next().await.unwrap()), "1");
        assert_eq!(text(&app.next().await.unwrap()), "2");
    }

    #[tokio::test]
    async fn what_an_app_does_not_have_goes_to_the_next_and_nothing_else() {
        for (parting, left) in [
            (Parting::Lost, ["2", "3", "4"].as_slice()),
            (Parting::Goodbye, &["3", "4"]),
        ] {
            let mut desk = Desk::open(1 << 20);
            let mut first = desk.join(1).await;
            for message in ["1", "2", "3", "4"] {
                desk.arrive(message).await;
            }
            // The first is confirmed, the second written, the third taken from the queue.
            for _ in 0..2 {
                let offer = first.next().await.unwrap();
                first.written(&offer).await;
            }
            let confirmed = vec![MessageNumber::new(0)];
            desk.desk.confirm(AppId(1), confirmed).await;
            assert_eq!(desk.taken.recv().await, Some(MessageNumber::new(0)));
            assert_eq!(text(&first.next().await.unwrap()), "3");
            first.leave(parting).await;
            let mut second = desk.join(2).await;
            for message in left {
                assert_eq!(text(&second.next().await.unwrap()), *message);
            }
            if parting == Parting::Goodbye {
                assert_eq!(desk.taken.recv().await, Some(MessageNumber::new(1)));
            }
        }
    }

    #[tokio::test]
    async fn a_late_confirmation_does_not_take_a_message_from_another_app() {
        let mut desk = Desk::open(1 << 20);
        let mut first = desk.join(1).await;
        desk.arrive("1").await;
        let offer = first.next().await.unwrap();
        first.written(&offer).await;
        first.leave(Parting::Lost).await;
        let mut second = desk.join(2).await;
        assert_eq!(text(&second.next().await.unwrap()), "1");
        let number = MessageNumber::new(0);
        desk.desk.confirm(AppId(1), vec![number]).await;
        desk.arrive("2").await;
        assert_eq!(text(&second.next().await.unwrap()), "2");
        assert!(desk.taken.try_recv().is_err(), "it is the second app's");
        desk.desk.confirm(AppId(2), vec![number]).await;
        assert_eq!(desk.taken.recv().await, Some(number));
    }

    #[tokio::test]
    async fn the_newest_app_gets_the_messages_and_the_older_one_after_it_left() {
        let desk = Desk::open(1 << 20);
        let mut old = desk.join(1).await;
        let mut new = desk.join(2).await;
        desk.arrive("1").await;
        let offer = new.next().await.unwrap();
        assert_eq!(text(&offer), "1");
        new.written(&offer).await;
        new.leave(Parting::Goodbye).await;
        desk.arrive("2").await;
        assert_eq!(text(&old.next().await.unwrap()), "2");
    }

    #[tokio::test]
    async fn more_messages_than_an_app_is_offered_at_once_all_arrive() {
        let desk = Desk::open(1 << 20);
        let mut app = desk.join(1).await;
        for number in 0..3 * OFFERED_MAX {
            desk.arrive(&number.to_string()).await;
            if number >= OFFERED_MAX {
                let offer = app.next().await.unwrap();
                assert_eq!(text(&offer), (number - OFFERED_MAX).to_string());
                app.written(&offer).await;
            }
        }
    }

    #[tokio::test]
    async fn an_app_that_vanishes_without_a_word_keeps_nothing() {
        let desk = Desk::open(1 << 20);
        let app = desk.join(1).await;
        desk.arrive("1").await;
        drop(app);
        desk.arrive("2").await;
        let mut next = desk.join(2).await;
        assert_eq!(text(&next.next().await.unwrap()), "1");
        assert_eq!(text(&next.next().await.unwrap()), "2");
    }

    #[tokio::test]
    async fn an_app_is_told_of_an_end_only_after_it_watches() {
        let desk = Desk::open(1 << 20);
        let mut app = desk.join(1).await;
        desk.accept(1, 1, Some("5")).await;
        desk.end(1, delivered()).await;
        desk.arrive("a message").await;
        assert_eq!(text(&app.next().await.unwrap()), "a message");
        desk.watch(1, 1).await;
        let expected = (MessageName::Id(id("5")), delivered());
        assert_eq!(notice(app.next().await), expected);
        let status = ReceiptStatus::Ended(delivered());
        assert_eq!(desk.status(1, "5").await, status);
    }

    #[tokio::test]
    async fn the_end_of_a_message_waits_for_the_next_app_that_asks() {
        let desk = Desk::open(1 << 20);
        let gone = desk.join(1).await;
        desk.accept(1, 1, Some("\"a\"")).await;
        desk.watch(1, 1).await;
        gone.leave(Parting::Goodbye).await;
        let mut next = desk.join(2).await;
        let found = desk
            .desk
            .look_up(AppId(2), vec![id("\"a\""), id("\"b\"")])
            .await
            .unwrap();
        let pending = Some(MessageId::new(1));
        assert_eq!(
            (&found[0].status, found[0].pending),
            (&ReceiptStatus::Pending, pending)
        );
        assert_eq!(found[1].status, ReceiptStatus::Unknown);
        desk.watch(2, 1).await;
        desk.end(1, failed()).await;
        let expected = (MessageName::Id(id("\"a\"")), failed());
        assert_eq!(notice(next.next().await), expected);
    }

    #[tokio::test]
    async fn two_apps_with_the_same_id_are_answered_about_their_own() {
        let desk = Desk::open(1 << 20);
        let (_first, _second) = (desk.join(1).await, desk.join(2).await);
        desk.accept(1, 1, Some("1")).await;
        desk.accept(2, 2, Some("1")).await;
        desk.end(2, delivered()).await;
        assert_eq!(desk.status(1, "1").await, ReceiptStatus::Pending);
        let ended = ReceiptStatus::Ended(delivered());
        assert_eq!(desk.status(2, "1").await, ended);
        assert_eq!(desk.status(3, "1").await, ended);
    }

    #[tokio::test]
    async fn without_an_id_an_app_is_told_of_failures_alone() {
        let desk = Desk::open(1 << 20);
        let mut app = desk.join(1).await;
        for message in [1, 2] {
            desk.accept(message, 1, None).await;
            desk.watch(1, message).await;
        }
        desk.end(1, delivered()).await;
        desk.end(2, failed()).await;
        let name = MessageName::Description("a message".to_owned());
        assert_eq!(notice(app.next().await), (name, failed()));
    }

    #[tokio::test]
    async fn more_notices_than_an_app_is_offered_at_once_all_arrive_once() {
        let desk = Desk::open(1 << 20);
        let mut app = desk.join(1).await;
        let count = 3 * OFFERED_MAX as u64;
        for message in 1..=count {
            desk.accept(message, 1, Some(&message.to_string())).await;
            desk.watch(1, message).await;
            desk.end(message, delivered()).await;
        }
        for message in 1..=count {
            let offer = app.next().await.unwrap();
            app.written(&offer).await;
            let expected = MessageName::Id(id(&message.to_string()));
            assert_eq!(notice(Some(offer)).0, expected);
        }
    }
}
