//! From bonds to a topology, and from a topology to routes.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use nym_packet::address::HopAddress;
use nym_packet::keys::{IdentityPublicKey, KeyError, PublicKey, public_key_from_base58};
use nym_packet::route::{Route, RouteHop};
use rand_core::CryptoRng;
use thiserror::Error;

use super::bond::{GatewayBond, Layer, MixNodeBond};
use super::version::is_compatible;

/// Number of mix layers.
pub const LAYER_COUNT: usize = 3;

/// The nodes that a client may use.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Topology {
    /// The mix nodes of layers 1, 2 and 3, in the order of the documents.
    pub layers: [Vec<MixnodeDescriptor>; LAYER_COUNT],
    /// The gateways, in the order of the documents.
    pub gateways: Vec<GatewayDescriptor>,
}

/// A mix node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MixnodeDescriptor {
    /// Its name.
    pub identity: IdentityPublicKey,
    /// The key that opens its layer of a packet.
    pub sphinx_key: PublicKey,
    /// Where it takes packets.
    pub mix_address: SocketAddr,
    /// Its mix layer, 1 to 3.
    pub layer: u8,
    /// Whether its bond says that it speaks TLS.
    pub speaks_tls: bool,
}

/// A gateway.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GatewayDescriptor {
    /// Its name.
    pub identity: IdentityPublicKey,
    /// The key that opens its layer of a packet.
    pub sphinx_key: PublicKey,
    /// Where it takes packets.
    pub mix_address: SocketAddr,
    /// Where it takes clients, as the network writes it: `ws://<host>:<port>` with the host
    /// verbatim, which is no valid URL for an IPv6 address. Dial
    /// [`websocket_url`](Self::websocket_url).
    pub client_address: String,
    /// Whether its bond says that it speaks TLS.
    pub speaks_tls: bool,
}

impl GatewayDescriptor {
    /// The URL to dial: [`client_address`](Self::client_address) with an IPv6 host in brackets.
    #[must_use]
    pub fn websocket_url(&self) -> String {
        let bracketed = self
            .client_address
            .strip_prefix("ws://")
            .and_then(|authority| {
                let (host, port) = authority.rsplit_once(':')?;
                host.parse::<Ipv6Addr>().ok()?;
                Some(format!("ws://[{host}]:{port}"))
            });
        bracketed.unwrap_or_else(|| self.client_address.clone())
    }
}

impl Topology {
    /// Takes over the usable nodes of the bonds; tells why each of the others is not usable.
    ///
    /// `resolve` is asked for the first address of every host that is not an IP address, with the
    /// mix port ([`host_names`] lists them). With a `required_version`, nodes of other versions
    /// are left out.
    pub fn from_bonds(
        mixnodes: &[MixNodeBond],
        gateways: &[GatewayBond],
        mut resolve: impl FnMut(&str, u16) -> Option<SocketAddr>,
        required_version: Option<&str>,
    ) -> (Self, Vec<SkippedNode>) {
        let mut topology = Self::default();
        let mut skipped = Vec::new();
        for bond in mixnodes {
            match mixnode(bond, &mut resolve, required_version) {
                Ok((layer, node)) => {
                    if let Some(layer) = topology.layers.get_mut(layer) {
                        layer.push(node);
                    }
                }
                Err(reason) => {
                    skipped.push(SkippedNode::new(&bond.mix_node.identity_key, reason));
                }
            }
        }
        for bond in gateways {
            match gateway(bond, &mut resolve, required_version) {
                Ok(node) => topology.gateways.push(node),
                Err(reason) => skipped.push(SkippedNode::new(&bond.gateway.identity_key, reason)),
            }
        }
        (topology, skipped)
    }

    /// Leaves out the nodes that do not speak TLS, as if they were not there; tells how many.
    pub fn retain_tls(&mut self) -> usize {
        let count = |topology: &Self| {
            topology.gateways.len() + topology.layers.iter().map(Vec::len).sum::<usize>()
        };
        let before = count(self);
        self.gateways.retain(|node| node.speaks_tls);
        for layer in &mut self.layers {
            layer.retain(|node| node.speaks_tls);
        }
        before - count(self)
    }

    /// Whether packets can cross the network: every layer and the list of gateways have a node.
    #[must_use]
    pub fn is_routable(&self) -> bool {
        !self.gateways.is_empty() && self.layers.iter().all(|layer| !layer.is_empty())
    }

    /// The gateway with this name, the first one if several claim it.
    #[must_use]
    pub fn gateway(&self, identity: &IdentityPublicKey) -> Option<&GatewayDescriptor> {
        self.gateways
            .iter()
            .find(|gateway| gateway.identity == *identity)
    }

    /// A gateway to register at, uniformly at random.
    pub fn random_gateway<R>(&self, rng: &mut R) -> Option<&GatewayDescriptor>
    where
        R: CryptoRng + ?Sized,
    {
        pick(&self.gateways, rng)
    }

    /// A way to a gateway: one node of each layer, uniformly and independently, then the gateway.
    ///
    /// # Errors
    ///
    /// See [`NoRoute`].
    pub fn random_route<R>(
        &self,
        rng: &mut R,
        gateway: &IdentityPublicKey,
    ) -> Result<Route, NoRoute>
    where
        R: CryptoRng + ?Sized,
    {
        let gateway = self.gateway(gateway).ok_or(NoRoute::UnknownGateway)?;
        let mut hops = Vec::with_capacity(LAYER_COUNT + 1);
        for (layer, nodes) in (1..).zip(&self.layers) {
            let node = pick(nodes, rng).ok_or(NoRoute::EmptyLayer { layer })?;
            hops.push(RouteHop {
                address: HopAddress::new(node.mix_address),
                sphinx_key: node.sphinx_key,
            });
        }
        hops.push(RouteHop {
            address: HopAddress::new(gateway.mix_address),
            sphinx_key: gateway.sphinx_key,
        });
        Ok(Route::new(hops).expect("three layers and a gateway are a route of four hops"))
    }
}

/// The host names among the bonds, with the ports to resolve them with, each pair once.
#[must_use]
pub fn host_names(mixnodes: &[MixNodeBond], gateways: &[GatewayBond]) -> Vec<(String, u16)> {
    let mixnodes = mixnodes
        .iter()
        .map(|bond| (&bond.mix_node.host, bond.mix_node.mix_port));
    let gateways = gateways
        .iter()
        .map(|bond| (&bond.gateway.host, bond.gateway.mix_port));
    let names: BTreeSet<_> = mixnodes
        .chain(gateways)
        .filter(|(host, _)| !host.is_empty() && host.parse::<IpAddr>().is_err())
        .collect();
    names
        .into_iter()
        .map(|(host, port)| (host.clone(), port))
        .collect()
}

/// Why no packet can be sent.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum NoRoute {
    /// A mix layer has no usable node.
    #[error("layer {layer} has no usable node")]
    EmptyLayer {
        /// Its number, 1 to 3.
        layer: u8,
    },
    /// The gateway at the end is not in the topology.
    #[error("the gateway is not in the topology")]
    UnknownGateway,
}

/// A node that bonds list and that cannot be used.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("node {identity_key} is left out: {reason}")]
pub struct SkippedNode {
    /// Its identity key, as it was written.
    pub identity_key: String,
    /// What is wrong with it.
    pub reason: SkipReason,
}

impl SkippedNode {
    fn new(identity_key: &str, reason: SkipReason) -> Self {
        let identity_key = identity_key.to_owned();
        Self {
            identity_key,
            reason,
        }
    }
}

/// Why a node cannot be used.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum SkipReason {
    /// A mix node that is in no mix layer.
    #[error("it is in no mix layer")]
    Layer,
    /// Its host has no address.
    #[error("its host cannot be resolved")]
    Host,
    /// Its identity key is malformed.
    #[error("its identity key is malformed: {0}")]
    IdentityKey(#[source] KeyError),
    /// Its Sphinx key is malformed.
    #[error("its Sphinx key is malformed: {0}")]
    SphinxKey(#[source] KeyError),
    /// It speaks another version.
    #[error("it speaks another version of the protocol")]
    Version,
}

fn mixnode(
    bond: &MixNodeBond,
    resolve: &mut impl FnMut(&str, u16) -> Option<SocketAddr>,
    required_version: Option<&str>,
) -> Result<(usize, MixnodeDescriptor), SkipReason> {
    let node = &bond.mix_node;
    let index = Layer::MIX.iter().position(|layer| *layer == bond.layer);
    let index = index.ok_or(SkipReason::Layer)?;
    check_version(&node.version, required_version)?;
    let descriptor = MixnodeDescriptor {
        mix_address: address(&node.host, node.mix_port, resolve)?,
        identity: node.identity_key.parse().map_err(SkipReason::IdentityKey)?,
        sphinx_key: public_key_from_base58(&node.sphinx_key).map_err(SkipReason::SphinxKey)?,
        layer: bond.layer.into(),
        speaks_tls: node.tls.is_some(),
    };
    Ok((index, descriptor))
}

fn gateway(
    bond: &GatewayBond,
    resolve: &mut impl FnMut(&str, u16) -> Option<SocketAddr>,
    required_version: Option<&str>,
) -> Result<GatewayDescriptor, SkipReason> {
    let node = &bond.gateway;
    check_version(&node.version, required_version)?;
    Ok(GatewayDescriptor {
        mix_address: address(&node.host, node.mix_port, resolve)?,
        identity: node.identity_key.parse().map_err(SkipReason::IdentityKey)?,
        sphinx_key: public_key_from_base58(&node.sphinx_key).map_err(SkipReason::SphinxKey)?,
        client_address: format!("ws://{}:{}", node.host, node.clients_port),
        speaks_tls: node.tls.is_some(),
    })
}

fn check_version(version: &str, required: Option<&str>) -> Result<(), SkipReason> {
    match required {
        Some(required) if !is_compatible(version, required) => Err(SkipReason::Version),
        _ => Ok(()),
    }
}

fn address(
    host: &str,
    port: u16,
    resolve: &mut impl FnMut(&str, u16) -> Option<SocketAddr>,
) -> Result<SocketAddr, SkipReason> {
    match host.parse::<IpAddr>() {
        Ok(ip) => Ok(SocketAddr::new(ip, port)),
        Err(_) if host.is_empty() => Err(SkipReason::Host),
        Err(_) => resolve(host, port).ok_or(SkipReason::Host),
    }
}

/// An element, uniformly at random.
fn pick<'a, T, R>(items: &'a [T], rng: &mut R) -> Option<&'a T>
where
    R: CryptoRng + ?Sized,
{
    let count = u64::try_from(items.len()).ok().filter(|count| *count > 0)?;
    // Numbers beyond the last multiple of `count` would favour the first elements.
    let unbiased_max = u64::MAX - u64::MAX % count;
    loop {
        let number = rng.next_u64();
        if number < unbiased_max {
            return items.get(usize::try_from(number % count).ok()?);
        }
    }
}

#[cfg(test)]
mod tests {
    use nym_packet::keys::IdentityKeyPair;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::super::bond::{Coin, Gateway, MixNode};
    use super::*;

    fn identity(seed: u8) -> IdentityPublicKey {
        IdentityKeyPair::from_seed(&[seed; 32]).public_key()
    }

    fn mixnode(seed: u8, layer: Layer, host: &str) -> MixNodeBond {
        MixNodeBond {
            bond_amount: Coin::zero(),
            total_delegation: Coin::zero(),
            owner: String::new(),
            layer,
            mix_node: MixNode {
                host: host.into(),
                mix_port: 1000 + u16::from(seed),
                verloc_port: 1,
                http_api_port: 2,
                sphinx_key: bs58::encode([seed; 32]).into_string(),
                identity_key: identity(seed).to_string(),
                version: "0.11.0".into(),
                tls: None,
            },
        }
    }

    fn gateway(seed: u8, host: &str) -> GatewayBond {
        GatewayBond {
            bond_amount: Coin::zero(),
            total_delegation: Coin::zero(),
            owner: String::new(),
            gateway: Gateway {
                host: host.into(),
                mix_port: 1789,
                clients_port: 9000,
                location: "here".into(),
                sphinx_key: bs58::encode([seed; 32]).into_string(),
                identity_key: identity(seed).to_string(),
                version: "0.11.0".into(),
                tls: None,
            },
        }
    }

    fn network() -> Topology {
        let mixnodes = [
            mixnode(1, Layer::One, "10.0.0.1"),
            mixnode(2, Layer::One, "10.0.0.2"),
            mixnode(3, Layer::Two, "10.0.0.3"),
            mixnode(4, Layer::Three, "10.0.0.4"),
        ];
        let gateways = [gateway(9, "2001:db8::9")];
        let (topology, skipped) =
            Topology::from_bonds(&mixnodes, &gateways, |_, _| None, Some("0.11.0"));
        assert_eq!(skipped, []);
        topology
    }

    #[test]
    fn routes_cross_every_layer_and_use_every_node() {
        let topology = network();
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let mut first_hops = BTreeSet::new();
        for _ in 0..64 {
            let route = topology.random_route(&mut rng, &identity(9)).unwrap();
            let ports: Vec<_> = route
                .hops()
                .iter()
                .map(|hop| hop.address.socket_addr().port())
                .collect();
            assert_eq!(ports[1..], [1003, 1004, 1789]);
            first_hops.insert(ports[0]);
        }
        assert_eq!(first_hops, BTreeSet::from([1001, 1002]));
    }

    #[test]
    fn route_needs_every_layer_and_the_gateway() {
        let mut topology = network();
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let route = topology.random_route(&mut rng, &identity(8));
        assert_eq!(route, Err(NoRoute::UnknownGateway));
        topology.layers[1].clear();
        assert!(!topology.is_routable());
        let route = topology.random_route(&mut rng, &identity(9));
        assert_eq!(route, Err(NoRoute::EmptyLayer { layer: 2 }));
    }

    #[test]
    fn names_are_resolved_with_the_mix_port() {
        let mixnodes = [
            mixnode(1, Layer::One, "a.example"),
            mixnode(2, Layer::Two, "nowhere"),
        ];
        let gateways = [gateway(3, "a.example"), gateway(4, "")];
        let names = host_names(&mixnodes, &gateways);
        let names: Vec<_> = names
            .iter()
            .map(|(host, port)| (host.as_str(), *port))
            .collect();
        assert_eq!(
            names,
            [("a.example", 1001), ("a.example", 1789), ("nowhere", 1002)]
        );
        let resolve = |host: &str, port| {
            (host == "a.example").then(|| SocketAddr::from(([10, 0, 0, 7], port)))
        };
        let (topology, skipped) = Topology::from_bonds(&mixnodes, &gateways, resolve, None);
        assert_eq!(
            topology.layers[0][0].mix_address,
            ([10, 0, 0, 7], 1001).into()
        );
        assert_eq!(topology.gateways[0].client_address, "ws://a.example:9000");
        let reasons: Vec<_> = skipped.iter().map(|node| &node.reason).collect();
        assert_eq!(reasons, [&SkipReason::Host, &SkipReason::Host]);
    }

    #[test]
    fn address_of_an_ipv6_gateway_is_dialled_in_brackets() {
        let gateway = network().gateways.remove(0);
        assert_eq!(gateway.client_address, "ws://2001:db8::9:9000");
        assert_eq!(gateway.websocket_url(), "ws://[2001:db8::9]:9000");
    }

    #[test]
    fn plain_nodes_are_left_out_when_tls_is_required() {
        let mut secure = gateway(9, "10.0.0.9");
        secure.gateway.tls = Some(1);
        let mixnodes = [mixnode(1, Layer::One, "10.0.0.1")];
        let gateways = [gateway(8, "10.0.0.8"), secure];
        let (mut topology, _) = Topology::from_bonds(&mixnodes, &gateways, |_, _| None, None);
        assert_eq!(topology.retain_tls(), 2);
        assert!(topology.layers[0].is_empty());
        assert!(topology.gateway(&identity(8)).is_none());
        assert!(topology.gateway(&identity(9)).is_some());
        assert_eq!(topology.retain_tls(), 0);
    }

    #[test]
    fn other_versions_are_left_out_when_one_is_required() {
        let mut bond = mixnode(1, Layer::One, "10.0.0.1");
        bond.mix_node.version = "0.12.0".into();
        let build = |required| {
            Topology::from_bonds(std::slice::from_ref(&bond), &[], |_, _| None, required).0
        };
        assert_eq!(build(None).layers[0].len(), 1);
        assert_eq!(build(Some("0.11.0")).layers[0].len(), 0);
    }
}
