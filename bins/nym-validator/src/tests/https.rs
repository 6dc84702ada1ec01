//! What a validator with a certificate does besides what it does without: `tests/https.rs` runs whole
//! networks.

use std::path::PathBuf;

use axum::Router;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;

/// The files of a certificate of its own authority, and of its key.
fn certificate(dir: &tempfile::TempDir) -> (PathBuf, PathBuf) {
    let made = rcgen::generate_simple_self_signed(["validator.example".to_owned()]).unwrap();
    let files = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&files.0, made.cert.pem()).unwrap();
    std::fs::write(&files.1, made.signing_key.serialize_pem()).unwrap();
    files
}

/// What comes until the connection is closed, however it is.
async fn all(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text).await;
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test]
async fn a_connection_that_does_not_become_https_in_time_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = certificate(&dir);
    let port = WebPort::new(WebCertificate::load(&certificate, &key).unwrap());
    let limits = HttpLimits {
        request_timeout: Duration::from_millis(50),
        ..HttpLimits::default()
    };
    let server = HttpServer::bind("127.0.0.1:0".parse().unwrap(), limits);
    let server = server.await.unwrap();
    let address = server.address();
    let mut tasks = JoinSet::new();
    let open = move |stream| port.open(stream);
    tasks.spawn(server.run_inside(open, Router::new(), CancellationToken::new()));
    // Nothing, and the beginning of a record with a ClientHello.
    for beginning in [&b""[..], &[0x16, 3, 1, 2, 0, 1]] {
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(beginning).await.unwrap();
        assert_eq!(all(&mut slow).await, "");
    }
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain
        .write_all(b"GET /v1/mixnodes HTTP/1.1\r\n")
        .await
        .unwrap();
    let told = all(&mut plain).await;
    assert!(told.starts_with("HTTP/1.1 426 "), "{told}");
    assert!(
        told.ends_with("{\"error\":\"this port requires https\"}"),
        "{told}"
    );
}

#[tokio::test]
async fn both_ports_refuse_plain_http_until_a_reload_allows_it() {
    let dir = tempfile::tempdir().unwrap();
    let files = certificate(&dir);
    let with_certificate = |config| Config {
        certificate: Some(files),
        ..config
    };
    let validator = Running::start_in(dir, with_certificate).await;
    let Addresses { rest, api } = validator.addresses;
    let ask = async |address: SocketAddr| {
        let answer = reqwest::get(format!("http://{address}/v1/mixnodes")).await;
        answer.unwrap().status()
    };
    for address in [rest, api] {
        assert_eq!(ask(address).await, StatusCode::UPGRADE_REQUIRED);
    }
    let (bond_ttl, node_count_max) = (Duration::from_secs(600), 1);
    for (plain_http, status) in [
        (true, StatusCode::OK),
        (false, StatusCode::UPGRADE_REQUIRED),
    ] {
        validator.control.reload(Reloadable {
            bond_ttl,
            node_count_max,
            plain_http,
        });
        for address in [rest, api] {
            assert_eq!(ask(address).await, status);
        }
    }
    validator.stop().await;
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_named_before_anything_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let gone = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let config = Config {
        certificate: Some(gone),
        ..Config::new(dir.path().join("data"))
    };
    let error = Validator::bind(config).await.unwrap_err().to_string();
    assert!(
        error.starts_with("cannot serve https: ") && error.contains("cert.pem"),
        "{error}"
    );
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
