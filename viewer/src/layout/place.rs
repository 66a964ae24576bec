//! How far right everything stands: as near to above and below what it is joined to as its neighbours allow.
use super::order::Ladder;

/// Which vertices stand how close.
pub(super) struct Room<'a> {
    /// By vertex how wide it is.
    pub(super) width: &'a [f32],
    /// By vertex whether it is a line on its way through a layer.
    pub(super) is_line: &'a [bool],
    /// Between boxes, and beside lines.
    pub(super) gaps: (f32, f32),
    /// By vertex where its middle is to stay.
    pub(super) kept: &'a [Option<f32>],
    /// By line between a vertex and one below it how far the line's ends are from their middles.
    pub(super) shift: &'a dyn Fn(usize, usize) -> f32,
}

/// Rounds of moving down and up.
const ROUNDS: usize = 6;
/// What is to stay weighs so much more than any line.
const STAYS: f32 = 1e6;

impl Room<'_> {
    fn distance(&self, left: usize, right: usize) -> f32 {
        let gap = if self.is_line[left] || self.is_line[right] { self.gaps.1 } else { self.gaps.0 };
        (self.width[left] + self.width[right]) / 2.0 + gap
    }

    /// A line through many layers is to be straight, and so is a chain, before other boxes stand above one another.
    fn weight(&self, ladder: &Ladder, upper: usize, lower: usize) -> f32 {
        match (self.is_line[upper], self.is_line[lower]) {
            (true, true) => 8.0,
            (false, false) if ladder.below[upper].len() == 1 && ladder.above[lower].len() == 1 => 8.0,
            (false, false) => 1.0,
            _ => 2.0,
        }
    }
}

/// The middle of each vertex; nothing is left of 0.
pub(super) fn middles(ladder: &Ladder, room: &Room<'_>) -> Vec<f32> {
    let mut x = vec![0.0f32; room.width.len()];
    for row in &ladder.rows {
        let mut right = 0.0;
        let mut before: Option<usize> = None;
        for at in row {
            right = before.map_or(room.width[*at] / 2.0, |before| right + room.distance(before, *at));
            x[*at] = right;
            before = Some(*at);
        }
        let half = right / 2.0;
        row.iter().for_each(|at| x[*at] -= half);
    }
    (0..x.len()).for_each(|at| x[at] = room.kept[at].unwrap_or(x[at]));
    // At last downward: to go by both sides at once would bend every chain a little.
    for round in 0..=ROUNDS {
        let is_down = round % 2 == 0;
        let all = 0..ladder.rows.len();
        let rows: Vec<usize> = if is_down { all.collect() } else { all.rev().collect() };
        for row in rows {
            settle(&ladder.rows[row], ladder, room, is_down, &mut x);
        }
    }
    let left = (0..x.len()).map(|at| x[at] - room.width[at] / 2.0).fold(f32::MAX, f32::min);
    let is_kept = room.kept.iter().any(Option::is_some);
    // What is to stay is moved only where something would be left of everything; so that this is rare, there is some
    // room in every first layout.
    let margin = if is_kept { 0.0 } else { room.gaps.0 };
    if left != f32::MAX && (!is_kept || left < 0.0) {
        x.iter_mut().for_each(|x| *x += margin - left);
    }
    x
}

/// Puts a layer's vertices as near to where their neighbours want them as can be without overlap: of all such places
/// those with the least sum of squares, by merging neighbours that push one another.
fn settle(row: &[usize], ladder: &Ladder, room: &Room<'_>, is_down: bool, x: &mut [f32]) {
    struct Block {
        weight: f32,
        sum: f32,
        count: usize,
    }
    let mut blocks: Vec<Block> = vec![];
    let mut offset = 0.0;
    let mut offsets = Vec::with_capacity(row.len());
    let mut before: Option<usize> = None;
    for at in row {
        offset += before.map_or(0.0, |before| room.distance(before, *at));
        offsets.push(offset);
        before = Some(*at);
        // A little of where it stands, so that what is joined to nothing stays.
        let (mut weight, mut sum) = (0.01, 0.01 * x[*at]);
        let near = if is_down { &ladder.above[*at] } else { &ladder.below[*at] };
        for other in near {
            let (upper, lower) = if is_down { (*other, *at) } else { (*at, *other) };
            let shift = (room.shift)(upper, lower);
            let own = room.weight(ladder, upper, lower);
            weight += own;
            sum += own * (x[*other] + if is_down { shift } else { -shift });
        }
        if let Some(kept) = room.kept[*at] {
            (weight, sum) = (weight + STAYS, STAYS.mul_add(kept, sum));
        }
        let mut block = Block { weight, sum: sum - weight * offset, count: 1 };
        while let Some(last) = blocks.pop_if(|last| last.sum / last.weight > block.sum / block.weight) {
            block = Block {
                weight: last.weight + block.weight,
                sum: last.sum + block.sum,
                count: last.count + block.count,
            };
        }
        blocks.push(block);
    }
    let mut index = 0;
    for block in blocks {
        let at = block.sum / block.weight;
        for _ in 0..block.count {
            x[row[index]] = at + offsets[index];
            index += 1;
        }
    }
}
