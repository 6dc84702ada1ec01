//! Combs of several points side by side, one in each lane: the plan of [`crate::scalar_mult::comb`].
//!
//! One text for AVX2 and AVX-512 IFMA. A vector holds one limb of one coordinate of every point, so
//! nothing moves between lanes:
//!
//! ```text
//! add        A, B, C, D = (Y − X)·(Y' − X'), (Y + X)·(Y' + X'), T·2d·T', Z·2Z'
//!            E, F, G, H = B − A, D − C, D + C, B + A
//! double     E, F, G, H = (X + Y)² − H, 2Z² − G, Y² − X², Y² + X²
//! both       X, Y, Z, T = E·F, G·H, F·G, E·H               T only if an addition follows
//! ```
//!
//! Where an entry is to be subtracted, Y' − X' and Y' + X' change places, and F and G do.
//!
//! Budget for eight points in AVX-512 lanes, in products and squares of 55 and 35 multiplier operations,
//! one per cycle: tables are 224 doublings of 3 and 4, and 28 additions of 8, with a root of 265 squares;
//! a product is 31 doublings and 65 additions, with one inversion for all. Tables and two products:
//! 165,000 operations, measured 250,000 cycles, where two ladders take 300,000.

/// Defines `Combs`.
///
/// The caller has in scope `Factor`, with `square`, and `Product`, the type `Mask` of one bit per lane,
/// `Comb` of one point, and the functions that are called here and not defined.
macro_rules! combs {
    ($features:literal) => {
        /// Tables of the multiples of one point in each lane.
        pub(crate) struct Combs {
            tables: [[Entry; ENTRIES]; TABLES],
            /// The points themselves.
            once: Entry,
        }

        impl Combs {
            /// A place for tables.
            #[expect(
                clippy::large_stack_arrays,
                reason = "21 KB, seldom: places are kept and used again"
            )]
            #[target_feature(enable = $features)]
            pub(in crate::simd) fn empty() -> Self {
                let zero = Entry([factor(&coordinates(&[Element::ZERO; LANES])); 4]);
                Self {
                    tables: [[zero; ENTRIES]; TABLES],
                    once: zero,
                }
            }

            /// Makes the tables of points (Y, X, Z, T).
            #[target_feature(enable = $features)]
            pub(in crate::simd) fn prepare(&mut self, points: &[[Element; 4]; LANES]) {
                let point = Point {
                    y: coordinates(&points.map(|[y, _, _, _]| y)),
                    x: coordinates(&points.map(|[_, x, _, _]| x)),
                    z: coordinates(&points.map(|[_, _, z, _]| z)),
                };
                let mut multiple = (point, coordinates(&points.map(|[_, _, _, t]| t)));
                // The multiple of 2^(ROWS·i), at i.
                let mut multiples = [multiple; TABLES * TEETH];
                for place in &mut multiples[1..] {
                    let (mut point, _) = multiple;
                    for _ in 1..ROWS {
                        point = double(&point).point();
                    }
                    multiple = double(&point).extended();
                    *place = multiple;
                }
                self.once = entry(&multiples[0]);
                for (start, table) in self.tables.iter_mut().enumerate() {
                    let mut sums = [multiples[start + TABLES * (TEETH - 1)]; ENTRIES];
                    for tooth in 0..TEETH - 1 {
                        let other = [entry(&multiples[start + TABLES * tooth])];
                        for i in 0..1 << tooth {
                            let sum = sums[i];
                            sums[i | 1 << tooth] = add(&sum, &other, [], no_lane()).extended();
                            sums[i] = add(&sum, &other, [], all_lanes()).extended();
                        }
                    }
                    for (place, sum) in table.iter_mut().zip(&sums) {
                        *place = entry(sum);
                    }
                }
            }

            /// Puts tables that there are side by side.
            #[target_feature(enable = $features)]
            pub(in crate::simd) fn put(&mut self, combs: &[&Comb; LANES]) {
                side_by_side(&combs.map(|comb| comb.once()), &mut self.once);
                for (start, table) in self.tables.iter_mut().enumerate() {
                    for (i, place) in table.iter_mut().enumerate() {
                        side_by_side(&combs.map(|comb| comb.entry(start, i)), place);
                    }
                }
            }

            /// u-coordinates of the integers times the points. Constant time.
            #[target_feature(enable = $features)]
            pub(in crate::simd) fn mul(&self, integers: &[[u8; 32]; LANES]) -> [[u8; 32]; LANES] {
                let digits = integers.map(|integer| Digits::new(&integer));
                let even = from_lanes(&digits.each_ref().map(|digits| digits.even().into()));
                let mut teeth = [even; TEETH];
                for (i, tooth) in teeth.iter_mut().enumerate() {
                    *tooth = from_lanes(&digits.each_ref().map(|digits| digits.tooth(i)));
                }
                let neutral = neutral();
                let (mut sum, mut t) = (neutral, neutral.x);
                for row in (0..ROWS).rev() {
                    if row < ROWS - 1 {
                        (sum, t) = double(&sum).extended();
                    }
                    for (i, table) in self.tables.iter().enumerate() {
                        let position = ROWS * i + row;
                        let last = has_bit(teeth[TEETH - 1], position);
                        let mut index = [last; TEETH - 1];
                        for (bit, tooth) in index.iter_mut().zip(teeth) {
                            *bit = not(xor(has_bit(tooth, position), last));
                        }
                        let terms = add(&(sum, t), table, index, not(last));
                        if i < TABLES - 1 || row == 0 {
                            (sum, t) = terms.extended();
                        } else {
                            sum = terms.point();
                        }
                    }
                }
                // Less the point, if the digits are of the integer plus 1.
                let nothing = entry(&(neutral, neutral.x));
                let last = [nothing, self.once];
                sum = add(&(sum, t), &last, [has_bit(even, 0)], all_lanes()).point();
                let [y, z] = [&sum.y, &sum.z].map(|coordinate| {
                    Zeroizing::new(elements(coordinate).map(|element| element.mul(Element::ONE)))
                });
                let of_both = |combine: fn(Element, Element) -> Element| {
                    Zeroizing::new(array::from_fn(|lane| combine(z[lane], y[lane])))
                };
                let products = quotients(&of_both(Element::add), &of_both(Element::sub));
                teeth.zeroize();
                for product in [&mut sum.y, &mut sum.x, &mut sum.z, &mut t] {
                    wipe(product);
                }
                products
            }
        }

        /// (Y + X, Y − X, 2Z, 2d·T) of a point in each lane.
        #[derive(Clone, Copy)]
        struct Entry([Factor; 4]);

        /// A point in each lane; with its T, a pair of both.
        #[derive(Clone, Copy)]
        struct Point {
            y: Product,
            x: Product,
            z: Product,
        }

        /// (E, F, G, H): what is multiplied in pairs.
        struct Terms([Factor; 4]);

        // Each product is computed when its factors have been ready for a while, here and in the
        // functions below.
        impl Terms {
            #[target_feature(enable = $features)]
            #[inline]
            fn point(&self) -> Point {
                let Self([e, f, g, h]) = self;
                let z = times(f, g);
                let y = times(g, h);
                let x = times(e, f);
                Point { y, x, z }
            }

            #[target_feature(enable = $features)]
            #[inline]
            fn extended(&self) -> (Point, Product) {
                let Self([e, f, g, h]) = self;
                let z = times(f, g);
                let y = times(g, h);
                let t = times(e, h);
                let x = times(e, f);
                (Point { y, x, z }, t)
            }
        }

        #[target_feature(enable = $features)]
        #[inline]
        fn double(point: &Point) -> Terms {
            let Point { y, x, z } = point;
            let zz = factor(z).square();
            let yy = factor(y).square();
            let xx = factor(x).square();
            let s = add_products(y, x).square();
            doubling_terms(&yy, &xx, &zz, &s)
        }

        /// The sum, or in the lanes of the mask the difference, of a point and the entry with this index.
        #[target_feature(enable = $features)]
        #[inline]
        fn add<const COUNT: usize, const BITS: usize>(
            (point, t): &(Point, Product),
            table: &[Entry; COUNT],
            index: [Mask; BITS],
            negative: Mask,
        ) -> Terms {
            let Point { y, x, z } = point;
            let c = times(&factor(t), &select(table, 3, index));
            let d = times(&factor(z), &select(table, 2, index));
            let (sum, difference) = (select(table, 0, index), select(table, 1, index));
            let first = choose(&difference, &sum, negative);
            let a = times(&subtract_products(y, x), &first);
            let second = choose(&sum, &difference, negative);
            let b = times(&add_products(y, x), &second);
            let (less, more) = (subtract_products(&d, &c), add_products(&d, &c));
            Terms([
                subtract_products(&b, &a),
                choose(&less, &more, negative),
                choose(&more, &less, negative),
                add_products(&b, &a),
            ])
        }

        #[target_feature(enable = $features)]
        fn entry((point, t): &(Point, Product)) -> Entry {
            let Point { y, x, z } = point;
            let twice_d = factor(&coordinates(&[Element::TWICE_D; LANES]));
            Entry([
                add_products(y, x),
                subtract_products(y, x),
                add_products(z, z),
                factor(&times(&factor(t), &twice_d)),
            ])
        }

        /// (Y, X, Z) = (1, 0, 1), the neutral element, whose T is X.
        #[target_feature(enable = $features)]
        fn neutral() -> Point {
            let one = coordinates(&[Element::ONE; LANES]);
            Point {
                y: one,
                x: coordinates(&[Element::ZERO; LANES]),
                z: one,
            }
        }

        /// One coordinate of, in each lane, the entry with the index whose bits are the masks. Constant
        /// time: all entries are read.
        #[target_feature(enable = $features)]
        #[inline]
        fn select<const COUNT: usize, const BITS: usize>(
            table: &[Entry; COUNT],
            coordinate: usize,
            index: [Mask; BITS],
        ) -> Factor {
            const { assert!(COUNT == 1 << BITS) };
            let mut selected = table[0].0[coordinate];
            for (i, limb) in selected.0.iter_mut().enumerate() {
                let mut candidates = [*limb; COUNT];
                for (candidate, entry) in candidates.iter_mut().zip(table) {
                    *candidate = entry.0[coordinate].0[i];
                }
                for (level, bit) in index.into_iter().enumerate() {
                    for j in 0..COUNT >> (level + 1) {
                        candidates[j] = blend(candidates[2 * j], candidates[2 * j + 1], bit);
                    }
                }
                *limb = candidates[0];
            }
            selected
        }

        /// `set` in the lanes of the mask, `clear` elsewhere.
        #[target_feature(enable = $features)]
        #[inline]
        fn choose(clear: &Factor, set: &Factor, mask: Mask) -> Factor {
            let mut chosen = *clear;
            for (limb, set) in chosen.0.iter_mut().zip(&set.0) {
                *limb = blend(*limb, *set, mask);
            }
            chosen
        }

        /// `Element::root_power` of each.
        #[target_feature(enable = $features)]
        pub(in crate::simd) fn root_powers(bases: &[Element; LANES]) -> [Element; LANES] {
            let base = factor(&coordinates(&bases.map(Element::canonical)));
            let square = |z: Factor| factor(&z.square());
            let mul = |a: Factor, b: Factor| factor(&times(&a, &b));
            let (z_250, _) = powers!(base, square, mul);
            elements(&times(&square(square(z_250)), &base))
        }
    };
}
