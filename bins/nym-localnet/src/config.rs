//! What a local network is made of.

use std::path::PathBuf;
use std::time::Duration;

use nym_client_core::EngineConfig;

/// Names of the clients, in order; app ports count up with them.
pub const CLIENT_NAMES: [&str; 26] = [
    "alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy", "kim",
    "lena", "mallory", "niaj", "olivia", "peggy", "quinn", "rupert", "sybil", "trent", "uma",
    "victor", "wendy", "xavier", "yves", "zoe",
];

/// How long the first message may take. Expected are 0.2 s; a message that is lost on the way is
/// sent again after two.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(20);

/// A local network.
#[derive(Clone, Debug)]
pub struct Config {
    /// Mix nodes in each of the three layers, at least 1.
    pub mixnodes_per_layer: usize,
    /// Gateways, at least 1.
    pub gateways: usize,
    /// Clients: the first so many of [`CLIENT_NAMES`], at least 2.
    pub clients: usize,
    /// App port of the first client; the next ones count up. 0 takes free ones.
    pub port: u16,
    /// Where everything is kept; must exist and be writable.
    pub dir: PathBuf,
    /// Whether 0.11 programs can join: links may be plain, and every program has a loopback address
    /// of its own with the default ports.
    pub legacy: bool,
    /// Where to record every byte of every link; must exist and be writable.
    pub record: Option<PathBuf>,
    /// The clients' traffic pattern.
    pub engine: EngineConfig,
}

impl Config {
    /// Two mix nodes per layer, two gateways, alice and bob, everything under `dir`.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            mixnodes_per_layer: 2,
            gateways: 2,
            clients: 2,
            port: nym_client::config::APP_PORT_DEFAULT,
            dir: dir.into(),
            legacy: false,
            record: None,
            engine: EngineConfig::default(),
        }
    }

    /// The app port of client `index`.
    pub(crate) fn app_port(&self, index: usize) -> Option<u16> {
        let offset = if self.port == 0 {
            0
        } else {
            u16::try_from(index).ok()?
        };
        self.port.checked_add(offset)
    }
}
