//! Reading and writing the binary frames of the app API: big-endian integers, u64 lengths.

use super::{AppError, ErrorKind};

/// What is left of a frame.
///
/// Every read fails with `too_short` when the frame ends early.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    too_short: AppError,
}

impl<'a> Reader<'a> {
    /// Reads `body`, a frame without its tag, which must be at least `min_len` bytes.
    pub(super) fn new(
        body: &'a [u8],
        min_len: usize,
        too_short: AppError,
    ) -> Result<Self, AppError> {
        if body.len() < min_len {
            Err(too_short)
        } else {
            Ok(Self {
                rest: body,
                too_short,
            })
        }
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], AppError> {
        let Some((head, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(self.too_short.clone());
        };
        self.rest = rest;
        Ok(*head)
    }

    pub(super) fn byte(&mut self) -> Result<u8, AppError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u32(&mut self) -> Result<u32, AppError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, AppError> {
        self.array().map(u64::from_be_bytes)
    }

    /// The next `len` bytes, or `None` when there are not so many.
    pub(super) fn slice(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(head)
    }

    /// A length (u64) and the message, which must be all that is left.
    ///
    /// `what` is how the dialect calls the message in its error.
    pub(super) fn message(&mut self, what: &str, kind: ErrorKind) -> Result<Vec<u8>, AppError> {
        let specified = self.u64()?;
        let got = self.rest.len();
        if usize::try_from(specified) != Ok(got) {
            return Err(AppError::new(
                kind,
                format!("{what} len has inconsistent length. specified: {specified} got: {got}"),
            ));
        }
        Ok(self.rest.to_vec())
    }

    pub(super) fn rest_len(&self) -> usize {
        self.rest.len()
    }
}

/// Appends a length (u64) and the bytes.
pub(super) fn put_bytes(frame: &mut Vec<u8>, bytes: &[u8]) {
    // A `usize` has at most 64 bits on every platform that Rust knows.
    frame.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
    frame.extend_from_slice(bytes);
}
