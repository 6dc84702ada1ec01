//! Real sockets against the socket for apps; the test stands in for the engine.

use std::sync::atomic::{AtomicU64, Ordering};

use nym_client_core::{MessageId, MessageNumber, SendError};
use nym_packet::address::Recipient;
use nym_protocol::app::{Outcome, Received, SenderTag};
use nym_protocol::ws::WsMessage;
use nym_transport::websocket::{CloseCode, Incoming, WebSocket as AppSocket, WebSocketLimits};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::*;
use crate::config::{AppToken, PushMode};
use crate::deliveries::{Deliveries, MessageName, News};
use crate::engine_task::orders::Done;
use crate::engine_task::{AppOrder, Order};

const ADDRESS: &str = "GsugBcLyNHtP1BEuz3e97Fv1qNjR9oezXsWQ88epp5F8.\
    7AiD8RdLbuqBEXfDcA4ddYJWw6qVBRez4E3E8cX5h7P3@65SkPxGjnPjm4VUXNZohzMuSAc9JKQzbuqwDWE5odCkm";

const MESSAGE_LEN_MAX: usize = 100_000;

/// How long a busy machine may take for one thing.
const PATIENCE: Duration = Duration::from_secs(60);

mod bad_input;

/// The socket for apps of a client whose engine is the test.
struct Socket {
    address: SocketAddr,
    orders: mpsc::Receiver<AppOrder>,
    news: mpsc::Sender<News>,
    arrived_count: AtomicU64,
    status: watch::Sender<ClientStatus>,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
}

impl Socket {
    async fn open() -> Self {
        Self::open_with(AppsConfig::default()).await
    }

    async fn open_with(config: AppsConfig) -> Self {
        let config = AppsConfig {
            port: 0,
            message_len_max: MESSAGE_LEN_MAX,
            ..config
        };
        let push_mode = config.push_mode;
        let apps = Apps::bind(config).await.unwrap();
        let address = apps.address();
        let (taken, _) = mpsc::channel(16);
        let (deliveries, news, desk) = Deliveries::new(push_mode, 1 << 20, taken);
        let (orders_in, orders) = mpsc::channel(1);
        let context = AppContext {
            recipient: ADDRESS.parse().unwrap(),
            message_len_max: MESSAGE_LEN_MAX,
            orders: orders_in,
            desk,
        };
        let shutdown = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(deliveries.run(shutdown.clone()));
        let status = watch::Sender::new(ClientStatus::default());
        tasks.spawn(apps.run(context, status.subscribe(), shutdown.clone()));
        Self {
            address,
            orders,
            news,
            arrived_count: AtomicU64::new(0),
            status,
            shutdown,
            tasks,
        }
    }

    async fn connect(&self, path: &str) -> App {
        let limits = WebSocketLimits {
            message_len: 1 << 20,
            ..WebSocketLimits::default()
        };
        let url = format!("ws://{}{path}", self.address);
        App(AppSocket::dial(&url, limits).await.unwrap())
    }

    /// Sends bytes on a connection of its own and gives all that comes back.
    async fn http(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        // An upgraded connection stays open, so the end of the headers is enough of it.
        while !String::from_utf8_lossy(&answer).contains("\r\n\r\n") {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(len) => answer.extend_from_slice(&buffer[..len]),
            }
        }
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn upgrade_from(&self, origin: &str) -> String {
        let headers = format!("Host: localhost\r\nOrigin: {origin}\r\n");
        self.upgrade("/", &headers).await
    }

    async fn upgrade(&self, path: &str, headers: &str) -> String {
        self.http(&format!(
            "GET {path} HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             {headers}\r\n"
        ))
        .await
    }

    /// All of a page: the server closes after it.
    async fn page(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).await.unwrap();
        page
    }

    /// Waits until the tasks of all apps have ended.
    async fn all_are_gone(&self) {
        let mut metrics = self.page("/metrics").await;
        while !metrics.contains("nym_client_apps_connected 0\n") {
            tokio::task::yield_now().await;
            metrics = self.page("/metrics").await;
        }
    }

    async fn arrive(&self, message: &[u8]) {
        self.receive(Received::new(message.to_vec())).await;
    }

    async fn receive(&self, received: Received) {
        let number = MessageNumber::new(self.arrived_count.fetch_add(1, Ordering::Relaxed));
        let news = News::Received(number, received);
        self.news.send(news).await.unwrap();
    }

    /// Takes the next order over as this message, and gives the name that its app gave to it.
    async fn accept(&mut self, message: u64) -> MessageName {
        let AppOrder { author, answer, .. } = self.orders.recv().await.unwrap();
        let name = author.name.clone();
        let message = MessageId::new(message);
        let accepted = News::Accepted(message, author);
        self.news.send(accepted).await.unwrap();
        let done = Done {
            message: Some(message),
            ..Done::default()
        };
        answer.send(Ok(done)).unwrap();
        name
    }

    async fn end(&self, message: u64, outcome: Outcome) {
        let ended = News::Ended(MessageId::new(message), outcome);
        self.news.send(ended).await.unwrap();
    }

    /// Takes the next order and refuses it.
    async fn refuse(&mut self, refusal: SendError) -> Order {
        let AppOrder { order, answer, .. } = self.orders.recv().await.unwrap();
        answer.send(Err(refusal)).unwrap();
        order
    }
}

struct App(AppSocket);

impl App {
    async fn say(&mut self, text: &str) {
        self.0.send(WsMessage::Text(text.to_owned())).await.unwrap();
    }

    async fn hear(&mut self) -> WsMessage {
        loop {
            let heard = timeout(PATIENCE, self.0.receive()).await;
            match heard.expect("nothing is said").unwrap().unwrap() {
                Incoming::Message(message) => return message,
                Incoming::Pong(_) => {}
            }
        }
    }

    /// Closes the connection and waits until the client has done so, too.
    async fn leave(self) {
        self.leave_by(CloseCode::Normal).await;
    }

    async fn leave_by(self, code: CloseCode) {
        let (sender, mut receiver) = self.0.split();
        sender.close(code, "").await;
        while let Ok(Some(_)) = receiver.receive().await {}
    }

    async fn ask_address(&mut self) {
        self.say(r#"{"type":"selfAddress"}"#).await;
        let expected = format!(r#"{{"type":"selfAddress","address":"{ADDRESS}"}}"#);
        assert_eq!(self.hear().await, WsMessage::Text(expected));
    }
}

#[tokio::test]
async fn the_seed_is_spoken_on_the_plain_path() {
    let mut socket = Socket::open().await;
    let mut app = socket.connect("/").await;
    app.ask_address().await;
    app.say(&format!(
        r#"{{"type":"send","message":{{"a" : 1}},"recipient":"{ADDRESS}"}}"#
    ))
    .await;
    let order = socket.refuse(SendError::NoTopology).await;
    let Order::Send {
        recipient,
        message,
        reply_surbs,
    } = order
    else {
        panic!("{order:?} is no send");
    };
    assert_eq!(*recipient, ADDRESS.parse::<Recipient>().unwrap());
    assert_eq!((&message[..], reply_surbs), (&br#"{"a":1}"#[..], 0));
    let WsMessage::Text(refusal) = app.hear().await else {
        panic!("the seed answers in text");
    };
    assert!(
        refusal.starts_with(r#"{"type":"error","message":"other:"#),
        "{refusal}"
    );
    socket.arrive(b"Hello Nym!").await;
    assert_eq!(app.hear().await, WsMessage::Text("Hello Nym!".to_owned()));
}

#[tokio::test]
async fn pings_are_answered_while_a_request_waits_and_what_follows_is_read_later() {
    let mut socket = Socket::open().await;
    let mut app = socket.connect("/").await;
    app.say(&format!(
        r#"{{"type":"send","message":"m","recipient":"{ADDRESS}"}}"#
    ))
    .await;
    let AppOrder { answer, .. } = socket.orders.recv().await.unwrap();
    for _ in 0..3 {
        app.0.ping().await.unwrap();
        assert_eq!(app.0.receive().await.unwrap(), Some(Incoming::Pong(None)));
    }
    app.say(r#"{"type":"selfAddress"}"#).await;
    answer.send(Err(SendError::NoTopology)).unwrap();
    let WsMessage::Text(refusal) = app.hear().await else {
        panic!("the seed answers in text");
    };
    assert!(refusal.contains("error"), "{refusal}");
    let address = format!(r#"{{"type":"selfAddress","address":"{ADDRESS}"}}"#);
    assert_eq!(app.hear().await, WsMessage::Text(address));
}

#[tokio::test]
async fn a_path_pins_the_dialect() {
    let socket = Socket::open().await;
    let mut app = socket.connect("/v0.11").await;
    socket.arrive(b"hi").await;
    let push = WsMessage::Binary(b"\x01\0\0\0\0\0\0\0\0\x02hi".to_vec());
    assert_eq!(app.hear().await, push);
}

#[tokio::test]
async fn sender_tags_are_spoken_on_their_path() {
    let mut socket = Socket::open().await;
    let mut app = socket.connect("/v1").await;
    app.say(&format!(
        r#"{{"type":"sendAnonymous","message":"m","recipient":"{ADDRESS}","replySurbs":3,"connectionId":7}}"#
    ))
    .await;
    let AppOrder {
        order,
        lane,
        answer,
        ..
    } = socket.orders.recv().await.unwrap();
    assert!(
        matches!(order, Order::Send { reply_surbs: 3, .. }),
        "{order:?}"
    );
    assert_eq!(lane.map(|lane| lane.connection), Some(7));
    let lane_queue_length = 4;
    let done = Done {
        lane_queue_length,
        ..Done::default()
    };
    answer.send(Ok(done)).unwrap();
    let length = r#"{"type":"laneQueueLength","lane":7,"queue_length":4}"#;
    assert_eq!(app.hear().await, WsMessage::Text(length.to_owned()));

    let tag = SenderTag::from_bytes([9; 16]);
    let received = Received::new(b"hi".to_vec()).with_sender_tag(tag);
    socket.receive(received).await;
    let push = format!(r#"{{"type":"received","message":"hi","senderTag":"{tag}"}}"#);
    assert_eq!(app.hear().await, WsMessage::Text(push));

    app.say(&format!(
        r#"{{"type":"reply","message":"answer","senderTag":"{tag}"}}"#
    ))
    .await;
    let order = socket.refuse(SendError::OutOfSurbs).await;
    assert!(
        matches!(&order, Order::ReplyToTag { tag: to, message } if *to == tag && message == b"answer"),
        "{order:?}"
    );
    let error = r#"{"type":"error","message":"other:no reply SURB of this sender tag is left; its sender has to write again"}"#;
    assert_eq!(app.hear().await, WsMessage::Text(error.to_owned()));
}

fn delivered_after(millis: u64) -> Outcome {
    let latency = Duration::from_millis(millis);
    Outcome::Delivered { latency }
}

#[tokio::test]
async fn a_message_with_an_id_ends_in_one_receipt() {
    let mut socket = Socket::open().await;
    let mut app = socket.connect("/v0.11").await;
    for (message, id) in [(1, "\"first\""), (2, "2.0")] {
        app.say(&format!(
            r#"{{"type":"send","message":"m","recipient":"{ADDRESS}","withReplySurb":false,"id":{id}}}"#
        ))
        .await;
        let name = socket.accept(message).await;
        assert_eq!(name, MessageName::Id(id.parse().unwrap()));
        let accepted = format!(r#"{{"type":"accepted","id":{id}}}"#);
        assert_eq!(app.hear().await, WsMessage::Text(accepted));
    }
    socket.end(2, delivered_after(312)).await;
    let delivered = r#"{"type":"delivered","id":2.0,"latencyMs":312}"#;
    assert_eq!(app.hear().await, WsMessage::Text(delivered.to_owned()));
    let reason = "no way".to_owned();
    socket.end(1, Outcome::Failed { reason }).await;
    let failed = r#"{"type":"failed","id":"first","message":"no way"}"#;
    assert_eq!(app.hear().await, WsMessage::Text(failed.to_owned()));
    app.ask_address().await;
}

#[tokio::test]
async fn the_next_app_that_asks_is_told_what_became_of_a_message() {
    let mut socket = Socket::open().await;
    let mut gone = socket.connect("/").await;
    for message in [1, 2] {
        gone.say(&format!(
            r#"{{"type":"send","message":"m","recipient":"{ADDRESS}","id":{message}}}"#
        ))
        .await;
        socket.accept(message).await;
        let confirmed = format!(r#"{{"type":"send","id":{message}}}"#);
        assert_eq!(gone.hear().await, WsMessage::Text(confirmed));
    }
    gone.leave().await;
    socket.end(1, delivered_after(5)).await;
    let mut app = socket.connect("/").await;
    app.say(r#"{"type":"receipts","ids":[1,2,3]}"#).await;
    let known = concat!(
        r#"{"type":"receipts","receipts":[{"id":1,"status":"delivered","latencyMs":5},"#,
        r#"{"id":2,"status":"pending"},{"id":3,"status":"unknown"}]}"#
    );
    assert_eq!(app.hear().await, WsMessage::Text(known.to_owned()));
    socket.end(2, delivered_after(6)).await;
    let delivered = r#"{"type":"delivered","id":2,"latencyMs":6}"#;
    assert_eq!(app.hear().await, WsMessage::Text(delivered.to_owned()));
}

#[tokio::test]
async fn an_app_without_ids_hears_of_failures_alone_and_which_message_it_was() {
    let mut socket = Socket::open().await;
    let mut app = socket.connect("/").await;
    for message in [1, 2] {
        app.say(&format!(
            r#"{{"type":"send","message":"four","recipient":"{ADDRESS}"}}"#
        ))
        .await;
        socket.accept(message).await;
        let confirmation = r#"{"type":"send"}"#.to_owned();
        assert_eq!(app.hear().await, WsMessage::Text(confirmation));
    }
    socket.end(1, delivered_after(5)).await;
    let reason = "no way".to_owned();
    socket.end(2, Outcome::Failed { reason }).await;
    let error = format!(
        r#"{{"type":"error","message":"other:the message of 4 bytes to {ADDRESS} was given up: no way"}}"#
    );
    assert_eq!(app.hear().await, WsMessage::Text(error));
}

#[tokio::test]
async fn what_is_no_websocket_is_answered_and_harms_nobody() {
    let socket = Socket::open().await;
    let mut app = socket.connect("/").await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(socket.http(&get("/")).await.starts_with("HTTP/1.1 200 "));
    assert!(
        socket
            .http(&get("/favicon.ico"))
            .await
            .starts_with("HTTP/1.1 404 ")
    );
    socket
        .http("\x16\x03\x01\x02\x00 no HTTP at all\r\n\r\n")
        .await;
    for _ in 0..50 {
        drop(TcpStream::connect(socket.address).await.unwrap());
    }
    app.ask_address().await;
}

#[tokio::test]
async fn a_page_of_another_site_is_refused_and_a_local_one_is_not() {
    let socket = Socket::open().await;
    let refused = socket.upgrade_from("http://evil.example").await;
    assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
    let accepted = socket.upgrade_from("http://localhost:3000").await;
    assert!(accepted.starts_with("HTTP/1.1 101 "), "{accepted}");
}

#[tokio::test]
async fn a_page_without_an_origin_is_refused_if_the_configuration_says_so() {
    for (allow_null_origin, status) in [(true, "101"), (false, "403")] {
        let socket = Socket::open_with(AppsConfig {
            allow_null_origin,
            ..AppsConfig::default()
        })
        .await;
        let answer = socket.upgrade_from("null").await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_frame_at_the_limit_is_read_and_one_above_ends_the_connection_with_the_reason() {
    let socket = Socket::open().await;
    let mut app = socket.connect("/").await;
    app.say(&"x".repeat(MESSAGE_LEN_MAX)).await;
    let WsMessage::Text(answer) = app.hear().await else {
        panic!("the seed answers in text");
    };
    assert!(answer.contains("malformed request:"), "{answer}");
    app.say(&"x".repeat(MESSAGE_LEN_MAX + 1)).await;
    let expected = r#"{"type":"error","message":"other:a frame has at most 100000 bytes"}"#;
    assert_eq!(app.hear().await, WsMessage::Text(expected.to_owned()));
    socket.connect("/").await.ask_address().await;
}

#[tokio::test]
async fn a_message_waits_for_an_app_and_pushes_go_to_the_newest() {
    let socket = Socket::open().await;
    socket.arrive(b"early").await;
    let mut first = socket.connect("/").await;
    assert_eq!(first.hear().await, WsMessage::Text("early".to_owned()));
    let mut second = socket.connect("/").await;
    // Its answer tells that it has subscribed.
    second.ask_address().await;
    socket.arrive(b"for the second").await;
    assert_eq!(
        second.hear().await,
        WsMessage::Text("for the second".to_owned())
    );
    second.leave().await;
    socket.arrive(b"for the first").await;
    assert_eq!(
        first.hear().await,
        WsMessage::Text("for the first".to_owned())
    );
}

/// What the client writes next on a websocket: the first byte of the frame, and its content.
async fn frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let kind = stream.read_u8().await.unwrap();
    let mut content = vec![0; stream.read_u8().await.unwrap().into()];
    stream.read_exact(&mut content).await.unwrap();
    (kind, content)
}

#[tokio::test]
async fn a_message_whose_ping_was_not_answered_goes_to_the_next_app() {
    let socket = Socket::open().await;
    let mut stream = bad_input::upgraded(&socket).await;
    socket.arrive(b"unread").await;
    let mut frames = Vec::new();
    // The message with its ping, and a ping that asks whether the connection lives.
    while frames.len() < 3 {
        frames.push(frame(&mut stream).await);
    }
    assert!(frames.contains(&(0x81, b"unread".to_vec())), "{frames:?}");
    assert!(frames.contains(&(0x89, Vec::new())), "{frames:?}");
    // It lives; that says nothing of the message.
    stream.write_all(b"\x8a\x80\0\0\0\0").await.unwrap();
    stream.shutdown().await.unwrap();
    socket.all_are_gone().await;

    let mut next = socket.connect("/").await;
    socket.arrive(b"later").await;
    assert_eq!(next.hear().await, WsMessage::Text("unread".to_owned()));
    assert_eq!(next.hear().await, WsMessage::Text("later".to_owned()));
    // The first answer comes behind the last ping, whose answer leaves in front of the second question.
    for _ in 0..2 {
        next.ask_address().await;
    }
    drop(next);
    socket.all_are_gone().await;
    let mut last = socket.connect("/").await;
    socket.arrive(b"last").await;
    assert_eq!(last.hear().await, WsMessage::Text("last".to_owned()));
}

#[tokio::test]
async fn a_message_that_an_app_refuses_waits_for_the_next_one() {
    let socket = Socket::open().await;
    socket.arrive(b"long").await;
    for code in [CloseCode::TooLong, CloseCode::Internal, CloseCode::Normal] {
        let mut app = socket.connect("/").await;
        assert_eq!(app.hear().await, WsMessage::Text("long".to_owned()));
        app.leave_by(code).await;
    }
    // The last one has taken it.
    socket.arrive(b"next").await;
    let mut app = socket.connect("/").await;
    assert_eq!(app.hear().await, WsMessage::Text("next".to_owned()));
}

#[tokio::test]
async fn in_broadcast_all_apps_get_a_message_but_those_that_want_none() {
    let socket = Socket::open_with(AppsConfig {
        push_mode: PushMode::Broadcast,
        ..AppsConfig::default()
    })
    .await;
    let mut apps = Vec::new();
    for path in ["/", "/?pushes=no", "/seed"] {
        let mut app = socket.connect(path).await;
        app.ask_address().await;
        apps.push(app);
    }
    socket.arrive(b"1").await;
    for index in [0, 2] {
        assert_eq!(apps[index].hear().await, WsMessage::Text("1".to_owned()));
    }
    apps[1].ask_address().await;
}

#[tokio::test]
async fn an_app_that_only_sends_leaves_the_messages_to_the_others() {
    let socket = Socket::open().await;
    let mut reader = socket.connect("/").await;
    reader.ask_address().await;
    let mut sender = socket.connect("/?pushes=no").await;
    sender.ask_address().await;
    socket.arrive(b"1").await;
    assert_eq!(reader.hear().await, WsMessage::Text("1".to_owned()));
    sender.ask_address().await;
}

#[tokio::test]
async fn the_status_is_told_in_json_to_those_who_show_the_token() {
    let token = AppToken::new("s3cret");
    let socket = Socket::open_with(AppsConfig {
        token,
        ..AppsConfig::default()
    })
    .await;
    socket.status.send_replace(ready());
    let mut app = socket.connect("/?token=s3cret").await;
    app.ask_address().await;
    let refused = socket.page("/status").await;
    assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
    let page = socket.page("/status?token=s3cret").await;
    let (_, body) = page.split_once("\r\n\r\n").unwrap();
    let report: crate::status::StatusReport = serde_json::from_str(body).unwrap();
    assert_eq!(report.version, 1);
    assert_eq!(report.address, ADDRESS);
    assert!(report.is_ready());
    assert!(report.topology_age_secs >= Some(7));
    assert_eq!(report.apps_connected, 1);
}

#[tokio::test]
async fn apps_are_told_when_the_client_stops() {
    let mut socket = Socket::open().await;
    let mut app = socket.connect("/").await;
    app.ask_address().await;
    socket.shutdown.cancel();
    assert_eq!(app.0.receive().await.unwrap(), None);
    while let Some(ended) = socket.tasks.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test]
async fn a_rebound_host_is_refused_and_a_configured_one_is_not() {
    let socket = Socket::open_with(AppsConfig {
        allowed_hosts: vec!["box.example".to_owned()],
        ..AppsConfig::default()
    })
    .await;
    for (host, status) in [
        ("evil.example:1977", "403"),
        ("127.0.0.1.evil.example", "403"),
        ("127.0.0.1:1977", "101"),
        ("[::1]:1977", "101"),
        ("localhost", "101"),
        ("box.example:1977", "101"),
    ] {
        let answer = socket.upgrade("/", &format!("Host: {host}\r\n")).await;
        let expected = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&expected), "{host}: {answer}");
    }
    let rebound = "GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    let answer = socket.http(rebound).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
}

#[tokio::test]
async fn apps_show_the_token_when_there_is_one() {
    let socket = Socket::open_with(AppsConfig {
        token: AppToken::new("s3cret"),
        ..AppsConfig::default()
    })
    .await;
    let host = "Host: localhost\r\n";
    for (path, authorization, status) in [
        ("/", "", "401"),
        ("/?token=wrong", "", "401"),
        ("/", "Authorization: Bearer wrong\r\n", "401"),
        ("/", "Authorization: Bearer s3cret\r\n", "101"),
        ("/v0.11?token=s3cret", "", "101"),
    ] {
        let answer = socket
            .upgrade(path, &format!("{host}{authorization}"))
            .await;
        let expected = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&expected), "{path}: {answer}");
    }
    assert!(socket.page("/metrics").await.starts_with("HTTP/1.1 401 "));
    let metrics = socket.page("/metrics?token=s3cret").await;
    let refused = "nym_client_requests_refused_total{reason=\"token\"} 4";
    assert!(metrics.contains(refused), "{metrics}");
}

#[tokio::test]
async fn the_health_tells_whether_a_message_would_leave() {
    let socket = Socket::open().await;
    let unwell = socket.page("/health").await;
    assert!(unwell.starts_with("HTTP/1.1 503 "), "{unwell}");
    assert!(unwell.contains("{\"connected\":false,\"routable\":false}"));
    socket.status.send_replace(ready());
    let well = socket.page("/health").await;
    assert!(well.starts_with("HTTP/1.1 200 "), "{well}");
    assert!(well.contains("{\"connected\":true,\"routable\":true}"));
}

#[tokio::test]
async fn every_metric_moves() {
    let socket = Socket::open().await;
    let idle = socket.page("/metrics").await;
    socket.status.send_replace(ready());
    let mut gone = socket.connect("/").await;
    gone.ask_address().await;
    gone.leave().await;
    let mut app = socket.connect("/").await;
    app.ask_address().await;
    socket.upgrade_from("http://evil.example").await;
    socket.upgrade("/", "Host: evil.example\r\n").await;
    let mut busy = socket.page("/metrics").await;
    // The app that left is counted when its task has ended.
    while !busy.contains("nym_client_apps_connected 1\n") {
        tokio::task::yield_now().await;
        busy = socket.page("/metrics").await;
    }
    for (name, before, after) in [
        ("nym_client_gateway_connected", "0", "1"),
        ("nym_client_topology_routable", "0", "1"),
        ("nym_client_unacknowledged_messages", "0", "2"),
        ("nym_client_unacknowledged_bytes", "0", "2000"),
        ("nym_client_untaken_messages", "0", "3"),
        ("nym_client_untaken_bytes", "0", "3768"),
        ("nym_client_apps_connected", "0", "1"),
        ("nym_client_apps_served_total", "0", "2"),
        (
            "nym_client_requests_refused_total{reason=\"host\"}",
            "0",
            "1",
        ),
        (
            "nym_client_requests_refused_total{reason=\"origin\"}",
            "0",
            "1",
        ),
    ] {
        assert!(
            idle.contains(&format!("\n{name} {before}\n")),
            "{name}: {idle}"
        );
        assert!(
            busy.contains(&format!("\n{name} {after}\n")),
            "{name}: {busy}"
        );
    }
    assert!(!idle.contains("topology_age"), "{idle}");
    assert!(
        busy.contains("\nnym_client_topology_age_seconds "),
        "{busy}"
    );
}

fn ready() -> ClientStatus {
    ClientStatus {
        connected: true,
        routable: true,
        topology_fetched_at: Some(tokio::time::Instant::now() - Duration::from_secs(7)),
        unacknowledged_messages: 2,
        unacknowledged_bytes: 2_000,
        untaken_messages: 3,
        untaken_bytes: 3_768,
        ..ClientStatus::default()
    }
}
