//! Writing the file: a comment above every key.

use std::fmt::Write as _;

use nym_transport::directory::{CA_FILE_COMMENT, CA_FILE_KEY};

use super::file::FileConfig;

/// The text of a configuration file, a comment above every key.
#[must_use]
pub fn render(file: &FileConfig) -> String {
    let mut text = String::from(
        "# The configuration of a nym-client. Durations are texts such as \"20ms\" or \"1m 30s\",\n\
         # or whole milliseconds. The environment wins over it (NYM_CLIENT_<SECTION>_<KEY>), and\n\
         # flags of `nym-client run` win over both, for one run.\n",
    );
    for (name, entries) in sections(file) {
        let _ = writeln!(text, "\n[{name}]");
        for (comment, key, value) in entries {
            for line in comment.lines() {
                let _ = writeln!(text, "# {line}");
            }
            let _ = match value {
                Some(value) => writeln!(text, "{key} = {value}"),
                None => writeln!(text, "# {key} ="),
            };
        }
    }
    text
}

/// The comment, the name and the value of a key.
pub(super) type Entry = (&'static str, &'static str, Option<toml::Value>);

/// Every section with its entries.
pub(super) fn sections(file: &FileConfig) -> Vec<(&'static str, Vec<Entry>)> {
    // The file is made of texts, numbers and lists of texts, all of which TOML has.
    let values = toml::Table::try_from(file).unwrap_or_default();
    let entries = |section: &str, keys: &[(&'static str, &'static str)]| {
        let values = values.get(section);
        let value = |key: &str| values.and_then(|values| values.get(key)).cloned();
        let entry = |&(key, comment)| (comment, key, value(key));
        keys.iter().map(entry).collect()
    };
    let section = |&(name, keys): &(&'static str, _)| (name, entries(name, keys));
    SECTIONS.iter().map(section).collect()
}

/// The keys of a section in the order of the file, each with its comment. A key without one
/// belongs to the key above it.
type Keys = &'static [(&'static str, &'static str)];

const SECTIONS: [(&str, Keys); 8] = [
    ("client", CLIENT),
    ("socket", SOCKET),
    ("apps", APPS),
    ("logging", &[]),
    ("debug", DEBUG),
    ("limits", LIMITS),
    ("store", STORE),
    ("links", LINKS),
];

const CLIENT: Keys = &[
    ("version", "The protocol that this file was written for."),
    ("id", "The name of this client."),
    (
        "validator_rest_urls",
        "Who tells the topology of the network; all are tried.",
    ),
    (CA_FILE_KEY, CA_FILE_COMMENT),
    (
        "mixnet_contract_address",
        "The contract that validators are asked about.",
    ),
    (
        "vpn_mode",
        "Send at once, without cover traffic and delays. UNSAFE: whoever watches the network\n\
         sees who talks to whom.",
    ),
    (
        "private_identity_key_file",
        "Key files. All are PEM, readable by you alone. Keep copies: they are the address.",
    ),
    ("public_identity_key_file", ""),
    ("private_encryption_key_file", ""),
    ("public_encryption_key_file", ""),
    ("gateway_shared_key_file", ""),
    ("ack_key_file", ""),
    (
        "reply_encryption_key_store_path",
        "Where 0.11 programs keep the keys of replies they wait for. Ours keep them in the store.",
    ),
    (
        "gateway_id",
        "The gateway that keeps our messages while we are away.",
    ),
    ("gateway_listener", "Where it takes clients."),
    ("nym_root_directory", "Where the files of all clients are."),
];

const SOCKET: Keys = &[
    (
        "socket_type",
        "\"WebSocket\", or \"None\" for a client without a socket for apps.",
    ),
    ("listening_port", "Where apps connect, on 127.0.0.1."),
];

const APPS: Keys = &[
    (
        "dialect",
        "What an app speaks that chooses nothing by its path: \"auto\", \"seed\", \"v0.11\" or \"v1\".",
    ),
    (
        "pushes",
        "Which apps get the messages that arrive: \"single\", the newest one, or \"broadcast\", all.\n\
         An app that connects with `?pushes=no` gets none.",
    ),
    (
        "allowed_origins",
        "Web pages that may connect beside those of this machine, as \"https://chat.example\".",
    ),
    (
        "allow_null_origin",
        "Whether pages without an origin may connect: files that a browser opens, but also a frame\n\
         that any page of the web puts into a sandbox. false refuses both.",
    ),
    (
        "allowed_hosts",
        "Names under which this machine may be asked for beside localhost, as \"box.example\".",
    ),
    (
        "token",
        "What apps have to show, as `Authorization: Bearer <token>` or `?token=<token>`: letters,\n\
         digits and `-._~`. Without one (\"\") every program on this machine may be an app.",
    ),
    (
        "message_len_max",
        "The largest frame that an app may send, in bytes.",
    ),
    (
        "undelivered_bytes_max",
        "Bytes of messages that wait while no app is there; beyond it the gateway keeps what comes.",
    ),
];

const DEBUG: Keys = &[
    (
        "average_packet_delay",
        "The traffic pattern. Everybody on a network should keep the same values: a client that\n\
         differs can be told apart.\n\
         Mean delay of a packet at each mix node.",
    ),
    (
        "average_ack_delay",
        "Mean delay of an acknowledgement at each mix node.",
    ),
    (
        "loop_cover_traffic_average_delay",
        "Mean gap between the packets of the loop cover stream.",
    ),
    (
        "message_sending_average_delay",
        "Mean gap between the packets of the main stream: the next real one, else cover.",
    ),
    (
        "ack_wait_multiplier",
        "An acknowledgement is waited for this often the expected time …",
    ),
    ("ack_wait_addition", "… and so long in addition."),
    (
        "gateway_response_timeout",
        "How long the gateway may take to open a connection.",
    ),
    (
        "topology_refresh_rate",
        "How often the topology is fetched.",
    ),
    (
        "topology_resolution_timeout",
        "Without effect, as in 0.11 programs.",
    ),
    (
        "vpn_key_reuse_limit",
        "Without effect: no secret is ever used for two packets.",
    ),
];

const LIMITS: Keys = &[
    (
        "fragment_attempts_max",
        "How often a packet is sent before its message is given up.",
    ),
    (
        "message_age_max",
        "How long a message may stay unacknowledged before it is given up.",
    ),
    (
        "unacknowledged_bytes_max",
        "Bytes of messages that may wait for acknowledgement; beyond it apps have to wait.",
    ),
    (
        "reply_keys_max",
        "How many replies can be waited for; beyond it the oldest can arrive no more.",
    ),
    ("reply_key_age_max", "How long a reply is waited for."),
    (
        "sender_surbs_max",
        "How many reply SURBs of others are kept, to answer by sender tag; beyond it those of the\n\
         sender first heard of go.",
    ),
    (
        "sender_surb_age_max",
        "How long a sender tag can be answered.",
    ),
    (
        "arrived_age_max",
        "How long a message that no app has taken is kept over restarts.",
    ),
    (
        "receipts_max",
        "How many messages with an id are remembered after their end, until their app asks; beyond\n\
         it the oldest is forgotten.",
    ),
    ("receipt_age_max", "How long such a message is remembered."),
];

const STORE: Keys = &[
    (
        "durable",
        "Whether messages, reply keys and receipts are kept on disk, encrypted, beside the keys.",
    ),
    (
        "bytes_max",
        "The largest the database may grow, in bytes; beyond it nothing is accepted.",
    ),
];

const LINKS: Keys = &[(
    "legacy_peers",
    "Plain links with 0.11 gateways, and routes over nodes without TLS: \"deny\", \"allow\" or\n\
     \"allow until 2027-01-01\". Whoever watches a plain link can read it.",
)];
