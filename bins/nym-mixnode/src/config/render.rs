//! Writing the configuration file, with a comment for every key.

use std::fmt::Write as _;

use nym_daemon::logging::LoggingSection;
use nym_node::links::LinksSection;

use super::file::{DebugSection, FileConfig, LimitsSection, MixnodeSection, VerlocSection};

impl FileConfig {
    /// The text of a file with these values and a comment for every key.
    #[must_use]
    pub fn render(&self) -> String {
        [
            render_mixnode(&self.mixnode),
            render_logging(&self.logging),
            render_debug(&self.debug),
            render_limits(&self.limits),
            render_links(&self.links),
            render_verloc(&self.verloc),
        ]
        .join("\n")
    }
}

/// A TOML string. Rust's escapes are TOML's, but for those of control characters.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            control if control.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

fn render_mixnode(node: &MixnodeSection) -> String {
    let urls: Vec<String> = node
        .validator_rest_urls
        .0
        .iter()
        .map(|url| quoted(url))
        .collect();
    let announce = node
        .announce_address
        .as_ref()
        .unwrap_or(&node.listening_address);
    format!(
        "# Configuration of a mix node. `nym-mixnode run --id {id_plain}` reads it.\n\
         # Times are texts such as \"1m 30s\" or \"20ms\", or numbers of milliseconds.\n\
         \n\
         [mixnode]\n\
         # Version of the protocol that this file is for.\n\
         version = {version}\n\
         # Name of the node on this machine.\n\
         id = {id}\n\
         # IP address to listen on.\n\
         listening_address = {listening}\n\
         # Host that others reach this node by: an IP address or a name, without a port.\n\
         announce_address = {announce}\n\
         # Port for packets.\n\
         mix_port = {mix_port}\n\
         # Port for round-trip measurements. It is announced; nothing listens there yet.\n\
         verloc_port = {verloc_port}\n\
         # Port of /stats, /description and /health.\n\
         http_api_port = {http_api_port}\n\
         # Key that signs what the node says about itself.\n\
         private_identity_key_file = {private_identity}\n\
         # Its public half.\n\
         public_identity_key_file = {public_identity}\n\
         # Key that opens this node's layer of packets.\n\
         private_sphinx_key_file = {private_sphinx}\n\
         # Its public half.\n\
         public_sphinx_key_file = {public_sphinx}\n\
         # Validators that the node announces itself to.\n\
         validator_rest_urls = [{urls}]\n\
         # Contract that validators are asked about.\n\
         mixnet_contract_address = {contract}\n\
         # Directory of all mix nodes on this machine.\n\
         nym_root_directory = {root}\n",
        id_plain = node.id,
        version = quoted(&node.version),
        id = quoted(&node.id),
        listening = quoted(&node.listening_address),
        announce = quoted(announce),
        mix_port = node.mix_port,
        verloc_port = node.verloc_port,
        http_api_port = node.http_api_port,
        private_identity = quoted(&node.private_identity_key_file),
        public_identity = quoted(&node.public_identity_key_file),
        private_sphinx = quoted(&node.private_sphinx_key_file),
        public_sphinx = quoted(&node.public_sphinx_key_file),
        urls = urls.join(", "),
        contract = quoted(&node.mixnet_contract_address),
        root = quoted(&node.nym_root_directory),
    )
}

fn render_logging(logging: &LoggingSection) -> String {
    let (comment, filter) = (LoggingSection::COMMENT, quoted(&logging.filter));
    format!("[logging]\n# {comment}\nfilter = {filter}\n")
}

fn render_debug(debug: &DebugSection) -> String {
    format!(
        "[debug]\n\
         # Wait before dialling a next hop again after one failure; doubled for each further one.\n\
         packet_forwarding_initial_backoff = \"{}\"\n\
         # The longest such wait.\n\
         packet_forwarding_maximum_backoff = \"{}\"\n\
         # A dial that takes longer has failed.\n\
         initial_connection_timeout = \"{}\"\n\
         # Packets queued for one next hop; more are dropped.\n\
         maximum_connection_buffer_size = {}\n\
         # Age of cached keys in 0.11 programs. This one keeps no such cache, which links packets.\n\
         cache_entry_ttl = \"{}\"\n\
         # How often the counters are logged.\n\
         node_stats_logging_delay = \"{}\"\n\
         # How often /stats changes.\n\
         node_stats_updating_delay = \"{}\"\n",
        debug.packet_forwarding_initial_backoff,
        debug.packet_forwarding_maximum_backoff,
        debug.initial_connection_timeout,
        debug.maximum_connection_buffer_size,
        debug.cache_entry_ttl,
        debug.node_stats_logging_delay,
        debug.node_stats_updating_delay,
    )
}

fn render_limits(limits: &LimitsSection) -> String {
    format!(
        "[limits]\n\
         # Tasks that do cryptography at a time; 0 is one for each processor.\n\
         workers = {}\n\
         # Incoming links at a time; more wait.\n\
         incoming_links = {}\n\
         # Packets that ask to wait for longer are dropped.\n\
         max_delay = \"{}\"\n\
         # Packets that wait at a time; of more, the one that leaves last is dropped.\n\
         delay_queue_packets = {}\n\
         # Bytes of packets that wait at a time, likewise; a million regular packets have 2.5 GB.\n\
         delay_queue_bytes = {}\n\
         # Packets that the replay filter remembers at least: twice as many at most, for each of\n\
         # which it takes 10 bytes of memory and 16 on disk.\n\
         replay_packets = {}\n\
         # Time that it remembers them at least, unless there are more.\n\
         replay_age = \"{}\"\n",
        limits.workers,
        limits.incoming_links,
        limits.max_delay,
        limits.delay_queue_packets,
        limits.delay_queue_bytes,
        limits.replay_packets,
        limits.replay_age,
    )
}

fn render_links(links: &LinksSection) -> String {
    let values = [
        quoted(&links.legacy_peers),
        links.known_peers_only.to_string(),
        links.open_relay_for_tests.to_string(),
    ];
    let mut text = String::from("[links]\n");
    for ((key, comment), value) in LinksSection::COMMENTS.iter().zip(values) {
        let _ = writeln!(text, "# {comment}\n{key} = {value}");
    }
    text
}

fn render_verloc(verloc: &VerlocSection) -> String {
    format!(
        "# Round-trip measurements of 0.11 programs; this one does not make them yet.\n\
         [verloc]\n\
         # Echoes sent to one node.\n\
         packets_per_node = {}\n\
         # Time to connect.\n\
         connection_timeout = \"{}\"\n\
         # Time until a reply.\n\
         packet_timeout = \"{}\"\n\
         # Time between a reply and the next echo.\n\
         delay_between_packets = \"{}\"\n\
         # Nodes measured at a time.\n\
         tested_nodes_batch_size = {}\n\
         # Time between two runs.\n\
         testing_interval = \"{}\"\n\
         # Time until a failed run is tried again.\n\
         retry_timeout = \"{}\"\n",
        verloc.packets_per_node,
        verloc.connection_timeout,
        verloc.packet_timeout,
        verloc.delay_between_packets,
        verloc.tested_nodes_batch_size,
        verloc.testing_interval,
        verloc.retry_timeout,
    )
}

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
            &keys,
            Path::new("/nym/mixnodes"),
        )
    }

    #[test]
    fn what_is_written_is_read_again() {
        let file = new();
        let loaded = parse::<FileConfig>("c.toml".as_ref(), &file.render()).unwrap();
        assert_eq!(loaded.value, file);
    }

    #[test]
    fn every_key_has_a_comment() {
        let text = new().render();
        let lines: Vec<_> = text.lines().collect();
        for pair in lines.windows(2) {
            if pair[1].contains(" = ") && !pair[1].starts_with('#') {
                assert!(pair[0].starts_with('#'), "{}", pair[1]);
            }
        }
    }
}
