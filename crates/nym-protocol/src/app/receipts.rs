//! Receipts: what became of a message, for apps that give their messages a name.
//!
//! A JSON `send`, `sendAnonymous` or `reply` of any dialect may carry a member `id`. Only then
//! the app is also told, under that id and always in text:
//!
//! ```text
//! {"type":"accepted","id":…}                     safely taken over (in seed: {"type":"send","id":…})
//! {"type":"delivered","id":…,"latencyMs":n}      every packet was acknowledged
//! {"type":"failed","id":…,"message":"…"}         given up
//! {"type":"error","message":"…","id":…}          refused
//!
//! {"type":"receipts","ids":[…]} -> {"type":"receipts","receipts":[…]}, one entry per id:
//!     {"id":…,"status":"pending"}
//!     {"id":…,"status":"delivered","latencyMs":n}
//!     {"id":…,"status":"failed","message":"…"}
//!     {"id":…,"status":"unknown"}
//! ```
//!
//! A binary frame has no members, so its id comes in a text frame before it:
//!
//! ```text
//! {"type":"binaryId","id":…}                     no answer; the next binary frame has the id
//! ```
//!
//! Delivered means pushed to the recipient's client or kept durably by its gateway. After an
//! answer of `pending` the app is told how the message ends, whoever sent it.

use core::fmt;
use core::str::FromStr;
use core::time::Duration;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::AppError;
use super::json::{Members, to_text};
use crate::ws::WsMessage;

/// The name that an app gave to a message: a JSON string or number, kept as JSON.
///
/// A number is kept as it was written, so `1` and `1.0` are two ids. A string is kept in its
/// shortest form, so two strings are one id when they mean the same text.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RequestId(Box<str>);

impl RequestId {
    /// Bytes of the longest id, written as JSON with the quotes of a string.
    pub const LEN_MAX: usize = 128;

    /// The id as JSON.
    #[must_use]
    pub fn as_json(&self) -> &str {
        &self.0
    }
}

/// Reads JSON, as [`RequestId::as_json`] gives it.
impl FromStr for RequestId {
    type Err = RequestIdError;

    fn from_str(json: &str) -> Result<Self, RequestIdError> {
        let raw: &RawValue = serde_json::from_str(json).map_err(|_| RequestIdError::Kind)?;
        let json = match raw.get().as_bytes().first() {
            Some(b'"') => {
                let text: String =
                    serde_json::from_str(raw.get()).map_err(|_| RequestIdError::Kind)?;
                to_text(&text)
            }
            Some(b'-' | b'0'..=b'9') => raw.get().to_owned(),
            _ => return Err(RequestIdError::Kind),
        };
        if json.len() > Self::LEN_MAX {
            return Err(RequestIdError::Length { found: json.len() });
        }
        Ok(Self(json.into()))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Writes the JSON value, with `serde_json` only.
impl Serialize for RequestId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

/// Why a JSON value is no [`RequestId`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestIdError {
    /// It is neither a string nor a number.
    #[error("an id is a string or a number")]
    Kind,
    /// It is too long.
    #[error("an id has at most {max} bytes as JSON, found {found}", max = RequestId::LEN_MAX)]
    Length {
        /// Bytes of JSON given.
        found: usize,
    },
}

/// How a message ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// Every packet was acknowledged: pushed to the recipient's client or kept by its gateway.
    Delivered {
        /// From acceptance to the last acknowledgement.
        latency: Duration,
    },
    /// It was given up.
    Failed {
        /// Why, for a person to read.
        reason: String,
    },
}

/// What is known of a message that an app asks about.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ReceiptStatus {
    /// It has ended.
    Ended(Outcome),
    /// It was accepted and has not ended.
    Pending,
    /// No message of this id is known: it was never accepted, or ended long ago.
    Unknown,
}

/// Ids that one request may ask about.
pub(super) const IDS_MAX: usize = 1_000;

/// The member `id` of a request that may carry one.
pub(super) fn request_id(members: &Members<'_>) -> Result<Option<RequestId>, AppError> {
    if !members.id.is_given() {
        return Ok(None);
    }
    let id = members.id.raw("id")?.parse();
    id.map(Some).map_err(malformed_id)
}

/// Whether this gives an id to the next binary frame.
pub(super) fn is_binary_id(members: &Members<'_>) -> bool {
    matches!(members.kind().as_deref(), Ok("binaryId"))
}

/// The id that it gives.
pub(super) fn binary_id(members: &Members<'_>) -> Result<RequestId, AppError> {
    members.id.raw("id")?.parse().map_err(malformed_id)
}

/// The member `ids` of a request for receipts.
pub(super) fn parse_ids(members: &Members<'_>) -> Result<Vec<RequestId>, AppError> {
    let expected = "a list of strings and numbers";
    let Ids(ids) = members.ids.required("ids", expected)?;
    ids
}

/// A list of ids, or what is wrong with it. What follows a fault, or too many, is not kept.
struct Ids(Result<Vec<RequestId>, AppError>);

impl<'de> Deserialize<'de> for Ids {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(IdsVisitor)
    }
}

struct IdsVisitor;

impl<'de> Visitor<'de> for IdsVisitor {
    type Value = Ids;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of ids")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Ids, A::Error> {
        let mut ids = Ok(Vec::new());
        while let Some(raw) = list.next_element::<Box<RawValue>>()? {
            let Ok(kept) = &mut ids else {
                continue;
            };
            if kept.len() == IDS_MAX {
                ids = Err(AppError::malformed(format!(
                    "at most {IDS_MAX} ids at a time"
                )));
                continue;
            }
            match raw.get().parse() {
                Ok(id) => kept.push(id),
                Err(error) => ids = Err(malformed_id(error)),
            }
        }
        Ok(Ids(ids))
    }
}

fn malformed_id(error: RequestIdError) -> AppError {
    AppError::malformed(format!("malformed id: {error}"))
}

/// Writes that a message was safely taken over.
#[must_use]
pub fn encode_accepted(id: &RequestId) -> WsMessage {
    text(&Frame::Accepted { id })
}

/// Writes how a message ended.
#[must_use]
pub fn encode_outcome(id: &RequestId, outcome: &Outcome) -> WsMessage {
    text(&match outcome {
        Outcome::Delivered { latency } => Frame::Delivered {
            id,
            latency_ms: millis(*latency),
        },
        Outcome::Failed { reason } => Frame::Failed {
            id,
            message: reason,
        },
    })
}

/// Writes that a request was refused, naming the request.
pub(super) fn encode_error(id: &RequestId, error: &AppError) -> WsMessage {
    text(&Frame::Error {
        message: error.to_string(),
        id,
    })
}

/// Writes the confirmation of the dialect *seed*, naming the request.
pub(super) fn encode_confirmation(id: &RequestId) -> WsMessage {
    text(&Frame::Send { id })
}

/// Writes what is known, in the order in which it was asked for.
#[must_use]
pub fn encode_receipts(receipts: &[(RequestId, ReceiptStatus)]) -> WsMessage {
    let receipts = receipts.iter().map(|(id, status)| {
        let mut receipt = Receipt {
            id,
            status: "unknown",
            latency_ms: None,
            message: None,
        };
        match status {
            ReceiptStatus::Ended(Outcome::Delivered { latency }) => {
                receipt.status = "delivered";
                receipt.latency_ms = Some(millis(*latency));
            }
            ReceiptStatus::Ended(Outcome::Failed { reason }) => {
                receipt.status = "failed";
                receipt.message = Some(reason);
            }
            ReceiptStatus::Pending => receipt.status = "pending",
            ReceiptStatus::Unknown => {}
        }
        receipt
    });
    text(&Frame::Receipts {
        receipts: receipts.collect(),
    })
}

fn text(frame: &Frame<'_>) -> WsMessage {
    WsMessage::Text(to_text(frame))
}

fn millis(latency: Duration) -> u64 {
    u64::try_from(latency.as_millis()).unwrap_or(u64::MAX)
}

#[derive(Serialize)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
enum Frame<'a> {
    Accepted { id: &'a RequestId },
    Delivered { id: &'a RequestId, latency_ms: u64 },
    Error { message: String, id: &'a RequestId },
    Failed { id: &'a RequestId, message: &'a str },
    Receipts { receipts: Vec<Receipt<'a>> },
    Send { id: &'a RequestId },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Receipt<'a> {
    id: &'a RequestId,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(json: &str) -> RequestId {
        json.parse().unwrap()
    }

    #[test]
    fn a_number_is_echoed_as_it_was_written_and_a_string_by_what_it_means() {
        for (given, kept) in [
            ("0", "0"),
            ("-1.50e+2", "-1.50e+2"),
            ("12345678901234567890123", "12345678901234567890123"),
            ("\"\"", "\"\""),
            ("\"a\\u0062\\/\\n\"", "\"ab/\\n\""),
            ("\"é\"", "\"é\""),
        ] {
            assert_eq!(id(given).as_json(), kept);
            let frame = WsMessage::Text(format!(r#"{{"type":"accepted","id":{kept}}}"#));
            assert_eq!(encode_accepted(&id(given)), frame);
        }
    }

    #[test]
    fn whatever_is_neither_string_nor_number_is_no_id() {
        for given in ["null", "true", "[1]", "{}", "", "1 2", "\"\\ud800\"", "nan"] {
            assert_eq!(
                given.parse::<RequestId>(),
                Err(RequestIdError::Kind),
                "{given}"
            );
        }
    }

    #[test]
    fn an_id_of_128_bytes_fits_and_one_of_129_does_not() {
        assert_eq!(id(&"1".repeat(128)).as_json().len(), 128);
        assert!(
            format!("\"{}\"", "a".repeat(126))
                .parse::<RequestId>()
                .is_ok()
        );
        let error = format!("\"{}\"", "a".repeat(127)).parse::<RequestId>();
        let expected = "an id has at most 128 bytes as JSON, found 129";
        assert_eq!(error.unwrap_err().to_string(), expected);
    }

    #[test]
    fn every_end_has_its_frame() {
        let latency = Duration::from_micros(312_900);
        let reason = "a \"reason\"".to_owned();
        let frame = |outcome: &Outcome| match encode_outcome(&id("7"), outcome) {
            WsMessage::Text(text) => text,
            WsMessage::Binary(_) => panic!("receipts are text"),
        };
        assert_eq!(
            frame(&Outcome::Delivered { latency }),
            r#"{"type":"delivered","id":7,"latencyMs":312}"#
        );
        assert_eq!(
            frame(&Outcome::Failed { reason }),
            r#"{"type":"failed","id":7,"message":"a \"reason\""}"#
        );
    }

    #[test]
    fn receipts_come_in_the_order_of_their_ids() {
        let latency = Duration::from_secs(1);
        let reason = "no".to_owned();
        let receipts = [
            (id("\"b\""), ReceiptStatus::Pending),
            (
                id("1"),
                ReceiptStatus::Ended(Outcome::Delivered { latency }),
            ),
            (id("2"), ReceiptStatus::Ended(Outcome::Failed { reason })),
            (id("\"a\""), ReceiptStatus::Unknown),
        ];
        let expected = concat!(
            r#"{"type":"receipts","receipts":[{"id":"b","status":"pending"},"#,
            r#"{"id":1,"status":"delivered","latencyMs":1000},"#,
            r#"{"id":2,"status":"failed","message":"no"},{"id":"a","status":"unknown"}]}"#
        );
        assert_eq!(
            encode_receipts(&receipts),
            WsMessage::Text(expected.to_owned())
        );
    }

    proptest! {
        #[test]
        fn any_text_gives_an_id_that_reads_back_or_an_error(
            text in prop_oneof![".{0,150}", "[-+.0-9eE]{0,20}", "\"[^\"\\\\]{0,40}\""],
        ) {
            if let Ok(id) = text.parse::<RequestId>() {
                prop_assert_eq!(id.as_json().parse(), Ok(id.clone()));
                prop_assert_eq!(to_text(&id), id.as_json());
            }
        }
    }
}
