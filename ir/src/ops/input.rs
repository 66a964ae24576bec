//! `input`: a value that every step is given (tokens, positions, the page table, a cache).
use super::{Class, OpDef, OpError, arity};
use crate::expr::Body;
use crate::{Part, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// By which name it is given.
    pub name: String,
    /// Its type.
    pub ty: TensorType,
    /// Whether it outlives a step: a cache, which the step returns changed.
    #[serde(default)]
    pub state: bool,
    /// Which part of the whole model's state it is, if it is not all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
}

impl OpDef for Input {
    const NAME: &'static str = "input";
    const CLASS: Class = Class::Source;

    fn infer(&self, inputs: &[TensorType]) -> Result<TensorType, OpError> {
        arity::<0>(inputs)?;
        Ok(self.ty.clone())
    }

    fn body(&self, _: &[TensorType]) -> Option<Body> {
        None
    }

    fn eval(&self, _: &[&Tensor], _: &Symbols) -> Result<Tensor, OpError> {
        Err(OpError::Invalid(format!("input {:?} has no value of its own", self.name)))
    }

    fn samples() -> Vec<(Self, Vec<TensorType>)> {
        vec![]
    }
}
