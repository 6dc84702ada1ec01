//! The dialect *seed*: the first one an app meets. Text requests, bare messages.
//!
//! ```text
//! {"type":"selfAddress"}                         -> {"type":"selfAddress","address":"…"}
//! {"type":"send","message":…,"recipient":"…"}    -> {"type":"send"}
//! anything else                                  -> {"type":"error","message":"…"}
//! ```
//!
//! `message` is a string, or any other JSON value, which is sent as its JSON text without white
//! space between tokens: members stay in order, numbers and escapes as they were written. The
//! recipient may also be called `recipient_address`. A push is the message alone, in a text frame
//! when it is UTF-8, else in a binary one. The confirmation is due only once the client has
//! safely accepted the message.

use nym_packet::address::Recipient;
use serde::Serialize;

use super::json::{Members, compact, to_text, unknown_type};
use super::v0_11::{self, parse_recipient_text, utf8};
use super::{AppError, ErrorKind, Form, Received, Request, Unrepresentable};
use crate::ws::WsMessage;

/// Reads a request.
///
/// # Errors
/// Always of kind [`ErrorKind::MalformedRequest`].
pub fn parse_text(text: &str) -> Result<Request, AppError> {
    parse_members(&Members::parse(text)?)
}

pub(super) fn parse_members(members: &Members<'_>) -> Result<Request, AppError> {
    match members.kind()?.as_str() {
        "selfAddress" => Ok(Request::SelfAddress),
        "send" => {
            let raw = members.message.raw("message")?;
            let message = if raw.starts_with('"') {
                members.message.required("message", "a JSON value")?
            } else {
                compact(raw)
            };
            let recipient: String = if members.recipient.is_given() {
                members.recipient.required("recipient", "a string")?
            } else if members.recipient_address.is_given() {
                members
                    .recipient_address
                    .required("recipient_address", "a string")?
            } else {
                members.recipient.required("recipient", "a string")?
            };
            Ok(Request::Send {
                recipient: parse_recipient_text(&recipient)?,
                message: message.into_bytes(),
                reply_surbs: None,
                connection_id: None,
            })
        }
        other => Err(unknown_type(other, &["send", "selfAddress"])),
    }
}

/// The error for a binary frame: the dialect has none.
#[must_use]
pub fn binary_frame_error() -> AppError {
    AppError::new(
        ErrorKind::MalformedRequest,
        "this dialect has no binary requests",
    )
}

/// Writes a request as an app would.
///
/// # Errors
/// When the dialect knows no such request, or its message is not UTF-8.
pub fn encode_request(request: &Request) -> Result<WsMessage, Unrepresentable> {
    let text_request = match request {
        Request::SelfAddress => TextRequest::SelfAddress,
        Request::Send {
            recipient,
            message,
            reply_surbs: None,
            connection_id: None,
        } => TextRequest::Send {
            message: utf8(message)?,
            recipient: recipient.to_string(),
        },
        _ => return Err(Unrepresentable),
    };
    Ok(WsMessage::Text(to_text(&text_request)))
}

/// Writes the confirmation of a `send`.
#[must_use]
pub fn encode_confirmation() -> WsMessage {
    WsMessage::Text(r#"{"type":"send"}"#.to_owned())
}

/// Writes an error.
#[must_use]
pub fn encode_error(error: &AppError) -> WsMessage {
    v0_11::encode_error(Form::Text, error)
}

/// Writes a message from the network: the message alone. How to answer it is lost.
#[must_use]
pub fn encode_received(received: &Received) -> WsMessage {
    core::str::from_utf8(&received.message).map_or_else(
        |_| WsMessage::Binary(received.message.clone()),
        |text| WsMessage::Text(text.to_owned()),
    )
}

/// Writes the address of the client.
#[must_use]
pub fn encode_self_address(address: &Recipient) -> WsMessage {
    v0_11::encode_self_address(Form::Text, address)
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "camelCase")]
enum TextRequest<'a> {
    SelfAddress,
    Send { message: &'a str, recipient: String },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ADDRESS: &str = "GsugBcLyNHtP1BEuz3e97Fv1qNjR9oezXsWQ88epp5F8.\
        7AiD8RdLbuqBEXfDcA4ddYJWw6qVBRez4E3E8cX5h7P3@65SkPxGjnPjm4VUXNZohzMuSAc9JKQzbuqwDWE5odCkm";

    fn sent_message(text: &str) -> String {
        match parse_text(text) {
            Ok(Request::Send {
                message, recipient, ..
            }) => {
                assert_eq!(recipient.to_string(), ADDRESS);
                String::from_utf8(message).unwrap()
            }
            other => panic!("{text} is {other:?}, not a send"),
        }
    }

    #[test]
    fn a_message_may_be_any_json_value() {
        for (given, sent) in [
            (r#""Hello Nym!""#, "Hello Nym!"),
            (r#""a\u00e9\n""#, "a\u{e9}\n"),
            (r#""""#, ""),
            (r#"{ "b" : 1.0 , "a" : [ ] }"#, r#"{"b":1.0,"a":[]}"#),
            ("1e400", "1e400"),
            ("12345678901234567890123", "12345678901234567890123"),
            ("null", "null"),
            ("[1, 2 ]", "[1,2]"),
            ("false", "false"),
        ] {
            let text = format!(r#"{{"type":"send","message": {given} ,"recipient":"{ADDRESS}"}}"#);
            assert_eq!(sent_message(&text), sent, "{given}");
        }
    }

    #[test]
    fn the_recipient_has_two_names_of_which_the_newer_wins() {
        let old = format!(r#"{{"type":"send","message":"m","recipient_address":"{ADDRESS}"}}"#);
        assert_eq!(sent_message(&old), "m");
        let both = format!(
            r#"{{"type":"send","message":"m","recipient_address":"x","recipient":"{ADDRESS}"}}"#
        );
        assert_eq!(sent_message(&both), "m");
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        for (text, said) in [
            (
                r#"{"type":"send","recipient":"x"}"#,
                "malformed request:missing field `message`",
            ),
            (
                r#"{"type":"send","message":1}"#,
                "malformed request:missing field `recipient`",
            ),
            (
                r#"{"type":"send","message":"\ud800","recipient":"x"}"#,
                "malformed request:invalid type: string, expected a JSON value as `message`",
            ),
            (
                r#"{"type":"reply"}"#,
                "malformed request:unknown variant `reply`, expected one of `send`, `selfAddress`",
            ),
        ] {
            assert_eq!(parse_text(text).unwrap_err().to_string(), said);
        }
    }

    #[test]
    fn a_push_is_text_exactly_when_it_is_utf8() {
        assert_eq!(
            encode_received(&Received::new("h\u{e9}".into())),
            WsMessage::Text("h\u{e9}".to_owned())
        );
        assert_eq!(
            encode_received(&Received::new(vec![0xff])),
            WsMessage::Binary(vec![0xff])
        );
    }

    proptest! {
        #[test]
        fn sends_survive_a_round_trip(message: String) {
            let request = Request::Send {
                recipient: ADDRESS.parse().unwrap(),
                message: message.clone().into_bytes(),
                reply_surbs: None,
                connection_id: None,
            };
            let Ok(WsMessage::Text(text)) = encode_request(&request) else {
                panic!("a string is UTF-8");
            };
            prop_assert_eq!(sent_message(&text), message);
        }
    }
}
