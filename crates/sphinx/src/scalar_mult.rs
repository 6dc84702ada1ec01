//! Scalar multiplication on Curve25519, the one expensive operation of the format.
//!
//! Everything else in this crate calls the two functions of [`Ladder`] through [`backend`], so a
//! faster implementation has one place to go. Budget: unwrapping a regular packet takes two ladders
//! at a forward hop and one at the last, 2 × 50 µs on this backend of 110 µs in all (`cargo bench -p
//! sphinx`); building one for n hops takes n ladders and one multiplication of the base point.

use curve25519_dalek::{MontgomeryPoint, Scalar};

/// A point's u-coordinate, 32 bytes little-endian.
pub(crate) type Point = [u8; 32];

/// An integer below 2^255, 32 bytes little-endian. Neither clamped nor reduced by the ladder.
pub(crate) type Integer = [u8; 32];

/// A constant-time implementation of the Montgomery ladder.
pub(crate) trait Ladder {
    /// u-coordinate of `integer` times `point`.
    ///
    /// Bit 255 of `point` is ignored, its value taken modulo 2^255 − 19; the result is canonical.
    /// The point at infinity is 32 zero bytes. Points of low order are not refused.
    fn mul(&self, integer: &Integer, point: &Point) -> Point;

    /// u-coordinate of `clamped` times the base point 9. The integer must be clamped.
    fn mul_base_clamped(&self, clamped: &Integer) -> Point;
}

/// The implementation to use on this machine.
pub(crate) fn backend() -> impl Ladder {
    Portable
}

/// Makes 32 bytes a private key's integer (RFC 7748): a multiple of 8 in 2^254 .. 2^255.
pub(crate) fn clamp(bytes: [u8; 32]) -> Integer {
    curve25519_dalek::scalar::clamp_integer(bytes)
}

/// `bytes` modulo the group order ℓ.
pub(crate) fn reduce(bytes: &[u8; 32]) -> Integer {
    Scalar::from_bytes_mod_order(*bytes).to_bytes()
}

/// The product of two integers modulo the group order ℓ.
pub(crate) fn mul_mod_order(a: &Integer, b: &Integer) -> Integer {
    (Scalar::from_bytes_mod_order(*a) * Scalar::from_bytes_mod_order(*b)).to_bytes()
}

/// curve25519-dalek's serial ladder.
struct Portable;

impl Ladder for Portable {
    fn mul(&self, integer: &Integer, point: &Point) -> Point {
        let bits = (0..255)
            .rev()
            .map(|bit| (integer[bit >> 3] >> (bit & 7)) & 1 == 1);
        MontgomeryPoint(*point).mul_bits_be(bits).to_bytes()
    }

    fn mul_base_clamped(&self, clamped: &Integer) -> Point {
        MontgomeryPoint::mul_base_clamped(*clamped).to_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Point = {
        let mut base = [0; 32];
        base[0] = 9;
        base
    };

    #[test]
    fn rfc_7748_first_iteration() {
        let expected = [
            0x42, 0x2c, 0x8e, 0x7a, 0x62, 0x27, 0xd7, 0xbc, 0xa1, 0x35, 0x0b, 0x3e, 0x2b, 0xb7,
            0x27, 0x9f, 0x78, 0x97, 0xb8, 0x7b, 0xb6, 0x85, 0x4b, 0x78, 0x3c, 0x60, 0xe8, 0x03,
            0x11, 0xae, 0x30, 0x79,
        ];
        assert_eq!(backend().mul(&clamp(BASE), &BASE), expected);
        assert_eq!(backend().mul_base_clamped(&clamp(BASE)), expected);
    }

    #[test]
    fn small_integers_are_not_clamped() {
        let mut one = [0; 32];
        one[0] = 1;
        assert_eq!(backend().mul(&one, &BASE), BASE);
        assert_eq!(backend().mul(&[0; 32], &BASE), [0; 32]);
    }

    #[test]
    fn top_bit_of_a_point_is_ignored() {
        let integer = clamp([0x5a; 32]);
        let mut marked = BASE;
        marked[31] |= 0x80;
        assert_eq!(
            backend().mul(&integer, &marked),
            backend().mul(&integer, &BASE)
        );
    }

    #[test]
    fn results_are_canonical() {
        // 2^255 − 19 + 1, a second encoding of 1, a point of order 4.
        let mut second_one = [0xff; 32];
        second_one[0] = 0xee;
        second_one[31] = 0x7f;
        let mut one = [0; 32];
        one[0] = 1;
        assert_eq!(backend().mul(&one, &second_one), one);
    }

    #[test]
    fn products_modulo_the_order_are_products_of_the_points() {
        let (a, b) = (reduce(&[0xa7; 32]), reduce(&[0x3c; 32]));
        let at_once = backend().mul(&mul_mod_order(&a, &b), &BASE);
        let one_by_one = backend().mul(&a, &backend().mul(&b, &BASE));
        assert_eq!(at_once, one_by_one);
    }
}
