//! Validators here are HTTP servers on real sockets that answer by a table of paths.

mod https;

use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use nym_packet::keys::IdentityKeyPair;
use nym_protocol::validator::announcement::AnnouncedNode;
use nym_protocol::validator::{Gateway, MixNode};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

fn rng() -> StdRng {
    StdRng::seed_from_u64(3)
}

/// A validator that answers by `answer` and remembers what was asked.
struct TestValidator {
    url: ValidatorUrl,
    asked: Arc<Mutex<Vec<String>>>,
    _server: JoinSet<()>,
}

impl TestValidator {
    async fn start(
        answer: impl Fn(&str) -> (StatusCode, String) + Clone + Send + Sync + 'static,
    ) -> Self {
        // Not the usual address: a validator may run there at 8080, the second port that is tried.
        let listener = TcpListener::bind("127.0.0.9:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap())
            .parse()
            .unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let router = Router::new().fallback(move |request: Request| async move {
            let target = request.uri().to_string();
            log.lock().unwrap().push(target.clone());
            answer(&target)
        });
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            url,
            asked,
            _server: server,
        }
    }

    /// One with lists: so many mix nodes per layer, and one gateway at `host`.
    async fn with_nodes(per_layer: u8, host: &'static str) -> Self {
        Self::start(move |target| (StatusCode::OK, list_body(target, per_layer, host))).await
    }

    async fn broken() -> Self {
        Self::start(|_| (StatusCode::OK, "<html>".to_owned())).await
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn list_body(target: &str, per_layer: u8, host: &str) -> String {
    if target.ends_with("/v1/gateways") {
        return serde_json::json!([gateway_bond(200, host)]).to_string();
    }
    let bonds: Vec<_> = (1..=3u8)
        .flat_map(|layer| (0..per_layer).map(move |n| (layer, n)))
        .map(|(layer, n)| mixnode_bond(layer * 10 + n, layer, host))
        .collect();
    serde_json::Value::from(bonds).to_string()
}

fn identity(seed: u8) -> IdentityKeyPair {
    IdentityKeyPair::from_seed(&[seed; 32])
}

fn mix_node(seed: u8, host: &str) -> MixNode {
    let key = identity(seed).public_key().to_string();
    MixNode {
        host: host.to_owned(),
        mix_port: 1789,
        verloc_port: 1790,
        http_api_port: 8000,
        sphinx_key: key.clone(),
        identity_key: key,
        version: "0.11.0".to_owned(),
        tls: None,
    }
}

fn mixnode_bond(seed: u8, layer: u8, host: &str) -> serde_json::Value {
    let zero = serde_json::json!({"denom": "upunk", "amount": "0"});
    serde_json::json!({
        "bond_amount": zero, "total_delegation": zero, "owner": "o", "layer": layer,
        "mix_node": mix_node(seed, host),
    })
}

fn gateway_bond(seed: u8, host: &str) -> serde_json::Value {
    let zero = serde_json::json!({"denom": "upunk", "amount": "0"});
    let key = identity(seed).public_key().to_string();
    let gateway = Gateway {
        host: host.to_owned(),
        mix_port: 1789,
        clients_port: 9000,
        location: "here".to_owned(),
        sphinx_key: key.clone(),
        identity_key: key,
        version: "0.11.0".to_owned(),
        tls: None,
    };
    serde_json::json!({
        "bond_amount": zero, "total_delegation": zero, "owner": "o", "gateway": gateway,
    })
}

fn directory(validators: &[&TestValidator]) -> Directory {
    let urls: Vec<_> = validators
        .iter()
        .map(|validator| validator.url.clone())
        .collect();
    Directory::new(urls, DirectoryLimits::default()).unwrap()
}

#[tokio::test]
async fn a_topology_is_read_from_the_port_that_the_url_names() {
    let validator = TestValidator::with_nodes(2, "10.0.0.1").await;
    let topology = directory(&[&validator])
        .topology(Some("0.11.0"), &mut rng())
        .await
        .unwrap();
    assert!(topology.is_routable());
    assert_eq!(topology.layers.each_ref().map(Vec::len), [2, 2, 2]);
    assert_eq!(topology.gateways.len(), 1);
    assert_eq!(validator.asked(), ["//v1/mixnodes", "//v1/gateways"]);
}

#[tokio::test]
async fn host_names_are_resolved() {
    let validator = TestValidator::with_nodes(1, "localhost").await;
    let topology = directory(&[&validator])
        .topology(None, &mut rng())
        .await
        .unwrap();
    assert!(topology.gateways[0].mix_address.ip().is_loopback());
}

#[tokio::test]
async fn every_validator_is_tried() {
    let good = TestValidator::with_nodes(1, "10.0.0.1").await;
    let broken = TestValidator::broken().await;
    let directory = directory(&[&broken, &good]);
    for seed in 0..8 {
        let mut rng = StdRng::seed_from_u64(seed);
        assert!(
            directory
                .topology(None, &mut rng)
                .await
                .unwrap()
                .is_routable()
        );
        assert_eq!(directory.mixnodes(&mut rng).await.unwrap().bonds.len(), 3);
        assert_eq!(directory.gateways(&mut rng).await.unwrap().bonds.len(), 1);
    }
    assert!(!broken.asked().is_empty(), "the order was never random");
}

#[tokio::test]
async fn a_validator_without_routes_is_passed_over() {
    let empty = TestValidator::with_nodes(0, "10.0.0.1").await;
    let good = TestValidator::with_nodes(1, "10.0.0.1").await;
    let both = directory(&[&empty, &good]);
    for seed in 0..8 {
        let topology = both
            .topology(None, &mut StdRng::seed_from_u64(seed))
            .await
            .unwrap();
        assert!(topology.is_routable());
    }
    let topology = directory(&[&empty])
        .topology(None, &mut rng())
        .await
        .unwrap();
    assert!(!topology.is_routable());
}

#[tokio::test]
async fn the_error_names_every_url_and_its_reason() {
    let broken = TestValidator::broken().await;
    let error = directory(&[&broken])
        .mixnodes(&mut rng())
        .await
        .unwrap_err()
        .to_string();
    let url = format!("{}/v1/mixnodes: the body is not a list", broken.url);
    assert!(error.contains(&url), "{error}");
    assert!(
        error.contains("http://127.0.0.9:8080//v1/mixnodes: "),
        "{error}"
    );
}

#[tokio::test]
async fn the_status_of_an_answer_does_not_matter() {
    let validator =
        TestValidator::start(|_| (StatusCode::INTERNAL_SERVER_ERROR, "[]".into())).await;
    assert!(
        directory(&[&validator])
            .mixnodes(&mut rng())
            .await
            .unwrap()
            .bonds
            .is_empty()
    );
}

#[tokio::test]
async fn answers_up_to_the_limit_are_read() {
    let validator =
        TestValidator::start(|_| (StatusCode::OK, format!("[{}]", " ".repeat(98)))).await;
    for (limit, fits) in [(100, true), (99, false)] {
        let limits = DirectoryLimits {
            response_len: limit,
            ..DirectoryLimits::default()
        };
        let directory = Directory::new(vec![validator.url.clone()], limits).unwrap();
        let outcome = directory.mixnodes(&mut rng()).await;
        assert_eq!(outcome.is_ok(), fits, "{limit} bytes");
    }
}

#[tokio::test]
async fn a_validator_that_does_not_answer_times_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    let limits = DirectoryLimits {
        request_timeout: Duration::from_millis(50),
        ..DirectoryLimits::default()
    };
    let directory = Directory::new(vec![url], limits).unwrap();
    let error = directory
        .query_gateways("c", &mut rng())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.ends_with(": no answer in time"), "{error}");
}

#[tokio::test]
async fn pages_are_collected_until_there_is_no_next() {
    let count = Arc::new(AtomicUsize::new(0));
    let validator = TestValidator::start(move |_| {
        let page = count.fetch_add(1, Ordering::Relaxed);
        let bonds: Vec<_> = if page < 2 {
            vec![mixnode_bond(u8::try_from(page).unwrap(), 1, "10.0.0.1")]
        } else {
            Vec::new()
        };
        let next = (page < 2).then(|| format!("key{page}"));
        let answer = serde_json::json!({"nodes": bonds, "per_page": 50, "start_next_after": next});
        (StatusCode::OK, query::wrap_answer(1, &answer))
    })
    .await;
    let list = directory(&[&validator])
        .query_mixnodes("contract", &mut rng())
        .await
        .unwrap();
    assert_eq!(list.bonds.len(), 2);
    let asked = validator.asked();
    assert_eq!(asked.len(), 3);
    let prefix = "//wasm/contract/contract/smart/";
    let last = asked[2]
        .strip_prefix(prefix)
        .unwrap()
        .strip_suffix("?encoding=base64")
        .unwrap();
    assert_eq!(
        Query::from_base64(last).unwrap(),
        Query::mix_nodes(Some("key1".to_owned())),
        "the last page asks after the last key"
    );
}

#[tokio::test]
async fn pages_without_end_are_an_error() {
    let validator = TestValidator::start(|_| {
        let answer = serde_json::json!({"nodes": [], "per_page": 50, "start_next_after": "x"});
        (StatusCode::OK, query::wrap_answer(1, &answer))
    })
    .await;
    let limits = DirectoryLimits {
        page_count: 3,
        ..DirectoryLimits::default()
    };
    let directory = Directory::new(vec![validator.url.clone()], limits).unwrap();
    let error = directory
        .query_gateways("c", &mut rng())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.ends_with(": the list has more than 3 pages"),
        "{error}"
    );
    assert_eq!(validator.asked().len(), 3);
}

#[tokio::test]
async fn an_announcement_reaches_every_validator() {
    let good = TestValidator::start(|_| (StatusCode::OK, String::new())).await;
    let refusing = TestValidator::start(|_| {
        (
            StatusCode::CONFLICT,
            r#"{"error":"a later announcement is known"}"#.to_owned(),
        )
    })
    .await;
    let node = AnnouncedNode::MixNode(mix_node(1, "10.0.0.1"));
    let announcement = Announcement::sign(node, 1, &identity(1));
    let outcome = directory(&[&good, &refusing])
        .announce(&announcement)
        .await
        .unwrap();
    assert_eq!(outcome.accepted_count, 1);
    assert_eq!(
        outcome.failures[0].to_string(),
        format!(
            "{}/v1/announce: refused with status 409: a later announcement is known",
            refusing.url
        )
    );
    assert_eq!(good.asked(), ["//v1/announce"]);
    assert!(
        directory(&[&refusing])
            .announce(&announcement)
            .await
            .is_err()
    );
}

#[test]
fn no_validators_are_an_error() {
    let error = Directory::new(Validators::default(), DirectoryLimits::default()).unwrap_err();
    assert_eq!(error.to_string(), "no validator is configured");
}

#[test]
fn lists_are_looked_for_at_the_named_port_and_at_8080_once() {
    let lists = |url: &str| -> Vec<String> {
        let places = list_places(&url.parse().unwrap());
        places
            .iter()
            .map(|place| place.cached_list(CachedList::Gateways))
            .collect()
    };
    assert_eq!(
        lists("http://h:1317"),
        ["http://h:1317//v1/gateways", "http://h:8080//v1/gateways"]
    );
    assert_eq!(
        lists("http://h:8080/p")[..],
        ["http://h:8080/p/v1/gateways"]
    );
    assert_eq!(lists("http://h").len(), 2);
}
