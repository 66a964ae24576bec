//! Rows that a backend has a function of its own for.
use super::place::Place;
use super::terms::{Axis, Elem, Id, Node};
use super::{BodyError, Step, open};
use ir::DType;
use std::collections::HashSet;

/// No row function takes more inputs.
const ROW_LOADS_MAX: usize = 2;

impl Place<'_> {
    /// The step that computes a row by a function of the backend, if there is one that is the root.
    pub(super) fn row(&mut self, root: Id, axis: Axis) -> Result<Option<Step>, BodyError> {
        if !(self.is_quantised || self.kernel.output.dtype == DType::F32) {
            return Ok(None);
        }
        let loads = self.row_loads(root, axis);
        for (function, row) in self.functions.iter().enumerate() {
            let pairs = loads.iter().flat_map(|&x| loads.iter().map(move |&y| vec![x, y]));
            let singles = loads.iter().map(|&x| vec![x]);
            let choices: Vec<_> = if row.args == 1 { singles.collect() } else { pairs.collect() };
            for args in choices {
                if open::apply(&mut self.terms, &row.body, &args)? == root {
                    for &load in &args {
                        self.terms.operands(load).into_iter().try_for_each(|o| self.need(o))?;
                    }
                    return Ok(Some(Step::Row { function, name: row.name, args }));
                }
            }
        }
        Ok(None)
    }

    /// What a row is computed from, if that is but a few loads of neighbouring f32 and arithmetic on them.
    fn row_loads(&self, root: Id, axis: Axis) -> Vec<Id> {
        let (mut seen, mut todo, mut loads) = (HashSet::new(), vec![root], vec![]);
        while let Some(id) = todo.pop() {
            match *self.terms.node(id) {
                _ if !seen.insert(id) => {}
                Node::Load { elem: Elem::F32, offset, guard: None, .. } => {
                    let are_neighbours = self.terms.step(offset, axis) == Some(Elem::F32.bytes());
                    if !are_neighbours || loads.len() == ROW_LOADS_MAX {
                        return vec![];
                    }
                    loads.push(id);
                }
                Node::F32(_) => {}
                Node::Unary(..) | Node::Binary(..) | Node::Fma(..) => todo.extend(self.terms.operands(id)),
                _ => return vec![],
            }
        }
        loads
    }
}
