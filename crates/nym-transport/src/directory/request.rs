//! One HTTP request, bounded in time and length.

use std::error::Error;
use std::io;

use nym_protocol::validator::bond::ListError;
use nym_protocol::validator::query::{EnvelopeError, PageError};
use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::{Action, Attempt, Policy};
use reqwest::tls::Version;
use reqwest::{Certificate, Client, RequestBuilder, Response, StatusCode};
use rustls::{CertificateError, Error as TlsError, InvalidMessage};

use crate::directory::validators::CA_FILE_KEY;
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
    /// The certificate does not prove that this is the validator.
    #[error("its certificate is refused: {reason}")]
    Certificate {
        /// Why.
        reason: String,
    },
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
    /// There is a refusal where a list should be.
    #[error("it answers: {reason}")]
    NoList {
        /// The validator's words.
        reason: String,
    },
    /// An https validator answers in clear.
    #[error("it speaks no TLS there")]
    NoTls,
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
        let error = error.without_url();
        match tls_error(&error) {
            Some(TlsError::InvalidCertificate(problem)) => Self::Certificate {
                reason: why_refused(problem),
            },
            Some(TlsError::InvalidMessage(InvalidMessage::InvalidContentType)) => Self::NoTls,
            _ => Self::Http {
                reason: last_cause(&error),
            },
        }
    }
}

/// The client's own text says that something failed, its causes say what.
fn last_cause(error: &reqwest::Error) -> String {
    let mut reason = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        reason = inner.to_string();
        cause = inner.source();
    }
    reason
}

/// What TLS says, if a request failed by it.
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a TlsError> {
    if let Some(found) = error.downcast_ref() {
        return Some(found);
    }
    // An I/O error does not count what it wraps as its source.
    let wrapped = error.downcast_ref().and_then(io::Error::get_ref);
    match wrapped {
        Some(inner) => tls_error(inner),
        None => tls_error(error.source()?),
    }
}

fn why_refused(problem: &CertificateError) -> String {
    match problem {
        CertificateError::UnknownIssuer => format!(
            "nobody vouches for it who is trusted here; if its issuer should be, name a file with \
             the issuer's certificate in `{CA_FILE_KEY}`"
        ),
        other => other.to_string(),
    }
}

/// Why an answer that leads elsewhere is not followed.
#[derive(Debug, thiserror::Error)]
enum RedirectRefused {
    /// The other place could be anybody's.
    #[error("it leads from https to plain HTTP, which is not followed")]
    ToHttp,
    /// Who can forge the answer would choose who is asked.
    #[error("it wants to be asked by https; configure its https URL")]
    ToHttps,
}

/// Follows within a scheme, as often as the HTTP client does by itself.
fn redirect(attempt: Attempt<'_>) -> Action {
    let from_https = attempt.previous().last().map(|url| url.scheme() == "https");
    let to_https = attempt.url().scheme() == "https";
    match from_https {
        Some(true) if !to_https => attempt.error(RedirectRefused::ToHttp),
        Some(false) if to_https => attempt.error(RedirectRefused::ToHttps),
        _ => Policy::default().redirect(attempt),
    }
}

#[derive(Debug, Clone)]
pub(super) struct HttpClient {
    client: Client,
    response_len: usize,
}

impl HttpClient {
    pub(super) fn new(
        authorities: Vec<Certificate>,
        limits: DirectoryLimits,
    ) -> Result<Self, DirectoryError> {
        let client = Client::builder()
            .timeout(limits.request_timeout)
            // The network is reached directly by everything else, too.
            .no_proxy()
            .redirect(Policy::custom(redirect))
            .tls_version_min(Version::TLS_1_3)
            .tls_certs_only(authorities)
            .build()
            .map_err(|error| DirectoryError::Client {
                problem: last_cause(&error),
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
    stated_reason(body).unwrap_or_else(|| {
        let meaning = status.canonical_reason();
        meaning.unwrap_or("no reason given").to_owned()
    })
}

/// The reason in `{"error":"…"}`.
fn stated_reason(body: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Refusal {
        error: String,
    }
    let is_short = body.len() <= REFUSAL_LEN;
    let refusal: Refusal = is_short.then(|| serde_json::from_str(body).ok())??;
    Some(refusal.error)
}

/// Why `body` is no list: in the words of the validator, if it has some.
pub(super) fn no_list(body: &str, error: ListError) -> RequestProblem {
    match stated_reason(body) {
        Some(reason) => RequestProblem::NoList { reason },
        None => error.into(),
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
