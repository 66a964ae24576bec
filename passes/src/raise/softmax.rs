//! Finds `softmax` over the last axis: `exp(x) / sum(exp(x))`, with or without the row's maximum taken off first.
use super::raise;
use crate::{Change, Cx, PassError};
use ir::ops::{Fold, Op, Softmax};
use ir::{Graph, NodeId};

/// The maximum first: it is part of the longer match, and needless within `softmax`.
const WRITTEN_OUT: &str = "{
    {div(e:exp(sub(x, max:reduce(x))), sum:reduce(e)) | mul(e:exp(sub(x, max:reduce(x))), recip(sum:reduce(e)))} |
    {div(e:exp(x), sum:reduce(e)) | mul(e:exp(x), recip(sum:reduce(e)))}
}";

pub(crate) fn run(_: &Cx, g: &mut Graph) -> Result<Change, PassError> {
    Ok(raise(g, WRITTEN_OUT, |g, m| {
        let shifted_by_max = m.get("max").is_none_or(|max| folds_rows(g, max, Fold::Max));
        let fits = shifted_by_max && folds_rows(g, m["sum"], Fold::Sum);
        fits.then(|| g.add(Softmax {}, &[m["x"]])).transpose()
    })?)
}

/// Whether a `reduce` folds the last axis so.
pub(super) fn folds_rows(g: &Graph, n: NodeId, fold: Fold) -> bool {
    matches!(&g[n].op, Op::Reduce(reduce) if reduce.fold == fold && reduce.axis + 1 == g[n].ty.rank())
}

#[cfg(test)]
mod tests {
    use crate::check;
    use expect_test::expect;

    #[test]
    fn with_and_without_the_maximum() {
        check(
            "softmax",
            "graph g {
               x = input(): f32[n, 8]
               %0 = reduce(x) {fold:Max,axis:1}: f32[n, 1]
               %1 = sub(x, %0): f32[n, 8]
               %2 = exp(%1): f32[n, 8]
               %3 = reduce(%2) {fold:Sum,axis:1}: f32[n, 1]
               %4 = div(%2, %3): f32[n, 8]
               %5 = exp(x): f32[n, 8]
               %6 = reduce(%5) {fold:Sum,axis:1}: f32[n, 1]
               %7 = recip(%6): f32[n, 1]
               %8 = mul(%5, %7): f32[n, 8]
               return %4, %8
             }",
            expect![[r#"
                graph g {
                  x = input(): f32[n, 8]
                  %0 = softmax(x): f32[n, 8]
                  %1 = softmax(x): f32[n, 8]
                  return %0, %1
                }
            "#]],
        );
    }

    #[test]
    fn what_is_shifted_by_another_row_is_still_a_softmax() {
        check(
            "softmax",
            "graph g {
               x = input(): f32[n, 8]
               %0 = reduce(x) {fold:Max,axis:0}: f32[1, 8]
               %1 = sub(x, %0): f32[n, 8]
               %2 = exp(%1): f32[n, 8]
               %3 = reduce(%2) {fold:Sum,axis:1}: f32[n, 1]
               %4 = div(%2, %3): f32[n, 8]
               return %4
             }",
            expect![[r#"
                graph g {
                  x = input(): f32[n, 8]
                  %0 = reduce(x) {fold:Max,axis:0}: f32[1, 8]
                  %1 = sub(x, %0): f32[n, 8]
                  %2 = softmax(%1): f32[n, 8]
                  return %2
                }
            "#]],
        );
    }

    #[test]
    fn a_sum_over_another_axis_is_none() {
        check(
            "softmax",
            "graph g {
               x = input(): f32[n, 8]
               %0 = exp(x): f32[n, 8]
               %1 = reduce(%0) {fold:Sum,axis:0}: f32[1, 8]
               %2 = div(%0, %1): f32[n, 8]
               return %2
             }",
            expect![[r#"
                graph g {
                  x = input(): f32[n, 8]
                  %0 = exp(x): f32[n, 8]
                  %1 = reduce(%0) {fold:Sum,axis:0}: f32[1, 8]
                  %2 = div(%0, %1): f32[n, 8]
                  return %2
                }
            "#]],
        );
    }
}
