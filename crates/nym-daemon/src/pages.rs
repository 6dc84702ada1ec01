//! The pages that every daemon has for whoever operates it.
//!
//! | Request | Answer |
//! |---|---|
//! | `GET /` | who this is, and which pages there are, in a few words |
//! | `GET /ready` | 200 `{"ready":true}`, or 503 with the reason while the program starts or stops |
//! | `GET /metrics` | [`Metrics`], in the text format of OpenMetrics |

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::metrics::{self, Metrics};

const STARTING: u8 = 0;
const READY: u8 = 1;
const STOPPING: u8 = 2;

/// Whether a program wants to be given work; clones tell the same.
///
/// ```text
/// starting ──► ready ──► stopping
/// ```
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicU8>);

impl Readiness {
    /// From here on the program is ready, unless it is stopping already.
    pub fn set_ready(&self) {
        let _ = self
            .0
            .compare_exchange(STARTING, READY, Ordering::AcqRel, Ordering::Acquire);
    }

    /// From here on the program wants no more work.
    pub fn set_stopping(&self) {
        self.0.store(STOPPING, Ordering::Release);
    }

    /// Whether the program wants work.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire) == READY
    }

    /// Waits until `shutdown` is cancelled, says that the program is stopping, waits for `delay` so
    /// that those who ask have asked, and cancels `stop`. When `stop` is cancelled by somebody else
    /// before, there is nothing to wait for.
    pub async fn drain(
        self,
        shutdown: CancellationToken,
        delay: Duration,
        stop: CancellationToken,
    ) {
        // Both branches are cancel-safe, and neither is used again.
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = stop.cancelled() => {}
        }
        self.set_stopping();
        let _ = stop.run_until_cancelled(sleep(delay)).await;
        stop.cancel();
    }

    fn answer(&self) -> Response {
        let (code, body) = match self.0.load(Ordering::Acquire) {
            READY => (StatusCode::OK, "{\"ready\":true}\n"),
            STARTING => (
                StatusCode::SERVICE_UNAVAILABLE,
                "{\"ready\":false,\"reason\":\"starting\"}\n",
            ),
            _ => (
                StatusCode::SERVICE_UNAVAILABLE,
                "{\"ready\":false,\"reason\":\"stopping\"}\n",
            ),
        };
        (code, [(CONTENT_TYPE, "application/json")], body).into_response()
    }
}

/// The pages; the first one says `welcome`.
pub fn router(welcome: &'static str, readiness: Readiness, metrics: Metrics) -> Router {
    Router::new()
        .route("/", get(async move || welcome))
        .route("/ready", get(ready))
        .route("/metrics", get(show))
        .with_state(Pages { readiness, metrics })
}

#[derive(Clone)]
struct Pages {
    readiness: Readiness,
    metrics: Metrics,
}

async fn ready(State(pages): State<Pages>) -> Response {
    pages.readiness.answer()
}

async fn show(State(pages): State<Pages>) -> Response {
    (
        [(CONTENT_TYPE, metrics::CONTENT_TYPE)],
        pages.metrics.page(),
    )
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_is_ready_between_its_start_and_its_stop() {
        let readiness = Readiness::default();
        assert_eq!(readiness.answer().status(), StatusCode::SERVICE_UNAVAILABLE);
        readiness.set_ready();
        assert!(readiness.is_ready());
        assert_eq!(readiness.answer().status(), StatusCode::OK);
        readiness.set_stopping();
        readiness.set_ready();
        assert!(!readiness.is_ready());
        assert_eq!(readiness.answer().status(), StatusCode::SERVICE_UNAVAILABLE);
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_ask_learn_of_the_stop_before_it_begins() {
        let readiness = Readiness::default();
        readiness.set_ready();
        let (shutdown, stop) = (CancellationToken::new(), CancellationToken::new());
        let delay = Duration::from_secs(5);
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(
            readiness
                .clone()
                .drain(shutdown.clone(), delay, stop.clone()),
        );
        tokio::task::yield_now().await;
        assert!(readiness.is_ready());
        shutdown.cancel();
        sleep(delay - Duration::from_millis(1)).await;
        assert!(!readiness.is_ready() && !stop.is_cancelled());
        sleep(Duration::from_millis(2)).await;
        assert!(stop.is_cancelled());
        tasks.join_all().await;
    }

    #[tokio::test(start_paused = true)]
    async fn program_that_ends_by_itself_does_not_wait() {
        let (shutdown, stop) = (CancellationToken::new(), CancellationToken::new());
        stop.cancel();
        let before = tokio::time::Instant::now();
        let long = Duration::from_secs(3600);
        Readiness::default().drain(shutdown, long, stop).await;
        assert_eq!(tokio::time::Instant::now(), before);
    }
}
