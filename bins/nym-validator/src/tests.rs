//! The whole validator over real sockets, asked by our own client and by hand.

mod https;

use super::*;
use nym_packet::keys::IdentityKeyPair;
use nym_protocol::validator::announcement::AnnouncedNode;
use nym_protocol::validator::registry::{Bonding, OnConflict};
use nym_protocol::validator::{
    Announcement, CheckedNode, Gateway, MixNode, Query, Registry as _, ValidatorUrl, query,
};
use nym_transport::directory::{Directory, DirectoryLimits};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;

struct Running {
    addresses: Addresses,
    control: ValidatorControl,
    shutdown: CancellationToken,
    tasks: JoinSet<Result<(), ValidatorError>>,
    dir: tempfile::TempDir,
}

impl Running {
    async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), |config| config).await
    }

    async fn start_in(dir: tempfile::TempDir, change: impl FnOnce(Config) -> Config) -> Self {
        let config = Config {
            rest_port: 0,
            api_port: 0,
            ..Config::new(dir.path().join("data"))
        };
        let validator = Validator::bind(change(config)).await.unwrap();
        let (addresses, control) = (validator.addresses(), validator.control());
        let shutdown = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(validator.run(shutdown.clone()));
        Self {
            addresses,
            control,
            shutdown,
            tasks,
            dir,
        }
    }

    async fn stop(mut self) -> tempfile::TempDir {
        self.shutdown.cancel();
        self.tasks.join_next().await.unwrap().unwrap().unwrap();
        self.dir
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addresses.rest)
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        let response = reqwest::get(self.url(path)).await.unwrap();
        (response.status(), response.text().await.unwrap())
    }

    async fn post(&self, body: impl Into<reqwest::Body>) -> (StatusCode, Value) {
        let request = Client::new().post(self.url("/v1/announce")).body(body);
        let response = request.send().await.unwrap();
        (
            response.status(),
            serde_json::from_str(&response.text().await.unwrap()).unwrap(),
        )
    }

    async fn announce(&self, announcement: &Announcement) -> (StatusCode, Value) {
        self.post(announcement.to_json()).await
    }

    fn directory(&self) -> Directory {
        let url: ValidatorUrl = self.url("").parse().unwrap();
        Directory::new(vec![url], DirectoryLimits::default()).unwrap()
    }
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

fn mixnode_announcement(seed: u8, host: &str, timestamp: u64) -> Announcement {
    Announcement::sign(
        AnnouncedNode::MixNode(mix_node(seed, host)),
        timestamp,
        &identity(seed),
    )
}

fn gateway_announcement(seed: u8, timestamp: u64) -> Announcement {
    let key = identity(seed).public_key().to_string();
    let node = Gateway {
        host: "10.0.0.2".to_owned(),
        mix_port: 1789,
        clients_port: 9000,
        location: "Here".to_owned(),
        sphinx_key: key.clone(),
        identity_key: key,
        version: "0.11.0".to_owned(),
        tls: None,
    };
    Announcement::sign(AnnouncedNode::Gateway(node), timestamp, &identity(seed))
}

fn rng() -> StdRng {
    StdRng::seed_from_u64(1)
}

fn error(reason: &str) -> Value {
    json!({ "error": reason })
}

#[tokio::test]
async fn announced_nodes_make_a_topology() {
    let validator = Running::start().await;
    let directory = validator.directory();
    assert!(
        !directory
            .topology(Some("0.11.0"), &mut rng())
            .await
            .unwrap()
            .is_routable()
    );
    let now = unix_time_secs();
    for seed in 1..=6 {
        let announcement = mixnode_announcement(seed, &format!("10.0.1.{seed}"), now);
        assert_eq!(
            directory
                .announce(&announcement)
                .await
                .unwrap()
                .accepted_count,
            1
        );
    }
    let outcome = directory.announce(&gateway_announcement(7, now)).await;
    assert!(outcome.unwrap().failures.is_empty());
    let topology = directory
        .topology(Some("0.11.0"), &mut rng())
        .await
        .unwrap();
    assert_eq!(topology.layers.each_ref().map(Vec::len), [2, 2, 2]);
    assert_eq!(topology.gateways[0].client_address, "ws://10.0.0.2:9000");
    assert_eq!(
        directory
            .query_mixnodes("c", &mut rng())
            .await
            .unwrap()
            .bonds
            .len(),
        6
    );
    assert_eq!(
        directory
            .query_gateways("c", &mut rng())
            .await
            .unwrap()
            .bonds
            .len(),
        1
    );
}

#[tokio::test]
async fn both_ports_serve_the_exact_documents_under_any_prefix() {
    let validator = Running::start().await;
    let now = unix_time_secs();
    validator
        .announce(&mixnode_announcement(1, "10.0.0.1", now))
        .await;
    validator.announce(&gateway_announcement(2, now)).await;
    let mix_key = identity(1).public_key().to_string();
    let mixnodes = format!(
        "[{{\"bond_amount\":{{\"denom\":\"upunk\",\"amount\":\"0\"}},\"total_delegation\":\
         {{\"denom\":\"upunk\",\"amount\":\"0\"}},\"owner\":\"{mix_key}\",\"layer\":1,\"mix_node\":\
         {{\"host\":\"10.0.0.1\",\"mix_port\":1789,\"verloc_port\":1790,\"http_api_port\":8000,\
         \"sphinx_key\":\"{mix_key}\",\"identity_key\":\"{mix_key}\",\"version\":\"0.11.0\"}}}}]"
    );
    for address in [validator.addresses.rest, validator.addresses.api] {
        for path in ["/v1/mixnodes", "//v1/mixnodes", "/some/path/v1/mixnodes"] {
            let url = format!("http://{address}{path}");
            let body = reqwest::get(&url).await.unwrap().text().await.unwrap();
            assert_eq!(body, mixnodes, "{url}");
        }
    }
    let (_, gateways) = validator.get("//v1/gateways").await;
    let gateways: Value = serde_json::from_str(&gateways).unwrap();
    assert_eq!(gateways[0]["gateway"]["clients_port"], 9000);
    assert_eq!(gateways[0]["gateway"]["location"], "Here");
}

#[tokio::test]
async fn queries_are_answered_in_an_envelope_with_a_text_height() {
    let validator = Running::start().await;
    let now = unix_time_secs();
    for seed in 1..=3 {
        validator
            .announce(&mixnode_announcement(seed, &format!("10.0.0.{seed}"), now))
            .await;
    }
    let ask = async |query: Query| {
        let path = format!(
            "//wasm/contract/c/smart/{}?encoding=base64",
            query.to_base64()
        );
        let (status, body) = validator.get(&path).await;
        assert_eq!(status, StatusCode::OK);
        let envelope: Value = serde_json::from_str(&body).unwrap();
        assert!(envelope["height"].as_str().unwrap().parse::<i64>().is_ok());
        serde_json::from_str::<Value>(&query::unwrap_answer(&body).unwrap()).unwrap()
    };
    assert_eq!(
        ask(Query::LayerDistribution {}).await,
        json!({"gateways": 0, "layer1": 1, "layer2": 1, "layer3": 1})
    );
    let page = ask(Query::GetMixNodes {
        limit: Some(2),
        start_after: None,
    })
    .await;
    assert_eq!(page["per_page"], 2);
    assert_eq!(page["nodes"].as_array().unwrap().len(), 2);
    let last = page["start_next_after"].as_str().map(str::to_owned);
    let page = ask(Query::GetMixNodes {
        limit: Some(2),
        start_after: last,
    })
    .await;
    assert_eq!(page["nodes"].as_array().unwrap().len(), 1);
    let last = page["start_next_after"].as_str().map(str::to_owned);
    let page = ask(Query::mix_nodes(last)).await;
    assert_eq!(
        (&page["nodes"], &page["start_next_after"]),
        (&json!([]), &Value::Null)
    );
}

#[tokio::test]
async fn what_is_no_query_is_an_error_object() {
    let validator = Running::start().await;
    for path in [
        "/wasm/contract/c/smart/!",
        "/wasm/contract/c/smart/e30=",
        "/nothing",
        "/v1",
    ] {
        let (status, body) = validator.get(path).await;
        assert!(status.is_client_error(), "{path}: {status}");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert!(body["error"].is_string(), "{path}: {body}");
    }
}

#[tokio::test]
async fn announcements_are_refused_with_the_reason() {
    let validator = Running::start().await;
    let now = unix_time_secs();
    let mut forged = mixnode_announcement(1, "10.0.0.1", now);
    forged.timestamp -= 1;
    assert_eq!(
        validator.announce(&forged).await,
        (
            StatusCode::FORBIDDEN,
            error("the signature does not verify")
        )
    );
    for host in ["0.0.0.0", "::", "::ffff:0.0.0.0"] {
        let (status, body) = validator
            .announce(&mixnode_announcement(1, host, now))
            .await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(
            body["error"]
                .as_str()
                .unwrap()
                .starts_with("the host means no address"),
            "{body}"
        );
    }
    for timestamp in [now - 310, now + 310] {
        assert_eq!(
            validator
                .announce(&mixnode_announcement(1, "10.0.0.1", timestamp))
                .await,
            (
                StatusCode::BAD_REQUEST,
                error("the timestamp is more than 300 s off")
            )
        );
    }
    for timestamp in [now - 290, now + 290] {
        let (status, _) = validator
            .announce(&mixnode_announcement(1, "10.0.0.1", timestamp))
            .await;
        assert_eq!(status, StatusCode::OK);
    }
    assert_eq!(
        validator
            .announce(&mixnode_announcement(1, "10.0.0.1", now))
            .await,
        (
            StatusCode::CONFLICT,
            error("a later announcement of this node is known")
        )
    );
    let (status, body) = validator
        .announce(&mixnode_announcement(2, "10.0.0.1", now))
        .await;
    assert_eq!(status, StatusCode::CONFLICT);
    let reason = format!(
        "node {} has the address 10.0.0.1:1789: announce another, or wait until that node is \
         forgotten",
        identity(1).public_key()
    );
    assert_eq!(body, error(&reason));
}

#[tokio::test]
async fn bodies_that_are_no_announcement_are_refused_with_the_reason() {
    let validator = Running::start().await;
    let (status, body) = validator.post("{}").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(
        body["error"]
            .as_str()
            .unwrap()
            .starts_with("the body is not an announcement")
    );
    assert_eq!(
        validator.post(vec![0xff, 0xfe]).await,
        (StatusCode::BAD_REQUEST, error("the body is not UTF-8"))
    );
}

#[tokio::test]
async fn bodies_up_to_16_kib_are_read() {
    let validator = Running::start().await;
    let (status, _) = validator.post(" ".repeat(16 * 1024)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let (status, body) = validator.post(" ".repeat(16 * 1024 + 1)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(body, error("an announcement has at most 16384 bytes"));
}

#[tokio::test]
async fn methods_and_web_pages_are_handled() {
    let validator = Running::start().await;
    let ask = async |method: Method, path: &str| -> Response {
        Client::new()
            .request(method, validator.url(path))
            .send()
            .await
            .unwrap()
    };
    let response = ask(Method::OPTIONS, "/v1/mixnodes").await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert_eq!(response.headers()["access-control-allow-origin"], "*");
    assert_eq!(
        ask(Method::GET, "/health").await.headers()["access-control-allow-origin"],
        "*"
    );
    let response = ask(Method::GET, "/v1/announce").await;
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(response.headers()["allow"], "POST, OPTIONS");
    assert_eq!(ask(Method::DELETE, "/v1/mixnodes").await.status(), 405);
    let response = ask(Method::HEAD, "/v1/mixnodes").await;
    assert_eq!(
        (response.status(), response.text().await.unwrap()),
        (StatusCode::OK, String::new())
    );
}

#[tokio::test]
async fn health_counts_the_nodes() {
    let validator = Running::start().await;
    validator
        .announce(&gateway_announcement(1, unix_time_secs()))
        .await;
    let (_, body) = validator.get("/health").await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (&body["status"], &body["mixnodes"], &body["gateways"]),
        (&json!("ok"), &json!(0), &json!(1))
    );
}

#[tokio::test]
async fn nodes_survive_a_restart() {
    let validator = Running::start().await;
    validator
        .announce(&mixnode_announcement(1, "10.0.0.1", unix_time_secs()))
        .await;
    let (_, before) = validator.get("/v1/mixnodes").await;
    let validator = Running::start_in(validator.stop().await, |config| config).await;
    assert_eq!(validator.get("/v1/mixnodes").await.1, before);
}

#[tokio::test]
async fn silent_nodes_are_removed() {
    let short = |config| Config {
        bond_ttl: Duration::from_secs(1),
        ..config
    };
    let validator = Running::start_in(tempfile::tempdir().unwrap(), short).await;
    let (status, _) = validator
        .announce(&mixnode_announcement(1, "10.0.0.1", unix_time_secs() - 100))
        .await;
    assert_eq!(status, StatusCode::OK);
    // Until the first sweep; a test that waits in vain is ended by its runner.
    while validator.get("/v1/mixnodes").await.1 != "[]" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn what_an_operator_bonds_is_in_the_next_answer_and_0_11_programs_can_read_it() {
    let validator = Running::start().await;
    validator
        .announce(&mixnode_announcement(1, "10.0.0.1", unix_time_secs()))
        .await;
    assert_eq!(listed(&validator).await.len(), 1);
    let registry = validator.dir.path().join("data").join(REGISTRY_FILE);
    let mut operator = SqliteRegistry::open_existing(&registry, 10).unwrap();
    let bonding = Bonding {
        node: CheckedNode::new(AnnouncedNode::MixNode(mix_node(2, "mix.example"))).unwrap(),
        layer: None,
        on_conflict: OnConflict::Refuse,
    };
    operator.bond(bonding).unwrap();
    let expected = [
        ("10.0.0.1".to_owned(), 1789),
        ("mix.example".to_owned(), 1789),
    ];
    let mut found = listed(&validator).await;
    found.sort();
    assert_eq!(found, expected);
    operator.unbond(&identity(2).public_key()).unwrap();
    assert_eq!(listed(&validator).await, expected[..1]);
}

/// The mix nodes as a 0.11 program reads them.
async fn listed(validator: &Running) -> Vec<(String, u16)> {
    let (_, list) = validator.get("//v1/mixnodes").await;
    strict::mixnodes(&list).unwrap()
}

#[tokio::test]
async fn number_of_nodes_may_change_while_the_validator_runs() {
    let mut reloadable = Config::new("").reloadable();
    reloadable.node_count_max = 1;
    let few = |config| Config {
        node_count_max: 1,
        ..config
    };
    let validator = Running::start_in(tempfile::tempdir().unwrap(), few).await;
    let announce = async |seed| {
        let host = format!("10.0.0.{seed}");
        let announcement = mixnode_announcement(seed, &host, unix_time_secs());
        validator.announce(&announcement).await.0
    };
    assert_eq!(announce(1).await, StatusCode::OK);
    assert_ne!(announce(2).await, StatusCode::OK);
    reloadable.node_count_max = 2;
    validator.control.reload(reloadable);
    // A test that waits in vain is ended by its runner.
    while announce(2).await != StatusCode::OK {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_ne!(announce(3).await, StatusCode::OK);
}

#[tokio::test]
async fn one_port_may_serve_for_both() {
    let dir = tempfile::tempdir().unwrap();
    let free = HttpServer::bind("127.0.0.1:0".parse().unwrap(), HttpLimits::default());
    let port = free.await.unwrap().address().port();
    let same = |config| Config {
        rest_port: port,
        api_port: port,
        ..config
    };
    let validator = Running::start_in(dir, same).await;
    assert_eq!(validator.addresses.rest, validator.addresses.api);
    assert_eq!(validator.get("/v1/gateways").await.1, "[]");
}

#[tokio::test]
async fn a_port_in_use_and_a_bad_directory_are_named() {
    let validator = Running::start().await;
    let dir = tempfile::tempdir().unwrap();
    let rest_port = validator.addresses.rest.port();
    let config = Config {
        rest_port,
        api_port: 0,
        ..Config::new(dir.path())
    };
    let error = run(config, CancellationToken::new()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot listen on 127.0.0.1:{rest_port}")
    );

    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let config = Config {
        rest_port: 0,
        api_port: 0,
        ..Config::new(&file)
    };
    let error = run(config, CancellationToken::new()).await.unwrap_err();
    assert!(matches!(error, ValidatorError::DataDirectory(_)), "{error}");
}

#[tokio::test]
async fn operator_sees_what_is_counted_and_when_the_validator_is_ready() {
    let at_once = |config| Config {
        metrics_refresh: Duration::ZERO,
        ..config
    };
    let validator = Running::start_in(tempfile::tempdir().unwrap(), at_once).await;
    let announcement = mixnode_announcement(1, "10.0.0.1", unix_time_secs());
    let (status, _) = validator.announce(&announcement).await;
    assert_eq!(status, StatusCode::OK);
    let (status, _) = validator.announce(&announcement).await;
    assert_eq!(status, StatusCode::CONFLICT);
    let again = mixnode_announcement(1, "10.0.0.1", unix_time_secs() + 1);
    let (status, _) = validator.announce(&again).await;
    assert_eq!(status, StatusCode::OK);
    let gateway = gateway_announcement(2, unix_time_secs());
    let (status, _) = validator.announce(&gateway).await;
    assert_eq!(status, StatusCode::OK);
    let query = Query::LayerDistribution {}.to_base64();
    validator
        .get(&format!("/wasm/contract/c/smart/{query}?encoding=base64"))
        .await;
    for path in ["/v1/mixnodes", "//v1/gateways", "/v1/mixnodes", "/nothing"] {
        validator.get(path).await;
    }
    let (status, page) = validator.get("/metrics").await;
    assert_eq!(status, StatusCode::OK);
    for line in [
        "nym_validator_nodes{kind=\"mixnode\"} 1",
        "nym_validator_nodes{kind=\"gateway\"} 1",
        "nym_validator_announcements_total{result=\"new\"} 2",
        "nym_validator_announcements_total{result=\"renewed\"} 1",
        "nym_validator_announcements_total{result=\"refused\"} 1",
        "nym_validator_requests_total{document=\"mixnodes\"} 2",
        "nym_validator_requests_total{document=\"gateways\"} 1",
        "nym_validator_requests_total{document=\"query\"} 1",
        "nym_validator_requests_total{document=\"refused\"} 2",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} in {page}");
    }
    let (status, welcome) = validator.get("/").await;
    assert_eq!(status, StatusCode::OK);
    assert!(welcome.contains("/v1/mixnodes"), "{welcome}");
    let ready = validator.get("/ready").await;
    assert_eq!(ready, (StatusCode::OK, "{\"ready\":true}\n".to_owned()));
    validator.stop().await;
}
