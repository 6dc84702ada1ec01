//! One app at its websocket.
//!
//! Reading and writing go on side by side, so that an app that sends a large message while one
//! is pushed to it does not hold itself up.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::ws::{CloseCode, CloseFrame, Message, WebSocket, close_code};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use nym_client_core::{Lane, MessageId, MessageNumber, SendError};
use nym_packet::address::Recipient;
use nym_protocol::app::{
    Answer, AppError, AppRequest, AppSession, DialectChoice, Outcome, Output, ReplyTo, Request,
    RequestId, receipts,
};
use nym_protocol::ws::WsMessage;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::deliveries::{
    AppId, Author, DeliveryDesk, MessageName, Notice, Offer, Parting, Pushes, Subscription,
};
use crate::engine_task::{AppOrder, Order};

/// Answers that wait to be written. An app has one request open at a time, so it is reading
/// nothing at all when they pile up; then nothing more is read from it either.
const ANSWER_QUEUE: usize = 16;

/// How often the app is pinged, which keeps its connection from counting as idle.
const PING_INTERVAL: Duration = Duration::from_secs(15);

/// A frame that cannot be written for so long ends the connection.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the connection of an app that sent too much stays open after the goodbye. To close it
/// while bytes of the app are unread resets it, and the goodbye may be lost on its way.
const LINGER: Duration = Duration::from_secs(2);

/// What every app connection needs of the client.
#[derive(Clone, Debug)]
pub(crate) struct AppContext {
    pub(crate) recipient: Recipient,
    pub(crate) message_len_max: usize,
    pub(crate) orders: mpsc::Sender<AppOrder>,
    pub(crate) desk: DeliveryDesk,
}

/// One app that has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Visit {
    pub(crate) app: AppId,
    pub(crate) dialect: DialectChoice,
    pub(crate) pushes: Pushes,
}

/// Why an app connection ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Ended {
    /// It broke.
    ByApp,
    /// The client is stopping.
    ByClient,
    /// The app closed it, and has read all before that.
    ByGoodbye,
    /// The app closed it because of what it was sent, or failed itself.
    ByRefusal(CloseCode),
    /// The app sent more than is allowed.
    TooLong,
}

impl Ended {
    /// The codes that end a connection in order are those of RFC 6455, section 7.4.1, for a purpose
    /// fulfilled and a page left, none, and those that apps choose. 1009, for one, says that a
    /// message was too long, and the app does not have it.
    fn by_close(frame: Option<&CloseFrame>) -> Self {
        match frame.map(|frame| frame.code) {
            None | Some(close_code::NORMAL | close_code::AWAY | 3000..) => Self::ByGoodbye,
            Some(code) => Self::ByRefusal(code),
        }
    }
}

/// Serves an app until it leaves or `shutdown` is cancelled.
pub(crate) async fn serve(
    socket: WebSocket,
    visit: Visit,
    context: AppContext,
    shutdown: CancellationToken,
) {
    let Visit {
        app,
        dialect,
        pushes,
    } = visit;
    let Some(mut subscription) = context.desk.subscribe(app, pushes).await else {
        return;
    };
    tracing::debug!("an app is connected");
    let (mut sink, stream) = socket.split();
    let session = Mutex::new(AppSession::new(dialect));
    let unconfirmed = Unconfirmed::default();
    let (answers, answered) = mpsc::channel(ANSWER_QUEUE);
    // The future that loses is dropped: a frame it was writing may be lost, a message it was
    // writing has not been reported as written.
    let ended = tokio::select! {
        ended = read(stream, &session, app, &context, &unconfirmed, answers) => ended,
        ended = write(&mut sink, &session, &mut subscription, &unconfirmed, answered) => ended,
        () = shutdown.cancelled() => Ended::ByClient,
    };
    let parting = match ended {
        Ended::ByGoodbye => Parting::Goodbye,
        Ended::ByApp | Ended::ByClient | Ended::ByRefusal(_) | Ended::TooLong => Parting::Lost,
    };
    if let Ended::ByRefusal(code) = ended {
        tracing::warn!(
            code,
            "an app closed its connection by an error; what it has not read waits for the next one"
        );
    }
    subscription.leave(parting).await;
    let session = session.into_inner().unwrap_or_else(PoisonError::into_inner);
    let _ = timeout(
        WRITE_TIMEOUT,
        say_goodbye(&mut sink, &session, ended, &context),
    )
    .await;
    if ended == Ended::TooLong {
        let _ = timeout(LINGER, shutdown.cancelled()).await;
    }
    tracing::debug!(?ended, "an app is gone");
}

async fn read(
    mut stream: SplitStream<WebSocket>,
    session: &Mutex<AppSession>,
    app: AppId,
    context: &AppContext,
    unconfirmed: &Unconfirmed,
    answers: mpsc::Sender<WsMessage>,
) -> Ended {
    let confirm = |pong: Bytes| {
        let messages = unconfirmed.take_until(&pong);
        async move {
            if !messages.is_empty() {
                context.desk.confirm(app, messages).await;
            }
        }
    };
    let mut ahead = None;
    loop {
        let message = match ahead.take() {
            Some(message) => message,
            None => stream.next().await,
        };
        let output = match message {
            Some(Ok(Message::Text(text))) => lock(session).handle_text(&text),
            Some(Ok(Message::Binary(frame))) => lock(session).handle_binary(&frame),
            Some(Ok(Message::Ping(_))) => continue,
            Some(Ok(Message::Pong(pong))) => {
                confirm(pong).await;
                continue;
            }
            Some(Ok(Message::Close(frame))) => return Ended::by_close(frame.as_ref()),
            Some(Err(error)) if is_too_long(&error) => return Ended::TooLong,
            Some(Err(_)) | None => return Ended::ByApp,
        };
        let (frames, pending) = match output {
            Some(Output::Request(asked)) => {
                let token = asked.token;
                let performing = perform(asked, app, context);
                let done = reading_ahead(performing, &mut stream, confirm, &mut ahead).await;
                let (answer, pending) = match done {
                    Ok(Performed { answer, pending }) => (Ok(answer), pending),
                    Err(error) => (Err(error), Vec::new()),
                };
                (lock(session).answer(token, answer), pending)
            }
            Some(Output::Respond(frame)) => (vec![frame], Vec::new()),
            _ => continue,
        };
        for frame in frames {
            if answers.send(frame).await.is_err() {
                return Ended::ByApp;
            }
        }
        // Only now: the end of a message comes after the answer to the request that names it.
        if !pending.is_empty() {
            context.desk.watch(app, pending).await;
        }
    }
}

/// Waits for an answer and reads on meanwhile, up to the next message that is no ping.
///
/// A request may have to wait long for room in the queue of messages. An app that waits for its
/// answer gets its pings answered; one that sends on is not read from, until there is room.
async fn reading_ahead<T, C: Future<Output = ()>>(
    answering: impl Future<Output = T>,
    stream: &mut SplitStream<WebSocket>,
    confirm: impl Fn(Bytes) -> C,
    ahead: &mut Option<Option<Result<Message, axum::Error>>>,
) -> T {
    tokio::pin!(answering);
    loop {
        // Both branches are cancel-safe.
        tokio::select! {
            answer = &mut answering => return answer,
            message = stream.next(), if ahead.is_none() => {
                match message {
                    Some(Ok(Message::Ping(_))) => {}
                    Some(Ok(Message::Pong(pong))) => confirm(pong).await,
                    other => *ahead = Some(other),
                }
            }
        }
    }
}

async fn write(
    sink: &mut SplitSink<WebSocket, Message>,
    session: &Mutex<AppSession>,
    subscription: &mut Subscription,
    unconfirmed: &Unconfirmed,
    mut answered: mpsc::Receiver<WsMessage>,
) -> Ended {
    let mut pings = interval(PING_INTERVAL);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // All branches are cancel-safe. Answers first: the confirmation of a message that an app
        // sends to itself comes before the message.
        let written = tokio::select! {
            biased;
            Some(frame) = answered.recv() => write_one(sink, to_message(frame)).await,
            offer = subscription.next() => {
                let Some(offer) = offer else {
                    return Ended::ByClient;
                };
                let frame = encode(&lock(session), &offer);
                let mut written = write_one(sink, to_message(frame)).await;
                if written.is_ok() {
                    subscription.written(&offer).await;
                }
                if let Offer::Message(_, number) = offer {
                    let ping = unconfirmed.add(number);
                    written = written.and(write_one(sink, ping).await);
                }
                written
            }
            _ = pings.tick() => write_one(sink, Message::Ping(Vec::new().into())).await,
        };
        if written.is_err() {
            return Ended::ByApp;
        }
    }
}

/// Messages that were written and are not confirmed yet, in the order of writing.
///
/// Every message is followed by a ping with its number: 8 bytes, big-endian. An app that answers
/// it has read the message. An app that looks at pings can also tell by them a message that it is
/// pushed again after a crash from one that says the same.
#[derive(Debug, Default)]
struct Unconfirmed(Mutex<VecDeque<MessageNumber>>);

impl Unconfirmed {
    /// The message was written; gives the ping that asks for its confirmation.
    fn add(&self, number: MessageNumber) -> Message {
        lock(&self.0).push_back(number);
        Message::Ping(Bytes::copy_from_slice(&number.get().to_be_bytes()))
    }

    /// The messages that this answer to a ping confirms: an app may leave out all answers but the
    /// last (RFC 6455, section 5.5.3).
    fn take_until(&self, pong: &[u8]) -> Vec<MessageNumber> {
        let Ok(number) = pong.try_into().map(u64::from_be_bytes) else {
            return Vec::new();
        };
        let mut waiting = lock(&self.0);
        let confirmed = waiting.iter().position(|other| other.get() == number);
        confirmed.map_or_else(Vec::new, |last| waiting.drain(..=last).collect())
    }
}

async fn write_one(sink: &mut SplitSink<WebSocket, Message>, message: Message) -> Result<(), ()> {
    match timeout(WRITE_TIMEOUT, sink.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(()),
    }
}

async fn say_goodbye(
    sink: &mut SplitSink<WebSocket, Message>,
    session: &AppSession,
    ended: Ended,
    context: &AppContext,
) {
    let (code, reason) = match ended {
        Ended::ByApp | Ended::ByGoodbye | Ended::ByRefusal(_) => {
            (close_code::NORMAL, String::new())
        }
        Ended::ByClient => (close_code::AWAY, "the client is stopping".to_owned()),
        Ended::TooLong => {
            let reason = format!("a frame has at most {} bytes", context.message_len_max);
            let error = session.encode_error(&AppError::other(reason.clone()));
            let _ = sink.send(to_message(error)).await;
            (close_code::SIZE, reason)
        }
    };
    let _ = sink
        .send(Message::Close(Some(CloseFrame {
            code,
            reason: reason.into(),
        })))
        .await;
}

/// The frame that tells an app what the deliveries offer.
fn encode(session: &AppSession, offer: &Offer) -> WsMessage {
    match offer {
        Offer::Message(received, _) => session.encode_push(received),
        Offer::Notice(Notice {
            name: MessageName::Id(id),
            outcome,
        }) => receipts::encode_outcome(id, outcome),
        Offer::Notice(Notice {
            name: MessageName::Description(message),
            outcome,
        }) => {
            let ended = match outcome {
                Outcome::Failed { reason } => format!("was given up: {reason}"),
                _ => "was delivered".to_owned(),
            };
            session.encode_error(&AppError::other(format!("{message} {ended}")))
        }
    }
}

/// A request that was done.
#[derive(Debug)]
struct Performed {
    answer: Answer,
    /// Messages that the app is to be told the end of.
    pending: Vec<MessageId>,
}

impl From<Answer> for Performed {
    fn from(answer: Answer) -> Self {
        Self {
            answer,
            pending: Vec::new(),
        }
    }
}

/// Does what an app asks.
async fn perform(
    asked: AppRequest,
    app: AppId,
    context: &AppContext,
) -> Result<Performed, AppError> {
    let (order, connection) = match asked.request {
        Request::SelfAddress => return Ok(Answer::SelfAddress(context.recipient).into()),
        // A lane is no more than its messages, and what was accepted is sent to its end.
        Request::ClosedConnection { .. } => return Ok(Answer::Accepted.into()),
        Request::LaneQueueLength { connection_id } => (Order::CountLane, Some(connection_id)),
        Request::Receipts { ids } => return look_up(ids, app, context).await,
        Request::Send {
            recipient,
            message,
            reply_surbs,
            connection_id,
        } => {
            let order = Order::Send {
                recipient: Box::new(recipient),
                message,
                reply_surbs: reply_surbs.unwrap_or(0),
            };
            (order, connection_id)
        }
        Request::Reply {
            to: ReplyTo::Surb(surb),
            message,
            connection_id,
        } => (Order::Reply { surb, message }, connection_id),
        Request::Reply {
            to: ReplyTo::Tag(tag),
            message,
            connection_id,
        } => (Order::ReplyToTag { tag, message }, connection_id),
        _ => return Err(AppError::other("this client cannot do that")),
    };
    let lane = connection.map(|connection| Lane {
        app: app.0,
        connection,
    });
    let name = asked.id.map_or_else(
        || MessageName::Description(describe(&order)),
        MessageName::Id,
    );
    let (answer, answered) = oneshot::channel();
    let order = AppOrder {
        order,
        author: Author { app, name },
        lane,
        answer,
    };
    context.orders.send(order).await.map_err(|_| stopping())?;
    match answered.await.map_err(|_| stopping())? {
        Ok(done) => Ok(Performed {
            answer: lane.map_or(Answer::Accepted, |lane| Answer::LaneQueueLength {
                lane: lane.connection,
                queue_length: done.lane_queue_length,
            }),
            pending: done.message.into_iter().collect(),
        }),
        Err(SendError::ReplyTooLong { len, max }) => Err(AppError::reply_too_long(len, max)),
        Err(refusal) => Err(AppError::other(refusal.to_string())),
    }
}

/// Answers what is known of the messages that an app asks about.
async fn look_up(
    ids: Vec<RequestId>,
    app: AppId,
    context: &AppContext,
) -> Result<Performed, AppError> {
    let found = context.desk.look_up(app, ids.clone()).await;
    let found = found.ok_or_else(stopping)?;
    let pending = found.iter().filter_map(|found| found.pending).collect();
    let statuses = found.into_iter().map(|found| found.status);
    Ok(Performed {
        answer: Answer::Receipts(ids.into_iter().zip(statuses).collect()),
        pending,
    })
}

fn stopping() -> AppError {
    AppError::other("the client is stopping")
}

/// A message for the person who reads an error about it; the app gave it no name.
fn describe(order: &Order) -> String {
    match order {
        Order::CountLane => "nothing".to_owned(),
        Order::Reply { message, .. } => format!("the reply of {} bytes", message.len()),
        Order::ReplyToTag { tag, message } => {
            format!("the reply of {} bytes to {tag}", message.len())
        }
        Order::Send {
            recipient, message, ..
        } => format!("the message of {} bytes to {recipient}", message.len()),
    }
}

fn to_message(frame: WsMessage) -> Message {
    match frame {
        WsMessage::Binary(bytes) => Message::Binary(bytes.into()),
        WsMessage::Text(text) => Message::Text(text.into()),
    }
}

/// Whether reading failed because a message exceeds the limit. The library hides the kind of its
/// errors, so this goes by the text; a test of the socket guards it.
fn is_too_long(error: &axum::Error) -> bool {
    error.to_string().contains("too long")
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
