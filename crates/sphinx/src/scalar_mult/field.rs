//! Numbers modulo p = 2^255 − 19, one at a time, in plain 64-bit arithmetic.
//!
//! An [`Element`] is four full words, w₀ + w₁·2^64 + w₂·2^128 + w₃·2^192: any number below 2^256
//! stands for its residue. Two ranges occur:
//!
//! | | below | comes from | goes into |
//! |---|---|---|---|
//! | *narrow* | 2^255 + 2^24 | decoding, products | everything |
//! | *loose* | 2^256 | sums and differences of narrow ones | products |
//!
//! Why no carry is lost is said at each operation; debug builds assert the narrow range and that
//! the carries said to be zero are. Nothing here branches or indexes by a value.

use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroize;

/// The powers 2^250 − 1 and 11, by the functions given: `powers!(z, square, mul)`. (A macro, since closures
/// are not always inlined, which costs a third more.)
macro_rules! powers {
    ($z:expr, $square:expr, $mul:expr) => {{
        let z = $z;
        let square_times = |z, count: u32| {
            let mut result = z;
            for _ in 0..count {
                result = $square(result);
            }
            result
        };
        let z2 = $square(z);
        let z9 = $mul(square_times(z2, 2), z);
        let z11 = $mul(z9, z2);
        // From here z_n stands for the power 2^n − 1.
        let z_5 = $mul($square(z11), z9);
        let z_10 = $mul(square_times(z_5, 5), z_5);
        let z_20 = $mul(square_times(z_10, 10), z_10);
        let z_40 = $mul(square_times(z_20, 20), z_20);
        let z_50 = $mul(square_times(z_40, 10), z_10);
        let z_100 = $mul(square_times(z_50, 50), z_50);
        let z_200 = $mul(square_times(z_100, 100), z_100);
        ($mul(square_times(z_200, 50), z_50), z11)
    }};
}
pub(crate) use powers;

/// (A − 2)/4 of the curve v² = u³ + A·u² + u, A = 486,662.
pub(crate) const A24: u64 = 121_665;

/// A number below 2^256, for its residue modulo p.
#[derive(Clone, Copy, Debug, Zeroize)]
pub(crate) struct Element([u64; 4]);

impl Element {
    pub(crate) const ZERO: Self = Self([0; 4]);
    pub(crate) const ONE: Self = Self([1, 0, 0, 0]);
    pub(crate) const TWO: Self = Self([2, 0, 0, 0]);

    /// d of the Edwards curve −x² + y² = 1 + d·x²·y² that is birationally equivalent: −121,665/121,666.
    pub(crate) const D: Self = Self([
        0x75eb_4dca_1359_78a3,
        0x0070_0a4d_4141_d8ab,
        0x8cc7_4079_7779_e898,
        0x5203_6cee_2b6f_fe73,
    ]);
    pub(crate) const TWICE_D: Self = Self([
        0xebd6_9b94_26b2_f159,
        0x00e0_149a_8283_b156,
        0x198e_80f2_eef3_d130,
        0x2406_d9dc_56df_fce7,
    ]);
    const ROOT_OF_MINUS_ONE: Self = Self([
        0xc4ee_1b27_4a0e_a0b0,
        0x2f43_1806_ad2f_e478,
        0x2b4d_0099_3dfb_d7a7,
        0x2b83_2480_4fc1_df0b,
    ]);

    /// From 32 bytes, little-endian. Bit 255 is ignored; p to 2^255 − 1 are second names of 0 to
    /// 18. Narrow.
    #[inline]
    pub(crate) fn from_bytes(bytes: &[u8; 32]) -> Self {
        let [w0, w1, w2, w3] = words(bytes);
        Self([w0, w1, w2, w3 & TOP_MASK])
    }

    /// From limbs that weigh 2^0, 2^51, 2^102, 2^153 and 2^204, all below 2^52. Loose.
    #[inline]
    pub(crate) fn from_limbs(limbs: [u64; 5]) -> Self {
        debug_assert!(limbs.iter().all(|&limb| limb < 1 << 52));
        // The sum is below 2^52 · (1 + 2^51 + … + 2^204) < 2^256 + 2^206, and the top limb of
        // what is handed in here is below 2^51 + 2^42; the last word is asserted to be whole.
        let [l0, l1, l2, l3, l4] = limbs.map(u128::from);
        let t0 = l0 + (l1 << 51);
        let t1 = (t0 >> 64) + (l2 << 38);
        let t2 = (t1 >> 64) + (l3 << 25);
        let t3 = (t2 >> 64) + (l4 << 12);
        debug_assert!(t3 >> 64 == 0);
        Self([t0, t1, t2, t3].map(low))
    }

    /// The limbs that weigh 2^0, 2^51, 2^102, 2^153 and 2^204, of a number below 2^255.
    #[inline]
    pub(crate) fn to_limbs(self) -> [u64; 5] {
        const MASK: u64 = (1 << 51) - 1;
        let Self([w0, w1, w2, w3]) = self;
        debug_assert!(w3 <= TOP_MASK);
        [
            w0 & MASK,
            (w0 >> 51 | w1 << 13) & MASK,
            (w1 >> 38 | w2 << 26) & MASK,
            (w2 >> 25 | w3 << 39) & MASK,
            w3 >> 12,
        ]
    }

    /// The one number below p that is congruent to this loose one, 32 bytes, little-endian.
    #[inline]
    pub(crate) fn to_bytes(self) -> [u8; 32] {
        // 2^255 ≡ 19: now below 2^255 + 19.
        let Self([w0, w1, w2, w3]) = self;
        let v = add_word([w0, w1, w2, w3 & TOP_MASK], 19 * (w3 >> 63));
        // At or above p if and only if adding 19 reaches 2^255; then the difference to p is that
        // sum without bit 255.
        let q = add_word(v, 19)[3] >> 63;
        let [w0, w1, w2, w3] = add_word(v, 19 * q);

        let mut bytes = [0; 32];
        for (chunk, word) in bytes.chunks_exact_mut(8).zip([w0, w1, w2, w3 & TOP_MASK]) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// Sum of two narrow elements; loose.
    #[inline(always)]
    pub(crate) fn add(self, other: Self) -> Self {
        let (Self(a), Self(b)) = (self.narrow(), other.narrow());
        let (w0, carry) = add(a[0], b[0], false);
        let (w1, carry) = add(a[1], b[1], carry);
        let (w2, carry) = add(a[2], b[2], carry);
        let (w3, carry) = add(a[3], b[3], carry);
        // 2^256 ≡ 38. If there is a carry, then what remains is below 2^25, for the sum was below
        // 2^256 + 2^25: adding 38 to the lowest word is enough.
        debug_assert!(!carry || (w0 < 1 << 25 && w1 | w2 | w3 == 0));
        Self([w0.wrapping_add(mask(carry) & 38), w1, w2, w3])
    }

    /// Difference of two narrow elements; loose.
    #[inline(always)]
    pub(crate) fn sub(self, other: Self) -> Self {
        let (Self(a), Self(b)) = (self.narrow(), other.narrow());
        let (w0, borrow) = sub(a[0], b[0], false);
        let (w1, borrow) = sub(a[1], b[1], borrow);
        let (w2, borrow) = sub(a[2], b[2], borrow);
        let (w3, borrow) = sub(a[3], b[3], borrow);
        // What was borrowed is 2^256 ≡ 38. If so, what remains is above 2^256 − 2^255 − 2^24, so
        // taking 38 away borrows no more.
        let (w0, borrow) = sub(w0, mask(borrow) & 38, false);
        let (w1, borrow) = sub(w1, 0, borrow);
        let (w2, borrow) = sub(w2, 0, borrow);
        let (w3, borrow) = sub(w3, 0, borrow);
        debug_assert!(!borrow);
        Self([w0, w1, w2, w3])
    }

    /// Product of two loose elements; narrow.
    #[inline(always)]
    pub(crate) fn mul(self, other: Self) -> Self {
        let (Self(a), Self(b)) = (self, other);
        let (r0, sum) = multiply_add([0; 4], a[0], b);
        let (r1, sum) = multiply_add(sum, a[1], b);
        let (r2, sum) = multiply_add(sum, a[2], b);
        let (r3, sum) = multiply_add(sum, a[3], b);
        fold([r0, r1, r2, r3], sum)
    }

    /// Square of a loose element; narrow.
    #[inline(always)]
    pub(crate) fn square(self) -> Self {
        let Self(a) = self;
        // The sum of aᵢ·aⱼ for i < j is below 2^511, a half of what is below 2^512: it fits words 1 to 7,
        // and its double as well. A high word is below 2^64 − 1: it takes a carry.
        let (r1, high1) = product(a[0], a[1]);
        let (r2, high2) = product(a[0], a[2]);
        let (r3, high3) = product(a[0], a[3]);
        let (r2, carry) = add(r2, high1, false);
        let (r3, carry) = add(r3, high2, carry);
        let r4 = high3.wrapping_add(u64::from(carry));

        let (s3, high3) = product(a[1], a[2]);
        let (s4, high4) = product(a[1], a[3]);
        let (s5, high5) = product(a[2], a[3]);
        let (s4, carry) = add(s4, high3, false);
        let (s5, carry) = add(s5, high4, carry);
        let s6 = high5.wrapping_add(u64::from(carry));

        let (r3, carry) = add(r3, s3, false);
        let (r4, carry) = add(r4, s4, carry);
        let (r5, carry) = add(s5, 0, carry);
        let r6 = s6.wrapping_add(u64::from(carry));

        let (r1, carry) = add(r1, r1, false);
        let (r2, carry) = add(r2, r2, carry);
        let (r3, carry) = add(r3, r3, carry);
        let (r4, carry) = add(r4, r4, carry);
        let (r5, carry) = add(r5, r5, carry);
        let (r6, carry) = add(r6, r6, carry);
        let r7 = u64::from(carry);

        let (r0, high0) = product(a[0], a[0]);
        let (low1, high1) = product(a[1], a[1]);
        let (low2, high2) = product(a[2], a[2]);
        let (low3, high3) = product(a[3], a[3]);
        let (r1, carry) = add(r1, high0, false);
        let (r2, carry) = add(r2, low1, carry);
        let (r3, carry) = add(r3, high1, carry);
        let (r4, carry) = add(r4, low2, carry);
        let (r5, carry) = add(r5, high2, carry);
        let (r6, carry) = add(r6, low3, carry);
        let (r7, carry) = add(r7, high3, carry);
        debug_assert!(!carry);
        fold([r0, r1, r2, r3], [r4, r5, r6, r7])
    }

    /// Product of a loose element and [`A24`]; narrow.
    #[inline(always)]
    pub(crate) fn mul_a24(self) -> Self {
        let (r0, [r1, r2, r3, r4]) = multiply_add([0; 4], A24, self.0);
        fold_top([r0, r1, r2, r3], r4)
    }

    /// The inverse of a loose element, by Fermat: the power 2^255 − 21. Zero becomes zero.
    #[inline(never)]
    pub(crate) fn invert(self) -> Self {
        let (z_250, z11) = powers!(self, Self::square, Self::mul);
        let z_255 = (0..5).fold(z_250, |z, _| z.square());
        z_255.mul(z11)
    }

    /// What [`root_of_quotient`](Self::root_of_quotient) needs of its base: the power 2^252 − 3.
    #[inline(never)]
    pub(crate) fn root_power(self) -> Self {
        let (z_250, _) = powers!(self, Self::square, Self::mul);
        z_250.square().square().mul(self)
    }

    /// What [`root_power`](Self::root_power) has to be computed of for
    /// [`root_of_quotient`](Self::root_of_quotient).
    pub(crate) fn root_base(x: Self, y: Self) -> Self {
        let y3 = y.square().mul(y);
        x.mul(y3.square().mul(y))
    }

    /// A root of the quotient of two loose elements, neither of which need be zero, given the
    /// [`root_power`](Self::root_power) of their base; `None` if the quotient is not a square. Not for secrets. (A
    /// division by zero is not to be asked for.)
    ///
    /// With x/y and e = (p − 5)/8 = 2^252 − 3, r = x·y³·(x·y⁷)^e has y·r² = x times a fourth root of 1,
    /// which is ±1 if x/y is a square.
    pub(crate) fn root_of_quotient(x: Self, y: Self, power: Self) -> Option<Self> {
        let y3 = y.square().mul(y);
        let root = x.mul(y3).mul(power);
        let square = y.mul(root.square());
        if square.equals(x) {
            return Some(root);
        }
        let opposite = Self::ZERO.sub(x.mul(Self::ONE));
        square
            .equals(opposite)
            .then(|| root.mul(Self::ROOT_OF_MINUS_ONE))
    }

    /// Whether two loose elements are congruent. Not for secrets.
    fn equals(self, other: Self) -> bool {
        self.to_bytes() == other.to_bytes()
    }

    /// The same number, below p.
    pub(crate) fn canonical(self) -> Self {
        Self::from_bytes(&self.to_bytes())
    }

    /// `if_set` or `if_clear`. (`Choice` keeps the compiler from making a branch of it.)
    #[inline(always)]
    pub(crate) fn select(choice: Choice, if_set: Self, if_clear: Self) -> Self {
        let (Self(a), Self(b)) = (if_set, if_clear);
        let mask = u64::conditional_select(&0, &u64::MAX, choice);
        Self([
            b[0] ^ (mask & (a[0] ^ b[0])),
            b[1] ^ (mask & (a[1] ^ b[1])),
            b[2] ^ (mask & (a[2] ^ b[2])),
            b[3] ^ (mask & (a[3] ^ b[3])),
        ])
    }

    /// Whether this loose element is zero modulo p.
    #[inline]
    fn is_zero(self) -> Choice {
        self.to_bytes().ct_eq(&[0; 32])
    }

    /// Asserts the narrow range in debug builds.
    #[inline(always)]
    fn narrow(self) -> Self {
        debug_assert!(
            self.0[3] <= TOP_MASK || (self.0[0] < 1 << 24 && self.0[1..] == [0, 0, 1 << 63]),
            "not narrow"
        );
        self
    }
}

/// x/z of every pair of loose elements as canonical bytes, 0 where z is 0, at the price of one
/// inversion in all (Montgomery's trick, zeros being replaced by ones first). Constant time.
#[inline]
pub(crate) fn quotients<const N: usize>(x: &[Element; N], z: &[Element; N]) -> [[u8; 32]; N] {
    // before[i] is the product of z[0] to z[i − 1].
    let mut zeros = [Choice::from(0); N];
    let mut nonzero = *z;
    let mut before = [Element::ONE; N];
    let mut product = Element::ONE;
    for i in 0..N {
        zeros[i] = z[i].is_zero();
        nonzero[i] = Element::select(zeros[i], Element::ONE, z[i]);
        before[i] = product;
        product = product.mul(nonzero[i]);
    }
    let mut inverse = product.invert();
    let mut quotients = [[0; 32]; N];
    for i in (0..N).rev() {
        let quotient = x[i].mul(before[i].mul(inverse));
        inverse = inverse.mul(nonzero[i]);
        quotients[i] = Element::select(zeros[i], Element::ZERO, quotient).to_bytes();
    }
    product.zeroize();
    inverse.zeroize();
    before.zeroize();
    nonzero.zeroize();
    quotients
}

/// 32 bytes as four words.
#[inline(always)]
pub(crate) fn words(bytes: &[u8; 32]) -> [u64; 4] {
    let (chunks, _) = bytes.as_chunks::<8>();
    [0, 1, 2, 3].map(|i| u64::from_le_bytes(chunks[i]))
}

/// One bit, 0 or 1.
#[inline(always)]
pub(crate) fn bit(words: &[u64; 4], position: usize) -> u8 {
    u8::from((words[position / 64] >> (position % 64)) & 1 == 1)
}

/// All but bit 255, in the top word.
const TOP_MASK: u64 = u64::MAX >> 1;

/// Brings the upper half of a product back, 38-fold: 2^256 ≡ 38.
///
/// The sum is below 39·2^256: the fifth word is at most 38.
#[inline(always)]
fn fold(low: [u64; 4], high: [u64; 4]) -> Element {
    let (r0, [r1, r2, r3, r4]) = multiply_add(low, 38, high);
    fold_top([r0, r1, r2, r3], r4)
}

/// Brings what is above bit 255 back, 19-fold: 2^255 ≡ 19.
///
/// The top word being below 2^17, less than 2^18 comes back, 19-fold less than 2^23. Narrow.
#[inline(always)]
fn fold_top(words: [u64; 4], top: u64) -> Element {
    debug_assert!(top < 1 << 17);
    let [w0, w1, w2, w3] = words;
    let (doubled, carry) = add(w3, w3, false);
    let above = 2 * top + u64::from(carry);
    Element(add_word([w0, w1, w2, doubled >> 1], 19 * above)).narrow()
}

/// `sum` plus the product of a word and four words: the lowest word and the four above.
///
/// At most (2^256 − 1) + (2^64 − 1)·(2^256 − 1) < 2^320: five words hold it. Of the product alone
/// this is true as well, so no addition to its highest word overflows.
#[inline(always)]
fn multiply_add(sum: [u64; 4], word: u64, words: [u64; 4]) -> (u64, [u64; 4]) {
    let (p0, high0) = product(word, words[0]);
    let (p1, high1) = product(word, words[1]);
    let (p2, high2) = product(word, words[2]);
    let (p3, high3) = product(word, words[3]);
    let (p1, carry) = add(p1, high0, false);
    let (p2, carry) = add(p2, high1, carry);
    let (p3, carry) = add(p3, high2, carry);
    let p4 = high3.wrapping_add(u64::from(carry));

    let (r0, carry) = add(sum[0], p0, false);
    let (r1, carry) = add(sum[1], p1, carry);
    let (r2, carry) = add(sum[2], p2, carry);
    let (r3, carry) = add(sum[3], p3, carry);
    (r0, [r1, r2, r3, p4.wrapping_add(u64::from(carry))])
}

/// Adds a word to a number below 2^256 − 2^64.
#[inline(always)]
fn add_word(words: [u64; 4], word: u64) -> [u64; 4] {
    let (w0, carry) = add(words[0], word, false);
    let (w1, carry) = add(words[1], 0, carry);
    let (w2, carry) = add(words[2], 0, carry);
    [w0, w1, w2, words[3].wrapping_add(u64::from(carry))]
}

#[inline(always)]
fn add(a: u64, b: u64, carry: bool) -> (u64, bool) {
    let (sum, first) = a.overflowing_add(b);
    let (sum, second) = sum.overflowing_add(u64::from(carry));
    (sum, first | second)
}

#[inline(always)]
fn sub(a: u64, b: u64, borrow: bool) -> (u64, bool) {
    let (difference, first) = a.overflowing_sub(b);
    let (difference, second) = difference.overflowing_sub(u64::from(borrow));
    (difference, first | second)
}

/// The low and the high word.
#[inline(always)]
fn product(a: u64, b: u64) -> (u64, u64) {
    let product = u128::from(a) * u128::from(b);
    (low(product), low(product >> 64))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the low word is what is asked for"
)]
#[inline(always)]
fn low(value: u128) -> u64 {
    value as u64
}

/// All ones or all zeros.
#[inline(always)]
fn mask(bit: bool) -> u64 {
    u64::from(bit).wrapping_neg()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// p − 1, p, p + 1, 2p − 1, 2p, 2p + 1, 2^255 − 1, 2^256 − 1 and small numbers.
    const PECULIAR: [[u64; 4]; 10] = {
        const ONES: u64 = u64::MAX;
        [
            [0, 0, 0, 0],
            [1, 0, 0, 0],
            [ONES - 19, ONES, ONES, TOP_MASK],
            [ONES - 18, ONES, ONES, TOP_MASK],
            [ONES - 17, ONES, ONES, TOP_MASK],
            [ONES - 38, ONES, ONES, ONES],
            [ONES - 37, ONES, ONES, ONES],
            [ONES - 36, ONES, ONES, ONES],
            [ONES, ONES, ONES, TOP_MASK],
            [ONES, ONES, ONES, ONES],
        ]
    };

    fn loose() -> impl Strategy<Value = Element> {
        prop_oneof![any::<[u64; 4]>(), prop::sample::select(&PECULIAR[..])].prop_map(Element)
    }

    /// Multiplying by one keeps the residue.
    fn narrow() -> impl Strategy<Value = Element> {
        let narrowest = (0_u64..1 << 24).prop_map(|low| Element([low, 0, 0, 1 << 63]));
        prop_oneof![
            loose().prop_map(|element| element.mul(Element::ONE)),
            narrowest
        ]
    }

    proptest! {
        #[test]
        fn products_distribute_over_sums_and_differences(
            a in narrow(), b in narrow(), c in loose(),
        ) {
            let (ac, bc) = (a.mul(c), b.mul(c));
            prop_assert_eq!(a.add(b).mul(c).to_bytes(), ac.add(bc).to_bytes());
            prop_assert_eq!(a.sub(b).mul(c).to_bytes(), ac.sub(bc).to_bytes());
            prop_assert_eq!(c.mul(a).to_bytes(), ac.to_bytes());
        }

        #[test]
        fn squares_are_products(a in loose()) {
            prop_assert_eq!(a.square().to_bytes(), a.mul(a).to_bytes());
            let constant = Element([A24, 0, 0, 0]);
            prop_assert_eq!(a.mul_a24().to_bytes(), a.mul(constant).to_bytes());
        }

        #[test]
        fn inverses_undo_products_unless_zero(a in loose()) {
            let expected = Element::select(a.is_zero(), Element::ZERO, Element::ONE);
            prop_assert_eq!(a.mul(a.invert()).to_bytes(), expected.to_bytes());
        }

        #[test]
        fn quotients_are_products_with_inverses(
            x in prop::array::uniform4(loose()), z in prop::array::uniform4(loose()),
        ) {
            let quotients = quotients(&x, &z);
            for i in 0..4 {
                prop_assert_eq!(quotients[i], x[i].mul(z[i].invert()).to_bytes());
            }
        }

        #[test]
        fn limbs_and_back_is_the_same(bytes: [u8; 32]) {
            let element = Element::from_bytes(&bytes);
            let back = Element::from_limbs(element.to_limbs());
            prop_assert_eq!(back.0, element.0);
        }
    }

    #[test]
    fn bytes_are_canonical() {
        let small = |low| {
            let mut bytes = [0; 32];
            bytes[0] = low;
            bytes
        };
        let mut minus_one = [0xff; 32];
        minus_one[0] = 0xec;
        minus_one[31] = 0x7f;
        let expected = [
            small(0),
            small(1),
            minus_one,
            small(0),
            small(1),
            minus_one,
            small(0),
            small(1),
            small(18),
            small(37),
        ];
        for (words, expected) in PECULIAR.into_iter().zip(expected) {
            assert_eq!(Element(words).to_bytes(), expected, "{words:x?}");
        }
    }
}
