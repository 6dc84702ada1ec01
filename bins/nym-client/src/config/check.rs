//! From what the file says to a configuration whose fields cannot be wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use nym_daemon::config::{ConfigError, Loaded, Origin, Source};
use nym_protocol::PROTOCOL_VERSION;
use nym_protocol::app::DialectChoice;
use nym_protocol::validator::ValidatorUrl;
use nym_protocol::validator::version::is_compatible;
use nym_transport::directory::Validators;

use super::file::{FileConfig, NO_SOCKET, WEB_SOCKET};
use super::{AppToken, AppsConfig, ClientConfig, PushMode};
use crate::store::{STORE_BYTES_MIN, StoreConfig};

const PUSH_MODES: [(&str, PushMode); 2] = [
    ("single", PushMode::Single),
    ("broadcast", PushMode::Broadcast),
];

const DIALECTS: [(&str, DialectChoice); 4] = [
    ("auto", DialectChoice::Auto),
    ("seed", DialectChoice::Seed),
    ("v0.11", DialectChoice::V0_11),
    ("v1", DialectChoice::SenderTags),
];

impl ClientConfig {
    /// Checks what a file says, after the command line was applied to it.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Invalid`] naming line and key of the first value that is not allowed.
    pub fn from_file(loaded: Loaded<FileConfig>) -> Result<Self, ConfigError> {
        let Loaded {
            value: file,
            source,
        } = loaded;
        check_numbers(&file, &source)?;
        let client = &file.client;
        if !is_compatible(&client.version, PROTOCOL_VERSION) {
            let allowed = format!(
                "a version compatible with {PROTOCOL_VERSION}; `nym-client upgrade --id {}` makes an \
             older one so",
                client.id
            );
            return Err(source.invalid("client.version", &client.version, &allowed));
        }
        let validators = validators(&file, &source)?;
        let gateway = client.gateway_id.parse().map_err(|_| {
            let allowed = "the base58 identity of a gateway; `nym-client init` chooses one";
            source.invalid("client.gateway_id", &quoted(&client.gateway_id), allowed)
        })?;
        let listener = &client.gateway_listener;
        if !["ws://", "wss://"]
            .iter()
            .any(|scheme| listener.starts_with(scheme))
        {
            let allowed = "a URL such as \"ws://gateway.example:9000\"";
            return Err(source.invalid("client.gateway_listener", &quoted(listener), allowed));
        }
        let legacy_peers = file.links.legacy_peers.parse().map_err(|_| {
            let allowed = "\"deny\", \"allow\" or \"allow until YYYY-MM-DD\"";
            source.invalid(
                "links.legacy_peers",
                &quoted(&file.links.legacy_peers),
                allowed,
            )
        })?;
        Ok(Self {
            id: client.id.clone(),
            store: file.store.durable.then(|| StoreConfig {
                bytes_max: file.store.bytes_max,
                ..StoreConfig::beside(&file.key_files())
            }),
            key_files: file.key_files(),
            gateway,
            gateway_listener: listener.clone(),
            validators,
            mixnet_contract: client.mixnet_contract_address.clone(),
            apps: apps(&file, &source)?,
            engine: file.engine(),
            gateway_response_timeout: file.debug.gateway_response_timeout.get(),
            topology_refresh_rate: file.debug.topology_refresh_rate.get(),
            legacy_peers,
            journeys: None,
        })
    }
}

/// Whom the file names as validators.
///
/// # Errors
///
/// [`ConfigError::Invalid`] when a URL is none, or there is none.
pub fn validators(file: &FileConfig, source: &Source) -> Result<Validators, ConfigError> {
    let client = &file.client;
    let urls = parse_validators(&client.validator_rest_urls.0)
        .map_err(|problem| source.at_key("client.validator_rest_urls", problem))?;
    Ok(Validators::new(urls, Path::new(&client.validator_ca_file)))
}

/// Reads the URLs of validators, of which there must be one at least.
///
/// # Errors
///
/// A text that says which URL is wrong.
pub fn parse_validators(urls: &[String]) -> Result<Vec<ValidatorUrl>, String> {
    if urls.is_empty() {
        return Err("there is no validator".to_owned());
    }
    let parse = |url: &String| url.trim().parse().map_err(|error| format!("{error}"));
    urls.iter().map(parse).collect()
}

fn apps(file: &FileConfig, source: &Source) -> Result<Option<AppsConfig>, ConfigError> {
    let socket_type = &file.socket.socket_type;
    if socket_type == NO_SOCKET {
        return Ok(None);
    }
    if socket_type != WEB_SOCKET {
        let allowed = format!("\"{WEB_SOCKET}\" or \"{NO_SOCKET}\"");
        return Err(source.invalid("socket.socket_type", &quoted(socket_type), &allowed));
    }
    let apps = &file.apps;
    let dialect = one_of(&DIALECTS, "apps.dialect", &apps.dialect, source)?;
    let push_mode = one_of(&PUSH_MODES, "apps.pushes", &apps.pushes, source)?;
    let token = AppToken::new(&apps.token);
    if token.is_none() && !apps.token.is_empty() {
        let allowed = "a text of letters, digits and `-._~`, or \"\" for none";
        return Err(source.invalid("apps.token", "this text", allowed));
    }
    let from_file = matches!(source.origin("apps.token"), Origin::File { .. });
    if token.is_some() && from_file && others_may_read(source.path()) {
        let file = source.path().display();
        let problem = format!("others may read the token; run `chmod 600 {file}`");
        return Err(source.at_key("apps.token", problem));
    }
    Ok(Some(AppsConfig {
        port: file.socket.listening_port,
        dialect,
        push_mode,
        allowed_origins: apps.allowed_origins.clone(),
        allow_null_origin: apps.allow_null_origin,
        allowed_hosts: apps.allowed_hosts.clone(),
        token,
        message_len_max: apps.message_len_max,
        undelivered_bytes_max: apps.undelivered_bytes_max,
    }))
}

/// The choice of this name.
fn one_of<T: Copy>(
    choices: &[(&str, T)],
    key: &str,
    found: &str,
    source: &Source,
) -> Result<T, ConfigError> {
    let chosen = choices.iter().find(|(name, _)| *name == found);
    chosen.map(|(_, choice)| *choice).ok_or_else(|| {
        let names: Vec<_> = choices.iter().map(|(name, _)| quoted(name)).collect();
        let allowed = format!("one of {}", names.join(", "));
        source.invalid(key, &quoted(found), &allowed)
    })
}

/// Whether the file is there and anybody but its owner may read it.
fn others_may_read(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o044 != 0)
}

/// Numbers that would stop a stream or fill a processor.
fn check_numbers(file: &FileConfig, source: &Source) -> Result<(), ConfigError> {
    let debug = &file.debug;
    let above_zero = [
        (
            "loop_cover_traffic_average_delay",
            debug.loop_cover_traffic_average_delay,
        ),
        (
            "message_sending_average_delay",
            debug.message_sending_average_delay,
        ),
        ("gateway_response_timeout", debug.gateway_response_timeout),
        ("topology_refresh_rate", debug.topology_refresh_rate),
    ];
    for (key, duration) in above_zero {
        if duration.get().as_millis() == 0 {
            let key = format!("debug.{key}");
            let found = quoted(&duration.to_string());
            return Err(source.invalid(&key, &found, "a duration of at least 1ms"));
        }
    }
    let multiplier = debug.ack_wait_multiplier;
    if !(0.0..=1_000.0).contains(&multiplier) {
        let key = "debug.ack_wait_multiplier";
        return Err(source.invalid(key, &multiplier.to_string(), "a number from 0 to 1000"));
    }
    let sizes = [
        ("apps.message_len_max", file.apps.message_len_max),
        (
            "limits.unacknowledged_bytes_max",
            file.limits.unacknowledged_bytes_max,
        ),
        ("limits.reply_keys_max", file.limits.reply_keys_max),
        ("limits.sender_surbs_max", file.limits.sender_surbs_max),
        ("limits.receipts_max", file.limits.receipts_max),
    ];
    for (key, size) in sizes {
        if size == 0 {
            return Err(source.invalid(key, "0", "a number above zero"));
        }
    }
    if file.store.bytes_max < STORE_BYTES_MIN {
        let allowed = format!("a number of at least {STORE_BYTES_MIN}");
        let found = file.store.bytes_max.to_string();
        return Err(source.invalid("store.bytes_max", &found, &allowed));
    }
    if file.limits.fragment_attempts_max == 0 {
        return Err(source.invalid("limits.fragment_attempts_max", "0", "a number above zero"));
    }
    Ok(())
}

fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}
