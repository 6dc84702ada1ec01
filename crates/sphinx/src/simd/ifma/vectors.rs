//! Arithmetic modulo p on vectors: one text for both widths.

/// Defines `Factor` and `Product` over vectors of one type.
///
/// The caller has `LANES`, `from_lanes` and `to_lanes` in scope, and its width's intrinsics under
/// the names used here.
macro_rules! vectors {
    ($features:literal, $vector:ty) => {
        /// Numbers modulo p, one per lane, fit to be multiplied.
        #[derive(Clone, Copy)]
        struct Factor([$vector; 5]);

        impl Factor {
            /// One element below 2^255 per lane.
            #[target_feature(enable = $features)]
            #[inline]
            fn new(elements: &[Element; LANES]) -> Self {
                let elements = elements.map(Element::to_limbs);
                let mut limbs = [zero(); 5];
                for (i, limb) in limbs.iter_mut().enumerate() {
                    *limb = from_lanes(&elements.map(|element| element[i]));
                }
                Self(limbs).checked()
            }

            /// The element in each lane, loose.
            #[target_feature(enable = $features)]
            #[inline]
            fn elements(self) -> [Element; LANES] {
                let mut elements = [[0; 5]; LANES];
                for (i, &limbs) in self.0.iter().enumerate() {
                    for (element, limb) in elements.iter_mut().zip(to_lanes(limbs)) {
                        element[i] = limb;
                    }
                }
                elements.map(Element::from_limbs)
            }

            /// Asserts the bounds in debug builds.
            #[target_feature(enable = $features)]
            #[inline]
            fn checked(self) -> Self {
                debug_assert!(all_below(&self.0, FACTOR));
                self
            }
        }

        /// Numbers modulo p, one per lane, as multiplication leaves them.
        #[derive(Clone, Copy)]
        struct Product([$vector; 5]);

        impl Product {
            #[target_feature(enable = $features)]
            #[inline]
            fn carry(self) -> Factor {
                carry(self.checked().0)
            }

            /// Asserts the bounds in debug builds.
            #[target_feature(enable = $features)]
            #[inline]
            fn checked(self) -> Self {
                debug_assert!(all_below(&self.0, PRODUCT));
                self
            }
        }

        /// Brings columns 5 to 9 back to 0 to 4, 19-fold: 2^255 ≡ 19.
        #[target_feature(enable = $features)]
        #[inline]
        fn fold(columns: [$vector; 10]) -> Product {
            let mut folded = [zero(); 5];
            for i in 0..5 {
                let back = multiply(columns[i + 5], splat(19));
                folded[i] = add(columns[i], back);
            }
            Product(folded).checked()
        }

        /// Moves what is above bit 51 of every limb to the next, from the top 19-fold to the bottom.
        /// Limbs are below `CARRIABLE`.
        #[target_feature(enable = $features)]
        #[inline]
        fn carry(limbs: [$vector; 5]) -> Factor {
            debug_assert!(all_below(&limbs, CARRIABLE));
            let mut carried = limbs;
            for i in 0..5 {
                carried[i] = and(limbs[i], splat(MASK));
            }
            for i in 0..4 {
                carried[i + 1] = add(carried[i + 1], shift_right::<51>(limbs[i]));
            }
            carried[0] = multiply_add_low(carried[0], shift_right::<51>(limbs[4]), splat(19));
            Factor(carried).checked()
        }

        #[target_feature(enable = $features)]
        #[inline]
        fn splat(value: u64) -> $vector {
            broadcast(value.cast_signed())
        }

        #[target_feature(enable = $features)]
        #[inline]
        fn all_below(limbs: &[$vector; 5], bound: u64) -> bool {
            const ALL: u8 = u8::MAX >> (8 - LANES);
            limbs.iter().all(|&limb| less(limb, splat(bound)) == ALL)
        }
    };
}
