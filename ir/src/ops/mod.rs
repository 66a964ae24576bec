//! The operators. One file each; one line each in the two lists below.
mod binary;
mod check;
mod experts;
mod fused;
mod movement;
mod paged;
mod unary;

mod abs;
mod add;
mod argmax;
mod attention;
mod broadcast;
mod cast;
mod compare;
mod concat;
mod constant;
mod div;
mod exp;
mod expert_combine;
mod expert_linear;
mod gather;
mod gelu;
mod input;
mod kv_append;
mod layer_norm;
mod linear;
mod log;
mod matmul;
mod maximum;
mod minimum;
mod mul;
mod neg;
mod paged_attention;
mod peaks;
mod quantise;
mod recip;
mod reduce;
mod reshape;
mod rms_norm;
mod rope;
mod route;
mod scale;
mod select;
mod sigmoid;
mod silu;
mod slice;
mod softcap;
mod softmax;
mod sqrt;
mod sub;
mod tanh;
mod top_k;
mod transpose;
mod weight;

use crate::expr::{Body, FIRST_BOUND_AXIS};
use crate::shard::{self, Asked, Rule, Sharding};
use crate::work::{StepSize, Work};
use crate::{Part, Symbols, Tensor, TensorType};
use serde::{Serialize, de::DeserializeOwned};

/// What every operator must say about itself.
pub trait OpDef: Clone + PartialEq + std::fmt::Debug + Serialize + DeserializeOwned {
    /// The name in text form.
    const NAME: &'static str;
    /// How passes may treat it, whatever its name.
    const CLASS: Class;
    /// Types out from types in. Also the operator's verifier.
    fn infer(&self, inputs: &[TensorType]) -> Result<TensorType, OpError>;
    /// What it computes at one point of the output, in the closed language of `expr`, for inputs that
    /// `infer` takes. `None` if that cannot be said; every backend then needs a kernel.
    fn body(&self, inputs: &[TensorType]) -> Option<Body>;
    /// What it means: naive and independent of `body`. Every backend is held to it.
    /// Inputs are of types that `infer` takes; what only values can break (an index outside) is an error.
    /// `symbols` are for attributes that mention dimensions.
    fn eval(&self, inputs: &[&Tensor], symbols: &Symbols) -> Result<Tensor, OpError>;
    /// What it must at least do in a step; none where a symbol has no value. To be stated by operators whose body,
    /// or lack of one, does not say it.
    fn work(&self, inputs: &[TensorType], step: &StepSize) -> Option<Work> {
        Work::of_body(self.body(inputs).as_ref(), inputs, &self.infer(inputs).ok()?, step)
    }
    /// How a group of devices computes it, and what each then has.
    fn shard(&self, asked: Asked<'_>) -> Result<Rule, OpError> {
        Ok(shard::by_class(Self::CLASS, asked, &self.infer(asked.inputs)?))
    }
    /// How it would like an input to be spread: what makes that input can do so, if it has the choice.
    fn wants(&self, input: usize, asked: Asked<'_>) -> Result<Sharding, OpError> {
        let output = self.infer(asked.inputs)?;
        Ok(shard::wanted_by_class(Self::CLASS, asked.wanted, &output, &asked.inputs[input]))
    }
    /// What a rank computes, whose inputs are spread as `needs` says and whose result is of type `own`.
    fn on_rank(&self, _rank: usize, _needs: &[Sharding], _own: &TensorType) -> Self {
        self.clone()
    }
    /// Instances and input types for the conformance suite, odd extents among them. Integer inputs stay
    /// below every extent of the inputs that is more than 1, so that they are indices.
    fn samples() -> Vec<(Self, Vec<TensorType>)>;
}

/// How passes may treat an operator, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Has no inputs: its value is given from outside, or a constant.
    Source,
    /// One point of the output needs one point of each input.
    Pointwise,
    /// One point of the output needs a row of an input.
    Reduction,
    /// Sums products over an axis that two inputs share.
    Contraction,
    /// Moves elements without computing.
    Movement,
    /// Needs a kernel on every backend.
    Opaque,
}

/// Why an operator refuses its inputs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpError {
    /// Another number of inputs than it takes.
    #[error("expects {expected} inputs, got {found}")]
    Arity {
        /// How many it takes.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// An input of another type than it must have.
    #[error("input {index} has type {found}, expected {expected}")]
    Type {
        /// Which input.
        index: usize,
        /// Its type.
        found: TensorType,
        /// What it must be.
        expected: TensorType,
    },
    /// Anything else, in words.
    #[error("{0}")]
    Invalid(String),
}

impl From<String> for OpError {
    fn from(message: String) -> OpError {
        OpError::Invalid(message)
    }
}

macro_rules! ops {
    ($($file:ident::$Name:ident,)*) => {
        $(pub use $file::$Name;)*

        /// Any operator.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs)]
        pub enum Op { Fused(Box<Fused>), $($Name($Name),)* }

        $(impl From<$Name> for Op { fn from(op: $Name) -> Op { Op::$Name(op) } })*
        impl From<Fused> for Op { fn from(op: Fused) -> Op { Op::Fused(Box::new(op)) } }

        impl Op {
            /// The name in text form.
            pub fn name(&self) -> &'static str {
                match self { Op::Fused(_) => Fused::NAME, $(Op::$Name(_) => $Name::NAME,)* }
            }
            /// How passes may treat it.
            pub fn class(&self) -> Class {
                match self { Op::Fused(op) => op.class(), $(Op::$Name(_) => $Name::CLASS,)* }
            }
            /// Types out from types in.
            pub fn infer(&self, inputs: &[TensorType]) -> Result<TensorType, OpError> {
                inputs.iter().try_for_each(check_rank)?;
                let ty = match self { Op::Fused(op) => op.infer(inputs), $(Op::$Name(op) => op.infer(inputs),)* }?;
                check_rank(&ty)?;
                Ok(ty)
            }
            /// What it computes at one point.
            pub fn body(&self, inputs: &[TensorType]) -> Option<Body> {
                match self { Op::Fused(op) => op.body(inputs), $(Op::$Name(op) => op.body(inputs),)* }
            }
            /// What it must at least do in a step; none where a symbol has no value.
            pub fn work(&self, inputs: &[TensorType], step: &StepSize) -> Option<Work> {
                match self { Op::Fused(op) => op.work(inputs, step), $(Op::$Name(op) => op.work(inputs, step),)* }
            }
            /// How a group of devices computes it, and what each then has.
            pub fn shard(&self, asked: Asked<'_>) -> Result<Rule, OpError> {
                match self { Op::Fused(op) => op.shard(asked), $(Op::$Name(op) => op.shard(asked),)* }
            }
            /// How it would like an input to be spread.
            pub fn wants(&self, input: usize, asked: Asked<'_>) -> Result<Sharding, OpError> {
                match self { Op::Fused(op) => op.wants(input, asked), $(Op::$Name(op) => op.wants(input, asked),)* }
            }
            /// What a rank computes, whose inputs are spread as `needs` says and whose result is of type `own`.
            pub fn on_rank(&self, rank: usize, needs: &[Sharding], own: &TensorType) -> Op {
                match self {
                    Op::Fused(op) => Fused::on_rank(op, rank, needs, own).into(),
                    $(Op::$Name(op) => op.on_rank(rank, needs, own).into(),)*
                }
            }
            /// What it means.
            pub fn eval(&self, inputs: &[&Tensor], symbols: &Symbols) -> Result<Tensor, OpError> {
                match self { Op::Fused(op) => op.eval(inputs, symbols), $(Op::$Name(op) => op.eval(inputs, symbols),)* }
            }
            /// The attributes in RON, without the outer parentheses; empty where there are none.
            pub fn attributes(&self) -> String {
                let text = match self {
                    Op::Fused(op) => ron::to_string(op), $(Op::$Name(op) => ron::to_string(op),)*
                };
                let text = text.expect("attributes are plain data");
                text.strip_prefix('(').and_then(|t| t.strip_suffix(')')).unwrap_or("").to_owned()
            }
            /// Reads an operator from its name and its attributes as `attributes` writes them.
            pub fn parse(name: &str, attributes: &str) -> Result<Op, String> {
                let text = format!("({attributes})");
                match name {
                    Fused::NAME => ron::from_str::<Fused>(&text).map(Op::from).map_err(|e| e.to_string()),
                    $($Name::NAME => ron::from_str::<$Name>(&text).map(Op::from).map_err(|e| e.to_string()),)*
                    _ => Err(format!("unknown operator {name:?}")),
                }
            }
        }

        /// Every operator's samples, for the conformance suite.
        pub fn samples() -> Vec<(Op, Vec<TensorType>)> {
            let mut all: Vec<(Op, Vec<TensorType>)> = vec![];
            all.extend(Fused::samples().into_iter().map(|(op, types)| (Op::from(op), types)));
            $(all.extend($Name::samples().into_iter().map(|(op, types)| (Op::from(op), types)));)*
            all
        }
    };
}

pub use compare::Relation;
pub use fused::{Anchor, Fused, evaluate_body};
pub use paged_attention::Shared;
pub use reduce::Fold;
pub use rope::Pairing;

ops! {
    abs::Abs,
    add::Add,
    argmax::Argmax,
    attention::Attention,
    broadcast::Broadcast,
    cast::Cast,
    compare::Compare,
    concat::Concat,
    constant::Constant,
    div::Div,
    exp::Exp,
    expert_combine::ExpertCombine,
    expert_linear::ExpertLinear,
    gather::Gather,
    gelu::Gelu,
    input::Input,
    kv_append::KvAppend,
    layer_norm::LayerNorm,
    linear::Linear,
    log::Log,
    matmul::Matmul,
    maximum::Maximum,
    minimum::Minimum,
    mul::Mul,
    neg::Neg,
    paged_attention::PagedAttention,
    peaks::Peaks,
    quantise::Quantise,
    recip::Recip,
    reduce::Reduce,
    reshape::Reshape,
    rms_norm::RmsNorm,
    rope::Rope,
    route::Route,
    scale::Scale,
    select::Select,
    sigmoid::Sigmoid,
    silu::Silu,
    slice::Slice,
    softcap::Softcap,
    softmax::Softmax,
    sqrt::Sqrt,
    sub::Sub,
    tanh::Tanh,
    top_k::TopK,
    transpose::Transpose,
    weight::Weight,
}

impl Op {
    /// The name by which the value is given from outside: that of an input, a state or a weight.
    pub fn given_name(&self) -> Option<&str> {
        match self {
            Op::Input(input) => Some(&input.name),
            Op::Weight(weight) => Some(&weight.name),
            _ => None,
        }
    }

    /// The attributes in RON as a graph's text has them: without name and type where the line says these.
    pub fn written_attributes(&self) -> String {
        match self {
            Op::Input(Input { part, .. }) => written_part(part).collect(),
            Op::Weight(Weight { part, layout, .. }) => {
                let layout = layout.iter().map(|layout| format!("layout:{layout:?}"));
                written_part(part).chain(layout).collect::<Vec<_>>().join(",")
            }
            op => op.attributes(),
        }
    }
}

fn written_part(part: &Option<Part>) -> impl Iterator<Item = String> {
    part.iter().map(|part| format!("part:{}", ron::to_string(part).expect("a part is plain data")))
}

/// Bodies can name no more axes.
fn check_rank(ty: &TensorType) -> Result<(), OpError> {
    let most = FIRST_BOUND_AXIS as usize;
    match ty.rank() {
        rank if rank > most => {
            Err(OpError::Invalid(format!("a value has {rank} axes, expected at most {most}")))
        }
        _ => Ok(()),
    }
}

/// Checks the number of inputs and hands them back as an array.
pub(crate) fn arity<const N: usize>(inputs: &[TensorType]) -> Result<&[TensorType; N], OpError> {
    inputs.try_into().map_err(|_| OpError::Arity { expected: N, found: inputs.len() })
}
