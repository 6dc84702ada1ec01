//! `init` against a validator and a gateway made of the cores and real sockets.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use axum::Router;
use axum::routing::get;
use nym_packet::keys::IdentityKeyPair;
use nym_protocol::gateway::{
    Action, Admission, ConnectionId, GatewaySession, MemoryStore, Presence,
};
use nym_transport::websocket::{Incoming, WebSocket};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::*;
use crate::bonds::{gateway_bond, mixnode_bond};
use crate::client::Client;
use crate::config::ClientConfig;

/// A network just big enough to register in.
struct Network {
    validator: String,
    gateway: IdentityPublicKey,
    _tasks: JoinSet<()>,
}

impl Network {
    async fn start() -> Self {
        Self::start_with(true).await
    }

    /// `registers` tells whether the gateway takes clients.
    async fn start_with(registers: bool) -> Self {
        let identity = Arc::new(IdentityKeyPair::generate(&mut entropy()));
        let gateway = identity.public_key();
        let clients = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gateways = json!([gateway_bond(&gateway, clients.local_addr().unwrap().port())]);
        let mixnodes = json!([mixnode_bond(1), mixnode_bond(2), mixnode_bond(3)]);
        let router = Router::new()
            .route("//v1/gateways", get(gateways.to_string()))
            .route("//v1/mixnodes", get(mixnodes.to_string()));
        let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let validator = format!("http://{}", http.local_addr().unwrap());

        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(http, router).await.unwrap() });
        tasks.spawn(async move {
            loop {
                let (stream, _) = clients.accept().await.unwrap();
                admit(stream, Arc::clone(&identity), registers).await;
            }
        });
        Self {
            validator,
            gateway,
            _tasks: tasks,
        }
    }

    fn options(&self, home: &Path) -> InitOptions {
        InitOptions {
            home: Home::at(home),
            id: "alice".parse().unwrap(),
            gateway: None,
            overrides: Overrides {
                validators: Some(vec![self.validator.clone()]),
                legacy_peers: Some("allow".to_owned()),
                ..Overrides::default()
            },
            fast_mode: false,
        }
    }
}

/// Plays the gateway for one registration.
async fn admit(stream: TcpStream, identity: Arc<IdentityKeyPair>, registers: bool) {
    let (clock, mut rng) = (Clock::start(), entropy());
    // Whoever measures the way here says nothing.
    let Ok((mut socket, _)) = WebSocket::accept(stream, WebSocketLimits::default()).await else {
        return;
    };
    let mut session = GatewaySession::new(identity, clock.now());
    let (mut store, mut presence) = (MemoryStore::new(100), Presence::new());
    while let Ok(Some(incoming)) = socket.receive().await {
        if let Incoming::Message(message) = incoming {
            session.handle_message(clock.now(), message, &mut rng);
        }
        while let Some(action) = session.poll_action() {
            match action {
                Action::Send(message) => socket.send(message).await.unwrap(),
                Action::Admit(login) => {
                    let (admission, _) = presence.admit(&mut store, ConnectionId(0), &login);
                    session.handle_admission(if registers {
                        admission
                    } else {
                        Admission::Failed
                    });
                }
                other => panic!("a registration does not lead to {other:?}"),
            }
        }
    }
}

fn config_of(initialised: &Initialised) -> ClientConfig {
    ClientConfig::from_file(config::load(&initialised.config_file).unwrap()).unwrap()
}

#[tokio::test]
async fn a_new_client_gets_keys_a_gateway_and_a_configuration_that_it_can_run_with() {
    let network = Network::start().await;
    let home = tempfile::tempdir().unwrap();
    let made = init(network.options(home.path())).await.unwrap();
    assert!(!made.existed);
    assert_eq!(made.recipient.gateway, network.gateway);

    let data = home.path().join("clients/alice/data");
    let mut names: Vec<_> = fs::read_dir(&data)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "ack_key.pem",
            "gateway_shared.pem",
            "private_encryption.pem",
            "private_identity.pem",
            "public_encryption.pem",
            "public_identity.pem",
        ]
    );
    for name in names {
        let mode = fs::metadata(data.join(&name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert_eq!(
        made.config_file,
        home.path().join("clients/alice/config/config.toml")
    );

    let mut config = config_of(&made);
    config.apps.as_mut().unwrap().port = 0;
    let client = Client::bind(config).await.unwrap();
    assert_eq!(client.addresses().recipient, made.recipient);
}

#[tokio::test]
async fn a_second_init_keeps_keys_gateway_and_settings() {
    let network = Network::start().await;
    let home = tempfile::tempdir().unwrap();
    let mut options = network.options(home.path());
    options.overrides.port = Some(2000);
    let first = init(options.clone()).await.unwrap();
    let before = config_of(&first);
    let shared = fs::read(&before.key_files.gateway_shared).unwrap();

    options.overrides = Overrides {
        mixnet_contract: Some("c".to_owned()),
        ..Overrides::default()
    };
    let second = init(options).await.unwrap();
    assert!(second.existed);
    assert_eq!(second.recipient, first.recipient);
    let after = config_of(&second);
    assert_eq!(after.gateway, before.gateway);
    assert_eq!(after.gateway_listener, before.gateway_listener);
    assert_eq!(after.validators, before.validators);
    assert_eq!(after.mixnet_contract, "c");
    assert_eq!(after.apps.unwrap().port, 2000);
    assert_eq!(fs::read(&before.key_files.gateway_shared).unwrap(), shared);
}

#[tokio::test]
async fn the_fastest_gateway_is_one_that_answers() {
    let network = Network::start().await;
    let home = tempfile::tempdir().unwrap();
    let mut options = network.options(home.path());
    options.gateway = Some(GatewayChoice::Fastest);
    let made = init(options).await.unwrap();
    assert_eq!(made.recipient.gateway, network.gateway);
}

#[tokio::test]
async fn an_init_that_failed_can_be_repeated() {
    let network = Network::start().await;
    let home = tempfile::tempdir().unwrap();
    let mut options = network.options(home.path());
    let stranger = IdentityKeyPair::generate(&mut entropy()).public_key();
    options.gateway = Some(GatewayChoice::Identity(stranger));
    let error = init(options.clone()).await.unwrap_err();
    assert!(matches!(error, ClientError::UnknownGateway { gateway } if gateway == stranger));
    // The gateway of these tests is one of 0.11.
    options.gateway = Some(GatewayChoice::Identity(network.gateway));
    options.overrides.legacy_peers = None;
    let error = init(options.clone()).await.unwrap_err();
    assert!(
        matches!(error, ClientError::PlainGateway { gateway, .. } if gateway == network.gateway)
    );
    options.overrides.legacy_peers = Some("allow until 9999-12-31".to_owned());
    assert!(!init(options).await.unwrap().existed);
}

#[tokio::test]
async fn the_answer_to_a_registration_is_read_and_a_refusal_leaves_the_client_unregistered() {
    let network = Network::start_with(false).await;
    let home = tempfile::tempdir().unwrap();
    let error = init(network.options(home.path())).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused(_)), "{error}");
    let files = KeyFiles::in_dir(&home.path().join("clients/alice/data"));
    assert!(!files.is_registered());
    assert!(
        !home
            .path()
            .join("clients/alice/config/config.toml")
            .exists()
    );
}

#[tokio::test]
async fn a_validator_that_is_not_there_is_named() {
    let home = tempfile::tempdir().unwrap();
    let mut options = Network::start().await.options(home.path());
    // Nobody listens there, nor on the second port that is tried.
    options.overrides.validators = Some(vec!["http://127.0.0.9:9".to_owned()]);
    let error = init(options).await.unwrap_err().to_string();
    assert!(error.contains("http://127.0.0.9:9/"), "{error}");
}
