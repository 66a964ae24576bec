//! What the pointwise operators of two inputs share: broadcasting, and the rest of their `OpDef`.
//!
//! Shapes are aligned at their last axis; where they differ, one of the two is 1 or missing.
use super::OpError;
use crate::expr::{Expr, axis, int, load};
use crate::tensor::for_each_index;
use crate::{DType, Dim, Tensor, TensorType};

/// The type of `a` and `b` joined point by point, both f32.
pub(super) fn broadcast(a: &TensorType, b: &TensorType) -> Result<TensorType, OpError> {
    for (index, ty) in [a, b].into_iter().enumerate() {
        if ty.dtype != DType::F32 {
            return Err(OpError::Type { index, found: ty.clone(), expected: ty.with_dtype(DType::F32) });
        }
    }
    let rank = a.rank().max(b.rank());
    let one = Dim::from(1);
    let dim = |ty: &TensorType, at: usize| {
        (at + ty.rank()).checked_sub(rank).map_or(one.clone(), |i| ty.shape[i].clone())
    };
    let join = |at| match (dim(a, at), dim(b, at)) {
        (a, b) if a == b || b == one => Ok(a),
        (a, b) if a == one => Ok(b),
        _ => Err(OpError::Invalid(format!("{a} and {b} do not broadcast"))),
    };
    Ok(TensorType::new(DType::F32, (0..rank).map(join).collect::<Result<Vec<_>, _>>()?))
}

/// Input `input` of type `ty` at the point of an output of `rank` axes that it is broadcast to.
pub(super) fn load_broadcast(input: usize, ty: &TensorType, rank: usize) -> Expr {
    let skipped = rank - ty.rank();
    let at = |(i, d): (usize, &Dim)| if d.known() == Some(1) { int(0) } else { axis(skipped + i) };
    load(input, ty.shape.iter().enumerate().map(at))
}

/// The naive meaning.
pub(super) fn evaluate(a: &Tensor, b: &Tensor, f: impl Fn(f32, f32) -> f32) -> Result<Tensor, OpError> {
    let ty = broadcast(&a.ty(), &b.ty())?;
    let shape = ty.extents(|_| None).expect("host tensors have constant dimensions");
    let (x, y) = (a.to_f32(), b.to_f32());
    let pick = |t: &Tensor, index: &[u64]| {
        let index: Vec<i64> = index[index.len() - t.shape().len()..]
            .iter()
            .zip(t.shape())
            .map(|(i, d)| if *d == 1 { 0 } else { *i as i64 })
            .collect();
        t.position(&index).expect("a broadcast index lies inside")
    };
    let mut values = vec![];
    for_each_index(&shape, |index| values.push(f(x[pick(a, index)], y[pick(b, index)])));
    Ok(Tensor::f32(&shape, &values))
}

/// An operator that joins two f32 tensors point by point: its name, its body, its meaning.
macro_rules! pointwise_binary {
    ($Name:ident, $name:literal, $body:expr, $meaning:expr) => {
        #[doc = concat!("`", $name, "`: see the module.")]
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        pub struct $Name {}

        impl super::OpDef for $Name {
            const NAME: &'static str = $name;
            const CLASS: super::Class = super::Class::Pointwise;

            fn infer(&self, inputs: &[crate::TensorType]) -> Result<crate::TensorType, super::OpError> {
                let [a, b] = super::arity(inputs)?;
                super::binary::broadcast(a, b)
            }

            fn body(&self, inputs: &[crate::TensorType]) -> Option<crate::expr::Body> {
                let rank = inputs[0].rank().max(inputs[1].rank());
                let at = |i: usize| super::binary::load_broadcast(i, &inputs[i], rank);
                let join: fn(crate::expr::Expr, crate::expr::Expr) -> crate::expr::Expr = $body;
                Some(crate::expr::Body::new(&join(at(0), at(1))))
            }

            fn eval(
                &self,
                inputs: &[&crate::Tensor],
                _: &crate::Symbols,
            ) -> Result<crate::Tensor, super::OpError> {
                super::binary::evaluate(inputs[0], inputs[1], $meaning)
            }

            fn samples() -> Vec<(Self, Vec<crate::TensorType>)> {
                let f32 = crate::TensorType::f32;
                vec![
                    ($Name {}, vec![f32(&[4, 8]), f32(&[4, 8])]),
                    ($Name {}, vec![f32(&[3, 5]), f32(&[5])]),
                    ($Name {}, vec![f32(&[]), f32(&[2, 1, 7])]),
                ]
            }
        }
    };
}
pub(super) use pointwise_binary;
