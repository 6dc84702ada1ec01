//! `nym-client config`.

use std::fmt::Write as _;

use nym_daemon::config::{Loaded, Origin, keys};
use nym_daemon::exit::{ExitCode, Failure, print_text};
use nym_daemon::home::Home;
use serde::Serialize;

use super::{JSON_VERSION, config_file, environment, print_json};
use crate::cli::{ConfigArgs, ConfigCommand, RunArgs, ShowArgs};
use crate::config::{ClientConfig, FileConfig, load_layered};
use crate::error::ClientError;
use crate::keys::OwnKeys;

pub(crate) fn execute(args: &ConfigArgs, home: &Home) -> Result<ExitCode, Failure> {
    match &args.command {
        ConfigCommand::Check(args) => check(args, home),
        ConfigCommand::Show(args) => show(args, home),
    }
}

fn load(args: &RunArgs, home: &Home) -> Result<Loaded<FileConfig>, ClientError> {
    let config_file = config_file(home, &args.id)?;
    Ok(load_layered(
        &config_file,
        environment(),
        &args.overrides(),
    )?)
}

fn check(args: &RunArgs, home: &Home) -> Result<ExitCode, Failure> {
    let loaded = load(args, home)?;
    let file = loaded.source.path().display().to_string();
    let config = ClientConfig::from_file(loaded).map_err(ClientError::from)?;
    OwnKeys::load(&config.key_files).map_err(ClientError::from)?;
    config.key_files.load_shared().map_err(ClientError::from)?;
    print_text(&format!("{file} and the keys it names are fine\n"))
}

#[derive(Serialize)]
struct Shown {
    version: u32,
    keys: Vec<ShownKey>,
}

#[derive(Serialize)]
struct ShownKey {
    key: String,
    value: toml::Value,
    origin: String,
}

fn show(args: &ShowArgs, home: &Home) -> Result<ExitCode, Failure> {
    let loaded = load(&args.run, home)?;
    let keys = shown_keys(&loaded)?;
    if args.json {
        let version = JSON_VERSION;
        print_json(&Shown { version, keys })?;
        return Ok(ExitCode::Success);
    }
    let mut text = String::new();
    let mut section = "";
    for ShownKey { key, value, origin } in &keys {
        let (of, name) = key.split_once('.').unwrap_or(("", key));
        if of != section {
            let gap = if section.is_empty() { "" } else { "\n" };
            let _ = writeln!(text, "{gap}[{of}]");
            section = of;
        }
        let _ = writeln!(text, "{name} = {value}  # {origin}");
    }
    print_text(&text)
}

/// Every key with a value, but for the secret one.
fn shown_keys(loaded: &Loaded<FileConfig>) -> Result<Vec<ShownKey>, ClientError> {
    let shown = |(key, value): (String, toml::Value)| {
        let is_secret = key == "apps.token" && value.as_str() != Some("");
        ShownKey {
            origin: origin(loaded, &key).to_string(),
            value: if is_secret { "(secret)".into() } else { value },
            key,
        }
    };
    Ok(keys(&loaded.value)?.into_iter().map(shown).collect())
}

fn origin(loaded: &Loaded<FileConfig>, key: &str) -> Origin {
    let source = &loaded.source;
    match source.origin(key) {
        // The name that 0.11 programs read as well.
        Origin::Default if key == "client.validator_rest_urls" => {
            source.origin("client.validator_rest_url")
        }
        origin => origin,
    }
}
