//! `constant`: values that are written in the graph.
use super::{Class, OpDef, OpError, arity, check};
use crate::expr::{Body, f32, int};
use crate::{DType, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// No inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Constant {
    /// f32 or i32, extents all constants.
    pub ty: TensorType,
    /// One for every element, or one for all. Those of i32 are whole.
    pub values: Vec<f32>,
}

impl OpDef for Constant {
    const NAME: &'static str = "constant";
    const CLASS: Class = Class::Source;

    fn infer(&self, inputs: &[TensorType]) -> Result<TensorType, OpError> {
        arity::<0>(inputs)?;
        let ty = &self.ty;
        check::possible(ty)?;
        if !matches!(ty.dtype, DType::F32 | DType::I32) {
            return Err(OpError::Invalid(format!("a constant of {ty}, expected f32 or i32")));
        }
        let elements = ty.shape.iter().try_fold(1i64, |n, d| n.checked_mul(d.known()?));
        if self.values.len() != 1 && elements != i64::try_from(self.values.len()).ok() || elements.is_none() {
            return Err(OpError::Invalid(format!("{} values for {ty}", self.values.len())));
        }
        // Past this a float no longer holds every integer.
        let whole = |v: &f32| v.fract() == 0.0 && v.abs() <= (1 << 24) as f32;
        match self.values.iter().find(|v| ty.dtype == DType::I32 && !whole(v)) {
            Some(v) => Err(OpError::Invalid(format!("{v} is no exact i32"))),
            None => Ok(ty.clone()),
        }
    }

    /// Where one value stands for all; the language has no tables.
    fn body(&self, _: &[TensorType]) -> Option<Body> {
        let [value] = self.values[..] else { return None };
        let one = if self.ty.dtype == DType::I32 { int(value as i64) } else { f32(value) };
        Some(Body::new(&one))
    }

    fn eval(&self, _: &[&Tensor], symbols: &Symbols) -> Result<Tensor, OpError> {
        let unknown = || OpError::Invalid(format!("{} has extents that are not constant", self.ty));
        let shape = symbols.extents(&self.ty).ok_or_else(unknown)?;
        let count = shape.iter().product::<u64>() as usize;
        let values: Vec<f32> = self.values.iter().copied().cycle().take(count).collect();
        Ok(match self.ty.dtype {
            DType::I32 => Tensor::from_ints(DType::I32, &shape, values.iter().map(|v| *v as i64)),
            _ => Tensor::f32(&shape, &values),
        })
    }

    fn samples() -> Vec<(Self, Vec<TensorType>)> {
        let i32 = |shape: &[i64]| TensorType::known(DType::I32, shape);
        vec![
            (Constant { ty: TensorType::f32(&[]), values: vec![0.5] }, vec![]),
            (Constant { ty: TensorType::f32(&[4, 8]), values: vec![-1.5] }, vec![]),
            (Constant { ty: TensorType::f32(&[3]), values: vec![1.0, f32::NEG_INFINITY, -0.0] }, vec![]),
            (Constant { ty: i32(&[3]), values: vec![2.0, 0.0, 1.0] }, vec![]),
            (Constant { ty: i32(&[1]), values: vec![1.0] }, vec![]),
        ]
    }
}
