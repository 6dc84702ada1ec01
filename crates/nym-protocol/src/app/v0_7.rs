//! The dialect *v0.7*, spoken by one release: every request has exactly one answer, in text.
//!
//! ```text
//! {"type":"send","message":"…","recipient":"…"}  -> {"type":"send"}
//! binary: recipient (64) | message               -> {"type":"send"}
//! {"type":"selfAddress"}                         -> {"type":"selfAddress","address":"…"}
//! {"type":"getClients"}                          -> {"type":"getClients","clients":[…]}
//! anything else                                  -> {"type":"error","message":"…"}
//! ```
//!
//! Pushes are bare messages. A recipient is 64 bytes and names no encryption key, so nothing can
//! be sent to it on today's network: this module is for programs that read or write old traffic.

use core::fmt;
use core::str::FromStr;

use serde::Serialize;

use super::AppError;
use super::json::{Members, to_text, unknown_type};

/// Length of a [`Recipient`] in bytes.
pub const RECIPIENT_LEN: usize = 64;

/// An address of that time: client identity (32 bytes) ‖ gateway identity (32 bytes).
///
/// In text both are base58 with an `@` between them.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Recipient([u8; RECIPIENT_LEN]);

impl Recipient {
    /// The address of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; RECIPIENT_LEN]) -> Self {
        Self(bytes)
    }

    /// The 64 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; RECIPIENT_LEN] {
        &self.0
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (client, gateway) = self.0.split_at(32);
        let [client, gateway] = [client, gateway].map(|key| bs58::encode(key).into_string());
        write!(f, "{client}@{gateway}")
    }
}

impl FromStr for Recipient {
    type Err = RequestError;

    fn from_str(text: &str) -> Result<Self, RequestError> {
        let (client, gateway) = text
            .split_once('@')
            .ok_or(RequestError::MalformedRecipient)?;
        let mut bytes = [0; RECIPIENT_LEN];
        for (part, key) in [client, gateway]
            .into_iter()
            .zip(bytes.chunks_exact_mut(32))
        {
            let decoded_len = bs58::decode(part).onto(&mut *key);
            if decoded_len != Ok(32) {
                return Err(RequestError::MalformedRecipient);
            }
        }
        Ok(Self(bytes))
    }
}

/// What an app asks.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Request {
    /// Which clients exist?
    GetClients,
    /// Under which address does the client receive?
    SelfAddress,
    /// Send a message.
    Send {
        /// To whom.
        recipient: Recipient,
        /// What to say. May be empty.
        message: Vec<u8>,
    },
}

impl Request {
    /// Reads a text request.
    ///
    /// # Errors
    /// [`RequestError::Invalid`] or [`RequestError::MalformedRecipient`].
    pub fn parse_text(text: &str) -> Result<Self, RequestError> {
        let members = Members::parse(text)?;
        match members.kind()?.as_str() {
            "getClients" => Ok(Self::GetClients),
            "selfAddress" => Ok(Self::SelfAddress),
            "send" => {
                let message: String = members.message.required("message", "a string")?;
                let recipient: String = members.recipient.required("recipient", "a string")?;
                Ok(Self::Send {
                    recipient: recipient.parse()?,
                    message: message.into_bytes(),
                })
            }
            other => Err(unknown_type(other, &["send", "getClients", "selfAddress"]).into()),
        }
    }

    /// Reads a binary request, which is always a send.
    ///
    /// # Errors
    /// [`RequestError::InvalidBinary`] below 64 bytes.
    pub fn parse_binary(frame: &[u8]) -> Result<Self, RequestError> {
        let (recipient, message) = frame
            .split_first_chunk()
            .ok_or(RequestError::InvalidBinary)?;
        Ok(Self::Send {
            recipient: Recipient(*recipient),
            message: message.to_vec(),
        })
    }

    /// Writes a send as binary; the other requests have no binary form.
    #[must_use]
    pub fn to_binary(&self) -> Option<Vec<u8>> {
        match self {
            Self::Send { recipient, message } => Some([&recipient.0[..], message].concat()),
            Self::GetClients | Self::SelfAddress => None,
        }
    }
}

/// Why a request is refused; shown to the app as an error.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The text is not a request.
    #[error("received invalid request. err: {detail}")]
    Invalid {
        /// What is wrong with it.
        detail: String,
    },
    /// The binary frame is shorter than a recipient.
    #[error("invalid binary request")]
    InvalidBinary,
    /// The recipient is not two base58 keys with an `@` between them.
    #[error("malformed recipient address")]
    MalformedRecipient,
    /// The client does not know the network.
    #[error("invalid network topology")]
    NoTopology,
}

/// The faults that the dialects share have no kind here, only their detail.
impl From<AppError> for RequestError {
    fn from(error: AppError) -> Self {
        Self::Invalid {
            detail: error.detail,
        }
    }
}

/// What the client answers, always as text.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Response {
    /// The request is refused.
    Error(RequestError),
    /// The clients that exist, as base58 identities.
    GetClients(Vec<String>),
    /// The address of the client.
    SelfAddress(Recipient),
    /// The message is accepted, not delivered.
    Send,
}

impl Response {
    /// Writes the answer.
    #[must_use]
    pub fn to_text(&self) -> String {
        to_text(&match self {
            Self::Error(error) => TextResponse::Error {
                message: error.to_string(),
            },
            Self::GetClients(clients) => TextResponse::GetClients { clients },
            Self::SelfAddress(own) => TextResponse::SelfAddress {
                address: own.to_string(),
            },
            Self::Send => TextResponse::Send,
        })
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "camelCase")]
enum TextResponse<'a> {
    Error { message: String },
    GetClients { clients: &'a [String] },
    SelfAddress { address: String },
    Send,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_binary_request_needs_64_bytes() {
        assert_eq!(
            Request::parse_binary(&[1; 63]),
            Err(RequestError::InvalidBinary)
        );
        let least = Request::parse_binary(&[1; 64]).unwrap();
        assert_eq!(least.to_binary().unwrap(), [1; 64]);
    }

    proptest! {
        #[test]
        fn recipients_survive_a_round_trip(client: [u8; 32], gateway: [u8; 32]) {
            let recipient = Recipient([client, gateway].concat().try_into().unwrap());
            prop_assert_eq!(recipient.to_string().parse(), Ok(recipient));
        }

        #[test]
        fn any_text_gives_a_recipient_or_an_error(text in "[@1-9A-Za-z0 ]{0,100}") {
            let _ = text.parse::<Recipient>();
        }
    }
}
