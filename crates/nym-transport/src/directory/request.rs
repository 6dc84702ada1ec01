//! One HTTP request, bounded in time and length.

use std::error::Error;

use nym_protocol::validator::bond::ListError;
use nym_protocol::validator::query::{EnvelopeError, PageError};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, RequestBuilder, Response, StatusCode};

use crate::directory::{DirectoryError, DirectoryLimits};

/// How many bytes of a refusal are read for its reason.
const REFUSAL_LEN: usize = 4096;

/// A request that gave nothing usable.
#[derive(Debug, thiserror::Error)]
#[error("{url}: {problem}")]
pub struct RequestFailure {
    /// What was asked.
    pub url: String,
    /// What happened.
    #[source]
    pub problem: RequestProblem,
}

impl RequestFailure {
    pub(super) fn new(url: &str, problem: impl Into<RequestProblem>) -> Self {
        Self {
            url: url.to_owned(),
            problem: problem.into(),
        }
    }
}

/// Why a request gave nothing usable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestProblem {
    /// The answer is not that to a contract query.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The request failed before there was an answer, or within it.
    #[error("{reason}")]
    Http {
        /// What the HTTP client says.
        reason: String,
    },
    /// The answer is not a list of nodes.
    #[error(transparent)]
    List(#[from] ListError),
    /// The answer is not a page of nodes.
    #[error(transparent)]
    Page(#[from] PageError),
    /// The validator did not take over what was posted.
    #[error("refused with status {status}: {reason}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The validator's words, or nothing.
        reason: String,
    },
    /// There was no complete answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// The answer is too long.
    #[error("the answer is longer than {limit} bytes")]
    TooLong {
        /// The longest answer allowed.
        limit: usize,
    },
    /// The list has too many pages.
    #[error("the list has more than {limit} pages")]
    TooManyPages {
        /// The largest number of pages allowed.
        limit: usize,
    },
}

impl From<reqwest::Error> for RequestProblem {
    /// The URL is named beside the problem already, so it is left out here.
    fn from(error: reqwest::Error) -> Self {
        if error.is_timeout() {
            return Self::TimedOut;
        }
        // The client's own text says that something failed, its causes say what.
        let error = error.without_url();
        let mut reason = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            reason = inner.to_string();
            cause = inner.source();
        }
        Self::Http { reason }
    }
}

#[derive(Debug, Clone)]
pub(super) struct HttpClient {
    client: Client,
    response_len: usize,
}

impl HttpClient {
    pub(super) fn new(limits: DirectoryLimits) -> Result<Self, DirectoryError> {
        let client = Client::builder()
            .timeout(limits.request_timeout)
            // The network is reached directly by everything else, too.
            .no_proxy()
            .build()
            .map_err(|error| DirectoryError::Client {
                problem: error.to_string(),
            })?;
        Ok(Self {
            client,
            response_len: limits.response_len,
        })
    }

    /// The body of the answer, whatever its status.
    pub(super) async fn get(&self, url: &str) -> Result<String, RequestFailure> {
        let body = async {
            let response = self.client.get(url).send().await?;
            read_body(response, self.response_len).await
        };
        body.await
            .map_err(|problem| RequestFailure::new(url, problem))
    }

    /// Posts JSON; success means that it was accepted.
    pub(super) async fn post(&self, url: String, json: String) -> Result<(), RequestFailure> {
        let request = self
            .client
            .post(&url)
            .header(CONTENT_TYPE, "application/json")
            .body(json);
        accepted(request)
            .await
            .map_err(|problem| RequestFailure::new(&url, problem))
    }
}

async fn accepted(request: RequestBuilder) -> Result<(), RequestProblem> {
    let response = request.send().await?;
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let body = read_body(response, REFUSAL_LEN).await.unwrap_or_default();
    Err(RequestProblem::Refused {
        status: status.as_u16(),
        reason: refusal(status, &body),
    })
}

/// The reason in `{"error":"…"}`, or else what the status means.
fn refusal(status: StatusCode, body: &str) -> String {
    #[derive(serde::Deserialize)]
    struct Refusal {
        error: String,
    }
    match serde_json::from_str(body) {
        Ok(Refusal { error }) => error,
        Err(_) => status
            .canonical_reason()
            .unwrap_or("no reason given")
            .to_owned(),
    }
}

/// Reads a body piece by piece, so that its announced length never becomes our memory. Bytes that
/// are not UTF-8 become replacement characters, which no document survives where they matter.
async fn read_body(mut response: Response, limit: usize) -> Result<String, RequestProblem> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > limit {
            return Err(RequestProblem::TooLong { limit });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}
