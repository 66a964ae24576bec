//! Rotary embeddings that the kernel written by hand computes: alone, or of heads that lie in wider rows.
use ir::expr::{Body, Term, inline};
use ir::ops::{Pairing, Reshape, Slice};
use ir::plan::Kernel;
use ir::{DType, Op, TensorType, ops};
use passes::PLAIN;

/// Where the parts of a rotary embedding are.
pub(super) struct Found {
    pub(super) pairing: Pairing,
    /// Which inputs are x, cosines, sines and positions.
    pub(super) args: [usize; 4],
    /// From one row of x to the next, and from a row's start to its first head, in elements.
    pub(super) row: u64,
    pub(super) offset: u64,
}

/// Whether a kernel is a rotary embedding of whole heads, to which all four inputs are given plain.
///
/// A body says nothing of the types that it is applied to, so those are looked at here.
pub(super) fn find(op: &Op, kernel: &Kernel) -> Option<Found> {
    let [_, heads, width] = &kernel.output.shape[..] else { return None };
    let (heads, width) = (u64::try_from(heads.known()?).ok()?, u64::try_from(width.known()?).ok()?);
    if width == 0 || kernel.output.dtype != DType::F32 || kernel.layouts.iter().any(|l| l != PLAIN) {
        return None;
    }
    let len = heads.checked_mul(width)?;
    let fits = |x: &TensorType, tables: [&TensorType; 2], positions: &TensorType| {
        let table = [tables[0].shape.first(), tables[0].shape.get(1)].map(|d| d.and_then(|d| d.known()));
        x.dtype == DType::F32
            && tables.iter().all(|table| table.dtype == DType::F32 && table.rank() == 2)
            && tables[0] == tables[1]
            && positions.dtype == DType::I32
            && table[0].is_some_and(|positions| positions > 0)
            && table[1].and_then(|half| half.checked_mul(2)) == Some(width as i64)
    };
    match op {
        Op::Rope(rope) => {
            let [x, cos, sin, positions] = &kernel.inputs[..] else { return None };
            let found = Found { pairing: rope.pairing, args: [0, 1, 2, 3], row: len, offset: 0 };
            fits(x, [cos, sin], positions).then_some(found)
        }
        // Where heads are cut out of a row of all projections, x has become the last input.
        Op::Fused(fused) if fused.anchor.is_none() => {
            let [cos, sin, positions, x] = &kernel.inputs[..] else { return None };
            let [_, row] = &x.shape[..] else { return None };
            let row = u64::try_from(row.known()?).ok()?;
            let last = row.checked_sub(len).filter(|_| fits(x, [cos, sin], positions))?;
            let cut = Cut { x, cos, sin, positions, output: &kernel.output, len };
            // Where the heads begin stands in the body, unless they begin the row.
            let mut places: Vec<u64> = fused.body.terms().iter().filter_map(place).collect();
            places.push(0);
            places.retain(|place| *place <= last);
            places.sort_unstable();
            places.dedup();
            let all = places.into_iter().flat_map(|at| [(Pairing::Adjacent, at), (Pairing::Halves, at)]);
            let (pairing, offset) = all
                .into_iter()
                .find(|(pairing, at)| cut.body(*pairing, *at).as_ref() == Some(&fused.body))?;
            Some(Found { pairing, args: [3, 0, 1, 2], row, offset })
        }
        _ => None,
    }
}

/// A constant that may be a place in a row.
fn place(term: &Term) -> Option<u64> {
    match term {
        Term::Int(value) => u64::try_from(*value).ok(),
        _ => None,
    }
}

/// Heads that are cut out of rows and turned.
struct Cut<'a> {
    x: &'a TensorType,
    cos: &'a TensorType,
    sin: &'a TensorType,
    positions: &'a TensorType,
    output: &'a TensorType,
    /// Elements of a row that are the heads'.
    len: u64,
}

impl Cut<'_> {
    /// What fusion makes of slice, reshape and rope.
    fn body(&self, pairing: Pairing, offset: u64) -> Option<Body> {
        let mut cut = self.x.clone();
        cut.shape[1] = (self.len as i64).into();
        let types = [self.output, self.cos, self.sin, self.positions].map(TensorType::clone);
        let rope = Op::from(ops::Rope { pairing }).body(&types)?;
        let heads =
            Op::from(Reshape { shape: self.output.shape.clone() }).body(std::slice::from_ref(&cut))?;
        let turned = inline(&rope, 3, 0, &heads, &[0, 0, 1, 2], &[3]);
        if cut == *self.x {
            return Some(turned);
        }
        let slice =
            Op::from(Slice { axis: 1, start: offset, len: self.len }).body(std::slice::from_ref(self.x))?;
        Some(inline(&turned, 3, 3, &slice, &[0, 1, 2, 3], &[3]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ir::plan::{KernelId, OpText};

    fn kernel(op: &Op, inputs: &[&str], output: &str) -> Kernel {
        let ty = |text: &&str| TensorType::parse(text).unwrap();
        Kernel {
            id: KernelId(0),
            name: String::new(),
            op: OpText(op.name().to_owned(), op.attributes()),
            inputs: inputs.iter().map(ty).collect(),
            layouts: vec![],
            output: ty(&output),
            scratch: 0,
            shared: 0,
        }
    }

    #[test]
    fn heads_cut_out_of_a_row_are_found_as_fusion_writes_them() {
        let pair = "let t3 = (x3[i0, ((t0 + i2) + 576)] * x0[t1, t2]); let t4 = x1[t1, t2];";
        let body = format!(
            "let t0 = (i1 * 64); let t1 = x2[i0]; let t2 = (i2 / 2); {pair} select(((i2 % 2) == 0), \
             (t3 - (x3[i0, ((t0 + (i2 + 1)) + 576)] * t4)), (t3 + (x3[i0, ((t0 + (i2 - 1)) + 576)] * t4)))"
        );
        let op = |body: &str| Op::parse("fused", &format!("body:{body:?},ty:\"f32[n, 3, 64]\"")).unwrap();
        let inputs = ["f32[4096, 32]", "f32[4096, 32]", "i32[n]", "f32[n, 960]"];
        let rope = op(&body);
        let found = find(&rope, &kernel(&rope, &inputs, "f32[n, 3, 64]")).expect("it is one");
        assert_eq!((found.pairing, found.row, found.offset), (Pairing::Adjacent, 960, 576));
        assert_eq!(found.args, [3, 0, 1, 2]);

        let other = op(&body.replace("t3 - ", "t3 + "));
        assert!(find(&other, &kernel(&other, &inputs, "f32[n, 3, 64]")).is_none());
    }

    #[test]
    fn an_equal_body_of_other_types_is_left_to_the_compiler() {
        let rope = Op::from(ops::Rope { pairing: Pairing::Halves });
        let sound = ["f32[n, 3, 64]", "f32[9, 32]", "f32[9, 32]", "i32[n]"];
        assert!(find(&rope, &kernel(&rope, &sound, "f32[n, 3, 64]")).is_some());
        assert!(find(&rope, &kernel(&rope, &sound, "f16[n, 3, 64]")).is_none());
        assert!(find(&rope, &kernel(&rope, &sound, "f32[n, 3, 0]")).is_none());
        // The last of 65 is not turned.
        assert!(find(&rope, &kernel(&rope, &sound, "f32[n, 3, 65]")).is_none());
        for (input, ty) in
            [(0, "f16[n, 3, 64]"), (1, "f16[9, 32]"), (2, "f32[9, 40]"), (1, "f32[9, 16]"), (3, "f32[n]")]
        {
            let mut inputs = sound;
            inputs[input] = ty;
            assert!(find(&rope, &kernel(&rope, &inputs, "f32[n, 3, 64]")).is_none(), "{ty}");
        }
    }
}
