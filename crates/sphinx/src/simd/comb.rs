//! One product at a time with a comb, the four coordinates of a point in the lanes of a vector.
//!
//! One text for AVX2 and AVX-512 IFMA. With points as (Y, X, Z, T), addition is two multiplications of
//! vectors, and so is doubling:
//!
//! ```text
//! add        (Y + X, Y − X, Z, T) · entry                           = (B, A, D, C)
//!            sums and differences (H, E, G, F) = (B + A, B − A, D + C, D − C)
//!            (G, E, F, E) · (H, F, G, H)                            = (Y, X, Z, T)
//! double     (Y, X, Z, Y + X)²                                      = (YY, XX, ZZ, S)
//!            (H, G, F, E) = (YY + XX, YY − XX, 2ZZ − G, S − H)
//!            (H, E, G, E) · (G, F, F, H)                            = (Y, X, Z, T)
//! ```
//!
//! An entry of a table is (Y + X, Y − X, 2Z, 2d·T). Instead of an entry, the sum is negated: its X and T
//! change sign, so the first two lanes of (Y + X, Y − X, Z, T) change places, and G and F do.

/// Defines `Comb`.
///
/// The caller has in scope `Factor`, with `square` and `permute`, and `Product`, and the functions that
/// are called here and not defined.
macro_rules! comb {
    ($features:literal) => {
        /// Tables of one point's multiples.
        #[derive(Clone)]
        pub(crate) struct Comb {
            tables: [[Factor; ENTRIES]; TABLES],
            /// The point itself.
            once: Factor,
        }

        impl Comb {
            /// Makes the tables of a point (Y, X, Z, T).
            #[target_feature(enable = $features)]
            pub(in crate::simd) fn new(point: &[Element; 4]) -> Self {
                // The multiple of 2^(ROWS·i), at i.
                let mut multiple = coordinates(point);
                let mut multiples = [multiple; TABLES * TEETH];
                for place in &mut multiples[1..] {
                    for _ in 0..ROWS {
                        multiple = double(&multiple);
                    }
                    *place = multiple;
                }
                let once = entry(&multiples[0]);
                let mut tables = [[once; ENTRIES]; TABLES];
                for (start, table) in tables.iter_mut().enumerate() {
                    let mut sums = [multiples[start + TABLES * (TEETH - 1)]; ENTRIES];
                    for tooth in 0..TEETH - 1 {
                        let other = entry(&multiples[start + TABLES * tooth]);
                        for i in 0..1 << tooth {
                            let sum = sums[i];
                            sums[i | 1 << tooth] = add(&sum, &other, 0);
                            // −(−sum + other)
                            sums[i] = negative(&add(&sum, &other, 1));
                        }
                    }
                    for (entry_place, sum) in table.iter_mut().zip(&sums) {
                        *entry_place = entry(sum);
                    }
                }
                Self { tables, once }
            }

            /// An entry of a table.
            #[target_feature(enable = $features)]
            #[inline]
            pub(in crate::simd) fn entry(&self, table: usize, index: usize) -> &[Vector; LIMBS] {
                &self.tables[table][index].0
            }

            /// The point itself as an entry.
            #[target_feature(enable = $features)]
            #[inline]
            pub(in crate::simd) fn once(&self) -> &[Vector; LIMBS] {
                &self.once.0
            }

            /// u-coordinate of the integer times the point, as numerator and denominator.
            /// Constant time.
            #[target_feature(enable = $features)]
            pub(in crate::simd) fn mul(&self, integer: &[u8; 32]) -> [Element; 2] {
                let digits = Digits::new(integer);
                let neutral = [Element::ONE, Element::ZERO, Element::ONE, Element::ZERO];
                let mut sum = coordinates(&neutral);
                // Whether `sum` stands for its negative.
                let mut sign = 0;
                for row in (0..ROWS).rev() {
                    if row < ROWS - 1 {
                        sum = double(&sum);
                    }
                    for (i, table) in self.tables.iter().enumerate() {
                        let selection = digits.at(i, row);
                        let selected = select(table, selection.index);
                        sum = add(&sum, &selected, sign ^ selection.negative);
                        sign = selection.negative;
                    }
                }
                // Less the point, if the digits are of the integer plus 1.
                let nothing = entry(&coordinates(&neutral));
                let last = select(&[nothing, self.once], digits.even());
                sum = add(&sum, &last, sign ^ 1);
                let [mut y, _, mut z, _] = elements(&sum).map(|element| element.mul(Element::ONE));
                let fraction = [z.add(y), z.sub(y)];
                y.zeroize();
                z.zeroize();
                wipe(&mut sum);
                fraction
            }
        }

        #[target_feature(enable = $features)]
        fn double(point: &Product) -> Product {
            let squares = with_sum(point).square();
            let terms = doubling_terms(&squares);
            let left = terms.permute(lanes([0, 3, 1, 3]));
            let right = terms.permute(lanes([1, 2, 2, 0]));
            times(&left, &right)
        }

        /// `sum` or, if `negate` is 1, its negative, plus an entry of a table.
        #[target_feature(enable = $features)]
        fn add(sum: &Product, entry: &Factor, negate: u8) -> Product {
            let products = times(&first_sums(sum, negate), entry);
            let terms = sums_and_differences(&products);
            let left = terms.permute(lanes_if(negate, [2, 1, 3, 1], [3, 1, 2, 1]));
            let right = terms.permute(lanes_if(negate, [0, 3, 2, 0], [0, 2, 3, 0]));
            times(&left, &right)
        }

        /// (Y + X, Y − X, 2Z, 2d·T).
        #[target_feature(enable = $features)]
        fn entry(point: &Product) -> Factor {
            let multiples = [Element::ONE, Element::ONE, Element::TWO, Element::TWICE_D];
            let multiples = factor(&coordinates(&multiples));
            factor(&times(&first_sums(point, 0), &multiples))
        }

        /// The entry with this index. Constant time: all are read.
        #[target_feature(enable = $features)]
        fn select<const COUNT: usize>(table: &[Factor; COUNT], index: u8) -> Factor {
            let mut selected = none();
            for (i, entry) in (0..).zip(table) {
                let mask = equal(index, i);
                or_masked(&mut selected, entry, mask);
            }
            selected
        }

        /// A permutation that is `set` if the bit is 1, else `clear`.
        #[target_feature(enable = $features)]
        fn lanes_if(bit: u8, clear: [u64; 4], set: [u64; 4]) -> Vector {
            let (clear, set) = (lanes(clear), lanes(set));
            let mask = equal(bit, 1);
            xor(clear, and(mask, xor(clear, set)))
        }
    };
}
