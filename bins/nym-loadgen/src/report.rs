//! What a run measured.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::node_pages::WorkDone;
use crate::packets::Packets;
use crate::sender::Sent;
use crate::sink::Arrivals;

/// Version of the JSON form; it changes when a member goes or changes its meaning.
const FORM: u32 = 1;

/// What a run measured; serialises as the `--json` output.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Version of this form, 1.
    pub form: u32,
    /// Packets written to the node.
    pub sent: u64,
    /// Packets that came out of it.
    pub received: u64,
    /// Packets that did not.
    pub lost: u64,
    /// Packets written per second, from the first to the last.
    pub sent_per_second: f64,
    /// Packets that came out per second, from the first to the last.
    pub received_per_second: f64,
    /// From sending to receiving.
    pub latency: Option<Latency>,
    /// The same less the delay that the packet asked for: what the node and the links took.
    pub latency_beyond_delay: Option<Latency>,
    /// Seconds that the node's process spent on a processor, if it was observed.
    pub processor_seconds: Option<f64>,
    /// The same per received packet, in microseconds.
    pub processor_micros_per_packet: Option<f64>,
    /// Time that the node spent inside of Sphinx per packet, in microseconds, if its pages were
    /// asked.
    pub sphinx_micros_per_packet: Option<f64>,
    /// Packets that the node opened together, on average, if its pages were asked.
    pub packets_per_batch: Option<f64>,
    /// Memory of the node's process, if it was observed.
    pub memory: Option<Memory>,
}

/// What was seen of the node itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NodeUse {
    pub(crate) memory: Option<Memory>,
    pub(crate) processor_time: Option<Duration>,
    pub(crate) work: Option<WorkDone>,
}

/// Resident memory of the node, in bytes, just before the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Packets that were sent to wait.
    pub waiting: u32,
    /// Before these packets.
    pub before: u64,
    /// With them.
    pub with_waiting: u64,
}

/// Percentiles of times, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latency {
    /// The shortest.
    pub min_millis: f64,
    /// Half are shorter.
    pub p50_millis: f64,
    /// 90 % are shorter.
    pub p90_millis: f64,
    /// 99 % are shorter.
    pub p99_millis: f64,
    /// The longest.
    pub max_millis: f64,
}

impl Report {
    pub(crate) fn new(
        packets: &Packets,
        sent: &[Sent],
        arrivals: &Arrivals,
        node: &NodeUse,
    ) -> Self {
        let NodeUse {
            memory,
            processor_time,
            work,
        } = *node;
        let mut sent_at = sent.to_vec();
        sent_at.sort_by_key(|sent| sent.number);
        let mut latencies = Vec::with_capacity(arrivals.sample.len());
        let mut beyond = Vec::with_capacity(arrivals.sample.len());
        for (packet, came) in &arrivals.sample {
            let Some(number) = packets.number_of(packet.clone()) else {
                continue;
            };
            let found = sent_at
                .binary_search_by_key(&number, |sent| sent.number)
                .ok();
            let Some(sent) = found.and_then(|index| sent_at.get(index)) else {
                continue;
            };
            let latency = came.saturating_duration_since(sent.at);
            let delay = packets.delay(number).unwrap_or_default();
            latencies.push(latency);
            beyond.push(latency.saturating_sub(delay));
        }
        let first_sent = sent.iter().map(|sent| sent.at).min();
        let last_sent = sent.iter().map(|sent| sent.at).max();
        let sent_for = first_sent.zip(last_sent).map(|(first, last)| last - first);
        let received_for = arrivals.span.map(|(first, last)| last - first);
        let sent_count = u64::try_from(sent.len()).unwrap_or(u64::MAX);
        Self {
            form: FORM,
            sent: sent_count,
            received: arrivals.count,
            lost: sent_count.saturating_sub(arrivals.count),
            sent_per_second: rate(sent_count, sent_for),
            received_per_second: rate(arrivals.count, received_for),
            latency: Latency::of(latencies),
            latency_beyond_delay: Latency::of(beyond),
            processor_seconds: processor_time.map(|time| time.as_secs_f64()),
            processor_micros_per_packet: processor_time
                .filter(|_| arrivals.count > 0)
                .map(|time| time.as_secs_f64() * 1e6 / float(arrivals.count)),
            sphinx_micros_per_packet: work.map(|work| work.sphinx_micros_per_packet),
            packets_per_batch: work.map(|work| work.packets_per_batch),
            memory,
        }
    }
}

impl Latency {
    /// The percentiles of some times, `None` of none.
    pub(crate) fn of(mut times: Vec<Duration>) -> Option<Self> {
        times.sort_unstable();
        let last = times.len().checked_sub(1)?;
        let at = |percent: usize| {
            let time = times.get(last * percent / 100).copied().unwrap_or_default();
            time.as_secs_f64() * 1e3
        };
        Some(Self {
            min_millis: at(0),
            p50_millis: at(50),
            p90_millis: at(90),
            p99_millis: at(99),
            max_millis: at(100),
        })
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            min_millis,
            p50_millis,
            p90_millis,
            p99_millis,
            max_millis,
        } = self;
        write!(
            out,
            "min {min_millis:.2}, median {p50_millis:.2}, 90 % {p90_millis:.2}, \
             99 % {p99_millis:.2}, max {max_millis:.2} ms"
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = 100.0 * float(self.lost) / float(self.sent.max(1));
        writeln!(
            out,
            "sent      {} packets, {:.0} per second",
            self.sent, self.sent_per_second
        )?;
        writeln!(
            out,
            "received  {} packets, {:.0} per second",
            self.received, self.received_per_second
        )?;
        write!(out, "lost      {} packets, {percent:.2} %", self.lost)?;
        if let Some(latency) = self.latency {
            write!(out, "\nlatency   {latency}")?;
        }
        if let Some(latency) = self.latency_beyond_delay {
            write!(out, "\n  beyond the drawn delay: {latency}")?;
        }
        if let Some((seconds, micros)) =
            self.processor_seconds.zip(self.processor_micros_per_packet)
        {
            write!(out, "\nprocessor {seconds:.2} s, {micros:.1} µs per packet")?;
        }
        if let Some((micros, count)) = self.sphinx_micros_per_packet.zip(self.packets_per_batch) {
            write!(
                out,
                "\n  inside of Sphinx {micros:.1} µs per packet, {count:.1} packets together"
            )?;
        }
        if let Some(Memory {
            waiting,
            before,
            with_waiting,
        }) = self.memory
        {
            let mebibytes = |bytes| float(bytes) / f64::from(1 << 20);
            write!(out, "\nmemory    {:.1} MiB", mebibytes(before))?;
            if waiting > 0 {
                let each = float(with_waiting.saturating_sub(before)) / f64::from(waiting);
                let with_waiting = mebibytes(with_waiting);
                write!(
                    out,
                    ", with {waiting} waiting packets {with_waiting:.1} MiB, {each:.0} bytes each"
                )?;
            }
        }
        Ok(())
    }
}

/// `count` things in `span`, the first at its start and the last at its end; zero if it is empty.
fn rate(count: u64, span: Option<Duration>) -> f64 {
    match span {
        Some(span) if count > 1 && !span.is_zero() => float(count - 1) / span.as_secs_f64(),
        _ => 0.0,
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "packets of a run are far fewer than 2^53"
)]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_sorted_times() {
        let times = (1..=101).rev().map(Duration::from_millis).collect();
        let latency = Latency::of(times).unwrap();
        assert_eq!(
            latency.to_string(),
            "min 1.00, median 51.00, 90 % 91.00, 99 % 100.00, max 101.00 ms"
        );
        assert_eq!(Latency::of(Vec::new()), None);
    }

    #[test]
    fn a_rate_needs_two_moments() {
        assert!((rate(11, Some(Duration::from_secs(2))) - 5.0).abs() < 1e-9);
        assert!(rate(1, Some(Duration::from_secs(1))).abs() < 1e-9);
        assert!(rate(5, None).abs() < 1e-9);
    }
}
