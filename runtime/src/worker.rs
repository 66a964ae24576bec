//! One device thread: it takes the plan's steps in order, and decides nothing.
use crate::clock::Clock;
use crate::error::{Cause, RunError};
use crate::sync::{Arc, Shared};
use crate::team::told;
use crate::watch::Watch;
use crate::{Arena, ArenaError, Executable, Extent, Reader, Team, Writer};
use ir::TensorType;
use ir::plan::{Arg, BufferId, Plan, Step};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

/// Bytes that stay where they are: packed weights, mapped or in memory.
pub type Weights = Shared<dyn AsRef<[u8]> + Send + Sync>;

/// A message's size: what it says of the symbols, and what the symbols say of it.
pub(crate) struct Measure {
    dims: Vec<Extent>,
    /// So many elements take so many bytes.
    block: (usize, usize),
}

impl Measure {
    pub(crate) fn new(ty: &TensorType, plan: &Plan) -> Result<Measure, RunError> {
        let unsound = |s: &str| {
            RunError::Unsound(format!("{ty} mentions the symbol {s}, which the plan does not list"))
        };
        let index = |s: &str| plan.symbols.iter().position(|p| p.name == s).ok_or_else(|| unsound(s));
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

    /// Takes a symbol's value from a message's length, where the type has exactly one dimension that is a bare symbol.
    fn learn(&self, bytes: usize, syms: &mut [i64]) {
        let bare = |d: &Extent| d.constant == 0 && matches!(d.terms[..], [(1, _)]);
        let Some(free) = self.dims.iter().find(|d| bare(d)) else { return };
        let rest: usize =
            self.dims.iter().filter(|d| d.terms.is_empty()).map(|d| d.constant.max(0) as usize).product();
        let each = rest / self.block.0 * self.block.1;
        if let (Some(count), Some(symbol)) = (bytes.checked_div(each), syms.get_mut(free.terms[0].1 as usize))
        {
            *symbol = count as i64;
        }
    }
}

/// A step with everything found that it names.
enum Ready {
    Recv { edge: usize, to: *mut u8, measure: Measure },
    Run { code: Shared<dyn Executable>, args: Vec<*mut u8> },
    Send { edge: usize, from: *mut u8, measure: Measure },
}

/// A device thread's whole world: its memory, its ends of edges, its steps.
pub(crate) struct Worker {
    watch: Arc<Watch>,
    /// Which of the plan's threads this is.
    seat: usize,
    device: String,
    threads: usize,
    steps: Vec<Ready>,
    readers: Vec<Reader>,
    writers: Vec<Writer>,
    syms: Vec<i64>,
    scratch: Arena,
    scratch_bytes: usize,
    clock: Option<Shared<Clock>>,
    shared: Arena,
    /// What the steps' pointers point into.
    _arena: Arena,
    _states: Arena,
    _weights: Weights,
}

// SAFETY: the pointers go into the worker's own arenas, which move with it, and into weights that nobody writes.
unsafe impl Send for Worker {}

impl Worker {
    /// Allocates the device's memory, all of it resident from here on, and resolves its steps.
    pub(crate) fn new(
        plan: &Plan,
        (watch, seat): (Arc<Watch>, usize),
        code: &[Shared<dyn Executable>],
        weights: &Weights,
        mut readers: HashMap<u32, Reader>,
        mut writers: HashMap<u32, Writer>,
        clock: Option<Shared<Clock>>,
    ) -> Result<Worker, RunError> {
        let thread = &plan.threads[seat];
        let device = &plan.devices[thread.device.0 as usize];
        let memory = |cause: ArenaError| RunError::Memory { device: device.name.clone(), cause };
        let allocate = |bytes: u64| -> Result<Arena, ArenaError> {
            let mut arena = Arena::new(bytes as usize)?;
            arena.prefault()?;
            Ok(arena)
        };
        let mut worker = Worker {
            watch,
            seat,
            device: device.name.clone(),
            threads: device.threads as usize,
            steps: Vec::with_capacity(thread.steps.len()),
            readers: vec![],
            writers: vec![],
            syms: vec![0; plan.symbols.len()],
            scratch: allocate(thread.scratch_bytes * u64::from(device.threads)).map_err(memory)?,
            scratch_bytes: thread.scratch_bytes as usize,
            clock,
            shared: allocate(thread.shared_bytes).map_err(memory)?,
            _arena: allocate(thread.arena_bytes).map_err(memory)?,
            _states: allocate(thread.state_bytes).map_err(memory)?,
            _weights: weights.clone(),
        };
        // Where an edge's end stands, once the first step over it was found.
        let (mut at_reader, mut at_writer) = (HashMap::new(), HashMap::new());
        for step in &thread.steps {
            let ready = match step {
                Step::Recv { edge, to } => {
                    let missing = || RunError::Unsound(format!("{edge} has no reader here"));
                    if let Some(reader) = readers.remove(&edge.0) {
                        at_reader.insert(edge.0, worker.readers.len());
                        worker.readers.push(reader);
                    }
                    let edge_at = *at_reader.get(&edge.0).ok_or_else(missing)?;
                    let (to, measure) =
                        (worker.buffer(plan, *to)?, Measure::new(&plan.edges[edge.0 as usize].ty, plan)?);
                    Ready::Recv { edge: edge_at, to, measure }
                }
                Step::Send { edge, from } => {
                    let missing = || RunError::Unsound(format!("{edge} has no writer here"));
                    if let Some(writer) = writers.remove(&edge.0) {
                        at_writer.insert(edge.0, worker.writers.len());
                        worker.writers.push(writer);
                    }
                    let edge_at = *at_writer.get(&edge.0).ok_or_else(missing)?;
                    let (from, measure) =
                        (worker.buffer(plan, *from)?, Measure::new(&plan.edges[edge.0 as usize].ty, plan)?);
                    Ready::Send { edge: edge_at, from, measure }
                }
                Step::Run { kernel, args, .. } => {
                    let code = code[kernel.0 as usize].clone();
                    let mut args: Vec<_> =
                        args.iter().map(|a| worker.argument(plan, *a)).collect::<Result<_, _>>()?;
                    if code.shared_bytes() > 0 {
                        args.push(worker.shared.at(0, code.shared_bytes()).map_err(memory)?);
                    }
                    Ready::Run { code, args }
                }
            };
            worker.steps.push(ready);
        }
        Ok(worker)
    }

    fn buffer(&self, plan: &Plan, id: BufferId) -> Result<*mut u8, RunError> {
        self.argument(plan, Arg::B(id))
    }

    fn argument(&self, plan: &Plan, arg: Arg) -> Result<*mut u8, RunError> {
        argument(plan, arg, &self._arena, &self._states, &self._weights)
    }

    /// Takes steps, round after round, until the run ends. Whatever ends it here, a panic too, ends it for all.
    pub(crate) fn run(self) {
        let (watch, seat, device) = (self.watch.clone(), self.seat, self.device.clone());
        // Declared first, so dropped last: who leaves has given its memory back.
        let _leaving = Leaving(&watch, seat);
        let mut worker = self;
        let rounds = AssertUnwindSafe(|| match Team::new(worker.threads) {
            Ok(mut team) => worker.rounds(&mut team),
            Err(cause) => Err(Cause::Team { device, cause }),
        });
        let ended = catch_unwind(rounds).unwrap_or_else(|payload| {
            Err(Cause::Panicked { at: watch.place(seat), message: told(&*payload) })
        });
        if let Err(cause) = ended {
            watch.end(cause);
        }
    }

    fn rounds(&mut self, team: &mut Team) -> Result<(), Cause> {
        let mut round = 0;
        while self.round(team, round)? {
            round = round.wrapping_add(1);
        }
        Ok(())
    }

    /// Takes a round's steps, and says whether another may follow.
    fn round(&mut self, team: &mut Team, round: u32) -> Result<bool, Cause> {
        let Worker { watch, seat, steps, readers, writers, syms, scratch, scratch_bytes, clock, .. } = self;
        let base = Shares(scratch.start());
        let place = || watch.place(*seat);
        for (at, step) in steps.iter().enumerate() {
            if !watch.takes_step(*seat, round, at) {
                return Ok(false);
            }
            match step {
                Ready::Recv { edge, to, measure } => {
                    let found = readers[*edge].recv(|message| {
                        // SAFETY: a message is at most as long as the edge's slots, and those are as long as the buffer.
                        unsafe { std::ptr::copy_nonoverlapping(message.as_ptr(), *to, message.len()) };
                        message.len()
                    });
                    let found = found.map_err(|cause| Cause::Edge { at: place(), cause })?;
                    measure.learn(found, syms);
                    let expected = measure.bytes(syms);
                    if found != expected {
                        return Err(Cause::Message { at: place(), found, expected });
                    }
                }
                Ready::Run { code, args } => {
                    let (args, syms) = (Args(args), &syms[..]);
                    let body = |units, worker| {
                        let (args, base) = (&args, &base);
                        // SAFETY: the verifier has seen that arguments have the kernel's types and that what lives
                        // at once does not overlap; each worker has its own scratch.
                        unsafe { code.run(args.0, syms, units, base.0.add(worker * *scratch_bytes)) };
                    };
                    let start = clock.as_ref().map(|_| Instant::now());
                    let done = team.run(code.units(syms), body);
                    if let (Some(clock), Some(start)) = (&*clock, start) {
                        clock.add(at, start.elapsed());
                    }
                    done.map_err(|cause| Cause::Kernel { at: place(), cause })?;
                }
                Ready::Send { edge, from, measure } => {
                    let bytes = measure.bytes(syms);
                    let sent = writers[*edge].send(|slot| {
                        let bytes = bytes.min(slot.len());
                        // SAFETY: the buffer is as long as a slot, and nobody writes it now.
                        slot[..bytes].copy_from_slice(unsafe { std::slice::from_raw_parts(*from, bytes) });
                        bytes
                    });
                    sent.map_err(|cause| Cause::Edge { at: place(), cause })?;
                }
            }
        }
        Ok(true)
    }
}

/// Where an argument lies in a device's memory.
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

/// Says that a thread left, however it did.
struct Leaving<'a>(&'a Watch, usize);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.leave(self.1);
    }
}

/// Arguments that a team's workers may look at.
struct Args<'a>(&'a [*mut u8]);
/// The scratch of a team, a share for each worker.
struct Shares(*mut u8);
// SAFETY: workers split what they write by units, and scratch by worker; what they share is the kernels' business.
unsafe impl Sync for Args<'_> {}
// SAFETY: as above.
unsafe impl Sync for Shares {}
