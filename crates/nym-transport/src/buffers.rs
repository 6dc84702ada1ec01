//! Buffers that packets leave behind, for those that come.
//!
//! Packets have three lengths, so a buffer that carried one fits every other of its size. Readers
//! take what one read needs, writers give back what one write sent, each with one lock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nym_packet::frame::Frame;
use nym_packet::geometry::PacketSize;

/// Bytes of buffers that are kept at most: 6,900 regular packets, more than what is on its way
/// through a node at a time. What comes back beyond is freed.
const KEPT_BYTES: usize = 16 << 20;

/// A shared stock of buffers; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Buffers(Arc<Mutex<Spares>>);

impl Buffers {
    /// The stock, for a moment.
    ///
    /// Held for some moves and copies; a panic between them would leave a stock that is still one.
    pub fn lock(&self) -> MutexGuard<'_, Spares> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Buffers without a packet.
#[derive(Debug, Default)]
pub struct Spares {
    /// In the order of the sizes' codes.
    by_size: [Vec<Vec<u8>>; 3],
    bytes: usize,
}

impl Spares {
    /// A buffer for a packet of this size, with anything in it; a new one if there is none.
    pub fn take(&mut self, size: PacketSize) -> Vec<u8> {
        let Some(buffer) = self.of(size).and_then(Vec::pop) else {
            return Vec::with_capacity(size.packet_len());
        };
        self.bytes -= size.packet_len();
        buffer
    }

    /// Keeps the buffer of a packet that is not needed any more.
    pub fn give(&mut self, frame: Frame) {
        let size = frame.size();
        if self.bytes + size.packet_len() <= KEPT_BYTES
            && let Some(buffers) = self.of(size)
        {
            buffers.push(frame.into_packet());
            self.bytes += size.packet_len();
        }
    }

    fn of(&mut self, size: PacketSize) -> Option<&mut Vec<Vec<u8>>> {
        let index = PacketSize::ALL.iter().position(|other| *other == size)?;
        self.by_size.get_mut(index)
    }
}

#[cfg(test)]
mod tests {
    use nym_packet::frame::PacketMode;

    use super::*;

    fn frame(size: PacketSize) -> Frame {
        Frame::new(PacketMode::Mix, vec![1; size.packet_len()]).unwrap()
    }

    #[test]
    fn a_buffer_comes_back_for_its_own_size() {
        let buffers = Buffers::default();
        let mut regular = frame(PacketSize::Regular).into_packet();
        regular.fill(7);
        let regular = Frame::new(PacketMode::Mix, regular).unwrap();
        buffers.lock().give(regular);
        // What it holds tells whose it was.
        assert!(buffers.lock().take(PacketSize::Ack).is_empty());
        let back = buffers.clone().lock().take(PacketSize::Regular);
        assert_eq!(back, [7; PacketSize::Regular.packet_len()]);
        assert!(buffers.lock().take(PacketSize::Regular).is_empty());
    }

    #[test]
    fn the_stock_is_bounded() {
        let mut spares = Spares::default();
        let most = KEPT_BYTES / PacketSize::Extended.packet_len();
        for _ in 0..most + 10 {
            spares.give(frame(PacketSize::Extended));
        }
        assert_eq!(spares.by_size[2].len(), most);
        for _ in 0..most {
            spares.take(PacketSize::Extended);
        }
        assert_eq!(spares.bytes, 0);
    }
}
