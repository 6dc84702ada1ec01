//! What a crowd measured.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::Crowd;
use crate::report::{Latency, float};

/// Version of the JSON form; it changes when a member goes or changes its meaning.
const FORM: u32 = 1;

/// What a crowd measured; serialises as the `--json` output.
#[derive(Clone, Debug, Serialize)]
pub struct CrowdReport {
    /// Version of this form, 1.
    pub form: u32,
    /// Clients that were connected together.
    pub clients: u32,
    /// Connections with a registration, per second.
    pub registered_per_second: f64,
    /// Connections with an authentication, per second.
    pub authenticated_per_second: f64,
    /// Resident memory of the gateway before anybody connected, in bytes.
    pub memory_before_bytes: Option<u64>,
    /// The same while all were connected and idle.
    pub memory_idle_bytes: Option<u64>,
    /// The same after all messages.
    pub memory_after_bytes: Option<u64>,
    /// What each idle client adds.
    pub memory_per_client_bytes: Option<u64>,
    /// Share of one processor that the gateway uses while all are idle, in percent.
    pub idle_processor_percent: Option<f64>,
    /// Messages sent.
    pub sent: u32,
    /// Messages that did not reach their client.
    pub lost: u64,
    /// From handing a packet to the gateway's link to its message at the client.
    pub push_latency: Option<Latency>,
}

/// What was seen.
pub(super) struct Measured {
    pub(super) registered_in: Duration,
    pub(super) authenticated_in: Duration,
    pub(super) memory_before: Option<u64>,
    pub(super) memory_idle: Option<u64>,
    pub(super) memory_after: Option<u64>,
    pub(super) idle_processor_time: Option<Duration>,
    pub(super) latencies: Vec<Duration>,
}

impl CrowdReport {
    pub(super) fn new(crowd: &Crowd, measured: &Measured) -> Self {
        let (clients, sent) = (crowd.clients.get(), crowd.messages.get());
        let received = u64::try_from(measured.latencies.len()).unwrap_or(u64::MAX);
        let per_second = |span: Duration| float(clients.into()) / span.as_secs_f64();
        let memory = measured.memory_before.zip(measured.memory_idle);
        Self {
            form: FORM,
            clients,
            registered_per_second: per_second(measured.registered_in),
            authenticated_per_second: per_second(measured.authenticated_in),
            memory_before_bytes: measured.memory_before,
            memory_idle_bytes: measured.memory_idle,
            memory_after_bytes: measured.memory_after,
            memory_per_client_bytes: memory
                .map(|(before, idle)| idle.saturating_sub(before) / u64::from(clients)),
            idle_processor_percent: measured
                .idle_processor_time
                .filter(|_| !crowd.idle.is_zero())
                .map(|time| 100.0 * time.as_secs_f64() / crowd.idle.as_secs_f64()),
            sent,
            lost: u64::from(sent).saturating_sub(received),
            push_latency: Latency::of(measured.latencies.clone()),
        }
    }
}

impl fmt::Display for CrowdReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "clients   {}, {:.0} registrations and {:.0} authentications per second",
            self.clients, self.registered_per_second, self.authenticated_per_second
        )?;
        let mebibytes = |bytes: u64| float(bytes) / f64::from(1 << 20);
        if let (Some(before), Some(idle), Some(after), Some(each)) = (
            self.memory_before_bytes,
            self.memory_idle_bytes,
            self.memory_after_bytes,
            self.memory_per_client_bytes,
        ) {
            write!(
                out,
                "\nmemory    {:.1} MiB before, {:.1} MiB idle ({each} bytes per client), \
                 {:.1} MiB after the messages",
                mebibytes(before),
                mebibytes(idle),
                mebibytes(after),
            )?;
        }
        if let Some(percent) = self.idle_processor_percent {
            write!(out, "\nprocessor {percent:.1} % of one while idle")?;
        }
        write!(out, "\nmessages  {} sent, {} lost", self.sent, self.lost)?;
        if let Some(latency) = self.push_latency {
            write!(out, "\nlatency   {latency}")?;
        }
        Ok(())
    }
}
