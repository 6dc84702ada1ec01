//! A comb in 256-bit vectors.
//!
//! Budget: a multiplication with its sums, carries and permutations has a latency of 55 cycles; an
//! addition or doubling is two. Tables: 224 doublings and 46 additions, with a square root 40,000
//! cycles; a product: 31 and 65, with an inversion 19,000.

use std::arch::x86_64::{
    __m256i as Vector, _mm256_cmpeq_epi64, _mm256_or_si256, _mm256_permute4x64_epi64,
};

use zeroize::Zeroize;

use super::{
    _mm256_setr_epi64x, _mm256_unpackhi_epi64, _mm256_unpacklo_epi64, _mm256_xor_si256 as xor,
    Factor, LANES, Product, add as sum_of, and, blend, carry, fold, multiply_add_high,
    multiply_add_low, splat, zero,
};
use crate::{
    scalar_mult::{
        comb::{Digits, ENTRIES, ROWS, TABLES, TEETH},
        field::Element,
    },
    simd::ifma::{MULTIPLE_OF_P, PRODUCT},
};

comb!("avx512f,avx512dq,avx512vl,avx512ifma");

/// Limbs of an element.
const LIMBS: usize = 5;

const _: () = assert!(LANES == 4 && PRODUCT <= MULTIPLE_OF_P[0]);

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
#[inline]
fn coordinates(elements: &[Element; 4]) -> Product {
    Product(Factor::new(elements).0)
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
#[inline]
fn elements(product: &Product) -> [Element; 4] {
    product.carry().elements()
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
#[inline]
fn factor(product: &Product) -> Factor {
    product.carry()
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
#[inline]
fn times(a: &Factor, b: &Factor) -> Product {
    a.mul(*b)
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
#[inline]
fn none() -> Factor {
    Factor([zero(); 5])
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
#[inline]
fn wipe(product: &mut Product) {
    product.0.zeroize();
}

/// (Y + X, Y − X, Z, T), or the first two the other way round if `negate` is 1.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
#[inline]
fn first_sums(product: &Product, negate: u8) -> Factor {
    let first = splat(0_u64.wrapping_sub(u64::from(negate)));
    let negative = xor(first, _mm256_setr_epi64x(0, -1, 0, 0));
    let limbs = product.checked().0;
    let mut sums = limbs;
    for i in 0..5 {
        sums[i] = blend(0b0011, limbs[i], sum(limbs[i], negative, i));
    }
    carry(sums)
}

/// (a + b, a − b, c + d, c − d) of (a, b, c, d).
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
#[inline]
fn sums_and_differences(product: &Product) -> Factor {
    carry(super::sums_and_differences(*product))
}

/// (a ± b, a ± b, c ± d, c ± d) of limb `i` of (a, b, c, d), plus a multiple of p where it is a difference:
/// in lanes with all bits of the mask set.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
#[inline]
fn sum(limb: Vector, negative: Vector, i: usize) -> Vector {
    let first = _mm256_unpacklo_epi64(limb, limb);
    let second = xor(_mm256_unpackhi_epi64(limb, limb), negative);
    let raise = and(negative, splat(MULTIPLE_OF_P[i] + 1));
    sum_of(first, sum_of(second, raise))
}

/// (Y, −X, Z, −T).
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
#[inline]
fn negative(product: &Product) -> Product {
    let odd = _mm256_setr_epi64x(0, -1, 0, -1);
    let mut limbs = product.checked().0;
    for i in 0..5 {
        let raise = and(odd, splat(MULTIPLE_OF_P[i] + 1));
        limbs[i] = sum_of(xor(limbs[i], odd), raise);
    }
    Product(carry(limbs).0)
}

/// (Y, X, Z, Y + X).
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
#[inline]
fn with_sum(product: &Product) -> Factor {
    let mut sums = product.checked().0;
    for limb in &mut sums {
        let x = and(
            _mm256_permute4x64_epi64::<0b01_01_01_01>(*limb),
            _mm256_setr_epi64x(0, 0, 0, -1),
        );
        *limb = sum_of(_mm256_permute4x64_epi64::<0b00_10_01_00>(*limb), x);
    }
    carry(sums)
}

/// (YY + XX, YY − XX, 2ZZ − YY + XX, S − YY − XX) of (YY, XX, ZZ, S), plus multiples of p: at most three
/// products and one such multiple, which is what can be carried.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
#[inline]
fn doubling_terms(squares: &Product) -> Factor {
    let mut terms = squares.checked().0;
    for i in 0..5 {
        let limb = terms[i];
        let raise = (MULTIPLE_OF_P[i] + 1).cast_signed();
        let minus_xx = _mm256_setr_epi64x(0, -1, 0, -1);
        let minus_yy = _mm256_setr_epi64x(0, 0, -1, -1);
        let yy = and(_mm256_permute4x64_epi64::<0b00_00_00_00>(limb), minus_yy);
        let xx = xor(_mm256_permute4x64_epi64::<0b01_01_01_01>(limb), minus_xx);
        let zz = and(limb, _mm256_setr_epi64x(0, 0, -1, 0));
        let first = sum_of(_mm256_permute4x64_epi64::<0b11_10_00_00>(limb), zz);
        let raise = _mm256_setr_epi64x(0, raise, raise, 2 * raise);
        terms[i] = sum_of(sum_of(first, xx), sum_of(xor(yy, minus_yy), raise));
    }
    carry(terms)
}

impl Factor {
    /// The square: products of different limbs once, and doubled.
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    #[inline]
    fn square(self) -> Product {
        let Self(a) = self.checked();
        let (mut low, mut high) = ([zero(); 10], [zero(); 10]);
        let (mut low_squares, mut high_squares) = ([zero(); 10], [zero(); 10]);
        for i in 0..5 {
            for j in i + 1..5 {
                high[i + j + 1] = multiply_add_high(high[i + j + 1], a[i], a[j]);
                low[i + j] = multiply_add_low(low[i + j], a[i], a[j]);
            }
            high_squares[2 * i + 1] = multiply_add_high(zero(), a[i], a[i]);
            low_squares[2 * i] = multiply_add_low(zero(), a[i], a[i]);
        }
        // low squares + 2·(low + high squares + 2·high)
        let mut columns = low_squares;
        for i in 0..10 {
            let doubled = sum_of(high[i], high[i]);
            let half = sum_of(sum_of(low[i], high_squares[i]), doubled);
            columns[i] = sum_of(columns[i], sum_of(half, half));
        }
        fold(columns)
    }
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
#[inline]
fn lanes(from: [u64; 4]) -> Vector {
    super::from_lanes(&from)
}

/// All bits set if both are equal, else none.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
#[inline]
fn equal(a: u8, b: u8) -> Vector {
    _mm256_cmpeq_epi64(splat(u64::from(a)), splat(u64::from(b)))
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
#[inline]
fn or_masked(to: &mut Factor, from: &Factor, mask: Vector) {
    for i in 0..5 {
        to.0[i] = _mm256_or_si256(to.0[i], and(from.0[i], mask));
    }
}
