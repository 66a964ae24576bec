//! The greatest numbers of a row and where they stand, found by its peaks.
//!
//! A cube takes a row. Numbers are compared as whole numbers of the same order, their keys. The `k`th greatest peak
//! is found bit by bit; then each unit takes every so manyth stretch, and those of the peaks that are as great are
//! searched. What is found there, hardly more than `k` numbers, lies where all of the cube see it, and each finds its
//! place by how many come before it. Where far more are found, as among equals, the `k`th of them is found first.
use super::{Hand, known};
use crate::emit::{Compare, Emit, Two, Ty, Val};
use crate::program::{Grid, Program};
use cubecl::ir::{Builtin, Variable};
use ir::ops::TopK;
use ir::plan::Kernel;

/// Units of a cube.
const UNITS: u32 = 256;
/// Numbers that a cube has room for.
const ROOM: u32 = 1024;
/// Bits of the place of a number.
const PLACE_BITS: u32 = TopK::WIDTH_MAX.ilog2();

/// The row that a cube has.
struct Row {
    x: Variable,
    peaks: Variable,
    /// Where the row begins, and its peaks.
    first: Val,
    first_peak: Val,
    width: u32,
    stretch: u32,
    /// What units have counted meets here.
    meeting: Variable,
    /// What a unit has counted.
    own: Val,
    /// The key below which no stretch is searched: a variable.
    floor: Val,
}

pub(crate) fn top_k(kernel: &Kernel, op: &TopK, names: &[String]) -> Result<Program, String> {
    let (width, rows) = kernel.inputs[0].shape.split_last().ok_or("takes rows")?;
    let width = known(width)?;
    let stretch = u32::try_from(op.stretch).unwrap_or(u32::MAX).min(width);
    let k = u32::try_from(op.k).ok().filter(|k| *k <= ROOM);
    let k = k.ok_or_else(|| format!("the {} greatest, at most {ROOM} have room on this device", op.k))?;
    let mut hand = Hand::new(kernel, names);
    let (x, peaks) = (hand.input(0, Ty::U32), hand.input(1, Ty::U32));
    let output = hand.output(Ty::U32);
    let mut count = hand.e.u32(1);
    for dim in rows {
        let extent = hand.dim(dim)?;
        count = hand.e.mul(count, extent);
    }
    let e = &mut hand.e;
    let at = e.cube();
    let exists = e.lt(at, count);
    let (meeting, keys, places) = {
        let mut shared = |len: u32| e.shared(Ty::U32, len as usize);
        (shared(UNITS), shared(ROOM), shared(ROOM))
    };
    e.when(exists, |e| {
        let zero = e.u32(0);
        let (first, first_peak) = (e.times(at, width), e.times(at, width.div_ceil(stretch)));
        let (own, floor) = (e.variable(zero), e.variable(zero));
        let row = Row { x, peaks, first, first_peak, width, stretch, meeting, own, floor };
        row.find_floor(e, k);
        let (last_key, last_place, found) = row.limit(e, k);
        row.gather(e, last_key, last_place, [keys, places]);
        let start = e.times(at, 2 * k);
        row.write(e, [keys, places], found, (output, start, k));
    });
    Ok(hand.finish(UNITS, Grid { extents: rows.to_vec(), per: 1, rows: None }))
}

impl Row {
    /// Finds the key of the `k`th greatest peak; 0 where there are fewer.
    fn find_floor(&self, e: &mut Emit, k: u32) {
        let stretches = self.width.div_ceil(self.stretch);
        greatest(e, self.floor, 32, |e, trial| {
            let (none, unit) = (e.u32(0), e.builtin(Builtin::UnitPosX));
            let (end, step) = (e.u32(stretches), e.u32(UNITS));
            e.assign(self.own, none);
            e.range([unit, end, step], |e, stretch| {
                let peak = self.peak(e, stretch);
                let is_less = e.lt(peak, trial);
                let is_enough = e.not(is_less);
                add_if(e, self.own, is_enough);
            });
            let (count, k) = (self.total(e), e.u32(k));
            e.compare(Compare::Le, k, count)
        });
    }

    /// Up to which key, and of those that have it up to which place, numbers are among those looked for or few beside
    /// them; and how many that are.
    fn limit(&self, e: &mut Emit, k: u32) -> (Val, Val, Val) {
        let (zero, everywhere) = (e.u32(0), e.u32(u32::MAX));
        let floor = e.now(self.floor);
        let found = self.count(e, |e, key, _| {
            let is_less = e.lt(key, floor);
            e.not(is_less)
        });
        let (last_key, last_place, all) = (e.variable(floor), e.variable(everywhere), e.variable(found));
        let room = e.u32(ROOM);
        let is_more = e.lt(room, found);
        e.when(is_more, |e| {
            e.assign(last_key, zero);
            greatest(e, last_key, 32, |e, trial| {
                let count = self.count(e, |e, key, _| {
                    let is_less = e.lt(key, trial);
                    e.not(is_less)
                });
                let k = e.u32(k);
                e.compare(Compare::Le, k, count)
            });
            // Of those that are equal the first, as many as lack.
            let equal = e.now(last_key);
            let above = self.count(e, |e, key, _| e.lt(equal, key));
            let wanted = e.u32(k);
            let lacking = e.sub(wanted, above);
            e.assign(last_place, zero);
            greatest(e, last_place, PLACE_BITS, |e, trial| {
                let before = self.count(e, |e, key, place| {
                    let (is_equal, is_before) = (e.compare(Compare::Eq, key, equal), e.lt(place, trial));
                    e.two(Two::And, is_equal, is_before)
                });
                e.lt(before, lacking)
            });
            let (key, place) = (e.now(last_key), e.now(last_place));
            let total = self.count(e, |e, own, at| is_within(e, (own, at), (key, place)));
            e.assign(all, total);
        });
        (e.now(last_key), e.now(last_place), e.now(all))
    }

    /// Puts what is found where all of the cube see it; each unit behind those before it.
    fn gather(&self, e: &mut Emit, last_key: Val, last_place: Val, [keys, places]: [Variable; 2]) {
        let (unit, zero, one) = (e.builtin(Builtin::UnitPosX), e.u32(0), e.u32(1));
        let own = e.now(self.own);
        e.sync();
        e.store(self.meeting, unit, own);
        e.sync();
        let next = e.variable(zero);
        e.range([zero, unit, one], |e, before| {
            let (more, now) = (e.load_now(self.meeting, before, Ty::U32), e.now(next));
            let sum = e.add(now, more);
            e.assign(next, sum);
        });
        self.each(e, |e, key, place| {
            let is_found = is_within(e, (key, place), (last_key, last_place));
            e.when(is_found, |e| {
                let at = e.now(next);
                e.store(keys, at, key);
                e.store(places, at, place);
                let behind = e.plus(at, 1);
                e.assign(next, behind);
            });
        });
        e.sync();
    }

    /// Writes those before which fewer than `k` come, and fills what lacks.
    fn write(
        &self,
        e: &mut Emit,
        [keys, places]: [Variable; 2],
        found: Val,
        (output, start, k): (Variable, Val, u32),
    ) {
        let (unit, zero, one, step) = (e.builtin(Builtin::UnitPosX), e.u32(0), e.u32(1), e.u32(UNITS));
        let wanted = e.u32(k);
        let put = |e: &mut Emit, at: Val, number: Val, place: Val| {
            let to = e.add(start, at);
            e.store(output, to, number);
            let to = e.plus(to, k);
            e.store(output, to, place);
        };
        e.range([unit, found, step], |e, i| {
            let (key, place) = (e.load_now(keys, i, Ty::U32), e.load_now(places, i, Ty::U32));
            let before = e.variable(zero);
            e.range([zero, found, one], |e, other| {
                let other_key = e.load_now(keys, other, Ty::U32);
                let other_place = e.load_now(places, other, Ty::U32);
                let is_before = comes_before(e, (other_key, other_place), (key, place));
                add_if(e, before, is_before);
            });
            let at = e.now(before);
            let is_wanted = e.lt(at, wanted);
            e.when(is_wanted, |e| {
                let from = e.add(self.first, place);
                let number = e.load(self.x, from, Ty::U32);
                let place = e.cast(place, Ty::F32);
                let place = e.reinterpret(place, Ty::U32);
                put(e, at, number, place);
            });
        });
        let first = e.add(found, unit);
        let least = e.u32(f32::NEG_INFINITY.to_bits());
        e.range([first, wanted, step], |e, at| put(e, at, least, zero));
    }

    /// The key of a peak.
    fn peak(&self, e: &mut Emit, stretch: Val) -> Val {
        let at = e.add(self.first_peak, stretch);
        let bits = e.load(self.peaks, at, Ty::U32);
        key(e, bits)
    }

    /// Runs `run` for the key and the place of each number in the unit's stretches that are searched.
    fn each(&self, e: &mut Emit, run: impl FnOnce(&mut Emit, Val, Val)) {
        let (unit, step, one) = (e.builtin(Builtin::UnitPosX), e.u32(UNITS), e.u32(1));
        let (end, row_end) = (e.u32(self.width.div_ceil(self.stretch)), e.u32(self.width));
        let floor = e.now(self.floor);
        e.range([unit, end, step], |e, stretch| {
            let peak = self.peak(e, stretch);
            let is_less = e.lt(peak, floor);
            let is_searched = e.not(is_less);
            e.when(is_searched, |e| {
                let from = e.times(stretch, self.stretch);
                let to = e.plus(from, self.stretch);
                let to = e.two(Two::Min, to, row_end);
                e.range([from, to, one], |e, place| {
                    let at = e.add(self.first, place);
                    let bits = e.load(self.x, at, Ty::U32);
                    let key = key(e, bits);
                    run(e, key, place);
                });
            });
        });
    }

    /// How many numbers of the cube `is` holds for; the unit's own are in `own`.
    fn count(&self, e: &mut Emit, is: impl FnOnce(&mut Emit, Val, Val) -> Val) -> Val {
        let none = e.u32(0);
        e.assign(self.own, none);
        self.each(e, |e, key, place| {
            let counts = is(e, key, place);
            add_if(e, self.own, counts);
        });
        self.total(e)
    }

    /// What all units have counted.
    fn total(&self, e: &mut Emit) -> Val {
        let own = e.now(self.own);
        e.over_cube(self.meeting, UNITS, own, Emit::add)
    }
}

/// Makes a variable the greatest number of so many bits for which `holds` does, which holds for every lesser one, and
/// for 0.
fn greatest(e: &mut Emit, variable: Val, bits: u32, holds: impl FnOnce(&mut Emit, Val) -> Val) {
    let (zero, one, end) = (e.u32(0), e.u32(1), e.u32(bits));
    e.range([zero, end, one], |e, at| {
        let (highest, now) = (e.u32(1 << (bits - 1)), e.now(variable));
        let bit = e.two(Two::Shr, highest, at);
        let trial = e.two(Two::Or, now, bit);
        let holds = holds(e, trial);
        e.when(holds, |e| e.assign(variable, trial));
    });
}

/// A whole number that is greater where a real is, by its bits: NaN as infinity, zeros alike.
fn key(e: &mut Emit, bits: Val) -> Val {
    let (zero, infinity, sign, all) = (e.u32(0), e.u32(0x7f80_0000), e.u32(1 << 31), e.u32(u32::MAX));
    let magnitude = e.mask(bits, 0x7fff_ffff);
    let (is_nan, is_zero) = (e.lt(infinity, magnitude), e.compare(Compare::Eq, magnitude, zero));
    let bits = e.select(is_nan, infinity, bits);
    let bits = e.select(is_zero, zero, bits);
    let is_positive = e.lt(bits, sign);
    let (above, below) = (e.two(Two::Or, bits, sign), e.sub(all, bits));
    e.select(is_positive, above, below)
}

/// Whether a number comes before another: it is greater, or equal and stands before it.
fn comes_before(e: &mut Emit, a: (Val, Val), b: (Val, Val)) -> Val {
    let (is_greater, is_equal) = (e.lt(b.0, a.0), e.compare(Compare::Eq, a.0, b.0));
    let stands_before = e.lt(a.1, b.1);
    let is_first = e.two(Two::And, is_equal, stands_before);
    e.two(Two::Or, is_greater, is_first)
}

/// Whether a number comes before another or is it.
fn is_within(e: &mut Emit, a: (Val, Val), last: (Val, Val)) -> Val {
    let is_behind = comes_before(e, last, a);
    e.not(is_behind)
}

/// Counts one more where a condition holds.
fn add_if(e: &mut Emit, counter: Val, condition: Val) {
    let (more, now) = (e.cast(condition, Ty::U32), e.now(counter));
    let sum = e.add(now, more);
    e.assign(counter, sum);
}
