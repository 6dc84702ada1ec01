//! Writing the file: a comment above every key.

use std::fmt::Write as _;

use serde::Serialize;

use super::file::{
    AppsSection, ClientSection, DebugSection, FileConfig, LimitsSection, LinksSection,
    SocketSection, StoreSection,
};

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

/// Every section with its entries.
pub(super) fn sections(file: &FileConfig) -> [(&'static str, Vec<Entry<'static>>); 8] {
    [
        ("client", client_entries(&file.client)),
        ("socket", socket_entries(&file.socket)),
        ("apps", apps_entries(&file.apps)),
        ("logging", Vec::new()),
        ("debug", debug_entries(&file.debug)),
        ("limits", limits_entries(&file.limits)),
        ("store", store_entries(&file.store)),
        ("links", links_entries(&file.links)),
    ]
}

/// The comment, the name and the value of a key.
pub(super) type Entry<'a> = (&'a str, &'a str, Option<toml::Value>);

/// A value as TOML.
fn value(value: impl Serialize) -> Option<toml::Value> {
    toml::Value::try_from(value).ok()
}

fn client_entries(client: &ClientSection) -> Vec<Entry<'static>> {
    vec![
        (
            "The protocol that this file was written for.",
            "version",
            value(&client.version),
        ),
        ("The name of this client.", "id", value(&client.id)),
        (
            "Who tells the topology of the network; all are tried.",
            "validator_rest_urls",
            value(&client.validator_rest_urls),
        ),
        (
            "The contract that validators are asked about.",
            "mixnet_contract_address",
            value(&client.mixnet_contract_address),
        ),
        (
            "Send at once, without cover traffic and delays. UNSAFE: whoever watches the network\n\
             sees who talks to whom.",
            "vpn_mode",
            value(client.vpn_mode),
        ),
        (
            "Key files. All are PEM, readable by you alone. Keep copies: they are the address.",
            "private_identity_key_file",
            value(&client.private_identity_key_file),
        ),
        (
            "",
            "public_identity_key_file",
            value(&client.public_identity_key_file),
        ),
        (
            "",
            "private_encryption_key_file",
            value(&client.private_encryption_key_file),
        ),
        (
            "",
            "public_encryption_key_file",
            value(&client.public_encryption_key_file),
        ),
        (
            "",
            "gateway_shared_key_file",
            value(&client.gateway_shared_key_file),
        ),
        ("", "ack_key_file", value(&client.ack_key_file)),
        (
            "Where 0.11 programs keep the keys of replies they wait for. Ours keeps them in memory.",
            "reply_encryption_key_store_path",
            value(&client.reply_encryption_key_store_path),
        ),
        (
            "The gateway that keeps our messages while we are away.",
            "gateway_id",
            value(&client.gateway_id),
        ),
        (
            "Where it takes clients.",
            "gateway_listener",
            value(&client.gateway_listener),
        ),
        (
            "Where the files of all clients are.",
            "nym_root_directory",
            value(&client.nym_root_directory),
        ),
    ]
}

fn socket_entries(socket: &SocketSection) -> Vec<Entry<'static>> {
    vec![
        (
            "\"WebSocket\", or \"None\" for a client without a socket for apps.",
            "socket_type",
            value(&socket.socket_type),
        ),
        (
            "Where apps connect, on 127.0.0.1.",
            "listening_port",
            value(socket.listening_port),
        ),
    ]
}

fn apps_entries(apps: &AppsSection) -> Vec<Entry<'static>> {
    vec![
        (
            "What an app speaks that chooses nothing by its path: \"auto\", \"seed\", \"v0.11\" or \"v1\".",
            "dialect",
            value(&apps.dialect),
        ),
        (
            "Which apps get the messages that arrive: \"single\", the newest one, or \"broadcast\", all.\n\
             An app that connects with `?pushes=no` gets none.",
            "pushes",
            value(&apps.pushes),
        ),
        (
            "Web pages that may connect beside those of this machine, as \"https://chat.example\".",
            "allowed_origins",
            value(&apps.allowed_origins),
        ),
        (
            "Names under which this machine may be asked for beside localhost, as \"box.example\".",
            "allowed_hosts",
            value(&apps.allowed_hosts),
        ),
        (
            "What apps have to show, as `Authorization: Bearer <token>` or `?token=<token>`: letters,\n\
             digits and `-._~`. Without one (\"\") every program on this machine may be an app.",
            "token",
            value(&apps.token),
        ),
        (
            "The largest frame that an app may send, in bytes.",
            "message_len_max",
            value(apps.message_len_max),
        ),
        (
            "Bytes of messages that wait while no app is there; beyond it the gateway keeps what comes.",
            "undelivered_bytes_max",
            value(apps.undelivered_bytes_max),
        ),
    ]
}

fn debug_entries(debug: &DebugSection) -> Vec<Entry<'static>> {
    vec![
        (
            "The traffic pattern. Everybody on a network should keep the same values: a client that\n\
             differs can be told apart.\n\
             Mean delay of a packet at each mix node.",
            "average_packet_delay",
            value(debug.average_packet_delay),
        ),
        (
            "Mean delay of an acknowledgement at each mix node.",
            "average_ack_delay",
            value(debug.average_ack_delay),
        ),
        (
            "Mean gap between the packets of the loop cover stream.",
            "loop_cover_traffic_average_delay",
            value(debug.loop_cover_traffic_average_delay),
        ),
        (
            "Mean gap between the packets of the main stream: the next real one, else cover.",
            "message_sending_average_delay",
            value(debug.message_sending_average_delay),
        ),
        (
            "An acknowledgement is waited for this often the expected time …",
            "ack_wait_multiplier",
            value(debug.ack_wait_multiplier),
        ),
        (
            "… and so long in addition.",
            "ack_wait_addition",
            value(debug.ack_wait_addition),
        ),
        (
            "How long the gateway may take to open a connection.",
            "gateway_response_timeout",
            value(debug.gateway_response_timeout),
        ),
        (
            "How often the topology is fetched.",
            "topology_refresh_rate",
            value(debug.topology_refresh_rate),
        ),
        (
            "Without effect, as in 0.11 programs.",
            "topology_resolution_timeout",
            value(debug.topology_resolution_timeout),
        ),
        (
            "Without effect: no secret is ever used for two packets.",
            "vpn_key_reuse_limit",
            debug.vpn_key_reuse_limit.and_then(value),
        ),
    ]
}

fn store_entries(store: &StoreSection) -> Vec<Entry<'static>> {
    vec![
        (
            "Whether messages, reply keys and receipts are kept on disk, encrypted, beside the keys.",
            "durable",
            value(store.durable),
        ),
        (
            "The largest the database may grow, in bytes; beyond it nothing is accepted.",
            "bytes_max",
            value(store.bytes_max),
        ),
    ]
}

fn links_entries(links: &LinksSection) -> Vec<Entry<'static>> {
    vec![(
        "Plain links with 0.11 gateways, and routes over nodes without TLS: \"deny\", \"allow\" or\n\
         \"allow until 2027-01-01\". Whoever watches a plain link can read it.",
        "legacy_peers",
        value(&links.legacy_peers),
    )]
}

fn limits_entries(limits: &LimitsSection) -> Vec<Entry<'static>> {
    vec![
        (
            "How often a packet is sent before its message is given up.",
            "fragment_attempts_max",
            value(limits.fragment_attempts_max),
        ),
        (
            "How long a message may stay unacknowledged before it is given up.",
            "message_age_max",
            value(limits.message_age_max),
        ),
        (
            "Bytes of messages that may wait for acknowledgement; beyond it apps have to wait.",
            "unacknowledged_bytes_max",
            value(limits.unacknowledged_bytes_max),
        ),
        (
            "How many replies can be waited for; beyond it the oldest can arrive no more.",
            "reply_keys_max",
            value(limits.reply_keys_max),
        ),
        (
            "How long a reply is waited for.",
            "reply_key_age_max",
            value(limits.reply_key_age_max),
        ),
    ]
}
