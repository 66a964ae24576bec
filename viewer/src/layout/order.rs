//! Who stands left of whom in a layer, so that few lines cross.

/// Vertices in layers, and the lines between neighbouring ones.
pub(super) struct Ladder {
    /// By layer its vertices, from left to right.
    pub(super) rows: Vec<Vec<usize>>,
    /// By vertex its neighbours in the layer above.
    pub(super) above: Vec<Vec<usize>>,
    /// By vertex its neighbours in the layer below.
    pub(super) below: Vec<Vec<usize>>,
}

/// Sweeps down and up at most.
const SWEEPS: usize = 12;
/// With more lines than these only [`SWEEPS_FEW`].
const LINES_MANY: usize = 20_000;
const SWEEPS_FEW: usize = 4;
/// Layers up to this many vertices are improved pair by pair.
const PAIRS_MAX: usize = 60;

impl Ladder {
    /// Orders every layer by where its neighbours stand, down and up in turn, and keeps the best.
    pub(super) fn sort(&mut self) {
        let lines: usize = self.below.iter().map(Vec::len).sum();
        let sweeps = if lines > LINES_MANY { SWEEPS_FEW } else { SWEEPS };
        let mut place = vec![0usize; self.above.len()];
        self.number(&mut place);
        let (mut best, mut crossings) = (self.rows.clone(), self.crossings(&place));
        for sweep in 0..sweeps {
            if crossings == 0 {
                break;
            }
            let is_down = sweep % 2 == 0;
            let rows: Vec<usize> = if is_down {
                (1..self.rows.len()).collect()
            } else {
                (0..self.rows.len().saturating_sub(1)).rev().collect()
            };
            for row in rows {
                self.by_neighbours(row, is_down, &mut place);
            }
            self.swap_pairs(&mut place);
            let now = self.crossings(&place);
            if now < crossings {
                (best, crossings) = (self.rows.clone(), now);
            }
        }
        self.rows = best;
    }

    /// Orders layers by given places from left to right; what has none stands by its neighbours.
    pub(super) fn sort_by(&mut self, given: &[Option<f32>]) {
        let mut key: Vec<Option<f32>> = given.to_vec();
        for is_down in [true, false, true] {
            let rows: Vec<usize> =
                if is_down { (0..self.rows.len()).collect() } else { (0..self.rows.len()).rev().collect() };
            for row in rows {
                for at in self.rows[row].iter().filter(|at| given[**at].is_none()) {
                    let near = if is_down { &self.above[*at] } else { &self.below[*at] };
                    let known: Vec<f32> = near.iter().filter_map(|near| key[*near]).collect();
                    if !known.is_empty() {
                        key[*at] = Some(known.iter().sum::<f32>() / known.len() as f32);
                    }
                }
            }
        }
        for row in &mut self.rows {
            let of = |at: &usize| key[*at].unwrap_or(f32::MAX);
            row.sort_by(|a, b| of(a).total_cmp(&of(b)));
        }
    }

    fn number(&self, place: &mut [usize]) {
        for row in &self.rows {
            row.iter().enumerate().for_each(|(index, at)| place[*at] = index);
        }
    }

    fn by_neighbours(&mut self, row: usize, is_down: bool, place: &mut [usize]) {
        let near = if is_down { &self.above } else { &self.below };
        let centre = |at: usize| {
            let sum: usize = near[at].iter().map(|near| place[*near]).sum();
            match near[at].len() {
                0 => None,
                count => Some(sum as f32 / count as f32),
            }
        };
        // What has no neighbour there keeps its place among the others.
        let mut keyed: Vec<(f32, usize)> = vec![];
        let mut last = -1.0;
        for at in &self.rows[row] {
            last = centre(*at).unwrap_or(last);
            keyed.push((last, *at));
        }
        keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.rows[row] = keyed.into_iter().map(|(_, at)| at).collect();
        self.rows[row].iter().enumerate().for_each(|(index, at)| place[*at] = index);
    }

    /// Swaps neighbours of a layer where fewer lines cross then.
    fn swap_pairs(&mut self, place: &mut [usize]) {
        for row in 0..self.rows.len() {
            if self.rows[row].len() > PAIRS_MAX {
                continue;
            }
            for left in 0..self.rows[row].len().saturating_sub(1) {
                let (a, b) = (self.rows[row][left], self.rows[row][left + 1]);
                let (mut as_is, mut swapped) = (0, 0);
                for near in [&self.above, &self.below] {
                    let [ends_a, ends_b] = [a, b].map(|at| {
                        let mut ends: Vec<usize> = near[at].iter().map(|near| place[*near]).collect();
                        ends.sort_unstable();
                        ends
                    });
                    as_is += pairs_crossing(&ends_a, &ends_b);
                    swapped += pairs_crossing(&ends_b, &ends_a);
                }
                if swapped < as_is {
                    self.rows[row].swap(left, left + 1);
                    (place[a], place[b]) = (left + 1, left);
                }
            }
        }
    }

    /// How many pairs of lines cross.
    pub(super) fn crossings(&self, place: &[usize]) -> usize {
        self.rows.windows(2).map(|pair| self.between(&pair[0], pair[1].len(), place)).sum()
    }

    /// Of the lines between two layers, by a tree of counts over the lower one.
    fn between(&self, upper: &[usize], width: usize, place: &[usize]) -> usize {
        let mut counts = vec![0usize; width + 1];
        let (mut crossings, mut seen) = (0, 0);
        for at in upper {
            let mut ends: Vec<usize> = self.below[*at].iter().map(|to| place[*to]).collect();
            ends.sort_unstable();
            for end in &ends {
                let (mut left, mut index) = (0, end + 1);
                while index > 0 {
                    left += counts[index];
                    index &= index - 1;
                }
                crossings += seen - left;
            }
            for end in ends {
                let mut index = end + 1;
                while index <= width {
                    counts[index] += 1;
                    index += index & index.wrapping_neg();
                }
                seen += 1;
            }
        }
        crossings
    }
}

/// How many lines of two neighbours cross, by where those of the left one end and those of the right one, both in order.
fn pairs_crossing(left: &[usize], right: &[usize]) -> usize {
    let mut before = 0;
    let crossed = left.iter().map(|end| {
        before += right[before..].iter().take_while(|other| *other < end).count();
        before
    });
    crossed.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crossings_of_two_neighbours_are_counted_however_many_lines_they_have() {
        assert_eq!(pairs_crossing(&[1, 3, 5], &[0, 3, 4]), 5);
        assert_eq!(pairs_crossing(&[0, 3, 4], &[1, 3, 5]), 3);
        let many: Vec<usize> = (0..200_000).collect();
        assert_eq!(pairs_crossing(&many, &many), 200_000 * 199_999 / 2);
    }
}
