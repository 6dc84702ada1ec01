//! The status as others read it: JSON at `/status` of the port for apps.

use nym_packet::address::Recipient;
use serde::{Deserialize, Serialize};

use super::ClientStatus;

/// The version of the report's shape. A member may be added within a version; one that is renamed
/// or means something else makes a new one.
const REPORT_VERSION: u32 = 1;

/// The status of a running client, in JSON with members in camel case.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct StatusReport {
    /// 1. A member may be added within a version.
    pub version: u32,
    /// The address of the client.
    pub address: String,
    /// Whether the gateway takes packets.
    pub connected: bool,
    /// Whether there is a topology that packets can be routed over.
    pub routable: bool,
    /// Age of the topology in use.
    pub topology_age_secs: Option<u64>,
    /// Messages that were taken over and are not acknowledged yet.
    pub unacknowledged_messages: u64,
    /// Their bytes.
    pub unacknowledged_bytes: u64,
    /// Messages that arrived and that no app has taken.
    #[serde(default)]
    pub untaken_messages: u64,
    /// Their bytes, with 256 more for each.
    #[serde(default)]
    pub untaken_bytes: u64,
    /// Apps that are connected.
    pub apps_connected: u64,
    /// Packets handed to the gateway since the client started.
    pub packets_sent: u64,
    /// Of these, loop cover.
    pub cover_packets_sent: u64,
    /// Of these, fragments sent again.
    pub retransmissions: u64,
    /// Acknowledgements that came in.
    pub acknowledgements_received: u64,
    /// Loop cover packets that came back.
    pub cover_packets_received: u64,
    /// Messages that arrived whole.
    pub messages_received: u64,
    /// Pushed packets that were not for this client, broken, or repeated.
    pub packets_ignored: u64,
    /// Packets handed to the gateway each second, as the mean over the last minute.
    pub packets_sent_per_second: f64,
    /// Of these, loop cover.
    pub cover_packets_sent_per_second: f64,
    /// Acknowledgements that came in each second.
    pub acknowledgements_received_per_second: f64,
    /// Messages that arrived each second.
    pub messages_received_per_second: f64,
}

impl StatusReport {
    /// Tells a status with what the tasks of the client do not know.
    #[must_use]
    pub fn new(status: &ClientStatus, recipient: &Recipient, apps_connected: u64) -> Self {
        let (engine, rates) = (&status.engine, &status.rates);
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let tenths = |rate: f64| (rate * 10.0).round() / 10.0;
        Self {
            version: REPORT_VERSION,
            address: recipient.to_string(),
            connected: status.connected,
            routable: status.routable,
            topology_age_secs: status.topology_age().map(|age| age.as_secs()),
            unacknowledged_messages: count(status.unacknowledged_messages),
            unacknowledged_bytes: count(status.unacknowledged_bytes),
            untaken_messages: count(status.untaken_messages),
            untaken_bytes: count(status.untaken_bytes),
            apps_connected,
            packets_sent: engine.packets_sent,
            cover_packets_sent: engine.cover_packets_sent,
            retransmissions: engine.retransmissions,
            acknowledgements_received: engine.acknowledgements_received,
            cover_packets_received: engine.cover_packets_received,
            messages_received: engine.messages_received,
            packets_ignored: engine.packets_ignored,
            packets_sent_per_second: tenths(rates.packets_sent),
            cover_packets_sent_per_second: tenths(rates.cover_packets_sent),
            acknowledgements_received_per_second: tenths(rates.acknowledgements_received),
            messages_received_per_second: tenths(rates.messages_received),
        }
    }

    /// Whether a message handed over now would leave at once.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        self.connected && self.routable
    }
}
