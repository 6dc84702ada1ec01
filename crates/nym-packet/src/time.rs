//! Time as the cores see it: a number handed in by whoever runs them.

use core::ops::{Add, AddAssign};
use core::time::Duration;

/// A moment, in nanoseconds since a start that the shell chose.
///
/// Two timestamps are comparable only if they come from the same clock. The range is about 584
/// years; arithmetic saturates at both ends, so a hostile duration cannot make it panic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The start itself.
    pub const ZERO: Self = Self(0);

    /// The last representable moment.
    pub const MAX: Self = Self(u64::MAX);

    /// The moment `nanos` nanoseconds after the start.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the start.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero if it is not after it.
    #[must_use]
    pub const fn saturating_duration_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    /// The moment `duration` later, at most [`Timestamp::MAX`].
    fn add(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

impl AddAssign<Duration> for Timestamp {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adding_a_duration_moves_forward_by_it() {
        let start = Timestamp::from_nanos(5);
        let later = start + Duration::from_micros(1);
        assert_eq!(later.as_nanos(), 1005);
        assert_eq!(
            later.saturating_duration_since(start),
            Duration::from_micros(1)
        );
        assert_eq!(start.saturating_duration_since(later), Duration::ZERO);
    }

    #[test]
    fn adding_saturates_instead_of_wrapping() {
        assert_eq!(Timestamp::from_nanos(1) + Duration::MAX, Timestamp::MAX);
        assert_eq!(Timestamp::MAX + Duration::from_nanos(1), Timestamp::MAX);
    }
}
