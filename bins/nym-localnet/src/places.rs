//! Where each program listens, and what it announces.
//!
//! Usually everything is at 127.0.0.1, at free ports. 0.11 programs know fewer ports, and a 0.11
//! node stops when another one announces its host: for them every program has a loopback address
//! of its own, with the default ports.

use std::net::Ipv4Addr;

use nym_node::config::MIX_PORT_DEFAULT;
use nym_transport::legacy::LegacyPeers;

use crate::config::Config;
use crate::tap;

/// Where a 0.11 program asks for the complete lists, whatever it is told (validator.md, section 1).
const LEGACY_API_PORT: u16 = 8080;

/// Where the validator is asked everything else.
const LEGACY_REST_PORT: u16 = 1317;

/// The places of one network.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places {
    is_legacy: bool,
    is_tapped: bool,
}

impl Places {
    pub(crate) const fn new(config: &Config) -> Self {
        Self {
            is_legacy: config.legacy,
            is_tapped: config.record.is_some(),
        }
    }

    /// Whether links may be plain.
    pub(crate) const fn legacy_peers(self) -> LegacyPeers {
        if self.is_legacy {
            LegacyPeers::Allow
        } else {
            LegacyPeers::Deny
        }
    }

    /// What others reach a program by that listens there.
    pub(crate) fn announced(self, listening: Ipv4Addr) -> Ipv4Addr {
        if self.is_tapped {
            tap::announced(listening)
        } else {
            listening
        }
    }

    /// Tells where the validator listens.
    pub(crate) fn place_validator(self, config: &mut nym_validator::Config) -> Ipv4Addr {
        (config.rest_port, config.api_port) = (0, 0);
        if self.is_legacy {
            (config.rest_port, config.api_port) = (LEGACY_REST_PORT, LEGACY_API_PORT);
        }
        let ip = self.ip(0, 1);
        config.listen = ip.into();
        ip
    }

    /// Tells where the node listens. Nodes are counted from 1.
    pub(crate) fn place_mixnode(self, number: usize, config: &mut nym_mixnode::Config) -> Ipv4Addr {
        let ip = self.ip(1, number);
        config.listening_ip = ip.into();
        config.announce_host = self.announced(ip).to_string();
        config.link_config.legacy_peers = self.legacy_peers();
        config.link_config.announce_tls = !self.is_legacy;
        if self.is_legacy {
            config.mix_port = MIX_PORT_DEFAULT;
            config.http_api_port = nym_mixnode::config::HTTP_API_PORT_DEFAULT;
            config.verloc_port = nym_mixnode::config::VERLOC_PORT_DEFAULT;
        }
        ip
    }

    /// Tells where the gateway listens. Gateways are counted from 1.
    pub(crate) fn place_gateway(self, number: usize, config: &mut nym_gateway::Config) -> Ipv4Addr {
        let ip = self.ip(2, number);
        config.listening_ip = ip.into();
        config.announce_host = self.announced(ip).to_string();
        config.link_config.legacy_peers = self.legacy_peers();
        config.link_config.announce_tls = !self.is_legacy;
        if self.is_legacy {
            config.mix_port = MIX_PORT_DEFAULT;
            config.clients_port = nym_gateway::config::CLIENTS_PORT_DEFAULT;
        }
        ip
    }

    fn ip(self, kind: u8, number: usize) -> Ipv4Addr {
        match u8::try_from(number) {
            Ok(number) if self.is_legacy => Ipv4Addr::new(127, 70, kind, number),
            // The command line allows for 150 nodes of a kind at most.
            _ => Ipv4Addr::LOCALHOST,
        }
    }
}
