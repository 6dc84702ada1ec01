//! The switch that lets plain links with 0.11 peers through.
//!
//! Links of the 0.11 network are in clear. A program of ours takes part in such links only while
//! its operator says so, for ever or until a day:
//!
//! ```
//! use nym_transport::legacy::LegacyPeers;
//!
//! let until: LegacyPeers = "allow until 2027-01-01".parse()?;
//! let new_year = 1_798_761_600; // seconds since 1970
//! assert!(until.check(new_year - 1).is_ok());
//! assert!(until.check(new_year).is_err());
//! assert!(LegacyPeers::default().check(0).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};

use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{Date, OffsetDateTime};

const DATE: &[BorrowedFormatItem<'static>] = format_description!("[year]-[month]-[day]");

/// Whether links may be plain, as in the 0.11 network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LegacyPeers {
    /// Every link is encrypted.
    #[default]
    Deny,
    /// Links with peers that know no better are plain.
    Allow,
    /// The same, before that day begins (UTC).
    AllowUntil(Date),
}

/// Why a link may not be plain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LegacyDenied {
    /// The configuration does not allow it.
    #[error("legacy_peers is \"deny\"")]
    Denied,
    /// The configuration allowed it until then.
    #[error("the legacy switch expired on {on}")]
    Expired {
        /// The first day without.
        on: Date,
    },
}

/// A text is no value of the switch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected \"deny\", \"allow\" or \"allow until YYYY-MM-DD\"")]
pub struct InvalidLegacyPeers;

impl LegacyPeers {
    /// Whether a link may be plain at a moment, in seconds since 1970.
    ///
    /// # Errors
    ///
    /// [`LegacyDenied`] tells why not.
    pub fn check(self, unix_secs: u64) -> Result<(), LegacyDenied> {
        match self {
            Self::Deny => Err(LegacyDenied::Denied),
            Self::Allow => Ok(()),
            Self::AllowUntil(on) => {
                // A clock that shows a year nobody can write is past every day.
                let now = i64::try_from(unix_secs)
                    .ok()
                    .and_then(|secs| OffsetDateTime::from_unix_timestamp(secs).ok());
                match now {
                    Some(now) if now.date() < on => Ok(()),
                    _ => Err(LegacyDenied::Expired { on }),
                }
            }
        }
    }
}

impl FromStr for LegacyPeers {
    type Err = InvalidLegacyPeers;

    fn from_str(text: &str) -> Result<Self, InvalidLegacyPeers> {
        match text.trim() {
            "deny" => Ok(Self::Deny),
            "allow" => Ok(Self::Allow),
            other => other
                .strip_prefix("allow until ")
                .and_then(|date| Date::parse(date.trim(), DATE).ok())
                .map(Self::AllowUntil)
                .ok_or(InvalidLegacyPeers),
        }
    }
}

impl fmt::Display for LegacyPeers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deny => f.write_str("deny"),
            Self::Allow => f.write_str("allow"),
            Self::AllowUntil(on) => write!(f, "allow until {on}"),
        }
    }
}

/// The switch of a running program, which its operator may turn; clones are the same switch.
#[derive(Debug, Clone, Default)]
pub struct LegacySwitch(Arc<RwLock<LegacyPeers>>);

impl LegacySwitch {
    /// As [`LegacyPeers::check`], with the switch as it is now.
    ///
    /// # Errors
    ///
    /// [`LegacyDenied`] tells why not.
    pub fn check(&self, unix_secs: u64) -> Result<(), LegacyDenied> {
        self.now().check(unix_secs)
    }

    /// How the switch stands.
    #[must_use]
    pub fn now(&self) -> LegacyPeers {
        *self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Turns the switch, for links that are made from here on.
    pub fn set(&self, to: LegacyPeers) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = to;
    }
}

impl From<LegacyPeers> for LegacySwitch {
    fn from(peers: LegacyPeers) -> Self {
        Self(Arc::new(RwLock::new(peers)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use time::macros::date;

    const DAY: u64 = 24 * 3600;

    #[test]
    fn the_switch_ends_as_its_day_begins() {
        let switch = LegacyPeers::AllowUntil(date!(1970 - 01 - 03));
        assert_eq!(switch.check(2 * DAY - 1), Ok(()));
        let on = date!(1970 - 01 - 03);
        assert_eq!(switch.check(2 * DAY), Err(LegacyDenied::Expired { on }));
        assert_eq!(switch.check(u64::MAX), Err(LegacyDenied::Expired { on }));
        let error = switch.check(2 * DAY).unwrap_err();
        assert_eq!(error.to_string(), "the legacy switch expired on 1970-01-03");
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "yes",
            "Allow",
            "allow until",
            "allow until tomorrow",
            "allow until 2027-02-30",
            "allow 2027-01-01",
        ] {
            assert_eq!(
                text.parse::<LegacyPeers>(),
                Err(InvalidLegacyPeers),
                "{text}"
            );
        }
    }

    #[test]
    fn clones_are_the_same_switch() {
        let switch = LegacySwitch::from(LegacyPeers::Allow);
        let clone = switch.clone();
        assert_eq!(clone.check(0), Ok(()));
        switch.set(LegacyPeers::Deny);
        assert_eq!(clone.check(0), Err(LegacyDenied::Denied));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(days in 0i32..2_900_000) {
            let day = date!(1970 - 01 - 01).to_julian_day().checked_add(days).unwrap();
            let day = Date::from_julian_day(day).unwrap();
            for switch in [LegacyPeers::Deny, LegacyPeers::Allow, LegacyPeers::AllowUntil(day)] {
                prop_assert_eq!(switch.to_string().parse(), Ok(switch));
            }
        }

        #[test]
        fn any_text_is_a_switch_or_an_error(text in ".{0,40}") {
            let _ = text.parse::<LegacyPeers>();
            let _ = format!("allow until {text}").parse::<LegacyPeers>();
        }
    }
}
