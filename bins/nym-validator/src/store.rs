//! The registry as the HTTP service uses it: off the async threads, and with the answers to
//! reads kept ready.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use nym_daemon::clock::unix_time_secs;
use nym_protocol::validator::announcement::VerifiedAnnouncement;
use nym_protocol::validator::registry::{Announced, RegistryError};
use nym_protocol::validator::{GatewayBond, LayerDistribution, MixNodeBond, Registry as _};
use tokio::task::spawn_blocking;

use crate::registry::{SqliteRegistry, StorageError};

/// All nodes at one moment, and the bodies that list them.
#[derive(Debug)]
pub(crate) struct Lists {
    /// Grows from one change to the next; what a contract query calls the height.
    pub(crate) height: i64,
    pub(crate) mixnodes: Vec<MixNodeBond>,
    pub(crate) gateways: Vec<GatewayBond>,
    pub(crate) distribution: LayerDistribution,
    pub(crate) mixnodes_body: Bytes,
    pub(crate) gateways_body: Bytes,
}

/// The registry and its latest lists.
#[derive(Debug)]
pub(crate) struct Store {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    registry: SqliteRegistry,
    /// Made by the first read after a change, by this program or an operator's command.
    lists: Option<Arc<Lists>>,
    height: i64,
}

impl Store {
    pub(crate) fn new(registry: SqliteRegistry) -> Self {
        let height = i64::try_from(unix_time_secs()).unwrap_or(i64::MAX);
        Self {
            inner: Arc::new(Mutex::new(Inner {
                registry,
                lists: None,
                height,
            })),
        }
    }

    pub(crate) async fn announce(
        &self,
        announcement: VerifiedAnnouncement,
    ) -> Result<Announced, RegistryError<StorageError>> {
        self.with(|inner| {
            let announced = inner.registry.announce(announcement)?;
            inner.lists = None;
            Ok(announced)
        })
        .await
    }

    pub(crate) async fn set_node_count_max(&self, to: u32) {
        self.with(move |inner| inner.registry.set_node_count_max(to))
            .await;
    }

    pub(crate) async fn remove_silent_since(&self, timestamp: u64) -> Result<usize, StorageError> {
        self.with(move |inner| {
            let count = inner.registry.remove_silent_since(timestamp)?;
            if count > 0 {
                inner.lists = None;
            }
            Ok(count)
        })
        .await
    }

    pub(crate) async fn lists(&self) -> Result<Arc<Lists>, StorageError> {
        self.with(Inner::read).await
    }

    /// Runs a piece of work on the registry where blocking is allowed.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Inner) -> T + Send + 'static,
    ) -> T {
        let inner = Arc::clone(&self.inner);
        match spawn_blocking(move || work(&mut lock(&inner))).await {
            Ok(done) => done,
            // The work panicked: a defect, which belongs to the request that met it.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

/// A panic while the lock was held leaves the registry as its last commit, so it stays usable.
fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    fn read(&mut self) -> Result<Arc<Lists>, StorageError> {
        if self.registry.was_changed_by_others()? {
            tracing::info!("an operator has changed the bonds");
            self.lists = None;
        }
        if let Some(lists) = &self.lists {
            return Ok(Arc::clone(lists));
        }
        let (mixnodes, gateways) = (self.registry.mixnodes()?, self.registry.gateways()?);
        self.height = self.height.saturating_add(1);
        let lists = Arc::new(Lists {
            height: self.height,
            distribution: self.registry.layer_distribution()?,
            mixnodes_body: to_body(&mixnodes),
            gateways_body: to_body(&gateways),
            mixnodes,
            gateways,
        });
        self.lists = Some(Arc::clone(&lists));
        Ok(lists)
    }
}

fn to_body(bonds: &impl serde::Serialize) -> Bytes {
    serde_json::to_vec(bonds)
        .expect("bonds always have a JSON form")
        .into()
}
