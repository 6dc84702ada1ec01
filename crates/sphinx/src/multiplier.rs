//! The sender's products: of secret integers and public keys.

use std::{collections::BTreeMap, ops::Range};

use crate::{
    lioness::TOGETHER,
    scalar_mult::{Backend, Comb, Combs, Integer, Point},
};

/// How a sender multiplies.
pub(crate) enum Multiplier<'t> {
    /// Without anything prepared.
    Plain(Backend),
    /// With tables of the public keys met before.
    Tables(&'t mut Tables),
}

impl Multiplier<'_> {
    pub(crate) fn backend(&self) -> Backend {
        match self {
            Self::Plain(backend) => *backend,
            Self::Tables(tables) => tables.backend,
        }
    }

    /// The products of the first `count` integers, which are clamped, and the base point.
    pub(crate) fn mul_base(
        &self,
        count: usize,
        integers: &[Integer; TOGETHER],
        products: &mut [Point; TOGETHER],
    ) {
        let backend = self.backend();
        if count == 1 {
            products[0] = backend.mul_base_clamped(&integers[0]);
            return;
        }
        let start = side_by_side(backend, count, |range| {
            let Some(combs) = backend.base_points() else {
                return false;
            };
            combs.mul(&integers[range.clone()], &mut products[range]);
            true
        });
        let combs = [backend.base_point(); TOGETHER];
        one_by_one(
            &combs[start..count],
            &integers[start..],
            &mut products[start..],
        );
    }

    /// The products of these points, which are public, and the integers of the same indices.
    pub(crate) fn mul_public(
        &mut self,
        points: &[Point],
        integers: &[Integer; TOGETHER],
        products: &mut [Point; TOGETHER],
    ) {
        match self {
            Self::Plain(backend) => backend.mul_many(integers, points, products),
            Self::Tables(tables) => tables.mul_many(points, integers, products),
        }
    }
}

/// Tables of the points that were multiplied before, up to [`CAPACITY`]; then those that were not
/// used for the longest time make room.
pub(crate) struct Tables {
    backend: Backend,
    /// With the number of the call that used them last.
    combs: BTreeMap<Point, (u64, Box<Comb>)>,
    calls: u64,
    /// Where those of one call are put side by side, if the backend has lanes.
    side_by_side: Option<Box<Combs>>,
}

/// Tables that are kept: 512 · 5.5 KB = 2.8 MB. A network of Nym's size has some hundreds of nodes.
const CAPACITY: usize = 512;

const _: () = assert!(size_of::<Comb>() <= 5_632 && CAPACITY >= TOGETHER);

impl Tables {
    pub(crate) fn new(backend: Backend) -> Self {
        Self {
            backend,
            combs: BTreeMap::new(),
            calls: 0,
            side_by_side: backend.combs().map(Box::new),
        }
    }

    fn mul_many(
        &mut self,
        points: &[Point],
        integers: &[Integer; TOGETHER],
        products: &mut [Point; TOGETHER],
    ) {
        self.calls += 1;
        for point in points {
            self.prepare(point);
        }
        let mut combs = [self.backend.base_point(); TOGETHER];
        for (comb, point) in combs.iter_mut().zip(points) {
            *comb = &self.combs[point].1;
        }
        let start = side_by_side(self.backend, points.len(), |range| {
            let Some(side_by_side) = &mut self.side_by_side else {
                return false;
            };
            // Not if a point is on the twist.
            let put = side_by_side.put(&combs[range.clone()]);
            if put {
                side_by_side.mul(&integers[range.clone()], &mut products[range]);
            }
            put
        });
        let combs = &combs[start..points.len()];
        one_by_one(combs, &integers[start..], &mut products[start..]);
    }

    /// Makes sure that there are tables for a point.
    fn prepare(&mut self, point: &Point) {
        if let Some((used, _)) = self.combs.get_mut(point) {
            *used = self.calls;
            return;
        }
        if self.combs.len() >= CAPACITY {
            let oldest = self.combs.iter().min_by_key(|(_, (used, _))| *used);
            if let Some(oldest) = oldest.map(|(point, _)| *point) {
                self.combs.remove(&oldest);
            }
        }
        let comb = Box::new(self.backend.comb(point));
        self.combs.insert(*point, (self.calls, comb));
    }
}

/// Has groups of so many products computed side by side, as long as there are enough for a group and
/// it can be done; returns how many were.
fn side_by_side(
    backend: Backend,
    count: usize,
    mut compute: impl FnMut(Range<usize>) -> bool,
) -> usize {
    let mut start = 0;
    while let Some(together) = backend.combs_together()
        && count - start >= *together.start()
    {
        let end = count.min(start + together.end());
        if !compute(start..end) {
            break;
        }
        start = end;
    }
    start
}

/// The products of the tables' points and the integers of the same indices.
fn one_by_one(combs: &[&Comb], integers: &[Integer], products: &mut [Point]) {
    match combs.len() {
        0 => {}
        1 => Comb::mul_many::<1>(combs, integers, products),
        _ => Comb::mul_many::<TOGETHER>(combs, integers, products),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scalar_mult::backend;

    #[test]
    fn tables_unused_for_the_longest_time_make_room() {
        let mut tables = Tables::new(backend());
        let point = |number: usize| {
            let mut point = [9; 32];
            point[..8].copy_from_slice(&number.to_le_bytes());
            point
        };
        let integers = [[0x51; 32]; TOGETHER];
        let mut products = [[0; 32]; TOGETHER];
        for number in 0..CAPACITY + 1 {
            // The first one stays in use.
            tables.mul_many(&[point(0), point(number)], &integers, &mut products);
            assert_eq!(products[1], backend().mul(&integers[1], &point(number)));
        }
        assert_eq!(tables.combs.len(), CAPACITY);
        assert!(tables.combs.contains_key(&point(0)));
        assert!(!tables.combs.contains_key(&point(1)));
        assert!(tables.combs.contains_key(&point(CAPACITY)));
    }
}
