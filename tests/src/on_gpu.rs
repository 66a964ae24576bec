//! Single kernels on a GPU: a plan of many steps that know nothing of one another, run once.
use crate::compare::{difference, tolerance};
use crate::draw;
use crate::running::exact;
use gpu::vulkan;
use ir::plan::{
    Arg, Buffer, BufferId, Device, DeviceId, Kernel, KernelId, Model, OpText, Plan, Step, Symbol, Thread,
    aligned,
};
use ir::{DType, Op, Symbols, Tensor, TensorType};
use kernels::layout::Layout;
use kernels::pack::pack_tile;

/// A kernel with its inputs, and what it should make of them.
pub struct Case {
    kernel: Kernel,
    inputs: Vec<Tensor>,
    expected: Tensor,
    symbols: Vec<String>,
    tolerance: f32,
}

/// Values of a symbol are told in the step: the greatest of those that are drawn.
const SYMBOL_MAX: i64 = 8;

impl Case {
    /// Of an operator on drawn inputs, if GPUs have a kernel of it and it takes them.
    pub fn new(op: Op, types: Vec<TensorType>) -> Option<Case> {
        Case::packed(op, types, &[])
    }

    /// The same, with those inputs packed as products read them.
    pub fn packed(op: Op, types: Vec<TensorType>, packed: &[usize]) -> Option<Case> {
        let output = op.infer(&types).ok()?;
        let layout = |at: usize| match packed.contains(&at) {
            true => Layout::of(types[at].dtype).map_or("plain", Layout::name),
            false => "plain",
        };
        let kernel = Kernel {
            id: KernelId(0),
            name: op.name().to_owned(),
            op: OpText(op.name().to_owned(), op.attributes()),
            layouts: (0..types.len()).map(|at| layout(at).to_owned()).collect(),
            inputs: types,
            output,
            scratch: 0,
            shared: 0,
        };
        let all = || kernel.inputs.iter().chain([&kernel.output]);
        let values = draw::symbols(all());
        let mut symbols: Vec<String> =
            all().flat_map(|ty| &ty.shape).flat_map(|d| d.terms().map(|(name, _)| name.to_owned())).collect();
        symbols.sort_unstable();
        symbols.dedup();
        let mut inputs = draw::inputs(&kernel.inputs, &values, 5);
        if let Op::KvAppend(_) = op {
            to_places_of_their_own(&mut inputs);
        }
        let expected = op.eval(&inputs.iter().collect::<Vec<_>>(), &values).ok()?;
        gpu::check(&kernel, &symbols).ok()?;
        // Sums go another way, and functions of reals are not the same to the last bit.
        let tolerance = 10.0 * tolerance(kernel.output.dtype);
        Some(Case { kernel, inputs, expected, symbols, tolerance })
    }

    /// The same on these inputs, in the order of the operator's.
    pub fn given(op: Op, inputs: Vec<Tensor>) -> Option<Case> {
        let mut case = Case::new(op.clone(), inputs.iter().map(Tensor::ty).collect())?;
        case.expected = op.eval(&inputs.iter().collect::<Vec<_>>(), &Symbols::new()).ok()?;
        case.inputs = inputs;
        Some(case)
    }

    /// With another bound on what may differ.
    pub fn within(self, tolerance: f32) -> Case {
        Case { tolerance, ..self }
    }

    fn name(&self) -> String {
        let OpText(name, attributes) = &self.kernel.op;
        let types: Vec<String> = self.kernel.inputs.iter().map(TensorType::to_string).collect();
        format!("{name} {{{attributes}}} ({}) [{}]", types.join(", "), self.kernel.layouts.join(", "))
    }

    /// An input's bytes, as the kernel reads them.
    fn bytes(&self, at: usize) -> Vec<u8> {
        let (tensor, ty) = (&self.inputs[at], &self.kernel.inputs[at]);
        let Some(layout) = Layout::parse(&self.kernel.layouts[at]) else { return tensor.bytes().to_vec() };
        let [experts @ .., rows, cols] = tensor.shape() else { panic!("{ty} is packed, and no matrix") };
        let (rows, cols) = (*rows as usize, *cols as usize);
        let one = tensor.bytes().len() / experts.iter().product::<u64>().max(1) as usize;
        let pack = |source: &[u8]| -> Vec<u8> {
            let mut packed = vec![0; layout.packed_bytes(rows, cols)];
            for (tile, out) in packed.chunks_exact_mut(layout.tile_bytes(cols)).enumerate() {
                pack_tile(ty.dtype, source, rows, cols, tile, out);
            }
            packed
        };
        tensor.bytes().chunks_exact(one).flat_map(pack).collect()
    }
}

/// Has the tokens of one sequence follow one another, on pages that differ: of two that write to one place a device may
/// take either to be the last, which no session asks of it.
fn to_places_of_their_own(inputs: &mut [Tensor]) {
    for (input, counts) in [(2, true), (3, false), (4, true)] {
        let shape = inputs[input].shape().to_vec();
        let numbers = 0..shape.iter().product::<u64>() as i64;
        // The table is of three sequences, of which the first is written.
        let numbers = numbers.map(|number| if counts { number % 4 } else { 0 });
        inputs[input] = Tensor::from_ints(DType::I32, &shape, numbers);
    }
}

/// Runs all on the first device that Vulkan finds, and says what each does wrong.
pub fn all(mut cases: Vec<Case>) -> Vec<String> {
    let mut plan = plan();
    let mut writes = vec![];
    let mut at = 0;
    let mut buffer = |plan: &mut Plan, ty: &TensorType, bytes: usize| {
        let (id, bytes) = (BufferId(plan.buffers.len() as u32), aligned(bytes as u64));
        plan.buffers.push(Buffer { id, device: DeviceId(0), ty: ty.clone(), slot: None, offset: at, bytes });
        at += bytes;
        id
    };
    let mut names: Vec<String> = cases.iter().flat_map(|case| case.symbols.clone()).collect();
    names.sort_unstable();
    names.dedup();
    let values = names.iter().fold(Symbols::new(), |all, name| {
        let own = [TensorType::new(DType::F32, [ir::Dim::symbol(name)])];
        all.with(name, draw::symbols(&own).get(name).unwrap_or(1))
    });
    plan.symbols =
        names.iter().map(|name| Symbol { name: name.clone(), max: SYMBOL_MAX, decode: 1 }).collect();
    let mut results = vec![];
    for (index, case) in cases.iter_mut().enumerate() {
        case.kernel.id = KernelId(index as u32);
        let mut args = vec![];
        for input in 0..case.inputs.len() {
            let bytes = case.bytes(input);
            let id = buffer(&mut plan, &case.kernel.inputs[input], bytes.len());
            args.push(Arg::B(id));
            writes.push((id, bytes));
        }
        // A cache is written where it lies.
        let result = match (&args[..], case.kernel.op.0.as_str()) {
            ([Arg::B(cache), ..], "kv_append") => *cache,
            _ => {
                let id = buffer(&mut plan, &case.kernel.output, case.expected.bytes().len());
                writes.push((id, vec![0xa5; case.expected.bytes().len()]));
                id
            }
        };
        results.push(result);
        args.push(Arg::B(result));
        plan.kernels.push(case.kernel.clone());
        plan.threads[0].steps.push(Step::Run { kernel: case.kernel.id, args, node: String::new() });
    }
    plan.threads[0].arena_bytes = at;
    let fail = |e: runtime::DeviceError| -> ! { panic!("{e}") };
    let mut device = vulkan::open(0).unwrap_or_else(|e| fail(e));
    device.load(&plan, &plan.threads[0], &[]).unwrap_or_else(|e| fail(e));
    for (id, bytes) in writes {
        device.write(id, &bytes).unwrap_or_else(|e| fail(e));
    }
    let syms: Vec<i64> = names.iter().map(|name| values.get(name).unwrap_or(1)).collect();
    device.run(0..plan.threads[0].steps.len(), &syms).unwrap_or_else(|e| fail(e));
    let mut faults = vec![];
    for (case, result) in cases.iter().zip(results) {
        let mut found = vec![0; case.expected.bytes().len()];
        device.read(Arg::B(result), &mut found).unwrap_or_else(|e| fail(e));
        let found = Tensor::from_bytes(case.expected.dtype(), case.expected.shape(), found);
        let found = found.expect("as many bytes as the type says");
        // Drivers take it that logarithms and roots are of what has one: NaN that comes of them can be anything.
        let found = where_defined(found, &case.expected);
        faults.extend(
            difference(&found, &case.expected, case.tolerance)
                .map(|fault| format!("{}: {fault}", case.name())),
        );
    }
    faults
}

/// `found`, with NaN where that is expected.
fn where_defined(found: Tensor, expected: &Tensor) -> Tensor {
    if !expected.dtype().is_real() || matches!(expected.dtype(), DType::Quant(_)) {
        return found;
    }
    let pairs = found.to_f32().into_iter().zip(expected.to_f32());
    let values: Vec<f32> =
        pairs.map(|(found, expected)| if expected.is_nan() { expected } else { found }).collect();
    Tensor::from_f32(expected.dtype(), expected.shape(), &values)
}

fn plan() -> Plan {
    let device = Device { name: "vulkan:0".into(), kind: ir::topology::Kind::Gpu, ..Device::cpu(0, 1) };
    Plan {
        version: ir::plan::VERSION,
        model: Model {
            name: String::new(),
            architecture: String::new(),
            file: String::new(),
            sha256: String::new(),
            packed_bytes: 0,
        },
        options: exact(64),
        symbols: vec![],
        devices: vec![device],
        memory: vec![],
        edges: vec![],
        weights: vec![],
        states: vec![],
        buffers: vec![],
        kernels: vec![],
        threads: vec![Thread {
            device: DeviceId(0),
            arena_bytes: 0,
            state_bytes: 0,
            scratch_bytes: 0,
            shared_bytes: 0,
            steps: vec![],
        }],
        why: vec![],
    }
}
