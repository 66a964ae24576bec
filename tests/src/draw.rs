//! Values of no pattern, the same on every run.
use ir::{DType, Graph, Symbols, Tensor, TensorType};
use std::collections::BTreeMap;

/// Values for every symbol that the types mention.
pub fn symbols<'a>(types: impl IntoIterator<Item = &'a TensorType>) -> Symbols {
    let dims = types.into_iter().flat_map(|ty| &ty.shape);
    let names = dims.flat_map(|d| d.terms().map(|(name, _)| name));
    names.fold(Symbols::new(), |s, name| s.with(name, 2 + name.bytes().map(i64::from).sum::<i64>() % 3))
}

/// Values for every symbol of a graph.
pub fn symbols_of(g: &Graph) -> Symbols {
    symbols(g.nodes().map(|n| &g[n].ty))
}

/// Tensors of the types. Integers among them lie inside every axis of every other, so that they may be indices.
pub fn inputs(types: &[TensorType], symbols: &Symbols, seed: u64) -> Vec<Tensor> {
    let extents = types.iter().flat_map(|ty| symbols.extents(ty).expect("a value for every symbol"));
    let below = extents.filter(|&e| e > 1).min().unwrap_or(1);
    types.iter().zip(seed * 16..).map(|(ty, seed)| tensor(ty, symbols, seed + 1, below)).collect()
}

/// Values for everything that a graph is given, by name.
pub fn given(g: &Graph, symbols: &Symbols) -> BTreeMap<String, Tensor> {
    let named = |n| g[n].op.given_name().map(|name| (name.to_owned(), g[n].ty.clone()));
    let (names, types): (Vec<String>, Vec<TensorType>) = g.nodes().filter_map(named).unzip();
    names.into_iter().zip(inputs(&types, symbols, 3)).collect()
}

/// A tensor of the type: reals from -2 to 2, integers from 0 to `below`, which it excludes.
pub fn tensor(ty: &TensorType, symbols: &Symbols, seed: u64, below: u64) -> Tensor {
    let shape = symbols.extents(ty).expect("a value for every symbol");
    let n = shape.iter().product::<u64>();
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut draw = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 40
    };
    if ty.dtype.is_real() {
        let values: Vec<f32> = (0..n).map(|_| draw() as f32 / (1 << 22) as f32 - 2.0).collect();
        return Tensor::from_f32(ty.dtype, &shape, &values);
    }
    let below = if ty.dtype == DType::Bool { 2 } else { below };
    Tensor::from_ints(ty.dtype, &shape, (0..n).map(|_| (draw() % below) as i64))
}
