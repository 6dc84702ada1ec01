//! Which next hops a node may dial.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Which next hops a node may dial.
///
/// A packet's header, or a client, names the next hop; without a policy a node is an open TCP
/// connector into its own network. Port 0, the unspecified address, multicast and broadcast are
/// refused by every policy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AddressPolicy {
    /// Any other address, loopback and private ones included: for networks on one machine or one
    /// LAN.
    #[default]
    Any,
    /// Only addresses that the public internet routes.
    Public,
}

impl AddressPolicy {
    /// Whether this policy lets `address` be dialled.
    #[must_use]
    pub fn allows(self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        if address.port() == 0 || ip.is_unspecified() || ip.is_multicast() {
            return false;
        }
        match (self, ip) {
            (_, IpAddr::V4(ip)) if ip.is_broadcast() => false,
            (Self::Any, _) => true,
            (Self::Public, IpAddr::V4(ip)) => is_public_v4(ip),
            (Self::Public, IpAddr::V6(ip)) => is_public_v6(ip),
        }
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, _, _] = ip.octets();
    let is_this_network = a == 0;
    let is_carrier_nat = a == 100 && (64..128).contains(&b);
    let is_benchmarking = a == 198 && (b == 18 || b == 19);
    let is_reserved = a >= 240;
    !(ip.is_loopback()
        || ip.is_private()
        || ip.is_link_local()
        || ip.is_documentation()
        || is_this_network
        || is_carrier_nat
        || is_benchmarking
        || is_reserved)
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [first, second, ..] = ip.segments();
    let is_documentation = first == 0x2001 && second == 0x0db8;
    // Global unicast is 2000::/3 today; everything else is local or reserved.
    first & 0xe000 == 0x2000 && !is_documentation
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(policy: AddressPolicy, address: &str) -> bool {
        policy.allows(address.parse().unwrap())
    }

    #[test]
    fn no_policy_dials_what_is_no_host() {
        for address in [
            "1.2.3.4:0",
            "0.0.0.0:1",
            "[::]:1",
            "224.0.0.1:1",
            "[ff02::1]:1",
            "255.255.255.255:1",
        ] {
            assert!(!allows(AddressPolicy::Any, address), "{address}");
            assert!(!allows(AddressPolicy::Public, address), "{address}");
        }
    }

    #[test]
    fn only_the_public_policy_refuses_local_addresses() {
        for address in [
            "127.0.0.1:1",
            "10.0.0.1:1",
            "172.16.0.1:1",
            "192.168.1.1:1",
            "169.254.1.1:1",
            "100.64.0.1:1",
            "100.127.255.255:1",
            "0.1.2.3:1",
            "198.19.0.1:1",
            "240.0.0.1:1",
            "[::1]:1",
            "[fe80::1]:1",
            "[fd00::1]:1",
            "[2001:db8::1]:1",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert!(allows(AddressPolicy::Any, address), "{address}");
            assert!(!allows(AddressPolicy::Public, address), "{address}");
        }
    }

    #[test]
    fn the_public_policy_allows_public_addresses() {
        for address in [
            "1.1.1.1:1",
            "100.63.255.255:1",
            "100.128.0.1:1",
            "172.15.0.1:1",
            "[2606:4700::1111]:1",
            "[::ffff:1.1.1.1]:1",
        ] {
            assert!(allows(AddressPolicy::Public, address), "{address}");
        }
    }
}
