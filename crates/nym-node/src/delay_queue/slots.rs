//! Where waiting packets lie: slots of exactly a packet's length, in chunks of some hundred
//! kilobytes for each size.
//!
//! A slot costs a packet's bytes and [`Entry`], 32 bytes. A chunk is allocated when it is needed
//! and freed when its last packet has left, so a node gives the memory of a flood back.

use nym_packet::address::HopAddress;
use nym_packet::frame::PacketMode;
use nym_packet::geometry::PacketSize;
use nym_packet::time::Timestamp;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Names a slot until its packet leaves: two bits of size, then chunk and place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SlotId(u32);

impl SlotId {
    /// Names no slot: there is no fourth size.
    pub(super) const NONE: Self = Self(u32::MAX);

    const SIZE_SHIFT: u32 = 30;

    /// Slots of one size at most.
    const MAX_COUNT: usize = 1 << Self::SIZE_SHIFT;

    fn size_index(self) -> usize {
        (self.0 >> Self::SIZE_SHIFT) as usize
    }

    fn position(self) -> usize {
        (self.0 & ((1 << Self::SIZE_SHIFT) - 1)) as usize
    }
}

/// What is known about a waiting packet, besides its bytes.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) deadline: Timestamp,
    /// The next packet in the same slot of the wheel, or the next free place of the chunk.
    pub(super) next: SlotId,
    octets: [u8; 16],
    port: u16,
    is_v4: bool,
    mode: PacketMode,
}

const _: () = assert!(size_of::<Entry>() == 32);

impl Entry {
    pub(super) fn new(deadline: Timestamp, next_hop: HopAddress, mode: PacketMode) -> Self {
        let address = next_hop.socket_addr();
        let (octets, is_v4) = match address.ip() {
            IpAddr::V4(ip) => (ip.to_ipv6_mapped().octets(), true),
            IpAddr::V6(ip) => (ip.octets(), false),
        };
        Self {
            deadline,
            next: SlotId::NONE,
            octets,
            port: address.port(),
            is_v4,
            mode,
        }
    }

    const EMPTY: Self = Self {
        deadline: Timestamp::ZERO,
        next: SlotId::NONE,
        octets: [0; 16],
        port: 0,
        is_v4: false,
        mode: PacketMode::Mix,
    };

    pub(super) fn next_hop(&self) -> HopAddress {
        let ip = Ipv6Addr::from(self.octets);
        let ip = match ip.to_ipv4_mapped() {
            Some(ip) if self.is_v4 => IpAddr::V4(ip),
            _ => IpAddr::V6(ip),
        };
        HopAddress::new(SocketAddr::new(ip, self.port))
    }

    pub(super) const fn mode(&self) -> PacketMode {
        self.mode
    }
}

/// All slots of a queue.
pub(super) struct Slots {
    by_size: [SizedSlots; 3],
}

impl Slots {
    pub(super) fn new() -> Self {
        Self {
            by_size: PacketSize::ALL.map(SizedSlots::new),
        }
    }

    /// Puts a packet into a free slot; `None` when there are 2³⁰ of its size.
    pub(super) fn put(&mut self, size: PacketSize, entry: Entry, packet: &[u8]) -> Option<SlotId> {
        let index = PacketSize::ALL.iter().position(|other| *other == size)?;
        let position = self.by_size[index].put(entry, packet)?;
        let size_bits = u32::try_from(index).ok()? << SlotId::SIZE_SHIFT;
        Some(SlotId(size_bits | u32::try_from(position).ok()?))
    }

    pub(super) fn entry(&self, id: SlotId) -> &Entry {
        let (chunk, place) = self.by_size[id.size_index()].locate(id);
        &self.by_size[id.size_index()].chunks[chunk].entries[place]
    }

    pub(super) fn entry_mut(&mut self, id: SlotId) -> &mut Entry {
        let slots = &mut self.by_size[id.size_index()];
        let (chunk, place) = slots.locate(id);
        &mut slots.chunks[chunk].entries[place]
    }

    pub(super) fn packet(&self, id: SlotId) -> (PacketSize, &[u8]) {
        let slots = &self.by_size[id.size_index()];
        (slots.size, slots.packet(id))
    }

    /// Frees a slot, whose id means nothing from then on.
    pub(super) fn free(&mut self, id: SlotId) {
        self.by_size[id.size_index()].free(id);
    }
}

/// Slots of one size.
struct SizedSlots {
    size: PacketSize,
    /// Slots in a chunk: 154, 198 and 265 kB of packets.
    per_chunk: usize,
    chunks: Vec<Chunk>,
    /// Chunks with a free slot; the last is used first.
    with_room: Vec<usize>,
    /// The one chunk that keeps its memory although it is empty, so that a packet that comes and
    /// goes does not allocate.
    spare: Option<usize>,
}

impl SizedSlots {
    const fn new(size: PacketSize) -> Self {
        let per_chunk = match size {
            PacketSize::Regular => 64,
            PacketSize::Ack => 512,
            PacketSize::Extended => 8,
        };
        Self {
            size,
            per_chunk,
            chunks: Vec::new(),
            with_room: Vec::new(),
            spare: None,
        }
    }

    fn locate(&self, id: SlotId) -> (usize, usize) {
        let position = id.position();
        (position / self.per_chunk, position % self.per_chunk)
    }

    fn packet(&self, id: SlotId) -> &[u8] {
        let (chunk, place) = self.locate(id);
        let len = self.size.packet_len();
        &self.chunks[chunk].packets[place * len..][..len]
    }

    /// The position of the slot that took the packet.
    fn put(&mut self, entry: Entry, packet: &[u8]) -> Option<usize> {
        let index = match self.with_room.last() {
            Some(index) => *index,
            None if self.chunks.len() < SlotId::MAX_COUNT / self.per_chunk => {
                self.chunks.push(Chunk::default());
                self.with_room.push(self.chunks.len() - 1);
                self.chunks.len() - 1
            }
            None => return None,
        };
        let len = self.size.packet_len();
        let chunk = &mut self.chunks[index];
        if chunk.packets.is_empty() {
            chunk.packets = vec![0; self.per_chunk * len].into_boxed_slice();
            chunk.entries = vec![Entry::EMPTY; self.per_chunk].into_boxed_slice();
        }
        if self.spare == Some(index) {
            self.spare = None;
        }
        let place = chunk.take_place();
        chunk.entries[place] = entry;
        chunk.packets[place * len..][..len].copy_from_slice(packet);
        if chunk.used == self.per_chunk {
            self.with_room.pop();
        }
        Some(index * self.per_chunk + place)
    }

    fn free(&mut self, id: SlotId) {
        let (index, place) = self.locate(id);
        let chunk = &mut self.chunks[index];
        if chunk.used == self.per_chunk {
            self.with_room.push(index);
        }
        chunk.give_place(place, id);
        if chunk.used == 0 {
            match self.spare {
                Some(_) => *chunk = Chunk::default(),
                None => self.spare = Some(index),
            }
        }
    }
}

/// Some slots in one piece; empty until it is used.
struct Chunk {
    packets: Box<[u8]>,
    entries: Box<[Entry]>,
    used: usize,
    /// Places from here on were never used.
    fresh: usize,
    /// The first free place among those used before.
    freed: SlotId,
}

impl Default for Chunk {
    fn default() -> Self {
        Self {
            packets: Box::default(),
            entries: Box::default(),
            used: 0,
            fresh: 0,
            freed: SlotId::NONE,
        }
    }
}

impl Chunk {
    /// A free place; there is one, since the chunk is among those with room.
    fn take_place(&mut self) -> usize {
        self.used += 1;
        if self.freed == SlotId::NONE {
            self.fresh += 1;
            return self.fresh - 1;
        }
        let place = self.freed.position() % self.entries.len();
        self.freed = self.entries[place].next;
        place
    }

    fn give_place(&mut self, place: usize, id: SlotId) {
        self.used -= 1;
        self.entries[place].next = self.freed;
        self.freed = id;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(slots: &mut Slots, size: PacketSize, fill: u8) -> SlotId {
        let entry = Entry::new(
            Timestamp::ZERO,
            "1.2.3.4:5".parse().unwrap(),
            PacketMode::Mix,
        );
        slots
            .put(size, entry, &vec![fill; size.packet_len()])
            .unwrap()
    }

    #[test]
    fn a_packet_is_found_until_it_leaves_whatever_comes_and_goes_beside_it() {
        let mut slots = Slots::new();
        let mut waiting = Vec::new();
        for round in 0..40_u8 {
            for size in PacketSize::ALL.repeat(30) {
                waiting.push((put(&mut slots, size, round), size, round));
            }
            // Every third leaves.
            let mut number = 0;
            waiting.retain(|(id, size, fill)| {
                number += 1;
                let packet = vec![*fill; size.packet_len()];
                assert_eq!(slots.packet(*id), (*size, packet.as_slice()));
                if number % 3 == 0 {
                    slots.free(*id);
                }
                number % 3 != 0
            });
        }
    }

    #[test]
    fn memory_is_given_back_but_for_one_chunk() {
        let mut slots = Slots::new();
        let ids: Vec<_> = (0..640)
            .map(|_| put(&mut slots, PacketSize::Regular, 1))
            .collect();
        for id in ids {
            slots.free(id);
        }
        let kept = slots.by_size[0].chunks.iter();
        assert_eq!(kept.filter(|chunk| !chunk.packets.is_empty()).count(), 1);
        for _ in 0..640 {
            put(&mut slots, PacketSize::Regular, 2);
        }
        assert_eq!(
            slots.by_size[0].chunks.len(),
            10,
            "the places are used again"
        );
    }

    #[test]
    fn every_kind_of_next_hop_is_kept() {
        for address in [
            "1.2.3.4:5",
            "[1:2::3]:65535",
            "[::ffff:1.2.3.4]:5",
            "[::]:0",
        ] {
            let hop: HopAddress = address.parse().unwrap();
            let entry = Entry::new(Timestamp::MAX, hop, PacketMode::Vpn);
            assert_eq!(entry.next_hop(), hop);
            assert_eq!(entry.mode(), PacketMode::Vpn);
        }
    }
}
