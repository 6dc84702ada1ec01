mod properties;

use super::*;
use crate::fragment::{FragmentGeometry, split_with_set_ids};

const NOW: Timestamp = Timestamp::from_nanos(1_000_000);

/// 4 bytes of message per unlinked fragment, 1 per linked one: sets are full at 1,020 bytes.
fn tiny() -> FragmentGeometry {
    FragmentGeometry::new(11).unwrap()
}

fn limits() -> ReassemblyLimits {
    ReassemblyLimits {
        memory: 1 << 20,
        idle: Duration::from_secs(10),
        finished_fragments: 10_000,
        finished_age: Duration::from_secs(10),
    }
}

fn reassembler() -> Reassembler {
    Reassembler::new(limits())
}

fn id(number: u32) -> SetId {
    SetId::new(number).unwrap()
}

fn bytes(len: usize) -> Vec<u8> {
    (0..=255).cycle().take(len).collect()
}

/// A fragment without link.
fn fragment(set: u8, total: u8, position: u8, content: &[u8]) -> Fragment {
    Fragment::parse(&[&[0x80, 0, 0, set, total, position, 0], content].concat()).unwrap()
}

/// The fragments of a full set whose content is empty, with these links.
fn full_set(set: u8, previous: Option<u8>, next: Option<u8>) -> Vec<Fragment> {
    (1..=255)
        .map(|position| {
            let link = match position {
                1 => previous,
                255 => next,
                _ => None,
            };
            let link = link.map_or_else(|| vec![0], |set| vec![0x80, 0, 0, set]);
            let head = [0x80, 0, 0, set, 255, position];
            Fragment::parse(&[&head, link.as_slice()].concat()).unwrap()
        })
        .collect()
}

/// Inserts all and gives what came out of each.
fn insert_all(
    reassembler: &mut Reassembler,
    fragments: impl IntoIterator<Item = Fragment>,
) -> Vec<Result<Reassembled, ReassemblyError>> {
    let results = fragments.into_iter().filter_map(|fragment| {
        let result = reassembler.insert(NOW, fragment);
        check(reassembler);
        result.transpose()
    });
    results.collect()
}

/// What must hold after every step.
#[track_caller]
fn check(reassembler: &Reassembler) {
    assert!(
        reassembler.memory <= reassembler.limits.memory,
        "memory is bounded"
    );
    let mut memory = 0;
    for (key, set) in &reassembler.sets {
        let slots: usize = set.slots.values().map(Slot::cost).sum();
        assert_eq!(set.memory, SET_COST + slots);
        memory += set.memory;
        assert_eq!(reassembler.by_age.get(&set.touched), Some(key));
    }
    assert_eq!(reassembler.memory, memory);
    assert_eq!(reassembler.by_age.len(), reassembler.sets.len());
}

#[test]
fn fragment_of_another_total_does_not_disturb_a_set() {
    let fragments = [
        fragment(1, 2, 1, b"a"),
        fragment(1, 3, 1, b"x"),
        fragment(1, 1, 1, b"other"),
        fragment(1, 2, 2, b"b"),
    ];
    let results = insert_all(&mut reassembler(), fragments);
    let messages: Vec<_> = results
        .into_iter()
        .map(|result| result.unwrap().bytes)
        .collect();
    assert_eq!(messages, [b"other".to_vec(), b"ab".to_vec()]);
}

#[test]
fn later_content_at_a_position_wins() {
    let fragments = [
        fragment(1, 2, 1, b"a"),
        fragment(1, 2, 1, b"new"),
        fragment(1, 2, 2, b"b"),
    ];
    let results = insert_all(&mut reassembler(), fragments);
    assert_eq!(results[0].as_ref().unwrap().bytes, b"newb");
}

#[test]
fn repetition_of_a_finished_message_is_dropped() {
    let repeated = Err(ReassemblyError::Repeated { set_id: id(1) });
    let mut reassembler = reassembler();
    assert!(
        reassembler
            .insert(NOW, fragment(1, 1, 1, b"a"))
            .unwrap()
            .is_some()
    );
    assert_eq!(reassembler.insert(NOW, fragment(1, 1, 1, b"a")), repeated);
    assert_eq!(reassembler.pending_sets(), 0);
}

#[test]
fn another_message_under_a_finished_set_id_is_not_lost() {
    let fragments = [fragment(1, 1, 1, b"alice"), fragment(1, 1, 1, b"carol")];
    let results = insert_all(&mut reassembler(), fragments);
    let messages: Vec<_> = results
        .into_iter()
        .map(|result| result.unwrap().bytes)
        .collect();
    assert_eq!(messages, [b"alice".to_vec(), b"carol".to_vec()]);
}

#[test]
fn complete_set_that_waits_for_others_does_not_change() {
    let message = bytes(1500);
    let mut fragments = split_with_set_ids(&message, tiny(), &[id(1), id(2)]).unwrap();
    let second_set = fragments.split_off(255);
    let again = fragments[6].clone();
    let mut reassembler = reassembler();
    assert_eq!(insert_all(&mut reassembler, fragments), []);
    let repeated = Err(ReassemblyError::Repeated { set_id: id(1) });
    assert_eq!(reassembler.insert(NOW, again), repeated);
    let of_another_sender = fragment(1, 255, 7, b"other");
    assert_eq!(reassembler.insert(NOW, of_another_sender), Ok(None));
    let results = insert_all(&mut reassembler, second_set);
    assert_eq!(results.len(), 1);
    let whole = results[0].as_ref().unwrap();
    assert_eq!(
        (&whole.bytes, whole.set_ids.as_slice()),
        (&message, &[id(1), id(2)][..])
    );
    assert_eq!(reassembler.pending_sets(), 1, "the other sender's set");
}

#[test]
fn two_senders_with_one_set_id_do_not_destroy_each_others_messages() {
    let alice = |position, content: &[u8]| fragment(1, 3, position, content);
    let carol = |position, content: &[u8]| fragment(1, 3, position, content);
    let fragments = [
        alice(1, b"al"),
        alice(2, b"i"),
        carol(2, b"ar"),
        carol(3, b"ol"),
        carol(1, b"c"),
        alice(3, b"ce"),
    ];
    let results = insert_all(&mut reassembler(), fragments.clone());
    let messages: Vec<_> = results
        .into_iter()
        .map(|result| result.unwrap().bytes)
        .collect();
    assert_eq!(messages, [b"carol".to_vec(), b"alice".to_vec()]);
}

#[test]
fn messages_of_several_sets_find_their_ends_beside_a_stranger_with_their_ids() {
    let (alice, carol) = (bytes(1500), vec![7; 1500]);
    let ids = [id(1), id(2)];
    let cut = |message: &[u8]| split_with_set_ids(message, tiny(), &ids).unwrap();
    let (mut first, second) = (cut(&alice), cut(&carol));
    let rest = first.split_off(300);
    let mut reassembler = reassembler();
    let arriving = first.into_iter().chain(second).chain(rest);
    let results = insert_all(&mut reassembler, arriving);
    let messages: Vec<_> = results
        .into_iter()
        .map(|result| result.unwrap().bytes)
        .collect();
    assert!(messages == [carol, alice], "{} messages", messages.len());
    assert_eq!(reassembler.memory(), 0);
}

/// What a shell keeps of a reassembler, by its notes.
#[derive(Default)]
struct Kept {
    slots: BTreeMap<SlotId, (Timestamp, Fragment)>,
    finished: BTreeMap<u64, (Timestamp, Vec<FragmentDigest>)>,
}

impl Kept {
    fn take(&mut self, now: Timestamp, inserted: &Fragment, reassembler: &mut Reassembler) {
        for note in reassembler.take_notes() {
            match note {
                Note::Kept(slot) => {
                    self.slots.insert(slot, (now, inserted.clone()));
                }
                Note::Dropped(slot) => {
                    self.slots.remove(&slot);
                }
                Note::Finished { number, digests } => {
                    self.finished.insert(number, (now, digests));
                }
                Note::Forgotten { number } => {
                    assert!(self.finished.remove(&number).is_some());
                }
            }
        }
    }

    fn restore(&self) -> Reassembler {
        let mut reassembler = Reassembler::noting(limits());
        for (slot, (at, fragment)) in &self.slots {
            reassembler.restore(*slot, *at, fragment.clone());
        }
        for (number, (at, digests)) in &self.finished {
            reassembler.restore_finished(*number, *at, digests.clone());
        }
        assert_eq!(reassembler.take_notes(), []);
        reassembler
    }
}

#[test]
fn a_reassembler_goes_on_where_its_notes_end() {
    let long = split_with_set_ids(&bytes(1500), tiny(), &[id(1), id(2)]).unwrap();
    let short = fragment(9, 1, 1, b"short");
    let mut kept = Kept::default();
    let mut whole = Vec::new();
    // A new process for every fragment.
    for inserted in long.iter().chain([&short]).chain(&long).chain([&short]) {
        let mut reassembler = kept.restore();
        check(&reassembler);
        if let Ok(Some(message)) = reassembler.insert(NOW, inserted.clone()) {
            whole.push(message.bytes);
        }
        kept.take(NOW, inserted, &mut reassembler);
    }
    assert!(whole == [bytes(1500), b"short".to_vec()], "each once");
    assert!(kept.slots.is_empty());
    assert_eq!(kept.finished.len(), 2);
    let due = NOW + limits().finished_age;
    let mut reassembler = kept.restore();
    reassembler.handle_timeout(due);
    kept.take(due, &short, &mut reassembler);
    assert!(kept.finished.is_empty());
}

#[test]
fn rings_of_links_are_refused_and_forgotten() {
    for ring_len in 2..5 {
        let mut reassembler = reassembler();
        let sets = (0..ring_len).flat_map(|set| {
            let before = (set + ring_len - 1) % ring_len + 1;
            let behind = (set + 1) % ring_len + 1;
            full_set(set + 1, Some(before), Some(behind))
        });
        let results = insert_all(&mut reassembler, sets);
        let set_id = id(ring_len.into());
        assert_eq!(results, [Err(ReassemblyError::LinkCycle { set_id })]);
        assert_eq!(reassembler.pending_sets(), 0);
        assert_eq!(reassembler.forgotten_sets(), ring_len.into());
    }
}

#[test]
fn ring_beside_the_way_is_refused_too() {
    // 1 and 2 (of 255) link to each other; 2 (of 3) also claims to come after 1.
    let tail = Fragment::parse(&[0x80, 0, 0, 2, 3, 1, 0x80, 0, 0, 1]).unwrap();
    let mut sets = vec![tail, fragment(2, 3, 2, b""), fragment(2, 3, 3, b"")];
    let mut second = full_set(2, Some(1), Some(1));
    let last = second.pop().unwrap();
    sets.extend(second);
    sets.extend(full_set(1, Some(2), Some(2)));
    sets.push(last);
    let mut reassembler = reassembler();
    let results = insert_all(&mut reassembler, sets);
    assert!(
        results
            .iter()
            .all(|result| matches!(result, Err(ReassemblyError::LinkCycle { .. }))),
        "{results:?}"
    );
}

#[test]
fn links_that_are_not_mutual_join_nothing() {
    // The second set has another set before it, or the first another set behind it.
    for (next_of_first, previous_of_second) in [(2, 3), (3, 1)] {
        for second_comes_first in [false, true] {
            let mut sets = [
                full_set(1, None, Some(next_of_first)),
                full_set(2, Some(previous_of_second), None),
            ];
            if second_comes_first {
                sets.reverse();
            }
            let mut reassembler = reassembler();
            assert_eq!(insert_all(&mut reassembler, sets.concat()), []);
            assert_eq!(reassembler.pending_sets(), 2);
        }
    }
}

#[test]
fn idle_sets_are_forgotten_at_the_limit_and_not_before() {
    let mut reassembler = reassembler();
    assert_eq!(reassembler.insert(NOW, fragment(1, 2, 1, b"a")), Ok(None));
    let due = NOW + limits().idle;
    assert_eq!(reassembler.poll_timeout(), Some(due));
    reassembler.handle_timeout(Timestamp::from_nanos(due.as_nanos() - 1));
    assert_eq!(reassembler.pending_sets(), 1);
    reassembler.handle_timeout(due);
    assert_eq!(reassembler.pending_sets(), 0);
    assert_eq!((reassembler.memory(), reassembler.forgotten_sets()), (0, 1));
    assert_eq!(reassembler.poll_timeout(), None);
}

#[test]
fn new_fragment_makes_a_set_young_again() {
    let mut reassembler = reassembler();
    let later = NOW + Duration::from_secs(9);
    assert_eq!(reassembler.insert(NOW, fragment(1, 3, 1, b"a")), Ok(None));
    assert_eq!(reassembler.insert(later, fragment(1, 3, 2, b"b")), Ok(None));
    assert_eq!(reassembler.poll_timeout(), Some(later + limits().idle));
}

#[test]
fn finished_fragments_are_forgotten_at_the_age_and_not_before() {
    let due = NOW + limits().finished_age;
    for (now, known) in [
        (Timestamp::from_nanos(due.as_nanos() - 1), true),
        (due, false),
    ] {
        let mut reassembler = reassembler();
        assert!(reassembler.insert(NOW, fragment(1, 1, 1, b"a")).is_ok());
        assert_eq!(
            reassembler.insert(now, fragment(1, 1, 1, b"a")).is_err(),
            known
        );
    }
}

#[test]
fn finished_fragments_are_forgotten_above_the_limit() {
    let limits = ReassemblyLimits {
        finished_fragments: 2,
        ..limits()
    };
    let mut reassembler = Reassembler::new(limits);
    for set in 1..=3 {
        assert!(
            reassembler
                .insert(NOW, fragment(set, 1, 1, b"a"))
                .unwrap()
                .is_some()
        );
    }
    assert!(reassembler.insert(NOW, fragment(3, 1, 1, b"a")).is_err());
    assert!(reassembler.insert(NOW, fragment(2, 1, 1, b"a")).is_err());
    assert!(reassembler.insert(NOW, fragment(1, 1, 1, b"a")).is_ok());
}

#[test]
fn longest_idle_set_goes_when_memory_is_full() {
    let one_set = SET_COST + FRAGMENT_COST + 10;
    // A set is admitted as if it were new, so three need the room of three.
    let limits = ReassemblyLimits {
        memory: 3 * one_set,
        ..limits()
    };
    let mut reassembler = Reassembler::new(limits);
    for set in 1..=3 {
        assert_eq!(
            reassembler.insert(NOW, fragment(set, 2, 1, &[0; 10])),
            Ok(None)
        );
    }
    assert_eq!(
        (reassembler.pending_sets(), reassembler.forgotten_sets()),
        (3, 0)
    );
    assert_eq!(
        reassembler.insert(NOW, fragment(4, 2, 1, &[0; 10])),
        Ok(None)
    );
    assert_eq!(
        (reassembler.pending_sets(), reassembler.forgotten_sets()),
        (3, 1)
    );
    assert_eq!(
        reassembler.insert(NOW, fragment(1, 2, 2, &[0; 10])),
        Ok(None)
    );
}

#[test]
fn set_that_grows_is_not_the_one_to_go() {
    let one_set = SET_COST + FRAGMENT_COST + 10;
    let limits = ReassemblyLimits {
        memory: 2 * one_set,
        ..limits()
    };
    let mut reassembler = Reassembler::new(limits);
    for set in 1..=2 {
        assert_eq!(
            reassembler.insert(NOW, fragment(set, 2, 1, &[0; 10])),
            Ok(None)
        );
    }
    let whole = reassembler
        .insert(NOW, fragment(1, 2, 2, &[0; 10]))
        .unwrap();
    assert_eq!(whole.map(|whole| whole.set_ids), Some(vec![id(1)]));
    assert_eq!(
        (reassembler.pending_sets(), reassembler.forgotten_sets()),
        (0, 1)
    );
}

#[test]
fn set_that_exceeds_memory_alone_is_dropped() {
    let limits = ReassemblyLimits {
        memory: 2000,
        ..limits()
    };
    let mut reassembler = Reassembler::new(limits);
    let fits = 2000 - SET_COST - FRAGMENT_COST;
    assert_eq!(
        reassembler.insert(NOW, fragment(1, 2, 1, &vec![0; fits])),
        Ok(None)
    );
    let too_large = Err(ReassemblyError::TooLarge {
        set_id: id(2),
        limit: 2000,
    });
    assert_eq!(
        reassembler.insert(NOW, fragment(2, 2, 1, &vec![0; fits + 1])),
        too_large
    );
    assert_eq!(reassembler.memory(), 0);
}

#[test]
fn clock_that_runs_backwards_does_no_harm() {
    let mut reassembler = reassembler();
    assert_eq!(reassembler.insert(NOW, fragment(1, 2, 1, b"a")), Ok(None));
    assert_eq!(
        reassembler.insert(Timestamp::ZERO, fragment(2, 2, 1, b"a")),
        Ok(None)
    );
    check(&reassembler);
    assert!(
        reassembler
            .insert(Timestamp::ZERO, fragment(1, 2, 2, b"b"))
            .unwrap()
            .is_some()
    );
}
