//! The name under which a client knows an anonymous peer.

use core::fmt;
use core::str::FromStr;

/// Length of a [`SenderTag`] in bytes.
pub const SENDER_TAG_LEN: usize = 16;

/// The name of an anonymous peer whose reply SURBs the client keeps: 16 bytes, base58 in text.
///
/// It means something on this client only and says nothing about who the peer is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SenderTag([u8; SENDER_TAG_LEN]);

impl SenderTag {
    /// The tag of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; SENDER_TAG_LEN]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; SENDER_TAG_LEN] {
        &self.0
    }
}

impl fmt::Display for SenderTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bs58::encode(self.0).into_string())
    }
}

impl FromStr for SenderTag {
    type Err = SenderTagError;

    fn from_str(text: &str) -> Result<Self, SenderTagError> {
        // 16 bytes are at most 22 characters, so longer texts need no decoding: base58 takes
        // time quadratic in its length.
        if text.len() > 2 * SENDER_TAG_LEN {
            return Err(SenderTagError::TextLength { found: text.len() });
        }
        let bytes = bs58::decode(text)
            .into_vec()
            .map_err(SenderTagError::Base58)?;
        let found = bytes.len();
        bytes
            .try_into()
            .map(Self)
            .map_err(|_| SenderTagError::Length { found })
    }
}

/// Why a text is no [`SenderTag`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SenderTagError {
    /// It is not base58.
    #[error("sender tag is not base58: {0}")]
    Base58(#[source] bs58::decode::Error),
    /// It is not 16 bytes.
    #[error("sender tag has {found} bytes instead of 16")]
    Length {
        /// How many bytes the text stands for.
        found: usize,
    },
    /// It is far too long.
    #[error("sender tag has {found} characters, at most 22 stand for 16 bytes")]
    TextLength {
        /// How many bytes of text there are.
        found: usize,
    },
}
