//! What a person types to let a 0.11 program join.
//!
//! The commands are those of 0.11.0 (client.md, section 7; gateway.md, section 8) and, for what
//! its operators did with a wallet, of our validator.

use std::path::Path;

use nym_packet::keys::IdentityPublicKey;
use nym_protocol::validator::url::CachedList;
use nym_protocol::validator::{Query, ValidatorUrl};

/// The first free address of a mix node that joins; others follow.
const MIX_NODE_HOST: &str = "127.70.3.1";

/// The first free address of a gateway that joins; others follow.
const GATEWAY_HOST: &str = "127.70.4.1";

/// Behind the ports of the clients that the network may have itself.
const APP_PORT: u16 = 2077;

/// All commands, by position. `registry` is the directory of the validator's nodes.
pub(crate) fn how_to_join(
    validator: &ValidatorUrl,
    gateway: &IdentityPublicKey,
    registry: &Path,
) -> String {
    let contract = nym_client::config::MIXNET_CONTRACT_DEFAULT;
    let url = validator.to_string();
    let url = url.trim_end_matches('/');
    let network = format!("--validators {url} --mixnet-contract {contract}");
    let registry = format!("--data-dir {}", quoted(registry));
    let keys = "--identity-key KEY --sphinx-key KEY";
    let mixnodes = validator.cached_list(CachedList::Mixnodes);
    let gateways = validator.cached_list(CachedList::Gateways);
    let query = validator.contract_query(contract, &Query::gateways(None));
    format!(
        "All links are plain, as in the 0.11 network: its programs can join. KEY stands for the \
         keys that\ntheir `init` prints; `nym-validator` is ours.\n\n\
         A client:\n\n  \
         nym-client init --id mine {network} --gateway {gateway} --port {APP_PORT}\n  \
         nym-client run --id mine\n\n\
         A mix node in any layer, each at an address of its own ({MIX_NODE_HOST} and up):\n\n  \
         nym-mixnode init --id mine --host {MIX_NODE_HOST} {network}\n  \
         nym-validator bond mixnode --layer 1 --host {MIX_NODE_HOST} {keys} {registry}\n  \
         nym-mixnode run --id mine\n\n\
         A gateway, each at an address of its own ({GATEWAY_HOST} and up):\n\n  \
         nym-gateway init --id mine --host {GATEWAY_HOST} {network}\n  \
         nym-validator bond gateway --host {GATEWAY_HOST} {keys} {registry}\n  \
         nym-gateway run --id mine\n\n\
         Off the list again, by the identity key:\n\n  \
         nym-validator unbond KEY {registry}\n\n\
         What reads a validator:\n\n  \
         curl {mixnodes}\n  \
         curl {gateways}\n  \
         curl '{query}'\n"
    )
}

/// A path as a shell takes it.
pub(crate) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if text.chars().all(is_plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use nym_packet::keys::IdentityKeyPair;

    use super::*;

    fn printed() -> String {
        let validator = "http://127.70.0.1:1317".parse().unwrap();
        let gateway = IdentityKeyPair::from_seed(&[1; 32]).public_key();
        how_to_join(&validator, &gateway, Path::new("/tmp/net/validator"))
    }

    #[test]
    fn our_programs_take_every_command_that_is_printed() {
        let text = printed();
        let mut count = 0;
        for line in text.lines().filter_map(|line| line.strip_prefix("  nym-")) {
            let key = IdentityKeyPair::from_seed(&[2; 32]).public_key();
            let line = format!("nym-{line}").replace(" KEY", &format!(" {key}"));
            let words = || line.split(' ');
            let parsed = match words().next().unwrap() {
                "nym-client" => nym_client::cli::Cli::try_parse_from(words()).map(drop),
                "nym-gateway" => nym_gateway::cli::Cli::try_parse_from(words()).map(drop),
                "nym-mixnode" => nym_mixnode::cli::Cli::try_parse_from(words()).map(drop),
                _ => nym_validator::cli::Cli::try_parse_from(words()).map(drop),
            };
            parsed.unwrap_or_else(|error| panic!("{line}: {error}"));
            count += 1;
        }
        assert_eq!(count, 9, "{text}");
    }

    #[test]
    fn the_lists_are_where_0_11_programs_look_for_them() {
        let text = printed();
        let contract = nym_client::config::MIXNET_CONTRACT_DEFAULT;
        for url in [
            "curl http://127.70.0.1:8080//v1/mixnodes\n".to_owned(),
            "curl http://127.70.0.1:8080//v1/gateways\n".to_owned(),
            format!("curl 'http://127.70.0.1:1317//wasm/contract/{contract}/smart/"),
        ] {
            assert!(text.contains(&url), "{url} is not in\n{text}");
        }
    }

    #[test]
    fn a_path_is_one_word_of_a_shell() {
        assert_eq!(quoted(Path::new("/tmp/net")), "/tmp/net");
        assert_eq!(quoted(Path::new("/my net's")), r"'/my net'\''s'");
    }
}
