//! Talking to the validators: who is in the network, and "I am".
//!
//! A [`Directory`] knows the configured validators and asks them in random order until one gives
//! a usable answer, so that one dead or broken validator costs a timeout and nothing else. Every
//! answer is bounded in time and length. The HTTP status of an answer to a query is ignored: what
//! parses is an answer, as in the 0.11 network.
//!
//! The two complete lists are looked for at the port that the configured URL names (our
//! validators serve everything there) and then at port 8080 of the same host, where the 0.11
//! network has them.
//!
//! A validator with an https URL is asked inside TLS 1.3 and nothing else, and has to prove that it
//! is the host of that name, by a certificate of somebody whom the operating system trusts or of the
//! operator's own authority ([`Validators::ca_file`]). What a validator with an http URL says can be
//! changed on the way; a [`Directory`] warns of that when it is made, unless the validator is on this
//! machine. No answer leads from one to the other.

mod request;
mod validators;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use nym_protocol::validator::url::{API_PORT_DEFAULT, CachedList};
use nym_protocol::validator::{
    Announcement, Bond, BondList, GatewayBond, MixNodeBond, Query, Topology, ValidatorUrl, query,
    topology,
};
use rand::Rng;
use rand::seq::SliceRandom as _;
use tokio::time::{Instant, timeout, timeout_at};

use crate::directory::request::{HttpClient, no_list};
use crate::tls::PemFileError;

pub use crate::directory::request::{RequestFailure, RequestProblem};
pub use crate::directory::validators::{CA_FILE_COMMENT, CA_FILE_KEY, Validators};

/// Names resolved at the same time.
const LOOKUP_COUNT: usize = 16;

/// Announcements sent at the same time.
const ANNOUNCE_COUNT: usize = 8;

/// Bounds of a conversation with the validators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectoryLimits {
    /// All name lookups of one download together; hosts not resolved by then are left out.
    pub lookup_timeout: Duration,
    /// Pages of one list. A page has 50 nodes by default, so 400 pages are 20,000 nodes.
    pub page_count: usize,
    /// One request with its answer.
    pub request_timeout: Duration,
    /// The longest answer, in bytes. A bond takes about 400, so 16 MiB are 40,000 nodes.
    pub response_len: usize,
}

impl Default for DirectoryLimits {
    fn default() -> Self {
        Self {
            lookup_timeout: Duration::from_secs(15),
            page_count: 400,
            request_timeout: Duration::from_secs(10),
            response_len: 16 << 20,
        }
    }
}

/// Why nothing could be learned, or nobody was told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// The file of authorities is not what it should be.
    #[error("`{key}`: {0}", key = CA_FILE_KEY)]
    CaFile(#[from] PemFileError),
    /// The HTTP client could not be set up.
    #[error("cannot set up HTTP: {problem}")]
    Client {
        /// What is wrong.
        problem: String,
    },
    /// Every configured validator failed.
    #[error("no validator gave a usable answer: {}", join(failures))]
    NoAnswer {
        /// What happened to each request.
        failures: Vec<RequestFailure>,
    },
    /// A validator is to be asked by https, and there is nobody whose word is taken for it.
    #[error("the operating system trusts nobody to vouch for an https validator: {problem}")]
    NoSystemAuthorities {
        /// What is wrong.
        problem: String,
    },
    /// The configuration names no validator.
    #[error("no validator is configured")]
    NoValidators,
}

impl DirectoryError {
    /// Whether what is configured is wrong, so that nobody was asked.
    #[must_use]
    pub const fn is_of_configuration(&self) -> bool {
        !matches!(self, Self::NoAnswer { .. })
    }

    /// What to do about it, where that is known.
    #[must_use]
    pub const fn advice(&self) -> Option<&'static str> {
        match self {
            Self::CaFile(_) => Some(
                "name a PEM file with the certificate of the validators' authority, or none to trust \
                 whom the operating system trusts",
            ),
            Self::NoSystemAuthorities { .. } => Some(
                "install the certificates of the operating system (package `ca-certificates`), or name \
                 a file with those of the validators' authority in `validator_ca_file`",
            ),
            Self::Client { .. } | Self::NoAnswer { .. } | Self::NoValidators => None,
        }
    }
}

fn join(failures: &[RequestFailure]) -> String {
    let texts: Vec<String> = failures.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

/// The two complete lists of one validator.
#[derive(Debug, Clone)]
pub struct NodeLists {
    /// All mix nodes, and what in the list is none.
    pub mixnodes: BondList<MixNodeBond>,
    /// All gateways, and what in the list is none.
    pub gateways: BondList<GatewayBond>,
}

/// Who heard an announcement.
#[derive(Debug)]
#[must_use]
pub struct AnnounceOutcome {
    /// Validators that took it over, at least one.
    pub accepted_count: usize,
    /// What happened with the others.
    pub failures: Vec<RequestFailure>,
}

/// The way to the configured validators.
#[derive(Debug, Clone)]
pub struct Directory {
    http: HttpClient,
    validators: Vec<ValidatorUrl>,
    limits: DirectoryLimits,
}

impl Directory {
    /// A directory that asks these validators. It warns of those whose answers can be forged.
    ///
    /// # Errors
    ///
    /// * [`DirectoryError::NoValidators`] when there is none
    /// * [`DirectoryError::CaFile`] when the file of authorities is missing or holds none
    /// * [`DirectoryError::NoSystemAuthorities`] when a validator is to be asked by https without
    ///   such a file, and the operating system trusts nobody
    /// * [`DirectoryError::Client`] when the HTTP client cannot be set up
    pub fn new(
        validators: impl Into<Validators>,
        limits: DirectoryLimits,
    ) -> Result<Self, DirectoryError> {
        let validators = validators.into();
        if validators.urls.is_empty() {
            return Err(DirectoryError::NoValidators);
        }
        let http = HttpClient::new(validators.authorities()?, limits)?;
        validators.warn_of_forgeable();
        Ok(Self {
            http,
            validators: validators.urls,
            limits,
        })
    }

    /// The nodes that a client may use: both lists of one validator, filtered by version and
    /// resolved.
    ///
    /// A validator whose nodes make no route is passed over for one whose nodes do; if there is
    /// none, the first unroutable answer is given, which the caller recognises by
    /// [`Topology::is_routable`].
    ///
    /// # Errors
    ///
    /// [`DirectoryError::NoAnswer`] when every validator failed.
    pub async fn topology<R: Rng + ?Sized>(
        &self,
        required_version: Option<&str>,
        rng: &mut R,
    ) -> Result<Topology, DirectoryError> {
        let mut failures = Vec::new();
        let mut unroutable = None;
        for validator in self.shuffled(rng) {
            match self.lists_of(&validator, &mut failures).await {
                Some(lists) => {
                    let topology = self.resolve(&lists, required_version).await;
                    if topology.is_routable() {
                        return Ok(topology);
                    }
                    unroutable.get_or_insert(topology);
                }
                None => continue,
            }
        }
        unroutable.ok_or(DirectoryError::NoAnswer { failures })
    }

    /// Both complete lists of the first validator that has them.
    ///
    /// # Errors
    ///
    /// [`DirectoryError::NoAnswer`] when every validator failed.
    pub async fn lists<R: Rng + ?Sized>(&self, rng: &mut R) -> Result<NodeLists, DirectoryError> {
        let mut failures = Vec::new();
        for validator in self.shuffled(rng) {
            if let Some(lists) = self.lists_of(&validator, &mut failures).await {
                return Ok(lists);
            }
        }
        Err(DirectoryError::NoAnswer { failures })
    }

    /// The complete list of mix nodes of the first validator that has it.
    ///
    /// # Errors
    ///
    /// [`DirectoryError::NoAnswer`] when every validator failed.
    pub async fn mixnodes<R: Rng + ?Sized>(
        &self,
        rng: &mut R,
    ) -> Result<BondList<MixNodeBond>, DirectoryError> {
        self.list(CachedList::Mixnodes, rng).await
    }

    /// The complete list of gateways of the first validator that has it.
    ///
    /// # Errors
    ///
    /// [`DirectoryError::NoAnswer`] when every validator failed.
    pub async fn gateways<R: Rng + ?Sized>(
        &self,
        rng: &mut R,
    ) -> Result<BondList<GatewayBond>, DirectoryError> {
        self.list(CachedList::Gateways, rng).await
    }

    /// All mix nodes, page by page, by queries to `contract`.
    ///
    /// # Errors
    ///
    /// [`DirectoryError::NoAnswer`] when every validator failed.
    pub async fn query_mixnodes<R: Rng + ?Sized>(
        &self,
        contract: &str,
        rng: &mut R,
    ) -> Result<BondList<MixNodeBond>, DirectoryError> {
        self.query_pages(contract, Query::mix_nodes, rng).await
    }

    /// All gateways, page by page, by queries to `contract`.
    ///
    /// # Errors
    ///
    /// [`DirectoryError::NoAnswer`] when every validator failed.
    pub async fn query_gateways<R: Rng + ?Sized>(
        &self,
        contract: &str,
        rng: &mut R,
    ) -> Result<BondList<GatewayBond>, DirectoryError> {
        self.query_pages(contract, Query::gateways, rng).await
    }

    /// Tells every validator what a node says about itself.
    ///
    /// # Errors
    ///
    /// [`DirectoryError::NoAnswer`] when no validator took it over.
    pub async fn announce(
        &self,
        announcement: &Announcement,
    ) -> Result<AnnounceOutcome, DirectoryError> {
        let body = announcement.to_json();
        let outcomes: Vec<Result<(), RequestFailure>> =
            stream::iter(self.validators.iter().map(ValidatorUrl::announce))
                .map(|url| self.http.post(url, body.clone()))
                .buffered(ANNOUNCE_COUNT)
                .collect()
                .await;
        let mut outcome = AnnounceOutcome {
            accepted_count: 0,
            failures: Vec::new(),
        };
        for answer in outcomes {
            match answer {
                Ok(()) => outcome.accepted_count += 1,
                Err(failure) => outcome.failures.push(failure),
            }
        }
        if outcome.accepted_count == 0 {
            return Err(DirectoryError::NoAnswer {
                failures: outcome.failures,
            });
        }
        Ok(outcome)
    }

    fn shuffled<R: Rng + ?Sized>(&self, rng: &mut R) -> Vec<ValidatorUrl> {
        let mut validators = self.validators.clone();
        validators.shuffle(rng);
        validators
    }

    /// Both lists of one validator; what fails is added to `failures`.
    async fn lists_of(
        &self,
        validator: &ValidatorUrl,
        failures: &mut Vec<RequestFailure>,
    ) -> Option<NodeLists> {
        for place in list_places(validator) {
            match self.lists_at(&place).await {
                Ok(lists) => return Some(lists),
                Err(failure) => failures.push(failure),
            }
        }
        None
    }

    async fn lists_at(&self, place: &ValidatorUrl) -> Result<NodeLists, RequestFailure> {
        Ok(NodeLists {
            mixnodes: self.list_at(place, CachedList::Mixnodes).await?,
            gateways: self.list_at(place, CachedList::Gateways).await?,
        })
    }

    async fn list<B: Bond, R: Rng + ?Sized>(
        &self,
        list: CachedList,
        rng: &mut R,
    ) -> Result<BondList<B>, DirectoryError> {
        let mut failures = Vec::new();
        for validator in self.shuffled(rng) {
            for place in list_places(&validator) {
                match self.list_at(&place, list).await {
                    Ok(list) => return Ok(list),
                    Err(failure) => failures.push(failure),
                }
            }
        }
        Err(DirectoryError::NoAnswer { failures })
    }

    async fn list_at<B: Bond>(
        &self,
        place: &ValidatorUrl,
        list: CachedList,
    ) -> Result<BondList<B>, RequestFailure> {
        let url = place.cached_list(list);
        let body = self.http.get(&url).await?;
        let list = BondList::parse(&body)
            .map_err(|error| RequestFailure::new(&url, no_list(&body, error)))?;
        log_rejected(&url, &list);
        Ok(list)
    }

    async fn query_pages<B: Bond, R: Rng + ?Sized>(
        &self,
        contract: &str,
        query: fn(Option<String>) -> Query,
        rng: &mut R,
    ) -> Result<BondList<B>, DirectoryError> {
        let mut failures = Vec::new();
        for validator in self.shuffled(rng) {
            match self.query_pages_of(&validator, contract, query).await {
                Ok(list) => return Ok(list),
                Err(failure) => failures.push(failure),
            }
        }
        Err(DirectoryError::NoAnswer { failures })
    }

    async fn query_pages_of<B: Bond>(
        &self,
        validator: &ValidatorUrl,
        contract: &str,
        query: fn(Option<String>) -> Query,
    ) -> Result<BondList<B>, RequestFailure> {
        let mut all = BondList {
            bonds: Vec::new(),
            rejected: Vec::new(),
        };
        let mut start_after = None;
        for _ in 0..self.limits.page_count {
            let url = validator.contract_query(contract, &query(start_after.clone()));
            let body = self.http.get(&url).await?;
            let answer =
                query::unwrap_answer(&body).map_err(|error| RequestFailure::new(&url, error))?;
            let page: query::Page<B> =
                query::Page::parse(&answer).map_err(|error| RequestFailure::new(&url, error))?;
            log_rejected(&url, &page.list);
            all.bonds.extend(page.list.bonds);
            all.rejected.extend(page.list.rejected);
            match page.start_next_after {
                None => return Ok(all),
                next => start_after = next,
            }
        }
        let problem = RequestProblem::TooManyPages {
            limit: self.limits.page_count,
        };
        Err(RequestFailure::new(
            &validator.contract_query(contract, &query(None)),
            problem,
        ))
    }

    /// The topology of two lists, with the addresses of all host names that could be resolved.
    async fn resolve(&self, lists: &NodeLists, required_version: Option<&str>) -> Topology {
        let (mixnodes, gateways) = (&lists.mixnodes.bonds, &lists.gateways.bonds);
        let addresses = resolve_all(
            topology::host_names(mixnodes, gateways),
            self.limits.lookup_timeout,
        )
        .await;
        let (topology, skipped) = Topology::from_bonds(
            mixnodes,
            gateways,
            |host, port| addresses.get(&(host.to_owned(), port)).copied(),
            required_version,
        );
        for node in skipped {
            tracing::debug!(%node, "not used");
        }
        topology
    }
}

/// Where a validator may have its complete lists: at its own port, then at that of the 0.11
/// network.
fn list_places(validator: &ValidatorUrl) -> Vec<ValidatorUrl> {
    let own_port = reqwest::Url::parse(&validator.to_string())
        .ok()
        .and_then(|url| url.port_or_known_default());
    let mut ports: Vec<u16> = own_port.into_iter().chain([API_PORT_DEFAULT]).collect();
    ports.dedup();
    ports
        .into_iter()
        .map(|port| validator.clone().with_api_port(port))
        .collect()
}

fn log_rejected<B>(url: &str, list: &BondList<B>) {
    if let Some(first) = list.rejected.first() {
        let count = list.rejected.len();
        tracing::warn!(url, count, %first, "malformed bonds are left out");
    }
}

/// The first address of each host, for those that can be resolved within `patience`.
async fn resolve_all(
    hosts: Vec<(String, u16)>,
    patience: Duration,
) -> BTreeMap<(String, u16), SocketAddr> {
    let deadline = Instant::now() + patience;
    let mut lookups = stream::iter(hosts)
        .map(|(host, port)| async move {
            let found = timeout(patience, tokio::net::lookup_host((host.as_str(), port))).await;
            let address = found.ok()?.ok()?.next()?;
            Some(((host, port), address))
        })
        .buffer_unordered(LOOKUP_COUNT);
    let mut addresses = BTreeMap::new();
    while let Ok(Some(found)) = timeout_at(deadline, lookups.next()).await {
        addresses.extend(found);
    }
    addresses
}

#[cfg(test)]
mod tests;
