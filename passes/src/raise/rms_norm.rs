//! Finds `rms_norm`: `x / √(mean(x²) + eps) * w`, with the mean over the last axis.
//!
//! The root may be divided by or multiplied with as a reciprocal, and the weight may join `x`, the root or their
//! product. A weight of shape `[1, …, d]` is reshaped to `[d]`. A norm without a weight stays written out.
use super::{raise, softmax::folds_rows};
use crate::pattern::{Match, number};
use crate::{Change, Cx, PassError};
use ir::ops::{Fold, Reshape, RmsNorm};
use ir::{Dim, Graph, NodeId, OpError};

pub(crate) fn run(_: &Cx, g: &mut Graph) -> Result<Change, PassError> {
    let root = "sqrt(add(mean:reduce(mul(x, x)), eps))";
    let over = format!("{{recip({root}) | div(1, {root})}}");
    let whole = format!(
        "{{mul({{div(x, {root}) | mul(x, {over})}}, w) | div(mul(x, w), {root}) |
           mul(mul(x, w), {over}) | mul(x, {{mul({over}, w) | div(w, {root})}})}}"
    );
    Ok(raise(g, &whole, norm)?)
}

fn norm(g: &mut Graph, m: &Match<'_>) -> Result<Option<NodeId>, OpError> {
    let Some(eps) = number(g, m["eps"]).filter(|_| folds_rows(g, m["mean"], Fold::Mean)) else {
        return Ok(None);
    };
    let (x, mut w) = (m["x"], m["w"]);
    let row = g[x].ty.shape[g[x].ty.rank() - 1..].to_vec();
    let (last, before) = g[w].ty.shape.split_last().unzip();
    if last != row.first() || before.is_some_and(|axes: &[Dim]| axes.iter().any(|d| d.known() != Some(1))) {
        return Ok(None);
    }
    if g[w].ty.rank() > 1 {
        w = g.add(Reshape { shape: row }, &[w])?;
    }
    g.add(RmsNorm { eps }, &[x, w]).map(Some)
}

#[cfg(test)]
mod tests {
    use crate::check;
    use expect_test::expect;

    #[test]
    fn divided_by_the_root_then_scaled() {
        check(
            "rms_norm",
            r#"graph g {
               x = input(): f32[n, 8]
               w = weight(): f32[8]
               %0 = constant() {ty:"f32[]",values:[1e-5]}: f32[]
               %1 = mul(x, x): f32[n, 8] <- 1
               %2 = reduce(%1) {fold:Mean,axis:1}: f32[n, 1] <- 2
               %3 = add(%2, %0): f32[n, 1] <- 3
               %4 = sqrt(%3): f32[n, 1] <- 4
               %5 = div(x, %4): f32[n, 8] <- 5
               %6 = mul(w, %5): f32[n, 8] @blk.0.norm <- 6
               return %6
             }"#,
            expect![[r#"
                graph g {
                  x = input(): f32[n, 8]
                  w = weight(): f32[8]
                  %0 = rms_norm(x, w) {eps:1e-5}: f32[n, 8] @blk.0.norm <- 1, 2, 3, 4, 5, 6
                  return %0
                }
            "#]],
        );
    }

    #[test]
    fn times_the_reciprocal_with_the_weight_on_the_left_of_it() {
        check(
            "rms_norm",
            r#"graph g {
               x = input(): f32[2, n, 8]
               w = weight(): f32[1, 1, 8]
               %0 = constant() {ty:"f32[1]",values:[1e-6]}: f32[1]
               %1 = constant() {ty:"f32[]",values:[1.0]}: f32[]
               %2 = mul(x, x): f32[2, n, 8]
               %3 = reduce(%2) {fold:Mean,axis:2}: f32[2, n, 1]
               %4 = add(%0, %3): f32[2, n, 1]
               %5 = sqrt(%4): f32[2, n, 1]
               %6 = div(%1, %5): f32[2, n, 1]
               %7 = mul(w, x): f32[2, n, 8]
               %8 = mul(%7, %6): f32[2, n, 8]
               return %8
             }"#,
            expect![[r#"
                graph g {
                  x = input(): f32[2, n, 8]
                  w = weight(): f32[1, 1, 8]
                  %0 = reshape(w) {shape:["8"]}: f32[8]
                  %1 = rms_norm(x, %0) {eps:1e-6}: f32[2, n, 8]
                  return %1
                }
            "#]],
        );
    }

    #[test]
    fn a_mean_over_another_axis_is_none() {
        check(
            "rms_norm",
            r#"graph g {
               x = input(): f32[8, 8]
               w = weight(): f32[8]
               %0 = constant() {ty:"f32[]",values:[1e-5]}: f32[]
               %1 = mul(x, x): f32[8, 8]
               %2 = reduce(%1) {fold:Mean,axis:0}: f32[1, 8]
               %3 = add(%2, %0): f32[1, 8]
               %4 = sqrt(%3): f32[1, 8]
               %5 = div(x, %4): f32[8, 8]
               %6 = mul(w, %5): f32[8, 8]
               return %6
             }"#,
            expect![[r#"
                graph g {
                  x = input(): f32[8, 8]
                  w = weight(): f32[8]
                  %0 = constant() {ty:"f32[]",values:[1e-5]}: f32[]
                  %1 = mul(x, x): f32[8, 8]
                  %2 = reduce(%1) {fold:Mean,axis:0}: f32[1, 8]
                  %3 = add(%2, %0): f32[1, 8]
                  %4 = sqrt(%3): f32[1, 8]
                  %5 = div(x, %4): f32[8, 8]
                  %6 = mul(w, %5): f32[8, 8]
                  return %6
                }
            "#]],
        );
    }
}
