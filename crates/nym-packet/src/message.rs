//! What is inside the fragments: the user's message, with or without a reply SURB, and padding.
//!
//! ```text
//! 0 ‖ message                          ‖ 1 ‖ 0 …        without reply SURB
//! 1 ‖ reply SURB (1164) ‖ message      ‖ 1 ‖ 0 …        with one
//! ```
//!
//! The zeros fill the last fragment, so that the length tells the number of fragments only. The
//! end of the message is the *last* byte 1; bytes behind it are not looked at.

use thiserror::Error;

use crate::fragment::FragmentGeometry;
use crate::reply::{REPLY_SURB_LEN, ReplySurb};

/// First byte of a message without reply SURB.
const PLAIN: u8 = 0;

/// First byte of a message with reply SURB.
const WITH_SURB: u8 = 1;

/// Ends the message; zeros follow.
const END: u8 = 1;

/// Prepares a message for [`split`](crate::fragment::split): prefix, end marker and zeros that
/// fill the last fragment.
///
/// # Errors
///
/// [`MessageError::SurbLength`] if the reply SURB is not one over four hops (1,164 bytes), the
/// only kind that a receiver can find the end of.
pub fn prepare(
    message: &[u8],
    reply_surb: Option<&ReplySurb>,
    geometry: FragmentGeometry,
) -> Result<Vec<u8>, MessageError> {
    let surb = reply_surb.map(ReplySurb::to_bytes);
    let (prefix, surb) = surb
        .as_ref()
        .map_or((PLAIN, &[][..]), |surb| (WITH_SURB, surb));
    if prefix == WITH_SURB && surb.len() != REPLY_SURB_LEN {
        return Err(MessageError::SurbLength { found: surb.len() });
    }
    let len = 1 + surb.len() + message.len() + 1;
    let mut padded = Vec::with_capacity(len + geometry.plan(len).room);
    padded.push(prefix);
    padded.extend_from_slice(surb);
    padded.extend_from_slice(message);
    padded.push(END);
    padded.resize(len + geometry.plan(len).room, 0);
    Ok(padded)
}

/// Reads what was reassembled: the message and the reply SURB that came with it.
///
/// # Errors
///
/// [`MessageError`] if the prefix is unknown, the reply SURB incomplete or malformed, or no byte
/// 1 marks the end of the message.
pub fn parse(reassembled: &[u8]) -> Result<(Vec<u8>, Option<ReplySurb>), MessageError> {
    let (reply_surb, rest) = match reassembled.split_first().ok_or(MessageError::Empty)? {
        (&PLAIN, rest) => (None, rest),
        (&WITH_SURB, rest) => {
            let (surb, rest) = rest
                .split_at_checked(REPLY_SURB_LEN)
                .ok_or(MessageError::SurbLength { found: rest.len() })?;
            (
                Some(ReplySurb::from_bytes(surb).map_err(|_| MessageError::Surb)?),
                rest,
            )
        }
        (&prefix, _) => return Err(MessageError::UnknownPrefix { prefix }),
    };
    let message = strip_padding(rest).ok_or(MessageError::MissingEnd)?;
    Ok((message.to_vec(), reply_surb))
}

/// Appends the end marker, and zeros up to `len` bytes. The message must be shorter than `len`.
pub(crate) fn pad(message: &[u8], len: usize) -> Vec<u8> {
    let mut padded = Vec::with_capacity(len);
    padded.extend_from_slice(message);
    padded.push(END);
    padded.resize(len, 0);
    padded
}

/// What is before the last end marker; `None` without one.
pub(crate) fn strip_padding(padded: &[u8]) -> Option<&[u8]> {
    let end = padded.iter().rposition(|byte| *byte == END)?;
    padded.get(..end)
}

/// Why a message cannot be prepared, or a reassembled one not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Nothing was reassembled.
    #[error("empty message")]
    Empty,
    /// No byte 1 marks the end of the message.
    #[error("the end of a message is not marked")]
    MissingEnd,
    /// The reply SURB in the message is malformed.
    #[error("malformed reply SURB in a message")]
    Surb,
    /// The reply SURB has another length than 1,164 bytes, or fewer bytes follow the prefix.
    #[error("a reply SURB in a message has 1164 bytes, found {found}")]
    SurbLength {
        /// Bytes of the SURB, or bytes behind the prefix.
        found: usize,
    },
    /// The first byte is neither 0 nor 1.
    #[error("unknown message prefix {prefix}")]
    UnknownPrefix {
        /// The first byte.
        prefix: u8,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn padding_fills_fragments_on_both_sides_of_the_bound() {
        assert_eq!(
            prepare(&[7; 1602], None, FragmentGeometry::REGULAR)
                .unwrap()
                .len(),
            1604
        );
        assert_eq!(
            prepare(&[7; 1603], None, FragmentGeometry::REGULAR)
                .unwrap()
                .len(),
            2 * 1604
        );
    }

    #[test]
    fn nothing_and_unknown_prefixes_are_refused() {
        assert_eq!(parse(&[]).err(), Some(MessageError::Empty));
        assert_eq!(
            parse(&[2, 1]).err(),
            Some(MessageError::UnknownPrefix { prefix: 2 })
        );
        assert_eq!(parse(&[0, 2]).err(), Some(MessageError::MissingEnd));
        assert_eq!(parse(&[0, 1]).unwrap().0, []);
    }

    #[test]
    fn incomplete_surb_is_refused() {
        let mut bytes = vec![0; 1 + REPLY_SURB_LEN];
        bytes[0] = 1;
        let short = parse(&bytes[..REPLY_SURB_LEN]).err();
        assert_eq!(
            short,
            Some(MessageError::SurbLength {
                found: REPLY_SURB_LEN - 1
            })
        );
        assert_eq!(parse(&bytes).err(), Some(MessageError::MissingEnd));
    }

    proptest! {
        #[test]
        fn messages_round_trip(
            message in prop::collection::vec(any::<u8>(), 0..5000),
            surb in prop::option::of(prop::collection::vec(any::<u8>(), REPLY_SURB_LEN)),
        ) {
            let surb = surb.map(|bytes| ReplySurb::from_bytes(&bytes).unwrap());
            let padded = prepare(&message, surb.as_ref(), FragmentGeometry::REGULAR)?;
            prop_assert_eq!(FragmentGeometry::REGULAR.plan(padded.len()).room, 0);
            let (parsed, parsed_surb) = parse(&padded)?;
            prop_assert_eq!(parsed, message);
            prop_assert_eq!(
                parsed_surb.map(|surb| surb.to_bytes()),
                surb.map(|surb| surb.to_bytes())
            );
        }

        #[test]
        fn any_bytes_are_a_message_or_an_error(
            mut bytes in prop::collection::vec(any::<u8>(), 0..1200),
            prefix in 0..3_u8,
        ) {
            if let Some(first) = bytes.first_mut() {
                *first = prefix;
            }
            let _ = parse(&bytes);
        }
    }
}
