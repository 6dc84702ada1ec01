//! A comb in AVX2 vectors.
//!
//! Budget: a product of vectors takes 110 multiplications, a square 62, and Zen 4 does two per cycle;
//! with carries and permutations a doubling and an addition take 250 cycles each. Tables: 224
//! doublings and 46 additions, with a square root 75,000 cycles; a product: 31 and 65, with an
//! inversion 32,000.

use std::arch::x86_64::{
    __m256i as Vector, _mm256_add_epi64 as sum_of, _mm256_and_si256 as and, _mm256_blend_epi32,
    _mm256_cmpeq_epi64, _mm256_or_si256, _mm256_permute4x64_epi64, _mm256_permutevar8x32_epi32,
    _mm256_setr_epi64x, _mm256_setzero_si256, _mm256_unpackhi_epi64, _mm256_unpacklo_epi64,
    _mm256_xor_si256 as xor,
};

use zeroize::Zeroize;

use super::vectors::{LANES, Loose as Factor, Narrow as Product, TWICE_P, from_lanes, splat};
use crate::scalar_mult::{
    comb::{Digits, ENTRIES, ROWS, TABLES, TEETH},
    field::Element,
};

comb!("avx2");

/// Limbs of an element.
const LIMBS: usize = 10;

const _: () = assert!(LANES == 4);

#[target_feature(enable = "avx2")]
#[inline]
fn coordinates(elements: &[Element; 4]) -> Product {
    Product::new(elements)
}

#[target_feature(enable = "avx2")]
#[inline]
fn elements(product: &Product) -> [Element; 4] {
    product.elements()
}

#[target_feature(enable = "avx2")]
#[inline]
fn factor(product: &Product) -> Factor {
    product.0
}

#[target_feature(enable = "avx2")]
#[inline]
fn times(a: &Factor, b: &Factor) -> Product {
    a.mul(b)
}

#[target_feature(enable = "avx2")]
#[inline]
fn none() -> Factor {
    Factor([_mm256_setzero_si256(); 10])
}

#[target_feature(enable = "avx2")]
#[inline]
fn wipe(product: &mut Product) {
    product.0.0.zeroize();
}

/// (Y + X, Y − X, Z, T), or the first two the other way round if `negate` is 1.
#[target_feature(enable = "avx2")]
#[inline]
fn first_sums(product: &Product, negate: u8) -> Factor {
    let first = splat(0_u64.wrapping_sub(u64::from(negate)));
    let negative = xor(first, _mm256_setr_epi64x(0, -1, 0, 0));
    let limbs = product.checked();
    let mut sums = *limbs;
    for i in 0..10 {
        sums[i] = _mm256_blend_epi32::<0b0000_1111>(limbs[i], sum(limbs[i], negative, i));
    }
    Factor(sums)
}

/// (a + b, a − b, c + d, c − d) of (a, b, c, d).
#[target_feature(enable = "avx2")]
#[inline]
fn sums_and_differences(product: &Product) -> Factor {
    let odd = _mm256_setr_epi64x(0, -1, 0, -1);
    let mut sums = *product.checked();
    for i in 0..10 {
        sums[i] = sum(sums[i], odd, i);
    }
    Factor(sums)
}

/// (a ± b, a ± b, c ± d, c ± d) of limb `i` of (a, b, c, d), plus 2p where it is a difference: in lanes with
/// all bits of the mask set.
#[target_feature(enable = "avx2")]
#[inline]
fn sum(limb: Vector, negative: Vector, i: usize) -> Vector {
    let first = _mm256_unpacklo_epi64(limb, limb);
    let second = xor(_mm256_unpackhi_epi64(limb, limb), negative);
    let raise = and(negative, splat(TWICE_P[i] + 1));
    sum_of(first, sum_of(second, raise))
}

/// (Y, −X, Z, −T).
#[target_feature(enable = "avx2")]
#[inline]
fn negative(product: &Product) -> Product {
    let odd = _mm256_setr_epi64x(0, -1, 0, -1);
    let mut limbs = *product.checked();
    for i in 0..10 {
        let raise = and(odd, splat(TWICE_P[i] + 1));
        limbs[i] = sum_of(xor(limbs[i], odd), raise);
    }
    Product::weakly_carried(limbs)
}

/// (Y, X, Z, Y + X).
#[target_feature(enable = "avx2")]
#[inline]
fn with_sum(product: &Product) -> Factor {
    let mut sums = *product.checked();
    for limb in &mut sums {
        let x = and(
            _mm256_permute4x64_epi64::<0b01_01_01_01>(*limb),
            _mm256_setr_epi64x(0, 0, 0, -1),
        );
        *limb = sum_of(_mm256_permute4x64_epi64::<0b00_10_01_00>(*limb), x);
    }
    Factor(sums)
}

/// (YY + XX, YY − XX, 2ZZ − YY + XX, S − YY − XX) of (YY, XX, ZZ, S), plus 2p once or twice where something is
/// subtracted: below five times 2p.
#[target_feature(enable = "avx2")]
#[inline]
fn doubling_terms(squares: &Product) -> Factor {
    let mut terms = *squares.checked();
    for i in 0..10 {
        let limb = terms[i];
        let raise = (TWICE_P[i] + 1).cast_signed();
        let minus_xx = _mm256_setr_epi64x(0, -1, 0, -1);
        let minus_yy = _mm256_setr_epi64x(0, 0, -1, -1);
        let yy = and(_mm256_permute4x64_epi64::<0b00_00_00_00>(limb), minus_yy);
        let xx = xor(_mm256_permute4x64_epi64::<0b01_01_01_01>(limb), minus_xx);
        let zz = and(limb, _mm256_setr_epi64x(0, 0, -1, 0));
        let first = sum_of(_mm256_permute4x64_epi64::<0b11_10_00_00>(limb), zz);
        let raise = _mm256_setr_epi64x(0, raise, raise, 2 * raise);
        terms[i] = sum_of(sum_of(first, xx), sum_of(xor(yy, minus_yy), raise));
    }
    Product::weakly_carried(terms).0
}

impl Factor {
    /// Each lane takes the lane that the same lane of `from` says.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn permute(&self, from: Vector) -> Self {
        let mut permuted = *self;
        for i in 0..10 {
            permuted.0[i] = _mm256_permutevar8x32_epi32(self.0[i], from);
        }
        permuted
    }
}

/// A permutation: the pairs of 32-bit lanes that each lane takes.
#[target_feature(enable = "avx2")]
#[inline]
fn lanes(from: [u64; 4]) -> Vector {
    from_lanes(&from.map(|lane| (2 * lane) | ((2 * lane + 1) << 32)))
}

/// All bits set if both are equal, else none.
#[target_feature(enable = "avx2")]
#[inline]
fn equal(a: u8, b: u8) -> Vector {
    _mm256_cmpeq_epi64(splat(u64::from(a)), splat(u64::from(b)))
}

#[target_feature(enable = "avx2")]
#[inline]
fn or_masked(to: &mut Factor, from: &Factor, mask: Vector) {
    for i in 0..10 {
        to.0[i] = _mm256_or_si256(to.0[i], and(from.0[i], mask));
    }
}
