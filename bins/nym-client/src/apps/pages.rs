//! What the port says to those who are no app: a welcome, the health, the metrics.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use nym_daemon::metrics::{self, Component, Metrics, Sheet};
use nym_packet::address::Recipient;
use tokio::sync::watch;

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
}

/// The counters and the status, by the names that Prometheus reads.
#[derive(Debug)]
struct ClientMetrics {
    counters: Arc<AppCounters>,
    status: watch::Receiver<ClientStatus>,
}

/// What the page of metrics shows.
pub(super) fn metrics(
    counters: Arc<AppCounters>,
    status: watch::Receiver<ClientStatus>,
) -> Metrics {
    Metrics::new(vec![Box::new(ClientMetrics { counters, status })])
}

impl Component for ClientMetrics {
    fn write(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let status = *self.status.borrow();
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        sheet.gauge(
            "nym_client_gateway_connected",
            "1 if the gateway takes packets",
            status.connected.into(),
        )?;
        sheet.gauge(
            "nym_client_topology_routable",
            "1 if packets can be routed",
            status.routable.into(),
        )?;
        if let Some(age) = status.topology_age() {
            let help = "Age of the topology in use";
            sheet.gauge("nym_client_topology_age_seconds", help, age.as_secs())?;
        }
        sheet.gauge(
            "nym_client_unacknowledged_messages",
            "Messages of apps that are not acknowledged yet",
            number(status.unacknowledged_messages),
        )?;
        sheet.gauge(
            "nym_client_unacknowledged_bytes",
            "Bytes of messages of apps that are not acknowledged yet",
            number(status.unacknowledged_bytes),
        )?;
        sheet.gauge(
            "nym_client_untaken_messages",
            "Messages that arrived and that no app has taken",
            number(status.untaken_messages),
        )?;
        sheet.gauge(
            "nym_client_untaken_bytes",
            "Bytes of messages that no app has taken, with 256 more for each",
            number(status.untaken_bytes),
        )?;
        self.counters.write(sheet)
    }
}

impl AppCounters {
    fn write(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        sheet.gauge(
            "nym_client_apps_connected",
            "Apps that are connected",
            self.connected(),
        )?;
        sheet.counter(
            "nym_client_apps_served",
            "Apps that have connected",
            count(&self.served),
        )?;
        sheet.counters(
            "nym_client_requests_refused",
            "Requests that were not let in",
            "reason",
            &[
                ("host", count(&self.refused_host)),
                ("origin", count(&self.refused_origin)),
                ("token", count(&self.refused_token)),
            ],
        )
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

pub(super) fn show(metrics: &Metrics) -> Response {
    let kind = [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)];
    (kind, metrics.page()).into_response()
}
