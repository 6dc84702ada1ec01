//! Writing the configuration file, with a comment for every key.

use nym_daemon::config::{Comments, ConfigError, commented};
use nym_daemon::logging::LoggingSection;
use nym_node::links::LinksSection;
use nym_transport::directory::{CA_FILE_COMMENT, CA_FILE_KEY};

use super::file::FileConfig;

impl FileConfig {
    /// The text of a file with these values and a comment for every key.
    ///
    /// # Errors
    /// [`ConfigError::Unwritable`] if a path is not UTF-8.
    pub fn render(&self) -> Result<String, ConfigError> {
        let head = format!(
            "Configuration of a mix node. `nym-mixnode run --id {}` reads it.\n\
             Times are texts such as \"1m 30s\" or \"20ms\", or numbers of milliseconds.",
            self.mixnode.id
        );
        commented(&head, self, &[COMMENTS, LinksSection::COMMENTS])
    }
}

/// What each key means.
const COMMENTS: Comments = &[
    ("version", "Version of the protocol that this file is for."),
    ("id", "Name of the node on this machine."),
    ("listening_address", "IP address to listen on."),
    (
        "announce_address",
        "Host that others reach this node by: an IP address or a name, without a port.",
    ),
    ("mix_port", "Port for packets."),
    (
        "verloc_port",
        "Port for round-trip measurements. It is announced; nothing listens there yet.",
    ),
    ("http_api_port", "Port of /stats, /description and /health."),
    (
        "private_identity_key_file",
        "Key that signs what the node says about itself.",
    ),
    ("public_identity_key_file", "Its public half."),
    (
        "private_sphinx_key_file",
        "Key that opens this node's layer of packets.",
    ),
    ("public_sphinx_key_file", "Its public half."),
    (
        "validator_rest_urls",
        "Validators that the node announces itself to.",
    ),
    (CA_FILE_KEY, CA_FILE_COMMENT),
    (
        "mixnet_contract_address",
        "Contract that validators are asked about.",
    ),
    (
        "nym_root_directory",
        "Directory of all mix nodes on this machine.",
    ),
    ("filter", LoggingSection::COMMENT),
    (
        "packet_forwarding_initial_backoff",
        "Wait before dialling a next hop again after one failure; doubled for each further one.",
    ),
    (
        "packet_forwarding_maximum_backoff",
        "The longest such wait.",
    ),
    (
        "initial_connection_timeout",
        "A dial that takes longer has failed.",
    ),
    (
        "maximum_connection_buffer_size",
        "Packets queued for one next hop; more are dropped.",
    ),
    (
        "cache_entry_ttl",
        "Age of cached keys in 0.11 programs. This one keeps no such cache, which links packets.",
    ),
    (
        "node_stats_logging_delay",
        "How often the counters are logged.",
    ),
    ("node_stats_updating_delay", "How often /stats changes."),
    (
        "workers",
        "Tasks that do cryptography at a time; 0 is one for each processor.",
    ),
    ("incoming_links", "Incoming links at a time; more wait."),
    (
        "max_delay",
        "Packets that ask to wait for longer are dropped.",
    ),
    (
        "delay_queue_packets",
        "Packets that wait at a time; of more, the one that leaves last is dropped.",
    ),
    (
        "delay_queue_bytes",
        "Bytes of packets that wait at a time, likewise; a million regular packets have 2.5 GB.",
    ),
    (
        "replay_packets",
        "Packets that the replay filter remembers at least: twice as many at most, for each of\n\
         which it takes 10 bytes of memory and 16 on disk.",
    ),
    (
        "replay_age",
        "Time that it remembers them at least, unless there are more.",
    ),
    (
        "[verloc]",
        "Round-trip measurements of 0.11 programs; this one does not make them yet.",
    ),
    ("packets_per_node", "Echoes sent to one node."),
    ("connection_timeout", "Time to connect."),
    ("packet_timeout", "Time until a reply."),
    (
        "delay_between_packets",
        "Time between a reply and the next echo.",
    ),
    ("tested_nodes_batch_size", "Nodes measured at a time."),
    ("testing_interval", "Time between two runs."),
    ("retry_timeout", "Time until a failed run is tried again."),
];

#[cfg(test)]
mod tests {
    use std::path::Path;

    use nym_daemon::config::parse;
    use nym_node::keys::KeyPaths;

    use super::*;

    fn new() -> FileConfig {
        let keys = KeyPaths::in_directory(Path::new("/nym/a \"b\" \\ \u{7}/data"));
        FileConfig::new(
            "one",
            "0.0.0.0".parse().unwrap(),
            keys,
            Path::new("/nym/mixnodes"),
        )
    }

    #[test]
    fn what_is_written_is_read_again() {
        let file = new();
        let text = file.render().unwrap();
        let loaded = parse::<FileConfig>("c.toml".as_ref(), &text).unwrap();
        assert_eq!(loaded.value, file);
    }

    #[test]
    fn every_key_has_a_comment_and_every_comment_a_key() {
        let text = new().render().unwrap();
        let lines: Vec<_> = text.lines().collect();
        for pair in lines.windows(2) {
            if pair[1].contains(" = ") && !pair[1].starts_with('#') {
                assert!(pair[0].starts_with('#'), "{}", pair[1]);
            }
        }
        for (key, _) in COMMENTS {
            let is_there = |line: &&str| line.split(" = ").next() == Some(key);
            assert!(lines.iter().any(is_there), "no key {key}");
        }
    }
}
