//! Messages that arrived, on their way to an app.
//!
//! ```text
//!  engine ──► waiting ──► offered to the newest app ──► written: gone
//!                ▲                    │
//!                └──── app left ──────┘
//! ```
//!
//! One task owns the buffer. It never waits for an app: what an app's queue has no room for stays
//! in the buffer until the app has written something.

use std::collections::VecDeque;
use std::sync::Arc;

use nym_protocol::app::Received;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Messages offered to one app at a time: enough to keep its socket busy, and few enough that
/// little has to be offered again when it leaves. Their bytes are those of the buffer.
const OFFERED_MAX: usize = 16;

/// Reports that wait for the buffer's task: at most what all apps can have been offered.
pub(crate) const REPORT_QUEUE: usize = 256;

/// Messages that wait for the buffer's task, beside those in the buffer.
pub(crate) const ARRIVAL_QUEUE: usize = 16;

/// Names one app connection.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct AppId(u64);

/// A message offered to an app, which reports when it was written to the socket.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    number: u64,
    pub(crate) received: Arc<Received>,
}

/// What an app connection tells about its deliveries.
#[derive(Debug)]
enum Report {
    Joined(AppId, mpsc::Sender<Offer>),
    Left(AppId),
    Written(u64),
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
    pub(crate) async fn subscribe(&self, number: u64) -> Option<Subscription> {
        let (sender, offers) = mpsc::channel(OFFERED_MAX);
        let app = AppId(number);
        self.reports.send(Report::Joined(app, sender)).await.ok()?;
        Some(Subscription {
            app,
            offers,
            reports: self.reports.clone(),
        })
    }
}

impl Subscription {
    /// The next message to write. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Offer> {
        self.offers.recv().await
    }

    /// The message was written to the socket.
    pub(crate) async fn written(&self, offer: &Offer) {
        // Without the task there is no buffer left to take the message from.
        let _ = self.reports.send(Report::Written(offer.number)).await;
    }

    /// The app is gone: what was offered and not written goes to another one.
    pub(crate) async fn leave(self) {
        let _ = self.reports.send(Report::Left(self.app)).await;
    }
}

/// The task that owns the buffer.
#[derive(Debug)]
pub(crate) struct Deliveries {
    buffer: Buffer,
    arrivals: mpsc::Receiver<Received>,
    reports: mpsc::Receiver<Report>,
}

impl Deliveries {
    /// The task, the queue into it, and the desk where apps subscribe. Messages of up to
    /// `bytes_max` bytes wait.
    pub(crate) fn new(bytes_max: usize) -> (Self, mpsc::Sender<Received>, DeliveryDesk) {
        let (arrived, arrivals) = mpsc::channel(ARRIVAL_QUEUE);
        let (report, reports) = mpsc::channel(REPORT_QUEUE);
        let task = Self {
            buffer: Buffer::new(bytes_max),
            arrivals,
            reports,
        };
        (task, arrived, DeliveryDesk { reports: report })
    }

    /// Runs until `shutdown` is cancelled.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        loop {
            // All branches are cancel-safe. Reports go first: they make room.
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(report) = self.reports.recv() => self.buffer.report(report),
                Some(received) = self.arrivals.recv() => self.buffer.add(received),
                else => break,
            }
            // An app that left without a word, because its task ended early, has nothing more
            // to report once all reports are read.
            if self.reports.is_empty() {
                self.buffer.forget_vanished_apps();
            }
            self.buffer.offer();
        }
        let left = self.buffer.entries.len();
        if left > 0 {
            tracing::warn!(left, "stopping with messages that no app has taken");
        }
    }
}

#[derive(Debug)]
struct Entry {
    number: u64,
    received: Arc<Received>,
    offered_to: Option<AppId>,
}

/// Undelivered messages, oldest first, and the apps that are there.
#[derive(Debug)]
struct Buffer {
    entries: VecDeque<Entry>,
    bytes: usize,
    bytes_max: usize,
    next_number: u64,
    dropped_count: u64,
    apps: Vec<(AppId, mpsc::Sender<Offer>)>,
}

impl Buffer {
    /// What an entry takes beside its message, so that empty messages are bounded as well.
    const ENTRY_COST: usize = 256;

    const fn new(bytes_max: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: 0,
            bytes_max,
            next_number: 0,
            dropped_count: 0,
            apps: Vec::new(),
        }
    }

    fn report(&mut self, report: Report) {
        match report {
            Report::Joined(app, sender) => self.apps.push((app, sender)),
            Report::Left(app) => self.forget(app),
            Report::Written(number) => {
                if let Ok(index) = self.entries.binary_search_by_key(&number, |e| e.number) {
                    self.remove(index);
                }
            }
        }
    }

    fn forget(&mut self, app: AppId) {
        self.apps.retain(|(other, _)| *other != app);
        for entry in &mut self.entries {
            if entry.offered_to == Some(app) {
                entry.offered_to = None;
            }
        }
    }

    fn forget_vanished_apps(&mut self) {
        while let Some(&(app, _)) = self.apps.iter().find(|(_, sender)| sender.is_closed()) {
            self.forget(app);
        }
    }

    /// Takes a message in. When there is no room the oldest that no app is being told of goes.
    fn add(&mut self, received: Received) {
        self.bytes += Self::cost(&received);
        let number = self.next_number;
        self.next_number += 1;
        let received = Arc::new(received);
        self.entries.push_back(Entry {
            number,
            received,
            offered_to: None,
        });
        while self.bytes > self.bytes_max {
            let Some(oldest) = self.entries.iter().position(|e| e.offered_to.is_none()) else {
                break;
            };
            self.remove(oldest);
            self.dropped_count += 1;
            // One line per doubling: a flood of messages is no flood of log lines.
            if self.dropped_count.is_power_of_two() {
                tracing::warn!(
                    dropped = self.dropped_count,
                    "no app takes messages and the buffer is full: the oldest are dropped"
                );
            }
        }
    }

    /// Offers to the newest app what it has room for, oldest first.
    fn offer(&mut self) {
        let Some((app, sender)) = self.apps.last() else {
            return;
        };
        for entry in self
            .entries
            .iter_mut()
            .filter(|entry| entry.offered_to.is_none())
        {
            let received = Arc::clone(&entry.received);
            if sender
                .try_send(Offer {
                    number: entry.number,
                    received,
                })
                .is_err()
            {
                // Full, or gone and about to report it.
                return;
            }
            entry.offered_to = Some(*app);
        }
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

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::*;

    struct Desk {
        arrived: mpsc::Sender<Received>,
        desk: DeliveryDesk,
        shutdown: CancellationToken,
        _task: JoinSet<()>,
    }

    impl Desk {
        fn open(bytes_max: usize) -> Self {
            let (task, arrived, desk) = Deliveries::new(bytes_max);
            let shutdown = CancellationToken::new();
            let mut tasks = JoinSet::new();
            tasks.spawn(task.run(shutdown.clone()));
            Self {
                arrived,
                desk,
                shutdown,
                _task: tasks,
            }
        }

        async fn arrive(&self, message: &str) {
            self.arrived
                .send(Received::new(message.into()))
                .await
                .unwrap();
        }
    }

    impl Drop for Desk {
        fn drop(&mut self) {
            self.shutdown.cancel();
        }
    }

    fn text(offer: &Offer) -> &str {
        std::str::from_utf8(&offer.received.message).unwrap()
    }

    #[tokio::test]
    async fn messages_wait_for_the_first_app_oldest_first() {
        let desk = Desk::open(1 << 20);
        desk.arrive("1").await;
        desk.arrive("2").await;
        let mut app = desk.desk.subscribe(1).await.unwrap();
        assert_eq!(text(&app.next().await.unwrap()), "1");
        assert_eq!(text(&app.next().await.unwrap()), "2");
    }

    #[tokio::test]
    async fn what_an_app_did_not_write_goes_to_the_next_and_nothing_else() {
        let desk = Desk::open(1 << 20);
        let mut first = desk.desk.subscribe(1).await.unwrap();
        for message in ["1", "2", "3"] {
            desk.arrive(message).await;
        }
        let offer = first.next().await.unwrap();
        first.written(&offer).await;
        assert_eq!(text(&first.next().await.unwrap()), "2");
        first.leave().await;
        let mut second = desk.desk.subscribe(2).await.unwrap();
        assert_eq!(text(&second.next().await.unwrap()), "2");
        assert_eq!(text(&second.next().await.unwrap()), "3");
    }

    #[tokio::test]
    async fn the_newest_app_gets_the_messages_and_the_older_one_after_it_left() {
        let desk = Desk::open(1 << 20);
        let mut old = desk.desk.subscribe(1).await.unwrap();
        let mut new = desk.desk.subscribe(2).await.unwrap();
        desk.arrive("1").await;
        let offer = new.next().await.unwrap();
        assert_eq!(text(&offer), "1");
        new.written(&offer).await;
        new.leave().await;
        desk.arrive("2").await;
        assert_eq!(text(&old.next().await.unwrap()), "2");
    }

    #[tokio::test]
    async fn more_messages_than_an_app_is_offered_at_once_all_arrive() {
        let desk = Desk::open(1 << 20);
        let mut app = desk.desk.subscribe(1).await.unwrap();
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
        let app = desk.desk.subscribe(1).await.unwrap();
        desk.arrive("1").await;
        drop(app);
        desk.arrive("2").await;
        let mut next = desk.desk.subscribe(2).await.unwrap();
        assert_eq!(text(&next.next().await.unwrap()), "1");
        assert_eq!(text(&next.next().await.unwrap()), "2");
    }

    #[test]
    fn the_oldest_message_goes_when_there_is_no_room_for_the_newest() {
        let room_for_two = 2 * (1 + Buffer::ENTRY_COST);
        let mut buffer = Buffer::new(room_for_two);
        for message in [b"1", b"2", b"3"] {
            buffer.add(Received::new(message.to_vec()));
        }
        let left: Vec<_> = buffer
            .entries
            .iter()
            .map(|e| &e.received.message[..])
            .collect();
        assert_eq!(left, [b"2", b"3"]);
        assert_eq!((buffer.bytes, buffer.dropped_count), (room_for_two, 1));
    }
}
