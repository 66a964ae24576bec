//! Cuts an axis' range where a comparison on it, or a quotient of it, changes: each part is then straight.
use super::BodyError;
use super::terms::{Axis, Id, Node, Terms, Ty};
use ir::expr::Compare;
use std::collections::{HashMap, HashSet};

/// More parts than this are not worth their code.
const PARTS_MAX: usize = 8;

/// A part of a range, and what the roots are in it.
pub(super) struct Part {
    pub(super) from: i64,
    /// Not said where the range is not cut.
    pub(super) to: Option<i64>,
    /// The axis' values in this part.
    pub(super) range: (i64, i64),
    pub(super) roots: Vec<Id>,
}

/// The parts of an axis' range for what `roots` are.
pub(super) fn parts(terms: &mut Terms, axis: Axis, roots: &[Id]) -> Result<Vec<Part>, BodyError> {
    let extent = terms.axes[axis as usize].extent;
    let most = terms.range(extent).map_or(super::terms::EXTENT_MAX, |r| r.1);
    let whole = (0, (most - 1).max(0));
    let Some(extent) = terms.constant(extent) else {
        return Ok(vec![Part { from: 0, to: None, range: whole, roots: roots.to_vec() }]);
    };
    let mut cuts = vec![0, extent];
    let mut seen = HashSet::new();
    roots.iter().for_each(|&root| find(terms, root, axis, extent, &mut seen, &mut cuts));
    cuts.retain(|c| (0..=extent).contains(c));
    cuts.sort_unstable();
    cuts.dedup();
    if cuts.len() == 2 || cuts.len() - 1 > PARTS_MAX {
        return Ok(vec![Part { from: 0, to: None, range: whole, roots: roots.to_vec() }]);
    }
    let old = terms.axes[axis as usize].range;
    let mut parts = vec![];
    for part in cuts.windows(2) {
        let range = (part[0], part[1] - 1);
        terms.set_range(axis, range);
        let mut done = HashMap::new();
        let varies = |terms: &Terms, id| terms.varies(id, axis);
        let roots = roots
            .iter()
            .map(|&root| terms.rebuild(root, &mut done, &varies, &mut |_, node| Ok(node)))
            .collect::<Result<Vec<_>, _>>()?;
        parts.push(Part { from: part[0], to: Some(part[1]), range, roots });
    }
    terms.set_range(axis, old);
    Ok(parts)
}

/// Collects where something in `id` changes along the axis.
fn find(terms: &Terms, id: Id, axis: Axis, extent: i64, seen: &mut HashSet<Id>, cuts: &mut Vec<i64>) {
    if !terms.varies(id, axis) || !seen.insert(id) {
        return;
    }
    match *terms.node(id) {
        Node::Compare(op, a, b) if terms.ty(a) == Ty::Int => {
            let difference = terms.linear(a).plus(&terms.linear(b), -1);
            if let [(atom, step @ (1 | -1))] = difference.terms[..]
                && *terms.node(atom) == Node::Axis(axis)
            {
                // The sign changes at this coordinate, where the difference is zero.
                let zero = difference.constant.wrapping_mul(-step);
                match (op, step) {
                    (Compare::Lt, 1) | (Compare::Le, -1) => cuts.push(zero),
                    (Compare::Lt, _) | (Compare::Le, _) => cuts.push(zero.saturating_add(1)),
                    (Compare::Eq, _) => cuts.extend([zero, zero.saturating_add(1)]),
                }
            }
        }
        Node::FloorDiv(a, by) => {
            let linear = terms.linear(a);
            if let [(atom, 1)] = linear.terms[..]
                && *terms.node(atom) == Node::Axis(axis)
                && extent / by <= PARTS_MAX as i64
            {
                let first = linear.constant.wrapping_neg().rem_euclid(by);
                cuts.extend((0..=extent / by).map(|k| first + k * by));
            }
        }
        _ => {}
    }
    for operand in terms.operands(id) {
        find(terms, operand, axis, extent, seen, cuts);
    }
}
