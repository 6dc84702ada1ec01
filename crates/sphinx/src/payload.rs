//! The payload: a message, marked at both ends and encrypted once for each hop.

use crate::{
    error::{Error, PayloadFault},
    lioness,
    sizes::{PAYLOAD_OVERHEAD, PAYLOAD_PREFIX_LEN},
};

/// The byte after the message; zeros follow it.
const END_MARKER: u8 = 1;

/// The message in a payload from which all layers of encryption have been taken off.
///
/// ```text
/// │ 16 bytes 0 │ message │ 1 │ any bytes but 1, from an honest sender zeros │
/// ```
///
/// # Errors
///
/// [`Error::InvalidPayload`] if the payload is shorter than 17 bytes, does not start with 16 zero
/// bytes (it was changed on its way, or is still encrypted), or has no end marker.
pub fn recover_plaintext(payload: &[u8]) -> Result<&[u8], Error> {
    let too_short = PayloadFault::TooShort {
        found: payload.len(),
        minimum: PAYLOAD_OVERHEAD,
    };
    if payload.len() < PAYLOAD_OVERHEAD {
        return Err(Error::InvalidPayload(too_short));
    }
    let (prefix, rest) = payload
        .split_at_checked(PAYLOAD_PREFIX_LEN)
        .ok_or(Error::InvalidPayload(too_short))?;
    if prefix.iter().any(|&byte| byte != 0) {
        return Err(Error::InvalidPayload(PayloadFault::NonZeroPrefix));
    }
    rest.iter()
        .rposition(|&byte| byte == END_MARKER)
        .and_then(|end| rest.get(..end))
        .ok_or(Error::InvalidPayload(PayloadFault::MissingEndMarker))
}

/// Fails if a payload of `payload_len` bytes cannot carry a message of `message_len`.
pub(crate) fn check_capacity(message_len: usize, payload_len: usize) -> Result<(), PayloadFault> {
    lioness::check_len(payload_len)?;
    let maximum = payload_len.saturating_sub(PAYLOAD_OVERHEAD);
    if message_len > maximum {
        return Err(PayloadFault::MessageTooLong {
            found: message_len,
            maximum,
        });
    }
    Ok(())
}

/// Fills `payload` with the message and its marks, not yet encrypted.
pub(crate) fn write_plaintext(message: &[u8], payload: &mut [u8]) -> Result<(), PayloadFault> {
    check_capacity(message.len(), payload.len())?;
    let (prefix, rest) = payload.split_at_mut(PAYLOAD_PREFIX_LEN);
    prefix.fill(0);
    let (to, rest) = rest.split_at_mut(message.len());
    to.copy_from_slice(message);
    let (marker, zeros) = rest.split_at_mut(1);
    marker.fill(END_MARKER);
    zeros.fill(0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn message_may_fill_all_but_17_bytes() {
        let mut payload = [0xff; 64];
        assert_eq!(write_plaintext(&[9; 47], &mut payload), Ok(()));
        assert_eq!(recover_plaintext(&payload), Ok(&[9; 47][..]));
        assert_eq!(
            write_plaintext(&[9; 48], &mut payload),
            Err(PayloadFault::MessageTooLong {
                found: 48,
                maximum: 47
            })
        );
    }

    #[test]
    fn payload_of_32_bytes_cannot_be_built() {
        assert_eq!(
            check_capacity(0, 32),
            Err(PayloadFault::TooShort {
                found: 32,
                minimum: 33
            })
        );
        assert_eq!(check_capacity(16, 33), Ok(()));
    }

    proptest! {
        #[test]
        fn what_was_written_is_recovered(
            message in prop::collection::vec(any::<u8>(), 16..300),
            room in 0_usize..100,
        ) {
            let mut payload = vec![0xee; message.len() + PAYLOAD_OVERHEAD + room];
            write_plaintext(&message, &mut payload).unwrap();
            prop_assert_eq!(recover_plaintext(&payload).unwrap(), message);
        }

        #[test]
        fn recovery_takes_any_bytes(payload in prop::collection::vec(0_u8..3, 0..100)) {
            if let Ok(message) = recover_plaintext(&payload) {
                prop_assert!(message.len() + PAYLOAD_OVERHEAD <= payload.len());
            }
        }
    }
}
