//! Products of chosen experts: each token's rows times the weights of the experts that its routing weights name.
use super::product::{Tile, Total, row_and_total, share, units, whole};
use super::{Hand, known, packed};
use crate::emit::{Compare, Emit, Two, Ty, Val};
use crate::program::{Grid, Program};
use cubecl::ir::Variable;
use ir::Dim;
use ir::plan::Kernel;
use kernels::layout::{Layout, TILE};

/// The weights of neighbouring experts, one behind the other.
struct Experts {
    layout: Layout,
    /// How many there are, how many of them are at hand, and from which on.
    all: u32,
    held: u32,
    first: u32,
    /// Rows and columns of one.
    rows: u32,
    k: u32,
    /// Which input they are.
    input: usize,
}

impl Experts {
    fn of(hand: &mut Hand<'_>, input: usize, first: u64) -> Result<Experts, String> {
        let kernel = hand.kernel;
        hand.check_real(0)?;
        let [held, rows, k] = &kernel.inputs[input].shape[..] else {
            return Err(format!("{} holds no experts", kernel.inputs[input]));
        };
        let all = known(&kernel.inputs[1].shape[1])?;
        let first = u32::try_from(first).map_err(|_| format!("experts from {first} on"))?;
        let (held, rows, k) = (known(held)?, known(rows)?, known(k)?);
        let layout = packed(kernel, input)?;
        Ok(Experts { layout, all, held, first, rows, k, input })
    }

    /// How many tiles one's weight has.
    fn tiles(&self) -> u32 {
        self.rows.div_ceil(TILE as u32)
    }

    /// The tile of an expert's weight, of those at hand.
    fn tile(&self, e: &mut Emit, expert: Val, tile: Val) -> Tile {
        let one = self.layout.packed_bytes(self.rows as usize, self.k as usize) / 4;
        let start = e.times(expert, one as u32);
        let at = e.times(tile, (self.layout.tile_bytes(self.k as usize) / 4) as u32);
        let at = e.add(start, at);
        Tile { layout: self.layout, k: self.k, input: self.input, at }
    }

    /// Runs `run` for every expert that a token chose and that is at hand, with the room that it has, below `room`, its
    /// number among those at hand, and how much it counts.
    fn each_chosen(
        &self,
        hand: &mut Hand<'_>,
        token: Val,
        room: u32,
        run: impl FnOnce(&mut Hand<'_>, Val, Val, Val),
    ) {
        let routing = hand.input(1, Ty::F32);
        let e = &mut hand.e;
        let from = e.times(token, self.all);
        let (none, end, one) = (e.u32(0), e.u32(self.all), e.u32(1));
        let next = e.variable(none);
        let expert = e.counter();
        let around = e.open();
        let at = e.add(from, expert);
        let weight = e.load(routing, at, Ty::F32);
        let zero = e.f32(0.0);
        let is_passed = e.compare(Compare::Eq, weight, zero);
        let is_chosen = e.not(is_passed);
        let chosen = e.open();
        let slot = e.now(next);
        let more = e.add(slot, one);
        e.assign(next, more);
        let (most, first, held) = (e.u32(room), e.u32(self.first), e.u32(self.held));
        let has_room = e.lt(slot, most);
        // One before the first is one beyond the last, for numbers without a sign.
        let own = e.sub(expert, first);
        let is_held = e.lt(own, held);
        let is_here = e.two(Two::And, has_room, is_held);
        let here = e.open();
        run(hand, slot, own, weight);
        let e = &mut hand.e;
        let here = e.close(here);
        e.branch(is_here, here);
        let chosen = e.close(chosen);
        e.branch(is_chosen, chosen);
        let scope = e.close(around);
        e.repeat(expert, [none, end, one], scope);
    }
}

/// For each token and each expert that it chose, products of its row and that expert's weights: a launch for each.
pub(crate) fn expert_linear(
    kernel: &Kernel,
    first: u64,
    names: &[String],
) -> Result<Vec<Vec<Program>>, String> {
    let [n, room, width] = &kernel.output.shape[..] else { return Err("gives rows of experts".into()) };
    let (room, width) = (known(room)?, known(width)?);
    let mut from = 0;
    let mut launches = vec![];
    for input in 2..kernel.inputs.len() {
        let mut hand = Hand::new(kernel, names);
        let experts = Experts::of(&mut hand, input, first)?;
        let output = hand.output(Ty::F32);
        let (tile, at) = hand.tile_and_group(experts.tiles());
        let all = n.clone() * i64::from(room);
        let (at, exists) = existing(&mut hand, at, &all)?;
        let e = &mut hand.e;
        let (token, wanted) = (e.over(at, room), e.rest(at, room));
        let x = e.times(token, experts.k);
        let total = Total::new(e, experts.layout, x);
        experts.each_chosen(&mut hand, token, room, |hand, slot, own, _| {
            let is_wanted = hand.e.compare(Compare::Eq, slot, wanted);
            let around = hand.e.open();
            experts.tile(&mut hand.e, own, tile).multiply(hand, std::slice::from_ref(&total));
            let scope = hand.e.close(around);
            hand.e.branch(is_wanted, scope);
        });
        let start = hand.e.times(at, width);
        let start = hand.e.plus(start, from);
        finish(&mut hand.e, &total, &experts, (tile, exists), output, start);
        from += experts.rows;
        let extents = vec![i64::from(experts.tiles()).into(), all];
        launches.push(vec![hand.finish(units(experts.k), Grid { extents, per: 1, rows: None })]);
    }
    Ok(launches)
}

/// For each token the sum of products of its rows and the experts' weights, as much as each counts.
pub(crate) fn expert_combine(kernel: &Kernel, first: u64, names: &[String]) -> Result<Program, String> {
    let [n, room, _] = &kernel.inputs[0].shape[..] else { return Err("takes rows of experts".into()) };
    let room = known(room)?;
    let mut hand = Hand::new(kernel, names);
    let experts = Experts::of(&mut hand, 2, first)?;
    let output = hand.output(Ty::F32);
    let (tile, token) = hand.tile_and_group(experts.tiles());
    let (token, exists) = existing(&mut hand, token, n)?;
    let e = &mut hand.e;
    let nowhere = e.u32(0);
    let total = Total::new(e, experts.layout, nowhere);
    let rows = e.times(token, room);
    experts.each_chosen(&mut hand, token, room, |hand, slot, own, weight| {
        let e = &mut hand.e;
        let row = e.add(rows, slot);
        let x = e.times(row, experts.k);
        let part = Total::new(e, experts.layout, x);
        experts.tile(e, own, tile).multiply(hand, std::slice::from_ref(&part));
        let e = &mut hand.e;
        for (part, total) in part.sums.iter().zip(&total.sums) {
            let (part, now) = (e.now(*part), e.now(*total));
            let next = e.fma(part, weight, now);
            e.assign(*total, next);
        }
    });
    let start = hand.e.times(token, experts.rows);
    finish(&mut hand.e, &total, &experts, (tile, exists), output, start);
    let extents = vec![i64::from(experts.tiles()).into(), n.clone()];
    Ok(hand.finish(units(experts.k), Grid { extents, per: 1, rows: None }))
}

/// A row that there is, of `count`, and whether it is the one that was asked for.
fn existing(hand: &mut Hand<'_>, at: Val, count: &Dim) -> Result<(Val, Val), String> {
    let count = hand.dim(count)?;
    let e = &mut hand.e;
    let one = e.u32(1);
    let last = e.sub(count, one);
    Ok((e.two(Two::Min, at, last), e.lt(at, count)))
}

/// Writes the whole sums of a tile's rows to where a row of the output begins, if that row exists.
fn finish(
    e: &mut Emit,
    total: &Total,
    experts: &Experts,
    (tile, exists): (Val, Val),
    output: Variable,
    start: Val,
) {
    let (zero, end) = (e.u32(0), e.u32(experts.rows));
    let sums = share(e, experts.layout, experts.k, std::slice::from_ref(total));
    let (row, part) = row_and_total(e);
    let column = e.times(tile, TILE as u32);
    let column = e.add(column, row);
    let (is_first, is_column) = (e.compare(Compare::Eq, part, zero), e.lt(column, end));
    let is_own = e.two(Two::And, is_first, is_column);
    let writes = e.two(Two::And, is_own, exists);
    e.when(writes, |e| {
        let sum = whole(e, sums, zero, row);
        let index = e.add(start, column);
        e.store(output, index, sum);
    });
}
