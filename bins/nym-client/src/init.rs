//! The first start of a client: keys, a gateway, a registration, a configuration file.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use nym_daemon::clock::{Clock, unix_time_secs};
use nym_daemon::config::Loaded;
use nym_daemon::home::{Home, Id, Kind};
use nym_daemon::{config, entropy};
use nym_packet::address::Recipient;
use nym_packet::keys::IdentityPublicKey;
use nym_protocol::PROTOCOL_VERSION;
use nym_protocol::gateway::client_session::Event;
use nym_protocol::gateway::{ClientLogin, ClientSession};
use nym_protocol::validator::Topology;
use nym_transport::directory::{Directory, DirectoryLimits, Validators};
use nym_transport::legacy::LegacyPeers;
use nym_transport::websocket::WebSocketLimits;
use rand::Rng;

use crate::config::{self as client_config, FileConfig, Overrides, render};
use crate::error::ClientError;
use crate::gateway_link::{self, Envelope};
use crate::keys::KeyFiles;
use crate::latency::measure;

/// A client to set up.
#[derive(Clone, Debug)]
pub struct InitOptions {
    /// Where the files of all programs are.
    pub home: Home,
    /// The name of the client.
    pub id: Id,
    /// Where to register; `None` takes a random gateway.
    pub gateway: Option<GatewayChoice>,
    /// What the command line says.
    pub overrides: Overrides,
    /// The fast traffic pattern.
    pub fast_mode: bool,
}

/// Which gateway a new client registers at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GatewayChoice {
    /// The one that answers first.
    Fastest,
    /// The one of this identity.
    Identity(IdentityPublicKey),
}

impl FromStr for GatewayChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "fastest" {
            return Ok(Self::Fastest);
        }
        text.parse()
            .map(Self::Identity)
            .map_err(|error| format!("neither `fastest` nor an identity: {error}"))
    }
}

/// A client that was set up.
#[derive(Clone, Debug)]
pub struct Initialised {
    /// Its address.
    pub recipient: Recipient,
    /// Its configuration.
    pub config_file: PathBuf,
    /// Whether it was registered before; keys and gateway were kept then.
    pub existed: bool,
}

/// Where a client is registered.
#[derive(Clone, Debug)]
pub struct Registration {
    /// The address of the client.
    pub recipient: Recipient,
    /// Where its gateway takes clients, `ws://host:port`.
    pub gateway_listener: String,
}

/// Sets up a client, or changes the settings of one that exists.
///
/// A client that exists keeps its keys and its gateway, and every setting that the options do not
/// name.
///
/// # Errors
///
/// Any [`ClientError`]; a client that existed is unchanged then.
pub async fn init(options: InitOptions) -> Result<Initialised, ClientError> {
    let InitOptions {
        home,
        id,
        gateway,
        overrides,
        fast_mode,
    } = options;
    let root = home.of_kind(Kind::Client);
    let program = home.program(Kind::Client, &id);
    let config_file = program.config_file();
    program.create()?;

    let existed = config_file.exists();
    let loaded = if existed {
        config::load::<FileConfig>(&config_file)?
    } else {
        let data_dir = program.data_dir();
        let key_files = KeyFiles::in_dir(&data_dir);
        let file = FileConfig::new(id.as_str(), &key_files, &data_dir, &root);
        Loaded::unwritten(file, &config_file)
    };
    let loaded = loaded.layer(&overrides.layer())?;
    let (mut file, source) = (loaded.value, loaded.source);
    if fast_mode {
        file.set_fast_mode();
    }

    let key_files = file.key_files();
    let is_registered = existed && key_files.is_registered();
    let recipient = if is_registered && !file.client.gateway_listener.is_empty() {
        let gateway = file.client.gateway_id.parse().map_err(|_| {
            let problem = "`client.gateway_id` is not the identity of a gateway";
            source.at_key("client.gateway_id", problem.to_owned())
        })?;
        let keys = key_files.load_or_generate(&mut entropy())?;
        keys.recipient(gateway)
    } else {
        let validators = client_config::validators(&file, &source)?;
        let legacy_peers = file.links.legacy_peers.parse::<LegacyPeers>();
        let legacy_peers =
            legacy_peers.map_err(|error| source.at_key("links.legacy_peers", error.to_string()))?;
        let directory = Directory::new(validators, DirectoryLimits::default())?;
        let gateway = match gateway {
            Some(GatewayChoice::Fastest) => Some(fastest_gateway(&directory).await?),
            Some(GatewayChoice::Identity(identity)) => Some(identity),
            None => None,
        };
        let registration = register_by(&directory, &key_files, gateway, legacy_peers).await?;
        file.client.gateway_id = registration.recipient.gateway.to_string();
        file.client.gateway_listener = registration.gateway_listener;
        registration.recipient
    };
    config::save_private_text(&config_file, &render(&file))?;
    Ok(Initialised {
        recipient,
        config_file,
        existed,
    })
}

/// Makes keys where there are none, registers them at a gateway — the given one, or a random one
/// of the topology — and writes all keys. The gateway must speak TLS unless plain peers are allowed.
///
/// # Errors
///
/// Any [`ClientError`]. Keys that were made stay and are used by the next attempt.
pub async fn register(
    key_files: &KeyFiles,
    validators: impl Into<Validators>,
    gateway: Option<IdentityPublicKey>,
    legacy_peers: LegacyPeers,
) -> Result<Registration, ClientError> {
    let directory = Directory::new(validators, DirectoryLimits::default())?;
    register_by(&directory, key_files, gateway, legacy_peers).await
}

async fn register_by(
    directory: &Directory,
    key_files: &KeyFiles,
    gateway: Option<IdentityPublicKey>,
    legacy_peers: LegacyPeers,
) -> Result<Registration, ClientError> {
    let mut rng = entropy();
    let mut topology = fetch_topology(directory, &mut rng).await?;
    if let Err(denied) = legacy_peers.check(unix_time_secs()) {
        let wanted = gateway.and_then(|gateway| topology.gateway(&gateway));
        if let Some(plain) = wanted.filter(|wanted| !wanted.speaks_tls) {
            let gateway = plain.identity;
            return Err(ClientError::PlainGateway { gateway, denied });
        }
        topology.retain_tls();
    }
    let descriptor = match gateway {
        Some(gateway) => topology
            .gateway(&gateway)
            .ok_or(ClientError::UnknownGateway { gateway })?,
        None => topology
            .random_gateway(&mut rng)
            .ok_or(ClientError::NoGateway)?,
    };

    let own_keys = key_files.load_or_generate(&mut rng)?;
    let recipient = own_keys.recipient(descriptor.identity);
    let login = ClientLogin::Registration {
        identity: Arc::new(own_keys.identity),
        gateway: descriptor.identity,
    };
    let url = descriptor.websocket_url();
    let limits = WebSocketLimits::default();
    let envelope = if descriptor.speaks_tls {
        Envelope::Tls(descriptor.identity)
    } else {
        Envelope::Plain
    };
    let clock = Clock::start();
    let opened = gateway_link::open(&url, envelope, login, limits, clock, &mut rng).await;
    let (_, mut session) = opened.map_err(|error| match error {
        gateway_link::LinkError::Refused(refusal) => ClientError::Refused(refusal),
        other => ClientError::GatewayUnreachable {
            url: url.clone(),
            reason: other.to_string(),
        },
    })?;
    save_agreed_keys(&mut session, key_files)?;
    Ok(Registration {
        recipient,
        gateway_listener: url,
    })
}

/// The usable nodes of the network, as the first validator tells that has them.
pub(crate) async fn fetch_topology<R: Rng>(
    directory: &Directory,
    rng: &mut R,
) -> Result<Topology, ClientError> {
    Ok(directory.topology(Some(PROTOCOL_VERSION), rng).await?)
}

/// The gateway that answers first.
async fn fastest_gateway(directory: &Directory) -> Result<IdentityPublicKey, ClientError> {
    let topology = fetch_topology(directory, &mut entropy()).await?;
    let measured = measure(topology.gateways).await;
    measured
        .into_iter()
        .find(|measured| measured.latency.is_some())
        .map(|measured| measured.gateway.identity)
        .ok_or(ClientError::NoGateway)
}

fn save_agreed_keys(session: &mut ClientSession, key_files: &KeyFiles) -> Result<(), ClientError> {
    while let Some(event) = session.poll_event() {
        if let Event::Ready { shared_keys } = event {
            key_files.save_shared(&shared_keys)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
