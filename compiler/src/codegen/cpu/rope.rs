//! Rotary embeddings that the kernel written by hand computes: alone, or of heads that lie in wider rows.
use ir::expr::{Body, inline};
use ir::ops::{Pairing, Reshape, Slice};
use ir::plan::Kernel;
use ir::{Op, TensorType, ops};

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
pub(super) fn find(op: &Op, kernel: &Kernel) -> Option<Found> {
    let [_, heads, width] = &kernel.output.shape[..] else { return None };
    let (heads, width) = (heads.known()? as u64, width.known()? as u64);
    let whole = |table: &TensorType| match &table.shape[..] {
        [positions, half] => {
            positions.known().is_some_and(|p| p > 0) && half.known() == Some(width as i64 / 2)
        }
        _ => false,
    };
    match op {
        Op::Rope(rope) if whole(&kernel.inputs[1]) => {
            Some(Found { pairing: rope.pairing, args: [0, 1, 2, 3], row: heads * width, offset: 0 })
        }
        // Where heads are cut out of a row of all projections, x has become the last input.
        Op::Fused(fused) if fused.anchor.is_none() => {
            let [cos, sin, positions, x] = &kernel.inputs[..] else { return None };
            let [_, row] = &x.shape[..] else { return None };
            let row = row.known()? as u64;
            let last = row.checked_sub(heads * width).filter(|_| whole(cos))?;
            let cut = Cut { x, cos, sin, positions, output: &kernel.output, len: heads * width };
            let places = (0..=last).step_by(width as usize);
            let all = places.flat_map(|offset| [(Pairing::Adjacent, offset), (Pairing::Halves, offset)]);
            let (pairing, offset) = all
                .into_iter()
                .find(|(pairing, at)| cut.body(*pairing, *at).as_ref() == Some(&fused.body))?;
            Some(Found { pairing, args: [3, 0, 1, 2], row, offset })
        }
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
}
