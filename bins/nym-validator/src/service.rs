//! The HTTP service: paths in, documents out.

mod path;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW,
    CONTENT_TYPE,
};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::Response;
use nym_daemon::clock::unix_time_secs;
use nym_protocol::validator::announcement::AnnouncementError;
use nym_protocol::validator::query::{PageAnswer, wrap_answer};
use nym_protocol::validator::registry::{Announced, RegistryError};
use nym_protocol::validator::{Announcement, Query};

use crate::metrics::{Tally, add};
use crate::service::path::{Document, Target};
use crate::store::{Lists, Store};

/// How far the clocks of a node and this machine may differ, in seconds, in either direction.
const CLOCK_SKEW_MAX_SECS: u64 = 300;

/// The longest announcement in bytes; one with the longest host and location takes about 1,000.
const ANNOUNCEMENT_LEN_MAX: usize = 16 * 1024;

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, OPTIONS");

/// What requests are answered with.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) store: Arc<Store>,
    pub(crate) tally: Arc<Tally>,
}

impl Service {
    /// Counts the nodes that are listed now.
    pub(crate) async fn count_nodes(&self) {
        match self.store.lists().await {
            Ok(lists) => self.tally.set_nodes(&lists),
            // The next one counts again; whoever reads the lists is told what is wrong.
            Err(error) => tracing::debug!(%error, "cannot count the nodes"),
        }
    }
}

/// The service. All paths but those of the operator come to one function, because the network puts
/// anything before them.
pub(crate) fn router(service: Service) -> Router {
    Router::new().fallback(answer).with_state(service)
}

async fn answer(State(service): State<Service>, request: Request) -> Response {
    let mut response = match respond(&service, request).await {
        Ok(body) => respond_with(StatusCode::OK, body),
        Err(refusal) => {
            if refusal != Refusal::Preflight {
                add(&service.tally.refused);
            }
            refusal.into_response()
        }
    };
    // Any web page may read what is public, and the API has no cookies to protect.
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("*"));
    response
}

async fn respond(service: &Service, request: Request) -> Result<Bytes, Refusal> {
    let target = Target::parse(request.uri().path()).ok_or(Refusal::NotFound)?;
    let (method, body) = (request.method().clone(), request.into_body());
    match (method, target) {
        (Method::OPTIONS, _) => Err(Refusal::Preflight),
        (Method::POST, Target::Announce) => announce(service, body).await.inspect_err(|_| {
            add(&service.tally.announcements_refused);
        }),
        (_, Target::Announce) => Err(Refusal::Method {
            allowed: "POST, OPTIONS",
        }),
        (Method::GET | Method::HEAD, Target::Document(document)) => read(service, &document).await,
        (_, Target::Document(_)) => Err(Refusal::Method {
            allowed: "GET, HEAD, OPTIONS",
        }),
    }
}

async fn read(service: &Service, document: &Document) -> Result<Bytes, Refusal> {
    let Service { store, tally } = service;
    let lists = store
        .lists()
        .await
        .map_err(|error| Refusal::storage(&error))?;
    match document {
        Document::Gateways => {
            add(&tally.read_gateways);
            Ok(lists.gateways_body.clone())
        }
        Document::Health => Ok(health(&lists)),
        Document::Mixnodes => {
            add(&tally.read_mixnodes);
            Ok(lists.mixnodes_body.clone())
        }
        Document::Query { base64 } => {
            let answer = query(&lists, base64)?;
            add(&tally.queries);
            Ok(answer)
        }
    }
}

fn health(lists: &Lists) -> Bytes {
    let health = serde_json::json!({
        "status": "ok",
        "version": env!("CARGO_PKG_VERSION"),
        "mixnodes": lists.mixnodes.len(),
        "gateways": lists.gateways.len(),
    });
    health.to_string().into()
}

fn query(lists: &Lists, base64: &str) -> Result<Bytes, Refusal> {
    let query = Query::from_base64(base64).map_err(|error| Refusal::BadRequest {
        reason: error.to_string(),
    })?;
    let answer = match query {
        Query::GetGateways { start_after, limit } => wrap_answer(
            lists.height,
            &PageAnswer::cut(&lists.gateways, limit, start_after.as_deref()),
        ),
        Query::GetMixNodes { limit, start_after } => wrap_answer(
            lists.height,
            &PageAnswer::cut(&lists.mixnodes, limit, start_after.as_deref()),
        ),
        Query::LayerDistribution {} => wrap_answer(lists.height, &lists.distribution),
    };
    Ok(answer.into())
}

async fn announce(service: &Service, body: Body) -> Result<Bytes, Refusal> {
    let Service { store, tally } = service;
    let body = to_bytes(body, ANNOUNCEMENT_LEN_MAX)
        .await
        .map_err(|_| Refusal::TooLong)?;
    let text = str::from_utf8(&body).map_err(|_| Refusal::BadRequest {
        reason: "the body is not UTF-8".to_owned(),
    })?;
    let announcement = Announcement::parse(text)?;
    let verified = announcement.verify(unix_time_secs(), CLOCK_SKEW_MAX_SECS)?;
    let identity = *verified.identity();
    let status = match store.announce(verified).await {
        Ok(Announced::New) => {
            tracing::info!(node = %identity, "a node has joined");
            add(&tally.announced_new);
            service.count_nodes().await;
            "new"
        }
        Ok(Announced::Renewed) => {
            add(&tally.announced_again);
            "renewed"
        }
        Err(RegistryError::Storage(error)) => return Err(Refusal::storage(&error)),
        Err(RegistryError::Full) => return Err(Refusal::Full),
        Err(RegistryError::Outdated) => return Err(Refusal::Outdated),
        Err(taken) => {
            let reason = taken.to_string();
            return Err(Refusal::Taken { reason });
        }
    };
    Ok(serde_json::json!({ "status": status }).to_string().into())
}

/// Every answer but success.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    BadRequest {
        reason: String,
    },
    Full,
    Method {
        allowed: &'static str,
    },
    NotFound,
    Outdated,
    /// Not a refusal but the answer to a browser that asks beforehand.
    Preflight,
    Signature {
        reason: String,
    },
    Storage,
    /// Another node is where this one says it is.
    Taken {
        reason: String,
    },
    TooLong,
}

impl Refusal {
    /// The reason stays here: it may name files of this machine.
    fn storage(error: &dyn std::error::Error) -> Self {
        tracing::error!(error = %error, "the registry failed");
        Self::Storage
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest { .. } => StatusCode::BAD_REQUEST,
            Self::Full => StatusCode::INSUFFICIENT_STORAGE,
            Self::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Outdated | Self::Taken { .. } => StatusCode::CONFLICT,
            Self::Preflight => StatusCode::NO_CONTENT,
            Self::Signature { .. } => StatusCode::FORBIDDEN,
            Self::Storage => StatusCode::INTERNAL_SERVER_ERROR,
            Self::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
        }
    }

    fn reason(&self) -> String {
        match self {
            Self::BadRequest { reason } | Self::Signature { reason } => reason.clone(),
            Self::Full => "the registry is full".to_owned(),
            Self::Method { allowed } => format!("allowed here: {allowed}"),
            Self::NotFound => {
                "there is nothing here; /v1/mixnodes and /v1/gateways list the nodes".to_owned()
            }
            Self::Outdated => "a later announcement of this node is known".to_owned(),
            Self::Preflight => String::new(),
            Self::Storage => {
                "the registry failed; its operator finds the reason in the log".to_owned()
            }
            Self::Taken { reason } => {
                format!("{reason}: announce another, or wait until that node is forgotten")
            }
            Self::TooLong => format!("an announcement has at most {ANNOUNCEMENT_LEN_MAX} bytes"),
        }
    }

    fn into_response(self) -> Response {
        let body = match self {
            Self::Preflight => Bytes::new(),
            _ => serde_json::json!({ "error": self.reason() })
                .to_string()
                .into(),
        };
        let mut response = respond_with(self.status(), body);
        if let Self::Method { allowed } = self {
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static(allowed));
        }
        response
    }
}

impl From<AnnouncementError> for Refusal {
    fn from(error: AnnouncementError) -> Self {
        let reason = error.to_string();
        match error {
            AnnouncementError::Signature => Self::Signature { reason },
            _ => Self::BadRequest { reason },
        }
    }
}

fn respond_with(status: StatusCode, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
