//! Measures the kernels that take most of a step's time, by how many rows they work on.
use super::best::Tries;
use super::measure::ASK_AHEAD_BYTES;
use anyhow::Context;
use compiler::codegen::cpu;
use indicatif::ProgressBar;
use ir::plan::{Kernel, KernelId, OpText};
use ir::topology::{Rate, RateAt};
use ir::work::StepSize;
use ir::{DType, Dim, Op, Symbols, TensorType, ops};
use kernels::attention::PagedAttention;
use kernels::calibrate::Memory;
use kernels::kv_append::KvAppend;
use kernels::layout::Layout;
use kernels::linear::{Activations, Linear, Weight};
use kernels::paged::{Cache, Element};
use kernels::simd::Isa;
use runtime::device::{Executable, Extent};
use runtime::{Arena, Team};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// A team, and what its kernels read.
pub(super) struct Bench<'a> {
    pub(super) team: &'a mut Team,
    pub(super) isa: Isa,
    /// What is read from far is read from the first [`FAR_BYTES`] of it.
    pub(super) memory: &'a Memory,
    /// What starting an empty kernel takes.
    pub(super) launch_ns: f64,
    /// Goes on by one with each kernel, of [`how_many`] all together.
    pub(super) bar: &'a ProgressBar,
}

/// How many kernels are measured for each team, however often.
pub(super) fn how_many() -> u64 {
    PASSES as u64 * each_pass()
}

fn each_pass() -> u64 {
    let products: usize = Layout::ALL.iter().map(|layout| if layout.is_coded() { 2 } else { 1 }).sum();
    // Attention and what writes its two caches, of two kinds of elements; bodies.
    (products + 2 * (WIDTHS.len() + 2) + 1) as u64
}

/// What is too much for the caches of a core.
const FAR_BYTES: usize = 64 << 20;
/// How often everything is measured, and after how long there are no more passes: on a busy machine each takes long.
const PASSES: usize = 5;
const PATIENCE: Duration = Duration::from_secs(10);
/// How many times as much is read from far as from near, so that beginning and ending matter as little as in plans.
const FAR: usize = 4;
/// What part of what is near is read from far too, to see what beginning takes.
const PART: usize = 8;
/// Length of a row.
const K: usize = 1024;
/// Outputs for each thread: weights of any layout stay in its second cache.
const OUTPUTS: usize = 256;
/// Rows of products: those for which kernels do something else than for one more or less.
const ROWS: [u32; 12] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 48, 96, 256];
/// The same for exact activations, which are there for comparing.
const ROWS_EXACT: [u32; 3] = [1, 16, 96];
/// Rows of attention: of one sequence.
const ROWS_ATTENTION: [u32; 5] = [1, 4, 16, 64, 256];
/// Of all heads of keys together, and of one: what is read in one stretch depends on it.
const WIDTH: usize = 256;
const WIDTHS: [usize; 2] = [64, 256];
/// Positions that a token sees behind a short context: all the time goes into beginning and ending.
const SEEN_LITTLE: usize = 16;
/// Rows of everything else.
const ROWS_BODIES: [u32; 4] = [1, 8, 64, 256];
/// Positions in a page of a cache, as in plans.
const PAGE: usize = 32;
/// From so many rows on computing takes so long that where weights come from no longer matters.
const NEAR_ROWS: u32 = 24;

impl Bench<'_> {
    /// What kernels reach: the middle of several passes over all of them, for what disturbs a machine lasts longer
    /// than measuring one.
    pub(super) fn rates(&mut self) -> anyhow::Result<Vec<Rate>> {
        let begin = Instant::now();
        let mut passes = vec![self.pass()?];
        while passes.len() < PASSES && begin.elapsed() < PATIENCE {
            passes.push(self.pass()?);
        }
        self.bar.inc((PASSES - passes.len()) as u64 * each_pass());
        let middle = |mut all: Vec<u64>| {
            all.sort_unstable();
            all[all.len() / 2]
        };
        let mut rates = passes[0].clone();
        for (index, rate) in rates.iter_mut().enumerate() {
            let all =
                |of: &dyn Fn(&Rate) -> u64| middle(passes.iter().map(|pass| of(&pass[index])).collect());
            for (row, at) in rate.at.iter_mut().enumerate() {
                at.operations_per_second = all(&|rate| rate.at[row].operations_per_second);
                at.exposed_percent = all(&|rate| rate.at[row].exposed_percent);
            }
            rate.start_ns = all(&|rate| rate.start_ns);
            rate.queries_per_second = all(&|rate| rate.queries_per_second);
        }
        Ok(rates)
    }

    fn pass(&mut self) -> anyhow::Result<Vec<Rate>> {
        let bar = self.bar;
        let mut rates = vec![];
        let mut push = |rate| {
            bar.inc(1);
            rates.push(rate);
        };
        for &layout in Layout::ALL {
            if layout.is_coded() {
                push(self.product(layout, Activations::Int8, &ROWS)?);
                push(self.product(layout, Activations::F32, &ROWS_EXACT)?);
            } else {
                push(self.product(layout, Activations::F32, &ROWS)?);
            }
        }
        for element in [Element::F16, Element::F32] {
            for width in WIDTHS {
                push(self.attention(element, width)?);
            }
            for transposed in [true, false] {
                push(self.appending(element, transposed)?);
            }
        }
        push(self.bodies()?);
        Ok(rates)
    }

    fn product(&mut self, layout: Layout, activations: Activations, rows: &[u32]) -> anyhow::Result<Rate> {
        // Of very many threads not each has its own where memory is short.
        let most = self.memory.bytes() / layout.packed_bytes(16, K) * 16;
        let outputs = (OUTPUTS * self.team.threads()).min(most);
        let of = |outputs| Linear {
            isa: self.isa,
            activations,
            n: Extent { constant: 0, terms: vec![(1, 0)] },
            k: K,
            weights: vec![Weight::new(layout, outputs)],
            epilogue: None,
        };
        let [near, far, part] = [outputs, (outputs * FAR).min(most), (outputs / PART).max(16)].map(of);
        let [near_bytes, far_bytes, part_bytes] =
            [&near, &far, &part].map(|code| layout.packed_bytes(code.weights[0].rows, K));
        let most = rows.iter().max().map_or(0, |rows| *rows as usize);
        // Zeros, as the weights: no number takes longer than another.
        let y_bytes = most * far.weights[0].rows * 4;
        let (mut x, mut y) = (Arena::new(most * K * 4)?, Arena::new(y_bytes)?);
        x.prefault()?;
        y.prefault()?;
        let (x, y) = (x.at(0, most * K * 4)?, y.at(0, y_bytes)?);
        let args = |weights: Vec<*mut u8>| weights.into_iter().map(|weight| vec![x, weight, y]).collect();
        let at_hand: Vec<_> = args(self.far(near_bytes)?[..1].to_vec());
        let (whole, parts): (Vec<_>, Vec<_>) = (args(self.far(far_bytes)?), args(self.far(part_bytes)?));
        // What a part of the weights takes more than its part of the time goes into beginning.
        let (whole_ns, part_ns) = (self.time(&far, 1, &whole)?, self.time(&part, 1, &parts)?);
        let start_ns =
            part_ns - (whole_ns - part_ns) * part_bytes as f64 / (far_bytes - part_bytes).max(1) as f64;
        let start_ns = start_ns.max(0.0);
        // Near the time of what it is compared with, for what memory gives changes.
        let reading_ns = self.reading_ns(far_bytes)? + start_ns;
        let scale = far.weights[0].rows as f64 / outputs as f64;
        let mut at = vec![];
        for &rows in rows {
            let operations = 2 * u64::from(rows) * (outputs * K) as u64;
            let near_ns = self.time(&near, rows, &at_hand)?;
            let far_ns = if rows < NEAR_ROWS { Some(self.time(&far, rows, &whole)?) } else { None };
            at.push(rate_at(rows, operations, near_ns, far_ns.map(|ns| (ns - reading_ns) / scale)));
        }
        let start_ns = start_ns as u64;
        let x = if activations == Activations::Int8 { "q8_a" } else { "f32" };
        Ok(Rate { kernel: format!("{} {x}", layout.name()), at, start_ns, queries_per_second: 0 })
    }

    /// Nanoseconds that a run takes beside its launch, with one list of arguments after the other.
    fn time(&mut self, code: &dyn Executable, rows: u32, args: &[Vec<*mut u8>]) -> anyhow::Result<f64> {
        let syms = [i64::from(rows)];
        let each = code.scratch_bytes().next_multiple_of(64).max(64);
        let mut scratch = Arena::new(each * self.team.threads())?;
        scratch.prefault()?;
        let start = scratch.at(0, scratch.bytes())? as usize;
        let args: Vec<Vec<usize>> =
            args.iter().map(|args| args.iter().map(|p| *p as usize).collect()).collect();
        let mut turn = 0;
        let units = code.units(&syms);
        let ns = Tries::QUICK.middle_ns(&mut || {
            let args = &args[turn % args.len()];
            turn += 1;
            self.team.run(units, |units, worker| {
                let args: Vec<*mut u8> = args.iter().map(|p| *p as *mut u8).collect();
                // SAFETY: the arguments are as large as the kernel's types say for so many rows, only outputs are
                // written, and each worker has its scratch.
                unsafe { code.run(&args, &syms, units, (start + worker * each) as *mut u8) };
            })?;
            Ok(())
        })?;
        // A team does not start for a single unit.
        let launch_ns = if units < 2 { 0.0 } else { self.launch_ns };
        Ok((ns - launch_ns).max(ns / 10.0))
    }

    /// Where in memory things of so many bytes lie that are read in turn, so that none is near when its turn comes.
    fn far(&self, bytes: usize) -> anyhow::Result<Vec<*mut u8>> {
        let copies = (FAR_BYTES.min(self.memory.bytes()) / bytes.max(1)).max(1);
        let start = self.memory.start(bytes * copies).context("there is too little memory")?;
        Ok((0..copies).map(|copy| start.wrapping_add(copy * bytes)).collect())
    }

    /// Nanoseconds that a loop which only reads takes for so many bytes from far, in large pieces.
    fn reading_ns(&mut self, bytes: usize) -> anyhow::Result<f64> {
        let part = FAR_BYTES.min(self.memory.bytes()) / self.team.threads();
        let mut least_ns = f64::MAX;
        for ahead in ASK_AHEAD_BYTES {
            let ns = Tries::QUICK.middle_ns(&mut || {
                self.team.run(self.team.threads(), |units, _| {
                    for unit in units {
                        black_box(self.memory.read(self.isa, unit * part..(unit + 1) * part, ahead));
                    }
                })?;
                Ok(())
            })?;
            least_ns = least_ns.min(ns);
        }
        Ok(least_ns * bytes as f64 / (part * self.team.threads()).max(1) as f64)
    }

    /// Of one sequence's newest tokens, behind so many that caches of cores still hold what they see.
    fn attention(&mut self, element: Element, width: usize) -> anyhow::Result<Rate> {
        const SEEN: usize = 1024;
        let cache = Cache { element, heads: WIDTH / width, page: PAGE, width };
        let dtype = if element == Element::F16 { DType::F16 } else { DType::F32 };
        let heads = 4 * cache.heads;
        let pages = SEEN / PAGE;
        let code = PagedAttention {
            isa: self.isa,
            n: Extent { constant: 0, terms: vec![(1, 0)] },
            heads,
            shared: (4, 0),
            cache,
            pages_per_slot: Extent { constant: pages as i64, terms: vec![] },
            scale: 0.1,
            window: None,
            softcap: None,
        };
        let types = |[a, b]: [usize; 2]| {
            TensorType::known(dtype, &[pages as i64, cache.heads as i64, a as i64, b as i64])
        };
        let rows = |shape: &[usize]| {
            let shape = shape.iter().map(|extent| Dim::from(*extent as i64));
            TensorType::new(DType::F32, [Dim::symbol("n")].into_iter().chain(shape))
        };
        let ints = TensorType::new(DType::I32, [Dim::symbol("n")]);
        let (keys, values) = (types([cache.width, PAGE]), types([PAGE, cache.width]));
        let table = TensorType::known(DType::I32, &[1, pages as i64]);
        let inputs = [rows(&[heads, cache.width]), keys.clone(), values, ints.clone(), ints, table];
        let op = Op::from(ops::PagedAttention { scale: 0.1, window: None, softcap: None, shared: None });
        let bytes = 2 * keys.bytes(|_| None).context("a cache has a size")? as usize;

        let most = ROWS_ATTENTION[ROWS_ATTENTION.len() - 1] as usize;
        let mut queries = vec![0.5f32; most * heads * cache.width];
        let mut out = queries.clone();
        let mut positions = vec![0i32; most];
        let (mut slots, mut table) = (vec![0i32; most], (0..pages as i32).collect::<Vec<_>>());
        let mut shared = Arena::new(code.shared_bytes().max(64))?;
        shared.prefault()?;
        let shared = shared.at(0, shared.bytes())?;
        let rest: [*mut u8; 2] = [queries.as_mut_ptr().cast(), out.as_mut_ptr().cast()];
        let table: [*mut u8; 3] =
            [positions.as_mut_ptr().cast(), slots.as_mut_ptr().cast(), table.as_mut_ptr().cast()];
        let args = |keys: *mut u8| {
            let values = keys.wrapping_add(bytes / 2);
            vec![rest[0], keys, values, table[0], table[1], table[2], rest[1], shared]
        };
        let mut counted = |rows: u32, end: usize| -> anyhow::Result<u64> {
            let new = (end - rows as usize) as u64..end as u64;
            positions.iter_mut().zip(new.clone()).for_each(|(to, at)| *to = at as i32);
            let symbols = Symbols::new().with("n", rows.into());
            let size = StepSize { symbols, sequences: vec![new] };
            Ok(op.work(&inputs, &size).context("what attention does is known")?.operations.total())
        };
        let far: Vec<_> = self.far(bytes)?.into_iter().map(args).collect();
        let reading_ns = self.reading_ns(bytes)?;
        let mut at = vec![];
        for rows in ROWS_ATTENTION {
            let operations = counted(rows, SEEN)?;
            let near_ns = self.time(&code, rows, &far[..1])?;
            let far_ns = if rows < NEAR_ROWS { Some(self.time(&code, rows, &far)?) } else { None };
            at.push(rate_at(rows, operations, near_ns, far_ns.map(|ns| ns - reading_ns)));
        }
        let operations = counted(1, SEEN_LITTLE)?;
        let little_ns = self.time(&code, 1, &far[..1])?;
        let kernel = format!("paged_attention {dtype} of {width}");
        let rate = Rate { kernel, at, start_ns: 0, queries_per_second: 0 };
        let beside_ns = (little_ns - rate.computing_ns(1, operations).0).max(1.0);
        Ok(Rate { queries_per_second: (heads as f64 * 1e9 / beside_ns) as u64, ..rate })
    }

    /// Of few tokens each of a sequence of its own, as in a batch of answers; of many all of one, as in a prompt.
    fn appending(&mut self, element: Element, transposed: bool) -> anyhow::Result<Rate> {
        const SLOTS: usize = 8;
        const PAGES: usize = 8;
        let cache = Cache { element, heads: 4, page: PAGE, width: 64 };
        let (dtype, each) = match element {
            Element::F16 => (DType::F16, 2),
            Element::F32 => (DType::F32, 4),
        };
        let code = KvAppend {
            isa: self.isa,
            n: Extent { constant: 0, terms: vec![(1, 0)] },
            cache,
            transposed,
            pages_per_slot: Extent { constant: PAGES as i64, terms: vec![] },
        };
        let values = cache.heads * cache.width;
        // Zeros are written to zeros: who reads this memory finds what was there.
        let mut x = vec![0f32; PAGES * PAGE * values];
        let mut alone_table: Vec<i32> = (0..(SLOTS * PAGES) as i32).map(|at| at / PAGES as i32).collect();
        let mut table: Vec<i32> = (0..PAGES as i32).collect();
        // One position after the other in each place, so that no line is near.
        let places = self.far(PAGES * PAGE * values * each)?;
        let positions = if transposed { 1 } else { PAGE / 4 };
        let far: Vec<*mut u8> = (0..positions)
            .flat_map(|at| places.iter().map(move |to| to.wrapping_add(at * cache.width * each)))
            .collect();
        let mut at = vec![];
        for rows in ROWS_BODIES {
            let alone = rows as usize <= SLOTS;
            let own = |row: i32| if alone { (0, row) } else { (row, 0) };
            let (mut positions, mut slots): (Vec<i32>, Vec<i32>) = (0..rows as i32).map(own).unzip();
            let rest: [*mut u8; 4] = [
                x.as_mut_ptr().cast(),
                positions.as_mut_ptr().cast(),
                slots.as_mut_ptr().cast(),
                if alone { alone_table.as_mut_ptr() } else { table.as_mut_ptr() }.cast(),
            ];
            let far = if alone { &far } else { &places };
            let args: Vec<_> =
                far.iter().map(|to| vec![*to, rest[0], rest[1], rest[2], rest[3], *to]).collect();
            let ns = self.time(&code, rows, &args)?;
            let operations_per_second = (f64::from(rows) * values as f64 * 1e9 / ns) as u64;
            at.push(RateAt { rows, operations_per_second, exposed_percent: 0 });
        }
        let kernel = format!("kv_append {dtype}{}", if transposed { " transposed" } else { "" });
        Ok(Rate { kernel, at, start_ns: 0, queries_per_second: 0 })
    }

    /// A norm, a sum and quantising stand for all that is made from bodies.
    fn bodies(&mut self) -> anyhow::Result<Rate> {
        let x = TensorType::new(DType::F32, [Dim::symbol("n"), Dim::from(K as i64)]);
        let row = TensorType::known(DType::F32, &[K as i64]);
        let ops: [(Op, Vec<TensorType>); 3] = [
            (ops::RmsNorm { eps: 1e-5 }.into(), vec![x.clone(), row]),
            (ops::Add {}.into(), vec![x.clone(), x.clone()]),
            (ops::Quantise {}.into(), vec![x]),
        ];
        let kernel = |(op, inputs): &(Op, Vec<TensorType>)| -> anyhow::Result<Kernel> {
            Ok(Kernel {
                id: KernelId(0),
                name: op.name().into(),
                op: OpText(op.name().into(), op.attributes()),
                inputs: inputs.clone(),
                layouts: vec!["plain".into(); inputs.len()],
                output: op.infer(inputs)?,
                scratch: 0,
                shared: 0,
            })
        };
        let kernels = ops.iter().map(kernel).collect::<anyhow::Result<Vec<_>>>()?;
        let code = cpu::lower(&kernels, &["n".to_owned()])?;
        let most = ROWS_BODIES[ROWS_BODIES.len() - 1] as usize;
        let mut values = [0, 1, 2].map(|_| vec![0.5f32; most * K]);
        let [a, b, out] = values.each_mut().map(|values| values.as_mut_ptr().cast::<u8>());
        let mut at = vec![];
        for rows in ROWS_BODIES {
            let size = StepSize { symbols: Symbols::new().with("n", rows.into()), sequences: vec![] };
            let (mut operations, mut ns) = (0, 0.0);
            for ((op, inputs), code) in ops.iter().zip(&code) {
                operations += op.work(inputs, &size).context("what a body does is known")?.operations.f32;
                let mut args = vec![a, b, out];
                args.drain(inputs.len()..2);
                ns += self.time(&**code, rows, &[args])?;
            }
            let operations_per_second = (operations as f64 * 1e9 / ns) as u64;
            at.push(RateAt { rows, operations_per_second, exposed_percent: 0 });
        }
        Ok(Rate { kernel: "bodies".into(), at, start_ns: 0, queries_per_second: 0 })
    }
}

/// What a kernel reaches that takes so long where what it reads is near, and where that is far so much more than
/// reading it does.
fn rate_at(rows: u32, operations: u64, near_ns: f64, exposed_ns: Option<f64>) -> RateAt {
    let operations_per_second = (operations as f64 * 1e9 / near_ns) as u64;
    let exposed = exposed_ns.map_or(100.0, |ns| (ns / near_ns * 100.0).round().clamp(0.0, 100.0));
    RateAt { rows, operations_per_second, exposed_percent: exposed as u64 }
}
