//! The paged cache of keys and values: where its elements lie, and writing them.
use super::{Hand, known};
use crate::emit::{Emit, Ty, Val};
use crate::program::{Grid, Program};
use cubecl::ir::Variable;
use ir::plan::Kernel;
use ir::{DType, TensorType};

const UNITS: u32 = 64;

/// A cache, of one layer's keys or values.
#[derive(Clone, Copy)]
pub(super) struct Cache {
    dtype: DType,
    pub(super) heads: u32,
    /// Tokens of a page.
    pub(super) page: u32,
    /// Elements of a head.
    pub(super) width: u32,
    /// Whether neighbouring positions lie side by side, and not a head's elements.
    transposed: bool,
}

impl Cache {
    pub(super) fn of(ty: &TensorType, transposed: bool) -> Result<Cache, String> {
        let [_, heads, a, b] = &ty.shape[..] else { return Err(format!("{ty} is no cache")) };
        let (page, width) = if transposed { (b, a) } else { (a, b) };
        match ty.dtype {
            DType::F16 | DType::F32 => {}
            other => return Err(format!("a cache is of f16 or f32, got {other}")),
        }
        let (heads, page, width) = (known(heads)?, known(page)?, known(width)?);
        Ok(Cache { dtype: ty.dtype, heads, page, width, transposed })
    }

    /// As what memory holds an element.
    pub(super) fn memory(&self) -> Ty {
        if self.dtype == DType::F16 { Ty::U16 } else { Ty::F32 }
    }

    /// The index of an element of a head, at a position whose page is known.
    pub(super) fn index(&self, e: &mut Emit, page: Val, position: Val, head: Val, element: Val) -> Val {
        let row = e.rest(position, self.page);
        let (outer, inner, stride) =
            if self.transposed { (element, row, self.page) } else { (row, element, self.width) };
        let head = {
            let page = e.times(page, self.heads);
            e.add(page, head)
        };
        let head = e.times(head, self.page * self.width);
        let outer = e.times(outer, stride);
        let at = e.add(head, outer);
        e.add(at, inner)
    }

    pub(super) fn load(&self, e: &mut Emit, array: Variable, index: Val) -> Val {
        let value = e.load(array, index, self.memory());
        if self.dtype == DType::F32 {
            return value;
        }
        let bits = e.cast(value, Ty::U32);
        e.from_f16(bits)
    }
}

/// The page that holds a position of a slot: `pages` has a row of `width` for each slot.
pub(super) fn page(e: &mut Emit, pages: Variable, width: Val, slot: Val, position: Val, page: u32) -> Val {
    let (row, column) = (e.mul(slot, width), e.over(position, page));
    let at = e.add(row, column);
    let number = e.load(pages, at, Ty::I32);
    e.cast(number, Ty::U32)
}

/// Writes keys or values of new tokens into a cache, which the output is: a unit an element.
pub(crate) fn kv_append(kernel: &Kernel, transposed: bool, names: &[String]) -> Result<Program, String> {
    let [cache, x, _, _, table] = &kernel.inputs[..] else { return Err("takes 5 inputs".into()) };
    let cache = Cache::of(cache, transposed)?;
    let mut hand = Hand::new(kernel, names);
    let x_at = hand.input(1, Ty::F32);
    let [positions, slots, pages] = [2, 3, 4].map(|at| hand.input(at, Ty::I32));
    let output = hand.output(cache.memory());
    let (at, count, columns) = (hand.unit(UNITS), hand.dim(&x.shape[0])?, hand.dim(&table.shape[1])?);
    let e = &mut hand.e;
    let own = cache.heads * cache.width;
    let (token, rest) = (e.over(at, own), e.rest(at, own));
    let (head, element) = (e.over(rest, cache.width), e.rest(rest, cache.width));
    let exists = e.lt(token, count);
    let around = e.open();
    let [position, slot] = [positions, slots].map(|array| {
        let value = e.load(array, token, Ty::I32);
        e.cast(value, Ty::U32)
    });
    let page = page(e, pages, columns, slot, position, cache.page);
    let to = cache.index(e, page, position, head, element);
    let mut value = e.load(x_at, at, Ty::F32);
    if cache.memory() == Ty::U16 {
        let bits = e.to_f16(value);
        value = e.cast(bits, Ty::U16);
    }
    e.store(output, to, value);
    let scope = e.close(around);
    e.branch(exists, scope);
    let extents = vec![x.shape[0].clone(), i64::from(own).into()];
    Ok(hand.finish(UNITS, Grid { extents, per: UNITS, rows: None }))
}
