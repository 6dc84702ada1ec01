use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nym_protocol::app::{ReceiptStatus, RequestId};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::*;

/// How long a busy machine may take for one thing.
const PATIENCE: Duration = Duration::from_secs(60);

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

/// What the app is offered next.
async fn offered(app: &mut Subscription) -> Offer {
    let offer = timeout(PATIENCE, app.next()).await;
    offer.expect("nothing is offered").unwrap()
}

fn text(offer: &Offer) -> &str {
    let Offer::Message(received, _) = offer else {
        panic!("{offer:?} is no message");
    };
    std::str::from_utf8(&received.message).unwrap()
}

fn notice(offer: Offer) -> (MessageName, Outcome) {
    let Offer::Notice(Notice { name, outcome }) = offer else {
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
    assert_eq!(text(&offered(&mut app).await), "1");
    assert_eq!(text(&offered(&mut app).await), "2");
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
            let offer = offered(&mut first).await;
            first.written(&offer).await;
        }
        let confirmed = vec![MessageNumber::new(0)];
        desk.desk.confirm(AppId(1), confirmed).await;
        assert_eq!(desk.taken.recv().await, Some(MessageNumber::new(0)));
        assert_eq!(text(&offered(&mut first).await), "3");
        first.leave(parting).await;
        let mut second = desk.join(2).await;
        for message in left {
            assert_eq!(text(&offered(&mut second).await), *message);
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
    let offer = offered(&mut first).await;
    first.written(&offer).await;
    first.leave(Parting::Lost).await;
    let mut second = desk.join(2).await;
    assert_eq!(text(&offered(&mut second).await), "1");
    let number = MessageNumber::new(0);
    desk.desk.confirm(AppId(1), vec![number]).await;
    desk.arrive("2").await;
    assert_eq!(text(&offered(&mut second).await), "2");
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
    let offer = offered(&mut new).await;
    assert_eq!(text(&offer), "1");
    new.written(&offer).await;
    new.leave(Parting::Goodbye).await;
    desk.arrive("2").await;
    assert_eq!(text(&offered(&mut old).await), "2");
}

#[tokio::test]
async fn more_messages_than_an_app_is_offered_at_once_all_arrive() {
    let desk = Desk::open(1 << 20);
    let mut app = desk.join(1).await;
    for number in 0..3 * OFFERED_MAX {
        desk.arrive(&number.to_string()).await;
        if number >= OFFERED_MAX {
            let offer = offered(&mut app).await;
            assert_eq!(text(&offer), (number - OFFERED_MAX).to_string());
            app.written(&offer).await;
        }
    }
}

#[tokio::test]
async fn an_app_that_vanishes_without_a_word_keeps_nothing() {
    let desk = Desk::open(1 << 20);
    let mut app = desk.join(1).await;
    let count = OFFERED_MAX + 2;
    for number in 0..count {
        desk.arrive(&number.to_string()).await;
    }
    // Before this is answered all have come; two do not fit.
    assert_eq!(desk.status(1, "1").await, ReceiptStatus::Unknown);
    assert_eq!(text(&offered(&mut app).await), "0");
    drop(app);
    // Messages are offered while it is not noticed yet: reports come first.
    for _ in 0..2 {
        desk.desk.confirm(AppId(2), Vec::new()).await;
    }
    let mut next = desk.join(2).await;
    for number in 0..count {
        let offer = offered(&mut next).await;
        assert_eq!(text(&offer), number.to_string());
        next.written(&offer).await;
    }
}

#[tokio::test]
async fn an_app_is_told_of_an_end_only_after_it_watches() {
    let desk = Desk::open(1 << 20);
    let mut app = desk.join(1).await;
    desk.accept(1, 1, Some("5")).await;
    desk.end(1, delivered()).await;
    desk.arrive("a message").await;
    assert_eq!(text(&offered(&mut app).await), "a message");
    desk.watch(1, 1).await;
    let expected = (MessageName::Id(id("5")), delivered());
    assert_eq!(notice(offered(&mut app).await), expected);
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
    assert_eq!(notice(offered(&mut next).await), expected);
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
    assert_eq!(notice(offered(&mut app).await), (name, failed()));
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
        let offer = offered(&mut app).await;
        app.written(&offer).await;
        let expected = MessageName::Id(id(&message.to_string()));
        assert_eq!(notice(offer).0, expected);
    }
}
