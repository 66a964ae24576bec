//! A plan's steps with everything found that they name.
use super::{Ends, Weights};
use crate::error::RunError;
use crate::sync::Shared;
use crate::{Arena, ArenaError, Executable, Extent, Reader, Writer};
use ir::TensorType;
use ir::plan::{Arg, BufferId, Edge, EdgeId, Plan, Step, Thread};
use std::collections::HashMap;

/// A step, and what is done behind it.
pub(super) struct Ready {
    pub(super) deed: Deed,
    /// The readers whose oldest slot is given back.
    pub(super) frees: Vec<usize>,
}

pub(super) enum Deed {
    Recv {
        reader: usize,
        to: Place,
        tells: Option<Tells>,
        measure: Measure,
    },
    Run {
        code: Shared<dyn Executable>,
        args: Vec<*mut u8>,
        /// The arguments that lie in slots, each with its number there: they are found anew each time.
        in_slots: Vec<(usize, usize)>,
        /// The writer whose next slot the result lies in, and the result's number there.
        claims: Option<(usize, usize)>,
    },
    Send {
        writer: usize,
        from: Place,
        measure: Measure,
    },
    /// Sends what lies in the slot already.
    Publish {
        writer: usize,
        measure: Measure,
    },
}

/// Where a value lies.
#[derive(Clone, Copy)]
pub(super) enum Place {
    /// Always there.
    Fixed(*mut u8),
    /// In a slot, by its number among the values that do.
    Slot(usize),
}

/// A message's size: what it says of the symbols, and what the symbols say of it.
pub(crate) struct Measure {
    dims: Vec<Extent>,
    /// So many elements take so many bytes.
    block: (usize, usize),
}

/// What the length of an edge's messages tells: a symbol's value, and for each of it so many bytes.
pub(super) struct Tells {
    symbol: usize,
    each: usize,
}

impl Measure {
    pub(crate) fn new(ty: &TensorType, plan: &Plan) -> Result<Measure, RunError> {
        let index = |s: &str| symbol(plan, s, ty);
        let extent = |d: &ir::Dim| -> Result<Extent, RunError> {
            let terms =
                d.terms().map(|(s, by)| Ok((by, index(s)? as u32))).collect::<Result<_, RunError>>()?;
            Ok(Extent { constant: d.constant(), terms })
        };
        let dims = ty.shape.iter().map(extent).collect::<Result<_, _>>()?;
        Ok(Measure { dims, block: (ty.dtype.block_len() as usize, ty.dtype.block_bytes() as usize) })
    }

    /// Bytes of a message under the symbols' values.
    pub(crate) fn bytes(&self, syms: &[i64]) -> usize {
        let elements = self.dims.iter().map(|d| d.eval(syms).max(0) as usize).product::<usize>();
        elements / self.block.0 * self.block.1
    }
}

impl Tells {
    pub(super) fn new(edge: &Edge, plan: &Plan) -> Result<Option<Tells>, RunError> {
        let Some(name) = edge.tells() else { return Ok(None) };
        let each = edge.ty.bytes(|_| Some(1)).unwrap_or(0) as usize;
        Ok(Some(Tells { symbol: symbol(plan, name, &edge.ty)?, each }))
    }

    /// Takes the symbol's value from a message's length.
    pub(super) fn learn(&self, bytes: usize, syms: &mut [i64]) {
        syms[self.symbol] = bytes.checked_div(self.each).unwrap_or(0) as i64;
    }
}

/// Where a symbol of `ty` stands among the plan's.
fn symbol(plan: &Plan, name: &str, ty: &TensorType) -> Result<usize, RunError> {
    let unsound =
        || RunError::Unsound(format!("{ty} mentions the symbol {name}, which the plan does not list"));
    plan.symbols.iter().position(|p| p.name == name).ok_or_else(unsound)
}

impl Place {
    pub(super) fn find(self, slots: &[*mut u8]) -> *mut u8 {
        match self {
            Place::Fixed(at) => at,
            Place::Slot(number) => slots[number],
        }
    }
}

/// What a device's steps point into.
pub(super) struct Memory {
    pub(super) arena: Arena,
    pub(super) states: Arena,
    pub(super) shared: Arena,
    pub(super) weights: Weights,
}

/// A device's steps and its ends of edges, which steps name by position.
pub(super) struct Resolved {
    pub(super) steps: Vec<Ready>,
    pub(super) readers: Vec<Reader>,
    pub(super) writers: Vec<Writer>,
    /// Where each value that lies in a slot lies at present.
    pub(super) slots: Vec<*mut u8>,
}

/// Finds what the steps of a thread name.
pub(super) fn resolve(
    plan: &Plan,
    thread: &Thread,
    code: &[Option<Shared<dyn Executable>>],
    memory: &Memory,
    Ends { readers, writers }: Ends,
) -> Result<Resolved, RunError> {
    let (at_reader, readers) = listed(readers);
    let (at_writer, writers) = listed(writers);
    let find = |ends: &HashMap<u32, usize>, id: EdgeId| find_end(ends, id, thread);
    let own = plan.buffers.iter().filter(|b| b.slot.is_some() && b.device == thread.device);
    let numbers: HashMap<BufferId, usize> = own.enumerate().map(|(number, b)| (b.id, number)).collect();
    let place = |id: BufferId| match numbers.get(&id) {
        Some(number) => Ok(Place::Slot(*number)),
        None => memory.find(plan, Arg::B(id)).map(Place::Fixed),
    };
    let measure = |id: EdgeId| Measure::new(&plan.edges[id.0 as usize].ty, plan);
    let mut steps = Vec::with_capacity(thread.steps.len());
    for (step, uses) in thread.steps.iter().zip(plan.slot_uses(thread)) {
        let deed = match step {
            Step::Recv { edge, to } => {
                let (reader, to, measure) = (find(&at_reader, *edge)?, place(*to)?, measure(*edge)?);
                Deed::Recv { reader, to, tells: Tells::new(&plan.edges[edge.0 as usize], plan)?, measure }
            }
            Step::Send { edge, from } if plan.buffers[from.0 as usize].slot == Some(*edge) => {
                Deed::Publish { writer: find(&at_writer, *edge)?, measure: measure(*edge)? }
            }
            Step::Send { edge, from } => {
                Deed::Send { writer: find(&at_writer, *edge)?, from: place(*from)?, measure: measure(*edge)? }
            }
            Step::Run { kernel, args, .. } => {
                let code =
                    code[kernel.0 as usize].clone().expect("who gave the engine has been asked for it");
                let (mut pointers, mut in_slots) = (vec![], vec![]);
                for (index, arg) in args.iter().enumerate() {
                    let number = if let Arg::B(id) = arg { numbers.get(id) } else { None };
                    in_slots.extend(number.map(|number| (index, *number)));
                    pointers.push(match number {
                        Some(_) => std::ptr::null_mut(),
                        None => memory.find(plan, *arg)?,
                    });
                }
                let result = in_slots.last().map_or(0, |(_, number)| *number);
                let claims = uses.claims.map(|edge| find(&at_writer, edge)).transpose()?;
                if code.shared_bytes() > 0 {
                    let outside = |e: ArenaError| RunError::Unsound(format!("what {kernel} shares: {e}"));
                    pointers.push(memory.shared.at(0, code.shared_bytes()).map_err(outside)?);
                }
                Deed::Run { code, args: pointers, in_slots, claims: claims.map(|writer| (writer, result)) }
            }
        };
        let frees = uses.frees.iter().map(|(edge, _)| find(&at_reader, *edge)).collect::<Result<_, _>>()?;
        steps.push(Ready { deed, frees });
    }
    Ok(Resolved { steps, readers, writers, slots: vec![std::ptr::null_mut(); numbers.len()] })
}

/// Where the end of an edge stands in the thread's list.
pub(super) fn find_end(ends: &HashMap<u32, usize>, id: EdgeId, thread: &Thread) -> Result<usize, RunError> {
    let missing = || RunError::Unsound(format!("{id} has no such end on {}", thread.device));
    ends.get(&id.0).copied().ok_or_else(missing)
}

/// Ends of edges in a list, and by edge where they stand in it.
pub(super) fn listed<T>(ends: HashMap<u32, T>) -> (HashMap<u32, usize>, Vec<T>) {
    let mut at = HashMap::new();
    let ends = ends.into_iter().enumerate().map(|(index, (edge, end))| {
        at.insert(edge, index);
        end
    });
    let ends = ends.collect();
    (at, ends)
}

impl Memory {
    fn find(&self, plan: &Plan, arg: Arg) -> Result<*mut u8, RunError> {
        argument(plan, arg, &self.arena, &self.states, &self.weights)
    }
}

/// Where an argument lies in a device's memory, if it lies in no slot.
pub(crate) fn argument(
    plan: &Plan,
    arg: Arg,
    arena: &Arena,
    states: &Arena,
    weights: &Weights,
) -> Result<*mut u8, RunError> {
    let outside = |e: ArenaError| RunError::Unsound(format!("{arg:?} lies outside its memory: {e}"));
    match arg {
        Arg::B(id) => {
            let b = &plan.buffers[id.0 as usize];
            arena.at(b.offset as usize, b.bytes as usize).map_err(outside)
        }
        Arg::S(id) => {
            let s = &plan.states[id.0 as usize];
            states.at(s.offset as usize, s.bytes as usize).map_err(outside)
        }
        Arg::W(id) => {
            let w = &plan.weights[id.0 as usize];
            let all: &[u8] = (**weights).as_ref();
            let end = w.offset.checked_add(w.bytes).map(|end| end as usize);
            let part = end.and_then(|end| all.get(w.offset as usize..end));
            let part =
                part.ok_or_else(|| RunError::Unsound(format!("{} lies outside the weights", w.name)))?;
            Ok(part.as_ptr().cast_mut())
        }
    }
}
