//! Whatever is accepted, 0.11 programs can read the lists.

use std::collections::BTreeSet;

use super::*;
use crate::strict;
use nym_protocol::validator::checked_node::MixAddress;

/// What somebody does to a registry.
#[derive(Clone, Debug)]
enum Step {
    Announce { node: AnnouncedNode, number: u32 },
    Bond { node: AnnouncedNode, insist: bool },
    Unbond { number: u32 },
    Forget,
}

/// Texts that are nearly right, so that many pass.
fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        "10\\.0\\.0\\.[1-3]",
        "::ffff:10\\.0\\.0\\.[1-3]",
        "[a-c\u{e9}\\.\\-_]{1,8}",
        ".{0,10}",
    ]
}

fn version() -> impl Strategy<Value = String> {
    prop_oneof!["[ \t\u{a0}]?0\\.11\\.[0-9](-rc\\.1)?[ \n]?", ".{0,10}"]
}

fn port() -> impl Strategy<Value = u16> {
    prop_oneof![Just(0), Just(1789), Just(1790), Just(u16::MAX)]
}

fn node() -> impl Strategy<Value = (u32, AnnouncedNode)> {
    let tls = prop::option::of(any::<u32>());
    (
        0..5_u32,
        host(),
        version(),
        port(),
        port(),
        ".{0,60}",
        tls,
        any::<bool>(),
    )
        .prop_map(
            |(number, host, version, mix_port, other_port, location, tls, is_gateway)| {
                let node = if is_gateway {
                    AnnouncedNode::Gateway(Gateway {
                        host,
                        mix_port,
                        clients_port: other_port,
                        location,
                        version,
                        tls,
                        ..gateway_of(number)
                    })
                } else {
                    AnnouncedNode::MixNode(MixNode {
                        host,
                        mix_port,
                        verloc_port: other_port,
                        version,
                        tls,
                        ..mixnode_of(number)
                    })
                };
                (number, node)
            },
        )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => node().prop_map(|(number, node)| Step::Announce { node, number }),
        6 => (node(), any::<bool>())
            .prop_map(|((_, node), insist)| Step::Bond { node, insist }),
        1 => (0..5_u32).prop_map(|number| Step::Unbond { number }),
        1 => Just(Step::Forget),
    ]
}

fn take(registry: &mut SqliteRegistry, step: Step, at: u64) {
    match step {
        Step::Announce { node, number } => {
            let signed = Announcement::sign(node, at, &identity(number));
            if let Ok(verified) = signed.verify(at, 0) {
                let _ = registry.announce(verified);
            }
        }
        Step::Bond { node, insist } => {
            let on_conflict = if insist {
                OnConflict::Replace
            } else {
                OnConflict::Refuse
            };
            if let Ok(node) = CheckedNode::new(node) {
                let _ = registry.bond(Bonding {
                    node,
                    layer: None,
                    on_conflict,
                });
            }
        }
        Step::Unbond { number } => {
            registry.unbond(&identity(number).public_key()).unwrap();
        }
        Step::Forget => {
            registry.remove_silent_since(at - 3).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_list_can_be_read_and_names_no_address_twice(
        steps in prop::collection::vec(step(), 1..25),
    ) {
        let mut registry = registry();
        for (at, step) in (NOW..).zip(steps) {
            take(&mut registry, step, at);
        }
        let list = serde_json::to_string(&registry.mixnodes().unwrap()).unwrap();
        let mut places = strict::mixnodes(&list).map_err(TestCaseError::fail)?;
        let list = serde_json::to_string(&registry.gateways().unwrap()).unwrap();
        places.extend(strict::gateways(&list).map_err(TestCaseError::fail)?);
        let places: Vec<_> = places.iter().map(|(host, port)| MixAddress::new(host, *port)).collect();
        let different: BTreeSet<_> = places.iter().collect();
        prop_assert_eq!(different.len(), places.len(), "{:?}", places);
    }
}

#[test]
fn the_strict_reading_fails_as_0_11_programs_do() {
    let good = serde_json::to_value(mixnode_bond(1, mixnode_of(1))).unwrap();
    assert!(strict::mixnodes(&format!("[{good}]")).is_ok());
    for (pointer, value) in [
        ("/layer", serde_json::json!(4)),
        ("/bond_amount/amount", serde_json::json!(1)),
        ("/mix_node/mix_port", serde_json::json!(65_536)),
        ("/mix_node/version", serde_json::json!(null)),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).unwrap() = value;
        assert!(
            strict::mixnodes(&format!("[{good},{bad}]")).is_err(),
            "{pointer}"
        );
    }
}
