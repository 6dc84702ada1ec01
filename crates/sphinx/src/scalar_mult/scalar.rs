//! One Montgomery ladder in plain 64-bit arithmetic, for any 64-bit machine.
//!
//! Budget of one step: 5 products of 20 and 4 squares of 14 word multiplications, a product by a
//! constant of 4: 160, two micro-operations each, and about 400 additions and moves,
//! measured 390 cycles. 255 steps and an inversion: 112,000 cycles, 30 µs at 3.7 GHz. (Zen 4 takes
//! 1.7 cycles for a multiplication and the two additions of its result.)

use subtle::Choice;
use zeroize::Zeroize;

use super::{
    Integer, Point,
    field::{Element, bit, quotients, words},
};

/// u-coordinate of an integer times a point.
///
/// Bit 255 of both is ignored; the point's value is taken modulo p, the result is canonical, the
/// point at infinity is zero. Constant time.
#[inline]
pub(super) fn mul(integer: &Integer, point: &Point) -> Point {
    let mut bits = words(integer);
    let x1 = Element::from_bytes(point);
    let mut state = State::new(x1);
    for position in (0..255).rev() {
        state.step(x1, bit(&bits, position));
    }
    bits.zeroize();
    state.finish()
}

/// Where the ladder stands: of the pair k·P and (k + 1)·P, the one that was doubled last and the
/// sum, projective. Which of the two k·P is, the last bit tells: the sum after a one.
///
/// (Swapping by the bit before and after each step is the same thing. Since the sum does not care
/// which of the two is which, only what is doubled has to be chosen.)
#[derive(Zeroize)]
struct State {
    double: [Element; 2],
    sum: [Element; 2],
    last_bit: u8,
}

impl State {
    /// 0·P and 1·P.
    #[inline(always)]
    fn new(x1: Element) -> Self {
        Self {
            double: [Element::ONE, Element::ZERO],
            sum: [x1, Element::ONE],
            last_bit: 0,
        }
    }

    /// From k·P and (k + 1)·P to 2k·P and (2k + 1)·P if the bit is 0, else (2k + 1)·P and
    /// (2k + 2)·P. RFC 7748, section 5, with its names.
    #[inline(always)]
    fn step(&mut self, x1: Element, bit: u8) {
        let swap = Choice::from(bit ^ self.last_bit);
        self.last_bit = bit;
        let [x2, z2] = self.double;
        let [x3, z3] = self.sum;
        let (a, b, c, d) = (x2.add(z2), x2.sub(z2), x3.add(z3), x3.sub(z3));
        let da = d.mul(a);
        let cb = c.mul(b);
        let aa = Element::select(swap, c, a).square();
        let bb = Element::select(swap, d, b).square();
        let e = aa.sub(bb);
        self.sum = [da.add(cb).square(), da.sub(cb).square().mul(x1)];
        self.double = [aa.mul(bb), e.mul(aa.add(e.mul_a24()))];
    }

    /// The quotient of k·P, and wipes.
    #[inline(always)]
    fn finish(mut self) -> Point {
        let is_sum = Choice::from(self.last_bit);
        let [x, z] = [0, 1].map(|i| Element::select(is_sum, self.sum[i], self.double[i]));
        let [result] = quotients(&[x], &[z]);
        self.zeroize();
        result
    }
}
