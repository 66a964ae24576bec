//! What loops can share: reductions over one axis, and dear values that a later loop asks for again.
use super::place::{ACCUMULATORS, Place};
use super::terms::{Axis, COST_EXP, Id, Node, Ty};
use std::collections::HashSet;

impl Place<'_> {
    /// The reductions that one loop can compute together with `id`: as long, and waiting for no other.
    pub(super) fn siblings(&self, id: Id, axis: Axis, over: Id) -> Vec<Id> {
        let mut seen = HashSet::new();
        let mut all = vec![];
        for &root in &self.roots {
            self.collect(root, &mut seen, &mut all);
        }
        let here = self.scopes.len() - 1;
        let shares = |m: &Id| {
            *m != id
                && matches!(*self.terms.node(*m), Node::Reduce { axis: a, over: o, .. } if a == axis && o == over)
                && !self.has(*m)
                && self.is_ready(*m)
                && self.home(*m) == here
                && self.reductions_below(*m).iter().all(|d| d == m || !self.is_ready(*d) || self.has(*d))
        };
        let mut group = vec![id];
        group.extend(all.into_iter().filter(shares).take(ACCUMULATORS - 1));
        group
    }

    /// A reduction and those that it needs, the needed first.
    pub(super) fn reductions_below(&self, id: Id) -> Vec<Id> {
        let mut all = vec![];
        self.collect(id, &mut HashSet::new(), &mut all);
        all
    }

    fn collect(&self, id: Id, seen: &mut HashSet<Id>, all: &mut Vec<Id>) {
        if seen.insert(id) {
            for operand in self.terms.operands(id) {
                self.collect(operand, seen, all);
            }
            if matches!(self.terms.node(id), Node::Reduce { .. }) {
                all.push(id);
            }
        }
    }

    /// The dear values that the loop of a group computes and a later loop over the same axis computes again.
    /// Worth it where they fit a row of scratch: along the output's last axis, of known length.
    pub(super) fn worth_keeping(&self, group: &[Id], bodies: &[Id], axis: Axis) -> Vec<Id> {
        let is_last = axis as usize + 1 == self.kernel.output.rank();
        let is_known = self.terms.constant(self.terms.axes[axis as usize].extent).is_some();
        if !(self.may_keep && is_last && is_known) {
            return vec![];
        }
        let (mut here, mut later) = (HashSet::new(), HashSet::new());
        bodies.iter().for_each(|&body| self.computed_with(body, &mut here));
        let waits = |id: &Id| !group.contains(id) && !self.has(*id);
        for root in self.roots.iter().flat_map(|&root| self.reductions_below(root)).filter(waits) {
            if matches!(*self.terms.node(root), Node::Reduce { axis: a, .. } if a == axis) {
                self.terms.operands(root).into_iter().for_each(|o| self.computed_with(o, &mut later));
            }
        }
        self.roots.iter().for_each(|&root| self.computed_with(root, &mut later));
        let is_kept = |id: &Id| self.scopes.iter().any(|s| s.kept.contains_key(id));
        let is_dear = |id: &Id| {
            self.terms.ty(*id) == Ty::F32
                && self.terms.cost(*id) >= COST_EXP
                && self.terms.varies(*id, axis)
                && !is_kept(id)
        };
        let mut dear: Vec<Id> = here.intersection(&later).copied().filter(is_dear).collect();
        dear.sort_unstable();
        // What is only a part of another kept value is not asked for again.
        let parts: HashSet<Id> = dear.iter().flat_map(|&id| self.terms.operands(id)).collect();
        dear.retain(|id| !parts.contains(id));
        dear
    }

    /// A term and what is computed in the same loop for it: all but what reductions compute in theirs.
    fn computed_with(&self, id: Id, found: &mut HashSet<Id>) {
        if found.insert(id) && !matches!(self.terms.node(id), Node::Reduce { .. }) {
            self.terms.operands(id).into_iter().for_each(|o| self.computed_with(o, found));
        }
    }
}
