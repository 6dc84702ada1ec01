//! Errors as apps see them: a code, a fixed text and a detail.

use core::fmt;

/// A refusal, shown to the app as `kind:detail`.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{kind}:{detail}")]
pub struct AppError {
    /// What kind of thing went wrong: one byte in binary frames, a fixed text in JSON.
    pub kind: ErrorKind,
    /// What exactly, for a person to read.
    pub detail: String,
}

impl AppError {
    /// An error of this kind.
    pub fn new(kind: ErrorKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
        }
    }

    /// The request was understood and cannot be done (code 0xff).
    pub fn other(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Other, detail)
    }

    /// A reply of `len` bytes is longer than the `max` bytes that fit one packet (code 0xff).
    #[must_use]
    pub fn reply_too_long(len: usize, max: usize) -> Self {
        Self::other(format!(
            "too long message to put inside a reply SURB. \
             Received: {len} bytes and maximum is {max} bytes"
        ))
    }

    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::MalformedRequest, detail)
    }
}

/// The kinds of [`AppError`], each with a code of one byte and a text.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum ErrorKind {
    /// 0x01: an empty binary frame.
    EmptyRequest,
    /// 0x02: a binary request below its minimum length.
    TooShortRequest,
    /// 0x03: a binary request with an unknown first byte.
    UnknownRequest,
    /// 0x04: everything else that is wrong with a request, all faults of JSON requests included.
    MalformedRequest,
    /// 0x80: the app was given an empty binary frame.
    EmptyResponse,
    /// 0x81: the app was given a binary response below its minimum length.
    TooShortResponse,
    /// 0x82: the app was given a binary response with an unknown first byte.
    UnknownResponse,
    /// 0x83: everything else that is wrong with a response.
    MalformedResponse,
    /// 0xff: the request was understood and cannot be done.
    Other,
}

impl ErrorKind {
    const ALL: [Self; 9] = [
        Self::EmptyRequest,
        Self::TooShortRequest,
        Self::UnknownRequest,
        Self::MalformedRequest,
        Self::EmptyResponse,
        Self::TooShortResponse,
        Self::UnknownResponse,
        Self::MalformedResponse,
        Self::Other,
    ];

    /// The byte that stands for this kind in binary frames.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::EmptyRequest => 0x01,
            Self::TooShortRequest => 0x02,
            Self::UnknownRequest => 0x03,
            Self::MalformedRequest => 0x04,
            Self::EmptyResponse => 0x80,
            Self::TooShortResponse => 0x81,
            Self::UnknownResponse => 0x82,
            Self::MalformedResponse => 0x83,
            Self::Other => 0xff,
        }
    }

    /// The kind that a byte of a binary frame stands for, if any.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// The text that stands for this kind in JSON, before the first colon of the message.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::EmptyRequest => "received request contained no data",
            Self::TooShortRequest => "received request did not contain enough data",
            Self::UnknownRequest => "unknown request type",
            Self::MalformedRequest => "malformed request",
            Self::EmptyResponse => "received response contained no data",
            Self::TooShortResponse => "received response did not contain enough data",
            Self::UnknownResponse => "unknown response type",
            Self::MalformedResponse => "malformed response",
            Self::Other => "other",
        }
    }

    /// The kind that a JSON error text begins with, and the detail after the colon.
    pub(super) fn split_text(message: &str) -> Option<(Self, &str)> {
        let (text, detail) = message.split_once(':')?;
        let kind = Self::ALL.into_iter().find(|kind| kind.text() == text)?;
        Some((kind, detail))
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_code_and_by_its_text() {
        for kind in ErrorKind::ALL {
            assert_eq!(ErrorKind::from_code(kind.code()), Some(kind));
            let message = AppError::new(kind, "a: b").to_string();
            assert_eq!(ErrorKind::split_text(&message), Some((kind, "a: b")));
        }
        assert_eq!(ErrorKind::from_code(0), None);
        assert_eq!(ErrorKind::from_code(5), None);
        assert_eq!(ErrorKind::split_text("no such kind:x"), None);
        assert_eq!(ErrorKind::split_text("other"), None);
    }
}
