//! The rows that are computed by a function written by hand, and the bodies by which they are known.
use ir::expr::{Body, inline};
use ir::{Op, TensorType, ops};
use kernels::gated::{GELU, RowCode, SILU};
use loops::RowFunction;
use std::sync::LazyLock;

/// The functions that rows may be, and their code.
pub(super) struct Rows {
    pub(super) functions: Vec<RowFunction>,
    pub(super) code: Vec<RowCode>,
}

/// All of them.
pub(super) static ROWS: LazyLock<Rows> = LazyLock::new(|| {
    let point = [TensorType::f32(&[])];
    let body = |op: Op, types: &[TensorType]| op.body(types).expect("pointwise operators have a body");
    let product = body(ops::Mul {}.into(), &[point.clone(), point.clone()].concat());
    let mut rows = Rows { functions: vec![], code: vec![] };
    let mut add = |name, body: Body, args, code: RowCode| {
        rows.functions.push(RowFunction { name, body, args });
        rows.code.push(code);
    };
    let silu = body(ops::Silu {}.into(), &point);
    let gelu = body(ops::Gelu {}.into(), &point);
    for (name, activation, code) in [("silu", silu, SILU), ("gelu", gelu, GELU)] {
        // The gate may stand on either side.
        add(name, inline(&product, 0, 0, &activation, &[0, 1], &[0]), 2, code);
        add(name, inline(&product, 0, 1, &activation, &[1, 0], &[0]), 2, code);
        add(name, activation, 1, code);
    }
    rows
});
