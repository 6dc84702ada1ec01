//! What apps must not send, and what else connects: each is answered, and harms nobody else.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::*;

/// An app that did nothing wrong: it hears every message, whatever others send.
struct Bystander {
    app: App,
    heard: u64,
}

impl Bystander {
    /// It is the newest app, so the messages are its own; connect it last.
    async fn beside(socket: &Socket) -> Self {
        let mut app = socket.connect("/").await;
        app.ask_address().await;
        Self { app, heard: 0 }
    }

    async fn is_unharmed(&mut self, socket: &Socket) {
        self.heard += 1;
        let message = self.heard.to_string();
        socket.arrive(message.as_bytes()).await;
        assert_eq!(self.app.hear().await, WsMessage::Text(message));
        self.app.ask_address().await;
    }
}

fn send(message: &str, recipient: &str) -> String {
    format!(
        r#"{{"type":"send","message":{message},"recipient":{recipient},"withReplySurb":false}}"#
    )
}

/// A text frame of more than 125 bytes as an app writes it, masked with zeros.
fn masked(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81];
    match u16::try_from(text.len()) {
        Ok(len) => {
            frame.push(0xfe);
            frame.extend_from_slice(&len.to_be_bytes());
        }
        Err(_) => {
            frame.push(0xff);
            frame.extend_from_slice(&(text.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(text.as_bytes());
    frame
}

/// Upgrades a connection of its own, and gives what is below the websocket.
pub(super) async fn upgraded(socket: &Socket) -> TcpStream {
    let mut stream = TcpStream::connect(socket.address).await.unwrap();
    let upgrade = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
                   Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(upgrade.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    assert!(answer.starts_with(b"HTTP/1.1 101 "));
    stream
}

#[tokio::test]
async fn faulty_requests_are_answered_by_what_is_wrong_and_the_connection_stays() {
    let socket = Socket::open().await;
    let mut app = socket.connect("/v0.11").await;
    let mut bystander = Bystander::beside(&socket).await;
    let address = format!("\"{ADDRESS}\"");
    let without = |from: &str, to: &str| address.replacen(from, to, 1);
    for (request, said) in [
        (String::new(), "malformed request:EOF while parsing"),
        ("nonsense".to_owned(), "malformed request:expected"),
        (
            r#"{"type":"sned"}"#.to_owned(),
            "unknown variant `sned`, expected one of `send`",
        ),
        (r#"{"message":"m"}"#.to_owned(), "missing field `type`"),
        (r#"["send","m","r",true]"#.to_owned(), "expected an object"),
        (r#"{"type":"send"}"#.to_owned(), "missing field `message`"),
        (
            send("{}", &address),
            "invalid type: map, expected a string as `message`",
        ),
        (
            send("\"m\"", "7"),
            "invalid type: number, expected a string as `recipient`",
        ),
        (
            send("\"m\"", "\"\""),
            "a recipient is written identity.encryption@gateway",
        ),
        (
            send("\"m\"", &without("G", "0")),
            "the identity key of the recipient is malformed",
        ),
        (
            send("\"m\"", &without("7A", "0")),
            "the encryption key of the recipient is malformed",
        ),
        (
            send("\"m\"", &without("65", "0")),
            "the gateway key of the recipient is malformed",
        ),
        (
            r#"{"type":"reply","message":"m","replySurb":""}"#.to_owned(),
            "malformed reply surb",
        ),
    ] {
        app.say(&request).await;
        let WsMessage::Text(error) = app.hear().await else {
            panic!("a text request is answered in text");
        };
        assert!(error.starts_with(r#"{"type":"error","message":"malformed request:"#));
        assert!(error.contains(said), "{request}: {error}");
    }
    app.ask_address().await;
    bystander.is_unharmed(&socket).await;
}

#[tokio::test]
async fn an_address_of_an_unknown_gateway_is_refused_by_its_reason() {
    let mut socket = Socket::open().await;
    let mut app = socket.connect("/v0.11").await;
    app.say(&send("\"m\"", &format!("\"{ADDRESS}\""))).await;
    socket.refuse(SendError::RecipientGatewayUnknown).await;
    let error = r#"{"type":"error","message":"other:the recipient's gateway is not in the network's topology"}"#;
    assert_eq!(app.hear().await, WsMessage::Text(error.to_owned()));
    app.ask_address().await;
}

#[tokio::test]
async fn empty_frames_and_binary_garbage_are_answered_in_every_dialect() {
    let socket = Socket::open().await;
    let mut rng = StdRng::seed_from_u64(1);
    let mut apps = Vec::new();
    for path in ["/", "/seed", "/v0.11", "/v1"] {
        apps.push(socket.connect(path).await);
    }
    let mut bystander = Bystander::beside(&socket).await;
    for app in &mut apps {
        app.say("").await;
        assert!(matches!(app.hear().await, WsMessage::Text(_)));
        for len in 0..100 {
            let mut garbage = vec![0; len];
            rng.fill_bytes(&mut garbage);
            if let Some(tag) = garbage.first_mut() {
                // Not one of the requests that hold nothing else.
                *tag |= 0x80;
            }
            app.0.send(WsMessage::Binary(garbage)).await.unwrap();
            let error = app.hear().await;
            let is_error = match &error {
                WsMessage::Binary(frame) => frame.first() == Some(&0),
                WsMessage::Text(text) => text.starts_with(r#"{"type":"error""#),
            };
            assert!(is_error, "{error:?}");
        }
        bystander.is_unharmed(&socket).await;
    }
}

#[tokio::test]
async fn invalid_utf8_and_broken_frames_end_their_connection_and_no_other() {
    let socket = Socket::open().await;
    let frames: [&[u8]; 5] = [
        // A text frame that is not UTF-8, masked with zeros.
        b"\x81\x82\0\0\0\0\xff\xfe",
        // One that is not masked, as only servers may send.
        b"\x81\x02hi",
        // Reserved bits and operations.
        b"\xf1\x80\0\0\0\0",
        b"\x83\x80\0\0\0\0",
        // A fragment of nothing.
        b"\x80\x80\0\0\0\0",
    ];
    let mut streams = Vec::new();
    for frame in frames {
        let mut stream = upgraded(&socket).await;
        stream.write_all(frame).await.unwrap();
        streams.push(stream);
    }
    let mut bystander = Bystander::beside(&socket).await;
    for mut stream in streams {
        let mut rest = Vec::new();
        // The connection ends in order or by a reset; it ends.
        let _ = stream.read_to_end(&mut rest).await;
    }
    bystander.is_unharmed(&socket).await;
}

#[tokio::test]
async fn a_frame_of_64_mib_ends_its_connection_and_no_other() {
    let socket = Socket::open().await;
    let mut stream = upgraded(&socket).await;
    let mut bystander = Bystander::beside(&socket).await;
    // A masked binary frame whose length is given in 8 bytes.
    let mut frame = vec![0x82, 0xff];
    frame.extend_from_slice(&(64_u64 << 20).to_be_bytes());
    frame.extend_from_slice(&[0; 4]);
    stream.write_all(&frame).await.unwrap();
    let chunk = vec![0; 1 << 20];
    let mut answer = Vec::new();
    let (mut reader, mut writer) = stream.split();
    let sending = async {
        for _ in 0..64 {
            if writer.write_all(&chunk).await.is_err() {
                break;
            }
        }
    };
    // Either direction may be reset once the client has closed.
    let _ = tokio::join!(sending, reader.read_to_end(&mut answer));
    bystander.is_unharmed(&socket).await;
}

#[tokio::test]
async fn an_app_that_sends_on_while_its_request_waits_is_not_read_from() {
    // More than any system buffers.
    const WRITTEN_MAX: usize = 64 << 20;
    let mut socket = Socket::open().await;
    let mut stream = upgraded(&socket).await;
    let request = send("\"m\"", &format!("\"{ADDRESS}\""));
    stream.write_all(&masked(&request)).await.unwrap();
    let AppOrder { answer, .. } = socket.orders.recv().await.unwrap();
    let more = masked(&"x".repeat(MESSAGE_LEN_MAX));
    let patience = Duration::from_millis(500);
    let mut written = 0;
    while timeout(patience, stream.write_all(&more)).await.is_ok() {
        written += more.len();
        assert!(written < WRITTEN_MAX, "there is no end to what is read");
    }
    answer.send(Err(SendError::NoTopology)).unwrap();
    Bystander::beside(&socket).await.is_unharmed(&socket).await;
}

#[tokio::test]
async fn a_thousand_half_open_connections_keep_nobody_out() {
    let socket = Socket::open().await;
    let mut app = socket.connect("/").await;
    app.ask_address().await;
    // Those beyond the limit push the oldest out, so all are accepted, and so is an app after them.
    let mut half_open = Vec::new();
    for _ in 0..CONNECTIONS + 100 {
        let mut stream = TcpStream::connect(socket.address).await.unwrap();
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: loc").await;
        half_open.push(stream);
    }
    socket.connect("/").await.ask_address().await;
    app.ask_address().await;
}

#[tokio::test]
async fn a_thousand_apps_at_once_are_all_served() {
    let socket = Socket::open().await;
    let mut apps = Vec::new();
    for _ in 0..1_000 {
        let mut app = socket.connect("/").await;
        // Its answer tells that it has come, so the last one is the newest.
        app.ask_address().await;
        apps.push(app);
    }
    for app in &mut apps {
        app.ask_address().await;
    }
    socket.arrive(b"for the newest").await;
    let newest = apps.last_mut().unwrap();
    let message = WsMessage::Text("for the newest".to_owned());
    assert_eq!(newest.hear().await, message);
    drop(apps);
    // Nothing is left of them.
    socket.all_are_gone().await;
}
