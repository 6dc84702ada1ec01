//! What leaves next: one queue per message, served in turn.

use std::collections::{BTreeMap, VecDeque};

/// Queues of `T` under keys `K`, served round-robin, so that a message of thousands of fragments
/// delays a one-line message by one slot and not by thousands.
///
/// Within a key the order is first in, first out. A key is served after every key that was
/// already waiting when it was last served.
#[derive(Debug)]
pub(crate) struct FairQueue<K, T> {
    turns: VecDeque<K>,
    queues: BTreeMap<K, VecDeque<T>>,
}

impl<K: Copy + Ord, T> FairQueue<K, T> {
    pub(crate) fn new() -> Self {
        Self {
            turns: VecDeque::new(),
            queues: BTreeMap::new(),
        }
    }

    pub(crate) fn push(&mut self, key: K, item: T) {
        let queue = self.queues.entry(key).or_default();
        if queue.is_empty() {
            self.turns.push_back(key);
        }
        queue.push_back(item);
    }

    pub(crate) fn pop(&mut self) -> Option<(K, T)> {
        let key = self.turns.pop_front()?;
        let queue = self.queues.get_mut(&key)?;
        let item = queue.pop_front()?;
        if queue.is_empty() {
            self.queues.remove(&key);
        } else {
            self.turns.push_back(key);
        }
        Some((key, item))
    }

    /// Forgets all that waits under `key`.
    pub(crate) fn remove(&mut self, key: K) {
        if self.queues.remove(&key).is_some() {
            self.turns.retain(|turn| *turn != key);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_overtakes_the_rest_of_a_file() {
        let mut queue = FairQueue::new();
        for fragment in 0..1_000 {
            queue.push("file", fragment);
        }
        assert_eq!(queue.pop(), Some(("file", 0)));
        queue.push("line", 7);
        assert_eq!(queue.pop(), Some(("file", 1)));
        assert_eq!(queue.pop(), Some(("line", 7)));
        assert_eq!(queue.pop(), Some(("file", 2)));
    }

    #[test]
    fn a_removed_message_leaves_nothing_behind() {
        let mut queue = FairQueue::new();
        queue.push(1, 'a');
        queue.push(2, 'b');
        queue.push(1, 'c');
        queue.remove(1);
        assert_eq!(queue.pop(), Some((2, 'b')));
        assert!(queue.is_empty());
        assert_eq!(queue.pop(), None);
    }

    proptest! {
        #[test]
        fn everything_pushed_is_popped_once_and_in_order_within_its_key(
            keys in prop::collection::vec(0_u8..5, 0..200),
        ) {
            let mut queue = FairQueue::new();
            for (index, key) in keys.iter().enumerate() {
                queue.push(*key, index);
            }
            let mut popped: BTreeMap<u8, Vec<usize>> = BTreeMap::new();
            while let Some((key, index)) = queue.pop() {
                popped.entry(key).or_default().push(index);
            }
            let mut expected: BTreeMap<u8, Vec<usize>> = BTreeMap::new();
            for (index, key) in keys.iter().enumerate() {
                expected.entry(*key).or_default().push(index);
            }
            prop_assert_eq!(popped, expected);
        }
    }
}
