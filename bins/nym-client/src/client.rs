//! A client: its tasks and the queues between them.

use std::net::SocketAddr;
use std::sync::Arc;

use nym_client_core::{ClientKeys, Engine};
use nym_daemon::clock::{Clock, unix_time_secs};
use nym_daemon::entropy;
use nym_packet::address::Recipient;
use nym_packet::keys::IdentityPublicKey;
use nym_protocol::gateway::SharedKeys;
use nym_transport::directory::{Directory, DirectoryLimits};
use rand::rngs::StdRng;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::app_connection::AppContext;
use crate::apps::Apps;
use crate::config::ClientConfig;
use crate::deliveries::Deliveries;
use crate::engine_task::{
    Bounds, EngineInput, EngineQueues, EngineTask, INPUT_QUEUE, ORDER_QUEUE, PACKET_QUEUE,
    TAKEN_QUEUE,
};
use crate::error::ClientError;
use crate::gateway_link::{GatewayLink, GatewayPlace};
use crate::instance::Instance;
use crate::keys::OwnKeys;
use crate::status::ClientStatus;
use crate::store::{Store, StoreError, StoreHandle, StoreThread};
use crate::topology_task::TopologyTask;
use crate::traffic::TrafficThread;

/// Under which addresses a client is reached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Addresses {
    /// Where apps connect; `None` without a socket for apps.
    pub apps: Option<SocketAddr>,
    /// Where others send to.
    pub recipient: Recipient,
}

/// A store at work, and the way to it.
type OpenStore = (StoreThread, StoreHandle);

/// The tasks of a client, its store, and its claim to be the only one.
type Started = (JoinSet<()>, Option<StoreThread>, Instance);

/// A client that has its keys and its port, and has not begun to talk.
pub struct Client {
    config: ClientConfig,
    identity: IdentityPublicKey,
    shared_keys: SharedKeys,
    clock: Clock,
    engine: Engine<StdRng>,
    store: Option<OpenStore>,
    apps: Option<Apps>,
    directory: Directory,
    addresses: Addresses,
    status: Arc<watch::Sender<ClientStatus>>,
    instance: Instance,
}

impl Client {
    /// Reads the keys, opens the store with what an earlier run left to do, and opens the socket
    /// for apps.
    ///
    /// # Errors
    ///
    /// [`ClientError::Keys`], [`ClientError::Running`], [`ClientError::DataDirectory`],
    /// [`ClientError::Store`], [`ClientError::AppSocket`] or [`ClientError::NoTopology`] (when the
    /// configuration names no validator, or not whose word for it is to be taken).
    pub async fn bind(config: ClientConfig) -> Result<Self, ClientError> {
        let own_keys = OwnKeys::load(&config.key_files)?;
        let shared_keys = config.key_files.load_shared()?;
        let instance = Instance::claim(config.key_files.data_dir()).await?;
        let directory = Directory::new(config.validators.clone(), DirectoryLimits::default())?;
        let apps = match &config.apps {
            Some(apps) => Some(Apps::bind(apps.clone()).await?),
            None => None,
        };
        let addresses = Addresses {
            apps: apps.as_ref().map(Apps::address),
            recipient: own_keys.recipient(config.gateway),
        };
        let clock = Clock::since_1970();
        let identity = own_keys.identity.public_key();
        let keys = own_keys.into_engine_keys(config.gateway);
        let (engine, store) = engine(&config, keys, clock)?;
        Ok(Self {
            config,
            identity,
            shared_keys,
            clock,
            engine,
            store,
            apps,
            directory,
            addresses,
            status: Arc::new(watch::Sender::new(ClientStatus::default())),
            instance,
        })
    }

    /// Lets the commands of this machine, such as `nym-client send`, find the client.
    ///
    /// # Errors
    ///
    /// [`ClientError::DataDirectory`] when the data directory cannot be written to.
    pub fn publish(&mut self) -> Result<(), ClientError> {
        let published = self.instance.publish(self.addresses.apps);
        published.map_err(|source| ClientError::DataDirectory {
            path: self.config.key_files.data_dir().to_path_buf(),
            source,
        })
    }

    /// Where apps and others reach this client.
    #[must_use]
    pub const fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// How the client does, from now on and while it runs.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<ClientStatus> {
        self.status.subscribe()
    }

    /// Runs until `shutdown` is cancelled and every task has ended. Whatever fails in the network
    /// meanwhile is tried again; apps are served all the time.
    ///
    /// # Errors
    ///
    /// [`ClientError::NoThread`].
    ///
    /// # Panics
    ///
    /// When a task panicked, with its panic.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), ClientError> {
        // Tasks end as well when one of them fails, so they have a token of their own; and the
        // traffic, which is on another thread, when this future is dropped.
        let stop = shutdown.child_token();
        let _stopped_at_last = stop.clone().drop_guard();
        // The claim to the client ends after its last task.
        let (mut tasks, store, _claim) = self.start(&stop)?;
        while let Some(ended) = tasks.join_next().await {
            stop.cancel();
            if let Err(error) = ended
                && let Ok(panic) = error.try_into_panic()
            {
                std::panic::resume_unwind(panic);
            }
        }
        if let Some(store) = store {
            store.join().await;
        }
        Ok(())
    }

    fn start(self, stop: &CancellationToken) -> Result<Started, ClientError> {
        let Self {
            config,
            identity,
            shared_keys,
            clock,
            engine,
            store,
            apps,
            directory,
            addresses,
            status,
            instance,
        } = self;
        warn_of_switches(&config);
        let status_seen = status.subscribe();
        let (store_thread, store) = store.unzip();

        let (inputs_in, inputs) = mpsc::channel(INPUT_QUEUE);
        let (orders_in, orders) = mpsc::channel(ORDER_QUEUE);
        let (packets_in, packets) = mpsc::channel(PACKET_QUEUE);
        let (announced_in, announced) = watch::channel(None);
        let topology_task = topology_task(&config, directory, &inputs_in, announced_in, &status);
        let apps_config = config.apps.unwrap_or_default();
        let bounds = Bounds {
            unacknowledged_bytes_max: config.engine.unacknowledged_bytes_max,
            untaken_bytes_max: apps_config.undelivered_bytes_max,
        };
        let (taken_in, taken) = mpsc::channel(TAKEN_QUEUE);
        let (deliveries, news, desk) =
            Deliveries::new(apps_config.push_mode, bounds.untaken_bytes_max, taken_in);

        let queues = EngineQueues {
            inputs,
            orders,
            taken,
            store,
            packets: packets_in,
            news,
            journeys: config.journeys,
            status: Arc::clone(&status),
        };
        let engine = EngineTask::new(engine, clock, bounds, queues);
        let link = GatewayLink {
            client: identity,
            keys: Arc::new(shared_keys),
            listener: config.gateway_listener,
            gateway: config.gateway,
            legacy_peers: config.legacy_peers,
            announced,
            connect_timeout: config.gateway_response_timeout,
            clock,
            inputs: inputs_in,
            packets,
            status,
            rng: entropy(),
        };
        let traffic = TrafficThread::start(engine.run(stop.clone()), link.run(stop.clone()))
            .map_err(ClientError::NoThread)?;
        let mut tasks = JoinSet::new();
        tasks.spawn(traffic.join());
        tasks.spawn(deliveries.run(stop.clone()));
        tasks.spawn(topology_task.run(stop.clone()));
        if let Some(apps) = apps {
            let context = AppContext {
                recipient: addresses.recipient,
                message_len_max: apps_config.message_len_max,
                orders: orders_in,
                desk,
            };
            tasks.spawn(apps.run(context, status_seen, stop.clone()));
        }
        Ok((tasks, store_thread, instance))
    }
}

/// Says what a client that is less than private gives up.
fn warn_of_switches(config: &ClientConfig) {
    if config.engine.vpn_mode {
        tracing::warn!(
            "vpn mode is on: no cover traffic and no delays, so whoever watches the network \
             can see who talks to whom"
        );
    }
    if config.legacy_peers.check(unix_time_secs()).is_ok() {
        tracing::warn!(
            legacy_peers = %config.legacy_peers,
            "the link to the gateway may be in clear: whoever watches it can read it"
        );
    }
}

/// What asks the validators; it tells by `announced` where they say that our gateway is.
fn topology_task(
    config: &ClientConfig,
    directory: Directory,
    inputs: &mpsc::Sender<EngineInput>,
    announced: watch::Sender<Option<GatewayPlace>>,
    status: &Arc<watch::Sender<ClientStatus>>,
) -> TopologyTask {
    TopologyTask {
        directory,
        own_gateway: config.gateway,
        refresh_rate: config.topology_refresh_rate,
        legacy_peers: config.legacy_peers,
        inputs: inputs.clone(),
        announced,
        status: Arc::clone(status),
        rng: entropy(),
    }
}

/// The engine, as an earlier run left it if it is kept.
fn engine(
    config: &ClientConfig,
    keys: ClientKeys,
    clock: Clock,
) -> Result<(Engine<StdRng>, Option<OpenStore>), ClientError> {
    let mut engine_config = config.engine.clone();
    engine_config.trace_journeys = config.journeys.is_some();
    let Some(store_config) = &config.store else {
        return Ok((Engine::new(keys, engine_config, entropy()), None));
    };
    let store = Store::open(store_config, &mut entropy())?;
    let (now, records) = (clock.now(), store.records()?);
    let engine = Engine::restore(keys, engine_config, entropy(), now, records)
        .map_err(|error| StoreError::unreadable(&store_config.database, &error))?;
    let started = StoreThread::start(store)
        .map_err(|error| StoreError::unusable(&store_config.database, &error))?;
    Ok((engine, Some(started)))
}
