//! `expert_linear` and `expert_combine`: products of the rows that chose an expert with that expert's weights, expert by
//! expert in order of their numbers.
//!
//! An expert's rows are gathered, multiplied as [`Linear`] multiplies, and what comes out goes to where its row
//! belongs. Every worker does so for columns of its own, over all experts: whoever is chosen, the work is split evenly.
//! A token's bits depend neither on its neighbours nor on the split: products do not, and what is added up is added in
//! order of the experts. Weights of experts that nobody chose are not read.
use super::linear::{self, CHUNK, Linear};
use super::{Epilogue, length};
use runtime::device::{Executable, Extent};
use std::ops::Range;

/// Arguments: x, the routing weights f32 `[n, all]`, each weight packed, expert after expert, and the output.
pub struct Experts {
    product: Linear,
    /// How many tokens.
    n: Extent,
    /// How many experts a row of routing weights speaks of.
    all: usize,
    /// Those whose weights are at hand.
    held: Range<usize>,
    /// How many experts a token has room for.
    room: usize,
    kind: Kind,
}

/// What x and the output are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// x has a row for each token, the output f32 `[n, room, columns]`.
    Linear,
    /// x has `room` rows for each token, the output is f32 `[n, columns]`.
    Combine,
}

/// Where a gathered row belongs.
#[derive(Clone, Copy)]
struct Place {
    /// The row of x.
    from: usize,
    /// The row of the output.
    to: usize,
    /// What the product is multiplied with.
    weight: f32,
}

/// Products with this many weights at most.
pub const WEIGHTS_MAX: usize = 6;

impl Experts {
    /// `product` says what is done with one expert's rows: its own `n` and `epilogue` stay unused.
    ///
    /// # Panics
    /// If it has more than [`WEIGHTS_MAX`] weights.
    pub fn new(product: Linear, all: usize, held: Range<usize>, room: usize, kind: Kind) -> Experts {
        assert!(product.weights.len() <= WEIGHTS_MAX, "{} weights", product.weights.len());
        let width = product.weights.iter().map(|weight| weight.rows).sum();
        let n = product.n.clone();
        let rows = Extent { constant: 0, terms: vec![(1, 0)] };
        let product = Linear { n: rows, epilogue: Some(Box::new(Scatter { kind, width })), ..product };
        Experts { product, n, all, held, room, kind }
    }

    // Scratch holds what a product needs, then gathered rows, then their places.
    fn rows_at(&self) -> usize {
        self.product.scratch_bytes().next_multiple_of(64)
    }

    fn places_at(&self) -> usize {
        (self.rows_at() + CHUNK * self.product.row_bytes()).next_multiple_of(64)
    }
}

impl Executable for Experts {
    fn units(&self, syms: &[i64]) -> usize {
        match length(&self.n, syms) {
            0 => 0,
            _ => self.product.units(&[1]),
        }
    }

    fn scratch_bytes(&self) -> usize {
        self.places_at() + CHUNK * size_of::<Place>()
    }

    unsafe fn run(&self, args: &[*mut u8], syms: &[i64], units: Range<usize>, scratch: *mut u8) {
        let n = length(&self.n, syms);
        unsafe {
            let call = Call { op: self, args, units, scratch };
            let routing = std::slice::from_raw_parts(args[1].cast_const().cast::<f32>(), n * self.all);
            call.clear(routing);
            for expert in self.held.clone() {
                let mut count = 0;
                for (token, row) in routing.chunks_exact(self.all).enumerate() {
                    let Some(place) = self.place(token, row, expert) else { continue };
                    call.places().add(count).write(place);
                    count += 1;
                    if count == CHUNK {
                        call.multiply(expert, count);
                        count = 0;
                    }
                }
                call.multiply(expert, count);
            }
        }
    }
}

impl Experts {
    /// Where a token's row for an expert is and goes; none where it did not choose it, or chose enough before.
    fn place(&self, token: usize, row: &[f32], expert: usize) -> Option<Place> {
        let weight = row[expert];
        if weight == 0.0 {
            return None;
        }
        let slot = row[..expert].iter().filter(|weight| **weight != 0.0).count();
        let own = token * self.room + slot;
        (slot < self.room).then_some(match self.kind {
            Kind::Linear => Place { from: token, to: own, weight },
            Kind::Combine => Place { from: own, to: token, weight },
        })
    }

    /// The first of the columns that a unit of work stands for.
    fn column(&self, mut unit: usize) -> usize {
        let mut column = 0;
        for weight in &self.product.weights {
            let units = weight.rows.div_ceil(linear::UNIT_COLUMNS);
            if unit < units {
                return column + unit * linear::UNIT_COLUMNS;
            }
            unit -= units;
            column += weight.rows;
        }
        column
    }
}

/// What one worker does in one step.
struct Call<'a> {
    op: &'a Experts,
    args: &'a [*mut u8],
    units: Range<usize>,
    scratch: *mut u8,
}

impl Call<'_> {
    unsafe fn places(&self) -> *mut Place {
        unsafe { self.scratch.add(self.op.places_at()).cast() }
    }

    /// Writes zeros where nothing will be stored, or things will be added.
    unsafe fn clear(&self, routing: &[f32]) {
        let op = self.op;
        let columns = op.column(self.units.start)..op.column(self.units.end);
        let width = op.column(usize::MAX);
        let output = self.args[2 + op.product.weights.len()].cast::<f32>();
        let clear = |row: usize| unsafe {
            output.add(row * width + columns.start).write_bytes(0, columns.len());
        };
        for (token, row) in routing.chunks_exact(op.all).enumerate() {
            if op.kind == Kind::Combine {
                clear(token);
                continue;
            }
            let chosen = (0..op.all).filter(|&expert| row[expert] != 0.0);
            let mut experts = chosen.take(op.room);
            for slot in 0..op.room {
                if experts.next().is_none_or(|expert| !op.held.contains(&expert)) {
                    clear(token * op.room + slot);
                }
            }
        }
    }

    /// The product of the first `count` of the places' rows with an expert's weights.
    unsafe fn multiply(&self, expert: usize, count: usize) {
        if count == 0 {
            return;
        }
        let Experts { product, .. } = self.op;
        unsafe {
            let places = std::slice::from_raw_parts(self.places(), count);
            let mut args = [std::ptr::null_mut(); WEIGHTS_MAX + 3];
            args[0] = self.gather(places);
            for (at, weight) in product.weights.iter().enumerate() {
                let bytes = weight.layout.packed_bytes(weight.rows, product.k);
                args[1 + at] = self.args[2 + at].add((expert - self.op.held.start) * bytes);
            }
            let own = 1 + product.weights.len();
            args[own] = self.places().cast();
            args[own + 1] = self.args[own + 1];
            product.run(&args[..own + 2], &[count as i64], self.units.clone(), self.scratch);
        }
    }

    /// The rows of x, one after the other; one alone stays where it is.
    unsafe fn gather(&self, places: &[Place]) -> *mut u8 {
        let bytes = self.op.product.row_bytes();
        unsafe {
            let row = |place: &Place| self.args[0].add(place.from * bytes);
            if let [alone] = places {
                return row(alone);
            }
            let gathered = self.scratch.add(self.op.rows_at());
            for (at, place) in places.iter().enumerate() {
                gathered.add(at * bytes).copy_from_nonoverlapping(row(place), bytes);
            }
            gathered
        }
    }
}

/// Takes finished tiles to the rows that they belong to. The last two arguments are the rows' places and the output.
struct Scatter {
    kind: Kind,
    /// Columns of the output.
    width: usize,
}

impl Epilogue for Scatter {
    unsafe fn apply(
        &self,
        tile: *const f32,
        stride: usize,
        rows: Range<usize>,
        cols: Range<usize>,
        args: &[*mut u8],
        _: &[i64],
    ) {
        let [.., places, output] = *args else { unreachable!("a product has arguments") };
        for (at, row) in rows.enumerate() {
            unsafe {
                let Place { to, weight, .. } = places.cast::<Place>().add(row).read();
                let from = std::slice::from_raw_parts(tile.add(at * stride), cols.len());
                let to = output.cast::<f32>().add(to * self.width + cols.start);
                let to = std::slice::from_raw_parts_mut(to, cols.len());
                match self.kind {
                    Kind::Linear => to.copy_from_slice(from),
                    Kind::Combine => to.iter_mut().zip(from).for_each(|(to, from)| *to += weight * from),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::Layout;
    use super::super::linear::{Activations, Weight};
    use super::super::pack::pack_tile;
    use super::super::product::Q8A_BYTES;
    use super::super::random::{Random, weight_dtypes};
    use super::super::simd::Isa;
    use super::*;
    use ir::DType;
    use ir::quant::Format;

    const ALL: usize = 5;
    const ROOM: usize = 2;
    const K: usize = 256;
    const ROWS: [usize; 2] = [37, 16];

    /// Experts' weights, x, and who chose whom; the exact values of each.
    struct Case {
        kind: Kind,
        activations: Activations,
        dtype: DType,
        /// By weight, then by expert.
        packed: Vec<Vec<Vec<u8>>>,
        values: Vec<Vec<Vec<f32>>>,
        x_bytes: Vec<u8>,
        x: Vec<f32>,
        routing: Vec<f32>,
    }

    impl Case {
        fn new(random: &mut Random, kind: Kind, dtype: DType, activations: Activations, n: usize) -> Case {
            let (mut packed, mut values) = (vec![], vec![]);
            let layout = Layout::of(dtype).unwrap();
            for rows in ROWS {
                let experts = (0..ALL).map(|_| {
                    let (src, exact) = random.weight(dtype, rows * K);
                    let mut dst = vec![0; layout.packed_bytes(rows, K)];
                    for (tile, dst) in dst.chunks_exact_mut(layout.tile_bytes(K)).enumerate() {
                        pack_tile(dtype, &src, rows, K, tile, dst);
                    }
                    (dst, exact)
                });
                let (dst, exact): (Vec<_>, Vec<_>) = experts.unzip();
                packed.push(dst);
                values.push(exact);
            }
            let rows = if kind == Kind::Linear { n } else { n * ROOM };
            let mut x = random.reals(rows * K);
            let mut x_bytes: Vec<u8> = x.iter().flat_map(|x| x.to_le_bytes()).collect();
            if activations == Activations::Int8 {
                x_bytes = vec![0; rows * K / 32 * Q8A_BYTES];
                Format::Q8A.quantise(&x, &mut x_bytes);
                Format::Q8A.dequantise(&x_bytes, &mut x);
            }
            // Two in five are chosen; some tokens have more than there is room for, some none.
            let routing = (0..n * ALL).map(|_| if random.below(5) < 2 { random.real() } else { 0.0 });
            let routing = routing.collect();
            Case { kind, activations, dtype, packed, values, x_bytes, x, routing }
        }

        fn n(&self) -> usize {
            self.routing.len() / ALL
        }

        /// Rows of x, and of the output, that a token has.
        fn rows(&self) -> (usize, usize) {
            if self.kind == Kind::Linear { (1, ROOM) } else { (ROOM, 1) }
        }

        /// What those who hold `held` make of `tokens`, in `parts` runs.
        fn run(&self, isa: Isa, tokens: Range<usize>, held: Range<usize>, parts: usize) -> Vec<f32> {
            let layout = Layout::of(self.dtype).unwrap();
            let weights = ROWS.map(|rows| Weight::new(layout, rows)).to_vec();
            let n = Extent { constant: 0, terms: vec![(1, 0)] };
            let product = Linear { isa, activations: self.activations, n, k: K, weights, epilogue: None };
            let row_bytes = product.row_bytes();
            let experts = Experts::new(product, ALL, held.clone(), ROOM, self.kind);
            let (in_rows, out_rows) = self.rows();
            let mut y = vec![f32::NAN; tokens.len() * out_rows * ROWS.iter().sum::<usize>()];
            let x = &self.x_bytes[tokens.start * in_rows * row_bytes..tokens.end * in_rows * row_bytes];
            let routing = &self.routing[tokens.start * ALL..tokens.end * ALL];
            let packed: Vec<Vec<u8>> = self.packed.iter().map(|all| all[held.clone()].concat()).collect();
            let mut args = vec![x.as_ptr().cast_mut(), routing.as_ptr().cast_mut().cast()];
            args.extend(packed.iter().map(|packed| packed.as_ptr().cast_mut()));
            args.push(y.as_mut_ptr().cast());
            let mut scratch = vec![0xffu64; experts.scratch_bytes().div_ceil(8)];
            let syms = [tokens.len() as i64];
            let units = experts.units(&syms);
            for part in 0..parts {
                let units = units * part / parts..units * (part + 1) / parts;
                unsafe { experts.run(&args, &syms, units, scratch.as_mut_ptr().cast()) };
            }
            y
        }

        /// The output in f64, and the sum of magnitudes in each.
        fn exact(&self, held: Range<usize>) -> Vec<(f64, f64)> {
            let width = ROWS.iter().sum::<usize>();
            let (_, out_rows) = self.rows();
            let mut y = vec![(0.0, 0.0); self.n() * out_rows * width];
            for (token, row) in self.routing.chunks_exact(ALL).enumerate() {
                let chosen = (0..ALL).filter(|&e| row[e] != 0.0).take(ROOM).enumerate();
                for (slot, expert) in chosen.filter(|(_, e)| held.contains(e)) {
                    let own = token * ROOM + slot;
                    let (from, to, by) = match self.kind {
                        Kind::Linear => (token, own, 1.0),
                        Kind::Combine => (own, token, f64::from(row[expert])),
                    };
                    let x = &self.x[from * K..(from + 1) * K];
                    let rows = self.values.iter().flat_map(|all| all[expert].chunks_exact(K));
                    for (y, w) in y[to * width..].iter_mut().zip(rows) {
                        for (x, w) in x.iter().zip(w) {
                            let term = by * f64::from(*x) * f64::from(*w);
                            *y = (y.0 + term, y.1 + term.abs());
                        }
                    }
                }
            }
            y
        }
    }

    const KINDS: [Kind; 2] = [Kind::Linear, Kind::Combine];

    fn modes(dtype: DType) -> &'static [Activations] {
        match dtype {
            DType::Quant(_) => &[Activations::Int8, Activations::F32],
            _ => &[Activations::F32],
        }
    }

    #[test]
    fn every_weight_dtype_gives_the_exact_products_of_the_experts_held() {
        let mut random = Random(21);
        for (kind, dtype) in
            KINDS.into_iter().flat_map(|kind| weight_dtypes().map(move |dtype| (kind, dtype)))
        {
            for &mode in modes(dtype) {
                let case = Case::new(&mut random, kind, dtype, mode, 40);
                for held in [0..ALL, 1..3, 4..5] {
                    let found = case.run(Isa::detect(), 0..40, held.clone(), 1);
                    for (at, (found, (exact, size))) in found.iter().zip(case.exact(held.clone())).enumerate()
                    {
                        let is_close = (f64::from(*found) - exact).abs() <= 1e-5 * size;
                        assert!(
                            is_close,
                            "{kind:?} {dtype} {mode:?} {held:?}, {at}: {found}, expected {exact}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_token_has_the_same_bits_in_any_company_and_split() {
        let mut random = Random(22);
        let q4_k = DType::Quant(Format::Q4K);
        for (kind, mode) in
            KINDS.into_iter().flat_map(|kind| modes(q4_k).iter().map(move |mode| (kind, *mode)))
        {
            let case = Case::new(&mut random, kind, q4_k, mode, 300);
            let width = case.rows().1 * ROWS.iter().sum::<usize>();
            let whole = case.run(Isa::detect(), 0..300, 0..ALL, 1);
            for isa in Isa::available() {
                assert_eq!(case.run(isa, 0..300, 0..ALL, 3), whole, "{kind:?} {mode:?} on {}", isa.name());
            }
            for tokens in [0..1, 7..9, 100..228] {
                let expected = &whole[tokens.start * width..tokens.end * width];
                assert_eq!(case.run(Isa::detect(), tokens.clone(), 0..ALL, 2), expected, "{tokens:?}");
            }
        }
    }

    #[test]
    fn weights_of_experts_that_nobody_chose_are_not_used_and_nan_is_a_choice() {
        let mut random = Random(23);
        for kind in KINDS {
            let mut case = Case::new(&mut random, kind, DType::F32, Activations::F32, 3);
            case.routing = [[0.0, 0.5, 0.0, 0.0, 0.5], [0.0, 1.0, 0.0, 0.0, 0.0], [0.0; ALL]].concat();
            for expert in [0, 2, 3] {
                case.packed.iter_mut().for_each(|all| all[expert].fill(0xff));
            }
            assert!(case.run(Isa::detect(), 0..3, 0..ALL, 2).iter().all(|y| y.is_finite()));
            case.routing[2 * ALL + 2] = f32::NAN;
            assert!(case.run(Isa::detect(), 0..3, 0..ALL, 2).iter().any(|y| y.is_nan()), "{kind:?}");
        }
    }
}
