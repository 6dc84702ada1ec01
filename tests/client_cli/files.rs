//! Configurations and key files: those of 0.11.0, wrong ones, and disks that take nothing.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use nym_tests::repository;
use serde_json::Value;

use super::*;

const GATEWAY: &str = "65SkPxGjnPjm4VUXNZohzMuSAc9JKQzbuqwDWE5odCkm";

/// The public keys of the key files of the vectors, as an address.
pub(crate) const ADDRESS: &str = "B9T7d6TL2NGh5q2VNf8BqJTxFFGoC2KA7UBMLguUZztQ.\
    HdpQStuC2biECtidWJ3mFEQZAoVBnexgtwXcyoNAViya@65SkPxGjnPjm4VUXNZohzMuSAc9JKQzbuqwDWE5odCkm";

/// Each key file of the vectors with the name and the configuration key that 0.11.0 gives it.
const KEY_FILES: [(&str, &str, &str); 6] = [
    (
        "identity-private",
        "private_identity.pem",
        "private_identity_key_file",
    ),
    (
        "identity-public",
        "public_identity.pem",
        "public_identity_key_file",
    ),
    (
        "encryption-private",
        "private_encryption.pem",
        "private_encryption_key_file",
    ),
    (
        "encryption-public",
        "public_encryption.pem",
        "public_encryption_key_file",
    ),
    (
        "gateway-shared-keys",
        "gateway_shared.pem",
        "gateway_shared_key_file",
    ),
    ("ack-key", "ack_key.pem", "ack_key_file"),
];

/// A client as a 0.11.0 program left it: its key files, its configuration, nothing of ours.
pub(crate) struct OldClient {
    pub(crate) home: Home,
}

impl OldClient {
    pub(crate) fn new() -> Self {
        let home = Home::new();
        let client = Self { home };
        let vectors = repository().join("tests/vectors/gateway/keyfiles.json");
        let vectors: Value = serde_json::from_slice(&fs::read(vectors).unwrap()).unwrap();
        for folder in ["config", "data", "data/reply_key_store"] {
            fs::create_dir_all(client.path(folder)).unwrap();
        }
        let mut config = format!(
            "# This is a TOML config file.\n[client]\nversion = '0.11.0'\nid = 'alice'\n\
             validator_rest_urls = [\n    'http://127.0.0.1:9',\n]\n\
             mixnet_contract_address = 'mine'\nvpn_mode = false\ngateway_id = '{GATEWAY}'\n\
             gateway_listener = 'ws://127.0.0.1:9'\n\
             reply_encryption_key_store_path = '{}'\nnym_root_directory = '{}'\n",
            client.path("data/reply_key_store").display(),
            client.home.path().join("clients").display(),
        );
        for (kind, name, key) in KEY_FILES {
            let files = vectors["files"].as_array().unwrap();
            let file = files.iter().find(|file| file["kind"] == kind).unwrap();
            let path = client.key(name);
            fs::write(&path, file["file_text"].as_str().unwrap()).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            config.push_str(&format!("{key} = '{}'\n", path.display()));
        }
        config.push_str(
            "[socket]\nsocket_type = 'WebSocket'\nlistening_port = 0\n[logging]\n\
             [debug]\naverage_packet_delay = '70ms'\naverage_ack_delay = '50ms'\n\
             loop_cover_traffic_average_delay = '200ms'\nmessage_sending_average_delay = '20ms'\n",
        );
        fs::write(client.path("config/config.toml"), config).unwrap();
        client
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.home.path().join("clients/alice").join(below)
    }

    fn key(&self, name: &str) -> PathBuf {
        self.path("data").join(name)
    }

    fn run(&self, words: &[&str]) -> Ended {
        self.home.run(&[words, &["--id", "alice"]].concat())
    }

    pub(crate) fn config(&self) -> String {
        fs::read_to_string(self.path("config/config.toml")).unwrap()
    }

    /// Every file with its content.
    fn all(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files = Vec::new();
        let mut folders = vec![self.home.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let content = fs::read(&path).unwrap_or_default();
                    files.push((path, content));
                }
            }
        }
        files.sort();
        files
    }
}

#[test]
fn a_directory_of_0_11_0_is_read_in_place() {
    let client = OldClient::new();
    let before = client.all();
    let address = client.run(&["address"]);
    assert_eq!(address.stdout, format!("{ADDRESS}\n"), "{address:?}");
    let checked = client.run(&["config", "check"]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert_eq!(client.all(), before, "reading writes nothing");

    // It runs with it, too; the network it wants is not there.
    let running = client.home.start(&["run", "--id", "alice"]);
    let shown = running.wait_for("the address", |line| {
        line.strip_prefix("The address of this client is: ")
            .map(str::to_owned)
    });
    assert_eq!(shown, ADDRESS);
    // Apps are served all the same.
    let status = client.run(&["status", "--json"]);
    assert_eq!(status.code, Some(1), "{status:?}");
    let status: Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(
        (&status["running"], &status["connected"]),
        (&true.into(), &false.into())
    );
    assert_eq!(status["address"], ADDRESS);
    assert_eq!(running.interrupt().code(), Some(130));
    assert_eq!(client.config(), String::from_utf8_lossy(&before[0].1));
}

#[test]
fn upgrade_and_a_second_init_keep_values_keys_and_gateway() {
    let client = OldClient::new();
    let keys: Vec<_> = KEY_FILES
        .map(|(_, name, _)| fs::read(client.key(name)).unwrap())
        .into();
    let old = client.config();
    let upgraded = client.run(&["upgrade"]);
    assert_eq!(upgraded.code, Some(0), "{upgraded:?}");
    assert!(
        upgraded.stdout.contains("is upgraded from 0.11.0"),
        "{upgraded:?}"
    );
    assert_eq!(
        fs::read_to_string(client.path("config/config.toml.0.11.0")).unwrap(),
        old
    );
    let again = client.run(&["upgrade"]);
    assert!(again.stdout.contains("is up to date"), "{again:?}");

    let made = client.run(&["init", "--port", "2000"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    assert!(
        made.stdout.contains("Keys and gateway were kept"),
        "{made:?}"
    );
    assert!(made.stdout.contains(ADDRESS), "{made:?}");
    let config = client.config();
    for kept in [
        "validator_rest_urls = [\"http://127.0.0.1:9\"]",
        "mixnet_contract_address = \"mine\"",
        "gateway_listener = \"ws://127.0.0.1:9\"",
        "average_packet_delay = \"70ms\"",
        "listening_port = 2000",
    ] {
        assert!(config.contains(kept), "no `{kept}` in {config}");
    }
    let after: Vec<_> = KEY_FILES
        .map(|(_, name, _)| fs::read(client.key(name)).unwrap())
        .into();
    assert_eq!(after, keys);
}

#[test]
fn the_configuration_is_checked_and_shown_with_who_says_what() {
    let client = OldClient::new();
    let shown = client.run(&["config", "show", "--json", "--port", "7"]);
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(shown["version"], 1);
    let origin = |key: &str| {
        let keys = shown["keys"].as_array().unwrap();
        let found = keys.iter().find(|shown| shown["key"] == key).unwrap();
        (
            found["value"].clone(),
            found["origin"].as_str().unwrap().to_owned(),
        )
    };
    assert_eq!(
        origin("socket.listening_port"),
        (7.into(), "flag --port".to_owned())
    );
    assert_eq!(
        origin("debug.ack_wait_multiplier"),
        (1.5.into(), "default".to_owned())
    );
    assert_eq!(origin("client.id").1, "file, line 4");

    let mut command = client.home.client(&["config", "show", "--id", "alice"]);
    command.env("NYM_CLIENT_APPS_TOKEN", "s3cret");
    let shown = Ended::of(&output_of(&mut command));
    let line = "token = \"(secret)\"  # environment variable NYM_CLIENT_APPS_TOKEN";
    assert!(shown.stdout.contains(line), "{shown:?}");
    assert!(!shown.stdout.contains("s3cret"), "{shown:?}");
    shown.stdout.parse::<toml::Table>().unwrap();

    let mut command = client.home.client(&["config", "check", "--id", "alice"]);
    command.env("NYM_CLIENT_SOCKET_LISTENNING_PORT", "1");
    Ended::of(&output_of(&mut command)).is_one_clear_error(2, "NYM_CLIENT_SOCKET_LISTENING_PORT?");
    let config = client.config().replace("listening_port", "listenning_port");
    fs::write(client.path("config/config.toml"), config).unwrap();
    client.run(&["config", "check"]).is_one_clear_error(
        2,
        "config.toml line 22: unknown key `listenning_port`; did you mean `listening_port`?",
    );
}

#[test]
fn vpn_mode_is_off_by_default_and_says_what_it_costs() {
    const COSTS: &str = "whoever watches the network can see who talks to whom";
    let client = OldClient::new();
    let upgraded = client.run(&["upgrade"]);
    assert_eq!(upgraded.code, Some(0), "{upgraded:?}");
    let config = client.config();
    assert!(config.contains("UNSAFE: whoever watches"), "{config}");
    let help = client.home.data(&["run", "--help"]);
    assert!(help.contains("UNSAFE: shows who talks to whom"), "{help}");

    for (flags, warns) in [(&[][..], false), (&["--vpn-mode"], true)] {
        let words = [&["run", "--id", "alice"], flags].concat();
        let running = client.home.start(&words);
        // Said once it has begun, because nobody is there.
        running.wait_for("an attempt", |line| {
            line.contains("no link to the gateway").then_some(())
        });
        assert_eq!(running.output().contains(COSTS), warns, "{flags:?}");
        assert_eq!(running.interrupt().code(), Some(130));
    }
}

#[test]
fn a_configuration_of_an_older_version_says_how_to_upgrade() {
    let client = OldClient::new();
    let config = client.config().replace("'0.11.0'", "'0.10.1'");
    fs::write(client.path("config/config.toml"), config).unwrap();
    client
        .run(&["run"])
        .is_one_clear_error(2, "`nym-client upgrade --id alice`");
    assert_eq!(client.run(&["upgrade"]).code, Some(0));
    assert_eq!(client.run(&["config", "check"]).code, Some(0));
}

/// What is done to a key file, and what the program says then.
#[test]
fn a_key_file_that_is_not_fit_is_one_clear_line_and_nothing_is_overwritten() {
    type Harm = fn(&Path);
    let harms: [(Harm, &str); 5] = [
        (
            |path| fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap(),
            "chmod 600 ",
        ),
        (
            |path| {
                let text = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
                fs::write(path, text).unwrap();
            },
            "CERTIFICATE",
        ),
        (
            |path| fs::write(path, "").unwrap(),
            "what to do: restore it from a copy",
        ),
        (|path| fs::remove_file(path).unwrap(), ""),
        // What cannot be read, even for a user who may read everything.
        (
            |path| {
                fs::remove_file(path).unwrap();
                fs::create_dir(path).unwrap();
            },
            "",
        ),
    ];
    for name in [
        "private_identity.pem",
        "private_encryption.pem",
        "ack_key.pem",
        "gateway_shared.pem",
    ] {
        for (harm, said) in harms {
            let client = OldClient::new();
            harm(&client.key(name));
            let before = client.all();
            for command in [&["run"][..], &["config", "check"]] {
                let ended = client.run(command);
                ended.is_one_clear_error(1, name);
                assert!(ended.stderr.contains(said), "{ended:?}");
            }
            assert_eq!(client.all(), before, "{name}");
        }
    }
}

#[test]
fn init_does_not_touch_keys_that_it_cannot_read() {
    let client = OldClient::new();
    let key = client.key("private_identity.pem");
    fs::set_permissions(&key, Permissions::from_mode(0o640)).unwrap();
    let before = client.all();
    client.run(&["init"]).is_one_clear_error(1, "chmod 600 ");
    fs::remove_file(client.path("config/config.toml")).unwrap();
    client
        .run(&["init", "--validators", "http://127.0.0.1:9"])
        .is_one_clear_error(1, "");
    fs::write(client.path("config/config.toml"), &before[0].1).unwrap();
    assert_eq!(client.all(), before);
}

/// Runs a command where the files of `client` are on a disk that takes nothing more, made by
/// `mount`; gives also what the files were afterwards. `None` where the system lets no ordinary
/// user mount anything.
fn on_a_disk(client: &OldClient, mount: &str, words: &[&str]) -> Option<(Ended, OldClient)> {
    const SCRIPT: &str = "home=$1 spare=$2 after=$3; shift 3; set -e; eval \"$MOUNT\"; set +e
        \"$@\"; code=$?
        rm -f \"$home/filler\" 2>/dev/null; cp -rp \"$home/.\" \"$after\"; exit $code";
    let mut probe = Command::new("unshare");
    if !output_of(probe.args(["-rm", "true"])).status.success() {
        return None;
    }
    let (spare, after) = (Home::new(), Home::new());
    let plain = client.home.client(words);
    let mut command = Command::new("unshare");
    command
        .args(["-rm", "sh", "-c", SCRIPT, "sh"])
        .args([client.home.path(), spare.path(), after.path()])
        .arg(plain.get_program())
        .args(plain.get_args())
        .env("MOUNT", mount)
        .env_remove("RUST_LOG")
        .env_remove("NYM_HOME");
    let ended = Ended::of(&output_of(&mut command));
    Some((ended, OldClient { home: after }))
}

/// A copy of the files on a small disk of memory, filled up.
const FULL: &str = "mount -t tmpfs -o size=256k tmpfs \"$spare\"
    cp -rp \"$home/.\" \"$spare\"
    cat /dev/zero > \"$spare/filler\" 2>/dev/null || :
    mount --bind \"$spare\" \"$home\"";

/// The files as they are, on a disk that is only read.
const READ_ONLY: &str = "mount --bind \"$home\" \"$home\"
    mount -o remount,ro,bind \"$home\"";

#[test]
fn a_disk_that_takes_nothing_is_one_clear_line_and_nothing_is_overwritten() {
    for (mount, why) in [
        (FULL, "No space left on device"),
        (READ_ONLY, "Read-only file system"),
    ] {
        for (words, place) in [
            (&["run", "--id", "alice"][..], "clients/alice/data"),
            (&["init", "--id", "alice", "--port", "1"], "clients/alice"),
            (&["upgrade", "--id", "alice"], "config.toml"),
        ] {
            let client = OldClient::new();
            let Some((ended, after)) = on_a_disk(&client, mount, words) else {
                return;
            };
            ended.is_one_clear_error(1, why);
            assert!(ended.stderr.contains(place), "{ended:?}");
            assert_eq!(after.config(), client.config(), "{words:?}");
            for (_, name, _) in KEY_FILES {
                let kept = |client: &OldClient| fs::read(client.key(name)).unwrap();
                assert_eq!(kept(&after), kept(&client), "{words:?} {name}");
            }
        }
    }
}

#[test]
fn a_home_that_cannot_be_made_is_one_clear_line() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for home in [file.path().join("nym"), PathBuf::from("/proc/nym")] {
        let mut command = Command::new(program("nym-client"));
        command.args(["init", "--id", "alice", "--home"]).arg(&home);
        let ended = Ended::of(&output_of(&mut command));
        ended.is_one_clear_error(1, home.to_str().unwrap());
    }
}

#[test]
fn completions_and_man_pages_are_printed() {
    let home = Home::new();
    let bash = home.data(&["completions", "bash"]);
    assert!(bash.contains("complete -F _nym__client"), "{bash}");
    let man = home.data(&["man"]);
    assert!(man.contains(".TH nym-client 1"), "{man}");
    let dir = home.path().join("man1");
    home.data(&["man", "--dir", dir.to_str().unwrap()]);
    assert!(dir.join("nym-client-send.1").exists());
}

#[test]
fn a_wrong_flag_of_init_is_named_and_nothing_is_set_up() {
    let home = Home::new();
    let words = ["init", "--id", "alice", "--validators", "nonsense"];
    home.run(&words)
        .is_one_clear_error(2, "flag --validators: `nonsense` is not a URL");
    assert!(
        !home
            .path()
            .join("clients/alice/config/config.toml")
            .exists()
    );
    let words = [
        "init",
        "--id",
        "alice",
        "--validators",
        "http://127.0.0.1:9",
    ];
    home.run(&words).is_one_clear_error(
        1,
        "cannot learn the topology: no validator gave a usable answer",
    );
}

#[test]
fn a_client_that_was_never_set_up_is_told_how() {
    let home = Home::new();
    for command in ["run", "address", "status", "listen", "upgrade"] {
        home.run(&[command, "--id", "nobody"])
            .is_one_clear_error(2, "nym-client init --id nobody");
    }
    home.run(&["listen", "--id", "../x"]).is_usage_error("--id");
}
