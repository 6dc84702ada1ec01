//! What a simulated network is made of.

use std::time::Duration;

use nym_client_core::EngineConfig;

/// A network to simulate.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// Everything random in the run comes from it.
    pub seed: u64,
    /// Mix nodes in each of the three layers.
    pub mixnodes_per_layer: usize,
    /// Gateways; client `i` belongs to gateway `i % gateways`.
    pub gateways: usize,
    /// Clients.
    pub clients: usize,
    /// The clients' traffic pattern and bounds.
    pub engine: EngineConfig,
    /// Shortest time a frame is on a link.
    pub latency_min: Duration,
    /// Longest time a frame is on a link, faults aside.
    pub latency_max: Duration,
    /// What goes wrong on the links between nodes.
    pub faults: Faults,
    /// Messages that a gateway keeps for one client.
    pub inbox_messages_max: usize,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            seed: 0,
            mixnodes_per_layer: 2,
            gateways: 2,
            clients: 2,
            engine: EngineConfig::default(),
            latency_min: Duration::from_micros(200),
            latency_max: Duration::from_millis(2),
            faults: Faults::NONE,
            inbox_messages_max: 100_000,
        }
    }
}

/// What happens to a frame on a link between two nodes: at most one of these.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Faults {
    /// Share of frames that vanish.
    pub dropped: f64,
    /// Share of frames that arrive twice.
    pub duplicated: f64,
    /// Share of frames that are overtaken by later ones.
    pub reordered: f64,
    /// How much later an overtaken frame arrives at most.
    pub reorder_delay_max: Duration,
}

impl Faults {
    /// Perfect links.
    pub const NONE: Self = Self {
        dropped: 0.0,
        duplicated: 0.0,
        reordered: 0.0,
        reorder_delay_max: Duration::ZERO,
    };

    /// Every fifth frame is dropped, duplicated or reordered, in equal shares.
    pub const EVERY_FIFTH: Self = Self {
        dropped: 0.2 / 3.0,
        duplicated: 0.2 / 3.0,
        reordered: 0.2 / 3.0,
        reorder_delay_max: Duration::from_millis(500),
    };
}
