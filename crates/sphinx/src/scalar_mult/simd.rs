//! Ladders in vector registers, and the only place of the project that needs `unsafe`.
//!
//! It is needed for one thing: a function compiled for more than the baseline's instructions may only
//! be called on a machine that has them. [`Avx2`] and [`Ifma`] are proofs of that, made by asking the
//! CPU. Everything below them is safe code over [`std::arch`]'s intrinsics.

#![expect(
    unsafe_code,
    reason = "functions for optional instructions are called here, after asking the CPU"
)]
#![expect(
    clippy::needless_range_loop,
    reason = "the limbs of several arrays are taken by the same index"
)]

mod avx2;
mod ifma;

use super::{Integer, Point, field::words};

/// Proof that this machine has AVX2.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx2(());

impl Avx2 {
    /// Products done side by side.
    pub(super) const LANES: usize = avx2::LANES;

    /// `None` on a machine without.
    pub(super) fn new() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }

    /// One product per lane.
    pub(super) fn mul_lanes(
        self,
        integers: &[Integer; Self::LANES],
        points: &[Point; Self::LANES],
    ) -> [Point; Self::LANES] {
        // SAFETY: `new`, the only source of `self`, has seen the feature that this is compiled for.
        unsafe { avx2::mul(integers, points) }
    }
}

/// Proof that this machine has AVX-512 F, DQ, VL and IFMA.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ifma(());

impl Ifma {
    /// Products done side by side.
    pub(super) const LANES: usize = ifma::x8::LANES;

    /// `None` on a machine without.
    pub(super) fn new() -> Option<Self> {
        (is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512ifma"))
        .then_some(Self(()))
    }

    /// One product, four field multiplications at a time.
    pub(super) fn mul(self, integer: &Integer, point: &Point) -> Point {
        // SAFETY: `new`, the only source of `self`, has seen the features that this is compiled for.
        unsafe { ifma::x1::mul(integer, point) }
    }

    /// One product per lane.
    pub(super) fn mul_lanes(
        self,
        integers: &[Integer; Self::LANES],
        points: &[Point; Self::LANES],
    ) -> [Point; Self::LANES] {
        // SAFETY: `new`, the only source of `self`, has seen the features that this is compiled for.
        unsafe { ifma::x8::mul(integers, points) }
    }
}

/// The integers' words: word 0 of each, word 1 of each, and so on.
fn transposed<const LANES: usize>(integers: &[Integer; LANES]) -> [[u64; LANES]; 4] {
    let mut transposed = [[0; LANES]; 4];
    for (lane, integer) in integers.iter().enumerate() {
        for (transposed, word) in transposed.iter_mut().zip(words(integer)) {
            transposed[lane] = word;
        }
    }
    transposed
}
