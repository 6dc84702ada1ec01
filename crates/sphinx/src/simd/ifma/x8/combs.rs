//! Combs in 512-bit vectors.

use std::{
    arch::asm,
    arch::x86_64::{
        __m256i, __m512i, _mm512_castsi256_si512, _mm512_inserti64x4, _mm512_permutex2var_epi64,
        _mm512_shuffle_i64x2,
    },
    array,
};

use zeroize::{Zeroize, Zeroizing};

use super::{
    super::x1::Comb, __mmask8 as Mask, _mm512_setr_epi64, _mm512_test_epi64_mask, Factor, LANES,
    MULTIPLE_OF_P, Product, add as add_limbs, blend as mask_blend, carry, from_lanes, splat,
    subtract,
};
use crate::scalar_mult::{
    comb::{Digits, ENTRIES, ROWS, TABLES, TEETH},
    field::{Element, powers, quotients},
};

combs!("avx512f,avx512dq,avx512vl,avx512ifma");

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
#[inline]
fn coordinates(elements: &[Element; LANES]) -> Product {
    Product(Factor::new(elements).0)
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
#[inline]
fn elements(product: &Product) -> [Element; LANES] {
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
fn add_products(a: &Product, b: &Product) -> Factor {
    a.add(*b)
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
#[inline]
fn subtract_products(a: &Product, b: &Product) -> Factor {
    a.sub(*b)
}

/// (S − XX − YY, 2ZZ − YY + XX, YY − XX, YY + XX), plus multiples of p: at most three products and one
/// such multiple, which is what can be carried.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
#[inline]
fn doubling_terms(yy: &Product, xx: &Product, zz: &Product, s: &Product) -> Terms {
    let (yy, xx) = (yy.checked().0, xx.checked().0);
    let (zz, s) = (zz.checked().0, s.checked().0);
    let (mut e, mut f, mut g, mut h) = (yy, yy, yy, yy);
    for i in 0..5 {
        let raise = splat(MULTIPLE_OF_P[i]);
        // Below 0, perhaps, until it is raised.
        let difference = subtract(yy[i], xx[i]);
        h[i] = add_limbs(yy[i], xx[i]);
        g[i] = add_limbs(difference, raise);
        f[i] = subtract(add_limbs(add_limbs(zz[i], zz[i]), raise), difference);
        e[i] = subtract(add_limbs(s[i], splat(2 * MULTIPLE_OF_P[i])), h[i]);
    }
    Terms([carry(e), carry(f), carry(g), carry(h)])
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
#[inline]
fn wipe(product: &mut Product) {
    product.0.zeroize();
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
#[inline]
fn blend(clear: __m512i, set: __m512i, mask: Mask) -> __m512i {
    let (mut clear, mut set) = (clear, set);
    // Otherwise the compiler reads table entries by loads under the mask, and the time of those
    // may tell a little of it.
    // SAFETY: there is no instruction in it; both values stay what they are in their registers.
    unsafe {
        asm!(
            "/* {0} {1} */",
            inout(zmm_reg) clear,
            inout(zmm_reg) set,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    mask_blend(mask, clear, set)
}

/// The lanes in which this bit is 1.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
#[inline]
fn has_bit(words: __m512i, position: usize) -> Mask {
    _mm512_test_epi64_mask(words, splat(1 << position))
}

fn not(mask: Mask) -> Mask {
    !mask
}

fn xor(a: Mask, b: Mask) -> Mask {
    a ^ b
}

fn all_lanes() -> Mask {
    Mask::MAX
}

fn no_lane() -> Mask {
    0
}

/// The entries of one point each, as (Y + X, Y − X, 2Z, 2d·T) of all.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn side_by_side(entries: &[&[__m256i; 5]; LANES], entry: &mut Entry) {
    let Entry(coordinates) = entry;
    for i in 0..5 {
        let pair = |first: usize| {
            let low = _mm512_castsi256_si512(entries[first][i]);
            _mm512_inserti64x4::<1>(low, entries[first + 1][i])
        };
        let first_two = _mm512_setr_epi64(0, 4, 8, 12, 1, 5, 9, 13);
        let last_two = _mm512_setr_epi64(2, 6, 10, 14, 3, 7, 11, 15);
        let (left, right) = ([pair(0), pair(2)], [pair(4), pair(6)]);
        for (start, which) in [(0, first_two), (2, last_two)] {
            let left = _mm512_permutex2var_epi64(left[0], which, left[1]);
            let right = _mm512_permutex2var_epi64(right[0], which, right[1]);
            coordinates[start].0[i] = _mm512_shuffle_i64x2::<0b01_00_01_00>(left, right);
            coordinates[start + 1].0[i] = _mm512_shuffle_i64x2::<0b11_10_11_10>(left, right);
        }
    }
}
