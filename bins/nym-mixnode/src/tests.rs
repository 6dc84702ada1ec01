//! A node from its files to its end.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use axum::Router;
use axum::routing::get;
use nym_daemon::home::Home;
use nym_daemon::http::{HttpLimits, HttpServer};
use nym_node::cli::{InitArgs, NodeOverrides};
use nym_node::keys::KeyPaths;
use nym_protocol::validator::MixNodeBond;
use nym_protocol::validator::bond::{Coin, Layer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::*;
use crate::config::Overrides;

/// A validator that nobody listens at.
const NO_VALIDATOR: &str = "http://127.0.0.9:9";

fn config(data: &Path) -> Config {
    Config::on_loopback("one", data, vec![NO_VALIDATOR.parse().unwrap()])
}

fn bond(host: &str, mix_port: u16, identity_key: &str) -> MixNodeBond {
    MixNodeBond {
        bond_amount: Coin::zero(),
        total_delegation: Coin::zero(),
        owner: String::new(),
        layer: Layer::One,
        mix_node: MixNode {
            host: host.to_owned(),
            mix_port,
            verloc_port: 0,
            http_api_port: 0,
            sphinx_key: String::new(),
            identity_key: identity_key.to_owned(),
            version: PROTOCOL_VERSION.to_owned(),
            tls: None,
        },
    }
}

#[tokio::test]
async fn g15_a_node_without_a_validator_serves_its_pages_and_stops() {
    let dir = tempfile::tempdir().unwrap();
    let node = Mixnode::bind(config(dir.path())).await.unwrap();
    let Addresses { http, mix } = node.addresses();
    assert_eq!(node.announced_as().mix_port, mix.port());
    let shutdown = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(node.run(shutdown.clone()));
    for (path, end) in [
        ("/", WELCOME),
        ("/health", "{\"status\":\"up\",\"announced\":false}"),
        ("/ready", "{\"ready\":true}\n"),
        ("/metrics", "# EOF\n"),
    ] {
        let answer = page(http, path).await;
        assert!(answer.ends_with(end), "{path}: {answer}");
    }
    let metrics = page(http, "/metrics").await;
    assert!(metrics.contains("\nnym_node_announced 0\n"), "{metrics}");
    shutdown.cancel();
    tasks.join_next().await.unwrap().unwrap().unwrap();
    assert!(TcpStream::connect(mix).await.is_err());
}

async fn page(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_node_in_the_place_of_another_stops() {
    let dir = tempfile::tempdir().unwrap();
    let any_port = "127.0.0.1:0".parse().unwrap();
    let validator = HttpServer::bind(any_port, HttpLimits::default())
        .await
        .unwrap();
    let url = format!("http://{}", validator.address()).parse().unwrap();
    let node = Mixnode::bind(Config::on_loopback("one", dir.path(), vec![url]))
        .await
        .unwrap();
    let list = [bond("127.0.0.1", node.addresses().mix.port(), "them")];
    let list = serde_json::to_string(&list).unwrap();
    let shutdown = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let pages = Router::new().fallback(get(move || async { list }));
    tasks.spawn(validator.run(pages, shutdown.clone()));
    let error = node.run(shutdown.clone()).await.unwrap_err();
    assert!(matches!(error, NodeError::AddressTaken { .. }), "{error}");
    shutdown.cancel();
    tasks.join_all().await;
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let first = Mixnode::bind(config(dir.path())).await.unwrap();
    let mut second = config(dir.path());
    second.mix_port = first.addresses().mix.port();
    let Err(error) = Mixnode::bind(second).await else {
        panic!("the port is in use");
    };
    assert!(
        error
            .to_string()
            .contains(&first.addresses().mix.to_string()),
        "{error}"
    );
}

fn init_args(overrides: NodeOverrides) -> InitArgs<Overrides> {
    InitArgs {
        id: "one".parse().unwrap(),
        host: "127.0.0.1".parse().unwrap(),
        overrides: Overrides {
            node: overrides,
            ..Overrides::default()
        },
    }
}

#[test]
fn init_twice_keeps_the_keys_and_rewrites_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let init = |mix_port| {
        let overrides = NodeOverrides {
            mix_port: Some(mix_port),
            ..NodeOverrides::default()
        };
        init(&Home::at(dir.path()), &init_args(overrides)).unwrap()
    };
    let (first, second) = (init(1), init(2));
    assert_eq!(first.identity, second.identity);
    assert_eq!(first.sphinx_key, second.sphinx_key);
    assert_eq!((first.config.mix_port, second.config.mix_port), (1, 2));
    let data = dir.path().join("mixnodes/one/data");
    assert_eq!(second.config.keys, KeyPaths::in_directory(&data));
}

#[test]
fn init_with_a_bad_value_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let args = init_args(NodeOverrides {
        validators: Some(vec!["?".to_owned()]),
        ..NodeOverrides::default()
    });
    assert!(init(&Home::at(dir.path()), &args).is_err());
    assert!(!dir.path().join("mixnodes").exists());
}

#[test]
fn init_with_a_home_that_a_file_cannot_name_says_so_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join(OsStr::from_bytes(b"\xff"));
    let error = init(&Home::at(&home), &init_args(NodeOverrides::default())).unwrap_err();
    let said = error.to_string();
    assert!(
        said.starts_with("cannot write the configuration as TOML"),
        "{said}"
    );
    assert!(!home.exists());
}
