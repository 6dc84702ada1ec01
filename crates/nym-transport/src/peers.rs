//! The nodes that a node may talk to, by address and by name.
//!
//! A packet names its next hop by an address, TLS knows a peer by its key; the topology joins the
//! two. [`Peers`] holds the last topology. Whoever asks for an address that it does not name waits
//! for the next one, and whoever fetches topologies hears that somebody waits: a node that has
//! just joined is found within a moment.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nym_packet::keys::IdentityPublicKey;
use nym_protocol::validator::Topology;
use tokio::sync::{Notify, watch};

/// A node that others may talk to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The name of the node at this address. There are several only if several bonds claim the
    /// address; who answers there must prove to be one of them.
    pub identities: Vec<IdentityPublicKey>,
    /// Whether a bond says that it speaks TLS.
    pub speaks_tls: bool,
}

/// The last topology, shared by who fetches it and who dials by it; clones see the same.
#[derive(Debug, Clone, Default)]
pub struct Peers(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    table: watch::Sender<Table>,
    wanted: Notify,
}

#[derive(Debug, Default)]
struct Table {
    by_address: HashMap<SocketAddr, Peer>,
    names: HashSet<[u8; 32]>,
}

impl Peers {
    /// Takes over a new topology.
    pub fn update(&self, topology: &Topology) {
        let mut table = Table::default();
        let mixnodes = topology.layers.iter().flatten();
        let mixnodes = mixnodes.map(|node| (node.mix_address, node.identity, node.speaks_tls));
        let gateways = topology.gateways.iter();
        let gateways = gateways.map(|node| (node.mix_address, node.identity, node.speaks_tls));
        for (address, identity, speaks_tls) in mixnodes.chain(gateways) {
            table.names.insert(*identity.as_bytes());
            let peer = table.by_address.entry(address).or_insert(Peer {
                identities: Vec::new(),
                speaks_tls,
            });
            peer.identities.push(identity);
            peer.speaks_tls |= speaks_tls;
        }
        self.0.table.send_replace(table);
    }

    /// Whether a node of that name is in the topology.
    #[must_use]
    pub fn knows(&self, identity: &IdentityPublicKey) -> bool {
        self.0.table.borrow().names.contains(identity.as_bytes())
    }

    /// The node at an address, if the topology names one.
    #[must_use]
    pub fn at(&self, address: SocketAddr) -> Option<Peer> {
        self.0.table.borrow().by_address.get(&address).cloned()
    }

    /// As [`Peers::at`], but an address that is not known is looked for in the next topology,
    /// which is asked for. Waits until it comes, however long: give it a timeout.
    ///
    /// Cancel-safe.
    pub async fn find(&self, address: SocketAddr) -> Option<Peer> {
        let mut changes = self.0.table.subscribe();
        if let Some(peer) = self.at(address) {
            return Some(peer);
        }
        self.want();
        // Fails only if the sender is gone, which `self` holds.
        let _ = changes.changed().await;
        self.at(address)
    }

    /// Asks for the next topology, because somebody came who is not in the last one.
    pub fn want(&self) {
        self.0.wanted.notify_one();
    }

    /// Waits until somebody looks for a node that is not known.
    ///
    /// Cancel-safe: a wish that nobody has heard yet stays.
    pub async fn wanted(&self) {
        self.0.wanted.notified().await;
    }
}

/// Whether only nodes of the topology may dial, which may change while a node runs; clones are the
/// same rule.
#[derive(Debug, Clone)]
pub struct KnownPeersOnly {
    peers: Peers,
    is_on: Arc<AtomicBool>,
}

impl KnownPeersOnly {
    /// With `is_on`, the nodes that `peers` knows are let in, otherwise all.
    #[must_use]
    pub fn new(peers: Peers, is_on: bool) -> Self {
        let is_on = Arc::new(AtomicBool::new(is_on));
        Self { peers, is_on }
    }

    /// Changes the rule, for links that are made from here on.
    pub fn set(&self, is_on: bool) {
        self.is_on.store(is_on, Ordering::Relaxed);
    }

    /// Whether the node of that name may dial. One that may not may have just joined: the next
    /// topology is asked for, and it will try again.
    #[must_use]
    pub fn lets_in(&self, identity: &IdentityPublicKey) -> bool {
        let is_welcome = !self.is_on.load(Ordering::Relaxed) || self.peers.knows(identity);
        if !is_welcome {
            self.peers.want();
        }
        is_welcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nym_packet::keys::{IdentityKeyPair, PublicKey};
    use nym_protocol::validator::topology::MixnodeDescriptor;
    use tokio::task::JoinSet;

    fn identity(seed: u8) -> IdentityPublicKey {
        IdentityKeyPair::from_seed(&[seed; 32]).public_key()
    }

    fn address(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    fn topology(nodes: &[(u8, u16, bool)]) -> Topology {
        let mut topology = Topology::default();
        topology.layers[0] = nodes
            .iter()
            .map(|&(seed, port, speaks_tls)| MixnodeDescriptor {
                identity: identity(seed),
                sphinx_key: PublicKey::from_bytes([seed; 32]),
                mix_address: address(port),
                layer: 1,
                speaks_tls,
            })
            .collect();
        topology
    }

    #[tokio::test]
    async fn an_unknown_node_is_asked_for_and_found_in_the_next_topology() {
        let peers = Peers::default();
        let mut tasks = JoinSet::new();
        for port in [1, 2] {
            let peers = peers.clone();
            tasks.spawn(async move { (port, peers.find(address(port)).await) });
        }
        peers.wanted().await;
        // Both have asked when the second wish is there, or when they are both parked.
        while peers.0.table.receiver_count() < 2 {
            tokio::task::yield_now().await;
        }
        peers.update(&topology(&[(7, 1, true)]));
        let mut found = tasks.join_all().await;
        found.sort_by_key(|(port, _)| *port);
        let peer = Peer {
            identities: vec![identity(7)],
            speaks_tls: true,
        };
        assert_eq!(found, [(1, Some(peer)), (2, None)]);
    }

    #[test]
    fn names_of_an_earlier_topology_are_forgotten() {
        let peers = Peers::default();
        peers.update(&topology(&[(7, 1, true)]));
        assert!(peers.knows(&identity(7)));
        peers.update(&topology(&[(8, 1, false)]));
        assert!(!peers.knows(&identity(7)));
        assert_eq!(peers.at(address(1)).unwrap().identities, [identity(8)]);
    }

    #[test]
    fn an_address_that_two_bonds_claim_belongs_to_either() {
        let peers = Peers::default();
        peers.update(&topology(&[(7, 1, false), (8, 1, true)]));
        let peer = peers.at(address(1)).unwrap();
        assert_eq!(peer.identities, [identity(7), identity(8)]);
        // Nobody can talk a node out of TLS by claiming its address.
        assert!(peer.speaks_tls);
    }
}
