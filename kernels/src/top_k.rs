//! `peaks` and `top_k`: the greatest logits of a row, of which most are never looked at twice.
//!
//! Workers share the stretches of a row, each of which has its greatest. The row itself is then one worker's: most
//! stretches have none of the greatest. Which are chosen depends on the numbers alone.
use super::length;
use runtime::device::{Executable, Extent};
use std::cmp::Ordering;
use std::ops::Range;

/// Arguments: f32 `[n, width]`, f32 `[n, width / stretch]`, rounded up.
pub struct Peaks {
    pub n: Extent,
    pub width: usize,
    pub stretch: usize,
}

/// Arguments: f32 `[n, width]`, its peaks, f32 `[n, 2, k]`.
pub struct TopK {
    pub n: Extent,
    pub width: usize,
    pub stretch: usize,
    pub k: usize,
}

/// A number that may be among the greatest: as what it counts, and where it stands.
#[derive(Clone, Copy)]
struct Entry {
    rank: f32,
    at: u32,
}

/// Numbers that are compared at once.
const LANES: usize = 16;

impl Executable for Peaks {
    fn units(&self, syms: &[i64]) -> usize {
        length(&self.n, syms) * self.width.div_ceil(self.stretch)
    }

    fn scratch_bytes(&self) -> usize {
        0
    }

    unsafe fn run(&self, args: &[*mut u8], _: &[i64], units: Range<usize>, _: *mut u8) {
        let stretches = self.width.div_ceil(self.stretch);
        for unit in units {
            let (row, from) = (unit / stretches, unit % stretches * self.stretch);
            let len = self.stretch.min(self.width - from);
            // SAFETY: the stretch lies in the row, and nobody else has its place in the output.
            unsafe {
                let x = args[0].cast::<f32>().add(row * self.width + from).cast_const();
                *args[1].cast::<f32>().add(unit) = peak(std::slice::from_raw_parts(x, len));
            }
        }
    }
}

impl Executable for TopK {
    fn units(&self, syms: &[i64]) -> usize {
        length(&self.n, syms)
    }

    /// Entries, and the peaks to sort.
    fn scratch_bytes(&self) -> usize {
        self.room() * size_of::<Entry>() + self.stretches() * size_of::<f32>()
    }

    unsafe fn run(&self, args: &[*mut u8], _: &[i64], units: Range<usize>, scratch: *mut u8) {
        for row in units {
            // SAFETY: the row lies in all arguments, and nobody else has this one of the output, or the scratch; any
            // bytes are entries and numbers.
            let (x, peaks, out, entries, sorted) = unsafe {
                let at = |arg: usize, width: usize| args[arg].cast::<f32>().add(row * width);
                let sorted = scratch.add(self.room() * size_of::<Entry>()).cast::<f32>();
                (
                    std::slice::from_raw_parts(at(0, self.width).cast_const(), self.width),
                    std::slice::from_raw_parts(at(1, self.stretches()).cast_const(), self.stretches()),
                    std::slice::from_raw_parts_mut(at(2, 2 * self.k), 2 * self.k),
                    std::slice::from_raw_parts_mut(scratch.cast::<Entry>(), self.room()),
                    std::slice::from_raw_parts_mut(sorted, self.stretches()),
                )
            };
            self.row(x, peaks, out, entries, sorted);
        }
    }
}

impl TopK {
    fn stretches(&self) -> usize {
        self.width.div_ceil(self.stretch)
    }

    /// Entries that are kept before the lesser half is dropped.
    fn room(&self) -> usize {
        2 * self.k + LANES
    }

    fn row(&self, x: &[f32], peaks: &[f32], out: &mut [f32], entries: &mut [Entry], sorted: &mut [f32]) {
        let floor = self.floor(peaks, sorted);
        let (mut least, mut count) = (floor, 0);
        for ((first, stretch), peak) in (0..).step_by(self.stretch).zip(x.chunks(self.stretch)).zip(peaks) {
            if *peak < floor {
                continue;
            }
            for (at, lanes) in (first..).step_by(LANES).zip(stretch.chunks(LANES)) {
                // NaN is not less either.
                if lanes.iter().fold(true, |all, x| all & (*x < least)) {
                    continue;
                }
                for (at, &x) in (at..).zip(lanes).filter(|(_, x)| rank(**x) >= least) {
                    entries[count] = Entry { rank: rank(x), at };
                    count += 1;
                }
                if count + LANES > entries.len() {
                    let (_, last, _) = entries[..count].select_nth_unstable_by(self.k - 1, in_order);
                    (least, count) = (last.rank, self.k);
                }
            }
        }
        let found = &mut entries[..count];
        found.sort_unstable_by(in_order);
        let (numbers, places) = out.split_at_mut(self.k);
        numbers.fill(f32::NEG_INFINITY);
        places.fill(0.0);
        for ((number, place), entry) in numbers.iter_mut().zip(places).zip(found) {
            (*number, *place) = (x[entry.at as usize], entry.at as f32);
        }
    }

    /// What the greatest are not below: the `k`th peak.
    fn floor(&self, peaks: &[f32], sorted: &mut [f32]) -> f32 {
        if peaks.len() < self.k {
            return f32::NEG_INFINITY;
        }
        sorted.iter_mut().zip(peaks).for_each(|(to, peak)| *to = rank(*peak));
        *sorted.select_nth_unstable_by(self.k - 1, |a, b| b.total_cmp(a)).1
    }
}

/// As what a number counts.
fn rank(x: f32) -> f32 {
    if x.is_nan() { f32::INFINITY } else { x }
}

/// The greater first, and of equals the one that stands first.
fn in_order(a: &Entry, b: &Entry) -> Ordering {
    // Zeros of either sign are equal.
    (b.rank + 0.0).total_cmp(&(a.rank + 0.0)).then(a.at.cmp(&b.at))
}

/// The greatest of some numbers, NaN as infinity.
fn peak(x: &[f32]) -> f32 {
    let (mut most, mut odd) = ([f32::NEG_INFINITY; LANES], [false; LANES]);
    let (whole, rest) = x.as_chunks::<LANES>();
    for chunk in whole {
        for lane in 0..LANES {
            most[lane] = if chunk[lane] > most[lane] { chunk[lane] } else { most[lane] };
            odd[lane] |= chunk[lane].is_nan();
        }
    }
    match odd.iter().any(|odd| *odd) {
        true => f32::INFINITY,
        false => most.iter().chain(rest).fold(f32::NEG_INFINITY, |most, x| most.max(rank(*x))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::random::Random;
    use super::*;
    use ir::{Op, Symbols, Tensor, ops};

    /// Ties, NaN, infinities, zeros of both signs and runs of equals among them.
    fn numbers(random: &mut Random, count: usize, odd: usize) -> Vec<f32> {
        let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0];
        let number = |_| match random.below(odd) {
            at @ 0..5 => special[at],
            at if at % 2 == 0 => random.below(3) as f32,
            _ => 4.0 * random.real(),
        };
        (0..count).map(number).collect()
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|x| if x.is_nan() { u32::MAX } else { x.to_bits() }).collect()
    }

    fn run(code: &dyn Executable, n: usize, inputs: &[&[f32]], len: usize) -> Vec<f32> {
        let mut out = vec![f32::NAN; len];
        let mut args: Vec<*mut u8> = inputs.iter().map(|x| x.as_ptr().cast_mut().cast()).collect();
        args.push(out.as_mut_ptr().cast());
        let mut scratch = vec![u64::MAX; code.scratch_bytes().div_ceil(8)];
        let units = code.units(&[n as i64]);
        for units in [0..units / 3, units / 3..units] {
            unsafe { code.run(&args, &[n as i64], units, scratch.as_mut_ptr().cast()) };
        }
        out
    }

    #[test]
    fn every_row_is_what_the_operators_mean() {
        let mut random = Random(31);
        for (n, width, stretch, k) in [
            (40, 700usize, 16, 5),
            (9, 5000, 256, 64),
            (3, 40_000, 256, 64),
            (30, 31, 7, 31),
            (20, 64, 64, 1),
        ] {
            for odd in [9, 100, 1_000_000] {
                let stretches = width.div_ceil(stretch);
                let x = numbers(&mut random, n * width, odd);
                let given = Tensor::f32(&[n as u64, width as u64], &x);
                let meant = |op: Op, inputs: &[&Tensor]| op.eval(inputs, &Symbols::new()).unwrap();
                let peaks = meant(ops::Peaks { stretch: stretch as u64 }.into(), &[&given]);
                let rows = || Extent { constant: 0, terms: vec![(1, 0)] };
                let found = run(&Peaks { n: rows(), width, stretch }, n, &[&x], n * stretches);
                assert_eq!(found, peaks.to_f32(), "peaks of {width} by {stretch}");
                // Peaks of these numbers, and some that are not.
                let other = Tensor::f32(peaks.shape(), &numbers(&mut random, n * stretches, odd));
                for peaks in [peaks, other] {
                    let op = ops::TopK { k: k as u64, stretch: stretch as u64 };
                    let meant = meant(op.into(), &[&given, &peaks]).to_f32();
                    let code = TopK { n: rows(), width, stretch, k };
                    let found = run(&code, n, &[&x, &peaks.to_f32()], n * 2 * k);
                    assert_eq!(bits(&found), bits(&meant), "the {k} of {width} by {stretch}, {odd}");
                }
            }
        }
    }
}
