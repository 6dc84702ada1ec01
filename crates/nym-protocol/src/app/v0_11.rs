//! The dialect *v0.11*: JSON and binary frames, reply SURBs in the hands of the app.
//!
//! Binary layouts, integers big-endian:
//!
//! ```text
//! send         00 | flag (1): 0 or 1 = with reply SURB | recipient (96) | len (8) | message
//! reply        01 | surb_len (8) | SURB | len (8) | message
//! selfAddress  02
//!
//! error        00 | code (1) | len (8) | detail
//! received     01 | 00 | len (8) | message
//!              01 | 01 | surb_len (8) | SURB | len (8) | message
//! selfAddress  02 | recipient (96)
//! ```
//!
//! `send` and `reply` have no confirmation; only faults and `selfAddress` are answered.

use core::error::Error as _;

use nym_packet::address::{Recipient, RecipientError};
use nym_packet::reply::ReplySurb;
use serde::Serialize;

use super::binary::{Reader, put_bytes};
use super::json::{Members, to_text, unknown_type};
use super::{AppError, ErrorKind, Form, Received, ReplyTo, Request, Response, Unrepresentable};
use crate::ws::WsMessage;

const SEND: u8 = 0x00;
const REPLY: u8 = 0x01;
const SELF_ADDRESS: u8 = 0x02;

pub(super) const ERROR_RESPONSE: u8 = 0x00;
pub(super) const RECEIVED_RESPONSE: u8 = 0x01;
pub(super) const SELF_ADDRESS_RESPONSE: u8 = 0x02;

/// Length of a recipient in binary frames.
pub(super) const RECIPIENT_LEN: usize = 96;
/// Length of the lengths in binary frames.
pub(super) const LEN_LEN: usize = 8;

/// Reads a JSON request.
///
/// # Errors
/// Always of kind [`ErrorKind::MalformedRequest`].
pub fn parse_text(text: &str) -> Result<Request, AppError> {
    parse_members(&Members::parse(text)?)
}

pub(super) fn parse_members(members: &Members<'_>) -> Result<Request, AppError> {
    match members.kind()?.as_str() {
        "reply" => {
            let message: String = members.message.required("message", "a string")?;
            let surb: String = members.reply_surb.required("replySurb", "a string")?;
            Ok(Request::Reply {
                to: ReplyTo::Surb(Box::new(parse_surb_text(&surb)?)),
                message: message.into_bytes(),
                connection_id: None,
            })
        }
        "selfAddress" => Ok(Request::SelfAddress),
        "send" => {
            let message: String = members.message.required("message", "a string")?;
            let recipient: String = members.recipient.required("recipient", "a string")?;
            let with_reply_surb: bool = members
                .with_reply_surb
                .required("withReplySurb", "a boolean")?;
            Ok(Request::Send {
                recipient: parse_recipient_text(&recipient)?,
                message: message.into_bytes(),
                reply_surbs: with_reply_surb.then_some(1),
                connection_id: None,
            })
        }
        other => Err(unknown_type(other, &["send", "selfAddress", "reply"])),
    }
}

/// Reads a binary request.
///
/// # Errors
/// The first of: [`ErrorKind::EmptyRequest`], [`ErrorKind::UnknownRequest`],
/// [`ErrorKind::TooShortRequest`], [`ErrorKind::MalformedRequest`] (flag, recipient, SURB length,
/// SURB, message length).
pub fn parse_binary(frame: &[u8]) -> Result<Request, AppError> {
    let Some((&tag, body)) = frame.split_first() else {
        return Err(AppError::new(ErrorKind::EmptyRequest, "no data provided"));
    };
    match tag {
        SEND => {
            let too_short = too_short_request("send");
            let mut body = Reader::new(body, 1 + RECIPIENT_LEN + LEN_LEN, too_short)?;
            let reply_surbs = match body.byte()? {
                0 => None,
                1 => Some(1),
                flag => {
                    return Err(AppError::malformed(format!(
                        "invalid reply surb flag {flag}"
                    )));
                }
            };
            let recipient = parse_recipient_bytes(&body.array()?)?;
            let message = body.message("data", ErrorKind::MalformedRequest)?;
            Ok(Request::Send {
                recipient,
                message,
                reply_surbs,
                connection_id: None,
            })
        }
        REPLY => {
            let mut body = Reader::new(body, 2 * LEN_LEN, too_short_request("reply"))?;
            let surb_len = body.u64()?;
            // The length of the message follows the SURB, so these bytes are not the SURB's.
            let room = body.rest_len().saturating_sub(LEN_LEN);
            let surb = usize::try_from(surb_len)
                .ok()
                .filter(|&len| len <= room)
                .and_then(|len| body.slice(len))
                .ok_or_else(|| {
                    AppError::malformed(format!(
                        "not enough data to recover reply surb with specified length {surb_len}"
                    ))
                })?;
            let surb = ReplySurb::from_bytes(surb)
                .map_err(|error| AppError::malformed(format!("malformed reply surb: {error}")))?;
            let message = body.message("message", ErrorKind::MalformedRequest)?;
            Ok(Request::Reply {
                to: ReplyTo::Surb(Box::new(surb)),
                message,
                connection_id: None,
            })
        }
        SELF_ADDRESS => Ok(Request::SelfAddress),
        other => Err(AppError::new(
            ErrorKind::UnknownRequest,
            format!("type {other}"),
        )),
    }
}

/// Writes a request as an app would.
///
/// # Errors
/// When the dialect knows no such request, or its message is not UTF-8 and the form is text.
pub fn encode_request(form: Form, request: &Request) -> Result<WsMessage, Unrepresentable> {
    match form {
        Form::Binary => encode_binary_request(request).map(WsMessage::Binary),
        Form::Text => encode_text_request(request).map(WsMessage::Text),
    }
}

/// Writes an error.
#[must_use]
pub fn encode_error(form: Form, error: &AppError) -> WsMessage {
    match form {
        Form::Binary => {
            let mut frame = vec![ERROR_RESPONSE, error.kind.code()];
            put_bytes(&mut frame, error.detail.as_bytes());
            WsMessage::Binary(frame)
        }
        Form::Text => WsMessage::Text(to_text(&TextResponse::Error {
            message: error.to_string(),
        })),
    }
}

/// Writes a message from the network.
///
/// Bytes that are not UTF-8 appear in text as U+FFFD, one per maximal invalid sequence.
#[must_use]
pub fn encode_received(form: Form, received: &Received) -> WsMessage {
    match form {
        Form::Binary => {
            let mut frame = vec![RECEIVED_RESPONSE];
            match &received.reply_surb {
                None => frame.push(0),
                Some(surb) => {
                    frame.push(1);
                    put_bytes(&mut frame, &surb.to_bytes());
                }
            }
            put_bytes(&mut frame, &received.message);
            WsMessage::Binary(frame)
        }
        Form::Text => WsMessage::Text(to_text(&TextResponse::Received {
            message: &String::from_utf8_lossy(&received.message),
            reply_surb: received.reply_surb.as_ref().map(ToString::to_string),
        })),
    }
}

/// Writes the address of the client.
#[must_use]
pub fn encode_self_address(form: Form, address: &Recipient) -> WsMessage {
    match form {
        Form::Binary => {
            let mut frame = vec![SELF_ADDRESS_RESPONSE];
            frame.extend_from_slice(&address.to_bytes());
            WsMessage::Binary(frame)
        }
        Form::Text => WsMessage::Text(to_text(&TextResponse::SelfAddress {
            address: address.to_string(),
        })),
    }
}

/// Reads a binary response, as an app would. JSON responses: [`Response::parse_text`].
///
/// # Errors
/// The first of: [`ErrorKind::EmptyResponse`], [`ErrorKind::UnknownResponse`],
/// [`ErrorKind::TooShortResponse`], [`ErrorKind::MalformedResponse`].
pub fn parse_binary_response(frame: &[u8]) -> Result<Response, AppError> {
    let Some((&tag, body)) = frame.split_first() else {
        return Err(AppError::new(ErrorKind::EmptyResponse, "no data provided"));
    };
    match tag {
        ERROR_RESPONSE => parse_error_response(body),
        RECEIVED_RESPONSE => {
            let mut body = Reader::new(body, 1 + LEN_LEN, too_short_response("received"))?;
            let reply_surb = match body.byte()? {
                0 => None,
                1 => {
                    let surb_len = body.u64()?;
                    let surb = usize::try_from(surb_len)
                        .ok()
                        .and_then(|len| body.slice(len))
                        .ok_or_else(|| too_short_response("received"))?;
                    let surb = ReplySurb::from_bytes(surb).map_err(|error| {
                        malformed_response(format!("malformed reply surb: {error}"))
                    })?;
                    Some(Box::new(surb))
                }
                flag => return Err(malformed_response(format!("invalid reply flag {flag}"))),
            };
            let message = body.message("message", ErrorKind::MalformedResponse)?;
            Ok(Response::Received(Received {
                message,
                reply_surb,
                sender_tag: None,
            }))
        }
        SELF_ADDRESS_RESPONSE => parse_self_address_response(body),
        other => Err(AppError::new(
            ErrorKind::UnknownResponse,
            format!("type {other}"),
        )),
    }
}

pub(super) fn parse_error_response(body: &[u8]) -> Result<Response, AppError> {
    let mut body = Reader::new(body, LEN_LEN, too_short_response("error"))?;
    let code = body.byte()?;
    let Some(kind) = ErrorKind::from_code(code) else {
        return Err(malformed_response(format!("invalid error code {code}")));
    };
    let detail = body.message("message", ErrorKind::MalformedResponse)?;
    let detail = String::from_utf8(detail)
        .map_err(|error| malformed_response(format!("malformed error message: {error}")))?;
    Ok(Response::Error(AppError { kind, detail }))
}

pub(super) fn parse_self_address_response(body: &[u8]) -> Result<Response, AppError> {
    let mut body = Reader::new(body, RECIPIENT_LEN, too_short_response("self_address"))?;
    let address: [u8; RECIPIENT_LEN] = body.array()?;
    if body.rest_len() != 0 {
        return Err(malformed_response("bytes after the address"));
    }
    let address = Recipient::from_bytes(&address)
        .map_err(|error| malformed_response(format!("malformed recipient: {error}")))?;
    Ok(Response::SelfAddress(address))
}

pub(super) fn too_short_request(name: &str) -> AppError {
    AppError::new(
        ErrorKind::TooShortRequest,
        format!("not enough data provided to recover '{name}'"),
    )
}

pub(super) fn too_short_response(name: &str) -> AppError {
    AppError::new(
        ErrorKind::TooShortResponse,
        format!("not enough data provided to recover '{name}'"),
    )
}

pub(super) fn malformed_response(detail: impl Into<String>) -> AppError {
    AppError::new(ErrorKind::MalformedResponse, detail)
}

fn parse_recipient_bytes(bytes: &[u8; RECIPIENT_LEN]) -> Result<Recipient, AppError> {
    Recipient::from_bytes(bytes).map_err(|error| malformed_recipient(&error))
}

pub(super) fn parse_recipient_text(text: &str) -> Result<Recipient, AppError> {
    text.parse().map_err(|error| malformed_recipient(&error))
}

fn malformed_recipient(error: &RecipientError) -> AppError {
    AppError::malformed(format!("malformed recipient: {}", reason_of(error)))
}

/// Which of the three parts of an address is wrong, and what is wrong with it.
pub(super) fn reason_of(error: &RecipientError) -> String {
    match error.source() {
        Some(reason) => format!("{error}: {reason}"),
        None => error.to_string(),
    }
}

fn parse_surb_text(text: &str) -> Result<ReplySurb, AppError> {
    text.parse()
        .map_err(|error| AppError::malformed(format!("malformed reply surb: {error}")))
}

fn encode_binary_request(request: &Request) -> Result<Vec<u8>, Unrepresentable> {
    let mut frame = Vec::new();
    match request {
        Request::Reply {
            to: ReplyTo::Surb(surb),
            message,
            connection_id: None,
        } => {
            frame.push(REPLY);
            put_bytes(&mut frame, &surb.to_bytes());
            put_bytes(&mut frame, message);
        }
        Request::SelfAddress => frame.push(SELF_ADDRESS),
        Request::Send {
            recipient,
            message,
            reply_surbs,
            connection_id: None,
        } => {
            frame.extend_from_slice(&[SEND, u8::from(with_reply_surb(*reply_surbs)?)]);
            frame.extend_from_slice(&recipient.to_bytes());
            put_bytes(&mut frame, message);
        }
        _ => return Err(Unrepresentable),
    }
    Ok(frame)
}

fn encode_text_request(request: &Request) -> Result<String, Unrepresentable> {
    let text_request = match request {
        Request::Reply {
            to: ReplyTo::Surb(surb),
            message,
            connection_id: None,
        } => TextRequest::Reply {
            message: utf8(message)?,
            reply_surb: surb.to_string(),
        },
        Request::SelfAddress => TextRequest::SelfAddress,
        Request::Send {
            recipient,
            message,
            reply_surbs,
            connection_id: None,
        } => TextRequest::Send {
            message: utf8(message)?,
            recipient: recipient.to_string(),
            with_reply_surb: with_reply_surb(*reply_surbs)?,
        },
        _ => return Err(Unrepresentable),
    };
    Ok(to_text(&text_request))
}

fn with_reply_surb(reply_surbs: Option<u32>) -> Result<bool, Unrepresentable> {
    match reply_surbs {
        None => Ok(false),
        Some(1) => Ok(true),
        Some(_) => Err(Unrepresentable),
    }
}

pub(super) fn utf8(message: &[u8]) -> Result<&str, Unrepresentable> {
    core::str::from_utf8(message).map_err(|_| Unrepresentable)
}

#[derive(Serialize)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
enum TextRequest<'a> {
    Reply {
        message: &'a str,
        reply_surb: String,
    },
    SelfAddress,
    Send {
        message: &'a str,
        recipient: String,
        with_reply_surb: bool,
    },
}

#[derive(Serialize)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
enum TextResponse<'a> {
    Error {
        message: String,
    },
    Received {
        message: &'a str,
        reply_surb: Option<String>,
    },
    SelfAddress {
        address: String,
    },
}

#[cfg(test)]
mod tests {
    use nym_packet::reply::REPLY_SURB_LEN;
    use proptest::prelude::*;

    use super::*;

    const ADDRESS: &str = "GsugBcLyNHtP1BEuz3e97Fv1qNjR9oezXsWQ88epp5F8.\
        7AiD8RdLbuqBEXfDcA4ddYJWw6qVBRez4E3E8cX5h7P3@65SkPxGjnPjm4VUXNZohzMuSAc9JKQzbuqwDWE5odCkm";

    fn send(message: &[u8], with_reply_surb: bool) -> Request {
        Request::Send {
            recipient: ADDRESS.parse().unwrap(),
            message: message.to_vec(),
            reply_surbs: with_reply_surb.then_some(1),
            connection_id: None,
        }
    }

    fn binary(request: &Request) -> Vec<u8> {
        let Ok(WsMessage::Binary(frame)) = encode_request(Form::Binary, request) else {
            panic!("binary frames hold every request of this dialect");
        };
        frame
    }

    #[test]
    fn a_send_of_105_bytes_is_too_short_and_of_106_is_not() {
        let frame = binary(&send(b"", false));
        assert_eq!(frame.len(), 106);
        assert!(parse_binary(&frame).is_ok());
        assert_eq!(
            parse_binary(&frame[..105]).unwrap_err().kind,
            ErrorKind::TooShortRequest
        );
    }

    #[test]
    fn a_surb_length_that_leaves_no_room_for_the_message_length_is_refused() {
        // 1 + 8 + 31 + 8 bytes: 31 bytes of SURB fit, 32 run into the message length. Below 16 bytes
        // not even its key is there; 39 are all that is left, 63 the most that 0.11.0 dies of.
        let (malformed, missing) = ("malformed reply surb", "not enough data");
        for (surb_len, said) in [
            (0_u8, malformed),
            (15, malformed),
            (16, malformed),
            (31, malformed),
            (32, missing),
            (39, missing),
            (40, missing),
            (63, missing),
            (255, missing),
        ] {
            let mut frame = vec![0; 48];
            frame[0] = REPLY;
            frame[8] = surb_len;
            let error = parse_binary(&frame).unwrap_err();
            assert_eq!(error.kind, ErrorKind::MalformedRequest);
            assert!(error.detail.starts_with(said), "{surb_len}: {error}");
        }
    }

    #[test]
    fn a_malformed_recipient_is_answered_by_which_part_is_wrong_and_why() {
        let part = |separator: char, index: usize| ADDRESS.split(separator).nth(index).unwrap();
        let (identity, gateway) = (part('.', 0), part('@', 1));
        let replaced = |from: &str, to: &str| ADDRESS.replacen(from, to, 1);
        for (recipient, said) in [
            (
                "".to_owned(),
                "a recipient is written identity.encryption@gateway",
            ),
            (
                replaced("@", "."),
                "a recipient is written identity.encryption@gateway",
            ),
            (
                replaced(identity, "0"),
                "the identity key of the recipient is malformed: not base58",
            ),
            (
                replaced("7AiD8RdLbuqBEXfDcA4", "7AiD8RdLbuq"),
                "the encryption key of the recipient is malformed: expected 32 bytes, found 26",
            ),
            (
                replaced(gateway, "8qbHbw2BbbTHBW1sbeqakYXVKRQM8Ne7pLK7m6CVfeR"),
                "the gateway key of the recipient is malformed: not a point of the curve",
            ),
        ] {
            let text = format!(
                r#"{{"type":"send","message":"m","recipient":"{recipient}","withReplySurb":false}}"#
            );
            let error = parse_text(&text).unwrap_err();
            assert_eq!(error.kind, ErrorKind::MalformedRequest);
            assert_eq!(error.detail, format!("malformed recipient: {said}"));
        }
        let mut frame = binary(&send(b"", false));
        frame[2..34].fill(2);
        let error = parse_binary(&frame).unwrap_err();
        let expected = "malformed recipient: the identity key of the recipient is malformed: \
                        not a point of the curve";
        assert_eq!(error.detail, expected);
    }

    /// The parser that 0.11.0 gives to apps panics on some of these.
    #[test]
    fn a_response_that_ends_early_or_brings_a_piece_of_a_surb_is_an_error() {
        let received = || Received::new(b"hi".to_vec());
        let surb = ReplySurb::from_bytes(&[0; REPLY_SURB_LEN]).unwrap();
        for response in [
            encode_error(Form::Binary, &AppError::malformed("no")),
            encode_received(Form::Binary, &received()),
            encode_received(Form::Binary, &received().with_reply_surb(surb)),
            encode_self_address(Form::Binary, &ADDRESS.parse().unwrap()),
        ] {
            let WsMessage::Binary(frame) = response else {
                panic!("the binary form is binary");
            };
            assert!(parse_binary_response(&frame).is_ok());
            for len in 0..frame.len() {
                let cut = parse_binary_response(&frame[..len]);
                assert!(cut.is_err(), "{len} of {} bytes", frame.len());
            }
        }
        for surb_len in 0..=16 {
            let mut frame = vec![RECEIVED_RESPONSE, 1];
            put_bytes(&mut frame, &[0; 16][..surb_len]);
            put_bytes(&mut frame, b"hi");
            let error = parse_binary_response(&frame).unwrap_err();
            assert!(error.detail.starts_with("malformed reply surb"), "{error}");
        }
    }

    #[test]
    fn text_cannot_hold_a_message_that_is_not_utf8() {
        assert_eq!(
            encode_request(Form::Text, &send(&[0xff], false)),
            Err(Unrepresentable)
        );
    }

    proptest! {
        #[test]
        fn binary_sends_survive_a_round_trip(message: Vec<u8>, with_reply_surb: bool) {
            let frame = binary(&send(&message, with_reply_surb));
            let parsed = parse_binary(&frame).unwrap();
            prop_assert_eq!(binary(&parsed), frame);
        }

        #[test]
        fn text_sends_survive_a_round_trip(message: String, with_reply_surb: bool) {
            let request = send(message.as_bytes(), with_reply_surb);
            let Ok(WsMessage::Text(text)) = encode_request(Form::Text, &request) else {
                panic!("a string is UTF-8");
            };
            prop_assert_eq!(binary(&parse_text(&text).unwrap()), binary(&request));
        }

        #[test]
        fn pushes_survive_a_round_trip(message: Vec<u8>) {
            let WsMessage::Binary(frame) =
                encode_received(Form::Binary, &Received::new(message.clone()))
            else {
                panic!("the binary form is binary");
            };
            let Ok(Response::Received(received)) = parse_binary_response(&frame) else {
                panic!("a push is read as a push");
            };
            prop_assert_eq!(received.message, message);
        }

        #[test]
        fn any_bytes_give_a_value_or_an_error(
            tag in 0..4_u8,
            body in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let frame = [&[tag][..], &body[..]].concat();
            let _ = parse_binary(&frame);
            let _ = parse_binary_response(&frame);
        }
    }
}
