//! Makes one node of nodes with the same operator, attributes and operands.
//!
//! The first in order stays and stands for all of them. Equal operands were made one node before their users are
//! looked at, so whole equal subgraphs fall together. Inputs, states and weights are told apart by their names.
use crate::{Change, Cx, PassError};
use ir::{Graph, NodeId};
use std::collections::HashMap;

pub(crate) fn run(_: &Cx, g: &mut Graph) -> Result<Change, PassError> {
    let mut known: HashMap<(&str, String, Vec<NodeId>), NodeId> = HashMap::new();
    let mut change = Change::None;
    for n in g.order() {
        if g[n].op.given_name().is_some() {
            continue;
        }
        // As text, attributes are equal only to the bit: 0.0 is not -0.0.
        let key = (g[n].op.name(), g[n].op.attributes(), g.inputs(n));
        match known.get(&key) {
            Some(&first) => {
                g.replace(n, first);
                g.remove(n);
                change = Change::Some;
            }
            None => drop(known.insert(key, n)),
        }
    }
    Ok(change)
}

#[cfg(test)]
mod tests {
    use crate::check;
    use expect_test::expect;

    #[test]
    fn equal_subgraphs_fall_together_and_keep_what_they_stand_for() {
        check(
            "duplicates",
            "graph g {
               x = input(): f32[n, 8]
               w = weight(): f32[8]
               %0 = rms_norm(x, w) {eps: 1e-5}: f32[n, 8] @blk.0.norm <- 3
               %1 = rms_norm(x, w) {eps: 1e-5}: f32[n, 8] @blk.1.norm <- 7
               %2 = add(%0, x): f32[n, 8] <- 4
               %3 = add(%1, x): f32[n, 8] <- 8
               return %2, %3
             }",
            expect![[r#"
                graph g {
                  x = input(): f32[n, 8]
                  w = weight(): f32[8]
                  %0 = rms_norm(x, w) {eps:1e-5}: f32[n, 8] @blk.0.norm <- 3, 7
                  %1 = add(%0, x): f32[n, 8] <- 4, 8
                  return %1, %1
                }
            "#]],
        );
    }

    #[test]
    fn other_attributes_operands_or_names_keep_nodes_apart() {
        check(
            "duplicates",
            "graph g {
               x = input(): f32[n, 8]
               a = weight(): f32[8]
               b = weight(): f32[8]
               %0 = rms_norm(x, a) {eps: 1e-5}: f32[n, 8]
               %1 = rms_norm(x, a) {eps: 1e-6}: f32[n, 8]
               %2 = rms_norm(x, b) {eps: 1e-5}: f32[n, 8]
               return %0, %1, %2
             }",
            expect![[r#"
                graph g {
                  x = input(): f32[n, 8]
                  a = weight(): f32[8]
                  b = weight(): f32[8]
                  %0 = rms_norm(x, a) {eps:1e-5}: f32[n, 8]
                  %1 = rms_norm(x, a) {eps:1e-6}: f32[n, 8]
                  %2 = rms_norm(x, b) {eps:1e-5}: f32[n, 8]
                  return %0, %1, %2
                }
            "#]],
        );
    }
}
