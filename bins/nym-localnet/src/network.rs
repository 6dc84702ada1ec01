//! The network itself: every program's own library, started in order.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nym_client::config::Overrides;
use nym_client::init::{GatewayChoice, InitOptions, init};
use nym_client::{Client, ClientConfig, ClientError};
use nym_client_core::Journey;
use nym_daemon::config::{self, ConfigError};
use nym_daemon::entropy;
use nym_daemon::home::{Home, Id, Kind, create_private_dir};
use nym_gateway::Gateway;
use nym_mixnode::Mixnode;
use nym_node::keys::NodeKeys;
use nym_packet::keys::IdentityPublicKey;
use nym_protocol::validator::ValidatorUrl;
use nym_transport::peers::Peers;
use nym_validator::Validator;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{CLIENT_NAMES, Config};
use crate::error::LocalnetError;
use crate::join;
use crate::listing::{forget_announced, wait_for_nodes};
use crate::places::Places;
use crate::report::{ClientEntry, Map};
use crate::tap::Tap;

/// How long the parts may take to find each other; it takes a fraction of a second.
pub(crate) const READY_TIMEOUT: Duration = Duration::from_secs(20);

/// Where the validator keeps the nodes, below the directory of the network.
const VALIDATOR_DIR: &str = "validator";

/// How often a client asks who is in a network that 0.11 programs may join at any time.
const LEGACY_REFRESH_RATE: Duration = Duration::from_secs(10);

/// Journeys that wait to be read; only the first message's is.
const JOURNEY_QUEUE: usize = 64;

/// A network that is up. Stop it by cancelling its token and awaiting [`Localnet::ended`].
pub struct Localnet {
    /// Who is where.
    pub map: Map,
    /// The ways that the first client gives its packets.
    pub journeys: mpsc::Receiver<Journey>,
    clients: JoinSet<LocalnetError>,
    nodes: JoinSet<LocalnetError>,
    stop_clients: CancellationToken,
    stop_nodes: CancellationToken,
    _taps: Vec<Tap>,
}

impl Localnet {
    /// Starts everything and waits until a message handed to any client would leave at once.
    /// `progress` hears what is being started.
    ///
    /// # Errors
    /// [`LocalnetError`]; what was started is stopped then.
    pub async fn start(
        config: &Config,
        keep: bool,
        stop: CancellationToken,
        mut progress: impl FnMut(&str),
    ) -> Result<Self, LocalnetError> {
        check_ports(config)?;
        let mut start = Start {
            config,
            places: Places::new(config),
            taps: Vec::new(),
            peers: Vec::new(),
            stop_clients: stop,
            stop_nodes: CancellationToken::new(),
            clients: JoinSet::new(),
            nodes: JoinSet::new(),
        };
        progress("starting the validator");
        let validator = start.validator().await?;
        progress("starting the mix nodes");
        let mixnodes = start.mixnodes(&validator).await?;
        progress("starting the gateways");
        let gateways = start.gateways(&validator).await?;
        progress("waiting until all nodes have announced themselves");
        let gateway_places = gateways.iter().map(|gateway| gateway.mix);
        let places = mixnodes.iter().map(|(_, at)| *at).chain(gateway_places);
        let topology = wait_for_nodes(&places.collect(), &validator).await?;
        // They would find out when the first packets come.
        for peers in &start.peers {
            peers.update(&topology);
        }
        progress("starting the clients");
        let (entries, journeys) = start.clients(&validator, &gateways).await?;

        let layers = std::array::from_fn(|index| {
            let layer = topology.layers.get(index).map_or(&[][..], Vec::as_slice);
            let is_in = |at: &SocketAddr| layer.iter().any(|node| node.mix_address == *at);
            let members = mixnodes.iter().filter(|(_, at)| is_in(at));
            members.cloned().collect()
        });
        let first_gateway = gateways.first().map(|gateway| gateway.identity);
        let join = first_gateway.filter(|_| config.legacy).map(|gateway| {
            let registry = config.dir.join(VALIDATOR_DIR);
            join::how_to_join(&validator, &gateway, &registry)
        });
        let map = Map {
            validator: validator.to_string(),
            join,
            layers,
            gateways: gateways
                .into_iter()
                .map(|gateway| (gateway.name, gateway.mix))
                .collect(),
            clients: entries,
            dir: (config.dir.clone(), keep),
        };
        let Start {
            taps,
            stop_clients,
            stop_nodes,
            clients,
            nodes,
            ..
        } = start;
        Ok(Self {
            map,
            journeys,
            clients,
            nodes,
            stop_clients,
            stop_nodes,
            _taps: taps,
        })
    }

    /// Waits until the network was stopped, or a part of it has ended by itself.
    ///
    /// # Errors
    /// [`LocalnetError::Ended`] when a part ended that nobody stopped.
    pub async fn ended(mut self) -> Result<(), LocalnetError> {
        let mut first = None;
        loop {
            let ended = tokio::select! {
                // Cancel-safe: a task that has ended is taken or stays where it is.
                Some(ended) = self.clients.join_next() => ended,
                Some(ended) = self.nodes.join_next() => ended,
                else => break,
            };
            if first.is_none() && !self.stop_clients.is_cancelled() {
                first = Some(ended.unwrap_or_else(|panicked| LocalnetError::Ended {
                    name: "a task".to_owned(),
                    reason: panicked.to_string(),
                }));
            }
            self.stop_clients.cancel();
            // Nodes stay until the last client is gone, so that none sees its gateway leave.
            if self.clients.is_empty() {
                self.stop_nodes.cancel();
            }
        }
        first.map_or(Ok(()), Err)
    }
}

/// A gateway that is up.
struct StartedGateway {
    name: String,
    mix: SocketAddr,
    identity: IdentityPublicKey,
}

/// The network while it comes up.
struct Start<'a> {
    config: &'a Config,
    places: Places,
    taps: Vec<Tap>,
    /// Who each node thinks there is.
    peers: Vec<Peers>,
    stop_clients: CancellationToken,
    stop_nodes: CancellationToken,
    clients: JoinSet<LocalnetError>,
    nodes: JoinSet<LocalnetError>,
}

impl Start<'_> {
    /// Records what passes at one port of a node, if that was asked for.
    async fn tap(
        &mut self,
        name: &str,
        port: &str,
        node: (Ipv4Addr, u16),
    ) -> Result<(), LocalnetError> {
        if let Some(dir) = &self.config.record {
            let tap = Tap::start(dir, format!("{name}-{port}"), node).await;
            self.taps.push(tap.map_err(|source| LocalnetError::Tap {
                name: name.to_owned(),
                source,
            })?);
        }
        Ok(())
    }

    async fn validator(&mut self) -> Result<ValidatorUrl, LocalnetError> {
        let dir = data_dir(&self.config.dir, VALIDATOR_DIR, "")?;
        forget_announced(&dir).map_err(|error| directory_error(&dir, &error))?;
        let mut config = nym_validator::Config::new(dir);
        let ip = self.places.place_validator(&mut config);
        let validator = Validator::bind(config).await?;
        let addresses = validator.addresses();
        self.tap("validator", "rest", (ip, addresses.rest.port()))
            .await?;
        self.tap("validator", "api", (ip, addresses.api.port()))
            .await?;
        let ip = self.places.announced(ip);
        let url = format!("http://{ip}:{}", addresses.rest.port());
        let running = validator.run(self.stop_nodes.clone());
        self.nodes
            .spawn(until_ended("the validator".to_owned(), running));
        Ok(url.parse().expect("an address makes a URL"))
    }

    async fn mixnodes(
        &mut self,
        validator: &ValidatorUrl,
    ) -> Result<Vec<(String, SocketAddr)>, LocalnetError> {
        let mut started = Vec::new();
        for index in 1..=self.config.mixnodes_per_layer * 3 {
            let name = format!("mix{index}");
            let dir = data_dir(&self.config.dir, "mixnodes", &name)?;
            let mut config = nym_mixnode::Config::on_loopback(&name, &dir, vec![validator.clone()]);
            let ip = self.places.place_mixnode(index, &mut config);
            let failed = |source| LocalnetError::Mixnode {
                name: name.clone(),
                source,
            };
            let mixnode = Mixnode::bind(config).await.map_err(failed)?;
            let port = mixnode.addresses().mix.port();
            self.tap(&name, "mix", (ip, port)).await?;
            let mix = SocketAddr::from((self.places.announced(ip), port));
            started.push((name.clone(), mix));
            self.peers.push(mixnode.peers());
            let running = mixnode.run(self.stop_nodes.clone());
            self.nodes
                .spawn(until_ended(format!("mix node {name}"), running));
        }
        Ok(started)
    }

    async fn gateways(
        &mut self,
        validator: &ValidatorUrl,
    ) -> Result<Vec<StartedGateway>, LocalnetError> {
        let mut started = Vec::new();
        for index in 1..=self.config.gateways {
            let name = format!("gw{index}");
            let dir = data_dir(&self.config.dir, "gateways", &name)?;
            let mut config = nym_gateway::Config::on_loopback(&name, &dir, vec![validator.clone()]);
            config.http_address = None;
            let ip = self.places.place_gateway(index, &mut config);
            let keys = NodeKeys::load_or_create(&config.keys, &mut entropy());
            let identity = keys
                .map(|keys| keys.identity.public_key())
                .map_err(|error| LocalnetError::NodeKeys {
                    name: name.clone(),
                    source: error,
                })?;
            let failed = |source| LocalnetError::Gateway {
                name: name.clone(),
                source,
            };
            let gateway = Gateway::bind(config).await.map_err(failed)?;
            let (mix, clients) = (gateway.addresses().mix, gateway.addresses().clients);
            self.tap(&name, "mix", (ip, mix.port())).await?;
            self.tap(&name, "clients", (ip, clients.port())).await?;
            let mix = SocketAddr::from((self.places.announced(ip), mix.port()));
            started.push(StartedGateway {
                name: name.clone(),
                mix,
                identity,
            });
            self.peers.push(gateway.peers());
            let running = gateway.run(self.stop_nodes.clone());
            self.nodes
                .spawn(until_ended(format!("gateway {name}"), running));
        }
        Ok(started)
    }

    async fn clients(
        &mut self,
        validator: &ValidatorUrl,
        gateways: &[StartedGateway],
    ) -> Result<(Vec<ClientEntry>, mpsc::Receiver<Journey>), LocalnetError> {
        let (journeys_in, journeys) = mpsc::channel(JOURNEY_QUEUE);
        let mut journeys_in = Some(journeys_in);
        let mut entries = Vec::new();
        let mut statuses = Vec::new();
        for (index, name) in CLIENT_NAMES
            .iter()
            .copied()
            .enumerate()
            .take(self.config.clients)
        {
            let Some(gateway) = gateways.get(index % gateways.len()) else {
                break;
            };
            let failed = |source| LocalnetError::Client { name, source };
            let config = self.client_config(index, name, validator, gateway).await;
            let mut config = config.map_err(failed)?;
            config.engine = self.config.engine.clone();
            if self.config.legacy {
                config.topology_refresh_rate = LEGACY_REFRESH_RATE;
            }
            config.journeys = journeys_in.take();
            let mut client = Client::bind(config).await.map_err(failed)?;
            client.publish().map_err(failed)?;
            let addresses = client.addresses();
            statuses.push((name, client.status()));
            entries.push(ClientEntry {
                name: name.to_owned(),
                apps: addresses
                    .apps
                    .expect("the client was given a socket for apps"),
                recipient: addresses.recipient,
                gateway: gateway.name.clone(),
            });
            let running = client.run(self.stop_clients.clone());
            self.clients
                .spawn(until_ended(format!("client {name}"), running));
        }
        for (name, mut status) in statuses {
            let ready = status.wait_for(nym_client::ClientStatus::is_ready);
            if !matches!(tokio::time::timeout(READY_TIMEOUT, ready).await, Ok(Ok(_))) {
                let missing = format!("client {name} is not connected");
                return Err(LocalnetError::NotReady { missing });
            }
        }
        Ok((entries, journeys))
    }

    /// Sets a client up as `nym-client init` does, so that its commands work beside it.
    async fn client_config(
        &self,
        index: usize,
        name: &'static str,
        validator: &ValidatorUrl,
        gateway: &StartedGateway,
    ) -> Result<ClientConfig, ClientError> {
        let home = Home::at(&self.config.dir);
        let id: Id = name.parse().expect("the names of clients are ids");
        // What an earlier run wrote names ports of that run. The keys stay.
        let config_file = home.program(Kind::Client, &id).config_file();
        if config_file.exists() {
            std::fs::remove_file(&config_file).map_err(|source| ConfigError::Write {
                path: config_file.clone(),
                source,
            })?;
        }
        let initialised = init(InitOptions {
            home,
            id,
            gateway: Some(GatewayChoice::Identity(gateway.identity)),
            overrides: Overrides {
                validators: Some(vec![validator.to_string()]),
                port: self.config.app_port(index),
                legacy_peers: Some(self.places.legacy_peers().to_string()),
                ..Overrides::default()
            },
            fast_mode: false,
        })
        .await?;
        let loaded = config::load(&initialised.config_file)?;
        Ok(ClientConfig::from_file(loaded)?)
    }
}

/// Runs one program to its end, and says which it was and how it ended.
async fn until_ended<E: std::error::Error + 'static>(
    name: String,
    running: impl Future<Output = Result<(), E>>,
) -> LocalnetError {
    let reason = match running.await {
        Ok(()) => "it stopped".to_owned(),
        Err(error) => nym_daemon::exit::chain(&error),
    };
    LocalnetError::Ended { name, reason }
}

/// Fails at once if a port that will be needed is taken, before anything is started.
fn check_ports(config: &Config) -> Result<(), LocalnetError> {
    for (index, client) in CLIENT_NAMES
        .iter()
        .copied()
        .enumerate()
        .take(config.clients)
    {
        let port = config
            .app_port(index)
            .ok_or(LocalnetError::PortRange { client })?;
        std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|source| {
            LocalnetError::AppPort {
                client,
                port,
                source,
            }
        })?;
    }
    Ok(())
}

/// Makes `<dir>/<kind>/<name>`, readable by its owner only.
fn data_dir(dir: &Path, kind: &str, name: &str) -> Result<PathBuf, LocalnetError> {
    let path = dir.join(kind).join(name);
    create_private_dir(&path).map_err(|error| directory_error(dir, &error))?;
    Ok(path)
}

fn directory_error(dir: &Path, error: &dyn std::error::Error) -> LocalnetError {
    LocalnetError::Directory {
        dir: dir.to_owned(),
        reason: error.to_string(),
    }
}
