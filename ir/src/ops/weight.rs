//! `weight`: a tensor of the model, as its file holds it.
use super::{Class, OpDef, OpError, arity};
use crate::expr::Body;
use crate::{Part, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Weight {
    /// Its name in the checkpoint.
    pub name: String,
    /// Its type.
    pub ty: TensorType,
    /// Which part of the checkpoint's tensor it is, if it is not all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
    /// How its elements lie in the packed file, in the backend's words; none until that is decided.
    pub layout: Option<String>,
}

impl OpDef for Weight {
    const NAME: &'static str = "weight";
    const CLASS: Class = Class::Source;

    fn infer(&self, inputs: &[TensorType]) -> Result<TensorType, OpError> {
        arity::<0>(inputs)?;
        Ok(self.ty.clone())
    }

    fn body(&self, _: &[TensorType]) -> Option<Body> {
        None
    }

    fn eval(&self, _: &[&Tensor], _: &Symbols) -> Result<Tensor, OpError> {
        Err(OpError::Invalid(format!("weight {:?} has no value of its own", self.name)))
    }

    fn samples() -> Vec<(Self, Vec<TensorType>)> {
        vec![]
    }
}
