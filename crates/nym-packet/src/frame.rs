//! Packets on a link between nodes.
//!
//! ```text
//! packet size code (1): 1, 2, 3 ‖ mode (1): 0, 1 ‖ Sphinx packet (2413, 386 or 33133)
//! ```
//!
//! Frames follow each other without separator. There is no handshake and no answer: a link is
//! written by the one who dialled it and read by the other. A frame with a wrong size code cannot
//! be skipped, since nobody knows its length, so every decoding error ends the connection.

use core::fmt;

use thiserror::Error;

use crate::geometry::PacketSize;

/// How a packet wants to be treated on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PacketMode {
    /// Each mix node holds the packet for the delay in its header.
    #[default]
    Mix,
    /// Mix nodes forward at once, whatever the header says. Such packets may share their first
    /// group element, which links them; we honour the mode and never send it by ourselves.
    Vpn,
}

impl PacketMode {
    /// The code in a frame's second byte and in a mix packet's first.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Mix => 0,
            Self::Vpn => 1,
        }
    }

    /// The mode with this code, if there is one.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Mix),
            1 => Some(Self::Vpn),
            _ => None,
        }
    }
}

impl fmt::Display for PacketMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mix => "mix",
            Self::Vpn => "vpn",
        })
    }
}

/// One packet on a link; its length is one of the three of [`PacketSize`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    mode: PacketMode,
    size: PacketSize,
    packet: Vec<u8>,
}

impl Frame {
    /// Frames a Sphinx packet.
    ///
    /// # Errors
    ///
    /// [`PacketLengthError`] if no packet size has this length.
    pub fn new(mode: PacketMode, packet: Vec<u8>) -> Result<Self, PacketLengthError> {
        let size = packet_size(&packet)?;
        Ok(Self { mode, size, packet })
    }

    /// How the packet wants to be treated.
    #[must_use]
    pub const fn mode(&self) -> PacketMode {
        self.mode
    }

    /// Which of the three sizes the packet has.
    #[must_use]
    pub const fn size(&self) -> PacketSize {
        self.size
    }

    /// The Sphinx packet.
    #[must_use]
    pub fn packet(&self) -> &[u8] {
        &self.packet
    }

    /// The Sphinx packet, to be opened in place.
    #[must_use]
    pub fn into_packet(self) -> Vec<u8> {
        self.packet
    }

    /// Appends the frame's bytes to `buffer`.
    pub fn encode_into(&self, buffer: &mut Vec<u8>) {
        buffer.reserve(self.size.frame_len());
        buffer.extend_from_slice(
            &FrameHeader {
                size: self.size,
                mode: self.mode,
            }
            .to_bytes(),
        );
        buffer.extend_from_slice(&self.packet);
    }
}

/// The two bytes before a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Which of the three sizes the packet has.
    pub size: PacketSize,
    /// How the packet wants to be treated.
    pub mode: PacketMode,
}

impl FrameHeader {
    /// Length in bytes.
    pub const LEN: usize = 2;

    /// The header for a packet.
    ///
    /// # Errors
    ///
    /// [`PacketLengthError`] if no packet size has this length.
    pub fn for_packet(mode: PacketMode, packet: &[u8]) -> Result<Self, PacketLengthError> {
        Ok(Self {
            size: packet_size(packet)?,
            mode,
        })
    }

    /// Reads the two bytes.
    ///
    /// # Errors
    ///
    /// [`FrameError::UnknownSize`], or else [`FrameError::UnknownMode`].
    pub fn parse([size, mode]: [u8; Self::LEN]) -> Result<Self, FrameError> {
        Ok(Self {
            size: PacketSize::from_code(size).ok_or(FrameError::UnknownSize { code: size })?,
            mode: PacketMode::from_code(mode).ok_or(FrameError::UnknownMode { code: mode })?,
        })
    }

    /// The two bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; Self::LEN] {
        [self.size.code(), self.mode.code()]
    }
}

/// Cuts the bytes of a link into frames.
///
/// ```
/// use nym_packet::frame::{Frame, FrameDecoder, PacketMode};
///
/// let frame = Frame::new(PacketMode::Mix, vec![7; 386])?;
/// let mut bytes = Vec::new();
/// frame.encode_into(&mut bytes);
///
/// let mut decoder = FrameDecoder::new();
/// decoder.push(&bytes[..100]);
/// assert_eq!(decoder.next_frame()?, None);
/// decoder.push(&bytes[100..]);
/// assert_eq!(decoder.next_frame()?, Some(frame));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It holds what was pushed and not yet taken: at most one frame (33,135 bytes) and one push, if
/// [`next_frame`](Self::next_frame) is called until it gives `None` after each push. After an
/// error it is finished and gives the same error for ever, since the bytes behind it cannot be
/// told apart.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    buffer: Vec<u8>,
    /// Bytes at the start of `buffer` that were already taken.
    taken: usize,
    failed: Option<FrameError>,
}

impl FrameDecoder {
    /// An empty decoder.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            buffer: Vec::new(),
            taken: 0,
            failed: None,
        }
    }

    /// Appends what was read from the link.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.buffer.drain(..self.taken);
            self.taken = 0;
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The next complete frame, or `None` until more bytes come.
    ///
    /// # Errors
    ///
    /// [`FrameError`] when the next two bytes are not a frame header; the connection must be
    /// closed. Frames before it have been given already.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        self.next_frame_in(|_| Vec::new())
    }

    /// Like [`next_frame`](Self::next_frame), with the packet in the buffer that `buffer` gives for
    /// its size, whatever that holds. Nothing is allocated if the buffer is large enough.
    ///
    /// # Errors
    ///
    /// As [`next_frame`](Self::next_frame).
    pub fn next_frame_in(
        &mut self,
        buffer: impl FnOnce(PacketSize) -> Vec<u8>,
    ) -> Result<Option<Frame>, FrameError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let pending = self.buffer.get(self.taken..).unwrap_or_default();
        let Some((header, rest)) = pending.split_first_chunk() else {
            return Ok(None);
        };
        let header = match FrameHeader::parse(*header) {
            Ok(header) => header,
            Err(error) => {
                self.failed = Some(error);
                self.buffer = Vec::new();
                self.taken = 0;
                return Err(error);
            }
        };
        let Some((packet, _)) = rest.split_at_checked(header.size.packet_len()) else {
            return Ok(None);
        };
        let mut buffer = buffer(header.size);
        buffer.clear();
        buffer.extend_from_slice(packet);
        let frame = Frame {
            mode: header.mode,
            size: header.size,
            packet: buffer,
        };
        self.taken += header.size.frame_len();
        Ok(Some(frame))
    }

    /// Bytes pushed and not yet taken as frames.
    #[must_use]
    pub const fn pending_len(&self) -> usize {
        self.buffer.len().saturating_sub(self.taken)
    }
}

/// Why the next two bytes of a link are not a frame header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The first byte is none of 1, 2, 3.
    #[error("unknown packet size code {code}")]
    UnknownSize {
        /// The byte found.
        code: u8,
    },
    /// The second byte is neither 0 nor 1.
    #[error("unknown packet mode {code}")]
    UnknownMode {
        /// The byte found.
        code: u8,
    },
}

/// A packet has none of the three lengths that packets have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no packet size has {found} bytes")]
pub struct PacketLengthError {
    /// Bytes of the packet.
    pub found: usize,
}

/// The size of a packet, by its length.
fn packet_size(packet: &[u8]) -> Result<PacketSize, PacketLengthError> {
    PacketSize::from_packet_len(packet.len()).ok_or(PacketLengthError {
        found: packet.len(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(size: PacketSize, mode: PacketMode, fill: u8) -> Frame {
        Frame::new(mode, vec![fill; size.packet_len()]).unwrap()
    }

    #[test]
    fn one_byte_is_not_judged() {
        let mut decoder = FrameDecoder::new();
        decoder.push(&[9]);
        assert_eq!(decoder.next_frame(), Ok(None));
        decoder.push(&[9]);
        assert_eq!(
            decoder.next_frame(),
            Err(FrameError::UnknownSize { code: 9 })
        );
    }

    #[test]
    fn error_is_final() {
        let mut decoder = FrameDecoder::new();
        decoder.push(&[1, 2]);
        let error = Err(FrameError::UnknownMode { code: 2 });
        assert_eq!(decoder.next_frame(), error);
        let mut good = Vec::new();
        frame(PacketSize::Ack, PacketMode::Mix, 0).encode_into(&mut good);
        decoder.push(&good);
        assert_eq!(decoder.next_frame(), error);
        assert_eq!(decoder.pending_len(), 0);
    }

    #[test]
    fn packet_of_another_length_cannot_be_framed() {
        for found in [0, 385, 387, 2412, 2414, 33_132, 33_134] {
            let error = PacketLengthError { found };
            assert_eq!(Frame::new(PacketMode::Mix, vec![0; found]), Err(error));
            assert_eq!(
                FrameHeader::for_packet(PacketMode::Mix, &vec![0; found]),
                Err(error)
            );
        }
    }

    fn any_frame() -> impl Strategy<Value = Frame> {
        let size = prop::sample::select(&PacketSize::ALL[..]);
        let mode = prop::sample::select(&[PacketMode::Mix, PacketMode::Vpn][..]);
        (size, mode, any::<u8>()).prop_map(|(size, mode, fill)| frame(size, mode, fill))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn frames_survive_any_cut_of_the_stream(
            frames in prop::collection::vec(any_frame(), 0..4),
            chunk in 1..40_000_usize,
        ) {
            let mut bytes = Vec::new();
            for frame in &frames {
                frame.encode_into(&mut bytes);
            }
            let mut decoder = FrameDecoder::new();
            let mut decoded = Vec::new();
            for read in bytes.chunks(chunk) {
                decoder.push(read);
                while let Some(frame) = decoder.next_frame()? {
                    decoded.push(frame);
                }
                prop_assert!(decoder.pending_len() < PacketSize::Extended.frame_len());
            }
            prop_assert_eq!(decoded, frames);
            prop_assert_eq!(decoder.pending_len(), 0);
        }

        #[test]
        fn any_stream_gives_frames_or_an_error(
            reads in prop::collection::vec(prop::collection::vec(0..5_u8, 0..900), 0..6),
        ) {
            let mut decoder = FrameDecoder::new();
            for read in reads {
                decoder.push(&read);
                while let Ok(Some(_)) = decoder.next_frame() {}
            }
        }

        #[test]
        fn header_round_trips(bytes: [u8; 2]) {
            if let Ok(header) = FrameHeader::parse(bytes) {
                prop_assert_eq!(header.to_bytes(), bytes);
            }
        }
    }
}
