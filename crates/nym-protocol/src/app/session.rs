//! One connection of one app, as a state machine.
//!
//! ```text
//!                 a request with `withReplySurb`,
//!                 a `reply`, any binary frame
//!  auto: seed ───────────────────────────────────► v0.11, for good
//!  pinned: seed · v0.11 · sender tags             (stay what they are)
//! ```
//!
//! Requests go out to the client with a token; the client's answer comes back under that token
//! and becomes a frame in the dialect and form of its request. Frames leave in the order of the
//! requests, whatever order the client answers in, so a fault found here waits as well. Pushes
//! may go between them.

use std::collections::VecDeque;

use nym_packet::address::Recipient;

use super::json::Members;
use super::{AppError, Form, Received, Request, seed, sender_tags, v0_11};
use crate::ws::WsMessage;

/// Which dialect an app connection speaks.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum DialectChoice {
    /// Starts as *seed* and turns into *v0.11* by what the app says.
    #[default]
    Auto,
    /// *Seed*, whatever comes.
    Seed,
    /// *Sender tags*, whatever comes.
    SenderTags,
    /// *v0.11*, whatever comes.
    V0_11,
}

/// What a frame of the app leads to.
#[derive(Debug)]
#[non_exhaustive]
pub enum Output {
    /// The client has to do this and to tell with [`AppSession::answer`] how it went.
    Request(AppRequest),
    /// The app is to be sent this.
    Respond(WsMessage),
}

/// A request that waits for an answer.
#[derive(Debug)]
pub struct AppRequest {
    /// Names the request in [`AppSession::answer`].
    pub token: RequestToken,
    /// What the app asks.
    pub request: Request,
}

/// Names one request of one [`AppSession`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RequestToken(u64);

/// What the client says to a request that it did not refuse.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Answer {
    /// It is done, or will be for certain.
    Accepted,
    /// It is accepted, and so many packets wait in its lane.
    LaneQueueLength {
        /// The lane.
        lane: u64,
        /// How many packets wait, those that wait for a reply SURB included.
        queue_length: u64,
    },
    /// The address of the client.
    SelfAddress(Recipient),
}

/// The state machine of one app connection.
#[derive(Debug)]
pub struct AppSession {
    dialect: Dialect,
    may_switch: bool,
    last_form: Option<Form>,
    next_token: u64,
    waiting: VecDeque<Waiting>,
}

impl AppSession {
    /// A connection on which nothing was said yet.
    #[must_use]
    pub fn new(choice: DialectChoice) -> Self {
        let dialect = match choice {
            DialectChoice::Auto | DialectChoice::Seed => Dialect::Seed,
            DialectChoice::SenderTags => Dialect::SenderTags,
            DialectChoice::V0_11 => Dialect::V0_11,
        };
        Self {
            dialect,
            may_switch: choice == DialectChoice::Auto,
            last_form: None,
            next_token: 0,
            waiting: VecDeque::new(),
        }
    }

    /// The app sent a text frame.
    ///
    /// `None` when the answer has to wait for those of earlier requests.
    pub fn handle_text(&mut self, text: &str) -> Option<Output> {
        self.last_form = Some(Form::Text);
        let parsed = match self.dialect {
            Dialect::Seed => Members::parse(text).and_then(|members| {
                if self.may_switch && selects_v0_11(&members) {
                    self.switch_to_v0_11();
                    v0_11::parse_members(&members)
                } else {
                    seed::parse_members(&members)
                }
            }),
            Dialect::SenderTags => sender_tags::parse_text(text),
            Dialect::V0_11 => v0_11::parse_text(text),
        };
        self.take_in(Form::Text, parsed)
    }

    /// The app sent a binary frame.
    ///
    /// `None` when the answer has to wait for those of earlier requests.
    pub fn handle_binary(&mut self, frame: &[u8]) -> Option<Output> {
        self.last_form = Some(Form::Binary);
        if self.may_switch {
            self.switch_to_v0_11();
        }
        let parsed = match self.dialect {
            Dialect::Seed => Err(seed::binary_frame_error()),
            Dialect::SenderTags => sender_tags::parse_binary(frame),
            Dialect::V0_11 => v0_11::parse_binary(frame),
        };
        self.take_in(Form::Binary, parsed)
    }

    /// The client did what the app asked, or refuses to.
    ///
    /// Gives the frames that are now due, oldest request first: none when the dialect has no
    /// answer to this or earlier requests are still open, several when they waited for this one.
    /// A token that is not open gives none.
    pub fn answer(
        &mut self,
        token: RequestToken,
        answer: Result<Answer, AppError>,
    ) -> Vec<WsMessage> {
        let open = self
            .waiting
            .iter_mut()
            .find(|waiting| waiting.token == token);
        let Some(waiting) = open else {
            return Vec::new();
        };
        waiting.frame = Frame::Due(waiting.dialect.encode(waiting.form, answer));

        let mut frames = Vec::new();
        while let Some(Waiting {
            frame: Frame::Due(frame),
            ..
        }) = self.waiting.front_mut()
        {
            frames.extend(frame.take());
            self.waiting.pop_front();
        }
        frames
    }

    /// The frame in which this app is told of a message.
    #[must_use]
    pub fn encode_push(&self, received: &Received) -> WsMessage {
        // What an app that never spoke is told is binary in the dialects that have both forms.
        let form = self.last_form.unwrap_or(Form::Binary);
        match self.dialect {
            Dialect::Seed => seed::encode_received(received),
            Dialect::SenderTags => sender_tags::encode_received(form, received),
            Dialect::V0_11 => v0_11::encode_received(form, received),
        }
    }

    /// The frame for an error that belongs to no request, such as a frame too long to be read.
    #[must_use]
    pub fn encode_error(&self, error: &AppError) -> WsMessage {
        match self.dialect {
            Dialect::Seed => seed::encode_error(error),
            Dialect::SenderTags | Dialect::V0_11 => {
                v0_11::encode_error(self.last_form.unwrap_or(Form::Binary), error)
            }
        }
    }

    /// How many requests, faulty ones included, wait for their answer or their turn.
    ///
    /// Whoever reads the app's socket stops above a limit of its own.
    #[must_use]
    pub fn waiting_count(&self) -> usize {
        self.waiting.len()
    }

    fn switch_to_v0_11(&mut self) {
        self.dialect = Dialect::V0_11;
        self.may_switch = false;
    }

    fn take_in(&mut self, form: Form, parsed: Result<Request, AppError>) -> Option<Output> {
        let token = RequestToken(self.next_token);
        self.next_token += 1;
        let (dialect, frame, output) = match parsed {
            Ok(request) => (
                self.dialect,
                Frame::Open,
                Some(Output::Request(AppRequest { token, request })),
            ),
            Err(error) => {
                let frame = self.dialect.encode(form, Err(error));
                if self.waiting.is_empty() {
                    return frame.map(Output::Respond);
                }
                (self.dialect, Frame::Due(frame), None)
            }
        };
        self.waiting.push_back(Waiting {
            token,
            dialect,
            form,
            frame,
        });
        output
    }
}

/// The dialect in which a request was understood, and so is answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Dialect {
    Seed,
    SenderTags,
    V0_11,
}

impl Dialect {
    fn encode(self, form: Form, answer: Result<Answer, AppError>) -> Option<WsMessage> {
        match (self, answer) {
            (Self::Seed, Ok(Answer::Accepted)) => Some(seed::encode_confirmation()),
            (Self::Seed, Ok(Answer::SelfAddress(own))) => Some(seed::encode_self_address(&own)),
            (Self::Seed, Err(error)) => Some(seed::encode_error(&error)),
            (Self::SenderTags, Ok(Answer::LaneQueueLength { lane, queue_length })) => Some(
                sender_tags::encode_lane_queue_length(form, lane, queue_length),
            ),
            (Self::SenderTags | Self::V0_11, Ok(Answer::SelfAddress(own))) => {
                Some(v0_11::encode_self_address(form, &own))
            }
            (Self::SenderTags | Self::V0_11, Err(error)) => Some(v0_11::encode_error(form, &error)),
            (Self::SenderTags | Self::V0_11, Ok(Answer::Accepted))
            | (Self::Seed | Self::V0_11, Ok(Answer::LaneQueueLength { .. })) => None,
        }
    }
}

/// A request whose answer has not gone out.
#[derive(Debug)]
struct Waiting {
    token: RequestToken,
    dialect: Dialect,
    form: Form,
    frame: Frame,
}

#[derive(Debug)]
enum Frame {
    /// The client has not answered.
    Open,
    /// The frame to send, if the dialect has one, once it is its turn.
    Due(Option<WsMessage>),
}

fn selects_v0_11(members: &Members<'_>) -> bool {
    members.with_reply_surb.is_given() || members.kind().is_ok_and(|kind| kind == "reply")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ADDRESS: &str = "GsugBcLyNHtP1BEuz3e97Fv1qNjR9oezXsWQ88epp5F8.\
        7AiD8RdLbuqBEXfDcA4ddYJWw6qVBRez4E3E8cX5h7P3@65SkPxGjnPjm4VUXNZohzMuSAc9JKQzbuqwDWE5odCkm";

    fn text(text: &str) -> WsMessage {
        WsMessage::Text(text.to_owned())
    }

    fn send(extra: &str) -> String {
        format!(r#"{{"type":"send","message":"m","recipient":"{ADDRESS}"{extra}}}"#)
    }

    fn token(output: Option<Output>) -> RequestToken {
        match output {
            Some(Output::Request(asked)) => asked.token,
            other => panic!("{other:?} is no request"),
        }
    }

    fn push(session: &AppSession, message: &[u8]) -> WsMessage {
        session.encode_push(&Received::new(message.to_vec()))
    }

    fn speaks_v0_11(session: &AppSession) -> bool {
        push(session, b"hi") != text("hi")
    }

    #[test]
    fn the_seed_program_is_answered_as_it_expects() {
        let mut session = AppSession::new(DialectChoice::Auto);
        let own: Recipient = ADDRESS.parse().unwrap();
        let asked = token(session.handle_text(r#"{"type":"selfAddress"}"#));
        assert_eq!(
            session.answer(asked, Ok(Answer::SelfAddress(own))),
            [text(&format!(
                r#"{{"type":"selfAddress","address":"{ADDRESS}"}}"#
            ))]
        );
        let asked = token(session.handle_text(&send("")));
        assert_eq!(
            session.answer(asked, Ok(Answer::Accepted)),
            [text(r#"{"type":"send"}"#)]
        );
        assert_eq!(push(&session, b"Hello Nym!"), text("Hello Nym!"));
    }

    #[test]
    fn auto_becomes_v0_11_by_reply_surb_flag_reply_or_binary_and_stays_so() {
        let selecting: [fn(&mut AppSession) -> Option<Output>; 4] = [
            |session| session.handle_text(&send(r#","withReplySurb":false"#)),
            |session| session.handle_text(&send(r#","withReplySurb":"broken""#)),
            |session| session.handle_text(r#"{"type":"reply"}"#),
            |session| session.handle_binary(&[]),
        ];
        for select in selecting {
            let mut session = AppSession::new(DialectChoice::Auto);
            for plain in [
                send(""),
                "not json".to_owned(),
                r#"{"type":"selfAddress"}"#.to_owned(),
            ] {
                session.handle_text(&plain);
                assert!(!speaks_v0_11(&session), "{plain}");
            }
            select(&mut session);
            assert!(speaks_v0_11(&session));
            session.handle_text(r#"{"type":"selfAddress"}"#);
            assert!(speaks_v0_11(&session));
        }
    }

    #[test]
    fn a_request_is_answered_in_the_dialect_it_was_read_in() {
        let mut session = AppSession::new(DialectChoice::Auto);
        let seed = token(session.handle_text(&send("")));
        let newer = token(session.handle_binary(&[2]));
        let own: Recipient = ADDRESS.parse().unwrap();
        assert_eq!(session.answer(newer, Ok(Answer::SelfAddress(own))), []);
        assert_eq!(
            session.answer(seed, Ok(Answer::Accepted)),
            [
                text(r#"{"type":"send"}"#),
                v0_11::encode_self_address(Form::Binary, &own)
            ]
        );
    }

    #[test]
    fn a_pinned_seed_answers_binary_frames_in_text_and_never_switches() {
        let mut session = AppSession::new(DialectChoice::Seed);
        let Some(Output::Respond(WsMessage::Text(error))) = session.handle_binary(&[2]) else {
            panic!("errors of this dialect are text");
        };
        assert!(error.starts_with(r#"{"type":"error","message":"malformed request:"#));
        let asked = token(session.handle_text(&send(r#","withReplySurb":true"#)));
        assert_eq!(
            session.answer(asked, Ok(Answer::Accepted)),
            [text(r#"{"type":"send"}"#)]
        );
    }

    #[test]
    fn pinned_v0_11_pushes_binary_until_the_app_speaks_and_then_as_it_spoke_last() {
        let mut session = AppSession::new(DialectChoice::V0_11);
        let binary = WsMessage::Binary(b"\x01\0\0\0\0\0\0\0\0\x02hi".to_vec());
        assert_eq!(push(&session, b"hi"), binary);
        session.handle_text("nonsense");
        assert_eq!(
            push(&session, b"hi"),
            text(r#"{"type":"received","message":"hi","replySurb":null}"#)
        );
        session.handle_binary(&[9]);
        assert_eq!(push(&session, b"hi"), binary);
    }

    #[test]
    fn v0_11_confirms_nothing_but_says_refusals() {
        let mut session = AppSession::new(DialectChoice::V0_11);
        let request = send(r#","withReplySurb":false"#);
        let asked = token(session.handle_text(&request));
        assert_eq!(session.answer(asked, Ok(Answer::Accepted)), []);
        let asked = token(session.handle_text(&request));
        assert_eq!(
            session.answer(asked, Err(AppError::reply_too_long(1611, 1610))),
            [text(concat!(
                r#"{"type":"error","message":"other:too long message to put inside a reply SURB. "#,
                r#"Received: 1611 bytes and maximum is 1610 bytes"}"#
            ))]
        );
    }

    #[test]
    fn a_lane_answers_with_its_length() {
        let mut session = AppSession::new(DialectChoice::SenderTags);
        let asked = token(session.handle_text(&send(r#","connectionId":7"#)));
        let answer = Answer::LaneQueueLength {
            lane: 7,
            queue_length: 2,
        };
        assert_eq!(
            session.answer(asked, Ok(answer)),
            [text(
                r#"{"type":"laneQueueLength","lane":7,"queue_length":2}"#
            )]
        );
    }

    #[test]
    fn an_error_waits_for_the_answers_before_it() {
        let mut session = AppSession::new(DialectChoice::Seed);
        let first = token(session.handle_text(&send("")));
        assert!(session.handle_text("{").is_none());
        let third = token(session.handle_text(&send("")));
        assert_eq!(session.answer(third, Ok(Answer::Accepted)), []);
        assert_eq!(session.waiting_count(), 3);

        let frames = session.answer(first, Ok(Answer::Accepted));
        let confirmation = text(r#"{"type":"send"}"#);
        assert_eq!(frames.len(), 3);
        assert_eq!((&frames[0], &frames[2]), (&confirmation, &confirmation));
        assert_eq!(session.waiting_count(), 0);
        assert_eq!(session.answer(third, Ok(Answer::Accepted)), []);
    }

    proptest! {
        #[test]
        fn every_request_of_the_seed_has_one_answer_whatever_the_order(
            faulty in prop::collection::vec(any::<bool>(), 1..20),
            order: u64,
        ) {
            let mut session = AppSession::new(DialectChoice::Seed);
            let mut frames = Vec::new();
            let mut open = Vec::new();
            for &faulty in &faulty {
                let given = if faulty { "[]".to_owned() } else { send("") };
                match session.handle_text(&given) {
                    Some(Output::Request(asked)) => open.push(asked.token),
                    Some(Output::Respond(frame)) => frames.push(frame),
                    None => {}
                }
            }
            while !open.is_empty() {
                let index = usize::try_from(order % open.len() as u64).unwrap();
                frames.extend(session.answer(open.swap_remove(index), Ok(Answer::Accepted)));
            }
            let confirmation = text(r#"{"type":"send"}"#);
            let confirmed: Vec<bool> = frames.iter().map(|frame| *frame == confirmation).collect();
            let expected: Vec<bool> = faulty.iter().map(|faulty| !faulty).collect();
            prop_assert_eq!(confirmed, expected);
        }
    }
}
