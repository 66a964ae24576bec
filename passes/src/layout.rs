//! Decides how every weight lies in the packed file: as the backend wants it under the operators that use it.
use crate::{Change, Cx, PassError};
use ir::{Graph, Op};

pub(crate) fn run(cx: &Cx, g: &mut Graph) -> Result<Change, PassError> {
    let mut change = Change::None;
    for n in g.order() {
        let Op::Weight(weight) = &g[n].op else { continue };
        let users: Vec<&Op> = g.users(n).into_iter().map(|user| &g[user].op).collect();
        let layout = (cx.target.layout)(&weight.ty, &users)
            .map_err(|reason| PassError::Unschedulable { node: weight.name.clone(), reason })?;
        if weight.layout.as_ref() != Some(&layout) {
            let weight = ir::ops::Weight { layout: Some(layout), ..weight.clone() };
            g.set_op(n, weight);
            change = Change::Some;
        }
    }
    Ok(change)
}
