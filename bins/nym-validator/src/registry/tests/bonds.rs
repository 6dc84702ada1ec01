//! What operators bond, and who may be where.

use super::*;

fn bonding(node: AnnouncedNode) -> Bonding {
    Bonding {
        node: CheckedNode::new(node).unwrap(),
        layer: None,
        on_conflict: OnConflict::Refuse,
    }
}

fn bond_mixnode(number: u32) -> Bonding {
    bonding(AnnouncedNode::MixNode(mixnode_of(number)))
}

fn bond_gateway(number: u32) -> Bonding {
    bonding(AnnouncedNode::Gateway(gateway_of(number)))
}

fn replacing(bonding: Bonding) -> Bonding {
    Bonding {
        on_conflict: OnConflict::Replace,
        ..bonding
    }
}

/// A mix node at the host of another, at a port of its own.
fn mixnode_at_host_of(number: u32, other: u32, port: u16) -> MixNode {
    MixNode {
        host: mixnode_of(other).host,
        mix_port: port,
        ..mixnode_of(number)
    }
}

fn unbond(registry: &mut SqliteRegistry, number: u32) -> Option<Unbonded> {
    registry.unbond(&identity(number).public_key()).unwrap()
}

fn tls_of(registry: &SqliteRegistry, number: u32) -> Option<u32> {
    let bonds = registry.mixnodes().unwrap();
    let mut nodes = bonds.iter().map(|bond| &bond.mix_node);
    let node = nodes.find(|node| node.identity_key == key(number));
    node.unwrap().tls
}

#[test]
fn a_bonded_node_stays_however_silent_it_is_until_it_is_unbonded() {
    let mut registry = registry();
    let bonded = registry.bond(bond_mixnode(1)).unwrap();
    let expected = Bonded {
        layer: Some(Layer::One),
        was_known: false,
        displaced: None,
    };
    assert_eq!(bonded, expected);
    registry.bond(bond_gateway(2)).unwrap();
    assert_eq!(registry.remove_silent_since(u64::MAX).unwrap(), 0);
    assert_eq!(registry.mixnodes().unwrap().len(), 1);
    let bonds = registry.bonds().unwrap();
    assert_eq!(bonds.len(), 2);
    assert!(bonds.iter().all(|bond| !bond.announces_itself));

    for number in [1, 2] {
        assert_eq!(unbond(&mut registry, number), Some(Unbonded::Removed));
        assert_eq!(unbond(&mut registry, number), None);
    }
    let lists = (registry.mixnodes().unwrap(), registry.gateways().unwrap());
    assert_eq!(lists, (vec![], vec![]));
}

#[test]
fn a_bonded_mix_node_goes_where_its_operator_says_or_where_the_fewest_are() {
    let mut registry = registry();
    registry.announce(mixnode(1, NOW)).unwrap();
    let chosen = Bonding {
        layer: Some(Layer::Three),
        ..bond_mixnode(2)
    };
    let layer = |bonded: Bonded| bonded.layer.unwrap();
    assert_eq!(layer(registry.bond(chosen).unwrap()), Layer::Three);
    assert_eq!(layer(registry.bond(bond_mixnode(3)).unwrap()), Layer::Two);
    let changed = registry.bond(bond_mixnode(2)).unwrap();
    assert!(changed.was_known);
    assert_eq!(layer(changed), Layer::Three, "it stays where it is");
    assert_eq!(registry.bond(bond_gateway(4)).unwrap().layer, None);
}

#[test]
fn a_bonded_node_that_announces_itself_is_listed_by_its_own_word() {
    let mut registry = registry();
    registry.bond(bond_mixnode(1)).unwrap();
    let with_tls = MixNode {
        tls: Some(1),
        ..mixnode_of(1)
    };
    let announcement = sign(AnnouncedNode::MixNode(with_tls), 1, NOW);
    assert_eq!(registry.announce(announcement).unwrap(), Announced::Renewed);
    assert_eq!(tls_of(&registry, 1), Some(1));
    assert!(registry.bonds().unwrap()[0].announces_itself);
    // Its silence must not turn its links into plain ones.
    assert_eq!(registry.remove_silent_since(u64::MAX).unwrap(), 0);
    assert_eq!(tls_of(&registry, 1), Some(1));

    assert_eq!(unbond(&mut registry, 1), Some(Unbonded::Announced));
    assert_eq!(registry.mixnodes().unwrap().len(), 1);
    assert_eq!(registry.remove_silent_since(NOW + 1).unwrap(), 1);
}

#[test]
fn a_node_that_announces_itself_is_bonded_only_if_that_is_insisted_on() {
    let mut registry = registry();
    registry.announce(mixnode(1, NOW)).unwrap();
    let refused = registry.bond(bond_mixnode(1)).unwrap_err();
    assert!(matches!(refused, RegistryError::AnnouncesItself { .. }));
    assert!(registry.bonds().unwrap().is_empty());

    assert!(registry.bond(replacing(bond_mixnode(1))).unwrap().was_known);
    assert_eq!(registry.remove_silent_since(u64::MAX).unwrap(), 0);
    let replay = registry.announce(mixnode(1, NOW));
    assert!(matches!(replay, Err(RegistryError::Outdated)));
}

#[test]
fn an_address_belongs_to_one_node_as_long_as_that_is_listed() {
    let mut registry = registry();
    registry.announce(mixnode(1, NOW)).unwrap();
    let squatter = MixNode {
        host: "::ffff:10.0.0.1".to_owned(),
        ..mixnode_of(2)
    };
    let squatter = |at| sign(AnnouncedNode::MixNode(squatter.clone()), 2, at);
    let error = registry.announce(squatter(NOW + 1)).unwrap_err();
    let text = format!("node {} has the address 10.0.0.1:1789", key(1));
    assert_eq!(error.to_string(), text);
    // A gateway takes packets at its address as well.
    let gateway = Gateway {
        host: "10.0.0.1".to_owned(),
        ..gateway_of(3)
    };
    let gateway = sign(AnnouncedNode::Gateway(gateway), 3, NOW);
    assert!(registry.announce(gateway).is_err());

    // The holder renews, moves and comes back as it likes.
    registry.announce(mixnode(1, NOW + 2)).unwrap();
    assert!(registry.announce(squatter(NOW + 3)).is_err());
    let moved = AnnouncedNode::MixNode(mixnode_at_host_of(1, 1, 1790));
    registry.announce(sign(moved, 1, NOW + 4)).unwrap();
    registry.announce(squatter(NOW + 5)).unwrap();
    assert!(registry.announce(mixnode(1, NOW + 6)).is_err());
    registry.remove_silent_since(NOW + 6).unwrap();
    registry.announce(mixnode(1, NOW + 7)).unwrap();
}

#[test]
fn a_bond_takes_an_address_only_if_that_is_insisted_on() {
    let mut registry = registry();
    registry.announce(mixnode(1, NOW)).unwrap();
    let same_place = bonding(AnnouncedNode::MixNode(mixnode_at_host_of(2, 1, 1789)));
    let error = registry.bond(same_place.clone()).unwrap_err();
    assert!(
        matches!(error, RegistryError::AddressTaken { .. }),
        "{error}"
    );
    let bonded = registry.bond(replacing(same_place)).unwrap();
    assert_eq!(bonded.displaced, Some(key(1)));
    let mixnodes = registry.mixnodes().unwrap();
    let keys: Vec<_> = mixnodes
        .iter()
        .map(|bond| &bond.mix_node.identity_key)
        .collect();
    assert_eq!(keys, [&key(2)]);
    assert!(registry.announce(mixnode(1, NOW + 1)).is_err());
}

#[test]
fn the_host_of_a_0_11_program_is_announced_by_no_other_node_of_its_kind() {
    let mut registry = registry();
    registry.bond(bond_mixnode(1)).unwrap();
    let neighbour = sign(
        AnnouncedNode::MixNode(mixnode_at_host_of(2, 1, 2000)),
        2,
        NOW,
    );
    let error = registry.announce(neighbour.clone()).unwrap_err();
    assert!(matches!(error, RegistryError::HostTaken { .. }), "{error}");
    let gateway_beside = Gateway {
        host: mixnode_of(1).host,
        mix_port: 2001,
        ..gateway_of(3)
    };
    registry
        .announce(sign(AnnouncedNode::Gateway(gateway_beside), 3, NOW))
        .unwrap();
    // Ours does not mind neighbours.
    registry.announce(mixnode(1, NOW)).unwrap();
    registry.announce(neighbour).unwrap();

    let beside_ours = bonding(AnnouncedNode::MixNode(mixnode_at_host_of(4, 1, 2002)));
    for bonding in [beside_ours.clone(), replacing(beside_ours)] {
        let error = registry.bond(bonding).unwrap_err();
        assert!(matches!(error, RegistryError::HostTaken { .. }), "{error}");
    }
}

#[test]
fn a_full_registry_takes_no_new_bond() {
    let mut registry = SqliteRegistry::in_memory(1).unwrap();
    registry.bond(bond_mixnode(1)).unwrap();
    let refused = registry.bond(bond_mixnode(2));
    assert!(matches!(refused, Err(RegistryError::Full)));
    assert!(registry.bond(bond_mixnode(1)).is_ok());
}

#[test]
fn what_another_program_changes_is_noticed_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("registry.sqlite");
    let mut running = SqliteRegistry::open(&path, 10).unwrap();
    running.announce(mixnode(1, NOW)).unwrap();
    assert!(!running.was_changed_by_others().unwrap());
    let mut operator = SqliteRegistry::open_existing(&path, 10).unwrap();
    operator.bond(bond_mixnode(2)).unwrap();
    assert!(running.was_changed_by_others().unwrap());
    assert!(!running.was_changed_by_others().unwrap());
    assert_eq!(running.mixnodes().unwrap().len(), 2);
}

#[test]
fn nodes_of_the_first_layout_are_kept_one_for_each_address() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("registry.sqlite");
    let old = Connection::open(&path).unwrap();
    old.execute_batch(
        "CREATE TABLE nodes (
             identity TEXT NOT NULL PRIMARY KEY, layer INTEGER NOT NULL, node TEXT NOT NULL,
             announced_at INTEGER NOT NULL
         ) STRICT, WITHOUT ROWID;
         CREATE INDEX nodes_by_layer ON nodes (layer, identity);
         CREATE INDEX nodes_by_age ON nodes (announced_at);
         PRAGMA user_version = 1;",
    )
    .unwrap();
    let same_place = mixnode_at_host_of(2, 1, 1789);
    for (number, layer, node, at) in [
        (1, 3, serde_json::to_string(&mixnode_of(1)).unwrap(), 5),
        (2, 1, serde_json::to_string(&same_place).unwrap(), 6),
        (3, 0, serde_json::to_string(&gateway_of(3)).unwrap(), 7),
    ] {
        old.execute(
            "INSERT INTO nodes VALUES (?1, ?2, ?3, ?4)",
            rusqlite::params![key(number), layer, node, at],
        )
        .unwrap();
    }
    drop(old);
    let registry = SqliteRegistry::open(&path, 10).unwrap();
    assert_eq!(layer_of(&registry, 1), None);
    assert_eq!(layer_of(&registry, 2), Some(1), "the later one");
    assert_eq!(registry.gateways().unwrap()[0].gateway, gateway_of(3));
    assert!(registry.bonds().unwrap().is_empty());
}
