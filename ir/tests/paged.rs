//! The paged cache: what `kv_append` writes is what `paged_attention` sees, wherever its pages lie.
use ir::ops::{Attention, KvAppend, PagedAttention, Transpose};
use ir::{DType, Op, Symbols, Tensor};

const HEADS: u64 = 2;
const WIDTH: u64 = 4;

fn eval(op: impl Into<Op>, inputs: &[&Tensor]) -> Result<Tensor, String> {
    let op = op.into();
    op.infer(&inputs.iter().map(|t| t.ty()).collect::<Vec<_>>()).expect("the inputs fit");
    op.eval(inputs, &Symbols::new()).map_err(|e| e.to_string())
}

fn wave(shape: &[u64], phase: f32) -> Tensor {
    let mut i = 0.0;
    Tensor::build(shape, |_| {
        i += 1.0;
        (i * 0.7 + phase).sin()
    })
}

/// Two sequences, in slots 0 and 2, take turns; their pages lie out of order, and slot 1 has none.
struct Sequences {
    positions: Tensor,
    slots: Tensor,
    pages: Tensor,
    rows: [Vec<usize>; 2],
}

fn sequences() -> Sequences {
    Sequences {
        positions: Tensor::i32(&[8], &[0, 0, 1, 2, 1, 3, 4, 2]),
        slots: Tensor::i32(&[8], &[0, 2, 0, 0, 2, 0, 0, 2]),
        pages: Tensor::i32(&[3, 3], &[5, 0, 3, -1, -1, -1, 1, 4, -1]),
        rows: [vec![0, 2, 3, 5, 6], vec![1, 4, 7]],
    }
}

/// Attention over each sequence by itself, the rows put back where they came from.
fn apart(s: &Sequences, q: &Tensor, k: &Tensor, v: &Tensor, window: Option<usize>) -> Vec<f32> {
    let heads_first = |t: &Tensor, rows: &[usize], heads: u64| {
        let values: Vec<f32> = rows.iter().flat_map(|&r| t.row(r)).collect();
        let t = Tensor::f32(&[rows.len() as u64, heads, WIDTH], &values);
        eval(Transpose { order: vec![1, 0, 2] }, &[&t]).unwrap()
    };
    let query_heads = q.shape()[1];
    let mut out = vec![0.0; q.len()];
    for rows in &s.rows {
        let n = rows.len() as u64;
        let hidden = |i: u64, j: u64| window.is_some_and(|w| j as usize + w <= i as usize);
        let mask = Tensor::build(&[n, n], |at| if hidden(at[0], at[1]) { f32::NEG_INFINITY } else { 0.0 });
        let q = heads_first(q, rows, query_heads);
        let (k, v) = (heads_first(k, rows, HEADS), heads_first(v, rows, HEADS));
        let seen = eval(Attention { scale: 0.5, causal: true }, &[&q, &k, &v, &mask]).unwrap();
        let seen = eval(Transpose { order: vec![1, 0, 2] }, &[&seen]).unwrap().to_f32();
        let width = (query_heads * WIDTH) as usize;
        for (row, value) in rows.iter().zip(seen.chunks(width)) {
            out[row * width..][..width].copy_from_slice(value);
        }
    }
    out
}

#[test]
fn attention_over_pages_is_attention_over_each_sequence() {
    let s = sequences();
    let q = wave(&[8, 6, WIDTH], 0.0);
    let (k, v) = (wave(&[8, HEADS, WIDTH], 1.0), wave(&[8, HEADS, WIDTH], 2.0));
    let empty = Tensor::build(&[6, HEADS, 2, WIDTH], |_| f32::NAN);
    let transposed = Tensor::build(&[6, HEADS, WIDTH, 2], |_| f32::NAN);
    let fill = |transposed, cache: &Tensor, rows: &Tensor| {
        eval(KvAppend { transposed }, &[cache, rows, &s.positions, &s.slots, &s.pages]).unwrap()
    };
    let (keys, values) = (fill(true, &transposed, &k), fill(false, &empty, &v));
    for window in [None, Some(1), Some(2), Some(9)] {
        let op = PagedAttention { scale: 0.5, window, softcap: None, shared: None };
        let paged = eval(op, &[&q, &keys, &values, &s.positions, &s.slots, &s.pages]).unwrap().to_f32();
        let expected = apart(&s, &q, &k, &v, window.map(|w| w as usize));
        let off = paged.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off < 1e-6, "window {window:?}: off by {off}");
    }
}

#[test]
fn a_softcap_bounds_how_far_keys_differ() {
    let ones = |shape: &[u64]| Tensor::build(shape, |_| 100.0);
    let keys = Tensor::build(&[1, 1, 1, 2], |at| if at[3] == 0 { -100.0 } else { 100.0 });
    let values = Tensor::f32(&[1, 1, 2, 1], &[0.0, 1.0]);
    let one = |v| Tensor::i32(&[1], &[v]);
    let op = PagedAttention { scale: 1.0, window: None, softcap: Some(1.0), shared: None };
    let pages = Tensor::i32(&[1, 1], &[0]);
    let out = eval(op, &[&ones(&[1, 1, 1]), &keys, &values, &one(1), &one(0), &pages]).unwrap();
    let expected = 1.0 / (1.0 + (-2f32).exp());
    assert!((out.to_f32()[0] - expected).abs() < 1e-6, "{out:?}");
}

#[test]
fn what_is_not_written_stays_to_the_bit() {
    let old = Tensor::from_f32(DType::F16, &[6, HEADS, 2, WIDTH], &wave(&[96], 0.3).to_f32());
    let row = wave(&[1, HEADS, WIDTH], 0.0);
    let one = |v| Tensor::i32(&[1], &[v]);
    let pages = sequences().pages;
    let append = |transposed, old: &Tensor| {
        eval(KvAppend { transposed }, &[old, &row, &one(3), &one(2), &pages]).unwrap().to_f32()
    };
    // Page 4, both heads, second position.
    for (i, (old, new)) in old.to_f32().into_iter().zip(append(false, &old)).enumerate() {
        assert_eq!(old == new, !((64..80).contains(&i) && i % 8 >= 4), "element {i}");
    }
    let old = Tensor::from_f32(DType::F16, &[6, HEADS, WIDTH, 2], &old.to_f32());
    for (i, (old, new)) in old.to_f32().into_iter().zip(append(true, &old)).enumerate() {
        assert_eq!(old == new, !((64..80).contains(&i) && i % 2 == 1), "element {i} transposed");
    }
}

#[test]
fn an_address_outside_is_refused() {
    let (cache, keys) = (wave(&[6, HEADS, 2, WIDTH], 0.0), wave(&[6, HEADS, WIDTH, 2], 0.0));
    let row = wave(&[1, HEADS, WIDTH], 0.0);
    let one = |v| Tensor::i32(&[1], &[v]);
    for (position, slot, says) in [
        (6, 0, "position 6, a slot has 6"),
        (-1, 0, "position -1, a slot has 6"),
        (0, 3, "slot 3, the page table has 3"),
        (0, -1, "slot -1, the page table has 3"),
        (0, 1, "page -1 of slot 1, the cache has 6"),
        (4, 2, "page -1 of slot 2, the cache has 6"),
    ] {
        let append = KvAppend { transposed: false };
        let refusal = eval(append, &[&cache, &row, &one(position), &one(slot), &sequences().pages]);
        assert_eq!(refusal, Err(says.to_owned()));
        let q = wave(&[1, HEADS, WIDTH], 0.0);
        let op = PagedAttention { scale: 1.0, window: None, softcap: None, shared: None };
        let at = [&one(position), &one(slot), &sequences().pages];
        assert_eq!(eval(op, &[&q, &keys, &cache, at[0], at[1], at[2]]), Err(says.to_owned()));
    }
}
