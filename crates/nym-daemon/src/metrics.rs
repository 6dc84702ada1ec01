//! What a program counts, as Prometheus reads it.
//!
//! A part of a program keeps its numbers where it works, and says in one place, its [`Component`],
//! how they are called. Nothing is registered globally: several nodes in one process count apart.
//!
//! Names are `nym_<component>_<noun>_<unit>`, counters end with `_total`. A label has a few values
//! that are known when the program is written; a peer, a client or an address is never one.
//!
//! ```
//! use std::fmt;
//! use nym_daemon::metrics::{Component, Metrics, Sheet};
//!
//! #[derive(Debug)]
//! struct Kettle {
//!     boiled: u64,
//! }
//!
//! impl Component for Kettle {
//!     fn write(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
//!         sheet.counter("nym_kettle_cups", "Cups boiled", self.boiled)
//!     }
//! }
//!
//! let metrics = Metrics::new(vec![Box::new(Kettle { boiled: 3 })]);
//! assert!(metrics.render().contains("nym_kettle_cups_total 3\n"));
//! ```

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

pub use prometheus_client::metrics::histogram::Histogram;

/// Content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How long a page that anybody may read shows the same numbers: precise ones would show single
/// packets. Prometheus asks about as often.
pub const PUBLIC_REFRESH: Duration = Duration::from_secs(30);

/// A part of a program that counts.
pub trait Component: fmt::Debug + Send + Sync + 'static {
    /// Writes down all numbers as they are now.
    ///
    /// # Errors
    ///
    /// Those of `sheet`.
    fn write(&self, sheet: &mut Sheet<'_>) -> fmt::Result;
}

/// Where a [`Component`] writes its numbers.
#[derive(Debug)]
pub struct Sheet<'a>(DescriptorEncoder<'a>);

impl Sheet<'_> {
    /// A number that only grows. `_total` is appended to its name.
    ///
    /// # Errors
    ///
    /// When the page cannot be written.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.begin(name, help, MetricType::Counter)?
            .encode_counter::<NoLabelSet, _, f64>(&value, None)
    }

    /// Seconds that only grow. Name it `…_seconds`; `_total` is appended.
    ///
    /// # Errors
    ///
    /// When the page cannot be written.
    pub fn seconds(&mut self, name: &str, help: &str, value: Duration) -> fmt::Result {
        self.begin(name, help, MetricType::Counter)?
            .encode_counter::<NoLabelSet, _, f64>(&value.as_secs_f64(), None)
    }

    /// Numbers that only grow, told apart by one label. `_total` is appended to the name.
    ///
    /// # Errors
    ///
    /// When the page cannot be written.
    pub fn counters(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        values: &[(&'static str, u64)],
    ) -> fmt::Result {
        self.family(name, help, MetricType::Counter, label, values)
    }

    /// A number that goes up and down.
    ///
    /// # Errors
    ///
    /// When the page cannot be written.
    pub fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.begin(name, help, MetricType::Gauge)?
            .encode_gauge(&value)
    }

    /// Numbers that go up and down, told apart by one label.
    ///
    /// # Errors
    ///
    /// When the page cannot be written.
    pub fn gauges(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        values: &[(&'static str, u64)],
    ) -> fmt::Result {
        self.family(name, help, MetricType::Gauge, label, values)
    }

    /// How often something was how large.
    ///
    /// # Errors
    ///
    /// When the page cannot be written.
    pub fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) -> fmt::Result {
        let encoder = self.begin(name, help, MetricType::Histogram)?;
        histogram.encode(encoder)
    }

    /// Counters or gauges, told apart by one label.
    fn family(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        label: &'static str,
        values: &[(&'static str, u64)],
    ) -> fmt::Result {
        let mut encoder = self.begin(name, help, kind)?;
        for (label_value, value) in values {
            let labels = [(label, *label_value)];
            let mut encoder = encoder.encode_family(&labels)?;
            match kind {
                MetricType::Counter => encoder.encode_counter::<NoLabelSet, _, f64>(value, None)?,
                _ => encoder.encode_gauge(value)?,
            }
        }
        Ok(())
    }

    fn begin<'s>(
        &'s mut self,
        name: &'s str,
        help: &str,
        kind: MetricType,
    ) -> Result<MetricEncoder<'s>, fmt::Error> {
        self.0.encode_descriptor(name, help, None, kind)
    }
}

/// All that a program counts; clones show the same.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    registry: Registry,
    refresh: Duration,
    shown: Mutex<Option<(Instant, String)>>,
}

impl Metrics {
    /// The numbers of the given components, new whenever they are asked for.
    #[must_use]
    pub fn new(components: Vec<Box<dyn Component>>) -> Self {
        Self::refreshed_every(Duration::ZERO, components)
    }

    /// As [`Metrics::new`], but for so long [`Metrics::page`] shows the same numbers.
    #[must_use]
    pub fn refreshed_every(refresh: Duration, components: Vec<Box<dyn Component>>) -> Self {
        let mut registry = Registry::default();
        for component in components {
            registry.register_collector(Box::new(Collected(component)));
        }
        Self(Arc::new(Shared {
            registry,
            refresh,
            shown: Mutex::default(),
        }))
    }

    /// The numbers now, in the text format of OpenMetrics 1.0.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.0.registry).expect("text grows as needed");
        text
    }

    /// As [`Metrics::render`], or what was shown before if that is not long ago.
    #[must_use]
    pub fn page(&self) -> String {
        let now = Instant::now();
        let mut shown = self.0.shown.lock().unwrap_or_else(PoisonError::into_inner);
        match &*shown {
            Some((at, text)) if now.duration_since(*at) < self.0.refresh => text.clone(),
            _ => {
                let text = self.render();
                *shown = Some((now, text.clone()));
                text
            }
        }
    }
}

#[derive(Debug)]
struct Collected(Box<dyn Component>);

impl Collector for Collected {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.write(&mut Sheet(encoder))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[derive(Debug)]
    struct Kitchen {
        cups: Arc<AtomicU64>,
        seconds: Histogram,
    }

    impl Component for Kitchen {
        fn write(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
            let cups = self.cups.load(Ordering::Relaxed);
            sheet.counter("nym_kitchen_cups", "Cups", cups)?;
            sheet.counters(
                "nym_kitchen_eggs",
                "Eggs",
                "how",
                &[("soft", 1), ("hard", 2)],
            )?;
            sheet.gauge("nym_kitchen_guests", "Guests", 4)?;
            sheet.gauges("nym_kitchen_seats", "Seats", "at", &[("bar", 5)])?;
            sheet.histogram("nym_kitchen_wait_seconds", "Wait", &self.seconds)
        }
    }

    fn metrics(refresh: Duration) -> (Metrics, Arc<AtomicU64>) {
        let cups = Arc::new(AtomicU64::new(3));
        let kitchen = Kitchen {
            cups: Arc::clone(&cups),
            seconds: Histogram::new([0.1, 1.0]),
        };
        kitchen.seconds.observe(0.5);
        (
            Metrics::refreshed_every(refresh, vec![Box::new(kitchen)]),
            cups,
        )
    }

    #[test]
    fn every_kind_of_number_is_written_as_prometheus_reads_it() {
        let text = metrics(Duration::ZERO).0.render();
        for line in [
            "# HELP nym_kitchen_cups Cups",
            "# TYPE nym_kitchen_cups counter",
            "nym_kitchen_cups_total 3",
            "nym_kitchen_eggs_total{how=\"soft\"} 1",
            "nym_kitchen_eggs_total{how=\"hard\"} 2",
            "nym_kitchen_guests 4",
            "nym_kitchen_seats{at=\"bar\"} 5",
            "nym_kitchen_wait_seconds_bucket{le=\"0.1\"} 0",
            "nym_kitchen_wait_seconds_bucket{le=\"1.0\"} 1",
            "nym_kitchen_wait_seconds_count 1",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn public_page_changes_at_its_period_and_not_before() {
        let (metrics, cups) = metrics(PUBLIC_REFRESH);
        let before = metrics.page();
        cups.store(9, Ordering::Relaxed);
        tokio::time::advance(PUBLIC_REFRESH - Duration::from_millis(1)).await;
        assert_eq!(metrics.page(), before);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(metrics.page().contains("nym_kitchen_cups_total 9\n"));
    }
}
