//! The operator's pages.
//!
//! | Request | Answer |
//! |---|---|
//! | `GET /health` | `{"status":"up","announced":…}` |
//! | `GET /stats` | packets, as a mix node counts them; `?debug=true` per next hop |
//! | `GET /ready`, `GET /metrics` | see [`nym_daemon::pages`] |
//! | `GET /clients` | clients and their messages, see [`GatewayCounts`](crate::GatewayCounts) |
//!
//! Sums only: nothing here tells who talks to whom.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;

use crate::mailroom::Desk;

/// The pages that other nodes do not have.
pub(crate) fn pages(desk: Arc<Desk>) -> Router {
    Router::new()
        .route("/clients", get(clients))
        .with_state(desk)
}

async fn clients(State(desk): State<Arc<Desk>>) -> impl IntoResponse {
    let counts = serde_json::to_string(&desk.counts()).expect("numbers have a JSON form");
    ([(CONTENT_TYPE, "application/json")], counts)
}
