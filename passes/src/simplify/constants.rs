//! Computes nodes whose operands are all constants.
//!
//! The value is what `eval` says, so nothing changes but when it is computed. Only small results are kept: the
//! graph's text and every plan carry them. What `eval` refuses stays as it is and will be refused when it runs.
use crate::pattern::put;
use crate::{Change, Cx, PassError};
use ir::ops::{Constant, Op};
use ir::{Graph, NodeId, Symbols, Tensor};

/// Results with more elements than this are computed when the graph runs.
const ELEMENTS_MAX: usize = 1024;

pub(crate) fn run(_: &Cx, g: &mut Graph) -> Result<Change, PassError> {
    let mut change = Change::None;
    for n in g.order() {
        if let Some(value) = value_of(g, n)
            && let Ok(constant) = g.add(value, &[])
        {
            put(g, n, constant);
            change = Change::Some;
        }
    }
    Ok(change)
}

/// The node as a constant, if it is worth one.
fn value_of(g: &Graph, n: NodeId) -> Option<Constant> {
    let inputs = g.inputs(n);
    let extents = g[n].ty.extents(|_| None)?;
    let elements = extents.iter().try_fold(1usize, |n, d| n.checked_mul(usize::try_from(*d).ok()?))?;
    if inputs.is_empty() || elements > ELEMENTS_MAX {
        return None;
    }
    let constant = |i: &NodeId| match &g[*i].op {
        Op::Constant(_) => g[*i].op.eval(&[], &Symbols::new()).ok(),
        _ => None,
    };
    let operands: Vec<Tensor> = inputs.iter().map(constant).collect::<Option<_>>()?;
    let value = g[n].op.eval(&operands.iter().collect::<Vec<_>>(), &Symbols::new()).ok()?;
    let mut values = value.to_f32();
    if values.windows(2).all(|pair| pair[0].to_bits() == pair[1].to_bits()) {
        values.truncate(1);
    }
    let constant = Constant { ty: g[n].ty.clone(), values };
    // A constant holds f32: an integer past its precision must come back as it was.
    let same = Op::from(constant.clone()).eval(&[], &Symbols::new()).ok()? == value;
    same.then_some(constant)
}

#[cfg(test)]
mod tests {
    use crate::check;
    use expect_test::expect;

    #[test]
    fn a_sum_of_constants_is_a_constant() {
        check(
            "constants",
            r#"graph g {
               %0 = constant() {ty:"f32[2]",values:[1.0,2.0]}: f32[2]
               %1 = constant() {ty:"f32[]",values:[0.5]}: f32[]
               %2 = mul(%0, %1): f32[2] <- 4
               %3 = add(%2, %1): f32[2] <- 5
               return %3
             }"#,
            expect![[r#"
                graph g {
                  %0 = constant() {ty:"f32[2]",values:[1.0,1.5]}: f32[2] <- 4, 5
                  return %0
                }
            "#]],
        );
    }

    #[test]
    fn large_or_given_values_stay() {
        check(
            "constants",
            r#"graph g {
               x = input(): f32[]
               %0 = constant() {ty:"f32[]",values:[0.5]}: f32[]
               %1 = broadcast(%0) {shape:["2000"]}: f32[2000]
               %2 = add(x, %0): f32[]
               return %1, %2
             }"#,
            expect![[r#"
                graph g {
                  x = input(): f32[]
                  %0 = constant() {ty:"f32[]",values:[0.5]}: f32[]
                  %1 = broadcast(%0) {shape:["2000"]}: f32[2000]
                  %2 = add(x, %0): f32[]
                  return %1, %2
                }
            "#]],
        );
    }
}
