//! The dialect *sender tags*: reply SURBs stay in the client, the app answers a tag.
//!
//! Binary layouts, integers big-endian; a `conn_id` of 0 means none:
//!
//! ```text
//! send                00 | recipient (96) | conn_id (8) | len (8) | message
//! sendAnonymous       01 | reply_surbs (4) | recipient (96) | conn_id (8) | len (8) | message
//! reply               02 | sender_tag (16) | conn_id (8) | len (8) | message
//! selfAddress         03
//! closedConnection    04 | conn_id (8)
//! getLaneQueueLength  05 | conn_id (8)
//!
//! error               00 | code (1) | len (8) | detail
//! received            01 | 00 | len (8) | message
//!                     01 | 01 | sender_tag (16) | len (8) | message
//! selfAddress         02 | recipient (96)
//! laneQueueLength     03 | lane (8) | queue_length (8)
//! ```
//!
//! In JSON a `connectionId` of 0 is lane 0; `closedConnection` and `getLaneQueueLength` have no
//! JSON form. Requests with a connection id are answered by the length of that lane.

use nym_packet::address::{Recipient, RecipientError};
use serde::Serialize;

use super::binary::{Reader, put_bytes};
use super::json::{Members, to_text, unknown_type};
use super::v0_11::{
    ERROR_RESPONSE, LEN_LEN, RECEIVED_RESPONSE, RECIPIENT_LEN, SELF_ADDRESS_RESPONSE,
    malformed_response, parse_error_response, parse_self_address_response, reason_of,
    too_short_request, too_short_response, utf8,
};
pub use super::v0_11::{encode_error, encode_self_address};
use super::{
    AppError, ErrorKind, Form, Received, ReplyTo, Request, Response, SENDER_TAG_LEN, SenderTag,
    Unrepresentable,
};
use crate::ws::WsMessage;

const SEND: u8 = 0x00;
const SEND_ANONYMOUS: u8 = 0x01;
const REPLY: u8 = 0x02;
const SELF_ADDRESS: u8 = 0x03;
const CLOSED_CONNECTION: u8 = 0x04;
const LANE_QUEUE_LENGTH: u8 = 0x05;

const LANE_QUEUE_LENGTH_RESPONSE: u8 = 0x03;

const CONNECTION_ID_LEN: usize = 8;
const REPLY_SURBS_LEN: usize = 4;

/// Reads a JSON request.
///
/// # Errors
/// Always of kind [`ErrorKind::MalformedRequest`].
pub fn parse_text(text: &str) -> Result<Request, AppError> {
    parse_members(&Members::parse(text)?)
}

pub(super) fn parse_members(members: &Members<'_>) -> Result<Request, AppError> {
    let kind = members.kind()?;
    match kind.as_str() {
        "reply" => {
            let message: String = members.message.required("message", "a string")?;
            let sender_tag: String = members.sender_tag.required("senderTag", "a string")?;
            let sender_tag = sender_tag
                .parse()
                .map_err(|error| AppError::malformed(format!("malformed sender tag: {error}")))?;
            Ok(Request::Reply {
                to: ReplyTo::Tag(sender_tag),
                message: message.into_bytes(),
                connection_id: connection_id(members)?,
            })
        }
        "selfAddress" => Ok(Request::SelfAddress),
        "send" | "sendAnonymous" => {
            let message: String = members.message.required("message", "a string")?;
            let recipient: String = members.recipient.required("recipient", "a string")?;
            let reply_surbs = if kind == "send" {
                None
            } else {
                Some(
                    members
                        .reply_surbs
                        .required("replySurbs", "an integer below 2^32")?,
                )
            };
            Ok(Request::Send {
                recipient: recipient
                    .parse()
                    .map_err(|error| malformed_recipient(&error))?,
                message: message.into_bytes(),
                reply_surbs,
                connection_id: connection_id(members)?,
            })
        }
        other => Err(unknown_type(
            other,
            &["send", "sendAnonymous", "reply", "selfAddress"],
        )),
    }
}

fn connection_id(members: &Members<'_>) -> Result<Option<u64>, AppError> {
    let given: Option<Option<u64>> = members
        .connection_id
        .optional("connectionId", "an integer below 2^64 or null")?;
    Ok(given.flatten())
}

/// Reads a binary request.
///
/// # Errors
/// The first of: [`ErrorKind::EmptyRequest`], [`ErrorKind::UnknownRequest`],
/// [`ErrorKind::TooShortRequest`], [`ErrorKind::MalformedRequest`].
pub fn parse_binary(frame: &[u8]) -> Result<Request, AppError> {
    const ROUTING_LEN: usize = RECIPIENT_LEN + CONNECTION_ID_LEN + LEN_LEN;
    let Some((&tag, body)) = frame.split_first() else {
        return Err(AppError::new(ErrorKind::EmptyRequest, "no data provided"));
    };
    match tag {
        SEND => {
            let body = Reader::new(body, ROUTING_LEN, too_short_request("send"))?;
            parse_send(body, None)
        }
        SEND_ANONYMOUS => {
            let too_short = too_short_request("send_anonymous");
            let mut body = Reader::new(body, REPLY_SURBS_LEN + ROUTING_LEN, too_short)?;
            let reply_surbs = body.u32()?;
            parse_send(body, Some(reply_surbs))
        }
        REPLY => {
            let min_len = SENDER_TAG_LEN + CONNECTION_ID_LEN + LEN_LEN;
            let mut body = Reader::new(body, min_len, too_short_request("reply"))?;
            let sender_tag = SenderTag::from_bytes(body.array()?);
            let connection_id = Some(body.u64()?).filter(|&id| id != 0);
            let message = body.message("message", ErrorKind::MalformedRequest)?;
            Ok(Request::Reply {
                to: ReplyTo::Tag(sender_tag),
                message,
                connection_id,
            })
        }
        SELF_ADDRESS => Ok(Request::SelfAddress),
        CLOSED_CONNECTION => {
            let connection_id = sole_connection_id(body, "closed connection")?;
            Ok(Request::ClosedConnection { connection_id })
        }
        LANE_QUEUE_LENGTH => {
            let connection_id = sole_connection_id(body, "get lane queue lengths")?;
            Ok(Request::LaneQueueLength { connection_id })
        }
        other => Err(AppError::new(
            ErrorKind::UnknownRequest,
            format!("{other} does not correspond to any valid request tag"),
        )),
    }
}

fn parse_send(mut body: Reader<'_>, reply_surbs: Option<u32>) -> Result<Request, AppError> {
    let recipient: [u8; RECIPIENT_LEN] = body.array()?;
    let recipient =
        Recipient::from_bytes(&recipient).map_err(|error| malformed_recipient(&error))?;
    let connection_id = Some(body.u64()?).filter(|&id| id != 0);
    let message = body.message("data", ErrorKind::MalformedRequest)?;
    Ok(Request::Send {
        recipient,
        message,
        reply_surbs,
        connection_id,
    })
}

/// The text of this dialect, with the space at its end.
fn malformed_recipient(error: &RecipientError) -> AppError {
    AppError::malformed(format!("recipient is malformed - {} ", reason_of(error)))
}

fn sole_connection_id(body: &[u8], what: &str) -> Result<u64, AppError> {
    body.try_into()
        .map(u64::from_be_bytes)
        .map_err(|_| AppError::malformed(format!("The received {what} has invalid length")))
}

/// Writes a request as an app would.
///
/// # Errors
/// When the dialect knows no such request, when its message is not UTF-8 and the form is text, or
/// when its lane is 0 and the form is binary.
pub fn encode_request(form: Form, request: &Request) -> Result<WsMessage, Unrepresentable> {
    match form {
        Form::Binary => encode_binary_request(request).map(WsMessage::Binary),
        Form::Text => encode_text_request(request).map(WsMessage::Text),
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
            match &received.sender_tag {
                None => frame.push(0),
                Some(tag) => {
                    frame.push(1);
                    frame.extend_from_slice(tag.as_bytes());
                }
            }
            put_bytes(&mut frame, &received.message);
            WsMessage::Binary(frame)
        }
        Form::Text => WsMessage::Text(to_text(&TextResponse::Received {
            message: &String::from_utf8_lossy(&received.message),
            sender_tag: received.sender_tag.map(|tag| tag.to_string()),
        })),
    }
}

/// Writes how many packets wait in a lane.
#[must_use]
pub fn encode_lane_queue_length(form: Form, lane: u64, queue_length: u64) -> WsMessage {
    match form {
        Form::Binary => {
            let mut frame = vec![LANE_QUEUE_LENGTH_RESPONSE];
            frame.extend_from_slice(&lane.to_be_bytes());
            frame.extend_from_slice(&queue_length.to_be_bytes());
            WsMessage::Binary(frame)
        }
        Form::Text => WsMessage::Text(to_text(&TextResponse::LaneQueueLength {
            lane,
            queue_length,
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
            let sender_tag = match body.byte()? {
                0 => None,
                1 => Some(SenderTag::from_bytes(body.array()?)),
                flag => {
                    return Err(malformed_response(format!(
                        "invalid sender tag flag {flag}"
                    )));
                }
            };
            let message = body.message("message", ErrorKind::MalformedResponse)?;
            Ok(Response::Received(Received {
                message,
                reply_surb: None,
                sender_tag,
            }))
        }
        SELF_ADDRESS_RESPONSE => parse_self_address_response(body),
        LANE_QUEUE_LENGTH_RESPONSE => {
            let mut body = Reader::new(body, 16, too_short_response("lane_queue_length"))?;
            let (lane, queue_length) = (body.u64()?, body.u64()?);
            if body.rest_len() != 0 {
                return Err(malformed_response("bytes after the queue length"));
            }
            Ok(Response::LaneQueueLength { lane, queue_length })
        }
        other => Err(AppError::new(
            ErrorKind::UnknownResponse,
            format!("type {other}"),
        )),
    }
}

fn encode_binary_request(request: &Request) -> Result<Vec<u8>, Unrepresentable> {
    let mut frame = Vec::new();
    match request {
        Request::ClosedConnection { connection_id } => {
            frame.push(CLOSED_CONNECTION);
            frame.extend_from_slice(&connection_id.to_be_bytes());
        }
        Request::LaneQueueLength { connection_id } => {
            frame.push(LANE_QUEUE_LENGTH);
            frame.extend_from_slice(&connection_id.to_be_bytes());
        }
        Request::Reply {
            to: ReplyTo::Tag(tag),
            message,
            connection_id,
        } => {
            frame.push(REPLY);
            frame.extend_from_slice(tag.as_bytes());
            frame.extend_from_slice(&binary_connection_id(*connection_id)?);
            put_bytes(&mut frame, message);
        }
        Request::Receipts { .. } | Request::Reply { .. } => return Err(Unrepresentable),
        Request::SelfAddress => frame.push(SELF_ADDRESS),
        Request::Send {
            recipient,
            message,
            reply_surbs,
            connection_id,
        } => {
            match reply_surbs {
                None => frame.push(SEND),
                Some(count) => {
                    frame.push(SEND_ANONYMOUS);
                    frame.extend_from_slice(&count.to_be_bytes());
                }
            }
            frame.extend_from_slice(&recipient.to_bytes());
            frame.extend_from_slice(&binary_connection_id(*connection_id)?);
            put_bytes(&mut frame, message);
        }
    }
    Ok(frame)
}

fn binary_connection_id(connection_id: Option<u64>) -> Result<[u8; 8], Unrepresentable> {
    match connection_id {
        None => Ok([0; 8]),
        Some(0) => Err(Unrepresentable),
        Some(id) => Ok(id.to_be_bytes()),
    }
}

fn encode_text_request(request: &Request) -> Result<String, Unrepresentable> {
    let text_request = match request {
        Request::Reply {
            to: ReplyTo::Tag(tag),
            message,
            connection_id,
        } => TextRequest::Reply {
            message: utf8(message)?,
            sender_tag: tag.to_string(),
            connection_id: *connection_id,
        },
        Request::SelfAddress => TextRequest::SelfAddress,
        Request::Send {
            recipient,
            message,
            reply_surbs: None,
            connection_id,
        } => TextRequest::Send {
            message: utf8(message)?,
            recipient: recipient.to_string(),
            connection_id: *connection_id,
        },
        Request::Send {
            recipient,
            message,
            reply_surbs: Some(count),
            connection_id,
        } => TextRequest::SendAnonymous {
            message: utf8(message)?,
            recipient: recipient.to_string(),
            reply_surbs: *count,
            connection_id: *connection_id,
        },
        _ => return Err(Unrepresentable),
    };
    Ok(to_text(&text_request))
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
        sender_tag: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        connection_id: Option<u64>,
    },
    SelfAddress,
    Send {
        message: &'a str,
        recipient: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        connection_id: Option<u64>,
    },
    SendAnonymous {
        message: &'a str,
        recipient: String,
        reply_surbs: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        connection_id: Option<u64>,
    },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "camelCase")]
enum TextResponse<'a> {
    LaneQueueLength {
        lane: u64,
        queue_length: u64,
    },
    Received {
        message: &'a str,
        #[serde(rename = "senderTag")]
        sender_tag: Option<String>,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ADDRESS: &str = "GsugBcLyNHtP1BEuz3e97Fv1qNjR9oezXsWQ88epp5F8.\
        7AiD8RdLbuqBEXfDcA4ddYJWw6qVBRez4E3E8cX5h7P3@65SkPxGjnPjm4VUXNZohzMuSAc9JKQzbuqwDWE5odCkm";

    fn requests() -> impl Strategy<Value = Request> {
        let message = prop::collection::vec(any::<u8>(), 0..200);
        let lane = prop::option::of(1_u64..);
        prop_oneof![
            any::<u64>().prop_map(|connection_id| Request::ClosedConnection { connection_id }),
            any::<u64>().prop_map(|connection_id| Request::LaneQueueLength { connection_id }),
            Just(()).prop_map(|()| Request::SelfAddress),
            (message.clone(), any::<[u8; 16]>(), lane.clone()).prop_map(
                |(message, tag, connection_id)| Request::Reply {
                    to: ReplyTo::Tag(SenderTag::from_bytes(tag)),
                    message,
                    connection_id,
                }
            ),
            (message, any::<Option<u32>>(), lane).prop_map(
                |(message, reply_surbs, connection_id)| Request::Send {
                    recipient: ADDRESS.parse().unwrap(),
                    message,
                    reply_surbs,
                    connection_id,
                }
            ),
        ]
    }

    fn binary(request: &Request) -> Vec<u8> {
        let Ok(WsMessage::Binary(frame)) = encode_request(Form::Binary, request) else {
            panic!("binary frames hold every request of this dialect");
        };
        frame
    }

    #[test]
    fn a_malformed_recipient_is_answered_in_the_words_of_this_dialect() {
        let request = r#"{"type":"send","message":"m","recipient":"a.b@c"}"#;
        let expected = "recipient is malformed - the identity key of the recipient is malformed: \
                        expected 32 bytes, found 1 ";
        assert_eq!(parse_text(request).unwrap_err().detail, expected);
    }

    #[test]
    fn each_request_is_too_short_one_byte_below_its_minimum() {
        for (tag, min_len) in [(SEND, 113), (SEND_ANONYMOUS, 117), (REPLY, 33)] {
            let mut frame = vec![tag; min_len];
            let kind = |frame: &[u8]| parse_binary(frame).unwrap_err().kind;
            assert_eq!(kind(&frame[..min_len - 1]), ErrorKind::TooShortRequest);
            frame[min_len - 1] = 1;
            assert_eq!(kind(&frame), ErrorKind::MalformedRequest);
        }
        for tag in [CLOSED_CONNECTION, LANE_QUEUE_LENGTH] {
            assert!(parse_binary(&[tag; 8]).is_err());
            assert!(parse_binary(&[tag; 9]).is_ok());
            assert!(parse_binary(&[tag; 10]).is_err());
        }
    }

    #[test]
    fn a_response_that_ends_early_is_an_error() {
        let received = || Received::new(b"hi".to_vec());
        for response in [
            encode_error(Form::Binary, &AppError::malformed("no")),
            encode_received(Form::Binary, &received()),
            encode_received(
                Form::Binary,
                &received().with_sender_tag(SenderTag::from_bytes([9; 16])),
            ),
            encode_self_address(Form::Binary, &ADDRESS.parse().unwrap()),
            encode_lane_queue_length(Form::Binary, 7, 4),
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
    }

    #[test]
    fn lane_0_exists_in_json_only() {
        let text = r#"{"type":"reply","message":"","senderTag":"AM6FBCDTms978WuVzRQMSg","connectionId":0}"#;
        let request = parse_text(text).unwrap();
        assert_eq!(
            encode_request(Form::Text, &request),
            Ok(WsMessage::Text(text.to_owned()))
        );
        assert_eq!(encode_request(Form::Binary, &request), Err(Unrepresentable));
    }

    proptest! {
        #[test]
        fn binary_requests_survive_a_round_trip(request in requests()) {
            let frame = binary(&request);
            prop_assert_eq!(binary(&parse_binary(&frame).unwrap()), frame);
        }

        #[test]
        fn text_requests_survive_a_round_trip(request in requests()) {
            if let Ok(WsMessage::Text(text)) = encode_request(Form::Text, &request) {
                prop_assert_eq!(binary(&parse_text(&text).unwrap()), binary(&request));
            }
        }

        #[test]
        fn any_bytes_give_a_value_or_an_error(
            tag in 0..7_u8,
            body in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let frame = [&[tag][..], &body[..]].concat();
            let _ = parse_binary(&frame);
            let _ = parse_binary_response(&frame);
        }
    }
}
