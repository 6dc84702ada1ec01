//! Arithmetic modulo p on vectors.
//!
//! Without wide multiply-adds the widest multiplication is `vpmuludq`, 32 by 32 bits. So field
//! elements are in radix 2^25.5: ten limbs of alternately 26 and 25 bits, limb i weighing
//! 2^⌈25.5·i⌉, one limb of four elements per vector. Ranges:
//!
//! | type | even limbs below | odd limbs below | comes from | goes into |
//! |---|---|---|---|---|
//! | [`Narrow`] | 2^26 + 2^16 | 2^25 + 2^16 | decoding, products | everything |
//! | [`Loose`] | 2^27.6 | 2^26.6 | sums, differences | products |
//!
//! The bounds after each operation are computed at compile time from those before; debug builds
//! assert them at run time too.

use std::{
    arch::x86_64::{
        __m256i, _mm256_add_epi64, _mm256_and_si256, _mm256_blendv_epi8, _mm256_cmpgt_epi64,
        _mm256_extract_epi64, _mm256_movemask_epi8, _mm256_mul_epu32, _mm256_mullo_epi32,
        _mm256_set1_epi64x, _mm256_setr_epi64x, _mm256_setzero_si256, _mm256_slli_epi64,
        _mm256_srli_epi64, _mm256_sub_epi64,
    },
    ops::Deref,
};

use crate::scalar_mult::field::{A24, Element};

/// The number of lanes.
pub(in super::super) const LANES: usize = 4;

/// Limbs of narrow elements are below these: the even ones, the odd ones.
const NARROW: [u64; 2] = [(1 << 26) + (1 << 16), (1 << 25) + (1 << 16)];

/// 2p, limb by limb. Each is above [`NARROW`].
pub(super) const TWICE_P: [u64; 10] = {
    let (even, odd) = ((1 << 27) - 2, (1 << 26) - 2);
    [even - 36, odd, even, odd, even, odd, even, odd, even, odd]
};

/// Limbs of loose elements are below these.
const LOOSE: [u64; 2] = [NARROW[0] + TWICE_P[2], NARROW[1] + TWICE_P[1]];

/// Four numbers modulo p, carried. Every narrow element is a loose one.
#[derive(Clone, Copy)]
pub(super) struct Narrow(pub(super) Loose);

impl Deref for Narrow {
    type Target = Loose;

    fn deref(&self) -> &Loose {
        &self.0
    }
}

impl Narrow {
    /// One element below 2^255 per lane.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) fn new(elements: &[Element; LANES]) -> Self {
        let elements = elements.map(Element::to_limbs);
        let mut limbs = [_mm256_setzero_si256(); 10];
        for i in 0..5 {
            let pair = from_lanes(&elements.map(|element| element[i]));
            limbs[2 * i] = _mm256_and_si256(pair, splat(MASKS[0]));
            limbs[2 * i + 1] = _mm256_srli_epi64::<26>(pair);
        }
        let narrow = Self(Loose(limbs));
        narrow.checked();
        narrow
    }

    /// The element in each lane, loose.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) fn elements(&self) -> [Element; LANES] {
        let limbs = self.checked();
        let mut elements = [[0; 5]; LANES];
        for i in 0..5 {
            let odd = _mm256_slli_epi64::<26>(limbs[2 * i + 1]);
            let pair = to_lanes(_mm256_add_epi64(limbs[2 * i], odd));
            for (element, limb) in elements.iter_mut().zip(pair) {
                element[i] = limb;
            }
        }
        elements.map(Element::from_limbs)
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) fn add(&self, other: &Self) -> Loose {
        let (a, b) = (self.checked(), other.checked());
        let mut sum = [_mm256_setzero_si256(); 10];
        for i in 0..10 {
            sum[i] = _mm256_add_epi64(a[i], b[i]);
        }
        Loose(sum)
    }

    /// Adds 2p first, lest a limb become negative.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) fn sub(&self, other: &Self) -> Loose {
        let (a, b) = (self.checked(), other.checked());
        let mut difference = [_mm256_setzero_si256(); 10];
        for i in 0..10 {
            let negative = _mm256_sub_epi64(splat(TWICE_P[i]), b[i]);
            difference[i] = _mm256_add_epi64(a[i], negative);
        }
        Loose(difference)
    }

    /// Moves what is above each limb to the next, all at once: enough for limbs below five times
    /// those of 2p, of which less than 2^4 is above.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) fn weakly_carried(limbs: [__m256i; 10]) -> Self {
        debug_assert!(all_below(&limbs, [5 * TWICE_P[2], 5 * TWICE_P[1]]));
        let mut carried = limbs;
        for i in 0..10 {
            carried[i] = _mm256_and_si256(limbs[i], splat(MASKS[i % 2]));
        }
        for i in 0..5 {
            let (even, odd) = (
                _mm256_srli_epi64::<26>(limbs[2 * i]),
                _mm256_srli_epi64::<25>(limbs[2 * i + 1]),
            );
            let next = if i < 4 {
                odd
            } else {
                _mm256_mul_epu32(odd, splat(19))
            };
            carried[2 * i + 1] = _mm256_add_epi64(carried[2 * i + 1], even);
            carried[(2 * i + 2) % 10] = _mm256_add_epi64(carried[(2 * i + 2) % 10], next);
        }
        let narrow = Self(Loose(carried));
        narrow.checked();
        narrow
    }

    /// Asserts the bounds in debug builds.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) fn checked(&self) -> &[__m256i; 10] {
        debug_assert!(all_below(&self.0.0, NARROW));
        &self.0.0
    }
}

/// Four numbers modulo p, as sums and differences leave them.
#[derive(Clone, Copy)]
pub(super) struct Loose(pub(super) [__m256i; 10]);

impl Loose {
    /// `other` in the lanes of the mask, `self` elsewhere.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) fn or(&self, other: &Self, mask: __m256i) -> Self {
        Self(choose(&self.0, &other.0, mask))
    }

    /// The product. Two odd limbs weigh 2^25 · 2^25 where their column weighs 2^51, so one of them is
    /// doubled; columns from 10 on return 19-fold. [`WORST_COLUMNS`] has the bounds.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) fn mul(&self, other: &Self) -> Narrow {
        let (a, b) = (self.checked(), other.checked());
        let mut multiples = [_mm256_setzero_si256(); 20];
        for i in 0..10 {
            multiples[i] = _mm256_mullo_epi32(b[i], splat(19));
            multiples[10 + i] = b[i];
        }
        let mut columns = [_mm256_setzero_si256(); 10];
        for i in 0..5 {
            let (even, odd) = (a[2 * i], a[2 * i + 1]);
            let doubled = _mm256_add_epi64(odd, odd);
            let b = &multiples;
            columns = [
                two_products(columns[0], even, b[10 - 2 * i], doubled, b[9 - 2 * i]),
                two_products(columns[1], even, b[11 - 2 * i], odd, b[10 - 2 * i]),
                two_products(columns[2], even, b[12 - 2 * i], doubled, b[11 - 2 * i]),
                two_products(columns[3], even, b[13 - 2 * i], odd, b[12 - 2 * i]),
                two_products(columns[4], even, b[14 - 2 * i], doubled, b[13 - 2 * i]),
                two_products(columns[5], even, b[15 - 2 * i], odd, b[14 - 2 * i]),
                two_products(columns[6], even, b[16 - 2 * i], doubled, b[15 - 2 * i]),
                two_products(columns[7], even, b[17 - 2 * i], odd, b[16 - 2 * i]),
                two_products(columns[8], even, b[18 - 2 * i], doubled, b[17 - 2 * i]),
                two_products(columns[9], even, b[19 - 2 * i], odd, b[18 - 2 * i]),
            ];
        }
        carry(columns)
    }

    /// The square: products of different limbs once and doubled.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) fn square(&self) -> Narrow {
        let a = Multiples::of(self);
        carry([
            a.column::<0>(),
            a.column::<1>(),
            a.column::<2>(),
            a.column::<3>(),
            a.column::<4>(),
            a.column::<5>(),
            a.column::<6>(),
            a.column::<7>(),
            a.column::<8>(),
            a.column::<9>(),
        ])
    }

    /// [`A24`] times `self` plus a narrow element. Far below the columns of a product.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) fn mul_a24_add(&self, addend: &Narrow) -> Narrow {
        let (a, addend) = (self.checked(), addend.checked());
        let factor = splat(A24);
        let mut columns = [_mm256_setzero_si256(); 10];
        for i in 0..10 {
            columns[i] = _mm256_add_epi64(addend[i], _mm256_mul_epu32(a[i], factor));
        }
        carry(columns)
    }

    /// Asserts the bounds in debug builds.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) fn checked(&self) -> &[__m256i; 10] {
        debug_assert!(all_below(&self.0, LOOSE));
        &self.0
    }
}

#[target_feature(enable = "avx2")]
#[inline]
fn two_products(sum: __m256i, a: __m256i, b: __m256i, c: __m256i, d: __m256i) -> __m256i {
    let sum = _mm256_add_epi64(sum, _mm256_mul_epu32(a, b));
    _mm256_add_epi64(sum, _mm256_mul_epu32(c, d))
}

/// A factor, and what its square needs of it: its double and its 19-fold. What no column uses is
/// not computed.
struct Multiples<'a> {
    once: &'a [__m256i; 10],
    doubled: [__m256i; 10],
    back: [__m256i; 10],
}

impl<'a> Multiples<'a> {
    #[target_feature(enable = "avx2")]
    #[inline]
    fn of(factor: &'a Loose) -> Self {
        let once = factor.checked();
        let (mut doubled, mut back) = (*once, *once);
        for i in 0..10 {
            doubled[i] = _mm256_add_epi64(once[i], once[i]);
            back[i] = _mm256_mullo_epi32(once[i], splat(19));
        }
        Self {
            once,
            doubled,
            back,
        }
    }

    /// Column `K` of the square. A pair of different limbs is met once and counts twice; a pair of
    /// odd limbs counts twice as in a product; so of two different odd limbs both are doubled.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn column<const K: usize>(&self) -> __m256i {
        let mut sum = _mm256_setzero_si256();
        for i in 0..10 {
            let j = (K + 10 - i) % 10;
            if i < j {
                continue;
            }
            let (different, both_odd) = (i != j, i % 2 == 1 && j % 2 == 1);
            let left = if different || both_odd {
                self.doubled[j]
            } else {
                self.once[j]
            };
            let right = if i > K { self.back[i] } else { self.once[i] };
            let right = if different && both_odd {
                _mm256_add_epi64(right, right)
            } else {
                right
            };
            sum = _mm256_add_epi64(sum, _mm256_mul_epu32(left, right));
        }
        sum
    }
}

/// Carries the columns of a product, none of which is above [`WORST_COLUMNS`].
///
/// Two chains, 0 to 5 and 4 to 9, run beside each other; the top returns 19-fold to limb 0, which
/// carries once more. [`WORST_CARRIED`] is what can remain.
#[target_feature(enable = "avx2")]
#[inline]
fn carry(mut h: [__m256i; 10]) -> Narrow {
    for (i, j) in [(0, 4), (1, 5), (2, 6), (3, 7), (4, 8)] {
        carry_limb(&mut h, i);
        carry_limb(&mut h, j);
    }
    let above = _mm256_srli_epi64::<25>(h[9]);
    h[9] = _mm256_and_si256(h[9], splat(MASKS[1]));
    // 19 = 1 + 2 + 16, in additions since `above` may have more than 32 bits.
    let twice = _mm256_add_epi64(above, above);
    let thrice = _mm256_add_epi64(twice, above);
    let nineteenfold = _mm256_add_epi64(thrice, _mm256_slli_epi64::<4>(above));
    h[0] = _mm256_add_epi64(h[0], nineteenfold);
    carry_limb(&mut h, 0);
    let narrow = Narrow(Loose(h));
    narrow.checked();
    narrow
}

/// Moves what is above limb `i` to the next.
#[target_feature(enable = "avx2")]
#[inline]
fn carry_limb(h: &mut [__m256i; 10], i: usize) {
    let above = if i.is_multiple_of(2) {
        _mm256_srli_epi64::<26>(h[i])
    } else {
        _mm256_srli_epi64::<25>(h[i])
    };
    h[i] = _mm256_and_si256(h[i], splat(MASKS[i % 2]));
    h[i + 1] = _mm256_add_epi64(h[i + 1], above);
}

const MASKS: [u64; 2] = [(1 << 26) - 1, (1 << 25) - 1];

/// The largest columns of a product of loose elements.
const WORST_COLUMNS: [u64; 10] = {
    let mut columns = [0; 10];
    let mut i = 0;
    while i < 100 {
        let (left, right) = (i / 10, i % 10);
        let twice = if left % 2 == 1 && right % 2 == 1 {
            2
        } else {
            1
        };
        let back = if left + right >= 10 { 19 } else { 1 };
        // The compiler refuses a constant that overflows.
        columns[(left + right) % 10] += back * twice * LOOSE[left % 2] * LOOSE[right % 2];
        i += 1;
    }
    columns
};

/// What [`carry`] can leave of them, by the same steps, a masked limb being any below its mask.
const WORST_CARRIED: [u64; 10] = {
    const STEPS: [usize; 10] = [0, 4, 1, 5, 2, 6, 3, 7, 4, 8];
    let mut h = WORST_COLUMNS;
    let mut step = 0;
    while step < 10 {
        let i = STEPS[step];
        h[i + 1] += h[i] >> (26 - i % 2);
        h[i] = MASKS[i % 2];
        step += 1;
    }
    h[0] += 19 * (h[9] >> 25);
    h[9] = MASKS[1];
    h[1] += h[0] >> 26;
    h[0] = MASKS[0];
    h
};

const _: () = {
    let mut i = 0;
    while i < 10 {
        assert!(WORST_CARRIED[i] < NARROW[i % 2]);
        // Sums and differences of narrow elements are loose, and no limb becomes negative.
        assert!(TWICE_P[i] >= NARROW[i % 2]);
        assert!(2 * NARROW[i % 2] <= LOOSE[i % 2]);
        // A product by a constant stays below the columns of other products.
        assert!(LOOSE[i % 2] * A24 + NARROW[i % 2] <= WORST_COLUMNS[i]);
        i += 1;
    }
    // What is carried weakly is narrow, also in limb 0, where it comes back 19-fold.
    assert!(5 * TWICE_P[2] < 1 << 30 && 5 * TWICE_P[1] < 1 << 29);
    assert!(MASKS[1] + (1 << 4) < NARROW[1] && MASKS[0] + 19 * (1 << 4) < NARROW[0]);
    // Factors fit the 32 bits that a multiplication reads: 19-fold, or twice that if odd.
    assert!(19 * LOOSE[0] < 1 << 32 && 2 * 19 * LOOSE[1] < 1 << 32);
};

#[target_feature(enable = "avx2")]
#[inline]
fn choose(if_clear: &[__m256i; 10], if_set: &[__m256i; 10], mask: __m256i) -> [__m256i; 10] {
    let mut chosen = [mask; 10];
    for i in 0..10 {
        chosen[i] = _mm256_blendv_epi8(if_clear[i], if_set[i], mask);
    }
    chosen
}

#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn splat(value: u64) -> __m256i {
    _mm256_set1_epi64x(value.cast_signed())
}

#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn from_lanes(lanes: &[u64; LANES]) -> __m256i {
    let [a, b, c, d] = lanes.map(u64::cast_signed);
    _mm256_setr_epi64x(a, b, c, d)
}

#[target_feature(enable = "avx2")]
#[inline]
fn to_lanes(vector: __m256i) -> [u64; LANES] {
    [
        _mm256_extract_epi64::<0>(vector),
        _mm256_extract_epi64::<1>(vector),
        _mm256_extract_epi64::<2>(vector),
        _mm256_extract_epi64::<3>(vector),
    ]
    .map(i64::cast_unsigned)
}

/// Whether even limbs are below the first bound and odd ones below the second. (Compares as signed:
/// limbs above 2^63 fail the second comparison.)
#[target_feature(enable = "avx2")]
#[inline]
fn all_below(limbs: &[__m256i; 10], bounds: [u64; 2]) -> bool {
    limbs.iter().enumerate().all(|(i, &limb)| {
        let below = _mm256_cmpgt_epi64(splat(bounds[i % 2]), limb);
        let positive = _mm256_cmpgt_epi64(limb, splat(u64::MAX));
        _mm256_movemask_epi8(_mm256_and_si256(below, positive)) == -1
    })
}
