//! How fast counters grow.

use std::collections::VecDeque;
use std::time::Duration;

use nym_client_core::EngineStats;
use nym_packet::time::Timestamp;

/// Rates are means over so long, or over the life of a younger client.
const WINDOW: Duration = Duration::from_secs(60);

/// A count is kept so often: twelve of them span the window.
const STEP: Duration = Duration::from_secs(5);

/// Counts per second, as means over the last minute.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Packets handed to the gateway.
    pub packets_sent: f64,
    /// Of these, loop cover.
    pub cover_packets_sent: f64,
    /// Acknowledgements that came in.
    pub acknowledgements_received: f64,
    /// Messages that arrived whole.
    pub messages_received: f64,
}

/// Remembers counts of the last minute.
#[derive(Debug, Default)]
pub(crate) struct RateMeter {
    /// Oldest first, one [`STEP`] apart at least; the first may be older than the window.
    kept: VecDeque<(Timestamp, EngineStats)>,
}

impl RateMeter {
    /// Takes the counts of this moment and gives the rates up to it.
    pub(crate) fn measure(&mut self, now: Timestamp, stats: EngineStats) -> Rates {
        let age = |at: Timestamp| now.saturating_duration_since(at);
        if self.kept.back().is_none_or(|(at, _)| age(*at) >= STEP) {
            self.kept.push_back((now, stats));
        }
        // The newest one that spans the window is the oldest of use.
        while self.kept.get(1).is_some_and(|(at, _)| age(*at) >= WINDOW) {
            self.kept.pop_front();
        }
        let Some((at, before)) = self.kept.front().copied() else {
            return Rates::default();
        };
        let secs = age(at).as_secs_f64();
        let rate = |count: fn(&EngineStats) -> u64| {
            if secs == 0.0 {
                return 0.0;
            }
            let more = count(&stats).saturating_sub(count(&before));
            f64::from(u32::try_from(more).unwrap_or(u32::MAX)) / secs
        };
        Rates {
            packets_sent: rate(|stats| stats.packets_sent),
            cover_packets_sent: rate(|stats| stats.cover_packets_sent),
            acknowledgements_received: rate(|stats| stats.acknowledgements_received),
            messages_received: rate(|stats| stats.messages_received),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(packets_sent: u64) -> EngineStats {
        EngineStats {
            packets_sent,
            ..EngineStats::default()
        }
    }

    /// The rate after each second in which so many packets were sent.
    fn rates(per_second: &[u64]) -> Vec<f64> {
        let mut meter = RateMeter::default();
        let (mut now, mut total) = (Timestamp::ZERO, 0);
        meter.measure(now, sent(0));
        let after = |packets: &u64| {
            now += Duration::from_secs(1);
            total += packets;
            meter.measure(now, sent(total)).packets_sent
        };
        per_second.iter().map(after).collect()
    }

    #[test]
    fn a_steady_count_has_a_steady_rate() {
        for rate in rates(&[55; 300]) {
            assert!((rate - 55.0).abs() < 1e-9, "{rate}");
        }
    }

    #[test]
    fn what_was_over_a_minute_ago_is_forgotten() {
        let mut seconds = vec![100; 10];
        seconds.extend([0; 70]);
        let rates = rates(&seconds);
        assert_eq!(rates[9], 100.0);
        assert!(rates[30] > 0.0);
        assert_eq!(rates[79], 0.0);
    }

    #[test]
    fn nothing_has_no_rate() {
        assert_eq!(
            RateMeter::default().measure(Timestamp::ZERO, sent(5)),
            Rates::default()
        );
    }

    #[test]
    fn memory_is_bounded() {
        let mut meter = RateMeter::default();
        for second in 0..10_000 {
            meter.measure(Timestamp::from_nanos(second * 1_000_000_000), sent(second));
        }
        assert!(meter.kept.len() <= 14, "{}", meter.kept.len());
    }
}
