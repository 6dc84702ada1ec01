//! Reading the JSON requests of all dialects, and writing JSON.
//!
//! A request is read in one pass that borrows from its text: members that no dialect knows are
//! skipped, never stored, and the others stay raw until the dialect says what it wants of them.
//! So the memory a request takes is in proportion to the members it is about.

use core::fmt;

use serde::Serialize;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::AppError;

/// The members of a JSON request that any dialect knows.
#[derive(Debug, Default)]
pub(super) struct Members<'a> {
    pub(super) connection_id: Member<'a>,
    pub(super) id: Member<'a>,
    pub(super) ids: Member<'a>,
    pub(super) message: Member<'a>,
    pub(super) recipient: Member<'a>,
    pub(super) recipient_address: Member<'a>,
    pub(super) reply_surb: Member<'a>,
    pub(super) reply_surbs: Member<'a>,
    pub(super) sender_tag: Member<'a>,
    pub(super) with_reply_surb: Member<'a>,
    kind: Member<'a>,
}

impl<'a> Members<'a> {
    /// Reads one JSON object.
    pub(super) fn parse(text: &'a str) -> Result<Self, AppError> {
        let mut json = serde_json::Deserializer::from_str(text);
        let members = json
            .deserialize_map(MembersVisitor)
            .and_then(|members| json.end().map(|()| members))
            .map_err(|error| AppError::malformed(error.to_string()))?;
        Ok(members)
    }

    /// The member `type`.
    pub(super) fn kind(&self) -> Result<String, AppError> {
        self.kind.required("type", "a string")
    }
}

/// One member of a request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Member<'a> {
    #[default]
    Absent,
    Given(&'a RawValue),
    Repeated,
}

impl<'a> Member<'a> {
    pub(super) fn is_given(&self) -> bool {
        !matches!(self, Self::Absent)
    }

    /// The JSON text of a member that must be there.
    pub(super) fn raw(&self, name: &str) -> Result<&'a str, AppError> {
        match self {
            Self::Absent => Err(AppError::malformed(format!("missing field `{name}`"))),
            Self::Given(raw) => Ok(raw.get()),
            Self::Repeated => Err(AppError::malformed(format!("duplicate field `{name}`"))),
        }
    }

    /// A member that must be there and be what `expected` says.
    pub(super) fn required<T: DeserializeOwned>(
        &self,
        name: &str,
        expected: &str,
    ) -> Result<T, AppError> {
        let raw = self.raw(name)?;
        serde_json::from_str(raw).map_err(|_| {
            let found = kind_of(raw);
            AppError::malformed(format!(
                "invalid type: {found}, expected {expected} as `{name}`"
            ))
        })
    }

    /// A member that may be missing or null.
    pub(super) fn optional<T: DeserializeOwned>(
        &self,
        name: &str,
        expected: &str,
    ) -> Result<Option<T>, AppError> {
        if self.is_given() {
            self.required(name, expected)
        } else {
            Ok(None)
        }
    }
}

/// The error for a `type` that the dialect does not know.
pub(super) fn unknown_type(found: &str, known: &[&str]) -> AppError {
    // An app may send megabytes as its type; the answer quotes the beginning of it.
    let quoted: String = found.chars().take(64).collect();
    AppError::malformed(format!(
        "unknown variant `{quoted}`, expected one of `{}`",
        known.join("`, `")
    ))
}

/// JSON without the white space between its tokens; everything else stays as it was written.
///
/// `json` must be well-formed.
pub(super) fn compact(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut in_string = false;
    let mut escaped = false;
    for c in json.chars() {
        if in_string {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else if matches!(c, ' ' | '\t' | '\n' | '\r') {
            continue;
        } else {
            in_string = c == '"';
        }
        out.push(c);
    }
    out
}

/// Compact JSON with minimal escaping.
pub(super) fn to_text(value: &impl Serialize) -> String {
    serde_json::to_string(value)
        .expect("invariant: structs of strings and integers always have a JSON form")
}

fn kind_of(raw: &str) -> &'static str {
    match raw.as_bytes().first() {
        Some(b'{') => "map",
        Some(b'[') => "sequence",
        Some(b'"') => "string",
        Some(b't' | b'f') => "boolean",
        Some(b'n') => "null",
        _ => "number",
    }
}

#[derive(serde::Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum Name {
    ConnectionId,
    Id,
    Ids,
    Message,
    Recipient,
    #[serde(rename = "recipient_address")]
    RecipientAddress,
    ReplySurb,
    ReplySurbs,
    SenderTag,
    Type,
    WithReplySurb,
    #[serde(other)]
    Unknown,
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with a member `type`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Members::default();
        while let Some(name) = map.next_key()? {
            let member = match name {
                Name::ConnectionId => &mut members.connection_id,
                Name::Id => &mut members.id,
                Name::Ids => &mut members.ids,
                Name::Message => &mut members.message,
                Name::Recipient => &mut members.recipient,
                Name::RecipientAddress => &mut members.recipient_address,
                Name::ReplySurb => &mut members.reply_surb,
                Name::ReplySurbs => &mut members.reply_surbs,
                Name::SenderTag => &mut members.sender_tag,
                Name::Type => &mut members.kind,
                Name::WithReplySurb => &mut members.with_reply_surb,
                Name::Unknown => {
                    map.next_value::<serde::de::IgnoredAny>()?;
                    continue;
                }
            };
            let value = map.next_value::<&RawValue>()?;
            *member = if member.is_given() {
                Member::Repeated
            } else {
                Member::Given(value)
            };
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn compact_keeps_order_numbers_and_strings_as_written() {
        let given = " { \"b\" : 1.50e+2 , \"a\" : [ 1 , 18446744073709551616 ] , \
                     \"s p\\\" \\\\\" : \" x \\u00e9 \" } ";
        let expected =
            "{\"b\":1.50e+2,\"a\":[1,18446744073709551616],\"s p\\\" \\\\\":\" x \\u00e9 \"}";
        assert_eq!(compact(given), expected);
    }

    #[test]
    fn names_may_be_written_with_escapes_and_unknown_members_are_skipped() {
        let members = Members::parse(r#"{"x":[{"type":1}],"ty\u0070e":"send"}"#).unwrap();
        assert_eq!(members.kind().unwrap(), "send");
    }

    #[test]
    fn an_array_is_no_request() {
        let error = Members::parse(r#"["send","m","r",true]"#).unwrap_err();
        assert!(error.detail.contains("expected an object"), "{error}");
    }

    #[test]
    fn a_repeated_member_is_an_error_only_where_it_matters() {
        let members = Members::parse(r#"{"type":"a","message":1,"message":2}"#).unwrap();
        assert_eq!(members.kind().unwrap(), "a");
        assert_eq!(
            members.message.raw("message").unwrap_err().detail,
            "duplicate field `message`"
        );
    }

    #[test]
    fn deep_nesting_is_no_danger() {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let deep = format!("{}0{}", open.repeat(100_000), close.repeat(100_000));
            let _ = Members::parse(&deep);
            let _ = Members::parse(&format!(r#"{{"type":"send","message":{deep}}}"#));
            let _ = Members::parse(&format!(r#"{{"type":"send","other":{deep}}}"#));
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_members_or_an_error(text in ".{0,200}") {
            let _ = Members::parse(&text);
        }

        #[test]
        fn compact_means_the_same(text in "[ \\[\\]{}:,\"a1\\\\]{0,20}") {
            if let Ok(value) = serde_json::from_str::<serde_json::Value>(&text) {
                let compacted = compact(&text);
                prop_assert_eq!(
                    serde_json::from_str::<serde_json::Value>(&compacted).unwrap(),
                    value
                );
            }
        }
    }
}
