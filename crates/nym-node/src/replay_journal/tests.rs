//! Memories of one node, one after the other, on the same files.

use std::num::NonZeroUsize;

use nym_packet::keys::PrivateKey;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use sphinx::{Delay, Destination, Hop, NodeAddress, Version};
use tempfile::TempDir;

use super::*;

/// A node's directory, and packets for it.
struct Bench {
    dir: TempDir,
    key: PrivateKey,
    rng: ChaCha20Rng,
    capacity: usize,
}

impl Bench {
    fn new(capacity: usize) -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            key: PrivateKey::from_bytes([7; 32]),
            rng: ChaCha20Rng::seed_from_u64(4),
            capacity,
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("replay.journal")
    }

    fn open(&self) -> Result<ReplayMemory, ReplayJournalError> {
        let limits = ReplayLimits {
            capacity: NonZeroUsize::new(self.capacity).unwrap(),
            age: Duration::from_secs(3600),
        };
        let key = self.key.public_key();
        let rng = &mut ChaCha20Rng::seed_from_u64(5);
        ReplayMemory::open(&self.path(), &key, limits, Timestamp::ZERO, rng)
    }

    fn packets(&mut self, count: usize) -> Vec<Vec<u8>> {
        let hop = Hop {
            address: NodeAddress([0; 32]),
            public_key: self.key.public_key(),
        };
        let destination = Destination {
            address: [0; 32],
            identifier: [0; 16],
        };
        let build = |_| {
            let (route, delays) = ([hop], [Delay::ZERO]);
            let (wire, rng) = (Version::NYM_0_11, &mut self.rng);
            sphinx::build(wire, &route, &delays, &destination, b"", 38, rng).unwrap()
        };
        (0..count).map(build).collect()
    }

    /// Which of the packets the memory takes, and how many could not be recorded.
    fn check(&self, memory: &mut ReplayMemory, packets: &[Vec<u8>]) -> (Vec<bool>, u64) {
        let verify = |packet: &Vec<u8>| sphinx::verify(Version::NYM_0_11, &self.key, packet);
        let mut headers: Vec<_> = packets.iter().map(verify).collect();
        let unrecorded = memory.check_headers(Timestamp::ZERO, &mut headers);
        (headers.iter().map(Result::is_ok).collect(), unrecorded)
    }
}

#[test]
fn what_passed_before_is_a_replay_after_a_restart() {
    let mut bench = Bench::new(100);
    let packets = bench.packets(5);
    let mut memory = bench.open().unwrap();
    assert_eq!(bench.check(&mut memory, &packets[..3]), (vec![true; 3], 0));
    // Nothing is closed or synchronised: the process is killed.
    drop(memory);
    let mut memory = bench.open().unwrap();
    let taken = bench.check(&mut memory, &packets).0;
    assert_eq!(taken, [false, false, false, true, true]);
    drop(memory);
    let mut memory = bench.open().unwrap();
    assert_eq!(bench.check(&mut memory, &packets).0, [false; 5]);
}

#[test]
fn generations_end_on_file_as_in_memory() {
    let mut bench = Bench::new(4);
    let packets = bench.packets(9);
    let mut memory = bench.open().unwrap();
    // One batch that ends two generations: the last packet makes the first four forgotten.
    assert_eq!(memory.take_window(), None, "reading a journal ends nothing");
    assert_eq!(bench.check(&mut memory, &packets).0, [true; 9]);
    assert_eq!(memory.take_window(), Some(Duration::ZERO), "full at once");
    assert_eq!(memory.take_window(), None);
    drop(memory);
    let len_of = |path| fs::metadata(path).unwrap().len();
    assert_eq!(len_of(bench.path()), (HEADER_LEN + TAG_LEN) as u64);
    assert_eq!(
        len_of(previous_of(&bench.path())),
        (HEADER_LEN + 4 * TAG_LEN) as u64
    );
    let mut memory = bench.open().unwrap();
    assert_eq!(memory.filter.len(), 5);
    assert_eq!(bench.check(&mut memory, &packets[4..]).0, [false; 5]);
    assert_eq!(bench.check(&mut memory, &packets[..1]).0, [true]);
}

#[test]
fn a_node_killed_between_the_steps_of_a_rotation_remembers_everything() {
    let mut bench = Bench::new(4);
    let packets = bench.packets(3);
    let mut memory = bench.open().unwrap();
    assert_eq!(bench.check(&mut memory, &packets).0, [true; 3]);
    drop(memory);
    fs::rename(bench.path(), previous_of(&bench.path())).unwrap();
    let mut memory = bench.open().unwrap();
    assert_eq!(bench.check(&mut memory, &packets).0, [false; 3]);
}

#[test]
fn a_tag_that_was_not_written_whole_is_overwritten() {
    let mut bench = Bench::new(100);
    let packets = bench.packets(3);
    let mut memory = bench.open().unwrap();
    assert_eq!(bench.check(&mut memory, &packets[..2]).0, [true; 2]);
    drop(memory);
    let file = File::options().write(true).open(bench.path()).unwrap();
    file.set_len((HEADER_LEN + 2 * TAG_LEN - 1) as u64).unwrap();
    let mut memory = bench.open().unwrap();
    assert_eq!(bench.check(&mut memory, &packets).0, [false, true, true]);
    drop(memory);
    let mut memory = bench.open().unwrap();
    assert_eq!(bench.check(&mut memory, &packets).0, [false; 3]);
}

#[test]
fn the_tags_of_another_key_are_forgotten() {
    let mut bench = Bench::new(100);
    let packets = bench.packets(1);
    let mut memory = bench.open().unwrap();
    assert_eq!(bench.check(&mut memory, &packets).0, [true]);
    drop(memory);
    bench.key = PrivateKey::from_bytes([8; 32]);
    let memory = bench.open().unwrap();
    assert!(memory.filter.is_empty());
    drop(memory);
    assert_eq!(fs::metadata(bench.path()).unwrap().len(), HEADER_LEN as u64);
}

#[test]
fn what_cannot_be_recorded_is_refused_until_it_can() {
    let mut bench = Bench::new(100);
    let packets = bench.packets(6);
    let mut memory = bench.open().unwrap();
    assert_eq!(bench.check(&mut memory, &packets[..2]), (vec![true; 2], 0));
    let writable = Arc::clone(&memory.journal.current);
    memory.journal.current = Arc::new(File::open(bench.path()).unwrap());
    // The second packet is a replay in any case, and not counted.
    let batch = [packets[2].clone(), packets[1].clone(), packets[3].clone()];
    assert_eq!(bench.check(&mut memory, &batch), (vec![false; 3], 2));
    memory.journal.current = writable;
    assert_eq!(bench.check(&mut memory, &packets[4..]), (vec![true; 2], 0));
}

#[test]
fn another_file_or_a_journal_in_use_is_named() {
    let bench = Bench::new(100);
    let memory = bench.open().unwrap();
    let in_use = bench.open().err().unwrap().to_string();
    assert!(
        in_use.contains("replay.journal is in use by another process"),
        "{in_use}"
    );
    drop(memory);
    fs::write(bench.path(), "-----BEGIN X25519 PRIVATE KEY-----").unwrap();
    let damaged = bench.open().err().unwrap().to_string();
    assert!(damaged.contains("is not a replay journal"), "{damaged}");
}

#[test]
fn synchronising_leaves_nothing_to_synchronise() {
    let mut bench = Bench::new(2);
    let packets = bench.packets(5);
    let mut memory = bench.open().unwrap();
    let syncer = memory.syncer();
    assert_eq!(bench.check(&mut memory, &packets).0, [true; 5]);
    // Three generations, and the directory twice.
    assert_eq!(lock(&syncer.0).len(), 5);
    syncer.sync().unwrap();
    assert!(lock(&syncer.0).is_empty());
}
