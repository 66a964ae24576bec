//! `rope`: rotary position embedding (Su et al., 2021): pairs of a head's dimensions turned by angles that
//! grow with the token's position. Dimensions past the rotated ones stay as they are.
use super::{Class, OpDef, OpError, arity, check};
use crate::expr::{Body, axes, int, load};
use crate::shard::{self, Asked, Rule, Sharding};
use crate::{DType, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// Inputs: f32 `[n, h, d]`; the angles' cosines and sines, f32 `[c, r/2]` with a row for every position;
/// positions, i32 `[n]` in `0..c`. Result: the first input with the first `r` of every `d` rotated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rope {
    /// Which two dimensions turn together.
    pub pairing: Pairing,
}

/// Which two dimensions turn together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pairing {
    /// `j` and `j + r/2`.
    Halves,
    /// `2j` and `2j + 1`.
    Adjacent,
}

impl OpDef for Rope {
    const NAME: &'static str = "rope";
    /// A point needs two points of its row.
    const CLASS: Class = Class::Reduction;

    fn infer(&self, inputs: &[TensorType]) -> Result<TensorType, OpError> {
        let [x, cos, sin, positions] = arity(inputs)?;
        check::dtype(0, x, DType::F32)?;
        let [n, _, d] = check::axes(0, x)?;
        check::dtype(1, cos, DType::F32)?;
        let [_, half] = check::axes(1, cos)?;
        check::exactly(2, sin, cos.clone())?;
        check::exactly(3, positions, TensorType::new(DType::I32, [n.clone()]))?;
        let (d, half) =
            (check::constant("the width of a head", d)?, check::constant("half the rotation", half)?);
        match half.checked_mul(2) {
            Some(r) if r <= d => Ok(x.clone()),
            _ => Err(OpError::Invalid(format!("{half} pairs do not fit in a head of {d}"))),
        }
    }

    fn body(&self, inputs: &[TensorType]) -> Option<Body> {
        let at = axes(3);
        let [token, head, j] = &at[..] else { return None };
        let (d, half) = (inputs[0].shape[2].known()?, inputs[1].shape[1].known()?);
        let x = |j| load(0, [token.clone(), head.clone(), j]);
        let turned = |pair: crate::expr::Expr, first: bool, other| {
            let angle = |table| load(table, [load(3, [token.clone()]), pair.clone()]);
            let (along, across) = (x(j.clone()) * angle(1), x(other) * angle(2));
            if first { along - across } else { along + across }
        };
        let j = || j.clone();
        let rotated = match self.pairing {
            Pairing::Halves => j()
                .lt(int(half))
                .select(turned(j(), true, j() + int(half)), turned(j() - int(half), false, j() - int(half))),
            Pairing::Adjacent => {
                let pair = || j() / int(2);
                (j() % int(2))
                    .equals(int(0))
                    .select(turned(pair(), true, j() + int(1)), turned(pair(), false, j() - int(1)))
            }
        };
        let whole = if 2 * half == d { rotated } else { j().lt(int(2 * half)).select(rotated, x(j())) };
        Some(Body::new(&whole))
    }

    fn eval(&self, inputs: &[&Tensor], _: &Symbols) -> Result<Tensor, OpError> {
        let (mut x, cos, sin) = (inputs[0].to_f32(), inputs[1].to_f32(), inputs[2].to_f32());
        let (heads, d) = (inputs[0].shape()[1] as usize, inputs[0].shape()[2] as usize);
        let (rows, half) = (inputs[1].shape()[0], inputs[1].shape()[1] as usize);
        for (token, position) in x.chunks_mut((heads * d).max(1)).zip(inputs[3].to_ints()) {
            if !(0..rows as i64).contains(&position) {
                return Err(OpError::Invalid(format!("position {position}, angles end at {rows}")));
            }
            let angles = position as usize * half;
            for head in token.chunks_mut(d) {
                for pair in 0..half {
                    let (i, j) = match self.pairing {
                        Pairing::Halves => (pair, pair + half),
                        Pairing::Adjacent => (2 * pair, 2 * pair + 1),
                    };
                    let (cos, sin) = (f64::from(cos[angles + pair]), f64::from(sin[angles + pair]));
                    let (a, b) = (f64::from(head[i]), f64::from(head[j]));
                    head[i] = (a * cos - b * sin) as f32;
                    head[j] = (a * sin + b * cos) as f32;
                }
            }
        }
        Ok(Tensor::f32(inputs[0].shape(), &x))
    }

    /// Heads can be divided.
    fn shard(&self, asked: Asked<'_>) -> Result<Rule, OpError> {
        Ok(shard::by_rows(asked))
    }

    fn wants(&self, input: usize, asked: Asked<'_>) -> Result<Sharding, OpError> {
        Ok(shard::wanted_by_rows(input, asked))
    }

    fn samples() -> Vec<(Self, Vec<TensorType>)> {
        let of = |pairing, shape: &[i64; 3], half| {
            let angles = TensorType::f32(&[5, half]);
            let positions = TensorType::known(DType::I32, &shape[..1]);
            (Rope { pairing }, vec![TensorType::f32(shape), angles.clone(), angles, positions])
        };
        vec![
            of(Pairing::Halves, &[4, 2, 8], 4),
            of(Pairing::Adjacent, &[4, 2, 8], 4),
            of(Pairing::Halves, &[3, 1, 7], 2),
            of(Pairing::Adjacent, &[3, 3, 7], 3),
        ]
    }
}
