//! What a gateway counts, by the names that Prometheus reads. Its packets are counted by
//! [`nym_node::metrics`].

use std::fmt;
use std::sync::Arc;

use nym_daemon::metrics::{Component, Sheet};

use crate::mailroom::{Desk, GatewayCounts};

/// The numbers of the desk.
#[derive(Debug)]
pub(crate) struct GatewayMetrics(pub(crate) Arc<Desk>);

impl Component for GatewayMetrics {
    fn write(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let counts = self.0.counts();
        write_clients(sheet, &counts)?;
        write_messages(sheet, &counts)?;
        write_store(sheet, &self.0)
    }
}

fn write_clients(sheet: &mut Sheet<'_>, counts: &GatewayCounts) -> fmt::Result {
    sheet.gauge(
        "nym_gateway_clients_connected",
        "Connections of clients, logged in or not",
        counts.clients_connected,
    )?;
    sheet.gauge(
        "nym_gateway_clients_online",
        "Clients that are logged in",
        u64::try_from(counts.clients_online).unwrap_or(u64::MAX),
    )?;
    sheet.counters(
        "nym_gateway_connections",
        "Connections of clients",
        "result",
        &[
            ("accepted", counts.connections_accepted),
            ("refused", counts.connections_refused),
        ],
    )?;
    sheet.counters(
        "nym_gateway_logins",
        "Registrations and authentications",
        "result",
        &[
            ("denied", counts.logins_denied),
            ("granted", counts.logins),
            ("refused", counts.logins_refused),
            ("replayed", counts.logins_replayed),
            ("throttled", counts.logins_throttled),
        ],
    )?;
    sheet.counter(
        "nym_gateway_pings",
        "Times that a client was asked for a sign of life",
        counts.clients_pinged,
    )?;
    sheet.counter(
        "nym_gateway_silent_clients",
        "Connections closed because the client gave no sign of life",
        counts.clients_silent,
    )?;
    sheet.counter(
        "nym_gateway_reads_held_back",
        "Times that a client or its address sent faster than its limit",
        counts.reads_held_back,
    )
}

fn write_messages(sheet: &mut Sheet<'_>, counts: &GatewayCounts) -> fmt::Result {
    sheet.counter(
        "nym_gateway_packets",
        "Packets taken from clients",
        counts.packets_from_clients,
    )?;
    sheet.counters(
        "nym_gateway_messages",
        "Messages for clients, by what became of them",
        "outcome",
        &[
            ("displaced", counts.messages_displaced),
            ("expired", counts.messages_expired),
            ("failed", counts.messages_failed),
            ("pushed", counts.messages_pushed),
            ("refused_full", counts.messages_refused_full),
            ("refused_unknown", counts.messages_refused_unknown),
            ("stored", counts.messages_stored),
            ("taken", counts.messages_taken),
        ],
    )?;
    sheet.counter(
        "nym_gateway_acks",
        "Acknowledgements released",
        counts.acks_released,
    )
}

fn write_store(sheet: &mut Sheet<'_>, desk: &Desk) -> fmt::Result {
    sheet.gauge(
        "nym_gateway_held_bytes",
        "Memory of the messages that wait for clients' answers",
        u64::try_from(desk.roster.held_memory()).unwrap_or(u64::MAX),
    )?;
    let figures = desk.figures();
    sheet.gauge(
        "nym_gateway_clients_registered",
        "Clients that have an inbox",
        figures.clients,
    )?;
    sheet.gauge(
        "nym_gateway_inbox_messages",
        "Messages stored for clients",
        figures.messages,
    )?;
    sheet.gauge(
        "nym_gateway_inbox_bytes",
        "Bytes of the messages stored for clients",
        figures.bytes,
    )?;
    sheet.histogram(
        "nym_gateway_commit_duration_seconds",
        "How long a commit to the database takes",
        desk.commits(),
    )
}
