//! Gated activations over rows: `x / (1 + exp(a(x)))`, alone or times a gate, as SiLU and GELU are.
//!
//! Bodies full of `exp` are what the compiler of bodies, with its narrow vectors, is slow at.
use super::simd::{Isa, Simd, Work, exp};
use std::sync::LazyLock;

/// Compiled code calls this for a row: two inputs, of which the second may be missing, an output, a count.
pub type RowCode = unsafe extern "C" fn(*const f32, *const f32, *mut f32, usize);

/// SiLU of the first input, times the second where there is one.
pub const SILU: RowCode = row::<Silu>;

/// GELU, in its tanh form, of the first input, times the second where there is one.
pub const GELU: RowCode = row::<Gelu>;

/// The machine's best, asked for once.
static ISA: LazyLock<Isa> = LazyLock::new(Isa::detect);

/// # Safety
/// `x`, `y` where it is not null, and `out` hold `count` values.
unsafe extern "C" fn row<A: Activation>(x: *const f32, y: *const f32, out: *mut f32, count: usize) {
    // SAFETY: the machine has what it was asked for, the rest as the caller says.
    unsafe { ISA.run(Row::<A> { x, y, out, count, activation: std::marker::PhantomData }) }
}

/// What is in the exponent: minus the logit of the factor that `x` gets.
trait Activation {
    unsafe fn exponent<S: Simd>(x: S::F) -> S::F;
}

struct Silu;

impl Activation for Silu {
    #[inline(always)]
    unsafe fn exponent<S: Simd>(x: S::F) -> S::F {
        unsafe { S::sub(S::splat(0.0), x) }
    }
}

/// The tanh form: `(1 + tanh(t)) / 2` is `1 / (1 + exp(-2t))`.
struct Gelu;

impl Activation for Gelu {
    #[inline(always)]
    unsafe fn exponent<S: Simd>(x: S::F) -> S::F {
        const ROOT: f32 = 0.797_884_6;
        const CUBIC: f32 = 0.044_715;
        unsafe {
            let square = S::mul(x, x);
            let factor = S::fma(square, S::splat(-2.0 * ROOT * CUBIC), S::splat(-2.0 * ROOT));
            S::mul(x, factor)
        }
    }
}

struct Row<A> {
    x: *const f32,
    y: *const f32,
    out: *mut f32,
    count: usize,
    activation: std::marker::PhantomData<A>,
}

impl<A: Activation> Work for Row<A> {
    const ROWS: usize = 1;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        unsafe {
            let whole = self.count / 16 * 16;
            for at in (0..whole).step_by(16) {
                let y = (!self.y.is_null()).then(|| S::load(self.y.add(at)));
                S::store(self.out.add(at), Self::sixteen::<S>(S::load(self.x.add(at)), y));
            }
            let rest = self.count - whole;
            if rest > 0 {
                // The same code for what is left over, so that a value's bits do not depend on its place.
                let mut lanes = [[0.0; 16]; 2];
                std::ptr::copy_nonoverlapping(self.x.add(whole), lanes[0].as_mut_ptr(), rest);
                let y = (!self.y.is_null()).then(|| {
                    std::ptr::copy_nonoverlapping(self.y.add(whole), lanes[1].as_mut_ptr(), rest);
                    S::load(lanes[1].as_ptr())
                });
                let value = S::lanes(Self::sixteen::<S>(S::load(lanes[0].as_ptr()), y));
                std::ptr::copy_nonoverlapping(value.as_ptr(), self.out.add(whole), rest);
            }
        }
    }
}

impl<A: Activation> Row<A> {
    #[inline(always)]
    unsafe fn sixteen<S: Simd>(x: S::F, y: Option<S::F>) -> S::F {
        unsafe {
            let decay = exp::<S>(A::exponent::<S>(x));
            let value = S::div(x, S::add(S::splat(1.0), decay));
            y.map_or(value, |y| S::mul(value, y))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_gives_the_same_bits_and_the_right_ones() {
        let x: Vec<f32> = (-333..334).map(|i| i as f32 * 0.31).collect();
        let y: Vec<f32> = x.iter().rev().copied().collect();
        let run = |isa: Isa, is_gelu: bool| {
            let (x, y, count) = (x.as_ptr(), y.as_ptr(), x.len());
            let mut out = vec![0.0; count];
            let to = out.as_mut_ptr();
            let activation = std::marker::PhantomData;
            unsafe {
                match is_gelu {
                    false => isa.run(Row::<Silu> { x, y, out: to, count, activation }),
                    true => {
                        isa.run(Row::<Gelu> { x, y, out: to, count, activation: std::marker::PhantomData })
                    }
                }
            }
            out
        };
        for is_gelu in [false, true] {
            let best = run(Isa::detect(), is_gelu);
            Isa::available().into_iter().for_each(|isa| assert_eq!(run(isa, is_gelu), best, "{isa:?}"));
            for ((x, y), found) in x.iter().zip(&y).zip(best) {
                let (x, y) = (f64::from(*x), f64::from(*y));
                let tanh = ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh();
                let exact = if is_gelu { 0.5 * x * (1.0 + tanh) * y } else { x / (1.0 + (-x).exp()) * y };
                assert!(
                    (f64::from(found) - exact).abs() <= 3e-6 * (1.0 + exact.abs()),
                    "{x}: {found}, {exact}"
                );
            }
        }
    }
}
