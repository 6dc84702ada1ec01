//! The JSON messages with which a connection is set up.
//!
//! Every message is one compact object whose member `type` names it. Unknown members are ignored,
//! a repeated member is an error, and bytes are arrays of integers, not strings.

use serde::{Deserialize, Serialize};

/// What a client may say before it is authenticated.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum ClientControl {
    /// A returning client proves that it knows the shared keys.
    Authenticate(Credentials),
    /// The first message of the registration handshake.
    #[serde(rename = "handshakePayload", alias = "registerHandshakeInitRequest")]
    Register {
        /// Identity key and ephemeral key of the client: 64 bytes, if it is well formed.
        data: Vec<u8>,
    },
}

impl ClientControl {
    /// Parses a text message; `None` is what the network calls a malformed request.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The exact text to send.
    #[must_use]
    pub fn to_text(&self) -> String {
        to_text(self)
    }
}

/// The members of an `authenticate` request, as they were written.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Credentials {
    /// Base58 of the client's identity key, 32 bytes.
    pub address: String,
    /// Base58 of the identity key encrypted with the shared key, 32 bytes.
    pub enc_address: String,
    /// Base58 of the IV of that encryption, 16 bytes.
    pub iv: String,
}

/// A message of the registration handshake, in either direction.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum HandshakeMessage {
    /// The bytes of one of the four messages.
    HandshakePayload {
        /// The message.
        data: Vec<u8>,
    },
    /// The sender has given up.
    HandshakeError {
        /// Why, for people.
        message: String,
    },
}

impl HandshakeMessage {
    /// Parses a text message; `None` is what both sides skip while they wait.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The exact text to send.
    #[must_use]
    pub fn to_text(&self) -> String {
        to_text(self)
    }
}

/// What a gateway answers, outside the handshake.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum ServerControl {
    /// Answer to [`ClientControl::Authenticate`].
    Authenticate {
        /// Whether the connection is authenticated now.
        status: bool,
    },
    /// A request was refused.
    Error {
        /// Why, for people.
        message: String,
    },
    /// Answer to a completed handshake.
    Register {
        /// Whether the gateway has stored the keys.
        status: bool,
    },
    /// A packet was queued for its first hop.
    Send {
        /// Always true from the programs known.
        status: bool,
    },
}

impl ServerControl {
    /// A refusal with the given text.
    #[must_use]
    pub fn error(message: impl Into<String>) -> Self {
        Self::Error {
            message: message.into(),
        }
    }

    /// Parses a text message; `None` for any text that is none of these.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The exact text to send.
    #[must_use]
    pub fn to_text(&self) -> String {
        to_text(self)
    }
}

fn to_text(message: &impl Serialize) -> String {
    serde_json::to_string(message).expect("strings, flags and bytes always have a JSON form")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn type_may_stand_anywhere_but_only_once() {
        let register = ClientControl::Register { data: vec![1] };
        assert_eq!(
            ClientControl::parse(r#"{"data":[1],"type":"handshakePayload"}"#),
            Some(register)
        );
        let twice = r#"{"type":"handshakePayload","type":"handshakePayload","data":[1]}"#;
        assert_eq!(ClientControl::parse(twice), None);
    }

    #[test]
    fn bytes_are_written_as_integers_in_member_order() {
        let message = HandshakeMessage::HandshakePayload { data: vec![0, 255] };
        assert_eq!(
            message.to_text(),
            r#"{"type":"handshakePayload","data":[0,255]}"#
        );
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused(text in ".{0,200}") {
            let _ = ClientControl::parse(&text);
            let _ = HandshakeMessage::parse(&text);
            let _ = ServerControl::parse(&text);
        }

        #[test]
        fn messages_survive_a_round_trip(
            data in prop::collection::vec(any::<u8>(), 0..100),
            text in ".{0,100}",
            status: bool,
        ) {
            let payload = HandshakeMessage::HandshakePayload { data: data.clone() };
            prop_assert_eq!(HandshakeMessage::parse(&payload.to_text()), Some(payload));
            let register = ClientControl::Register { data };
            prop_assert_eq!(ClientControl::parse(&register.to_text()), Some(register));
            let refusal = ServerControl::error(text);
            prop_assert_eq!(ServerControl::parse(&refusal.to_text()), Some(refusal));
            let answer = ServerControl::Register { status };
            prop_assert_eq!(ServerControl::parse(&answer.to_text()), Some(answer));
        }
    }
}
