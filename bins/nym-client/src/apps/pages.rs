//! What the port says to those who are no app: a welcome, the health, the metrics.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use nym_packet::address::Recipient;

use crate::apps::door::Refused;
use crate::status::{ClientStatus, StatusReport};

const WELCOME: &str = "This is nym-client. Apps connect here by websocket and say, for example:\n\
     \n\
     {\"type\":\"selfAddress\"}\n\
     {\"type\":\"send\",\"message\":\"Hello Nym!\",\"recipient\":\"<address>\"}\n\
     \n\
     /health tells whether a message would leave at once, /status more of it, /metrics counts.\n";

/// What is counted at the port. Nothing here tells of a peer or of a message.
#[derive(Debug, Default)]
pub(super) struct AppCounters {
    /// Apps there have been. Moves when a connection becomes a websocket.
    served: AtomicU64,
    /// Apps that have left. Moves when the task of an app ends.
    left: AtomicU64,
    refused_host: AtomicU64,
    refused_origin: AtomicU64,
    refused_token: AtomicU64,
}

impl AppCounters {
    pub(super) fn came(&self) {
        self.served.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn left(&self) {
        self.left.fetch_add(1, Ordering::Relaxed);
    }

    /// Apps that are connected.
    fn connected(&self) -> u64 {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        count(&self.served).saturating_sub(count(&self.left))
    }

    pub(super) fn refused(&self, why: Refused) {
        let counter = match why {
            Refused::Host => &self.refused_host,
            Refused::Origin => &self.refused_origin,
            Refused::Token => &self.refused_token,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The counters and the status in the text format of Prometheus.
    fn render(&self, status: ClientStatus) -> String {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut text = String::new();
        let mut metric = |name: &str, kind: &str, help: &str, value: u64| {
            let _ = writeln!(
                text,
                "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}"
            );
        };
        metric(
            "nym_client_gateway_connected",
            "gauge",
            "Whether the gateway takes packets.",
            status.connected.into(),
        );
        metric(
            "nym_client_topology_routable",
            "gauge",
            "Whether packets can be routed.",
            status.routable.into(),
        );
        if let Some(age) = status.topology_age() {
            metric(
                "nym_client_topology_age_seconds",
                "gauge",
                "Age of the topology in use.",
                age.as_secs(),
            );
        }
        metric(
            "nym_client_apps_connected",
            "gauge",
            "Apps that are connected.",
            self.connected(),
        );
        metric(
            "nym_client_apps_served_total",
            "counter",
            "Apps that have connected.",
            count(&self.served),
        );
        let name = "nym_client_requests_refused_total";
        let _ = writeln!(
            text,
            "# HELP {name} Requests that were not let in.\n# TYPE {name} counter"
        );
        for (reason, counter) in [
            ("host", &self.refused_host),
            ("origin", &self.refused_origin),
            ("token", &self.refused_token),
        ] {
            let _ = writeln!(text, "{name}{{reason=\"{reason}\"}} {}", count(counter));
        }
        text
    }
}

pub(super) fn welcome() -> Response {
    let plain = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    (plain, WELCOME).into_response()
}

/// 200 when a message would leave at once, 503 otherwise, with the reason in JSON.
pub(super) fn health(status: ClientStatus) -> Response {
    let code = if status.is_ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let (connected, routable) = (status.connected, status.routable);
    let body = format!("{{\"connected\":{connected},\"routable\":{routable}}}\n");
    (code, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// The status in JSON, as [`StatusReport`].
pub(super) fn status(
    counters: &AppCounters,
    status: &ClientStatus,
    recipient: &Recipient,
) -> Response {
    let report = StatusReport::new(status, recipient, counters.connected());
    axum::Json(report).into_response()
}

pub(super) fn metrics(counters: &AppCounters, status: ClientStatus) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    (kind, counters.render(status)).into_response()
}
