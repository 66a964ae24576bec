//! Chooses code for a plan's kernels: a kernel written by hand where one fits, else the operator's body, compiled.
use super::body::{compile_body, compile_epilogue, extent};
use super::{jit::Jit, rope, weights};
use crate::error::LowerError;
use ir::ops::{self, Fused};
use ir::plan::Kernel;
use ir::quant::Format;
use ir::{DType, Dim, Op, TensorType};
use kernels::Epilogue;
use kernels::attention::PagedAttention;
use kernels::embed_rows::EmbedRows;
use kernels::experts::{self, Experts, Kind};
use kernels::kv_append::KvAppend;
use kernels::layout::Layout;
use kernels::linear::{self, Linear};
use kernels::paged::{Cache, Element};
use kernels::rope::Rope;
use kernels::route::Route;
use kernels::simd::Isa;
use kernels::top_k::{Peaks, TopK};
use loops::{BodyError, BodyKernel};
use runtime::device::{Executable, Extent};
use std::sync::Arc;

/// A kernel of a plan, and what there is to make its code with.
struct Cx<'a> {
    kernel: &'a Kernel,
    symbols: &'a [String],
    isa: Isa,
    jit: &'a mut Jit,
}

/// The code of every kernel, in order.
pub fn lower<'a>(
    kernels: impl IntoIterator<Item = &'a Kernel>,
    symbols: &[String],
) -> Result<Vec<Arc<dyn Executable>>, LowerError> {
    let mut jit = Jit::new().map_err(|e| LowerError::Cranelift(e.to_string()))?;
    let isa = Isa::detect();
    let mut code = vec![];
    for kernel in kernels {
        let refuse = |reason: String| LowerError::Kernel { id: kernel.id, name: kernel.name.clone(), reason };
        let op = Op::parse(&kernel.op.0, &kernel.op.1).map_err(refuse)?;
        code.push(Cx { kernel, symbols, isa, jit: &mut jit }.lower(&op).map_err(refuse)?);
    }
    Ok(code)
}

impl Cx<'_> {
    fn lower(&mut self, op: &Op) -> Result<Arc<dyn Executable>, String> {
        if let Some(found) = rope::find(op, self.kernel) {
            return self.rope(found);
        }
        match op {
            Op::Linear(_) => self.linear(self.kernel.inputs.len(), None),
            Op::Fused(fused) => match &fused.anchor {
                Some(anchor) if matches!(anchor.op, Op::Linear(_)) => self.linear(anchor.inputs, Some(fused)),
                Some(anchor) => Err(format!("no kernel of {} takes an epilogue", anchor.op.name())),
                None => self.body(op),
            },
            Op::Gather(ops::Gather { first }) => match self.layout(0) {
                Some(layout) => self.embed_rows(layout, first.unwrap_or(0)),
                None => self.body(op),
            },
            Op::KvAppend(ops::KvAppend { transposed }) => {
                let ([cache, x, _, _, pages], transposed) = (self.inputs()?, *transposed);
                let (n, pages_per_slot) = (self.extent(&x.shape[0])?, self.extent(&pages.shape[1])?);
                let cache = self.cache(cache, transposed)?;
                Ok(Arc::new(KvAppend { isa: self.isa, n, cache, transposed, pages_per_slot }))
            }
            Op::PagedAttention(op) => self.paged_attention(op),
            Op::Route(op) if self.kernel.output.rank() == 2 => self.route(op),
            Op::Peaks(ops::Peaks { stretch }) if self.kernel.output.rank() == 2 => {
                let (n, width, stretch) = self.rows_by(*stretch)?;
                Ok(Arc::new(Peaks { n, width, stretch }))
            }
            Op::TopK(ops::TopK { k, stretch }) => {
                let (n, width, stretch) = self.rows_by(*stretch)?;
                Ok(Arc::new(TopK { n, width, stretch, k: *k as usize }))
            }
            Op::ExpertLinear(ops::ExpertLinear { first, k }) => self.experts(Kind::Linear, *first, *k),
            Op::ExpertCombine(ops::ExpertCombine { first }) => {
                let room = known(&self.inputs::<3>()?[0].shape[1])?;
                self.experts(Kind::Combine, *first, room as u64)
            }
            _ => self.body(op),
        }
    }

    fn inputs<const N: usize>(&self) -> Result<&[TensorType; N], String> {
        self.kernel.inputs.as_slice().try_into().map_err(|_| format!("takes {N} inputs"))
    }

    fn embed_rows(&self, layout: Layout, first: u32) -> Result<Arc<dyn Executable>, String> {
        let [table, ids] = self.inputs()?;
        let (rows, width) = matrix(table)?;
        let n = self.extent(&ids.shape[0])?;
        let first = i32::try_from(first).map_err(|_| format!("a table from row {first}"))?;
        Ok(Arc::new(EmbedRows { n, layout, first, rows: known(rows)?, width: known(width)? }))
    }

    fn rope(&self, found: rope::Found) -> Result<Arc<dyn Executable>, String> {
        let Kernel { inputs, output, .. } = self.kernel;
        let rope::Found { pairing, args, row, offset } = found;
        Ok(Arc::new(Rope {
            isa: self.isa,
            n: self.extent(&output.shape[0])?,
            heads: known(&output.shape[1])?,
            width: known(&output.shape[2])?,
            pairing,
            positions: known(&inputs[args[1]].shape[0])?,
            row: row as usize,
            offset: offset as usize,
            args,
        }))
    }

    fn paged_attention(&self, op: &ops::PagedAttention) -> Result<Arc<dyn Executable>, String> {
        let [q, _, values, _, _, pages] = self.inputs()?;
        let (heads, cache) = (known(&q.shape[1])?, self.cache(values, false)?);
        let even = (heads / cache.heads.max(1), 0);
        Ok(Arc::new(PagedAttention {
            isa: self.isa,
            n: self.extent(&q.shape[0])?,
            heads,
            shared: op.shared.map_or(even, |shared| (shared.by as usize, shared.skip as usize)),
            cache,
            pages_per_slot: self.extent(&pages.shape[1])?,
            scale: op.scale,
            window: op.window.map(|w| w as usize),
            softcap: op.softcap,
        }))
    }

    /// What a cache's type says: [pages, kv heads, tokens in a page, width of a head], the last two exchanged where
    /// it is transposed.
    fn cache(&self, ty: &TensorType, transposed: bool) -> Result<Cache, String> {
        match &ty.shape[..] {
            [_, heads, a, b] => {
                let (page, width) = if transposed { (b, a) } else { (a, b) };
                let element = match ty.dtype {
                    DType::F16 => Element::F16,
                    DType::F32 => Element::F32,
                    other => return Err(format!("a cache is of f16 or f32, got {other}")),
                };
                Ok(Cache { element, heads: known(heads)?, page: known(page)?, width: known(width)? })
            }
            _ => Err(format!("{ty} is no cache")),
        }
    }

    /// A product of the first `own` inputs, with what is fused behind it.
    fn linear(&mut self, own: usize, fused: Option<&Fused>) -> Result<Arc<dyn Executable>, String> {
        let epilogue = fused.map(|f| self.epilogue(f)).transpose()?;
        Ok(Arc::new(Linear { epilogue, ..self.product(1..own)? }))
    }

    fn route(&self, op: &ops::Route) -> Result<Arc<dyn Executable>, String> {
        let (n, experts) = matrix(&self.kernel.output)?;
        let (n, experts) = (self.extent(n)?, known(experts)?);
        let k = usize::try_from(op.k).unwrap_or(usize::MAX).min(experts);
        Ok(Arc::new(Route { n, experts, k, normalise: op.normalise }))
    }

    /// How many rows the first input has, and how wide they and their stretches are.
    fn rows_by(&self, stretch: u64) -> Result<(Extent, usize, usize), String> {
        let (n, width) = matrix(&self.kernel.inputs[0])?;
        let (n, width) = (self.extent(n)?, known(width)?);
        Ok((n, width, usize::try_from(stretch).unwrap_or(usize::MAX).clamp(1, width.max(1))))
    }

    /// Products of the experts whose weights are at hand, for tokens that choose `room` each.
    fn experts(&self, kind: Kind, first: u64, room: u64) -> Result<Arc<dyn Executable>, String> {
        let inputs = &self.kernel.inputs;
        let product = self.product(2..inputs.len())?;
        let (found, most) = (product.weights.len(), experts::WEIGHTS_MAX);
        if found > most {
            return Err(format!("takes {found} weights, at most {most} have a kernel"));
        }
        let (all, held) = (known(&inputs[1].shape[1])?, known(&inputs[2].shape[0])?);
        let held = first as usize..first as usize + held;
        Ok(Arc::new(Experts::new(product, all, held, room as usize, kind)))
    }

    /// Rows of the first input times the inputs `weights`, or those of one expert where each holds several.
    fn product(&self, weights: std::ops::Range<usize>) -> Result<Linear, String> {
        let inputs = &self.kernel.inputs;
        let (n, k) = inputs[0].shape.first().zip(inputs[0].shape.last()).ok_or("x has no rows")?;
        let (n, k) = (self.extent(n)?, known(k)?);
        let activations = match inputs[0].dtype {
            DType::F32 => linear::Activations::F32,
            DType::Quant(Format::Q8A) => linear::Activations::Int8,
            other => return Err(format!("products take f32 or q8_a, got {other}")),
        };
        let weight = |at: usize| {
            let layout = self.layout(at).ok_or_else(|| format!("input {at} is not packed"))?;
            if activations == linear::Activations::Int8 && !layout.is_coded() {
                return Err(format!("q8_a times {}, which holds no codes", layout.name()));
            }
            match &inputs[at].shape[..] {
                [.., rows, _] => Ok(linear::Weight::new(layout, known(rows)?)),
                _ => Err(format!("{} is no matrix", inputs[at])),
            }
        };
        let weights = weights.map(weight).collect::<Result<Vec<_>, String>>()?;
        if weights.is_empty() {
            return Err("has no weights".into());
        }
        Ok(Linear { isa: self.isa, activations, n, k, weights, epilogue: None })
    }

    fn epilogue(&mut self, fused: &Fused) -> Result<Box<dyn Epilogue>, String> {
        if let Some(at) =
            (0..self.kernel.inputs.len()).find(|&at| self.layout(at).is_some() && fused.body.loads(at))
        {
            return Err(format!("input {at} is packed, which bodies do not read"));
        }
        let kernel = self.body_kernel(fused.body.clone());
        Ok(Box::new(compile_epilogue(&kernel, self.jit).map_err(|e: BodyError| e.to_string())?))
    }

    fn body(&mut self, op: &Op) -> Result<Arc<dyn Executable>, String> {
        let body = op.body(&self.kernel.inputs).ok_or_else(|| format!("no kernel serves {}", op.name()))?;
        if let Some(at) = (0..self.kernel.inputs.len()).find(|&at| self.layout(at).is_some()) {
            return Err(format!("input {at} is packed, which bodies do not read"));
        }
        Ok(Arc::new(compile_body(&self.body_kernel(body), self.jit).map_err(|e| e.to_string())?))
    }

    fn body_kernel(&self, body: ir::expr::Body) -> BodyKernel {
        let Kernel { inputs, output, .. } = self.kernel;
        BodyKernel { inputs: inputs.clone(), output: output.clone(), body, symbols: self.symbols.to_vec() }
    }

    fn layout(&self, input: usize) -> Option<Layout> {
        self.kernel.layouts.get(input).and_then(|name| Layout::parse(name))
    }

    fn extent(&self, dim: &Dim) -> Result<Extent, String> {
        extent(dim, self.symbols).map_err(|e| e.to_string())
    }
}

fn matrix(ty: &TensorType) -> Result<(&Dim, &Dim), String> {
    match &ty.shape[..] {
        [rows, cols] => Ok((rows, cols)),
        _ => Err(format!("{ty} is no matrix")),
    }
}

fn known(dim: &Dim) -> Result<usize, String> {
    dim.known().and_then(|v| usize::try_from(v).ok()).ok_or_else(|| format!("{dim} is not a known size"))
}

/// What the passes may know of this backend; what memory kernels need, [`crate::codegen::target`] says.
pub(crate) fn target() -> passes::Target {
    passes::Target { layout: weights::layout, packed_bytes: weights::packed_bytes, ..Default::default() }
}
