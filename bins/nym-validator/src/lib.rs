//! The directory of a mixnet: nodes announce themselves, everybody reads the topology.
//!
//! A node posts what it says about itself to `/v1/announce`, signed with its identity key, and
//! repeats that every minute. The validator checks the signature, gives a new mix node the layer
//! with the fewest nodes, stores all of it in SQLite, and serves the documents that the programs
//! of the 0.11 network read: the complete lists and the paged contract queries. Nodes that stay
//! silent are removed.
//!
//! It is not a blockchain: there is no stake, no consensus, no account. Who runs it decides who
//! is in the network, as clients of the 0.11 network trust whoever answers them.
//!
//! The programs of the 0.11 network cannot announce themselves. Their operator bonds them with
//! `nym-validator bond`, which writes to the registry beside the running validator: whoever may
//! write that file may do so, and nobody from the network.
//!
//! | Request, after any path prefix and one or more slashes | Answer |
//! |---|---|
//! | `GET /v1/mixnodes`, `GET /v1/gateways` | array of bonds |
//! | `GET /wasm/contract/<contract>/smart/<base64 of a query>` | `{"height":"…","result":{"smart":"<base64>"}}` |
//! | `POST /v1/announce` | `{"status":"new"}` or `{"status":"renewed"}` |
//! | `GET /health` | `{"status":"ok",…}` |
//!
//! Only without a prefix there are `GET /`, `/ready` and `/metrics`, for the operator.
//!
//! Refusals are `{"error":"<what is wrong>"}` with a fitting status. Two ports serve the same
//! documents, because 0.11 programs look for the lists on a port of their own. Given a certificate,
//! both serve https, and plain HTTP only if [`Config::plain_http`] says so.
//!
//! # Example
//!
//! ```
//! use nym_validator::{Config, Validator};
//! use tokio_util::sync::CancellationToken;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let dir = tempfile::tempdir()?;
//! let config = Config { rest_port: 0, api_port: 0, ..Config::new(dir.path()) };
//! let validator = Validator::bind(config).await?;
//! let url = format!("http://{}/v1/mixnodes", validator.addresses().rest);
//!
//! let shutdown = CancellationToken::new();
//! let client = async {
//!     let body = reqwest::get(url).await?.text().await?;
//!     shutdown.cancel();
//!     Ok::<_, reqwest::Error>(body)
//! };
//! let (served, body) = tokio::join!(validator.run(shutdown.clone()), client);
//! served?;
//! assert_eq!(body?, "[]");
//! # Ok(())
//! # }
//! ```
//!
//! # Invariants
//!
//! * Nothing is listed that its node has not signed within [`Config::bond_ttl`] (and a short
//!   grace after a restart of the validator), or its operator has bonded.
//! * Every list that is served can be read by the strict rules of 0.11 programs.
//! * An address for packets belongs to one node, as long as that is listed.
//! * An announcement is accepted once: only a later one of the same node is accepted after it.
//! * An announcement that was answered with success survives a crash.

pub mod cli;
pub mod config;
pub mod registry;

mod metrics;
mod service;
mod store;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use nym_daemon::clock::unix_time_secs;
use nym_daemon::home::{HomeError, create_private_dir};
use nym_daemon::http::{HttpLimits, HttpServer};
use nym_daemon::metrics::Metrics;
use nym_daemon::pages::{self, Readiness};
use nym_transport::tls::{WebCertificate, WebCertificateError, WebPort};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use crate::metrics::ValidatorMetrics;
use crate::registry::SqliteRegistry;
use crate::service::Service;
use crate::store::Store;

pub use crate::config::{Config, Reloadable};

/// The file in the data directory that holds the nodes.
pub const REGISTRY_FILE: &str = "registry.sqlite";

/// What the first page says.
const WELCOME: &str = "This is nym-validator, the directory of a mixnet.\n\n\
    /v1/mixnodes and /v1/gateways list its nodes, /health counts them. /ready and /metrics are for\n\
    its operator.\n";

/// After a restart no node is removed for so long, or for the whole time to live if that is
/// shorter: while the validator was away, nobody could announce anything.
const RESTART_GRACE: Duration = Duration::from_secs(150);

/// Silent nodes are looked for so often, or four times in their time to live if that is more
/// often.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);

/// Connections at a time on each port. Every node and client connects for moments only.
const CONNECTION_COUNT: usize = 1024;

/// Why a validator cannot start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ValidatorError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the operating system answered.
        source: io::Error,
    },
    /// The certificate cannot be used.
    #[error("cannot serve https: {0}")]
    Certificate(#[from] WebCertificateError),
    /// The data directory cannot be made.
    #[error(transparent)]
    DataDirectory(#[from] HomeError),
    /// The stored nodes cannot be opened.
    #[error("cannot open {}", path.display())]
    Registry {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong.
        source: registry::StorageError,
    },
    /// A server failed while it ran.
    #[error("the HTTP server failed")]
    Serve(#[source] io::Error),
}

/// Where a validator listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// What nodes and clients are configured with, as `http://<rest>` or `https://<rest>`.
    pub rest: SocketAddr,
    /// Where 0.11 programs look for the complete lists.
    pub api: SocketAddr,
}

/// A handle to a validator that is, or will be, running.
#[derive(Debug, Clone)]
pub struct ValidatorControl {
    reloadable: watch::Sender<Reloadable>,
    web_port: Option<WebPort>,
}

impl ValidatorControl {
    /// Changes what can be changed. A validator that has stopped does not mind.
    pub fn reload(&self, to: Reloadable) {
        if let Some(web_port) = &self.web_port {
            web_port.set_plain_http(to.plain_http);
        }
        self.reloadable.send_replace(to);
    }

    /// Reads the files of the certificate again, if there is one, for connections from here on.
    ///
    /// # Errors
    ///
    /// [`WebCertificateError`]; the old certificate stays in use.
    pub fn reload_certificate(&self) -> Result<(), WebCertificateError> {
        self.web_port.as_ref().map_or(Ok(()), WebPort::reload)
    }
}

/// A validator whose ports are bound and whose nodes are loaded.
#[derive(Debug)]
pub struct Validator {
    servers: Vec<HttpServer>,
    addresses: Addresses,
    store: Arc<Store>,
    control: ValidatorControl,
    metrics_refresh: Duration,
}

impl Validator {
    /// Reads the certificate, if there is one, binds both ports and opens the stored nodes.
    ///
    /// # Errors
    ///
    /// [`ValidatorError`] naming the address, directory or file.
    pub async fn bind(config: Config) -> Result<Self, ValidatorError> {
        let web_port = match &config.certificate {
            Some((certificate, key)) => {
                let web_port = WebPort::new(WebCertificate::load(certificate, key)?);
                web_port.set_plain_http(config.plain_http);
                Some(web_port)
            }
            None => None,
        };
        create_private_dir(&config.data_dir)?;
        let path = config.data_dir.join(REGISTRY_FILE);
        let registry = SqliteRegistry::open(&path, config.node_count_max)
            .map_err(|source| ValidatorError::Registry { path, source })?;
        let rest = listen(SocketAddr::new(config.listen, config.rest_port)).await?;
        let mut addresses = Addresses {
            rest: rest.address(),
            api: rest.address(),
        };
        let mut servers = vec![rest];
        if config.api_port == 0 || config.api_port != config.rest_port {
            let api = listen(SocketAddr::new(config.listen, config.api_port)).await?;
            addresses.api = api.address();
            servers.push(api);
        }
        Ok(Self {
            servers,
            addresses,
            store: Arc::new(Store::new(registry)),
            control: ValidatorControl {
                reloadable: watch::Sender::new(config.reloadable()),
                web_port,
            },
            metrics_refresh: config.metrics_refresh,
        })
    }

    /// A handle to change what can change while the validator runs.
    #[must_use]
    pub fn control(&self) -> ValidatorControl {
        self.control.clone()
    }

    /// The addresses it listens on.
    #[must_use]
    pub const fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Serves until `shutdown` is cancelled.
    ///
    /// # Errors
    ///
    /// [`ValidatorError::Serve`] when a server fails; the other one is stopped as well.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), ValidatorError> {
        let service = Service {
            store: self.store,
            tally: Arc::default(),
        };
        let readiness = Readiness::default();
        let metrics = Box::new(ValidatorMetrics(Arc::clone(&service.tally)));
        let metrics = Metrics::refreshed_every(self.metrics_refresh, vec![metrics]);
        let pages = pages::router(WELCOME, readiness.clone(), metrics);
        let router = pages.merge(service::router(service.clone()));
        let stop = CancellationToken::new();
        let mut tasks = tokio::task::JoinSet::new();
        for server in self.servers {
            let (router, stop) = (router.clone(), stop.clone());
            match self.control.web_port.clone() {
                Some(web_port) => {
                    let open = move |stream| web_port.open(stream);
                    tasks.spawn(server.run_inside(open, router, stop));
                }
                None => {
                    tasks.spawn(server.run(router, stop));
                }
            }
        }
        service.count_nodes().await;
        let reloadable = self.control.reloadable.subscribe();
        tasks.spawn(sweep(service.clone(), reloadable.clone(), stop.clone()));
        tasks.spawn(bound_nodes(service, reloadable, stop.clone()));
        let drain = readiness
            .clone()
            .drain(shutdown, Duration::ZERO, stop.clone());
        tasks.spawn(async move {
            drain.await;
            Ok(())
        });
        readiness.set_ready();
        tracing::info!(rest = %self.addresses.rest, api = %self.addresses.api, "serving");
        let mut outcome = Ok(());
        while let Some(ended) = tasks.join_next().await {
            // When one part ends, for whatever reason, the others are of no use.
            stop.cancel();
            if let Err(error) = ended.map_err(io::Error::other).flatten() {
                outcome = Err(ValidatorError::Serve(error));
            }
        }
        outcome
    }
}

/// Binds a validator and serves until `shutdown` is cancelled.
///
/// # Errors
///
/// As [`Validator::bind`] and [`Validator::run`].
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), ValidatorError> {
    Validator::bind(config).await?.run(shutdown).await
}

async fn listen(address: SocketAddr) -> Result<HttpServer, ValidatorError> {
    let limits = HttpLimits {
        connections: CONNECTION_COUNT,
        ..HttpLimits::default()
    };
    HttpServer::bind(address, limits)
        .await
        .map_err(|source| ValidatorError::Bind { address, source })
}

/// Takes over how many nodes may be listed when that changes.
async fn bound_nodes(
    service: Service,
    mut reloadable: watch::Receiver<Reloadable>,
    stop: CancellationToken,
) -> io::Result<()> {
    // Cancel-safe: a change that was not seen is seen next time.
    while let Some(Ok(())) = stop.run_until_cancelled(reloadable.changed()).await {
        let count = reloadable.borrow_and_update().node_count_max;
        service.store.set_node_count_max(count).await;
    }
    Ok(())
}

/// Removes silent nodes from time to time.
async fn sweep(
    service: Service,
    reloadable: watch::Receiver<Reloadable>,
    stop: CancellationToken,
) -> io::Result<()> {
    let bond_ttl = reloadable.borrow().bond_ttl;
    let first = tokio::time::Instant::now() + RESTART_GRACE.min(bond_ttl);
    let period = SWEEP_INTERVAL
        .min(bond_ttl / 4)
        .max(Duration::from_millis(10));
    let mut ticks = interval_at(first, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let bond_ttl = reloadable.borrow().bond_ttl;
        let oldest = unix_time_secs().saturating_sub(bond_ttl.as_secs());
        match service.store.remove_silent_since(oldest).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "removed nodes that were silent for too long"),
            // The next round tries again; until then the lists are longer than they should be.
            Err(error) => tracing::error!(%error, "cannot remove silent nodes"),
        }
        // An operator may have changed the bonds meanwhile.
        service.count_nodes().await;
    }
    Ok(())
}

#[cfg(test)]
mod strict;
#[cfg(test)]
mod tests;
