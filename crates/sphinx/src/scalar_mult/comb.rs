//! Many multiples of one point: a comb (Lim & Lee, "More Flexible Exponentiation with Precomputation",
//! 1994) on the twisted Edwards curve (Hisil, Wong, Carter & Dawson, "Twisted Edwards Curves
//! Revisited", 2008).
//!
//! A ladder costs the same for every product. Yet both products of a hop are multiples of the same α,
//! and a sender's products are multiples of the same few public keys. So the doublings are done once
//! for a point P: of 2^32·P, 2^64·P, …, 2^224·P the sums ±2^0·P ± 2^64·P ± 2^128·P + 2^192·P make one
//! table of eight, 2^32 times that a second one. Then a product takes 31 doublings and 65 additions:
//!
//! ```text
//! bits of the integer     255…224 223…192 191…160 159…128 127…96 95…64 63…32 31…0
//! its four teeth          └──── 3 ──────┘ └──── 2 ──────┘ └─── 1 ────┘ └─── 0 ──┘
//! table                       1       0       1       0       1     0     1     0
//! row r, from 31 down: double; add what bit r of each tooth's upper half selects from table 1, and
//!                      what bit r of the lower halves selects from table 0
//! ```
//!
//! The integer is made odd and written with digits 1 and −1, of which there are no zeros to treat
//! apart; the formulas are complete, for d is no square. Everything that depends on the integer is
//! done by masks and permutations of registers: constant time. The point is public, its tables too.
//!
//! The birational map is y = (u − 1)/(u + 1), back u = (1 + y)/(1 − y), where 1/0 is to be 0. The sign of x
//! does not matter: −P has the multiples −k·P, and the same u. Half of all u are of points on the
//! quadratic twist, not on this curve; honest ones are not. For those remains the ladder.

use std::array;

use zeroize::ZeroizeOnDrop;

use super::{
    Integer, Point,
    field::{Element, words},
};

/// The coordinates (Y, X, Z, T) with x = X/Z, y = Y/Z and x·y = T/Z of points with these u; `None` if one
/// of them is on the twist. All are below p.
///
/// `root_powers` computes the [`root_power`](Element::root_power) of each.
pub(crate) fn on_edwards_curve<const N: usize>(
    points: &[Point; N],
    root_powers: impl FnOnce(&[Element; N]) -> [Element; N],
) -> Option<[[Element; 4]; N]> {
    let us = points.map(|point| Element::from_bytes(&point));
    let ys = us.map(|u| u.sub(Element::ONE).mul(Element::ONE));
    let zs = us.map(|u| u.add(Element::ONE).mul(Element::ONE));
    // x² = (y² − 1)/(d·y² + 1) = −4u/(d·Y² + Z²). The denominator is not 0, for −1/d is no square.
    let quotients: [_; N] = array::from_fn(|i| {
        let minus_4u = Element::ZERO.sub(us[i].mul(Element::TWO).mul(Element::TWO));
        let denominator = ys[i].square().mul(Element::D).add(zs[i].square());
        (minus_4u, denominator)
    });
    let powers = root_powers(&quotients.map(|(x, y)| Element::root_base(x, y)));
    let mut coordinates = [[Element::ZERO; 4]; N];
    for (i, coordinates) in coordinates.iter_mut().enumerate() {
        let (numerator, denominator) = quotients[i];
        let x = Element::root_of_quotient(numerator, denominator, powers[i])?;
        *coordinates = [ys[i], x.mul(zs[i]), zs[i], x.mul(ys[i])].map(Element::canonical);
    }
    Some(coordinates)
}

/// Rows of the comb: bits in each half of a tooth.
pub(crate) const ROWS: usize = 32;

/// Tables: parts of a tooth.
pub(crate) const TABLES: usize = 2;

/// Teeth: bits of the integer that select together.
pub(crate) const TEETH: usize = 4;

/// Sums in a table. The last tooth's sign is factored out.
pub(crate) const ENTRIES: usize = 1 << (TEETH - 1);

const _: () = assert!(ROWS * TABLES == 64 && TEETH == 4);

/// An integer in digits 1 and −1, wiped when dropped.
///
/// An odd K below 2^256 is the sum of dᵢ·2^i with d₂₅₅ = 1 and dᵢ = 1 or −1 as bit i + 1 of K is 1 or 0:
/// twice the bits from 1 on, less 2^255 − 1, plus 2^255.
#[derive(ZeroizeOnDrop)]
pub(crate) struct Digits {
    /// A bit for each digit: whether it is 1. A word for each tooth.
    positive: [u64; TEETH],
    even: u8,
}

/// What a row selects from a table.
#[derive(Clone, Copy)]
pub(crate) struct Selection {
    /// 1 if the sum is to be subtracted.
    pub(crate) negative: u8,
    /// Bit t tells whether tooth t has the sign of the last one.
    pub(crate) index: u8,
}

impl Digits {
    /// Bit 255 of the integer is ignored.
    pub(crate) fn new(integer: &Integer) -> Self {
        let [w0, w1, w2, w3] = words(integer);
        Self {
            positive: [
                w0 >> 1 | w1 << 63,
                w1 >> 1 | w2 << 63,
                w2 >> 1 | w3 << 63,
                (w3 & (u64::MAX >> 1)) >> 1 | 1 << 63,
            ],
            even: u8::from(w0 & 1 == 0),
        }
    }

    /// 1 if the digits are of the integer plus 1, for it was even.
    pub(crate) fn even(&self) -> u8 {
        self.even
    }

    /// A bit for each digit that this tooth selects by: whether it is 1.
    pub(crate) fn tooth(&self, tooth: usize) -> u64 {
        self.positive[tooth]
    }

    /// What this row selects from this table.
    #[inline(always)]
    pub(crate) fn at(&self, table: usize, row: usize) -> Selection {
        let [d0, d1, d2, last] = self
            .positive
            .map(|tooth| u8::from((tooth >> (ROWS * table + row)) & 1 == 1));
        Selection {
            negative: 1 ^ last,
            index: (1 ^ d0 ^ last) | (1 ^ d1 ^ last) << 1 | (1 ^ d2 ^ last) << 2,
        }
    }
}
