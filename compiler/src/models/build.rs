//! `Build`: a step graph in the making, with weights by name and paths for its nodes.
use super::formats::Formats;
use crate::error::ImportError;
use crate::import::{Checkpoint, Config};
use ir::ops::{Add, Input, Linear, OpError, Reshape, Weight};
use ir::plan::{Options, Symbol};
use ir::{DType, Dim, Graph, NodeId, Op, Tensor, TensorType};
use passes::partition::HintError;
use std::collections::BTreeMap;

/// Why a checkpoint does not become a graph.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The checkpoint lacks something, or has it in another shape.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// No architecture of that name.
    #[error("architecture {found:?} is unknown; known are {known}")]
    UnknownArchitecture {
        /// What the checkpoint says.
        found: String,
        /// Those there are.
        known: String,
    },
    /// A weight cannot be in the format that a person wants.
    #[error(transparent)]
    Hint(#[from] HintError),
    /// The numbers of the config do not fit together.
    #[error("{path}: {cause}")]
    Op {
        /// Where in the graph.
        path: String,
        /// What the operator says.
        cause: OpError,
    },
}

/// Weights that no file holds as they are: tables, and converted vectors, by name.
pub type Derived = BTreeMap<String, Tensor>;

/// A model's step graph and what belongs to it.
pub struct StepGraph {
    /// The graph; its outputs are the logits of the rows that are asked for whole, the candidates of all rows, and the
    /// caches.
    pub graph: Graph,
    /// Weights that the file does not hold.
    pub derived: Derived,
    /// The graph's symbols: tokens in the step, rows that are asked for, and those of them that come whole.
    pub symbols: Vec<Symbol>,
}

/// What every step is given.
#[derive(Clone, Copy)]
pub struct Inputs {
    /// Token ids, i32[n].
    pub tokens: NodeId,
    /// Position of each token in its sequence, i32[n].
    pub positions: NodeId,
    /// The sequence slot of each token, i32[n].
    pub slots: NodeId,
    /// The pages of each slot, i32[slots, pages].
    pub pages: NodeId,
    /// Behind which tokens something is asked for, i32[m].
    pub rows: NodeId,
    /// Which of these rows' logits come whole, i32[w].
    pub whole: NodeId,
}

/// A step graph in the making.
pub struct Build<'a> {
    checkpoint: &'a Checkpoint,
    options: &'a Options,
    formats: Formats<'a>,
    graph: Graph,
    inputs: Inputs,
    kept: Vec<NodeId>,
    weights: BTreeMap<String, NodeId>,
    derived: Derived,
    /// `blk.3.` inside layer 3.
    scope: String,
}

impl<'a> Build<'a> {
    pub(super) fn new(checkpoint: &'a Checkpoint, options: &'a Options) -> Result<Build<'a>, BuildError> {
        let mut graph = Graph::new("step");
        let [n, m, w] = ["n", "m", "w"].map(Dim::symbol);
        let pages = options.context.div_ceil(options.page);
        let mut input = |name: &str, shape: Vec<Dim>| {
            let ty = TensorType::new(DType::I32, shape);
            let op = Input { name: name.to_owned(), ty, state: false, part: None };
            graph.add(op, &[]).map_err(|cause| BuildError::Op { path: name.to_owned(), cause })
        };
        let inputs = Inputs {
            tokens: input("tokens", vec![n.clone()])?,
            positions: input("positions", vec![n.clone()])?,
            slots: input("slots", vec![n])?,
            pages: input("pages", vec![i64::from(options.replica_batch()).into(), i64::from(pages).into()])?,
            rows: input("rows", vec![m])?,
            whole: input("whole", vec![w])?,
        };
        let (kept, weights, derived) = (vec![], BTreeMap::new(), Derived::new());
        let (formats, scope) = (Formats::of(&options.hints), String::new());
        Ok(Build { checkpoint, options, formats, graph, inputs, kept, weights, derived, scope })
    }

    /// Of a config that can have fewer layers than the checkpoint, where hints need not find theirs.
    pub(super) fn finish(mut self, answers: [NodeId; 2], config: &Config) -> Result<StepGraph, BuildError> {
        let is_matrix =
            |name: &str, n: NodeId| self.graph[n].ty.rank() > 1 && !self.derived.contains_key(name);
        let weights: Vec<(&str, bool)> =
            self.weights.iter().map(|(name, n)| (name.as_str(), is_matrix(name, *n))).collect();
        if config.layers == self.config().layers {
            self.formats.check(&weights, config.tied_embeddings)?;
        }
        self.graph.outputs = [&answers, &self.kept[..]].concat();
        self.graph.number_as_reference();
        let batch = i64::from(self.options.replica_batch());
        let symbol = |name: &str, max: u32| Symbol {
            name: name.into(),
            max: batch.max(i64::from(max)),
            decode: batch,
        };
        let rows = self.options.rows;
        let symbols = vec![symbol("n", self.options.chunk), symbol("m", rows), symbol("w", rows)];
        Ok(StepGraph { graph: self.graph, derived: self.derived, symbols })
    }

    /// The model's config.
    pub fn config(&self) -> &'a Config {
        &self.checkpoint.config
    }

    /// What the step is given.
    pub fn inputs(&self) -> Inputs {
        self.inputs
    }

    /// Tokens that one sequence can hold.
    pub fn context(&self) -> u64 {
        self.options.context.into()
    }

    /// Names and paths are those of a layer from here on.
    pub fn enter_layer(&mut self, layer: u64) {
        self.scope = format!("blk.{layer}.");
    }

    /// Names and paths are the model's own again.
    pub fn leave_layers(&mut self) {
        self.scope.clear();
    }

    /// Adds a node under the layer's path.
    pub fn op(&mut self, leaf: &str, op: impl Into<Op>, inputs: &[NodeId]) -> Result<NodeId, BuildError> {
        let path = format!("{}{leaf}", self.scope);
        match self.graph.add(op, inputs) {
            Ok(id) => {
                self.graph.set_path(id, &path);
                Ok(id)
            }
            Err(cause) => Err(BuildError::Op { path, cause }),
        }
    }

    /// The sum of two values.
    pub fn add(&mut self, leaf: &str, a: NodeId, b: NodeId) -> Result<NodeId, BuildError> {
        self.op(leaf, Add {}, &[a, b])
    }

    /// `x` times the transpose of the layer's weight `leaf`, which is [outputs, inputs].
    pub fn linear(&mut self, leaf: &str, x: NodeId, outputs: u64, inputs: u64) -> Result<NodeId, BuildError> {
        let weight = self.layer_weight(leaf, &[outputs, inputs])?;
        self.op(leaf, Linear {}, &[x, weight])
    }

    /// The layer's weight `leaf`.
    pub fn layer_weight(&mut self, leaf: &str, shape: &[u64]) -> Result<NodeId, BuildError> {
        self.weight(&format!("{}{leaf}.weight", self.scope), shape)
    }

    /// `x`: f32[n, heads * width] as f32[n, heads, width].
    pub fn heads(&mut self, leaf: &str, x: NodeId, heads: u64, width: u64) -> Result<NodeId, BuildError> {
        let shape = vec![Dim::symbol("n"), (heads as i64).into(), (width as i64).into()];
        self.op(leaf, Reshape { shape }, &[x])
    }

    /// A weight of the checkpoint, by its whole name, in the dtype that the file has, or that a person wants.
    pub fn weight(&mut self, name: &str, shape: &[u64]) -> Result<NodeId, BuildError> {
        if let Some(&id) = self.weights.get(name) {
            return Ok(id);
        }
        let dtype = self.formats.dtype(name, self.checkpoint.weight(name, shape)?, shape)?;
        self.weight_node(name, TensorType::known(dtype, &shape.iter().map(|&d| d as i64).collect::<Vec<_>>()))
    }

    /// A vector of the layer, as f32 whatever the file has.
    pub fn vector(&mut self, leaf: &str, width: u64) -> Result<NodeId, BuildError> {
        self.f32_vector(leaf, width, 0.0)
    }

    /// The weight of a norm of the layer, as f32, with the offset that the file leaves out.
    pub fn norm_weight(&mut self, leaf: &str, width: u64) -> Result<NodeId, BuildError> {
        self.f32_vector(&format!("{leaf}.weight"), width, self.config().norm_weight_offset)
    }

    fn f32_vector(&mut self, leaf: &str, width: u64, offset: f32) -> Result<NodeId, BuildError> {
        let name = format!("{}{leaf}", self.scope);
        let dtype = self.checkpoint.weight(&name, &[width])?;
        if dtype == DType::F32 && offset == 0.0 || !self.checkpoint.has_weights() {
            return self.weight(&name, &[width]);
        }
        let stored = self.checkpoint.host_tensor(&name)?;
        let values: Vec<f32> = stored.to_f32().into_iter().map(|v| v + offset).collect();
        self.derived(&name, || Tensor::f32(&[width], &values))
    }

    /// A weight that `make` computes, once for its name.
    pub fn derived(&mut self, name: &str, make: impl FnOnce() -> Tensor) -> Result<NodeId, BuildError> {
        if let Some(&id) = self.weights.get(name) {
            return Ok(id);
        }
        let tensor = make();
        let ty = tensor.ty();
        self.derived.insert(name.to_owned(), tensor);
        self.weight_node(name, ty)
    }

    fn weight_node(&mut self, name: &str, ty: TensorType) -> Result<NodeId, BuildError> {
        let op = Weight { name: name.to_owned(), ty, part: None, layout: None };
        let id = self.graph.add(op, &[]).map_err(|cause| BuildError::Op { path: name.to_owned(), cause })?;
        self.weights.insert(name.to_owned(), id);
        Ok(id)
    }

    /// The layer's cache of values, [pages, kv_heads, page, width], or of keys, transposed.
    pub fn cache(
        &mut self,
        layer: u64,
        which: &str,
        kv_heads: u64,
        width: u64,
        transposed: bool,
    ) -> Result<NodeId, BuildError> {
        let o = self.options;
        let pages = i64::from(o.context.div_ceil(o.page)) * i64::from(o.replica_batch());
        let (heads, page, width) = (kv_heads as i64, i64::from(o.page), width as i64);
        let shape = if transposed { [pages, heads, width, page] } else { [pages, heads, page, width] };
        let name = format!("kv.{layer}.{which}");
        let op = Input { name: name.clone(), ty: TensorType::known(o.kv, &shape), state: true, part: None };
        self.graph.add(op, &[]).map_err(|cause| BuildError::Op { path: name, cause })
    }

    /// Returns a value from the step beside its answers: a cache as the step leaves it.
    pub fn keep(&mut self, cache: NodeId) {
        self.kept.push(cache);
    }
}
