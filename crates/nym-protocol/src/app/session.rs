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
//!
//! Receipts are the same in every dialect, so they are read and written here, around the codecs:
//! a request with an `id` is answered with it, and `receipts` is understood everywhere.

use std::collections::VecDeque;

use nym_packet::address::Recipient;

use super::json::Members;
use super::{
    AppError, Form, Outcome, ReceiptStatus, Received, Request, RequestId, receipts, seed,
    sender_tags, v0_11,
};
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
    /// The name it gave to what it sends, if it wants receipts.
    pub id: Option<RequestId>,
}

/// Names one request of one [`AppSession`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RequestToken(u64);

/// What the client says to a request that it did not refuse.
#[derive(Clone, Debug, Eq, PartialEq)]
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
    /// What became of the messages that were asked about, in the order of the request.
    Receipts(Vec<(RequestId, ReceiptStatus)>),
    /// The address of the client.
    SelfAddress(Recipient),
}

/// The state machine of one app connection.
#[derive(Debug)]
pub struct AppSession {
    dialect: Dialect,
    may_switch: bool,
    last_form: Option<Form>,
    /// The id of the next binary frame.
    binary_id: Option<RequestId>,
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
            binary_id: None,
            next_token: 0,
            waiting: VecDeque::new(),
        }
    }

    /// The app sent a text frame.
    ///
    /// `None` when the answer has to wait for those of earlier requests, or there is none because
    /// it names the next binary frame.
    pub fn handle_text(&mut self, text: &str) -> Option<Output> {
        let members = match Members::parse(text) {
            Ok(members) => members,
            Err(error) => {
                self.last_form = Some(Form::Text);
                return self.take_in(Form::Text, None, Err(error));
            }
        };
        if !receipts::is_binary_id(&members) {
            self.last_form = Some(Form::Text);
            let (id, parsed) = self.parse(&members);
            return self.take_in(Form::Text, id, parsed);
        }
        match receipts::binary_id(&members) {
            Ok(id) => {
                self.binary_id = Some(id);
                None
            }
            Err(error) => self.take_in(Form::Text, None, Err(error)),
        }
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
        let id = self.binary_id.take();
        self.take_in(Form::Binary, id, parsed)
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
        let due = waiting
            .dialect
            .encode(waiting.form, waiting.id.as_ref(), answer);
        waiting.state = State::Due(due);

        let mut frames = Vec::new();
        while let Some(Waiting {
            state: State::Due(due),
            ..
        }) = self.waiting.front_mut()
        {
            frames.append(due);
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

    /// The frame in which this app is told how a message ended that it had given a name.
    #[must_use]
    #[expect(
        clippy::unused_self,
        reason = "a receipt belongs to a session, though all dialects have the same"
    )]
    pub fn encode_outcome(&self, id: &RequestId, outcome: &Outcome) -> WsMessage {
        receipts::encode_outcome(id, outcome)
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

    /// Reads a JSON request, and the name that the app gave to it.
    fn parse(&mut self, members: &Members<'_>) -> (Option<RequestId>, Result<Request, AppError>) {
        if self.may_switch && selects_v0_11(members) {
            self.switch_to_v0_11();
        }
        let id = receipts::request_id(members);
        let parsed = match (members.kind().as_deref(), &id) {
            (Ok("receipts"), _) => {
                receipts::parse_ids(members).map(|ids| Request::Receipts { ids })
            }
            (Ok("reply" | "send" | "sendAnonymous"), Err(error)) => Err(error.clone()),
            _ => match self.dialect {
                Dialect::Seed => seed::parse_members(members),
                Dialect::SenderTags => sender_tags::parse_members(members),
                Dialect::V0_11 => v0_11::parse_members(members),
            },
        };
        (id.ok().flatten(), parsed)
    }

    fn take_in(
        &mut self,
        form: Form,
        id: Option<RequestId>,
        parsed: Result<Request, AppError>,
    ) -> Option<Output> {
        let token = RequestToken(self.next_token);
        self.next_token += 1;
        let dialect = self.dialect;
        let (state, output) = match parsed {
            Ok(request) => {
                let id = id.clone();
                let asked = AppRequest { token, request, id };
                (State::Open, Some(Output::Request(asked)))
            }
            Err(error) => {
                let frame = dialect.encode_error(form, id.as_ref(), &error);
                if self.waiting.is_empty() {
                    return Some(Output::Respond(frame));
                }
                (State::Due(vec![frame]), None)
            }
        };
        self.waiting.push_back(Waiting {
            token,
            dialect,
            form,
            id,
            state,
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
    /// The frames that answer a request: those of the dialect, and those of receipts for an app
    /// that asked for them.
    fn encode(
        self,
        form: Form,
        id: Option<&RequestId>,
        answer: Result<Answer, AppError>,
    ) -> Vec<WsMessage> {
        let accepted = id.map(receipts::encode_accepted);
        match (self, answer) {
            (Self::Seed, Ok(Answer::Accepted)) => {
                vec![id.map_or_else(seed::encode_confirmation, receipts::encode_confirmation)]
            }
            (Self::SenderTags | Self::V0_11, Ok(Answer::Accepted))
            | (Self::Seed | Self::V0_11, Ok(Answer::LaneQueueLength { .. })) => {
                accepted.into_iter().collect()
            }
            (Self::SenderTags, Ok(Answer::LaneQueueLength { lane, queue_length })) => {
                let length = sender_tags::encode_lane_queue_length(form, lane, queue_length);
                accepted.into_iter().chain([length]).collect()
            }
            (_, Ok(Answer::Receipts(receipts))) => vec![receipts::encode_receipts(&receipts)],
            (Self::Seed, Ok(Answer::SelfAddress(own))) => vec![seed::encode_self_address(&own)],
            (Self::SenderTags | Self::V0_11, Ok(Answer::SelfAddress(own))) => {
                vec![v0_11::encode_self_address(form, &own)]
            }
            (_, Err(error)) => vec![self.encode_error(form, id, &error)],
        }
    }

    fn encode_error(self, form: Form, id: Option<&RequestId>, error: &AppError) -> WsMessage {
        match (id, self) {
            (Some(id), _) => receipts::encode_error(id, error),
            (None, Self::Seed) => seed::encode_error(error),
            (None, Self::SenderTags | Self::V0_11) => v0_11::encode_error(form, error),
        }
    }
}

/// A request whose answer has not gone out.
#[derive(Debug)]
struct Waiting {
    token: RequestToken,
    dialect: Dialect,
    form: Form,
    id: Option<RequestId>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The client has not answered.
    Open,
    /// The frames to send, if the dialect has any, once it is their turn.
    Due(Vec<WsMessage>),
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

    fn frames_of(choice: DialectChoice, request: &str, answer: Answer) -> Vec<WsMessage> {
        let mut session = AppSession::new(choice);
        let asked = token(session.handle_text(request));
        session.answer(asked, Ok(answer))
    }

    const ALL: [DialectChoice; 4] = [
        DialectChoice::Auto,
        DialectChoice::Seed,
        DialectChoice::SenderTags,
        DialectChoice::V0_11,
    ];

    /// A send that all dialects read; *auto* is *v0.11* from then on.
    fn named(id: &str) -> String {
        send(&format!(r#","withReplySurb":false,"id":{id}"#))
    }

    #[test]
    fn an_accepted_message_with_an_id_is_confirmed_by_it_in_every_dialect() {
        for (choice, kind) in [
            (DialectChoice::Seed, "send"),
            (DialectChoice::Auto, "accepted"),
            (DialectChoice::SenderTags, "accepted"),
            (DialectChoice::V0_11, "accepted"),
        ] {
            for id in ["1.50", r#""a-1""#] {
                let expected = text(&format!(r#"{{"type":"{kind}","id":{id}}}"#));
                assert_eq!(frames_of(choice, &named(id), Answer::Accepted), [expected]);
            }
        }
        let lane = Answer::LaneQueueLength {
            lane: 7,
            queue_length: 2,
        };
        let request = send(r#","connectionId":7,"id":1"#);
        assert_eq!(
            frames_of(DialectChoice::SenderTags, &request, lane),
            [
                text(r#"{"type":"accepted","id":1}"#),
                text(r#"{"type":"laneQueueLength","lane":7,"queue_length":2}"#)
            ]
        );
    }

    #[test]
    fn a_binary_frame_has_the_id_that_a_text_frame_before_it_gives() {
        let mut session = AppSession::new(DialectChoice::V0_11);
        let request = Request::Send {
            recipient: ADDRESS.parse().unwrap(),
            message: b"m".to_vec(),
            reply_surbs: None,
            connection_id: None,
        };
        let frame = v0_11::encode_request(Form::Binary, &request).unwrap();
        let WsMessage::Binary(frame) = frame else {
            panic!("binary was asked for");
        };
        assert!(
            session
                .handle_text(r#"{"type":"binaryId","id":7}"#)
                .is_none()
        );
        let asked = token(session.handle_binary(&frame));
        let accepted = session.answer(asked, Ok(Answer::Accepted));
        assert_eq!(accepted, [text(r#"{"type":"accepted","id":7}"#)]);
        assert!(matches!(push(&session, b"m"), WsMessage::Binary(_)));
        let unnamed = token(session.handle_binary(&frame));
        assert!(session.answer(unnamed, Ok(Answer::Accepted)).is_empty());
        // A fault in the frame is told under its id; one in the id is told at once.
        assert!(
            session
                .handle_text(r#"{"type":"binaryId","id":8}"#)
                .is_none()
        );
        let Some(Output::Respond(WsMessage::Text(error))) = session.handle_binary(&[]) else {
            panic!("an error is told");
        };
        assert!(error.contains(r#""id":8"#), "{error}");
        for wrong in [r#"{"type":"binaryId"}"#, r#"{"type":"binaryId","id":[]}"#] {
            let refused = session.handle_text(wrong);
            assert!(matches!(refused, Some(Output::Respond(_))), "{wrong}");
        }
    }

    #[test]
    fn errors_about_a_request_with_an_id_carry_it_and_others_do_not() {
        for choice in ALL {
            let mut session = AppSession::new(choice);
            for request in [
                r#"{"type":"send","id":"x","message":"m"}"#,
                r#"{"type":"reply","id":"x"}"#,
                r#"{"id":"x","type":"nonsense"}"#,
            ] {
                let Some(Output::Respond(WsMessage::Text(error))) = session.handle_text(request)
                else {
                    panic!("{request} is refused in text");
                };
                assert!(error.starts_with(r#"{"type":"error","message":"malformed"#));
                assert!(error.ends_with(r#"","id":"x"}"#), "{error}");
            }
            let asked = token(session.handle_text(&named("5")));
            let refused = session.answer(asked, Err(AppError::other("no")));
            let expected = r#"{"type":"error","message":"other:no","id":5}"#;
            assert_eq!(refused, [text(expected)]);
            let asked = token(session.handle_text(&send(r#","withReplySurb":false"#)));
            let refused = session.answer(asked, Err(AppError::other("no")));
            assert_eq!(refused, [text(r#"{"type":"error","message":"other:no"}"#)]);
        }
    }

    #[test]
    fn an_id_of_another_type_is_an_error_that_says_so() {
        for choice in ALL {
            for id in ["null", "true", "{}", "[1]", r#""\ud800""#] {
                let mut session = AppSession::new(choice);
                let output = session.handle_text(&named(id));
                let expected = concat!(
                    r#"{"type":"error","message":"malformed request:"#,
                    r#"malformed id: an id is a string or a number"}"#
                );
                let Some(Output::Respond(frame)) = output else {
                    panic!("{output:?} accepts {id}");
                };
                assert_eq!(frame, text(expected), "{id}");
            }
            let mut session = AppSession::new(choice);
            let output = session.handle_text(&named(r#"1,"id":2"#));
            assert!(matches!(output, Some(Output::Respond(_))), "{output:?}");
        }
    }

    #[test]
    fn receipts_are_asked_for_in_every_dialect_and_change_none() {
        for choice in ALL {
            let mut session = AppSession::new(choice);
            let request = r#"{"type":"receipts","ids":["a",1.0]}"#;
            let Some(Output::Request(asked)) = session.handle_text(request) else {
                panic!("receipts are a request");
            };
            let Request::Receipts { ids } = asked.request else {
                panic!("{:?} is no request for receipts", asked.request);
            };
            let receipts = ids.into_iter().map(|id| (id, ReceiptStatus::Unknown));
            let answer = session.answer(asked.token, Ok(Answer::Receipts(receipts.collect())));
            let expected = concat!(
                r#"{"type":"receipts","receipts":[{"id":"a","status":"unknown"},"#,
                r#"{"id":1.0,"status":"unknown"}]}"#
            );
            assert_eq!(answer, [text(expected)]);
            assert_eq!(session.dialect, AppSession::new(choice).dialect);
        }
    }

    #[test]
    fn receipts_need_a_list_of_at_most_a_thousand_ids() {
        let ids = |count: usize| vec!["1"; count].join(",");
        for (ids, said) in [
            (format!("[{}]", ids(1_000)), None),
            (
                format!("[{}]", ids(1_001)),
                Some("at most 1000 ids at a time"),
            ),
            ("[true]".to_owned(), Some("malformed id: an id is")),
            (
                "1".to_owned(),
                Some("invalid type: number, expected a list"),
            ),
        ] {
            let mut session = AppSession::new(DialectChoice::Auto);
            let request = format!(r#"{{"type":"receipts","ids":{ids}}}"#);
            match (session.handle_text(&request), said) {
                (Some(Output::Request(_)), None) => {}
                (Some(Output::Respond(WsMessage::Text(error))), Some(said)) => {
                    assert!(error.contains(said), "{error}");
                }
                (output, _) => panic!("{output:?}"),
            }
        }
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
