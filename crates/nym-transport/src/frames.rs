//! The reading side of a link between nodes.
//!
//! Frames arrive one after the other, in clear and without any answer. [`FrameReader`] turns the
//! bytes of one connection into [`Frame`]s. It is fair to its peer and hard on its connection: a
//! bad frame header ends the connection, since nobody can tell where the next frame begins; frames
//! before it are delivered; bytes of a frame that the peer never finished are dropped.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use nym_packet::frame::{Frame, FrameDecoder, FrameError};
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};
use tokio::time::Instant;

use crate::alarm::Alarm;
use crate::buffers::Buffers;

/// Bytes asked of the operating system at a time: 13 regular frames, or nearly one extended.
const READ_LEN: usize = 32 * 1024;

/// Bytes of frames that are enough for one batch: 27 regular ones. An encrypted link gives one
/// record at a time, of 16 KiB at most, which are no more than six.
const BATCH_LEN: usize = 64 * 1024;

/// How long a link may be silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadTimeouts {
    /// Between frames. Long, because the sender keeps its connection open for as long as it likes
    /// and a 0.11 node loses a frame or two when we close it.
    pub idle: Duration,
    /// Within a frame: who has begun one must go on.
    pub frame: Duration,
}

impl Default for ReadTimeouts {
    /// One hour between frames, 30 seconds within one.
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(3600),
            frame: Duration::from_secs(30),
        }
    }
}

/// Why a link ended, other than by its peer closing it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameReadError {
    /// The peer sent something that is no frame.
    #[error("the peer sent no valid frame: {0}")]
    Frame(#[from] FrameError),
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// Nothing came for too long.
    #[error("nothing was received for {}", seconds(*after))]
    TimedOut {
        /// How long nothing came.
        after: Duration,
    },
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

/// Reads the frames of one connection.
///
/// Memory: 32 KiB to read into, and at most one frame and one read (66 KiB in all); what
/// [`next_frames`](Self::next_frames) gives comes on top.
#[derive(Debug)]
pub struct FrameReader<R> {
    link: R,
    timeouts: ReadTimeouts,
    alarm: Alarm,
    decoder: FrameDecoder,
    buffer: Box<[u8]>,
    spares: Buffers,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// A reader of `link`.
    pub fn new(link: R, timeouts: ReadTimeouts) -> Self {
        Self {
            link,
            timeouts,
            alarm: Alarm::default(),
            decoder: FrameDecoder::new(),
            buffer: vec![0; READ_LEN].into_boxed_slice(),
            spares: Buffers::default(),
        }
    }

    /// The same, with packets in buffers of this stock.
    #[must_use]
    pub fn with_buffers(mut self, buffers: Buffers) -> Self {
        self.spares = buffers;
        self
    }

    /// The next frame, or `None` when the peer has closed the connection.
    ///
    /// Cancel-safe: no byte is lost when the future is dropped.
    ///
    /// # Errors
    ///
    /// [`FrameReadError`]; the connection is then of no further use.
    pub async fn next_frame(&mut self) -> Result<Option<Frame>, FrameReadError> {
        loop {
            if let Some(frame) = self.decoder.next_frame()? {
                return Ok(Some(frame));
            }
            if !self.read().await? {
                return Ok(None);
            }
        }
    }

    /// Appends to `frames` all that has arrived, at least one, and gives their number; 0 when the
    /// peer has closed the connection.
    ///
    /// Packets that arrived together can be unwrapped together, which is cheaper. It reads on until
    /// nothing has arrived any more, or 64 KiB have; so one call gives at most 160 KiB, 430 frames
    /// of the smallest kind, and over an encrypted link, by its records, 112 KiB.
    ///
    /// Cancel-safe: no byte is lost when the future is dropped.
    ///
    /// # Errors
    ///
    /// [`FrameReadError`] when there is no frame to give; the connection is then of no further
    /// use.
    pub async fn next_frames(&mut self, frames: &mut Vec<Frame>) -> Result<usize, FrameReadError> {
        let mut count = loop {
            let count = self.take_complete(frames)?;
            if count > 0 {
                break count;
            }
            if !self.read().await? {
                return Ok(0);
            }
        };
        // From here on nothing is waited for. What goes wrong meanwhile, and the end of the stream,
        // is met again by the next call.
        let mut len = 0;
        while len < BATCH_LEN
            && let Some(read @ 1..) = self.read_ready().await
        {
            len += read;
            match self.take_complete(frames) {
                Ok(more) => count += more,
                Err(_) => break,
            }
        }
        Ok(count)
    }

    /// Appends the frames that are complete. An error behind good frames is given by the next call.
    fn take_complete(&mut self, frames: &mut Vec<Frame>) -> Result<usize, FrameError> {
        let mut spares = self.spares.lock();
        let mut count = 0;
        loop {
            match self.decoder.next_frame_in(|size| spares.take(size)) {
                Ok(Some(frame)) => frames.push(frame),
                Err(error) if count == 0 => return Err(error),
                Ok(None) | Err(_) => return Ok(count),
            }
            count += 1;
        }
    }

    /// Reads what has arrived already, and gives its length; `None` if nothing has, or when the
    /// connection fails.
    async fn read_ready(&mut self) -> Option<usize> {
        let mut buffer = ReadBuf::new(&mut self.buffer);
        let link = &mut self.link;
        let read = poll_fn(|context| {
            Poll::Ready(match Pin::new(&mut *link).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) => true,
                Poll::Ready(Err(_)) | Poll::Pending => false,
            })
        });
        read.await.then(|| {
            self.decoder.push(buffer.filled());
            buffer.filled().len()
        })
    }

    /// Reads once; false at the end of the stream.
    async fn read(&mut self) -> Result<bool, FrameReadError> {
        let after = if self.decoder.pending_len() == 0 {
            self.timeouts.idle
        } else {
            self.timeouts.frame
        };
        let ends_at = Instant::now() + after;
        // Both branches are cancel-safe.
        let len = tokio::select! {
            biased;
            len = self.link.read(&mut self.buffer) => len?,
            () = self.alarm.wait_until(ends_at) => return Err(FrameReadError::TimedOut { after }),
        };
        self.decoder
            .push(self.buffer.get(..len).unwrap_or_default());
        Ok(len > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nym_packet::frame::PacketMode;
    use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::time::timeout;

    fn frame(fill: u8) -> Frame {
        Frame::new(PacketMode::Mix, vec![fill; 386]).unwrap()
    }

    fn bytes_of(frames: &[Frame]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for frame in frames {
            frame.encode_into(&mut bytes);
        }
        bytes
    }

    fn link() -> (DuplexStream, FrameReader<DuplexStream>) {
        let (peer, own) = duplex(1 << 20);
        (peer, FrameReader::new(own, ReadTimeouts::default()))
    }

    #[tokio::test]
    async fn frames_written_together_are_read_together() {
        let (mut peer, mut reader) = link();
        let sent: Vec<Frame> = (0..5).map(frame).collect();
        peer.write_all(&bytes_of(&sent)).await.unwrap();
        let mut received = Vec::new();
        assert_eq!(reader.next_frames(&mut received).await.unwrap(), 5);
        assert_eq!(received, sent);
    }

    /// A link that gives so many bytes at a time, as an encrypted one gives records, and then waits.
    struct InPieces(Vec<u8>, usize);

    impl AsyncRead for InPieces {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let len = self.1.min(self.0.len());
            if len == 0 {
                return Poll::Pending;
            }
            buffer.put_slice(&self.0.drain(..len).collect::<Vec<_>>());
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn frames_that_arrived_in_pieces_are_read_together() {
        let sent: Vec<Frame> = (0..50).map(frame).collect();
        let link = InPieces(bytes_of(&sent), 1000);
        let mut reader = FrameReader::new(link, ReadTimeouts::default());
        let mut received = Vec::new();
        assert_eq!(reader.next_frames(&mut received).await.unwrap(), 50);
        assert_eq!(received, sent);
    }

    #[tokio::test]
    async fn a_link_that_never_pauses_gives_batches_all_the_same() {
        let sent: Vec<Frame> = (0..=255).cycle().take(1000).map(frame).collect();
        let link = InPieces(bytes_of(&sent), 16 * 1024);
        let mut reader = FrameReader::new(link, ReadTimeouts::default());
        let mut received = Vec::new();
        let count = reader.next_frames(&mut received).await.unwrap();
        // The first read, and then as many as make a batch.
        assert_eq!(count, (16 * 1024 + BATCH_LEN) / 388);
        while received.len() < sent.len() {
            assert!(reader.next_frames(&mut received).await.unwrap() > 0);
        }
        assert_eq!(received, sent);
    }

    #[tokio::test]
    async fn the_end_of_the_stream_drops_an_unfinished_frame() {
        let (mut peer, mut reader) = link();
        let bytes = bytes_of(&[frame(1), frame(2)]);
        peer.write_all(&bytes[..bytes.len() - 1]).await.unwrap();
        drop(peer);
        assert_eq!(reader.next_frame().await.unwrap(), Some(frame(1)));
        assert_eq!(reader.next_frame().await.unwrap(), None);
    }

    #[tokio::test]
    async fn frames_before_a_bad_header_are_delivered() {
        let (mut peer, mut reader) = link();
        let mut bytes = bytes_of(&[frame(1)]);
        bytes.extend([9, 0, 0]);
        peer.write_all(&bytes).await.unwrap();
        let mut received = Vec::new();
        assert_eq!(reader.next_frames(&mut received).await.unwrap(), 1);
        assert!(matches!(
            reader.next_frames(&mut received).await,
            Err(FrameReadError::Frame(FrameError::UnknownSize { code: 9 }))
        ));
        assert_eq!(received, [frame(1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_stops_within_a_frame_has_30_seconds() {
        let (mut peer, mut reader) = link();
        peer.write_all(&bytes_of(&[frame(1)])[..100]).await.unwrap();
        assert!(
            timeout(Duration::from_millis(29_999), reader.next_frame())
                .await
                .is_err(),
            "ended too early"
        );
        peer.write_all(&[0]).await.unwrap();
        let error = reader.next_frame().await.unwrap_err();
        assert_eq!(error.to_string(), "nothing was received for 30 s");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_has_one_hour() {
        let (_peer, mut reader) = link();
        let hour = Duration::from_secs(3600);
        assert!(
            timeout(hour - Duration::from_millis(1), reader.next_frame())
                .await
                .is_err()
        );
        let error = reader.next_frame().await.unwrap_err();
        assert!(matches!(error, FrameReadError::TimedOut { after } if after == hour));
    }
}
