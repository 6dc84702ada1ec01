//! What a node counts and publishes at `GET /stats`.
//!
//! Figures are published in steps: [`NodeStats::update`] closes a window, every 30 s in a running
//! node, and until the next one the page shows the same. That hides single packets from whoever
//! polls the page; it also means that everything is zero before the first update.
//!
//! The page has these members: `update_time` and `previous_update_time` (RFC 3339, UTC,
//! nanoseconds), and `packets_received_…`, `packets_sent_…` and `packets_explicitly_dropped_…`, each
//! `…since_startup` and `…since_last_update`. With `?debug=true` the four of *sent* and *dropped*
//! are objects from `ip:port` of the next hop to count.
//!
//! *Sent* means that a connection's queue took the packet, *explicitly dropped* that it was full.
//! Packets that do not verify, replays and the like are counted elsewhere
//! ([`RejectCounts`](crate::processor::RejectCounts)) and not published.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use serde::Serialize;

/// Next hops counted by name. Addresses come out of packet headers, so strangers choose them;
/// whatever comes after this many is counted in the sum and under [`OTHERS`] only. 4,096 entries
/// of about 60 bytes in four maps are 1 MB.
pub const NAMED_HOPS: usize = 4096;

/// The name under which packets to further next hops are counted.
pub const OTHERS: &str = "others";

/// The counters of a running node.
#[derive(Debug)]
pub struct NodeStats {
    since_startup: Counts,
    window: Counts,
    published: Published,
}

impl NodeStats {
    /// All zero, for a node that starts at `unix_time` after the beginning of 1970.
    #[must_use]
    pub fn new(unix_time: Duration) -> Self {
        let published = Published {
            update_time: unix_time,
            previous_update_time: unix_time,
            since_startup: Counts::default(),
            since_last_update: Counts::default(),
        };
        Self {
            since_startup: Counts::default(),
            window: Counts::default(),
            published,
        }
    }

    /// `count` frames were received.
    pub const fn record_received(&mut self, count: u64) {
        self.window.received += count;
    }

    /// A packet was queued for `next_hop`.
    pub fn record_sent(&mut self, next_hop: SocketAddr) {
        self.window.sent.add(next_hop, 1);
    }

    /// A packet for `next_hop` was dropped because its queue, or the delay queue, was full.
    pub fn record_dropped(&mut self, next_hop: SocketAddr) {
        self.window.dropped.add(next_hop, 1);
    }

    /// Closes the window and publishes it.
    pub fn update(&mut self, unix_time: Duration) {
        let window = std::mem::take(&mut self.window);
        self.since_startup.merge(&window);
        self.published = Published {
            update_time: unix_time,
            previous_update_time: self.published.update_time,
            since_startup: self.since_startup.clone(),
            since_last_update: window,
        };
    }

    /// The page, as JSON text: counts per next hop with `debug`, sums without.
    #[must_use]
    pub fn to_json(&self, debug: bool) -> String {
        let page = &self.published;
        let json = if debug {
            serde_json::to_string(&page.page(|hops| hops.by_name()))
        } else {
            serde_json::to_string(&page.page(|hops| hops.total))
        };
        json.expect("numbers, strings and maps with text keys have a JSON form")
    }

    /// Sums since the node started, what is not published yet included: received, sent, dropped.
    #[must_use]
    pub const fn totals(&self) -> Totals {
        Totals {
            received: self.since_startup.received + self.window.received,
            sent: self.since_startup.sent.total + self.window.sent.total,
            dropped: self.since_startup.dropped.total + self.window.dropped.total,
        }
    }
}

/// Sums over all next hops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Frames received.
    pub received: u64,
    /// Packets queued for a next hop.
    pub sent: u64,
    /// Packets dropped because a queue was full.
    pub dropped: u64,
}

#[derive(Clone, Debug, Default)]
struct Counts {
    received: u64,
    sent: PerHop,
    dropped: PerHop,
}

impl Counts {
    fn merge(&mut self, window: &Self) {
        self.received += window.received;
        self.sent.merge(&window.sent);
        self.dropped.merge(&window.dropped);
    }
}

#[derive(Clone, Debug, Default)]
struct PerHop {
    total: u64,
    named: BTreeMap<SocketAddr, u64>,
}

impl PerHop {
    fn add(&mut self, hop: SocketAddr, count: u64) {
        self.total += count;
        self.add_named(hop, count);
    }

    fn add_named(&mut self, hop: SocketAddr, count: u64) {
        if let Some(known) = self.named.get_mut(&hop) {
            *known += count;
        } else if self.named.len() < NAMED_HOPS {
            self.named.insert(hop, count);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.total += other.total;
        for (hop, count) in &other.named {
            self.add_named(*hop, *count);
        }
    }

    fn by_name(&self) -> BTreeMap<String, u64> {
        let mut all: BTreeMap<_, _> = self
            .named
            .iter()
            .map(|(hop, count)| (hop.to_string(), *count))
            .collect();
        let others = self.total - self.named.values().sum::<u64>();
        if others > 0 {
            all.insert(OTHERS.to_owned(), others);
        }
        all
    }
}

#[derive(Debug)]
struct Published {
    update_time: Duration,
    previous_update_time: Duration,
    since_startup: Counts,
    since_last_update: Counts,
}

impl Published {
    fn page<T>(&self, show: impl Fn(&PerHop) -> T) -> Page<T> {
        Page {
            update_time: rfc3339(self.update_time),
            previous_update_time: rfc3339(self.previous_update_time),
            packets_received_since_startup: self.since_startup.received,
            packets_sent_since_startup: show(&self.since_startup.sent),
            packets_explicitly_dropped_since_startup: show(&self.since_startup.dropped),
            packets_received_since_last_update: self.since_last_update.received,
            packets_sent_since_last_update: show(&self.since_last_update.sent),
            packets_explicitly_dropped_since_last_update: show(&self.since_last_update.dropped),
        }
    }
}

#[derive(Serialize)]
struct Page<T> {
    update_time: String,
    previous_update_time: String,
    packets_received_since_startup: u64,
    packets_sent_since_startup: T,
    packets_explicitly_dropped_since_startup: T,
    packets_received_since_last_update: u64,
    packets_sent_since_last_update: T,
    packets_explicitly_dropped_since_last_update: T,
}

fn rfc3339(unix_time: Duration) -> String {
    humantime::format_rfc3339_nanos(SystemTime::UNIX_EPOCH + unix_time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::new(1_600_000_000, 5);

    fn hop(number: u16) -> SocketAddr {
        ([10, 0, 0, 1], number).into()
    }

    fn json(stats: &NodeStats, debug: bool) -> serde_json::Value {
        serde_json::from_str(&stats.to_json(debug)).unwrap()
    }

    #[test]
    fn nothing_shows_before_the_first_update() {
        let mut stats = NodeStats::new(START);
        stats.record_received(3);
        stats.record_sent(hop(1));
        let page = json(&stats, false);
        assert_eq!(page["update_time"], "2020-09-13T12:26:40.000000005Z");
        assert_eq!(
            page["previous_update_time"],
            "2020-09-13T12:26:40.000000005Z"
        );
        for member in ["received", "sent", "explicitly_dropped"] {
            assert_eq!(page[format!("packets_{member}_since_startup")], 0);
            assert_eq!(page[format!("packets_{member}_since_last_update")], 0);
        }
        assert_eq!(page.as_object().unwrap().len(), 8);
    }

    #[test]
    fn g14_an_update_publishes_the_window_and_adds_it_to_the_sum_of_drops_too() {
        let mut stats = NodeStats::new(START);
        stats.record_received(3);
        stats.record_sent(hop(1));
        stats.record_dropped(hop(2));
        stats.update(START + Duration::from_secs(30));
        stats.record_received(2);
        stats.record_dropped(hop(2));
        stats.update(START + Duration::from_secs(60));
        let page = json(&stats, false);
        assert_eq!(page["update_time"], "2020-09-13T12:27:40.000000005Z");
        assert_eq!(
            page["previous_update_time"],
            "2020-09-13T12:27:10.000000005Z"
        );
        assert_eq!(page["packets_received_since_startup"], 5);
        assert_eq!(page["packets_received_since_last_update"], 2);
        assert_eq!(page["packets_sent_since_startup"], 1);
        assert_eq!(page["packets_sent_since_last_update"], 0);
        assert_eq!(page["packets_explicitly_dropped_since_startup"], 2);
        assert_eq!(page["packets_explicitly_dropped_since_last_update"], 1);
        assert_eq!(
            stats.totals(),
            Totals {
                received: 5,
                sent: 1,
                dropped: 2
            }
        );
    }

    #[test]
    fn debug_shows_each_next_hop() {
        let mut stats = NodeStats::new(START);
        stats.record_sent(hop(1));
        stats.record_sent(hop(1));
        stats.record_sent(hop(2));
        stats.update(START);
        let page = json(&stats, true);
        let both = serde_json::json!({"10.0.0.1:1": 2, "10.0.0.1:2": 1});
        assert_eq!(page["packets_sent_since_startup"], both);
        assert_eq!(page["packets_sent_since_last_update"], both);
        assert_eq!(
            page["packets_explicitly_dropped_since_startup"],
            serde_json::json!({})
        );
    }

    #[test]
    fn hops_beyond_the_bound_are_summed() {
        let mut stats = NodeStats::new(START);
        let bound = u16::try_from(NAMED_HOPS).unwrap();
        for number in 0..bound {
            stats.record_sent(hop(number));
        }
        stats.update(START);
        assert!(
            json(&stats, true)["packets_sent_since_startup"]
                .get(OTHERS)
                .is_none()
        );
        stats.record_sent(hop(bound));
        stats.update(START);
        let page = json(&stats, true);
        assert_eq!(page["packets_sent_since_startup"][OTHERS], 1);
        assert_eq!(
            page["packets_sent_since_startup"]
                .as_object()
                .unwrap()
                .len(),
            NAMED_HOPS + 1
        );
        assert_eq!(
            json(&stats, false)["packets_sent_since_startup"],
            NAMED_HOPS + 1
        );
    }
}
