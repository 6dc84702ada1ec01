//! A gateway, from binding its ports to closing them.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nym_daemon::clock::Clock;
use nym_daemon::raise_open_files;
use nym_node::counters::Counters;
use nym_node::delay_queue::QueueLimits;
use nym_node::http::Description;
use nym_node::node::{CLOSE_PATIENCE, Node, NodeError, NodePlaces, Tasks, Work, listen};
use nym_node::pipeline::Role;
use nym_node::processor::MAX_DELAY;
use nym_packet::keys::{IdentityPublicKey, PublicKey, public_key_to_base58};
use nym_protocol::PROTOCOL_VERSION;
use nym_protocol::gateway::ConnectionId;
use nym_protocol::validator::Gateway as GatewayDescription;
use nym_protocol::validator::announcement::AnnouncedNode;
use nym_transport::listener::Listener;
use nym_transport::peers::Peers;
use nym_transport::tls::{WebCertificate, WebCertificateError};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::client_connection::Reception;
use crate::config::Config;
use crate::control::GatewayControl;
use crate::http;
use crate::late_acks::LateAcks;
use crate::limits::LiveLimits;
use crate::mailroom::{Desk, Exit, Mailroom};
use crate::metrics::GatewayMetrics;
use crate::store::{Store, StoreError, StoreThread};

/// What the first page says.
const WELCOME: &str = "This is nym-gateway, a mailbox of a mixnet.\n\n\
    /clients counts clients and their messages, /stats packets. /health tells whether it is\n\
    announced, /ready whether it wants clients, /metrics everything.\n";

/// Where a gateway listens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Addresses {
    /// For packets.
    pub mix: SocketAddr,
    /// For clients.
    pub clients: SocketAddr,
    /// For the operator.
    pub http: Option<SocketAddr>,
}

/// Why a gateway did not start, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayError {
    /// What every node does has failed.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The database cannot be opened, or is damaged.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The thread of the database cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
    /// The certificate for browsers cannot be used.
    #[error("no certificate for browsers: {0}")]
    WebCertificate(#[from] WebCertificateError),
}

/// A gateway whose ports are bound and whose database is open, and which has not begun to work.
pub struct Gateway {
    config: Config,
    control: GatewayControl,
    node: Node,
    clients: Listener,
    store: Store,
    web_certificate: Option<WebCertificate>,
}

/// Binds a gateway and runs it until `shutdown` is cancelled.
///
/// # Errors
///
/// [`GatewayError`].
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), GatewayError> {
    Gateway::bind(config).await?.run(shutdown).await
}

impl Gateway {
    /// Opens the database, reads the keys, making them if there are none, and binds the ports.
    ///
    /// # Errors
    ///
    /// [`GatewayError::Store`], [`GatewayError::WebCertificate`], or [`GatewayError::Node`] for
    /// those of [`Node::bind`].
    pub async fn bind(config: Config) -> Result<Self, GatewayError> {
        // First, because it says best what is wrong when the gateway runs already.
        let store = Store::open(&config.database, config.quotas)?;
        let web_certificate = match &config.web_certificate {
            Some((certificate, key)) => Some(WebCertificate::load(certificate, key)?),
            None => None,
        };
        let places = NodePlaces {
            keys: &config.keys,
            link_config: config.link_config,
            links: config.links,
            mix: SocketAddr::new(config.listening_ip, config.mix_port),
            pages: config.http_address,
            replay: config.replay,
            validators: &config.validators,
        };
        let node = Node::bind(places).await?;
        let address = SocketAddr::new(config.listening_ip, config.clients_port);
        let clients = listen(address, config.client_connections).await?;
        // Where it cannot be raised, it bounds the connections.
        let _ = raise_open_files();
        Ok(Self {
            control: GatewayControl::new(config.reloadable()),
            config,
            node,
            clients,
            store,
            web_certificate,
        })
    }

    /// A handle to change what can change while the gateway runs.
    #[must_use]
    pub fn control(&self) -> GatewayControl {
        self.control.clone()
    }

    /// Where the gateway listens.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        Addresses {
            mix: self.node.mix_address(),
            clients: self.clients.address(),
            http: self.node.pages_address(),
        }
    }

    /// Who the gateway is.
    #[must_use]
    pub fn identity(&self) -> IdentityPublicKey {
        self.node.identity()
    }

    /// Who else is a node, as far as this one knows. It finds out by itself; who starts a whole
    /// network at once can tell it sooner.
    #[must_use]
    pub fn peers(&self) -> Peers {
        self.node.links().peers()
    }

    /// The key that packets to this gateway are built with.
    #[must_use]
    pub fn sphinx_key(&self) -> PublicKey {
        self.node.sphinx_key()
    }

    /// What the gateway tells the validators: its host, and the ports that are bound.
    #[must_use]
    pub fn announced_as(&self) -> GatewayDescription {
        let addresses = self.addresses();
        GatewayDescription {
            host: self.config.announce_host.clone(),
            mix_port: addresses.mix.port(),
            clients_port: addresses.clients.port(),
            location: self.config.location.clone(),
            sphinx_key: public_key_to_base58(&self.sphinx_key()),
            identity_key: self.identity().to_string(),
            version: PROTOCOL_VERSION.to_owned(),
            tls: self.config.link_config.tls_profile(),
        }
    }

    /// Serves until `shutdown` is cancelled. Then nothing more is taken; what was taken is
    /// delivered or stored, and its acknowledgements leave.
    ///
    /// # Errors
    ///
    /// [`GatewayError::Node`] when a validator knows another gateway in this place, or when a part
    /// that every node has failed; [`GatewayError::Thread`] when the database has no thread;
    /// [`GatewayError::Store`] when it turns out to be damaged.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), GatewayError> {
        let announced_as = AnnouncedNode::Gateway(self.announced_as());
        let Self {
            config,
            control,
            node,
            clients,
            store,
            web_certificate,
        } = self;
        let (clock, links, counters) = (node.clock(), node.links().clone(), Counters::start());
        let connections = links.connections(config.connections);
        let (late_acks, late_acks_task) = LateAcks::new(counters.clone());
        let exit = Exit {
            connections: connections.clone(),
            counters: counters.clone(),
            late_acks,
        };
        let (mailroom, thread, damaged) = open_mailroom(store, exit, clock, &config)?;
        let desk = Arc::clone(&mailroom.desk);

        let mut tasks = Tasks::until(shutdown, config.drain_delay);
        let limits = LiveLimits::new(config.client_limits);
        let reception = Reception {
            acceptor: links.client_acceptor(web_certificate),
            clock,
            identity: Arc::clone(node.identity_key_pair()),
            limits: limits.clone(),
            mailroom: mailroom.clone(),
            origins: Arc::default(),
        };
        tasks.spawn(|stop| receive_clients(clients, reception, stop));
        tasks.spawn(|stop| find_damage(damaged, config.database, stop));
        tasks.spawn_endless(|stop| {
            let changes = control.run(links, limits, mailroom.clone(), stop.clone());
            let figures = Arc::clone(&desk).watch_store(mailroom.store.clone(), stop.clone());
            let late_acks = late_acks_task.run(stop);
            // Two of them end when the database does; it is for others to say why.
            async { _ = tokio::join!(changes, figures, late_acks) }
        });
        let work = Work {
            announced_as,
            connections: connections.clone(),
            counters,
            description: Description {
                location: config.location,
                ..Description::default()
            },
            max_delay: MAX_DELAY,
            metrics: vec![Box::new(GatewayMetrics(Arc::clone(&desk)))],
            metrics_refresh: Duration::ZERO,
            pages: http::pages(desk),
            queue_limits: QueueLimits::default(),
            role: Role::Gateway(mailroom),
            stats_log_every: config.stats_log_every,
            stats_update_every: config.stats_update_every,
            welcome: WELCOME,
            workers: config.workers,
        };
        node.start(work, &mut tasks);
        tracing::info!("serving");
        let outcome = tasks.ended().await;
        // All tasks are gone, and with them every handle to the store.
        thread.join().await;
        connections.close(CLOSE_PATIENCE).await;
        outcome
    }
}

/// Starts the thread of the database. What comes out last tells if the database is damaged.
fn open_mailroom(
    store: Store,
    exit: Exit,
    clock: Clock,
    config: &Config,
) -> Result<(Mailroom, StoreThread, mpsc::Receiver<StoreError>), GatewayError> {
    let desk = Desk::new(exit, config.held_memory_max, store.last_id()?);
    let (damage, damaged) = mpsc::channel(1);
    let on_event = desk.on_event(damage);
    let (thread, store) = StoreThread::start(store, config.messages_per_commit.get(), on_event)
        .map_err(GatewayError::Thread)?;
    Ok((Mailroom { clock, desk, store }, thread, damaged))
}

/// Accepts clients until `stop` is cancelled and their connections have ended.
async fn receive_clients(
    listener: Listener,
    reception: Reception,
    stop: CancellationToken,
) -> Result<(), GatewayError> {
    let next = AtomicU64::new(0);
    listener
        .run(stop.clone(), |stream, peer| {
            let connection = ConnectionId(next.fetch_add(1, Ordering::Relaxed));
            let reception = reception.clone();
            reception.serve(stream, peer.ip(), connection, stop.clone())
        })
        .await;
    Ok(())
}

/// Fails when the database turns out to be damaged before `stop` is cancelled.
async fn find_damage(
    mut damaged: mpsc::Receiver<StoreError>,
    database: PathBuf,
    stop: CancellationToken,
) -> Result<(), GatewayError> {
    match stop.run_until_cancelled(damaged.recv()).await.flatten() {
        Some(error) => Err(error.in_file(&database).into()),
        None => Ok(()),
    }
}
