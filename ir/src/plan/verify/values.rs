//! The part of the verifier that follows values: where they lie, when they live, who reads them.
use super::Faults;
use super::memory::BYTES_MAX;
use crate::plan::{ALIGNMENT, Arg, Buffer, Kernel, Plan, Section, StateId, Step, Thread, Weight};
use crate::{Symbols, TensorType};
use std::collections::HashSet;

/// A stretch of bytes with the item it belongs to.
struct Stretch {
    index: usize,
    begin: u64,
    end: u64,
}

impl Plan {
    pub(super) fn verify_storage(&self, faults: &mut Faults) {
        let symbols = self.max_symbols();
        let mut weights = vec![];
        for (index, w) in self.weights.iter().enumerate() {
            if !self.has_device(w.device) {
                faults.add(Section::Weights, index, format!("lies on {}, which there is not", w.device));
            }
            if w.layout != "plain" {
                let message = odd_extent(&w.ty, &Symbols::new());
                message.into_iter().for_each(|m| faults.add(Section::Weights, index, m));
            } else {
                sized(Section::Weights, index, &w.ty, w.bytes, &Symbols::new(), faults);
            }
            if let Some(fault) = w.part.and_then(|part| part.whole(&w.ty).err()) {
                faults.add(Section::Weights, index, fault);
            }
            weights.extend(stretch(
                Section::Weights,
                index,
                w.offset,
                w.bytes,
                self.model.packed_bytes,
                faults,
            ));
        }
        // Devices that need the same of a weight share it in the file.
        weights.sort_by_key(|s| (s.begin, s.end, s.index));
        weights.dedup_by(|a, b| self.is_shared(a.index, b.index));
        disjoint(Section::Weights, weights, faults);
        for (at, thread) in self.threads.iter().enumerate() {
            for bytes in [thread.arena_bytes, thread.state_bytes, thread.scratch_bytes, thread.shared_bytes] {
                if bytes > BYTES_MAX {
                    let message = format!("states {bytes} bytes, expected at most {BYTES_MAX}");
                    faults.add(Section::Thread(at), usize::MAX, message);
                }
            }
            let mut states = vec![];
            for (index, s) in self.states.iter().enumerate().filter(|(_, s)| s.device == thread.device) {
                sized(Section::States, index, &s.ty, s.bytes, &symbols, faults);
                states.extend(stretch(Section::States, index, s.offset, s.bytes, thread.state_bytes, faults));
            }
            disjoint(Section::States, states, faults);
            for (index, b) in self.buffers.iter().enumerate().filter(|(_, b)| b.device == thread.device) {
                sized(Section::Buffers, index, &b.ty, b.bytes, &symbols, faults);
                if b.slot.is_none() {
                    stretch(Section::Buffers, index, b.offset, b.bytes, thread.arena_bytes, faults);
                }
            }
        }
        let homeless = |device| !self.threads.iter().any(|t| t.device == device);
        for (index, b) in self.buffers.iter().enumerate().filter(|(_, b)| homeless(b.device)) {
            faults.add(Section::Buffers, index, format!("lies on {}, which has no thread", b.device));
        }
        for (index, s) in self.states.iter().enumerate().filter(|(_, s)| homeless(s.device)) {
            faults.add(Section::States, index, format!("lies on {}, which has no thread", s.device));
        }
    }

    pub(super) fn verify_steps(&self, faults: &mut Faults) {
        for (at, thread) in self.threads.iter().enumerate() {
            for (index, step) in thread.steps.iter().enumerate() {
                self.verify_step(Section::Thread(at), index, thread, step, faults);
            }
        }
    }

    pub(super) fn verify_values(&self, faults: &mut Faults) {
        for (at, thread) in self.threads.iter().enumerate() {
            self.verify_lives(at, thread, faults);
            self.verify_learned(at, thread, faults);
        }
    }

    /// What a step reads of a state, some step of the device writes.
    pub(super) fn verify_kept(&self, at: usize, thread: &Thread, faults: &mut Faults) {
        let state = |arg: &Arg| if let Arg::S(id) = arg { Some(*id) } else { None };
        let runs = thread.steps.iter().enumerate().filter_map(|(index, step)| match step {
            Step::Run { args, .. } => args.split_last().map(|(output, inputs)| (index, output, inputs)),
            _ => None,
        });
        let written: HashSet<StateId> = runs.clone().filter_map(|(_, output, _)| state(output)).collect();
        for (index, _, inputs) in runs {
            if let Some(id) = inputs.iter().filter_map(state).find(|id| !written.contains(id)) {
                faults.add(
                    Section::Thread(at),
                    index,
                    format!("reads {id}, which no step of its device writes"),
                );
            }
        }
    }

    /// A device learns the symbols' values from messages: none is used before one has told it.
    fn verify_learned(&self, at: usize, thread: &Thread, faults: &mut Faults) {
        let mut learned: HashSet<&str> = HashSet::new();
        for (index, step) in thread.steps.iter().enumerate() {
            let used: Vec<&TensorType> = match step {
                Step::Recv { edge, .. } => {
                    let edge = &self.edges[edge.0 as usize];
                    learned.extend(edge.tells());
                    vec![&edge.ty]
                }
                Step::Send { edge, .. } => vec![&self.edges[edge.0 as usize].ty],
                Step::Run { kernel, .. } => {
                    let kernel = &self.kernels[kernel.0 as usize];
                    kernel.inputs.iter().chain([&kernel.output]).collect()
                }
            };
            let mut symbols = used.into_iter().flat_map(|ty| &ty.shape).flat_map(|d| d.terms());
            if let Some((symbol, _)) = symbols.find(|(symbol, _)| !learned.contains(symbol)) {
                let message = format!("uses {symbol} before a message has told its value");
                return faults.add(Section::Thread(at), index, message);
            }
        }
    }

    fn verify_step(&self, section: Section, index: usize, thread: &Thread, step: &Step, faults: &mut Faults) {
        match step {
            Step::Recv { edge, to: buffer } | Step::Send { edge, from: buffer } => {
                let Some(edge) = self.edges.get(edge.0 as usize) else {
                    return faults.add(section, index, format!("there is no {edge}"));
                };
                match self.buffers.get(buffer.0 as usize) {
                    None => faults.add(section, index, format!("there is no {buffer}")),
                    Some(b) if b.device != thread.device => {
                        faults.add(section, index, format!("{buffer} lies on {}", b.device))
                    }
                    Some(b) if b.ty != edge.ty => {
                        faults.add(
                            section,
                            index,
                            format!("{buffer} is {}, {} carries {}", b.ty, edge.id, edge.ty),
                        );
                    }
                    Some(_) => {}
                }
            }
            Step::Run { kernel, args, .. } => match self.kernels.get(kernel.0 as usize) {
                None => faults.add(section, index, format!("there is no {kernel}")),
                Some(kernel) => self.verify_args(section, index, thread, kernel, args, faults),
            },
        }
    }

    /// Whether two weights are the same bytes of the file for two devices.
    fn is_shared(&self, a: usize, b: usize) -> bool {
        let (a, b) = (&self.weights[a], &self.weights[b]);
        let key = |w: &Weight| (w.name.clone(), w.part, w.ty.clone(), w.layout.clone(), w.offset, w.bytes);
        a.device != b.device && key(a) == key(b)
    }

    fn verify_args(
        &self,
        section: Section,
        index: usize,
        thread: &Thread,
        kernel: &Kernel,
        args: &[Arg],
        faults: &mut Faults,
    ) {
        if args.len() != kernel.inputs.len() + 1 {
            let message = format!(
                "{} takes {} inputs and an output, got {} arguments",
                kernel.id,
                kernel.inputs.len(),
                args.len()
            );
            return faults.add(section, index, message);
        }
        for (what, needed, has) in [
            ("scratch", kernel.scratch, thread.scratch_bytes),
            ("shared memory", kernel.shared, thread.shared_bytes),
        ] {
            if needed > has {
                let message = format!("{} needs {needed} bytes of {what}, the thread has {has}", kernel.id);
                faults.add(section, index, message);
            }
        }
        let types = kernel.inputs.iter().chain([&kernel.output]);
        let layouts = kernel.layouts.iter().map(String::as_str).chain(["plain"]);
        for (slot, ((arg, expected), layout)) in args.iter().zip(types).zip(layouts).enumerate() {
            let (device, found, lies) = match arg {
                Arg::W(id) => match self.weights.get(id.0 as usize) {
                    Some(w) => (w.device, &w.ty, w.layout.as_str()),
                    None => return faults.add(section, index, format!("there is no {id}")),
                },
                Arg::S(id) => match self.states.get(id.0 as usize) {
                    Some(s) => (s.device, &s.ty, "plain"),
                    None => return faults.add(section, index, format!("there is no {id}")),
                },
                Arg::B(id) => match self.buffers.get(id.0 as usize) {
                    Some(b) => (b.device, &b.ty, "plain"),
                    None => return faults.add(section, index, format!("there is no {id}")),
                },
            };
            if device != thread.device {
                faults.add(
                    section,
                    index,
                    format!("argument {slot} lies on {device}, the step runs on {}", thread.device),
                );
            }
            if found != expected || lies != layout {
                faults.add(
                    section,
                    index,
                    format!(
                        "argument {slot} is {found} in {lies}, {} takes {expected} in {layout}",
                        kernel.id
                    ),
                );
            }
            if slot == args.len() - 1 && matches!(arg, Arg::W(_)) {
                faults.add(section, index, "the output is a weight");
            }
        }
    }

    /// Buffers live from the step that writes them to the last that reads them; two that live at once
    /// may not share a byte. Each is written once, so that what is known of a buffer stays so.
    fn verify_lives(&self, at: usize, thread: &Thread, faults: &mut Faults) {
        let section = Section::Thread(at);
        let lives = self.lives(thread);
        let mut written = HashSet::new();
        for (index, step) in thread.steps.iter().enumerate() {
            if let Some(again) = step.writes().filter(|w| !written.insert(*w)) {
                faults.add(section, index, format!("{again} is written a second time"));
            }
            for read in step.reads() {
                if lives.get(read.0 as usize).is_none_or(|l| l.is_none_or(|l| l.0 >= index)) {
                    faults.add(section, index, format!("{read} is read before it is written"));
                }
            }
        }
        let mut live: Vec<(usize, usize, &Buffer)> = vec![];
        for (id, (from, to)) in lives.iter().enumerate().filter_map(|(id, l)| l.map(|l| (id, l))) {
            // What lies in slots is followed with them.
            live.extend(Some(&self.buffers[id]).filter(|b| b.slot.is_none()).map(|b| (from, to, b)));
        }
        live.sort_by_key(|l| (l.0, l.2.id));
        for (i, a) in live.iter().enumerate() {
            for b in live[i + 1..].iter().take_while(|b| b.0 <= a.1) {
                if a.2.offset < b.2.offset + b.2.bytes && b.2.offset < a.2.offset + a.2.bytes {
                    let message =
                        format!("{} and {} overlap, and both are alive at step {}", a.2.id, b.2.id, b.0);
                    faults.add(Section::Buffers, b.2.id.0 as usize, message);
                }
            }
        }
    }

    /// For each buffer the steps of first write and last use, if the thread writes it.
    fn lives(&self, thread: &Thread) -> Vec<Option<(usize, usize)>> {
        let mut lives: Vec<Option<(usize, usize)>> = vec![None; self.buffers.len()];
        for (index, step) in thread.steps.iter().enumerate() {
            if let Some(written) = step.writes() {
                let life = lives[written.0 as usize].get_or_insert((index, index));
                life.1 = index;
            }
            for read in step.reads() {
                if let Some(life) = &mut lives[read.0 as usize] {
                    life.1 = index;
                }
            }
        }
        lives
    }
}

/// What no extent may be: unknown, of more elements than indices have, or fewer as symbols grow, for then
/// the bytes with every symbol at its greatest are not the most there can be.
pub(super) fn odd_extent(ty: &TensorType, symbols: &Symbols) -> Option<String> {
    for d in &ty.shape {
        let message = match symbols.eval(d) {
            None => format!("dimension {d} of {ty} has symbols that are not listed"),
            Some(most) if most > i64::from(i32::MAX) => format!("dimension {d} of {ty} reaches {most}"),
            Some(_) if d.terms().any(|t| t.1 < 0) => {
                format!("dimension {d} of {ty} shrinks as a symbol grows")
            }
            _ if d.eval(|_| Some(1)).is_none_or(|least| least < 0) => {
                format!("dimension {d} of {ty} can be negative")
            }
            _ => continue,
        };
        return Some(message);
    }
    None
}

fn sized(
    section: Section,
    index: usize,
    ty: &TensorType,
    bytes: u64,
    symbols: &Symbols,
    faults: &mut Faults,
) {
    if let Some(message) = odd_extent(ty, symbols) {
        return faults.add(section, index, message);
    }
    match ty.bytes(|s| symbols.get(s)) {
        Some(expected) if expected == bytes => {}
        Some(expected) => faults.add(section, index, format!("states {bytes} bytes, {ty} takes {expected}")),
        None => faults.add(section, index, format!("the size of {ty} cannot be known")),
    }
}

fn stretch(
    section: Section,
    index: usize,
    begin: u64,
    bytes: u64,
    limit: u64,
    faults: &mut Faults,
) -> Option<Stretch> {
    if !begin.is_multiple_of(ALIGNMENT) {
        faults.add(section, index, format!("begins at {begin}, which is no multiple of {ALIGNMENT}"));
    }
    match begin.checked_add(bytes) {
        Some(end) if end <= limit => Some(Stretch { index, begin, end }),
        _ => {
            faults.add(section, index, format!("{bytes} bytes from {begin} reach past the end at {limit}"));
            None
        }
    }
}

fn disjoint(section: Section, mut stretches: Vec<Stretch>, faults: &mut Faults) {
    stretches.sort_by_key(|s| (s.begin, s.end));
    for pair in stretches.windows(2).filter(|p| p[1].begin < p[0].end) {
        faults.add(section, pair[1].index, format!("overlaps item {}", pair[0].index));
    }
}
