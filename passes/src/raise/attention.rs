//! Finds `attention`: `softmax(q·kᵀ * scale + mask) · v` over `matmul` and `transpose`.
//!
//! Runs after `softmax`. Keys may come transposed in any order, the scale as a product, a quotient or not at all,
//! and keys and values may be repeated for the query heads that share them: the operator shares them itself.
//! Whatever does not fit its shapes, such as a batch axis, stays written out.
use super::raise;
use crate::pattern::{Match, Pattern, discard, number};
use crate::{Change, Cx, PassError};
use ir::ops::{Attention, Op, Reshape, Transpose};
use ir::{Graph, NodeId, OpError};

const PRODUCT: &str = "matmul(q, t:transpose(k))";

pub(crate) fn run(_: &Cx, g: &mut Graph) -> Result<Change, PassError> {
    let scaled = format!("{{{PRODUCT} | s:scale({PRODUCT}) | mul({PRODUCT}, by) | div({PRODUCT}, over)}}");
    let whole = format!("matmul(softmax({{{scaled} | add({scaled}, mask)}}), v)");
    Ok(raise(g, &whole, attention)?)
}

fn attention(g: &mut Graph, m: &Match<'_>) -> Result<Option<NodeId>, OpError> {
    let Some(scale) = scale(g, m) else { return Ok(None) };
    let Some(k) = keys(g, m["t"], m["k"])? else { return Ok(None) };
    let (k, v) = match (unrepeated(g, k), unrepeated(g, m["v"])) {
        (Some(k), Some(v)) => (k, v),
        _ => (k, m["v"]),
    };
    let mut inputs = vec![m["q"], k, v];
    if let Some(mask) = m.get("mask") {
        let shape = g[mask].ty.shape.clone();
        let flat = match &shape[..] {
            [one, rows @ ..] if rows.len() == 2 && one.known() == Some(1) => {
                g.add(Reshape { shape: rows.to_vec() }, &[mask])?
            }
            _ => mask,
        };
        inputs.push(flat);
    }
    let made = g.add(Attention { scale, causal: false }, &inputs);
    if made.is_err() {
        // Shapes that the operator does not know: what was made for it goes again.
        inputs.into_iter().for_each(|input| discard(g, input));
    }
    Ok(made.ok())
}

/// What the products are multiplied with, if that is one number.
fn scale(g: &Graph, m: &Match<'_>) -> Option<f32> {
    match (m.get("s"), m.get("by"), m.get("over")) {
        (Some(s), ..) => match &g[s].op {
            Op::Scale(scale) => Some(scale.by),
            _ => None,
        },
        (_, Some(by), _) => number(g, by),
        (.., Some(over)) => number(g, over).map(|over| 1.0 / over),
        _ => Some(1.0),
    }
}

/// Keys with the axes of `k` in the order that `attention` wants, of which `transposed` has the last two swapped.
fn keys(g: &mut Graph, transposed: NodeId, k: NodeId) -> Result<Option<NodeId>, OpError> {
    let Op::Transpose(transpose) = &g[transposed].op else { return Ok(None) };
    let mut order = transpose.order.clone();
    let rank = order.len();
    order.swap(rank - 2, rank - 1);
    if order.iter().copied().eq(0..rank) {
        return Ok(Some(k));
    }
    g.add(Transpose { order }, &[k]).map(Some)
}

/// What `[h, s, d]` was before each of its `[hk, s, d]` heads was repeated in place.
fn unrepeated(g: &Graph, n: NodeId) -> Option<NodeId> {
    let m = Pattern::new("out:reshape(wide:broadcast(thin:reshape(x)))").find(g, n).pop()?;
    let shape = |name: &str| &g[m[name]].ty.shape[..];
    let ([hk, s, d], [hk_thin, one, s_thin, d_thin]) = (shape("x"), shape("thin")) else { return None };
    let ([hk_wide, _, s_wide, d_wide], [_, s_out, d_out]) = (shape("wide"), shape("out")) else {
        return None;
    };
    let heads_stay = hk == hk_thin && hk == hk_wide && one.known() == Some(1);
    let rows_stay = [s_thin, s_wide, s_out].into_iter().all(|other| other == s);
    (heads_stay && rows_stay && [d_thin, d_wide, d_out].into_iter().all(|other| other == d)).then(|| m["x"])
}

#[cfg(test)]
mod tests {
    use crate::check;
    use expect_test::expect;

    #[test]
    fn scores_scaled_and_masked() {
        check(
            "attention",
            "graph g {
               q = input(): f32[4, n, 16]
               k = input(): f32[4, s, 16]
               v = input(): f32[4, s, 16]
               mask = input(): f32[1, n, s]
               %0 = transpose(k) {order:[0,2,1]}: f32[4, 16, s]
               %1 = matmul(q, %0): f32[4, n, s]
               %2 = scale(%1) {by:0.25}: f32[4, n, s]
               %3 = add(%2, mask): f32[4, n, s]
               %4 = softmax(%3): f32[4, n, s]
               %5 = matmul(%4, v): f32[4, n, 16]
               return %5
             }",
            expect![[r#"
                graph g {
                  q = input(): f32[4, n, 16]
                  k = input(): f32[4, s, 16]
                  v = input(): f32[4, s, 16]
                  mask = input(): f32[1, n, s]
                  %0 = reshape(mask) {shape:["n","s"]}: f32[n, s]
                  %1 = attention(q, k, v, %0) {scale:0.25,causal:false}: f32[4, n, 16]
                  return %1
                }
            "#]],
        );
    }

    #[test]
    fn keys_from_rows_of_heads_and_a_quotient() {
        check(
            "attention",
            r#"graph g {
               q = input(): f32[4, n, 16]
               k = input(): f32[s, 4, 16]
               v = input(): f32[4, s, 16]
               %0 = transpose(k) {order:[1,2,0]}: f32[4, 16, s]
               %1 = matmul(q, %0): f32[4, n, s]
               %2 = constant() {ty:"f32[]",values:[4.0]}: f32[]
               %3 = div(%1, %2): f32[4, n, s]
               %4 = softmax(%3): f32[4, n, s]
               %5 = matmul(%4, v): f32[4, n, 16]
               return %5
             }"#,
            expect![[r#"
                graph g {
                  q = input(): f32[4, n, 16]
                  k = input(): f32[s, 4, 16]
                  v = input(): f32[4, s, 16]
                  %0 = transpose(k) {order:[1,0,2]}: f32[4, s, 16]
                  %1 = attention(q, %0, v) {scale:0.25,causal:false}: f32[4, n, 16]
                  return %1
                }
            "#]],
        );
    }

    #[test]
    fn heads_that_were_repeated_are_shared() {
        check(
            "attention",
            r#"graph g {
               q = input(): f32[4, n, 16]
               k = input(): f32[2, s, 16]
               v = input(): f32[2, s, 16]
               %0 = reshape(k) {shape:["2","1","s","16"]}: f32[2, 1, s, 16]
               %1 = broadcast(%0) {shape:["2","2","s","16"]}: f32[2, 2, s, 16]
               %2 = reshape(%1) {shape:["4","s","16"]}: f32[4, s, 16]
               %3 = transpose(%2) {order:[0,2,1]}: f32[4, 16, s]
               %4 = matmul(q, %3): f32[4, n, s]
               %5 = softmax(%4): f32[4, n, s]
               %6 = reshape(v) {shape:["2","1","s","16"]}: f32[2, 1, s, 16]
               %7 = broadcast(%6) {shape:["2","2","s","16"]}: f32[2, 2, s, 16]
               %8 = reshape(%7) {shape:["4","s","16"]}: f32[4, s, 16]
               %9 = matmul(%5, %8): f32[4, n, 16]
               return %9
             }"#,
            expect![[r#"
                graph g {
                  q = input(): f32[4, n, 16]
                  k = input(): f32[2, s, 16]
                  v = input(): f32[2, s, 16]
                  %0 = attention(q, k, v) {scale:1.0,causal:false}: f32[4, n, 16]
                  return %0
                }
            "#]],
        );
    }

    #[test]
    fn values_of_another_width_stay_written_out() {
        check(
            "attention",
            "graph g {
               q = input(): f32[4, n, 16]
               k = input(): f32[s, 4, 16]
               v = input(): f32[4, s, 8]
               %0 = transpose(k) {order:[1,2,0]}: f32[4, 16, s]
               %1 = matmul(q, %0): f32[4, n, s]
               %2 = softmax(%1): f32[4, n, s]
               %3 = matmul(%2, v): f32[4, n, 8]
               return %3
             }",
            expect![[r#"
                graph g {
                  q = input(): f32[4, n, 16]
                  k = input(): f32[s, 4, 16]
                  v = input(): f32[4, s, 8]
                  %0 = transpose(k) {order:[1,2,0]}: f32[4, 16, s]
                  %1 = matmul(q, %0): f32[4, n, s]
                  %2 = softmax(%1): f32[4, n, s]
                  %3 = matmul(%2, v): f32[4, n, 8]
                  return %3
                }
            "#]],
        );
    }
}
