//! Files in, configurations or errors out.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use nym_daemon::config::{self, ConfigError};

use super::render::sections;
use super::*;

const GATEWAY: &str = "65SkPxGjnPjm4VUXNZohzMuSAc9JKQzbuqwDWE5odCkm";

fn complete() -> FileConfig {
    let data = Path::new("/home/a/.nym/clients/alice/data");
    let root = Path::new("/home/a/.nym/clients");
    let mut file = FileConfig::new("alice", &KeyFiles::in_dir(data), data, root);
    file.client.gateway_id = GATEWAY.to_owned();
    file.client.gateway_listener = "ws://127.0.0.1:9000".to_owned();
    file
}

fn load(text: &str) -> Result<ClientConfig, ConfigError> {
    ClientConfig::from_file(config::parse("config.toml".as_ref(), text)?)
}

fn error(text: &str) -> String {
    load(text).unwrap_err().to_string()
}

#[test]
fn what_is_written_is_read_and_has_every_key_with_a_comment_and_its_default() {
    let mut file = complete();
    let text = render(&file);
    let read = config::parse::<FileConfig>("config.toml".as_ref(), &text)
        .unwrap()
        .value;
    assert_eq!(read, file);

    file.debug.vpn_key_reuse_limit = FileConfig::complete().debug.vpn_key_reuse_limit;
    let written: toml::Table = render(&file).parse().unwrap();
    assert_eq!(written, toml::Table::try_from(&file).unwrap());

    let config = load(&text).unwrap();
    assert_eq!(config.engine, EngineConfig::default());
    assert_eq!(config.apps, Some(AppsConfig::default()));
}

#[test]
fn a_file_of_a_0_11_client_is_read() {
    let text = format!(
        "[client]\nversion = '0.11.0'\nid = 'alice'\nvalidator_rest_url = 'http://a:1317'\n\
         mixnet_contract_address = 'x'\nvpn_mode = false\nprivate_identity_key_file = 'a'\n\
         public_identity_key_file = 'b'\nprivate_encryption_key_file = 'c'\n\
         public_encryption_key_file = 'd'\ngateway_shared_key_file = 'e'\nack_key_file = 'f'\n\
         reply_encryption_key_store_path = 'g'\ngateway_id = '{GATEWAY}'\n\
         gateway_listener = 'ws://1.2.3.4:9000'\nnym_root_directory = 'h'\n\
         [socket]\nsocket_type = 'None'\nlistening_port = 1977\n[logging]\n\
         [debug]\naverage_packet_delay = 100\naverage_ack_delay = '10ms'\n\
         loop_cover_traffic_average_delay = '1s'\nmessage_sending_average_delay = 20\n"
    );
    let config = load(&text).unwrap();
    assert_eq!(config.apps, None);
    assert_eq!(config.engine.average_packet_delay.as_millis(), 100);
    assert_eq!(config.engine.ack_wait_multiplier, 1.5);
    assert_eq!(config.validators.urls.len(), 1);
}

#[test]
fn a_value_that_is_not_allowed_is_named_with_its_line() {
    let text = render(&complete());
    let with = |key: &str, value: &str| {
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{key} =")))
            .unwrap();
        error(&text.replace(line, &format!("{key} = {value}")))
    };
    for (key, value, said) in [
        ("version", "\"0.10.0\"", "a version compatible with 0.11.0"),
        ("gateway_id", "\"\"", "`nym-client init` chooses one"),
        ("gateway_listener", "\"http://a\"", "a URL such as"),
        ("validator_rest_urls", "[]", "there is no validator"),
        ("socket_type", "\"UnixSocket\"", "\"WebSocket\" or \"None\""),
        (
            "dialect",
            "\"v2\"",
            "one of \"auto\", \"seed\", \"v0.11\", \"v1\"",
        ),
        ("pushes", "\"all\"", "one of \"single\", \"broadcast\""),
        (
            "message_sending_average_delay",
            "0",
            "a duration of at least 1ms",
        ),
        ("ack_wait_multiplier", "nan", "a number from 0 to 1000"),
        ("token", "\"a b\"", "a text of letters, digits"),
        ("fragment_attempts_max", "0", "a number above zero"),
    ] {
        let error = with(key, value);
        assert!(error.starts_with("config.toml line "), "{error}");
        assert!(
            error.contains(key) || key == "validator_rest_urls",
            "{error}"
        );
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn a_key_that_is_not_known_is_an_error_with_the_nearest_one() {
    let text = render(&complete()).replace("listening_port =", "listenning_port =");
    assert!(error(&text).contains("did you mean `listening_port`?"));
}

#[test]
fn a_token_that_others_may_read_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    let mut file = complete();
    let loaded = |path: &Path| ClientConfig::from_file(config::load(path).unwrap());
    for (token, mode, fits) in [
        ("s3cret", 0o600, true),
        ("s3cret", 0o640, false),
        ("s3cret", 0o604, false),
        ("", 0o644, true),
    ] {
        token.clone_into(&mut file.apps.token);
        config::save_private_text(&path, &render(&file)).unwrap();
        let saved = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(saved & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let read = loaded(&path);
        assert_eq!(read.is_ok(), fits, "{token:?} {mode:o}");
        if let Err(error) = read {
            let said = error.to_string();
            assert!(said.contains("run `chmod 600 "), "{said}");
            assert!(!said.contains("s3cret"), "{said}");
        }
    }
}

/// Loads the file under a variable and flags.
fn layered(variables: &[(&str, &str)], overrides: &Overrides) -> Result<ClientConfig, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    config::save_private_text(&path, &render(&complete())).unwrap();
    let environment = variables
        .iter()
        .map(|&(name, text)| (name.to_owned(), text.to_owned()));
    ClientConfig::from_file(load_layered(&path, environment, overrides)?)
}

#[test]
fn the_environment_wins_over_the_file_and_flags_over_both() {
    let variables = [
        (
            "NYM_CLIENT_CLIENT_VALIDATOR_REST_URLS",
            "http://a:1,http://c:2",
        ),
        ("NYM_CLIENT_DEBUG_AVERAGE_PACKET_DELAY", "7ms"),
        ("NYM_CLIENT_DEBUG_VPN_KEY_REUSE_LIMIT", "5"),
        ("NYM_CLIENT_SOCKET_LISTENING_PORT", "1999"),
        ("NYM_CLIENT_APPS_TOKEN", "s3cret"),
        ("NYM_HOME", "/nowhere"),
    ];
    let flags = Overrides {
        port: Some(2000),
        vpn_mode: true,
        ..Overrides::default()
    };
    let config = layered(&variables, &flags).unwrap();
    let apps = config.apps.unwrap();
    assert_eq!(apps.port, 2000);
    assert!(apps.token.unwrap().is("s3cret"));
    assert_eq!(config.validators.urls[1].to_string(), "http://c:2/");
    assert_eq!(config.engine.average_packet_delay.as_millis(), 7);
    assert!(config.engine.vpn_mode);

    let flags = Overrides {
        disable_socket: true,
        validators: Some(vec!["http://b:1".to_owned()]),
        ..Overrides::default()
    };
    let config = layered(&variables, &flags).unwrap();
    assert!(config.apps.is_none());
    assert_eq!(config.validators.urls.len(), 1);
}

#[test]
fn a_wrong_variable_is_named_with_its_key_and_what_is_allowed() {
    for (variable, text, said) in [
        (
            "NYM_CLIENT_SOCKET_LISTENING_PORT",
            "65536",
            "environment variable NYM_CLIENT_SOCKET_LISTENING_PORT: key `socket.listening_port`: \
             invalid value: integer `65536`, expected a whole number from 0 to 65535",
        ),
        (
            "NYM_CLIENT_APPS_DIALECT",
            "v2",
            "environment variable NYM_CLIENT_APPS_DIALECT: `apps.dialect` is \"v2\", allowed is \
             one of \"auto\", \"seed\", \"v0.11\", \"v1\"",
        ),
        (
            "NYM_CLIENT_SOCKET_LISTENNING_PORT",
            "1",
            "environment variable NYM_CLIENT_SOCKET_LISTENNING_PORT: it sets no key; did you mean \
             NYM_CLIENT_SOCKET_LISTENING_PORT?",
        ),
    ] {
        let error = layered(&[(variable, text)], &Overrides::default()).unwrap_err();
        assert_eq!(error.to_string(), said);
    }
}

#[test]
fn fast_mode_changes_three_values() {
    let mut file = complete();
    file.set_fast_mode();
    let config = load(&render(&file)).unwrap();
    assert_eq!(config.engine, EngineConfig::default().with_fast_mode());
    assert!(render(&file).contains("loop_cover_traffic_average_delay = \"33m 20s\""));
}

/// The reference page: every key with its default, its environment variable and its comment.
fn reference_page() -> String {
    let mut page = String::from(
        "# Configuration of `nym-client`\n\n\
         `~/.nym/clients/<id>/config/config.toml`, written by `nym-client init` with every key. A \
         value of the\nenvironment wins over the file, a flag over both; `nym-client config show` \
         tells who says what, and\n`nym-client config check` whether all is well. Durations are \
         texts such as `\"20ms\"` or `\"1m 30s\"`,\nor whole milliseconds. A key that is not \
         known is an error.\n\nThis page is made from the code: `UPDATE_DOCS=1 cargo test -p \
         nym-client reference_page`.\n",
    );
    for (section, entries) in sections(&FileConfig::complete()) {
        if entries.is_empty() {
            continue;
        }
        page.push_str(&format!(
            "\n## `[{section}]`\n\n| Key | Default | Environment | Meaning |\n|---|---|---|---|\n"
        ));
        let mut last = String::new();
        for (comment, key, value) in entries {
            let variable = config::variable_name(ENVIRONMENT_PREFIX, &format!("{section}.{key}"));
            // A comment stands above a group of keys.
            if !comment.is_empty() {
                last = comment.replace('\n', " ").replace('|', "\\|");
            }
            let value = value.map(|value| value.to_string()).unwrap_or_default();
            page.push_str(&format!(
                "| `{key}` | `{value}` | `{variable}` | {last} |\n"
            ));
        }
    }
    page
}

#[test]
fn the_reference_page_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/config/nym-client.md");
    let page = reference_page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        written, page,
        "run `UPDATE_DOCS=1 cargo test -p nym-client reference_page`"
    );
}

#[test]
fn every_key_has_a_section_in_the_file_and_a_comment_above_its_group() {
    let known = config::keys(&FileConfig::complete()).unwrap();
    let mut rendered = Vec::new();
    for (section, entries) in sections(&FileConfig::complete()) {
        assert!(
            entries
                .first()
                .is_none_or(|(comment, ..)| !comment.is_empty())
        );
        rendered.extend(entries.iter().map(|(_, key, _)| format!("{section}.{key}")));
    }
    for (key, _) in &known {
        assert!(rendered.contains(key), "{key} is not written");
    }
    assert_eq!(rendered.len(), known.len());
}

#[test]
fn vpn_mode_is_off_unless_the_file_says_that_it_is_on() {
    const OFF: &str = "vpn_mode = false\n";
    let text = render(&complete());
    assert!(text.contains(OFF), "{text}");
    for (line, is_on) in [(OFF, false), ("", false), ("vpn_mode = true\n", true)] {
        let config = load(&text.replace(OFF, line)).unwrap();
        assert_eq!(config.engine.vpn_mode, is_on, "{line:?}");
    }
}

#[test]
fn a_client_keeps_what_it_was_given_unless_it_is_told_not_to() {
    let text = render(&complete());
    let kept = load(&text).unwrap().store.unwrap();
    assert_eq!(kept.bytes_max, crate::store::STORE_BYTES_MAX_DEFAULT);
    let volatile = load(&text.replace("durable = true", "durable = false"));
    assert_eq!(volatile.unwrap().store, None);
    let bytes_max = format!("bytes_max = {}", kept.bytes_max);
    for (bytes, is_allowed) in [("1048576", true), ("1048575", false)] {
        let text = text.replace(&bytes_max, &format!("bytes_max = {bytes}"));
        assert_eq!(load(&text).is_ok(), is_allowed, "{bytes}");
    }
}
