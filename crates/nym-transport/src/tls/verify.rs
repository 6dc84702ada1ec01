//! Who a peer must be: verifiers of raw public keys.

use std::fmt;
use std::sync::Arc;

use nym_packet::keys::IdentityPublicKey;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::verify_tls13_signature_with_raw_key;
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    PeerIncompatible, SignatureScheme,
};

use crate::peers::KnownPeersOnly;
use crate::tls::config::signature_algorithms;
use crate::tls::identity::from_spki;

/// The peer has another key than it should.
#[derive(Debug, thiserror::Error)]
#[error("another identity key than expected")]
struct UnexpectedKey;

/// Whom the dialling side expects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// Anybody with a key: for measurements, where the peer is nobody's bond.
    Anybody,
    /// Who proves one of these keys. It is more than one only where several bonds name the
    /// address that is dialled.
    OneOf(Vec<IdentityPublicKey>),
}

/// Takes a peer with an expected key: the dialling side knows whom it dials.
#[derive(Debug)]
pub(super) struct KeyIsExpected(pub(super) Expected);

/// Takes a peer with a key that the rule lets in, or with any: the accepting side learns who
/// dialled.
pub(super) struct KeyIsKnown(pub(super) Option<KnownPeersOnly>);

impl fmt::Debug for KeyIsKnown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyIsKnown").finish_non_exhaustive()
    }
}

/// What both kinds of verifiers do alike: they take raw keys, and signatures of TLS 1.3 alone.
macro_rules! signatures_by_raw_keys {
    (no_tls12: $no_tls12:ident) => {
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _cert: &CertificateDer<'_>,
            _dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Err(PeerIncompatible::$no_tls12.into())
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_signature(message, cert, dss)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ED25519]
        }

        fn requires_raw_public_keys(&self) -> bool {
            true
        }
    };
}

impl ServerCertVerifier for KeyIsExpected {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let key = from_spki(end_entity).ok_or_else(unexpected_key)?;
        match &self.0 {
            Expected::OneOf(keys) if !keys.contains(&key) => Err(unexpected_key()),
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    signatures_by_raw_keys!(no_tls12: ServerTlsVersionIsDisabledByOurConfig);
}

impl ClientCertVerifier for KeyIsKnown {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let key = from_spki(end_entity).ok_or_else(unexpected_key)?;
        match &self.0 {
            Some(rule) if !rule.lets_in(&key) => Err(unexpected_key()),
            _ => Ok(ClientCertVerified::assertion()),
        }
    }

    signatures_by_raw_keys!(no_tls12: Tls12NotOfferedOrEnabled);
}

/// The peer has the private half of the key that it showed.
fn verify_signature(
    message: &[u8],
    cert: &CertificateDer<'_>,
    dss: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let key = SubjectPublicKeyInfoDer::from(cert.as_ref());
    // The key was seen to be an Ed25519 key, so a signature of another scheme does not verify.
    verify_tls13_signature_with_raw_key(message, &key, dss, signature_algorithms())
}

fn unexpected_key() -> Error {
    CertificateError::Other(OtherError(Arc::new(UnexpectedKey))).into()
}
