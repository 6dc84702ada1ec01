//! The app API: codecs of every dialect and whole sessions.

use std::collections::{BTreeSet, VecDeque};

use nym_packet::address::Recipient;
use nym_packet::reply::{REPLY_SURB_LEN, ReplySurb};
use nym_protocol::app::{
    Answer, AppError, AppSession, DialectChoice, ErrorKind, Form, Output, Received, ReplyTo,
    Request, Response, SenderTag, sender_tags, v0_7, v0_11,
};
use nym_protocol::ws::WsMessage;
use serde_json::{Value, json};

use super::{VectorFile, hex};

super::vector_files! {
    "app-api":
    binary => "binary.json", run_binary;
    dialect_newest => "dialect-newest.json", run_dialect_newest;
    dialect_v0_7 => "dialect-v0.7.json", run_dialect_v0_7;
    recipients => "recipients.json", run_recipients;
    sessions => "sessions.json", run_sessions;
    text_requests => "text.json", run_text_requests;
}

/// An address like any other, for the client of the recorded sessions.
const OWN: &str = "GsugBcLyNHtP1BEuz3e97Fv1qNjR9oezXsWQ88epp5F8.\
    7AiD8RdLbuqBEXfDcA4ddYJWw6qVBRez4E3E8cX5h7P3@65SkPxGjnPjm4VUXNZohzMuSAc9JKQzbuqwDWE5odCkm";

/// Details that the dialects fix to the letter; all others are for people to read.
const FIXED_DETAILS: &[&str] = &[
    "no data provided",
    "not enough data provided to recover",
    "type ",
    "invalid reply surb flag",
    "data len has inconsistent length",
    "message len has inconsistent length",
    "not enough data to recover reply surb with specified length",
    "too long message to put inside a reply SURB",
    "The received",
];

type Checked = Result<(), String>;

fn run_binary(vectors: &mut VectorFile) {
    let sizes = ["max_reply_message_len", "recipient_len", "reply_surb_len"]
        .map(|name| vectors.member(name).as_u64().unwrap());
    assert_eq!(sizes, [1610, Recipient::LEN as u64, REPLY_SURB_LEN as u64]);
    run_cases(vectors, "requests", |case| {
        let request = v0_11::parse_binary(&hex(&case["bytes"])).map_err(|e| e.to_string())?;
        same_request(&request, &case["parsed"])?;
        if case.get("note").and_then(Value::as_str) == Some("bytes after the tag are ignored") {
            return Ok(());
        }
        let frame = v0_11::encode_request(Form::Binary, &request).map_err(|e| e.to_string())?;
        equal(
            "encoded again",
            &frame,
            &WsMessage::Binary(hex(&case["bytes"])),
        )
    });
    run_cases(vectors, "request_errors", |case| {
        refused(v0_11::parse_binary(&hex(&case["bytes"])), case)
    });
    run_cases(vectors, "responses", |case| {
        let response = &case["response"];
        let encode = |form| match text(&response["type"]) {
            "error" => Ok(v0_11::encode_error(form, &app_error(response))),
            "received" => {
                let mut received = Received::new(hex(&response["message"]));
                if !response["reply_surb"].is_null() {
                    let surb = ReplySurb::from_bytes(&hex(&response["reply_surb"])).unwrap();
                    received = received.with_reply_surb(surb);
                }
                Ok(v0_11::encode_received(form, &received))
            }
            "selfAddress" => Ok(v0_11::encode_self_address(
                form,
                &recipient(&response["address"])?,
            )),
            other => Err(format!("unknown type {other}")),
        };
        same_frames(&encode(Form::Binary)?, &encode(Form::Text)?, case)?;
        let parsed = v0_11::parse_binary_response(&hex(&case["binary"]));
        parsed
            .map(drop)
            .map_err(|error| format!("not read back: {error}"))?;
        let parsed = Response::parse_text(text(&case["text"]));
        parsed
            .map(drop)
            .map_err(|error| format!("text not read back: {error}"))
    });
    // What the library for apps makes of responses: ours need not say it in the same words.
    run_cases(vectors, "response_parsing", |case| {
        let parsed = v0_11::parse_binary_response(&hex(&case["bytes"]));
        match (parsed, case.get("response"), case.get("error")) {
            (Ok(Response::Error(error)), Some(expected), None) => {
                equal("error", &error, &app_error(expected))
            }
            (Err(error), None, Some(expected)) => equal(
                "code",
                &u64::from(error.kind.code()),
                &expected["code"].as_u64().unwrap(),
            ),
            (Err(_), None, None) if case["reference_panics"] == true => Ok(()),
            (other, ..) => Err(format!("got {other:?}")),
        }
    });
}

fn run_text_requests(vectors: &mut VectorFile) {
    run_cases(vectors, "requests", |case| {
        let parsed = v0_11::parse_text(text(&case["text"]));
        if let Some(expected) = case.get("request") {
            return same_request(&parsed.map_err(|error| error.to_string())?, expected);
        }
        refused(parsed, case)
    });
}

fn run_recipients(vectors: &mut VectorFile) {
    run_cases(vectors, "recipients", |case| {
        let bytes = hex(&case["bytes"]);
        let from_bytes = Recipient::from_bytes(&bytes).map_err(|error| error.to_string())?;
        equal(
            "text",
            &from_bytes.to_string().as_str(),
            &text(&case["string"]),
        )?;
        let from_text: Recipient = text(&case["string"])
            .parse()
            .map_err(|error| format!("{error}"))?;
        equal("bytes", &from_text.to_bytes().to_vec(), &bytes)?;
        let parts = ["identity", "encryption_key", "gateway"].map(|part| hex(&case[part]));
        equal("parts", &parts.concat(), &bytes)
    });
}

fn run_sessions(vectors: &mut VectorFile) {
    run_cases(vectors, "sessions", |session| {
        let mut client = Client::new();
        let steps = session["steps"].as_array().ok_or("no steps")?;
        for (index, step) in steps.iter().enumerate() {
            client
                .step(step)
                .map_err(|said| format!("step {index}: {said}"))?;
        }
        Ok(())
    });
}

fn run_dialect_v0_7(vectors: &mut VectorFile) {
    let own = &vectors.member("recipient");
    let address: v0_7::Recipient = text(&own["string"]).parse().unwrap();
    assert_eq!(address.as_bytes()[..], hex(&own["bytes"]));
    assert_eq!(vectors.member("recipient_bytes_len"), v0_7::RECIPIENT_LEN);
    run_cases(vectors, "binary_requests", |case| {
        let frame = hex(&case["frame"]);
        let parsed = v0_7::Request::parse_binary(&frame);
        if let Some(expected) = case.get("error_response") {
            let error = parsed.err().ok_or("accepted")?;
            let response = v0_7::Response::Error(error).to_text();
            return equal("response", &response.as_str(), &text(expected));
        }
        let request = parsed.map_err(|error| error.to_string())?;
        equal("encoded again", &request.to_binary(), &Some(frame))?;
        let recipient = text(&case["recipient"])
            .parse()
            .map_err(|e| format!("{e}"))?;
        let expected = v0_7::Request::Send {
            recipient,
            message: hex(&case["data"]),
        };
        equal("request", &request, &expected)
    });
    run_cases(vectors, "recipient_parsing", |case| {
        let parsed = text(&case["recipient"]).parse::<v0_7::Recipient>();
        equal("accepted", &json!(parsed.is_ok()), &case["accepted"])
    });
    run_cases(vectors, "text_requests", |case| {
        let parsed = v0_7::Request::parse_text(text(&case["text"]));
        if let Some(expected) = case.get("error_response") {
            let error = parsed.err().ok_or("accepted")?;
            // What follows `err:` is what a JSON parser says.
            let response = v0_7::Response::Error(error).to_text();
            let before_detail = |text: &str| text.split_once(". err: ").map(|(a, _)| a.to_owned());
            return equal(
                "response",
                &before_detail(&response),
                &before_detail(text(expected)),
            );
        }
        let expected = &case["parsed"];
        let expected = match text(&expected["type"]) {
            "getClients" => v0_7::Request::GetClients,
            "selfAddress" => v0_7::Request::SelfAddress,
            "send" => v0_7::Request::Send {
                recipient: text(&expected["recipient"])
                    .parse()
                    .map_err(|e| format!("{e}"))?,
                message: text(&expected["message"]).into(),
            },
            other => return Err(format!("unknown type {other}")),
        };
        equal("request", &parsed, &Ok(expected))
    });
    run_cases(vectors, "text_responses", |case| {
        let response = match text(&case["response"]) {
            "send" => v0_7::Response::Send,
            "selfAddress" => v0_7::Response::SelfAddress(address),
            "getClients" => v0_7::Response::GetClients(vec!["a".to_owned(), "b".to_owned()]),
            "error malformed recipient" => {
                v0_7::Response::Error(v0_7::RequestError::MalformedRecipient)
            }
            "error invalid binary" => v0_7::Response::Error(v0_7::RequestError::InvalidBinary),
            "error no topology" => v0_7::Response::Error(v0_7::RequestError::NoTopology),
            other => return Err(format!("unknown response {other}")),
        };
        equal("text", &response.to_text().as_str(), &text(&case["text"]))
    });
}

fn run_dialect_newest(vectors: &mut VectorFile) {
    let own = recipient(&vectors.member("recipient")).unwrap();
    let tag = &vectors.member("sender_tag");
    let tag = (
        text(&tag["base58"]).parse::<SenderTag>().unwrap(),
        hex(&tag["bytes"]),
    );
    assert_eq!(tag.0.as_bytes()[..], tag.1);
    run_cases(vectors, "binary_requests", |case| {
        let request = sender_tags::parse_binary(&hex(&case["bytes"])).map_err(|e| e.to_string())?;
        same_request(&request, &case["parsed"])?;
        let frame = sender_tags::encode_request(Form::Binary, &request);
        equal(
            "encoded again",
            &frame,
            &Ok(WsMessage::Binary(hex(&case["bytes"]))),
        )
    });
    run_cases(vectors, "binary_errors", |case| {
        refused(sender_tags::parse_binary(&hex(&case["bytes"])), case)
    });
    run_cases(vectors, "text_requests", |case| {
        let parsed = sender_tags::parse_text(text(&case["text"]));
        if let Some(expected) = case.get("parsed") {
            return same_request(&parsed.map_err(|error| error.to_string())?, expected);
        }
        refused(parsed, case)
    });
    run_cases(vectors, "responses", |case| {
        let encode = |form| match text(&case["name"]) {
            "received without tag" => Ok(sender_tags::encode_received(
                form,
                &Received::new(b"foomp".to_vec()),
            )),
            "received with tag" => {
                let received = Received::new(b"foomp".to_vec()).with_sender_tag(tag.0);
                Ok(sender_tags::encode_received(form, &received))
            }
            "received, not utf-8" => Ok(sender_tags::encode_received(
                form,
                &Received::new(b"\xffa".to_vec()),
            )),
            "selfAddress" => Ok(sender_tags::encode_self_address(form, &own)),
            "laneQueueLength" => Ok(sender_tags::encode_lane_queue_length(
                form,
                3_411_655_172_140_850,
                42,
            )),
            "error other" => Ok(sender_tags::encode_error(form, &AppError::other("oops"))),
            // Other data may hold other values, which say themselves what they are.
            _ => sender_tags::parse_binary_response(&hex(&case["binary"]))
                .map_err(|error| error.to_string())
                .and_then(|response| encode_sender_tags_response(form, &response)),
        };
        same_frames(&encode(Form::Binary)?, &encode(Form::Text)?, case)?;
        Response::parse_text(text(&case["text"]))
            .map(drop)
            .map_err(|error| error.to_string())
    });
}

fn encode_sender_tags_response(form: Form, response: &Response) -> Result<WsMessage, String> {
    match response {
        Response::Error(error) => Ok(sender_tags::encode_error(form, error)),
        Response::LaneQueueLength { lane, queue_length } => Ok(
            sender_tags::encode_lane_queue_length(form, *lane, *queue_length),
        ),
        Response::Received(received) => Ok(sender_tags::encode_received(form, received)),
        Response::SelfAddress(own) => Ok(sender_tags::encode_self_address(form, own)),
        other => Err(format!("{other:?} is not of this dialect")),
    }
}

/// A small model of a client with one app at a time whose network delivers at once.
struct Client {
    own: Recipient,
    app: Option<AppSession>,
    undelivered: VecDeque<Received>,
    surbs_made: u8,
    surbs_unused: BTreeSet<Vec<u8>>,
    last_surb: Option<Vec<u8>>,
}

impl Client {
    fn new() -> Self {
        Self {
            own: OWN.parse().unwrap(),
            app: None,
            undelivered: VecDeque::new(),
            surbs_made: 0,
            surbs_unused: BTreeSet::new(),
            last_surb: None,
        }
    }

    fn step(&mut self, step: &Value) -> Checked {
        let expected = step["expect"].as_array().ok_or("nothing is expected")?;
        let frames = match text(&step["do"]) {
            "connect" => {
                if self.app.is_some() {
                    return Err("there is an app already".to_owned());
                }
                self.app = Some(AppSession::new(DialectChoice::V0_11));
                self.pushes()
            }
            "connect-second" => {
                let closed = [json!({"connection_closed_before_upgrade": true})];
                equal("a second app", &self.app.is_some(), &true)?;
                return equal("expected", &expected.as_slice(), &closed.as_slice());
            }
            "deliver" => {
                self.deliver(hex(&step["message"]), step["with_surb"] == true);
                self.pushes()
            }
            "disconnect" => {
                self.app = None;
                Vec::new()
            }
            "text" => self.text(&self.fill_in(text(&step["text"]))),
            "binary" => self.binary(&hex(&json!(self.fill_in(text(&step["hex"]))))),
            // Answering pings is the transport's; what matters is that the session does not see
            // them.
            "ping" => return equal("pong", expected, &vec![json!({"pong": step["hex"]})]),
            other => return Err(format!("unknown step {other}")),
        };
        let expected: Vec<&Value> = expected
            .iter()
            .filter(|expected| expected["nothing"] != true)
            .collect();
        equal("number of frames", &frames.len(), &expected.len())?;
        frames
            .iter()
            .zip(expected)
            .try_for_each(|(frame, expected)| self.same(frame, expected))
    }

    fn text(&mut self, request: &str) -> Vec<WsMessage> {
        let output = self.session().handle_text(request);
        self.act(output)
    }

    fn binary(&mut self, request: &[u8]) -> Vec<WsMessage> {
        let output = self.session().handle_binary(request);
        self.act(output)
    }

    fn act(&mut self, output: Option<Output>) -> Vec<WsMessage> {
        let asked = match output {
            Some(Output::Request(asked)) => asked,
            Some(Output::Respond(frame)) => return vec![frame],
            other => panic!("{other:?}: nothing was waiting"),
        };
        let answer = match asked.request {
            Request::SelfAddress => Answer::SelfAddress(self.own),
            Request::Send {
                recipient,
                message,
                reply_surbs,
                ..
            } => {
                assert_eq!(recipient, self.own, "the model knows itself only");
                self.deliver(message, reply_surbs.is_some());
                Answer::Accepted
            }
            Request::Reply {
                to: ReplyTo::Surb(surb),
                message,
                ..
            } => {
                // A second use is accepted, and the network drops it.
                if self.surbs_unused.remove(&surb.to_bytes()[..]) {
                    self.deliver(message, false);
                }
                Answer::Accepted
            }
            other => panic!("{other:?} is not of this dialect"),
        };
        let mut frames = self.session().answer(asked.token, Ok(answer));
        frames.extend(self.pushes());
        frames
    }

    fn deliver(&mut self, message: Vec<u8>, with_surb: bool) {
        let mut received = Received::new(message);
        if with_surb {
            self.surbs_made += 1;
            let mut surb = vec![self.surbs_made; REPLY_SURB_LEN];
            // The node address inside is one of IPv4.
            surb[16 + 348] = 4;
            received = received.with_reply_surb(ReplySurb::from_bytes(&surb).unwrap());
            self.surbs_unused.insert(surb.clone());
            self.last_surb = Some(surb);
        }
        self.undelivered.push_back(received);
    }

    fn pushes(&mut self) -> Vec<WsMessage> {
        let Some(app) = &self.app else {
            return Vec::new();
        };
        self.undelivered
            .drain(..)
            .map(|received| app.encode_push(&received))
            .collect()
    }

    fn session(&mut self) -> &mut AppSession {
        self.app.as_mut().expect("an app is connected")
    }

    fn fill_in(&self, given: &str) -> String {
        let last_surb = self.last_surb.as_ref().map_or_else(String::new, |surb| {
            ReplySurb::from_bytes(surb).unwrap().to_string()
        });
        given
            .replace("<self>", OWN)
            .replace("<last surb>", &last_surb)
    }

    fn same(&self, frame: &WsMessage, expected: &Value) -> Checked {
        let last_surb = self.last_surb.clone().unwrap_or_default();
        match frame {
            WsMessage::Binary(frame) => {
                let expected = text(&expected["binary"])
                    .replace("<self address bytes>", &to_hex(&self.own.to_bytes()))
                    .replace("<surb>", &to_hex(&last_surb));
                equal("frame", &to_hex(frame), &expected)
            }
            WsMessage::Text(frame) => {
                let surb = ReplySurb::from_bytes(&last_surb)
                    .map_or_else(|_| String::new(), |surb| surb.to_string());
                let expected = expected["text"].to_string();
                let expected = expected
                    .replace("<self address>", OWN)
                    .replace("<surb>", &surb);
                let expected: Value = serde_json::from_str(&expected).unwrap();
                let frame: Value = serde_json::from_str(frame).unwrap();
                if expected["type"] == "error" {
                    let parts = [&frame, &expected].map(|json| split_error(text(&json["message"])));
                    equal("type", &frame["type"], &expected["type"])?;
                    return same_error(parts[0], parts[1]);
                }
                equal("frame", &frame, &expected)
            }
        }
    }
}

fn run_cases(file: &mut VectorFile, list: &str, check: impl Fn(&Value) -> Checked) {
    file.each(list, |case| {
        if let Err(said) = check(case) {
            panic!("{said}");
        }
    });
}

fn same_request(request: &Request, expected: &Value) -> Checked {
    let lane = |connection_id: &Option<u64>| match expected.get("connection_id") {
        Some(expected) => equal("connection id", &json!(connection_id), expected),
        None => equal("connection id", connection_id, &None),
    };
    match (request, text(&expected["type"])) {
        (Request::SelfAddress, "selfAddress") => Ok(()),
        (Request::ClosedConnection { connection_id }, "closedConnection")
        | (Request::LaneQueueLength { connection_id }, "getLaneQueueLength") => {
            lane(&Some(*connection_id))
        }
        (
            Request::Send {
                recipient: to,
                message,
                reply_surbs,
                connection_id,
            },
            kind @ ("send" | "sendAnonymous"),
        ) => {
            equal("recipient", to, &recipient(&expected["recipient"])?)?;
            equal("message", message, &hex(&expected["message"]))?;
            let expected_surbs = if kind == "sendAnonymous" {
                expected["reply_surbs"].clone()
            } else if expected["with_reply_surb"] == true {
                json!(1)
            } else {
                Value::Null
            };
            equal("reply SURBs", &json!(reply_surbs), &expected_surbs)?;
            lane(connection_id)
        }
        (
            Request::Reply {
                to,
                message,
                connection_id,
            },
            "reply",
        ) => {
            equal("message", message, &hex(&expected["message"]))?;
            match to {
                ReplyTo::Surb(surb) => {
                    equal(
                        "SURB",
                        &surb.to_bytes()[..].to_vec(),
                        &hex(&expected["reply_surb"]),
                    )?;
                }
                ReplyTo::Tag(tag) => {
                    equal(
                        "tag",
                        &tag.as_bytes().to_vec(),
                        &hex(&expected["sender_tag"]),
                    )?;
                }
                other => return Err(format!("{other:?}")),
            }
            lane(connection_id)
        }
        (request, kind) => Err(format!("{request:?} instead of {kind}")),
    }
}

/// A request is refused as `case` says, or in any way where the reference panics.
fn refused(parsed: Result<Request, AppError>, case: &Value) -> Checked {
    let error = match parsed {
        Ok(request) => return Err(format!("accepted as {request:?}")),
        Err(error) => error,
    };
    let expected = match case.get("error") {
        Some(expected) => app_error(expected),
        None if case["reference_panics"] == true => {
            return equal("kind", &error.kind, &ErrorKind::MalformedRequest);
        }
        None => return Err("the case says neither error nor reference_panics".to_owned()),
    };
    same_error(
        (error.kind, &error.detail),
        (expected.kind, &expected.detail),
    )?;
    let expected_text = text(&case["error"]["text_response"]);
    if error == expected {
        let frame = v0_11::encode_error(Form::Text, &error);
        equal(
            "text response",
            &frame,
            &WsMessage::Text(expected_text.to_owned()),
        )?;
        let Some(binary) = case["error"].get("binary_response") else {
            return Ok(());
        };
        let frame = v0_11::encode_error(Form::Binary, &error);
        return equal("binary response", &frame, &WsMessage::Binary(hex(binary)));
    }
    let WsMessage::Text(frame) = v0_11::encode_error(Form::Text, &error) else {
        return Err("the text form is binary".to_owned());
    };
    let before_detail = |text: &str| text.splitn(4, ':').take(3).collect::<Vec<_>>().join(":");
    equal(
        "text response",
        &before_detail(&frame),
        &before_detail(expected_text),
    )
}

fn same_error(found: (ErrorKind, &str), expected: (ErrorKind, &str)) -> Checked {
    equal("kind", &found.0, &expected.0)?;
    let fixed = FIXED_DETAILS
        .iter()
        .any(|detail| expected.1.starts_with(detail))
        || expected
            .1
            .ends_with("does not correspond to any valid request tag");
    if fixed {
        equal("detail", &found.1, &expected.1)
    } else {
        Ok(())
    }
}

fn split_error(message: &str) -> (ErrorKind, &str) {
    let kinds = (0..=255).filter_map(ErrorKind::from_code);
    for kind in kinds {
        if let Some(detail) = message
            .strip_prefix(kind.text())
            .and_then(|m| m.strip_prefix(':'))
        {
            return (kind, detail);
        }
    }
    panic!("{message:?} names no kind of error");
}

fn same_frames(binary: &WsMessage, text_frame: &WsMessage, case: &Value) -> Checked {
    equal("binary", binary, &WsMessage::Binary(hex(&case["binary"])))?;
    equal(
        "text",
        text_frame,
        &WsMessage::Text(text(&case["text"]).to_owned()),
    )
}

fn app_error(json: &Value) -> AppError {
    let code = json["code"]
        .as_u64()
        .and_then(|code| u8::try_from(code).ok());
    let kind = code
        .and_then(ErrorKind::from_code)
        .expect("a code of the table");
    AppError::new(kind, text(&json["message"]))
}

/// A recipient given as text, or as an object with its text and bytes.
fn recipient(json: &Value) -> Result<Recipient, String> {
    let Some(bytes) = json.get("bytes") else {
        return text(json)
            .parse()
            .map_err(|error| format!("recipient: {error}"));
    };
    let recipient = Recipient::from_bytes(&hex(bytes)).map_err(|error| error.to_string())?;
    equal(
        "recipient",
        &recipient.to_string().as_str(),
        &text(&json["string"]),
    )?;
    Ok(recipient)
}

fn text(json: &Value) -> &str {
    json.as_str().expect("a string")
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn equal<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Checked {
    if found == expected {
        Ok(())
    } else {
        Err(format!("{what} is {found:?} instead of {expected:?}"))
    }
}
