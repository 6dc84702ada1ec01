//! What became of handshakes: counted by result, and told to the operator.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::{AlertDescription, Error as TlsError, NamedGroup, PeerIncompatible};
use tokio::time::Instant;

use crate::legacy::LegacyDenied;
use crate::stream::Stream;
use crate::tls::config::GROUP;

/// One line in the log for each kind of refusal in so long; more are counted.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// Why there is no link with a peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkRefusal {
    /// The peer ended the handshake by an alert.
    #[error("the peer refused the handshake: {alert}")]
    Alert {
        /// The alert's name.
        alert: String,
    },
    /// The peer offers other cipher suites.
    #[error("the peer offers no cipher suite of ours, which is TLS_AES_128_GCM_SHA256")]
    CipherSuite,
    /// The connection ended, or broke, before the handshake was complete.
    #[error("the connection ended before the handshake was complete")]
    Closed,
    /// The peer broke the rules of TLS.
    #[error("the handshake failed: {problem}")]
    Failed {
        /// What is wrong.
        problem: String,
    },
    /// The peer offers other key agreements.
    #[error("the peer offers no key agreement of ours, which is X25519MLKEM768")]
    KeyAgreement,
    /// A plain peer, and they are allowed no more, or not at all.
    #[error("the peer speaks plain 0.11, and {0}")]
    Legacy(#[from] LegacyDenied),
    /// A next hop that no bond names.
    #[error("the next hop is not in the topology")]
    NotInTopology,
    /// The first byte is neither TLS nor what the 0.11 network says on this port.
    #[error("the peer speaks something else on this port")]
    OtherProtocol,
    /// The peer cannot prove an identity key.
    #[error("the peer knows no raw public keys (RFC 7250), or has none")]
    RawPublicKey,
    /// The peer said nothing, or stopped halfway.
    #[error("the peer did not complete the handshake within {} s", after.as_secs_f64())]
    TimedOut {
        /// How long was waited.
        after: Duration,
    },
    /// The peer offers older versions only.
    #[error("the peer does not offer TLS 1.3")]
    TlsVersion,
    /// The peer that dialled is nobody in the topology.
    #[error("the peer's identity key is not in the topology")]
    UnknownPeer,
    /// The peer that was dialled is somebody else.
    #[error("the peer proves another identity key than its bond names")]
    WrongKey,
}

impl LinkRefusal {
    /// The label of the counter.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        let (label, _) = self.kind();
        label
    }

    /// The label, and its place among [`LABELS`].
    const fn kind(&self) -> (&'static str, usize) {
        let index = match self {
            Self::Alert { .. } => 3,
            Self::CipherSuite => 4,
            Self::Closed => 5,
            Self::Failed { .. } => 6,
            Self::KeyAgreement => 7,
            Self::Legacy(LegacyDenied::Denied) => 8,
            Self::Legacy(LegacyDenied::Expired { .. }) => 9,
            Self::NotInTopology => 10,
            Self::OtherProtocol => 11,
            Self::RawPublicKey => 12,
            Self::TimedOut { .. } => 13,
            Self::TlsVersion => 14,
            Self::UnknownPeer => 15,
            Self::WrongKey => 16,
        };
        (LABELS[index], index)
    }

    /// Whether every open port of the internet sees it every day.
    const fn is_noise(&self) -> bool {
        matches!(
            self,
            Self::Closed | Self::OtherProtocol | Self::TimedOut { .. }
        )
    }

    /// What an error of the TLS library means on one side of a handshake.
    pub(super) fn from_io(side: Side, error: &io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        inner.map_or(Self::Closed, |error| Self::from_tls(side, error))
    }

    fn from_tls(side: Side, error: &TlsError) -> Self {
        use PeerIncompatible as Lacks;
        match (error, side) {
            (TlsError::InvalidCertificate(_), Side::Accepted) => Self::UnknownPeer,
            (TlsError::InvalidCertificate(_), Side::Dialled) => Self::WrongKey,
            (TlsError::NoCertificatesPresented, _) => Self::RawPublicKey,
            (TlsError::AlertReceived(AlertDescription::ProtocolVersion), _) => Self::TlsVersion,
            (TlsError::AlertReceived(alert), _) => Self::Alert {
                alert: format!("{alert:?}"),
            },
            (TlsError::PeerIncompatible(lack), _) => match lack {
                Lacks::NoCipherSuitesInCommon => Self::CipherSuite,
                Lacks::NoKxGroupsInCommon
                | Lacks::KeyShareExtensionRequired
                | Lacks::NamedGroupsExtensionRequired => Self::KeyAgreement,
                Lacks::ServerDoesNotSupportTls12Or13
                | Lacks::ServerTlsVersionIsDisabledByOurConfig
                | Lacks::SupportedVersionsExtensionRequired
                | Lacks::Tls12NotOffered
                | Lacks::Tls12NotOfferedOrEnabled => Self::TlsVersion,
                Lacks::IncorrectCertificateTypeExtension
                | Lacks::UnsolicitedCertificateTypeExtension
                | Lacks::NoSignatureSchemesInCommon
                | Lacks::NoCertificateRequestSignatureSchemesInCommon => Self::RawPublicKey,
                other => Self::Failed {
                    problem: format!("{other:?}"),
                },
            },
            (other, _) => Self::Failed {
                problem: other.to_string(),
            },
        }
    }
}

/// Results of handshakes: the first three made a link, the others are refusals.
const LABELS: [&str; 17] = [
    "tls",
    "tls_classical",
    "plain",
    "alert",
    "cipher_suite",
    "closed",
    "failed",
    "key_agreement",
    "legacy_denied",
    "legacy_expired",
    "not_in_topology",
    "other_protocol",
    "raw_public_key",
    "timed_out",
    "tls_version",
    "unknown_peer",
    "wrong_key",
];

/// Who began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The peer.
    Accepted,
    /// This program.
    Dialled,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accepted => "accepted",
            Self::Dialled => "dialled",
        })
    }
}

/// Counters of all handshakes of a program; clones count together.
#[derive(Debug, Clone, Default)]
pub struct Handshakes(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    accepted: [AtomicU64; LABELS.len()],
    dialled: [AtomicU64; LABELS.len()],
    silences: Mutex<[Silence; LABELS.len()]>,
}

/// Since when one kind of refusal is not logged, and how many there were.
#[derive(Debug, Clone, Copy, Default)]
struct Silence {
    since: Option<Instant>,
    count: u64,
}

impl Handshakes {
    /// How many handshakes of one side had which result, for all results: `tls` (a link with
    /// X25519MLKEM768), `tls_classical` (a browser without it), `plain`, and the
    /// [labels](LinkRefusal::label) of refusals.
    #[must_use]
    pub fn counts(&self, side: Side) -> [(&'static str, u64); LABELS.len()] {
        let mut counts = LABELS.map(|label| (label, 0));
        for ((_, count), counter) in counts.iter_mut().zip(self.counters(side)) {
            *count = counter.load(Ordering::Relaxed);
        }
        counts
    }

    /// How many handshakes of one side had one result.
    #[must_use]
    pub fn count(&self, side: Side, result: &str) -> u64 {
        let index = LABELS.iter().position(|label| *label == result);
        let counter = index.and_then(|index| self.counters(side).get(index));
        counter.map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    /// Counts a handshake, and logs what it came to.
    pub(super) fn record(&self, side: Side, outcome: &Result<Stream, LinkRefusal>) {
        let index = match outcome {
            Ok(stream) => record_link(side, stream),
            Err(refusal) => {
                self.log(side, refusal);
                refusal.kind().1
            }
        };
        if let Some(counter) = self.counters(side).get(index) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn counters(&self, side: Side) -> &[AtomicU64; LABELS.len()] {
        match side {
            Side::Accepted => &self.0.accepted,
            Side::Dialled => &self.0.dialled,
        }
    }

    /// One line for each kind and minute. It names no address: the peer may be a client.
    fn log(&self, side: Side, refusal: &LinkRefusal) {
        let (result, index) = refusal.kind();
        if refusal.is_noise() {
            tracing::debug!(%side, result, %refusal, "no link");
            return;
        }
        let Some(more) = self.loud(index, Instant::now()) else {
            return;
        };
        tracing::warn!(%side, result, more, %refusal, "refused a link");
    }

    /// Whether a kind may be logged now, and how many of it were not.
    fn loud(&self, index: usize, now: Instant) -> Option<u64> {
        let mut silences = self
            .0
            .silences
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let silence = silences.get_mut(index)?;
        match silence.since {
            Some(since) if now.saturating_duration_since(since) < LOG_EVERY => {
                silence.count += 1;
                None
            }
            _ => {
                let more = std::mem::take(&mut silence.count);
                silence.since = Some(now);
                Some(more)
            }
        }
    }
}

/// The place of a link's result among [`LABELS`]; logs what was negotiated.
fn record_link(side: Side, stream: &Stream) -> usize {
    let Stream::Tls(stream) = stream else {
        tracing::debug!(%side, "a plain link");
        return 2;
    };
    let (_, state) = stream.get_ref();
    let group = state.negotiated_key_exchange_group();
    let group = group.map_or(NamedGroup::Unknown(0), |group| group.name());
    let suite = state.negotiated_cipher_suite().map(|suite| suite.suite());
    let version = state.protocol_version();
    tracing::debug!(%side, ?version, ?group, ?suite, "an encrypted link");
    usize::from(group != GROUP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_kind_of_refusal_is_logged_once_a_minute_with_the_number_of_others() {
        let handshakes = Handshakes::default();
        let begun = Instant::now();
        assert_eq!(handshakes.loud(3, begun), Some(0));
        assert_eq!(handshakes.loud(4, begun), Some(0));
        for _ in 0..5 {
            assert_eq!(handshakes.loud(3, begun + LOG_EVERY / 2), None);
        }
        assert_eq!(handshakes.loud(3, begun + LOG_EVERY), Some(5));
        assert_eq!(handshakes.loud(3, begun + LOG_EVERY), None);
    }

    #[test]
    fn every_refusal_has_a_label_of_its_own() {
        let on = time::macros::date!(2027 - 01 - 01);
        let refusals = [
            LinkRefusal::Alert { alert: "x".into() },
            LinkRefusal::CipherSuite,
            LinkRefusal::Closed,
            LinkRefusal::Failed {
                problem: "x".into(),
            },
            LinkRefusal::KeyAgreement,
            LegacyDenied::Denied.into(),
            LegacyDenied::Expired { on }.into(),
            LinkRefusal::NotInTopology,
            LinkRefusal::OtherProtocol,
            LinkRefusal::RawPublicKey,
            LinkRefusal::TimedOut {
                after: Duration::ZERO,
            },
            LinkRefusal::TlsVersion,
            LinkRefusal::UnknownPeer,
            LinkRefusal::WrongKey,
        ];
        let labels: Vec<_> = refusals.iter().map(LinkRefusal::label).collect();
        assert_eq!(labels, LABELS[3..]);
        let handshakes = Handshakes::default();
        for refusal in refusals {
            handshakes.record(Side::Accepted, &Err(refusal));
        }
        let counts = handshakes.counts(Side::Accepted);
        assert_eq!(counts[..3], LABELS.map(|label| (label, 0))[..3]);
        assert_eq!(counts[3..], LABELS.map(|label| (label, 1))[3..]);
        assert_eq!(handshakes.count(Side::Accepted, "wrong_key"), 1);
        assert_eq!(handshakes.count(Side::Dialled, "wrong_key"), 0);
    }
}
