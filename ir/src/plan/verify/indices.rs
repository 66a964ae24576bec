//! The part of the verifier that follows indices: no kernel reads or writes outside its arguments, whatever
//! the host sends.
//!
//! The host bounds the numbers that it feeds. A kernel that takes coordinates from its arguments takes them
//! straight from such an edge; anything else that is an integer could be any integer.
use super::Faults;
use crate::Op;
use crate::expr::bounds::{Domain, Known, stray_load};
use crate::plan::{Arg, BufferId, Kernel, KernelId, Plan, Section, StateId, Step, Thread};
use std::collections::{BTreeSet, HashMap, HashSet};

/// What an argument holds: for a buffer that the host fills, the name of the edge.
type Origin = Option<&'static str>;

impl Plan {
    /// Types, ids and lives have been found sound.
    pub(super) fn verify_indices(&self, faults: &mut Faults) {
        let ops: Vec<Option<Op>> = self.kernels.iter().map(|k| Op::parse(&k.op.0, &k.op.1).ok()).collect();
        for (at, thread) in self.threads.iter().enumerate() {
            let fed = self.fed_buffers(thread);
            let mut proven: HashSet<(KernelId, Vec<Origin>)> = HashSet::new();
            for (index, step) in thread.steps.iter().enumerate() {
                let Step::Run { kernel, args, .. } = step else { continue };
                let Some(op) = &ops[kernel.0 as usize] else { continue };
                let mut fault = |message: String| faults.add(Section::Thread(at), index, message);
                verify_states(op, args).into_iter().for_each(&mut fault);
                let origins: Vec<Origin> = args.iter().map(|a| origin(a, &fed)).collect();
                if proven.insert((*kernel, origins.clone())) {
                    let kernel = &self.kernels[kernel.0 as usize];
                    verify_addresses(op, &origins).into_iter().for_each(&mut fault);
                    self.verify_body(op, kernel, &origins).into_iter().for_each(&mut fault);
                }
            }
        }
    }

    /// The states that kernels take as caches, and whether as transposed ones.
    pub(super) fn transposed_states(&self) -> BTreeSet<(StateId, bool)> {
        let ops: Vec<Option<Op>> = self.kernels.iter().map(|k| Op::parse(&k.op.0, &k.op.1).ok()).collect();
        let mut taken = BTreeSet::new();
        for step in self.threads.iter().flat_map(|thread| &thread.steps) {
            let Step::Run { kernel, args, .. } = step else { continue };
            let Some(Some(op)) = ops.get(kernel.0 as usize) else { continue };
            taken.extend(caches(op).iter().filter_map(|(at, transposed)| match args.get(*at) {
                Some(Arg::S(state)) => Some((*state, *transposed)),
                _ => None,
            }));
        }
        taken
    }

    /// The buffers that the host fills.
    fn fed_buffers(&self, thread: &Thread) -> HashMap<BufferId, &'static str> {
        let fed = |step: &Step| match step {
            Step::Recv { edge, to } => {
                let edge = self.edges.get(edge.0 as usize)?;
                Some((*to, self.fed_to(thread.device, edge)?))
            }
            _ => None,
        };
        thread.steps.iter().filter_map(fed).collect()
    }

    /// Where the kernel is its operator's body, all that it loads lies inside its inputs.
    fn verify_body(&self, op: &Op, kernel: &Kernel, origins: &[Origin]) -> Option<String> {
        let max = self.max_symbols();
        let (body, symbols) = match op {
            Op::Fused(fused) => (fused.body.clone(), Some(&max)),
            op => (op.body(&kernel.inputs)?, None),
        };
        let elements =
            |input: usize| origins.get(input).copied().flatten().and_then(|name| self.fed_within(name));
        let known = Some(Known { elements: &elements, symbols });
        let domain = Domain { output: &kernel.output.shape, inputs: &kernel.inputs, known };
        let fault = stray_load(&body, &domain)?;
        let integers = kernel.inputs.iter().enumerate().filter(|(_, ty)| ty.dtype.is_integer());
        let told = integers.map(|(input, _)| match origins[input] {
            Some(name) => format!(", where x{input} holds {name}"),
            None => format!(", where nothing bounds x{input}"),
        });
        Some(format!("{fault}{}", told.collect::<String>()))
    }
}

fn origin(arg: &Arg, fed: &HashMap<BufferId, &'static str>) -> Origin {
    match arg {
        Arg::B(id) => fed.get(id).copied(),
        _ => None,
    }
}

/// Which arguments of a kernel are caches, and whether it takes them transposed.
fn caches(op: &Op) -> &'static [(usize, bool)] {
    match op {
        Op::KvAppend(op) if op.transposed => &[(0, true)],
        Op::KvAppend(_) => &[(0, false)],
        Op::PagedAttention(_) => &[(1, true), (2, false)],
        _ => &[],
    }
}

/// What is wrong with how a step uses states: caches are states, and only an append writes one, in place.
fn verify_states(op: &Op, args: &[Arg]) -> Vec<String> {
    let mut faults = vec![];
    for (at, _) in caches(op) {
        if let Some(found @ (Arg::W(_) | Arg::B(_))) = args.get(*at) {
            faults.push(format!("argument {at} of {} is {}, expected a state", op.name(), named(found)));
        }
    }
    let Some((output, inputs)) = args.split_last() else { return faults };
    match (op, output) {
        (Op::KvAppend(_), output) if inputs.first() != Some(output) => faults.push(format!(
            "appends to {} and writes {}, expected one state, in place",
            inputs.first().map_or("nothing".into(), named),
            named(output)
        )),
        (Op::KvAppend(_), _) => {}
        (_, Arg::S(_)) => {
            faults.push(format!("{} writes {}, which only kv_append may", op.name(), named(output)));
        }
        _ => {}
    }
    faults
}

/// What is wrong with the addresses that kernels of the paged cache are given: they take them on trust.
fn verify_addresses(op: &Op, origins: &[Origin]) -> Vec<String> {
    let first = match op {
        Op::KvAppend(_) => 2,
        Op::PagedAttention(_) => 3,
        _ => return vec![],
    };
    let given = (first..).zip(["positions", "slots", "pages"]);
    let wrong = given.filter(|(at, expected)| origins.get(*at).copied().flatten() != Some(*expected));
    wrong
        .map(|(at, expected)| {
            let found = origins.get(at).copied().flatten().unwrap_or("something that the host does not feed");
            format!("argument {at} of {} holds {found}, expected {expected}", op.name())
        })
        .collect()
}

fn named(arg: &Arg) -> String {
    match arg {
        Arg::W(id) => id.to_string(),
        Arg::S(id) => id.to_string(),
        Arg::B(id) => id.to_string(),
    }
}
