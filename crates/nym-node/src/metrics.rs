//! What a relay counts, by the names that Prometheus reads.

use std::fmt;

use nym_daemon::metrics::{Component, Sheet};
use nym_transport::connections::Connections;

use crate::announce::Announced;
use crate::counters::Counters;

/// The numbers of a relay: what came, what became of it, and its links to next hops.
#[derive(Debug)]
pub struct NodeMetrics {
    /// What the pipeline counts.
    pub counters: Counters,
    /// What the outgoing links count.
    pub connections: Connections,
    /// Whether the validators know the node.
    pub announced: Announced,
}

impl Component for NodeMetrics {
    fn write(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let (totals, rejected) = (self.counters.totals(), self.counters.rejected());
        sheet.counter(
            "nym_node_packets_received",
            "Packets that arrived from other nodes",
            totals.received,
        )?;
        sheet.counters(
            "nym_node_packets_rejected",
            "Packets that were dropped because of what is in them",
            "reason",
            &[
                ("delay_too_long", rejected.delay_too_long),
                ("invalid_header", rejected.invalid_header),
                ("invalid_payload", rejected.invalid_payload),
                ("invalid_routing", rejected.invalid_routing),
                ("misdirected", rejected.misdirected),
                ("replayed", rejected.replayed),
                ("unrecorded", rejected.unrecorded),
            ],
        )?;
        self.write_work(sheet)?;
        self.write_links(sheet)?;
        sheet.gauge(
            "nym_node_announced",
            "1 if a validator took the last announcement",
            u64::from(self.announced.is_known()),
        )
    }
}

impl NodeMetrics {
    fn write_work(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let work = self.counters.work();
        sheet.counter(
            "nym_node_batches",
            "Batches in which packets were opened together",
            work.batches,
        )?;
        sheet.seconds(
            "nym_node_sphinx_seconds",
            "Time on processors spent on opening packets",
            work.sphinx,
        )?;
        if let Some(window) = work.replay_window {
            sheet.gauge(
                "nym_node_replay_window_seconds",
                "Age up to which replays are surely recognised, by what was forgotten last",
                window.as_secs(),
            )?;
        }
        let waiting = u64::try_from(work.waiting).unwrap_or(u64::MAX);
        sheet.gauge(
            "nym_node_packets_waiting",
            "Packets that wait for their moment",
            waiting,
        )
    }

    fn write_links(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let links = self.connections.counts();
        sheet.counter(
            "nym_node_frames_queued",
            "Packets queued for a next hop",
            links.queued,
        )?;
        sheet.counter(
            "nym_node_frames_written",
            "Packets handed to the operating system for a next hop",
            links.written,
        )?;
        sheet.counters(
            "nym_node_frames_dropped",
            "Packets that did not reach their next hop",
            "reason",
            &[
                ("address_refused", links.dropped_address_refused),
                ("delay_queue_full", self.counters.work().overflowed),
                ("memory_full", links.dropped_memory_full),
                ("queue_full", links.dropped_queue_full),
                ("too_many_connections", links.dropped_too_many_connections),
                ("unreachable", links.dropped_unreachable),
            ],
        )?;
        sheet.counters(
            "nym_node_links",
            "Links to next hops, by what became of them",
            "event",
            &[
                ("connected", links.connected),
                ("dial_failed", links.dials_failed),
                ("lost", links.lost),
            ],
        )?;
        let next_hops = u64::try_from(self.connections.open_count()).unwrap_or(u64::MAX);
        sheet.gauge(
            "nym_node_next_hops",
            "Next hops that have a queue, connected or not",
            next_hops,
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nym_daemon::metrics::Metrics;
    use nym_packet::frame::{Frame, PacketMode};
    use nym_transport::connections::ConnectionsConfig;

    use super::*;
    use crate::processor::RejectCounts;

    #[tokio::test]
    async fn every_number_is_on_the_page() {
        let counters = Counters::start();
        let connections = Connections::new(ConnectionsConfig::default(), nym_daemon::entropy());
        counters.record_received(7);
        counters.record_rejected(&RejectCounts {
            delay_too_long: 1,
            invalid_header: 2,
            invalid_payload: 3,
            invalid_routing: 4,
            misdirected: 5,
            replayed: 6,
            unrecorded: 8,
        });
        let next_hop = "127.0.0.1:1".parse().unwrap();
        counters.record_batch(Duration::from_millis(1500));
        counters.record_batch(Duration::from_millis(500));
        counters.record_overflowed(next_hop);
        counters.record_replay_window(Duration::from_secs(90));
        counters.record_waiting(9);
        let frame = || Frame::new(PacketMode::Mix, vec![0; 386]).unwrap();
        // Port 0 is nobody's, and nobody listens on port 1 of this machine.
        let refused = connections.send("127.0.0.1:0".parse().unwrap(), frame());
        assert!(refused.is_err());
        connections.send(next_hop, frame()).unwrap();
        let node = NodeMetrics {
            counters,
            connections,
            announced: Announced::default(),
        };
        let page = Metrics::new(vec![Box::new(node)]);
        for line in [
            "nym_node_packets_received_total 7",
            "nym_node_packets_rejected_total{reason=\"delay_too_long\"} 1",
            "nym_node_packets_rejected_total{reason=\"invalid_header\"} 2",
            "nym_node_packets_rejected_total{reason=\"invalid_payload\"} 3",
            "nym_node_packets_rejected_total{reason=\"invalid_routing\"} 4",
            "nym_node_packets_rejected_total{reason=\"misdirected\"} 5",
            "nym_node_packets_rejected_total{reason=\"replayed\"} 6",
            "nym_node_packets_rejected_total{reason=\"unrecorded\"} 8",
            "nym_node_batches_total 2",
            "nym_node_sphinx_seconds_total 2.0",
            "nym_node_replay_window_seconds 90",
            "nym_node_packets_waiting 9",
            "nym_node_frames_queued_total 1",
            "nym_node_frames_written_total 0",
            "nym_node_frames_dropped_total{reason=\"address_refused\"} 1",
            "nym_node_frames_dropped_total{reason=\"delay_queue_full\"} 1",
            "nym_node_frames_dropped_total{reason=\"queue_full\"} 0",
            "nym_node_links_total{event=\"connected\"} 0",
            "nym_node_next_hops 1",
            "nym_node_announced 0",
        ] {
            let text = page.render();
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }
}
