//! Causal attention over the paged cache, with an online softmax (Milakov and Gimelshein, 2018).
//!
//! A cube takes one query head of one token. Its units take a stretch of positions at a time: first a position each, of
//! which they compute the score, then an element of the result each, or some, to which they add what the stretch has of
//! it. Where there are more units than elements, several take one, each every so manyth position; in the end their sums
//! are added in order.
use super::paged::{Cache, page};
use super::{Hand, known};
use crate::emit::{Emit, One, Two, Ty, Val};
use crate::program::{Grid, Program};
use cubecl::ir::Builtin;
use ir::ops::PagedAttention;
use ir::plan::Kernel;

/// Units of a cube, and positions of a stretch.
const UNITS: u32 = 256;

pub(crate) fn attention(kernel: &Kernel, op: &PagedAttention, names: &[String]) -> Result<Program, String> {
    let [q, keys, values, _, _, table] = &kernel.inputs[..] else { return Err("takes 6 inputs".into()) };
    let heads = known(&q.shape[1])?;
    let (keys, values) = (Cache::of(keys, true)?, Cache::of(values, false)?);
    let (by, skip) = op.shared.map_or((heads / keys.heads.max(1), 0), |shared| (shared.by, shared.skip));
    let width = keys.width;
    let mut hand = Hand::new(kernel, names);
    let queries = hand.input(0, Ty::F32);
    let (keys_at, values_at) = (hand.input(1, keys.memory()), hand.input(2, values.memory()));
    let [positions, slots, pages] = [3, 4, 5].map(|at| hand.input(at, Ty::I32));
    let output = hand.output(Ty::F32);
    let (at, columns, count) = (hand.e.cube(), hand.dim(&table.shape[1])?, hand.dim(&q.shape[0])?);
    let e = &mut hand.e;
    let unit = e.builtin(Builtin::UnitPosX);
    let (token, head) = (e.over(at, heads), e.rest(at, heads));
    let exists = e.lt(token, count);
    let (query, weights) = (e.shared(Ty::F32, width as usize), e.shared(Ty::F32, UNITS as usize));
    let meeting = e.shared(Ty::F32, UNITS as usize);
    let around = e.open();
    let [position, slot] = [positions, slots].map(|array| {
        let value = e.load(array, token, Ty::I32);
        e.cast(value, Ty::U32)
    });
    let key_head = {
        let first = e.plus(head, skip);
        e.over(first, by)
    };
    let from = e.times(at, width);
    let (end, step) = (e.u32(width), e.u32(UNITS));
    e.range([unit, end, step], |e, i| {
        let index = e.add(from, i);
        let (value, scale) = (e.load(queries, index, Ty::F32), e.f32(op.scale));
        let value = e.mul(value, scale);
        e.store(query, i, value);
    });
    e.sync();
    let own = width.div_ceil(UNITS);
    // How many units share an element, and which of them a unit is.
    let sharing = (UNITS / width).max(1);
    let (element, which) = match own {
        1 => (e.rest(unit, width), e.over(unit, width)),
        _ => (unit, e.u32(0)),
    };
    let (zero, least) = (e.f32(0.0), e.f32_of_bits(f32::NEG_INFINITY.to_bits()));
    let totals: Vec<Val> = (0..own).map(|_| e.variable(zero)).collect();
    let (sum, max) = (e.variable(zero), e.variable(least));
    let last = e.plus(position, 1);
    let first = first_seen(e, last, op.window);
    e.range([first, last, step], |e, start| {
        let here = e.add(start, unit);
        let is_seen = e.lt(here, last);
        let score = e.variable(least);
        e.when(is_seen, |e| {
            let page = page(e, pages, columns, slot, here, keys.page);
            let mut dot = e.f32(0.0);
            for i in 0..width {
                let element = e.u32(i);
                let index = keys.index(e, page, here, key_head, element);
                let (q, k) = (e.load_now(query, element, Ty::F32), keys.load(e, keys_at, index));
                dot = e.fma(q, k, dot);
            }
            let dot = capped(e, dot, op.softcap);
            e.assign(score, dot);
        });
        let own_score = e.now(score);
        let before = e.now(max);
        let best = e.over_cube(meeting, UNITS, own_score, |e, a, b| e.two(Two::Max, a, b));
        let best = e.two(Two::Max, before, best);
        let weight = {
            let apart = e.sub(own_score, best);
            e.one(One::Exp, apart)
        };
        e.store(weights, unit, weight);
        let all = e.over_cube(meeting, UNITS, weight, Emit::add);
        let shrink = e.sub(before, best);
        let shrink = e.one(One::Exp, shrink);
        let total = e.now(sum);
        let total = e.fma(total, shrink, all);
        e.assign(sum, total);
        e.assign(max, best);
        let rest = e.sub(last, start);
        let seen = e.two(Two::Min, rest, step);
        let sharing = e.u32(sharing);
        for total in &totals {
            let scaled = e.now(*total);
            let scaled = e.mul(scaled, shrink);
            e.assign(*total, scaled);
        }
        e.range([which, seen, sharing], |e, i| {
            let here = e.add(start, i);
            let page = page(e, pages, columns, slot, here, values.page);
            let weight = e.load_now(weights, i, Ty::F32);
            for (at, total) in (0..).zip(&totals) {
                let element = e.plus(element, at * UNITS);
                let element = inside(e, element, width);
                let index = values.index(e, page, here, key_head, element);
                let (value, now) = (values.load(e, values_at, index), e.now(*total));
                let next = e.fma(weight, value, now);
                e.assign(*total, next);
            }
        });
        // Weights are written again in the next turn.
        e.sync();
    });
    let sum = e.now(sum);
    for (at, total) in (0..).zip(&totals) {
        let total = e.now(*total);
        let element = e.plus(unit, at * UNITS);
        let is_own = e.lt(element, end);
        e.store(meeting, unit, total);
        e.sync();
        e.when(is_own, |e| {
            let mut total = total;
            for other in 1..sharing {
                let other = e.plus(unit, other * width);
                let other = e.load_now(meeting, other, Ty::F32);
                total = e.add(total, other);
            }
            let (index, result) = (e.add(from, element), e.two(Two::Div, total, sum));
            e.store(output, index, result);
        });
        e.sync();
    }
    let scope = e.close(around);
    e.branch(exists, scope);
    let extents = vec![q.shape[0].clone(), i64::from(heads).into()];
    Ok(hand.finish(UNITS, Grid { extents, per: 1, rows: None }))
}

/// The first position that a token sees, of those before `last`.
fn first_seen(e: &mut Emit, last: Val, window: Option<u32>) -> Val {
    let Some(window) = window else { return e.u32(0) };
    let window = e.u32(window);
    let seen = e.two(Two::Min, last, window);
    e.sub(last, seen)
}

/// An element that there is: units beyond the last take it, too, and write nothing.
fn inside(e: &mut Emit, element: Val, width: u32) -> Val {
    let most = e.u32(width - 1);
    e.two(Two::Min, element, most)
}

/// `cap * tanh(score / cap)`.
fn capped(e: &mut Emit, score: Val, cap: Option<f32>) -> Val {
    let Some(cap) = cap else { return score };
    let (by, cap, one, two) = (e.f32(2.0 / cap), e.f32(cap), e.f32(1.0), e.f32(2.0));
    let twice = e.mul(score, by);
    let power = e.one(One::Exp, twice);
    let below = e.add(power, one);
    let rest = e.two(Two::Div, two, below);
    let tanh = e.sub(one, rest);
    e.mul(cap, tanh)
}
