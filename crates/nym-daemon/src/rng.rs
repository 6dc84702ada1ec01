//! The one door through which randomness enters a program.

use rand::{SeedableRng, rngs::StdRng, rngs::SysRng};

/// A fresh cryptographic generator, seeded with 32 bytes from the operating system.
///
/// Each call seeds anew, so two callers never share a stream. Programs call it once per component
/// and hand the generator down; cores never call it.
///
/// # Panics
///
/// When the operating system has no entropy source at all, because no program of a mixnet may go
/// on without one.
#[must_use]
pub fn entropy() -> StdRng {
    StdRng::try_from_rng(&mut SysRng).expect("the operating system provides entropy")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng as _;

    #[test]
    fn two_generators_give_different_streams() {
        let (mut a, mut b) = ([0u8; 32], [0u8; 32]);
        entropy().fill_bytes(&mut a);
        entropy().fill_bytes(&mut b);
        assert_ne!(a, b);
        assert_ne!(a, [0u8; 32]);
    }
}
