//! What is done in vector registers, and the only place of the project that needs `unsafe`.
//!
//! It is needed for two things. A function compiled for more than the baseline's instructions may
//! only be called on a machine that has them: [`Avx2`] and [`Avx512`] are proofs of that, made by
//! asking the CPU. And vectors are read and written through pointers, in [`avx512`]'s four functions
//! for that. All else below is safe code over [`std::arch`]'s intrinsics.

#![expect(
    unsafe_code,
    reason = "functions for optional instructions are called here, after asking the CPU"
)]
#![expect(
    clippy::needless_range_loop,
    reason = "the limbs of several arrays are taken by the same index"
)]

#[macro_use]
mod comb;
#[macro_use]
mod combs;
mod avx2;
mod avx512;
mod ifma;

use zeroize::Zeroizing;

pub(crate) use self::{
    avx2::{Comb as Avx2Comb, Combs as Avx2Combs},
    ifma::{x1::Comb as Avx512Comb, x8::Combs as Avx512Combs},
};

use crate::{
    hop_keys::KEY_BLOCK_LEN,
    scalar_mult::{
        Integer, Point,
        field::{Element, words},
    },
    sizes::{MAC_KEY_LEN, MAC_LEN, ROUTING_INFO_LEN},
};

/// Proof that this machine has AVX2.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// Products done side by side.
    pub(crate) const LANES: usize = avx2::LANES;

    /// `None` on a machine without.
    pub(crate) fn new() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }

    /// One product per lane.
    pub(crate) fn mul_lanes(
        self,
        integers: &[Integer; Self::LANES],
        points: &[Point; Self::LANES],
    ) -> [Point; Self::LANES] {
        // SAFETY: `new`, the only source of `self`, has seen the feature that this is compiled for.
        unsafe { avx2::mul(integers, points) }
    }

    /// The tables of a point (Y, X, Z, T) of the Edwards curve.
    pub(crate) fn comb(self, point: &[Element; 4]) -> Avx2Comb {
        // SAFETY: `new`, the only source of `self`, has seen the feature that this is compiled for.
        unsafe { Avx2Comb::new(point) }
    }

    /// One product of the tables' point, four field multiplications at a time, as a fraction.
    pub(crate) fn mul_comb(self, comb: &Avx2Comb, integer: &Integer) -> [Element; 2] {
        // SAFETY: `new`, the only source of `self`, has seen the feature that this is compiled for.
        unsafe { comb.mul(integer) }
    }

    /// The power of each base that its root takes.
    pub(crate) fn root_powers(self, bases: &[Element; Self::LANES]) -> [Element; Self::LANES] {
        // SAFETY: `new`, the only source of `self`, has seen the feature that this is compiled for.
        unsafe { avx2::root_powers(bases) }
    }

    /// A place for the tables of one point per lane.
    pub(crate) fn no_combs(self) -> Avx2Combs {
        // SAFETY: `new`, the only source of `self`, has seen the feature that this is compiled for.
        unsafe { Avx2Combs::empty() }
    }

    /// Makes the tables of one point (Y, X, Z, T) of the Edwards curve per lane.
    pub(crate) fn prepare_combs(self, combs: &mut Avx2Combs, points: &[[Element; 4]; Self::LANES]) {
        // SAFETY: `new`, the only source of `self`, has seen the feature that this is compiled for.
        unsafe { combs.prepare(points) }
    }

    /// Puts the tables of one point per lane side by side.
    pub(crate) fn put_combs(self, to: &mut Avx2Combs, from: &[&Avx2Comb; Self::LANES]) {
        // SAFETY: `new`, the only source of `self`, has seen the feature that this is compiled for.
        unsafe { to.put(from) }
    }

    /// One product of the tables' point per lane.
    pub(crate) fn mul_combs(
        self,
        combs: &Avx2Combs,
        integers: &[Integer; Self::LANES],
    ) -> [Point; Self::LANES] {
        // SAFETY: `new`, the only source of `self`, has seen the feature that this is compiled for.
        unsafe { combs.mul(integers) }
    }
}

/// Proof that this machine has AVX-512 F, DQ, VL and IFMA.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512(());

impl Avx512 {
    /// Products, hashes or key derivations done side by side.
    pub(crate) const LANES: usize = 8;

    /// `None` on a machine without.
    pub(crate) fn new() -> Option<Self> {
        (is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512ifma"))
        .then_some(Self(()))
    }

    /// One product, four field multiplications at a time.
    pub(crate) fn mul(self, integer: &Integer, point: &Point) -> Point {
        // SAFETY: `new`, the only source of `self`, has seen the features that this is compiled for.
        unsafe { ifma::x1::mul(integer, point) }
    }

    /// The tables of a point (Y, X, Z, T) of the Edwards curve.
    pub(crate) fn comb(self, point: &[Element; 4]) -> Avx512Comb {
        // SAFETY: `new`, the only source of `self`, has seen the features that this is compiled for.
        unsafe { Avx512Comb::new(point) }
    }

    /// One product of the tables' point, four field multiplications at a time, as a fraction.
    pub(crate) fn mul_comb(self, comb: &Avx512Comb, integer: &Integer) -> [Element; 2] {
        // SAFETY: `new`, the only source of `self`, has seen the features that this is compiled for.
        unsafe { comb.mul(integer) }
    }

    /// One product per lane.
    pub(crate) fn mul_lanes(
        self,
        integers: &[Integer; Self::LANES],
        points: &[Point; Self::LANES],
    ) -> [Point; Self::LANES] {
        // SAFETY: `new`, the only source of `self`, has seen the features that this is compiled for.
        unsafe { ifma::x8::mul(integers, points) }
    }

    /// The power of each base that its root takes.
    pub(crate) fn root_powers(self, bases: &[Element; Self::LANES]) -> [Element; Self::LANES] {
        // SAFETY: `new`, the only source of `self`, has seen the features that this is compiled for.
        unsafe { ifma::x8::root_powers(bases) }
    }

    /// A place for the tables of one point per lane.
    pub(crate) fn no_combs(self) -> Avx512Combs {
        // SAFETY: `new`, the only source of `self`, has seen the features that this is compiled for.
        unsafe { Avx512Combs::empty() }
    }

    /// Makes the tables of one point (Y, X, Z, T) of the Edwards curve per lane.
    pub(crate) fn prepare_combs(
        self,
        combs: &mut Avx512Combs,
        points: &[[Element; 4]; Self::LANES],
    ) {
        // SAFETY: `new`, the only source of `self`, has seen the features that this is compiled for.
        unsafe { combs.prepare(points) }
    }

    /// Puts the tables of one point per lane side by side.
    pub(crate) fn put_combs(self, to: &mut Avx512Combs, from: &[&Avx512Comb; Self::LANES]) {
        // SAFETY: `new`, the only source of `self`, has seen the features that this is compiled for.
        unsafe { to.put(from) }
    }

    /// One product of the tables' point per lane.
    pub(crate) fn mul_combs(
        self,
        combs: &Avx512Combs,
        integers: &[Integer; Self::LANES],
    ) -> [Point; Self::LANES] {
        // SAFETY: `new`, the only source of `self`, has seen the features that this is compiled for.
        unsafe { combs.mul(integers) }
    }

    /// XORs the ChaCha20 keystream of `key` onto `data`. The nonce is zero.
    pub(crate) fn chacha20(self, key: &[u8; 32], data: &mut [u8]) {
        // SAFETY: `new`, the only source of `self`, has seen the features that this is compiled for.
        unsafe { avx512::chacha20::apply_keystream(key, data) }
    }

    /// The keyed BLAKE2b-256 digest of one message per lane.
    pub(crate) fn blake2b(
        self,
        keys: &[&[u8; 64]; Self::LANES],
        messages: &[&[u8]; Self::LANES],
    ) -> [[u8; 32]; Self::LANES] {
        // SAFETY: `new`, the only source of `self`, has seen the features that this is compiled for.
        unsafe { avx512::blake2b::hash(keys, messages) }
    }

    /// The key block of one shared secret per lane.
    pub(crate) fn key_blocks(
        self,
        secrets: &[&[u8; 32]; Self::LANES],
    ) -> Zeroizing<[[u8; KEY_BLOCK_LEN]; Self::LANES]> {
        // SAFETY: `new`, the only source of `self`, has seen the features that this is compiled for.
        unsafe { avx512::sha256::key_blocks(secrets) }
    }

    /// γ of one β per lane.
    pub(crate) fn header_macs(
        self,
        keys: &[&[u8; MAC_KEY_LEN]; Self::LANES],
        routing_infos: &[&[u8; ROUTING_INFO_LEN]; Self::LANES],
    ) -> [[u8; MAC_LEN]; Self::LANES] {
        // SAFETY: `new`, the only source of `self`, has seen the features that this is compiled for.
        unsafe { avx512::sha256::header_macs(keys, routing_infos) }
    }
}

const _: () = {
    assert!(Avx512::LANES == ifma::x8::LANES);
    assert!(Avx512::LANES == avx512::blake2b::LANES && Avx512::LANES == avx512::sha256::LANES);
};

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
