//! Combs in AVX2 vectors.

use std::{
    arch::x86_64::{
        __m256i, __m256i as Mask, _mm256_add_epi64 as add_limbs, _mm256_and_si256,
        _mm256_blendv_epi8, _mm256_cmpeq_epi64, _mm256_permute2x128_si256, _mm256_setzero_si256,
        _mm256_sub_epi64 as subtract, _mm256_unpackhi_epi64, _mm256_unpacklo_epi64,
        _mm256_xor_si256 as xor,
    },
    array,
};

use zeroize::{Zeroize, Zeroizing};

use super::{
    comb::Comb,
    vectors::{LANES, Loose as Factor, Narrow as Product, TWICE_P, from_lanes, splat},
};
use crate::scalar_mult::{
    comb::{Digits, ENTRIES, ROWS, TABLES, TEETH},
    field::{Element, powers, quotients},
};

combs!("avx2");

#[target_feature(enable = "avx2")]
#[inline]
fn coordinates(elements: &[Element; LANES]) -> Product {
    Product::new(elements)
}

#[target_feature(enable = "avx2")]
#[inline]
fn elements(product: &Product) -> [Element; LANES] {
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
fn add_products(a: &Product, b: &Product) -> Factor {
    a.add(b)
}

#[target_feature(enable = "avx2")]
#[inline]
fn subtract_products(a: &Product, b: &Product) -> Factor {
    a.sub(b)
}

/// (S − XX − YY, 2ZZ − YY + XX, YY − XX, YY + XX), plus 2p once or twice where something is subtracted:
/// below five times 2p.
#[target_feature(enable = "avx2")]
#[inline]
fn doubling_terms(yy: &Product, xx: &Product, zz: &Product, s: &Product) -> Terms {
    let (h, g) = (yy.add(xx), yy.sub(xx));
    let (mut e, mut f) = (*s.checked(), *zz.checked());
    for i in 0..10 {
        let raise = splat(2 * TWICE_P[i]);
        e[i] = subtract(add_limbs(e[i], raise), h.0[i]);
        f[i] = add_limbs(add_limbs(f[i], f[i]), subtract(raise, g.0[i]));
    }
    let (e, f) = (Product::weakly_carried(e), Product::weakly_carried(f));
    Terms([e.0, f.0, g, h])
}

#[target_feature(enable = "avx2")]
#[inline]
fn wipe(product: &mut Product) {
    product.0.0.zeroize();
}

#[target_feature(enable = "avx2")]
#[inline]
fn blend(clear: __m256i, set: __m256i, mask: Mask) -> __m256i {
    _mm256_blendv_epi8(clear, set, mask)
}

/// All bits set in the lanes in which this bit is 1.
#[target_feature(enable = "avx2")]
#[inline]
fn has_bit(words: __m256i, position: usize) -> Mask {
    let bit = splat(1 << position);
    _mm256_cmpeq_epi64(_mm256_and_si256(words, bit), bit)
}

#[target_feature(enable = "avx2")]
#[inline]
fn not(mask: Mask) -> Mask {
    xor(mask, all_lanes())
}

#[target_feature(enable = "avx2")]
#[inline]
fn all_lanes() -> Mask {
    splat(u64::MAX)
}

#[target_feature(enable = "avx2")]
#[inline]
fn no_lane() -> Mask {
    _mm256_setzero_si256()
}

/// The entries of one point each, as (Y + X, Y − X, 2Z, 2d·T) of all.
#[target_feature(enable = "avx2")]
fn side_by_side([a, b, c, d]: &[&[__m256i; 10]; LANES], entry: &mut Entry) {
    let Entry(coordinates) = entry;
    for i in 0..10 {
        let even = (
            _mm256_unpacklo_epi64(a[i], b[i]),
            _mm256_unpacklo_epi64(c[i], d[i]),
        );
        let odd = (
            _mm256_unpackhi_epi64(a[i], b[i]),
            _mm256_unpackhi_epi64(c[i], d[i]),
        );
        coordinates[0].0[i] = _mm256_permute2x128_si256::<0x20>(even.0, even.1);
        coordinates[1].0[i] = _mm256_permute2x128_si256::<0x20>(odd.0, odd.1);
        coordinates[2].0[i] = _mm256_permute2x128_si256::<0x31>(even.0, even.1);
        coordinates[3].0[i] = _mm256_permute2x128_si256::<0x31>(odd.0, odd.1);
    }
}
