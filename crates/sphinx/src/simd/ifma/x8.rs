//! Eight ladders side by side.
//!
//! Budget of one step for all lanes: 5 products of 50 and 4 squares of 30 multiply-adds, 9 folds of
//! 5 multiplications, 11 carries and one product by a constant: 437 operations that need a
//! multiplier, about 820 in all. Zen 4 does one and two of them per cycle: at least 437 cycles,
//! measured 540. 255 steps and one inversion shared by all lanes: 150,000 cycles, 5.1 µs for each
//! of the eight at 3.7 GHz.

use std::arch::x86_64::{
    __m512i, __mmask8, _mm256_extract_epi64, _mm512_add_epi64 as add, _mm512_and_si512 as and,
    _mm512_cmplt_epu64_mask as less, _mm512_extracti64x4_epi64,
    _mm512_madd52hi_epu64 as multiply_add_high, _mm512_madd52lo_epu64 as multiply_add_low,
    _mm512_mask_blend_epi64 as blend, _mm512_mullo_epi64 as multiply,
    _mm512_set1_epi64 as broadcast, _mm512_setr_epi64, _mm512_setzero_si512 as zero,
    _mm512_srli_epi64 as shift_right, _mm512_sub_epi64 as subtract, _mm512_test_epi64_mask,
};

use zeroize::Zeroize;

use super::{super::transposed, CARRIABLE, FACTOR, MASK, MULTIPLE_OF_P, PRODUCT};
use crate::scalar_mult::field::{A24, Element, quotients};

mod combs;

pub(crate) use combs::Combs;
pub(in super::super) use combs::root_powers;

vectors!("avx512f,avx512dq,avx512vl,avx512ifma", __m512i);

/// The number of lanes.
pub(in super::super) const LANES: usize = 8;

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(in super::super) fn mul(
    integers: &[[u8; 32]; LANES],
    points: &[[u8; 32]; LANES],
) -> [[u8; 32]; LANES] {
    let mut bits = transposed(integers);
    let x1 = Factor::new(&points.map(|point| Element::from_bytes(&point)));
    let mut state = State::new(x1);
    for position in (0..255).rev() {
        let words = from_lanes(&bits[position / 64]);
        state.step(
            x1,
            _mm512_test_epi64_mask(words, splat(1 << (position % 64))),
        );
    }
    bits.zeroize();
    state.finish()
}

/// Where the ladders stand, as in `scalar_mult::scalar`: of the pair k·P and (k + 1)·P, the one
/// that was doubled last and the sum. In lanes whose last bit is 1 the sum is k·P.
struct State {
    double: [Product; 2],
    sum: [Product; 2],
    last_bits: __mmask8,
}

impl State {
    /// 0·P and 1·P in every lane.
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    #[inline]
    fn new(x1: Factor) -> Self {
        let zero = Product([zero(); 5]);
        let mut one = zero;
        one.0[0] = splat(1);
        Self {
            double: [one, zero],
            sum: [Product(x1.0), one],
            last_bits: 0,
        }
    }

    /// One ladder step in every lane, with the names of RFC 7748, section 5.
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    #[inline]
    fn step(&mut self, x1: Factor, bits: __mmask8) {
        let swap = bits ^ self.last_bits;
        self.last_bits = bits;
        let [x2, z2] = self.double;
        let [x3, z3] = self.sum;
        let (a, b) = (x2.add(z2), x2.sub(z2));
        let (c, d) = (x3.add(z3), x3.sub(z3));
        let da = d.mul(a);
        let cb = c.mul(b);
        let aa = a.or(c, swap).square();
        let bb = b.or(d, swap).square();
        let da_minus_cb = da.sub(cb).square();
        let e = aa.sub(bb);
        let x2 = aa.carry().mul(bb.carry());
        let x3 = da.add(cb).square();
        let f = e.mul_a24_add(aa);
        let z3 = da_minus_cb.carry().mul(x1);
        let z2 = e.mul(f);
        self.sum = [x3, z3];
        self.double = [x2, z2];
    }

    /// The quotient of k·P in every lane, and wipes.
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    #[inline]
    fn finish(mut self) -> [[u8; 32]; LANES] {
        let mut x = self.double[0]
            .carry()
            .or(self.sum[0].carry(), self.last_bits)
            .elements();
        let mut z = self.double[1]
            .carry()
            .or(self.sum[1].carry(), self.last_bits)
            .elements();
        for product in self.double.iter_mut().chain(&mut self.sum) {
            product.0.zeroize();
        }
        let results = quotients(&x, &z);
        x.zeroize();
        z.zeroize();
        results
    }
}

impl Factor {
    /// `other` in the lanes of the mask, `self` elsewhere.
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    #[inline]
    fn or(self, other: Self, mask: __mmask8) -> Self {
        let mut chosen = self;
        for i in 0..5 {
            chosen.0[i] = blend(mask, self.0[i], other.0[i]);
        }
        chosen
    }

    /// The product: all low halves, and all high halves one column up.
    ///
    /// A high half weighs 2^52, that is 2 units of the next column, so high halves are summed
    /// first and doubled. `WORST_PRODUCT` has the bounds.
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    #[inline]
    fn mul(self, other: Self) -> Product {
        let (Self(a), Self(b)) = (self.checked(), other.checked());
        let mut columns = [zero(); 10];
        for i in 0..5 {
            for j in 0..5 {
                columns[i + j + 1] = multiply_add_high(columns[i + j + 1], a[i], b[j]);
            }
        }
        for column in &mut columns[1..] {
            *column = add(*column, *column);
        }
        for i in 0..5 {
            for j in 0..5 {
                columns[i + j] = multiply_add_low(columns[i + j], a[i], b[j]);
            }
        }
        fold(columns)
    }

    /// The square: products of different limbs once and doubled.
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    #[inline]
    fn square(self) -> Product {
        let Self(a) = self.checked();
        let mut columns = [zero(); 10];
        for i in 0..5 {
            for j in i + 1..5 {
                columns[i + j + 1] = multiply_add_high(columns[i + j + 1], a[i], a[j]);
            }
        }
        for column in &mut columns[2..9] {
            *column = add(*column, *column);
        }
        for i in 0..5 {
            columns[2 * i + 1] = multiply_add_high(columns[2 * i + 1], a[i], a[i]);
            for j in i + 1..5 {
                columns[i + j] = multiply_add_low(columns[i + j], a[i], a[j]);
            }
        }
        for column in &mut columns[1..] {
            *column = add(*column, *column);
        }
        for i in 0..5 {
            columns[2 * i] = multiply_add_low(columns[2 * i], a[i], a[i]);
        }
        fold(columns)
    }

    /// [`A24`] times `self` plus a product, carried.
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    #[inline]
    fn mul_a24_add(self, addend: Product) -> Self {
        let (Self(a), mut sum) = (self.checked(), addend);
        let factor = splat(A24);
        let zero = zero();
        for i in 0..5 {
            sum.0[i] = multiply_add_low(sum.0[i], a[i], factor);
        }
        for i in 0..4 {
            let high = multiply_add_high(zero, a[i], factor);
            sum.0[i + 1] = add(sum.0[i + 1], add(high, high));
        }
        // 2·2^255 ≡ 38.
        let high = multiply_add_high(zero, a[4], factor);
        sum.0[0] = multiply_add_low(sum.0[0], high, splat(38));
        carry(sum.0)
    }
}

impl Product {
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    #[inline]
    fn add(self, other: Self) -> Factor {
        let mut sum = self.checked().0;
        for i in 0..5 {
            sum[i] = add(sum[i], other.0[i]);
        }
        carry(sum)
    }

    /// Adds a multiple of p first, lest a limb become negative.
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    #[inline]
    fn sub(self, other: Self) -> Factor {
        let mut difference = self.checked().0;
        for i in 0..5 {
            let raised = add(difference[i], splat(MULTIPLE_OF_P[i]));
            difference[i] = subtract(raised, other.0[i]);
        }
        carry(difference)
    }
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
#[inline]
fn from_lanes(lanes: &[u64; LANES]) -> __m512i {
    let [a, b, c, d, e, f, g, h] = lanes.map(u64::cast_signed);
    _mm512_setr_epi64(a, b, c, d, e, f, g, h)
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
#[inline]
fn to_lanes(vector: __m512i) -> [u64; LANES] {
    let low = _mm512_extracti64x4_epi64::<0>(vector);
    let high = _mm512_extracti64x4_epi64::<1>(vector);
    [
        _mm256_extract_epi64::<0>(low),
        _mm256_extract_epi64::<1>(low),
        _mm256_extract_epi64::<2>(low),
        _mm256_extract_epi64::<3>(low),
        _mm256_extract_epi64::<0>(high),
        _mm256_extract_epi64::<1>(high),
        _mm256_extract_epi64::<2>(high),
        _mm256_extract_epi64::<3>(high),
    ]
    .map(i64::cast_unsigned)
}
