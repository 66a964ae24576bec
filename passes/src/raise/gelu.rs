//! Finds `gelu` in its tanh form: `x/2 * (1 + tanh(√(2/π) * (x + 0.044715 x³)))`.
//!
//! The factors may be grouped in any way that we have seen exported.
use super::raise;
use crate::{Change, Cx, PassError};
use ir::Graph;
use ir::ops::Gelu;

pub(crate) fn run(_: &Cx, g: &mut Graph) -> Result<Change, PassError> {
    let sum = "{
        add(x, {mul(mul(x, mul(x, x)), 0.044715) | mul(mul(x, x), mul(x, 0.044715)) | mul(x, mul(x, mul(x, 0.044715)))}) |
        mul(x, add(mul(mul(x, x), 0.044715), 1))
    }";
    let one = format!("add(tanh(mul({sum}, 0.7978846)), 1)");
    let whole = format!("{{mul(mul(x, {one}), 0.5) | mul(mul(x, 0.5), {one}) | mul(x, mul({one}, 0.5))}}");
    Ok(raise(g, &whole, |g, m| g.add(Gelu {}, &[m["x"]]).map(Some))?)
}

#[cfg(test)]
mod tests {
    use crate::check;
    use expect_test::expect;

    #[test]
    fn the_tanh_form_is_found() {
        check(
            "gelu",
            r#"graph g {
               x = input(): f32[n, 8]
               %0 = constant() {ty:"f32[]",values:[0.044715]}: f32[]
               %1 = constant() {ty:"f32[]",values:[1.0]}: f32[]
               %2 = mul(x, x): f32[n, 8]
               %3 = mul(%2, x): f32[n, 8]
               %4 = mul(%0, %3): f32[n, 8]
               %5 = add(x, %4): f32[n, 8]
               %6 = scale(%5) {by:0.7978846}: f32[n, 8]
               %7 = tanh(%6): f32[n, 8]
               %8 = add(%1, %7): f32[n, 8]
               %9 = scale(x) {by:0.5}: f32[n, 8]
               %10 = mul(%9, %8): f32[n, 8]
               return %10
             }"#,
            expect![[r#"
                graph g {
                  x = input(): f32[n, 8]
                  %0 = gelu(x): f32[n, 8]
                  return %0
                }
            "#]],
        );
    }

    #[test]
    fn another_factor_is_another_function() {
        check(
            "gelu",
            r#"graph g {
               x = input(): f32[n, 8]
               %1 = constant() {ty:"f32[]",values:[1.0]}: f32[]
               %2 = mul(x, x): f32[n, 8]
               %3 = mul(%2, x): f32[n, 8]
               %4 = scale(%3) {by:0.0447}: f32[n, 8]
               %5 = add(x, %4): f32[n, 8]
               %6 = scale(%5) {by:0.7978846}: f32[n, 8]
               %7 = tanh(%6): f32[n, 8]
               %8 = add(%1, %7): f32[n, 8]
               %9 = scale(x) {by:0.5}: f32[n, 8]
               %10 = mul(%9, %8): f32[n, 8]
               return %10
             }"#,
            expect![[r#"
                graph g {
                  x = input(): f32[n, 8]
                  %0 = constant() {ty:"f32[]",values:[1.0]}: f32[]
                  %1 = mul(x, x): f32[n, 8]
                  %2 = mul(%1, x): f32[n, 8]
                  %3 = scale(%2) {by:0.0447}: f32[n, 8]
                  %4 = add(x, %3): f32[n, 8]
                  %5 = scale(%4) {by:0.7978846}: f32[n, 8]
                  %6 = tanh(%5): f32[n, 8]
                  %7 = add(%0, %6): f32[n, 8]
                  %8 = scale(x) {by:0.5}: f32[n, 8]
                  %9 = mul(%8, %7): f32[n, 8]
                  return %9
                }
            "#]],
        );
    }
}
