mod bonds;
mod lists;

use super::*;
use nym_packet::keys::IdentityKeyPair;
use nym_protocol::validator::registry::OnConflict;
use nym_protocol::validator::{Announcement, CheckedNode};
use proptest::prelude::*;

const NOW: u64 = 1_700_000_000;

fn identity(number: u32) -> IdentityKeyPair {
    let mut seed = [7; 32];
    seed[..4].copy_from_slice(&number.to_be_bytes());
    IdentityKeyPair::from_seed(&seed)
}

fn key(number: u32) -> String {
    identity(number).public_key().to_string()
}

/// A mix node with a host of its own.
fn mixnode_of(number: u32) -> MixNode {
    MixNode {
        host: format!("10.0.0.{number}"),
        mix_port: 1789,
        verloc_port: 1790,
        http_api_port: 8000,
        sphinx_key: key(number),
        identity_key: key(number),
        version: "0.11.0".to_owned(),
        tls: None,
    }
}

/// A gateway with a host of its own.
fn gateway_of(number: u32) -> Gateway {
    Gateway {
        host: format!("10.0.1.{number}"),
        mix_port: 1789,
        clients_port: 9000,
        location: "Here".to_owned(),
        sphinx_key: key(number),
        identity_key: key(number),
        version: "0.11.0".to_owned(),
        tls: None,
    }
}

fn mixnode(number: u32, at: u64) -> VerifiedAnnouncement {
    sign(AnnouncedNode::MixNode(mixnode_of(number)), number, at)
}

fn gateway(number: u32, at: u64) -> VerifiedAnnouncement {
    sign(AnnouncedNode::Gateway(gateway_of(number)), number, at)
}

fn sign(node: AnnouncedNode, number: u32, at: u64) -> VerifiedAnnouncement {
    Announcement::sign(node, at, &identity(number))
        .verify(at, 0)
        .unwrap()
}

fn registry() -> SqliteRegistry {
    SqliteRegistry::in_memory(1000).unwrap()
}

fn layer_of(registry: &SqliteRegistry, number: u32) -> Option<u8> {
    let bonds = registry.mixnodes().unwrap();
    let bond = bonds
        .iter()
        .find(|bond| bond.mix_node.identity_key == key(number))?;
    Some(bond.layer.into())
}

#[test]
fn mix_nodes_fill_the_layers_evenly_lowest_first() {
    let mut registry = registry();
    for number in 0..7 {
        assert_eq!(
            registry.announce(mixnode(number, NOW)).unwrap(),
            Announced::New
        );
        let layer = u8::try_from(number % 3).unwrap() + 1;
        assert_eq!(layer_of(&registry, number), Some(layer));
    }
    registry.announce(gateway(100, NOW)).unwrap();
    let expected = LayerDistribution {
        gateways: 1,
        layer1: 3,
        layer2: 2,
        layer3: 2,
    };
    assert_eq!(registry.layer_distribution().unwrap(), expected);
}

#[test]
fn a_node_keeps_its_layer_when_it_announces_again() {
    let mut registry = registry();
    for number in 0..3 {
        registry.announce(mixnode(number, NOW)).unwrap();
    }
    assert_eq!(
        registry.announce(mixnode(1, NOW + 60)).unwrap(),
        Announced::Renewed
    );
    assert_eq!(layer_of(&registry, 1), Some(2));
    assert_eq!(registry.mixnodes().unwrap().len(), 3);
}

#[test]
fn only_later_announcements_of_a_node_are_taken_over() {
    let mut registry = registry();
    registry.announce(mixnode(1, NOW)).unwrap();
    for at in [NOW - 1, NOW] {
        let outcome = registry.announce(mixnode(1, at));
        assert!(matches!(outcome, Err(RegistryError::Outdated)), "at {at}");
    }
    assert!(registry.announce(mixnode(1, NOW + 1)).is_ok());
    assert!(
        registry.announce(mixnode(2, NOW - 1)).is_ok(),
        "another node has its own time"
    );
}

#[test]
fn a_node_that_becomes_a_gateway_is_no_mix_node_any_more() {
    let mut registry = registry();
    registry.announce(mixnode(1, NOW)).unwrap();
    registry.announce(gateway(1, NOW + 1)).unwrap();
    assert!(registry.mixnodes().unwrap().is_empty());
    assert_eq!(registry.gateways().unwrap().len(), 1);
    registry.announce(mixnode(1, NOW + 2)).unwrap();
    assert_eq!(layer_of(&registry, 1), Some(1));
    assert!(registry.gateways().unwrap().is_empty());
}

#[test]
fn silent_nodes_are_removed_and_free_their_layer() {
    let mut registry = registry();
    registry.announce(mixnode(1, NOW)).unwrap();
    registry.announce(mixnode(2, NOW + 1)).unwrap();
    assert_eq!(registry.remove_silent_since(NOW).unwrap(), 0);
    assert_eq!(registry.remove_silent_since(NOW + 1).unwrap(), 1);
    assert_eq!(layer_of(&registry, 1), None);
    registry.announce(mixnode(3, NOW + 2)).unwrap();
    assert_eq!(layer_of(&registry, 3), Some(1));
}

#[test]
fn a_full_registry_refuses_new_nodes_and_renews_known_ones() {
    let mut registry = SqliteRegistry::in_memory(2).unwrap();
    registry.announce(mixnode(1, NOW)).unwrap();
    registry.announce(gateway(2, NOW)).unwrap();
    assert!(matches!(
        registry.announce(mixnode(3, NOW)),
        Err(RegistryError::Full)
    ));
    assert!(registry.announce(mixnode(1, NOW + 1)).is_ok());
}

#[test]
fn nodes_survive_reopening_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("registry.sqlite");
    let mut registry = SqliteRegistry::open(&path, 10).unwrap();
    registry.announce(mixnode(1, NOW)).unwrap();
    registry.announce(gateway(2, NOW)).unwrap();
    let (mixnodes, gateways) = (registry.mixnodes().unwrap(), registry.gateways().unwrap());
    drop(registry);
    let mut registry = SqliteRegistry::open(&path, 10).unwrap();
    assert_eq!(registry.mixnodes().unwrap(), mixnodes);
    assert_eq!(registry.gateways().unwrap(), gateways);
    assert!(matches!(
        registry.announce(mixnode(1, NOW)),
        Err(RegistryError::Outdated)
    ));
}

#[test]
fn the_file_of_another_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("registry.sqlite");
    Connection::open(&path)
        .unwrap()
        .pragma_update(None, "user_version", 3)
        .unwrap();
    let error = SqliteRegistry::open(&path, 10).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the file has layout 3, this program knows 2"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn lists_agree_with_a_model(steps in prop::collection::vec((0..6u32, 0..5u64, any::<bool>()), 0..30)) {
        let mut registry = registry();
        let mut model = std::collections::BTreeMap::new();
        for (number, at, is_gateway) in steps {
            let announcement = if is_gateway {
                gateway(number, NOW + at)
            } else {
                mixnode(number, NOW + at)
            };
            let accepted = registry.announce(announcement).is_ok();
            let is_later = model.get(&key(number)).is_none_or(|&(known, _)| at > known);
            prop_assert_eq!(accepted, is_later);
            if is_later {
                model.insert(key(number), (at, is_gateway));
            }
        }
        let of_kind = |wanted: bool| -> Vec<String> {
            let nodes = model.iter().filter(|(_, (_, is_gateway))| *is_gateway == wanted);
            nodes.map(|(key, _)| key.clone()).collect()
        };
        let mixnodes = registry.mixnodes().unwrap();
        let gateways = registry.gateways().unwrap();
        prop_assert_eq!(
            mixnodes.iter().map(|bond| bond.mix_node.identity_key.clone()).collect::<Vec<_>>(),
            of_kind(false)
        );
        prop_assert_eq!(
            gateways.iter().map(|bond| bond.gateway.identity_key.clone()).collect::<Vec<_>>(),
            of_kind(true)
        );
        let counted = LayerDistribution::count(&mixnodes, gateways.len() as u64);
        prop_assert_eq!(registry.layer_distribution().unwrap(), counted);
    }
}
