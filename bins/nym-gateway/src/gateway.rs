//! A gateway, from binding its ports to closing them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nym_daemon::clock::Clock;
use nym_daemon::http::{HttpLimits, HttpServer};
use nym_daemon::keys::KeyFileError;
use nym_daemon::metrics::Metrics;
use nym_daemon::pages::{self, Readiness};
use nym_daemon::{entropy, raise_open_files};
use nym_node::announce::Announcer;
use nym_node::counters::Counters;
use nym_node::delay_queue::QueueLimits;
use nym_node::http::Description;
use nym_node::keys::NodeKeys;
use nym_node::links::Links;
use nym_node::metrics::NodeMetrics;
use nym_node::pipeline::{self, Parts, PipelineError, Role};
use nym_node::processor::{MAX_DELAY, Processor};
use nym_node::replay_journal::{ReplayJournalError, ReplayMemory};
use nym_packet::keys::{IdentityPublicKey, PublicKey, public_key_to_base58};
use nym_protocol::PROTOCOL_VERSION;
use nym_protocol::gateway::ConnectionId;
use nym_protocol::validator::announcement::AnnouncedNode;
use nym_protocol::validator::{Gateway as GatewayDescription, GatewayBond};
use nym_transport::directory::{Directory, DirectoryError, DirectoryLimits};
use nym_transport::frames::ReadTimeouts;
use nym_transport::listener::{Listener, ListenerLimits};
use nym_transport::peers::Peers;
use nym_transport::tls::{WebCertificate, WebCertificateError};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::client_connection::Reception;
use crate::config::Config;
use crate::control::GatewayControl;
use crate::late_acks::LateAcks;
use crate::limits::LiveLimits;
use crate::mailroom::{Desk, Exit, Mailroom};
use crate::metrics::GatewayMetrics;
use crate::store::{Store, StoreError, StoreThread};

/// What the first page says.
const WELCOME: &str = "This is nym-gateway, a mailbox of a mixnet.\n\n\
    /clients counts clients and their messages, /stats packets. /health tells whether it is\n\
    announced, /ready whether it wants clients, /metrics everything.\n";

/// How long packets and acknowledgements that are queued may take when the gateway stops.
const CLOSE_PATIENCE: Duration = Duration::from_millis(500);

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
    /// A validator knows another gateway at this host and port.
    #[error("the validator knows another gateway at {host}:{mix_port}, with identity {identity}")]
    AddressTaken {
        /// The host that this gateway announces.
        host: String,
        /// The port that this gateway announces.
        mix_port: u16,
        /// The other gateway.
        identity: String,
    },
    /// A port could not be bound.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// What the system answered.
        source: io::Error,
    },
    /// The conversation with the validators could not be set up.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The HTTP server failed.
    #[error("the HTTP server failed: {0}")]
    Http(#[source] io::Error),
    /// A key file is missing or wrong.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    /// Packet processing ended by a defect.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// The replay journal cannot be used.
    #[error(transparent)]
    ReplayJournal(#[from] ReplayJournalError),
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
    clock: Clock,
    config: Config,
    control: GatewayControl,
    keys: NodeKeys,
    links: Links,
    mix: Listener,
    clients: Listener,
    http: Option<HttpServer>,
    directory: Option<Directory>,
    replay: ReplayMemory,
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
    /// Reads the keys, making them if there are none, binds the ports and opens the database.
    ///
    /// # Errors
    ///
    /// [`GatewayError::Keys`], [`GatewayError::Bind`], [`GatewayError::Directory`],
    /// [`GatewayError::ReplayJournal`] or [`GatewayError::Store`].
    pub async fn bind(config: Config) -> Result<Self, GatewayError> {
        let keys = NodeKeys::load_or_create(&config.keys, &mut entropy())?;
        let web_certificate = match &config.web_certificate {
            Some((certificate, key)) => Some(WebCertificate::load(certificate, key)?),
            None => None,
        };
        let directory = match config.validators.as_slice() {
            [] => None,
            urls => Some(Directory::new(urls.to_vec(), DirectoryLimits::default())?),
        };
        let mix = listen(&config, config.mix_port, config.links).await?;
        let clients = listen(&config, config.clients_port, config.client_connections).await?;
        let http = match config.http_address {
            Some(address) => Some(
                HttpServer::bind(address, HttpLimits::default())
                    .await
                    .map_err(|source| GatewayError::Bind { address, source })?,
            ),
            None => None,
        };
        let clock = Clock::start();
        // First, because it says best what is wrong when the gateway runs already.
        let store = Store::open(&config.database, config.quotas)?;
        let replay = ReplayMemory::open(
            &config.keys.replay_journal(),
            &keys.sphinx.public_key(),
            config.replay,
            clock.now(),
            &mut entropy(),
        )?;
        // Where it cannot be raised, it bounds the connections.
        let _ = raise_open_files();
        let control = GatewayControl::new(config.reloadable());
        let links = Links::new(&keys.identity, config.link_config);
        Ok(Self {
            clock,
            config,
            control,
            links,
            keys,
            mix,
            clients,
            http,
            directory,
            replay,
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
            mix: self.mix.address(),
            clients: self.clients.address(),
            http: self.http.as_ref().map(HttpServer::address),
        }
    }

    /// Who the gateway is.
    #[must_use]
    pub fn identity(&self) -> IdentityPublicKey {
        self.keys.identity.public_key()
    }

    /// Who else is a node, as far as this one knows. It finds out by itself; who starts a whole
    /// network at once can tell it sooner.
    #[must_use]
    pub fn peers(&self) -> Peers {
        self.links.peers()
    }

    /// The key that packets to this gateway are built with.
    #[must_use]
    pub fn sphinx_key(&self) -> PublicKey {
        self.keys.sphinx.public_key()
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
    /// [`GatewayError::AddressTaken`] when a validator knows another gateway in this place;
    /// [`GatewayError::Http`], [`GatewayError::Pipeline`] and [`GatewayError::Thread`] when a
    /// part of the gateway failed; [`GatewayError::Store`] when the database turns out to be
    /// damaged.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), GatewayError> {
        let own = self.announced_as();
        let Self {
            clock,
            config,
            control,
            keys,
            links,
            mix,
            clients,
            http,
            directory,
            replay,
            store,
            web_certificate,
        } = self;
        let identity = Arc::new(keys.identity);
        let counters = Counters::start();
        let connections = links.connections(config.connections);
        let (late_acks, late_acks_task) = LateAcks::new(counters.clone());
        let exit = Exit {
            connections: connections.clone(),
            counters: counters.clone(),
            late_acks,
        };
        let desk = Desk::new(exit, config.held_memory_max, store.last_id()?);
        let (damage, mut damaged) = mpsc::channel(1);
        let on_event = desk.on_event(damage);
        let (thread, store) = StoreThread::start(store, config.messages_per_commit.get(), on_event)
            .map_err(GatewayError::Thread)?;
        let mailroom = Mailroom {
            clock,
            desk: Arc::clone(&desk),
            store,
        };

        // Whatever ends first, by the shutdown or by an error, ends the others; the pages are the
        // last, so that they tell of the stop until it is over.
        let (stop, close_pages) = (CancellationToken::new(), CancellationToken::new());
        let readiness = Readiness::default();
        let mut tasks = JoinSet::new();
        let (drain, delay) = (readiness.clone(), config.drain_delay);
        let token = stop.clone();
        tasks.spawn(async move {
            drain.drain(shutdown, delay, token).await;
            Ok(())
        });
        let limits = LiveLimits::new(config.client_limits);
        let changes = control.run(
            links.clone(),
            limits.clone(),
            mailroom.clone(),
            stop.clone(),
        );
        let late_acks = late_acks_task.run(stop.clone());
        let figures = Arc::clone(&desk).watch_store(mailroom.store.clone(), stop.clone());
        tasks.spawn(async move {
            tokio::join!(changes, figures, late_acks);
            Ok(())
        });
        let reception = Reception {
            acceptor: links.client_acceptor(web_certificate),
            clock,
            identity: Arc::clone(&identity),
            limits,
            mailroom: mailroom.clone(),
            origins: Arc::default(),
        };
        tasks.spawn(receive_clients(clients, reception, stop.clone()));
        let (token, database) = (stop.clone(), config.database);
        tasks.spawn(async move {
            match token.run_until_cancelled(damaged.recv()).await.flatten() {
                Some(error) => Err(error.in_file(&database).into()),
                None => Ok(()),
            }
        });
        let parts = Parts {
            acceptor: links.node_acceptor(),
            clock,
            connections: connections.clone(),
            counters: counters.clone(),
            processor: Processor::new(keys.sphinx, MAX_DELAY),
            queue_limits: QueueLimits::default(),
            read_timeouts: ReadTimeouts::default(),
            replay,
            role: Role::Gateway(mailroom),
            workers: config.workers,
        };
        let token = stop.clone();
        tasks.spawn(async move { Ok(pipeline::run(parts, mix, token).await?) });
        let announced = match directory {
            Some(directory) => {
                let node = AnnouncedNode::Gateway(own.clone());
                let announcer = Announcer::new(directory.clone(), node, identity);
                let announced = announcer.announced();
                let neighbours = links.neighbours(directory.clone());
                tasks.spawn(announce(announcer, directory, own, stop.clone()));
                let token = stop.clone();
                tasks.spawn(async move {
                    neighbours.run(entropy(), token).await;
                    Ok(())
                });
                announced
            }
            None => Default::default(),
        };
        if let Some(http) = http {
            let location = config.location;
            let description = Description {
                location,
                ..Description::default()
            };
            let node = NodeMetrics {
                counters: counters.clone(),
                connections: connections.clone(),
                announced: announced.clone(),
            };
            let gateway = GatewayMetrics(Arc::clone(&desk));
            let handshakes = links.clone();
            let metrics = Metrics::new(vec![
                Box::new(gateway),
                Box::new(node),
                Box::new(handshakes),
            ]);
            let pages = crate::http::router(counters.clone(), description, announced, desk)
                .merge(pages::router(WELCOME, readiness.clone(), metrics));
            let token = close_pages.clone();
            tasks.spawn(async move { http.run(pages, token).await.map_err(GatewayError::Http) });
        }
        let token = stop.clone();
        let (update_every, log_every) = (config.stats_update_every, config.stats_log_every);
        tasks.spawn(async move {
            counters.run(update_every, log_every, token).await;
            Ok(())
        });

        readiness.set_ready();
        tracing::info!("serving");
        let mut outcome = Ok(());
        while let Some(ended) = tasks.join_next().await {
            stop.cancel();
            if tasks.len() <= 1 {
                close_pages.cancel();
            }
            // A task that panicked has told so; the gateway does not go on without it.
            let ended = ended.unwrap_or(Err(GatewayError::Pipeline(PipelineError)));
            outcome = outcome.and(ended);
        }
        // All tasks are gone, and with them every handle to the store.
        thread.join().await;
        connections.close(CLOSE_PATIENCE).await;
        outcome
    }
}

async fn listen(config: &Config, port: u16, count: usize) -> Result<Listener, GatewayError> {
    let address = SocketAddr::new(config.listening_ip, port);
    let limits = ListenerLimits {
        connections: count,
        ..ListenerLimits::default()
    };
    Listener::bind(address, limits)
        .await
        .map_err(|source| GatewayError::Bind { address, source })
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

/// Announces the gateway until `stop` is cancelled, unless another one has its place.
async fn announce(
    announcer: Announcer,
    directory: Directory,
    own: GatewayDescription,
    stop: CancellationToken,
) -> Result<(), GatewayError> {
    if let Some(checked) = stop
        .run_until_cancelled(check_place(&directory, &own))
        .await
    {
        checked?;
        announcer.run(entropy(), stop).await;
    }
    Ok(())
}

/// Asks a validator whether another gateway has this one's host and port. A gateway at the same
/// host and another port is a neighbour. When no validator answers, the gateway goes on.
async fn check_place(directory: &Directory, own: &GatewayDescription) -> Result<(), GatewayError> {
    match directory.gateways(&mut entropy()).await {
        Ok(list) => match rival(&list.bonds, own) {
            None => Ok(()),
            Some(rival) => Err(GatewayError::AddressTaken {
                host: rival.host.clone(),
                mix_port: rival.mix_port,
                identity: rival.identity_key.clone(),
            }),
        },
        Err(error) => {
            tracing::warn!(%error, "cannot check whether another gateway has this address");
            Ok(())
        }
    }
}

/// The gateway in our place that is not us.
fn rival<'a>(bonds: &'a [GatewayBond], own: &GatewayDescription) -> Option<&'a GatewayDescription> {
    bonds.iter().map(|bond| &bond.gateway).find(|other| {
        (&other.host, other.mix_port) == (&own.host, own.mix_port)
            && other.identity_key != own.identity_key
    })
}
