//! Validators that come and go; the test is the engine.

use std::sync::Mutex;

use axum::Router;
use axum::extract::State;
use axum::http::Uri;
use nym_daemon::entropy;
use nym_packet::keys::IdentityKeyPair;
use nym_protocol::validator::ValidatorUrl;
use nym_transport::directory::DirectoryLimits;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::bonds::{gateway_bond, mixnode_bond};

/// A validator that says what the test wants.
struct Validator {
    url: String,
    script: Arc<Script>,
}

#[derive(Default)]
struct Script {
    /// The lists of mix nodes and gateways; `None` for a validator that answers nonsense.
    lists: Mutex<Option<[String; 2]>>,
    asked: watch::Sender<u64>,
}

impl Validator {
    async fn start(tasks: &mut JoinSet<()>) -> Self {
        let script = Arc::<Script>::default();
        let router = Router::new()
            .fallback(async |uri: Uri, State(script): State<Arc<Script>>| {
                script.asked.send_modify(|count| *count += 1);
                let lists = script.lists.lock().unwrap();
                let index = usize::from(uri.path().ends_with("/gateways"));
                lists
                    .as_ref()
                    .map_or_else(|| "nonsense".to_owned(), |lists| lists[index].clone())
            })
            .with_state(Arc::clone(&script));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, script }
    }

    fn say(&self, mixnodes: &[serde_json::Value], gateways: &[serde_json::Value]) {
        let lists = [json!(mixnodes).to_string(), json!(gateways).to_string()];
        *self.script.lists.lock().unwrap() = Some(lists);
    }

    fn fall_silent(&self) {
        *self.script.lists.lock().unwrap() = None;
    }

    /// Waits until it was asked three times more. A fetch asks twice at most, so the one that was
    /// under way is over then, and its outcome is told.
    async fn fetched_again(&self) {
        let mut asked = self.script.asked.subscribe();
        let before = *asked.borrow();
        asked.wait_for(|count| *count >= before + 3).await.unwrap();
    }
}

/// The task, and what the engine would hold of it.
struct Fixture {
    inputs: mpsc::Receiver<EngineInput>,
    announced: watch::Receiver<Option<GatewayPlace>>,
    status: watch::Receiver<ClientStatus>,
    tasks: JoinSet<()>,
}

impl Fixture {
    fn start(
        validators: &[&Validator],
        own_gateway: IdentityPublicKey,
        tasks: JoinSet<()>,
    ) -> Self {
        let urls: Vec<ValidatorUrl> = validators
            .iter()
            .map(|it| it.url.parse().unwrap())
            .collect();
        let directory = Directory::new(urls, DirectoryLimits::default()).unwrap();
        let (inputs_in, inputs) = mpsc::channel(16);
        let (announced_in, announced) = watch::channel(None);
        let status = Arc::new(watch::Sender::new(ClientStatus::default()));
        let task = TopologyTask {
            directory,
            own_gateway,
            refresh_rate: Duration::from_millis(10),
            legacy_peers: LegacyPeers::Allow,
            inputs: inputs_in,
            announced: announced_in,
            status: Arc::clone(&status),
            rng: entropy(),
        };
        let mut tasks = tasks;
        tasks.spawn(task.run(CancellationToken::new()));
        Self {
            inputs,
            announced,
            status: status.subscribe(),
            tasks,
        }
    }

    async fn topology(&mut self) -> Topology {
        match self.inputs.recv().await.unwrap() {
            EngineInput::Topology(topology) => *topology,
            other => panic!("{other:?} is no topology"),
        }
    }
}

fn gateway() -> IdentityPublicKey {
    IdentityKeyPair::generate(&mut entropy()).public_key()
}

#[tokio::test]
async fn every_validator_is_asked_and_the_good_one_is_found() {
    let mut tasks = JoinSet::new();
    let (mute, good) = (
        Validator::start(&mut tasks).await,
        Validator::start(&mut tasks).await,
    );
    let own = gateway();
    good.say(&[1, 2, 3].map(mixnode_bond), &[gateway_bond(&own, 9000)]);
    let mut fixture = Fixture::start(&[&mute, &good, &mute], own, tasks);
    assert!(fixture.topology().await.is_routable());
    let announced = fixture.announced.borrow().clone();
    assert_eq!(announced.unwrap().url, "ws://127.0.0.1:9000");
}

#[tokio::test]
async fn the_last_good_topology_stays_and_ages_while_no_validator_has_a_usable_one() {
    let mut tasks = JoinSet::new();
    let validator = Validator::start(&mut tasks).await;
    let own = gateway();
    let layers = [1, 2, 3].map(mixnode_bond);
    validator.say(&layers, &[gateway_bond(&own, 9000)]);
    let mut fixture = Fixture::start(&[&validator], own, tasks);
    fixture.topology().await;
    // From now on: nonsense, then a network without a layer, then one without our gateway.
    for bad in 0..3 {
        match bad {
            0 => validator.fall_silent(),
            1 => validator.say(&layers[..2], &[gateway_bond(&own, 9000)]),
            _ => validator.say(&layers, &[gateway_bond(&gateway(), 9000)]),
        }
        validator.fetched_again().await;
        while fixture.inputs.try_recv().is_ok() {}
        let fetched_at = fixture.status.borrow().topology_fetched_at;
        validator.fetched_again().await;
        assert!(fixture.inputs.try_recv().is_err(), "{bad}");
        let status = *fixture.status.borrow();
        assert!(status.routable);
        assert_eq!(status.topology_fetched_at, fetched_at);
        assert!(status.topology_age() > Some(Duration::ZERO));
    }
    validator.say(&layers, &[gateway_bond(&own, 9001)]);
    fixture.topology().await;
    assert!(!fixture.tasks.is_empty());
}
