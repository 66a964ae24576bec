//! How a value is spread over a group of devices, and how operators pass that on.
//!
//! Every operator says what it needs of its inputs to be computed by a group, and what the group then has:
//! [`OpDef::shard`](crate::ops::OpDef::shard). Where a value is spread otherwise than its user needs it, whoever
//! partitions puts a collective between. What a user would like is asked of it before
//! ([`OpDef::wants`](crate::ops::OpDef::wants)), for a product can give its columns in any division.
use crate::{Class, TensorType};
use std::ops::Range;

/// Rows of a matrix are divided at multiples of this, so that no tile of a packed one is cut.
pub const ROWS_GRAIN: u64 = 64;

/// Elements of the longest block of a quantised format.
const BLOCK_MOST: u64 = 256;

/// How the devices of a group hold a value; they are called ranks, in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Sharding {
    /// Each has all of it.
    Whole,
    /// Each has a stretch of one axis, in order of rank. Stretches can overlap.
    Split {
        /// Which axis.
        axis: usize,
        /// Which of its elements each rank has.
        ranges: Vec<Range<u64>>,
    },
    /// Each has a summand of it.
    Partial,
    /// Of the rows of a mixture of experts each has those of the experts that it holds; the others are zeros with it,
    /// or what is made of zeros point by point.
    Experts {
        /// Which experts each rank holds.
        ranges: Vec<Range<u64>>,
    },
}

impl Sharding {
    /// The stretches along an axis; none where it is spread otherwise.
    pub fn along(&self, wanted: usize) -> Option<&[Range<u64>]> {
        match self {
            Sharding::Split { axis, ranges } if *axis == wanted => Some(ranges),
            _ => None,
        }
    }

    /// The type of what a rank has of a value of type `ty`.
    pub fn of(&self, ty: &TensorType, rank: usize) -> TensorType {
        let mut own = ty.clone();
        if let Sharding::Split { axis, ranges } = self {
            own.shape[*axis] = ((ranges[rank].end - ranges[rank].start) as i64).into();
        }
        own
    }
}

/// How a group computes an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// How the inputs must be spread.
    pub needs: Vec<Sharding>,
    /// How the result then is.
    pub gives: Sharding,
}

impl Rule {
    /// Each rank computes all of it.
    pub fn whole(inputs: usize) -> Rule {
        Rule { needs: vec![Sharding::Whole; inputs], gives: Sharding::Whole }
    }
}

/// What an operator is asked about.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// The types of its inputs, as of one device.
    pub inputs: &'a [TensorType],
    /// How its inputs are spread; none for a weight or a state, which can be had in any way.
    pub given: &'a [Option<&'a Sharding>],
    /// How its result is wanted.
    pub wanted: &'a Sharding,
    /// How much each rank should have.
    pub shares: &'a Shares,
}

/// The heads of an attention that each rank has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Its query heads.
    pub queries: Vec<Range<u64>>,
    /// The key heads that these read.
    pub keys: Vec<Range<u64>>,
}

/// How much of a divided value each rank should have, in proportion.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shares {
    shares: Vec<u32>,
    /// Whether mixtures are divided by whole experts, and not every expert by columns.
    by_experts: bool,
}

impl Shares {
    /// A share for each rank; one of 0 counts as 1.
    pub fn new(shares: impl IntoIterator<Item = u32>) -> Shares {
        Shares { shares: shares.into_iter().map(|share| share.max(1)).collect(), by_experts: false }
    }

    /// The same, and mixtures are divided by whole experts.
    pub fn by_experts(self, by_experts: bool) -> Shares {
        Shares { by_experts, ..self }
    }

    /// The experts that each rank holds of so many, where mixtures are divided so.
    pub(crate) fn divide_experts(&self, experts: u64) -> Option<Vec<Range<u64>>> {
        self.by_experts.then(|| self.divide(experts, 1)).flatten()
    }

    /// How many ranks there are.
    pub fn ranks(&self) -> usize {
        self.shares.len()
    }

    /// Divides `extent` at multiples of `grain`, so that no rank goes without; none where that cannot be.
    pub fn divide(&self, extent: u64, grain: u64) -> Option<Vec<Range<u64>>> {
        let (grain, ranks) = (grain.max(1), self.shares.len() as u64);
        let units = extent.div_ceil(grain);
        if ranks == 0 || units < ranks || !extent.is_multiple_of(grain) && units == ranks {
            return None;
        }
        let total: u64 = self.shares.iter().map(|s| u64::from(*s)).sum();
        let (mut start, mut before, mut ranges) = (0, 0, vec![]);
        for (rank, share) in (1..).zip(&self.shares) {
            before += u64::from(*share);
            let ideal = (units * before + total / 2) / total;
            let end = ideal.clamp(start + 1, units - (ranks - rank));
            ranges.push(start * grain..(end * grain).min(extent));
            start = end;
        }
        Some(ranges)
    }

    /// Divides the heads of an attention, `width` elements each, whose query heads share key heads in equal groups: for
    /// each rank its query heads, and the key heads that these read. Ranks have whole groups, or each a part of one,
    /// or, where that is fairer, also parts of the groups of their first and last heads.
    pub fn divide_heads(&self, heads: u64, kv_heads: u64, width: u64) -> Option<Heads> {
        let by_groups = self.divide_groups(heads, kv_heads);
        let by_heads = self.divide_between_groups(heads, kv_heads, width);
        match (by_groups, by_heads) {
            (Some(groups), Some(heads)) if self.most(&heads) < self.most(&groups) => Some(heads),
            (groups, heads) => groups.or(heads),
        }
    }

    /// What the rank has that has most for its share: a query head's projections are as much to read as a key head's,
    /// which has a cache, too.
    fn most(&self, heads: &Heads) -> f64 {
        let len = |range: &Range<u64>| range.end - range.start;
        let each = heads.queries.iter().zip(&heads.keys).zip(&self.shares);
        each.map(|((q, k), share)| (len(q) + 2 * len(k)) as f64 / f64::from(*share)).fold(0.0, f64::max)
    }

    /// Any query heads, as near to the shares as can be where no block of a quantised format is cut.
    fn divide_between_groups(&self, heads: u64, kv_heads: u64, width: u64) -> Option<Heads> {
        let sharing = heads.checked_div(kv_heads).filter(|sharing| *sharing > 0)?;
        let grain = (1..=BLOCK_MOST).find(|grain| (grain * width).is_multiple_of(BLOCK_MOST))?;
        let total: u64 = self.shares.iter().map(|s| u64::from(*s)).sum();
        let (mut start, mut before) = (0, 0);
        let (mut queries, mut keys) = (vec![], vec![]);
        for (rank, share) in (1..).zip(&self.shares) {
            before += u64::from(*share);
            let nearest = (2 * heads * before + total * grain) / (2 * total * grain) * grain;
            let end = if rank == self.shares.len() { heads } else { nearest };
            if end <= start || end > heads {
                return None;
            }
            queries.push(start..end);
            keys.push(start / sharing..end.div_ceil(sharing));
            start = end;
        }
        Some(Heads { queries, keys })
    }

    fn divide_groups(&self, heads: u64, kv_heads: u64) -> Option<Heads> {
        let sharing = heads.checked_div(kv_heads)?;
        if self.shares.len() as u64 <= kv_heads {
            let kv = self.divide(kv_heads, 1)?;
            let queries = kv.iter().map(|r| r.start * sharing..r.end * sharing).collect();
            return Some(Heads { queries, keys: kv });
        }
        // More ranks than key heads: some key heads are there more than once, for a part of their queries each.
        let even = Shares::new(vec![1; kv_heads as usize]).divide(self.shares.len() as u64, 1)?;
        let (mut queries, mut keys) = (vec![], vec![]);
        for (head, ranks) in (0..).zip(even) {
            let own = &self.shares[ranks.start as usize..ranks.end as usize];
            let shares = Shares::new(own.iter().copied());
            for own in shares.divide(sharing, 1)? {
                queries.push(head * sharing + own.start..head * sharing + own.end);
                keys.push(head..head + 1);
            }
        }
        Some(Heads { queries, keys })
    }
}

/// The rule where an operator says nothing of its own: pointwise ones follow an input that is spread along an
/// axis, all others are computed by each rank as a whole.
pub(crate) fn by_class(class: Class, asked: Asked<'_>, output: &TensorType) -> Rule {
    let whole = Rule::whole(asked.inputs.len());
    if class != Class::Pointwise {
        return whole;
    }
    if let Some(experts) = asked.given.iter().flatten().find(|s| matches!(s, Sharding::Experts { .. })) {
        let needs = vec![(*experts).clone(); asked.inputs.len()];
        return Rule { needs, gives: (*experts).clone() };
    }
    let rank = output.rank();
    let split = asked.given.iter().zip(asked.inputs).find_map(|(given, ty)| match given {
        Some(Sharding::Split { axis, ranges })
            if ty.shape[*axis] == output.shape[axis + rank - ty.rank()] =>
        {
            Some(Sharding::Split { axis: axis + rank - ty.rank(), ranges: ranges.clone() })
        }
        _ => None,
    });
    let Some(gives) = split else { return whole };
    Rule { needs: asked.inputs.iter().map(|ty| broadcast_from(&gives, output, ty)).collect(), gives }
}

/// What a pointwise operator would like of an input, so that its result is spread as it is wanted.
pub(crate) fn wanted_by_class(
    class: Class,
    wanted: &Sharding,
    output: &TensorType,
    ty: &TensorType,
) -> Sharding {
    if class == Class::Pointwise { broadcast_from(wanted, output, ty) } else { Sharding::Whole }
}

/// The rule of operators whose result is of their first input's type, and computed row by row of its last axis:
/// the axes before it can be divided, the other inputs are needed whole.
pub(crate) fn by_rows(asked: Asked<'_>) -> Rule {
    let mut rule = Rule::whole(asked.inputs.len());
    let rows = asked.inputs[0].rank().saturating_sub(1);
    if let Some(given @ Sharding::Split { axis, .. }) = asked.given[0]
        && *axis < rows
    {
        (rule.needs[0], rule.gives) = (given.clone(), given.clone());
    }
    rule
}

/// What such an operator would like.
pub(crate) fn wanted_by_rows(input: usize, asked: Asked<'_>) -> Sharding {
    let rows = asked.inputs[0].rank().saturating_sub(1);
    match asked.wanted {
        Sharding::Split { axis, .. } if input == 0 && *axis < rows => asked.wanted.clone(),
        _ => Sharding::Whole,
    }
}

/// How an input of type `ty` is spread that is broadcast to an output of that spread.
fn broadcast_from(spread: &Sharding, output: &TensorType, ty: &TensorType) -> Sharding {
    let Sharding::Split { axis, ranges } = spread else { return Sharding::Whole };
    let own = (axis + ty.rank()).checked_sub(output.rank());
    match own.filter(|own| ty.shape[*own] == output.shape[*axis]) {
        Some(axis) => Sharding::Split { axis, ranges: ranges.clone() },
        None => Sharding::Whole,
    }
}

/// The spread of a tensor with the axis `to` where the tensor of `spread` has `from`; each of whose elements is
/// `times` of the other's. None where it is not spread along `from`, or the elements do not come out whole.
pub(crate) fn moved(spread: &Sharding, from: usize, to: usize, times: (u64, u64)) -> Option<Sharding> {
    let (up, down) = times;
    let scale = |at: u64| (at * up).is_multiple_of(down).then(|| at * up / down);
    let ranges = spread.along(from)?.iter().map(|r| Some(scale(r.start)?..scale(r.end)?));
    Some(Sharding::Split { axis: to, ranges: ranges.collect::<Option<_>>()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(ranges: Vec<Range<u64>>) -> Vec<u64> {
        assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start));
        ranges.into_iter().map(|r| r.end - r.start).collect()
    }

    #[test]
    fn shares_are_kept_as_near_as_the_grain_allows_and_nobody_goes_without() {
        let even = |ranks| Shares::new(vec![1; ranks]);
        assert_eq!(even(2).divide(1536, 32).map(lengths), Some(vec![768, 768]));
        assert_eq!(even(4).divide(9, 1).map(lengths), Some(vec![2, 3, 2, 2]));
        assert_eq!(even(2).divide(49153, 16).map(lengths), Some(vec![24592, 24561]));
        assert_eq!(Shares::new([3, 1]).divide(1024, 256).map(lengths), Some(vec![768, 256]));
        assert_eq!(Shares::new([1000, 1, 1]).divide(4, 1).map(lengths), Some(vec![2, 1, 1]));
        assert_eq!((even(3).divide(64, 32), even(2).divide(0, 1)), (None, None));
    }

    #[test]
    fn heads_go_in_whole_groups_or_in_parts_of_one_or_as_is_fairest() {
        let divide = |ranks, heads, kv| {
            let Heads { queries, keys } = Shares::new(vec![1; ranks]).divide_heads(heads, kv, 64)?;
            Some((lengths(queries), keys.iter().map(|r| (r.start, r.end)).collect::<Vec<_>>()))
        };
        assert_eq!(divide(2, 9, 3), Some((vec![4, 5], vec![(0, 2), (1, 3)])));
        assert_eq!(divide(3, 32, 4), Some((vec![12, 8, 12], vec![(0, 2), (1, 3), (2, 4)])));
        // What is saved of queries would be lost on keys.
        assert_eq!(divide(3, 40, 10).unwrap().0, [12, 16, 12]);
        assert_eq!(divide(4, 9, 3), Some((vec![3, 2, 1, 3], vec![(0, 1), (1, 2), (1, 2), (2, 3)])));
        assert_eq!(divide(3, 4, 1), Some((vec![1, 2, 1], vec![(0, 1); 3])));
        assert_eq!(divide(8, 64, 4).unwrap().0, [8; 8]);
        assert_eq!(divide(10, 9, 3), None);
    }
}
