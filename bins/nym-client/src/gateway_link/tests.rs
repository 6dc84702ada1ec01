//! Real sockets; the test is the gateway on one side and the engine on the other.

use nym_packet::address::HopAddress;
use nym_packet::frame::PacketMode;
use nym_packet::geometry::PacketSize;
use nym_packet::keys::IdentityKeyPair;
use nym_protocol::ws::WsMessage;
use nym_transport::stream::Stream;
use nym_transport::tls::{Acceptor, Handshakes, LinkPolicy, TlsIdentity};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;

const KEYS: [u8; SharedKeys::LEN] = [7; SharedKeys::LEN];

fn gateway_identity() -> IdentityKeyPair {
    IdentityKeyPair::from_seed(&[2; 32])
}

struct Gateway {
    listener: TcpListener,
    keys: SharedKeys,
}

impl Gateway {
    async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self {
            listener,
            keys: SharedKeys::from_bytes(&KEYS),
        }
    }

    fn url(&self) -> String {
        format!("ws://{}", self.listener.local_addr().unwrap())
    }

    /// Takes a connection and answers its login.
    async fn admit(&self, status: bool) -> WebSocket {
        let (stream, _) = self.listener.accept().await.unwrap();
        self.answer(stream.into(), status).await
    }

    async fn answer(&self, stream: Stream, status: bool) -> WebSocket {
        let accepted = WebSocket::accept(stream, WebSocketLimits::default()).await;
        let (mut socket, _) = accepted.unwrap();
        let Some(Incoming::Message(WsMessage::Text(request))) = socket.receive().await.unwrap()
        else {
            panic!("a client logs in first");
        };
        assert!(request.contains(r#""type":"authenticate""#), "{request}");
        let answer = format!(r#"{{"type":"authenticate","status":{status}}}"#);
        socket.send(WsMessage::Text(answer)).await.unwrap();
        socket
    }

    async fn packet(&self, socket: &mut WebSocket) -> MixPacket {
        loop {
            if let Incoming::Message(WsMessage::Binary(frame)) =
                socket.receive().await.unwrap().unwrap()
            {
                return MixPacket::from_bytes(&self.keys.open(&frame).unwrap()).unwrap();
            }
        }
    }
}

/// The link, and what the engine would hold of it.
struct Link {
    inputs: mpsc::Receiver<EngineInput>,
    packets: mpsc::Sender<MixPacket>,
    status: watch::Receiver<ClientStatus>,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
}

impl Link {
    /// A link to a gateway of 0.11, in clear.
    fn start(listener: String, announced: Option<String>) -> Self {
        let announced = Some(GatewayPlace {
            url: announced.unwrap_or_else(|| listener.clone()),
            speaks_tls: false,
        });
        Self::with_switch(listener, announced, LegacyPeers::Allow)
    }

    fn with_switch(
        listener: String,
        announced: Option<GatewayPlace>,
        legacy_peers: LegacyPeers,
    ) -> Self {
        let (inputs_in, inputs) = mpsc::channel(16);
        let (packets, packets_out) = mpsc::channel(16);
        let status = Arc::new(watch::Sender::new(ClientStatus::default()));
        let link = GatewayLink {
            client: IdentityKeyPair::from_seed(&[1; 32]).public_key(),
            keys: Arc::new(SharedKeys::from_bytes(&KEYS)),
            listener,
            announced: watch::channel(announced).1,
            gateway: gateway_identity().public_key(),
            legacy_peers,
            connect_timeout: Duration::from_secs(5),
            clock: Clock::start(),
            inputs: inputs_in,
            packets: packets_out,
            status: Arc::clone(&status),
            rng: nym_daemon::entropy(),
        };
        let shutdown = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(link.run(shutdown.clone()));
        let status = status.subscribe();
        Self {
            inputs,
            packets,
            status,
            shutdown,
            tasks,
        }
    }

    async fn input(&mut self) -> EngineInput {
        self.inputs.recv().await.unwrap()
    }
}

/// A link that is up, and both ends of it.
async fn connected() -> (Gateway, Link, WebSocket) {
    let gateway = Gateway::open().await;
    let mut link = Link::start(gateway.url(), None);
    let socket = gateway.admit(true).await;
    assert!(matches!(link.input().await, EngineInput::LinkUp));
    (gateway, link, socket)
}

fn packet(fill: u8) -> MixPacket {
    let next_hop = HopAddress::from(std::net::SocketAddr::from(([10, 0, 0, 1], 1789)));
    let bytes = vec![fill; PacketSize::Regular.packet_len()];
    MixPacket::new(PacketMode::Mix, next_hop, bytes).unwrap()
}

#[tokio::test]
async fn packets_go_out_and_pushes_come_in() {
    let (gateway, mut link, mut socket) = connected().await;
    assert!(
        link.status
            .wait_for(|status| status.connected)
            .await
            .is_ok()
    );

    link.packets.send(packet(1)).await.unwrap();
    assert_eq!(
        gateway.packet(&mut socket).await.to_bytes(),
        packet(1).to_bytes()
    );
    let push = WsMessage::Binary(gateway.keys.seal(b"pushed"));
    socket.send(push).await.unwrap();
    let EngineInput::Push(pushed) = link.input().await else {
        panic!("a push is handed on");
    };
    assert_eq!(pushed.content, b"pushed");

    link.shutdown.cancel();
    while let Some(ended) = link.tasks.join_next().await {
        ended.unwrap();
    }
    while let Ok(Some(_)) = socket.receive().await {}
}

#[tokio::test]
async fn a_ping_behind_a_push_is_answered_when_what_was_pushed_is_safe_and_not_before() {
    let (gateway, mut link, mut socket) = connected().await;
    let mut questions = Vec::new();
    // Reading goes on behind a ping that is not answered.
    for number in 1..=3 {
        let push = WsMessage::Binary(gateway.keys.seal(b"pushed"));
        socket.send_all_and_ping([push], number).await.unwrap();
        assert!(matches!(link.input().await, EngineInput::Push(_)));
        let EngineInput::Question(safe) = link.input().await else {
            panic!("a question follows the push");
        };
        questions.push(safe);
    }
    // Writing goes on as well, and does not let an answer slip out.
    link.packets.send(packet(1)).await.unwrap();
    let patience = Duration::from_millis(100);
    let early = timeout(patience, answered(&mut socket)).await;
    assert!(early.is_err(), "answered before it was safe: {early:?}");
    let [first, second, third] = <[_; 3]>::try_from(questions).unwrap();
    first.send(()).unwrap();
    assert_eq!(answered(&mut socket).await, 1);
    third.send(()).unwrap();
    let early = timeout(patience, answered(&mut socket)).await;
    assert!(early.is_err(), "answers come in their order: {early:?}");
    second.send(()).unwrap();
    assert_eq!(answered(&mut socket).await, 3, "one for both");
}

/// The number of the ping that is answered next.
async fn answered(socket: &mut WebSocket) -> u64 {
    loop {
        if let Incoming::Pong(Some(number)) = socket.receive().await.unwrap().unwrap() {
            return number;
        }
    }
}

/// Pushes and asks so many times, and then tells the link at once that all of it is safe.
async fn push_and_ask(gateway: &Gateway, socket: &mut WebSocket, link: &mut Link, count: u64) {
    let mut questions = Vec::new();
    for number in 1..=count {
        let push = WsMessage::Binary(gateway.keys.seal(b"pushed"));
        socket.send_all_and_ping([push], number).await.unwrap();
        assert!(matches!(link.input().await, EngineInput::Push(_)));
        let EngineInput::Question(safe) = link.input().await else {
            panic!("a question follows the push");
        };
        questions.push(safe);
    }
    for safe in questions {
        safe.send(()).unwrap();
    }
}

#[tokio::test]
async fn an_answer_leaves_with_the_next_packet() {
    let (gateway, mut link, mut socket) = connected().await;
    tokio::time::pause();
    push_and_ask(&gateway, &mut socket, &mut link, 1).await;
    let early = timeout(Duration::from_millis(30), answered(&mut socket)).await;
    assert!(early.is_err(), "answered without a packet: {early:?}");
    let sent = tokio::time::Instant::now();
    link.packets.send(packet(1)).await.unwrap();
    assert_eq!(answered(&mut socket).await, 1);
    assert_eq!(sent.elapsed(), Duration::ZERO);
    gateway.packet(&mut socket).await;
}

#[tokio::test]
async fn an_answer_leaves_alone_when_no_packet_comes_for_50_ms() {
    let (gateway, mut link, mut socket) = connected().await;
    tokio::time::pause();
    push_and_ask(&gateway, &mut socket, &mut link, 1).await;
    let due = tokio::time::Instant::now();
    assert_eq!(answered(&mut socket).await, 1);
    let waited = due.elapsed();
    assert!(
        (Duration::from_millis(50)..Duration::from_millis(60)).contains(&waited),
        "{waited:?}"
    );
}

#[tokio::test]
async fn half_of_the_pings_that_a_gateway_may_have_under_way_are_answered_at_once() {
    let (gateway, mut link, mut socket) = connected().await;
    tokio::time::pause();
    push_and_ask(&gateway, &mut socket, &mut link, 4).await;
    let due = tokio::time::Instant::now();
    assert_eq!(answered(&mut socket).await, 4, "one for all");
    assert_eq!(due.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn nothing_more_is_read_while_too_many_pushes_are_not_safe_but_acknowledgements_are() {
    let (gateway, mut link, mut socket) = connected().await;
    let mut pushes = Vec::new();
    let acknowledgement = WsMessage::Binary(gateway.keys.seal(&[1; 21]));
    let message = WsMessage::Binary(gateway.keys.seal(b"pushed"));
    for count in 1..=UNSAFE_PUSHES_MAX {
        let both = [acknowledgement.clone(), message.clone()];
        socket.send_all(both).await.unwrap();
        while pushes.len() < 2 * count {
            let EngineInput::Push(push) = link.input().await else {
                panic!("a push is handed on");
            };
            pushes.push(push);
        }
    }
    let both = [acknowledgement.clone(), message, acknowledgement];
    socket.send_all(both).await.unwrap();
    assert!(matches!(link.input().await, EngineInput::Push(_)));
    let patience = Duration::from_millis(100);
    let more = timeout(patience, link.input()).await;
    assert!(more.is_err(), "there is no room: {more:?}");
    drop(pushes);
    for _ in 0..2 {
        assert!(matches!(link.input().await, EngineInput::Push(_)));
    }
}

#[tokio::test]
async fn a_lost_link_is_made_anew_and_what_was_queued_meanwhile_is_dropped() {
    let gateway = Gateway::open().await;
    let mut link = Link::start(gateway.url(), None);
    let socket = gateway.admit(true).await;
    assert!(matches!(link.input().await, EngineInput::LinkUp));
    socket.close(CloseCode::GoingAway, "").await;
    assert!(matches!(link.input().await, EngineInput::LinkDown));

    for _ in 0..10 {
        link.packets.send(packet(1)).await.unwrap();
    }
    let mut socket = gateway.admit(true).await;
    assert!(matches!(link.input().await, EngineInput::LinkUp));
    link.packets.send(packet(2)).await.unwrap();
    assert_eq!(
        gateway.packet(&mut socket).await.to_bytes(),
        packet(2).to_bytes()
    );
}

#[tokio::test]
async fn a_refusal_is_followed_by_another_attempt_on_another_socket() {
    let gateway = Gateway::open().await;
    let mut link = Link::start(gateway.url(), None);
    let mut refused = gateway.admit(false).await;
    // It is left: nothing more is said there.
    let rest = refused.receive().await;
    assert!(
        !matches!(rest, Ok(Some(Incoming::Message(_)))),
        "{rest:?} on the socket of the refused login"
    );
    let _admitted = gateway.admit(true).await;
    assert!(matches!(link.input().await, EngineInput::LinkUp));
}

#[tokio::test]
async fn a_gateway_that_moved_is_found_where_the_topology_says() {
    let gone = Gateway::open().await.url();
    let gateway = Gateway::open().await;
    let mut link = Link::start(gone, Some(gateway.url()));
    let _socket = gateway.admit(true).await;
    assert!(matches!(link.input().await, EngineInput::LinkUp));
}

#[tokio::test]
async fn attempts_go_on_for_ever_with_growing_pauses_and_a_socket_each() {
    let gateway = Gateway::open().await;
    let mut link = Link::start(gateway.url(), None);
    let (first, _) = gateway.listener.accept().await.unwrap();
    drop(first);
    tokio::time::pause();
    let mut failed_at = tokio::time::Instant::now();
    let mut peers = Vec::new();
    for secs in [1, 2, 4, 8, 16, 32, 60, 60, 60, 60] {
        let (stream, peer) = tokio::select! {
            accepted = gateway.listener.accept() => accepted.unwrap(),
            _ = link.tasks.join_next() => panic!("it has given up"),
        };
        let pause = failed_at.elapsed();
        drop(stream);
        failed_at = tokio::time::Instant::now();
        peers.push(peer);
        let full = Duration::from_secs(secs);
        let slack = Duration::from_millis(100);
        assert!(
            (full / 2..=full + slack).contains(&pause),
            "{pause:?} of {full:?}"
        );
    }
    peers.sort();
    peers.dedup();
    assert_eq!(peers.len(), 10, "each attempt has a socket of its own");
}

#[tokio::test]
async fn a_gateway_without_a_sign_of_life_is_left_and_one_that_answers_pings_is_not() {
    let (gateway, mut link, mut socket) = connected().await;
    tokio::time::pause();
    // Reading answers the pings.
    let quiet = timeout(Duration::from_secs(600), socket.receive()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    assert!(link.inputs.try_recv().is_err());

    let silent_since = tokio::time::Instant::now();
    assert!(matches!(link.input().await, EngineInput::LinkDown));
    let noticed = silent_since.elapsed();
    assert!(
        (PING_INTERVAL..=SILENCE_MAX).contains(&noticed),
        "{noticed:?}"
    );
    let _again = gateway.admit(true).await;
}

#[tokio::test]
async fn the_link_is_encrypted_whatever_the_configured_url_and_the_topology_say() {
    let gateway = Gateway::open().await;
    let policy = LinkPolicy {
        legacy: LegacyPeers::Deny.into(),
        unix_secs: unix_time_secs,
        handshakes: Handshakes::default(),
    };
    let acceptor = Acceptor::for_clients(&TlsIdentity::new(&gateway_identity()), policy, None);
    // A directory that hides the gateway's TLS changes nothing.
    let place = GatewayPlace {
        url: gateway.url(),
        speaks_tls: false,
    };
    let mut link = Link::with_switch(gateway.url(), Some(place), LegacyPeers::Deny);
    let (stream, _) = gateway.listener.accept().await.unwrap();
    let stream = acceptor.accept(stream).await.unwrap();
    assert!(stream.is_encrypted());
    let _socket = gateway.answer(stream, true).await;
    assert!(matches!(link.input().await, EngineInput::LinkUp));
}

#[tokio::test]
async fn a_gateway_that_nobody_knows_yet_is_tried_with_tls_first_and_plain_if_that_is_allowed() {
    let gateway = Gateway::open().await;
    let mut link = Link::with_switch(gateway.url(), None, LegacyPeers::Allow);
    let (first, _) = gateway.listener.accept().await.unwrap();
    let mut byte = [0];
    first.peek(&mut byte).await.unwrap();
    assert_eq!(byte, [0x16], "a handshake of TLS");
    drop(first);
    let _socket = gateway.admit(true).await;
    assert!(matches!(link.input().await, EngineInput::LinkUp));
}
