//! Kinds of values that many configuration files share.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

/// A duration in a configuration file.
///
/// Read from a string (`"1m 30s"`, `"20ms"`), a whole number of milliseconds, or a table
/// `{ secs = 5, nanos = 0 }`; written as a string.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct HumanDuration(pub Duration);

impl HumanDuration {
    /// A number of milliseconds, for constants of defaults.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// A number of seconds, for constants of defaults.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    /// The duration.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl From<Duration> for HumanDuration {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl From<HumanDuration> for Duration {
    fn from(duration: HumanDuration) -> Self {
        duration.0
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

/// A text that is no duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a duration is written such as \"1m 30s\" or \"20ms\"")]
#[non_exhaustive]
pub struct NoDuration;

impl std::str::FromStr for HumanDuration {
    type Err = NoDuration;

    fn from_str(text: &str) -> Result<Self, NoDuration> {
        let parsed = humantime::parse_duration(text);
        parsed.map(Self).map_err(|_| NoDuration)
    }
}

impl Serialize for HumanDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DurationVisitor)
    }
}

struct DurationVisitor;

impl<'de> Visitor<'de> for DurationVisitor {
    type Value = HumanDuration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as \"1m 30s\" or \"20ms\", or a whole number of milliseconds")
    }

    fn visit_i64<E: de::Error>(self, millis: i64) -> Result<HumanDuration, E> {
        u64::try_from(millis)
            .map(HumanDuration::from_millis)
            .map_err(|_| E::invalid_value(de::Unexpected::Signed(millis), &self))
    }

    fn visit_u64<E: de::Error>(self, millis: u64) -> Result<HumanDuration, E> {
        Ok(HumanDuration::from_millis(millis))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<HumanDuration, E> {
        text.parse()
            .map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<HumanDuration, A::Error> {
        let (mut secs, mut nanos) = (None, None);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "nanos" => nanos = Some(map.next_value::<u32>()?),
                "secs" => secs = Some(map.next_value::<u64>()?),
                other => return Err(de::Error::unknown_field(other, &["secs", "nanos"])),
            }
        }
        let secs = secs.ok_or_else(|| de::Error::missing_field("secs"))?;
        Duration::from_secs(secs)
            .checked_add(Duration::from_nanos(nanos.unwrap_or(0).into()))
            .map(HumanDuration)
            .ok_or_else(|| de::Error::invalid_value(de::Unexpected::Unsigned(secs), &self))
    }
}

/// Texts in a configuration file: one string or an array of strings; written as an array.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct OneOrMany(pub Vec<String>);

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextsVisitor)
    }
}

struct TextsVisitor;

impl<'de> Visitor<'de> for TextsVisitor {
    type Value = OneOrMany;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or an array of strings")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<OneOrMany, E> {
        Ok(OneOrMany(vec![text.to_owned()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<OneOrMany, A::Error> {
        let mut texts = Vec::new();
        while let Some(text) = seq.next_element()? {
            texts.push(text);
        }
        Ok(OneOrMany(texts))
    }
}

/// A file that a flag names, as it is to be written into a configuration file, which is read from
/// elsewhere, too: absolute. An empty text stays, as it names none.
///
/// # Errors
///
/// When there is no current directory.
pub fn absolute_path(text: &str) -> io::Result<PathBuf> {
    if text.is_empty() {
        return Ok(PathBuf::new());
    }
    std::path::absolute(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Serialize, Deserialize)]
    struct Document {
        value: HumanDuration,
    }

    fn read(value: &str) -> Option<Duration> {
        toml::from_str::<Document>(&format!("value = {value}"))
            .ok()
            .map(|d| d.value.get())
    }

    #[test]
    fn durations_are_read_in_every_documented_form() {
        assert_eq!(read("\"1m 30s\""), Some(Duration::from_secs(90)));
        assert_eq!(read("\"20ms\""), Some(Duration::from_millis(20)));
        assert_eq!(read("1500"), Some(Duration::from_millis(1500)));
        assert_eq!(read("0"), Some(Duration::ZERO));
        assert_eq!(
            read("{ secs = 1, nanos = 500000000 }"),
            Some(Duration::from_millis(1500))
        );
        assert_eq!(read("{ secs = 2 }"), Some(Duration::from_secs(2)));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for bad in [
            "-1",
            "1.5",
            "\"\"",
            "\"soon\"",
            "true",
            "{ nanos = 1 }",
            "{ secs = -1 }",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
        // The largest number that TOML has.
        assert!(read("{ secs = 9223372036854775807, nanos = 4294967295 }").is_some());
    }

    #[test]
    fn one_text_and_many_are_read() {
        #[derive(Deserialize)]
        struct Document {
            value: OneOrMany,
        }
        let read = |value: &str| {
            toml::from_str::<Document>(&format!("value = {value}"))
                .ok()
                .map(|d| d.value.0)
        };
        assert_eq!(read("\"a\""), Some(vec!["a".to_owned()]));
        assert_eq!(
            read("[\"a\", \"b\"]"),
            Some(vec!["a".to_owned(), "b".to_owned()])
        );
        assert_eq!(read("[]"), Some(Vec::new()));
        assert_eq!(read("1"), None);
        assert_eq!(read("[1]"), None);
    }

    proptest! {
        #[test]
        fn a_written_duration_is_read_back(nanos in 0u64..=u64::MAX / 2) {
            let value = HumanDuration(Duration::from_nanos(nanos));
            let text = toml::to_string(&Document { value }).unwrap();
            let back: Document = toml::from_str(&text).unwrap();
            prop_assert_eq!(back.value, value);
        }

        #[test]
        fn any_text_gives_a_duration_or_an_error(text in ".{0,40}") {
            let _ = text.parse::<HumanDuration>();
        }
    }

    #[test]
    fn a_file_of_a_flag_is_found_from_everywhere() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(absolute_path("ca.pem").unwrap(), here.join("ca.pem"));
        assert_eq!(absolute_path("/ca.pem").unwrap(), PathBuf::from("/ca.pem"));
        assert_eq!(absolute_path("").unwrap(), PathBuf::new());
    }
}
