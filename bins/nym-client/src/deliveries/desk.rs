//! Where app connections get their deliveries.

use nym_client_core::{MessageId, MessageNumber};
use nym_protocol::app::RequestId;
use tokio::sync::{mpsc, oneshot};

use super::{App, AppId, Found, OFFERED_MAX, Offer, Parting, Pushes};

/// What an app connection tells about its deliveries.
#[derive(Debug)]
pub(super) enum Report {
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
    pub(super) const fn new(reports: mpsc::Sender<Report>) -> Self {
        Self { reports }
    }

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
