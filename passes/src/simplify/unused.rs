//! Removes nodes that no output needs.
//!
//! Inputs and states stay, used or not: they are the graph's signature. Weights go, and are then never loaded.
use crate::{Change, Cx, PassError};
use ir::{Graph, Op};

pub(crate) fn run(_: &Cx, g: &mut Graph) -> Result<Change, PassError> {
    Ok(Change::when(g.remove_unused(|node| matches!(node.op, Op::Input(_))) > 0))
}

#[cfg(test)]
mod tests {
    use crate::check;
    use expect_test::expect;

    #[test]
    fn a_chain_goes_from_its_end_and_takes_its_weight_along() {
        check(
            "unused",
            "graph g {
               x = input(): f32[n, 8]
               w = weight(): f32[8]
               %0 = rms_norm(x, w) {eps: 1e-5}: f32[n, 8]
               %1 = add(%0, %0): f32[n, 8]
               %2 = add(x, x): f32[n, 8]
               return %2
             }",
            expect![[r#"
                graph g {
                  x = input(): f32[n, 8]
                  %0 = add(x, x): f32[n, 8]
                  return %0
                }
            "#]],
        );
    }

    #[test]
    fn inputs_and_states_stay() {
        check(
            "unused",
            "graph g {
               x = input(): f32[n]
               y = input(): f32[n]
               cache = state(): f32[n]
               return x
             }",
            expect![[r#"
                graph g {
                  x = input(): f32[n]
                  y = input(): f32[n]
                  cache = state(): f32[n]
                  return x
                }
            "#]],
        );
    }
}
