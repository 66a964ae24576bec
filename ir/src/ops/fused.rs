//! `fused`: one kernel that stands for several operators: a composed body, alone or as the epilogue
//! of an operator that has a kernel of its own.
use super::{Class, Op, OpDef, OpError};
use crate::expr::bounds::{Domain, stray_load};
use crate::expr::{Body, Point, Term, Value, evaluate};
use crate::tensor::for_each_index;
use crate::work::{StepSize, Work};
use crate::{Dim, Symbols, Tensor, TensorType};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fused {
    /// The operator whose result the body finds in its hole `h0`, at the same point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchor: Option<Anchor>,
    /// What is computed at one point. Its inputs are the node's, the anchor's first.
    pub body: Body,
    /// The type of the result.
    pub ty: TensorType,
}

/// An operator inside a fused one.
#[derive(Clone, Debug, PartialEq)]
pub struct Anchor {
    /// The operator.
    pub op: Op,
    /// How many of the node's inputs, from the first, are its own.
    pub inputs: usize,
}

impl Fused {
    /// How passes may treat it: as its anchor; else as a reduction where it folds, as movement where its value
    /// is one element of an input, and as pointwise otherwise.
    pub fn class(&self) -> Class {
        let moves = matches!(self.body.term(self.body.root()), Term::Load { .. });
        let folds = self.body.terms().iter().any(|t| matches!(t, Term::Reduce { .. }));
        match &self.anchor {
            Some(anchor) => anchor.op.class(),
            None if folds => Class::Reduction,
            None if moves => Class::Movement,
            None => Class::Pointwise,
        }
    }
}

impl OpDef for Fused {
    const NAME: &'static str = "fused";
    const CLASS: Class = Class::Opaque;

    fn infer(&self, inputs: &[TensorType]) -> Result<TensorType, OpError> {
        if let Some(anchor) = &self.anchor {
            if anchor.inputs > inputs.len() {
                return Err(OpError::Arity { expected: anchor.inputs, found: inputs.len() });
            }
            let inner = anchor.op.infer(&inputs[..anchor.inputs])?;
            if inner.shape != self.ty.shape {
                return Err(OpError::Invalid(format!("the anchor gives {inner}, the result is {}", self.ty)));
            }
        }
        for term in self.body.terms() {
            match term {
                Term::Load { input, at } => match inputs.get(*input as usize) {
                    Some(ty) if ty.rank() == at.len() => {}
                    Some(ty) => {
                        return Err(OpError::Invalid(format!(
                            "the body loads {ty} with {} coordinates",
                            at.len()
                        )));
                    }
                    None => {
                        return Err(OpError::Arity { expected: *input as usize + 1, found: inputs.len() });
                    }
                },
                Term::Hole(h) if *h > 0 || self.anchor.is_none() => {
                    return Err(OpError::Invalid(format!("the body has a hole h{h} that nothing fills")));
                }
                _ => {}
            }
        }
        let rank = self.ty.rank() as u32;
        if let Some(axis) = (0..crate::expr::FIRST_BOUND_AXIS)
            .find(|a| *a >= rank && self.body.free_axes(self.body.root()) & (1 << a) != 0)
        {
            return Err(OpError::Invalid(format!("the body uses axis {axis} of {}", self.ty)));
        }
        match stray_load(&self.body, &Domain { output: &self.ty.shape, inputs, known: None }) {
            Some(fault) => Err(OpError::Invalid(fault)),
            None => Ok(self.ty.clone()),
        }
    }

    fn body(&self, _: &[TensorType]) -> Option<Body> {
        self.anchor.is_none().then(|| self.body.clone())
    }

    fn eval(&self, inputs: &[&Tensor], symbols: &Symbols) -> Result<Tensor, OpError> {
        let hole = match &self.anchor {
            Some(anchor) => Some(anchor.op.eval(&inputs[..anchor.inputs], symbols)?),
            None => None,
        };
        evaluate_body(&self.body, &self.ty, inputs, hole.as_ref(), symbols)
    }

    /// What the anchor computes goes into the body from where it is: nobody writes or reads it.
    fn work(&self, inputs: &[TensorType], step: &StepSize) -> Option<Work> {
        let mut work = Work::of_body(Some(&self.body), inputs, &self.ty, step)?;
        if let Some(anchor) = &self.anchor {
            let own = anchor.op.work(inputs.get(..anchor.inputs)?, step)?;
            work.operations += own.operations;
            for (read, own) in work.reads.iter_mut().zip(own.reads) {
                *read = own.max(*read);
            }
        }
        Some(work)
    }

    fn samples() -> Vec<(Self, Vec<TensorType>)> {
        let body = Body::parse("let t0 = x0[i0, i1]; (t0 * sqrt(sum(k16 < 6: x0[i0, k16])))")
            .expect("a sample parses");
        vec![(Fused { anchor: None, body, ty: TensorType::f32(&[3, 6]) }, vec![TensorType::f32(&[3, 6])])]
    }
}

/// A body at every point of a result of type `ty`.
pub fn evaluate_body(
    body: &Body,
    ty: &TensorType,
    inputs: &[&Tensor],
    hole: Option<&Tensor>,
    symbols: &Symbols,
) -> Result<Tensor, OpError> {
    let unknown = || OpError::Invalid(format!("{ty} has symbols without a value"));
    let shape = symbols.extents(ty).ok_or_else(unknown)?;
    let values: Vec<Vec<Value>> = inputs.iter().map(|t| t.values()).collect();
    let filled = hole.map(Tensor::values);
    let mut out = vec![];
    let mut fault = None;
    for_each_index(&shape, |index| {
        let at: Vec<i64> = index.iter().map(|&i| i as i64).collect();
        let flat = out.len();
        let point = Point {
            at: &at,
            load: &|input, at| {
                let input = input as usize;
                inputs.get(input).and_then(|t| t.position(at)).map(|p| values[input][p])
            },
            hole: &|_| filled.as_ref().map_or(Value::F32(f32::NAN), |h| h[flat]),
            size: &|d: &Dim| symbols.eval(d).unwrap_or(-1),
        };
        match evaluate(body, &point) {
            Ok(value) => out.push(value),
            Err(message) => {
                fault.get_or_insert(message);
                out.push(Value::F32(f32::NAN));
            }
        }
    });
    match fault {
        Some(message) => Err(OpError::Invalid(message)),
        None => Ok(Tensor::from_values(ty.dtype, &shape, &out)?),
    }
}

impl Serialize for Anchor {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        (self.op.name(), self.op.attributes(), self.inputs).serialize(s)
    }
}

impl<'de> Deserialize<'de> for Anchor {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Anchor, D::Error> {
        let (name, attributes, inputs) = <(String, String, usize)>::deserialize(d)?;
        let op = Op::parse(&name, &attributes).map_err(D::Error::custom)?;
        Ok(Anchor { op, inputs })
    }
}
