//! Our own loop cover, recognised when it comes home.

use std::collections::VecDeque;

use nym_packet::keys::PublicKey;

/// By default a dozen cover packets are under way. What is forgotten is opened when it comes, as
/// any packet is.
const UNDER_WAY_MAX: usize = 256;

/// The ephemeral keys of the cover packets that are under way, oldest first. What is pushed begins
/// with one, so that most pushes of an idle client need no scalar multiplication.
#[derive(Debug, Default)]
pub(super) struct OwnCover {
    under_way: VecDeque<PublicKey>,
}

impl OwnCover {
    /// Notes a cover packet that leaves.
    pub(super) fn leaves(&mut self, ephemeral: PublicKey) {
        if self.under_way.len() == UNDER_WAY_MAX {
            self.under_way.pop_front();
        }
        self.under_way.push_back(ephemeral);
    }

    /// Whether what was pushed is one that was under way. A second copy is not.
    pub(super) fn comes_home(&mut self, pushed: &[u8]) -> bool {
        let is_it = |ephemeral: &PublicKey| pushed.starts_with(ephemeral.as_bytes());
        let index = self.under_way.iter().position(is_it);
        index
            .and_then(|index| self.under_way.remove(index))
            .is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> PublicKey {
        let mut bytes = [9; 32];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        PublicKey::from_bytes(bytes)
    }

    fn push(number: usize) -> Vec<u8> {
        [key(number).as_bytes(), &[7; 100][..]].concat()
    }

    #[test]
    fn each_comes_home_once_in_any_order() {
        let mut cover = OwnCover::default();
        for number in 0..3 {
            cover.leaves(key(number));
        }
        for number in [1, 0, 2] {
            assert!(cover.comes_home(&push(number)));
            assert!(!cover.comes_home(&push(number)));
        }
    }

    #[test]
    fn nothing_else_is_ours() {
        let mut cover = OwnCover::default();
        assert!(!cover.comes_home(&[]));
        cover.leaves(key(1));
        for other in [&push(2)[..], &push(1)[1..], &push(1)[..31], &[]] {
            assert!(!cover.comes_home(other));
        }
        assert!(cover.comes_home(&push(1)));
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut cover = OwnCover::default();
        for number in 0..=UNDER_WAY_MAX {
            cover.leaves(key(number));
        }
        assert_eq!(cover.under_way.len(), UNDER_WAY_MAX);
        assert!(!cover.comes_home(&push(0)));
        assert!(cover.comes_home(&push(1)));
        assert!(cover.comes_home(&push(UNDER_WAY_MAX)));
    }
}
