//! What a validator counts, by the names that Prometheus reads.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nym_daemon::metrics::{Component, Sheet};

use crate::store::Lists;

/// Numbers since the start, and of now.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Announcements of nodes that were not listed.
    pub(crate) announced_new: AtomicU64,
    /// Announcements of nodes that were.
    pub(crate) announced_again: AtomicU64,
    /// Announcements that were not taken, for whatever reason.
    pub(crate) announcements_refused: AtomicU64,
    /// Answers to contract queries.
    pub(crate) queries: AtomicU64,
    /// Lists of gateways handed out.
    pub(crate) read_gateways: AtomicU64,
    /// Lists of mix nodes handed out.
    pub(crate) read_mixnodes: AtomicU64,
    /// Requests for what is not there, or not allowed.
    pub(crate) refused: AtomicU64,
    gateways: AtomicU64,
    mixnodes: AtomicU64,
}

impl Tally {
    /// Takes over how many nodes are listed now.
    pub(crate) fn set_nodes(&self, lists: &Lists) {
        let count = |len: usize| u64::try_from(len).unwrap_or(u64::MAX);
        let (gateways, mixnodes) = (count(lists.gateways.len()), count(lists.mixnodes.len()));
        self.gateways.store(gateways, Ordering::Relaxed);
        self.mixnodes.store(mixnodes, Ordering::Relaxed);
    }
}

/// Adds one.
pub(crate) fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// The numbers, as a page shows them.
#[derive(Debug)]
pub(crate) struct ValidatorMetrics(pub(crate) Arc<Tally>);

impl Component for ValidatorMetrics {
    fn write(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let tally = &self.0;
        sheet.gauges(
            "nym_validator_nodes",
            "Nodes that are listed",
            "kind",
            &[
                ("gateway", value(&tally.gateways)),
                ("mixnode", value(&tally.mixnodes)),
            ],
        )?;
        sheet.counters(
            "nym_validator_announcements",
            "Announcements of nodes, by what became of them",
            "result",
            &[
                ("new", value(&tally.announced_new)),
                ("renewed", value(&tally.announced_again)),
                ("refused", value(&tally.announcements_refused)),
            ],
        )?;
        sheet.counters(
            "nym_validator_requests",
            "Requests for what is published",
            "document",
            &[
                ("gateways", value(&tally.read_gateways)),
                ("mixnodes", value(&tally.read_mixnodes)),
                ("query", value(&tally.queries)),
                ("refused", value(&tally.refused)),
            ],
        )
    }
}
