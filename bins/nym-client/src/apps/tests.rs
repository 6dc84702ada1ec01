//! Real sockets against the socket for apps; the test stands in for the engine.

use nym_client_core::SendError;
use nym_packet::address::Recipient;
use nym_protocol::app::{Received, SenderTag};
use nym_protocol::ws::WsMessage;
use nym_transport::websocket::{CloseCode, Incoming, WebSocket as AppSocket, WebSocketLimits};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::*;
use crate::deliveries::Deliveries;
use crate::engine_task::{AppOrder, Done, Order};

const ADDRESS: &str = "GsugBcLyNHtP1BEuz3e97Fv1qNjR9oezXsWQ88epp5F8.\
    7AiD8RdLbuqBEXfDcA4ddYJWw6qVBRez4E3E8cX5h7P3@65SkPxGjnPjm4VUXNZohzMuSAc9JKQzbuqwDWE5odCkm";

const MESSAGE_LEN_MAX: usize = 100_000;

/// The socket for apps of a client whose engine is the test.
struct Socket {
    address: SocketAddr,
    orders: mpsc::Receiver<AppOrder>,
    arrived: mpsc::Sender<Received>,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
}

impl Socket {
    async fn open() -> Self {
        let config = AppsConfig {
            port: 0,
            message_len_max: MESSAGE_LEN_MAX,
            ..AppsConfig::default()
        };
        let apps = Apps::bind(config).await.unwrap();
        let address = apps.address();
        let (deliveries, arrived, desk) = Deliveries::new(1 << 20);
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
        tasks.spawn(apps.run(context, shutdown.clone()));
        Self {
            address,
            orders,
            arrived,
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
        self.http(&format!(
            "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Origin: {origin}\r\n\r\n"
        ))
        .await
    }

    async fn arrive(&self, message: &[u8]) {
        self.arrived
            .send(Received::new(message.to_vec()))
            .await
            .unwrap();
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
            match self.0.receive().await.unwrap().unwrap() {
                Incoming::Message(message) => return message,
                Incoming::Pong => {}
            }
        }
    }

    /// Closes the connection and waits until the client has done so, too.
    async fn leave(self) {
        let (sender, mut receiver) = self.0.split();
        sender.close(CloseCode::Normal, "").await;
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
        assert_eq!(app.0.receive().await.unwrap(), Some(Incoming::Pong));
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
    } = socket.orders.recv().await.unwrap();
    assert!(
        matches!(order, Order::Send { reply_surbs: 3, .. }),
        "{order:?}"
    );
    assert_eq!(lane.map(|lane| lane.connection), Some(7));
    let lane_queue_length = 4;
    answer.send(Ok(Done { lane_queue_length })).unwrap();
    let length = r#"{"type":"laneQueueLength","lane":7,"queue_length":4}"#;
    assert_eq!(app.hear().await, WsMessage::Text(length.to_owned()));

    let tag = SenderTag::from_bytes([9; 16]);
    let received = Received::new(b"hi".to_vec()).with_sender_tag(tag);
    socket.arrived.send(received).await.unwrap();
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
