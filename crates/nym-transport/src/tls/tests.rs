//! Handshakes over real sockets: who is let in, who is not, and what is said about it.

use std::sync::Mutex;

use nym_packet::frame::{Frame, PacketMode};
use nym_packet::keys::{IdentityKeyPair, IdentityPublicKey, PublicKey};
use nym_protocol::validator::Topology;
use nym_protocol::validator::topology::MixnodeDescriptor;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, SupportedCipherSuite};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::*;
use crate::connections::{Connections, ConnectionsConfig};
use crate::frames::{FrameReader, ReadTimeouts};
use crate::legacy::LegacyPeers;
use crate::peers::{KnownPeersOnly, Peers};
use crate::stream::Stream;
use crate::websocket::{DialError, WebSocket, WebSocketLimits};

fn pair(seed: u8) -> IdentityKeyPair {
    IdentityKeyPair::from_seed(&[seed; 32])
}

fn identity(seed: u8) -> TlsIdentity {
    TlsIdentity::new(&pair(seed))
}

fn key(seed: u8) -> IdentityPublicKey {
    pair(seed).public_key()
}

/// New Year 2027.
fn now() -> u64 {
    1_798_761_600
}

fn policy(legacy: &str) -> LinkPolicy {
    LinkPolicy {
        legacy: legacy.parse::<LegacyPeers>().unwrap().into(),
        unix_secs: now,
        handshakes: Handshakes::default(),
    }
}

/// A port that takes one connection.
struct Port {
    listener: TcpListener,
    acceptor: Acceptor,
}

impl Port {
    async fn new(acceptor: Acceptor) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { listener, acceptor }
    }

    fn address(&self) -> std::net::SocketAddr {
        self.listener.local_addr().unwrap()
    }

    async fn accept(&self) -> Result<Stream, LinkRefusal> {
        let (stream, _) = self.listener.accept().await.unwrap();
        self.acceptor.accept(stream).await
    }

    async fn dial(&self) -> TcpStream {
        TcpStream::connect(self.address()).await.unwrap()
    }
}

fn topology(nodes: &[(u8, std::net::SocketAddr, bool)]) -> Topology {
    let mut topology = Topology::default();
    topology.layers[0] = nodes
        .iter()
        .map(|&(seed, mix_address, speaks_tls)| MixnodeDescriptor {
            identity: key(seed),
            sphinx_key: PublicKey::from_bytes([seed; 32]),
            mix_address,
            layer: 1,
            speaks_tls,
        })
        .collect();
    topology
}

#[tokio::test]
async fn nodes_prove_their_keys_to_each_other_with_the_one_group_and_suite() {
    let policy = policy("deny");
    let known = Peers::default();
    known.update(&topology(&[(2, ([10, 0, 0, 1], 1).into(), true)]));
    let port = Port::new(Acceptor::for_nodes(
        &identity(1),
        policy.clone(),
        Some(KnownPeersOnly::new(known, true)),
    ))
    .await;
    let dialled = async {
        let expected = Expected::OneOf(vec![key(9), key(1)]);
        encrypt(port.dial().await, expected, Some(&identity(2))).await
    };
    let (accepted, dialled) = tokio::join!(port.accept(), dialled);
    let (mut accepted, mut dialled) = (accepted.unwrap(), dialled.unwrap());
    for stream in [&accepted, &dialled] {
        let Stream::Tls(stream) = stream else {
            panic!("the link is not encrypted");
        };
        let (_, state) = stream.get_ref();
        let group = state.negotiated_key_exchange_group().unwrap();
        assert_eq!(group.name(), GROUP);
        let suite = state.negotiated_cipher_suite().unwrap();
        assert_eq!(suite, cipher_suite::TLS13_AES_128_GCM_SHA256);
        assert_eq!(state.peer_certificates().unwrap().len(), 1);
    }
    dialled.write_all(b"ping").await.unwrap();
    dialled.flush().await.unwrap();
    let mut heard = [0; 4];
    accepted.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"ping");
    assert_eq!(policy.handshakes.count(Side::Accepted, "tls"), 1);
}

#[tokio::test]
async fn a_node_that_dials_somebody_else_than_expected_hangs_up() {
    let port = Port::new(Acceptor::for_nodes(&identity(1), policy("deny"), None)).await;
    let dialled = async {
        let expected = Expected::OneOf(vec![key(3)]);
        encrypt(port.dial().await, expected, Some(&identity(2))).await
    };
    let (accepted, dialled) = tokio::join!(port.accept(), dialled);
    assert_eq!(dialled.unwrap_err(), LinkRefusal::WrongKey);
    assert!(matches!(accepted, Err(LinkRefusal::Alert { .. })));
}

#[tokio::test]
async fn a_node_that_is_in_no_topology_is_refused_where_that_is_asked_for() {
    let rule = KnownPeersOnly::new(Peers::default(), true);
    let off = rule.clone();
    for (known, is_refused) in [
        (None, false),
        (Some(rule), true),
        (Some(off.clone()), false),
    ] {
        off.set(is_refused);
        let port = Port::new(Acceptor::for_nodes(&identity(1), policy("deny"), known)).await;
        let dialled = async {
            let expected = Expected::OneOf(vec![key(1)]);
            encrypt(port.dial().await, expected, Some(&identity(2))).await
        };
        let (accepted, _dialled) = tokio::join!(port.accept(), dialled);
        let refusal = accepted.err();
        assert_eq!(refusal, is_refused.then_some(LinkRefusal::UnknownPeer));
    }
}

#[tokio::test]
async fn a_node_without_a_key_is_refused_at_the_port_of_nodes() {
    let port = Port::new(Acceptor::for_nodes(&identity(1), policy("deny"), None)).await;
    let dialled = async { encrypt(port.dial().await, Expected::OneOf(vec![key(1)]), None).await };
    let (accepted, _dialled) = tokio::join!(port.accept(), dialled);
    assert_eq!(accepted.unwrap_err(), LinkRefusal::RawPublicKey);
}

#[tokio::test]
async fn a_client_pins_its_gateway_and_stays_anonymous() {
    let port = Port::new(Acceptor::for_clients(&identity(1), policy("deny"), None)).await;
    // Whatever the scheme says, the link is encrypted.
    for scheme in ["ws", "wss"] {
        let url = format!("{scheme}://{}", port.address());
        let accept = async {
            let stream = port.accept().await.unwrap();
            assert!(stream.is_encrypted());
            WebSocket::accept(stream, WebSocketLimits::default()).await
        };
        let dial = WebSocket::dial_tls(&url, key(1), WebSocketLimits::default());
        let (accepted, dialled) = tokio::join!(accept, dial);
        accepted.unwrap();
        dialled.unwrap();
    }
    let url = format!("ws://{}", port.address());
    let dial = WebSocket::dial_tls(&url, key(2), WebSocketLimits::default());
    let (_, dialled) = tokio::join!(port.accept(), dial);
    let Err(DialError::Link { refusal, .. }) = dialled else {
        panic!("somebody else was taken for the gateway");
    };
    assert_eq!(refusal, LinkRefusal::WrongKey);
}

/// What a port says to the first bytes of a plain peer, and what the peer reads.
async fn say(acceptor: Acceptor, bytes: &[u8]) -> (Result<Stream, LinkRefusal>, Vec<u8>) {
    let port = Port::new(acceptor).await;
    let mut stream = port.dial().await;
    stream.write_all(bytes).await.unwrap();
    let accepted = port.accept().await;
    let mut answer = Vec::new();
    if accepted.is_err() {
        // A connection that is closed with unread bytes is reset, which ends the answer.
        let _ = stream.read_to_end(&mut answer).await;
    }
    (accepted, answer)
}

#[tokio::test]
async fn plain_peers_are_let_in_only_while_the_switch_says_so() {
    for (legacy, result) in [
        ("allow", "plain"),
        ("allow until 2027-01-02", "plain"),
        ("allow until 2027-01-01", "legacy_expired"),
        ("deny", "legacy_denied"),
    ] {
        let policy = policy(legacy);
        for size in 1..=3 {
            let port = Acceptor::for_nodes(&identity(1), policy.clone(), None);
            let (stream, _) = say(port, &[size, 0, 7]).await;
            match stream {
                Ok(mut stream) => {
                    let mut first = [0; 3];
                    stream.read_exact(&mut first).await.unwrap();
                    assert_eq!(first, [size, 0, 7], "the first byte was only looked at");
                }
                Err(refusal) => assert_eq!(refusal.label(), result),
            }
        }
        let port = Acceptor::for_clients(&identity(1), policy.clone(), None);
        let (stream, answer) = say(port, b"GET / HTTP/1.1\r\n\r\n").await;
        let answer = String::from_utf8(answer).unwrap();
        if let Err(refusal) = stream {
            assert_eq!(refusal.label(), result);
            assert!(
                answer.is_empty() || answer.starts_with("HTTP/1.1 426 "),
                "{answer}"
            );
        }
        assert_eq!(
            policy.handshakes.count(Side::Accepted, result),
            4,
            "{legacy}"
        );
    }
}

#[tokio::test]
async fn each_port_takes_only_the_plain_protocol_of_its_own() {
    let nodes = Acceptor::for_nodes(&identity(1), policy("allow"), None);
    let (stream, _) = say(nodes, b"GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!(stream.unwrap_err(), LinkRefusal::OtherProtocol);
    for bytes in [&[1, 0][..], &[0x15, 3], b"SSH-2.0", &[0]] {
        let clients = Acceptor::for_clients(&identity(1), policy("allow"), None);
        let (stream, _) = say(clients, bytes).await;
        assert_eq!(stream.unwrap_err(), LinkRefusal::OtherProtocol);
    }
}

#[tokio::test]
async fn a_peer_that_says_nothing_or_stops_halfway_is_cut_off() {
    let port = Port::new(Acceptor::for_nodes(&identity(1), policy("allow"), None)).await;
    for bytes in [&[][..], &[0x16, 3, 1]] {
        let mut stream = port.dial().await;
        stream.write_all(bytes).await.unwrap();
        let (accepted, _) = port.listener.accept().await.unwrap();
        tokio::time::pause();
        let outcome = port.acceptor.accept(accepted).await;
        tokio::time::resume();
        let after = HANDSHAKE_TIMEOUT;
        assert_eq!(outcome.unwrap_err(), LinkRefusal::TimedOut { after });
    }
}

/// A `ClientHello` of TLS 1.2 (RFC 5246, section 7.4.1.2), behind its record and handshake headers.
fn hello_of_tls_1_2() -> Vec<u8> {
    let mut hello = vec![3, 3];
    hello.extend([7; 32]); // random
    hello.push(0); // no session to resume
    hello.extend([0, 2, 0xc0, 0x2b]); // ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
    hello.extend([1, 0]); // no compression
    let extensions = [
        &[0, 10, 0, 4, 0, 2, 0, 29][..], // group x25519
        &[0, 13, 0, 4, 0, 2, 4, 3],      // ecdsa_secp256r1_sha256
        &[0, 11, 0, 2, 1, 0],            // uncompressed points
    ]
    .concat();
    hello.extend([0, u8::try_from(extensions.len()).unwrap()]);
    hello.extend(extensions);
    let len = u8::try_from(hello.len()).unwrap();
    [&[0x16, 3, 1, 0, len + 4, 1, 0, 0, len][..], &hello].concat()
}

#[tokio::test]
async fn tls_1_2_is_refused_by_name() {
    let policy = policy("allow");
    for acceptor in [
        Acceptor::for_nodes(&identity(1), policy.clone(), None),
        Acceptor::for_clients(&identity(1), policy.clone(), None),
    ] {
        let (stream, answer) = say(acceptor, &hello_of_tls_1_2()).await;
        assert_eq!(stream.unwrap_err(), LinkRefusal::TlsVersion);
        // A fatal alert, protocol_version.
        assert_eq!(answer, [0x15, 3, 3, 0, 2, 2, 70]);
    }
    assert_eq!(policy.handshakes.count(Side::Accepted, "tls_version"), 2);
}

/// A TLS client that is not one of ours.
async fn stranger(
    port: &Port,
    suites: Vec<SupportedCipherSuite>,
    groups: Vec<&'static dyn SupportedKxGroup>,
    roots: RootCertStore,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let provider = CryptoProvider {
        cipher_suites: suites,
        kx_groups: groups,
        ..default_provider()
    };
    let config = ClientConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("gateway.example").unwrap();
    let stream = port.dial().await;
    TlsConnector::from(std::sync::Arc::new(config))
        .connect(name, stream)
        .await
}

#[tokio::test]
async fn other_suites_groups_and_certificates_are_each_refused_by_name() {
    let (one_suite, one_group) = (
        vec![cipher_suite::TLS13_AES_128_GCM_SHA256],
        vec![kx_group::X25519MLKEM768],
    );
    let cases = [
        (
            vec![cipher_suite::TLS13_CHACHA20_POLY1305_SHA256],
            one_group.clone(),
            LinkRefusal::CipherSuite,
        ),
        (
            one_suite.clone(),
            vec![kx_group::X25519],
            LinkRefusal::KeyAgreement,
        ),
        (one_suite, one_group, LinkRefusal::RawPublicKey),
    ];
    for (suites, groups, refusal) in cases {
        let policy = policy("allow");
        for acceptor in [
            Acceptor::for_nodes(&identity(1), policy.clone(), None),
            Acceptor::for_clients(&identity(1), policy.clone(), None),
        ] {
            let port = Port::new(acceptor).await;
            let dialled = stranger(
                &port,
                suites.clone(),
                groups.clone(),
                RootCertStore::empty(),
            );
            let (accepted, dialled) = tokio::join!(port.accept(), dialled);
            assert_eq!(accepted.unwrap_err(), refusal);
            assert!(dialled.is_err());
        }
        let counted = policy.handshakes.count(Side::Accepted, refusal.label());
        assert_eq!(counted, 2);
    }
}

/// A certificate of its own authority, in two files.
fn write_certificate(dir: &std::path::Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["gateway.example".to_owned()]).unwrap();
    std::fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

async fn browse(
    port: &Port,
    group: &'static dyn SupportedKxGroup,
    trusted: &CertificateDer<'static>,
) -> Result<Stream, LinkRefusal> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let suites = default_provider().cipher_suites;
    let dialled = stranger(port, suites, vec![group], roots);
    let (accepted, dialled) = tokio::join!(port.accept(), dialled);
    if accepted.is_ok() {
        dialled.unwrap();
    }
    accepted
}

#[tokio::test]
async fn browsers_get_the_operators_certificate_on_the_port_of_clients() {
    let dir = tempfile::tempdir().unwrap();
    let first = write_certificate(dir.path());
    let (cert, secret) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let web = WebCertificate::load(&cert, &secret).unwrap();
    let policy = policy("deny");
    let port = Port::new(Acceptor::for_clients(
        &identity(1),
        policy.clone(),
        Some(web),
    ))
    .await;
    for group in [kx_group::X25519MLKEM768, kx_group::X25519] {
        assert!(browse(&port, group, &first).await.unwrap().is_encrypted());
    }
    assert_eq!(policy.handshakes.count(Side::Accepted, "tls"), 1);
    assert_eq!(policy.handshakes.count(Side::Accepted, "tls_classical"), 1);
    // Our own clients still get the raw key.
    let dialled = async { encrypt(port.dial().await, Expected::OneOf(vec![key(1)]), None).await };
    let (accepted, dialled) = tokio::join!(port.accept(), dialled);
    assert!(accepted.is_ok() && dialled.is_ok());
}

#[tokio::test]
async fn a_renewed_certificate_is_used_and_a_broken_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let first = write_certificate(dir.path());
    let (cert, secret) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let web = WebCertificate::load(&cert, &secret).unwrap();
    let port = Port::new(Acceptor::for_clients(
        &identity(1),
        policy("deny"),
        Some(web),
    ))
    .await;
    let later = || async {
        tokio::time::pause();
        tokio::time::advance(std::time::Duration::from_secs(11)).await;
        tokio::time::resume();
    };
    std::fs::write(&cert, "no certificate").unwrap();
    later().await;
    assert!(browse(&port, kx_group::X25519, &first).await.is_ok());
    let second = write_certificate(dir.path());
    later().await;
    assert!(browse(&port, kx_group::X25519, &second).await.is_ok());
    assert!(browse(&port, kx_group::X25519, &first).await.is_err());
}

#[test]
fn files_that_are_no_certificate_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, secret) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let error = |cert: &std::path::Path, secret: &std::path::Path| {
        WebCertificate::load(cert, secret).unwrap_err().to_string()
    };
    assert!(error(&cert, &secret).contains("cert.pem"));
    write_certificate(dir.path());
    assert!(WebCertificate::load(&cert, &secret).is_ok());
    assert!(error(&secret, &secret).contains("there is no certificate in it"));
    let other = tempfile::tempdir().unwrap();
    write_certificate(other.path());
    let error = error(&cert, &other.path().join("key.pem"));
    assert!(error.contains("do not belong together"), "{error}");
}

/// The lines that are logged while this lives, on this thread.
#[derive(Clone, Default)]
struct Log(std::sync::Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    fn listen(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || log.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_log_says_why_a_peer_was_refused_and_never_who_it_was() {
    let log = Log::default();
    let _listening = log.listen();
    let expired = Acceptor::for_nodes(&identity(1), policy("allow until 2026-06-01"), None);
    let _ = say(expired, &[1, 0]).await;
    let strict = Acceptor::for_clients(&identity(1), policy("deny"), None);
    for _ in 0..3 {
        let _ = say(strict.clone(), b"GET / HTTP/1.1\r\n\r\n").await;
    }
    let _ = say(strict.clone(), &hello_of_tls_1_2()).await;
    let port = Port::new(strict).await;
    for (suites, groups) in [
        (
            vec![cipher_suite::TLS13_CHACHA20_POLY1305_SHA256],
            vec![kx_group::X25519MLKEM768],
        ),
        (
            vec![cipher_suite::TLS13_AES_128_GCM_SHA256],
            vec![kx_group::X25519],
        ),
    ] {
        let dialled = stranger(&port, suites, groups, RootCertStore::empty());
        let _ = tokio::join!(port.accept(), dialled);
    }
    let port = Port::new(Acceptor::for_nodes(&identity(1), policy("deny"), None)).await;
    let own = dialling("deny", false);
    own.peers.update(&topology(&[(9, port.address(), true)]));
    own.connections.send(port.address(), frame(0)).unwrap();
    let _ = port.accept().await;
    while own.connections.counts().dials_failed == 0 {
        tokio::task::yield_now().await;
    }
    let text = log.text();
    for line in [
        "the peer does not offer TLS 1.3",
        "the peer offers no cipher suite of ours, which is TLS_AES_128_GCM_SHA256",
        "the peer offers no key agreement of ours, which is X25519MLKEM768",
        "the peer proves another identity key than its bond names",
        "the peer speaks plain 0.11, and the legacy switch expired on 2026-06-01",
        "the peer speaks plain 0.11, and legacy_peers is \"deny\"",
    ] {
        assert_eq!(text.matches(line).count(), 1, "{line} in {text}");
    }
    assert!(!text.contains("127.0.0.1"), "{text}");
}

// ---- links between nodes, as connections make them ----

struct Dialling {
    peers: Peers,
    policy: LinkPolicy,
    connections: Connections,
}

impl Dialling {
    /// Waits until a frame was dropped because nobody may be dialled for it.
    async fn until_refused(&self) {
        let refused = async {
            while self.connections.counts().dropped_address_refused == 0 {
                tokio::task::yield_now().await;
            }
        };
        let patience = std::time::Duration::from_secs(20);
        let refused = tokio::time::timeout(patience, refused).await;
        refused.expect("the next hop is refused");
    }
}

fn dialling(legacy: &str, open_relay_for_tests: bool) -> Dialling {
    let (peers, policy) = (Peers::default(), policy(legacy));
    let dialer = NodeDialer {
        identity: identity(2),
        peers: peers.clone(),
        policy: policy.clone(),
        open_relay_for_tests,
    };
    let rng = rand::SeedableRng::seed_from_u64(1);
    let connections = Connections::with_dialer(ConnectionsConfig::default(), rng, dialer);
    Dialling {
        peers,
        policy,
        connections,
    }
}

fn frame(fill: u8) -> Frame {
    Frame::new(PacketMode::Mix, vec![fill; 2413]).unwrap()
}

async fn first_frame(port: &Port) -> (Frame, bool) {
    let stream = port.accept().await.unwrap();
    let is_encrypted = stream.is_encrypted();
    let mut reader = FrameReader::new(stream, ReadTimeouts::default());
    let first = reader.next_frame().await.unwrap().unwrap();
    // More than a record of TLS holds.
    for fill in 1..40 {
        assert_eq!(reader.next_frame().await.unwrap(), Some(frame(fill)));
    }
    (first, is_encrypted)
}

#[tokio::test]
async fn frames_reach_a_next_hop_whose_bond_is_read_after_they_came() {
    let port = Port::new(Acceptor::for_nodes(&identity(1), policy("deny"), None)).await;
    let own = dialling("deny", false);
    for fill in 0..40 {
        own.connections.send(port.address(), frame(fill)).unwrap();
    }
    let patience = std::time::Duration::from_secs(20);
    let asked = tokio::time::timeout(patience, own.peers.wanted()).await;
    asked.expect("the next topology is asked for");
    own.peers.update(&topology(&[(1, port.address(), true)]));
    assert_eq!(first_frame(&port).await, (frame(0), true));
    assert_eq!(own.policy.handshakes.count(Side::Dialled, "tls"), 1);
}

#[tokio::test]
async fn lone_frames_fill_an_encrypted_link_and_arrive_whole_and_in_order() {
    let port = Port::new(Acceptor::for_nodes(&identity(1), policy("deny"), None)).await;
    let own = dialling("deny", false);
    own.peers.update(&topology(&[(1, port.address(), true)]));
    let (connections, next_hop) = (own.connections, port.address());
    connections.send(next_hop, frame(0)).unwrap();
    let mut reader = FrameReader::new(port.accept().await.unwrap(), ReadTimeouts::default());
    assert_eq!(reader.next_frame().await.unwrap(), Some(frame(0)));
    while connections.counts().written == 0 {
        tokio::task::yield_now().await;
    }
    // Nobody reads meanwhile, and the task does not run: in the end the link is full.
    let numbered = |number: u64| frame(number.to_le_bytes()[0]);
    let mut sent = 1;
    while connections.counts().written == sent {
        connections.send_lone(next_hop, numbered(sent)).unwrap();
        sent += 1;
    }
    assert!(sent > 2, "no frame was written by its sender");
    for _ in 0..100 {
        connections.send_lone(next_hop, numbered(sent)).unwrap();
        sent += 1;
    }
    for number in 1..sent {
        assert_eq!(reader.next_frame().await.unwrap(), Some(numbered(number)));
    }
    assert_eq!(connections.counts().queued, sent);
}

#[tokio::test]
async fn a_bond_without_tls_is_of_no_use_unless_plain_peers_are_allowed() {
    let port = Port::new(Acceptor::for_nodes(&identity(1), policy("allow"), None)).await;
    for (legacy, result) in [
        ("deny", "legacy_denied"),
        ("allow until 2027-01-01", "legacy_expired"),
    ] {
        let own = dialling(legacy, false);
        own.peers.update(&topology(&[(1, port.address(), false)]));
        own.connections.send(port.address(), frame(0)).unwrap();
        own.until_refused().await;
        assert_eq!(own.policy.handshakes.count(Side::Dialled, result), 1);
    }
    let own = dialling("allow", false);
    own.peers.update(&topology(&[(1, port.address(), false)]));
    for fill in 0..40 {
        own.connections.send(port.address(), frame(fill)).unwrap();
    }
    assert_eq!(first_frame(&port).await, (frame(0), false));
}

#[tokio::test]
async fn a_next_hop_that_is_in_no_topology_is_not_dialled() {
    let own = dialling("allow", false);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = listener.local_addr().unwrap();
    own.connections.send(nobody, frame(0)).unwrap();
    let patience = std::time::Duration::from_secs(20);
    let asked = tokio::time::timeout(patience, own.peers.wanted()).await;
    asked.expect("the next topology is asked for");
    own.peers
        .update(&topology(&[(1, ([10, 0, 0, 1], 1).into(), true)]));
    own.until_refused().await;
    assert_eq!(
        own.policy
            .handshakes
            .count(Side::Dialled, "not_in_topology"),
        1
    );
}

#[tokio::test]
async fn an_open_relay_dials_anybody_with_the_envelope_that_it_may_use() {
    for (legacy, is_encrypted) in [("deny", true), ("allow", false)] {
        let port = Port::new(Acceptor::for_nodes(&identity(1), policy("allow"), None)).await;
        let own = dialling(legacy, true);
        for fill in 0..40 {
            own.connections.send(port.address(), frame(fill)).unwrap();
        }
        assert_eq!(first_frame(&port).await, (frame(0), is_encrypted));
    }
}

#[tokio::test]
async fn frames_wait_while_somebody_else_is_at_the_address() {
    let impostor = Port::new(Acceptor::for_nodes(&identity(3), policy("deny"), None)).await;
    let own = dialling("deny", false);
    own.peers
        .update(&topology(&[(1, impostor.address(), true)]));
    for fill in 0..40 {
        own.connections
            .send(impostor.address(), frame(fill))
            .unwrap();
    }
    assert!(impostor.accept().await.is_err());
    let Port { listener, .. } = impostor;
    let port = Port {
        listener,
        acceptor: Acceptor::for_nodes(&identity(1), policy("deny"), None),
    };
    assert_eq!(first_frame(&port).await, (frame(0), true));
    assert_eq!(own.policy.handshakes.count(Side::Dialled, "wrong_key"), 1);
    let counts = own.connections.counts();
    assert_eq!((counts.dials_failed, counts.dropped()), (1, 0));
}

#[tokio::test]
async fn tickets_are_neither_given_nor_asked_for() {
    // 1 record of application data and nothing else may come from who accepts.
    let port = Port::new(Acceptor::for_clients(&identity(1), policy("deny"), None)).await;
    let mut tasks = JoinSet::new();
    let address = port.address();
    tasks.spawn(async move {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut stream = encrypt(stream, Expected::OneOf(vec![key(1)]), None)
            .await
            .unwrap();
        let mut end = Vec::new();
        let _ = stream.read_to_end(&mut end).await;
        let Stream::Tls(stream) = stream else {
            panic!("the link is not encrypted");
        };
        let tokio_rustls::TlsStream::Client(stream) = *stream else {
            panic!("this end has dialled");
        };
        let (_, connection) = stream.into_inner();
        assert_eq!(connection.tls13_tickets_received(), 0);
    });
    let mut accepted = port.accept().await.unwrap();
    accepted.shutdown().await.unwrap();
    tasks.join_next().await.unwrap().unwrap();
}
