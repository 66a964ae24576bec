//! Replaces what changes nothing by what it was given: `x + 0`, `x * 1`, a transpose of a transpose.
//!
//! The rules are a table of patterns and what they become. All keep every value to the bit, but for the sign of
//! zero in `x + 0`. A rule is tried again on its own result, so towers fall to the ground in one run.
use crate::pattern::{Match, Pattern, discard, put};
use crate::{Change, Cx, PassError};
use ir::ops::{Abs, Add, Broadcast, Cast, Op, Reshape, Slice, Sub, Transpose};
use ir::{DType, Graph, NodeId, OpError};

/// What a match becomes; `None` where the rule does not hold after all.
type Becomes = fn(&mut Graph, &Match<'_>) -> Result<Option<NodeId>, OpError>;

const RULES: &[(&str, Becomes)] = &[
    ("add(x, 0)", x),
    ("sub(x, 0)", x),
    ("mul(x, 1)", x),
    ("div(x, 1)", x),
    ("neg(neg(x))", x),
    ("maximum(x, x)", x),
    ("minimum(x, x)", x),
    ("abs(a:abs(x))", |_, m| Ok(Some(m["a"]))),
    ("abs(neg(x))", |g, m| g.add(Abs {}, &[m["x"]]).map(Some)),
    ("add(x, neg(y))", |g, m| g.add(Sub {}, &[m["x"], m["y"]]).map(Some)),
    ("sub(x, neg(y))", |g, m| g.add(Add {}, &[m["x"], m["y"]]).map(Some)),
    ("top:transpose(x)", nothing_moves),
    ("top:reshape(x)", x),
    ("top:slice(x)", x),
    ("top:broadcast(x)", x),
    ("top:cast(x)", x),
    ("outer:transpose(inner:transpose(x))", transpose_of_transpose),
    ("outer:reshape(inner:reshape(x))", reshape_of_reshape),
    ("outer:slice(inner:slice(x))", slice_of_slice),
    ("outer:broadcast(inner:broadcast(x))", broadcast_of_broadcast),
    ("outer:cast(inner:cast(x))", cast_of_cast),
];

pub(crate) fn run(_: &Cx, g: &mut Graph) -> Result<Change, PassError> {
    let rules: Vec<_> = RULES.iter().map(|(pattern, becomes)| (Pattern::new(pattern), becomes)).collect();
    let mut change = Change::None;
    for n in g.order() {
        let mut at = n;
        while let Some(new) = first_that_holds(g, &rules, at)? {
            put(g, at, new);
            at = new;
            change = Change::Some;
        }
    }
    Ok(change)
}

fn first_that_holds(
    g: &mut Graph,
    rules: &[(Pattern<'_>, &Becomes)],
    n: NodeId,
) -> Result<Option<NodeId>, OpError> {
    for (pattern, becomes) in rules {
        for found in pattern.find(g, n) {
            let Some(new) = becomes(g, &found)? else { continue };
            if g[new].ty == g[n].ty {
                return Ok(Some(new));
            }
            // A sum with a zero of a larger shape is a broadcast and stays.
            discard(g, new);
        }
    }
    Ok(None)
}

fn x(_: &mut Graph, m: &Match<'_>) -> Result<Option<NodeId>, OpError> {
    Ok(Some(m["x"]))
}

fn nothing_moves(g: &mut Graph, m: &Match<'_>) -> Result<Option<NodeId>, OpError> {
    let Op::Transpose(top) = &g[m["top"]].op else { return Ok(None) };
    Ok(top.order.iter().copied().eq(0..top.order.len()).then(|| m["x"]))
}

fn transpose_of_transpose(g: &mut Graph, m: &Match<'_>) -> Result<Option<NodeId>, OpError> {
    let (Op::Transpose(outer), Op::Transpose(inner)) = (&g[m["outer"]].op, &g[m["inner"]].op) else {
        return Ok(None);
    };
    let order = outer.order.iter().map(|&axis| inner.order[axis]).collect();
    g.add(Transpose { order }, &[m["x"]]).map(Some)
}

fn reshape_of_reshape(g: &mut Graph, m: &Match<'_>) -> Result<Option<NodeId>, OpError> {
    // Two steps can do what one cannot say: symbols move only where a reshape's body can follow them.
    let shape = g[m["outer"]].ty.shape.clone();
    Ok(g.add(Reshape { shape }, &[m["x"]]).ok())
}

fn slice_of_slice(g: &mut Graph, m: &Match<'_>) -> Result<Option<NodeId>, OpError> {
    let (Op::Slice(outer), Op::Slice(inner)) = (&g[m["outer"]].op, &g[m["inner"]].op) else {
        return Ok(None);
    };
    if outer.axis != inner.axis {
        return Ok(None);
    }
    let both = Slice { axis: outer.axis, start: inner.start + outer.start, len: outer.len };
    g.add(both, &[m["x"]]).map(Some)
}

fn broadcast_of_broadcast(g: &mut Graph, m: &Match<'_>) -> Result<Option<NodeId>, OpError> {
    let shape = g[m["outer"]].ty.shape.clone();
    g.add(Broadcast { shape }, &[m["x"]]).map(Some)
}

/// A cast to a dtype that holds every value of the one before, and on to a third.
fn cast_of_cast(g: &mut Graph, m: &Match<'_>) -> Result<Option<NodeId>, OpError> {
    let (from, between, to) = (g[m["x"]].ty.dtype, g[m["inner"]].ty.dtype, g[m["outer"]].ty.dtype);
    let widens = matches!((from, between), (DType::F16 | DType::BF16, DType::F32));
    if !(widens && (to == from || to == DType::F32)) {
        return Ok(None);
    }
    g.add(Cast { to }, &[m["x"]]).map(Some)
}

#[cfg(test)]
mod tests {
    use crate::check;
    use expect_test::expect;

    #[test]
    fn neutral_numbers_vanish() {
        check(
            "identities",
            r#"graph g {
               x = input(): f32[n, 8]
               %0 = constant() {ty:"f32[]",values:[0.0]}: f32[]
               %1 = constant() {ty:"f32[8]",values:[1.0]}: f32[8]
               %2 = add(%0, x): f32[n, 8] <- 2
               %3 = mul(%2, %1): f32[n, 8] <- 3
               %4 = scale(%3) {by:1.0}: f32[n, 8]
               %5 = sub(%4, %0): f32[n, 8]
               %6 = neg(%5): f32[n, 8]
               %7 = neg(%6): f32[n, 8]
               return %7
             }"#,
            expect![[r#"
                graph g {
                  x = input(): f32[n, 8] <- 2, 3
                  return x
                }
            "#]],
        );
    }

    #[test]
    fn a_neutral_number_that_broadcasts_stays() {
        check(
            "identities",
            r#"graph g {
               x = input(): f32[]
               %0 = constant() {ty:"f32[8]",values:[1.0]}: f32[8]
               %1 = mul(x, %0): f32[8]
               return %1
             }"#,
            expect![[r#"
                graph g {
                  x = input(): f32[]
                  %0 = constant() {ty:"f32[8]",values:[1.0]}: f32[8]
                  %1 = mul(x, %0): f32[8]
                  return %1
                }
            "#]],
        );
    }

    #[test]
    fn a_tower_of_movements_is_one_or_none() {
        check(
            "identities",
            r#"graph g {
               x = input(): f32[n, 2, 6]
               %0 = transpose(x) {order:[1,0,2]}: f32[2, n, 6]
               %1 = transpose(%0) {order:[1,2,0]}: f32[n, 6, 2]
               %2 = transpose(%1) {order:[0,2,1]}: f32[n, 2, 6]
               %3 = reshape(%2) {shape:["n","12"]}: f32[n, 12]
               %4 = reshape(%3) {shape:["n","3","4"]}: f32[n, 3, 4]
               %5 = slice(%4) {axis:1,start:1,len:2}: f32[n, 2, 4]
               %6 = slice(%5) {axis:1,start:1,len:1}: f32[n, 1, 4]
               return %6
             }"#,
            expect![[r#"
                graph g {
                  x = input(): f32[n, 2, 6]
                  %0 = reshape(x) {shape:["n","3","4"]}: f32[n, 3, 4]
                  %1 = slice(%0) {axis:1,start:2,len:1}: f32[n, 1, 4]
                  return %1
                }
            "#]],
        );
    }

    #[test]
    fn widening_casts_and_back_vanish() {
        check(
            "identities",
            r#"graph g {
               x = input(): f16[n]
               y = input(): f32[n]
               %0 = cast(x) {to:"f32"}: f32[n]
               %1 = cast(%0) {to:"f16"}: f16[n]
               %2 = cast(y) {to:"f16"}: f16[n]
               %3 = cast(%2) {to:"f32"}: f32[n]
               return %1, %3
             }"#,
            expect![[r#"
                graph g {
                  x = input(): f16[n]
                  y = input(): f32[n]
                  %0 = cast(y) {to:"f16"}: f16[n]
                  %1 = cast(%0) {to:"f32"}: f32[n]
                  return x, %1
                }
            "#]],
        );
    }
}
