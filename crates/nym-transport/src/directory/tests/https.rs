//! Validators that are asked by https, with certificates of an authority of the test's own.

use std::path::PathBuf;

use axum::response::{IntoResponse as _, Redirect, Response};
use axum::serve::Listener;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::*;
use crate::tls::{WebCertificate, WebPort, WebStream};

/// Somebody who vouches for validators, and the files of both.
struct Authority {
    dir: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(dir.path().join("ca.pem"), certificate.pem()).unwrap();
        let issuer = Issuer::new(params, key);
        Self { dir, issuer }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// A port that shows a certificate for 127.0.0.1 with these changes.
    fn port(&self, change: impl FnOnce(&mut CertificateParams)) -> WebPort {
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files = ["cert.pem", "key.pem"].map(|name| self.dir.path().join(name));
        std::fs::write(&files[0], certificate.pem()).unwrap();
        std::fs::write(&files[1], key.serialize_pem()).unwrap();
        WebPort::new(WebCertificate::load(&files[0], &files[1]).unwrap())
    }
}

struct WebListener {
    listener: TcpListener,
    port: WebPort,
}

impl Listener for WebListener {
    type Io = WebStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (WebStream, SocketAddr) {
        let (stream, peer): (TcpStream, _) = Listener::accept(&mut self.listener).await;
        (self.port.open(stream), peer)
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A server that answers everything alike; gives its address.
async fn serve(
    port: WebPort,
    answer: impl Fn() -> Response + Clone + Send + Sync + 'static,
) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(move || async move { answer() });
    let mut tasks = JoinSet::new();
    let listener = WebListener { listener, port };
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address, tasks)
}

fn no_nodes() -> Response {
    "[]".into_response()
}

fn directory(url: &str, ca_file: PathBuf) -> Directory {
    let validators = Validators {
        urls: vec![url.parse().unwrap()],
        ca_file: Some(ca_file),
    };
    Directory::new(validators, DirectoryLimits::default()).unwrap()
}

/// Why the validator gave no list at its own port.
async fn failure(directory: &Directory) -> String {
    let place = &list_places(&directory.validators[0])[0];
    let asked = directory.list_at::<MixNodeBond>(place, CachedList::Mixnodes);
    asked.await.unwrap_err().problem.to_string()
}

fn announcement() -> Announcement {
    let node = AnnouncedNode::MixNode(mix_node(1, "127.0.0.1"));
    Announcement::sign(node, 0, &identity(1))
}

#[tokio::test]
async fn a_validator_that_the_operators_authority_vouches_for_is_asked_and_told() {
    let authority = Authority::new("one");
    let (address, _tasks) = serve(authority.port(|_| {}), no_nodes).await;
    let directory = directory(&format!("https://{address}"), authority.file());
    let list = directory.mixnodes(&mut rng()).await.unwrap();
    assert!(list.bonds.is_empty());
    let outcome = directory.announce(&announcement()).await.unwrap();
    assert_eq!(outcome.accepted_count, 1);
}

#[tokio::test]
async fn a_validator_that_somebody_else_vouches_for_is_refused_and_the_key_named() {
    let (authority, other) = (Authority::new("one"), Authority::new("two"));
    let (address, _tasks) = serve(authority.port(|_| {}), no_nodes).await;
    let directory = directory(&format!("https://{address}"), other.file());
    assert_eq!(
        failure(&directory).await,
        "its certificate is refused: nobody vouches for it who is trusted here; if its issuer should \
         be, name a file with the issuer's certificate in `validator_ca_file`"
    );
    let told = directory.announce(&announcement()).await.unwrap_err();
    assert!(told.to_string().contains("`validator_ca_file`"), "{told}");
}

#[tokio::test]
async fn a_certificate_of_another_time_or_name_is_refused() {
    type Change = fn(&mut CertificateParams);
    let changes: [(Change, &str); 3] = [
        (
            |params| params.not_after = date_time_ymd(2001, 1, 1),
            "certificate expired",
        ),
        (
            |params| params.not_before = date_time_ymd(2999, 1, 1),
            "certificate not valid yet",
        ),
        (
            |params| {
                *params = CertificateParams::new(["validator.example".to_owned()]).unwrap();
            },
            "is only valid for DnsName(\"validator.example\")",
        ),
    ];
    for (change, said) in changes {
        let authority = Authority::new("one");
        let (address, _tasks) = serve(authority.port(change), no_nodes).await;
        let directory = directory(&format!("https://{address}"), authority.file());
        let failure = failure(&directory).await;
        let is_refusal = failure.starts_with("its certificate is refused: ");
        assert!(is_refusal && failure.contains(said), "{failure}");
    }
}

#[tokio::test]
async fn an_answer_that_leads_to_plain_http_is_not_followed() {
    let plain = TestValidator::with_nodes(1, "127.0.0.1").await;
    let authority = Authority::new("one");
    let elsewhere = plain.url.cached_list(CachedList::Mixnodes);
    let answer = move || Redirect::temporary(&elsewhere).into_response();
    let (address, _tasks) = serve(authority.port(|_| {}), answer).await;
    let directory = directory(&format!("https://{address}"), authority.file());
    assert_eq!(
        failure(&directory).await,
        "it leads from https to plain HTTP, which is not followed"
    );
    assert!(directory.announce(&announcement()).await.is_err());
    assert_eq!(plain.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn an_answer_within_https_is_followed() {
    let authority = Authority::new("one");
    let port = authority.port(|_| {});
    let (there, _there) = serve(port.clone(), no_nodes).await;
    let answer = move || Redirect::temporary(&format!("https://{there}/")).into_response();
    let (address, _tasks) = serve(port, answer).await;
    let directory = directory(&format!("https://{address}"), authority.file());
    assert!(directory.mixnodes(&mut rng()).await.is_ok());
}

#[tokio::test]
async fn a_plain_validator_that_leads_to_https_is_to_be_configured_so() {
    let authority = Authority::new("one");
    let port = authority.port(|_| {});
    port.set_plain_http(true);
    let answer = || Redirect::permanent("https://127.0.0.1:1/").into_response();
    let (address, _tasks) = serve(port, answer).await;
    let directory = directory(&format!("http://{address}"), authority.file());
    assert_eq!(
        failure(&directory).await,
        "it wants to be asked by https; configure its https URL"
    );
}

#[tokio::test]
async fn a_port_with_a_certificate_answers_plain_http_only_if_that_is_allowed() {
    let authority = Authority::new("one");
    let port = authority.port(|_| {});
    let (address, _tasks) = serve(port.clone(), no_nodes).await;
    let plain = directory(&format!("http://{address}"), authority.file());
    let https = directory(&format!("https://{address}"), authority.file());
    assert_eq!(
        failure(&plain).await,
        "it answers: this port requires https"
    );
    let told = plain.announce(&announcement()).await.unwrap_err();
    let said = "refused with status 426: this port requires https";
    assert!(told.to_string().contains(said), "{told}");
    assert!(https.mixnodes(&mut rng()).await.is_ok());
    port.set_plain_http(true);
    assert!(plain.mixnodes(&mut rng()).await.is_ok());
    assert!(https.mixnodes(&mut rng()).await.is_ok());
}

#[tokio::test]
async fn a_validator_that_speaks_no_tls_is_told_so() {
    let plain = TestValidator::with_nodes(1, "127.0.0.1").await;
    let url = plain.url.to_string().replace("http:", "https:");
    let directory = directory(&url, Authority::new("one").file());
    assert_eq!(failure(&directory).await, "it speaks no TLS there");
    assert_eq!(plain.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_after_a_reload_and_a_broken_one_is_not() {
    let (first, second) = (Authority::new("one"), Authority::new("two"));
    let port = first.port(|_| {});
    let (address, _tasks) = serve(port.clone(), no_nodes).await;
    let url = format!("https://{address}");
    std::fs::write(first.dir.path().join("cert.pem"), "").unwrap();
    assert!(port.reload().is_err());
    let asked = directory(&url, first.file()).mixnodes(&mut rng()).await;
    assert!(asked.is_ok());
    let _other_port = second.port(|_| {});
    for name in ["cert.pem", "key.pem"] {
        std::fs::copy(second.dir.path().join(name), first.dir.path().join(name)).unwrap();
    }
    port.reload().unwrap();
    let asked = directory(&url, second.file()).mixnodes(&mut rng()).await;
    assert!(asked.is_ok());
    assert!(
        directory(&url, first.file())
            .mixnodes(&mut rng())
            .await
            .is_err()
    );
}

#[test]
fn a_file_that_holds_no_authority_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let ca_file = dir.path().join("ca.pem");
    let error = || {
        let validators = Validators::new(vec!["http://127.0.0.1:1".parse().unwrap()], &ca_file);
        let error = Directory::new(validators, DirectoryLimits::default()).unwrap_err();
        assert!(error.is_of_configuration() && error.advice().is_some());
        error.to_string()
    };
    let begins = format!("`validator_ca_file`: {}: ", ca_file.display());
    assert!(error().starts_with(&begins), "{}", error());
    let no_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let too_long = "#".repeat((1 << 20) + 1);
    for (text, said) in [
        ("", "there is no certificate in it"),
        ("-----BEGIN CERTIFICATE-----\n", "section end"),
        (no_certificate, "invalid peer certificate"),
        (&too_long, "it is too long for a PEM file"),
    ] {
        std::fs::write(&ca_file, text).unwrap();
        let error = error();
        assert!(
            error.starts_with(&begins) && error.contains(said),
            "{error}"
        );
    }
}
