//! Finds `silu`: `x * sigmoid(x)`, with the sigmoid as an operator or written out over `exp`.
use super::raise;
use crate::{Change, Cx, PassError};
use ir::Graph;
use ir::ops::Silu;

const WRITTEN_OUT: &str = "{
    mul(x, sigmoid(x)) |
    div(x, add(exp(neg(x)), 1)) |
    mul(x, {recip(add(exp(neg(x)), 1)) | div(1, add(exp(neg(x)), 1))})
}";

pub(crate) fn run(_: &Cx, g: &mut Graph) -> Result<Change, PassError> {
    Ok(raise(g, WRITTEN_OUT, |g, m| g.add(Silu {}, &[m["x"]]).map(Some))?)
}

#[cfg(test)]
mod tests {
    use crate::check;
    use expect_test::expect;

    #[test]
    fn the_sigmoid_may_be_written_out() {
        check(
            "silu",
            r#"graph g {
               x = input(): f32[n, 8]
               %0 = constant() {ty:"f32[]",values:[1.0]}: f32[]
               %1 = neg(x): f32[n, 8] <- 1
               %2 = exp(%1): f32[n, 8] <- 2
               %3 = add(%2, %0): f32[n, 8] <- 3
               %4 = div(x, %3): f32[n, 8] @blk.0.act <- 4
               %5 = sigmoid(x): f32[n, 8]
               %6 = mul(%5, x): f32[n, 8]
               return %4, %6
             }"#,
            expect![[r#"
                graph g {
                  x = input(): f32[n, 8]
                  %0 = silu(x): f32[n, 8] @blk.0.act <- 1, 2, 3, 4
                  %1 = silu(x): f32[n, 8]
                  return %0, %1
                }
            "#]],
        );
    }

    #[test]
    fn the_sigmoid_of_another_value_is_a_gate() {
        check(
            "silu",
            "graph g {
               x = input(): f32[n, 8]
               y = input(): f32[n, 8]
               %0 = sigmoid(x): f32[n, 8]
               %1 = mul(%0, y): f32[n, 8]
               return %1
             }",
            expect![[r#"
                graph g {
                  x = input(): f32[n, 8]
                  y = input(): f32[n, 8]
                  %0 = sigmoid(x): f32[n, 8]
                  %1 = mul(%0, y): f32[n, 8]
                  return %1
                }
            "#]],
        );
    }
}
