//! The symmetric part of many packets in AVX-512 registers: [`chacha20`], [`blake2b`], [`sha256`].

pub(super) mod blake2b;
pub(super) mod chacha20;
pub(super) mod sha256;

#[cfg(test)]
mod tests;

use std::arch::x86_64::{
    __m256i, __m512i, _mm256_loadu_si256, _mm256_storeu_si256, _mm512_loadu_si512,
    _mm512_shuffle_i32x4, _mm512_storeu_si512,
};

/// 64 bytes as a vector.
#[target_feature(enable = "avx512f")]
#[inline]
fn load(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: the reference is to 64 readable bytes, and the instruction asks for no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

/// A vector as 64 bytes.
#[target_feature(enable = "avx512f")]
#[inline]
fn store(bytes: &mut [u8; 64], vector: __m512i) {
    // SAFETY: the reference is to 64 writable bytes, and the instruction asks for no alignment.
    unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), vector) }
}

/// 32 bytes as a vector.
#[target_feature(enable = "avx512f,avx512vl")]
#[inline]
fn load_half(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: the reference is to 32 readable bytes, and the instruction asks for no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

/// A vector as 32 bytes.
#[target_feature(enable = "avx512f,avx512vl")]
#[inline]
fn store_half(bytes: &mut [u8; 32], vector: __m256i) {
    // SAFETY: the reference is to 32 writable bytes, and the instruction asks for no alignment.
    unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), vector) }
}

/// Quarter `i` of vector `j` becomes quarter `j` of vector `i`.
#[target_feature(enable = "avx512f")]
#[inline]
fn transpose_quarters([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    // The selectors take the even quarters (0, 2) or the odd ones (1, 3) of both.
    const EVEN: i32 = 0b10_00_10_00;
    const ODD: i32 = 0b11_01_11_01;
    let even = [
        _mm512_shuffle_i32x4::<EVEN>(a, b),
        _mm512_shuffle_i32x4::<EVEN>(c, d),
    ];
    let odd = [
        _mm512_shuffle_i32x4::<ODD>(a, b),
        _mm512_shuffle_i32x4::<ODD>(c, d),
    ];
    [
        _mm512_shuffle_i32x4::<EVEN>(even[0], even[1]),
        _mm512_shuffle_i32x4::<EVEN>(odd[0], odd[1]),
        _mm512_shuffle_i32x4::<ODD>(even[0], even[1]),
        _mm512_shuffle_i32x4::<ODD>(odd[0], odd[1]),
    ]
}
