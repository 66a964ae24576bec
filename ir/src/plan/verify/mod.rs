//! Checks that a plan is sound, and says on which item it is not. It is the gate for plans edited by
//! hand: the runtime refuses what does not pass.
//!
//! - Ids are positions, so that an item is found by its id.
//! - Options: symbols, caches and what the host feeds have the sizes that follow from them.
//! - Kernels: the operator is known, its types follow, its name says what it is; a body loads nothing from
//!   outside its inputs, whatever the host sends; only an append writes a cache.
//! - Steps: arguments exist, lie on the step's device and have the kernel's types.
//! - Buffers, states, weights: their bytes follow from their types, they are aligned, lie inside, and
//!   overlap nothing that is alive at the same time; nothing is read before it is written.
//! - Slots: what lies in one is sent once, and read only while it must be there.
//! - Edges: one send and one receive at the stated ends, of one type; the threads never wait in a circle.
//! - Memory: what is stated is what follows, and fits the budget.
mod edges;
mod host;
mod indices;
mod memory;
mod slots;
mod values;

use super::{Device, DeviceId, Kernel, OpText, Plan, Section, line_of};
use crate::{Op, Symbols};
use std::fmt;

/// Which item of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Where {
    /// The list.
    pub section: Section,
    /// The item's position in it.
    pub index: usize,
}

/// One thing wrong with a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// At which item.
    pub at: Where,
    /// What was found and what was expected.
    pub message: String,
}

impl Fault {
    /// The fault with the line of the plan's text that it is about.
    pub fn explain(&self, text: &str) -> String {
        match line_of(text, self.at.section, self.at.index) {
            Some(line) => format!("line {line}: {}", self.message),
            None => self.message.clone(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}: {}", self.at.section, self.at.index, self.message)
    }
}

/// Collects faults.
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn add(&mut self, section: Section, index: usize, message: impl Into<String>) {
        self.0.push(Fault { at: Where { section, index }, message: message.into() });
    }
}

impl Kernel {
    /// What a kernel of this operator and these layouts is called.
    pub fn name_for(op: &OpText, layouts: &[String]) -> String {
        let mut packed: Vec<&str> = layouts.iter().map(String::as_str).filter(|l| *l != "plain").collect();
        packed.dedup();
        match packed[..] {
            [] => op.0.clone(),
            _ => format!("{}.{}", op.0, packed.join("+")),
        }
    }
}

impl Plan {
    /// Every fault of the plan, in the order of its text.
    pub fn verify(&self) -> Result<(), Vec<Fault>> {
        let mut faults = Faults(vec![]);
        self.verify_options(&mut faults);
        self.verify_devices(&mut faults);
        self.verify_ids(&mut faults);
        if faults.0.is_empty() {
            self.verify_symbols(&mut faults);
            self.verify_host(&mut faults);
            self.verify_states(&mut faults);
        }
        let symbols = self.max_symbols();
        for (index, kernel) in self.kernels.iter().enumerate() {
            verify_kernel(index, kernel, &symbols, &mut faults);
        }
        self.verify_storage(&mut faults);
        if faults.0.is_empty() {
            self.verify_steps(&mut faults);
        }
        // Ids are known to exist from here on. What is wrong with an edge can be why a value is not there.
        if faults.0.is_empty() {
            self.verify_edges(&mut faults);
            self.verify_values(&mut faults);
        }
        if faults.0.is_empty() {
            if self.verify_slots(&mut faults) {
                self.verify_progress(&mut faults);
            }
            self.verify_indices(&mut faults);
            self.threads
                .iter()
                .enumerate()
                .for_each(|(at, thread)| self.verify_kept(at, thread, &mut faults));
            self.verify_memory(&mut faults);
        }
        if faults.0.is_empty() { Ok(()) } else { Err(faults.0) }
    }

    fn verify_devices(&self, faults: &mut Faults) {
        for (index, Device { name, threads, .. }) in self.devices.iter().enumerate() {
            if self.devices[..index].iter().any(|other| other.name == *name) {
                faults.add(Section::Devices, index, format!("another device is called {name}, too"));
            }
            if *threads == 0 || *threads > 4096 {
                faults.add(
                    Section::Devices,
                    index,
                    format!("{name} has {threads} threads, expected 1 to 4096"),
                );
            }
        }
    }

    fn verify_ids(&self, faults: &mut Faults) {
        let mut check = |section: Section, ids: Vec<u32>| {
            for (index, id) in ids.into_iter().enumerate().filter(|(index, id)| *index != *id as usize) {
                faults.add(section, index, format!("id {id} stands at position {index}"));
            }
        };
        check(Section::Devices, self.devices.iter().map(|x| x.id.0).collect());
        check(Section::Edges, self.edges.iter().map(|x| x.id.0).collect());
        check(Section::Weights, self.weights.iter().map(|x| x.id.0).collect());
        check(Section::States, self.states.iter().map(|x| x.id.0).collect());
        check(Section::Buffers, self.buffers.iter().map(|x| x.id.0).collect());
        check(Section::Kernels, self.kernels.iter().map(|x| x.id.0).collect());
        for (index, thread) in self.threads.iter().enumerate() {
            if self.threads[..index].iter().any(|t| t.device == thread.device) {
                faults.add(Section::Thread(index), usize::MAX, format!("{} has two threads", thread.device));
            }
            if !self.has_device(thread.device) {
                faults.add(Section::Thread(index), usize::MAX, format!("there is no {}", thread.device));
            }
        }
    }

    fn has_device(&self, id: DeviceId) -> bool {
        (id.0 as usize) < self.devices.len()
    }
}

fn verify_kernel(index: usize, kernel: &Kernel, symbols: &Symbols, faults: &mut Faults) {
    let mut fault = |message: String| faults.add(Section::Kernels, index, message);
    let types = kernel.inputs.iter().chain([&kernel.output]);
    types.filter_map(|ty| values::odd_extent(ty, symbols)).for_each(&mut fault);
    let expected = Kernel::name_for(&kernel.op, &kernel.layouts);
    if kernel.name != expected {
        fault(format!("is named {:?}, its operator and layouts make it {expected:?}", kernel.name));
    }
    if kernel.layouts.len() != kernel.inputs.len() {
        fault(format!("has {} inputs and {} layouts", kernel.inputs.len(), kernel.layouts.len()));
    }
    match Op::parse(&kernel.op.0, &kernel.op.1)
        .and_then(|op| op.infer(&kernel.inputs).map_err(|e| e.to_string()))
    {
        Err(message) => fault(message),
        Ok(ty) if ty != kernel.output => {
            fault(format!("stated output is {}, inferred is {ty}", kernel.output))
        }
        Ok(_) => {}
    }
}
