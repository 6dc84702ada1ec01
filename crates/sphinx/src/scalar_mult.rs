//! Scalar multiplication on Curve25519, the most expensive operation of the format.
//!
//! Everything else in this crate calls [`backend`], which is chosen once by what the CPU can do.
//! All backends are constant time and give the same bytes. Microseconds per product, Zen 4 at
//! 3.7 GHz (`cargo bench -p sphinx`):
//!
//! | name | one alone | many | what |
//! |---|---:|---:|---|
//! | `portable` | 51 | 51 | curve25519-dalek |
//! | `scalar` | 30 | 30 | [`scalar`]: 64-bit words |
//! | `avx2x4` | 30 | 16 | [`simd`](crate::simd): four lanes of AVX2; `scalar` for one alone |
//! | `ifma8` | 13.5 | 5.1 | [`simd`](crate::simd): eight lanes of AVX-512 IFMA |
//!
//! Several products of one point alone are cheaper with a [`Comb`]: its tables take `avx2x4` 20 µs and
//! `ifma8` 10.5 µs, then each product 8.5 and 5 µs. So are those of several points with [`Combs`], one
//! in each lane: two products of each with their tables take 28 and 9.4 µs.
//!
//! Unwrapping a packet takes two products at a forward hop and one at the last; building one for n
//! hops takes n products and one of the base point.

#[cfg(target_arch = "x86_64")]
pub(crate) mod comb;
pub(crate) mod field;
mod scalar;
#[cfg(test)]
mod tests;

use std::{array, env, fmt, ops::RangeInclusive, sync::OnceLock};

use curve25519_dalek::{MontgomeryPoint, Scalar};
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

use self::field::{Element, quotients};

#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx2Comb, Avx2Combs, Avx512, Avx512Comb, Avx512Combs};

/// A point's u-coordinate, 32 bytes little-endian.
pub(crate) type Point = [u8; 32];

/// An integer below 2^255, 32 bytes little-endian. Neither clamped nor reduced by the ladder.
pub(crate) type Integer = [u8; 32];

/// The environment variable that overrides the choice of the backend.
pub const BACKEND_VARIABLE: &str = "SPHINX_BACKEND";

/// An implementation of scalar multiplication that this machine can run, and with `ifma8` of all that a
/// batch does in lanes.
///
/// The best one is chosen by itself. For tests, the environment variable [`BACKEND_VARIABLE`] may
/// name another: `portable`, `scalar`, `avx2x4` or `ifma8`. All give the same bytes.
#[derive(Clone, Copy, Debug)]
pub struct Backend(Kind);

#[derive(Clone, Copy, Debug)]
enum Kind {
    Portable,
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2x4(Avx2),
    #[cfg(target_arch = "x86_64")]
    Ifma8(Avx512),
}

/// The environment asks for a backend that is not to be had.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum BackendError {
    /// This machine lacks the instructions.
    #[error("{BACKEND_VARIABLE} names {name}, which this machine cannot run")]
    Unavailable {
        /// What the variable says.
        name: &'static str,
    },
    /// There is no backend of this name.
    #[error("{BACKEND_VARIABLE} must be portable, scalar, avx2x4 or ifma8, not {name}")]
    Unknown {
        /// What the variable says.
        name: String,
    },
}

impl Backend {
    /// What is in use: what the environment names, else the best available.
    ///
    /// # Errors
    ///
    /// [`BackendError`] if the environment names something else; then the best available is in
    /// use. Programs should say so at their start.
    pub fn current() -> Result<Self, BackendError> {
        static CURRENT: OnceLock<Result<Backend, BackendError>> = OnceLock::new();
        CURRENT
            .get_or_init(|| match env::var(BACKEND_VARIABLE) {
                Ok(name) if !name.is_empty() => Self::by_name(&name),
                _ => Ok(Self::best()),
            })
            .clone()
    }

    /// All that this machine can run, the best first.
    pub fn available() -> impl Iterator<Item = Self> {
        NAMES
            .iter()
            .rev()
            .filter_map(|name| Self::by_name(name).ok())
    }

    /// The backend of this name.
    ///
    /// # Errors
    ///
    /// [`BackendError`] if there is none or this machine cannot run it.
    pub fn by_name(name: &str) -> Result<Self, BackendError> {
        let Some(&name) = NAMES.iter().find(|&&known| known == name) else {
            return Err(BackendError::Unknown { name: name.into() });
        };
        let kind = match name {
            "portable" => Some(Kind::Portable),
            "scalar" => Some(Kind::Scalar),
            #[cfg(target_arch = "x86_64")]
            "avx2x4" => Avx2::new().map(Kind::Avx2x4),
            #[cfg(target_arch = "x86_64")]
            "ifma8" => Avx512::new().map(Kind::Ifma8),
            _ => None,
        };
        kind.map(Self).ok_or(BackendError::Unavailable { name })
    }

    /// The name by which the environment can ask for it.
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Portable => "portable",
            Kind::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2x4(_) => "avx2x4",
            #[cfg(target_arch = "x86_64")]
            Kind::Ifma8(_) => "ifma8",
        }
    }

    /// The registers in which this backend does the symmetric part, too.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn avx512(self) -> Option<Avx512> {
        match self.0 {
            Kind::Ifma8(avx512) => Some(avx512),
            _ => None,
        }
    }

    fn best() -> Self {
        // On machines of 32 bits dalek, which has arithmetic for them, is the faster one.
        let without_lanes = if cfg!(target_pointer_width = "64") {
            Kind::Scalar
        } else {
            Kind::Portable
        };
        #[cfg(target_arch = "x86_64")]
        let kind = Avx512::new()
            .map(Kind::Ifma8)
            .or_else(|| Avx2::new().map(Kind::Avx2x4))
            .unwrap_or(without_lanes);
        #[cfg(not(target_arch = "x86_64"))]
        let kind = without_lanes;
        Self(kind)
    }

    /// u-coordinate of `integer` times `point`, in constant time.
    ///
    /// Bit 255 of both is ignored, the point's value taken modulo 2^255 − 19; the result is
    /// canonical. The point at infinity is 32 zero bytes. Points of low order are not refused.
    pub(crate) fn mul(self, integer: &Integer, point: &Point) -> Point {
        match self.0 {
            Kind::Portable => portable_mul(integer, point),
            Kind::Scalar => scalar::mul(integer, point),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2x4(_) => scalar::mul(integer, point),
            #[cfg(target_arch = "x86_64")]
            Kind::Ifma8(avx512) => avx512.mul(integer, point),
        }
    }

    /// [`mul`](Self::mul) of each integer and the point of the same index; the shortest of the
    /// slices says how many.
    pub(crate) fn mul_many(self, integers: &[Integer], points: &[Point], products: &mut [Point]) {
        let pairs = integers.iter().zip(points).zip(products);
        match self.0 {
            Kind::Portable | Kind::Scalar => {
                for ((integer, point), product) in pairs {
                    *product = self.mul(integer, point);
                }
            }
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2x4(avx2) => self.mul_in_lanes(AVX2_LEAST, pairs, |integers, points| {
                avx2.mul_lanes(integers, points)
            }),
            #[cfg(target_arch = "x86_64")]
            Kind::Ifma8(avx512) => self.mul_in_lanes(AVX512_LEAST, pairs, |integers, points| {
                avx512.mul_lanes(integers, points)
            }),
        }
    }

    /// How many of this many products [`mul_many`](Self::mul_many) does not do in lanes, the last
    /// ones. None where there are no better means than it has.
    pub(crate) fn left_over(self, count: usize) -> usize {
        #[cfg(target_arch = "x86_64")]
        {
            let (lanes, least) = match self.0 {
                Kind::Portable | Kind::Scalar => return 0,
                Kind::Avx2x4(_) => (Avx2::LANES, AVX2_LEAST),
                Kind::Ifma8(_) => (Avx512::LANES, AVX512_LEAST),
            };
            let rest = count % lanes;
            if rest < least { rest } else { 0 }
        }
        #[cfg(not(target_arch = "x86_64"))]
        0
    }

    /// Fills lanes with pairs as long as there are at least `least` left, then takes one by one.
    #[cfg(target_arch = "x86_64")]
    fn mul_in_lanes<'p, const LANES: usize>(
        self,
        least: usize,
        pairs: impl ExactSizeIterator<Item = ((&'p Integer, &'p Point), &'p mut Point)>,
        mul_lanes: impl Fn(&[Integer; LANES], &[Point; LANES]) -> [Point; LANES],
    ) {
        let mut pairs = pairs;
        let mut integers = Zeroizing::new([[0; 32]; LANES]);
        let mut points = [[0; 32]; LANES];
        while pairs.len() >= least {
            let mut places: [Option<&mut Point>; LANES] = [const { None }; LANES];
            for (lane, ((integer, point), place)) in pairs.by_ref().take(LANES).enumerate() {
                integers[lane] = *integer;
                points[lane] = *point;
                places[lane] = Some(place);
            }
            for (place, product) in places.into_iter().zip(mul_lanes(&integers, &points)) {
                if let Some(place) = place {
                    *place = product;
                }
            }
        }
        for ((integer, point), product) in pairs {
            *product = self.mul(integer, point);
        }
    }

    /// Prepares for several products of one public point.
    ///
    /// Worth it from two products on, where there are vectors. Not constant time.
    pub(crate) fn comb(self, point: &Point) -> Comb {
        #[cfg(target_arch = "x86_64")]
        match self.0 {
            Kind::Avx2x4(avx2) => {
                if let Some(point) = on_edwards_curve(point) {
                    return Comb(Multiples::Avx2(avx2, avx2.comb(&point)));
                }
            }
            Kind::Ifma8(avx512) => {
                if let Some(point) = on_edwards_curve(point) {
                    return Comb(Multiples::Avx512(avx512, avx512.comb(&point)));
                }
            }
            Kind::Portable | Kind::Scalar => {}
        }
        Comb(Multiples::None(self, *point))
    }

    /// How many points [`Combs`] has side by side at most, and from how many on it is worth it.
    pub(crate) fn combs_together(self) -> Option<RangeInclusive<usize>> {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2x4(_) => Some(AVX2_COMBS_LEAST..=Avx2::LANES),
            #[cfg(target_arch = "x86_64")]
            Kind::Ifma8(_) => Some(AVX512_COMBS_LEAST..=Avx512::LANES),
            Kind::Portable | Kind::Scalar => None,
        }
    }

    /// A place for the tables of several points side by side; `None` if the backend has no lanes.
    pub(crate) fn combs(self) -> Option<Combs> {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2x4(avx2) => Some(Combs(InLanes::Avx2(avx2, avx2.no_combs()))),
            #[cfg(target_arch = "x86_64")]
            Kind::Ifma8(avx512) => Some(Combs(InLanes::Avx512(avx512, avx512.no_combs()))),
            Kind::Portable | Kind::Scalar => None,
        }
    }

    /// u-coordinate of `clamped` times the base point 9. The integer must be clamped.
    pub(crate) fn mul_base_clamped(self, clamped: &Integer) -> Point {
        match self.0 {
            Kind::Portable | Kind::Scalar => MontgomeryPoint::mul_base_clamped(*clamped).to_bytes(),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2x4(_) | Kind::Ifma8(_) => self.base_point().mul(clamped),
        }
    }

    /// Tables of the base point, made once.
    pub(crate) fn base_point(self) -> &'static Comb {
        static BASE_POINT: [OnceLock<Comb>; NAMES.len()] = [const { OnceLock::new() }; NAMES.len()];
        BASE_POINT[self.index()].get_or_init(|| self.comb(&BASE_POINT_U))
    }

    /// The same side by side; `None` if the backend has no lanes.
    pub(crate) fn base_points(self) -> Option<&'static Combs> {
        static BASE_POINTS: [OnceLock<Option<Combs>>; NAMES.len()] =
            [const { OnceLock::new() }; NAMES.len()];
        let base_points = BASE_POINTS[self.index()].get_or_init(|| {
            let mut combs = self.combs()?;
            combs.put(&[self.base_point()]).then_some(combs)
        });
        base_points.as_ref()
    }

    fn index(self) -> usize {
        let index = NAMES.iter().position(|name| *name == self.name());
        index.expect("every backend's name is among the names")
    }
}

/// A point that is multiplied several times.
pub(crate) struct Comb(Multiples);

#[cfg_attr(
    target_arch = "x86_64",
    expect(
        clippy::large_enum_variant,
        reason = "it lives on a stack, or among others that are as large"
    )
)]
enum Multiples {
    /// The backend has no use for tables, or the point none, for it is on the twist.
    None(Backend, Point),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2, Avx2Comb),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512, Avx512Comb),
}

impl Comb {
    /// The same as [`Backend::mul`] of the point. Constant time.
    pub(crate) fn mul(&self, integer: &Integer) -> Point {
        let mut products = [[0; 32]];
        Self::mul_many::<1>(&[self], &[*integer], &mut products);
        products[0]
    }

    /// A product of each point and the integer of the same index, at the price of one inversion in
    /// all; at most `N`.
    pub(crate) fn mul_many<const N: usize>(
        combs: &[&Self],
        integers: &[Integer],
        products: &mut [Point],
    ) {
        let (mut numerators, mut denominators) = ([Element::ZERO; N], [Element::ONE; N]);
        for (i, (comb, integer)) in combs.iter().zip(integers).enumerate() {
            [numerators[i], denominators[i]] = comb.fraction(integer);
        }
        let quotients = Zeroizing::new(quotients(&numerators, &denominators));
        for (product, quotient) in products.iter_mut().zip(quotients.iter().take(combs.len())) {
            *product = *quotient;
        }
        numerators.zeroize();
        denominators.zeroize();
    }

    fn fraction(&self, integer: &Integer) -> [Element; 2] {
        match &self.0 {
            Multiples::None(backend, point) => {
                let product = Zeroizing::new(backend.mul(integer, point));
                [Element::from_bytes(&product), Element::ONE]
            }
            #[cfg(target_arch = "x86_64")]
            Multiples::Avx2(avx2, comb) => avx2.mul_comb(comb, integer),
            #[cfg(target_arch = "x86_64")]
            Multiples::Avx512(avx512, comb) => avx512.mul_comb(comb, integer),
        }
    }
}

/// Several points side by side, each of which is multiplied several times.
pub(crate) struct Combs(InLanes);

enum InLanes {
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2, Avx2Combs),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512, Avx512Combs),
}

impl Combs {
    /// Prepares for several products of each of these public points. Not constant time.
    ///
    /// `false` if there are none or more than [`Backend::combs_together`] says, or one of them is on
    /// the twist.
    pub(crate) fn prepare(&mut self, points: &[Point]) -> bool {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            InLanes::Avx2(avx2, ref mut combs) => padded(points)
                .and_then(|points| comb::on_edwards_curve(&points, |bases| avx2.root_powers(bases)))
                .map(|points| avx2.prepare_combs(combs, &points))
                .is_some(),
            #[cfg(target_arch = "x86_64")]
            InLanes::Avx512(avx512, ref mut combs) => padded(points)
                .and_then(|points| {
                    comb::on_edwards_curve(&points, |bases| avx512.root_powers(bases))
                })
                .map(|points| avx512.prepare_combs(combs, &points))
                .is_some(),
        }
    }

    /// Puts tables that there are side by side; `false` as for [`prepare`](Self::prepare).
    pub(crate) fn put(&mut self, combs: &[&Comb]) -> bool {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            InLanes::Avx2(avx2, ref mut to) => padded(combs)
                .and_then(|combs| {
                    all(combs.map(|comb: &Comb| match &comb.0 {
                        Multiples::Avx2(_, tables) => Some(tables),
                        _ => None,
                    }))
                })
                .map(|tables| avx2.put_combs(to, &tables))
                .is_some(),
            #[cfg(target_arch = "x86_64")]
            InLanes::Avx512(avx512, ref mut to) => padded(combs)
                .and_then(|combs| {
                    all(combs.map(|comb: &Comb| match &comb.0 {
                        Multiples::Avx512(_, tables) => Some(tables),
                        _ => None,
                    }))
                })
                .map(|tables| avx512.put_combs(to, &tables))
                .is_some(),
        }
    }

    /// A product of each point and the integer of the same index; the shorter of the slices says
    /// how many. Constant time.
    pub(crate) fn mul(&self, integers: &[Integer], products: &mut [Point]) {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            InLanes::Avx2(avx2, ref combs) => {
                in_lanes(integers, products, |integers| {
                    avx2.mul_combs(combs, integers)
                });
            }
            #[cfg(target_arch = "x86_64")]
            InLanes::Avx512(avx512, ref combs) => {
                in_lanes(integers, products, |integers| {
                    avx512.mul_combs(combs, integers)
                });
            }
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The base point of RFC 7748.
const BASE_POINT_U: Point = {
    let mut point = [0; 32];
    point[0] = 9;
    point
};

/// Products from which on lanes are worth it: one call for four lanes costs as much as 2.1 alone ...
#[cfg(target_arch = "x86_64")]
const AVX2_LEAST: usize = 3;

/// ... and one for eight as much as 3.05.
#[cfg(target_arch = "x86_64")]
const AVX512_LEAST: usize = 4;

/// Points from which on combs side by side are worth it, be it for one product of each.
#[cfg(target_arch = "x86_64")]
const AVX2_COMBS_LEAST: usize = 3;
#[cfg(target_arch = "x86_64")]
const AVX512_COMBS_LEAST: usize = 3;

/// The slowest first.
const NAMES: [&str; 4] = ["portable", "scalar", "avx2x4", "ifma8"];

/// The implementation to use on this machine.
pub(crate) fn backend() -> Backend {
    Backend::current().unwrap_or_else(|_| Backend::best())
}

/// Makes 32 bytes a private key's integer (RFC 7748): a multiple of 8 in 2^254 .. 2^255.
pub(crate) fn clamp(bytes: [u8; 32]) -> Integer {
    curve25519_dalek::scalar::clamp_integer(bytes)
}

/// `bytes` modulo the group order ℓ.
pub(crate) fn reduce(bytes: &[u8; 32]) -> Integer {
    Scalar::from_bytes_mod_order(*bytes).to_bytes()
}

/// The product of two integers modulo the group order ℓ.
pub(crate) fn mul_mod_order(a: &Integer, b: &Integer) -> Integer {
    (Scalar::from_bytes_mod_order(*a) * Scalar::from_bytes_mod_order(*b)).to_bytes()
}

/// [`comb::on_edwards_curve`] of one point.
#[cfg(target_arch = "x86_64")]
fn on_edwards_curve(point: &Point) -> Option<[Element; 4]> {
    comb::on_edwards_curve(&[*point], |bases| bases.map(Element::root_power)).map(|[point]| point)
}

/// These, then the first again; `None` if there are none or too many.
#[cfg(target_arch = "x86_64")]
fn padded<T: Copy, const LANES: usize>(values: &[T]) -> Option<[T; LANES]> {
    let first = values.first()?;
    (values.len() <= LANES).then(|| array::from_fn(|lane| *values.get(lane).unwrap_or(first)))
}

/// Has the products of the integers computed, and of zeros in the other lanes.
#[cfg(target_arch = "x86_64")]
fn in_lanes<const LANES: usize>(
    integers: &[Integer],
    products: &mut [Point],
    mul: impl FnOnce(&[Integer; LANES]) -> [Point; LANES],
) {
    let mut lanes = Zeroizing::new([[0; 32]; LANES]);
    for (lane, integer) in lanes.iter_mut().zip(integers) {
        *lane = *integer;
    }
    let lanes = Zeroizing::new(mul(&lanes));
    for (product, lane) in products.iter_mut().zip(lanes.iter()) {
        *product = *lane;
    }
}

/// The values, if none is missing.
#[cfg(target_arch = "x86_64")]
fn all<T: Copy, const N: usize>(values: [Option<T>; N]) -> Option<[T; N]> {
    let mut all = [*values.first()?.as_ref()?; N];
    for (place, value) in all.iter_mut().zip(values) {
        *place = value?;
    }
    Some(all)
}

/// curve25519-dalek's serial ladder.
fn portable_mul(integer: &Integer, point: &Point) -> Point {
    let bits = (0..255)
        .rev()
        .map(|bit| (integer[bit >> 3] >> (bit & 7)) & 1 == 1);
    MontgomeryPoint(*point).mul_bits_be(bits).to_bytes()
}
