//! What the network's validator lists: the nodes of this run, and what was bonded before.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use nym_daemon::{clock, entropy};
use nym_protocol::PROTOCOL_VERSION;
use nym_protocol::validator::{Registry as _, Topology, ValidatorUrl};
use nym_transport::directory::{Directory, DirectoryLimits};
use nym_validator::REGISTRY_FILE;
use nym_validator::config::NODE_COUNT_MAX_DEFAULT;
use nym_validator::registry::{SqliteRegistry, StorageError};

use crate::error::LocalnetError;
use crate::network::READY_TIMEOUT;

/// How often the network is asked whether it is complete.
const READY_POLL: Duration = Duration::from_millis(10);

/// The nodes of an earlier run had other ports; nobody may be sent to those. What was bonded stays.
pub(crate) fn forget_announced(validator: &Path) -> Result<(), StorageError> {
    let file = validator.join(REGISTRY_FILE);
    if file.exists() {
        SqliteRegistry::open(&file, NODE_COUNT_MAX_DEFAULT)?.remove_silent_since(u64::MAX)?;
    }
    Ok(())
}

/// Asks the validator until it lists the nodes that take packets at these places. Others may be
/// bonded.
pub(crate) async fn wait_for_nodes(
    places: &BTreeSet<SocketAddr>,
    validator: &ValidatorUrl,
) -> Result<Topology, LocalnetError> {
    let mut rng = entropy();
    let directory = Directory::new(vec![validator.clone()], DirectoryLimits::default())
        .expect("one validator is enough for a directory");
    let clock = clock::Clock::start();
    let deadline = clock.now() + READY_TIMEOUT;
    loop {
        let topology = directory.topology(Some(PROTOCOL_VERSION), &mut rng).await;
        let missing = match topology {
            Ok(topology) => {
                let mixnodes = topology.layers.iter().flatten();
                let gateways = topology.gateways.iter().map(|node| node.mix_address);
                let listed = mixnodes.map(|node| node.mix_address).chain(gateways);
                let listed: BTreeSet<_> = listed.collect();
                if places.is_subset(&listed) {
                    return Ok(topology);
                }
                format!(
                    "{} of {} nodes have announced themselves",
                    places.intersection(&listed).count(),
                    places.len()
                )
            }
            Err(error) => nym_daemon::exit::chain(&error),
        };
        if clock.now() >= deadline {
            return Err(LocalnetError::NotReady { missing });
        }
        tokio::time::sleep(READY_POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use nym_packet::keys::{IdentityKeyPair, public_key_to_base58};
    use nym_protocol::validator::announcement::AnnouncedNode;
    use nym_protocol::validator::registry::{Bonding, OnConflict};
    use nym_protocol::validator::{Announcement, CheckedNode, MixNode};

    use super::*;

    fn mix_node(seed: u8) -> (AnnouncedNode, IdentityKeyPair) {
        let identity = IdentityKeyPair::from_seed(&[seed; 32]);
        let sphinx_key = sphinx::PrivateKey::generate(&mut entropy()).public_key();
        let node = MixNode {
            host: format!("127.70.3.{seed}"),
            mix_port: 1789,
            verloc_port: 1790,
            http_api_port: 8000,
            sphinx_key: public_key_to_base58(&sphinx_key),
            identity_key: identity.public_key().to_string(),
            version: PROTOCOL_VERSION.to_owned(),
            tls: None,
        };
        (AnnouncedNode::MixNode(node), identity)
    }

    #[test]
    fn nodes_of_an_earlier_run_are_forgotten_and_bonds_are_not() {
        let dir = tempfile::tempdir().unwrap();
        forget_announced(dir.path()).unwrap();
        let file = dir.path().join(REGISTRY_FILE);
        let mut registry = SqliteRegistry::open(&file, NODE_COUNT_MAX_DEFAULT).unwrap();
        let (node, identity) = mix_node(1);
        let announcement = Announcement::sign(node, 1, &identity).verify(1, 0);
        registry.announce(announcement.unwrap()).unwrap();
        let (node, identity) = mix_node(2);
        let bonding = Bonding {
            node: CheckedNode::new(node).unwrap(),
            layer: None,
            on_conflict: OnConflict::Refuse,
        };
        registry.bond(bonding).unwrap();
        forget_announced(dir.path()).unwrap();
        let left = registry.mixnodes().unwrap();
        let keys: Vec<_> = left
            .iter()
            .map(|bond| &bond.mix_node.identity_key)
            .collect();
        assert_eq!(keys, [&identity.public_key().to_string()]);
    }
}
