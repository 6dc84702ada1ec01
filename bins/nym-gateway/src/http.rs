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
use nym_node::announce::Announced;
use nym_node::counters::Counters;
use nym_node::http::Description;

use crate::mailroom::Desk;

pub(crate) fn router(
    counters: Counters,
    description: Description,
    announced: Announced,
    desk: Arc<Desk>,
) -> Router {
    let clients = Router::new()
        .route("/clients", get(clients))
        .with_state(desk);
    nym_node::http::router(counters, description, announced).merge(clients)
}

async fn clients(State(desk): State<Arc<Desk>>) -> impl IntoResponse {
    let counts = serde_json::to_string(&desk.counts()).expect("numbers have a JSON form");
    ([(CONTENT_TYPE, "application/json")], counts)
}
