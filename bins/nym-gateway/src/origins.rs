//! What connections that come from one address share: how many there may be, and how fast they
//! may go together.
//!
//! An origin is an IPv4 address, or the /64 network of an IPv6 address, which is what one
//! customer gets. It is kept in memory for as long as it is connected or limited, and shown to
//! nobody.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nym_packet::time::Timestamp;

use crate::limits::AddressLimits;
use crate::rate::{Bucket, Rate};

/// Origins that are remembered without a connection. Each takes about 150 bytes, so all of them
/// 10 MB. When there are more, those are forgotten that have no connection.
const REMEMBERED_MAX: usize = 65_536;

/// All origins that are connected or limited.
#[derive(Debug, Default)]
pub(crate) struct Origins(Mutex<HashMap<IpAddr, Arc<Origin>>>);

/// One of them.
#[derive(Debug, Default)]
struct Origin(Mutex<Usage>);

#[derive(Debug, Default)]
struct Usage {
    connections: usize,
    authentications: Bucket,
    registrations: Bucket,
    messages: Bucket,
    bytes: Bucket,
}

impl Origins {
    /// Lets one more connection in; `None` if there are too many from its address.
    pub(crate) fn enter(
        &self,
        address: IpAddr,
        limits: &AddressLimits,
        now: Timestamp,
    ) -> Option<Visit> {
        let mut origins = lock(&self.0);
        if origins.len() >= REMEMBERED_MAX {
            origins.retain(|_, origin| !lock(&origin.0).is_idle(now));
            if origins.len() >= REMEMBERED_MAX {
                origins.retain(|_, origin| lock(&origin.0).connections > 0);
            }
        }
        let origin = Arc::clone(origins.entry(network(address)).or_default());
        let mut usage = lock(&origin.0);
        if usage.connections >= limits.connections {
            return None;
        }
        usage.connections += 1;
        drop(usage);
        Some(Visit(origin))
    }
}

/// A connection, as its origin counts it; leaves when it is dropped.
#[derive(Debug)]
pub(crate) struct Visit(Arc<Origin>);

impl Visit {
    /// Whether one more authentication may be tried now; then it counts.
    pub(crate) fn may_authenticate(&self, limits: &AddressLimits, now: Timestamp) -> bool {
        let mut usage = lock(&self.0.0);
        usage.authentications.try_take(limits.authentications, now)
    }

    /// Whether one more registration may be tried now; then it counts.
    pub(crate) fn may_register(&self, limits: &AddressLimits, now: Timestamp) -> bool {
        let mut usage = lock(&self.0.0);
        usage.registrations.try_take(limits.registrations, now)
    }

    /// A message of `len` bytes was read.
    pub(crate) fn record(&self, limits: &AddressLimits, now: Timestamp, len: u32) {
        let mut usage = lock(&self.0.0);
        usage.messages.take(limits.messages, now, 1);
        usage.bytes.take(limits.bytes, now, len);
    }

    /// When the next message may be read, if not now.
    pub(crate) fn blocked_until(
        &self,
        limits: &AddressLimits,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let usage = lock(&self.0.0);
        let until = |bucket: &Bucket, rate: Rate| bucket.blocked_until(rate, now);
        until(&usage.messages, limits.messages).max(until(&usage.bytes, limits.bytes))
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        lock(&self.0.0).connections -= 1;
    }
}

impl Usage {
    /// Whether forgetting it changes nothing.
    fn is_idle(&self, now: Timestamp) -> bool {
        let buckets = [
            self.authentications,
            self.registrations,
            self.messages,
            self.bytes,
        ];
        self.connections == 0 && buckets.iter().all(|bucket| bucket.is_full(now))
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
    }
}

/// Held for a few lines without waiting; what it guards is never half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Timestamp = Timestamp::from_nanos(1_000);

    fn limits() -> AddressLimits {
        AddressLimits {
            connections: 2,
            registrations: Rate::per_minute(1),
            messages: Rate::per_second(1),
            ..AddressLimits::default()
        }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn connections_of_an_address_are_bounded_and_leave_when_they_end() {
        let origins = Origins::default();
        let enter = |from: &str| origins.enter(address(from), &limits(), NOW);
        let first = enter("192.0.2.1").unwrap();
        let _second = enter("::ffff:192.0.2.1").unwrap();
        assert!(enter("192.0.2.1").is_none());
        let _other = enter("192.0.2.2").unwrap();
        drop(first);
        assert!(enter("192.0.2.1").is_some());
    }

    #[test]
    fn network_of_64_bits_is_one_origin() {
        assert_eq!(
            network(address("2001:db8:1:2:3:4:5:6")),
            address("2001:db8:1:2::")
        );
        assert_eq!(network(address("::ffff:192.0.2.1")), address("192.0.2.1"));
    }

    #[test]
    fn limits_outlive_the_connection() {
        let origins = Origins::default();
        let visit = origins.enter(address("::1"), &limits(), NOW).unwrap();
        assert!(visit.may_register(&limits(), NOW));
        drop(visit);
        let visit = origins.enter(address("::1"), &limits(), NOW).unwrap();
        assert!(!visit.may_register(&limits(), NOW));
        assert!(visit.may_authenticate(&limits(), NOW));
        assert!(visit.may_register(&limits(), NOW + Duration::from_secs(60)));
    }

    #[test]
    fn messages_of_all_connections_count_together() {
        let origins = Origins::default();
        let [first, second] =
            [1, 2].map(|_| origins.enter(address("::1"), &limits(), NOW).unwrap());
        assert_eq!(second.blocked_until(&limits(), NOW), None);
        for _ in 0..5 {
            first.record(&limits(), NOW, 1);
        }
        let next = NOW + Duration::from_secs(1);
        assert_eq!(second.blocked_until(&limits(), NOW), Some(next));
    }

    #[test]
    fn bytes_of_all_connections_count_together() {
        let origins = Origins::default();
        let limits = AddressLimits {
            bytes: Rate::per_second(100),
            ..AddressLimits::default()
        };
        let enter = || origins.enter(address("::1"), &limits, NOW).unwrap();
        let [first, second] = [enter(), enter()];
        first.record(&limits, NOW, 499);
        assert_eq!(second.blocked_until(&limits, NOW), None);
        second.record(&limits, NOW, 101);
        // 500 are the burst, and the first of those comes without a wait.
        let free = NOW + Duration::from_millis(1_010);
        assert_eq!(first.blocked_until(&limits, NOW), Some(free));
        assert_eq!(first.blocked_until(&limits, free), None);
    }

    #[test]
    fn origins_without_a_connection_are_forgotten_when_there_are_too_many() {
        let origins = Origins::default();
        let stays = origins.enter(address("::1"), &limits(), NOW).unwrap();
        for number in 1..REMEMBERED_MAX {
            let address = IpAddr::from(u32::try_from(number).unwrap().to_be_bytes());
            let visit = origins.enter(address, &limits(), NOW).unwrap();
            assert!(visit.may_register(&limits(), NOW));
        }
        assert_eq!(lock(&origins.0).len(), REMEMBERED_MAX);
        let _one_more = origins.enter(address("192.0.2.1"), &limits(), NOW).unwrap();
        assert_eq!(lock(&origins.0).len(), 2);
        drop(stays);
    }
}
