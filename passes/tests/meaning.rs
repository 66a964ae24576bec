//! Random graphs mean the same after every pass alone, and after all of them in order.
//!
//! Graphs are of pointwise, reducing and moving operators, with what `raise` looks for strewn in.

use ir::interpret::interpret_with;
use ir::ops::*;
use ir::{DType, Dim, Graph, NodeId, OpError, Symbols, Tensor, TensorType};
use passes::{Cx, PASSES, run_all, run_one};
use proptest::prelude::*;
use proptest::sample::Index;

/// What becomes the next node: which kind, of which values, with which number.
type Recipe = (Index, [Index; 2], f32, Index);

/// Adds one node, or several that belong together.
type Add = fn(&mut Graph, [NodeId; 2], f32, &Index) -> Result<NodeId, OpError>;

const KINDS: &[Add] = &[
    |g, [a, b], _, _| g.add(ir::ops::Add {}, &[a, b]),
    |g, [a, b], _, _| g.add(Sub {}, &[a, b]),
    |g, [a, b], _, _| g.add(Mul {}, &[a, b]),
    |g, [a, b], _, _| g.add(Div {}, &[a, b]),
    |g, [a, b], _, _| g.add(Maximum {}, &[a, b]),
    |g, [a, b], _, _| g.add(Minimum {}, &[a, b]),
    |g, [a, _], _, _| g.add(Neg {}, &[a]),
    |g, [a, _], _, _| g.add(Abs {}, &[a]),
    |g, [a, _], _, _| g.add(Exp {}, &[a]),
    |g, [a, _], _, _| g.add(Tanh {}, &[a]),
    |g, [a, _], _, _| g.add(Sigmoid {}, &[a]),
    |g, [a, _], by, _| g.add(Scale { by }, &[a]),
    |g, _, value, _| constant(g, value),
    |g, [a, _], _, pick| {
        let axes = g[a].ty.rank();
        let mut order: Vec<usize> = (0..axes).collect();
        order.rotate_left(if axes == 0 { 0 } else { pick.index(axes) });
        g.add(Transpose { order }, &[a])
    },
    |g, [a, _], _, pick| {
        let mut shape = g[a].ty.shape.clone();
        let at = pick.index(shape.len() + 1);
        shape.insert(at, Dim::from(1));
        g.add(Reshape { shape }, &[a])
    },
    |g, [a, _], _, _| {
        let shape = g[a].ty.shape.iter().filter(|d| d.known() != Some(1)).cloned().collect();
        g.add(Reshape { shape }, &[a])
    },
    |g, [a, _], _, pick| {
        let axis = pick.index(g[a].ty.rank().max(1));
        let extent = g[a].ty.shape.get(axis).and_then(Dim::known).unwrap_or(1) as u64;
        let start = pick.index(2.min(extent as usize)) as u64;
        g.add(Slice { axis, start, len: extent - start }, &[a])
    },
    |g, [a, b], _, _| {
        let shape = g[b].ty.shape.clone();
        g.add(Broadcast { shape }, &[a])
    },
    |g, [a, b], _, pick| g.add(Concat { axis: pick.index(g[a].ty.rank().max(1)) }, &[a, b]),
    |g, [a, _], _, pick| {
        let fold = [Fold::Sum, Fold::Max, Fold::Mean][pick.index(3)];
        g.add(Reduce { fold, axis: pick.index(g[a].ty.rank().max(1)) }, &[a])
    },
    |g, [x, _], _, pick| {
        let axis = g[x].ty.rank().max(1) - 1;
        let mut shifted = x;
        if pick.index(2) == 0 {
            let max = g.add(Reduce { fold: Fold::Max, axis }, &[x])?;
            shifted = g.add(Sub {}, &[x, max])?;
        }
        let e = g.add(Exp {}, &[shifted])?;
        let sum = g.add(Reduce { fold: Fold::Sum, axis }, &[e])?;
        g.add(Div {}, &[e, sum])
    },
    |g, [x, w], _, pick| {
        let square = g.add(Mul {}, &[x, x])?;
        let axis = pick.index(g[x].ty.rank().max(1));
        let mean = g.add(Reduce { fold: Fold::Mean, axis }, &[square])?;
        let eps = constant(g, 1e-3)?;
        let sum = g.add(ir::ops::Add {}, &[mean, eps])?;
        let root = g.add(Sqrt {}, &[sum])?;
        let normed = g.add(Div {}, &[x, root])?;
        g.add(Mul {}, &[normed, w])
    },
    |g, [x, _], _, _| {
        let sigmoid = g.add(Sigmoid {}, &[x])?;
        g.add(Mul {}, &[sigmoid, x])
    },
];

fn constant(g: &mut Graph, value: f32) -> Result<NodeId, OpError> {
    g.add(Constant { ty: TensorType::f32(&[]), values: vec![value] }, &[])
}

fn graph(recipes: &[Recipe]) -> Graph {
    let mut g = Graph::new("random");
    let n = Dim::symbol("n");
    let input = |name: &str, shape: &[Dim]| Input {
        name: name.into(),
        ty: TensorType::new(DType::F32, shape.to_vec()),
        state: false,
        part: None,
    };
    let four = Dim::from(4);
    let sources =
        [input("x", &[n.clone(), four.clone()]), input("y", &[n, four.clone()]), input("w", &[four])];
    let mut values: Vec<NodeId> =
        sources.into_iter().map(|source| g.add(source, &[]).expect("an input has any type")).collect();
    for (kind, operands, number, pick) in recipes {
        let operands = operands.map(|i| values[i.index(values.len())]);
        if g.len() < 60
            && let Ok(value) = kind.get(KINDS)(&mut g, operands, *number, pick)
        {
            values.push(value);
        }
    }
    g.outputs = values.into_iter().rev().take(3).collect();
    g
}

fn recipes() -> impl Strategy<Value = Vec<Recipe>> {
    let number = prop::sample::select(vec![0.0f32, 1.0, -1.0, 0.5, 2.0]);
    prop::collection::vec((any::<Index>(), any::<[Index; 2]>(), number, any::<Index>()), 1..24)
}

/// What the graph returns for three rows of values of no pattern, the same for a name on every run; and whether
/// nothing on the way there overflowed.
fn values(g: &Graph) -> (Vec<Tensor>, bool) {
    let symbols = Symbols::new().with("n", 3);
    let given = |name: &str| {
        let source = g.nodes().find(|n| g[*n].op.given_name() == Some(name))?;
        let mut state = u32::from(name.as_bytes()[0]) << 8;
        Some(Tensor::build(&symbols.extents(&g[source].ty)?, |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 22) as f32 - 2.0
        }))
    };
    let mut is_finite = true;
    let outputs = interpret_with(g, &given, &symbols, &mut |n, inputs, symbols| {
        let value = g[n].op.eval(inputs, symbols)?;
        is_finite &= value.to_f32().into_iter().all(f32::is_finite);
        Ok(value)
    });
    (outputs.unwrap_or_else(|e| panic!("{e}\n{g}")), is_finite)
}

/// Simplification keeps every bit. What is raised or fused rounds less and overflows later: it is held to what the
/// graph says where that is finite.
fn assert_same(before: &(Vec<Tensor>, bool), after: &[Tensor], exact: bool, shown: &str) {
    let (before, is_finite) = before;
    assert_eq!(before.len(), after.len(), "{shown}");
    for (before, after) in before.iter().zip(after) {
        assert_eq!(before.ty(), after.ty(), "{shown}");
        for (b, a) in before.to_f32().into_iter().zip(after.to_f32()) {
            let same = a == b || (a.is_nan() && b.is_nan());
            let near = !is_finite || (a - b).abs() <= 1e-3 * 1f32.max(b.abs());
            assert!(same || (!exact && near), "{a}, expected {b}\n{shown}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn each_pass_keeps_what_a_graph_means(recipes in recipes()) {
        let before = graph(&recipes);
        let expected = values(&before);
        for pass in PASSES {
            let mut after = before.clone();
            let stage = run_one(&Cx::default(), pass.name, &mut after).unwrap_or_else(|e| panic!("{e}"));
            let shown = format!("{}:\n{before}{after}", pass.name);
            prop_assert_eq!(stage.graph.is_none(), after.to_string() == before.to_string(), "{}", shown);
            let exact = ["constants", "identities", "duplicates", "unused"].contains(&pass.name);
            assert_same(&expected, &values(&after).0, exact, &shown);
        }
    }

    #[test]
    fn all_passes_keep_what_a_graph_means(recipes in recipes()) {
        let before = graph(&recipes);
        let mut after = before.clone();
        run_all(&Cx::default(), &mut after).unwrap_or_else(|e| panic!("{e}"));
        assert_same(&values(&before), &values(&after).0, false, &format!("{before}{after}"));
    }
}
