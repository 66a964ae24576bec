//! Which layer everything is in: below all that it needs.

/// A line of a sketch between two vertices by their places, from the upper to the lower one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arc {
    pub(super) from: usize,
    pub(super) to: usize,
    /// Whether it is drawn from bottom to top, for it closes a circle.
    pub(super) is_back: bool,
}

/// The bounds of layers.
pub(super) struct Bounds<'a> {
    /// By vertex the least layer that it may be in.
    pub(super) least: &'a [usize],
    /// Vertices that lie below everything else.
    pub(super) last: &'a [bool],
    /// Vertices that may stand lower than they must, where nothing is above them.
    pub(super) sinks: &'a [bool],
}

/// Turns lines that close circles, so that all lead from an earlier vertex to a later one of the order that comes back.
pub(super) fn turn(count: usize, lines: &[(usize, usize)]) -> (Vec<Arc>, Vec<usize>) {
    let mut users = vec![vec![]; count];
    let mut missing = vec![0usize; count];
    for (from, to) in lines.iter().filter(|(from, to)| from != to) {
        users[*from].push(*to);
        missing[*to] += 1;
    }
    let mut ready: std::collections::BTreeSet<usize> = (0..count).filter(|at| missing[*at] == 0).collect();
    let (mut order, mut rank) = (Vec::with_capacity(count), vec![usize::MAX; count]);
    let mut stuck = 0;
    while order.len() < count {
        let next = ready.pop_first().unwrap_or_else(|| {
            // All that is left waits for a circle: its first vertex goes first.
            while rank[stuck] != usize::MAX {
                stuck += 1;
            }
            stuck
        });
        rank[next] = order.len();
        order.push(next);
        for user in &users[next] {
            missing[*user] = missing[*user].saturating_sub(1);
            if missing[*user] == 0 && rank[*user] == usize::MAX {
                ready.insert(*user);
            }
        }
    }
    let arc = |(from, to): &(usize, usize)| match rank[*from] <= rank[*to] {
        true => Arc { from: *from, to: *to, is_back: false },
        false => Arc { from: *to, to: *from, is_back: true },
    };
    (lines.iter().map(arc).collect(), order)
}

/// The layer of each vertex: the longest way down to it. What needs nothing stands right above what needs it.
pub(super) fn layers(arcs: &[Arc], order: &[usize], bounds: &Bounds<'_>) -> Vec<usize> {
    let count = order.len();
    let (mut above, mut below) = (vec![vec![]; count], vec![vec![]; count]);
    for arc in arcs.iter().filter(|arc| arc.from != arc.to) {
        above[arc.to].push(arc.from);
        below[arc.from].push(arc.to);
    }
    let mut layer = vec![0; count];
    for at in order {
        let longest = above[*at].iter().map(|from| layer[*from] + 1).max().unwrap_or(0);
        layer[*at] = longest.max(bounds.least[*at]);
    }
    for at in order.iter().rev().filter(|at| above[**at].is_empty() && bounds.sinks[**at]) {
        if let Some(first) = below[*at].iter().map(|to| layer[*to]).min() {
            layer[*at] = layer[*at].max(first.saturating_sub(1));
        }
    }
    let lowest = (0..count).filter(|at| !bounds.last[*at]).map(|at| layer[at] + 1).max().unwrap_or(0);
    (0..count).filter(|at| bounds.last[*at]).for_each(|at| layer[at] = lowest);
    layer
}
