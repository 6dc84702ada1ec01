use super::*;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Both ends of a connection, the dialling one first.
async fn pair(dialled: WebSocketLimits, accepted: WebSocketLimits) -> (WebSocket, WebSocket) {
    let (listener, address) = listen().await;
    let url = format!("ws://{address}");
    let accept = async {
        let (stream, _) = listener.accept().await.unwrap();
        WebSocket::accept(stream, accepted).await.unwrap().0
    };
    let (client, server) = tokio::join!(WebSocket::dial(&url, dialled), accept);
    (client.unwrap(), server)
}

async fn default_pair() -> (WebSocket, WebSocket) {
    pair(WebSocketLimits::default(), WebSocketLimits::default()).await
}

fn text(text: &str) -> WsMessage {
    WsMessage::Text(text.to_owned())
}

#[tokio::test]
async fn messages_pass_in_both_directions() {
    let (mut client, mut server) = default_pair().await;
    client.send(text("hello")).await.unwrap();
    client.send(WsMessage::Binary(vec![1, 2, 3])).await.unwrap();
    server
        .send_all((0..100).map(|n| text(&n.to_string())))
        .await
        .unwrap();
    assert_eq!(
        server.receive().await.unwrap(),
        Some(Incoming::Message(text("hello")))
    );
    assert_eq!(
        server.receive().await.unwrap(),
        Some(Incoming::Message(WsMessage::Binary(vec![1, 2, 3])))
    );
    for n in 0..100 {
        let expected = Incoming::Message(text(&n.to_string()));
        assert_eq!(client.receive().await.unwrap(), Some(expected));
    }
}

#[tokio::test]
async fn the_path_and_origin_of_the_upgrade_are_told() {
    let (listener, address) = listen().await;
    let request = format!(
        "GET /v0.11?x=1 HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://evil.example\r\n\r\n"
    );
    let mut peer = TcpStream::connect(address).await.unwrap();
    peer.write_all(request.as_bytes()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let (_, upgrade) = WebSocket::accept(stream, WebSocketLimits::default())
        .await
        .unwrap();
    assert_eq!(upgrade.path, "/v0.11");
    assert_eq!(upgrade.origin.as_deref(), Some("http://evil.example"));
}

#[tokio::test]
async fn a_peer_that_speaks_no_websocket_is_an_error() {
    let (listener, address) = listen().await;
    for junk in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        b"\x16\x03\x01\0\0\0\0",
        b"",
    ] {
        let mut peer = TcpStream::connect(address).await.unwrap();
        peer.write_all(junk).await.unwrap();
        peer.shutdown().await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let outcome = WebSocket::accept(stream, WebSocketLimits::default()).await;
        assert!(
            matches!(outcome, Err(AcceptError::Handshake { .. })),
            "{outcome:?}"
        );
    }
}

#[tokio::test]
async fn a_peer_that_never_finishes_its_request_is_left() {
    let (listener, address) = listen().await;
    let limits = WebSocketLimits {
        handshake_timeout: Duration::from_millis(20),
        ..WebSocketLimits::default()
    };
    let mut peer = TcpStream::connect(address).await.unwrap();
    peer.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    assert!(matches!(
        WebSocket::accept(stream, limits).await,
        Err(AcceptError::TimedOut { .. })
    ));
    let silent = WebSocket::dial(&format!("ws://{address}"), limits).await;
    assert!(
        matches!(silent, Err(DialError::TimedOut { .. })),
        "{silent:?}"
    );
}

#[tokio::test]
async fn a_refused_dial_names_the_url() {
    let (listener, address) = listen().await;
    drop(listener);
    let url = format!("ws://{address}");
    let error = WebSocket::dial(&url, WebSocketLimits::default())
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with(&format!("cannot connect to {url}: ")),
        "{error}"
    );
}

#[tokio::test]
async fn messages_up_to_the_limit_pass_and_longer_ones_end_the_connection() {
    let small = WebSocketLimits {
        message_len: 1000,
        ..WebSocketLimits::default()
    };
    let (mut client, mut server) = pair(WebSocketLimits::default(), small).await;
    client.send(WsMessage::Binary(vec![0; 1000])).await.unwrap();
    client.send(WsMessage::Binary(vec![0; 1001])).await.unwrap();
    assert!(matches!(
        server.receive().await,
        Ok(Some(Incoming::Message(_)))
    ));
    assert!(matches!(
        server.receive().await,
        Err(WebSocketError::TooLong { limit: 1000 })
    ));
}

#[tokio::test]
async fn a_message_too_long_to_send_leaves_the_connection_usable() {
    let small = WebSocketLimits {
        message_len: 1000,
        ..WebSocketLimits::default()
    };
    let (mut client, mut server) = pair(small, WebSocketLimits::default()).await;
    assert!(matches!(
        client.send(WsMessage::Binary(vec![0; 1001])).await,
        Err(WebSocketError::TooLong { limit: 1000 })
    ));
    client.send(text("still here")).await.unwrap();
    assert_eq!(
        server.receive().await.unwrap(),
        Some(Incoming::Message(text("still here")))
    );
}

#[tokio::test]
async fn a_peer_that_reads_nothing_is_left_after_the_write_timeout() {
    let after = Duration::from_millis(200);
    let limits = WebSocketLimits {
        write_timeout: after,
        ..WebSocketLimits::default()
    };
    let (_client, mut server) = pair(WebSocketLimits::default(), limits).await;
    // The buffers of the system take some megabytes.
    let filling = async {
        loop {
            if let Err(error) = server.send(WsMessage::Binary(vec![0; 1 << 20])).await {
                return error;
            }
        }
    };
    let error = timeout(Duration::from_secs(20), filling).await;
    assert!(
        matches!(error, Ok(WebSocketError::WriteTimedOut { after: found }) if found == after),
        "{error:?}"
    );
}

#[tokio::test]
async fn pings_are_answered_by_a_peer_that_reads() {
    let (mut client, mut server) = default_pair().await;
    client.ping().await.unwrap();
    server.send(text("after the ping")).await.unwrap();
    let reading = async { while let Ok(Some(_)) = server.receive().await {} };
    tokio::select! {
        () = reading => unreachable!("the client keeps its connection"),
        () = async {
            let mut incoming = Vec::new();
            for _ in 0..2 {
                incoming.push(client.receive().await.unwrap().unwrap());
            }
            assert!(incoming.contains(&Incoming::Pong(None)), "{incoming:?}");
        } => {}
    }
}

#[tokio::test]
async fn numbered_ping_is_answered_behind_what_was_sent_before_it() {
    let (mut client, mut server) = default_pair().await;
    client
        .send_all_and_ping([text("one"), text("two")], 0x0102_0304_0506_0708)
        .await
        .unwrap();
    for expected in ["one", "two"] {
        let received = server.receive().await.unwrap();
        assert_eq!(received, Some(Incoming::Message(text(expected))));
    }
    let reading = async { while let Ok(Some(_)) = server.receive().await {} };
    tokio::select! {
        () = reading => unreachable!("the client keeps its connection"),
        pong = client.receive() => {
            assert_eq!(pong.unwrap(), Some(Incoming::Pong(Some(0x0102_0304_0506_0708))));
        }
    }
}

#[tokio::test]
async fn a_close_ends_the_peers_stream_without_an_error() {
    let (client, mut server) = default_pair().await;
    client.close(CloseCode::GoingAway, &"é".repeat(100)).await;
    assert_eq!(server.receive().await.unwrap(), None);
    assert!(server.send(text("too late")).await.is_err());
}

#[tokio::test]
async fn a_vanished_peer_is_an_error() {
    let (listener, address) = listen().await;
    let url = format!("ws://{address}");
    let accept = async { listener.accept().await.unwrap().0 };
    let dial = WebSocket::dial(&url, WebSocketLimits::default());
    let (stream, client) = tokio::join!(
        async {
            WebSocket::accept(accept.await, WebSocketLimits::default())
                .await
                .unwrap()
                .0
        },
        dial
    );
    let mut client = client.unwrap();
    drop(stream);
    assert!(client.receive().await.is_err());
}

#[tokio::test]
async fn a_peer_that_sends_junk_breaks_the_protocol() {
    let (listener, address) = listen().await;
    let mut peer = TcpStream::connect(address).await.unwrap();
    peer.write_all(
        b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
          Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )
    .await
    .unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let (mut server, _) = WebSocket::accept(stream, WebSocketLimits::default())
        .await
        .unwrap();
    let mut answer = [0; 12];
    peer.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 101");
    peer.write_all(&[0xff; 64]).await.unwrap();
    assert!(matches!(
        server.receive().await,
        Err(WebSocketError::Protocol { .. })
    ));
}

#[tokio::test]
async fn a_ping_is_answered_when_its_reader_says_so_and_not_before() {
    let (client, mut server) = default_pair().await;
    let (mut sender, mut receiver) = client.split_to_answer();
    for number in [7, 8] {
        let pushed = [text("pushed")];
        server.send_all_and_ping(pushed, number).await.unwrap();
    }
    let mut pings = Vec::new();
    while pings.len() < 2 {
        match receiver.receive().await.unwrap() {
            Some(Heard::Ping(ping)) => pings.push(ping),
            heard => {
                let expected = Heard::Incoming(Incoming::Message(text("pushed")));
                assert_eq!(heard, Some(expected));
            }
        }
    }
    // Writing and reading go on, and do not let an answer slip out.
    sender.send(text("said meanwhile")).await.unwrap();
    let meanwhile = timeout(Duration::from_millis(50), receiver.receive()).await;
    assert!(meanwhile.is_err(), "{meanwhile:?}");
    let ping = Some(pings.remove(0));
    let later = [text("said later")];
    sender.answer_and_send_all(ping, later).await.unwrap();
    let mut heard = Vec::new();
    while heard.last() != Some(&Incoming::Message(text("said later"))) {
        heard.push(server.receive().await.unwrap().unwrap());
    }
    // Empty pongs answer nothing.
    heard.retain(|incoming| *incoming != Incoming::Pong(None));
    let expected = [
        Incoming::Message(text("said meanwhile")),
        Incoming::Pong(Some(7)),
        Incoming::Message(text("said later")),
    ];
    assert_eq!(heard, expected);
    let ping = Some(pings.remove(0));
    sender.answer_and_send_all(ping, []).await.unwrap();
    let last = server.receive().await.unwrap();
    assert_eq!(last, Some(Incoming::Pong(Some(8))));
}
