//! `rope`: pairs of a head's dimensions turned by the angles of the token's position.
//!
//! Bodies compiled for it go pair by pair, for the two of a pair need each other's values.
use super::length;
use super::simd::{Isa, Simd, Work};
use ir::ops::Pairing;
use runtime::device::{Executable, Extent};
use std::ops::Range;

/// Arguments, in an order of the caller's: rows of x, cosines and sines f32 `[c, width/2]`, i32 positions `[n]`; last
/// the output f32 `[n, heads, width]`.
pub struct Rope {
    pub isa: Isa,
    pub n: Extent,
    pub heads: usize,
    /// Length of a head's vector; all of it is turned.
    pub width: usize,
    pub pairing: Pairing,
    /// Rows of cosines and sines.
    pub positions: usize,
    /// From one row of x to the next, and from a row's start to its first head, in f32.
    pub row: usize,
    pub offset: usize,
    /// Which arguments are x, cosines, sines and positions.
    pub args: [usize; 4],
}

impl Executable for Rope {
    fn units(&self, syms: &[i64]) -> usize {
        length(&self.n, syms)
    }

    fn scratch_bytes(&self) -> usize {
        0
    }

    unsafe fn run(&self, args: &[*mut u8], _: &[i64], units: Range<usize>, _: *mut u8) {
        let [x, cos, sin, positions] = self.args.map(|arg| args[arg].cast_const());
        for token in units {
            unsafe {
                let position = positions.cast::<i32>().add(token).read().max(0) as usize;
                let angle = position.min(self.positions - 1) * (self.width / 2);
                self.isa.run(Turn {
                    op: self,
                    x: x.cast::<f32>().add(token * self.row + self.offset),
                    cos: cos.cast::<f32>().add(angle),
                    sin: sin.cast::<f32>().add(angle),
                    out: args[4].cast::<f32>().add(token * self.heads * self.width),
                });
            }
        }
    }
}

/// One token's heads.
struct Turn<'a> {
    op: &'a Rope,
    x: *const f32,
    cos: *const f32,
    sin: *const f32,
    out: *mut f32,
}

impl Work for Turn<'_> {
    const ROWS: usize = 1;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let half = self.op.width / 2;
        for head in 0..self.op.heads {
            unsafe {
                let (x, out) = (self.x.add(head * self.op.width), self.out.add(head * self.op.width));
                let mut pair = 0;
                while pair + 16 <= half {
                    let (cos, sin) = (S::load(self.cos.add(pair)), S::load(self.sin.add(pair)));
                    let (a, b) = self.places(pair, 16);
                    let (a, b) = (S::load(x.add(a)), S::load(x.add(b)));
                    let (a, b) = if self.is_adjacent() { S::unzip(a, b) } else { (a, b) };
                    let first = S::sub(S::mul(a, cos), S::mul(b, sin));
                    let second = S::add(S::mul(b, cos), S::mul(a, sin));
                    let (a, b) = if self.is_adjacent() { S::zip(first, second) } else { (first, second) };
                    let (first, second) = self.places(pair, 16);
                    S::store(out.add(first), a);
                    S::store(out.add(second), b);
                    pair += 16;
                }
                for pair in pair..half {
                    let (first, second) = self.places(pair, 1);
                    let (a, b) = (x.add(first).read(), x.add(second).read());
                    let (cos, sin) = (self.cos.add(pair).read(), self.sin.add(pair).read());
                    out.add(first).write(a * cos - b * sin);
                    out.add(second).write(b * cos + a * sin);
                }
            }
        }
    }
}

impl Turn<'_> {
    #[inline(always)]
    fn is_adjacent(&self) -> bool {
        self.op.pairing == Pairing::Adjacent
    }

    /// Where `count` pairs from `pair` on lie in a head: their first and their second `count` values.
    #[inline(always)]
    fn places(&self, pair: usize, count: usize) -> (usize, usize) {
        match self.op.pairing {
            Pairing::Adjacent => (2 * pair, 2 * pair + count),
            Pairing::Halves => (pair, self.op.width / 2 + pair),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::random::Random;
    use super::*;
    use ir::ops::{self, OpDef};
    use ir::{Symbols, Tensor};

    /// Out of rows that hold more than the heads, against the operator's own meaning.
    #[test]
    fn every_instruction_set_turns_pairs_as_the_operator_says() {
        let mut random = Random(9);
        for (pairing, width) in
            [(Pairing::Adjacent, 64), (Pairing::Halves, 64), (Pairing::Adjacent, 42), (Pairing::Halves, 6)]
        {
            let (n, heads, row, offset, positions) = (5, 3, 3 * width + 11, 7, 9);
            let x = random.reals(n * row);
            let [cos, sin] = [0, 1].map(|_| random.reals(positions * width / 2));
            let at: Vec<i32> = vec![3, 8, 0, 1, 3];
            let heads_of = |token: usize| &x[token * row + offset..][..heads * width];
            let plain: Vec<f32> = (0..n).flat_map(heads_of).copied().collect();
            let table = [positions as u64, width as u64 / 2];
            let inputs = [
                Tensor::f32(&[n as u64, heads as u64, width as u64], &plain),
                Tensor::f32(&table, &cos),
                Tensor::f32(&table, &sin),
                Tensor::i32(&[n as u64], &at),
            ];
            let op = ops::Rope { pairing };
            let expected = op.eval(&inputs.each_ref(), &Symbols::new()).unwrap().to_f32();
            let run = |isa| {
                let n = Extent { constant: n as i64, terms: vec![] };
                let args = [3, 0, 1, 2];
                let rope = Rope { isa, n, heads, width, pairing, positions, row, offset, args };
                let mut out = vec![0f32; expected.len()];
                let bytes = |values: &[f32]| values.as_ptr().cast_mut().cast::<u8>();
                let args = [
                    bytes(&cos),
                    bytes(&sin),
                    at.as_ptr().cast_mut().cast(),
                    bytes(&x),
                    out.as_mut_ptr().cast(),
                ];
                unsafe { rope.run(&args, &[], 0..rope.units(&[]), std::ptr::null_mut()) };
                out
            };
            let best = run(Isa::detect());
            Isa::available().into_iter().for_each(|isa| assert_eq!(run(isa), best, "{isa:?}"));
            for (found, expected) in best.iter().zip(&expected) {
                assert!((found - expected).abs() <= 1e-6, "{pairing:?} {width}: {found}, {expected}");
            }
        }
    }
}
