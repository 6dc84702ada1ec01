//! One way to do TLS: the versions, algorithms and extensions of every link.

use std::sync::{Arc, LazyLock};

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, WebPkiSupportedAlgorithms};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{ClientConfig, NamedGroup, ServerConfig};

use crate::tls::identity::TlsIdentity;
use crate::tls::verify::{KeyIsExpected, KeyIsKnown};

/// The key agreement of links between our programs: X25519 and ML-KEM-768 together. Whoever
/// records a link today must break both.
pub const GROUP: NamedGroup = NamedGroup::X25519MLKEM768;

/// What links between our programs are made with. One suite and one group, so that all our
/// programs look alike and nothing weaker can be negotiated.
static LINKS: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| provider(&[kx_group::X25519MLKEM768]));

/// What browsers may use: the same, or the groups of those that do not know it yet.
static BROWSERS: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    provider(&[
        kx_group::X25519MLKEM768,
        kx_group::X25519,
        kx_group::SECP256R1,
    ])
});

/// AES-128-GCM is the one suite that every implementation of TLS 1.3 must have (RFC 8446, section
/// 9.1), and the fastest where the processor has instructions for AES.
fn provider(groups: &[&'static dyn SupportedKxGroup]) -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![TLS13_AES_128_GCM_SHA256],
        kx_groups: groups.to_vec(),
        ..default_provider()
    })
}

/// The end of a link that dials; the peer must prove a key that `verifier` expects. Without an
/// identity of its own it stays anonymous, as a client does.
pub(super) fn dialling(verifier: KeyIsExpected, own: Option<&TlsIdentity>) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(Arc::clone(&LINKS))
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has a suite of TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match own {
        Some(own) => builder.with_client_cert_resolver(Arc::new(
            rustls::client::AlwaysResolvesClientRawPublicKeys::new(own.certified_key()),
        )),
        None => builder.with_no_client_auth(),
    };
    // A ticket tells two connections of one peer from all others.
    config.resumption = Resumption::disabled();
    // The peer's name is its key, which it proves; nobody on the way needs to read another.
    config.enable_sni = false;
    config
}

/// The end of a link that accepts and asks the peer for a key that `verifier` knows.
pub(super) fn accepting_nodes(own: &TlsIdentity, verifier: KeyIsKnown) -> Arc<ServerConfig> {
    let config = server(&LINKS)
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(
            own.certified_key(),
        )));
    without_resumption(config)
}

/// The end of a link that accepts anonymous peers.
pub(super) fn accepting_clients(own: &TlsIdentity) -> Arc<ServerConfig> {
    let config = server(&LINKS)
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(
            own.certified_key(),
        )));
    without_resumption(config)
}

/// The end of a link that accepts browsers, with an ordinary certificate.
pub(super) fn accepting_browsers(certificate: CertifiedKey) -> Arc<ServerConfig> {
    let config = server(&BROWSERS)
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certificate)));
    without_resumption(config)
}

/// What knows how to read the private key of a browsers' certificate.
pub(super) fn browsers_provider() -> &'static CryptoProvider {
    &BROWSERS
}

/// What checks the signatures of identity keys.
pub(super) fn signature_algorithms() -> &'static WebPkiSupportedAlgorithms {
    &LINKS.signature_verification_algorithms
}

fn server(
    provider: &Arc<CryptoProvider>,
) -> rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier> {
    ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has a suite of TLS 1.3")
}

fn without_resumption(mut config: ServerConfig) -> Arc<ServerConfig> {
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Arc::new(config)
}
