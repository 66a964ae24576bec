//! What a step is given, for the plan and for graphs alike: a prompt in one slot, weights as the model has them, or
//! rounded to the formats that hints say, empty caches.
use crate::error::CompileError;
use crate::import::Checkpoint;
use crate::models::Derived;
use ir::ops::Input;
use ir::plan::Plan;
use ir::{DType, Graph, Op, Symbols, Tensor, TensorType};
use runtime::Pages;
use std::cell::RefCell;
use std::collections::HashMap;

/// See the module.
pub(super) struct Given<'a> {
    pub(super) symbols: Symbols,
    checkpoint: &'a Checkpoint,
    derived: &'a Derived,
    /// What the host sends, by name.
    inputs: HashMap<&'static str, Tensor>,
    states: HashMap<String, TensorType>,
    /// The dtypes of the reference's weights.
    formats: HashMap<String, DType>,
    /// Tensors of the checkpoint that somebody asked for: every stage asks for them anew.
    read: RefCell<HashMap<String, Tensor>>,
}

impl<'a> Given<'a> {
    /// The prompt stands in the last slot of each replica, and all logits are asked for after as many of its last
    /// tokens as a step gives.
    pub(super) fn new(
        plan: &Plan,
        reference: &Graph,
        checkpoint: &'a Checkpoint,
        derived: &'a Derived,
        tokens: &[i32],
    ) -> Result<Given<'a>, CompileError> {
        let n = tokens.len() as i32;
        let most = plan.symbols.iter().find(|s| s.name == "m").map_or(1, |s| s.max.max(1));
        let asked = most.min(n.into()) as i32;
        let (slots, row) = (plan.options.replica_batch().max(1), plan.pages_per_sequence());
        let mut pages = Pages::new(slots * row, plan.options.page as usize, slots as usize, row as usize);
        pages.reserve(slots as usize - 1, tokens.len()).map_err(runtime::RunError::from)?;
        let list = |values: Vec<i32>| Tensor::i32(&[values.len() as u64], &values);
        let inputs = HashMap::from([
            ("tokens", list(tokens.to_vec())),
            ("positions", list((0..n).collect())),
            ("slots", list(vec![slots as i32 - 1; tokens.len()])),
            ("rows", list((n - asked..n).collect())),
            ("whole", list((0..asked).collect())),
            ("pages", Tensor::i32(&[slots.into(), row.into()], pages.table())),
        ]);
        let states = reference.nodes().filter_map(|n| match &reference[n].op {
            Op::Input(Input { name, ty, state: true, .. }) => Some((name.clone(), ty.clone())),
            _ => None,
        });
        let formats = reference.nodes().filter_map(|n| match &reference[n].op {
            Op::Weight(weight) => Some((weight.name.clone(), weight.ty.dtype)),
            _ => None,
        });
        let symbols = Symbols::of_step(n.into(), asked.into(), asked.into());
        let (states, formats, read) = (states.collect(), formats.collect(), RefCell::default());
        Ok(Given { symbols, checkpoint, derived, inputs, states, formats, read })
    }

    /// The value of an input, a state or a weight.
    pub(super) fn tensor(&self, name: &str) -> Option<Tensor> {
        if let Some(known) = self.inputs.get(name).or_else(|| self.derived.get(name)) {
            return Some(known.clone());
        }
        if let Some(ty) = self.states.get(name) {
            let bytes = ty.bytes(|_| None)?;
            return Tensor::from_bytes(ty.dtype, &Symbols::new().extents(ty)?, vec![0; bytes as usize]);
        }
        let mut read = self.read.borrow_mut();
        if let Some(tensor) = read.get(name) {
            return Some(tensor.clone());
        }
        let mut tensor = self.checkpoint.host_tensor(name).ok()?;
        if let Some(format) = self.formats.get(name).filter(|format| **format != tensor.dtype()) {
            tensor = Tensor::from_f32(*format, tensor.shape(), &tensor.to_f32());
        }
        read.insert(name.to_owned(), tensor.clone());
        Some(tensor)
    }

    /// How many weights of the file the reference has in another format.
    pub(super) fn reformatted(&self) -> usize {
        let differs = |(name, format): &(&String, &DType)| {
            self.checkpoint
                .tensors
                .get(*name)
                .is_some_and(|tensor| tensor.dtype != **format && !self.derived.contains_key(*name))
        };
        self.formats.iter().filter(differs).count()
    }

    /// What the host sends over an edge of this name.
    pub(super) fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        self.inputs.get(name).map(|tensor| tensor.bytes().to_vec())
    }

    /// The values of the plan's symbols.
    pub(super) fn syms(&self, plan: &Plan) -> Vec<i64> {
        plan.symbols.iter().map(|s| self.symbols.get(&s.name).unwrap_or(s.max)).collect()
    }
}
