//! A node's own pages.
//!
//! | Request | Answer |
//! |---|---|
//! | `GET /stats` | the counters, see [`stats`](crate::stats); with `?debug=true` per next hop |
//! | `GET /description` | what the operator says about the node |
//! | `GET /health` | `{"status":"up","announced":…}` |
//! | anything else | 404, `I couldn't find '<path and query>'. Try something else?` |
//!
//! [`HttpServer`](nym_daemon::http::HttpServer) serves them and bounds what strangers can do.

use axum::Router;
use axum::extract::{Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::{Deserialize, Serialize};

use crate::announce::Announced;
use crate::counters::Counters;

/// What the operator says about a node; the content of `description.toml`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Description {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Where to read more.
    pub link: String,
    /// Where it stands.
    pub location: String,
}

impl Default for Description {
    fn default() -> Self {
        let unset = |what| format!("This node has not yet set a {what}");
        Self {
            name: unset("name"),
            description: unset("description"),
            link: "https://nymtech.net".to_owned(),
            location: unset("location"),
        }
    }
}

/// The pages of a node.
pub fn router(counters: Counters, description: Description, announced: Announced) -> Router {
    Router::new()
        .route("/stats", get(stats))
        .route("/description", get(describe))
        .route("/health", get(health))
        .fallback(not_found)
        .method_not_allowed_fallback(not_found)
        .with_state(Pages {
            counters,
            description,
            announced,
        })
}

#[derive(Clone)]
struct Pages {
    counters: Counters,
    description: Description,
    announced: Announced,
}

#[derive(Deserialize)]
struct StatsQuery {
    #[serde(default)]
    debug: String,
}

async fn stats(State(pages): State<Pages>, Query(query): Query<StatsQuery>) -> Response {
    json(pages.counters.to_json(query.debug == "true"))
}

async fn describe(State(pages): State<Pages>) -> Response {
    json(serde_json::to_string(&pages.description).expect("texts have a JSON form"))
}

async fn health(State(pages): State<Pages>) -> Response {
    json(format!(
        "{{\"status\":\"up\",\"announced\":{}}}",
        pages.announced.is_known()
    ))
}

async fn not_found(uri: Uri) -> Response {
    let wanted = uri.path_and_query().map_or("/", |wanted| wanted.as_str());
    let text = format!("I couldn't find '{wanted}'. Try something else?");
    (StatusCode::NOT_FOUND, text).into_response()
}

fn json(text: String) -> Response {
    ([(CONTENT_TYPE, "application/json")], text).into_response()
}

#[cfg(test)]
mod tests {
    use nym_daemon::http::{HttpLimits, HttpServer};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::task::JoinSet;
    use tokio_util::sync::CancellationToken;

    use super::*;

    /// Status line and body of the answer to each request line.
    async fn answers<const N: usize>(requests: [&str; N]) -> [(String, String); N] {
        let any_port = "127.0.0.1:0".parse().unwrap();
        let server = HttpServer::bind(any_port, HttpLimits::default())
            .await
            .unwrap();
        let address = server.address();
        let counters = Counters::start();
        let router = router(counters, Description::default(), Announced::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(server.run(router, CancellationToken::new()));
        let mut answers = Vec::new();
        for request in requests {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let text = format!("{request} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
            stream.write_all(text.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            answers.push((head.lines().next().unwrap().to_owned(), body.to_owned()));
        }
        answers.try_into().unwrap()
    }

    #[tokio::test]
    async fn pages_answer_as_specified() {
        let [stats, debug, description, health] = answers([
            "GET /stats",
            "GET /stats?debug=true",
            "GET /description",
            "GET /health",
        ])
        .await;
        assert!(
            stats.1.contains("\"packets_sent_since_startup\":0,"),
            "{}",
            stats.1
        );
        assert!(
            debug.1.contains("\"packets_sent_since_startup\":{},"),
            "{}",
            debug.1
        );
        assert_eq!(
            description.1,
            "{\"name\":\"This node has not yet set a name\",\
             \"description\":\"This node has not yet set a description\",\
             \"link\":\"https://nymtech.net\",\
             \"location\":\"This node has not yet set a location\"}"
        );
        assert_eq!(health.1, "{\"status\":\"up\",\"announced\":false}");
        for (status, _) in [stats, debug, description, health] {
            assert_eq!(status, "HTTP/1.1 200 OK");
        }
    }

    #[tokio::test]
    async fn everything_else_is_not_found() {
        let [path, method] = answers(["GET /what?a=b", "POST /stats"]).await;
        assert_eq!(path.0, "HTTP/1.1 404 Not Found");
        assert_eq!(path.1, "I couldn't find '/what?a=b'. Try something else?");
        assert_eq!(method.0, "HTTP/1.1 404 Not Found");
        assert_eq!(method.1, "I couldn't find '/stats'. Try something else?");
    }
}
