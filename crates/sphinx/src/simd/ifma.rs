//! Ladders on AVX-512 IFMA.
//!
//! Field elements are in radix 2^51 one limb of several elements
//! per vector. `vpmadd52luq` and `vpmadd52huq` multiply the low 52 bits of their factors and add the
//! low or high 52 bits of the product to a 64-bit sum. So factors have to be *carried*; sums,
//! differences and products need not be, until they become factors again:
//!
//! | type | every limb below | comes from | goes into |
//! |---|---|---|---|
//! | `Factor` | 2^51 + 2^15 | decoding, carrying | products |
//! | `Product` | 2^59 | products | sums, differences |
//!
//! [`x8`] does eight ladders in the lanes of 512-bit vectors; [`x1`] does one, four field
//! multiplications at a time in 256-bit ones, which Zen 4 multiplies twice as fast.

#[macro_use]
mod vectors;
pub(super) mod x1;
pub(super) mod x8;

use crate::scalar_mult::field::A24;

/// The low 51 bits.
const MASK: u64 = (1 << 51) - 1;

/// Limbs of a factor are below this.
const FACTOR: u64 = (1 << 51) + (1 << 15);

/// Limbs of a product are below this.
const PRODUCT: u64 = 1 << 59;

/// 257·p, limb by limb: 257·(2^51 − 19) and 257·(2^51 − 1). Every limb is above [`PRODUCT`].
const MULTIPLE_OF_P: [u64; 5] = {
    let limb = 257 * MASK;
    [limb - 257 * 18, limb, limb, limb, limb]
};
const _: () = assert!(MULTIPLE_OF_P[0] >= PRODUCT);

/// Sums and differences of products stay below this until they are carried.
const CARRIABLE: u64 = 3 * PRODUCT + MULTIPLE_OF_P[1];
const _: () = assert!(PRODUCT + 2 * MULTIPLE_OF_P[1] <= CARRIABLE);

// Factors are what carrying leaves, and fit the 52 bits that a multiply-add reads.
const _: () = assert!(MASK + 19 * (CARRIABLE >> 51) < FACTOR && FACTOR <= 1 << 52);

// A product, plus low halves below 2^52, plus high halves below 2^17 and 38-fold.
const _: () = assert!(A24 < 1 << 17 && PRODUCT + (1 << 52) + 38 * (1 << 17) < CARRIABLE);

/// The largest limb that a product of factors can have.
const WORST_PRODUCT: u128 = {
    let low = (1_u128 << 52) - 1;
    let high = ((FACTOR as u128) * (FACTOR as u128)) >> 52;
    let mut columns = [0; 10];
    let mut i = 0;
    while i < 25 {
        columns[i / 5 + i % 5] += low;
        columns[i / 5 + i % 5 + 1] += 2 * high;
        i += 1;
    }
    let mut worst = 0;
    let mut i = 0;
    while i < 5 {
        let limb = columns[i] + 19 * columns[i + 5];
        worst = if limb > worst { limb } else { worst };
        i += 1;
    }
    worst
};
const _: () = assert!(WORST_PRODUCT < PRODUCT as u128);
